//! Gradients of factors that a channel has: the sum over images and pixels of the output's gradient times what the factor
//! multiplies, row by row, image by image.

use std::ops::Range;

use super::{Gradient, Operands, row, scatter};
use crate::{
    InstructionSet,
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd},
};

/// What a factor multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Factor {
    Value,
    /// The value where it is negative.
    Negative,
    /// The value without its pixel's mean, over the deviation.
    Normalized(Geometry),
}

/// Reads the gradient of the output, the input and, where it is normalised, its moments.
#[derive(Debug)]
pub(crate) struct ProductGradient {
    pub(crate) from: Geometry,
    pub(crate) input: Geometry,
    pub(crate) factor: Factor,
    /// Whether all channels have one factor.
    pub(crate) is_single: bool,
    /// Place of the first number among the gradients.
    pub(crate) to: usize,
}

impl Gradient for ProductGradient {
    fn units(&self, _: usize) -> usize {
        if self.is_single { 1 } else { self.from.blocks() }
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a ProductGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let ProductGradient { from, is_single, to, .. } = self.step;
        let count = |block: usize| LANES.min(from.channels - block * LANES);
        if *is_single {
            let mut sum = 0.0;
            for block in 0..from.blocks() {
                // SAFETY: the block lies in the images; `Gradient::run`'s caller vouches for the operands.
                let lanes = simd.lanes(unsafe { self.total(simd, block) });
                sum += lanes.iter().take(count(block)).sum::<f32>();
            }
            // SAFETY: the step was given a place.
            unsafe { *self.operands.shared.gradients.add(*to) = sum };
            return;
        }
        for block in self.units.clone() {
            // SAFETY: as above; the step was given a place for each channel.
            unsafe {
                let lanes = simd.lanes(self.total(simd, block));
                scatter(lanes, count(block), self.operands.shared.gradients.add(to + block * LANES), 1);
            }
        }
    }
}

impl Task<'_> {
    /// # Safety
    /// The images must have the block.
    #[inline(always)]
    unsafe fn total<S: Simd>(&self, simd: S, block: usize) -> S::Vector {
        let ProductGradient { from, input, factor, .. } = self.step;
        let mut total = simd.splat(0.0);
        let [gradients, inputs, rest @ ..] = self.operands.reads else { return total };
        for image in 0..self.operands.images {
            let mut sum = simd.splat(0.0);
            for y in 0..from.height {
                let mut of_row = simd.splat(0.0);
                // SAFETY: the caller's promise; there are moments of each pixel.
                unsafe {
                    let gradient = row(*gradients, from, [image, block, y]);
                    let values = row(*inputs, input, [image, block, y]);
                    for x in 0..from.width {
                        let mut value = simd.load(values.add(x * LANES));
                        match (factor, rest) {
                            (Factor::Normalized(geometry), [moments]) => {
                                let moments = row(*moments, geometry, [image, 0, y]).add(x * LANES);
                                let centred = simd.add(value, simd.splat(-*moments));
                                value = simd.multiply(centred, simd.splat(*moments.add(1)));
                            }
                            (Factor::Negative, _) => {
                                value = simd.clamp(value, simd.splat(f32::NEG_INFINITY), simd.splat(0.0));
                            }
                            _ => {}
                        }
                        of_row = simd.multiply_add(simd.load(gradient.add(x * LANES)), value, of_row);
                    }
                }
                sum = simd.add(sum, of_row);
            }
            total = simd.add(total, sum);
        }
        total
    }
}
