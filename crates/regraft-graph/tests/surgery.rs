//! Patches on a network of two blocks: what is cut goes, what is not touched keeps its name, every fault is named.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use regraft_graph::{
    BatchNormalization, Card, ChannelOrder, Conv, Dim, Fact, Gemm, Graph, GraphError, Model, Node, Op,
    Padding, Patch, Preprocessing, Resize, ResizeFilter, Roles, Scale, Tensor, Weights, dump,
};

fn conv(in_channels: usize, out_channels: usize, stride: usize) -> Op {
    Op::Conv(Conv {
        in_channels,
        out_channels,
        kernel: [3, 3],
        stride: [stride; 2],
        dilation: [1, 1],
        padding: Padding::all(1),
        groups: 1,
        bias: false,
    })
}

fn graph() -> Graph {
    let mut graph = Graph::new("input", Fact::image(3));
    let norm = |channels| Op::BatchNormalization(BatchNormalization { channels, epsilon: 1e-5 });
    let nodes = [
        Node::new("conv1", conv(3, 4, 2), ["input"]),
        Node::new("bn1", norm(4), ["conv1"]),
        Node::new("relu1", Op::Relu, ["bn1"]),
        Node::new("conv2", conv(4, 4, 1), ["relu1"]),
        Node::new("bn2", norm(4), ["conv2"]),
        Node::new("add", Op::Add, ["bn2", "relu1"]),
        Node::new("pool", Op::GlobalAveragePool, ["add"]),
        Node::new("flatten", Op::Flatten, ["pool"]),
        Node::new("fc", Op::Gemm(Gemm { in_features: 4, out_features: 2, bias: true }), ["flatten"]),
    ];
    nodes.into_iter().try_for_each(|node| graph.push(node)).unwrap();
    graph.set_output("fc").unwrap();
    graph
}

fn card() -> Card {
    Card {
        name: "small".into(),
        origin: "a test".into(),
        sha256: None,
        licence: None,
        preprocessing: Preprocessing {
            channel_order: ChannelOrder::Rgb,
            resize: Resize::ShortSide(8),
            filter: ResizeFilter::Bilinear,
            crop: [8, 8],
            mean: vec![0.0; 3].into(),
            std: vec![1.0; 3].into(),
        },
        labels: vec!["a".into(), "b".into()],
        source_task: None,
        source_accuracy: None,
        aliases: Default::default(),
        roles: Roles {
            features: "flatten".into(),
            logits: Some("fc".into()),
            cuts: vec!["relu1".into(), "add".into()],
        },
    }
}

/// Every weight gets different values, so that a mixed-up pair is noticed.
fn weights(graph: &Graph) -> Weights {
    let tensor = |(index, parameter): (usize, regraft_graph::Parameter)| {
        let values: Vec<f32> =
            (0..parameter.shape.iter().product()).map(|i| 0.1 + (index + i) as f32 * 0.01).collect();
        (parameter.name, Tensor::from_f32(parameter.shape, &values).unwrap())
    };
    graph.parameters().into_iter().enumerate().map(tensor).collect()
}

fn model() -> Model {
    Model::new(graph(), weights(&graph()), card()).unwrap()
}

#[test]
fn facts_follow_the_image_size_symbolically() {
    let graph = graph();
    assert_eq!(graph.fact("add").unwrap().to_string(), "N×4×⌈H/2⌉×⌈W/2⌉");
    assert_eq!(graph.fact("flatten").unwrap().shape[1], Dim::Fixed(4));
}

#[test]
fn a_cut_drops_what_lies_behind_and_keeps_names() {
    let cut = Patch::cut("add").apply(model()).unwrap();
    let names: Vec<_> = cut.graph().nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["conv1", "bn1", "relu1", "conv2", "bn2", "add"]);
    assert!(cut.weights().get("fc.weight").is_none());
    assert_eq!((cut.card().roles.features.as_str(), cut.card().roles.logits.as_deref()), ("add", None));
    assert_eq!(cut.history(), ["cut at 'add'"]);
}

#[test]
fn a_new_head_takes_the_place_of_the_old_one() {
    let labels = ["x", "y", "z"].map(str::to_owned).to_vec();
    let patch = Patch::replace_head(&model(), "flatten", &[0.5; 12], &[0.0; 3], labels.clone()).unwrap();
    let grafted = patch.apply(model()).unwrap();
    assert_eq!(grafted.graph().outputs(), ["head"]);
    assert_eq!(grafted.graph().fact("head").unwrap().shape[1], Dim::Fixed(3));
    assert_eq!(grafted.card().labels, labels);
    // A head may be replaced again: the new one may be called as the old one is.
    let patch =
        Patch::replace_head(&grafted, "flatten", &[0.5; 8], &[0.0; 2], vec!["p".into(), "q".into()]).unwrap();
    assert_eq!(patch.apply(grafted).unwrap().graph().fact("head").unwrap().shape[1], Dim::Fixed(2));
}

#[test]
fn a_head_behind_a_head_has_a_name_of_its_own() {
    // 4 features of the network become 4 logits each time.
    let head = |model: Model, features: &str| {
        let labels = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let patch = Patch::replace_head(&model, features, &[0.5; 16], &[0.0; 4], labels).unwrap();
        patch.apply(model).unwrap()
    };
    let twice = head(head(head(model(), "flatten"), "head"), "head2");
    assert_eq!(twice.graph().node("head3").unwrap().inputs, ["head2"]);
    assert_eq!(twice.card().roles.logits.as_deref(), Some("head3"));
}

#[test]
fn a_head_on_a_pooled_map_is_flattened_first() {
    let patch =
        Patch::replace_head(&model(), "pool", &[0.5; 8], &[0.0; 2], vec!["p".into(), "q".into()]).unwrap();
    let grafted = patch.apply(model()).unwrap();
    assert_eq!(grafted.graph().node("head").unwrap().inputs, ["head.flatten"]);
}

#[test]
fn folding_multiplies_the_statistics_into_the_convolution() {
    let folded = Patch::fold_batch_normalization(&model()).unwrap().apply(model()).unwrap();
    assert!(folded.graph().nodes().iter().all(|node| !matches!(node.op, Op::BatchNormalization(_))));
    assert_eq!(folded.graph().node("add").unwrap().inputs, ["conv2", "relu1"]);
    let value = |model: &Model, name: &str, index: usize| {
        f64::from(model.weights().get(name).unwrap().to_f32()[index])
    };
    let original = model();
    let bn = |kind: &str| value(&original, &format!("bn1.{kind}"), 1);
    let scale = bn("weight") / (bn("running_var") + 1e-5).sqrt();
    let weight = value(&original, "conv1.weight", 27) * scale;
    assert!((value(&folded, "conv1.weight", 27) - weight).abs() < 1e-7);
    assert!((value(&folded, "conv1.bias", 1) - (bn("bias") - bn("running_mean") * scale)).abs() < 1e-7);
}

#[test]
fn freezing_marks_a_boundary_that_folding_carries_over() {
    let frozen = Patch::freeze_up_to("bn2").apply(model()).unwrap();
    assert_eq!(frozen.frozen_until(), Some("bn2"));
    let folded = Patch::fold_batch_normalization(&frozen).unwrap().apply(frozen).unwrap();
    assert_eq!(folded.frozen_until(), Some("conv2"));
}

#[test]
fn faults_name_the_wire_the_node_and_the_shapes() {
    let unknown = Patch::cut("layer9").apply(model()).unwrap_err();
    assert!(matches!(unknown, GraphError::UnknownWire { .. }), "{unknown}");
    let mut broken = graph();
    let wrong = broken.push(Node::new("conv3", conv(5, 4, 1), ["add"])).unwrap_err().to_string();
    assert!(wrong.contains("conv3") && wrong.contains("N×5×H×W") && wrong.contains("N×4×"), "{wrong}");
    let twice = broken.push(Node::new("add", Op::Relu, ["add"])).unwrap_err();
    assert_eq!(twice, GraphError::DuplicateName { name: "add".into() });
    let mut few = weights(&graph());
    few.remove("conv2.weight");
    let missing = Model::new(graph(), few, card()).unwrap_err().to_string();
    assert!(missing.contains("conv2.weight"), "{missing}");
}

#[test]
fn a_graph_survives_json_and_a_forged_one_is_refused() {
    let text = serde_json::to_string(&graph()).unwrap();
    assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph());
    assert!(serde_json::from_str::<Graph>(&text.replace("\"in_channels\":4", "\"in_channels\":5")).is_err());
    assert!(serde_json::from_str::<Graph>(&text.replace("\"groups\":1", "\"groups\":0")).is_err());
}

#[test]
fn the_dump_has_a_line_a_node_and_marks_the_cuts() {
    let text = dump(&model()).unwrap();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("relu1").ends_with("← cut 1") && line("fc").ends_with("← logits"), "{text}");
    // 3·3·3 inputs for each of 4 channels on 4×4 positions.
    assert!(line("conv1").contains("1,728"), "{text}");
    assert_eq!(text.lines().count(), graph().nodes().len() + 3);
}

#[test]
fn folding_reaches_convolutions_without_an_activation_between() {
    let mut graph = Graph::new("input", Fact::image(4));
    let norm = || Op::BatchNormalization(BatchNormalization { channels: 4, epsilon: 1e-5 });
    let nodes = [
        Node::new("conv1", conv(4, 4, 1), ["input"]),
        Node::new("bn1", norm(), ["conv1"]),
        Node::new("conv2", conv(4, 4, 1), ["bn1"]),
        Node::new("bn2", norm(), ["conv2"]),
    ];
    nodes.into_iter().try_for_each(|node| graph.push(node)).unwrap();
    graph.set_output("bn2").unwrap();
    let roles = Roles { features: "bn2".into(), logits: None, cuts: Vec::new() };
    let weights = weights(&graph);
    let model = Model::new(graph, weights, Card { roles, ..card() }).unwrap();
    let folded = Patch::fold_batch_normalization(&model).unwrap().apply(model).unwrap();
    assert_eq!(folded.graph().node("conv2").unwrap().inputs, ["conv1"]);
}

#[test]
fn folding_reaches_factors_and_dense_layers_one_after_the_other() {
    let mut graph = Graph::new("input", Fact::vector(4));
    let gemm = Op::Gemm(Gemm { in_features: 4, out_features: 4, bias: false });
    let norm = Op::BatchNormalization(BatchNormalization { channels: 4, epsilon: 1e-5 });
    graph.push(Node::new("dense", gemm, ["input"])).unwrap();
    graph.push(Node::new("norm", norm, ["dense"])).unwrap();
    graph.push(Node::new("scale", Op::Scale(Scale { channels: 4, bias: true }), ["norm"])).unwrap();
    graph.set_output("scale").unwrap();
    let roles = Roles { features: "scale".into(), logits: None, cuts: Vec::new() };
    let weights = weights(&graph);
    let model = Model::new(graph, weights, Card { roles, ..card() }).unwrap();
    // Of the second channel; in the dense layer's weight its row begins at 4.
    let value = |model: &Model, name: &str| {
        let at = if name == "dense.weight" { 4 } else { 1 };
        f64::from(model.weights().get(name).unwrap().to_f32()[at])
    };
    let given = |name: &str| value(&model, name);
    let factor = given("norm.weight") / (given("norm.running_var") + 1e-5).sqrt();
    let shift = given("norm.bias") - given("norm.running_mean") * factor;
    let expected = [
        given("dense.weight") * factor * given("scale.weight"),
        shift * given("scale.weight") + given("scale.bias"),
    ];
    let mut folded = model.clone();
    for _ in 0..2 {
        let patch = Patch::fold_batch_normalization(&folded).unwrap();
        assert!(!patch.is_empty());
        folded = patch.apply(folded).unwrap();
    }
    assert_eq!(folded.graph().nodes().len(), 1);
    assert!(Patch::fold_batch_normalization(&folded).unwrap().is_empty());
    let found = [value(&folded, "dense.weight"), value(&folded, "dense.bias")];
    assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
}

#[test]
fn the_boundary_is_the_last_wire_that_everything_passes_in_front_of_what_is_trained() {
    let graph = graph();
    let boundary = |names: &[&str]| graph.boundary(&|parameter| names.contains(&parameter.name.as_str()));
    assert_eq!(boundary(&["fc.weight", "fc.bias"]), "flatten");
    // The shortcut goes past what stands between.
    assert_eq!(boundary(&["bn2.weight"]), "relu1");
    assert_eq!(boundary(&["bn1.bias", "fc.weight"]), "conv1");
    assert_eq!(boundary(&["conv1.weight"]), "input");
    assert_eq!(boundary(&[]), "flatten");
}

#[test]
fn what_stands_behind_a_wire_is_a_network_of_its_own() {
    let part = model().behind("relu1", [8, 6]).unwrap();
    assert_eq!(part.graph().input_fact().to_string(), "N×4×4×3");
    let names: Vec<_> = part.graph().nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["conv2", "bn2", "add", "pool", "flatten", "fc"]);
    assert!(part.weights().get("conv1.weight").is_none());
    let changed = Patch::replace_head(&part, "flatten", &[0.5; 8], &[0.0; 2], vec!["p".into(), "q".into()]);
    assert!(changed.is_ok());
    assert!(model().behind("conv2", [8, 8]).is_err(), "the shortcut reads a wire in front of it");
}

#[test]
fn a_part_gives_its_weights_back() {
    let part = model().behind("relu1", [8, 8]).unwrap();
    let mut weights = part.weights().clone();
    weights.insert("fc.bias", Tensor::from_f32(vec![2], &[3.0, 4.0]).unwrap());
    let part = Model::new(part.graph().clone(), weights, part.card().clone()).unwrap();
    let whole = model().with_weights_of(&part).unwrap();
    assert_eq!(whole.weights().get("fc.bias").unwrap().to_f32(), [3.0, 4.0]);
    assert_eq!(whole.weights().get("conv1.weight"), model().weights().get("conv1.weight"));
}
