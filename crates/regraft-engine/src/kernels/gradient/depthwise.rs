//! Gradient of the weights of a depthwise convolution: for each channel and place of the window the sum over all pixels of the
//! output's gradient times the input there. A vector has the sums of 16 channels.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(clippy::indexing_slicing, reason = "indices come from the step's own sizes")]

use std::ops::Range;

use super::{Gradient, Operands, row, scatter};
use crate::{
    EngineError, InstructionSet,
    geometry::Geometry,
    kernels::{check_bounds, for_tile_size},
    simd::{self, Kernel, LANES, Simd},
    window::Window,
};

/// Reads the gradient of the output and the input.
#[derive(Debug)]
pub(crate) struct DepthwiseGradient {
    from: Geometry,
    input: Geometry,
    start: usize,
    steps: [usize; 2],
    /// From a window's start to each of its places.
    offsets: Vec<usize>,
    /// Place of the first number among the gradients.
    to: usize,
}

impl DepthwiseGradient {
    /// # Errors
    /// [`EngineError::Bounds`].
    pub(crate) fn new([from, input]: [Geometry; 2], window: Window, to: usize) -> Result<Self, EngineError> {
        let [height, width] = window.kernel;
        let offset = |tap: usize| {
            let (y, x) = (tap / width * window.dilation[0], tap % width * window.dilation[1]);
            y * input.row() + x * input.lanes
        };
        let offsets: Vec<usize> = (0..height * width).map(offset).collect();
        let (start, steps) = (window.start(&input), window.steps(&input));
        let corner = (from.height - 1) * steps[0] + (from.width - 1) * steps[1];
        let last = (from.blocks() - 1) * input.plane() + offsets.iter().max().unwrap_or(&0) + LANES;
        check_bounds(start + corner + last, &input)?;
        Ok(Self { from, input, start, steps, offsets, to })
    }
}

impl Gradient for DepthwiseGradient {
    fn units(&self, _: usize) -> usize {
        self.from.blocks()
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a DepthwiseGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let taps = self.step.offsets.len();
        // As many sums side by side as there are registers for: one alone would wait for each addition.
        let parts = taps.div_ceil(S::PIXELS);
        for block in self.units.clone() {
            for part in 0..parts {
                let (first, end) = (part * taps / parts, (part + 1) * taps / parts);
                for_tile_size!(S, ONE, end - first, T => simd.call(&Taps::<T> { task: self, block, first }));
            }
        }
    }
}

/// [`for_tile_size`] asks for blocks, too.
const ONE: usize = 1;

/// Some places of the window for a block of channels.
struct Taps<'a, const T: usize> {
    task: &'a Task<'a>,
    block: usize,
    first: usize,
}

impl<const T: usize> Kernel for Taps<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let DepthwiseGradient { from, offsets, to, .. } = self.task.step;
        let count = LANES.min(from.channels - self.block * LANES);
        // SAFETY: the block lies in the images; `Gradient::run`'s caller vouches for the operands, and `new` for the windows
        // in them.
        unsafe {
            let totals = self.totals(simd);
            for tap in 0..T {
                let place = to + self.block * LANES * offsets.len() + self.first + tap;
                let place = self.task.operands.shared.gradients.add(place);
                scatter(simd.lanes(totals[tap]), count, place, offsets.len());
            }
        }
    }
}

impl<const T: usize> Taps<'_, T> {
    /// # Safety
    /// The images must have the block, and the window the places.
    #[inline(always)]
    unsafe fn totals<S: Simd>(&self, simd: S) -> [S::Vector; T] {
        let DepthwiseGradient { from, input, start, steps, offsets, .. } = self.task.step;
        let mut totals = [simd.splat(0.0); T];
        let [gradients, inputs] = self.task.operands.reads else { return totals };
        for image in 0..self.task.operands.images {
            let mut sums = [simd.splat(0.0); T];
            for y in 0..from.height {
                // SAFETY: the caller's promise.
                unsafe {
                    let gradient = row(*gradients, from, [image, self.block, y]);
                    let corner = self.block * input.plane() + start + y * steps[0];
                    let mut values = [inputs.at::<f32>(image).add(corner).cast_const(); T];
                    for tap in 0..T {
                        values[tap] = values[tap].add(offsets[self.first + tap]);
                    }
                    let of_row = of_row(simd, gradient, values, [from.width, steps[1]]);
                    for tap in 0..T {
                        sums[tap] = simd.add(sums[tap], of_row[tap]);
                    }
                }
            }
            for tap in 0..T {
                totals[tap] = simd.add(totals[tap], sums[tap]);
            }
        }
        totals
    }
}

/// Sums over so many pixels of a row, whose inputs have that distance.
///
/// # Safety
/// Gradients and values must be readable.
#[inline(always)]
unsafe fn of_row<S: Simd, const T: usize>(
    simd: S,
    gradient: *const f32,
    values: [*const f32; T],
    [width, step]: [usize; 2],
) -> [S::Vector; T] {
    let mut sums = [simd.splat(0.0); T];
    for x in 0..width {
        // SAFETY: the caller's promise.
        unsafe {
            let gradient = simd.load(gradient.add(x * LANES));
            for tap in 0..T {
                sums[tap] = simd.multiply_add(gradient, simd.load(values[tap].add(x * step)), sums[tap]);
            }
        }
    }
    sums
}
