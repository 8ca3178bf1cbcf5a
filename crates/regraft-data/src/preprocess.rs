//! From pixels to the network's input: resize, centre crop, normalise, one plane a channel.
//!
//! What torchvision does in `Resize`, `CenterCrop`, `ToTensor` and `Normalize` on a Pillow image, with means and
//! deviations on the scale 0 … 255. Where the resized image is smaller than the crop, black is put around it. The engine
//! normalises while it loads pixels, so that a batch on its way takes a byte a sample: [`crop`].

use regraft_graph::{Preprocessing, Resize};

use crate::raster::RgbImage;
use crate::resize::{centre, resize_window, short_side_size};

/// Why no input could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreprocessError {
    /// The preprocessing asks for an image without pixels.
    #[error(
        "the preprocessing asks for a size of zero (resize {resize:?}, crop {crop:?}); correct the model's card"
    )]
    ZeroSize {
        /// How the image was to be brought to size.
        resize: Resize,
        /// Height and width of the crop.
        crop: [usize; 2],
    },
    /// The output does not hold three planes of the crop's size.
    #[error(
        "the output holds {found} values, the preprocessing gives {expected} (3 × height × width of the crop)"
    )]
    WrongLength {
        /// `3 × height × width` of the crop.
        expected: usize,
        /// Length of the output given.
        found: usize,
    },
}

/// Number of values that [`preprocess`] writes: `3 × height × width` of the crop.
pub fn output_length(preprocessing: &Preprocessing) -> usize {
    let [height, width] = preprocessing.crop;
    height.saturating_mul(width).saturating_mul(3)
}

/// The part of the resized image that the network sees, in the crop's size, not normalised yet.
///
/// # Errors
/// A size in `preprocessing` is zero.
pub fn crop(image: &RgbImage, preprocessing: &Preprocessing) -> Result<RgbImage, PreprocessError> {
    let [height, width] = preprocessing.crop;
    let zero = PreprocessError::ZeroSize { resize: preprocessing.resize, crop: preprocessing.crop };
    let size = resized_size(image, preprocessing.resize);
    let (columns, left) = centre(size.0, width);
    let (rows, top) = centre(size.1, height);
    let window =
        resize_window(image, size, columns.clone(), rows.clone(), preprocessing.filter).ok_or(zero)?;
    if (columns.len(), rows.len()) == (width, height) {
        return Ok(window);
    }
    let mut padded = vec![0; 3 * width * height];
    let places = padded.chunks_exact_mut(3 * width).skip(top);
    for (row, place) in window.rows().zip(places) {
        place.iter_mut().skip(3 * left).zip(row).for_each(|(place, sample)| *place = *sample);
    }
    Ok(RgbImage::new(width, height, padded).unwrap_or(window))
}

/// Writes the network's input, shape 3 × height × width (of the crop), channels in the order that the network expects.
///
/// # Errors
/// A size in `preprocessing` is zero, or `output` does not have [`output_length`] elements.
pub fn preprocess(
    image: &RgbImage,
    preprocessing: &Preprocessing,
    output: &mut [f32],
) -> Result<(), PreprocessError> {
    let expected = output_length(preprocessing);
    if output.len() != expected {
        return Err(PreprocessError::WrongLength { expected, found: output.len() });
    }
    let cropped = crop(image, preprocessing)?;
    let plane = cropped.width() * cropped.height();
    for (channel, plane) in output.chunks_exact_mut(plane).enumerate() {
        let (sample, values) = preprocessing.channel(channel);
        let samples = cropped.pixels().iter().skip(sample).step_by(3);
        for (value, sample) in plane.iter_mut().zip(samples) {
            *value = values.get(usize::from(*sample)).copied().unwrap_or_default();
        }
    }
    Ok(())
}

/// Width and height after the resize.
fn resized_size(image: &RgbImage, resize: Resize) -> (usize, usize) {
    match resize {
        Resize::ShortSide(short) => short_side_size((image.width(), image.height()), short),
        Resize::Exact([height, width]) => (width, height),
    }
}
