//! How a layer's weight tensor is read when it is packed: as it is, or turned round for the gradient of the layer's input.
#![allow(
    clippy::indexing_slicing,
    reason = "indices come from the step's own sizes, as the tensor's size does"
)]

use std::ops::Range;

use super::dense::Recipe;
use crate::simd::{LANES, Simd};

/// Input channels whose numbers are read together.
const CHANNELS: usize = 64;

/// A tensor of in × out / groups × taps, whose kernels are read in another order than they have, usually backwards.
#[derive(Debug, Clone)]
pub(crate) struct Turned {
    /// For each tap of the window the one in the tensor's kernels.
    pub(crate) taps: Vec<usize>,
    /// Taps of the tensor's kernels.
    pub(crate) of: usize,
}

impl Turned {
    /// All taps, backwards.
    pub(crate) fn round(taps: usize) -> Self {
        Self { taps: (0..taps).rev().collect(), of: taps }
    }
}

/// A weight tensor, and how far apart its numbers are.
pub(super) struct Reading<'a> {
    numbers: &'a [f32],
    taps: Option<&'a [usize]>,
    /// Output channels of a group.
    outputs: usize,
    /// From a group, an output channel of it and an input channel of it to the next one.
    group: usize,
    output: usize,
    channel: usize,
}

impl<'a> Reading<'a> {
    pub(super) fn new(recipe: &Recipe<'a>) -> Self {
        let Recipe { input, output, groups, window, weight: numbers, turned, .. } = *recipe;
        let [outputs, channels] = [output.channels, input.channels].map(|channels| channels / groups);
        let of = turned.map_or(window.kernel[0] * window.kernel[1], |turned| turned.of);
        let [output, channel] = if turned.is_some() { [of, outputs * of] } else { [channels * of, of] };
        let taps = turned.map(|turned| &turned.taps[..]);
        Self { numbers, taps, outputs, group: outputs * channels * of, output, channel }
    }

    /// Where a kernel starts: that of an output channel, and an input channel of its group.
    fn kernel(&self, output: usize, channel: usize) -> usize {
        output / self.outputs * self.group + output % self.outputs * self.output + channel * self.channel
    }

    /// Place of a window's tap in the tensor's kernels.
    #[inline(always)]
    pub(super) fn tap(&self, tap: usize) -> usize {
        self.taps.map_or(tap, |taps| taps[tap])
    }

    pub(super) fn number(&self, output: usize, channel: usize, tap: usize) -> f32 {
        self.numbers[self.kernel(output, channel) + self.tap(tap)]
    }

    /// The numbers of a tap for some output channels and as many input channels, from the first one on, as `to` has rows of
    /// `width`, of a layer of one group.
    pub(super) fn matrix(
        &self,
        (outputs, first): (Range<usize>, usize),
        tap: usize,
        width: usize,
        to: &mut [f32],
    ) {
        let tap = self.tap(tap);
        if self.output < self.channel {
            for (channel, row) in (first..).zip(to.chunks_exact_mut(width)) {
                let from = &self.numbers[self.kernel(outputs.start, channel) + tap..];
                let row = &mut row[..outputs.len()];
                match self.output {
                    1 => row.copy_from_slice(&from[..outputs.len()]),
                    apart => {
                        row.iter_mut().zip(from.iter().step_by(apart)).for_each(|(to, from)| *to = *from)
                    }
                }
            }
            return;
        }
        // So many input channels that their numbers for all outputs stay in the first-level cache, and that several lines of
        // memory follow each other in each output's row.
        for (first, rows) in (first..).step_by(CHANNELS).zip(to.chunks_mut(CHANNELS * width)) {
            for (place, output) in outputs.clone().enumerate() {
                let from = &self.numbers[self.kernel(output, first) + tap..];
                let rows = rows.chunks_exact_mut(width);
                match self.channel {
                    1 => rows.zip(from).for_each(|(row, number)| row[place] = *number),
                    apart => {
                        rows.zip(from.iter().step_by(apart)).for_each(|(row, number)| row[place] = *number);
                    }
                }
            }
        }
    }

    /// The kernel of an input channel and each of up to 16 output channels, in a layer of one group: a vector of output channels
    /// for each of the 16 numbers from the kernel's start on. Lanes without an output channel, and numbers behind the tensor, are zero.
    #[inline(always)]
    pub(super) fn columns<S: Simd>(
        &self,
        simd: S,
        outputs: Range<usize>,
        channel: usize,
    ) -> [S::Vector; LANES] {
        let mut rows = [simd.splat(0.0); LANES];
        for (row, output) in rows.iter_mut().zip(outputs) {
            let from = &self.numbers[self.kernel(output, channel)..];
            let mut padded = [0.0; LANES];
            let whole = from.get(..LANES).unwrap_or_else(|| {
                padded[..from.len()].copy_from_slice(from);
                &padded
            });
            // SAFETY: 16 numbers.
            *row = unsafe { simd.load(whole.as_ptr()) };
        }
        simd.transpose(rows)
    }
}
