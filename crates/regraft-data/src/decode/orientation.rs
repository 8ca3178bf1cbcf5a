//! The orientation that a camera recorded: read from XMP where EXIF is silent, and applied to the pixels.

use crate::raster::{Image, Samples};

/// The value of `tiff:Orientation`, 0 to 9, in an XMP packet; Pillow's fallback when EXIF does not say.
pub(super) fn from_xmp(packet: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let start = packet.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    match packet.get(start..)? {
        [b'=', b'"', digit @ b'0'..=b'9', ..] | [b'>', digit @ b'0'..=b'9', ..] => Some(digit - b'0'),
        _ => None,
    }
}

/// Whether the orientation exchanges width and height.
pub(super) fn exchanges_sides(orientation: u8) -> bool {
    (5..=8).contains(&orientation)
}

/// The image as the camera meant it to be seen. Values other than 2 to 8 leave it as it is (EXIF 2.32, tag 274).
pub(super) fn apply(image: Image, orientation: u8) -> Image {
    if !(2..=8).contains(&orientation) {
        return image;
    }
    let (width, height, channels) = (image.width(), image.height(), image.channels());
    let samples = match image.samples() {
        Samples::Bytes(bytes) => Samples::Bytes(turned(bytes, (width, height), channels, orientation)),
        Samples::Numbers(numbers) => {
            Samples::Numbers(turned(numbers, (width, height), channels, orientation))
        }
    };
    let size = if exchanges_sides(orientation) { (height, width) } else { (width, height) };
    image.with_samples(size, channels, samples).unwrap_or(image)
}

fn turned<T: Copy>(
    samples: &[T],
    (width, height): (usize, usize),
    channels: usize,
    orientation: u8,
) -> Vec<T> {
    let (from_right, from_bottom) = match orientation {
        2 | 6 => (true, false),
        3 | 7 => (true, true),
        4 | 8 => (false, true),
        _ => (false, false),
    };
    if exchanges_sides(orientation) {
        mirrored(&transposed(samples, width, channels), height * channels, channels, from_right, from_bottom)
    } else {
        mirrored(samples, width * channels, channels, from_right, from_bottom)
    }
}

/// Rows become columns.
fn transposed<T: Copy>(samples: &[T], width: usize, channels: usize) -> Vec<T> {
    let mut transposed = Vec::with_capacity(samples.len());
    for x in 0..width {
        let rows = samples.chunks_exact(channels * width);
        let column = rows.filter_map(|row| row.get(channels * x..channels * (x + 1)));
        transposed.extend(column.flatten());
    }
    transposed
}

fn mirrored<T: Copy>(
    samples: &[T],
    stride: usize,
    channels: usize,
    from_right: bool,
    from_bottom: bool,
) -> Vec<T> {
    let mut rows: Vec<&[T]> = samples.chunks_exact(stride).collect();
    if from_bottom {
        rows.reverse();
    }
    if !from_right {
        return rows.concat();
    }
    rows.iter().flat_map(|row| row.rchunks_exact(channels)).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xmp_is_read_as_attribute_and_as_element() {
        assert_eq!(from_xmp(b"<a tiff:Orientation=\"6\"/>"), Some(6));
        assert_eq!(from_xmp(b"<tiff:Orientation>3</tiff:Orientation>"), Some(3));
        assert_eq!(from_xmp(b"<tiff:Orientation"), None);
    }
}
