//! `regraft predict`: labels and probabilities for new images.

use std::path::PathBuf;

use ndarray::ArrayView1;
use regraft_graph::Model;
use serde::Serialize;

use crate::cache::Cache;
use crate::ingest::{Ingest, Network};
use crate::input::check_takes_images;
use crate::inputs::{Input, expand};
use crate::precision::FrozenPrecision;
use crate::source::resolve_cut;
use crate::{Context, Error, Result};

/// What a model says about one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The file, as it was named or found.
    pub path: String,
    /// The most probable label.
    pub label: String,
    /// Its probability.
    pub probability: f64,
    /// The most probable labels, best first.
    pub top: Vec<ScoredLabel>,
}

/// A label and its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoredLabel {
    /// Name of the class.
    pub label: String,
    /// Between 0 and 1.
    pub probability: f64,
}

/// A file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unusable {
    /// The file, as it was named or found.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// Files between two answers: the first label appears long before the last file is read.
const FILES_PER_ANSWER: usize = 256;

/// Labels files, folders and standard input (`-`), handing each answer to `receive` as soon as it is there, in order.
///
/// A run is computed in the precision that its head was fitted to: [`FrozenPrecision::of_source`]. Returns the number of
/// files that could not be used.
///
/// # Errors
/// The model has no head, an input does not exist, or `receive` fails. A file that cannot be read is handed to
/// `receive` as such.
pub fn predict(
    model: &Model,
    precision: &FrozenPrecision,
    inputs: &[PathBuf],
    top: usize,
    context: &Context<'_>,
    receive: &mut dyn FnMut(std::result::Result<Prediction, Unusable>) -> Result<()>,
) -> Result<usize> {
    check_takes_images(model)?;
    let inputs = expand(inputs)?;
    let labels = labels(model)?;
    let logits = resolve_cut(model, "logits")?;
    let ingest = Ingest {
        limits: context.limits,
        inspections: None,
        networks: vec![Network::trained(model, &logits, precision, &Cache::disabled())?],
        preprocessing: model.card().preprocessing.clone(),
        progress: context.progress,
    };
    let mut unusable = 0;
    for chunk in inputs.chunks(FILES_PER_ANSWER) {
        let paths: Vec<PathBuf> = chunk.iter().map(|input| input.file().to_path_buf()).collect();
        let ingested = ingest.run(&paths)?;
        let mut rows = ingested.features.iter().flat_map(|logits| logits.rows());
        for (input, file) in chunk.iter().zip(ingested.files) {
            let answer = match file {
                Ok(_) => rows.next().map(|row| Ok(prediction(input, row, &labels, top))),
                Err(reason) => Some(Err(Unusable { path: input.name(), reason })),
            };
            unusable += usize::from(matches!(answer, Some(Err(_))));
            answer.into_iter().try_for_each(&mut *receive)?;
        }
    }
    Ok(unusable)
}

/// The names of the logits; numbers where the card has none.
pub(crate) fn labels(model: &Model) -> Result<Vec<String>> {
    let card = model.card();
    let wire = card.roles.logits.as_deref().ok_or_else(|| {
        Error::Model(format!(
            "{} has no head, so there is nothing to predict; use `regraft embed`, or fit a head",
            card.name
        ))
    })?;
    let fact = model.graph().fact(wire).map_err(Error::model)?;
    let classes = match fact.shape.get(1) {
        Some(regraft_graph::Dim::Fixed(classes)) => *classes,
        _ => 0,
    };
    let name = |index: usize| card.labels.get(index).cloned().unwrap_or_else(|| format!("class {index}"));
    Ok((0..classes).map(name).collect())
}

fn prediction(input: &Input, logits: ArrayView1<f32>, labels: &[String], top: usize) -> Prediction {
    let probabilities = softmax(logits);
    let mut ranked: Vec<usize> = (0..probabilities.len()).collect();
    let probability = |index: &usize| probabilities.get(*index).copied().unwrap_or_default();
    ranked.sort_by(|a, b| probability(b).total_cmp(&probability(a)).then(a.cmp(b)));
    let scored = |index: usize| ScoredLabel {
        label: labels.get(index).cloned().unwrap_or_default(),
        probability: probability(&index),
    };
    let top: Vec<ScoredLabel> = ranked.into_iter().take(top.max(1)).map(scored).collect();
    let (label, probability) =
        top.first().map(|best| (best.label.clone(), best.probability)).unwrap_or_default();
    Prediction { path: input.name(), label, probability, top }
}

/// `exp(x) / Σ exp(x)` in double precision, by way of the largest value so that nothing overflows.
pub(crate) fn softmax(logits: ArrayView1<f32>) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}
