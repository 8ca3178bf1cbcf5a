//! TensorFlow's operators, one by one.

use regraft_graph::{
    Approximation, BatchNormalization, Clip, Conv, ConvTranspose, Dim, Elu, Gelu, Gemm, LeakyRelu, Op, PRelu,
    Padding, ParameterKind, Pool, Power, Scale, Tensor,
};

use super::graph::{GraphNode, Translator, Wire};
use crate::FormatError;
use crate::channels_last::{Order, Value, permuted, reshaped, weighted};

/// `selu` in single precision.
const SELU: [f32; 2] = [1.673_263_2, 1.050_701];

/// What follows a layer in its own node or in the next.
#[derive(Default)]
struct Ending<'a> {
    bias: Option<Tensor>,
    activations: Vec<String>,
    /// The node whose bias this is, and whose name the layer gets.
    absorbed: Option<GraphNode<'a>>,
}

impl<'a> Translator<'a> {
    /// What a node computes.
    pub(super) fn node(&mut self, node: &GraphNode<'a>) -> Result<Wire, FormatError> {
        match node.op {
            "Identity" | "StopGradient" | "PreventGradient" | "Snapshot" | "Cast" | "CheckNumerics" => {
                return self.input(node, 0);
            }
            "Shape" | "StridedSlice" | "Pack" if self.is_about_sizes(node) => return self.sizes(node),
            _ => {}
        }
        if let Some(constant) = self.constant_reshape(node)? {
            return Ok(Wire::Constant(constant));
        }
        self.layer(node).map(Wire::Value)
    }

    fn layer(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        match node.op {
            "Conv2D" | "_FusedConv2D" | "DepthwiseConv2dNative" | "FusedDepthwiseConv2dNative" => {
                self.convolution(node)
            }
            "Conv2DBackpropInput" => self.transposed(node),
            "MatMul" | "_FusedMatMul" => self.matmul(node),
            "FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3" => self.batch_normalization(node),
            "BiasAdd" | "Add" | "AddV2" | "Sub" | "Mul" | "RealDiv" | "Div" | "Maximum" | "Minimum" => {
                self.arithmetic(node)
            }
            "AddN" => self.sum(node),
            "MaxPool" | "AvgPool" => self.pool(node),
            "Mean" | "Max" | "Sum" | "Min" => self.reduce(node),
            "Pad" | "PadV2" | "MirrorPad" => self.pad(node),
            "ConcatV2" => self.concat(node),
            "Reshape" => self.reshape(node),
            "Squeeze" | "ExpandDims" => self.squeeze(node),
            "Transpose" => self.transpose(node),
            "StridedSlice" => self.slice(node),
            "ResizeBilinear" | "ResizeNearestNeighbor" => self.resize(node),
            "Softmax" => {
                let input = self.value(node, 0)?;
                let wire = self.canvas.in_order(&input)?;
                Ok(Value::declared(self.canvas.add(node.name, Op::Softmax, &[&wire], [])?))
            }
            "Prelu" => self.prelu(node),
            _ => {
                let input = self.value(node, 0)?;
                self.activation(node, node.name, node.op, &input)
            }
        }
    }

    fn activation(
        &mut self,
        node: &GraphNode<'a>,
        name: &str,
        function: &str,
        input: &Value,
    ) -> Result<Value, FormatError> {
        let alpha = |attribute: &str| node.number(attribute, 0.2) as f32;
        let power = |scale, shift, power| Op::Power(Power { scale, shift, power });
        let op = match function {
            "Relu" => Op::Relu,
            "Relu6" => Op::Clip(Clip { min: 0.0, max: 6.0 }),
            "Elu" => Op::Elu(Elu { alpha: 1.0 }),
            "Sigmoid" => Op::Sigmoid,
            "Tanh" => Op::Tanh,
            "Softplus" => Op::Softplus,
            "LeakyRelu" if name == node.name && function == node.op => {
                Op::LeakyRelu(LeakyRelu { alpha: alpha("alpha") })
            }
            "LeakyRelu" => Op::LeakyRelu(LeakyRelu { alpha: alpha("leakyrelu_alpha") }),
            "Exp" => Op::Exp,
            "Log" => Op::Log,
            "Abs" => Op::Abs,
            "Neg" => power(-1.0, 0.0, 1.0),
            "Square" => power(1.0, 0.0, 2.0),
            "Sqrt" => power(1.0, 0.0, 0.5),
            "Rsqrt" => power(1.0, 0.0, -0.5),
            "Reciprocal" => power(1.0, 0.0, -1.0),
            "Gelu" => Op::Gelu(Gelu { approximate: Approximation::None }),
            "Selu" => {
                let [alpha, scale] = SELU;
                let elu = self.canvas.pointwise(&format!("{name}/elu"), Op::Elu(Elu { alpha }), input)?;
                return self.canvas.pointwise(name, power(scale, 0.0, 1.0), &elu);
            }
            _ => return Err(self.canvas.unsupported("this operator of TensorFlow is not read")),
        };
        self.canvas.pointwise(name, op, input)
    }

    /// `BiasAdd` and an activation that stand in the node itself.
    fn fused(
        &mut self,
        node: &GraphNode<'a>,
        functions: &[String],
        value: &Value,
    ) -> Result<Value, FormatError> {
        match functions {
            [] => Ok(value.clone()),
            [function] if function == "Prelu" => {
                Err(self.canvas.unsupported("slopes that stand in the convolution are not read"))
            }
            [function] => self.activation(node, node.name, function, value),
            _ => Err(self.canvas.unsupported(format!("it ends with {}", functions.join(", ")))),
        }
    }

    /// The bias of a node and the activations behind it.
    fn ending(&self, node: &GraphNode<'a>, outputs: usize) -> Result<Ending<'a>, FormatError> {
        let fused = node.texts("fused_ops");
        if let Some((first, rest)) = fused.split_first() {
            if first != "BiasAdd" {
                return Err(self.canvas.unsupported(format!("it ends with {first}; only BiasAdd is read")));
            }
            let bias = Some(self.vector(node, 2, outputs)?);
            return Ok(Ending { bias, activations: rest.to_vec(), absorbed: None });
        }
        let is_sum = |reader: &GraphNode<'a>| ["BiasAdd", "Add", "AddV2"].contains(&reader.op);
        let Some(reader) = self.only_reader(node).filter(is_sum) else { return Ok(Ending::default()) };
        let other = reader.inputs.iter().position(|input| *input != node.name);
        let bias = other.and_then(|place| self.vector(&reader, place, outputs).ok());
        let absorbed = bias.is_some().then_some(reader);
        Ok(Ending { bias, activations: Vec::new(), absorbed })
    }

    /// A constant with a number for each channel.
    fn vector(&self, node: &GraphNode<'a>, place: usize, channels: usize) -> Result<Tensor, FormatError> {
        let tensor = self.constant(node, place)?;
        let last = tensor.shape().last().copied();
        let vector = reshaped(&tensor, vec![channels]).filter(|_| last == Some(channels));
        vector.ok_or_else(|| self.canvas.malformed(format!("its input {place} is no vector of {channels}")))
    }

    fn convolution(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let input = self.value(node, 0)?;
        let kernel = self.constant(node, 1)?;
        let (wire, order) = self.images(node, &input)?;
        let channels = match self.canvas.sizes(&wire)?.get(1) {
            Some(Dim::Fixed(channels)) => *channels,
            _ => return Err(self.canvas.unsupported("its input's number of channels is not known")),
        };
        let empty = || self.canvas.malformed(format!("its kernel has the shape {:?}", kernel.shape()));
        let [height, width, group, last] = *kernel.shape() else { return Err(empty()) };
        let depthwise = node.op.contains("Depthwise");
        let outputs = if depthwise { group.checked_mul(last) } else { Some(last) }.ok_or_else(empty)?;
        let kernel = if depthwise {
            permuted(&kernel, &[2, 3, 0, 1])
                .and_then(|kernel| reshaped(&kernel, vec![outputs, 1, height, width]))
        } else {
            permuted(&kernel, &[3, 2, 0, 1])
        };
        let kernel = kernel.ok_or_else(|| self.canvas.malformed("its kernel is empty"))?;
        let groups = if depthwise { channels } else { channels / group.max(1) };
        let ending = self.ending(node, outputs)?;
        let op = Op::Conv(Conv {
            in_channels: channels,
            out_channels: outputs,
            kernel: [height, width],
            stride: self.spatial(node, "strides")?,
            dilation: self.spatial(node, "dilations")?,
            padding: self.padding(node)?,
            groups,
            bias: ending.bias.is_some(),
        });
        self.finished(node, op, &wire, kernel, order, ending)
    }

    /// Adds a node with what follows it in the same operator or the next.
    fn finished(
        &mut self,
        node: &GraphNode<'a>,
        op: Op,
        input: &str,
        kernel: Tensor,
        order: Order,
        Ending { bias, activations, absorbed }: Ending<'a>,
    ) -> Result<Value, FormatError> {
        let name = match &absorbed {
            Some(reader) => reader.name.to_owned(),
            None if activations.is_empty() => node.name.to_owned(),
            None => format!("{}/linear", node.name),
        };
        let wire = self.canvas.add(&name, op, &[input], weighted(kernel, bias))?;
        let value = Value { wire, order };
        if let Some(reader) = absorbed {
            self.absorb(&reader, Wire::Value(value.clone()));
        }
        self.fused(node, &activations, &value)
    }

    fn transposed(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let sizes = self.integers(node, 0)?;
        let kernel = self.constant(node, 1)?;
        let input = self.value(node, 2)?;
        let (wire, order) = self.images(node, &input)?;
        let [height, width, out_channels, in_channels] = *kernel.shape() else {
            return Err(self.canvas.malformed("its kernel has not four axes"));
        };
        let stride = self.spatial(node, "strides")?;
        let from: Vec<Dim> = self.canvas.sizes(&wire)?;
        let (&[_, rows, columns, _], &[_, _, Dim::Fixed(from_rows), Dim::Fixed(from_columns)]) =
            (sizes.as_slice(), from.as_slice())
        else {
            return Err(self.canvas.unsupported("it needs an input and an output of a fixed size"));
        };
        // What is missing of the full output, which is (input − 1) · stride + kernel long.
        let cut = |from: usize, stride: usize, kernel: usize, to: i64| {
            let full = from.checked_sub(1)?.checked_mul(stride)?.checked_add(kernel)?;
            let total = i64::try_from(full).ok()?.checked_sub(to)?;
            let [cut, added] =
                [total.max(0), total.min(0).checked_neg()?].map(|size| usize::try_from(size).ok());
            Some((cut? / 2, cut? - cut? / 2, added?))
        };
        let down = cut(from_rows, stride[0], height, rows);
        let right = cut(from_columns, stride[1], width, columns);
        let (Some((top, bottom, below)), Some((left, last, beside))) = (down, right) else {
            return Err(self.canvas.malformed("its output's size does not fit"));
        };
        let op = Op::ConvTranspose(ConvTranspose {
            in_channels,
            out_channels,
            kernel: [height, width],
            stride,
            dilation: [1; 2],
            padding: [top, left, bottom, last],
            output_padding: [below, beside],
            groups: 1,
            bias: false,
        });
        let kernel = permuted(&kernel, &[3, 2, 0, 1]);
        let kernel = kernel.ok_or_else(|| self.canvas.malformed("its kernel is empty"))?;
        let wire = self.canvas.add(node.name, op, &[&wire], [(ParameterKind::Weight, kernel)])?;
        Ok(Value { wire, order })
    }

    /// A product with a constant matrix: a dense layer.
    fn matmul(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let input = self.value(node, 0)?;
        let kernel = self.constant(node, 1)?;
        let vectors = self.canvas.shape(&input)?.len() == 2;
        if node.flag("transpose_a") || !vectors || kernel.shape().len() != 2 {
            return Err(self
                .canvas
                .unsupported("only the product of vectors with a constant matrix is computed"));
        }
        let axis = usize::from(node.flag("transpose_b"));
        let kernel = self.canvas.features(&input, &kernel, axis)?;
        let kernel = if axis == 1 { Some(kernel) } else { permuted(&kernel, &[1, 0]) };
        let kernel = kernel.ok_or_else(|| self.canvas.malformed("its matrix is empty"))?;
        let [out_features, in_features] = *kernel.shape() else {
            return Err(self.canvas.malformed("its matrix is empty"));
        };
        let ending = self.ending(node, out_features)?;
        let op = Op::Gemm(Gemm { in_features, out_features, bias: ending.bias.is_some() });
        self.finished(node, op, &input.wire, kernel, Order::Declared, ending)
    }

    fn batch_normalization(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let input = self.value(node, 0)?;
        let (wire, order) = self.images(node, &input)?;
        let kinds = [
            ParameterKind::Weight,
            ParameterKind::Bias,
            ParameterKind::RunningMean,
            ParameterKind::RunningVariance,
        ];
        let mut tensors = Vec::new();
        for (place, kind) in kinds.into_iter().enumerate() {
            tensors.push((kind, self.constant(node, place + 1)?));
        }
        let channels = tensors.first().map_or(0, |(_, tensor)| tensor.len());
        let epsilon = node.number("epsilon", 1e-4);
        let op = Op::BatchNormalization(BatchNormalization { channels, epsilon });
        Ok(Value { wire: self.canvas.add(node.name, op, &[&wire], tensors)?, order })
    }

    fn arithmetic(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        match (self.input(node, 0)?, self.input(node, 1)?) {
            (Wire::Value(left), Wire::Value(right)) => self.pair(node, node.name, &left, &right),
            (Wire::Value(value), Wire::Constant(constant)) => {
                self.with_constant(node, &value, &constant, false)
            }
            (Wire::Constant(constant), Wire::Value(value)) => {
                self.with_constant(node, &value, &constant, true)
            }
            _ => Err(self.canvas.unsupported("it computes with constants only")),
        }
    }

    fn pair(
        &mut self,
        node: &GraphNode<'a>,
        name: &str,
        left: &Value,
        right: &Value,
    ) -> Result<Value, FormatError> {
        let (wires, order) = self.canvas.alike(&[left.clone(), right.clone()])?;
        let inputs: Vec<&str> = wires.iter().map(String::as_str).collect();
        let op = match node.op {
            "Add" | "AddV2" | "BiasAdd" | "AddN" => Op::Add,
            "Sub" => Op::Sub,
            "Mul" => Op::Mul,
            "Maximum" => Op::Max,
            "Minimum" => Op::Min,
            _ => Op::Div,
        };
        Ok(Value { wire: self.canvas.add(name, op, &inputs, [])?, order })
    }

    fn sum(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let mut sum = self.value(node, 0)?;
        for place in 1..node.inputs.len() {
            let last = place + 1 == node.inputs.len();
            let name = if last { node.name.to_owned() } else { format!("{}/{place}", node.name) };
            let next = self.value(node, place)?;
            sum = self.pair(node, &name, &sum, &next)?;
        }
        Ok(sum)
    }

    /// With one number, or with one for each channel.
    fn with_constant(
        &mut self,
        node: &GraphNode<'a>,
        value: &Value,
        constant: &Tensor,
        constant_first: bool,
    ) -> Result<Value, FormatError> {
        let numbers = constant.to_f32();
        let line = |number: f32| match (node.op, constant_first) {
            ("Add" | "AddV2" | "BiasAdd", _) => Some([1.0, number]),
            ("Sub", false) => Some([1.0, -number]),
            ("Sub", true) => Some([-1.0, number]),
            ("Mul", _) => Some([number, 0.0]),
            ("RealDiv" | "Div", false) => Some([1.0 / number, 0.0]),
            _ => None,
        };
        if let [number] = *numbers {
            let op = match (node.op, line(number)) {
                (_, Some([scale, shift])) => Op::Power(Power { scale, shift, power: 1.0 }),
                ("Maximum", _) => Op::Clip(Clip { min: number, max: f32::MAX }),
                ("Minimum", _) => Op::Clip(Clip { min: f32::MIN, max: number }),
                _ => Op::Power(Power { scale: 1.0 / number, shift: 0.0, power: -1.0 }),
            };
            return self.canvas.pointwise(node.name, op, value);
        }
        let lines: Option<Vec<[f32; 2]>> = numbers.iter().map(|number| line(*number)).collect();
        let channels = constant.shape().last().copied().filter(|last| *last == numbers.len());
        let (Some(lines), Some(channels)) = (lines, channels) else {
            return Err(self
                .canvas
                .unsupported("it computes with a constant that is no number and no vector"));
        };
        let value = if self.canvas.shape(value)?.len() == 4 && value.order == Order::Declared {
            Value::image(self.canvas.image(value)?)
        } else {
            value.clone()
        };
        let column = |place: usize| {
            let numbers: Vec<f32> = lines.iter().filter_map(|line| line.get(place).copied()).collect();
            let tensor = Tensor::from_f32(vec![channels], &numbers);
            let tensor = tensor.map_err(|error| self.canvas.malformed(error))?;
            self.canvas.features(&value, &tensor, 0)
        };
        let tensors = [(ParameterKind::Weight, column(0)?), (ParameterKind::Bias, column(1)?)];
        let op = Op::Scale(Scale { channels, bias: true });
        Ok(value.with(self.canvas.add(node.name, op, &[&value.wire], tensors)?))
    }

    fn pool(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let input = self.value(node, 0)?;
        let (wire, order) = self.images(node, &input)?;
        let kernel = self.spatial(node, "ksize")?;
        let pool = Pool::new(kernel, self.spatial(node, "strides")?, self.padding(node)?);
        let op = if node.op == "MaxPool" { Op::MaxPool(pool) } else { Op::AveragePool(pool) };
        Ok(Value { wire: self.canvas.add(node.name, op, &[&wire], [])?, order })
    }

    fn prelu(&mut self, node: &GraphNode<'a>) -> Result<Value, FormatError> {
        let input = self.value(node, 0)?;
        let slopes = self.constant(node, 1)?;
        let channels = slopes.shape().last().copied().unwrap_or(1);
        let flat = reshaped(&slopes, vec![channels]);
        let flat = flat.ok_or_else(|| self.canvas.unsupported("slopes that differ from place to place"))?;
        let op = Op::PRelu(PRelu { slopes: channels });
        let wire = self.canvas.add(node.name, op, &[&input.wire], [(ParameterKind::Weight, flat)])?;
        Ok(input.with(wire))
    }

    /// A wire N×C×H×W, and the order of what is computed from it.
    pub(super) fn images(
        &mut self,
        node: &GraphNode<'a>,
        input: &Value,
    ) -> Result<(String, Order), FormatError> {
        if is_nchw(node) {
            return Ok((self.canvas.in_order(input)?, Order::Declared));
        }
        Ok((self.canvas.image(input)?, Order::ChannelsFirst))
    }

    /// The two numbers of a list of four that are about rows and columns.
    fn spatial(&self, node: &GraphNode<'a>, attribute: &str) -> Result<[usize; 2], FormatError> {
        let numbers = node.integers(attribute);
        let pair = match (numbers.as_slice(), is_nchw(node)) {
            ([], _) => return Ok([1, 1]),
            ([_, rows, columns, _], false) | ([_, _, rows, columns], true) => [*rows, *columns],
            _ => return Err(self.canvas.malformed(format!("'{attribute}' is {numbers:?}"))),
        };
        let [rows, columns] = pair.map(|size| usize::try_from(size).ok());
        let pair = rows
            .zip(columns)
            .ok_or_else(|| self.canvas.malformed(format!("'{attribute}' is {numbers:?}")))?;
        Ok([pair.0, pair.1])
    }

    fn padding(&self, node: &GraphNode<'a>) -> Result<Padding, FormatError> {
        match node.text("padding").as_deref() {
            Some("SAME") => Ok(Padding::SameUpper),
            Some("VALID") | None => Ok(Padding::all(0)),
            Some("EXPLICIT") => {
                let borders: Option<Vec<usize>> = node
                    .integers("explicit_paddings")
                    .into_iter()
                    .map(|border| usize::try_from(border).ok())
                    .collect();
                match (borders.as_deref(), is_nchw(node)) {
                    (Some([_, _, top, bottom, left, right, _, _]), false)
                    | (Some([_, _, _, _, top, bottom, left, right]), true) => {
                        Ok(Padding::Explicit([*top, *left, *bottom, *right]))
                    }
                    _ => Err(self.canvas.malformed("'explicit_paddings' has not eight numbers")),
                }
            }
            Some(other) => Err(self.canvas.unsupported(format!("the padding '{other}' is not computed"))),
        }
    }
}

fn is_nchw(node: &GraphNode<'_>) -> bool {
    node.text("data_format").as_deref() == Some("NCHW")
}
