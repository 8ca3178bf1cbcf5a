//! TensorFlow.js models, good and bad, and what their networks compute (`oracles/tfjs_models.py`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::path::PathBuf;

use common::golden;
use ndarray::{ArrayD, Axis, IxDyn};
use regraft_formats::{Imported, read_weights, tfjs};
use regraft_system::files;
use serde_json::{Value, json};

fn model(name: &str) -> PathBuf {
    golden("tfjs").join(name).join("model.json")
}

fn computed(imported: &Imported, input: ArrayD<f32>) -> ArrayD<f32> {
    let input = input.permuted_axes(IxDyn(&[0, 3, 1, 2])).as_standard_layout().into_owned();
    common::run(&imported.model, &input, &[&imported.model.graph().outputs()[0]]).remove(0)
}

#[test]
fn computes_what_tensorflow_computes() {
    let expected = read_weights(&golden("tfjs/expected.safetensors")).unwrap().weights;
    for name in
        ["layers_float32", "layers_float16", "layers_uint16", "layers_uint8", "graph_float32", "graph_uint8"]
    {
        let imported = tfjs::read(&model(name)).unwrap_or_else(|error| panic!("{error}"));
        let array = |key: &str| {
            let tensor = expected.get(&format!("{name}.{key}")).unwrap();
            ArrayD::from_shape_vec(IxDyn(tensor.shape()), tensor.to_f32()).unwrap()
        };
        let mut input = array("input");
        if name.starts_with("graph") {
            let card = &imported.model.card().preprocessing;
            assert!((card.std[0] - 127.5).abs() < 1e-3 && (card.mean[0] - 127.5).abs() < 1e-3);
            for (channel, mut plane) in input.axis_iter_mut(Axis(3)).enumerate() {
                plane.mapv_inplace(|x| (x - card.mean[channel]) / card.std[channel]);
            }
        }
        let (found, expected) = (computed(&imported, input), array("output"));
        let worst = common::largest_difference(&found, &expected);
        println!("{name}: {worst:e}");
        assert!(found.shape() == expected.shape() && worst < 1e-5, "{name}: {found} {expected}");
    }
}

/// `layers_uint8` with its description changed.
fn changed(folder: &tempfile::TempDir, change: impl FnOnce(&mut Value)) -> String {
    let content = files::read(&model("layers_uint8")).unwrap();
    let mut json: Value = serde_json::from_slice(&content).unwrap();
    change(&mut json);
    let path = common::file(folder, "model.json", json.to_string().as_bytes());
    for shard in json["weightsManifest"][0]["paths"].as_array().unwrap() {
        let name = shard.as_str().unwrap();
        let inside = !name.contains('/');
        if let Some(content) =
            inside.then(|| golden("tfjs/layers_uint8").join(name)).and_then(|path| files::read(&path).ok())
        {
            common::file(folder, name, &content);
        }
    }
    tfjs::read(&path).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn shards_stay_in_the_folder_and_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["../secret", "/etc/passwd", "a/../../b", "", "c:\\x", "./group1-shard1of1.bin"] {
        let message = changed(&folder, |json| json["weightsManifest"][0]["paths"][0] = json!(path));
        assert!(message.contains("not a path inside") || message.contains("read"), "{path}: {message}");
    }
    let message = changed(&folder, |json| {
        json["weightsManifest"][0]["weights"][0]["shape"] = json!([1 << 20, 1 << 20, 1 << 20, 1 << 20]);
    });
    assert!(message.contains("its shards end before"), "{message}");
    let message = changed(&folder, |json| {
        json["weightsManifest"][0]["weights"].as_array_mut().unwrap().pop();
    });
    assert!(message.contains("expected the weights"), "{message}");
    let message = changed(&folder, |json| {
        let entry = json!({"name": "classes/bias", "shape": [3], "dtype": "string"});
        json["weightsManifest"][0]["weights"][0] = entry;
    });
    assert!(message.contains("'string'"), "{message}");
}

#[test]
fn a_graph_that_needs_itself_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let message = changed(&folder, |json| {
        json["modelTopology"] = json!({"node": [
            {"name": "x", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": [{"size": "-1"}, {"size": "3"}]}}}},
            {"name": "a", "op": "AddV2", "input": ["x", "b"]},
            {"name": "b", "op": "Relu", "input": ["a"]},
            {"name": "c", "op": "Relu", "input": ["b"]},
        ]});
    });
    assert!(message.contains("needs itself"), "{message}");
}

#[test]
fn damaged_descriptions_are_errors_or_whole() {
    let content = files::read(&model("graph_uint8")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden("tfjs/graph_uint8")).unwrap() {
        let entry = entry.unwrap();
        let shard = files::read(&entry.path()).unwrap();
        common::file(&folder, &entry.file_name().to_string_lossy(), &shard);
    }
    for round in 0..3000 {
        let path = common::file(&folder, "model.json", &common::damaged(&content, round));
        let _ = tfjs::read(&path);
    }
}
