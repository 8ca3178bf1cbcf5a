//! Gradient of the weights of a convolution or dense layer, of operands in bfloat16, with sums in single precision.
//!
//! A sum over pixels is a product of matrices: channels of the input times pixels, and pixels times channels of the output.
//! Both are laid out for it first (see `lines`), as tiles and dot products of pairs read them. A tile is up to two times 16
//! channels of the input times two blocks of channels of the output, at one place of the window; some images go through all
//! tiles before the next ones, so that both operands are read from the caches, and meanwhile the sums wait in memory.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(clippy::indexing_slicing, reason = "indices come from the step's own sizes")]

pub(crate) mod lines;

use std::ops::Range;

use super::{Gradient, Operands};
#[cfg(target_arch = "x86_64")]
use crate::simd::amx::{Product, Shape};
use crate::{
    EngineError, InstructionSet, Precision, Settings,
    element::BFloat16,
    geometry::Geometry,
    kernels::Span,
    simd::{self, Kernel, LANES, Simd},
    window::Window,
};
use lines::{CHUNK, Lines, OF_CHUNK, Pairs, Planes, panel};

/// Numbers of a row of sums: those of two blocks.
const WIDTH: usize = 2 * LANES;
/// Rows of sums: those of two tiles.
const HEIGHT: usize = 32;
/// Sums of a unit.
const SUMS: usize = HEIGHT * WIDTH;
/// Operands of some images that stay in the second-level cache.
const STRIP: usize = 1 << 20;

/// Reads the lines of the input, and those of the gradient.
#[derive(Debug)]
pub(crate) struct WeightGradient {
    lines: Lines,
    /// Channels of the output and of the input.
    channels: [usize; 2],
    taps: usize,
    /// Bytes of an image of both operands.
    of_image: usize,
    /// Place of the first number among the gradients.
    to: usize,
    /// Place of the first incomplete sum among the shared numbers.
    sums: usize,
}

/// The steps of a layer's weight gradient.
pub(crate) struct Steps {
    pub(crate) planes: Planes,
    pub(crate) pairs: Pairs,
    pub(crate) gradient: WeightGradient,
}

impl Steps {
    /// Of the output's gradient and the input, both in bfloat16, for a place among the gradients, and one for sums.
    ///
    /// # Errors
    /// [`EngineError::Bounds`].
    pub(crate) fn new(
        [from, input]: [Geometry; 2],
        window: Window,
        [to, sums]: [usize; 2],
    ) -> Result<Self, EngineError> {
        let lines = Lines::new([from, input], window);
        let (planes, pairs) = (Planes::new(input, lines)?, Pairs::new(from, lines));
        let of_image = planes.output().bytes() + pairs.output().bytes();
        planes.output().check()?;
        pairs.output().check()?;
        let (channels, taps) = ([from.channels, input.channels], window.kernel[0] * window.kernel[1]);
        let gradient = WeightGradient { lines, channels, taps, of_image, to, sums };
        Ok(Self { planes, pairs, gradient })
    }
}

/// One unit: two tiles of the input, or the last one, a place of the window, and a panel of the output.
struct Unit {
    tile: usize,
    tap: usize,
    panel: usize,
}

impl WeightGradient {
    fn panels(&self) -> usize {
        self.channels[0].div_ceil(WIDTH)
    }

    fn unit(&self, number: usize) -> Unit {
        let (place, panel) = (number / self.panels(), number % self.panels());
        Unit { tile: 2 * (place / self.taps), tap: place % self.taps, panel }
    }

    /// Shared numbers that the step needs for sums that are not complete.
    pub(crate) fn sums(&self) -> usize {
        self.units(1) * SUMS
    }

    /// Images that go through the tiles together.
    fn strip(&self) -> usize {
        (STRIP / self.of_image).max(1)
    }
}

impl Gradient for WeightGradient {
    fn units(&self, _: usize) -> usize {
        self.lines.tiles.div_ceil(2) * self.taps * self.panels()
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let task = Task { step: self, operands, units };
        #[cfg(target_arch = "x86_64")]
        if set == InstructionSet::Amx {
            return simd::launch_tiles::<_, false>(&InTiles(task));
        }
        simd::launch_with(Settings { instruction_set: set, precision: Precision::BFloat16 }, &task);
    }
}

struct Task<'a> {
    step: &'a WeightGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        self.strips(simd, &Vectors);
    }
}

/// A task that is computed in tiles.
#[cfg(target_arch = "x86_64")]
struct InTiles<'a>(Task<'a>);

#[cfg(target_arch = "x86_64")]
impl Kernel for InTiles<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        if let Some(shape) = Shape::new(self.0.step.lines.rows) {
            self.0.strips(simd, &shape);
        }
    }
}

/// What is multiplied for a unit, over some images.
struct Factors<'a> {
    /// The first tile's first channel at the unit's place.
    input: *const u8,
    /// Bytes from there to each chunk.
    offsets: &'a [usize],
    /// From a channel to the next, in bytes.
    channel: usize,
    /// Channels of a tile, and tiles.
    rows: usize,
    tiles: usize,
    /// The panel's pairs.
    pairs: *const u8,
    blocks: usize,
}

/// How sums are computed.
trait Multiply {
    /// Writes the sums of products, a row of [`WIDTH`] numbers for each channel of the input.
    ///
    /// # Safety
    /// All that the factors say must be readable.
    unsafe fn multiply<S: Simd>(&self, simd: S, factors: &Factors<'_>, sums: &mut Sums);
}

/// Rows of one unit's sums.
#[repr(C, align(64))]
struct Sums([[f32; WIDTH]; HEIGHT]);

impl Task<'_> {
    #[inline(always)]
    fn strips<S: Simd>(&self, simd: S, multiply: &impl Multiply) {
        let (images, strip) = (self.operands.images, self.step.strip());
        let [input, _] = self.operands.reads else { return };
        for first in (0..images).step_by(strip) {
            let strip = first..images.min(first + strip);
            let chunks = 0..self.step.lines.chunks;
            let of_image =
                |image: usize| chunks.clone().map(move |chunk| image * input.image + chunk * CHUNK * 2);
            let offsets: Vec<usize> = strip.clone().flat_map(of_image).collect();
            for unit in self.units.clone() {
                let mut sums = Sums([[0.0; WIDTH]; HEIGHT]);
                // SAFETY: `Gradient::run`'s caller vouches for the operands, which are as the steps before wrote them.
                unsafe {
                    let factors = self.factors(&self.step.unit(unit), &offsets, first);
                    multiply.multiply(simd, &factors, &mut sums);
                    self.add(simd, unit, &strip, &mut sums);
                }
            }
        }
    }

    /// # Safety
    /// The operands must hold the images.
    #[inline(always)]
    unsafe fn factors<'b>(&self, unit: &Unit, offsets: &'b [usize], first: usize) -> Factors<'b> {
        let WeightGradient { lines, channels, .. } = self.step;
        let [input, pairs] = [self.operands.reads[0], self.operands.reads[1]].map(|span: Span| span.pointer);
        let [block, blocks] = panel(unit.panel, channels[0].div_ceil(LANES));
        let place = unit.tile * lines.rows * lines.channel() + lines.place(unit.tap);
        let pair = (block * self.operands.images + first * blocks) * lines.chunks * OF_CHUNK;
        Factors {
            input: input.wrapping_add(place * size_of::<BFloat16>()),
            offsets,
            channel: lines.channel() * size_of::<BFloat16>(),
            rows: lines.rows,
            tiles: (lines.tiles - unit.tile).min(2),
            pairs: pairs.wrapping_add(pair * size_of::<BFloat16>()),
            blocks,
        }
    }

    /// Adds the sums of a strip to those before; behind the last one they are complete.
    ///
    /// # Safety
    /// No other thread may compute the same unit.
    #[inline(always)]
    unsafe fn add<S: Simd>(&self, simd: S, unit: usize, strip: &Range<usize>, sums: &mut Sums) {
        // SAFETY: there is room for the sums of each unit.
        let waiting = unsafe { self.operands.shared.state.add(self.step.sums + unit * SUMS) };
        for (row, sums) in sums.0.iter_mut().enumerate() {
            for half in [0, LANES] {
                // SAFETY: as above; a row has two vectors.
                unsafe {
                    let (at, before) = (sums.as_mut_ptr().add(half), waiting.add(row * WIDTH + half));
                    if strip.start > 0 {
                        simd.store(at, simd.add(simd.load(before), simd.load(at)));
                    }
                    if strip.end < self.operands.images {
                        simd.store(before, simd.load(at));
                    }
                }
            }
        }
        if strip.end == self.operands.images {
            // SAFETY: the step was given a place for each weight.
            unsafe { self.finish(&self.step.unit(unit), sums) };
        }
    }

    /// Writes sums where they belong.
    ///
    /// # Safety
    /// The step must have been given a place for each weight.
    unsafe fn finish(&self, unit: &Unit, sums: &Sums) {
        let WeightGradient { lines, channels: [outputs, inputs], taps, to, .. } = *self.step;
        let first = unit.tile * lines.rows;
        let count = (2 * lines.rows).min(inputs - first);
        for (lane, output) in (unit.panel * WIDTH..outputs).take(WIDTH).enumerate() {
            let place = to + (output * inputs + first) * taps + unit.tap;
            for (row, sums) in sums.0.iter().take(count).enumerate() {
                // SAFETY: the caller's promise.
                unsafe { *self.operands.shared.gradients.add(place + row * taps) = sums[lane] };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Multiply for Shape {
    #[inline(always)]
    unsafe fn multiply<S: Simd>(&self, _: S, factors: &Factors<'_>, sums: &mut Sums) {
        static ZEROS: Sums = Sums([[0.0; WIDTH]; HEIGHT]);
        let Factors { input, offsets, channel, rows, tiles, pairs, blocks } = *factors;
        let product = Product {
            pixels: input,
            offsets: offsets.as_ptr(),
            pixels_row: channel,
            // Without a second tile the first one is computed twice.
            second: (tiles - 1) * rows * channel,
            weights: pairs,
            initial: (&raw const ZEROS).cast(),
            sums: (&raw mut *sums).cast(),
            sums_row: WIDTH * size_of::<f32>(),
            second_sums: rows * WIDTH * size_of::<f32>(),
            chunks: offsets.len(),
        };
        // SAFETY: the caller's promise; the sums have rows for two tiles, and there are as many offsets as chunks.
        unsafe {
            if blocks == 2 { product.compute::<false, 2>(self) } else { product.compute::<false, 1>(self) }
        }
    }
}

/// Sums in vectors of pairs.
struct Vectors;

impl Multiply for Vectors {
    #[inline(always)]
    unsafe fn multiply<S: Simd>(&self, simd: S, factors: &Factors<'_>, sums: &mut Sums) {
        let (mut row, rows) = (0, factors.tiles * factors.rows);
        while row < rows {
            let sums = (&raw mut *sums).cast::<f32>().wrapping_add(row * WIDTH);
            let some = Rows { factors, row, sums };
            row += match (rows - row, factors.blocks) {
                (8.., 2) if const { S::BLOCKS > 1 } => some.call::<S, 8, 2>(simd),
                (8.., _) if const { S::BLOCKS > 1 } => some.call::<S, 8, 1>(simd),
                (4.., 2) => some.call::<S, 4, 2>(simd),
                (4.., _) => some.call::<S, 4, 1>(simd),
                (_, 2) => some.call::<S, 1, 2>(simd),
                _ => some.call::<S, 1, 1>(simd),
            };
        }
    }
}

/// Some channels of the input.
#[derive(Clone, Copy)]
struct Rows<'a> {
    factors: &'a Factors<'a>,
    row: usize,
    /// Those of the first channel.
    sums: *mut f32,
}

impl<'a> Rows<'a> {
    /// Computes the sums of `R` channels with `B` blocks; returns how many channels they are.
    #[inline(always)]
    fn call<S: Simd, const R: usize, const B: usize>(self, simd: S) -> usize {
        simd.call(&RegisterTile::<'a, R, B>(self));
        R
    }
}

/// `R` channels of the input times `B` blocks, whose sums stay in registers; only [`Vectors::multiply`] makes one.
struct RegisterTile<'a, const R: usize, const B: usize>(Rows<'a>);

impl<const R: usize, const B: usize> Kernel for RegisterTile<'_, R, B> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Rows { factors, row, sums } = self.0;
        let (mut totals, mut pairs) = ([[simd.splat(0.0); B]; R], factors.pairs.cast::<BFloat16>());
        for offset in factors.offsets {
            let line = factors.input.wrapping_add(row * factors.channel + offset);
            for pair in 0..CHUNK / 2 {
                // SAFETY: the promise of `Multiply::multiply`'s caller.
                unsafe {
                    let mut held = [simd.load_pairs(pairs); B];
                    for block in 1..B {
                        held[block] = simd.load_pairs(pairs.add(block * 2 * LANES));
                    }
                    for channel in 0..R {
                        let numbers = line.add(channel * factors.channel).cast::<BFloat16>();
                        let numbers = simd.splat_pair(numbers.add(2 * pair));
                        for block in 0..B {
                            totals[channel][block] =
                                simd.multiply_add_pairs(numbers, held[block], totals[channel][block]);
                        }
                    }
                    pairs = pairs.add(B * 2 * LANES);
                }
            }
        }
        for channel in 0..R {
            for block in 0..B {
                // SAFETY: the sums have a row of two vectors for each channel.
                unsafe { simd.store(sums.add(channel * WIDTH + block * LANES), totals[channel][block]) };
            }
        }
    }
}
