//! Keras models: whole `.h5` files of Keras 1 to 3, `.keras` archives, and weights with a `.json` that describes the model.
//!
//! A file is a description of layers in JSON and their weights in HDF5. Nothing in it is run: a Lambda layer, which holds
//! compiled Python, and a class that only the author's program knows are refused by name. Images are N×H×W×C in Keras;
//! `channels_last.rs` says how they become ours. A wire with a layer's name is that layer's output,
//! activation included; where a layer becomes several nodes, the others are called `layer/part`.

mod activation;
mod archive;
mod config;
mod convolution;
mod dense;
mod layers;
mod merge;
mod network;
mod pooling;
mod recurrent;
mod settings;
mod shape;
pub(crate) mod variables;

use std::path::Path;

use bytes::Bytes;
use regraft_system::{files, hash};
use serde_json::Value as Json;

use crate::hdf5::{Hdf5, is_hdf5};
use crate::{FormatError, Imported, card};
use network::Origin;
use variables::Variables;

pub(crate) const FORMAT: &str = "Keras";

/// Whether a file may be Keras's by its first bytes: HDF5 or a zip archive. PyTorch has zip archives, too;
/// [`is_archive`] tells them apart.
pub fn is_hdf5_file(content: &[u8]) -> bool {
    is_hdf5(content)
}

/// Whether a file is a `.keras` archive.
pub fn is_archive(content: &Bytes) -> bool {
    archive::is_keras(content)
}

/// Reads a model. `network` is a `.json` file that describes it, for files that hold weights only.
///
/// # Errors
/// A file cannot be read or breaks its format's rules, holds weights only and there is no `network`, a layer cannot be
/// read, or weights are missing or have other shapes than their layers need.
pub fn read(path: &Path, network: Option<&Path>) -> Result<Imported, FormatError> {
    let content = files::map(path)?;
    let whole = Whole::open(path, content.clone())?;
    let description = match network {
        Some(network) => Some((network, json(network, &files::map(network)?)?)),
        None => whole.configuration.map(|configuration| (path, configuration)),
    };
    let needs_network = || FormatError::NeedsNetwork {
        path: path.to_path_buf(),
        format: FORMAT,
        needed: "the model's description (model.to_json())",
    };
    let (described_in, description) = description.ok_or_else(needs_network)?;
    let told = |key: &str| description.get(key).and_then(Json::as_str).map(ToOwned::to_owned);
    let version = whole.version.or_else(|| told("keras_version"));
    let backend = whole.backend.or_else(|| told("backend"));
    let source = Source {
        path,
        described_in,
        sha256: hash::sha256_hex(&content),
        generation: generation(version.as_deref(), &description),
        theano: backend.as_deref() == Some("theano"),
    };
    assemble(&source, &description, &whole.variables)
}

/// Where a model comes from.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    /// The file that holds the configuration.
    pub(crate) described_in: &'a Path,
    pub(crate) sha256: String,
    pub(crate) generation: u8,
    pub(crate) theano: bool,
}

/// Puts a model together from its configuration, `{"class_name": …, "config": …}`, and its weights.
///
/// # Errors
/// As [`read`].
pub(crate) fn assemble(
    source: &Source<'_>,
    description: &Json,
    variables: &Variables,
) -> Result<Imported, FormatError> {
    let class = description.get("class_name").and_then(Json::as_str);
    let (Some(class), Some(config)) = (class, description.get("config")) else {
        let message = "it describes no model: 'class_name' and 'config' are missing";
        return Err(FormatError::malformed(source.described_in, FORMAT, message));
    };
    let origin = Origin { generation: source.generation, theano: source.theano && source.generation < 3 };
    let built = network::build(source.described_in, class, config, variables, origin)?;
    let about = card::About {
        path: source.path,
        sha256: source.sha256.clone(),
        names: names(config),
        notes: built.notes,
        aliases: built.aliases,
        size: built.size,
    };
    card::finish(built.draft, &built.outputs, about)
}

/// What a file holds.
struct Whole {
    configuration: Option<Json>,
    variables: Variables,
    version: Option<String>,
    backend: Option<String>,
}

impl Whole {
    fn open(path: &Path, content: Bytes) -> Result<Self, FormatError> {
        if archive::is_keras(&content) {
            let parts = archive::open(path, &content)?;
            let file = Hdf5::open(path, parts.weights)?;
            let metadata = parts.metadata.map(|metadata| json(path, &metadata)).transpose()?;
            let version = metadata.as_ref().and_then(|metadata| metadata.get("keras_version")?.as_str());
            let version = version.map(ToOwned::to_owned);
            let configuration = Some(json(path, &parts.configuration)?);
            return Ok(Self { configuration, variables: Variables::open(file)?, version, backend: None });
        }
        let file = Hdf5::open(path, content)?;
        let configuration = file.text("", "model_config")?;
        let configuration = configuration.map(|text| json(path, text.as_bytes())).transpose()?;
        let (mut version, mut backend) = (None, None);
        for group in ["", "model_weights"] {
            if file.has_group(group)? {
                version = version.or(file.text(group, "keras_version")?);
                backend = backend.or(file.text(group, "backend")?);
            }
        }
        Ok(Self { configuration, variables: Variables::open(file)?, version, backend })
    }
}

fn json(path: &Path, text: &[u8]) -> Result<Json, FormatError> {
    let parsed = serde_json::from_slice(text);
    parsed
        .map_err(|error| FormatError::malformed(path, FORMAT, format!("its description is no JSON: {error}")))
}

/// The major version, as the file says it or as its description looks.
pub(crate) fn generation(version: Option<&str>, description: &Json) -> u8 {
    let stated = version.and_then(|version| version.split('.').next()?.parse::<u8>().ok());
    let stated = stated.filter(|version| (1..=9).contains(version));
    stated.unwrap_or_else(|| if description.get("module").is_some() { 3 } else { 2 })
}

/// The names of a model and of the models in it, which tell what it was built from.
fn names(config: &Json) -> Vec<String> {
    let own = config.get("name").and_then(Json::as_str).map(ToOwned::to_owned);
    let layers = config.get("layers").unwrap_or(config).as_array().map_or(&[][..], Vec::as_slice);
    let models =
        layers.iter().filter_map(|layer| layer.get("config")).filter(|config| config.get("layers").is_some());
    own.into_iter().chain(models.flat_map(names)).collect()
}
