//! A tile of a dense step: the sums of some pixels and one or two blocks of output channels, in registers from the bias, or
//! the sums of the slab before, to the store.
//!
//! The addresses of 14 pixels are more than there are registers for; loading them again for each input takes as many loads as
//! the weights and inputs themselves. Where each pixel lies behind the one before, as most do, one address is enough, and two
//! where half of them are in one row and half in the next, or every other pixel of a row is seen.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(
    clippy::indexing_slicing,
    reason = "indices come from the step's own sizes, checked when it is built"
)]

use std::{marker::PhantomData, ops::Range};

use super::{dense::Dense, factor::Factor, for_tile_size, packing::Panel};
use crate::{
    element::{BFloat16, Element, Number},
    simd::{Kernel, LANES, Simd},
};

/// Largest number of pixels of a tile, over all instruction sets.
pub(super) const MOST_PIXELS: usize = 14;

/// Steps of the sums by which the weights are asked for before they are needed: they come from the second-level cache.
const AHEAD: usize = 12;

/// Some of a panel's runs: all of them, or those of a slab.
pub(super) struct Portion<'a> {
    pub(super) panel: &'a Panel,
    pub(super) runs: Range<usize>,
    pub(super) is_first: bool,
    pub(super) is_last: bool,
}

/// Where the pixels of a tile lie.
pub(super) struct Pixels {
    pub(super) inputs: [*const u8; MOST_PIXELS],
    pub(super) outputs: [*mut u8; MOST_PIXELS],
    pub(super) residuals: [*const u8; MOST_PIXELS],
    pub(super) arrangement: Arrangement,
}

/// How the inputs of a tile lie to each other.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Arrangement {
    /// Each a vector behind the one before.
    Line,
    /// A full tile, both halves of which are lines of pixels that are so many vectors apart.
    Halves(usize),
    Scattered,
}

impl Arrangement {
    /// Of some inputs, with vectors of so many bytes.
    pub(super) fn of(inputs: &[*const u8], vector: usize) -> Self {
        let is_line = |inputs: &[*const u8], apart: usize| {
            inputs.windows(2).all(|pair| pair[1].addr().wrapping_sub(pair[0].addr()) == apart * vector)
        };
        if is_line(inputs, 1) {
            return Self::Line;
        }
        let (one, other) = inputs.split_at(inputs.len() / 2);
        let are_lines = |apart: &usize| is_line(one, *apart) && is_line(other, *apart);
        let apart = (1..=2).find(|apart| inputs.len() == MOST_PIXELS && are_lines(apart));
        apart.map_or(Self::Scattered, Self::Halves)
    }
}

impl Pixels {
    pub(super) const NONE: Self = Self {
        inputs: [std::ptr::null(); MOST_PIXELS],
        outputs: [std::ptr::null_mut(); MOST_PIXELS],
        residuals: [std::ptr::null(); MOST_PIXELS],
        arrangement: Arrangement::Scattered,
    };
}

/// # Safety
/// As for [`tile`], for the first `count` pixels.
#[inline(always)]
pub(super) unsafe fn tile_of_any_size<S: Simd, I: Factor, const B: usize>(
    simd: S,
    dense: &Dense,
    portion: &Portion<'_>,
    pixels: &Pixels,
    count: usize,
) {
    let factor = PhantomData::<I>;
    if const { S::BLOCKS > 1 } {
        // Nearly all tiles have these sizes; the fewer pixels, the fewer addresses.
        match (pixels.arrangement, count) {
            (Arrangement::Line, 12) => {
                return simd.call(&Tile::<I, 12, B, 1, 1> { dense, portion, pixels, factor });
            }
            (Arrangement::Line, 13) => {
                return simd.call(&Tile::<I, 13, B, 1, 1> { dense, portion, pixels, factor });
            }
            (Arrangement::Line, 14) => {
                return simd.call(&Tile::<I, 14, B, 1, 1> { dense, portion, pixels, factor });
            }
            (Arrangement::Halves(1), 14) => {
                return simd.call(&Tile::<I, 14, B, 2, 1> { dense, portion, pixels, factor });
            }
            (Arrangement::Halves(2), 14) => {
                return simd.call(&Tile::<I, 14, B, 2, 2> { dense, portion, pixels, factor });
            }
            _ => {}
        }
    }
    for_tile_size!(S, B, count, P => {
        simd.call(&Tile::<I, P, B, P, 0> { dense, portion, pixels, factor });
    });
}

/// A tile of `P` pixels of `B` blocks in `LINES` lines, see [`input`]; only [`tile_of_any_size`] makes one.
struct Tile<'a, I, const P: usize, const B: usize, const LINES: usize, const APART: usize> {
    dense: &'a Dense,
    portion: &'a Portion<'a>,
    pixels: &'a Pixels,
    factor: PhantomData<I>,
}

impl<I: Factor, const P: usize, const B: usize, const LINES: usize, const APART: usize> Kernel
    for Tile<'_, I, P, B, LINES, APART>
{
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        // SAFETY: the promise of `tile_of_any_size`'s caller.
        unsafe { tile::<S, I, P, B, LINES, APART>(simd, self.dense, self.portion, self.pixels) }
    }
}

/// Computes `P` pixels of `B` blocks of output channels.
///
/// # Safety
/// From each of the first `P` inputs all runs of the panel must be readable, at each output and residual the panel's
/// blocks at the distance of a plane. A portion that is not the only one writes to outputs of `f32`.
#[inline(always)]
unsafe fn tile<S: Simd, I: Factor, const P: usize, const B: usize, const LINES: usize, const APART: usize>(
    simd: S,
    dense: &Dense,
    portion: &Portion<'_>,
    pixels: &Pixels,
) {
    let Portion { panel, ref runs, is_first, is_last } = *portion;
    // SAFETY: bias and weights were packed for the panel's blocks and runs; the rest is the caller's promise.
    unsafe {
        let mut sums = start::<S, I, P, B>(simd, dense, panel, pixels, is_first);
        let mut inputs = [std::ptr::null::<I>(); P];
        for pixel in 0..P {
            inputs[pixel] = pixels.inputs[pixel].cast();
        }
        let runs = &dense.runs[runs.clone()];
        let row = runs.first().map_or(0, |run| run.row);
        let mut weights = dense.weights.as_ptr().cast::<I>().add(panel.weights + row * B * LANES);
        for (index, run) in runs.iter().enumerate() {
            let (mut at, end) = (run.offset, run.offset + run.len);
            if let (true, Some(next)) = (LINES < P, runs.get(index + 1)) {
                for pixel in 0..P {
                    simd.prefetch(input::<I, P, LINES, APART>(&inputs, pixel).wrapping_add(next.offset));
                }
            }
            while at + 4 * I::TOGETHER <= end {
                for step in 0..4 {
                    let weights = weights.add(step * I::TOGETHER * B * LANES);
                    for block in 0..B {
                        simd.prefetch(weights.wrapping_add((AHEAD * B + block) * LANES * I::TOGETHER));
                    }
                    accumulate::<S, I, P, B, LINES, APART>(
                        simd,
                        &mut sums,
                        &inputs,
                        at + step * I::TOGETHER,
                        weights,
                    );
                }
                (at, weights) = (at + 4 * I::TOGETHER, weights.add(4 * I::TOGETHER * B * LANES));
            }
            while at < end {
                accumulate::<S, I, P, B, LINES, APART>(simd, &mut sums, &inputs, at, weights);
                (at, weights) = (at + I::TOGETHER, weights.add(I::TOGETHER * B * LANES));
            }
        }
        if is_last {
            I::finish(simd, dense, panel, pixels, sums);
        } else {
            I::keep(simd, dense, panel, pixels, sums);
        }
    }
}

/// The bias, or the sums of the slab before.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn start<S: Simd, I: Factor, const P: usize, const B: usize>(
    simd: S,
    dense: &Dense,
    panel: &Panel,
    pixels: &Pixels,
    is_first: bool,
) -> [[I::Sums<S>; B]; P] {
    let plane = dense.output.plane();
    // SAFETY: the caller's promise.
    unsafe {
        let initial = dense.initial.as_ptr().add(panel.block * LANES);
        let mut sums = [[I::start(simd, initial); B]; P];
        for pixel in 0..P {
            let kept = pixels.outputs[pixel].cast::<f32>().cast_const().wrapping_add(panel.block * plane);
            let (from, distance) = if is_first { (initial, LANES) } else { (kept, plane) };
            for block in 0..B {
                sums[pixel][block] = I::start(simd, from.add(block * distance));
            }
        }
        sums
    }
}

/// Stores sums until the next slab.
///
/// # Safety
/// As for [`tile`]; the outputs must be `f32`.
#[inline(always)]
pub(super) unsafe fn keep<S: Simd, const P: usize, const B: usize>(
    simd: S,
    dense: &Dense,
    panel: &Panel,
    pixels: &Pixels,
    sums: [[S::Vector; B]; P],
) {
    let plane = dense.output.plane();
    for pixel in 0..P {
        for block in 0..B {
            // SAFETY: the caller's promise.
            unsafe {
                simd.store(
                    pixels.outputs[pixel].cast::<f32>().add((panel.block + block) * plane),
                    sums[pixel][block],
                );
            }
        }
    }
}

/// # Safety
/// As for [`tile`].
#[inline(always)]
pub(super) unsafe fn finish_any<S: Simd, const P: usize, const B: usize>(
    simd: S,
    dense: &Dense,
    panel: &Panel,
    pixels: &Pixels,
    sums: [[S::Vector; B]; P],
) {
    // A condition inside would keep the loop over the sums from unrolling, and the sums from staying in registers.
    // SAFETY: the caller's promise.
    unsafe {
        match (dense.output.element, dense.residual.is_some()) {
            (Element::Float32, true) => finish::<S, f32, P, B, true>(simd, dense, panel, pixels, sums),
            (Element::Float32, false) => finish::<S, f32, P, B, false>(simd, dense, panel, pixels, sums),
            (Element::BFloat16, true) => finish::<S, BFloat16, P, B, true>(simd, dense, panel, pixels, sums),
            (Element::BFloat16, false) => {
                finish::<S, BFloat16, P, B, false>(simd, dense, panel, pixels, sums)
            }
            // Only of inputs in bytes, see `quantization`.
            (Element::UInt8(_), _) => {}
        }
    }
}

/// A pixel's input, of `LINES` lines of as many pixels each, which are `APART` vectors apart: found from its line's first one.
#[inline(always)]
fn input<I, const P: usize, const LINES: usize, const APART: usize>(
    inputs: &[*const I; P],
    pixel: usize,
) -> *const I {
    let place = pixel % (P / LINES);
    inputs[pixel - place].wrapping_add(place * APART * LANES)
}

/// Adds the product of the numbers of each pixel that are multiplied at once and their weights. `LINES` and `APART` are those of
/// [`input`].
///
/// # Safety
/// The numbers must be readable at each input, and the weights of `B` blocks at `weights`.
#[inline(always)]
pub(super) unsafe fn accumulate<
    S: Simd,
    I: Factor,
    const P: usize,
    const B: usize,
    const LINES: usize,
    const APART: usize,
>(
    simd: S,
    sums: &mut [[I::Sums<S>; B]; P],
    inputs: &[*const I; P],
    at: usize,
    weights: *const I,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut weight = [I::weights(simd, weights); B];
        for block in 1..B {
            weight[block] = I::weights(simd, weights.add(block * LANES * I::TOGETHER));
        }
        for pixel in 0..P {
            let input = I::splat(simd, input::<I, P, LINES, APART>(inputs, pixel).add(at));
            for block in 0..B {
                sums[pixel][block] = I::multiply_add(simd, input, weight[block], sums[pixel][block]);
            }
        }
    }
}

/// Adds the residual, clamps and stores.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn finish<S: Simd, O: Number, const P: usize, const B: usize, const RESIDUAL: bool>(
    simd: S,
    dense: &Dense,
    panel: &Panel,
    pixels: &Pixels,
    sums: [[S::Vector; B]; P],
) {
    let (low, high) = (simd.splat(dense.clamp.low), simd.splat(dense.clamp.high));
    let plane = dense.output.plane();
    let residual_plane = dense.residual.map_or(0, |residual| residual.plane());
    let (output, residual) = (panel.block * plane, panel.block * residual_plane);
    for pixel in 0..P {
        for block in 0..B {
            let mut sum = sums[pixel][block];
            // SAFETY: the caller's promise.
            unsafe {
                if RESIDUAL {
                    let from = pixels.residuals[pixel].cast::<O>().add(residual + block * residual_plane);
                    sum = simd.add(sum, O::load(simd, from));
                }
                let to = pixels.outputs[pixel].cast::<O>().add(output + block * plane);
                O::store(simd, to, simd.clamp(sum, low, high));
            }
        }
    }
}
