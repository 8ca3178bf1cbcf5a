#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::{
    kernels::{
        Span,
        gradient::{Shared, weight::WeightGradient},
    },
    window::Window,
};

/// In −1 … 1, and zero in the border.
fn images(geometry: &Geometry, count: usize, seed: u32) -> Vec<f32> {
    let mut numbers = vec![0.0; count * geometry.image()];
    let mut state = seed;
    for image in numbers.chunks_exact_mut(geometry.image()) {
        for channel in 0..geometry.channels {
            for pixel in 0..geometry.pixels() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (y, x) = (pixel / geometry.width, pixel % geometry.width);
                image[geometry.element(channel, y, x)] = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            }
        }
    }
    numbers
}

fn compute(step: &dyn Gradient, recipe: &Recipe, set: InstructionSet, sums: usize) -> Vec<f32> {
    let (count, geometries) = (2, [recipe.from, recipe.input]);
    let mut values = [images(&recipe.from, count, 1), images(&recipe.input, count, 2)];
    let mut spans = Vec::new();
    for (values, geometry) in values.iter_mut().zip(&geometries) {
        let image = geometry.image() * size_of::<f32>();
        spans.push(Span { pointer: values.as_mut_ptr().cast(), image });
    }
    let mut gradients = vec![f32::NAN; recipe.from.channels * recipe.input.channels * 9];
    let mut state = vec![0.0; sums];
    let values = std::ptr::null();
    let shared = Shared { values, gradients: gradients.as_mut_ptr(), state: state.as_mut_ptr(), batch: 0 };
    let operands = Operands { reads: &spans, output: spans[0], images: count, shared };
    // In two parts, which divide a panel.
    let units = step.units(count);
    for part in [0..units / 3, units / 3..units] {
        // SAFETY: the operands hold two images of the geometries, and there is room for the gradients and the sums.
        unsafe { step.run(set, &operands, part) };
    }
    gradients
}

fn check(recipe: &Recipe, set: InstructionSet) {
    let direct = WeightGradient::new(recipe, set).unwrap();
    let expected = compute(&direct, recipe, set, direct.sums());
    let found = compute(&WinogradWeightGradient::new(recipe).unwrap(), recipe, set, 0);
    let largest = expected.iter().fold(0f32, |largest, number| largest.max(number.abs()));
    for (found, expected) in found.iter().zip(&expected) {
        let off = (found - expected).abs() / largest;
        assert!(off <= 5e-6, "{set:?}, {:?}: {found} for {expected}, {off:e}", recipe.input);
    }
}

fn layer([channels, outputs, size]: [usize; 3]) -> Recipe {
    let [input, from] = [channels, outputs]
        .map(|channels| Geometry { border: [1; 4], ..Geometry::blocked([channels, size, size]) });
    let window = Window { kernel: [3; 2], before: [1; 2], ..Window::SINGLE };
    Recipe { from, input, window, groups: 1, to: 0, sums: 0 }
}

#[test]
fn the_gradient_of_a_real_layer_is_that_of_the_direct_kernel() {
    check(&layer([64, 64, 28]), crate::Settings::default().instruction_set);
}

#[test]
fn gradients_are_those_of_the_direct_kernel_on_every_instruction_set() {
    for set in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
        // Tiles that are cut off, blocks that are not full, and a panel of one block.
        for sizes in [[40, 56, 14], [64, 40, 7]] {
            check(&layer(sizes), set);
        }
    }
}
