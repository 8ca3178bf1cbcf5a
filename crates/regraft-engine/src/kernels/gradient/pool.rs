//! Gradients of pooling. A window's gradient goes to the first of its largest numbers, as in PyTorch, or in equal shares to
//! all of them.
#![allow(clippy::indexing_slicing, reason = "there is a view for each row and column of the output")]

use std::ops::Range;

use super::{Gradient, Operands, row};
use crate::{
    InstructionSet,
    geometry::Geometry,
    kernels::pool::{Kind, Pool},
    simd::{self, Kernel, LANES, Simd},
};

/// Reads the gradient of the output and, for the largest numbers, input and output.
#[derive(Debug)]
pub(crate) struct PoolGradient {
    /// The pool, whose geometries are those of its values.
    pub(crate) pool: Pool,
    pub(crate) from: Geometry,
    pub(crate) to: Geometry,
}

impl Gradient for PoolGradient {
    fn units(&self, images: usize) -> usize {
        images * self.to.blocks()
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a PoolGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let PoolGradient { pool, to, .. } = self.step;
        for unit in self.units.clone() {
            let [image, block] = [unit / to.blocks(), unit % to.blocks()];
            // SAFETY: the block lies in the image; `Gradient::run`'s caller vouches for the operands.
            unsafe {
                for y in 0..to.height {
                    let line = row(self.operands.output, to, [image, block, y]);
                    (0..to.width).for_each(|x| simd.store(line.add(x * LANES), simd.splat(0.0)));
                }
                match pool.kind {
                    Kind::Largest => self.largest(simd, image, block),
                    Kind::Mean | Kind::PaddedMean => self.mean(simd, image, block),
                }
            }
        }
    }
}

impl Task<'_> {
    /// # Safety
    /// The image must have the block.
    #[inline(always)]
    unsafe fn mean<S: Simd>(&self, simd: S, image: usize, block: usize) {
        let PoolGradient { pool: Pool { views: [rows, columns], extents, kind, .. }, from, to } = self.step;
        let [gradients, ..] = self.operands.reads else { return };
        for (y, rows) in rows.iter().enumerate() {
            for (x, columns) in columns.iter().enumerate() {
                let divisor = match kind {
                    Kind::PaddedMean => extents[0][y] * extents[1][x],
                    _ => rows.len() * columns.len(),
                };
                // SAFETY: the views lie in the image; the rest is the caller's promise.
                unsafe {
                    let gradient = simd.load(row(*gradients, from, [image, block, y]).add(x * LANES));
                    let share = simd.multiply(gradient, simd.splat(1.0 / divisor as f32));
                    for y in rows.clone() {
                        let line = row(self.operands.output, to, [image, block, y]);
                        for x in columns.clone() {
                            let place = line.add(x * LANES);
                            simd.store(place, simd.add(simd.load(place), share));
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// As for [`Self::mean`].
    #[inline(always)]
    unsafe fn largest<S: Simd>(&self, simd: S, image: usize, block: usize) {
        let PoolGradient { pool: Pool { views: [rows, columns], input, output, .. }, from, to } = self.step;
        let [gradients, inputs, outputs] = self.operands.reads else { return };
        for (y, rows) in rows.iter().enumerate() {
            for (x, columns) in columns.iter().enumerate() {
                // SAFETY: as above.
                unsafe {
                    let mut rest = simd.load(row(*gradients, from, [image, block, y]).add(x * LANES));
                    let largest = simd.load(row(*outputs, output, [image, block, y]).add(x * LANES));
                    for y in rows.clone() {
                        let values = row(*inputs, input, [image, block, y]);
                        let line = row(self.operands.output, to, [image, block, y]);
                        for x in columns.clone() {
                            let value = simd.load(values.add(x * LANES));
                            // What is not given away here goes to a later one.
                            let later = simd.where_greater(largest, value, rest);
                            let here = simd.add(rest, simd.multiply(later, simd.splat(-1.0)));
                            let place = line.add(x * LANES);
                            simd.store(place, simd.add(simd.load(place), here));
                            rest = later;
                        }
                    }
                }
            }
        }
    }
}
