//! Layer normalisation: every pixel, a token of a sequence, by itself over its channels. Mean and variance are computed
//! one after the other, as is exact for any offset; the channels of a few pixels stay in the first-level cache meanwhile.

use std::ops::Range;

use super::Operands;
use crate::{
    EngineError, Settings,
    buffer::Buffer,
    element::{BFloat16, Element, Number},
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd},
};

/// Pixels of a unit, and pixels that are summed side by side to hide the latency of the addition.
const PIXELS: usize = 8;
const TOGETHER: usize = 4;

/// `(x − mean) / sqrt(variance + epsilon) · weight + bias`.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    input: Geometry,
    output: Geometry,
    /// Padded to whole blocks.
    weight: Buffer,
    bias: Buffer,
    epsilon: f64,
}

impl LayerNorm {
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn new(
        [input, output]: [Geometry; 2],
        [weight, bias]: [&[f32]; 2],
        epsilon: f64,
    ) -> Result<Self, EngineError> {
        let padded = |numbers: &[f32]| {
            let mut buffer = Buffer::zeroed(input.blocks() * LANES)?;
            buffer.iter_mut().zip(numbers).for_each(|(to, number)| *to = *number);
            Ok::<_, EngineError>(buffer)
        };
        Ok(Self { input, output, weight: padded(weight)?, bias: padded(bias)?, epsilon })
    }

    fn tiles(&self) -> usize {
        self.input.pixels().div_ceil(PIXELS)
    }

    /// Number of units: a few pixels of an image.
    pub(crate) fn units(&self, images: usize) -> usize {
        images * self.tiles()
    }

    /// Numbers that are read for a group of images, three times.
    pub(crate) fn cost(&self, images: usize) -> usize {
        3 * images * self.input.image()
    }

    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images of the step's geometries, the output apart from the input, and no other
    /// thread may compute the same units.
    pub(crate) unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        simd::launch_with(settings, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a LayerNorm,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        // One shape, and so one type of number, for both.
        match self.step.input.element {
            Element::Float32 => self.tiles::<S, f32>(simd),
            Element::BFloat16 => self.tiles::<S, BFloat16>(simd),
            // Never in bytes, see `quantization`.
            Element::UInt8(_) => {}
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn tiles<S: Simd, N: Number>(&self, simd: S) {
        let (tiles, pixels) = (self.step.tiles(), self.step.input.pixels());
        for unit in self.units.clone() {
            let (image, tile) = (unit / tiles, unit % tiles);
            let (mut pixel, end) = (tile * PIXELS, pixels.min((tile + 1) * PIXELS));
            // SAFETY: the pixels lie in the image; `LayerNorm::run`'s caller vouches for the operands.
            unsafe {
                while pixel + TOGETHER <= end {
                    self.pixels::<S, N, TOGETHER>(simd, image, pixel);
                    pixel += TOGETHER;
                }
                while pixel < end {
                    self.pixels::<S, N, 1>(simd, image, pixel);
                    pixel += 1;
                }
            }
        }
    }

    /// # Safety
    /// `first..first + P` must be pixels of the image.
    #[inline(always)]
    unsafe fn pixels<S: Simd, N: Number, const P: usize>(&self, simd: S, image: usize, first: usize) {
        let LayerNorm { input, output, weight, bias, epsilon } = self.step;
        let place = |geometry: &Geometry, pixel: usize| {
            geometry.pixel(pixel / geometry.width, pixel % geometry.width)
        };
        // SAFETY: the caller's promise; weight and bias hold a vector for each block.
        unsafe {
            let (from, to) = (self.operands.input.at::<N>(image), self.operands.output.at::<N>(image));
            let from: [*const N; P] =
                std::array::from_fn(|index| from.add(place(input, first + index)).cast_const());
            let to: [*mut N; P] = std::array::from_fn(|index| to.add(place(output, first + index)));
            let count = input.channels as f64;
            let zero = [0.0; P];
            let mean = sums::<S, N, P, false>(simd, input, from, zero).map(|sum| (sum / count) as f32);
            let squares = sums::<S, N, P, true>(simd, input, from, mean);
            let scale = squares.map(|sum| (1.0 / (sum / count + epsilon).sqrt()) as f32);
            for block in 0..input.blocks() {
                let gamma = simd.load(weight.as_ptr().add(block * LANES));
                let beta = simd.load(bias.as_ptr().add(block * LANES));
                for (((from, to), mean), scale) in from.iter().zip(to).zip(mean).zip(scale) {
                    let value = simd.add(N::load(simd, from.add(block * input.plane())), simd.splat(-mean));
                    let value = simd.multiply(value, simd.splat(scale));
                    let value = simd.multiply_add(value, gamma, beta);
                    N::store(simd, to.add(block * output.plane()), value);
                }
            }
        }
    }
}

/// Sums over the channels of each pixel: of the values, or of the squares of their distances from `centre`.
///
/// # Safety
/// Each of `from` must point to a pixel of the geometry.
#[inline(always)]
pub(super) unsafe fn sums<S: Simd, N: Number, const P: usize, const SQUARES: bool>(
    simd: S,
    geometry: &Geometry,
    from: [*const N; P],
    centre: [f32; P],
) -> [f64; P] {
    let whole = geometry.channels / LANES;
    let rest = geometry.channels % LANES;
    let centres = centre.map(|centre| simd.splat(-centre));
    let mut totals = [simd.splat(0.0); P];
    for block in 0..whole {
        for ((total, from), centre) in totals.iter_mut().zip(from).zip(centres) {
            // SAFETY: the caller's promise.
            let value = unsafe { N::load(simd, from.add(block * geometry.plane())) };
            *total = accumulated::<S, SQUARES>(simd, *total, value, centre);
        }
    }
    let mut sums = totals.map(|total| simd.lanes(total).iter().map(|lane| f64::from(*lane)).sum::<f64>());
    for ((sum, from), centre) in sums.iter_mut().zip(from).zip(centres) {
        if rest == 0 {
            break;
        }
        // SAFETY: the caller's promise; what stands in lanes without a channel is not counted.
        let value = unsafe { N::load(simd, from.add(whole * geometry.plane())) };
        let lanes = simd.lanes(accumulated::<S, SQUARES>(simd, simd.splat(0.0), value, centre));
        *sum += lanes.iter().take(rest).map(|lane| f64::from(*lane)).sum::<f64>();
    }
    sums
}

#[inline(always)]
fn accumulated<S: Simd, const SQUARES: bool>(
    simd: S,
    total: S::Vector,
    value: S::Vector,
    centre: S::Vector,
) -> S::Vector {
    if SQUARES {
        let distance = simd.add(value, centre);
        simd.multiply_add(distance, distance, total)
    } else {
        simd.add(total, value)
    }
}
