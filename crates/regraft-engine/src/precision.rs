//! In which numbers a network is computed.

use crate::InstructionSet;

/// Numbers of weights and activations. Sums are single precision in every case, and so are vectors (N×D), which cost
/// little and are what a user sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// 32-bit floating point, IEEE 754 binary32.
    #[default]
    Float32,
    /// 16-bit floating point with the exponent of binary32 and 8 significant bits. Computed by the dot-product
    /// instructions of AVX-512 BF16 where the processor has them, else by conversion, which is slower than
    /// [`Precision::Float32`].
    BFloat16,
    /// 8-bit integers: activations of convolutions with one scale and zero point a value, weights with one scale an
    /// output channel; what no convolution reads stays binary32. It needs a [`Calibration`](crate::Calibration), and so
    /// its own [`Program::compile_int8`](crate::Program::compile_int8). Sums are exact and the same on every instruction
    /// set. Computed by AVX-512 VNNI where the processor has it, else by products of 16 bits, which is about as fast as
    /// [`Precision::Float32`].
    Int8,
}

impl Precision {
    /// All of them, most exact first.
    pub const ALL: [Self; 3] = [Self::Float32, Self::BFloat16, Self::Int8];

    /// `f32`, `bf16` or `int8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "f32",
            Self::BFloat16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// Whether this processor has instructions for it in this instruction set.
    pub fn is_native(self, set: InstructionSet) -> bool {
        match self {
            Self::Float32 => true,
            Self::BFloat16 => set.is_wide() && crate::simd::has_bfloat16(),
            Self::Int8 => set.is_wide() && crate::simd::has_int8(),
        }
    }
}

/// How a program computes.
///
/// ```
/// use regraft_engine::{Precision, Settings};
///
/// let settings = Settings { precision: Precision::BFloat16, ..Settings::default() };
/// assert_eq!(settings.precision.name(), "bf16");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Vector instructions; the fastest that the processor has by default.
    pub instruction_set: InstructionSet,
    /// Numbers; single precision by default.
    pub precision: Precision,
}

impl Default for Settings {
    fn default() -> Self {
        Self { instruction_set: InstructionSet::detect(), precision: Precision::default() }
    }
}
