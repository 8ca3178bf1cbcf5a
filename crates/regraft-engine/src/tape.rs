//! A network that is trained: forward through all values, and back from the outputs to the gradients of its parameters.
//!
//! A tape is compiled like a [`Program`](crate::Program), from a graph whose batch normalisation is not folded, and all
//! images of a batch go through it together, because batch normalisation and the gradients of weights are sums over the batch.
//! The way back goes through the operators in reverse order and stops at values from which no trained parameter can be
//! reached: no gradient of a frozen weight is computed or stored. Gradients with respect to a convolution's input are
//! convolutions, computed by the same kernels as forward.
//!
//! For one instruction set the gradients are the same bit for bit, whatever the number of threads.

mod build;
mod forward;
mod learned;
mod memory;
mod recompute;
mod reverse;
mod rounding;
mod steps;

use std::ops::Range;

use ndarray::{ArrayD, ArrayView, ArrayViewD, CowArray, Dimension, IxDyn};
use regraft_graph::{Model, Parameter, ParameterKind, Tensor, Weights};

use crate::{
    EngineError, InstructionSet, Precision, Settings,
    buffer::Buffer,
    compile::compile,
    geometry::Geometry,
    images::{self, Images},
    kernels::gradient::{Shared, batch_norm::Vector},
    layout,
    network::Network,
    program::check_rows,
    views::Views,
};
use build::Builder;
use memory::Memory;
use steps::{Normalization, Step};

/// What of a network is trained, and how.
#[derive(Clone, Copy)]
pub struct TapeOptions<'a> {
    /// Whether a parameter is trained. Running statistics are never asked about.
    pub trains: &'a dyn Fn(&Parameter) -> bool,
    /// Whether the batch normalisation of that node goes by the statistics of each batch, and keeps running ones; where it
    /// does not, it goes by the stored ones, which never move.
    pub batch_statistics: &'a dyn Fn(&str) -> bool,
    /// Whether the gradient of the input is computed too.
    pub input_gradient: bool,
    /// Seed of dropout; without one, nothing is dropped, as at prediction time and in a network that is frozen. With one,
    /// every [`forward`](Tape::forward) drops other numbers, and [`backward`](Tape::backward) the same ones: which they are
    /// depends on the seed, on how often the tape has gone forward before, on the node and on the place in the batch alone.
    /// The others are divided by the probability of being kept. For answers that depend on no chance,
    /// compile a [`Program`](crate::Program) of [`model`](Tape::model).
    pub dropout: Option<u64>,
    /// Whether what normalisations and activations give is computed again on the way back instead of being kept: the same
    /// numbers with less memory, and a little slower.
    pub recompute: bool,
    /// Share of a batch's statistics in the running ones, 0 to 1: 0.1 in PyTorch.
    pub momentum: f32,
    /// Vector instructions.
    pub instruction_set: InstructionSet,
    /// Numbers that convolutions and dense layers multiply, forward and back, but for those of several groups and those of
    /// vectors: [`Float32`](Precision::Float32), or [`BFloat16`](Precision::BFloat16) rounded from single precision. Sums,
    /// parameters, their gradients and all other operators are in single precision with either (Micikevicius et al. 2018,
    /// "Mixed precision training"; Kalamkar et al. 2019, "A study of BFLOAT16 for deep learning training").
    pub precision: Precision,
}

impl Default for TapeOptions<'_> {
    /// Everything is trained, batch normalisation by the statistics of each batch.
    fn default() -> Self {
        Self {
            trains: &|_| true,
            batch_statistics: &|_| true,
            input_gradient: false,
            dropout: None,
            recompute: false,
            momentum: 0.1,
            instruction_set: InstructionSet::detect(),
            precision: Precision::Float32,
        }
    }
}

/// A trained parameter and its place among the values and the gradients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trained {
    /// Name of its tensor.
    pub name: String,
    /// What it is to its node.
    pub kind: ParameterKind,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Its numbers in row-major order.
    pub range: Range<usize>,
}

/// A network compiled for training on images of one size, with its parameters and their gradients.
#[derive(Debug)]
pub struct Tape {
    settings: Settings,
    model: Model,
    parameters: Vec<Trained>,
    values: Vec<f32>,
    /// Behind those of the parameters what other nodes with the same parameters add.
    gradients: Vec<f32>,
    /// Statistics of batch normalisation, and sums that are not complete.
    state: Buffer,
    /// The weights of the layer that is computed, as its kernel reads them.
    packed: Buffer,
    norms: Vec<Normalization>,
    momentum: f32,
    forward: Vec<Step>,
    backward: Vec<Step>,
    geometries: Vec<Geometry>,
    memory: Memory,
    outputs: Vec<Output>,
    input_gradient: Option<usize>,
    /// Sizes of the input behind the batch axis.
    input: Vec<usize>,
    /// The embedding with the fewest rows, and how many.
    table: Option<(String, usize)>,
    /// Of the last batch.
    images: usize,
    /// How many there were before it.
    batch: u64,
    /// Whether the values were changed since the weights were packed.
    is_stale: bool,
}

/// An output wire.
#[derive(Debug)]
struct Output {
    value: usize,
    /// Sizes behind the batch axis.
    shape: Vec<usize>,
    /// The value of its gradient, where one is needed.
    gradient: Option<usize>,
}

impl Tape {
    /// Compiles for batches of N×C×`height`×`width`. `outputs` are wires of the graph, in the order in which
    /// [`forward`](Self::forward) returns them.
    ///
    /// # Errors
    /// As [`Program::compile`](crate::Program::compile), or an operator on the way back has no gradient yet; the message names
    /// the node.
    pub fn compile(
        model: &Model,
        image: [usize; 2],
        outputs: &[&str],
        options: &TapeOptions<'_>,
    ) -> Result<Self, EngineError> {
        let set = options.instruction_set;
        if !set.is_available() {
            return Err(EngineError::InstructionSet { name: set.name() });
        }
        if outputs.is_empty() {
            return Err(EngineError::NoOutputs);
        }
        if options.precision == Precision::Int8 {
            return Err(EngineError::UntrainablePrecision { name: options.precision.name() });
        }
        let mut graph = model.graph().clone();
        graph.set_outputs(outputs.iter().copied())?;
        let network = Network::for_gradients(&graph, image, options.dropout.is_some())?;
        // Everything between layers is in single precision.
        let settings = Settings { instruction_set: set, precision: Precision::Float32 };
        let compiled = compile(&graph, model.weights().clone(), &network, settings, None, Views::default())?;
        let settings = Settings { precision: options.precision, ..settings };
        Builder::new(model, &network, compiled, settings, options)?.build()
    }

    /// The trained parameters, in the order of the graph.
    pub fn parameters(&self) -> &[Trained] {
        &self.parameters
    }

    /// The numbers of all trained parameters.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// As [`values`](Self::values), to be changed: not between [`forward`](Self::forward) and [`backward`](Self::backward), which
    /// both go by the values as they are.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.is_stale = true;
        &mut self.values
    }

    /// Gradients of the trained parameters, as [`backward`](Self::backward) computed them last.
    pub fn gradients(&self) -> &[f32] {
        self.gradients.get(..self.values.len()).unwrap_or(&[])
    }

    /// As [`gradients`](Self::gradients), to be scaled or added to before an optimiser sees them.
    pub fn gradients_mut(&mut self) -> &mut [f32] {
        &mut self.gradients
    }

    /// Bytes of the values and gradients of a batch of so many images.
    pub fn bytes(&self, images: usize) -> usize {
        self.memory.bytes(images)
    }

    /// Values and gradients at once, for an optimiser.
    pub fn values_and_gradients(&mut self) -> (&mut [f32], &[f32]) {
        self.is_stale = true;
        let gradients = self.gradients.get(..self.values.len()).unwrap_or(&[]);
        (&mut self.values, gradients)
    }

    /// Runs a batch and keeps what the way back needs. Running statistics move where those of the batch are used. Returns one
    /// array an output, with rows in the order of the batch.
    ///
    /// # Errors
    /// The batch has another image shape than the tape, its numbers name rows that an embedding does not have, or memory runs
    /// out.
    pub fn forward<D: Dimension>(
        &mut self,
        input: ArrayView<'_, f32, D>,
    ) -> Result<Vec<ArrayD<f32>>, EngineError> {
        self.forward_telling(input, &|_, _| {})
    }

    fn forward_telling<D: Dimension>(
        &mut self,
        input: ArrayView<'_, f32, D>,
        after: &dyn Fn(&str, &str),
    ) -> Result<Vec<ArrayD<f32>>, EngineError> {
        let geometry = self.geometry(0);
        let input = Images::Numbers(images::shaped(input, &geometry)?);
        if !input.fit(geometry) {
            let expected = [geometry.channels, geometry.height, geometry.width];
            return Err(EngineError::InputShape { expected, found: input.shape() });
        }
        if let (Some(table), Images::Numbers(numbers)) = (&self.table, input) {
            check_rows(table, numbers.iter())?;
        }
        self.refresh()?;
        self.batch += u64::from(self.images > 0);
        after("weights", "pack");
        self.images = input.len();
        self.memory.reserve(self.images)?;
        input.pack(&geometry, self.memory.images_mut(0));
        after("input", "load");
        let shared = self.shared();
        let weights = (&self.values[..], &mut self.packed);
        self.memory.run((&mut self.forward, &[]), weights, self.settings, (self.images, shared), after);
        self.move_statistics();
        self.outputs.iter().map(|output| self.read(output.value, &output.shape)).collect()
    }

    /// Computes the gradients of all trained parameters of the last batch from those of its outputs, one array each, of the
    /// shapes that [`forward`](Self::forward) returned.
    ///
    /// # Errors
    /// An array has another shape than its output.
    pub fn backward(&mut self, gradients: &[ArrayViewD<'_, f32>]) -> Result<(), EngineError> {
        self.backward_telling(gradients, &|_, _| {})
    }

    /// Goes forward, and back with the outputs themselves for gradients, and calls `after` with the name and the kind of every step that is
    /// done.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    #[doc(hidden)]
    pub fn trace<D: Dimension>(
        &mut self,
        input: ArrayView<'_, f32, D>,
        after: &dyn Fn(&str, &str),
    ) -> Result<(), EngineError> {
        let outputs = self.forward_telling(input, after)?;
        let gradients: Vec<_> = outputs.iter().map(|output| output.view()).collect();
        self.backward_telling(&gradients, after)
    }

    fn backward_telling(
        &mut self,
        gradients: &[ArrayViewD<'_, f32>],
        after: &dyn Fn(&str, &str),
    ) -> Result<(), EngineError> {
        for (output, gradient) in self.outputs.iter().zip(gradients) {
            let Some(value) = output.gradient else { continue };
            let geometry = self.geometry(value);
            let gradient = of_image(gradient, &geometry, self.images);
            let images = images::shaped(gradient.view(), &geometry)?;
            let images = Images::Numbers(images);
            if !images.fit(geometry) || images.len() != self.images {
                let expected = [geometry.channels, geometry.height, geometry.width];
                return Err(EngineError::InputShape { expected, found: images.shape() });
            }
            images.pack(&geometry, self.memory.images_mut(value));
        }
        let shared = self.shared();
        let weights = (&self.values[..], &mut self.packed);
        let steps = (&mut self.backward[..], &self.forward[..]);
        self.memory.run(steps, weights, self.settings, (self.images, shared), after);
        Ok(())
    }

    /// The gradient of the last batch's input, of its shape, where it was asked for.
    ///
    /// # Errors
    /// Memory runs out.
    pub fn input_gradient(&self) -> Result<Option<ArrayD<f32>>, EngineError> {
        self.input_gradient.map(|value| self.read(value, &self.input)).transpose()
    }

    /// The model with the parameters and running statistics as they are now.
    ///
    /// # Errors
    /// None for a tape that was compiled.
    pub fn model(&self) -> Result<Model, EngineError> {
        let mut weights: Weights = self.model.weights().clone();
        for Trained { name, shape, range, .. } in &self.parameters {
            let numbers = self.values.get(range.clone()).unwrap_or(&[]);
            weights.insert(name.as_str(), Tensor::from_f32(shape.clone(), numbers)?);
        }
        for norm in self.norms.iter().filter(|norm| norm.of_batch) {
            for (vector, name) in
                [(Vector::RunningMean, &norm.mean), (Vector::RunningVariance, &norm.variance)]
            {
                let numbers = self.state.get(norm.range(vector)).unwrap_or(&[]);
                weights.insert(name.as_str(), Tensor::from_f32(vec![norm.channels], numbers)?);
            }
        }
        let model = Model::new(self.model.graph().clone(), weights, self.model.card().clone())?;
        let (frozen, history) = (self.model.frozen_until(), self.model.history());
        Ok(model.with_record(frozen.map(str::to_owned), history.to_vec())?)
    }

    fn geometry(&self, value: usize) -> Geometry {
        self.geometries.get(value).copied().unwrap_or(Geometry::blocked([1, 1, 1]))
    }

    fn shared(&mut self) -> Shared {
        let Self { values, gradients, state, batch, .. } = self;
        let (values, gradients, state) = (values.as_ptr(), gradients.as_mut_ptr(), state.as_mut_ptr());
        Shared { values, gradients, state, batch: *batch }
    }

    /// Takes in parameters that have changed.
    fn refresh(&mut self) -> Result<(), EngineError> {
        if !std::mem::take(&mut self.is_stale) {
            return Ok(());
        }
        for norm in &self.norms {
            norm.load(&self.values, &mut self.state);
        }
        let steps = self.forward.iter_mut().chain(&mut self.backward);
        steps.into_iter().try_for_each(|step| step.work.refresh(&self.values, self.settings.instruction_set))
    }

    /// running ← (1 − momentum) · running + momentum · of the batch, with the unbiased variance.
    fn move_statistics(&mut self) {
        for norm in self.norms.iter().filter(|norm| norm.of_batch) {
            norm.advance(&mut self.state, self.images, self.momentum);
        }
    }

    fn read(&self, value: usize, shape: &[usize]) -> Result<ArrayD<f32>, EngineError> {
        let geometry = self.geometry(value);
        let row = geometry.channels * geometry.pixels();
        let mut numbers = crate::groups::zeros(self.images, row)?;
        for (image, to) in numbers.chunks_exact_mut(row.max(1)).enumerate() {
            let from = self.memory.image(value, image);
            if shape.len() == 2 {
                layout::unpack_tokens(from, &geometry, to);
            } else {
                layout::unpack(from, &geometry, to);
            }
        }
        let shape = [&[self.images], shape].concat();
        ArrayD::from_shape_vec(IxDyn(&shape), numbers).map_err(|_| EngineError::NoOutputs)
    }
}

/// A single number, or more axes than an image has, as an image; everything else as it is.
fn of_image<'a>(
    numbers: &'a ArrayViewD<'_, f32>,
    geometry: &Geometry,
    images: usize,
) -> CowArray<'a, f32, IxDyn> {
    let Geometry { channels, height, width, .. } = *geometry;
    let sizes = IxDyn(&[images, channels, height, width]);
    let is_other = !(2..=4).contains(&numbers.ndim());
    let image = is_other.then(|| numbers.to_shape(sizes).ok()).flatten();
    image.unwrap_or_else(|| numbers.view().into())
}
