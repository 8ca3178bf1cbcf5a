//! The orientation that a camera recorded: read from XMP where EXIF is silent, and applied to the pixels.

use crate::raster::RgbImage;

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
pub(super) fn apply(image: RgbImage, orientation: u8) -> RgbImage {
    let upright = if exchanges_sides(orientation) { transposed(&image) } else { image };
    let (from_right, from_bottom) = match orientation {
        2 | 6 => (true, false),
        3 | 7 => (true, true),
        4 | 8 => (false, true),
        _ => return upright,
    };
    mirrored(upright, from_right, from_bottom)
}

/// Rows become columns.
fn transposed(image: &RgbImage) -> RgbImage {
    let stride = 3 * image.width();
    let mut pixels = Vec::with_capacity(image.pixels().len());
    for x in 0..image.width() {
        let column = image.pixels().chunks_exact(stride).filter_map(|row| row.get(3 * x..3 * x + 3));
        pixels.extend(column.flatten());
    }
    RgbImage::new(image.height(), image.width(), pixels).unwrap_or_else(|| image.clone())
}

fn mirrored(image: RgbImage, from_right: bool, from_bottom: bool) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let rows: Vec<&[u8]> = if from_bottom { image.rows().rev().collect() } else { image.rows().collect() };
    let pixels = if from_right {
        rows.iter().flat_map(|row| row.rchunks_exact(3)).flatten().copied().collect()
    } else {
        rows.concat()
    };
    RgbImage::new(width, height, pixels).unwrap_or(image)
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
