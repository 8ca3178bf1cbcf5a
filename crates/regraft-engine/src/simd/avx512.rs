//! One 512-bit register.

use std::arch::x86_64::{
    __m512, _CMP_UNORD_Q, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_blend_ps, _mm512_max_ps, _mm512_min_ps, _mm512_set1_ps, _mm512_storeu_ps,
};

use super::{Kernel, Simd};

/// Proof that the processor has AVX-512F.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }
}

pub(super) fn enter<K: Kernel>(simd: Avx512, kernel: &K) {
    #[target_feature(enable = "avx512f")]
    fn with_features<K: Kernel>(simd: Avx512, kernel: &K) {
        kernel.run(simd);
    }
    // SAFETY: `simd` is the proof that the processor has the feature.
    unsafe { with_features(simd, kernel) }
}

impl Simd for Avx512 {
    type Vector = __m512;
    // 28 sums, 2 weights and 1 input of 32 registers.
    const PIXELS: usize = 14;
    const BLOCKS: usize = 2;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the feature.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: `self` is the proof of the feature; the caller vouches for 16 readable numbers.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: __m512) {
        // SAFETY: `self` is the proof of the feature; the caller vouches for 16 writable numbers.
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the feature.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the feature.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn clamp(self, x: __m512, low: __m512, high: __m512) -> __m512 {
        // The instructions return the second operand where either is not a number.
        // SAFETY: `self` is the proof that the processor has the feature.
        unsafe { _mm512_min_ps(high, _mm512_max_ps(low, x)) }
    }

    #[inline(always)]
    fn maximum(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the feature.
        unsafe {
            let a_is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            _mm512_mask_blend_ps(a_is_nan, _mm512_max_ps(a, b), a)
        }
    }
}
