//! What the tests share: the golden files and what they hold.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::panic, reason = "a test")]

use std::path::{Path, PathBuf};

use ndarray::ArrayD;
use rand::{Rng as _, RngExt as _};
use regraft_engine::Program;
use regraft_graph::{DType, Model, Op, Weights};
use regraft_system::random;
use serde_json::Value;

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn expected(name: &str) -> Value {
    let text = regraft_system::files::read(&golden("expected.json")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()[name].clone()
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

pub(crate) fn shape(value: &Value) -> Vec<usize> {
    numbers(value).into_iter().map(|size| size as usize).collect()
}

/// Names, types, shapes and every value.
pub(crate) fn assert_holds(weights: &Weights, file: &str) {
    let expected = expected(file);
    let expected = expected.as_object().unwrap();
    let mut names: Vec<_> = expected.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(weights.iter().map(|(name, _)| name).collect::<Vec<_>>(), names, "{file}");
    for (name, tensor) in weights.iter() {
        let expected = &expected[name];
        assert_eq!(tensor.dtype().name(), expected["dtype"].as_str().unwrap(), "{file} {name}");
        assert_eq!(tensor.shape(), shape(&expected["shape"]), "{file} {name}");
        let values: Vec<f64> = tensor.to_f32().into_iter().map(f64::from).collect();
        assert_eq!(values, numbers(&expected["values"]), "{file} {name}");
    }
    assert!(weights.iter().all(|(_, tensor)| tensor.dtype() != DType::F64 || tensor.data().len() % 8 == 0));
}

/// What the engine computes of some wires.
pub(crate) fn run(model: &Model, input: &ArrayD<f32>, wires: &[&str]) -> Vec<ArrayD<f32>> {
    let numbers_tokens =
        model.graph().consumers(model.graph().input()).any(|node| matches!(node.op, Op::Embedding(_)));
    let image = match *input.shape() {
        [_, _, height, width] => [height, width],
        [_, tokens, _] => [1, tokens],
        [_, tokens] if numbers_tokens => [1, tokens],
        _ => [1, 1],
    };
    let program = Program::compile(model, image, wires).unwrap_or_else(|error| panic!("{error}"));
    program.run(input.view()).unwrap_or_else(|error| panic!("{error}"))
}

/// The largest difference; none that is a number where a value is none, so that no tolerance is large enough for it.
pub(crate) fn largest_difference<'a>(
    found: impl IntoIterator<Item = &'a f32>,
    expected: impl IntoIterator<Item = &'a f32>,
) -> f32 {
    let pairs = found.into_iter().zip(expected);
    pairs.map(|(found, expected)| (found - expected).abs()).max_by(f32::total_cmp).unwrap()
}

/// `content` under a name in a fresh folder.
#[allow(
    clippy::disallowed_methods,
    reason = "thousands of short-lived files: waiting for the disk each time takes minutes"
)]
pub(crate) fn file(folder: &tempfile::TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// `content` with up to five bytes replaced, and half of the time cut off somewhere.
pub(crate) fn damaged(content: &[u8], round: u64) -> Vec<u8> {
    let mut stream = random::stream(1, "damage", round);
    let mut damaged = content.to_vec();
    for _ in 0..stream.random_range(1..6) {
        let index = stream.random_range(0..damaged.len());
        damaged[index] = stream.next_u32() as u8;
    }
    if stream.random() {
        damaged.truncate(stream.random_range(0..damaged.len()));
    }
    damaged
}

/// A zip archive with one member of that many zeros, a thousandth of their size.
pub(crate) fn bomb(folder: &tempfile::TempDir, member: &str, zeros: usize) -> PathBuf {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
    let block = vec![0; 1 << 20];
    for _ in 0..zeros >> 20 {
        std::io::Write::write_all(&mut archive, &block).unwrap();
    }
    file(folder, "bomb.zip", archive.finish().unwrap().get_ref())
}
