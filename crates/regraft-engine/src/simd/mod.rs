//! Sixteen single-precision lanes, on whatever vectors the processor has.
//!
//! A kernel is written once over [`Simd`] and compiled once for each instruction set: [`launch`] enters it through a
//! function with `#[target_feature]`, and everything below is `#[inline(always)]`, so that the whole kernel is compiled
//! with those instructions. Kernels therefore use plain loops: a closure that is not inlined would lose them. A value of
//! a [`Simd`] type is the proof that its instructions exist, for only `detect` makes one.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod functions;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

use crate::{InstructionSet, Precision, Settings, element::BFloat16};

/// Lanes of a vector, and channels of a block.
pub(crate) const LANES: usize = 16;

/// Arithmetic on [`LANES`] numbers at once.
pub(crate) trait Simd: Copy {
    /// The lanes.
    type Vector: Copy;
    /// A pair of bfloat16 numbers for each lane.
    type Pairs: Copy;
    /// Output pixels of a dense tile: with [`Self::BLOCKS`] it fills the register file with sums.
    const PIXELS: usize;
    /// Blocks of output channels of a dense tile.
    const BLOCKS: usize;

    /// The same number in all lanes.
    fn splat(self, value: f32) -> Self::Vector;
    /// Reads 16 numbers.
    ///
    /// # Safety
    /// `from` must be valid for reading 16 numbers; any alignment.
    unsafe fn load(self, from: *const f32) -> Self::Vector;
    /// Writes 16 numbers.
    ///
    /// # Safety
    /// `to` must be valid for writing 16 numbers; any alignment.
    unsafe fn store(self, to: *mut f32, value: Self::Vector);
    /// `a + b`.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b + c`, rounded once where the instruction set can.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a · b`.
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a / b`.
    fn divide(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The nearest whole number, for |x| < 2²²; not-a-number stays.
    fn round(self, x: Self::Vector) -> Self::Vector;
    /// `x · 2ⁿ` for normal `x` and whole `n` whose result is normal; `x` that is not a number stays.
    fn scale(self, x: Self::Vector, n: Self::Vector) -> Self::Vector;
    /// `min(max(x, low), high)`; not-a-number stays.
    fn clamp(self, x: Self::Vector, low: Self::Vector, high: Self::Vector) -> Self::Vector;
    /// Reads 16 bfloat16 numbers.
    ///
    /// # Safety
    /// `from` must be valid for reading 16 numbers; any alignment.
    unsafe fn load_bfloat16(self, from: *const BFloat16) -> Self::Vector;
    /// Writes 16 numbers rounded to nearest, ties to even.
    ///
    /// # Safety
    /// `to` must be valid for writing 16 numbers; any alignment.
    unsafe fn store_bfloat16(self, to: *mut BFloat16, value: Self::Vector);
    /// Reads 16 pairs.
    ///
    /// # Safety
    /// `from` must be valid for reading 32 numbers; any alignment.
    unsafe fn load_pairs(self, from: *const BFloat16) -> Self::Pairs;
    /// One pair in all lanes.
    ///
    /// # Safety
    /// `from` must be valid for reading 2 numbers; any alignment.
    unsafe fn splat_pair(self, from: *const BFloat16) -> Self::Pairs;
    /// `a₀ · b₀ + a₁ · b₁ + c`. How often that is rounded depends on the instruction set.
    fn multiply_add_pairs(self, a: Self::Pairs, b: Self::Pairs, c: Self::Vector) -> Self::Vector;
    /// The larger one, and not-a-number if either is.
    fn maximum(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// The lanes as numbers.
    #[inline(always)]
    fn lanes(self, x: Self::Vector) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: the array has 16 numbers.
        unsafe { self.store(lanes.as_mut_ptr(), x) };
        lanes
    }
}

/// A computation written over [`Simd`].
pub(crate) trait Kernel {
    /// Computes. Implementations must be `#[inline(always)]`.
    fn run<S: Simd>(&self, simd: S);
}

/// As [`launch`], with instructions for the precision where there are some.
pub(crate) fn launch_with<K: Kernel>(settings: Settings, kernel: &K) {
    #[cfg(target_arch = "x86_64")]
    if settings.precision.is_native(settings.instruction_set)
        && settings.precision == Precision::BFloat16
        && let Some(simd) = Avx512::<true>::detect()
    {
        return avx512::enter_bfloat16(simd, kernel);
    }
    launch(settings.instruction_set, kernel);
}

/// Whether the processor has dot products of bfloat16 numbers.
pub(crate) fn has_bfloat16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return Avx512::<true>::detect().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Runs a kernel with an instruction set; with the portable one where the processor lacks it.
pub(crate) fn launch<K: Kernel>(set: InstructionSet, kernel: &K) {
    #[cfg(target_arch = "x86_64")]
    match set {
        InstructionSet::Avx512 => {
            if let Some(simd) = Avx512::<false>::detect() {
                return avx512::enter(simd, kernel);
            }
        }
        InstructionSet::Avx2 => {
            if let Some(simd) = Avx2::detect() {
                return avx2::enter(simd, kernel);
            }
        }
        InstructionSet::Portable => {}
    }
    let _ = set;
    kernel.run(Portable);
}
