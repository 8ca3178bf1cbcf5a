//! Gradients of recurrent layers through time, for the products that the gates are functions of; those of the weights and
//! of the input follow from them as in a dense layer.
//!
//! The gradient of a state is that of the token's output and what the next token's gates give back (Werbos, "Backpropagation
//! through time", 1990). Some images go together, so that the weights, which do not stay in the first-level cache, are read once
//! a token for all of them. An LSTM's gates are still there from the way forward, see `kernels::recurrent`; a GRU, whose way back
//! needs more than them, goes forward once more.
#![allow(
    clippy::indexing_slicing,
    reason = "the scratch memory and the weights are whole blocks of all gates"
)]

use std::{cell::RefCell, ops::Range};

use regraft_graph::GateFunction;

use super::{Gradient, Operands};
use crate::{
    EngineError, InstructionSet,
    geometry::Geometry,
    kernels::{
        Column, first_lanes,
        recurrent::{
            forward::{Cell, Forward, GATES, Moment, Place, Tokens, get, groups, put},
            panels::{Panels, interleave},
        },
    },
    simd::{self, Kernel, LANES, Simd, functions},
};

/// Reads the gradient of the output, and the products of the inputs, or what an LSTM's gates let through.
///
/// Writes vectors of units, padded to whole blocks: the gradients of the products of the gates' inputs, and behind them
/// that of the new gate's product of the state (`GruAfter`) or the reset state itself (`GruBefore`).
#[derive(Debug)]
pub(crate) struct RecurrentGradient {
    forward: Forward,
    from: Geometry,
    to: Geometry,
    back: Panels,
}

/// Vectors of units that a step writes for each token.
pub(crate) const VECTORS: usize = 4;

impl RecurrentGradient {
    /// `weight` is gates · units × units, `new_bias` the bias of a GRU's new gate.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn new(
        [from, products, to]: [Geometry; 3],
        kind: (Cell, GateFunction, bool),
        weight: &[f32],
        new_bias: &[f32],
    ) -> Result<Self, EngineError> {
        let units = from.channels;
        // An LSTM does not go forward again.
        let forward_weight = if kind.0 == Cell::Lstm { &[] } else { weight };
        let forward = Forward::new((products, units), kind, forward_weight, new_bias)?;
        Ok(Self { forward, from, to, back: Panels::of_columns(weight, units)? })
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = RefCell::default();
}

impl Gradient for RecurrentGradient {
    /// Images.
    fn units(&self, images: usize) -> usize {
        images
    }

    fn most_parts(&self, threads: usize) -> usize {
        // The images of a part go together.
        threads
    }

    unsafe fn run(&self, set: InstructionSet, operands: &Operands<'_>, units: Range<usize>) {
        let mut scratch = SCRATCH.take();
        simd::launch(set, &Task { step: self, operands, units, scratch: RefCell::new(&mut scratch) });
        SCRATCH.set(scratch);
    }
}

struct Task<'a> {
    step: &'a RecurrentGradient,
    operands: &'a Operands<'a>,
    units: Range<usize>,
    scratch: RefCell<&'a mut Vec<f32>>,
}

/// Images that go together, and the numbers of their vectors of units.
struct Group<'a> {
    step: &'a RecurrentGradient,
    operands: &'a Operands<'a>,
    first: usize,
    size: usize,
}

/// What the way back needs of each time, vectors of the units of all images. The first state and cell are zero.
struct History<'a> {
    /// Of a GRU.
    states: &'a mut [f32],
    /// Of an LSTM; of a GRU the new gate's product of the state, or the reset state.
    cells: &'a mut [f32],
    /// What a GRU's gates let through.
    gates: &'a mut [f32],
    /// Gradients of the gates' products, and of the state and the cell, or the reset state, of the time before.
    slopes: &'a mut [f32],
    state: &'a mut [f32],
    cell: &'a mut [f32],
    /// Vectors in the order of products.
    interleaved: &'a mut [f32],
}

impl History<'_> {
    fn at(&mut self, time: usize, size: usize) -> Moment<'_> {
        let (before, after) = self.states.split_at_mut((time + 1) * size);
        let (cell_before, cell) = self.cells.split_at_mut((time + 1) * size);
        Moment {
            before: &before[time * size..],
            after: &mut after[..size],
            cell_before: &cell_before[time * size..],
            cell: &mut cell[..size],
            gates: &mut self.gates[GATES * time * size..][..GATES * size],
            interleaved: self.interleaved,
        }
    }
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let Task { step, operands, .. } = *self;
        let mut scratch = self.scratch.borrow_mut();
        for images in groups(self.units.clone()) {
            let (first, size) = (images.start, images.len() * step.forward.wide());
            Group { step, operands, first, size }.run(simd, &mut scratch);
        }
    }
}

impl Group<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, scratch: &mut Vec<f32>) {
        let (forward, size) = (&self.step.forward, self.size);
        let (times, is_lstm) = (forward.times(), forward.cell == Cell::Lstm);
        // An LSTM's gates stand where their products of the inputs were.
        let kept = if is_lstm { 0 } else { times };
        scratch.clear();
        scratch.resize((kept + 1 + times + 1 + GATES * kept + VECTORS + 3) * size, 0.0);
        let (states, rest) = scratch.split_at_mut((kept + 1) * size);
        let (cells, rest) = rest.split_at_mut((times + 1) * size);
        let (gates, rest) = rest.split_at_mut(GATES * kept * size);
        let (slopes, rest) = rest.split_at_mut(VECTORS * size);
        let (state, rest) = rest.split_at_mut(size);
        let (cell, interleaved) = rest.split_at_mut(size);
        let mut history = History { states, cells, gates, slopes, state, cell, interleaved };
        let [_, products] = *self.operands.reads else { return };
        let column = |time: usize| Column::new(products, forward.products(), [0, forward.token(time)]);
        let tokens = |time: usize| Tokens { products: column(time), first: self.first };
        for time in 0..times {
            if is_lstm {
                self.forward_cells(simd, tokens(time), time, history.cells);
            } else {
                // SAFETY: the images have the token; `Gradient::run`'s caller vouches for the operands.
                unsafe { forward.run(simd, tokens(time), &mut history.at(time, size)) };
            }
        }
        for time in (0..times).rev() {
            if is_lstm {
                self.lstm(simd, tokens(time), time, &mut history);
            } else {
                self.gru(simd, time, &mut history);
            }
            self.write(simd, time, history.slopes);
        }
    }

    /// The cells behind a token of an LSTM, as they were.
    #[inline(always)]
    fn forward_cells<S: Simd>(&self, simd: S, tokens: Tokens, time: usize, cells: &mut [f32]) {
        let (before, after) = cells.split_at_mut((time + 1) * self.size);
        for place in self.step.forward.places(self.first, self.size) {
            let [input, forget, new, _] = self.gates(simd, tokens, place);
            let before = get(simd, &before[time * self.size..], place.index);
            put(simd, after, place.index, simd.multiply_add(forget, before, simd.multiply(input, new)));
        }
    }

    /// What an LSTM's gates have let through.
    #[inline(always)]
    fn gates<S: Simd>(&self, simd: S, tokens: Tokens, place: Place) -> [S::Vector; GATES] {
        let mut gates = [simd.splat(0.0); GATES];
        for (gate, vector) in gates.iter_mut().enumerate() {
            // SAFETY: the image has the token; `Gradient::run`'s caller vouches for the operands.
            *vector = unsafe { self.step.forward.input(simd, tokens, place, gate) };
        }
        gates
    }

    /// From the gradients of the states behind a token to those of the gates' products, and of the states before.
    #[inline(always)]
    fn lstm<S: Simd>(&self, simd: S, tokens: Tokens, time: usize, history: &mut History<'_>) {
        let (size, from) = (self.size, self.gradients(time));
        let History { cells, slopes, state, cell, interleaved, .. } = history;
        for place in self.step.forward.places(self.first, size) {
            let index = place.index;
            let given = simd.add(get(simd, state, index), self.gradient(simd, from, place));
            let cells =
                [get(simd, &cells[time * size..], index), get(simd, &cells[(time + 1) * size..], index)];
            let gates = self.gates(simd, tokens, place);
            let carried =
                self.back_lstm(simd, gates, cells, [given, get(simd, cell, index)], (slopes, index));
            put(simd, cell, index, carried);
        }
        self.through(simd, ([0, 0], false), slopes, [state, interleaved]);
        for gate in 1..4 {
            self.through(simd, ([gate, gate], true), slopes, [state, interleaved]);
        }
    }

    /// As [`Self::lstm`].
    #[inline(always)]
    fn gru<S: Simd>(&self, simd: S, time: usize, history: &mut History<'_>) {
        let (size, from) = (self.size, self.gradients(time));
        let History { states, cells, gates, slopes, state, cell, interleaved } = history;
        let (before, cells) = (&states[time * size..][..size], &cells[(time + 1) * size..][..size]);
        let gates = &gates[GATES * time * size..][..GATES * size];
        for place in self.step.forward.places(self.first, size) {
            let index = place.index;
            let given = simd.add(get(simd, state, index), self.gradient(simd, from, place));
            let numbers = [get(simd, before, index), get(simd, cells, index)];
            let kept = self.back_gru(simd, (gates, slopes, index), numbers, given);
            put(simd, state, index, kept);
        }
        if self.step.forward.cell == Cell::GruAfter {
            for gate in [[0, 0], [1, 1], [2, 3]] {
                self.through(simd, (gate, true), slopes, [state, interleaved]);
            }
            return;
        }
        self.through(simd, ([2, 2], false), slopes, [cell, interleaved]);
        self.back_reset(simd, (gates, slopes), before, cells, [cell, state]);
        for gate in 0..2 {
            self.through(simd, ([gate, gate], true), slopes, [state, interleaved]);
        }
    }

    /// Products of one of the gradients' vectors with a gate's weights, which replace what is there or are added to it.
    #[inline(always)]
    fn through<S: Simd>(
        &self,
        simd: S,
        ([gate, vector], adds): ([usize; 2], bool),
        slopes: &[f32],
        [to, interleaved]: [&mut [f32]; 2],
    ) {
        let slopes = &slopes[vector * self.size..][..self.size];
        interleave::<S>(slopes, self.step.forward.wide(), interleaved);
        self.step.back.multiply(simd, (gate, adds), interleaved, to);
    }

    /// The gradient of the cell before, from those of the state and of the cell.
    #[inline(always)]
    fn back_lstm<S: Simd>(
        &self,
        simd: S,
        [input, forget, new, output]: [S::Vector; GATES],
        [before, cell]: [S::Vector; 2],
        [given, carried]: [S::Vector; 2],
        (slopes, index): (&mut [f32], usize),
    ) -> S::Vector {
        let value = functions::tanh(simd, cell);
        let through = simd.multiply(simd.multiply(given, output), flat(simd, value));
        let carried = simd.add(carried, through);
        let gradients = [
            simd.multiply(simd.multiply(carried, new), self.slope(simd, input)),
            simd.multiply(simd.multiply(carried, before), self.slope(simd, forget)),
            simd.multiply(simd.multiply(carried, input), flat(simd, new)),
            simd.multiply(simd.multiply(given, value), self.slope(simd, output)),
        ];
        for (gate, gradient) in gradients.into_iter().enumerate() {
            put(simd, &mut slopes[gate * self.size..], index, gradient);
        }
        simd.multiply(carried, forget)
    }

    /// What the update gate gives back to the state before.
    #[inline(always)]
    fn back_gru<S: Simd>(
        &self,
        simd: S,
        (gates, slopes, block): (&[f32], &mut [f32], usize),
        [before, product]: [S::Vector; 2],
        given: S::Vector,
    ) -> S::Vector {
        let wide = self.size;
        let reset = get(simd, gates, block);
        let [update, new] = [get(simd, &gates[wide..], block), get(simd, &gates[2 * wide..], block)];
        let minus = simd.splat(-1.0);
        let of_update = simd.multiply(given, simd.multiply_add(new, minus, before));
        let of_new =
            simd.multiply(simd.multiply_add(given, simd.multiply(update, minus), given), flat(simd, new));
        let of_reset = simd.multiply(simd.multiply(of_new, product), self.slope(simd, reset));
        put(simd, slopes, block, of_reset);
        put(simd, &mut slopes[wide..], block, simd.multiply(of_update, self.slope(simd, update)));
        put(simd, &mut slopes[2 * wide..], block, of_new);
        put(simd, &mut slopes[3 * wide..], block, simd.multiply(of_new, reset));
        simd.multiply(given, update)
    }

    /// Through the reset state, whose gradient is the first of the two vectors: to the reset gate, and to the state before,
    /// the second one.
    #[inline(always)]
    fn back_reset<S: Simd>(
        &self,
        simd: S,
        (gates, slopes): (&[f32], &mut [f32]),
        before: &[f32],
        reset_state: &[f32],
        [given, state]: [&mut [f32]; 2],
    ) {
        let wide = self.size;
        for block in 0..wide / LANES {
            let (reset, given) = (get(simd, gates, block), get(simd, given, block));
            let of_reset = simd.multiply(given, get(simd, before, block));
            put(simd, slopes, block, simd.multiply(of_reset, self.slope(simd, reset)));
            put(simd, &mut slopes[3 * wide..], block, get(simd, reset_state, block));
            put(simd, state, block, simd.multiply_add(given, reset, get(simd, state, block)));
        }
    }

    /// The gradients of the outputs of a time.
    fn gradients(&self, time: usize) -> Column {
        Column::new(self.operands.reads[0], &self.step.from, [0, self.step.forward.token(time)])
    }

    /// Zeros in the lanes without a unit.
    #[inline(always)]
    fn gradient<S: Simd>(&self, simd: S, from: Column, place: Place) -> S::Vector {
        let Place { image, block, .. } = place;
        simd.prefetch(from.block(self.step.forward.ahead(place)));
        // SAFETY: the image has the token and the block; `Gradient::run`'s caller vouches for the operands.
        let gradient = unsafe { simd.load(from.block([image, block])) };
        let count = LANES.min(self.step.from.channels - block * LANES);
        if count < LANES { first_lanes(simd, gradient, count) } else { gradient }
    }

    #[inline(always)]
    fn write<S: Simd>(&self, simd: S, time: usize, slopes: &[f32]) {
        let (blocks, token) = (self.step.from.blocks(), self.step.forward.token(time));
        let to = Column::new(self.operands.output, &self.step.to, [0, token]);
        for (vector, slopes) in slopes.chunks_exact(self.size).enumerate() {
            let first = vector * blocks;
            for place in self.step.forward.places(self.first, self.size) {
                let [image, block] = self.step.forward.ahead(place);
                simd.prefetch(to.block([image, first + block]));
                // SAFETY: as above.
                unsafe {
                    let to = to.block([place.image, first + place.block]);
                    simd.store(to, get(simd, slopes, place.index));
                }
            }
        }
    }

    /// The slope of a gate, from what it lets through.
    #[inline(always)]
    fn slope<S: Simd>(&self, simd: S, value: S::Vector) -> S::Vector {
        match self.step.forward.gates {
            GateFunction::Sigmoid => simd.multiply_add(simd.multiply(value, simd.splat(-1.0)), value, value),
            GateFunction::HardSigmoid => {
                let above = simd.where_greater(value, simd.splat(0.0), simd.splat(0.2));
                simd.where_greater(simd.splat(1.0), value, above)
            }
        }
    }
}

/// `1 − y²`, the slope of the hyperbolic tangent.
#[inline(always)]
fn flat<S: Simd>(simd: S, y: S::Vector) -> S::Vector {
    simd.multiply_add(simd.multiply(y, simd.splat(-1.0)), y, simd.splat(1.0))
}
