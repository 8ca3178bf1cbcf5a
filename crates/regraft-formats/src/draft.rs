//! A network under construction: what every reader of whole networks shares.

use regraft_graph::{Card, Fact, Graph, GraphError, Model, Node, Op, ParameterKind, Roles, Tensor, Weights};

/// A network that was read from a file, and what its reader has to say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Graph, weights and card.
    pub model: Model,
    /// One sentence each on what was in the file and is not in the model, or had to be assumed: a loss layer that was
    /// left out, preprocessing that the file does not tell.
    pub notes: Vec<String>,
}

/// Nodes and weights so far. Names are the origin's; where two nodes would have one name, the later gets a number.
#[derive(Debug)]
pub(crate) struct Draft {
    graph: Graph,
    weights: Weights,
}

impl Draft {
    pub(crate) fn new(input: &str, fact: Fact) -> Self {
        Self { graph: Graph::new(input, fact), weights: Weights::new() }
    }

    /// Adds a node with its tensors and returns the name of its wire.
    ///
    /// # Errors
    /// An input is unknown or has another shape than the operator takes. Tensors are checked at the end.
    pub(crate) fn add(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[&str],
        tensors: impl IntoIterator<Item = (ParameterKind, Tensor)>,
    ) -> Result<String, GraphError> {
        self.add_tied(name, op, inputs, tensors, None)
    }

    /// As [`add`](Self::add), for a layer that is used again: the tensors are those of the node `owner`.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(crate) fn add_tied(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[&str],
        tensors: impl IntoIterator<Item = (ParameterKind, Tensor)>,
        owner: Option<String>,
    ) -> Result<String, GraphError> {
        let name = self.free_name(name);
        let mut node = Node::new(name.clone(), op, inputs.iter().copied());
        node.parameter_prefix = owner;
        for (kind, tensor) in tensors {
            let parameter = node.parameters().into_iter().find(|parameter| parameter.kind == kind);
            self.weights.insert(parameter.map_or_else(|| name.clone(), |parameter| parameter.name), tensor);
        }
        self.graph.push(node)?;
        Ok(name)
    }

    fn free_name(&self, name: &str) -> String {
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        names.find(|name| !self.graph.has_wire(name)).unwrap_or_default()
    }

    /// What is known about a wire so far.
    ///
    /// # Errors
    /// The wire is unknown.
    pub(crate) fn fact(&self, wire: &str) -> Result<&Fact, GraphError> {
        self.graph.fact(wire)
    }

    /// The whole model. The card's roles become those that follow from the graph's structure.
    ///
    /// # Errors
    /// An output is unknown, or a tensor is missing or has another shape than its node needs.
    pub(crate) fn finish(mut self, outputs: &[&str], card: Card) -> Result<Model, GraphError> {
        self.graph.set_outputs(outputs.iter().copied())?;
        let roles = Roles::infer(&self.graph);
        Model::new(self.graph, self.weights, Card { roles, ..card })
    }
}
