//! The operators: a closed enum with ONNX names and semantics.
//!
//! Closed, so that the engine, the cost model and every exporter `match` on all of them. An operator states what it
//! reads (`parameters`) and what it gives (`output`); how it is computed is the engine's business.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// What a node computes. All operators have one output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Op {
    /// Two-dimensional convolution (cross-correlation). Input N×C×H×W; weight O×(C/groups)×k×k; optional bias O.
    Conv(Conv),
    /// `(x − running_mean) / sqrt(running_var + epsilon) · weight + bias`, per channel, with stored statistics.
    BatchNormalization(BatchNormalization),
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
    /// Sum of two tensors of one shape.
    Add,
    /// Product of two tensors of one shape, or of N×C×H×W and N×C×1×1: a factor for each channel.
    Mul,
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
    /// All axes after the first in one: N×C×1×1 to N×C.
    Flatten,
    /// `x · weightᵀ + bias` with weight out×in, as in PyTorch's `Linear` (ONNX `Gemm` with `transB = 1`). Input N×D, or
    /// N×S×D: each of the S tokens by itself.
    Gemm(Gemm),
    /// `(x − mean) / sqrt(variance + epsilon) · weight + bias` over the last axis of N×D or N×S×D.
    LayerNormalization(LayerNormalization),
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
}

/// Attributes of a convolution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv {
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step, vertically and horizontally.
    pub stride: [usize; 2],
    /// Distance between kernel elements, 1 for a dense kernel.
    pub dilation: [usize; 2],
    /// Border of zeros.
    pub padding: Padding,
    /// Channels are split into that many independent groups; `in_channels` makes it depthwise.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

/// Border around the input of a window operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Rows and columns at the top, left, bottom and right.
    Explicit([usize; 4]),
    /// TensorFlow's `SAME` (ONNX `SAME_UPPER`): as much as makes the output `ceil(input / stride)`, the odd row or
    /// column at the bottom and right. It depends on the input's size.
    SameUpper,
}

impl Padding {
    /// The same border on all four sides.
    pub fn all(size: usize) -> Self {
        Self::Explicit([size; 4])
    }

    /// Rows or columns before and after an axis of `size`, for a window of `kernel` elements `dilation` apart.
    /// `axis` is 0 for height and 1 for width.
    pub fn resolve(
        self,
        axis: usize,
        size: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
    ) -> [usize; 2] {
        match self {
            Self::Explicit([top, left, bottom, right]) => {
                if axis == 0 {
                    [top, bottom]
                } else {
                    [left, right]
                }
            }
            Self::SameUpper => {
                let extent = kernel.saturating_sub(1) * dilation + 1;
                let positions = size.div_ceil(stride.max(1));
                let total = (positions.saturating_sub(1) * stride + extent).saturating_sub(size);
                [total / 2, total - total / 2]
            }
        }
    }
}

/// Attributes of a batch normalisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchNormalization {
    /// Number of channels.
    pub channels: usize,
    /// Added to the variance: 1e-5 in PyTorch, 1e-3 in TensorFlow.
    pub epsilon: f64,
}

/// Attributes of a clip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clip {
    /// Lower bound.
    pub min: f32,
    /// Upper bound.
    pub max: f32,
}

/// Attributes of a pooling window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Step, vertically and horizontally.
    pub stride: [usize; 2],
    /// Border; it never wins.
    pub padding: Padding,
    /// Whether a window that starts inside counts even where it ends outside: the number of positions is rounded up.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ceil_mode: bool,
    /// Whether the padding counts as zeros in a mean.
    #[serde(default, skip_serializing_if = "is_false")]
    pub count_include_pad: bool,
}

impl Pool {
    /// A pool whose number of positions is rounded down and whose padding does not count.
    pub fn new(kernel: [usize; 2], stride: [usize; 2], padding: Padding) -> Self {
        Self { kernel, stride, padding, ceil_mode: false, count_include_pad: false }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Attributes of a Gaussian error linear unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gelu {
    /// How the normal distribution function is computed.
    pub approximate: Approximation,
}

/// How the normal distribution function is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approximation {
    /// `(1 + erf(x / √2)) / 2`.
    None,
    /// `(1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2`.
    Tanh,
}

/// Attributes of a concatenation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concat {
    /// 1 for the channels of images and for the tokens of a sequence.
    pub axis: usize,
}

/// Attributes of a layer normalisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerNormalization {
    /// Length of the last axis.
    pub features: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

/// Attributes of a class token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassToken {
    /// Length of a token.
    pub features: usize,
}

/// Attributes of a position embedding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionEmbedding {
    /// Number of tokens.
    pub tokens: usize,
    /// Length of a token.
    pub features: usize,
}

/// Attributes of multi-head attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attention {
    /// Number of heads; divides the length of a token.
    pub heads: usize,
}

/// Attributes of a dense layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gemm {
    /// Features in.
    pub in_features: usize,
    /// Features out.
    pub out_features: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

/// Attributes of a nearest-neighbour vote.
///
/// With the `neighbors` largest cosine similarities `s` to the stored examples, class `c` gets
/// `log(smoothing + Σ_{label = c} exp((s − s_max) / similarity_temperature)) · sharpness`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NearestNeighbors {
    /// Length of a feature vector.
    pub features: usize,
    /// Number of stored examples.
    pub examples: usize,
    /// Number of classes.
    pub classes: usize,
    /// How many of the nearest examples vote.
    pub neighbors: usize,
    /// Divides the similarity before the exponential.
    pub similarity_temperature: f32,
    /// Added to every class's votes, so that a class without a vote has a finite logarithm.
    pub smoothing: f32,
    /// Multiplies the logarithm: one over the calibration temperature.
    pub sharpness: f32,
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
        }
    }
}

impl Op {
    /// The ONNX name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv(_) => "Conv",
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
            Self::Add | Self::Mul => 2..=2,
            Self::Concat(_) => 1..=usize::MAX,
            _ => 1..=1,
        }
    }

    /// Kinds and shapes of the tensors that it reads.
    pub fn parameters(&self) -> Vec<(ParameterKind, Vec<usize>)> {
        use ParameterKind::{Bias, Labels, Position, RunningMean, RunningVariance, Token, Weight};
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
                vec![(Position, vec![1, embedding.tokens, embedding.features])]
            }
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
