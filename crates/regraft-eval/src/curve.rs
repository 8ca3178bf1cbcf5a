//! The score as it grows with the number of training items.
//!
//! Each point is repeated over several training subsets, and its interval is one over those repetitions: it says where
//! the mean over all subsets of that size lies, with the test items held fixed.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, all_finite, same_length};
use crate::intervals::{Bootstrap, Estimate, mean_with_interval, mean_with_t_interval};

/// From this number of repetitions on the interval is bootstrapped; below it Student's t is the safer one.
const BOOTSTRAP_FROM: usize = 20;

/// The score at one number of training items.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Number of training items.
    pub items: usize,
    /// Number of repetitions.
    pub repetitions: usize,
    /// Mean score over the repetitions with its interval.
    pub score: Estimate,
}

/// The mean and interval over repetitions at every number of training items.
///
/// `scores` holds (number of training items, score of each repetition) with ascending numbers. The interval is Student's
/// t below 20 repetitions, which is symmetric and may leave the metric's range ([`Estimate::within`] cuts it), and the
/// hull of t and the percentile bootstrap from 20 on. Equal scores in all repetitions give an interval of no width.
///
/// # Errors
/// [`Error::Empty`], [`Error::NotAscending`], [`Error::TooFew`] for fewer than two repetitions, [`Error::NotFinite`],
/// [`Error::Setting`].
///
/// ```
/// let scores = [(10, vec![0.5, 0.6, 0.7]), (20, vec![0.7, 0.75, 0.8])];
/// let curve = regraft_eval::curve::learning_curve(&scores, &Default::default())?;
/// assert!((curve[1].score.value - 0.75).abs() < 1e-12);
/// # Ok::<(), regraft_eval::Error>(())
/// ```
pub fn learning_curve(scores: &[(usize, Vec<f64>)], settings: &Bootstrap) -> Result<Vec<CurvePoint>> {
    let positions: Vec<f64> = scores.iter().map(|point| point.0 as f64).collect();
    check_ascending(&positions)?;
    scores.iter().map(|(items, scores)| curve_point(*items, scores, settings)).collect()
}

fn curve_point(items: usize, scores: &[f64], settings: &Bootstrap) -> Result<CurvePoint> {
    let score = if scores.len() < BOOTSTRAP_FROM {
        mean_with_t_interval(scores, settings.confidence)?
    } else {
        mean_with_interval(scores, settings)?
    };
    Ok(CurvePoint { items, repetitions: scores.len(), score })
}

/// The axis along which an area is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// The number of training items itself; the right end of the curve dominates.
    Linear,
    /// Its logarithm; each doubling counts the same. Positions have to be greater than 0.
    Logarithmic,
}

/// The mean height of the curve through (`positions`, `scores`): ∫ p dx / (x₁ − x₀) by trapezoids.
///
/// # Errors
/// [`Error::TooFew`] for fewer than two points, [`Error::Shape`], [`Error::NotAscending`], [`Error::NotFinite`], and
/// [`Error::Setting`] for a position ≤ 0 on a logarithmic axis.
///
/// ```
/// use regraft_eval::curve::{Axis, area_under_curve};
/// assert_eq!(area_under_curve(&[10.0, 20.0, 40.0], &[0.2, 0.4, 0.6], Axis::Logarithmic)?, 0.4);
/// # Ok::<(), regraft_eval::Error>(())
/// ```
pub fn area_under_curve(positions: &[f64], scores: &[f64], axis: Axis) -> Result<f64> {
    let x = along(positions, axis)?;
    same_length("number of scores", positions.len(), scores.len())?;
    all_finite("the score", scores)?;
    let steps = x.windows(2).zip(scores.windows(2));
    let area: f64 = steps.map(|(x, y)| (x[1] - x[0]) * (y[0] + y[1]) / 2.0).sum();
    Ok(area / (x[x.len() - 1] - x[0]))
}

/// The mean height of curve `a` above curve `b` over the same positions: the difference of [`area_under_curve`].
///
/// Taken for each repetition, it is a score whose interval [`mean_with_t_interval`] gives.
///
/// # Errors
/// As [`area_under_curve`].
pub fn area_between_curves(positions: &[f64], a: &[f64], b: &[f64], axis: Axis) -> Result<f64> {
    Ok(area_under_curve(positions, a, axis)? - area_under_curve(positions, b, axis)?)
}

/// The checked positions on their axis, two at least.
fn along(positions: &[f64], axis: Axis) -> Result<Vec<f64>> {
    if positions.len() < 2 {
        return Err(Error::TooFew { what: "points of a curve", found: positions.len(), needed: 2 });
    }
    check_ascending(positions)?;
    match axis {
        Axis::Linear => Ok(positions.to_vec()),
        Axis::Logarithmic if positions[0] > 0.0 => Ok(positions.iter().map(|x| x.ln()).collect()),
        Axis::Logarithmic => Err(Error::Setting {
            name: "the first position on a logarithmic axis",
            found: positions[0],
            expected: "greater than 0",
        }),
    }
}

fn check_ascending(positions: &[f64]) -> Result<()> {
    if positions.is_empty() {
        return Err(Error::Empty { what: "the curve" });
    }
    let ascends = |i: &usize| positions[*i].is_finite() && (*i == 0 || positions[*i] > positions[*i - 1]);
    match (0..positions.len()).find(|i| !ascends(i)) {
        Some(position) => Err(Error::NotAscending { position }),
        None => Ok(()),
    }
}
