//! What is remembered of an image's content: enough to find its duplicates without its pixels.
//!
//! Computed once per file content; the caller caches it under a hash of the bytes and [`DECODER`].
//!
//! [`DECODER`]: crate::decode::DECODER

use std::borrow::Cow;

use regraft_graph::ResizeFilter;
use regraft_system::hash::KeyHasher;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decode::{DecodeError, Limits, decode};
use crate::raster::{Channels, Image, Samples};
use crate::resize::resize;

/// Pixels along a side of a thumbnail.
pub const THUMBNAIL_SIDE: usize = 16;
/// Bytes of a thumbnail.
pub const THUMBNAIL_BYTES: usize = 3 * THUMBNAIL_SIDE * THUMBNAIL_SIDE;

/// A summary of an image's pixels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Whether some pixels show a colour that the file hid behind transparency.
    #[serde(default)]
    pub transparent: bool,
    /// What the pixels of the file are made of.
    #[serde(default = "rgb", with = "channels")]
    pub channels: Channels,
    /// BLAKE3 of size and pixels in 64 hexadecimal digits: equal for equal images, whatever format they are stored in.
    pub pixel_hash: String,
    /// The difference hash: one bit for each of 8 × 8 places, set where the image gets brighter to the right.
    pub difference_hash: u64,
    /// The image resampled (bilinear, antialiased) to 16 × 16 pixels.
    pub thumbnail: Thumbnail,
}

fn rgb() -> Channels {
    Channels::RGB
}

/// Channels as three numbers.
mod channels {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::raster::Channels;

    pub(super) fn serialize<S: Serializer>(channels: &Channels, serializer: S) -> Result<S::Ok, S::Error> {
        (channels.count, channels.deep, channels.visible).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Channels, D::Error> {
        let (count, deep, visible) = <(usize, bool, bool)>::deserialize(deserializer)?;
        Ok(Channels { count, deep, visible })
    }
}

/// 16 × 16 RGB pixels, row by row; hexadecimal digits when serialised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail(pub [u8; THUMBNAIL_BYTES]);

impl Thumbnail {
    /// Root of the mean squared difference of all samples, 0 to 255.
    pub fn distance(&self, other: &Self) -> f64 {
        let difference = |(a, b): (&u8, &u8)| i32::from(*a) - i32::from(*b);
        let sum: i32 =
            self.0.iter().zip(&other.0).map(difference).map(|difference| difference * difference).sum();
        (f64::from(sum) / THUMBNAIL_BYTES as f64).sqrt()
    }

    /// Mean of all samples, 0 to 255.
    pub fn mean(&self) -> f64 {
        self.0.iter().map(|&sample| f64::from(sample)).sum::<f64>() / THUMBNAIL_BYTES as f64
    }
}

impl Serialize for Thumbnail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Thumbnail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        parse_hexadecimal(&digits)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a thumbnail is 1536 hexadecimal digits"))
    }
}

fn parse_hexadecimal(digits: &str) -> Option<[u8; THUMBNAIL_BYTES]> {
    let pairs = digits.as_bytes().as_chunks::<2>().0.iter();
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    bytes.filter(|_| digits.len() == 2 * THUMBNAIL_BYTES)?.try_into().ok()
}

/// Decodes a file's bytes and summarises the pixels.
///
/// # Errors
/// As [`decode`].
pub fn inspect(bytes: &[u8], limits: &Limits) -> Result<Inspection, DecodeError> {
    decode(bytes, limits).map(|image| inspect_image(&image))
}

/// Summarises pixels.
pub fn inspect_image(image: &Image) -> Inspection {
    let small = shrink(&view(image), THUMBNAIL_SIDE, THUMBNAIL_SIDE);
    let mut thumbnail = [0; THUMBNAIL_BYTES];
    thumbnail.copy_from_slice(small.pixels());
    Inspection {
        width: image.width(),
        height: image.height(),
        transparent: image.is_transparent(),
        channels: image.file(),
        pixel_hash: pixel_hash(image),
        difference_hash: difference_hash(&small),
        thumbnail: Thumbnail(thumbnail),
    }
}

fn shrink(image: &Image, width: usize, height: usize) -> Image {
    resize(image, width, height, ResizeFilter::Bilinear).unwrap_or_else(|| image.clone())
}

/// What people are shown of an image: RGB as it is, grey in all three, of more channels the first three. Samples of more
/// than 8 bits are stretched from the smallest of the image to the largest: on the scale of their type most of them would
/// be black.
pub fn view(image: &Image) -> Cow<'_, Image> {
    let (channels, size) = (image.channels(), (image.width(), image.height()));
    let seen = |channel: usize| if channels < 3 { 0 } else { channel };
    let pixels: Vec<u8> = match image.samples() {
        Samples::Bytes(_) if channels == 3 => return Cow::Borrowed(image),
        Samples::Bytes(bytes) => {
            let pixels = bytes.chunks_exact(channels);
            pixels.flat_map(|pixel| [0, 1, 2].map(|channel| value(pixel, seen(channel)))).collect()
        }
        Samples::Numbers(numbers) => {
            let pixels = numbers.chunks_exact(channels);
            let shown: Vec<f32> =
                pixels.flat_map(|pixel| [0, 1, 2].map(|channel| value(pixel, seen(channel)))).collect();
            stretched(&shown)
        }
    };
    let view = image.with_samples(size, 3, Samples::Bytes(pixels));
    view.map_or(Cow::Borrowed(image), Cow::Owned)
}

fn value<T: Copy + Default>(pixel: &[T], channel: usize) -> T {
    pixel.get(channel).copied().unwrap_or_default()
}

/// From the smallest number to the largest, in bytes. What is no number is black.
fn stretched(numbers: &[f32]) -> Vec<u8> {
    let finite = || numbers.iter().copied().filter(|number| number.is_finite());
    let (low, high) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
    let scale = 255.0 / (high - low).max(f32::MIN_POSITIVE);
    numbers.iter().map(|number| ((number - low) * scale).round() as u8).collect()
}

fn pixel_hash(image: &Image) -> String {
    let hasher = KeyHasher::new()
        .field("width", (image.width() as u64).to_le_bytes())
        .field("height", (image.height() as u64).to_le_bytes());
    match image.samples() {
        Samples::Bytes(bytes) if image.channels() == 3 => hasher.field("rgb", bytes),
        Samples::Bytes(bytes) => hasher.field("bytes", bytes),
        Samples::Numbers(numbers) => hasher
            .field("numbers", numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()),
    }
    .finish()
}

/// The difference hash (dHash, N. Krawetz, "Kind of Like That", 2013) of a thumbnail: 9 × 8 luma samples, one bit for
/// each pair of neighbours in a row.
fn difference_hash(thumbnail: &Image) -> u64 {
    let luma =
        |&[red, green, blue]: &[u8; 3]| 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    let mut hash = 0;
    for row in shrink(thumbnail, 9, 8).rows() {
        let samples: Vec<u32> = row.as_chunks::<3>().0.iter().map(luma).collect();
        for (left, right) in samples.iter().zip(samples.iter().skip(1)) {
            hash = hash << 1 | u64::from(right > left);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: usize, height: usize) -> Image {
        let pixel = |index: usize| [(index % width * 255 / width) as u8; 3];
        Image::rgb(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
    }

    #[test]
    fn a_gradient_sets_every_bit_and_shape_tells_equal_bytes_apart() {
        assert_eq!(inspect_image(&gradient(64, 48)).difference_hash, u64::MAX);
        let wide = Image::rgb(4, 2, vec![9; 24]).unwrap();
        let tall = Image::rgb(2, 4, vec![9; 24]).unwrap();
        assert_ne!(inspect_image(&wide).pixel_hash, inspect_image(&tall).pixel_hash);
    }

    #[test]
    fn other_images_are_seen_by_their_first_three_channels() {
        let five = Image::new(2, 1, 5, Samples::Bytes((1..=10).collect())).unwrap();
        assert_eq!(view(&five).pixels(), [1, 2, 3, 6, 7, 8]);
        let two = Image::new(2, 1, 2, Samples::Bytes(vec![7, 1, 8, 2])).unwrap();
        assert_eq!(view(&two).pixels(), [7, 7, 7, 8, 8, 8]);
        let deep = Image::new(3, 1, 1, Samples::Numbers(vec![0.5, 0.75, f32::NAN])).unwrap();
        assert_eq!(view(&deep).pixels(), [0, 0, 0, 255, 255, 255, 0, 0, 0]);
        let constant = Image::new(1, 1, 1, Samples::Numbers(vec![3.0])).unwrap();
        assert_eq!(view(&constant).pixels(), [0; 3]);
        assert_ne!(inspect_image(&five).pixel_hash, inspect_image(&view(&five)).pixel_hash);
    }

    #[test]
    fn json_brings_it_back() {
        let inspection = inspect_image(&gradient(33, 21));
        let text = serde_json::to_string(&inspection).unwrap();
        assert!(text.len() < 1800, "{}", text.len());
        assert_eq!(serde_json::from_str::<Inspection>(&text).unwrap(), inspection);
        assert!(
            serde_json::from_str::<Inspection>(&text.replace("thumbnail\":\"", "thumbnail\":\"é")).is_err()
        );
    }
}
