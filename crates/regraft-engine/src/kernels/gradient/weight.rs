//! Gradient of the weights of a convolution or dense layer: for each output channel and place of the window the sum over all
//! pixels of the output's gradient times the input there.
//!
//! As in the forward kernel, a tile of sums stays in registers while it goes along the pixels: some numbers of a pixel times
//! some blocks of channels. Where the vectors are wide and all outputs see all inputs, the numbers are those of [`CHANNELS`]
//! neighbouring channels, so that one address is enough for them; else any [`ROWS`] places of the window, each with an address
//! of its own. Of a window of a single place the blocks are those of the input, so that the sums are parts of rows of the
//! weight; else those of the output. A strip of rows of an image, or several whole images, goes through the tiles of some
//! channels before the next one, so that both are read from the caches; meanwhile the sums wait in memory. The only pixels of
//! several images are one line, so that a dense layer is nothing else.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(clippy::indexing_slicing, reason = "indices come from the step's own sizes")]

mod tiles;

use std::ops::Range;

use super::{Gradient, Operands, scatter};
use crate::{
    EngineError, InstructionSet,
    geometry::Geometry,
    kernels::{Span, check_bounds},
    simd::{self, Kernel, LANES, Simd},
};
pub(crate) use tiles::Recipe;
use tiles::{Any, Arrangement, BLOCKS, CHANNELS, FEWER_ROWS, ROWS, Tile};

/// Vectors of sums of a tile.
const SUMS: usize = CHANNELS * BLOCKS;

/// Reads the gradient of the output and the input.
#[derive(Debug)]
pub(crate) struct WeightGradient {
    from: Geometry,
    input: Geometry,
    start: usize,
    steps: [usize; 2],
    arrangement: Arrangement,
    /// Images and rows of a strip.
    strip: [usize; 2],
    /// Those of the same numbers behind each other.
    tiles: Vec<Tile>,
    /// Tiles that a strip goes through before the next one.
    chunk: usize,
    /// Whether output channels see different inputs.
    is_grouped: bool,
    /// Weights of an output channel, and from one of a tile to the next.
    row: usize,
    apart: usize,
    /// Place of the first number among the gradients.
    to: usize,
    /// Place of the first incomplete sum among the shared numbers.
    sums: usize,
}

impl WeightGradient {
    /// # Errors
    /// [`EngineError::Bounds`].
    pub(crate) fn new(recipe: &Recipe, set: InstructionSet) -> Result<Self, EngineError> {
        let Recipe { from, input, window, groups, to, sums } = *recipe;
        let taps = recipe.taps();
        let is_wide = set.dense_tile()[1] > 1;
        let arrangement = match (is_wide && groups == 1 && input.lanes == LANES, taps) {
            (true, 1) => Arrangement::Turned,
            (true, _) => Arrangement::Neighbors,
            (false, _) => Arrangement::Any,
        };
        let (tiles, chunk) = recipe.tiles(arrangement, is_wide);
        let step = Self {
            from,
            input,
            start: window.start(&input),
            steps: window.steps(&input),
            arrangement,
            strip: recipe.strip(),
            tiles,
            chunk,
            is_grouped: groups > 1,
            row: input.channels / groups.max(1) * taps,
            apart: if arrangement == Arrangement::Neighbors { taps } else { 1 },
            to,
            sums,
        };
        step.check()?;
        Ok(step)
    }

    /// Shared numbers that a step needs for sums that are not complete.
    pub(crate) fn sums(&self) -> usize {
        self.tiles.len() * SUMS * LANES
    }

    fn check(&self) -> Result<(), EngineError> {
        let last = |tile: &Tile| match (self.arrangement, &tile.any) {
            (Arrangement::Turned, _) => (tile.block + tile.blocks - 1) * self.input.plane() + LANES - 1,
            (_, Some(any)) => any.offsets.into_iter().max().unwrap_or(0),
            (_, None) => tile.offset + CHANNELS - 1,
        };
        let reach = self.tiles.iter().map(last).max().unwrap_or(0);
        let corner = (self.from.height - 1) * self.steps[0] + (self.from.width - 1) * self.steps[1];
        check_bounds(self.start + corner + reach + 1, &self.input)
    }

    /// Some units, cut where a strip goes back to the first blocks.
    fn chunks(&self, units: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let chunks = units.start / self.chunk..units.end.div_ceil(self.chunk);
        let of_chunk = |chunk: usize| chunk * self.chunk..(chunk + 1) * self.chunk;
        chunks.map(of_chunk).map(move |chunk| chunk.start.max(units.start)..chunk.end.min(units.end))
    }
}

impl Gradient for WeightGradient {
    fn units(&self, _: usize) -> usize {
        self.tiles.len()
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let [images, rows] = self.strip;
        let is_one_strip = images >= operands.images && rows >= self.from.height;
        simd::launch(set, &Task { step: self, operands, units, is_one_strip });
    }
}

struct Task<'a> {
    step: &'a WeightGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
    is_one_strip: bool,
}

/// Pixels in a line: where the first ones lie, how many there are, and how far apart.
#[derive(Clone, Copy)]
struct Line {
    vectors: *const f32,
    numbers: *const f32,
    count: usize,
    apart: [usize; 2],
}

/// Pixels that go through some tiles before the next ones.
struct Strip {
    images: Range<usize>,
    lines: Range<usize>,
}

impl Strip {
    /// All of them, in the order of the pixels.
    fn all(step: &WeightGradient, images: usize) -> impl Iterator<Item = Self> {
        let ([some_images, rows], height) = (step.strip, step.from.height);
        let parts = |of: usize, by: usize| (0..of).step_by(by).map(move |first| first..of.min(first + by));
        parts(images, some_images).flat_map(move |images| {
            parts(height, rows).map(move |lines| Self { images: images.clone(), lines })
        })
    }

    fn is_first(&self) -> bool {
        self.images.start + self.lines.start == 0
    }

    fn is_last(&self, step: &WeightGradient, images: usize) -> bool {
        (self.images.end, self.lines.end) == (images, step.from.height)
    }
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let [gradients, inputs] = self.operands.reads else { return };
        for units in self.step.chunks(self.units.clone()) {
            for strip in Strip::all(self.step, self.operands.images) {
                // SAFETY: `Gradient::run`'s caller vouches for the operands, and `check` for the windows in them.
                unsafe { self.strip(simd, [*gradients, *inputs], &strip, units.clone()) };
            }
        }
    }
}

/// Pixels by which vectors and numbers are asked for before they are needed: they come from the second-level cache.
const AHEAD: usize = 8;

/// Sums of a tile over a strip: up to `R` numbers times `B` blocks. `NEIGHBORS` says that the numbers lie behind each other, as
/// many of them as there are registers for.
struct Sums<'a, const R: usize, const B: usize, const NEIGHBORS: bool> {
    step: &'a WeightGradient,
    tile: &'a Tile,
    /// Of the gradients and the inputs.
    spans: [Span; 2],
    strip: &'a Strip,
    /// What the strips before gave.
    sums: *mut f32,
}

impl<const R: usize, const B: usize, const NEIGHBORS: bool> Kernel for Sums<'_, R, B, NEIGHBORS> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Strip { images, lines } = self.strip;
        let mut totals = [[simd.splat(0.0); B]; R];
        let offsets = self.offsets();
        // SAFETY: `Task::strip`, which makes these, vouches for the sums and for what the lines reach.
        unsafe {
            if !self.strip.is_first() {
                for row in 0..R {
                    for block in 0..B {
                        totals[row][block] = simd.load(self.sums.add((row * B + block) * LANES));
                    }
                }
            }
            let end = if self.step.from.pixels() == 1 { images.start + 1 } else { images.end };
            for image in images.start..end {
                for y in lines.clone() {
                    self.accumulate(simd, self.line(image, y), &offsets, &mut totals);
                }
            }
            for row in 0..R {
                for block in 0..B {
                    simd.store(self.sums.add((row * B + block) * LANES), totals[row][block]);
                }
            }
        }
    }
}

impl<const R: usize, const B: usize, const NEIGHBORS: bool> Sums<'_, R, B, NEIGHBORS> {
    /// # Safety
    /// The spans must hold the image and the row, and those behind it in the strip.
    #[inline(always)]
    unsafe fn line(&self, image: usize, y: usize) -> Line {
        let WeightGradient { from, input, start, steps, arrangement, .. } = self.step;
        let Tile { block, offset, .. } = *self.tile;
        let [gradients, inputs] = self.spans;
        let is_turned = *arrangement == Arrangement::Turned;
        let (of_gradient, of_input) = if is_turned { (0, block) } else { (block, 0) };
        let of_image = |span: Span| span.image / size_of::<f32>();
        let (count, [down, right]) = if from.pixels() == 1 {
            (self.strip.images.len(), [of_image(gradients), of_image(inputs)])
        } else {
            (from.width, [LANES, steps[1]])
        };
        // SAFETY: the caller's promise.
        unsafe {
            let gradient = super::row(gradients, from, [image, of_gradient, y]).cast_const();
            let input = inputs.at::<f32>(image).add(start + y * steps[0] + of_input * input.plane());
            let input = input.cast_const();
            if is_turned {
                return Line { vectors: input, numbers: gradient.add(offset), count, apart: [right, down] };
            }
            Line { vectors: gradient, numbers: input.add(offset), count, apart: [down, right] }
        }
    }

    /// From the first number of a pixel to each.
    #[inline(always)]
    fn offsets(&self) -> [usize; R] {
        let mut offsets = [0; R];
        for row in 0..R {
            offsets[row] = match &self.tile.any {
                Some(any) if !NEIGHBORS => any.offsets[row],
                _ => row,
            };
        }
        offsets
    }

    /// From a block of the vectors to the next.
    #[inline(always)]
    fn plane(&self) -> usize {
        let WeightGradient { from, input, arrangement, .. } = self.step;
        if *arrangement == Arrangement::Turned { input.plane() } else { from.plane() }
    }

    /// # Safety
    /// At each pixel all of the tile's numbers must be readable, and its blocks.
    #[inline(always)]
    unsafe fn accumulate<S: Simd>(
        &self,
        simd: S,
        line: Line,
        offsets: &[usize; R],
        totals: &mut [[S::Vector; B]; R],
    ) {
        let Line { mut vectors, mut numbers, mut count, apart } = line;
        // SAFETY: the caller's promise.
        unsafe {
            while count >= 2 && !NEIGHBORS {
                self.pixels::<S, 2>(simd, [vectors, numbers], (apart, offsets), totals);
                vectors = vectors.wrapping_add(2 * apart[0]);
                numbers = numbers.wrapping_add(2 * apart[1]);
                count -= 2;
            }
            for _ in 0..count {
                self.pixels::<S, 1>(simd, [vectors, numbers], (apart, offsets), totals);
                vectors = vectors.wrapping_add(apart[0]);
                numbers = numbers.wrapping_add(apart[1]);
            }
        }
    }

    /// `N` pixels, which share the look at where each number is.
    ///
    /// # Safety
    /// As for [`Self::accumulate`], for the first pixels.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const N: usize>(
        &self,
        simd: S,
        [vectors, numbers]: [*const f32; 2],
        (apart, offsets): ([usize; 2], &[usize; R]),
        totals: &mut [[S::Vector; B]; R],
    ) {
        let plane = self.plane();
        // SAFETY: the caller's promise.
        unsafe {
            let mut held = [[simd.splat(0.0); B]; N];
            for pixel in 0..N {
                for block in 0..B {
                    let vector = vectors.wrapping_add(pixel * apart[0] + block * plane);
                    simd.prefetch(vector.wrapping_add(AHEAD * apart[0]));
                    held[pixel][block] = simd.load(vector);
                }
            }
            if NEIGHBORS {
                simd.prefetch(numbers.wrapping_add(AHEAD * apart[1]));
            }
            for row in 0..R {
                let numbers = numbers.add(if NEIGHBORS { row } else { offsets[row] });
                for pixel in 0..N {
                    let number = simd.splat(*numbers.add(pixel * apart[1]));
                    for block in 0..B {
                        totals[row][block] =
                            simd.multiply_add(number, held[pixel][block], totals[row][block]);
                    }
                }
            }
        }
    }
}

impl Task<'_> {
    /// Adds a strip; behind the last one the sums are complete.
    ///
    /// # Safety
    /// The operands must hold the images, and no other thread may compute the same units.
    #[inline(always)]
    unsafe fn strip<S: Simd>(&self, simd: S, spans: [Span; 2], strip: &Strip, units: Range<usize>) {
        let step = self.step;
        let is_last = strip.is_last(step, self.operands.images);
        for unit in units {
            let tile = &step.tiles[unit];
            // SAFETY: there is such a tile.
            let sums = unsafe { self.sums_of(unit) };
            match (step.arrangement, tile.blocks) {
                _ if const { S::BLOCKS < 2 } => {
                    simd.call(&Sums::<FEWER_ROWS, 1, false> { step, tile, spans, strip, sums });
                }
                (Arrangement::Any, 2) => {
                    simd.call(&Sums::<ROWS, 2, false> { step, tile, spans, strip, sums })
                }
                (Arrangement::Any, _) => {
                    simd.call(&Sums::<ROWS, 1, false> { step, tile, spans, strip, sums })
                }
                (_, 3) => simd.call(&Sums::<CHANNELS, 3, true> { step, tile, spans, strip, sums }),
                (_, 2) => simd.call(&Sums::<CHANNELS, 2, true> { step, tile, spans, strip, sums }),
                _ => simd.call(&Sums::<CHANNELS, 1, true> { step, tile, spans, strip, sums }),
            }
            if is_last {
                // SAFETY: the step was given a place for each weight.
                unsafe { self.finish(simd, tile, sums) };
            }
        }
    }

    /// Those of one strip are complete before those of the next tile begin.
    ///
    /// # Safety
    /// There must be such a tile.
    #[inline(always)]
    unsafe fn sums_of(&self, unit: usize) -> *mut f32 {
        let unit = if self.is_one_strip { self.units.start } else { unit };
        // SAFETY: the caller's promise.
        unsafe { self.operands.shared.state.add(self.step.sums + unit * SUMS * LANES) }
    }

    /// Writes a tile's sums where they belong.
    ///
    /// # Safety
    /// The sums must be the tile's, and the step was given a place for each weight.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, simd: S, tile: &Tile, sums: *const f32) {
        for block in 0..tile.blocks {
            // SAFETY: the caller's promise.
            unsafe {
                let sums = sums.add(block * LANES);
                match (self.step.arrangement, &tile.any) {
                    (Arrangement::Turned, _) => self.finish_turned(simd, tile, block, sums),
                    (_, Some(any)) if self.step.is_grouped => self.finish_group(simd, tile, any, block, sums),
                    _ => self.finish_rows(tile, block, sums),
                }
            }
        }
    }

    /// Vectors are parts of the rows of output channels.
    ///
    /// # Safety
    /// As for [`Self::finish`], for the sums of a block.
    #[inline(always)]
    unsafe fn finish_turned<S: Simd>(&self, simd: S, tile: &Tile, block: usize, sums: *const f32) {
        let WeightGradient { input, row: distance, to, .. } = self.step;
        let first = (tile.block + block) * LANES;
        let count = LANES.min(input.channels - first);
        for row in 0..tile.rows {
            // SAFETY: the caller's promise.
            unsafe {
                let sums = simd.load(sums.add(row * tile.blocks * LANES));
                let to = self.operands.shared.gradients.add(to + (tile.place + row) * distance + first);
                if count == LANES {
                    simd.store(to, sums);
                } else {
                    scatter(simd.lanes(sums), count, to, 1);
                }
            }
        }
    }

    /// All output channels have all places of a tile.
    ///
    /// # Safety
    /// As for [`Self::finish`], for the sums of a block.
    #[inline(always)]
    unsafe fn finish_rows(&self, tile: &Tile, block: usize, sums: *const f32) {
        let WeightGradient { from, row, apart, to, .. } = self.step;
        let first = (tile.block + block) * LANES;
        for lane in 0..LANES.min(from.channels - first) {
            // SAFETY: the caller's promise.
            unsafe {
                let to = self.operands.shared.gradients.add(to + (first + lane) * row + tile.place);
                for index in 0..tile.rows {
                    *to.add(index * apart) = *sums.add(index * tile.blocks * LANES + lane);
                }
            }
        }
    }

    /// Each place has some of the output channels.
    ///
    /// # Safety
    /// As for [`Self::finish`], for the sums of a block.
    #[inline(always)]
    unsafe fn finish_group<S: Simd>(&self, simd: S, tile: &Tile, any: &Any, block: usize, sums: *const f32) {
        let WeightGradient { row: distance, to, .. } = self.step;
        let channel = (tile.block + block) * LANES;
        for row in 0..tile.rows {
            let [first, end] = any.channels[row];
            let lanes = first.max(channel)..end.min(channel + LANES);
            // SAFETY: the caller's promise.
            unsafe {
                let sums = simd.lanes(simd.load(sums.add(row * tile.blocks * LANES)));
                let mut chosen = [0.0; LANES];
                for (place, lane) in lanes.clone().enumerate() {
                    chosen[place] = sums[lane - channel];
                }
                let place = to + lanes.start * distance + any.places[row];
                scatter(chosen, lanes.len(), self.operands.shared.gradients.add(place), *distance);
            }
        }
    }
}
