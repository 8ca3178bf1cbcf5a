//! Functions of a number, or of the channels of a pixel.

use regraft_graph::{Lrn as Attributes, Op};

use crate::{
    EngineError,
    compile::layers::formula,
    kernels::{
        activation::Function,
        gradient::{
            clamp::ClampGradient,
            function::{Curve, FunctionGradient},
            lrn::LrnGradient,
            softmax::{RowSoftmaxGradient, SoftmaxGradient},
        },
        lrn::Lrn,
    },
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
        let result = self.new_gradient(value);
        let [from, output, to] = [gradient, instruction.output, result].map(|value| self.geometry(value));
        // The last axis are the channels, or with more axes than a sequence has, the columns.
        let step = match self.shape(&node.name)?.len() {
            0..=2 => Work::gradient(SoftmaxGradient { from, output, to }),
            _ => Work::gradient(RowSoftmaxGradient { from, output, to }),
        };
        self.push_back(&node.name, vec![gradient, instruction.output], Some(result), step);
        self.contribute(&node.name, value, result);
        Ok(())
    }

    /// A function of single numbers.
    pub(super) fn function_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        let curve = match Function::of(&node.op) {
            Some(function) => Curve::Function(function),
            None => {
                let formula = formula(&node.op, &self.geometry(value), &[])?;
                Curve::Formula(formula.ok_or_else(|| self.no_gradient(instruction))?)
            }
        };
        let result = self.new_gradient(value);
        let [from, input, to] = [gradient, value, result].map(|value| self.geometry(value));
        let step = Work::gradient(FunctionGradient { from, input, to, curve });
        self.push_back(&node.name, vec![gradient, value], Some(result), step);
        self.contribute(&node.name, value, result);
        Ok(())
    }

    pub(super) fn dropout_back(
        &mut self,
        instruction: &Instruction<'_>,
        ratio: f64,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        let result = self.new_gradient(value);
        let step = self.dropout(node, ratio, [self.geometry(gradient), self.geometry(result)]);
        self.push_back(&node.name, vec![gradient], Some(result), Work::gradient(step));
        self.contribute(&node.name, value, result);
        Ok(())
    }

    /// Local response normalisation: the terms of its sums, and the gradient.
    pub(super) fn lrn_back(
        &mut self,
        instruction: &Instruction<'_>,
        attributes: Attributes,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        let [from, input] = [gradient, value].map(|value| self.geometry(value));
        let lrn = || Lrn { input, output: input, attributes };
        let terms = self.new_gradient(value);
        let of_terms = self.geometry(terms);
        let step = LrnGradient { lrn: lrn(), from, terms: None, to: of_terms };
        self.push_back(&node.name, vec![gradient, value], Some(terms), Work::gradient(step));
        let result = self.new_gradient(value);
        let step = LrnGradient { lrn: lrn(), from, terms: Some(of_terms), to: self.geometry(result) };
        self.push_back(&node.name, vec![gradient, value, terms], Some(result), Work::gradient(step));
        self.contribute(&node.name, value, result);
        Ok(())
    }
}
