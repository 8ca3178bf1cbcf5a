//! Images of another size, whose pixels are weighted sums of a few pixels: bilinear and bicubic.
#![allow(clippy::indexing_slicing, reason = "there are taps for each row and column of the output")]

use std::ops::Range;

use regraft_graph::{Coordinates, InterpolationMode};

use super::{Computation, Operands, load_block, row_of, store_block};
use crate::{
    Settings,
    geometry::Geometry,
    simd::{self, Kernel, Simd},
};

/// Rows or columns of the input that one of the output is made of, and their weights.
type Taps = Vec<(usize, f32)>;

/// Weighted sums of pixels.
#[derive(Debug)]
pub(crate) struct Resample {
    input: Geometry,
    output: Geometry,
    rows: Vec<Taps>,
    columns: Vec<Taps>,
}

impl Resample {
    pub(crate) fn new(
        [input, output]: [Geometry; 2],
        mode: InterpolationMode,
        coordinates: Coordinates,
    ) -> Self {
        let along = |from: usize, to: usize| {
            (0..to).map(|index| taps(mode, place(coordinates, index, from, to), from)).collect()
        };
        let (rows, columns) = (along(input.height, output.height), along(input.width, output.width));
        Self { input, output, rows, columns }
    }
}

/// The place of the input that a place of the output is.
fn place(coordinates: Coordinates, index: usize, from: usize, to: usize) -> f64 {
    let (index, from, to) = (index as f64, from as f64, to as f64);
    match coordinates {
        Coordinates::HalfPixel => (index + 0.5) * from / to - 0.5,
        Coordinates::Asymmetric => index * from / to,
        Coordinates::AlignCorners if to > 1.0 => index * (from - 1.0) / (to - 1.0),
        Coordinates::AlignCorners => 0.0,
    }
}

/// The pixel of the input that a place of the output is next to, rounded down, in whole numbers.
pub(crate) fn nearest(coordinates: Coordinates, index: usize, from: usize, to: usize) -> usize {
    let [index, from, to] = [index, from, to].map(|size| size as u128);
    let place = match coordinates {
        Coordinates::HalfPixel => ((2 * index + 1) * from).saturating_sub(to) / (2 * to),
        Coordinates::Asymmetric => index * from / to,
        Coordinates::AlignCorners if to > 1 => index * (from - 1) / (to - 1),
        Coordinates::AlignCorners => 0,
    };
    place.min(from - 1) as usize
}

/// Pixels beyond the image are those at its border.
fn taps(mode: InterpolationMode, place: f64, size: usize) -> Taps {
    let (below, part) = (place.floor(), place - place.floor());
    let weights = match mode {
        InterpolationMode::Nearest => vec![(0, 1.0)],
        InterpolationMode::Linear => vec![(0, 1.0 - part), (1, part)],
        InterpolationMode::Cubic => {
            [-1, 0, 1, 2].map(|tap| (tap, cubic((part - f64::from(tap)).abs()))).into()
        }
    };
    let at = |tap: i32| (below + f64::from(tap)).clamp(0.0, (size - 1) as f64) as usize;
    weights.into_iter().map(|(tap, weight)| (at(tap), weight as f32)).collect()
}

/// Keys's kernel with a = −0.75, as PyTorch's.
fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.75;
    if distance <= 1.0 {
        return ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0;
    }
    ((A * distance - 5.0 * A) * distance + 8.0 * A) * distance - 4.0 * A
}

impl Computation for Resample {
    fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.output.height
    }

    fn cost(&self, images: usize) -> usize {
        let taps = |taps: &[Taps]| taps.first().map_or(1, Vec::len);
        2 * images * self.output.image() * taps(&self.rows) * taps(&self.columns)
    }

    unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        simd::launch(settings.instruction_set, &Task { step: self, operands, units });
    }
}

struct Task<'a> {
    step: &'a Resample,
    operands: &'a Operands,
    units: Range<usize>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Resample { input, output, rows, columns } = self.step;
        for unit in self.units.clone() {
            let [image, block, y] = row_of(output, unit);
            for (x, columns) in columns.iter().enumerate() {
                let mut sum = simd.splat(0.0);
                for (row, row_weight) in &rows[y] {
                    for (column, weight) in columns {
                        let weight = simd.splat(row_weight * weight);
                        let (place, pixel) = ([image, block], [*row, *column]);
                        // SAFETY: taps are pixels of the input; `run`'s caller vouches for the operands.
                        let value = unsafe { load_block(simd, self.operands.input, input, place, pixel) };
                        sum = simd.multiply_add(value, weight, sum);
                    }
                }
                // SAFETY: the pixel lies in the image; as above.
                unsafe { store_block(simd, self.operands.output, output, [image, block], [y, x], sum) };
            }
        }
    }
}
