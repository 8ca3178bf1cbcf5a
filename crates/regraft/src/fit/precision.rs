//! The precision of the frozen part of a run: as the user wants it, or the fastest one that costs no accuracy.
//!
//! `auto` looks at training images only. A head is chosen by cross-validation on single-precision features of a sample,
//! and the same kind of head is cross-validated on the features of every other precision. The fastest one whose accuracy
//! is within one standard error of single precision's is taken.

use std::path::PathBuf;

use ndarray::Array2;
use regraft_adapt::{HeadKind, Partition, select};
use regraft_data::source::ImageFolder;
use regraft_data::split::{Examples, stratified_folds};
use regraft_engine::{InstructionSet, Precision};
use regraft_graph::Model;
use regraft_report::record::{PrecisionCandidate, PrecisionRecord};

use super::dataset::{Usable, at, fold_count};
use crate::ingest::{Ingest, Network};
use crate::precision::{
    CALIBRATION_IMAGES, FrozenPrecision, PrecisionChoice, calibrate, spread, warn_of_emulation,
};
use crate::test_time::View;
use crate::{Context, Error, FitConfig, Method, Result};

/// Training images that `auto` looks at, about.
const SAMPLE: usize = 1000;

/// Fewest images of a class in the sample, if it has them.
const FEWEST_OF_CLASS: usize = 10;

/// What the frozen part is computed in, and why.
pub(crate) struct Chosen {
    pub(crate) precision: FrozenPrecision,
    pub(crate) record: PrecisionRecord,
}

impl Chosen {
    fn asked_for(precision: FrozenPrecision, calibration_images: usize) -> Self {
        let name = precision.name().to_owned();
        let record = PrecisionRecord {
            asked: name.clone(),
            used: name,
            calibration_images,
            ..PrecisionRecord::default()
        };
        Self { precision, record }
    }

    /// Of what stays frozen beside a training: single precision, whatever is trained in.
    fn beside_training(choice: PrecisionChoice) -> Self {
        let chosen = Self::asked_for(FrozenPrecision::Float32, 0);
        let is_other = choice != PrecisionChoice::Float32;
        let reason = if is_other { BESIDE_TRAINING.to_owned() } else { String::new() };
        let record = PrecisionRecord { asked: choice.name().to_owned(), reason, ..chosen.record };
        Self { record, ..chosen }
    }
}

/// Why a precision that was asked for is not that of the frozen part of a network that is trained.
const BESIDE_TRAINING: &str = "for the training alone; frozen features and answers are in f32";

/// Calibrates and chooses, as far as the configuration needs it.
pub(crate) fn resolve(
    config: &FitConfig,
    folder: &ImageFolder,
    model: &Model,
    cut: &str,
    context: &Context<'_>,
) -> Result<Chosen> {
    match config.precision {
        choice if config.method != Method::Probe => return Ok(Chosen::beside_training(choice)),
        PrecisionChoice::Float32 => return Ok(Chosen::asked_for(FrozenPrecision::Float32, 0)),
        PrecisionChoice::BFloat16 => {
            warn_of_emulation(Precision::BFloat16, "a network", context);
            return Ok(Chosen::asked_for(FrozenPrecision::BFloat16, 0));
        }
        PrecisionChoice::Int8 | PrecisionChoice::Auto => {}
    }
    let training = Training::read(config, folder, model.card().preprocessing.channels(), context)?;
    let calibration_images = training.paths.len().min(CALIBRATION_IMAGES);
    let set = InstructionSet::detect();
    if config.precision == PrecisionChoice::Int8 {
        let int8 = FrozenPrecision::Int8(calibrate(model, cut, &training.paths, context)?);
        return Ok(Chosen::asked_for(int8, calibration_images));
    }
    // The fastest first; a precision without instructions for it gains nothing.
    let mut candidates = Vec::new();
    if Precision::Int8.is_native(set) {
        candidates.push(FrozenPrecision::Int8(calibrate(model, cut, &training.paths, context)?));
    }
    if Precision::BFloat16.is_native(set) {
        candidates.push(FrozenPrecision::BFloat16);
    }
    candidates.push(FrozenPrecision::Float32);
    let mut chosen = automatic(config, &training.sample(), candidates, cut, model, context)?;
    chosen.record.calibration_images = calibration_images;
    Ok(chosen)
}

/// Images that may be learned from.
pub(super) struct Training {
    pub(super) paths: Vec<PathBuf>,
    labels: Vec<usize>,
    groups: Vec<usize>,
    classes: Vec<String>,
}

impl Training {
    /// The training part as the run will have it, of images of so many channels.
    pub(super) fn read(
        config: &FitConfig,
        folder: &ImageFolder,
        channels: usize,
        context: &Context<'_>,
    ) -> Result<Self> {
        let paths: Vec<PathBuf> = folder.items.iter().map(|item| item.path.clone()).collect();
        let ingest = Ingest::inspecting(channels, context);
        context.progress.start("reading images", paths.len() as u64);
        let ingested = ingest.run(&paths)?;
        context.progress.finish();
        let usable = Usable::of(folder.items.clone(), ingested.files);
        let train = usable.split(&folder.classes, config)?.train;
        Ok(Self {
            paths: at(&usable.items, &train).into_iter().map(|item| item.path).collect(),
            labels: at(&usable.labels, &train),
            groups: at(&usable.groups, &train),
            classes: folder.classes.clone(),
        })
    }

    /// Some images of every class, as its share of the images is.
    fn sample(&self) -> Self {
        let mut positions = Vec::new();
        for class in 0..self.classes.len() {
            let labels = self.labels.iter().enumerate();
            let of_class: Vec<usize> =
                labels.filter(|(_, label)| **label == class).map(|(position, _)| position).collect();
            let share = (of_class.len() * SAMPLE).div_ceil(self.labels.len().max(1));
            positions.extend(spread(&of_class, share.max(FEWEST_OF_CLASS)));
        }
        Self {
            paths: at(&self.paths, &positions),
            labels: at(&self.labels, &positions),
            groups: at(&self.groups, &positions),
            classes: self.classes.clone(),
        }
    }
}

/// Accuracy of a head on features of one precision, by cross-validation.
struct Score {
    kind: HeadKind,
    accuracy: f64,
    standard_error: f64,
}

fn automatic(
    config: &FitConfig,
    sample: &Training,
    candidates: Vec<FrozenPrecision>,
    cut: &str,
    model: &Model,
    context: &Context<'_>,
) -> Result<Chosen> {
    let features = features(model, cut, &candidates, sample, context)?;
    let partition = partition(config, sample)?;
    let [.., exact] = features.as_slice() else { return Err(Error::Usage("no precision".to_owned())) };
    let reference = score(exact, sample, &partition, &config.heads)?;
    let scores = features.iter().map(|features| score(features, sample, &partition, &[reference.kind]));
    let scores: Vec<Score> = scores.collect::<Result<_>>()?;
    let keeps = |score: &Score| reference.accuracy - score.accuracy <= reference.standard_error;
    // The last one is the reference itself.
    let position = scores.iter().position(keeps).unwrap_or(candidates.len().saturating_sub(1));
    let record = record(&candidates, &scores, position, &reference, sample.labels.len());
    let precision = candidates.into_iter().nth(position).unwrap_or_default();
    Ok(Chosen { precision, record })
}

/// One matrix a precision, with a row for each image of the sample.
fn features(
    model: &Model,
    cut: &str,
    candidates: &[FrozenPrecision],
    sample: &Training,
    context: &Context<'_>,
) -> Result<Vec<Array2<f32>>> {
    let networks =
        candidates.iter().map(|precision| Network::trained(model, &[cut], precision, &context.cache));
    let ingest = Ingest {
        limits: context.limits,
        inspections: None,
        networks: networks.collect::<Result<_>>()?,
        preprocessing: model.card().preprocessing.clone(),
        view: View::Plain,
        progress: context.progress,
    };
    context.progress.start("comparing precisions", sample.paths.len() as u64);
    let ingested = ingest.run(&sample.paths)?;
    context.progress.finish();
    let unreadable = ingested.files.iter().zip(&sample.paths).find(|(file, _)| file.is_err());
    match unreadable {
        Some((_, path)) => Err(Error::Data(format!("{}: can no longer be read", path.display()))),
        None => Ok(ingested.features),
    }
}

fn partition(config: &FitConfig, sample: &Training) -> Result<Partition> {
    let Training { labels, groups, classes, .. } = sample;
    let folds = fold_count(labels, config.folds);
    let folds = stratified_folds(&Examples { labels, groups, classes }, folds, config.seed);
    Partition::folds(&folds.map_err(Error::data)?).map_err(Error::data)
}

fn score(
    features: &Array2<f32>,
    sample: &Training,
    partition: &Partition,
    kinds: &[HeadKind],
) -> Result<Score> {
    let examples = regraft_adapt::Examples::new(features.view(), &sample.labels, sample.classes.len());
    let selection = select(&examples.map_err(Error::data)?, partition, kinds).map_err(Error::data)?;
    let chosen = selection.table.iter().find(|score| score.chosen);
    let chosen = chosen.ok_or_else(|| Error::Data("no head could be fitted".to_owned()))?;
    let (accuracy, standard_error) = (chosen.accuracy, chosen.accuracy_standard_error);
    Ok(Score { kind: chosen.kind, accuracy, standard_error })
}

fn record(
    candidates: &[FrozenPrecision],
    scores: &[Score],
    position: usize,
    reference: &Score,
    sample: usize,
) -> PrecisionRecord {
    let name = |index: usize| candidates.get(index).map_or("", |candidate| candidate.name());
    let candidate = |(index, score): (usize, &Score)| PrecisionCandidate {
        precision: name(index).to_owned(),
        accuracy: score.accuracy,
        standard_error: score.standard_error,
        chosen: index == position,
    };
    let accuracy = scores.get(position).map_or(f64::NAN, |score| score.accuracy);
    let used = name(position);
    let head = reference.kind.name();
    let [accuracy, exact, error] =
        [accuracy, reference.accuracy, reference.standard_error].map(|share| 100.0 * share);
    let within = format!("{exact:.1} % in f32, with a standard error of {error:.1} points");
    let reason = match (position, used == Precision::Float32.name()) {
        (0, true) => "this processor has no instructions for anything faster".to_owned(),
        (_, true) => format!("nothing faster keeps the cross-validated accuracy of a {head} head, {within}"),
        (_, false) => {
            format!("a {head} head keeps its accuracy in cross-validation: {accuracy:.1} %; {within}")
        }
    };
    PrecisionRecord {
        asked: PrecisionChoice::Auto.name().to_owned(),
        used: used.to_owned(),
        reason,
        candidates: scores.iter().enumerate().map(candidate).collect(),
        sample,
        calibration_images: 0,
    }
}
