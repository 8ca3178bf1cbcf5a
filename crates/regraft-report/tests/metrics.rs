//! The documented keys of `metrics.json`, and what must not be in it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod sample;

use regraft_report::{RunRecord, metrics_json};
use serde_json::Value;

#[test]
fn the_documented_keys_are_there() {
    let metrics = metrics_json(&sample::nine_classes());
    for key in ["task", "source", "cut", "method", "regraft_version"] {
        assert!(metrics[key].is_string(), "{key}");
    }
    for key in ["n_train", "n_test", "seed"] {
        assert!(metrics[key].is_u64(), "{key}");
    }
    for key in ["images_per_second", "peak_rss_mb"] {
        assert!(metrics[key].is_f64(), "{key}");
    }
    for key in ["decode_s", "features_s", "head_s", "total_s"] {
        assert!(metrics["timing"][key].is_f64(), "{key}");
    }
    assert_eq!(metrics["classes"].as_array().unwrap().len(), 9);
}

#[test]
fn test_metrics_and_baselines_carry_their_intervals() {
    let metrics = metrics_json(&sample::nine_classes());
    let estimate = |value: &Value| ["value", "low", "high"].iter().all(|key| value[key].is_f64());
    for key in ["accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece"] {
        assert!(estimate(&metrics["test"][key]), "{key}");
    }
    for key in ["majority", "pixel_knn", "random_features"] {
        assert!(estimate(&metrics["baselines"][key]["accuracy"]), "{key}");
    }
    assert_eq!(metrics["gains"]["over_best_baseline"]["baseline"], "random_features");
    assert_eq!(metrics["verdict"]["outcome"], "better");
}

#[test]
fn what_was_not_measured_is_null() {
    let metrics = metrics_json(&RunRecord::default());
    assert!(metrics["test"]["accuracy"]["value"].is_null());
    assert!(metrics["baselines"]["majority"].is_null());
    assert!(metrics["gains"]["over_random_features"].is_null());
}

#[test]
fn pictures_and_everything_that_changes_between_equal_runs_stay_out() {
    let mut record = sample::nine_classes();
    let text = metrics_json(&record).to_string();
    assert!(!text.contains("data:image"));
    record.name = "another".to_owned();
    record.run_path = "elsewhere".to_owned();
    record.created = None;
    assert_eq!(metrics_json(&record).to_string(), text);
    record.threads = 1;
    let mut one_thread = metrics_json(&record);
    one_thread["timing"] = Value::Null;
    let mut two_threads = metrics_json(&sample::nine_classes());
    two_threads["timing"] = Value::Null;
    assert_eq!(one_thread, two_threads);
}
