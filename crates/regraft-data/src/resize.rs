//! Resampling, bit for bit as Pillow's `Image.resize` does it on 8-bit images, and as it does it on floating-point ones.
//!
//! The image is convolved along one direction, rounded to 8 bits, then along the other. The filter is stretched by the
//! scale when shrinking, which is the antialiasing. Weights are computed and normalised in f64, then rounded to 22
//! fractional bits, and the sums are exact integers. So an output pixel depends on its own weights only, and computing
//! only a window of the output, as a centre crop needs it, changes no bit of it and bounds the memory: a 1 × 10,000
//! image whose short side becomes 256 never exists at 256 × 2,560,000.
//!
//! Rows are resampled across first, except where the image loses more than twice as many rows as columns: there
//! Pillow 13 resamples down first, and before version 13 did not. The two orders differ by one level here and there.
//!
//! Samples of more than 8 bits are summed in f64 and rounded to f32 after each direction.
#![allow(clippy::indexing_slicing, reason = "weights are built for the rows and columns that they index")]

#[cfg(target_arch = "x86_64")]
mod avx2;

use std::ops::Range;

use regraft_graph::{Resampling, ResizeFilter};

use crate::raster::{self, Image};

/// Fractional bits of a weight: an 8-bit sample times a weight, with two bits of headroom for overshoot, fits i32.
const PRECISION: u32 = 32 - 8 - 2;

/// Resizes to exactly `width × height`. `None` if a side is zero.
pub fn resize(image: &Image, width: usize, height: usize, filter: ResizeFilter) -> Option<Image> {
    resize_window(image, (width, height), 0..width, 0..height, filter)
}

/// The columns and rows of a resized image that are asked for, computing no others.
///
/// `size` is the width and height of the whole resized image. `None` if a range is empty or leaves `size`.
pub fn resize_window(
    image: &Image,
    size: (usize, usize),
    columns: Range<usize>,
    rows: Range<usize>,
    filter: ResizeFilter,
) -> Option<Image> {
    if columns.is_empty() || rows.is_empty() || columns.end > size.0 || rows.end > size.1 {
        return None;
    }
    let across = Weights::new(image.width(), size.0, columns, filter);
    let down = Weights::new(image.height(), size.1, rows, filter);
    let rows_first = loses_more_rows((image.width(), image.height()), size);
    let (width, channels) = (image.width(), image.channels());
    let samples = match image.samples() {
        raster::Samples::Bytes(bytes) => {
            let source = Samples { bytes, width, channels };
            raster::Samples::Bytes(resample_bytes(&source, &across, &down, rows_first))
        }
        raster::Samples::Numbers(numbers) => raster::Samples::Numbers(if rows_first {
            let shortened = shorten_numbers(numbers, channels * width, &down);
            narrow_numbers(&shortened, width, channels, &across)
        } else {
            let narrowed = narrow_numbers(numbers, width, channels, &across);
            shorten_numbers(&narrowed, channels * across.len(), &down)
        }),
    };
    image.with_samples((across.len(), down.len()), channels, samples)
}

fn resample_bytes(source: &Samples<'_>, across: &Weights, down: &Weights, rows_first: bool) -> Vec<u8> {
    let Samples { channels, .. } = *source;
    if rows_first {
        let shortened = shorten(&source.rows(&down.needed), &across.needed, down);
        narrow(&Samples { bytes: &shortened, width: across.needed.len(), channels }, 0, across)
    } else {
        let narrowed = narrow(&source.rows(&down.needed), across.needed.start, across);
        shorten(&Samples { bytes: &narrowed, width: across.len(), channels }, &(0..across.len()), down)
    }
}

/// Pillow 13's condition for resampling down before across.
fn loses_more_rows(from: (usize, usize), to: (usize, usize)) -> bool {
    let lost = |from: usize, to: usize| from as i128 - to as i128;
    lost(from.1, to.1) > (2 * lost(from.0, to.0)).max(0)
}

/// Width and height when the shorter side becomes `short` and the longer keeps the aspect ratio, rounded down
/// (torchvision's `Resize(int)`).
pub fn short_side_size((width, height): (usize, usize), short: usize) -> (usize, usize) {
    let scaled = |long: usize, side: usize| (short as u128 * long as u128 / side.max(1) as u128) as usize;
    if width <= height { (short, scaled(height, width)) } else { (scaled(width, height), short) }
}

/// Where a centre crop of `wanted` pixels lies along one side of `available` pixels, and how many pixels of padding
/// come before it where the side is too short (torchvision's `CenterCrop`, whose rounding is half to even).
pub fn centre(available: usize, wanted: usize) -> (Range<usize>, usize) {
    let Some(excess) = available.checked_sub(wanted) else {
        return (0..available, (wanted - available) / 2);
    };
    let half = excess / 2;
    let start = if excess % 2 == 1 { half + half % 2 } else { half };
    (start..start + wanted, 0)
}

/// Rows of `width` pixels on the way through the two passes.
struct Samples<'a> {
    bytes: &'a [u8],
    width: usize,
    channels: usize,
}

impl Samples<'_> {
    fn stride(&self) -> usize {
        self.channels * self.width
    }

    fn rows(&self, rows: &Range<usize>) -> Samples<'_> {
        Samples { bytes: &self.bytes[rows.start * self.stride()..rows.end * self.stride()], ..*self }
    }
}

/// For each output position, the input positions that it is made of and their weights.
struct Weights {
    /// The input positions that any output position is made of.
    needed: Range<usize>,
    /// First input position of each output position, counted from the first needed one.
    starts: Vec<usize>,
    /// Number of input positions of each output position.
    counts: Vec<usize>,
    /// `stride` fixed-point weights for each output position, of which `counts` are in use.
    values: Vec<i32>,
    stride: usize,
    resampling: Resampling,
    wanted: Range<usize>,
}

impl Weights {
    /// Weights for the output positions `wanted` when `input` samples become `output`.
    fn new(input: usize, output: usize, wanted: Range<usize>, filter: ResizeFilter) -> Self {
        let resampling = Resampling::new(input, output, filter);
        let stride = resampling.longest();
        let spans: Vec<Range<usize>> = wanted.clone().map(|position| resampling.span(position)).collect();
        // Spans move forward with the output position.
        let needed = spans.first().map_or(0, |span| span.start)..spans.last().map_or(0, |span| span.end);
        let mut values = vec![0; stride * spans.len()];
        for (position, values) in wanted.clone().zip(values.chunks_exact_mut(stride)) {
            let weights = resampling.weights(position);
            values.iter_mut().zip(weights).for_each(|(value, weight)| *value = fixed_point(weight));
        }
        let starts = spans.iter().map(|span| span.start - needed.start).collect();
        let counts = spans.iter().map(ExactSizeIterator::len).collect();
        Self { needed, starts, counts, values, stride, resampling, wanted }
    }

    fn len(&self) -> usize {
        self.starts.len()
    }

    /// Every output position: its first input position and its weights.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let values =
            self.values.chunks_exact(self.stride).zip(&self.counts).map(|(values, &count)| &values[..count]);
        self.starts.iter().copied().zip(values)
    }

    /// Every output position: its first input position, counted from the very first one, and its weights unrounded.
    fn exact(&self) -> impl Iterator<Item = (usize, Vec<f64>)> {
        let wanted = self.wanted.clone();
        wanted.map(|position| (self.resampling.span(position).start, self.resampling.weights(position)))
    }
}

fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION);
    (if weight < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

/// Resamples every row across; the first column that is needed is column `first`.
fn narrow(source: &Samples<'_>, first: usize, weights: &Weights) -> Vec<u8> {
    if source.channels != 3 {
        return narrow_any(source, first, weights);
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor was just asked whether it has AVX2.
        return unsafe { avx2::narrow(source, first, weights) };
    }
    narrow_portable(source, first, weights)
}

/// For any number of channels, one sample at a time.
fn narrow_any(source: &Samples<'_>, first: usize, weights: &Weights) -> Vec<u8> {
    let channels = source.channels;
    let mut output = vec![0; source.bytes.len() / source.width * weights.len()];
    let rows =
        source.bytes.chunks_exact(source.stride()).zip(output.chunks_exact_mut(channels * weights.len()));
    for (row, output) in rows {
        for ((start, values), pixel) in weights.iter().zip(output.chunks_exact_mut(channels)) {
            for (channel, byte) in pixel.iter_mut().enumerate() {
                let samples = row[channels * (first + start) + channel..].iter().step_by(channels);
                let products = samples.zip(values).map(|(sample, weight)| i32::from(*sample) * weight);
                *byte = clip(products.fold(1 << (PRECISION - 1), |sum, product| sum + product));
            }
        }
    }
    output
}

/// Resamples every row across, in floating point.
fn narrow_numbers(numbers: &[f32], width: usize, channels: usize, weights: &Weights) -> Vec<f32> {
    let exact: Vec<(usize, Vec<f64>)> = weights.exact().collect();
    let mut output = Vec::with_capacity(numbers.len() / width * weights.len());
    for row in numbers.chunks_exact(channels * width) {
        for (start, values) in &exact {
            output.extend((0..channels).map(|channel| {
                let samples = row[channels * start + channel..].iter().step_by(channels);
                samples.zip(values).map(|(sample, weight)| f64::from(*sample) * weight).sum::<f64>() as f32
            }));
        }
    }
    output
}

/// Resamples all columns down, in floating point.
fn shorten_numbers(numbers: &[f32], stride: usize, weights: &Weights) -> Vec<f32> {
    let mut output = Vec::with_capacity(stride * weights.len());
    let mut sums = vec![0.0; stride];
    for (start, values) in weights.exact() {
        sums.fill(0.0);
        for (row, weight) in numbers.chunks_exact(stride).skip(start).zip(values) {
            sums.iter_mut().zip(row).for_each(|(sum, sample)| *sum += f64::from(*sample) * weight);
        }
        output.extend(sums.iter().map(|sum| *sum as f32));
    }
    output
}

fn narrow_portable(source: &Samples<'_>, first: usize, weights: &Weights) -> Vec<u8> {
    let stride = source.stride();
    let mut output = vec![0; source.bytes.len() / stride * 3 * weights.len()];
    let mut band = vec![[0; LANES]; weights.needed.len()];
    let bands = source.bytes.chunks(ROWS * stride).zip(output.chunks_mut(ROWS * 3 * weights.len()));
    for (input, output) in bands {
        for (row, samples) in input.chunks_exact(stride).enumerate() {
            spread(&samples[3 * first..], &mut band, 4 * row);
        }
        narrow_band(&band, weights, output);
    }
    output
}

/// Rows that pass through the horizontal loop together, and their samples: four a pixel, so that they fill a vector.
const ROWS: usize = 2;
const LANES: usize = 4 * ROWS;

/// Puts a row of RGB at `lane` of a band.
fn spread(samples: &[u8], band: &mut [[i32; LANES]], lane: usize) {
    for (pixel, lanes) in samples.as_chunks::<3>().0.iter().zip(band) {
        for (sample, slot) in pixel.iter().zip(&mut lanes[lane..]) {
            *slot = i32::from(*sample);
        }
    }
}

fn narrow_band(band: &[[i32; LANES]], weights: &Weights, output: &mut [u8]) {
    let stride = 3 * weights.len();
    for (column, (start, values)) in weights.iter().enumerate() {
        let mut sums = [1 << (PRECISION - 1); LANES];
        for (samples, weight) in band[start..].iter().zip(values) {
            for (sum, sample) in sums.iter_mut().zip(samples) {
                *sum += sample * weight;
            }
        }
        for (row, sums) in output.chunks_exact_mut(stride).zip(sums.as_chunks::<4>().0) {
            for (byte, sum) in row[3 * column..].iter_mut().zip(&sums[..3]) {
                *byte = clip(*sum);
            }
        }
    }
}

/// Resamples some columns down; the first row of the source is the first that is needed.
fn shorten(source: &Samples, columns: &Range<usize>, weights: &Weights) -> Vec<u8> {
    let (stride, offset) = (source.stride(), source.channels * columns.start);
    let width = source.channels * columns.len();
    let mut output = vec![0; width * weights.len()];
    for (row, (start, values)) in output.chunks_exact_mut(width).zip(weights.iter()) {
        shorten_row(&source.bytes[start * stride + offset..], stride, values, row);
    }
    output
}

/// Bytes of a row that are summed at a time, so that the sums stay in registers.
const BLOCK: usize = 64;

fn shorten_row(pixels: &[u8], stride: usize, values: &[i32], output: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor was just asked whether it has AVX2.
        return unsafe { shorten_row_avx2(pixels, stride, values, output) };
    }
    shorten_row_portable(pixels, stride, values, output);
}

/// The same loop compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn shorten_row_avx2(pixels: &[u8], stride: usize, values: &[i32], output: &mut [u8]) {
    shorten_row_portable(pixels, stride, values, output);
}

#[inline(always)]
fn shorten_row_portable(pixels: &[u8], stride: usize, values: &[i32], output: &mut [u8]) {
    for (block, bytes) in output.chunks_mut(BLOCK).enumerate() {
        let mut sums = [1 << (PRECISION - 1); BLOCK];
        for (row, weight) in pixels.chunks(stride).zip(values) {
            let samples = &row[block * BLOCK..block * BLOCK + bytes.len()];
            match samples.as_array::<BLOCK>() {
                Some(samples) => accumulate(&mut sums, samples, *weight),
                None => accumulate(&mut sums, samples, *weight),
            }
        }
        for (byte, sum) in bytes.iter_mut().zip(sums) {
            *byte = clip(sum);
        }
    }
}

#[inline(always)]
fn accumulate(sums: &mut [i32; BLOCK], samples: &[u8], weight: i32) {
    for (sum, sample) in sums.iter_mut().zip(samples) {
        *sum += i32::from(*sample) * weight;
    }
}

#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centre_crops_round_half_to_even_as_python_does() {
        // int(round((available - wanted) / 2.0)) for excesses 0 to 7.
        let starts: Vec<usize> = (10..18).map(|available| centre(available, 10).0.start).collect();
        assert_eq!(starts, [0, 0, 1, 2, 2, 2, 3, 4]);
        assert_eq!(centre(7, 10), (0..7, 1));
    }

    #[test]
    fn the_longer_side_is_rounded_down() {
        assert_eq!(short_side_size((600, 400), 256), (384, 256));
        assert_eq!(short_side_size((451, 300), 256), (384, 256));
        assert_eq!(short_side_size((1, 10_000), 256), (256, 2_560_000));
    }

    #[test]
    fn a_window_is_a_part_of_the_whole() {
        let pixels = (0..3 * 40 * 30).map(|index| (index * 37 % 251) as u8).collect();
        let image = Image::rgb(40, 30, pixels).unwrap();
        for filter in [ResizeFilter::Bilinear, ResizeFilter::Bicubic] {
            let whole = resize(&image, 23, 57, filter).unwrap();
            let part = resize_window(&image, (23, 57), 5..17, 11..50, filter).unwrap();
            for (row, part) in whole.rows().skip(11).zip(part.rows()) {
                assert_eq!(&row[15..51], part);
            }
        }
    }

    #[test]
    fn every_way_across_gives_the_same_bytes() {
        for (width, rows) in [(1, 1), (2, 3), (7, 4), (61, 5), (500, 9), (3001, 6)] {
            let bytes: Vec<u8> =
                (0..3 * width * rows).map(|index| (index * index * 31 % 509) as u8).collect();
            let source = Samples { bytes: &bytes, width, channels: 3 };
            for (to, filter) in [1, 2, 13, 224, 1000]
                .into_iter()
                .flat_map(|to| [ResizeFilter::Bilinear, ResizeFilter::Bicubic].map(|filter| (to, filter)))
            {
                for wanted in [0..to, to / 3..to / 2 + 1, to - 1..to] {
                    let weights = Weights::new(width, to, wanted, filter);
                    let first = weights.needed.start;
                    let found = narrow(&source, first, &weights);
                    assert_eq!(found, narrow_portable(&source, first, &weights), "{width} to {to}");
                }
            }
        }
    }

    #[test]
    fn any_number_of_channels_gives_what_each_channel_gives_alone() {
        let grey = |channel: usize| -> Vec<u8> {
            (0..41 * 29).map(|index| (index * index * (31 + channel) % 509) as u8).collect()
        };
        for channels in [1, 2, 4, 5] {
            let planes: Vec<Vec<u8>> = (0..channels).map(grey).collect();
            let bytes = (0..41 * 29).flat_map(|pixel| planes.iter().map(move |plane| plane[pixel])).collect();
            let image = Image::new(41, 29, channels, raster::Samples::Bytes(bytes)).unwrap();
            for size in [(17, 50), (60, 5), (41, 29)] {
                let found = resize(&image, size.0, size.1, ResizeFilter::Bicubic).unwrap();
                for (channel, plane) in planes.iter().enumerate() {
                    let colour = plane.iter().flat_map(|sample| [*sample; 3]).collect();
                    let colour = Image::rgb(41, 29, colour).unwrap();
                    let expected = resize(&colour, size.0, size.1, ResizeFilter::Bicubic).unwrap();
                    let of_channel = found.pixels().iter().skip(channel).step_by(channels);
                    assert!(of_channel.eq(expected.pixels().iter().step_by(3)), "{channels} {size:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_are_resampled_as_bytes_are_but_for_rounding() {
        let bytes: Vec<u8> = (0..5 * 41 * 29).map(|index| (index * 37 % 251) as u8).collect();
        let numbers = bytes.iter().map(|byte| f32::from(*byte)).collect();
        let bytes = Image::new(41, 29, 5, raster::Samples::Bytes(bytes)).unwrap();
        let numbers = Image::new(41, 29, 5, raster::Samples::Numbers(numbers)).unwrap();
        for (width, height) in [(17, 50), (60, 5), (4, 2)] {
            let expected =
                resize_window(&bytes, (width, height), 1..3, 1..2, ResizeFilter::Bilinear).unwrap();
            let found = resize_window(&numbers, (width, height), 1..3, 1..2, ResizeFilter::Bilinear).unwrap();
            let raster::Samples::Numbers(found) = found.into_samples() else { panic!("numbers") };
            for (found, expected) in found.iter().zip(expected.pixels()) {
                assert!((found - f32::from(*expected)).abs() <= 1.0, "{found} {expected}");
            }
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let image = Image::rgb(1, 1, vec![1, 2, 3]).unwrap();
        assert_eq!(resize(&image, 0, 5, ResizeFilter::Bilinear), None);
        assert_eq!(resize_window(&image, (4, 4), 2..5, 0..1, ResizeFilter::Bilinear), None);
    }
}
