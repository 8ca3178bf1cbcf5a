//! The kernels that only training has: gradients of operators, and batch normalisation by the statistics of a batch.
//!
//! The gradient of a convolution or a dense layer with respect to its input is a convolution itself, and a sum's is a copy;
//! both need no kernel of their own. What is summed over the images of a batch is summed by one unit, image by image, so
//! that the result does not depend on the number of threads.

pub(crate) mod attention;
pub(crate) mod batch_norm;
pub(crate) mod bias;
pub(crate) mod choice;
pub(crate) mod clamp;
pub(crate) mod depthwise;
pub(crate) mod dropout;
pub(crate) mod embedding;
pub(crate) mod function;
pub(crate) mod layer_norm;
pub(crate) mod lrn;
mod matrix;
pub(crate) mod pool;
pub(crate) mod product;
pub(crate) mod recurrent;
pub(crate) mod reduce;
pub(crate) mod softmax;
pub(crate) mod table;
pub(crate) mod weight;
pub(crate) mod weight_bfloat16;

use std::ops::Range;

use super::{PARTS, Span};
use crate::{InstructionSet, geometry::Geometry, simd::LANES};

/// What a step of training reads and writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) reads: &'a [Span],
    pub(crate) output: Span,
    pub(crate) images: usize,
    pub(crate) shared: Shared,
}

/// Numbers that belong to no image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared {
    /// Parameters that are trained.
    pub(crate) values: *const f32,
    /// Gradients of the parameters, one after the other.
    pub(crate) gradients: *mut f32,
    /// Statistics, and sums that are not complete.
    pub(crate) state: *mut f32,
    /// Number of the batch.
    pub(crate) batch: u64,
}

// SAFETY: addresses without ownership; who reads or writes through them vouches for the absence of races.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// A kernel of training.
pub(crate) trait Gradient: std::fmt::Debug + Send + Sync {
    /// What the kernel is called.
    fn kind(&self) -> &'static str {
        std::any::type_name::<Self>().rsplit("::").next().unwrap_or_default()
    }
    /// Number of parts that the work on a batch divides into.
    fn units(&self, images: usize) -> usize;
    /// Most parts that the units are computed in, which begin anew what units of one part share.
    fn most_parts(&self, threads: usize) -> usize {
        PARTS * threads
    }
    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images of the geometries that the step was built with, the output apart from the
    /// others, the shared numbers those places that the step was given, and no other thread may compute the same units.
    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>);
}

/// Where a row of a block of an image starts, in single precision.
///
/// # Safety
/// The span must hold the image, and the image the block and the row.
#[inline(always)]
unsafe fn row(span: Span, geometry: &Geometry, [image, block, y]: [usize; 3]) -> *mut f32 {
    // SAFETY: the caller's promise.
    unsafe { span.at::<f32>(image).add(block * geometry.plane() + geometry.pixel(y, 0)) }
}

/// Writes the lanes that have a channel, of numbers that lie `distance` apart.
///
/// # Safety
/// `to` must be valid for writing that many numbers at that distance.
#[inline(always)]
unsafe fn scatter(lanes: [f32; LANES], count: usize, to: *mut f32, distance: usize) {
    for (lane, number) in lanes.into_iter().enumerate().take(count) {
        // SAFETY: the caller's promise.
        unsafe { *to.add(lane * distance) = number };
    }
}
