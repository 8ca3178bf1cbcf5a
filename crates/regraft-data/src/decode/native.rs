//! Pixels with the channels that their file has, and what becomes of them where a network takes others.

use crate::raster::{Channels, Image, Samples};

/// Opacity where the file has none.
const OPAQUE: u8 = u8::MAX;

/// The image with so many channels: grey from colours by their luma, colours from grey, alpha as it is or opaque.
/// `None` where only the user could say what the channels are to become.
pub(super) fn with_channels(image: Image, count: usize) -> Option<Image> {
    if image.channels() == count {
        return Some(image);
    }
    let file = image.file();
    if !file.visible || !(1..=4).contains(&count) {
        return None;
    }
    let (width, height, channels) = (image.width(), image.height(), image.channels());
    let samples = match image.samples() {
        Samples::Bytes(bytes) => Samples::Bytes(convert(bytes, channels, count, OPAQUE, luma)),
        Samples::Numbers(numbers) => {
            Samples::Numbers(convert(numbers, channels, count, f32::from(OPAQUE), luma_of_numbers))
        }
    };
    image.with_samples((width, height), count, samples)
}

fn convert<T: Copy>(samples: &[T], from: usize, to: usize, opaque: T, luma: fn(T, T, T) -> T) -> Vec<T> {
    let pixel = |pixel: &[T]| -> [Option<T>; 4] {
        let (colours, alpha) = match *pixel {
            [grey] => ([grey; 3], opaque),
            [grey, alpha] => ([grey; 3], alpha),
            [red, green, blue] => ([red, green, blue], opaque),
            [red, green, blue, alpha, ..] => ([red, green, blue], alpha),
            [] => ([opaque; 3], opaque),
        };
        let [red, green, blue] = colours;
        let grey = if from > 2 { luma(red, green, blue) } else { red };
        match to {
            1 => [Some(grey), None, None, None],
            2 => [Some(grey), Some(alpha), None, None],
            3 => [Some(red), Some(green), Some(blue), None],
            _ => [Some(red), Some(green), Some(blue), Some(alpha)],
        }
    };
    samples.chunks_exact(from).flat_map(pixel).flatten().collect()
}

/// Pillow's `convert("L")`: 0.299 R + 0.587 G + 0.114 B in 16 fractional bits, rounded.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((sum + 0x8000) >> 16) as u8
}

fn luma_of_numbers(red: f32, green: f32, blue: f32) -> f32 {
    0.299 * red + 0.587 * green + 0.114 * blue
}

/// What 16-bit samples divide by, so that white is 255.
const SIXTEEN_BITS: f32 = 257.0;

/// 16-bit samples on the scale 0 … 255.
pub(super) fn from_16_bits(samples: Vec<u16>) -> Samples {
    Samples::Numbers(samples.into_iter().map(|sample| f32::from(sample) / SIXTEEN_BITS).collect())
}

/// Floating-point samples, of which 1 is white, on the scale 0 … 255.
pub(super) fn from_floats(samples: impl IntoIterator<Item = f32>) -> Samples {
    Samples::Numbers(samples.into_iter().map(|sample| sample * 255.0).collect())
}

/// Channels that a picture has.
pub(super) fn visible(count: usize, deep: bool) -> Channels {
    Channels { count, deep, visible: true }
}

/// Channels that may mean anything.
pub(super) fn bands(count: usize, deep: bool) -> Channels {
    Channels { count, deep, visible: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(channels: usize, bytes: &[u8]) -> Image {
        Image::new(1, bytes.len() / channels, channels, Samples::Bytes(bytes.to_vec())).unwrap()
    }

    #[test]
    fn pictures_get_the_channels_that_are_asked_for() {
        for (from, to, bytes, expected) in [
            (3, 1, &[255, 0, 0, 0, 255, 0, 10, 10, 10][..], &[76, 150, 10][..]),
            (4, 2, &[0, 0, 255, 9], &[29, 9]),
            (1, 3, &[7], &[7, 7, 7]),
            (2, 4, &[7, 8], &[7, 7, 7, 8]),
            (2, 3, &[7, 8], &[7, 7, 7]),
            (3, 4, &[1, 2, 3], &[1, 2, 3, 255]),
            (4, 3, &[1, 2, 3, 4], &[1, 2, 3]),
            (1, 2, &[5], &[5, 255]),
        ] {
            assert_eq!(with_channels(image(from, bytes), to).unwrap().pixels(), expected, "{from} {to}");
        }
    }

    #[test]
    fn bands_are_taken_as_they_are_or_not_at_all() {
        let five = image(5, &[1, 2, 3, 4, 5]).from_file(bands(5, false));
        assert_eq!(with_channels(five.clone(), 5), Some(five.clone()));
        assert_eq!(with_channels(five, 3), None);
        let two = image(2, &[1, 2]).from_file(bands(2, false));
        assert_eq!(with_channels(two, 3), None);
        assert_eq!(with_channels(image(3, &[1, 2, 3]), 5), None);
    }
}
