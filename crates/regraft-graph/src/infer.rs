//! Shapes: the fact of a node's output from the facts of its inputs.

mod rearrange;

use rearrange::{broadcast, conv_transpose, matmul, pad, reduce, reshape, resize, slice, transpose};

use crate::{
    Attention, Concat, Conv, Dim, Embedding, Fact, GraphError, NearestNeighbors, Node, Op, PRelu, Padding,
    Pool, PositionEmbedding, Recurrent,
};

impl Op {
    /// The fact of the output, from the facts of the inputs.
    ///
    /// # Errors
    /// [`GraphError::Shape`] or [`GraphError::Attribute`], naming `node`.
    pub(crate) fn output(&self, node: &Node, inputs: &[&Fact]) -> Result<Fact, GraphError> {
        if !self.arity().contains(&inputs.len()) {
            return Err(wrong_count(node, inputs.len()));
        }
        match (self, inputs) {
            (Self::Constant(constant), _) => Ok(Fact::new(
                [&[1], constant.shape.as_slice()].concat().into_iter().map(Dim::Fixed).collect::<Vec<_>>(),
            )),
            (Self::Custom(custom), _) => Ok(custom.output.clone()),
            (_, [first, ..]) => self.output_of(node, first, inputs),
            (_, []) => Err(wrong_count(node, 0)),
        }
    }

    fn output_of(&self, node: &Node, first: &Fact, inputs: &[&Fact]) -> Result<Fact, GraphError> {
        match self {
            Self::Relu
            | Self::Clip(_)
            | Self::Sigmoid
            | Self::Silu
            | Self::HardSigmoid
            | Self::HardSwish
            | Self::Gelu(_)
            | Self::Tanh
            | Self::Elu(_)
            | Self::LeakyRelu(_)
            | Self::Softplus
            | Self::Exp
            | Self::Log
            | Self::Abs
            | Self::Power(_)
            | Self::Dropout { .. }
            | Self::Softmax
            | Self::Constant(_)
            | Self::Custom(_) => Ok(first.clone()),
            Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Max | Self::Min => broadcast(node, inputs),
            Self::MatMul => matmul(node, inputs),
            Self::PRelu(rectifier) => prelu_output(node, rectifier, first),
            Self::Reduce(attributes) => reduce(node, attributes, first),
            Self::Reshape(attributes) => reshape(node, attributes, first),
            Self::Transpose(attributes) => transpose(node, attributes, first),
            Self::Slice(attributes) => slice(node, attributes, first),
            Self::Pad(attributes) => pad(node, attributes, first),
            Self::Resize(attributes) => resize(node, attributes, inputs),
            Self::ConvTranspose(conv) => conv_transpose(node, conv, first),
            Self::Concat(concat) => concat_output(node, *concat, inputs),
            Self::Conv(conv) => conv_output(node, conv, first),
            Self::BatchNormalization(norm) => channels(node, first, norm.channels, norm.channels),
            Self::Scale(scale) => channels(node, first, scale.channels, scale.channels),
            Self::Lrn(_) => image_with_channels(node, first, None).map(|_| first.clone()),
            Self::MaxPool(pool) | Self::AveragePool(pool) => pool_output(node, pool, first),
            Self::AdaptiveAveragePool { size } => adaptive_output(node, *size, first),
            Self::GlobalAveragePool => adaptive_output(node, [1, 1], first),
            Self::Flatten => flatten_output(node, first),
            Self::Gemm(gemm) => channels(node, first, gemm.in_features, gemm.out_features),
            Self::LayerNormalization(norm) => channels(node, first, norm.features, norm.features),
            Self::Embedding(embedding) => embedding_output(node, embedding, first),
            Self::Lstm(layer) | Self::Gru(layer) => recurrent_output(node, layer, first),
            Self::Tokens => tokens_output(node, first),
            Self::ClassToken(token) => class_token_output(node, token.features, first),
            Self::PositionEmbedding(embedding) => position_output(node, embedding, first),
            Self::Attention(attention) => attention_output(node, attention, first),
            Self::SelectToken { index } => select_output(node, *index, first),
            Self::NearestNeighbors(vote) => votes_output(node, vote, first),
        }
    }
}

fn mismatch(node: &Node, expected: impl Into<String>, found: impl Into<String>) -> GraphError {
    let (expected, found) = (expected.into(), found.into());
    GraphError::Shape { node: node.name.clone(), op: node.op.name(), expected, found }
}

fn attribute(node: &Node, message: impl Into<String>) -> GraphError {
    GraphError::Attribute { node: node.name.clone(), op: node.op.name(), message: message.into() }
}

fn wrong_count(node: &Node, found: usize) -> GraphError {
    let arity = node.op.arity();
    let more = if arity.end() > arity.start() { " or more" } else { "" };
    mismatch(node, format!("{}{more} inputs", arity.start()), found.to_string())
}

fn fixed(dim: Dim) -> Option<usize> {
    if let Dim::Fixed(size) = dim { Some(size) } else { None }
}

fn concat_output(node: &Node, concat: Concat, inputs: &[&Fact]) -> Result<Fact, GraphError> {
    let Concat { axis } = concat;
    let total = inputs.iter().try_fold(0usize, |sum, fact| match fact.shape.get(axis) {
        Some(Dim::Fixed(size)) if axis > 0 => sum.checked_add(*size),
        _ => None,
    });
    let batch = common_batch(inputs);
    let with = |fact: &Fact, size| {
        let mut fact = fact.clone();
        fact.shape.iter_mut().skip(axis).take(1).for_each(|dim| *dim = Dim::Fixed(size));
        // What is the same for every example is repeated.
        fact.shape.iter_mut().take(1).filter(|dim| **dim == Dim::Fixed(1)).for_each(|dim| *dim = batch);
        fact
    };
    let (Some(total), [first, rest @ ..]) = (total, inputs) else {
        let found: Vec<String> = inputs.iter().map(ToString::to_string).collect();
        return Err(mismatch(node, format!("fixed sizes along axis {axis}"), found.join(", ")));
    };
    match rest.iter().find(|fact| with(fact, 0) != with(first, 0)) {
        Some(other) => Err(mismatch(
            node,
            format!("inputs that agree with {first} but for axis {axis}"),
            other.to_string(),
        )),
        None => Ok(with(first, total)),
    }
}

/// The batch axis of what is computed of several tensors, of which some may be the same for every example.
fn common_batch(inputs: &[&Fact]) -> Dim {
    let batches = inputs.iter().filter_map(|fact| fact.shape.first().copied());
    let mut several = batches.filter(|batch| *batch != Dim::Fixed(1));
    several.next().unwrap_or(Dim::Fixed(1))
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
    let window = Window {
        kernel: conv.kernel,
        stride: conv.stride,
        dilation: conv.dilation,
        padding: conv.padding,
        ceil: false,
    };
    let [height, width] = window.output(node, [height, width])?;
    Ok(Fact::new([batch, Dim::Fixed(conv.out_channels), height, width]))
}

fn pool_output(node: &Node, pool: &Pool, input: &Fact) -> Result<Fact, GraphError> {
    let [batch, channels, height, width] = image_with_channels(node, input, None)?;
    check_pool(node, pool, [height, width])?;
    let Pool { kernel, stride, padding, ceil_mode: ceil, .. } = *pool;
    let window = Window { kernel, stride, dilation: [1, 1], padding, ceil };
    let [height, width] = window.output(node, [height, width])?;
    Ok(Fact::new([batch, channels, height, width]))
}

/// Where the last window of a symbolic size would have to be dropped for some sizes, the number of positions is no plain
/// quotient.
fn check_pool(node: &Node, pool: &Pool, size: [Dim; 2]) -> Result<(), GraphError> {
    let Pool { kernel, stride, padding, .. } = *pool;
    let border = if let Padding::Explicit(border) = padding { border } else { [0; 4] };
    let [_, _, bottom, last] = border;
    let starts_inside =
        |((kernel, stride), after): ((usize, usize), usize)| stride.saturating_add(after) <= kernel;
    let windows = kernel.into_iter().zip(stride).zip([bottom, last]);
    let expressed = windows.zip(size).all(|(window, size)| fixed(size).is_some() || starts_inside(window));
    if pool.ceil_mode && !expressed {
        return Err(attribute(
            node,
            "with ceil_mode and an input of any size the kernel must be at least as large as stride and padding together; give the input a fixed size",
        ));
    }
    Ok(())
}

fn adaptive_output(node: &Node, [height, width]: [usize; 2], input: &Fact) -> Result<Fact, GraphError> {
    if height == 0 || width == 0 {
        return Err(attribute(node, "the output must have at least one row and column"));
    }
    let [batch, channels, ..] = image_with_channels(node, input, None)?;
    Ok(Fact::new([batch, channels, Dim::Fixed(height), Dim::Fixed(width)]))
}

struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
    /// Whether the number of positions is rounded up.
    ceil: bool,
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
                    let rounding = if self.ceil { stride - 1 } else { 0 };
                    let room = before.checked_add(after)?.checked_add(rounding)?;
                    Some(i64::try_from(room).ok()? - i64::try_from(extent).ok()?)
                });
                let positions = shift.and_then(|shift| size.window(shift, stride));
                // A last window that starts beyond the image and the padding before it is dropped.
                match (positions, size) {
                    (Some(Dim::Fixed(positions)), Dim::Fixed(size)) if self.ceil => {
                        let last = (positions - 1).checked_mul(stride);
                        let beyond = last.is_none_or(|start| start >= size.saturating_add(before));
                        Some(Dim::Fixed(if beyond { positions - 1 } else { positions }))
                            .filter(|_| positions > 0)
                    }
                    (positions, _) => positions,
                }
            }
        };
        output.ok_or_else(|| mismatch(node, format!("at least {kernel} rows and columns"), size.to_string()))
    }
}

fn flatten_output(node: &Node, input: &Fact) -> Result<Fact, GraphError> {
    let [batch, rest @ ..] = input.shape.as_slice() else {
        return Err(mismatch(node, "at least one axis", "a scalar"));
    };
    let sizes = rest.iter().map(|dim| fixed(*dim));
    let product = sizes.into_iter().try_fold(1usize, |product, size| product.checked_mul(size?));
    let product =
        product.ok_or_else(|| mismatch(node, "fixed sizes after the first axis", input.to_string()))?;
    Ok(Fact::new([*batch, Dim::Fixed(product)]))
}

/// The same tensor with another number of channels.
fn channels(node: &Node, input: &Fact, found: usize, outputs: usize) -> Result<Fact, GraphError> {
    let axis = channel_axis(input);
    if axis.and_then(|axis| input.shape.get(axis)) != Some(&Dim::Fixed(found)) {
        let expected = format!("N×{found}, N×S×{found} or N×{found}×H×W");
        return Err(mismatch(node, expected, input.to_string()));
    }
    let mut output = input.clone();
    output.shape.iter_mut().skip(axis.unwrap_or(0)).take(1).for_each(|dim| *dim = Dim::Fixed(outputs));
    Ok(output)
}

/// Which axis the channels are, for a tensor that has any.
fn channel_axis(fact: &Fact) -> Option<usize> {
    match fact.shape.len() {
        2 | 4 => Some(1),
        3 => Some(2),
        _ => None,
    }
}

fn prelu_output(node: &Node, rectifier: &PRelu, input: &Fact) -> Result<Fact, GraphError> {
    if rectifier.slopes == 1 {
        Ok(input.clone())
    } else {
        channels(node, input, rectifier.slopes, rectifier.slopes)
    }
}

fn embedding_output(node: &Node, embedding: &Embedding, input: &Fact) -> Result<Fact, GraphError> {
    match input.shape.as_slice() {
        [batch, tokens] => Ok(Fact::new([*batch, *tokens, Dim::Fixed(embedding.features)])),
        _ => Err(mismatch(node, "N×S", input.to_string())),
    }
}

fn recurrent_output(node: &Node, layer: &Recurrent, input: &Fact) -> Result<Fact, GraphError> {
    let [batch, tokens, width] = sequence(node, input)?;
    if width != Dim::Fixed(layer.features) || layer.hidden == 0 {
        return Err(mismatch(node, format!("N×S×{}", layer.features), input.to_string()));
    }
    Ok(Fact::new([batch, tokens, Dim::Fixed(layer.hidden)]))
}

fn position_output(node: &Node, embedding: &PositionEmbedding, input: &Fact) -> Result<Fact, GraphError> {
    let [_, found, width] = sequence(node, input)?;
    let fits = fixed(found).is_some_and(|found| {
        if embedding.shorter { found <= embedding.tokens } else { found == embedding.tokens }
    });
    if fits && width == Dim::Fixed(embedding.features) {
        return Ok(input.clone());
    }
    let bound = if embedding.shorter { "at most " } else { "" };
    Err(mismatch(node, format!("N×{bound}{}×{}", embedding.tokens, embedding.features), input.to_string()))
}

fn votes_output(node: &Node, vote: &NearestNeighbors, input: &Fact) -> Result<Fact, GraphError> {
    if input.shape.len() != 2 {
        return Err(mismatch(node, format!("N×{}", vote.features), input.to_string()));
    }
    channels(node, input, vote.features, vote.classes)
}

fn tokens_output(node: &Node, input: &Fact) -> Result<Fact, GraphError> {
    let [batch, channels, height, width] = image_with_channels(node, input, None)?;
    let tokens = fixed(height).and_then(|height| height.checked_mul(fixed(width)?));
    let tokens = tokens.ok_or_else(|| mismatch(node, "fixed height and width", input.to_string()))?;
    Ok(Fact::new([batch, Dim::Fixed(tokens), channels]))
}

fn class_token_output(node: &Node, features: usize, input: &Fact) -> Result<Fact, GraphError> {
    let [batch, tokens, width] = sequence(node, input)?;
    match tokens {
        Dim::Fixed(tokens) if width == Dim::Fixed(features) && tokens < usize::MAX => {
            Ok(Fact::new([batch, Dim::Fixed(tokens + 1), width]))
        }
        _ => {
            Err(mismatch(node, format!("N×S×{features} with a fixed number S of tokens"), input.to_string()))
        }
    }
}

fn attention_output(node: &Node, attention: &Attention, input: &Fact) -> Result<Fact, GraphError> {
    let [batch, tokens, width] = sequence(node, input)?;
    let Dim::Fixed(width) = width else { return Err(mismatch(node, "N×S×3D", input.to_string())) };
    if attention.heads == 0 || !width.is_multiple_of(attention.heads.saturating_mul(3)) {
        return Err(attribute(node, format!("{} heads do not divide a third of {width}", attention.heads)));
    }
    Ok(Fact::new([batch, tokens, Dim::Fixed(width / 3)]))
}

fn select_output(node: &Node, index: usize, input: &Fact) -> Result<Fact, GraphError> {
    let [batch, tokens, features] = sequence(node, input)?;
    match tokens {
        Dim::Fixed(tokens) if index < tokens => Ok(Fact::new([batch, features])),
        _ => Err(mismatch(node, format!("N×S×D with S fixed and above {index}"), input.to_string())),
    }
}

fn sequence(node: &Node, input: &Fact) -> Result<[Dim; 3], GraphError> {
    let dims = <[Dim; 3]>::try_from(input.shape.as_slice());
    dims.map_err(|_| mismatch(node, "N×S×D", input.to_string()))
}
