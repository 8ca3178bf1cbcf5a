//! What the operators need to be told: one attribute struct for each that has any.

use serde::{Deserialize, Serialize};

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
    /// Number of places.
    pub tokens: usize,
    /// Length of a token.
    pub features: usize,
    /// Whether sequences may be shorter and take the first places (BERT). The table is tokens×features then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shorter: bool,
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

/// Attributes of a transposed convolution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvTranspose {
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Distance of the outputs of neighbouring inputs, vertically and horizontally.
    pub stride: [usize; 2],
    /// Distance between kernel elements, 1 for a dense kernel.
    pub dilation: [usize; 2],
    /// Rows and columns that are cut off the output at the top, left, bottom and right.
    pub padding: [usize; 4],
    /// Rows at the bottom and columns at the right that are added to the output.
    #[serde(default)]
    pub output_padding: [usize; 2],
    /// Channels are split into that many independent groups.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

/// Attributes of an exponential linear unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Elu {
    /// Minus the limit at −∞.
    pub alpha: f32,
}

/// Attributes of a leaky rectifier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LeakyRelu {
    /// Slope of the negative side.
    pub alpha: f32,
}

/// Attributes of a rectifier with learned slopes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PRelu {
    /// Number of slopes: one for each channel, or 1 for all.
    pub slopes: usize,
}

/// Attributes of a power of a linear function.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Power {
    /// Multiplies `x`.
    pub scale: f32,
    /// Is added to the product.
    pub shift: f32,
    /// The exponent; 1 leaves the sum as it is.
    pub power: f32,
}

/// Attributes of a learned factor for each channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Number of channels.
    pub channels: usize,
    /// Whether a number is added for each channel, too.
    pub bias: bool,
}

/// Attributes of a local response normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lrn {
    /// Number of neighbours, itself included: channels, or rows and columns of a square. Odd.
    pub size: usize,
    /// Multiplies the mean of the squares.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// Added before the power is taken (Caffe's `k`, ONNX's `bias`).
    pub bias: f32,
    /// What is a neighbour.
    pub region: LrnRegion,
}

/// The neighbours of a local response normalisation. At a border the missing ones count as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrnRegion {
    /// The same pixel of neighbouring channels: ONNX, PyTorch, Caffe's default.
    AcrossChannels,
    /// Neighbouring pixels of the same channel: Caffe's `WITHIN_CHANNEL`.
    WithinChannel,
}

/// Attributes of a constant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constant {
    /// Sizes behind the batch axis.
    pub shape: Vec<usize>,
}

/// Attributes of a reduction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reduce {
    /// What is computed.
    pub kind: ReduceKind,
    /// Axes that it goes over, ascending, none of them the batch.
    pub axes: Vec<usize>,
    /// Whether these axes stay, with size 1.
    pub keep_axes: bool,
}

/// What a reduction computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReduceKind {
    /// `Σ x`.
    Sum,
    /// `Σ x / n`.
    Mean,
    /// The largest value.
    Max,
    /// The smallest value.
    Min,
    /// `√(Σ x²)`.
    L2,
}

/// Attributes of a reshaping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reshape {
    /// Sizes behind the batch axis: 0 keeps the input's size of that place, also a symbolic one; −1, once, is what
    /// the others leave.
    pub shape: Vec<i64>,
}

/// Attributes of an exchange of axes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transpose {
    /// Which axis of the input each axis of the output is; the first is 0, the batch.
    pub axes: Vec<usize>,
}

/// Attributes of a slice along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Not the batch.
    pub axis: usize,
    /// First index.
    pub start: usize,
    /// One behind the last index; at most the axis's size.
    pub end: usize,
    /// Distance between indices, at least 1.
    pub step: usize,
}

/// Attributes of a border.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pad {
    /// Elements before and after each axis; none for the batch.
    pub borders: Vec<[usize; 2]>,
    /// What is in the border.
    pub mode: PadMode,
}

/// What is in a border.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    /// This value.
    Constant(f32),
    /// The values inside, mirrored at the outermost one, which is not repeated.
    Reflect,
    /// The outermost value.
    Edge,
}

/// Attributes of a resampling of N×C×H×W.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpolation {
    /// Size of the output.
    pub size: InterpolationSize,
    /// How values between the input's pixels are made.
    pub mode: InterpolationMode,
    /// Which place of the input a place of the output is.
    pub coordinates: Coordinates,
}

/// Size of a resampled image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterpolationSize {
    /// Height and width.
    Fixed([usize; 2]),
    /// How many times as many rows and columns.
    Times([usize; 2]),
    /// That of the second input.
    LikeSecond,
}

/// How values between pixels are made. Nothing is smoothed when the image shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterpolationMode {
    /// The nearest pixel, the place rounded down (PyTorch's and Keras's `nearest`).
    Nearest,
    /// Bilinear between four pixels.
    Linear,
    /// Bicubic between sixteen pixels, a = −0.75 as in PyTorch.
    Cubic,
}

/// The place `y` of the input that the place `x` of the output is, for scale = output size / input size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// `y = (x + 0.5) / scale − 0.5`.
    HalfPixel,
    /// `y = x / scale`.
    Asymmetric,
    /// `y = x · (input size − 1) / (output size − 1)`.
    AlignCorners,
}

/// Attributes of an embedding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedding {
    /// Number of rows.
    pub entries: usize,
    /// Length of a row.
    pub features: usize,
}

/// Attributes of a recurrent layer in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurrent {
    /// Length of an input.
    pub features: usize,
    /// Length of a state.
    pub hidden: usize,
    /// Whether it goes from the last token to the first. The outputs keep the tokens' order.
    pub reverse: bool,
    /// The function of the gates.
    pub gates: GateFunction,
    /// Of a GRU: whether the reset gate multiplies the product of state and weight, with its bias (PyTorch, Keras's
    /// `reset_after`), instead of the state.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reset_after: bool,
}

/// The function of a recurrent layer's gates. The state's function is always the hyperbolic tangent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateFunction {
    /// `1 / (1 + exp(−x))`.
    Sigmoid,
    /// `min(max(x / 5 + 1/2, 0), 1)`, the default of Keras 1 and 2.
    HardSigmoid,
}

/// An operator that is carried from file to file but not computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custom {
    /// Who defines it: `ai.onnx`, `caffe`, `keras`.
    pub domain: String,
    /// Its name there.
    pub operator: String,
    /// Its attributes, as text of the origin's kind.
    pub attributes: String,
    /// Shape of its output.
    pub output: crate::Fact,
}
