//! A method at work on a run's images: what it trains, from where, and its trainings.

use std::path::PathBuf;

use ndarray::Array2;
use rand_distr::{Distribution as _, StandardNormal};
use regraft_adapt::Selection;
use regraft_adapt::training::{Targets, interpolate, softmax_cross_entropy};
use regraft_graph::{Model, ParameterKind, Tensor};
use regraft_report::record::{EpochRecord, RangeTestRecord, RatePoint, TuningRecord};
use regraft_system::clock::Stopwatch;
use regraft_system::random::stream;
use serde_json::{Value, json};

use super::Tuning;
use super::boundary::Boundary;
use super::cell::{Cell, Finished, Setting};
use super::checkpoint::Checkpoints;
use super::config::{Method, TuningConfig};
use super::finder;
use super::history::History;
use super::images::Images;
use super::learning_rate::LearningRate;
use super::network::logits;
use super::plan::Plan;
use super::precision::{self, Numbers};
use super::source_head::with_source_head;
use crate::fit::dataset::Dataset;
use crate::fit::graft::graft;
use crate::fit::unfinished::CHECKPOINTS;
use crate::precision::PrecisionChoice;
use crate::{Context, Error, Result};

/// Name of the training on all training images.
const FINAL: &str = "final";
/// Name of the training that tests learning rates.
const RANGE_TEST: &str = "range-test";
/// Name of the steps that show whether bfloat16 keeps the loss.
const PRECISION_TEST: &str = "precision-test";

/// A method and what it needs.
pub(super) struct Rung<'a> {
    tuning: &'a Tuning<'a>,
    pub(super) method: Method,
    /// The linear head that it begins with.
    linear: &'a Selection,
    /// The whole network as it begins.
    start: Model,
    /// What of it stands behind the boundary, with the source's own head where the method asks that.
    part: Model,
    plan: Plan,
    boundary: Boundary,
    checkpoints: Checkpoints,
    /// With the learning rate that was found, where one was to be.
    settings: TuningConfig,
    range_test: Option<RangeTestRecord>,
    /// Numbers that layers multiply.
    numbers: Numbers,
}

/// What trainings learn from, what judges them, and how they begin.
pub(super) struct Part {
    name: String,
    train: Vec<usize>,
    pub(super) validation: Vec<usize>,
    /// The network behind the boundary.
    start: Model,
    epochs: usize,
}

impl Part {
    /// The name of a soup's ingredient, counted from 0; the first is the plain training.
    pub(super) fn name_of(&self, ingredient: usize) -> String {
        match ingredient {
            0 => self.name.clone(),
            _ => format!("{}-soup-{}", self.name, ingredient + 1),
        }
    }
}

impl<'a> Rung<'a> {
    /// Prepares a method: the values at its boundary are computed.
    ///
    /// # Errors
    /// It has nothing to train, a file can no longer be read, or the user has asked to stop; where a learning rate is to be found,
    /// also as a training.
    pub(super) fn open(
        tuning: &'a Tuning<'a>,
        method: Method,
        linear: &'a Selection,
        context: &Context<'_>,
    ) -> Result<Self> {
        let start = start(tuning, method, linear, FINAL)?;
        let trained = with_source_head(&start, tuning.source, method)?;
        let plan = Plan::new(&trained, method, tuning.boundary, tuning.config.tuning.rank)?;
        let boundary = boundary(tuning, &trained, &plan, context)?;
        let part = behind(&trained, &plan)?;
        let folder = tuning.work.folder().join(CHECKPOINTS).join(tuning.part).join(method.name());
        let settings = tuning.config.tuning.clone();
        let checkpoints = Checkpoints::in_folder(folder, part.clone(), settings.checkpoint_minutes);
        let checkpoints = checkpoints.with_time(tuning.work.spent());
        let (range_test, numbers) = (None, Numbers::asked_for(tuning.config.precision));
        let mut rung = Self {
            tuning,
            method,
            linear,
            start,
            part,
            plan,
            boundary,
            checkpoints,
            settings,
            range_test,
            numbers,
        };
        if tuning.config.precision == PrecisionChoice::Auto {
            rung.choose_precision(context)?;
        }
        if rung.settings.learning_rate == Some(LearningRate::Find) {
            rung.find_rate(context)?;
        }
        Ok(rung)
    }

    /// Takes bfloat16 where that is as good.
    fn choose_precision(&mut self, context: &Context<'_>) -> Result<()> {
        let (train, epochs) = (&self.tuning.dataset.split.train, self.settings.epochs);
        let cell = Cell { name: PRECISION_TEST, train, validation: &[], start: &self.part, epochs };
        self.numbers = precision::automatic(&cell, &self.setting(&self.settings, 0), context)?;
        let (method, Numbers { precision, reason }) = (self.method.name(), &self.numbers);
        let details = json!({ "method": method, "used": precision.name(), "reason": reason });
        self.tuning.work.event("training precision", details);
        Ok(())
    }

    /// Takes the learning rate that a range test on all training images suggests, or leaves the optimiser's.
    fn find_rate(&mut self, context: &Context<'_>) -> Result<()> {
        // No average is looked at.
        let settings = TuningConfig { ema: None, swa: None, ..self.settings.clone() };
        let (train, epochs) = (&self.tuning.dataset.split.train, settings.epochs);
        let cell = Cell { name: RANGE_TEST, train, validation: &[], start: &self.part, epochs };
        let test = finder::test(&cell, &self.setting(&settings, 0), context)?;
        let suggestion = test.suggestion();
        let rate = suggestion.unwrap_or_else(|| self.settings.head_rate());
        let (method, steps) = (self.method.name(), test.points().len());
        context.progress.message(&match suggestion {
            Some(rate) => format!("{method}: learning rate {rate:.2e}, by a range test of {steps} steps"),
            None => format!(
                "{method}: the loss does not fall in a range test; the learning rate stays {rate:.0e}"
            ),
        });
        let points = test.points().iter();
        let points = points.map(|point| RatePoint { learning_rate: point.learning_rate, loss: point.loss });
        let record = RangeTestRecord {
            learning_rate: rate,
            is_suggested: suggestion.is_some(),
            points: points.collect(),
        };
        self.tuning.work.event("learning rate", json!({ "method": method, "range_test": record }));
        self.settings.learning_rate = Some(rate.into());
        self.range_test = Some(record);
        Ok(())
    }

    fn setting<'b>(&'b self, settings: &'b TuningConfig, ingredient: usize) -> Setting<'b> {
        let Tuning { config, dataset, .. } = self.tuning;
        Setting {
            method: self.method,
            config: settings,
            plan: &self.plan,
            boundary: &self.boundary,
            ingredient,
            labels: &dataset.labels,
            classes: dataset.classes.len(),
            seed: config.seed,
            precision: self.numbers.precision,
            deadline: self.tuning.deadline(),
        }
    }

    /// The settings of a soup's ingredient, counted from 0; those of the first are the plain ones.
    pub(super) fn settings(&self, ingredient: usize) -> TuningConfig {
        self.settings.of_ingredient(ingredient)
    }

    /// A training as a soup's ingredient, with so many epochs, or all of them.
    pub(super) fn train(
        &self,
        part: &Part,
        (ingredient, needed): (usize, Option<usize>),
        context: &Context<'_>,
    ) -> Result<Finished> {
        let work = self.tuning.work;
        let settings = TuningConfig { epochs: part.epochs, ..self.settings(ingredient) };
        let name = part.name_of(ingredient);
        if let Some(needed) = needed {
            context.progress.message(&format!(
                "{name}: {needed} of {} epochs, as many as the training needed that was judged",
                settings.epochs
            ));
        }
        let Part { train, validation, start, .. } = part;
        let cell = Cell { name: &name, train, validation, start, epochs: needed.unwrap_or(settings.epochs) };
        let setting = self.setting(&settings, ingredient);
        let history = History::in_folder(work.folder().to_path_buf())?;
        let watch = Stopwatch::start();
        let finished = cell.train(&setting, &self.checkpoints, &history, context)?;
        work.event("training", self.event(&cell, &finished, watch.seconds()));
        // Epochs of all images.
        let needed = finished.needed.map(|needed| (needed * self.settings.epochs).div_ceil(part.epochs));
        Ok(Finished { needed, ..finished })
    }

    /// What a network behind the boundary answers to the images that judge.
    pub(super) fn judge(&self, part: &Part, model: &Model) -> Result<Array2<f32>> {
        logits(model, &self.boundary, &part.validation)
    }

    /// The mean log-loss of answers to the images that judge.
    pub(super) fn loss(&self, part: &Part, logits: &Array2<f32>) -> Result<f64> {
        let labels = self.tuning.dataset.labels_at(&part.validation);
        let targets = Targets::Classes(&labels);
        let (loss, _) = softmax_cross_entropy(logits.view(), targets, 0.0).map_err(Error::model)?;
        Ok(loss)
    }

    /// The share of right answers to the images that judge.
    pub(super) fn accuracy(&self, part: &Part, logits: &Array2<f32>) -> f64 {
        super::accuracy(logits, &self.tuning.dataset.labels_at(&part.validation))
    }

    /// What the log is told of a training; `seconds` are those of this process, which may have gone on with it.
    fn event(&self, cell: &Cell<'_>, finished: &Finished, seconds: f64) -> Value {
        let last = finished.epochs.last();
        let number = |value: fn(&EpochRecord) -> f64| last.map(value).filter(|value| value.is_finite());
        json!({
            "training": cell.name,
            "method": self.method.name(),
            "images": cell.train.len(),
            "judging": cell.validation.len(),
            "epochs": finished.epochs.len(),
            "needed_epochs": finished.needed,
            "training_loss": number(|epoch| epoch.training_loss),
            "validation_loss": number(|epoch| epoch.validation_loss),
            "validation_accuracy": number(|epoch| epoch.validation_accuracy),
            "took_seconds": (seconds * 1e3).round() / 1e3,
        })
    }

    /// With the share of the trained weights that suits the images best that judge, and what the network answers with it, where
    /// that is asked for.
    pub(super) fn best_mixture(&self, part: &Part, finished: Finished) -> Result<Finished> {
        if !self.settings.wise_ft || part.validation.is_empty() {
            return Ok(finished);
        }
        let mut best = (f64::INFINITY, finished);
        for tenths in 0..=10 {
            let share = f64::from(tenths) / 10.0;
            let model = mixture(&part.start, &best.1.model, share)?;
            let validation_logits = self.judge(part, &model)?;
            let loss = self.loss(part, &validation_logits)?;
            if loss < best.0 {
                best = (loss, Finished { share, validation_logits, ..best.1 });
            }
        }
        Ok(best.1)
    }

    /// The training on all training images; the validation part judges it, where there is one. Where there is none, it has as
    /// many epochs as those that were judged `needed`.
    pub(super) fn on_all(&self, needed: Option<usize>, context: &Context<'_>) -> Result<Finished> {
        self.run(&self.all(), needed, context)
    }

    /// A training without the images of one fold, which judge. Its head begins without them, too.
    pub(super) fn without_fold(&self, fold: usize, name: &str, context: &Context<'_>) -> Result<Finished> {
        self.run(&self.part_without_fold(fold, name)?, None, context)
    }

    fn run(&self, part: &Part, needed: Option<usize>, context: &Context<'_>) -> Result<Finished> {
        let finished = self.train(part, (0, needed), context)?;
        self.best_mixture(part, finished)
    }

    /// All training images, and the validation part.
    pub(super) fn all(&self) -> Part {
        let split = &self.tuning.dataset.split;
        let (train, validation) = (split.train.clone(), split.validation.clone());
        let epochs = self.settings.epochs;
        Part { name: FINAL.to_owned(), train, validation, start: self.part.clone(), epochs }
    }

    /// All training images but those of one fold, which judge. It has as many steps as the training on all images, or some more:
    /// with fewer, a method that needs many of them would be judged by a network that is not done.
    pub(super) fn part_without_fold(&self, fold: usize, name: &str) -> Result<Part> {
        let dataset = self.tuning.dataset;
        let split = &dataset.split;
        let of_fold = |judging: bool| {
            let places = split.train.iter().zip(&split.folds);
            places.filter(|(_, found)| (**found == fold) == judging).map(|(place, _)| *place).collect()
        };
        let (train, validation): (Vec<usize>, Vec<usize>) = (of_fold(false), of_fold(true));
        let linear = self.tuning.fitted_to(self.linear, &train)?;
        let start = start(self.tuning, self.method, &linear, name)?;
        let start = behind(&with_source_head(&start, self.tuning.source, self.method)?, &self.plan)?;
        let epochs = (self.settings.epochs * split.train.len()).div_ceil(train.len().max(1));
        Ok(Part { name: name.to_owned(), train, validation, start, epochs })
    }

    /// The whole network with what was trained, and the temperature in its head.
    pub(super) fn whole(&self, finished: &Finished, (share, temperature): (f64, f64)) -> Result<Model> {
        let mut history = self.start.history().to_vec();
        history.push(format!("trained by '{}' behind '{}'", self.method.name(), self.plan.boundary));
        let frozen = Some(self.plan.boundary.clone()).filter(|wire| wire != self.start.graph().input());
        let part = mixture(&self.part, &finished.model, share)?;
        let model = self.start.clone().with_weights_of(&part).map_err(Error::model)?;
        let factor = 1.0 / temperature;
        let model = with_head(model, &mut |_, number| *number = (f64::from(*number) * factor) as f32)?;
        model.with_record(frozen, history).map_err(Error::model)
    }

    /// What the report is told.
    pub(super) fn record(&self, history: Vec<EpochRecord>, needed: Option<usize>) -> TuningRecord {
        let settings = &self.settings;
        let parameters = self.start.graph().parameters().into_iter();
        let trained = parameters.filter(|parameter| self.plan.trained.contains(&parameter.name));
        let sizes = trained.map(|parameter| parameter.shape.iter().product::<usize>() as u64);
        TuningRecord {
            method: self.method.name().to_owned(),
            method_in_words: self.method.in_words().to_owned(),
            boundary: self.plan.boundary.clone(),
            prefix_cached: self.boundary.is_cached(),
            trained_parameters: sizes.sum(),
            epochs: settings.epochs,
            patience: settings.patience,
            needed_epochs: needed,
            precision: self.numbers.precision.name().to_owned(),
            precision_reason: self.numbers.reason.clone(),
            batch_size: settings.batch(),
            accumulate: settings.accumulate,
            optimizer: settings.optimizer.name().to_owned(),
            learning_rate: settings.head_rate(),
            source_rate_factor: settings.source_rate_factor,
            schedule: settings.schedule.name().to_owned(),
            weight_decay: settings.weight_decay,
            norm_statistics: settings.norm_statistics.name().to_owned(),
            ema: settings.ema,
            swa: settings.swa,
            regularization: Some(settings.weight_of(self.method)).filter(|weight| *weight > 0.0),
            augmentation: settings.augmentation_text(),
            range_test: self.range_test.clone(),
            history,
            ..TuningRecord::default()
        }
    }
}

/// Weights between those of two networks of one shape.
fn mixture(start: &Model, end: &Model, share: f64) -> Result<Model> {
    if share == 1.0 {
        return Ok(end.clone());
    }
    let mut weights = end.weights().clone();
    for (name, tensor) in end.weights().iter() {
        let before = start.weights().get(name).map(Tensor::to_f32).unwrap_or_default();
        let mixed = interpolate(&before, &tensor.to_f32(), share);
        weights.insert(name, Tensor::from_f32(tensor.shape().to_vec(), &mixed).map_err(Error::model)?);
    }
    Model::new(end.graph().clone(), weights, end.card().clone()).map_err(Error::model)
}

/// The source with the head that the method begins with.
fn start(tuning: &Tuning<'_>, method: Method, linear: &Selection, training: &str) -> Result<Model> {
    let model = graft(tuning.source, tuning.cut, linear, tuning.dataset)?;
    if method != Method::Full {
        return Ok(model);
    }
    let mut random = stream(tuning.config.seed, &format!("weights of a new head, {training}"), 0);
    with_head(model, &mut |kind, number| {
        let drawn: f32 = StandardNormal.sample(&mut random);
        *number = if kind == ParameterKind::Weight { NEW_HEAD * drawn } else { 0.0 };
    })
}

pub(super) fn behind(model: &Model, plan: &Plan) -> Result<Model> {
    model.behind(&plan.boundary, model.card().preprocessing.crop).map_err(Error::model)
}

/// The values at the boundary for everything but the test images.
fn boundary(tuning: &Tuning<'_>, start: &Model, plan: &Plan, context: &Context<'_>) -> Result<Boundary> {
    let Dataset { items, contents, split, .. } = tuning.dataset;
    let paths: Vec<PathBuf> = items.iter().map(|item| item.path.clone()).collect();
    let variety = (tuning.config.tuning.augmentation.clone(), tuning.config.seed);
    let preprocessing = start.card().preprocessing.clone();
    let images = Images::new(paths, contents.clone(), preprocessing, variety, context.limits);
    let mut boundary = Boundary::open(start, &plan.boundary, images, tuning.config.tuning.variants)?;
    boundary.prepare(&[split.train.as_slice(), &split.validation].concat(), context)?;
    Ok(boundary)
}

/// Standard deviation of the weights of a new head (Jiang et al., Transfer-Learning-Library); its biases are 0.
const NEW_HEAD: f32 = 0.01;

/// The model with each number of its head changed by its kind.
fn with_head(model: Model, change: &mut dyn FnMut(ParameterKind, &mut f32)) -> Result<Model> {
    let head = model.card().roles.logits.as_deref().and_then(|wire| model.graph().node(wire));
    let parameters = head.map(|node| node.parameters()).unwrap_or_default();
    let mut weights = model.weights().clone();
    for parameter in parameters {
        let mut numbers = weights.get(&parameter.name).map(Tensor::to_f32).unwrap_or_default();
        numbers.iter_mut().for_each(|number| change(parameter.kind, number));
        weights.insert(parameter.name, Tensor::from_f32(parameter.shape, &numbers).map_err(Error::model)?);
    }
    let part = Model::new(model.graph().clone(), weights, model.card().clone()).map_err(Error::model)?;
    model.with_weights_of(&part).map_err(Error::model)
}
