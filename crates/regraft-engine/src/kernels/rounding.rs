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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InstructionSet, Precision, kernels::Span};

    fn span<T>(numbers: &mut [T]) -> Span {
        Span { pointer: numbers.as_mut_ptr().cast(), image: size_of_val(numbers) }
    }

    #[test]
    fn lanes_without_a_channel_are_cleared_and_the_others_rounded() {
        let input = Geometry::blocked([21, 2, 3]);
        for instruction_set in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
            // 1 + 3/256 lies between two numbers in bfloat16, and the even one is 1 + 1/64.
            let mut numbers = vec![1.0f32 + 3.0 / 256.0; input.image()];
            let mut copy = vec![BFloat16::new(7.0); rounded(input).image()];
            let [from, to] = [span(&mut numbers), span(&mut copy)];
            let operands = Operands { input: from, second: from, output: to, images: 1, threads: 1 };
            let (step, settings) =
                (Rounding::new(input), Settings { instruction_set, precision: Precision::BFloat16 });
            // SAFETY: the operands are one image of each geometry.
            unsafe { step.run(settings, &operands, 0..step.units(1)) };
            for (place, number) in copy.iter().enumerate() {
                let channel = place / input.plane() * LANES + place % LANES;
                let expected = if channel < 21 { 1.0 + 1.0 / 64.0 } else { 0.0 };
                assert_eq!(number.value(), expected, "{instruction_set:?}, {channel}");
            }
        }
    }
}
