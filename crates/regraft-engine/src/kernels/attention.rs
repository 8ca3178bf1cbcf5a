//! Multi-head attention on projected queries, keys and values.
//!
//! A unit is a tile of 32 queries of one head of one image. The queries are transposed once, so that a vector holds one
//! feature of 16 queries; scores are then vectors over queries too, and the softmax needs nothing across lanes. Keys and
//! values are read where they lie. Scores are kept for a stretch of 256 keys; with more keys the weighted sums of the
//! stretches before are scaled when a larger score turns up (Milakov and Gimelshein, "Online normalizer calculation for
//! softmax", 2018). All scratch memory is on the stack.
//!
//! In bfloat16, where the processor has its dot products, neighbouring features and neighbouring keys are multiplied in
//! pairs; the weights of the keys are rounded for that, their sum is not.
//!
//! Where the length of a head is not a multiple of 16, its values are copied to whole vectors and its results from them.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(
    clippy::indexing_slicing,
    reason = "indices are below the constants that the arrays on the stack have as sizes"
)]

use std::ops::Range;

use super::{Operands, for_tile_size};
use crate::{
    Precision, Settings,
    element::{BFloat16, Element, Number},
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd, functions},
};

/// Queries of a unit.
const QUERIES: usize = 2 * LANES;

/// Keys whose scores are kept at a time.
const KEYS: usize = 256;

/// Features of a head that are transposed at a time.
const FEATURES: usize = 128;

/// `softmax(q · kᵀ / √d) · v` for heads of `d` features.
#[derive(Debug)]
pub(crate) struct Attention {
    /// Queries, keys and values one after the other in the channels; pixels are tokens. Without border, height 1.
    pub(crate) input: Geometry,
    pub(crate) output: Geometry,
    pub(crate) heads: usize,
    /// Whether the products are computed in tiles, where they can be.
    pub(crate) tiled: bool,
}

impl Attention {
    #[cfg(target_arch = "x86_64")]
    fn is_tiled(&self) -> bool {
        self.tiled && super::attention_tiled::fits(self)
    }

    fn tiles(&self) -> usize {
        self.output.width.div_ceil(QUERIES)
    }

    fn head(&self) -> usize {
        self.output.channels / self.heads
    }

    /// Number of units: tiles of queries of all heads of all images.
    pub(crate) fn units(&self, images: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.is_tiled() {
            return images * self.heads;
        }
        images * self.heads * self.tiles()
    }

    /// Multiply–accumulate operations on a group of images.
    pub(crate) fn cost(&self, images: usize) -> usize {
        2 * images * self.output.channels * self.output.width * self.output.width
    }

    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images of the step's geometries, the output apart from the input, and no other
    /// thread may compute the same units.
    pub(crate) unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        #[cfg(target_arch = "x86_64")]
        if self.is_tiled() {
            // SAFETY: the caller's promise.
            return unsafe { super::attention_tiled::run(self, operands, units) };
        }
        let paired = settings.precision == Precision::BFloat16
            && settings.precision.is_native(settings.instruction_set)
            && self.head().is_multiple_of(LANES);
        simd::launch_with(settings, &Task { step: self, operands, units, paired });
    }
}

struct Task<'a> {
    step: &'a Attention,
    operands: &'a Operands,
    units: Range<usize>,
    /// Whether numbers are multiplied in pairs.
    paired: bool,
}

/// One unit's place.
struct Unit<N> {
    input: *const N,
    output: *mut N,
    /// First channel of the head, in queries, keys, values and the output alike.
    channel: usize,
    queries: Range<usize>,
}

/// A row of scores is one key's with all queries of the unit.
#[repr(align(64))]
struct Scratch<const ROWS: usize>([f32; ROWS]);

impl<const ROWS: usize> Scratch<ROWS> {
    fn zeroed() -> Self {
        Self([0.0; ROWS])
    }
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        // One number of tokens, and so one type of number, for both.
        match self.step.input.element {
            Element::Float32 => self.heads::<S, f32, false>(simd),
            Element::BFloat16 if self.paired => self.heads::<S, BFloat16, true>(simd),
            Element::BFloat16 => self.heads::<S, BFloat16, false>(simd),
            // Never in bytes, see `quantization`.
            Element::UInt8(_) => {}
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn heads<S: Simd, N: Number, const PAIRED: bool>(&self, simd: S) {
        let step = self.step;
        let tiles = step.tiles();
        let mut queries = Scratch::<{ FEATURES * QUERIES }>::zeroed();
        let mut scores = Scratch::<{ KEYS * QUERIES }>::zeroed();
        for unit in self.units.clone() {
            let (head, first) = (unit / tiles, unit % tiles * QUERIES);
            let image = head / step.heads;
            // SAFETY: the image is one of the operands'; `Attention::run`'s caller vouches for them.
            let unit: Unit<N> = unsafe {
                Unit {
                    input: self.operands.input.at(image),
                    output: self.operands.output.at(image),
                    channel: head % step.heads * step.head(),
                    queries: first..step.output.width.min(first + QUERIES),
                }
            };
            // SAFETY: as above; the unit's queries are pixels of the image.
            unsafe { step.unit::<S, N, PAIRED>(simd, &unit, &mut queries.0, &mut scores.0) };
        }
    }
}

impl Attention {
    /// `1 / √d`.
    #[inline(always)]
    fn scale(&self) -> f32 {
        (1.0 / (self.head() as f64).sqrt()) as f32
    }

    /// Distance of a channel of the input from the first token's start.
    #[inline(always)]
    fn channel(&self, channel: usize) -> usize {
        channel / LANES * self.input.plane() + channel % LANES
    }

    /// # Safety
    /// The unit must lie in images of the step's geometries.
    #[inline(always)]
    unsafe fn unit<S: Simd, N: Number, const PAIRED: bool>(
        &self,
        simd: S,
        unit: &Unit<N>,
        queries: &mut [f32; FEATURES * QUERIES],
        scores: &mut [f32; KEYS * QUERIES],
    ) {
        let tokens = self.input.width;
        let vectors = unit.queries.len().div_ceil(LANES);
        let mut largest = [simd.splat(f32::NEG_INFINITY); 2];
        let mut total = [simd.splat(0.0); 2];
        let (mut before, mut after) = ([1.0f32; QUERIES], [1.0f32; QUERIES]);
        for start in (0..tokens).step_by(KEYS) {
            let keys = start..tokens.min(start + KEYS);
            // SAFETY: the caller's promise; there are at most as many keys as the scores have rows.
            unsafe {
                self.scores::<S, N, PAIRED>(simd, unit, keys.clone(), queries, scores);
                for vector in 0..vectors {
                    let column = scores.as_mut_ptr().add(vector * LANES);
                    let old = largest[vector];
                    largest[vector] = maximum(simd, column, keys.len(), old);
                    let change = simd.add(old, simd.multiply(largest[vector], simd.splat(-1.0)));
                    let factor = functions::exp(simd, change);
                    let sum = if PAIRED {
                        paired_exponentials(simd, column, keys.len(), largest[vector])
                    } else {
                        exponentials(simd, column, keys.len(), largest[vector])
                    };
                    total[vector] = simd.multiply_add(total[vector], factor, sum);
                    simd.store(before.as_mut_ptr().add(vector * LANES), factor);
                    if keys.end == tokens {
                        let inverse = simd.divide(simd.splat(1.0), total[vector]);
                        simd.store(after.as_mut_ptr().add(vector * LANES), inverse);
                    }
                }
                let weights = Weights { scores: scores.as_ptr(), keys, before: &before, after: &after };
                if self.head().is_multiple_of(LANES) {
                    self.weigh::<S, N, PAIRED>(simd, unit, &weights);
                } else {
                    self.weigh_copied(simd, unit, &weights);
                }
            }
        }
    }

    /// Scores of a stretch of keys with all queries of a unit.
    ///
    /// # Safety
    /// As for [`Self::unit`]; at most [`KEYS`] keys, all of them tokens.
    #[inline(always)]
    unsafe fn scores<S: Simd, N: Number, const PAIRED: bool>(
        &self,
        simd: S,
        unit: &Unit<N>,
        keys: Range<usize>,
        queries: &mut [f32; FEATURES * QUERIES],
        scores: &mut [f32; KEYS * QUERIES],
    ) {
        let vectors = unit.queries.len().div_ceil(LANES);
        let tiles = keys.len().div_ceil(S::PIXELS);
        let scale = self.scale();
        for feature in (0..self.head()).step_by(FEATURES) {
            let features = feature..self.head().min(feature + FEATURES);
            // SAFETY: the caller's promise; the tiles cover the keys and no more.
            unsafe {
                if keys.start == 0 || self.head() > FEATURES {
                    if PAIRED {
                        self.transpose_pairs(unit, features.clone(), queries);
                    } else {
                        self.transpose(unit, features.clone(), queries);
                    }
                }
                for tile in 0..tiles {
                    let (first, end) = (tile * keys.len() / tiles, (tile + 1) * keys.len() / tiles);
                    for vector in (0..vectors).step_by(S::BLOCKS) {
                        let column = first * QUERIES + vector * LANES;
                        let task = Products {
                            keys: unit.input.add((keys.start + first) * LANES),
                            features: features.clone(),
                            channel: self.output.channels + unit.channel,
                            queries: queries.as_ptr().add(vector * LANES),
                            scores: scores.as_mut_ptr().add(column),
                            scale,
                        };
                        if S::BLOCKS.min(vectors - vector) == 2 {
                            products_of_any_size::<S, N, 2, PAIRED>(simd, self, &task, end - first);
                        } else {
                            products_of_any_size::<S, N, 1, PAIRED>(simd, self, &task, end - first);
                        }
                    }
                }
            }
        }
    }

    /// Writes features of the queries as `[features][queries]`, scaled by `1 / √d`; 0 where there is no query.
    ///
    /// # Safety
    /// As for [`Self::unit`]; at most [`FEATURES`] features.
    #[inline(always)]
    unsafe fn transpose<N: Number>(
        &self,
        unit: &Unit<N>,
        features: Range<usize>,
        queries: &mut [f32; FEATURES * QUERIES],
    ) {
        let scale = self.scale();
        for (row, feature) in queries.chunks_exact_mut(QUERIES).zip(features) {
            let from = unit.input.wrapping_add(self.channel(unit.channel + feature));
            for (query, to) in row.iter_mut().enumerate() {
                *to = 0.0;
                if query < unit.queries.len() {
                    // SAFETY: the query is a token of the image, and the feature one of its channels.
                    *to = scale * unsafe { (*from.add((unit.queries.start + query) * LANES)).value() };
                }
            }
        }
    }

    /// Writes features of the queries as `[features / 2][queries][2]`, as they are; 0 where there is no query.
    ///
    /// # Safety
    /// As for [`Self::unit`]; an even number of features, at most [`FEATURES`], from an even one on. The numbers must be
    /// of bfloat16.
    #[inline(always)]
    unsafe fn transpose_pairs<N: Number>(
        &self,
        unit: &Unit<N>,
        features: Range<usize>,
        queries: &mut [f32; FEATURES * QUERIES],
    ) {
        for (row, feature) in queries.chunks_exact_mut(QUERIES).zip(features.step_by(2)) {
            let from = unit.input.wrapping_add(self.channel(unit.channel + feature));
            for (query, to) in row.iter_mut().enumerate() {
                *to = 0.0;
                if query < unit.queries.len() {
                    // SAFETY: the query is a token of the image, and both features are channels of its block; a pair has
                    // the size of a binary32, which allows all bits.
                    *to = unsafe {
                        from.add((unit.queries.start + query) * LANES).cast::<f32>().read_unaligned()
                    };
                }
            }
        }
    }

    /// Adds up values where they lie.
    ///
    /// # Safety
    /// As for [`Self::unit`]; the head's length must be a multiple of a block.
    #[inline(always)]
    unsafe fn weigh<S: Simd, N: Number, const PAIRED: bool>(
        &self,
        simd: S,
        unit: &Unit<N>,
        weights: &Weights<'_>,
    ) {
        let blocks = self.head() / LANES;
        for block in (0..blocks).step_by(S::BLOCKS) {
            let channel = unit.channel + block * LANES;
            // SAFETY: the caller's promise.
            unsafe {
                let sum = Sum {
                    values: unit
                        .input
                        .add(self.channel(2 * self.output.channels + channel) + weights.keys.start * LANES),
                    value_plane: self.input.plane(),
                    results: unit
                        .output
                        .add(channel / LANES * self.output.plane() + unit.queries.start * LANES),
                    result_plane: self.output.plane(),
                };
                if S::BLOCKS.min(blocks - block) == 2 {
                    sums::<S, N, 2, PAIRED>(simd, weights, &sum, unit.queries.len());
                } else {
                    sums::<S, N, 1, PAIRED>(simd, weights, &sum, unit.queries.len());
                }
            }
        }
    }

    /// As [`Self::weigh`] for any length of a head, through copies of the values and results.
    ///
    /// # Safety
    /// As for [`Self::unit`].
    #[inline(always)]
    unsafe fn weigh_copied<S: Simd, N: Number>(&self, simd: S, unit: &Unit<N>, weights: &Weights<'_>) {
        let mut values = Scratch::<{ KEYS * LANES }>::zeroed();
        let mut results = Scratch::<{ QUERIES * LANES }>::zeroed();
        for first in (0..self.head()).step_by(LANES) {
            let lanes = LANES.min(self.head() - first);
            // SAFETY: the caller's promise; the channels are the head's, in the input and in the output.
            unsafe {
                for lane in 0..lanes {
                    let channel = unit.channel + first + lane;
                    let from = unit.input.add(self.channel(2 * self.output.channels + channel));
                    for (row, key) in values.0.chunks_exact_mut(LANES).zip(weights.keys.clone()) {
                        row[lane] = (*from.add(key * LANES)).value();
                    }
                    let old = unit.output.add(channel / LANES * self.output.plane() + channel % LANES);
                    for (row, query) in results.0.chunks_exact_mut(LANES).zip(unit.queries.clone()) {
                        row[lane] = (*old.add(query * LANES)).value();
                    }
                }
                let sum = Sum {
                    values: values.0.as_ptr(),
                    value_plane: 0,
                    results: results.0.as_mut_ptr(),
                    result_plane: 0,
                };
                sums::<S, f32, 1, false>(simd, weights, &sum, unit.queries.len());
                for lane in 0..lanes {
                    let channel = unit.channel + first + lane;
                    let to = unit.output.add(channel / LANES * self.output.plane() + channel % LANES);
                    for (row, query) in results.0.chunks_exact(LANES).zip(unit.queries.clone()) {
                        *to.add(query * LANES) = N::new(row[lane]);
                    }
                }
            }
        }
    }
}

/// The largest score of each query, and `largest` counted.
///
/// # Safety
/// `column` must point to a vector in each of `keys` rows.
#[inline(always)]
unsafe fn maximum<S: Simd>(simd: S, column: *const f32, keys: usize, largest: S::Vector) -> S::Vector {
    let mut largest = largest;
    for key in 0..keys {
        // SAFETY: the caller's promise.
        largest = simd.maximum(largest, unsafe { simd.load(column.add(key * QUERIES)) });
    }
    largest
}

/// Replaces scores by `exp(score − largest)` and returns their sum.
///
/// # Safety
/// As for [`maximum`], for writing.
#[inline(always)]
unsafe fn exponentials<S: Simd>(simd: S, column: *mut f32, keys: usize, largest: S::Vector) -> S::Vector {
    let shift = simd.multiply(largest, simd.splat(-1.0));
    let mut sum = simd.splat(0.0);
    for key in 0..keys {
        // SAFETY: the caller's promise.
        unsafe {
            let place = column.add(key * QUERIES);
            let power = functions::exp(simd, simd.add(simd.load(place), shift));
            simd.store(place, power);
            sum = simd.add(sum, power);
        }
    }
    sum
}

/// As [`exponentials`], rounded; the weights of two neighbouring keys stand as pairs in the row of the first. A last one
/// alone is paired with zeros.
///
/// # Safety
/// As for [`exponentials`].
#[inline(always)]
unsafe fn paired_exponentials<S: Simd>(
    simd: S,
    column: *mut f32,
    keys: usize,
    largest: S::Vector,
) -> S::Vector {
    let shift = simd.multiply(largest, simd.splat(-1.0));
    let mut sum = simd.splat(0.0);
    for key in (0..keys).step_by(2) {
        // SAFETY: the caller's promise.
        unsafe {
            let place = column.add(key * QUERIES);
            let first = functions::exp(simd, simd.add(simd.load(place), shift));
            let mut second = simd.splat(0.0);
            if key + 1 < keys {
                second = functions::exp(simd, simd.add(simd.load(place.add(QUERIES)), shift));
            }
            simd.store_interleaved(place.cast(), first, second);
            sum = simd.add(simd.add(sum, first), second);
        }
    }
    sum
}

/// A tile of dot products: some keys with one or two vectors of queries.
struct Products<N> {
    /// The first key's token.
    keys: *const N,
    features: Range<usize>,
    /// First channel of the head's keys.
    channel: usize,
    queries: *const f32,
    scores: *mut f32,
    /// What products of pairs are multiplied by.
    scale: f32,
}

/// # Safety
/// As for [`products`], for the first `count` keys.
#[inline(always)]
unsafe fn products_of_any_size<S: Simd, N: Number, const B: usize, const PAIRED: bool>(
    simd: S,
    attention: &Attention,
    task: &Products<N>,
    count: usize,
) {
    for_tile_size!(S, B, count, P => {
        simd.call(&ProductsOf::<N, P, B, PAIRED> { attention, task });
    });
}

/// The products of `P` keys with `B` vectors of queries; only [`products_of_any_size`] makes one.
struct ProductsOf<'a, N, const P: usize, const B: usize, const PAIRED: bool> {
    attention: &'a Attention,
    task: &'a Products<N>,
}

impl<N: Number, const P: usize, const B: usize, const PAIRED: bool> Kernel
    for ProductsOf<'_, N, P, B, PAIRED>
{
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        // SAFETY: the promise of `products_of_any_size`'s caller.
        unsafe {
            if PAIRED {
                products_of_pairs::<S, N, P, B>(simd, self.attention, self.task);
            } else {
                products::<S, N, P, B>(simd, self.attention, self.task);
            }
        }
    }
}

/// # Safety
/// `P` tokens must be readable from `keys` in every feature's block, `B` vectors in each row of the queries, and `P` rows
/// of `B` vectors writable at `scores`.
#[inline(always)]
unsafe fn products<S: Simd, N: Number, const P: usize, const B: usize>(
    simd: S,
    attention: &Attention,
    task: &Products<N>,
) {
    let mut sums = [[simd.splat(0.0); B]; P];
    // SAFETY: the caller's promise.
    unsafe {
        // Features after the first stretch are added to what is there.
        if task.features.start > 0 {
            for key in 0..P {
                for block in 0..B {
                    sums[key][block] = simd.load(task.scores.add(key * QUERIES + block * LANES));
                }
            }
        }
        let mut queries = task.queries;
        for feature in task.features.clone() {
            let keys = task.keys.add(attention.channel(task.channel + feature));
            let mut query = [simd.splat(0.0); B];
            for block in 0..B {
                query[block] = simd.load(queries.add(block * LANES));
            }
            for key in 0..P {
                let value = simd.splat((*keys.add(key * LANES)).value());
                for block in 0..B {
                    sums[key][block] = simd.multiply_add(value, query[block], sums[key][block]);
                }
            }
            queries = queries.add(QUERIES);
        }
        for key in 0..P {
            for block in 0..B {
                simd.store(task.scores.add(key * QUERIES + block * LANES), sums[key][block]);
            }
        }
    }
}

/// As [`products`], of pairs of features and not scaled yet.
///
/// # Safety
/// As for [`products`]; the numbers must be of bfloat16, and the queries pairs of features.
#[inline(always)]
unsafe fn products_of_pairs<S: Simd, N: Number, const P: usize, const B: usize>(
    simd: S,
    attention: &Attention,
    task: &Products<N>,
) {
    let mut sums = [[simd.splat(0.0); B]; P];
    let scale = simd.splat(task.scale);
    // SAFETY: the caller's promise; a pair of queries has the size of a binary32.
    unsafe {
        let mut queries = task.queries;
        for feature in task.features.clone().step_by(2) {
            let keys = task.keys.add(attention.channel(task.channel + feature)).cast::<BFloat16>();
            let mut query = [simd.load_pairs(queries.cast()); B];
            for block in 1..B {
                query[block] = simd.load_pairs(queries.add(block * LANES).cast());
            }
            for key in 0..P {
                let value = simd.splat_pair(keys.add(key * LANES));
                for block in 0..B {
                    sums[key][block] = simd.multiply_add_pairs(value, query[block], sums[key][block]);
                }
            }
            queries = queries.add(QUERIES);
        }
        for key in 0..P {
            for block in 0..B {
                let place = task.scores.add(key * QUERIES + block * LANES);
                // Features after the first stretch are added to what is there.
                let before = if task.features.start > 0 { simd.load(place) } else { simd.splat(0.0) };
                simd.store(place, simd.multiply_add(sums[key][block], scale, before));
            }
        }
    }
}

/// What the values of a stretch of keys are multiplied by.
struct Weights<'a> {
    scores: *const f32,
    keys: Range<usize>,
    /// Scales the sums of the stretches before.
    before: &'a [f32; QUERIES],
    /// Scales the result: one over the sum of all weights at the end.
    after: &'a [f32; QUERIES],
}

/// Where a sum's values and results lie: a vector a token, blocks at the distance of a plane.
struct Sum<N> {
    values: *const N,
    value_plane: usize,
    results: *mut N,
    result_plane: usize,
}

/// Weighted sums of `B` blocks of the values for the first `count` queries.
///
/// # Safety
/// Weights and sum must describe valid memory for the keys and for `count` queries, at most [`QUERIES`].
#[inline(always)]
unsafe fn sums<S: Simd, N: Number, const B: usize, const PAIRED: bool>(
    simd: S,
    weights: &Weights<'_>,
    sum: &Sum<N>,
    count: usize,
) {
    let tiles = count.div_ceil(S::PIXELS);
    for tile in 0..tiles {
        let (first, end) = (tile * count / tiles, (tile + 1) * count / tiles);
        for_tile_size!(S, B, end - first, P => {
            simd.call(&Weighted::<N, P, B, PAIRED> { weights, sum, first });
        });
    }
}

/// The sums of `P` queries from the first on; only [`sums`] makes one.
struct Weighted<'a, N, const P: usize, const B: usize, const PAIRED: bool> {
    weights: &'a Weights<'a>,
    sum: &'a Sum<N>,
    first: usize,
}

impl<N: Number, const P: usize, const B: usize, const PAIRED: bool> Kernel for Weighted<'_, N, P, B, PAIRED> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        // SAFETY: the promise of `sums`' caller.
        unsafe { weighted::<S, N, P, B, PAIRED>(simd, self.weights, self.sum, self.first) }
    }
}

/// # Safety
/// As for [`sums`], for the queries `first..first + P`.
#[inline(always)]
unsafe fn weighted<S: Simd, N: Number, const P: usize, const B: usize, const PAIRED: bool>(
    simd: S,
    weights: &Weights<'_>,
    sum: &Sum<N>,
    first: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let results = sum.results.add(first * LANES);
        let mut sums = [[simd.splat(0.0); B]; P];
        if weights.keys.start > 0 {
            for query in 0..P {
                let factor = simd.splat(weights.before[first + query]);
                for block in 0..B {
                    let old = N::load(simd, results.add(query * LANES + block * sum.result_plane));
                    sums[query][block] = simd.multiply(old, factor);
                }
            }
        }
        if PAIRED {
            add_pairs::<S, N, P, B>(simd, weights, sum, first, &mut sums);
        } else {
            add_singly::<S, N, P, B>(simd, weights, sum, first, &mut sums);
        }
        for query in 0..P {
            let factor = simd.splat(weights.after[first + query]);
            for block in 0..B {
                let result = simd.multiply(sums[query][block], factor);
                N::store(simd, results.add(query * LANES + block * sum.result_plane), result);
            }
        }
    }
}

/// Adds the weighted values of all keys.
///
/// # Safety
/// As for [`weighted`].
#[inline(always)]
unsafe fn add_singly<S: Simd, N: Number, const P: usize, const B: usize>(
    simd: S,
    weights: &Weights<'_>,
    sum: &Sum<N>,
    first: usize,
    sums: &mut [[S::Vector; B]; P],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (mut scores, mut values) = (weights.scores.add(first), sum.values);
        for _ in weights.keys.clone() {
            let mut value = [simd.splat(0.0); B];
            for block in 0..B {
                value[block] = N::load(simd, values.add(block * sum.value_plane));
            }
            for query in 0..P {
                let weight = simd.splat(*scores.add(query));
                for block in 0..B {
                    sums[query][block] = simd.multiply_add(weight, value[block], sums[query][block]);
                }
            }
            (scores, values) = (scores.add(QUERIES), values.add(LANES));
        }
    }
}

/// As [`add_singly`], two keys at a time.
///
/// # Safety
/// As for [`weighted`]; the values must be of bfloat16, and the weights pairs.
#[inline(always)]
unsafe fn add_pairs<S: Simd, N: Number, const P: usize, const B: usize>(
    simd: S,
    weights: &Weights<'_>,
    sum: &Sum<N>,
    first: usize,
    sums: &mut [[S::Vector; B]; P],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (mut scores, mut values) = (weights.scores.add(first), sum.values.cast::<BFloat16>());
        for key in (0..weights.keys.len()).step_by(2) {
            // A last key alone is its own partner, with a weight of zero.
            let partner = if key + 1 < weights.keys.len() { LANES } else { 0 };
            let mut value = [simd.load_interleaved(values, values.add(partner)); B];
            for block in 1..B {
                let low = values.add(block * sum.value_plane);
                value[block] = simd.load_interleaved(low, low.add(partner));
            }
            for query in 0..P {
                let weight = simd.splat_pair(scores.add(query).cast());
                for block in 0..B {
                    sums[query][block] = simd.multiply_add_pairs(weight, value[block], sums[query][block]);
                }
            }
            (scores, values) = (scores.add(2 * QUERIES), values.add(2 * LANES));
        }
    }
}
