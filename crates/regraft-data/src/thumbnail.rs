//! Small pictures for reports.

use regraft_graph::ResizeFilter;

use crate::raster::Image;
use crate::resize::resize;

/// The image as a PNG file whose longer side has at most `side` pixels; of other than RGB images a [`view`].
///
/// [`view`]: crate::inspect::view
///
/// # Errors
/// None in practice: the pixels are in memory and so is the file.
pub fn png(image: &Image, side: usize) -> Result<Vec<u8>, png::EncodingError> {
    let image = crate::inspect::view(image);
    let small = shrunk(&image, side);
    let small = small.as_ref().unwrap_or(&image);
    let mut file = Vec::new();
    let length = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut file, length(small.width()), length(small.height()));
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(small.pixels())?;
    Ok(file)
}

/// `None` for an image that is small enough.
fn shrunk(image: &Image, side: usize) -> Option<Image> {
    let longer = image.width().max(image.height());
    let scaled = |length: usize| (length * side / longer.max(1)).max(1);
    (longer > side)
        .then(|| resize(image, scaled(image.width()), scaled(image.height()), ResizeFilter::Bicubic))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Limits, decode};

    #[test]
    fn a_thumbnail_keeps_the_aspect_ratio_and_never_grows() {
        for ((width, height), expected) in [((64, 16), (32, 8)), ((10, 20), (10, 20)), ((1, 500), (1, 32))] {
            let image = Image::rgb(width, height, vec![7; 3 * width * height]).unwrap();
            let small = decode(&png(&image, 32).unwrap(), &Limits::default()).unwrap();
            assert_eq!((small.width(), small.height()), expected);
            assert!(small.pixels().iter().all(|sample| *sample == 7));
        }
    }
}
