//! From instructions to the steps forward.

use regraft_graph::{BatchNormalization, Node, Op, ParameterKind};

use super::{
    build::{Builder, input_of},
    steps::{Layer, LayerPlan, Normalization, Source, Step, Work},
};
use crate::{
    EngineError,
    geometry::Geometry,
    kernels::gradient::batch_norm::{BatchNorm, Statistics},
    network::{Clamp, Instruction},
    simd::LANES,
    step,
    tape::recompute::is_cheap,
    window::Window,
};

impl Builder<'_> {
    pub(super) fn go_forward(&mut self) -> Result<(), EngineError> {
        let steps = std::mem::take(&mut self.compiled.steps);
        let mut steps: Vec<Option<step::Step>> = steps.into_iter().map(Some).collect();
        for (index, instruction) in self.network.instructions.iter().enumerate() {
            if self.join_sum(instruction) {
                continue;
            }
            let reads = self.reads(instruction);
            let before = self.forward.len();
            if let Some(work) = self.trainable_work(instruction)? {
                let writes = Some(instruction.output);
                self.forward.push(Step { name: instruction.node.name.clone(), reads, writes, work });
                self.cheap.extend(is_cheap(&instruction.node.op).then_some(before));
                continue;
            }
            let range = self.compiled.of_instruction.get(index).cloned().unwrap_or_default();
            let steps = steps.get_mut(range).unwrap_or(&mut []).iter_mut().filter_map(Option::take);
            let mut steps: Vec<Step> = steps.map(Step::from).collect();
            if let Op::Lstm(layer) | Op::Gru(layer) = &instruction.node.op {
                self.train_recurrence(instruction, layer, &mut steps)?;
            }
            self.cheap.extend((steps.len() == 1 && is_cheap(&instruction.node.op)).then_some(before));
            self.forward.extend(steps);
        }
        Ok(())
    }

    /// The work of an instruction whose parameters may change; the others are as in a program.
    fn trainable_work(&mut self, instruction: &Instruction<'_>) -> Result<Option<Work>, EngineError> {
        Ok(match &instruction.node.op {
            Op::Conv(_) | Op::Gemm(_) => Some(self.layer(instruction)?),
            Op::BatchNormalization(norm) => Some(Work::gradient(self.norm(instruction, norm))),
            _ => self.learned_work(instruction)?,
        })
    }

    /// Where a layer's numbers of a kind come from: nowhere, if the layer has none.
    pub(super) fn source(&self, node: &Node, kind: ParameterKind) -> Result<Source, EngineError> {
        if let Some(trained) = self.trained(node, kind) {
            return Ok(Source::Trained(trained.range.clone()));
        }
        let has_some = node.parameters().iter().any(|parameter| parameter.kind == kind);
        let numbers = if has_some { self.weights().parameter(node, kind)?.to_f32() } else { Vec::new() };
        Ok(Source::Fixed(numbers))
    }

    fn layer(&self, instruction: &Instruction<'_>) -> Result<Work, EngineError> {
        let layer = Layer::new(self.plan(instruction)?, &self.values, self.settings)?;
        Ok(Work::Layer(Box::new(layer)))
    }

    /// What a layer is packed from forward.
    pub(super) fn plan(&self, instruction: &Instruction<'_>) -> Result<LayerPlan, EngineError> {
        let node = instruction.node;
        let input = self.geometry(self.input_of_layer(instruction));
        let (window, groups) = window_of(&node.op, &input);
        Ok(LayerPlan {
            weight: self.source(node, ParameterKind::Weight)?,
            bias: self.source(node, ParameterKind::Bias)?,
            input,
            output: self.geometry(instruction.output),
            residual: None,
            window,
            groups,
            clamp: instruction.clamp,
            turned: None,
            apart: [1; 2],
        })
    }

    /// Puts a batch normalisation that only a sum reads off until that sum, which takes it along: the image in between is
    /// neither written nor read. Whether the instruction is one of the two.
    fn join_sum(&mut self, instruction: &Instruction<'_>) -> bool {
        if let Some((norm, reads, mut step)) = self.joined.remove(&instruction.output) {
            let other = instruction.inputs.iter().copied().find(|value| *value != norm).unwrap_or(norm);
            step.residual = Some(self.geometry(other));
            (step.output, step.clamp) = (self.geometry(instruction.output), instruction.clamp);
            let (name, writes) = (instruction.node.name.clone(), Some(instruction.output));
            let work = Work::gradient(step);
            self.forward.push(Step { name, reads: vec![reads, other], writes, work });
            return true;
        }
        let Op::BatchNormalization(norm) = &instruction.node.op else { return false };
        let sum = self.sum_behind(instruction).filter(|sum| !self.joined.contains_key(sum));
        let Some(sum) = sum else { return false };
        let step = self.norm(instruction, norm);
        self.joined.insert(sum, (instruction.output, input_of(instruction), step));
        true
    }

    /// The sum of two values of one size that alone reads an instruction's output.
    fn sum_behind(&self, instruction: &Instruction<'_>) -> Option<usize> {
        let value = instruction.output;
        let is_output = self.network.outputs.iter().any(|(output, _)| *output == value);
        let mut readers = self.network.instructions.iter().filter(|reader| reader.inputs.contains(&value));
        let (reader, none) = (readers.next()?, readers.next());
        let size = self.network.values.get(value).copied().unwrap_or([0; 3]);
        let is_sum = matches!(reader.node.op, Op::Add) && self.network.all_are(&reader.inputs, size);
        let are_two = matches!(reader.inputs[..], [one, other] if one != other);
        let can_join = instruction.clamp == Clamp::NONE && none.is_none() && !is_output;
        (can_join && is_sum && are_two).then_some(reader.output)
    }

    fn norm(&mut self, instruction: &Instruction<'_>, attributes: &BatchNormalization) -> BatchNorm {
        let norm = self.normalization(instruction, attributes);
        let (statistics, of_batch) = (norm.statistics, norm.of_batch);
        self.norms.push(norm);
        BatchNorm {
            input: self.geometry(input_of(instruction)),
            residual: None,
            output: self.geometry(instruction.output),
            statistics,
            epsilon: attributes.epsilon as f32,
            of_batch,
            clamp: instruction.clamp,
        }
    }

    fn normalization(
        &mut self,
        instruction: &Instruction<'_>,
        attributes: &BatchNormalization,
    ) -> Normalization {
        let (node, channels) = (instruction.node, attributes.channels);
        let statistics = Statistics { start: self.state, size: channels.next_multiple_of(LANES) };
        self.state += Normalization::size(attributes);
        let place = |kind| self.trained(node, kind).map(|trained| trained.range.start);
        let name = |kind| {
            let parameter = node.parameters().into_iter().find(|parameter| parameter.kind == kind);
            parameter.map(|parameter| parameter.name).unwrap_or_default()
        };
        Normalization {
            statistics,
            channels,
            pixels: self.geometry(input_of(instruction)).pixels(),
            of_batch: (self.options.batch_statistics)(&node.name),
            trained: [ParameterKind::Weight, ParameterKind::Bias].map(place),
            mean: name(ParameterKind::RunningMean),
            variance: name(ParameterKind::RunningVariance),
        }
    }
}

/// A layer's window, and the groups of its channels.
pub(super) fn window_of(op: &Op, input: &Geometry) -> (Window, usize) {
    match op {
        Op::Conv(conv) => (Window::of_conv(conv, [input.height, input.width]), conv.groups),
        _ => (Window::SINGLE, 1),
    }
}
