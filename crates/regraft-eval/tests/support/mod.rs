//! Golden files and simulated predictions.
#![allow(dead_code, reason = "each test file uses its part")]

use ndarray::Array2;
use rand::RngExt as _;
use regraft_eval::calibration::softmax_with_temperature;
use serde_json::Value;

pub(crate) fn array(rows: &Value) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = serde_json::from_value(rows.clone()).unwrap();
    let columns = rows[0].len();
    Array2::from_shape_vec((rows.len(), columns), rows.concat()).unwrap()
}

pub(crate) fn list<T: serde::de::DeserializeOwned>(values: &Value) -> Vec<T> {
    serde_json::from_value(values.clone()).unwrap()
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[track_caller]
pub(crate) fn assert_close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance, "{what}: found {found:e}, expected {expected:e}");
}

/// Labels that are right to believe: each is drawn from the returned probabilities.
pub(crate) fn calibrated(items: usize, classes: usize, scale: f64, seed: u64) -> (Vec<usize>, Array2<f64>) {
    let mut stream = regraft_system::random::stream(seed, "test predictions", 0);
    let logits = Array2::from_shape_simple_fn((items, classes), || scale * stream.random::<f64>());
    let probabilities = softmax_with_temperature(logits.view(), 1.0).unwrap();
    let labels =
        probabilities.rows().into_iter().map(|row| draw(row.as_slice().unwrap(), stream.random())).collect();
    (labels, probabilities)
}

fn draw(probabilities: &[f64], mut uniform: f64) -> usize {
    for (class, probability) in probabilities.iter().enumerate() {
        uniform -= probability;
        if uniform < 0.0 {
            return class;
        }
    }
    probabilities.len() - 1
}

/// `f` with a pool of `threads` threads.
pub(crate) fn with_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}
