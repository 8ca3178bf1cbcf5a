//! Largest value and mean of each window. The window is clipped to the image, so that the padding never wins, and counts
//! only as a larger divisor; the stored border is not read.
#![allow(clippy::indexing_slicing, reason = "there is a view for each row and column of the output")]

use std::ops::Range;

use super::Operands;
use crate::{
    InstructionSet,
    element::{Affine, BFloat16, Element, Number, UInt8, with_floats, with_numbers},
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd},
};

/// A pooling window.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) input: Geometry,
    pub(crate) output: Geometry,
    /// Rows and columns that each position sees; none is empty.
    pub(crate) views: [Vec<Range<usize>>; 2],
    /// Rows and columns that each position sees, with those in the padding.
    pub(crate) extents: [Vec<usize>; 2],
    pub(crate) kind: Kind,
}

/// What becomes of the numbers in a window.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Largest,
    /// The sum over the number of summands.
    Mean,
    /// The sum over the extent of a window, with the padding counted as zeros.
    PaddedMean,
}

impl Pool {
    /// Number of units: rows of one block of one image.
    pub(crate) fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.output.height
    }

    /// Numbers that are read for a group of images.
    pub(crate) fn cost(&self, images: usize) -> usize {
        let [height, width] = self.views.each_ref().map(|views| views.iter().map(Range::len).max());
        images * self.output.image() * height.unwrap_or(1) * width.unwrap_or(1)
    }

    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images of the step's geometries, the output apart from the input, and no other
    /// thread may compute the same units.
    pub(crate) unsafe fn run(&self, set: InstructionSet, operands: &Operands, units: Range<usize>) {
        simd::launch(set, &Task { pool: self, operands, units });
    }
}

struct Task<'a> {
    pool: &'a Pool,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Pool { input, output, .. } = self.pool;
        with_numbers!(input.element, output.element, self.windows::<S>(simd));
    }
}

impl Task<'_> {
    #[inline(always)]
    fn windows<S: Simd, I: Number, O: Number>(&self, simd: S) {
        let Pool { input, output, views: [rows, columns], extents, .. } = self.pool;
        let Affine { factor, shift } = Affine::between(input.element, output.element);
        let (factor, shift) = (simd.splat(factor), simd.splat(shift));
        for unit in self.units.clone() {
            let (plane, y) = (unit / output.height, unit % output.height);
            let (image, block) = (plane / output.blocks(), plane % output.blocks());
            // SAFETY: block and row lie in the image; `Pool::run`'s caller vouches for the operands.
            unsafe {
                let from = self.operands.input.at::<I>(image).add(block * input.plane());
                let to = self.operands.output.at::<O>(image).add(block * output.plane() + output.pixel(y, 0));
                for (x, columns) in columns.iter().enumerate() {
                    let extent = extents[0][y] * extents[1][x];
                    let mut value = self.window(simd, from, rows[y].clone(), columns.clone(), extent);
                    if I::IS_LEVEL || O::IS_LEVEL {
                        value = simd.fused_multiply_add(value, factor, shift);
                    }
                    O::store(simd, to.add(x * LANES), value);
                }
            }
        }
    }

    /// # Safety
    /// Rows and columns must lie in the image whose block starts at `from`.
    #[inline(always)]
    unsafe fn window<S: Simd, I: Number>(
        &self,
        simd: S,
        from: *const I,
        rows: Range<usize>,
        columns: Range<usize>,
        extent: usize,
    ) -> S::Vector {
        let count = rows.len() * columns.len();
        let largest = matches!(self.pool.kind, Kind::Largest);
        let zero = self.pool.input.element.levels().map_or(0.0, |levels| f32::from(levels.zero));
        let mut result = simd.splat(match self.pool.kind {
            Kind::Largest => f32::NEG_INFINITY,
            Kind::Mean => 0.0,
            Kind::PaddedMean => zero * extent.saturating_sub(count) as f32,
        });
        for y in rows {
            for x in columns.clone() {
                // SAFETY: the caller's promise.
                let value = unsafe { I::load(simd, from.add(self.pool.input.pixel(y, x))) };
                result = if largest { simd.maximum(result, value) } else { simd.add(result, value) };
            }
        }
        let divisor = match self.pool.kind {
            Kind::Largest => return result,
            Kind::Mean => count,
            Kind::PaddedMean => extent,
        };
        simd.multiply_add(result, simd.splat(1.0 / divisor as f32), simd.splat(0.0))
    }
}
