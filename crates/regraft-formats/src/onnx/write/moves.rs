//! What moves or combines whole tensors.

use regraft_graph::{
    Coordinates, Custom, Dim, Interpolation, InterpolationMode, InterpolationSize, Node, Op, Pad, PadMode,
    ParameterKind, PositionEmbedding, Reduce, ReduceKind, Slice,
};

use super::super::custom::{from_text, version_of};
use super::super::lower::keeps_shape;
use super::super::schema;
use super::super::schema::element;
use super::export::{Export, float, int, signed, sizes, text};

impl Export<'_> {
    pub(super) fn moved(&mut self, node: &Node) -> Result<(), String> {
        match &node.op {
            Op::Constant(constant) => {
                let shape = [&[1], constant.shape.as_slice()].concat();
                let value = self.parameter(node, ParameterKind::Value, &shape)?;
                self.set_value(&node.name, value);
            }
            Op::Reduce(reduce) => self.reduce(node, reduce)?,
            Op::Reshape(reshape) => {
                let (input, _) = self.first(node)?;
                let shape = self.ints(&node.name, "shape", &[&[0], reshape.shape.as_slice()].concat());
                self.last(&node.name, "Reshape", &[&input, &shape], Vec::new());
            }
            Op::Transpose(transpose) => {
                let (input, _) = self.first(node)?;
                self.last(&node.name, "Transpose", &[&input], vec![sizes("perm", &transpose.axes)]);
            }
            Op::Slice(slice) => self.slice(node, *slice)?,
            Op::Pad(pad) => self.pad(node, pad)?,
            Op::Resize(resize) => self.resize(node, *resize)?,
            Op::AdaptiveAveragePool { size } => self.adaptive(node, *size)?,
            Op::Embedding(_) => self.embedding(node)?,
            Op::Tokens => self.tokens(node)?,
            Op::ClassToken(token) => self.class_token(node, token.features)?,
            Op::PositionEmbedding(embedding) => self.position(node, embedding)?,
            Op::Attention(attention) => self.attention(node, attention.heads)?,
            Op::SelectToken { index } => {
                let (input, _) = self.first(node)?;
                let index = self.index(&node.name, "index", signed(*index));
                self.last(&node.name, "Gather", &[&input, &index], vec![int("axis", 1)]);
            }
            Op::Custom(custom) => self.custom(node, custom)?,
            other => return Err(format!("ONNX has nothing for {}", other.name())),
        }
        Ok(())
    }

    fn reduce(&mut self, node: &Node, reduce: &Reduce) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let operator = match reduce.kind {
            ReduceKind::Sum => "ReduceSum",
            ReduceKind::Mean => "ReduceMean",
            ReduceKind::Max => "ReduceMax",
            ReduceKind::Min => "ReduceMin",
            ReduceKind::L2 => "ReduceL2",
        };
        let keep = int("keepdims", i64::from(reduce.keep_axes));
        if self.opset() < 18 && reduce.kind != ReduceKind::Sum {
            self.last(&node.name, operator, &[&input], vec![sizes("axes", &reduce.axes), keep]);
            return Ok(());
        }
        let axes: Vec<i64> = reduce.axes.iter().map(|axis| signed(*axis)).collect();
        let axes = self.ints(&node.name, "axes", &axes);
        self.last(&node.name, operator, &[&input, &axes], vec![keep]);
        Ok(())
    }

    fn slice(&mut self, node: &Node, Slice { axis, start, end, step }: Slice) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let parts = [("start", start), ("end", end), ("axis", axis), ("step", step)];
        let values = parts.map(|(part, value)| self.ints(&node.name, part, &[signed(value)]));
        let inputs: Vec<&str> =
            std::iter::once(input.as_str()).chain(values.iter().map(String::as_str)).collect();
        self.last(&node.name, "Slice", &inputs, Vec::new());
        Ok(())
    }

    fn pad(&mut self, node: &Node, pad: &Pad) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let side = |side: usize| {
            pad.borders.iter().map(move |border| signed(border.get(side).copied().unwrap_or(0)))
        };
        let borders = self.ints(&node.name, "borders", &side(0).chain(side(1)).collect::<Vec<_>>());
        let mode = match pad.mode {
            PadMode::Constant(value) => {
                let value = self.number(&node.name, "value", value);
                self.last(&node.name, "Pad", &[&input, &borders, &value], vec![text("mode", "constant")]);
                return Ok(());
            }
            PadMode::Reflect => "reflect",
            PadMode::Edge => "edge",
        };
        self.last(&node.name, "Pad", &[&input, &borders], vec![text("mode", mode)]);
        Ok(())
    }

    fn resize(&mut self, node: &Node, resize: Interpolation) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let name = node.name.as_str();
        let mode = match resize.mode {
            InterpolationMode::Nearest => "nearest",
            InterpolationMode::Linear => "linear",
            InterpolationMode::Cubic => "cubic",
        };
        let coordinates = match resize.coordinates {
            Coordinates::HalfPixel => "half_pixel",
            Coordinates::Asymmetric => "asymmetric",
            Coordinates::AlignCorners => "align_corners",
        };
        let mut attributes = vec![text("mode", mode), text("coordinate_transformation_mode", coordinates)];
        if resize.mode == InterpolationMode::Nearest {
            attributes.push(text("nearest_mode", "floor"));
        }
        if resize.mode == InterpolationMode::Cubic {
            attributes.push(float("cubic_coeff_a", -0.75));
        }
        let inputs = match resize.size {
            InterpolationSize::Times([down, across]) => {
                let factors = [1.0, 1.0, down as f32, across as f32];
                let factors = self.floats(name, "factors", &[4], &factors);
                vec![input, String::new(), factors]
            }
            InterpolationSize::Fixed([height, width]) => {
                let image = self.ints(name, "image", &[signed(height), signed(width)]);
                let sizes = self.with_outer_sizes(name, &input, &image);
                vec![input, String::new(), String::new(), sizes]
            }
            InterpolationSize::LikeSecond => {
                let second = node.inputs.get(1).map(|wire| self.value(wire)).unwrap_or_default();
                let image = self.step(name, "second_image", "Shape", &[&second], vec![int("start", 2)]);
                let sizes = self.with_outer_sizes(name, &input, &image);
                vec![input, String::new(), String::new(), sizes]
            }
        };
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.last(name, "Resize", &inputs, attributes);
        Ok(())
    }

    /// Examples and channels of a value, then height and width.
    fn with_outer_sizes(&mut self, name: &str, input: &str, image: &str) -> String {
        let outer = self.step(name, "outer", "Shape", &[input], vec![int("start", 0), int("end", 2)]);
        self.step(name, "sizes", "Concat", &[&outer, image], vec![int("axis", 0)])
    }

    /// The mean of each of the windows, as a product with a matrix of shares for rows and one for columns.
    fn adaptive(&mut self, node: &Node, size: [usize; 2]) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let name = node.name.as_str();
        if size == [1, 1] {
            self.last(name, "GlobalAveragePool", &[&input], Vec::new());
            return Ok(());
        }
        let sizes = self.sizes(node.inputs.first().map_or("", String::as_str))?;
        let [_, height, width] = sizes[..] else { return Err("it reads no image".to_owned()) };
        let [rows, columns] = size;
        let down = self.floats(name, "rows", &[rows, height], &shares(rows, height));
        let across = shares(columns, width);
        let across: Vec<f32> = (0..width * columns)
            .map(|place| across.get(place % columns * width + place / columns).copied().unwrap_or(0.0))
            .collect();
        let across = self.floats(name, "columns", &[width, columns], &across);
        let narrowed = self.step(name, "narrowed", "MatMul", &[&input, &across], Vec::new());
        self.last(name, "MatMul", &[&down, &narrowed], Vec::new());
        Ok(())
    }

    fn embedding(&mut self, node: &Node) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let Op::Embedding(embedding) = &node.op else { return Ok(()) };
        let table = self.parameter(node, ParameterKind::Weight, &[embedding.entries, embedding.features])?;
        let words = if super::export::reads_words(self.model) {
            input
        } else {
            self.step(&node.name, "words", "Cast", &[&input], vec![int("to", element::INT64.into())])
        };
        self.last(&node.name, "Gather", &[&table, &words], vec![int("axis", 0)]);
        Ok(())
    }

    fn tokens(&mut self, node: &Node) -> Result<(), String> {
        let (input, dims) = self.first(node)?;
        let name = node.name.as_str();
        let Some(Dim::Fixed(channels)) = dims.first() else { return Err("it reads no image".to_owned()) };
        let shape = self.ints(name, "shape", &[0, signed(*channels), -1]);
        let pixels = self.step(name, "pixels", "Reshape", &[&input, &shape], Vec::new());
        self.last(name, "Transpose", &[&pixels], vec![sizes("perm", &[0, 2, 1])]);
        Ok(())
    }

    fn class_token(&mut self, node: &Node, features: usize) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let name = node.name.as_str();
        let token = self.parameter(node, ParameterKind::Token, &[1, 1, features])?;
        let batch = self.step(name, "batch", "Shape", &[&input], vec![int("start", 0), int("end", 1)]);
        let one = self.ints(name, "one_token", &[1, signed(features)]);
        let shape = self.step(name, "token_shape", "Concat", &[&batch, &one], vec![int("axis", 0)]);
        let tokens = self.step(name, "tokens", "Expand", &[&token, &shape], Vec::new());
        self.last(name, "Concat", &[&tokens, &input], vec![int("axis", 1)]);
        Ok(())
    }

    fn position(&mut self, node: &Node, embedding: &PositionEmbedding) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let name = node.name.as_str();
        let PositionEmbedding { tokens, features, shorter } = *embedding;
        let shape: &[usize] = if shorter { &[tokens, features] } else { &[1, tokens, features] };
        let mut table = self.parameter(node, ParameterKind::Position, shape)?;
        if shorter {
            let sizes = self.sizes(node.inputs.first().map_or("", String::as_str))?;
            let used = signed(sizes.first().copied().unwrap_or(0));
            let bounds = [("start", 0), ("end", used), ("axis", 0)];
            let bounds = bounds.map(|(part, value)| self.ints(name, part, &[value]));
            let [start, end, axis] = bounds.each_ref().map(String::as_str);
            table = self.step(name, "used", "Slice", &[&table, start, end, axis], Vec::new());
        }
        self.last(name, "Add", &[&input, &table], Vec::new());
        Ok(())
    }

    fn attention(&mut self, node: &Node, heads: usize) -> Result<(), String> {
        let (input, dims) = self.first(node)?;
        let name = node.name.as_str();
        let Some(Dim::Fixed(width)) = dims.get(1) else { return Err("it reads no tokens".to_owned()) };
        let features = width / 3;
        let depth = features / heads.max(1);
        let split = self.ints(name, "split", &[signed(features); 3]);
        let parts = ["queries", "keys", "values"].map(|part| self.fresh(&format!("{name}/{part}")));
        let split_name = self.fresh(&format!("{name}/parts"));
        self.nodes.push(schema::Node {
            input: vec![input, split],
            output: parts.to_vec(),
            name: split_name,
            op_type: "Split".to_owned(),
            attribute: vec![int("axis", 2)],
            domain: String::new(),
        });
        let shape = self.ints(name, "heads", &[0, 0, signed(heads), signed(depth)]);
        let orders: [&[usize]; 3] = [&[0, 2, 1, 3], &[0, 2, 3, 1], &[0, 2, 1, 3]];
        let [queries, keys, values] = std::array::from_fn(|place| {
            let (part, order) = (parts.get(place).cloned().unwrap_or_default(), orders.get(place).copied());
            let apart = self.step(&part, "apart", "Reshape", &[&part, &shape], Vec::new());
            self.step(
                &part,
                "by_head",
                "Transpose",
                &[&apart],
                vec![sizes("perm", order.unwrap_or_default())],
            )
        });
        let scale = self.number(name, "scale", 1.0 / (depth as f32).sqrt());
        let queries = self.step(name, "scaled", "Mul", &[&queries, &scale], Vec::new());
        let scores = self.step(name, "scores", "MatMul", &[&queries, &keys], Vec::new());
        let weights = self.step(name, "weights", "Softmax", &[&scores], vec![int("axis", -1)]);
        let mixed = self.step(name, "mixed", "MatMul", &[&weights, &values], Vec::new());
        let by_token =
            self.step(name, "by_token", "Transpose", &[&mixed], vec![sizes("perm", &[0, 2, 1, 3])]);
        let whole = self.ints(name, "whole", &[0, 0, signed(features)]);
        self.last(name, "Reshape", &[&by_token, &whole], Vec::new());
        Ok(())
    }

    /// Values one after the other. A constant is there once for all examples and has to be repeated for each.
    pub(super) fn concat(&mut self, node: &Node, axis: usize) {
        let name = node.name.as_str();
        let graph = self.model.graph();
        let constant = |wire: &str| graph.node(wire).is_some_and(|node| matches!(node.op, Op::Constant(_)));
        let mut inputs = self.inputs(node);
        let places: Vec<usize> = (0..inputs.len())
            .filter(|place| node.inputs.get(*place).is_some_and(|wire| constant(wire)))
            .collect();
        let other =
            (0..inputs.len()).find(|place| !places.contains(place)).and_then(|place| inputs.get(place));
        if let Some(other) = other.cloned().filter(|_| !places.is_empty()) {
            let batch = self.step(name, "batch", "Shape", &[&other], vec![int("start", 0), int("end", 1)]);
            for place in places {
                let Some(Op::Constant(constant)) =
                    node.inputs.get(place).and_then(|wire| graph.node(wire)).map(|node| &node.op)
                else {
                    continue;
                };
                let sizes: Vec<i64> = constant.shape.iter().map(|size| signed(*size)).collect();
                let own = self.ints(name, &format!("sizes_{place}"), &sizes);
                let shape = self.step(
                    name,
                    &format!("shape_{place}"),
                    "Concat",
                    &[&batch, &own],
                    vec![int("axis", 0)],
                );
                if let Some(input) = inputs.get_mut(place) {
                    *input =
                        self.step(name, &format!("each_{place}"), "Expand", &[input, &shape], Vec::new());
                }
            }
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.last(name, "Concat", &inputs, vec![int("axis", signed(axis))]);
    }

    fn custom(&mut self, node: &Node, custom: &Custom) -> Result<(), String> {
        let standard = custom.domain == "ai.onnx";
        let version = version_of(&custom.attributes);
        let opset = i64::from(self.opset());
        if let Some(version) = version.filter(|version| standard && *version != opset)
            && !keeps_shape(&custom.operator)
        {
            return Err(format!(
                "it follows the rules of opset {version}, the file would have those of {opset}"
            ));
        }
        let written = schema::Node {
            input: self.inputs(node),
            output: vec![node.name.clone()],
            name: node.name.clone(),
            op_type: custom.operator.clone(),
            attribute: from_text(&custom.attributes),
            domain: if standard { String::new() } else { custom.domain.clone() },
        };
        if standard {
            self.nodes.push(written);
            return Ok(());
        }
        self.foreign(written, version.unwrap_or(1))
    }
}

/// Row by row the share that each of `size` places has in each of `windows` means.
fn shares(windows: usize, size: usize) -> Vec<f32> {
    let mut shares = vec![0.0; windows * size];
    for (window, row) in shares.chunks_mut(size.max(1)).enumerate() {
        let (start, end) = (window * size / windows, ((window + 1) * size).div_ceil(windows));
        let share = 1.0 / (end - start) as f32;
        row.iter_mut().take(end).skip(start).for_each(|place| *place = share);
    }
    shares
}
