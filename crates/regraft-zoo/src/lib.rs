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
mod builder;
mod catalogue;
mod densenet;
mod efficientnet;
mod embedded;
mod error;
mod inception;
mod load;
mod mobilenet;
mod random;
mod resnet;
mod transformer;
mod vgg;

pub use architecture::{Architecture, architecture, architectures};
pub use builder::Network;
pub use catalogue::{Entry, info, list, resolve};
pub use densenet::densenet121;
pub use efficientnet::efficientnet_lite0;
pub use embedded::imagenet_labels;
pub use error::ZooError;
pub use inception::inception_v3;
pub use load::{MatchReport, guess_architecture, load_file, load_weights};
pub use mobilenet::mobilenet_v2;
pub use random::random_weights;
pub use resnet::{resnet18, resnet34, resnet50, resnet101, resnet152};
pub use transformer::{Encoder, transformer_encoder, vit_b_16};
pub use vgg::vgg16;
