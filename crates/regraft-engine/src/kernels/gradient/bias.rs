//! Gradient of a bias: the sum over images and pixels, row by row, image by image.

use std::ops::Range;

use super::{Gradient, Operands, row, scatter};
use crate::{
    InstructionSet,
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd},
};

/// Reads the gradient of the output.
#[derive(Debug)]
pub(crate) struct BiasGradient {
    pub(crate) from: Geometry,
    /// Place of the first number among the gradients.
    pub(crate) to: usize,
}

impl Gradient for BiasGradient {
    fn units(&self, _: usize) -> usize {
        self.from.blocks()
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a BiasGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let BiasGradient { from, to } = self.step;
        let [gradients] = self.operands.reads else { return };
        for block in self.units.clone() {
            let mut total = simd.splat(0.0);
            for image in 0..self.operands.images {
                let mut sum = simd.splat(0.0);
                for y in 0..from.height {
                    // SAFETY: the row lies in the image; `Gradient::run`'s caller vouches for the operands.
                    let line = unsafe { row(*gradients, from, [image, block, y]) };
                    let mut of_row = simd.splat(0.0);
                    for x in 0..from.width {
                        // SAFETY: as above.
                        of_row = simd.add(of_row, unsafe { simd.load(line.add(x * LANES)) });
                    }
                    sum = simd.add(sum, of_row);
                }
                total = simd.add(total, sum);
            }
            let count = LANES.min(from.channels - block * LANES);
            // SAFETY: the step was given a place for each channel.
            unsafe {
                let to = self.operands.shared.gradients.add(to + block * LANES);
                scatter(simd.lanes(total), count, to, 1);
            }
        }
    }
}
