//! Layers with weights.

use regraft_graph::{
    BatchNormalization, Conv, ConvTranspose, Dim, Embedding, Gemm, LayerNormalization, Lrn, LrnRegion,
    NearestNeighbors, Op, PRelu, ParameterKind,
};

use super::arithmetic::Aligned;
use super::call::{Call, axis};
use super::constant::Constant;
use super::parameters::{Parameter, Parameters};
use super::reader::{Reader, label};
use super::value::{Value, Wire};

impl Reader<'_> {
    /// The graph's N×C×H×W for an image, or for a signal N×C×L, which becomes an image of one row.
    pub(super) fn image(&mut self, call: &Call<'_>, wire: &Wire) -> Result<String, String> {
        match wire.shape.as_slice() {
            [Dim::Fixed(1), _, _, _] => self.without_batch(call, wire),
            [Dim::Fixed(1), channels, length] => {
                let row = [*channels, Dim::Fixed(1), *length];
                self.net.reshape(&format!("{}.row", label(call.node)), &wire.name, &row)
            }
            other => Err(format!("of {} axes only those of images and signals are read", other.len())),
        }
    }

    /// The value that an image is; of a signal, without its row.
    pub(super) fn image_value(
        &mut self,
        call: &Call<'_>,
        rank: usize,
        name: String,
    ) -> Result<Value, String> {
        if rank != 3 {
            return Ok(self.value_of(name, Some(0)));
        }
        let dims = self.net.dims(&name);
        let [channels, _, length] = dims.as_slice() else { return Err("it gives no signal".to_owned()) };
        let signal = [*channels, *length];
        let name = self.net.reshape(&format!("{}.signal", label(call.node)), &name, &signal)?;
        Ok(self.value_of(name, Some(0)))
    }

    pub(super) fn conv(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let (wire, weight) = (call.wire(0)?, call.weights(1)?);
        let [out_channels, group_channels, ref kernel @ ..] = weight.shape[..] else {
            return Err("its weight has too few axes".to_owned());
        };
        let kernel = square(kernel)?;
        let groups = positive(call.int("group", 1))?;
        let image = self.image(call, &wire)?;
        let window = self.window(call, &image, kernel, wire.rank())?;
        let in_channels = group_channels.checked_mul(groups).ok_or("its channels are absurd")?;
        let bias = optional(call, 2)?;
        let conv = Conv {
            in_channels,
            out_channels,
            kernel,
            stride: window.stride,
            dilation: window.dilation,
            padding: window.padding,
            groups,
            bias: bias.is_some(),
        };
        let [height, width] = kernel;
        let weight = self.net.parameter(weight, vec![out_channels, group_channels, height, width])?;
        let parameters = self.with_bias(weight, bias, out_channels)?;
        let name = self.net.add(&label(call.node), Op::Conv(conv), &[&image], parameters)?;
        self.image_value(call, wire.rank(), name)
    }

    fn with_bias(
        &mut self,
        weight: Parameter,
        bias: Option<&Constant>,
        outputs: usize,
    ) -> Result<Parameters, String> {
        let mut parameters = vec![(ParameterKind::Weight, weight)];
        if let Some(constant) = bias {
            parameters.push((ParameterKind::Bias, self.net.parameter(constant, vec![outputs])?));
        }
        Ok(parameters)
    }

    pub(super) fn conv_transpose(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let (wire, weight) = (call.wire(0)?, call.weights(1)?);
        let [in_channels, group_channels, ref kernel @ ..] = weight.shape[..] else {
            return Err("its weight has too few axes".to_owned());
        };
        let kernel = square(kernel)?;
        let groups = positive(call.int("group", 1))?;
        let out_channels = group_channels.checked_mul(groups).ok_or("its channels are absurd")?;
        let image = self.image(call, &wire)?;
        let bias = optional(call, 2)?;
        let mut conv = ConvTranspose {
            in_channels,
            out_channels,
            kernel,
            stride: pair(call, "strides", 1, wire.rank())?,
            dilation: pair(call, "dilations", 1, wire.rank())?,
            padding: super::window::explicit(call, wire.rank())?,
            output_padding: pair(call, "output_padding", 0, wire.rank())?,
            groups,
            bias: bias.is_some(),
        };
        self.fit_output(call, &mut conv, &image, wire.rank())?;
        let [height, width] = kernel;
        let weight = self.net.parameter(weight, vec![in_channels, group_channels, height, width])?;
        let parameters = self.with_bias(weight, bias, out_channels)?;
        let name = self.net.add(&label(call.node), Op::ConvTranspose(conv), &[&image], parameters)?;
        self.image_value(call, wire.rank(), name)
    }

    pub(super) fn gemm(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        if call.flag("transA") || wire.rank() != 2 {
            return Err("its first input is turned, or no matrix".to_owned());
        }
        let (alpha, beta) = (call.float("alpha", 1.0), call.float("beta", 1.0));
        let weight = call.weights(1)?;
        let [rows, columns] = weight.shape[..] else { return Err("its weight is no matrix".to_owned()) };
        let [outputs, inputs] = if call.flag("transB") { [rows, columns] } else { [columns, rows] };
        let weight = if call.flag("transB") {
            self.net.parameter(weight, vec![rows, columns])?
        } else {
            self.net.turned(weight)?
        };
        let bias = optional(call, 2)?.map(|constant| self.net.bias(constant, outputs, beta)).transpose()?;
        let gemm = Gemm { in_features: inputs, out_features: outputs, bias: bias.is_some() };
        let weight = (ParameterKind::Weight, self.net.scaled(weight, alpha)?);
        let parameters = std::iter::once(weight).chain(bias.map(|bias| (ParameterKind::Bias, bias)));
        let name = self.net.add(&label(call.node), Op::Gemm(gemm), &[&wire.name], parameters.collect())?;
        Ok(self.value_of(name, wire.dropped))
    }

    pub(super) fn matmul(&mut self, call: &Call<'_>) -> Result<Value, String> {
        match (call.input(0), call.input(1)) {
            (Some(Value::Wire(left)), Some(Value::Wire(right))) => self.product(call, left, right),
            (Some(Value::Wire(left)), Some(Value::Constant(_))) => {
                let weight = call.weights(1)?;
                let left = self.of_rank(call, left, weight.shape.len())?;
                self.dense(call, &left, weight)
            }
            (Some(Value::Constant(_)), Some(Value::Wire(right))) => {
                // A·B = (Bᵀ·Aᵀ)ᵀ
                let left = call.weights(0)?;
                let right = self.of_rank(call, right, left.shape.len())?;
                let turned = self.last_two_turned(call, &right)?;
                let [.., rows, inner] = left.shape[..] else {
                    return Err("its weight is no matrix".to_owned());
                };
                let matrix = left.reshaped(vec![rows, inner])?;
                let weight = Parameter { name: None, ..self.net.parameter(&matrix, vec![rows, inner])? };
                let value = self.dense_with(call, &turned, weight, [rows, inner])?;
                let Value::Wire(result) = value else { return Ok(value) };
                self.last_two_turned(call, &result).map(Value::Wire)
            }
            _ => Err("an input is missing".to_owned()),
        }
    }

    /// The wire with axes of size 1 in front until it has as many as that.
    fn of_rank(&mut self, call: &Call<'_>, wire: &Wire, rank: usize) -> Result<Wire, String> {
        if wire.rank() >= rank {
            return Ok(wire.clone());
        }
        let shape = super::arithmetic::padded(&wire.shape, rank);
        let dropped = super::value::natural_drop(&shape);
        let name = self.as_dropped(&label(call.node), wire, &shape, dropped)?;
        Ok(Wire::new(name, shape, dropped))
    }

    fn dense(&mut self, call: &Call<'_>, wire: &Wire, weight: &Constant) -> Result<Value, String> {
        let [ref outer @ .., inputs, outputs] = weight.shape[..] else {
            return Err("its weight is no matrix".to_owned());
        };
        if outer.iter().any(|size| *size != 1) {
            return Err("its weight is a stack of matrices".to_owned());
        }
        let matrix =
            if outer.is_empty() { weight.clone() } else { weight.reshaped(vec![inputs, outputs])? };
        let weight = self.net.turned(&matrix)?;
        self.dense_with(call, wire, weight, [outputs, inputs])
    }

    /// A dense layer over the last axis. Channels are the last axis of N×D and N×S×D only, so four axes are turned
    /// and more are joined.
    fn dense_with(
        &mut self,
        call: &Call<'_>,
        wire: &Wire,
        weight: Parameter,
        [outputs, inputs]: [usize; 2],
    ) -> Result<Value, String> {
        let op = Op::Gemm(Gemm { in_features: inputs, out_features: outputs, bias: false });
        let last = wire.rank().checked_sub(1).and_then(|last| wire.graph_axis(last));
        if last.is_none() && inputs != 1 {
            return Err(format!("its input has 1 feature, its weight {inputs}"));
        }
        // The features are the last axis of the graph's wire, too.
        let (source, dropped) = match (last, wire.shape.split_last()) {
            (Some(_), _) => (wire.name.clone(), wire.dropped),
            (None, Some((_, outer))) => {
                let dropped = super::value::natural_drop(outer);
                (self.as_dropped(&label(call.node), wire, &wire.shape, dropped)?, dropped)
            }
            _ => return Err("its input has no axes".to_owned()),
        };
        let name =
            self.over_last_axis(&label(call.node), op, &source, vec![(ParameterKind::Weight, weight)])?;
        Ok(self.value_of(name, dropped))
    }

    /// An operator over the channels, applied to the last axis of a wire of any number of axes.
    pub(super) fn over_last_axis(
        &mut self,
        label: &str,
        op: Op,
        wire: &str,
        parameters: Parameters,
    ) -> Result<String, String> {
        let dims = self.net.dims(wire);
        match dims.as_slice() {
            [_] | [_, _] => self.net.add(label, op, &[wire], parameters),
            [_, _, _] => {
                let first = self.net.transpose(&format!("{label}.channels_first"), wire, &[0, 3, 1, 2])?;
                let result = self.net.add(label, op, &[&first], parameters)?;
                self.net.transpose(&format!("{label}.channels_last"), &result, &[0, 2, 3, 1])
            }
            [outer @ .., last] => {
                let count =
                    super::array::count(&super::fold::fixed(outer)?).ok_or("its input is absurdly large")?;
                let tokens = [Dim::Fixed(count), *last];
                let joined = self.net.reshape(&format!("{label}.joined"), wire, &tokens)?;
                let result = self.net.add(label, op, &[&joined], parameters)?;
                let outputs = self.net.dims(&result).last().copied().unwrap_or(*last);
                self.net.reshape(&format!("{label}.parted"), &result, &[outer, &[outputs]].concat())
            }
            [] => Err("its input has no axes".to_owned()),
        }
    }

    fn last_two_turned(&mut self, call: &Call<'_>, wire: &Wire) -> Result<Wire, String> {
        let rank = wire.rank();
        let (Some(first), Some(second)) = (rank.checked_sub(2), rank.checked_sub(1)) else {
            return Err("its input is no matrix".to_owned());
        };
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(first, second);
        self.reordered(&format!("{}.turned", label(call.node)), wire, &order)
    }

    /// The product of two wires. Leading axes must agree.
    fn product(&mut self, call: &Call<'_>, left: &Wire, right: &Wire) -> Result<Value, String> {
        if left.rank() < 2 || right.rank() < 2 {
            return Err("an input is no matrix".to_owned());
        }
        let Aligned { left, right, dropped } = self.aligned(call, left, right, 2)?;
        let name = self.net.add(&label(call.node), Op::MatMul, &[&left, &right], Vec::new())?;
        Ok(self.value_of(name, dropped))
    }

    pub(super) fn batch_normalization(&mut self, call: &Call<'_>) -> Result<Value, String> {
        use ParameterKind::{Bias, RunningMean, RunningVariance, Weight};
        let wire = call.wire(0)?;
        if call.flag("training_mode") {
            return Err("it is in training mode, which mixes examples; export it for inference".to_owned());
        }
        if call.opset < 14 && call.node.output.iter().skip(1).any(|name| !name.is_empty()) {
            return Err(
                "it gives statistics of the batch, as in training; export it for inference".to_owned()
            );
        }
        let channels = call.weights(1)?.len();
        let kinds = [Weight, Bias, RunningMean, RunningVariance];
        let parameters = kinds
            .into_iter()
            .zip(1..)
            .map(|(kind, place)| Ok((kind, self.net.parameter(call.weights(place)?, vec![channels])?)));
        let parameters = parameters.collect::<Result<Parameters, String>>()?;
        let epsilon = decimal(call.float("epsilon", 1e-5));
        let op = Op::BatchNormalization(BatchNormalization { channels, epsilon });
        let vector = wire.rank() == 2;
        let input = if vector { self.without_batch(call, &wire)? } else { self.image(call, &wire)? };
        let name = self.net.add(&label(call.node), op, &[&input], parameters)?;
        self.image_value(call, wire.rank(), name)
    }

    pub(super) fn layer_normalization(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let (wire, weight) = (call.wire(0)?, call.weights(1)?);
        let axis = axis(call.int("axis", -1), wire.rank())?;
        let features = weight.len();
        if axis + 1 != wire.rank() || wire.size(axis)? != features || wire.graph_axis(axis).is_none() {
            return Err("only the last axis is normalised".to_owned());
        }
        let bias = match optional(call, 2)? {
            Some(bias) => self.net.parameter(bias, vec![features])?,
            None => Parameter::new(vec![features], &vec![0.0; features])?,
        };
        let weight = self.net.parameter(weight, vec![features])?;
        let parameters = vec![(ParameterKind::Weight, weight), (ParameterKind::Bias, bias)];
        let epsilon = decimal(call.float("epsilon", 1e-5));
        let op = Op::LayerNormalization(LayerNormalization { features, epsilon });
        let name = self.over_last_axis(&label(call.node), op, &wire.name, parameters)?;
        Ok(Value::Wire(Wire { name, ..wire }))
    }

    pub(super) fn lrn(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        let op = Op::Lrn(Lrn {
            size: positive(call.int("size", 0))?,
            alpha: call.float("alpha", 1e-4),
            beta: call.float("beta", 0.75),
            bias: call.float("bias", 1.0),
            region: LrnRegion::AcrossChannels,
        });
        let image = self.image(call, &wire)?;
        let name = self.net.add(&label(call.node), op, &[&image], Vec::new())?;
        self.image_value(call, wire.rank(), name)
    }

    pub(super) fn prelu(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let (wire, slope) = (call.wire(0)?, call.weights(1)?);
        let slopes = slope.len();
        let weight = vec![(ParameterKind::Weight, self.net.parameter(slope, vec![slopes])?)];
        let op = Op::PRelu(PRelu { slopes });
        if slopes == 1 {
            return self.map_with(call, op, &wire, weight);
        }
        // Broadcast from the last axis, as everything in ONNX.
        let place =
            slope.shape.iter().position(|size| *size == slopes).ok_or("it has a slope for each value")?;
        let axis =
            (wire.rank() + place).checked_sub(slope.shape.len()).ok_or("its slope has too many axes")?;
        if wire.size(axis)? != slopes {
            return Err("its slopes do not fit its input".to_owned());
        }
        let channels = matches!(self.net.dims(&wire.name).len(), 1 | 3);
        match wire.graph_axis(axis) {
            // The channels of images are the graph's axis 1, those of tokens its last.
            Some(1) if channels => self.map_with(call, op, &wire, weight),
            Some(_) if axis + 1 == wire.rank() => {
                let name = self.over_last_axis(&label(call.node), op, &wire.name, weight)?;
                Ok(Value::Wire(Wire { name, ..wire }))
            }
            _ => Err("its slopes are not those of the channels".to_owned()),
        }
    }

    pub(super) fn embedding(
        &mut self,
        call: &Call<'_>,
        table: &Constant,
        wire: &Wire,
    ) -> Result<Value, String> {
        let [entries, features] = table.shape[..] else { return Err("its table is no matrix".to_owned()) };
        let [Dim::Fixed(1), _] = wire.shape.as_slice() else {
            return Err("only the words of one sequence an example are looked up".to_owned());
        };
        let tokens = self.without_batch(call, wire)?;
        let weight = (ParameterKind::Weight, self.net.parameter(table, vec![entries, features])?);
        let op = Op::Embedding(Embedding { entries, features });
        let name = self.net.add(&label(call.node), op, &[&tokens], vec![weight])?;
        Ok(self.value_of(name, Some(0)))
    }

    pub(super) fn nearest_neighbors(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let (wire, examples, labels) = (call.wire(0)?, call.weights(1)?, call.weights(2)?);
        let [count, features] = examples.shape[..] else {
            return Err("its examples are no matrix".to_owned());
        };
        let size = |name| positive(call.int(name, 0));
        let vote = NearestNeighbors {
            features,
            examples: count,
            classes: size("classes")?,
            neighbors: size("neighbors")?,
            similarity_temperature: call.float("similarity_temperature", 1.0),
            smoothing: call.float("smoothing", 0.0),
            sharpness: call.float("sharpness", 1.0),
        };
        let parameters = vec![
            (ParameterKind::Weight, self.net.parameter(examples, vec![count, features])?),
            (ParameterKind::Labels, self.net.parameter(labels, vec![count])?),
        ];
        let vector = self.without_batch(call, &wire)?;
        let op = Op::NearestNeighbors(vote);
        let name = self.net.add(&label(call.node), op, &[&vector], parameters)?;
        Ok(self.value_of(name, Some(0)))
    }
}

/// The shortest decimal number that a single-precision one is: what somebody has written.
pub(super) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// A constant that may be left out, but not computed.
fn optional<'a>(call: &'a Call<'_>, place: usize) -> Result<Option<&'a Constant>, String> {
    call.input(place).map(|_| call.weights(place)).transpose()
}

/// Height and width of a kernel; a signal's has one row.
fn square(kernel: &[usize]) -> Result<[usize; 2], String> {
    match *kernel {
        [height, width] => Ok([height, width]),
        [length] => Ok([1, length]),
        _ => Err(format!("a kernel of {} axes", kernel.len())),
    }
}

/// An attribute of two numbers, one for a signal.
pub(super) fn pair(call: &Call<'_>, name: &str, default: usize, rank: usize) -> Result<[usize; 2], String> {
    let numbers = call.ints(name).unwrap_or_default();
    let numbers = numbers.iter().map(|number| possible(*number)).collect::<Option<Vec<_>>>();
    match numbers.as_deref() {
        Some([]) => Ok([default; 2]),
        Some([height, width]) if rank == 4 => Ok([*height, *width]),
        Some([length]) if rank == 3 => Ok([if name == "output_padding" { 0 } else { 1 }, *length]),
        _ => Err(format!("its {name} are not those of an image")),
    }
}

/// A window, step or border that a network may have.
pub(super) fn possible(number: i64) -> Option<usize> {
    usize::try_from(number).ok().filter(|number| *number <= 1 << 16)
}

pub(super) fn positive(number: i64) -> Result<usize, String> {
    let found = usize::try_from(number).ok().filter(|number| (1..=1 << 32).contains(number));
    found.ok_or_else(|| format!("it has the number {number}, which no network has"))
}
