//! TensorFlow.js models: a `model.json` and the shards that it names, beside it.
//!
//! The JSON is either a Keras configuration (a layers model, which [`keras`] puts together) or a TensorFlow
//! graph (a graph model). Weights lie one after the other in shards, perhaps as 8- or 16-bit integers of a linear scale.

mod graph;
mod operations;
mod shapes;
mod weights;

use std::path::Path;

use regraft_system::{files, hash};
use serde_json::Value as Json;

use crate::keras::variables::Variables;
use crate::{FormatError, Imported, card, keras};

pub(crate) const FORMAT: &str = "TensorFlow.js";

/// Whether a text is a `model.json`.
pub fn is_model_json(content: &[u8]) -> bool {
    let json: Option<Json> = serde_json::from_slice(content).ok();
    json.is_some_and(|json| json.get("modelTopology").is_some() && json.get("weightsManifest").is_some())
}

/// Reads a model from its `model.json`; the shards lie in the same folder or below.
///
/// # Errors
/// A file cannot be read, breaks the format's rules or names a shard outside of the folder, a layer cannot be read, or
/// weights are missing or have other shapes than their layers need.
pub fn read(model_json: &Path) -> Result<Imported, FormatError> {
    let content = files::map(model_json)?;
    let malformed = |message: String| FormatError::malformed(model_json, FORMAT, message);
    let json: Json =
        serde_json::from_slice(&content).map_err(|error| malformed(format!("no JSON: {error}")))?;
    let topology = json.get("modelTopology").filter(|topology| topology.is_object());
    let topology = topology.ok_or_else(|| malformed("'modelTopology' is missing".to_owned()))?;
    let weights = weights::read(model_json, json.get("weightsManifest").unwrap_or(&Json::Null))?;
    let sha256 = hash::sha256_hex(&content);
    if topology.get("node").is_some() {
        let signature = json.get("signature").or_else(|| json.get("userDefinedMetadata")?.get("signature"));
        let built = graph::build(model_json, topology, signature, weights)?;
        let about = card::About {
            path: model_json,
            sha256,
            names: built.names,
            notes: Vec::new(),
            aliases: built.aliases,
            size: built.size,
        };
        return card::finish(built.draft, &built.outputs, about);
    }
    let description = topology.get("model_config").unwrap_or(topology);
    let version = topology.get("keras_version").and_then(Json::as_str);
    let source = keras::Source {
        path: model_json,
        described_in: model_json,
        sha256,
        generation: keras::generation(version, description),
        theano: false,
    };
    keras::assemble(&source, description, &Variables::List(weights))
}
