//! What gradient descent needs beside the gradients: losses, optimisers, and how the learning rate changes.
//!
//! All of it is arithmetic on plain slices and arrays; whoever computes the gradients stands above.

mod loss;
mod low_rank;
mod optimizer;
mod pull;
mod schedule;

pub use loss::{Targets, softmax_cross_entropy};
pub use low_rank::{LowRank, Matrix};
pub use optimizer::{Optimizer, OptimizerState, ParameterGroup, clip_by_global_norm};
pub use pull::{interpolate, pull_towards};
pub use schedule::Schedule;
