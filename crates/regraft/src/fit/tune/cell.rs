//! One training: some images are learned from, some judge.

use ndarray::{Array2, ArrayD, ArrayViewD, Ix4};
use regraft_adapt::training::{Targets, clip_by_global_norm, softmax_cross_entropy};
use regraft_engine::{Precision, Tape};
use regraft_graph::Model;
use regraft_report::record::EpochRecord;
use regraft_system::clock::Stopwatch;
use regraft_system::random::{shuffle, stream};

use super::average::Averaging;
use super::boundary::Boundary;
use super::checkpoint::{Checkpoints, Loss, State};
use super::config::{Method, TuningConfig};
use super::deadline::{Deadline, Pace};
use super::history::History;
use super::images::Look;
use super::network::{advising, check_memory, logits, matrix, tape, tape_with};
use super::parameters::{Choice, Parameters};
use super::plan::Plan;
use super::regulariser::Regulariser;
use super::surgical::{BATCHES, RelativeNorms};
use crate::{Context, Error, Result};

/// What all trainings of a run have in common.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) method: Method,
    pub(crate) config: &'a TuningConfig,
    pub(crate) plan: &'a Plan,
    pub(crate) boundary: &'a Boundary,
    /// Which ingredient of a soup is trained, counted from 0.
    pub(crate) ingredient: usize,
    /// The class of each image.
    pub(crate) labels: &'a [usize],
    /// Number of classes.
    pub(crate) classes: usize,
    pub(crate) seed: u64,
    /// Numbers that layers multiply.
    pub(crate) precision: Precision,
    /// When a training that is judged should be over, where that matters.
    pub(crate) deadline: Option<Deadline<'a>>,
}

impl Setting<'_> {
    pub(super) fn choice(&self) -> Choice<'_> {
        let Self { method, config, plan, seed, precision, .. } = *self;
        Choice { method, config, plan, seed, precision }
    }

    pub(super) fn labels_of(&self, positions: &[usize]) -> Vec<usize> {
        positions.iter().filter_map(|place| self.labels.get(*place).copied()).collect()
    }
}

/// A training.
pub(crate) struct Cell<'a> {
    /// What it is called in files and on the screen.
    pub(crate) name: &'a str,
    /// Positions of the images that are learned from.
    pub(crate) train: &'a [usize],
    /// Positions of those that judge after each epoch; may be empty.
    pub(crate) validation: &'a [usize],
    /// The network behind the boundary, as it begins.
    pub(crate) start: &'a Model,
    /// Epochs after which it ends, at most as many as the schedule is for.
    pub(crate) epochs: usize,
}

/// What a training leaves.
pub(crate) struct Finished {
    /// The network behind the boundary.
    pub(crate) model: Model,
    pub(crate) epochs: Vec<EpochRecord>,
    /// Positions of the images that judged.
    pub(crate) validation: Vec<usize>,
    /// A row for each of them.
    pub(crate) validation_logits: Array2<f32>,
    /// Share of the trained weights in those that are to be used; the rest is from before the training.
    pub(crate) share: f64,
    /// Epochs behind which the images that judged saw the network that is left, where the training could have ended early.
    pub(crate) needed: Option<usize>,
    /// Whether it was stopped because of the time limit.
    pub(crate) is_late: bool,
}

/// A loss of so many times that of guessing is worth a warning.
const ABSURD: f64 = 10.0;

/// How often a training that diverges begins its epoch again, with half the learning rate each time.
const MOST_ROLLBACKS: u32 = 4;

impl Cell<'_> {
    /// Trains, from the last checkpoint if there is one.
    ///
    /// # Errors
    /// The network has an operator without a gradient, the loss stays infinite, memory runs out, or the user has asked to stop.
    pub(crate) fn train(
        &self,
        setting: &Setting<'_>,
        checkpoints: &Checkpoints,
        history: &History,
        context: &Context<'_>,
    ) -> Result<Finished> {
        let state = checkpoints.last(self.name).unwrap_or_else(|| State::new(self.start.clone()));
        let regulariser = Regulariser::new(self, setting, context)?;
        let mut training = Training::new(self, setting, regulariser.as_ref(), state)?;
        let steps = training.steps_per_epoch() * setting.config.epochs;
        let images = self.train.len() * self.epochs;
        context.progress.start(&format!("training ({})", self.name), images as u64);
        context.progress.advance(training.images_done() as u64);
        while !training.is_over() {
            training.epoch(steps, checkpoints, history, context)?;
        }
        context.progress.finish();
        training.tell_best(context);
        training.finish()
    }
}

/// A training under way.
pub(super) struct Training<'a> {
    cell: &'a Cell<'a>,
    setting: &'a Setting<'a>,
    regulariser: Option<&'a Regulariser>,
    tape: Tape,
    parameters: Parameters,
    averaging: Option<Averaging>,
    state: State,
    is_late: bool,
}

impl<'a> Training<'a> {
    pub(super) fn new(
        cell: &'a Cell<'a>,
        setting: &'a Setting<'a>,
        regulariser: Option<&'a Regulariser>,
        mut state: State,
    ) -> Result<Self> {
        let choice = setting.choice();
        let compile = |model| tape(model, &choice, setting.boundary.shape());
        let mut tape = compile(cell.start)?;
        check_memory(&tape, setting.config)?;
        // What is trained is measured from where the cell begins, also in a training that goes on.
        let parameters = Parameters::new(&choice, &tape)?;
        if state.step > 0 {
            tape = compile(&state.model)?;
        }
        parameters.begin(&choice, cell.name, &mut state);
        let averaging = Averaging::new(&choice, cell.start);
        Ok(Self { cell, setting, regulariser, tape, parameters, averaging, state, is_late: false })
    }

    fn steps_per_epoch(&self) -> usize {
        self.cell.train.len().div_ceil(self.setting.config.images_of_step()).max(1)
    }

    fn images_done(&self) -> usize {
        let (epochs, steps) =
            (self.state.step / self.steps_per_epoch(), self.state.step % self.steps_per_epoch());
        epochs * self.cell.train.len() + steps * self.setting.config.images_of_step()
    }

    /// Whether all epochs are done, or too many without a lower loss, or the time is over.
    fn is_over(&self) -> bool {
        let State { epochs, step, .. } = &self.state;
        let since_best = epochs.len() - best_epoch(epochs).unwrap_or(0);
        let may_judge = !self.cell.validation.is_empty();
        let is_patient = |patience: usize| !may_judge || since_best < patience;
        self.is_late
            || *step >= self.steps_per_epoch() * self.cell.epochs
            || !self.setting.config.patience.is_none_or(is_patient)
    }

    /// The rest of the epoch that is under way.
    fn epoch(
        &mut self,
        steps: usize,
        checkpoints: &Checkpoints,
        history: &History,
        context: &Context<'_>,
    ) -> Result<()> {
        let epoch = self.state.step / self.steps_per_epoch();
        let order = self.order(epoch);
        let watch = Stopwatch::start();
        let done = self.state.step % self.steps_per_epoch();
        let before = (done == 0).then(|| self.snapshot()).transpose()?;
        if done == 0 && self.setting.method == Method::Surgical {
            self.state.shares = self.shares(&order)?;
        }
        for images in order.chunks(self.setting.config.images_of_step()).skip(done) {
            if context.progress.interrupted() {
                checkpoints.write(self.cell.name, &self.snapshot()?)?;
                return Err(Error::Interrupted);
            }
            if self.step(images, self.rate(steps))?.is_none() {
                return self.roll_back(before, checkpoints, context);
            }
            context.progress.advance(images.len() as u64);
            // Behind the last step of an epoch its judgement belongs to it.
            if checkpoints.is_due() && !self.state.step.is_multiple_of(self.steps_per_epoch()) {
                checkpoints.write(self.cell.name, &self.snapshot()?)?;
            }
        }
        self.end_epoch(epoch, watch.seconds(), history, context)?;
        checkpoints.write(self.cell.name, &self.snapshot()?)
    }

    /// The share of the learning rate that each tensor has in the epoch that begins with these images.
    fn shares(&mut self, images: &[usize]) -> Result<Vec<f32>> {
        let mut norms = RelativeNorms::default();
        for images in images.chunks(self.setting.config.images_of_step()).take(BATCHES) {
            if self.gradients(images)?.is_some() {
                norms.add(&self.tape);
            }
        }
        Ok(norms.shares(&self.parameters.of_head()))
    }

    /// The images in the order of that epoch.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order = self.cell.train.to_vec();
        let purpose = format!("order of the training images, {}", self.cell.name);
        shuffle(&mut order, &mut stream(self.setting.seed, &purpose, epoch as u64));
        order
    }

    /// The images of the next step.
    pub(super) fn images(&self) -> Vec<usize> {
        let (epoch, place) =
            (self.state.step / self.steps_per_epoch(), self.state.step % self.steps_per_epoch());
        let order = self.order(epoch);
        order.chunks(self.setting.config.images_of_step()).nth(place).unwrap_or_default().to_vec()
    }

    /// One step with these images at this learning rate of the head. Returns the loss before it; `None`, without a step, where that is
    /// not finite.
    pub(super) fn step(&mut self, images: &[usize], rate: f64) -> Result<Option<Loss>> {
        let config = self.setting.config;
        let Some(loss) = self.gradients(images)? else { return Ok(None) };
        // Behind the gradients of the parameters lie parts of theirs that have been added already.
        let trained = self.tape.values().len();
        let gradients = self.tape.gradients_mut().get_mut(..trained).unwrap_or_default();
        let norm = clip_by_global_norm(gradients, config.gradient_clip);
        if !norm.is_finite() {
            return Ok(None);
        }
        let at = (rate, self.state.step / self.steps_per_epoch());
        self.parameters.step(&self.setting.choice(), &mut self.tape, &mut self.state, at)?;
        self.state.step += 1;
        if let Some(averaging) = &self.averaging {
            averaging.follow(&mut self.state.averages, &self.tape, self.state.step)?;
        }
        self.state.add(loss, images.len());
        Ok(Some(loss))
    }

    /// The mean loss of a step's images, batch by batch, and its gradients in the tape; `None` if it is not finite.
    fn gradients(&mut self, images: &[usize]) -> Result<Option<Loss>> {
        let mut total = Loss { answers: 0.0, added: 0.0 };
        let mut sum: Vec<f32> = Vec::new();
        for (place, batch) in images.chunks(self.setting.config.batch()).enumerate() {
            let share = batch.len() as f64 / images.len() as f64;
            let Some(loss) = self.backward(batch, (place, share))? else { return Ok(None) };
            total.answers += share * loss.answers;
            total.added += share * loss.added;
            if batch.len() < images.len() {
                sum.resize(self.tape.gradients().len(), 0.0);
                sum.iter_mut().zip(self.tape.gradients()).for_each(|(sum, gradient)| *sum += gradient);
            }
        }
        self.tape.gradients_mut().iter_mut().zip(&sum).for_each(|(gradient, sum)| *gradient = *sum);
        Ok(Some(total))
    }

    /// The mean loss of the step's batch at this place, and the gradients in the tape of its share in the step's loss.
    fn backward(&mut self, batch: &[usize], (place, share): (usize, f64)) -> Result<Option<Loss>> {
        let (inputs, targets) = self.examples(batch, place)?;
        let outputs = self.tape.forward(inputs.view()).map_err(advising(self.setting.config))?;
        let Some((loss, mut gradients)) = self.loss(&inputs, &targets, outputs)? else { return Ok(None) };
        gradients.iter_mut().for_each(|gradient| *gradient *= share as f32);
        let views: Vec<ArrayViewD<'_, f32>> = gradients.iter().map(|gradient| gradient.view()).collect();
        self.tape.backward(&views).map_err(Error::model)?;
        Ok(Some(loss))
    }

    /// The loss of a batch and its gradients with respect to the tape's outputs; `None` if it is not finite.
    fn loss(
        &self,
        inputs: &ArrayD<f32>,
        targets: &Array2<f32>,
        mut outputs: Vec<ArrayD<f32>>,
    ) -> Result<Option<(Loss, Vec<ArrayD<f32>>)>> {
        let wires = outputs.split_off(1.min(outputs.len()));
        let logits = matrix(outputs.pop().unwrap_or_default())?;
        let (answers, gradient) = softmax_cross_entropy(
            logits.view(),
            Targets::Probabilities(targets.view()),
            self.setting.config.label_smoothing,
        )
        .map_err(Error::model)?;
        let (mut added, mut gradients) = (0.0, vec![gradient.into_dyn()]);
        if let Some(regulariser) = self.regulariser.filter(|_| answers.is_finite()) {
            let (value, of_wires) = regulariser.add(inputs, targets, &wires)?;
            added = value;
            gradients.extend(of_wires);
        }
        let loss = Loss { answers, added };
        Ok((answers + added).is_finite().then_some((loss, gradients)))
    }

    /// What the network is shown in the batch at this place of the next step, and what it should answer.
    fn examples(&self, batch: &[usize], place: usize) -> Result<(ArrayD<f32>, Array2<f32>)> {
        let Setting { config, boundary, classes, seed, .. } = *self.setting;
        let inputs = boundary.batch(batch, self.look(self.state.step / self.steps_per_epoch()))?;
        let labels = self.setting.labels_of(batch);
        let maps = inputs.view().into_dimensionality::<Ix4>();
        if let (Ok(maps), false) = (maps, config.mixing.is_none()) {
            let number = (self.state.step * config.accumulate + place) as u64;
            let mut random = stream(seed, &format!("mixing, {}", self.cell.name), number);
            let (mixed, targets) =
                config.mixing.apply(maps, &labels, classes, &mut random).map_err(Error::data)?;
            return Ok((mixed.into_dyn(), targets));
        }
        let target = |(row, class): (usize, usize)| f32::from(u8::from(labels.get(row) == Some(&class)));
        Ok((inputs, Array2::from_shape_fn((batch.len(), classes), target)))
    }

    /// The variant of the images that an epoch shows. An ingredient of a soup begins with another one than the one before it, and
    /// has none of that one's where none are kept.
    fn look(&self, epoch: usize) -> Look {
        let Setting { config, boundary, ingredient, .. } = *self.setting;
        Look::Variant(epoch + ingredient * if boundary.is_cached() { 1 } else { config.epochs })
    }

    /// Learning rate of the head in the next step. It stays where the mean of the weights begins, which would otherwise be one of
    /// weights that hardly differ.
    fn rate(&self, steps: usize) -> f64 {
        let config = self.setting.config;
        let last = config.first_averaged().map_or(usize::MAX, |first| first * self.steps_per_epoch());
        let share = config.schedule.rule().share(self.state.step.min(last), steps);
        config.head_rate() * share * 0.5f64.powi(self.state.rollbacks as i32)
    }

    /// The state as it could be gone on from.
    fn snapshot(&self) -> Result<State> {
        Ok(State { model: self.tape.model().map_err(Error::model)?, ..self.state.clone() })
    }

    /// Back to the beginning of the epoch with half the learning rate.
    fn roll_back(
        &mut self,
        before: Option<State>,
        checkpoints: &Checkpoints,
        context: &Context<'_>,
    ) -> Result<()> {
        let rollbacks = self.state.rollbacks + 1;
        if rollbacks > MOST_ROLLBACKS {
            return Err(Error::Usage(format!(
                "the training diverges: the loss is infinite or no number, also with a learning rate of {:.2e}; choose a smaller \
                 --learning-rate, or --norm-statistics stored",
                self.setting.config.head_rate() * 0.5f64.powi(MOST_ROLLBACKS as i32)
            )));
        }
        // A training that went on in the middle of an epoch has not seen its beginning.
        let before = before
            .or_else(|| checkpoints.last_whole_epoch(self.cell.name))
            .unwrap_or_else(|| State::new(self.cell.start.clone()));
        context.progress.message(&format!(
            "{}: the loss has become infinite or no number; back to the beginning of epoch {} with half the learning rate",
            self.cell.name,
            before.step / self.steps_per_epoch() + 1
        ));
        *self = Self::new(self.cell, self.setting, self.regulariser, State { rollbacks, ..before })?;
        Ok(())
    }

    /// Judges, and begins the next epoch's sums.
    fn end_epoch(
        &mut self,
        epoch: usize,
        seconds: f64,
        history: &History,
        context: &Context<'_>,
    ) -> Result<()> {
        self.average(epoch)?;
        let steps = self.steps_per_epoch() * self.setting.config.epochs;
        let mut record = EpochRecord {
            training: self.cell.name.to_owned(),
            epoch: epoch + 1,
            training_loss: self.state.loss / self.state.images.max(1) as f64,
            regularization: match self.regulariser {
                Some(_) => self.state.added / self.state.images.max(1) as f64,
                None => f64::NAN,
            },
            learning_rate: self.rate(steps),
            seconds,
            images_per_second: self.cell.train.len() as f64 / seconds.max(1e-9),
            ..EpochRecord::default()
        };
        if !self.cell.validation.is_empty() {
            let logits = self.validate()?;
            let labels = self.setting.labels_of(self.cell.validation);
            let (loss, _) =
                softmax_cross_entropy(logits.view(), Targets::Classes(&labels), 0.0).map_err(Error::model)?;
            record.validation_loss = loss;
            record.validation_accuracy = super::accuracy(&logits, &labels);
        }
        self.state.begin_epoch();
        if record.training_loss > ABSURD * (self.setting.classes as f64).ln() {
            context.progress.message(&format!(
                "warning: {}: a loss of {:.1} is far above that of guessing: the training diverges; choose a smaller --learning-rate",
                self.cell.name, record.training_loss
            ));
        }
        history.add(&record, context)?;
        self.state.epochs.push(record);
        self.is_late = self.has_too_little_time(epoch, seconds);
        if self.setting.config.patience.is_some() && best_epoch(&self.state.epochs) == Some(epoch + 1) {
            self.state.best = Some(self.model()?);
        }
        Ok(())
    }

    fn has_too_little_time(&self, epoch: usize, seconds: f64) -> bool {
        let Cell { train, validation, epochs, .. } = *self.cell;
        let pace = Pace { left: epochs.saturating_sub(epoch + 1), images: train.len(), seconds };
        let judged = self.setting.deadline.filter(|_| !validation.is_empty());
        judged.is_some_and(|deadline| deadline.is_missed_by(&pace))
    }

    /// Takes the weights at the end of an epoch into their mean, where one is asked for. Running statistics that belong to the mean
    /// are those of the epoch's batches; a last batch of one image has none.
    fn average(&mut self, epoch: usize) -> Result<()> {
        let Some(averaging) = &self.averaging else { return Ok(()) };
        if !averaging.follow_epoch(&mut self.state.averages, &self.tape, epoch) {
            return Ok(());
        }
        let (choice, boundary) = (self.setting.choice(), self.setting.boundary);
        let model = averaging.model(&self.state.averages, &self.tape)?;
        let tape = tape_with(&model, &choice, boundary.shape(), 1.0)?;
        let (order, look) = (self.order(epoch), self.look(epoch));
        let batches = order.chunks(self.setting.config.batch()).filter(|batch| batch.len() > 1);
        let batches = batches.map(|batch| boundary.batch(batch, look));
        averaging.recompute(&mut self.state.averages, tape, batches)
    }

    /// Says which epoch's weights are kept, where they are not the last one's.
    fn tell_best(&self, context: &Context<'_>) {
        let (done, name) = (self.state.epochs.len(), self.cell.name);
        if let Some(best) =
            best_epoch(&self.state.epochs).filter(|best| self.state.best.is_some() && *best < done)
        {
            context.progress.message(&format!(
                "{name}: no lower validation loss since epoch {best} of {}; its weights are kept",
                self.cell.epochs
            ));
        }
    }

    /// The network as it would be kept now.
    fn model(&self) -> Result<Model> {
        match &self.averaging {
            Some(averaging) => averaging.model(&self.state.averages, &self.tape),
            None => self.tape.model().map_err(Error::model),
        }
    }

    /// The logits of the validation images by the network as it is now.
    fn validate(&self) -> Result<Array2<f32>> {
        let model = self.model()?;
        logits(&model, self.setting.boundary, self.cell.validation)
    }

    fn finish(self) -> Result<Finished> {
        let needed = self.state.best.as_ref().and_then(|_| best_epoch(&self.state.epochs));
        let model = match &self.state.best {
            Some(best) => best.clone(),
            None => self.model()?,
        };
        let validation_logits = logits(&model, self.setting.boundary, self.cell.validation)?;
        let validation = self.cell.validation.to_vec();
        let (epochs, is_late) = (self.state.epochs, self.is_late);
        Ok(Finished { model, epochs, validation, validation_logits, share: 1.0, needed, is_late })
    }
}

/// The first epoch of the lowest validation loss, counted from 1; none before any was judged.
fn best_epoch(epochs: &[EpochRecord]) -> Option<usize> {
    let judged = epochs.iter().filter(|epoch| epoch.validation_loss.is_finite());
    let best = judged.min_by(|one, other| one.validation_loss.total_cmp(&other.validation_loss));
    best.map(|epoch| epoch.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_best_epochs_counts() {
        let losses = [f64::NAN, 0.7, 0.5, f64::NAN, 0.5, 0.6];
        let epochs: Vec<EpochRecord> = (1..)
            .zip(losses)
            .map(|(epoch, validation_loss)| EpochRecord { epoch, validation_loss, ..EpochRecord::default() })
            .collect();
        assert_eq!(best_epoch(&epochs), Some(3));
        assert_eq!(best_epoch(&epochs[..1]), None);
    }
}
