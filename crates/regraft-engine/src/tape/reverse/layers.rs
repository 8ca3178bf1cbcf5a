//! Convolutions, dense layers and batch normalisation.

use regraft_graph::{Conv, Op, ParameterKind};

use crate::{
    EngineError,
    axes::Axes,
    compile::{is_depthwise, layers::apart},
    geometry::{Border, Geometry},
    kernels::{
        gather::{Gather, Otherwise, Sources},
        gradient::{
            batch_norm::BatchNormGradient,
            depthwise::DepthwiseGradient,
            weight::{self, WeightGradient},
        },
    },
    network::{Clamp, Instruction},
    tape::{
        build::{Builder, input_of, norm_nodes},
        forward::window_of,
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
            let work = self.weight_gradient(instruction, gradient, place)?;
            self.push_back(&node.name, vec![gradient, input_of(instruction)], None, work);
        }
        if self.is_needed(input_of(instruction)) {
            self.input_back(instruction, gradient)?;
        }
        Ok(())
    }

    fn weight_gradient(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
        to: usize,
    ) -> Result<Work, EngineError> {
        let (from, input) = (self.geometry(gradient), self.geometry(input_of(instruction)));
        let (window, groups) = window_of(&instruction.node.op, &input);
        if is_depthwise(&input, &from, groups) {
            return Ok(Work::gradient(DepthwiseGradient::new([from, input], window, to)?));
        }
        let recipe = weight::Recipe { from, input, window, groups, to, sums: self.state };
        let [_, blocks] = self.settings.instruction_set.dense_tile();
        let step = WeightGradient::new(&recipe, blocks.min(2))?;
        self.state += step.sums();
        Ok(Work::gradient(step))
    }

    /// The gradient of a layer's input: a convolution of the output's gradient with the kernel turned round.
    fn input_back(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        let (source, window, groups) = self.source_back(instruction, gradient)?;
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
        let reads = [Some(source), before].into_iter().flatten().collect();
        self.push_back(&node.name, reads, Some(to), Work::Layer(Box::new(layer)));
        self.set_gradient(value, Some(to));
        Ok(())
    }

    /// What the gradient of a layer's input is a convolution of, by which window and in how many groups.
    fn source_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(usize, Window, usize), EngineError> {
        let Op::Conv(conv) = &instruction.node.op else {
            return Ok((gradient, Window::SINGLE, 1));
        };
        let (input, from) = (self.geometry(input_of(instruction)), self.geometry(gradient));
        if let Some((window, _)) = window_back(conv, &input, &from) {
            return Ok((gradient, window, conv.groups));
        }
        let window = Window { kernel: conv.kernel, dilation: conv.dilation, ..Window::SINGLE };
        Ok((self.spread(instruction, conv, gradient)?, window, conv.groups))
    }

    /// A gradient with zeros between its pixels and around them, for a convolution that steps over pixels.
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
            weight,
            bias,
        };
        self.push_back(&node.name, vec![gradient, value], result, Work::gradient(step));
        result.into_iter().for_each(|result| self.contribute(&node.name, value, result));
        Ok(())
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
pub(in crate::tape) fn window_back(
    conv: &Conv,
    input: &Geometry,
    output: &Geometry,
) -> Option<(Window, Border)> {
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
