//! Counts and sums from which every headline metric follows.
//!
//! A sample and its bootstrap resamples go through the same tally, so that an interval belongs to exactly the number
//! printed before it. Adding an item costs O(1) and reading the metrics O(classes).

use crate::items::{BINS, Item};
use crate::metrics::Metrics;

/// A calibration bin.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Bin {
    pub(crate) items: usize,
    pub(crate) correct: usize,
    pub(crate) confidence: f64,
}

/// Per-class counts, calibration bins and sums of losses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tally {
    pub(crate) items: usize,
    pub(crate) in_top_5: usize,
    pub(crate) support: Vec<usize>,
    pub(crate) predicted: Vec<usize>,
    pub(crate) correct: Vec<usize>,
    pub(crate) bins: [Bin; BINS],
    pub(crate) log_loss: f64,
    pub(crate) brier: f64,
}

impl Tally {
    pub(crate) fn new(classes: usize) -> Self {
        Tally {
            items: 0,
            in_top_5: 0,
            support: vec![0; classes],
            predicted: vec![0; classes],
            correct: vec![0; classes],
            bins: [Bin::default(); BINS],
            log_loss: 0.0,
            brier: 0.0,
        }
    }

    pub(crate) fn of<'a>(items: impl IntoIterator<Item = &'a Item>, classes: usize) -> Self {
        let mut tally = Tally::new(classes);
        items.into_iter().for_each(|item| tally.add(item));
        tally
    }

    /// Empties the tally and keeps its memory.
    pub(crate) fn clear(&mut self) {
        (self.items, self.in_top_5, self.log_loss, self.brier) = (0, 0, 0.0, 0.0);
        self.support.fill(0);
        self.predicted.fill(0);
        self.correct.fill(0);
        self.bins = [Bin::default(); BINS];
    }

    #[inline]
    pub(crate) fn add(&mut self, item: &Item) {
        let correct = usize::from(item.is_correct());
        self.items += 1;
        self.in_top_5 += usize::from(item.rank < 5);
        self.support[item.label as usize] += 1;
        self.predicted[item.predicted as usize] += 1;
        self.correct[item.label as usize] += correct;
        let bin = &mut self.bins[item.bin as usize];
        bin.items += 1;
        bin.correct += correct;
        bin.confidence += item.confidence;
        self.log_loss += item.log_loss;
        self.brier += item.brier;
    }

    /// The metrics; `defined` is the number of classes with an F1 in the whole sample (see [`Tally::macro_f1`]).
    pub(crate) fn metrics(&self, defined: usize) -> Metrics {
        Metrics {
            accuracy: self.accuracy(),
            balanced_accuracy: self.balanced_accuracy(),
            macro_f1: self.macro_f1(defined),
            top_5_accuracy: self.in_top_5 as f64 / self.items as f64,
            log_loss: self.log_loss / self.items as f64,
            brier: self.brier / self.items as f64,
            ece: self.ece(),
        }
    }

    pub(crate) fn accuracy(&self) -> f64 {
        self.correct.iter().sum::<usize>() as f64 / self.items as f64
    }

    pub(crate) fn balanced_accuracy(&self) -> f64 {
        let (mut sum, mut present) = (0.0, 0_usize);
        for (&correct, &support) in self.correct.iter().zip(&self.support) {
            if support > 0 {
                sum += correct as f64 / support as f64;
                present += 1;
            }
        }
        sum / present as f64
    }

    /// Mean F1 over all classes, 0 for a class that is neither true nor predicted anywhere.
    ///
    /// A resample can miss a small class altogether. Counting that as 0 would push the whole bootstrap distribution
    /// below the value, so the mean over the classes that the resample has stands for the `defined` classes that the
    /// sample has. On the sample itself the two are equal, and this is the plain definition.
    pub(crate) fn macro_f1(&self, defined: usize) -> f64 {
        let sum: f64 = (0..self.support.len()).map(|class| self.f1(class)).sum();
        sum / self.support.len() as f64 * (defined as f64 / self.defined_classes() as f64)
    }

    /// Number of classes that are true or predicted somewhere; at least one.
    pub(crate) fn defined_classes(&self) -> usize {
        self.support
            .iter()
            .zip(&self.predicted)
            .filter(|&(support, predicted)| support + predicted > 0)
            .count()
    }

    pub(crate) fn f1(&self, class: usize) -> f64 {
        ratio(2 * self.correct[class], self.support[class] + self.predicted[class])
    }

    /// Σ_b |correct_b − Σ confidence_b| / n, the same as Σ_b (n_b/n)·|acc_b − conf_b|.
    pub(crate) fn ece(&self) -> f64 {
        ece(&self.bins, self.items)
    }
}

/// The expected calibration error of filled bins with `items` items in all.
pub(crate) fn ece(bins: &[Bin], items: usize) -> f64 {
    bins.iter().map(|bin| (bin.correct as f64 - bin.confidence).abs()).sum::<f64>() / items as f64
}

/// `part / whole`, 0 where the whole is empty.
pub(crate) fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
