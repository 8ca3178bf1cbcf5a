//! The principal axes of centred, standardised training features: the coordinates in which ridge and logistic
//! regression are solved.
//!
//! With the thin singular value decomposition X = U·S·Vᵀ, an L2-penalised optimum lies in the span of V, so nothing is
//! lost by replacing the D features by the k = rank(X) coordinates XV = US, and XᵀX becomes diagonal. The
//! decomposition comes from the eigenvalues of the smaller Gram matrix: half the cost of a direct one, and exact to
//! rounding for every penalty that is not itself below rounding, as the penalty outweighs whatever error a small
//! eigenvalue has.

use faer::{Mat, MatRef};

use crate::error::Result;
use crate::examples::Examples;
use crate::linalg::{add_gram, gram, product, symmetric_eigen};
use crate::standardise::{Standardisation, blocks};

/// Eigenvalues below this fraction of the greatest are rounding noise of the Gram matrix.
const NOISE: f64 = 4.0 * f64::EPSILON;

/// The decomposition of standardised training features X (n × D) of rank k.
#[derive(Debug, Clone)]
pub(crate) struct PrincipalBasis {
    standardisation: Standardisation,
    /// V, D × k.
    directions: Mat<f64>,
    /// s², k values.
    pub(crate) squares: Vec<f64>,
    /// (XV)ᵀ, k × n: the coordinates of one training row per column.
    pub(crate) scores: Mat<f64>,
}

impl PrincipalBasis {
    /// Standardises and decomposes `examples`, whose means `standardisation` has to be fitted to.
    ///
    /// # Errors
    /// [`AdaptError::Decomposition`](crate::AdaptError::Decomposition) if the eigenvalues do not converge.
    pub(crate) fn fit(examples: &Examples, standardisation: &Standardisation) -> Result<Self> {
        let standardisation = standardisation.clone();
        if examples.len() < examples.dimension() {
            Self::from_rows(examples, standardisation)
        } else {
            Self::from_columns(examples, standardisation)
        }
    }

    /// n < D: XXᵀ = U·S²·Uᵀ, then V = XᵀU/S.
    fn from_rows(examples: &Examples, standardisation: Standardisation) -> Result<Self> {
        let columns = standardisation.apply(examples, 0..examples.len());
        let (squares, left) = kept(symmetric_eigen(gram(columns.transpose()).as_ref())?);
        let rank = squares.len();
        let scores = Mat::from_fn(rank, examples.len(), |axis, row| left[(row, axis)] * squares[axis].sqrt());
        let mut directions = product(columns.as_ref(), left.as_ref());
        for (axis, square) in squares.iter().enumerate() {
            directions.col_as_slice_mut(axis).iter_mut().for_each(|value| *value /= square.sqrt());
        }
        Ok(PrincipalBasis { standardisation, directions, squares, scores })
    }

    /// n ≥ D: XᵀX = V·S²·Vᵀ.
    fn from_columns(examples: &Examples, standardisation: Standardisation) -> Result<Self> {
        let mut sums = Mat::zeros(examples.dimension(), examples.dimension());
        for block in blocks(examples.len()) {
            add_gram(sums.as_mut(), standardisation.apply(examples, block).as_ref());
        }
        let (squares, directions) = kept(symmetric_eigen(sums.as_ref())?);
        let mut basis = PrincipalBasis { standardisation, directions, squares, scores: Mat::new() };
        basis.scores = basis.project(examples);
        Ok(basis)
    }

    /// The coordinates (k × m) of the m rows of `examples`.
    pub(crate) fn project(&self, examples: &Examples) -> Mat<f64> {
        let mut scores = Mat::zeros(self.squares.len(), examples.len());
        for block in blocks(examples.len()) {
            let columns = self.standardisation.apply(examples, block.clone());
            let target = scores.as_mut().subcols_mut(block.start, block.len());
            crate::linalg::add_product(target, self.directions.transpose(), columns.as_ref(), 1.0);
        }
        scores
    }

    /// The weights (D × C, for raw features) and biases of the solution with `weights` (k × C) in these coordinates.
    pub(crate) fn solution(&self, weights: MatRef<f64>, bias: Vec<f64>) -> crate::LinearSolution {
        let columns = product(self.directions.as_ref(), weights);
        self.standardisation.fold(crate::LinearSolution::from_columns(columns.as_ref(), bias))
    }

    /// Number of features that vary among the training rows.
    pub(crate) fn varying(&self) -> usize {
        self.standardisation.varying()
    }

    /// s²_max, or 0 if every feature is constant.
    pub(crate) fn greatest_square(&self) -> f64 {
        self.squares.iter().copied().fold(0.0, f64::max)
    }
}

/// The eigenpairs that are more than rounding noise.
fn kept((values, vectors): (Vec<f64>, Mat<f64>)) -> (Vec<f64>, Mat<f64>) {
    let noise = NOISE * values.last().copied().unwrap_or(0.0).max(f64::MIN_POSITIVE);
    let first = values.partition_point(|&value| value <= noise);
    let vectors = vectors.as_ref().subcols(first, values.len() - first).to_owned();
    (values[first..].to_vec(), vectors)
}
