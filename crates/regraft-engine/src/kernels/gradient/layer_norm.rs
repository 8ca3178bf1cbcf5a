//! Gradient of layer normalisation with respect to its input. With `x̂` the normalised input and `h` the gradient times the
//! weight, it is `(h − mean(h) − x̂ · mean(h · x̂)) / deviation`, the means over the channels of a pixel (Ba, Kiros and Hinton
//! 2016).

use std::ops::Range;

use super::{Gradient, Operands};
use crate::{
    InstructionSet,
    buffer::Buffer,
    geometry::Geometry,
    kernels::{first_lanes, normalization, store_block},
    simd::{self, Kernel, LANES, Simd},
};

/// Mean and inverse deviation of each pixel, as the first channels of a value. Reads the input.
#[derive(Debug)]
pub(crate) struct Moments {
    pub(crate) input: Geometry,
    pub(crate) output: Geometry,
    pub(crate) epsilon: f64,
}

/// Sizes of the value that holds the moments of another one.
pub(crate) fn of_moments(input: &Geometry) -> Geometry {
    Geometry::blocked([2, input.height, input.width])
}

impl Gradient for Moments {
    fn units(&self, images: usize) -> usize {
        images * self.input.pixels()
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Measure { step: self, operands, units });
    }
}

struct Measure<'a> {
    step: &'a Moments,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Measure<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Moments { input, output, epsilon } = self.step;
        let [inputs] = self.operands.reads else { return };
        let count = input.channels as f64;
        for unit in self.units.clone() {
            let (image, [y, x]) = pixel_of(input, unit);
            // SAFETY: the pixel lies in the images; `Gradient::run`'s caller vouches for the operands.
            unsafe {
                let from = [inputs.at::<f32>(image).add(input.pixel(y, x)).cast_const()];
                let [sum] = normalization::sums::<S, f32, 1, false>(simd, input, from, [0.0]);
                let mean = (sum / count) as f32;
                let [squares] = normalization::sums::<S, f32, 1, true>(simd, input, from, [mean]);
                let mut moments = [0.0; LANES];
                let inverse = (1.0 / (squares / count + epsilon).sqrt()) as f32;
                moments.iter_mut().zip([mean, inverse]).for_each(|(to, moment)| *to = moment);
                store_block(
                    simd,
                    self.operands.output,
                    output,
                    [image, 0],
                    [y, x],
                    simd.load(moments.as_ptr()),
                );
            }
        }
    }
}

/// Reads the gradient of the output, the input and its moments.
#[derive(Debug)]
pub(crate) struct LayerNormGradient {
    pub(crate) from: Geometry,
    pub(crate) input: Geometry,
    pub(crate) moments: Geometry,
    pub(crate) to: Geometry,
    /// Padded by zeros to whole blocks, so that lanes without a channel add nothing to the means.
    pub(crate) weight: Buffer,
}

impl Gradient for LayerNormGradient {
    fn units(&self, images: usize) -> usize {
        images * self.to.pixels()
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        simd::launch(set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a LayerNormGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let LayerNormGradient { from, input, moments: geometry, to, .. } = self.step;
        let [gradients, inputs, moments] = self.operands.reads else { return };
        for unit in self.units.clone() {
            let (image, [y, x]) = pixel_of(to, unit);
            // SAFETY: the pixel lies in the images; `Gradient::run`'s caller vouches for the operands.
            unsafe {
                let moments = moments.at::<f32>(image).add(geometry.pixel(y, x));
                let pixel = Pixel {
                    gradient: gradients.at::<f32>(image).add(from.pixel(y, x)),
                    value: inputs.at::<f32>(image).add(input.pixel(y, x)),
                    minus: simd.splat(-*moments),
                    inverse: simd.splat(*moments.add(1)),
                };
                let means = self.means(simd, &pixel);
                for block in 0..to.blocks() {
                    let [scaled, normal] = self.block(simd, &pixel, block);
                    let rest = simd.multiply_add(normal, means[1], means[0]);
                    let result = simd.multiply(simd.add(scaled, rest), pixel.inverse);
                    store_block(simd, self.operands.output, to, [image, block], [y, x], result);
                }
            }
        }
    }
}

/// Where a pixel lies, and its moments.
struct Pixel<S: Simd> {
    gradient: *const f32,
    value: *const f32,
    minus: S::Vector,
    inverse: S::Vector,
}

impl Task<'_> {
    /// The negative means of the scaled gradient and of its product with the normalised input.
    ///
    /// # Safety
    /// The pixel must be one of the geometries.
    #[inline(always)]
    unsafe fn means<S: Simd>(&self, simd: S, pixel: &Pixel<S>) -> [S::Vector; 2] {
        let mut sums = [simd.splat(0.0); 2];
        for block in 0..self.step.to.blocks() {
            // SAFETY: the caller's promise.
            let [scaled, normal] = unsafe { self.block(simd, pixel, block) };
            sums = [simd.add(sums[0], scaled), simd.multiply_add(scaled, normal, sums[1])];
        }
        let share = -1.0 / self.step.to.channels as f64;
        sums.map(|sum| {
            let total: f64 = simd.lanes(sum).iter().map(|lane| f64::from(*lane)).sum();
            simd.splat((total * share) as f32)
        })
    }

    /// The scaled gradient and the normalised input.
    ///
    /// # Safety
    /// As for [`Self::means`], and the pixel must have the block.
    #[inline(always)]
    unsafe fn block<S: Simd>(&self, simd: S, pixel: &Pixel<S>, block: usize) -> [S::Vector; 2] {
        let LayerNormGradient { from, input, weight, .. } = self.step;
        // SAFETY: the caller's promise; the weight has a vector for each block.
        unsafe {
            let mut gradient = simd.load(pixel.gradient.add(block * from.plane()));
            let mut value = simd.load(pixel.value.add(block * input.plane()));
            let channels = from.channels - block * LANES;
            // Lanes without a channel may hold what is no number.
            if channels < LANES {
                gradient = first_lanes(simd, gradient, channels);
                value = first_lanes(simd, value, channels);
            }
            let scaled = simd.multiply(gradient, simd.load(weight.as_ptr().add(block * LANES)));
            [scaled, simd.multiply(simd.add(value, pixel.minus), pixel.inverse)]
        }
    }
}

/// The image and the pixel of a unit.
fn pixel_of(geometry: &Geometry, unit: usize) -> (usize, [usize; 2]) {
    let (image, pixel) = (unit / geometry.pixels(), unit % geometry.pixels());
    (image, [pixel / geometry.width, pixel % geometry.width])
}
