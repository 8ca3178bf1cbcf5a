//! Operators with factors for each channel, or with learned tables.

use regraft_graph::ParameterKind;

use crate::{
    EngineError, compile,
    compile::layers::rectify,
    kernels::{
        elementwise::{Elementwise, Second},
        functions::Formula,
        gradient::{
            bias::BiasGradient,
            embedding::EmbeddingGradient,
            function::{Curve, FunctionGradient},
            layer_norm::{LayerNormGradient, Moments, of_moments},
            product::{Factor, ProductGradient},
            table::TableGradient,
        },
    },
    network::{Clamp, Instruction},
    simd::LANES,
    step::Operation,
    tape::{
        build::{Builder, input_of},
        learned::places_of_tokens,
        steps::Work,
    },
};

impl Builder<'_> {
    /// The gradient of a number that is added to all pixels of a channel.
    pub(super) fn bias_back(&mut self, instruction: &Instruction<'_>, kind: ParameterKind, gradient: usize) {
        if let Some(to) = self.gradient_place(instruction.node, kind) {
            let step = Work::gradient(BiasGradient { from: self.geometry(gradient), to });
            self.push_back(&instruction.node.name, vec![gradient], None, step);
        }
    }

    /// The gradient of a factor of each channel. `rest` are moments, where there are some.
    fn factor_back(
        &mut self,
        instruction: &Instruction<'_>,
        (factor, is_single): (Factor, bool),
        gradient: usize,
        rest: Option<usize>,
    ) {
        let (node, value) = (instruction.node, input_of(instruction));
        if let Some(to) = self.gradient_place(node, ParameterKind::Weight) {
            let (from, input) = (self.geometry(gradient), self.geometry(value));
            let step = Work::gradient(ProductGradient { from, input, factor, is_single, to });
            let reads = [Some(gradient), Some(value), rest].into_iter().flatten().collect();
            self.push_back(&node.name, reads, None, step);
        }
    }

    pub(super) fn layer_norm_back(
        &mut self,
        instruction: &Instruction<'_>,
        epsilon: f64,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        let (from, input) = (self.geometry(gradient), self.geometry(value));
        self.bias_back(instruction, ParameterKind::Bias, gradient);
        let of_moments = of_moments(&input);
        let moments = self.new_value(of_moments);
        let step = Work::gradient(Moments { input, output: of_moments, epsilon });
        self.push_back(&node.name, vec![value], Some(moments), step);
        self.factor_back(instruction, (Factor::Normalized(of_moments), false), gradient, Some(moments));
        if !self.is_needed(value) {
            return Ok(());
        }
        let result = self.new_gradient(value);
        let (to, source) = (self.geometry(result), self.source(node, ParameterKind::Weight)?);
        let work = self.of_one(source, move |weight| {
            let weight = compile::padded(weight, input.blocks() * LANES)?;
            Ok(Work::gradient(LayerNormGradient { from, input, moments: of_moments, to, weight }))
        })?;
        self.push_back(&node.name, vec![gradient, value, moments], Some(result), work);
        self.contribute(&node.name, value, result);
        Ok(())
    }

    pub(super) fn scale_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        self.bias_back(instruction, ParameterKind::Bias, gradient);
        self.factor_back(instruction, (Factor::Value, false), gradient, None);
        if !self.is_needed(value) {
            return Ok(());
        }
        let result = self.new_gradient(value);
        let (input, output) = (self.geometry(gradient), self.geometry(result));
        let work = self.of_one(self.source(node, ParameterKind::Weight)?, move |weight| {
            let size = output.blocks() * LANES;
            Ok(Work::kernel(Operation::Elementwise(Elementwise {
                input,
                second: None,
                output,
                scale_and_shift: Some([compile::padded(weight, size)?, compile::padded(&[], size)?]),
                clamp: Clamp::NONE,
                function: None,
                with_second: Second::Add,
            })))
        })?;
        self.push_back(&node.name, vec![gradient], Some(result), work);
        self.contribute(&node.name, value, result);
        Ok(())
    }

    /// A rectifier with learned slopes.
    pub(super) fn rectifier_back(
        &mut self,
        instruction: &Instruction<'_>,
        is_single: bool,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        self.factor_back(instruction, (Factor::Negative, is_single), gradient, None);
        if !self.is_needed(value) {
            return Ok(());
        }
        let result = self.new_gradient(value);
        let [from, input, to] = [gradient, value, result].map(|value| self.geometry(value));
        let work = self.of_one(self.source(node, ParameterKind::Weight)?, move |slopes| {
            let curve = Curve::Formula(Formula::Rectify(rectify(&input, is_single, slopes)?));
            Ok(Work::gradient(FunctionGradient { from, input, to, curve }))
        })?;
        self.push_back(&node.name, vec![gradient, value], Some(result), work);
        self.contribute(&node.name, value, result);
        Ok(())
    }

    /// The gradient of a table whose numbers are at these places of the output.
    fn table_back(
        &mut self,
        instruction: &Instruction<'_>,
        kind: ParameterKind,
        gradient: usize,
        places: Vec<u32>,
    ) -> Result<(), EngineError> {
        if let Some(to) = self.gradient_place(instruction.node, kind) {
            let step = TableGradient::new(&self.geometry(gradient), places, to)?;
            self.push_back(&instruction.node.name, vec![gradient], None, Work::gradient(step));
        }
        Ok(())
    }

    pub(super) fn constant_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let tensor = self.axes(&instruction.node.name, gradient)?;
        let numbers: usize = tensor.shape.iter().product();
        let places = (0..numbers).map(|index| tensor.place(index) as u32).collect();
        self.table_back(instruction, ParameterKind::Value, gradient, places)
    }

    /// A learned token before the others.
    pub(super) fn token_back(
        &mut self,
        instruction: &Instruction<'_>,
        features: usize,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let tensor = self.axes(&instruction.node.name, gradient)?;
        let places = places_of_tokens(&tensor, features);
        self.table_back(instruction, ParameterKind::Token, gradient, places)?;
        let value = input_of(instruction);
        if !self.is_needed(value) {
            return Ok(());
        }
        let wire = instruction.node.inputs.first().map_or("", String::as_str);
        let others = tensor.places(0).into_iter().skip(1).collect();
        self.gather_back(instruction, (wire, value), gradient, vec![others, tensor.places(1)])
    }

    /// A learned vector for each token.
    pub(super) fn positions_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let tensor = self.axes(&instruction.node.name, gradient)?;
        let numbers =
            self.trained(instruction.node, ParameterKind::Position).map_or(0, |trained| trained.range.len());
        let places = places_of_tokens(&tensor, numbers);
        self.table_back(instruction, ParameterKind::Position, gradient, places)?;
        self.hand_on(instruction, gradient)
    }

    pub(super) fn embedding_back(
        &mut self,
        instruction: &Instruction<'_>,
        entries: usize,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        if let Some(to) = self.gradient_place(node, ParameterKind::Weight) {
            let (from, input) = (self.geometry(gradient), self.geometry(value));
            let step = Work::gradient(EmbeddingGradient { from, input, entries, to });
            self.push_back(&node.name, vec![gradient, value], None, step);
        }
        Ok(())
    }
}
