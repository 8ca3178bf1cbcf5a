//! Memory that starts on a cache line, so that no vector load straddles two.

use crate::{EngineError, geometry::NUMBERS_PER_MEGABYTE};

/// Numbers per cache line of 64 bytes.
const LINE: usize = 16;

/// Zero-initialised numbers whose first one is 64-byte aligned.
#[derive(Debug)]
pub(crate) struct Buffer {
    numbers: Vec<f32>,
    start: usize,
}

impl Buffer {
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn zeroed(len: usize) -> Result<Self, EngineError> {
        let mut numbers = Vec::new();
        let padded = len.saturating_add(LINE);
        let failed = |_| EngineError::Memory { megabytes: padded / NUMBERS_PER_MEGABYTE };
        numbers.try_reserve_exact(padded).map_err(failed)?;
        numbers.resize(padded, 0.0);
        let start = numbers.as_ptr().align_offset(64).min(LINE);
        numbers.truncate(start + len);
        #[cfg(regraft_sanitized)]
        crate::guard::forbid(numbers.spare_capacity_mut());
        Ok(Self { numbers, start })
    }
}

impl std::ops::Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.numbers.get(self.start..).unwrap_or(&[])
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.numbers.get_mut(self.start..).unwrap_or(&mut [])
    }
}
