//! `--source`: a zoo name, a run, a model folder, or a weight file.

use std::path::Path;

use regraft_formats::model_folder;
use regraft_graph::Model;
use regraft_zoo::MatchReport;

use crate::{Error, Result};

/// Finds a source model. What exists as a path is read from there; anything else is a name of the zoo.
/// `architecture` is for a weight file, the one kind of source that does not know its own.
///
/// # Errors
/// [`Error::Model`]: nothing of that name, or a file that cannot be used; the message says what to do.
/// [`Error::Usage`]: an architecture for a source that is not a weight file.
pub fn load_source(source: impl AsRef<Path>, architecture: Option<&str>) -> Result<Model> {
    matched_source(source.as_ref(), architecture).map(|(model, _)| model)
}

/// As [`load_source`], and which tensors of a file the model took, where that is a question.
pub(crate) fn matched_source(
    path: &Path,
    architecture: Option<&str>,
) -> Result<(Model, Option<MatchReport>)> {
    if path.is_file() || regraft_zoo::is_entry(path) {
        let loaded = regraft_zoo::load_file(path, architecture).map_err(Error::model)?;
        return Ok((loaded.0, Some(loaded.1)));
    }
    if let Some(architecture) = architecture {
        let message = "is for weight files (.pth, .safetensors)";
        return Err(Error::Usage(format!(
            "--arch {architecture} {message}, and {} is not one",
            path.display()
        )));
    }
    let without_report = |model| (model, None);
    if path.join("model").join("graph.json").is_file() {
        model_folder::load(&path.join("model")).map(without_report).map_err(Error::model)
    } else if path.join("graph.json").is_file() || regraft_zoo::is_hub_folder(path) {
        regraft_zoo::load_folder(path).map_err(Error::model)
    } else if path.is_dir() {
        let message = "is a folder without 'graph.json', 'model/graph.json' or 'config.json' and weights: neither a run \
                       nor a model";
        Err(Error::Model(format!("{} {message}", path.display())))
    } else if looks_like_a_path(path) {
        Err(Error::Model(format!("{} does not exist; check the spelling", path.display())))
    } else {
        regraft_zoo::resolve(&path.to_string_lossy()).map(without_report).map_err(Error::model)
    }
}

/// No name of the zoo has a folder in it or ends like a weight file.
fn looks_like_a_path(source: &Path) -> bool {
    let weights = ["pth", "pt", "bin", "safetensors", "npz"];
    source.components().count() > 1
        || source.extension().is_some_and(|end| weights.iter().any(|weights| end == *weights))
}

/// The wire that a `--cut` names: `features`, `logits`, or the wire itself.
///
/// # Errors
/// [`Error::Usage`]: there is no such wire; the message names some that look alike.
pub fn resolve_cut(model: &Model, cut: &str) -> Result<String> {
    let roles = &model.card().roles;
    let wire = match cut {
        "features" => Some(roles.features.as_str()),
        "logits" => roles.logits.as_deref(),
        wire => Some(wire),
    };
    let wire = wire.ok_or_else(|| {
        Error::Usage(format!("{} has no logits: it was cut before its head", model.card().name))
    })?;
    let known = model.graph().fact(wire).map(|_| wire.to_owned());
    known.map_err(|error| {
        let cuts = roles.cuts.join(", ");
        Error::Usage(format!(
            "--cut {cut}: {error}. Cut points of {}: features, logits, {cuts}",
            model.card().name
        ))
    })
}
