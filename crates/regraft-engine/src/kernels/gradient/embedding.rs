//! Gradient of an embedding's rows: the sum of the gradients of the tokens that name it, token by token, image by image. A
//! unit has some of the rows, so that no two add to one number.

use std::ops::Range;

use super::{Gradient, Operands};
use crate::{InstructionSet, geometry::Geometry, kernels::embedding::Lookup, simd::LANES};

/// Forward: rows of a trained table, where it lies among the parameters, for it may be most of them.
#[derive(Debug)]
pub(crate) struct TrainedEmbedding {
    from: Range<usize>,
    tokens: usize,
    lookup: Lookup,
}

impl TrainedEmbedding {
    /// `from` are the table's places among the parameters.
    pub(crate) fn new(ends: [Geometry; 2], from: Range<usize>) -> Self {
        Self { tokens: ends[1].width, lookup: Lookup::new(ends, from.len()), from }
    }
}

impl Gradient for TrainedEmbedding {
    fn units(&self, images: usize) -> usize {
        images * self.tokens
    }

    unsafe fn run(&self, _: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let [input] = *operands.reads else { return };
        // SAFETY: the step was given the places; the caller vouches for the operands.
        unsafe {
            let first = operands.shared.values.add(self.from.start);
            let table = std::slice::from_raw_parts(first, self.from.len());
            self.lookup.tokens::<f32, f32>([input, operands.output], units, table);
        }
    }
}

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
        self.entries
    }

    unsafe fn run(&self, _: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let [gradients, inputs] = operands.reads else { return };
        let Self { from, input, entries, to } = self;
        let row = |entry: usize| {
            // SAFETY: the step was given a place for each number, and no other unit has the row.
            unsafe {
                let first = operands.shared.gradients.add(to + entry * from.channels);
                std::slice::from_raw_parts_mut(first, from.channels)
            }
        };
        units.clone().for_each(|entry| row(entry).fill(0.0));
        for (image, token) in
            (0..operands.images).flat_map(|image| (0..from.width).map(move |token| (image, token)))
        {
            // SAFETY: the token lies in the sequence; the caller vouches for the operands.
            unsafe {
                let number = *inputs.at::<f32>(image).add(input.element(token, 0, 0));
                // As forward, see `kernels::embedding`.
                let entry = (number as usize).min(entries - 1);
                if !units.contains(&entry) {
                    continue;
                }
                for (block, sums) in row(entry).chunks_mut(LANES).enumerate() {
                    let gradient = gradients.at::<f32>(image).add(from.element(block * LANES, 0, token));
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        *sum += *gradient.add(lane);
                    }
                }
            }
        }
    }
}
