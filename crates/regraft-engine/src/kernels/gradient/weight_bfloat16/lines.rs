//! How the operands of a weight gradient in bfloat16 lie: what is multiplied is neighbouring pixels, in lines.
//!
//! An image's outputs are numbered row by row, with gaps between the rows so that a place of the window is at one distance
//! from all of them: where the stride is more than one, the input's rows and columns are sorted by their remainders. The
//! gradient is zero in the gaps, and pairs of its pixels lie together; a channel of the input is a line of pixels.

use std::ops::Range;

use crate::{
    EngineError, Settings,
    element::{BFloat16, Element, Number as _},
    geometry::Geometry,
    kernels::{Computation, Operands, check_bounds, load_block},
    simd::{self, Kernel, LANES, Simd},
    window::Window,
};

/// Pixels that an instruction on tiles multiplies.
pub(super) const CHUNK: usize = 32;

/// Numbers of a chunk of a block of channels.
pub(super) const OF_CHUNK: usize = CHUNK * LANES;

/// Most channels of a tile of the input.
const ROWS: usize = 16;

/// Sizes of the lines of one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    window: Window,
    /// Rows and columns of the output.
    output: [usize; 2],
    /// Places of the window from the first to the last one.
    reach: [usize; 2],
    /// Remainders of rows and of columns that a window sees.
    phases: [usize; 2],
    /// From a row of outputs to the next.
    pitch: usize,
    /// Chunks of pixels of an image.
    pub(super) chunks: usize,
    /// Pixels of a channel with one remainder, with zeros behind them.
    plane: usize,
    /// Channels of a tile of the input.
    pub(super) rows: usize,
    /// Tiles of the input.
    pub(super) tiles: usize,
}

impl Lines {
    pub(super) fn new([from, input]: [Geometry; 2], window: Window) -> Self {
        let Window { kernel, stride, dilation, .. } = window;
        let along = |axis: usize| (kernel[axis] - 1) * dilation[axis] + 1;
        let reach = [along(0), along(1)];
        let output = [from.height, from.width];
        let last = |axis: usize| (reach[axis] - 1) / stride[axis];
        let pitch = output[1] + last(1);
        let chunks = ((output[0] - 1) * pitch + output[1]).div_ceil(CHUNK);
        let plane = (last(0) * pitch + last(1) + chunks * CHUNK).next_multiple_of(CHUNK);
        let tiles = input.channels.div_ceil(ROWS);
        let phases = [reach[0].min(stride[0]), reach[1].min(stride[1])];
        let rows = input.channels.div_ceil(tiles);
        Self { window, output, reach, phases, pitch, chunks, plane, rows, tiles }
    }

    /// Numbers from a channel of the input to the next.
    pub(super) fn channel(&self) -> usize {
        self.phases[0] * self.phases[1] * self.plane
    }

    /// From a channel's first number to the one that a place of the window sees at the first output.
    pub(super) fn place(&self, tap: usize) -> usize {
        let Window { kernel, stride, dilation, .. } = self.window;
        let [y, x] = [tap / kernel[1] * dilation[0], tap % kernel[1] * dilation[1]];
        let phase = y % stride[0] * self.phases[1] + x % stride[1];
        phase * self.plane + y / stride[0] * self.pitch + x / stride[1]
    }

    /// A pixel's row and column, if it is none of a gap.
    fn pixel(&self, number: usize) -> Option<[usize; 2]> {
        let [y, x] = [number / self.pitch, number % self.pitch];
        (y < self.output[0] && x < self.output[1]).then_some([y, x])
    }
}

/// Makes lines of the input.
#[derive(Debug)]
pub(crate) struct Planes {
    input: Geometry,
    lines: Lines,
}

impl Planes {
    /// Of a value in bfloat16.
    ///
    /// # Errors
    /// [`EngineError::Bounds`].
    pub(super) fn new(input: Geometry, lines: Lines) -> Result<Self, EngineError> {
        let Lines { window, output, reach, .. } = lines;
        let last = |axis: usize| (output[axis] - 1) * window.stride[axis] + reach[axis] - 1;
        let corner = window.start(&input) + last(0) * input.row() + last(1) * input.lanes;
        check_bounds((input.blocks() - 1) * input.plane() + corner + input.lanes, &input)?;
        Ok(Self { input, lines })
    }

    /// Where the lines lie.
    pub(crate) fn output(&self) -> Geometry {
        let Lines { rows, tiles, .. } = self.lines;
        let sizes = [rows * tiles, 1, self.lines.channel()];
        Geometry { lanes: 1, element: Element::BFloat16, ..Geometry::blocked(sizes) }
    }

    /// A channel's rows and columns with one remainder.
    ///
    /// # Safety
    /// `from` must be where the first window sees the channel, and `to` its line.
    unsafe fn phase(&self, from: *const BFloat16, to: *mut BFloat16, [y, x]: [usize; 2]) {
        let Lines { window, output, reach, pitch, plane, .. } = self.lines;
        let [down, right] = window.stride;
        let stored = |axis: usize, first: usize| {
            ((output[axis] - 1) * window.stride[axis] + reach[axis] - first).div_ceil(window.stride[axis])
        };
        let (rows, columns) = (stored(0, y), stored(1, x).min(pitch));
        let zero = BFloat16::new(0.0);
        // SAFETY: the caller's promise; `new` has checked how far windows reach, and the rows fit into a plane.
        unsafe {
            let line = std::slice::from_raw_parts_mut(to, plane);
            let (pixels, rest) = line.split_at_mut((rows * pitch).min(plane));
            rest.fill(zero);
            for (row, line) in pixels.chunks_mut(pitch).enumerate() {
                let from = from.add((y + row * down) * self.input.row() + x * self.input.lanes);
                let (pixels, gap) = line.split_at_mut(columns.min(line.len()));
                for (column, to) in pixels.iter_mut().enumerate() {
                    *to = *from.add(column * right * self.input.lanes);
                }
                gap.fill(zero);
            }
        }
    }
}

impl Computation for Planes {
    fn units(&self, images: usize) -> usize {
        images * self.input.channels
    }

    fn cost(&self, images: usize) -> usize {
        images * self.output().image()
    }

    unsafe fn run(&self, _: Settings, operands: &Operands, units: Range<usize>) {
        let Self { input, lines } = self;
        let [_, across] = lines.phases;
        for unit in units {
            let (image, channel) = (unit / input.channels, unit % input.channels);
            let number = channel / input.lanes * input.plane() + channel % input.lanes;
            for phase in 0..lines.channel() / lines.plane {
                // SAFETY: the caller vouches for the operands, which hold the channel.
                unsafe {
                    let from = operands.input.at::<BFloat16>(image);
                    let from = from.add(lines.window.start(input) + number).cast_const();
                    let to = operands.output.at::<BFloat16>(image);
                    let to = to.add(channel * lines.channel() + phase * lines.plane);
                    self.phase(from, to, [phase / across, phase % across]);
                }
            }
        }
    }
}

/// Makes lines of pairs of the gradient: for each panel of two blocks of channels, of all images one after the other.
#[derive(Debug)]
pub(crate) struct Pairs {
    from: Geometry,
    lines: Lines,
}

impl Pairs {
    pub(super) fn new(from: Geometry, lines: Lines) -> Self {
        Self { from, lines }
    }

    /// Where the pairs of an image would lie alone.
    pub(crate) fn output(&self) -> Geometry {
        let sizes = [self.from.channels, 1, self.lines.chunks * CHUNK];
        Geometry { element: Element::BFloat16, ..Geometry::blocked(sizes) }
    }
}

/// The first block of a panel, and how many it has, of so many.
pub(super) fn panel(number: usize, blocks: usize) -> [usize; 2] {
    [2 * number, (blocks - 2 * number).min(2)]
}

impl Computation for Pairs {
    fn units(&self, images: usize) -> usize {
        images * self.from.blocks().div_ceil(2)
    }

    fn cost(&self, images: usize) -> usize {
        images * self.output().image()
    }

    unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        simd::launch_with(settings, &Pairing { step: self, operands, units });
    }
}

struct Pairing<'a> {
    step: &'a Pairs,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Pairing<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Pairs { from, lines } = self.step;
        let panels = from.blocks().div_ceil(2);
        for unit in self.units.clone() {
            let (image, [block, blocks]) = (unit / panels, panel(unit % panels, from.blocks()));
            let of_image = lines.chunks * OF_CHUNK;
            let place = (block * self.operands.images + image * blocks) * of_image;
            // SAFETY: `Computation::run`'s caller vouches for the operands: the pairs of all images are as many numbers as
            // they hold, and the gradient has the blocks.
            unsafe {
                let to = self.operands.output.at::<BFloat16>(0).add(place);
                for pair in 0..lines.chunks * CHUNK / 2 {
                    for place in 0..blocks {
                        let low = self.pixel(simd, [image, block + place], 2 * pair);
                        let high = self.pixel(simd, [image, block + place], 2 * pair + 1);
                        simd.store_interleaved(to.add((pair * blocks + place) * 2 * LANES), low, high);
                    }
                }
            }
        }
    }
}

impl Pairing<'_> {
    /// # Safety
    /// The gradient must have the image and the block.
    #[inline(always)]
    unsafe fn pixel<S: Simd>(&self, simd: S, place: [usize; 2], number: usize) -> S::Vector {
        let Pairs { from, lines } = self.step;
        match lines.pixel(number) {
            // SAFETY: the caller's promise.
            Some(pixel) => unsafe { load_block(simd, self.operands.input, from, place, pixel) },
            None => simd.splat(0.0),
        }
    }
}
