//! Windows of convolutions and pools that slide over an image.
#![allow(clippy::indexing_slicing, reason = "axes are 0 for rows and 1 for columns")]

use std::ops::Range;

use regraft_graph::{Conv, Pool};

use crate::geometry::{Border, Geometry};

/// A window and how it moves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Rows above and columns left of the image at the first position.
    pub(crate) before: [usize; 2],
}

impl Window {
    /// The window of a dense layer.
    pub(crate) const SINGLE: Self = Self { kernel: [1; 2], stride: [1; 2], dilation: [1; 2], before: [0; 2] };

    /// The window of a convolution on an image of this height and width.
    pub(crate) fn of_conv(conv: &Conv, size: [usize; 2]) -> Self {
        let before = |axis: usize| {
            let [kernel, stride, dilation] = [conv.kernel[axis], conv.stride[axis], conv.dilation[axis]];
            conv.padding.resolve(axis, size[axis], kernel, stride, dilation)[0]
        };
        let (kernel, stride, dilation) = (conv.kernel, conv.stride, conv.dilation);
        Self { kernel, stride, dilation, before: [before(0), before(1)] }
    }

    /// Where the window of the first output pixel starts in the stored input.
    pub(crate) fn start(&self, input: &Geometry) -> usize {
        let [top, left, ..] = input.border;
        (top - self.before[0]) * input.row() + (left - self.before[1]) * input.lanes
    }

    /// Numbers from the window of a pixel to the one below it and to the one right of it.
    pub(crate) fn steps(&self, input: &Geometry) -> [usize; 2] {
        [self.stride[0] * input.row(), self.stride[1] * input.lanes]
    }
}

/// The rows (axis 0) or columns (axis 1) of the image that a pool sees at each position: the window without its part in the
/// padding. `None` if at some position that is nothing.
pub(crate) fn pool_views(
    pool: &Pool,
    axis: usize,
    size: usize,
    positions: usize,
) -> Option<Vec<Range<usize>>> {
    let [kernel, stride] = [pool.kernel[axis], pool.stride[axis]];
    let before = pool.padding.resolve(axis, size, kernel, stride, 1)[0];
    let view = |position: usize| {
        let first = position.checked_mul(stride)?;
        let end = first.checked_add(kernel)?.saturating_sub(before).min(size);
        Some(first.saturating_sub(before)..end).filter(|view| !view.is_empty())
    };
    (0..positions).map(view).collect()
}

/// Rows or columns of the image and its padding that a pool sees at each position; what lies beyond the padding does not
/// count.
pub(crate) fn pool_extents(pool: &Pool, axis: usize, size: usize, positions: usize) -> Vec<usize> {
    let [kernel, stride] = [pool.kernel[axis], pool.stride[axis]];
    let [before, after] = pool.padding.resolve(axis, size, kernel, stride, 1);
    let padded = before.saturating_add(size).saturating_add(after);
    (0..positions).map(|position| kernel.min(padded.saturating_sub(position * stride))).collect()
}

/// The rows or columns that an adaptive pool sees at each of its positions.
pub(crate) fn adaptive_views(size: usize, positions: usize) -> Vec<Range<usize>> {
    let view = |position: usize| position * size / positions..((position + 1) * size).div_ceil(positions);
    (0..positions).map(view).collect()
}

/// How far the windows of a convolution reach beyond its input. `None` where that is beyond all measure.
pub(crate) fn border(conv: &Conv, input: &Geometry, output: [usize; 2]) -> Option<Border> {
    let size = [input.height, input.width];
    let before = Window::of_conv(conv, size).before;
    let after = |axis: usize| {
        let reach = (conv.kernel[axis] - 1).checked_mul(conv.dilation[axis])?.checked_add(1)?;
        let last = (output[axis] - 1).checked_mul(conv.stride[axis])?.checked_add(reach)?;
        Some(last.saturating_sub(before[axis].checked_add(size[axis])?))
    };
    Some([before[0], before[1], after(0)?, after(1)?])
}
