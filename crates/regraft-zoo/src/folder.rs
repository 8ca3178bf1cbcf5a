//! Models in folders as Hugging Face's libraries lay them out: `config.json`, weights in one file or several, and
//! `preprocessor_config.json`.
//!
//! Which library wrote the folder shows in `config.json`: Regraft's own folders have a `graph.json` beside it, timm's
//! name an `architecture`, those of transformers a `model_type`.

use std::path::{Path, PathBuf};

use regraft_formats::{WeightFile, model_folder, read_weights};
use regraft_graph::{Card, ChannelOrder, Graph, Model, Preprocessing, Resize, ResizeFilter, Weights};
use regraft_system::files;
use serde_json::Value;

use crate::bert::{self, Bert};
use crate::builder::Network;
use crate::load::{Tensors, check_finite, unknown_architecture};
use crate::names::renamed;
use crate::transformer::Encoder;
use crate::transformers::{self, Translation};
use crate::{MatchReport, ZooError};

/// Files with weights, in the order in which the libraries look for them.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Whether a folder looks like one of timm's or transformers'.
pub fn is_hub_folder(folder: &Path) -> bool {
    folder.join("config.json").is_file() && weight_file(folder).is_some()
}

/// Reads a folder that Regraft, timm or transformers wrote. Regraft's own have no report: nothing is matched in them.
///
/// # Errors
/// A file is missing or broken, the network is none that is known here, or the weights do not fit it.
pub fn load_folder(folder: &Path) -> Result<(Model, Option<MatchReport>), ZooError> {
    if model_folder::is_model_folder(folder) {
        return Ok((model_folder::load(folder)?, None));
    }
    let config = read_json(&folder.join("config.json"))?;
    let path = weight_file(folder)
        .ok_or_else(|| unusable(folder, format!("there are no weights in it ({})", WEIGHTS.join(", "))))?;
    let file = read_weights(&path)?;
    let (model, report) = match config.get("architecture").and_then(Value::as_str) {
        Some(architecture) => from_timm(folder, architecture, &config, file)?,
        None if text(&config, "model_type").as_deref() == Some("bert") => {
            from_bert(folder, &config, file, None)?
        }
        None => from_transformers(folder, &config, file)?,
    };
    check_finite(&path, &model)?;
    Ok((model, Some(report)))
}

/// Reads the folder of a BERT, such as a sentence encoder, for sequences of that many tokens. [`load_folder`] makes it for
/// the longest that it has places for.
///
/// # Errors
/// As [`load_folder`]; there are fewer places than tokens.
pub fn load_encoder(folder: &Path, tokens: usize) -> Result<(Model, MatchReport), ZooError> {
    let config = read_json(&folder.join("config.json"))?;
    let path =
        weight_file(folder).ok_or_else(|| unusable(folder, "there are no weights in it".to_owned()))?;
    let (model, report) = from_bert(folder, &config, read_weights(&path)?, Some(tokens))?;
    check_finite(&path, &model)?;
    Ok((model, report))
}

/// Whether a folder of transformers' lacks the file that tells how images are prepared. One that was fetched in part does.
pub fn lacks_preprocessing(folder: &Path) -> bool {
    let config = read_json(&folder.join("config.json")).unwrap_or_default();
    let is_of_images = text(&config, "model_type").is_some_and(|kind| kind != "bert");
    let is_timms = config.get("architecture").is_some();
    is_of_images && !is_timms && !folder.join("preprocessor_config.json").is_file()
}

fn weight_file(folder: &Path) -> Option<PathBuf> {
    WEIGHTS.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

fn read_json(path: &Path) -> Result<Value, ZooError> {
    let content = files::map(path).map_err(regraft_formats::FormatError::from)?;
    serde_json::from_slice(&content)
        .map_err(|error| unusable(path, format!("is not valid JSON ({error}); fetch the file once more")))
}

fn unusable(path: &Path, message: String) -> ZooError {
    ZooError::Folder { path: path.to_path_buf(), message }
}

fn from_timm(
    folder: &Path,
    architecture: &str,
    config: &Value,
    file: WeightFile,
) -> Result<(Model, MatchReport), ZooError> {
    let WeightFile { weights, skipped, sha256 } = file;
    let bare = architecture.split('.').next().unwrap_or(architecture);
    let (weights, renamed) = crate::load::with_present_names(weights);
    let tensors = Tensors { weights, skipped, entry: None, renamed };
    let failed = |source| ZooError::Graph { origin: folder.display().to_string(), source };
    let candidate = tensors.named(bare).map_err(failed)?.ok_or_else(|| unknown_architecture(bare))?;
    let trained = config.get("pretrained_cfg").unwrap_or(config);
    let mut card = candidate.architecture.card(folder.display().to_string());
    card.preprocessing =
        timm_preprocessing(trained, &card.preprocessing).map_err(|message| unusable(folder, message))?;
    card.labels = ["label_names", "label_descriptions"]
        .iter()
        .find_map(|key| labels(config.get(key).or_else(|| trained.get(key))?))
        .filter(|labels| labels.len() == tensors.classes(&candidate))
        .unwrap_or_default();
    card.licence = text(trained, "license");
    card.sha256 = Some(sha256);
    let (model, report) = tensors.into_model(candidate, card)?;
    let model = with_arguments(model, config).map_err(|message| unusable(folder, message))?;
    Ok((model, report))
}

/// The model with what its folder sets differently from the architecture. The size of images and the number of channels
/// show in the weights.
fn with_arguments(mut model: Model, config: &Value) -> Result<Model, String> {
    let arguments = config.get("model_args").and_then(Value::as_object);
    for (key, value) in arguments.into_iter().flatten() {
        match (key.as_str(), value.as_f64()) {
            ("img_size" | "in_chans" | "num_classes" | "drop_rate" | "drop_path_rate", _) => {}
            ("bn_eps", Some(epsilon)) if (0.0..=0.1).contains(&epsilon) => {
                model = transformers::with_batch_norm_epsilon(&model, epsilon)?;
            }
            _ => return Err(format!("'model_args' sets '{key}' to {value}, which is not known here")),
        }
    }
    Ok(model)
}

fn from_transformers(
    folder: &Path,
    config: &Value,
    file: WeightFile,
) -> Result<(Model, MatchReport), ZooError> {
    let WeightFile { weights, skipped, sha256 } = file;
    let refused = |message| unusable(&folder.join("config.json"), message);
    let Translation { architecture, rules, prefix, setting } =
        transformers::translation(config).map_err(refused)?;
    let failed = |source| ZooError::Graph { origin: folder.display().to_string(), source };
    let (bare, count) = (transformers::without_prefix(&weights, prefix), weights.len());
    let weights = renamed(&bare, &rules).map_err(failed)?;
    let tensors = Tensors { weights, skipped, entry: None, renamed: count };
    let candidate =
        tensors.named(architecture).map_err(failed)?.ok_or_else(|| unknown_architecture(architecture))?;
    let mut card = candidate.architecture.card(folder.display().to_string());
    let preprocessor = folder.join("preprocessor_config.json");
    if preprocessor.is_file() {
        let settings = read_json(&preprocessor)?;
        let kind = text(config, "model_type").unwrap_or_default();
        card.preprocessing = transformers::preprocessing(&settings, &kind, &card.preprocessing)
            .map_err(|message| unusable(&preprocessor, message))?;
    }
    card.labels = transformers::labels(config)
        .filter(|labels| labels.len() == tensors.classes(&candidate))
        .unwrap_or_default();
    card.sha256 = Some(sha256);
    let (model, report) = tensors.into_model(candidate, card)?;
    let model = transformers::with_settings(config, &model, setting).map_err(refused)?;
    Ok((model, report))
}

/// Tokens have no preprocessing of pixels; what stands in its place has the number of tokens as its width.
fn from_bert(
    folder: &Path,
    config: &Value,
    file: WeightFile,
    tokens: Option<usize>,
) -> Result<(Model, MatchReport), ZooError> {
    let failed = |source| ZooError::Graph { origin: folder.display().to_string(), source };
    let refused = |message| unusable(&folder.join("config.json"), message);
    let sizes = bert_sizes(config).map_err(refused)?;
    let length = tokens.unwrap_or(sizes.places);
    let Network { graph, roles } = bert::bert(sizes, length).map_err(failed)?;
    let count = file.weights.len();
    let weights = bert::translated(&transformers::without_prefix(&file.weights, "bert.")).map_err(failed)?;
    let report = MatchReport { renamed: count, ..bert_report(&graph, &weights) };
    let preprocessing = Preprocessing {
        channel_order: ChannelOrder::Rgb,
        resize: Resize::Exact([1, length]),
        filter: ResizeFilter::Bilinear,
        crop: [1, length],
        mean: Vec::new().into(),
        std: Vec::new().into(),
    };
    let card = Card {
        name: "bert".to_owned(),
        origin: folder.display().to_string(),
        sha256: Some(file.sha256),
        licence: None,
        preprocessing,
        labels: Vec::new(),
        source_task: None,
        source_accuracy: None,
        aliases: Default::default(),
        roles,
    };
    let model = Model::new(graph, weights, card).map_err(failed)?;
    let model = transformers::with_settings(config, &model, transformers::bert).map_err(refused)?;
    Ok((model, report))
}

fn bert_report(graph: &Graph, weights: &Weights) -> MatchReport {
    let names: Vec<String> = graph.parameters().into_iter().map(|parameter| parameter.name).collect();
    let left = weights.iter().map(|(name, _)| name).filter(|name| !names.iter().any(|known| known == name));
    let left = left.filter(|name| !name.ends_with("position_ids")).map(str::to_owned).collect();
    MatchReport { architecture: "bert", matched: names.len(), left, ..MatchReport::default() }
}

/// The sizes in the configuration of a BERT.
fn bert_sizes(config: &Value) -> Result<Bert, String> {
    let size = |key: &str| {
        let found = config.get(key).and_then(Value::as_u64).filter(|size| (1..=1 << 20).contains(size));
        found.and_then(|size| usize::try_from(size).ok()).ok_or_else(|| format!("'{key}' is no usable size"))
    };
    if let Some(found) = text(config, "position_embedding_type").filter(|found| found != "absolute") {
        return Err(format!("'position_embedding_type' is '{found}', expected 'absolute'"));
    }
    transformers::expect_flag(config, "is_decoder", false)?;
    let layers = size("num_hidden_layers")?;
    if layers > 1000 {
        return Err(format!("'num_hidden_layers' is {layers}"));
    }
    let encoder = Encoder {
        layers,
        width: size("hidden_size")?,
        heads: size("num_attention_heads")?,
        feed_forward: size("intermediate_size")?,
    };
    let epsilon = transformers::epsilon(config, 1e-12)?;
    Ok(Bert { encoder, vocabulary: size("vocab_size")?, places: size("max_position_embeddings")?, epsilon })
}

/// Names in order, or by class in the order of the classes' numbers.
fn labels(value: &Value) -> Option<Vec<String>> {
    let names = value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned));
    names.collect()
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

/// timm's settings; what they leave open is as the architecture's published weights have it.
fn timm_preprocessing(config: &Value, usual: &Preprocessing) -> Result<Preprocessing, String> {
    let size = config.get("input_size").and_then(sizes);
    let [channels, height, width] = size.unwrap_or([usual.channels(), usual.crop[0], usual.crop[1]]);
    let fraction = config
        .get("crop_pct")
        .and_then(Value::as_f64)
        .unwrap_or(usual.crop[0] as f64 / short_side(usual) as f64);
    if !(fraction > 0.01 && fraction <= 1.0) {
        return Err(format!("'crop_pct' is {fraction}, expected a number between 0.01 and 1"));
    }
    let larger = |side: usize| (side as f64 / fraction).floor() as usize;
    let resize = match text(config, "crop_mode").as_deref() {
        None | Some("center") => Resize::ShortSide(larger(height.min(width))),
        Some("squash") => Resize::Exact([larger(height), larger(width)]),
        Some(other) => return Err(format!("'crop_mode' is '{other}', expected 'center' or 'squash'")),
    };
    let filter = match text(config, "interpolation").as_deref() {
        None => usual.filter,
        Some("bilinear" | "random") => ResizeFilter::Bilinear,
        Some("bicubic") => ResizeFilter::Bicubic,
        Some(other) => return Err(format!("'interpolation' is '{other}', expected 'bilinear' or 'bicubic'")),
    };
    let values = |key: &str| channel_values(config.get(key), channels);
    let mean = values("mean")?.map_or_else(|| usual.mean.clone(), |mean| scaled(&mean, 255.0).into());
    let std = values("std")?.map_or_else(|| usual.std.clone(), |std| scaled(&std, 255.0).into());
    Ok(Preprocessing { channel_order: usual.channel_order, resize, filter, crop: [height, width], mean, std })
}

fn short_side(usual: &Preprocessing) -> usize {
    match usual.resize {
        Resize::ShortSide(side) => side,
        Resize::Exact([height, width]) => height.min(width),
    }
}

/// The largest side of an image that a configuration may ask for.
const LARGEST_SIDE: u64 = 1 << 14;

fn sizes(value: &Value) -> Option<[usize; 3]> {
    let sizes: Vec<usize> = value.as_array()?.iter().filter_map(size).collect();
    sizes.try_into().ok()
}

/// A side of an image in pixels, or a number of channels.
pub(crate) fn size(value: &Value) -> Option<usize> {
    value
        .as_u64()
        .filter(|size| (1..=LARGEST_SIDE).contains(size))
        .and_then(|size| usize::try_from(size).ok())
}

/// A number for each channel; a single one is for all.
pub(crate) fn channel_values(value: Option<&Value>, channels: usize) -> Result<Option<Vec<f64>>, String> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let numbers: Option<Vec<f64>> = match value {
        Value::Array(numbers) => numbers.iter().map(Value::as_f64).collect(),
        number => number.as_f64().map(|number| vec![number; channels]),
    };
    let numbers = numbers.filter(|numbers| numbers.len() == channels);
    let numbers =
        numbers.ok_or_else(|| format!("expected {channels} means and deviations, found {value}"))?;
    Ok(Some(numbers))
}

/// Each number times a factor.
pub(crate) fn scaled(numbers: &[f64], factor: f64) -> Vec<f32> {
    numbers.iter().map(|number| (number * factor) as f32).collect()
}
