//! Operators that move numbers.

use crate::{
    EngineError,
    axes::Axes,
    geometry::Geometry,
    kernels::gather::{Gather, Otherwise, Sources},
    network::Instruction,
    tape::{
        build::{Builder, input_of},
        steps::Work,
    },
};

impl Builder<'_> {
    /// Each input's gradient is a part of the output's.
    pub(super) fn concat_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let parts = crate::views::parts(self.network, instruction);
        if parts.is_empty() {
            return Err(self.no_gradient(instruction));
        }
        let name = &instruction.node.name;
        for part in parts {
            if self.is_needed(part.input) {
                let result = self.new_gradient(part.input);
                let step = some_channels([self.geometry(gradient), self.geometry(result)], part.channel)?;
                self.push_back(name, vec![gradient], Some(result), Work::computation(step));
                self.contribute(name, part.input, result);
            }
        }
        Ok(())
    }

    /// The numbers in row-major order in the shape of the input.
    pub(super) fn reshape_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        if !self.is_needed(value) {
            return Ok(());
        }
        let result = self.new_gradient(value);
        let input = node.inputs.first().map_or("", String::as_str);
        let from = Axes::new(self.shape(&node.name)?, self.geometry(gradient))?;
        let to = Axes::new(self.shape(input)?, self.geometry(result))?;
        let work = Work::computation(Gather::reshape(&from, &to)?);
        self.push_back(&node.name, vec![gradient], Some(result), work);
        self.contribute(&node.name, value, result);
        Ok(())
    }

    /// Sizes of a wire's axes behind the batch.
    fn shape(&self, wire: &str) -> Result<Vec<usize>, EngineError> {
        let shape = self.model.graph().fact(wire)?.bind(&self.network.bindings).unwrap_or_default();
        Ok(shape.into_iter().skip(1).collect())
    }
}

/// Copies channels from the first one on.
fn some_channels([from, to]: [Geometry; 2], first: usize) -> Result<Gather, EngineError> {
    let whole = Axes::new(vec![from.channels, from.height, from.width], from)?;
    let axes = Axes::new(vec![to.channels, to.height, to.width], to)?;
    let channels = whole.places(0).into_iter().skip(first).take(to.channels).collect();
    let sources = Sources::Parts(axes.parts(&from, vec![channels, whole.places(1), whole.places(2)]));
    Gather::new([from, to], sources, Otherwise::Fill(0.0))
}
