//! Low-rank adaptation (Hu et al. 2022): a weight stays as it is, and a product of two narrow matrices is added to it.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, linalg::general_mat_mul};
use rand_distr::{Distribution as _, Uniform};
use regraft_system::random::Stream;

use crate::error::{AdaptError, Result};

/// A weight with two sides: a dense layer's, or a convolution's with its input channels and window for columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// Its name, for messages.
    pub name: String,
    /// Its places among all values.
    pub range: Range<usize>,
    /// Outputs.
    pub rows: usize,
}

impl Matrix {
    fn columns(&self) -> usize {
        self.range.len() / self.rows.max(1)
    }
}

/// The factors of the weights of a network: `W = W⁰ + (α / r) · B · A` with A of r × inputs and B of outputs × r. At first B
/// is zero, so that the network is what it was. For a convolution A is one with r outputs and the same window, and B one of
/// 1×1 behind it (`peft`'s form).
///
/// The gradients of the factors follow from those of the weight: `∂A = (α / r) · Bᵀ · ∂W`, `∂B = (α / r) · ∂W · Aᵀ`.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    matrices: Vec<Matrix>,
    /// Values that are trained as they are.
    plain: Vec<Range<usize>>,
    rank: usize,
    scale: f32,
    /// All values as they were.
    base: Vec<f32>,
}

impl LowRank {
    /// For matrices among `base`, and values beside them that are trained as they are. `alpha` is α.
    ///
    /// # Errors
    /// The rank is zero, or more than a matrix has rows or columns; α is not a number above 0; a range is outside of `base`.
    pub fn new(
        base: Vec<f32>,
        matrices: Vec<Matrix>,
        plain: Vec<Range<usize>>,
        (rank, alpha): (usize, f64),
    ) -> Result<Self> {
        for matrix in &matrices {
            let (rows, columns) = (matrix.rows, matrix.columns());
            if rank == 0 || rank > rows.min(columns) {
                return Err(AdaptError::Rank { rank, name: matrix.name.clone(), rows, columns });
            }
        }
        crate::error::positive("alpha", alpha)?;
        let ends = matrices.iter().map(|matrix| &matrix.range).chain(&plain).map(|range| range.end);
        if let Some(found) = ends.max().filter(|end| *end > base.len()) {
            return Err(AdaptError::Shape { what: "values of matrices", expected: base.len(), found });
        }
        Ok(Self { matrices, plain, rank, scale: (alpha / rank as f64) as f32, base })
    }

    /// Factors of the start, A before B for each matrix, and behind them the values that are trained as they are. A is drawn
    /// uniformly from ±1/√inputs, as Kaiming's rule with a slope of √5 has it; B is zero.
    pub fn start(&self, random: &mut Stream) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.len());
        for matrix in &self.matrices {
            let bound = 1.0 / (matrix.columns().max(1) as f32).sqrt();
            match Uniform::new_inclusive(-bound, bound) {
                Ok(uniform) => {
                    values.extend((0..self.rank * matrix.columns()).map(|_| uniform.sample(random)))
                }
                Err(_) => values.resize(values.len() + self.rank * matrix.columns(), 0.0),
            }
            values.resize(values.len() + matrix.rows * self.rank, 0.0);
        }
        for range in &self.plain {
            values.extend_from_slice(self.base.get(range.clone()).unwrap_or(&[]));
        }
        values
    }

    /// Number of values that are trained.
    pub fn len(&self) -> usize {
        let factors = self.matrices.iter().map(|matrix| self.rank * (matrix.rows + matrix.columns()));
        factors.sum::<usize>() + self.plain.iter().map(ExactSizeIterator::len).sum::<usize>()
    }

    /// Whether nothing is trained.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The places of each matrix's factors, in order, and of the values that are trained as they are, with the places among
    /// the network's values that they belong to.
    pub fn parts(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let factors = self
            .matrices
            .iter()
            .map(|matrix| (self.rank * (matrix.rows + matrix.columns()), matrix.range.clone()));
        let plain = self.plain.iter().map(|range| (range.len(), range.clone()));
        factors.chain(plain).scan(0, |place, (length, range)| {
            let start = *place;
            *place += length;
            Some((start..*place, range))
        })
    }

    /// Writes the network's values for these trained ones.
    pub fn compose(&self, trained: &[f32], values: &mut [f32]) {
        for (index, (part, range)) in self.parts().enumerate() {
            let (Some(part), Some(values)) = (trained.get(part), values.get_mut(range.clone())) else {
                continue;
            };
            let Some(matrix) = self.matrices.get(index) else {
                values.copy_from_slice(part);
                continue;
            };
            values.copy_from_slice(self.base.get(range).unwrap_or(&[]));
            if let Some(Factors { a, b }) = self.factors(matrix, part)
                && let Ok(mut weight) = ArrayViewMut2::from_shape((matrix.rows, matrix.columns()), values)
            {
                general_mat_mul(self.scale, &b, &a, 1.0, &mut weight);
            }
        }
    }

    /// The gradients of the trained values from those of the network's.
    pub fn project(&self, trained: &[f32], gradients: &[f32]) -> Vec<f32> {
        let mut projected = vec![0.0; self.len()];
        for (index, (part, range)) in self.parts().enumerate() {
            let gradient = gradients.get(range).unwrap_or(&[]);
            let (Some(own), Some(to)) = (trained.get(part.clone()), projected.get_mut(part)) else {
                continue;
            };
            match self.matrices.get(index) {
                Some(matrix) => self.project_matrix(matrix, own, gradient, to),
                None => to.copy_from_slice(gradient),
            }
        }
        projected
    }

    fn project_matrix(&self, matrix: &Matrix, own: &[f32], gradient: &[f32], to: &mut [f32]) {
        let (rows, columns, rank) = (matrix.rows, matrix.columns(), self.rank);
        let Some(Factors { a, b }) = self.factors(matrix, own) else { return };
        let Ok(gradient) = ArrayView2::from_shape((rows, columns), gradient) else { return };
        let (to_a, to_b) = to.split_at_mut(rank * columns);
        if let Ok(mut to_a) = ArrayViewMut2::from_shape((rank, columns), to_a) {
            general_mat_mul(self.scale, &b.t(), &gradient, 0.0, &mut to_a);
        }
        if let Ok(mut to_b) = ArrayViewMut2::from_shape((rows, rank), to_b) {
            general_mat_mul(self.scale, &gradient, &a.t(), 0.0, &mut to_b);
        }
    }

    fn factors<'a>(&self, matrix: &Matrix, part: &'a [f32]) -> Option<Factors<'a>> {
        let (a, b) = part.split_at_checked(self.rank * matrix.columns())?;
        let a = ArrayView2::from_shape((self.rank, matrix.columns()), a).ok()?;
        let b = ArrayView2::from_shape((matrix.rows, self.rank), b).ok()?;
        Some(Factors { a, b })
    }
}

struct Factors<'a> {
    a: ArrayView2<'a, f32>,
    b: ArrayView2<'a, f32>,
}

#[cfg(test)]
mod tests {
    use regraft_system::random::stream;

    use super::*;

    fn adaptation(rank: usize) -> Result<LowRank> {
        let base = (0..20).map(|value| value as f32 * 0.1).collect();
        let matrix = Matrix { name: "layer.weight".to_owned(), range: 2..14, rows: 3 };
        let plain = std::iter::once(14..16).collect();
        LowRank::new(base, vec![matrix], plain, (rank, 4.0))
    }

    #[test]
    fn the_start_is_the_base() {
        let adaptation = adaptation(2).unwrap();
        let trained = adaptation.start(&mut stream(0, "test", 0));
        assert_eq!(trained.len(), adaptation.len());
        assert_eq!(adaptation.len(), 2 * (3 + 4) + 2);
        let mut values = vec![0.0; 20];
        adaptation.compose(&trained, &mut values);
        let expected: Vec<f32> = (2..16).map(|value| value as f32 * 0.1).collect();
        assert_eq!(values[2..16], expected);
        assert!(trained[..8].iter().all(|value| value.abs() <= 0.5 && *value != 0.0));
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let adaptation = adaptation(2).unwrap();
        let mut trained = adaptation.start(&mut stream(0, "test", 0));
        trained.iter_mut().enumerate().for_each(|(place, value)| *value += 0.1 * place as f32);
        // The loss is half of the squares of all values.
        let loss = |trained: &[f32]| {
            let mut values = vec![0.0; 20];
            adaptation.compose(trained, &mut values);
            (0.5 * values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>(), values)
        };
        let (_, gradients) = loss(&trained);
        let found = adaptation.project(&trained, &gradients);
        for place in 0..trained.len() {
            let shifted = |by: f32| {
                let mut trained = trained.clone();
                trained[place] += by;
                loss(&trained).0
            };
            let expected = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            assert!(
                (f64::from(found[place]) - expected).abs() < 1e-2 * expected.abs().max(1.0),
                "{place}: {} {expected}",
                found[place]
            );
        }
    }

    #[test]
    fn a_rank_above_the_width_is_refused_by_name() {
        let message = adaptation(4).unwrap_err().to_string();
        assert!(message.contains("layer.weight") && message.contains("3"), "{message}");
        assert!(adaptation(0).is_err());
    }
}
