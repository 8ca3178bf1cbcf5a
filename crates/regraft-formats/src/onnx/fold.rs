//! Operators on known values, computed while the file is read.
//!
//! Exporters write shape arithmetic as nodes (`Shape`, `Gather`, `Concat`, `Reshape` …). Everything of it is known once
//! the shapes are, and so is what exporters compute from initialisers. A budget bounds what a file can make of itself.

use regraft_graph::{Dim, Tensor};

use super::array::{Array, Places, common_shape, count, parts};
use super::call::{Call, axis};
use super::constant::{Constant, Data, is_possible, unknown_size};
use super::elementwise::repeated_to;
use super::schema::element;
use super::value::Value;
use super::whole::Whole;

/// Numbers that folding may still make.
pub(super) struct Budget(usize);

impl Budget {
    /// For a file of so many bytes: a multiple of what it holds, and enough for any shape computation.
    pub(super) fn for_file(bytes: usize) -> Self {
        Self((1usize << 22).saturating_add(bytes.saturating_mul(3)))
    }

    /// What files beside it hold counts, too.
    pub(super) fn grow(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes.saturating_mul(3));
    }

    /// Takes that many numbers off it.
    pub(super) fn spend(&mut self, shape: &[usize]) -> Result<(), String> {
        let numbers = count(shape).filter(|_| is_possible(shape));
        let left = numbers.and_then(|numbers| self.0.checked_sub(numbers));
        self.0 = left.ok_or_else(|| {
            format!("a constant of shape {shape:?} makes more numbers out of the file than it can hold")
        })?;
        Ok(())
    }
}

/// What a node computes, if its operator can be computed here and its inputs are known.
pub(super) fn fold(call: &Call<'_>, budget: &mut Budget) -> Result<Option<Vec<Constant>>, String> {
    if !call.is_standard() {
        return Ok(None);
    }
    let mut folded = known(call, budget)?;
    let repeated = |value: &Value| matches!(value, Value::Constant(Constant { repeated: true, .. }));
    if call.inputs.iter().flatten().any(repeated) {
        let behind = behind(call);
        folded
            .iter_mut()
            .flatten()
            .for_each(|constant| (constant.repeated, constant.behind) = (true, behind));
    }
    Ok(folded)
}

/// How many axes are behind that of the examples, in what a node makes of repeated constants.
fn behind(call: &Call<'_>) -> Option<usize> {
    let mut repeated = call.inputs.iter().flatten().filter_map(|value| match value {
        Value::Constant(constant) if constant.repeated => Some(constant),
        _ => None,
    });
    let first = repeated.next()?;
    let behind = first.behind.filter(|_| repeated.all(|other| other.behind == first.behind))?;
    match call.node.op_type.as_str() {
        "Add" | "Sub" | "Mul" | "Cast" | "Identity" => Some(behind),
        "Unsqueeze" => {
            let numbers = call.setting(1, "axes").ok()??;
            let rank = first.shape.len() + numbers.len();
            let mut axes =
                numbers.iter().map(|number| axis(*number, rank)).collect::<Result<Vec<_>, _>>().ok()?;
            axes.sort_unstable();
            let place = first.shape.len().checked_sub(1 + behind)?;
            let place = axes.into_iter().fold(place, |place, axis| place + usize::from(axis <= place));
            rank.checked_sub(1 + place)
        }
        _ => None,
    }
}

fn known(call: &Call<'_>, budget: &mut Budget) -> Result<Option<Vec<Constant>>, String> {
    let operator = call.node.op_type.as_str();
    if let "Shape" | "Size" = operator {
        return shape_of(call).map(|constant| Some(vec![constant]));
    }
    if call.inputs.iter().flatten().any(|value| matches!(value, Value::Wire(_))) {
        return Ok(None);
    }
    let one = match operator {
        "Constant" => constant(call)?,
        "Identity" | "Dropout" => call.weights(0)?.clone(),
        "Cast" => cast(call, budget)?,
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
            let input = call.weights(0)?;
            let dims: Vec<Dim> = input.shape.iter().copied().map(Dim::Fixed).collect();
            let (shape, _) = super::shape::target(call, &dims, None)?;
            input.reshaped(fixed(&shape)?)?
        }
        "Transpose" => transpose(call, budget)?,
        "Slice" => slice(call, budget)?,
        "Split" => return split(call, budget).map(Some),
        "Concat" => concat(call, budget)?,
        "Gather" => gather(call, budget)?,
        "Expand" | "Tile" => repeat(call, budget)?,
        "ConstantOfShape" => filled(call, budget)?,
        "Range" => range(call, budget)?,
        "Where" => choose(call, budget)?,
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceMean" => reduce(call, budget)?,
        "QuantizeLinear" => super::quantized::quantize(call, budget)?,
        "DequantizeLinear" => super::quantized::dequantize(call, budget)?,
        "Clip" => clip(call, budget)?,
        _ => return Ok(super::elementwise::computed(call, budget)?.map(|one| vec![one])),
    };
    Ok(Some(vec![one]))
}

pub(super) fn fixed(shape: &[Dim]) -> Result<Vec<usize>, String> {
    let size = |dim: &Dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None };
    let sizes = shape.iter().map(size).collect::<Option<Vec<usize>>>();
    sizes.ok_or_else(unknown_size)
}

fn shape_of(call: &Call<'_>) -> Result<Constant, String> {
    let sizes: Vec<Whole> = match call.input(0) {
        Some(Value::Constant(Constant { repeated: true, .. })) => return Err(unknown_size()),
        Some(Value::Constant(constant)) => {
            constant.shape.iter().map(|size| i64::try_from(*size).ok().into()).collect()
        }
        Some(Value::Wire(wire)) => wire.file_sizes(),
        None => return Err("its input is missing".to_owned()),
    };
    if call.node.op_type == "Size" {
        let size = sizes.into_iter().fold(Whole::Known(1), Whole::times);
        return Ok(Constant::integers(vec![], vec![size]));
    }
    let rank = i64::try_from(sizes.len()).unwrap_or(i64::MAX);
    let bound = |name, default| {
        let number = call.int(name, default);
        let number = if number < 0 { number.saturating_add(rank) } else { number };
        usize::try_from(number.clamp(0, rank)).unwrap_or(0)
    };
    let taken = sizes.get(bound("start", 0)..bound("end", rank)).unwrap_or_default();
    Ok(Constant::integers(vec![taken.len()], taken.to_vec()))
}

fn constant(call: &Call<'_>) -> Result<Constant, String> {
    if let Some(tensor) = call.tensor("value") {
        return Ok(Constant { name: None, ..tensor });
    }
    if call.has("value_int") {
        return Ok(Constant::integers(vec![], vec![Whole::Known(call.int("value_int", 0))]));
    }
    if let Some(ints) = call.ints("value_ints") {
        return Ok(Constant::integers(vec![ints.len()], ints.into_iter().map(Whole::Known).collect()));
    }
    if let Some(floats) = call.floats("value_floats") {
        return Constant::floats(vec![floats.len()], &floats);
    }
    if call.has("value_float") {
        return Constant::floats(vec![], &[call.float("value_float", 0.0)]);
    }
    Err("it has no numbers".to_owned())
}

fn cast(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let input = call.weights(0)?;
    let to = i32::try_from(call.int("to", 0)).unwrap_or(0);
    budget.spend(&input.shape)?;
    match to {
        // A wider type holds the same numbers, and whoever computes with them takes any of these types.
        element::FLOAT | element::DOUBLE | element::FLOAT16 | element::BFLOAT16 if !input.is_integer() => {
            Ok(input.clone())
        }
        element::FLOAT | element::DOUBLE | element::FLOAT16 | element::BFLOAT16 => {
            Constant::floats(input.shape.clone(), &input.float_array()?.values)
        }
        element::BOOL => {
            let numbers = input.float_array()?;
            let truths = numbers.values.iter().map(|value| Whole::Known(i64::from(*value != 0.0)));
            Ok(Constant::integers(numbers.shape, truths.collect()))
        }
        element::INT8 | element::UINT8 => match input.data {
            Data::Bytes { signed, .. } if signed == (to == element::INT8) => Ok(input.clone()),
            _ => Err("numbers are cut to eight bits".to_owned()),
        },
        _ => {
            let numbers = input.integer_array()?;
            let fits = |value: &Whole| value.known().is_none_or(|value| has(to, value));
            if !numbers.values.iter().all(fits) {
                return Err("its numbers are cut to fewer bits".to_owned());
            }
            Ok(Constant::integers(numbers.shape, numbers.values))
        }
    }
}

/// Whether a type of whole numbers has that number.
fn has(code: i32, number: i64) -> bool {
    match code {
        element::INT16 => i16::try_from(number).is_ok(),
        element::UINT16 => u16::try_from(number).is_ok(),
        element::INT32 => i32::try_from(number).is_ok(),
        element::UINT32 => u32::try_from(number).is_ok(),
        _ => true,
    }
}

/// The values at these places.
fn placed(input: &Constant, places: &Places, budget: &mut Budget) -> Result<Constant, String> {
    let shape = places.shape();
    budget.spend(&shape)?;
    let indices = places.indices(input.len()).ok_or("it reads outside its input")?;
    picked(input, shape, &indices, budget)
}

/// The values at these places of all, in that shape and in the type that they have.
fn picked(
    input: &Constant,
    shape: Vec<usize>,
    indices: &[usize],
    budget: &mut Budget,
) -> Result<Constant, String> {
    let data = match &input.data {
        Data::Bytes { bytes, signed } => Data::Bytes { bytes: taken(bytes, 1, indices), signed: *signed },
        Data::Integers(values) => {
            let picked = indices.iter().filter_map(|index| values.get(*index).copied());
            Data::Integers(std::rc::Rc::new(picked.collect()))
        }
        Data::Floats(tensor) => {
            let (dtype, bytes) = (tensor.dtype(), taken(tensor.data(), tensor.dtype().size(), indices));
            Data::Floats(Tensor::new(dtype, shape.clone(), bytes).map_err(|error| error.to_string())?)
        }
        Data::Transposed(tensor) => {
            budget.spend(&input.shape)?;
            let numbers = super::constant::transposed(tensor);
            let picked: Vec<f32> = indices.iter().filter_map(|index| numbers.get(*index).copied()).collect();
            return Constant::floats(shape, &picked);
        }
        Data::Unreadable(reason) => return Err(reason.clone()),
    };
    Ok(Constant::new(shape, data, None))
}

/// Elements of that size at these places.
fn taken(bytes: &[u8], size: usize, indices: &[usize]) -> bytes::Bytes {
    let elements = indices.iter().filter_map(|index| bytes.get(index * size..(index + 1) * size));
    elements.flatten().copied().collect::<Vec<u8>>().into()
}

fn transpose(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let input = call.weights(0)?;
    let order = super::shape::permutation(call, input.shape.len())?;
    let all = Places::all(&input.shape);
    let axes = order.iter().map(|axis| all.axes.get(*axis).copied());
    let axes = axes.collect::<Option<Vec<_>>>().ok_or("its order of axes is none")?;
    // A matrix is turned only when somebody needs its numbers: a dense layer wants it as the file has it.
    if let ([1, 0], Data::Floats(tensor)) = (order.as_slice(), &input.data) {
        let stored = Tensor::new(tensor.dtype(), input.shape.clone(), tensor.data().clone());
        let stored = stored.map_err(|error| error.to_string())?;
        let shape = axes.iter().map(|(size, _)| *size).collect();
        return Ok(Constant::new(shape, Data::Transposed(stored), input.name.clone()));
    }
    placed(input, &Places { offset: 0, axes }, budget)
}

/// The places of one axis.
pub(super) struct SliceRange {
    pub(super) start: i64,
    pub(super) count: usize,
    pub(super) step: i64,
}

/// The axes of a `Slice` and their ranges within the sizes that it meets; an axis of unknown size may only be kept whole.
pub(super) fn slices(call: &Call<'_>, shape: &[Dim]) -> Result<Vec<(usize, SliceRange)>, String> {
    let missing = || "its bounds are missing".to_owned();
    let starts = call.setting(1, "starts")?.ok_or_else(missing)?;
    let ends = call.setting(2, "ends")?.ok_or_else(missing)?;
    let axes = call.setting(3, "axes")?;
    let steps = call.setting(4, "steps")?;
    let mut slices = Vec::new();
    for (place, (start, end)) in starts.iter().zip(&ends).enumerate() {
        let number = axes.as_ref().map_or(i64::try_from(place).ok(), |axes| axes.get(place).copied());
        let axis = axis(number.ok_or_else(missing)?, shape.len())?;
        let step = steps.as_ref().map_or(Some(1), |steps| steps.get(place).copied()).ok_or_else(missing)?;
        match shape.get(axis) {
            Some(Dim::Fixed(size)) => slices.push((axis, slice_range(*start, *end, step, *size)?)),
            _ if (*start, step) == (0, 1) && *end >= i64::from(i32::MAX) => {}
            _ => return Err(unknown_size()),
        }
    }
    Ok(slices)
}

fn slice_range(start: i64, end: i64, step: i64, size: usize) -> Result<SliceRange, String> {
    let size = i64::try_from(size).map_err(|_| "its input is absurdly long")?;
    let from_end = |index: i64| if index < 0 { index.saturating_add(size) } else { index };
    let (start, end) = (from_end(start), from_end(end));
    let (start, length) = match step {
        0 => return Err("its step is zero".to_owned()),
        1.. => {
            let start = start.clamp(0, size);
            (start, end.clamp(0, size) - start)
        }
        _ => {
            let start = start.clamp(-1, size - 1);
            (start, start - end.clamp(-1, size - 1))
        }
    };
    let count = length.max(0).unsigned_abs().div_ceil(step.unsigned_abs());
    Ok(SliceRange { start, count: usize::try_from(count).unwrap_or(0), step })
}

fn slice(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let input = call.weights(0)?;
    let dims: Vec<Dim> = input.shape.iter().copied().map(Dim::Fixed).collect();
    let mut places = Places::all(&input.shape);
    for (axis, range) in slices(call, &dims)? {
        let Some((size, stride)) = places.axes.get_mut(axis) else { continue };
        let (start, step) = (isize::try_from(range.start), isize::try_from(range.step));
        let (Ok(start), Ok(step)) = (start, step) else { return Err("its bounds are absurd".to_owned()) };
        let moved = start.checked_mul(*stride).and_then(|moved| moved.checked_add(places.offset));
        let next = stride.checked_mul(step);
        let (Some(moved), Some(next)) = (moved, next) else { return Err("its bounds are absurd".to_owned()) };
        (places.offset, *size, *stride) = (moved, range.count, next);
    }
    placed(input, &places, budget)
}

/// The sizes of the parts of an axis of that size.
pub(super) fn split_sizes(call: &Call<'_>, size: usize) -> Result<Vec<usize>, String> {
    if let Some(sizes) = call.setting(1, "split")? {
        let sizes = sizes.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<Vec<_>>>();
        let total = sizes
            .as_ref()
            .and_then(|sizes| sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size)));
        return sizes.filter(|_| total == Some(size)).ok_or_else(|| "its parts do not add up".to_owned());
    }
    let parts = call.node.output.len().max(1);
    let part = size.div_ceil(parts);
    let last = size.checked_sub(part.saturating_mul(parts - 1)).filter(|last| *last > 0);
    let last = last.ok_or_else(|| format!("an axis of {size} in {parts} parts"))?;
    Ok(std::iter::repeat_n(part, parts - 1).chain([last]).collect())
}

fn split(call: &Call<'_>, budget: &mut Budget) -> Result<Vec<Constant>, String> {
    let input = call.weights(0)?;
    let axis = axis(call.int("axis", 0), input.shape.len())?;
    let all = Places::all(&input.shape);
    let (size, stride) = all.axes.get(axis).copied().ok_or("it has no axes")?;
    let mut start = 0usize;
    let parts = split_sizes(call, size)?.into_iter().map(|part| {
        let mut places = all.clone();
        places.offset = isize::try_from(start).unwrap_or(isize::MAX).saturating_mul(stride);
        places.axes.iter_mut().skip(axis).take(1).for_each(|axis| axis.0 = part);
        start += part;
        placed(input, &places, budget)
    });
    parts.collect()
}

fn concat(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let inputs = (0..call.inputs.len()).map(|place| call.weights(place)).collect::<Result<Vec<_>, _>>()?;
    let rank = inputs.first().map_or(0, |input| input.shape.len());
    let axis = axis(call.int("axis", 1), rank)?;
    let total = inputs.iter().try_fold(0usize, |sum, input| sum.checked_add(input.len()));
    budget.spend(&[total.ok_or("it is absurdly long")?])?;
    let unlike = || "its parts do not fit each other".to_owned();
    if inputs.iter().all(|input| input.is_integer()) {
        let arrays = inputs.iter().map(|input| input.integer_array()).collect::<Result<Vec<_>, _>>()?;
        let array = Array::concat(&arrays, axis).ok_or_else(unlike)?;
        return Ok(Constant::integers(array.shape, array.values));
    }
    let arrays = inputs.iter().map(|input| input.float_array()).collect::<Result<Vec<_>, _>>()?;
    let array = Array::concat(&arrays, axis).ok_or_else(unlike)?;
    Constant::floats(array.shape, &array.values)
}

fn gather(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let (input, indices) = (call.weights(0)?, call.weights(1)?);
    budget.spend(&indices.shape)?;
    let numbers = indices.known_integers()?;
    let axis = axis(call.int("axis", 0), input.shape.len())?;
    let size = i64::try_from(input.shape.get(axis).copied().unwrap_or(0)).unwrap_or(0);
    let index =
        |index: &i64| usize::try_from(if *index < 0 { index.saturating_add(size) } else { *index }).ok();
    let outside = "an index lies outside";
    let places = numbers.iter().map(index).collect::<Option<Vec<usize>>>().ok_or(outside)?;
    let (outer, inner) = input.shape.split_at_checked(axis).unwrap_or_default();
    let shape = [outer, &indices.shape, inner.get(1..).unwrap_or_default()].concat();
    budget.spend(&shape)?;
    let places = parts(&input.shape, axis, &places).ok_or(outside)?;
    picked(input, shape, &places, budget)
}

/// Sizes of which one may be the number of examples: 1 where a constant is to be repeated for each.
fn repeated_sizes(constant: &Constant) -> Result<(Vec<usize>, bool), String> {
    let sizes = constant.integer_array()?.values;
    let repeated = sizes.contains(&Whole::Batch(1));
    let size =
        |size: Whole| if size == Whole::Batch(1) { Some(1) } else { usize::try_from(size.known()?).ok() };
    let sizes = sizes.into_iter().map(size).collect::<Option<Vec<_>>>();
    Ok((sizes.ok_or("a size is negative or not fixed")?, repeated))
}

fn repeat(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let input = call.weights(0)?;
    let (sizes, repeated) = repeated_sizes(call.weights(1)?)?;
    if call.node.op_type == "Expand" {
        let unlike = || format!("{:?} does not repeat to {sizes:?}", input.shape);
        let shape = common_shape(&input.shape, &sizes).ok_or_else(unlike)?;
        let result = if shape == input.shape {
            input.clone()
        } else {
            placed(input, &Places::all(&input.shape).broadcast(&shape).ok_or_else(unlike)?, budget)?
        };
        return Ok(Constant { repeated, ..result });
    }
    // Each axis becomes two: how often, and the axis itself.
    let all = Places::all(&input.shape);
    let axes =
        all.axes.iter().zip(&sizes).flat_map(|((size, stride), times)| [(*times, 0), (*size, *stride)]);
    let tiled = placed(input, &Places { offset: 0, axes: axes.collect() }, budget)?;
    let shape = input.shape.iter().zip(&sizes).map(|(size, times)| size.checked_mul(*times));
    let tiled = tiled.reshaped(shape.collect::<Option<_>>().ok_or("its shape is absurd")?)?;
    Ok(Constant { repeated, ..tiled })
}

fn filled(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let (shape, repeated) = repeated_sizes(call.weights(0)?)?;
    budget.spend(&shape)?;
    let count = count(&shape).unwrap_or(0);
    let constant = match call.tensor("value") {
        Some(value) if value.is_integer() => {
            let value = value.integer_array()?.values.first().copied().unwrap_or(Whole::Unknown);
            Constant::integers(shape, vec![value; count])
        }
        value => {
            let value = value.and_then(|value| value.number()).unwrap_or(0.0);
            Constant::floats(shape, &vec![value; count])?
        }
    };
    Ok(Constant { repeated, ..constant })
}

fn range(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let bound = |place| {
        let constant =
            call.constant(place).filter(|constant| constant.is_integer() && constant.len() == 1)?;
        constant.integer_array().ok()?.values.first().copied()
    };
    let bounds = [0, 1, 2].map(bound);
    if bounds == [Whole::Known(0), Whole::Batch(1), Whole::Known(1)].map(Some) {
        let numbers = Constant::integers(vec![1], vec![Whole::Example { stride: 1, offset: 0 }]);
        return Ok(Constant { repeated: true, behind: Some(0), ..numbers });
    }
    let number = |place| -> Result<f64, String> {
        let constant = call.weights(place)?;
        let whole = constant.is_integer().then(|| constant.known_integers()).transpose()?;
        let whole = whole.and_then(|values| values.first().map(|value| *value as f64));
        whole.or_else(|| constant.number().map(f64::from)).ok_or_else(|| "a bound is no number".to_owned())
    };
    let (start, limit, step) = (number(0)?, number(1)?, number(2)?);
    let count = ((limit - start) / step).ceil().max(0.0);
    if !count.is_finite() || count > 1e9 {
        return Err("it has no end".to_owned());
    }
    let count = count as usize;
    budget.spend(&[count])?;
    let values = (0..count).map(|index| start + step * index as f64);
    if call.weights(0)?.is_integer() {
        return Ok(Constant::integers(vec![count], values.map(|value| Whole::Known(value as i64)).collect()));
    }
    Constant::floats(vec![count], &values.map(|value| value as f32).collect::<Vec<_>>())
}

fn choose(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let (condition, yes, no) = (call.weights(0)?, call.weights(1)?, call.weights(2)?);
    let shape = common_shape(&condition.shape, &yes.shape).and_then(|shape| common_shape(&shape, &no.shape));
    let shape = shape.ok_or("its inputs do not fit each other")?;
    for input in [condition, yes, no] {
        budget.spend(&shape)?;
        budget.spend(&input.shape)?;
    }
    let condition = repeated_to(condition.integer_array()?, &shape)?;
    if yes.is_integer() {
        let (yes, no) =
            (repeated_to(yes.integer_array()?, &shape)?, repeated_to(no.integer_array()?, &shape)?);
        let chosen = condition.into_iter().zip(yes.into_iter().zip(no));
        let chosen = chosen.map(|(condition, (yes, no))| match condition {
            Whole::Known(0) => no,
            Whole::Known(_) => yes,
            _ if yes == no => yes,
            _ => Whole::Unknown,
        });
        return Ok(Constant::integers(shape, chosen.collect()));
    }
    let (yes, no) = (repeated_to(yes.float_array()?, &shape)?, repeated_to(no.float_array()?, &shape)?);
    let chosen = condition.into_iter().zip(yes.into_iter().zip(no));
    let chosen = chosen.map(|(condition, (yes, no))| Some(if condition.known()? == 0 { no } else { yes }));
    let chosen = chosen.collect::<Option<Vec<f32>>>().ok_or_else(unknown_size)?;
    Constant::floats(shape, &chosen)
}

/// Over all elements only: what shape computations need.
fn reduce(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let input = call.weights(0)?;
    let axes = call.setting(1, "axes")?.unwrap_or_default();
    if axes.is_empty() && call.flag("noop_with_empty_axes") {
        return Ok(input.clone());
    }
    if !axes.is_empty() && axes.len() != input.shape.len() {
        return Err("constants are only reduced over all axes".to_owned());
    }
    budget.spend(&input.shape)?;
    let keep = call.int("keepdims", 1) != 0;
    let shape = if keep { vec![1; input.shape.len()] } else { vec![] };
    if input.is_integer() {
        let values = input.integer_array()?.values;
        let all = |function: fn(i64, i64) -> Option<i64>| {
            let step = |all: Whole, value: Whole| all.with(value, function);
            values.iter().copied().reduce(step).unwrap_or(Whole::Unknown)
        };
        let result = match call.node.op_type.as_str() {
            "ReduceProd" => values.iter().copied().fold(Whole::Known(1), Whole::times),
            "ReduceSum" => all(i64::checked_add),
            "ReduceMax" => all(|left, right| Some(left.max(right))),
            "ReduceMin" => all(|left, right| Some(left.min(right))),
            _ => Whole::Unknown,
        };
        return Ok(Constant::integers(shape, vec![result]));
    }
    let values = input.float_array()?.values;
    let result = match call.node.op_type.as_str() {
        "ReduceProd" => values.iter().product(),
        "ReduceSum" => values.iter().sum(),
        "ReduceMax" => values.iter().copied().fold(f32::MIN, f32::max),
        "ReduceMin" => values.iter().copied().fold(f32::MAX, f32::min),
        _ => values.iter().sum::<f32>() / values.len() as f32,
    };
    Constant::floats(shape, &[result])
}

fn clip(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let input = call.weights(0)?;
    budget.spend(&input.shape)?;
    let bound = |place, name, default| match call.constant(place).filter(|constant| constant.len() == 1) {
        Some(constant) => constant.number().unwrap_or(default),
        None => call.float(name, default),
    };
    let (low, high) = (bound(1, "min", f32::MIN), bound(2, "max", f32::MAX));
    if input.is_integer() {
        let array = input.integer_array()?;
        let inside = |value: i64| Some(value.max(low as i64).min(high as i64));
        return Ok(Constant::integers(
            array.shape,
            array.values.into_iter().map(|value| value.map(inside)).collect(),
        ));
    }
    let array = input.float_array()?;
    let clipped: Vec<f32> = array.values.iter().map(|value| value.max(low).min(high)).collect();
    Constant::floats(array.shape, &clipped)
}
