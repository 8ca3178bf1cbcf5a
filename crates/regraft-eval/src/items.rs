//! A prediction reduced to what the metrics need of it.
//!
//! A bootstrap visits every item two thousand times. One pass over the items × classes array boils each row down to
//! a few numbers, so that a visit costs the same for 2 classes and for 1,000.

use ndarray::{ArrayView1, ArrayView2};

use crate::error::{Error, Result, check_labels};

/// Number of equal-width confidence bins of the expected calibration error (Guo et al. 2017).
pub(crate) const BINS: usize = 15;

/// Rows from half precision add up to 1 within about this much; anything further off is not a distribution.
const SUM_TOLERANCE: f64 = 1e-3;

/// One prediction beside its truth. The classes are `u32` to keep an item within one cache line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Item {
    pub(crate) label: u32,
    /// Class of the greatest probability; the lowest index among equals.
    pub(crate) predicted: u32,
    /// Number of classes that come before the true one, equals in order of their index. Zero if it is predicted.
    pub(crate) rank: u32,
    /// The calibration bin of `confidence`.
    pub(crate) bin: u32,
    /// Probability of the predicted class.
    pub(crate) confidence: f64,
    /// −ln of the clipped probability of the true class.
    pub(crate) log_loss: f64,
    /// Σ_c (p_c − y_c)².
    pub(crate) brier: f64,
}

impl Item {
    pub(crate) fn is_correct(&self) -> bool {
        self.rank == 0
    }

    fn new(label: usize, row: ArrayView1<f64>) -> Self {
        let predicted = argmax(row);
        let confidence = row[predicted];
        Item {
            label: label as u32,
            predicted: predicted as u32,
            rank: rank(label, row) as u32,
            bin: bin(confidence, BINS) as u32,
            confidence,
            log_loss: log_loss(row[label]),
            brier: brier(label, row),
        }
    }
}

/// Checked predictions.
#[derive(Debug, Clone)]
pub(crate) struct Items {
    pub(crate) list: Vec<Item>,
    pub(crate) classes: usize,
}

impl Items {
    /// Checks `labels` (n) against `probabilities` (n × C) and reduces each row.
    pub(crate) fn new(labels: &[usize], probabilities: ArrayView2<f64>) -> Result<Self> {
        let (items, classes) = probabilities.dim();
        check_labels(labels, items, classes)?;
        check_probabilities(probabilities)?;
        let list =
            labels.iter().zip(probabilities.rows()).map(|(&label, row)| Item::new(label, row)).collect();
        Ok(Items { list, classes })
    }

    /// The mean of one number per item, summed in the order of the items.
    pub(crate) fn mean(&self, value: impl Fn(&Item) -> f64) -> f64 {
        self.list.iter().map(value).sum::<f64>() / self.list.len() as f64
    }
}

/// Fails unless every row is a distribution: finite, each value in 0 to 1, the sum 1 within a thousandth.
pub(crate) fn check_probabilities(probabilities: ArrayView2<f64>) -> Result<()> {
    for ((item, class), &value) in probabilities.indexed_iter() {
        if !value.is_finite() {
            return Err(Error::NotFinite { what: "the probability", item, column: class });
        }
        if !(0.0..=1.0).contains(&value) {
            return Err(Error::NotAProbability { item, class, value });
        }
    }
    for (item, row) in probabilities.rows().into_iter().enumerate() {
        let sum = row.sum();
        if (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(Error::NotNormalised { item, sum });
        }
    }
    Ok(())
}

/// The index of the greatest value, the lowest among equals. The row is not empty and finite.
pub(crate) fn argmax(row: ArrayView1<f64>) -> usize {
    let mut best = 0;
    for (class, &value) in row.iter().enumerate() {
        if value > row[best] {
            best = class;
        }
    }
    best
}

fn rank(label: usize, row: ArrayView1<f64>) -> usize {
    let truth = row[label];
    row.iter()
        .enumerate()
        .filter(|&(class, &value)| value > truth || (value == truth && class < label))
        .count()
}

/// scikit-learn clips to [ε, 1 − ε] with the machine epsilon, so a confident error costs 36.04 and not infinity.
fn log_loss(probability: f64) -> f64 {
    -probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}

fn brier(label: usize, row: ArrayView1<f64>) -> f64 {
    row.iter().enumerate().map(|(class, &p)| (p - f64::from(u8::from(class == label))).powi(2)).sum()
}

/// The bin of `confidence` among `bins` of equal width, each open below and closed above; 0 falls into the first.
pub(crate) fn bin(confidence: f64, bins: usize) -> usize {
    ((confidence * bins as f64).ceil() as usize).saturating_sub(1).min(bins - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_closed_above() {
        let cases = [(0.0, 0), (0.2, 0), (0.21, 1), (0.4, 1), (1.0, 4), (0.999, 4)];
        for (confidence, expected) in cases {
            assert_eq!(bin(confidence, 5), expected, "{confidence}");
        }
    }

    #[test]
    fn ties_go_to_the_lowest_index() {
        let row = ndarray::array![0.2, 0.4, 0.4];
        assert_eq!(argmax(row.view()), 1);
        assert_eq!([0, 1, 2].map(|label| rank(label, row.view())), [2, 0, 1]);
    }
}
