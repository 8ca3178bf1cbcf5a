//! PyTorch checkpoints: `.pth`, `.pt` and `.bin`, in every container that `torch.save` has written.
//!
//! A checkpoint is a Python pickle, which Python would execute. Here it is interpreted into a tree of values and
//! nothing in it is ever called.

use std::path::Path;

use bytes::Bytes;
use pytorch_reader::{DType as StoredType, PytorchError, PytorchReader, Tensor as StoredTensor};
use regraft_graph::{DType, Tensor, Weights};
use regraft_system::files::{self, FileError};

use crate::{FormatError, Skipped};

const FORMAT: &str = "PyTorch";

/// Entries of a training checkpoint that hold the weights, beside optimizer state and the like.
const ENTRIES: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// What data-parallel training puts before every name.
const PREFIX: &str = "module.";

/// A file whose tensors unfold to more than this many times its size, and to more than [`HARMLESS`] bytes, is refused.
/// Sharing makes tensors larger than their file, and rarely by more than two; a stride of zero lets a hostile file claim
/// any size.
const LARGEST_EXPANSION: u64 = 8;

/// Any machine has this much memory to spare.
const HARMLESS: u64 = 256 << 20;

/// Reads a checkpoint: the tensors of its root, or of the entry `state_dict`, `model_state_dict` or `model` where
/// there is one. A prefix `module.` that all names share is removed. Integers of other widths become 64 bits wide.
///
/// # Errors
/// The file cannot be read, breaks the format's rules, or holds no tensors.
pub fn read(path: &Path) -> Result<(Weights, Vec<Skipped>), FormatError> {
    let size = files::map(path)?.len() as u64;
    let tensors: Vec<StoredTensor> = open(path)?.into_tensors().into_values().collect();
    check_size(path, &tensors, size)?;
    let (mut weights, mut skipped) = (Weights::new(), Vec::new());
    for tensor in tensors {
        let name = tensor.name.clone();
        match convert(path, &tensor)? {
            Some(converted) => {
                weights.insert(name, converted);
            }
            None => skipped.push(Skipped { tensor: name, dtype: format!("{:?}", tensor.dtype()) }),
        }
    }
    skipped.sort_by(|left, right| left.tensor.cmp(&right.tensor));
    Ok((without_prefix(weights), skipped))
}

fn open(path: &Path) -> Result<PytorchReader, FormatError> {
    // An entry of that name that holds no tensors is something else: the name of a model, say. An error is not lost: a
    // broken file is broken at its root, too.
    let mut entries = ENTRIES.iter().filter_map(|entry| PytorchReader::with_top_level_key(path, entry).ok());
    if let Some(reader) = entries.find(|reader| !reader.is_empty()) {
        return Ok(reader);
    }
    let reader = PytorchReader::new(path).map_err(|error| explain(path, error))?;
    if reader.is_empty() {
        let (path, message) = (path.to_path_buf(), "it holds no tensors".to_owned());
        let advice = "save the weights with torch.save(model.state_dict(), …)";
        return Err(FormatError::Malformed { path, format: FORMAT, message, advice });
    }
    Ok(reader)
}

fn explain(path: &Path, error: PytorchError) -> FormatError {
    match error {
        PytorchError::Io(source) if !is_damage(&source) => FileError::on(path, "read")(source).into(),
        error => FormatError::malformed(path, FORMAT, error),
    }
}

/// Whether the file disagrees with itself, as opposed to a file that cannot be read at all.
fn is_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

fn check_size(path: &Path, tensors: &[StoredTensor], size: u64) -> Result<(), FormatError> {
    let claimed = tensors.iter().fold(0u64, |sum, tensor| sum.saturating_add(tensor.byte_len() as u64));
    if claimed <= size.saturating_mul(LARGEST_EXPANSION).max(HARMLESS) {
        return Ok(());
    }
    let message = format!("its tensors claim {claimed} bytes, the file has {size}");
    Err(FormatError::malformed(path, FORMAT, message))
}

/// `None` for an element type that no operator takes.
fn convert(path: &Path, tensor: &StoredTensor) -> Result<Option<Tensor>, FormatError> {
    let Some(target) = target(tensor.dtype()) else { return Ok(None) };
    let malformed = |message: String| FormatError::malformed(path, FORMAT, message);
    let bytes = tensor.read().map_err(|error| malformed(error.to_string()))?;
    let bytes = widened(tensor.dtype(), bytes);
    let converted = Tensor::new(target, tensor.shape().to_vec(), bytes);
    converted.map(Some).map_err(|error| malformed(format!("tensor '{}': {error}", tensor.name)))
}

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
fn widened(stored: StoredType, bytes: Vec<u8>) -> Bytes {
    match stored {
        StoredType::I32 => integers(&bytes, |element| i32::from_ne_bytes(element).into()),
        StoredType::I16 => integers(&bytes, |element| i16::from_ne_bytes(element).into()),
        StoredType::I8 => integers(&bytes, |element| i8::from_ne_bytes(element).into()),
        StoredType::U32 => integers(&bytes, |element| u32::from_ne_bytes(element).into()),
        StoredType::U16 => integers(&bytes, |element| u16::from_ne_bytes(element).into()),
        StoredType::U8 | StoredType::Bool => integers(&bytes, |element: [u8; 1]| element[0].into()),
        _ => bytes.into(),
    }
}

fn integers<const SIZE: usize>(bytes: &[u8], decode: impl Fn([u8; SIZE]) -> i64) -> Bytes {
    let (elements, _) = bytes.as_chunks::<SIZE>();
    elements.iter().flat_map(|element| decode(*element).to_le_bytes()).collect::<Vec<u8>>().into()
}

fn without_prefix(weights: Weights) -> Weights {
    if !weights.iter().all(|(name, _)| name.starts_with(PREFIX)) {
        return weights;
    }
    let stripped = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    weights.iter().map(|(name, tensor)| (stripped(name), tensor.clone())).collect()
}
