//! The types of number that activations are stored as.

use crate::{Precision, geometry::Geometry, simd::Simd};

/// Type of the numbers of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    Float32,
    BFloat16,
    UInt8(Levels),
}

/// The real numbers that bytes stand for: `scale · (byte − zero)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Levels {
    /// Bits of a positive binary32, so that geometries can be compared.
    scale: u32,
    pub(crate) zero: u8,
}

impl Levels {
    /// Of bytes that span a range, and zero, which padding needs exactly.
    pub(crate) fn covering([low, high]: [f32; 2]) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = (high - low) / 255.0;
        let usable = scale.is_normal() && (1.0 / scale).is_normal();
        let scale = if usable { scale } else { 1.0 };
        Self { scale: scale.to_bits(), zero: UInt8::new(-low / scale).0 }
    }

    pub(crate) fn with_unit_scale(self) -> Self {
        Self { scale: 1.0f32.to_bits(), ..self }
    }

    pub(crate) fn scale(self) -> f32 {
        f32::from_bits(self.scale)
    }
}

/// `factor · x + shift`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Affine {
    pub(crate) factor: f32,
    pub(crate) shift: f32,
}

impl Affine {
    pub(crate) const IDENTITY: Self = Self { factor: 1.0, shift: 0.0 };

    /// From numbers as one element stores them to numbers as another does.
    pub(crate) fn between(from: Element, to: Element) -> Self {
        if from == to {
            return Self::IDENTITY;
        }
        let (from, to) = (from.to_real(), to.to_stored());
        Self { factor: from.factor * to.factor, shift: from.shift * to.factor + to.shift }
    }

    pub(crate) fn of(self, x: f32) -> f32 {
        self.factor * x + self.shift
    }
}

impl Element {
    /// Bytes of a number.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::BFloat16 => 2,
            Self::UInt8(_) => 1,
        }
    }

    pub(crate) fn levels(self) -> Option<Levels> {
        if let Self::UInt8(levels) = self { Some(levels) } else { None }
    }

    /// From the numbers that are stored to those that they stand for.
    pub(crate) fn to_real(self) -> Affine {
        let real = |levels: Levels| Affine {
            factor: levels.scale(),
            shift: -levels.scale() * f32::from(levels.zero),
        };
        self.levels().map_or(Affine::IDENTITY, real)
    }

    /// The inverse of [`Self::to_real`].
    pub(crate) fn to_stored(self) -> Affine {
        let stored = |levels: Levels| Affine { factor: 1.0 / levels.scale(), shift: f32::from(levels.zero) };
        self.levels().map_or(Affine::IDENTITY, stored)
    }

    /// What a value of this geometry is stored as if not in bytes. A single pixel is a vector, or about to become one.
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

/// One of 256 levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct UInt8(u8);

/// A number as it is stored; kernels compute with its value in single precision.
pub(crate) trait Number: Copy {
    /// Whether it stands for another number than itself, see [`Element::to_real`].
    const IS_LEVEL: bool = false;
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
    /// Writes 16 numbers clamped to `low` … `high`; bounds for levels are levels.
    ///
    /// # Safety
    /// As for [`Self::store`].
    #[inline(always)]
    unsafe fn store_between<S: Simd>(
        simd: S,
        to: *mut Self,
        value: S::Vector,
        low: S::Vector,
        high: S::Vector,
    ) {
        // SAFETY: the caller's promise.
        unsafe { Self::store(simd, to, simd.clamp(value, low, high)) };
    }
    /// As [`Self::store_between`] at four places.
    ///
    /// # Safety
    /// As for [`Self::store`], for each.
    #[inline(always)]
    unsafe fn store_four_between<S: Simd>(
        simd: S,
        to: [*mut Self; 4],
        values: [S::Vector; 4],
        low: S::Vector,
        high: S::Vector,
    ) {
        for (to, value) in to.into_iter().zip(values) {
            // SAFETY: the caller's promise.
            unsafe { Self::store_between(simd, to, value, low, high) };
        }
    }
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

impl Number for UInt8 {
    const IS_LEVEL: bool = true;

    /// Ties go to even; numbers outside 0 … 255 become the nearest end, not-a-number becomes 0.
    #[inline(always)]
    fn new(value: f32) -> Self {
        // The comparisons fail for not-a-number. Adding 2²³ leaves no bits behind the point.
        let value = if value > 0.0 { value } else { 0.0 };
        let value = if value < 255.0 { value } else { 255.0 };
        Self((value + 8_388_608.0).to_bits() as u8)
    }

    #[inline(always)]
    fn value(self) -> f32 {
        f32::from(self.0)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe { simd.load_uint8(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, value: S::Vector) {
        // SAFETY: the caller's promise.
        unsafe { simd.store_uint8(to, value) }
    }

    #[inline(always)]
    unsafe fn store_between<S: Simd>(
        simd: S,
        to: *mut Self,
        value: S::Vector,
        low: S::Vector,
        high: S::Vector,
    ) {
        // SAFETY: the caller's promise.
        unsafe { simd.store_levels(to, value, low, high) }
    }

    #[inline(always)]
    unsafe fn store_four_between<S: Simd>(
        simd: S,
        to: [*mut Self; 4],
        values: [S::Vector; 4],
        low: S::Vector,
        high: S::Vector,
    ) {
        // SAFETY: the caller's promise.
        unsafe { simd.store_levels_four(to, values, low, high) }
    }
}

impl UInt8 {
    pub(crate) fn of_bits(bits: u8) -> Self {
        Self(bits)
    }
}

/// Reads 16 numbers of any element as what they stand for. Not for inner loops.
///
/// # Safety
/// `from` must be valid for reading 16 numbers of the element.
#[inline(always)]
pub(crate) unsafe fn load_real<S: Simd>(simd: S, element: Element, from: *const u8) -> S::Vector {
    // SAFETY: the caller's promise.
    unsafe {
        match element {
            Element::Float32 => f32::load(simd, from.cast()),
            Element::BFloat16 => BFloat16::load(simd, from.cast()),
            Element::UInt8(_) => {
                let Affine { factor, shift } = element.to_real();
                simd.fused_multiply_add(UInt8::load(simd, from.cast()), simd.splat(factor), simd.splat(shift))
            }
        }
    }
}

/// Writes 16 numbers as any element. Not for inner loops.
///
/// # Safety
/// `to` must be valid for writing 16 numbers of the element.
#[inline(always)]
pub(crate) unsafe fn store_real<S: Simd>(simd: S, element: Element, to: *mut u8, value: S::Vector) {
    // SAFETY: the caller's promise.
    unsafe {
        match element {
            Element::Float32 => f32::store(simd, to.cast(), value),
            Element::BFloat16 => BFloat16::store(simd, to.cast(), value),
            Element::UInt8(_) => {
                let Affine { factor, shift } = element.to_stored();
                let level = simd.fused_multiply_add(value, simd.splat(factor), simd.splat(shift));
                UInt8::store(simd, to.cast(), level);
            }
        }
    }
}

/// Calls a function that is generic over the numbers of a kernel's input and output.
macro_rules! with_numbers {
    ($input:expr, $output:expr, $object:ident.$function:ident$(::<$simd:ident>)?($($argument:expr),*)) => {
        match ($input, $output) {
            (Element::UInt8(_), Element::UInt8(_)) => {
                $object.$function::<$($simd,)? UInt8, UInt8>($($argument),*)
            }
            (Element::UInt8(_), _) => $object.$function::<$($simd,)? UInt8, f32>($($argument),*),
            (_, Element::UInt8(_)) => $object.$function::<$($simd,)? f32, UInt8>($($argument),*),
            (input, output) => with_floats!(input, output, $object.$function$(::<$simd>)?($($argument),*)),
        }
    };
}
pub(crate) use with_numbers;

/// As [`with_numbers`], for kernels whose values are never stored as bytes (see `quantization`).
macro_rules! with_floats {
    ($input:expr, $output:expr, $object:ident.$function:ident$(::<$simd:ident>)?($($argument:expr),*)) => {
        match ($input, $output) {
            (Element::UInt8(_), _) | (_, Element::UInt8(_)) => {}
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
pub(crate) use with_floats;

/// Numbers of a buffer as the bytes that they were written as.
pub(crate) fn bytes(numbers: &[f32]) -> &[UInt8] {
    // SAFETY: `UInt8` is transparent over `u8`, which allows all bits.
    let (_, bytes, _) = unsafe { numbers.align_to() };
    bytes
}

/// As [`bytes`], for writing.
pub(crate) fn bytes_mut(numbers: &mut [f32]) -> &mut [UInt8] {
    // SAFETY: as above; a binary32 allows all bits too.
    let (_, bytes, _) = unsafe { numbers.align_to_mut() };
    bytes
}

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
