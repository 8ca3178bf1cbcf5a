//! Weights in several files with an index: `model.safetensors.index.json`, `pytorch_model.bin.index.json`.
//!
//! The index says which file holds which tensor. It is untrusted like every file: a shard is a file in the index's own
//! folder and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use regraft_system::hash;
use serde::Deserialize;

use crate::{FormatError, WeightFile, read_weights};

const FORMAT: &str = "index of weight files";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Whether a file's content looks like an index.
pub(crate) fn is_index(content: &[u8]) -> bool {
    serde_json::from_slice::<Index>(content).is_ok()
}

/// Reads the tensors that an index lists from the files that it names. The hash is that of the files' hashes, one a
/// line in the order of their names.
///
/// # Errors
/// The index names a file outside its folder, a file cannot be read, or a file lacks a tensor that it should hold.
pub(crate) fn read(path: &Path, content: &[u8]) -> Result<WeightFile, FormatError> {
    let malformed = |message: String| FormatError::malformed(path, FORMAT, message);
    let index: Index = serde_json::from_slice(content).map_err(|error| malformed(error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut whole, mut hashes) = (WeightFile::default(), String::new());
    for shard in index.weight_map.values().collect::<BTreeSet<_>>() {
        check_name(shard).map_err(malformed)?;
        let WeightFile { mut weights, mut skipped, sha256 } = read_weights(&folder.join(shard))?;
        let listed = |name: &str| index.weight_map.get(name) == Some(shard);
        weights.retain(listed);
        skipped.retain(|skipped| listed(&skipped.tensor));
        weights.iter().for_each(|(name, tensor)| drop(whole.weights.insert(name, tensor.clone())));
        whole.skipped.extend(skipped);
        hashes += &(sha256 + "\n");
    }
    let absent = |name: &&String| {
        whole.weights.get(name).is_none() && whole.skipped.iter().all(|skipped| skipped.tensor != **name)
    };
    if let Some((name, shard)) = index.weight_map.iter().find(|(name, _)| absent(name)) {
        return Err(malformed(format!("the tensor '{name}' is not in '{shard}'")));
    }
    whole.sha256 = hash::sha256_hex(hashes.as_bytes());
    Ok(whole)
}

/// A bare file name that is no index itself.
fn check_name(shard: &str) -> Result<(), String> {
    let mut parts = Path::new(shard).components();
    let bare = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    if bare && !shard.contains(['/', '\\']) && !shard.ends_with(".json") {
        return Ok(());
    }
    Err(format!("'{shard}' is not the name of a weight file in the same folder"))
}
