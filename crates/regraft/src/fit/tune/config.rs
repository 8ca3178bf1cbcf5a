//! How a source model is tuned, as it is kept in `regraft.toml`.

use std::ops::RangeInclusive;

use regraft_adapt::training::{Optimizer, Schedule};
use regraft_data::augment::Augmentation;
use regraft_data::mix::Mixing;
use serde::{Deserialize, Serialize};

use super::learning_rate::LearningRate;
use crate::config::outside;

/// What is trained of the source model, beside a new head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Nothing: a linear probe, or another head, on frozen features.
    #[default]
    Probe,
    /// Scales and shifts of the normalisations (Frankle et al. 2021).
    BnAffine,
    /// Biases (Ben Zaken et al. 2022).
    Bias,
    /// The last block.
    LastBlock,
    /// Everything behind the cut.
    Partial,
    /// Everything, with a head that begins at random.
    Full,
    /// Everything, with a head that begins as the linear probe (Kumar et al. 2022).
    LpFt,
    /// As [`Method::LpFt`], with each tensor learning by how large its gradient is beside it, measured at the beginning of each epoch
    /// (Auto-RGN of Lee et al. 2023).
    Surgical,
    /// As [`Method::LpFt`], from the last block to the first: each epoch one block more, so that all of them are trained in the
    /// second half of the epochs (Howard and Ruder 2018).
    Gradual,
    /// As [`Method::LpFt`], with weights that are pulled towards those of the source (Li et al. 2018).
    L2Sp,
    /// As [`Method::LpFt`], with the smallest singular value of each batch's features suppressed (Chen et al. 2019).
    Bss,
    /// As [`Method::LpFt`], with feature maps that are held near those of the source (Li et al. 2019).
    Delta,
    /// As [`Method::LpFt`], with the answers of the source's own head held near those that it gave (Li and Hoiem 2016).
    Lwf,
    /// As [`Method::LpFt`], with the source's own head trained, too, towards the classes that the images look like to it (You et
    /// al. 2020).
    CoTuning,
    /// Low-rank changes of the weights of convolutions, dense layers and attention (Hu et al. 2022).
    Lora,
    /// The cheapest of these that no dearer one beats by more than a standard error, in cross-validation.
    Auto,
}

impl Method {
    /// All of them, by what they cost.
    pub const ALL: [Self; 16] = [
        Self::Probe,
        Self::BnAffine,
        Self::Bias,
        Self::LastBlock,
        Self::Partial,
        Self::LpFt,
        Self::Surgical,
        Self::Gradual,
        Self::L2Sp,
        Self::Bss,
        Self::Delta,
        Self::Lwf,
        Self::CoTuning,
        Self::Lora,
        Self::Full,
        Self::Auto,
    ];

    /// The name, which is also its serialised form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::BnAffine => "bn-affine",
            Self::Bias => "bias",
            Self::LastBlock => "last-block",
            Self::Partial => "partial",
            Self::Full => "full",
            Self::LpFt => "lp-ft",
            Self::Surgical => "surgical",
            Self::Gradual => "gradual",
            Self::L2Sp => "l2-sp",
            Self::Bss => "bss",
            Self::Delta => "delta",
            Self::Lwf => "lwf",
            Self::CoTuning => "co-tuning",
            Self::Lora => "lora",
            Self::Auto => "auto",
        }
    }

    /// What a reader of the report is told.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Probe => "a head on frozen features",
            Self::BnAffine => "scales and shifts of the normalisations, with the linear probe for a start",
            Self::Bias => "biases, with the linear probe for a start",
            Self::LastBlock => "the last block, with the linear probe for a start",
            Self::Partial => "everything behind the cut, with the linear probe for a start",
            Self::Full => "the whole network, with a new head",
            Self::LpFt => "the whole network, with the linear probe for a start",
            Self::Surgical => {
                "the whole network, each tensor by how large its gradient is, with the linear probe for a start"
            }
            Self::Gradual => {
                "the whole network, block by block from the last one, with the linear probe for a start"
            }
            Self::L2Sp => "the whole network, pulled towards the source, with the linear probe for a start",
            Self::Bss => {
                "the whole network, with the least varied features suppressed, with the linear probe for a start"
            }
            Self::Delta => {
                "the whole network, with its feature maps held near the source's, with the linear probe for a start"
            }
            Self::Lwf => {
                "the whole network, with the source's own answers held, with the linear probe for a start"
            }
            Self::CoTuning => {
                "the whole network together with the source's own head, with the linear probe for a start"
            }
            Self::Lora => "low-rank changes of the weights, with the linear probe for a start",
            Self::Auto => "what pays off in cross-validation",
        }
    }

    /// The weight of what it adds to the loss where none is asked for: that of the Transfer-Learning-Library, which has 48 images
    /// a batch; 0 for a method that adds nothing.
    pub fn regularization(self) -> f64 {
        match self {
            Self::Bss => 1e-3,
            Self::Delta => 1e-2,
            Self::Lwf => 4.0,
            Self::CoTuning => 2.3,
            _ => 0.0,
        }
    }
}

/// The rule by which gradients change weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerChoice {
    /// Adam with decoupled weight decay.
    #[default]
    AdamW,
    /// Stochastic gradient descent with Nesterov's momentum of 0.9.
    Sgd,
    /// Adam's steps, each weight's scaled to its norm (You et al. 2020): for large batches.
    Lamb,
}

impl OptimizerChoice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AdamW, Self::Sgd, Self::Lamb];

    /// The name, which is also its serialised form.
    pub fn name(self) -> &'static str {
        match self {
            Self::AdamW => "adam-w",
            Self::Sgd => "sgd",
            Self::Lamb => "lamb",
        }
    }

    pub(crate) fn rule(self) -> Optimizer {
        match self {
            Self::AdamW => Optimizer::ADAMW,
            Self::Sgd => Optimizer::SGD,
            Self::Lamb => Optimizer::LAMB,
        }
    }

    /// The learning rate of a new head where none is asked for.
    fn learning_rate(self) -> f64 {
        match self {
            Self::AdamW => 1e-3,
            Self::Sgd => 1e-2,
            Self::Lamb => 5e-3,
        }
    }
}

/// How the learning rate changes in the course of the training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleChoice {
    /// Up in the first quarter, down to almost nothing in the rest (Smith 2018).
    #[default]
    OneCycle,
    /// Up in the first twentieth, then down along half a cosine.
    Cosine,
    /// Down to a tenth after each third.
    Step,
    /// Up in the first tenth, down in the rest (Howard and Ruder 2018).
    SlantedTriangular,
    /// Always the same.
    Constant,
}

impl ScheduleChoice {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::OneCycle, Self::Cosine, Self::Step, Self::SlantedTriangular, Self::Constant];

    /// The name, which is also its serialised form.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneCycle => "one-cycle",
            Self::Cosine => "cosine",
            Self::Step => "step",
            Self::SlantedTriangular => "slanted-triangular",
            Self::Constant => "constant",
        }
    }

    pub(crate) fn rule(self) -> Schedule {
        match self {
            Self::OneCycle => Schedule::OneCycle { rise: 0.25, start: 25.0, end: 1e5 },
            Self::Cosine => Schedule::Cosine { warm_up: 0.05 },
            Self::Step => Schedule::Step { parts: 3 },
            Self::SlantedTriangular => Schedule::SlantedTriangular { ratio: 32.0 },
            Self::Constant => Schedule::Constant,
        }
    }
}

/// What batch normalisation goes by while its surroundings are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormStatistics {
    /// The statistics of the source, which never move.
    #[default]
    Stored,
    /// Those of each batch; the stored ones follow with a momentum of 0.1.
    Batch,
}

impl NormStatistics {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Stored, Self::Batch];

    /// The name, which is also its serialised form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Batch => "batch",
        }
    }
}

/// Settings of the training; the `[tuning]` table of a `regraft.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TuningConfig {
    /// Passes over the training images, 1 to 10,000.
    pub epochs: usize,
    /// Images of a batch, 1 to 65,536 and at most as many as are trained on; 16 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Batches of a step, 1 to 65,536: their gradients are added up, so that a step has as many images as all of them and needs the
    /// memory of one.
    pub accumulate: usize,
    /// The rule by which gradients change weights.
    pub optimizer: OptimizerChoice,
    /// A training that is judged ends after so many epochs without a lower validation loss, at least 1, with the weights of the
    /// best epoch; never before the last epoch if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Decay of an exponential moving average of the trained weights, above 0 and below 1, by which a training is judged and which
    /// is its result; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Share of the epochs, those at the end, behind each of which the weights go into a plain mean, by which a training is judged
    /// and which is its result (stochastic weight averaging, Izmailov et al. 2018); above 0 and below 1, not together with `ema`;
    /// none if absent. The learning rate stays at what the schedule has where that part begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swa: Option<f64>,
    /// Trainings, 2 to 100, whose weights are averaged as far as that pays on the images that judge: a model soup (Wortsman et al.
    /// 2022). They differ in the order of the images, in what happens to those at random, and in the learning rate. One training
    /// if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soup: Option<usize>,
    /// Largest learning rate, that of the head; 0.001 for AdamW, 0.01 for SGD and 0.005 for LAMB if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<LearningRate>,
    /// The source's layers learn at this share of the head's rate, above 0, at most 1.
    pub source_rate_factor: f64,
    /// Each block of layers learns at this share of the rate of the block behind it, above 0, at most 1.
    pub layer_decay: f64,
    /// How the learning rate changes.
    pub schedule: ScheduleChoice,
    /// Weight decay, 0 to 1; biases and normalisations have none.
    pub weight_decay: f64,
    /// Gradients are scaled down to this norm; above 0.
    pub gradient_clip: f64,
    /// Share of each target that is spread over all classes, 0 to less than 1.
    pub label_smoothing: f64,
    /// What batch normalisation goes by.
    pub norm_statistics: NormStatistics,
    /// Of [`Method::L2Sp`]: with a learning rate r, a step takes r times this share of the way back to the source; 0 or more.
    pub source_pull: f64,
    /// Weight of what [`Method::Bss`], [`Method::Delta`], [`Method::Lwf`] and [`Method::CoTuning`] add to the loss, 0 or more;
    /// [`Method::regularization`] if absent. With 0 they are [`Method::LpFt`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regularization: Option<f64>,
    /// Of [`Method::Lora`]: the rank of the changes, at least 1.
    pub rank: usize,
    /// Of [`Method::Lora`]: the changes are multiplied by this over the rank; above 0.
    pub alpha: f64,
    /// Whether the weights in the end are a mixture of those before and after the training, with the share that suits the
    /// validation images best (WiSE-FT, Wortsman et al. 2022).
    pub wise_ft: bool,
    /// Of [`Method::Auto`]: minutes from the beginning of the run, above 0, after which nothing more is tried; a method whose
    /// trainings would end later is left. None if absent. The result then depends on how fast the machine is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<f64>,
    /// Whether what normalisations and activations give is computed again on the way back instead of being kept: the same weights
    /// with less memory, a little slower.
    pub recompute: bool,
    /// Minutes between two checkpoints, above 0; there is one at the end of each epoch, too.
    pub checkpoint_minutes: f64,
    /// Random variants of each image whose values at the boundary are kept, 1 to 1000. Where nothing is kept, each epoch has a
    /// variant of its own.
    pub variants: usize,
    /// What happens at random to the training images; a preset's name or a table.
    pub augmentation: Augmentation,
    /// Mixing the images of a batch with each other.
    pub mixing: Mixing,
}

impl Default for TuningConfig {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch_size: None,
            accumulate: 1,
            patience: None,
            ema: None,
            swa: None,
            soup: None,
            optimizer: OptimizerChoice::default(),
            learning_rate: None,
            source_rate_factor: 0.1,
            layer_decay: 1.0,
            schedule: ScheduleChoice::default(),
            weight_decay: 0.01,
            gradient_clip: 1.0,
            label_smoothing: 0.0,
            norm_statistics: NormStatistics::default(),
            source_pull: 1.0,
            regularization: None,
            rank: 8,
            alpha: 16.0,
            wise_ft: false,
            time_limit: None,
            recompute: false,
            checkpoint_minutes: 5.0,
            variants: 4,
            augmentation: Augmentation::crop(),
            mixing: Mixing::default(),
        }
    }
}

/// Larger factors of low-rank changes only diverge.
const MOST_ALPHA: f64 = 1e6;
const VARIANTS: RangeInclusive<usize> = 1..=1000;
const EPOCHS: RangeInclusive<usize> = 1..=10_000;
const BATCH_SIZE: RangeInclusive<usize> = 1..=65_536;
const SOUP: RangeInclusive<usize> = 2..=100;
/// Learning rates of a soup's ingredients as shares of what is asked for; behind the last one they begin anew.
const SOUP_FACTORS: [f64; 5] = [1.0, 0.5, 2.0, 0.7, 1.4];
const ACCUMULATE: RangeInclusive<usize> = 1..=65_536;

impl TuningConfig {
    /// Images of a batch, where there are as many.
    pub(crate) fn batch(&self) -> usize {
        self.batch_size.unwrap_or(16)
    }

    /// Images of a step, where there are as many.
    pub(crate) fn images_of_step(&self) -> usize {
        self.batch() * self.accumulate
    }

    /// The first epoch, counted from 0, at whose end the weights go into their mean, where one is asked for: so many to the end as
    /// the share makes, rounded, and at least one.
    pub(crate) fn first_averaged(&self) -> Option<usize> {
        let averaged = |share: f64| ((share * self.epochs as f64).round() as usize).max(1);
        self.swa.map(|share| self.epochs.saturating_sub(averaged(share)))
    }

    /// The settings of a soup's ingredient, counted from 0; those of the first are the plain ones.
    pub(crate) fn of_ingredient(&self, ingredient: usize) -> Self {
        let factor = SOUP_FACTORS.get(ingredient % SOUP_FACTORS.len()).copied().unwrap_or(1.0);
        Self { learning_rate: Some((self.head_rate() * factor).into()), ..self.clone() }
    }

    /// Whether normalisation goes by the statistics of each batch.
    pub(crate) fn goes_by_batch(&self) -> bool {
        self.norm_statistics == NormStatistics::Batch
    }

    /// Whether a mean of weights needs running statistics of its own.
    pub(crate) fn recomputes_statistics(&self) -> bool {
        self.swa.is_some() && self.goes_by_batch()
    }

    /// The learning rate of the head; that of the optimiser where another one is still to be found.
    pub(crate) fn head_rate(&self) -> f64 {
        match self.learning_rate {
            Some(LearningRate::Given(rate)) => rate,
            Some(LearningRate::Find) | None => self.optimizer.learning_rate(),
        }
    }

    /// The weight of what a method adds to the loss.
    pub(crate) fn weight_of(&self, method: Method) -> f64 {
        let default = method.regularization();
        if default > 0.0 { self.regularization.unwrap_or(default) } else { 0.0 }
    }

    /// The augmentation's name; `None` where nothing happens.
    pub(crate) fn augmentation_name(&self) -> Option<String> {
        let is = |name: &&str| name.parse::<Augmentation>().is_ok_and(|preset| preset == self.augmentation);
        match Augmentation::PRESETS.into_iter().find(is) {
            Some("none") => None,
            Some(name) => Some(name.to_owned()),
            None => Some("as set in regraft.toml".to_owned()),
        }
    }

    /// The augmentation for the report; empty for none.
    pub(crate) fn augmentation_text(&self) -> String {
        let of_images = self.augmentation_name();
        let mixed = |name: &str, alpha: f64| (alpha > 0.0).then(|| format!("{name} {alpha}"));
        let parts = [of_images, mixed("mixup", self.mixing.mixup), mixed("cutmix", self.mixing.cutmix)];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// A line for each value outside its range.
    pub(crate) fn mistakes(&self) -> impl Iterator<Item = String> {
        self.mistakes_of_training().chain(self.mistakes_of_methods())
    }

    fn mistakes_of_training(&self) -> impl Iterator<Item = String> + use<> {
        let rate = self.head_rate();
        [
            (!EPOCHS.contains(&self.epochs)).then(|| outside("epochs", self.epochs, &EPOCHS)),
            (!BATCH_SIZE.contains(&self.batch())).then(|| outside("batch-size", self.batch(), &BATCH_SIZE)),
            (!ACCUMULATE.contains(&self.accumulate))
                .then(|| outside("accumulate", self.accumulate, &ACCUMULATE)),
            number(rate > 0.0 && rate.is_finite(), "learning-rate", rate, "a number above 0"),
            number(
                self.source_rate_factor > 0.0 && self.source_rate_factor <= 1.0,
                "source-rate-factor",
                self.source_rate_factor,
                "a share above 0, at most 1",
            ),
            number(
                self.layer_decay > 0.0 && self.layer_decay <= 1.0,
                "layer-decay",
                self.layer_decay,
                "a share above 0, at most 1",
            ),
            (self.goes_by_batch() && self.batch() == 1).then(|| {
                "norm-statistics: a batch of one image has no statistics; choose a larger batch-size"
                    .to_owned()
            }),
            number(
                (0.0..=1.0).contains(&self.weight_decay),
                "weight-decay",
                self.weight_decay,
                "from 0 to 1",
            ),
            number(self.gradient_clip > 0.0, "gradient-clip", self.gradient_clip, "a number above 0"),
            number(
                (0.0..1.0).contains(&self.label_smoothing),
                "label-smoothing",
                self.label_smoothing,
                "a share from 0 to less than 1",
            ),
            number(
                self.checkpoint_minutes > 0.0,
                "checkpoint-minutes",
                self.checkpoint_minutes,
                "a number above 0",
            ),
            (!VARIANTS.contains(&self.variants)).then(|| outside("variants", self.variants, &VARIANTS)),
            self.augmentation.check().err().map(|error| error.to_string()),
            self.mixing.check().err().map(|error| error.to_string()),
        ]
        .into_iter()
        .flatten()
    }

    fn mistakes_of_methods(&self) -> impl Iterator<Item = String> + use<> {
        [
            number(
                self.source_pull >= 0.0 && self.source_pull.is_finite(),
                "source-pull",
                self.source_pull,
                "a number of at least 0",
            ),
            self.regularization.and_then(|weight| {
                number(
                    weight >= 0.0 && weight.is_finite(),
                    "regularization",
                    weight,
                    "a number of at least 0",
                )
            }),
            (self.patience == Some(0)).then(|| "patience: 0 is not at least 1".to_owned()),
            self.ema.and_then(|decay| {
                number(decay > 0.0 && decay < 1.0, "ema", decay, "a decay above 0 and below 1")
            }),
            self.swa.and_then(|share| {
                number(share > 0.0 && share < 1.0, "swa", share, "a share above 0 and below 1")
            }),
            (self.swa.is_some() && self.ema.is_some())
                .then(|| "swa: either this average of the weights is kept, or that of ema".to_owned()),
            self.soup.filter(|count| !SOUP.contains(count)).map(|count| outside("soup", count, &SOUP)),
            self.time_limit
                .and_then(|minutes| number(minutes > 0.0, "time-limit", minutes, "a number above 0")),
            (self.rank == 0).then(|| "rank: 0 is not at least 1".to_owned()),
            number(
                self.alpha > 0.0 && self.alpha <= MOST_ALPHA,
                "alpha",
                self.alpha,
                "above 0, at most a million",
            ),
        ]
        .into_iter()
        .flatten()
    }
}

fn number(is_fine: bool, name: &str, found: f64, expected: &str) -> Option<String> {
    (!is_fine).then(|| format!("{name}: {found} is not {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_serialised_forms() {
        let method = |method: Method| serde_json::to_value(method).unwrap();
        Method::ALL.iter().for_each(|choice| assert_eq!(method(*choice), choice.name()));
        let schedule = |choice: ScheduleChoice| serde_json::to_value(choice).unwrap();
        ScheduleChoice::ALL.iter().for_each(|choice| assert_eq!(schedule(*choice), choice.name()));
        let rule = |choice: OptimizerChoice| serde_json::to_value(choice).unwrap();
        OptimizerChoice::ALL.iter().for_each(|choice| assert_eq!(rule(*choice), choice.name()));
        let norm = |choice: NormStatistics| serde_json::to_value(choice).unwrap();
        NormStatistics::ALL.iter().for_each(|choice| assert_eq!(norm(*choice), choice.name()));
    }

    #[test]
    fn the_last_share_of_the_epochs_is_averaged() {
        let first = |epochs, share| {
            TuningConfig { epochs, swa: Some(share), ..TuningConfig::default() }.first_averaged()
        };
        assert_eq!([first(10, 0.25), first(10, 0.3), first(3, 0.1)], [Some(7), Some(7), Some(2)]);
        assert_eq!([first(1, 0.9), first(2, 0.9)], [Some(0), Some(0)]);
        assert_eq!(TuningConfig::default().first_averaged(), None);
    }

    #[test]
    fn every_mistake_is_named() {
        let rates = [0.0, -0.1, f64::NAN, f64::INFINITY];
        for rate in rates {
            let config = TuningConfig { learning_rate: Some(rate.into()), ..TuningConfig::default() };
            assert!(config.mistakes().any(|line| line.starts_with("learning-rate: ")), "{rate}");
        }
        let config = TuningConfig {
            epochs: 0,
            batch_size: Some(0),
            accumulate: 0,
            source_rate_factor: 2.0,
            weight_decay: -1.0,
            gradient_clip: f64::NAN,
            label_smoothing: 1.0,
            checkpoint_minutes: 0.0,
            ..TuningConfig::default()
        };
        assert_eq!(config.mistakes().count(), 8);
        assert_eq!(TuningConfig::default().mistakes().count(), 0);
    }
}
