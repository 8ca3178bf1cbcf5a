//! Linear heads: logits = F·Wᵀ + b on raw features.

use faer::MatRef;
use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::error::{Result, same_length};
use crate::examples::{Examples, check_features};

/// A fitted linear head as it is saved and run: logits = F·Wᵀ + b on raw features, standardisation folded in.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearHead {
    /// W, classes × features.
    pub weight: Array2<f32>,
    /// b, one per class.
    pub bias: Array1<f32>,
}

impl LinearHead {
    /// The logits (n × C) of `features` (n × D).
    ///
    /// # Errors
    /// [`AdaptError::Shape`](crate::AdaptError::Shape) if D differs from the head's,
    /// [`AdaptError::NonFinite`](crate::AdaptError::NonFinite) for a NaN or an infinity.
    pub fn logits(&self, features: ArrayView2<f32>) -> Result<Array2<f32>> {
        check_features(features)?;
        same_length("number of features of a row", self.weight.ncols(), features.ncols())?;
        Ok(features.dot(&self.weight.t()) + &self.bias)
    }
}

/// A linear head in double precision, as the solvers leave it.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearSolution {
    /// W, classes × features.
    pub weight: Array2<f64>,
    /// b, one per class.
    pub bias: Array1<f64>,
}

impl LinearSolution {
    /// The solution with these columns of weights (D × C).
    pub(crate) fn from_columns(columns: MatRef<f64>, bias: Vec<f64>) -> Self {
        let weight = Array2::from_shape_fn((columns.ncols(), columns.nrows()), |(class, feature)| {
            columns[(feature, class)]
        });
        LinearSolution { weight, bias: Array1::from(bias) }
    }

    /// Rounds to single precision.
    pub fn rounded(&self) -> LinearHead {
        LinearHead {
            weight: self.weight.mapv(|value| value as f32),
            bias: self.bias.mapv(|value| value as f32),
        }
    }

    /// The solution for all `classes`, given one for the `present` classes, those that have training rows. The other
    /// classes get a constant logit lower than any that `examples` (raw, the training rows) get.
    pub(crate) fn expanded(self, present: &[usize], classes: usize, examples: &Examples) -> Self {
        if present.len() == classes {
            return self;
        }
        let mut weight = Array2::zeros((classes, self.weight.ncols()));
        let mut bias = Array1::from_elem(classes, below(self.logit_range(examples)));
        for (number, &class) in present.iter().enumerate() {
            weight.row_mut(class).assign(&self.weight.row(number));
            bias[class] = self.bias[number];
        }
        LinearSolution { weight, bias }
    }

    fn logit_range(&self, examples: &Examples) -> (f64, f64) {
        let rows = (0..examples.len()).map(|position| {
            let logits = self.weight.dot(&examples.row(position).mapv(f64::from)) + &self.bias;
            range(logits.iter().copied())
        });
        rows.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), row| (low.min(row.0), high.max(row.1)))
    }

    /// Logits (n × C) of `features` (n × D) in double precision.
    pub fn logits(&self, features: ArrayView2<f32>) -> Array2<f64> {
        let mut logits = features.mapv(f64::from).dot(&self.weight.t());
        logits.axis_iter_mut(Axis(0)).for_each(|mut row| row += &self.bias);
        logits
    }
}

/// The least and the greatest of `values`.
pub(crate) fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// A logit that loses against everything in `range`, by as much as the range is wide.
pub(crate) fn below((low, high): (f64, f64)) -> f64 {
    low - (high - low) - 1.0
}
