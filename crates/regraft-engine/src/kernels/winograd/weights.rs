//! The transformation of the weights, in double precision: `G g Gᵀ` of 16 kernels at a time.
//!
//! Weights that meet inputs in bfloat16 are rounded first, so that a layer multiplies the same numbers with any algorithm.

use std::{cell::RefCell, ops::Range};

use rayon::prelude::*;

use super::{INPUTS, PRODUCTS};
use crate::{
    InstructionSet,
    element::{BFloat16, Element, Number as _},
    kernels::{dense::Recipe, reading::Reading},
    simd::{self, Kernel, LANES, Simd},
};

/// Scales of the transformation `G`: one over the product of a point's distances to the others.
const SCALES: [f64; INPUTS] = [1.0, -2.0 / 3.0, -2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0, 1.0];

/// Taps of a kernel.
const TAPS: usize = 9;

/// Numbers of 16 kernels.
type Vector = [f64; LANES];

/// Each thread packs the kernels of some output channels into one panel, which no other thread writes.
pub(super) fn pack(recipe: &Recipe<'_>, tile_blocks: usize, set: InstructionSet, weights: &mut [f32]) {
    let (channels, outputs) = (recipe.input.channels, recipe.output.channels);
    let plane = recipe.output.blocks() * channels * LANES;
    let panel_outputs = tile_blocks * LANES;
    let mut panels: Vec<Vec<&mut [f32]>> = Vec::new();
    for product in weights.chunks_exact_mut(plane) {
        for (index, panel) in product.chunks_mut(channels * panel_outputs).enumerate() {
            if panels.len() <= index {
                panels.push(Vec::with_capacity(PRODUCTS));
            }
            panels[index].push(panel);
        }
    }
    let reading = Reading::new(recipe);
    let is_rounded = recipe.input.element == Element::BFloat16;
    panels.into_par_iter().enumerate().for_each(|(index, panel)| {
        let first = index * panel_outputs;
        let outputs = first..outputs.min(first + panel_outputs);
        let products = RefCell::new(panel);
        simd::launch(set, &Panel { reading: &reading, is_rounded, channels, outputs, products });
    });
}

/// Some blocks of output channels.
struct Panel<'a> {
    reading: &'a Reading<'a>,
    /// Whether weights are rounded to bfloat16.
    is_rounded: bool,
    channels: usize,
    outputs: Range<usize>,
    /// Where the numbers of each product go.
    products: RefCell<Vec<&'a mut [f32]>>,
}

impl Kernel for Panel<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Ok(mut products) = self.products.try_borrow_mut() else { return };
        let width = self.outputs.len().next_multiple_of(LANES);
        // Channel by channel, so that neighbouring lines of memory are written.
        for channel in 0..self.channels {
            for (block, first) in self.outputs.clone().step_by(LANES).enumerate() {
                let outputs = first..self.outputs.end.min(first + LANES);
                let columns = self.reading.columns(simd, outputs, channel);
                let mut kernels = [[0.0; LANES]; TAPS];
                for tap in 0..TAPS {
                    kernels[tap] = simd.lanes(columns[self.reading.tap(tap)]);
                }
                if self.is_rounded {
                    kernels
                        .iter_mut()
                        .for_each(|kernel| *kernel = kernel.map(|tap| BFloat16::new(tap).value()));
                }
                transform(simd, &kernels, channel * width + block * LANES, &mut products);
            }
        }
        simd.fence();
    }
}

/// Plain loops over all lanes, because a closure would lose the instruction set.
#[inline(always)]
fn transform<S: Simd>(simd: S, kernels: &[[f32; LANES]; TAPS], place: usize, products: &mut [&mut [f32]]) {
    let mut rows = [[[0.0; LANES]; INPUTS]; 3];
    for y in 0..3 {
        rows[y] =
            line([doubles(&kernels[3 * y]), doubles(&kernels[3 * y + 1]), doubles(&kernels[3 * y + 2])]);
    }
    for x in 0..INPUTS {
        let column = line([rows[0][x], rows[1][x], rows[2][x]]);
        for y in 0..INPUTS {
            let mut numbers = [0.0; LANES];
            for lane in 0..LANES {
                numbers[lane] = column[y][lane] as f32;
            }
            let to = &mut products[y * INPUTS + x][place..place + LANES];
            // The products' matrices are apart by powers of two, so that their lines would drive each other out of the caches.
            // SAFETY: both have 16 numbers; matrices and places are whole lines of memory that starts on one.
            unsafe { simd.stream(to.as_mut_ptr(), simd.load(numbers.as_ptr())) };
        }
    }
}

#[inline(always)]
fn doubles(numbers: &[f32; LANES]) -> Vector {
    let mut doubles = [0.0; LANES];
    for lane in 0..LANES {
        doubles[lane] = f64::from(numbers[lane]);
    }
    doubles
}

/// `G g` for three numbers.
#[inline(always)]
fn line([a, b, c]: [Vector; 3]) -> [Vector; INPUTS] {
    use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};
    let points = [0.0, FRAC_1_SQRT_2, -FRAC_1_SQRT_2, SQRT_2, -SQRT_2];
    let mut values = [[0.0; LANES]; INPUTS];
    for lane in 0..LANES {
        values[0][lane] = a[lane] * SCALES[0];
        values[INPUTS - 1][lane] = c[lane] * SCALES[INPUTS - 1];
    }
    for index in 1..INPUTS - 1 {
        let point = points[index];
        for lane in 0..LANES {
            values[index][lane] = (a[lane] + point * (b[lane] + point * c[lane])) * SCALES[index];
        }
    }
    values
}
