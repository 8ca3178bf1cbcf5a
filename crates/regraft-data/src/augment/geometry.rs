//! Crops, flips, affine maps and erased rectangles, for samples of any kind and any number of channels.
//!
//! The flips are Pillow's `transpose`, the crop is Pillow's `crop` and then its `resize`, and the affine maps are
//! torchvision's `affine` and `rotate` on Pillow images with `InterpolationMode.BILINEAR`, as its training recipes use
//! them: bit for bit on 8-bit samples. What comes from outside the image is black.
#![allow(clippy::indexing_slicing, reason = "places are clamped to the image before they are indices")]

use std::borrow::Cow;

use regraft_graph::ResizeFilter;

use crate::raster::{Image, Samples, SamplesMut};
use crate::resize::resize;

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Columns to the left of it.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Its columns.
    pub width: usize,
    /// Its rows.
    pub height: usize,
}

/// Mirrors left and right.
#[must_use]
pub fn flip_horizontally(mut image: Image) -> Image {
    let (width, channels) = (image.width(), image.channels());
    match image.samples_mut() {
        SamplesMut::Bytes(bytes) => reverse_rows(bytes, width, channels),
        SamplesMut::Numbers(numbers) => reverse_rows(numbers, width, channels),
    }
    image
}

/// Mirrors top and bottom.
#[must_use]
pub fn flip_vertically(mut image: Image) -> Image {
    let stride = image.width() * image.channels();
    match image.samples_mut() {
        SamplesMut::Bytes(bytes) => reverse_order_of_rows(bytes, stride),
        SamplesMut::Numbers(numbers) => reverse_order_of_rows(numbers, stride),
    }
    image
}

fn reverse_rows<T>(samples: &mut [T], width: usize, channels: usize) {
    for row in samples.chunks_exact_mut(width * channels) {
        row.reverse();
        row.chunks_exact_mut(channels).for_each(<[T]>::reverse);
    }
}

fn reverse_order_of_rows<T>(samples: &mut [T], stride: usize) {
    let rows = samples.len() / stride;
    let (upper, lower) = samples.split_at_mut(rows / 2 * stride);
    for (high, low) in upper.chunks_exact_mut(stride).zip(lower.rchunks_exact_mut(stride)) {
        high.swap_with_slice(low);
    }
}

/// A part of the image brought to `width × height`, antialiased; nothing outside of the part is looked at.
/// `None` if a side of either is zero or the part is not inside the image.
pub fn resized_crop(
    image: &Image,
    region: Region,
    (width, height): (usize, usize),
    filter: ResizeFilter,
) -> Option<Image> {
    resize(cut_out(image, region)?.as_ref(), width, height, filter)
}

fn cut_out(image: &Image, region: Region) -> Option<Cow<'_, Image>> {
    let whole = Region { left: 0, top: 0, width: image.width(), height: image.height() };
    if region == whole {
        return Some(Cow::Borrowed(image));
    }
    let (stride, channels) = (image.width() * image.channels(), image.channels());
    let samples = match image.samples() {
        Samples::Bytes(bytes) => Samples::Bytes(rectangle(bytes, stride, channels, region)?),
        Samples::Numbers(numbers) => Samples::Numbers(rectangle(numbers, stride, channels, region)?),
    };
    image.with_samples((region.width, region.height), channels, samples).map(Cow::Owned)
}

fn rectangle<T: Copy>(samples: &[T], stride: usize, channels: usize, region: Region) -> Option<Vec<T>> {
    let start = channels.checked_mul(region.left)?;
    let columns = start..start.checked_add(channels.checked_mul(region.width)?)?;
    let rows = samples.chunks_exact(stride).skip(region.top).take(region.height);
    let parts: Option<Vec<&[T]>> = rows.map(|row| row.get(columns.clone())).collect();
    Some(parts?.concat())
}

/// The image with a rectangle of one colour: a number for each channel on the scale 0 … 255, rounded for 8-bit samples.
/// What of the rectangle is outside of the image is left out.
#[must_use]
pub fn erase(mut image: Image, region: Region, colour: &[f32]) -> Image {
    let (stride, channels) = (image.width() * image.channels(), image.channels());
    match image.samples_mut() {
        SamplesMut::Bytes(bytes) => {
            let colour: Vec<u8> = colour.iter().map(|level| level.round() as u8).collect();
            fill(bytes, stride, channels, region, &colour);
        }
        SamplesMut::Numbers(numbers) => fill(numbers, stride, channels, region, colour),
    }
    image
}

fn fill<T: Copy>(samples: &mut [T], stride: usize, channels: usize, region: Region, colour: &[T]) {
    for row in samples.chunks_exact_mut(stride).skip(region.top).take(region.height) {
        for pixel in row.chunks_exact_mut(channels).skip(region.left).take(region.width) {
            pixel.iter_mut().zip(colour).for_each(|(sample, level)| *sample = *level);
        }
    }
}

/// Where a pixel of the result comes from: `x' = a·x + b·y + c`, `y' = d·x + e·y + f`, in pixels from the top left corner.
type Matrix = [f64; 6];

/// Slides each row to the left by `slope` times its distance from the top: torchvision's `ShearX`.
#[must_use]
pub fn shear_horizontally(image: &Image, slope: f64) -> Image {
    transform(image, [1.0, shear_angle(slope).tan(), 0.0, 0.0, 1.0, 0.0])
}

/// Slides each column up by `slope` times its distance from the left: torchvision's `ShearY`.
#[must_use]
pub fn shear_vertically(image: &Image, slope: f64) -> Image {
    let angle = shear_angle(slope);
    transform(image, [1.0, 0.0, 0.0, angle.sin() / angle.cos(), 1.0, 0.0])
}

/// In radians, by way of the degrees that torchvision's interface takes.
fn shear_angle(slope: f64) -> f64 {
    slope.atan().to_degrees().to_radians()
}

/// Moves the image by whole pixels to the right and down.
#[must_use]
pub fn translate(image: &Image, (right, down): (i32, i32)) -> Image {
    transform(image, [1.0, 0.0, -f64::from(right), 0.0, 1.0, -f64::from(down)])
}

/// Turns the image around its centre by `degrees` against the clock.
#[must_use]
pub fn rotate(image: &Image, degrees: f64) -> Image {
    let angle = -degrees.rem_euclid(360.0).to_radians();
    let (sine, cosine) = (to_15_digits(angle.sin()), to_15_digits(angle.cos()));
    let (x, y) = (image.width() as f64 / 2.0, image.height() as f64 / 2.0);
    let right = cosine * -x + sine * -y + x;
    let down = -sine * -x + cosine * -y + y;
    transform(image, [cosine, sine, right, -sine, cosine, down])
}

/// Rounded to 15 decimal places, as Pillow does so that a right angle moves whole pixels.
fn to_15_digits(value: f64) -> f64 {
    format!("{value:.15}").parse().unwrap_or(value)
}

fn transform(image: &Image, matrix: Matrix) -> Image {
    let size = (image.width(), image.height());
    let samples = match image.samples() {
        Samples::Bytes(bytes) => Samples::Bytes(Grid::new(bytes, image).transformed(&matrix)),
        Samples::Numbers(numbers) => Samples::Numbers(Grid::new(numbers, image).transformed(&matrix)),
    };
    image.with_samples(size, image.channels(), samples).unwrap_or_else(|| image.clone())
}

/// A sample that can be interpolated. 8-bit ones are cut towards zero, as Pillow does.
trait Sample: Copy + Default + Into<f64> {
    fn cut(value: f64) -> Self;
}

impl Sample for u8 {
    fn cut(value: f64) -> Self {
        value as Self
    }
}

impl Sample for f32 {
    fn cut(value: f64) -> Self {
        value as Self
    }
}

/// The samples of an image, to be looked up between pixels.
struct Grid<'a, T> {
    samples: &'a [T],
    width: usize,
    height: usize,
    channels: usize,
}

impl<'a, T: Sample> Grid<'a, T> {
    fn new(samples: &'a [T], image: &Image) -> Self {
        Self { samples, width: image.width(), height: image.height(), channels: image.channels() }
    }

    fn transformed(&self, [a, b, c, d, e, f]: &Matrix) -> Vec<T> {
        let mut output = vec![T::default(); self.samples.len()];
        for (index, pixel) in output.chunks_exact_mut(self.channels).enumerate() {
            let (x, y) = ((index % self.width) as f64 + 0.5, (index / self.width) as f64 + 0.5);
            self.interpolate(a * x + b * y + c, d * x + e * y + f, pixel);
        }
        output
    }

    /// Writes the pixel at a place, made of the four around it; nothing if the place is outside of the image.
    fn interpolate(&self, x: f64, y: f64, pixel: &mut [T]) {
        if !(x >= 0.0 && x < self.width as f64 && y >= 0.0 && y < self.height as f64) {
            return;
        }
        let (left, right, across) = neighbours(x, self.width);
        let (upper, lower, down) = neighbours(y, self.height);
        let corner = |row: usize, column: usize| &self.samples[self.channels * (row * self.width + column)..];
        let (upper, lower) = (
            [left, right].map(|column| corner(upper, column)),
            [left, right].map(|column| corner(lower, column)),
        );
        for (channel, sample) in pixel.iter_mut().enumerate() {
            let [high, low] = [upper, lower]
                .map(|[left, right]| between(left[channel].into(), right[channel].into(), across));
            *sample = T::cut(between(high, low, down));
        }
    }
}

/// The pixels before and after a place, and how far it is from the centre of the former to that of the latter.
fn neighbours(place: f64, count: usize) -> (usize, usize, f64) {
    let place = place - 0.5;
    let before = place.floor();
    // The cast cuts off the −1 of a place in the first half of the first pixel.
    (before as usize, ((before + 1.0) as usize).min(count - 1), place - before)
}

fn between(from: f64, to: f64, share: f64) -> f64 {
    from + (to - from) * share
}
