//! Batch normalisation by the statistics of the batch or by stored ones, and its gradient.
//!
//! `y = (x − mean) / sqrt(variance + epsilon) · weight + bias`, with the mean and the biased variance of each channel over
//! images and pixels (Ioffe and Szegedy 2015). Sums are of rows, images and the batch one after the other.

use std::ops::Range;

use super::{Gradient, Operands, row, scatter};
use crate::{
    InstructionSet,
    geometry::Geometry,
    kernels::Span,
    network::Clamp,
    simd::{self, Kernel, LANES, Simd},
};

/// Where the numbers of a layer lie among the shared ones: vectors of whole blocks, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statistics {
    pub(crate) start: usize,
    /// Numbers of a vector.
    pub(crate) size: usize,
}

/// What a vector of [`Statistics`] holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Vector {
    Weight,
    Bias,
    RunningMean,
    RunningVariance,
    /// Of the batch; the stored one where that is used.
    Mean,
    /// One over the deviation.
    InverseDeviation,
    /// Of the batch.
    Variance,
}

impl Statistics {
    pub(crate) const VECTORS: usize = 7;

    /// Place of a vector's first number.
    pub(crate) fn place(&self, vector: Vector) -> usize {
        self.start + vector as usize * self.size
    }
}

/// Reads the input.
#[derive(Debug)]
pub(crate) struct BatchNorm {
    pub(crate) input: Geometry,
    pub(crate) output: Geometry,
    pub(crate) statistics: Statistics,
    pub(crate) epsilon: f32,
    /// Whether the statistics are those of the batch.
    pub(crate) of_batch: bool,
    pub(crate) clamp: Clamp,
}

impl Gradient for BatchNorm {
    fn units(&self, _: usize) -> usize {
        self.output.blocks()
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Forward { step: self, operands, units });
    }
}

struct Forward<'a> {
    step: &'a BatchNorm,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let [input] = self.operands.reads else { return };
        for block in self.units.clone() {
            // SAFETY: the block lies in the images and the vectors; `Gradient::run`'s caller vouches for both.
            unsafe {
                if self.step.of_batch {
                    self.measure(simd, *input, block);
                } else {
                    self.take_stored(simd, block);
                }
                self.normalize(simd, *input, block);
            }
        }
    }
}

impl Forward<'_> {
    /// # Safety
    /// The vectors must have the block.
    #[inline(always)]
    unsafe fn place(&self, vector: Vector, block: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.operands.shared.state.add(self.step.statistics.place(vector) + block * LANES) }
    }

    /// # Safety
    /// The images must have the block.
    #[inline(always)]
    unsafe fn measure<S: Simd>(&self, simd: S, input: Span, block: usize) {
        let geometry = &self.step.input;
        let count = (self.operands.images * geometry.pixels()) as f32;
        let share = simd.splat(1.0 / count);
        // SAFETY: the caller's promise.
        unsafe {
            let mean = simd.multiply(sums(simd, input, geometry, self.operands.images, block), share);
            let shift = simd.multiply(mean, simd.splat(-1.0));
            let centred = Factor { span: input, geometry, shift };
            let squares = products(simd, [centred; 2], self.operands.images, block);
            let variance = simd.multiply(squares, share);
            simd.store(self.place(Vector::Mean, block), mean);
            simd.store(self.place(Vector::Variance, block), variance);
            self.store_inverse(simd, variance, block);
        }
    }

    /// # Safety
    /// The vectors must have the block.
    #[inline(always)]
    unsafe fn take_stored<S: Simd>(&self, simd: S, block: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            simd.store(self.place(Vector::Mean, block), simd.load(self.place(Vector::RunningMean, block)));
            self.store_inverse(simd, simd.load(self.place(Vector::RunningVariance, block)), block);
        }
    }

    /// # Safety
    /// The vectors must have the block.
    #[inline(always)]
    unsafe fn store_inverse<S: Simd>(&self, simd: S, variance: S::Vector, block: usize) {
        let inverse = simd.lanes(variance).map(|variance| 1.0 / (variance + self.step.epsilon).sqrt());
        // SAFETY: the caller's promise.
        unsafe {
            simd.store(self.place(Vector::InverseDeviation, block), simd.load(inverse.as_ptr()));
        }
    }

    /// # Safety
    /// The images and the vectors must have the block.
    #[inline(always)]
    unsafe fn normalize<S: Simd>(&self, simd: S, input: Span, block: usize) {
        let BatchNorm { input: from, output: to, clamp, .. } = self.step;
        let (low, high) = (simd.splat(clamp.low), simd.splat(clamp.high));
        // SAFETY: the caller's promise.
        unsafe {
            let scale = simd.multiply(
                simd.load(self.place(Vector::InverseDeviation, block)),
                simd.load(self.place(Vector::Weight, block)),
            );
            let minus = simd.multiply(simd.load(self.place(Vector::Mean, block)), simd.splat(-1.0));
            let shift = simd.load(self.place(Vector::Bias, block));
            for image in 0..self.operands.images {
                for y in 0..to.height {
                    let line = row(input, from, [image, block, y]);
                    let result = row(self.operands.output, to, [image, block, y]);
                    for x in 0..to.width {
                        let centred = simd.add(simd.load(line.add(x * LANES)), minus);
                        let value = simd.multiply_add(centred, scale, shift);
                        simd.store(result.add(x * LANES), simd.clamp(value, low, high));
                    }
                }
            }
        }
    }
}

/// A value, and what is added to its numbers.
#[derive(Clone, Copy)]
struct Factor<'a, S: Simd> {
    span: Span,
    geometry: &'a Geometry,
    shift: S::Vector,
}

/// Sums of a block of a value over pixels and images.
///
/// # Safety
/// The images must have the block.
#[inline(always)]
unsafe fn sums<S: Simd>(simd: S, span: Span, geometry: &Geometry, images: usize, block: usize) -> S::Vector {
    let mut total = simd.splat(0.0);
    for image in 0..images {
        let mut sum = simd.splat(0.0);
        for y in 0..geometry.height {
            let mut of_row = simd.splat(0.0);
            // SAFETY: the caller's promise.
            unsafe {
                let line = row(span, geometry, [image, block, y]);
                for x in 0..geometry.width {
                    of_row = simd.add(of_row, simd.load(line.add(x * LANES)));
                }
            }
            sum = simd.add(sum, of_row);
        }
        total = simd.add(total, sum);
    }
    total
}

/// Sums of products of a block of two values.
///
/// # Safety
/// The images must have the block.
#[inline(always)]
unsafe fn products<S: Simd>(simd: S, factors: [Factor<'_, S>; 2], images: usize, block: usize) -> S::Vector {
    let [left, right] = factors;
    let mut total = simd.splat(0.0);
    for image in 0..images {
        let mut sum = simd.splat(0.0);
        for y in 0..left.geometry.height {
            let mut of_row = simd.splat(0.0);
            // SAFETY: the caller's promise.
            unsafe {
                let lefts = row(left.span, left.geometry, [image, block, y]);
                let rights = row(right.span, right.geometry, [image, block, y]);
                for x in 0..left.geometry.width {
                    let a = simd.add(simd.load(lefts.add(x * LANES)), left.shift);
                    let b = simd.add(simd.load(rights.add(x * LANES)), right.shift);
                    of_row = simd.multiply_add(a, b, of_row);
                }
            }
            sum = simd.add(sum, of_row);
        }
        total = simd.add(total, sum);
    }
    total
}

/// Reads the gradient of the output and the input.
#[derive(Debug)]
pub(crate) struct BatchNormGradient {
    pub(crate) from: Geometry,
    pub(crate) input: Geometry,
    /// The gradient of the input, if it is wanted.
    pub(crate) to: Option<Geometry>,
    pub(crate) statistics: Statistics,
    pub(crate) of_batch: bool,
    /// Places of the gradients of weight and bias, if they are wanted.
    pub(crate) weight: Option<usize>,
    pub(crate) bias: Option<usize>,
}

impl Gradient for BatchNormGradient {
    fn units(&self, _: usize) -> usize {
        self.from.blocks()
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Backward { step: self, operands, units });
    }
}

struct Backward<'a> {
    step: &'a BatchNormGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Backward<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let [gradient, input] = self.operands.reads else { return };
        for block in self.units.clone() {
            // SAFETY: as above.
            unsafe {
                let [sum, product] = self.sums(simd, [*gradient, *input], block);
                let count = LANES.min(self.step.from.channels - block * LANES);
                let places = [(self.step.bias, sum), (self.step.weight, product)];
                for (place, numbers) in places {
                    if let Some(place) = place {
                        let to = self.operands.shared.gradients.add(place + block * LANES);
                        scatter(simd.lanes(numbers), count, to, 1);
                    }
                }
                if let Some(to) = &self.step.to {
                    self.inputs(simd, [*gradient, *input], to, block, [sum, product]);
                }
            }
        }
    }
}

impl Backward<'_> {
    /// # Safety
    /// The vectors must have the block.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, simd: S, vector: Vector, block: usize) -> S::Vector {
        let place = self.step.statistics.place(vector) + block * LANES;
        // SAFETY: the caller's promise.
        unsafe { simd.load(self.operands.shared.state.add(place)) }
    }

    /// Sums of the gradients, and of their products with the normalised input.
    ///
    /// # Safety
    /// The images and the vectors must have the block.
    #[inline(always)]
    unsafe fn sums<S: Simd>(&self, simd: S, [gradient, input]: [Span; 2], block: usize) -> [S::Vector; 2] {
        let BatchNormGradient { from, input: of_input, .. } = self.step;
        let images = self.operands.images;
        // SAFETY: the caller's promise.
        unsafe {
            let minus = simd.multiply(self.load(simd, Vector::Mean, block), simd.splat(-1.0));
            let inverse = self.load(simd, Vector::InverseDeviation, block);
            let sum = sums(simd, gradient, from, images, block);
            let gradient = Factor { span: gradient, geometry: from, shift: simd.splat(0.0) };
            let input = Factor { span: input, geometry: of_input, shift: minus };
            let product = products(simd, [gradient, input], images, block);
            [sum, simd.multiply(product, inverse)]
        }
    }

    /// # Safety
    /// As for [`Self::sums`].
    #[inline(always)]
    unsafe fn inputs<S: Simd>(
        &self,
        simd: S,
        [gradient, input]: [Span; 2],
        to: &Geometry,
        block: usize,
        [sum, product]: [S::Vector; 2],
    ) {
        let BatchNormGradient { from, input: of_input, of_batch, .. } = self.step;
        let share = if *of_batch { -1.0 / (self.operands.images * from.pixels()) as f32 } else { 0.0 };
        // SAFETY: the caller's promise.
        unsafe {
            let minus = simd.multiply(self.load(simd, Vector::Mean, block), simd.splat(-1.0));
            let inverse = self.load(simd, Vector::InverseDeviation, block);
            let scale = simd.multiply(inverse, self.load(simd, Vector::Weight, block));
            let constant = simd.multiply(sum, simd.splat(share));
            let slope = simd.multiply(simd.multiply(product, inverse), simd.splat(share));
            for image in 0..self.operands.images {
                for y in 0..from.height {
                    let gradients = row(gradient, from, [image, block, y]);
                    let values = row(input, of_input, [image, block, y]);
                    let result = row(self.operands.output, to, [image, block, y]);
                    for x in 0..from.width {
                        let centred = simd.add(simd.load(values.add(x * LANES)), minus);
                        let rest = simd.multiply_add(centred, slope, constant);
                        let whole = simd.add(simd.load(gradients.add(x * LANES)), rest);
                        simd.store(result.add(x * LANES), simd.multiply(whole, scale));
                    }
                }
            }
        }
    }
}
