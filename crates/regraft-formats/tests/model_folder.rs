//! Saved models: what is saved is what is loaded, and what is broken is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::path::Path;

use common::{damaged, file};
use rand::RngExt as _;
use regraft_formats::model_folder::{TimmNames, is_model_folder, load, save, save_for_timm};
use regraft_formats::safetensors;
use regraft_graph::{
    BatchNormalization, Card, ChannelOrder, Clip, Conv, Fact, Gemm, Graph, Model, Node, Op, Padding, Patch,
    Pool, Preprocessing, Resize, ResizeFilter, Roles, Tensor, Weights,
};
use regraft_system::files;
use regraft_system::random::{self, Stream};
use serde_json::{Value, json};

/// A random chain of layers with a head, in random types, with awkward numbers on the card.
fn random_model(seed: u64) -> Model {
    let mut stream = random::stream(seed, "model", 0);
    let mut graph = Graph::new("input", Fact::image(3));
    let (mut wire, mut channels, mut cuts) = ("input".to_owned(), 3, Vec::new());
    for index in 0..stream.random_range(1..6) {
        let out_channels = stream.random_range(1..9);
        let name = format!("layer {index}/ünï.\"{index}\"");
        let op = random_op(&mut stream, channels, out_channels);
        channels = if matches!(op, Op::Conv(_)) { out_channels } else { channels };
        graph.push(Node::new(&name, op, [wire])).unwrap();
        cuts.push(name.clone());
        wire = name;
    }
    let classes = stream.random_range(1..5);
    graph.push(Node::new("pool", Op::GlobalAveragePool, [wire])).unwrap();
    graph.push(Node::new("flat", Op::Flatten, ["pool"])).unwrap();
    let gemm = Gemm { in_features: channels, out_features: classes, bias: stream.random() };
    graph
        .push(Node {
            parameter_prefix: Some("shared".to_owned()),
            ..Node::new("head", Op::Gemm(gemm), ["flat"])
        })
        .unwrap();
    graph.set_output("head").unwrap();
    let weights = random_weights(&graph, &mut stream);
    let card = random_card(&mut stream, cuts, classes);
    Model::new(graph, weights, card).unwrap()
}

fn random_op(stream: &mut Stream, in_channels: usize, out_channels: usize) -> Op {
    let padding = if stream.random() { Padding::SameUpper } else { Padding::Explicit([1, 0, 1, 2]) };
    let (kernel, stride) = ([stream.random_range(1..4), 3], [stream.random_range(1..3), 1]);
    match stream.random_range(0..5) {
        0 | 1 => Op::Conv(Conv {
            in_channels,
            out_channels,
            kernel,
            stride,
            dilation: [1, 1],
            padding,
            groups: 1,
            bias: stream.random(),
        }),
        2 => Op::BatchNormalization(BatchNormalization { channels: in_channels, epsilon: stream.random() }),
        3 => Op::MaxPool(Pool::new(kernel, stride, padding)),
        _ => Op::Clip(Clip { min: -stream.random::<f32>(), max: stream.random() }),
    }
}

fn random_weights(graph: &Graph, stream: &mut Stream) -> Weights {
    let mut weights = Weights::new();
    for parameter in graph.parameters() {
        let count = parameter.shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| stream.random::<f32>() - 0.5).collect();
        let tensor = Tensor::from_f32(parameter.shape, &values).unwrap();
        weights.insert(parameter.name, if stream.random() { tensor.to_half() } else { tensor });
    }
    weights
}

fn random_card(stream: &mut Stream, cuts: Vec<String>, classes: usize) -> Card {
    let side = stream.random_range(24..300);
    Card {
        name: "random".to_owned(),
        origin: "a test, \u{1F600} and \\ \" too".to_owned(),
        sha256: stream.random::<bool>().then(|| "00".repeat(32)),
        licence: stream.random::<bool>().then(|| "MIT".to_owned()),
        preprocessing: Preprocessing {
            channel_order: if stream.random() { ChannelOrder::Rgb } else { ChannelOrder::Bgr },
            resize: if stream.random() { Resize::ShortSide(side) } else { Resize::Exact([side, 32]) },
            filter: if stream.random() { ResizeFilter::Bilinear } else { ResizeFilter::Bicubic },
            crop: [24, 32],
            mean: vec![stream.random(), 0.1, 123.675].into(),
            std: vec![0.1 + stream.random::<f32>(), 57.375, 1.0 / 3.0].into(),
        },
        labels: (0..classes).map(|class| format!("class\n{class} \u{e9}")).collect(),
        source_task: None,
        source_accuracy: Some(stream.random()),
        aliases: Default::default(),
        roles: Roles { features: "flat".to_owned(), logits: Some("head".to_owned()), cuts },
    }
}

fn saved() -> (tempfile::TempDir, Model) {
    let (folder, model) = (tempfile::tempdir().unwrap(), random_model(3));
    save(&model, folder.path()).unwrap();
    (folder, model)
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    for seed in 0..200 {
        let folder = tempfile::tempdir().unwrap();
        let mut model = random_model(seed);
        if seed % 2 == 0 {
            model = Patch::freeze_up_to("flat").apply(model).unwrap();
        }
        save(&model, folder.path()).unwrap();
        assert!(is_model_folder(folder.path()));
        assert_eq!(load(folder.path()).unwrap(), model, "seed {seed}");
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let ((one, _), (other, _)) = (saved(), saved());
    for name in ["graph.json", "model.safetensors", "config.json", "preprocessor_config.json", "labels.txt"] {
        let [left, right] = [&one, &other].map(|folder| files::read(&folder.path().join(name)).unwrap());
        assert_eq!(left, right, "{name}");
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&files::read(path).unwrap()).unwrap()
}

#[test]
fn the_configuration_uses_hugging_face_keys() {
    let (folder, model) = saved();
    let config = read_json(&folder.path().join("config.json"));
    let labels = &model.card().labels;
    assert_eq!(config["num_labels"], labels.len());
    assert_eq!(config["id2label"]["0"], labels[0]);
    assert_eq!(config["label2id"][&labels[0]], 0);
    assert_eq!(config["pretrained_cfg"]["input_size"], json!([3, 24, 32]));
    let preprocessor = read_json(&folder.path().join("preprocessor_config.json"));
    assert_eq!(preprocessor["crop_size"], json!({ "height": 24, "width": 32 }));
    assert_eq!(preprocessor["image_mean"][2], 0.485);
    assert_eq!(preprocessor["image_std"][1], 0.225);
    let lines = String::from_utf8(files::read(&folder.path().join("labels.txt")).unwrap()).unwrap();
    assert_eq!(lines.lines().count(), labels.len());
}

/// Loads after one change to `graph.json`.
fn load_changed(change: impl FnOnce(&mut Value)) -> String {
    let (folder, _) = saved();
    let path = folder.path().join("graph.json");
    let mut value = read_json(&path);
    change(&mut value);
    files::write_atomically(&path, value.to_string().as_bytes()).unwrap();
    load(folder.path()).unwrap_err().to_string()
}

#[test]
fn numbers_that_no_network_has_are_refused() {
    let first = |value: &mut Value, kind: &str, change: &dyn Fn(&mut Value)| {
        let nodes = value["graph"]["nodes"].as_array_mut().unwrap();
        change(nodes.iter_mut().find_map(|node| node["op"].get_mut(kind)).unwrap());
    };
    let huge = || json!(u64::MAX);
    let cases: Vec<(String, &str)> = vec![
        (load_changed(|value| value["regraft_graph"] = json!(99)), "newer Regraft"),
        (
            load_changed(|value| value["graph"]["input_fact"]["shape"][2]["symbolic"]["divisor"] = json!(0)),
            "input",
        ),
        (load_changed(|value| value["graph"]["input_fact"]["shape"][1]["fixed"] = huge()), "node"),
        (load_changed(|value| value["card"]["preprocessing"]["crop"] = json!([0, 0])), "0 pixels"),
        (load_changed(|value| value["card"]["preprocessing"]["crop"][0] = huge()), "pixels"),
        (load_changed(|value| value["card"]["preprocessing"]["std"][0] = json!(0.0)), "standard deviation"),
        (load_changed(|value| value["card"]["preprocessing"]["mean"][0] = json!(null)), "graph.json"),
        (
            load_changed(|value| {
                value["card"]["labels"] = json!(["too", "many", "labels", "for", "the", "head"])
            }),
            "6 labels",
        ),
        (load_changed(|value| value["card"]["roles"]["features"] = json!("nowhere")), "nowhere"),
        (load_changed(|value| value["frozen_until"] = json!("nowhere")), "nowhere"),
        (load_changed(|value| value["graph"]["outputs"] = json!(["nowhere"])), "nowhere"),
        (load_changed(|value| first(value, "gemm", &|gemm| gemm["out_features"] = huge())), "head"),
        (load_changed(|value| first(value, "gemm", &|gemm| gemm["in_features"] = huge())), "head"),
    ];
    for (message, expected) in cases {
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn a_border_that_would_fill_the_memory_is_refused() {
    let mut graph = Graph::new("input", Fact::image(3));
    let pool = Pool::new([1, 1], [1, 1], Padding::all(30_000));
    graph.push(Node::new("pad", Op::MaxPool(pool), ["input"])).unwrap();
    graph.set_output("pad").unwrap();
    let mut card = random_card(&mut random::stream(1, "card", 0), Vec::new(), 0);
    card.roles = Roles { features: "pad".to_owned(), logits: None, cuts: Vec::new() };
    let folder = tempfile::tempdir().unwrap();
    save(&Model::new(graph, Weights::new(), card).unwrap(), folder.path()).unwrap();
    let message = load(folder.path()).unwrap_err().to_string();
    assert!(message.contains("absurd shape"), "{message}");
}

#[test]
fn a_weight_that_is_not_a_number_is_named() {
    let (folder, model) = saved();
    let mut weights = model.weights().clone();
    let (name, shape) =
        weights.iter().next().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec())).unwrap();
    let mut values = vec![0.0; shape.iter().product()];
    *values.last_mut().unwrap() = f32::NAN;
    weights.insert(&name, Tensor::from_f32(shape, &values).unwrap());
    let path = folder.path().join("model.safetensors");
    safetensors::write(&path, &weights).unwrap();
    let message = load(folder.path()).unwrap_err().to_string();
    assert!(message.contains(&name) && message.contains("model.safetensors"), "{message}");
}

#[test]
fn missing_parts_are_named() {
    for name in ["graph.json", "model.safetensors"] {
        let (folder, _) = saved();
        std::fs::remove_file(folder.path().join(name)).unwrap();
        assert!(load(folder.path()).unwrap_err().to_string().contains(name));
        assert!(!is_model_folder(folder.path()));
    }
    let (folder, _) = saved();
    safetensors::write(&folder.path().join("model.safetensors"), &Weights::new()).unwrap();
    assert!(load(folder.path()).unwrap_err().to_string().contains("missing"));
}

#[test]
fn every_truncation_of_the_graph_is_an_error() {
    let (folder, _) = saved();
    let content = files::read(&folder.path().join("graph.json")).unwrap();
    for length in (0..content.len()).step_by(13) {
        file(&folder, "graph.json", &content[..length]);
        assert!(load(folder.path()).is_err(), "{length}");
    }
}

#[test]
fn a_card_that_json_cannot_hold_is_not_saved() {
    let (folder, model) = (tempfile::tempdir().unwrap(), random_model(1));
    let mut card = model.card().clone();
    card.preprocessing.mean.to_mut()[0] = f32::NAN;
    let message = save(&model.with_card(card).unwrap(), folder.path()).unwrap_err().to_string();
    assert!(message.contains("graph.json"), "{message}");
}

#[test]
fn means_and_deviations_are_one_a_channel() {
    let (folder, model) = saved();
    assert_eq!(model.card().preprocessing.channels(), 3);
    let text = String::from_utf8(files::read(&folder.path().join("graph.json")).unwrap().to_vec()).unwrap();
    let (before, rest) = text.split_once("\"mean\": [").unwrap();
    let (_, after) = rest.split_once(']').unwrap();
    for means in ["", "1", "1, 2, 3, 4"] {
        file(&folder, "graph.json", format!("{before}\"mean\": [{means}]{after}").as_bytes());
        let message = load(folder.path()).unwrap_err().to_string();
        assert!(message.contains("means and 3 deviations"), "{message}");
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let (folder, _) = saved();
    let content = files::read(&folder.path().join("graph.json")).unwrap();
    for round in 0..2000 {
        file(&folder, "graph.json", &damaged(&content, round));
        let _ = load(folder.path());
    }
}

/// The model's tensors under other names and in other shapes, as another library has them.
fn other_names(model: &Model) -> TimmNames {
    let shape = |tensor: &Tensor| std::iter::once(1).chain(tensor.shape().iter().copied()).collect();
    let renamed =
        |(name, tensor): (&str, &Tensor)| (name.to_owned(), (format!("their.{name}"), shape(tensor)));
    TimmNames {
        architecture: "some_net".to_owned(),
        tensors: model.weights().iter().map(renamed).collect(),
        first_conv: "stem".to_owned(),
        ..TimmNames::default()
    }
}

#[test]
fn names_of_another_library_come_back_as_ones_own() {
    for seed in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let model = random_model(seed);
        save_for_timm(&model, &other_names(&model), folder.path()).unwrap();
        let (weights, _) = safetensors::read(&folder.path().join("model.safetensors")).unwrap();
        assert!(weights.iter().all(|(name, _)| name.starts_with("their.")));
        let counters = weights.iter().filter(|(name, _)| name.ends_with("num_batches_tracked")).count();
        assert_eq!(weights.len(), model.weights().len() + counters);
        let config = read_json(&folder.path().join("config.json"));
        assert_eq!((&config["architecture"], &config["model_type"]), (&json!("some_net"), &Value::Null));
        assert_eq!(config["label_names"], json!(model.card().labels));
        assert_eq!(load(folder.path()).unwrap(), model, "seed {seed}");
    }
}

#[test]
fn names_that_lead_nowhere_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(1);
    save_for_timm(&model, &other_names(&model), folder.path()).unwrap();
    let path = folder.path().join("graph.json");
    let mut graph = read_json(&path);
    for theirs in graph["tensors"].as_object_mut().unwrap().values_mut() {
        *theirs = "nothing".into();
    }
    files::write_atomically(&path, graph.to_string().as_bytes()).unwrap();
    assert!(load(folder.path()).is_err());
    let mut names = other_names(&model);
    names.tensors.values_mut().for_each(|(_, shape)| shape.push(2));
    assert!(save_for_timm(&model, &names, folder.path()).unwrap_err().to_string().contains("do not fit"));
}
