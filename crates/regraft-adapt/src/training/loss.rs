//! The loss of a classifier and its gradient.

use ndarray::{Array2, ArrayView2, Zip};

use crate::error::{AdaptError, Result, known_classes, same_length};

/// What a batch should have been called.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a> {
    /// The class of each row.
    Classes(&'a [usize]),
    /// The probability of each class, a row for each row: mixed images, a teacher's answers.
    Probabilities(ArrayView2<'a, f32>),
}

/// Cross-entropy of a softmax over each row of `logits` (N × C), averaged over the rows, and its gradient, N × C:
/// `(softmax(logits) − target) / N`. `label_smoothing`, 0 to 1, is the share of each target that is spread evenly over all
/// classes (Szegedy et al. 2016, as `torch.nn.CrossEntropyLoss` does it). Sums are in double precision.
///
/// # Errors
/// There is no row, the targets are not one a row, a class does not exist, or the smoothing is not from 0 to 1.
///
/// ```
/// use ndarray::array;
/// use regraft_adapt::training::{Targets, softmax_cross_entropy};
///
/// let (loss, gradient) = softmax_cross_entropy(array![[0.0, 0.0]].view(), Targets::Classes(&[1]), 0.0)?;
/// assert!((loss - 2f64.ln()).abs() < 1e-12);
/// assert_eq!(gradient, array![[0.5, -0.5]]);
/// # Ok::<(), regraft_adapt::AdaptError>(())
/// ```
pub fn softmax_cross_entropy(
    logits: ArrayView2<'_, f32>,
    targets: Targets<'_>,
    label_smoothing: f64,
) -> Result<(f64, Array2<f32>)> {
    let (rows, classes) = logits.dim();
    check(rows, classes, &targets, label_smoothing)?;
    let mut gradient = Array2::zeros((rows, classes));
    let mut total = 0.0;
    for (row, (logits, mut gradient)) in logits.outer_iter().zip(gradient.outer_iter_mut()).enumerate() {
        let log_sum = log_sum_exp(logits.iter().map(|logit| f64::from(*logit)));
        let target = |class: usize| {
            let sharp = match &targets {
                Targets::Classes(labels) => f64::from(u8::from(labels.get(row) == Some(&class))),
                Targets::Probabilities(rows) => rows.get((row, class)).copied().map_or(0.0, f64::from),
            };
            (1.0 - label_smoothing) * sharp + label_smoothing / classes as f64
        };
        for (class, (logit, place)) in logits.iter().zip(&mut gradient).enumerate() {
            let log_probability = f64::from(*logit) - log_sum;
            let target = target(class);
            total -= target * log_probability;
            *place = ((log_probability.exp() - target) / rows as f64) as f32;
        }
    }
    Ok((total / rows as f64, gradient))
}

/// ln Σ exp(xᵢ), without overflow.
pub(super) fn log_sum_exp(numbers: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = numbers.clone().fold(f64::NEG_INFINITY, f64::max);
    numbers.map(|number| (number - largest).exp()).sum::<f64>().ln() + largest
}

fn check(rows: usize, classes: usize, targets: &Targets<'_>, label_smoothing: f64) -> Result<()> {
    if rows == 0 || classes == 0 {
        return Err(AdaptError::Empty { what: "logits" });
    }
    if !(0.0..=1.0).contains(&label_smoothing) {
        let (name, expected) = ("label smoothing", "from 0 to 1");
        return Err(AdaptError::HyperParameter { name, found: label_smoothing, expected });
    }
    match targets {
        Targets::Classes(labels) => {
            same_length("classes of the batch", rows, labels.len())?;
            known_classes(labels, classes)
        }
        Targets::Probabilities(probabilities) => {
            same_length("rows of target probabilities", rows, probabilities.nrows())?;
            same_length("columns of target probabilities", classes, probabilities.ncols())?;
            let mut finite = true;
            Zip::from(probabilities).for_each(|probability| finite &= probability.is_finite());
            if finite { Ok(()) } else { Err(AdaptError::NonFinite { row: 0, column: 0 }) }
        }
    }
}
