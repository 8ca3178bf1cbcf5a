//! Rows of a table that numbers name.
#![allow(clippy::indexing_slicing, reason = "the table has a whole row for each entry")]

use std::ops::Range;

use super::{Computation, Operands, Span};
use crate::{
    EngineError, Settings,
    buffer::Buffer,
    element::{BFloat16, Element, Number, with_floats},
    geometry::Geometry,
    simd::LANES,
};

/// For each token the row of a table that its number names.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// Numbers of tokens, as a vector.
    input: Geometry,
    output: Geometry,
    entries: usize,
}

impl Lookup {
    /// In a table of so many numbers.
    pub(crate) fn new([input, output]: [Geometry; 2], numbers: usize) -> Self {
        Self { input, output, entries: numbers / output.channels }
    }

    /// # Safety
    /// As for [`Computation::run`], and the numbers of input and output must be `I` and `O`.
    pub(crate) unsafe fn tokens<I: Number, O: Number>(
        &self,
        [input, output]: [Span; 2],
        units: Range<usize>,
        table: &[f32],
    ) {
        let features = self.output.channels;
        for unit in units {
            let (image, token) = (unit / self.output.width, unit % self.output.width);
            // SAFETY: the token lies in the sequence; the caller vouches for the operands.
            unsafe {
                let number = (*input.at::<I>(image).add(self.input.element(token, 0, 0))).value();
                // The program has checked the numbers, see `Program::check`; this only keeps a wrong one inside.
                let entry = (number as usize).min(self.entries - 1);
                let to = output.at::<O>(image).add(self.output.pixel(0, token));
                let row = &table[entry * features..][..features];
                for (block, numbers) in row.chunks(LANES).enumerate() {
                    let mut lanes = [0.0; LANES];
                    lanes[..numbers.len()].copy_from_slice(numbers);
                    for (lane, number) in lanes.iter().enumerate() {
                        *to.add(block * self.output.plane() + lane) = O::new(*number);
                    }
                }
            }
        }
    }
}

/// Rows of a table that never changes.
#[derive(Debug)]
pub(crate) struct Embedding {
    lookup: Lookup,
    /// Entries × features.
    table: Buffer,
}

impl Embedding {
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn new(ends: [Geometry; 2], rows: &[f32]) -> Result<Self, EngineError> {
        let mut table = Buffer::zeroed(rows.len())?;
        table.copy_from_slice(rows);
        Ok(Self { lookup: Lookup::new(ends, rows.len()), table })
    }
}

impl Computation for Embedding {
    fn units(&self, images: usize) -> usize {
        images * self.lookup.output.width
    }

    fn cost(&self, images: usize) -> usize {
        2 * images * self.lookup.output.image()
    }

    unsafe fn run(&self, _: Settings, operands: &Operands, units: Range<usize>) {
        let (Self { lookup, table }, spans) = (self, [operands.input, operands.output]);
        // SAFETY: the caller's promise.
        unsafe {
            with_floats!(lookup.input.element, lookup.output.element, lookup.tokens(spans, units, table));
        }
    }
}
