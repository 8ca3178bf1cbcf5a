//! What the networks of ONNX files compute, against ONNX Runtime.
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
use regraft_engine::Program;
use regraft_formats::onnx::{self, ExportOptions};
use regraft_graph::Model;
use regraft_system::files;
use serde_json::Value;

fn expected() -> Value {
    serde_json::from_slice(&files::read(&golden("onnx/expected.json")).unwrap()).unwrap()
}

fn path(name: &str) -> PathBuf {
    golden("onnx").join(name)
}

fn array(value: &Value) -> ArrayD<f32> {
    let digits = value["values"].as_str().unwrap();
    let byte = |place: usize| u8::from_str_radix(&digits[place..place + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    ArrayD::from_shape_vec(IxDyn(&common::shape(&value["shape"])), values).unwrap()
}

/// The model's first output. What the file has channels last, the graph has channels first.
fn run(model: &Model, input: &ArrayD<f32>) -> ArrayD<f32> {
    let channels_last = input.ndim() == 4 && {
        let fact = &model.graph().input_fact().shape;
        fact[1] == input.shape()[3].into() && fact[1] != input.shape()[1].into()
    };
    let input = if channels_last {
        input.view().permuted_axes(IxDyn(&[0, 3, 1, 2])).as_standard_layout().into_owned()
    } else {
        input.clone()
    };
    let image = match input.shape() {
        [_, _, height, width] => [*height, *width],
        [_, tokens, _] => [1, *tokens],
        _ => [1, 1],
    };
    let outputs: Vec<&str> = model.graph().outputs().iter().map(String::as_str).collect();
    Program::compile(model, image, &outputs).unwrap().run(input.view()).unwrap().remove(0)
}

fn assert_close(found: &ArrayD<f32>, expected: &ArrayD<f32>, what: &str) {
    assert_within(found, expected, 1e-4, what);
}

/// Differences up to that part of the largest value. No number is far from everything, and no shape like another.
fn assert_within(found: &ArrayD<f32>, expected: &ArrayD<f32>, part: f32, what: &str) {
    let scale = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    assert_eq!(found.shape(), expected.shape(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= part * scale, "{what}: {found} for {expected} of {scale}");
    }
}

/// Name, input, output, and how far that may be away.
fn cases() -> Vec<(String, ArrayD<f32>, ArrayD<f32>, f32)> {
    let expected = expected();
    let files = expected["files"].as_object().unwrap();
    let case = |(name, case): (&String, &Value)| {
        let input = &expected["inputs"][case["input"].as_str().unwrap()];
        let within = case["within"].as_f64().unwrap_or(1e-4) as f32;
        (name.clone(), array(input), array(&case["output"]), within)
    };
    files.iter().map(case).collect()
}

#[test]
fn what_is_read_computes_what_onnx_runtime_computes() {
    for (name, input, expected, within) in cases() {
        let model = onnx::read(&path(&name)).unwrap_or_else(|error| panic!("{error}")).model;
        assert_within(&run(&model, &input), &expected, within, &name);
    }
}

#[test]
fn what_is_written_is_read_back_and_computes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (name, input, _, _) in cases() {
        let model = onnx::read(&path(&name)).unwrap().model;
        for opset in onnx::WRITTEN_OPSETS {
            let written = folder.path().join(format!("{opset}.onnx"));
            let options = ExportOptions { opset, ..ExportOptions::default() };
            onnx::write(&model, &written, &options).unwrap();
            let again = onnx::read(&written).unwrap_or_else(|error| panic!("{name}: {error}")).model;
            assert_close(&run(&again, &input), &run(&model, &input), &name);
        }
    }
}

#[test]
fn pixels_are_normalised_inside() {
    let folder = tempfile::tempdir().unwrap();
    let model = onnx::read(&path("script_residual.onnx")).unwrap().model;
    let written = folder.path().join("pixels.onnx");
    let options = ExportOptions { with_preprocessing: true, ..ExportOptions::default() };
    onnx::write(&model, &written, &options).unwrap();
    let again = onnx::read(&written).unwrap();
    assert_eq!(again.notes, Vec::<String>::new());
    assert_eq!(again.model.card().preprocessing.mean.as_ref(), [0.0; 3]);
    let pixels = ArrayD::from_shape_fn(IxDyn(&[1, 3, 12, 12]), |place| {
        (place[1] * 80 + place[2] * 7 + place[3]) as f32
    });
    let preprocessing = &model.card().preprocessing;
    let normalised =
        ArrayD::from_shape_fn(pixels.raw_dim(), |place| preprocessing.normalise(place[1], pixels[&place]));
    assert_close(&run(&again.model, &pixels), &run(&model, &normalised), "pixels");
}
