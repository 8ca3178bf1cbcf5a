//! The judgement of one candidate from its out-of-fold logits.

use ndarray::{Array2, ArrayView1};
use regraft_eval::calibration::{fit_temperature, softmax_with_temperature};

use crate::error::Result;

/// A candidate's score on the judged rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Score {
    /// Share of right answers.
    pub(crate) accuracy: f64,
    /// Log-loss of each row after temperature scaling, in nats.
    pub(crate) losses: Vec<f64>,
    /// The temperature of the least mean log-loss.
    pub(crate) temperature: f64,
}

impl Score {
    /// Judges `logits` (rows × C) against `labels`.
    ///
    /// # Errors
    /// [`AdaptError::Eval`](crate::AdaptError::Eval) for logits that are not finite.
    pub(crate) fn new(logits: &Array2<f64>, labels: &[usize]) -> Result<Self> {
        // Heads differ in scale by orders of magnitude, and the temperature is sought within fixed bounds around 1.
        let scale = spread(logits);
        let temperature = fit_temperature((logits / scale).view(), labels)? * scale;
        let probabilities = softmax_with_temperature(logits.view(), temperature)?;
        let losses = probabilities.rows().into_iter().zip(labels).map(|(row, &label)| log_loss(row[label]));
        let right =
            logits.rows().into_iter().zip(labels).filter(|(row, label)| greatest(*row) == **label).count();
        Ok(Score { accuracy: right as f64 / labels.len() as f64, losses: losses.collect(), temperature })
    }

    /// Mean log-loss after temperature scaling.
    pub(crate) fn log_loss(&self) -> f64 {
        self.losses.iter().sum::<f64>() / self.losses.len() as f64
    }
}

/// −ln p, finite for p = 0.
fn log_loss(probability: f64) -> f64 {
    -probability.max(f64::EPSILON).ln()
}

/// The index of the greatest value, the lowest among equals.
fn greatest(row: ArrayView1<f64>) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}

/// Root mean square of the logits about their row means, 1 if they are all equal.
fn spread(logits: &Array2<f64>) -> f64 {
    let squares = logits.rows().into_iter().map(|row| {
        let mean = row.sum() / row.len() as f64;
        row.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
    });
    let spread = (squares.sum::<f64>() / logits.len() as f64).sqrt();
    if spread > 0.0 { spread } else { 1.0 }
}
