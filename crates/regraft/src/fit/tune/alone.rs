//! A training on some of the images, from any network on: what an experiment is made of, beside a run's own trainings.

use std::path::PathBuf;

use ndarray::Array2;
use regraft_graph::Model;

use super::boundary::Boundary;
use super::cell::{Cell, Setting};
use super::checkpoint::Checkpoints;
use super::config::Method;
use super::history::History;
use super::images::Images;
use super::plan::Plan;
use super::precision::of_choice;
use crate::fit::dataset::Dataset;
use crate::fit::unfinished::{CHECKPOINTS, Unfinished};
use crate::{Context, FitConfig, Result};

/// What is trained, and on what.
pub(crate) struct Alone<'a> {
    pub(crate) config: &'a FitConfig,
    pub(crate) dataset: &'a Dataset,
    /// The class of each image of the dataset, among those of the network.
    pub(crate) labels: &'a [usize],
    pub(crate) classes: usize,
    /// Positions of the images that are learned from, and of those that judge.
    pub(crate) train: &'a [usize],
    pub(crate) validation: &'a [usize],
    pub(crate) seed: u64,
    /// Where checkpoints and the training's log go.
    pub(crate) work: &'a Unfinished,
}

impl Alone<'_> {
    /// Trains what stands behind a wire, or all of a network, whose last layer is the head. Returns the network and its logits
    /// of the images that judge.
    ///
    /// # Errors
    /// There is nothing to train, an operator has no gradient, the training diverges, memory runs out, a file can no longer be
    /// read, or the user has asked to stop.
    pub(crate) fn train(
        &self,
        name: &str,
        start: &Model,
        frozen: Option<&str>,
        context: &Context<'_>,
    ) -> Result<(Model, Array2<f32>)> {
        let tuning = &self.config.tuning;
        let method = if frozen.is_some() { Method::Partial } else { Method::Full };
        let plan = Plan::new(start, method, frozen.unwrap_or_default(), tuning.rank)?;
        let boundary = self.boundary(start, &plan, context)?;
        let part = super::rung::behind(start, &plan)?;
        let folder = self.work.folder().join(CHECKPOINTS);
        let checkpoints = Checkpoints::in_folder(folder, part.clone(), tuning.checkpoint_minutes);
        let history = History::in_folder(self.work.folder().to_path_buf())?;
        let (labels, classes, seed) = (self.labels, self.classes, self.seed);
        let (config, plan, boundary, ingredient) = (tuning, &plan, &boundary, 0);
        let (precision, deadline) = (of_choice(self.config.precision), None);
        let setting = Setting {
            method,
            config,
            plan,
            boundary,
            ingredient,
            labels,
            classes,
            seed,
            precision,
            deadline,
        };
        let (train, validation, epochs) = (self.train, self.validation, tuning.epochs);
        let cell = Cell { name, train, validation, start: &part, epochs };
        let finished = cell.train(&setting, &checkpoints, &history, context)?;
        let model = start.clone().with_weights_of(&finished.model).map_err(crate::Error::model)?;
        Ok((model, finished.validation_logits))
    }

    fn boundary(&self, start: &Model, plan: &Plan, context: &Context<'_>) -> Result<Boundary> {
        let Dataset { items, contents, .. } = self.dataset;
        let paths: Vec<PathBuf> = items.iter().map(|item| item.path.clone()).collect();
        let variety = (self.config.tuning.augmentation.clone(), self.seed);
        let preprocessing = start.card().preprocessing.clone();
        let images = Images::new(paths, contents.clone(), preprocessing, variety, context.limits);
        let mut boundary = Boundary::open(start, &plan.boundary, images, self.config.tuning.variants)?;
        boundary.prepare(&[self.train, self.validation].concat(), context)?;
        Ok(boundary)
    }
}
