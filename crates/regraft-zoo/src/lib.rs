//! Source models: architectures as graph builders, the catalogue, and the embedded default.
//!
//! An architecture is a function from a number of classes to a graph whose names are those of the published weights,
//! so that loading a file is a look-up by name and nothing is renamed. The default model is part of the program: it
//! works on a machine without a network.
//!
//! ```
//! let model = regraft_zoo::resolve("efficientnet-lite0")?;
//! assert_eq!(model.card().labels.len(), 1000);
//! # Ok::<(), regraft_zoo::ZooError>(())
//! ```

mod architecture;
mod bert;
mod branches;
mod builder;
mod caffenet;
mod catalogue;
mod convnext;
mod craft;
mod crnn;
mod densenet;
mod efficientnet;
mod embedded;
mod entry;
mod error;
mod fingerprint;
mod folder;
mod googlenet;
mod inception;
mod inception_v4;
mod inverted;
mod jax;
mod leftover;
mod load;
mod matching;
mod mobilenet;
mod names;
mod random;
mod regnet;
mod relatives;
mod resnet;
mod squeezenet;
mod table;
mod timm;
mod transformer;
mod transformers;
mod vgg;
mod vision;

pub use architecture::{Architecture, architecture, architectures};
pub use builder::Network;
pub use catalogue::{Catalogue, FILE_NAME, embedded, info, list, read, resolve, to_toml};
pub use embedded::imagenet_labels;
pub use entry::{Entry, Fingerprint, From, PreprocessingChange, is_name};
pub use error::{Tried, ZooError};
pub use fingerprint::{IMAGE_SIZE, fingerprint_image};
pub use folder::{is_hub_folder, lacks_preprocessing, load_encoder, load_folder};
pub use load::{guess_architecture, load_file, load_weights, split_entry};
pub use matching::MatchReport;
pub use random::random_weights;
pub use timm::{save_folder, timm_names};
pub use transformer::{Encoder, transformer_encoder};
