//! What augmentation draws from a stream. No argument makes a function panic.

use rand::RngExt as _;
use regraft_system::random::Stream;

/// True with a probability.
pub(super) fn chance(stream: &mut Stream, probability: f64) -> bool {
    stream.random::<f64>() < probability
}

/// Uniform from the first number to the second.
pub(super) fn uniform(stream: &mut Stream, [low, high]: [f64; 2]) -> f64 {
    low + (high - low) * stream.random::<f64>()
}

/// Uniform on a logarithmic scale.
pub(super) fn log_uniform(stream: &mut Stream, range: [f64; 2]) -> f64 {
    uniform(stream, range.map(f64::ln)).exp()
}

/// A whole number from 0 to `last`.
pub(super) fn up_to(stream: &mut Stream, last: usize) -> usize {
    stream.random_range(0..=last)
}
