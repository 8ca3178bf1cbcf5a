//! What dense steps multiply: single numbers, pairs in bfloat16, or quads of bytes.

use super::{
    dense::Dense,
    int8,
    packing::Panel,
    register_tile::{Pixels, finish_any, keep},
};
use crate::{
    element::{BFloat16, Number, UInt8},
    simd::Simd,
};

/// Inputs and weights that are multiplied: one number, or several neighbouring channels, at a time.
pub(super) trait Factor: Number {
    /// Numbers of a pixel that are multiplied at once.
    const TOGETHER: usize;
    type Vector<S: Simd>: Copy;
    /// Sums of products.
    type Sums<S: Simd>: Copy;

    /// Reads what the sums start from.
    ///
    /// # Safety
    /// [`LANES`] sums must be readable.
    unsafe fn start<S: Simd>(simd: S, from: *const f32) -> Self::Sums<S>;
    /// The numbers of one pixel in all lanes.
    ///
    /// # Safety
    /// [`Self::TOGETHER`] numbers must be readable.
    unsafe fn splat<S: Simd>(simd: S, from: *const Self) -> Self::Vector<S>;
    /// The weights of a block.
    ///
    /// # Safety
    /// [`LANES`] times [`Self::TOGETHER`] numbers must be readable.
    unsafe fn weights<S: Simd>(simd: S, from: *const Self) -> Self::Vector<S>;
    fn multiply_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Sums<S>,
    ) -> Self::Sums<S>;
    /// Makes outputs of the sums and stores them.
    ///
    /// # Safety
    /// As for [`tile`].
    unsafe fn finish<S: Simd, const P: usize, const B: usize>(
        simd: S,
        dense: &Dense,
        panel: &Panel,
        pixels: &Pixels,
        sums: [[Self::Sums<S>; B]; P],
    );
    /// Stores the sums until the next slab; only numbers in single precision have several.
    ///
    /// # Safety
    /// As for [`keep`].
    #[inline(always)]
    unsafe fn keep<S: Simd, const P: usize, const B: usize>(
        simd: S,
        dense: &Dense,
        panel: &Panel,
        pixels: &Pixels,
        sums: [[Self::Sums<S>; B]; P],
    ) {
        let _ = (simd, dense, panel, pixels, sums);
    }
}

impl Factor for f32 {
    const TOGETHER: usize = 1;
    type Vector<S: Simd> = S::Vector;
    type Sums<S: Simd> = S::Vector;

    #[inline(always)]
    unsafe fn start<S: Simd>(simd: S, from: *const f32) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe { simd.load(from) }
    }

    #[inline(always)]
    unsafe fn splat<S: Simd>(simd: S, from: *const f32) -> S::Vector {
        // SAFETY: the caller's promise.
        simd.splat(unsafe { *from })
    }

    #[inline(always)]
    unsafe fn weights<S: Simd>(simd: S, from: *const f32) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe { simd.load(from) }
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::Vector, b: S::Vector, c: S::Vector) -> S::Vector {
        simd.multiply_add(a, b, c)
    }

    #[inline(always)]
    unsafe fn finish<S: Simd, const P: usize, const B: usize>(
        simd: S,
        dense: &Dense,
        panel: &Panel,
        pixels: &Pixels,
        sums: [[S::Vector; B]; P],
    ) {
        // SAFETY: the caller's promise.
        unsafe { finish_any(simd, dense, panel, pixels, sums) };
    }

    #[inline(always)]
    unsafe fn keep<S: Simd, const P: usize, const B: usize>(
        simd: S,
        dense: &Dense,
        panel: &Panel,
        pixels: &Pixels,
        sums: [[S::Vector; B]; P],
    ) {
        // SAFETY: the caller's promise.
        unsafe { keep(simd, dense, panel, pixels, sums) };
    }
}

impl Factor for BFloat16 {
    const TOGETHER: usize = 2;
    type Vector<S: Simd> = S::Pairs;
    type Sums<S: Simd> = S::Vector;

    #[inline(always)]
    unsafe fn start<S: Simd>(simd: S, from: *const f32) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe { simd.load(from) }
    }

    #[inline(always)]
    unsafe fn splat<S: Simd>(simd: S, from: *const BFloat16) -> S::Pairs {
        // SAFETY: the caller's promise.
        unsafe { simd.splat_pair(from) }
    }

    #[inline(always)]
    unsafe fn weights<S: Simd>(simd: S, from: *const BFloat16) -> S::Pairs {
        // SAFETY: the caller's promise.
        unsafe { simd.load_pairs(from) }
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::Pairs, b: S::Pairs, c: S::Vector) -> S::Vector {
        simd.multiply_add_pairs(a, b, c)
    }

    #[inline(always)]
    unsafe fn finish<S: Simd, const P: usize, const B: usize>(
        simd: S,
        dense: &Dense,
        panel: &Panel,
        pixels: &Pixels,
        sums: [[S::Vector; B]; P],
    ) {
        // SAFETY: the caller's promise.
        unsafe { finish_any(simd, dense, panel, pixels, sums) };
    }
}

impl Factor for UInt8 {
    const TOGETHER: usize = 4;
    type Vector<S: Simd> = S::Quads;
    type Sums<S: Simd> = S::Integers;

    #[inline(always)]
    unsafe fn start<S: Simd>(simd: S, from: *const f32) -> S::Integers {
        // SAFETY: the caller's promise.
        unsafe { simd.load_integers(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat<S: Simd>(simd: S, from: *const UInt8) -> S::Quads {
        // SAFETY: the caller's promise.
        unsafe { simd.splat_quad(from) }
    }

    #[inline(always)]
    unsafe fn weights<S: Simd>(simd: S, from: *const UInt8) -> S::Quads {
        // SAFETY: the caller's promise.
        unsafe { simd.load_quads(from) }
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::Quads, b: S::Quads, c: S::Integers) -> S::Integers {
        simd.multiply_add_quads(a, b, c)
    }

    #[inline(always)]
    unsafe fn finish<S: Simd, const P: usize, const B: usize>(
        simd: S,
        dense: &Dense,
        panel: &Panel,
        pixels: &Pixels,
        sums: [[S::Integers; B]; P],
    ) {
        // SAFETY: the caller's promise.
        unsafe { int8::finish(simd, dense, panel, pixels, sums) };
    }
}
