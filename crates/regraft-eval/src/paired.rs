//! Is classifier A better than classifier B?
//!
//! Three tests for three designs. Two sets of predictions for the *same test items*: [`paired_bootstrap`] for the size
//! of the difference in any metric, [`mcnemar`] for a p-value on accuracy. Scores from *resampled training*, that is
//! (repeated) cross-validation: [`corrected_resampled_t`], because folds share training items and a plain t-test then
//! rejects far too often.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::bootstrap::{check_confidence, resample};
use crate::distribution::{binomial_half_two_sided, normal_quantile, t_quantile, t_two_sided};
use crate::error::{Error, Result, all_finite, same_length};
use crate::intervals::{
    Bootstrap, Estimate, bootstrap_limits, effective_items, mean_and_deviation, t_limits,
};
use crate::items::{Item, Items};
use crate::metrics::Metric;
use crate::tally::Tally;

/// The difference of a metric between two sets of predictions for the same items.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The metric of A minus that of B, whatever the metric's good direction.
    pub difference: Estimate,
    /// The share of resamples in which A is better, ties counted half. Not a p-value: 0.5 means no evidence either way.
    pub probability_a_better: f64,
}

/// Bootstraps the difference of `metric` between predictions `a` and `b` (both n × C), drawing the same items for both.
///
/// As in [`intervals`](crate::intervals), the interval is the hull of the bootstrap's (percentile; reverse percentile
/// for the ECE) and of a closed form that does not collapse on few items: Agresti & Min (2005) for accuracies, combined
/// over classes for the balanced one, and Student's t on the per-item differences for log-loss and Brier. Macro-F1 and
/// ECE have the bootstrap alone; where both sets are without error its width can be zero.
///
/// # Errors
/// As [`metrics`](crate::metrics::metrics) for either set, [`Error::Shape`] if they differ, [`Error::Setting`].
///
/// ```
/// use ndarray::array;
/// use regraft_eval::{metrics::Metric, paired::paired_bootstrap};
/// let a = array![[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]];
/// let b = array![[0.6, 0.4], [0.6, 0.4], [0.7, 0.3], [0.5, 0.5]];
/// let gain = paired_bootstrap(&[0, 1, 0, 1], a.view(), b.view(), Metric::Accuracy, &Default::default())?;
/// assert_eq!(gain.difference.value, 0.5);
/// # Ok::<(), regraft_eval::Error>(())
/// ```
pub fn paired_bootstrap(
    labels: &[usize],
    a: ArrayView2<f64>,
    b: ArrayView2<f64>,
    metric: Metric,
    settings: &Bootstrap,
) -> Result<Comparison> {
    settings.check()?;
    same_length("number of classes", a.ncols(), b.ncols())?;
    let pair = [Items::new(labels, a)?, Items::new(labels, b)?];
    let tallies = pair.each_ref().map(|items| Tally::of(&items.list, items.classes));
    let defined = tallies.each_ref().map(Tally::defined_classes);
    let value = difference(&tallies, defined, metric);
    let draws = resample_difference(&pair, defined, metric, settings)?;
    let probability_a_better = share_better(&draws, metric);
    let bootstrap = bootstrap_limits(metric, value, draws, settings.confidence);
    let closed = closed_form(&pair, metric, value, settings.confidence);
    let (least, greatest) = metric.range();
    let range = (least - greatest, greatest - least);
    let difference = Estimate::hull(value, &[bootstrap, closed]).within(range);
    Ok(Comparison { difference, probability_a_better })
}

/// McNemar's (1947) exact test on accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Items that A gets right and B wrong.
    pub only_a: usize,
    /// Items that B gets right and A wrong.
    pub only_b: usize,
    /// Two-sided p-value of "both are right equally often".
    pub p_value: f64,
}

/// Tests whether two classifiers have the same accuracy, from the classes they predict for the same items.
///
/// Under that hypothesis the number of items that only A gets right is binomial with probability ½ among the items that
/// exactly one gets right: p = min(1, 2·P(K ≤ min(only_a, only_b))). Exact for any number of items.
///
/// # Errors
/// [`Error::Empty`] and [`Error::Shape`].
///
/// ```
/// let test = regraft_eval::paired::mcnemar(&[0, 1, 1, 0, 1], &[0, 1, 1, 0, 1], &[1, 0, 0, 1, 0])?;
/// assert_eq!((test.only_a, test.only_b), (5, 0));
/// assert!((test.p_value - 0.0625).abs() < 1e-12);
/// # Ok::<(), regraft_eval::Error>(())
/// ```
pub fn mcnemar(labels: &[usize], a: &[usize], b: &[usize]) -> Result<McNemar> {
    if labels.is_empty() {
        return Err(Error::Empty { what: "the list of labels" });
    }
    same_length("number of predictions of A", labels.len(), a.len())?;
    same_length("number of predictions of B", labels.len(), b.len())?;
    let outcomes = || labels.iter().zip(a.iter().zip(b)).map(|(label, (a, b))| (a == label, b == label));
    let only_a = outcomes().filter(|&outcome| outcome == (true, false)).count();
    let only_b = outcomes().filter(|&outcome| outcome == (false, true)).count();
    Ok(McNemar { only_a, only_b, p_value: binomial_half_two_sided(only_a.min(only_b), only_a + only_b) })
}

/// The result of [`corrected_resampled_t`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ResampledT {
    /// Mean difference with its interval.
    pub difference: Estimate,
    /// The corrected standard error of the mean.
    pub standard_error: f64,
    /// The statistic, with one degree of freedom fewer than there are differences. Infinite if they are all equal and
    /// not 0.
    pub t: f64,
    /// Two-sided p-value of "no difference".
    pub p_value: f64,
}

/// The corrected resampled t-test on the `differences` of a score between two learners, one for each of R train/test
/// splits (all folds of all repetitions).
///
/// t = d̄ / √((1/R + n_test/n_train)·s²) with R − 1 degrees of freedom (Nadeau & Bengio 2003, section 3; for repeated
/// cross-validation Bouckaert & Frank 2004). `test_to_train` is n_test/n_train: 1/(K − 1) for K folds.
///
/// # Errors
/// [`Error::TooFew`] for fewer than two differences, [`Error::NotFinite`], and [`Error::Setting`].
///
/// ```
/// use regraft_eval::paired::corrected_resampled_t;
/// let test = corrected_resampled_t(&[0.01, 0.05, 0.0, 0.04, 0.05], 1.0 / 4.0, 0.95)?;
/// assert!((test.difference.value - 0.03).abs() < 1e-15);
/// assert!(test.difference.low < 0.0); // five folds of one sample are less than they seem
/// # Ok::<(), regraft_eval::Error>(())
/// ```
pub fn corrected_resampled_t(differences: &[f64], test_to_train: f64, confidence: f64) -> Result<ResampledT> {
    check_confidence(confidence)?;
    if differences.len() < 2 {
        return Err(Error::TooFew { what: "differences", found: differences.len(), needed: 2 });
    }
    if !(test_to_train.is_finite() && test_to_train >= 0.0) {
        return Err(Error::Setting {
            name: "test_to_train",
            found: test_to_train,
            expected: "finite and not negative",
        });
    }
    all_finite("the difference", differences)?;
    Ok(resampled_t(differences, test_to_train, confidence))
}

fn resampled_t(differences: &[f64], test_to_train: f64, confidence: f64) -> ResampledT {
    let runs = differences.len() as f64;
    let (mean, deviation) = mean_and_deviation(differences);
    let standard_error = deviation * (1.0 / runs + test_to_train).sqrt();
    let t = if mean == 0.0 { 0.0 } else { mean / standard_error };
    let half = if standard_error > 0.0 { t_quantile(confidence, runs - 1.0) * standard_error } else { 0.0 };
    ResampledT {
        difference: Estimate { value: mean, low: mean - half, high: mean + half },
        standard_error,
        t,
        p_value: t_two_sided(t, runs - 1.0),
    }
}

fn difference(tallies: &[Tally; 2], defined: [usize; 2], metric: Metric) -> f64 {
    let [a, b] = [0, 1].map(|side| *tallies[side].metrics(defined[side]).get(metric));
    a - b
}

fn resample_difference(
    pair: &[Items; 2],
    defined: [usize; 2],
    metric: Metric,
    settings: &Bootstrap,
) -> Result<Vec<f64>> {
    resample(
        settings,
        pair[0].list.len(),
        || [0, 1].map(|side: usize| Tally::new(pair[side].classes)),
        |tallies, draws| {
            tallies.iter_mut().for_each(Tally::clear);
            draws.for_each(|index| {
                tallies[0].add(&pair[0].list[index]);
                tallies[1].add(&pair[1].list[index]);
            });
            difference(tallies, defined, metric)
        },
    )
}

fn share_better(draws: &[f64], metric: Metric) -> f64 {
    let sign = if metric.higher_is_better() { 1.0 } else { -1.0 };
    let points = |&draw: &f64| match (sign * draw).partial_cmp(&0.0) {
        Some(std::cmp::Ordering::Greater) => 1.0,
        Some(std::cmp::Ordering::Less) => 0.0,
        _ => 0.5,
    };
    draws.iter().map(points).sum::<f64>() / draws.len() as f64
}

fn closed_form(pair: &[Items; 2], metric: Metric, value: f64, confidence: f64) -> (f64, f64) {
    let z = normal_quantile(confidence);
    match metric {
        Metric::Accuracy => agresti_min(&discordant(pair, Item::is_correct), z),
        Metric::Top5Accuracy => agresti_min(&discordant(pair, |item| item.rank < 5), z),
        Metric::BalancedAccuracy => agresti_min(&balanced_discordant(pair), z),
        Metric::LogLoss => mean_limits(pair, metric, |item| item.log_loss, confidence),
        Metric::Brier => mean_limits(pair, metric, |item| item.brier, confidence),
        Metric::MacroF1 | Metric::Ece => (value, value),
    }
}

/// Items, and how many of them only A and only B get right; fractions where classes are weighted.
#[derive(Debug, Clone, Copy, Default)]
struct Discordant {
    items: f64,
    only_a: f64,
    only_b: f64,
}

impl Discordant {
    fn add(&mut self, a: bool, b: bool) {
        self.items += 1.0;
        self.only_a += f64::from(u8::from(a && !b));
        self.only_b += f64::from(u8::from(b && !a));
    }
}

fn discordant(pair: &[Items; 2], succeeds: impl Fn(&Item) -> bool) -> Discordant {
    let mut counts = Discordant::default();
    pair[0].list.iter().zip(&pair[1].list).for_each(|(a, b)| counts.add(succeeds(a), succeeds(b)));
    counts
}

/// The mean over classes of the discordant shares, as counts among the effective number of items.
fn balanced_discordant(pair: &[Items; 2]) -> Discordant {
    let mut classes = vec![Discordant::default(); pair[0].classes];
    for (a, b) in pair[0].list.iter().zip(&pair[1].list) {
        classes[a.label as usize].add(a.is_correct(), b.is_correct());
    }
    classes.retain(|class| class.items > 0.0);
    let items = effective_items(classes.iter().map(|class| class.items as usize));
    let per_class = items / classes.len() as f64;
    Discordant {
        items,
        only_a: per_class * classes.iter().map(|class| class.only_a / class.items).sum::<f64>(),
        only_b: per_class * classes.iter().map(|class| class.only_b / class.items).sum::<f64>(),
    }
}

/// Agresti & Min (2005): Wald's interval for paired proportions after adding ½ to each of the four cells.
fn agresti_min(counts: &Discordant, z: f64) -> (f64, f64) {
    let (only_a, only_b) = (counts.only_a + 0.5, counts.only_b + 0.5);
    let n = counts.items + 2.0;
    let difference = only_a - only_b;
    let half = z * (only_a + only_b - difference * difference / n).max(0.0).sqrt() / n;
    (difference / n - half, difference / n + half)
}

fn mean_limits(
    pair: &[Items; 2],
    metric: Metric,
    loss: impl Fn(&Item) -> f64,
    confidence: f64,
) -> (f64, f64) {
    let differences: Vec<f64> =
        pair[0].list.iter().zip(&pair[1].list).map(|(a, b)| loss(a) - loss(b)).collect();
    let (least, greatest) = metric.range();
    if differences.len() < 2 {
        (least - greatest, greatest - least)
    } else {
        t_limits(&differences, confidence)
    }
}
