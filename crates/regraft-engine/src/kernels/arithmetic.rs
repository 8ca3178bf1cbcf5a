//! Two values combined number by number, each repeated along axes of which it has one place.

use std::ops::Range;

use super::{Computation, Operands, load_repeated, row_of, store_block};
use crate::{
    Settings,
    geometry::Geometry,
    simd::{self, Kernel, Simd},
};

/// What is computed of each pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairing {
    Add,
    Subtract,
    Multiply,
    Divide,
    Larger,
    Smaller,
}

/// A pairing on all numbers of two values.
#[derive(Debug)]
pub(crate) struct Arithmetic {
    pub(crate) pairing: Pairing,
    /// Of as many channels, rows and columns as the output, or of one.
    pub(crate) inputs: [Geometry; 2],
    pub(crate) output: Geometry,
}

impl Computation for Arithmetic {
    fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.output.height
    }

    fn cost(&self, images: usize) -> usize {
        2 * images * self.output.image()
    }

    unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        simd::launch(settings.instruction_set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a Arithmetic,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Arithmetic { pairing, inputs: [left, right], output } = self.step;
        let channels = output.channels;
        for unit in self.units.clone() {
            let [image, block, y] = row_of(output, unit);
            for x in 0..output.width {
                // SAFETY: the pixel lies in the image, and an input that is repeated has the first one; `run`'s caller
                // vouches for the operands.
                unsafe {
                    let a = load_repeated(simd, self.operands.input, left, channels, [image, block], [y, x]);
                    let b =
                        load_repeated(simd, self.operands.second, right, channels, [image, block], [y, x]);
                    let value = combine(simd, *pairing, a, b);
                    store_block(simd, self.operands.output, output, [image, block], [y, x], value);
                }
            }
        }
    }
}

#[inline(always)]
fn combine<S: Simd>(simd: S, pairing: Pairing, a: S::Vector, b: S::Vector) -> S::Vector {
    let minus = simd.splat(-1.0);
    match pairing {
        Pairing::Add => simd.add(a, b),
        Pairing::Subtract => simd.multiply_add(b, minus, a),
        Pairing::Multiply => simd.multiply(a, b),
        Pairing::Divide => simd.divide(a, b),
        Pairing::Larger => simd.maximum(a, b),
        Pairing::Smaller => {
            simd.multiply(simd.maximum(simd.multiply(a, minus), simd.multiply(b, minus)), minus)
        }
    }
}
