//! The walk back: instructions in reverse order, and the gradients that their outputs have so far.

mod arithmetic;
mod functions;
mod layers;
mod moves;
pub(super) mod phases;
mod pools;
mod recurrent;
mod reductions;
mod tables;
mod tokens;

use regraft_graph::{Interpolation, InterpolationMode, Op};

use super::{
    Output,
    build::Builder,
    steps::{Step, Work},
};
use crate::{
    EngineError,
    geometry::Geometry,
    kernels::elementwise::{Elementwise, Second},
    network::{Clamp, Instruction},
    step::Operation,
};

impl Builder<'_> {
    /// The outputs, whose gradients are given. Two outputs may have one value.
    pub(super) fn begin_backward(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        for (value, shape) in self.network.outputs.clone() {
            let gradient = self.is_needed(value).then(|| self.new_gradient(value));
            if let Some(gradient) = gradient {
                self.contribute("output", value, gradient);
            }
            outputs.push(Output { value, shape, gradient });
        }
        outputs
    }

    pub(super) fn gradient(&self, value: usize) -> Option<usize> {
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

    pub(super) fn new_value(&mut self, geometry: Geometry) -> usize {
        self.compiled.geometries.push(geometry);
        self.compiled.geometries.len() - 1
    }

    fn push_back(&mut self, name: &str, reads: Vec<usize>, writes: Option<usize>, work: Work) {
        self.backward.push(Step { name: format!("{name} (gradient)"), reads, writes, work });
    }

    pub(super) fn go_back(&mut self) -> Result<(), EngineError> {
        for instruction in self.network.instructions.iter().rev() {
            let Some(given) = self.gradient(instruction.output) else { continue };
            if self.is_needed(instruction.output) {
                let gradient = self.before_clamp(instruction, given);
                self.operator_back(instruction, gradient)?;
            }
        }
        for sum in self.more.clone() {
            self.push_back("parameters of several nodes", Vec::new(), None, Work::gradient(sum));
        }
        Ok(())
    }

    fn operator_back(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        match &instruction.node.op {
            Op::Conv(_) | Op::Gemm(_) => self.layer_back(instruction, gradient),
            Op::BatchNormalization(_) => self.norm_back(instruction, gradient),
            Op::Relu | Op::Clip(_) => self.hand_on(instruction, gradient),
            Op::Add if self.network.all_are(&instruction.inputs, self.sizes(instruction.output)) => {
                self.hand_on(instruction, gradient)
            }
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Max | Op::Min => {
                self.arithmetic_back(instruction, gradient)
            }
            Op::MaxPool(_) | Op::AveragePool(_) | Op::AdaptiveAveragePool { .. } | Op::GlobalAveragePool => {
                self.pool_back(instruction, gradient)
            }
            Op::Softmax => self.softmax_back(instruction, gradient),
            Op::Dropout { ratio } => self.dropout_back(instruction, *ratio, gradient),
            Op::Lrn(attributes) => self.lrn_back(instruction, *attributes, gradient),
            Op::Reduce(reduce) => self.reduction_back(instruction, reduce, gradient),
            Op::MatMul => self.product_back(instruction, gradient),
            Op::Attention(attention) => self.attention_back(instruction, attention.heads, gradient),
            Op::Lstm(layer) | Op::Gru(layer) => self.recurrence_back(instruction, layer, gradient),
            _ => self.learned_back(instruction, gradient),
        }
    }

    /// Operators with tables or factors that may be trained.
    fn learned_back(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        match &instruction.node.op {
            Op::LayerNormalization(norm) => self.layer_norm_back(instruction, norm.epsilon, gradient),
            Op::Scale(_) => self.scale_back(instruction, gradient),
            Op::PRelu(rectifier) => self.rectifier_back(instruction, rectifier.slopes == 1, gradient),
            Op::Constant(_) => self.constant_back(instruction, gradient),
            Op::ClassToken(token) => self.token_back(instruction, token.features, gradient),
            Op::PositionEmbedding(_) => self.positions_back(instruction, gradient),
            Op::Embedding(embedding) => self.embedding_back(instruction, embedding.entries, gradient),
            _ => self.move_back(instruction, gradient),
        }
    }

    /// Operators that only move numbers, and functions of single ones.
    fn move_back(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        match &instruction.node.op {
            Op::Concat(concat) => self.concat_back(instruction, concat.axis, gradient),
            Op::Flatten | Op::Reshape(_) => self.reshape_back(instruction, gradient),
            Op::Transpose(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Tokens
            | Op::SelectToken { .. }
            | Op::Resize(Interpolation { mode: InterpolationMode::Nearest, .. }) => {
                self.places_back(instruction, gradient)
            }
            _ => self.function_back(instruction, gradient),
        }
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

    /// The gradient of a sum is that of each summand.
    fn hand_on(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        for input in &instruction.inputs {
            self.contribute(&instruction.node.name, *input, gradient);
        }
        Ok(())
    }

    /// Adds a value to the gradient of another one.
    fn contribute(&mut self, name: &str, to: usize, part: usize) {
        if !self.is_needed(to) {
            return;
        }
        let before = self.gradient(to);
        let border = self.borders.get(to).copied().unwrap_or([0; 4]);
        let is_wide = self.geometry(part).border.iter().zip(border).all(|(side, needed)| *side >= needed);
        // What another operator hands on may lack the border.
        let sum = if before.is_none() && is_wide { part } else { self.add(name, to, part, before) };
        self.set_gradient(to, Some(sum));
    }

    /// A part of a value's gradient and what was there before, with the border that it needs.
    fn add(&mut self, name: &str, to: usize, part: usize, before: Option<usize>) -> usize {
        let sum = self.new_gradient(to);
        let step = Elementwise {
            input: self.geometry(part),
            second: before.map(|before| self.geometry(before)),
            output: self.geometry(sum),
            scale_and_shift: None,
            clamp: Clamp::NONE,
            function: None,
            with_second: Second::Add,
        };
        let reads = [Some(part), before].into_iter().flatten().collect();
        self.push_back(name, reads, Some(sum), Work::kernel(Operation::Elementwise(step)));
        sum
    }
}
