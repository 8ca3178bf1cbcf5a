//! Do the probabilities mean what they say?
//!
//! Temperature scaling (Guo et al. 2017, section 4.2) divides all logits by one number T, fitted on items that the head
//! was not trained on, out-of-fold logits for instance. The predicted class never changes. In s = 1/T the mean negative
//! log-likelihood is convex: with p = softmax(s·z) its derivative is E\[Σ_c p_c z_c − z_y\] and its curvature
//! E\[Var_p(z)\] ≥ 0. So the minimum is the root of a growing function, and a Newton step is safe once a bracket guards
//! it: a step that would leave the bracket is replaced by bisection.

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut1, Axis};
use rand::{RngExt as _, distr::Bernoulli};
use rayon::prelude::*;
use regraft_system::random;
use serde::{Deserialize, Serialize};

use crate::bootstrap::check_resamples;
use crate::error::{Error, Result, check_labels};
use crate::intervals::mean_and_deviation;
use crate::items::{BINS, argmax, bin, check_probabilities};
use crate::tally::{Bin, ece};

/// Greatest temperature that [`fit_temperature`] returns, and the reciprocal of the least.
pub const MAX_TEMPERATURE: f64 = 100.0;

/// Rows to a partial sum. Fixed, so that the number of threads cannot change the order of an addition.
const CHUNK: usize = 256;

/// More steps than bisection alone needs to narrow the bracket down to neighbouring numbers.
const MAX_STEPS: usize = 100;

/// The temperature T in 0.01 to 100 that minimises the mean log-loss of softmax(logits / T).
///
/// `logits` is n × C. Where the loss has no minimum inside, the end of the range is returned: 0.01 if every item is right
/// by a margin (sharper is always better), 100 if the logits are worse than none. If every row is constant, T makes no
/// difference and the answer is 1. Compare the log-loss before and after on other items when n is small.
///
/// # Errors
/// [`Error::Empty`], [`Error::Shape`], [`Error::LabelOutOfRange`], [`Error::NotFinite`].
///
/// ```
/// use ndarray::array;
/// // Two to one in favour of class 0, but the logits claim e² to one.
/// let logits = array![[2.0, 0.0], [2.0, 0.0], [2.0, 0.0]];
/// let temperature = regraft_eval::calibration::fit_temperature(logits.view(), &[0, 0, 1])?;
/// assert!((temperature - 2.0 / 2_f64.ln()).abs() < 1e-9);
/// # Ok::<(), regraft_eval::Error>(())
/// ```
pub fn fit_temperature(logits: ArrayView2<f64>, labels: &[usize]) -> Result<f64> {
    let (items, classes) = logits.dim();
    check_labels(labels, items, classes)?;
    check_finite(logits)?;
    let loss = TemperatureLoss { logits, labels };
    let (low, high) = (1.0 / MAX_TEMPERATURE, MAX_TEMPERATURE);
    if logits.rows().into_iter().all(is_constant) {
        return Ok(1.0);
    }
    if loss.slope(high).first <= 0.0 {
        return Ok(1.0 / high);
    }
    if loss.slope(low).first >= 0.0 {
        return Ok(1.0 / low);
    }
    Ok(1.0 / root(low, high, |s| loss.slope(s)))
}

/// softmax(logits / T) for every row of `logits` (n × C), by way of the row's maximum so that nothing overflows.
///
/// # Errors
/// [`Error::NotFinite`] for logits, [`Error::Setting`] unless the temperature is finite and greater than 0.
///
/// ```
/// use ndarray::array;
/// let p = regraft_eval::calibration::softmax_with_temperature(array![[1000.0, 1000.0]].view(), 2.0)?;
/// assert_eq!(p, array![[0.5, 0.5]]);
/// # Ok::<(), regraft_eval::Error>(())
/// ```
pub fn softmax_with_temperature(logits: ArrayView2<f64>, temperature: f64) -> Result<Array2<f64>> {
    if !(temperature.is_finite() && temperature > 0.0) {
        return Err(Error::Setting {
            name: "temperature",
            found: temperature,
            expected: "finite and above 0",
        });
    }
    check_finite(logits)?;
    let mut probabilities = logits.to_owned();
    probabilities.rows_mut().into_iter().for_each(|row| softmax(row, temperature));
    Ok(probabilities)
}

/// The expected calibration error that chance alone would show.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EceReference {
    /// Mean ECE of a perfectly calibrated model with these confidences.
    pub mean: f64,
    /// Standard deviation of that ECE over samples of this size.
    pub deviation: f64,
}

/// What ECE a perfectly calibrated model with the confidences of `probabilities` (n × C) would show on as many items.
///
/// The ECE of a finite sample is never 0. Here each item is right with exactly the probability that the model gives its
/// predicted class, `resamples` times over; an observed ECE within about two deviations of the mean is no sign of
/// miscalibration (the consistency resampling of Bröcker & Smith 2007).
///
/// # Errors
/// As [`metrics`](crate::metrics::metrics), and [`Error::Setting`] unless there are 2 to 1,000,000 resamples.
///
/// ```
/// let probabilities = ndarray::Array2::from_elem((50, 2), 0.5);
/// let chance = regraft_eval::calibration::ece_reference(probabilities.view(), 2000, 1)?;
/// assert!((chance.mean - 0.056).abs() < 0.005); // √(2/π)·½/√50
/// # Ok::<(), regraft_eval::Error>(())
/// ```
pub fn ece_reference(probabilities: ArrayView2<f64>, resamples: usize, seed: u64) -> Result<EceReference> {
    check_resamples(resamples, 2)?;
    if probabilities.is_empty() {
        return Err(Error::Empty { what: "the array of probabilities" });
    }
    check_probabilities(probabilities)?;
    let outcomes: Vec<Outcome> = probabilities.rows().into_iter().filter_map(Outcome::new).collect();
    let draws: Vec<f64> =
        (0..resamples as u64).into_par_iter().map(|i| calibrated_ece(&outcomes, seed, i)).collect();
    let (mean, deviation) = mean_and_deviation(&draws);
    Ok(EceReference { mean, deviation })
}

/// An item of a calibrated model: right with the probability that is its confidence.
struct Outcome {
    bin: usize,
    confidence: f64,
    correct: Bernoulli,
}

impl Outcome {
    /// Always `Some` for a row of checked probabilities.
    fn new(row: ArrayView1<f64>) -> Option<Self> {
        let confidence = row[argmax(row)];
        Some(Outcome { bin: bin(confidence, BINS), confidence, correct: Bernoulli::new(confidence).ok()? })
    }
}

fn calibrated_ece(outcomes: &[Outcome], seed: u64, index: u64) -> f64 {
    let mut stream = random::stream(seed, "calibrated outcomes", index);
    let mut bins = [Bin::default(); BINS];
    for outcome in outcomes {
        let bin = &mut bins[outcome.bin];
        bin.correct += usize::from(stream.sample(outcome.correct));
        bin.confidence += outcome.confidence;
    }
    ece(&bins, outcomes.len())
}

/// First and second derivative of a loss.
#[derive(Debug, Clone, Copy, Default)]
struct Slope {
    first: f64,
    second: f64,
}

impl Slope {
    fn plus(self, other: Slope) -> Slope {
        Slope { first: self.first + other.first, second: self.second + other.second }
    }
}

/// The mean log-loss as a function of s = 1/T.
struct TemperatureLoss<'a> {
    logits: ArrayView2<'a, f64>,
    labels: &'a [usize],
}

impl TemperatureLoss<'_> {
    fn slope(&self, s: f64) -> Slope {
        let chunks = self.logits.axis_chunks_iter(Axis(0), CHUNK);
        let work: Vec<_> = chunks.zip(self.labels.chunks(CHUNK)).collect();
        let parts: Vec<Slope> = work.par_iter().map(|(rows, labels)| chunk_slope(rows, labels, s)).collect();
        let sum = parts.into_iter().fold(Slope::default(), Slope::plus);
        let n = self.labels.len() as f64;
        Slope { first: sum.first / n, second: sum.second / n }
    }
}

fn chunk_slope(rows: &ArrayView2<f64>, labels: &[usize], s: f64) -> Slope {
    let slopes = rows.rows().into_iter().zip(labels).map(|(row, &label)| row_slope(row, label, s));
    slopes.fold(Slope::default(), Slope::plus)
}

/// Σ_c p_c z_c − z_y and Var_p(z), both from z − max z, which leaves them as they are and cancels less.
fn row_slope(row: ArrayView1<f64>, label: usize, s: f64) -> Slope {
    let greatest = row[argmax(row)];
    let (mut total, mut mean, mut square) = (0.0, 0.0, 0.0);
    for &logit in row {
        let z = logit - greatest;
        let weight = (s * z).exp();
        // A weight that has underflowed counts as nothing, even beside a logit whose square overflows.
        if weight > 0.0 {
            total += weight;
            mean += weight * z;
            square += weight * z * z;
        }
    }
    let mean = mean / total;
    Slope { first: mean - (row[label] - greatest), second: (square / total - mean * mean).max(0.0) }
}

/// The root of a growing function between `low`, where it is negative, and `high`, where it is positive.
fn root(mut low: f64, mut high: f64, slope: impl Fn(f64) -> Slope) -> f64 {
    let mut s = 1.0;
    for _ in 0..MAX_STEPS {
        let at = slope(s);
        if at.first == 0.0 {
            return s;
        }
        if at.first < 0.0 {
            low = s
        } else {
            high = s
        }
        let newton = s - at.first / at.second;
        // Equal steps on the scale of 1/T's logarithm: the bracket spans four decades.
        let next = if newton > low && newton < high { newton } else { (low * high).sqrt() };
        if (next - s).abs() <= 1e-14 * s {
            return next;
        }
        s = next;
    }
    s
}

fn is_constant(row: ArrayView1<f64>) -> bool {
    row.iter().all(|&logit| logit == row[0])
}

fn softmax(mut row: ArrayViewMut1<f64>, temperature: f64) {
    let Some(greatest) = row.iter().copied().reduce(f64::max) else { return };
    row.mapv_inplace(|logit| ((logit - greatest) / temperature).exp());
    let total = row.sum();
    row.mapv_inplace(|weight| weight / total);
}

fn check_finite(logits: ArrayView2<f64>) -> Result<()> {
    match logits.indexed_iter().find(|(_, logit)| !logit.is_finite()) {
        Some(((item, column), _)) => Err(Error::NotFinite { what: "the logit", item, column }),
        None => Ok(()),
    }
}
