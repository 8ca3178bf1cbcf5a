//! Products of two matrices that are both computed. The first axis is the channels, so that 16 products of neighbouring
//! channels (the heads of an attention) are computed in the lanes of a vector; the matrices of a sequence N×M×K, whose
//! columns are the channels, are multiplied as a dense layer does.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(clippy::indexing_slicing, reason = "indices are below the constants that the arrays have as sizes")]

use std::ops::Range;

use super::{Computation, Operands, load_block, real, store_block};
use crate::{
    Settings,
    element::Element,
    geometry::Geometry,
    simd::{self, Kernel, Simd},
};

/// Rows of a unit, and columns that are summed side by side, with many registers; with few it is two of each.
const TILE: usize = 4;

/// `A · B`.
#[derive(Debug)]
pub(crate) struct MatMul {
    pub(crate) inputs: [Geometry; 2],
    pub(crate) output: Geometry,
    /// Rows of A and terms of each sum.
    pub(crate) rows: usize,
    pub(crate) terms: usize,
    /// Whether the columns are the channels.
    pub(crate) is_sequence: bool,
}

impl MatMul {
    /// Matrices that follow each other in the rows of an image.
    fn matrices(&self) -> usize {
        if self.is_sequence { 1 } else { self.output.height / self.rows }
    }

    fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }
}

impl Computation for MatMul {
    /// A few rows of a matrix of a block.
    fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.matrices() * self.tiles()
    }

    fn cost(&self, images: usize) -> usize {
        2 * images * self.output.image() * self.terms
    }

    unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        simd::launch(settings.instruction_set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a MatMul,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        if self.step.inputs.iter().all(|input| input.element == Element::Float32) {
            self.tiles::<S, true>(simd);
        } else {
            self.tiles::<S, false>(simd);
        }
    }
}

/// Where a unit's results lie.
#[derive(Clone, Copy)]
struct Place {
    image: usize,
    block: usize,
    matrix: usize,
}

impl Task<'_> {
    /// `PLAIN`: the inputs are in single precision.
    #[inline(always)]
    fn tiles<S: Simd, const PLAIN: bool>(&self, simd: S) {
        let step = self.step;
        for unit in self.units.clone() {
            let (rest, tile) = (unit / step.tiles(), unit % step.tiles());
            let (plane, matrix) = (rest / step.matrices(), rest % step.matrices());
            let place =
                Place { image: plane / step.output.blocks(), block: plane % step.output.blocks(), matrix };
            let (mut row, end) = (tile * TILE, step.rows.min((tile + 1) * TILE));
            while row < end {
                // SAFETY: the rows are the matrix's; `run`'s caller vouches for the operands.
                unsafe {
                    if const { S::PIXELS > 2 * TILE } && row + TILE <= end {
                        self.row::<S, PLAIN, TILE, TILE>(simd, place, row);
                        row += TILE;
                    } else if row + 2 <= end {
                        self.row::<S, PLAIN, 2, 2>(simd, place, row);
                        row += 2;
                    } else {
                        self.row::<S, PLAIN, 1, TILE>(simd, place, row);
                        row += 1;
                    }
                }
            }
        }
    }

    /// All columns of `R` rows.
    ///
    /// # Safety
    /// The rows must lie in the matrix.
    #[inline(always)]
    unsafe fn row<S: Simd, const PLAIN: bool, const R: usize, const C: usize>(
        &self,
        simd: S,
        place: Place,
        row: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.step.is_sequence {
                return self.sequence::<S, PLAIN, R>(simd, place, row);
            }
            let (mut column, width) = (0, self.step.output.width);
            while column + C <= width {
                self.tile::<S, PLAIN, R, C>(simd, place, [row, column]);
                column += C;
            }
            while column < width {
                self.tile::<S, PLAIN, R, 1>(simd, place, [row, column]);
                column += 1;
            }
        }
    }

    /// # Safety
    /// `R` rows and `C` columns from here must lie in the matrix.
    #[inline(always)]
    unsafe fn tile<S: Simd, const PLAIN: bool, const R: usize, const C: usize>(
        &self,
        simd: S,
        Place { image, block, matrix }: Place,
        [row, column]: [usize; 2],
    ) {
        let MatMul { inputs: [left, right], output, rows, terms, .. } = self.step;
        let place = [image, block];
        let mut sums = [[simd.splat(0.0); C]; R];
        for term in 0..*terms {
            let mut b = [simd.splat(0.0); C];
            for index in 0..C {
                let pixel = [matrix * terms + term, column + index];
                // SAFETY: the caller's promise.
                b[index] = unsafe { self.load::<S, PLAIN>(simd, right, false, place, pixel) };
            }
            for index in 0..R {
                // SAFETY: the caller's promise.
                let a = unsafe {
                    self.load::<S, PLAIN>(simd, left, true, place, [matrix * rows + row + index, term])
                };
                for column in 0..C {
                    sums[index][column] = simd.multiply_add(a, b[column], sums[index][column]);
                }
            }
        }
        for (index, sums) in sums.iter().enumerate() {
            for (more, sum) in sums.iter().enumerate() {
                let pixel = [matrix * rows + row + index, column + more];
                // SAFETY: the caller's promise.
                unsafe { store_block(simd, self.operands.output, output, place, pixel, *sum) };
            }
        }
    }

    /// `R` rows of a block of columns of a sequence's matrix.
    ///
    /// # Safety
    /// The rows must lie in the matrix.
    #[inline(always)]
    unsafe fn sequence<S: Simd, const PLAIN: bool, const R: usize>(
        &self,
        simd: S,
        Place { image, block, .. }: Place,
        row: usize,
    ) {
        let MatMul { inputs: [left, right], output, terms, .. } = self.step;
        let mut sums = [simd.splat(0.0); R];
        for term in 0..*terms {
            // SAFETY: the caller's promise.
            unsafe {
                let b = self.load::<S, PLAIN>(simd, right, false, [image, block], [0, term]);
                for index in 0..R {
                    let number = left.element(term, 0, row + index) * left.element.size();
                    let a = real(left.element, self.operands.input.at::<u8>(image).add(number));
                    sums[index] = simd.multiply_add(simd.splat(a), b, sums[index]);
                }
            }
        }
        for (index, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                store_block(simd, self.operands.output, output, [image, block], [0, row + index], *sum)
            };
        }
    }

    /// # Safety
    /// The operand must hold the image, and the image the block and the pixel.
    #[inline(always)]
    unsafe fn load<S: Simd, const PLAIN: bool>(
        &self,
        simd: S,
        geometry: &Geometry,
        is_left: bool,
        [image, block]: [usize; 2],
        [y, x]: [usize; 2],
    ) -> S::Vector {
        let span = if is_left { self.operands.input } else { self.operands.second };
        // SAFETY: the caller's promise.
        unsafe {
            if PLAIN {
                return simd.load(span.at::<f32>(image).add(block * geometry.plane() + geometry.pixel(y, x)));
            }
            load_block(simd, span, geometry, [image, block], [y, x])
        }
    }
}
