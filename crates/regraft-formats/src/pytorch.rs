//! PyTorch checkpoints: `.pth`, `.pt` and `.bin`, in every container that `torch.save` has written.
//!
//! A checkpoint is a Python pickle, which Python would execute. Here it is interpreted into a tree of values and
//! nothing in it is ever called.

mod pickle;
mod places;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bytes::Bytes;
use pytorch_reader::{DType as StoredType, PytorchError, PytorchReader, Tensor as StoredTensor};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use regraft_graph::{DType, Tensor, Weights};
use regraft_system::files::{self, FileError};

use crate::{FormatError, Skipped, archive};
use places::{Place, places};

const FORMAT: &str = "PyTorch";

/// Reads a checkpoint: every tensor in it, by its path through the checkpoint's dictionaries and lists, such as
/// `conv1.weight` or `state_dict.module.conv1.weight`. Integers of other widths become 64 bits wide.
///
/// Tensors of the zip container (PyTorch 1.6 and later) and of the one before it are views into the mapped file, after
/// a check against their checksums. Those that are views of others with gaps, and those of the oldest container, a tar
/// archive, are copied.
///
/// # Errors
/// The file cannot be read, breaks the format's rules, or holds no tensors.
pub fn read(path: &Path) -> Result<(Weights, Vec<Skipped>), FormatError> {
    parse(path, &files::map(path)?)
}

/// As [`read`], of a file that is mapped already.
pub(crate) fn parse(path: &Path, content: &Bytes) -> Result<(Weights, Vec<Skipped>), FormatError> {
    let (mut weights, mut skipped) = (Weights::new(), Vec::new());
    let tensors = match places(content).filter(|places| !places.is_empty()) {
        Some(places) => in_place(path, content, places)?,
        None => copied(path, content.len() as u64)?,
    };
    for Read { name, dtype, shape, bytes } in tensors {
        let Some(target) = target(dtype) else {
            skipped.push(Skipped { dtype: format!("{dtype:?}"), tensor: name });
            continue;
        };
        let tensor = Tensor::new(target, shape, widened(dtype, bytes));
        let malformed = |error| FormatError::malformed(path, FORMAT, format!("tensor '{name}': {error}"));
        let tensor = tensor.map_err(malformed)?;
        weights.insert(name, tensor);
    }
    skipped.sort_by(|left, right| left.tensor.cmp(&right.tensor));
    Ok((weights, skipped))
}

/// A tensor with its bytes in row-major order.
struct Read {
    name: String,
    dtype: StoredType,
    shape: Vec<usize>,
    bytes: Bytes,
}

/// Tensors as views into the file.
fn in_place(path: &Path, content: &Bytes, places: HashMap<String, Place>) -> Result<Vec<Read>, FormatError> {
    check_storages(path, content, &places)?;
    let read =
        |(name, Place { dtype, shape, bytes, .. })| Read { name, dtype, shape, bytes: content.slice(bytes) };
    Ok(places.into_iter().map(read).collect())
}

/// Tensors as the format's crate reads them, into memory.
fn copied(path: &Path, size: u64) -> Result<Vec<Read>, FormatError> {
    let tensors: Vec<StoredTensor> = open(path)?.into_tensors().into_values().collect();
    check_size(path, &tensors, size)?;
    let malformed = |error: std::io::Error| FormatError::malformed(path, FORMAT, error);
    let read = |tensor: StoredTensor| {
        let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
        let bytes = tensor.read().map_err(malformed)?.into();
        Ok(Read { name: tensor.name, dtype, shape, bytes })
    };
    tensors.into_iter().map(read).collect()
}

fn open(path: &Path) -> Result<PytorchReader, FormatError> {
    let reader = PytorchReader::new(path).map_err(|error| explain(path, error))?;
    if reader.is_empty() {
        let (path, message) = (path.to_path_buf(), "it holds no tensors".to_owned());
        let advice = "save the weights with torch.save(model.state_dict(), …)";
        return Err(FormatError::Malformed { path, format: FORMAT, message, advice });
    }
    Ok(reader)
}

/// Compares the storages that stay in the file with their checksums.
fn check_storages(path: &Path, content: &[u8], places: &HashMap<String, Place>) -> Result<(), FormatError> {
    let storages =
        places.values().map(|Place { storage: (range, crc32), .. }| (range.start, (range.end, *crc32)));
    let storages: BTreeMap<usize, _> = storages.collect();
    let intact = storages.into_par_iter().all(|(start, (end, crc32))| {
        content.get(start..end).is_some_and(|storage| archive::matches(storage, crc32))
    });
    let message = "a tensor's bytes do not have their checksum";
    if intact { Ok(()) } else { Err(FormatError::malformed(path, FORMAT, message)) }
}

fn explain(path: &Path, error: PytorchError) -> FormatError {
    match error {
        PytorchError::Io(source) if !is_damage(&source) => FileError::on(path, "read")(source).into(),
        error => {
            let message = error.to_string();
            let is_other =
                ["unsupported Python type", "memo bomb"].iter().any(|words| message.contains(words));
            if !is_other {
                return FormatError::malformed(path, FORMAT, message);
            }
            let advice = "it may be whole (TorchScript, sparse tensors, arrays): save the weights alone, with \
                          torch.save(model.state_dict(), …)";
            FormatError::Malformed { path: path.to_path_buf(), format: FORMAT, message, advice }
        }
    }
}

/// Whether the file disagrees with itself, as opposed to a file that cannot be read at all.
fn is_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// Sharing makes tensors larger than their file, and rarely by more than two; a stride of zero lets a hostile file claim
/// any size.
fn check_size(path: &Path, tensors: &[StoredTensor], size: u64) -> Result<(), FormatError> {
    let claimed = tensors.iter().fold(0u64, |sum, tensor| sum.saturating_add(tensor.byte_len() as u64));
    if claimed <= archive::room(size) {
        return Ok(());
    }
    let message = format!("its tensors claim {claimed} bytes, the file has {size}");
    Err(FormatError::malformed(path, FORMAT, message))
}

/// `None` for an element type that no operator takes.
fn target(stored: StoredType) -> Option<DType> {
    use StoredType::{BF16, Bool, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    match stored {
        F64 => Some(DType::F64),
        F32 => Some(DType::F32),
        F16 => Some(DType::F16),
        BF16 => Some(DType::BF16),
        I64 | I32 | I16 | I8 | U32 | U16 | U8 | Bool => Some(DType::I64),
        U64 => None,
    }
}

/// Integers as 64-bit ones; everything else as it is.
fn widened(stored: StoredType, bytes: Bytes) -> Bytes {
    match stored {
        StoredType::I32 => integers(&bytes, |element| i32::from_ne_bytes(element).into()),
        StoredType::I16 => integers(&bytes, |element| i16::from_ne_bytes(element).into()),
        StoredType::I8 => integers(&bytes, |element| i8::from_ne_bytes(element).into()),
        StoredType::U32 => integers(&bytes, |element| u32::from_ne_bytes(element).into()),
        StoredType::U16 => integers(&bytes, |element| u16::from_ne_bytes(element).into()),
        StoredType::U8 | StoredType::Bool => integers(&bytes, |element: [u8; 1]| element[0].into()),
        _ => bytes,
    }
}

fn integers<const SIZE: usize>(bytes: &[u8], decode: impl Fn([u8; SIZE]) -> i64) -> Bytes {
    let (elements, _) = bytes.as_chunks::<SIZE>();
    elements.iter().flat_map(|element| decode(*element).to_le_bytes()).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
    }

    /// Whether the tensors of a file stay in it; each is compared with what the format's crate reads.
    fn stay(name: &str) -> bool {
        let path = golden(name);
        let content = files::map(&path).unwrap();
        let Some(places) = places(&content) else { return false };
        let found = in_place(&path, &content, places).unwrap();
        let tensors = open(&path).unwrap().into_tensors();
        assert_eq!(found.len(), tensors.len(), "{name}");
        for read in found {
            let tensor = &tensors[&read.name];
            assert_eq!(
                (read.dtype, read.shape.as_slice()),
                (tensor.dtype(), tensor.shape()),
                "{name} {}",
                read.name
            );
            assert_eq!(read.bytes, tensor.read().unwrap(), "{name} {}", read.name);
        }
        true
    }

    #[test]
    fn tensors_stay_where_they_are() {
        for name in [
            "zip.pth",
            "legacy.pth",
            "protocol4.pth",
            "integers.pth",
            "checkpoint.pth",
            "checkpoint_legacy.pth",
            "ema.pth",
            "lightning.pth",
            "submodule.pth",
            "whole_module.pth",
        ] {
            assert!(stay(name), "{name}");
        }
    }

    #[test]
    fn what_has_gaps_or_another_container_is_copied() {
        for name in ["views.pth", "views_legacy.pth", "expanded.pth", "archive.pth"] {
            assert!(!stay(name), "{name}");
        }
    }
}
