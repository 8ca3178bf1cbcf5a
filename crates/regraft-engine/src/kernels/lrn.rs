//! Local response normalisation, over neighbouring channels of a pixel or neighbouring pixels of a channel.
#![allow(clippy::indexing_slicing, reason = "the scratch memory is made as long as what is written into it")]

use std::{cell::RefCell, ops::Range};

use regraft_graph::{Lrn as Attributes, LrnRegion};

use super::{Computation, Operands, first_lanes, load_block, store_block};
use crate::{
    Settings,
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd, functions},
};

/// `x / (bias + alpha / n · Σ x²)^beta`.
#[derive(Debug)]
pub(crate) struct Lrn {
    pub(crate) input: Geometry,
    pub(crate) output: Geometry,
    pub(crate) attributes: Attributes,
}

thread_local! {
    /// Squares of a pixel's channels, with zeros before and behind them.
    static SQUARES: RefCell<Vec<f32>> = RefCell::default();
}

impl Lrn {
    fn across(&self) -> bool {
        self.attributes.region == LrnRegion::AcrossChannels
    }

    /// How far the neighbours reach that can be there.
    pub(super) fn reach(&self) -> usize {
        let Geometry { channels, height, width, .. } = self.input;
        let most = if self.across() { channels } else { height.max(width) };
        (self.attributes.size / 2).min(most)
    }

    /// Rows and columns, or channels, of the neighbours.
    fn window(&self) -> usize {
        2 * self.reach() + 1
    }

    /// What the sum of the squares is multiplied by.
    pub(super) fn share(&self) -> f32 {
        let size = self.attributes.size as f32;
        self.attributes.alpha / if self.across() { size } else { size * size }
    }
}

impl Computation for Lrn {
    /// Rows of all blocks.
    fn units(&self, images: usize) -> usize {
        images * self.output.height
    }

    fn cost(&self, images: usize) -> usize {
        let neighbours = if self.across() { self.window() } else { self.window() * self.window() };
        (16 + neighbours) * images * self.output.image()
    }

    unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        let mut squares = SQUARES.take();
        squares.clear();
        squares.resize(self.input.blocks() * LANES + self.window(), 0.0);
        let task = Task { step: self, operands, units, squares: RefCell::new(&mut squares) };
        simd::launch(settings.instruction_set, &task);
        SQUARES.set(squares);
    }
}

struct Task<'a> {
    step: &'a Lrn,
    operands: &'a Operands,
    units: Range<usize>,
    squares: RefCell<&'a mut Vec<f32>>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let output = &self.step.output;
        let mut squares = self.squares.borrow_mut();
        for unit in self.units.clone() {
            let (image, y) = (unit / output.height, unit % output.height);
            for x in 0..output.width {
                // SAFETY: the pixel lies in the image; `run`'s caller vouches for the operands.
                unsafe {
                    if self.step.across() {
                        self.across(simd, &mut squares, image, [y, x]);
                    } else {
                        self.within(simd, image, [y, x]);
                    }
                }
            }
        }
    }
}

impl Task<'_> {
    /// # Safety
    /// The pixel must lie in the image.
    #[inline(always)]
    unsafe fn across<S: Simd>(&self, simd: S, squares: &mut [f32], image: usize, pixel: [usize; 2]) {
        let (input, before) = (&self.step.input, self.step.reach());
        for block in 0..input.blocks() {
            // SAFETY: the caller's promise; the squares have room for all blocks and what lies around them.
            unsafe {
                let value = load_block(simd, self.operands.input, input, [image, block], pixel);
                let lanes = LANES.min(input.channels - block * LANES);
                let square = first_lanes(simd, simd.multiply(value, value), lanes);
                simd.store(squares[before + block * LANES..][..LANES].as_mut_ptr(), square);
            }
        }
        for block in 0..input.blocks() {
            let mut sum = simd.splat(0.0);
            for neighbour in 0..self.step.window() {
                // SAFETY: as above.
                sum = simd
                    .add(sum, unsafe { simd.load(squares[block * LANES + neighbour..][..LANES].as_ptr()) });
            }
            // SAFETY: the caller's promise.
            unsafe { self.finish(simd, image, block, pixel, sum) };
        }
    }

    /// # Safety
    /// The pixel must lie in the image.
    #[inline(always)]
    unsafe fn within<S: Simd>(&self, simd: S, image: usize, [y, x]: [usize; 2]) {
        let (input, reach) = (&self.step.input, self.step.reach());
        let near = |place: usize, size: usize| place.saturating_sub(reach)..(place + reach + 1).min(size);
        for block in 0..input.blocks() {
            let mut sum = simd.splat(0.0);
            for y in near(y, input.height) {
                for x in near(x, input.width) {
                    // SAFETY: the rows and columns are the image's.
                    let value =
                        unsafe { load_block(simd, self.operands.input, input, [image, block], [y, x]) };
                    sum = simd.multiply_add(value, value, sum);
                }
            }
            // SAFETY: the caller's promise.
            unsafe { self.finish(simd, image, block, [y, x], sum) };
        }
    }

    /// # Safety
    /// The pixel must lie in the image.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, simd: S, image: usize, block: usize, pixel: [usize; 2], sum: S::Vector) {
        let Lrn { input, output, attributes: Attributes { beta, bias, .. } } = self.step;
        let share = simd.splat(self.step.share());
        let logarithm = functions::log(simd, simd.multiply_add(sum, share, simd.splat(*bias)));
        let factor = functions::exp(simd, simd.multiply(logarithm, simd.splat(-beta)));
        // SAFETY: the caller's promise.
        unsafe {
            let value = load_block(simd, self.operands.input, input, [image, block], pixel);
            let value = simd.multiply(value, factor);
            store_block(simd, self.operands.output, output, [image, block], pixel, value);
        }
    }
}
