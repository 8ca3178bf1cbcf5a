//! What changes the samples of pixels in their places, bit for bit as Pillow does it on 8-bit RGB and grey images.
//!
//! | | 8-bit colour | other 8-bit images | samples of more than 8 bits |
//! |---|---|---|---|
//! | brightness, contrast | yes | yes | yes, not cut off at 0 and 255 |
//! | sharpness, posterize, solarize, autocontrast, equalize | yes | yes | left alone |
//! | saturation, hue | yes | left alone | left alone |
//!
//! Colour is three channels that are not bands of another meaning. Channels are otherwise treated each for itself, and an
//! alpha channel (the last of two or four, unless they are bands) is never changed.
#![allow(
    clippy::indexing_slicing,
    reason = "a table has an entry for each byte; rows are cut from the image"
)]

use crate::raster::{Image, SamplesMut};

/// An entry for each byte.
type Table = [u8; 256];

fn is_colour(image: &Image) -> bool {
    image.channels() == 3 && image.file().visible
}

/// Number of channels that are not alpha; they come first.
fn opaque_channels(image: &Image) -> usize {
    let has_alpha = image.file().visible && matches!(image.channels(), 2 | 4);
    image.channels() - usize::from(has_alpha)
}

/// Makes the image darker (`factor` below 1; 0 is black) or brighter (above 1).
#[must_use]
pub fn adjust_brightness(image: Image, factor: f64) -> Image {
    let black = vec![0.0; opaque_channels(&image)];
    adjust_from(image, &black, factor)
}

/// Brings samples nearer to their mean (`factor` below 1; 0 is a single level) or away from it (above 1). The mean is that
/// of the luma where there are colours, rounded for 8-bit samples.
#[must_use]
pub fn adjust_contrast(image: Image, factor: f64) -> Image {
    let means = means(&image);
    adjust_from(image, &means, factor)
}

/// Moves each channel's samples away from its level.
fn adjust_from(mut image: Image, levels: &[f32], factor: f64) -> Image {
    let (channels, factor) = (image.channels(), factor as f32);
    match image.samples_mut() {
        SamplesMut::Bytes(bytes) => {
            let table = |level: &f32| std::array::from_fn(|sample| blend(*level, sample as f32, factor));
            let tables: Vec<Table> = levels.iter().map(table).collect();
            look_up(bytes, channels, &tables);
        }
        SamplesMut::Numbers(numbers) => {
            for pixel in numbers.chunks_exact_mut(channels) {
                pixel
                    .iter_mut()
                    .zip(levels)
                    .for_each(|(sample, level)| *sample = level + factor * (*sample - level));
            }
        }
    }
    image
}

/// Pillow's `Image.blend` in a sample: cut off below and above, and towards zero.
fn blend(from: f32, to: f32, factor: f32) -> u8 {
    (from + factor * (to - from)) as u8
}

fn look_up(bytes: &mut [u8], channels: usize, tables: &[Table]) {
    for pixel in bytes.chunks_exact_mut(channels) {
        pixel.iter_mut().zip(tables).for_each(|(sample, table)| *sample = table[usize::from(*sample)]);
    }
}

fn means(image: &Image) -> Vec<f32> {
    let (channels, opaque) = (image.channels(), opaque_channels(image));
    let pixels = (image.width() * image.height()) as f64;
    let rounded = |sum: f64| (sum / pixels + 0.5).floor() as f32;
    match image.samples() {
        crate::raster::Samples::Bytes(bytes) if is_colour(image) => {
            let sum: u64 = bytes.as_chunks().0.iter().map(|pixel| u64::from(luma(*pixel))).sum();
            vec![rounded(sum as f64); opaque]
        }
        crate::raster::Samples::Bytes(bytes) => {
            let sum = |channel| {
                bytes.iter().skip(channel).step_by(channels).map(|sample| u64::from(*sample)).sum::<u64>()
            };
            (0..opaque).map(|channel| rounded(sum(channel) as f64)).collect()
        }
        crate::raster::Samples::Numbers(numbers) => {
            let sum = |channel| {
                numbers.iter().skip(channel).step_by(channels).map(|sample| f64::from(*sample)).sum::<f64>()
            };
            (0..opaque).map(|channel| (sum(channel) / pixels) as f32).collect()
        }
    }
}

/// ITU-R 601-2 luma in 16 fractional bits, as Pillow's `convert("L")`.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
}

/// Takes colour away (`factor` below 1; 0 is grey) or strengthens it (above 1).
#[must_use]
pub fn adjust_saturation(image: Image, factor: f64) -> Image {
    let factor = factor as f32;
    map_colours(image, |pixel| {
        let grey = f32::from(luma(pixel));
        pixel.map(|sample| blend(grey, f32::from(sample), factor))
    })
}

/// Turns the hue by `turn` of the colour wheel, −0.5 … 0.5.
#[must_use]
pub fn adjust_hue(image: Image, turn: f64) -> Image {
    let shift = (turn * 255.0) as i32 as u8;
    map_colours(image, |pixel| {
        let [hue, saturation, value] = to_hsv(pixel);
        from_hsv([hue.wrapping_add(shift), saturation, value])
    })
}

fn map_colours(mut image: Image, change: impl Fn([u8; 3]) -> [u8; 3]) -> Image {
    if !is_colour(&image) {
        return image;
    }
    if let SamplesMut::Bytes(bytes) = image.samples_mut() {
        bytes.as_chunks_mut().0.iter_mut().for_each(|pixel| *pixel = change(*pixel));
    }
    image
}

/// Hue, saturation and value as Pillow's `convert("HSV")` rounds them, in its mixture of single and double precision.
fn to_hsv(pixel: [u8; 3]) -> [u8; 3] {
    let [red, green, blue] = pixel.map(f32::from);
    let (largest, smallest) = (red.max(green).max(blue), red.min(green).min(blue));
    if largest == smallest {
        return [0, 0, largest as u8];
    }
    let range = largest - smallest;
    let [r, g, b] = [red, green, blue].map(|level| (largest - level) / range);
    let hue = if red == largest {
        b - g
    } else if green == largest {
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    let turn = ((f64::from(hue) / 6.0 + 1.0) % 1.0) as f32;
    let [hue, saturation] = [turn, range / largest].map(|share| (f64::from(share) * 255.0) as u8);
    [hue, saturation, largest as u8]
}

/// The colour of a hue, saturation and value as Pillow's `convert("RGB")` rounds it.
fn from_hsv([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let sixths = f64::from(hue) * 6.0 / 255.0;
    let rest = (sixths - sixths.floor()) as f32;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    let darkened = |share: f64| (f64::from(value) * (1.0 - share)).round() as u8;
    let low = darkened(f64::from(saturation));
    let falling = darkened(f64::from(saturation * rest));
    let rising = darkened(f64::from(saturation) * (1.0 - f64::from(rest)));
    match sixths as u8 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

/// Blurs (`factor` below 1) or sharpens (above 1) with Pillow's `SMOOTH` kernel, a sixth of whose weight is in its border
/// of eight pixels. The outermost pixels of the image stay as they are.
#[must_use]
pub fn adjust_sharpness(mut image: Image, factor: f64) -> Image {
    let (channels, opaque) = (image.channels(), opaque_channels(&image));
    let (stride, factor) = (channels * image.width(), factor as f32);
    if image.width() < 3 || image.height() < 3 {
        return image;
    }
    let SamplesMut::Bytes(bytes) = image.samples_mut() else { return image };
    let source = bytes.to_vec();
    let rows: Vec<&[u8]> = source.chunks_exact(stride).collect();
    for (around, row) in rows.windows(3).zip(bytes.chunks_exact_mut(stride).skip(1)) {
        for index in (channels..stride - channels).filter(|index| index % channels < opaque) {
            let smooth = smoothed(around, index, channels);
            row[index] = blend(f32::from(smooth), f32::from(row[index]), factor);
        }
    }
    image
}

/// `(sum of the nine + 4 × the middle) / 13`, rounded; no such quotient lies half way between two levels.
#[inline]
fn smoothed(rows: &[&[u8]], index: usize, channels: usize) -> u8 {
    let across = |row: &[u8]| {
        [index - channels, index, index + channels].map(|index| u32::from(row[index])).iter().sum::<u32>()
    };
    let sum = rows.iter().map(|row| across(row)).sum::<u32>() + 4 * u32::from(rows[1][index]);
    ((2 * sum + 13) / 26) as u8
}

/// Keeps so many of the highest bits of a sample, 0 to 8.
#[must_use]
pub fn posterize(image: Image, bits: u32) -> Image {
    let mask = !u8::MAX.checked_shr(bits).unwrap_or(0);
    map_bytes(image, |_| std::array::from_fn(|sample| sample as u8 & mask))
}

/// Inverts samples from `threshold` on, on the scale 0 … 255.
#[must_use]
pub fn solarize(image: Image, threshold: f64) -> Image {
    let level = |sample: usize| if (sample as f64) < threshold { sample } else { 255 - sample };
    map_bytes(image, |_| std::array::from_fn(|sample| level(sample) as u8))
}

/// Stretches each channel so that its darkest sample becomes 0 and its brightest 255.
#[must_use]
pub fn autocontrast(image: Image) -> Image {
    map_bytes(image, |histogram| {
        let darkest = histogram.iter().position(|count| *count > 0).unwrap_or(0) as f64;
        let brightest = histogram.iter().rposition(|count| *count > 0).unwrap_or(0) as f64;
        if brightest <= darkest {
            return identity();
        }
        let scale = 255.0 / (brightest - darkest);
        std::array::from_fn(|sample| (sample as f64 * scale - darkest * scale) as u8)
    })
}

/// Spreads each channel so that its levels are about equally frequent.
#[must_use]
pub fn equalize(image: Image) -> Image {
    map_bytes(image, |histogram| {
        let last = histogram.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
        let step = (histogram.iter().sum::<usize>() - last) / 255;
        if step == 0 {
            return identity();
        }
        let mut below = step / 2;
        histogram.map(|count| {
            let level = (below / step).min(255) as u8;
            below += count;
            level
        })
    })
}

fn identity() -> Table {
    std::array::from_fn(|sample| sample as u8)
}

/// Changes the bytes of each channel but alpha by the table that is made of its histogram.
fn map_bytes(mut image: Image, table: impl Fn([usize; 256]) -> Table) -> Image {
    let (channels, opaque) = (image.channels(), opaque_channels(&image));
    if let SamplesMut::Bytes(bytes) = image.samples_mut() {
        let tables: Vec<Table> =
            (0..opaque).map(|channel| table(histogram(bytes, channel, channels))).collect();
        look_up(bytes, channels, &tables);
    }
    image
}

fn histogram(bytes: &[u8], channel: usize, channels: usize) -> [usize; 256] {
    let mut histogram = [0; 256];
    bytes.iter().skip(channel).step_by(channels).for_each(|sample| histogram[usize::from(*sample)] += 1);
    histogram
}
