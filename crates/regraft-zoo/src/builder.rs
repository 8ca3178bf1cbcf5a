//! What the architecture builders share: a chain of nodes that remembers its last wire and its cut points.

use regraft_graph::{BatchNormalization, Conv, Dim, Fact, Gemm, Graph, GraphError, Node, Op, Padding, Roles};

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
    pub(crate) fn new(style: Style) -> Self {
        let input = "input".to_owned();
        let graph = Graph::new(input.clone(), Fact::image(3));
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
        let dim = self.graph.fact(&self.last).ok().and_then(|fact| fact.shape.get(1).copied());
        if let Some(Dim::Fixed(channels)) = dim { channels } else { 0 }
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

    /// A convolution without bias, and its batch normalisation.
    pub(crate) fn conv_norm(&mut self, conv: Layer<'_>, norm: &str) -> Result<(), GraphError> {
        let Layer { name, out_channels, kernel, stride, groups } = conv;
        let Style { same_padding, epsilon } = self.style;
        let padding = if same_padding { Padding::SameUpper } else { Padding::all(kernel / 2) };
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
        self.node(name, Op::Conv(conv))?;
        self.node(norm, Op::BatchNormalization(BatchNormalization { channels: out_channels, epsilon }))
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
        let gemm = Gemm { in_features: self.channels(), out_features: classes, bias: true };
        self.node(name, Op::Gemm(gemm))?;
        self.graph.set_output(&self.last)?;
        let roles = Roles { features, logits: Some(self.last), cuts: self.cuts };
        Ok(Network { graph: self.graph, roles })
    }

    fn push(&mut self, node: Node) -> Result<(), GraphError> {
        self.last.clone_from(&node.name);
        self.graph.push(node)
    }
}

/// A square convolution.
pub(crate) struct Layer<'a> {
    pub(crate) name: &'a str,
    pub(crate) out_channels: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) groups: usize,
}
