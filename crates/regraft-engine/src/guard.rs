//! Under AddressSanitizer, what a kernel has no business with is out of bounds.
//!
//! All values of a group of images lie in one stretch of memory, and every buffer has a few numbers to spare for its
//! alignment: without a word, the sanitizer sees nothing wrong in either. `cargo xtask check --full` builds with
//! `--cfg regraft_sanitized`; else nothing of this is there.

use std::ffi::c_void;

unsafe extern "C" {
    fn __asan_poison_memory_region(start: *const c_void, size: usize);
    fn __asan_unpoison_memory_region(start: *const c_void, size: usize);
}

/// Forbids some memory for as long as it is allocated.
pub(crate) fn forbid(bytes: &[std::mem::MaybeUninit<f32>]) {
    // SAFETY: the sanitizer only notes down what may be read; the memory itself stays as it is.
    unsafe { __asan_poison_memory_region(bytes.as_ptr().cast(), size_of_val(bytes)) };
}

/// Forbids a stretch of memory but for some parts of it, until dropped.
pub(crate) struct Guard {
    start: *const u8,
    size: usize,
}

impl Guard {
    /// `parts` are offsets from `start` and sizes, in bytes.
    pub(crate) fn new(start: *const u8, size: usize, parts: impl Iterator<Item = (usize, usize)>) -> Self {
        // SAFETY: as above.
        unsafe { __asan_poison_memory_region(start.cast(), size) };
        for (offset, size) in parts {
            // SAFETY: as above.
            unsafe { __asan_unpoison_memory_region(start.wrapping_add(offset).cast(), size) };
        }
        Self { start, size }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { __asan_unpoison_memory_region(self.start.cast(), self.size) };
    }
}
