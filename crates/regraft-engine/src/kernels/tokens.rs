//! Moves pixels between images and sequences: an image's pixels as tokens, a learned token before the others, one of
//! them alone; and adds a learned table, the token itself or the positions.

use std::ops::Range;

use super::Operands;
use crate::{
    Settings,
    buffer::Buffer,
    element::{BFloat16, Element, Number, with_floats},
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd},
};

/// Output pixel `p` is input pixel `p + skip − lead`, or 0 for the first `lead`, plus the table's.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) input: Geometry,
    /// Without border.
    pub(crate) output: Geometry,
    pub(crate) lead: usize,
    pub(crate) skip: usize,
    /// In the output's layout, perhaps shorter by whole pixels at the end of every block.
    pub(crate) table: Option<Table>,
}

/// Numbers that are added to the first pixels: `[blocks][pixels][16]`.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) numbers: Buffer,
    pub(crate) pixels: usize,
}

impl Tokens {
    /// Number of units: blocks of all images.
    pub(crate) fn units(&self, images: usize) -> usize {
        images * self.output.blocks()
    }

    /// Numbers that are written for a group of images.
    pub(crate) fn cost(&self, images: usize) -> usize {
        images * self.output.image()
    }

    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images of the step's geometries, the output apart from the input, and no other
    /// thread may compute the same units.
    pub(crate) unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        simd::launch_with(settings, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a Tokens,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let (input, output) = (self.step.input.element, self.step.output.element);
        with_floats!(input, output, self.blocks::<S>(simd));
    }
}

impl Task<'_> {
    #[inline(always)]
    fn blocks<S: Simd, I: Number, O: Number>(&self, simd: S) {
        let Tokens { input, output, lead, skip, table } = self.step;
        for unit in self.units.clone() {
            let (image, block) = (unit / output.blocks(), unit % output.blocks());
            // SAFETY: block and pixels lie in the images and in the table, whose sizes were made for each other;
            // `Tokens::run`'s caller vouches for the operands.
            unsafe {
                let from = self.operands.input.at::<I>(image).add(block * input.plane());
                let to = self.operands.output.at::<O>(image).add(block * output.plane());
                for pixel in 0..output.pixels() {
                    let mut value = simd.splat(0.0);
                    if pixel >= *lead {
                        let source = pixel - lead + skip;
                        value =
                            I::load(simd, from.add(input.pixel(source / input.width, source % input.width)));
                    }
                    if let Some(Table { numbers, pixels }) =
                        table.as_ref().filter(|table| pixel < table.pixels)
                    {
                        let row = simd.load(numbers.as_ptr().add((block * pixels + pixel) * LANES));
                        value = simd.add(value, row);
                    }
                    O::store(simd, to.add(output.pixel(pixel / output.width, pixel % output.width)), value);
                }
            }
        }
    }
}
