//! Heads on frozen features and their selection.
//!
//! A head is a small classifier on the features that a pretrained network computes: here four linear ones and a
//! nearest-neighbour vote, each with an exact or a convex solution, so that nothing depends on a learning rate or on
//! luck. [`select`] fits all of them by cross-validation and keeps the simplest that is as good as the best.
//!
//! Features come in as n × D arrays of `f32`, all arithmetic is in `f64`. Parallelism is over folds, candidates and
//! blocks of rows in a fixed order, and the linear algebra inside each is sequential: the number of threads cannot
//! change a bit of any result.
#![allow(clippy::indexing_slicing, reason = "indices come from shapes that `Examples::new` has checked")]

mod basis;
mod error;
mod examples;
mod folds;
mod head;
pub mod knn;
mod lbfgs;
pub mod lda;
mod linalg;
mod linear;
pub mod logistic;
pub mod nearest_mean;
mod partition;
pub mod ridge;
mod score;
mod select;
pub mod standardise;
pub mod training;

pub use error::{AdaptError, Result};
pub use examples::Examples;
pub use head::{Head, HeadKind, fit_fixed};
pub use linear::{LinearHead, LinearSolution};
pub use partition::Partition;
pub use select::{CandidateScore, Selection, SkippedHead, select};
