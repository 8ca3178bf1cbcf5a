//! A saved model: a folder in the Hugging Face layout that needs nothing else to run.
//!
//! | file | what it holds | who reads it |
//! |---|---|---|
//! | `graph.json` | graph, card, record of patches | Regraft |
//! | `model.safetensors` | the weights, in the types that they have | everybody |
//! | `config.json` | what the network is in timm's terms, labels, how to prepare an image | timm, transformers, people |
//! | `preprocessor_config.json` | how to prepare an image | Hugging Face tools, people |
//! | `labels.txt` | one label a line | people |
//!
//! Loading reads the first two; the others repeat them in other people's terms. Where timm has the same network, the
//! tensors have timm's names and shapes, and `timm.create_model('local-dir:FOLDER', pretrained=True)` and transformers'
//! `from_pretrained(FOLDER)` open the folder strictly. What was saved is what is loaded, bit for bit. `graph.json` is untrusted: shapes are inferred again, and a number that no network has is refused.

mod config;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use regraft_graph::{
    Bindings, Card, DType, Dim, Fact, Graph, GraphError, Model, Op, Padding, Preprocessing, Resize, Tensor,
    Weights,
};
use regraft_system::files;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{FormatError, safetensors};

const FORMAT: &str = "Regraft model";
const GRAPH: &str = "graph.json";
const WEIGHTS: &str = "model.safetensors";

/// Raised when `graph.json` changes so that older programs cannot read it.
const VERSION: u32 = 2;

/// Larger than the windows, steps and image sizes of any network, and small enough that products do not overflow.
const LARGEST_SIZE: usize = 1 << 16;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    regraft_graph: u32,
    card: Card,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frozen_until: Option<String>,
    #[serde(default)]
    history: Vec<String>,
    /// Names in the weight file of the tensors that the graph calls otherwise. Since version 2.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tensors: BTreeMap<String, String>,
    graph: Graph,
}

/// The same network in timm: what it is called there and what its tensors are called there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TimmNames {
    /// The architecture.
    pub architecture: String,
    /// Arguments by which the network differs from the architecture of that name.
    pub arguments: BTreeMap<String, Value>,
    /// Name and shape there of the tensors that have another one here; the elements are the same, in the same order.
    pub tensors: BTreeMap<String, (String, Vec<usize>)>,
    /// Module there that reads the image, and module there that gives the logits, if there is one.
    pub first_conv: String,
    /// See `first_conv`.
    pub classifier: Option<String>,
}

/// Writes a model into a folder, which is created if need be. Each file is whole or absent; for a folder that is whole
/// or absent, give the path of a [`files::UnfinishedFolder`].
///
/// # Errors
/// A file cannot be written, or the model holds a number that JSON cannot (infinite, not a number).
pub fn save(model: &Model, folder: &Path) -> Result<(), FormatError> {
    write(model, None, folder)
}

/// As [`save`], so that timm and transformers open the folder as well.
///
/// # Errors
/// As [`save`]; a tensor has another number of elements than its shape there.
pub fn save_for_timm(model: &Model, names: &TimmNames, folder: &Path) -> Result<(), FormatError> {
    write(model, Some(names), folder)
}

fn write(model: &Model, names: Option<&TimmNames>, folder: &Path) -> Result<(), FormatError> {
    let renamed = names.map(|names| renamed(model, names)).transpose();
    let renamed = renamed.map_err(|source| FormatError::Model { path: folder.to_path_buf(), source })?;
    let (weights, tensors) = renamed.unwrap_or_else(|| (model.weights().clone(), BTreeMap::new()));
    write_graph(model, tensors, &folder.join(GRAPH))?;
    safetensors::write(&folder.join(WEIGHTS), &weights)?;
    let Card { preprocessing, labels, .. } = model.card();
    write_json(&folder.join("config.json"), &config::config(model, names))?;
    write_json(&folder.join("preprocessor_config.json"), &config::preprocessor_config(preprocessing))?;
    // A label is a folder's name and may hold a line break; the exact labels are in the graph's card.
    let lines: String = labels.iter().map(|label| label.replace(['\n', '\r'], " ") + "\n").collect();
    Ok(files::write_atomically(&folder.join("labels.txt"), lines.as_bytes())?)
}

/// The weights under their names in timm, and which of them have another one here. Beside every running mean goes a
/// counter of training steps, without which transformers would report that something is missing.
fn renamed(model: &Model, names: &TimmNames) -> Result<(Weights, BTreeMap<String, String>), GraphError> {
    let (mut weights, mut tensors) = (Weights::new(), BTreeMap::new());
    for (name, tensor) in model.weights().iter() {
        let (theirs, tensor) = match names.tensors.get(name) {
            Some((theirs, shape)) => {
                tensors.insert(name.to_owned(), theirs.clone());
                (theirs.as_str(), Tensor::new(tensor.dtype(), shape.clone(), tensor.data().clone())?)
            }
            None => (name, tensor.clone()),
        };
        if let Some(norm) = theirs.strip_suffix("running_mean") {
            let zero = Tensor::new(DType::I64, Vec::new(), Bytes::from_static(&[0; 8]))?;
            weights.insert(format!("{norm}num_batches_tracked"), zero);
        }
        weights.insert(theirs, tensor);
    }
    Ok((weights, tensors))
}

fn write_graph(model: &Model, tensors: BTreeMap<String, String>, path: &Path) -> Result<(), FormatError> {
    let stored = Stored {
        regraft_graph: if tensors.is_empty() { 1 } else { VERSION },
        card: model.card().clone(),
        frozen_until: model.frozen_until().map(str::to_owned),
        history: model.history().to_vec(),
        tensors,
        graph: model.graph().clone(),
    };
    let text = serde_json::to_vec_pretty(&stored).map_err(|error| malformed(path, error))?;
    let same = serde_json::from_slice::<Stored>(&text).is_ok_and(|read| read == stored);
    if !same {
        let message = "the graph or the card holds an infinite number or one that is not a number".to_owned();
        let advice = "such a model cannot be saved";
        return Err(FormatError::Malformed { path: path.to_path_buf(), format: FORMAT, message, advice });
    }
    Ok(files::write_atomically(path, &text)?)
}

fn write_json(path: &Path, value: &Value) -> Result<(), FormatError> {
    Ok(files::write_atomically(path, format!("{value:#}\n").as_bytes())?)
}

/// Reads a model from a folder that [`save`] wrote.
///
/// # Errors
/// A file is missing or broken, the graph holds a number that no network has, the weights do not fit the graph, or a
/// weight is infinite or not a number.
pub fn load(folder: &Path) -> Result<Model, FormatError> {
    let path = folder.join(GRAPH);
    let stored: Stored =
        serde_json::from_slice(&files::map(&path)?).map_err(|error| malformed(&path, error))?;
    check(&stored).map_err(|message| malformed(&path, message))?;
    let weights_path = folder.join(WEIGHTS);
    let (weights, skipped) = safetensors::read(&weights_path)?;
    if let Some(other) = skipped.first() {
        let message = format!("the tensor '{}' has elements of type {}", other.tensor, other.dtype);
        return Err(malformed(&weights_path, message));
    }
    let weights = with_own_names(weights, &stored).map_err(|error| malformed(&weights_path, error))?;
    let model = Model::new(stored.graph, weights, stored.card)
        .and_then(|model| model.with_record(stored.frozen_until, stored.history));
    let model = model.map_err(|source| FormatError::Model { path: folder.to_path_buf(), source })?;
    check_finite(&model, weights_path)?;
    Ok(model)
}

/// The weights under the names and in the shapes that the graph has.
fn with_own_names(mut weights: Weights, stored: &Stored) -> Result<Weights, GraphError> {
    let shapes: BTreeMap<String, Vec<usize>> =
        stored.graph.parameters().into_iter().map(|parameter| (parameter.name, parameter.shape)).collect();
    let taken = stored.tensors.iter().filter_map(|(ours, theirs)| Some((ours, weights.remove(theirs)?)));
    let taken: Vec<_> = taken.collect();
    for (ours, tensor) in taken {
        let shape = shapes.get(ours).map_or_else(|| tensor.shape().to_vec(), Clone::clone);
        weights.insert(ours, Tensor::new(tensor.dtype(), shape, tensor.data().clone())?);
    }
    Ok(weights)
}

/// Whether a folder looks like a saved model: it has the two files that loading reads.
pub fn is_model_folder(folder: &Path) -> bool {
    [GRAPH, WEIGHTS].iter().all(|file| folder.join(file).is_file())
}

fn malformed(path: &Path, message: impl ToString) -> FormatError {
    FormatError::malformed(path, FORMAT, message)
}

/// Channels of an image, features of a vector.
fn width(fact: &Fact) -> Option<usize> {
    fact.shape.get(1).and_then(|dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None })
}

fn check_finite(model: &Model, path: PathBuf) -> Result<(), FormatError> {
    let Some((tensor, index)) = model.weights().first_non_finite() else { return Ok(()) };
    Err(FormatError::NonFinite { path, tensor: tensor.to_owned(), index })
}

/// What the types and the graph's own checks let pass.
fn check(stored: &Stored) -> Result<(), String> {
    if !(1..=VERSION).contains(&stored.regraft_graph) {
        return Err(format!(
            "expected a version up to {VERSION}, found {}; use a newer Regraft",
            stored.regraft_graph
        ));
    }
    check_input(stored.graph.input_fact())?;
    check_preprocessing(&stored.card.preprocessing)?;
    check_channels(&stored.card.preprocessing, stored.graph.input_fact())?;
    stored.graph.nodes().iter().try_for_each(|node| {
        let sizes = sizes(&node.op);
        let absurd = sizes.iter().find(|size| **size > LARGEST_SIZE);
        absurd.map_or(Ok(()), |size| {
            Err(format!("node '{}' has a window, step or border of {size}", node.name))
        })
    })?;
    check_wires(stored)?;
    check_labels(stored)
}

/// More values for one image than the wires of any network have: 1 GiB in single precision.
const LARGEST_WIRE: usize = 1 << 28;

fn check_wires(stored: &Stored) -> Result<(), String> {
    let [height, width] = stored.card.preprocessing.crop;
    let bindings = Bindings { batch: 1, height, width };
    for node in stored.graph.nodes() {
        let fact = stored.graph.fact(&node.name).map_err(|error| error.to_string())?;
        let shape = fact.bind(&bindings).unwrap_or_default();
        let values = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        if values.is_none_or(|values| values > LARGEST_WIRE) {
            return Err(format!("node '{}' gives an absurd shape, {fact}", node.name));
        }
    }
    Ok(())
}

/// The input's sizes are plain symbols or numbers: the network starts here.
fn check_input(fact: &Fact) -> Result<(), String> {
    let plain = |dim: &Dim| match dim {
        Dim::Fixed(size) => (1..=LARGEST_SIZE).contains(size),
        Dim::Symbolic { offset, divisor, .. } => (*offset, *divisor) == (0, 1),
    };
    if fact.shape.iter().all(plain) { Ok(()) } else { Err("the input has an absurd shape".to_owned()) }
}

/// Whether images can be prepared like that: sizes that a network may ask for, and numbers to subtract and to divide by.
///
/// # Errors
/// What is wrong, in words.
pub fn check_preprocessing(preprocessing: &Preprocessing) -> Result<(), String> {
    let [crop_height, crop_width] = preprocessing.crop;
    let [height, width] = match preprocessing.resize {
        Resize::ShortSide(side) => [side, side],
        Resize::Exact(size) => size,
    };
    let sizes = [crop_height, crop_width, height, width];
    if let Some(size) = sizes.iter().find(|size| !(1..=LARGEST_SIZE).contains(*size)) {
        return Err(format!("the card asks for images of {size} pixels"));
    }
    let numbers = preprocessing.mean.iter().all(|mean| mean.is_finite())
        && preprocessing.std.iter().all(|std| std.is_finite() && *std > 0.0);
    if numbers {
        Ok(())
    } else {
        Err("the card's mean or standard deviation is not a usable number".to_owned())
    }
}

/// One mean and one deviation for each channel of images.
fn check_channels(preprocessing: &Preprocessing, input: &Fact) -> Result<(), String> {
    let (means, deviations) = (preprocessing.mean.len(), preprocessing.std.len());
    let channels = if input.shape.len() == 4 { width(input) } else { None };
    if means == deviations && channels.is_none_or(|channels| channels == means) {
        return Ok(());
    }
    Err(format!("the card has {means} means and {deviations} deviations for an input of {input}"))
}

fn check_labels(stored: &Stored) -> Result<(), String> {
    let (labels, logits) = (stored.card.labels.len(), stored.card.roles.logits.as_deref());
    let classes = logits.and_then(|wire| stored.graph.fact(wire).ok()).and_then(width);
    if labels == 0 || classes.is_none_or(|classes| classes == labels) {
        return Ok(());
    }
    Err(format!("the card has {labels} labels for {} logits", classes.unwrap_or(0)))
}

/// Sizes of windows, steps and borders.
fn sizes(op: &Op) -> Vec<usize> {
    let (window, padding) = match op {
        Op::Conv(conv) => ([conv.kernel, conv.stride, conv.dilation], conv.padding),
        Op::MaxPool(pool) | Op::AveragePool(pool) => ([pool.kernel, pool.stride, [1, 1]], pool.padding),
        Op::AdaptiveAveragePool { size } => return size.to_vec(),
        _ => return Vec::new(),
    };
    let border = if let Padding::Explicit(border) = padding { border } else { [0; 4] };
    window.into_iter().flatten().chain(border).collect()
}
