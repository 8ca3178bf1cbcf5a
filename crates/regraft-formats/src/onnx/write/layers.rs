//! Layers with weights, and functions of single values.

use regraft_graph::{
    Approximation, Conv, ConvTranspose, Dim, GateFunction, Lrn, LrnRegion, Node, Op, Padding, ParameterKind,
    Pool, Power, Recurrent,
};

use super::super::recurrent::reordered;
use super::super::schema::Attribute;
use super::export::{Export, float, int, signed, sizes, text};

impl Export<'_> {
    /// Writes a node of the graph.
    ///
    /// # Errors
    /// What is in the way.
    pub(super) fn node(&mut self, node: &Node) -> Result<(), String> {
        let name = node.name.as_str();
        let owned = self.inputs(node);
        let inputs: Vec<&str> = owned.iter().map(String::as_str).collect();
        match &node.op {
            Op::Relu
            | Op::Sigmoid
            | Op::Tanh
            | Op::Softplus
            | Op::Exp
            | Op::Log
            | Op::Abs
            | Op::HardSwish
            | Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Max
            | Op::Min
            | Op::MatMul
            | Op::GlobalAveragePool => {
                self.last(name, node.op.name(), &inputs, Vec::new());
            }
            Op::HardSigmoid => {
                let attributes = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
                self.last(name, "HardSigmoid", &inputs, attributes);
            }
            Op::Elu(elu) => self.last(name, "Elu", &inputs, vec![float("alpha", elu.alpha)]),
            Op::LeakyRelu(leaky) => self.last(name, "LeakyRelu", &inputs, vec![float("alpha", leaky.alpha)]),
            Op::Softmax => self.last(name, "Softmax", &inputs, vec![int("axis", -1)]),
            Op::Flatten => self.last(name, "Flatten", &inputs, vec![int("axis", 1)]),
            Op::Concat(concat) => self.concat(node, concat.axis),
            Op::Clip(clip) => self.clip(name, &inputs, clip.min, clip.max),
            Op::Power(power) => self.power(name, &inputs, *power),
            Op::Silu => self.silu(node)?,
            Op::Gelu(gelu) => self.gelu(node, gelu.approximate)?,
            Op::Dropout { ratio } => {
                let ratio = self.number(name, "ratio", *ratio as f32);
                self.last(
                    name,
                    "Dropout",
                    &[inputs.first().copied().unwrap_or_default(), &ratio],
                    Vec::new(),
                );
            }
            Op::Conv(conv) => self.conv(node, conv)?,
            Op::ConvTranspose(conv) => self.conv_transpose(node, conv)?,
            Op::Gemm(_) => self.gemm(node)?,
            Op::BatchNormalization(norm) => self.batch_normalization(node, norm.epsilon as f32)?,
            Op::LayerNormalization(norm) => self.layer_normalization(node, norm.epsilon as f32)?,
            Op::Scale(scale) => self.scale(node, scale.bias)?,
            Op::PRelu(_) => self.prelu(node)?,
            Op::Lrn(lrn) => self.lrn(node, *lrn)?,
            Op::MaxPool(pool) | Op::AveragePool(pool) => self.pool(node, pool)?,
            Op::Lstm(layer) | Op::Gru(layer) => self.recurrent(node, layer)?,
            Op::NearestNeighbors(vote) => self.nearest_neighbors(node, vote)?,
            _ => self.moved(node)?,
        }
        Ok(())
    }

    fn clip(&mut self, name: &str, inputs: &[&str], min: f32, max: f32) {
        let low = if min > f32::MIN { self.number(name, "min", min) } else { String::new() };
        let high = if max < f32::MAX { self.number(name, "max", max) } else { String::new() };
        let bounds = if high.is_empty() { vec![low.as_str()] } else { vec![low.as_str(), high.as_str()] };
        self.last(name, "Clip", &[inputs, &bounds].concat(), Vec::new());
    }

    fn power(&mut self, name: &str, inputs: &[&str], Power { scale, shift, power }: Power) {
        let mut steps: Vec<(&str, Option<f32>)> = Vec::new();
        if scale != 1.0 {
            steps.push(("Mul", Some(scale)));
        }
        if shift != 0.0 {
            steps.push(("Add", Some(shift)));
        }
        match power {
            1.0 => {}
            0.5 => steps.push(("Sqrt", None)),
            -1.0 => steps.push(("Reciprocal", None)),
            other => steps.push(("Pow", Some(other))),
        }
        if steps.is_empty() {
            steps.push(("Identity", None));
        }
        let mut value = inputs.first().map_or_else(String::new, |input| (*input).to_owned());
        let count = steps.len();
        for (index, (operator, number)) in steps.into_iter().enumerate() {
            let part = operator.to_lowercase();
            let number = number.map(|number| self.number(name, &format!("{part}_by"), number));
            let inputs: Vec<&str> = std::iter::once(value.as_str()).chain(number.as_deref()).collect();
            if index + 1 == count {
                self.last(name, operator, &inputs, Vec::new());
            } else {
                value = self.step(name, &part, operator, &inputs, Vec::new());
            }
        }
    }

    fn silu(&mut self, node: &Node) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let gate = self.step(&node.name, "gate", "Sigmoid", &[&input], Vec::new());
        self.last(&node.name, "Mul", &[&input, &gate], Vec::new());
        Ok(())
    }

    fn gelu(&mut self, node: &Node, approximate: Approximation) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let name = node.name.as_str();
        let tanh = approximate == Approximation::Tanh;
        if self.opset() >= 20 {
            let kind = if tanh { "tanh" } else { "none" };
            self.last(name, "Gelu", &[&input], vec![text("approximate", kind)]);
            return Ok(());
        }
        let gate = if tanh { self.cubic_gate(name, &input) } else { self.error_gate(name, &input) };
        let one = self.number(name, "one", 1.0);
        let sum = self.step(name, "sum", "Add", &[&gate, &one], Vec::new());
        let product = self.step(name, "product", "Mul", &[&input, &sum], Vec::new());
        let half = self.number(name, "half", 0.5);
        self.last(name, "Mul", &[&product, &half], Vec::new());
        Ok(())
    }

    fn error_gate(&mut self, name: &str, input: &str) -> String {
        let root = self.number(name, "root", std::f32::consts::FRAC_1_SQRT_2);
        let scaled = self.step(name, "scaled", "Mul", &[input, &root], Vec::new());
        self.step(name, "erf", "Erf", &[&scaled], Vec::new())
    }

    fn cubic_gate(&mut self, name: &str, input: &str) -> String {
        let three = self.number(name, "three", 3.0);
        let cube = self.step(name, "cube", "Pow", &[input, &three], Vec::new());
        let small = self.number(name, "small", 0.044_715);
        let cube = self.step(name, "small_cube", "Mul", &[&cube, &small], Vec::new());
        let inner = self.step(name, "inner", "Add", &[input, &cube], Vec::new());
        let root = self.number(name, "root", (2.0 / std::f64::consts::PI).sqrt() as f32);
        let scaled = self.step(name, "scaled", "Mul", &[&inner, &root], Vec::new());
        self.step(name, "tanh", "Tanh", &[&scaled], Vec::new())
    }

    fn conv(&mut self, node: &Node, conv: &Conv) -> Result<(), String> {
        let [height, width] = conv.kernel;
        let shape = [conv.out_channels, conv.in_channels / conv.groups.max(1), height, width];
        let mut inputs = vec![self.first(node)?.0, self.parameter(node, ParameterKind::Weight, &shape)?];
        if conv.bias {
            inputs.push(self.parameter(node, ParameterKind::Bias, &[conv.out_channels])?);
        }
        let mut attributes = window(conv.kernel, conv.stride, conv.padding);
        attributes.push(sizes("dilations", &conv.dilation));
        attributes.push(int("group", signed(conv.groups)));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.last(&node.name, "Conv", &inputs, attributes);
        Ok(())
    }

    fn conv_transpose(&mut self, node: &Node, conv: &ConvTranspose) -> Result<(), String> {
        let [height, width] = conv.kernel;
        let shape = [conv.in_channels, conv.out_channels / conv.groups.max(1), height, width];
        let mut inputs = vec![self.first(node)?.0, self.parameter(node, ParameterKind::Weight, &shape)?];
        if conv.bias {
            inputs.push(self.parameter(node, ParameterKind::Bias, &[conv.out_channels])?);
        }
        let mut attributes = window(conv.kernel, conv.stride, Padding::Explicit(conv.padding));
        attributes.push(sizes("dilations", &conv.dilation));
        attributes.push(sizes("output_padding", &conv.output_padding));
        attributes.push(int("group", signed(conv.groups)));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.last(&node.name, "ConvTranspose", &inputs, attributes);
        Ok(())
    }

    fn gemm(&mut self, node: &Node) -> Result<(), String> {
        let Op::Gemm(gemm) = &node.op else { return Ok(()) };
        let (input, dims) = self.first(node)?;
        let name = node.name.as_str();
        let shape = [gemm.out_features, gemm.in_features];
        let image = dims.len() == 3;
        let weight_shape: &[usize] =
            if image { &[gemm.out_features, gemm.in_features, 1, 1] } else { &shape };
        let weight = self.parameter(node, ParameterKind::Weight, weight_shape)?;
        let bias = if gemm.bias {
            Some(self.parameter(node, ParameterKind::Bias, &[gemm.out_features])?)
        } else {
            None
        };
        let three: Vec<&str> = [input.as_str(), &weight].into_iter().chain(bias.as_deref()).collect();
        match dims.len() {
            1 => self.last(name, "Gemm", &three, vec![int("transB", 1)]),
            3 => self.last(name, "Conv", &three, window([1; 2], [1; 2], Padding::all(0))),
            _ => {
                let turned = self.step(name, "turned", "Transpose", &[&weight], vec![sizes("perm", &[1, 0])]);
                match bias {
                    Some(bias) => {
                        let product = self.step(name, "product", "MatMul", &[&input, &turned], Vec::new());
                        self.last(name, "Add", &[&product, &bias], Vec::new());
                    }
                    None => self.last(name, "MatMul", &[&input, &turned], Vec::new()),
                }
            }
        }
        Ok(())
    }

    fn batch_normalization(&mut self, node: &Node, epsilon: f32) -> Result<(), String> {
        use ParameterKind::{Bias, RunningMean, RunningVariance, Weight};
        let (input, dims) = self.first(node)?;
        let mut inputs = vec![input];
        let Op::BatchNormalization(norm) = &node.op else { return Ok(()) };
        for kind in [Weight, Bias, RunningMean, RunningVariance] {
            inputs.push(self.parameter(node, kind, &[norm.channels])?);
        }
        let attributes = vec![float("epsilon", epsilon)];
        self.with_axes(
            node,
            inputs,
            dims.len() == 2,
            [&[0, 2, 1], &[0, 2, 1]],
            "BatchNormalization",
            attributes,
        );
        Ok(())
    }

    fn layer_normalization(&mut self, node: &Node, epsilon: f32) -> Result<(), String> {
        let (input, dims) = self.first(node)?;
        let Op::LayerNormalization(norm) = &node.op else { return Ok(()) };
        let mut inputs = vec![input];
        for kind in [ParameterKind::Weight, ParameterKind::Bias] {
            inputs.push(self.parameter(node, kind, &[norm.features])?);
        }
        let attributes = vec![int("axis", -1), float("epsilon", epsilon)];
        let orders: [&[usize]; 2] = [&[0, 2, 3, 1], &[0, 3, 1, 2]];
        self.with_axes(node, inputs, dims.len() == 3, orders, "LayerNormalization", attributes);
        Ok(())
    }

    /// A node with its first input's axes in another order before it, and back behind it, if `turn`.
    fn with_axes(
        &mut self,
        node: &Node,
        mut inputs: Vec<String>,
        turn: bool,
        [before, after]: [&[usize]; 2],
        operator: &str,
        attributes: Vec<Attribute>,
    ) {
        let name = node.name.as_str();
        if turn && let Some(first) = inputs.first_mut() {
            *first = self.step(name, "turned", "Transpose", &[first], vec![sizes("perm", before)]);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        if !turn {
            return self.last(name, operator, &inputs, attributes);
        }
        let value = self.fresh(&format!("{name}/result"));
        let back = self.fresh(&format!("{name}/back"));
        self.push(name, &value, operator, &inputs, attributes);
        self.push(&back, name, "Transpose", &[&value], vec![sizes("perm", after)]);
    }

    /// Sizes of one number a channel, beside the input's axes.
    fn channel_sizes(dims: &[Dim], channels: usize) -> Vec<usize> {
        if dims.len() == 3 { vec![channels, 1, 1] } else { vec![channels] }
    }

    fn scale(&mut self, node: &Node, bias: bool) -> Result<(), String> {
        let (input, dims) = self.first(node)?;
        let name = node.name.as_str();
        let Op::Scale(scale) = &node.op else { return Ok(()) };
        let shape = Self::channel_sizes(&dims, scale.channels);
        let weight = self.parameter(node, ParameterKind::Weight, &shape)?;
        if !bias {
            self.last(name, "Mul", &[&input, &weight], Vec::new());
            return Ok(());
        }
        let bias = self.parameter(node, ParameterKind::Bias, &shape)?;
        let product = self.step(name, "product", "Mul", &[&input, &weight], Vec::new());
        self.last(name, "Add", &[&product, &bias], Vec::new());
        Ok(())
    }

    fn prelu(&mut self, node: &Node) -> Result<(), String> {
        let (input, dims) = self.first(node)?;
        let Op::PRelu(prelu) = &node.op else { return Ok(()) };
        let shape = Self::channel_sizes(&dims, prelu.slopes);
        let slope = self.parameter(node, ParameterKind::Weight, &shape)?;
        self.last(&node.name, "PRelu", &[&input, &slope], Vec::new());
        Ok(())
    }

    fn lrn(&mut self, node: &Node, lrn: Lrn) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let name = node.name.as_str();
        let Lrn { size, alpha, beta, bias, region } = lrn;
        if region == LrnRegion::AcrossChannels {
            let attributes = vec![
                int("size", signed(size)),
                float("alpha", alpha),
                float("beta", beta),
                float("bias", bias),
            ];
            self.last(name, "LRN", &[&input], attributes);
            return Ok(());
        }
        let two = self.number(name, "two", 2.0);
        let square = self.step(name, "square", "Pow", &[&input, &two], Vec::new());
        let mut attributes = window([size; 2], [1; 2], Padding::all(size / 2));
        attributes.push(int("count_include_pad", 1));
        let mean = self.step(name, "mean", "AveragePool", &[&square], attributes);
        let alpha = self.number(name, "alpha", alpha);
        let scaled = self.step(name, "scaled", "Mul", &[&mean, &alpha], Vec::new());
        let bias = self.number(name, "bias", bias);
        let shifted = self.step(name, "shifted", "Add", &[&scaled, &bias], Vec::new());
        let beta = self.number(name, "beta", beta);
        let divisor = self.step(name, "divisor", "Pow", &[&shifted, &beta], Vec::new());
        self.last(name, "Div", &[&input, &divisor], Vec::new());
        Ok(())
    }

    fn pool(&mut self, node: &Node, pool: &Pool) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let average = matches!(node.op, Op::AveragePool(_));
        let mut attributes = window(pool.kernel, pool.stride, pool.padding);
        let explicit = matches!(pool.padding, Padding::Explicit(_));
        if pool.ceil_mode && explicit && self.has_partial_window(node, pool) {
            attributes.push(int("ceil_mode", 1));
        }
        if average && pool.count_include_pad {
            attributes.push(int("count_include_pad", 1));
        }
        self.last(&node.name, if average { "AveragePool" } else { "MaxPool" }, &[&input], attributes);
        Ok(())
    }

    /// Whether rounding up gives more positions than rounding down. Tools differ in what they do where it does not,
    /// because the last window would lie beyond the image.
    fn has_partial_window(&self, node: &Node, pool: &Pool) -> bool {
        let input = node.inputs.first().map_or(Ok(Vec::new()), |wire| self.sizes(wire));
        let (Ok(input), Ok(output), Padding::Explicit([top, left, bottom, right])) =
            (input, self.sizes(&node.name), pool.padding)
        else {
            return true;
        };
        let borders = [top + bottom, left + right];
        let windows = pool.kernel.into_iter().zip(pool.stride).zip(borders);
        let sizes = input.iter().skip(1).zip(output.iter().skip(1));
        sizes.zip(windows).any(|((input, output), ((kernel, stride), border))| {
            (input + border).saturating_sub(kernel) / stride.max(1) + 1 < *output
        })
    }

    fn recurrent(&mut self, node: &Node, layer: &Recurrent) -> Result<(), String> {
        use ParameterKind::{InputBias, InputWeight, StateBias, StateWeight};
        let lstm = matches!(node.op, Op::Lstm(_));
        // Where ONNX's gates are among PyTorch's: input, output, forget, cell; update, reset, new.
        let order: &[usize] = if lstm { &[0, 3, 1, 2] } else { &[1, 0, 2] };
        let (name, hidden) = (node.name.as_str(), layer.hidden);
        let rows = hidden * order.len();
        let numbers = |kind: ParameterKind, columns: usize| {
            let tensor = self.model.parameter(node, kind).map_err(|error| error.to_string())?;
            Ok::<_, String>(reordered(&tensor.to_f32(), order, hidden * columns))
        };
        let (input_weight, state_weight) =
            (numbers(InputWeight, layer.features)?, numbers(StateWeight, hidden)?);
        let biases = [numbers(InputBias, 1)?, numbers(StateBias, 1)?].concat();
        let weights = [
            self.floats(name, "W", &[1, rows, layer.features], &input_weight),
            self.floats(name, "R", &[1, rows, hidden], &state_weight),
            self.floats(name, "B", &[1, 2 * rows], &biases),
        ];
        let (input, _) = self.first(node)?;
        let turned = self.step(name, "turned", "Transpose", &[&input], vec![sizes("perm", &[1, 0, 2])]);
        let inputs: Vec<&str> =
            std::iter::once(turned.as_str()).chain(weights.iter().map(String::as_str)).collect();
        let mut attributes = vec![
            int("hidden_size", signed(hidden)),
            text("direction", if layer.reverse { "reverse" } else { "forward" }),
        ];
        if !lstm {
            attributes.push(int("linear_before_reset", i64::from(layer.reset_after)));
        }
        attributes.extend(gate_functions(layer.gates, lstm));
        let states = self.fresh(&format!("{name}/states"));
        let back = self.fresh(&format!("{name}/back"));
        self.push(name, &states, if lstm { "LSTM" } else { "GRU" }, &inputs, attributes);
        let axis = self.ints(name, "direction", &[1]);
        let squeezed = self.step(name, "squeezed", "Squeeze", &[&states, &axis], Vec::new());
        self.push(&back, name, "Transpose", &[&squeezed], vec![sizes("perm", &[1, 0, 2])]);
        Ok(())
    }
}

fn gate_functions(gates: GateFunction, lstm: bool) -> Vec<Attribute> {
    if gates == GateFunction::Sigmoid {
        return Vec::new();
    }
    let count = if lstm { 3 } else { 2 };
    let names = std::iter::once("HardSigmoid").chain(std::iter::repeat_n("Tanh", count - 1));
    let strings = names.map(|name| bytes::Bytes::from_static(name.as_bytes())).collect();
    let floats = |name: &str, value: f32| Attribute {
        name: name.to_owned(),
        floats: vec![value],
        kind: 6,
        ..Attribute::default()
    };
    vec![
        Attribute { name: "activations".to_owned(), strings, kind: 8, ..Attribute::default() },
        floats("activation_alpha", 0.2),
        floats("activation_beta", 0.5),
    ]
}

/// Kernel, step and border.
pub(super) fn window(kernel: [usize; 2], stride: [usize; 2], padding: Padding) -> Vec<Attribute> {
    let border = match padding {
        Padding::Explicit(border) => sizes("pads", &border),
        Padding::SameUpper => text("auto_pad", "SAME_UPPER"),
    };
    vec![sizes("kernel_shape", &kernel), sizes("strides", &stride), border]
}
