//! Gradient of a softmax over the channels of each pixel: `y · (g − Σ g · y)`.

use std::ops::Range;

use super::{Gradient, Operands};
use crate::{InstructionSet, geometry::Geometry};

/// Reads the gradient of the output and the output.
#[derive(Debug)]
pub(crate) struct SoftmaxGradient {
    pub(crate) from: Geometry,
    pub(crate) output: Geometry,
    pub(crate) to: Geometry,
}

impl Gradient for SoftmaxGradient {
    fn units(&self, images: usize) -> usize {
        images * self.to.pixels()
    }

    unsafe fn run(&self, _: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let [gradients, outputs] = operands.reads else { return };
        let Self { from, output, to } = self;
        for unit in units {
            let (image, pixel) = (unit / to.pixels(), unit % to.pixels());
            let [y, x] = [pixel / to.width, pixel % to.width];
            // SAFETY: the pixel lies in the image; the caller vouches for the operands.
            unsafe {
                let gradient = |channel| *gradients.at::<f32>(image).add(from.element(channel, y, x));
                let value = |channel| *outputs.at::<f32>(image).add(output.element(channel, y, x));
                let products = (0..to.channels).map(|channel| gradient(channel) * value(channel));
                let sum: f32 = products.sum();
                let result = operands.output.at::<f32>(image);
                for channel in 0..to.channels {
                    *result.add(to.element(channel, y, x)) = value(channel) * (gradient(channel) - sum);
                }
            }
        }
    }
}
