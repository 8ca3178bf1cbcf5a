//! Small networks of every kind of step, with fixed weights.

use ndarray::Array4;
use regraft_engine::{Calibrator, InstructionSet, Precision, Program, Settings};
use regraft_graph::{
    Approximation, Attention, ClassToken, Clip, Concat, Constant, Conv, ConvTranspose, Coordinates, Dim,
    Fact, GateFunction, Gelu, Gemm, Graph, Interpolation, InterpolationMode, InterpolationSize,
    LayerNormalization, Lrn, LrnRegion, Model, Node, Op, PRelu, Pad, PadMode, Padding, Parameter,
    ParameterKind, Pool, PositionEmbedding, Power, Recurrent, Reduce, ReduceKind, Reshape, Symbol, Tensor,
    Transpose, Weights,
};

use super::{model, numbers};

/// Height and width of the networks' images.
pub(crate) const SIZE: [usize; 2] = [64; 2];
/// Pixels on a side of a patch that becomes a token.
const PATCH: usize = 16;
/// Length of a token.
const WIDTH: usize = 64;

/// Compiled up to the wire `head`, with the instruction set that the environment asks for.
pub(crate) fn compile(model: &Model, precision: Precision) -> Program {
    let set = InstructionSet::from_environment().unwrap().unwrap_or_else(InstructionSet::detect);
    if precision != Precision::Int8 {
        let settings = Settings { instruction_set: set, precision };
        return Program::compile_with(model, SIZE, &["head"], settings).unwrap();
    }
    let mut calibrator = Calibrator::new(model, SIZE, &["head"], set).unwrap();
    calibrator.observe(images(1).view()).unwrap();
    Program::compile_int8(model, SIZE, &["head"], set, &calibrator.finish()).unwrap()
}

/// A batch of so many.
pub(crate) fn images(count: usize) -> Array4<f32> {
    let shape = [count, 3, SIZE[0], SIZE[1]];
    Array4::from_shape_vec(shape, numbers("input", shape.iter().product(), 1.0, 0.0)).unwrap()
}

/// A graph whose next node reads the last one.
struct Chain {
    graph: Graph,
    last: String,
}

impl Chain {
    fn new() -> Self {
        // Places of tokens need a fixed size.
        let input = Fact::new([Dim::symbol(Symbol::Batch), 3.into(), SIZE[0].into(), SIZE[1].into()]);
        Self { graph: Graph::new("input", input), last: "input".to_owned() }
    }

    /// A node that reads the last one, and `more`.
    fn push(&mut self, name: &str, op: Op, more: &[&str]) -> String {
        let inputs = std::iter::once(self.last.clone()).chain(more.iter().map(|wire| (*wire).to_owned()));
        self.graph.push(Node::new(name, op, inputs)).unwrap();
        name.clone_into(&mut self.last);
        self.last.clone()
    }

    fn conv(&mut self, name: &str, channels: [usize; 2], kernel: usize, stride: usize) -> String {
        self.conv_in_groups(name, channels, kernel, stride, 1)
    }

    /// With a border that keeps the image's size but for the stride, and a rectifier.
    fn conv_in_groups(
        &mut self,
        name: &str,
        [in_channels, out_channels]: [usize; 2],
        kernel: usize,
        stride: usize,
        groups: usize,
    ) -> String {
        let (padding, dilation) = (Padding::all((kernel - 1) / 2), [1; 2]);
        let (kernel, stride) = ([kernel; 2], [stride; 2]);
        let conv = Conv { in_channels, out_channels, kernel, stride, dilation, padding, groups, bias: true };
        self.push(name, Op::Conv(conv), &[]);
        self.push(&format!("{name}.clip"), Op::Clip(Clip { min: 0.0, max: 6.0 }), &[])
    }

    fn dense(&mut self, name: &str, in_features: usize, out_features: usize) -> String {
        self.push(name, Op::Gemm(Gemm { in_features, out_features, bias: true }), &[])
    }

    fn normalise(&mut self, name: &str) -> String {
        self.push(name, Op::LayerNormalization(LayerNormalization { features: WIDTH, epsilon: 1e-5 }), &[])
    }

    fn finish(mut self) -> Model {
        self.graph.set_output(&self.last).unwrap();
        let weights: Weights = self.graph.parameters().into_iter().map(tensor).collect();
        model(self.graph, weights)
    }
}

/// Weights that keep a signal's size, around 1 where they scale a channel.
fn tensor(Parameter { name, kind, shape }: Parameter) -> (String, Tensor) {
    let fan_in: usize = shape.iter().skip(1).product();
    let (scale, shift) = match kind {
        ParameterKind::Weight if shape.len() == 1 => (0.5, 1.0),
        ParameterKind::Weight => ((6.0 / fan_in as f32).sqrt(), 0.0),
        _ => (0.2, 0.0),
    };
    let values = numbers(&name, shape.iter().product(), scale, shift);
    (name, Tensor::from_f32(shape, &values).unwrap())
}

/// A first layer, a pool, so many residual blocks of a 3×3 convolution, an expansion, a depthwise convolution and a
/// projection, a 3×3 convolution that halves the image, and two dense layers that all images go through together.
pub(crate) fn convolutional(blocks: usize) -> Model {
    let mut chain = Chain::new();
    chain.conv("first", [3, 32], 7, 2);
    chain.push("pool", Op::MaxPool(Pool::new([3; 2], [2; 2], Padding::all(1))), &[]);
    let mut before = chain.conv("widen", [32, 64], 1, 1);
    for block in 0..blocks {
        let name = |part: &str| format!("{block}.{part}");
        chain.conv(&name("dense"), [64, 64], 3, 1);
        chain.conv(&name("expand"), [64, 144], 1, 1);
        chain.conv_in_groups(&name("depthwise"), [144, 144], 3, 1, 144);
        chain.conv(&name("project"), [144, 64], 1, 1);
        before = chain.push(&name("add"), Op::Add, &[&before]);
    }
    chain.conv("last", [64, 256], 3, 2);
    chain.push("mean", Op::GlobalAveragePool, &[]);
    chain.push("flatten", Op::Flatten, &[]);
    chain.dense("hidden", 256, 1024);
    chain.push("hidden.relu", Op::Relu, &[]);
    chain.dense("head", 1024, 10);
    chain.finish()
}

/// A vision transformer with so many layers and probabilities at its end.
pub(crate) fn transformer(layers: usize) -> Model {
    let mut chain = Chain::new();
    let conv = Conv {
        in_channels: 3,
        out_channels: WIDTH,
        kernel: [PATCH; 2],
        stride: [PATCH; 2],
        dilation: [1; 2],
        padding: Padding::all(0),
        groups: 1,
        bias: true,
    };
    chain.push("patches", Op::Conv(conv), &[]);
    chain.push("tokens", Op::Tokens, &[]);
    chain.push("class", Op::ClassToken(ClassToken { features: WIDTH }), &[]);
    let tokens = SIZE.iter().map(|size| size / PATCH).product::<usize>() + 1;
    let place = PositionEmbedding { tokens, features: WIDTH, shorter: false };
    let mut before = chain.push("place", Op::PositionEmbedding(place), &[]);
    for layer in 0..layers {
        let name = |part: &str| format!("{layer}.{part}");
        chain.normalise(&name("norm_1"));
        chain.dense(&name("queries"), WIDTH, 3 * WIDTH);
        chain.push(&name("attention"), Op::Attention(Attention { heads: 4 }), &[]);
        chain.dense(&name("out"), WIDTH, WIDTH);
        let middle = chain.push(&name("add_1"), Op::Add, &[&before]);
        chain.normalise(&name("norm_2"));
        chain.dense(&name("widen"), WIDTH, 4 * WIDTH);
        chain.push(&name("gelu"), Op::Gelu(Gelu { approximate: Approximation::None }), &[]);
        chain.dense(&name("narrow"), 4 * WIDTH, WIDTH);
        before = chain.push(&name("add_2"), Op::Add, &[&middle]);
    }
    chain.normalise("norm");
    chain.push("token", Op::SelectToken { index: 0 }, &[]);
    chain.dense("logits", WIDTH, 10);
    chain.push("head", Op::Softmax, &[]);
    chain.finish()
}

/// Every kernel that the other networks do not have, in so many layers.
pub(crate) fn assorted(layers: usize) -> Model {
    let mut chain = Chain::new();
    chain.conv("first", [3, CHANNELS], 3, 4);
    for layer in 0..layers {
        chain.assorted_layer(&|part: &str| format!("{layer}.{part}"));
    }
    chain.push("mean", Op::GlobalAveragePool, &[]);
    chain.push("flatten", Op::Flatten, &[]);
    chain.dense("head", CHANNELS, 10);
    chain.finish()
}

/// Channels of the assorted network, and the rows and columns of its images behind the first layer.
const CHANNELS: usize = 24;
const SIDE: usize = 16;

impl Chain {
    fn assorted_layer(&mut self, name: &dyn Fn(&str) -> String) {
        let region = LrnRegion::AcrossChannels;
        self.push(&name("lrn"), Op::Lrn(Lrn { size: 5, alpha: 0.1, beta: 0.75, bias: 1.0, region }), &[]);
        self.push(&name("tanh"), Op::Tanh, &[]);
        self.push(&name("prelu"), Op::PRelu(PRelu { slopes: CHANNELS }), &[]);
        let borders = vec![[0, 0], [0, 0], [2, 1], [0, 3]];
        self.push(&name("pad"), Op::Pad(Pad { borders, mode: PadMode::Reflect }), &[]);
        let half = Coordinates::HalfPixel;
        let (size, mode) = (InterpolationSize::Fixed([SIDE; 2]), InterpolationMode::Linear);
        let resized =
            self.push(&name("resize"), Op::Resize(Interpolation { size, mode, coordinates: half }), &[]);
        let (kind, axes, keep_axes) = (ReduceKind::L2, vec![1, 3], true);
        let length = self.push(&name("length"), Op::Reduce(Reduce { kind, axes, keep_axes }), &[]);
        self.last.clone_from(&resized);
        self.push(&name("ratio"), Op::Div, &[&length]);
        let constant =
            Node::new(name("constant"), Op::Constant(Constant { shape: vec![1, SIDE, 1] }), [""; 0]);
        self.graph.push(constant).unwrap();
        self.push(&name("larger"), Op::Max, &[&name("constant")]);
        let conv = ConvTranspose {
            in_channels: CHANNELS,
            out_channels: CHANNELS,
            kernel: [3; 2],
            stride: [1; 2],
            dilation: [1; 2],
            padding: [1; 4],
            output_padding: [0; 2],
            groups: 1,
            bias: true,
        };
        self.push(&name("transposed"), Op::ConvTranspose(conv), &[]);
        self.conv_in_groups(&name("groups"), [CHANNELS; 2], 3, 1, 6);
        self.push(&name("sum"), Op::Add, &[&resized]);
        self.matrices(name);
        self.words(name);
    }

    /// Products of the channels' maps with one another.
    fn matrices(&mut self, name: &dyn Fn(&str) -> String) {
        let reshape = |shape: &[i64]| Op::Reshape(Reshape { shape: shape.to_vec() });
        let maps = self.push(&name("maps"), reshape(&[4, 6, -1]), &[]);
        let turned = self.push(&name("turned"), Op::Transpose(Transpose { axes: vec![0, 1, 3, 2] }), &[]);
        self.last.clone_from(&maps);
        self.push(&name("scores"), Op::MatMul, &[&turned]);
        self.push(&name("scaled"), Op::Power(Power { scale: 0.01, shift: 0.0, power: 1.0 }), &[]);
        self.push(&name("shares"), Op::Softmax, &[]);
        self.push(&name("mixed"), Op::MatMul, &[&maps]);
        let side = SIDE as i64;
        self.push(&name("images"), reshape(&[CHANNELS as i64, side, side]), &[]);
    }

    /// The pixels as a sequence, in both directions.
    fn words(&mut self, name: &dyn Fn(&str) -> String) {
        let image = self.last.clone();
        let pixels = self.push(&name("pixels"), Op::Tokens, &[]);
        let hidden = CHANNELS / 2;
        let gates = GateFunction::Sigmoid;
        let layer = |reverse| Recurrent { features: CHANNELS, hidden, reverse, gates, reset_after: true };
        let there = self.push(&name("there"), Op::Lstm(layer(false)), &[]);
        self.last = pixels;
        let back = self.push(&name("back"), Op::Gru(layer(true)), &[]);
        self.last = there;
        self.push(&name("both"), Op::Concat(Concat { axis: 2 }), &[&back]);
        self.push(&name("channels"), Op::Transpose(Transpose { axes: vec![0, 2, 1] }), &[]);
        let side = SIDE as i64;
        self.push(&name("again"), Op::Reshape(Reshape { shape: vec![0, side, side] }), &[]);
        self.push(&name("residual"), Op::Add, &[&image]);
    }
}
