//! Co-Tuning (You et al. 2020): the source network's head is trained too, towards the source classes that the target's
//! classes look like.

use ndarray::{Array2, ArrayView2, Axis};

use super::loss::{Targets, softmax_cross_entropy};
use crate::error::{AdaptError, Result, known_classes, same_length};

/// The relationship p(y_s | y_t) of source and target classes, `classes` × S: the mean of the source network's probabilities
/// (n × S) over the examples of each target class. `labels` are the n target classes, below `classes`.
///
/// It is the direct approach of You et al. 2020 and the only one of the Transfer-Learning-Library
/// (`Relationship`), which takes the plain softmax of the source head in evaluation mode, over the training examples without
/// augmentation. The paper calibrates that softmax first, by a temperature of the least loss on validation data of the source
/// task: whoever has such data gets it from [`regraft_eval::calibration::fit_temperature`]. The paper's reverse approach, a
/// logistic regression from p(y_s) to y_t turned round by Bayes' rule, is not here.
///
/// # Errors
/// [`AdaptError::Shape`] if there is not a label for each row, [`AdaptError::LabelOutOfRange`] for a label that is no class,
/// [`AdaptError::NonFinite`] for a probability that is no number, [`AdaptError::EmptyClass`] for a class without an example,
/// [`AdaptError::Empty`] if there is no class.
pub fn category_relationship(
    source_probabilities: ArrayView2<'_, f32>,
    labels: &[usize],
    classes: usize,
) -> Result<Array2<f32>> {
    check(source_probabilities, labels, classes)?;
    let mut sums = Array2::<f64>::zeros((classes, source_probabilities.ncols()));
    let mut counts = vec![0usize; classes];
    for (probabilities, &label) in source_probabilities.outer_iter().zip(labels) {
        counts[label] += 1;
        sums.row_mut(label).zip_mut_with(&probabilities, |sum, probability| *sum += f64::from(*probability));
    }
    for (class, (mut sum, count)) in sums.outer_iter_mut().zip(counts).enumerate() {
        if count == 0 {
            return Err(AdaptError::EmptyClass { class });
        }
        sum /= count as f64;
    }
    Ok(sums.mapv(|mean| mean as f32))
}

/// Cross-entropy of the source head's softmax with the relationship's rows of the examples' target classes, averaged over
/// the N rows of `source_logits` (N × S), and its gradient with respect to the logits, N × S (You et al. 2020;
/// `CoTuningLoss` of the Transfer-Learning-Library): `(softmax(logits) − p(y_s | y_t)) / N`. `relationship` is T × S with rows
/// that add up to 1, from [`category_relationship`]; `labels` are the N target classes, below T.
///
/// The loss is added to that of the target's head with a weight, 2.3 in the library. The source's head keeps learning, at
/// the learning rate of the pretrained layers (a tenth of the new head's).
///
/// # Errors
/// [`AdaptError::LabelOutOfRange`] for a label without a row in the relationship, and those of [`softmax_cross_entropy`].
pub fn co_tuning(
    source_logits: ArrayView2<'_, f32>,
    labels: &[usize],
    relationship: ArrayView2<'_, f32>,
) -> Result<(f64, Array2<f32>)> {
    known_classes(labels, relationship.nrows())?;
    let targets = relationship.select(Axis(0), labels);
    softmax_cross_entropy(source_logits, Targets::Probabilities(targets.view()), 0.0)
}

fn check(probabilities: ArrayView2<'_, f32>, labels: &[usize], classes: usize) -> Result<()> {
    if classes == 0 || probabilities.ncols() == 0 {
        return Err(AdaptError::Empty { what: "source or target classes" });
    }
    same_length("labels of source probabilities", probabilities.nrows(), labels.len())?;
    known_classes(labels, classes)?;
    let wrong = probabilities.indexed_iter().find(|(_, probability)| !probability.is_finite());
    wrong.map_or(Ok(()), |((row, column), _)| Err(AdaptError::NonFinite { row, column }))
}
