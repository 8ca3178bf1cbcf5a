//! What the graphs of the networks that `oracles/zoo_networks.py` describes must hold without being run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod common;

use common::{fnv1a64, json, last_wire, small_encoder};
use regraft_graph::{Bindings, Cost, Graph, Model, ParameterKind, Patch, Preprocessing};
use regraft_zoo::{
    Architecture, Encoder, Network, architecture, architectures, random_weights, transformer_encoder,
};

fn build(name: &str) -> Network {
    architecture(name).unwrap().network(1000).unwrap()
}

fn usual_size(name: &str) -> Bindings {
    let [height, width] = architecture(name).unwrap().preprocessing.crop;
    Bindings { batch: 1, height, width }
}

/// How many numbers are trained.
fn trained(graph: &Graph) -> usize {
    let parameters = graph.parameters();
    let running = [ParameterKind::RunningMean, ParameterKind::RunningVariance];
    let trained = parameters.iter().filter(|parameter| !running.contains(&parameter.kind));
    trained.map(|parameter| parameter.shape.iter().product::<usize>()).sum()
}

/// As many classes as the original has by default; scores and characters count as such.
fn usual_classes(name: &str) -> usize {
    match name {
        "craft" => 2,
        "crnn" => 97,
        _ if name.ends_with("dinov2") => 0,
        _ => 1000,
    }
}

#[test]
fn parameters_and_operations_are_as_many_as_pytorch_counts() {
    let published = json("networks.json");
    for Architecture { name, .. } in architectures() {
        let graph = architecture(name).unwrap().network(usual_classes(name)).unwrap().graph;
        let Cost { macs, .. } = graph.cost(&usual_size(name)).unwrap();
        let expected = ["parameters", "macs"].map(|key| published[name][key].as_u64().unwrap());
        assert_eq!([trained(&graph) as u64, macs], expected, "{name}");
    }
}

/// The digest of `oracles/zoo_networks.py`.
#[test]
fn names_and_shapes_are_those_of_the_originals() {
    let published = json("networks.json");
    for architecture in architectures() {
        let name = architecture.name;
        let parameters = architecture.network(usual_classes(name)).unwrap().graph.parameters().into_iter();
        let lines = parameters.map(|parameter| format!("{} {:?}\n", parameter.name, parameter.shape));
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        let found = lines.concat();
        let expected = (published[name]["tensors"].as_u64(), published[name]["digest"].as_str());
        let digest = format!("{:016x}", fnv1a64(&found));
        let hint = format!("compare with oracles/zoo_networks.py --names {name}");
        assert_eq!((Some(lines.len() as u64), Some(digest.as_str())), expected, "{name}: {hint}\n{found}");
    }
}

#[test]
fn preprocessing_is_that_of_the_published_weights() {
    let published = json("networks.json");
    for Architecture { name, preprocessing: found, .. } in architectures() {
        let expected = published[name]["preprocessing"].clone();
        let expected: Preprocessing = serde_json::from_value(expected).unwrap();
        let close = |(found, expected): (&f32, &f32)| (found - expected).abs() < 1e-4;
        assert!(found.mean.iter().zip(&*expected.mean).all(close), "{name}: {found:?}");
        assert!(found.std.iter().zip(&*expected.std).all(close), "{name}: {found:?}");
        let exact = Preprocessing { mean: expected.mean.clone(), std: expected.std.clone(), ..found.clone() };
        assert_eq!(exact, expected, "{name}");
    }
}

#[test]
fn every_graph_survives_json() {
    for architecture in architectures() {
        let graph = architecture.network(10).unwrap().graph;
        let text = serde_json::to_string(&graph).unwrap();
        assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph, "{}", architecture.name);
    }
}

#[test]
fn the_maps_have_the_sizes_of_the_papers() {
    for (name, wire, shape) in [
        ("vgg16", "features.30", [512, 7, 7].as_slice()),
        ("vgg16", "classifier.4", &[4096]),
        ("mobilenet_v2", "features.17.conv.3", &[320, 7, 7]),
        ("densenet121", "features.denseblock1.cat", &[256, 56, 56]),
        ("densenet121", "features.denseblock2.cat", &[512, 28, 28]),
        ("densenet121", "features.denseblock3.cat", &[1024, 14, 14]),
        ("densenet121", "features.denseblock4.cat", &[1024, 7, 7]),
        ("inception_v3", "maxpool2", &[192, 35, 35]),
        ("inception_v3", "Mixed_5d.cat", &[288, 35, 35]),
        ("inception_v3", "Mixed_6e.cat", &[768, 17, 17]),
        ("inception_v3", "Mixed_7a.cat", &[1280, 8, 8]),
        ("inception_v3", "Mixed_7c.cat_2", &[2048, 8, 8]),
        ("alexnet", "features.12", &[256, 6, 6]),
        ("googlenet", "inception3b.cat", &[480, 28, 28]),
        ("googlenet", "inception4e.cat", &[832, 14, 14]),
        ("googlenet", "inception5b.cat", &[1024, 7, 7]),
        ("inception_v4", "features.5.cat", &[384, 35, 35]),
        ("inception_v4", "features.10.cat", &[1024, 17, 17]),
        ("inception_v4", "features.21.cat", &[1536, 8, 8]),
        ("squeezenet1_0", "features.12.cat", &[512, 13, 13]),
        ("mobilenetv3_large_100", "blocks.5.2.add", &[160, 7, 7]),
        ("efficientnet_b4", "blocks.6.1.add", &[448, 10, 10]),
        ("regnety_032", "s4.b1.relu", &[1512, 7, 7]),
        ("convnext_tiny", "stages.3.blocks.2.add", &[768, 7, 7]),
        ("vit_small_patch14_dinov2", "tokens", &[1369, 384]),
        ("vit_b_16", "tokens", &[196, 768]),
        ("vit_b_16", "encoder.layers.encoder_layer_11.add_1", &[197, 768]),
        ("vit_b_16", "token", &[768]),
        ("craft", "basenet.slice2.12", &[128, 112, 112]),
        ("craft", "basenet.slice5.2", &[1024, 14, 14]),
        ("craft", "upconv4.conv.5", &[32, 112, 112]),
        ("craft", "conv_cls.8", &[1000, 112, 112]),
        ("crnn", "FeatureExtraction.ConvNet.19", &[256, 3, 63]),
        ("crnn", "Prediction", &[63, 1000]),
    ] {
        let graph = build(name).graph;
        let found = graph.fact(wire).unwrap().bind(&usual_size(name)).unwrap();
        assert_eq!(found[1..], *shape, "{name} {wire}");
    }
}

#[test]
fn cuts_go_from_generic_to_specific() {
    for architecture in architectures() {
        let Network { graph, roles } = architecture.network(2).unwrap();
        let position = |wire: &str| graph.nodes().iter().position(|node| node.name == wire).unwrap();
        let places: Vec<usize> = roles.cuts.iter().map(|wire| position(wire)).collect();
        assert!(places.len() >= 4 && places.is_sorted(), "{}: {:?}", architecture.name, roles.cuts);
        assert!(position(&roles.features) >= *places.last().unwrap(), "{}", architecture.name);
        let end = last_wire(&graph, &roles);
        assert!(position(&roles.features) < position(end), "{}", architecture.name);
    }
}

#[test]
fn without_classes_a_network_ends_at_its_features() {
    for architecture in architectures() {
        let Network { graph, roles } = architecture.network(0).unwrap();
        assert_eq!(
            (graph.outputs(), &roles.logits),
            ([roles.features].as_slice(), &None),
            "{}",
            architecture.name
        );
    }
}

/// A model whose weights are all there; few classes keep it small.
fn random_model(name: &str) -> Model {
    let architecture = architecture(name).unwrap();
    let Network { graph, roles } = architecture.network(2).unwrap();
    let weights = random_weights(&graph, 0).unwrap();
    Model::new(graph, weights, regraft_graph::Card { roles, ..architecture.card("random") }).unwrap()
}

#[test]
fn every_network_can_be_cut_at_each_of_its_marks() {
    for name in ["mobilenet_v2", "densenet121", "inception_v3", "squeezenet1_0", "regnety_004"] {
        let model = random_model(name);
        for wire in &model.card().roles.cuts {
            let cut = Patch::cut(wire).apply(model.clone()).unwrap();
            assert_eq!(cut.graph().outputs(), std::slice::from_ref(wire), "{name}");
            assert!(cut.weights().len() < model.weights().len(), "{name} {wire}");
        }
    }
}

#[test]
fn a_head_goes_behind_a_class_token_and_a_concatenation() {
    let vision = random_model("vit_b_16");
    let labels = || vec!["a".to_owned(), "b".to_owned()];
    let patch = Patch::replace_head(&vision, "token", &vec![0.5; 2 * 768], &[0.0; 2], labels()).unwrap();
    let grafted = patch.apply(vision).unwrap();
    assert_eq!(grafted.graph().node("head").unwrap().inputs, ["token"]);
    assert!(grafted.weights().get("heads.head.weight").is_none());
    let dense = random_model("densenet121");
    let wire = "features.denseblock2.cat";
    let cut = Patch::cut(wire).apply(dense).unwrap();
    let averaged = Patch::average(wire).apply(cut).unwrap();
    let patch = Patch::replace_head(&averaged, "head.pool", &vec![0.5; 1024], &[0.0; 2], labels()).unwrap();
    assert_eq!(patch.apply(averaged).unwrap().graph().outputs(), ["head"]);
}

#[test]
fn an_encoder_has_the_names_of_pytorchs() {
    let (sizes, tokens) = small_encoder();
    let graph = transformer_encoder(sizes, tokens).unwrap().graph;
    let mut found: Vec<_> =
        graph.parameters().into_iter().map(|parameter| (parameter.name, parameter.shape)).collect();
    let lines = json("networks.json")["encoder"]["tensors"].take();
    let lines: Vec<String> = serde_json::from_value(lines).unwrap();
    let parsed = lines.iter().map(|line| {
        let (name, shape) = line.split_once(' ').unwrap();
        (name.to_owned(), serde_json::from_str(shape).unwrap())
    });
    let mut expected: Vec<(String, Vec<usize>)> = parsed.collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(serde_json::from_str::<Graph>(&serde_json::to_string(&graph).unwrap()).unwrap(), graph);
    let odd = transformer_encoder(Encoder { heads: 7, ..sizes }, tokens).unwrap_err().to_string();
    assert!(odd.contains("'layers.0.self_attn'"), "{odd}");
}

#[test]
fn an_encoder_of_the_benchmarks_size_costs_what_its_products_cost() {
    let sizes = Encoder { layers: 6, width: 384, heads: 12, feed_forward: 1536 };
    let graph = transformer_encoder(sizes, 128).unwrap().graph;
    let cost = graph.cost(&Bindings { batch: 16, height: 1, width: 128 }).unwrap();
    let dense = 4 * 384 * 384 + 2 * 384 * 1536;
    assert_eq!(cost.macs, 16 * 6 * 128 * (dense + 2 * 128 * 384));
    assert_eq!(cost.parameters, 6 * (dense + 4 * 384 + 1536 + 384 + 4 * 384));
}
