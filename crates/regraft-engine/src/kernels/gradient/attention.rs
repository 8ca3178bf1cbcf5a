//! Gradient of multi-head attention with respect to queries, keys and values.
//!
//! With the weights `P = softmax(Q Kᵀ / √d)` and the output's gradient `G`, the values' gradient is `Pᵀ G`; with
//! `S = P ∘ (G Vᵀ − rows of Σ P ∘ G Vᵀ) / √d`, the queries' is `S K` and the keys' `Sᵀ Q`. A unit is a head of an image: its
//! parts are copied to whole vectors, and the weights are computed again.
#![allow(clippy::indexing_slicing, reason = "the scratch memory is made as long as what is written into it")]

use std::{cell::RefCell, ops::Range};

use super::{
    Gradient, Operands,
    matrix::{Left, Sizes, multiply, transpose},
};
use crate::{
    InstructionSet,
    geometry::Geometry,
    kernels::Span,
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
    turned: &'a mut [f32],
    weights: &'a mut [f32],
    slopes: &'a mut [f32],
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
        let [tokens, _, long, wide] = self.sizes();
        let sizes = [tokens * wide; 5].into_iter().chain([wide * long]).chain([tokens * long; 2]);
        scratch.clear();
        scratch.resize(sizes.sum(), 0.0);
        let (gradient, rest) = scratch.split_at_mut(tokens * wide);
        let (queries, rest) = rest.split_at_mut(tokens * wide);
        let (keys, rest) = rest.split_at_mut(tokens * wide);
        let (values, rest) = rest.split_at_mut(tokens * wide);
        let (result, rest) = rest.split_at_mut(tokens * wide);
        let (turned, rest) = rest.split_at_mut(wide * long);
        let (weights, slopes) = rest.split_at_mut(tokens * long);
        Parts { gradient, queries, keys, values, result, turned, weights, slopes }
    }

    /// # Safety
    /// There must be such an image and head.
    unsafe fn load(&self, parts: &mut Parts<'_>, image: usize, head: usize) {
        let AttentionGradient { from, input, .. } = self.step;
        let [gradients, inputs] = self.operands.reads else { return };
        let [_, features, _, wide] = self.sizes();
        let [first, all] = [head * features, from.channels];
        let rows = |span: Span, geometry, channel, to: &mut [f32]| {
            for (token, row) in to.chunks_exact_mut(wide).enumerate() {
                let row = &mut row[..features];
                // SAFETY: the caller's promise.
                unsafe { copy(span.at(image), geometry, [channel, token], row) };
            }
        };
        rows(*gradients, from, first, parts.gradient);
        rows(*inputs, input, first, parts.queries);
        rows(*inputs, input, all + first, parts.keys);
        rows(*inputs, input, 2 * all + first, parts.values);
    }

    /// What the scores are multiplied by.
    fn scale(&self) -> f32 {
        (1.0 / (self.step.head() as f64).sqrt()) as f32
    }

    #[inline(always)]
    fn find_weights<S: Simd>(&self, simd: S, parts: &mut Parts<'_>) {
        let [tokens, _, long, wide] = self.sizes();
        transpose(parts.keys, wide, parts.turned, long);
        let left = Left { numbers: parts.queries, row: wide, term: 1 };
        let sizes = Sizes { rows: tokens, terms: wide, columns: long };
        multiply::<S, false>(simd, sizes, left, parts.turned, parts.weights);
        for row in parts.weights.chunks_exact_mut(long) {
            soften(simd, row, tokens, self.scale());
        }
    }

    /// The gradients of the scores.
    #[inline(always)]
    fn find_slopes<S: Simd>(&self, simd: S, parts: &mut Parts<'_>) {
        let [tokens, _, long, wide] = self.sizes();
        transpose(parts.values, wide, parts.turned, long);
        let left = Left { numbers: parts.gradient, row: wide, term: 1 };
        let sizes = Sizes { rows: tokens, terms: wide, columns: long };
        multiply::<S, false>(simd, sizes, left, parts.turned, parts.slopes);
        let scale = simd.splat(self.scale());
        for (weights, slopes) in parts.weights.chunks_exact(long).zip(parts.slopes.chunks_exact_mut(long)) {
            let mut sum = simd.splat(0.0);
            for (weights, slopes) in weights.chunks_exact(LANES).zip(slopes.chunks_exact(LANES)) {
                // SAFETY: both are vectors.
                sum = unsafe {
                    simd.multiply_add(simd.load(weights.as_ptr()), simd.load(slopes.as_ptr()), sum)
                };
            }
            let total: f64 = simd.lanes(sum).iter().map(|lane| f64::from(*lane)).sum();
            let minus = simd.splat(-total as f32);
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
        let all = self.step.from.channels;
        let sizes = Sizes { rows: tokens, terms: tokens, columns: wide };
        let [straight, turned] = [[long, 1], [1, long]];
        for (part, (numbers, [row, term], right)) in [
            (&*parts.slopes, straight, &*parts.keys),
            (&*parts.slopes, turned, &*parts.queries),
            (&*parts.weights, turned, &*parts.gradient),
        ]
        .into_iter()
        .enumerate()
        {
            multiply::<S, false>(simd, sizes, Left { numbers, row, term }, right, parts.result);
            for (token, row) in parts.result.chunks_exact(wide).enumerate() {
                // SAFETY: the caller's promise.
                unsafe { self.write(&row[..features], image, [part * all + head * features, token]) };
            }
        }
        if head + 1 == self.step.heads {
            // SAFETY: as above.
            unsafe { self.clear_rest(image) };
        }
    }

    /// # Safety
    /// The image must have the channels and the token.
    unsafe fn write(&self, row: &[f32], image: usize, [channel, token]: [usize; 2]) {
        let to = &self.step.to;
        for (channels, place) in runs(to, channel, row.len()) {
            let row = &row[channels];
            // SAFETY: the channels of a run lie one behind the other; the caller's promise.
            unsafe {
                let to = self.operands.output.at::<f32>(image).add(place + to.element(0, 0, token));
                to.copy_from_nonoverlapping(row.as_ptr(), row.len());
            }
        }
    }

    /// Zeros in the lanes that have no channel, which must be finite.
    ///
    /// # Safety
    /// There must be such an image.
    unsafe fn clear_rest(&self, image: usize) {
        let to = &self.step.to;
        for token in 0..to.width {
            let rest = [0.0; LANES];
            let count = to.channels.next_multiple_of(LANES) - to.channels;
            // SAFETY: the lanes are the last block's.
            unsafe { self.write(&rest[..count], image, [to.channels, token]) };
        }
    }
}

/// Channels of a token, one after the other.
///
/// # Safety
/// `from` must be an image of the geometry, and have the channels and the token.
unsafe fn copy(from: *const f32, geometry: &Geometry, [channel, token]: [usize; 2], to: &mut [f32]) {
    let start = geometry.element(0, 0, token);
    for (channels, place) in runs(geometry, channel, to.len()) {
        let to = &mut to[channels];
        // SAFETY: the channels of a run lie one behind the other; the caller's promise.
        unsafe { from.add(place + start).copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) };
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
    let largest = largest(simd, &row[..count]);
    let (scale, minus) = (simd.splat(scale), simd.splat(-largest * scale));
    for vector in row.chunks_exact_mut(LANES) {
        // SAFETY: it is a vector.
        unsafe {
            let score = simd.multiply_add(simd.load(vector.as_ptr()), scale, minus);
            simd.store(vector.as_mut_ptr(), functions::exp(simd, score));
        }
    }
    row[count..].fill(0.0);
    let mut sums = simd.splat(0.0);
    for vector in row.chunks_exact(LANES) {
        // SAFETY: it is a vector.
        sums = simd.add(sums, unsafe { simd.load(vector.as_ptr()) });
    }
    let total: f64 = simd.lanes(sums).iter().map(|lane| f64::from(*lane)).sum();
    let factor = simd.splat((1.0 / total) as f32);
    for vector in row.chunks_exact_mut(LANES) {
        // SAFETY: it is a vector.
        unsafe { simd.store(vector.as_mut_ptr(), simd.multiply(simd.load(vector.as_ptr()), factor)) };
    }
}

/// The largest of some numbers.
#[inline(always)]
fn largest<S: Simd>(simd: S, numbers: &[f32]) -> f32 {
    let mut vector = simd.splat(f32::NEG_INFINITY);
    let (vectors, rest) = numbers.as_chunks::<LANES>();
    for numbers in vectors {
        // SAFETY: it is a vector.
        vector = simd.maximum(vector, unsafe { simd.load(numbers.as_ptr()) });
    }
    simd.lanes(vector).iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}
