//! Gradient of local response normalisation. With `s` the number that is raised to the power, it is
//! `g · s^−β − 2 β share · x · Σ g x s^(−β−1)`, the sum over the neighbours; its terms are a step before. In plain code and
//! double precision.

use std::ops::Range;

use regraft_graph::LrnRegion;

use super::{Gradient, Operands};
use crate::{
    InstructionSet,
    geometry::Geometry,
    kernels::{lrn::Lrn, row_of},
    simd::LANES,
};

/// Reads the gradient of the output, the input and, unless it makes them itself, the terms.
#[derive(Debug)]
pub(crate) struct LrnGradient {
    pub(crate) lrn: Lrn,
    pub(crate) from: Geometry,
    /// Sizes of the terms; without them, it is they that are written.
    pub(crate) terms: Option<Geometry>,
    pub(crate) to: Geometry,
}

impl Gradient for LrnGradient {
    fn units(&self, images: usize) -> usize {
        images * self.to.blocks() * self.to.height
    }

    unsafe fn run(&self, _: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let to = &self.to;
        for unit in units {
            let [image, block, y] = row_of(to, unit);
            for x in 0..to.width {
                for channel in block * LANES..(block + 1) * LANES {
                    // SAFETY: the place lies in the images; the caller vouches for the operands.
                    unsafe {
                        let is_one = channel < to.channels;
                        let number = if is_one { self.number(operands, image, [channel, y, x]) } else { 0.0 };
                        *operands.output.at::<f32>(image).add(to.element(channel, y, x)) = number as f32;
                    }
                }
            }
        }
    }
}

impl LrnGradient {
    /// # Safety
    /// There must be such a place in the images.
    unsafe fn number(&self, operands: &Operands<'_>, image: usize, place: [usize; 3]) -> f64 {
        let [gradients, inputs, rest @ ..] = operands.reads else { return 0.0 };
        let attributes = &self.lrn.attributes;
        let (beta, share) = (f64::from(attributes.beta), f64::from(self.lrn.share()));
        // SAFETY: the caller's promise, and neighbours are places of the image.
        unsafe {
            let input = inputs.at::<f32>(image).cast_const();
            let at = |from: *const f32, geometry: &Geometry, [channel, y, x]: [usize; 3]| {
                f64::from(*from.add(geometry.element(channel, y, x)))
            };
            let square = |place| at(input, &self.lrn.input, place).powi(2);
            let power = f64::from(attributes.bias) + share * self.sum(place, square);
            let gradient = at(gradients.at(image), &self.from, place);
            let (value, factor) = (at(input, &self.lrn.input, place), power.powf(-beta));
            match (rest, &self.terms) {
                ([terms], Some(geometry)) => {
                    let term = |place| at(terms.at(image), geometry, place);
                    gradient * factor - 2.0 * beta * share * value * self.sum(place, term)
                }
                _ => gradient * value * factor / power,
            }
        }
    }

    /// Over the neighbours of a place that are there.
    fn sum(&self, [channel, y, x]: [usize; 3], number: impl Fn([usize; 3]) -> f64) -> f64 {
        let Geometry { channels, height, width, .. } = self.lrn.input;
        let reach = self.lrn.reach();
        let near = |place: usize, size: usize| place.saturating_sub(reach)..(place + reach + 1).min(size);
        if self.lrn.attributes.region == LrnRegion::AcrossChannels {
            return near(channel, channels).map(|channel| number([channel, y, x])).sum();
        }
        near(y, height).flat_map(|y| near(x, width).map(move |x| [channel, y, x])).map(number).sum()
    }
}
