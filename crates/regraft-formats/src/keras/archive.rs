//! `.keras` archives: a zip of `config.json`, `metadata.json` and `model.weights.h5`.
//!
//! Members are read by these names only: no path of the archive reaches the file system.

use std::path::Path;

use bytes::Bytes;

use super::FORMAT;
use crate::FormatError;
use crate::archive::{Archive, room};

const CONFIGURATION: &str = "config.json";
const METADATA: &str = "metadata.json";
const WEIGHTS: &str = "model.weights.h5";

/// What an archive holds.
pub(super) struct Parts {
    pub(super) configuration: Bytes,
    pub(super) metadata: Option<Bytes>,
    pub(super) weights: Bytes,
}

/// Whether a file is a zip archive with a Keras configuration in it.
pub(super) fn is_keras(content: &Bytes) -> bool {
    let names = || Archive::open(content.clone()).map(|archive| archive.names()).unwrap_or_default();
    content.starts_with(b"PK") && names().iter().any(|name| name == CONFIGURATION)
}

/// Reads the members.
///
/// # Errors
/// The archive is not whole, a member is missing, or one unpacks to more than its archive can mean.
pub(super) fn open(path: &Path, content: &Bytes) -> Result<Parts, FormatError> {
    let malformed = |message: String| FormatError::malformed(path, FORMAT, message);
    let limit = room(content.len() as u64);
    let mut archive = Archive::open(content.clone()).map_err(malformed)?;
    let names = archive.names();
    let mut member = |name: &str| -> Result<Option<Bytes>, FormatError> {
        let there = names.iter().any(|other| other == name);
        if there { archive.read(name, limit).map(Some).map_err(malformed) } else { Ok(None) }
    };
    let missing = |name: &str| malformed(format!("the member '{name}' is missing"));
    let configuration = member(CONFIGURATION)?.ok_or_else(|| missing(CONFIGURATION))?;
    let metadata = member(METADATA)?;
    let weights = member(WEIGHTS)?.ok_or_else(|| missing(WEIGHTS))?;
    Ok(Parts { configuration, metadata, weights })
}
