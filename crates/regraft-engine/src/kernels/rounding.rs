//! Copies in bfloat16 of values in single precision.

use std::ops::Range;

use super::{Computation, Operands};
use crate::{
    Settings,
    element::{BFloat16, Element, Number as _},
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd},
};

/// Rounds each number to the nearest one in bfloat16, ties to even, and clears the lanes that have no channel: a pair that begins
/// with the last channel is multiplied with what is there.
#[derive(Debug)]
pub(crate) struct Rounding {
    input: Geometry,
    output: Geometry,
}

impl Rounding {
    pub(crate) fn new(input: Geometry) -> Self {
        Self { input, output: rounded(input) }
    }
}

/// Where the copy of a value lies.
pub(crate) fn rounded(value: Geometry) -> Geometry {
    let mut copy = Geometry { element: Element::BFloat16, ..value };
    // Columns of a planar image are read in pairs.
    if copy.lanes == 1 {
        copy.border[3] += 1;
    }
    copy
}

impl Computation for Rounding {
    fn units(&self, images: usize) -> usize {
        images * self.input.blocks() * self.input.height
    }

    fn cost(&self, images: usize) -> usize {
        images * self.input.image()
    }

    unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        simd::launch_with(settings, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a Rounding,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Rounding { input, output } = self.step;
        for unit in self.units.clone() {
            let [image, block, y] = super::row_of(input, unit);
            // SAFETY: `Computation::run`'s caller vouches for the operands, which hold the block and the row.
            unsafe {
                let from = self.operands.input.at::<f32>(image);
                let from = from.add(block * input.plane() + input.pixel(y, 0)).cast_const();
                let to = self.operands.output.at::<BFloat16>(image);
                let to = to.add(block * output.plane() + output.pixel(y, 0));
                match input.channels.saturating_sub(block * LANES) {
                    channels @ 1..LANES if input.lanes == LANES => {
                        last_row(simd, (from, to), input.width, channels);
                    }
                    _ => row(simd, from, to, input.width * input.lanes),
                }
            }
        }
    }
}

/// A row of pixels of the last block, which has so many channels.
///
/// # Safety
/// So many pixels must be readable and writable.
#[inline(always)]
unsafe fn last_row<S: Simd>(simd: S, (from, to): (*const f32, *mut BFloat16), width: usize, channels: usize) {
    for place in (0..width * LANES).step_by(LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let numbers = super::first_lanes(simd, simd.load(from.add(place)), channels);
            simd.store_bfloat16(to.add(place), numbers);
        }
    }
}

/// # Safety
/// So many numbers must be readable and writable.
#[inline(always)]
unsafe fn row<S: Simd>(simd: S, from: *const f32, to: *mut BFloat16, count: usize) {
    let vectors = count / LANES * LANES;
    // SAFETY: the caller's promise.
    unsafe {
        for place in (0..vectors).step_by(LANES) {
            simd.store_bfloat16(to.add(place), simd.load(from.add(place)));
        }
        for place in vectors..count {
            *to.add(place) = BFloat16::new(*from.add(place));
        }
    }
}
