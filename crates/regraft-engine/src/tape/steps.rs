//! The steps of a tape.

use std::ops::Range;

use regraft_graph::{BatchNormalization, Node, ParameterKind, Weights};

use crate::{
    EngineError, InstructionSet, Settings,
    buffer::Buffer,
    compile::convolution,
    geometry::Geometry,
    kernels::{
        self, Computation, Span,
        dense::Recipe,
        gradient::{
            self, Gradient, Shared,
            batch_norm::{Statistics, Vector},
        },
        reading::Turned,
    },
    network::Clamp,
    simd::LANES,
    step::{self, Operation},
    window::Window,
};

/// A kernel bound to values.
#[derive(Debug)]
pub(super) struct Step {
    /// The node that it belongs to.
    pub(super) name: String,
    pub(super) reads: Vec<usize>,
    pub(super) writes: Option<usize>,
    pub(super) work: Work,
}

/// What a step does.
#[derive(Debug)]
pub(super) enum Work {
    /// As in a program, with weights that never change.
    Kernel(Box<Operation>),
    /// A convolution or dense layer whose weights may change, forward or back.
    Layer(Box<Layer>),
    Gradient(Box<dyn Gradient>),
    /// A kernel that holds parameters which may change.
    Made(Box<Made>),
    /// The work of a step forward, by its number.
    Again(usize),
}

/// Work that is made anew when parameters have changed.
pub(super) struct Made {
    make: Box<Make>,
    work: Work,
}

/// From the trained values.
type Make = dyn Fn(&[f32]) -> Result<Work, EngineError> + Send + Sync;

impl std::fmt::Debug for Made {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.work.fmt(formatter)
    }
}

impl Work {
    pub(super) fn kernel(operation: Operation) -> Self {
        Self::Kernel(Box::new(operation))
    }

    pub(super) fn computation(computation: impl Computation + 'static) -> Self {
        Self::kernel(Operation::Other(Box::new(computation)))
    }

    pub(super) fn gradient(gradient: impl Gradient + 'static) -> Self {
        Self::Gradient(Box::new(gradient))
    }

    /// Work that is made of these sources; for good, if none of them is trained.
    pub(super) fn made(
        sources: &[&Source],
        values: &[f32],
        make: impl Fn(&[f32]) -> Result<Self, EngineError> + Send + Sync + 'static,
    ) -> Result<Self, EngineError> {
        let work = make(values)?;
        let is_trained = sources.iter().any(|source| matches!(source, Source::Trained(_)));
        Ok(if is_trained { Self::Made(Box::new(Made { make: Box::new(make), work })) } else { work })
    }
}

impl From<step::Step> for Step {
    fn from(step: step::Step) -> Self {
        let step::Step { name, reads, writes, operation } = step;
        Self { name, reads, writes: Some(writes), work: Work::kernel(operation) }
    }
}

impl Work {
    /// The work itself, or that of the step forward.
    pub(super) fn of<'a>(&'a self, forward: &'a [Step]) -> &'a Self {
        match self {
            Self::Again(index) => forward.get(*index).map_or(self, |step| &step.work),
            work => work,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Kernel(operation) => operation.kind(),
            Self::Layer(layer) => layer.operation.kind(),
            Self::Gradient(gradient) => gradient.kind(),
            Self::Made(made) => made.work.kind(),
            Self::Again(_) => "again",
        }
    }

    pub(super) fn units(&self, images: usize, threads: usize) -> usize {
        match self {
            Self::Kernel(operation) => operation.units(images, threads),
            Self::Layer(layer) => layer.operation.units(images, threads),
            Self::Gradient(gradient) => gradient.units(images),
            Self::Made(made) => made.work.units(images, threads),
            Self::Again(_) => 0,
        }
    }

    pub(super) fn most_parts(&self, threads: usize) -> usize {
        match self {
            Self::Kernel(operation) => operation.most_parts(threads),
            Self::Layer(layer) => layer.operation.most_parts(threads),
            Self::Gradient(gradient) => gradient.most_parts(threads),
            Self::Made(made) => made.work.most_parts(threads),
            Self::Again(_) => 0,
        }
    }

    /// Takes in parameters that have changed; [`Self::pack`] does so for the weights of layers.
    pub(super) fn refresh(&mut self, values: &[f32], set: InstructionSet) -> Result<(), EngineError> {
        match self {
            Self::Layer(layer) if layer.lent == 0 && layer.is_trained() => layer.pack(values, set),
            Self::Made(made) => made.work = (made.make)(values)?,
            _ => {}
        }
        Ok(())
    }

    /// Packs a layer's trained weights into memory that it borrows until [`Self::give_back`].
    pub(super) fn pack(&mut self, values: &[f32], set: InstructionSet, packed: &mut Buffer) {
        if let Self::Layer(layer) = self
            && layer.lent > 0
        {
            packed.set_len(layer.lent);
            layer.swap(packed);
            layer.pack(values, set);
        }
    }

    pub(super) fn give_back(&mut self, packed: &mut Buffer) {
        if let Self::Layer(layer) = self
            && layer.lent > 0
        {
            layer.swap(packed);
        }
    }

    /// Numbers that [`Self::pack`] borrows.
    pub(super) fn lent(&self) -> usize {
        if let Self::Layer(layer) = self { layer.lent } else { 0 }
    }

    /// Computes some units.
    ///
    /// # Safety
    /// The spans must hold `images` images of the geometries that the step was built with, the output apart from the
    /// others, the shared numbers those that the step was given, and no other thread may compute the same units.
    pub(super) unsafe fn run(
        &self,
        settings: Settings,
        (reads, output): (&[Span], Span),
        (images, threads): (usize, usize),
        shared: Shared,
        units: Range<usize>,
    ) {
        let input = reads.first().copied().unwrap_or(output);
        let second = reads.get(1).copied().unwrap_or(input);
        let operands = kernels::Operands { input, second, output, images, threads };
        // SAFETY: the caller's promise is every kernel's.
        unsafe {
            match self {
                Self::Kernel(operation) => operation.run(settings, &operands, units),
                Self::Layer(layer) => layer.operation.run(settings, &operands, units),
                Self::Gradient(gradient) => {
                    let set = settings.instruction_set;
                    gradient.run(set, &gradient::Operands { reads, output, images, shared }, units);
                }
                Self::Made(made) => {
                    made.work.run(settings, (reads, output), (images, threads), shared, units)
                }
                // See `of`.
                Self::Again(_) => {}
            }
        }
    }
}

/// A weight or a bias: a part of the trained values, or numbers that never change.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Trained(Range<usize>),
    Fixed(Vec<f32>),
}

impl Source {
    pub(super) fn numbers<'a>(&'a self, values: &'a [f32]) -> &'a [f32] {
        match self {
            Self::Trained(range) => values.get(range.clone()).unwrap_or(&[]),
            Self::Fixed(numbers) => numbers,
        }
    }
}

/// A convolution, or the gradient of one with respect to its input.
///
/// Trained weights are packed anew in each batch, forward and back, right before they are used: into memory that all layers
/// share, which stays in the caches, rather than each into its own.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) plan: LayerPlan,
    operation: Operation,
    /// Numbers of packed weights that are borrowed for a run; 0 where the layer has its own.
    lent: usize,
}

/// What a layer is packed from.
#[derive(Debug, Clone)]
pub(super) struct LayerPlan {
    pub(super) weight: Source,
    pub(super) bias: Source,
    pub(super) input: Geometry,
    pub(super) output: Geometry,
    pub(super) residual: Option<Geometry>,
    pub(super) window: Window,
    pub(super) groups: usize,
    pub(super) clamp: Clamp,
    /// Of a layer that gives the gradient of the input of another one.
    pub(super) turned: Option<Turned>,
    pub(super) apart: [usize; 2],
}

impl LayerPlan {
    fn recipe<'a>(&'a self, values: &'a [f32]) -> Recipe<'a> {
        let Self { input, output, residual, window, groups, clamp, apart, .. } = *self;
        let (weight, bias) = (self.weight.numbers(values), self.bias.numbers(values));
        let (turned, function) = (self.turned.as_ref(), None);
        Recipe { input, output, residual, window, groups, weight, turned, bias, clamp, function, apart }
    }
}

impl Layer {
    pub(super) fn new(mut plan: LayerPlan, values: &[f32], settings: Settings) -> Result<Self, EngineError> {
        let trained = matches!(plan.weight, Source::Trained(_));
        let mut operation = convolution(&plan.recipe(values), settings, trained)?;
        let mut lent = 0;
        if let Some(weights) = operation.weights_mut().filter(|_| trained) {
            lent = weights.len();
            *weights = Buffer::zeroed(0)?;
        }
        // What is packed once is not needed any more.
        if let (Source::Fixed(weight), Source::Fixed(bias)) = (&mut plan.weight, &mut plan.bias) {
            (*weight, *bias) = (Vec::new(), Vec::new());
        }
        Ok(Self { plan, operation, lent })
    }

    fn swap(&mut self, packed: &mut Buffer) {
        if let Some(weights) = self.operation.weights_mut() {
            std::mem::swap(weights, packed);
        }
    }

    fn is_trained(&self) -> bool {
        [&self.plan.weight, &self.plan.bias].iter().any(|source| matches!(source, Source::Trained(_)))
    }

    fn pack(&mut self, values: &[f32], set: InstructionSet) {
        self.operation.repack(&self.plan.recipe(values), set);
    }
}

/// Batch normalisation's numbers outside of the images.
#[derive(Debug)]
pub(super) struct Normalization {
    pub(super) statistics: Statistics,
    pub(super) channels: usize,
    pub(super) pixels: usize,
    pub(super) of_batch: bool,
    /// Places of weight and bias among the trained values.
    pub(super) trained: [Option<usize>; 2],
    /// Names of the running statistics.
    pub(super) mean: String,
    pub(super) variance: String,
}

impl Normalization {
    /// Places of a vector's channels.
    pub(super) fn range(&self, vector: Vector) -> Range<usize> {
        let start = self.statistics.place(vector);
        start..start + self.channels
    }

    /// Takes the trained weight and bias.
    pub(super) fn load(&self, values: &[f32], state: &mut [f32]) {
        for (place, vector) in self.trained.iter().zip([Vector::Weight, Vector::Bias]) {
            let numbers = place.and_then(|place| values.get(place..place + self.channels));
            if let (Some(numbers), Some(to)) = (numbers, state.get_mut(self.range(vector))) {
                to.copy_from_slice(numbers);
            }
        }
    }

    /// Takes all that a model has.
    pub(super) fn fill(&self, node: &Node, weights: &Weights, state: &mut [f32]) -> Result<(), EngineError> {
        let vectors = [
            (ParameterKind::Weight, Vector::Weight),
            (ParameterKind::Bias, Vector::Bias),
            (ParameterKind::RunningMean, Vector::RunningMean),
            (ParameterKind::RunningVariance, Vector::RunningVariance),
        ];
        for (kind, vector) in vectors {
            let numbers = weights.parameter(node, kind)?.to_f32();
            let to = state.get_mut(self.range(vector)).unwrap_or(&mut []);
            to.iter_mut().zip(numbers).for_each(|(to, number)| *to = number);
        }
        Ok(())
    }

    /// Moves the running statistics towards those of the batch.
    pub(super) fn advance(&self, state: &mut [f32], images: usize, momentum: f32) {
        let count = (images * self.pixels) as f32;
        let unbiased = if count > 1.0 { count / (count - 1.0) } else { 1.0 };
        for (from, to, factor) in
            [(Vector::Mean, Vector::RunningMean, 1.0), (Vector::Variance, Vector::RunningVariance, unbiased)]
        {
            let [from, to] = [from, to].map(|vector| self.range(vector).start);
            for channel in 0..self.channels {
                let batch = state.get(from + channel).copied().unwrap_or(0.0) * factor;
                if let Some(running) = state.get_mut(to + channel) {
                    *running = (1.0 - momentum) * *running + momentum * batch;
                }
            }
        }
    }

    /// Numbers of state that a layer of so many channels has.
    pub(super) fn size(norm: &BatchNormalization) -> usize {
        Statistics::VECTORS * norm.channels.next_multiple_of(LANES)
    }
}
