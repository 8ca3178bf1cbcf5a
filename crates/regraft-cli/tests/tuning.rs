//! Tuning from the command line: what cannot be done is said before any work, and what was killed goes on.
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

use support::{Answer, DATA, DONE, Place, USAGE, files_below};

/// Small images and few folds, so that a run takes seconds.
const QUICK: &str = "--image-size 64 --curve-repetitions 0 --folds 2 --heads logistic-regression";

#[test]
fn what_cannot_be_done_is_said_before_any_work() {
    let place = Place::new();
    place.two_classes("data", 6);
    let refused = |flags: &str, words: &[&str]| {
        let answer = place.run(&format!("fit data --out run {QUICK} {flags}"));
        answer.fails(USAGE, words);
        assert!(!answer.err.contains("reading images"), "{answer:?}");
        assert_eq!(fs::read_dir(place.at(".")).unwrap().count(), 1, "{flags}: something was left behind");
    };
    for rate in ["0", "-0.1", "NaN", "inf"] {
        refused(&format!("--method lp-ft --learning-rate {rate}"), &["learning-rate", "a number above 0"]);
    }
    refused("--method lp-ft --batch-size 100", &["batch-size: 100", "training images"]);
    refused("--method lp-ft --accumulate 0", &["accumulate: 0"]);
    refused(
        "--method lp-ft --batch-size 4 --accumulate 3",
        &["accumulate: 3 batches of 4", "training images"],
    );
    refused("--method lp-ft --swa 1", &["swa: 1", "above 0 and below 1"]);
    refused("--method lp-ft --swa 0.5 --ema 0.9", &["swa", "ema"]);
    refused("--method lp-ft --soup 1", &["soup: 1", "from 2 to 100"]);
    refused("--method auto --soup 3", &["soup", "auto"]);
    refused("--method lp-ft --learning-rate seek", &["'seek'", "neither a number nor 'find'"]);
    refused("--method lp-ft --epochs 0 --source-rate-factor 3", &["epochs: 0", "source-rate-factor: 3"]);
    refused("--method partial", &["partial", "--cut"]);
    refused("--method partial --cut _blocks.13.ad", &["_blocks.13.ad", "_blocks.13.add"]);
    refused("--method lora --rank 5000", &["--rank", "5000", "smaller side"]);
    refused("--method last-block --precision int8", &["precision: int8", "f32 or bf16"]);
    refused("--method lp-ft --mixup -1", &["mixup"]);
    refused("--method partial --cut logits", &["cut _fc", "new head"]);
    refused("--method l2-sp --source-pull -1", &["source-pull: -1", "at least 0"]);
    refused("--method lp-ft --layer-decay 0", &["layer-decay: 0", "above 0"]);
    refused("--method lora --alpha inf", &["alpha: inf"]);
    refused("--method gradual --epochs 1", &["gradual", "at least 2"]);
    refused("--method lp-ft --norm-statistics batch --batch-size 1", &["norm-statistics", "batch-size"]);
    refused("--method auto --time-limit 0", &["time-limit: 0", "above 0"]);
    refused("--method lp-ft --time-limit 5", &["time-limit", "auto"]);
    refused("--method lp-ft --regularization 1", &["regularization", "bss"]);
    refused("--method bss --batch-size 1", &["batch-size", "at least 2"]);
    refused("--epochs 5 --mixup 0.2", &["--epochs, --mixup:", "--method", "probe"]);
    refused("--augmentation flip", &["--augmentation:", "--method", "probe"]);
    refused("--tta 101", &["tta: 101", "0 to 100"]);
    refused("--tta 2 --augmentation none", &["tta", "augmentation is none"]);
    refused("--method tune", &["known are", "lp-ft", "auto"]);
    refused("--method lp-ft --augmentation much", &["known are", "standard"]);
}

#[test]
fn every_method_runs() {
    let place = Place::new();
    place.two_classes("data", 8);
    let methods = [
        "bn-affine --norm-statistics batch",
        "bias --learning-rate find --soup 2",
        "last-block --optimizer lamb --batch-size 2 --accumulate 3",
        "gradual --swa 0.5 --norm-statistics batch",
        "l2-sp --wise-ft --recompute",
        "surgical",
        "lora --rank 2",
        "lora --rank 2 --precision auto",
        "full",
        "full --precision bf16",
        "auto",
        "auto --time-limit 0.0001",
    ];
    for (number, method) in methods.iter().enumerate() {
        let line = format!(
            "fit data --out run{number} {QUICK} --epochs 2 --augmentation strong --mixup 0.2 --method {method}"
        );
        let answer = place.run(&format!("{line} --json"));
        let tuning = &answer.is(DONE).json()["tuning"];
        assert!(tuning["probe"].is_object() || method == &"auto", "{tuning}");
        assert!(tuning["precision"] == "bf16" || !method.contains("bf16"), "{tuning}");
        assert!(place.at(format!("run{number}/training.csv")).is_file());
        assert!(!place.at(format!("run{number}.unfinished")).exists());
    }
    place.is_tidy();
}

#[test]
fn a_run_that_was_killed_goes_on_to_the_same_weights() {
    let place = Place::new();
    place.two_classes("data", 10);
    let line =
        |out: &str| format!("fit data --out {out} {QUICK} --epochs 3 --method lp-ft --augmentation standard");
    let set = place.run(&(line("whole") + " --json")).is(DONE).json()["instruction_set"].clone();
    let line = line("killed");
    let mut child = place.command(line.split_whitespace()).spawn().unwrap();
    // As soon as there is a checkpoint.
    let checkpoints = place.at("killed.unfinished/checkpoints");
    let is_whole = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
    while !files_below(&checkpoints).iter().any(is_whole) && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    if !place.at("killed").exists() {
        place
            .run(&format!("{line} --learning-rate 0.1"))
            .fails(USAGE, &["learning-rate", "0.1", "another --out"]);
        place.run("fit --resume killed --seed 5").fails(USAGE, &["seed: 5, was 0"]);
        let other = if set == "avx2+fma" { "portable" } else { "avx2" };
        let mut elsewhere = place.command(["fit", "--resume", "killed"]);
        let answer = Answer::of(&elsewhere.env("REGRAFT_INSTRUCTION_SET", other).output().unwrap());
        answer.fails(DATA, &[set.as_str().unwrap(), other, "REGRAFT_INSTRUCTION_SET"]);
        // As if it had taken longer.
        fs::write(place.at("killed.unfinished/seconds"), "1000").unwrap();
        let answer = place.run("fit --resume killed --json");
        let timing = &answer.is(DONE).tells(&["going on"]).json()["timing"];
        assert!(timing["tuning_s"].as_f64() > Some(1000.0) && timing["total_s"].as_f64() > Some(1000.0));
    }
    let weights = |run: &str| fs::read(place.at(run).join("model/model.safetensors")).unwrap();
    assert!(weights("whole") == weights("killed"), "the weights differ");
    assert!(!place.at("killed.unfinished").exists());
    place.run("fit --resume killed").fails(USAGE, &["killed", "has ended"]);
}
