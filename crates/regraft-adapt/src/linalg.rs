//! The few matrix operations that the heads share, all sequential.
//!
//! `faer` is always called with `Par::Seq`: its parallel products split the work by the number of threads, and a
//! result must not depend on that.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt;
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Accum, Mat, MatMut, MatRef, Par};

use crate::error::{AdaptError, Result};

/// left · right.
pub(crate) fn product(left: MatRef<f64>, right: MatRef<f64>) -> Mat<f64> {
    let mut result = Mat::zeros(left.nrows(), right.ncols());
    matmul(result.as_mut(), Accum::Replace, left, right, 1.0, Par::Seq);
    result
}

/// result += factor · left · right.
pub(crate) fn add_product(result: MatMut<f64>, left: MatRef<f64>, right: MatRef<f64>, factor: f64) {
    matmul(result, Accum::Add, left, right, factor, Par::Seq);
}

/// Adds the lower triangle of matrix · matrixᵀ to that of `result`; the upper triangle stays as it is.
pub(crate) fn add_gram(result: MatMut<f64>, matrix: MatRef<f64>) {
    triangular::matmul(
        result,
        BlockStructure::TriangularLower,
        Accum::Add,
        matrix,
        BlockStructure::Rectangular,
        matrix.transpose(),
        BlockStructure::Rectangular,
        1.0,
        Par::Seq,
    );
}

/// The lower triangle of matrix · matrixᵀ, zeros above it.
pub(crate) fn gram(matrix: MatRef<f64>) -> Mat<f64> {
    let mut result = Mat::zeros(matrix.nrows(), matrix.nrows());
    add_gram(result.as_mut(), matrix);
    result
}

/// ‖A‖²_F of the symmetric matrix A with this lower triangle.
pub(crate) fn symmetric_square_norm(lower: MatRef<f64>) -> f64 {
    let square = |row: usize, column: usize| lower[(row, column)] * lower[(row, column)];
    let column_sum = |column| {
        square(column, column) + 2.0 * (column + 1..lower.nrows()).map(|row| square(row, column)).sum::<f64>()
    };
    (0..lower.ncols()).map(column_sum).sum()
}

/// Eigenvalues in ascending order and eigenvectors (columns) of the symmetric matrix with this lower triangle.
///
/// # Errors
/// [`AdaptError::Decomposition`] if the iteration does not converge.
pub(crate) fn symmetric_eigen(lower: MatRef<f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let size = lower.nrows();
    let (mut values, mut vectors) = (Mat::zeros(size, 1), Mat::zeros(size, size));
    let scratch =
        self_adjoint_evd_scratch::<f64>(size, ComputeEigenvectors::Yes, Par::Seq, Default::default());
    self_adjoint_evd(
        lower,
        values.as_mut().col_mut(0).as_diagonal_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| AdaptError::Decomposition { what: "eigenvalue decomposition" })?;
    Ok((values.col_as_slice(0).to_vec(), vectors))
}

/// Singular values in descending order, left and right singular vectors (columns), as many as the matrix's smaller side.
///
/// # Errors
/// [`AdaptError::Decomposition`] if the iteration does not converge.
pub(crate) fn singular_values(matrix: MatRef<f64>) -> Result<(Vec<f64>, Mat<f64>, Mat<f64>)> {
    let (rows, columns) = matrix.shape();
    let size = rows.min(columns);
    let (mut values, mut left) = (Mat::zeros(size, 1), Mat::zeros(rows, size));
    let mut right = Mat::zeros(columns, size);
    let thin = ComputeSvdVectors::Thin;
    let scratch = svd_scratch::<f64>(rows, columns, thin, thin, Par::Seq, Default::default());
    svd(
        matrix,
        values.as_mut().col_mut(0).as_diagonal_mut(),
        Some(left.as_mut()),
        Some(right.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| AdaptError::Decomposition { what: "singular value decomposition" })?;
    Ok((values.col_as_slice(0).to_vec(), left, right))
}

/// Solves A · X = `right` in place, A positive definite and given by its lower triangle, which is overwritten.
///
/// # Errors
/// [`AdaptError::Decomposition`] if A is not positive definite.
pub(crate) fn solve_positive(mut lower: Mat<f64>, mut right: MatMut<f64>) -> Result<()> {
    let scratch = llt::factor::cholesky_in_place_scratch::<f64>(lower.nrows(), Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    llt::factor::cholesky_in_place(lower.as_mut(), Default::default(), Par::Seq, stack, Default::default())
        .map_err(|_| AdaptError::Decomposition { what: "Cholesky decomposition" })?;
    llt::solve::solve_in_place(lower.as_ref(), right.as_mut(), Par::Seq, MemStack::new(&mut []));
    Ok(())
}
