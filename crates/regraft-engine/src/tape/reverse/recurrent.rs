//! Recurrent layers: through time by a kernel, and from there to weights and input as in a dense layer.

use regraft_graph::{ParameterKind, Recurrent};

use crate::{
    EngineError,
    axes::{Axes, NOWHERE},
    compile::layers,
    geometry::Geometry,
    kernels::{
        gather::{Gather, Otherwise, Sources},
        gradient::{
            recurrent::{RecurrentGradient, VECTORS},
            weight::{self, WeightGradient},
        },
        reading::Turned,
        recurrent::forward::Cell,
    },
    network::{Clamp, Instruction},
    simd::LANES,
    tape::{
        build::{Builder, input_of},
        steps::{Layer, LayerPlan, Source, Work},
    },
    window::Window,
};

impl Builder<'_> {
    pub(super) fn recurrence_back(
        &mut self,
        instruction: &Instruction<'_>,
        layer: &Recurrent,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let cell = layers::cell(&instruction.node.op, layer);
        let vectors = self.through_time(instruction, (cell, layer), gradient)?;
        let gates: Vec<usize> = (0..cell.gates()).collect();
        let of_inputs = self.some_vectors(instruction, layer, vectors, &gates)?;
        let of_states = match cell {
            Cell::GruAfter => self.some_vectors(instruction, layer, vectors, &[0, 1, 3])?,
            _ => of_inputs,
        };
        self.bias_back(instruction, ParameterKind::InputBias, of_inputs);
        self.bias_back(instruction, ParameterKind::StateBias, of_states);
        let value = input_of(instruction);
        if let Some(to) = self.gradient_place(instruction.node, ParameterKind::InputWeight) {
            self.product_with(instruction, [of_inputs, value], to)?;
        }
        if let Some(to) = self.gradient_place(instruction.node, ParameterKind::StateWeight) {
            let before = self.states_before(instruction, layer)?;
            if cell == Cell::GruBefore {
                let open = self.some_vectors(instruction, layer, vectors, &[0, 1])?;
                let new = self.some_vectors(instruction, layer, vectors, &[2])?;
                let reset = self.some_vectors(instruction, layer, vectors, &[3])?;
                self.product_with(instruction, [open, before], to)?;
                self.product_with(instruction, [new, reset], to + 2 * layer.hidden * layer.hidden)?;
            } else {
                self.product_with(instruction, [of_states, before], to)?;
            }
        }
        if self.is_needed(value) {
            self.inputs_back(instruction, of_inputs)?;
        }
        Ok(())
    }

    /// The gradients of the gates' products, and what else the kernel writes.
    fn through_time(
        &mut self,
        instruction: &Instruction<'_>,
        (cell, layer): (Cell, &Recurrent),
        gradient: usize,
    ) -> Result<usize, EngineError> {
        let node = instruction.node;
        // The first step of the layer.
        let inputs = format!("{} (inputs)", node.name);
        let products = self.forward.iter().find(|step| step.name == inputs).and_then(|step| step.writes);
        let products = products.ok_or_else(|| self.no_gradient(instruction))?;
        let (from, of_products) = (self.geometry(gradient), self.geometry(products));
        let to = Geometry::blocked([VECTORS * from.blocks() * LANES, 1, from.width]);
        to.check()?;
        let result = self.new_value(to);
        let kind = (cell, layer.gates, layer.reverse);
        let behind = layers::added(cell, layer);
        let [weight, bias] =
            [self.source(node, ParameterKind::StateWeight)?, self.source(node, ParameterKind::StateBias)?];
        let work = Work::made(&[&weight.clone(), &bias.clone()], &self.values, move |values| {
            let bias = bias.numbers(values).get(behind..).unwrap_or(&[]);
            let ends = [from, of_products, to];
            Ok(Work::gradient(RecurrentGradient::new(ends, kind, weight.numbers(values), bias)?))
        })?;
        self.push_back(&node.name, vec![gradient, products], Some(result), work);
        Ok(result)
    }

    /// Some of the kernel's vectors, without what makes them whole blocks.
    fn some_vectors(
        &mut self,
        instruction: &Instruction<'_>,
        layer: &Recurrent,
        vectors: usize,
        chosen: &[usize],
    ) -> Result<usize, EngineError> {
        let from = self.geometry(vectors);
        let (hidden, wide) = (layer.hidden, layer.hidden.next_multiple_of(LANES));
        let tensor = Axes::new(vec![from.width, from.channels], from)?;
        let all = tensor.places(1);
        let channels = chosen.iter().flat_map(|vector| all.iter().skip(vector * wide).take(hidden));
        let places = vec![tensor.places(0), channels.copied().collect()];
        self.gathered(instruction, vectors, chosen.len() * hidden, places)
    }

    /// For each token the state before it.
    fn states_before(
        &mut self,
        instruction: &Instruction<'_>,
        layer: &Recurrent,
    ) -> Result<usize, EngineError> {
        let tensor = self.axes(&instruction.node.name, instruction.output)?;
        let mut tokens = tensor.places(0);
        if layer.reverse {
            tokens.rotate_left(1);
            tokens.iter_mut().rev().take(1).for_each(|last| *last = NOWHERE);
        } else {
            tokens.rotate_right(1);
            tokens.iter_mut().take(1).for_each(|first| *first = NOWHERE);
        }
        let places = vec![tokens, tensor.places(1)];
        self.gathered(instruction, instruction.output, layer.hidden, places)
    }

    /// A sequence of so many features from places of another one of as many tokens.
    fn gathered(
        &mut self,
        instruction: &Instruction<'_>,
        value: usize,
        features: usize,
        places: Vec<Vec<u32>>,
    ) -> Result<usize, EngineError> {
        let from = self.geometry(value);
        let to = Geometry::blocked([features, 1, from.width]);
        let sources = Sources::Parts(Axes::new(vec![from.width, features], to)?.parts(&from, places));
        let step = Gather::new([from, to], sources, Otherwise::Fill(0.0))?;
        let result = self.new_value(to);
        self.push_back(&instruction.node.name, vec![value], Some(result), Work::computation(step));
        Ok(result)
    }

    /// The gradient of a weight that multiplies the second value.
    fn product_with(
        &mut self,
        instruction: &Instruction<'_>,
        [gradient, value]: [usize; 2],
        to: usize,
    ) -> Result<(), EngineError> {
        let (from, input) = (self.geometry(gradient), self.geometry(value));
        let recipe = weight::Recipe { from, input, window: Window::SINGLE, groups: 1, to, sums: self.state };
        let step = WeightGradient::new(&recipe, self.settings.instruction_set)?;
        self.sums = self.sums.max(step.sums());
        self.push_back(&instruction.node.name, vec![gradient, value], None, Work::gradient(step));
        Ok(())
    }

    fn inputs_back(&mut self, instruction: &Instruction<'_>, gradient: usize) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        let result = self.new_gradient(value);
        let plan = LayerPlan {
            weight: self.source(node, ParameterKind::InputWeight)?,
            bias: Source::Fixed(Vec::new()),
            input: self.geometry(gradient),
            output: self.geometry(result),
            residual: None,
            window: Window::SINGLE,
            groups: 1,
            clamp: Clamp::NONE,
            turned: Some(Turned::round(1)),
            apart: [1; 2],
        };
        let layer = Layer::new(plan, &self.values, self.settings)?;
        self.push_back(&node.name, vec![gradient], Some(result), Work::Layer(Box::new(layer)));
        self.contribute(&node.name, value, result);
        Ok(())
    }
}
