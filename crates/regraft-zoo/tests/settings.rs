//! What folders of transformers set differently from the architecture (`oracles/zoo_settings.py`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]
#![allow(clippy::print_stdout, reason = "a test reports its numbers")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{compute, encode, json, relative_error, transformers_folder};
use regraft_formats::safetensors;
use regraft_graph::Weights;
use regraft_system::files;
use regraft_zoo::{load_encoder, load_folder};
use serde_json::{Value, json};

/// A configuration with changes, where `null` takes a field out.
fn with_changes(config: &Value, changes: &Value) -> Value {
    let mut config = config.clone();
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    config.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    config
}

fn write(folder: &Path, name: &str, content: &Value) {
    files::write_atomically(&folder.join(name), content.to_string().as_bytes()).unwrap();
}

fn output_of(folder: &Path, base: &Value) -> Vec<f32> {
    if base.get("tokens").is_some() {
        let tokens: Vec<f32> = serde_json::from_value(base["tokens"].clone()).unwrap();
        return encode(&load_encoder(folder, tokens.len()).unwrap().0, &tokens);
    }
    let (model, _) = load_folder(folder).unwrap();
    compute(&model, serde_json::from_value(base["image"].clone()).unwrap())
}

fn bases() -> BTreeMap<String, Value> {
    let known = [json("transformers.json"), json("settings.json")["bases"].take()];
    known.into_iter().flat_map(|bases| bases.as_object().unwrap().clone()).collect()
}

#[test]
fn what_a_configuration_changes_is_computed_as_transformers_does() {
    let (bases, mut folders) = (bases(), BTreeMap::new());
    for case in json("settings.json")["cases"].as_array().unwrap() {
        let (name, changes) = (case["base"].as_str().unwrap(), &case["changes"]);
        let base = &bases[name];
        let folder = folders.entry(name).or_insert_with(|| transformers_folder(base)).path();
        write(folder, "config.json", &with_changes(&base["config"], changes));
        let expected: Vec<f32> = serde_json::from_value(case["output"].clone()).unwrap();
        let error = relative_error(&output_of(folder, base), &expected);
        println!("{name} {changes}: relative error {error:.1e}");
        // Where the approximation of GELU is told apart by 9e-5.
        let tolerated = if name == "bert" { 1e-5 } else { 1e-4 };
        assert!(error <= tolerated, "{name} {changes}: {error}");
    }
}

#[test]
fn the_classifier_of_dinov2_is_left() {
    let base = json("settings.json")["bases"]["dinov2_classifier"].take();
    let (model, report) = load_folder(transformers_folder(&base).path()).unwrap();
    assert_eq!(report.unwrap().left, ["classifier.bias", "classifier.weight"]);
    assert_eq!((model.card().roles.logits.as_ref(), model.card().labels.len()), (None, 0));
}

/// What is said of a configuration, whose weights are not looked at.
fn refusal(changes: Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    safetensors::write(&folder.path().join("model.safetensors"), &Weights::new()).unwrap();
    write(folder.path(), "config.json", &changes);
    load_folder(folder.path()).unwrap_err().to_string()
}

#[test]
fn what_a_configuration_asks_for_and_is_not_known_is_refused() {
    let resnet = json!({ "model_type": "resnet", "layer_type": "basic", "depths": [2, 2, 2, 2] });
    let vit = json!({ "model_type": "vit", "hidden_size": 192, "patch_size": 16, "num_hidden_layers": 12 });
    let convnext =
        json!({ "model_type": "convnext", "depths": [3, 3, 9, 3], "hidden_sizes": [96, 192, 384, 768] });
    let regnet =
        json!({ "model_type": "regnet", "depths": [1, 3, 6, 6], "hidden_sizes": [48, 104, 208, 440] });
    let [dinov2, mobilenet, bert] =
        ["dinov2", "mobilenet_v2", "bert"].map(|kind| json!({ "model_type": kind }));
    for (config, key, value, expected) in [
        (&resnet, "downsample_in_first_stage", json!(true), "is true, expected false: such a network"),
        (&vit, "qkv_bias", json!(false), "is false, expected true"),
        (&vit, "qkv_bias", json!("no"), "is \"no\", expected true or false"),
        (&vit, "image_size", json!([36, 256]), "is [36,256], expected a square"),
        (&dinov2, "use_swiglu_ffn", json!(true), "is true, expected false"),
        (&convnext, "layer_scale_init_value", json!(0), "is 0, expected a positive number"),
        (&regnet, "layer_type", json!("x"), "is 'x' (RegNetX), expected 'y'"),
        (&mobilenet, "depth_multiplier", json!(1.4), "is 1.4, expected 1"),
        (&mobilenet, "first_layer_is_expansion", json!(false), "is false, expected true"),
        (&bert, "is_decoder", json!(true), "is true, expected false"),
    ] {
        let message = refusal(with_changes(config, &json!({ key: value })));
        assert!(message.contains(&format!("config.json: '{key}' {expected}")), "{message}");
    }
    // Twice the same is a square.
    let square = json!({ "image_size": [96, 96], "patch_size": [16, 16] });
    assert!(refusal(with_changes(&vit, &square)).contains("are missing"));
}
