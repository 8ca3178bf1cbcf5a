//! In which numbers the layers of a network are trained.

use regraft_engine::Precision;

use super::cell::{Cell, Setting, Training};
use super::checkpoint::State;
use super::regulariser::Regulariser;
use crate::precision::{NO_BFLOAT16, PrecisionChoice, has_bfloat16, warn_of_emulation};
use crate::{Context, Error, Result};

/// Steps whose losses are compared.
const STEPS: usize = 8;

/// How much larger the losses in bfloat16 may be, relative to those in single precision.
const EXCESS: f64 = 0.02;

/// What is trained in without a look at the training. Integers have no gradients.
pub(super) fn of_choice(choice: PrecisionChoice) -> Precision {
    if choice == PrecisionChoice::BFloat16 { Precision::BFloat16 } else { Precision::Float32 }
}

/// What a method is trained in, and why.
pub(super) struct Numbers {
    pub(super) precision: Precision,
    /// Why `auto` chose it; empty where it was asked for.
    pub(super) reason: String,
}

impl Numbers {
    /// As [`of_choice`].
    pub(super) fn asked_for(choice: PrecisionChoice) -> Self {
        Self { precision: of_choice(choice), reason: String::new() }
    }

    /// By the sums of the losses of the first steps.
    fn by_losses(single: Option<f64>, half: Option<f64>) -> Self {
        let keeps = keeps_loss(single, half);
        let precision = if keeps { Precision::BFloat16 } else { Precision::Float32 };
        let verb = if keeps { "keep" } else { "do not keep" };
        let [single, half] =
            [single, half].map(|sum| sum.map_or_else(|| "not finite".to_owned(), |sum| format!("{sum:.3}")));
        let reason =
            format!("the first {STEPS} steps in bf16 {verb} the loss of f32: {half} in sum, {single} in f32");
        Self { precision, reason }
    }
}

/// Bfloat16, where the processor has instructions for it and the first steps of a training have losses like those in single
/// precision; else single precision.
///
/// # Errors
/// As a training's.
pub(super) fn automatic(cell: &Cell<'_>, setting: &Setting<'_>, context: &Context<'_>) -> Result<Numbers> {
    if !has_bfloat16() {
        return Ok(Numbers { precision: Precision::Float32, reason: NO_BFLOAT16.to_owned() });
    }
    context.progress.start("comparing bf16 with f32", 2 * STEPS as u64);
    let losses = |precision| losses(cell, &Setting { precision, ..*setting }, context);
    let numbers = Numbers::by_losses(losses(Precision::Float32)?, losses(Precision::BFloat16)?);
    context.progress.finish();
    let (method, name) = (setting.method.name(), numbers.precision.name());
    context.progress.message(&format!("{method}: trained in {name}, for {}", numbers.reason));
    Ok(numbers)
}

/// Says what it means for all trainings where the processor has no instructions for bfloat16.
pub(super) fn tell_of_emulation(choice: PrecisionChoice, context: &Context<'_>) {
    if choice == PrecisionChoice::Auto && !has_bfloat16() {
        context.progress.message(&format!("precision: f32, for {NO_BFLOAT16}"));
    }
    warn_of_emulation(of_choice(choice), "a training", context);
}

/// Whether the second one, that in bfloat16, is finite and hardly larger.
fn keeps_loss(single: Option<f64>, half: Option<f64>) -> bool {
    matches!((single, half), (Some(single), Some(half)) if half <= single + EXCESS * single.abs())
}

/// The sum of the losses of the first steps, on a copy of the network; `None` if one of them is not finite.
fn losses(cell: &Cell<'_>, setting: &Setting<'_>, context: &Context<'_>) -> Result<Option<f64>> {
    let regulariser = Regulariser::new(cell, setting, context)?;
    let mut training = Training::new(cell, setting, regulariser.as_ref(), State::new(cell.start.clone()))?;
    let mut sum = 0.0;
    for _ in 0..STEPS {
        if context.progress.interrupted() {
            return Err(Error::Interrupted);
        }
        let Some(loss) = training.step(&training.images(), setting.config.head_rate())? else {
            return Ok(None);
        };
        sum += loss.answers + loss.added;
        context.progress.advance(1);
    }
    Ok(Some(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_is_kept_is_finite_and_hardly_larger() {
        assert!(keeps_loss(Some(1.0), Some(1.01)));
        assert!(keeps_loss(Some(1.0), Some(0.5)));
        assert!(!keeps_loss(Some(1.0), Some(1.03)));
        assert!(!keeps_loss(Some(1.0), None));
        assert!(!keeps_loss(Some(1.0), Some(f64::NAN)));
    }

    #[test]
    fn the_reason_has_both_losses() {
        let numbers = Numbers::by_losses(Some(10.0), Some(10.1));
        assert_eq!(numbers.precision, Precision::BFloat16);
        assert_eq!(
            numbers.reason,
            "the first 8 steps in bf16 keep the loss of f32: 10.100 in sum, 10.000 in f32"
        );
        let numbers = Numbers::by_losses(Some(10.0), None);
        assert_eq!(numbers.precision, Precision::Float32);
        assert!(numbers.reason.contains("do not keep") && numbers.reason.contains("not finite"));
    }

    #[test]
    fn integers_are_not_trained_in() {
        assert_eq!(of_choice(PrecisionChoice::Int8), Precision::Float32);
        assert_eq!(of_choice(PrecisionChoice::BFloat16), Precision::BFloat16);
    }
}
