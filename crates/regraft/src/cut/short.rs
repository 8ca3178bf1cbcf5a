//! A few epochs of fine-tuning behind the two best cuts: the best depth for a head on frozen features is not always the best
//! one to train from.

use ndarray::Array2;
use regraft_graph::Model;
use regraft_report::record::CutTuning;

use super::probes::{Choice, Probes};
use crate::fit::dataset::{Dataset, Tapped};
use crate::fit::tune::Tuning;
use crate::fit::unfinished::Unfinished;
use crate::{Context, FitConfig, Result};

/// What is tuned.
pub(super) struct Trials<'a> {
    pub(super) config: &'a FitConfig,
    pub(super) source: &'a Model,
    pub(super) cuts: &'a [String],
    pub(super) probes: &'a Probes,
}

impl Trials<'_> {
    /// Tunes behind the chosen cut and behind the best other one; gives the dataset back.
    ///
    /// # Errors
    /// As those of a training.
    pub(super) fn run(
        &self,
        mut dataset: Dataset,
        taps: &[Tapped],
        choice: &Choice,
        work: Option<&Unfinished>,
        context: &Context<'_>,
    ) -> Result<(Dataset, Vec<CutTuning>)> {
        let mut tuned = Vec::new();
        let Some(work) = work else { return Ok((dataset, tuned)) };
        for cut in self.two(choice) {
            let Some(tap) = taps.get(cut) else { continue };
            dataset.features = tap.trained.clone();
            tuned.extend(self.one(cut, &dataset, work, context)?);
        }
        dataset.features = Array2::default([0, 0]);
        Ok((dataset, tuned))
    }

    /// The chosen cut, and of the others the one of the lowest log-loss.
    fn two(&self, choice: &Choice) -> Vec<usize> {
        let loss =
            |index: &usize| self.probes.trained.get(*index).map_or(f64::NAN, |probe| probe.judged.log_loss());
        let others = (0..self.cuts.len()).filter(|index| *index != choice.chosen);
        let other = others.min_by(|a, b| loss(a).total_cmp(&loss(b)));
        [choice.chosen].into_iter().chain(other).collect()
    }

    fn one(
        &self,
        cut: usize,
        dataset: &Dataset,
        work: &Unfinished,
        context: &Context<'_>,
    ) -> Result<Option<CutTuning>> {
        let (Some(wire), Some(probe)) = (self.cuts.get(cut), self.probes.trained.get(cut)) else {
            return Ok(None);
        };
        let tuning = Tuning {
            config: self.config,
            dataset,
            source: self.source,
            cut: wire,
            boundary: wire,
            probe: &probe.head.selection,
            probe_answers: &probe.head.test_probabilities,
            work,
            part: &format!("cut-{}", cut + 1),
        };
        context.progress.message(&format!("tuning behind {wire}"));
        let trial = tuning.trial(self.config.method, context)?;
        Ok(Some(CutTuning {
            wire: wire.clone(),
            epochs: self.config.tuning.epochs,
            images: trial.after.positions.len(),
            accuracy_before: trial.before.accuracy(),
            accuracy_after: trial.after.accuracy(),
            log_loss_before: trial.before.log_loss(),
            log_loss_after: trial.after.log_loss(),
            seconds: trial.seconds,
        }))
    }
}
