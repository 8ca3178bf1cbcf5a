//! The computations, one file per family.
//!
//! A kernel divides its work into numbered units that may run in any order and on any thread: every number is computed
//! by one unit, in an order of operations that depends neither on the unit's neighbours nor on the batch. That is what
//! makes results the same for any number of threads. Kernels work through raw pointers, because units of one step write
//! interleaved parts of one buffer; their sizes are checked once, when a step is built.

pub(crate) mod activation;
pub(crate) mod arithmetic;
pub(crate) mod attention;
#[cfg(target_arch = "x86_64")]
mod attention_tiled;
pub(crate) mod average;
mod blocking;
pub(crate) mod concat;
pub(crate) mod dense;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod embedding;
mod factor;
pub(crate) mod functions;
pub(crate) mod gather;
pub(crate) mod gradient;
pub(crate) mod int8;
pub(crate) mod lrn;
pub(crate) mod matmul;
pub(crate) mod normalization;
pub(crate) mod packing;
pub(crate) mod pool;
pub(crate) mod reading;
pub(crate) mod recurrent;
pub(crate) mod reduce;
mod register_tile;
pub(crate) mod resample;
pub(crate) mod rounding;
pub(crate) mod rows;
pub(crate) mod softmax;
#[cfg(target_arch = "x86_64")]
mod tiled;
pub(crate) mod tokens;
pub(crate) mod winograd;

use std::ops::Range;

use crate::{
    EngineError, Settings,
    element::{BFloat16, Element, Number, UInt8, load_real, store_real},
    geometry::Geometry,
    simd::{LANES, Simd},
};

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

/// Parts of a step for each thread: more, so that a thread that is slower gets fewer.
pub(crate) const PARTS: usize = 4;

/// A computation that the planning of a program need not know more about.
pub(crate) trait Computation: std::fmt::Debug + Send + Sync {
    /// Number of parts that the work on a group of images divides into.
    fn units(&self, images: usize) -> usize;
    /// Most parts that the units are computed in, which begin anew what units of one part share.
    fn most_parts(&self, threads: usize) -> usize {
        PARTS * threads
    }
    /// Roughly how much work there is: numbers that are computed with.
    fn cost(&self, images: usize) -> usize;
    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images of the geometries that the step was built with, the output apart from the
    /// others, and no other thread may compute the same units.
    unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>);
}

/// Units that are rows of a block of an image: the image, the block and the row of one.
fn row_of(geometry: &Geometry, unit: usize) -> [usize; 3] {
    let (plane, y) = (unit / geometry.height, unit % geometry.height);
    [plane / geometry.blocks(), plane % geometry.blocks(), y]
}

/// A block of a pixel as what its numbers stand for, of any element.
///
/// # Safety
/// The span must hold the image, and the image the block and the pixel.
#[inline(always)]
unsafe fn load_block<S: Simd>(
    simd: S,
    span: Span,
    geometry: &Geometry,
    [image, block]: [usize; 2],
    [y, x]: [usize; 2],
) -> S::Vector {
    let number = block * geometry.plane() + geometry.pixel(y, x);
    // SAFETY: the caller's promise.
    unsafe {
        let from = span.at::<u8>(image).add(number * geometry.element.size());
        load_real(simd, geometry.element, from)
    }
}

/// Asks for a block of a pixel, which need not exist, to be brought near.
#[inline(always)]
fn prefetch_block<S: Simd>(
    simd: S,
    span: Span,
    geometry: &Geometry,
    [image, block]: [usize; 2],
    [y, x]: [usize; 2],
) {
    let number = block * geometry.plane() + geometry.pixel(y, x);
    simd.prefetch(span.pointer.wrapping_add(image * span.image + number * geometry.element.size()));
}

/// One pixel of images in single precision: where its blocks lie, found once for all of them.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    first: *mut f32,
    /// Numbers from an image and from a block to the next one.
    image: usize,
    plane: usize,
}

impl Column {
    fn new(span: Span, geometry: &Geometry, [y, x]: [usize; 2]) -> Self {
        debug_assert_eq!(geometry.element, Element::Float32, "other elements have other sizes");
        let first = span.pointer.cast::<f32>().wrapping_add(geometry.pixel(y, x));
        Self { first, image: span.image / size_of::<f32>(), plane: geometry.plane() }
    }

    /// A block of an image, which need not exist.
    #[inline(always)]
    fn block(&self, [image, block]: [usize; 2]) -> *mut f32 {
        self.first.wrapping_add(image * self.image + block * self.plane)
    }
}

/// As [`load_block`], of a value that may be repeated along the axes of which it has one place, for a value of so many
/// channels.
///
/// # Safety
/// As for [`load_block`]; what is repeated need only have the first block, row or column.
#[inline(always)]
unsafe fn load_repeated<S: Simd>(
    simd: S,
    span: Span,
    geometry: &Geometry,
    channels: usize,
    [image, block]: [usize; 2],
    [y, x]: [usize; 2],
) -> S::Vector {
    let y = if geometry.height == 1 { 0 } else { y };
    let x = if geometry.width == 1 { 0 } else { x };
    // SAFETY: the caller's promise.
    unsafe {
        if geometry.channels == 1 && channels > 1 {
            let place = geometry.pixel(y, x) * geometry.element.size();
            return simd.splat(real(geometry.element, span.at::<u8>(image).add(place)));
        }
        load_block(simd, span, geometry, [image, block], [y, x])
    }
}

/// Writes a block of a pixel of any element, and zeros into the lanes that have no channel: a later sum multiplies what
/// is there by zero, so that it must be finite.
///
/// # Safety
/// As for [`load_block`], for writing.
#[inline(always)]
unsafe fn store_block<S: Simd>(
    simd: S,
    span: Span,
    geometry: &Geometry,
    [image, block]: [usize; 2],
    [y, x]: [usize; 2],
    value: S::Vector,
) {
    let number = block * geometry.plane() + geometry.pixel(y, x);
    let channels = geometry.channels - block * LANES;
    let value = if channels < LANES { first_lanes(simd, value, channels) } else { value };
    // SAFETY: the caller's promise.
    unsafe {
        store_real(simd, geometry.element, span.at::<u8>(image).add(number * geometry.element.size()), value)
    };
}

/// The first lanes of a vector, and zeros.
#[inline(always)]
fn first_lanes<S: Simd>(simd: S, value: S::Vector, count: usize) -> S::Vector {
    let mut lanes = simd.lanes(value);
    lanes.iter_mut().skip(count).for_each(|lane| *lane = 0.0);
    // SAFETY: the array has 16 numbers.
    unsafe { simd.load(lanes.as_ptr()) }
}

/// A number of any element as what it stands for.
///
/// # Safety
/// `from` must be valid for reading a number of the element.
#[inline(always)]
unsafe fn real(element: Element, from: *const u8) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        match element {
            Element::Float32 => *from.cast::<f32>(),
            Element::BFloat16 => (*from.cast::<BFloat16>()).value(),
            Element::UInt8(_) => element.to_real().of((*from.cast::<UInt8>()).value()),
        }
    }
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
