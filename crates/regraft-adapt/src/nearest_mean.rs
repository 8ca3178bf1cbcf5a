//! Nearest class mean: the class whose mean is closest in Euclidean distance on standardised features.
//!
//! −‖x − μ_c‖² differs from 2μ_cᵀx − ‖μ_c‖² by a term that all classes share, so the rule is a linear head. It has
//! nothing to tune and the fewest effective parameters of all heads, which makes it the one to beat with few rows.

use ndarray::{Array1, Array2};

use crate::error::Result;
use crate::examples::Examples;
use crate::linear::LinearSolution;
use crate::standardise::Standardisation;

/// Fits the means; `standardisation` is that of `examples`. Classes without a row get a logit below all others.
///
/// # Errors
/// [`AdaptError::SingleClass`](crate::AdaptError::SingleClass).
pub fn fit(examples: &Examples, standardisation: &Standardisation) -> Result<LinearSolution> {
    let (compact, present) = examples.compact()?;
    let means = class_means(&compact, standardisation);
    let bias: Array1<f64> = means.rows().into_iter().map(|mean| -mean.dot(&mean)).collect();
    let solution = standardisation.fold(LinearSolution { weight: means * 2.0, bias });
    Ok(solution.expanded(&present, examples.classes(), &compact))
}

/// The mean of each class (C × D) on standardised features. Every class has a row.
pub(crate) fn class_means(examples: &Examples, standardisation: &Standardisation) -> Array2<f64> {
    let mut means = Array2::zeros((examples.classes(), examples.dimension()));
    for (position, &label) in examples.labels().iter().enumerate() {
        means.row_mut(label).zip_mut_with(&examples.row(position), |sum, &value| *sum += f64::from(value));
    }
    for (mut mean, count) in means.rows_mut().into_iter().zip(examples.counts()) {
        let moments = standardisation.mean().iter().zip(standardisation.scale());
        for (value, (centre, scale)) in mean.iter_mut().zip(moments) {
            *value = (*value / count as f64 - centre) / scale;
        }
    }
    means
}
