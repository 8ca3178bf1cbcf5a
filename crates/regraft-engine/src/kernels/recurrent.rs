//! Recurrent layers, token by token. The products of all tokens' inputs are a dense layer before this step; here are those
//! of the state, a block of 16 units with all its gates at a time.
#![allow(clippy::needless_range_loop, reason = "counted loops over constants unroll into registers")]
#![allow(
    clippy::indexing_slicing,
    reason = "the scratch memory and the weights are whole blocks of all gates"
)]

use std::{cell::RefCell, ops::Range};

use regraft_graph::GateFunction;

use super::{Computation, Operands, load_block, store_block};
use crate::{
    EngineError, Settings,
    buffer::Buffer,
    geometry::Geometry,
    simd::{self, Kernel, LANES, Simd, functions},
};

/// What becomes of the gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Input, forget, cell and output gate.
    Lstm,
    /// Reset, update and new gate, the reset gate multiplying the state's product.
    GruAfter,
    /// As above, the reset gate multiplying the state.
    GruBefore,
}

impl Cell {
    pub(crate) fn gates(self) -> usize {
        if self == Self::Lstm { 4 } else { 3 }
    }
}

/// The state's part of a recurrent layer.
#[derive(Debug)]
pub(crate) struct Recurrent {
    /// Products of the inputs, with the biases that may be added before: gates × units, padded to whole blocks.
    input: Geometry,
    output: Geometry,
    cell: Cell,
    gates: GateFunction,
    reverse: bool,
    /// Blocks of units × units before × gates × 16.
    weights: Buffer,
    /// Of the new gate's product of the state: a number a unit.
    bias: Buffer,
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = RefCell::default();
}

/// Vectors of units in the scratch memory: the state, the next one, and the cell's state or the update gates and the
/// reset states.
const VECTORS: usize = 4;

impl Recurrent {
    /// `weight` is gates · units × units, `bias` as many; of the latter only the new gate's of a GRU is used here.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn new(
        [input, output]: [Geometry; 2],
        (cell, gates, reverse): (Cell, GateFunction, bool),
        weight: &[f32],
        new_bias: &[f32],
    ) -> Result<Self, EngineError> {
        let (units, padded, count) = (output.channels, output.blocks() * LANES, cell.gates());
        let numbers = padded.checked_mul(units).and_then(|numbers| numbers.checked_mul(count));
        let mut weights = Buffer::zeroed(numbers.ok_or(EngineError::Memory { megabytes: usize::MAX })?)?;
        for (row, products) in weight.chunks_exact(units).enumerate() {
            let (gate, unit) = (row / units, row % units);
            for (before, product) in products.iter().enumerate() {
                let vector = (unit / LANES * units + before) * count + gate;
                weights[vector * LANES + unit % LANES] = *product;
            }
        }
        let mut bias = Buffer::zeroed(padded)?;
        bias.iter_mut().zip(new_bias).for_each(|(to, bias)| *to = *bias);
        Ok(Self { input, output, cell, gates, reverse, weights, bias })
    }
}

impl Computation for Recurrent {
    /// Images.
    fn units(&self, images: usize) -> usize {
        images
    }

    fn cost(&self, images: usize) -> usize {
        images * self.output.width * self.weights.len()
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
        let Recurrent { output, cell, .. } = self.step;
        let padded = output.blocks() * LANES;
        let mut scratch = self.scratch.borrow_mut();
        for image in self.units.clone() {
            scratch.clear();
            scratch.resize(VECTORS * padded, 0.0);
            let (state, rest) = scratch.split_at_mut(padded);
            let (next, rest) = rest.split_at_mut(padded);
            let (kept, reset) = rest.split_at_mut(padded);
            for index in 0..output.width {
                let token = if self.step.reverse { output.width - 1 - index } else { index };
                let at = [image, token];
                // SAFETY: the token lies in the sequence; `run`'s caller vouches for the operands.
                unsafe {
                    match cell {
                        Cell::Lstm => self.lstm(simd, at, state, next, kept),
                        Cell::GruAfter => self.gru_after(simd, at, state, next),
                        Cell::GruBefore => self.gru_before(simd, at, state, next, [kept, reset]),
                    }
                }
                state.copy_from_slice(next);
            }
        }
    }
}

impl Task<'_> {
    /// # Safety
    /// The image and the token must exist.
    #[inline(always)]
    unsafe fn lstm<S: Simd>(
        &self,
        simd: S,
        at: [usize; 2],
        state: &[f32],
        next: &mut [f32],
        cells: &mut [f32],
    ) {
        for block in 0..self.step.output.blocks() {
            // SAFETY: the caller's promise; the scratch vectors have all blocks.
            unsafe {
                let mut gates = self.products::<S, 4, 4>(simd, block, 0, state);
                for gate in 0..4 {
                    gates[gate] = simd.add(gates[gate], self.input(simd, at, block, gate));
                }
                let [input, forget, output] = [0, 1, 3].map(|gate| self.gate(simd, gates[gate]));
                let cell = &mut cells[block * LANES..][..LANES];
                let fresh = simd.multiply(input, functions::tanh(simd, gates[2]));
                let kept = simd.multiply_add(forget, simd.load(cell.as_ptr()), fresh);
                simd.store(cell.as_mut_ptr(), kept);
                let value = simd.multiply(output, functions::tanh(simd, kept));
                self.write(simd, at, block, next, value);
            }
        }
    }

    /// # Safety
    /// As for [`Self::lstm`].
    #[inline(always)]
    unsafe fn gru_after<S: Simd>(&self, simd: S, at: [usize; 2], state: &[f32], next: &mut [f32]) {
        for block in 0..self.step.output.blocks() {
            // SAFETY: the caller's promise; the scratch vectors have all blocks.
            unsafe {
                let [reset, update, new] = self.products::<S, 3, 3>(simd, block, 0, state);
                let reset = self.gate(simd, simd.add(reset, self.input(simd, at, block, 0)));
                let update = self.gate(simd, simd.add(update, self.input(simd, at, block, 1)));
                let new = simd.add(new, simd.load(self.step.bias[block * LANES..].as_ptr()));
                let new = simd.multiply_add(reset, new, self.input(simd, at, block, 2));
                let value = mixed(simd, update, &state[block * LANES..], functions::tanh(simd, new));
                self.write(simd, at, block, next, value);
            }
        }
    }

    /// # Safety
    /// As for [`Self::lstm`].
    #[inline(always)]
    unsafe fn gru_before<S: Simd>(
        &self,
        simd: S,
        at: [usize; 2],
        state: &[f32],
        next: &mut [f32],
        [updates, resets]: [&mut [f32]; 2],
    ) {
        let blocks = self.step.output.blocks();
        // SAFETY: the caller's promise; the scratch vectors have all blocks.
        unsafe {
            for block in 0..blocks {
                let [reset, update] = self.products::<S, 2, 3>(simd, block, 0, state);
                let reset = self.gate(simd, simd.add(reset, self.input(simd, at, block, 0)));
                let update = self.gate(simd, simd.add(update, self.input(simd, at, block, 1)));
                let reset = simd.multiply(reset, simd.load(state[block * LANES..].as_ptr()));
                simd.store(updates[block * LANES..].as_mut_ptr(), update);
                simd.store(resets[block * LANES..].as_mut_ptr(), reset);
            }
            for block in 0..blocks {
                let [new] = self.products::<S, 1, 3>(simd, block, 2, resets);
                let new = simd.add(new, self.input(simd, at, block, 2));
                let new = simd.add(new, simd.load(self.step.bias[block * LANES..].as_ptr()));
                let update = simd.load(updates[block * LANES..].as_ptr());
                let value = mixed(simd, update, &state[block * LANES..], functions::tanh(simd, new));
                self.write(simd, at, block, next, value);
            }
        }
    }

    /// Products of a state with the weights of `G` of `ALL` gates of a block.
    ///
    /// # Safety
    /// The state must hold all units.
    #[inline(always)]
    unsafe fn products<S: Simd, const G: usize, const ALL: usize>(
        &self,
        simd: S,
        block: usize,
        first: usize,
        state: &[f32],
    ) -> [S::Vector; G] {
        let units = self.step.output.channels;
        let weights = self.step.weights[block * units * ALL * LANES..][..units * ALL * LANES].as_ptr();
        // Two sums for each gate, of even and odd units, hide the latency of the addition.
        let mut sums = [[simd.splat(0.0); G]; 2];
        for (unit, value) in state[..units].iter().enumerate() {
            let value = simd.splat(*value);
            for gate in 0..G {
                // SAFETY: there are weights of each unit and gate.
                let weight = unsafe { simd.load(weights.add((unit * ALL + first + gate) * LANES)) };
                sums[unit % 2][gate] = simd.multiply_add(weight, value, sums[unit % 2][gate]);
            }
        }
        let mut total = sums[0];
        for gate in 0..G {
            total[gate] = simd.add(sums[0][gate], sums[1][gate]);
        }
        total
    }

    /// # Safety
    /// The image, the token, the block and the gate must exist.
    #[inline(always)]
    unsafe fn input<S: Simd>(
        &self,
        simd: S,
        [image, token]: [usize; 2],
        block: usize,
        gate: usize,
    ) -> S::Vector {
        let block = gate * self.step.output.blocks() + block;
        // SAFETY: the caller's promise.
        unsafe { load_block(simd, self.operands.input, &self.step.input, [image, block], [0, token]) }
    }

    /// # Safety
    /// The image, the token and the block must exist.
    #[inline(always)]
    unsafe fn write<S: Simd>(
        &self,
        simd: S,
        [image, token]: [usize; 2],
        block: usize,
        next: &mut [f32],
        value: S::Vector,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            simd.store(next[block * LANES..][..LANES].as_mut_ptr(), value);
            store_block(simd, self.operands.output, &self.step.output, [image, block], [0, token], value);
        }
    }

    #[inline(always)]
    fn gate<S: Simd>(&self, simd: S, x: S::Vector) -> S::Vector {
        open(simd, self.step.gates, x)
    }
}

/// What a gate lets through.
#[inline(always)]
pub(super) fn open<S: Simd>(simd: S, function: GateFunction, x: S::Vector) -> S::Vector {
    match function {
        GateFunction::Sigmoid => functions::sigmoid(simd, x),
        GateFunction::HardSigmoid => {
            let line = simd.multiply_add(x, simd.splat(0.2), simd.splat(0.5));
            simd.clamp(line, simd.splat(0.0), simd.splat(1.0))
        }
    }
}

/// `update · state + (1 − update) · new`.
///
/// # Safety
/// The state must have a vector.
#[inline(always)]
unsafe fn mixed<S: Simd>(simd: S, update: S::Vector, state: &[f32], new: S::Vector) -> S::Vector {
    let minus = simd.splat(-1.0);
    // SAFETY: the caller's promise.
    let distance = simd.multiply_add(new, minus, unsafe { simd.load(state.as_ptr()) });
    simd.multiply_add(update, distance, new)
}
