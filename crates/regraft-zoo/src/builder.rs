//! What the architecture builders share: a chain of nodes that remembers its last wire and its cut points.

use regraft_graph::{
    BatchNormalization, Concat, Conv, Dim, Fact, Gemm, Graph, GraphError, LayerNormalization, Node, Op,
    Padding, Roles,
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
    pub(crate) fn conv_norm(&mut self, layer: Layer<'_>, norm: &str) -> Result<(), GraphError> {
        self.conv_alone(layer)?;
        self.batch_norm(norm)
    }

    /// A convolution without bias.
    pub(crate) fn conv_alone(&mut self, layer: Layer<'_>) -> Result<(), GraphError> {
        let Layer { name, out_channels, kernel, stride, groups } = layer;
        let padding = if self.style.same_padding { Padding::SameUpper } else { Padding::all(kernel / 2) };
        let conv = Conv {
            in_channels: self.channels(),
            out_channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            padding,
            groups,
            bias: false,
        };
        self.node(name, Op::Conv(conv))
    }

    /// Marks the last wire as the end of a block.
    pub(crate) fn cut_here(&mut self) {
        self.cuts.push(self.last());
    }

    /// A dense layer on top; `features` becomes the features' wire.
    pub(crate) fn classifier(
        mut self,
        name: &str,
        features: String,
        classes: usize,
    ) -> Result<Network, GraphError> {
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

/// A square convolution.
pub(crate) struct Layer<'a> {
    pub(crate) name: &'a str,
    pub(crate) out_channels: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) groups: usize,
}
