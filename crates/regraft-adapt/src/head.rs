//! The heads under one roof: fitted with a given hyper-parameter, and applied.

use std::fmt;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::error::{AdaptError, Result, positive};
use crate::examples::Examples;
use crate::knn::NearestNeighbours;
use crate::linear::LinearHead;
use crate::ridge::Ridge;
use crate::standardise::Standardisation;
use crate::{lda, logistic, nearest_mean};

/// The kinds of head, in order of preference.
///
/// Logistic regression comes first because its penalty spans everything from the class means to a perfect separation
/// and because it alone is fitted for its probabilities; the others follow from the simplest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// Multinomial logistic regression; the hyper-parameter is the inverse penalty C > 0.
    LogisticRegression,
    /// Nearest class mean; no hyper-parameter.
    NearestClassMean,
    /// Linear discriminant analysis with Ledoit–Wolf shrinkage; no hyper-parameter.
    Lda,
    /// Ridge regression on one-hot targets; the hyper-parameter is the penalty α > 0.
    Ridge,
    /// k nearest neighbours; the hyper-parameter is k ≥ 1.
    Knn,
}

impl HeadKind {
    /// All kinds, in order of preference.
    pub const ALL: [HeadKind; 5] =
        [Self::LogisticRegression, Self::NearestClassMean, Self::Lda, Self::Ridge, Self::Knn];

    /// The name, which is also its serialised form.
    pub fn name(self) -> &'static str {
        match self {
            Self::NearestClassMean => "nearest-class-mean",
            Self::Lda => "lda",
            Self::Ridge => "ridge",
            Self::LogisticRegression => "logistic-regression",
            Self::Knn => "knn",
        }
    }

    /// The name of the hyper-parameter, if there is one.
    pub fn hyper_parameter_name(self) -> Option<&'static str> {
        match self {
            Self::NearestClassMean | Self::Lda => None,
            Self::Ridge => Some("alpha"),
            Self::LogisticRegression => Some("C"),
            Self::Knn => Some("k"),
        }
    }
}

impl fmt::Display for HeadKind {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A fitted head.
#[derive(Debug, Clone, PartialEq)]
pub enum Head {
    /// Any of the linear kinds.
    Linear(LinearHead),
    /// A vote of training rows.
    Neighbours(NearestNeighbours),
}

impl Head {
    /// The logits (n × C) of raw `features` (n × D).
    ///
    /// # Errors
    /// [`AdaptError::Shape`] if D differs from the head's, [`AdaptError::NonFinite`], [`AdaptError::Empty`].
    pub fn logits(&self, features: ArrayView2<f32>) -> Result<Array2<f32>> {
        match self {
            Head::Linear(head) => head.logits(features),
            Head::Neighbours(head) => head.logits(features),
        }
    }

    /// Number of classes C.
    pub fn classes(&self) -> usize {
        match self {
            Head::Linear(head) => head.weight.nrows(),
            Head::Neighbours(head) => head.classes(),
        }
    }

    /// Number of features D of a row.
    pub fn dimension(&self) -> usize {
        match self {
            Head::Linear(head) => head.weight.ncols(),
            Head::Neighbours(head) => head.dimension(),
        }
    }
}

/// Fits one head to all of `examples` with a given hyper-parameter, which only the kinds that have one look at.
///
/// Linear heads are fitted to features of [moderated](Standardisation::moderated) standardisation, kNN to the raw ones.
/// A ridge penalty below 10⁻⁶ of the greatest squared singular value is raised to that.
///
/// # Errors
/// [`AdaptError::HyperParameter`] if it is missing or out of range, and those of the kind's own fit.
///
/// ```
/// use ndarray::array;
/// use regraft_adapt::{Examples, HeadKind, fit_fixed};
/// let features = array![[0.0_f32, 1.0], [0.2, 0.9], [1.0, 0.0], [0.9, 0.3]];
/// let examples = Examples::new(features.view(), &[0, 0, 1, 1], 2)?;
/// let head = fit_fixed(HeadKind::LogisticRegression, Some(1.0), &examples)?;
/// let logits = head.logits(array![[0.1_f32, 1.0]].view())?;
/// assert!(logits[(0, 0)] > logits[(0, 1)]);
/// # Ok::<(), regraft_adapt::AdaptError>(())
/// ```
pub fn fit_fixed(kind: HeadKind, hyper_parameter: Option<f64>, examples: &Examples) -> Result<Head> {
    let value = hyper_parameter.unwrap_or(f64::NAN);
    let standardisation = Standardisation::moderated(examples);
    let solution = match kind {
        HeadKind::NearestClassMean => nearest_mean::fit(examples, &standardisation)?,
        HeadKind::Lda => lda::fit(examples, &standardisation)?,
        HeadKind::Ridge => {
            positive("the ridge penalty", value)?;
            let ridge = Ridge::new(examples, &standardisation)?;
            ridge.solution(value.max(ridge.least_penalty()))?
        }
        HeadKind::LogisticRegression => logistic::fit(examples, &standardisation, value)?.solution,
        HeadKind::Knn => return Ok(Head::Neighbours(NearestNeighbours::fit(examples, neighbours(value)?)?)),
    };
    Ok(Head::Linear(solution.rounded()))
}

fn neighbours(value: f64) -> Result<usize> {
    if value >= 1.0 && value.fract() == 0.0 && value <= f64::from(u32::MAX) {
        return Ok(value as usize);
    }
    Err(AdaptError::HyperParameter { name: "k", found: value, expected: "a whole number, at least 1" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_serialised_by_its_name() {
        for kind in HeadKind::ALL {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{}\"", kind.name()));
        }
    }
}
