//! What could not be fused: batch normalisation, addition and activations on their own.

use std::ops::Range;

use super::{Operands, Span};
use crate::{
    Settings,
    buffer::Buffer,
    element::{BFloat16, Element, Number, load_real, store_real},
    geometry::Geometry,
    kernels::activation::Function,
    network::Clamp,
    simd::{self, Kernel, LANES, Simd},
};

/// What is done with the second input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Second {
    Add,
    Multiply,
    /// Multiply by one factor a channel.
    Scale,
}

/// `clamp(x · scale + shift + second)`, or `· second`, and then the function; each part where there is one.
#[derive(Debug)]
pub(crate) struct Elementwise {
    pub(crate) input: Geometry,
    pub(crate) second: Option<Geometry>,
    pub(crate) output: Geometry,
    /// One number a channel each, padded to whole blocks.
    pub(crate) scale_and_shift: Option<[Buffer; 2]>,
    pub(crate) clamp: Clamp,
    pub(crate) function: Option<Function>,
    pub(crate) with_second: Second,
}

impl Elementwise {
    /// Number of units: rows of one block of one image.
    pub(crate) fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.output.height
    }

    /// Numbers that are written for a group of images.
    pub(crate) fn cost(&self, images: usize) -> usize {
        images * self.output.image()
    }

    /// Whether a value is stored in bytes.
    fn has_bytes(&self) -> bool {
        [Some(&self.input), self.second.as_ref(), Some(&self.output)]
            .into_iter()
            .flatten()
            .any(|geometry| geometry.element.levels().is_some())
    }

    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images of the step's geometries, the output apart from the others, and no other
    /// thread may compute the same units.
    pub(crate) unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        simd::launch_with(settings, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a Elementwise,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        // One shape, and so one type of number, for all three, except beside bytes.
        match self.step.output.element {
            _ if self.step.has_bytes() => self.mixed_rows(simd),
            Element::Float32 => self.rows::<S, f32>(simd),
            Element::BFloat16 => self.rows::<S, BFloat16>(simd),
            Element::UInt8(_) => {}
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn rows<S: Simd, N: Number>(&self, simd: S) {
        let Elementwise { input, second, output, .. } = self.step;
        for unit in self.units.clone() {
            let (plane, y) = (unit / output.height, unit % output.height);
            let (image, block) = (plane / output.blocks(), plane % output.blocks());
            // SAFETY: block and row lie in the image; `Elementwise::run`'s caller vouches for the operands.
            unsafe {
                let from = self.operands.input.at::<N>(image).add(block * input.plane() + input.pixel(y, 0));
                let to = self.operands.output.at::<N>(image).add(block * output.plane() + output.pixel(y, 0));
                let second = second.map(|second| self.second::<N>(&second, image, block, y));
                self.row(simd, from, second, to, block);
            }
        }
    }

    /// As [`Self::rows`], for inputs and outputs of any elements.
    #[inline(always)]
    fn mixed_rows<S: Simd>(&self, simd: S) {
        let Elementwise { output, .. } = self.step;
        for unit in self.units.clone() {
            let (plane, y) = (unit / output.height, unit % output.height);
            let (image, block) = (plane / output.blocks(), plane % output.blocks());
            for x in 0..output.width {
                // SAFETY: the pixel lies in the image; `Elementwise::run`'s caller vouches for the operands.
                unsafe { self.mixed_pixel(simd, image, block, [y, x]) };
            }
        }
    }

    /// # Safety
    /// The block and the pixel must lie in the image.
    #[inline(always)]
    unsafe fn mixed_pixel<S: Simd>(&self, simd: S, image: usize, block: usize, [y, x]: [usize; 2]) {
        let Elementwise { input, second, output, clamp, .. } = self.step;
        // SAFETY: the caller's promise; scale and shift hold a vector for each block.
        unsafe {
            let mut value =
                load_real(simd, input.element, place(self.operands.input, input, image, block, [y, x]));
            if let Some([scale, shift]) = &self.step.scale_and_shift {
                let scale = simd.load(scale.as_ptr().add(block * LANES));
                value = simd.multiply_add(value, scale, simd.load(shift.as_ptr().add(block * LANES)));
            }
            if let Some(second) = second {
                let scales = self.step.with_second == Second::Scale;
                let pixel = if scales { [0, 0] } else { [y, x] };
                let other = place(self.operands.second, second, image, block, pixel);
                let other = load_real(simd, second.element, other);
                let adds = self.step.with_second == Second::Add;
                value = if adds { simd.add(value, other) } else { simd.multiply(value, other) };
            }
            value = simd.clamp(value, simd.splat(clamp.low), simd.splat(clamp.high));
            if let Some(function) = self.step.function {
                value = function.evaluate(simd, value);
            }
            store_real(
                simd,
                output.element,
                place(self.operands.output, output, image, block, [y, x]),
                value,
            );
        }
    }

    /// A row of the second input; its only pixel, in single precision as all vectors are, where that scales.
    ///
    /// # Safety
    /// The block and the row must lie in the image.
    #[inline(always)]
    unsafe fn second<N: Number>(&self, second: &Geometry, image: usize, block: usize, y: usize) -> *const N {
        // SAFETY: the caller's promise.
        unsafe {
            if self.step.with_second == Second::Scale {
                let from = self.operands.second.at::<f32>(image);
                return from.add(block * second.plane() + second.pixel(0, 0)).cast_const().cast();
            }
            self.operands.second.at::<N>(image).add(block * second.plane() + second.pixel(y, 0))
        }
    }

    /// # Safety
    /// All three must point to a row of pixels of the block.
    #[inline(always)]
    unsafe fn row<S: Simd, N: Number>(
        &self,
        simd: S,
        from: *const N,
        second: Option<*const N>,
        to: *mut N,
        block: usize,
    ) {
        let (low, high) = (simd.splat(self.step.clamp.low), simd.splat(self.step.clamp.high));
        for x in 0..self.step.output.width {
            // SAFETY: the caller's promise; scale and shift hold a vector for each block.
            unsafe {
                let mut value = N::load(simd, from.add(x * LANES));
                if let Some([scale, shift]) = &self.step.scale_and_shift {
                    let scale = simd.load(scale.as_ptr().add(block * LANES));
                    value = simd.multiply_add(value, scale, simd.load(shift.as_ptr().add(block * LANES)));
                }
                if let Some(second) = second {
                    value = match self.step.with_second {
                        Second::Add => simd.add(value, N::load(simd, second.add(x * LANES))),
                        Second::Multiply => simd.multiply(value, N::load(simd, second.add(x * LANES))),
                        Second::Scale => simd.multiply(value, simd.load(second.cast())),
                    };
                }
                N::store(simd, to.add(x * LANES), simd.clamp(value, low, high));
            }
        }
        if let Some(function) = self.step.function {
            // SAFETY: the row has just been written.
            unsafe { function.apply(simd, to, self.step.output.width) };
        }
    }
}

/// Where a block starts at a pixel.
///
/// # Safety
/// The span must hold the image, and the image the block and the pixel.
#[inline(always)]
unsafe fn place(span: Span, geometry: &Geometry, image: usize, block: usize, [y, x]: [usize; 2]) -> *mut u8 {
    let number = block * geometry.plane() + geometry.pixel(y, x);
    // SAFETY: the caller's promise.
    unsafe { span.at::<u8>(image).add(number * geometry.element.size()) }
}
