//! What was trained of a source model, and how that went.

use serde::{Deserialize, Serialize};

use super::{Baseline, nan_if_null};

/// How the source model was tuned.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TuningRecord {
    /// Name of the method, for example `lp-ft`.
    pub method: String,
    /// What it trains, in words.
    pub method_in_words: String,
    /// The wire up to which nothing was trained.
    pub boundary: String,
    /// Whether the values at the boundary were computed once and kept.
    pub prefix_cached: bool,
    /// Number of parameters that were trained, head included.
    pub trained_parameters: u64,
    /// Passes over the training images.
    pub epochs: usize,
    /// Epochs without a lower validation loss after which a training that was judged ended; `None` where none ended early.
    pub patience: Option<usize>,
    /// Epochs behind the weights that were kept, where trainings could end early.
    pub needed_epochs: Option<usize>,
    /// Images of a batch.
    pub batch_size: usize,
    /// Batches of a step; 0 in a record that was written before there could be more than one.
    pub accumulate: usize,
    /// Name of the optimiser.
    pub optimizer: String,
    /// Largest learning rate of the head.
    pub learning_rate: f64,
    /// How that was found; `None` where it was given.
    pub range_test: Option<RangeTestRecord>,
    /// Learning rate of the source's layers as a share of the head's.
    pub source_rate_factor: f64,
    /// Name of the schedule.
    pub schedule: String,
    /// Weight decay of weights that are no biases and no normalisations.
    pub weight_decay: f64,
    /// What batch normalisation went by: `stored` or `batch`.
    pub norm_statistics: String,
    /// Numbers that layers multiplied in the training: `f32` or `bf16`; sums and weights are f32 in either. Where `auto` ended with
    /// the probe, those that its features were computed in.
    pub precision: String,
    /// Why it is that one, where something else than `f32` was asked for and decided about it; empty where it is as asked.
    pub precision_reason: String,
    /// Decay of the moving average of the weights that was judged and kept; `None` for the weights themselves.
    pub ema: Option<f64>,
    /// Share of the epochs, those at the end, whose weights were averaged, judged and kept; `None` for the last weights themselves.
    pub swa: Option<f64>,
    /// Weight of what the method added to the loss; `None` where it added nothing.
    pub regularization: Option<f64>,
    /// What was done at random to the training images; empty for nothing.
    pub augmentation: String,
    /// Share of the trained weights in those of the model (WiSE-FT); `None` where they were not mixed.
    pub wise_ft_share: Option<f64>,
    /// The trainings that a soup was made of, in order; empty for no soup.
    pub soup: Vec<IngredientRecord>,
    /// What `auto` tried, in order; empty for a method that was asked for.
    pub ladder: Vec<RungRecord>,
    /// Every epoch of every training, in order.
    pub history: Vec<EpochRecord>,
    /// The linear probe on the same test set, and how much better the tuned model is.
    pub probe: Option<Baseline>,
    /// Wall-clock seconds of all trainings, also by processes that were stopped, until their last checkpoints.
    #[serde(deserialize_with = "nan_if_null")]
    pub seconds: f64,
}

/// A learning-rate range test (Smith 2017).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RangeTestRecord {
    /// The rate of the head that was taken.
    pub learning_rate: f64,
    /// Whether the test suggested it; else it is that of the optimiser, because the loss did not fall.
    pub is_suggested: bool,
    /// Its steps.
    pub points: Vec<RatePoint>,
}

/// A step of a learning-rate range test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RatePoint {
    /// The rate of the head.
    #[serde(deserialize_with = "nan_if_null")]
    pub learning_rate: f64,
    /// The smoothed loss before the step.
    #[serde(deserialize_with = "nan_if_null")]
    pub loss: f64,
}

/// A training whose weights were to go into a soup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IngredientRecord {
    /// Its name.
    pub training: String,
    /// Largest learning rate of the head.
    #[serde(deserialize_with = "nan_if_null")]
    pub learning_rate: f64,
    /// Mean log-loss of the images that judge.
    #[serde(deserialize_with = "nan_if_null")]
    pub validation_loss: f64,
    /// Share of them that are right, 0..=1.
    #[serde(deserialize_with = "nan_if_null")]
    pub validation_accuracy: f64,
    /// Their mean log-loss by the mean of its weights and those kept before it.
    #[serde(deserialize_with = "nan_if_null")]
    pub soup_loss: f64,
    /// Epochs behind the weights that were kept, where trainings could end early.
    pub needed_epochs: Option<usize>,
    /// Whether it went into the soup.
    pub is_kept: bool,
}

/// A method that `auto` tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RungRecord {
    /// Its name.
    pub method: String,
    /// Share of right answers to images that were not trained on, 0..=1.
    #[serde(deserialize_with = "nan_if_null")]
    pub accuracy: f64,
    /// Mean log-loss on them in nats, after temperature scaling.
    #[serde(deserialize_with = "nan_if_null")]
    pub log_loss: f64,
    /// How much lower that is than the log-loss of the method kept before, on the same images.
    #[serde(deserialize_with = "nan_if_null")]
    pub gain: f64,
    /// Standard error of the gain.
    #[serde(deserialize_with = "nan_if_null")]
    pub standard_error: f64,
    /// Number of images that judged.
    pub images: usize,
    /// Wall-clock seconds that the trial took.
    #[serde(deserialize_with = "nan_if_null")]
    pub seconds: f64,
    /// Whether it was kept, and the next one tried.
    pub is_kept: bool,
    /// Why, or why it was not tried.
    pub reason: String,
}

impl RungRecord {
    /// A method of which nothing is known.
    pub fn of(method: &str) -> Self {
        Self { method: method.to_owned(), ..Self::default() }
    }
}

impl Default for RungRecord {
    fn default() -> Self {
        let [accuracy, log_loss, gain, standard_error, seconds] = [f64::NAN; 5];
        let (method, images, is_kept, reason) = (String::new(), 0, false, String::new());
        Self { method, accuracy, log_loss, gain, standard_error, images, seconds, is_kept, reason }
    }
}

/// An epoch of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EpochRecord {
    /// Which training: `validation` where some images judge, `final` on all.
    pub training: String,
    /// Counted from 1.
    pub epoch: usize,
    /// Mean loss of the training images, each before the step that it was part of.
    #[serde(deserialize_with = "nan_if_null")]
    pub training_loss: f64,
    /// Mean of what the method added to that loss, weighted; NaN where it adds nothing.
    #[serde(deserialize_with = "nan_if_null")]
    pub regularization: f64,
    /// Mean log-loss of the validation images; NaN where there are none.
    #[serde(deserialize_with = "nan_if_null")]
    pub validation_loss: f64,
    /// Share of the validation images that are right, 0..=1; NaN where there are none.
    #[serde(deserialize_with = "nan_if_null")]
    pub validation_accuracy: f64,
    /// Learning rate of the head at the end.
    #[serde(deserialize_with = "nan_if_null")]
    pub learning_rate: f64,
    /// Wall-clock seconds without the validation.
    #[serde(deserialize_with = "nan_if_null")]
    pub seconds: f64,
    /// Training images a second.
    #[serde(deserialize_with = "nan_if_null")]
    pub images_per_second: f64,
}

impl Default for EpochRecord {
    fn default() -> Self {
        Self {
            training: String::new(),
            epoch: 0,
            training_loss: f64::NAN,
            regularization: f64::NAN,
            validation_loss: f64::NAN,
            validation_accuracy: f64::NAN,
            learning_rate: f64::NAN,
            seconds: f64::NAN,
            images_per_second: f64::NAN,
        }
    }
}

impl EpochRecord {
    /// The named numbers of an epoch that were measured, as a log shows them.
    pub fn scalars(&self) -> impl Iterator<Item = (&'static str, f64)> {
        [
            ("loss/training", self.training_loss),
            ("loss/regularization", self.regularization),
            ("loss/validation", self.validation_loss),
            ("accuracy/validation", self.validation_accuracy),
            ("learning rate", self.learning_rate),
            ("images a second", self.images_per_second),
        ]
        .into_iter()
        .filter(|(_, value)| value.is_finite())
    }
}
