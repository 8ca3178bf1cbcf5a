//! Checkpoints: a training that is stopped at any point goes on from the last one to the same bits.
//!
//! A checkpoint is a safetensors file with the network and the optimiser's memory, and a JSON file that is written behind it
//! and holds its hash, so that a file that is there is whole.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use regraft_adapt::training::OptimizerState;
use regraft_formats::safetensors;
use regraft_graph::{Model, Tensor, Weights};
use regraft_report::record::EpochRecord;
use regraft_system::clock::Stopwatch;
use regraft_system::files;
use regraft_system::hash::blake3_hex;
use serde::{Deserialize, Serialize};

use super::average::Averages;
use crate::fit::unfinished::Spent;
use crate::{Error, Result};

/// Everything that determines how a training goes on.
#[derive(Clone)]
pub(crate) struct State {
    /// The network behind the boundary.
    pub(crate) model: Model,
    pub(crate) optimizer: OptimizerState,
    /// Averages of the weights, where those are asked for.
    pub(crate) averages: Averages,
    /// Low-rank factors, where those are trained.
    pub(crate) factors: Vec<f32>,
    /// Shares of the learning rate that the tensors have in the epoch, where they differ.
    pub(crate) shares: Vec<f32>,
    /// Steps done.
    pub(crate) step: usize,
    /// Sum of the losses of the epoch's images so far, of what a method adds to them, and their number.
    pub(crate) loss: f64,
    pub(crate) added: f64,
    pub(crate) images: usize,
    /// How often the training has diverged; halves the learning rate each time.
    pub(crate) rollbacks: u32,
    pub(crate) epochs: Vec<EpochRecord>,
    /// The network of the epoch that was judged best, where trainings may end early.
    pub(crate) best: Option<Model>,
}

impl State {
    /// Before the first step.
    pub(crate) fn new(model: Model) -> Self {
        let optimizer = OptimizerState::default();
        let (factors, shares, epochs) = (Vec::new(), Vec::new(), Vec::new());
        let (averages, loss, added, best) = (Averages::default(), 0.0, 0.0, None);
        Self {
            model,
            optimizer,
            averages,
            factors,
            shares,
            step: 0,
            loss,
            added,
            images: 0,
            rollbacks: 0,
            epochs,
            best,
        }
    }

    /// Adds the mean loss of so many images.
    pub(crate) fn add(&mut self, loss: Loss, images: usize) {
        self.loss += loss.answers * images as f64;
        self.added += loss.added * images as f64;
        self.images += images;
    }

    /// Empties the epoch's sums.
    pub(crate) fn begin_epoch(&mut self) {
        (self.loss, self.added, self.images) = (0.0, 0.0, 0);
    }
}

/// The mean loss of the images of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loss {
    /// Of the answers.
    pub(crate) answers: f64,
    /// What the method adds, weighted.
    pub(crate) added: f64,
}

/// What of a state is no tensor.
#[derive(Serialize, Deserialize)]
struct Header {
    /// BLAKE3 of the tensors' file.
    hash: String,
    step: usize,
    optimizer_steps: u64,
    loss: f64,
    #[serde(default)]
    added: f64,
    images: usize,
    rollbacks: u32,
    epochs: Vec<EpochRecord>,
}

/// Checkpoints that are kept of each training, beside the newest at the end of an epoch.
const KEPT: usize = 2;

/// The folder of a run's checkpoints: `TRAINING/STEP.json` and `TRAINING/STEP.safetensors`.
pub(crate) struct Checkpoints {
    folder: PathBuf,
    /// A network of the shape that all have.
    like: Model,
    interval: f64,
    since: Stopwatch,
    written: Cell<f64>,
    /// The run's time, which is written with each checkpoint where it is to be known.
    spent: Option<Spent>,
}

const FIRST: &str = "optimizer.first";
const SECOND: &str = "optimizer.second";
const FACTORS: &str = "factors";
const SHARES: &str = "shares";
const AVERAGES: &str = "averages.values";
const STATISTICS: &str = "averages.statistics";
const NETWORK: &str = "network.";
const BEST: &str = "best.";

impl Checkpoints {
    pub(crate) fn in_folder(folder: PathBuf, like: Model, minutes: f64) -> Self {
        let (interval, since) = (60.0 * minutes, Stopwatch::start());
        Self { folder, like, interval, since, written: Cell::new(0.0), spent: None }
    }

    /// With the run's time.
    pub(crate) fn with_time(self, spent: &Spent) -> Self {
        Self { spent: Some(spent.clone()), ..self }
    }

    /// Whether the interval is over.
    pub(crate) fn is_due(&self) -> bool {
        self.since.seconds() - self.written.get() >= self.interval
    }

    /// Writes a checkpoint and removes those that are too old.
    pub(crate) fn write(&self, training: &str, state: &State) -> Result<()> {
        let folder = self.folder.join(training);
        let stem = folder.join(format!("{:09}", state.step));
        let failed = |path: &Path| Error::output(path.to_path_buf(), "writing a checkpoint");
        files::create_folder(&folder).map_err(failed(&folder))?;
        let tensors = stem.with_extension("safetensors");
        safetensors::write(&tensors, &weights(state)?).map_err(Error::write(&tensors))?;
        let hash = blake3_hex(&files::map(&tensors).map_err(failed(&tensors))?);
        let header = Header {
            hash,
            step: state.step,
            optimizer_steps: state.optimizer.steps,
            loss: state.loss,
            added: state.added,
            images: state.images,
            rollbacks: state.rollbacks,
            epochs: state.epochs.clone(),
        };
        let header = serde_json::to_vec(&header).map_err(Error::data)?;
        let path = stem.with_extension("json");
        files::write_atomically(&path, &header).map_err(failed(&path))?;
        self.written.set(self.since.seconds());
        self.spent.as_ref().map_or(Ok(()), Spent::keep)?;
        self.forget_old(training)
    }

    /// The newest ones stay, and the newest at the end of an epoch: a training that diverges goes back there.
    fn forget_old(&self, training: &str) -> Result<()> {
        let headers: Vec<PathBuf> = self.headers(training).into_iter().rev().collect();
        let whole =
            headers.iter().find(|path| header(path).is_some_and(|header| header.images == 0)).cloned();
        for path in headers.into_iter().skip(KEPT).filter(|path| Some(path) != whole.as_ref()) {
            // The header goes first: without it the tensors are nothing.
            for path in [path.clone(), path.with_extension("safetensors")] {
                files::remove_if_there(&path).map_err(Error::output(&path, "removing an old checkpoint"))?;
            }
        }
        Ok(())
    }

    /// The headers of a training, oldest first.
    fn headers(&self, training: &str) -> Vec<PathBuf> {
        let mut paths = files::files_below(&self.folder.join(training)).unwrap_or_default();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
        paths.sort();
        paths
    }

    /// The newest checkpoint of a training that is whole.
    pub(crate) fn last(&self, training: &str) -> Option<State> {
        self.newest(training, &|_| true)
    }

    /// The newest one at the end of an epoch, where the epoch's sums are empty.
    pub(crate) fn last_whole_epoch(&self, training: &str) -> Option<State> {
        self.newest(training, &|state| state.images == 0)
    }

    fn newest(&self, training: &str, is_wanted: &dyn Fn(&State) -> bool) -> Option<State> {
        let headers = self.headers(training);
        headers.iter().rev().filter_map(|path| self.read(path)).find(is_wanted)
    }

    /// `None` for one that is damaged.
    fn read(&self, path: &Path) -> Option<State> {
        let header = header(path)?;
        let tensors = path.with_extension("safetensors");
        let content = files::map(&tensors).ok()?;
        if blake3_hex(&content) != header.hash {
            return None;
        }
        let (tensors, _) = safetensors::parse(&tensors, content).ok()?;
        let numbers = |name: &str| tensors.get(name).map(Tensor::to_f32).unwrap_or_default();
        let model = self.network(&tensors, NETWORK)?;
        let has_best = tensors.iter().any(|(name, _)| name.starts_with(BEST));
        let best = if has_best { Some(self.network(&tensors, BEST)?) } else { None };
        let optimizer =
            OptimizerState { steps: header.optimizer_steps, first: numbers(FIRST), second: numbers(SECOND) };
        let Header { step, loss, added, images, rollbacks, epochs, .. } = header;
        let (factors, shares) = (numbers(FACTORS), numbers(SHARES));
        let averages = Averages { values: numbers(AVERAGES), statistics: numbers(STATISTICS) };
        Some(State {
            model,
            optimizer,
            averages,
            factors,
            shares,
            step,
            loss,
            added,
            images,
            rollbacks,
            epochs,
            best,
        })
    }

    /// The network whose tensors have this in front of their names.
    fn network(&self, tensors: &Weights, prefix: &str) -> Option<Model> {
        let mut weights = Weights::new();
        for (name, tensor) in tensors.iter() {
            if let Some(name) = name.strip_prefix(prefix) {
                weights.insert(name, tensor.clone());
            }
        }
        Model::new(self.like.graph().clone(), weights, self.like.card().clone()).ok()
    }
}

fn header(path: &Path) -> Option<Header> {
    serde_json::from_slice(&files::read(path).ok()?).ok()
}

fn weights(state: &State) -> Result<Weights> {
    let mut weights = Weights::new();
    for (prefix, model) in [(NETWORK, Some(&state.model)), (BEST, state.best.as_ref())] {
        for (name, tensor) in model.into_iter().flat_map(|model| model.weights().iter()) {
            weights.insert(format!("{prefix}{name}"), tensor.clone());
        }
    }
    let flat = [
        (FIRST, &state.optimizer.first),
        (SECOND, &state.optimizer.second),
        (FACTORS, &state.factors),
        (SHARES, &state.shares),
        (AVERAGES, &state.averages.values),
        (STATISTICS, &state.averages.statistics),
    ];
    for (name, numbers) in flat {
        if !numbers.is_empty() {
            weights.insert(name, Tensor::from_f32(vec![numbers.len()], numbers).map_err(Error::model)?);
        }
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::tests::network;

    #[test]
    fn the_end_of_an_epoch_outlives_what_was_written_since() {
        let place = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::in_folder(place.path().to_path_buf(), network(3, None), 5.0);
        assert!(checkpoints.last("final").is_none());
        for (step, images) in [(5, 0), (10, 0), (11, 8), (12, 16), (13, 24)] {
            checkpoints.write("final", &State { step, images, ..State::new(network(3, None)) }).unwrap();
        }
        let step = |state: Option<State>| state.unwrap().step;
        assert_eq!(step(checkpoints.last("final")), 13);
        assert_eq!(step(checkpoints.last_whole_epoch("final")), 10);
        let names: Vec<PathBuf> = checkpoints.headers("final");
        assert_eq!(names.len(), 3, "{names:?}");
        // One that is damaged counts as absent.
        files::append(&place.path().join("final/000000013.safetensors"), b"x").unwrap();
        assert_eq!(step(checkpoints.last("final")), 12);
    }
}
