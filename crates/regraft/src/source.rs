//! `--source`: a zoo name, a run, a model folder, or a file of weights or of a whole network.

use std::path::{Path, PathBuf};

use regraft_formats::{Imported, model_folder};
use regraft_graph::{Graph, Model};
use regraft_zoo::{MatchReport, split_entry};

use crate::folder::{WeightFiles, weight_file, weights_in};
use crate::input::IMAGE_SIZES;
use crate::zoo::{self, Zoo};
use crate::{Error, Progress, Result};

/// Finds a source model. What exists as a path is read from there; anything else is a name of the zoo.
/// `architecture` is for what a file does not say: the name of an architecture for tensors by name (PyTorch, safetensors,
/// npz), the file that describes the network for Caffe's and Keras's weights.
///
/// # Errors
/// [`Error::Model`]: nothing of that name, or a file that cannot be used; the message says what to do.
/// [`Error::Usage`]: an architecture for a source that has one.
pub fn load_source(source: impl AsRef<Path>, architecture: Option<&str>) -> Result<Model> {
    find_source(source.as_ref(), architecture).map(|source| source.model)
}

/// As [`load_source`], and tells `progress` what was not plain about reading it.
///
/// # Errors
/// As [`load_source`].
pub fn load_source_telling(
    source: impl AsRef<Path>,
    architecture: Option<&str>,
    progress: &dyn Progress,
) -> Result<Model> {
    let source = find_source(source.as_ref(), architecture)?;
    source.messages().iter().for_each(|message| progress.message(message));
    Ok(source.model)
}

/// A source model, and what is to be said about how it was read.
pub(crate) struct Source {
    pub(crate) model: Model,
    /// Which tensors of a file the model took, where that is a question.
    pub(crate) matched: Option<MatchReport>,
    /// What had to be assumed or left out.
    pub(crate) notes: Vec<String>,
}

impl From<Model> for Source {
    fn from(model: Model) -> Self {
        Self { model, matched: None, notes: Vec::new() }
    }
}

impl Source {
    fn with_report((model, matched): (Model, Option<MatchReport>)) -> Self {
        Self { matched, ..Self::from(model) }
    }

    /// Sentences for the user, where reading the source was not plain.
    pub(crate) fn messages(&self) -> Vec<String> {
        let report = self.matched.as_ref().filter(|report| !report.is_plain());
        let report = report.map(|report| report.to_string().trim_end().to_owned());
        report.into_iter().chain(self.notes.iter().cloned()).collect()
    }
}

/// As [`load_source`], with what is to be said.
pub(crate) fn find_source(source: &Path, architecture: Option<&str>) -> Result<Source> {
    match source.to_str().filter(|name| is_name(name, source)) {
        Some(name) if architecture.is_none() => load_name(name),
        _ => load_path(source, architecture),
    }
}

/// Whether a source is a name of the zoo. What exists under that name goes first, unless it is an empty folder or another one
/// that is no source, and the name is known.
pub(crate) fn is_name(name: &str, source: &Path) -> bool {
    let is_known = || regraft_zoo::info(name).is_ok();
    zoo::is_zoo_name(name) && (!source.exists() || (is_no_source(source) && is_known()))
}

fn is_no_source(path: &Path) -> bool {
    let is_run = path.join("model").join("graph.json").is_file();
    path.is_dir() && !is_run && !describes_itself(path) && single_file(path).is_none()
}

/// Whether the images that a network asks for can be made at all.
pub(crate) fn check_images(model: &Model) -> Result<()> {
    let preprocessing = &model.card().preprocessing;
    let [height, width] = preprocessing.crop;
    let refused =
        |what: String| Err(Error::Model(format!("{} cannot be shown images: {what}", model.card().name)));
    if let Err(what) = model_folder::check_preprocessing(preprocessing) {
        return refused(what);
    }
    if model.graph().input_fact().shape.len() == 4
        && !preprocessing.crop.iter().all(|side| IMAGE_SIZES.contains(side))
    {
        let most = IMAGE_SIZES.end();
        return refused(format!("it asks for {height}×{width} pixels, and at most {most}×{most} are made"));
    }
    Ok(())
}

/// A model that is built in needs neither the user's folder nor the environment.
fn load_name(name: &str) -> Result<Source> {
    match regraft_zoo::info(name) {
        Ok(entry) if entry.from == regraft_zoo::From::Embedded => {
            regraft_zoo::embedded(entry).map(Source::from).map_err(Error::model)
        }
        _ => {
            let zoo = Zoo::of_user()?;
            zoo.load(&zoo.entry(name)?)
        }
    }
}

/// Reads a model from a file or a folder.
///
/// # Errors
/// As [`load_source`].
pub(crate) fn load_path(path: &Path, architecture: Option<&str>) -> Result<Source> {
    let source = read_path(path, architecture)?;
    check_images(&source.model)?;
    Ok(source)
}

fn read_path(path: &Path, architecture: Option<&str>) -> Result<Source> {
    if let Some(file) = single_file(path) {
        return from_file(&file, architecture);
    }
    if let Some(architecture) = architecture {
        let message = "is for weight files (.pth, .safetensors, .caffemodel, .h5)";
        return Err(Error::Usage(format!(
            "--arch {architecture} {message}, and {} is not one",
            path.display()
        )));
    }
    let run = path.join("model");
    if run.join("graph.json").is_file() {
        model_folder::load(&run).map(Source::from).map_err(Error::model)
    } else if describes_itself(path) {
        from_folder(path)
    } else {
        Err(unusable(path))
    }
}

/// The file that a source is read from; `None` for a folder that describes its model itself, and for what is no source.
pub(crate) fn single_file(path: &Path) -> Option<PathBuf> {
    if path.is_file() || split_entry(path).1.is_some() {
        return Some(path.to_path_buf());
    }
    let of_browsers = path.join("model.json");
    if of_browsers.is_file() {
        return Some(of_browsers);
    }
    let is_run = path.join("model").join("graph.json").is_file();
    weight_file(path).filter(|_| !is_run && !describes_itself(path))
}

fn describes_itself(folder: &Path) -> bool {
    folder.join("graph.json").is_file() || regraft_zoo::is_hub_folder(folder)
}

fn from_folder(folder: &Path) -> Result<Source> {
    let mut source = regraft_zoo::load_folder(folder).map(Source::with_report).map_err(Error::model)?;
    if regraft_zoo::lacks_preprocessing(folder) {
        source.notes.push(format!(
            "{} has no preprocessor_config.json: images are prepared as is usual for {}",
            folder.display(),
            source.matched.as_ref().map_or("its architecture", |report| report.architecture)
        ));
    }
    Ok(source)
}

fn unusable(path: &Path) -> Error {
    let message = match weights_in(path) {
        WeightFiles::Several(names) => {
            format!("holds several files of weights; give one of them: {}", names.join(", "))
        }
        _ if path.is_dir() => {
            "is a folder without 'graph.json', 'model/graph.json', 'model.json', 'config.json' or a file \
                               of weights: neither a run nor a model"
                .to_owned()
        }
        _ if path.exists() => "is neither a file nor a folder".to_owned(),
        _ => "does not exist; check the spelling".to_owned(),
    };
    Error::Model(format!("{} {message}", path.display()))
}

/// A whole network, or tensors for an architecture. What `--arch` names is a file where there is one of that name.
fn from_file(path: &Path, architecture: Option<&str>) -> Result<Source> {
    let (description, name) = description_or_name(architecture)?;
    let whole = path.is_file().then(|| regraft_formats::read_network(path, description)).transpose();
    if let Some(Imported { model, notes, .. }) = whole.map_err(Error::model)?.flatten() {
        return match name {
            None => Ok(Source { notes, ..Source::from(model) }),
            Some(name) => {
                let message = "holds its network itself; leave --arch out";
                Err(Error::Usage(format!("--arch {name}: {} {message}", path.display())))
            }
        };
    }
    if let Some(description) = description {
        let message =
            "is the file of a network, and these weights need the name of an architecture, such as resnet50";
        return Err(Error::Usage(format!("--arch {} {message}", description.display())));
    }
    let loaded = regraft_zoo::load_file(path, name).map_err(Error::model)?;
    Ok(Source::with_report((loaded.0, Some(loaded.1))))
}

/// Which of the two `--arch` is, the file of a network or the name of an architecture.
fn description_or_name(architecture: Option<&str>) -> Result<(Option<&Path>, Option<&str>)> {
    let Some(text) = architecture else { return Ok((None, None)) };
    match Path::new(text) {
        path if path.is_file() => Ok((Some(path), None)),
        path if regraft_zoo::is_name(text) && path.components().count() == 1 => Ok((None, Some(text))),
        path => Err(Error::Usage(format!("--arch {}: there is no such file", path.display()))),
    }
}

/// The wire that a cut names: `features`, `logits`, the wire itself, another name that its origin has for it, or a
/// module of PyTorch or scope of TensorFlow, whose last node is meant.
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
        let name = &model.card().name;
        Error::Usage(format!("{name} has no logits: it ends before a head, or scores places and not images"))
    })?;
    let is_role =
        [&roles.features].into_iter().chain(&roles.logits).chain(&roles.cuts).any(|role| role == wire);
    if let Some(end) =
        end_of_module(model.graph(), wire).filter(|end| !is_role && is_behind(model.graph(), wire, end))
    {
        return Ok(end.to_owned());
    }
    let other_name = || alias(model, wire).or_else(|| end_of_module(model.graph(), wire));
    let known = model.graph().fact(wire).map(|_| wire);
    known.or_else(|error| other_name().ok_or(error)).map(str::to_owned).map_err(|error| {
        let name = &model.card().name;
        let known = roles.logits.as_ref().map(|_| "logits").into_iter();
        let known = known.chain(roles.cuts.iter().map(String::as_str)).collect::<Vec<_>>().join(", ");
        let others = "any other node of 'regraft zoo info … --graph', or a module of several such as layer3, can be one, too";
        Error::Usage(format!("cut {cut}: {error}. Cut points of {name}: features, {known}; {others}"))
    })
}

/// Whether a wire is there and the other one is computed later.
fn is_behind(graph: &Graph, wire: &str, other: &str) -> bool {
    let place = |name: &str| graph.nodes().iter().position(|node| node.name == name);
    place(wire).is_some_and(|at| place(other).is_some_and(|later| later > at))
}

fn alias<'a>(model: &'a Model, name: &str) -> Option<&'a str> {
    model.card().aliases.get(name).map(String::as_str).filter(|wire| model.graph().has_wire(wire))
}

/// What a module of PyTorch gives, such as `layer3`, or a scope of TensorFlow: its last node. In ONNX files of PyTorch a node
/// is called `/layer3/layer3.1/relu_1/Relu`.
fn end_of_module<'a>(graph: &'a Graph, module: &str) -> Option<&'a str> {
    let inside = |name: &str| {
        name.trim_start_matches('/').strip_prefix(module).is_some_and(|rest| rest.starts_with(['.', '/']))
    };
    graph.nodes().iter().rev().map(|node| node.name.as_str()).find(|name| inside(name))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_module_is_what_it_gives_also_where_a_node_has_its_name() {
        let network = regraft_zoo::architecture("vit_tiny_patch16_224").unwrap().network(10).unwrap();
        let weights = regraft_zoo::random_weights(&network.graph, 0).unwrap();
        let card = regraft_graph::Card {
            roles: network.roles,
            ..load_source("efficientnet-lite0", None).unwrap().card().clone()
        };
        let model = Model::new(network.graph, weights, card).unwrap();
        let cut = |name: &str| resolve_cut(&model, name).unwrap();
        assert_eq!(cut("blocks.3.attn"), "blocks.3.attn.proj");
        assert_eq!(cut("blocks.3.attn.qkv"), "blocks.3.attn.qkv");
        for role in model.card().roles.cuts.iter().chain([&model.card().roles.features]) {
            assert_eq!(cut(role), *role);
        }
    }

    #[test]
    fn a_cut_may_be_named_as_its_origin_names_it() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../regraft-formats/tests/golden/caffe");
        let description = golden.join("normalize.prototxt");
        let model = load_source(golden.join("normalize.caffemodel"), description.to_str()).unwrap();
        assert_eq!(resolve_cut(&model, "norm").unwrap(), "norm");
        assert_eq!(resolve_cut(&model, "norm_scale").unwrap(), "norm", "a layer that became part of another");
        let lite0 = load_source("efficientnet-lite0", None).unwrap();
        let block = resolve_cut(&lite0, "_blocks.3").unwrap();
        assert!(block.starts_with("_blocks.3."), "{block}");
        assert!(resolve_cut(&model, "normal").unwrap_err().to_string().contains("norm"));
    }
}
