//! From probabilities to the numbers of a report.

use ndarray::{Array2, ArrayView2};
use regraft_eval::calibration::{ece_reference, softmax_with_temperature};
use regraft_eval::intervals::{Bootstrap, intervals};
use regraft_eval::metrics::{Metric, confusion_matrix, per_class};
use regraft_eval::paired::paired_bootstrap;
use regraft_report::record;

use crate::{Error, Result};

/// Resamples behind the reference for the calibration error: enough for two digits.
const REFERENCE_RESAMPLES: usize = 1000;

/// With more classes the confusion matrix, which is dense, is left out: at 10,000 it would take 800 MB.
const CONFUSION_CLASSES: usize = 1000;

/// Everything that is measured on one labelled set.
#[derive(Debug, Clone)]
pub(crate) struct Judgement {
    pub(crate) metrics: record::TestMetrics,
    pub(crate) per_class: Vec<record::ClassMetrics>,
    pub(crate) confusion: Vec<Vec<u64>>,
}

/// Judges probabilities (n × C) against labels.
pub(crate) fn judge(
    labels: &[usize],
    probabilities: ArrayView2<f64>,
    classes: &[String],
    seed: u64,
) -> Result<Judgement> {
    let measured = intervals(labels, probabilities, &bootstrap(seed)).map_err(Error::data)?;
    let reference = ece_reference(probabilities, REFERENCE_RESAMPLES, seed).map_err(Error::data)?;
    // With five classes or fewer it is 1 by definition.
    let top_5 =
        (classes.len() > 5).then(|| record::TopK { k: 5, accuracy: estimate(measured.top_5_accuracy) });
    let metrics = record::TestMetrics {
        accuracy: estimate(measured.accuracy),
        balanced_accuracy: estimate(measured.balanced_accuracy),
        macro_f1: estimate(measured.macro_f1),
        log_loss: estimate(measured.log_loss),
        ece: estimate(measured.ece),
        ece_if_calibrated: Some(record::MeanSd { mean: reference.mean, sd: reference.deviation }),
        top_k: top_5.into_iter().collect(),
    };
    let confusion =
        if classes.len() <= CONFUSION_CLASSES { confusion(labels, probabilities)? } else { Vec::new() };
    let classwise = per_class(labels, probabilities).map_err(Error::data)?;
    let named = classes.iter().zip(classwise).map(|(class, measured)| record::ClassMetrics {
        class: class.clone(),
        precision: measured.precision,
        recall: measured.recall,
        f1: measured.f1,
        support: measured.support as u64,
    });
    Ok(Judgement { metrics, per_class: named.collect(), confusion })
}

fn confusion(labels: &[usize], probabilities: ArrayView2<f64>) -> Result<Vec<Vec<u64>>> {
    let counts = confusion_matrix(labels, probabilities).map_err(Error::data)?;
    Ok(counts.rows().into_iter().map(|row| row.iter().map(|count| *count as u64).collect()).collect())
}

/// A simpler method on the same test set, and how much better `source` is on the same images.
pub(crate) fn baseline(
    labels: &[usize],
    source: ArrayView2<f64>,
    simpler: ArrayView2<f64>,
    seed: u64,
) -> Result<record::Baseline> {
    let measured = intervals(labels, simpler, &bootstrap(seed)).map_err(Error::data)?;
    let gain =
        paired_bootstrap(labels, source, simpler, Metric::Accuracy, &bootstrap(seed)).map_err(Error::data)?;
    Ok(record::Baseline {
        accuracy: estimate(measured.accuracy),
        balanced_accuracy: Some(estimate(measured.balanced_accuracy)),
        macro_f1: Some(estimate(measured.macro_f1)),
        gain: Some(record::PairedGain {
            estimate: estimate(gain.difference),
            probability: gain.probability_a_better,
        }),
    })
}

/// Class probabilities of logits at a temperature.
pub(crate) fn probabilities(logits: &Array2<f32>, temperature: f64) -> Result<Array2<f64>> {
    softmax_with_temperature(logits.mapv(f64::from).view(), temperature).map_err(Error::model)
}

/// Always the most frequent class of the training set; of equal ones the first.
pub(crate) fn majority(train: &[usize], classes: usize, rows: usize) -> Array2<f64> {
    let mut counts = vec![0usize; classes];
    for label in train {
        if let Some(count) = counts.get_mut(*label) {
            *count += 1;
        }
    }
    let largest = counts.iter().max().copied().unwrap_or(0);
    let winner = counts.iter().position(|count| *count == largest).unwrap_or(0);
    Array2::from_shape_fn((rows, classes), |(_, class)| if class == winner { 1.0 } else { 0.0 })
}

fn bootstrap(seed: u64) -> Bootstrap {
    Bootstrap { seed, ..Bootstrap::default() }
}

fn estimate(measured: regraft_eval::intervals::Estimate) -> record::Estimate {
    record::Estimate::new(measured.value, measured.low, measured.high)
}
