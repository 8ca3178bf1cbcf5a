//! From file to logits as PyTorch and Pillow go (`oracles/pipeline_logits.py`): JPEG with subsampled colour, progressive,
//! grey and turned by EXIF, PNG in RGB, palette, grey and with alpha.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

#[path = "../../regraft-zoo/tests/common/mod.rs"]
mod formula;

use std::path::{Path, PathBuf};

use ndarray::{Array2, Ix2};
use regraft::{
    Context, DEFAULT_SOURCE, EmbedPrecision, FrozenPrecision, InputChoice, Model, embed, load_source, predict,
};
use regraft_formats::{npy, safetensors};

use formula::{golden, hashed_parameters};

/// The largest difference allowed, as a share of the largest logit. Decoding and resizing are exact to Pillow, so all
/// that is left is the order of additions in single precision.
const TOLERANCE: f32 = 1e-4;

/// The photographs and emoji in the order of the goldens' rows.
fn files() -> Vec<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let text = regraft_system::files::read(&golden("pipeline.json")).unwrap();
    let lists: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let of = |key: &str, folder: PathBuf| -> Vec<PathBuf> {
        lists[key].as_array().unwrap().iter().map(|name| folder.join(name.as_str().unwrap())).collect()
    };
    [of("photos", tests.join("photos")), of("emoji", tests.join("../../../examples/emoji"))].concat()
}

fn matrix(path: &Path) -> Array2<f32> {
    npy::read_f32(path).unwrap().into_dimensionality::<Ix2>().unwrap()
}

fn logits(model: &Model, files: &[PathBuf]) -> Array2<f32> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("logits.npy");
    embed(
        model,
        files,
        &InputChoice::default(),
        "logits",
        EmbedPrecision::Given(FrozenPrecision::Float32),
        &out,
        &Context::default(),
    )
    .unwrap();
    matrix(&out)
}

fn assert_same_logits(model: &Model, expected: &str) {
    let files = files();
    let (found, expected) = (logits(model, &files), matrix(&golden(expected)));
    assert_eq!(found.dim(), expected.dim());
    for ((file, found), expected) in files.iter().zip(found.rows()).zip(expected.rows()) {
        let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap();
        assert!(
            apart <= TOLERANCE * largest,
            "{}: {:.1e} of the largest logit",
            file.display(),
            apart / largest
        );
    }
}

#[test]
fn lite0_gives_the_logits_of_pytorch_and_pillow() {
    assert_same_logits(&load_source(DEFAULT_SOURCE, None).unwrap(), "lite0.npy");
}

#[test]
fn resnet18_gives_the_logits_of_pytorch_and_pillow() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resnet18.safetensors");
    let network = regraft_zoo::architecture("resnet18").unwrap().network(16).unwrap();
    safetensors::write(&file, &hashed_parameters(&network.graph, 1.0)).unwrap();
    assert_same_logits(&load_source(file.to_str().unwrap(), Some("resnet18")).unwrap(), "resnet18.npy");
}

/// What ImageNet calls the thing in the photograph, by the beginning of the file's name.
const KNOWN: [(&str, &[&str]); 5] = [
    ("camera", &["tripod"]),
    ("chelsea", &["tabby", "tiger cat", "Egyptian cat"]),
    ("clock", &["wall clock"]),
    ("coffee", &["espresso", "cup", "coffee mug"]),
    ("rocket", &["missile", "projectile", "space shuttle"]),
];

#[test]
fn photographs_have_their_known_label_in_the_top_five() {
    let model = load_source(DEFAULT_SOURCE, None).unwrap();
    let mut judged = 0;
    predict(&model, &FrozenPrecision::Float32, &files(), 5, None, &Context::default(), &mut |answer| {
        let answer = answer.unwrap();
        let name = Path::new(&answer.path).file_name().unwrap().to_str().unwrap().to_owned();
        if let Some((_, labels)) = KNOWN.iter().find(|(beginning, _)| name.starts_with(beginning)) {
            judged += 1;
            let found = answer.top.iter().any(|scored| labels.contains(&scored.label.as_str()));
            assert!(found, "{name}: {:?}", answer.top);
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(judged, 9, "photographs with a known label");
}
