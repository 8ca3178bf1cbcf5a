//! Memory that starts on a cache line, so that no vector load straddles two.

use crate::{EngineError, geometry::NUMBERS_PER_MEGABYTE};

/// Numbers per cache line of 64 bytes.
const LINE: usize = 16;

/// Zero-initialised numbers whose first one is 64-byte aligned.
#[derive(Debug)]
pub(crate) struct Buffer {
    numbers: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn zeroed(len: usize) -> Result<Self, EngineError> {
        let mut numbers = Vec::new();
        let padded = len.saturating_add(LINE);
        let failed = |_| EngineError::Memory { megabytes: padded / NUMBERS_PER_MEGABYTE };
        numbers.try_reserve_exact(padded).map_err(failed)?;
        #[cfg(target_os = "linux")]
        advise_huge_pages(numbers.spare_capacity_mut());
        numbers.resize(padded, 0.0);
        let start = numbers.as_ptr().align_offset(64).min(LINE);
        numbers.truncate(start + len);
        #[cfg(regraft_sanitized)]
        crate::guard::forbid(numbers.spare_capacity_mut());
        Ok(Self { numbers, start, len })
    }

    /// Leaves the first numbers of those that there was room for at the beginning, whatever they are.
    pub(crate) fn set_len(&mut self, len: usize) {
        self.len = len.min(self.numbers.len() - self.start);
    }
}

/// Bytes of a huge page on x86-64 and most others.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

/// Asks for large pages, of which the processor keeps the addresses of a whole layer's weights at hand. ResNet-50 on single
/// images, whose Winograd weights are 229 MB: 1.05 times as fast on a Xeon (family 6, model 207).
#[cfg(target_os = "linux")]
fn advise_huge_pages(memory: &mut [std::mem::MaybeUninit<f32>]) {
    let start = memory.as_mut_ptr().cast::<u8>();
    let skipped = start.align_offset(HUGE_PAGE);
    let size = size_of_val(memory).saturating_sub(skipped) / HUGE_PAGE * HUGE_PAGE;
    if size > 0 {
        // SAFETY: the pages lie within the memory, and the advice changes nothing of what is in them. It may be declined.
        unsafe { libc::madvise(start.wrapping_add(skipped).cast(), size, libc::MADV_HUGEPAGE) };
    }
}

impl std::ops::Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.numbers.get(self.start..self.start + self.len).unwrap_or(&[])
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.numbers.get_mut(self.start..self.start + self.len).unwrap_or(&mut [])
    }
}
