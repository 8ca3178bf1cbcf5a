//! Which vector instructions a program uses.

use crate::{EngineError, simd::Simd as _};

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

    /// The environment variable that chooses another one than the fastest, for tests and for tools that emulate an
    /// older processor: `amx`, `avx512`, `avx2` or `portable`.
    pub const VARIABLE: &str = "REGRAFT_INSTRUCTION_SET";

    /// The one that [`VARIABLE`](Self::VARIABLE) names, else the fastest one that this processor has. A value that cannot
    /// be used is passed over here, so that nothing which only computes has to fail for it: a program that lets its
    /// user choose asks [`from_environment`](Self::from_environment) once, when it starts.
    pub fn detect() -> Self {
        let fastest = || Self::ALL.into_iter().find(|set| set.is_available());
        Self::from_environment().ok().flatten().or_else(fastest).unwrap_or(Self::Portable)
    }

    /// The one that [`VARIABLE`](Self::VARIABLE) names; `None` if it is empty or not set.
    ///
    /// # Errors
    /// The name is unknown, or this processor lacks the instructions.
    pub fn from_environment() -> Result<Option<Self>, EngineError> {
        match std::env::var_os(Self::VARIABLE).filter(|name| !name.is_empty()) {
            Some(name) => Self::available(&name.to_string_lossy()).map(Some),
            None => Ok(None),
        }
    }

    fn available(name: &str) -> Result<Self, EngineError> {
        let unknown = || EngineError::UnknownInstructionSet { name: name.to_owned() };
        let set = Self::named(name).ok_or_else(unknown)?;
        if set.is_available() { Ok(set) } else { Err(EngineError::InstructionSet { name: set.name() }) }
    }

    /// The one with that [`name`](Self::name); `avx2` will do for `avx2+fma`.
    pub fn named(name: &str) -> Option<Self> {
        let name = if name == "avx2" { Self::Avx2.name() } else { name };
        Self::ALL.into_iter().find(|set| set.name() == name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_others_refused() {
        for set in InstructionSet::ALL {
            assert_eq!(InstructionSet::named(set.name()), Some(set));
        }
        assert_eq!(InstructionSet::named("avx2"), Some(InstructionSet::Avx2));
        let error = InstructionSet::available("AVX-2").unwrap_err();
        assert!(error.to_string().contains("'AVX-2'"), "{error}");
    }
}
