//! One 512-bit register.

use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, _CMP_GT_OQ, _CMP_UNORD_Q, _MM_FROUND_NO_EXC,
    _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm_sfence, _mm_storeu_si128,
    _mm256_loadu_si256, _mm256_storeu_si256, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512,
    _mm512_castpd_ps, _mm512_castps_pd, _mm512_castps_si512, _mm512_castsi256_si512, _mm512_castsi512_ps,
    _mm512_castsi512_si128, _mm512_castsi512_si256, _mm512_cmp_ps_mask, _mm512_cvtepi32_epi8,
    _mm512_cvtepi32_epi16, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtepu16_epi32,
    _mm512_cvtneps_pbh, _mm512_cvtps_epi32, _mm512_div_ps, _mm512_dpbf16_ps, _mm512_dpbusd_epi32,
    _mm512_extracti32x4_epi32, _mm512_extracti64x4_epi64, _mm512_fmadd_ps, _mm512_inserti64x4,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_blend_epi32, _mm512_mask_blend_ps, _mm512_maskz_mov_ps,
    _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_packs_epi32, _mm512_packus_epi16,
    _mm512_permutexvar_epi32, _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setr_epi32, _mm512_setzero_si512, _mm512_shuffle_f32x4, _mm512_slli_epi32, _mm512_srli_epi32,
    _mm512_storeu_ps, _mm512_storeu_si512, _mm512_stream_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
    _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

use std::mem::transmute;

use super::{Kernel, LANES, Simd, avx2};
use crate::element::{BFloat16, Number as _, UInt8};

/// Proof that the processor has AVX-512F, AVX-512 BF16 if `BF16`, and AVX-512 VNNI and BW if `VNNI`.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const BF16: bool, const VNNI: bool>(());

impl<const BF16: bool, const VNNI: bool> Avx512<BF16, VNNI> {
    pub(crate) fn detect() -> Option<Self> {
        let bfloat16 = !BF16 || is_x86_feature_detected!("avx512bf16");
        let int8 = !VNNI || is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw");
        (is_x86_feature_detected!("avx512f") && bfloat16 && int8).then_some(Self(()))
    }
}

impl<const BF16: bool, const VNNI: bool> Simd for Avx512<BF16, VNNI> {
    type Vector = __m512;
    type Pairs = __m512i;
    type Quads = __m512i;
    type Integers = __m512i;
    // 28 sums, 2 weights and 1 input of 32 registers.
    const PIXELS: usize = 14;
    const BLOCKS: usize = 2;

    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        // SAFETY: a prefetch reads and writes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: &K) {
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe {
            if BF16 {
                kernel.run_bfloat16(Avx512(()));
            } else if VNNI {
                kernel.run_int8(Avx512(()));
            } else {
                kernel.run_avx512(Avx512(()));
            }
        }
    }

    #[inline(always)]
    #[allow(
        clippy::indexing_slicing,
        reason = "indices are below the constants that the arrays have as sizes"
    )]
    fn transpose(self, rows: [__m512; LANES]) -> [__m512; LANES] {
        let [mut fours, mut turned] = [rows; 2];
        for row in (0..LANES).step_by(4) {
            // SAFETY: `self` is the proof that the processor has the feature.
            let columns =
                unsafe { turned_by_quarters([rows[row], rows[row + 1], rows[row + 2], rows[row + 3]]) };
            fours[row..row + 4].copy_from_slice(&columns);
        }
        for column in 0..4 {
            // SAFETY: as above.
            let quarters = unsafe {
                turned_quarters([fours[column], fours[4 + column], fours[8 + column], fours[12 + column]])
            };
            for (quarter, vector) in quarters.into_iter().enumerate() {
                turned[4 * quarter + column] = vector;
            }
        }
        turned
    }

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
    unsafe fn stream(self, to: *mut f32, value: __m512) {
        // SAFETY: `self` is the proof of the feature; the caller vouches for a writable line.
        unsafe { _mm512_stream_ps(to, value) }
    }

    #[inline(always)]
    fn fence(self) {
        // SAFETY: every processor with the vectors has the instruction.
        unsafe { _mm_sfence() };
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
    fn multiply(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the feature.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn divide(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the feature.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn round(self, x: __m512) -> __m512 {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: `self` is the proof that the processor has the feature.
        unsafe { _mm512_roundscale_ps::<NEAREST>(x) }
    }

    #[inline(always)]
    fn scale(self, x: __m512, n: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the feature.
        unsafe { _mm512_scalef_ps(x, n) }
    }

    #[inline(always)]
    fn clamp(self, x: __m512, low: __m512, high: __m512) -> __m512 {
        // The instructions return the second operand where either is not a number.
        // SAFETY: `self` is the proof that the processor has the feature.
        unsafe { _mm512_min_ps(high, _mm512_max_ps(low, x)) }
    }

    #[inline(always)]
    unsafe fn load_bfloat16(self, from: *const BFloat16) -> __m512 {
        // SAFETY: `self` is the proof of the feature; the caller vouches for 16 readable numbers.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
        }
    }

    #[inline(always)]
    unsafe fn store_bfloat16(self, to: *mut BFloat16, value: __m512) {
        // SAFETY: `self` is the proof of the features; the caller vouches for 16 writable numbers.
        unsafe {
            let halves = if BF16 {
                transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(value))
            } else {
                let bits = _mm512_castps_si512(value);
                let upper = _mm512_srli_epi32::<16>(bits);
                let odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
                let rounding = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
                let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, rounding));
                let quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
                let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
                _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(is_nan, rounded, quiet))
            };
            _mm256_storeu_si256(to.cast(), halves);
        }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const BFloat16) -> __m512i {
        // SAFETY: `self` is the proof of the feature; the caller vouches for 32 readable numbers.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat_pair(self, from: *const BFloat16) -> __m512i {
        // SAFETY: `self` is the proof of the feature; the caller vouches for 2 readable numbers.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_interleaved(self, low: *const BFloat16, high: *const BFloat16) -> __m512i {
        // SAFETY: `self` is the proof of the feature; the caller vouches for 16 readable numbers each.
        unsafe {
            let low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(low.cast()));
            let high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(high.cast()));
            _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
        }
    }

    #[inline(always)]
    unsafe fn store_interleaved(self, to: *mut BFloat16, low: __m512, high: __m512) {
        let mut halves = [BFloat16::new(0.0); 32];
        // SAFETY: `self` is the proof of the features; the array has 32 numbers, and the caller vouches for 32 writable
        // ones.
        unsafe {
            self.store_bfloat16(halves.as_mut_ptr(), low);
            self.store_bfloat16(halves.as_mut_ptr().add(16), high);
            let pairs = self.load_interleaved(halves.as_ptr(), halves.as_ptr().add(16));
            _mm512_storeu_si512(to.cast(), pairs);
        }
    }

    #[inline(always)]
    fn multiply_add_pairs(self, a: __m512i, b: __m512i, c: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the features; the types are bits of one size.
        unsafe {
            if BF16 {
                return _mm512_dpbf16_ps(
                    c,
                    transmute::<__m512i, __m512bh>(a),
                    transmute::<__m512i, __m512bh>(b),
                );
            }
            let low = |pairs| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs));
            let high = |pairs| {
                let mask = _mm512_set1_epi32(0xffff_0000_u32 as i32);
                _mm512_castsi512_ps(_mm512_and_si512(pairs, mask))
            };
            _mm512_fmadd_ps(low(a), low(b), _mm512_fmadd_ps(high(a), high(b), c))
        }
    }

    #[inline(always)]
    fn fused_multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        self.multiply_add(a, b, c)
    }

    #[inline(always)]
    unsafe fn load_uint8(self, from: *const UInt8) -> __m512 {
        // SAFETY: `self` is the proof of the feature; the caller vouches for 16 readable bytes.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn store_uint8(self, to: *mut UInt8, value: __m512) {
        // SAFETY: the caller's promise.
        unsafe { self.store_levels(to, value, self.splat(0.0), self.splat(255.0)) };
    }

    #[inline(always)]
    unsafe fn store_levels(self, to: *mut UInt8, x: __m512, low: __m512, high: __m512) {
        // The maximum is the second operand where either is not a number.
        // SAFETY: `self` is the proof of the feature; the caller vouches for 16 writable bytes.
        unsafe {
            let clamped = _mm512_min_ps(_mm512_max_ps(x, low), high);
            _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(clamped)));
        }
    }

    #[inline(always)]
    unsafe fn store_levels_four(self, to: [*mut UInt8; 4], x: [__m512; 4], low: __m512, high: __m512) {
        // SAFETY: `self` is the proof of the features; the caller vouches for 16 writable bytes each, which are 64 where
        // they follow each other.
        unsafe {
            if !VNNI {
                for (to, x) in to.into_iter().zip(x) {
                    self.store_levels(to, x, low, high);
                }
                return;
            }
            let mut levels = [_mm512_setzero_si512(); 4];
            for (levels, x) in levels.iter_mut().zip(x) {
                *levels = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(x, low), high));
            }
            let words = [_mm512_packs_epi32(levels[0], levels[1]), _mm512_packs_epi32(levels[2], levels[3])];
            // Each quarter of the register has four bytes of every vector.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(words[0], words[1]));
            let follow = to[1] == to[0].wrapping_add(16)
                && to[2] == to[0].wrapping_add(32)
                && to[3] == to[0].wrapping_add(48);
            if follow {
                _mm512_storeu_si512(to[0].cast(), bytes);
            } else {
                _mm_storeu_si128(to[0].cast(), _mm512_castsi512_si128(bytes));
                _mm_storeu_si128(to[1].cast(), _mm512_extracti32x4_epi32::<1>(bytes));
                _mm_storeu_si128(to[2].cast(), _mm512_extracti32x4_epi32::<2>(bytes));
                _mm_storeu_si128(to[3].cast(), _mm512_extracti32x4_epi32::<3>(bytes));
            }
        }
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const UInt8) -> __m512i {
        // SAFETY: `self` is the proof of the feature; the caller vouches for 64 readable bytes.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat_quad(self, from: *const UInt8) -> __m512i {
        // SAFETY: `self` is the proof of the feature; the caller vouches for 4 readable bytes.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_integers(self, from: *const i32) -> __m512i {
        // SAFETY: `self` is the proof of the feature; the caller vouches for 16 readable integers.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    fn multiply_add_quads(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        // SAFETY: `self` is the proof that the processor has the features; AVX-512F implies AVX2.
        unsafe {
            if VNNI {
                return _mm512_dpbusd_epi32(c, a, b);
            }
            let low = avx2::multiply_add_quads(
                _mm512_castsi512_si256(a),
                _mm512_castsi512_si256(b),
                _mm512_castsi512_si256(c),
            );
            let high = avx2::multiply_add_quads(
                _mm512_extracti64x4_epi64::<1>(a),
                _mm512_extracti64x4_epi64::<1>(b),
                _mm512_extracti64x4_epi64::<1>(c),
            );
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        }
    }

    #[inline(always)]
    fn to_vector(self, x: __m512i) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the feature.
        unsafe { _mm512_cvtepi32_ps(x) }
    }

    #[inline(always)]
    fn where_greater(self, a: __m512, b: __m512, x: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the feature.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), x) }
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

/// In each quarter of four vectors, lane `i` of vector `j` becomes lane `j` of vector `i`.
///
/// # Safety
/// The processor must have AVX-512F.
#[inline(always)]
unsafe fn turned_by_quarters([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let pairs = [_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)];
        let more = [_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)];
        let [first, third] = [_mm512_castps_pd(pairs[0]), _mm512_castps_pd(pairs[1])];
        let [second, fourth] = [_mm512_castps_pd(more[0]), _mm512_castps_pd(more[1])];
        [
            _mm512_castpd_ps(_mm512_unpacklo_pd(first, second)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(first, second)),
            _mm512_castpd_ps(_mm512_unpacklo_pd(third, fourth)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(third, fourth)),
        ]
    }
}

/// Quarter `i` of vector `j` becomes quarter `j` of vector `i`.
///
/// # Safety
/// The processor must have AVX-512F.
#[inline(always)]
unsafe fn turned_quarters([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    // SAFETY: the caller's promise.
    unsafe {
        let even = [_mm512_shuffle_f32x4::<EVEN>(a, b), _mm512_shuffle_f32x4::<EVEN>(c, d)];
        let odd = [_mm512_shuffle_f32x4::<ODD>(a, b), _mm512_shuffle_f32x4::<ODD>(c, d)];
        [
            _mm512_shuffle_f32x4::<EVEN>(even[0], even[1]),
            _mm512_shuffle_f32x4::<EVEN>(odd[0], odd[1]),
            _mm512_shuffle_f32x4::<ODD>(even[0], even[1]),
            _mm512_shuffle_f32x4::<ODD>(odd[0], odd[1]),
        ]
    }
}
