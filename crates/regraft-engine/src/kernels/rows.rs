//! Small computations on the rows of a batch, in plain code: they cost nothing beside the network before them.
#![allow(clippy::indexing_slicing, reason = "indices come from the step's own sizes")]

use std::{cell::RefCell, ops::Range};

use regraft_graph::NearestNeighbors;

use super::Operands;
use crate::{
    element::{BFloat16, Element, Number, with_floats},
    geometry::Geometry,
};

/// A computation on each image by itself.
#[derive(Debug)]
pub(crate) enum Rows {
    /// `exp(x − max) / Σ exp(x − max)`, which no logit can overflow, over the channels of a vector or of each
    /// token.
    Softmax { input: Geometry, output: Geometry },
    /// Blocked channels, rows and columns to one vector in row-major order.
    Flatten { input: Geometry, output: Geometry },
    /// Dot products with the stored examples (input) of a query (second) to log-probabilities.
    Votes { vote: NearestNeighbors, labels: Vec<usize>, input: Geometry, query: Geometry, output: Geometry },
}

impl Rows {
    fn geometries(&self) -> [&Geometry; 3] {
        match self {
            Self::Softmax { input, output } | Self::Flatten { input, output } => [input, input, output],
            Self::Votes { input, query, output, .. } => [input, query, output],
        }
    }

    /// Numbers that are read for a group of images.
    pub(crate) fn cost(&self, images: usize) -> usize {
        images * 16 * self.geometries()[0].image()
    }

    /// Computes some images.
    ///
    /// # Safety
    /// The operands must hold `images` images of the step's geometries, the output apart from the others, and no other
    /// thread may compute the same images.
    pub(crate) unsafe fn run(&self, operands: &Operands, images: Range<usize>) {
        let [input, _, output] = self.geometries();
        // SAFETY: the caller's promise.
        unsafe { with_floats!(input.element, output.element, self.images(operands, images)) }
    }

    /// # Safety
    /// As for [`Self::run`], and the numbers of input and output must be `I` and `O`.
    unsafe fn images<I: Number, O: Number>(&self, operands: &Operands, images: Range<usize>) {
        let [input, second, output] = self.geometries().map(Geometry::image);
        for image in images {
            // SAFETY: the caller vouches for the spans' sizes and for the output being this thread's alone; the second
            // operand is read by votes only, whose query is a vector and so single precision.
            let (input, output) = unsafe {
                (
                    std::slice::from_raw_parts(operands.input.at::<I>(image), input),
                    std::slice::from_raw_parts_mut(operands.output.at::<O>(image), output),
                )
            };
            let second = || {
                // SAFETY: as above.
                unsafe { std::slice::from_raw_parts(operands.second.at::<f32>(image), second) }
            };
            self.image(input, second, output);
        }
    }

    fn image<'a, I: Number, O: Number>(
        &self,
        input: &[I],
        second: impl FnOnce() -> &'a [f32],
        output: &mut [O],
    ) {
        match self {
            Self::Softmax { input: from, output: to } => {
                for token in 0..from.width {
                    let logit = |index| input[from.element(index, 0, token)].value();
                    let mut write = |index, value| output[to.element(index, 0, token)] = O::new(value);
                    softmax(from.channels, logit, &mut write);
                }
            }
            Self::Flatten { input: from, .. } => {
                for (index, output) in output[..from.channels * from.pixels()].iter_mut().enumerate() {
                    let (channel, pixel) = (index / from.pixels(), index % from.pixels());
                    *output =
                        O::new(input[from.element(channel, pixel / from.width, pixel % from.width)].value());
                }
            }
            Self::Votes { vote, labels, .. } => {
                let length = norm(&second()[..vote.features]);
                let similarities = input[..vote.examples].iter().map(|dot| f64::from(dot.value()) / length);
                let mut election = ELECTION.take();
                election.similarities.clear();
                election.similarities.extend(similarities);
                election.vote(vote, labels, &mut output[..vote.classes]);
                ELECTION.set(election);
            }
        }
    }
}

fn softmax(count: usize, logit: impl Fn(usize) -> f32, write: &mut impl FnMut(usize, f32)) {
    let logits = || (0..count).map(&logit);
    let largest = f64::from(logits().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a }));
    let powers = || logits().map(|logit| (f64::from(logit) - largest).exp());
    let sum: f64 = powers().sum();
    powers().enumerate().for_each(|(index, power)| write(index, (power / sum) as f32));
}

/// Euclidean length; 1 for a vector of zeros, whose similarity to everything is then 0.
fn norm(vector: &[f32]) -> f64 {
    let square: f64 = vector.iter().map(|value| f64::from(*value).powi(2)).sum();
    if square == 0.0 { 1.0 } else { square.sqrt() }
}

thread_local! {
    static ELECTION: RefCell<Election> = RefCell::default();
}

/// Memory of a thread that lives as long as it.
#[derive(Default)]
struct Election {
    /// Of each example.
    similarities: Vec<f64>,
    order: Vec<usize>,
    /// Of each class.
    weights: Vec<f64>,
}

impl Election {
    /// Equal similarities go by the order of the examples, so that the vote does not depend on how they are sorted.
    fn vote<O: Number>(&mut self, vote: &NearestNeighbors, labels: &[usize], output: &mut [O]) {
        let Self { similarities, order, weights } = self;
        order.clear();
        order.extend(0..similarities.len());
        let closer = |a: &usize, b: &usize| similarities[*b].total_cmp(&similarities[*a]).then(a.cmp(b));
        let count = vote.neighbors.min(order.len());
        if count > 0 && count < order.len() {
            order.select_nth_unstable_by(count - 1, closer);
        }
        order.truncate(count);
        order.sort_unstable_by(closer);
        let nearest = order.first().map_or(0.0, |example| similarities[*example]);
        weights.clear();
        weights.resize(vote.classes, f64::from(vote.smoothing));
        for example in order.iter() {
            let distance = (similarities[*example] - nearest) / f64::from(vote.similarity_temperature);
            weights[labels[*example]] += distance.exp();
        }
        for (output, weight) in output.iter_mut().zip(weights) {
            *output = O::new((weight.ln() * f64::from(vote.sharpness)) as f32);
        }
    }
}
