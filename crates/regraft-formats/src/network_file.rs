//! Whole networks, from a file of any kind that holds one.

use std::path::Path;

use regraft_system::files;

use crate::{FormatError, Imported, caffe, keras, onnx, tfjs};

/// Reads a network, recognising the format by the file's content. `description` is the second file that some formats
/// keep a network in: Caffe's `.prototxt`, Keras's `.json`.
///
/// `None` for a file that holds tensors by name and nothing else: they need an architecture.
///
/// # Errors
/// The file cannot be read, breaks its format's rules, needs a description that is not given, or has no use for one.
pub fn read_network(path: &Path, description: Option<&Path>) -> Result<Option<Imported>, FormatError> {
    let content = files::map(path)?;
    if keras::is_archive(&content) || keras::is_hdf5_file(&content) {
        return keras::read(path, description).map(Some);
    }
    if caffe::is_binary(&content) || caffe::is_text(&content) {
        return caffe::read(path, description).map(Some);
    }
    if tfjs::is_model_json(&content) {
        return alone(path, description, tfjs::FORMAT).and_then(|()| tfjs::read(path)).map(Some);
    }
    if onnx::is_onnx(&content) {
        return alone(path, description, onnx::FORMAT).and_then(|()| onnx::read(path)).map(Some);
    }
    Ok(None)
}

/// Some formats have no second file, or name it themselves.
fn alone(path: &Path, description: Option<&Path>, format: &'static str) -> Result<(), FormatError> {
    match description {
        Some(_) => Err(FormatError::DescribesItself { path: path.to_path_buf(), format }),
        None => Ok(()),
    }
}
