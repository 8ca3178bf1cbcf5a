//! The operators: a closed enum with ONNX names and semantics.
//!
//! Closed, so that the engine, the cost model and every exporter `match` on all of them. An operator states what it
//! reads (`parameters`) and what it gives (`output`); how it is computed is the engine's business.

use serde::{Deserialize, Serialize};

use crate::{Dim, Fact, GraphError, Node};

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
    /// Sum of two tensors of one shape.
    Add,
    /// Largest value of each window; the padding never wins.
    MaxPool(Pool),
    /// Mean of each window; the padding does not count (ONNX `count_include_pad = 0`).
    AveragePool(Pool),
    /// Mean over height and width: N×C×H×W to N×C×1×1.
    GlobalAveragePool,
    /// All axes after the first in one: N×C×1×1 to N×C.
    Flatten,
    /// `x · weightᵀ + bias` with weight out×in, as in PyTorch's `Linear` (ONNX `Gemm` with `transB = 1`).
    Gemm(Gemm),
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
    /// Border; it never wins and never counts.
    pub padding: Padding,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
            Self::Add => "Add",
            Self::MaxPool(_) => "MaxPool",
            Self::AveragePool(_) => "AveragePool",
            Self::GlobalAveragePool => "GlobalAveragePool",
            Self::Flatten => "Flatten",
            Self::Gemm(_) => "Gemm",
            Self::NearestNeighbors(_) => "NearestNeighbors",
            Self::Dropout { .. } => "Dropout",
            Self::Softmax => "Softmax",
        }
    }

    /// How many wires it reads.
    pub fn arity(&self) -> usize {
        if matches!(self, Self::Add) { 2 } else { 1 }
    }

    /// Kinds and shapes of the tensors that it reads.
    pub fn parameters(&self) -> Vec<(ParameterKind, Vec<usize>)> {
        use ParameterKind::{Bias, Labels, RunningMean, RunningVariance, Weight};
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
            Self::NearestNeighbors(vote) => {
                vec![(Weight, vec![vote.examples, vote.features]), (Labels, vec![vote.examples])]
            }
            _ => Vec::new(),
        }
    }

    /// The fact of the output, from the facts of the inputs.
    ///
    /// # Errors
    /// [`GraphError::Shape`] or [`GraphError::Attribute`], naming `node`.
    pub(crate) fn output(&self, node: &Node, inputs: &[&Fact]) -> Result<Fact, GraphError> {
        let first = match inputs {
            [first, ..] if inputs.len() == self.arity() => *first,
            _ => return Err(mismatch(node, format!("{} inputs", self.arity()), inputs.len().to_string())),
        };
        match self {
            Self::Relu | Self::Clip(_) | Self::Dropout { .. } | Self::Softmax => Ok(first.clone()),
            Self::Add => same_shape(node, inputs),
            Self::Conv(conv) => conv_output(node, conv, first),
            Self::BatchNormalization(norm) => {
                image_with_channels(node, first, Some(norm.channels)).map(|_| first.clone())
            }
            Self::MaxPool(pool) | Self::AveragePool(pool) => pool_output(node, pool, first),
            Self::GlobalAveragePool => {
                let [batch, channels, ..] = image_with_channels(node, first, None)?;
                Ok(Fact::new([batch, channels, Dim::Fixed(1), Dim::Fixed(1)]))
            }
            Self::Flatten => flatten_output(node, first),
            Self::Gemm(gemm) => rows(node, first, gemm.in_features, gemm.out_features),
            Self::NearestNeighbors(vote) => rows(node, first, vote.features, vote.classes),
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

fn mismatch(node: &Node, expected: impl Into<String>, found: impl Into<String>) -> GraphError {
    let (expected, found) = (expected.into(), found.into());
    GraphError::Shape { node: node.name.clone(), op: node.op.name(), expected, found }
}

fn attribute(node: &Node, message: impl Into<String>) -> GraphError {
    GraphError::Attribute { node: node.name.clone(), op: node.op.name(), message: message.into() }
}

fn same_shape(node: &Node, inputs: &[&Fact]) -> Result<Fact, GraphError> {
    match inputs {
        [left, right] if left == right => Ok((*left).clone()),
        [left, right] => Err(mismatch(node, format!("two inputs of shape {left}"), right.to_string())),
        _ => Err(mismatch(node, "two inputs", inputs.len().to_string())),
    }
}

fn image_with_channels(node: &Node, fact: &Fact, channels: Option<usize>) -> Result<[Dim; 4], GraphError> {
    let fits = |dims: &[Dim; 4]| channels.is_none_or(|expected| dims[1] == Dim::Fixed(expected));
    let dims = <[Dim; 4]>::try_from(fact.shape.as_slice()).ok().filter(fits);
    dims.ok_or_else(|| {
        let expected = channels.map_or("N×C×H×W".to_owned(), |channels| format!("N×{channels}×H×W"));
        mismatch(node, expected, fact.to_string())
    })
}

fn conv_output(node: &Node, conv: &Conv, input: &Fact) -> Result<Fact, GraphError> {
    let divides = |channels: usize| conv.groups > 0 && channels.is_multiple_of(conv.groups);
    if !divides(conv.in_channels) || !divides(conv.out_channels) {
        let message = format!(
            "{} groups do not divide {} input and {} output channels",
            conv.groups, conv.in_channels, conv.out_channels
        );
        return Err(attribute(node, message));
    }
    let [batch, _, height, width] = image_with_channels(node, input, Some(conv.in_channels))?;
    let window =
        Window { kernel: conv.kernel, stride: conv.stride, dilation: conv.dilation, padding: conv.padding };
    let [height, width] = window.output(node, [height, width])?;
    Ok(Fact::new([batch, Dim::Fixed(conv.out_channels), height, width]))
}

fn pool_output(node: &Node, pool: &Pool, input: &Fact) -> Result<Fact, GraphError> {
    let [batch, channels, height, width] = image_with_channels(node, input, None)?;
    let window = Window { kernel: pool.kernel, stride: pool.stride, dilation: [1, 1], padding: pool.padding };
    let [height, width] = window.output(node, [height, width])?;
    Ok(Fact::new([batch, channels, height, width]))
}

struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
}

impl Window {
    fn output(&self, node: &Node, input: [Dim; 2]) -> Result<[Dim; 2], GraphError> {
        let positive = [self.kernel, self.stride, self.dilation].iter().flatten().all(|value| *value > 0);
        if !positive {
            return Err(attribute(node, "kernel, stride and dilation must be at least 1"));
        }
        let ([height, width], [kernel_height, kernel_width]) = (input, self.kernel);
        let ([down, right], [dilation_down, dilation_right]) = (self.stride, self.dilation);
        Ok([
            self.axis(node, 0, height, [kernel_height, down, dilation_down])?,
            self.axis(node, 1, width, [kernel_width, right, dilation_right])?,
        ])
    }

    fn axis(&self, node: &Node, axis: usize, size: Dim, window: [usize; 3]) -> Result<Dim, GraphError> {
        let [kernel, stride, dilation] = window;
        let output = match self.padding {
            Padding::SameUpper => size.ceil_div(stride),
            Padding::Explicit(_) => {
                let [before, after] = self.padding.resolve(axis, 0, kernel, stride, dilation);
                let extent = (kernel - 1).checked_mul(dilation).and_then(|extent| extent.checked_add(1));
                let shift = extent.and_then(|extent| {
                    Some(i64::try_from(before.checked_add(after)?).ok()? - i64::try_from(extent).ok()?)
                });
                shift.and_then(|shift| size.window(shift, stride))
            }
        };
        output.ok_or_else(|| mismatch(node, format!("at least {kernel} rows and columns"), size.to_string()))
    }
}

fn flatten_output(node: &Node, input: &Fact) -> Result<Fact, GraphError> {
    let [batch, rest @ ..] = input.shape.as_slice() else {
        return Err(mismatch(node, "at least one axis", "a scalar"));
    };
    let fixed = rest.iter().map(|dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None });
    let product = fixed.into_iter().try_fold(1usize, |product, size| product.checked_mul(size?));
    let product =
        product.ok_or_else(|| mismatch(node, "fixed sizes after the first axis", input.to_string()))?;
    Ok(Fact::new([*batch, Dim::Fixed(product)]))
}

fn rows(node: &Node, input: &Fact, features: usize, outputs: usize) -> Result<Fact, GraphError> {
    match input.shape.as_slice() {
        [batch, Dim::Fixed(found)] if *found == features => Ok(Fact::new([*batch, Dim::Fixed(outputs)])),
        _ => Err(mismatch(node, format!("N×{features}"), input.to_string())),
    }
}
