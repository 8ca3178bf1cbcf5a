//! Where the examples are among a value's axes, and which operators keep them apart.
//!
//! Values are computed for one example, so an operator that mixes examples would become one that does nothing, without
//! a word: a mean over the batch, a softmax over an axis that the examples have been joined to. Therefore every wire knows
//! the axis that holds the examples, alone or joined with others, and each operator says here where that axis goes, or
//! is refused. A file for exactly one example has nothing to mix.

use regraft_graph::Dim;

use super::activation::reduced_axes;
use super::call::{Call, axis};
use super::constant::Constant;
use super::shape::quotient;
use super::value::{Value, Wire};
use super::whole::Whole;

/// Where the examples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    /// The file's axis.
    pub(super) axis: usize,
    /// What is joined to them on that axis and changes more slowly than they do.
    pub(super) outer: usize,
    /// How many there are, where the file says so: more than one.
    pub(super) examples: Option<usize>,
}

/// A prime above all sizes of an axis that files have: a number of examples that can be found again in a product.
const MANY: usize = 65_537;

impl Batch {
    pub(super) fn at(self, axis: usize) -> Self {
        Self { axis, ..self }
    }

    fn number(self) -> usize {
        self.examples.unwrap_or(MANY)
    }

    /// So many times the number of examples.
    pub(super) fn times(self, many: i64) -> Result<i64, String> {
        let number = i64::try_from(self.number()).ok().and_then(|number| number.checked_mul(many));
        number.ok_or_else(|| "a size is absurd".to_owned())
    }

    /// A shape for one example as that for all of them: `N×4`.
    pub(super) fn to_text(self, shape: &[Dim]) -> String {
        let size = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Fixed(1) if axis == self.axis => "N".to_owned(),
            dim if axis == self.axis => format!("N·{dim}"),
            dim => dim.to_string(),
        };
        shape.iter().enumerate().map(size).collect::<Vec<_>>().join("×")
    }

    /// The shape for all examples of what has this shape for one.
    pub(super) fn whole(self, shape: &[Dim]) -> Result<Vec<Dim>, String> {
        let mut whole = shape.to_vec();
        match whole.get_mut(self.axis) {
            Some(Dim::Fixed(size)) => {
                *size = size.checked_mul(self.number()).ok_or("it is absurdly large")?
            }
            _ => return Err("its examples are on an axis of the image".to_owned()),
        }
        Ok(whole)
    }

    /// Where the examples are when a value for all of them is given another shape, and that shape for one.
    pub(super) fn found(self, whole: &[Dim], mut target: Vec<Dim>) -> Result<(Vec<Dim>, Self), String> {
        let before = whole.get(..self.axis).unwrap_or_default();
        let before = [before, &[Dim::Fixed(self.outer)]].concat();
        for axis in 0..target.len() {
            let (outer, rest) = target.split_at_mut(axis);
            let (Some(Dim::Fixed(size)), Some(Dim::Fixed(joined))) =
                (rest.first_mut(), quotient(&before, outer))
            else {
                continue;
            };
            let one = *size / self.number();
            if size.is_multiple_of(self.number()) && one > 0 && one.is_multiple_of(joined.max(1)) {
                *size = one;
                return Ok((target, Self { axis, outer: joined, ..self }));
            }
        }
        Err("its shape tears the examples apart; export the network for a batch of any size, or of 1"
            .to_owned())
    }

    /// Whether an axis of that size, of the file's value, holds one number for each example.
    pub(super) fn fits(self, size: Whole, own: usize) -> bool {
        let own = i64::try_from(own).unwrap_or(i64::MAX);
        match size {
            Whole::Batch(many) => many == own,
            Whole::Known(1) => true,
            Whole::Known(size) => self.examples.is_some() && self.times(own) == Ok(size),
            Whole::Example { .. } | Whole::Unknown => false,
        }
    }
}

/// Where the examples are in an output of a node; `None` where the file has only one.
///
/// # Errors
/// The operator mixes them.
pub(super) fn place(call: &Call<'_>, output: usize) -> Result<Option<Batch>, String> {
    let Some((_, wire)) = call.wires().find(|(_, wire)| wire.kind.batch.is_some()) else { return Ok(None) };
    let Some(batch) = wire.kind.batch else { return Ok(None) };
    if !call.is_standard() {
        return first(batch, wire).map(Some);
    }
    match call.node.op_type.as_str() {
        "Conv" | "ConvTranspose" | "BatchNormalization" | "LRN" | "MaxPool" | "AveragePool"
        | "GlobalAveragePool" | "GlobalMaxPool" | "Resize" | "Upsample" => first(batch, wire),
        "Gemm" if batch.axis == 0 => Ok(batch),
        "Gemm" => Err(mixed()),
        "MatMul" => product_of_matrices(call),
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Sum" | "Mean" | "Pow" | "PRelu" => repeated(call),
        "LSTM" | "GRU" => recurrent(call, batch, output),
        "Softmax" | "LogSoftmax" | "LayerNormalization" => normalized(call, wire, batch),
        operator if operator.starts_with("Reduce") => reduced(call, wire, batch),
        _ => moved(call, wire, batch),
    }
    .map(Some)
}

fn moved(call: &Call<'_>, wire: &Wire, batch: Batch) -> Result<Batch, String> {
    match call.node.op_type.as_str() {
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
            let (_, found) = super::shape::target(call, &wire.shape, Some(batch))?;
            found.ok_or_else(mixed)
        }
        "Transpose" => {
            let order = super::shape::permutation(call, wire.rank())?;
            let place = order.iter().position(|axis| *axis == batch.axis);
            place.map(|axis| batch.at(axis)).ok_or_else(mixed)
        }
        "Slice" => {
            // The examples are as many as nobody knows: their axis can only be kept whole.
            let mut shape = wire.shape.clone();
            let batch_axis = shape.iter_mut().skip(batch.axis).take(1);
            batch_axis.for_each(|dim| *dim = Dim::symbol(regraft_graph::Symbol::Batch));
            super::fold::slices(call, &shape).map_err(|_| mixed())?;
            Ok(batch)
        }
        "Split" => apart_from(batch, axis(call.int("axis", 0), wire.rank())?),
        "Concat" => {
            apart_from(batch, axis(call.int("axis", 1), wire.rank())?)?;
            repeated(call)
        }
        "Gather" => gathered(call, wire, batch),
        "Pad" => padded(call, wire, batch),
        "Expand" => expanded(call, wire, batch),
        "Tile" => {
            let times = call.setting(1, "repeats")?.unwrap_or_default();
            if times.get(batch.axis).is_none_or(|times| *times == 1) { Ok(batch) } else { Err(mixed()) }
        }
        _ if call.has("axis") && apart_from(batch, axis(call.int("axis", 0), wire.rank())?).is_err() => {
            Err(mixed())
        }
        // What is left gives a number for each of its input's, or keeps the first axis.
        _ if call.inputs.len() == 1 || call.wires().count() == 1 => Ok(batch),
        _ => repeated(call),
    }
}

fn mixed() -> String {
    "it mixes the examples of a batch; export the network for a batch of 1, if it is meant for one example"
        .to_owned()
}

fn apart_from(batch: Batch, axis: usize) -> Result<Batch, String> {
    if batch.axis == axis { Err(mixed()) } else { Ok(batch) }
}

/// The examples alone on the first axis.
fn first(batch: Batch, wire: &Wire) -> Result<Batch, String> {
    let alone = batch.axis == 0 && wire.shape.first() == Some(&Dim::Fixed(1));
    if alone { Ok(batch) } else { Err("its first axis is not the batch".to_owned()) }
}

/// An input's shape behind axes of size 1 that give it as many as `rank`.
fn aligned(value: &Value, rank: usize) -> Vec<Whole> {
    let sizes = match value {
        Value::Constant(constant) => {
            constant.shape.iter().map(|size| i64::try_from(*size).ok().into()).collect()
        }
        Value::Wire(wire) => wire.file_sizes(),
    };
    let new = rank.saturating_sub(sizes.len());
    std::iter::repeat_n(Whole::Known(1), new).chain(sizes).collect()
}

fn largest_rank(call: &Call<'_>) -> usize {
    let rank = |value: &Value| match value {
        Value::Constant(constant) => constant.shape.len(),
        Value::Wire(wire) => wire.rank(),
    };
    call.inputs.iter().flatten().map(rank).max().unwrap_or(0)
}

/// Inputs that are repeated along axes of size 1: the examples of all wires are on the same axis, and no constant has
/// a number for each example.
fn repeated(call: &Call<'_>) -> Result<Batch, String> {
    let rank = largest_rank(call);
    let shifted = |wire: &Wire| {
        let batch = wire.kind.batch?;
        Some(batch.at(batch.axis + rank - wire.rank()))
    };
    let mut places = call.wires().map(|(_, wire)| shifted(wire));
    let first = places.next().flatten();
    let batch = first.filter(|_| places.all(|other| other == first)).ok_or_else(mixed)?;
    let several = call.inputs.iter().flatten().filter(|value| matches!(value, Value::Constant(_)));
    let several = several.map(|value| aligned(value, rank).get(batch.axis).copied());
    if several.flatten().any(|size| size != Whole::Known(1)) {
        return Err("a constant has numbers of its own for each example of a batch".to_owned());
    }
    Ok(batch)
}

fn product_of_matrices(call: &Call<'_>) -> Result<Batch, String> {
    let rank = largest_rank(call);
    let few = call.wires().any(|(_, wire)| wire.rank() < 2);
    let batch = match call.inputs.as_slice() {
        [Some(Value::Wire(left)), Some(Value::Wire(_))] if left.rank() >= 2 => {
            let batch = repeated(call)?;
            Some(batch).filter(|batch| batch.axis + 2 < rank)
        }
        [Some(Value::Wire(wire)), Some(constant)] => outside(constant, wire, rank, rank.saturating_sub(1)),
        [Some(constant), Some(Value::Wire(wire))] => outside(constant, wire, rank, rank.saturating_sub(2)),
        _ => None,
    };
    batch.filter(|_| !few).ok_or_else(mixed)
}

/// The place of the examples in the product of a wire and a constant, if it is not the axis that is summed over.
fn outside(constant: &Value, wire: &Wire, rank: usize, summed: usize) -> Option<Batch> {
    let batch = wire.kind.batch?;
    let batch = batch.at(batch.axis + rank - wire.rank());
    let of_matrix = batch.axis + 2 >= rank;
    let once = aligned(constant, rank).get(batch.axis) == Some(&Whole::Known(1));
    (batch.axis != summed && (of_matrix || once)).then_some(batch)
}

fn recurrent(call: &Call<'_>, batch: Batch, output: usize) -> Result<Batch, String> {
    let expected = usize::from(!call.flag("layout"));
    if batch.axis != expected {
        return Err(mixed());
    }
    // Outputs have an axis for the directions: behind the tokens, or first in the last states.
    Ok(batch.at(match (expected, output) {
        (0, _) => 0,
        (_, 0) => 2,
        _ => 1,
    }))
}

fn normalized(call: &Call<'_>, wire: &Wire, batch: Batch) -> Result<Batch, String> {
    let all_behind = call.node.op_type == "LayerNormalization" || call.opset < 13;
    let default = if call.node.op_type != "LayerNormalization" && all_behind { 1 } else { -1 };
    let axis = axis(call.int("axis", default), wire.rank())?;
    if all_behind && batch.axis > axis {
        return Err(mixed());
    }
    apart_from(batch, axis)
}

fn reduced(call: &Call<'_>, wire: &Wire, batch: Batch) -> Result<Batch, String> {
    let axes = reduced_axes(call, wire.rank())?;
    if axes.contains(&batch.axis) {
        return Err(mixed());
    }
    let gone = axes.iter().filter(|axis| **axis < batch.axis).count();
    Ok(if call.int("keepdims", 1) == 0 { batch.at(batch.axis - gone) } else { batch })
}

fn gathered(call: &Call<'_>, wire: &Wire, batch: Batch) -> Result<Batch, String> {
    // Words, which are looked up in a table.
    if matches!(call.input(0), Some(Value::Constant(_))) {
        return first(batch, wire);
    }
    let axis = axis(call.int("axis", 0), wire.rank())?;
    let places = call.weights(1)?;
    let indices = places.shape.len();
    // All examples lie one after the other, and each is looked up in itself.
    if batch.axis == axis
        && let Some(behind) = places.behind.filter(|_| in_itself(places, wire))
    {
        return indices.checked_sub(1 + behind).map(|place| batch.at(place)).ok_or_else(mixed);
    }
    let batch = apart_from(batch, axis)?;
    Ok(if batch.axis > axis { batch.at(batch.axis + indices - 1) } else { batch })
}

/// Whether indices into all numbers of a batch, which lie on one axis, stay within each example.
fn in_itself(indices: &Constant, wire: &Wire) -> bool {
    let outer = wire.kind.batch.map(|batch| batch.outer);
    let size = wire.size(0).ok().and_then(|size| i64::try_from(size).ok());
    wire.rank() == 1
        && outer == Some(1)
        && size.is_some_and(|size| indices.places_of_examples(size).is_some())
}

fn padded(call: &Call<'_>, wire: &Wire, batch: Batch) -> Result<Batch, String> {
    let pads = call.setting(1, "pads")?.unwrap_or_default();
    let place = match call.setting(3, "axes")?.filter(|_| call.input(3).is_some()) {
        Some(axes) => {
            let axes = axes.iter().map(|number| axis(*number, wire.rank())).collect::<Result<Vec<_>, _>>()?;
            axes.iter().position(|axis| *axis == batch.axis)
        }
        None => Some(batch.axis),
    };
    let Some(place) = place else { return Ok(batch) };
    let borders = [pads.get(place), pads.get(place + pads.len() / 2)];
    if borders.iter().flatten().all(|border| **border == 0) { Ok(batch) } else { Err(mixed()) }
}

fn expanded(call: &Call<'_>, wire: &Wire, batch: Batch) -> Result<Batch, String> {
    let sizes = call.sizes(1, "shape")?.unwrap_or_default();
    let rank = sizes.len().max(wire.rank());
    let batch = batch.at(batch.axis + rank - wire.rank());
    let own = wire.size(batch.axis + wire.rank() - rank)?;
    let place = (batch.axis + sizes.len()).checked_sub(rank);
    let fits = |(axis, size): (usize, &Whole)| {
        if Some(axis) == place { batch.fits(*size, own) } else { size.known().is_some() }
    };
    if sizes.iter().enumerate().all(fits) { Ok(batch) } else { Err(mixed()) }
}

/// The sizes of an `Expand` for one example.
pub(super) fn sizes_of_one(call: &Call<'_>, wire: &Wire) -> Result<Vec<usize>, String> {
    let mut sizes = call.sizes(1, "shape")?.ok_or("its shape is missing")?;
    if let Some(batch) = wire.kind.batch
        && let Some(place) = (batch.axis + sizes.len()).checked_sub(wire.rank())
    {
        sizes.iter_mut().skip(place).take(1).for_each(|size| *size = Whole::Known(1));
    }
    let sizes = sizes.into_iter().map(|size| usize::try_from(size.known()?).ok()).collect::<Option<Vec<_>>>();
    sizes.ok_or_else(|| "a size is negative or not fixed".to_owned())
}
