//! Functions of single numbers that no kernel has as its last step.

use std::ops::Range;

use super::{Computation, Operands, load_block, row_of, store_block};
use crate::{
    Settings,
    buffer::Buffer,
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd, functions},
};

/// What is computed of each number.
#[derive(Debug)]
pub(crate) enum Formula {
    Tanh,
    Elu(f32),
    /// The slopes of negative numbers: for each channel, padded to whole blocks.
    Rectify(Buffer),
    Softplus,
    Exp,
    Log,
    Abs,
    /// `(scale · x + shift)^exponent`.
    Power {
        scale: f32,
        shift: f32,
        exponent: f32,
    },
}

/// A formula on all numbers of a value.
#[derive(Debug)]
pub(crate) struct Pointwise {
    pub(crate) input: Geometry,
    pub(crate) output: Geometry,
    pub(crate) formula: Formula,
}

impl Computation for Pointwise {
    fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.output.height
    }

    fn cost(&self, images: usize) -> usize {
        8 * images * self.output.image()
    }

    unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        simd::launch(settings.instruction_set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a Pointwise,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Pointwise { input, output, formula } = self.step;
        for unit in self.units.clone() {
            let [image, block, y] = row_of(output, unit);
            for x in 0..output.width {
                // SAFETY: the pixel lies in the image; `run`'s caller vouches for the operands.
                unsafe {
                    let value = load_block(simd, self.operands.input, input, [image, block], [y, x]);
                    let value = evaluate(simd, formula, block, value);
                    store_block(simd, self.operands.output, output, [image, block], [y, x], value);
                }
            }
        }
    }
}

#[inline(always)]
fn evaluate<S: Simd>(simd: S, formula: &Formula, block: usize, x: S::Vector) -> S::Vector {
    let [zero, low, high] = [0.0, f32::NEG_INFINITY, f32::INFINITY].map(|value| simd.splat(value));
    let (positive, negative) = (simd.clamp(x, zero, high), simd.clamp(x, low, zero));
    match formula {
        Formula::Tanh => functions::tanh(simd, x),
        Formula::Elu(alpha) => {
            simd.multiply_add(functions::exp_minus_one(simd, negative), simd.splat(*alpha), positive)
        }
        Formula::Rectify(slopes) => {
            let slopes = slopes.get(block * LANES..).unwrap_or(&[0.0; LANES]);
            // SAFETY: there is a vector of slopes for each block.
            let slopes = unsafe { simd.load(slopes.as_ptr()) };
            simd.multiply_add(negative, slopes, positive)
        }
        Formula::Softplus => functions::softplus(simd, x),
        Formula::Exp => functions::exp_of_any(simd, x),
        Formula::Log => functions::log(simd, x),
        Formula::Abs => simd.maximum(x, simd.multiply(x, simd.splat(-1.0))),
        Formula::Power { scale, shift, exponent } => {
            let base = simd.multiply_add(x, simd.splat(*scale), simd.splat(*shift));
            power(simd, base, *exponent)
        }
    }
}

/// Powers that are a few products are those; others are computed number by number in double precision.
#[inline(always)]
pub(super) fn power<S: Simd>(simd: S, base: S::Vector, exponent: f32) -> S::Vector {
    let one = simd.splat(1.0);
    if exponent == 1.0 {
        return base;
    }
    if exponent == 0.5 {
        let roots = simd.lanes(base).map(f32::sqrt);
        // SAFETY: the array has 16 numbers.
        return unsafe { simd.load(roots.as_ptr()) };
    }
    if exponent.abs() <= 4.0 && exponent.fract() == 0.0 {
        let mut product = one;
        for _ in 0..exponent.abs() as usize {
            product = simd.multiply(product, base);
        }
        return if exponent < 0.0 { simd.divide(one, product) } else { product };
    }
    let powers = simd.lanes(base).map(|base| f64::from(base).powf(f64::from(exponent)) as f32);
    // SAFETY: the array has 16 numbers.
    unsafe { simd.load(powers.as_ptr()) }
}
