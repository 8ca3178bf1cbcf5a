//! Learning without forgetting (Li and Hoiem 2016): the tuned network answers the source's task as the source network did.

use ndarray::{Array2, ArrayView2};

use super::loss::log_sum_exp;
use crate::error::{AdaptError, Result, positive, same_length};

/// Knowledge distillation (Hinton et al. 2015), the loss of learning without forgetting: the divergence
/// `KL(softmax(source / T) ‖ softmax(tuned / T))` between the answers of the source's head before and during the training
/// (logits, N × S), averaged over the N rows, and its gradient with respect to the tuned logits, N × S:
/// `(softmax(tuned / T) − softmax(source / T)) / (T · N)`. Sums are in double precision; logits that are no numbers make the
/// value NaN.
///
/// It is the Transfer-Learning-Library's `KnowledgeDistillationLoss`, with the temperature `T` = 3 and the weight 4 in its
/// example. Hinton's factor T², which keeps gradients as large at every temperature, is not in it. Li and Hoiem's
/// cross-entropy has the same gradient and is larger by the entropy of the source's answers; they have T = 2
/// and the weight 1. The source's logits are recorded once for every image; the library keeps its source head as it is,
/// without training it.
///
/// # Errors
/// [`AdaptError::Shape`] if the logits are not of one shape, [`AdaptError::Empty`] if there are none,
/// [`AdaptError::HyperParameter`] if the temperature is not a number above 0.
///
/// ```
/// use ndarray::array;
/// use regraft_adapt::training::knowledge_distillation;
///
/// let source = array![[3.0, 0.0]];
/// let (value, gradient) = knowledge_distillation(array![[-3.0, 0.0]].view(), source.view(), 3.0)?;
/// assert!((value - 0.5f64.tanh()).abs() < 1e-12);
/// assert!(gradient[[0, 0]] < 0.0 && gradient[[0, 1]] > 0.0);
/// # Ok::<(), regraft_adapt::AdaptError>(())
/// ```
pub fn knowledge_distillation(
    tuned: ArrayView2<'_, f32>,
    source: ArrayView2<'_, f32>,
    temperature: f64,
) -> Result<(f64, Array2<f32>)> {
    positive("temperature", temperature)?;
    same_length("rows of the source's logits", tuned.nrows(), source.nrows())?;
    same_length("columns of the source's logits", tuned.ncols(), source.ncols())?;
    if tuned.is_empty() {
        return Err(AdaptError::Empty { what: "logits" });
    }
    let (mut total, mut gradient) = (0.0, Array2::zeros(tuned.dim()));
    let scale = 1.0 / (temperature * tuned.nrows() as f64);
    for ((tuned, source), mut gradient) in
        tuned.outer_iter().zip(source.outer_iter()).zip(gradient.outer_iter_mut())
    {
        let softened = |logit: &f32| f64::from(*logit) / temperature;
        let [of_tuned, of_source] = [tuned, source].map(|logits| log_sum_exp(logits.iter().map(softened)));
        for ((tuned, source), place) in tuned.iter().zip(source).zip(&mut gradient) {
            let (tuned, source) = (softened(tuned) - of_tuned, softened(source) - of_source);
            total += source.exp() * (source - tuned);
            *place = ((tuned.exp() - source.exp()) * scale) as f32;
        }
    }
    Ok((total / tuned.nrows() as f64, gradient))
}
