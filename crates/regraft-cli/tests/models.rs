//! Sources that cannot be used: names, weight files, model folders.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{DONE, MODEL, Place, USAGE, golden, safetensors};

fn refused(place: &Place, file: &str, words: &[&str]) {
    let words = [&[file], words].concat();
    place.run(&format!("embed image.png --source {file} --out f.npy")).fails(MODEL, &words);
    assert!(!place.at("f.npy").exists());
}

fn place_with_image() -> Place {
    let place = Place::new();
    place.write("image.png", &support::patchwork(1));
    place
}

#[test]
fn safetensors_files_that_lie() {
    let place = place_with_image();
    let tensor = |kind: &str, shape: &str, start: u64, end: u64| {
        format!(r#"{{"dtype":"{kind}","shape":[{shape}],"data_offsets":[{start},{end}]}}"#)
    };
    let one = |kind, shape, end| format!(r#"{{"conv1.weight":{}}}"#, tensor(kind, shape, 0, end));
    let two = format!(r#"{{"a":{},"b":{}}}"#, tensor("F32", "2", 0, 8), tensor("F32", "2", 4, 12));
    let huge = [&(1u64 << 40).to_le_bytes(), b"{}".as_slice()].concat();
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("empty", Vec::new(), "empty file"),
        ("huge-header", huge, "1099511627776 bytes"),
        ("largest-header", [[0xff; 8].as_slice(), b"{}"].concat(), "18446744073709551615 bytes"),
        ("overlapping", safetensors(&two, &[0; 12]), "overlaps"),
        ("truncated", safetensors(&one("F32", "100", 400), &[0; 8]), "ends at byte 400"),
        (
            "absurd",
            safetensors(&one("F32", "4611686018427387904,4611686018427387904", 8), &[0; 8]),
            "absurdly large",
        ),
        ("unknown-type", safetensors(&one("F999", "1", 4), &[0; 4]), "F999"),
        ("foreign", safetensors(&one("I64", "1", 8), &[0; 8]), "none of the known architectures"),
    ];
    for (name, content, reason) in cases {
        let file = format!("{name}.safetensors");
        place.write(&file, &content);
        refused(&place, &file, &[reason]);
    }
}

#[test]
fn pytorch_files_that_are_damaged_or_hostile() {
    let place = place_with_image();
    let whole = fs::read(golden("regraft-formats/tests/golden/zip.pth")).unwrap();
    place.write("truncated.pth", &whole[..whole.len() / 2]);
    place.write("text.pth", b"hello");
    place.write("foreign.pth", &whole);
    for name in ["hostile.pth", "hostile_zip.pth", "no_tensors.pth"] {
        fs::copy(golden("regraft-formats/tests/golden").join(name), place.at(name)).unwrap();
        refused(&place, name, &[]);
    }
    refused(&place, "truncated.pth", &["incomplete or damaged"]);
    refused(&place, "text.pth", &["neither a network nor weights"]);
    refused(&place, "foreign.pth", &["none of the known architectures"]);
    refused(&place, "missing.pth", &["does not exist"]);
    place
        .run("embed image.png --source foreign.pth --arch resnet18 --out f.npy")
        .fails(MODEL, &["foreign.pth", "resnet18"]);
    place
        .run("embed image.png --source foreign.pth --arch resnet19 --out f.npy")
        .fails(MODEL, &["did you mean 'resnet18'"]);
    place
        .run("embed image.png --arch resnet18 --out f.npy")
        .fails(USAGE, &["--arch resnet18", "weight files"]);
}

#[test]
fn an_architecture_is_for_what_a_file_does_not_say() {
    let place = place_with_image();
    let network = golden("regraft-formats/tests/golden/onnx").join("dynamo_residual.onnx");
    fs::copy(&network, place.at("net.onnx")).unwrap();
    place.write("net.json", b"{}");
    let run = |source: &str, arch: &str| {
        place.run(&format!("embed image.png --source {source} --arch {arch} --out f.npy"))
    };
    run("net.onnx", "resnet50").fails(USAGE, &["--arch resnet50", "leave --arch out"]);
    run("net.onnx", "net.json").fails(MODEL, &["net.onnx", "ONNX", "leave --arch out"]);
    run("net.onnx", "missing.json").fails(USAGE, &["--arch missing.json", "no such file"]);
    place.run("zoo add net.onnx --name x --arch resnet50 --yes").fails(USAGE, &["leave --arch out"]);
    fs::copy(golden("regraft-formats/tests/golden/onnx/image_one_channel.onnx"), place.at("grey.onnx"))
        .unwrap();
    place.run("export grey.onnx --with-preprocessing --out x.onnx").fails(USAGE, &["three colours"]);
    fs::copy(golden("regraft-zoo/tests/golden/resnet18.pth"), place.at("resnet18.pth")).unwrap();
    place
        .run("embed image.png --source resnet18.pth#nope --out f.npy")
        .fails(MODEL, &["no entry 'nope'", "'layer1'"]);
    let unknown = run("resnet18.pth", "resnt18");
    let message = &unknown.fails(MODEL, &["did you mean 'resnet18'"]).err;
    assert!(!message.contains("convnext"), "one name is enough: {message}");
}

#[test]
fn names_that_do_not_exist() {
    let place = place_with_image();
    place
        .run("predict efficientnet-lite1 image.png")
        .fails(MODEL, &["did you mean 'efficientnet-lite0'", "regraft zoo list"]);
    place.run("zoo info resnt50").fails(MODEL, &["did you mean 'resnet50'"]);
    place
        .run("predict resnet50 image.png")
        .fails(MODEL, &["regraft zoo pull resnet50.tv_in1k (103 MB)", "--arch resnet50"]);
    let cut = place.run("embed image.png --cut _blocks.3.bn2 --out f.npy");
    cut.fails(USAGE, &["cut _blocks.3.bn2", "_blocks.3._bn2", "features", "logits"]);
    fs::create_dir(place.at("folder")).unwrap();
    for line in ["predict folder image.png", "evaluate folder folder", "report folder", "zoo info folder"] {
        place.run(line).fails(MODEL, &["folder"]);
    }
    place.run("report nowhere").fails(MODEL, &["nowhere"]);
}

/// Writes a copy of the run's model with its `graph.json` changed, and asks it for an answer.
fn edited(place: &Place, name: &str, edit: impl Fn(&mut Value)) -> support::Answer {
    copy_model(&place.at("run/model"), &place.at(name));
    let graph = place.at(name).join("graph.json");
    let mut model: Value = serde_json::from_slice(&fs::read(&graph).unwrap()).unwrap();
    edit(&mut model);
    fs::write(&graph, serde_json::to_vec(&model).unwrap()).unwrap();
    place.run(&format!("predict {name} image.png"))
}

fn copy_model(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn model_folders_that_ask_for_the_absurd() {
    let place = place_with_image();
    place.fitted();
    let convolution = |key: &'static str, value: &str| {
        let value: Value = serde_json::from_str(value).unwrap();
        move |model: &mut Value| model["graph"]["nodes"][0]["op"]["conv"][key] = value.clone()
    };
    for (key, value) in [
        ("out_channels", "1000000000000"),
        ("in_channels", "18446744073709551615"),
        ("kernel", "[1000000000, 1000000000]"),
        ("kernel", "[0, 0]"),
        ("stride", "[0, 0]"),
        ("stride", "[1000000000000000000, 1]"),
        ("dilation", "[4611686018427387904, 1]"),
        ("groups", "0"),
        ("out_channels", "-1"),
    ] {
        edited(&place, "absurd", convolution(key, value)).fails(MODEL, &["absurd/graph.json"]);
    }
    let image = |key: &'static str, value: &str| {
        let value: Value = serde_json::from_str(value).unwrap();
        move |model: &mut Value| model["card"]["preprocessing"][key] = value.clone()
    };
    for (key, value) in [
        ("crop", "[1000000000, 1000000000]"),
        ("crop", "[20000, 20000]"),
        ("crop", "[0, 0]"),
        ("resize", r#"{"short_side": 1000000000}"#),
        ("std", "[0, 0, 0]"),
    ] {
        edited(&place, "absurd", image(key, value)).fails(MODEL, &["absurd/graph.json"]);
    }
    edited(&place, "absurd", |model| model["card"]["labels"] = serde_json::json!(["one"]))
        .fails(MODEL, &["labels"]);
    edited(&place, "absurd", |model| model["graph"]["nodes"] = serde_json::json!([]))
        .fails(MODEL, &["absurd"]);
    edited(&place, "same", |_| ()).is(DONE);
}

#[test]
fn model_folders_that_are_damaged() {
    let place = place_with_image();
    place.fitted();
    let weights = fs::read(place.at("run/model/model.safetensors")).unwrap();
    let damaged = |name: &str, content: &[u8]| {
        copy_model(&place.at("run/model"), &place.at(name));
        fs::write(place.at(name).join("model.safetensors"), content).unwrap();
        place.run(&format!("predict {name} image.png"))
    };
    damaged("short", &weights[..weights.len() / 2]).fails(MODEL, &["short/model.safetensors"]);
    damaged("empty", &[]).fails(MODEL, &["empty/model.safetensors"]);
    let mut undefined = weights.clone();
    let start = undefined.len() - 64;
    undefined[start..].fill(0xff);
    damaged("undefined", &undefined).fails(MODEL, &["undefined", "not"]);
    fs::remove_file(place.at("run/model/model.safetensors")).unwrap();
    place.run("predict run image.png").fails(MODEL, &["model.safetensors"]);
    fs::write(place.at("run/record.json"), b"{").unwrap();
    place.run("report run").fails(MODEL, &["run/record.json"]);
}

#[test]
fn a_source_is_exported() {
    let place = Place::new();
    place.run("export efficientnet-lite0").is(DONE);
    assert!(fs::read(place.at("efficientnet-lite0.onnx")).unwrap().starts_with(&[8, 8]));
    place
        .run("export efficientnet-lite0 --with-preprocessing --batch 4 --opset 21 --out other/pixels.onnx")
        .is(DONE);
    assert!(fs::read(place.at("other/pixels.onnx")).unwrap().starts_with(&[8, 10]));
    place.run("export efficientnet-lite0.onnx").fails(USAGE, &["is the source itself", "--out"]);
    place.run("export efficientnet-lite0 --opset 16").fails(USAGE, &["--opset", "17..=21"]);
    place.run("export efficientnet-lite0 --batch many").fails(USAGE, &["dynamic or a number"]);
    place.run("export efficientnet-lite0 --format tflite").fails(USAGE, &["known are: onnx"]);
    place.run("export resnet18").fails(MODEL, &["resnet18"]);
}
