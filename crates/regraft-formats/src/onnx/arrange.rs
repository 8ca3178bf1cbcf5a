//! Operators that put values elsewhere.

use regraft_graph::{ClassToken, Concat, Dim, Op, Pad, PadMode, ParameterKind, Slice};

use super::call::{Call, axis};
use super::constant::Constant;
use super::fold::{slices, split_sizes};
use super::parameters::Parameter;
use super::reader::{Reader, label};
use super::value::{Value, Wire, natural_drop};

/// Parts that one node may be taken apart into.
const MOST_PARTS: usize = 256;

impl Reader<'_> {
    pub(super) fn reshape(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        let (shape, _) = super::shape::target(call, &wire.shape, wire.kind.batch)?;
        let dropped = natural_drop(&shape);
        let name = self.net.reshape(&label(call.node), &wire.name, &Wire::without(&shape, dropped))?;
        Ok(Value::Wire(Wire::new(name, shape, dropped)))
    }

    pub(super) fn transpose(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        let order = super::shape::permutation(call, wire.rank())?;
        self.reordered(&label(call.node), &wire, &order).map(Value::Wire)
    }

    /// The file's axes in another order. The axis that the graph's wire lacks goes along.
    pub(super) fn reordered(&mut self, label: &str, wire: &Wire, order: &[usize]) -> Result<Wire, String> {
        let own = order.iter().filter_map(|axis| wire.graph_axis(*axis));
        let axes: Vec<usize> = std::iter::once(0).chain(own).collect();
        let name = self.net.transpose(label, &wire.name, &axes)?;
        let shape = order.iter().filter_map(|axis| wire.shape.get(*axis).copied()).collect();
        let dropped = wire.dropped.and_then(|dropped| order.iter().position(|axis| *axis == dropped));
        Ok(Wire::new(name, shape, dropped))
    }

    /// Some places of one of the file's axes.
    fn places(
        &mut self,
        label: &str,
        wire: &Wire,
        axis: usize,
        [start, end, step]: [usize; 3],
    ) -> Result<Wire, String> {
        let size = wire.size(axis)?;
        if [start, end, step] == [0, size, 1] {
            return Ok(wire.clone());
        }
        let Some(own) = wire.graph_axis(axis) else {
            return Err("it takes nothing of an axis of size 1".to_owned());
        };
        let op = Op::Slice(Slice { axis: own, start, end, step });
        let name = self.net.add(label, op, &[&wire.name], Vec::new())?;
        Ok(match self.value_of(name, wire.dropped) {
            Value::Wire(wire) => wire,
            Value::Constant(_) => wire.clone(),
        })
    }

    pub(super) fn slice(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let mut wire = call.wire(0)?;
        for (axis, range) in slices(call, &wire.shape)? {
            let (start, step) = (usize::try_from(range.start), usize::try_from(range.step));
            let (Ok(start), Ok(step), 1..) = (start, step, range.count) else {
                return Err("it takes the places backwards, or none".to_owned());
            };
            let end = (range.count - 1).checked_mul(step).and_then(|length| length.checked_add(start + 1));
            let end = end.ok_or("its bounds are absurd")?;
            let whole = step == 1 && start == 0 && wire.size(axis)? == end;
            let places = if whole { [0, end, 1] } else { [start, end, step] };
            wire = self.places(&label(call.node), &wire, axis, places)?;
        }
        Ok(Value::Wire(wire))
    }

    pub(super) fn split(&mut self, call: &Call<'_>) -> Result<Vec<Value>, String> {
        let wire = call.wire(0)?;
        let axis = axis(call.int("axis", 0), wire.rank())?;
        let mut start = 0;
        let mut parts = Vec::new();
        for size in split_sizes(call, wire.size(axis)?)? {
            let name = format!("{}.{}", label(call.node), parts.len());
            parts.push(Value::Wire(self.places(&name, &wire, axis, [start, start + size, 1])?));
            start += size;
        }
        Ok(parts)
    }

    pub(super) fn concat(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let first = call.inputs.iter().flatten().find_map(|value| match value {
            Value::Wire(wire) => Some(wire.clone()),
            Value::Constant(_) => None,
        });
        let first = first.ok_or("it joins constants of different kinds")?;
        let axis = axis(call.int("axis", 1), first.rank())?;
        // An axis other than the joined one is missing from all.
        let ones = |value: &Value, place: usize| match value {
            Value::Wire(wire) => wire.shape.get(place) == Some(&Dim::Fixed(1)),
            Value::Constant(constant) => constant.shape.get(place) == Some(&1),
        };
        let all =
            |place: &usize| *place != axis && call.inputs.iter().flatten().all(|value| ones(value, *place));
        let dropped = first.dropped.filter(all).or_else(|| (0..first.rank()).find(all));
        let own = Wire { dropped, ..first.clone() }.graph_axis(axis).ok_or("its axis is none")?;
        let sequence = Wire::without(&first.shape, dropped).len() == 2 && own == 1;
        let (mut tokens, mut wires) = (Vec::new(), Vec::new());
        for value in call.inputs.iter().flatten() {
            match value {
                Value::Wire(wire) => {
                    wires.push(self.as_dropped(&label(call.node), wire, &wire.shape, dropped)?);
                }
                Value::Constant(constant) if wires.is_empty() && sequence => tokens.push(constant),
                Value::Constant(constant) => {
                    let dims: Vec<Dim> = constant.shape.iter().copied().map(Dim::Fixed).collect();
                    let shape = super::fold::fixed(&Wire::without(&dims, dropped))?;
                    wires.push(self.constant_wire(&label(call.node), constant, shape)?);
                }
            }
        }
        let mut name = match wires.as_slice() {
            [wire] => wire.clone(),
            _ => {
                let names: Vec<&str> = wires.iter().map(String::as_str).collect();
                self.net.add(&label(call.node), Op::Concat(Concat { axis: own }), &names, Vec::new())?
            }
        };
        for constant in tokens.into_iter().rev() {
            name = self.class_tokens(call, &name, constant)?;
        }
        Ok(self.value_of(name, dropped))
    }

    /// Learned tokens before the others, the last one first.
    fn class_tokens(&mut self, call: &Call<'_>, wire: &str, constant: &Constant) -> Result<String, String> {
        let dims = self.net.dims(wire);
        let [_, Dim::Fixed(features)] = dims.as_slice() else {
            return Err("a constant is joined to what is no sequence of tokens".to_owned());
        };
        let tokens = constant.len() / (*features).max(1);
        if tokens > MOST_PARTS || tokens * features != constant.len() {
            return Err("a constant is joined whose features are not those of the tokens".to_owned());
        }
        self.net.budget.spend(&constant.shape)?;
        let values = constant.float_array()?.values;
        let mut name = wire.to_owned();
        for token in (0..tokens).rev() {
            let parameter = if tokens == 1 {
                self.net.parameter(constant, vec![1, 1, *features])?
            } else {
                let row = values.get(token * features..(token + 1) * features).unwrap_or_default();
                Parameter::new(vec![1, 1, *features], row)?
            };
            let op = Op::ClassToken(ClassToken { features: *features });
            name = self.net.add(&label(call.node), op, &[&name], vec![(ParameterKind::Token, parameter)])?;
        }
        Ok(name)
    }

    pub(super) fn gather(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = match (call.input(0), call.input(1)) {
            (Some(Value::Constant(table)), Some(Value::Wire(wire))) if call.int("axis", 0) == 0 => {
                return self.embedding(call, table, wire);
            }
            _ => call.wire(0)?,
        };
        let axis = axis(call.int("axis", 0), wire.rank())?;
        let size = wire.size(axis)?;
        let indices = call.weights(1)?;
        let signed = i64::try_from(size).unwrap_or(i64::MAX);
        let index = |index: &i64| {
            let index = if *index < 0 { index + signed } else { *index };
            usize::try_from(index).ok().filter(|index| *index < size)
        };
        let places = match indices.places_of_examples(signed).filter(|_| indices.len() > 0) {
            Some(places) => places,
            None => {
                let places = indices.known_integers()?.iter().map(index).collect::<Option<Vec<usize>>>();
                places.ok_or("an index lies outside")?
            }
        };
        let start = places.first().copied().ok_or("it takes no places")?;
        let label = label(call.node);
        let taken = if places.iter().copied().eq(start..start + places.len()) {
            self.places(&format!("{label}.slice"), &wire, axis, [start, start + places.len(), 1])?
        } else {
            self.one_by_one(&label, &wire, axis, &places)?
        };
        let mut shape = taken.shape.clone();
        shape.splice(axis..=axis, indices.shape.iter().copied().map(Dim::Fixed));
        let dropped = natural_drop(&shape);
        let name = self.net.reshape(&label, &taken.name, &Wire::without(&shape, dropped))?;
        Ok(Value::Wire(Wire::new(name, shape, dropped)))
    }

    fn one_by_one(
        &mut self,
        label: &str,
        wire: &Wire,
        axis: usize,
        places: &[usize],
    ) -> Result<Wire, String> {
        let own = wire.graph_axis(axis).ok_or("it takes an axis of size 1 several times")?;
        if places.len() > MOST_PARTS {
            return Err(format!("it takes {} places out of order", places.len()));
        }
        let mut parts = Vec::new();
        for place in places {
            let name = format!("{label}.place_{place}");
            parts.push(self.places(&name, wire, axis, [*place, place + 1, 1])?.name);
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let name = self.net.add(label, Op::Concat(Concat { axis: own }), &parts, Vec::new())?;
        let mut shape = wire.shape.clone();
        shape.iter_mut().skip(axis).take(1).for_each(|dim| *dim = Dim::Fixed(places.len()));
        Ok(Wire::new(name, shape, wire.dropped))
    }

    pub(super) fn pad(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        let pads = call.setting(1, "pads")?.ok_or("its borders are missing")?;
        let axes: Vec<usize> = match call.input(3) {
            Some(_) => {
                let axes = call.weights(3)?.known_integers()?;
                axes.iter().map(|number| axis(*number, wire.rank())).collect::<Result<_, _>>()?
            }
            None => (0..wire.rank()).collect(),
        };
        let (before, after) = pads.split_at_checked(axes.len()).ok_or("its borders are too few")?;
        let mut borders = vec![[0usize; 2]; self.net.dims(&wire.name).len() + 1];
        let mut cut = wire.clone();
        if pads.iter().any(|border| border.unsigned_abs() > 1 << 16) {
            return Err("its borders are absurdly wide".to_owned());
        }
        for ((axis, before), after) in axes.iter().zip(before).zip(after) {
            if (*before, *after) == (0, 0) {
                continue;
            }
            let own = wire.graph_axis(*axis).ok_or("it widens an axis of size 1")?;
            if *before < 0 || *after < 0 {
                let size = wire.size(*axis)?;
                let ends = [before, after]
                    .map(|border| usize::try_from(border.min(&0).unsigned_abs()).unwrap_or(size));
                let end =
                    size.checked_sub(ends[1]).filter(|end| *end > ends[0]).ok_or("it leaves nothing")?;
                cut = self.places(&format!("{}.cut", label(call.node)), &cut, *axis, [ends[0], end, 1])?;
            }
            let border = [before, after].map(|border| usize::try_from(*border).unwrap_or(0));
            borders.iter_mut().skip(own).take(1).for_each(|place| *place = border);
        }
        let mode = match call.text("mode", "constant").as_str() {
            "constant" => PadMode::Constant(padding_value(call)?),
            "reflect" => PadMode::Reflect,
            "edge" => PadMode::Edge,
            other => return Err(format!("a border of kind '{other}'")),
        };
        if borders.iter().all(|border| *border == [0, 0]) {
            return Ok(Value::Wire(cut));
        }
        let name =
            self.net.add(&label(call.node), Op::Pad(Pad { borders, mode }), &[&cut.name], Vec::new())?;
        Ok(self.value_of(name, wire.dropped))
    }

    /// Repeats axes of size 1, by adding zeros of the whole shape.
    pub(super) fn expand(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        let sizes = super::batch::sizes_of_one(call, &wire)?;
        let rank = sizes.len().max(wire.rank());
        let mut shape = vec![Dim::Fixed(1); rank - wire.rank()];
        shape.extend(&wire.shape);
        let wanted = std::iter::repeat_n(1, rank - sizes.len()).chain(sizes.iter().copied());
        let fits = |(dim, size): (&Dim, usize)| size == 1 || [1, size].contains(&fixed_size(*dim));
        if !shape.iter().zip(wanted.clone()).all(fits) {
            return Err(format!("{} does not repeat to {sizes:?}", super::shape::product(&shape)));
        }
        let repeats = shape.iter().zip(wanted.clone()).any(|(dim, size)| *dim == Dim::Fixed(1) && size != 1);
        if !repeats {
            let dropped = natural_drop(&shape);
            let name = self.as_dropped(&label(call.node), &wire, &shape, dropped)?;
            return Ok(Value::Wire(Wire::new(name, shape, dropped)));
        }
        let whole: Vec<usize> = shape
            .iter()
            .zip(wanted)
            .map(|(dim, size)| if let Dim::Fixed(own) = dim { (*own).max(size) } else { 1 })
            .collect();
        self.net.budget.spend(&whole)?;
        let zeros = Constant::floats(whole.clone(), &vec![0.0; super::array::count(&whole).unwrap_or(0)])?;
        let inputs = vec![Some(Value::Wire(wire)), Some(Value::Constant(zeros))];
        let node = super::schema::Node { op_type: "Add".to_owned(), ..call.node.clone() };
        self.arithmetic(&Call { node: &node, opset: call.opset, inputs, external: call.external })
    }

    pub(super) fn tile(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let mut wire = call.wire(0)?;
        let times = call.weights(1)?.known_integers()?;
        for (axis, times) in times.iter().enumerate().filter(|(_, times)| **times != 1) {
            let times = usize::try_from(*times).ok().filter(|times| (1..=MOST_PARTS).contains(times));
            let times = times.ok_or("it repeats too often")?;
            let own = wire.graph_axis(axis).ok_or("it repeats the examples")?;
            let parts = vec![wire.name.as_str(); times];
            let name =
                self.net.add(&label(call.node), Op::Concat(Concat { axis: own }), &parts, Vec::new())?;
            if let Value::Wire(tiled) = self.value_of(name, wire.dropped) {
                wire = tiled;
            }
        }
        Ok(Value::Wire(wire))
    }
}

/// A size, or 0 where it is the image's.
fn fixed_size(dim: Dim) -> usize {
    if let Dim::Fixed(size) = dim { size } else { 0 }
}

fn padding_value(call: &Call<'_>) -> Result<f32, String> {
    let value = match call.input(2) {
        Some(_) => call.weights(2)?.number().unwrap_or(0.0),
        None => call.float("value", 0.0),
    };
    // What a border of a maximum is filled with.
    if value.is_nan() {
        Err("its value is not a number".to_owned())
    } else {
        Ok(value.clamp(f32::MIN, f32::MAX))
    }
}
