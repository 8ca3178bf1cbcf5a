//! How good a classifier is, how sure that number is, and whether another one is better.
//!
//! Pure functions on arrays, in `f64`, without files and without state. Each takes the true class of every item and
//! the predicted probabilities (items × classes), checks them, and fails with an [`Error`] that names the item. Every
//! random number comes from a stream keyed by the seed and the resample, so a result has the same bits for any
//! number of threads.
//!
//! | module | question |
//! |---|---|
//! | [`metrics`] | how good is it? |
//! | [`intervals`] | how far could the number be off, given so few test items? |
//! | [`paired`] | is A better than B? |
//! | [`calibration`] | do the probabilities mean what they say? |
//! | [`selection`] | which candidate is the simplest that is good enough? |
//! | [`curve`] | how does the score grow with the training items? |
#![allow(
    clippy::indexing_slicing,
    reason = "indices are items and classes that the checks at every entrance have bounded"
)]

mod bootstrap;
pub mod calibration;
pub mod curve;
mod distribution;
mod error;
pub mod intervals;
mod items;
pub mod metrics;
pub mod paired;
pub mod selection;
mod tally;

pub use error::{Error, Result};
