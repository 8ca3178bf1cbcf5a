//! Rows of a table that numbers name.
#![allow(clippy::indexing_slicing, reason = "the table has a whole row for each entry")]

use std::ops::Range;

use super::{Computation, Operands};
use crate::{
    EngineError, Settings,
    buffer::Buffer,
    element::{BFloat16, Element, Number, with_floats},
    geometry::Geometry,
    simd::LANES,
};

/// For each token the row that its number names.
#[derive(Debug)]
pub(crate) struct Embedding {
    /// Numbers of tokens, as a vector.
    input: Geometry,
    output: Geometry,
    entries: usize,
    /// Entries × features, padded to whole blocks.
    table: Buffer,
}

impl Embedding {
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn new([input, output]: [Geometry; 2], rows: &[f32]) -> Result<Self, EngineError> {
        let (features, padded) = (output.channels, output.blocks() * LANES);
        let entries = rows.len() / features;
        let mut table = Buffer::zeroed(entries.saturating_mul(padded))?;
        for (row, to) in rows.chunks_exact(features).zip(table.chunks_exact_mut(padded)) {
            to[..features].copy_from_slice(row);
        }
        Ok(Self { input, output, entries, table })
    }
}

impl Computation for Embedding {
    fn units(&self, images: usize) -> usize {
        images * self.output.width
    }

    fn cost(&self, images: usize) -> usize {
        2 * images * self.output.image()
    }

    unsafe fn run(&self, _: Settings, operands: &Operands, units: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { with_floats!(self.input.element, self.output.element, self.tokens(operands, units)) }
    }
}

impl Embedding {
    /// # Safety
    /// As for [`Computation::run`], and the numbers of input and output must be `I` and `O`.
    unsafe fn tokens<I: Number, O: Number>(&self, operands: &Operands, units: Range<usize>) {
        let row = self.output.blocks() * LANES;
        for unit in units {
            let (image, token) = (unit / self.output.width, unit % self.output.width);
            // SAFETY: the token lies in the sequence; the caller vouches for the operands.
            unsafe {
                let number = (*operands.input.at::<I>(image).add(self.input.element(token, 0, 0))).value();
                // The program has checked the numbers, see `Program::check`; this only keeps a wrong one inside.
                let entry = (number as usize).min(self.entries - 1);
                let to = operands.output.at::<O>(image).add(self.output.pixel(0, token));
                for (block, numbers) in self.table[entry * row..][..row].chunks_exact(LANES).enumerate() {
                    for (lane, number) in numbers.iter().enumerate() {
                        *to.add(block * self.output.plane() + lane) = O::new(*number);
                    }
                }
            }
        }
    }
}
