//! `auto`: from the linear probe upwards, as long as the next method is worth its cost.
//!
//! A method is kept if the log-loss that it has on images that it was not trained on, after the temperature that suits it, is
//! lower than that of the method before by more than one standard error of the paired differences; the first that is not ends
//! the climb. All of it happens inside the training part. A method that is no better on the first fold is not tried on the
//! others: it would have to make up for that there.

use ndarray::{ArrayView2, Axis, concatenate};
use regraft_adapt::Selection;
use regraft_report::record::{EpochRecord, RungRecord};
use regraft_system::clock::Stopwatch;

use super::Tuning;
use super::cell::Finished;
use super::config::Method;
use super::rung::Rung;
use crate::fit::judged::Judged;
use crate::{Context, Error, Result};

/// Methods by what they cost.
const LADDER: [Method; 3] = [Method::BnAffine, Method::LastBlock, Method::LpFt];

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
    let mut best = Judged::of_selection(tuning.dataset, tuning.probe)?;
    let mut climbed = Climbed {
        rung: None,
        temperature: best.temperature,
        share: 1.0,
        needed: None,
        finished: None,
        epochs: Vec::new(),
        ladder: vec![RungRecord { is_kept: true, ..record(Method::Probe, &best, None, 0.0) }],
    };
    for method in LADDER {
        let watch = Stopwatch::start();
        let rung = match Rung::open(tuning, method, linear, context) {
            Ok(rung) => rung,
            Err(Error::Usage(reason)) => {
                climbed.ladder.push(RungRecord { reason, ..RungRecord::of(method.name()) });
                continue;
            }
            Err(error) => return Err(error),
        };
        let Trial { judged, finished, epochs, share, needed, is_whole } =
            trial(tuning, &rung, &best, context)?;
        climbed.epochs.extend(epochs);
        let gain = Gain::over(&best, &judged);
        let is_kept = is_whole && gain.is_worth_it();
        let reason = gain.reason(is_whole);
        let row = record(method, &judged, Some(gain), watch.seconds());
        context.progress.message(&format!("{}: {reason}", method.name()));
        climbed.ladder.push(RungRecord { is_kept, reason, ..row });
        if !is_kept {
            break;
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
    /// Whether all folds were tried.
    is_whole: bool,
}

fn trial(tuning: &Tuning<'_>, rung: &Rung<'_>, best: &Judged, context: &Context<'_>) -> Result<Trial> {
    let split = &tuning.dataset.split;
    if !split.validation.is_empty() {
        let finished = rung.on_all(None, context)?;
        let judged =
            Judged::of(tuning.dataset, finished.validation.clone(), finished.validation_logits.view())?;
        let (epochs, share, needed) = (finished.epochs.clone(), finished.share, finished.needed);
        return Ok(Trial { judged, finished: Some(finished), epochs, share, needed, is_whole: true });
    }
    let folds = split.folds.iter().max().map_or(0, |last| last + 1);
    let (mut positions, mut logits, mut epochs, mut shares) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
    let mut needs = Vec::new();
    for fold in 0..folds {
        let name = format!("{}-fold-{}", rung.method.name(), fold + 1);
        let Finished { validation, validation_logits, epochs: of_fold, share, needed, .. } =
            rung.without_fold(fold, &name, context)?;
        shares += share;
        needs.extend(needed);
        positions.extend(validation);
        logits.push(validation_logits);
        epochs.extend(of_fold);
        let views: Vec<ArrayView2<'_, f32>> = logits.iter().map(|rows| rows.view()).collect();
        let all = concatenate(Axis(0), &views).map_err(Error::model)?;
        let judged = Judged::of(tuning.dataset, positions.clone(), all.view())?;
        let is_whole = fold + 1 == folds;
        if is_whole || (fold == 0 && Gain::over(best, &judged).mean <= 0.0) {
            let share = shares / (fold + 1) as f64;
            return Ok(Trial { judged, finished: None, epochs, share, needed: mean(&needs), is_whole });
        }
    }
    Err(Error::Data("there are no folds to judge by".to_owned()))
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

    fn is_worth_it(self) -> bool {
        self.mean > self.standard_error
    }

    fn reason(self, is_whole: bool) -> String {
        let direction = if self.mean < 0.0 { "higher" } else { "lower" };
        let numbers = format!(
            "log-loss {direction} by {:.3}, standard error {:.3}",
            self.mean.abs(),
            self.standard_error
        );
        match (is_whole, self.is_worth_it()) {
            (true, true) => format!("kept: {numbers}"),
            (true, false) => format!("not kept: {numbers}"),
            (false, _) => format!("not kept: no gain on the first fold ({numbers})"),
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
        assert!(gain.is_worth_it() && gain.reason(true).starts_with("kept"));
        let none = Gain::over(&before, &judged(&[4, 9], &[2.0, 4.0]));
        assert!(!none.is_worth_it());
    }
}
