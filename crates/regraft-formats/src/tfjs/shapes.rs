//! Operators that move, cut, border, resample or reduce, and the sizes that a graph computes for them.

use regraft_graph::{
    Concat, Coordinates, Dim, Interpolation, InterpolationMode, InterpolationSize, Op, Pad, PadMode, Reduce,
    ReduceKind, Reshape, Slice, Tensor, Transpose,
};

use super::graph::{GraphNode, Translator, Wire};
use crate::FormatError;
use crate::channels_last::{Order, Value, reshaped};

impl<'a> Translator<'a> {
    pub(super) fn reduce(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let kind = match node.op {
            "Mean" => ReduceKind::Mean,
            "Max" => ReduceKind::Max,
            "Min" => ReduceKind::Min,
            _ => ReduceKind::Sum,
        };
        let keep = node.flag("keep_dims");
        let input = self.value(node, 0)?;
        let axes = self.axes(node, 1, &input)?;
        if input.order == Order::ChannelsFirst && axes == [1, 2] {
            let name = if keep { node.name.to_owned() } else { format!("{}/pool", node.name) };
            let op = match kind {
                ReduceKind::Mean => Op::GlobalAveragePool,
                kind => Op::Reduce(Reduce { kind, axes: vec![2, 3], keep_axes: true }),
            };
            let wire = self.canvas.add(&name, op, &[&input.wire], [])?;
            if keep {
                return Ok(Value::image(wire));
            }
            return Ok(Value::declared(self.canvas.add(node.name, Op::Flatten, &[&wire], [])?));
        }
        let wire = self.canvas.in_order(&input)?;
        let op = Op::Reduce(Reduce { kind, axes, keep_axes: keep });
        Ok(Value::declared(self.canvas.add(node.name, op, &[&wire], [])?))
    }

    /// Axes that a constant names, as the graph has them, ascending.
    fn axes(&self, node: &GraphNode<'a>, place: usize, value: &Value) -> Result<Vec<usize>, FormatError> {
        let rank = self.canvas.shape(value)?.len() as i64;
        let axis =
            |axis: &i64| usize::try_from(if *axis < 0 { axis.saturating_add(rank) } else { *axis }).ok();
        let axes: Option<Vec<usize>> = self.integers(node, place)?.iter().map(axis).collect();
        let mut axes = axes.ok_or_else(|| self.canvas.malformed("an axis is out of range"))?;
        axes.sort_unstable();
        Ok(axes)
    }

    pub(super) fn pad(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let input = self.value(node, 0)?;
        let sizes: Option<Vec<usize>> =
            self.integers(node, 1)?.into_iter().map(|size| usize::try_from(size).ok()).collect();
        let sizes = sizes.ok_or_else(|| self.canvas.malformed("a border is negative"))?;
        let mode = match node.op {
            "PadV2" => {
                let value = self.constant(node, 2)?.to_f32();
                PadMode::Constant(value.first().copied().unwrap_or(0.0))
            }
            "MirrorPad" if node.text("mode").as_deref() == Some("REFLECT") => PadMode::Reflect,
            "Pad" => PadMode::Constant(0.0),
            _ => return Err(self.canvas.unsupported("a border that repeats the edge is not read")),
        };
        let (pairs, _) = sizes.as_chunks::<2>();
        let mut borders = vec![[0; 2]; pairs.len()];
        for (axis, pair) in pairs.iter().enumerate() {
            let place = self.canvas.axis(&input, axis);
            borders.get_mut(place).into_iter().for_each(|border| *border = *pair);
        }
        let input = match input.order {
            Order::Flattened(_) => Value::declared(self.canvas.in_order(&input)?),
            _ => input,
        };
        self.canvas.pointwise(node.name, Op::Pad(Pad { borders, mode }), &input)
    }

    pub(super) fn concat(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let count = node.inputs.len().saturating_sub(1);
        let mut values = Vec::new();
        for place in 0..count {
            let value = self.value(node, place)?;
            values.push(match value.order {
                Order::Flattened(_) => Value::declared(self.canvas.in_order(&value)?),
                _ => value,
            });
        }
        let (wires, order) = self.canvas.alike(&values)?;
        let first = wires.first().ok_or_else(|| self.canvas.malformed("it has no inputs"))?;
        let value = Value { wire: first.clone(), order };
        let axes = self.axes(node, count, &value)?;
        let [axis] = *axes else { return Err(self.canvas.malformed("it has no axis")) };
        let inputs: Vec<&str> = wires.iter().map(String::as_str).collect();
        let op = Op::Concat(Concat { axis: self.canvas.axis(&value, axis) });
        Ok(value.with(self.canvas.add(node.name, op, &inputs, [])?))
    }

    pub(super) fn reshape(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let input = self.value(node, 0)?;
        let target = self.integers(node, 1)?;
        self.reshaped_to(node, &input, &target)
    }

    /// The first size is the batch, whether the graph says −1 or a number.
    fn reshaped_to(
        &mut self,
        node: &GraphNode<'a>,
        input: &Value,
        target: &[i64],
    ) -> Result<Value, FormatError> {
        let [_, sizes @ ..] = target else {
            return Err(self.canvas.unsupported("it mixes the examples of a batch"));
        };
        if let [_] = sizes {
            let value = self.canvas.flatten(node.name, input)?;
            let fits = match (sizes, self.canvas.shape(&value)?.as_slice()) {
                ([-1], _) => true,
                ([size], [_, Dim::Fixed(found)]) => usize::try_from(*size) == Ok(*found),
                _ => false,
            };
            let message = format!("the shape {target:?} mixes the examples of a batch");
            return if fits { Ok(value) } else { Err(self.canvas.unsupported(message)) };
        }
        let wire = self.canvas.in_order(input)?;
        let single = matches!(sizes, [1, 1, _]);
        let shape = if let (true, [_, _, channels]) = (single, sizes) {
            vec![*channels, 1, 1]
        } else {
            sizes.to_vec()
        };
        let wire = self.canvas.add(node.name, Op::Reshape(Reshape { shape }), &[&wire], [])?;
        Ok(if single { Value::image(wire) } else { Value::declared(wire) })
    }

    pub(super) fn squeeze(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let input = self.value(node, 0)?;
        let shape = self.canvas.shape(&input)?;
        let mut sizes = Vec::new();
        for dim in shape.iter().skip(1) {
            match dim {
                Dim::Fixed(size) => sizes.push(*size as i64),
                Dim::Symbolic { .. } => {
                    return Err(self.canvas.unsupported("it needs an input of a fixed size"));
                }
            }
        }
        let rank = shape.len() as i64;
        if node.op == "ExpandDims" {
            let [axis] = *self.integers(node, 1)? else {
                return Err(self.canvas.malformed("it has no axis"));
            };
            let axis = if axis < 0 { axis.saturating_add(rank + 1) } else { axis };
            let place = usize::try_from(axis.saturating_sub(1)).ok().filter(|place| *place <= sizes.len());
            sizes.insert(place.ok_or_else(|| self.canvas.unsupported("it moves the batch"))?, 1);
        } else {
            let dims: Vec<i64> =
                node.integers("squeeze_dims").into_iter().chain(node.integers("axis")).collect();
            let dims: Vec<i64> =
                dims.iter().map(|dim| if *dim < 0 { dim.saturating_add(rank) } else { *dim }).collect();
            let kept = sizes.iter().zip(1..).filter(|(size, axis)| match dims.as_slice() {
                [] => **size != 1,
                dims => !dims.contains(axis),
            });
            sizes = kept.map(|(size, _)| *size).collect();
        }
        let target: Vec<i64> = std::iter::once(-1).chain(sizes).collect();
        self.reshaped_to(node, &input, &target)
    }

    pub(super) fn transpose(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let input = self.value(node, 0)?;
        let input = match input.order {
            Order::Flattened(_) => Value::declared(self.canvas.in_order(&input)?),
            _ => input,
        };
        let axes: Option<Vec<usize>> =
            self.integers(node, 1)?.into_iter().map(|axis| usize::try_from(axis).ok()).collect();
        let axes = axes.ok_or_else(|| self.canvas.malformed("an axis is negative"))?;
        let axes: Vec<usize> = axes.into_iter().map(|axis| self.canvas.axis(&input, axis)).collect();
        if axes.iter().copied().eq(0..axes.len()) {
            return Ok(Value::declared(input.wire));
        }
        let wire = self.canvas.add(node.name, Op::Transpose(Transpose { axes }), &[&input.wire], [])?;
        Ok(Value::declared(wire))
    }

    /// Places of some axes, all of which stay.
    pub(super) fn slice(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let masks = ["ellipsis_mask", "new_axis_mask", "shrink_axis_mask"];
        if masks.iter().any(|mask| node.integer(mask).unwrap_or(0) != 0) {
            return Err(self.canvas.unsupported("a part that has more or fewer axes is not read"));
        }
        let [starts, ends, steps] =
            [self.integers(node, 1)?, self.integers(node, 2)?, self.integers(node, 3)?];
        let open = |mask: &str, axis: usize| node.integer(mask).unwrap_or(0) >> axis.min(62) & 1 == 1;
        let mut value = self.value(node, 0)?;
        if let Order::Flattened(_) = value.order {
            value = Value::declared(self.canvas.in_order(&value)?);
        }
        let shape = self.canvas.shape(&value)?;
        for (axis, ((start, end), step)) in starts.iter().zip(&ends).zip(&steps).enumerate() {
            let [begins, stops] = [open("begin_mask", axis) || *start == 0, open("end_mask", axis)];
            if begins && stops && *step == 1 {
                continue;
            }
            let Some(Dim::Fixed(size)) = shape.get(axis).filter(|_| axis > 0) else {
                return Err(self.canvas.unsupported("a part of an axis of unknown size is not read"));
            };
            let bound = |number: i64| {
                let number = if number < 0 { number.saturating_add(*size as i64) } else { number };
                usize::try_from(number).unwrap_or(0).min(*size)
            };
            let start = if begins { 0 } else { bound(*start) };
            let end = if stops { *size } else { bound(*end) };
            let step = usize::try_from(*step).unwrap_or(0);
            let op = Op::Slice(Slice { axis: self.canvas.axis(&value, axis), start, end, step });
            value = self.canvas.pointwise(node.name, op, &value)?;
        }
        Ok(value)
    }

    pub(super) fn resize(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let input = self.value(node, 0)?;
        let (wire, order) = self.images(node, &input)?;
        let size: Option<Vec<usize>> =
            self.integers(node, 1)?.into_iter().map(|size| usize::try_from(size).ok()).collect();
        let size = size.and_then(|size| <[usize; 2]>::try_from(size).ok());
        let [rows, columns] = size.ok_or_else(|| self.canvas.unsupported("the size is not fixed"))?;
        let whole = match *self.canvas.sizes(&wire)? {
            [_, _, Dim::Fixed(height), Dim::Fixed(width)] => {
                rows.is_multiple_of(height) && columns.is_multiple_of(width)
            }
            _ => false,
        };
        let coordinates = match (node.flag("align_corners"), node.flag("half_pixel_centers")) {
            (true, _) => Coordinates::AlignCorners,
            (_, true) => Coordinates::HalfPixel,
            _ => Coordinates::Asymmetric,
        };
        let (mode, coordinates) = match (node.op, coordinates) {
            ("ResizeBilinear", coordinates) => (InterpolationMode::Linear, coordinates),
            (_, Coordinates::Asymmetric) => (InterpolationMode::Nearest, Coordinates::Asymmetric),
            // The middle of a pixel rounded down is the pixel rounded down where the size is a multiple.
            (_, Coordinates::HalfPixel) if whole => (InterpolationMode::Nearest, Coordinates::Asymmetric),
            _ => {
                return Err(self
                    .canvas
                    .unsupported("the nearest pixel is computed for multiples of a size only"));
            }
        };
        let size = InterpolationSize::Fixed([rows, columns]);
        let op = Op::Resize(Interpolation { size, mode, coordinates });
        Ok(Value { wire: self.canvas.add(node.name, op, &[&wire], [])?, order })
    }

    pub(super) fn is_about_sizes(&self, node: &GraphNode<'a>) -> bool {
        let about = |name: &&str| matches!(self.wires.get(name), Some(Wire::Sizes(_)));
        node.op == "Shape" || node.inputs.iter().any(about)
    }

    /// Shapes as numbers, of which a part is taken and put into another shape.
    pub(super) fn sizes(&self, node: &GraphNode<'a>) -> Result<Wire, FormatError> {
        match node.op {
            "Shape" => {
                let value = self.value(node, 0)?;
                let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size as i64 } else { -1 };
                Ok(Wire::Sizes(self.canvas.shape(&value)?.iter().map(size).collect()))
            }
            "StridedSlice" => {
                let all = self.integers(node, 0)?;
                let ends = [self.integers(node, 1)?, self.integers(node, 2)?];
                let masked = |mask: &str| node.integer(mask).unwrap_or(0) & 1 == 1;
                let bound = |number: Option<&i64>, default: i64| {
                    let number = number.copied().unwrap_or(default);
                    usize::try_from(if number < 0 { number.saturating_add(all.len() as i64) } else { number })
                        .unwrap_or(0)
                };
                let start = if masked("begin_mask") { 0 } else { bound(ends[0].first(), 0) };
                let end =
                    if masked("end_mask") { all.len() } else { bound(ends[1].first(), all.len() as i64) };
                let end = if masked("shrink_axis_mask") { start.saturating_add(1) } else { end };
                Ok(Wire::Sizes(all.get(start..end.min(all.len())).unwrap_or_default().to_vec()))
            }
            _ => {
                let mut sizes = Vec::new();
                for place in 0..node.inputs.len() {
                    sizes.extend(self.integers(node, place)?);
                }
                Ok(Wire::Sizes(sizes))
            }
        }
    }

    /// A constant in another shape is a constant.
    pub(super) fn constant_reshape(&self, node: &GraphNode<'a>) -> Result<Option<Tensor>, FormatError> {
        let Some(Wire::Constant(tensor)) = node.inputs.first().and_then(|name| self.wires.get(name)) else {
            return Ok(None);
        };
        if node.op != "Reshape" {
            return Ok(None);
        }
        let target = self.integers(node, 1)?;
        let known: i64 =
            target.iter().filter(|size| **size > 0).fold(1, |product, size| product.saturating_mul(*size));
        let size = |size: &i64| {
            usize::try_from(if *size == -1 { tensor.len() as i64 / known.max(1) } else { *size }).ok()
        };
        let shape: Option<Vec<usize>> = target.iter().map(size).collect();
        Ok(shape.and_then(|shape| reshaped(tensor, shape)))
    }
}
