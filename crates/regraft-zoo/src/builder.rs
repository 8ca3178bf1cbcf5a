//! What the architecture builders share: a chain of nodes that remembers its last wire and its cut points.

use regraft_graph::{
    BatchNormalization, Clip, Concat, Conv, Dim, Fact, Gemm, Graph, GraphError, LayerNormalization, Node, Op,
    Padding, ParameterKind, Pool, Roles, Scale, Symbol,
};

/// An architecture with a number of classes: what its weights are still missing from.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The nodes.
    pub graph: Graph,
    /// Which wire is what.
    pub roles: Roles,
}

/// A graph under construction. Every node reads the last wire unless told otherwise.
pub(crate) struct Builder {
    graph: Graph,
    last: String,
    cuts: Vec<String>,
    style: Style,
}

/// What all convolutions and normalisations of an architecture have in common.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    /// TensorFlow's `SAME` padding instead of half the kernel on each side. The two differ at stride 2.
    pub(crate) same_padding: bool,
    /// Added to the variance.
    pub(crate) epsilon: f64,
}

impl Builder {
    /// For RGB images of any size.
    pub(crate) fn new(style: Style) -> Self {
        Self::with_input(style, Fact::image(3))
    }

    pub(crate) fn with_input(style: Style, fact: Fact) -> Self {
        let input = "input".to_owned();
        let graph = Graph::new(input.clone(), fact);
        Self { graph, last: input, cuts: Vec::new(), style }
    }

    /// For RGB images of one size.
    pub(crate) fn with_image(style: Style, [height, width]: [usize; 2]) -> Self {
        Self::with_input(
            style,
            Fact::new([Dim::symbol(Symbol::Batch), 3.into(), height.into(), width.into()]),
        )
    }

    /// Name of the last wire.
    pub(crate) fn last(&self) -> String {
        self.last.clone()
    }

    /// Goes on from an earlier wire.
    pub(crate) fn branch_from(&mut self, wire: &str) {
        wire.clone_into(&mut self.last);
    }

    /// Channels, or features, of the last wire.
    pub(crate) fn channels(&self) -> usize {
        let shape = self.graph.fact(&self.last).map_or(&[][..], |fact| &fact.shape);
        match shape {
            [_, Dim::Fixed(size)] | [_, Dim::Fixed(size), _, _] | [_, _, Dim::Fixed(size)] => *size,
            _ => 0,
        }
    }

    /// A node that reads the last wire.
    pub(crate) fn node(&mut self, name: impl Into<String>, op: Op) -> Result<(), GraphError> {
        let input = self.last();
        self.push(Node::new(name, op, [input]))
    }

    /// The sum of the last wire and an earlier one.
    pub(crate) fn add(&mut self, name: impl Into<String>, shortcut: &str) -> Result<(), GraphError> {
        let input = self.last();
        self.push(Node::new(name, Op::Add, [input.as_str(), shortcut]))
    }

    /// An earlier wire times the last one, which has one number a channel.
    pub(crate) fn scale_by_last(&mut self, name: impl Into<String>, wire: &str) -> Result<(), GraphError> {
        let factors = self.last();
        self.push(Node::new(name, Op::Mul, [wire, factors.as_str()]))
    }

    /// Earlier wires one after the other along their channels.
    pub(crate) fn concat(&mut self, name: impl Into<String>, wires: &[String]) -> Result<(), GraphError> {
        self.push(Node::new(name, Op::Concat(Concat { axis: 1 }), wires))
    }

    /// A dense layer, on a vector or on each token.
    pub(crate) fn gemm(&mut self, name: impl Into<String>, out_features: usize) -> Result<(), GraphError> {
        let gemm = self.dense(out_features);
        self.node(name, Op::Gemm(gemm))
    }

    /// A dense layer's attributes for the last wire.
    pub(crate) fn dense(&self, out_features: usize) -> Gemm {
        Gemm { in_features: self.channels(), out_features, bias: true }
    }

    /// A layer normalisation with the style's epsilon.
    pub(crate) fn layer_norm(&mut self, name: impl Into<String>) -> Result<(), GraphError> {
        let norm = LayerNormalization { features: self.channels(), epsilon: self.style.epsilon };
        self.node(name, Op::LayerNormalization(norm))
    }

    /// A batch normalisation with the style's epsilon.
    pub(crate) fn batch_norm(&mut self, name: impl Into<String>) -> Result<(), GraphError> {
        let norm = BatchNormalization { channels: self.channels(), epsilon: self.style.epsilon };
        self.node(name, Op::BatchNormalization(norm))
    }

    /// A convolution with dense kernels.
    pub(crate) fn conv(
        &mut self,
        name: impl Into<String>,
        window: Window,
        bias: bool,
    ) -> Result<(), GraphError> {
        let Window { out_channels, kernel, stride, padding: [rows, columns] } = window;
        let conv = Conv {
            in_channels: self.channels(),
            out_channels,
            kernel,
            stride: [stride; 2],
            dilation: [1; 2],
            padding: Padding::Explicit([rows, columns, rows, columns]),
            groups: 1,
            bias,
        };
        self.node(name, Op::Conv(conv))
    }

    /// A convolution without bias, and its batch normalisation.
    pub(crate) fn conv_norm<N: Into<String>>(
        &mut self,
        [conv, norm]: [N; 2],
        layer: Layer,
    ) -> Result<(), GraphError> {
        self.conv_alone(conv, layer)?;
        self.batch_norm(norm)
    }

    /// A convolution without bias, its batch normalisation and an activation: the names of the three in this order.
    pub(crate) fn conv_norm_act<N: Into<String>>(
        &mut self,
        [conv, norm, activation]: [N; 3],
        layer: Layer,
        op: Op,
    ) -> Result<(), GraphError> {
        self.conv_norm([conv, norm], layer)?;
        self.node(activation, op)
    }

    /// Squeeze-and-excitation (Hu et al., "Squeeze-and-excitation networks", CVPR 2018): a factor for each channel, from
    /// the means of all. `layers` are the last parts of its two layers' names.
    pub(crate) fn squeeze_excite(
        &mut self,
        name: &str,
        layers: [&str; 2],
        squeeze: Squeeze,
    ) -> Result<(), GraphError> {
        let (input, channels, part) = (self.last(), self.channels(), |part: &str| format!("{name}.{part}"));
        let [reduce, expand] = layers.map(part);
        self.node(part("pool"), Op::GlobalAveragePool)?;
        self.conv(reduce, Window::square(squeeze.width, 1, 1), true)?;
        self.node(part("activation"), squeeze.activation)?;
        self.conv(expand, Window::square(channels, 1, 1), true)?;
        self.node(part("gate"), squeeze.gate)?;
        self.scale_by_last(part("mul"), &input)
    }

    /// The mean over height and width as a vector; the name of that wire.
    pub(crate) fn pool_to_vector(&mut self, name: &str) -> Result<String, GraphError> {
        self.node(name, Op::GlobalAveragePool)?;
        self.node("flatten", Op::Flatten)?;
        Ok(self.last())
    }

    /// A convolution without bias.
    pub(crate) fn conv_alone(&mut self, name: impl Into<String>, layer: Layer) -> Result<(), GraphError> {
        self.conv_layer(name, layer, false)
    }

    /// A square convolution.
    pub(crate) fn conv_layer(
        &mut self,
        name: impl Into<String>,
        layer: Layer,
        bias: bool,
    ) -> Result<(), GraphError> {
        let Layer { out_channels, kernel, stride, groups } = layer;
        let padding = if self.style.same_padding { Padding::SameUpper } else { Padding::all(kernel / 2) };
        let conv = Conv {
            in_channels: self.channels(),
            out_channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            padding,
            groups,
            bias,
        };
        self.node(name, Op::Conv(conv))
    }

    /// A factor for each channel, learned under a name of its own.
    pub(crate) fn layer_scale(&mut self, name: &str, parameter: String) -> Result<(), GraphError> {
        let scale = Op::Scale(Scale { channels: self.channels(), bias: false });
        self.named(name, scale, [(ParameterKind::Weight, parameter)])
    }

    /// A node that reads the last wire and whose parameters have names of their own.
    pub(crate) fn named<N: Into<String>>(
        &mut self,
        name: &str,
        op: Op,
        names: impl IntoIterator<Item = (ParameterKind, N)>,
    ) -> Result<(), GraphError> {
        let input = self.last();
        self.push(Node::new(name, op, [input]).with_parameter_names(names))
    }

    /// Marks the last wire as the end of a block.
    pub(crate) fn cut_here(&mut self) {
        self.cuts.push(self.last());
    }

    /// A dense layer on top; `features` becomes the features' wire. Without classes, the network ends there.
    pub(crate) fn classifier(
        mut self,
        name: &str,
        features: String,
        classes: usize,
    ) -> Result<Network, GraphError> {
        if classes == 0 {
            self.branch_from(&features);
            return self.finish(features, None);
        }
        self.gemm(name, classes)?;
        let logits = Some(self.last());
        self.finish(features, logits)
    }

    /// The network up to the last wire.
    pub(crate) fn finish(mut self, features: String, logits: Option<String>) -> Result<Network, GraphError> {
        self.graph.set_output(&self.last)?;
        let roles = Roles { features, logits, cuts: self.cuts };
        Ok(Network { graph: self.graph, roles })
    }

    pub(crate) fn push(&mut self, node: Node) -> Result<(), GraphError> {
        self.last.clone_from(&node.name);
        self.graph.push(node)
    }
}

/// A convolution that is not square, or whose padding is not half its kernel.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) out_channels: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    /// Rows at the top and bottom, columns at the left and right.
    pub(crate) padding: [usize; 2],
}

impl Window {
    /// A square kernel with half of it as padding.
    pub(crate) const fn square(out_channels: usize, kernel: usize, stride: usize) -> Self {
        Self { out_channels, kernel: [kernel; 2], stride, padding: [kernel / 2; 2] }
    }

    /// A square kernel without padding.
    pub(crate) const fn valid(out_channels: usize, kernel: usize, stride: usize) -> Self {
        Self { out_channels, kernel: [kernel; 2], stride, padding: [0; 2] }
    }
}

/// A square convolution.
#[derive(Clone, Copy)]
pub(crate) struct Layer {
    pub(crate) out_channels: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) groups: usize,
}

impl Layer {
    /// Every output channel reads every input channel.
    pub(crate) const fn dense(out_channels: usize, kernel: usize, stride: usize) -> Self {
        Self { out_channels, kernel, stride, groups: 1 }
    }

    /// Every channel is filtered by itself.
    pub(crate) const fn depthwise(channels: usize, kernel: usize, stride: usize) -> Self {
        Self { out_channels: channels, kernel, stride, groups: channels }
    }
}

/// The two layers of a squeeze-and-excitation.
#[derive(Clone)]
pub(crate) struct Squeeze {
    /// Channels between them.
    pub(crate) width: usize,
    /// Behind the first.
    pub(crate) activation: Op,
    /// Behind the second; gives 0 … 1.
    pub(crate) gate: Op,
}

/// 0 … 6.
pub(crate) const RELU6: Op = Op::Clip(Clip { min: 0.0, max: 6.0 });

/// The largest of each window of that size.
pub(crate) fn max_pool(size: usize, stride: usize, padding: usize) -> Op {
    Op::MaxPool(Pool::new([size; 2], [stride; 2], Padding::all(padding)))
}

/// The same, and a window that starts inside counts even where it ends outside.
pub(crate) fn max_pool_ceil(size: usize, stride: usize) -> Op {
    let pool = Pool::new([size; 2], [stride; 2], Padding::all(0));
    Op::MaxPool(Pool { ceil_mode: true, ..pool })
}
