//! Convolutions, dense layers and batch normalisation.

use std::ops::Range;

use regraft_graph::{Conv, Op, ParameterKind};

use crate::{
    EngineError,
    axes::Axes,
    compile::{is_depthwise, layers::apart},
    geometry::Geometry,
    kernels::{
        gather::{Gather, Otherwise, Sources},
        gradient::{
            batch_norm::BatchNormGradient,
            depthwise::DepthwiseGradient,
            weight::{self, WeightGradient},
            weight_bfloat16,
        },
        pool::{Kind, Pool},
        winograd::{self, gradient::WinogradWeightGradient},
    },
    network::{Clamp, Instruction},
    simd::LANES,
    step::Operation,
    tape::{
        build::{Builder, input_of, norm_nodes},
        forward::window_of,
        reverse::phases::{Phase, phases},
        steps::{Layer, LayerPlan, Source, Work},
    },
    window::Window,
};

impl Builder<'_> {
    pub(super) fn layer_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let node = instruction.node;
        self.bias_back(instruction, ParameterKind::Bias, gradient);
        if let Some(place) = self.gradient_place(node, ParameterKind::Weight) {
            if self.is_rounded(instruction) {
                self.rounded_weight_back(instruction, gradient, place)?;
            } else {
                let (input, window) = self.seen(instruction, gradient)?;
                let work = self.weight_gradient(instruction, [gradient, input], window, place)?;
                self.push_back(&node.name, vec![gradient, input], None, work);
            }
        }
        if self.is_needed(input_of(instruction)) {
            self.input_back(instruction, gradient)?;
        }
        Ok(())
    }

    fn weight_gradient(
        &mut self,
        instruction: &Instruction<'_>,
        [gradient, value]: [usize; 2],
        window: Window,
        to: usize,
    ) -> Result<Work, EngineError> {
        let (from, input) = (self.geometry(gradient), self.geometry(value));
        let (_, groups) = window_of(&instruction.node.op, &input);
        if is_depthwise(&input, &from, groups) {
            return Ok(Work::gradient(DepthwiseGradient::new([from, input], window, to)?));
        }
        let recipe = weight::Recipe { from, input, window, groups, to, sums: self.state };
        if winograd::gradient::pays(&recipe) {
            return Ok(Work::gradient(WinogradWeightGradient::new(&recipe)?));
        }
        let step = WeightGradient::new(&recipe, self.settings.instruction_set)?;
        self.sums = self.sums.max(step.sums());
        Ok(Work::gradient(step))
    }

    /// What the windows of a layer see, and the windows. Of a kernel of one place that steps over pixels, those that it sees
    /// as an image of their own: lines of neighbours are read faster.
    fn seen(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(usize, Window), EngineError> {
        let value = input_of(instruction);
        let (from, input) = (self.geometry(gradient), self.geometry(value));
        let (window, groups) = window_of(&instruction.node.op, &input);
        let [down, right] = window.stride;
        let is_sparse = window.kernel == [1; 2] && window.stride != [1; 2] && window.before == [0; 2];
        let are_inside = (from.height - 1) * down < input.height && (from.width - 1) * right < input.width;
        if !is_sparse || !are_inside || groups > 1 || input.lanes != LANES {
            return Ok((value, window));
        }
        let output = Geometry::blocked([input.channels, from.height, from.width]);
        output.check()?;
        let seen = self.new_value(output);
        let views = [every(from.height, down), every(from.width, right)];
        let extents = [vec![1; from.height], vec![1; from.width]];
        let pool = Pool { input, output, views, extents, kind: Kind::Largest };
        let name = format!("{} (pixels)", instruction.node.name);
        self.push_back(&name, vec![value], Some(seen), Work::kernel(Operation::Pool(pool)));
        Ok((seen, Window::SINGLE))
    }

    /// The gradient of a weight from operands in bfloat16, which are laid out for it first.
    fn rounded_weight_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
        to: usize,
    ) -> Result<(), EngineError> {
        let (from, input) = (self.gradient_of_layer(instruction, gradient), self.input_of_layer(instruction));
        let (window, _) = window_of(&instruction.node.op, &self.geometry(input));
        let geometries = [self.geometry(from), self.geometry(input)];
        let steps = weight_bfloat16::Steps::new(geometries, window, [to, self.state])?;
        let planes = self.new_value(steps.planes.output());
        let pairs = self.new_value(steps.pairs.output());
        self.sums = self.sums.max(steps.gradient.sums());
        let name = &instruction.node.name;
        self.push_back(name, vec![input], Some(planes), Work::computation(steps.planes));
        self.push_back(name, vec![from], Some(pairs), Work::computation(steps.pairs));
        self.push_back(name, vec![planes, pairs], None, Work::gradient(steps.gradient));
        Ok(())
    }

    /// The gradient of a layer's input: convolutions of the output's gradient with the kernel turned round. What the value's
    /// gradient has been so far is their residual.
    fn input_back(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        let value = input_of(instruction);
        let (source, phases, apart) = self.phases_back(instruction, gradient)?;
        let source = self.gradient_of_layer(instruction, source);
        let before = self.gradient(value);
        let to = self.new_gradient(value);
        for phase in phases {
            let plan = LayerPlan {
                bias: Source::Fixed(Vec::new()),
                input: self.geometry(source),
                output: phase.part(&self.geometry(to)),
                residual: before.map(|before| phase.part(&self.geometry(before))),
                window: phase.window,
                clamp: Clamp::NONE,
                turned: Some(phase.turned),
                apart,
                ..self.plan(instruction)?
            };
            let layer = Layer::new(plan, &self.values, self.settings)?;
            let reads = [Some(source), before].into_iter().flatten().collect();
            self.push_back(&instruction.node.name, reads, Some(to), Work::Layer(Box::new(layer)));
        }
        self.set_gradient(value, Some(to));
        Ok(())
    }

    /// What the gradient of a layer's input is made of: a gradient, the convolutions of it, and how far apart their outputs
    /// are.
    fn phases_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(usize, Vec<Phase>, [usize; 2]), EngineError> {
        let (input, from) = (self.geometry(input_of(instruction)), self.geometry(gradient));
        let Op::Conv(conv) = &instruction.node.op else {
            return Ok((gradient, vec![Phase::whole(Window::SINGLE, &input)], [1; 2]));
        };
        if let Some((phases, _)) = phases(conv, &input, &from) {
            return Ok((gradient, phases, conv.stride));
        }
        let window = Window { kernel: conv.kernel, dilation: conv.dilation, ..Window::SINGLE };
        let source = self.spread(instruction, conv, gradient)?;
        Ok((source, vec![Phase::whole(window, &input)], [1; 2]))
    }

    /// A gradient with zeros between its pixels and around them, for a convolution whose first windows lie in the border alone.
    fn spread(
        &mut self,
        instruction: &Instruction<'_>,
        conv: &Conv,
        gradient: usize,
    ) -> Result<usize, EngineError> {
        let (input, from) = (self.geometry(input_of(instruction)), self.geometry(gradient));
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
        self.push_back(&instruction.node.name, vec![gradient], Some(result), Work::computation(step));
        Ok(result)
    }

    pub(super) fn norm_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        let index = norm_nodes(self.network).take_while(|other| other.name != node.name).count();
        let Some((statistics, of_batch)) = self.norms.get(index).map(|norm| (norm.statistics, norm.of_batch))
        else {
            return Ok(());
        };
        let [weight, bias] =
            [ParameterKind::Weight, ParameterKind::Bias].map(|kind| self.gradient_place(node, kind));
        let result = self.is_needed(value).then(|| self.new_gradient(value));
        let step = BatchNormGradient {
            from: self.geometry(gradient),
            input: self.geometry(value),
            to: result.map(|result| self.geometry(result)),
            statistics,
            of_batch,
            clamp: instruction.clamp,
            weight,
            bias,
        };
        self.push_back(&node.name, vec![gradient, value], result, Work::gradient(step));
        result.into_iter().for_each(|result| self.contribute(&node.name, value, result));
        Ok(())
    }
}

/// So many single places, so far apart.
fn every(count: usize, stride: usize) -> Vec<Range<usize>> {
    (0..count).map(|place| place * stride..place * stride + 1).collect()
}

/// Rows and columns from the first to the last place of a window.
fn reach(conv: &Conv) -> [usize; 2] {
    let [down, right] = conv.dilation;
    let [height, width] = conv.kernel;
    [(height - 1) * down, (width - 1) * right]
}
