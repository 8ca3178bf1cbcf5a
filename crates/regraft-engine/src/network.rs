//! The graph as the engine sees it: instructions over numbered values of known size.
//!
//! Here wires that compute nothing (dropout, the flattening of a single pixel) become other names of one value, and an
//! activation or a residual addition becomes the last step of the convolution before it, where nothing else reads the
//! value in between. A fused addition must find its other summand computed, so it joins the later of its producers. A mean
//! behind a 1×1 convolution moves before it: both are linear, and the convolution then has fewer pixels (DenseNet's
//! transitions: a quarter).

use std::collections::HashMap;

use regraft_graph::{Bindings, Conv, Fact, Graph, GraphError, Model, Node, Op, Padding, Patch, Roles};

use crate::{EngineError, axes, kernels::activation::Function, selection::select_early};

/// Bounds of an activation: `[0, ∞]` is ReLU, infinite bounds leave everything as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clamp {
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl Clamp {
    pub(crate) const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY };
}

/// One computation: a node of the graph and what was fused into it.
#[derive(Debug)]
pub(crate) struct Instruction<'a> {
    pub(crate) node: &'a Node,
    pub(crate) inputs: Vec<usize>,
    /// A value that is added before the clamp.
    pub(crate) residual: Option<usize>,
    pub(crate) clamp: Clamp,
    /// Applied after the clamp.
    pub(crate) function: Option<Function>,
    pub(crate) output: usize,
}

/// Some numbers of a value while a program runs.
pub(crate) struct Observed<'a> {
    pub(crate) value: usize,
    pub(crate) numbers: &'a [f32],
}

/// Instructions in order; value 0 is the input.
#[derive(Debug)]
pub(crate) struct Network<'a> {
    pub(crate) instructions: Vec<Instruction<'a>>,
    /// Channels, height and width of each value, see [`Axes`](crate::axes::Axes).
    pub(crate) values: Vec<[usize; 3]>,
    /// The last wire that was fused into each value.
    pub(crate) names: Vec<String>,
    /// The value of each output wire, and its sizes behind the batch axis.
    pub(crate) outputs: Vec<(usize, Vec<usize>)>,
    pub(crate) bindings: Bindings,
}

/// The model with these outputs, tokens selected early and its batch normalisation folded, where no output wire would be
/// lost. The outputs may have other names.
pub(crate) fn fold(model: &Model, outputs: &[&str]) -> Result<Model, EngineError> {
    let mut graph = model.graph().clone();
    graph.set_outputs(outputs.iter().copied())?;
    let graph = select_early(&graph)?;
    let [first, ..] = graph.outputs() else { return Err(EngineError::NoOutputs) };
    let mut card = model.card().clone();
    // The roles may name wires behind the outputs, which go.
    card.roles = Roles { features: first.clone(), logits: None, cuts: Vec::new() };
    let model = Model::new(graph, model.weights().clone(), card)?;
    if shares_parameters(model.graph()) {
        return Ok(model);
    }
    let mut model = model;
    // A factor behind a normalisation (Caffe) comes to stand behind the convolution only when that is folded.
    loop {
        let patch = Patch::fold_batch_normalization(&model)?;
        if patch.is_empty() {
            return Ok(model);
        }
        model = patch.apply(model)?;
    }
}

/// Whether two nodes read one tensor: folding would scale it for both.
pub(crate) fn shares_parameters(graph: &Graph) -> bool {
    let all: usize = graph.nodes().iter().map(|node| node.parameters().len()).sum();
    graph.parameters().len() < all
}

impl<'a> Network<'a> {
    /// Whether all of these values have these sizes: nothing is repeated along an axis.
    pub(crate) fn all_are(&self, values: &[usize], sizes: [usize; 3]) -> bool {
        values.iter().all(|value| self.values.get(*value) == Some(&sizes))
    }

    /// Lowers the part of the graph that its outputs need.
    pub(crate) fn new(graph: &'a Graph, image: [usize; 2]) -> Result<Self, EngineError> {
        Self::lowered(graph, image, Fusion::All)
    }

    /// As [`new`](Self::new), with every value from which a gradient is computed, and, if it `drops` numbers, with dropout.
    pub(crate) fn for_gradients(
        graph: &'a Graph,
        image: [usize; 2],
        drops: bool,
    ) -> Result<Self, EngineError> {
        Self::lowered(graph, image, if drops { Fusion::ClampsAndDropout } else { Fusion::Clamps })
    }

    fn lowered(graph: &'a Graph, image: [usize; 2], fusion: Fusion) -> Result<Self, EngineError> {
        let mut lowering = Lowering::new(graph, image, fusion)?;
        for node in needed(graph) {
            lowering.lower(node)?;
        }
        lowering.network.outputs =
            graph.outputs().iter().map(|wire| lowering.output(wire)).collect::<Result<_, _>>()?;
        Ok(lowering.network)
    }
}

/// The nodes that the outputs need, in topological order.
fn needed(graph: &Graph) -> Vec<&Node> {
    let mut wires: std::collections::HashSet<&str> = graph.outputs().iter().map(String::as_str).collect();
    let mut nodes: Vec<&Node> = Vec::new();
    for node in graph.nodes().iter().rev() {
        if wires.contains(node.name.as_str()) {
            wires.extend(node.inputs.iter().map(String::as_str));
            nodes.push(node);
        }
    }
    nodes.reverse();
    nodes
}

/// What may become the last step of the instruction before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fusion {
    All,
    /// Only clamps: the derivative of a clamp can be told from its output.
    Clamps,
    /// As above, and dropout is a computation.
    ClampsAndDropout,
}

struct Lowering<'a> {
    graph: &'a Graph,
    fusion: Fusion,
    bindings: Bindings,
    network: Network<'a>,
    /// Wire to value.
    values: HashMap<&'a str, usize>,
    /// Value to the instruction that computes it.
    producers: HashMap<usize, usize>,
    /// Wire to the first wire with the same numbers.
    origins: HashMap<&'a str, &'a str>,
    /// How often the numbers of an origin are read, as an output included.
    reads: HashMap<&'a str, usize>,
}

impl<'a> Lowering<'a> {
    fn new(graph: &'a Graph, [height, width]: [usize; 2], fusion: Fusion) -> Result<Self, EngineError> {
        let bindings = Bindings { batch: 1, height, width };
        let fact = graph.input_fact();
        let misfit = || EngineError::ImageSize { expected: fact.to_string(), height, width };
        let input = sizes(fact, &bindings).filter(|(sizes, axes)| match axes {
            // The places of a vector may be given as the width of an image.
            2 => height == 1 && (width == 1 || width == sizes[0]),
            3 | 4 => sizes[1..] == [height, width],
            _ => false,
        });
        let (input, _) = input.ok_or_else(misfit)?;
        let names = vec![graph.input().to_owned()];
        let network =
            Network { instructions: Vec::new(), values: vec![input], names, outputs: Vec::new(), bindings };
        let (values, producers) = (HashMap::from([(graph.input(), 0)]), HashMap::new());
        let (origins, reads) = (HashMap::new(), HashMap::new());
        let mut lowering = Self { graph, fusion, bindings, network, values, producers, origins, reads };
        lowering.count_reads()?;
        Ok(lowering)
    }

    fn count_reads(&mut self) -> Result<(), EngineError> {
        for node in needed(self.graph) {
            if self.is_renaming(node)? {
                let source = node.inputs.first().map_or("", |wire| self.origin(wire));
                self.origins.insert(&node.name, source);
            } else {
                node.inputs.iter().for_each(|wire| self.count(wire));
            }
        }
        self.graph.outputs().iter().for_each(|wire| self.count(wire));
        Ok(())
    }

    fn count(&mut self, wire: &'a str) {
        let origin = self.origin(wire);
        *self.reads.entry(origin).or_default() += 1;
    }

    fn origin(&self, wire: &'a str) -> &'a str {
        self.origins.get(wire).copied().unwrap_or(wire)
    }

    /// Whether a node's output has the numbers of its input in the same order in memory.
    fn is_renaming(&self, node: &Node) -> Result<bool, EngineError> {
        match (&node.op, node.inputs.first()) {
            (Op::Dropout { .. }, _) => Ok(self.fusion != Fusion::ClampsAndDropout),
            (Op::AdaptiveAveragePool { .. }, Some(input)) => {
                Ok(self.shape(input)?.0 == self.shape(&node.name)?.0)
            }
            (Op::Flatten | Op::Reshape(_), Some(input)) => {
                let ((from, from_axes), (to, to_axes)) = (self.shape(input)?, self.shape(&node.name)?);
                // A sequence's features are its channels, so that it has its numbers in another order.
                let reordered = (from_axes == 3) != (to_axes == 3) && from[0] > 1 && from[2] > 1;
                Ok(from == to && !reordered)
            }
            (Op::Concat(_), Some(_)) => Ok(node.inputs.len() == 1),
            _ => Ok(false),
        }
    }

    fn shape(&self, wire: &str) -> Result<([usize; 3], usize), EngineError> {
        let Bindings { height, width, .. } = self.bindings;
        let too_small = || GraphError::InputTooSmall { node: wire.to_owned(), height, width };
        Ok(sizes(self.graph.fact(wire)?, &self.bindings).ok_or_else(too_small)?)
    }

    fn output(&self, wire: &str) -> Result<(usize, Vec<usize>), EngineError> {
        let shape = self.graph.fact(wire)?.bind(&self.bindings).unwrap_or_default();
        Ok((self.value(wire)?, shape.into_iter().skip(1).collect()))
    }

    fn value(&self, wire: &str) -> Result<usize, EngineError> {
        let unknown = || GraphError::UnknownWire {
            user: "this".to_owned(),
            wire: wire.to_owned(),
            nearest: Vec::new(),
        };
        Ok(self.values.get(wire).copied().ok_or_else(unknown)?)
    }

    fn lower(&mut self, node: &'a Node) -> Result<(), EngineError> {
        let (sizes, _) = self.shape(&node.name)?;
        let inputs: Vec<usize> = node.inputs.iter().map(|wire| self.value(wire)).collect::<Result<_, _>>()?;
        let value = match inputs.as_slice() {
            [input] if self.is_renaming(node)? => *input,
            _ => {
                let value = match self
                    .fuse(node, &inputs, sizes)
                    .or_else(|| self.average_first(node, &inputs, sizes))
                {
                    Some(value) => value,
                    None => self.push(node, inputs, sizes),
                };
                if let Some(name) = self.network.names.get_mut(value) {
                    name.clone_from(&node.name);
                }
                value
            }
        };
        self.values.insert(&node.name, value);
        Ok(())
    }

    fn push(&mut self, node: &'a Node, inputs: Vec<usize>, sizes: [usize; 3]) -> usize {
        let output = self.network.values.len();
        self.network.values.push(sizes);
        self.network.names.push(node.name.clone());
        self.producers.insert(output, self.network.instructions.len());
        let clamp = clamp_of(&node.op).unwrap_or(Clamp::NONE);
        let function = Function::of(&node.op);
        self.network.instructions.push(Instruction { node, inputs, residual: None, clamp, function, output });
        output
    }

    /// Makes `node` the last step of the instruction before it, if it can be, and returns that one's value.
    fn fuse(&mut self, node: &'a Node, inputs: &[usize], sizes: [usize; 3]) -> Option<usize> {
        if self.fusion != Fusion::All && clamp_of(&node.op).is_none() {
            return None;
        }
        if let (Some(function), [value], [wire]) = (Function::of(&node.op), inputs, node.inputs.as_slice()) {
            self.fusable(wire, *value)?.function = Some(function);
            return Some(*value);
        }
        match (clamp_of(&node.op), inputs, node.inputs.as_slice()) {
            (Some(clamp), [value], [wire]) => {
                self.fusable(wire, *value)?.clamp = clamp;
                Some(*value)
            }
            (None, [left, right], [left_wire, right_wire])
                if matches!(node.op, Op::Add) && left != right && self.network.all_are(inputs, sizes) =>
            {
                let order = |value: &usize| self.producers.get(value);
                let left_first = order(left) < order(right);
                let (earlier, later, wire) =
                    if left_first { (left, right, right_wire) } else { (right, left, left_wire) };
                let instruction = self.fusable(wire, *later)?;
                let takes_residual = matches!(instruction.node.op, Op::Conv(_) | Op::Gemm(_));
                (takes_residual && instruction.residual.is_none()).then(|| {
                    instruction.residual = Some(*earlier);
                    *later
                })
            }
            _ => None,
        }
    }

    /// Puts a mean before the 1×1 convolution whose output it would read, and returns the convolution's new value.
    fn average_first(&mut self, node: &'a Node, inputs: &[usize], sizes: [usize; 3]) -> Option<usize> {
        let ([value], [wire]) = (inputs, node.inputs.as_slice()) else { return None };
        let Op::AveragePool(pool) = &node.op else { return None };
        if self.fusion != Fusion::All {
            return None;
        }
        let instruction = self.fusable(wire, *value)?;
        let Op::Conv(conv) = &instruction.node.op else { return None };
        // With padding that counts as zeros a bias would be scaled too.
        let pointwise = Conv { kernel: [1; 2], stride: [1; 2], padding: Padding::all(0), ..conv.clone() };
        let fits = *conv == pointwise && !pool.count_include_pad && instruction.residual.is_none();
        if !fits {
            return None;
        }
        let convolution = std::mem::replace(&mut instruction.node, node);
        let [_, height, width] = sizes;
        *self.network.values.get_mut(*value)? = [conv.in_channels, height, width];
        *self.network.names.get_mut(*value)? = format!("{} (input)", node.name);
        Some(self.push(convolution, vec![*value], sizes))
    }

    /// The producer of a wire that nothing else reads and that is not clamped yet.
    fn fusable(&mut self, wire: &'a str, value: usize) -> Option<&mut Instruction<'a>> {
        let alone = self.reads.get(self.origin(wire)) == Some(&1);
        let producer = *self.producers.get(&value)?;
        let takes = match self.network.instructions.get(producer)? {
            Instruction { node: Node { op: Op::Add, .. }, inputs, output, .. } => {
                self.network.values.get(*output).is_some_and(|sizes| self.network.all_are(inputs, *sizes))
            }
            Instruction { node, .. } => {
                matches!(node.op, Op::Conv(_) | Op::Gemm(_) | Op::BatchNormalization(_) | Op::Scale(_))
            }
        };
        let instruction = self.network.instructions.get_mut(producer)?;
        let linear = instruction.clamp == Clamp::NONE && instruction.function.is_none();
        (alone && takes && linear).then_some(instruction)
    }
}

fn clamp_of(op: &Op) -> Option<Clamp> {
    match op {
        Op::Relu => Some(Clamp { low: 0.0, high: f32::INFINITY }),
        Op::Clip(clip) => Some(Clamp { low: clip.min, high: clip.max }),
        _ => None,
    }
}

/// Channels, height and width, and the number of axes. `None` where an axis would be empty.
fn sizes(fact: &Fact, bindings: &Bindings) -> Option<([usize; 3], usize)> {
    let shape = fact.bind(bindings)?;
    Some((axes::sizes(shape.get(1..)?), shape.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_graph::Pool;

    fn conv() -> Op {
        let (kernel, stride, dilation) = ([1; 2], [1; 2], [1; 2]);
        Op::Conv(Conv {
            in_channels: 4,
            out_channels: 4,
            kernel,
            stride,
            dilation,
            padding: Padding::all(0),
            groups: 1,
            bias: false,
        })
    }

    fn graph(nodes: &[(&str, Op, &[&str])], outputs: &[&str]) -> Graph {
        let mut graph = Graph::new("input", Fact::image(4));
        for (name, op, inputs) in nodes {
            graph.push(Node::new(*name, op.clone(), inputs.iter().copied())).unwrap();
        }
        graph.set_outputs(outputs.iter().copied()).unwrap();
        graph
    }

    /// Names of the nodes that stay as instructions.
    fn instructions(graph: &Graph) -> Vec<String> {
        let network = Network::new(graph, [2, 2]).unwrap();
        network.instructions.iter().map(|instruction| instruction.node.name.clone()).collect()
    }

    #[test]
    fn an_addition_and_its_activation_join_the_later_convolution() {
        let nodes: [(&str, Op, &[&str]); 5] = [
            ("a", conv(), &["input"]),
            ("b", conv(), &["a"]),
            ("drop", Op::Dropout { ratio: 0.5 }, &["b"]),
            ("sum", Op::Add, &["drop", "a"]),
            ("relu", Op::Relu, &["sum"]),
        ];
        assert_eq!(instructions(&graph(&nodes, &["relu"])), ["a", "b"]);
        assert_eq!(instructions(&graph(&nodes, &["relu", "drop"])), ["a", "b", "sum"]);
        assert_eq!(instructions(&graph(&nodes, &["sum", "relu"])), ["a", "b", "relu"]);
    }

    #[test]
    fn a_value_that_was_read_before_is_not_overwritten() {
        let nodes: [(&str, Op, &[&str]); 5] = [
            ("a", conv(), &["input"]),
            ("b", conv(), &["a"]),
            ("sum", Op::Add, &["a", "b"]),
            ("relu", Op::Relu, &["a"]),
            ("total", Op::Add, &["sum", "relu"]),
        ];
        assert_eq!(instructions(&graph(&nodes, &["total"])), ["a", "b", "relu", "total"]);
    }

    #[test]
    fn a_mean_moves_before_a_convolution_of_single_pixels() {
        let pool = || Op::AveragePool(Pool::new([2; 2], [2; 2], Padding::all(0)));
        let nodes: [(&str, Op, &[&str]); 3] =
            [("conv", conv(), &["input"]), ("pool", pool(), &["conv"]), ("relu", Op::Relu, &["pool"])];
        let graph = graph(&nodes, &["relu"]);
        let network = Network::new(&graph, [6, 4]).unwrap();
        let names: Vec<&str> =
            network.instructions.iter().map(|instruction| instruction.node.name.as_str()).collect();
        assert_eq!(names, ["pool", "conv"]);
        assert_eq!(network.values[1..], [[4, 3, 2]; 2]);
        assert_eq!(network.outputs, [(2, vec![4, 3, 2])]);
        let read_twice = self::graph(&nodes, &["relu", "conv"]);
        assert_eq!(instructions(&read_twice), ["conv", "pool", "relu"]);
    }

    #[test]
    fn what_no_output_needs_is_not_computed() {
        let nodes: [(&str, Op, &[&str]); 2] = [("a", conv(), &["input"]), ("b", conv(), &["a"])];
        assert_eq!(instructions(&graph(&nodes, &["a"])), ["a"]);
    }
}
