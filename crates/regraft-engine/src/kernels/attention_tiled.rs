//! Attention in bfloat16 on the tiles of Intel AMX.
//!
//! A unit is a head of an image. Its keys are transposed to pairs of features and its values to pairs of keys once, as the
//! tiles want them; then 32 queries at a time are multiplied with all keys, the rows of scores become weights, rounded to
//! bfloat16 where the products of pairs round them too, and the weights are multiplied with the values.
#![allow(
    clippy::indexing_slicing,
    reason = "indices come from the step's own sizes, checked when it is built"
)]

use std::{cell::RefCell, ops::Range};

use super::{Operands, attention::Attention};
use crate::{
    element::{BFloat16, Element, Number},
    simd::{
        self, Kernel, LANES, Simd,
        amx::{self, Piece, Product, ROW, ROWS, Shape},
        functions,
    },
};

/// Queries of a pair of tiles.
const QUERIES: usize = 2 * ROWS;
/// Keys, or features, of a panel: two tiles beside each other.
const PANEL: usize = 2 * LANES;
/// Keys, or features, that are multiplied in one chunk.
const CHUNK: usize = ROW / size_of::<BFloat16>();
/// Lines of a chunk of a panel.
const PANEL_LINES: usize = 2 * ROWS;

/// Whether the tiles can compute a step.
pub(super) fn fits(step: &Attention) -> bool {
    let head = step.output.channels / step.heads;
    step.input.element == Element::BFloat16 && head.is_multiple_of(LANES) && step.output.width >= ROWS
}

/// Computes some heads of all images.
///
/// # Safety
/// As for [`Attention::run`], with units of a head of an image, for a step that [`fits`].
pub(super) unsafe fn run(step: &Attention, operands: &Operands, units: Range<usize>) {
    simd::launch_tiles::<_, false>(&Task { step, operands, units });
}

struct Task<'a> {
    step: &'a Attention,
    operands: &'a Operands,
    units: Range<usize>,
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; ROW]);

/// Memory of a thread that lives as long as it.
#[derive(Default)]
struct Scratch {
    /// Panels of keys × chunks of features × 16 pairs of features × 32 keys.
    keys: Vec<Line>,
    /// Panels of features × chunks of keys × 16 pairs of keys × 32 features, or 16 in a last panel of one block.
    values: Vec<Line>,
    /// Chunks of features × 32 queries × 32 features.
    queries: Vec<Line>,
    /// 32 queries × keys.
    scores: Vec<Line>,
    /// Chunks of keys × 32 queries × 32 keys.
    weights: Vec<Line>,
    /// Bytes to each chunk of queries or weights.
    offsets: Vec<usize>,
}

/// Sizes of a head.
#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    /// Panels of keys, which are chunks of them too.
    key_panels: usize,
    features: usize,
    feature_chunks: usize,
}

impl Sizes {
    fn new(step: &Attention) -> Self {
        let (tokens, features) = (step.output.width, step.output.channels / step.heads);
        Self {
            tokens,
            key_panels: tokens.div_ceil(PANEL),
            features,
            feature_chunks: features.div_ceil(CHUNK),
        }
    }

    /// Numbers of a row of scores.
    fn row(&self) -> usize {
        self.key_panels * PANEL
    }
}

/// Zeroed lines, in memory that is there already if it is enough.
fn clear(lines: &mut Vec<Line>, count: usize) {
    lines.clear();
    lines.resize(count, Line([0; ROW]));
}

impl Scratch {
    fn clear(&mut self, sizes: Sizes) {
        let Sizes { key_panels, features, feature_chunks, .. } = sizes;
        clear(&mut self.keys, key_panels * feature_chunks * PANEL_LINES);
        clear(&mut self.values, features.div_ceil(PANEL) * key_panels * PANEL_LINES);
        clear(&mut self.queries, feature_chunks * QUERIES);
        clear(&mut self.scores, QUERIES * sizes.row() * size_of::<f32>() / ROW);
        clear(&mut self.weights, key_panels * QUERIES);
        self.offsets.clear();
        self.offsets.extend((0..feature_chunks.max(key_panels)).map(|chunk| chunk * QUERIES * ROW));
    }
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        thread_local! {
            static SCRATCH: RefCell<Scratch> = RefCell::default();
        }
        let Some(shape) = Shape::new(ROWS) else { return };
        let mut scratch = SCRATCH.take();
        for unit in self.units.clone() {
            scratch.clear(Sizes::new(self.step));
            // SAFETY: `run`'s caller vouches for the operands.
            unsafe { Head::new(self.step, self.operands, unit).compute(simd, &shape, &mut scratch) };
        }
        SCRATCH.set(scratch);
    }
}

/// A head of an image.
struct Head {
    sizes: Sizes,
    /// First queries, keys and values.
    inputs: [*const BFloat16; 3],
    input_plane: usize,
    output: *mut BFloat16,
    output_plane: usize,
}

impl Head {
    /// # Safety
    /// The operands must hold the image.
    unsafe fn new(step: &Attention, operands: &Operands, unit: usize) -> Self {
        let Attention { input, output, heads, .. } = step;
        let sizes = Sizes::new(step);
        let (image, channel) = (unit / heads, unit % heads * sizes.features);
        let place = |part: usize| (part * output.channels + channel) / LANES * input.plane();
        // SAFETY: the caller's promise; a head begins at a block, and so do queries, keys and values.
        unsafe {
            let from = operands.input.at::<BFloat16>(image);
            Self {
                sizes,
                inputs: [0, 1, 2].map(|part| from.add(place(part)).cast_const()),
                input_plane: input.plane(),
                output: operands.output.at::<BFloat16>(image).add(channel / LANES * output.plane()),
                output_plane: output.plane(),
            }
        }
    }

    fn blocks(&self) -> usize {
        self.sizes.features / LANES
    }

    /// # Safety
    /// The head must lie in the operands, and the scratch memory must have been cleared for it.
    #[inline(always)]
    unsafe fn compute<S: Simd>(&self, simd: S, shape: &Shape, scratch: &mut Scratch) {
        let tokens = self.sizes.tokens;
        // SAFETY: the caller's promise.
        unsafe {
            self.transpose_keys(scratch);
            self.pair_values(scratch);
            for first in (0..tokens).step_by(QUERIES) {
                let queries = first..tokens.min(first + QUERIES);
                self.gather_queries(queries.clone(), scratch);
                self.score(shape, scratch);
                let mut inverses = [0.0; QUERIES];
                for (query, inverse) in inverses.iter_mut().enumerate().take(queries.len()) {
                    *inverse = self.weigh(simd, query, scratch);
                }
                self.sum(simd, shape, queries, &inverses, scratch);
            }
        }
    }

    /// # Safety
    /// As for [`Self::compute`].
    #[inline(always)]
    unsafe fn transpose_keys(&self, scratch: &mut Scratch) {
        let Sizes { tokens, feature_chunks, .. } = self.sizes;
        for block in 0..self.blocks() {
            let (chunk, row) = (block / 2, block % 2 * (LANES / 2));
            for first in (0..tokens).step_by(ROWS) {
                let line = (first / PANEL * feature_chunks + chunk) * PANEL_LINES + 2 * row;
                let to = scratch.keys[line..].as_mut_ptr().cast::<u8>();
                // SAFETY: the tokens lie in the block's plane, and 8 rows of two lines in the panel's chunk.
                unsafe {
                    let from = self.inputs[1].add(block * self.input_plane + first * LANES);
                    let count = ROWS.min(tokens - first);
                    amx::transpose_pairs(from.cast(), count, to.add(first % PANEL / ROWS * ROW));
                }
            }
        }
    }

    /// # Safety
    /// As for [`Self::compute`].
    #[inline(always)]
    unsafe fn pair_values(&self, scratch: &mut Scratch) {
        let Sizes { tokens, key_panels, .. } = self.sizes;
        let nothing = [BFloat16::new(0.0); LANES];
        for block in 0..self.blocks() {
            let beside = (self.blocks() - block / 2 * 2).min(2);
            let panel = block / 2 * key_panels * PANEL_LINES;
            for pair in 0..tokens.div_ceil(2) {
                let to = scratch.values[panel + pair * beside + block % 2..].as_mut_ptr();
                // SAFETY: the tokens lie in the block's plane, and a pair of each feature fills a line.
                unsafe {
                    let low = self.inputs[2].add(block * self.input_plane + 2 * pair * LANES);
                    let high = if 2 * pair + 1 < tokens { low.add(LANES) } else { nothing.as_ptr() };
                    amx::interleave(low.cast(), high.cast(), to.cast());
                }
            }
        }
    }

    /// # Safety
    /// As for [`Self::compute`].
    #[inline(always)]
    unsafe fn gather_queries(&self, queries: Range<usize>, scratch: &mut Scratch) {
        let mut windows = [std::ptr::null(); QUERIES];
        for (window, query) in windows.iter_mut().zip(queries.clone()) {
            *window = self.inputs[0].wrapping_add(query * LANES).cast();
        }
        let block = LANES * size_of::<BFloat16>();
        let piece = |index: usize, to: usize| Piece {
            from: index * self.input_plane * size_of::<BFloat16>(),
            to,
            len: block,
        };
        for chunk in 0..self.sizes.feature_chunks {
            let pieces = [piece(2 * chunk, 0), piece(2 * chunk + 1, block)];
            let there = (self.blocks() - 2 * chunk).min(2);
            let to = scratch.queries[chunk * QUERIES..].as_mut_ptr();
            // SAFETY: the queries lie in the planes of the head's blocks, and there is a line for each.
            unsafe { amx::gather(&windows[..queries.len()], &pieces[..there], to.cast()) };
        }
    }

    /// Products of queries and keys; lowest of all where there is no key.
    ///
    /// # Safety
    /// As for [`Self::compute`]; keys and queries must be in the scratch memory.
    #[inline(always)]
    unsafe fn score(&self, shape: &Shape, scratch: &mut Scratch) {
        let Sizes { tokens, key_panels, feature_chunks, .. } = self.sizes;
        let row = self.sizes.row();
        let initial = [0.0f32; PANEL];
        for panel in 0..key_panels {
            let product = Product {
                pixels: scratch.queries.as_ptr().cast(),
                offsets: scratch.offsets.as_ptr(),
                pixels_row: ROW,
                second: ROWS * ROW,
                weights: scratch.keys[panel * feature_chunks * PANEL_LINES..].as_ptr().cast(),
                initial: initial.as_ptr(),
                sums: scratch.scores.as_mut_ptr().cast::<f32>().wrapping_add(panel * PANEL),
                sums_row: row * size_of::<f32>(),
                second_sums: ROWS * row * size_of::<f32>(),
                chunks: feature_chunks,
            };
            // SAFETY: the scratch memory has these sizes.
            unsafe { product.compute::<false, 2>(shape) };
        }
        for query in 0..QUERIES {
            for key in tokens..row {
                // SAFETY: as above.
                unsafe {
                    *scratch.scores.as_mut_ptr().cast::<f32>().add(query * row + key) = f32::NEG_INFINITY
                };
            }
        }
    }

    /// Makes weights of a query's scores, and returns the inverse of their sum.
    ///
    /// # Safety
    /// As for [`Self::score`], behind it.
    #[inline(always)]
    unsafe fn weigh<S: Simd>(&self, simd: S, query: usize, scratch: &mut Scratch) -> f32 {
        let row = self.sizes.row();
        let scores = scratch.scores.as_ptr().cast::<f32>().wrapping_add(query * row);
        let weights = scratch.weights.as_mut_ptr().cast::<BFloat16>().wrapping_add(query * CHUNK);
        // SAFETY: the scratch memory has these sizes.
        unsafe {
            let mut most = simd.load(scores);
            for first in (LANES..row).step_by(LANES) {
                most = simd.maximum(most, simd.load(scores.add(first)));
            }
            let most = amx::largest(simd.lanes(most).as_ptr());
            let scale = (1.0 / (self.sizes.features as f64).sqrt()) as f32;
            let (factor, shift) = (simd.splat(scale), simd.splat(-most * scale));
            let mut totals = [simd.splat(0.0); 2];
            for panel in 0..self.sizes.key_panels {
                for (half, total) in totals.iter_mut().enumerate() {
                    let score = simd.load(scores.add(panel * PANEL + half * LANES));
                    let power = functions::exp(simd, simd.multiply_add(score, factor, shift));
                    *total = simd.add(*total, power);
                    let to = weights.add(panel * QUERIES * CHUNK + half * LANES);
                    simd.store_bfloat16(to, power);
                }
            }
            1.0 / amx::sum(simd.lanes(simd.add(totals[0], totals[1])).as_ptr())
        }
    }

    /// Weighted sums of the values, to the output.
    ///
    /// # Safety
    /// As for [`Self::score`], when all weights are there.
    #[inline(always)]
    unsafe fn sum<S: Simd>(
        &self,
        simd: S,
        shape: &Shape,
        queries: Range<usize>,
        inverses: &[f32; QUERIES],
        scratch: &Scratch,
    ) {
        let mut sums = [Line([0; ROW]); QUERIES * 2];
        let initial = [0.0f32; PANEL];
        for block in (0..self.blocks()).step_by(2) {
            let beside = (self.blocks() - block).min(2);
            let product = Product {
                pixels: scratch.weights.as_ptr().cast(),
                offsets: scratch.offsets.as_ptr(),
                pixels_row: ROW,
                second: ROWS * ROW,
                weights: scratch.values[block / 2 * self.sizes.key_panels * PANEL_LINES..].as_ptr().cast(),
                initial: initial.as_ptr(),
                sums: sums.as_mut_ptr().cast(),
                sums_row: 2 * ROW,
                second_sums: ROWS * 2 * ROW,
                chunks: self.sizes.key_panels,
            };
            // SAFETY: the scratch memory has these sizes; the queries lie in the planes of the output's blocks.
            unsafe {
                if beside == 2 {
                    product.compute::<false, 2>(shape);
                } else {
                    product.compute::<false, 1>(shape);
                }
                for (index, query) in queries.clone().enumerate() {
                    for part in 0..beside {
                        let sum = simd.load(sums.as_ptr().add(index * 2 + part).cast());
                        let to = self.output.add((block + part) * self.output_plane + query * LANES);
                        simd.store_bfloat16(to, simd.multiply(sum, simd.splat(inverses[index])));
                    }
                }
            }
        }
    }
}
