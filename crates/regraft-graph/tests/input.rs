//! Patches for images of other channels and sizes: weights as timm adapts them, and what becomes of graph and card.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use regraft_graph::{
    Card, ChannelOrder, ChannelRule, ClassToken, Conv, Dim, Fact, Gemm, Graph, GraphError, Model, Node, Op,
    Padding, Patch, Pool, PositionEmbedding, Preprocessing, Reshape, Resize, ResizeFilter, Roles, Symbol,
    Tensor, Transpose, Weights,
};
use serde_json::Value;

fn golden() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/input.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn preprocessing(order: ChannelOrder, mean: &[f32], std: &[f32]) -> Preprocessing {
    Preprocessing {
        channel_order: order,
        resize: Resize::ShortSide(9),
        filter: ResizeFilter::Bilinear,
        crop: [8, 8],
        mean: mean.to_vec().into(),
        std: std.to_vec().into(),
    }
}

/// With means and deviations that no two channels share.
fn uneven(order: ChannelOrder) -> Preprocessing {
    preprocessing(order, &[10.0, 20.0, 30.0], &[1.0, 2.0, 4.0])
}

fn conv(in_channels: usize, kernel: [usize; 2], stride: usize, padding: usize) -> Op {
    Op::Conv(Conv {
        in_channels,
        out_channels: 2,
        kernel,
        stride: [stride; 2],
        dilation: [1; 2],
        padding: Padding::all(padding),
        groups: 1,
        bias: false,
    })
}

fn model(fact: Fact, nodes: Vec<Node>, preprocessing: Preprocessing) -> Model {
    let mut graph = Graph::new("image", fact);
    nodes.into_iter().try_for_each(|node| graph.push(node)).unwrap();
    let last = graph.nodes().last().unwrap().name.clone();
    graph.set_output(&last).unwrap();
    let tensor = |parameter: regraft_graph::Parameter| {
        let count = parameter.shape.iter().product();
        let values: Vec<f32> = (0..count).map(|index| (index as f32 * 0.7).sin()).collect();
        (parameter.name, Tensor::from_f32(parameter.shape, &values).unwrap())
    };
    let weights: Weights = graph.parameters().into_iter().map(tensor).collect();
    let card = Card {
        name: "small".into(),
        origin: "a test".into(),
        sha256: None,
        licence: None,
        preprocessing,
        labels: Vec::new(),
        source_task: None,
        source_accuracy: None,
        aliases: Default::default(),
        roles: Roles { features: last, logits: None, cuts: Vec::new() },
    };
    Model::new(graph, weights, card).unwrap()
}

fn one_conv(padding: usize, preprocessing: Preprocessing) -> Model {
    let node = Node::new("conv", conv(3, [2, 3], 1, padding), ["image"]);
    model(Fact::image(3), vec![node], preprocessing)
}

fn data(rule: ChannelRule, source: &Preprocessing, channels: usize) -> Preprocessing {
    let (mean, std) = rule.normalisation(source, channels);
    Preprocessing { mean: mean.into(), std: std.into(), ..source.clone() }
}

fn adapted(model: &Model, rule: ChannelRule, channels: usize) -> Model {
    let data = data(rule, &model.card().preprocessing, channels);
    Patch::adapt_input_channels(model, rule, data).unwrap().apply(model.clone()).unwrap()
}

fn weight(model: &Model, name: &str) -> Vec<f32> {
    model.weights().get(name).unwrap_or_else(|| panic!("{name}")).to_f32()
}

fn close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-6 * (1.0 + expected.abs()), "{what}: {found} {expected}");
    }
}

#[test]
fn repeated_kernels_are_those_of_timm() {
    let golden = &golden()["channels"];
    let model = one_conv(1, uneven(ChannelOrder::Rgb));
    let mut weights = model.weights().clone();
    weights.insert("conv.weight", Tensor::from_f32(vec![2, 3, 2, 3], &numbers(&golden["weight"])).unwrap());
    let model = Model::new(model.graph().clone(), weights, model.card().clone()).unwrap();
    for (channels, expected) in golden["adapted"].as_object().unwrap() {
        let adapted = adapted(&model, ChannelRule::Repeat, channels.parse().unwrap());
        close(&weight(&adapted, "conv.weight"), &numbers(expected), channels);
        assert!(adapted.weights().get("conv.bias").is_none(), "{channels}");
        assert_eq!(adapted.card().preprocessing.channels().to_string(), *channels);
    }
}

#[test]
fn further_channels_have_no_weight_or_the_mean() {
    let model = one_conv(1, uneven(ChannelOrder::Rgb));
    let own = weight(&model, "conv.weight");
    for (rule, share) in [(ChannelRule::Zero, 0.0), (ChannelRule::Mean, 1.0)] {
        let adapted = adapted(&model, rule, 5);
        assert_eq!(adapted.card().preprocessing.mean[..3], [10.0, 20.0, 30.0]);
        for (found, own) in weight(&adapted, "conv.weight").chunks(30).zip(own.chunks(18)) {
            assert_eq!(found[..18], *own, "the network's own channels stay as they are");
            let mean: Vec<f32> =
                (0..6).map(|index| share * (own[index] + own[6 + index] + own[12 + index]) / 3.0).collect();
            close(&found[18..24], &mean, "fourth");
            close(&found[24..], &mean, "fifth");
        }
    }
}

#[test]
fn grey_is_folded_where_no_border_forbids_it() {
    // No padding: the sums of the kernels, and the rest of the normalisation as a bias.
    let model = one_conv(0, uneven(ChannelOrder::Rgb));
    let grey = adapted(&model, ChannelRule::Grey, 1);
    let own = weight(&model, "conv.weight");
    let data = &grey.card().preprocessing;
    assert_eq!((&data.mean[..], &data.std[..]), (&[20.0][..], &[7.0 / 3.0][..]));
    let sum = |range: std::ops::Range<usize>| own[range].iter().map(|value| f64::from(*value)).sum::<f64>();
    let bias = sum(0..6) * 10.0 - sum(12..18) * 10.0 / 4.0;
    close(&weight(&grey, "conv.bias")[..1], &[bias as f32], "bias");
    let first = f64::from(own[0]) + f64::from(own[6]) / 2.0 + f64::from(own[12]) / 4.0;
    close(&weight(&grey, "conv.weight")[..1], &[(first * 7.0 / 3.0) as f32], "weight");
    // Padding, but one normalisation for all channels.
    let even = one_conv(1, preprocessing(ChannelOrder::Rgb, &[127.5; 3], &[127.5; 3]));
    let grey = adapted(&even, ChannelRule::Grey, 1);
    assert_eq!(grey.graph().nodes().len(), 1);
    assert!(grey.weights().get("conv.bias").is_none());
}

#[test]
fn grey_goes_through_a_map_of_its_own_where_a_border_of_zeros_is_not_grey() {
    let model = one_conv(1, uneven(ChannelOrder::Bgr));
    let grey = adapted(&model, ChannelRule::Grey, 1);
    let names: Vec<&str> = grey.graph().nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["input_channels", "conv"]);
    assert_eq!(weight(&grey, "conv.weight"), weight(&model, "conv.weight"), "trained weights stay");
    close(&weight(&grey, "input_channels.weight"), &[7.0 / 3.0, 7.0 / 6.0, 7.0 / 12.0], "weight");
    close(&weight(&grey, "input_channels.bias"), &[10.0, 0.0, -2.5], "bias");
    assert_eq!(grey.history(), ["other channels: 1 (grey, seen as the grey of its colours)"]);
}

#[test]
fn every_reader_of_the_image_is_adapted() {
    let pool = Op::MaxPool(Pool::new([2; 2], [1; 2], Padding::all(0)));
    let nodes = |second: Op| {
        vec![
            Node::new("left", conv(3, [2, 2], 1, 0), ["image"]),
            Node::new("input_channels", second, ["image"]),
            Node::new("right", conv(3, [1, 1], 1, 0), ["input_channels"]),
            Node::new("sum", Op::Add, ["left", "right"]),
        ]
    };
    // A maximum is not a convolution: everything reads the map instead.
    let mixed = model(Fact::image(3), nodes(pool), uneven(ChannelOrder::Rgb));
    let five = adapted(&mixed, ChannelRule::Repeat, 5);
    assert_eq!(five.graph().node("left").unwrap().inputs, ["input_channels.2"]);
    assert_eq!(five.graph().node("input_channels").unwrap().inputs, ["input_channels.2"]);
    assert_eq!(five.graph().node("right").unwrap().inputs, ["input_channels"]);
    let two = vec![
        Node::new("left", conv(3, [2, 2], 1, 0), ["image"]),
        Node::new("right", conv(3, [2, 2], 1, 0), ["image"]),
        Node::new("sum", Op::Add, ["left", "right"]),
    ];
    let two = model(Fact::image(3), two, uneven(ChannelOrder::Rgb));
    let five = adapted(&two, ChannelRule::Repeat, 5);
    assert_eq!(five.weights().get("left.weight").unwrap().shape(), [2, 5, 2, 2]);
    assert_eq!(five.weights().get("right.weight").unwrap().shape(), [2, 5, 2, 2]);
}

#[test]
fn blue_first_networks_see_red_as_red() {
    let model = one_conv(1, uneven(ChannelOrder::Bgr));
    let own = weight(&model, "conv.weight");
    let four = adapted(&model, ChannelRule::Zero, 4);
    assert_eq!(four.card().preprocessing.mean[..3], [30.0, 20.0, 10.0], "red is the network's last channel");
    assert_eq!(weight(&four, "conv.weight")[..6], own[12..18]);
    assert_eq!(four.card().preprocessing.channel_order, ChannelOrder::Rgb);
    let repeated = adapted(&model, ChannelRule::Repeat, 3);
    assert_eq!(weight(&repeated, "conv.weight")[..6], own[12..18]);
}

#[test]
fn colours_reach_a_grey_network_by_their_luma() {
    let node = Node::new("conv", conv(1, [3, 3], 1, 1), ["image"]);
    let grey = model(Fact::image(1), vec![node], preprocessing(ChannelOrder::Rgb, &[33.0], &[78.0]));
    let colour = adapted(&grey, ChannelRule::Luma, 3);
    let own = weight(&grey, "conv.weight")[0];
    let found = weight(&colour, "conv.weight");
    close(&[found[0], found[9], found[18]], &[0.299 * own, 0.587 * own, 0.114 * own], "luma");
    assert!(colour.weights().get("conv.bias").is_none());
}

#[test]
fn what_takes_no_image_is_not_adapted() {
    let relu = vec![Node::new("relu", Op::Relu, ["image"])];
    let sequence = model(Fact::sequence(4, 3), relu, uneven(ChannelOrder::Rgb));
    let data = preprocessing(ChannelOrder::Rgb, &[0.0], &[1.0]);
    let error = Patch::adapt_input_channels(&sequence, ChannelRule::Grey, data).unwrap_err();
    assert!(matches!(error, GraphError::Shape { .. }), "{error}");
    for (mean, std) in [(&[][..], &[][..]), (&[0.0], &[])] {
        let data = preprocessing(ChannelOrder::Rgb, mean, std);
        let model = one_conv(0, uneven(ChannelOrder::Rgb));
        assert!(Patch::adapt_input_channels(&model, ChannelRule::Grey, data).is_err());
    }
}

/// Patches of 2×2 pixels as tokens, `prefix` class tokens before them.
fn transformer(prefix: usize) -> Model {
    let image = Fact::new([Dim::symbol(Symbol::Batch), 3.into(), 8.into(), 8.into()]);
    let mut nodes = vec![
        Node::new("patches", Op::Conv(Conv { out_channels: 3, ..patch() }), ["image"]),
        Node::new("tokens", Op::Tokens, ["patches"]),
    ];
    for index in 0..prefix {
        let last = nodes.last().unwrap().name.clone();
        nodes.push(Node::new(format!("class{index}"), Op::ClassToken(ClassToken { features: 3 }), [last]));
    }
    let last = nodes.last().unwrap().name.clone();
    let embedding =
        Op::PositionEmbedding(PositionEmbedding { tokens: prefix + 16, features: 3, shorter: false });
    nodes.push(Node::new("positions", embedding, [last]));
    nodes.push(Node::new("token", Op::SelectToken { index: 0 }, ["positions"]));
    model(image, nodes, uneven(ChannelOrder::Rgb))
}

fn patch() -> Conv {
    let Op::Conv(conv) = conv(3, [2, 2], 2, 0) else { panic!("a convolution") };
    conv
}

fn resized(model: &Model, size: [usize; 2]) -> Result<Model, GraphError> {
    Patch::resize_input(model, size)?.apply(model.clone())
}

#[test]
fn places_are_resampled_as_timm_does() {
    for case in golden()["positions"].as_array().unwrap() {
        let prefix = case["prefix"].as_u64().unwrap() as usize;
        let model = transformer(prefix);
        let vectors = Tensor::from_f32(vec![1, prefix + 16, 3], &numbers(&case["values"])).unwrap();
        let mut weights = model.weights().clone();
        weights.insert("positions.pos_embedding", vectors.clone());
        let model = Model::new(model.graph().clone(), weights, model.card().clone()).unwrap();
        for other in case["resampled"].as_array().unwrap() {
            let grid: [usize; 2] = std::array::from_fn(|axis| other["grid"][axis].as_u64().unwrap() as usize);
            let resized = resized(&model, grid.map(|side| 2 * side)).unwrap();
            let found = resized.weights().get("positions.pos_embedding").unwrap();
            assert_eq!(found.shape(), [1, prefix + grid[0] * grid[1], 3]);
            close(&found.to_f32(), &numbers(&other["values"]), &format!("{prefix} {grid:?}"));
            if grid == [4, 4] {
                assert_eq!(*found, vectors, "the same bits at the same size");
            }
        }
    }
}

#[test]
fn equal_places_stay_equal() {
    let model = transformer(1);
    let mut weights = model.weights().clone();
    let tensor = Tensor::from_f32(vec![1, 17, 3], &[0.3; 51]).unwrap();
    weights.insert("positions.pos_embedding", tensor);
    let model = Model::new(model.graph().clone(), weights, model.card().clone()).unwrap();
    let larger = resized(&model, [22, 14]).unwrap();
    close(&weight(&larger, "positions.pos_embedding"), &[0.3; 3 * 78], "constant");
}

#[test]
fn a_dense_layer_behind_a_map_of_one_size_gets_that_size() {
    let image = Fact::new([Dim::symbol(Symbol::Batch), 3.into(), 8.into(), 8.into()]);
    let nodes = vec![
        Node::new("conv", conv(3, [3, 3], 2, 1), ["image"]),
        Node::new("flatten", Op::Flatten, ["conv"]),
        Node::new("dense", Op::Gemm(Gemm { in_features: 32, out_features: 5, bias: true }), ["flatten"]),
    ];
    let model = model(image, nodes, uneven(ChannelOrder::Rgb));
    let larger = resized(&model, [12, 20]).unwrap();
    assert_eq!(larger.graph().fact("conv").unwrap().to_string(), "N×2×6×10");
    assert_eq!(larger.graph().node("flatten").unwrap().inputs, ["flatten.grid"]);
    assert_eq!(larger.graph().node("flatten.grid").unwrap().op, Op::AdaptiveAveragePool { size: [4, 4] });
    let same = resized(&model, [8, 8]).unwrap();
    assert_eq!((same.graph(), same.weights()), (model.graph(), model.weights()));
}

#[test]
fn a_map_that_is_flattened_with_channels_last_gets_its_size_before() {
    let image = Fact::new([Dim::symbol(Symbol::Batch), 3.into(), 8.into(), 8.into()]);
    let nodes = vec![
        Node::new("conv", conv(3, [3, 3], 2, 1), ["image"]),
        Node::new("last", Op::Transpose(Transpose { axes: vec![0, 2, 3, 1] }), ["conv"]),
        Node::new("flatten", Op::Reshape(Reshape { shape: vec![-1] }), ["last"]),
        Node::new("dense", Op::Gemm(Gemm { in_features: 32, out_features: 5, bias: true }), ["flatten"]),
    ];
    let model = model(image, nodes, uneven(ChannelOrder::Rgb));
    let larger = resized(&model, [12, 20]).unwrap();
    assert_eq!(larger.graph().node("last").unwrap().inputs, ["last.grid"]);
    assert_eq!(larger.graph().node("flatten").unwrap().inputs, ["last"]);
}

#[test]
fn the_card_prepares_images_in_proportion() {
    let model = one_conv(1, uneven(ChannelOrder::Rgb));
    let resized = resized(&model, [64, 64]).unwrap();
    let preprocessing = &resized.card().preprocessing;
    assert_eq!((preprocessing.crop, preprocessing.resize), ([64, 64], Resize::ShortSide(72)));
    assert_eq!(resized.graph(), model.graph(), "a fully convolutional network stays as it is");
    assert_eq!(resized.history(), ["take images of 64×64 pixels"]);
}

#[test]
fn an_image_that_is_too_small_is_refused_by_name() {
    let model = model(
        Fact::image(3),
        vec![Node::new("conv", conv(3, [7, 7], 2, 0), ["image"])],
        uneven(ChannelOrder::Rgb),
    );
    let error = resized(&model, [6, 9]).unwrap_err();
    assert_eq!(error, GraphError::InputTooSmall { node: "conv".into(), height: 6, width: 9 });
    assert!(resized(&model, [7, 9]).is_ok());
    assert!(resized(&transformer(1), [1, 8]).is_err());
    assert!(resized(&transformer(1), [0, 0]).is_err());
}

#[test]
fn a_small_stem_does_not_step() {
    let pool = Op::MaxPool(Pool::new([3; 2], [2; 2], Padding::all(1)));
    let nodes = vec![
        Node::new("conv1", conv(3, [7, 7], 2, 3), ["image"]),
        Node::new("relu", Op::Relu, ["conv1"]),
        Node::new("maxpool", pool.clone(), ["relu"]),
        Node::new("conv2", conv(2, [3, 3], 2, 1), ["maxpool"]),
        Node::new("shortcut", conv(2, [1, 1], 2, 0), ["maxpool"]),
        Node::new("add", Op::Add, ["conv2", "shortcut"]),
        Node::new("later", pool, ["add"]),
    ];
    let model = model(Fact::image(3), nodes, uneven(ChannelOrder::Rgb));
    let (patch, finer) = Patch::small_stem(&model).unwrap();
    assert_eq!(finer, 4);
    let small = patch.apply(model.clone()).unwrap();
    assert_eq!(small.graph().fact("add").unwrap().to_string(), "N×2×⌈H/2⌉×⌈W/2⌉");
    assert!(small.graph().node("maxpool").is_none() && small.graph().node("later").is_some());
    assert_eq!(small.weights(), model.weights());
    let error = Patch::small_stem(&transformer(1)).unwrap_err().to_string();
    assert!(error.contains("another source"), "{error}");
}
