//! Weights from a file of any kind that can be read.

use std::path::Path;

use bytes::Bytes;
use regraft_graph::Weights;
use regraft_system::{files, hash};

use crate::archive::Archive;
use crate::{FormatError, npy, pytorch, safetensors, sharded};

/// What a weight file holds.
#[derive(Debug, Clone, Default, PartialEq)]
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

/// Reads a weight file, recognising its format by its content and not by its name. An index of several files
/// (`model.safetensors.index.json`) stands for all of them.
///
/// Tensors stay in the mapped file until they are used, but for those that the file holds compressed or rearranged. The
/// hash is computed meanwhile by another thread, where there is one: it takes longer than everything else.
///
/// # Errors
/// The file cannot be read, is of no known format, or breaks its format's rules.
pub fn read_weights(path: &Path) -> Result<WeightFile, FormatError> {
    let content = files::map(path)?;
    if content.starts_with(b"{") && sharded::is_index(&content) {
        return sharded::read(path, &content);
    }
    let (sha256, read) = rayon::join(|| hash::sha256_hex(&content), || parse(path, &content));
    let (weights, skipped) = read?;
    Ok(WeightFile { weights, skipped, sha256 })
}

fn parse(path: &Path, content: &Bytes) -> Result<(Weights, Vec<Skipped>), FormatError> {
    match Kind::of(content) {
        Kind::Safetensors => safetensors::parse(path, content.clone()),
        Kind::Pytorch => pytorch::parse(path, content),
        Kind::Npz => npy::parse_archive(path, content),
        Kind::Other(found) => Err(FormatError::Unrecognized { path: path.to_path_buf(), found }),
    }
}

enum Kind {
    Safetensors,
    Pytorch,
    Npz,
    Other(String),
}

impl Kind {
    fn of(content: &Bytes) -> Self {
        let tar = content.get(257..262) == Some(b"ustar");
        match content.as_ref() {
            [] => Self::Other("an empty file".to_owned()),
            // A safetensors file is a length of eight bytes, then a JSON object; a Python pickle of protocol 2 or
            // later starts with 0x80, an older dictionary with one of "(}c". A length may start with any of these.
            [_, _, _, _, _, _, _, _, b'{', ..] => Self::Safetensors,
            [b'P', b'K', ..] if holds_arrays(content) => Self::Npz,
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

fn holds_arrays(content: &Bytes) -> bool {
    let names = Archive::open(content.clone()).map(|archive| archive.names()).unwrap_or_default();
    names.iter().any(|name| name.ends_with(".npy"))
}
