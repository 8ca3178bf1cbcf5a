//! Largest value and mean of each window. The window is clipped to the image, so that the padding never wins, and counts
//! only as a larger divisor; the stored border is not read.

use std::ops::Range;

use super::Operands;
use crate::{
    InstructionSet,
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd},
    window::Window,
};

/// A pooling window.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) input: Geometry,
    pub(crate) output: Geometry,
    pub(crate) window: Window,
    /// The mean rather than the largest value.
    pub(crate) average: bool,
    /// Whether the padding counts as zeros in the mean.
    pub(crate) count_padding: bool,
}

impl Pool {
    /// Number of units: rows of one block of one image.
    pub(crate) fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.output.height
    }

    /// Numbers that are read for a group of images.
    pub(crate) fn cost(&self, images: usize) -> usize {
        let [height, width] = self.window.kernel;
        images * self.output.image() * height.min(self.input.height) * width.min(self.input.width)
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
        for unit in self.units.clone() {
            let (plane, y) = (unit / output.height, unit % output.height);
            let (image, block) = (plane / output.blocks(), plane % output.blocks());
            let rows = self.pool.window.clipped(0, y, input.height);
            // SAFETY: block and row lie in the image; `Pool::run`'s caller vouches for the operands.
            unsafe {
                let from = self.operands.input.at(image).add(block * input.plane());
                let to = self.operands.output.at(image).add(block * output.plane() + output.pixel(y, 0));
                for x in 0..output.width {
                    let columns = self.pool.window.clipped(1, x, input.width);
                    let value = self.window(simd, from, rows.clone(), columns);
                    simd.store(to.add(x * LANES), value);
                }
            }
        }
    }
}

impl Task<'_> {
    /// # Safety
    /// Rows and columns must lie in the image whose block starts at `from`.
    #[inline(always)]
    unsafe fn window<S: Simd>(
        &self,
        simd: S,
        from: *const f32,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> S::Vector {
        let average = self.pool.average;
        let [height, width] = self.pool.window.kernel;
        let count = if self.pool.count_padding { height * width } else { rows.len() * columns.len() };
        let mut result = simd.splat(if average { 0.0 } else { f32::NEG_INFINITY });
        for y in rows {
            for x in columns.clone() {
                // SAFETY: the caller's promise.
                let value = unsafe { simd.load(from.add(self.pool.input.pixel(y, x))) };
                result = if average { simd.add(result, value) } else { simd.maximum(result, value) };
            }
        }
        let scale = simd.splat(1.0 / count as f32);
        if average { simd.multiply_add(result, scale, simd.splat(0.0)) } else { result }
    }
}
