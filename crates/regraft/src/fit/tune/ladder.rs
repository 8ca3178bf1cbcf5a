//! `auto`: from the linear probe upwards, to the last method that is worth its cost.
//!
//! A method is kept if the log-loss that it has on images that it was not trained on, after the temperature that suits it, is
//! lower than that of the method kept before by more than one standard error of the paired differences. All of it happens inside
//! the training part, fold by fold. The probe's head is for each fold the one that the others choose: the best of many by the same
//! images that judge it would look better than it is. A method that loses more than one standard error on the first fold, or
//! anything on three, is left, for it would have to make up for that on the others; one that has gained more than three standard
//! errors on one fold, or two on two, needs no more. What is within an error of the method before goes on, for a fold is a few
//! images where there are not many (100 digits: on a fold of 20 all of the network loses half an error against the probe, and gains
//! 6 points of accuracy on 1,000 others). One that is left does not end the climb: what trains too little of a source says nothing
//! about what trains more (emoji, one split: the last block alone loses 6 points of accuracy against the probe, and all of the
//! network gains 6).

use ndarray::{ArrayView2, Axis, concatenate};
use regraft_adapt::Selection;
use regraft_report::record::{EpochRecord, IngredientRecord, RungRecord};
use regraft_system::clock::Stopwatch;

use super::Tuning;
use super::cell::Finished;
use super::config::Method;
use super::rung::Rung;
use crate::fit::judged::Judged;
use crate::{Context, Error, Result};

/// Methods by what they cost. The last one begins with a random head, whose errors move the source's layers further: that pays
/// where the images are far from the source's (100 digits: 85 % of 1,000 test images, 78 with lp-ft and 79 with the probe).
/// [`Method::BnAffine`] and [`Method::Bias`] are not among them: their gradients go back to the first layer, which costs two thirds
/// of what [`Method::LpFt`] costs.
const LADDER: [Method; 3] = [Method::LastBlock, Method::LpFt, Method::Full];

/// The method that the climb ended with.
pub(super) struct Climbed<'a> {
    /// `None` for the linear probe.
    pub(super) rung: Option<Rung<'a>>,
    /// The temperature of its answers to images that it was not trained on.
    pub(super) temperature: f64,
    /// Share of the trained weights that suited those images best.
    pub(super) share: f64,
    /// Epochs that it needed, where trainings may end early.
    pub(super) needed: Option<usize>,
    /// Its training on all images, where that was the one that was judged.
    pub(super) finished: Option<Finished>,
    pub(super) epochs: Vec<EpochRecord>,
    /// The trainings that a soup was made of; empty for no soup.
    pub(super) soup: Vec<IngredientRecord>,
    pub(super) ladder: Vec<RungRecord>,
}

/// Climbs.
///
/// # Errors
/// As those of the trainings.
pub(super) fn climb<'a>(
    tuning: &'a Tuning<'a>,
    linear: &'a Selection,
    context: &Context<'_>,
) -> Result<Climbed<'a>> {
    let mut best = Judged::of_independent_choice(tuning.dataset, tuning.probe)?;
    let mut climbed = Climbed {
        rung: None,
        temperature: best.temperature,
        share: 1.0,
        needed: None,
        finished: None,
        epochs: Vec::new(),
        soup: Vec::new(),
        ladder: vec![RungRecord { is_kept: true, ..record(Method::Probe, &best, None, 0.0) }],
    };
    for method in LADDER {
        let watch = Stopwatch::start();
        if tuning.deadline().is_some_and(|deadline| deadline.is_over()) {
            let reason = "not tried: the time limit is over".to_owned();
            climbed.ladder.push(RungRecord { reason, ..RungRecord::of(method.name()) });
            continue;
        }
        let rung = match Rung::open(tuning, method, linear, context) {
            Ok(rung) => rung,
            Err(Error::Usage(reason)) => {
                climbed.ladder.push(RungRecord { reason, ..RungRecord::of(method.name()) });
                continue;
            }
            Err(error) => return Err(error),
        };
        let Trial { judged, finished, epochs, share, needed, decision } =
            trial(tuning, &rung, &best, context)?;
        climbed.epochs.extend(epochs);
        let reason = decision.reason();
        let row = record(method, &judged, Some(decision.gain), watch.seconds());
        context.progress.message(&format!("{}: {reason}", method.name()));
        climbed.ladder.push(RungRecord { is_kept: decision.is_kept, reason, ..row });
        if !decision.is_kept {
            continue;
        }
        (climbed.rung, climbed.finished) = (Some(rung), finished);
        (climbed.temperature, climbed.share, climbed.needed) = (judged.temperature, share, needed);
        best = judged;
    }
    Ok(climbed)
}

/// What the trainings of a method on a part of the images gave.
struct Trial {
    judged: Judged,
    finished: Option<Finished>,
    epochs: Vec<EpochRecord>,
    /// Mean over the folds.
    share: f64,
    /// Mean over the folds, where trainings may end early.
    needed: Option<usize>,
    decision: Decision,
}

fn trial(tuning: &Tuning<'_>, rung: &Rung<'_>, best: &Judged, context: &Context<'_>) -> Result<Trial> {
    let split = &tuning.dataset.split;
    if !split.validation.is_empty() {
        let finished = rung.on_all(None, context)?;
        let judged =
            Judged::of(tuning.dataset, finished.validation.clone(), finished.validation_logits.view())?;
        let (epochs, share, needed) = (finished.epochs.clone(), finished.share, finished.needed);
        let decision = Decision::at_the_end(Gain::over(best, &judged)).unless_late(finished.is_late);
        return Ok(Trial { judged, finished: Some(finished), epochs, share, needed, decision });
    }
    let folds = folds_of(best, tuning);
    let (mut positions, mut logits, mut epochs, mut shares) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
    let mut needs = Vec::new();
    for fold in 0..folds {
        let name = format!("{}-fold-{}", rung.method.name(), fold + 1);
        let Finished { validation, validation_logits, epochs: of_fold, share, needed, is_late, .. } =
            rung.without_fold(fold, &name, context)?;
        shares += share;
        needs.extend(needed);
        positions.extend(validation);
        logits.push(validation_logits);
        epochs.extend(of_fold);
        let views: Vec<ArrayView2<'_, f32>> = logits.iter().map(|rows| rows.view()).collect();
        let all = concatenate(Axis(0), &views).map_err(Error::model)?;
        let judged = Judged::of(tuning.dataset, positions.clone(), all.view())?;
        let gain = Gain::over(best, &judged);
        let late = is_late.then(|| Decision::at_the_end(gain).unless_late(true));
        if let Some(decision) = late.or_else(|| Decision::after(gain, fold + 1, folds)) {
            let share = shares / (fold + 1) as f64;
            return Ok(Trial { judged, finished: None, epochs, share, needed: mean(&needs), decision });
        }
    }
    Err(Error::Data("there are no folds to judge by".to_owned()))
}

/// How many of the folds, from the first on, have been answered.
fn folds_of(judged: &Judged, tuning: &Tuning<'_>) -> usize {
    let split = &tuning.dataset.split;
    let answered = |fold: usize| {
        let mut of_fold = split.train.iter().zip(&split.folds).filter(|(_, found)| **found == fold);
        of_fold.any(|(position, _)| judged.positions.binary_search(position).is_ok())
    };
    (0..).take_while(|fold| answered(*fold)).count()
}

/// To the nearest whole number.
fn mean(numbers: &[usize]) -> Option<usize> {
    let sum: usize = numbers.iter().sum();
    (2 * sum + numbers.len()).checked_div(2 * numbers.len())
}

/// How much lower the log-loss is, on the images that both have answered.
#[derive(Clone, Copy)]
struct Gain {
    mean: f64,
    standard_error: f64,
}

impl Gain {
    fn over(before: &Judged, after: &Judged) -> Self {
        let loss = |judged: &Judged, position: &usize| {
            let place = judged.positions.binary_search(position).ok()?;
            judged.losses.get(place).copied()
        };
        let both = after
            .positions
            .iter()
            .filter_map(|position| Some(loss(before, position)? - loss(after, position)?));
        let differences: Vec<f64> = both.collect();
        let count = differences.len().max(1) as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let variance =
            differences.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
        Self { mean, standard_error: (variance / count).sqrt() }
    }

    fn in_words(self) -> String {
        let direction = if self.mean < 0.0 { "higher" } else { "lower" };
        let (mean, error) = (self.mean.abs(), self.standard_error);
        format!("log-loss {direction} by {mean:.3}, standard error {error:.3}")
    }
}

/// Folds, and standard errors on them, from which on a gain needs no more folds.
const CLEAR: [(usize, f64); 2] = [(1, 3.0), (2, 2.0)];

/// The same of a loss.
const HOPELESS: [(usize, f64); 2] = [(1, 1.0), (3, 0.0)];

/// Whether a method is kept, and on what grounds.
#[derive(Clone, Copy)]
struct Decision {
    gain: Gain,
    is_kept: bool,
    /// Folds that were tried, of so many; `None` where all images have judged.
    folds: Option<[usize; 2]>,
    /// Whether it was stopped because of the time limit.
    is_late: bool,
}

impl Decision {
    /// Where all images have judged.
    fn at_the_end(gain: Gain) -> Self {
        Self { gain, is_kept: gain.mean > gain.standard_error, folds: None, is_late: false }
    }

    /// Not kept where the trainings were stopped.
    fn unless_late(self, is_late: bool) -> Self {
        Self { is_kept: self.is_kept && !is_late, is_late, ..self }
    }

    /// After some of the folds; `None` where more are needed.
    fn after(gain: Gain, tried: usize, of: usize) -> Option<Self> {
        let exceeds = |bounds: [(usize, f64); 2], value: f64| {
            let mut bounds = bounds.into_iter().filter(|(folds, _)| tried >= *folds);
            bounds.any(|(_, errors)| value > errors * gain.standard_error)
        };
        let is_clear = exceeds(CLEAR, gain.mean);
        let (folds, is_late) = (Some([tried, of]), false);
        match (tried == of, exceeds(HOPELESS, -gain.mean), is_clear) {
            (true, ..) => Some(Self::at_the_end(gain)),
            (_, true, _) => Some(Self { gain, is_kept: false, folds, is_late }),
            (_, _, true) => Some(Self { gain, is_kept: true, folds, is_late }),
            _ => None,
        }
    }

    fn reason(self) -> String {
        if self.is_late {
            return "not kept: its trainings would end after the time limit".to_owned();
        }
        let verdict = if self.is_kept { "kept" } else { "not kept" };
        let numbers = self.gain.in_words();
        match self.folds {
            Some([tried, of]) => format!("{verdict} after {tried} of {of} folds: {numbers}"),
            None => format!("{verdict}: {numbers}"),
        }
    }
}

fn record(method: Method, judged: &Judged, gain: Option<Gain>, seconds: f64) -> RungRecord {
    RungRecord {
        accuracy: judged.accuracy(),
        log_loss: judged.log_loss(),
        gain: gain.map_or(f64::NAN, |gain| gain.mean),
        standard_error: gain.map_or(f64::NAN, |gain| gain.standard_error),
        images: judged.positions.len(),
        seconds,
        ..RungRecord::of(method.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(positions: &[usize], losses: &[f64]) -> Judged {
        let (positions, losses) = (positions.to_vec(), losses.to_vec());
        Judged { positions, losses, ..Judged::default() }
    }

    #[test]
    fn means_are_whole() {
        assert_eq!([&[][..], &[4], &[1, 2], &[1, 1, 2]].map(mean), [None, Some(4), Some(2), Some(1)]);
    }

    #[test]
    fn gains_are_paired_by_image() {
        let before = judged(&[1, 4, 7, 9], &[1.0, 2.0, 3.0, 4.0]);
        let gain = Gain::over(&before, &judged(&[4, 9], &[1.5, 3.0]));
        assert!((gain.mean - 0.75).abs() < 1e-12);
        // Deviations of ±0.25, so a variance of 0.125 over 2.
        assert!((gain.standard_error - 0.25).abs() < 1e-12);
        let decision = Decision::at_the_end(gain);
        assert!(decision.is_kept && decision.reason().starts_with("kept: log-loss lower by 0.750"));
        let none = Gain::over(&before, &judged(&[4, 9], &[2.0, 4.0]));
        assert!(!Decision::at_the_end(none).is_kept);
    }

    #[test]
    fn what_is_clear_needs_no_more_folds() {
        let after = |mean: f64, tried: usize| {
            let gain = Gain { mean, standard_error: 0.1 };
            Decision::after(gain, tried, 5).map(|decision| decision.is_kept)
        };
        assert_eq!([after(-0.11, 1), after(-0.09, 1), after(0.05, 1)], [Some(false), None, None]);
        assert_eq!([after(-0.09, 2), after(-0.01, 3), after(0.05, 3)], [None, Some(false), None]);
        assert_eq!([after(0.29, 1), after(0.31, 1)], [None, Some(true)]);
        assert_eq!([after(0.15, 2), after(0.21, 2)], [None, Some(true)]);
        assert_eq!([after(0.05, 5), after(0.15, 5)], [Some(false), Some(true)]);
        let decision = Decision::after(Gain { mean: -0.2, standard_error: 0.1 }, 1, 5).unwrap();
        assert_eq!(
            decision.reason(),
            "not kept after 1 of 5 folds: log-loss higher by 0.200, standard error 0.100"
        );
    }
}
