//! The bytes of a file. Weights are written from where they are: nothing is copied together before.

use std::path::{Path, PathBuf};

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use regraft_system::files::{self, UnfinishedFile};

use super::super::reader::FORMAT;
use super::super::schema::Entry;
use super::ExportOptions;
use super::export::{Parts, Stored};
use crate::FormatError;

/// Fields of the messages that are put together by hand.
const GRAPH: u32 = 7;
const INITIALIZER: u32 = 5;
const RAW_DATA: u32 = 9;

/// Weights in a file of their own begin at multiples of this, so that they can be mapped.
const ALIGNMENT: usize = 4096;

pub(super) fn write(parts: Parts, path: &Path, options: &ExportOptions) -> Result<(), FormatError> {
    let Parts { mut model, mut tensors } = parts;
    let total = tensors.iter().map(|tensor| tensor.data.len()).sum::<usize>();
    let outside = if total > options.inline_bytes { Some(write_outside(path, &mut tensors)?) } else { None };
    let graph = model.graph.take().unwrap_or_default();
    let mut file = UnfinishedFile::start(path)?;
    let (graph, heads) = (graph.encode_to_vec(), tensors.iter().map(head).collect::<Vec<_>>());
    let length =
        heads.iter().zip(&tensors).map(|(head, tensor)| head.len() + tensor.data.len()).sum::<usize>();
    let mut beginning = model.encode_to_vec();
    delimited(&mut beginning, GRAPH, graph.len() + length);
    file.append(&beginning)?;
    file.append(&graph)?;
    for (head, tensor) in heads.iter().zip(&tensors) {
        file.append(head)?;
        file.append(&tensor.data)?;
    }
    // The model appears last: until then nothing names the other file, and the old model has its own.
    let Some((outside, old)) = outside else { return Ok(file.finish()?) };
    outside.finish()?;
    file.finish()?;
    Ok(files::remove_if_there(&old)?)
}

/// All of a tensor but its numbers.
fn head(tensor: &Stored) -> Vec<u8> {
    let mut inner = tensor.head.encode_to_vec();
    if tensor.head.external_data.is_empty() {
        delimited(&mut inner, RAW_DATA, tensor.data.len());
    }
    let mut head = Vec::with_capacity(inner.len() + 8);
    delimited(&mut head, INITIALIZER, inner.len() + tensor.data.len());
    head.extend(inner);
    head
}

fn delimited(bytes: &mut Vec<u8>, field: u32, length: usize) {
    encode_key(field, WireType::LengthDelimited, bytes);
    encode_varint(length as u64, bytes);
}

/// Puts the tensors' numbers into a file beside the model and leaves in them where they are. The file that a model
/// there may have already stays until the new one is whole: its path is the second.
fn write_outside(path: &Path, tensors: &mut [Stored]) -> Result<(UnfinishedFile, PathBuf), FormatError> {
    let model = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let model = model.ok_or_else(|| FormatError::malformed(path, FORMAT, "its path has no name"))?;
    let names = [format!("{model}.data"), format!("{model}.2.data")];
    let [name, other] = if path.with_file_name(&names[0]).is_file() {
        let [first, second] = names;
        [second, first]
    } else {
        names
    };
    let mut file = UnfinishedFile::start(&path.with_file_name(&name))?;
    let mut offset = 0usize;
    for tensor in tensors.iter_mut().filter(|tensor| tensor.data.len() >= ALIGNMENT) {
        let gap = offset.next_multiple_of(ALIGNMENT) - offset;
        file.append(&vec![0; gap])?;
        file.append(&tensor.data)?;
        offset += gap;
        let entry = |key: &str, value: String| Entry { key: key.to_owned(), value };
        tensor.head.external_data = vec![
            entry("location", name.clone()),
            entry("offset", offset.to_string()),
            entry("length", tensor.data.len().to_string()),
        ];
        tensor.head.data_location = 1;
        offset += tensor.data.len();
        tensor.data.clear();
    }
    Ok((file, path.with_file_name(other)))
}
