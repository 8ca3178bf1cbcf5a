//! Two values combined number by number, each repeated along axes of which it has one place.

use std::ops::Range;

use super::{Computation, Operands, Span, load_block, real, row_of, store_block};
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
        for unit in self.units.clone() {
            let [image, block, y] = row_of(output, unit);
            for x in 0..output.width {
                // SAFETY: the pixel lies in the image, and an input that is repeated has the first one; `run`'s caller
                // vouches for the operands.
                unsafe {
                    let a = self.repeated(simd, self.operands.input, left, [image, block], [y, x]);
                    let b = self.repeated(simd, self.operands.second, right, [image, block], [y, x]);
                    let value = combine(simd, *pairing, a, b);
                    store_block(simd, self.operands.output, output, [image, block], [y, x], value);
                }
            }
        }
    }
}

impl Task<'_> {
    /// # Safety
    /// The span must hold the image, and the image the block and the pixel, or the first ones.
    #[inline(always)]
    unsafe fn repeated<S: Simd>(
        &self,
        simd: S,
        span: Span,
        geometry: &Geometry,
        [image, block]: [usize; 2],
        [y, x]: [usize; 2],
    ) -> S::Vector {
        let y = if geometry.height == 1 { 0 } else { y };
        let x = if geometry.width == 1 { 0 } else { x };
        // SAFETY: the caller's promise.
        unsafe {
            if geometry.channels == 1 && self.step.output.channels > 1 {
                let place = geometry.pixel(y, x) * geometry.element.size();
                return simd.splat(real(geometry.element, span.at::<u8>(image).add(place)));
            }
            load_block(simd, span, geometry, [image, block], [y, x])
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
