//! A token of a recurrent layer for some images together: the gates' products of the states, and what becomes of them.
#![allow(clippy::indexing_slicing, reason = "the vectors are whole blocks of the units of all images")]

use std::ops::Range;

use regraft_graph::GateFunction;

use super::panels::{self, Panels, interleave};
use crate::{
    EngineError,
    buffer::Buffer,
    geometry::Geometry,
    kernels::Column,
    simd::{LANES, Simd, functions},
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

/// Most images that go together, so that the weights are read once a token for all of them: as many as the vectors of a tile.
const IMAGES: usize = panels::MOST;

/// Vectors of units that there are of each image for the gates; a GRU leaves the last one alone.
pub(crate) const GATES: usize = 4;

/// Groups of images that go together.
pub(crate) fn groups(images: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = images.end;
    images.step_by(IMAGES).map(move |first| first..(first + IMAGES).min(end))
}

/// Blocks of a token that are asked for before they are needed: they lie far from each other, a sequence apart.
pub(crate) const AHEAD: usize = 6;

/// The state's part of a recurrent layer.
#[derive(Debug)]
pub(crate) struct Forward {
    /// Products of the inputs, with the biases that may be added before: gates × units, padded to whole blocks.
    products: Geometry,
    units: usize,
    pub(crate) cell: Cell,
    pub(crate) gates: GateFunction,
    reverse: bool,
    keeps_gates: bool,
    panels: Panels,
    /// Of the new gate's product of the state: a number a unit.
    bias: Buffer,
}

/// A token of each of some images: the products of the inputs.
#[derive(Clone, Copy)]
pub(crate) struct Tokens {
    pub(crate) products: Column,
    pub(crate) first: usize,
}

/// What is there before a token, and behind it: a vector of units for each image.
pub(crate) struct Moment<'a> {
    pub(crate) before: &'a [f32],
    pub(crate) after: &'a mut [f32],
    /// Of an LSTM.
    pub(crate) cell_before: &'a [f32],
    /// Of an LSTM; of a GRU the new gate's product of the state, or the reset state.
    pub(crate) cell: &'a mut [f32],
    /// What the gates let through, gate by gate.
    pub(crate) gates: &'a mut [f32],
    /// Vectors in the order of products.
    pub(crate) interleaved: &'a mut [f32],
}

/// A block of the units of an image: among all of the vectors, the image and the block.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) index: usize,
    pub(crate) image: usize,
    pub(crate) block: usize,
}

impl Forward {
    /// `weight` is gates · units × units, `new_bias` the bias of a GRU's new gate.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn new(
        (products, units): (Geometry, usize),
        (cell, gates, reverse): (Cell, GateFunction, bool),
        weight: &[f32],
        new_bias: &[f32],
    ) -> Result<Self, EngineError> {
        let mut bias = Buffer::zeroed(units.next_multiple_of(LANES))?;
        bias.iter_mut().zip(new_bias).for_each(|(to, bias)| *to = *bias);
        let panels = Panels::of_rows(weight, units)?;
        Ok(Self { products, units, cell, gates, reverse, keeps_gates: false, panels, bias })
    }

    /// See [`super::Recurrent::keeping_gates`].
    pub(super) fn keeping_gates(self) -> Self {
        Self { keeps_gates: self.cell == Cell::Lstm, ..self }
    }

    /// Numbers of an image's vector of units.
    pub(crate) fn wide(&self) -> usize {
        self.units.next_multiple_of(LANES)
    }

    /// Numbers that each token is multiplied with.
    pub(crate) fn weights(&self) -> usize {
        self.cell.gates() * self.units * self.wide()
    }

    /// Of the products of the inputs.
    pub(crate) fn products(&self) -> &Geometry {
        &self.products
    }

    pub(crate) fn times(&self) -> usize {
        self.products.width
    }

    /// The token that comes at a time.
    pub(crate) fn token(&self, time: usize) -> usize {
        if self.reverse { self.times() - 1 - time } else { time }
    }

    /// The blocks of vectors of so many numbers, of images from the first one on.
    #[inline(always)]
    pub(crate) fn places(&self, first: usize, size: usize) -> impl Iterator<Item = Place> + use<> {
        let blocks = self.wide() / LANES;
        let images = 0..size / (blocks * LANES);
        images.flat_map(move |image| {
            (0..blocks).map(move |block| Place { index: image * blocks + block, image: first + image, block })
        })
    }

    /// # Safety
    /// The products must have the images that there are vectors of, from the first one on, and the token.
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd>(&self, simd: S, tokens: Tokens, moment: &mut Moment<'_>) {
        let size = moment.before.len();
        let plain = if self.cell == Cell::Lstm { 4 } else { 2 };
        interleave::<S>(moment.before, self.wide(), moment.interleaved);
        for (gate, products) in moment.gates.chunks_exact_mut(size).enumerate().take(plain) {
            self.panels.multiply(simd, (gate, false), moment.interleaved, products);
        }
        // SAFETY: the caller's promise.
        unsafe {
            match self.cell {
                Cell::Lstm => self.lstm(simd, tokens, moment),
                Cell::GruAfter => self.gru_after(simd, tokens, moment),
                Cell::GruBefore => self.gru_before(simd, tokens, moment),
            }
        }
    }

    /// # Safety
    /// As for [`Self::run`].
    #[inline(always)]
    unsafe fn lstm<S: Simd>(&self, simd: S, tokens: Tokens, moment: &mut Moment<'_>) {
        let size = moment.before.len();
        for place in self.places(tokens.first, size) {
            // SAFETY: the caller's promise.
            let [input, forget, new, output] = unsafe {
                [
                    self.gate::<S, false>(simd, tokens, (0, place), moment),
                    self.gate::<S, false>(simd, tokens, (1, place), moment),
                    self.gate::<S, true>(simd, tokens, (2, place), moment),
                    self.gate::<S, false>(simd, tokens, (3, place), moment),
                ]
            };
            let fresh = simd.multiply(input, new);
            let cell = simd.multiply_add(forget, get(simd, moment.cell_before, place.index), fresh);
            put(simd, moment.cell, place.index, cell);
            put(simd, moment.after, place.index, simd.multiply(output, functions::tanh(simd, cell)));
        }
    }

    /// # Safety
    /// As for [`Self::run`].
    #[inline(always)]
    unsafe fn gru_after<S: Simd>(&self, simd: S, tokens: Tokens, moment: &mut Moment<'_>) {
        self.panels.multiply(simd, (2, false), moment.interleaved, moment.cell);
        for place in self.places(tokens.first, moment.before.len()) {
            // SAFETY: the caller's promise.
            let reset = unsafe { self.reset_and_update(simd, tokens, place, moment) };
            let product = simd.add(get(simd, moment.cell, place.index), get(simd, &self.bias, place.block));
            put(simd, moment.cell, place.index, product);
            // SAFETY: as above.
            let input = unsafe { self.input(simd, tokens, place, 2) };
            finish_gru(simd, moment, place, simd.multiply_add(reset, product, input));
        }
    }

    /// # Safety
    /// As for [`Self::run`].
    #[inline(always)]
    unsafe fn gru_before<S: Simd>(&self, simd: S, tokens: Tokens, moment: &mut Moment<'_>) {
        let size = moment.before.len();
        for place in self.places(tokens.first, size) {
            // SAFETY: the caller's promise.
            let reset = unsafe { self.reset_and_update(simd, tokens, place, moment) };
            put(simd, moment.cell, place.index, simd.multiply(reset, get(simd, moment.before, place.index)));
        }
        interleave::<S>(moment.cell, self.wide(), moment.interleaved);
        self.panels.multiply(simd, (2, false), moment.interleaved, &mut moment.gates[2 * size..3 * size]);
        for place in self.places(tokens.first, size) {
            let product = get(simd, &moment.gates[2 * size..], place.index);
            let product = simd.add(product, get(simd, &self.bias, place.block));
            // SAFETY: as above.
            let input = unsafe { self.input(simd, tokens, place, 2) };
            finish_gru(simd, moment, place, simd.add(product, input));
        }
    }

    /// What a GRU's reset gate lets through; the update gate is opened, too.
    ///
    /// # Safety
    /// As for [`Self::run`].
    #[inline(always)]
    unsafe fn reset_and_update<S: Simd>(
        &self,
        simd: S,
        tokens: Tokens,
        place: Place,
        moment: &mut Moment<'_>,
    ) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe {
            self.gate::<S, false>(simd, tokens, (1, place), moment);
            self.gate::<S, false>(simd, tokens, (0, place), moment)
        }
    }

    /// What a gate, or an LSTM's new gate, lets through, which stands then where its product of the states stood.
    ///
    /// # Safety
    /// As for [`Self::run`].
    #[inline(always)]
    unsafe fn gate<S: Simd, const NEW: bool>(
        &self,
        simd: S,
        tokens: Tokens,
        (gate, place): (usize, Place),
        moment: &mut Moment<'_>,
    ) -> S::Vector {
        let gates = &mut moment.gates[gate * moment.before.len()..];
        // SAFETY: the caller's promise.
        let input = unsafe { self.input(simd, tokens, place, gate) };
        let sum = simd.add(get(simd, gates, place.index), input);
        let value = if NEW { functions::tanh(simd, sum) } else { open(simd, self.gates, sum) };
        put(simd, gates, place.index, value);
        if self.keeps_gates {
            // SAFETY: as above.
            unsafe { self.keep(simd, tokens, place, (gate, value)) };
        }
        value
    }

    /// The image and the block some places further on.
    #[inline(always)]
    pub(crate) fn ahead(&self, Place { image, block, .. }: Place) -> [usize; 2] {
        let (blocks, ahead) = (self.wide() / LANES, block + AHEAD);
        if ahead < blocks { [image, ahead] } else { [image + 1, (ahead - blocks).min(blocks - 1)] }
    }

    /// # Safety
    /// As for [`Self::run`].
    #[inline(always)]
    pub(crate) unsafe fn input<S: Simd>(
        &self,
        simd: S,
        tokens: Tokens,
        place: Place,
        gate: usize,
    ) -> S::Vector {
        let first = gate * (self.wide() / LANES);
        let [image, block] = self.ahead(place);
        simd.prefetch(tokens.products.block([image, first + block]));
        // SAFETY: the caller's promise.
        unsafe { simd.load(tokens.products.block([place.image, first + place.block])) }
    }

    /// # Safety
    /// As for [`Self::run`], and nothing else reads the products.
    #[inline(always)]
    unsafe fn keep<S: Simd>(&self, simd: S, tokens: Tokens, place: Place, (gate, value): (usize, S::Vector)) {
        let to = tokens.products.block([place.image, gate * (self.wide() / LANES) + place.block]);
        // SAFETY: the caller's promise.
        unsafe { simd.store(to, value) };
    }
}

/// The state behind a GRU's token: `update · state + (1 − update) · new`.
#[inline(always)]
fn finish_gru<S: Simd>(simd: S, moment: &mut Moment<'_>, place: Place, new: S::Vector) {
    let size = moment.before.len();
    let new = functions::tanh(simd, new);
    put(simd, &mut moment.gates[2 * size..], place.index, new);
    let update = get(simd, &moment.gates[size..], place.index);
    let distance = simd.multiply_add(new, simd.splat(-1.0), get(simd, moment.before, place.index));
    put(simd, moment.after, place.index, simd.multiply_add(update, distance, new));
}

/// What a gate lets through.
#[inline(always)]
fn open<S: Simd>(simd: S, function: GateFunction, x: S::Vector) -> S::Vector {
    match function {
        GateFunction::Sigmoid => functions::sigmoid(simd, x),
        GateFunction::HardSigmoid => {
            let line = simd.multiply_add(x, simd.splat(0.2), simd.splat(0.5));
            simd.clamp(line, simd.splat(0.0), simd.splat(1.0))
        }
    }
}

/// A block of vectors of units.
#[inline(always)]
pub(crate) fn get<S: Simd>(simd: S, numbers: &[f32], block: usize) -> S::Vector {
    // SAFETY: the slice has 16 numbers.
    unsafe { simd.load(numbers[block * LANES..][..LANES].as_ptr()) }
}

#[inline(always)]
pub(crate) fn put<S: Simd>(simd: S, numbers: &mut [f32], block: usize, value: S::Vector) {
    // SAFETY: as above.
    unsafe { simd.store(numbers[block * LANES..][..LANES].as_mut_ptr(), value) };
}
