//! Dense sums of bytes: how weights are rounded, and the way from integer sums to the output.
//!
//! With inputs `x = sₓ (q − z)` and weights `w = s_w r` of an output channel, r a whole number in −127 … 127, a sum is
//! `Σ w x = sₓ s_w (Σ r q − z Σ r)`. The integers start from `−z Σ r`, which makes the padding's byte z count as zero, and
//! are exact on every instruction set; one multiplication and addition a number, rounded once everywhere, then give the
//! output, whose own scale and zero point are multiplied in. So all instruction sets give the same bits (except where an
//! activation function is computed).
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(clippy::indexing_slicing, reason = "indices are below the constant sizes of a tile")]

use super::{
    activation::Function,
    dense::{Dense, Recipe},
    packing::Panel,
    register_tile::Pixels,
};
use crate::{
    EngineError,
    buffer::Buffer,
    element::{Affine, Element, Levels, Number, UInt8},
    network::Clamp,
    simd::{LANES, Simd},
};

/// Most products in a sum, so that `255 · 127 ·` this is below 2³¹.
pub(crate) const LARGEST_SUM: usize = 66_000;

/// Weights as whole numbers in −127 … 127 and a scale for each output channel.
pub(super) struct Weights {
    pub(super) rounded: Vec<f32>,
    scales: Vec<f32>,
    zero: u8,
}

impl Weights {
    /// Rounds weights for an input with these levels. The largest weight of an output channel becomes 127.
    pub(super) fn new(weight: &[f32], channels: usize, levels: Levels) -> Self {
        let row = (weight.len() / channels.max(1)).max(1);
        let (mut rounded, mut scales) = (Vec::with_capacity(weight.len()), Vec::with_capacity(channels));
        for row in weight.chunks_exact(row) {
            let largest = row.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
            let scale = largest / 127.0;
            let scale = if scale.is_normal() { scale } else { 1.0 };
            rounded.extend(row.iter().map(|weight| (weight / scale).round_ties_even()));
            scales.push(scale * levels.scale());
        }
        Self { rounded, scales, zero: levels.zero }
    }

    /// Writes the integers that the sums start from.
    pub(super) fn initial(&self, to: &mut [f32]) {
        let row = (self.rounded.len() / self.scales.len().max(1)).max(1);
        for (row, to) in self.rounded.chunks_exact(row).zip(to) {
            let sum: i64 = row.iter().map(|weight| *weight as i64).sum();
            *to = f32::from_bits((-i64::from(self.zero) * sum) as u32);
        }
    }
}

/// Whole numbers as signed bytes.
pub(super) fn signed_bytes(weights: &Buffer) -> Result<Buffer, EngineError> {
    let mut bytes = Buffer::zeroed(weights.len().div_ceil(4))?;
    let places = crate::element::bytes_mut(&mut bytes).iter_mut().zip(weights.iter());
    places.for_each(|(place, weight)| *place = UInt8::of_bits(*weight as i8 as u8));
    Ok(bytes)
}

/// From integer sums to outputs: `clamp(sum · scale + bias + residual · factor)`; with an activation function what it
/// makes of that, rounded to levels.
#[derive(Debug)]
pub(super) struct Rescaling {
    /// One number an output channel each.
    scale: Buffer,
    bias: Buffer,
    residual: f32,
    clamp: Clamp,
    /// An activation function before the rounding to levels.
    function: Option<(Function, Affine)>,
}

impl Rescaling {
    pub(super) fn new(recipe: &Recipe<'_>, weights: &Weights) -> Result<Self, EngineError> {
        let levels = recipe.output.element.to_stored();
        let function = recipe.function.filter(|_| recipe.output.element.levels().is_some());
        // What the numbers are behind the multiplication: levels, or real numbers where a function comes first.
        let target = if function.is_some() { Affine::IDENTITY } else { levels };
        let residual = recipe.residual.map_or(Affine::IDENTITY, |residual| residual.element.to_real());
        let constant = if recipe.residual.is_some() { residual.shift } else { 0.0 };
        let size = recipe.output.blocks() * LANES;
        let (mut scale, mut bias) = (Buffer::zeroed(size)?, Buffer::zeroed(size)?);
        for (to, scale) in scale.iter_mut().zip(&weights.scales) {
            *to = scale * target.factor;
        }
        let given = recipe.bias.iter().copied().chain(std::iter::repeat(0.0));
        for (to, bias) in bias.iter_mut().zip(given) {
            *to = target.of(bias + constant);
        }
        let clamp = if recipe.output.element.levels().is_some() && function.is_none() {
            let bound = |bound: f32| target.of(bound).clamp(0.0, 255.0);
            Clamp { low: bound(recipe.clamp.low), high: bound(recipe.clamp.high) }
        } else {
            recipe.clamp
        };
        let function = function.map(|function| (function, levels));
        Ok(Self { scale, bias, residual: residual.factor * target.factor, clamp, function })
    }
}

/// Stores sums as what the output takes.
///
/// # Safety
/// Outputs and residuals of `P` pixels must hold the panel's `B` blocks at the distance of a plane.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd, const P: usize, const B: usize>(
    simd: S,
    dense: &Dense,
    panel: &Panel,
    pixels: &Pixels,
    sums: [[S::Integers; B]; P],
) {
    let Some(rescaling) = &dense.rescaling else { return };
    let residual = dense.residual.map(|residual| residual.element);
    let tile = Tile { dense, rescaling, panel, pixels };
    // A condition inside would keep the loop over the sums from unrolling, and the sums from staying in registers.
    // SAFETY: the caller's promise.
    unsafe {
        match (dense.output.element, residual) {
            _ if rescaling.function.is_some() => tile.store_function(simd, sums),
            (Element::UInt8(_), None) => tile.store::<S, UInt8, f32, P, B, false>(simd, sums),
            (Element::UInt8(_), Some(Element::UInt8(_))) => {
                tile.store::<S, UInt8, UInt8, P, B, true>(simd, sums)
            }
            (Element::UInt8(_), _) => tile.store::<S, UInt8, f32, P, B, true>(simd, sums),
            (_, None) => tile.store::<S, f32, f32, P, B, false>(simd, sums),
            (_, Some(Element::UInt8(_))) => tile.store::<S, f32, UInt8, P, B, true>(simd, sums),
            (_, _) => tile.store::<S, f32, f32, P, B, true>(simd, sums),
        }
    }
}

/// Where the sums of a tile go.
struct Tile<'a> {
    dense: &'a Dense,
    rescaling: &'a Rescaling,
    panel: &'a Panel,
    pixels: &'a Pixels,
}

impl Tile<'_> {
    /// # Safety
    /// As for [`finish`], with outputs `O` and residuals `R`.
    #[inline(always)]
    unsafe fn store<S: Simd, O: Number, R: Number, const P: usize, const B: usize, const RESIDUAL: bool>(
        &self,
        simd: S,
        sums: [[S::Integers; B]; P],
    ) {
        let Self { dense, rescaling, panel, pixels } = self;
        let (low, high) = (simd.splat(rescaling.clamp.low), simd.splat(rescaling.clamp.high));
        let factor = simd.splat(rescaling.residual);
        let plane = dense.output.plane();
        let residual_plane = dense.residual.map_or(0, |residual| residual.plane());
        for block in 0..B {
            // SAFETY: there is a vector for each block; the rest is the caller's promise.
            unsafe {
                let scale = simd.load(rescaling.scale.as_ptr().add((panel.block + block) * LANES));
                let bias = simd.load(rescaling.bias.as_ptr().add((panel.block + block) * LANES));
                // Four pixels at a time, because bytes of four vectors fill one.
                for first in (0..P / 4 * 4).step_by(4) {
                    let mut values = [scale; 4];
                    for index in 0..4 {
                        let pixel = first + index;
                        let sum = simd.to_vector(sums[pixel][block]);
                        values[index] = simd.fused_multiply_add(sum, scale, bias);
                        if RESIDUAL {
                            let from = pixels.residuals[pixel]
                                .cast::<R>()
                                .add((panel.block + block) * residual_plane);
                            values[index] =
                                simd.fused_multiply_add(R::load(simd, from), factor, values[index]);
                        }
                    }
                    let at = [first, first + 1, first + 2, first + 3]
                        .map(|pixel| pixels.outputs[pixel].cast::<O>().add((panel.block + block) * plane));
                    O::store_four_between(simd, at, values, low, high);
                }
                for pixel in P / 4 * 4..P {
                    let sum = simd.to_vector(sums[pixel][block]);
                    let mut value = simd.fused_multiply_add(sum, scale, bias);
                    if RESIDUAL {
                        let from =
                            pixels.residuals[pixel].cast::<R>().add((panel.block + block) * residual_plane);
                        value = simd.fused_multiply_add(R::load(simd, from), factor, value);
                    }
                    let to = pixels.outputs[pixel].cast::<O>().add((panel.block + block) * plane);
                    O::store_between(simd, to, value, low, high);
                }
            }
        }
    }

    /// With an activation function. Its code is long, so the sums leave the registers first and there is one copy of it.
    ///
    /// # Safety
    /// As for [`finish`].
    #[inline(always)]
    unsafe fn store_function<S: Simd, const P: usize, const B: usize>(
        &self,
        simd: S,
        sums: [[S::Integers; B]; P],
    ) {
        let Self { dense, rescaling, panel, pixels } = self;
        let Some((function, levels)) = rescaling.function else { return };
        let mut values = [[[0.0f32; LANES]; B]; P];
        for pixel in 0..P {
            for block in 0..B {
                values[pixel][block] = simd.lanes(simd.to_vector(sums[pixel][block]));
            }
        }
        let (low, high) = (simd.splat(rescaling.clamp.low), simd.splat(rescaling.clamp.high));
        let (factor, shift) = (simd.splat(levels.factor), simd.splat(levels.shift));
        for index in 0..std::hint::black_box(P * B) {
            let (pixel, block) = (index / B, panel.block + index % B);
            // SAFETY: there is a vector for each block; the rest is the caller's promise.
            unsafe {
                let scale = simd.load(rescaling.scale.as_ptr().add(block * LANES));
                let bias = simd.load(rescaling.bias.as_ptr().add(block * LANES));
                let sum = simd.load(values[pixel][index % B].as_ptr());
                let mut value = simd.fused_multiply_add(sum, scale, bias);
                if let Some(residual) = &dense.residual {
                    let from =
                        pixels.residuals[pixel].add(block * residual.plane() * residual.element.size());
                    let summand = match residual.element {
                        Element::UInt8(_) => UInt8::load(simd, from.cast()),
                        _ => f32::load(simd, from.cast()),
                    };
                    value = simd.fused_multiply_add(summand, simd.splat(rescaling.residual), value);
                }
                let value = function.evaluate(simd, simd.clamp(value, low, high));
                let to = pixels.outputs[pixel].cast::<UInt8>().add(block * dense.output.plane());
                UInt8::store(simd, to, simd.fused_multiply_add(value, factor, shift));
            }
        }
    }
}
