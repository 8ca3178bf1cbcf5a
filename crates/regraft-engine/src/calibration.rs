//! The ranges of a network's values, from images.
//!
//! The network runs in single precision and every value is counted into a histogram, whose bins are the numbers with one
//! sign, exponent and 6 bits behind the point. Counts do not depend on the order of the images, their batches or the
//! number of threads, and neither do the ranges made of them.

use std::collections::BTreeMap;

use ndarray::{ArrayView, Dimension};
use rayon::prelude::*;
use regraft_graph::Model;
use serde::{Deserialize, Serialize};

use crate::{
    EngineError, InstructionSet, Normalization, Program, Settings,
    images::{self, Images},
    network::Observed,
    simd::LANES,
};

/// The range of each value of a network that [`Program::compile_int8`] may store in bytes, by the name of its wire: the
/// last one of the nodes that are computed in one step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Calibration {
    ranges: BTreeMap<String, [f32; 2]>,
}

impl Calibration {
    /// The lowest and the highest number of a wire that 8 bits need to represent.
    pub fn range(&self, wire: &str) -> Option<[f32; 2]> {
        self.ranges.get(wire).copied().filter(|range| range.iter().all(|bound| bound.is_finite()))
    }
}

/// Makes a [`Calibration`] of images.
#[derive(Debug)]
pub struct Calibrator {
    program: Program,
    names: Vec<String>,
    histograms: Vec<Histogram>,
}

impl Calibrator {
    /// For the network that [`Program::compile_int8`] compiles from the same model, image size and outputs.
    ///
    /// # Errors
    /// As for [`Program::compile_with`].
    pub fn new(
        model: &Model,
        image: [usize; 2],
        outputs: &[&str],
        set: InstructionSet,
    ) -> Result<Self, EngineError> {
        let settings = Settings { instruction_set: set, ..Settings::default() };
        let (program, names) = Program::compile_named(model, image, outputs, settings)?;
        let histograms = vec![Histogram::default(); names.len()];
        Ok(Self { program, names, histograms })
    }

    /// Runs a batch of any size and counts its values. Images in the preprocessing that the network will get later; a few
    /// hundred of them are plenty.
    ///
    /// # Errors
    /// As for [`Program::run`].
    pub fn observe<D: Dimension>(&mut self, batch: ArrayView<'_, f32, D>) -> Result<(), EngineError> {
        self.count(Images::Numbers(images::shaped(batch, &self.program.geometry(0))?))
    }

    /// As [`observe`](Self::observe), for decoded images as [`Program::run_pooled_pixels`] takes them.
    ///
    /// # Errors
    /// As for [`Program::run_pooled_pixels`].
    pub fn observe_pixels(
        &mut self,
        images: &[&[u8]],
        normalization: &Normalization,
    ) -> Result<(), EngineError> {
        self.count(Images::Pixels(images, normalization))
    }

    fn count(&mut self, mut batch: Images<'_>) -> Result<(), EngineError> {
        self.program.check(batch)?;
        let mut images = Vec::with_capacity(batch.len());
        while batch.len() > 0 {
            let (image, rest) = batch.split_at(1);
            images.push(image);
            batch = rest;
        }
        let count = self.names.len();
        let empty = || vec![Histogram::default(); count];
        let share = images.len().div_ceil(rayon::current_num_threads()).max(1);
        let counted = images.into_par_iter().with_min_len(share).try_fold(empty, |mut histograms, image| {
            self.program.observe(image, &mut |Observed { value, numbers }| {
                if let Some(histogram) = histograms.get_mut(value) {
                    histogram.count(numbers);
                }
            })?;
            Ok::<_, EngineError>(histograms)
        });
        let merged = counted.try_reduce(empty, |mut all, more| {
            all.iter_mut().zip(&more).for_each(|(all, more)| all.merge(more));
            Ok(all)
        })?;
        self.histograms.iter_mut().zip(&merged).for_each(|(all, more)| all.merge(more));
        Ok(())
    }

    /// The ranges whose rounding and clipping errors are expected to have the least squares. Nothing is said about wires
    /// that no image was observed at.
    pub fn finish(&self) -> Calibration {
        let named = self.names.iter().zip(&self.histograms);
        let ranges = named.filter_map(|(name, histogram)| Some((name.clone(), histogram.range()?)));
        Calibration { ranges: ranges.collect() }
    }
}

/// Bits of a number that are not in its bin's index.
const SHIFT: u32 = 17;
/// Shares of the full range that are tried.
const SHARES: usize = 48;

/// How many numbers are in which bin.
#[derive(Debug, Clone, Default)]
struct Histogram {
    counts: Vec<u64>,
    /// Smallest and largest finite number.
    extremes: Option<[f32; 2]>,
}

impl Histogram {
    /// Numbers that are not finite are left out.
    fn count(&mut self, numbers: &[f32]) {
        // Apart from the counting, so that they stay in registers.
        let [low, high] = extremes(numbers);
        if low > high {
            return;
        }
        let [lowest, highest] = self.extremes.unwrap_or([low, high]);
        self.extremes = Some([lowest.min(low), highest.max(high)]);
        self.counts.resize(1 << (32 - SHIFT), 0);
        for number in numbers {
            if let Some(count) = self.counts.get_mut((number.to_bits() >> SHIFT) as usize) {
                *count += u64::from(number.is_finite());
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        let Some([low, high]) = other.extremes else { return };
        if self.counts.is_empty() {
            self.counts = vec![0; other.counts.len()];
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(all, more)| *all += more);
        let [lowest, highest] = self.extremes.unwrap_or([low, high]);
        self.extremes = Some([lowest.min(low), highest.max(high)]);
    }

    /// The share of the full range, zero included, with the least expected squared error.
    fn range(&self) -> Option<[f32; 2]> {
        let [low, high] = self.extremes?;
        let full = [low.min(0.0), high.max(0.0)];
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        // The middle of the bin; zero itself is never rounded.
        let bins: Vec<(f64, f64)> = filled
            .map(|(bin, count)| {
                let bits = (bin as u32) << SHIFT;
                let middle = if bits << 1 == 0 { bits } else { bits | 1 << (SHIFT - 1) };
                (f64::from(f32::from_bits(middle)), *count as f64)
            })
            .collect();
        let candidate = |share: usize| full.map(|bound| bound * (1.0 - share as f32 / 64.0));
        let errors = (0..SHARES).map(candidate).map(|range| (squared_error(&bins, range), range));
        errors.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, range)| range)
    }
}

/// The lowest and the highest of the finite numbers; without any the first is above the second.
fn extremes(numbers: &[f32]) -> [f32; 2] {
    // In lanes, which become vectors: one after the other takes most of the time of a calibration.
    let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    for numbers in numbers.chunks(LANES) {
        for ((number, low), high) in numbers.iter().zip(&mut low).zip(&mut high) {
            let is_finite = number.abs() <= f32::MAX;
            *low = if is_finite & (*number < *low) { *number } else { *low };
            *high = if is_finite & (*number > *high) { *number } else { *high };
        }
    }
    [low.into_iter().fold(f32::INFINITY, f32::min), high.into_iter().fold(f32::NEG_INFINITY, f32::max)]
}

/// Of numbers that are rounded to one of 256 levels: uniform in a step, plus what lies beyond the ends.
fn squared_error(bins: &[(f64, f64)], range: [f32; 2]) -> f64 {
    let [low, high] = range.map(f64::from);
    let rounding = ((high - low) / 255.0).powi(2) / 12.0;
    let error = |(middle, count): &(f64, f64)| {
        let beyond = (middle - middle.clamp(low, high)).powi(2);
        if *middle == 0.0 { 0.0 } else { count * (rounding + beyond) }
    };
    bins.iter().map(error).sum()
}
