//! From instructions to the steps of a tape: forward, and back in reverse order.

use regraft_graph::{BatchNormalization, Conv, Model, Node, Op, Parameter, ParameterKind, Weights};

use super::{
    Output, Tape, TapeOptions, Trained,
    memory::{Memory, lifetimes},
    steps::{Layer, LayerPlan, Normalization, Source, Step, Work},
};
use crate::{
    EngineError, Settings,
    axes::Axes,
    buffer::Buffer,
    compile::{self, Compiled, layers::apart},
    geometry::{Border, Geometry},
    kernels::{
        elementwise::{Elementwise, Second},
        gather::{Gather, Otherwise, Sources},
        gradient::{
            Gradient,
            batch_norm::{BatchNorm, BatchNormGradient, Statistics},
            bias::BiasGradient,
            clamp::ClampGradient,
            depthwise::DepthwiseGradient,
            pool::PoolGradient,
            softmax::SoftmaxGradient,
            weight::{self, WeightGradient},
        },
        pool::{Kind, Pool},
    },
    network::{Clamp, Instruction, Network},
    simd::LANES,
    step::Operation,
    window::Window,
};

/// A tape under construction.
pub(super) struct Builder<'a> {
    model: &'a Model,
    network: &'a Network<'a>,
    settings: Settings,
    options: &'a TapeOptions<'a>,
    compiled: Compiled,
    parameters: Vec<Trained>,
    values: Vec<f32>,
    norms: Vec<Normalization>,
    /// Shared numbers that are given away.
    state: usize,
    /// Whether the gradient of a value is needed, and the border that it must have.
    needed: Vec<bool>,
    borders: Vec<Border>,
    /// The value of each value's gradient so far.
    gradients: Vec<Option<usize>>,
    forward: Vec<Step>,
    backward: Vec<Step>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        model: &'a Model,
        network: &'a Network<'a>,
        compiled: Compiled,
        settings: Settings,
        options: &'a TapeOptions<'a>,
    ) -> Result<Self, EngineError> {
        let count = network.values.len();
        let mut builder = Self {
            model,
            network,
            settings,
            options,
            compiled,
            parameters: Vec::new(),
            values: Vec::new(),
            norms: Vec::new(),
            state: 0,
            needed: vec![false; count],
            borders: vec![[0; 4]; count],
            gradients: vec![None; count],
            forward: Vec::new(),
            backward: Vec::new(),
        };
        builder.take_parameters()?;
        builder.find_needed();
        Ok(builder)
    }

    fn weights(&self) -> &'a Weights {
        self.model.weights()
    }

    /// Finds what is trained, and takes its numbers.
    fn take_parameters(&mut self) -> Result<(), EngineError> {
        for instruction in &self.network.instructions {
            for parameter in trainable(instruction.node) {
                if !(self.options.trains)(&parameter) {
                    continue;
                }
                if self.place(&parameter.name).is_some() {
                    let message =
                        format!("'{}' is another node's too and cannot be trained yet", parameter.name);
                    return Err(self.refused(instruction, message));
                }
                let numbers = self.weights().parameter(instruction.node, parameter.kind)?.to_f32();
                let range = self.values.len()..self.values.len() + numbers.len();
                self.values.extend(numbers);
                let Parameter { name, kind, shape } = parameter;
                self.parameters.push(Trained { name, kind, shape, range });
            }
        }
        Ok(())
    }

    fn trained(&self, node: &Node, kind: ParameterKind) -> Option<&Trained> {
        let parameter = node.parameters().into_iter().find(|parameter| parameter.kind == kind)?;
        self.parameters.iter().find(|trained| trained.name == parameter.name)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.parameters.iter().find(|trained| trained.name == name).map(|trained| trained.range.start)
    }

    /// Goes forward: a value's gradient is needed where a trained parameter or one of those before it can be reached.
    fn find_needed(&mut self) {
        self.set_needed(0, self.options.input_gradient);
        for instruction in &self.network.instructions {
            let has_trained =
                trainable(instruction.node).iter().any(|parameter| self.place(&parameter.name).is_some());
            let before = instruction.inputs.iter().any(|input| self.is_needed(*input));
            self.set_needed(instruction.output, has_trained || before);
            let border = self.border_of_gradient(instruction);
            if let Some(place) = self.borders.get_mut(instruction.output) {
                *place = border;
            }
        }
    }

    fn set_needed(&mut self, value: usize, needed: bool) {
        self.needed.iter_mut().skip(value).take(1).for_each(|place| *place = needed);
    }

    fn is_needed(&self, value: usize) -> bool {
        self.needed.get(value).copied().unwrap_or(false)
    }

    fn geometry(&self, value: usize) -> Geometry {
        self.compiled.geometries.get(value).copied().unwrap_or(Geometry::blocked([1, 1, 1]))
    }

    /// The border that the gradient of an instruction's output needs: that of the convolution that makes the gradient of the
    /// input of it. A sum hands its gradient on as it is.
    fn border_of_gradient(&self, instruction: &Instruction<'_>) -> Border {
        let input = instruction.inputs.first().copied().unwrap_or(0);
        match &instruction.node.op {
            Op::Conv(conv) if self.is_needed(input) => {
                let (input, output) = (self.geometry(input), self.geometry(instruction.output));
                window_back(conv, &input, &output).map_or([0; 4], |(_, border)| border)
            }
            Op::Add => {
                let borders = instruction.inputs.iter().filter_map(|input| self.borders.get(*input));
                borders.fold([0; 4], |wide, border| {
                    let mut sides = wide;
                    sides.iter_mut().zip(border).for_each(|(side, other)| *side = (*side).max(*other));
                    sides
                })
            }
            _ => [0; 4],
        }
    }

    /// The whole tape.
    pub(super) fn build(mut self) -> Result<Tape, EngineError> {
        self.go_forward()?;
        let outputs = self.begin_backward()?;
        self.go_back()?;
        let given: Vec<(usize, usize)> = outputs
            .iter()
            .filter_map(|output| Some((output.gradient?, self.forward.len())))
            .chain([(0, 0)])
            .collect();
        let input_gradient =
            self.gradients.first().copied().flatten().filter(|_| self.options.input_gradient);
        let kept: Vec<usize> = outputs.iter().map(|output| output.value).chain(input_gradient).collect();
        let geometries = self.compiled.geometries;
        let lifetimes = lifetimes(&geometries, &[&self.forward, &self.backward], &given, &kept);
        let memory = Memory::new(&geometries, &lifetimes)?;
        let mut state = Buffer::zeroed(self.state)?;
        for (norm, node) in self.norms.iter().zip(norm_nodes(self.network)) {
            norm.fill(node, self.model.weights(), &mut state)?;
        }
        let gradients = crate::groups::zeros(1, self.values.len())?;
        Ok(Tape {
            set: self.settings.instruction_set,
            model: self.model.clone(),
            parameters: self.parameters,
            values: self.values,
            gradients,
            state,
            norms: self.norms,
            momentum: self.options.momentum,
            forward: self.forward,
            backward: self.backward,
            geometries,
            memory,
            outputs,
            input_gradient,
            images: 0,
            is_stale: false,
        })
    }

    fn go_forward(&mut self) -> Result<(), EngineError> {
        let mut steps: Vec<Option<crate::step::Step>> =
            std::mem::take(&mut self.compiled.steps).into_iter().map(Some).collect();
        for (index, instruction) in self.network.instructions.iter().enumerate() {
            let range = self.compiled.of_instruction.get(index).cloned().unwrap_or_default();
            let work = match &instruction.node.op {
                Op::Conv(_) | Op::Gemm(_) => Some(self.layer(instruction)?),
                Op::BatchNormalization(norm) => Some(self.norm(instruction, norm)),
                _ => None,
            };
            if let Some(work) = work {
                let (reads, writes) = (instruction.inputs.clone(), Some(instruction.output));
                self.forward.push(Step { name: instruction.node.name.clone(), reads, writes, work });
                continue;
            }
            for step in steps.get_mut(range).unwrap_or(&mut []).iter_mut().filter_map(Option::take) {
                let crate::step::Step { name, reads, writes, operation } = step;
                self.forward.push(Step {
                    name,
                    reads,
                    writes: Some(writes),
                    work: Work::Kernel(Box::new(operation)),
                });
            }
        }
        Ok(())
    }

    fn source(&self, node: &Node, kind: ParameterKind) -> Result<Source, EngineError> {
        if let Some(trained) = self.trained(node, kind) {
            return Ok(Source::Trained(trained.range.clone()));
        }
        let has_some = node.parameters().iter().any(|parameter| parameter.kind == kind);
        let numbers = if has_some { self.weights().parameter(node, kind)?.to_f32() } else { Vec::new() };
        Ok(Source::Fixed(numbers))
    }

    fn layer(&self, instruction: &Instruction<'_>) -> Result<Work, EngineError> {
        let node = instruction.node;
        let input = self.geometry(instruction.inputs.first().copied().unwrap_or(0));
        let (window, groups) = window_of(&node.op, &input);
        let plan = LayerPlan {
            weight: self.source(node, ParameterKind::Weight)?,
            bias: self.source(node, ParameterKind::Bias)?,
            input,
            output: self.geometry(instruction.output),
            residual: None,
            window,
            groups,
            clamp: instruction.clamp,
            is_turned: false,
        };
        Ok(Work::Layer(Box::new(Layer::new(plan, &self.values, self.settings)?)))
    }

    fn norm(&mut self, instruction: &Instruction<'_>, norm: &BatchNormalization) -> Work {
        let node = instruction.node;
        let input = self.geometry(instruction.inputs.first().copied().unwrap_or(0));
        let statistics = Statistics { start: self.state, size: norm.channels.next_multiple_of(LANES) };
        self.state += Normalization::size(norm);
        let of_batch = (self.options.batch_statistics)(&node.name);
        let trained = [ParameterKind::Weight, ParameterKind::Bias]
            .map(|kind| self.trained(node, kind).map(|trained| trained.range.start));
        let name = |kind| {
            let parameter = node.parameters().into_iter().find(|parameter| parameter.kind == kind);
            parameter.map(|parameter| parameter.name).unwrap_or_default()
        };
        self.norms.push(Normalization {
            statistics,
            channels: norm.channels,
            pixels: input.pixels(),
            of_batch,
            trained,
            mean: name(ParameterKind::RunningMean),
            variance: name(ParameterKind::RunningVariance),
        });
        Work::Gradient(Box::new(BatchNorm {
            input,
            output: self.geometry(instruction.output),
            statistics,
            epsilon: norm.epsilon as f32,
            of_batch,
            clamp: instruction.clamp,
        }))
    }

    /// The outputs, whose gradients are given. Two outputs may have one value.
    fn begin_backward(&mut self) -> Result<Vec<Output>, EngineError> {
        let mut outputs = Vec::new();
        for (value, shape) in self.network.outputs.clone() {
            let gradient = self.is_needed(value).then(|| self.new_gradient(value));
            if let Some(gradient) = gradient {
                self.contribute("output", value, gradient)?;
            }
            outputs.push(Output { value, shape, gradient });
        }
        Ok(outputs)
    }

    fn gradient(&self, value: usize) -> Option<usize> {
        self.gradients.get(value).copied().flatten()
    }

    fn set_gradient(&mut self, value: usize, gradient: Option<usize>) {
        self.gradients.iter_mut().skip(value).take(1).for_each(|place| *place = gradient);
    }

    /// A value with the sizes of another one, and the border that its gradient needs.
    fn new_gradient(&mut self, value: usize) -> usize {
        let Geometry { channels, height, width, .. } = self.geometry(value);
        let border = self.borders.get(value).copied().unwrap_or([0; 4]);
        self.new_value(Geometry { border, ..Geometry::blocked([channels, height, width]) })
    }

    fn new_value(&mut self, geometry: Geometry) -> usize {
        self.compiled.geometries.push(geometry);
        self.compiled.geometries.len() - 1
    }

    fn push_back(&mut self, name: &str, reads: Vec<usize>, writes: Option<usize>, work: Work) {
        self.backward.push(Step { name: format!("{name} (gradient)"), reads, writes, work });
    }

    fn go_back(&mut self) -> Result<(), EngineError> {
        for instruction in self.network.instructions.iter().rev() {
            let Some(given) = self.gradient(instruction.output) else { continue };
            if !self.is_needed(instruction.output) {
                continue;
            }
            let gradient = self.before_clamp(instruction, given);
            match &instruction.node.op {
                Op::Conv(_) | Op::Gemm(_) => self.layer_back(instruction, gradient)?,
                Op::BatchNormalization(_) => self.norm_back(instruction, gradient)?,
                Op::Relu | Op::Clip(_) => self.hand_on(instruction, gradient)?,
                Op::Add if self.network.all_are(&instruction.inputs, self.sizes(instruction.output)) => {
                    self.hand_on(instruction, gradient)?;
                }
                Op::MaxPool(_)
                | Op::AveragePool(_)
                | Op::AdaptiveAveragePool { .. }
                | Op::GlobalAveragePool => {
                    self.pool_back(instruction, gradient)?;
                }
                Op::Softmax => self.softmax_back(instruction, gradient)?,
                Op::Concat(_) => self.concat_back(instruction, gradient)?,
                Op::Flatten | Op::Reshape(_) => self.reshape_back(instruction, gradient)?,
                _ => return Err(self.no_gradient(instruction)),
            }
        }
        Ok(())
    }

    fn sizes(&self, value: usize) -> [usize; 3] {
        self.network.values.get(value).copied().unwrap_or([0; 3])
    }

    fn no_gradient(&self, instruction: &Instruction<'_>) -> EngineError {
        self.refused(
            instruction,
            "this operator has no gradient yet; freeze the network up to here".to_owned(),
        )
    }

    fn refused(&self, instruction: &Instruction<'_>, message: String) -> EngineError {
        let node = instruction.node;
        let input = self.geometry(instruction.inputs.first().copied().unwrap_or(0));
        EngineError::Unsupported {
            node: node.name.clone(),
            op: node.op.name(),
            shape: format!("N×{}×{}×{}", input.channels, input.height, input.width),
            message,
        }
    }

    /// The gradient in front of the clamp that an instruction ends with.
    fn before_clamp(&mut self, instruction: &Instruction<'_>, given: usize) -> usize {
        if instruction.clamp == Clamp::NONE {
            return given;
        }
        let result = self.new_gradient(instruction.output);
        let step = ClampGradient {
            from: self.geometry(given),
            output: self.geometry(instruction.output),
            to: self.geometry(result),
            clamp: instruction.clamp,
        };
        let reads = vec![given, instruction.output];
        self.push_back(&instruction.node.name, reads, Some(result), Work::Gradient(Box::new(step)));
        result
    }

    /// The gradient of a sum is that of each summand.
    fn hand_on(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        for input in &instruction.inputs {
            self.contribute(&instruction.node.name, *input, gradient)?;
        }
        Ok(())
    }

    /// Adds a value to the gradient of another one.
    fn contribute(&mut self, name: &str, to: usize, part: usize) -> Result<(), EngineError> {
        if !self.is_needed(to) {
            return Ok(());
        }
        let Some(before) = self.gradient(to) else {
            self.set_gradient(to, Some(part));
            return Ok(());
        };
        let sum = self.new_gradient(to);
        let (input, second, output) = (self.geometry(part), Some(self.geometry(before)), self.geometry(sum));
        let (scale_and_shift, clamp, function, with_second) = (None, Clamp::NONE, None, Second::Add);
        let step = Elementwise { input, second, output, scale_and_shift, clamp, function, with_second };
        self.push_back(
            name,
            vec![part, before],
            Some(sum),
            Work::Kernel(Box::new(Operation::Elementwise(step))),
        );
        self.set_gradient(to, Some(sum));
        Ok(())
    }

    fn layer_back(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        let node = instruction.node;
        let value = instruction.inputs.first().copied().unwrap_or(0);
        let (from, input) = (self.geometry(gradient), self.geometry(value));
        let (window, groups) = window_of(&node.op, &input);
        if let Some(place) = self.trained(node, ParameterKind::Bias).map(|trained| trained.range.start) {
            let step = Work::Gradient(Box::new(BiasGradient { from, to: place }));
            self.push_back(&node.name, vec![gradient], None, step);
        }
        if let Some(place) = self.trained(node, ParameterKind::Weight).map(|trained| trained.range.start) {
            let step: Box<dyn Gradient> = if compile::is_depthwise(&input, &from, groups) {
                Box::new(DepthwiseGradient::new([from, input], window, place)?)
            } else {
                let recipe = weight::Recipe { from, input, window, groups, to: place, sums: self.state };
                let [_, blocks] = self.settings.instruction_set.dense_tile();
                let step = WeightGradient::new(&recipe, blocks.min(2))?;
                self.state += step.sums();
                Box::new(step)
            };
            self.push_back(&node.name, vec![gradient, value], None, Work::Gradient(step));
        }
        if self.is_needed(value) {
            self.input_back(instruction, value, gradient)?;
        }
        Ok(())
    }

    /// The gradient of a layer's input: a convolution of the output's gradient with the kernel turned round.
    fn input_back(
        &mut self,
        instruction: &Instruction<'_>,
        value: usize,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let node = instruction.node;
        let input = self.geometry(value);
        let (mut source, mut window, groups) = match &node.op {
            Op::Conv(conv) => match window_back(conv, &input, &self.geometry(gradient)) {
                Some((window, _)) => (gradient, window, conv.groups),
                None => (self.spread(instruction, conv, value, gradient)?, Window::SINGLE, conv.groups),
            },
            _ => (gradient, Window::SINGLE, 1),
        };
        if let (Op::Conv(conv), true) = (&node.op, source != gradient) {
            window = Window { kernel: conv.kernel, dilation: conv.dilation, ..Window::SINGLE };
        }
        let before = self.gradient(value);
        let to = self.new_gradient(value);
        let plan = LayerPlan {
            weight: self.source(node, ParameterKind::Weight)?,
            bias: Source::Fixed(Vec::new()),
            input: self.geometry(source),
            output: self.geometry(to),
            residual: before.map(|before| self.geometry(before)),
            window,
            groups,
            clamp: Clamp::NONE,
            is_turned: true,
        };
        let layer = Layer::new(plan, &self.values, self.settings)?;
        let reads = [Some(std::mem::take(&mut source)), before].into_iter().flatten().collect();
        self.push_back(&node.name, reads, Some(to), Work::Layer(Box::new(layer)));
        self.set_gradient(value, Some(to));
        Ok(())
    }

    /// A gradient with zeros between its pixels and around them, for a convolution that steps over pixels.
    fn spread(
        &mut self,
        instruction: &Instruction<'_>,
        conv: &Conv,
        value: usize,
        gradient: usize,
    ) -> Result<usize, EngineError> {
        let (input, from) = (self.geometry(value), self.geometry(gradient));
        let before = Window::of_conv(conv, [input.height, input.width]).before;
        let reach = reach(conv);
        let [height, width] = [input.height + reach[0], input.width + reach[1]];
        let spread = Geometry::blocked([from.channels, height, width]);
        spread.check()?;
        let result = self.new_value(spread);
        let of_gradient = Axes::new(vec![from.channels, from.height, from.width], from)?;
        let to = Axes::new(vec![from.channels, height, width], spread)?;
        let places = vec![
            of_gradient.places(0),
            apart(&of_gradient.places(1), height, conv.stride[0], [reach[0], before[0]]),
            apart(&of_gradient.places(2), width, conv.stride[1], [reach[1], before[1]]),
        ];
        let sources = Sources::Parts(to.parts(&from, places));
        let step = Gather::new([from, spread], sources, Otherwise::Fill(0.0))?;
        let work = Work::Kernel(Box::new(Operation::Other(Box::new(step))));
        self.push_back(&instruction.node.name, vec![gradient], Some(result), work);
        Ok(result)
    }

    fn norm_back(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        let node = instruction.node;
        let value = instruction.inputs.first().copied().unwrap_or(0);
        let index = norm_nodes(self.network).take_while(|other| other.name != node.name).count();
        let Some((statistics, of_batch, [weight, bias])) =
            self.norms.get(index).map(|norm| (norm.statistics, norm.of_batch, norm.trained))
        else {
            return Ok(());
        };
        let is_needed = self.is_needed(value);
        let result = is_needed.then(|| self.new_gradient(value));
        let step = BatchNormGradient {
            from: self.geometry(gradient),
            input: self.geometry(value),
            to: result.map(|result| self.geometry(result)),
            statistics,
            of_batch,
            weight,
            bias,
        };
        self.push_back(&node.name, vec![gradient, value], result, Work::Gradient(Box::new(step)));
        if let Some(result) = result {
            self.contribute(&node.name, value, result)?;
        }
        Ok(())
    }

    fn pool_back(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        let node = instruction.node;
        let value = instruction.inputs.first().copied().unwrap_or(0);
        if !self.is_needed(value) {
            return Ok(());
        }
        let ends = [self.geometry(value), self.geometry(instruction.output)];
        let pool: Pool = match &node.op {
            Op::MaxPool(attributes) => compile::pool(node, attributes, ends, Kind::Largest)?,
            Op::AveragePool(attributes) => compile::pool(node, attributes, ends, compile::mean(attributes))?,
            _ => compile::adaptive_pool(ends),
        };
        let reads = match pool.kind {
            Kind::Largest => vec![gradient, value, instruction.output],
            Kind::Mean | Kind::PaddedMean => vec![gradient],
        };
        let result = self.new_gradient(value);
        let step = PoolGradient { pool, from: self.geometry(gradient), to: self.geometry(result) };
        self.push_back(&node.name, reads, Some(result), Work::Gradient(Box::new(step)));
        self.contribute(&node.name, value, result)
    }

    fn softmax_back(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        let node = instruction.node;
        let value = instruction.inputs.first().copied().unwrap_or(0);
        if self.model.graph().fact(&node.name)?.shape.len() > 3 {
            // Over the last axis, which are not the channels.
            return Err(self.no_gradient(instruction));
        }
        let result = self.new_gradient(value);
        let [from, output, to] = [gradient, instruction.output, result].map(|value| self.geometry(value));
        let step = Work::Gradient(Box::new(SoftmaxGradient { from, output, to }));
        self.push_back(&node.name, vec![gradient, instruction.output], Some(result), step);
        self.contribute(&node.name, value, result)
    }

    /// Each input's gradient is a part of the output's.
    fn concat_back(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        let parts = crate::views::parts(self.network, instruction);
        if parts.is_empty() {
            return Err(self.no_gradient(instruction));
        }
        let from = self.geometry(gradient);
        let whole = Axes::new(vec![from.channels, from.height, from.width], from)?;
        for part in parts {
            if !self.is_needed(part.input) {
                continue;
            }
            let result = self.new_gradient(part.input);
            let to = self.geometry(result);
            let axes = Axes::new(vec![to.channels, to.height, to.width], to)?;
            let channels = whole.places(0).into_iter().skip(part.channel).take(to.channels).collect();
            let places = vec![channels, whole.places(1), whole.places(2)];
            let sources = Sources::Parts(axes.parts(&from, places));
            let step = Gather::new([from, to], sources, Otherwise::Fill(0.0))?;
            let work = Work::Kernel(Box::new(Operation::Other(Box::new(step))));
            self.push_back(&instruction.node.name, vec![gradient], Some(result), work);
            self.contribute(&instruction.node.name, part.input, result)?;
        }
        Ok(())
    }

    /// The numbers in row-major order in the shape of the input.
    fn reshape_back(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        let node = instruction.node;
        let value = instruction.inputs.first().copied().unwrap_or(0);
        if !self.is_needed(value) {
            return Ok(());
        }
        let result = self.new_gradient(value);
        let shape = |wire: &str| {
            let fact = self.model.graph().fact(wire)?;
            let shape = fact.bind(&self.network.bindings).unwrap_or_default();
            Ok::<_, EngineError>(shape.into_iter().skip(1).collect::<Vec<usize>>())
        };
        let input = node.inputs.first().map_or("", String::as_str);
        let from = Axes::new(shape(&node.name)?, self.geometry(gradient))?;
        let to = Axes::new(shape(input)?, self.geometry(result))?;
        let work = Work::Kernel(Box::new(Operation::Other(Box::new(Gather::reshape(&from, &to)?))));
        self.push_back(&node.name, vec![gradient], Some(result), work);
        self.contribute(&node.name, value, result)
    }
}

/// Parameters of a node that can be trained.
fn trainable(node: &Node) -> Vec<Parameter> {
    let fixed = [
        ParameterKind::RunningMean,
        ParameterKind::RunningVariance,
        ParameterKind::Labels,
        ParameterKind::Value,
    ];
    node.parameters().into_iter().filter(|parameter| !fixed.contains(&parameter.kind)).collect()
}

/// The nodes of batch normalisation, in order.
fn norm_nodes<'a>(network: &'a Network<'_>) -> impl Iterator<Item = &'a Node> {
    let nodes = network.instructions.iter().map(|instruction| instruction.node);
    nodes.filter(|node| matches!(node.op, Op::BatchNormalization(_)))
}

fn window_of(op: &Op, input: &Geometry) -> (Window, usize) {
    match op {
        Op::Conv(conv) => (Window::of_conv(conv, [input.height, input.width]), conv.groups),
        _ => (Window::SINGLE, 1),
    }
}

/// Rows and columns from the first to the last place of a window.
fn reach(conv: &Conv) -> [usize; 2] {
    let [down, right] = conv.dilation;
    let [height, width] = conv.kernel;
    [(height - 1) * down, (width - 1) * right]
}

/// The window of the convolution that gives the gradient of another one's input, and the border that the output's gradient
/// needs for it. `None` for one that steps over pixels, or whose first window lies in the border alone.
fn window_back(conv: &Conv, input: &Geometry, output: &Geometry) -> Option<(Window, Border)> {
    if conv.stride != [1; 2] {
        return None;
    }
    let before = Window::of_conv(conv, [input.height, input.width]).before;
    let [down, right] = reach(conv);
    let before = [down.checked_sub(before[0])?, right.checked_sub(before[1])?];
    let window = Window { kernel: conv.kernel, stride: [1; 2], dilation: conv.dilation, before };
    let below = (input.height + down).saturating_sub(before[0] + output.height);
    let beside = (input.width + right).saturating_sub(before[1] + output.width);
    Some((window, [before[0], before[1], below, beside]))
}
