//! Gradients that depend on a comparison of two values, each repeated along axes of which it has one place.

use std::ops::Range;

use super::{Gradient, Operands};
use crate::{
    InstructionSet,
    geometry::Geometry,
    kernels::{load_block, load_repeated, row_of, store_block},
    simd::{self, Kernel, Simd},
};

/// The gradient where the first value is the larger one, half of it where they are equal, as in PyTorch. Reads the gradient
/// and the two values.
#[derive(Debug)]
pub(crate) struct LargerGradient {
    pub(crate) from: Geometry,
    pub(crate) values: [Geometry; 2],
    pub(crate) to: Geometry,
}

impl Gradient for LargerGradient {
    fn units(&self, images: usize) -> usize {
        images * self.to.blocks() * self.to.height
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a LargerGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let LargerGradient { from, values: [first, second], to } = self.step;
        let [gradients, a, b] = self.operands.reads else { return };
        let half = simd.splat(0.5);
        for unit in self.units.clone() {
            let [image, block, y] = row_of(to, unit);
            for x in 0..to.width {
                let place = [image, block];
                // SAFETY: the pixel lies in the images, and a value that is repeated has the first one; `Gradient::run`'s
                // caller vouches for the operands.
                let (gradient, a, b) = unsafe {
                    (
                        load_block(simd, *gradients, from, place, [y, x]),
                        load_repeated(simd, *a, first, to.channels, place, [y, x]),
                        load_repeated(simd, *b, second, to.channels, place, [y, x]),
                    )
                };
                let share = simd.multiply(gradient, half);
                let without = simd.multiply(share, simd.splat(-1.0));
                let more = simd.where_greater(a, b, share);
                let less = simd.where_greater(b, a, without);
                let result = simd.add(share, simd.add(more, less));
                // SAFETY: as above.
                unsafe { store_block(simd, self.operands.output, to, place, [y, x], result) };
            }
        }
    }
}
