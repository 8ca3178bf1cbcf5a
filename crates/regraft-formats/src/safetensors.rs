//! safetensors: a JSON header with names, types, shapes and offsets, then the tensors' bytes.
//!
//! Tensors are views into the mapped file. Written files are the same bytes for the same weights, whatever order the
//! weights came in: tensors by descending element size, then by name.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use bytes::Bytes;
use regraft_graph::{DType, Tensor, Weights};
use regraft_system::files;
use safetensors::tensor::{Dtype as StoredType, Metadata, View};
use safetensors::{SafeTensorError, SafeTensors};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::{FormatError, Skipped};

const FORMAT: &str = "safetensors";

/// Reads a file by mapping it. Tensors of element types that [`DType`] lacks are listed, not read.
///
/// # Errors
/// The file cannot be mapped or breaks the format's rules.
pub fn read(path: &Path) -> Result<(Weights, Vec<Skipped>), FormatError> {
    parse(path, files::map(path)?)
}

/// Reads the content of a file, without a copy. `path` serves for messages only.
///
/// # Errors
/// The content breaks the format's rules: a header longer than the file, offsets outside it or overlapping, a size
/// that does not follow from shape and type, a name twice, a header that is not UTF-8 or not JSON.
pub fn parse(path: &Path, content: Bytes) -> Result<(Weights, Vec<Skipped>), FormatError> {
    let malformed = |message: String| FormatError::malformed(path, FORMAT, message);
    check_header(&content).map_err(malformed)?;
    let (length, metadata) =
        SafeTensors::read_metadata(&content).map_err(|error| malformed(explain(&error)))?;
    let data = content.slice(LENGTH_BYTES + length..);
    let (mut weights, mut skipped) = (Weights::new(), Vec::new());
    for name in metadata.offset_keys() {
        let stored = metadata.info(&name).map(|info| info.dtype);
        match stored.and_then(dtype) {
            Some(dtype) => {
                let tensor = tensor(&metadata, &name, dtype, &data);
                let tensor = tensor.ok_or_else(|| malformed(format!("the tensor '{name}' is cut off")))?;
                weights.insert(name, tensor);
            }
            None => skipped.push(Skipped {
                tensor: name,
                dtype: stored.map(|stored| stored.to_string()).unwrap_or_default(),
            }),
        }
    }
    Ok((weights, skipped))
}

/// Size of the number in front of the header.
const LENGTH_BYTES: usize = 8;

fn tensor(metadata: &Metadata, name: &str, dtype: DType, data: &Bytes) -> Option<Tensor> {
    let info = metadata.info(name)?;
    let (start, end) = info.data_offsets;
    let inside = start <= end && end <= data.len();
    let bytes = inside.then(|| data.slice(start..end))?;
    Tensor::new(dtype, info.shape.clone(), bytes).ok()
}

/// What the format's crate does not check: that no name occurs twice (the last would win) and that the offsets stay
/// inside the file before they are added up.
fn check_header(content: &[u8]) -> Result<(), String> {
    let (length, rest) = content.split_first_chunk().ok_or("it is shorter than its first number")?;
    let length = u64::from_le_bytes(*length);
    let found = rest.len();
    let header = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let (header, data) = header
        .ok_or_else(|| format!("the header claims {length} bytes, the file has {found} after its length"))?;
    let names: Names = serde_json::from_slice(header).map_err(|error| format!("the header: {error}"))?;
    let outside = names.0.iter().find(|(_, end)| *end > data.len() as u64);
    outside.map_or(Ok(()), |(name, end)| {
        Err(format!("the tensor '{name}' ends at byte {end} of {} bytes of tensors", data.len()))
    })
}

/// Names of a header, each once, with the end of the tensor's bytes.
struct Names(Vec<(String, u64)>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamesVisitor).map(Self)
    }
}

struct NamesVisitor;

#[derive(serde::Deserialize)]
struct Place {
    data_offsets: (u64, u64),
}

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Vec<(String, u64)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one entry a tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let (mut seen, mut names) = (HashSet::new(), Vec::new());
        while let Some(name) = entries.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("the name '{name}' occurs twice")));
            }
            if name == "__metadata__" {
                entries.next_value::<IgnoredAny>()?;
            } else {
                names.push((name, entries.next_value::<Place>()?.data_offsets.1));
            }
        }
        Ok(names)
    }
}

fn explain(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::HeaderTooLarge => "the header is longer than 100 MB".to_owned(),
        SafeTensorError::InvalidOffset(name) => {
            format!("the tensor '{name}' overlaps another one or leaves a gap before it")
        }
        SafeTensorError::TensorInvalidInfo => {
            "a tensor's number of bytes does not follow from its shape and type".to_owned()
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            "the tensors do not fill the file; it is too short or too long".to_owned()
        }
        SafeTensorError::ValidationOverflow => "a tensor's shape is absurdly large".to_owned(),
        other => other.to_string(),
    }
}

fn dtype(stored: StoredType) -> Option<DType> {
    match stored {
        StoredType::F32 => Some(DType::F32),
        StoredType::F16 => Some(DType::F16),
        StoredType::BF16 => Some(DType::BF16),
        StoredType::F64 => Some(DType::F64),
        StoredType::I64 => Some(DType::I64),
        _ => None,
    }
}

/// Writes a file, whole or not at all.
///
/// # Errors
/// The file cannot be written, or the names alone take more than the format's 100 MB.
pub fn write(path: &Path, weights: &Weights) -> Result<(), FormatError> {
    let content = serialize(path, weights)?;
    Ok(files::write_atomically(path, &content)?)
}

fn serialize(path: &Path, weights: &Weights) -> Result<Vec<u8>, FormatError> {
    // Hugging Face's transformers refuses a file that does not say "pt".
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let tensors = weights.iter().map(|(name, tensor)| (name, Stored(tensor)));
    safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| FormatError::malformed(path, FORMAT, explain(&error)))
}

struct Stored<'a>(&'a Tensor);

impl View for Stored<'_> {
    fn dtype(&self) -> StoredType {
        match self.0.dtype() {
            DType::F32 => StoredType::F32,
            DType::F16 => StoredType::F16,
            DType::BF16 => StoredType::BF16,
            DType::F64 => StoredType::F64,
            DType::I64 => StoredType::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.0.data())
    }

    fn data_len(&self) -> usize {
        self.0.data().len()
    }
}
