//! Encoded files to pixels, as Pillow's `ImageOps.exif_transpose(Image.open(file)).convert("RGB")` gives them, or with the
//! channels that the file has.
//!
//! The format is told from the content; the file's name is not consulted. Sizes are checked before anything of that
//! size is allocated.
//!
//! # Why this JPEG decoder
//! The JPEG standard leaves the rounding of the inverse cosine transform and the interpolation of chroma open. Pillow
//! uses libjpeg-turbo, and a network notices the difference: over four photographs, qualities 75 and 90, 4:4:4, 4:2:2
//! and 4:2:0, baseline and progressive, even and odd sizes (96 files), against Pillow 13:
//!
//! | decoder | largest difference | mean, 4:2:0 | EfficientNet-Lite0 logits, largest relative | speed |
//! |---|---|---|---|---|
//! | `libjpeg-turbo-rs` 0.9.0 | 0 | 0 | 0 | 97 megapixels/s |
//! | `zune-jpeg` 0.5.15 (in `image`) | 6 levels | 0.13 – 0.24 | 1.5e-2 | 87 |
//! | `jpeg-decoder` 0.3.2 | 4 levels | 0.06 – 0.11 | 2.4e-2 | 48 |
//!
//! The mean differences are a bias of the chroma rounding, which is why they reach the logits. So JPEG goes through
//! `libjpeg-turbo-rs`, pure Rust and equal to libjpeg-turbo bit for bit, and everything else through `image`.
//!
//! # Where Pillow is followed although it surprises
//! Alpha is dropped, not blended. Single-channel 16-bit images are clipped at 255, not scaled, so a 16-bit grey scan
//! turns white; 16-bit images with more channels keep their high byte.
//!
//! # Where Pillow is not followed
//! A file whose pixel data stop early is refused even where Pillow tolerates a missing last byte. A part of a GIF's
//! screen that its first frame leaves uncovered is black; Pillow paints it in a palette colour. TIFF with a palette,
//! and CMYK JPEG whose inks are subsampled unequally, are refused by name. JPEG inside TIFF differs by at most one level.
//!
//! # Samples of more than 8 bits
//! Where an image keeps the channels of its file ([`decode_as`]), samples of more than 8 bits are numbers on a scale where
//! 255 is the largest 16-bit (or 32-bit) whole number, or the floating-point number 1. The rule looks at the type alone,
//! so that all images of a set are scaled alike.

mod array;
mod formats;
mod jpeg;
mod native;
mod orientation;
mod tiff;

use std::panic::{UnwindSafe, catch_unwind};

use crate::raster::{Channels, Image, Samples};

/// The decoders and their versions, for cache keys: pixels from two decoders must never mix.
pub const DECODER: &str = "libjpeg-turbo-rs 0.9.0, image 0.25.10, image-webp 0.2.4; conversion 1";

/// What a decoded image may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest number of pixels; an image with more is refused by its header.
    pub max_pixels: u64,
}

impl Default for Limits {
    /// Pillow's limit against decompression bombs: 178,956,970 pixels, half a gigabyte of RGB.
    fn default() -> Self {
        Self { max_pixels: 178_956_970 }
    }
}

/// Why a file gave no pixels. The messages are about the content; the caller knows the path.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Zero bytes.
    #[error("the file is empty (0 bytes); copy it again from its source or remove it")]
    Empty,
    /// The content is no image in any known format.
    #[error(
        "the content is {found}, not a JPEG, PNG, WebP, BMP, GIF or TIFF image nor a NumPy array; convert the file or remove it \
         (its name does not matter)"
    )]
    NotAnImage {
        /// What the content looks like.
        found: String,
    },
    /// More pixels than [`Limits::max_pixels`].
    #[error(
        "the image has {width}×{height} pixels, more than the limit of {limit}; scale it down, or raise the limit \
         with --max-megapixels if the file is to be trusted"
    )]
    TooLarge {
        /// Pixels in a row.
        width: u64,
        /// Rows.
        height: u64,
        /// The limit in force, in pixels.
        limit: u64,
    },
    /// The data stop before the last pixel.
    #[error(
        "the {format} data are truncated: the file stops before the last pixel; copy it again from its source"
    )]
    Truncated {
        /// Name of the format.
        format: &'static str,
    },
    /// The data contradict the format.
    #[error("the {format} data are damaged ({reason}); copy the file again from its source")]
    Damaged {
        /// Name of the format.
        format: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// The channels cannot become those that the network takes.
    #[error(
        "the image has {found}, the network takes {}; leave the file out, or give all images of the set the same \
         channels", channels_taken(*.expected)
    )]
    WrongChannels {
        /// Channels of the network.
        expected: usize,
        /// What the image has, in words.
        found: String,
    },
    /// A NumPy array that is damaged or no image.
    #[error("the NumPy array cannot be read as an image: {reason}")]
    Array {
        /// What is wrong with it.
        reason: String,
    },
    /// A sample is infinite or not a number.
    #[error(
        "the image holds values that are infinite or not numbers; replace them, for instance with numpy.nan_to_num, or leave \
         the file out"
    )]
    NotFinite,
    /// Floating-point samples on another scale than 0 … 1.
    #[error(
        "the image holds values up to {largest}, and floating-point images are taken from 0 (black) to 1 (white); divide \
         them, or save whole numbers of 8 or 16 bits"
    )]
    Scale {
        /// The largest value.
        largest: f32,
    },
    /// A variant of the format that is not implemented.
    #[error("this kind of {format} is not supported ({reason}); convert the file to PNG")]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// What the decoder says.
        reason: String,
    },
}

fn channels_taken(count: usize) -> String {
    match count {
        1 => "grey images".to_owned(),
        3 => "RGB images".to_owned(),
        count => format!("images of {count} channels"),
    }
}

/// Decodes a file's bytes, applies its EXIF orientation, and converts to RGB: of 8 bits, but for arrays and for bands of
/// more bits.
///
/// # Errors
/// The content is empty, no image, too large, truncated, damaged, of an unsupported kind, or has channels that are no
/// picture.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Image, DecodeError> {
    let format = sniff(bytes)?;
    guarded(format, || match format {
        Format::Jpeg => jpeg::decode(bytes, limits),
        Format::Array => converted(array::decode(bytes, limits)?, 3),
        Format::Other(format) => converted(formats::decode(bytes, format, limits)?, 3),
    })
}

/// Decodes a file's bytes for a network of so many channels and applies the EXIF orientation. Three are those of
/// [`decode`]; otherwise pictures keep their grey or colours, alpha and depth, as far as the number asks for them, and
/// what is no picture must have that number.
///
/// # Errors
/// As [`decode`], or the channels cannot become those.
pub fn decode_as(bytes: &[u8], channels: usize, limits: &Limits) -> Result<Image, DecodeError> {
    if channels == 3 {
        return decode(bytes, limits);
    }
    let format = sniff(bytes)?;
    guarded(format, || {
        let image = match format {
            Format::Jpeg => jpeg::native(bytes, limits),
            Format::Array => array::decode(bytes, limits),
            Format::Other(format) => formats::native(bytes, format, limits),
        };
        converted(image?, channels)
    })
}

fn converted(image: Image, channels: usize) -> Result<Image, DecodeError> {
    let (file, found) = (image.file(), image.file().name());
    let image = native::with_channels(image, channels);
    let image = image.ok_or(DecodeError::WrongChannels { expected: channels, found })?;
    if let Samples::Numbers(samples) = image.samples() {
        check_numbers(samples, file.visible || channels == 3)?;
    }
    Ok(image)
}

/// What a picture's values may be at most, where 1 is white: highlights may be brighter, and 0 … 255 is another scale.
const BRIGHTEST: f32 = 64.0;

/// Bands of other meanings than colours have any scale; they are normalised by what they hold.
fn check_numbers(samples: &[f32], is_picture: bool) -> Result<(), DecodeError> {
    if !samples.iter().all(|sample| sample.is_finite()) {
        return Err(DecodeError::NotFinite);
    }
    let largest = samples.iter().copied().fold(0.0, f32::max) / 255.0;
    if is_picture && largest > BRIGHTEST { Err(DecodeError::Scale { largest }) } else { Ok(()) }
}

/// What the pixels are made of, from the header alone.
///
/// # Errors
/// As [`dimensions`].
pub fn channels(bytes: &[u8]) -> Result<Channels, DecodeError> {
    let format = sniff(bytes)?;
    guarded(format, || match format {
        Format::Jpeg => jpeg::channels(bytes),
        Format::Array => array::channels(bytes),
        Format::Other(format) => formats::channels(bytes, format),
    })
}

/// Width and height in pixels after EXIF orientation, from the header alone.
///
/// # Errors
/// As [`decode`], except that damage behind the header goes unnoticed and no limit applies.
pub fn dimensions(bytes: &[u8]) -> Result<(usize, usize), DecodeError> {
    let format = sniff(bytes)?;
    guarded(format, || match format {
        Format::Jpeg => jpeg::dimensions(bytes),
        Format::Array => array::dimensions(bytes),
        Format::Other(format) => formats::dimensions(bytes, format),
    })
}

#[derive(Clone, Copy)]
enum Format {
    Jpeg,
    Array,
    Other(formats::Format),
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Array => "npy",
            Self::Other(format) => format.name(),
        }
    }
}

/// Runs a decoder so that a panic inside it becomes an error. The decoders are other people's, a file is anybody's, and
/// a single hostile file must not end a run of days.
fn guarded<T>(
    format: Format,
    work: impl FnOnce() -> Result<T, DecodeError> + UnwindSafe,
) -> Result<T, DecodeError> {
    let reason = "the decoder failed on it".to_owned();
    catch_unwind(work).unwrap_or(Err(DecodeError::Damaged { format: format.name(), reason }))
}

fn sniff(bytes: &[u8]) -> Result<Format, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        return Ok(Format::Jpeg);
    }
    if bytes.starts_with(array::MAGIC) {
        return Ok(Format::Array);
    }
    formats::guess(bytes)
        .map(Format::Other)
        .ok_or_else(|| DecodeError::NotAnImage { found: describe(bytes).to_owned() })
}

/// What content that is no image looks like, as far as a user would want to know.
fn describe(bytes: &[u8]) -> &'static str {
    let beginning = bytes.get(..512).unwrap_or(bytes);
    let brand = bytes.get(4..12).unwrap_or_default();
    match brand {
        b"ftypavif" | b"ftypavis" => "an AVIF image",
        b"ftypheic" | b"ftypheix" | b"ftypmif1" | b"ftyphevc" => "a HEIC image",
        [b'f', b't', b'y', b'p', ..] => "a video",
        _ if beginning.starts_with(b"%PDF") => "a PDF document",
        _ if beginning.starts_with(b"PK\x03\x04") => "a ZIP archive",
        _ if beginning.trim_ascii_start().starts_with(b"<") => "a web page, SVG or other markup",
        _ if beginning.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')) => "plain text",
        _ => "unrecognised binary data",
    }
}

fn check_size(width: u64, height: u64, limits: &Limits) -> Result<(), DecodeError> {
    if width.saturating_mul(height) <= limits.max_pixels {
        return Ok(());
    }
    Err(DecodeError::TooLarge { width, height, limit: limits.max_pixels })
}

fn rgb_image(
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    format: &'static str,
) -> Result<Image, DecodeError> {
    let reason = || format!("{} bytes for {width}×{height} pixels", pixels.len());
    let error = DecodeError::Damaged { format, reason: reason() };
    Image::rgb(width, height, pixels).ok_or(error)
}

/// Ink to light as Pillow computes it: `255 − black − ink · (255 − black) / 255`, rounded and clipped.
fn cmyk_to_rgb([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let white = 255 - i32::from(black);
    [cyan, magenta, yellow].map(|ink| {
        let product = i32::from(ink) * white + 128;
        (white - ((product + (product >> 8)) >> 8)).clamp(0, 255) as u8
    })
}
