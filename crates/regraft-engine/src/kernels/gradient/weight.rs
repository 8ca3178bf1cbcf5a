//! Gradient of the weights of a convolution or dense layer: for each output channel and place of the window the sum over all
//! pixels of the output's gradient times the input there.
//!
//! As in the forward kernel, a tile of sums stays in registers while it goes along the pixels: up to [`ROWS`] places of the
//! window, of which one input channel at one place is one, times the channels of one or two blocks of outputs. A strip of rows
//! of an image goes through all tiles before the next one, so that it is read from the second-level cache; meanwhile the sums
//! wait in memory. Vectors are the pixels of one image of a single row, so that a dense layer is nothing else.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(clippy::indexing_slicing, reason = "indices come from the step's own sizes")]

use std::ops::Range;

use super::{Gradient, Operands, scatter};
use crate::{
    EngineError, InstructionSet,
    geometry::Geometry,
    kernels::{Span, check_bounds},
    simd::{self, Kernel, LANES, Simd},
    window::Window,
};

/// Places of the window in a tile: with two blocks of outputs 24 of 32 registers.
const ROWS: usize = 12;
/// With one block of outputs, of two registers each, 12 of 16.
const FEWER_ROWS: usize = 6;

/// Bytes of gradients of a strip: half of the second-level cache that all processors have.
const STRIP: usize = 1 << 17;

/// Reads the gradient of the output and the input.
#[derive(Debug)]
pub(crate) struct WeightGradient {
    from: Geometry,
    input: Geometry,
    start: usize,
    steps: [usize; 2],
    tiles: Vec<Tile>,
    /// Numbers of an output channel's weights.
    row: usize,
    /// Place of the first number among the gradients.
    to: usize,
    /// Place of the first incomplete sum among the shared numbers.
    sums: usize,
}

/// Sums that are computed together.
#[derive(Debug)]
struct Tile {
    /// First block of output channels, and how many.
    block: usize,
    blocks: usize,
    /// From a window's start to the input of each place; the last ones are repeated.
    offsets: [usize; ROWS],
    /// Where the place's weight is in an output channel's row, and the output channels that have it.
    places: [usize; ROWS],
    channels: [[usize; 2]; ROWS],
    /// Places that count.
    rows: usize,
}

/// What the step is built from.
pub(crate) struct Recipe {
    pub(crate) from: Geometry,
    pub(crate) input: Geometry,
    pub(crate) window: Window,
    pub(crate) groups: usize,
    pub(crate) to: usize,
    pub(crate) sums: usize,
}

/// An input channel at a place of the window.
struct Place {
    offset: usize,
    place: usize,
    channels: [usize; 2],
}

impl WeightGradient {
    /// # Errors
    /// [`EngineError::Bounds`].
    pub(crate) fn new(recipe: &Recipe, set: InstructionSet) -> Result<Self, EngineError> {
        let Recipe { from, input, window, groups, to, sums } = *recipe;
        let in_group = input.channels / groups.max(1);
        let taps = window.kernel[0] * window.kernel[1];
        let [_, most_blocks] = set.dense_tile();
        let rows = if most_blocks < 2 { FEWER_ROWS } else { ROWS };
        let together = if groups == 1 { most_blocks.min(2) } else { 1 };
        let mut tiles = Vec::new();
        for block in (0..from.blocks()).step_by(together) {
            let blocks = together.min(from.blocks() - block);
            let places = places(recipe, block * LANES..((block + blocks) * LANES).min(from.channels));
            tiles.extend(places.chunks(rows).map(|places| Tile::new(block, blocks, places)));
        }
        let (start, steps) = (window.start(&input), window.steps(&input));
        let step = Self { from, input, start, steps, tiles, row: in_group * taps, to, sums };
        step.check()?;
        Ok(step)
    }

    /// Shared numbers that a step needs for sums that are not complete.
    pub(crate) fn sums(&self) -> usize {
        self.tiles.len() * ROWS * 2 * LANES
    }

    fn check(&self) -> Result<(), EngineError> {
        let reach = self.tiles.iter().flat_map(|tile| tile.offsets).max().unwrap_or(0);
        let corner = (self.from.height - 1) * self.steps[0] + (self.from.width - 1) * self.steps[1];
        check_bounds(self.start + corner + reach + 1, &self.input)
    }

    /// Rows of an image that go through all tiles before the next ones.
    fn strip(&self) -> usize {
        let bytes = 2 * self.from.row() * size_of::<f32>();
        (STRIP / bytes.max(1)).clamp(1, self.from.height)
    }
}

/// The input channels and window places that some output channels see.
fn places(recipe: &Recipe, outputs: Range<usize>) -> Vec<Place> {
    let Recipe { from, input, window, groups, .. } = recipe;
    let [out_group, in_group] = [from.channels, input.channels].map(|channels| channels / groups);
    let [height, width] = window.kernel;
    let channels = outputs.start / out_group * in_group..outputs.end.div_ceil(out_group) * in_group;
    let place = |index: usize| {
        let (channel, tap) = (channels.start + index / (height * width), index % (height * width));
        let (y, x) = (tap / width * window.dilation[0], tap % width * window.dilation[1]);
        let block = channel / input.lanes * input.plane() + channel % input.lanes;
        let group = channel / in_group;
        let of_group = (group * out_group).max(outputs.start)..((group + 1) * out_group).min(outputs.end);
        Place {
            offset: block + y * input.row() + x * input.lanes,
            place: channel % in_group * height * width + tap,
            channels: [of_group.start, of_group.end],
        }
    };
    (0..channels.len() * height * width).map(place).collect()
}

impl Tile {
    fn new(block: usize, blocks: usize, places: &[Place]) -> Self {
        let rows = places.len();
        let at = |row: usize| &places[row.min(rows - 1)];
        Self {
            block,
            blocks,
            offsets: std::array::from_fn(|row| at(row).offset),
            places: std::array::from_fn(|row| at(row).place),
            channels: std::array::from_fn(|row| at(row).channels),
            rows,
        }
    }
}

impl Gradient for WeightGradient {
    fn units(&self, _: usize) -> usize {
        self.tiles.len()
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a WeightGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

/// Pixels in a line: where the first ones lie, how many there are, and how far apart.
#[derive(Clone, Copy)]
struct Line {
    gradient: *const f32,
    input: *const f32,
    count: usize,
    apart: [usize; 2],
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let [gradients, inputs] = self.operands.reads else { return };
        let WeightGradient { from, .. } = self.step;
        // SAFETY: `Gradient::run`'s caller vouches for the operands, and `check` for the windows in them.
        unsafe {
            if from.pixels() == 1 {
                self.strip(simd, [*gradients, *inputs], None, 0..1, true);
            } else {
                for image in 0..self.operands.images {
                    let rows = self.step.strip();
                    for first in (0..from.height).step_by(rows) {
                        let lines = first..(first + rows).min(from.height);
                        let is_first = image == 0 && first == 0;
                        self.strip(simd, [*gradients, *inputs], Some(image), lines, is_first);
                    }
                }
            }
            self.finish(simd);
        }
    }
}

impl Task<'_> {
    /// Adds some rows of an image, or, without one, the only pixels of all images.
    ///
    /// # Safety
    /// The operands must hold the images.
    #[inline(always)]
    unsafe fn strip<S: Simd>(
        &self,
        simd: S,
        spans: [Span; 2],
        image: Option<usize>,
        lines: Range<usize>,
        is_first: bool,
    ) {
        for unit in self.units.clone() {
            let tile = &self.step.tiles[unit];
            // SAFETY: the step was given a place for the sums of every tile; the rest is the caller's promise.
            unsafe {
                let sums = self.sums_of(unit);
                let (lines, sums) = (lines.clone(), (sums, is_first));
                match tile.blocks {
                    _ if const { S::BLOCKS < 2 } => {
                        self.tile::<S, FEWER_ROWS, 1>(simd, tile, spans, image, lines, sums);
                    }
                    2 => self.tile::<S, ROWS, 2>(simd, tile, spans, image, lines, sums),
                    _ => self.tile::<S, ROWS, 1>(simd, tile, spans, image, lines, sums),
                }
            }
        }
    }

    /// # Safety
    /// There must be such a tile.
    #[inline(always)]
    unsafe fn sums_of(&self, unit: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.operands.shared.state.add(self.step.sums + unit * ROWS * 2 * LANES) }
    }

    /// # Safety
    /// As for [`Self::strip`].
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const B: usize>(
        &self,
        simd: S,
        tile: &Tile,
        spans: [Span; 2],
        image: Option<usize>,
        lines: Range<usize>,
        (sums, is_first): (*mut f32, bool),
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut totals = [[simd.splat(0.0); B]; R];
            if !is_first {
                for row in 0..R {
                    for block in 0..B {
                        totals[row][block] = simd.load(sums.add((row * 2 + block) * LANES));
                    }
                }
            }
            for y in lines {
                self.accumulate::<S, R, B>(simd, tile, self.line(spans, tile.block, image, y), &mut totals);
            }
            for row in 0..R {
                for block in 0..B {
                    simd.store(sums.add((row * 2 + block) * LANES), totals[row][block]);
                }
            }
        }
    }

    /// # Safety
    /// The operands must hold the image and the row.
    #[inline(always)]
    unsafe fn line(
        &self,
        [gradients, inputs]: [Span; 2],
        block: usize,
        image: Option<usize>,
        y: usize,
    ) -> Line {
        let WeightGradient { from, start, steps, .. } = self.step;
        let numbers = |span: Span| span.image / size_of::<f32>();
        let (count, apart) = match image {
            Some(_) => (from.width, [LANES, steps[1]]),
            None => (self.operands.images, [numbers(gradients), numbers(inputs)]),
        };
        let image = image.unwrap_or(0);
        // SAFETY: the caller's promise.
        unsafe {
            let gradient = super::row(gradients, from, [image, block, y]).cast_const();
            let input = inputs.at::<f32>(image).add(start + y * steps[0]).cast_const();
            Line { gradient, input, count, apart }
        }
    }

    /// # Safety
    /// From each pixel's input all of the tile's places must be readable, and at its gradient the tile's blocks.
    #[inline(always)]
    unsafe fn accumulate<S: Simd, const R: usize, const B: usize>(
        &self,
        simd: S,
        tile: &Tile,
        line: Line,
        totals: &mut [[S::Vector; B]; R],
    ) {
        let Line { mut gradient, mut input, count, apart } = line;
        // SAFETY: the caller's promise.
        unsafe {
            for _ in 0..count / 2 {
                self.pixels::<S, R, B, 2>(simd, tile, [gradient, input], apart, totals);
                gradient = gradient.wrapping_add(2 * apart[0]);
                input = input.wrapping_add(2 * apart[1]);
            }
            if !count.is_multiple_of(2) {
                self.pixels::<S, R, B, 1>(simd, tile, [gradient, input], apart, totals);
            }
        }
    }

    /// `N` pixels, which share the look at where each place is.
    ///
    /// # Safety
    /// As for [`Self::accumulate`], for the first pixels.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const R: usize, const B: usize, const N: usize>(
        &self,
        simd: S,
        tile: &Tile,
        [gradient, input]: [*const f32; 2],
        apart: [usize; 2],
        totals: &mut [[S::Vector; B]; R],
    ) {
        let plane = self.step.from.plane();
        // SAFETY: the caller's promise.
        unsafe {
            let mut vectors = [[simd.splat(0.0); B]; N];
            for pixel in 0..N {
                for block in 0..B {
                    vectors[pixel][block] = simd.load(gradient.add(pixel * apart[0] + block * plane));
                }
            }
            for row in 0..R {
                let input = input.add(tile.offsets[row]);
                for pixel in 0..N {
                    let number = simd.splat(*input.add(pixel * apart[1]));
                    for block in 0..B {
                        totals[row][block] =
                            simd.multiply_add(number, vectors[pixel][block], totals[row][block]);
                    }
                }
            }
        }
    }

    /// Writes the sums where they belong.
    ///
    /// # Safety
    /// The step was given a place for each weight.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, simd: S) {
        let WeightGradient { row: distance, to, .. } = self.step;
        for unit in self.units.clone() {
            let tile = &self.step.tiles[unit];
            for row in 0..tile.rows {
                let [first, end] = tile.channels[row];
                for block in 0..tile.blocks {
                    let channel = (tile.block + block) * LANES;
                    let lanes = first.max(channel)..end.min(channel + LANES);
                    // SAFETY: the caller's promise.
                    unsafe {
                        let sums = simd.lanes(simd.load(self.sums_of(unit).add((row * 2 + block) * LANES)));
                        let mut chosen = [0.0; LANES];
                        for (place, lane) in lanes.clone().enumerate() {
                            chosen[place] = sums[lane - channel];
                        }
                        let place = to + lanes.start * distance + tile.places[row];
                        scatter(chosen, lanes.len(), self.operands.shared.gradients.add(place), *distance);
                    }
                }
            }
        }
    }
}
