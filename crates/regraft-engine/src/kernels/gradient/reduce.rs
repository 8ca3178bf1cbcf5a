//! Gradients of sums, means and extremes over any axes. Where several numbers are the extreme one, each gets a share, as of
//! PyTorch's `amax`.
#![allow(
    clippy::indexing_slicing,
    reason = "the tables are as long as the output has channels, rows and columns"
)]

use std::ops::Range;

use regraft_graph::ReduceKind;

use super::{Gradient, Operands};
use crate::{
    EngineError, InstructionSet,
    axes::Parts,
    geometry::Geometry,
    kernels::{check_bounds, row_of},
    simd::LANES,
};

/// Reads the gradient of the output, or of an extreme its share; and where it depends on them, the input and the output.
#[derive(Debug)]
pub(crate) struct ReduceGradient {
    input: Geometry,
    to: Geometry,
    kind: ReduceKind,
    /// For each number of the input where the output's is, in both.
    sources: [Parts; 2],
    /// Numbers of a set.
    count: usize,
}

impl ReduceGradient {
    /// `from` are the sizes of the output's gradient and of the output.
    ///
    /// # Errors
    /// [`EngineError::Bounds`].
    pub(crate) fn new(
        from: [Geometry; 2],
        [input, to]: [Geometry; 2],
        kind: ReduceKind,
        sources: [Parts; 2],
        count: usize,
    ) -> Result<Self, EngineError> {
        let last = |parts: &[u32]| parts.iter().max().map_or(0, |part| *part as usize);
        for (Parts { channels, rows, columns }, from) in sources.iter().zip(&from) {
            check_bounds(last(channels) + last(rows) + last(columns) + 1, from)?;
        }
        Ok(Self { input, to, kind, sources, count })
    }

    fn of(&self, gradient: f32, value: f32, result: f32) -> f32 {
        match self.kind {
            ReduceKind::Sum => gradient,
            ReduceKind::Mean => gradient / self.count as f32,
            ReduceKind::L2 if result > 0.0 => gradient * value / result,
            ReduceKind::Max | ReduceKind::Min if value == result => gradient,
            _ => 0.0,
        }
    }
}

impl Gradient for ReduceGradient {
    fn units(&self, images: usize) -> usize {
        images * self.to.blocks() * self.to.height
    }

    unsafe fn run(&self, _: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let [gradients, values @ ..] = operands.reads else { return };
        let Self { input, to, .. } = self;
        let [of_gradients, of_results] = &self.sources;
        for unit in units {
            let [image, block, y] = row_of(to, unit);
            for channel in block * LANES..(block + 1) * LANES {
                let part =
                    |Parts { channels, rows, .. }: &Parts| channels.get(channel).map(|part| part + rows[y]);
                let (parts, first) = ([of_gradients, of_results].map(part), to.element(channel, y, 0));
                for x in 0..to.width {
                    // SAFETY: the places lie in the images, as `new` has checked; the caller vouches for the operands.
                    unsafe {
                        let number = if let [Some(gradient), Some(result)] = parts {
                            let gradient = (gradient + of_gradients.columns[x]) as usize;
                            let gradient = *gradients.at::<f32>(image).add(gradient);
                            let (mut value, mut extreme) = (0.0, 0.0);
                            if let [inputs, outputs] = values {
                                let result = (result + of_results.columns[x]) as usize;
                                value = *inputs.at::<f32>(image).add(input.element(channel, y, x));
                                extreme = *outputs.at::<f32>(image).add(result);
                            }
                            self.of(gradient, value, extreme)
                        } else {
                            0.0
                        };
                        *operands.output.at::<f32>(image).add(first + x * to.lanes) = number;
                    }
                }
            }
        }
    }
}

/// The gradient of an extreme over how many numbers are it. Reads the gradient of the output, the input and the output.
#[derive(Debug)]
pub(crate) struct Shares {
    pub(crate) from: Geometry,
    pub(crate) output: Geometry,
    pub(crate) to: Geometry,
    /// Place of the first number of each set of the input, and distances of the others from there, itself included.
    pub(crate) first: Parts,
    pub(crate) distances: Vec<u32>,
}

impl Gradient for Shares {
    fn units(&self, images: usize) -> usize {
        images * self.to.blocks() * self.to.height
    }

    unsafe fn run(&self, _: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let [gradients, inputs, outputs] = operands.reads else { return };
        let Parts { channels, rows, columns } = &self.first;
        for unit in units {
            let [image, block, y] = row_of(&self.to, unit);
            for (x, column) in columns.iter().enumerate() {
                let of_block = channels.iter().enumerate().skip(block * LANES).take(LANES);
                for (channel, part) in of_block {
                    let first = part + rows[y] + column;
                    // SAFETY: the sets lie in the images, as the reduction has checked; the caller vouches for the operands.
                    unsafe {
                        let extreme = *outputs.at::<f32>(image).add(self.output.element(channel, y, x));
                        let is_one = |distance: &&u32| {
                            *inputs.at::<f32>(image).add((first + **distance) as usize) == extreme
                        };
                        let count = self.distances.iter().filter(is_one).count().max(1);
                        let gradient = *gradients.at::<f32>(image).add(self.from.element(channel, y, x));
                        let place = self.to.element(channel, y, x);
                        *operands.output.at::<f32>(image).add(place) = gradient / count as f32;
                    }
                }
            }
        }
    }
}
