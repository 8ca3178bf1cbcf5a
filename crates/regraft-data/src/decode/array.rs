//! NumPy arrays as images: height × width, or height × width × channels.

use regraft_formats::npy::{ImageArray, ImageValues};

use super::native::{bands, from_16_bits, from_floats, visible};
use super::{DecodeError, Limits, check_size};
use crate::raster::{Channels, Image, Samples};

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// What the pixels are made of, from the header alone.
pub(super) fn channels(bytes: &[u8]) -> Result<Channels, DecodeError> {
    let header = ImageArray::header(bytes).map_err(refused)?;
    Ok(of_array(header.channels, header.deep))
}

/// Height and width, from the header alone.
pub(super) fn dimensions(bytes: &[u8]) -> Result<(usize, usize), DecodeError> {
    let header = ImageArray::header(bytes).map_err(refused)?;
    Ok((header.width, header.height))
}

/// One channel is grey, three of bytes are red, green and blue; of all others nobody says what they are.
fn of_array(count: usize, deep: bool) -> Channels {
    if count == 1 || (count == 3 && !deep) { visible(count, deep) } else { bands(count, deep) }
}

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Image, DecodeError> {
    let header = ImageArray::header(bytes).map_err(refused)?;
    check_size(header.width as u64, header.height as u64, limits)?;
    let ImageArray { height, width, channels, values } = ImageArray::read(bytes).map_err(refused)?;
    let samples = match values {
        ImageValues::U8(values) => Samples::Bytes(values),
        ImageValues::U16(values) => from_16_bits(values),
        ImageValues::F32(values) => from_floats(values),
    };
    let deep = matches!(samples, Samples::Numbers(_));
    let image = Image::new(width, height, channels, samples);
    let image = image.ok_or_else(|| refused("an array without values".to_owned()))?;
    Ok(image.from_file(of_array(channels, deep)))
}

fn refused(reason: String) -> DecodeError {
    DecodeError::Array { reason }
}
