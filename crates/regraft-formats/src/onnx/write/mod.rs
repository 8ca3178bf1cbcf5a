//! A model as an ONNX file.
//!
//! Nodes, wires and weights keep their names. What ONNX has no operator for is written as several, of which one has the
//! node's name, so that the reader puts them together again; the vote of nearest neighbours is a function of the file's own.
//! Nothing depends on the number of examples unless the options fix it.

mod export;
mod file;
mod layers;
mod moves;
mod neighbors;
mod preprocessing;

use std::path::Path;

use regraft_graph::{Dim, Model};

use super::reader::FORMAT;
use crate::FormatError;
use export::Export;
pub use preprocessing::pixels_name;

/// How a model is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// Version of the standard operators, 17 to 21.
    pub opset: u8,
    /// Number of examples that the file takes at a time; `None` for any number.
    pub batch: Option<usize>,
    /// Whether the file takes pixels, unsigned bytes N×H×W×3 in the order red, green, blue, and normalises them itself.
    /// Decoding, resizing and cropping stay with the caller.
    pub with_preprocessing: bool,
    /// Bytes of weights from which on they go into a file of their own beside the model. A model file cannot have more
    /// than 2 GB.
    pub inline_bytes: usize,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { opset: 18, batch: None, with_preprocessing: false, inline_bytes: 1_500_000_000 }
    }
}

/// The versions of the standard operators that can be written.
pub const WRITTEN_OPSETS: std::ops::RangeInclusive<u8> = 17..=21;

/// Writes a model, whole or not at all. Where its weights take more than [`ExportOptions::inline_bytes`], they go to a
/// file beside it that is called like it with `.data` behind.
///
/// # Errors
/// The file cannot be written, or the options or an operator cannot be.
pub fn write(model: &Model, path: &Path, options: &ExportOptions) -> Result<(), FormatError> {
    check(model, options).map_err(|message| FormatError::Options { format: FORMAT, message })?;
    let mut export = Export::new(model, options);
    for node in model.graph().nodes() {
        export.node(node).map_err(|message| FormatError::Unsupported {
            path: path.to_path_buf(),
            format: FORMAT,
            node: node.name.clone(),
            operator: node.op.name().to_owned(),
            message,
        })?;
    }
    file::write(export.finish(), path, options)
}

fn check(model: &Model, options: &ExportOptions) -> Result<(), String> {
    if !WRITTEN_OPSETS.contains(&options.opset) {
        let (first, last) = WRITTEN_OPSETS.into_inner();
        return Err(format!("opset {} cannot be written, only {first} to {last}", options.opset));
    }
    if options.batch == Some(0) {
        return Err("a batch of no examples cannot be written".to_owned());
    }
    let preprocessing = &model.card().preprocessing;
    let colours = model.graph().input_fact().shape.get(1) == Some(&Dim::Fixed(3))
        && model.graph().input_fact().shape.len() == 4
        && preprocessing.mean.len() == 3
        && preprocessing.std.len() == 3;
    if options.with_preprocessing && !colours {
        return Err(
            "only the preprocessing of images with three colours can be; leave --with-preprocessing out"
                .to_owned(),
        );
    }
    Ok(())
}
