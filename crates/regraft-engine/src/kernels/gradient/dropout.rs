//! Dropout: a number is kept, divided by the probability of that, or becomes zero; so does its gradient (Srivastava et al.
//! 2014). Which numbers are kept is a function of a seed, the batch's number, the node and the place in the batch, so that
//! the way back needs no memory of it and the number of threads changes nothing.

use std::ops::Range;

use super::{Gradient, Operands};
use crate::{InstructionSet, geometry::Geometry, kernels::row_of, simd::LANES};

/// Reads the input, or the gradient of the output.
#[derive(Debug)]
pub(crate) struct Dropout {
    pub(crate) input: Geometry,
    pub(crate) output: Geometry,
    pub(crate) ratio: f64,
    pub(crate) seed: u64,
    /// Position of the node in the graph.
    pub(crate) node: u64,
}

/// 64 bits that look random (the output function of SplitMix64, Steele, Lea and Flood 2014).
fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Dropout {
    /// Whether a number is kept: the upper 24 bits of its random ones, as a part of all, are the ratio or more.
    fn keeps(&self, key: u64, index: u64) -> bool {
        let part = (mixed(key ^ index) >> 40) as f64 / f64::from(1 << 24);
        part >= self.ratio
    }
}

impl Gradient for Dropout {
    fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.output.height
    }

    unsafe fn run(&self, _: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let Self { input, output, ratio, seed, node } = self;
        let [values] = operands.reads else { return };
        let key = mixed(mixed(mixed(*seed).wrapping_add(operands.shared.batch)).wrapping_add(*node));
        let scale = if *ratio < 1.0 { (1.0 / (1.0 - ratio)) as f32 } else { 0.0 };
        for unit in units {
            let [image, block, y] = row_of(output, unit);
            for x in 0..output.width {
                for lane in 0..LANES {
                    let channel = block * LANES + lane;
                    let row = (image * output.channels + channel) * output.height + y;
                    let is_kept =
                        channel < output.channels && self.keeps(key, (row * output.width + x) as u64);
                    // SAFETY: the block lies in the images; the caller vouches for the operands.
                    unsafe {
                        let value = *values.at::<f32>(image).add(input.element(channel, y, x));
                        let to = operands.output.at::<f32>(image).add(output.element(channel, y, x));
                        *to = if is_kept { value * scale } else { 0.0 };
                    }
                }
            }
        }
    }
}
