//! The gradient of a convolution's input as convolutions of the gradient of its output.
//!
//! Along each axis output `o` has seen input `o · stride + tap · dilation − padding`. So the inputs with one remainder by the
//! stride, a phase, have been seen through the same taps: those that leave this remainder with the padding added. Each phase
//! is a convolution of its own that steps over nothing, with these taps backwards, and writes every stride-th pixel. A phase
//! that no tap sees, as three of the four of a 1×1 kernel with a stride of 2, is zero.

use regraft_graph::Conv;

use crate::{
    geometry::{Border, Geometry},
    kernels::reading::Turned,
    window::Window,
};

/// The convolution that gives some of the input's pixels.
pub(in crate::tape) struct Phase {
    pub(super) window: Window,
    pub(super) turned: Turned,
    first: [usize; 2],
    size: [usize; 2],
}

impl Phase {
    /// All pixels at once.
    pub(super) fn whole(window: Window, input: &Geometry) -> Self {
        let turned = Turned::round(window.kernel.iter().product());
        Self { window, turned, first: [0; 2], size: [input.height, input.width] }
    }

    /// The phase's pixels in a value: the others are border.
    pub(super) fn part(&self, value: &Geometry) -> Geometry {
        let Geometry { border: [top, left, bottom, right], height: rows, width: columns, .. } = *value;
        let ([y, x], [height, width]) = (self.first, self.size);
        let border = [top + y, left + x, bottom + rows - y - height, right + columns - x - width];
        Geometry { height, width, border, ..*value }
    }
}

/// A phase along one axis.
struct Axis {
    first: usize,
    size: usize,
    /// Backwards.
    taps: Vec<usize>,
    dilation: usize,
    /// Rows or columns that the window reaches out of the gradient.
    before: usize,
    after: usize,
}

impl Axis {
    /// `None` if the first window lies in the border alone.
    fn new(conv: &Conv, axis: usize, [input, output]: [usize; 2], first: usize) -> Option<Self> {
        let [kernel, stride, dilation] = [conv.kernel, conv.stride, conv.dilation]
            .map(|sizes| if axis == 0 { sizes[0] } else { sizes[1] });
        let [padding, _] = conv.padding.resolve(axis, input, kernel, stride, dilation);
        let sees = |tap: &usize| (tap * dilation) % stride == (first + padding) % stride;
        let taps: Vec<usize> = (0..kernel).rev().filter(sees).collect();
        let size = input.saturating_sub(first).div_ceil(stride);
        let (Some(most), Some(least)) = (taps.first(), taps.last()) else {
            return Some(Self { first, size, taps, dilation: 1, before: 0, after: 0 });
        };
        let before = (most * dilation).checked_sub(first + padding)? / stride;
        let reach = (most - least) * dilation / stride;
        let after = (size + reach).saturating_sub(before + output);
        let apart = reach.checked_div(taps.len() - 1).unwrap_or(1);
        Some(Self { first, size, taps, dilation: apart, before, after })
    }
}

/// The phases that have pixels, and the border that the gradient of the output needs for them.
pub(in crate::tape) fn phases(
    conv: &Conv,
    input: &Geometry,
    output: &Geometry,
) -> Option<(Vec<Phase>, Border)> {
    let [down, right] = conv.stride;
    let rows: Option<Vec<Axis>> = (0..down.min(input.height))
        .map(|first| Axis::new(conv, 0, [input.height, output.height], first))
        .collect();
    let columns: Option<Vec<Axis>> = (0..right.min(input.width))
        .map(|first| Axis::new(conv, 1, [input.width, output.width], first))
        .collect();
    let (rows, columns) = (rows?, columns?);
    let most = |axes: &[Axis], side: fn(&Axis) -> usize| axes.iter().map(side).max().unwrap_or(0);
    let border = [
        most(&rows, |axis| axis.before),
        most(&columns, |axis| axis.before),
        most(&rows, |axis| axis.after),
        most(&columns, |axis| axis.after),
    ];
    let pairs = rows.iter().flat_map(|row| columns.iter().map(move |column| [row, column]));
    Some((pairs.map(|pair| phase(conv, pair)).collect(), border))
}

fn phase(conv: &Conv, [row, column]: [&Axis; 2]) -> Phase {
    let [height, width] = conv.kernel;
    let taps = row.taps.iter().flat_map(|y| column.taps.iter().map(move |x| y * width + x));
    let window = Window {
        kernel: [row.taps.len(), column.taps.len()],
        stride: [1; 2],
        dilation: [row.dilation, column.dilation],
        before: [row.before, column.before],
    };
    Phase {
        window,
        turned: Turned { taps: taps.collect(), of: height * width },
        first: [row.first, column.first],
        size: [row.size, column.size],
    }
}
