//! A saved model: a folder in the Hugging Face layout that needs nothing else to run.
//!
//! | file | what it holds | who reads it |
//! |---|---|---|
//! | `graph.json` | graph, card, record of patches | Regraft |
//! | `model.safetensors` | the weights, in the types that they have | everybody |
//! | `config.json` | labels, image size, a summary in timm's terms | Hugging Face tools, people |
//! | `preprocessor_config.json` | how to prepare an image | Hugging Face tools, people |
//! | `labels.txt` | one label a line | people |
//!
//! Loading reads the first two; the others repeat them in other people's terms. What was saved is what is loaded, bit
//! for bit. `graph.json` is untrusted: shapes are inferred again, and a number that no network has is refused.

use std::path::{Path, PathBuf};

use regraft_graph::{
    Bindings, Card, ChannelOrder, Dim, Fact, Graph, Model, Op, Padding, Preprocessing, Resize, ResizeFilter,
};
use regraft_system::files;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{FormatError, safetensors};

const FORMAT: &str = "Regraft model";
const GRAPH: &str = "graph.json";
const WEIGHTS: &str = "model.safetensors";

/// Raised when `graph.json` changes so that older programs cannot read it.
const VERSION: u32 = 1;

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
    graph: Graph,
}

/// Writes a model into a folder, which is created if need be. Each file is whole or absent; for a folder that is whole
/// or absent, give the path of a [`files::UnfinishedFolder`].
///
/// # Errors
/// A file cannot be written, or the model holds a number that JSON cannot (infinite, not a number).
pub fn save(model: &Model, folder: &Path) -> Result<(), FormatError> {
    write_graph(model, &folder.join(GRAPH))?;
    safetensors::write(&folder.join(WEIGHTS), model.weights())?;
    let Card { preprocessing, labels, .. } = model.card();
    write_json(&folder.join("config.json"), &config(model))?;
    write_json(&folder.join("preprocessor_config.json"), &preprocessor_config(preprocessing))?;
    // A label is a folder's name and may hold a line break; the exact labels are in the graph's card.
    let lines: String = labels.iter().map(|label| label.replace(['\n', '\r'], " ") + "\n").collect();
    Ok(files::write_atomically(&folder.join("labels.txt"), lines.as_bytes())?)
}

fn write_graph(model: &Model, path: &Path) -> Result<(), FormatError> {
    let stored = Stored {
        regraft_graph: VERSION,
        card: model.card().clone(),
        frozen_until: model.frozen_until().map(str::to_owned),
        history: model.history().to_vec(),
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

/// The summary that Hugging Face tools and timm look for.
fn config(model: &Model) -> Value {
    let card = model.card();
    let by_id = card.labels.iter().enumerate().map(|(id, label)| (id.to_string(), json!(label)));
    let by_label = card.labels.iter().enumerate().map(|(id, label)| (label.clone(), json!(id)));
    let (by_id, by_label): (Map<_, _>, Map<_, _>) = (by_id.collect(), by_label.collect());
    json!({
        "architectures": ["RegraftForImageClassification"],
        "model_type": "regraft",
        "regraft_version": env!("CARGO_PKG_VERSION"),
        "num_labels": card.labels.len(),
        "id2label": by_id,
        "label2id": by_label,
        "image_size": card.preprocessing.crop,
        "num_channels": width(model.graph().input_fact()),
        "num_features": model.graph().fact(&card.roles.features).ok().and_then(width),
        "pretrained_cfg": pretrained_cfg(model),
    })
}

/// timm's record of how weights were trained and want to be fed.
fn pretrained_cfg(model: &Model) -> Value {
    let card = model.card();
    let [height, width_pixels] = card.preprocessing.crop;
    json!({
        "architecture": card.name,
        "input_size": [width(model.graph().input_fact()), Some(height), Some(width_pixels)],
        "interpolation": filter_name(card.preprocessing.filter),
        "crop_mode": "center",
        "crop_pct": crop_fraction(&card.preprocessing),
        "mean": unit_range(&card.preprocessing.mean),
        "std": unit_range(&card.preprocessing.std),
        "num_classes": card.labels.len(),
        "classifier": card.roles.logits,
        "license": card.licence,
        "origin": card.origin,
        "sha256": card.sha256,
    })
}

/// Channels of an image, features of a vector.
fn width(fact: &Fact) -> Option<usize> {
    fact.shape.get(1).and_then(|dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None })
}

fn crop_fraction(preprocessing: &Preprocessing) -> f64 {
    let [height, _] = preprocessing.crop;
    let resized = match preprocessing.resize {
        Resize::ShortSide(side) => side,
        Resize::Exact([height, _]) => height,
    };
    height as f64 / resized as f64
}

/// The image processor's settings, in the keys of Hugging Face's transformers.
fn preprocessor_config(preprocessing: &Preprocessing) -> Value {
    let [height, width] = preprocessing.crop;
    let size = match preprocessing.resize {
        Resize::ShortSide(side) => json!({ "shortest_edge": side }),
        Resize::Exact([height, width]) => json!({ "height": height, "width": width }),
    };
    json!({
        "do_resize": true,
        "size": size,
        "resample": resample(preprocessing.filter),
        "do_center_crop": true,
        "crop_size": { "height": height, "width": width },
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": unit_range(&preprocessing.mean),
        "image_std": unit_range(&preprocessing.std),
        "do_flip_channel_order": preprocessing.channel_order == ChannelOrder::Bgr && preprocessing.channels() == 3,
    })
}

/// Pillow's number for the filter.
fn resample(filter: ResizeFilter) -> u8 {
    match filter {
        ResizeFilter::Bilinear => 2,
        ResizeFilter::Bicubic => 3,
    }
}

fn filter_name(filter: ResizeFilter) -> &'static str {
    match filter {
        ResizeFilter::Bilinear => "bilinear",
        ResizeFilter::Bicubic => "bicubic",
    }
}

/// From pixels in 0 … 255 to pixels in 0 … 1, without the digits that single precision does not have.
fn unit_range(channels: &[f32]) -> Vec<f64> {
    channels.iter().map(|value| (f64::from(*value) / 255.0 * 1e7).round() / 1e7).collect()
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
    let model = Model::new(stored.graph, weights, stored.card)
        .and_then(|model| model.with_record(stored.frozen_until, stored.history));
    let model = model.map_err(|source| FormatError::Model { path: folder.to_path_buf(), source })?;
    check_finite(&model, weights_path)?;
    Ok(model)
}

/// Whether a folder looks like a saved model: it has the two files that loading reads.
pub fn is_model_folder(folder: &Path) -> bool {
    [GRAPH, WEIGHTS].iter().all(|file| folder.join(file).is_file())
}

fn malformed(path: &Path, message: impl ToString) -> FormatError {
    FormatError::malformed(path, FORMAT, message)
}

fn check_finite(model: &Model, path: PathBuf) -> Result<(), FormatError> {
    let Some((tensor, index)) = model.weights().first_non_finite() else { return Ok(()) };
    Err(FormatError::NonFinite { path, tensor: tensor.to_owned(), index })
}

/// What the types and the graph's own checks let pass.
fn check(stored: &Stored) -> Result<(), String> {
    if stored.regraft_graph != VERSION {
        return Err(format!(
            "expected version {VERSION}, found {}; use a newer Regraft",
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

fn check_preprocessing(preprocessing: &Preprocessing) -> Result<(), String> {
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
