//! Gradient of the weights of a depthwise convolution: for each channel and place of the window the sum over all pixels of the
//! output's gradient times the input there. A vector has the sums of 16 channels.
#![allow(clippy::indexing_slicing, reason = "indices come from the step's own sizes")]

use std::ops::Range;

use super::{Gradient, Operands, row, scatter};
use crate::{
    EngineError, InstructionSet,
    geometry::Geometry,
    kernels::check_bounds,
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
        let DepthwiseGradient { from, offsets, to, .. } = self.step;
        for block in self.units.clone() {
            let count = LANES.min(from.channels - block * LANES);
            for (tap, offset) in offsets.iter().enumerate() {
                // SAFETY: the block lies in the images; `Gradient::run`'s caller vouches for the operands, and `new` for the
                // windows in them.
                unsafe {
                    let total = self.total(simd, block, *offset);
                    let place = to + block * LANES * offsets.len() + tap;
                    let place = self.operands.shared.gradients.add(place);
                    scatter(simd.lanes(total), count, place, offsets.len());
                }
            }
        }
    }
}

impl Task<'_> {
    /// # Safety
    /// The images must have the block, and the window the place.
    #[inline(always)]
    unsafe fn total<S: Simd>(&self, simd: S, block: usize, offset: usize) -> S::Vector {
        let DepthwiseGradient { from, input, start, steps, .. } = self.step;
        let mut total = simd.splat(0.0);
        let [gradients, inputs] = self.operands.reads else { return total };
        for image in 0..self.operands.images {
            let mut sum = simd.splat(0.0);
            for y in 0..from.height {
                let mut of_row = simd.splat(0.0);
                // SAFETY: the caller's promise.
                unsafe {
                    let gradient = row(*gradients, from, [image, block, y]);
                    let values =
                        inputs.at::<f32>(image).add(block * input.plane() + start + y * steps[0] + offset);
                    for x in 0..from.width {
                        let value = simd.load(values.add(x * steps[1]));
                        of_row = simd.multiply_add(simd.load(gradient.add(x * LANES)), value, of_row);
                    }
                }
                sum = simd.add(sum, of_row);
            }
            total = simd.add(total, sum);
        }
        total
    }
}
