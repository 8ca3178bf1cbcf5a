//! Copies a value into its channels of a concatenation, where it could not be computed there (see `views`).

use std::ops::Range;

use super::Operands;
use crate::{
    InstructionSet,
    element::{BFloat16, Element, Number, UInt8},
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd},
};

/// The copy of one input.
#[derive(Debug)]
pub(crate) struct Concat {
    pub(crate) input: Geometry,
    pub(crate) output: Geometry,
    /// The input's first channel in the output.
    pub(crate) channel: usize,
}

impl Concat {
    /// Number of units: rows of one block of one image of the input.
    pub(crate) fn units(&self, images: usize) -> usize {
        images * self.input.blocks() * self.input.height
    }

    /// Numbers that are written for a group of images.
    pub(crate) fn cost(&self, images: usize) -> usize {
        images * self.input.image()
    }

    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images of the step's geometries, the output apart from the input, and no other
    /// thread may compute the same units.
    pub(crate) unsafe fn run(&self, set: InstructionSet, operands: &Operands, units: Range<usize>) {
        simd::launch(set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a Concat,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        // One height and width, and so one type of number, for both; levels are the same too (see `quantization`).
        match self.step.output.element {
            Element::Float32 => self.rows::<S, f32>(simd),
            Element::BFloat16 => self.rows::<S, BFloat16>(simd),
            Element::UInt8(_) => self.rows::<S, UInt8>(simd),
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn rows<S: Simd, N: Number>(&self, simd: S) {
        let Concat { input, .. } = self.step;
        for unit in self.units.clone() {
            let (plane, y) = (unit / input.height, unit % input.height);
            let (image, block) = (plane / input.blocks(), plane % input.blocks());
            // SAFETY: block and row lie in the image; `Concat::run`'s caller vouches for the operands.
            unsafe {
                let from = self.operands.input.at::<N>(image).add(block * input.plane() + input.pixel(y, 0));
                self.row(simd, from, self.operands.output.at(image), block, y);
            }
        }
    }

    /// # Safety
    /// `from` must point to a row of the input's block and `to` to an image of the output.
    #[inline(always)]
    unsafe fn row<S: Simd, N: Number>(&self, simd: S, from: *const N, to: *mut N, block: usize, y: usize) {
        let Concat { input, output, channel } = self.step;
        let first = channel + block * LANES;
        // A block at once where that overwrites no neighbour's channels.
        let channels = LANES.min(input.channels - block * LANES);
        let is_last = first + channels == output.channels;
        let idle = if is_last { output.channels.next_multiple_of(LANES) } else { 0 };
        let whole = first.is_multiple_of(LANES) && (channels == LANES || is_last);
        for x in 0..input.width {
            // SAFETY: the caller's promise; the channels from `first` on are the output's.
            unsafe {
                if whole {
                    N::store(simd, to.add(output.element(first, y, x)), N::load(simd, from.add(x * LANES)));
                } else {
                    for lane in 0..channels {
                        *to.add(output.element(first + lane, y, x)) = *from.add(x * LANES + lane);
                    }
                    // What stands in lanes without a channel must be finite.
                    for idle in output.channels..idle {
                        *to.add(output.element(idle, y, x)) = N::new(0.0);
                    }
                }
            }
        }
    }
}
