//! Two 256-bit registers.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_GT_OQ, _CMP_UNORD_Q, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm_loadl_epi64,
    _mm_packus_epi16, _mm_sfence, _mm_storeu_si128, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps,
    _mm256_and_si256, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_castsi256_si128,
    _mm256_cmp_ps, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtps_epi32, _mm256_div_ps,
    _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_packs_epi32, _mm256_permute4x64_epi64,
    _mm256_round_ps, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_slli_epi16,
    _mm256_slli_epi32, _mm256_srai_epi16, _mm256_srli_epi16, _mm256_storeu_ps, _mm256_stream_ps,
};

use super::{Kernel, Simd};
use crate::element::{BFloat16, Number as _, UInt8};

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

/// As [`Simd::multiply_add_quads`] on half of the lanes. The instruction for products of bytes would saturate their sums,
/// so products of 16 bits.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
pub(super) unsafe fn multiply_add_quads(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let even = _mm256_madd_epi16(
            _mm256_and_si256(a, _mm256_set1_epi16(0xff)),
            _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b)),
        );
        let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(a), _mm256_srai_epi16::<8>(b));
        _mm256_add_epi32(c, _mm256_add_epi32(even, odd))
    }
}

impl Simd for Avx2 {
    type Vector = [__m256; 2];
    type Pairs = [[__m256; 2]; 2];
    type Quads = [__m256i; 2];
    type Integers = [__m256i; 2];
    // 12 sums, 2 weights and 1 input of 16 registers.
    const PIXELS: usize = 6;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: &K) {
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe { kernel.run_avx2(self) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [__m256; 2] {
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [__m256; 2] {
        // SAFETY: `self` is the proof of the features; the caller vouches for 16 readable numbers.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: [__m256; 2]) {
        // SAFETY: `self` is the proof of the features; the caller vouches for 16 writable numbers.
        unsafe {
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut f32, value: [__m256; 2]) {
        // SAFETY: `self` is the proof of the features; the caller vouches for a writable line.
        unsafe {
            _mm256_stream_ps(to, value[0]);
            _mm256_stream_ps(to.add(8), value[1]);
        }
    }

    #[inline(always)]
    fn fence(self) {
        // SAFETY: every processor with the vectors has the instruction.
        unsafe { _mm_sfence() };
    }

    #[inline(always)]
    fn add(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn multiply_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    fn multiply(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn divide(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn round(self, x: [__m256; 2]) -> [__m256; 2] {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe { [_mm256_round_ps::<NEAREST>(x[0]), _mm256_round_ps::<NEAREST>(x[1])] }
    }

    #[inline(always)]
    fn scale(self, x: [__m256; 2], n: [__m256; 2]) -> [__m256; 2] {
        let mut scaled = x;
        for (x, n) in scaled.iter_mut().zip(n) {
            // The exponent is added to; of an `n` that is not a number, no bit is left after the shift.
            // SAFETY: `self` is the proof that the processor has the features.
            unsafe {
                let exponent = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n));
                *x = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(*x), exponent));
            }
        }
        scaled
    }

    #[inline(always)]
    fn clamp(self, x: [__m256; 2], low: [__m256; 2], high: [__m256; 2]) -> [__m256; 2] {
        // The instructions return the second operand where either is not a number.
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe {
            [
                _mm256_min_ps(high[0], _mm256_max_ps(low[0], x[0])),
                _mm256_min_ps(high[1], _mm256_max_ps(low[1], x[1])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load_bfloat16(self, from: *const BFloat16) -> Self::Vector {
        // SAFETY: the caller vouches for 16 readable numbers.
        let halves = unsafe { from.cast::<[BFloat16; 16]>().read_unaligned() };
        let numbers = halves.map(BFloat16::value);
        // SAFETY: the array has 16 numbers.
        unsafe { self.load(numbers.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store_bfloat16(self, to: *mut BFloat16, value: Self::Vector) {
        let mut numbers = [0.0; 16];
        // SAFETY: the array has 16 numbers; the caller vouches for 16 writable ones.
        unsafe {
            self.store(numbers.as_mut_ptr(), value);
            to.cast::<[BFloat16; 16]>().write_unaligned(numbers.map(BFloat16::new));
        }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const BFloat16) -> Self::Pairs {
        // SAFETY: the caller vouches for 32 readable numbers.
        let pairs = unsafe { from.cast::<[[BFloat16; 2]; 16]>().read_unaligned() };
        let [low, high] = [pairs.map(|pair| pair[0].value()), pairs.map(|pair| pair[1].value())];
        // SAFETY: the arrays have 16 numbers.
        unsafe { [self.load(low.as_ptr()), self.load(high.as_ptr())] }
    }

    #[inline(always)]
    unsafe fn splat_pair(self, from: *const BFloat16) -> Self::Pairs {
        // SAFETY: the caller vouches for 2 readable numbers.
        let pair = unsafe { from.cast::<[BFloat16; 2]>().read_unaligned() };
        pair.map(|number| self.splat(number.value()))
    }

    #[inline(always)]
    unsafe fn load_interleaved(self, low: *const BFloat16, high: *const BFloat16) -> Self::Pairs {
        // SAFETY: the caller's promise.
        unsafe { [self.load_bfloat16(low), self.load_bfloat16(high)] }
    }

    #[inline(always)]
    fn multiply_add_pairs(self, a: Self::Pairs, b: Self::Pairs, c: Self::Vector) -> Self::Vector {
        self.multiply_add(a[0], b[0], self.multiply_add(a[1], b[1], c))
    }

    #[inline(always)]
    fn fused_multiply_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        self.multiply_add(a, b, c)
    }

    #[inline(always)]
    unsafe fn load_uint8(self, from: *const UInt8) -> [__m256; 2] {
        // SAFETY: `self` is the proof of the features; the caller vouches for 16 readable bytes.
        unsafe {
            let low = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()));
            let high = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast()));
            [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)]
        }
    }

    #[inline(always)]
    unsafe fn store_uint8(self, to: *mut UInt8, value: [__m256; 2]) {
        // SAFETY: the caller's promise.
        unsafe { self.store_levels(to, value, self.splat(0.0), self.splat(255.0)) };
    }

    #[inline(always)]
    unsafe fn store_levels(self, to: *mut UInt8, x: [__m256; 2], low: [__m256; 2], high: [__m256; 2]) {
        // The maximum is the second operand where either is not a number.
        // SAFETY: `self` is the proof of the features; the caller vouches for 16 writable bytes.
        unsafe {
            let first = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(x[0], low[0]), high[0]));
            let second = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(x[1], low[1]), high[1]));
            // The instruction packs each half by itself.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(first, second));
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const UInt8) -> [__m256i; 2] {
        // SAFETY: `self` is the proof of the features; the caller vouches for 64 readable bytes.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
    }

    #[inline(always)]
    unsafe fn splat_quad(self, from: *const UInt8) -> [__m256i; 2] {
        // SAFETY: `self` is the proof of the features; the caller vouches for 4 readable bytes.
        unsafe { [_mm256_set1_epi32(from.cast::<i32>().read_unaligned()); 2] }
    }

    #[inline(always)]
    unsafe fn load_integers(self, from: *const i32) -> [__m256i; 2] {
        // SAFETY: `self` is the proof of the features; the caller vouches for 16 readable integers.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast())] }
    }

    #[inline(always)]
    fn multiply_add_quads(self, a: [__m256i; 2], b: [__m256i; 2], c: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe { [multiply_add_quads(a[0], b[0], c[0]), multiply_add_quads(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    fn to_vector(self, x: [__m256i; 2]) -> [__m256; 2] {
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe { [_mm256_cvtepi32_ps(x[0]), _mm256_cvtepi32_ps(x[1])] }
    }

    #[inline(always)]
    fn where_greater(self, a: [__m256; 2], b: [__m256; 2], x: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe {
            [
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a[0], b[0]), x[0]),
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a[1], b[1]), x[1]),
            ]
        }
    }

    #[inline(always)]
    fn maximum(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe {
            let nan = [_mm256_cmp_ps::<_CMP_UNORD_Q>(a[0], a[0]), _mm256_cmp_ps::<_CMP_UNORD_Q>(a[1], a[1])];
            [
                _mm256_blendv_ps(_mm256_max_ps(a[0], b[0]), a[0], nan[0]),
                _mm256_blendv_ps(_mm256_max_ps(a[1], b[1]), a[1], nan[1]),
            ]
        }
    }
}
