//! Nodes in topological order.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::{Fact, GraphError, Op, Parameter, ParameterKind};

/// One computation. Its output is the wire of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The name that the origin framework gives it; surgery keeps it.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Names of the wires that it reads.
    pub inputs: Vec<String>,
    /// Prefix of its parameters' names, where that is not the node's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter_prefix: Option<String>,
    /// Full names of the parameters that are not called `prefix.kind`: PyTorch's `in_proj_weight`, for example.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameter_names: BTreeMap<ParameterKind, String>,
}

impl Node {
    /// A node whose parameters are called `name.weight`, `name.bias` …
    pub fn new<I: Into<String>>(
        name: impl Into<String>,
        op: Op,
        inputs: impl IntoIterator<Item = I>,
    ) -> Self {
        let inputs = inputs.into_iter().map(Into::into).collect();
        Self { name: name.into(), op, inputs, parameter_prefix: None, parameter_names: BTreeMap::new() }
    }

    /// The tensors that it reads, in the order of [`Op::parameters`].
    pub fn parameters(&self) -> Vec<Parameter> {
        let named = |(kind, shape)| Parameter { name: self.parameter_name(kind), kind, shape };
        self.op.parameters().into_iter().map(named).collect()
    }

    /// Name of the parameter of that kind.
    pub(crate) fn parameter_name(&self, kind: ParameterKind) -> String {
        let prefix = self.parameter_prefix.as_ref().unwrap_or(&self.name);
        let full = self.parameter_names.get(&kind).cloned();
        full.unwrap_or_else(|| format!("{prefix}.{}", kind.suffix()))
    }

    /// The same node with full names for some of its parameters.
    #[must_use]
    pub fn with_parameter_names<N: Into<String>>(
        self,
        names: impl IntoIterator<Item = (ParameterKind, N)>,
    ) -> Self {
        let parameter_names = names.into_iter().map(|(kind, name)| (kind, name.into())).collect();
        Self { parameter_names, ..self }
    }
}

/// A network: one input, nodes in topological order, one or more outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Graph {
    input: String,
    nodes: Vec<Node>,
    outputs: Vec<String>,
    input_fact: Fact,
    /// One for each node.
    facts: Vec<Fact>,
    /// Node name to position.
    index: HashMap<String, usize>,
}

/// The graph as it is written to `graph.json`: facts are inferred again when it is read.
#[derive(Serialize, Deserialize)]
struct Stored {
    input: String,
    input_fact: Fact,
    nodes: Vec<Node>,
    outputs: Vec<String>,
}

impl Graph {
    /// A graph without nodes whose output is its input.
    pub fn new(input: impl Into<String>, fact: Fact) -> Self {
        let input = input.into();
        let outputs = vec![input.clone()];
        Self { input, nodes: Vec::new(), outputs, input_fact: fact, facts: Vec::new(), index: HashMap::new() }
    }

    /// Appends a node that reads wires which exist already.
    ///
    /// # Errors
    /// The name is taken, an input is unknown, or the shapes do not fit.
    pub fn push(&mut self, node: Node) -> Result<(), GraphError> {
        if self.has_wire(&node.name) {
            return Err(GraphError::DuplicateName { name: node.name });
        }
        let user = || format!("node '{}'", node.name);
        let inputs = node.inputs.iter().map(|wire| self.fact(wire).map_err(|_| self.unknown(user(), wire)));
        let inputs: Vec<&Fact> = inputs.collect::<Result<_, _>>()?;
        let fact = node.op.output(&node, &inputs)?;
        self.index.insert(node.name.clone(), self.nodes.len());
        self.facts.push(fact);
        self.nodes.push(node);
        Ok(())
    }

    /// Makes one wire the output.
    ///
    /// # Errors
    /// The wire is unknown.
    pub fn set_output(&mut self, wire: &str) -> Result<(), GraphError> {
        self.set_outputs([wire])
    }

    /// Makes these wires the outputs, in this order.
    ///
    /// # Errors
    /// A wire is unknown.
    pub fn set_outputs<'a>(&mut self, wires: impl IntoIterator<Item = &'a str>) -> Result<(), GraphError> {
        let known = |wire: &str| self.fact(wire).map(|_| wire.to_owned());
        self.outputs = wires.into_iter().map(known).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Name of the input wire.
    pub fn input(&self) -> &str {
        &self.input
    }

    /// Nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Names of the output wires.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.index.get(name).and_then(|position| self.nodes.get(*position))
    }

    /// Whether a wire of that name exists.
    pub fn has_wire(&self, wire: &str) -> bool {
        wire == self.input || self.index.contains_key(wire)
    }

    /// What is known about a wire.
    ///
    /// # Errors
    /// The wire is unknown; the error names wires that look alike.
    pub fn fact(&self, wire: &str) -> Result<&Fact, GraphError> {
        if wire == self.input {
            return Ok(&self.input_fact);
        }
        let fact = self.index.get(wire).and_then(|position| self.facts.get(*position));
        fact.ok_or_else(|| self.unknown("this".to_owned(), wire))
    }

    /// Fact of the input wire.
    pub fn input_fact(&self) -> &Fact {
        &self.input_fact
    }

    /// The nodes that read a wire.
    pub fn consumers<'a>(&'a self, wire: &'a str) -> impl Iterator<Item = &'a Node> {
        self.nodes.iter().filter(move |node| node.inputs.iter().any(|input| input == wire))
    }

    /// All tensors that the nodes read, in topological order, each name once.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut seen = HashSet::new();
        let all = self.nodes.iter().flat_map(Node::parameters);
        all.filter(|parameter| seen.insert(parameter.name.clone())).collect()
    }

    /// The same graph with only the nodes that the outputs need.
    pub(crate) fn pruned(&self) -> Result<Self, GraphError> {
        let mut needed: HashSet<&str> = self.outputs.iter().map(String::as_str).collect();
        for node in self.nodes.iter().rev() {
            if needed.contains(node.name.as_str()) {
                needed.extend(node.inputs.iter().map(String::as_str));
            }
        }
        let nodes = self.nodes.iter().filter(|node| needed.contains(node.name.as_str())).cloned();
        Self::assemble(&self.input, self.input_fact().clone(), nodes, self.outputs.iter().map(String::as_str))
    }

    /// A graph from its parts, checked.
    pub(crate) fn assemble<'a>(
        input: &str,
        fact: Fact,
        nodes: impl IntoIterator<Item = Node>,
        outputs: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, GraphError> {
        let mut graph = Self::new(input, fact);
        nodes.into_iter().try_for_each(|node| graph.push(node))?;
        graph.set_outputs(outputs)?;
        Ok(graph)
    }

    fn unknown(&self, user: String, wire: &str) -> GraphError {
        let names = std::iter::once(&self.input).chain(self.nodes.iter().map(|node| &node.name));
        let tail = wire.rsplit('.').next().unwrap_or(wire);
        // A letter or two are in many names.
        let alike = names.filter(|name| tail.len() > 2 && (name.contains(wire) || name.ends_with(tail)));
        GraphError::UnknownWire { user, wire: wire.to_owned(), nearest: alike.take(3).cloned().collect() }
    }
}

impl TryFrom<Stored> for Graph {
    type Error = GraphError;

    fn try_from(stored: Stored) -> Result<Self, GraphError> {
        Self::assemble(
            &stored.input,
            stored.input_fact,
            stored.nodes,
            stored.outputs.iter().map(String::as_str),
        )
    }
}

impl From<Graph> for Stored {
    fn from(graph: Graph) -> Self {
        let input_fact = graph.input_fact().clone();
        Self { input: graph.input, input_fact, nodes: graph.nodes, outputs: graph.outputs }
    }
}
