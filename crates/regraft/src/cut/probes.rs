//! A head on every cut, judged by the same folds.

use ndarray::Array2;
use regraft_adapt::HeadKind;
use regraft_eval::intervals::proportion;
use regraft_eval::selection::{Selection, one_standard_error};
use regraft_report::record::{CutRecord, Estimate};

use super::cost::Cost;
use crate::fit::dataset::{Dataset, Tapped};
use crate::fit::heads;
use crate::fit::judged::Judged;
use crate::{Context, Error, Result};

/// Confidence of the intervals of the accuracies.
const CONFIDENCE: f64 = 0.95;

/// Training images of a class, on average, from which on the earliest of equally good cuts is taken: a head on fewer numbers
/// that are more general. With fewer, log-losses tell cuts apart too badly for that.
const ENOUGH: usize = 10;

/// A head on a cut.
pub(super) struct Probe {
    pub(super) head: heads::Judged,
    /// Its answers to images that it was not fitted to.
    pub(super) judged: Judged,
    dimensions: usize,
}

/// Heads on all cuts of the source, and of the same network with random weights.
pub(super) struct Probes {
    pub(super) trained: Vec<Probe>,
    random: Vec<Probe>,
}

/// Which cut, and why.
pub(super) struct Choice {
    pub(super) chosen: usize,
    pub(super) best: usize,
    /// Empty where there was one cut alone.
    pub(super) reason: String,
    /// For each cut how much its log-loss is above that of the best one, and the standard error of that.
    excess: Vec<(f64, f64)>,
}

impl Probes {
    /// Fits and judges them.
    pub(super) fn judge(
        dataset: &Dataset,
        taps: &[Tapped],
        kinds: &[HeadKind],
        context: &Context<'_>,
    ) -> Result<Self> {
        context.progress.start("judging a head on every cut", 2 * taps.len() as u64);
        let probe = |features: &Array2<f32>| {
            if context.progress.interrupted() {
                return Err(Error::Interrupted);
            }
            let head = heads::choose(dataset, features, kinds)?;
            let judged = Judged::of_selection(dataset, &head.selection)?;
            context.progress.advance(1);
            Ok(Probe { head, judged, dimensions: features.ncols() })
        };
        let trained = taps.iter().map(|tap| probe(&tap.trained)).collect::<Result<_>>()?;
        let random = taps.iter().map(|tap| probe(&tap.random)).collect::<Result<_>>()?;
        context.progress.finish();
        Ok(Self { trained, random })
    }

    /// By the one-standard-error rule on the log-loss.
    pub(super) fn choose(&self, dataset: &Dataset) -> Result<Choice> {
        let count = self.trained.len();
        let images = self.trained.first().map_or(0, |probe| probe.judged.losses.len());
        let losses = self.trained.iter().flat_map(|probe| probe.judged.losses.iter().map(|loss| -loss));
        let scores = Array2::from_shape_vec((count, images), losses.collect()).map_err(Error::data)?;
        let prefers_early = dataset.split.train.len() >= ENOUGH * dataset.classes.len();
        let place = |index: usize| if prefers_early { index } else { count - 1 - index };
        let ordered: Vec<usize> = (0..count).map(place).collect();
        let Selection { chosen, best, table } =
            one_standard_error(scores.select(ndarray::Axis(0), &ordered).view()).map_err(Error::data)?;
        let excess =
            |index: usize| table.get(place(index)).map(|line| (line.deficit, line.deficit_standard_error));
        let (order, why) = if prefers_early {
            ("first", "it leaves the smallest and fastest network")
        } else {
            ("last", "with so few images of a class the heads cannot tell them apart better")
        };
        let judged = if dataset.split.validation.is_empty() {
            "in cross-validation"
        } else {
            "on the validation images"
        };
        let reason = format!(
            "The {order} cut whose log-loss {judged} is within one standard error of the lowest, on the same images: \
             {why}."
        );
        // One cut alone is no choice.
        let reason = if count > 1 { reason } else { String::new() };
        let excess = (0..count).map(|index| excess(index).unwrap_or((f64::NAN, f64::NAN))).collect();
        Ok(Choice { chosen: place(chosen), best: place(best), reason, excess })
    }

    /// Share of the most frequent class among the images that judge.
    pub(super) fn chance(&self, dataset: &Dataset) -> f64 {
        let judged = self.trained.first().map(|probe| dataset.labels_at(&probe.judged.positions));
        let labels = judged.unwrap_or_default();
        let of = |class: usize| labels.iter().filter(|label| **label == class).count();
        let most = (0..dataset.classes.len()).map(of).max().unwrap_or(0);
        most as f64 / labels.len().max(1) as f64
    }

    /// What the report is told of each cut.
    pub(super) fn records(&self, cuts: &[String], choice: &Choice, costs: &[Cost]) -> Result<Vec<CutRecord>> {
        let pairs = self.trained.iter().zip(&self.random).zip(cuts).zip(costs.iter().zip(&choice.excess));
        let record = |(index, (((probe, random), wire), (cost, excess)))| {
            let (probe, random): (&Probe, &Probe) = (probe, random);
            let (cost, (excess, excess_standard_error)): (&Cost, &(f64, f64)) = (cost, excess);
            Ok(CutRecord {
                wire: String::clone(wire),
                dimensions: probe.dimensions,
                parameters: cost.parameters,
                milliseconds: cost.milliseconds,
                accuracy: accuracy(&probe.judged)?,
                log_loss: probe.judged.log_loss(),
                excess: *excess,
                excess_standard_error: *excess_standard_error,
                random: accuracy(&random.judged)?,
                is_best: index == choice.best,
                is_chosen: index == choice.chosen,
                is_default: cost.is_default,
            })
        };
        pairs.enumerate().map(record).collect()
    }
}

fn accuracy(judged: &Judged) -> Result<Estimate> {
    let estimate = proportion(judged.right, judged.positions.len(), CONFIDENCE).map_err(Error::data)?;
    Ok(Estimate::new(estimate.value, estimate.low, estimate.high))
}
