//! Mean over height and width. Rows are summed one by one and then their sums, which keeps the rounding error of a large
//! image small.

use std::ops::Range;

use super::Operands;
use crate::{
    InstructionSet,
    element::{Affine, BFloat16, Element, Number, UInt8},
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd},
};

/// The mean of every channel of an image.
#[derive(Debug)]
pub(crate) struct GlobalAverage {
    pub(crate) input: Geometry,
}

impl GlobalAverage {
    /// Number of units: blocks of all images.
    pub(crate) fn units(&self, images: usize) -> usize {
        images * self.input.blocks()
    }

    /// Numbers that are read for a group of images.
    pub(crate) fn cost(&self, images: usize) -> usize {
        images * self.input.image()
    }

    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images, the input of the step's geometry and the output a vector of its channels
    /// apart from it, and no other thread may compute the same units.
    pub(crate) unsafe fn run(&self, set: InstructionSet, operands: &Operands, units: Range<usize>) {
        simd::launch(set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a GlobalAverage,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        match self.step.input.element {
            Element::Float32 => self.means::<S, f32>(simd),
            Element::BFloat16 => self.means::<S, BFloat16>(simd),
            Element::UInt8(_) => self.means::<S, UInt8>(simd),
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn means<S: Simd, I: Number>(&self, simd: S) {
        let input = &self.step.input;
        let Affine { factor, shift } = input.element.to_real();
        for unit in self.units.clone() {
            let (image, block) = (unit / input.blocks(), unit % input.blocks());
            // SAFETY: the block lies in the image; `GlobalAverage::run`'s caller vouches for the operands.
            unsafe {
                let from = self.operands.input.at::<I>(image).add(block * input.plane());
                let mut total = simd.splat(0.0);
                for y in 0..input.height {
                    let mut row = simd.splat(0.0);
                    for x in 0..input.width {
                        row = simd.add(row, I::load(simd, from.add(input.pixel(y, x))));
                    }
                    total = simd.add(total, row);
                }
                let scale = simd.splat(factor / input.pixels() as f32);
                let mean = simd.multiply_add(total, scale, simd.splat(shift));
                simd.store(self.operands.output.at::<f32>(image).add(block * LANES), mean);
            }
        }
    }
}
