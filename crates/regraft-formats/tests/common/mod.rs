//! What the tests share: the golden files and what they hold.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

use regraft_graph::{DType, Weights};
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

/// `content` under a name in a fresh folder.
pub(crate) fn file(folder: &tempfile::TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    regraft_system::files::write_atomically(&path, content).unwrap();
    path
}
