//! Softmax over the width of an image, 16 channels at a time. Over channels see `rows`.

use std::ops::Range;

use super::{Computation, Operands, load_block, row_of, store_block};
use crate::{
    Settings,
    geometry::Geometry,
    simd::{self, Kernel, Simd, functions},
};

/// `exp(x − max) / Σ exp(x − max)` along each row.
#[derive(Debug)]
pub(crate) struct Softmax {
    pub(crate) input: Geometry,
    pub(crate) output: Geometry,
}

impl Computation for Softmax {
    fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.output.height
    }

    fn cost(&self, images: usize) -> usize {
        24 * images * self.output.image()
    }

    unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        simd::launch(settings.instruction_set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a Softmax,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Softmax { input, output } = self.step;
        let (from, to) = (self.operands.input, self.operands.output);
        for unit in self.units.clone() {
            let [image, block, y] = row_of(output, unit);
            let place = [image, block];
            // SAFETY: the row lies in the image; `run`'s caller vouches for the operands.
            unsafe {
                let mut largest = simd.splat(f32::NEG_INFINITY);
                for x in 0..input.width {
                    largest = simd.maximum(largest, load_block(simd, from, input, place, [y, x]));
                }
                let minus = simd.multiply(largest, simd.splat(-1.0));
                let mut sum = simd.splat(0.0);
                for x in 0..input.width {
                    let value = simd.add(load_block(simd, from, input, place, [y, x]), minus);
                    sum = simd.add(sum, functions::exp(simd, value));
                }
                let factor = simd.divide(simd.splat(1.0), sum);
                for x in 0..input.width {
                    let value = simd.add(load_block(simd, from, input, place, [y, x]), minus);
                    let value = simd.multiply(functions::exp(simd, value), factor);
                    store_block(simd, to, output, place, [y, x], value);
                }
            }
        }
    }
}
