//! Dense sums in bfloat16 and 8-bit integers on the tiles of Intel AMX, which multiply 16 pixels by 64 bytes of each by
//! 16 output channels in one instruction.
//!
//! The windows of some pixels are gathered into rows of 64 bytes, chunk by chunk of the inputs of a window; what a pass
//! over them costs is shared by all output channels. Then each panel of 32 output channels is multiplied with pairs of
//! tiles of pixels, and the sums take the same way to the output as those of the other instruction sets. The weights lie
//! as the dot products of vectors read them: that is the tiles' layout too.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(
    clippy::indexing_slicing,
    reason = "indices come from the step's own sizes, checked when it is built"
)]

use std::{cell::RefCell, ops::Range};

use super::{
    Operands,
    dense::{Dense, Factor, MOST_PIXELS, Panel, Pixels},
    for_tile_size,
};
use crate::{
    element::{BFloat16, UInt8},
    simd::{
        self, Kernel, LANES, Simd,
        amx::{self, Piece, Product, ROW, ROWS, Shape},
    },
};

/// Pixels of a pair of tiles.
const PAIR: usize = 2 * ROWS;
/// Gathered windows up to this many bytes stay in the second-level cache beside the weights of a panel.
const GATHERED: usize = 512 * 1024;
/// Pixels whose sums become outputs together.
const TOGETHER: usize = 8;

/// The parts of a window, a chunk of [`ROW`] bytes each.
#[derive(Debug)]
pub(super) struct Gathering {
    chunks: Vec<Vec<Piece>>,
}

impl Gathering {
    /// Of runs of bytes: distances from the start of the window and lengths.
    pub(super) fn new(runs: impl Iterator<Item = (usize, usize)>) -> Self {
        let (mut chunks, mut to) = (Vec::<Vec<Piece>>::new(), 0);
        for (mut from, mut len) in runs {
            while len > 0 {
                if to % ROW == 0 {
                    chunks.push(Vec::new());
                }
                let part = len.min(ROW - to % ROW);
                if let Some(chunk) = chunks.last_mut() {
                    chunk.push(Piece { from, to: to % ROW, len: part });
                }
                (from, to, len) = (from + part, to + part, len - part);
            }
        }
        Self { chunks }
    }
}

/// How the pixels and panels of a step are divided into units.
struct Division {
    pixels: usize,
    /// Rows of a tile.
    rows: usize,
    pairs: usize,
    /// Stretches of pairs, and of panels.
    stretches: [usize; 2],
}

impl Division {
    fn new(dense: &Dense, gathering: &Gathering, images: usize, threads: usize) -> Self {
        let pixels = images * dense.output.pixels();
        let pairs = pixels.div_ceil(PAIR).max(1);
        let rows = pixels.div_ceil(2 * pairs).max(1);
        let most = (GATHERED / (gathering.chunks.len() * ROW * PAIR)).max(1);
        let (mut over_pixels, mut over_panels) = (pairs.div_ceil(most), 1);
        if threads > 1 {
            if pairs >= 8 * threads {
                over_pixels = over_pixels.next_multiple_of(2 * threads);
            } else {
                over_panels = dense.panels().len().min(2 * threads);
            }
        }
        Self { pixels, rows, pairs, stretches: [over_pixels.min(pairs), over_panels] }
    }

    fn pairs(&self, stretch: usize) -> Range<usize> {
        let [count, _] = self.stretches;
        stretch * self.pairs / count..(stretch + 1) * self.pairs / count
    }

    fn pixels(&self, pairs: &Range<usize>) -> Range<usize> {
        let place = |pair: usize| (pair * 2 * self.rows).min(self.pixels);
        place(pairs.start)..place(pairs.end)
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
    /// Chunks × pixels × [`ROW`] bytes.
    gathered: Vec<Line>,
    windows: Vec<*const u8>,
    outputs: Vec<*mut u8>,
    residuals: Vec<*const u8>,
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
            let pairs = division.pairs(stretch);
            let panels = dense.panels();
            let panels = &panels[part * panels.len() / over_panels..(part + 1) * panels.len() / over_panels];
            if gathered != stretch {
                self.gather(&division, &pairs, &mut scratch);
                gathered = stretch;
            }
            let stretch = Stretch {
                scratch: &scratch,
                rows: division.rows,
                pairs: pairs.len(),
                chunks: gathering.chunks.len(),
                shape: &shape,
            };
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

    /// Finds the pixels of some pairs and gathers their windows.
    fn gather(&self, division: &Division, pairs: &Range<usize>, scratch: &mut Scratch) {
        let Scratch { gathered, windows, outputs, residuals } = scratch;
        windows.clear();
        outputs.clear();
        residuals.clear();
        self.dense.for_each_pixel(self.operands, division.pixels(pairs), |input, output, residual| {
            windows.push(input);
            outputs.push(output);
            residuals.push(residual);
        });
        // Places are read in stretches of one length.
        outputs.extend([std::ptr::null_mut(); TOGETHER]);
        residuals.extend([std::ptr::null(); TOGETHER]);
        let (rows, chunks) = (2 * division.rows * pairs.len(), &self.gathering.chunks);
        if gathered.len() < rows * chunks.len() {
            gathered.resize(rows * chunks.len(), Line([0; ROW]));
        }
        for (pieces, lines) in chunks.iter().zip(gathered.chunks_exact_mut(rows)) {
            // SAFETY: the step's check covers every run of every window, and there is a line for each window.
            unsafe { amx::gather(windows, pieces, lines.as_mut_ptr().cast()) };
        }
    }
}

/// Pairs of tiles of pixels whose windows are gathered.
struct Stretch<'a> {
    scratch: &'a Scratch,
    rows: usize,
    pairs: usize,
    chunks: usize,
    shape: &'a Shape,
}

impl Stretch<'_> {
    /// # Safety
    /// The windows of the pairs must be gathered, and their outputs and residuals hold the panel's `B` blocks at the
    /// distance of a plane.
    #[inline(always)]
    unsafe fn panel<S: Simd, I: Factor, const INTEGER: bool, const B: usize>(
        &self,
        simd: S,
        dense: &Dense,
        panel: &Panel,
        sums: &mut [Sums; 2],
    ) {
        let Self { scratch, rows, pairs, chunks, shape } = *self;
        let [initial, weights] = dense.panel_data::<I>(panel);
        let lines = 2 * rows * pairs;
        // A pair's sums become outputs while the next pair is multiplied.
        for pair in 0..=pairs {
            let (now, before) = (pair % 2, (pair + 1) % 2);
            let product = Product {
                pixels: scratch.gathered.as_ptr().wrapping_add(pair * 2 * rows).cast(),
                second: rows * ROW,
                step: lines * ROW,
                weights,
                initial: initial.cast(),
                sums: sums[now].0.as_mut_ptr(),
                sums_row: 2 * LANES * size_of::<f32>(),
                second_sums: rows * 2 * LANES * size_of::<f32>(),
                chunks,
            };
            // SAFETY: the lines hold the chunks of all pairs, the panel's weights were packed for as many chunks, and the
            // sums have room for two tiles; the rest is the caller's promise.
            unsafe {
                if pair < pairs {
                    // Bytes of four pixels are written as a whole line, which needs no reading.
                    if !INTEGER {
                        self.prefetch::<B>(dense, panel, self.pixels(pair));
                    }
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
        let place = |pair: usize| (pair * 2 * self.rows).min(self.scratch.windows.len());
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
                for_tile_size!(S, B, count, P => finish::<S, I, P, B>(simd, dense, panel, &places, sums));
                if let Some(function) = dense.function {
                    dense.activate(simd, function, panel, &places.outputs[..count]);
                }
            }
        }
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
