//! Resampling items with replacement.
//!
//! Resample r draws from the stream `("bootstrap", r)` of the seed and from nothing else. Resamples therefore run in
//! parallel in any order with the same bits, and two analyses of the same items with the same seed see the same
//! resamples, which is what makes a comparison of theirs a paired one.

use rand::distr::{Distribution as _, Uniform};
use rayon::prelude::*;
use regraft_system::random;

use crate::error::{Error, Result};
use crate::intervals::Bootstrap;

impl Bootstrap {
    /// Fails unless the number of resamples is 1 to 1,000,000 and the confidence lies strictly between 0 and 1.
    pub(crate) fn check(&self) -> Result<()> {
        check_resamples(self.resamples, 1)?;
        check_confidence(self.confidence)
    }
}

/// Fails unless the number of resamples lies between `least` and a million, more than which only fills the memory.
pub(crate) fn check_resamples(resamples: usize, least: usize) -> Result<()> {
    if (least..=1_000_000).contains(&resamples) {
        return Ok(());
    }
    Err(Error::Setting {
        name: "resamples",
        found: resamples as f64,
        expected: "a few thousand, at most 1,000,000",
    })
}

/// Fails unless the confidence lies strictly between 0 and 1.
pub(crate) fn check_confidence(confidence: f64) -> Result<()> {
    if confidence > 0.0 && confidence < 1.0 {
        return Ok(());
    }
    Err(Error::Setting { name: "confidence", found: confidence, expected: "between 0 and 1" })
}

/// The indices of the items of one resample.
pub(crate) type Draws = std::iter::Take<rand::distr::Iter<Uniform<usize>, random::Stream, usize>>;

/// `evaluate(scratch, draws)` for every resample, in order. `draws` yields `items` indices below `items`; each worker
/// has one `scratch` made by `prepare`, which `evaluate` has to reset.
pub(crate) fn resample<S, R: Send>(
    settings: &Bootstrap,
    items: usize,
    prepare: impl Fn() -> S + Sync + Send,
    evaluate: impl Fn(&mut S, Draws) -> R + Sync + Send,
) -> Result<Vec<R>> {
    let indices = Uniform::new(0, items).map_err(|_| Error::Empty { what: "the list of items" })?;
    let run = |scratch: &mut S, resample: usize| {
        let stream = random::stream(settings.seed, "bootstrap", resample as u64);
        evaluate(scratch, indices.sample_iter(stream).take(items))
    };
    Ok((0..settings.resamples).into_par_iter().map_init(prepare, run).collect())
}

/// The central interval that holds the share `confidence` of `values`, which it sorts.
pub(crate) fn percentiles(values: &mut [f64], confidence: f64) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    (quantile(values, tail), quantile(values, 1.0 - tail))
}

/// The quantile by linear interpolation between order statistics (Hyndman & Fan 1996, definition 7; numpy's default).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let mut values = [4.0, 1.0, 3.0, 2.0, 5.0];
        assert_eq!(percentiles(&mut values, 0.5), (2.0, 4.0));
        let (low, high) = percentiles(&mut values, 0.9);
        assert!((low - 1.2).abs() < 1e-14 && (high - 4.8).abs() < 1e-14);
        assert_eq!(percentiles(&mut [7.0], 0.95), (7.0, 7.0));
    }
}
