//! Gradient of the weights of a dense 3×3 convolution of stride 1 in the domain of the products: 36 products a channel for a
//! tile of 16 outputs instead of 144.
//!
//! The adjoint of the algorithm forward, with the same points: `dg = Gᵀ [Σ (A dY Aᵀ) ⊙ (Bᵀ d B)] G`, summed over all tiles of
//! all images. For each of the 36 products that is a matrix product of input channels × tiles with tiles × output channels,
//! whose sums are transformed back once a batch.
//!
//! A unit is a block of input channels by a panel of output channels. A strip of tiles is transformed for all units that are
//! computed together and goes through their sums, product by product, so that what is read again and again stays in the
//! caches. Where one strip is all, each unit's sums become weights as soon as they are there, and never leave the caches. The
//! sums of a unit go along the tiles in one order, so that neither strips nor threads change a bit.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(clippy::indexing_slicing, reason = "indices come from the step's own sizes")]

use std::{cell::RefCell, f32::consts::FRAC_1_SQRT_2, f32::consts::SQRT_2, ops::Range};

use super::{INPUTS, OUTPUTS, PRODUCTS, place, stored, tiles, times, transform_window};
use crate::{
    EngineError, InstructionSet,
    geometry::Geometry,
    kernels::{
        check_bounds,
        gradient::{Gradient, Operands, weight::Recipe},
    },
    simd::{self, Kernel, LANES, Simd},
};

/// Most tiles of a strip: the more, the more rarely the sums are read and written; a block of them for one product and a
/// panel of gradients fill half of the first-level cache.
const STRIP: usize = 64;
/// Blocks of output channels of a panel.
const PANEL: usize = 2;
/// Numbers of a unit for one product.
const UNIT: usize = PANEL * LANES * LANES;
/// Rows and columns of a kernel.
const TAPS: usize = 3;

/// Reads the gradient of the output and the input.
#[derive(Debug)]
pub(crate) struct WinogradWeightGradient {
    from: Geometry,
    input: Geometry,
    start: usize,
    /// Stored rows and columns from the first window on.
    stored: [usize; 2],
    /// Tiles vertically and horizontally.
    tiles: [usize; 2],
    /// Place of the first number among the gradients.
    to: usize,
}

/// Whether the algorithm can compute a layer's gradient and is expected to be faster than the direct one. Each weight has four
/// times as many sums, which are transformed back once a batch, of some 16 images.
pub(crate) fn pays(recipe: &Recipe) -> bool {
    let Recipe { from, input, window, groups, .. } = recipe;
    let fits = window.kernel == [TAPS; 2] && [window.stride, window.dilation] == [[1; 2]; 2] && *groups == 1;
    let products = PRODUCTS * input.channels * from.blocks();
    let count: usize = tiles(from).iter().product();
    let cost = count * (products + 250 * (input.blocks() + from.blocks())) + 3 * products;
    fits && input.lanes == LANES && cost < 9 * from.pixels() * input.channels * from.blocks()
}

impl WinogradWeightGradient {
    /// # Errors
    /// [`EngineError::Bounds`].
    pub(crate) fn new(recipe: &Recipe) -> Result<Self, EngineError> {
        let Recipe { from, input, window, to, .. } = *recipe;
        let start = window.start(&input);
        let corner = (from.height + TAPS - 2) * input.row() + (from.width + TAPS - 2) * LANES;
        check_bounds(start + (input.blocks() - 1) * input.plane() + corner + LANES, &input)?;
        Ok(Self { from, input, start, stored: stored(&window, &input), tiles: tiles(&from), to })
    }

    fn panels(&self) -> usize {
        self.from.blocks().div_ceil(PANEL)
    }

    /// Blocks of input channels and panels that some units need.
    fn parts(&self, units: &Range<usize>) -> [Range<usize>; 2] {
        let blocks = self.input.blocks();
        let panels = units.start / blocks..units.end.div_ceil(blocks);
        let inputs = if panels.len() > 1 {
            0..blocks
        } else {
            units.start - panels.start * blocks..units.end - panels.start * blocks
        };
        [inputs, panels]
    }
}

impl Gradient for WinogradWeightGradient {
    fn units(&self, _: usize) -> usize {
        self.panels() * self.input.blocks()
    }

    fn most_parts(&self, threads: usize) -> usize {
        // Every part transforms what it needs for itself.
        threads
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        thread_local! {
            static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
        }
        let total = operands.images * self.tiles[0] * self.tiles[1];
        let [inputs, panels] = self.parts(&units);
        let most = STRIP.min(total);
        // An odd number of vectors, so that the places of a tile's products do not share a set of the caches.
        let planes = [inputs.len(), panels.len() * PANEL].map(|blocks| ((blocks * most) | 1) * LANES);
        let held = if total <= STRIP { 1 } else { units.len() };
        let sizes = [planes[0] * PRODUCTS, planes[1] * PRODUCTS, held * PRODUCTS * UNIT];
        let needed = sizes.iter().sum::<usize>() + LANES;
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.len() < needed {
                scratch.resize(needed, 0.0);
            }
            let aligned = scratch.as_ptr().align_offset(64).min(LANES);
            let (of_inputs, rest) = scratch[aligned..].split_at_mut(sizes[0]);
            let (gradients, sums) = rest.split_at_mut(sizes[1]);
            let scratch = [of_inputs, gradients, sums].map(<[f32]>::as_mut_ptr);
            simd::launch(
                set,
                &Task { step: self, operands, units, inputs, panels, planes, scratch, held, total },
            );
        });
    }
}

/// Some units, and where the transformed inputs and gradients of a strip and the units' sums are: products × blocks × tiles
/// × 16 numbers, and products × units × input channels of a block × output channels of a panel.
struct Task<'a> {
    step: &'a WinogradWeightGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
    inputs: Range<usize>,
    panels: Range<usize>,
    /// From a product to the next, of inputs and of gradients.
    planes: [usize; 2],
    scratch: [*mut f32; 3],
    /// Units that there is room for the sums of: all, or one.
    held: usize,
    /// Tiles of all images.
    total: usize,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let strips = self.total.div_ceil(STRIP);
        // SAFETY: `Gradient::run` sized the scratch memory for strips of that many tiles, and its caller vouches for the
        // operands.
        unsafe {
            if strips <= 1 {
                return self.unit_by_unit(simd);
            }
            for strip in 0..strips {
                let tiles = strip * self.total / strips..(strip + 1) * self.total / strips;
                self.transform(simd, tiles.clone());
                for product in 0..PRODUCTS {
                    for (index, unit) in self.units.clone().enumerate() {
                        self.multiply(simd, [product, unit, index], tiles.len(), strip == 0);
                    }
                }
            }
            for (index, unit) in self.units.clone().enumerate() {
                self.finish(simd, unit, index);
            }
        }
    }
}

impl Task<'_> {
    /// Everything, where one strip has all tiles.
    ///
    /// # Safety
    /// As for [`Self::transform`], for all tiles.
    #[inline(always)]
    unsafe fn unit_by_unit<S: Simd>(&self, simd: S) {
        // SAFETY: the caller's promise; each unit's sums are made into weights before the next one's take their place.
        unsafe {
            self.transform(simd, 0..self.total);
            for unit in self.units.clone() {
                for product in 0..PRODUCTS {
                    self.multiply(simd, [product, unit, 0], self.total, true);
                }
                self.finish(simd, unit, 0);
            }
        }
    }

    /// All that the units need of some tiles.
    ///
    /// # Safety
    /// The operands must hold the tiles, and the scratch memory so many of them.
    #[inline(always)]
    unsafe fn transform<S: Simd>(&self, simd: S, tiles: Range<usize>) {
        let outputs = self.panels.start * PANEL..self.step.from.blocks().min(self.panels.end * PANEL);
        for (index, tile) in tiles.clone().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                for (row, block) in self.inputs.clone().enumerate() {
                    self.transform_input(simd, tile, block, (row * tiles.len() + index) * LANES);
                }
                for (row, block) in outputs.clone().enumerate() {
                    self.transform_gradient(simd, tile, block, (row * tiles.len() + index) * LANES);
                }
            }
        }
    }

    /// `Bᵀ d B`.
    ///
    /// # Safety
    /// As for [`Self::transform`], for the tile and the place in the scratch memory.
    #[inline(always)]
    unsafe fn transform_input<S: Simd>(&self, simd: S, tile: usize, block: usize, at: usize) {
        let [_, inputs] = self.operands.reads else { return };
        let WinogradWeightGradient { input, stored, start, tiles, .. } = self.step;
        let (image, y, x) = place(*tiles, tile);
        let offset = block * input.plane() + start + y * input.row() + x * LANES;
        // SAFETY: only what is stored is read; the rest is the caller's promise.
        unsafe {
            let from = inputs.at::<f32>(image).add(offset).cast_const();
            let window = transform_window::<S, f32>(simd, from, input.row(), [stored[0] - y, stored[1] - x]);
            let to = self.scratch[0].add(at);
            for product in 0..PRODUCTS {
                simd.store(to.add(product * self.planes[0]), window[product % INPUTS][product / INPUTS]);
            }
        }
    }

    /// `A dY Aᵀ`, with zeros for what is no output.
    ///
    /// # Safety
    /// As for [`Self::transform_input`].
    #[inline(always)]
    unsafe fn transform_gradient<S: Simd>(&self, simd: S, tile: usize, block: usize, at: usize) {
        let [gradients, _] = self.operands.reads else { return };
        let WinogradWeightGradient { from: geometry, tiles, .. } = self.step;
        let (image, y, x) = place(*tiles, tile);
        let (height, width) = (geometry.height - y, geometry.width - x);
        // SAFETY: only pixels of the output are read; the rest is the caller's promise.
        unsafe {
            let from = gradients.at::<f32>(image).add(block * geometry.plane() + geometry.pixel(y, x));
            let mut rows = [[simd.splat(0.0); INPUTS]; OUTPUTS];
            for row in 0..OUTPUTS.min(height) {
                let mut line = [simd.splat(0.0); OUTPUTS];
                for column in 0..OUTPUTS {
                    if column < width {
                        line[column] = simd.load(from.add(row * geometry.row() + column * LANES));
                    }
                }
                rows[row] = gradient_line(simd, line);
            }
            let to = self.scratch[1].add(at);
            for column in 0..INPUTS {
                let line = [rows[0][column], rows[1][column], rows[2][column], rows[3][column]];
                let line = gradient_line(simd, line);
                for row in 0..INPUTS {
                    simd.store(to.add((row * INPUTS + column) * self.planes[1]), line[row]);
                }
            }
        }
    }

    /// Adds a strip of so many tiles to the sums of a unit's product, which have a place, or begins them.
    ///
    /// # Safety
    /// The scratch memory must hold the transformed tiles, and sums at that place.
    #[inline(always)]
    unsafe fn multiply<S: Simd>(
        &self,
        simd: S,
        [product, unit, index]: [usize; 3],
        tiles: usize,
        is_first: bool,
    ) {
        let blocks = self.step.input.blocks();
        let (panel, block) = (unit / blocks, unit % blocks);
        let input = product * self.planes[0] + (block - self.inputs.start) * tiles * LANES;
        let gradient = product * self.planes[1] + (panel - self.panels.start) * PANEL * tiles * LANES;
        // SAFETY: the caller's promise.
        unsafe {
            let tile = Tile {
                input: self.scratch[0].add(input).cast_const(),
                gradient: self.scratch[1].add(gradient).cast_const(),
                sums: self.scratch[2].add((product * self.held + index) * UNIT),
                tiles,
                is_first,
            };
            let is_whole = (panel + 1) * PANEL <= self.step.from.blocks();
            match is_whole {
                true if const { S::BLOCKS >= PANEL } => tile.all::<S, 8, PANEL>(simd, 0),
                true => {
                    tile.all::<S, 4, 1>(simd, 0);
                    tile.all::<S, 4, 1>(simd, 1);
                }
                false => tile.all::<S, 4, 1>(simd, 0),
            }
        }
    }

    /// `Gᵀ u G` of a unit, written where the weights are.
    ///
    /// # Safety
    /// The sums at that place must be complete, and the step have been given a place for each weight.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, simd: S, unit: usize, index: usize) {
        let WinogradWeightGradient { from, input, to, .. } = self.step;
        let (panel, block) = (unit / input.blocks(), unit % input.blocks());
        for row in 0..LANES.min(input.channels - block * LANES) {
            for column in 0..PANEL.min(from.blocks() - panel * PANEL) {
                let output = (panel * PANEL + column) * LANES;
                let place = to + (output * input.channels + block * LANES + row) * TAPS * TAPS;
                let at = index * UNIT + (row * PANEL + column) * LANES;
                // SAFETY: the caller's promise.
                unsafe {
                    let taps = self.transform_sums(simd, at);
                    let to = self.operands.shared.gradients.add(place);
                    for lane in 0..LANES.min(from.channels - output) {
                        let to = to.add(lane * input.channels * TAPS * TAPS);
                        for tap in 0..TAPS * TAPS {
                            *to.add(tap) = taps[tap][lane];
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// There must be sums at that place of every product.
    #[inline(always)]
    unsafe fn transform_sums<S: Simd>(&self, simd: S, at: usize) -> [[f32; LANES]; TAPS * TAPS] {
        let plane = self.held * UNIT;
        let mut rows = [[simd.splat(0.0); TAPS]; INPUTS];
        for row in 0..INPUTS {
            let mut line = [simd.splat(0.0); INPUTS];
            for column in 0..INPUTS {
                // SAFETY: the caller's promise.
                line[column] = unsafe {
                    simd.load(self.scratch[2].add((row * INPUTS + column) * plane + at).cast_const())
                };
            }
            rows[row] = weight_line(simd, line);
        }
        let mut taps = [[0.0; LANES]; TAPS * TAPS];
        for column in 0..TAPS {
            let mut line = [simd.splat(0.0); INPUTS];
            for row in 0..INPUTS {
                line[row] = rows[row][column];
            }
            let line = weight_line(simd, line);
            for row in 0..TAPS {
                taps[row * TAPS + column] = simd.lanes(line[row]);
            }
        }
        taps
    }
}

/// `A y`: the even and the odd part of each pair of points.
#[inline(always)]
fn gradient_line<S: Simd>(simd: S, y: [S::Vector; OUTPUTS]) -> [S::Vector; INPUTS] {
    let zero = simd.splat(0.0);
    let (even_a, even_b) = (times(simd, 0.5, y[2], y[0]), times(simd, 2.0, y[2], y[0]));
    let odd_a = times(simd, 0.5 * FRAC_1_SQRT_2, y[3], times(simd, FRAC_1_SQRT_2, y[1], zero));
    let odd_b = times(simd, 2.0 * SQRT_2, y[3], times(simd, SQRT_2, y[1], zero));
    [
        y[0],
        simd.add(even_a, odd_a),
        times(simd, -1.0, odd_a, even_a),
        simd.add(even_b, odd_b),
        times(simd, -1.0, odd_b, even_b),
        y[3],
    ]
}

/// `Gᵀ u`.
#[inline(always)]
fn weight_line<S: Simd>(simd: S, u: [S::Vector; INPUTS]) -> [S::Vector; TAPS] {
    const A: f32 = -2.0 / 3.0;
    const B: f32 = 1.0 / 6.0;
    let zero = simd.splat(0.0);
    let (sum_a, sum_b) = (simd.add(u[1], u[2]), simd.add(u[3], u[4]));
    let (difference_a, difference_b) = (times(simd, -1.0, u[2], u[1]), times(simd, -1.0, u[4], u[3]));
    [
        times(simd, A, sum_a, times(simd, B, sum_b, u[0])),
        times(simd, A * FRAC_1_SQRT_2, difference_a, times(simd, B * SQRT_2, difference_b, zero)),
        times(simd, 0.5 * A, sum_a, times(simd, 2.0 * B, sum_b, u[5])),
    ]
}

/// A unit's matrix product.
struct Tile {
    input: *const f32,
    gradient: *const f32,
    sums: *mut f32,
    tiles: usize,
    is_first: bool,
}

impl Tile {
    /// All input channels, `R` at a time, and the output channels of `B` blocks from a column of the panel on.
    ///
    /// # Safety
    /// Input and gradient must hold the tiles, and the sums a unit.
    #[inline(always)]
    unsafe fn all<S: Simd, const R: usize, const B: usize>(&self, simd: S, column: usize) {
        for first in (0..LANES).step_by(R) {
            // SAFETY: the caller's promise.
            unsafe { self.compute::<S, R, B>(simd, first, column) };
        }
    }

    /// # Safety
    /// As for [`Self::all`].
    #[inline(always)]
    unsafe fn compute<S: Simd, const R: usize, const B: usize>(&self, simd: S, first: usize, column: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let to = self.sums.add((first * PANEL + column) * LANES);
            let mut sums = [[simd.splat(0.0); B]; R];
            if !self.is_first {
                for row in 0..R {
                    for block in 0..B {
                        sums[row][block] = simd.load(to.add((row * PANEL + block) * LANES));
                    }
                }
            }
            let mut input = self.input.add(first);
            let mut gradient = self.gradient.add(column * self.tiles * LANES);
            for _ in 0..self.tiles {
                let mut vectors = [simd.splat(0.0); B];
                for block in 0..B {
                    vectors[block] = simd.load(gradient.add(block * self.tiles * LANES));
                }
                for row in 0..R {
                    let number = simd.splat(*input.add(row));
                    for block in 0..B {
                        sums[row][block] = simd.multiply_add(number, vectors[block], sums[row][block]);
                    }
                }
                (input, gradient) = (input.wrapping_add(LANES), gradient.wrapping_add(LANES));
            }
            for row in 0..R {
                for block in 0..B {
                    simd.store(to.add((row * PANEL + block) * LANES), sums[row][block]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
