//! How a tensor of any number of axes lies in channels, height and width.
//!
//! Behind the batch axis, a vector D is D channels of one pixel; a sequence S×D is an image of D channels, one row and S
//! columns; everything else keeps its first axis as channels and its last one as columns, and the axes between them are
//! the rows, in row-major order: C×H×W is an image, A×B×C×D one of A channels, B·C rows and D columns. A single number is
//! one channel of one pixel. The place of an element is a sum of one part for each axis, which is what the kernels that move
//! numbers rely on.

use crate::{
    EngineError,
    geometry::{Geometry, NUMBERS_PER_MEGABYTE},
};

/// Part of a place that is none.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Numbers of the largest tensor that tables of places are made for: a gigabyte.
const LARGEST: usize = 1 << 28;

/// Channels, height and width of a tensor of these axes behind the batch.
pub(crate) fn sizes(shape: &[usize]) -> [usize; 3] {
    match shape {
        [] => [1, 1, 1],
        [features] => [*features, 1, 1],
        [tokens, features] => [*features, 1, *tokens],
        // What does not fit is refused with the geometry.
        [first, middle @ .., last] => {
            [*first, middle.iter().fold(1, |rows, size| rows.saturating_mul(*size)), *last]
        }
    }
}

/// A tensor and where it lies.
#[derive(Debug, Clone)]
pub(crate) struct Axes {
    /// Sizes behind the batch axis.
    pub(crate) shape: Vec<usize>,
    pub(crate) geometry: Geometry,
}

/// Parts of places in a tensor, for each channel, row and column of another one.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) channels: Vec<u32>,
    pub(crate) rows: Vec<u32>,
    pub(crate) columns: Vec<u32>,
}

impl Axes {
    /// # Errors
    /// [`EngineError::Memory`]: tables of places would be too large.
    pub(crate) fn new(shape: Vec<usize>, geometry: Geometry) -> Result<Self, EngineError> {
        let numbers = geometry.image();
        let fits = numbers <= LARGEST;
        let megabytes = numbers / NUMBERS_PER_MEGABYTE;
        if fits { Ok(Self { shape, geometry }) } else { Err(EngineError::Memory { megabytes }) }
    }

    /// What each index of an axis adds to a place; the parts of all axes and the origin make it.
    pub(crate) fn places(&self, axis: usize) -> Vec<u32> {
        let Geometry { lanes, .. } = self.geometry;
        let channel = |index: usize| index / lanes * self.geometry.plane() + index % lanes;
        let rank = self.shape.len();
        let inner: usize =
            self.shape.iter().skip(axis + 1).take((rank - 1).saturating_sub(axis + 1)).product();
        let place = |index: usize| match (rank, axis) {
            (1, _) | (2, 1) => channel(index),
            (2, _) => index * lanes,
            (_, 0) => channel(index),
            (_, axis) if axis + 1 == rank => index * lanes,
            _ => index * inner * self.geometry.row(),
        };
        let size = self.shape.get(axis).copied().unwrap_or(1);
        (0..size).map(|index| place(index) as u32).collect()
    }

    /// The parts of places in `source` for this tensor, from what each index of its axes adds.
    pub(crate) fn parts(&self, source: &Geometry, mut axes: Vec<Vec<u32>>) -> Parts {
        let last = |axes: &mut Vec<Vec<u32>>| axes.pop().unwrap_or_else(|| vec![0]);
        let sequence = axes.len() == 2;
        let first = if axes.len() > 1 && !sequence { axes.remove(0) } else { last(&mut axes) };
        let columns = last(&mut axes);
        let rows = axes.iter().fold(vec![0], |rows, axis| {
            rows.iter().flat_map(|row| axis.iter().map(|part| sum(*row, *part))).collect()
        });
        let origin = source.origin() as u32;
        Parts { channels: first.into_iter().map(|part| sum(part, origin)).collect(), rows, columns }
    }

    /// Index of an element in row-major order.
    pub(crate) fn index(&self, [channel, y, x]: [usize; 3]) -> usize {
        let Geometry { channels, height, width, .. } = self.geometry;
        if self.shape.len() == 2 { x * channels + channel } else { (channel * height + y) * width + x }
    }

    /// Place of the element with an index in row-major order.
    pub(crate) fn place(&self, index: usize) -> usize {
        let Geometry { channels, height, width, .. } = self.geometry;
        if self.shape.len() == 2 {
            return self.geometry.element(index % channels, 0, index / channels);
        }
        self.geometry.element(index / (height * width), index / width % height, index % width)
    }
}

fn sum(a: u32, b: u32) -> u32 {
    if a == NOWHERE || b == NOWHERE { NOWHERE } else { a.wrapping_add(b) }
}
