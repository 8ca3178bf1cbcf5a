//! A network in two: what stands in front of a wire, and what stands behind it.

use std::collections::{HashMap, HashSet};

use crate::{Bindings, Dim, Fact, Graph, GraphError, Model, Node, Parameter, Symbol};

impl Graph {
    /// The last wire through which everything passes and in front of which nothing is trained, so that what stands behind it
    /// can be trained on the wire's values alone. The input, where the first layer is trained.
    ///
    /// ```
    /// use regraft_graph::{Fact, Gemm, Graph, Node, Op};
    ///
    /// let mut graph = Graph::new("input", Fact::image(3));
    /// graph.push(Node::new("pool", Op::GlobalAveragePool, ["input"]))?;
    /// graph.push(Node::new("flatten", Op::Flatten, ["pool"]))?;
    /// graph.push(Node::new("fc", Op::Gemm(Gemm { in_features: 3, out_features: 2, bias: true }), ["flatten"]))?;
    /// graph.set_output("fc")?;
    /// assert_eq!(graph.boundary(&|parameter| parameter.name == "fc.bias"), "flatten");
    /// # Ok::<(), regraft_graph::GraphError>(())
    /// ```
    pub fn boundary(&self, trains: &dyn Fn(&Parameter) -> bool) -> &str {
        let nodes = fed(self, self.outputs().iter().map(String::as_str));
        let last_reads = last_reads(&nodes);
        let last_read = |wire: &str| last_reads.get(wire).copied().unwrap_or(0);
        let trained =
            |node: &&Node| self.with_constants(node).any(|node| node.parameters().iter().any(trains));
        // A wire that is an output of its own is read behind everything.
        let is_output = |name: &str| self.outputs().iter().any(|output| output == name);
        let (mut boundary, mut reach) = (self.input(), last_read(self.input()));
        for (place, node) in nodes.iter().enumerate().take_while(|(_, node)| !trained(node)) {
            if is_output(&node.name) {
                break;
            }
            if reach <= place {
                boundary = &node.name;
            }
            reach = reach.max(last_read(&node.name));
        }
        boundary
    }

    /// The nodes that a wire needs and that depend on the input, in order; none for the input or a wire that does not exist.
    pub fn up_to<'a>(&'a self, wire: &'a str) -> Vec<&'a Node> {
        fed(self, [wire])
    }

    /// A node, and the nodes without an input that it reads.
    fn with_constants<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Node> {
        let read = node.inputs.iter().filter_map(|wire| self.node(wire));
        std::iter::once(node).chain(read.filter(|node| node.inputs.is_empty()))
    }

    /// What stands behind a wire: a graph whose input is that wire, of the sizes that it has for images of `height` by
    /// `width`.
    ///
    /// # Errors
    /// The wire is unknown or empty for such images, or something behind it reads a wire in front of it.
    fn behind(&self, wire: &str, [height, width]: [usize; 2]) -> Result<Self, GraphError> {
        let front: HashSet<&str> =
            fed(self, [wire]).into_iter().map(|node| node.name.as_str()).chain([wire]).collect();
        let nodes = self.nodes().iter().filter(|node| !front.contains(node.name.as_str())).cloned();
        let sizes = self.fact(wire)?.bind(&Bindings { batch: 1, height, width });
        let sizes =
            sizes.ok_or_else(|| GraphError::InputTooSmall { node: wire.to_owned(), height, width })?;
        let axes = sizes.into_iter().skip(1).map(Dim::Fixed);
        let fact = Fact::new(std::iter::once(Dim::symbol(Symbol::Batch)).chain(axes).collect::<Vec<_>>());
        Self::assemble(wire, fact, nodes, self.outputs().iter().map(String::as_str))?.pruned()
    }
}

impl Model {
    /// What stands behind a wire: a network whose input is that wire, of the sizes that it has for images of these, height and
    /// width. See [`Graph::boundary`] for the wire.
    ///
    /// # Errors
    /// The wire is unknown or empty for such images, or something behind it reads a wire in front of it.
    pub fn behind(&self, wire: &str, image: [usize; 2]) -> Result<Self, GraphError> {
        if wire == self.graph.input() {
            return Ok(self.clone());
        }
        let graph = self.graph.behind(wire, image)?;
        let mut card = self.card.clone();
        let roles = &mut card.roles;
        roles.cuts.retain(|wire| graph.has_wire(wire));
        roles.logits.take_if(|wire| !graph.has_wire(wire));
        if !graph.has_wire(&roles.features) {
            wire.clone_into(&mut roles.features);
        }
        Self::new(graph, self.weights.clone(), card)
    }

    /// The model with the weights of another one where it has weights of those names: one that was made of a part of it.
    ///
    /// # Errors
    /// A weight has another shape.
    pub fn with_weights_of(self, part: &Self) -> Result<Self, GraphError> {
        let mut weights = self.weights.clone();
        for (name, tensor) in part.weights.iter().filter(|(name, _)| self.weights.get(name).is_some()) {
            weights.insert(name, tensor.clone());
        }
        let model = Self::new(self.graph, weights, self.card)?;
        Ok(Self { frozen_until: self.frozen_until, history: self.history, ..model })
    }
}

/// The place of the last of `nodes` that reads each wire.
pub(crate) fn last_reads<'a>(nodes: &[&'a Node]) -> HashMap<&'a str, usize> {
    let reads = nodes.iter().enumerate();
    reads.flat_map(|(place, node)| node.inputs.iter().map(move |wire| (wire.as_str(), place))).collect()
}

/// The nodes that these wires need and that depend on the input, in order.
pub(crate) fn fed<'a>(graph: &'a Graph, ends: impl IntoIterator<Item = &'a str>) -> Vec<&'a Node> {
    let mut fed = HashSet::from([graph.input()]);
    for node in graph.nodes() {
        if node.inputs.iter().any(|wire| fed.contains(wire.as_str())) {
            fed.insert(&node.name);
        }
    }
    let mut wanted: HashSet<&str> = ends.into_iter().collect();
    let mut nodes: Vec<&Node> = Vec::new();
    for node in graph.nodes().iter().rev().filter(|node| fed.contains(node.name.as_str())) {
        if wanted.contains(node.name.as_str()) {
            wanted.extend(node.inputs.iter().map(String::as_str));
            nodes.push(node);
        }
    }
    nodes.reverse();
    nodes
}
