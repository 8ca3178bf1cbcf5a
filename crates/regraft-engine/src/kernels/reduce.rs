//! Sums, means and extremes over any axes, in plain code and double precision.
#![allow(
    clippy::indexing_slicing,
    reason = "the tables are as long as the output has channels, rows and columns"
)]

use std::ops::Range;

use regraft_graph::ReduceKind;

use super::{Computation, Operands, check_bounds, row_of};
use crate::{
    EngineError, Settings,
    axes::Parts,
    element::{BFloat16, Element, Number, with_floats},
    geometry::Geometry,
    simd::LANES,
};

/// One number of each set of numbers.
#[derive(Debug)]
pub(crate) struct Reduce {
    input: Geometry,
    output: Geometry,
    kind: ReduceKind,
    /// Place of the first number of each set.
    first: Parts,
    /// Distances of the others from there, itself included.
    distances: Vec<u32>,
}

impl Reduce {
    /// # Errors
    /// [`EngineError::Bounds`].
    pub(crate) fn new(
        [input, output]: [Geometry; 2],
        kind: ReduceKind,
        first: Parts,
        distances: Vec<u32>,
    ) -> Result<Self, EngineError> {
        let last = |parts: &[u32]| parts.iter().max().map_or(0, |part| *part as usize);
        let Parts { channels, rows, columns } = &first;
        check_bounds(last(channels) + last(rows) + last(columns) + last(&distances) + 1, &input)?;
        Ok(Self { input, output, kind, first, distances })
    }
}

impl Computation for Reduce {
    fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.output.height
    }

    fn cost(&self, images: usize) -> usize {
        8 * images * self.output.image() * self.distances.len()
    }

    unsafe fn run(&self, _: Settings, operands: &Operands, units: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { with_floats!(self.input.element, self.output.element, self.rows(operands, units)) }
    }
}

impl Reduce {
    /// # Safety
    /// As for [`Computation::run`], and the numbers of input and output must be `I` and `O`.
    unsafe fn rows<I: Number, O: Number>(&self, operands: &Operands, units: Range<usize>) {
        let (output, Parts { channels, rows, columns }) = (&self.output, &self.first);
        for unit in units {
            let [image, block, y] = row_of(output, unit);
            let channels = &channels[block * LANES..channels.len().min((block + 1) * LANES)];
            for (x, column) in columns.iter().enumerate() {
                let mut places = [0; LANES];
                places.iter_mut().zip(channels).for_each(|(place, part)| *place = part + rows[y] + column);
                // SAFETY: the pixel lies in the image; the caller vouches for the operands, and `new` for the places.
                unsafe {
                    let results = self.results(operands.input.at::<I>(image), &places, channels.len());
                    let to = operands.output.at::<O>(image).add(block * output.plane() + output.pixel(y, x));
                    for (lane, result) in results.into_iter().enumerate() {
                        *to.add(lane) = O::new(result as f32);
                    }
                }
            }
        }
    }

    /// Of the first `count` sets; zeros behind them.
    ///
    /// # Safety
    /// The places and the distances from them must lie in the image.
    unsafe fn results<I: Number>(&self, from: *const I, places: &[u32; LANES], count: usize) -> [f64; LANES] {
        let follow = count == LANES
            && places.iter().enumerate().all(|(lane, place)| *place == places[0] + lane as u32);
        let mut results = [self.start(); LANES];
        for distance in &self.distances {
            for lane in 0..if follow { LANES } else { count } {
                let place = if follow { places[0] as usize + lane } else { places[lane] as usize };
                // SAFETY: the caller's promise.
                let value = unsafe { f64::from((*from.add(place + *distance as usize)).value()) };
                results[lane] = self.step(results[lane], value);
            }
        }
        results[count..].fill(0.0);
        results.map(|result| match self.kind {
            ReduceKind::Mean => result / self.distances.len() as f64,
            ReduceKind::L2 => result.sqrt(),
            _ => result,
        })
    }

    fn start(&self) -> f64 {
        match self.kind {
            ReduceKind::Max => f64::NEG_INFINITY,
            ReduceKind::Min => f64::INFINITY,
            _ => 0.0,
        }
    }

    /// Not-a-number stays.
    fn step(&self, so_far: f64, value: f64) -> f64 {
        match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => so_far + value,
            ReduceKind::L2 => value.mul_add(value, so_far),
            ReduceKind::Max => {
                if value > so_far || value.is_nan() {
                    value
                } else {
                    so_far
                }
            }
            ReduceKind::Min => {
                if value < so_far || value.is_nan() {
                    value
                } else {
                    so_far
                }
            }
        }
    }
}
