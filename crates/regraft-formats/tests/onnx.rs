//! ONNX files that other programs wrote, against what ONNX Runtime computes with them, and files that Regraft writes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::path::PathBuf;

use common::{file, golden};
use regraft_formats::onnx::{self, ExportOptions};
use regraft_graph::{Bindings, Model, Op};
use regraft_system::files;
use serde_json::Value;

fn expected() -> Value {
    serde_json::from_slice(&files::read(&golden("onnx/expected.json")).unwrap()).unwrap()
}

fn path(name: &str) -> PathBuf {
    golden("onnx").join(name)
}

#[test]
fn what_is_written_is_read_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let expected = expected();
    for name in expected["files"].as_object().unwrap().keys() {
        let model = onnx::read(&path(name)).unwrap_or_else(|error| panic!("{error}")).model;
        for opset in onnx::WRITTEN_OPSETS {
            let written = folder.path().join(format!("{opset}.onnx"));
            onnx::write(&model, &written, &ExportOptions { opset, ..ExportOptions::default() }).unwrap();
            let again = onnx::read(&written).unwrap_or_else(|error| panic!("{name}: {error}")).model;
            assert_eq!(numbers(&again), numbers(&model), "{name} {opset}");
            assert_eq!(again.graph().outputs().len(), model.graph().outputs().len(), "{name} {opset}");
        }
    }
}

/// Shapes and numbers of all weights, in an order that does not depend on their names. A dense layer of pixels comes back
/// as the convolution with one place that it is, so axes of size 1 at the end do not count.
fn numbers(model: &Model) -> Vec<(Vec<usize>, Vec<f32>)> {
    let shape = |tensor: &regraft_graph::Tensor| {
        let mut shape = tensor.shape().to_vec();
        while shape.last() == Some(&1) {
            shape.pop();
        }
        shape
    };
    let mut all: Vec<_> =
        model.weights().iter().map(|(_, tensor)| (shape(tensor), tensor.to_f32())).collect();
    all.sort_by(|left, right| left.0.cmp(&right.0).then(left.1.partial_cmp(&right.1).unwrap()));
    all
}

#[test]
fn weights_keep_their_names_and_numbers() {
    let expected = expected();
    for (file, case) in expected["files"].as_object().unwrap() {
        let Some(weights) = case["weights"].as_object() else { continue };
        let model = onnx::read(&path(file)).unwrap().model;
        for (name, expected) in weights {
            let tensor = model.weights().get(name).unwrap_or_else(|| panic!("{file}: {name}"));
            assert_eq!(tensor.shape(), common::shape(&expected["shape"]), "{file}: {name}");
            let sum: f64 = tensor.to_f32().into_iter().map(f64::from).sum();
            assert!((sum - expected["sum"].as_f64().unwrap()).abs() < 1e-9, "{file}: {name}");
        }
    }
}

#[test]
fn what_would_give_wrong_numbers_is_refused() {
    for (name, words) in expected()["refused"].as_object().unwrap() {
        let message = match onnx::read(&path(name)) {
            Ok(_) => panic!("{name} is read"),
            Err(error) => error.to_string(),
        };
        assert!(message.contains(words.as_str().unwrap()), "{name}: {message}");
    }
}

#[test]
fn what_quantised_networks_lose_is_said() {
    let notes = onnx::read(&path("quantized.onnx")).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("are not rounded")), "{notes:?}");
}

fn operators(model: &Model) -> Vec<&'static str> {
    model.graph().nodes().iter().map(|node| node.op.name()).collect()
}

#[test]
fn patterns_become_one_operator() {
    let cases: [(&str, &[&str]); 9] = [
        ("gelu_erf", &["Gelu"]),
        ("gelu_cubic", &["Gelu"]),
        ("silu", &["Silu"]),
        ("hard_swish_written_out", &["HardSwish"]),
        ("layer_norm_written_out", &["LayerNormalization"]),
        ("layer_norm_image", &["LayerNormalization", "Gemm", "Gelu", "Scale"]),
        ("matmul", &["Gemm"]),
        ("pad_conv", &["Conv"]),
        ("channels_last", &["Conv", "Relu", "Transpose"]),
    ];
    for (name, expected) in cases {
        let model = onnx::read(&path(&format!("{name}.onnx"))).unwrap().model;
        assert_eq!(operators(&model), expected, "{name}");
    }
    for exporter in ["script", "dynamo"] {
        let model = onnx::read(&path(&format!("{exporter}_vision.onnx"))).unwrap().model;
        let block = ["LayerNormalization", "Gemm", "Attention", "Gemm", "Add"];
        let expected = ["Conv", "Tokens", "ClassToken", "PositionEmbedding"].into_iter().chain(block);
        assert!(operators(&model).starts_with(&expected.collect::<Vec<_>>()), "{:?}", operators(&model));
    }
}

#[test]
fn images_of_any_size_stay_possible() {
    for name in ["script_residual", "dynamo_residual", "script_mobile", "conv"] {
        let model = onnx::read(&path(&format!("{name}.onnx"))).unwrap().model;
        let bindings = Bindings { batch: 1, height: 40, width: 36 };
        let output = &model.graph().outputs()[0];
        assert!(model.graph().fact(output).unwrap().bind(&bindings).is_some(), "{name}");
        assert_eq!(model.graph().input_fact().bind(&bindings).unwrap()[2..], [40, 36], "{name}");
    }
}

#[test]
fn weights_lie_in_the_files() {
    let model = onnx::read(&path("external.onnx")).unwrap().model;
    let Op::Conv(conv) = &model.graph().nodes()[0].op else { panic!("no convolution") };
    assert_eq!((conv.in_channels, conv.out_channels), (4, 8));
    assert!(model.weights().get("c.weight").is_some());
}

#[test]
fn large_weights_go_to_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let model = onnx::read(&path("script_vision.onnx")).unwrap().model;
    let written = folder.path().join("vision.onnx");
    let options = ExportOptions { inline_bytes: 1000, ..ExportOptions::default() };
    onnx::write(&model, &written, &options).unwrap();
    assert!(folder.path().join("vision.onnx.data").is_file());
    assert_eq!(onnx::read(&written).unwrap().model.weights(), model.weights());
}

#[test]
fn a_model_that_is_replaced_has_its_weights_until_the_new_one_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("vision.onnx");
    let options = ExportOptions { inline_bytes: 1000, ..ExportOptions::default() };
    for data in ["vision.onnx.data", "vision.onnx.2.data", "vision.onnx.data"] {
        let model = onnx::read(&path("script_vision.onnx")).unwrap().model;
        onnx::write(&model, &written, &options).unwrap();
        assert!(folder.path().join(data).is_file(), "{data}");
        assert_eq!(files::files_below(folder.path()).unwrap().len(), 2);
        assert_eq!(onnx::read(&written).unwrap().model.weights(), model.weights());
    }
}

#[test]
fn names_of_parts_are_not_those_of_other_nodes() {
    let silu = [node_of("Sigmoid", &["x"], "s"), node_of("Mul", &["x", "s"], "se")].concat();
    let rest = [node_of("Exp", &["se"], "se/gate"), node_of("Add", &["se", "se/gate"], "y")].concat();
    let ends = [value_of(11, "x", &[1, 3, 8, 8]), value_of(12, "y", &[1, 3, 8, 8])].concat();
    let folder = tempfile::tempdir().unwrap();
    let content = model_of(&[ends, silu, rest].concat());
    let model = onnx::read(&file(&folder, "some.onnx", &content)).unwrap().model;
    let written = folder.path().join("again.onnx");
    onnx::write(&model, &written, &ExportOptions::default()).unwrap();
    assert_eq!(operators(&onnx::read(&written).unwrap().model), ["Silu", "Exp", "Add"]);
}

#[test]
fn an_operator_that_is_carried_keeps_its_rules() {
    let folder = tempfile::tempdir().unwrap();
    let content = model_of(
        &[
            value_of(11, "x", &[1, 3, 8, 8]),
            value_of(12, "y", &[1, 3, 8, 8]),
            node_of("Hardmax", &["x"], "y"),
        ]
        .concat(),
    );
    let model = onnx::read(&file(&folder, "some.onnx", &content)).unwrap().model;
    let write = |opset| {
        onnx::write(
            &model,
            &folder.path().join("again.onnx"),
            &ExportOptions { opset, ..ExportOptions::default() },
        )
    };
    write(17).unwrap();
    assert!(write(18).unwrap_err().to_string().contains("rules of opset 17"));
}

#[test]
fn options_that_cannot_be_are_refused() {
    let model = onnx::read(&path("gemm.onnx")).unwrap().model;
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("model.onnx");
    for options in [
        ExportOptions { opset: 16, ..ExportOptions::default() },
        ExportOptions { opset: 22, ..ExportOptions::default() },
        ExportOptions { batch: Some(0), ..ExportOptions::default() },
        ExportOptions { with_preprocessing: true, ..ExportOptions::default() },
    ] {
        assert!(onnx::write(&model, &written, &options).is_err(), "{options:?}");
        assert!(!written.exists());
    }
}

#[test]
fn what_is_no_model_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for content in [b"".as_slice(), b"\x08\x08", b"\x08\x08\x3a\x00", b"hello", &[0xff; 64]] {
        assert!(onnx::read(&file(&folder, "some.onnx", content)).is_err(), "{content:?}");
    }
}

/// A field with a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    [bytes, content.to_vec()].concat()
}

/// A file with this graph.
fn model_of(graph: &[u8]) -> Vec<u8> {
    [vec![0x08, 0x08], field(7, graph), field(8, &[0x10, 17])].concat()
}

fn node_of(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs = inputs.iter().map(|input| field(1, input.as_bytes()));
    let rest = [field(2, output.as_bytes()), field(4, operator.as_bytes())];
    field(1, &inputs.chain(rest).flatten().collect::<Vec<u8>>())
}

fn value_of(field_number: u8, name: &str, dims: &[u8]) -> Vec<u8> {
    let shape: Vec<u8> = dims.iter().flat_map(|size| field(1, &[0x08, *size])).collect();
    let tensor = [vec![0x08, 1], field(2, &shape)].concat();
    field(field_number, &[field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat())
}

/// A tensor of whole numbers, with dims and numbers as they are in the file.
fn tensor_of(name: &str, dims: &[u8], numbers: &[i64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|size| [0x08, *size]).collect();
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    field(5, &[dims, vec![0x10, 7], field(8, name.as_bytes()), field(9, &numbers)].concat())
}

fn refusal(graph: &[Vec<u8>]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let input_and_output = [value_of(11, "x", &[1, 3, 8, 8]), value_of(12, "y", &[1, 3, 8, 8])];
    let content = model_of(&[input_and_output.concat(), graph.concat()].concat());
    onnx::read(&file(&folder, "some.onnx", &content)).unwrap_err().to_string()
}

#[test]
fn hostile_graphs_are_named() {
    let relu = |input: &str, output: &str| node_of("Relu", &[input], output);
    let cases = [
        (vec![relu("b", "a"), relu("a", "b"), relu("b", "y")], "a cycle"),
        (vec![relu("y", "y")], "a cycle"),
        (vec![relu("x", "y"), relu("x", "y")], "two values are called 'y'"),
        (vec![relu("x", "a")], "nothing computes the output 'y'"),
        (vec![node_of("Loop", &["x"], "y")], "branches and loops"),
        (vec![tensor_of("c", &[1], &[1]), tensor_of("c", &[1], &[1]), relu("x", "y")], "two tensors"),
        (vec![tensor_of("c", &[4], &[1]), node_of("Reshape", &["x", "c"], "y")], "need 32 bytes"),
        (vec![tensor_of("c", &[2], &[-1, -1]), node_of("Reshape", &["x", "c"], "y")], "more than one size"),
        (vec![tensor_of("c", &[2], &[i64::MAX, 4]), node_of("Reshape", &["x", "c"], "y")], "do not fill"),
        (
            vec![
                tensor_of("c", &[2], &[1 << 32, 1 << 32]),
                node_of("ConstantOfShape", &["c"], "big"),
                node_of("Add", &["x", "big"], "y"),
            ],
            "more numbers out of the file",
        ),
        (
            vec![tensor_of("c", &[4], &[1, 1, 1 << 40, 1 << 40]), node_of("Tile", &["x", "c"], "y")],
            "repeats too often",
        ),
        (
            vec![
                tensor_of("c", &[8], &[0, 0, 1 << 60, 1 << 60, 0, 0, 1 << 60, 1 << 60]),
                node_of("Pad", &["x", "c"], "y"),
            ],
            "absurdly wide",
        ),
    ];
    for (graph, expected) in cases {
        let message = refusal(&graph);
        assert!(message.contains(expected) && message.contains("some.onnx"), "{expected}: {message}");
    }
}

#[test]
fn doubling_constants_stop_at_the_budget() {
    let mut graph = vec![tensor_of("c0", &[8], &[1; 8])];
    graph.push(tensor_of("two", &[1], &[2]));
    for step in 0..40 {
        let (from, to) = (format!("c{step}"), format!("c{}", step + 1));
        graph.push(node_of("Tile", &[&from, "two"], &to));
    }
    graph.push(node_of("Reshape", &["x", "c40"], "y"));
    assert!(refusal(&graph).contains("more numbers out of the file"));
}

#[test]
fn one_tensor_in_many_layers_is_turned_once() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: Vec<u8> = (0..100 * 100).flat_map(|number| (number as f32).to_le_bytes()).collect();
    let head = [vec![0x08, 100, 0x08, 100, 0x10, 1], field(8, b"w")].concat();
    let mut graph = [value_of(11, "x", &[1, 100]), field(5, &[head, field(9, &numbers)].concat())].concat();
    for step in 0..2_000 {
        let input = if step == 0 { "x".to_owned() } else { format!("v{step}") };
        let output = if step == 1_999 { "y".to_owned() } else { format!("v{}", step + 1) };
        graph.extend(node_of("MatMul", &[&input, "w"], &output));
    }
    graph.extend(value_of(12, "y", &[1, 100]));
    let model = onnx::read(&file(&folder, "some.onnx", &model_of(&graph))).unwrap().model;
    let mut places: Vec<_> = model.weights().iter().map(|(_, tensor)| tensor.data().as_ptr()).collect();
    places.dedup();
    assert_eq!(places.len(), 1);
}

#[test]
fn empty_messages_do_not_fill_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    for number in [1u8, 5, 11, 13] {
        let content = model_of(&[number << 3 | 2, 0].repeat(2_000_000));
        let message = onnx::read(&file(&folder, "some.onnx", &content)).unwrap_err().to_string();
        assert!(message.contains("more nodes and names"), "{message}");
    }
}

#[test]
fn weights_outside_the_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = files::read(&path("external.onnx")).unwrap();
    let place = whole.windows(13).position(|bytes| bytes == b"external.data").unwrap();
    for (location, expected) in [
        ("../nal/a.data", "outside the model's folder"),
        ("/etc/hostname", "outside the model's folder"),
        ("missing_.data", "missing_.data"),
    ] {
        let mut content = whole.clone();
        content[place..place + 13].copy_from_slice(&location.as_bytes()[..13]);
        let message = onnx::read(&file(&folder, "some.onnx", &content)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    file(&folder, "external.data", &[0; 100]);
    let message = onnx::read(&file(&folder, "some.onnx", &whole)).unwrap_err().to_string();
    assert!(message.contains("lie outside 'external.data'"), "{message}");
}

#[test]
fn damaged_files_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    for name in
        ["script_vision", "dynamo_words", "conv", "lstm_both", "layer_norm_image", "slice", "resize_cubic"]
    {
        let whole = files::read(&path(&format!("{name}.onnx"))).unwrap();
        for length in (0..whole.len()).step_by(1 + whole.len() / 400) {
            let _ = onnx::read(&file(&folder, "some.onnx", &whole[..length]));
        }
        for round in 0..2_000 {
            let _ = onnx::read(&file(&folder, "some.onnx", &common::damaged(&whole, round)));
        }
    }
}
