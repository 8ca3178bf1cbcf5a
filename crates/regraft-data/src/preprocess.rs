//! From pixels to the network's input: resize, centre crop, normalise, one plane a channel.
//!
//! What torchvision does in `Resize`, `CenterCrop`, `ToTensor` and `Normalize` on a Pillow image, with means and
//! deviations on the scale 0 … 255. Where the resized image is smaller than the crop, black is put around it.

use std::ops::Range;

use regraft_graph::{ChannelOrder, Preprocessing, Resize};

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
    let [height, width] = preprocessing.crop;
    let zero = PreprocessError::ZeroSize { resize: preprocessing.resize, crop: preprocessing.crop };
    let size = resized_size(image, preprocessing.resize);
    let (columns, left) = centre(size.0, width);
    let (rows, top) = centre(size.1, height);
    let cropped =
        resize_window(image, size, columns.clone(), rows.clone(), preprocessing.filter).ok_or(zero)?;
    let place = Place { columns: left..left + columns.len(), rows: top..top + rows.len(), width };
    for (channel, plane) in output.chunks_exact_mut(height * width).enumerate() {
        write_plane(&cropped, &Channel::new(preprocessing, channel), &place, plane);
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

/// Where the cropped pixels go in a plane of `width` columns; the rest is padding.
struct Place {
    columns: Range<usize>,
    rows: Range<usize>,
    width: usize,
}

/// One channel of the output: its place in an RGB pixel and the normalised value of each 8-bit sample.
struct Channel {
    offset: usize,
    values: [f32; 256],
}

impl Channel {
    fn new(preprocessing: &Preprocessing, channel: usize) -> Self {
        let offset = match preprocessing.channel_order {
            ChannelOrder::Rgb => channel,
            ChannelOrder::Bgr => 2 - channel,
        };
        let mean = preprocessing.mean.get(channel).copied().unwrap_or(0.0);
        let std = preprocessing.std.get(channel).copied().unwrap_or(1.0);
        Self { offset, values: std::array::from_fn(|sample| (sample as f32 - mean) / std) }
    }

    fn value(&self, sample: u8) -> f32 {
        self.values.get(usize::from(sample)).copied().unwrap_or(0.0)
    }
}

fn write_plane(image: &RgbImage, channel: &Channel, place: &Place, plane: &mut [f32]) {
    if place.columns.len() * place.rows.len() < plane.len() {
        plane.fill(channel.value(0));
    }
    let rows = plane.chunks_exact_mut(place.width).skip(place.rows.start);
    for (pixels, row) in image.rows().zip(rows) {
        let samples = pixels.iter().skip(channel.offset).step_by(3);
        for (value, sample) in row.iter_mut().skip(place.columns.start).zip(samples) {
            *value = channel.value(*sample);
        }
    }
}
