//! How the work on a weight is divided: into tiles, and what of them a strip of pixels goes through before the next one.
#![allow(clippy::indexing_slicing, reason = "indices below the constants that the arrays have as sizes")]

use std::ops::Range;

use crate::{geometry::Geometry, simd::LANES, window::Window};

/// Neighbouring channels of a tile, and most blocks: 24 of 32 registers.
pub(super) const CHANNELS: usize = 8;
pub(super) const BLOCKS: usize = 3;
/// Places anywhere, with two blocks of outputs.
pub(super) const ROWS: usize = 12;
/// With one block of outputs, of two registers each, 12 of 16.
pub(super) const FEWER_ROWS: usize = 6;
/// Pixels of a strip: so many that loading and storing the sums takes no time beside them.
const PIXELS: usize = 1024;
/// Where all sums stay in the second-level cache: as many as the first-level one holds of what a tile reads.
const FEWER_PIXELS: usize = 112;
/// Most weights for that.
const FEW_WEIGHTS: usize = 1 << 16;
/// Bytes of numbers that a strip goes through before the next one: a part of the second-level cache.
const NUMBERS: usize = 1 << 18;

/// What the numbers and the vectors of a tile are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// Gradients of neighbouring channels, and inputs.
    Turned,
    /// Inputs of neighbouring channels at one of the window's places, and gradients.
    Neighbors,
    /// Inputs anywhere, and gradients.
    Any,
}

/// Sums that are computed together.
#[derive(Debug)]
pub(super) struct Tile {
    /// First block of the vectors, and how many.
    pub(super) block: usize,
    pub(super) blocks: usize,
    /// From a pixel's first number to the tile's.
    pub(super) offset: usize,
    /// Place of the first weight in an output channel's row, or the first output channel.
    pub(super) place: usize,
    /// Numbers that count.
    pub(super) rows: usize,
    pub(super) any: Option<Box<Any>>,
}

/// Numbers anywhere; the last one is repeated.
#[derive(Debug)]
pub(super) struct Any {
    pub(super) offsets: [usize; ROWS],
    /// Where the weight is in an output channel's row, and the output channels that have it.
    pub(super) places: [usize; ROWS],
    pub(super) channels: [[usize; 2]; ROWS],
}

/// What the step is built from.
pub(crate) struct Recipe {
    pub(crate) from: Geometry,
    pub(crate) input: Geometry,
    pub(crate) window: Window,
    pub(crate) groups: usize,
    pub(crate) to: usize,
    pub(crate) sums: usize,
}

impl Recipe {
    pub(super) fn taps(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1]
    }

    /// Images and rows of a strip.
    pub(super) fn strip(&self) -> [usize; 2] {
        let weights = self.from.channels * self.input.channels / self.groups.max(1) * self.taps();
        let pixels = if weights <= FEW_WEIGHTS { FEWER_PIXELS } else { PIXELS };
        let rows = pixels / self.from.width;
        [(rows / self.from.height).max(1), rows.clamp(1, self.from.height)]
    }

    /// The tiles, and how many of them a strip goes through before the next one: those of so many channels' numbers that the
    /// second-level cache holds a strip of them.
    pub(super) fn tiles(&self, arrangement: Arrangement, is_wide: bool) -> (Vec<Tile>, usize) {
        let (rows, most) = match (arrangement, is_wide) {
            (Arrangement::Any, false) => (FEWER_ROWS, 1),
            (Arrangement::Any, true) => (ROWS, if self.groups == 1 { 2 } else { 1 }),
            _ => (CHANNELS, BLOCKS),
        };
        let vectors = if arrangement == Arrangement::Turned { &self.input } else { &self.from };
        let mut of_blocks: Vec<Vec<Tile>> = shares(vectors.blocks(), most)
            .map(|blocks| match arrangement {
                Arrangement::Turned => self.turned(&blocks),
                Arrangement::Neighbors => self.neighbors(&blocks),
                Arrangement::Any => self.any(&blocks, rows),
            })
            .collect();
        let seen = |axis: usize| self.window.kernel[axis].min(self.window.stride[axis]);
        let numbers = self.strip().iter().product::<usize>() * self.from.width * seen(0) * seen(1);
        let channels = (NUMBERS / size_of::<f32>() / numbers.max(1)).max(1);
        let together = if self.groups == 1 { (channels * self.taps()).div_ceil(rows) } else { usize::MAX };
        let chunk = of_blocks.iter().map(|tiles| tiles.len().min(together)).sum();
        let mut tiles = Vec::new();
        while of_blocks.iter().any(|tiles| !tiles.is_empty()) {
            tiles.extend(of_blocks.iter_mut().flat_map(|tiles| tiles.drain(..tiles.len().min(together))));
        }
        (tiles, chunk)
    }

    fn turned(&self, blocks: &Range<usize>) -> Vec<Tile> {
        let Geometry { channels, .. } = self.from;
        let tile = |place: usize| {
            let offset = place / LANES * self.from.plane() + place % LANES;
            Tile::new(blocks, offset, place, CHANNELS.min(channels - place))
        };
        (0..channels).step_by(CHANNELS).map(tile).collect()
    }

    fn neighbors(&self, blocks: &Range<usize>) -> Vec<Tile> {
        let (Geometry { channels, .. }, taps) = (self.input, self.taps());
        let firsts = (0..channels).step_by(CHANNELS);
        let all = firsts.flat_map(|channel| (0..taps).map(move |tap| (channel, tap)));
        let tile = |(channel, tap): (usize, usize)| {
            let rows = CHANNELS.min(channels - channel);
            Tile::new(blocks, self.offset(channel, tap), channel * taps + tap, rows)
        };
        all.map(tile).collect()
    }

    /// All that the output channels see, in one row after the other.
    fn any(&self, blocks: &Range<usize>, rows: usize) -> Vec<Tile> {
        let [out_group, in_group] =
            [self.from.channels, self.input.channels].map(|channels| channels / self.groups.max(1));
        let outputs = blocks.start * LANES..(blocks.end * LANES).min(self.from.channels);
        let channels = outputs.start / out_group * in_group..outputs.end.div_ceil(out_group) * in_group;
        let (taps, all) = (self.taps(), channels.start * self.taps()..channels.end * self.taps());
        let of_group = |index: usize| {
            let group = index / taps / in_group;
            [(group * out_group).max(outputs.start), ((group + 1) * out_group).min(outputs.end)]
        };
        let tile = |first: usize| {
            let count = rows.min(all.end - first);
            let at = |row: usize| first + row.min(count - 1);
            let place = |index: usize| index / taps % in_group * taps + index % taps;
            let any = Any {
                offsets: std::array::from_fn(|row| self.offset(at(row) / taps, at(row) % taps)),
                places: std::array::from_fn(|row| place(at(row))),
                channels: std::array::from_fn(|row| of_group(at(row))),
            };
            Tile { any: Some(Box::new(any)), ..Tile::new(blocks, 0, place(first), count) }
        };
        all.clone().step_by(rows).map(tile).collect()
    }

    /// From a window's start to an input channel at one of its places.
    fn offset(&self, channel: usize, tap: usize) -> usize {
        let Self { input, window, .. } = self;
        let width = window.kernel[1];
        let (y, x) = (tap / width * window.dilation[0], tap % width * window.dilation[1]);
        let block = channel / input.lanes * input.plane() + channel % input.lanes;
        block + y * input.row() + x * input.lanes
    }
}

/// Blocks in even shares of at most so many: four are two and two rather than three and one.
fn shares(blocks: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = blocks.div_ceil(most);
    let end = move |index: usize| index * blocks / count;
    (0..count).map(move |index| end(index)..end(index + 1))
}

impl Tile {
    fn new(blocks: &Range<usize>, offset: usize, place: usize, rows: usize) -> Self {
        Self { block: blocks.start, blocks: blocks.len(), offset, place, rows, any: None }
    }
}
