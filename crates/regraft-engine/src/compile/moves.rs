//! Operators that move numbers, repeat them, or combine those of several places.

use regraft_graph::{Coordinates, Interpolation, InterpolationMode, Op, Pad, PadMode, Reduce as Reduction};

use super::{Compiler, input_wire, unsupported};
use crate::{
    EngineError,
    axes::{Axes, NOWHERE, Parts, sizes},
    geometry::Geometry,
    kernels::{
        Computation,
        arithmetic::{Arithmetic, Pairing},
        gather::{Gather, Otherwise, Sources},
        reduce::Reduce,
        resample::{Resample, nearest},
    },
    network::Instruction,
    step::Operation,
};

/// What each index of an axis adds to a place, for all axes.
pub(crate) type Places = Vec<Vec<u32>>;

impl Compiler<'_> {
    /// The tensor on a wire, whose numbers are a value.
    pub(super) fn axes(&self, wire: &str, value: usize) -> Result<Axes, EngineError> {
        let shape = self.graph.fact(wire)?.bind(&self.network.bindings).unwrap_or_default();
        Axes::new(shape.into_iter().skip(1).collect(), self.geometry(value))
    }

    /// An instruction's first input and its output.
    pub(super) fn ends(&self, instruction: &Instruction<'_>) -> Result<[Axes; 2], EngineError> {
        let input = instruction.inputs.first().copied().unwrap_or(0);
        let from = self.axes(input_wire(instruction.node), input)?;
        Ok([from, self.axes(&instruction.node.name, instruction.output)?])
    }

    /// A step whose numbers come from the places that `places` makes of the input's.
    fn gathered(
        &self,
        [from, to]: &[Axes; 2],
        places: Places,
        otherwise: Otherwise,
    ) -> Result<Box<dyn Computation>, EngineError> {
        let sources = Sources::Parts(to.parts(&from.geometry, places));
        Ok(Box::new(Gather::new([from.geometry, to.geometry], sources, otherwise)?))
    }

    /// Operators that only move numbers.
    pub(super) fn moved(&self, instruction: &Instruction<'_>) -> Result<Box<dyn Computation>, EngineError> {
        let ends = self.ends(instruction)?;
        let [from, to] = &ends;
        let (places, fill) = match &instruction.node.op {
            Op::Transpose(transpose) => {
                let axes = transpose.axes.iter().skip(1);
                (axes.map(|axis| from.places(axis.saturating_sub(1))).collect(), 0.0)
            }
            Op::Slice(slice) => {
                let mut places = all_places(from);
                replace(&mut places, slice.axis, |places| {
                    places
                        .iter()
                        .copied()
                        .take(slice.end)
                        .skip(slice.start)
                        .step_by(slice.step.max(1))
                        .collect()
                });
                (places, 0.0)
            }
            Op::Pad(pad) => {
                // A symbolic size may turn out to be too small.
                let widest =
                    pad.borders.iter().skip(1).map(|border| border.iter().max().copied().unwrap_or(0));
                let too_small = widest.zip(&from.shape).any(|(border, size)| border >= *size);
                if matches!(pad.mode, PadMode::Reflect) && too_small {
                    return Err(
                        self.refused(instruction, "a reflecting border must be narrower than the input")
                    );
                }
                padded(from, pad)
            }
            Op::Resize(resize) => (nearest_places(from, to, resize.coordinates), 0.0),
            _ => return Ok(Box::new(Gather::reshape(from, to)?)),
        };
        self.gathered(&ends, places, Otherwise::Fill(fill))
    }

    pub(super) fn resized(
        &self,
        instruction: &Instruction<'_>,
        resize: &Interpolation,
    ) -> Result<Box<dyn Computation>, EngineError> {
        match resize.mode {
            InterpolationMode::Nearest => self.moved(instruction),
            mode => {
                let ends = self.ends(instruction)?.map(|tensor| tensor.geometry);
                Ok(Box::new(Resample::new(ends, mode, resize.coordinates)))
            }
        }
    }

    pub(super) fn reduced(
        &self,
        instruction: &Instruction<'_>,
        reduce: &Reduction,
    ) -> Result<Box<dyn Computation>, EngineError> {
        let [from, to] = self.ends(instruction)?;
        let (first, distances) = reduction(&from, &to, &reduce.axes, reduce.keep_axes);
        Ok(Box::new(Reduce::new([from.geometry, to.geometry], reduce.kind, first, distances)?))
    }

    /// A step for each input, along any axis.
    pub(super) fn push_concat_along(
        &mut self,
        instruction: &Instruction<'_>,
        axis: usize,
    ) -> Result<(), EngineError> {
        let to = self.axes(&instruction.node.name, instruction.output)?;
        let total = to.shape.get(axis - 1).copied().unwrap_or(0);
        let mut before = 0;
        for (wire, value) in instruction.node.inputs.iter().zip(&instruction.inputs) {
            let from = self.axes(wire, *value)?;
            let mut places = all_places(&from);
            let size = from.shape.get(axis - 1).copied().unwrap_or(0);
            replace(&mut places, axis, |places| {
                let behind = total.saturating_sub(before + size);
                let nowhere = |count| std::iter::repeat_n(NOWHERE, count);
                nowhere(before).chain(places.iter().copied()).chain(nowhere(behind)).collect()
            });
            before += size;
            let operation = self.gathered(&[from, to.clone()], places, Otherwise::Keep)?;
            let (name, output) = (&instruction.node.name, instruction.output);
            self.push_step(name, vec![*value], output, Operation::Other(operation));
        }
        Ok(())
    }

    /// Arithmetic on two values, of which each may be repeated along some axes.
    pub(super) fn push_arithmetic(&mut self, instruction: &Instruction<'_>) -> Result<(), EngineError> {
        let node = instruction.node;
        let pairing = match node.op {
            Op::Add => Pairing::Add,
            Op::Sub => Pairing::Subtract,
            Op::Mul => Pairing::Multiply,
            Op::Div => Pairing::Divide,
            Op::Max => Pairing::Larger,
            _ => Pairing::Smaller,
        };
        let to = self.axes(&node.name, instruction.output)?;
        let [left, right] = [0, 1].map(|index| -> Result<usize, EngineError> {
            let wire = node.inputs.get(index).map_or("", String::as_str);
            let value = instruction.inputs.get(index).copied().unwrap_or(0);
            self.repeated(&to, wire, value, &node.name)
        });
        let (left, right) = (left?, right?);
        let inputs = [self.geometry(left), self.geometry(right)];
        let operation = Arithmetic { pairing, inputs, output: to.geometry };
        self.push_step(
            &node.name,
            vec![left, right],
            instruction.output,
            Operation::Other(Box::new(operation)),
        );
        Ok(())
    }

    /// The value, or where several axes are the rows and only some of them are repeated, another one that is.
    fn repeated(&mut self, to: &Axes, wire: &str, value: usize, name: &str) -> Result<usize, EngineError> {
        let from = self.axes(wire, value)?;
        let whole = from.geometry.height == to.geometry.height || from.geometry.height == 1;
        if whole {
            return Ok(value);
        }
        let (repeated, geometry) = self.new_value(sizes(&to.shape))?;
        let to = Axes::new(to.shape.clone(), geometry)?;
        let operation = Box::new(repetition(&from, &to)?);
        self.push_step(&format!("{name} (repeated)"), vec![value], repeated, Operation::Other(operation));
        Ok(repeated)
    }

    pub(super) fn refused(&self, instruction: &Instruction<'_>, message: impl Into<String>) -> EngineError {
        let input: Geometry = self.shapes(instruction).input;
        unsupported(instruction.node, &input, message)
    }
}

/// Where the first number of each set of numbers is that become one of `to`, and the distances of the others from there,
/// itself included.
pub(crate) fn reduction(from: &Axes, to: &Axes, axes: &[usize], keep_axes: bool) -> (Parts, Vec<u32>) {
    let (mut kept, mut distances) = (Vec::new(), vec![0]);
    for axis in 0..from.shape.len() {
        let places = from.places(axis);
        if !axes.contains(&(axis + 1)) {
            kept.push(places);
            continue;
        }
        distances =
            distances.iter().flat_map(|before| places.iter().map(move |place| before + place)).collect();
        if keep_axes {
            kept.push(vec![0]);
        }
    }
    (to.parts(&from.geometry, kept), distances)
}

/// A tensor repeated along the axes of which it has one place.
pub(crate) fn repetition(from: &Axes, to: &Axes) -> Result<Gather, EngineError> {
    let places = to.shape.iter().zip(all_places(from));
    let places = places.map(|(size, places)| match places.as_slice() {
        [single] => vec![*single; *size],
        _ => places,
    });
    let sources = Sources::Parts(to.parts(&from.geometry, places.collect()));
    Gather::new([from.geometry, to.geometry], sources, Otherwise::Fill(0.0))
}

pub(crate) fn all_places(tensor: &Axes) -> Places {
    (0..tensor.shape.len()).map(|axis| tensor.places(axis)).collect()
}

/// Changes what is known of an axis, which is counted with the batch.
fn replace(places: &mut Places, axis: usize, change: impl FnOnce(&[u32]) -> Vec<u32>) {
    if let Some(places) = places.get_mut(axis - 1) {
        *places = change(places);
    }
}

fn padded(from: &Axes, pad: &Pad) -> (Places, f32) {
    let axis = |(places, border): (Vec<u32>, &[usize; 2])| {
        let size = places.len();
        let at = |index: usize| {
            let place = padded_from(pad.mode, index, *border, size);
            place.and_then(|place| places.get(place)).copied().unwrap_or(NOWHERE)
        };
        (0..border[0] + size + border[1]).map(at).collect()
    };
    let borders = pad.borders.iter().skip(1);
    let places = all_places(from).into_iter().zip(borders).map(axis).collect();
    (places, if let PadMode::Constant(value) = pad.mode { value } else { 0.0 })
}

/// The place of an axis that a place of the one with a border has its number from.
pub(crate) fn padded_from(
    mode: PadMode,
    index: usize,
    [before, _]: [usize; 2],
    size: usize,
) -> Option<usize> {
    match mode {
        PadMode::Constant(_) => index.checked_sub(before).filter(|place| *place < size),
        PadMode::Edge => Some(index.saturating_sub(before).min(size - 1)),
        PadMode::Reflect => Some(reflected(index, before, size)),
    }
}

/// The place inside that a place of the output mirrors; the border is narrower than the axis.
fn reflected(index: usize, before: usize, size: usize) -> usize {
    match index.checked_sub(before) {
        None => before - index,
        Some(inside) if inside < size => inside,
        Some(behind) => (2 * (size - 1)).saturating_sub(behind),
    }
}

fn nearest_places(from: &Axes, to: &Axes, coordinates: Coordinates) -> Places {
    let mut places = all_places(from);
    for axis in [2, 3] {
        let size = to.shape.get(axis - 1).copied().unwrap_or(1);
        replace(&mut places, axis, |places| {
            let at = |index| places.get(nearest(coordinates, index, places.len(), size)).copied();
            (0..size).filter_map(at).collect()
        });
    }
    places
}
