//! Depthwise convolutions: one kernel a channel, so that a block of channels is a vector all the way.
//!
//! Kernels 3 and 5 wide with stride 1 or 2 read each column of a tile once for all its taps. Numbers of 16 and 8 bits have
//! to be widened when they are read, which costs more than the products: 14² × 384 channels in bfloat16 took 35 µs on one
//! thread of a Xeon (family 6, model 207), 24 in single precision. The products of an output pixel are added in the order
//! of the taps either way.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(
    clippy::indexing_slicing,
    reason = "indices come from the step's own sizes, checked when it is built"
)]

use std::{marker::PhantomData, ops::Range};

use super::{Operands, check_bounds};
use crate::{
    EngineError, Settings,
    buffer::Buffer,
    element::{Affine, BFloat16, Element, Number, UInt8, load_real, with_floats, with_numbers},
    geometry::Geometry,
    kernels::{activation::Function, dense::Recipe, reading::Reading},
    network::Clamp,
    simd::{self, Kernel, LANES, Simd},
    window::Window,
};

/// Output pixels of a tile: enough independent sums to hide the latency of the multiply–add, few enough addresses.
const PIXELS: usize = 8;
/// Output pixels of a tile where they divide a row evenly: 7, 14, 28, 35.
const FEWER_PIXELS: usize = 7;
/// Columns that a tile of the widest kernel with the largest stride sees.
const MOST_COLUMNS: usize = (PIXELS - 1) * 2 + 5;

/// A packed depthwise convolution.
#[derive(Debug)]
pub(crate) struct Depthwise {
    input: Element,
    output: Geometry,
    residual: Option<Geometry>,
    input_plane: usize,
    start: usize,
    steps: [usize; 2],
    /// Pixels of the output from one that is computed to the next.
    apart: [usize; 2],
    /// Distance of each kernel element from the start of the window.
    taps: Vec<usize>,
    /// Width of the kernel and horizontal stride, if the columns of a window follow each other.
    columns: Option<[usize; 2]>,
    /// Blocks × taps × 16.
    weights: Buffer,
    bias: Buffer,
    clamp: Clamp,
    function: Option<Function>,
}

impl Depthwise {
    /// Packs the weights.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn new(recipe: &Recipe<'_>) -> Result<Self, EngineError> {
        let Recipe { input, output, window, .. } = *recipe;
        let taps = offsets(&window, &input);
        let weights = Buffer::zeroed(output.blocks() * taps.len() * LANES)?;
        let bias = Buffer::zeroed(output.blocks() * LANES)?;
        let (start, steps) = (window.start(&input), window.steps(&input));
        let corner = start + (output.height - 1) * steps[0] + (output.width - 1) * steps[1];
        let reach = taps.last().copied().unwrap_or(0) + LANES;
        check_bounds((output.blocks() - 1) * input.plane() + corner + reach, &input)?;
        let (residual, clamp, input_plane) = (recipe.residual, recipe.clamp, input.plane());
        let function = recipe.function;
        let follow = window.dilation[1] == 1 && input.lanes == LANES;
        let columns = follow.then_some([window.kernel[1], window.stride[1]]);
        let mut depthwise = Self {
            apart: recipe.apart,
            columns,
            input: input.element,
            output,
            residual,
            input_plane,
            start,
            steps,
            taps,
            weights,
            bias,
            clamp,
            function,
        };
        depthwise.repack(recipe);
        Ok(depthwise)
    }

    /// Packs a weight and a bias of the same sizes.
    pub(crate) fn repack(&mut self, recipe: &Recipe<'_>) {
        let (reading, taps) = (Reading::new(recipe), self.taps.len());
        for channel in 0..self.output.channels {
            for tap in 0..taps {
                let place = (channel / LANES * taps + tap) * LANES + channel % LANES;
                self.weights[place] = reading.number(channel, 0, tap);
            }
        }
        self.bias[..recipe.bias.len()].copy_from_slice(recipe.bias);
        scale_to_input(recipe, taps, &mut self.weights, &mut self.bias);
    }

    /// Number of units: rows of one block of one image.
    pub(crate) fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.output.height
    }

    /// Multiply–accumulate operations on a group of images.
    pub(crate) fn cost(&self, images: usize) -> usize {
        images * self.output.pixels() * self.weights.len()
    }

    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images of the geometries that the step was built with, the output apart from the
    /// others, and no other thread may compute the same units.
    pub(crate) unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        simd::launch_with(settings, &Task { step: self, operands, units });
    }
}

/// Lets weights and bias of an input in bytes take the bytes for what they stand for.
fn scale_to_input(recipe: &Recipe<'_>, taps: usize, weights: &mut [f32], bias: &mut [f32]) {
    let Affine { factor, shift } = recipe.input.element.to_real();
    if recipe.input.element.levels().is_none() {
        return;
    }
    weights.iter_mut().for_each(|weight| *weight *= factor);
    for (kernel, bias) in recipe.weight.chunks_exact(taps).zip(bias) {
        *bias += shift * kernel.iter().sum::<f32>();
    }
}

fn offsets(window: &Window, input: &Geometry) -> Vec<usize> {
    let [height, width] = window.kernel;
    let [down, right] = window.dilation;
    let offset = |tap: usize| tap / width * down * input.row() + tap % width * right * input.lanes;
    (0..height * width).map(offset).collect()
}

struct Task<'a> {
    step: &'a Depthwise,
    operands: &'a Operands,
    units: Range<usize>,
}

/// One row of output pixels of one block.
struct Row<I, O> {
    input: *const I,
    output: *mut O,
    residual: *const u8,
    block: usize,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        with_numbers!(self.step.input, self.step.output.element, self.rows_of::<S>(simd));
    }
}

/// The rows of a task, of a kernel `K` wide with stride `T`; of any for zero.
struct Rows<'a, I, O, const K: usize, const T: usize>(&'a Task<'a>, PhantomData<(I, O)>);

impl<I: Number, O: Number, const K: usize, const T: usize> Kernel for Rows<'_, I, O, K, T> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        self.0.rows::<S, I, O, K, T>(simd);
    }
}

impl Task<'_> {
    #[inline(always)]
    fn rows_of<S: Simd, I: Number, O: Number>(&self, simd: S) {
        // With fewer registers the columns would go to memory and back.
        if const { S::PIXELS > PIXELS } {
            match self.step.columns {
                Some([3, 1]) => return simd.call(&Rows::<I, O, 3, 1>(self, PhantomData)),
                Some([3, 2]) => return simd.call(&Rows::<I, O, 3, 2>(self, PhantomData)),
                Some([5, 1]) => return simd.call(&Rows::<I, O, 5, 1>(self, PhantomData)),
                Some([5, 2]) => return simd.call(&Rows::<I, O, 5, 2>(self, PhantomData)),
                _ => {}
            }
        }
        simd.call(&Rows::<I, O, 0, 0>(self, PhantomData));
    }

    #[inline(always)]
    fn rows<S: Simd, I: Number, O: Number, const K: usize, const T: usize>(&self, simd: S) {
        let output = &self.step.output;
        for unit in self.units.clone() {
            let (plane, y) = (unit / output.height, unit % output.height);
            let (image, block) = (plane / output.blocks(), plane % output.blocks());
            // SAFETY: `Depthwise::run`'s caller vouches for the operands, and the check in `new` for the offsets in them.
            unsafe {
                let row = self.step.row::<I, O>(self.operands, image, block, y);
                self.step.row_of_tiles::<S, I, O, K, T>(simd, &row);
                if let Some(function) = self.step.function.filter(|_| !O::IS_LEVEL) {
                    function.apply(simd, row.output, output.width);
                }
            }
        }
    }
}

impl Depthwise {
    /// # Safety
    /// The operands must hold the image.
    #[inline(always)]
    unsafe fn row<I, O>(&self, operands: &Operands, image: usize, block: usize, y: usize) -> Row<I, O> {
        let residual = self.residual.unwrap_or(self.output);
        // SAFETY: a row of a block lies in its image.
        unsafe {
            Row {
                input: operands
                    .input
                    .at::<I>(image)
                    .add(block * self.input_plane + self.start + y * self.steps[0]),
                output: operands
                    .output
                    .at::<O>(image)
                    .add(block * self.output.plane() + self.output.pixel(y * self.apart[0], 0)),
                // Not dereferenced without a residual, and then perhaps outside.
                residual: operands.second.at::<u8>(image).wrapping_add(
                    (block * residual.plane() + residual.pixel(y * self.apart[0], 0))
                        * residual.element.size(),
                ),
                block,
            }
        }
    }

    /// Tiles of a row, of a kernel `K` wide with stride `T`; of any for zero.
    ///
    /// # Safety
    /// The row must be valid.
    #[inline(always)]
    unsafe fn row_of_tiles<S: Simd, I: Number, O: Number, const K: usize, const T: usize>(
        &self,
        simd: S,
        row: &Row<I, O>,
    ) {
        let (width, mut x) = (self.output.width, 0);
        // SAFETY: the tiles cover the row and no more.
        unsafe {
            if const { K > 0 } {
                while width.is_multiple_of(FEWER_PIXELS) && !width.is_multiple_of(PIXELS) && x < width {
                    self.tile_of_columns::<S, I, O, FEWER_PIXELS, K, T>(simd, row, x);
                    x += FEWER_PIXELS;
                }
            }
            while x + PIXELS <= width {
                if const { K > 0 } {
                    self.tile_of_columns::<S, I, O, PIXELS, K, T>(simd, row, x);
                } else {
                    self.tile::<S, I, O, PIXELS>(simd, row, x);
                }
                x += PIXELS;
            }
            while x + 2 <= width {
                self.tile::<S, I, O, 2>(simd, row, x);
                x += 2;
            }
            if x < width {
                self.tile::<S, I, O, 1>(simd, row, x);
            }
        }
    }

    /// A tile of a kernel `K` wide with stride `T`, a row of taps at a time.
    ///
    /// # Safety
    /// The row must have `P` pixels from `x`.
    #[inline(always)]
    unsafe fn tile_of_columns<
        S: Simd,
        I: Number,
        O: Number,
        const P: usize,
        const K: usize,
        const T: usize,
    >(
        &self,
        simd: S,
        row: &Row<I, O>,
        x: usize,
    ) {
        let input = row.input.wrapping_add(x * self.steps[1]);
        let mut weights = self.weights.as_ptr().wrapping_add(row.block * self.taps.len() * LANES);
        // SAFETY: the check in `new` covers every tap of every pixel, and these are consecutive columns.
        unsafe {
            let mut sums = [simd.load(self.bias.as_ptr().add(row.block * LANES)); P];
            for offset in self.taps.iter().step_by(K) {
                let mut columns = [simd.splat(0.0); MOST_COLUMNS];
                for column in 0..(P - 1) * T + K {
                    columns[column] = I::load(simd, input.add(offset + column * LANES));
                }
                for tap in 0..K {
                    let weight = simd.load(weights.add(tap * LANES));
                    for pixel in 0..P {
                        sums[pixel] = simd.multiply_add(columns[pixel * T + tap], weight, sums[pixel]);
                    }
                }
                weights = weights.add(K * LANES);
            }
            self.finish(simd, row, x, &sums);
        }
    }

    /// # Safety
    /// The row must have `P` pixels from `x`.
    #[inline(always)]
    unsafe fn tile<S: Simd, I: Number, O: Number, const P: usize>(&self, simd: S, row: &Row<I, O>, x: usize) {
        let (step, weights) = (self.steps[1], row.block * self.taps.len());
        // SAFETY: the check in `new` covers every tap of every pixel.
        unsafe {
            let mut sums = [simd.load(self.bias.as_ptr().add(row.block * LANES)); P];
            let input = row.input.add(x * step);
            for (tap, offset) in self.taps.iter().enumerate() {
                let weight = simd.load(self.weights.as_ptr().add((weights + tap) * LANES));
                for pixel in 0..P {
                    let input = I::load(simd, input.add(pixel * step + offset));
                    sums[pixel] = simd.multiply_add(input, weight, sums[pixel]);
                }
            }
            self.finish(simd, row, x, &sums);
        }
    }

    /// # Safety
    /// As for [`Self::tile`].
    #[inline(always)]
    unsafe fn finish<S: Simd, I, O: Number, const P: usize>(
        &self,
        simd: S,
        row: &Row<I, O>,
        x: usize,
        sums: &[S::Vector; P],
    ) {
        let (low, high) = (simd.splat(self.clamp.low), simd.splat(self.clamp.high));
        let Affine { factor, shift } = self.output.element.to_stored();
        let apart = self.apart[1] * LANES;
        for pixel in 0..P {
            let mut sum = sums[pixel];
            // SAFETY: the caller's promise.
            unsafe {
                if let Some(residual) = &self.residual {
                    let from = row.residual.add((x + pixel) * apart * residual.element.size());
                    sum = simd.add(sum, load_real(simd, residual.element, from));
                }
                let mut value = simd.clamp(sum, low, high);
                if O::IS_LEVEL {
                    if let Some(function) = self.function {
                        value = function.evaluate(simd, value);
                    }
                    value = simd.fused_multiply_add(value, simd.splat(factor), simd.splat(shift));
                }
                O::store(simd, row.output.add((x + pixel) * apart), value);
            }
        }
    }
}
