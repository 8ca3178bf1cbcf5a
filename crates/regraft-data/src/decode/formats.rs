//! PNG, WebP, BMP, GIF and TIFF, through `image`. No other file names that crate. TIFF that keeps its channels goes through
//! `tiff` instead, because `image` refuses those that are no picture.

use std::io::Cursor;

use image::error::{ImageError, LimitErrorKind};
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::native::{from_16_bits, from_floats, visible};
use super::{DecodeError, Limits, check_size, orientation, rgb_image, tiff};
use crate::raster::{Channels, Image, Samples};

/// Bytes that a decoder may hold per pixel of the limit: 16-bit RGBA, twice.
const BYTES_PER_PIXEL: u64 = 16;
/// Room for tables and metadata beside the pixels.
const OVERHEAD: u64 = 64 << 20;

/// A format that this module decodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format(ImageFormat, &'static str);

impl Format {
    pub(super) fn name(self) -> &'static str {
        self.1
    }
}

/// Tells the format from the first bytes.
pub(super) fn guess(bytes: &[u8]) -> Option<Format> {
    let format = image::guess_format(bytes).ok()?;
    let name = match format {
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Tiff => "TIFF",
        _ => return None,
    };
    Some(Format(format, name))
}

/// Pixels converted to RGB; those that `image` does not read as they are.
pub(super) fn decode(bytes: &[u8], format: Format, limits: &Limits) -> Result<Image, DecodeError> {
    if is_beyond_image(bytes, format) {
        return native(bytes, format, limits);
    }
    decode_with(bytes, format, limits, |image, size| rgb_image(size.0, size.1, rgb(image), format.1))
}

/// Pixels with the channels that the file has.
pub(super) fn native(bytes: &[u8], format: Format, limits: &Limits) -> Result<Image, DecodeError> {
    if is_tiff(format)
        && let Some(image) = tiff::decode(bytes, limits)?
    {
        return Ok(image);
    }
    decode_with(bytes, format, limits, |image, (width, height)| {
        let (channels, samples) = samples(image);
        let reason = format!("the samples are not those of {width}×{height} pixels");
        let image = Image::new(width, height, channels, samples);
        image.ok_or(DecodeError::Damaged { format: format.1, reason })
    })
}

/// Whether a file is a TIFF that `image` does not read.
fn is_beyond_image(bytes: &[u8], format: Format) -> bool {
    is_tiff(format) && tiff::is_beyond_image(bytes)
}

fn is_tiff(format: Format) -> bool {
    format.0 == ImageFormat::Tiff
}

/// What the pixels are made of; palettes count as the colours in them.
pub(super) fn channels(bytes: &[u8], format: Format) -> Result<Channels, DecodeError> {
    if is_tiff(format) {
        return tiff::channels(bytes);
    }
    let decoder = open(bytes, format).map_err(|error| explain(&error, format))?;
    Ok(of_color(decoder.color_type()))
}

fn of_color(color: ColorType) -> Channels {
    let count = color.channel_count();
    visible(count.into(), color.bytes_per_pixel() > count)
}

fn decode_with(
    bytes: &[u8],
    format: Format,
    limits: &Limits,
    pixels: impl Fn(DynamicImage, (usize, usize)) -> Result<Image, DecodeError>,
) -> Result<Image, DecodeError> {
    let explain = |error| explain(&error, format);
    let mut decoder = open(bytes, format).map_err(explain)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into(), limits)?;
    decoder.set_limits(memory(limits)).map_err(explain)?;
    let (orientation, file) = (recorded_orientation(&mut decoder), of_color(decoder.color_type()));
    let image = DynamicImage::from_decoder(decoder).map_err(explain)?;
    let transparent = is_transparent(&image);
    let image = pixels(image, (width as usize, height as usize))?;
    Ok(orientation::apply(image, orientation).with_transparency(transparent).from_file(file))
}

pub(super) fn dimensions(bytes: &[u8], format: Format) -> Result<(usize, usize), DecodeError> {
    if is_beyond_image(bytes, format) {
        return tiff::dimensions(bytes);
    }
    let mut decoder = open(bytes, format).map_err(|error| explain(&error, format))?;
    let (width, height) = decoder.dimensions();
    let exchanged = orientation::exchanges_sides(recorded_orientation(&mut decoder));
    let (width, height) = (width as usize, height as usize);
    Ok(if exchanged { (height, width) } else { (width, height) })
}

fn open(bytes: &[u8], format: Format) -> Result<impl ImageDecoder, ImageError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.0);
    reader.limits(memory(&Limits { max_pixels: 0 }));
    reader.into_decoder()
}

fn memory(limits: &Limits) -> image::Limits {
    let mut memory = image::Limits::no_limits();
    memory.max_alloc = Some(limits.max_pixels.saturating_mul(BYTES_PER_PIXEL).saturating_add(OVERHEAD));
    memory
}

fn recorded_orientation(decoder: &mut impl ImageDecoder) -> u8 {
    // Damaged metadata do not make the pixels unreadable.
    let recorded = decoder.orientation().map_or(1, |orientation| orientation.to_exif());
    if recorded > 1 {
        return recorded;
    }
    let packet = decoder.xmp_metadata().ok().flatten();
    packet.as_deref().and_then(orientation::from_xmp).unwrap_or(recorded)
}

/// Whether a pixel is less than opaque.
fn is_transparent(image: &DynamicImage) -> bool {
    match image {
        DynamicImage::ImageRgba8(image) => image.pixels().any(|pixel| pixel[3] < u8::MAX),
        DynamicImage::ImageLumaA8(image) => image.pixels().any(|pixel| pixel[1] < u8::MAX),
        DynamicImage::ImageRgba16(image) => image.pixels().any(|pixel| pixel[3] < u16::MAX),
        DynamicImage::ImageLumaA16(image) => image.pixels().any(|pixel| pixel[1] < u16::MAX),
        _ => false,
    }
}

/// 8-bit RGB as Pillow converts: alpha dropped, 16-bit grey clipped, other 16-bit samples cut to their high byte.
fn rgb(image: DynamicImage) -> Vec<u8> {
    match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageRgba8(image) => {
            image.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
        }
        DynamicImage::ImageLuma8(image) => image.as_raw().iter().flat_map(|&grey| [grey; 3]).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().flat_map(|pixel| [pixel[0]; 3]).collect(),
        DynamicImage::ImageLuma16(image) => {
            image.as_raw().iter().flat_map(|&grey| [grey.min(255) as u8; 3]).collect()
        }
        DynamicImage::ImageLumaA16(image) => {
            image.pixels().flat_map(|pixel| [high_byte(pixel[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(image) => image.as_raw().iter().copied().map(high_byte).collect(),
        DynamicImage::ImageRgba16(image) => {
            image.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]].map(high_byte)).collect()
        }
        other => other.into_rgb8().into_raw(),
    }
}

/// The samples as they are, and how many a pixel has.
fn samples(image: DynamicImage) -> (usize, Samples) {
    match image {
        DynamicImage::ImageLuma8(image) => (1, Samples::Bytes(image.into_raw())),
        DynamicImage::ImageLumaA8(image) => (2, Samples::Bytes(image.into_raw())),
        DynamicImage::ImageRgba8(image) => (4, Samples::Bytes(image.into_raw())),
        DynamicImage::ImageLuma16(image) => (1, from_16_bits(image.into_raw())),
        DynamicImage::ImageLumaA16(image) => (2, from_16_bits(image.into_raw())),
        DynamicImage::ImageRgb16(image) => (3, from_16_bits(image.into_raw())),
        DynamicImage::ImageRgba16(image) => (4, from_16_bits(image.into_raw())),
        DynamicImage::ImageRgb32F(image) => (3, from_floats(image.into_raw())),
        DynamicImage::ImageRgba32F(image) => (4, from_floats(image.into_raw())),
        other => (3, Samples::Bytes(other.into_rgb8().into_raw())),
    }
}

fn high_byte(sample: u16) -> u8 {
    (sample >> 8) as u8
}

fn explain(error: &ImageError, Format(_, format): Format) -> DecodeError {
    let reason = error.to_string();
    match error {
        ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format }
        }
        ImageError::Unsupported(_) => DecodeError::Unsupported { format, reason },
        ImageError::Limits(limit) if limit.kind() == LimitErrorKind::InsufficientMemory => {
            DecodeError::Damaged { format, reason: "it asks for more memory than its pixels need".to_owned() }
        }
        _ => DecodeError::Damaged { format, reason },
    }
}
