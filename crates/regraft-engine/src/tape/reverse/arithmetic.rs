//! Two values combined number by number, each repeated along axes of which it has one place.

use regraft_graph::{Op, ReduceKind};

use crate::{
    EngineError,
    axes::{Axes, sizes},
    compile::moves::{reduction, repetition},
    geometry::Geometry,
    kernels::{
        arithmetic::{Arithmetic, Pairing},
        functions::{Formula, Pointwise},
        gradient::choice::LargerGradient,
        reduce::Reduce,
    },
    network::Instruction,
    tape::{build::Builder, steps::Work},
};

impl Builder<'_> {
    /// A gradient for each operand that needs one, summed over the axes along which it is repeated.
    pub(super) fn arithmetic_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let wires = instruction.node.inputs.iter();
        for (index, (wire, value)) in wires.zip(&instruction.inputs).enumerate() {
            if !self.is_needed(*value) {
                continue;
            }
            let whole = self.operand_back(instruction, index, gradient)?;
            let part = self.summed(instruction, whole, (wire, *value))?;
            self.contribute(&instruction.node.name, *value, part);
        }
        Ok(())
    }

    /// The gradient of an operand that is repeated to the sizes of the output.
    fn operand_back(
        &mut self,
        instruction: &Instruction<'_>,
        index: usize,
        gradient: usize,
    ) -> Result<usize, EngineError> {
        let operands = [self.operand(instruction, index)?, self.operand(instruction, 1 - index)?];
        let [own, other] = operands;
        Ok(match (&instruction.node.op, index) {
            (Op::Sub, 1) => self.negated(instruction, gradient),
            (Op::Mul, _) => self.paired(instruction, Pairing::Multiply, [gradient, other]),
            (Op::Div, 0) => self.paired(instruction, Pairing::Divide, [gradient, other]),
            (Op::Div, _) => {
                let product = self.paired(instruction, Pairing::Multiply, [gradient, instruction.output]);
                let quotient = self.paired(instruction, Pairing::Divide, [product, own]);
                self.negated(instruction, quotient)
            }
            (Op::Max, _) => self.larger(instruction, gradient, operands),
            (Op::Min, _) => self.larger(instruction, gradient, [other, own]),
            _ => gradient,
        })
    }

    /// An operand that kernels can repeat: the value, or where several axes are the rows and only some of them are repeated,
    /// another one that is.
    fn operand(&mut self, instruction: &Instruction<'_>, index: usize) -> Result<usize, EngineError> {
        let wire = instruction.node.inputs.get(index).map_or("", String::as_str);
        let value = instruction.inputs.get(index).copied().unwrap_or(0);
        let from = self.axes(wire, value)?;
        let rows = self.geometry(instruction.output).height;
        if from.geometry.height == rows || from.geometry.height == 1 {
            return Ok(value);
        }
        let shape = self.shape(&instruction.node.name)?;
        let result = self.new_value(Geometry::blocked(sizes(&shape)));
        let step = repetition(&from, &Axes::new(shape, self.geometry(result))?)?;
        self.push_back(&instruction.node.name, vec![value], Some(result), Work::computation(step));
        Ok(result)
    }

    /// A value of the output's sizes from two that may be repeated.
    fn paired(&mut self, instruction: &Instruction<'_>, pairing: Pairing, operands: [usize; 2]) -> usize {
        let result = self.new_gradient(instruction.output);
        let inputs = operands.map(|value| self.geometry(value));
        let step = Arithmetic { pairing, inputs, output: self.geometry(result) };
        let name = &instruction.node.name;
        self.push_back(name, operands.to_vec(), Some(result), Work::computation(step));
        result
    }

    fn negated(&mut self, instruction: &Instruction<'_>, value: usize) -> usize {
        let result = self.new_gradient(instruction.output);
        let formula = Formula::Power { scale: -1.0, shift: 0.0, exponent: 1.0 };
        let step = Pointwise { input: self.geometry(value), output: self.geometry(result), formula };
        self.push_back(&instruction.node.name, vec![value], Some(result), Work::computation(step));
        result
    }

    fn larger(&mut self, instruction: &Instruction<'_>, gradient: usize, operands: [usize; 2]) -> usize {
        let result = self.new_gradient(instruction.output);
        let step = LargerGradient {
            from: self.geometry(gradient),
            values: operands.map(|value| self.geometry(value)),
            to: self.geometry(result),
        };
        let reads = vec![gradient, operands[0], operands[1]];
        self.push_back(&instruction.node.name, reads, Some(result), Work::gradient(step));
        result
    }

    /// The sum of a gradient over the axes along which an operand is repeated.
    fn summed(
        &mut self,
        instruction: &Instruction<'_>,
        whole: usize,
        (wire, value): (&str, usize),
    ) -> Result<usize, EngineError> {
        let from = self.axes(&instruction.node.name, whole)?;
        let shape = self.shape(wire)?;
        if shape == from.shape {
            return Ok(whole);
        }
        let result = self.new_gradient(value);
        let to = Axes::new(shape, self.geometry(result))?;
        let over = from.shape.iter().zip(&to.shape).enumerate();
        let over: Vec<usize> =
            over.filter(|(_, (whole, part))| whole != part).map(|(axis, _)| axis + 1).collect();
        let (first, distances) = reduction(&from, &to, &over, true);
        let step = Reduce::new([from.geometry, to.geometry], ReduceKind::Sum, first, distances)?;
        self.push_back(&instruction.node.name, vec![whole], Some(result), Work::computation(step));
        Ok(result)
    }
}
