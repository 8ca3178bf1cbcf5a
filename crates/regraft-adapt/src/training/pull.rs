//! Pulling weights towards where they began, and averages of weights.

use rayon::prelude::*;

use super::optimizer::CHUNK;

/// Moves values towards others by a share of the distance: `w ← w − share · (w − w⁰)`, which is L2-SP (Li, Grandvalet and
/// Davoine 2018) in the decoupled form of AdamW. With a share of 0 it does nothing, with 1 nothing is learned.
pub fn pull_towards(values: &mut [f32], start: &[f32], share: f64) {
    let share = share.clamp(0.0, 1.0) as f32;
    if share == 1.0 {
        // Exactly, without rounding.
        values.iter_mut().zip(start).for_each(|(value, start)| *value = *start);
        return;
    }
    let chunks = values.par_chunks_mut(CHUNK).zip(start.par_chunks(CHUNK));
    chunks.for_each(|(values, start)| {
        values.iter_mut().zip(start).for_each(|(value, start)| *value -= share * (*value - start));
    });
}

/// Moves averages towards values by a share of the distance: with a share of `1 − decay` an exponential moving average, with `1 / n`
/// the mean of the first n values, if it was that of the first n − 1. Averages that are not there yet begin as the values.
pub fn approach(averages: &mut Vec<f32>, values: &[f32], share: f64) {
    if averages.len() != values.len() {
        *averages = values.to_vec();
        return;
    }
    let share = share as f32;
    averages.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(averages, values)| {
        averages.iter_mut().zip(values).for_each(|(average, value)| *average += share * (value - *average));
    });
}

/// `(1 − share) · start + share · end`: WiSE-FT (Wortsman et al. 2022). Shares of 0 and 1 give the ends themselves.
pub fn interpolate(start: &[f32], end: &[f32], share: f64) -> Vec<f32> {
    let between =
        |(start, end): (&f32, &f32)| ((1.0 - share) * f64::from(*start) + share * f64::from(*end)) as f32;
    start.iter().zip(end).map(between).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_begin_as_the_values_and_follow() {
        let mut averages = Vec::new();
        approach(&mut averages, &[1.0, -2.0], 1.0);
        assert_eq!(averages, [1.0, -2.0]);
        approach(&mut averages, &[2.0, 0.0], 0.25);
        assert_eq!(averages, [1.25, -1.5]);
    }

    #[test]
    fn the_limits_are_the_ends() {
        let start = [1.0, -2.0, 0.3];
        let pulled = |share| {
            let mut values = [0.7, 5.0, 0.1];
            pull_towards(&mut values, &start, share);
            values
        };
        assert_eq!(pulled(0.0), [0.7, 5.0, 0.1]);
        assert_eq!(pulled(1.0), start);
        assert_eq!(pulled(7.0), start);
        assert!((pulled(0.5)[1] - 1.5).abs() < 1e-6);
        let end = [0.1, 0.2, 0.7];
        assert_eq!(interpolate(&start, &end, 0.0), start);
        assert_eq!(interpolate(&start, &end, 1.0), end);
        assert_eq!(interpolate(&[0.0], &[1.0], 0.25), [0.25]);
    }
}
