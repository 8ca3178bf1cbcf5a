//! The simplest candidate that is good enough.
//!
//! The one-standard-error rule (Breiman et al. 1984, section 3.4.3) takes the simplest model whose score is within one
//! standard error of the best. Here the standard error is that of the *paired* difference to the best candidate over
//! the same items: what is hard for one candidate is mostly hard for all, and this shared part, which the unpaired
//! standard error counts, says nothing about which of them is better.

use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::intervals::mean_and_deviation;

/// One candidate's line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Mean score.
    pub mean: f64,
    /// Standard error of the mean, s/√n; 0 for a single item.
    pub standard_error: f64,
    /// Mean of the best candidate minus this mean, ≥ 0.
    pub deficit: f64,
    /// Standard error of the deficit from the per-item differences; 0 for the best candidate and for a single item.
    pub deficit_standard_error: f64,
}

/// The outcome of [`one_standard_error`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Index of the chosen candidate.
    pub chosen: usize,
    /// Index of the candidate of the greatest mean, the first among equals; `chosen ≤ best`.
    pub best: usize,
    /// One line a candidate, in the order given.
    pub table: Vec<Candidate>,
}

/// Chooses the first candidate whose mean paired deficit to the best is at most one standard error of that deficit.
///
/// `scores` is candidates × items, the simplest candidate first; each value is an out-of-fold score of which more is
/// better: 1 or 0 for right or wrong, or −log-loss.
///
/// # Errors
/// [`Error::Empty`] without candidates or items, [`Error::NotFinite`].
///
/// ```
/// use ndarray::array;
/// // The second candidate is best by a hair, on one item; the first is nearly as good and simpler.
/// let scores = array![[1., 1., 0., 1., 0., 1.], [1., 1., 1., 1., 0., 1.]];
/// let selection = regraft_eval::selection::one_standard_error(scores.view())?;
/// assert_eq!((selection.chosen, selection.best), (0, 1));
/// # Ok::<(), regraft_eval::Error>(())
/// ```
pub fn one_standard_error(scores: ArrayView2<f64>) -> Result<Selection> {
    if scores.is_empty() {
        return Err(Error::Empty { what: "the array of scores" });
    }
    if let Some(((item, column), _)) = scores.indexed_iter().find(|(_, score)| !score.is_finite()) {
        return Err(Error::NotFinite { what: "the score", item, column });
    }
    let best = best(scores);
    let table: Vec<Candidate> =
        scores.rows().into_iter().map(|row| candidate(row, scores.row(best))).collect();
    let chosen = table.iter().position(|line| line.deficit <= line.deficit_standard_error).unwrap_or(best);
    Ok(Selection { chosen, best, table })
}

fn best(scores: ArrayView2<f64>) -> usize {
    let means: Vec<f64> =
        scores.rows().into_iter().map(|row| mean_and_error(row.iter().copied()).0).collect();
    means.iter().enumerate().fold(0, |best, (index, &mean)| if mean > means[best] { index } else { best })
}

fn candidate(scores: ArrayView1<f64>, best: ArrayView1<f64>) -> Candidate {
    let (mean, standard_error) = mean_and_error(scores.iter().copied());
    let (deficit, deficit_standard_error) =
        mean_and_error(best.iter().zip(scores).map(|(best, score)| best - score));
    Candidate { mean, standard_error, deficit, deficit_standard_error }
}

fn mean_and_error(scores: impl Iterator<Item = f64>) -> (f64, f64) {
    let scores: Vec<f64> = scores.collect();
    let (mean, deviation) = mean_and_deviation(&scores);
    (mean, deviation / (scores.len() as f64).sqrt())
}
