//! Products of small matrices in scratch memory, in register tiles of rows by vectors of columns.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(clippy::indexing_slicing, reason = "indices are below the constants that the arrays have as sizes")]

use crate::simd::{LANES, Simd};

/// Rows and vectors of a tile, with many registers: 24 sums, two factors and one number. The more rows, the more rarely the
/// right factor is read, which does not stay in the first-level cache.
const ROWS: usize = 12;
const VECTORS: usize = 2;
/// Rows of a tile with few registers, and of what many leave over.
const FEW_ROWS: usize = 4;

/// The first factor: how far apart its rows and the terms of a row lie, so that it may be a transpose.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) numbers: &'a [f32],
    pub(super) row: usize,
    pub(super) term: usize,
}

/// Rows of the product, terms of each sum, and columns, which are whole vectors.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) rows: usize,
    pub(super) terms: usize,
    pub(super) columns: usize,
}

/// `result = left · right`, or what was there and that, of terms × columns and rows × columns. Too short slices are left
/// alone.
#[inline(always)]
pub(super) fn multiply<S: Simd, const ADD: bool>(
    simd: S,
    sizes: Sizes,
    left: Left<'_>,
    right: &[f32],
    result: &mut [f32],
) {
    let Sizes { rows, terms, columns } = sizes;
    let reach = rows.saturating_sub(1) * left.row + terms.saturating_sub(1) * left.term + 1;
    let fits =
        reach <= left.numbers.len() && terms * columns <= right.len() && rows * columns <= result.len();
    if !fits || !columns.is_multiple_of(LANES) {
        return;
    }
    let task = Task { sizes, left, right: right.as_ptr(), result: result.as_mut_ptr() };
    let mut row = 0;
    while row < rows {
        // SAFETY: the slices have as many numbers as the tiles reach.
        unsafe {
            if const { S::PIXELS >= ROWS } && row + ROWS <= rows {
                task.rows::<S, ROWS, ADD>(simd, row);
                row += ROWS;
            } else if const { S::PIXELS >= ROWS } && row + FEW_ROWS <= rows {
                task.rows::<S, FEW_ROWS, ADD>(simd, row);
                row += FEW_ROWS;
            } else if row + 2 <= rows {
                task.rows::<S, 2, ADD>(simd, row);
                row += 2;
            } else {
                task.rows::<S, 1, ADD>(simd, row);
                row += 1;
            }
        }
    }
}

struct Task<'a> {
    sizes: Sizes,
    left: Left<'a>,
    right: *const f32,
    result: *mut f32,
}

impl Task<'_> {
    /// # Safety
    /// `R` rows from here must lie in the matrices.
    #[inline(always)]
    unsafe fn rows<S: Simd, const R: usize, const ADD: bool>(&self, simd: S, row: usize) {
        let mut column = 0;
        // SAFETY: the caller's promise.
        unsafe {
            while column + VECTORS * LANES <= self.sizes.columns {
                self.tile::<S, R, VECTORS, ADD>(simd, row, column);
                column += VECTORS * LANES;
            }
            if column < self.sizes.columns {
                self.tile::<S, R, 1, ADD>(simd, row, column);
            }
        }
    }

    /// # Safety
    /// `R` rows and `V` vectors from here must lie in the matrices.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize, const ADD: bool>(
        &self,
        simd: S,
        row: usize,
        column: usize,
    ) {
        let Sizes { terms, columns, .. } = self.sizes;
        let result = self.result.wrapping_add(row * columns + column);
        let mut sums = [[simd.splat(0.0); V]; R];
        // SAFETY: the caller's promise.
        unsafe {
            for term in 0..terms {
                let right = self.right.add(term * columns + column);
                let left = self.left.numbers.as_ptr().add(row * self.left.row + term * self.left.term);
                for index in 0..R {
                    let number = simd.splat(*left.add(index * self.left.row));
                    for vector in 0..V {
                        let factor = simd.load(right.add(vector * LANES));
                        sums[index][vector] = simd.multiply_add(number, factor, sums[index][vector]);
                    }
                }
            }
            for index in 0..R {
                for vector in 0..V {
                    let place = result.add(index * columns + vector * LANES);
                    let before = if ADD { simd.load(place) } else { simd.splat(0.0) };
                    simd.store(place, simd.add(before, sums[index][vector]));
                }
            }
        }
    }
}

/// The transpose of rows × columns, its rows `width` apart; what is behind them stays.
pub(super) fn transpose(from: &[f32], columns: usize, to: &mut [f32], width: usize) {
    for (row, numbers) in from.chunks_exact(columns).enumerate() {
        for (column, number) in numbers.iter().enumerate() {
            if let Some(place) = to.get_mut(column * width + row) {
                *place = *number;
            }
        }
    }
}
