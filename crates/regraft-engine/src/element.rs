//! The types of number that activations are stored as.

use crate::{Precision, geometry::Geometry, simd::Simd};

/// Type of the numbers of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    Float32,
    BFloat16,
}

impl Element {
    /// Bytes of a number.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::BFloat16 => 2,
        }
    }

    /// What a value of this geometry is stored as. A single pixel is a vector, or about to become one.
    pub(crate) fn of(precision: Precision, geometry: &Geometry) -> Self {
        match precision {
            Precision::BFloat16 if geometry.pixels() > 1 => Self::BFloat16,
            _ => Self::Float32,
        }
    }
}

/// The upper half of a binary32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct BFloat16(u16);

/// A number as it is stored; kernels compute with its value in single precision.
pub(crate) trait Number: Copy {
    /// Rounds to nearest.
    fn new(value: f32) -> Self;
    /// The number in single precision, which holds it exactly.
    fn value(self) -> f32;
    /// Reads 16 numbers.
    ///
    /// # Safety
    /// `from` must be valid for reading 16 numbers; any alignment.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::Vector;
    /// Writes 16 numbers, rounded to nearest.
    ///
    /// # Safety
    /// `to` must be valid for writing 16 numbers; any alignment.
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, value: S::Vector);
}

impl Number for f32 {
    #[inline(always)]
    fn new(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn value(self) -> f32 {
        self
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe { simd.load(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, value: S::Vector) {
        // SAFETY: the caller's promise.
        unsafe { simd.store(to, value) }
    }
}

impl Number for BFloat16 {
    /// Ties go to even; not-a-number stays one.
    #[inline(always)]
    fn new(value: f32) -> Self {
        let bits = value.to_bits();
        if value.is_nan() {
            return Self((bits >> 16 | 0x40) as u16);
        }
        Self((bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16)
    }

    #[inline(always)]
    fn value(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe { simd.load_bfloat16(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, value: S::Vector) {
        // SAFETY: the caller's promise.
        unsafe { simd.store_bfloat16(to, value) }
    }
}

/// Calls a function that is generic over the numbers of a kernel's input and output.
macro_rules! with_numbers {
    ($input:expr, $output:expr, $object:ident.$function:ident$(::<$simd:ident>)?($($argument:expr),*)) => {
        match ($input, $output) {
            (Element::Float32, Element::Float32) => $object.$function::<$($simd,)? f32, f32>($($argument),*),
            (Element::BFloat16, Element::BFloat16) => {
                $object.$function::<$($simd,)? BFloat16, BFloat16>($($argument),*)
            }
            (Element::BFloat16, Element::Float32) => {
                $object.$function::<$($simd,)? BFloat16, f32>($($argument),*)
            }
            (Element::Float32, Element::BFloat16) => {
                $object.$function::<$($simd,)? f32, BFloat16>($($argument),*)
            }
        }
    };
}
pub(crate) use with_numbers;

/// Numbers of a buffer as the halves that they were written as.
pub(crate) fn halves(numbers: &[f32]) -> &[BFloat16] {
    // SAFETY: `BFloat16` is transparent over `u16`, which has half the size and alignment and allows all bits.
    let (_, halves, _) = unsafe { numbers.align_to() };
    halves
}

/// As [`halves`], for writing.
pub(crate) fn halves_mut(numbers: &mut [f32]) -> &mut [BFloat16] {
    // SAFETY: as above; a binary32 allows all bits too.
    let (_, halves, _) = unsafe { numbers.align_to_mut() };
    halves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_and_ties_to_even() {
        let cases =
            [(1.0, 1.0), (1.0 + 1.0 / 256.0, 1.0), (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0), (-5.01, -5.0)];
        for (value, expected) in cases {
            assert_eq!(BFloat16::new(value).value(), expected);
        }
        assert_eq!(BFloat16::new(f32::MAX).value(), f32::INFINITY);
        assert!(BFloat16::new(f32::NAN).value().is_nan());
    }
}
