//! What a batch may be given as: numbers, or the bytes of decoded images.

use ndarray::{ArrayView, ArrayView4, Axis, Dimension, Ix2, Ix3, Ix4, Slice};
use regraft_graph::Preprocessing;

use crate::{EngineError, geometry::Geometry, layout};

/// From the samples of a pixel to the numbers of a network's channels.
///
/// The bytes are normalised while they are loaded, with the arithmetic that a separate step would use. Multiplied into
/// the first layer's weights instead, the normalisation would be another one at padded borders.
#[derive(Debug, Clone)]
pub struct Normalization {
    pub(crate) channels: Vec<Channel>,
}

/// A channel of the network's input.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    /// Which sample of a pixel it is made of.
    pub(crate) sample: usize,
    /// Its number for each value of the sample.
    pub(crate) values: [f32; 256],
}

impl Normalization {
    /// Order of the channels, means and deviations as the model's card has them.
    pub fn new(preprocessing: &Preprocessing) -> Self {
        let channel = |channel| {
            let (sample, values) = preprocessing.channel(channel);
            Channel { sample, values }
        };
        Self { channels: (0..preprocessing.channels()).map(channel).collect() }
    }
}

/// The images of a batch.
#[derive(Clone, Copy)]
pub(crate) enum Images<'a> {
    /// N×C×H×W.
    Numbers(ArrayView4<'a, f32>),
    /// H×W×C bytes each.
    Pixels(&'a [&'a [u8]], &'a Normalization),
}

impl Images<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len_of(Axis(0)),
            Self::Pixels(images, _) => images.len(),
        }
    }

    /// Whether the images are of the network's size.
    pub(crate) fn fit(&self, Geometry { channels, height, width, .. }: Geometry) -> bool {
        match self {
            Self::Numbers(numbers) => {
                matches!(numbers.shape(), [_, sizes @ ..] if sizes == [channels, height, width])
            }
            Self::Pixels(images, normalization) => {
                let bytes = channels * height * width;
                channels == normalization.channels.len() && images.iter().all(|image| image.len() == bytes)
            }
        }
    }

    /// Sizes of the axes; of pixels that do not fit, the number of images and the bytes of the first one.
    pub(crate) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Numbers(numbers) => numbers.shape().to_vec(),
            Self::Pixels(images, _) => vec![images.len(), images.first().map_or(0, |image| image.len())],
        }
    }

    /// The first `count` images and the others.
    pub(crate) fn split_at(self, count: usize) -> (Self, Self) {
        match self {
            Self::Numbers(numbers) => {
                let (head, tail) = numbers.split_at(Axis(0), count);
                (Self::Numbers(head), Self::Numbers(tail))
            }
            Self::Pixels(images, normalization) => {
                let (head, tail) = images.split_at(count);
                (Self::Pixels(head, normalization), Self::Pixels(tail, normalization))
            }
        }
    }

    /// Writes every image into its place.
    pub(crate) fn pack<'p>(&self, geometry: &Geometry, places: impl Iterator<Item = &'p mut [f32]>) {
        match self {
            Self::Numbers(numbers) => {
                numbers.outer_iter().zip(places).for_each(|(image, to)| layout::pack(image, geometry, to));
            }
            Self::Pixels(images, normalization) => {
                let channels = &normalization.channels;
                let images = images.iter().zip(places);
                images.for_each(|(image, to)| layout::pack_pixels(image, channels, geometry, to));
            }
        }
    }
}

/// N×C×H×W as it is; N×S×D as images of D channels, one row and S columns; N×D as images of D channels and one pixel.
///
/// # Errors
/// [`EngineError::InputShape`]: the array has another number of axes.
pub(crate) fn shaped<'i, D: Dimension>(
    input: ArrayView<'i, f32, D>,
    geometry: &Geometry,
) -> Result<ArrayView4<'i, f32>, EngineError> {
    let Geometry { channels, height, width, .. } = *geometry;
    let found = input.shape().to_vec();
    let images = match input.ndim() {
        2 => {
            let vectors = input.into_dimensionality::<Ix2>();
            vectors.map(|vectors| vectors.insert_axis(Axis(2)).insert_axis(Axis(3)))
        }
        3 => {
            let sequences = input.into_dimensionality::<Ix3>();
            sequences.map(|tokens| tokens.permuted_axes([0, 2, 1]).insert_axis(Axis(2)))
        }
        _ => input.into_dimensionality::<Ix4>(),
    };
    images.map_err(|_| EngineError::InputShape { expected: [channels, height, width], found })
}

impl<'a> Images<'a> {
    /// At most so many images.
    pub(crate) fn first(numbers: ArrayView4<'a, f32>, most: usize) -> Self {
        let count = numbers.len_of(Axis(0)).min(most);
        Self::Numbers(numbers.slice_axis_move(Axis(0), Slice::from(..count)))
    }
}
