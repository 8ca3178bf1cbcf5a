//! How a training is done.

use clap::Args;
use regraft::{
    Augmentation, LearningRate, Mixing, NormStatistics, OptimizerChoice, ScheduleChoice, TuningConfig,
};

use super::named;

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of the training (every --method but probe)")]
pub(crate) struct Tuning {
    /// Passes over the training images, 1 to 10000 [default: 10]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) epochs: Option<usize>,

    /// Images of a batch, at most as many as are trained on [default: 16]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) batch_size: Option<usize>,

    /// Batches of a step: their gradients are added up, so that a step has as many images as all of them and needs the memory of
    /// one; together at most as many images as are trained on [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) accumulate: Option<usize>,

    /// End a training that is judged after so many epochs without a lower validation loss, at least 1, with the weights of the best
    /// epoch; a last training on all images has as many epochs [default: every training has all its epochs]
    #[arg(long, value_name = "EPOCHS", allow_negative_numbers = true)]
    pub(crate) patience: Option<usize>,

    /// Judge, and keep, an exponential moving average of the trained weights with this decay, above 0 and below 1 [default: the
    /// weights themselves]
    #[arg(long, value_name = "DECAY", allow_negative_numbers = true)]
    pub(crate) ema: Option<f64>,

    /// Judge, and keep, the mean of the weights behind each epoch of this last share of them, above 0 and below 1, with a constant
    /// learning rate there (stochastic weight averaging) [default: the weights themselves]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub(crate) swa: Option<f64>,

    /// Train so many times, 2 to 100, with other orders of the images, other random variants and other learning rates, and average
    /// the weights of those trainings with which the validation loss does not rise (model soup); not with auto [default: once]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) soup: Option<usize>,

    /// adam-w, sgd (with Nesterov's momentum of 0.9) or lamb (Adam's steps scaled to the norm of each weight) [default: adam-w]
    #[arg(long, value_name = "NAME", value_parser = optimizer)]
    pub(crate) optimizer: Option<OptimizerChoice>,

    /// Largest learning rate, that of the head, above 0; or find: the one that a range test of up to 100 steps on the training images
    /// suggests [default: 0.001 for adam-w, 0.01 for sgd, 0.005 for lamb]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    pub(crate) learning_rate: Option<LearningRate>,

    /// The source's layers learn at this share of the head's rate; above 0, at most 1 [default: 0.1]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub(crate) source_rate_factor: Option<f64>,

    /// Each block of layers learns at this share of the rate of the block behind it; above 0, at most 1 [default: 1]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub(crate) layer_decay: Option<f64>,

    /// one-cycle, cosine, step, slanted-triangular or constant [default: one-cycle]
    #[arg(long, value_name = "NAME", value_parser = schedule)]
    pub(crate) schedule: Option<ScheduleChoice>,

    /// Weight decay, 0 to 1; biases and normalisations have none [default: 0.01]
    #[arg(long, value_name = "DECAY", allow_negative_numbers = true)]
    pub(crate) weight_decay: Option<f64>,

    /// Gradients are scaled down to this norm; above 0 [default: 1]
    #[arg(long, value_name = "NORM", allow_negative_numbers = true)]
    pub(crate) gradient_clip: Option<f64>,

    /// Share of each target that is spread over all classes; from 0 to less than 1 [default: 0]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub(crate) label_smoothing: Option<f64>,

    /// What batch normalisation goes by: stored (the source's statistics, which never move) or batch [default: stored]
    #[arg(long, value_name = "NAME", value_parser = norm_statistics)]
    pub(crate) norm_statistics: Option<NormStatistics>,

    /// Of l2-sp: with a learning rate r, a step takes r times this share of the way back to the source; 0 or more [default: 1]
    #[arg(long, value_name = "PULL", allow_negative_numbers = true)]
    pub(crate) source_pull: Option<f64>,

    /// Of bss, delta, lwf and co-tuning: the weight of what they add to the loss; 0 or more, with 0 they are lp-ft [default: 0.001
    /// for bss, 0.01 for delta, 4 for lwf, 2.3 for co-tuning]
    #[arg(long, value_name = "WEIGHT", allow_negative_numbers = true)]
    pub(crate) regularization: Option<f64>,

    /// Of lora: the rank of the changes, at least 1 [default: 8]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) rank: Option<usize>,

    /// Of lora: the changes are multiplied by this over the rank; above 0 [default: 16]
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    pub(crate) alpha: Option<f64>,

    /// Mix the weights before and after the training, with the share that suits the validation images best (WiSE-FT)
    #[arg(long)]
    pub(crate) wise_ft: bool,

    /// Of auto: minutes from the beginning of the run after which nothing more is tried, above 0; a method whose trainings would end
    /// later is left. The result then depends on how fast the machine is [default: no limit]
    #[arg(long, value_name = "MINUTES", allow_negative_numbers = true)]
    pub(crate) time_limit: Option<f64>,

    /// Compute what normalisations and activations give again on the way back instead of keeping it: the same weights with less
    /// memory, a little slower
    #[arg(long)]
    pub(crate) recompute: bool,

    /// What happens at random to the training images: none, crop (random parts), flip, standard (both) or strong (TrivialAugment
    /// and random erasing, too); a table in regraft.toml says more [default: crop]
    #[arg(long, value_name = "NAME", value_parser = augmentation)]
    pub(crate) augmentation: Option<Augmentation>,

    /// Mix each image with another one of its batch, with a share from Beta(ALPHA, ALPHA); from 0 to 1000 [default: 0, not]
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    pub(crate) mixup: Option<f64>,

    /// Put a part of another image of the batch into each, with a share from Beta(ALPHA, ALPHA); from 0 to 1000 [default: 0, not]
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    pub(crate) cutmix: Option<f64>,

    /// Random variants of each image that are kept behind the frozen part, 1 to 1000 [default: 4]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) variants: Option<usize>,

    /// Minutes between two checkpoints; there is one at the end of each epoch, too [default: 5]
    #[arg(long, value_name = "MINUTES", allow_negative_numbers = true)]
    pub(crate) checkpoint_minutes: Option<f64>,
}

impl Tuning {
    /// What was asked for, over what is in force without it.
    pub(crate) fn over(&self, base: TuningConfig) -> TuningConfig {
        TuningConfig {
            epochs: self.epochs.unwrap_or(base.epochs),
            batch_size: self.batch_size.or(base.batch_size),
            accumulate: self.accumulate.unwrap_or(base.accumulate),
            patience: self.patience.or(base.patience),
            ema: self.ema.or(base.ema),
            swa: self.swa.or(base.swa),
            soup: self.soup.or(base.soup),
            optimizer: self.optimizer.unwrap_or(base.optimizer),
            learning_rate: self.learning_rate.or(base.learning_rate),
            source_rate_factor: self.source_rate_factor.unwrap_or(base.source_rate_factor),
            layer_decay: self.layer_decay.unwrap_or(base.layer_decay),
            schedule: self.schedule.unwrap_or(base.schedule),
            source_pull: self.source_pull.unwrap_or(base.source_pull),
            regularization: self.regularization.or(base.regularization),
            rank: self.rank.unwrap_or(base.rank),
            alpha: self.alpha.unwrap_or(base.alpha),
            wise_ft: self.wise_ft || base.wise_ft,
            time_limit: self.time_limit.or(base.time_limit),
            recompute: self.recompute || base.recompute,
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            gradient_clip: self.gradient_clip.unwrap_or(base.gradient_clip),
            label_smoothing: self.label_smoothing.unwrap_or(base.label_smoothing),
            norm_statistics: self.norm_statistics.unwrap_or(base.norm_statistics),
            checkpoint_minutes: self.checkpoint_minutes.unwrap_or(base.checkpoint_minutes),
            variants: self.variants.unwrap_or(base.variants),
            augmentation: self.augmentation.clone().unwrap_or(base.augmentation),
            mixing: Mixing {
                mixup: self.mixup.unwrap_or(base.mixing.mixup),
                cutmix: self.cutmix.unwrap_or(base.mixing.cutmix),
            },
        }
    }
}

/// The augmentation that a name stands for.
fn augmentation(name: &str) -> Result<Augmentation, String> {
    name.parse().map_err(|_| format!("known are: {}", Augmentation::PRESETS.join(", ")))
}

/// The optimiser that a name stands for.
fn optimizer(name: &str) -> Result<OptimizerChoice, String> {
    named(&OptimizerChoice::ALL, OptimizerChoice::name, name)
}

/// The schedule that a name stands for.
fn schedule(name: &str) -> Result<ScheduleChoice, String> {
    named(&ScheduleChoice::ALL, ScheduleChoice::name, name)
}

/// The statistics that a name stands for.
fn norm_statistics(name: &str) -> Result<NormStatistics, String> {
    named(&NormStatistics::ALL, NormStatistics::name, name)
}
