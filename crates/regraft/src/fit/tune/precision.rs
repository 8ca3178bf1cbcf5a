//! In which numbers the layers of a network are trained.

use regraft_engine::{InstructionSet, Precision};

use super::cell::{Cell, Setting, Training};
use super::checkpoint::State;
use super::regulariser::Regulariser;
use crate::precision::PrecisionChoice;
use crate::{Context, Error, Result};

/// Steps whose losses are compared.
const STEPS: usize = 8;

/// How much larger the losses in bfloat16 may be, relative to those in single precision.
const EXCESS: f64 = 0.02;

/// What is trained in without a look at the training. Integers have no gradients.
pub(super) fn of_choice(choice: PrecisionChoice) -> Precision {
    if choice == PrecisionChoice::BFloat16 { Precision::BFloat16 } else { Precision::Float32 }
}

/// Bfloat16, where the processor has instructions for it and the first steps of a training have losses like those in single
/// precision; else single precision.
///
/// # Errors
/// As a training's.
pub(super) fn automatic(cell: &Cell<'_>, setting: &Setting<'_>, context: &Context<'_>) -> Result<Precision> {
    if !is_native() {
        context.progress.message("precision: f32, for this processor has no instructions for bf16");
        return Ok(Precision::Float32);
    }
    context.progress.start("comparing bf16 with f32", 2 * STEPS as u64);
    let losses = |precision| losses(cell, &Setting { precision, ..*setting }, context);
    let keeps = keeps_loss(losses(Precision::Float32)?, losses(Precision::BFloat16)?);
    context.progress.finish();
    let (precision, what) = match keeps {
        true => (Precision::BFloat16, "keep"),
        false => (Precision::Float32, "do not keep"),
    };
    let name = precision.name();
    context
        .progress
        .message(&format!("precision: {name}, for the first steps in bf16 {what} the loss of f32"));
    Ok(precision)
}

fn is_native() -> bool {
    Precision::BFloat16.is_native(InstructionSet::detect())
}

/// Says so where bfloat16 is asked for and only costs time.
pub(super) fn warn_of_emulation(choice: PrecisionChoice, context: &Context<'_>) {
    if choice == PrecisionChoice::BFloat16 && !is_native() {
        context.progress.message(
            "warning: this processor has no instructions for bf16; a training in it is slower than in f32",
        );
    }
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
    fn integers_are_not_trained_in() {
        assert_eq!(of_choice(PrecisionChoice::Int8), Precision::Float32);
        assert_eq!(of_choice(PrecisionChoice::BFloat16), Precision::BFloat16);
    }
}
