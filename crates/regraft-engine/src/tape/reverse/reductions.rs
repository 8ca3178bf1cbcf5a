//! Sums, means and extremes over axes.

use regraft_graph::{Reduce, ReduceKind};

use crate::{
    EngineError,
    axes::{Axes, Parts},
    compile::moves::reduction,
    geometry::Geometry,
    kernels::gradient::reduce::{ReduceGradient, Shares},
    network::Instruction,
    tape::{
        build::{Builder, input_of},
        steps::Work,
    },
};

impl Builder<'_> {
    pub(super) fn reduction_back(
        &mut self,
        instruction: &Instruction<'_>,
        reduce: &Reduce,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        let wire = node.inputs.first().map_or("", String::as_str);
        let is_extreme = matches!(reduce.kind, ReduceKind::Max | ReduceKind::Min);
        let given = if is_extreme { self.shares(instruction, reduce, gradient)? } else { gradient };
        let result = self.new_gradient(value);
        let to = self.axes(wire, result)?;
        let [given_axes, output] =
            [self.axes(&node.name, given)?, self.axes(&node.name, instruction.output)?];
        let sources = [&given_axes, &output].map(|from| sources(&to, from, reduce));
        let count = to.shape.iter().enumerate().filter(|(axis, _)| reduce.axes.contains(&(axis + 1)));
        let step = ReduceGradient::new(
            [given_axes.geometry, output.geometry],
            [self.geometry(value), to.geometry],
            reduce.kind,
            sources,
            count.map(|(_, size)| size).product(),
        )?;
        let mut reads = vec![given];
        if !matches!(reduce.kind, ReduceKind::Sum | ReduceKind::Mean) {
            reads.extend([value, instruction.output]);
        }
        self.push_back(&node.name, reads, Some(result), Work::gradient(step));
        self.contribute(&node.name, value, result);
        Ok(())
    }

    /// The gradient of an extreme over how many numbers are it.
    fn shares(
        &mut self,
        instruction: &Instruction<'_>,
        reduce: &Reduce,
        gradient: usize,
    ) -> Result<usize, EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        let wire = node.inputs.first().map_or("", String::as_str);
        let input = self.axes(wire, value)?;
        let output = self.axes(&node.name, instruction.output)?;
        let (first, distances) = reduction(&input, &output, &reduce.axes, reduce.keep_axes);
        let Geometry { channels, height, width, .. } = output.geometry;
        let to = Geometry::blocked([channels, height, width]);
        let result = self.new_value(to);
        let from = self.geometry(gradient);
        let step = Shares { from, output: output.geometry, to, first, distances };
        let reads = vec![gradient, value, instruction.output];
        self.push_back(&node.name, reads, Some(result), Work::gradient(step));
        Ok(result)
    }
}

/// For each number of the input where the output's is.
fn sources(to: &Axes, from: &Axes, reduce: &Reduce) -> Parts {
    let mut axis_of_output = 0;
    let mut places = Vec::new();
    for (axis, size) in to.shape.iter().enumerate() {
        let is_reduced = reduce.axes.contains(&(axis + 1));
        places.push(if is_reduced { vec![0; *size] } else { from.places(axis_of_output) });
        axis_of_output += usize::from(!is_reduced || reduce.keep_axes);
    }
    to.parts(&from.geometry, places)
}
