//! DELTA (Li et al. 2019): feature maps stay near those of the source network, the more the more a channel matters.

use ndarray::{Array4, ArrayView4, s};
use rayon::prelude::*;

use crate::error::{AdaptError, Result, same_length};

/// What softmax divides standardised scores by.
const ATTENTION_TEMPERATURE: f64 = 5.0;

/// Behavioural regularisation without attention: `½ ‖FM(w, x) − FM(w⁰, x)‖²` of the feature maps of a layer in the tuned and
/// in the source network (N × C × H × W each, in any order in memory), and its gradient with respect to the tuned map,
/// `FM(w, x) − FM(w⁰, x)`.
///
/// It is a sum over images and pixels, not a mean, as in the Transfer-Learning-Library (`BehavioralRegularization`): its
/// weight depends on the size of batch and map. Of several layers the values are added. The library weighs both forms with
/// 0.01 by default, at 48 images a batch, with no weight decay, and puts `½ · 0.01 · ‖w‖²` on the head.
///
/// # Errors
/// [`AdaptError::Shape`] if the maps are not of one shape, [`AdaptError::Empty`] if they have no number.
pub fn behavioural_regularisation(
    tuned: ArrayView4<'_, f32>,
    source: ArrayView4<'_, f32>,
) -> Result<(f64, Array4<f32>)> {
    weighted_distance(tuned, source, &vec![1.0; tuned.dim().1])
}

/// Behavioural regularisation with attention (Li et al. 2019, as `AttentionBehavioralRegularization` of the
/// Transfer-Learning-Library has it): `½ Σₙ Σ_c C · a_c / (H · W) · ‖FM_c(w, xₙ) − FM_c(w⁰, xₙ)‖²`, and its gradient with
/// respect to the tuned map, N × C × H × W.
///
/// `attention` has a weight `a_c` for each of the C channels, which add up to 1 if they are from [`channel_attention`]; so C
/// times them are 1 on average. The sum over images is no mean here either. What is said of layers and of the
/// library's weight for [`behavioural_regularisation`] holds here too.
///
/// # Errors
/// [`AdaptError::Shape`] if the maps are not of one shape or `attention` has not a weight for each channel,
/// [`AdaptError::Empty`] if the maps have no number.
///
/// ```
/// use ndarray::Array4;
/// use regraft_adapt::training::attentive_behavioural_regularisation;
///
/// let (tuned, source) = (Array4::from_elem((1, 2, 3, 3), 2.0), Array4::zeros((1, 2, 3, 3)));
/// let (value, gradient) = attentive_behavioural_regularisation(tuned.view(), source.view(), &[0.75, 0.25])?;
/// assert_eq!(value, 0.5 * 2.0 * (0.75 + 0.25) * 4.0);
/// assert_eq!(gradient[[0, 0, 2, 1]], 3.0 * gradient[[0, 1, 2, 1]]);
/// # Ok::<(), regraft_adapt::AdaptError>(())
/// ```
pub fn attentive_behavioural_regularisation(
    tuned: ArrayView4<'_, f32>,
    source: ArrayView4<'_, f32>,
    attention: &[f32],
) -> Result<(f64, Array4<f32>)> {
    let (_, channels, height, width) = tuned.dim();
    same_length("attention of channels", channels, attention.len())?;
    let scale = channels as f64 / (height * width) as f64;
    let weights: Vec<f64> = attention.iter().map(|weight| scale * f64::from(*weight)).collect();
    weighted_distance(tuned, source, &weights)
}

/// `½ Σₙ Σ_c weight_c · ‖tuned − source‖²` and its gradient.
fn weighted_distance(
    tuned: ArrayView4<'_, f32>,
    source: ArrayView4<'_, f32>,
    weights: &[f64],
) -> Result<(f64, Array4<f32>)> {
    for (expected, found) in tuned.shape().iter().zip(source.shape()) {
        same_length("an axis of the source's feature map", *expected, *found)?;
    }
    let mut gradient = Array4::zeros(tuned.dim());
    let numbers = gradient.as_slice_mut().filter(|numbers| !numbers.is_empty());
    let numbers = numbers.ok_or(AdaptError::Empty { what: "feature maps" })?;
    let (_, channels, height, width) = tuned.dim();
    let planes = numbers.par_chunks_mut(height * width).enumerate().map(|(plane, gradient)| {
        let (image, channel) = (plane / channels, plane % channels);
        let [tuned, source] = [tuned, source].map(|map| map.slice_move(s![image, channel, .., ..]));
        let differences =
            tuned.iter().zip(source).map(|(tuned, source)| f64::from(*tuned) - f64::from(*source));
        differences.zip(gradient).fold(0.0, |sum, (difference, place)| {
            *place = (weights[channel] * difference) as f32;
            sum + 0.5 * weights[channel] * difference * difference
        })
    });
    let planes: Vec<f64> = planes.collect();
    Ok((planes.iter().sum(), gradient))
}

/// The attention of a layer's channels from `losses`: for each, the mean loss of a classifier on the source network's
/// features when the channel's filter is switched off. The losses are standardised (by the deviation of all C, not of C − 1)
/// and go through a softmax of a fifth of them; the weights add up to 1.
///
/// So the Transfer-Learning-Library's example does it (the paper has a plain softmax of the differences), once and before
/// the training: it trains a classifier for 10 epochs, and takes for up to 10 batches of 32 images the cross-entropy with the
/// filter's weights set to zero (not its bias, nor what the normalisation behind it adds) less that of the whole network.
/// That difference and the losses themselves have the same weights, because only differences between channels count; nor
/// does a factor matter. If all losses are equal, where the example divides by zero, all weights are 1/C.
///
/// # Errors
/// [`AdaptError::Empty`] if there is no loss, [`AdaptError::HyperParameter`] if one is not finite.
pub fn channel_attention(losses: &[f64]) -> Result<Vec<f32>> {
    if losses.is_empty() {
        return Err(AdaptError::Empty { what: "losses of channels" });
    }
    if let Some(&found) = losses.iter().find(|loss| !loss.is_finite()) {
        let (name, expected) = ("the loss without a channel", "finite");
        return Err(AdaptError::HyperParameter { name, found, expected });
    }
    let count = losses.len() as f64;
    let mean = losses.iter().sum::<f64>() / count;
    let deviation = (losses.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / count).sqrt();
    if !deviation.is_normal() {
        return Ok(vec![(1.0 / count) as f32; losses.len()]);
    }
    let scores = losses.iter().map(|loss| (loss - mean) / deviation / ATTENTION_TEMPERATURE);
    let log_sum = super::loss::log_sum_exp(scores.clone());
    Ok(scores.map(|score| (score - log_sum).exp() as f32).collect())
}
