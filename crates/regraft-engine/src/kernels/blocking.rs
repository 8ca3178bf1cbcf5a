//! The order in which a dense step goes through tiles of pixels, panels of output channels and slabs of inputs, so that what
//! it reads again is still in the second-level cache.
//!
//! Few weights stay there while the pixels stream by. More weights stream by themselves, once for each chunk of pixels whose
//! inputs stay there. Of the longest sums the chunk's pixels see one slab of inputs after the other, and the sums so far
//! wait in the output.

use std::ops::Range;

/// Weights of a layer up to this many numbers stay in the cache while the pixels stream by.
const CACHED_WEIGHTS: usize = 75_000;

/// Inputs up to this many bytes stay in the cache while more weights than that stream by.
const CACHED_INPUTS: usize = 786_432;

/// About so many inputs of a pixel make a slab; no run is longer.
pub(super) const SLAB: usize = 768;

/// Number of slabs for so many inputs of a pixel, where the sums so far can wait in the output.
pub(super) fn slabs(inputs: usize) -> usize {
    (inputs + SLAB / 2) / SLAB
}

/// What a step's work consists of.
#[derive(Clone, Copy)]
pub(super) struct Work {
    pub(super) tiles: usize,
    pub(super) panels: usize,
    /// Words of four bytes.
    pub(super) weights: usize,
    /// Bytes of the inputs of a tile in one slab.
    pub(super) inputs: usize,
}

/// Units, each a tile and a panel, in their order.
pub(super) struct Order {
    work: Work,
    /// Tiles that go through all panels before the next ones.
    chunk: usize,
}

impl Order {
    pub(super) fn new(work: Work) -> Self {
        let inputs = work.tiles * work.inputs;
        let chunks = match (work.weights, inputs.div_ceil(CACHED_INPUTS).min(work.tiles)) {
            (0..=CACHED_WEIGHTS, _) => work.tiles,
            // Without slabs the inputs of few pixels can be many: then they are the ones that are read again.
            (weights, chunks) if chunks * weights * size_of::<f32>() > work.panels * inputs => 1,
            (_, chunks) => chunks,
        };
        Self { work, chunk: work.tiles.div_ceil(chunks.max(1)).max(1) }
    }

    /// How often the weights come from behind the cache.
    pub(super) fn passes_over_weights(&self) -> usize {
        if self.work.weights > CACHED_WEIGHTS { self.work.tiles.div_ceil(self.chunk) } else { 1 }
    }

    /// The parts of a range of units that belong to one chunk each.
    pub(super) fn chunks(&self, units: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let (size, mut rest) = (self.chunk * self.work.panels, units);
        std::iter::from_fn(move || {
            let end = ((rest.start / size + 1) * size).min(rest.end);
            let part = rest.start..end;
            rest.start = end;
            (!part.is_empty()).then_some(part)
        })
    }

    /// The tile and the panel of a unit.
    #[inline]
    pub(super) fn place(&self, unit: usize) -> [usize; 2] {
        let start = unit / (self.chunk * self.work.panels) * self.chunk;
        let (within, tiles) = (unit - start * self.work.panels, self.chunk.min(self.work.tiles - start));
        [start + within % tiles, within / tiles]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(work: Work, units: Range<usize>) -> Vec<Vec<[usize; 2]>> {
        let order = Order::new(work);
        order.chunks(units).map(|part| part.map(|unit| order.place(unit)).collect()).collect()
    }

    #[test]
    fn few_weights_stay_while_the_pixels_stream_by() {
        let work = Work { tiles: 2, panels: 3, weights: CACHED_WEIGHTS, inputs: CACHED_INPUTS };
        assert_eq!(places(work, 0..6), [[[0, 0], [0, 1], [0, 2]], [[1, 0], [1, 1], [1, 2]]]);
    }

    #[test]
    fn many_weights_stream_by_chunks_of_pixels() {
        let work = Work { tiles: 3, panels: 2, weights: CACHED_WEIGHTS + 1, inputs: CACHED_INPUTS / 2 };
        assert_eq!(places(work, 0..6), [vec![[0, 0], [1, 0], [0, 1], [1, 1]], vec![[2, 0], [2, 1]]]);
        assert_eq!(places(work, 3..5), [[[1, 1]], [[2, 0]]]);
    }

    #[test]
    fn the_most_weights_stream_by_once() {
        let work = Work { tiles: 2, panels: 2, weights: CACHED_INPUTS, inputs: CACHED_INPUTS };
        assert_eq!(places(work, 0..4), [[[0, 0], [1, 0], [0, 1], [1, 1]]]);
    }
}
