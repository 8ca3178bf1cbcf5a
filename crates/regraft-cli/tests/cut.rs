//! `regraft cut` from the command line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use support::{DONE, Place, USAGE};

/// Small images and few folds, so that a run takes seconds.
const QUICK: &str = "--image-size 64 --folds 2 --no-tuning";

#[test]
fn the_answer_is_a_table_or_json_and_a_folder() {
    let place = Place::new();
    place.two_classes("data", 6);
    let answer = place.run(&format!("cut data {QUICK} --cuts _blocks.4.add,features"));
    answer.is(DONE);
    for words in [
        "_blocks.4.add",
        "flatten",
        "chosen",
        "default",
        "--image-size 64 --folds 2",
        "Report   runs/data-cut/report.html",
    ] {
        assert!(answer.out.contains(words), "'{words}' in {}", answer.out);
    }
    assert!(place.at("runs/data-cut/cut.csv").is_file() && !place.at("runs/data-cut.unfinished").exists());
    // The next run has a name of its own, and takes the features from the cache.
    let answer = place.run(&format!("cut data {QUICK} --cuts _blocks.4.add,features --json --quiet"));
    answer.is(DONE);
    let record: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(record["cuts"].as_array().unwrap().len(), 2);
    assert!(answer.err.is_empty(), "{answer:?}");
    assert!(place.at("runs/data-cut-2/report.html").is_file());
    assert!(record["created"].as_str().unwrap().ends_with('Z'), "{record}");
    let settings = fs::read_to_string(place.at("runs/data-cut-2/regraft.toml")).unwrap();
    for line in ["cuts = [", "\"_blocks.4.add\",", "tunes = false", "image-size = 64"] {
        assert!(settings.contains(line), "'{line}' in {settings}");
    }
    place.is_tidy();
}

#[test]
fn one_cut_alone_is_not_chosen() {
    let place = Place::new();
    place.two_classes("data", 6);
    let answer = place.run(&format!("cut data {QUICK} --cuts features"));
    assert!(answer.is(DONE).out.starts_with("Nothing was chosen: flatten"), "{answer:?}");
    assert!(!answer.out.contains("best") && !answer.out.contains("rule"), "{answer:?}");
}

#[test]
fn what_cannot_be_done_is_said_before_any_work() {
    let place = Place::new();
    place.two_classes("data", 6);
    let refused = |flags: &str, words: &[&str]| {
        let answer = place.run(&format!("cut data --out run {flags}"));
        answer.fails(USAGE, words);
        assert!(!answer.err.contains("reading images"), "{answer:?}");
        assert_eq!(fs::read_dir(place.at(".")).unwrap().count(), 1, "{flags}: something was left behind");
    };
    refused("--cuts _blocks.4.ad", &["_blocks.4.ad", "_blocks.4.add"]);
    refused("--heads best", &["known are", "logistic-regression"]);
    refused("--epochs 0", &["epochs: 0"]);
    refused("--protocol other", &["yosinski"]);
    refused("--protocol yosinski", &["two tasks", "there are 2"]);
    refused("--repetitions 3", &["--protocol"]);
    refused("--learning-rate 0", &["learning-rate"]);
    refused("--no-tuning --epochs 5", &["--epochs:", "no effect", "--no-tuning"]);
    refused("--no-tuning --protocol yosinski", &["--no-tuning"]);
}

/// Runs a command until it has noted the time of a checkpoint of the run; returns where.
fn killed(place: &Place, line: &str, run: &str) -> PathBuf {
    let mut child = place.command(line.split_whitespace()).spawn().unwrap();
    let spent = place.at(format!("{run}.unfinished/seconds"));
    while !spent.is_file() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    spent
}

#[test]
fn a_fit_in_the_place_of_a_comparison_without_checkpoints_is_its_own() {
    let place = Place::new();
    place.two_classes("data", 6);
    place.write("taken.unfinished/command", b"cut");
    let line = "fit data --image-size 64 --folds 2 --method lp-ft --epochs 8 --out taken";
    killed(&place, line, "taken");
    place.run("fit --resume taken").is(DONE);
}

#[test]
fn a_comparison_that_was_killed_goes_on_and_says_the_time_of_all_parts() {
    let place = Place::new();
    place.two_classes("data", 6);
    let line =
        "cut data --image-size 64 --folds 2 --cuts _blocks.4.add,features --epochs 8 --out runs/killed";
    let spent = killed(&place, line, "runs/killed");
    let answer = place.run("fit --resume runs/killed");
    assert!(answer.is(USAGE).err.contains("`regraft cut`"), "{answer:?}");
    // As if it had taken long.
    fs::write(&spent, "1000").unwrap();
    let record = place.run(&format!("{line} --json")).is(DONE).json();
    assert!(record["seconds"].as_f64().unwrap() > 1000.0, "{record}");
    assert!(!place.at("runs/killed.unfinished").exists());
}
