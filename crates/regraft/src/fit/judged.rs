//! Answers to images that were not learned from, image by image, so that two methods can be compared in pairs.

use ndarray::{ArrayView1, ArrayView2};
use regraft_adapt::Selection;
use regraft_eval::calibration::{fit_temperature, softmax_with_temperature};
use regraft_eval::metrics::predicted;

use super::dataset::{Dataset, at};
use crate::{Error, Result};

/// Answers to images that were not learned from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Judged {
    /// Positions of the images, ascending.
    pub(crate) positions: Vec<usize>,
    /// Log-loss of each after temperature scaling.
    pub(crate) losses: Vec<f64>,
    /// Number of right answers.
    pub(crate) right: usize,
    pub(crate) temperature: f64,
}

impl Judged {
    /// Logits of the images at these positions, after the temperature that suits them.
    pub(crate) fn of(dataset: &Dataset, positions: Vec<usize>, logits: ArrayView2<'_, f32>) -> Result<Self> {
        let labels = dataset.labels_at(&positions);
        let logits = logits.mapv(f64::from);
        let temperature = fit_temperature(logits.view(), &labels).map_err(Error::data)?;
        let probabilities = softmax_with_temperature(logits.view(), temperature).map_err(Error::data)?;
        let of_label = |(row, label): (ArrayView1<'_, f64>, &usize)| {
            row.get(*label).copied().unwrap_or(0.0).max(f64::MIN_POSITIVE).ln().abs()
        };
        let losses = probabilities.outer_iter().zip(&labels).map(of_label);
        let mut rows: Vec<(usize, f64)> = positions.into_iter().zip(losses).collect();
        rows.sort_by_key(|row| row.0);
        let answers = predicted(probabilities.view()).map_err(Error::data)?;
        let right = answers.iter().zip(&labels).filter(|(answer, label)| answer == label).count();
        let (positions, losses) = rows.into_iter().unzip();
        Ok(Self { positions, losses, right, temperature })
    }

    /// The answers of a head to images that it was not fitted to.
    pub(crate) fn of_selection(dataset: &Dataset, selection: &Selection) -> Result<Self> {
        let positions = [dataset.split.train.as_slice(), &dataset.split.validation].concat();
        let positions = at(&positions, &selection.out_of_fold_rows);
        Self::of(dataset, positions, selection.out_of_fold_logits.view())
    }

    /// What a choice of a head says of the rows that had no part in choosing what answers them.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(crate) fn of_independent_choice(dataset: &Dataset, selection: &Selection) -> Result<Self> {
        let positions = [dataset.split.train.as_slice(), &dataset.split.validation].concat();
        let positions = at(&positions, &selection.out_of_fold_rows);
        Self::of(dataset, positions, selection.independent_logits.view())
    }

    /// Share of right answers.
    pub(crate) fn accuracy(&self) -> f64 {
        self.right as f64 / self.positions.len().max(1) as f64
    }

    /// Mean log-loss.
    pub(crate) fn log_loss(&self) -> f64 {
        self.losses.iter().sum::<f64>() / self.losses.len().max(1) as f64
    }
}
