//! The computations, one file per family.
//!
//! A kernel divides its work into numbered units that may run in any order and on any thread: every number is computed
//! by one unit, in an order of operations that depends neither on the unit's neighbours nor on the batch. That is what
//! makes results the same for any number of threads. Kernels work through raw pointers, because units of one step write
//! interleaved parts of one buffer; their sizes are checked once, when a step is built.

pub(crate) mod activation;
pub(crate) mod attention;
#[cfg(target_arch = "x86_64")]
mod attention_tiled;
pub(crate) mod average;
mod blocking;
pub(crate) mod concat;
pub(crate) mod dense;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
mod factor;
pub(crate) mod int8;
pub(crate) mod normalization;
pub(crate) mod packing;
pub(crate) mod pool;
mod register_tile;
pub(crate) mod rows;
#[cfg(target_arch = "x86_64")]
mod tiled;
pub(crate) mod tokens;
pub(crate) mod winograd;

use crate::{EngineError, geometry::Geometry};

/// One value of a group of images: image `i` starts `i · image` bytes behind `pointer`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) pointer: *mut u8,
    pub(crate) image: usize,
}

// SAFETY: a span is an address without ownership; who reads or writes through it vouches for the absence of races.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

impl Span {
    /// Start of an image.
    ///
    /// # Safety
    /// The span must hold more than `index` images of numbers `T`.
    #[inline(always)]
    pub(crate) unsafe fn at<T>(self, index: usize) -> *mut T {
        // SAFETY: the image lies in the span's allocation.
        unsafe { self.pointer.add(index * self.image).cast() }
    }
}

/// What a step reads and writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operands {
    pub(crate) input: Span,
    /// The other summand; the input again where a step has none.
    pub(crate) second: Span,
    pub(crate) output: Span,
    pub(crate) images: usize,
    /// Threads that share the step.
    pub(crate) threads: usize,
}

/// Calls a function with the number of pixels of a tile as a constant. Sizes above the instruction set's are never asked
/// for; the condition is a constant of its own, so that no code is made for them.
macro_rules! for_tile_size {
    ($simd:ident, $blocks:ident, $count:expr, $pixels:ident => $call:expr) => {
        for_tile_size!(@ $simd, $blocks, $count, $pixels, $call, 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
    (@ $simd:ident, $blocks:ident, $count:expr, $pixels:ident, $call:expr, $($size:literal)*) => {
        match $count {
            $($size if const { $size <= $simd::PIXELS && $blocks <= $simd::BLOCKS } => {
                const $pixels: usize = $size;
                $call
            })*
            _ => {}
        }
    };
}
use for_tile_size;

/// Refuses a step that would read `reach` numbers of an image that has fewer. This is the one place that the kernels'
/// pointers rely on.
fn check_bounds(reach: usize, geometry: &Geometry) -> Result<(), EngineError> {
    let size = geometry.image();
    if reach <= size { Ok(()) } else { Err(EngineError::Bounds { reach, size }) }
}
