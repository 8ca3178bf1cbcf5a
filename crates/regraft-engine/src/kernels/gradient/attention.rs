//! Gradient of multi-head attention with respect to queries, keys and values.
//!
//! With the weights `P = softmax(Q Kᵀ / √d)` and the output's gradient `G`, the values' gradient is `Pᵀ G`; with
//! `S = P ∘ (G Vᵀ − rows of Σ P ∘ G Vᵀ) / √d`, the queries' is `S K` and the keys' `Sᵀ Q`. A unit is a head of an image: its
//! parts are copied to whole vectors, and the weights are computed again.
#![allow(clippy::indexing_slicing, reason = "the scratch memory is made as long as what is written into it")]

use std::{cell::RefCell, ops::Range};

use super::{
    Gradient, Operands,
    matrix::{Matrix, Sizes, multiply, panel, transpose},
};
use crate::{
    InstructionSet,
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd, functions},
};

/// Reads the gradient of the output and the input: queries, keys and values one after the other in the channels.
#[derive(Debug)]
pub(crate) struct AttentionGradient {
    pub(crate) from: Geometry,
    pub(crate) input: Geometry,
    pub(crate) to: Geometry,
    pub(crate) heads: usize,
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = RefCell::default();
}

impl AttentionGradient {
    fn head(&self) -> usize {
        self.from.channels / self.heads
    }
}

impl Gradient for AttentionGradient {
    /// Heads of all images.
    fn units(&self, images: usize) -> usize {
        images * self.heads
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let mut scratch = SCRATCH.take();
        simd::launch(set, &Task { step: self, operands, units, scratch: RefCell::new(&mut scratch) });
        SCRATCH.set(scratch);
    }
}

struct Task<'a> {
    step: &'a AttentionGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
    scratch: RefCell<&'a mut Vec<f32>>,
}

/// Matrices of a head: tokens × features, features × tokens and tokens × tokens, the last axis in whole vectors.
struct Parts<'a> {
    gradient: &'a mut [f32],
    queries: &'a mut [f32],
    keys: &'a mut [f32],
    values: &'a mut [f32],
    result: &'a mut [f32],
    turned: [&'a mut [f32]; 2],
    weights: &'a mut [f32],
    slopes: &'a mut [f32],
    /// Of products.
    panel: &'a mut [f32],
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let mut scratch = self.scratch.borrow_mut();
        for unit in self.units.clone() {
            let [image, head] = [unit / self.step.heads, unit % self.step.heads];
            let mut parts = self.parts(&mut scratch);
            // SAFETY: the head lies in the images; `Gradient::run`'s caller vouches for the operands.
            unsafe { self.load(&mut parts, image, head) };
            self.find_weights(simd, &mut parts);
            self.find_slopes(simd, &mut parts);
            // SAFETY: as above.
            unsafe { self.write_results(simd, &mut parts, image, head) };
        }
    }
}

impl Task<'_> {
    /// Tokens and features of a head, and the same in whole vectors.
    fn sizes(&self) -> [usize; 4] {
        let (tokens, features) = (self.step.from.width, self.step.head());
        [tokens, features, tokens.next_multiple_of(LANES), features.next_multiple_of(LANES)]
    }

    fn parts<'a>(&self, scratch: &'a mut Vec<f32>) -> Parts<'a> {
        let [tokens, features, long, wide] = self.sizes();
        let sizes = [tokens * wide; 5].into_iter().chain([wide * long; 2]).chain([tokens * long; 2]);
        // What is not written below is not read, but for features that make a vector whole.
        if features < wide {
            scratch.clear();
        }
        scratch.resize(sizes.sum::<usize>() + panel(tokens.max(wide)), 0.0);
        let mut rest = scratch.as_mut_slice();
        let mut next = |size| rest.split_off_mut(..size).unwrap_or_default();
        let [gradient, queries, keys, values, result] = std::array::from_fn(|_| next(tokens * wide));
        let turned = std::array::from_fn(|_| next(wide * long));
        let [weights, slopes] = std::array::from_fn(|_| next(tokens * long));
        Parts { gradient, queries, keys, values, result, turned, weights, slopes, panel: rest }
    }

    /// # Safety
    /// There must be such an image and head.
    unsafe fn load(&self, parts: &mut Parts<'_>, image: usize, head: usize) {
        let AttentionGradient { from, input, .. } = self.step;
        let [gradients, inputs] = self.operands.reads else { return };
        let [_, features, _, wide] = self.sizes();
        let [first, all] = [head * features, from.channels];
        for (span, geometry, channel, to) in [
            (gradients, from, first, &mut *parts.gradient),
            (inputs, input, first, &mut *parts.queries),
            (inputs, input, all + first, &mut *parts.keys),
            (inputs, input, 2 * all + first, &mut *parts.values),
        ] {
            for (features, place) in runs(geometry, channel, features) {
                for (token, row) in to.chunks_exact_mut(wide).enumerate() {
                    let row = &mut row[features.clone()];
                    // SAFETY: the channels of a run lie one behind the other; the caller's promise.
                    unsafe {
                        let from = span.at::<f32>(image).add(place + geometry.element(0, 0, token));
                        copy(from, row.as_mut_ptr(), row.len());
                    }
                }
            }
        }
    }

    /// What the scores are multiplied by.
    fn scale(&self) -> f32 {
        (1.0 / (self.step.head() as f64).sqrt()) as f32
    }

    /// For each token of the first of two matrices of tokens × features its products with each of the second.
    #[inline(always)]
    fn products_of_tokens<S: Simd>(
        &self,
        simd: S,
        tokens: [&[f32]; 2],
        [left, right]: &mut [&mut [f32]; 2],
        panel: &mut [f32],
        result: &mut [f32],
    ) {
        let [rows, _, long, wide] = self.sizes();
        transpose(simd, Matrix { numbers: tokens[0], width: wide }, left, long);
        transpose(simd, Matrix { numbers: tokens[1], width: wide }, right, long);
        let sizes = Sizes { rows, terms: wide, columns: long };
        multiply(simd, sizes, Matrix { numbers: left, width: long }, right, panel, result);
    }

    #[inline(always)]
    fn find_weights<S: Simd>(&self, simd: S, parts: &mut Parts<'_>) {
        let [tokens, _, long, _] = self.sizes();
        let Parts { queries, keys, turned, weights, panel, .. } = parts;
        self.products_of_tokens(simd, [queries, keys], turned, panel, weights);
        for row in parts.weights.chunks_exact_mut(long) {
            soften(simd, row, tokens, self.scale());
        }
    }

    /// The gradients of the scores.
    #[inline(always)]
    fn find_slopes<S: Simd>(&self, simd: S, parts: &mut Parts<'_>) {
        let [_, _, long, _] = self.sizes();
        let Parts { gradient, values, turned, slopes, panel, .. } = parts;
        self.products_of_tokens(simd, [gradient, values], turned, panel, slopes);
        let scale = simd.splat(self.scale());
        for (weights, slopes) in parts.weights.chunks_exact(long).zip(parts.slopes.chunks_exact_mut(long)) {
            let mut sum = simd.splat(0.0);
            for (weights, slopes) in weights.chunks_exact(LANES).zip(slopes.chunks_exact(LANES)) {
                // SAFETY: both are vectors.
                sum = unsafe {
                    simd.multiply_add(simd.load(weights.as_ptr()), simd.load(slopes.as_ptr()), sum)
                };
            }
            let minus = simd.splat(-total(simd.lanes(sum)) as f32);
            for (weights, slopes) in weights.chunks_exact(LANES).zip(slopes.chunks_exact_mut(LANES)) {
                // SAFETY: both are vectors.
                unsafe {
                    let distance = simd.add(simd.load(slopes.as_ptr()), minus);
                    let weight = simd.multiply(simd.load(weights.as_ptr()), scale);
                    simd.store(slopes.as_mut_ptr(), simd.multiply(weight, distance));
                }
            }
        }
    }

    /// # Safety
    /// There must be such an image and head.
    #[inline(always)]
    unsafe fn write_results<S: Simd>(&self, simd: S, parts: &mut Parts<'_>, image: usize, head: usize) {
        let [tokens, features, long, wide] = self.sizes();
        let (all, sizes) = (self.step.from.channels, Sizes { rows: tokens, terms: tokens, columns: wide });
        let Parts { gradient, queries, keys, result, weights, slopes, panel, .. } = parts;
        for part in [2, 1, 0] {
            if part == 0 {
                transpose(simd, Matrix { numbers: slopes, width: long }, weights, long);
            }
            let [left, right] = match part {
                0 => [&*weights, &*keys],
                1 => [&*slopes, &*queries],
                _ => [&*weights, &*gradient],
            };
            multiply(simd, sizes, Matrix { numbers: left, width: long }, right, panel, result);
            let first = part * all + head * features;
            // SAFETY: the caller's promise.
            unsafe { self.write(result, wide, image, first..first + features) };
        }
        if head + 1 == self.step.heads {
            // SAFETY: as above.
            unsafe { self.clear_rest(parts, image) };
        }
    }

    /// Rows of so many numbers, the first of which go to some channels.
    ///
    /// # Safety
    /// The image must have the channels, and as many tokens as there are rows.
    unsafe fn write(&self, rows: &[f32], width: usize, image: usize, channels: Range<usize>) {
        let to = &self.step.to;
        for (channels, place) in runs(to, channels.start, channels.len()) {
            for (token, row) in rows.chunks_exact(width).enumerate() {
                let row = &row[channels.clone()];
                // SAFETY: the channels of a run lie one behind the other; the caller's promise.
                unsafe {
                    let to = self.operands.output.at::<f32>(image).add(place + to.element(0, 0, token));
                    copy(row.as_ptr(), to, row.len());
                }
            }
        }
    }

    /// Zeros in the lanes that have no channel, which must be finite.
    ///
    /// # Safety
    /// There must be such an image.
    unsafe fn clear_rest(&self, parts: &mut Parts<'_>, image: usize) {
        let (channels, [_, _, _, wide]) = (self.step.to.channels, self.sizes());
        parts.result.fill(0.0);
        // SAFETY: the lanes are the last block's.
        unsafe { self.write(parts.result, wide, image, channels..channels.next_multiple_of(LANES)) };
    }
}

/// Most runs of channels are whole vectors, for which no function is called.
///
/// # Safety
/// So many numbers must be readable and writable.
#[inline(always)]
unsafe fn copy(from: *const f32, to: *mut f32, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match count {
            LANES => to.copy_from_nonoverlapping(from, LANES),
            _ => to.copy_from_nonoverlapping(from, count),
        }
    }
}

/// Channels from one on that lie in the same block: which they are, counted from the first, and the distance of a run from a
/// token's first channel.
fn runs(
    geometry: &Geometry,
    channel: usize,
    count: usize,
) -> impl Iterator<Item = (Range<usize>, usize)> + use<> {
    let (lanes, plane, mut done) = (geometry.lanes, geometry.plane(), 0);
    std::iter::from_fn(move || {
        let at = channel + done;
        let end = count.min(done + lanes - at % lanes);
        let run = (done < count).then_some((done..end, at / lanes * plane + at % lanes));
        done = end;
        run
    })
}

/// Softmax of the first numbers of whole vectors, times `scale`; zeros behind them.
#[inline(always)]
fn soften<S: Simd>(simd: S, row: &mut [f32], count: usize, scale: f32) {
    // So that what is behind the numbers is never the largest, and its power adds nothing to their sum.
    row[count..].fill(f32::MIN);
    let largest = largest(simd, row);
    let (scale, minus) = (simd.splat(scale), simd.splat(-largest * scale));
    let mut sums = simd.splat(0.0);
    for vector in row.chunks_exact_mut(LANES) {
        // SAFETY: it is a vector.
        unsafe {
            let score = simd.multiply_add(simd.load(vector.as_ptr()), scale, minus);
            let power = functions::exp(simd, score);
            sums = simd.add(sums, power);
            simd.store(vector.as_mut_ptr(), power);
        }
    }
    row[count..].fill(0.0);
    let factor = simd.splat((1.0 / total(simd.lanes(sums))) as f32);
    for vector in row.chunks_exact_mut(LANES) {
        // SAFETY: it is a vector.
        unsafe { simd.store(vector.as_mut_ptr(), simd.multiply(simd.load(vector.as_ptr()), factor)) };
    }
}

/// The largest number of whole vectors.
#[inline(always)]
fn largest<S: Simd>(simd: S, numbers: &[f32]) -> f32 {
    let mut vector = simd.splat(f32::NEG_INFINITY);
    for numbers in numbers.chunks_exact(LANES) {
        // SAFETY: it is a vector.
        vector = simd.maximum(vector, unsafe { simd.load(numbers.as_ptr()) });
    }
    folded(simd.lanes(vector), |a, b| if b > a { b } else { a })
}

#[inline(always)]
fn total(lanes: [f32; LANES]) -> f64 {
    folded(lanes.map(f64::from), |a, b| a + b)
}

/// By halves, so that few operations wait for each other.
#[inline(always)]
fn folded<N: Copy>(mut lanes: [N; LANES], both: impl Fn(N, N) -> N) -> N {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = both(lanes[lane], lanes[lane + half]);
        }
    }
    lanes[0]
}
