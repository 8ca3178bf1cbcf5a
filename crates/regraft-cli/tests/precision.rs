//! What a run says of the numbers that it computed in.
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

use support::{Answer, DONE, Place, emoji};

/// Small images and few folds, so that a run takes seconds.
const QUICK_PROBE: &str = "--image-size 64 --curve-repetitions 0 --folds 2 --heads logistic-regression";
/// The same of a training.
const QUICK: &str = "--image-size 64 --curve-repetitions 0 --folds 2 --heads logistic-regression --epochs 1";

/// On a processor without instructions for bf16.
fn without_instructions(place: &Place, line: &str) -> Answer {
    let mut command = place.command(line.split_whitespace());
    Answer::of(&command.env("REGRAFT_INSTRUCTION_SET", "avx2").output().unwrap())
}

#[test]
fn a_training_says_what_was_asked_for_and_what_was_used() {
    let place = Place::new();
    place.two_classes("data", 8);
    let line = format!("fit data --out run {QUICK} --method last-block --precision bf16 --json");
    let metrics = place.run(&line).is(DONE).json();
    let precision = &metrics["precision"];
    assert_eq!([&precision["asked"], &precision["used"]], ["bf16", "f32"]);
    assert!(precision["reason"].as_str().unwrap().contains("for the training alone"), "{precision}");
    assert_eq!(metrics["tuning"]["precision"], "bf16");
    assert_eq!(metrics["tuning"]["precision_reason"], "");
    let log = fs::read_to_string(place.at("run/log.jsonl")).unwrap();
    assert!(log.contains("\"asked\":\"bf16\""), "{log}");
}

#[test]
fn auto_that_ends_with_the_probe_says_what_its_features_are_in() {
    let place = Place::new();
    place.two_classes("data", 8);
    let line =
        format!("fit data --out run {QUICK} --method auto --time-limit 0.0001 --precision bf16 --json");
    let tuning = place.run(&line).is(DONE).json()["tuning"].clone();
    assert_eq!([&tuning["method"], &tuning["precision"]], ["probe", "f32"]);
    assert!(tuning["precision_reason"].as_str().unwrap().contains("bf16 was for trainings"), "{tuning}");
}

#[test]
fn why_auto_trains_in_f32_is_said_once_and_kept() {
    let place = Place::new();
    place.two_classes("data", 8);
    let why = "this processor has no instructions for bf16";
    let answer = without_instructions(
        &place,
        &format!("fit data --out tried {QUICK} --method auto --precision auto --json"),
    );
    assert_eq!(answer.is(DONE).err.matches(why).count(), 1, "{answer:?}");
    let answer = without_instructions(
        &place,
        &format!("fit data --out run {QUICK} --method last-block --precision auto --json"),
    );
    let metrics = answer.is(DONE).json();
    let (precision, tuning) = (&metrics["precision"], &metrics["tuning"]);
    assert_eq!([&precision["asked"], &tuning["precision"]], ["auto", "f32"]);
    assert_eq!(tuning["precision_reason"], why);
    let report = fs::read_to_string(place.at("run/report.html")).unwrap();
    assert!(report.contains("Precision of the training") && report.contains(why));
}

#[test]
fn what_is_slower_in_bf16_is_said() {
    let place = Place::new();
    place.two_classes("data", 6);
    let warning = "warning: this processor has no instructions for bf16";
    for line in ["embed data --out f.npy --image-size 64", &format!("fit data --out run {QUICK_PROBE}")] {
        let answer = without_instructions(&place, &format!("{line} --precision bf16"));
        assert_eq!(answer.is(DONE).err.matches(warning).count(), 1, "{answer:?}");
        let answer = without_instructions(&place, &line.replace("--out ", "--precision f32 --out f32-"));
        assert!(!answer.is(DONE).err.contains(warning), "{answer:?}");
    }
}

#[test]
fn answers_say_what_they_were_computed_in() {
    let place = Place::new();
    place.two_classes("data", 6);
    let line = format!("fit data --out run {QUICK_PROBE} --precision bf16 --json");
    let fitted = without_instructions(&place, &line).is(DONE).json();
    assert_eq!(fitted["instruction_set"], "avx2+fma");
    let image = emoji("food").first().unwrap().display().to_string();
    for line in [format!("predict run {image} --json"), "evaluate run data --json".to_owned()] {
        let answer = without_instructions(&place, &line).is(DONE).json();
        assert_eq!([&answer["precision"], &answer["instruction_set"]], ["bf16", "avx2+fma"]);
    }
}
