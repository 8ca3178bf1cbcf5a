//! The same seed gives the same numbers, whatever the number of threads and whatever the cache knows; the saved model
//! gives them again anywhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use std::path::{Path, PathBuf};

use regraft::{
    Cache, Context, FitConfig, Fitted, FrozenPrecision, PrecisionChoice, fit, load_source, metrics_json,
    predict, with_threads,
};
use serde_json::Value;
use support::CLASSES;
use tempfile::TempDir;

const IMAGES_PER_CLASS: usize = 14;

fn place() -> TempDir {
    support::place(IMAGES_PER_CLASS)
}

fn run(place: &TempDir, name: &str, cache: &str, seed: u64, threads: usize) -> Fitted {
    let out = Some(place.path().join(name));
    let config = FitConfig {
        data: place.path().join("data"),
        out,
        seed,
        curve_repetitions: 2,
        ..FitConfig::default()
    };
    with_threads(threads, || {
        let context = Context { cache: Cache::at(place.path().join(cache)), ..Context::default() };
        fit(&config, &context)
    })
    .unwrap()
}

/// The metrics without what depends on the machine and the moment.
fn numbers(fitted: &Fitted) -> Value {
    let mut metrics = metrics_json(&fitted.record);
    let fields = metrics.as_object_mut().unwrap();
    for field in ["timing", "images_per_second", "peak_rss_mb"] {
        assert!(fields.remove(field).is_some(), "{field}");
    }
    metrics
}

fn text(fitted: &Fitted, file: &str) -> String {
    std::fs::read_to_string(fitted.folder.join(file)).unwrap()
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let place = place();
    let (one, two) = (run(&place, "one", "cache-1", 0, 1), run(&place, "two", "cache-2", 0, 2));
    assert_eq!(numbers(&one), numbers(&two));
    for file in ["predictions.csv", "split.csv", "model/graph.json", "model/config.json"] {
        assert_eq!(text(&one, file), text(&two, file), "{file}");
    }
    let weights = |fitted: &Fitted| {
        regraft_system::files::read(&fitted.folder.join("model/model.safetensors")).unwrap()
    };
    assert!(weights(&one) == weights(&two), "the saved weights differ");
}

#[test]
fn another_seed_gives_another_split() {
    let place = place();
    let (first, second) = (run(&place, "first", "cache", 1, 2), run(&place, "second", "cache", 2, 2));
    assert_ne!(text(&first, "split.csv"), text(&second, "split.csv"));
    assert_ne!(text(&first, "predictions.csv"), text(&second, "predictions.csv"));
    assert_ne!(numbers(&first), numbers(&second));
}

#[test]
fn a_second_run_computes_no_features_and_gives_the_same_numbers() {
    let place = place();
    let (first, second) = (run(&place, "first", "cache", 0, 2), run(&place, "second", "cache", 0, 2));
    let speed = |fitted: &Fitted| metrics_json(&fitted.record)["images_per_second"].clone();
    assert!(speed(&first).is_f64());
    assert!(speed(&second).is_null(), "{}", speed(&second));
    let timing = &second.record.timing;
    assert!(timing.features_s < 0.5 * first.record.timing.features_s, "{timing:?}");
    assert_eq!(numbers(&first), numbers(&second));
    assert_eq!(text(&first, "predictions.csv"), text(&second, "predictions.csv"));
}

/// Path below the data folder, predicted class, one probability a class.
fn table(fitted: &Fitted) -> Vec<(String, String, Vec<f64>)> {
    let mut reader = csv::Reader::from_path(fitted.folder.join("predictions.csv")).unwrap();
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        let probabilities = row.iter().skip(3).map(|field| field.parse().unwrap()).collect();
        (row[0].to_owned(), row[2].to_owned(), probabilities)
    });
    rows.collect()
}

#[test]
fn the_saved_model_predicts_the_same_wherever_it_lies() {
    let (place, elsewhere) = (place(), tempfile::tempdir().unwrap());
    let fitted = run(&place, "run", "cache", 0, 2);
    let expected = table(&fitted);
    let moved = elsewhere.path().join("model");
    copy(&fitted.folder.join("model"), &moved);
    std::fs::remove_dir_all(&fitted.folder).unwrap();
    predicts(&moved, &place, &expected);
}

#[test]
fn a_run_predicts_in_the_precision_that_its_head_was_fitted_to() {
    let place = place();
    for precision in [PrecisionChoice::BFloat16, PrecisionChoice::Int8, PrecisionChoice::Auto] {
        let out = place.path().join(precision.name());
        let data = place.path().join("data");
        let config =
            FitConfig { data, out: Some(out), precision, curve_repetitions: 0, ..FitConfig::default() };
        let fitted = fit(&config, &Context::default()).unwrap();
        let record = &fitted.record.precision;
        assert_eq!(record.asked, precision.name());
        assert_eq!(record.used, FrozenPrecision::of_source(&fitted.folder).unwrap().name());
        if precision == PrecisionChoice::Auto {
            let chosen: Vec<_> = record.candidates.iter().filter(|candidate| candidate.chosen).collect();
            assert_eq!(chosen.len(), 1);
            assert_eq!(chosen[0].precision, record.used);
            assert!(!record.reason.is_empty());
        } else {
            assert_eq!(record.used, precision.name());
        }
        predicts(&fitted.folder, &place, &table(&fitted));
    }
}

/// Whether a model says the same about the test images as the run that made it.
fn predicts(model: &Path, place: &TempDir, expected: &[(String, String, Vec<f64>)]) {
    let precision = FrozenPrecision::of_source(model).unwrap();
    let model = load_source(model.to_str().unwrap(), None).unwrap();
    let paths: Vec<PathBuf> =
        expected.iter().map(|(path, ..)| place.path().join("data").join(path)).collect();
    let mut answers = Vec::new();
    predict(&model, &precision, &paths, CLASSES.len(), None, &Context::default(), &mut |answer| {
        answers.push(answer.unwrap());
        Ok(())
    })
    .unwrap();
    assert_eq!(answers.len(), expected.len());
    for ((path, label, probabilities), answer) in expected.iter().zip(answers) {
        assert_eq!(&answer.label, label, "{path}");
        for scored in &answer.top {
            let class = CLASSES.iter().position(|class| *class == scored.label).unwrap();
            let apart = (scored.probability - probabilities[class]).abs();
            assert!(apart < 1e-4, "{path}: {} differs by {apart:.1e}", scored.label);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
