//! How good single-label class probabilities are.
//!
//! `labels` holds the true class of each of n items; `probabilities` is n × C, each row a distribution. The predicted
//! class is the one of the greatest probability, the lowest index among equals. Every number equals scikit-learn's
//! function of the same name (`sklearn.metrics`), except that there a tie inside the top k goes to the *highest* index;
//! here ties go one way everywhere, so that top-1 accuracy is accuracy.

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::items::{Item, Items, argmax, bin, check_probabilities};
use crate::tally::{Bin, Tally, ece, ratio};

/// The headline numbers, or with `T = Estimate` the same with intervals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metrics<T = f64> {
    /// Share of items whose predicted class is the true one, 0 to 1.
    pub accuracy: T,
    /// Mean recall over the classes that have items, 0 to 1.
    pub balanced_accuracy: T,
    /// Mean F1 over all classes, 0 to 1.
    pub macro_f1: T,
    /// Share of items whose true class is among the five most probable; 1 by definition with five classes or fewer.
    pub top_5_accuracy: T,
    /// Mean −ln of the probability given to the true class, 0 to 36.05 nats.
    pub log_loss: T,
    /// Mean squared distance between probabilities and one-hot truth, 0 to 2.
    pub brier: T,
    /// Expected calibration error over 15 bins, 0 to 1.
    pub ece: T,
}

/// A headline number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// See [`accuracy`].
    Accuracy,
    /// See [`balanced_accuracy`].
    BalancedAccuracy,
    /// See [`macro_f1`].
    MacroF1,
    /// See [`top_k_accuracy`] with k = 5.
    #[serde(rename = "top_5_accuracy")]
    Top5Accuracy,
    /// See [`log_loss`].
    LogLoss,
    /// See [`brier`].
    Brier,
    /// See [`expected_calibration_error`] with 15 bins.
    Ece,
}

impl Metric {
    /// Whether a greater value is a better one.
    pub fn higher_is_better(self) -> bool {
        !matches!(self, Metric::LogLoss | Metric::Brier | Metric::Ece)
    }

    /// The least and the greatest value that the metric can take.
    pub fn range(self) -> (f64, f64) {
        match self {
            Metric::LogLoss => (0.0, -f64::EPSILON.ln()),
            Metric::Brier => (0.0, 2.0),
            _ => (0.0, 1.0),
        }
    }
}

impl<T> Metrics<T> {
    /// The number that `metric` names.
    pub fn get(&self, metric: Metric) -> &T {
        match metric {
            Metric::Accuracy => &self.accuracy,
            Metric::BalancedAccuracy => &self.balanced_accuracy,
            Metric::MacroF1 => &self.macro_f1,
            Metric::Top5Accuracy => &self.top_5_accuracy,
            Metric::LogLoss => &self.log_loss,
            Metric::Brier => &self.brier,
            Metric::Ece => &self.ece,
        }
    }

    /// One value for every metric.
    pub(crate) fn from_fn(mut value: impl FnMut(Metric) -> T) -> Self {
        Metrics {
            accuracy: value(Metric::Accuracy),
            balanced_accuracy: value(Metric::BalancedAccuracy),
            macro_f1: value(Metric::MacroF1),
            top_5_accuracy: value(Metric::Top5Accuracy),
            log_loss: value(Metric::LogLoss),
            brier: value(Metric::Brier),
            ece: value(Metric::Ece),
        }
    }
}

/// Precision, recall and F1 of one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// Share of the items predicted as this class that are of it; 0 if none is predicted.
    pub precision: f64,
    /// Share of the items of this class that are predicted as it; 0 if there are none.
    pub recall: f64,
    /// Harmonic mean of the two, 2·TP/(2·TP + FP + FN); 0 if undefined.
    pub f1: f64,
    /// Number of items of this class.
    pub support: usize,
}

/// All headline numbers in one pass.
///
/// # Errors
/// [`Error`] for no items, shapes that disagree, a label ≥ C, and rows that are no distribution; so for every function
/// of this module.
///
/// ```
/// use ndarray::array;
/// let probabilities = array![[0.8, 0.2], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]];
/// let metrics = regraft_eval::metrics::metrics(&[0, 1, 1, 1], probabilities.view())?;
/// assert_eq!(metrics.accuracy, 0.75);
/// assert!((metrics.balanced_accuracy - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-15);
/// # Ok::<(), regraft_eval::Error>(())
/// ```
pub fn metrics(labels: &[usize], probabilities: ArrayView2<f64>) -> Result<Metrics> {
    let tally = tally(labels, probabilities)?;
    Ok(tally.metrics(tally.defined_classes()))
}

/// The class of the greatest probability of every item, the lowest index among equals.
///
/// # Errors
/// As [`metrics`], labels apart.
pub fn predicted(probabilities: ArrayView2<f64>) -> Result<Vec<usize>> {
    let (items, classes) = probabilities.dim();
    if items == 0 || classes == 0 {
        return Err(Error::Empty { what: "the array of probabilities" });
    }
    check_probabilities(probabilities)?;
    Ok(probabilities.rows().into_iter().map(argmax).collect())
}

/// The share of items whose predicted class is the true one (`accuracy_score`).
pub fn accuracy(labels: &[usize], probabilities: ArrayView2<f64>) -> Result<f64> {
    Ok(tally(labels, probabilities)?.accuracy())
}

/// The mean recall over the classes that have items (`balanced_accuracy_score`).
pub fn balanced_accuracy(labels: &[usize], probabilities: ArrayView2<f64>) -> Result<f64> {
    Ok(tally(labels, probabilities)?.balanced_accuracy())
}

/// The mean of the F1 of all C classes, 0 for a class that is neither true nor predicted anywhere
/// (`f1_score(average="macro", labels=range(C), zero_division=0)`).
pub fn macro_f1(labels: &[usize], probabilities: ArrayView2<f64>) -> Result<f64> {
    let tally = tally(labels, probabilities)?;
    Ok(tally.macro_f1(tally.defined_classes()))
}

/// The mean −ln p of the true class in nats, p clipped to [ε, 1 − ε] with ε = 2⁻⁵² (`log_loss`).
pub fn log_loss(labels: &[usize], probabilities: ArrayView2<f64>) -> Result<f64> {
    Ok(Items::new(labels, probabilities)?.mean(|item| item.log_loss))
}

/// −ln p of the true class for every item, clipped as in [`log_loss`]: the scores that a selection compares, negated.
pub fn log_losses(labels: &[usize], probabilities: ArrayView2<f64>) -> Result<Vec<f64>> {
    Ok(Items::new(labels, probabilities)?.list.iter().map(|item| item.log_loss).collect())
}

/// The share of items whose true class is among the `k` most probable, k ≥ 1 (`top_k_accuracy_score`, but ties go to
/// the lowest index). With k ≥ C it is 1.
pub fn top_k_accuracy(labels: &[usize], probabilities: ArrayView2<f64>, k: usize) -> Result<f64> {
    if k == 0 {
        return Err(Error::Setting { name: "k", found: 0.0, expected: "at least 1" });
    }
    Ok(Items::new(labels, probabilities)?.mean(|item| f64::from(u8::from((item.rank as usize) < k))))
}

/// The multi-class Brier score, mean Σ_c (p_c − y_c)², 0 to 2 (`brier_score_loss(scale_by_half=False)`; Brier 1950).
pub fn brier(labels: &[usize], probabilities: ArrayView2<f64>) -> Result<f64> {
    Ok(Items::new(labels, probabilities)?.mean(|item| item.brier))
}

/// The expected calibration error Σ_b (n_b/n)·|acc_b − conf_b| over 1 to 10,000 `bins` of equal width on the probability of
/// the predicted class, each open below and closed above (Guo et al. 2017, equation 3, with 15 bins).
///
/// It is biased upwards by about √(bins/n); [`calibration::ece_reference`](crate::calibration::ece_reference) says
/// what a perfectly calibrated model would show.
pub fn expected_calibration_error(
    labels: &[usize],
    probabilities: ArrayView2<f64>,
    bins: usize,
) -> Result<f64> {
    if !(1..=10_000).contains(&bins) {
        return Err(Error::Setting { name: "bins", found: bins as f64, expected: "1 to 10,000" });
    }
    let items = Items::new(labels, probabilities)?;
    Ok(ece(&fill_bins(&items.list, bins), items.list.len()))
}

/// Precision, recall, F1 and support of every class (`precision_recall_fscore_support(zero_division=0)`).
pub fn per_class(labels: &[usize], probabilities: ArrayView2<f64>) -> Result<Vec<ClassMetrics>> {
    let tally = tally(labels, probabilities)?;
    let of_class = |class: usize| ClassMetrics {
        precision: ratio(tally.correct[class], tally.predicted[class]),
        recall: ratio(tally.correct[class], tally.support[class]),
        f1: tally.f1(class),
        support: tally.support[class],
    };
    Ok((0..tally.support.len()).map(of_class).collect())
}

/// C × C counts, 800 MB for 10,000 classes: row = true class, column = predicted class (`confusion_matrix(labels=range(C))`).
pub fn confusion_matrix(labels: &[usize], probabilities: ArrayView2<f64>) -> Result<Array2<usize>> {
    let items = Items::new(labels, probabilities)?;
    let mut counts = Array2::zeros((items.classes, items.classes));
    for item in &items.list {
        counts[[item.label as usize, item.predicted as usize]] += 1;
    }
    Ok(counts)
}

fn tally(labels: &[usize], probabilities: ArrayView2<f64>) -> Result<Tally> {
    let items = Items::new(labels, probabilities)?;
    Ok(Tally::of(&items.list, items.classes))
}

fn fill_bins(items: &[Item], count: usize) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); count];
    for item in items {
        let bin = &mut bins[bin(item.confidence, count)];
        bin.items += 1;
        bin.correct += usize::from(item.is_correct());
        bin.confidence += item.confidence;
    }
    bins
}
