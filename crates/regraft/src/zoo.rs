//! `regraft zoo`: what source models there are.

use std::fmt::{self, Write as _};
use std::path::Path;

use regraft_graph::{Bindings, Card, Cost, Model, dump};
use regraft_zoo::{Entry, MatchReport, architecture, random_weights};
use serde::Serialize;

use crate::source::{Source, find_source};
use crate::{Error, Result};

/// Every entry of the catalogue.
///
/// # Errors
/// None in a program that passed its tests.
pub fn list() -> Result<&'static [Entry]> {
    regraft_zoo::list().map_err(Error::model)
}

/// The catalogue as a table for a terminal.
///
/// # Errors
/// As [`list`].
pub fn table() -> Result<String> {
    let mut text = format!(
        "{:<28} {:>9} {:>9} {:>7}  {:<14} {}\n",
        "name", "params M", "MACs G", "top-1", "licence", "weights"
    );
    for entry in list()? {
        let weights = if entry.embedded { "built in" } else { "your file: --source FILE --arch NAME" };
        let (parameters, macs) = (entry.parameters as f64 / 1e6, entry.macs as f64 / 1e9);
        let accuracy = 100.0 * entry.source_accuracy;
        let (name, licence) = (&entry.name, &entry.licence);
        let _ = writeln!(
            text,
            "{name:<28} {parameters:>9.1} {macs:>9.2} {accuracy:>6.1} %  {licence:<14} {weights}"
        );
    }
    Ok(text)
}

/// All that is known about one source model.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// Origin, licence, preprocessing, labels, roles.
    pub card: Card,
    /// Numbers that are stored.
    pub parameters: u64,
    /// Multiply–accumulate operations for one image of the card's size.
    pub macs: u64,
    /// Whether the weights are at hand; an architecture without weights can be looked at but not used.
    pub has_weights: bool,
    /// Which tensors of a file the model took; `None` where the source was saved with its graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<MatchReport>,
    /// What had to be assumed of a network that was read from a file, or was left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(skip)]
    model: Model,
}

/// Looks up a zoo name, a run, a model folder, or a weight file.
///
/// # Errors
/// As [`load_source`](crate::load_source).
pub fn info(name: impl AsRef<Path>, architecture: Option<&str>) -> Result<Info> {
    let name = name.as_ref();
    let (source, has_weights) = match name.to_str().and_then(without_weights) {
        Some(model) => (Source::from(model?), false),
        None => (find_source(name, architecture)?, true),
    };
    let Source { model, matched, notes } = source;
    let [height, width] = model.card().preprocessing.crop;
    let cost = model.graph().cost(&Bindings { batch: 1, height, width }).map_err(Error::model)?;
    let Cost { parameters, macs } = cost;
    Ok(Info { card: model.card().clone(), parameters, macs, has_weights, matched, notes, model })
}

/// The architecture behind a catalogue entry whose weights the user has to bring.
fn without_weights(name: &str) -> Option<Result<Model>> {
    let entry = regraft_zoo::info(name).ok().filter(|entry| !entry.embedded)?;
    let architecture = architecture(&entry.architecture)?;
    let model = || {
        let network = architecture.network(1000).map_err(Error::model)?;
        let weights = random_weights(&network.graph, 0).map_err(Error::model)?;
        let card = Card {
            name: entry.name.clone(),
            licence: Some(entry.licence.clone()),
            source_task: Some(entry.source_task.clone()),
            source_accuracy: Some(entry.source_accuracy),
            roles: network.roles,
            ..architecture.card(&entry.origin)
        };
        Model::new(network.graph, weights, card).map_err(Error::model)
    };
    Some(model())
}

impl Info {
    /// One line a node, with shapes, parameters, multiply–accumulates and cut points.
    ///
    /// # Errors
    /// The card's image size is too small for the network.
    pub fn graph_text(&self) -> Result<String> {
        dump(&self.model).map_err(Error::model)
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Card {
            name,
            origin,
            sha256,
            licence,
            preprocessing,
            labels,
            source_task,
            source_accuracy,
            roles,
        } = &self.card;
        let unknown = || "unknown".to_owned();
        let mut row = |key: &str, value: String| writeln!(f, "{key:<16} {value}");
        row("name", name.clone())?;
        row("origin", origin.clone())?;
        row("SHA-256", sha256.clone().unwrap_or_else(unknown))?;
        row("licence", licence.clone().unwrap_or_else(unknown))?;
        row(
            "weights",
            if self.has_weights { "at hand" } else { "your own file: --source FILE --arch NAME" }.to_owned(),
        )?;
        row("source task", source_task.clone().unwrap_or_else(unknown))?;
        row(
            "accuracy",
            source_accuracy.map_or_else(unknown, |accuracy| format!("{:.1} % (published)", 100.0 * accuracy)),
        )?;
        row("parameters", format!("{:.2} million", self.parameters as f64 / 1e6))?;
        row("MACs", format!("{:.3} billion an image", self.macs as f64 / 1e9))?;
        let [height, width] = preprocessing.crop;
        row(
            "image",
            format!(
                "{height}×{width}, {:?}, {:?}, mean {:?}, std {:?}",
                preprocessing.resize, preprocessing.filter, preprocessing.mean, preprocessing.std
            ),
        )?;
        row("labels", labels.len().to_string())?;
        row("features", roles.features.clone())?;
        row("logits", roles.logits.clone().unwrap_or_else(|| "none".to_owned()))?;
        row("cut points", roles.cuts.join(", "))?;
        if let Some(report) = &self.matched {
            row("match", report.to_string().trim_end().to_owned())?;
        }
        self.notes.iter().try_for_each(|note| row("note", note.clone()))
    }
}
