//! Products of matrices that are both computed, and attention.

use crate::{
    EngineError,
    axes::{Axes, sizes},
    compile::moves::all_places,
    geometry::Geometry,
    kernels::{
        gather::{Gather, Otherwise, Sources},
        gradient::attention::AttentionGradient,
        matmul::MatMul,
    },
    network::Instruction,
    tape::{
        build::{Builder, input_of},
        steps::Work,
    },
};

impl Builder<'_> {
    pub(super) fn attention_back(
        &mut self,
        instruction: &Instruction<'_>,
        heads: usize,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        let result = self.new_gradient(value);
        let [from, input, to] = [gradient, value, result].map(|value| self.geometry(value));
        let step = Work::gradient(AttentionGradient { from, input, to, heads });
        self.push_back(&node.name, vec![gradient, value], Some(result), step);
        self.contribute(&node.name, value, result);
        Ok(())
    }

    /// Of `A · B` with the gradient `G`: `G · Bᵀ` and `Aᵀ · G`.
    pub(super) fn product_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let node = instruction.node;
        let ([a, b], [left, right]) = (node.inputs.as_slice(), instruction.inputs.as_slice()) else {
            return Err(self.no_gradient(instruction));
        };
        let (left, right) = (self.axes(a, *left)?, self.axes(b, *right)?);
        let ([.., rows, terms], [.., columns]) = (left.shape.as_slice(), right.shape.as_slice()) else {
            return Err(self.no_gradient(instruction));
        };
        for (index, value) in instruction.inputs.iter().enumerate() {
            if !self.is_needed(*value) {
                continue;
            }
            let other = instruction.inputs.get(1 - index).copied().unwrap_or(0);
            let turned = self.turned(instruction, if index == 0 { &right } else { &left }, other)?;
            let (operands, [rows, terms]) = match index {
                0 => ([gradient, turned], [*rows, *columns]),
                _ => ([turned, gradient], [*terms, *rows]),
            };
            let result = self.new_gradient(*value);
            let inputs = operands.map(|value| self.geometry(value));
            let (output, is_sequence) = (self.geometry(result), left.shape.len() == 2);
            let step = MatMul { inputs, output, rows, terms, is_sequence };
            self.push_back(&node.name, operands.to_vec(), Some(result), Work::computation(step));
            self.contribute(&node.name, *value, result);
        }
        Ok(())
    }

    /// A value with its last two axes exchanged.
    fn turned(
        &mut self,
        instruction: &Instruction<'_>,
        tensor: &Axes,
        value: usize,
    ) -> Result<usize, EngineError> {
        let (mut shape, mut places) = (tensor.shape.clone(), all_places(tensor));
        let last = shape.len().saturating_sub(1);
        shape.swap(last.saturating_sub(1), last);
        places.swap(last.saturating_sub(1), last);
        let to = Axes::new(shape.clone(), Geometry::blocked(sizes(&shape)))?;
        to.geometry.check()?;
        let result = self.new_value(to.geometry);
        let sources = Sources::Parts(to.parts(&tensor.geometry, places));
        let step = Gather::new([tensor.geometry, to.geometry], sources, Otherwise::Fill(0.0))?;
        self.push_back(&instruction.node.name, vec![value], Some(result), Work::computation(step));
        Ok(result)
    }
}
