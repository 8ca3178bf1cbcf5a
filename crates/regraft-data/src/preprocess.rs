//! From pixels to the network's input: resize, centre crop, normalise, one plane a channel.
//!
//! What torchvision does in `Resize`, `CenterCrop`, `ToTensor` and `Normalize` on a Pillow image, with means and
//! deviations on the scale 0 … 255. Where the resized image is smaller than the crop, black is put around it. The engine
//! normalises while it loads pixels, so that a batch on its way takes a byte a sample: [`crop`].

use std::ops::Range;

use regraft_graph::{Preprocessing, Resize};

use crate::raster::{Image, Samples};
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
    /// The image has other channels than the network.
    #[error("the image has {found} channels, the network takes {expected}")]
    WrongChannels {
        /// Channels of the network.
        expected: usize,
        /// Channels of the image.
        found: usize,
    },
    /// The output does not hold a plane of the crop's size for each channel.
    #[error(
        "the output holds {found} values, the preprocessing gives {expected} (channels × height × width of the crop)"
    )]
    WrongLength {
        /// `channels × height × width` of the crop.
        expected: usize,
        /// Length of the output given.
        found: usize,
    },
}

/// Number of values that [`preprocess`] writes: `channels × height × width` of the crop.
pub fn output_length(preprocessing: &Preprocessing) -> usize {
    let [height, width] = preprocessing.crop;
    height.saturating_mul(width).saturating_mul(preprocessing.channels())
}

/// The part of the resized image that the network sees, in the crop's size, not normalised yet.
///
/// # Errors
/// A size in `preprocessing` is zero, or the image has other channels than the network.
pub fn crop(image: &Image, preprocessing: &Preprocessing) -> Result<Image, PreprocessError> {
    crop_at(image, preprocessing, centre, centre)
}

/// Where a crop of so many pixels lies along a side of so many, and the padding before it: as [`centre`].
pub(crate) type Place = fn(usize, usize) -> (Range<usize>, usize);

/// As [`crop`], with the crop at another place across and down.
pub(crate) fn crop_at(
    image: &Image,
    preprocessing: &Preprocessing,
    across: Place,
    down: Place,
) -> Result<Image, PreprocessError> {
    check_channels(image, preprocessing)?;
    let [height, width] = preprocessing.crop;
    let size = resized_size(image, preprocessing.resize);
    let (columns, left) = across(size.0, width);
    let (rows, top) = down(size.1, height);
    let window = resize_window(image, size, columns.clone(), rows.clone(), preprocessing.filter)
        .ok_or_else(|| zero_size(preprocessing))?;
    if (columns.len(), rows.len()) == (width, height) {
        return Ok(window);
    }
    let place = (left, top);
    let padded = match window.samples() {
        Samples::Bytes(bytes) => Samples::Bytes(padded(bytes, &window, place, (width, height))),
        Samples::Numbers(numbers) => Samples::Numbers(padded(numbers, &window, place, (width, height))),
    };
    Ok(window.with_samples((width, height), image.channels(), padded).unwrap_or(window))
}

/// That the image has the channels of the network.
pub(crate) fn check_channels(image: &Image, preprocessing: &Preprocessing) -> Result<(), PreprocessError> {
    let (expected, found) = (preprocessing.channels(), image.channels());
    if expected == found { Ok(()) } else { Err(PreprocessError::WrongChannels { expected, found }) }
}

pub(crate) fn zero_size(preprocessing: &Preprocessing) -> PreprocessError {
    PreprocessError::ZeroSize { resize: preprocessing.resize, crop: preprocessing.crop }
}

/// The window's samples with black around them.
fn padded<T: Copy + Default>(
    samples: &[T],
    window: &Image,
    (left, top): (usize, usize),
    (width, height): (usize, usize),
) -> Vec<T> {
    let channels = window.channels();
    let mut padded = vec![T::default(); channels * width * height];
    let places = padded.chunks_exact_mut(channels * width).skip(top);
    for (row, place) in samples.chunks_exact(channels * window.width()).zip(places) {
        place.iter_mut().skip(channels * left).zip(row).for_each(|(place, sample)| *place = *sample);
    }
    padded
}

/// Writes the network's input, shape channels × height × width (of the crop), channels in the order that the network expects.
///
/// # Errors
/// As [`crop`], or `output` does not have [`output_length`] elements.
pub fn preprocess(
    image: &Image,
    preprocessing: &Preprocessing,
    output: &mut [f32],
) -> Result<(), PreprocessError> {
    let expected = output_length(preprocessing);
    if output.len() != expected {
        return Err(PreprocessError::WrongLength { expected, found: output.len() });
    }
    normalise(crop(image, preprocessing)?.samples(), preprocessing, output);
    Ok(())
}

/// Writes the planes of a [`crop`], normalised.
pub fn normalise(crop: &Samples, preprocessing: &Preprocessing, output: &mut [f32]) {
    let channels = preprocessing.channels().max(1);
    let plane = (output.len() / channels).max(1);
    for (channel, plane) in output.chunks_exact_mut(plane).enumerate() {
        let (sample, values) = preprocessing.channel(channel);
        match crop {
            Samples::Bytes(bytes) => {
                let samples = bytes.iter().skip(sample).step_by(channels);
                let values =
                    samples.map(|sample| values.get(usize::from(*sample)).copied().unwrap_or_default());
                plane.iter_mut().zip(values).for_each(|(place, value)| *place = value);
            }
            Samples::Numbers(numbers) => {
                let samples = numbers.iter().skip(sample).step_by(channels);
                let values = samples.map(|sample| preprocessing.normalise(channel, *sample));
                plane.iter_mut().zip(values).for_each(|(place, value)| *place = value);
            }
        }
    }
}

/// Width and height after the resize.
fn resized_size(image: &Image, resize: Resize) -> (usize, usize) {
    match resize {
        Resize::ShortSide(short) => short_side_size((image.width(), image.height()), short),
        Resize::Exact([height, width]) => (width, height),
    }
}
