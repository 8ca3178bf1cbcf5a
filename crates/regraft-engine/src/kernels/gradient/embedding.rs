//! Gradient of an embedding's rows: the sum of the gradients of the tokens that name it, token by token, image by image. A
//! unit has a block of features, so that no two add to one number.

use std::ops::Range;

use super::{Gradient, Operands};
use crate::{InstructionSet, geometry::Geometry, simd::LANES};

/// Reads the gradient of the output and the numbers of the rows.
#[derive(Debug)]
pub(crate) struct EmbeddingGradient {
    pub(crate) from: Geometry,
    pub(crate) input: Geometry,
    pub(crate) entries: usize,
    /// Place of the first number among the gradients.
    pub(crate) to: usize,
}

impl Gradient for EmbeddingGradient {
    fn units(&self, _: usize) -> usize {
        self.from.blocks()
    }

    unsafe fn run(&self, _: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let [gradients, inputs] = operands.reads else { return };
        let Self { from, input, entries, to } = self;
        for block in units {
            let lanes = LANES.min(from.channels - block * LANES);
            let at = |entry: usize, lane: usize| to + entry * from.channels + block * LANES + lane;
            let zeros = (0..*entries).flat_map(|entry| (0..lanes).map(move |lane| (entry, lane)));
            // SAFETY: the step was given a place for each number.
            zeros.for_each(|(entry, lane)| unsafe {
                *operands.shared.gradients.add(at(entry, lane)) = 0.0;
            });
            for (image, token) in
                (0..operands.images).flat_map(|image| (0..from.width).map(move |token| (image, token)))
            {
                // SAFETY: the token lies in the sequence; the caller vouches for the operands.
                unsafe {
                    let number = *inputs.at::<f32>(image).add(input.element(token, 0, 0));
                    // As forward, see `kernels::embedding`.
                    let entry = (number as usize).min(entries - 1);
                    let gradient = gradients.at::<f32>(image).add(from.element(block * LANES, 0, token));
                    for lane in 0..lanes {
                        *operands.shared.gradients.add(at(entry, lane)) += *gradient.add(lane);
                    }
                }
            }
        }
    }
}
