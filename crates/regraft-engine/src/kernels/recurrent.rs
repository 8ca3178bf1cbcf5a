//! Recurrent layers, token by token. The products of all tokens' inputs are a dense layer before this step; here are those
//! of the state.
#![allow(clippy::indexing_slicing, reason = "the scratch memory is whole blocks of the units of all images")]

use std::{cell::RefCell, ops::Range};

use regraft_graph::GateFunction;

use super::{Column, Computation, Operands, prefetch_block, store_block};
use crate::{
    EngineError, Settings,
    geometry::Geometry,
    simd::{self, Kernel, Simd},
};

pub(crate) mod forward;
pub(crate) mod panels;

use forward::{Cell, Forward, GATES, Moment, Place, Tokens, get, groups};

/// The state's part of a recurrent layer.
#[derive(Debug)]
pub(crate) struct Recurrent {
    forward: Forward,
    output: Geometry,
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = RefCell::default();
}

/// Vectors of units of an image in the scratch memory: two states, two cells, the gates, and what is multiplied.
const VECTORS: usize = 5 + GATES;

impl Recurrent {
    /// `weight` is gates · units × units, `new_bias` the bias of a GRU's new gate.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn new(
        [input, output]: [Geometry; 2],
        kind: (Cell, GateFunction, bool),
        weight: &[f32],
        new_bias: &[f32],
    ) -> Result<Self, EngineError> {
        Ok(Self { forward: Forward::new((input, output.channels), kind, weight, new_bias)?, output })
    }

    /// What an LSTM's gates let through takes the place of the products of its inputs, which nothing else may read.
    pub(crate) fn keeping_gates(self) -> Self {
        Self { forward: self.forward.keeping_gates(), ..self }
    }
}

impl Computation for Recurrent {
    /// Images.
    fn units(&self, images: usize) -> usize {
        images
    }

    fn most_parts(&self, threads: usize) -> usize {
        // The images of a part go together.
        threads
    }

    fn cost(&self, images: usize) -> usize {
        images * self.output.width * self.forward.weights()
    }

    unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        let mut scratch = SCRATCH.take();
        let task = Task { step: self, operands, units, scratch: RefCell::new(&mut scratch) };
        simd::launch(settings.instruction_set, &task);
        SCRATCH.set(scratch);
    }
}

struct Task<'a> {
    step: &'a Recurrent,
    operands: &'a Operands,
    units: Range<usize>,
    scratch: RefCell<&'a mut Vec<f32>>,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let mut scratch = self.scratch.borrow_mut();
        for images in groups(self.units.clone()) {
            let size = images.len() * self.step.forward.wide();
            scratch.clear();
            scratch.resize(VECTORS * size, 0.0);
            self.images(simd, images.start, size, &mut scratch);
        }
    }
}

impl Task<'_> {
    /// All tokens of the images whose vectors have so many numbers.
    #[inline(always)]
    fn images<S: Simd>(&self, simd: S, first: usize, size: usize, scratch: &mut [f32]) {
        let forward = &self.step.forward;
        let (states, rest) = scratch.split_at_mut(2 * size);
        let (cells, rest) = rest.split_at_mut(2 * size);
        let (gates, interleaved) = rest.split_at_mut(GATES * size);
        let ([mut before, mut after], [mut cell_before, mut cell]) =
            (halves(states, size), halves(cells, size));
        for time in 0..forward.times() {
            let token = forward.token(time);
            let products = Column::new(self.operands.input, forward.products(), [0, token]);
            let tokens = Tokens { products, first };
            let (after_now, cell_now) = (&mut *after, &mut *cell);
            let mut moment =
                Moment { before, after: after_now, cell_before, cell: cell_now, gates, interleaved };
            // SAFETY: the token lies in the sequence; `run`'s caller vouches for the operands.
            unsafe { forward.run(simd, tokens, &mut moment) };
            self.write(simd, first, token, after);
            (before, after, cell_before, cell) = (after, before, cell, cell_before);
        }
    }

    #[inline(always)]
    fn write<S: Simd>(&self, simd: S, first: usize, token: usize, states: &[f32]) {
        for place in self.step.forward.places(first, states.len()) {
            let (output, state) = (&self.step.output, get(simd, states, place.index));
            let ahead = self.step.forward.ahead(place);
            prefetch_block(simd, self.operands.output, output, ahead, [0, token]);
            let Place { image, block, .. } = place;
            // SAFETY: as above.
            unsafe { store_block(simd, self.operands.output, output, [image, block], [0, token], state) };
        }
    }
}

fn halves(numbers: &mut [f32], size: usize) -> [&mut [f32]; 2] {
    let (first, second) = numbers.split_at_mut(size);
    [first, second]
}
