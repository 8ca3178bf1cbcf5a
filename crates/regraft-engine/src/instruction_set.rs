//! Which vector instructions a program uses.

use crate::simd::Simd as _;

/// Vector instructions that the kernels are built for. The best one that the processor has is found at run time, so
/// that one binary serves all processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstructionSet {
    /// 512-bit vectors, and tiles (Intel AMX) for sums of products in bfloat16 and 8-bit integers.
    Amx,
    /// 512-bit vectors with fused multiply–add (x86-64-v4).
    Avx512,
    /// 256-bit vectors with fused multiply–add (x86-64-v3).
    Avx2,
    /// Whatever the compiler makes of plain arithmetic on the target's baseline.
    Portable,
}

impl InstructionSet {
    /// All of them, fastest first.
    pub const ALL: [Self; 4] = [Self::Amx, Self::Avx512, Self::Avx2, Self::Portable];

    /// The fastest one that this processor has.
    pub fn detect() -> Self {
        Self::ALL.into_iter().find(|set| set.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx => crate::simd::amx::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => crate::simd::Avx512::<false, false>::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => crate::simd::Avx2::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Amx | Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// `amx`, `avx512`, `avx2+fma` or `portable`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2+fma",
            Self::Portable => "portable",
        }
    }

    /// Whether vectors have 512 bits.
    pub(crate) fn is_wide(self) -> bool {
        matches!(self, Self::Amx | Self::Avx512)
    }

    /// Output pixels and blocks of output channels of a dense tile.
    pub(crate) fn dense_tile(self) -> [usize; 2] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512 => {
                [crate::simd::Avx512::<false, false>::PIXELS, crate::simd::Avx512::<false, false>::BLOCKS]
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => [crate::simd::Avx2::PIXELS, crate::simd::Avx2::BLOCKS],
            _ => [crate::simd::Portable::PIXELS, crate::simd::Portable::BLOCKS],
        }
    }
}
