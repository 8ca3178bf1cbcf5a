//! From instructions to steps: layouts and borders of the values, kernels with packed weights.

pub(crate) mod layers;
pub(crate) mod moves;

use std::ops::Range;

use regraft_graph::{
    BatchNormalization, Conv, Gemm, Graph, NearestNeighbors, Node, Op, ParameterKind, Pool as PoolAttributes,
    Reduce, ReduceKind, Scale, Tensor, Weights,
};

use crate::{
    Calibration, EngineError, InstructionSet, Precision, Settings,
    buffer::Buffer,
    element::{Element, Levels},
    geometry::Geometry,
    kernels::{
        activation::Function,
        attention::Attention,
        average::GlobalAverage,
        concat::Concat,
        dense::{Dense, Recipe},
        depthwise::Depthwise,
        elementwise::{Elementwise, Second},
        normalization::LayerNorm,
        packing::together,
        pool::{Kind, Pool},
        rows::Rows,
        softmax::Softmax,
        tokens::{Table, Tokens},
        winograd::{self, Winograd},
    },
    network::{Clamp, Instruction, Network, shares_parameters},
    quantization,
    simd::LANES,
    step::{Operation, Step},
    views::{self, Views},
    window::{self, Window},
};

/// Steps in order, the geometry of every value, and which of them are parts of others.
pub(crate) struct Compiled {
    pub(crate) steps: Vec<Step>,
    pub(crate) geometries: Vec<Geometry>,
    pub(crate) views: Views,
    /// Which steps each instruction has become.
    pub(crate) of_instruction: Vec<Range<usize>>,
}

/// Chooses layouts, picks kernels and packs weights.
pub(crate) fn compile(
    graph: &Graph,
    weights: Weights,
    network: &Network<'_>,
    settings: Settings,
    calibration: Option<&Calibration>,
    views: Views,
) -> Result<Compiled, EngineError> {
    let levels = match calibration {
        Some(calibration) => quantization::levels(network, calibration)?,
        None => vec![None; network.values.len()],
    };
    let geometries = geometries(network, &views, settings.precision, &levels)?;
    let mut compiler = Compiler {
        graph,
        network,
        weights,
        settings,
        compiled: Compiled { steps: Vec::new(), geometries, views, of_instruction: Vec::new() },
    };
    for instruction in &network.instructions {
        let first = compiler.compiled.steps.len();
        compiler.push(instruction)?;
        compiler.compiled.of_instruction.push(first..compiler.compiled.steps.len());
        compiler.release(instruction.node);
    }
    Ok(compiler.compiled)
}

/// The values' layouts: blocked, each with the widest border that a reader needs; the input planar where it can be.
fn geometries(
    network: &Network<'_>,
    views: &Views,
    precision: Precision,
    levels: &[Option<Levels>],
) -> Result<Vec<Geometry>, EngineError> {
    let mut geometries: Vec<Geometry> =
        network.values.iter().map(|sizes| Geometry::blocked(*sizes)).collect();
    if let Some(input) = geometries.first_mut().filter(|input| input.channels < LANES) {
        let is_output = network.outputs.iter().any(|(value, _)| *value == 0);
        if !is_output && network.instructions.iter().all(reads_planar) {
            input.lanes = 1;
        }
    }
    for instruction in &network.instructions {
        if let (Op::Conv(conv), [value]) = (&instruction.node.op, instruction.inputs.as_slice()) {
            let output = geometries.get(instruction.output).map(|output| [output.height, output.width]);
            if let (Some(input), Some(output)) = (geometries.get_mut(*value), output) {
                let needed = window::border(conv, input, output);
                input.widen(needed.ok_or(EngineError::Memory { megabytes: usize::MAX })?);
            }
        }
    }
    views.share_borders(&mut geometries);
    for (geometry, levels) in geometries.iter_mut().zip(levels) {
        geometry.element = levels.map_or(Element::of(precision, geometry), Element::UInt8);
    }
    if let Some(input) = geometries.first_mut().filter(|input| input.lanes == 1) {
        // The kernel's last columns are read together with the next numbers.
        input.border[3] += together(input) - 1;
    }
    geometries.iter().try_for_each(Geometry::check)?;
    Ok(geometries)
}

/// Whether an instruction is fine with the input, value 0, being planar.
fn reads_planar(instruction: &Instruction<'_>) -> bool {
    let dense = matches!(&instruction.node.op, Op::Conv(conv) if conv.groups == 1);
    (dense || !instruction.inputs.contains(&0)) && instruction.residual != Some(0)
}

/// The last step of a kernel: a clamp and then a function.
type Last = (Clamp, Option<Function>);

struct Compiler<'a> {
    graph: &'a Graph,
    network: &'a Network<'a>,
    /// The tensors that are still to be packed.
    weights: Weights,
    settings: Settings,
    compiled: Compiled,
}

impl Compiler<'_> {
    fn geometry(&self, value: usize) -> Geometry {
        self.compiled.geometries.get(value).copied().unwrap_or(Geometry::blocked([1, 1, 1]))
    }

    fn push(&mut self, instruction: &Instruction<'_>) -> Result<(), EngineError> {
        match &instruction.node.op {
            Op::NearestNeighbors(vote) => return self.push_votes(instruction, vote),
            Op::Concat(concat) => return self.push_concat(instruction, concat.axis),
            Op::ConvTranspose(conv) => return self.push_transposed(instruction, conv),
            Op::Lstm(layer) | Op::Gru(layer) => return self.push_recurrent(instruction, layer),
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Max | Op::Min if !self.is_fusable(instruction) => {
                return self.push_arithmetic(instruction);
            }
            _ => {}
        }
        let operation = self.operation(instruction)?;
        let reads = instruction.inputs.iter().chain(&instruction.residual).copied().collect();
        self.push_step(&instruction.node.name, reads, instruction.output, operation);
        Ok(())
    }

    fn push_step(&mut self, name: &str, reads: Vec<usize>, writes: usize, operation: Operation) {
        self.compiled.steps.push(Step { name: name.to_owned(), reads, writes, operation });
    }

    /// A value between the steps of one node, in single precision.
    fn new_value(&mut self, sizes: [usize; 3]) -> Result<(usize, Geometry), EngineError> {
        let geometry = Geometry::blocked(sizes);
        geometry.check()?;
        self.compiled.geometries.push(geometry);
        Ok((self.compiled.geometries.len() - 1, geometry))
    }

    /// Whether a sum or product is one of equal shapes, or of an image and a factor for each of its channels.
    fn is_fusable(&self, instruction: &Instruction<'_>) -> bool {
        let Shapes { input, second, output } = self.shapes(instruction);
        let sizes = |geometry: &Geometry| [geometry.channels, geometry.height, geometry.width];
        let factor = [output.channels, 1, 1];
        let second = second.map_or(factor, |second| sizes(&second));
        let fits = match instruction.node.op {
            Op::Add => second == sizes(&output),
            Op::Mul => second == sizes(&output) || second == factor,
            _ => false,
        };
        fits && sizes(&input) == sizes(&output)
    }

    fn shapes(&self, instruction: &Instruction<'_>) -> Shapes {
        let second = instruction.inputs.get(1).or(instruction.residual.as_ref());
        Shapes {
            input: self.geometry(instruction.inputs.first().copied().unwrap_or(0)),
            second: second.map(|value| self.geometry(*value)),
            output: self.geometry(instruction.output),
        }
    }

    fn operation(&self, instruction: &Instruction<'_>) -> Result<Operation, EngineError> {
        let (node, clamp) = (instruction.node, instruction.clamp);
        let last = (clamp, instruction.function);
        let shapes = self.shapes(instruction);
        let Shapes { input, second, output } = shapes;
        let function = instruction.function;
        let with_second = match (&node.op, second) {
            (Op::Mul, Some(second)) if second.pixels() == output.pixels() => Second::Multiply,
            (Op::Mul, _) => Second::Scale,
            _ => Second::Add,
        };
        let elementwise = |scale_and_shift| Elementwise {
            input,
            second,
            output,
            scale_and_shift,
            clamp,
            function,
            with_second,
        };
        let tokens = |lead, skip, table| Operation::Tokens(Tokens { input, output, lead, skip, table });
        Ok(match &node.op {
            Op::Conv(conv) => self.conv(node, conv, shapes, last)?,
            Op::Gemm(gemm) => self.gemm(node, gemm, shapes, last)?,
            Op::BatchNormalization(norm) => {
                Operation::Elementwise(elementwise(Some(self.statistics(node, norm)?)))
            }
            Op::Scale(scale) => Operation::Elementwise(elementwise(Some(self.factors(node, scale)?))),
            Op::Relu
            | Op::Clip(_)
            | Op::Sigmoid
            | Op::Silu
            | Op::HardSigmoid
            | Op::HardSwish
            | Op::Gelu(_)
            | Op::Add
            | Op::Mul
            | Op::Dropout { .. } => Operation::Elementwise(elementwise(None)),
            Op::LayerNormalization(norm) => {
                let [weight, bias] =
                    [self.tensor(node, ParameterKind::Weight)?, self.tensor(node, ParameterKind::Bias)?];
                Operation::LayerNorm(LayerNorm::new([input, output], [&weight, &bias], norm.epsilon)?)
            }
            Op::Attention(attention) => {
                let tiled = self.settings.instruction_set == InstructionSet::Amx;
                Operation::Attention(Attention { input, output, heads: attention.heads, tiled })
            }
            Op::Tokens => tokens(0, 0, None),
            Op::ClassToken(_) => tokens(1, 0, Some(self.table(node, ParameterKind::Token)?)),
            Op::PositionEmbedding(_) => tokens(0, 0, Some(self.table(node, ParameterKind::Position)?)),
            Op::SelectToken { index } => tokens(0, *index, None),
            Op::MaxPool(attributes) => {
                Operation::Pool(pool(node, attributes, [input, output], Kind::Largest)?)
            }
            Op::AveragePool(attributes) => {
                Operation::Pool(pool(node, attributes, [input, output], mean(attributes))?)
            }
            Op::AdaptiveAveragePool { .. } => Operation::Pool(adaptive_pool([input, output])),
            // The kernel writes a vector; a convolution behind it may need a border.
            Op::GlobalAveragePool if output.has_border() => Operation::Pool(adaptive_pool([input, output])),
            Op::GlobalAveragePool => Operation::Average(GlobalAverage { input }),
            Op::Reduce(reduce) if self.is_global_mean(node, reduce) && !output.has_border() => {
                Operation::Average(GlobalAverage { input })
            }
            // A sequence's numbers have another order.
            Op::Flatten if self.graph.fact(input_wire(node))?.shape.len() != 3 => {
                Operation::Rows(Rows::Flatten { input, output })
            }
            Op::Softmax => {
                let axes = self.graph.fact(&node.name)?.shape.len();
                match axes {
                    0 | 1 => return Err(unsupported(node, &input, "there is no axis behind the batch")),
                    2 | 3 => Operation::Rows(Rows::Softmax { input, output }),
                    _ => Operation::Other(Box::new(Softmax { input, output })),
                }
            }
            _ => Operation::Other(self.other(instruction)?),
        })
    }

    /// Whether a reduction is the mean of each channel of an image or a sequence.
    fn is_global_mean(&self, node: &Node, reduce: &Reduce) -> bool {
        let axes = self.graph.fact(input_wire(node)).map_or(0, |fact| fact.shape.len());
        let over_pixels = matches!((axes, reduce.axes.as_slice()), (4, [2, 3]) | (3, [1]));
        over_pixels && reduce.kind == ReduceKind::Mean
    }

    fn tensor(&self, node: &Node, kind: ParameterKind) -> Result<Vec<f32>, EngineError> {
        Ok(self.weights.parameter(node, kind).map(Tensor::to_f32)?)
    }

    /// Gives the memory of a node's tensors back, unless another node may need them.
    fn release(&mut self, node: &Node) {
        if !shares_parameters(self.graph) {
            node.parameters().into_iter().for_each(|parameter| drop(self.weights.remove(&parameter.name)));
        }
    }

    /// A tensor of 1×S×D, or S×D.
    fn table(&self, node: &Node, kind: ParameterKind) -> Result<Table, EngineError> {
        let tensor = self.weights.parameter(node, kind)?;
        table(&tensor.to_f32(), tensor.shape().last().copied().unwrap_or(0))
    }

    fn bias(&self, node: &Node, has_bias: bool) -> Result<Vec<f32>, EngineError> {
        if has_bias { self.tensor(node, ParameterKind::Bias) } else { Ok(Vec::new()) }
    }

    fn conv(&self, node: &Node, conv: &Conv, shapes: Shapes, last: Last) -> Result<Operation, EngineError> {
        let Shapes { input, .. } = shapes;
        let tensors = [self.tensor(node, ParameterKind::Weight)?, self.bias(node, conv.bias)?];
        let window = Window::of_conv(conv, [input.height, input.width]);
        self.convolution(&Recipe { window, groups: conv.groups, ..shapes.recipe(&tensors, last) })
    }

    fn convolution(&self, recipe: &Recipe<'_>) -> Result<Operation, EngineError> {
        convolution(recipe, self.settings, false)
    }

    fn gemm(&self, node: &Node, gemm: &Gemm, shapes: Shapes, last: Last) -> Result<Operation, EngineError> {
        let tensors = [self.tensor(node, ParameterKind::Weight)?, self.bias(node, gemm.bias)?];
        Ok(Operation::Dense(Box::new(Dense::new(&shapes.recipe(&tensors, last), self.settings)?)))
    }

    /// Scale and shift of a batch normalisation, computed in double precision.
    fn statistics(&self, node: &Node, norm: &BatchNormalization) -> Result<[Buffer; 2], EngineError> {
        use ParameterKind::{Bias, RunningMean, RunningVariance, Weight};
        let [gamma, beta] = [self.tensor(node, Weight)?, self.tensor(node, Bias)?];
        let [mean, variance] = [self.tensor(node, RunningMean)?, self.tensor(node, RunningVariance)?];
        let padded = norm.channels.next_multiple_of(LANES);
        let (mut scales, mut shifts) = (Buffer::zeroed(padded)?, Buffer::zeroed(padded)?);
        let affine = gamma.iter().zip(&beta).zip(mean.iter().zip(&variance));
        let slots = scales.iter_mut().zip(shifts.iter_mut());
        for (((gamma, beta), (mean, variance)), (scale, shift)) in affine.zip(slots) {
            let factor = f64::from(*gamma) / (f64::from(*variance) + norm.epsilon).sqrt();
            *scale = factor as f32;
            *shift = (f64::from(*beta) - f64::from(*mean) * factor) as f32;
        }
        Ok([scales, shifts])
    }

    /// Factors and summands of the channels, padded to whole blocks.
    fn factors(&self, node: &Node, scale: &Scale) -> Result<[Buffer; 2], EngineError> {
        let size = scale.channels.next_multiple_of(LANES);
        let shifts = self.bias(node, scale.bias)?;
        Ok([padded(&self.tensor(node, ParameterKind::Weight)?, size)?, padded(&shifts, size)?])
    }

    /// A step for each input that is not computed in its place.
    fn push_concat(&mut self, instruction: &Instruction<'_>, axis: usize) -> Result<(), EngineError> {
        let parts = views::parts(self.network, instruction);
        if parts.is_empty() {
            return self.push_concat_along(instruction, axis);
        }
        let output = self.geometry(instruction.output);
        for part in parts {
            if self.compiled.views.in_place(instruction.output, part) {
                continue;
            }
            let operation =
                Operation::Concat(Concat { input: self.geometry(part.input), output, channel: part.channel });
            self.push_step(&instruction.node.name, vec![part.input], instruction.output, operation);
        }
        Ok(())
    }

    /// Two steps: the dot products with all examples, and the vote.
    fn push_votes(
        &mut self,
        instruction: &Instruction<'_>,
        vote: &NearestNeighbors,
    ) -> Result<(), EngineError> {
        let node = instruction.node;
        let Shapes { input: query, output, .. } = self.shapes(instruction);
        let labels = self.labels(node, vote, &query)?;
        let (value, dots) = self.new_value([vote.examples, 1, 1])?;
        let examples = [self.tensor(node, ParameterKind::Weight)?, Vec::new()];
        let shapes = Shapes { input: query, second: None, output: dots };
        let similarity = Dense::new(&shapes.recipe(&examples, (Clamp::NONE, None)), self.settings)?;
        let rows = Rows::Votes { vote: vote.clone(), labels, input: dots, query, output };
        let queries = instruction.inputs.first().copied().unwrap_or(0);
        let name = |part: &str| format!("{} ({part})", node.name);
        self.push_step(&name("similarity"), vec![queries], value, Operation::Dense(Box::new(similarity)));
        self.push_step(&name("vote"), vec![value, queries], instruction.output, Operation::Rows(rows));
        Ok(())
    }

    fn labels(
        &self,
        node: &Node,
        vote: &NearestNeighbors,
        query: &Geometry,
    ) -> Result<Vec<usize>, EngineError> {
        let labels = self.tensor(node, ParameterKind::Labels)?;
        let index = |label: &f32| {
            let class = *label as usize;
            (class < vote.classes && class as f32 == *label).then_some(class)
        };
        let indices: Option<Vec<usize>> = labels.iter().map(index).collect();
        let message = format!("a stored label is not a whole number below {}", vote.classes);
        indices.ok_or_else(|| unsupported(node, query, message))
    }
}

/// Numbers and zeros behind them.
pub(crate) fn padded(numbers: &[f32], size: usize) -> Result<Buffer, EngineError> {
    let mut buffer = Buffer::zeroed(size)?;
    buffer.iter_mut().zip(numbers).for_each(|(to, number)| *to = *number);
    Ok(buffer)
}

/// Tokens of so many features as they are added to others.
pub(crate) fn table(tokens: &[f32], features: usize) -> Result<Table, EngineError> {
    let pixels = tokens.len() / features.max(1);
    Geometry::blocked([features, 1, pixels]).check()?;
    let mut numbers = Buffer::zeroed(features.div_ceil(LANES) * pixels * LANES)?;
    for (token, row) in tokens.chunks_exact(features.max(1)).enumerate() {
        for (feature, value) in row.iter().enumerate() {
            let (block, lane) = (feature / LANES, feature % LANES);
            if let Some(place) = numbers.get_mut((block * pixels + token) * LANES + lane) {
                *place = *value;
            }
        }
    }
    Ok(Table { numbers, pixels })
}

/// The kernel that is expected to be the fastest; `trained` for weights that are packed anew for each batch.
pub(crate) fn convolution(
    recipe: &Recipe<'_>,
    settings: Settings,
    trained: bool,
) -> Result<Operation, EngineError> {
    let Recipe { input, output, groups, .. } = *recipe;
    if is_depthwise(&input, &output, groups) {
        return Ok(Operation::Depthwise(Depthwise::new(recipe)?));
    }
    if winograd::pays(recipe, settings, trained) {
        return Ok(Operation::Winograd(Winograd::new(recipe, settings.instruction_set)?));
    }
    Ok(Operation::Dense(Box::new(Dense::new(recipe, settings)?)))
}

/// Whether every channel has a window of its own.
pub(crate) fn is_depthwise(input: &Geometry, output: &Geometry, groups: usize) -> bool {
    groups == input.channels && groups == output.channels && groups > 1 && input.lanes == LANES
}

/// Geometries of what an instruction reads and writes.
#[derive(Clone, Copy)]
struct Shapes {
    input: Geometry,
    second: Option<Geometry>,
    output: Geometry,
}

impl Shapes {
    /// A dense layer with this weight and bias.
    fn recipe<'a>(&self, [weight, bias]: &'a [Vec<f32>; 2], (clamp, function): Last) -> Recipe<'a> {
        let Self { input, second: residual, output } = *self;
        Recipe {
            input,
            output,
            residual,
            window: Window::SINGLE,
            groups: 1,
            weight,
            turned: None,
            bias,
            clamp,
            function,
            apart: [1; 2],
        }
    }
}

pub(crate) fn pool(
    node: &Node,
    attributes: &PoolAttributes,
    [input, output]: [Geometry; 2],
    kind: Kind,
) -> Result<Pool, EngineError> {
    let message = "a window lies wholly in the padding; use less padding";
    let views = |axis, size, positions| {
        let views = window::pool_views(attributes, axis, size, positions);
        views.ok_or_else(|| unsupported(node, &input, message))
    };
    let extents = |axis, size, positions| window::pool_extents(attributes, axis, size, positions);
    let extents = [extents(0, input.height, output.height), extents(1, input.width, output.width)];
    let views = [views(0, input.height, output.height)?, views(1, input.width, output.width)?];
    Ok(Pool { input, output, views, extents, kind })
}

pub(crate) fn mean(attributes: &PoolAttributes) -> Kind {
    if attributes.count_include_pad { Kind::PaddedMean } else { Kind::Mean }
}

pub(crate) fn adaptive_pool([input, output]: [Geometry; 2]) -> Pool {
    let views = [
        window::adaptive_views(input.height, output.height),
        window::adaptive_views(input.width, output.width),
    ];
    let extents = views.each_ref().map(|views| views.iter().map(Range::len).collect());
    Pool { input, output, views, extents, kind: Kind::Mean }
}

/// The first wire that a node reads.
fn input_wire(node: &Node) -> &str {
    node.inputs.first().map_or("", String::as_str)
}

fn unsupported(node: &Node, input: &Geometry, message: impl Into<String>) -> EngineError {
    let shape = format!("N×{}×{}×{}", input.channels, input.height, input.width);
    EngineError::Unsupported { node: node.name.clone(), op: node.op.name(), shape, message: message.into() }
}
