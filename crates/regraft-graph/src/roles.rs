//! Which wire is what, for a graph of which nothing but its structure is known.
//!
//! Files of most formats say neither where a network's features are nor where it may be cut. Both follow from its
//! structure: the features are what the last dense layer reads, and a cut point is a wire through which everything
//! passes, so that what lies behind it needs nothing that lies before it.

use crate::{
    Dim, Graph, Node, Op, Roles,
    split::{fed, last_reads},
};

impl Roles {
    /// Roles by structure: the logits are the last dense layer (or 1×1 convolution) before the first output, where only
    /// functions and means follow it; the features are what it reads. A network without such a layer has its first
    /// output for features.
    ///
    /// ```
    /// use regraft_graph::{Fact, Gemm, Graph, Node, Op, Roles};
    ///
    /// let mut graph = Graph::new("input", Fact::image(3));
    /// graph.push(Node::new("pool", Op::GlobalAveragePool, ["input"]))?;
    /// graph.push(Node::new("flatten", Op::Flatten, ["pool"]))?;
    /// graph.push(Node::new("fc", Op::Gemm(Gemm { in_features: 3, out_features: 2, bias: true }), ["flatten"]))?;
    /// graph.push(Node::new("prob", Op::Softmax, ["fc"]))?;
    /// graph.set_output("prob")?;
    /// let roles = Roles::infer(&graph);
    /// assert_eq!((roles.features.as_str(), roles.logits.as_deref()), ("flatten", Some("fc")));
    /// # Ok::<(), regraft_graph::GraphError>(())
    /// ```
    pub fn infer(graph: &Graph) -> Self {
        let output = graph.outputs().first().map_or(graph.input(), String::as_str);
        let (features, logits) = match classifier(graph, output) {
            Some((layer, scores)) => (skip_dropout(graph, input_of(layer)), Some(scores.to_owned())),
            None => (output, None),
        };
        Self { features: features.to_owned(), logits, cuts: cuts(graph, features) }
    }
}

/// The last layer with weights on the way to `output`, and the first wire behind it that has one number a class.
fn classifier<'a>(graph: &'a Graph, output: &'a str) -> Option<(&'a Node, &'a str)> {
    let mut scores = output;
    let mut node = graph.node(output)?;
    let one_place = |shape: &[Dim]| shape.len() == 2 || shape.get(2..) == Some(&[Dim::Fixed(1); 2]);
    graph.fact(output).ok().filter(|fact| one_place(&fact.shape))?;
    loop {
        let vector = graph.fact(&node.name).is_ok_and(|fact| fact.shape.len() == 2);
        match &node.op {
            Op::Gemm(_) if vector => return Some((node, &node.name)),
            Op::Conv(conv) if conv.kernel == [1, 1] => return Some((node, scores)),
            Op::Softmax | Op::Sigmoid | Op::Log => scores = input_of(node),
            Op::Flatten
            | Op::Reshape(_)
            | Op::GlobalAveragePool
            | Op::AveragePool(_)
            | Op::Dropout { .. } => {}
            // Behind a mean over the image, where SqueezeNet has it; in front of a vector it is a hidden layer's.
            Op::Relu if !vector => {}
            _ => return None,
        }
        node = graph.node(input_of(node))?;
    }
}

fn input_of(node: &Node) -> &str {
    node.inputs.first().map_or("", String::as_str)
}

fn skip_dropout<'a>(graph: &'a Graph, mut wire: &'a str) -> &'a str {
    while let Some(node) = graph.node(wire).filter(|node| matches!(node.op, Op::Dropout { .. })) {
        wire = input_of(node);
    }
    wire
}

/// The wires up to `end` through which everything passes, at the ends of blocks: behind a layer with weights, and
/// behind what follows it without any.
fn cuts(graph: &Graph, end: &str) -> Vec<String> {
    let nodes = fed(graph, [end]);
    let last_reads = last_reads(&nodes);
    let last_read = |wire: &str| last_reads.get(wire).copied().unwrap_or(0);
    // How far the wires before each node are read.
    let (mut reach, mut layers, mut found) = (last_read(graph.input()), false, Vec::new());
    for (position, node) in nodes.iter().enumerate() {
        layers |= is_layer(node);
        let whole = reach <= position && node.name != end;
        let ends_block = nodes.get(position + 1).is_some_and(|next| !follows(next));
        if whole && ends_block && layers {
            found.push(node.name.clone());
            layers = false;
        }
        reach = reach.max(last_read(&node.name));
    }
    found
}

fn is_layer(node: &Node) -> bool {
    matches!(
        node.op,
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) | Op::Attention(_) | Op::Lstm(_) | Op::Gru(_)
    )
}

/// What belongs to the block before it: everything without a layer's weights, but for what opens the next block.
fn follows(node: &Node) -> bool {
    let opens = matches!(node.op, Op::LayerNormalization(_) | Op::Slice(_) | Op::Pad(_));
    let one_input = node.inputs.len() == 1;
    one_input && !is_layer(node) && !opens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv, Fact, Gemm, Padding, Pool};

    fn conv(channels: usize) -> Op {
        Op::Conv(Conv {
            in_channels: channels,
            out_channels: channels,
            kernel: [1; 2],
            stride: [1; 2],
            dilation: [1; 2],
            padding: Padding::all(0),
            groups: 1,
            bias: false,
        })
    }

    fn graph(nodes: &[(&str, Op, &[&str])]) -> Graph {
        let mut graph = Graph::new("input", Fact::image(4));
        for (name, op, inputs) in nodes {
            graph.push(Node::new(*name, op.clone(), inputs.iter().copied())).unwrap();
        }
        graph.set_output(nodes.last().unwrap().0).unwrap();
        graph
    }

    #[test]
    fn blocks_end_where_everything_passes() {
        let pool = Op::MaxPool(Pool::new([2; 2], [2; 2], Padding::all(0)));
        let gemm = Op::Gemm(Gemm { in_features: 4, out_features: 3, bias: true });
        let graph = graph(&[
            ("stem", conv(4), &["input"]),
            ("stem_relu", Op::Relu, &["stem"]),
            ("pool", pool, &["stem_relu"]),
            ("left", conv(4), &["pool"]),
            ("left_relu", Op::Relu, &["left"]),
            ("right", conv(4), &["left_relu"]),
            ("sum", Op::Add, &["right", "pool"]),
            ("sum_relu", Op::Relu, &["sum"]),
            ("last", conv(4), &["sum_relu"]),
            ("mean", Op::GlobalAveragePool, &["last"]),
            ("flatten", Op::Flatten, &["mean"]),
            ("dropout", Op::Dropout { ratio: 0.5 }, &["flatten"]),
            ("fc", gemm, &["dropout"]),
            ("prob", Op::Softmax, &["fc"]),
        ]);
        let roles = Roles::infer(&graph);
        assert_eq!((roles.features.as_str(), roles.logits.as_deref()), ("flatten", Some("fc")));
        assert_eq!(roles.cuts, ["pool", "sum_relu"]);
    }

    #[test]
    fn a_convolution_may_be_the_classifier() {
        let graph = graph(&[
            ("body", conv(4), &["input"]),
            ("classes", conv(4), &["body"]),
            ("relu", Op::Relu, &["classes"]),
            ("mean", Op::GlobalAveragePool, &["relu"]),
            ("scores", Op::Flatten, &["mean"]),
            ("prob", Op::Softmax, &["scores"]),
        ]);
        let roles = Roles::infer(&graph);
        assert_eq!((roles.features.as_str(), roles.logits.as_deref()), ("body", Some("scores")));
    }

    #[test]
    fn a_network_without_a_head_ends_in_its_features() {
        let graph = graph(&[("body", conv(4), &["input"]), ("relu", Op::Relu, &["body"])]);
        assert_eq!(Roles::infer(&graph), Roles { features: "relu".into(), logits: None, cuts: vec![] });
    }
}
