//! Shapes, parameters and costs of the operators: what fits gives the documented shape, what does not is named.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use regraft_graph::{
    Approximation, Attention, Bindings, ClassToken, Concat, Conv, ConvTranspose, Coordinates, Dim, Embedding,
    Fact, GateFunction, Gelu, Gemm, Graph, GraphError, Interpolation, InterpolationMode, InterpolationSize,
    LayerNormalization, Node, Op, Pad, PadMode, Padding, ParameterKind, Pool, PositionEmbedding, Recurrent,
    Reduce, ReduceKind, Reshape, Slice, Transpose,
};

/// A graph of one operator that reads the input as often as it takes inputs.
fn single(input: Fact, op: Op) -> Result<Graph, GraphError> {
    let inputs = vec!["input"; *op.arity().start()];
    let mut graph = Graph::new("input", input);
    graph.push(Node::new("node", op, inputs))?;
    graph.set_output("node")?;
    Ok(graph)
}

fn shape(input: Fact, op: Op) -> Result<String, GraphError> {
    Ok(single(input, op)?.fact("node")?.to_string())
}

fn fixed(channels: usize, height: usize, width: usize) -> Fact {
    Fact::new([Dim::symbol(regraft_graph::Symbol::Batch), channels.into(), height.into(), width.into()])
}

fn norm(features: usize) -> Op {
    Op::LayerNormalization(LayerNormalization { features, epsilon: 1e-6 })
}

fn gemm(in_features: usize, out_features: usize) -> Op {
    Op::Gemm(Gemm { in_features, out_features, bias: true })
}

#[test]
fn activations_keep_the_shape() {
    let gelu = |approximate| Op::Gelu(Gelu { approximate });
    let ops = [
        Op::Sigmoid,
        Op::Silu,
        Op::HardSigmoid,
        Op::HardSwish,
        gelu(Approximation::None),
        gelu(Approximation::Tanh),
    ];
    for op in ops {
        assert_eq!(shape(Fact::image(3), op.clone()).unwrap(), "N×3×H×W");
        assert_eq!(shape(Fact::sequence(5, 8), op).unwrap(), "N×5×8");
    }
}

#[test]
fn sequences_go_through_dense_layers_and_attention() {
    let sequence = || Fact::sequence(197, 768);
    assert_eq!(shape(sequence(), gemm(768, 2304)).unwrap(), "N×197×2304");
    assert_eq!(shape(sequence(), norm(768)).unwrap(), "N×197×768");
    let attention = |heads| Op::Attention(Attention { heads });
    assert_eq!(shape(Fact::sequence(197, 2304), attention(12)).unwrap(), "N×197×768");
    let token = Op::ClassToken(ClassToken { features: 768 });
    assert_eq!(shape(Fact::sequence(196, 768), token).unwrap(), "N×197×768");
    let position = Op::PositionEmbedding(PositionEmbedding { tokens: 197, features: 768, shorter: false });
    assert_eq!(shape(sequence(), position).unwrap(), "N×197×768");
    assert_eq!(shape(sequence(), Op::SelectToken { index: 196 }).unwrap(), "N×768");
    assert_eq!(shape(fixed(768, 14, 15), Op::Tokens).unwrap(), "N×210×768");
}

#[test]
fn what_does_not_fit_a_sequence_is_named() {
    let image = Fact::image(8);
    for (input, op, expected) in [
        (image.clone(), Op::Tokens, "fixed height and width"),
        (image.clone(), Op::Attention(Attention { heads: 2 }), "N×S×D"),
        (Fact::sequence(4, 24), Op::Attention(Attention { heads: 3 }), "3 heads do not divide a third of 24"),
        (Fact::sequence(4, 24), Op::Attention(Attention { heads: 0 }), "0 heads"),
        (Fact::sequence(4, 24), Op::Attention(Attention { heads: usize::MAX }), "do not divide"),
        (Fact::sequence(4, 24), Op::SelectToken { index: 4 }, "above 4"),
        (Fact::sequence(4, 24), norm(25), "N×25, N×S×25 or N×25×H×W"),
        (image, gemm(9, 2), "N×9×H×W"),
        (Fact::sequence(4, 24), Op::ClassToken(ClassToken { features: 23 }), "N×S×23"),
        (
            Fact::sequence(4, 24),
            Op::PositionEmbedding(PositionEmbedding { tokens: 5, features: 24, shorter: false }),
            "N×5×24",
        ),
    ] {
        let message = shape(input, op).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("'node'"), "{message}");
    }
}

/// Images of several channel counts: 4 and 6 of one size, `half` of another, `factors` of one pixel.
fn images() -> Graph {
    let mut graph = Graph::new("input", Fact::image(4));
    let conv = |out_channels, stride| {
        Op::Conv(Conv {
            in_channels: 4,
            out_channels,
            kernel: [1; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            padding: Padding::all(0),
            groups: 1,
            bias: false,
        })
    };
    for (name, op) in
        [("six", conv(6, 1)), ("four", Op::Relu), ("half", conv(4, 2)), ("factors", Op::GlobalAveragePool)]
    {
        graph.push(Node::new(name, op, ["input"])).unwrap();
    }
    graph
}

fn combined(op: Op, inputs: &[&str]) -> Result<String, String> {
    let mut graph = images();
    let pushed = graph.push(Node::new("node", op, inputs.iter().copied()));
    pushed.map(|()| graph.fact("node").unwrap().to_string()).map_err(|error| error.to_string())
}

#[test]
fn images_are_concatenated_along_their_channels() {
    let concat = |inputs: &[&str]| combined(Op::Concat(Concat { axis: 1 }), inputs);
    assert_eq!(concat(&["input", "six", "four"]).unwrap(), "N×14×H×W");
    assert_eq!(concat(&["six"]).unwrap(), "N×6×H×W");
    assert!(concat(&["six", "half"]).unwrap_err().contains("N×4×⌈H/2⌉×⌈W/2⌉"));
    assert!(concat(&[]).unwrap_err().contains("1 or more inputs"));
    for axis in [0, 2, 4] {
        let error = combined(Op::Concat(Concat { axis }), &["input", "four"]).unwrap_err();
        assert!(error.contains(&format!("axis {axis}")), "{error}");
    }
}

#[test]
fn products_take_one_shape_or_a_factor_a_channel() {
    assert_eq!(combined(Op::Mul, &["input", "four"]).unwrap(), "N×4×H×W");
    assert_eq!(combined(Op::Mul, &["input", "factors"]).unwrap(), "N×4×H×W");
    assert_eq!(combined(Op::Sub, &["factors", "input"]).unwrap(), "N×4×H×W");
    assert!(combined(Op::Mul, &["six", "factors"]).unwrap_err().contains("N×4×1×1"));
    assert!(combined(Op::Max, &["input", "half"]).unwrap_err().contains("⌈H/2⌉"));
    assert!(combined(Op::Mul, &["input"]).unwrap_err().contains("2 inputs"));
}

#[test]
fn pools_round_up_where_they_are_told_to() {
    let pool = |ceil_mode| Op::MaxPool(Pool { ceil_mode, ..Pool::new([3; 2], [2; 2], Padding::all(0)) });
    assert_eq!(shape(fixed(1, 8, 9), pool(false)).unwrap(), "N×1×3×4");
    assert_eq!(shape(fixed(1, 8, 9), pool(true)).unwrap(), "N×1×4×4");
    // PyTorch: a last window that begins behind the image and the padding before it is dropped.
    let up = |kernel, stride, padding| {
        Op::MaxPool(Pool { ceil_mode: true, ..Pool::new([kernel; 2], [stride; 2], Padding::all(padding)) })
    };
    assert_eq!(shape(fixed(1, 8, 9), up(2, 2, 1)).unwrap(), "N×1×5×5");
    assert_eq!(shape(fixed(1, 7, 8), up(1, 3, 0)).unwrap(), "N×1×3×3");
    assert_eq!(shape(fixed(1, 5, 6), up(1, 3, 0)).unwrap(), "N×1×2×2");
    assert!(matches!(shape(Fact::image(1), up(2, 2, 1)), Err(GraphError::Attribute { .. })));
    assert_eq!(shape(Fact::image(1), up(3, 2, 1)).unwrap(), "N×1×⌊(H+2)/2⌋×⌊(W+2)/2⌋");
    assert_eq!(shape(Fact::image(5), Op::AdaptiveAveragePool { size: [7, 6] }).unwrap(), "N×5×7×6");
    assert!(shape(Fact::image(5), Op::AdaptiveAveragePool { size: [0, 6] }).is_err());
}

#[test]
fn attention_counts_both_of_its_products() {
    let graph = single(Fact::sequence(197, 2304), Op::Attention(Attention { heads: 12 })).unwrap();
    let cost = graph.cost(&Bindings { batch: 2, height: 1, width: 1 }).unwrap();
    assert_eq!((cost.parameters, cost.macs), (0, 2 * 2 * 197 * 197 * 768));
    let dense = single(Fact::sequence(197, 768), gemm(768, 3072)).unwrap();
    let cost = dense.cost(&Bindings { batch: 1, height: 1, width: 1 }).unwrap();
    assert_eq!((cost.parameters, cost.macs), (769 * 3072, 197 * 768 * 3072));
}

#[test]
fn a_parameter_may_have_a_name_of_its_own() {
    let mut graph = Graph::new("input", Fact::sequence(4, 8));
    let names = [
        (ParameterKind::Weight, "self_attn.in_proj_weight"),
        (ParameterKind::Bias, "self_attn.in_proj_bias"),
    ];
    graph.push(Node::new("in_proj", gemm(8, 24), ["input"]).with_parameter_names(names)).unwrap();
    graph.push(Node::new("attention", Op::Attention(Attention { heads: 2 }), ["in_proj"])).unwrap();
    graph.set_output("attention").unwrap();
    let found: Vec<String> = graph.parameters().into_iter().map(|parameter| parameter.name).collect();
    assert_eq!(found, ["self_attn.in_proj_weight", "self_attn.in_proj_bias"]);
    let text = serde_json::to_string(&graph).unwrap();
    assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph);
    assert!(text.contains(r#""parameter_names":{"weight":"self_attn.in_proj_weight""#), "{text}");
}

#[test]
fn attributes_that_are_not_given_have_their_usual_values() {
    let pool: Pool =
        serde_json::from_str(r#"{"kernel":[2,2],"stride":[2,2],"padding":{"explicit":[0,0,0,0]}}"#).unwrap();
    assert_eq!(pool, Pool::new([2; 2], [2; 2], Padding::all(0)));
    assert!(!serde_json::to_string(&pool).unwrap().contains("ceil"));
}

/// Shapes of operators that move numbers: what fits, and what is refused with a part of the message.
#[test]
fn numbers_move_to_the_shapes_that_are_asked_for() {
    let reshape = |shape: &[i64]| Op::Reshape(Reshape { shape: shape.to_vec() });
    let transpose = |axes: &[usize]| Op::Transpose(Transpose { axes: axes.to_vec() });
    let slice = |axis, start, end, step| Op::Slice(Slice { axis, start, end, step });
    let reduce = |axes: &[usize], keep_axes| {
        Op::Reduce(Reduce { kind: ReduceKind::Max, axes: axes.to_vec(), keep_axes })
    };
    let pad = |borders: &[[usize; 2]], mode| Op::Pad(Pad { borders: borders.to_vec(), mode });
    let times = |size| {
        let (mode, coordinates) = (InterpolationMode::Nearest, Coordinates::Asymmetric);
        Op::Resize(Interpolation { size, mode, coordinates })
    };
    for (input, op, expected) in [
        (fixed(6, 4, 5), reshape(&[-1]), Ok("N×120")),
        (fixed(6, 4, 5), reshape(&[2, 3, 20]), Ok("N×2×3×20")),
        (fixed(6, 4, 5), reshape(&[0, -1]), Ok("N×6×20")),
        (fixed(6, 4, 5), reshape(&[7, -1]), Err("can hold")),
        (fixed(6, 4, 5), reshape(&[-1, -1]), Err("more than one")),
        (fixed(6, 4, 5), reshape(&[i64::MAX, i64::MAX]), Err("can hold")),
        (fixed(6, 4, 5), reshape(&[-2, -60]), Err("can hold")),
        (Fact::image(6), reshape(&[2, 3, 0, 0]), Err("can hold")),
        (Fact::image(6), reshape(&[-1, 0, 0]), Ok("N×6×H×W")),
        (Fact::image(6), transpose(&[0, 2, 3, 1]), Ok("N×H×W×6")),
        (Fact::image(6), transpose(&[1, 0, 2, 3]), Err("begins with the batch")),
        (Fact::image(6), transpose(&[0, 1, 1, 3]), Err("no order")),
        (Fact::image(6), slice(1, 1, 6, 2), Ok("N×3×H×W")),
        (Fact::image(6), slice(1, 1, 7, 2), Err("places 1 to 7")),
        (Fact::image(6), slice(2, 0, 1, 1), Err("axis 2")),
        (Fact::image(6), slice(0, 0, 1, 1), Err("axis 0")),
        (Fact::image(6), slice(1, 0, 1, 0), Err("step 0")),
        (Fact::image(6), reduce(&[2, 3], true), Ok("N×6×1×1")),
        (Fact::image(6), reduce(&[1], false), Ok("N×H×W")),
        (Fact::image(6), reduce(&[3, 2], false), Err("[3, 2]")),
        (Fact::image(6), reduce(&[0], false), Err("[0]")),
        (Fact::image(6), pad(&[[0, 0], [0, 1], [1, 2], [0, 0]], PadMode::Edge), Ok("N×7×H+3×W")),
        (fixed(6, 4, 5), pad(&[[0; 2], [0; 2], [4, 0], [0; 2]], PadMode::Reflect), Err("borders")),
        (fixed(6, 4, 5), pad(&[[0; 2], [0; 2], [3, 0], [0; 2]], PadMode::Reflect), Ok("N×6×7×5")),
        (fixed(6, 4, 5), pad(&[[0; 2], [0; 2]], PadMode::Edge), Err("borders")),
        (fixed(6, 4, 5), times(InterpolationSize::Times([2, 3])), Ok("N×6×8×15")),
        (Fact::image(6), times(InterpolationSize::Times([2, 3])), Err("fixed height")),
        (Fact::image(6), times(InterpolationSize::Fixed([7, 9])), Ok("N×6×7×9")),
        (Fact::image(6), times(InterpolationSize::LikeSecond), Ok("N×6×H×W")),
    ] {
        match (shape(input, op.clone()), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{op:?}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{op:?}: {error}"),
            (found, expected) => panic!("{op:?}: {found:?} is not {expected:?}"),
        }
    }
}

#[test]
fn transposed_convolutions_grow_images() {
    let conv = ConvTranspose {
        in_channels: 6,
        out_channels: 4,
        kernel: [4, 3],
        stride: [2, 3],
        dilation: [1, 2],
        padding: [1, 0, 1, 2],
        output_padding: [1, 0],
        groups: 2,
        bias: true,
    };
    let graph = single(fixed(6, 5, 7), Op::ConvTranspose(conv.clone())).unwrap();
    // (5 − 1) · 2 + 4 + 1 − 2 rows, (7 − 1) · 3 + 5 − 2 columns.
    assert_eq!(graph.fact("node").unwrap().to_string(), "N×4×11×21");
    let weight = &graph.parameters()[0];
    assert_eq!(weight.shape, [6, 2, 4, 3]);
    let cost = graph.cost(&Bindings { batch: 1, height: 5, width: 7 }).unwrap();
    assert_eq!(cost.macs, 6 * 5 * 7 * 2 * 4 * 3);
    assert!(single(Fact::image(6), Op::ConvTranspose(conv)).is_err());
}

#[test]
fn recurrent_layers_embeddings_and_products_of_two_wires() {
    let (gates, reset_after) = (GateFunction::Sigmoid, false);
    let layer = Recurrent { features: 8, hidden: 5, reverse: true, gates, reset_after };
    let graph = single(Fact::sequence(7, 8), Op::Lstm(layer.clone())).unwrap();
    assert_eq!(graph.fact("node").unwrap().to_string(), "N×7×5");
    let names: Vec<String> = graph.parameters().into_iter().map(|parameter| parameter.name).collect();
    assert_eq!(names, ["node.weight_ih", "node.weight_hh", "node.bias_ih", "node.bias_hh"]);
    assert!(shape(Fact::sequence(7, 9), Op::Gru(layer)).unwrap_err().to_string().contains("N×S×8"));
    let embedding = Op::Embedding(Embedding { entries: 100, features: 16 });
    assert_eq!(shape(Fact::vector(12), embedding).unwrap(), "N×12×16");
    assert_eq!(shape(fixed(3, 5, 5), Op::MatMul).unwrap(), "N×3×5×5");
    assert!(shape(fixed(3, 4, 5), Op::MatMul).unwrap_err().to_string().contains("K×P"));
}
