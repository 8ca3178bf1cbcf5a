//! Runs graphs on the CPU.
//!
//! [`Program::compile`] freezes a model for one image size: batch normalisation is multiplied into the convolutions,
//! activations and residual additions become their last step, weights are packed into the order in which the kernels
//! read them, and the activations get fixed places in one stretch of memory. [`Program::run`] then only computes.
//!
//! The kernels are compiled for several instruction sets and chosen at run time. For one instruction set the result of
//! an image is the same bit for bit, whatever the number of threads and whatever else is in the batch.
//!
//! ```
//! use ndarray::Array4;
//! use regraft_engine::Program;
//! use regraft_graph::{Card, ChannelOrder, Fact, Graph, Model, Node, Op, Preprocessing, Resize, ResizeFilter, Roles, Weights};
//!
//! let mut graph = Graph::new("input", Fact::image(3));
//! graph.push(Node::new("relu", Op::Relu, ["input"]))?;
//! # let preprocessing = Preprocessing {
//! #     channel_order: ChannelOrder::Rgb, resize: Resize::ShortSide(2), filter: ResizeFilter::Bilinear,
//! #     crop: [2, 2], mean: vec![0.0; 3].into(), std: vec![1.0; 3].into(),
//! # };
//! # let card = Card {
//! #     name: "example".into(), origin: "here".into(), sha256: None, licence: None, preprocessing, labels: Vec::new(),
//! #     source_task: None, source_accuracy: None, aliases: Default::default(),
//! #     roles: Roles { features: "relu".into(), logits: None, cuts: Vec::new() },
//! # };
//! let model = Model::new(graph, Weights::new(), card)?;
//! let program = Program::compile(&model, [2, 2], &["relu"])?;
//! let outputs = program.run(Array4::from_elem([1, 3, 2, 2], -1.0).view())?;
//! assert!(outputs[0].iter().all(|value| *value == 0.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod axes;
mod buffer;
mod calibration;
mod compile;
mod crew;
mod element;
mod error;
mod geometry;
mod groups;
#[cfg(regraft_sanitized)]
mod guard;
mod images;
mod instruction_set;
mod kernels;
mod layout;
mod network;
mod phase;
mod plan;
mod precision;
mod program;
mod quantization;
mod selection;
mod simd;
mod stages;
mod step;
mod tape;
mod views;
mod window;

pub use calibration::{Calibration, Calibrator};
pub use error::EngineError;
pub use images::Normalization;
pub use instruction_set::InstructionSet;
/// Counts the changes of the kernels that change bits of a result, so that a cache does not mix rows of two kinds.
pub const KERNELS: u32 = 5;

pub use precision::{Precision, Settings};
pub use program::Program;
pub use tape::{Tape, TapeOptions, Trained};
