//! Gradient of a clamp: that of its output where the output is between the bounds, else zero.

use std::ops::Range;

use super::{Gradient, Operands, row};
use crate::{
    InstructionSet,
    geometry::Geometry,
    kernels::row_of,
    network::Clamp,
    simd::{self, Kernel, LANES, Simd},
};

/// Reads the gradient of the output and the output.
#[derive(Debug)]
pub(crate) struct ClampGradient {
    pub(crate) from: Geometry,
    pub(crate) output: Geometry,
    pub(crate) to: Geometry,
    pub(crate) clamp: Clamp,
}

impl Gradient for ClampGradient {
    fn units(&self, images: usize) -> usize {
        images * self.to.blocks() * self.to.height
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a ClampGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let ClampGradient { from, output, to, clamp } = self.step;
        let [gradients, outputs] = self.operands.reads else { return };
        for unit in self.units.clone() {
            let place = row_of(to, unit);
            // SAFETY: the row lies in the images; `Gradient::run`'s caller vouches for the operands.
            unsafe {
                let gradient = row(*gradients, from, place);
                let value = row(*outputs, output, place);
                let result = row(self.operands.output, to, place);
                for x in 0..to.width {
                    let kept = inside(
                        simd,
                        simd.load(value.add(x * LANES)),
                        *clamp,
                        simd.load(gradient.add(x * LANES)),
                    );
                    simd.store(result.add(x * LANES), kept);
                }
            }
        }
    }
}

/// `x` where `value` is between the bounds and is none of them, else zero.
#[inline(always)]
pub(super) fn inside<S: Simd>(simd: S, value: S::Vector, clamp: Clamp, x: S::Vector) -> S::Vector {
    let above = simd.where_greater(value, simd.splat(clamp.low), x);
    if clamp.high == f32::INFINITY { above } else { simd.where_greater(simd.splat(clamp.high), value, above) }
}
