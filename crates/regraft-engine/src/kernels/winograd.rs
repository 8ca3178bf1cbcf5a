//! Dense 3×3 convolutions of stride 1 by Winograd's minimal filtering F(4×4, 3×3): 36 products a channel for 16 outputs
//! instead of 144 (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016).
//!
//! `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` with the interpolation points 0, ±√½, ±√2 and ∞. Their products are one, which keeps
//! the three transformations alike in size: the largest error, relative to the largest output, over random layers of 128
//! channels is 1.7e-6, against 7.4e-6 with the usual points 0, ±1, ±2 (`oracles/study_winograd_points.py`).
//!
//! Milliseconds for two images on one thread of an AMD Zen 4, direct and so: 64 channels @56 4.1 and 1.6, 128 @28 4.0 and
//! 1.4, 256 @14 4.0 and 1.8, 512 @7 4.0 and 1.7 (of ResNet-50; the direct kernel runs at 113 of 118 GFLOP/s).
//!
//! A unit is a chunk of tiles, 4×4 outputs each, of all images of the group, and all output channels or a share of them.
//! Its inputs are transformed; then, for some output channels at a time so that the products stay in the second-level
//! cache, 36 matrix products and the transformation back. Every output is computed from its own tile in one order, so that
//! chunks and shares change no bit.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(
    clippy::indexing_slicing,
    reason = "indices come from the step's own sizes, checked when it is built"
)]

pub(crate) mod gradient;
mod weights;

use std::{
    cell::RefCell,
    f32::consts::{FRAC_1_SQRT_2, SQRT_2},
    marker::PhantomData,
    ops::Range,
};

use super::{
    Operands,
    activation::Function,
    dense::Recipe,
    for_tile_size,
    register_tile::{MOST_PIXELS, accumulate},
};
use crate::{
    EngineError, InstructionSet, Settings,
    buffer::Buffer,
    element::{BFloat16, Element, Number},
    geometry::Geometry,
    network::Clamp,
    simd::{self, Kernel, LANES, Simd},
    step::{FAR_WEIGHTS, Passes},
    window::Window,
};

/// Rows and columns of a tile of outputs.
const OUTPUTS: usize = 4;
/// Rows and columns of the inputs that a tile sees.
const INPUTS: usize = 6;
/// Products of a channel and a tile.
const PRODUCTS: usize = INPUTS * INPUTS;
/// Blocks of output channels between two transformations back.
const SLAB: usize = 4;

/// A packed convolution.
#[derive(Debug)]
pub(crate) struct Winograd {
    input: Geometry,
    output: Geometry,
    residual: Option<Geometry>,
    start: usize,
    /// Stored rows and columns from the first window on.
    stored: [usize; 2],
    /// Tiles vertically and horizontally.
    tiles: [usize; 2],
    /// Products × panels × input channels × the panel's output channels.
    pub(crate) weights: Buffer,
    bias: Buffer,
    clamp: Clamp,
    function: Option<Function>,
    tile_pixels: usize,
    tile_blocks: usize,
}

/// Multiply–adds in the time in which one vector of weights is transformed, written to memory, and read from there; shared by
/// the images of a batch, of some 16.
const PACKING: usize = 7;

/// Whether the algorithm can compute a layer and is expected to be faster than the direct one; `trained` for weights that are
/// packed anew for each batch. Those of ResNet-18's last block take as long either way, and four times the memory here.
pub(crate) fn pays(recipe: &Recipe<'_>, settings: Settings, trained: bool) -> bool {
    let Recipe { input, output, window, groups, apart, .. } = *recipe;
    let steps = [window.stride, window.dilation, apart];
    let fits = window.kernel == [3; 2] && steps == [[1; 2]; 3] && groups == 1;
    // The direct kernel multiplies pairs, or tiles, where the processor can; the products here are single precision always.
    let halves = input.element == Element::BFloat16;
    let speed = match settings.instruction_set {
        InstructionSet::Amx if halves => 16,
        set if halves && settings.precision.is_native(set) => 2,
        _ => 1,
    };
    let direct = 9 * output.pixels() * input.channels * output.blocks() / speed;
    let in_bytes = input.element.levels().or(output.element.levels()).is_some();
    let packing = if trained { PACKING * PRODUCTS * input.channels * output.blocks() } else { 0 };
    fits && !in_bytes && input.lanes == LANES && cost(&input, &output) + packing < direct
}

/// Vector operations on an image, in multiply–adds. The weights are read once for a group of two images, from memory that
/// gives a vector in the time of some four operations.
fn cost(input: &Geometry, output: &Geometry) -> usize {
    let tiles = output.height.div_ceil(OUTPUTS) * output.width.div_ceil(OUTPUTS);
    let products = PRODUCTS * input.channels * output.blocks();
    tiles * (products + 250 * input.blocks() + 200 * output.blocks()) + 2 * products
}

/// Rows and columns that are stored from the first window on.
fn stored(window: &Window, input: &Geometry) -> [usize; 2] {
    let [_, _, bottom, right] = input.border;
    [window.before[0] + input.height + bottom, window.before[1] + input.width + right]
}

/// Tiles vertically and horizontally.
fn tiles(output: &Geometry) -> [usize; 2] {
    [output.height.div_ceil(OUTPUTS), output.width.div_ceil(OUTPUTS)]
}

/// Image, and row and column of the first output, of a tile.
#[inline(always)]
fn place([rows, columns]: [usize; 2], tile: usize) -> (usize, usize, usize) {
    (tile / (rows * columns), tile / columns % rows * OUTPUTS, tile % columns * OUTPUTS)
}

impl Winograd {
    /// Transforms and packs the weights.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn new(recipe: &Recipe<'_>, set: InstructionSet) -> Result<Self, EngineError> {
        let Recipe { input, output, window, residual, clamp, function, .. } = *recipe;
        let [tile_pixels, tile_blocks] = set.dense_tile();
        let bias = Buffer::zeroed(output.blocks() * LANES)?;
        let weights = Buffer::zeroed(PRODUCTS * output.blocks() * input.channels * LANES)?;
        let (stored, tiles) = (stored(&window, &input), tiles(&output));
        let start = Window::start(&window, &input);
        let mut winograd = Self {
            input,
            output,
            residual,
            start,
            stored,
            tiles,
            weights,
            bias,
            clamp,
            function,
            tile_pixels,
            tile_blocks,
        };
        winograd.repack(recipe, set);
        Ok(winograd)
    }

    /// Packs a weight and a bias of the same sizes.
    pub(crate) fn repack(&mut self, recipe: &Recipe<'_>, set: InstructionSet) {
        self.bias[..recipe.bias.len()].copy_from_slice(recipe.bias);
        weights::pack(recipe, self.tile_blocks, set, &mut self.weights);
    }

    fn total(&self, images: usize) -> usize {
        images * self.tiles[0] * self.tiles[1]
    }

    /// Number of units when so many threads share them.
    pub(crate) fn units(&self, images: usize, threads: usize) -> usize {
        self.division(images, threads).iter().product()
    }

    /// Number of chunks of tiles, and of shares of the output channels. The more weights there are, the more tiles share a
    /// pass over them; threads that share the channels each read weights of their own, which is better than that all read
    /// all of them. ResNet-50's 3×3 layers @7 on a single image, Xeon (family 6, model 207): 3.4 ms on one thread and on two
    /// that share the tiles, 1.9 ms on two that share the channels.
    fn division(&self, images: usize, threads: usize) -> [usize; 2] {
        let most = match self.weights.len() {
            0..=150_000 => 28,
            150_001..=600_000 => 56,
            _ => 112,
        };
        let total = self.total(images);
        let units = if threads > 1 { 2 * threads } else { 1 };
        let chunks = total.div_ceil(most);
        match (units / chunks).min(self.slabs() / 2) {
            shares @ 2.. => [chunks.max(threads.div_ceil(shares).min(total.div_ceil(4))), shares],
            _ => [chunks.max(units.min(total.div_ceil(4))), 1],
        }
    }

    fn slabs(&self) -> usize {
        self.output.blocks().div_ceil(SLAB)
    }

    /// How often one thread reads weights and inputs of a group of images. The transformed inputs are some two times as
    /// many as the inputs.
    pub(crate) fn passes(&self, images: usize) -> Passes {
        let over_inputs = 1 + 2 * self.slabs();
        Passes { over_weights: self.units(images, 1), over_inputs, cost_of_weights: FAR_WEIGHTS }
    }

    /// Bytes of packed weights.
    pub(crate) fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..])
    }

    /// Multiply–accumulate operations on a group of images.
    pub(crate) fn cost(&self, images: usize) -> usize {
        images * cost(&self.input, &self.output) * LANES
    }

    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images of the geometries that the step was built with, the output apart from the
    /// others, and no other thread may compute the same units.
    pub(crate) unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        thread_local! {
            static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
        }
        let [chunks, shares] = self.division(operands.images, operands.threads);
        let most = self.total(operands.images).div_ceil(chunks);
        let inputs = PRODUCTS * most * self.input.blocks() * LANES;
        let needed = inputs + PRODUCTS * most * SLAB * LANES + LANES;
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.len() < needed {
                scratch.resize(needed, 0.0);
            }
            let aligned = scratch.as_ptr().align_offset(64).min(LANES);
            let (inputs, products) = scratch[aligned..].split_at_mut(inputs);
            for unit in units {
                let total = self.total(operands.images);
                let (chunk, share, slabs) = (unit % chunks, unit / chunks, self.slabs());
                let tiles = chunk * total / chunks..(chunk + 1) * total / chunks;
                let blocks = [share, share + 1].map(|share| share * slabs / shares * SLAB);
                let blocks = blocks[0]..blocks[1].min(self.output.blocks());
                let (inputs, products) = (inputs.as_mut_ptr(), products.as_mut_ptr());
                simd::launch_with(settings, &Task { step: self, operands, tiles, blocks, inputs, products });
            }
        });
    }
}

/// A chunk of tiles and some blocks of output channels. `inputs` holds products × input blocks × tiles × 16 numbers,
/// `products` products × blocks of a slab × tiles × 16.
struct Task<'a> {
    step: &'a Winograd,
    operands: &'a Operands,
    tiles: Range<usize>,
    blocks: Range<usize>,
    inputs: *mut f32,
    products: *mut f32,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        match self.step.input.element {
            Element::BFloat16 => simd.call(&Inputs::<BFloat16>(self, PhantomData)),
            _ => simd.call(&Inputs::<f32>(self, PhantomData)),
        }
        for first in self.blocks.clone().step_by(SLAB) {
            let slab = first..(first + SLAB).min(self.blocks.end);
            for product in 0..PRODUCTS {
                // SAFETY: `Winograd::run` sized the scratch memory for the chunk, whose inputs have been transformed.
                unsafe { self.multiply(simd, product, slab.clone()) };
            }
            match self.step.output.element {
                Element::BFloat16 => {
                    simd.call(&Outputs::<BFloat16> { task: self, slab, number: PhantomData })
                }
                _ => simd.call(&Outputs::<f32> { task: self, slab, number: PhantomData }),
            }
        }
    }
}

/// Transforms the inputs of a chunk, which are `I`.
struct Inputs<'a, I>(&'a Task<'a>, PhantomData<I>);

impl<I: Number> Kernel for Inputs<'_, I> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        for index in 0..self.0.tiles.len() {
            for block in 0..self.0.step.input.blocks() {
                // SAFETY: `Winograd::run` sized the scratch memory for the chunk, and its caller vouches for the operands.
                unsafe { self.0.transform_input::<S, I>(simd, index, block) };
            }
        }
    }
}

/// Transforms the products of some blocks of a chunk to outputs, which are `O`.
struct Outputs<'a, O> {
    task: &'a Task<'a>,
    slab: Range<usize>,
    number: PhantomData<O>,
}

impl<O: Number> Kernel for Outputs<'_, O> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        for index in 0..self.task.tiles.len() {
            for block in self.slab.clone() {
                // SAFETY: as for the inputs; the slab's products have been computed.
                unsafe { self.task.transform_output::<S, O>(simd, index, block, self.slab.start) };
            }
        }
    }
}

impl Task<'_> {
    /// `Bᵀ d B` of a block of a tile.
    ///
    /// # Safety
    /// The operands must hold the tile, and `inputs` the chunk.
    #[inline(always)]
    unsafe fn transform_input<S: Simd, I: Number>(&self, simd: S, index: usize, block: usize) {
        let Winograd { input, stored, start, .. } = self.step;
        let (image, y, x) = place(self.step.tiles, self.tiles.start + index);
        let offset = block * input.plane() + start + y * input.row() + x * LANES;
        // SAFETY: only what is stored is read; the chunk has a place for every product of the tile and block.
        unsafe {
            let from = self.operands.input.at::<I>(image).add(offset).cast_const();
            let window = transform_window::<S, I>(simd, from, input.row(), [stored[0] - y, stored[1] - x]);
            let stride = self.tiles.len() * LANES;
            let to = self.inputs.add(block * stride + index * LANES);
            for column in 0..INPUTS {
                for row in 0..INPUTS {
                    let product = row * INPUTS + column;
                    simd.store(to.add(product * input.blocks() * stride), window[column][row]);
                }
            }
        }
    }

    /// One of the matrix products: tiles × input channels times input channels × output channels of a slab.
    ///
    /// # Safety
    /// `inputs` must hold the transformed chunk and `products` a slab of it.
    #[inline(always)]
    unsafe fn multiply<S: Simd>(&self, simd: S, product: usize, slab: Range<usize>) {
        let step = self.step;
        let (count, plane) = (self.tiles.len(), step.output.blocks() * step.input.channels * LANES);
        let parts = count.div_ceil(step.tile_pixels);
        for block in slab.clone().step_by(step.tile_blocks) {
            let blocks = step.tile_blocks.min(step.output.blocks() - block);
            for part in 0..parts {
                let (first, end) = (part * count / parts, (part + 1) * count / parts);
                // SAFETY: the panel's weights start behind those of the blocks before it; the rest is the caller's promise.
                unsafe {
                    let tile = Tile {
                        inputs: self
                            .inputs
                            .add((product * step.input.blocks() * count + first) * LANES)
                            .cast_const(),
                        weights: step
                            .weights
                            .as_ptr()
                            .add(product * plane + block * step.input.channels * LANES),
                        outputs: self
                            .products
                            .add(((product * SLAB + block - slab.start) * count + first) * LANES),
                        channels: step.input.channels,
                        stride: count * LANES,
                    };
                    if blocks == 2 {
                        tile.of_any_size::<S, 2>(simd, end - first);
                    } else {
                        tile.of_any_size::<S, 1>(simd, end - first);
                    }
                }
            }
        }
    }

    /// `Aᵀ m A` of a block of a tile, the residual, the clamp and the store.
    ///
    /// # Safety
    /// As for [`Self::multiply`], and the operands must hold the tile.
    #[inline(always)]
    unsafe fn transform_output<S: Simd, O: Number>(&self, simd: S, index: usize, block: usize, first: usize) {
        let Winograd { output, residual, clamp, function, .. } = self.step;
        let (image, y, x) = place(self.step.tiles, self.tiles.start + index);
        let stride = self.tiles.len() * LANES;
        let (low, high) = (simd.splat(clamp.low), simd.splat(clamp.high));
        // SAFETY: the slab holds all products of the tile; only pixels of the output are written.
        unsafe {
            let from = self.products.add((block - first) * stride + index * LANES).cast_const();
            let mut products = [[simd.splat(0.0); INPUTS]; INPUTS];
            for product in 0..PRODUCTS {
                products[product / INPUTS][product % INPUTS] = simd.load(from.add(product * SLAB * stride));
            }
            let mut rows = [[simd.splat(0.0); OUTPUTS]; INPUTS];
            for row in 0..INPUTS {
                rows[row] = output_line(simd, products[row]);
            }
            let bias = simd.load(self.step.bias.as_ptr().add(block * LANES));
            let to = self.operands.output.at::<O>(image).add(block * output.plane());
            for column in 0..OUTPUTS.min(output.width - x) {
                let mut line = [simd.splat(0.0); INPUTS];
                for row in 0..INPUTS {
                    line[row] = rows[row][column];
                }
                let sums = output_line(simd, line);
                for row in 0..OUTPUTS.min(output.height - y) {
                    let mut sum = simd.add(sums[row], bias);
                    if let Some(residual) = residual {
                        let from = self.operands.second.at::<O>(image).add(block * residual.plane());
                        sum = simd.add(sum, O::load(simd, from.add(residual.pixel(y + row, x + column))));
                    }
                    sum = simd.clamp(sum, low, high);
                    if let Some(function) = function {
                        sum = function.evaluate(simd, sum);
                    }
                    O::store(simd, to.add(output.pixel(y + row, x + column)), sum);
                }
            }
        }
    }
}

/// `Bᵀ d B` of a block of a tile of which so many rows and columns are stored, transposed; zero is what is not.
///
/// # Safety
/// What is stored must be readable, with rows at that distance.
#[inline(always)]
unsafe fn transform_window<S: Simd, I: Number>(
    simd: S,
    from: *const I,
    distance: usize,
    [rows, columns]: [usize; 2],
) -> [[S::Vector; INPUTS]; INPUTS] {
    let mut window = [[simd.splat(0.0); INPUTS]; INPUTS];
    for row in 0..INPUTS.min(rows) {
        for column in 0..INPUTS {
            if column < columns {
                // SAFETY: the caller's promise.
                window[row][column] = unsafe { I::load(simd, from.add(row * distance + column * LANES)) };
            }
        }
    }
    // Plain loops, because a closure would lose the instruction set.
    for row in 0..INPUTS {
        window[row] = input_line(simd, window[row]);
    }
    window = transposed(window);
    for column in 0..INPUTS {
        window[column] = input_line(simd, window[column]);
    }
    window
}

#[inline(always)]
fn transposed<V: Copy>(matrix: [[V; INPUTS]; INPUTS]) -> [[V; INPUTS]; INPUTS] {
    let mut transposed = matrix;
    for row in 0..INPUTS {
        for column in 0..INPUTS {
            transposed[row][column] = matrix[column][row];
        }
    }
    transposed
}

/// `factor · x + plus`.
#[inline(always)]
fn times<S: Simd>(simd: S, factor: f32, x: S::Vector, plus: S::Vector) -> S::Vector {
    simd.multiply_add(simd.splat(factor), x, plus)
}

/// `Bᵀ d`: the even and the odd part of each pair of points.
#[inline(always)]
fn input_line<S: Simd>(simd: S, d: [S::Vector; INPUTS]) -> [S::Vector; INPUTS] {
    let zero = simd.splat(0.0);
    let (even_a, even_b) = (times(simd, -2.0, d[2], d[4]), times(simd, -0.5, d[2], d[4]));
    let odd_a = times(simd, FRAC_1_SQRT_2, d[3], times(simd, -SQRT_2, d[1], zero));
    let odd_b = times(simd, SQRT_2, d[3], times(simd, -FRAC_1_SQRT_2, d[1], zero));
    [
        simd.add(times(simd, -2.5, d[2], d[4]), d[0]),
        simd.add(even_a, odd_a),
        times(simd, -1.0, odd_a, even_a),
        simd.add(even_b, odd_b),
        times(simd, -1.0, odd_b, even_b),
        simd.add(times(simd, -2.5, d[3], d[5]), d[1]),
    ]
}

/// `Aᵀ m`.
#[inline(always)]
fn output_line<S: Simd>(simd: S, m: [S::Vector; INPUTS]) -> [S::Vector; OUTPUTS] {
    let zero = simd.splat(0.0);
    let (sum_a, sum_b) = (simd.add(m[1], m[2]), simd.add(m[3], m[4]));
    let (difference_a, difference_b) = (times(simd, -1.0, m[2], m[1]), times(simd, -1.0, m[4], m[3]));
    [
        simd.add(m[0], simd.add(sum_a, sum_b)),
        times(simd, FRAC_1_SQRT_2, difference_a, times(simd, SQRT_2, difference_b, zero)),
        times(simd, 0.5, sum_a, times(simd, 2.0, sum_b, zero)),
        times(simd, 0.5 * FRAC_1_SQRT_2, difference_a, times(simd, 2.0 * SQRT_2, difference_b, m[5])),
    ]
}

/// Some tiles of one matrix product.
struct Tile {
    inputs: *const f32,
    weights: *const f32,
    outputs: *mut f32,
    channels: usize,
    /// Numbers from a block to the next, of inputs as of outputs.
    stride: usize,
}

impl Tile {
    /// # Safety
    /// Inputs and outputs must hold `count` tiles from the pointers on, and the weights `B` blocks.
    #[inline(always)]
    unsafe fn of_any_size<S: Simd, const B: usize>(&self, simd: S, count: usize) {
        for_tile_size!(S, B, count, P => simd.call(&SizedTile::<P, B>(self)));
    }

    /// # Safety
    /// As for [`Self::of_any_size`].
    #[inline(always)]
    unsafe fn compute<S: Simd, const P: usize, const B: usize>(&self, simd: S) {
        let mut sums = [[simd.splat(0.0); B]; P];
        // SAFETY: the caller's promise.
        unsafe {
            let mut weights = self.weights;
            let mut rest = self.channels;
            while rest > 0 {
                let inputs = [self.inputs.add((self.channels - rest) / LANES * self.stride); P];
                let channels = rest.min(LANES);
                let mut at = 0;
                while at + 4 <= channels {
                    for step in 0..4 {
                        let weights = weights.add(step * B * LANES);
                        accumulate::<S, f32, P, B, 1, 1>(simd, &mut sums, &inputs, at + step, weights);
                    }
                    (at, weights) = (at + 4, weights.add(4 * B * LANES));
                }
                while at < channels {
                    accumulate::<S, f32, P, B, 1, 1>(simd, &mut sums, &inputs, at, weights);
                    (at, weights) = (at + 1, weights.add(B * LANES));
                }
                rest -= channels;
            }
            for pixel in 0..P {
                for block in 0..B {
                    simd.store(self.outputs.add(block * self.stride + pixel * LANES), sums[pixel][block]);
                }
            }
        }
    }
}

/// `P` tiles of `B` blocks; only [`Tile::of_any_size`] makes one.
struct SizedTile<'a, const P: usize, const B: usize>(&'a Tile);

impl<const P: usize, const B: usize> Kernel for SizedTile<'_, P, B> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        // SAFETY: the promise of `of_any_size`'s caller.
        unsafe { self.0.compute::<S, P, B>(simd) }
    }
}

const _: () = assert!(MOST_PIXELS == 14, "the sizes that `for_tile_size` lists");
