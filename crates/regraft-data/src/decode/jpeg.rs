//! JPEG, through `libjpeg-turbo-rs`. No other file names that crate.

use libjpeg_turbo_rs::{
    ColorSpace, ComponentInfo, DecodeLimits, DecodeWarning, Decoder, FrameHeader, Image as Decoded,
    JpegError, PixelFormat,
};

use super::{DecodeError, Limits, check_size, orientation, rgb_image};
use crate::raster::{Channels, Image, Samples};

const FORMAT: &str = "JPEG";
/// Scans of a progressive file: real ones have about ten, a bomb thousands.
const MAX_SCANS: usize = 500;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Image, DecodeError> {
    decode_with(bytes, limits, rgb)
}

/// Grey where the file is.
pub(super) fn native(bytes: &[u8], limits: &Limits) -> Result<Image, DecodeError> {
    decode_with(bytes, limits, |image| match image.pixel_format {
        PixelFormat::Grayscale => {
            let reason = format!("{} bytes for {}×{} pixels", image.data.len(), image.width, image.height);
            let image = Image::new(image.width, image.height, 1, Samples::Bytes(image.data));
            image.ok_or(DecodeError::Damaged { format: FORMAT, reason })
        }
        _ => rgb(image),
    })
}

/// What the pixels are made of; inks count as colours.
pub(super) fn channels(bytes: &[u8]) -> Result<Channels, DecodeError> {
    Ok(of_format(output_format(&open(bytes)?)))
}

fn of_format(format: PixelFormat) -> Channels {
    let count = if format == PixelFormat::Grayscale { 1 } else { 3 };
    Channels { count, ..Channels::RGB }
}

fn decode_with(
    bytes: &[u8],
    limits: &Limits,
    pixels: impl Fn(Decoded) -> Result<Image, DecodeError>,
) -> Result<Image, DecodeError> {
    let mut decoder = open(bytes)?;
    check_sampling(decoder.header())?;
    check_size(decoder.header().width() as u64, decoder.header().height() as u64, limits)?;
    decoder.set_output_format(output_format(&decoder));
    // libjpeg carries on after damaged entropy codes, and Pillow with it; only missing data are an error.
    decoder.set_lenient(true);
    let orientation = recorded_orientation(&decoder);
    let image = decoder.decode_image().map_err(|error| explain(&error))?;
    if is_truncated(bytes, &image) {
        return Err(DecodeError::Truncated { format: FORMAT });
    }
    let file = of_format(image.pixel_format);
    Ok(orientation::apply(pixels(image)?, orientation).from_file(file))
}

pub(super) fn dimensions(bytes: &[u8]) -> Result<(usize, usize), DecodeError> {
    let decoder = open(bytes)?;
    let (width, height) = (decoder.header().width(), decoder.header().height());
    let exchanged = orientation::exchanges_sides(recorded_orientation(&decoder));
    Ok(if exchanged { (height, width) } else { (width, height) })
}

/// Reads the headers; allocates nothing of the image's size.
fn open(bytes: &[u8]) -> Result<Decoder<'_>, DecodeError> {
    let limits = DecodeLimits { max_scans: MAX_SCANS, ..DecodeLimits::default() };
    Decoder::new_with_limits(bytes, limits).map_err(|error| explain(&error))
}

/// Refuses what the decoder is known to stumble over: no rows (a later marker may give their number, which cameras do
/// not do), and four components with other sampling factors than those of Adobe's CMYK (all equal) and YCCK (the two
/// chroma components 1 × 1, the others equal). With ink planes of other sizes it panics or gives wrong pixels.
fn check_sampling(header: &FrameHeader) -> Result<(), DecodeError> {
    let unsupported = |reason: &str| DecodeError::Unsupported { format: FORMAT, reason: reason.to_owned() };
    if header.width() == 0 || header.height() == 0 {
        return Err(unsupported("its header states a size of zero"));
    }
    let factors = |component: &ComponentInfo| (component.horizontal_sampling, component.vertical_sampling);
    match header.components.iter().map(factors).collect::<Vec<_>>().as_slice() {
        [first, second, third, fourth]
            if first != fourth
                || second != third
                || !(second == first || (*second == (1, 1) && first.0 <= 2 && first.1 <= 2)) =>
        {
            Err(unsupported("four channels with unusual sampling factors"))
        }
        _ => Ok(()),
    }
}

fn recorded_orientation(decoder: &Decoder) -> u8 {
    let from_xmp = || decoder.xmp_data().and_then(orientation::from_xmp);
    decoder.exif_orientation().or_else(from_xmp).unwrap_or(1)
}

fn output_format(decoder: &Decoder) -> PixelFormat {
    match decoder.jpeg_color_space() {
        ColorSpace::Grayscale => PixelFormat::Grayscale,
        ColorSpace::Cmyk | ColorSpace::Ycck => PixelFormat::Cmyk,
        _ => PixelFormat::Rgb,
    }
}

/// The decoder noticed missing data, or the end-of-image marker never came after the last start of scan.
fn is_truncated(bytes: &[u8], image: &Decoded) -> bool {
    let last = bytes.windows(2).rfind(|pair| matches!(pair, [0xff, 0xd9 | 0xda]));
    image.warnings.iter().any(|warning| matches!(warning, DecodeWarning::TruncatedData { .. }))
        || last == Some(&[0xff, 0xda])
}

fn rgb(image: Decoded) -> Result<Image, DecodeError> {
    let pixels = match image.pixel_format {
        PixelFormat::Grayscale => image.data.iter().flat_map(|&grey| [grey; 3]).collect(),
        PixelFormat::Cmyk => image.data.as_chunks().0.iter().flat_map(|&cmyk| inverted_cmyk(cmyk)).collect(),
        _ => image.data,
    };
    rgb_image(image.width, image.height, pixels, FORMAT)
}

/// CMYK as stored by Adobe, full ink being 0; Pillow takes every four-channel JPEG to be of that kind.
fn inverted_cmyk(stored: [u8; 4]) -> [u8; 3] {
    super::cmyk_to_rgb(stored.map(|ink| 255 - ink))
}

fn explain(error: &JpegError) -> DecodeError {
    match error {
        JpegError::UnexpectedEof => DecodeError::Truncated { format: FORMAT },
        JpegError::Unsupported(reason) => DecodeError::Unsupported { format: FORMAT, reason: reason.clone() },
        other => DecodeError::Damaged { format: FORMAT, reason: other.to_string() },
    }
}
