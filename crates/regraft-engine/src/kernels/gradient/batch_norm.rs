//! Batch normalisation by the statistics of the batch or by stored ones, and its gradient.
//!
//! `y = (x − mean) / sqrt(variance + epsilon) · weight + bias`, with the mean and the biased variance of each channel over
//! images and pixels (Ioffe and Szegedy 2015). Sums are of rows, images and the batch one after the other. The images are
//! larger than the caches and go by as few times as can be: forward once for mean and variance and once for the result, back
//! once for both sums and once for the result. The gradient of the clamp behind is made on the way from the input.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(clippy::indexing_slicing, reason = "indices below the constant number of sums")]

use std::ops::Range;

use super::{Gradient, Operands, clamp::inside, row, scatter};
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

/// Reads the input, and what is added to the result.
#[derive(Debug)]
pub(crate) struct BatchNorm {
    pub(crate) input: Geometry,
    pub(crate) residual: Option<Geometry>,
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
        let [input, residual @ ..] = self.operands.reads else { return };
        for block in self.units.clone() {
            // SAFETY: the block lies in the images and the vectors; `Gradient::run`'s caller vouches for both.
            unsafe {
                if self.step.of_batch {
                    self.measure(simd, *input, block);
                } else {
                    self.take_stored(simd, block);
                }
                // A constant, so that the loop over pixels has no condition in it.
                match residual {
                    [residual, ..] => self.normalize::<S, true>(simd, [*input, *residual], block),
                    [] => self.normalize::<S, false>(simd, [*input; 2], block),
                }
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
        let of_image = geometry.pixels() as f32;
        // SAFETY: the caller's promise.
        unsafe {
            let [mut mean, mut squares] = [simd.splat(0.0); 2];
            for image in 0..self.operands.images {
                // An image stays in the second-level cache from its mean to its deviations. Sums of squares around the means
                // of two parts become one around their common mean (Chan, Golub and LeVeque 1979).
                let sum = sum(simd, input, geometry, [image, block]);
                let of_this = simd.multiply(sum, simd.splat(1.0 / of_image));
                let deviations = deviations(simd, input, geometry, [image, block], of_this);
                let apart = simd.multiply_add(mean, simd.splat(-1.0), of_this);
                let share = 1.0 / (image + 1) as f32;
                mean = simd.multiply_add(apart, simd.splat(share), mean);
                let between = simd.splat(of_image * image as f32 * share);
                squares =
                    simd.add(squares, simd.multiply_add(simd.multiply(apart, apart), between, deviations));
            }
            let variance = simd.multiply(squares, simd.splat(1.0 / (self.operands.images as f32 * of_image)));
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
    unsafe fn normalize<S: Simd, const RESIDUAL: bool>(
        &self,
        simd: S,
        [input, residual]: [Span; 2],
        block: usize,
    ) {
        let BatchNorm { input: from, output: to, clamp, .. } = self.step;
        let added = self.step.residual.as_ref().unwrap_or(from);
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
                    let other = row(residual, added, [image, block, y]);
                    let result = row(self.operands.output, to, [image, block, y]);
                    for x in 0..to.width {
                        let centred = simd.add(simd.load(line.add(x * LANES)), minus);
                        let mut value = simd.multiply_add(centred, scale, shift);
                        if RESIDUAL {
                            value = simd.add(value, simd.load(other.add(x * LANES)));
                        }
                        simd.store(result.add(x * LANES), simd.clamp(value, low, high));
                    }
                }
            }
        }
    }
}

/// Sums that grow side by side, because an addition waits for the one before it.
const SUMS: usize = 4;

/// Sum of a block of an image.
///
/// # Safety
/// The image must have the block.
#[inline(always)]
unsafe fn sum<S: Simd>(simd: S, span: Span, geometry: &Geometry, [image, block]: [usize; 2]) -> S::Vector {
    let mut sums = [simd.splat(0.0); SUMS];
    for y in 0..geometry.height {
        // SAFETY: the caller's promise.
        unsafe {
            let line = row(span, geometry, [image, block, y]);
            let whole = geometry.width / SUMS * SUMS;
            for x in (0..whole).step_by(SUMS) {
                for index in 0..SUMS {
                    sums[index] = simd.add(sums[index], simd.load(line.add((x + index) * LANES)));
                }
            }
            for x in whole..geometry.width {
                sums[0] = simd.add(sums[0], simd.load(line.add(x * LANES)));
            }
        }
    }
    total(simd, sums)
}

/// Sum of the squares of a block's distances from a mean.
///
/// # Safety
/// The image must have the block.
#[inline(always)]
unsafe fn deviations<S: Simd>(
    simd: S,
    span: Span,
    geometry: &Geometry,
    [image, block]: [usize; 2],
    mean: S::Vector,
) -> S::Vector {
    let (mut sums, minus) = ([simd.splat(0.0); SUMS], simd.multiply(mean, simd.splat(-1.0)));
    for y in 0..geometry.height {
        // SAFETY: the caller's promise.
        unsafe {
            let line = row(span, geometry, [image, block, y]);
            let whole = geometry.width / SUMS * SUMS;
            for x in (0..whole).step_by(SUMS) {
                for index in 0..SUMS {
                    let apart = simd.add(simd.load(line.add((x + index) * LANES)), minus);
                    sums[index] = simd.multiply_add(apart, apart, sums[index]);
                }
            }
            for x in whole..geometry.width {
                let apart = simd.add(simd.load(line.add(x * LANES)), minus);
                sums[0] = simd.multiply_add(apart, apart, sums[0]);
            }
        }
    }
    total(simd, sums)
}

#[inline(always)]
fn total<S: Simd>(simd: S, [a, b, c, d]: [S::Vector; SUMS]) -> S::Vector {
    simd.add(simd.add(a, b), simd.add(c, d))
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
    /// What the forward step ends with.
    pub(crate) clamp: Clamp,
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
        // Constants, so that a loop over pixels has no condition in it.
        if self.step.clamp == Clamp::NONE {
            self.blocks::<S, false>(simd);
        } else {
            self.blocks::<S, true>(simd);
        }
    }
}

/// What all pixels of a block are computed with.
#[derive(Clone, Copy)]
struct Channels<S: Simd> {
    minus_mean: S::Vector,
    inverse: S::Vector,
    scale: S::Vector,
    shift: S::Vector,
}

impl Backward<'_> {
    #[inline(always)]
    fn blocks<S: Simd, const CLAMPED: bool>(&self, simd: S) {
        let [gradient, input] = self.operands.reads else { return };
        for block in self.units.clone() {
            // SAFETY: the block lies in the images and the vectors; `Gradient::run`'s caller vouches for both.
            unsafe {
                let channels = self.channels(simd, block);
                let sums = self.sums::<S, CLAMPED>(simd, [*gradient, *input], block, &channels);
                self.store_parameters(simd, block, sums);
                if let Some(to) = &self.step.to {
                    self.inputs::<S, CLAMPED>(simd, [*gradient, *input], to, block, (&channels, sums));
                }
            }
        }
    }

    /// # Safety
    /// The vectors must have the block.
    #[inline(always)]
    unsafe fn channels<S: Simd>(&self, simd: S, block: usize) -> Channels<S> {
        // SAFETY: the caller's promise.
        unsafe {
            let inverse = self.load(simd, Vector::InverseDeviation, block);
            Channels {
                minus_mean: simd.multiply(self.load(simd, Vector::Mean, block), simd.splat(-1.0)),
                inverse,
                scale: simd.multiply(inverse, self.load(simd, Vector::Weight, block)),
                shift: self.load(simd, Vector::Bias, block),
            }
        }
    }

    /// # Safety
    /// The vectors must have the block.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, simd: S, vector: Vector, block: usize) -> S::Vector {
        let place = self.step.statistics.place(vector) + block * LANES;
        // SAFETY: the caller's promise.
        unsafe { simd.load(self.operands.shared.state.add(place)) }
    }

    /// A pixel's gradient in front of the clamp, and its input without the mean.
    ///
    /// # Safety
    /// Both must be readable.
    #[inline(always)]
    unsafe fn pixel<S: Simd, const CLAMPED: bool>(
        &self,
        simd: S,
        [gradient, input]: [*const f32; 2],
        channels: &Channels<S>,
    ) -> [S::Vector; 2] {
        // SAFETY: the caller's promise.
        let (gradient, input) = unsafe { (simd.load(gradient), simd.load(input)) };
        let centred = simd.add(input, channels.minus_mean);
        if !CLAMPED {
            return [gradient, centred];
        }
        // As forward, bit for bit.
        let output = simd.multiply_add(centred, channels.scale, channels.shift);
        [inside(simd, output, self.step.clamp, gradient), centred]
    }

    /// Sums of the gradients, and of their products with the normalised input.
    ///
    /// # Safety
    /// The images and the vectors must have the block.
    #[inline(always)]
    unsafe fn sums<S: Simd, const CLAMPED: bool>(
        &self,
        simd: S,
        spans: [Span; 2],
        block: usize,
        channels: &Channels<S>,
    ) -> [S::Vector; 2] {
        let mut total = [simd.splat(0.0); 2];
        for image in 0..self.operands.images {
            let mut of_image = [simd.splat(0.0); 2];
            for y in 0..self.step.from.height {
                // SAFETY: the caller's promise.
                unsafe {
                    let of_row = self.row_sums::<S, CLAMPED>(simd, spans, [image, block, y], channels);
                    of_image = [simd.add(of_image[0], of_row[0]), simd.add(of_image[1], of_row[1])];
                }
            }
            total = [simd.add(total[0], of_image[0]), simd.add(total[1], of_image[1])];
        }
        [total[0], simd.multiply(total[1], channels.inverse)]
    }

    /// # Safety
    /// The images must have the row.
    #[inline(always)]
    unsafe fn row_sums<S: Simd, const CLAMPED: bool>(
        &self,
        simd: S,
        [gradient, input]: [Span; 2],
        place: [usize; 3],
        channels: &Channels<S>,
    ) -> [S::Vector; 2] {
        let BatchNormGradient { from, input: of_input, .. } = self.step;
        let (mut sums, mut products) = ([simd.splat(0.0); SUMS], [simd.splat(0.0); SUMS]);
        // SAFETY: the caller's promise.
        unsafe {
            let gradients = row(gradient, from, place).cast_const();
            let values = row(input, of_input, place).cast_const();
            let mut first = 0;
            while first < from.width {
                let count = SUMS.min(from.width - first);
                for index in 0..SUMS {
                    if index < count {
                        let x = (first + index) * LANES;
                        let pixel = [gradients.add(x), values.add(x)];
                        let [gradient, centred] = self.pixel::<S, CLAMPED>(simd, pixel, channels);
                        sums[index] = simd.add(sums[index], gradient);
                        products[index] = simd.multiply_add(gradient, centred, products[index]);
                    }
                }
                first += count;
            }
        }
        [total(simd, sums), total(simd, products)]
    }

    /// # Safety
    /// The step was given a place for each channel.
    #[inline(always)]
    unsafe fn store_parameters<S: Simd>(&self, simd: S, block: usize, [sum, product]: [S::Vector; 2]) {
        let count = LANES.min(self.step.from.channels - block * LANES);
        for (place, numbers) in [(self.step.bias, sum), (self.step.weight, product)] {
            if let Some(place) = place {
                // SAFETY: the caller's promise.
                unsafe {
                    let to = self.operands.shared.gradients.add(place + block * LANES);
                    scatter(simd.lanes(numbers), count, to, 1);
                }
            }
        }
    }

    /// # Safety
    /// As for [`Self::sums`].
    #[inline(always)]
    unsafe fn inputs<S: Simd, const CLAMPED: bool>(
        &self,
        simd: S,
        [gradient, input]: [Span; 2],
        to: &Geometry,
        block: usize,
        (channels, [sum, product]): (&Channels<S>, [S::Vector; 2]),
    ) {
        let BatchNormGradient { from, input: of_input, of_batch, .. } = self.step;
        let share = if *of_batch { -1.0 / (self.operands.images * from.pixels()) as f32 } else { 0.0 };
        let constant = simd.multiply(sum, simd.splat(share));
        let slope = simd.multiply(simd.multiply(product, channels.inverse), simd.splat(share));
        for image in 0..self.operands.images {
            for y in 0..from.height {
                // SAFETY: the caller's promise.
                unsafe {
                    let gradients = row(gradient, from, [image, block, y]);
                    let values = row(input, of_input, [image, block, y]);
                    let result = row(self.operands.output, to, [image, block, y]);
                    for x in 0..from.width {
                        let pixel =
                            [gradients.add(x * LANES).cast_const(), values.add(x * LANES).cast_const()];
                        let [gradient, centred] = self.pixel::<S, CLAMPED>(simd, pixel, channels);
                        let rest = simd.multiply_add(centred, slope, constant);
                        let whole = simd.multiply(simd.add(gradient, rest), channels.scale);
                        simd.store(result.add(x * LANES), whole);
                    }
                }
            }
        }
    }
}
