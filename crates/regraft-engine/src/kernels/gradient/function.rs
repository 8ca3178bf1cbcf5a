//! Gradients of functions of single numbers: that of the output times the slope at the input.

use std::ops::Range;

use super::{Gradient, Operands};
use crate::{
    InstructionSet,
    geometry::Geometry,
    kernels::{
        Span,
        activation::{Function, TANH_GELU},
        functions::{Formula, power},
        row_of,
    },
    simd::{self, Kernel, LANES, Simd, functions},
};

/// What the slope is one of.
#[derive(Debug)]
pub(crate) enum Curve {
    Function(Function),
    Formula(Formula),
}

/// Reads the gradient of the output and the input.
#[derive(Debug)]
pub(crate) struct FunctionGradient {
    pub(crate) from: Geometry,
    pub(crate) input: Geometry,
    pub(crate) to: Geometry,
    pub(crate) curve: Curve,
}

impl Gradient for FunctionGradient {
    fn units(&self, images: usize) -> usize {
        images * self.to.blocks() * self.to.height
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a FunctionGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        // A loop of its own for what transformers are full of, whose constants stay in registers.
        match &self.step.curve {
            Curve::Function(Function::Gelu) => self.rows(simd, &Curve::Function(Function::Gelu)),
            curve => self.rows(simd, curve),
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn rows<S: Simd>(&self, simd: S, curve: &Curve) {
        let FunctionGradient { from, input, to, .. } = self.step;
        let [gradients, inputs] = self.operands.reads else { return };
        for unit in self.units.clone() {
            let [image, block, y] = row_of(to, unit);
            let row = |span: Span, geometry: &Geometry| {
                // SAFETY: the row lies in the image; `Gradient::run`'s caller vouches for the operands.
                unsafe { span.at::<f32>(image).add(block * geometry.plane() + geometry.pixel(y, 0)) }
            };
            let rows = [row(*gradients, from), row(*inputs, input), row(self.operands.output, to)];
            for place in (0..to.width * LANES).step_by(LANES) {
                // SAFETY: the rows have so many pixels.
                unsafe {
                    let [gradient, value] = [simd.load(rows[0].add(place)), simd.load(rows[1].add(place))];
                    let slope = match curve {
                        Curve::Function(function) => of_function(simd, *function, value),
                        Curve::Formula(formula) => of_formula(simd, formula, block, value),
                    };
                    simd.store(rows[2].add(place), simd.multiply(gradient, slope));
                }
            }
        }
    }
}

/// One over the square root of 2π.
const DENSITY: f32 = 0.398_942_3;

#[inline(always)]
fn of_function<S: Simd>(simd: S, function: Function, x: S::Vector) -> S::Vector {
    let one = simd.splat(1.0);
    match function {
        Function::Sigmoid => bell(simd, functions::sigmoid(simd, x)),
        Function::Silu => {
            let value = functions::sigmoid(simd, x);
            simd.multiply_add(x, bell(simd, value), value)
        }
        Function::HardSigmoid => {
            let above = simd.where_greater(x, simd.splat(-3.0), simd.splat(1.0 / 6.0));
            simd.where_greater(simd.splat(3.0), x, above)
        }
        Function::HardSwish => {
            let line = simd.multiply_add(x, simd.splat(1.0 / 3.0), simd.splat(0.5));
            let slope = simd.where_greater(x, simd.splat(-3.0), line);
            chosen(simd, [x, simd.splat(3.0)], one, slope)
        }
        Function::Gelu => {
            let square = simd.multiply(simd.multiply(x, x), simd.splat(-0.5));
            let density = simd.multiply(functions::exp_of_any(simd, square), simd.splat(DENSITY));
            simd.multiply_add(x, density, functions::normal(simd, x))
        }
        Function::TanhGelu => {
            let [linear, cubic] = TANH_GELU;
            let square = simd.multiply(x, x);
            let inner = simd.multiply_add(square, simd.splat(cubic), simd.splat(linear));
            let value = functions::sigmoid(simd, simd.multiply(x, inner));
            let slope = simd.multiply_add(square, simd.splat(3.0 * cubic), simd.splat(linear));
            simd.multiply_add(simd.multiply(x, slope), bell(simd, value), value)
        }
    }
}

#[inline(always)]
fn of_formula<S: Simd>(simd: S, formula: &Formula, block: usize, x: S::Vector) -> S::Vector {
    let [zero, one, low] = [0.0, 1.0, f32::NEG_INFINITY].map(|value| simd.splat(value));
    match formula {
        Formula::Tanh => {
            let value = functions::tanh(simd, x);
            simd.multiply_add(simd.multiply(value, simd.splat(-1.0)), value, one)
        }
        Formula::Elu(alpha) => {
            let power = functions::exp_of_any(simd, simd.clamp(x, low, zero));
            chosen(simd, [x, zero], one, simd.multiply(power, simd.splat(*alpha)))
        }
        Formula::Rectify(slopes) => {
            let slopes = slopes.get(block * LANES..).unwrap_or(&[0.0; LANES]);
            // SAFETY: there is a vector of slopes for each block.
            let slopes = unsafe { simd.load(slopes.as_ptr()) };
            chosen(simd, [x, zero], one, slopes)
        }
        Formula::Softplus => functions::sigmoid(simd, x),
        Formula::Exp => functions::exp_of_any(simd, x),
        Formula::Log => simd.divide(one, x),
        Formula::Abs => {
            let above = simd.where_greater(x, zero, one);
            simd.add(above, simd.where_greater(zero, x, simd.splat(-1.0)))
        }
        Formula::Power { scale, shift, exponent } => {
            let base = simd.multiply_add(x, simd.splat(*scale), simd.splat(*shift));
            simd.multiply(power(simd, base, exponent - 1.0), simd.splat(exponent * scale))
        }
    }
}

/// `y · (1 − y)`.
#[inline(always)]
fn bell<S: Simd>(simd: S, y: S::Vector) -> S::Vector {
    simd.multiply_add(simd.multiply(y, simd.splat(-1.0)), y, y)
}

/// `above` where the first one is greater than the second, else `below`.
#[inline(always)]
fn chosen<S: Simd>(simd: S, [a, b]: [S::Vector; 2], above: S::Vector, below: S::Vector) -> S::Vector {
    let distance = simd.multiply_add(below, simd.splat(-1.0), above);
    simd.add(below, simd.where_greater(a, b, distance))
}
