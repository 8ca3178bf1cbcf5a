//! Bytes to graphs and weights, and back: PyTorch, safetensors, npy and npz, Caffe, Keras, TensorFlow.js, ONNX, and the folder
//! that a model is saved in.
//!
//! Every file is untrusted. A reader checks each length that a file declares against what the file holds before it
//! allocates or slices, and an error names the file, what was expected and found, and what to do. Each format crate
//! is named in one module only, so that replacing it touches one file.

mod archive;
pub mod caffe;
mod card;
mod channels_last;
mod draft;
mod error;
mod hdf5;
pub mod keras;
mod labels;
pub mod model_folder;
mod network_file;
pub mod npy;
pub mod onnx;
pub mod pytorch;
pub mod safetensors;
mod sharded;
pub mod tfjs;
mod weight_file;

pub use draft::Imported;
pub use error::FormatError;
pub use network_file::read_network;
pub use weight_file::{Skipped, WeightFile, read_weights};
