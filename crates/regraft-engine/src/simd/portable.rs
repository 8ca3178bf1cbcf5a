//! Plain arithmetic that the compiler turns into the target's baseline vectors.

use super::{Kernel, LANES, Simd};
use crate::element::{BFloat16, Number as _, UInt8};

/// Needs no proof.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type Vector = [f32; LANES];
    type Pairs = [[f32; LANES]; 2];
    type Quads = [[u8; 4]; LANES];
    type Integers = [i32; LANES];
    // Eight 128-bit sums, four weights and one input of the sixteen registers of SSE2.
    const PIXELS: usize = 2;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: &K) {
        kernel.run_portable();
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; LANES] {
        // SAFETY: the caller vouches for 16 readable numbers.
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: [f32; LANES]) {
        // SAFETY: the caller vouches for 16 writable numbers.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(value) }
    }

    #[inline(always)]
    fn add(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        let mut sum = a;
        for (sum, b) in sum.iter_mut().zip(b) {
            *sum += b;
        }
        sum
    }

    #[inline(always)]
    fn multiply_add(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        // Rounded twice: a fused operation would be a call into the C library on the baseline.
        let mut sum = c;
        for (sum, (a, b)) in sum.iter_mut().zip(a.into_iter().zip(b)) {
            *sum += a * b;
        }
        sum
    }

    #[inline(always)]
    fn multiply(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        let mut result = a;
        for (a, b) in result.iter_mut().zip(b) {
            *a *= b;
        }
        result
    }

    #[inline(always)]
    fn divide(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        let mut result = a;
        for (a, b) in result.iter_mut().zip(b) {
            *a /= b;
        }
        result
    }

    #[inline(always)]
    fn round(self, x: [f32; LANES]) -> [f32; LANES] {
        // Adding 1.5 · 2²³ leaves no bits behind the point.
        x.map(|x| (x + 12_582_912.0) - 12_582_912.0)
    }

    #[inline(always)]
    fn scale(self, x: [f32; LANES], n: [f32; LANES]) -> [f32; LANES] {
        let mut scaled = x;
        for (x, n) in scaled.iter_mut().zip(n) {
            *x = f32::from_bits(x.to_bits().wrapping_add(((n as i32) << 23) as u32));
        }
        scaled
    }

    #[inline(always)]
    fn clamp(self, x: [f32; LANES], low: [f32; LANES], high: [f32; LANES]) -> [f32; LANES] {
        let mut clamped = x;
        for (x, (low, high)) in clamped.iter_mut().zip(low.into_iter().zip(high)) {
            *x = if *x < low { low } else { *x };
            *x = if *x > high { high } else { *x };
        }
        clamped
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
    fn fused_multiply_add(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        let mut sum = c;
        for (sum, (a, b)) in sum.iter_mut().zip(a.into_iter().zip(b)) {
            *sum = a.mul_add(b, *sum);
        }
        sum
    }

    #[inline(always)]
    unsafe fn load_uint8(self, from: *const UInt8) -> [f32; LANES] {
        // SAFETY: the caller vouches for 16 readable bytes.
        unsafe { from.cast::<[UInt8; LANES]>().read_unaligned() }.map(UInt8::value)
    }

    #[inline(always)]
    unsafe fn store_uint8(self, to: *mut UInt8, value: [f32; LANES]) {
        // SAFETY: the caller vouches for 16 writable bytes.
        unsafe { to.cast::<[UInt8; LANES]>().write_unaligned(value.map(UInt8::new)) };
    }

    #[inline(always)]
    unsafe fn store_levels(self, to: *mut UInt8, x: [f32; LANES], low: [f32; LANES], high: [f32; LANES]) {
        let mut clamped = x;
        for (x, (low, high)) in clamped.iter_mut().zip(low.into_iter().zip(high)) {
            *x = if *x > low { *x } else { low };
            *x = if *x < high { *x } else { high };
        }
        // SAFETY: the caller's promise.
        unsafe { self.store_uint8(to, clamped) };
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const UInt8) -> [[u8; 4]; LANES] {
        // SAFETY: the caller vouches for 64 readable bytes.
        unsafe { from.cast::<[[u8; 4]; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn splat_quad(self, from: *const UInt8) -> [[u8; 4]; LANES] {
        // SAFETY: the caller vouches for 4 readable bytes.
        [unsafe { from.cast::<[u8; 4]>().read_unaligned() }; LANES]
    }

    #[inline(always)]
    unsafe fn load_integers(self, from: *const i32) -> [i32; LANES] {
        // SAFETY: the caller vouches for 16 readable integers.
        unsafe { from.cast::<[i32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    fn multiply_add_quads(self, a: [[u8; 4]; LANES], b: [[u8; 4]; LANES], c: [i32; LANES]) -> [i32; LANES] {
        let mut sums = c;
        for (sum, (a, b)) in sums.iter_mut().zip(a.into_iter().zip(b)) {
            for (a, b) in a.into_iter().zip(b) {
                *sum = sum.wrapping_add(i32::from(a) * i32::from(b as i8));
            }
        }
        sums
    }

    #[inline(always)]
    fn to_vector(self, x: [i32; LANES]) -> [f32; LANES] {
        x.map(|x| x as f32)
    }

    #[inline(always)]
    fn where_greater(self, a: [f32; LANES], b: [f32; LANES], x: [f32; LANES]) -> [f32; LANES] {
        let mut chosen = x;
        for (x, (a, b)) in chosen.iter_mut().zip(a.into_iter().zip(b)) {
            *x = if a > b { *x } else { 0.0 };
        }
        chosen
    }

    #[inline(always)]
    fn maximum(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        let mut larger = a;
        for (a, b) in larger.iter_mut().zip(b) {
            *a = if b > *a || b.is_nan() { b } else { *a };
        }
        larger
    }
}
