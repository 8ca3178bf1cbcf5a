//! Copies in bfloat16 of what layers multiply, where that is wanted.
//!
//! A copy is made once for all layers that read a value, and stays for the gradient of their weights; the value itself is then
//! kept only where something else reads it.

use regraft_graph::Op;

use super::{
    build::{Builder, input_of},
    forward::window_of,
    steps::{Step, Work},
};
use crate::{
    Precision,
    kernels::rounding::{Rounding, rounded},
    network::Instruction,
};

impl Builder<'_> {
    /// Whether an instruction is a layer that multiplies numbers in bfloat16. Vectors cost little, and are what a user sees.
    pub(super) fn is_rounded(&self, instruction: &Instruction<'_>) -> bool {
        let (op, input) = (&instruction.node.op, self.geometry(input_of(instruction)));
        let is_layer = matches!(op, Op::Conv(_) | Op::Gemm(_)) && window_of(op, &input).1 == 1;
        self.settings.precision == Precision::BFloat16 && is_layer && input.pixels() > 1
    }

    /// The values that an instruction reads.
    pub(super) fn reads(&mut self, instruction: &Instruction<'_>) -> Vec<usize> {
        if !self.is_rounded(instruction) {
            return instruction.inputs.clone();
        }
        let (copy, step) = self.copy(&instruction.node.name, input_of(instruction));
        self.cheap.extend(step.is_some().then_some(self.forward.len()));
        self.forward.extend(step);
        vec![copy]
    }

    /// The value that a layer reads.
    pub(super) fn input_of_layer(&self, instruction: &Instruction<'_>) -> usize {
        let value = input_of(instruction);
        let copy = self.rounded.get(&value).filter(|_| self.is_rounded(instruction));
        copy.copied().unwrap_or(value)
    }

    /// What a layer reads of a gradient.
    pub(super) fn gradient_of_layer(&mut self, instruction: &Instruction<'_>, gradient: usize) -> usize {
        if !self.is_rounded(instruction) {
            return gradient;
        }
        let (copy, step) = self.copy(&instruction.node.name, gradient);
        self.backward.extend(step);
        copy
    }

    /// A value's copy, and the step that makes it if none does yet.
    fn copy(&mut self, name: &str, value: usize) -> (usize, Option<Step>) {
        if let Some(&copy) = self.rounded.get(&value) {
            return (copy, None);
        }
        let input = self.geometry(value);
        let copy = self.new_value(rounded(input));
        self.rounded.insert(value, copy);
        let work = Work::computation(Rounding::new(input));
        (
            copy,
            Some(Step { name: format!("{name} (rounding)"), reads: vec![value], writes: Some(copy), work }),
        )
    }
}
