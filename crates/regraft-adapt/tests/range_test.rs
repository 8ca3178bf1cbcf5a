//! The learning-rate range test against fastai's rules (`oracles/adapt_range_test.py`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use regraft_adapt::training::RangeTest;
use serde_json::Value;

#[test]
fn smoothing_stop_and_suggestion_are_those_of_fastai() {
    let path = format!("{}/tests/golden/range_test.json", env!("CARGO_MANIFEST_DIR"));
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in cases {
        let name = &case["name"];
        let mut test = RangeTest::default();
        for loss in case["losses"].as_array().unwrap() {
            if test.next_rate().is_none() {
                break;
            }
            test.add(loss.as_f64().unwrap());
        }
        let numbers = |key: &str| case[key].as_array().unwrap().iter().map(|number| number.as_f64().unwrap());
        assert_eq!(test.points().len(), numbers("rates").count(), "{name}");
        assert_eq!(test.next_rate(), None, "{name}");
        let expected = numbers("rates").zip(numbers("smoothed"));
        for (found, (rate, loss)) in test.points().iter().zip(expected) {
            assert!((found.learning_rate / rate - 1.0).abs() < 1e-9, "{name}: {found:?} {rate}");
            assert!((found.loss / loss - 1.0).abs() < 1e-9, "{name}: {found:?} {loss}");
        }
        match (test.suggestion(), case["suggestion"].as_f64()) {
            (Some(found), Some(expected)) => {
                assert!((found / expected - 1.0).abs() < 1e-9, "{name}: {found}")
            }
            (found, expected) => assert_eq!(found, expected, "{name}"),
        }
    }
}
