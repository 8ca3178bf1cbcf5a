//! A learning curve: accuracy over the number of training examples.

use serde::{Deserialize, Serialize};

use super::nan_if_null;

/// Test accuracy over the number of training examples, in nested subsets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LearningCurve {
    /// The sizes that were tried, ascending.
    pub sizes: Vec<usize>,
    /// One series a method: `source`, the wire names of the baselines, or any other name.
    pub series: Vec<CurveSeries>,
}

/// One method's accuracy over the number of training examples.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CurveSeries {
    /// `source`, `random_features`, `pixel_knn`, `majority`, or any other name, shown as it is.
    pub name: String,
    /// Points in ascending order of `n`.
    pub points: Vec<CurvePoint>,
}

/// One point of a learning curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CurvePoint {
    /// Number of training examples.
    pub n: usize,
    /// Mean accuracy.
    #[serde(deserialize_with = "nan_if_null")]
    pub mean: f64,
    /// Lower end of the band.
    #[serde(deserialize_with = "nan_if_null")]
    pub low: f64,
    /// Upper end of the band.
    #[serde(deserialize_with = "nan_if_null")]
    pub high: f64,
}

impl Default for CurvePoint {
    fn default() -> Self {
        Self { n: 0, mean: f64::NAN, low: f64::NAN, high: f64::NAN }
    }
}
