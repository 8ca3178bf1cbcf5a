//! From a folder to numbers: scan, ingest, examine, split.

use std::path::{Path, PathBuf};

use ndarray::{Array2, Axis};
use regraft_data::doctor::{Finding, Severity};
use regraft_data::duplicates::{group_ids, near_groups};
use regraft_data::inspect::Inspection;
use regraft_data::source::{ImageFolder, Item, Part};
use regraft_data::split::{Division, Examples, divide, stratified_folds};
use regraft_graph::Model;

use super::precision::{self, Chosen};
use super::tune::Method;
use crate::cache::{ContentHash, hex};
use crate::check::{finding_text, findings};
use crate::ingest::{FileRecord, Ingest, IngestTiming, Network, inspection_store};
use crate::inputs::labelled;
use crate::run::learned_contents;
use crate::test_time::View;
use crate::{Context, Error, FitConfig, Result};

/// Usable images with everything that is known about them; all lists are in the same order.
pub(crate) struct Dataset {
    pub(crate) classes: Vec<String>,
    pub(crate) items: Vec<Item>,
    pub(crate) contents: Vec<ContentHash>,
    pub(crate) labels: Vec<usize>,
    /// BLAKE3 of the table that the labels come from, if they do not come from folders.
    pub(crate) label_file: Option<String>,
    /// Of the source network, n × D.
    pub(crate) features: Array2<f32>,
    /// Of the same network with random weights, n × D.
    pub(crate) random: Array2<f32>,
    /// Small raw pixels, n × 768.
    pub(crate) pixels: Array2<f32>,
    pub(crate) split: Split,
    pub(crate) findings: Vec<Finding>,
    pub(crate) timing: IngestTiming,
    /// Numbers that `features` were computed in.
    pub(crate) precision: Chosen,
}

/// The values of a wire, a row for each image.
pub(crate) struct Tapped {
    /// Of the source network.
    pub(crate) trained: Array2<f32>,
    /// Of the same network with random weights.
    pub(crate) random: Array2<f32>,
}

/// The images of a folder that can be used; all lists are in the same order.
pub(crate) struct Usable {
    pub(crate) items: Vec<Item>,
    contents: Vec<ContentHash>,
    inspections: Vec<Inspection>,
    pub(crate) labels: Vec<usize>,
    /// Copies of each other, exactly or nearly, which stay on one side of every split.
    pub(crate) groups: Vec<usize>,
}

impl Usable {
    pub(crate) fn of(items: Vec<Item>, files: Vec<std::result::Result<FileRecord, String>>) -> Self {
        let usable = |(item, file): (Item, std::result::Result<FileRecord, String>)| {
            let file = file.ok()?;
            Some(((item, file.content), file.inspection?))
        };
        let (items, inspections): (Vec<(Item, ContentHash)>, Vec<Inspection>) =
            items.into_iter().zip(files).filter_map(usable).unzip();
        let (items, contents): (Vec<Item>, Vec<ContentHash>) = items.into_iter().unzip();
        let labels = items.iter().map(|item| item.class).collect();
        let groups = group_ids(items.len(), &near_groups(&inspections.iter().map(Some).collect::<Vec<_>>()));
        Self { items, contents, inspections, labels, groups }
    }

    pub(crate) fn split(&self, classes: &[String], config: &FitConfig) -> Result<Split> {
        Split::of(&self.items, Examples { labels: &self.labels, groups: &self.groups, classes }, config)
    }
}

/// Which image is for what, as positions in the dataset.
pub(crate) struct Split {
    pub(crate) train: Vec<usize>,
    /// Empty where selection is by cross-validation inside `train`.
    pub(crate) validation: Vec<usize>,
    pub(crate) test: Vec<usize>,
    /// One fold a training image; empty where there is a validation set.
    pub(crate) folds: Vec<usize>,
}

impl Dataset {
    /// Reads the images and runs the source network, with trained and with random weights, up to `cut`.
    pub(crate) fn load(
        config: &FitConfig,
        folder: ImageFolder,
        model: &Model,
        cut: &str,
        context: &Context<'_>,
    ) -> Result<Self> {
        let (dataset, mut taps) = Self::tapped(config, folder, model, &[cut], context)?;
        let Some(Tapped { trained, random }) = taps.pop() else { return Ok(dataset) };
        if spread(&trained) < LEAST_SPREAD {
            context.progress.message(&format!(
                "the features of {} at '{cut}' are the same for all images up to rounding: its weights are random or damaged, or it \
                 needs other preprocessing; what is fitted to them means nothing",
                model.card().name
            ));
        }
        Ok(Self { features: trained, random, ..dataset })
    }

    /// As [`load`](Self::load), for several cuts at once; the features are apart.
    pub(crate) fn tapped(
        config: &FitConfig,
        folder: ImageFolder,
        model: &Model,
        cuts: &[&str],
        context: &Context<'_>,
    ) -> Result<(Self, Vec<Tapped>)> {
        let paths: Vec<PathBuf> = folder.items.iter().map(|item| item.path.clone()).collect();
        let last = cuts.last().copied().unwrap_or_default();
        let chosen = precision::resolve(config, &folder, model, last, context)?;
        let ingest = Ingest {
            limits: context.limits,
            inspections: Some(inspection_store(&context.cache, model.card().preprocessing.channels())),
            networks: vec![
                Network::trained(model, cuts, &chosen.precision, &context.cache)?,
                Network::random(model, cuts, &chosen.precision, config.seed, &context.cache)?,
            ],
            preprocessing: model.card().preprocessing.clone(),
            view: View::Plain,
            progress: context.progress,
        };
        context.progress.start("reading images, computing features", paths.len() as u64);
        let ingested = ingest.run(&paths)?;
        context.progress.finish();
        let findings = findings(&folder, &ingested, config.folds);
        let told = findings.iter().filter(|finding| !is_fatal(finding));
        told.for_each(|finding| context.progress.message(finding_text(finding).trim_end()));
        refuse_errors(&findings, &folder.items, &ingested.files, config)?;
        let usable = Usable::of(folder.items, ingested.files);
        let split = usable.split(&folder.classes, config)?;
        let Usable { items, contents, inspections, labels, .. } = usable;
        tell_of_known(&config.source, &contents, context);
        let mut trained = ingested.features;
        let random = trained.split_off(trained.len() / 2);
        let taps = trained.into_iter().zip(random).map(|(trained, random)| Tapped { trained, random });
        let dataset = Self {
            classes: folder.classes,
            features: Array2::default([0, 0]),
            random: Array2::default([0, 0]),
            pixels: pixels(&inspections)?,
            items,
            contents,
            labels,
            label_file: folder.labels.map(|labels| labels.content),
            split,
            findings,
            timing: ingested.timing,
            precision: chosen,
        };
        Ok((dataset, taps.collect()))
    }

    /// Labels at these positions.
    pub(crate) fn labels_at(&self, positions: &[usize]) -> Vec<usize> {
        at(&self.labels, positions)
    }
}

/// Says so where the source is a run that has learned from some of the images: then neither folds nor test are new to it.
fn tell_of_known(source: &str, contents: &[ContentHash], context: &Context<'_>) {
    let Some(learned) = learned_contents(Path::new(source)) else { return };
    let known = contents.iter().filter(|content| learned.contains(&hex(content))).count();
    if known > 0 {
        context.progress.message(&format!(
            "warning: {source} has learned from {known} of the {} images: what is measured on them says nothing about new ones",
            contents.len()
        ));
    }
}

/// What differs between images of less is rounding of single precision.
const LEAST_SPREAD: f64 = 1e-5;

/// Root of the mean variance of the columns over the mean square of all numbers.
fn spread(features: &Array2<f32>) -> f64 {
    let (mut variance, mut square) = (0.0, 0.0);
    for column in features.columns() {
        let mean = column.iter().map(|value| f64::from(*value)).sum::<f64>() / column.len().max(1) as f64;
        variance += column.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>();
        square += column.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    }
    (variance / square.max(f64::MIN_POSITIVE)).sqrt()
}

/// Lists the folder and splits it by the labels alone, so that classes that are too small are refused before any image is
/// read.
pub(crate) fn scan(config: &FitConfig) -> Result<ImageFolder> {
    let folder = labelled(&config.data, config.label_file().as_ref())?;
    folder.check_training(2).map_err(Error::data)?;
    let labels: Vec<usize> = folder.items.iter().map(|item| item.class).collect();
    let groups: Vec<usize> = (0..labels.len()).collect();
    let examples = Examples { labels: &labels, groups: &groups, classes: &folder.classes };
    let training = Split::of(&folder.items, examples, config)?.train.len();
    match too_many(config, training) {
        Some(mistake) if config.method != Method::Probe => Err(Error::Usage(mistake)),
        _ => Ok(folder),
    }
}

/// More images in a batch or a step than there are to train on.
fn too_many(config: &FitConfig, training: usize) -> Option<String> {
    let (tuning, place) = (&config.tuning, config.data.display());
    if let Some(batch) = tuning.batch_size.filter(|batch| *batch > training) {
        return Some(format!("batch-size: {batch} is more than the {training} training images of {place}"));
    }
    let (batches, batch) = (tuning.accumulate, tuning.batch());
    (batches > 1 && tuning.images_of_step() > training).then(|| {
        format!(
            "accumulate: {batches} batches of {batch} are more than the {training} training images of {place}"
        )
    })
}

/// The values at these positions.
pub(crate) fn at<T: Clone>(values: &[T], positions: &[usize]) -> Vec<T> {
    positions.iter().filter_map(|position| values.get(*position).cloned()).collect()
}

/// The rows at these positions.
pub(crate) fn rows(matrix: &Array2<f32>, positions: &[usize]) -> Array2<f32> {
    matrix.select(Axis(0), positions)
}

/// What is skipped and counted instead of ending the run at once.
const SKIPPED: [&str; 2] = ["unreadable-file", "unreadable-path"];

fn is_fatal(finding: &Finding) -> bool {
    finding.severity == Severity::Error && !SKIPPED.contains(&finding.code)
}

/// Unreadable files are skipped up to a share; anything else that the doctor calls an error ends the run.
fn refuse_errors<T>(
    findings: &[Finding],
    items: &[Item],
    files: &[std::result::Result<T, String>],
    config: &FitConfig,
) -> Result<()> {
    let unreadable = files.iter().filter(|file| file.is_err()).count();
    let share = unreadable as f64 / files.len().max(1) as f64;
    if share > config.max_unreadable {
        let named = |(item, file): (&Item, &std::result::Result<T, String>)| {
            file.as_ref().err().map(|reason| format!("{}: {reason}", item.path.display()))
        };
        let first = items.iter().zip(files).find_map(named).unwrap_or_default();
        return Err(Error::Data(format!(
            "{unreadable} of {} files cannot be read ({:.0} %, allowed are {:.0} %; --max-unreadable). The first: {first}. \
             `regraft check {}` gives the reasons",
            files.len(),
            100.0 * share,
            100.0 * config.max_unreadable,
            [vec![config.data.display().to_string()], config.label_options()].concat().join(" ")
        )));
    }
    let fatal = findings.iter().filter(|finding| is_fatal(finding));
    let messages: Vec<&str> = fatal.map(|finding| finding.message.as_str()).collect();
    if messages.is_empty() { Ok(()) } else { Err(Error::Data(messages.join("\n"))) }
}

fn pixels(inspections: &[Inspection]) -> Result<Array2<f32>> {
    let length = inspections.first().map_or(0, |inspection| inspection.thumbnail.0.len());
    let values = inspections
        .iter()
        .flat_map(|inspection| inspection.thumbnail.0.iter().map(|value| f32::from(*value)));
    Array2::from_shape_vec((inspections.len(), length), values.collect()).map_err(Error::data)
}

impl Split {
    /// Divides as the folders say, and inside the training part into folds where no folder serves selection.
    fn of(items: &[Item], examples: Examples<'_>, config: &FitConfig) -> Result<Self> {
        let parts: Vec<Part> = items.iter().map(|item| item.part).collect();
        let divided = divide(&parts, &examples, config.test_fraction, config.seed).map_err(Error::data)?;
        let Division { train, validation, test } = divided;
        let folds = if validation.is_empty() {
            let (labels, groups) = (at(examples.labels, &train), at(examples.groups, &train));
            let inside = Examples { labels: &labels, groups: &groups, classes: examples.classes };
            stratified_folds(&inside, fold_count(&labels, config.folds), config.seed).map_err(Error::data)?
        } else {
            Vec::new()
        };
        Ok(Self { train, validation, test, folds })
    }
}

/// As many folds as were asked for, but no more than the smallest class has images.
pub(crate) fn fold_count(labels: &[usize], wanted: usize) -> usize {
    let mut counts = std::collections::BTreeMap::new();
    labels.iter().for_each(|label| *counts.entry(label).or_insert(0usize) += 1);
    counts.into_values().min().unwrap_or(0).clamp(2, wanted.max(2))
}
