//! Gradients of recurrent layers through time, for the products that the gates are functions of; those of the weights and
//! of the input follow from them as in a dense layer.
//!
//! An image goes forward once more, token by token, and then back: the gradient of a state is that of the token's output and
//! what the next token's gates give back (Werbos, "Backpropagation through time", 1990).
#![allow(
    clippy::indexing_slicing,
    reason = "the scratch memory and the weights are whole blocks of all gates"
)]

use std::{cell::RefCell, ops::Range};

use regraft_graph::GateFunction;

use super::{
    Gradient, Operands,
    matrix::{Left, Sizes, multiply},
};
use crate::{
    EngineError, InstructionSet,
    buffer::Buffer,
    geometry::Geometry,
    kernels::{
        first_lanes, load_block,
        recurrent::{Cell, open},
        store_block,
    },
    simd::{self, Kernel, LANES, Simd, functions},
};

/// Reads the gradient of the output and the products of the inputs.
///
/// Writes vectors of units, padded to whole blocks: the gradients of the products of the gates' inputs, and behind them
/// that of the new gate's product of the state (`GruAfter`) or the reset state itself (`GruBefore`).
#[derive(Debug)]
pub(crate) struct RecurrentGradient {
    from: Geometry,
    products: Geometry,
    to: Geometry,
    cell: Cell,
    gates: GateFunction,
    reverse: bool,
    /// Of each gate: units × units before, and its transpose; both axes padded to whole blocks.
    weights: Buffer,
    turned: Buffer,
    /// Of the new gate's product of the state.
    bias: Buffer,
}

/// Vectors of units that a step writes for each token.
pub(crate) const VECTORS: usize = 4;

impl RecurrentGradient {
    /// `weight` is gates · units × units.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn new(
        [from, products, to]: [Geometry; 3],
        (cell, gates, reverse): (Cell, GateFunction, bool),
        weight: &[f32],
        new_bias: &[f32],
    ) -> Result<Self, EngineError> {
        let (units, wide) = (from.channels, from.blocks() * LANES);
        let numbers = wide.checked_mul(wide).and_then(|numbers| numbers.checked_mul(cell.gates()));
        let numbers = numbers.ok_or(EngineError::Memory { megabytes: usize::MAX })?;
        let (mut weights, mut turned) = (Buffer::zeroed(numbers)?, Buffer::zeroed(numbers)?);
        for (row, factors) in weight.chunks_exact(units).enumerate() {
            let (gate, unit) = (row / units * wide * wide, row % units);
            for (before, factor) in factors.iter().enumerate() {
                weights[gate + unit * wide + before] = *factor;
                turned[gate + before * wide + unit] = *factor;
            }
        }
        let mut bias = Buffer::zeroed(wide)?;
        bias.iter_mut().zip(new_bias).for_each(|(to, bias)| *to = *bias);
        Ok(Self { from, products, to, cell, gates, reverse, weights, turned, bias })
    }

    fn wide(&self) -> usize {
        self.from.blocks() * LANES
    }

    /// The token that comes at a time.
    fn token(&self, time: usize) -> usize {
        if self.reverse { self.from.width - 1 - time } else { time }
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

/// What the way back needs of each time, vectors of units. The first state and cell are zero.
struct History<'a> {
    states: &'a mut [f32],
    /// Of an LSTM; of a GRU the new gate's product of the state, or the reset state.
    cells: &'a mut [f32],
    /// What the gates let through.
    gates: &'a mut [f32],
    /// Gradients of the gates' products, and of the state and the cell, or the reset state, of the time before.
    slopes: &'a mut [f32],
    state: &'a mut [f32],
    cell: &'a mut [f32],
}

/// A time's part of the history.
struct Moment<'a> {
    before: &'a [f32],
    after: &'a mut [f32],
    cell_before: &'a [f32],
    cell: &'a mut [f32],
    gates: &'a mut [f32],
}

impl History<'_> {
    fn at(&mut self, time: usize, wide: usize) -> Moment<'_> {
        let (before, after) = self.states.split_at_mut((time + 1) * wide);
        let (cell_before, cell) = self.cells.split_at_mut((time + 1) * wide);
        Moment {
            before: &before[time * wide..],
            after: &mut after[..wide],
            cell_before: &cell_before[time * wide..],
            cell: &mut cell[..wide],
            gates: &mut self.gates[VECTORS * time * wide..][..VECTORS * wide],
        }
    }
}

impl Kernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S) {
        let (times, wide) = (self.step.from.width, self.step.wide());
        let mut scratch = self.scratch.borrow_mut();
        for image in self.units.clone() {
            scratch.clear();
            scratch.resize((6 * times + 8) * wide, 0.0);
            let (states, rest) = scratch.split_at_mut((times + 1) * wide);
            let (cells, rest) = rest.split_at_mut((times + 1) * wide);
            let (gates, rest) = rest.split_at_mut(VECTORS * times * wide);
            let (slopes, rest) = rest.split_at_mut(VECTORS * wide);
            let (state, cell) = rest.split_at_mut(wide);
            let mut history = History { states, cells, gates, slopes, state, cell };
            for time in 0..times {
                self.forward(simd, [image, self.step.token(time)], &mut history.at(time, wide));
            }
            for time in (0..times).rev() {
                self.back(simd, [image, self.step.token(time)], time, &mut history);
            }
        }
    }
}

impl Task<'_> {
    /// A state's vector times the weights of a gate, or a gradient's times their transpose.
    #[inline(always)]
    fn multiply<S: Simd, const ADD: bool>(
        &self,
        simd: S,
        weights: &[f32],
        gate: usize,
        numbers: &[f32],
        result: &mut [f32],
    ) {
        let wide = self.step.wide();
        let sizes = Sizes { rows: 1, terms: wide, columns: wide };
        let left = Left { numbers, row: wide, term: 1 };
        multiply::<S, ADD>(simd, sizes, left, &weights[gate * wide * wide..], result);
    }

    #[inline(always)]
    fn forward<S: Simd>(&self, simd: S, at: [usize; 2], moment: &mut Moment<'_>) {
        let (wide, turned) = (self.step.wide(), &self.step.turned);
        let plain = if self.step.cell == Cell::Lstm { 4 } else { 2 };
        for (gate, products) in moment.gates.chunks_exact_mut(wide).enumerate().take(plain) {
            self.multiply::<S, false>(simd, turned, gate, moment.before, products);
        }
        match self.step.cell {
            Cell::Lstm => self.forward_lstm(simd, at, moment),
            Cell::GruAfter => {
                self.multiply::<S, false>(simd, turned, 2, moment.before, moment.cell);
                self.open_gates(simd, at, moment);
                for block in 0..wide / LANES {
                    let product = simd.add(get(simd, moment.cell, block), get(simd, &self.step.bias, block));
                    put(simd, moment.cell, block, product);
                    let reset = get(simd, moment.gates, block);
                    let new = simd.multiply_add(reset, product, self.input(simd, at, block, 2));
                    self.finish_gru(simd, moment, block, new);
                }
            }
            Cell::GruBefore => {
                self.open_gates(simd, at, moment);
                for block in 0..wide / LANES {
                    let reset = get(simd, moment.gates, block);
                    put(simd, moment.cell, block, simd.multiply(reset, get(simd, moment.before, block)));
                }
                let new = &mut moment.gates[2 * wide..3 * wide];
                self.multiply::<S, false>(simd, turned, 2, moment.cell, new);
                for block in 0..wide / LANES {
                    let product = get(simd, &moment.gates[2 * wide..], block);
                    let product = simd.add(product, get(simd, &self.step.bias, block));
                    let new = simd.add(product, self.input(simd, at, block, 2));
                    self.finish_gru(simd, moment, block, new);
                }
            }
        }
    }

    #[inline(always)]
    fn forward_lstm<S: Simd>(&self, simd: S, at: [usize; 2], moment: &mut Moment<'_>) {
        let wide = self.step.wide();
        for block in 0..wide / LANES {
            for gate in 0..4 {
                let gates = &mut moment.gates[gate * wide..];
                let sum = simd.add(get(simd, gates, block), self.input(simd, at, block, gate));
                let value = if gate == 2 { functions::tanh(simd, sum) } else { self.gate(simd, sum) };
                put(simd, gates, block, value);
            }
            let [input, forget, new, output] =
                [0, 1, 2, 3].map(|gate| get(simd, &moment.gates[gate * wide..], block));
            let fresh = simd.multiply(input, new);
            let cell = simd.multiply_add(forget, get(simd, moment.cell_before, block), fresh);
            put(simd, moment.cell, block, cell);
            put(simd, moment.after, block, simd.multiply(output, functions::tanh(simd, cell)));
        }
    }

    /// Reset and update gate.
    #[inline(always)]
    fn open_gates<S: Simd>(&self, simd: S, at: [usize; 2], moment: &mut Moment<'_>) {
        let wide = self.step.wide();
        for gate in 0..2 {
            let gates = &mut moment.gates[gate * wide..];
            for block in 0..wide / LANES {
                let sum = simd.add(get(simd, gates, block), self.input(simd, at, block, gate));
                put(simd, gates, block, self.gate(simd, sum));
            }
        }
    }

    #[inline(always)]
    fn finish_gru<S: Simd>(&self, simd: S, moment: &mut Moment<'_>, block: usize, new: S::Vector) {
        let wide = self.step.wide();
        let new = functions::tanh(simd, new);
        put(simd, &mut moment.gates[2 * wide..], block, new);
        let update = get(simd, &moment.gates[wide..], block);
        let distance = simd.multiply_add(new, simd.splat(-1.0), get(simd, moment.before, block));
        put(simd, moment.after, block, simd.multiply_add(update, distance, new));
    }

    #[inline(always)]
    fn back<S: Simd>(&self, simd: S, at: [usize; 2], time: usize, history: &mut History<'_>) {
        let wide = self.step.wide();
        let History { states, cells, gates, slopes, state, cell } = history;
        let before = &states[time * wide..][..wide];
        let gates = &gates[VECTORS * time * wide..][..VECTORS * wide];
        for block in 0..wide / LANES {
            let given = simd.add(get(simd, state, block), self.gradient(simd, at, block));
            match self.step.cell {
                Cell::Lstm => {
                    let cells = [time, time + 1].map(|time| get(simd, &cells[time * wide..], block));
                    let carried =
                        self.back_lstm(simd, (gates, slopes, block), cells, given, get(simd, cell, block));
                    put(simd, cell, block, carried);
                }
                _ => {
                    let product = get(simd, &cells[(time + 1) * wide..], block);
                    let kept = self.back_gru(
                        simd,
                        (gates, slopes, block),
                        [get(simd, before, block), product],
                        given,
                    );
                    put(simd, state, block, kept);
                }
            }
        }
        let weights = &self.step.weights;
        match self.step.cell {
            Cell::Lstm => {
                self.multiply::<S, false>(simd, weights, 0, slopes, state);
                (1..4).for_each(|gate| {
                    self.multiply::<S, true>(simd, weights, gate, &slopes[gate * wide..], state);
                });
            }
            Cell::GruAfter => {
                for (gate, vector) in [0, 1, 3].into_iter().enumerate() {
                    self.multiply::<S, true>(simd, weights, gate, &slopes[vector * wide..], state);
                }
            }
            Cell::GruBefore => {
                self.multiply::<S, false>(simd, weights, 2, &slopes[2 * wide..], cell);
                self.back_reset(simd, (gates, slopes), before, &cells[(time + 1) * wide..], [cell, state]);
                (0..2).for_each(|gate| {
                    self.multiply::<S, true>(simd, weights, gate, &slopes[gate * wide..], state);
                });
            }
        }
        self.write(simd, at, slopes);
    }

    /// The gradient of the cell before.
    #[inline(always)]
    fn back_lstm<S: Simd>(
        &self,
        simd: S,
        (gates, slopes, block): (&[f32], &mut [f32], usize),
        [before, cell]: [S::Vector; 2],
        given: S::Vector,
        carried: S::Vector,
    ) -> S::Vector {
        let wide = self.step.wide();
        let [input, forget, new, output] = [0, 1, 2, 3].map(|gate| get(simd, &gates[gate * wide..], block));
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
            put(simd, &mut slopes[gate * wide..], block, gradient);
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
        let wide = self.step.wide();
        let [reset, update, new] = [0, 1, 2].map(|gate| get(simd, &gates[gate * wide..], block));
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
        let wide = self.step.wide();
        for block in 0..wide / LANES {
            let (reset, given) = (get(simd, gates, block), get(simd, given, block));
            let of_reset = simd.multiply(given, get(simd, before, block));
            put(simd, slopes, block, simd.multiply(of_reset, self.slope(simd, reset)));
            put(simd, &mut slopes[3 * wide..], block, get(simd, reset_state, block));
            put(simd, state, block, simd.multiply_add(given, reset, get(simd, state, block)));
        }
    }

    #[inline(always)]
    fn input<S: Simd>(&self, simd: S, [image, token]: [usize; 2], block: usize, gate: usize) -> S::Vector {
        let [_, products] = self.operands.reads else { return simd.splat(0.0) };
        let block = gate * self.step.from.blocks() + block;
        // SAFETY: the image has the token and the block; `Gradient::run`'s caller vouches for the operands.
        unsafe { load_block(simd, *products, &self.step.products, [image, block], [0, token]) }
    }

    /// Zeros in the lanes without a unit.
    #[inline(always)]
    fn gradient<S: Simd>(&self, simd: S, [image, token]: [usize; 2], block: usize) -> S::Vector {
        let [gradients, _] = self.operands.reads else { return simd.splat(0.0) };
        let from = &self.step.from;
        // SAFETY: as for `input`.
        let gradient = unsafe { load_block(simd, *gradients, from, [image, block], [0, token]) };
        let count = LANES.min(from.channels - block * LANES);
        if count < LANES { first_lanes(simd, gradient, count) } else { gradient }
    }

    #[inline(always)]
    fn write<S: Simd>(&self, simd: S, [image, token]: [usize; 2], slopes: &[f32]) {
        for block in 0..self.step.to.blocks() {
            let value = get(simd, slopes, block);
            // SAFETY: as for `input`.
            unsafe {
                store_block(simd, self.operands.output, &self.step.to, [image, block], [0, token], value);
            }
        }
    }

    #[inline(always)]
    fn gate<S: Simd>(&self, simd: S, x: S::Vector) -> S::Vector {
        open(simd, self.step.gates, x)
    }

    /// The slope of a gate, from what it lets through.
    #[inline(always)]
    fn slope<S: Simd>(&self, simd: S, value: S::Vector) -> S::Vector {
        match self.step.gates {
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

/// A block of a vector of units.
#[inline(always)]
fn get<S: Simd>(simd: S, numbers: &[f32], block: usize) -> S::Vector {
    // SAFETY: the slice has 16 numbers.
    unsafe { simd.load(numbers[block * LANES..][..LANES].as_ptr()) }
}

#[inline(always)]
fn put<S: Simd>(simd: S, numbers: &mut [f32], block: usize, value: S::Vector) {
    // SAFETY: as above.
    unsafe { simd.store(numbers[block * LANES..][..LANES].as_mut_ptr(), value) };
}
