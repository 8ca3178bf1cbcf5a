//! Dense sums in bfloat16 and 8-bit integers on the tiles of Intel AMX, which multiply 16 pixels by 64 bytes of each by
//! 16 output channels in one instruction.
//!
//! The inputs of some pixels are gathered into lines of 64 bytes, which are the rows of tiles; what a pass over them costs
//! is shared by all output channels. For a window of one place, a line is a chunk of a pixel's window. For larger ones it
//! is a chunk of a stored pixel, and a tile of neighbouring pixels of a row is read once for each place of the window, so
//! that the same lines serve them all. Then each panel of 32 output channels is multiplied with pairs of tiles of pixels,
//! and the sums take the same way to the output as those of the other instruction sets. The weights lie as the dot
//! products of vectors read them: that is the tiles' layout too.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(
    clippy::indexing_slicing,
    reason = "indices come from the step's own sizes, checked when it is built"
)]

use std::{cell::RefCell, marker::PhantomData, ops::Range};

use super::{
    Operands,
    dense::Dense,
    factor::Factor,
    for_tile_size,
    packing::Panel,
    register_tile::{MOST_PIXELS, Pixels},
};
use crate::{
    element::{BFloat16, UInt8},
    geometry::Geometry,
    simd::{
        self, Kernel, LANES, Simd,
        amx::{self, Piece, Product, ROW, ROWS, Shape},
    },
    window::Window,
};

/// Pixels of a pair of tiles.
const PAIR: usize = 2 * ROWS;
/// Gathered windows up to this many bytes stay in the second-level cache beside the weights of a panel.
const GATHERED: usize = 512 * 1024;
/// Pixels whose sums become outputs together.
const TOGETHER: usize = 8;

/// How the inputs of a step come to lie in lines.
#[derive(Debug)]
pub(super) struct Gathering {
    /// What a line of each plane is made of.
    planes: Vec<Vec<Piece>>,
    /// Where lines are stored pixels; else they are windows.
    places: Option<Places>,
}

/// A window over lines.
#[derive(Debug)]
struct Places {
    /// Rows and columns of each place, from the window's start.
    taps: Vec<[usize; 2]>,
    /// Rows and columns of a window.
    reach: [usize; 2],
    stride: [usize; 2],
}

impl Gathering {
    /// Of the runs of bytes of a window: distances from its start and lengths.
    pub(super) fn of_windows(runs: impl Iterator<Item = (usize, usize)>) -> Self {
        let (mut planes, mut to) = (Vec::<Vec<Piece>>::new(), 0);
        for (mut from, mut len) in runs {
            while len > 0 {
                if to % ROW == 0 {
                    planes.push(Vec::new());
                }
                let part = len.min(ROW - to % ROW);
                if let Some(plane) = planes.last_mut() {
                    plane.push(Piece { from, to: to % ROW, len: part });
                }
                (from, to, len) = (from + part, to + part, len - part);
            }
        }
        Self { planes, places: None }
    }

    /// Of the runs of bytes of a pixel, which are whole lines.
    pub(super) fn of_pixels(runs: impl Iterator<Item = (usize, usize)>, window: Window) -> Self {
        let Window { kernel: [height, width], stride, dilation: [down, right], .. } = window;
        let taps = (0..height * width).map(|tap| [tap / width * down, tap % width * right]).collect();
        let reach = [(height - 1) * down + 1, (width - 1) * right + 1];
        Self { places: Some(Places { taps, reach, stride }), ..Self::of_windows(runs) }
    }

    /// Whether rows of so many pixels fill tiles well enough to be read from lines of pixels.
    pub(super) fn fits(width: usize) -> bool {
        rows_of_a_tile(width) >= 3 * ROWS / 4
    }
}

/// Pixels of each of the tiles that a row of so many is divided into.
fn rows_of_a_tile(width: usize) -> usize {
    width.div_ceil(width.div_ceil(ROWS).max(1)).max(1)
}

/// How the pixels and panels of a step are divided into units.
struct Division {
    pixels: usize,
    /// Rows of a tile.
    rows: usize,
    /// Pixels of a segment: a row of the output, or a pair of tiles.
    segment: usize,
    /// Stretches of segments, and of panels.
    stretches: [usize; 2],
}

impl Division {
    fn new(dense: &Dense, gathering: &Gathering, images: usize, threads: usize) -> Self {
        let width = dense.output.width;
        let pixels = images * dense.output.pixels();
        let pairs = pixels.div_ceil(PAIR).max(1);
        let (rows, segment, lines) = match &gathering.places {
            Some(places) => (rows_of_a_tile(width), width, places.stride[0] * places.columns(width)),
            None => (pixels.div_ceil(2 * pairs).max(1), 2 * pixels.div_ceil(2 * pairs).max(1), PAIR),
        };
        let segments = pixels.div_ceil(segment).max(1);
        let most = (GATHERED / (gathering.planes.len() * ROW * lines)).max(1);
        let (mut over_pixels, mut over_panels) = (segments.div_ceil(most), 1);
        if threads > 1 {
            if segments >= 8 * threads {
                over_pixels = over_pixels.next_multiple_of(2 * threads);
            } else {
                over_panels = dense.panels().len().min(2 * threads);
            }
        }
        Self { pixels, rows, segment, stretches: [over_pixels.min(segments), over_panels] }
    }

    /// The pixels of a stretch, whole segments but for the last one.
    fn pixels(&self, stretch: usize) -> Range<usize> {
        let [count, _] = self.stretches;
        let segments = self.pixels.div_ceil(self.segment);
        let place = |stretch: usize| (stretch * segments / count * self.segment).min(self.pixels);
        place(stretch)..place(stretch + 1)
    }
}

impl Places {
    /// Columns that a row of so many outputs sees.
    fn columns(&self, width: usize) -> usize {
        (width - 1) * self.stride[1] + self.reach[1]
    }
}

/// Number of units: stretches of pixels times stretches of panels.
pub(super) fn units(dense: &Dense, gathering: &Gathering, images: usize, threads: usize) -> usize {
    Division::new(dense, gathering, images, threads).stretches.iter().product()
}

/// Computes some units.
///
/// # Safety
/// As for [`Dense::run`].
pub(super) unsafe fn run(dense: &Dense, gathering: &Gathering, operands: &Operands, units: Range<usize>) {
    if dense.rescaling.is_some() {
        simd::launch_tiles::<_, true>(&Task::<true> { dense, gathering, operands, units });
    } else {
        simd::launch_tiles::<_, false>(&Task::<false> { dense, gathering, operands, units });
    }
}

/// Some units of a step whose inputs are bytes if `INTEGER`, else of bfloat16.
struct Task<'a, const INTEGER: bool> {
    dense: &'a Dense,
    gathering: &'a Gathering,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_, false> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        self.compute::<S, BFloat16>(simd);
    }
}

impl Kernel for Task<'_, true> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        self.compute::<S, UInt8>(simd);
    }
}

/// Memory of a thread that lives as long as it.
#[derive(Default)]
struct Scratch {
    /// Planes of lines.
    gathered: Vec<Line>,
    /// What the lines of a plane are gathered from.
    sources: Vec<*const u8>,
    /// Bytes to each chunk's lines.
    offsets: Vec<usize>,
    /// Bytes to each tile's first line of the first chunk.
    tiles: Vec<usize>,
    /// Of each pixel, tile by tile.
    outputs: Vec<*mut u8>,
    residuals: Vec<*const u8>,
    pixels: usize,
}

impl Scratch {
    fn clear(&mut self) {
        self.sources.clear();
        self.offsets.clear();
        self.tiles.clear();
        self.outputs.clear();
        self.residuals.clear();
    }
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; ROW]);

/// Sums of a pair of tiles of pixels.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([f32; PAIR * 2 * LANES]);

impl<const INTEGER: bool> Task<'_, INTEGER> {
    #[inline(always)]
    fn compute<S: Simd, I: Factor>(&self, simd: S) {
        thread_local! {
            static SCRATCH: RefCell<Scratch> = RefCell::default();
        }
        let Self { dense, gathering, operands, .. } = self;
        let division = Division::new(dense, gathering, operands.images, operands.threads);
        let [_, over_panels] = division.stretches;
        let Some(shape) = Shape::new(division.rows) else { return };
        let mut scratch = SCRATCH.take();
        let (mut gathered, mut sums) = (usize::MAX, [Sums([0.0; PAIR * 2 * LANES]); 2]);
        for unit in self.units.clone() {
            let (stretch, part) = (unit / over_panels, unit % over_panels);
            let panels = dense.panels();
            let panels = &panels[part * panels.len() / over_panels..(part + 1) * panels.len() / over_panels];
            if gathered != stretch {
                self.gather(&division, division.pixels(stretch), &mut scratch);
                gathered = stretch;
            }
            let across = gathering.places.as_ref().map_or(1, |places| places.stride[1]);
            let stretch = Stretch { scratch: &scratch, rows: division.rows, across, shape: &shape };
            for panel in panels {
                // SAFETY: the windows were gathered; `Dense::run`'s caller vouches for the operands.
                unsafe {
                    if panel.blocks == 2 {
                        stretch.panel::<S, I, INTEGER, 2>(simd, dense, panel, &mut sums);
                    } else {
                        stretch.panel::<S, I, INTEGER, 1>(simd, dense, panel, &mut sums);
                    }
                }
            }
        }
        SCRATCH.set(scratch);
    }

    /// Finds where some pixels lie, and gathers their inputs.
    fn gather(&self, division: &Division, pixels: Range<usize>, scratch: &mut Scratch) {
        scratch.clear();
        let columns = match &self.gathering.places {
            Some(places) => self.find_places(places, division.rows, pixels, scratch),
            None => self.find_windows(division.rows, pixels, scratch),
        };
        // Places are read in stretches of one length.
        scratch.pixels = scratch.outputs.len();
        scratch.outputs.extend([std::ptr::null_mut(); TOGETHER]);
        scratch.residuals.extend([std::ptr::null(); TOGETHER]);
        let Scratch { gathered, sources, offsets, .. } = scratch;
        let (lines, planes) = (sources.len(), &self.gathering.planes);
        let taps = self.gathering.places.as_ref().map_or(&[[0; 2]][..], |places| &places.taps);
        for plane in 0..planes.len() {
            let line = |[row, column]: &[usize; 2]| plane * lines + row * columns + column;
            offsets.extend(taps.iter().map(|tap| line(tap) * ROW));
        }
        if gathered.len() < lines * planes.len() {
            gathered.resize(lines * planes.len(), Line([0; ROW]));
        }
        for (pieces, lines) in planes.iter().zip(gathered.chunks_exact_mut(lines)) {
            // SAFETY: the step's check covers every run of every window, and there is a line for each source.
            unsafe { amx::gather(sources, pieces, lines.as_mut_ptr().cast()) };
        }
    }

    /// A line for each window, tile by tile; the last tile is filled up with copies. Returns the lines of a row: there are
    /// none.
    fn find_windows(&self, rows: usize, pixels: Range<usize>, scratch: &mut Scratch) -> usize {
        let Scratch { sources, tiles, outputs, residuals, .. } = scratch;
        let count = pixels.len().div_ceil(rows);
        self.dense.for_each_pixel(self.operands, pixels, |input, output, residual| {
            sources.push(input);
            outputs.push(output);
            residuals.push(residual);
        });
        if let Some(last) = sources.last().copied() {
            sources.resize(count * rows, last);
        }
        tiles.extend((0..count).map(|tile| tile * rows * ROW));
        0
    }

    /// A line for each stored pixel that the windows of some rows of outputs see. The last tile of a row may begin in the
    /// one before it. Returns the lines of a row.
    fn find_places(
        &self,
        places: &Places,
        rows: usize,
        pixels: Range<usize>,
        scratch: &mut Scratch,
    ) -> usize {
        let Scratch { sources, tiles, outputs, residuals, .. } = scratch;
        let Geometry { height, width, .. } = self.dense.output;
        let ([down, across], columns) = (places.stride, places.columns(width));
        let (mut row, end) = (pixels.start / width, pixels.end / width);
        while row < end {
            let (image, y) = (row / height, row % height);
            let count = (height - y).min(end - row);
            for below in 0..count {
                for x in (0..width).step_by(rows).map(|x| x.min(width - rows)) {
                    tiles.push((sources.len() + below * down * columns + x * across) * ROW);
                    let first = (row + below) * width + x;
                    let of_tile = first..first + rows;
                    self.dense.for_each_pixel(self.operands, of_tile, |_, output, residual| {
                        outputs.push(output);
                        residuals.push(residual);
                    });
                }
            }
            for stored in y * down..(y + count - 1) * down + places.reach[0] {
                let at = |column| self.dense.stored(self.operands, image, [stored, column]);
                sources.extend((0..columns).map(at));
            }
            row += count;
        }
        columns
    }
}

/// Tiles of pixels whose inputs are gathered.
struct Stretch<'a> {
    scratch: &'a Scratch,
    rows: usize,
    /// Lines from a pixel to the next.
    across: usize,
    shape: &'a Shape,
}

impl Stretch<'_> {
    /// # Safety
    /// The tiles' inputs must be gathered, and their outputs and residuals hold the panel's `B` blocks at the distance of a
    /// plane.
    #[inline(always)]
    unsafe fn panel<S: Simd, I: Factor, const INTEGER: bool, const B: usize>(
        &self,
        simd: S,
        dense: &Dense,
        panel: &Panel,
        sums: &mut [Sums; 2],
    ) {
        let Self { scratch, rows, across, shape } = *self;
        let [initial, weights] = dense.panel_data::<I>(panel);
        let pairs = scratch.tiles.len().div_ceil(2);
        // A pair's sums become outputs while the next pair is multiplied.
        for pair in 0..=pairs {
            let (now, before) = (pair % 2, (pair + 1) % 2);
            // SAFETY: the lines hold what all tiles read, the panel's weights were packed for as many chunks, and the sums
            // have room for two tiles; the rest is the caller's promise.
            unsafe {
                if pair < pairs {
                    // Bytes of four pixels are written as a whole line, which needs no reading.
                    if !INTEGER {
                        self.prefetch::<B>(dense, panel, self.pixels(pair));
                    }
                    let first = scratch.tiles[2 * pair];
                    // Without a second tile the first one is computed twice.
                    let second = scratch.tiles.get(2 * pair + 1).map_or(0, |second| second - first);
                    let product = Product {
                        pixels: scratch.gathered.as_ptr().cast::<u8>().wrapping_add(first),
                        offsets: scratch.offsets.as_ptr(),
                        pixels_row: across * ROW,
                        second,
                        weights,
                        initial: initial.cast(),
                        sums: sums[now].0.as_mut_ptr(),
                        sums_row: 2 * LANES * size_of::<f32>(),
                        second_sums: rows * 2 * LANES * size_of::<f32>(),
                        chunks: scratch.offsets.len(),
                    };
                    product.compute::<INTEGER, B>(shape);
                }
                if pair > 0 {
                    let pixels = self.pixels(pair - 1);
                    self.finish::<S, I, INTEGER, B>(simd, dense, panel, pixels, sums[before].0.as_ptr());
                }
            }
        }
    }

    /// The pixels of a pair; fewer in the last one.
    fn pixels(&self, pair: usize) -> Range<usize> {
        let place = |pair: usize| (pair * 2 * self.rows).min(self.scratch.pixels);
        place(pair)..place(pair + 1)
    }

    /// Fetches where outputs will go. Sums are read where they have just been stored, which waits for all stores before;
    /// so a store that waits for memory would hold everything up (ResNet-50 and the encoder of the bench: a third slower).
    #[inline(always)]
    fn prefetch<const B: usize>(&self, dense: &Dense, panel: &Panel, pixels: Range<usize>) {
        let size = dense.output.element.size();
        let outputs = &self.scratch.outputs[pixels];
        for block in panel.block..panel.block + B {
            for output in outputs.iter().step_by(ROW / (LANES * size)) {
                amx::prefetch_for_writing(output.wrapping_add(block * dense.output.plane() * size));
            }
        }
    }

    /// Makes outputs of the sums of some pixels, 32 numbers apart.
    ///
    /// # Safety
    /// As for [`Self::panel`], for these pixels; there must be sums for each.
    #[inline(always)]
    unsafe fn finish<S: Simd, I: Factor, const INTEGER: bool, const B: usize>(
        &self,
        simd: S,
        dense: &Dense,
        panel: &Panel,
        pixels: Range<usize>,
        sums: *const f32,
    ) {
        let mut places = Pixels::NONE;
        for first in pixels.clone().step_by(TOGETHER) {
            let count = TOGETHER.min(pixels.end - first);
            let sums = sums.wrapping_add((first - pixels.start) * 2 * LANES);
            places.outputs[..TOGETHER].copy_from_slice(&self.scratch.outputs[first..first + TOGETHER]);
            places.residuals[..TOGETHER].copy_from_slice(&self.scratch.residuals[first..first + TOGETHER]);
            // SAFETY: the caller's promise.
            unsafe {
                if !INTEGER && dense.function.is_some() {
                    dense.finish_with_function::<S, B>(simd, panel, &places, count, sums);
                    continue;
                }
                let (pixels, factor) = (&places, PhantomData);
                for_tile_size!(S, B, count, P => {
                    simd.call(&Finish::<I, P, B> { dense, panel, pixels, sums, factor });
                });
                if let Some(function) = dense.function {
                    dense.activate(simd, function, panel, &places.outputs[..count]);
                }
            }
        }
    }
}

/// What becomes of the sums of `P` pixels; only [`Stretch::finish`] makes one.
struct Finish<'a, I, const P: usize, const B: usize> {
    dense: &'a Dense,
    panel: &'a Panel,
    pixels: &'a Pixels,
    sums: *const f32,
    factor: PhantomData<I>,
}

impl<I: Factor, const P: usize, const B: usize> Kernel for Finish<'_, I, P, B> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        // SAFETY: the promise of `Stretch::finish`'s caller.
        unsafe { finish::<S, I, P, B>(simd, self.dense, self.panel, self.pixels, self.sums) }
    }
}

/// # Safety
/// As for [`Stretch::finish`].
#[inline(always)]
unsafe fn finish<S: Simd, I: Factor, const P: usize, const B: usize>(
    simd: S,
    dense: &Dense,
    panel: &Panel,
    pixels: &Pixels,
    from: *const f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[I::start(simd, from); B]; P];
        for pixel in 0..P {
            for block in 0..B {
                sums[pixel][block] = I::start(simd, from.add(pixel * 2 * LANES + block * LANES));
            }
        }
        I::finish(simd, dense, panel, pixels, sums);
    }
}

const _: () = assert!(TOGETHER <= MOST_PIXELS, "the sizes that `for_tile_size` lists");
