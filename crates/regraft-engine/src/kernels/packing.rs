//! How the weights of a dense step are packed: in the order in which the loop over the inputs of a pixel reads them.
#![allow(
    clippy::indexing_slicing,
    reason = "indices come from the step's own sizes, checked when it is built"
)]

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::tiled::Gathering;
use super::{blocking::SLAB, dense::Recipe, factor::Factor as _, reading::Reading};
use crate::{
    InstructionSet, Settings,
    element::{BFloat16, Element, Number as _, UInt8},
    geometry::Geometry,
    simd::LANES,
};

/// Consecutive numbers of the input, at a distance from the start of a pixel's window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) offset: usize,
    pub(super) len: usize,
    /// Numbers of the pixel before it.
    pub(super) row: usize,
}

/// Some blocks of output channels.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub(super) block: usize,
    pub(super) blocks: usize,
    pub(super) runs: Range<usize>,
    /// Numbers of a pixel that are multiplied, with those that only fill a chunk.
    pub(super) rows: usize,
    pub(super) weights: usize,
}

/// Where a run's numbers stand in the weight tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    channel: usize,
    tap: usize,
    /// The run goes on to the right in the kernel rather than to the next channel.
    along_row: bool,
}

impl Source {
    fn advanced(self, by: usize) -> (usize, usize) {
        if self.along_row { (self.channel, self.tap + by) } else { (self.channel + by, self.tap) }
    }
}

/// Runs and panels of a layer.
pub(super) struct Layout {
    pub(super) runs: Vec<Run>,
    pub(super) sources: Vec<Source>,
    pub(super) panels: Vec<Panel>,
    pub(super) weights: usize,
    /// The numbers of a pixel are filled up to a multiple of this.
    chunk: usize,
}

impl Layout {
    pub(super) fn new(recipe: &Recipe<'_>, tile_blocks: usize, chunk: usize) -> Self {
        let per_group = recipe.output.channels / recipe.groups;
        let blocks =
            if recipe.groups > 1 && !per_group.is_multiple_of(tile_blocks * LANES) { 1 } else { tile_blocks };
        let mut layout =
            Self { runs: Vec::new(), sources: Vec::new(), panels: Vec::new(), weights: 0, chunk };
        for block in (0..recipe.output.blocks()).step_by(blocks) {
            let blocks = blocks.min(recipe.output.blocks() - block);
            layout.push_panel(recipe, block, blocks);
        }
        layout
    }

    fn push_panel(&mut self, recipe: &Recipe<'_>, block: usize, blocks: usize) {
        let [out_group, in_group] =
            [recipe.output.channels, recipe.input.channels].map(|channels| channels / recipe.groups);
        let last = ((block + blocks) * LANES).min(recipe.output.channels) - 1;
        let channels =
            whole_groups(recipe, block * LANES / out_group * in_group..(last / out_group + 1) * in_group);
        let runs = match self.panels.first() {
            Some(first) if recipe.groups == 1 => first.runs.clone(),
            _ => self.push_runs(recipe, channels),
        };
        let rows: usize = self.runs[runs.clone()].iter().map(|run| run.len).sum();
        let rows = rows.next_multiple_of(self.chunk);
        self.panels.push(Panel { block, blocks, runs, rows, weights: self.weights });
        self.weights += rows * blocks * LANES;
    }

    /// Numbers of a pixel that are multiplied, where all panels read the same.
    pub(super) fn rows(&self) -> usize {
        self.runs.last().map_or(0, |run| run.row + run.len)
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn gathering(&self, recipe: &Recipe<'_>) -> Gathering {
        let Recipe { input, output, window, .. } = *recipe;
        let size = input.element.size();
        let bytes = |run: &Run| (run.offset * size, run.len * size);
        if !self.whole_chunks_a_tap(recipe) || !Gathering::fits(output.width) {
            return Gathering::of_windows(self.runs.iter().map(bytes));
        }
        // All taps of a chunk of channels follow each other; the first has no distance from the window's start.
        let taps = window.kernel[0] * window.kernel[1];
        let runs_of_a_tap = self.chunk / input.lanes;
        let first = self.runs.chunks(runs_of_a_tap * taps).flat_map(|runs| runs.iter().take(runs_of_a_tap));
        Gathering::of_pixels(first.map(bytes), window)
    }

    /// Whether the channels at each place of a window are whole chunks.
    fn whole_chunks_a_tap(&self, recipe: &Recipe<'_>) -> bool {
        let Recipe { input, window, .. } = *recipe;
        let windows = self.chunk > 1 && input.lanes == LANES && window.kernel != [1; 2];
        windows && input.channels.is_multiple_of(self.chunk)
    }

    fn push_runs(&mut self, recipe: &Recipe<'_>, channels: Range<usize>) -> Range<usize> {
        let (input, first) = (&recipe.input, self.runs.len());
        let [height, width] = recipe.window.kernel;
        let [down, right] = recipe.window.dilation;
        // Neighbouring columns of a planar image follow each other, as neighbouring channels of a blocked one do.
        let along_row = input.lanes == 1 && right == 1;
        // The channels that go through all taps before the next ones.
        let together_in_taps = if self.whole_chunks_a_tap(recipe) { self.chunk } else { input.lanes };
        let mut channel = channels.start;
        while channel < channels.end {
            let end = (channel / together_in_taps + 1) * together_in_taps;
            let end = end.min(channels.end);
            for tap in (0..height * width).step_by(if along_row { width } else { 1 }) {
                let (y, x) = (tap / width, tap % width);
                let tap_offset = y * down * input.row() + x * right * input.lanes;
                let mut channel = channel;
                while channel < end {
                    let len = (input.lanes - channel % input.lanes).min(end - channel);
                    let lane = channel / input.lanes * input.plane() + channel % input.lanes;
                    let read = if along_row { width } else { len };
                    let len_read = read.next_multiple_of(together(input));
                    let run = Run { offset: lane + tap_offset, len: len_read, row: 0 };
                    self.push_run(run, Source { channel, tap, along_row }, first, height * width == 1);
                    channel += len;
                }
            }
            channel = end;
        }
        first..self.runs.len()
    }

    /// Appends a run; blocks of a single pixel that follow each other in memory become one run, up to a slab.
    fn push_run(&mut self, run: Run, source: Source, first: usize, single: bool) {
        let fresh = self.runs.len() == first;
        match self.runs.last_mut() {
            Some(last)
                if single && !fresh && last.offset + last.len == run.offset && last.len + run.len <= SLAB =>
            {
                last.len += run.len;
            }
            last => {
                let row = last.filter(|_| !fresh).map_or(0, |last| last.row + last.len);
                self.runs.push(Run { row, ..run });
                self.sources.push(source);
            }
        }
    }
}

/// Bytes of a pixel that an instruction on tiles multiplies.
pub(super) const BYTES_OF_A_CHUNK: usize = 64;

/// Whether the sums are computed in tiles: where there are some for the numbers, all panels read the same inputs, and there is
/// something to sum up (no window sees some pixels of an input whose gradient is computed).
pub(super) fn is_tiled(recipe: &Recipe<'_>, settings: Settings) -> bool {
    let tiles = settings.instruction_set == InstructionSet::Amx;
    let has_products = recipe.window.kernel.iter().all(|places| *places > 0);
    tiles && recipe.input.element != Element::Float32 && recipe.groups == 1 && has_products
}

/// Numbers of a pixel that one instruction multiplies.
pub(crate) fn together(input: &Geometry) -> usize {
    match input.element {
        Element::Float32 => f32::TOGETHER,
        Element::BFloat16 => BFloat16::TOGETHER,
        Element::UInt8(_) => UInt8::TOGETHER,
    }
}

/// Widens a range of channels to what an instruction multiplies at once; a block is a multiple of that. In a planar image
/// it multiplies neighbouring columns.
fn whole_groups(recipe: &Recipe<'_>, channels: Range<usize>) -> Range<usize> {
    let together = if recipe.input.lanes == 1 { 1 } else { together(&recipe.input) };
    channels.start / together * together..channels.end.next_multiple_of(together)
}

/// As [`pack_panel`], rounded to bfloat16, in pairs of input channels.
pub(super) fn pack_rounded<'a>(
    recipe: &Recipe<'_>,
    panel: &Panel,
    runs: impl Iterator<Item = (&'a Run, &'a Source)>,
    packed: &mut [BFloat16],
) {
    let mut numbers = vec![0.0; packed.len()];
    let Recipe { input, groups, .. } = recipe;
    // Of channels that are all in pairs.
    if *groups == 1 && input.lanes == LANES && input.channels.is_multiple_of(2) {
        let outputs = outputs(recipe, panel);
        pack_matrices(recipe, (outputs, panel.blocks * LANES), runs, &mut numbers);
        return round_in_pairs(&numbers, panel.blocks * LANES, packed);
    }
    pack_any(recipe, panel, outputs(recipe, panel), runs, &mut numbers);
    packed.iter_mut().zip(numbers).for_each(|(to, number)| *to = BFloat16::new(number));
}

/// Of two rows of so many numbers each in turn.
fn round_in_pairs(numbers: &[f32], width: usize, packed: &mut [BFloat16]) {
    for (rows, to) in numbers.chunks_exact(2 * width).zip(packed.chunks_exact_mut(2 * width)) {
        let (low, high) = rows.split_at(width);
        for (to, (low, high)) in to.chunks_exact_mut(2).zip(low.iter().zip(high)) {
            (to[0], to[1]) = (BFloat16::new(*low), BFloat16::new(*high));
        }
    }
}

/// The output channels of a panel.
fn outputs(recipe: &Recipe<'_>, panel: &Panel) -> Range<usize> {
    panel.block * LANES..((panel.block + panel.blocks) * LANES).min(recipe.output.channels)
}

pub(super) fn pack_panel<'a>(
    recipe: &Recipe<'_>,
    panel: &Panel,
    runs: impl Iterator<Item = (&'a Run, &'a Source)>,
    packed: &mut [f32],
) {
    let outputs = outputs(recipe, panel);
    let Recipe { input, groups, .. } = recipe;
    if *groups != 1 || together(input) != 1 || input.lanes != LANES {
        return pack_any(recipe, panel, outputs, runs, packed);
    }
    pack_matrices(recipe, (outputs, panel.blocks * LANES), runs, packed);
}

/// Of blocked channels and one group: a row of so many outputs for each number of a pixel.
fn pack_matrices<'a>(
    recipe: &Recipe<'_>,
    (outputs, width): (Range<usize>, usize),
    runs: impl Iterator<Item = (&'a Run, &'a Source)>,
    packed: &mut [f32],
) {
    let reading = Reading::new(recipe);
    for (run, source) in runs {
        let rows = &mut packed[run.row * width..][..run.len * width];
        reading.matrix((outputs.clone(), source.channel), source.tap, width, rows);
    }
}

/// Of any layout and any number of groups.
fn pack_any<'a>(
    recipe: &Recipe<'_>,
    panel: &Panel,
    outputs: Range<usize>,
    runs: impl Iterator<Item = (&'a Run, &'a Source)>,
    packed: &mut [f32],
) {
    let [out_group, in_group] =
        [recipe.output.channels, recipe.input.channels].map(|channels| channels / recipe.groups);
    let reading = Reading::new(recipe);
    let together = together(&recipe.input);
    // Columns of a planar image that are read together; a run may be longer.
    let row_len = if recipe.window.dilation[1] == 1 { recipe.window.kernel[1] } else { 1 };
    let mut rows = packed.chunks_exact_mut(panel.blocks * LANES * together);
    for (run, source) in runs {
        for (index, row) in (0..run.len).step_by(together).zip(&mut rows) {
            for (output, packed) in
                outputs.clone().flat_map(|output| (0..together).map(move |part| (output, part))).zip(row)
            {
                let (output, part) = output;
                let (channel, tap) = source.advanced(index + part);
                let group = output / out_group * in_group;
                let behind_row = recipe.input.lanes == 1 && index + part >= row_len;
                if (group..group + in_group).contains(&channel) && !behind_row {
                    *packed = reading.number(output, channel - group, tap);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Precision, network::Clamp, window::Window};

    #[test]
    fn pixels_that_no_window_sees_are_not_computed_in_tiles() {
        let input = Geometry { element: Element::BFloat16, ..Geometry::blocked([32, 4, 16]) };
        let settings = Settings { instruction_set: InstructionSet::Amx, precision: Precision::BFloat16 };
        let with_kernel = |kernel: [usize; 2]| {
            let recipe = Recipe {
                input,
                output: Geometry::blocked([32, 4, 16]),
                residual: None,
                window: Window { kernel, ..Window::SINGLE },
                groups: 1,
                weight: &[],
                turned: None,
                bias: &[],
                clamp: Clamp::NONE,
                function: None,
                apart: [1; 2],
            };
            is_tiled(&recipe, settings)
        };
        assert!(with_kernel([1, 1]));
        assert!(!with_kernel([0, 1]) && !with_kernel([1, 0]));
    }
}
