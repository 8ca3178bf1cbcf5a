//! The operators: a closed enum with ONNX names and semantics.
//!
//! Closed, so that the engine, the cost model and every exporter `match` on all of them. An operator states what it
//! reads (`parameters`) and what it gives (`output`); how it is computed is the engine's business.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::attributes::{
    Attention, BatchNormalization, ClassToken, Clip, Concat, Constant, Conv, ConvTranspose, Custom, Elu,
    Embedding, Gelu, Gemm, Interpolation, InterpolationSize, LayerNormalization, LeakyRelu, Lrn,
    NearestNeighbors, PRelu, Pad, Pool, PositionEmbedding, Power, Recurrent, Reduce, Reshape, Scale, Slice,
    Transpose,
};

/// What a node computes. All operators have one output.
///
/// The first axis of every wire is the batch: no operator mixes examples. *Channels* (or features) are axis 1 of
/// vectors N×D and images N×C×H×W, and the last axis of sequences N×S×D.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Op {
    /// A learned tensor of this shape, the same for every example: its batch axis is 1.
    Constant(Constant),
    /// Two-dimensional convolution (cross-correlation). Input N×C×H×W; weight O×(C/groups)×k×k; optional bias O.
    Conv(Conv),
    /// The transpose of a convolution: each input pixel adds the kernel, times its value, to the output. Weight
    /// C×(O/groups)×k×k as in PyTorch and ONNX; optional bias O.
    ConvTranspose(ConvTranspose),
    /// `(x − running_mean) / sqrt(running_var + epsilon) · weight + bias`, per channel, with stored statistics.
    BatchNormalization(BatchNormalization),
    /// `x · weight + bias`, per channel: Caffe's `Scale`, the layer scale of ConvNeXt and DINOv2.
    Scale(Scale),
    /// `x / (bias + alpha / n · Σ x²)^beta` over the `n` neighbours (`size`, or `size²` within a channel).
    Lrn(Lrn),
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, min), max)`; ReLU6 is 0 … 6.
    Clip(Clip),
    /// `1 / (1 + exp(−x))`.
    Sigmoid,
    /// `x / (1 + exp(−x))` (Swish).
    Silu,
    /// `min(max(x / 6 + 1/2, 0), 1)`, PyTorch's and MobileNetV3's slope.
    HardSigmoid,
    /// `x · min(max(x / 6 + 1/2, 0), 1)`.
    HardSwish,
    /// `x · Φ(x)`, the standard normal distribution function.
    Gelu(Gelu),
    /// `tanh(x)`.
    Tanh,
    /// `x` where it is positive, else `alpha · (exp(x) − 1)`.
    Elu(Elu),
    /// `x` where it is positive, else `alpha · x`.
    LeakyRelu(LeakyRelu),
    /// `x` where it is positive, else `weight · x`, with a weight for each channel or one for all.
    PRelu(PRelu),
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `exp(x)`.
    Exp,
    /// `ln(x)`.
    Log,
    /// `|x|`.
    Abs,
    /// `(scale · x + shift)^power`: Caffe's `Power`, and every arithmetic with a single number.
    Power(Power),
    /// Sum of two tensors of as many axes, each of one size in both or 1 in one of them.
    Add,
    /// Difference of two such tensors.
    Sub,
    /// Product of two such tensors: of N×C×H×W and N×C×1×1, say, a factor for each channel.
    Mul,
    /// Quotient of two such tensors.
    Div,
    /// The larger of each pair of two such tensors.
    Max,
    /// The smaller of each pair of two such tensors.
    Min,
    /// `A · B` over the last two axes of two tensors of as many axes, for all places of the axes before them.
    MatMul,
    /// The inputs one after the other along an axis; the other axes agree.
    Concat(Concat),
    /// Largest value of each window; the padding never wins.
    MaxPool(Pool),
    /// Mean of each window.
    AveragePool(Pool),
    /// Mean of each of `size` windows that cover the image evenly: window `i` of an axis of `x` is
    /// `floor(i · x / size) .. ceil((i + 1) · x / size)`, as in PyTorch. ONNX has no such operator.
    AdaptiveAveragePool {
        /// Height and width of the output.
        size: [usize; 2],
    },
    /// Mean over height and width: N×C×H×W to N×C×1×1.
    GlobalAveragePool,
    /// Sum, mean or extremum over some axes.
    Reduce(Reduce),
    /// All axes after the first in one: N×C×1×1 to N×C.
    Flatten,
    /// The same numbers, in row-major order, in another shape.
    Reshape(Reshape),
    /// The axes in another order.
    Transpose(Transpose),
    /// Some places of one axis.
    Slice(Slice),
    /// A border around the input.
    Pad(Pad),
    /// The image N×C×H×W resampled to another size.
    Resize(Interpolation),
    /// `x · weightᵀ + bias` with weight out×in, as in PyTorch's `Linear` (ONNX `Gemm` with `transB = 1`), over the
    /// channels: of N×D, of each of the S tokens of N×S×D, or of each pixel of N×C×H×W.
    Gemm(Gemm),
    /// `(x − mean) / sqrt(variance + epsilon) · weight + bias` over the channels of N×D, of each token of N×S×D, or of
    /// each pixel of N×C×H×W.
    LayerNormalization(LayerNormalization),
    /// The rows that the numbers of N×S name: N×S×D.
    Embedding(Embedding),
    /// Long short-term memory over the tokens of N×S×D: N×S×H, starting from zeros. Gates in the order input,
    /// forget, cell, output, with PyTorch's weights and names.
    Lstm(Recurrent),
    /// Gated recurrent unit over the tokens of N×S×D: N×S×H, starting from zeros. Gates in the order reset,
    /// update, new, with PyTorch's weights and names.
    Gru(Recurrent),
    /// The pixels of N×C×H×W as tokens, row by row: N×(H·W)×C. ONNX writes it as `Reshape` and `Transpose`.
    Tokens,
    /// Puts a learned token (1×1×D) before the S tokens of N×S×D: N×(S+1)×D. ONNX writes it as `Expand` and `Concat`.
    ClassToken(ClassToken),
    /// Adds a learned vector to each token of N×S×D (1×S×D). ONNX writes it as `Add`.
    PositionEmbedding(PositionEmbedding),
    /// `softmax(q · kᵀ / √(D/heads)) · v` for each head, where each token of N×S×3D is its query, key and value, and head
    /// `h` has columns `h · D/heads ..` of each: N×S×D. The projections before and behind it are `Gemm`s.
    Attention(Attention),
    /// One token of N×S×D: N×D. ONNX writes it as `Gather`.
    SelectToken {
        /// Its index.
        index: usize,
    },
    /// Votes of the nearest stored examples by cosine similarity: N×D to N×classes, as log-probabilities.
    NearestNeighbors(NearestNeighbors),
    /// Nothing at prediction time; `ratio` of the values dropped in training.
    Dropout {
        /// Probability of dropping a value, 0 to 1.
        ratio: f64,
    },
    /// `exp(x) / Σ exp(x)` over the last axis.
    Softmax,
    /// An operator of the origin that is kept and written, but not run.
    Custom(Custom),
}

/// A tensor that a node reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name among the model's weights.
    pub name: String,
    /// What it is for.
    pub kind: ParameterKind,
    /// Shape that the attributes imply.
    pub shape: Vec<usize>,
}

/// What a parameter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// Multiplies.
    Weight,
    /// Is added.
    Bias,
    /// Mean of each channel over the training data.
    RunningMean,
    /// Variance of each channel over the training data.
    RunningVariance,
    /// Class index of each stored example.
    Labels,
    /// A learned token.
    Token,
    /// A learned vector for each place in a sequence.
    Position,
    /// A constant's numbers.
    Value,
    /// Of a recurrent layer: multiplies the input.
    InputWeight,
    /// Of a recurrent layer: multiplies the state.
    StateWeight,
    /// Of a recurrent layer: is added to the input's product.
    InputBias,
    /// Of a recurrent layer: is added to the state's product.
    StateBias,
}

impl ParameterKind {
    /// The last part of the parameter's name, as PyTorch calls it.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::RunningMean => "running_mean",
            Self::RunningVariance => "running_var",
            Self::Labels => "labels",
            Self::Token => "class_token",
            Self::Position => "pos_embedding",
            Self::Value => "value",
            Self::InputWeight => "weight_ih",
            Self::StateWeight => "weight_hh",
            Self::InputBias => "bias_ih",
            Self::StateBias => "bias_hh",
        }
    }
}

impl Op {
    /// The ONNX name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Constant(_) => "Constant",
            Self::Conv(_) => "Conv",
            Self::ConvTranspose(_) => "ConvTranspose",
            Self::Scale(_) => "Scale",
            Self::Lrn(_) => "LRN",
            Self::Tanh => "Tanh",
            Self::Elu(_) => "Elu",
            Self::LeakyRelu(_) => "LeakyRelu",
            Self::PRelu(_) => "PRelu",
            Self::Softplus => "Softplus",
            Self::Exp => "Exp",
            Self::Log => "Log",
            Self::Abs => "Abs",
            Self::Power(_) => "Power",
            Self::Sub => "Sub",
            Self::Div => "Div",
            Self::Max => "Max",
            Self::Min => "Min",
            Self::MatMul => "MatMul",
            Self::Reduce(_) => "Reduce",
            Self::Reshape(_) => "Reshape",
            Self::Transpose(_) => "Transpose",
            Self::Slice(_) => "Slice",
            Self::Pad(_) => "Pad",
            Self::Resize(_) => "Resize",
            Self::Embedding(_) => "Embedding",
            Self::Lstm(_) => "LSTM",
            Self::Gru(_) => "GRU",
            Self::Custom(_) => "Custom",
            Self::BatchNormalization(_) => "BatchNormalization",
            Self::Relu => "Relu",
            Self::Clip(_) => "Clip",
            Self::Sigmoid => "Sigmoid",
            Self::Silu => "Silu",
            Self::HardSigmoid => "HardSigmoid",
            Self::HardSwish => "HardSwish",
            Self::Gelu(_) => "Gelu",
            Self::Add => "Add",
            Self::Mul => "Mul",
            Self::Concat(_) => "Concat",
            Self::MaxPool(_) => "MaxPool",
            Self::AveragePool(_) => "AveragePool",
            Self::AdaptiveAveragePool { .. } => "AdaptiveAveragePool",
            Self::GlobalAveragePool => "GlobalAveragePool",
            Self::Flatten => "Flatten",
            Self::Gemm(_) => "Gemm",
            Self::LayerNormalization(_) => "LayerNormalization",
            Self::Tokens => "Tokens",
            Self::ClassToken(_) => "ClassToken",
            Self::PositionEmbedding(_) => "PositionEmbedding",
            Self::Attention(_) => "Attention",
            Self::SelectToken { .. } => "SelectToken",
            Self::NearestNeighbors(_) => "NearestNeighbors",
            Self::Dropout { .. } => "Dropout",
            Self::Softmax => "Softmax",
        }
    }

    /// How many wires it reads.
    pub fn arity(&self) -> RangeInclusive<usize> {
        match self {
            Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Max | Self::Min | Self::MatMul => 2..=2,
            Self::Resize(Interpolation { size: InterpolationSize::LikeSecond, .. }) => 2..=2,
            Self::Concat(_) => 1..=usize::MAX,
            Self::Custom(_) => 0..=usize::MAX,
            Self::Constant(_) => 0..=0,
            _ => 1..=1,
        }
    }

    /// Kinds and shapes of the tensors that it reads.
    pub fn parameters(&self) -> Vec<(ParameterKind, Vec<usize>)> {
        use ParameterKind::{Bias, Labels, Position, RunningMean, RunningVariance, Token, Value, Weight};
        match self {
            Self::Conv(conv) => {
                let [height, width] = conv.kernel;
                let group = conv.in_channels / conv.groups.max(1);
                let weight = (Weight, vec![conv.out_channels, group, height, width]);
                with_bias(weight, conv.bias, conv.out_channels)
            }
            Self::Gemm(gemm) => {
                with_bias((Weight, vec![gemm.out_features, gemm.in_features]), gemm.bias, gemm.out_features)
            }
            Self::BatchNormalization(norm) => {
                [Weight, Bias, RunningMean, RunningVariance].map(|kind| (kind, vec![norm.channels])).into()
            }
            Self::LayerNormalization(norm) => [Weight, Bias].map(|kind| (kind, vec![norm.features])).into(),
            Self::ClassToken(token) => vec![(Token, vec![1, 1, token.features])],
            Self::PositionEmbedding(embedding) => {
                let batch = (!embedding.shorter).then_some(1);
                let shape = batch.into_iter().chain([embedding.tokens, embedding.features]);
                vec![(Position, shape.collect())]
            }
            Self::Constant(constant) => vec![(Value, constant.shape.clone())],
            Self::ConvTranspose(conv) => {
                let [height, width] = conv.kernel;
                let group = conv.out_channels / conv.groups.max(1);
                with_bias(
                    (Weight, vec![conv.in_channels, group, height, width]),
                    conv.bias,
                    conv.out_channels,
                )
            }
            Self::Scale(scale) => with_bias((Weight, vec![scale.channels]), scale.bias, scale.channels),
            Self::PRelu(rectifier) => vec![(Weight, vec![rectifier.slopes])],
            Self::Embedding(embedding) => vec![(Weight, vec![embedding.entries, embedding.features])],
            Self::Lstm(layer) => recurrent(layer, 4),
            Self::Gru(layer) => recurrent(layer, 3),
            Self::NearestNeighbors(vote) => {
                vec![(Weight, vec![vote.examples, vote.features]), (Labels, vec![vote.examples])]
            }
            _ => Vec::new(),
        }
    }
}

fn with_bias(
    weight: (ParameterKind, Vec<usize>),
    bias: bool,
    outputs: usize,
) -> Vec<(ParameterKind, Vec<usize>)> {
    let bias = bias.then(|| (ParameterKind::Bias, vec![outputs]));
    std::iter::once(weight).chain(bias).collect()
}

fn recurrent(layer: &Recurrent, gates: usize) -> Vec<(ParameterKind, Vec<usize>)> {
    let rows = layer.hidden.saturating_mul(gates);
    vec![
        (ParameterKind::InputWeight, vec![rows, layer.features]),
        (ParameterKind::StateWeight, vec![rows, layer.hidden]),
        (ParameterKind::InputBias, vec![rows]),
        (ParameterKind::StateBias, vec![rows]),
    ]
}
