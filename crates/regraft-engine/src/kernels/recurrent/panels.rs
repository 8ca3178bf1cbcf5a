//! Products of some vectors with square matrices, whose columns are packed in the order in which they are read.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(clippy::indexing_slicing, reason = "indices come from the matrices' own sizes, and constants")]

use crate::{
    EngineError,
    buffer::Buffer,
    simd::{Kernel, LANES, Simd},
};

/// A matrix of units × units for each gate: blocks of 16 columns × rows.
#[derive(Debug)]
pub(crate) struct Panels {
    units: usize,
    numbers: Buffer,
}

/// Vectors that go through a matrix together, so that it is read once for all: it does not stay in the first-level cache.
pub(super) const MOST: usize = 16;
const MANY: usize = 8;
const SOME: usize = 4;

/// How many of so many vectors go together first.
fn together<S: Simd>(count: usize) -> usize {
    match count {
        MOST.. if S::PIXELS >= MANY => MOST,
        MANY.. if S::PIXELS >= MANY => MANY,
        SOME.. => SOME,
        _ => 1,
    }
}

/// Brings vectors of so many numbers into the order in which products read them: a number of all that go together, then the
/// next one.
#[inline(always)]
pub(crate) fn interleave<S: Simd>(vectors: &[f32], wide: usize, to: &mut [f32]) {
    let (count, mut first) = (vectors.len() / wide, 0);
    while first < count {
        let rows = together::<S>(count - first);
        let to = &mut to[first * wide..][..rows * wide];
        for row in 0..rows {
            let vector = &vectors[(first + row) * wide..][..wide];
            for (term, number) in vector.iter().enumerate() {
                to[term * rows + row] = *number;
            }
        }
        first += rows;
    }
}

impl Panels {
    /// For products of the rows of each of the gates · units × units.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn of_rows(weight: &[f32], units: usize) -> Result<Self, EngineError> {
        let mut panels = Self::zeroed(weight, units)?;
        for (gate, weight) in weight.chunks_exact(units * units).enumerate() {
            for (block, rows) in weight.chunks(LANES * units).enumerate() {
                let count = rows.len() / units;
                let panel = panels.panel(gate, block).chunks_exact_mut(LANES);
                for (term, column) in panel.enumerate() {
                    for lane in 0..count {
                        column[lane] = rows[lane * units + term];
                    }
                }
            }
        }
        Ok(panels)
    }

    /// For products of the columns.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn of_columns(weight: &[f32], units: usize) -> Result<Self, EngineError> {
        let mut panels = Self::zeroed(weight, units)?;
        for (row, weights) in weight.chunks_exact(units).enumerate() {
            let (gate, unit) = (row / units, row % units);
            for (block, weights) in weights.chunks(LANES).enumerate() {
                panels.panel(gate, block)[unit * LANES..][..weights.len()].copy_from_slice(weights);
            }
        }
        Ok(panels)
    }

    fn zeroed(weight: &[f32], units: usize) -> Result<Self, EngineError> {
        let rows = weight.len().checked_div(units).unwrap_or(0);
        let numbers = units.next_multiple_of(LANES).checked_mul(rows);
        let numbers = Buffer::zeroed(numbers.ok_or(EngineError::Memory { megabytes: usize::MAX })?)?;
        Ok(Self { units, numbers })
    }

    fn panel(&mut self, gate: usize, block: usize) -> &mut [f32] {
        let (panel, first) = (self.units * LANES, gate * self.blocks() + block);
        &mut self.numbers[first * panel..][..panel]
    }

    /// Blocks of 16 columns of a gate.
    fn blocks(&self) -> usize {
        self.units.div_ceil(LANES)
    }

    /// Vectors that have been interleaved times a gate's matrix; the products replace what is there, or are added to it.
    #[inline(always)]
    pub(crate) fn multiply<S: Simd>(
        &self,
        simd: S,
        (gate, adds): (usize, bool),
        vectors: &[f32],
        results: &mut [f32],
    ) {
        let (terms, wide) = (self.units, self.blocks() * LANES);
        let panels = &self.numbers[gate * terms * wide..][..terms * wide];
        let (count, mut first) = (vectors.len().min(results.len()) / wide, 0);
        while first < count {
            let rows = together::<S>(count - first);
            let results = &mut results[first * wide..][..rows * wide];
            let vectors = &vectors[first * wide..][..rows * wide];
            let product = Product { panels, terms, wide, vectors, adds };
            // Sums enough to hide the latency of an addition, and few enough to stay in registers.
            if const { S::PIXELS >= MANY } {
                match rows {
                    MOST => product.of::<S, MOST, 1>(simd, results),
                    MANY => product.of::<S, MANY, 2>(simd, results),
                    SOME => product.of::<S, SOME, 4>(simd, results),
                    _ => product.of::<S, 1, 8>(simd, results),
                }
            } else {
                match rows {
                    SOME => product.of::<S, SOME, 1>(simd, results),
                    _ => product.of::<S, 1, 4>(simd, results),
                }
            }
            first += rows;
        }
    }
}

struct Product<'a> {
    panels: &'a [f32],
    terms: usize,
    wide: usize,
    vectors: &'a [f32],
    adds: bool,
}

impl Product<'_> {
    /// Of `R` vectors, `V` blocks of columns at a time.
    #[inline(always)]
    fn of<S: Simd, const R: usize, const V: usize>(&self, simd: S, results: &mut [f32]) {
        let Self { terms, wide, adds, .. } = *self;
        simd.call(&Rows::<R, V> {
            panels: self.panels[..terms * wide].as_ptr(),
            vectors: self.vectors[..R * wide].as_ptr(),
            results: results[..R * wide].as_mut_ptr(),
            terms,
            wide,
            adds,
        });
    }
}

/// A function of its own, so that the sums of a tile stay in registers. The pointers are those of whole matrices: terms × wide
/// as panels, `R` × wide interleaved, and `R` × wide.
struct Rows<const R: usize, const V: usize> {
    panels: *const f32,
    vectors: *const f32,
    results: *mut f32,
    terms: usize,
    wide: usize,
    adds: bool,
}

impl<const R: usize, const V: usize> Kernel for Rows<R, V> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let (blocks, mut block) = (self.wide / LANES, 0);
        // SAFETY: the blocks lie in the matrices.
        unsafe {
            while block + V <= blocks {
                self.tile::<S, V>(simd, block);
                block += V;
            }
            while block < blocks {
                self.tile::<S, 1>(simd, block);
                block += 1;
            }
        }
    }
}

impl<const R: usize, const V: usize> Rows<R, V> {
    /// # Safety
    /// `W` blocks of columns from here must lie in the matrices.
    #[inline(always)]
    unsafe fn tile<S: Simd, const W: usize>(&self, simd: S, block: usize) {
        let Self { terms, wide, .. } = *self;
        let mut sums = [[simd.splat(0.0); W]; R];
        // SAFETY: the caller's promise, and the terms are at most as many as the numbers of a vector.
        unsafe {
            for term in 0..terms {
                let panel = self.panels.add((block * terms + term) * LANES);
                let mut factors = [simd.splat(0.0); W];
                for column in 0..W {
                    factors[column] = simd.load(panel.add(column * terms * LANES));
                }
                for row in 0..R {
                    let number = simd.splat(*self.vectors.add(term * R + row));
                    for column in 0..W {
                        sums[row][column] = simd.multiply_add(number, factors[column], sums[row][column]);
                    }
                }
            }
            for row in 0..R {
                for column in 0..W {
                    let place = self.results.add(row * wide + (block + column) * LANES);
                    let before = if self.adds { simd.load(place) } else { simd.splat(0.0) };
                    simd.store(place, simd.add(before, sums[row][column]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InstructionSet, simd};

    struct Task<'a> {
        panels: &'a Panels,
        gate: usize,
        vectors: &'a [f32],
        results: std::cell::RefCell<Vec<f32>>,
    }

    impl Kernel for Task<'_> {
        #[inline(always)]
        fn run<S: Simd>(&self, simd: S) {
            let mut interleaved = vec![0.0; self.vectors.len()];
            interleave::<S>(self.vectors, self.panels.blocks() * LANES, &mut interleaved);
            let (gate, mut results) = (self.gate, self.results.borrow_mut());
            self.panels.multiply(simd, (gate, false), &interleaved, &mut results);
            self.panels.multiply(simd, (gate, true), &interleaved, &mut results);
        }
    }

    /// Small whole numbers, whose sums are exact.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|index| ((index + seed) * 7919 % 17) as f32 - 8.0).collect()
    }

    /// Twice the products of the vectors' first numbers, one vector after the other.
    fn expected(units: usize, vectors: &[f32], weight: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let wide = units.next_multiple_of(LANES);
        let product = |vector: &[f32], unit: usize| -> f32 {
            (0..units).map(|term| 2.0 * vector[term] * weight(unit, term)).sum()
        };
        let of = |vector: &[f32]| {
            let units = (0..wide).map(|unit| if unit < units { product(vector, unit) } else { 0.0 });
            units.collect::<Vec<f32>>()
        };
        vectors.chunks(wide).flat_map(of).collect()
    }

    #[test]
    fn products_are_those_of_rows_and_columns() {
        // Blocks that are not full, more and fewer of them than go together, and so the vectors.
        for (units, count) in [(1, 1), (5, 3), (16, 31), (40, 9), (150, 6)] {
            let weight = numbers(2 * units * units, 1);
            let vectors = numbers(count * units.next_multiple_of(LANES), 2);
            let gate = &weight[units * units..];
            let of_rows = expected(units, &vectors, |unit, term| gate[unit * units + term]);
            let of_columns = expected(units, &vectors, |unit, term| gate[term * units + unit]);
            for set in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
                for (panels, expected) in [
                    (Panels::of_rows(&weight, units), &of_rows),
                    (Panels::of_columns(&weight, units), &of_columns),
                ] {
                    let results = vec![f32::NAN; vectors.len()].into();
                    let task = Task { panels: &panels.unwrap(), gate: 1, vectors: &vectors, results };
                    simd::launch(set, &task);
                    assert_eq!(task.results.borrow()[..], expected[..], "{set:?}, {units}, {count}");
                }
            }
        }
    }
}
