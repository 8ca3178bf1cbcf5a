//! TIFF of any number of samples, with 8, 16 or 32 bits or floating point, through `tiff`, the crate that `image` uses too.
//! No other file names it.

use std::io::Cursor;

use tiff::decoder::{Decoder, DecodingResult, Limits as Memory};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::native::{bands, from_16_bits, from_floats, visible};
use super::{DecodeError, Limits, check_size, orientation};
use crate::raster::{Channels, Image, Samples};

const FORMAT: &str = "TIFF";

/// Bytes that the samples of a pixel of the limit may take together.
const BYTES_PER_PIXEL: usize = 16;

/// What the pixels are made of, from the header alone.
pub(super) fn channels(bytes: &[u8]) -> Result<Channels, DecodeError> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(explain)?;
    Ok(of_decoder(&mut decoder)?.1)
}

/// Whether `image` refuses a file that this module reads: bands, grey with alpha, and grey of more than 16 bits.
pub(super) fn is_beyond_image(bytes: &[u8]) -> bool {
    let decoder = Decoder::new(Cursor::new(bytes));
    let colour = decoder.and_then(|mut decoder| decoder.colortype());
    match colour {
        Ok(ColorType::Gray(bits)) => bits > 16,
        colour => matches!(colour, Ok(ColorType::Multiband { .. })),
    }
}

/// Kinds of alpha, by the TIFF specification's numbers for samples beyond the colours.
const ALPHA: [u16; 2] = [1, 2];

fn of_decoder(decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<(ColorType, Channels), DecodeError> {
    let colour = decoder.colortype().map_err(explain)?;
    let extra = decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples).ok().flatten();
    let alpha = extra.is_some_and(|extra| extra.first().is_some_and(|kind| ALPHA.contains(kind)));
    let channels = of_colour(colour, alpha).ok_or_else(|| unsupported(colour))?;
    Ok((colour, channels))
}

fn of_colour(colour: ColorType, alpha: bool) -> Option<Channels> {
    let deep = colour.bit_depth() > 8;
    match colour {
        ColorType::Multiband { num_samples: 2, .. } if alpha => Some(visible(2, deep)),
        ColorType::Gray(_) => Some(visible(1, deep)),
        ColorType::GrayA(_) => Some(visible(2, deep)),
        ColorType::RGB(_) => Some(visible(3, deep)),
        ColorType::RGBA(_) => Some(visible(4, deep)),
        ColorType::Multiband { num_samples, .. } => Some(bands(num_samples.into(), deep)),
        // A picture in inks, luma and chroma or a palette, which are pixels once they are converted.
        ColorType::CMYK(_) | ColorType::YCbCr(_) | ColorType::Palette(_) | ColorType::Lab(_) => {
            Some(visible(3, false))
        }
        _ => None,
    }
}

/// Whether the samples are what [`of_colour`] says without a conversion.
fn is_direct(colour: ColorType) -> bool {
    use ColorType::{Gray, GrayA, Multiband, RGB, RGBA};
    matches!(colour, Gray(_) | GrayA(_) | RGB(_) | RGBA(_) | Multiband { .. })
}

fn unsupported(colour: ColorType) -> DecodeError {
    DecodeError::Unsupported { format: FORMAT, reason: format!("pixels of {colour:?}") }
}

/// Pixels with the channels that the file has. `None` where they must be converted first, as [`super::decode`] does.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Option<Image>, DecodeError> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(explain)?;
    let (width, height) = decoder.dimensions().map_err(explain)?;
    check_size(width.into(), height.into(), limits)?;
    let (colour, channels) = of_decoder(&mut decoder)?;
    // Further samples of a picture, such as a mask, are left out.
    let samples = decoder.find_tag_unsigned::<usize>(Tag::SamplesPerPixel).map_err(explain)?.unwrap_or(1);
    if !is_direct(colour) || samples != channels.count || colour.bit_depth() < 8 {
        return Ok(None);
    }
    let mut decoder = decoder.with_limits(memory(limits));
    let mut samples = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut samples).map_err(explain)?;
    let samples = numbers(samples)?;
    let samples = if layout.planes > 1 { interleaved(samples, layout.planes) } else { samples };
    let turn = orientation_of(&mut decoder);
    let reason = format!("the samples are not those of {width}×{height} pixels");
    let image = Image::new(width as usize, height as usize, channels.count, samples);
    let image = image.ok_or(DecodeError::Damaged { format: FORMAT, reason })?;
    let transparent = is_transparent(&image, channels);
    let image = image.from_file(channels).with_transparency(transparent);
    Ok(Some(orientation::apply(image, turn)))
}

/// Whether a pixel is less than opaque.
fn is_transparent(image: &Image, Channels { count, visible, .. }: Channels) -> bool {
    if !visible || count % 2 == 1 {
        return false;
    }
    match image.samples() {
        Samples::Bytes(bytes) => bytes.iter().skip(count - 1).step_by(count).any(|alpha| *alpha < u8::MAX),
        Samples::Numbers(numbers) => {
            numbers.iter().skip(count - 1).step_by(count).any(|alpha| *alpha < 255.0)
        }
    }
}

/// Width and height in pixels after orientation, from the header alone.
pub(super) fn dimensions(bytes: &[u8]) -> Result<(usize, usize), DecodeError> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(explain)?;
    let (width, height) = decoder.dimensions().map_err(explain)?;
    let (width, height) = (width as usize, height as usize);
    let exchanged = orientation::exchanges_sides(orientation_of(&mut decoder));
    Ok(if exchanged { (height, width) } else { (width, height) })
}

/// Damaged metadata do not make the pixels unreadable.
fn orientation_of(decoder: &mut Decoder<Cursor<&[u8]>>) -> u8 {
    let recorded = decoder.find_tag_unsigned::<u8>(Tag::Orientation);
    recorded.ok().flatten().unwrap_or(1)
}

fn memory(limits: &Limits) -> Memory {
    let pixels = usize::try_from(limits.max_pixels).unwrap_or(usize::MAX);
    let mut memory = Memory::default();
    memory.decoding_buffer_size = pixels.saturating_mul(BYTES_PER_PIXEL);
    memory.intermediate_buffer_size = memory.decoding_buffer_size;
    memory
}

/// On the scale 0 … 255: the largest whole number of a type becomes 255, and so does the number 1.
fn numbers(samples: DecodingResult) -> Result<Samples, DecodeError> {
    Ok(match samples {
        DecodingResult::U8(samples) => Samples::Bytes(samples),
        DecodingResult::U16(samples) => from_16_bits(samples),
        DecodingResult::U32(samples) => {
            from_floats(samples.into_iter().map(|sample| (f64::from(sample) / f64::from(u32::MAX)) as f32))
        }
        DecodingResult::I16(samples) => {
            from_floats(samples.into_iter().map(|sample| f32::from(sample) / f32::from(i16::MAX)))
        }
        DecodingResult::F32(samples) => from_floats(samples),
        DecodingResult::F64(samples) => from_floats(samples.into_iter().map(|sample| sample as f32)),
        _ => {
            let reason =
                "samples of another type than 8, 16 or 32 unsigned, 16 signed bits, or 32 or 64 of a float";
            return Err(DecodeError::Unsupported { format: FORMAT, reason: reason.to_owned() });
        }
    })
}

/// The samples of a pixel side by side, from one plane after the other.
fn interleaved(samples: Samples, planes: usize) -> Samples {
    fn of<T: Copy>(samples: &[T], planes: usize) -> Vec<T> {
        let plane = (samples.len() / planes).max(1);
        let pixel = |pixel: usize| samples.iter().skip(pixel).step_by(plane).take(planes).copied();
        (0..plane).flat_map(pixel).collect()
    }
    match samples {
        Samples::Bytes(samples) => Samples::Bytes(of(&samples, planes)),
        Samples::Numbers(samples) => Samples::Numbers(of(&samples, planes)),
    }
}

fn explain(error: TiffError) -> DecodeError {
    let reason = error.to_string();
    match error {
        TiffError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format: FORMAT }
        }
        TiffError::UnsupportedError(_) => DecodeError::Unsupported { format: FORMAT, reason },
        TiffError::LimitsExceeded => {
            let reason = "its samples need more memory than the limit of pixels allows".to_owned();
            DecodeError::Damaged { format: FORMAT, reason }
        }
        _ => DecodeError::Damaged { format: FORMAT, reason },
    }
}
