//! Caffe networks: weights (`.caffemodel`) and their description (`.prototxt`), of all generations of the format.
//!
//! Both are protocol buffers, the description in text form, and both become the same tree of fields (`text`, `wire`),
//! which is brought to today's layers (`network`), cut down to the network that is tested (`selection`) and turned into a
//! graph (`build`, `layers`). Weights stay in the mapped file: only what Caffe stores in another form is computed anew.

mod blob;
mod build;
mod import;
mod layers;
mod network;
mod preprocessing;
mod schema;
mod selection;
mod text;
mod tree;
mod wire;

use std::path::Path;

use bytes::Bytes;
use regraft_system::{files, hash};

use crate::{FormatError, Imported};
use import::{Paths, Reading, described_wrongly};
use network::Network;
use wire::{Fields, Raw};

const FORMAT: &str = "Caffe";

/// Reads a network: weights from a `.caffemodel`, and its description from a `.prototxt`, or from the weights where they
/// carry it. A mean image (`.binaryproto`) and a list of labels that lie beside either file are read, too.
///
/// # Errors
/// A file cannot be read, breaks its format's rules, or the two do not belong together; a layer is not known; the weights
/// do not carry their network ([`FormatError::NeedsNetwork`]).
pub fn read(weights: &Path, network: Option<&Path>) -> Result<Imported, FormatError> {
    let content = files::map(weights)?;
    if !is_binary(&content) {
        return Err(unreadable(weights, &content));
    }
    let sha256 = hash::sha256_hex(&content);
    let stored =
        wire::parse(content, &schema::NET).map_err(|error| FormatError::malformed(weights, FORMAT, error))?;
    let stored = Network::new(stored);
    let described = network.map(read_description).transpose()?;
    if described.is_none() && !stored.layers.iter().any(|layer| !layer.bottoms.is_empty()) {
        let (path, needed) = (weights.to_path_buf(), "the network's .prototxt");
        return Err(FormatError::NeedsNetwork { path, format: FORMAT, needed });
    }
    let paths = Paths { weights, network: network.unwrap_or(weights) };
    Reading { paths, stored, described, sha256 }.import()
}

/// Whether a file begins as a `.caffemodel` does: with the fields of a network up to its first layer.
pub fn is_binary(content: &[u8]) -> bool {
    let beginning = content.get(..LONGEST_BEGINNING).unwrap_or(content);
    let mut fields = Fields(Bytes::copy_from_slice(beginning));
    for _ in 0..MOST_FIELDS_BEFORE_LAYERS {
        let text = match fields.begins() {
            // A layer begins with its name, its kind, what it reads or writes, or a layer of the oldest kind.
            Some((2 | 100, 2, first)) => return matches!(first, Some(0x0a | 0x12 | 0x1a | 0x22 | 0x28)),
            Some((1 | 3, 2, _)) => true,
            Some((4, 0 | 2, _) | (5 | 7, 0, _) | (6 | 8, 2, _)) => false,
            _ => return false,
        };
        match fields.next() {
            Some(Ok((_, Raw::Bytes(bytes)))) if text && !is_printable(&bytes) => return false,
            Some(Ok(_)) => {}
            _ => return false,
        }
    }
    false
}

/// Bytes and fields in front of a network's first layer, at most.
const LONGEST_BEGINNING: usize = 1 << 16;
const MOST_FIELDS_BEFORE_LAYERS: usize = 256;

fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte >= b' ' || byte.is_ascii_whitespace())
}

/// Whether a file begins as a `.prototxt` of a network does.
pub fn is_text(content: &[u8]) -> bool {
    let names = ["name", "layer", "layers", "input", "input_dim", "input_shape", "force_backward", "state"];
    text::first_field(content)
        .is_some_and(|(name, sign)| matches!(sign, b':' | b'{') && names.contains(&name.as_str()))
}

fn unreadable(path: &Path, content: &[u8]) -> FormatError {
    let (message, advice) = if is_text(content) {
        (
            "it is a network's description in text form",
            "give the .caffemodel as --source and this file as --arch",
        )
    } else {
        ("it does not begin with a network", "fetch the .caffemodel again, or give the file that it is")
    };
    FormatError::Malformed { path: path.to_path_buf(), format: FORMAT, message: message.to_owned(), advice }
}

fn read_description(path: &Path) -> Result<Network, FormatError> {
    let content = files::map(path)?;
    if is_binary(&content) {
        let message = "it holds weights, not the description of a network";
        return Err(described_wrongly(path, message.to_owned()));
    }
    let fields = text::parse(&content).map_err(|error| described_wrongly(path, error.to_string()))?;
    Ok(Network::new(fields))
}
