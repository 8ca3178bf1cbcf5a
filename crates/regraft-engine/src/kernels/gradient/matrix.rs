//! Products of small matrices in scratch memory, in register tiles of rows by vectors of columns.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(clippy::indexing_slicing, reason = "indices are below the constants that the arrays have as sizes")]

use crate::simd::{LANES, Simd};

/// Rows and vectors of a tile, with many registers: 24 sums, two factors and one number.
const ROWS: usize = 12;
const VECTORS: usize = 2;
/// Rows of a tile with few registers, and of what many leave over.
const FEW_ROWS: usize = 4;

/// Numbers of a right factor's columns that go through all rows together, for so many terms.
pub(super) const fn panel(terms: usize) -> usize {
    VECTORS * LANES * terms
}

/// Rows of the product, terms of each sum, and columns, which are whole vectors.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) rows: usize,
    pub(super) terms: usize,
    pub(super) columns: usize,
}

/// A matrix whose rows lie so far apart.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) numbers: &'a [f32],
    pub(super) width: usize,
}

/// `result = leftᵀ · right`, of terms × rows and terms × columns. Some of the right factor's columns at a time are copied to
/// `scratch`, where they stay in the first-level cache, and must fit there, see [`panel`]; too short slices are left alone.
#[inline(always)]
pub(super) fn multiply<S: Simd>(
    simd: S,
    sizes: Sizes,
    left: Matrix<'_>,
    right: &[f32],
    scratch: &mut [f32],
    result: &mut [f32],
) {
    let Sizes { rows, terms, columns } = sizes;
    let fits = terms.saturating_sub(1) * left.width + rows <= left.numbers.len()
        && terms * columns <= right.len()
        && rows * columns <= result.len()
        && panel(terms) <= scratch.len();
    if !fits || !columns.is_multiple_of(LANES) {
        return;
    }
    let mut column = 0;
    while column < columns {
        let result = result[column..].as_mut_ptr();
        let task = Task { sizes, left, panel: scratch.as_ptr(), result };
        // SAFETY: the slices have as many numbers as the tiles reach.
        unsafe {
            if column + VECTORS * LANES <= columns {
                gather::<S, VECTORS>(simd, &right[column..], columns, scratch);
                task.columns::<S, VECTORS>(simd);
                column += VECTORS * LANES;
            } else {
                gather::<S, 1>(simd, &right[column..], columns, scratch);
                task.columns::<S, 1>(simd);
                column += LANES;
            }
        }
    }
}

/// The first vectors of each row, one behind the other.
#[inline(always)]
fn gather<S: Simd, const V: usize>(simd: S, rows: &[f32], width: usize, to: &mut [f32]) {
    for (row, to) in rows.chunks(width).zip(to.chunks_exact_mut(V * LANES)) {
        for (from, to) in row.chunks_exact(LANES).zip(to.chunks_exact_mut(LANES)) {
            // SAFETY: both are vectors.
            unsafe { simd.store(to.as_mut_ptr(), simd.load(from.as_ptr())) };
        }
    }
}

struct Task<'a> {
    sizes: Sizes,
    left: Matrix<'a>,
    panel: *const f32,
    result: *mut f32,
}

impl Task<'_> {
    /// # Safety
    /// The panel must have `V` vectors of each term, and the result as many of each row.
    #[inline(always)]
    unsafe fn columns<S: Simd, const V: usize>(&self, simd: S) {
        let (rows, mut row) = (self.sizes.rows, 0);
        while row < rows {
            // SAFETY: the rows lie in the matrices.
            unsafe {
                if const { S::PIXELS >= ROWS } && row + ROWS <= rows {
                    self.tile::<S, ROWS, V>(simd, row);
                    row += ROWS;
                } else if const { S::PIXELS >= ROWS } && row + FEW_ROWS <= rows {
                    self.tile::<S, FEW_ROWS, V>(simd, row);
                    row += FEW_ROWS;
                } else if row + 2 <= rows {
                    self.tile::<S, 2, V>(simd, row);
                    row += 2;
                } else {
                    self.tile::<S, 1, V>(simd, row);
                    row += 1;
                }
            }
        }
    }

    /// # Safety
    /// As for [`Self::columns`]; `R` rows from here must lie in the matrices.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(&self, simd: S, row: usize) {
        let Sizes { terms, columns, .. } = self.sizes;
        let result = self.result.wrapping_add(row * columns);
        let mut sums = [[simd.splat(0.0); V]; R];
        // SAFETY: the caller's promise.
        unsafe {
            for term in 0..terms {
                let left = self.left.numbers.as_ptr().add(term * self.left.width + row);
                let mut factors = [simd.splat(0.0); V];
                for vector in 0..V {
                    factors[vector] = simd.load(self.panel.add((term * V + vector) * LANES));
                }
                for index in 0..R {
                    let number = simd.splat(*left.add(index));
                    for vector in 0..V {
                        sums[index][vector] = simd.multiply_add(number, factors[vector], sums[index][vector]);
                    }
                }
            }
            for index in 0..R {
                for vector in 0..V {
                    simd.store(result.add(index * columns + vector * LANES), sums[index][vector]);
                }
            }
        }
    }
}

/// The transpose of a matrix of whole vectors, its rows `width` apart, as many as there is room for; zeros where vectors reach
/// beyond its columns.
#[inline(always)]
pub(super) fn transpose<S: Simd>(simd: S, from: Matrix<'_>, to: &mut [f32], width: usize) {
    for (block, rows) in from.numbers.chunks(LANES * from.width).enumerate() {
        for column in (0..from.width).step_by(LANES) {
            let mut vectors = [simd.splat(0.0); LANES];
            for (vector, row) in vectors.iter_mut().zip(rows.chunks_exact(from.width)) {
                // SAFETY: the row has a vector there.
                *vector = unsafe { simd.load(row[column..][..LANES].as_ptr()) };
            }
            for (lane, vector) in simd.transpose(vectors).into_iter().enumerate() {
                let start = (column + lane) * width + block * LANES;
                if let Some(to) = to.get_mut(start..start + LANES) {
                    // SAFETY: the slice has 16 numbers.
                    unsafe { simd.store(to.as_mut_ptr(), vector) };
                }
            }
        }
    }
}
