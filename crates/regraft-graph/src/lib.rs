//! The model as data: graph, facts, weights, card, surgery.
//!
//! A [`Model`] is a value that can be cut, printed, compared and saved: a [`Graph`] of nodes in topological order, the
//! [`Weights`] that its nodes name, and the [`Card`] that says where they come from and how to feed them. There are no
//! closures and no trait objects, so that every pass over a model is a `match` that the compiler checks for
//! completeness. Models change only through a [`Patch`], which checks shapes and weights again and leaves a reason.
//!
//! ```
//! use regraft_graph::{Dim, Fact, Graph, Node, Op};
//!
//! let mut graph = Graph::new("input", Fact::image(3));
//! graph.push(Node::new("relu", Op::Relu, ["input"]))?;
//! graph.set_output("relu")?;
//! assert_eq!(graph.fact("relu")?.shape[1], Dim::Fixed(3));
//! # Ok::<(), regraft_graph::GraphError>(())
//! ```

mod attributes;
mod card;
mod cost;
mod dim;
mod dump;
mod error;
mod fact;
mod graph;
mod infer;
mod model;
mod op;
mod patch;
mod resampling;
mod roles;
mod split;
mod tensor;

pub use attributes::{
    Approximation, Attention, BatchNormalization, ClassToken, Clip, Concat, Constant, Conv, ConvTranspose,
    Coordinates, Custom, Elu, Embedding, GateFunction, Gelu, Gemm, Interpolation, InterpolationMode,
    InterpolationSize, LayerNormalization, LeakyRelu, Lrn, LrnRegion, NearestNeighbors, PRelu, Pad, PadMode,
    Padding, Pool, PositionEmbedding, Power, Recurrent, Reduce, ReduceKind, Reshape, Scale, Slice, Transpose,
};
pub use card::{Card, ChannelOrder, Preprocessing, Resize, ResizeFilter, Roles};
pub use cost::Cost;
pub use dim::{Bindings, Dim, Symbol};
pub use dump::dump;
pub use error::GraphError;
pub use fact::Fact;
pub use graph::{Graph, Node};
pub use model::Model;
pub use op::{Op, Parameter, ParameterKind};
pub use patch::{ChannelRule, Patch};
pub use resampling::Resampling;
pub use tensor::{DType, Tensor, Weights};
