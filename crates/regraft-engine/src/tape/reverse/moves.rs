//! Operators that move numbers.

use regraft_graph::Op;

use crate::{
    EngineError,
    axes::{Axes, NOWHERE, sizes},
    compile::moves::{Places, all_places, padded_from},
    geometry::Geometry,
    kernels::{
        gather::{Gather, Otherwise, Sources},
        resample::nearest,
    },
    network::Instruction,
    tape::{
        build::{Builder, input_of},
        steps::Work,
    },
};

impl Builder<'_> {
    /// Each input's gradient is a part of the output's.
    pub(super) fn concat_back(
        &mut self,
        instruction: &Instruction<'_>,
        axis: usize,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let parts = crate::views::parts(self.network, instruction);
        if parts.is_empty() {
            return self.concat_along_back(instruction, axis - 1, gradient);
        }
        let name = &instruction.node.name;
        for part in parts {
            if self.is_needed(part.input) {
                let result = self.new_gradient(part.input);
                let step = some_channels([self.geometry(gradient), self.geometry(result)], part.channel)?;
                self.push_back(name, vec![gradient], Some(result), Work::computation(step));
                self.contribute(name, part.input, result);
            }
        }
        Ok(())
    }

    /// As above, along an axis, which is counted without the batch.
    fn concat_along_back(
        &mut self,
        instruction: &Instruction<'_>,
        axis: usize,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let from = self.axes(&instruction.node.name, gradient)?;
        let mut before = 0;
        for (wire, value) in instruction.node.inputs.iter().zip(&instruction.inputs) {
            let size = self.shape(wire)?.get(axis).copied().unwrap_or(0);
            if self.is_needed(*value) {
                let mut places = all_places(&from);
                if let Some(places) = places.get_mut(axis) {
                    *places = places.iter().copied().skip(before).take(size).collect();
                }
                self.gather_back(instruction, (wire, *value), gradient, places)?;
            }
            before += size;
        }
        Ok(())
    }

    /// Operators whose numbers each come from a place of the input, or from none.
    pub(super) fn places_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        let wire = node.inputs.first().map_or("", String::as_str);
        let (shape, to) = (self.shape(wire)?, self.axes(&node.name, gradient)?);
        let axes: Vec<Readings> = match &node.op {
            Op::Transpose(transpose) => {
                let place = |axis: usize| transpose.axes.iter().skip(1).position(|from| *from == axis + 1);
                (0..shape.len()).map(|axis| vec![to.places(place(axis).unwrap_or(0))]).collect()
            }
            Op::Tokens => pixels_as_tokens(&shape, &to),
            Op::SelectToken { index } => {
                let tokens = shape.first().copied().unwrap_or(0);
                let token = (0..tokens).map(|token| if token == *index { 0 } else { NOWHERE }).collect();
                vec![vec![token], vec![to.places(0)]]
            }
            _ => {
                let of_axis = |(axis, size): (usize, &usize)| {
                    let source = |index| source_of(&node.op, axis, index, [*size, to.places(axis).len()]);
                    readings(&to.places(axis), *size, &source)
                };
                shape.iter().enumerate().map(of_axis).collect()
            }
        };
        for places in choices(&axes) {
            self.gather_back(instruction, (wire, value), gradient, places)?;
        }
        Ok(())
    }

    /// Contributes a gradient whose numbers come from the places that `places` makes of the output's.
    pub(super) fn gather_back(
        &mut self,
        instruction: &Instruction<'_>,
        (wire, value): (&str, usize),
        gradient: usize,
        places: Places,
    ) -> Result<(), EngineError> {
        let result = self.new_gradient(value);
        let (from, to) = (self.geometry(gradient), self.axes(wire, result)?);
        let sources = Sources::Parts(to.parts(&from, places));
        let step = Gather::new([from, to.geometry], sources, Otherwise::Fill(0.0))?;
        let name = &instruction.node.name;
        self.push_back(name, vec![gradient], Some(result), Work::computation(step));
        self.contribute(name, value, result);
        Ok(())
    }

    /// The numbers in row-major order in the shape of the input.
    pub(super) fn reshape_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        if !self.is_needed(value) {
            return Ok(());
        }
        let result = self.new_gradient(value);
        let input = node.inputs.first().map_or("", String::as_str);
        let (from, to) = (self.axes(&node.name, gradient)?, self.axes(input, result)?);
        let work = Work::computation(Gather::reshape(&from, &to)?);
        self.push_back(&node.name, vec![gradient], Some(result), work);
        self.contribute(&node.name, value, result);
        Ok(())
    }

    /// A wire's tensor, whose numbers are a value, or that value's gradient.
    pub(in crate::tape) fn axes(&self, wire: &str, value: usize) -> Result<Axes, EngineError> {
        Axes::new(self.shape(wire)?, self.geometry(value))
    }

    /// Sizes of a wire's axes behind the batch.
    pub(in crate::tape) fn shape(&self, wire: &str) -> Result<Vec<usize>, EngineError> {
        let shape = self.model.graph().fact(wire)?.bind(&self.network.bindings).unwrap_or_default();
        Ok(shape.into_iter().skip(1).collect())
    }
}

/// Copies channels from the first one on.
fn some_channels([from, to]: [Geometry; 2], first: usize) -> Result<Gather, EngineError> {
    let whole = Axes::new(vec![from.channels, from.height, from.width], from)?;
    let axes = Axes::new(vec![to.channels, to.height, to.width], to)?;
    let channels = whole.places(0).into_iter().skip(first).take(to.channels).collect();
    let sources = Sources::Parts(axes.parts(&from, vec![channels, whole.places(1), whole.places(2)]));
    Gather::new([from, to], sources, Otherwise::Fill(0.0))
}

/// For an index of an axis of the input the places of the output's that read it: the first one of every index, the second
/// one, and so on.
type Readings = Vec<Vec<u32>>;

/// From the index that each index of the output reads.
fn readings(places: &[u32], size: usize, source: &dyn Fn(usize) -> Option<usize>) -> Readings {
    let mut readings: Readings = Vec::new();
    let mut counts = vec![0; size];
    for (index, place) in places.iter().enumerate() {
        let Some(source) = source(index) else { continue };
        let Some(count) = counts.get_mut(source) else { continue };
        if readings.len() == *count {
            readings.push(vec![NOWHERE; size]);
        }
        if let Some(to) = readings.get_mut(*count).and_then(|reading| reading.get_mut(source)) {
            *to = *place;
        }
        *count += 1;
    }
    readings
}

/// Every choice of one reading for each axis.
fn choices(axes: &[Readings]) -> Vec<Places> {
    axes.iter().fold(vec![Vec::new()], |choices, readings| {
        let with = |choice: &Places| {
            let choice = choice.clone();
            readings.iter().map(move |reading| [choice.clone(), vec![reading.clone()]].concat())
        };
        choices.iter().flat_map(with).collect()
    })
}

/// The index of an axis that an index of the output's is read from. Sizes of the input's and of the output's axis.
fn source_of(op: &Op, axis: usize, index: usize, [from, to]: [usize; 2]) -> Option<usize> {
    match op {
        Op::Slice(slice) if slice.axis == axis + 1 => Some(slice.start + index * slice.step.max(1)),
        Op::Pad(pad) => {
            pad.borders.get(axis + 1).and_then(|border| padded_from(pad.mode, index, *border, from))
        }
        Op::Resize(resize) if axis > 0 => Some(nearest(resize.coordinates, index, from, to)),
        _ => Some(index),
    }
}

/// The pixels of an image from the tokens that they are.
fn pixels_as_tokens(shape: &[usize], tokens: &Axes) -> Vec<Readings> {
    let [_, height, width] = sizes(shape);
    let places = tokens.places(0);
    let rows = places.iter().copied().step_by(width.max(1)).take(height).collect();
    vec![vec![tokens.places(1)], vec![rows], vec![places.into_iter().take(width).collect()]]
}
