//! Operators whose learned factors or tables may change, forward; and dropout.

use regraft_graph::{Node, Op, ParameterKind, Recurrent as Recurrence, Scale};

use super::{
    build::{Builder, input_of},
    steps::{Source, Step, Work},
};
use crate::{
    EngineError,
    axes::Axes,
    compile::{
        self,
        layers::{self, rectify},
    },
    geometry::Geometry,
    kernels::{
        elementwise::{Elementwise, Second},
        functions::{Formula, Pointwise},
        gather::Constant,
        gradient::{dropout::Dropout, embedding::TrainedEmbedding},
        normalization::LayerNorm,
        tokens::Tokens,
    },
    network::Instruction,
    simd::LANES,
    step::Operation,
};

impl Builder<'_> {
    /// The work of an operator with trained factors or a trained table.
    pub(super) fn learned_work(&self, instruction: &Instruction<'_>) -> Result<Option<Work>, EngineError> {
        let node = instruction.node;
        let ends = [self.geometry(input_of(instruction)), self.geometry(instruction.output)];
        if let (Op::Dropout { ratio }, Some(_)) = (&node.op, self.options.dropout) {
            return Ok(Some(Work::gradient(self.dropout(node, *ratio, ends))));
        }
        if !self.has_trained(node) {
            return Ok(None);
        }
        let source = |kind| self.source(node, kind);
        Ok(Some(match &node.op {
            Op::Scale(scale) => self.scaled(instruction, scale, ends)?,
            Op::LayerNormalization(norm) => {
                let (epsilon, weight, bias) =
                    (norm.epsilon, source(ParameterKind::Weight)?, source(ParameterKind::Bias)?);
                Work::made(&[&weight.clone(), &bias.clone()], &self.values, move |values| {
                    let numbers = [weight.numbers(values), bias.numbers(values)];
                    Ok(Work::kernel(Operation::LayerNorm(LayerNorm::new(ends, numbers, epsilon)?)))
                })?
            }
            Op::ClassToken(token) => self.tabled(node, ParameterKind::Token, (1, token.features), ends)?,
            Op::PositionEmbedding(embedding) => {
                self.tabled(node, ParameterKind::Position, (0, embedding.features), ends)?
            }
            Op::Constant(_) => {
                let to = self.axes(&node.name, instruction.output)?;
                self.of_one(source(ParameterKind::Value)?, move |numbers| {
                    Ok(Work::computation(Constant::new(&to, numbers)?))
                })?
            }
            Op::Embedding(_) => match source(ParameterKind::Weight)? {
                Source::Trained(places) => Work::gradient(TrainedEmbedding::new(ends, places)),
                Source::Fixed(_) => return Ok(None),
            },
            Op::PRelu(rectifier) => self.rectified(node, rectifier.slopes == 1, ends)?,
            _ => return Ok(None),
        }))
    }

    /// Dropout between two values, or their gradients.
    pub(super) fn dropout(&self, node: &Node, ratio: f64, [input, output]: [Geometry; 2]) -> Dropout {
        let nodes = self.model.graph().nodes();
        let place = nodes.iter().take_while(|other| other.name != node.name).count() as u64;
        let seed = self.options.dropout.unwrap_or_default();
        Dropout { input, output, ratio, seed, node: place }
    }

    /// Work that is made of the numbers of one source.
    pub(super) fn of_one(
        &self,
        source: Source,
        make: impl Fn(&[f32]) -> Result<Work, EngineError> + Send + Sync + 'static,
    ) -> Result<Work, EngineError> {
        Work::made(&[&source.clone()], &self.values, move |values| make(source.numbers(values)))
    }

    /// A factor, and perhaps a summand, for each channel.
    fn scaled(
        &self,
        instruction: &Instruction<'_>,
        scale: &Scale,
        [input, output]: [Geometry; 2],
    ) -> Result<Work, EngineError> {
        let [weight, bias] = [
            self.source(instruction.node, ParameterKind::Weight)?,
            self.source(instruction.node, ParameterKind::Bias)?,
        ];
        let (size, clamp) = (scale.channels.next_multiple_of(LANES), instruction.clamp);
        Work::made(&[&weight.clone(), &bias.clone()], &self.values, move |values| {
            let factors = [weight.numbers(values), bias.numbers(values)];
            let [scales, shifts] = factors.map(|numbers| compile::padded(numbers, size));
            Ok(Work::kernel(Operation::Elementwise(Elementwise {
                input,
                second: None,
                output,
                scale_and_shift: Some([scales?, shifts?]),
                clamp,
                function: None,
                with_second: Second::Add,
            })))
        })
    }

    /// A table that is added to the first tokens, or comes before them.
    fn tabled(
        &self,
        node: &Node,
        kind: ParameterKind,
        (lead, features): (usize, usize),
        [input, output]: [Geometry; 2],
    ) -> Result<Work, EngineError> {
        self.of_one(self.source(node, kind)?, move |numbers| {
            let table = Some(compile::table(numbers, features)?);
            Ok(Work::kernel(Operation::Tokens(Tokens { input, output, lead, skip: 0, table })))
        })
    }

    fn rectified(
        &self,
        node: &Node,
        single: bool,
        [input, output]: [Geometry; 2],
    ) -> Result<Work, EngineError> {
        self.of_one(self.source(node, ParameterKind::Weight)?, move |slopes| {
            let formula = Formula::Rectify(rectify(&input, single, slopes)?);
            Ok(Work::computation(Pointwise { input, output, formula }))
        })
    }

    /// The two steps of a recurrent layer: the products of the inputs, and the recurrence.
    pub(super) fn recurrent_work(
        &self,
        node: &Node,
        layer: &Recurrence,
        [input, products, output]: [Geometry; 3],
    ) -> Result<[Work; 2], EngineError> {
        use ParameterKind::{InputBias, InputWeight, StateBias, StateWeight};
        let source = |kind| self.source(node, kind);
        let [weight, bias, state_bias] = [source(InputWeight)?, source(InputBias)?, source(StateBias)?];
        let (cell, settings) = (layers::cell(&node.op, layer), self.settings);
        let of_inputs = {
            let (layer, state_bias) = (layer.clone(), state_bias.clone());
            Work::made(&[&weight.clone(), &bias.clone(), &state_bias.clone()], &self.values, move |values| {
                let numbers = [&weight, &bias, &state_bias].map(|source| source.numbers(values));
                let dense = layers::inputs([input, products], (cell, &layer), numbers, settings)?;
                Ok(Work::kernel(Operation::Dense(Box::new(dense))))
            })?
        };
        let (state_weight, layer) = (source(StateWeight)?, layer.clone());
        let of_states =
            Work::made(&[&state_weight.clone(), &state_bias.clone()], &self.values, move |values| {
                let numbers = [state_weight.numbers(values), state_bias.numbers(values)];
                let step = layers::recurrence([products, output], (cell, &layer), numbers)?;
                Ok(Work::computation(step.keeping_gates()))
            })?;
        Ok([of_inputs, of_states])
    }

    /// Replaces the steps of a recurrent layer by some that go by the trained values, and keep what the way back needs.
    pub(super) fn train_recurrence(
        &self,
        instruction: &Instruction<'_>,
        layer: &Recurrence,
        steps: &mut [Step],
    ) -> Result<(), EngineError> {
        let [inputs, states] = steps else { return Ok(()) };
        let values = [input_of(instruction), inputs.writes.unwrap_or(0), instruction.output];
        let geometries = values.map(|value| self.geometry(value));
        [inputs.work, states.work] = self.recurrent_work(instruction.node, layer, geometries)?;
        Ok(())
    }
}

/// Where each number of a table of as many features as the tensor has is in its first tokens.
pub(super) fn places_of_tokens(tensor: &Axes, numbers: usize) -> Vec<u32> {
    let Geometry { channels, width, .. } = tensor.geometry;
    let place = |index: usize| {
        let (token, feature) = (index / channels, index % channels);
        if token < width { tensor.geometry.element(feature, 0, token) as u32 } else { crate::axes::NOWHERE }
    };
    (0..numbers).map(place).collect()
}
