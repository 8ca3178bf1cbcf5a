//! Convolutions that mix channels, and dense layers: everything that is a sum over runs of inputs.
//!
//! A tile is up to `Simd::PIXELS` output pixels times `Simd::BLOCKS` blocks of output channels, whose sums stay in
//! registers from the bias to the store (see `blocking` for the longest ones). The inputs of a pixel are a list of runs of
//! consecutive numbers at distances that are the same for all pixels, so one loop serves every kernel size, stride,
//! dilation and border, a planar first layer, and a dense layer (whose pixels are the rows of the batch). Pixels are
//! numbered through all images of the group, so that small maps fill their tiles too. Weights are packed in the order in
//! which the loop reads them.
//!
//! In a group convolution whose groups do not fill a block of output channels, a block reads the inputs of all its
//! groups with zero weights in between.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(
    clippy::indexing_slicing,
    reason = "indices come from the step's own sizes, checked when it is built"
)]

use std::ops::Range;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::tiled::{self, Gathering};
use super::{
    Operands,
    activation::Function,
    blocking::{self, Order, Work},
    check_bounds,
    factor::Factor,
    int8::{self, Rescaling},
    packing::{BYTES_OF_A_CHUNK, Layout, Panel, Run, Source, is_tiled, pack_panel, pack_rounded},
    reading::Turned,
    register_tile::{Arrangement, MOST_PIXELS, Pixels, Portion, tile_of_any_size},
};
use crate::{
    EngineError, Settings,
    buffer::Buffer,
    element::{BFloat16, Element, Number, UInt8, halves_mut, load_real},
    geometry::Geometry,
    network::Clamp,
    simd::{self, Kernel, LANES, Simd},
    step::{FAR_WEIGHTS, Passes},
    window::Window,
};

/// Pixels of a tile that is nearly full, of the largest one.
const FULL: usize = MOST_PIXELS - 2;

/// A packed convolution or dense layer.
#[derive(Debug)]
pub(crate) struct Dense {
    input: Geometry,
    pub(super) output: Geometry,
    pub(super) residual: Option<Geometry>,
    start: usize,
    steps: [usize; 2],
    /// Pixels of the output from one that is computed to the next.
    apart: [usize; 2],
    pub(super) runs: Vec<Run>,
    /// Where each run's numbers stand in the weight tensor.
    sources: Vec<Source>,
    panels: Vec<Panel>,
    /// Parts of the runs that all pixels of a chunk see before the next part.
    slabs: usize,
    pub(crate) weights: Buffer,
    /// What the sums start from: the bias; integers for an input in bytes.
    pub(super) initial: Buffer,
    pub(super) clamp: Clamp,
    pub(super) function: Option<Function>,
    /// From the sums of an input in bytes to the output.
    pub(super) rescaling: Option<Rescaling>,
    tile_pixels: usize,
    is_flat: bool,
    /// How windows become rows of tiles, where the sums are computed in tiles.
    #[cfg(target_arch = "x86_64")]
    gathering: Option<Gathering>,
}

/// What a dense step is built from.
#[derive(Clone, Copy)]
pub(crate) struct Recipe<'a> {
    pub(crate) input: Geometry,
    pub(crate) output: Geometry,
    pub(crate) residual: Option<Geometry>,
    pub(crate) window: Window,
    pub(crate) groups: usize,
    /// out × in / groups × kernel height × kernel width, if it is not turned round.
    pub(crate) weight: &'a [f32],
    pub(crate) turned: Option<&'a Turned>,
    /// One number an output channel, or nothing.
    pub(crate) bias: &'a [f32],
    pub(crate) clamp: Clamp,
    pub(crate) function: Option<Function>,
    /// Pixels from an output, and its residual, to the one below it and to the one right of it. If that is more than one, the
    /// outputs' geometries say where the first of them is and how many there are; the rest is border.
    pub(crate) apart: [usize; 2],
}

impl Dense {
    /// Packs the weights for an instruction set.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn new(recipe: &Recipe<'_>, settings: Settings) -> Result<Self, EngineError> {
        if let Some(levels) = recipe.input.element.levels() {
            let weights = int8::Weights::new(recipe.weight, recipe.output.channels, levels);
            let rescaling = Rescaling::new(recipe, &weights)?;
            let mut initial = Buffer::zeroed(recipe.output.blocks() * LANES)?;
            weights.initial(&mut initial);
            let rounded = Recipe { weight: &weights.rounded, ..*recipe };
            let mut dense = Self::packed(&rounded, settings, initial, Some(rescaling))?;
            dense.weights = int8::signed_bytes(&dense.weights)?;
            return Ok(dense);
        }
        let bias = Buffer::zeroed(recipe.output.blocks() * LANES)?;
        let mut dense = Self::packed(recipe, settings, bias, None)?;
        dense.initial[..recipe.bias.len()].copy_from_slice(recipe.bias);
        Ok(dense)
    }

    fn packed(
        recipe: &Recipe<'_>,
        settings: Settings,
        initial: Buffer,
        rescaling: Option<Rescaling>,
    ) -> Result<Self, EngineError> {
        let Recipe { input, output, window, .. } = *recipe;
        let [tile_pixels, tile_blocks] = settings.instruction_set.dense_tile();
        let tiled = is_tiled(recipe, settings);
        let chunk = if tiled { BYTES_OF_A_CHUNK / input.element.size() } else { 1 };
        let layout = Layout::new(recipe, tile_blocks, chunk);
        let in_output = [input, output].iter().all(|geometry| geometry.element == Element::Float32);
        let slabs = if in_output && recipe.groups == 1 { blocking::slabs(layout.rows()) } else { 1 };
        let mut dense = Self {
            #[cfg(target_arch = "x86_64")]
            gathering: tiled.then(|| layout.gathering(recipe)),
            input,
            output,
            residual: recipe.residual,
            start: window.start(&input),
            steps: window.steps(&input),
            weights: Buffer::zeroed(words(input.element, layout.weights))?,
            slabs: slabs.clamp(1, layout.runs.len().max(1)),
            apart: recipe.apart,
            runs: layout.runs,
            sources: layout.sources,
            panels: layout.panels,
            initial,
            clamp: recipe.clamp,
            function: recipe.function,
            rescaling,
            tile_pixels,
            is_flat: false,
        };
        dense.check()?;
        dense.is_flat = dense.is_flat();
        dense.pack(recipe);
        Ok(dense)
    }

    /// Packs a weight and a bias of the same sizes; not for an input in bytes.
    pub(crate) fn repack(&mut self, recipe: &Recipe<'_>) {
        self.initial[..recipe.bias.len()].copy_from_slice(recipe.bias);
        self.pack(recipe);
    }

    fn check(&self) -> Result<(), EngineError> {
        let reach = self.runs.iter().map(|run| run.offset + run.len).max().unwrap_or(0);
        let corner =
            self.start + (self.output.height - 1) * self.steps[0] + (self.output.width - 1) * self.steps[1];
        check_bounds(corner + reach, &self.input)
    }

    fn pack(&mut self, recipe: &Recipe<'_>) {
        if recipe.input.element == Element::BFloat16 {
            return self.pack_rounded(recipe);
        }
        let is_whole =
            recipe.groups == 1 && recipe.input.lanes == LANES && recipe.output.channels.is_multiple_of(LANES);
        let (runs, sources) = (&self.runs, &self.sources);
        parts(&self.panels, &mut self.weights).into_par_iter().for_each(|(panel, part)| {
            // What other layers have left in memory that they share.
            if !is_whole {
                part.fill(0.0);
            }
            let range = panel.runs.clone();
            pack_panel(recipe, panel, runs[range.clone()].iter().zip(&sources[range]), part);
        });
    }

    fn pack_rounded(&mut self, recipe: &Recipe<'_>) {
        let (runs, sources) = (&self.runs, &self.sources);
        let halves = halves_mut(&mut self.weights);
        parts(&self.panels, halves).into_par_iter().for_each(|(panel, part)| {
            let range = panel.runs.clone();
            pack_rounded(recipe, panel, runs[range.clone()].iter().zip(&sources[range]), part);
        });
    }

    /// Groups of images, and the pixels of one, which are numbered through: each image by itself, where its tiles are nearly
    /// full, because the pixels of a tile that lie in two images are no neighbours. A tile of two rows is full, and may have
    /// them in two images.
    fn groups(&self, images: usize) -> [usize; 2] {
        let pixels = self.output.pixels();
        let is_nearly_full = pixels >= FULL * self.tiles_of(pixels);
        let are_two_rows =
            2 * self.output.width == self.tile_pixels && (images * self.output.height).is_multiple_of(2);
        if is_nearly_full && !are_two_rows { [images, pixels] } else { [1, images * pixels] }
    }

    fn tiles_of(&self, pixels: usize) -> usize {
        pixels.div_ceil(self.tile_pixels)
    }

    fn tiles(&self, images: usize) -> usize {
        let [groups, pixels] = self.groups(images);
        groups * self.tiles_of(pixels)
    }

    /// Number of units, when so many threads share them: tiles of pixels times panels of output channels.
    pub(crate) fn units(&self, images: usize, threads: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        if let Some(gathering) = &self.gathering {
            return tiled::units(self, gathering, images, threads);
        }
        let _ = threads;
        self.tiles(images) * self.panels.len()
    }

    /// How often one thread reads weights and inputs of a group of images.
    pub(crate) fn passes(&self, images: usize) -> Passes {
        #[cfg(target_arch = "x86_64")]
        if let Some(gathering) = &self.gathering {
            let over_weights = tiled::units(self, gathering, images, 1);
            return Passes { over_weights, over_inputs: 1, cost_of_weights: FAR_WEIGHTS };
        }
        Passes {
            over_weights: self.order(images).passes_over_weights(),
            over_inputs: 1,
            cost_of_weights: FAR_WEIGHTS / 2,
        }
    }

    fn order(&self, images: usize) -> Order {
        let window = self.runs.iter().map(|run| run.len).sum::<usize>() * self.input.element.size();
        let pixel = window.min(self.input.bytes() / self.output.pixels()) / self.slabs;
        let (tiles, panels, weights) = (self.tiles(images), self.panels.len(), self.weights.len());
        Order::new(Work { tiles, panels, weights, inputs: self.tile_pixels * pixel })
    }

    /// A panel's runs in a slab.
    fn portion<'a>(&self, panel: &'a Panel, slab: usize) -> Portion<'a> {
        let start = |slab| panel.runs.start + panel.runs.len() * slab / self.slabs;
        let (runs, last) = (start(slab)..start(slab + 1), slab + 1 == self.slabs);
        Portion { panel, runs, is_first: slab == 0, is_last: last }
    }

    /// Bytes of packed weights.
    pub(crate) fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..])
    }

    /// Multiply–accumulate operations on a group of images.
    pub(crate) fn cost(&self, images: usize) -> usize {
        images * self.output.pixels() * self.weights.len()
    }

    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images of the geometries that the step was built with, the output apart from the
    /// others, and no other thread may compute the same units.
    pub(crate) unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        #[cfg(target_arch = "x86_64")]
        if let Some(gathering) = &self.gathering {
            // SAFETY: the caller's promise.
            return unsafe { tiled::run(self, gathering, operands, units) };
        }
        let task = Task { dense: self, operands, units };
        if self.rescaling.is_some() {
            simd::launch_int8(settings.instruction_set, &Int8Task(task));
        } else {
            simd::launch_with(settings, &task);
        }
    }
}

/// Each panel and its part of the packed weights.
fn parts<'a, T>(panels: &'a [Panel], mut rest: &'a mut [T]) -> Vec<(&'a Panel, &'a mut [T])> {
    let mut parts = Vec::with_capacity(panels.len());
    for panel in panels {
        let (part, tail) = rest.split_at_mut(panel.rows * panel.blocks * LANES);
        (rest, _) = (tail, parts.push((panel, part)));
    }
    parts
}

/// Single-precision numbers that so many weights for inputs of an element take; bytes are made of them later.
fn words(input: Element, weights: usize) -> usize {
    if input == Element::BFloat16 { weights.div_ceil(2) } else { weights }
}

struct Task<'a> {
    dense: &'a Dense,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        match self.dense.input.element {
            Element::Float32 => self.tiles::<S, f32>(simd),
            Element::BFloat16 => self.tiles::<S, BFloat16>(simd),
            // Another kernel, so that each is compiled only for the instructions that it may use.
            Element::UInt8(_) => {}
        }
    }
}

/// A task whose inputs are bytes.
struct Int8Task<'a>(Task<'a>);

impl Kernel for Int8Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        self.0.tiles::<S, UInt8>(simd);
    }
}

impl Task<'_> {
    #[inline(always)]
    fn tiles<S: Simd, I: Factor>(&self, simd: S) {
        let order = self.dense.order(self.operands.images);
        for chunk in order.chunks(self.units.clone()) {
            for slab in 0..self.dense.slabs {
                self.chunk::<S, I>(simd, &order, chunk.clone(), slab);
            }
        }
    }

    /// One slab of units that all belong to a chunk.
    #[inline(always)]
    fn chunk<S: Simd, I: Factor>(&self, simd: S, order: &Order, units: Range<usize>, slab: usize) {
        let dense = self.dense;
        let [_, total] = dense.groups(self.operands.images);
        let tiles = dense.tiles_of(total);
        let (mut located, mut pixels) = (usize::MAX, Pixels::NONE);
        for unit in units {
            let [tile, panel] = order.place(unit);
            // Even shares: 49 pixels are 13 + 12 + 12 + 12 rather than three tiles of 14 and one of 7.
            let (group, index) = (tile / tiles * total, tile % tiles);
            let (first, end) = (group + index * total / tiles, group + (index + 1) * total / tiles);
            if located != tile {
                (located, pixels) = (tile, dense.pixels(self.operands, first, end - first));
            }
            let portion = dense.portion(&dense.panels[panel], slab);
            // SAFETY: `Dense::run`'s caller vouches for the operands, and `Dense::check` for the offsets in them.
            unsafe {
                if portion.panel.blocks == 2 {
                    tile_of_any_size::<S, I, 2>(simd, dense, &portion, &pixels, end - first);
                } else {
                    tile_of_any_size::<S, I, 1>(simd, dense, &portion, &pixels, end - first);
                }
                if let (Some(function), true) = (dense.function, portion.is_last) {
                    dense.activate(simd, function, portion.panel, &pixels.outputs[..end - first]);
                }
            }
        }
    }
}

impl Dense {
    /// # Safety
    /// The panel must have been computed at these outputs.
    #[inline(always)]
    pub(super) unsafe fn activate<S: Simd>(
        &self,
        simd: S,
        function: Function,
        panel: &Panel,
        outputs: &[*mut u8],
    ) {
        for block in panel.block..panel.block + panel.blocks {
            for output in outputs {
                let plane = block * self.output.plane();
                // SAFETY: the caller's promise.
                unsafe {
                    match self.output.element {
                        Element::Float32 => function.apply(simd, output.cast::<f32>().add(plane), 1),
                        Element::BFloat16 => function.apply(simd, output.cast::<BFloat16>().add(plane), 1),
                        // Applied before the rounding.
                        Element::UInt8(_) => {}
                    }
                }
            }
        }
    }

    /// Whether each pixel of an image lies behind the one before, in all that is read and written.
    fn is_flat(&self) -> bool {
        let Self { output, steps, .. } = self;
        let is_flat = |[down, right]: [usize; 2]| {
            right == LANES && (output.height == 1 || down == output.width * LANES)
        };
        let stored = [output, self.residual.as_ref().unwrap_or(output)];
        self.apart == [1; 2] && is_flat(*steps) && stored.iter().all(|to| is_flat([to.row(), to.lanes]))
    }

    #[inline(always)]
    fn pixels(&self, operands: &Operands, first: usize, count: usize) -> Pixels {
        let (image, place) = (first / self.output.pixels(), first % self.output.pixels());
        if self.is_flat && place + count <= self.output.pixels() {
            return self.flat_pixels(operands, [image, place], count.min(MOST_PIXELS));
        }
        let (mut pixels, mut index) = (Pixels::NONE, 0);
        self.for_each_pixel(operands, first..first + count.min(MOST_PIXELS), |input, output, residual| {
            pixels.inputs[index] = input;
            pixels.outputs[index] = output;
            pixels.residuals[index] = residual;
            index += 1;
        });
        let vector = LANES * self.input.element.size();
        pixels.arrangement = Arrangement::of(&pixels.inputs[..index], vector);
        pixels
    }

    /// Pixels of an image from a place on.
    #[inline(always)]
    fn flat_pixels(&self, operands: &Operands, [image, place]: [usize; 2], count: usize) -> Pixels {
        let residual = self.residual.unwrap_or(self.output);
        // Wrapping, as below.
        let first = |span: super::Span, origin: usize, size: usize| {
            span.pointer.wrapping_add(image * span.image + (origin + place * LANES) * size)
        };
        let [input, output, added] = [&self.input, &self.output, &residual].map(|of| of.element.size());
        let mut pixels = Pixels { arrangement: Arrangement::Line, ..Pixels::NONE };
        for index in 0..count {
            let lanes = index * LANES;
            pixels.inputs[index] = first(operands.input, self.start, input).wrapping_add(lanes * input);
            pixels.outputs[index] =
                first(operands.output, self.output.origin(), output).wrapping_add(lanes * output);
            pixels.residuals[index] =
                first(operands.second, residual.origin(), added).wrapping_add(lanes * added);
        }
        pixels
    }

    /// Where a stored pixel of an image lies, in rows and columns from the first window's start.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn stored(&self, operands: &Operands, image: usize, [row, column]: [usize; 2]) -> *const u8 {
        let numbers = self.start + row * self.input.row() + column * self.input.lanes;
        // Wrapping, as below.
        let bytes = image * operands.input.image + numbers * self.input.element.size();
        operands.input.pointer.wrapping_add(bytes).cast_const()
    }

    /// Calls a function with the places of the window, the output and the residual of each pixel, which are numbered
    /// through all images.
    #[inline(always)]
    pub(super) fn for_each_pixel(
        &self,
        operands: &Operands,
        pixels: Range<usize>,
        mut take: impl FnMut(*const u8, *mut u8, *const u8),
    ) {
        let Geometry { width, .. } = self.output;
        let per_image = self.output.pixels();
        let residual = self.residual.unwrap_or(self.output);
        let ([down, right], first) = (self.apart, pixels.start);
        let (mut image, mut y, mut x) = (first / per_image, first % per_image / width, first % width);
        for _ in pixels {
            // Wrapping, because an address is only formed here; the kernel that reads it proves that it is valid.
            let at = |span: super::Span, bytes: usize| span.pointer.wrapping_add(image * span.image + bytes);
            let window = self.start + y * self.steps[0] + x * self.steps[1];
            take(
                at(operands.input, window * self.input.element.size()),
                at(operands.output, self.output.pixel(y * down, x * right) * self.output.element.size()),
                at(operands.second, residual.pixel(y * down, x * right) * residual.element.size()),
            );
            x += 1;
            if x == width {
                (x, y) = (0, y + 1);
            }
            if y == self.output.height {
                (y, image) = (0, image + 1);
            }
        }
    }

    /// Makes outputs of the sums of `count` pixels, 32 numbers apart, with the activation function. Not for inputs in bytes.
    ///
    /// # Safety
    /// Outputs and residuals must hold the panel's blocks at the distance of a plane; there must be sums for each pixel.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn finish_with_function<S: Simd, const B: usize>(
        &self,
        simd: S,
        panel: &Panel,
        pixels: &Pixels,
        count: usize,
        sums: *const f32,
    ) {
        match self.output.element {
            // SAFETY: the caller's promise.
            Element::Float32 => unsafe {
                self.finish_with_function_as::<S, f32, B>(simd, panel, pixels, count, sums);
            },
            // SAFETY: as above.
            Element::BFloat16 => unsafe {
                self.finish_with_function_as::<S, BFloat16, B>(simd, panel, pixels, count, sums);
            },
            // Only of inputs in bytes, see `quantization`.
            Element::UInt8(_) => {}
        }
    }

    /// # Safety
    /// As for [`Self::finish_with_function`], for outputs of `O`.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn finish_with_function_as<S: Simd, O: Number, const B: usize>(
        &self,
        simd: S,
        panel: &Panel,
        pixels: &Pixels,
        count: usize,
        sums: *const f32,
    ) {
        let Some(function) = self.function else { return };
        let (low, high) = (simd.splat(self.clamp.low), simd.splat(self.clamp.high));
        let plane = self.output.plane();
        for index in 0..count * B {
            let (pixel, block) = (index / B, index % B);
            // SAFETY: the caller's promise.
            unsafe {
                let mut sum = simd.load(sums.add(pixel * 2 * LANES + block * LANES));
                if let Some(residual) = &self.residual {
                    let plane = (panel.block + block) * residual.plane() * residual.element.size();
                    sum =
                        simd.add(sum, load_real(simd, residual.element, pixels.residuals[pixel].add(plane)));
                }
                let value = function.evaluate(simd, simd.clamp(sum, low, high));
                let to = pixels.outputs[pixel].cast::<O>().add((panel.block + block) * plane);
                O::store(simd, to, value);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// What a panel's sums start from, and its weights, which are `I`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn panel_data<I: Factor>(&self, panel: &Panel) -> [*const u8; 2] {
        let initial = self.initial.as_ptr().wrapping_add(panel.block * LANES);
        [initial.cast(), self.weights.as_ptr().cast::<I>().wrapping_add(panel.weights).cast()]
    }
}
