//! Functions of a number, or of the channels of a pixel.

use regraft_graph::Op;

use crate::{
    EngineError,
    kernels::gradient::{clamp::ClampGradient, softmax::SoftmaxGradient},
    network::{Clamp, Instruction},
    tape::{
        build::{Builder, input_of},
        steps::Work,
    },
};

impl Builder<'_> {
    /// The gradient in front of the clamp that an instruction ends with; a normalisation's has it in itself.
    pub(super) fn before_clamp(&mut self, instruction: &Instruction<'_>, given: usize) -> usize {
        if instruction.clamp == Clamp::NONE || matches!(instruction.node.op, Op::BatchNormalization(_)) {
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
        self.push_back(&instruction.node.name, reads, Some(result), Work::gradient(step));
        result
    }

    pub(super) fn softmax_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        if self.model.graph().fact(&node.name)?.shape.len() > 3 {
            // Over the last axis, which are not the channels.
            return Err(self.no_gradient(instruction));
        }
        let result = self.new_gradient(value);
        let [from, output, to] = [gradient, instruction.output, result].map(|value| self.geometry(value));
        let step = Work::gradient(SoftmaxGradient { from, output, to });
        self.push_back(&node.name, vec![gradient, instruction.output], Some(result), step);
        self.contribute(&node.name, value, result);
        Ok(())
    }
}
