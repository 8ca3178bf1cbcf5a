//! Weights from a file of any kind that can be read.

use std::path::Path;

use regraft_graph::Weights;
use regraft_system::{files, hash};

use crate::{FormatError, pytorch, safetensors};

/// What a weight file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightFile {
    /// The tensors by the names that the file gives them.
    pub weights: Weights,
    /// Tensors of element types that no operator takes. Harmless unless a network needs one.
    pub skipped: Vec<Skipped>,
    /// SHA-256 of the whole file, in hexadecimal digits.
    pub sha256: String,
}

/// A tensor that was left in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its name.
    pub tensor: String,
    /// Its element type, as the format calls it.
    pub dtype: String,
}

/// Reads a weight file, recognising its format by its content and not by its name.
///
/// Tensors of a safetensors file stay in the file until they are used; those of a PyTorch file are read.
///
/// # Errors
/// The file cannot be read, is of no known format, or breaks its format's rules.
pub fn read_weights(path: &Path) -> Result<WeightFile, FormatError> {
    let content = files::map(path)?;
    let (weights, skipped) = match Kind::of(&content) {
        Kind::Safetensors => safetensors::parse(path, content.clone())?,
        Kind::Pytorch => pytorch::read(path)?,
        Kind::Other(found) => return Err(FormatError::Unrecognized { path: path.to_path_buf(), found }),
    };
    Ok(WeightFile { weights, skipped, sha256: hash::sha256_hex(&content) })
}

enum Kind {
    Safetensors,
    Pytorch,
    Other(String),
}

impl Kind {
    fn of(content: &[u8]) -> Self {
        let tar = content.get(257..262) == Some(b"ustar");
        match content {
            [] => Self::Other("an empty file".to_owned()),
            // A safetensors file is a length of eight bytes, then a JSON object; a Python pickle of protocol 2 or
            // later starts with 0x80, an older dictionary with one of "(}c". A length may start with any of these.
            [_, _, _, _, _, _, _, _, b'{', ..] => Self::Safetensors,
            [b'P', b'K', ..] | [0x80, ..] | [b'(' | b'}' | b'c', ..] => Self::Pytorch,
            _ if tar => Self::Pytorch,
            [b'<', ..] => Self::Other("markup; a web page was saved in place of the file".to_owned()),
            _ if content.starts_with(b"version https://git-lfs") => {
                Self::Other("a Git LFS pointer; run 'git lfs pull'".to_owned())
            }
            _ => {
                let start: Vec<_> = content.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                Self::Other(format!("a file that begins with the bytes {}", start.join(" ")))
            }
        }
    }
}
