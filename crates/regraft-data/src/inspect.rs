//! What is remembered of an image's content: enough to find its duplicates without its pixels.
//!
//! Computed once per file content; the caller caches it under a hash of the bytes and [`DECODER`].
//!
//! [`DECODER`]: crate::decode::DECODER

use regraft_graph::ResizeFilter;
use regraft_system::hash::KeyHasher;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decode::{DecodeError, Limits, decode};
use crate::raster::RgbImage;
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
    /// BLAKE3 of size and pixels in 64 hexadecimal digits: equal for equal images, whatever format they are stored in.
    pub pixel_hash: String,
    /// The difference hash: one bit for each of 8 × 8 places, set where the image gets brighter to the right.
    pub difference_hash: u64,
    /// The image resampled (bilinear, antialiased) to 16 × 16 pixels.
    pub thumbnail: Thumbnail,
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
pub fn inspect_image(image: &RgbImage) -> Inspection {
    let small = shrink(image, THUMBNAIL_SIDE, THUMBNAIL_SIDE);
    let mut thumbnail = [0; THUMBNAIL_BYTES];
    thumbnail.copy_from_slice(small.pixels());
    Inspection {
        width: image.width(),
        height: image.height(),
        transparent: image.is_transparent(),
        pixel_hash: pixel_hash(image),
        difference_hash: difference_hash(&small),
        thumbnail: Thumbnail(thumbnail),
    }
}

fn shrink(image: &RgbImage, width: usize, height: usize) -> RgbImage {
    resize(image, width, height, ResizeFilter::Bilinear).unwrap_or_else(|| image.clone())
}

fn pixel_hash(image: &RgbImage) -> String {
    KeyHasher::new()
        .field("width", (image.width() as u64).to_le_bytes())
        .field("height", (image.height() as u64).to_le_bytes())
        .field("rgb", image.pixels())
        .finish()
}

/// The difference hash (dHash, N. Krawetz, "Kind of Like That", 2013) of a thumbnail: 9 × 8 luma samples, one bit for
/// each pair of neighbours in a row.
fn difference_hash(thumbnail: &RgbImage) -> u64 {
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

    fn gradient(width: usize, height: usize) -> RgbImage {
        let pixel = |index: usize| [(index % width * 255 / width) as u8; 3];
        RgbImage::new(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
    }

    #[test]
    fn a_gradient_sets_every_bit_and_shape_tells_equal_bytes_apart() {
        assert_eq!(inspect_image(&gradient(64, 48)).difference_hash, u64::MAX);
        let wide = RgbImage::new(4, 2, vec![9; 24]).unwrap();
        let tall = RgbImage::new(2, 4, vec![9; 24]).unwrap();
        assert_ne!(inspect_image(&wide).pixel_hash, inspect_image(&tall).pixel_hash);
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
