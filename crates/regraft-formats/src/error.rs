//! What can be wrong with a file.

use std::path::{Path, PathBuf};

use regraft_graph::GraphError;
use regraft_system::files::FileError;

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file system refuses.
    #[error(transparent)]
    File(#[from] FileError),
    /// The first bytes are those of no format that can be read.
    #[error(
        "{}: neither a network nor weights of a format that is read (safetensors, PyTorch's .pth, .pt and .bin, NumPy's .npz, \
         ONNX, Keras's .keras and .h5, .caffemodel, TensorFlow.js's model.json): found {found}",
        path.display()
    )]
    Unrecognized {
        /// The file.
        path: PathBuf,
        /// How it begins.
        found: String,
    },
    /// The file is of a known format but breaks its rules: truncated, damaged or made to do harm.
    #[error("{}: not a valid {format} file: {message}; {advice}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The format's name.
        format: &'static str,
        /// The rule that is broken.
        message: String,
        /// What to do.
        advice: &'static str,
    },
    /// The file is valid, but one of its layers is none that a graph can hold.
    #[error("{}: the {format} layer '{node}' ({operator}) cannot be read: {message}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The format's name.
        format: &'static str,
        /// The layer's name.
        node: String,
        /// Its kind, as the format calls it.
        operator: String,
        /// What is in the way, and what to do.
        message: String,
    },
    /// The file holds weights without the network that they are for.
    #[error("{}: these {format} weights need {needed}: --arch FILE", path.display())]
    NeedsNetwork {
        /// The file.
        path: PathBuf,
        /// The format's name.
        format: &'static str,
        /// The file that describes the network, as people call it.
        needed: &'static str,
    },
    /// The file holds its network, and another file was given that describes one.
    #[error("{}: a file of {format} describes its network itself; leave --arch out", path.display())]
    DescribesItself {
        /// The file.
        path: PathBuf,
        /// The format's name.
        format: &'static str,
    },
    /// A model cannot be written as the options say.
    #[error("this model cannot be written as {format}: {message}")]
    Options {
        /// The format's name.
        format: &'static str,
        /// What is in the way.
        message: String,
    },
    /// A weight is infinite or not a number: every output would be too.
    #[error(
        "{}: value {index} of the tensor '{tensor}' is infinite or not a number; \
         the training that wrote this file diverged, use an earlier checkpoint",
        path.display()
    )]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Position of the value in row-major order.
        index: usize,
    },
    /// A model folder's parts do not fit each other.
    #[error("{}: the graph and the weights do not fit each other: {source}", path.display())]
    Model {
        /// The file or folder.
        path: PathBuf,
        /// What does not fit.
        source: GraphError,
    },
}

impl FormatError {
    /// A file that breaks its format's rules, for the usual reason that it did not arrive whole.
    pub(crate) fn malformed(path: &Path, format: &'static str, message: impl ToString) -> Self {
        let advice = "the file is incomplete or damaged, fetch or write it again";
        Self::Malformed { path: path.to_path_buf(), format, message: message.to_string(), advice }
    }
}
