//! Gradients of learned tables that all images have in common: the sum over the images of the gradient at the place of each
//! number.
#![allow(clippy::indexing_slicing, reason = "a unit's numbers are the table's")]

use std::ops::Range;

use super::{Gradient, Operands};
use crate::{EngineError, InstructionSet, axes::NOWHERE, geometry::Geometry, kernels::check_bounds};

/// Numbers of a unit.
const UNIT: usize = 256;

/// Reads the gradient of the output.
#[derive(Debug)]
pub(crate) struct TableGradient {
    /// Where in an image each number of the table is, if it is in one.
    places: Vec<u32>,
    /// Place of the first number among the gradients.
    to: usize,
}

impl TableGradient {
    /// # Errors
    /// [`EngineError::Bounds`].
    pub(crate) fn new(from: &Geometry, places: Vec<u32>, to: usize) -> Result<Self, EngineError> {
        let last = places.iter().filter(|place| **place != NOWHERE).max();
        check_bounds(last.map_or(0, |place| *place as usize + 1), from)?;
        Ok(Self { places, to })
    }
}

impl Gradient for TableGradient {
    fn units(&self, _: usize) -> usize {
        self.places.len().div_ceil(UNIT)
    }

    unsafe fn run(&self, _: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let [gradients] = operands.reads else { return };
        for index in units.start * UNIT..(units.end * UNIT).min(self.places.len()) {
            let place = self.places[index];
            let mut sum = 0.0;
            for image in 0..if place == NOWHERE { 0 } else { operands.images } {
                // SAFETY: the places lie in an image, as `new` has checked; the caller vouches for the operands.
                sum += unsafe { *gradients.at::<f32>(image).add(place as usize) };
            }
            // SAFETY: the step was given a place for each number.
            unsafe { *operands.shared.gradients.add(self.to + index) = sum };
        }
    }
}

/// Adds gradients of a parameter that several nodes have: those of the others lie behind the parameters'.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SumGradient {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) count: usize,
}

impl Gradient for SumGradient {
    fn units(&self, _: usize) -> usize {
        self.count.div_ceil(UNIT)
    }

    unsafe fn run(&self, _: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        for index in units.start * UNIT..(units.end * UNIT).min(self.count) {
            // SAFETY: the step was given both places.
            unsafe {
                let more = *operands.shared.gradients.add(self.from + index);
                *operands.shared.gradients.add(self.to + index) += more;
            }
        }
    }
}
