//! What gradient descent needs beside the gradients: losses, optimisers, and how the learning rate changes.
//!
//! All of it is arithmetic on plain slices and arrays; whoever computes the gradients stands above.

mod bss;
mod co_tuning;
mod delta;
mod distillation;
mod loss;
mod low_rank;
mod optimizer;
mod pull;
mod range_test;
mod schedule;
mod soup;

pub use bss::batch_spectral_shrinkage;
pub use co_tuning::{category_relationship, co_tuning};
pub use delta::{attentive_behavioural_regularisation, behavioural_regularisation, channel_attention};
pub use distillation::knowledge_distillation;
pub use loss::{Targets, softmax_cross_entropy};
pub use low_rank::{LowRank, Matrix};
pub use optimizer::{Optimizer, OptimizerState, ParameterGroup, clip_by_global_norm};
pub use pull::{approach, interpolate, pull_towards};
pub use range_test::{RangePoint, RangeTest};
pub use schedule::Schedule;
pub use soup::{greedy_soup, mean};
