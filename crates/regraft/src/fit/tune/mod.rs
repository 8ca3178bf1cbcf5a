//! Tuning: what of the source model a method trains is trained, from the linear probe or a new head on.
//!
//! A run is made of trainings: some where a part of the training images judges, for the temperature and for `auto`'s choice,
//! and one on all of them, which gives the model. Where the data has a validation part of its own, one training does both. For a soup
//! there are several of each.

mod alone;
mod average;
mod boundary;
mod cell;
mod checkpoint;
mod config;
mod deadline;
mod finder;
pub(crate) mod history;
mod images;
mod ladder;
mod learning_rate;
mod network;
mod parameters;
mod plan;
mod precision;
mod regulariser;
mod rung;
mod soup;
mod source_head;
mod surgical;

use std::path::PathBuf;

use ndarray::{Array2, Axis};
use regraft_adapt::{Head, HeadKind, Selection, fit_fixed};
use regraft_engine::KERNELS;
use regraft_eval::calibration::fit_temperature;
use regraft_graph::Model;
use regraft_report::record::TuningRecord;
use regraft_system::clock::Stopwatch;
use regraft_system::hash::KeyHasher;

pub(crate) use alone::Alone;
pub use config::{Method, NormStatistics, OptimizerChoice, ScheduleChoice, TuningConfig};
pub use learning_rate::LearningRate;

use super::dataset::{Dataset, at, rows};
use super::graft::{graft, with_empty_head};
use super::heads::{choose, examples};
use super::judged::Judged;
use super::unfinished::Unfinished;
use crate::cache::Cache;
use crate::ingest::{Ingest, fingerprint};
use crate::judge::probabilities;
use crate::precision::FrozenPrecision;
use crate::source::resolve_cut;
use crate::{Context, Error, FitConfig, Result};
use deadline::Deadline;
use ladder::{Climbed, climb};
use plan::Plan;
use rung::Rung;
use soup::{cook, cook_on_all};
use source_head::with_source_head;

/// A tuned model and what it says about the test set.
pub(crate) struct Tuned {
    /// The whole network, with the temperature in its head.
    pub(crate) model: Model,
    pub(crate) temperature: f64,
    /// Test rows × classes.
    pub(crate) test_probabilities: Array2<f64>,
    pub(crate) record: TuningRecord,
}

/// What is tuned, and where.
pub(crate) struct Tuning<'a> {
    pub(crate) config: &'a FitConfig,
    pub(crate) dataset: &'a Dataset,
    pub(crate) source: &'a Model,
    /// The wire behind which the head goes.
    pub(crate) cut: &'a str,
    /// The wire behind which [`Method::Partial`] trains.
    pub(crate) boundary: &'a str,
    /// The head that was chosen for frozen features.
    pub(crate) probe: &'a Selection,
    /// What it says about the test set.
    pub(crate) probe_answers: &'a Array2<f64>,
    /// Where checkpoints and the training's log go.
    pub(crate) work: &'a Unfinished,
    /// The folder of the checkpoints in there, where several networks are tuned.
    pub(crate) part: &'a str,
}

/// A head before and after a training, on the same images, which neither has learned from.
pub(crate) struct Trial {
    pub(crate) before: Judged,
    pub(crate) after: Judged,
    /// Of the training's epochs, also by processes that were stopped.
    pub(crate) seconds: f64,
}

/// Refuses what can be known to go wrong before any image is read: a method that has nothing to train, an operator without a
/// gradient, a rank that is too large, a step that does not fit into memory.
///
/// # Errors
/// Any of these.
pub(crate) fn check(config: &FitConfig, source: &Model, cut: &str, classes: &[String]) -> Result<()> {
    if matches!(config.method, Method::Probe | Method::Auto) {
        return Ok(());
    }
    let boundary = resolve_cut(source, &config.cut)?;
    let model = with_source_head(&with_empty_head(source, cut, classes)?, source, config.method)?;
    let plan = Plan::new(&model, config.method, &boundary, config.tuning.rank)?;
    network::check(&model, &plan, config)
}

/// Near the end of the range that temperatures are looked for in, 0.01 to 100.
const LEAST_TEMPERATURE: f64 = 0.0101;

/// Images that judge where the data has no validation part: those of the first fold.
const JUDGING_FOLD: usize = 0;

/// Name of the training where a part of the training images judges.
const VALIDATION: &str = "validation";

impl Tuning<'_> {
    /// Trains.
    ///
    /// # Errors
    /// The method has nothing to train, an operator has no gradient, the training diverges, memory runs out, a file can no
    /// longer be read, or the user has asked to stop.
    pub(crate) fn run(&self, context: &Context<'_>) -> Result<Tuned> {
        let watch = Stopwatch::start();
        let seconds = || self.work.earlier_seconds() + watch.seconds();
        self.work.check_identity(&identity(self.source, self.dataset)?)?;
        precision::tell_of_emulation(self.config.precision, context);
        let linear = self.linear_probe()?;
        let climbed = match self.config.method {
            Method::Auto => climb(self, &linear, context)?,
            method => self.judged(method, &linear, context)?,
        };
        let Climbed { rung, temperature, share, needed, finished, mut epochs, soup, ladder } = climbed;
        let Some(rung) = rung else {
            let (history, seconds) = (epochs, seconds());
            return self.probe_alone(TuningRecord { history, ladder, seconds, ..self.probe_record() });
        };
        let finished = match finished {
            Some(finished) => finished,
            None => {
                let finished = match soup.is_empty() {
                    true => rung.on_all(needed, context)?,
                    false => cook_on_all(&rung, &soup, context)?,
                };
                epochs.extend(finished.epochs.iter().cloned());
                finished
            }
        };
        if temperature <= LEAST_TEMPERATURE || temperature >= 1.0 / LEAST_TEMPERATURE {
            context.progress.message(&format!(
                "warning: the temperature of the probabilities is {temperature:.2}, at its bound: the images that judged are too few, or \
                 the training has gone wrong; do not trust the probabilities"
            ));
        }
        let model = rung.whole(&finished, (share, temperature))?;
        let test_probabilities = self.answers(&model, context)?;
        let wise_ft_share = self.config.tuning.wise_ft.then_some(share);
        let seconds = seconds();
        let record = TuningRecord { ladder, soup, wise_ft_share, seconds, ..rung.record(epochs, needed) };
        Ok(Tuned { model, temperature, test_probabilities, record })
    }

    /// The probe, if it is linear; else the best linear one. Its head has not seen the images that judge: those of a validation
    /// part are left out, as those of a fold are where there is none.
    fn linear_probe(&self) -> Result<Selection> {
        let selection = if matches!(self.probe.head, Head::Linear(_)) {
            self.probe.clone()
        } else {
            choose(self.dataset, &self.dataset.features, &[HeadKind::LogisticRegression])?.selection
        };
        let split = &self.dataset.split;
        if split.validation.is_empty() {
            return Ok(selection);
        }
        self.fitted_to(&selection, &split.train)
    }

    /// The same kind of head fitted to these images.
    fn fitted_to(&self, selection: &Selection, positions: &[usize]) -> Result<Selection> {
        let features = rows(&self.dataset.features, positions);
        let examples = examples(&features, &self.dataset.labels_at(positions), self.dataset)?;
        let head = fit_fixed(selection.kind, selection.hyper_parameter, &examples).map_err(Error::data)?;
        Ok(Selection { head, ..selection.clone() })
    }

    /// When `auto` should be over.
    fn deadline(&self) -> Option<Deadline<'_>> {
        let (minutes, split) = (self.config.tuning.time_limit?, &self.dataset.split);
        // With a validation part the training that is judged is the one on all images.
        let following =
            if split.validation.is_empty() { split.train.len() * self.config.tuning.epochs } else { 0 };
        Some(Deadline { work: self.work, seconds: 60.0 * minutes, following })
    }

    /// A training from the linear probe on that the validation part judges, or else one fold, beside the probe without it.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn trial(&self, method: Method, context: &Context<'_>) -> Result<Trial> {
        let linear = self.linear_probe()?;
        let rung = Rung::open(self, method, &linear, context)?;
        let split = &self.dataset.split;
        let (finished, probe) = if split.validation.is_empty() {
            let finished = rung.without_fold(JUDGING_FOLD, VALIDATION, context)?;
            let others = split.train.iter().filter(|place| !finished.validation.contains(place));
            let others: Vec<usize> = others.copied().collect();
            (finished, self.fitted_to(&linear, &others)?)
        } else {
            (rung.on_all(None, context)?, linear)
        };
        let features = rows(&self.dataset.features, &finished.validation);
        let logits = probe.head.logits(features.view()).map_err(Error::data)?;
        let judged = |logits: ndarray::ArrayView2<'_, f32>| {
            Judged::of(self.dataset, finished.validation.clone(), logits)
        };
        let [before, after] = [logits.view(), finished.validation_logits.view()].map(judged);
        let seconds = finished.epochs.iter().map(|epoch| epoch.seconds).sum();
        Ok(Trial { before: before?, after: after?, seconds })
    }

    /// One method, judged by the validation part or by one fold.
    fn judged<'a>(
        &'a self,
        method: Method,
        linear: &'a Selection,
        context: &Context<'_>,
    ) -> Result<Climbed<'a>> {
        let rung = Rung::open(self, method, linear, context)?;
        let has_validation = !self.dataset.split.validation.is_empty();
        let part =
            if has_validation { rung.all() } else { rung.part_without_fold(JUDGING_FOLD, VALIDATION)? };
        let (judged, soup) = match self.config.tuning.soup {
            Some(count) => cook(&rung, &part, count, context)?,
            None => (rung.train(&part, (0, None), context)?, Vec::new()),
        };
        let judged = rung.best_mixture(&part, judged)?;
        let labels = self.dataset.labels_at(&judged.validation);
        let logits = judged.validation_logits.mapv(f64::from);
        let temperature = fit_temperature(logits.view(), &labels).map_err(Error::data)?;
        let (epochs, share, needed) = (judged.epochs.clone(), judged.share, judged.needed);
        let finished = has_validation.then_some(judged);
        let (rung, ladder) = (Some(rung), Vec::new());
        Ok(Climbed { rung, temperature, share, needed, finished, epochs, soup, ladder })
    }

    /// What the report is told where nothing was trained in the end.
    fn probe_record(&self) -> TuningRecord {
        let (method, features) = (Method::Probe, &self.dataset.precision.record);
        let is_other = features.asked != features.used;
        let reason =
            is_other.then(|| format!("{} was for trainings, of which none was kept", features.asked));
        TuningRecord {
            method: method.name().to_owned(),
            method_in_words: method.in_words().to_owned(),
            precision: features.used.clone(),
            precision_reason: reason.unwrap_or_default(),
            ..TuningRecord::default()
        }
    }

    /// The linear probe, where nothing else was worth its cost.
    fn probe_alone(&self, record: TuningRecord) -> Result<Tuned> {
        let model = graft(self.source, self.cut, self.probe, self.dataset)?;
        let (temperature, test_probabilities) = (self.probe.temperature, self.probe_answers.clone());
        Ok(Tuned { model, temperature, test_probabilities, record })
    }

    /// Class probabilities of the test images, computed as `regraft predict` computes them.
    fn answers(&self, model: &Model, context: &Context<'_>) -> Result<Array2<f64>> {
        let items = at(&self.dataset.items, &self.dataset.split.test);
        let paths: Vec<PathBuf> = items.into_iter().map(|item| item.path).collect();
        let ingest = Ingest::answering(model, &FrozenPrecision::Float32, &Cache::disabled(), context)?;
        context.progress.start("judging", paths.len() as u64);
        let ingested = ingest.run(&paths)?;
        context.progress.finish();
        if let Some((path, Err(reason))) = paths.iter().zip(&ingested.files).find(|(_, file)| file.is_err()) {
            return Err(Error::Data(format!("{}: {reason}", path.display())));
        }
        let logits = ingested.features.into_iter().next().unwrap_or_default();
        probabilities(&logits, 1.0)
    }
}

/// A hash of everything that determines the trainings beside the configuration and the processor's instructions.
pub(crate) fn identity(source: &Model, dataset: &Dataset) -> Result<String> {
    let Dataset { contents, labels, label_file, split, .. } = dataset;
    let numbers =
        |numbers: &[usize]| numbers.iter().flat_map(|n| (*n as u64).to_le_bytes()).collect::<Vec<u8>>();
    let key = KeyHasher::new()
        .field("source", fingerprint(source)?)
        .field("images", contents.concat())
        .field("labels", numbers(labels))
        .field("label file", label_file.as_deref().unwrap_or_default())
        .field("training", numbers(&split.train))
        .field("validation", numbers(&split.validation))
        .field("folds", numbers(&split.folds))
        .field("kernels", KERNELS.to_le_bytes());
    Ok(key.finish())
}

/// Share of rows whose largest logit is that of their label.
pub(crate) fn accuracy(logits: &Array2<f32>, labels: &[usize]) -> f64 {
    let answer =
        |row: ndarray::ArrayView1<'_, f32>| super::folder::largest(row.iter().map(|value| f64::from(*value)));
    let right = logits.axis_iter(Axis(0)).zip(labels).filter(|(row, label)| answer(*row) == **label);
    right.count() as f64 / labels.len().max(1) as f64
}
