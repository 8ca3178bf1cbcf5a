//! Gradient of a softmax, over the channels of each pixel or along each row: `y · (g − Σ g · y)`.

use std::ops::Range;

use super::{Gradient, Operands};
use crate::{
    InstructionSet,
    geometry::Geometry,
    kernels::{load_block, row_of, store_block},
    simd::{self, Kernel, Simd},
};

/// Reads the gradient of the output and the output.
#[derive(Debug)]
pub(crate) struct SoftmaxGradient {
    pub(crate) from: Geometry,
    pub(crate) output: Geometry,
    pub(crate) to: Geometry,
}

impl Gradient for SoftmaxGradient {
    fn units(&self, images: usize) -> usize {
        images * self.to.pixels()
    }

    unsafe fn run(&self, _: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let [gradients, outputs] = operands.reads else { return };
        let Self { from, output, to } = self;
        for unit in units {
            let (image, pixel) = (unit / to.pixels(), unit % to.pixels());
            let [y, x] = [pixel / to.width, pixel % to.width];
            // SAFETY: the pixel lies in the image; the caller vouches for the operands.
            unsafe {
                let gradient = |channel| *gradients.at::<f32>(image).add(from.element(channel, y, x));
                let value = |channel| *outputs.at::<f32>(image).add(output.element(channel, y, x));
                let products = (0..to.channels).map(|channel| gradient(channel) * value(channel));
                let sum: f32 = products.sum();
                let result = operands.output.at::<f32>(image);
                for channel in 0..to.channels {
                    *result.add(to.element(channel, y, x)) = value(channel) * (gradient(channel) - sum);
                }
            }
        }
    }
}

/// As [`SoftmaxGradient`], of a softmax along each row.
#[derive(Debug)]
pub(crate) struct RowSoftmaxGradient {
    pub(crate) from: Geometry,
    pub(crate) output: Geometry,
    pub(crate) to: Geometry,
}

impl Gradient for RowSoftmaxGradient {
    fn units(&self, images: usize) -> usize {
        images * self.to.blocks() * self.to.height
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a RowSoftmaxGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let RowSoftmaxGradient { from, output, to } = self.step;
        let [gradients, outputs] = self.operands.reads else { return };
        for unit in self.units.clone() {
            let [image, block, y] = row_of(to, unit);
            let place = [image, block];
            // SAFETY: the row lies in the images; `Gradient::run`'s caller vouches for the operands.
            unsafe {
                let mut sum = simd.splat(0.0);
                for x in 0..to.width {
                    let gradient = load_block(simd, *gradients, from, place, [y, x]);
                    let value = load_block(simd, *outputs, output, place, [y, x]);
                    sum = simd.multiply_add(gradient, value, sum);
                }
                let minus = simd.multiply(sum, simd.splat(-1.0));
                for x in 0..to.width {
                    let gradient = load_block(simd, *gradients, from, place, [y, x]);
                    let value = load_block(simd, *outputs, output, place, [y, x]);
                    let result = simd.multiply(value, simd.add(gradient, minus));
                    store_block(simd, self.operands.output, to, place, [y, x], result);
                }
            }
        }
    }
}
