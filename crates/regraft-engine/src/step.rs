//! One step of a program: a kernel with its packed weights, and the values that it reads and writes.

use std::ops::Range;

use crate::{
    InstructionSet, Settings,
    buffer::Buffer,
    kernels::{
        Computation, Operands, PARTS,
        attention::Attention,
        average::GlobalAverage,
        concat::Concat,
        dense::{Dense, Recipe},
        depthwise::Depthwise,
        elementwise::Elementwise,
        normalization::LayerNorm,
        pool::Pool,
        rows::Rows,
        tokens::Tokens,
        winograd::Winograd,
    },
};

/// A kernel bound to values.
#[derive(Debug)]
pub(crate) struct Step {
    /// The node that it computes.
    pub(crate) name: String,
    /// Values that it reads: the input and, if there is one, the second summand.
    pub(crate) reads: Vec<usize>,
    /// The value that it writes.
    pub(crate) writes: usize,
    pub(crate) operation: Operation,
}

/// A kernel family.
#[derive(Debug)]
pub(crate) enum Operation {
    Dense(Box<Dense>),
    Depthwise(Depthwise),
    Pool(Pool),
    Average(GlobalAverage),
    Concat(Concat),
    Elementwise(Elementwise),
    Rows(Rows),
    LayerNorm(LayerNorm),
    Attention(Attention),
    Tokens(Tokens),
    Winograd(Winograd),
    /// What networks have a few steps of, or moves and combines numbers.
    Other(Box<dyn Computation>),
}

/// How often a step goes through what it reads.
#[derive(Clone, Copy)]
pub(crate) struct Passes {
    pub(crate) over_weights: usize,
    pub(crate) over_inputs: usize,
    /// What a byte of weights from behind the cache costs, in bytes of activations.
    pub(crate) cost_of_weights: usize,
}

/// For kernels that wait for their weights. ResNet-50 on a Xeon (family 6, model 207): 75 ns a kilobyte in Winograd's
/// algorithm and 200 in tiles, against 25 for activations that are read in order. The vector kernels compute while the next
/// ones come and count half: the encoder's dense layers take 1.12 times as long on single sequences as on four.
pub(crate) const FAR_WEIGHTS: usize = 4;

impl Passes {
    pub(crate) const SINGLE: Self = Self { over_weights: 1, over_inputs: 1, cost_of_weights: 1 };
}

impl Operation {
    /// Most parts that the work is done in.
    pub(crate) fn most_parts(&self, threads: usize) -> usize {
        if let Self::Other(step) = self { step.most_parts(threads) } else { PARTS * threads }
    }

    /// Number of parts that the work on a group of images divides into, when so many threads share it.
    pub(crate) fn units(&self, images: usize, threads: usize) -> usize {
        match self {
            Self::Dense(step) => step.units(images, threads),
            Self::Depthwise(step) => step.units(images),
            Self::Pool(step) => step.units(images),
            Self::Average(step) => step.units(images),
            Self::Concat(step) => step.units(images),
            Self::Elementwise(step) => step.units(images),
            Self::Rows(_) => images,
            Self::Attention(step) => step.units(images),
            Self::LayerNorm(step) => step.units(images),
            Self::Tokens(step) => step.units(images),
            Self::Winograd(step) => step.units(images, threads),
            Self::Other(step) => step.units(images),
        }
    }

    /// Packs a weight and a bias of the same sizes as before, in single precision.
    pub(crate) fn repack(&mut self, recipe: &Recipe<'_>, set: InstructionSet) {
        match self {
            Self::Dense(step) => step.repack(recipe),
            Self::Depthwise(step) => step.repack(recipe),
            Self::Winograd(step) => step.repack(recipe, set),
            _ => {}
        }
    }

    /// The packed weights, where they are many.
    pub(crate) fn weights_mut(&mut self) -> Option<&mut Buffer> {
        match self {
            Self::Dense(step) => Some(&mut step.weights),
            Self::Winograd(step) => Some(&mut step.weights),
            _ => None,
        }
    }

    /// The family's name.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Dense(_) => "dense",
            Self::Depthwise(_) => "depthwise",
            Self::Pool(_) => "pool",
            Self::Average(_) => "average",
            Self::Concat(_) => "concat",
            Self::Elementwise(_) => "elementwise",
            Self::Rows(_) => "rows",
            Self::LayerNorm(_) => "layer norm",
            Self::Attention(_) => "attention",
            Self::Tokens(_) => "tokens",
            Self::Winograd(_) => "winograd",
            Self::Other(_) => "other",
        }
    }

    /// Bytes of packed weights.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Self::Dense(step) => step.weight_bytes(),
            Self::Winograd(step) => step.weight_bytes(),
            _ => 0,
        }
    }

    /// How often one thread reads the weights and the inputs of a group of images.
    pub(crate) fn passes(&self, images: usize) -> Passes {
        match self {
            Self::Dense(step) => step.passes(images),
            Self::Winograd(step) => step.passes(images),
            _ => Passes::SINGLE,
        }
    }

    /// Roughly how much work there is: vector operations.
    pub(crate) fn cost(&self, images: usize) -> usize {
        let numbers = match self {
            Self::Dense(step) => step.cost(images),
            Self::Depthwise(step) => step.cost(images),
            Self::Pool(step) => step.cost(images),
            Self::Average(step) => step.cost(images),
            Self::Concat(step) => step.cost(images),
            Self::Elementwise(step) => step.cost(images),
            Self::Rows(step) => step.cost(images),
            Self::Attention(step) => step.cost(images),
            Self::LayerNorm(step) => step.cost(images),
            Self::Tokens(step) => step.cost(images),
            Self::Winograd(step) => step.cost(images),
            Self::Other(step) => step.cost(images),
        };
        numbers / crate::simd::LANES
    }

    /// Computes some units.
    ///
    /// # Safety
    /// The operands must hold `images` images of the geometries that the step was built with, the output apart from the
    /// others, and no other thread may compute the same units.
    pub(crate) unsafe fn run(&self, settings: Settings, operands: &Operands, units: Range<usize>) {
        // SAFETY: the caller's promise is every kernel's.
        unsafe {
            match self {
                Self::Dense(step) => step.run(settings, operands, units),
                Self::Depthwise(step) => step.run(settings, operands, units),
                Self::Pool(step) => step.run(settings.instruction_set, operands, units),
                Self::Average(step) => step.run(settings.instruction_set, operands, units),
                Self::Concat(step) => step.run(settings.instruction_set, operands, units),
                Self::Elementwise(step) => step.run(settings, operands, units),
                Self::Rows(step) => step.run(operands, units),
                Self::Attention(step) => step.run(settings, operands, units),
                Self::LayerNorm(step) => step.run(settings, operands, units),
                Self::Tokens(step) => step.run(settings, operands, units),
                Self::Winograd(step) => step.run(settings, operands, units),
                Self::Other(step) => step.run(settings, operands, units),
            }
        }
    }
}
