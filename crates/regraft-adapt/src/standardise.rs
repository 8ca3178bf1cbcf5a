//! Standardisation of columns to mean 0 and variance 1, fitted on training rows and folded into the head afterwards.
//!
//! A penalty treats all columns alike, so it means something only if they have one scale. The saved head works on
//! raw features: W(x − μ)/σ + b = (W/σ)x + (b − Wμ/σ).

use faer::Mat;
use std::ops::Range;

use crate::examples::Examples;
use crate::linear::LinearSolution;

/// Rows that a prior opinion on a deviation weighs as much as.
const PRIOR_ROWS: f64 = 20.0;

/// Rows that are converted to `f64` at a time, so that a tall matrix never exists twice.
const BLOCK: usize = 4096;

/// Mean and standard deviation of each column.
#[derive(Debug, Clone, PartialEq)]
pub struct Standardisation {
    mean: Vec<f64>,
    scale: Vec<f64>,
    varies: Vec<bool>,
}

impl Standardisation {
    /// Fits mean and standard deviation (divisor n) to every column; a constant column gets the scale 1.
    pub fn fit(examples: &Examples) -> Self {
        let rows = examples.len() as f64;
        let mut mean = vec![0.0; examples.dimension()];
        for position in 0..examples.len() {
            add(&mut mean, examples, position, |_, value| value);
        }
        mean.iter_mut().for_each(|sum| *sum /= rows);
        let mut variance = vec![0.0; examples.dimension()];
        for position in 0..examples.len() {
            add(&mut variance, examples, position, |column, value| (value - mean[column]).powi(2));
        }
        variance.iter_mut().for_each(|sum| *sum /= rows);
        let deviation = |(&mean, &variance): (&f64, &f64)| deviation(mean, variance, rows);
        let deviations: Vec<Option<f64>> = mean.iter().zip(&variance).map(deviation).collect();
        let varies = deviations.iter().map(Option::is_some).collect();
        let scale = deviations.into_iter().map(|deviation| deviation.unwrap_or(1.0)).collect();
        Standardisation { mean, scale, varies }
    }

    /// Like [`fit`](Self::fit), with the logarithm of every deviation drawn towards the mean logarithm as if 20 more
    /// rows had shown that one: ln σ′ = (n·ln σ + 20·mean ln σ)/(n + 20).
    ///
    /// A feature after a ReLU is zero in most rows. Where few training rows light it up, its deviation is
    /// underestimated, and a new row that does so lies far out and decides alone. On 60 images of 9 classes this raises
    /// the accuracy of logistic regression by 3 points, on 150 by 1, and on 1,500 it changes nothing. Logarithms keep
    /// columns of different units apart (cf. the moderated variances of Smyth 2004).
    pub fn moderated(examples: &Examples) -> Self {
        let mut fitted = Self::fit(examples);
        let logarithms = || fitted.scale.iter().zip(&fitted.varies).filter(|(_, varies)| **varies);
        let centre = logarithms().map(|(scale, _)| scale.ln()).sum::<f64>() / fitted.varying().max(1) as f64;
        let prior = PRIOR_ROWS / (PRIOR_ROWS + examples.len() as f64);
        for (scale, varies) in fitted.scale.iter_mut().zip(&fitted.varies) {
            if *varies {
                *scale = (scale.ln() + prior * (centre - scale.ln())).exp();
            }
        }
        fitted
    }

    /// Mean of each column.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// What each column is divided by: its (moderated) standard deviation, 1 for a constant column.
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// Number of columns that are not constant.
    pub fn varying(&self) -> usize {
        self.varies.iter().filter(|&&varies| varies).count()
    }

    /// The divisor of the column `feature`, `None` if the column is constant.
    pub(crate) fn deviation(&self, feature: usize) -> Option<f64> {
        self.varies[feature].then_some(self.scale[feature])
    }

    /// The standardised features of the rows at positions `range`, one column per row (D × range).
    pub(crate) fn apply(&self, examples: &Examples, range: Range<usize>) -> Mat<f64> {
        let mut result = Mat::zeros(examples.dimension(), range.len());
        for (column, position) in range.enumerate() {
            let row = examples.row(position);
            let moments = self.mean.iter().zip(&self.scale);
            for ((value, &raw), (mean, scale)) in
                result.col_as_slice_mut(column).iter_mut().zip(row).zip(moments)
            {
                *value = (f64::from(raw) - mean) / scale;
            }
        }
        result
    }

    /// The same solution for raw features, given one for standardised features.
    pub fn fold(&self, solution: LinearSolution) -> LinearSolution {
        let LinearSolution { mut weight, mut bias } = solution;
        for (mut weights, bias) in weight.rows_mut().into_iter().zip(&mut bias) {
            for (weight, (mean, scale)) in weights.iter_mut().zip(self.mean.iter().zip(&self.scale)) {
                *weight /= scale;
                *bias -= *weight * mean;
            }
        }
        LinearSolution { weight, bias }
    }
}

/// The ranges of positions that are converted together.
pub(crate) fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(BLOCK).map(move |start| start..rows.min(start + BLOCK))
}

fn add(sums: &mut [f64], examples: &Examples, position: usize, term: impl Fn(usize, f64) -> f64) {
    for (column, (sum, &value)) in sums.iter_mut().zip(examples.row(position)).enumerate() {
        *sum += term(column, f64::from(value));
    }
}

/// The standard deviation, or `None` if the variance is no more than its own rounding error (the bound that
/// scikit-learn's `StandardScaler` uses).
fn deviation(mean: f64, variance: f64, rows: f64) -> Option<f64> {
    let rounding = rows * f64::EPSILON * variance + (rows * mean * f64::EPSILON).powi(2);
    (variance > rounding).then(|| variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, Array2, array};

    #[test]
    fn a_folded_solution_gives_the_same_logits() {
        let features = array![[1.0_f32, 5.0, 100.0], [2.0, 5.0, 300.0], [4.0, 5.0, -100.0]];
        let examples = Examples::new(features.view(), &[0, 1, 1], 2).unwrap();
        let standardisation = Standardisation::fit(&examples);
        assert_eq!((standardisation.scale()[1], standardisation.varying()), (1.0, 2));
        let solution =
            LinearSolution { weight: array![[1.0, 2.0, 3.0], [-1.0, 0.5, 0.25]], bias: array![0.1, -0.2] };
        let standardised = standardisation.apply(&examples, 0..3);
        let folded = standardisation.fold(solution.clone());
        for row in 0..3 {
            let z = Array1::from(standardised.col_as_slice(row).to_vec());
            let raw: Array1<f64> = features.row(row).mapv(f64::from);
            let difference =
                solution.weight.dot(&z) + &solution.bias - folded.weight.dot(&raw) - &folded.bias;
            assert!(difference.iter().all(|value| value.abs() < 1e-12), "{difference}");
        }
    }

    #[test]
    fn a_large_constant_is_still_constant() {
        let features = Array2::from_shape_fn((1000, 1), |_| 123_456.78_f32);
        let labels: Vec<usize> = (0..1000).map(|row| row % 2).collect();
        let examples = Examples::new(features.view(), &labels, 2).unwrap();
        assert_eq!(Standardisation::fit(&examples).varying(), 0);
    }
}
