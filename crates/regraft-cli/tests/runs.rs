//! Runs that are stopped, that meet each other, or that cannot write; and the cache behind them.
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

use serde_json::Value;
use support::{DATA, DONE, OUTPUT, Place, USAGE, files_below};

fn rows_in_cache(place: &Place) -> u64 {
    let stores = place.run("cache list --json").is(DONE).json();
    stores.as_array().unwrap().iter().map(|store| store["rows"].as_u64().unwrap()).sum()
}

fn shards(place: &Place) -> Vec<PathBuf> {
    let files = files_below(&place.at("cache")).into_iter();
    files.filter(|path| path.extension().is_some_and(|end| end == "shard")).collect()
}

/// The metrics without what the clock says.
fn timeless(mut metrics: Value) -> Value {
    for key in ["timing", "images_per_second", "peak_rss_mb", "name", "run"] {
        metrics.as_object_mut().unwrap().remove(key);
    }
    metrics
}

#[test]
fn places_that_a_run_cannot_have() {
    let place = Place::new();
    place.two_classes("data", 6);
    place.write("file", b"mine");
    fs::create_dir(place.at("taken")).unwrap();
    place.run("fit data --out taken").fails(USAGE, &["--out taken", "exists already", "choose another name"]);
    place.run("fit data --out file").fails(USAGE, &["--out file", "exists already"]);
    place.run("fit data --out file/below").fails(OUTPUT, &["file/below", "choose another"]);
    place.run("embed data --out file/f.npy").fails(OUTPUT, &["file/f.npy", "choose another"]);
    place.run("embed data --out taken").fails(OUTPUT, &["taken", "choose another name"]);
    #[cfg(unix)]
    {
        let _socket = std::os::unix::net::UnixListener::bind(place.at("socket.npy")).unwrap();
        let expected = ["socket.npy", "a device", "choose another name"];
        place.run("embed data --out socket.npy").fails(OUTPUT, &expected);
        fs::remove_file(place.at("socket.npy")).unwrap();
    }
    assert_eq!(fs::read(place.at("file")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(place.at("taken")).unwrap().count(), 0);
    place.is_tidy();
}

#[test]
fn embed_does_not_overwrite_what_it_reads() {
    let place = Place::new();
    let image = place.write("image.png", &support::patchwork(1));
    let before = fs::read(&image).unwrap();
    for line in ["embed image.png --out image.png", "embed . --out ./image.png"] {
        place.run(line).fails(USAGE, &["image.png", "one of the inputs"]);
    }
    assert_eq!(fs::read(&image).unwrap(), before);
}

#[test]
fn a_cache_that_cannot_be_written_costs_nothing_but_time() {
    let place = Place::new();
    place.write("cache", b"a file where the folder should be");
    place.two_classes("data", 6);
    let fitted = place.run("fit data --out run --curve-repetitions 0");
    fitted.is(DONE).tells(&["warning", "cache"]);
    assert_eq!(fitted.err.matches("nothing more is kept").count(), 1, "{fitted:?}");
    assert!(place.at("run/metrics.json").is_file());
}

#[test]
fn damaged_shards_are_computed_again() {
    let place = Place::new();
    let first = timeless({
        place.two_classes("data", 6);
        place.run("fit data --out first --curve-repetitions 0 --json").is(DONE).json()
    });
    for (number, shard) in shards(&place).into_iter().enumerate() {
        let mut content = fs::read(&shard).unwrap();
        let middle = content.len() / 2;
        match number % 3 {
            0 => content.truncate(middle),
            1 => content[middle] ^= 1,
            _ => content.clear(),
        }
        fs::write(&shard, content).unwrap();
    }
    place.write("cache/stray", b"not a store");
    place.write("cache/features-stray/store.json", b"{");
    let second = timeless(place.run("fit data --out second --curve-repetitions 0 --json").is(DONE).json());
    assert_eq!(first, second);
    let third = place.run("embed data --out f.npy --json").is(DONE).json();
    assert_eq!(third["from_cache"], 12, "the shards have been written again");
}

#[test]
fn the_cache_is_listed_and_trimmed() {
    let place = Place::new();
    assert!(place.run("cache list").is(DONE).out.contains("0 stores"));
    place.two_classes("data", 2);
    place.run("embed data --out f.npy").is(DONE);
    assert_eq!(rows_in_cache(&place), 4);
    assert!(place.run("cache trim --keep 1GB --json").is(DONE).json().as_array().unwrap().is_empty());
    assert_eq!(place.run("cache trim --keep 0 --json").is(DONE).json().as_array().unwrap().len(), 1);
    assert_eq!(rows_in_cache(&place), 0);
    place.run("embed data --out g.npy --no-cache").is(DONE);
    assert_eq!(rows_in_cache(&place), 0);
}

#[test]
fn two_runs_at_once() {
    let place = Place::new();
    place.two_classes("data", 6);
    let line = "fit data --out run --curve-repetitions 0 --seed";
    let spawn = |seed: &str| {
        let mut command = place.command(line.split(' ').chain([seed]));
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let children = ["1", "2"].map(spawn);
    let answers = children.map(|child| support::Answer::of(&child.wait_with_output().unwrap()));
    // One of them has the name; the other says so and leaves it alone.
    let winner = usize::from(answers[1].code == Some(DONE));
    answers[winner].is(DONE);
    assert!([Some(USAGE), Some(OUTPUT)].contains(&answers[1 - winner].code), "{answers:?}");
    answers[1 - winner].tells(&["run", "choose another name"]);
    let config = fs::read_to_string(place.at("run/regraft.toml")).unwrap();
    assert!(config.contains(&format!("seed = {}", winner + 1)), "{config}");
    place.is_tidy();
    place.run("predict run data").is(DONE);
    let again = place.run("embed data --out f.npy --json").is(DONE).json();
    assert_eq!(again["from_cache"], 12);
}

#[test]
fn a_configuration_repeats_its_run() {
    let place = Place::new();
    for (part, images) in [("train", 0..6), ("val", 6..9), ("test", 9..12)] {
        for class in ["animals", "food"] {
            place.emoji(class, images.clone(), &format!("data/{part}/{class}"));
        }
    }
    let flags = "--seed 18446744073709551615 --folds 3 --heads lda,ridge --max-megapixels 7";
    let first = place.run(&format!("fit data --out first --json {flags}")).is(DONE).json();
    let config = fs::read_to_string(place.at("first/regraft.toml")).unwrap();
    assert!(config.contains("max-megapixels = 7"), "{config}");
    let second = place.run("fit --config first/regraft.toml --json").is(DONE).json();
    assert_eq!(timeless(first), timeless(second));
    assert_eq!(
        fs::read_to_string(place.at("runs/data/regraft.toml")).unwrap(),
        config.replace("out = \"first\"\n", "")
    );
    place.write("own.toml", b"data = \"data\"\nout = \"own\"\ncurve-repetitions = 0\n");
    place.run("fit --config own.toml").is(DONE);
    assert!(place.at("own/metrics.json").is_file());
}

#[test]
fn the_layouts_of_folders() {
    let place = Place::new();
    for class in ["animals", "food"] {
        for (layout, part, images) in [
            ("three", "train", 0..5),
            ("three", "validation", 5..7),
            ("three", "test", 7..10),
            ("two", "train", 0..6),
            ("two", "test", 6..8),
            ("held", "train", 0..6),
            ("held", "valid", 6..9),
        ] {
            place.emoji(class, images, &format!("{layout}/{part}/{class}"));
        }
        place.emoji(class, 0..10, &format!("plain/{class}"));
    }
    for (layout, train, validation, test) in
        [("three", 10, 4, 6), ("two", 12, 0, 4), ("held", 12, 0, 6), ("plain", 16, 0, 4)]
    {
        let metrics = place.run(&format!("fit {layout} --curve-repetitions 0 --json")).is(DONE).json();
        let counts = [&metrics["n_train"], &metrics["n_validation"], &metrics["n_test"]];
        assert_eq!(counts, [train, validation, test].map(Value::from).each_ref(), "{layout}");
        assert!(place.at("runs").join(layout).join("report.html").is_file());
    }
    let evaluation = place.run("evaluate runs/plain three --json").is(DONE).json();
    assert_eq!(evaluation["n"], 6, "the test part is judged");
    place.run("fit plain --curve-repetitions 0").is(DONE);
    assert!(place.at("runs/plain-2/metrics.json").is_file());
}

#[test]
fn many_small_classes_work_or_fail_clearly() {
    let place = Place::new();
    for class in 0..40 {
        for (part, number) in [("train", 0), ("train", 1), ("test", 2)] {
            let image = support::patchwork(class * 3 + number);
            place.write(format!("data/{part}/c{class:02}/{number}.png"), &image);
        }
        place.write(format!("pairs/c{class:02}/0.png"), &support::patchwork(class * 3));
        place.write(format!("pairs/c{class:02}/1.png"), &support::patchwork(class * 3 + 1));
    }
    let source = "--cut _blocks.0._bn2 --curve-repetitions 0";
    let fitted = place.run(&format!("fit data --out run --json {source}")).is(DONE).json();
    assert_eq!(fitted["classes"].as_array().unwrap().len(), 40);
    let pairs = place.run(&format!("fit pairs --out other {source}"));
    if pairs.code != Some(DONE) {
        pairs.fails(DATA, &["class", "add"]);
        assert!(!place.at("other").exists());
    }
    place.is_tidy();
}

#[cfg(unix)]
mod signals {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;
    use support::{Answer, INTERRUPTED};

    const IMAGES: usize = 40;

    /// `embed` of enough images that the first rows are in the cache long before the last are computed.
    fn embedding(place: &Place) -> Child {
        for category in ["animals", "food"] {
            place.emoji(category, 0..IMAGES, &format!("data/{category}"));
        }
        let mut command = place.command("fit data --out run -j 1".split(' '));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn send(signal: &str, child: &Child) {
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the run has come so far that features are being computed.
    fn wait_for_work(place: &Place, child: &mut Child) {
        let since = Instant::now();
        let begun = || {
            files_below(&place.at("."))
                .iter()
                .any(|path| path.to_string_lossy().contains(".regraft-unfinished-"))
        };
        while !begun() {
            assert!(child.try_wait().unwrap().is_none(), "ended too early");
            assert!(since.elapsed() < Duration::from_secs(60), "never began");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(300));
    }

    #[test]
    fn an_interrupted_run_goes_on_from_the_cache() {
        for signal in ["-INT", "-TERM"] {
            let place = Place::new();
            let mut child = embedding(&place);
            wait_for_work(&place, &mut child);
            send(signal, &child);
            let answer = Answer::of(&child.wait_with_output().unwrap());
            answer.fails(INTERRUPTED, &["interrupted", "the same command goes on"]);
            assert!(!place.at("run").exists());
            place.is_tidy();
            let kept = rows_in_cache(&place);
            assert!(kept > 0, "nothing was kept");
            let again = place.run("embed data --out f.npy --json").is(DONE).json();
            let reused = again["from_cache"].as_u64().unwrap();
            assert!(reused > 0 && reused < 2 * IMAGES as u64, "{reused} rows came from the cache");
        }
    }

    #[test]
    fn a_killed_run_leaves_a_valid_cache_and_no_run() {
        let place = Place::new();
        let mut child = embedding(&place);
        wait_for_work(&place, &mut child);
        send("-KILL", &child);
        assert_eq!(child.wait_with_output().unwrap().status.code(), None);
        assert!(!place.at("run").exists());
        place.run("cache list").is(DONE);
        place.run("fit data --out run --curve-repetitions 0").is(DONE);
        place.run("predict run data/food").is(DONE);
    }
}

#[test]
fn precisions_are_checked_and_said() {
    let place = Place::new();
    place.two_classes("data", 6);
    place.run("fit data --precision f16").fails(USAGE, &["f16", "f32, bf16, int8, auto"]);
    place.run("embed data --out f.npy --precision auto").fails(USAGE, &["labels", "f32, bf16 or int8"]);
    place.run("embed data --out f.npy --channels red").fails(USAGE, &["auto, rgb, grey, native"]);
    place.run("embed data --out f.npy --extra-channels one").fails(USAGE, &["repeat, zero, mean"]);
    place.run("embed data --out f.npy --image-size 0").fails(USAGE, &["image-size: 0 is not from 1"]);
    place
        .run("embed data --out f.npy --image-size 9999")
        .fails(USAGE, &["image-size: 9999 is not from 1 to 4096"]);
    for precision in ["bf16", "int8"] {
        let line = format!("embed data --out {precision}.npy --precision {precision} --json");
        assert_eq!(place.run(&line).is(DONE).json()["precision"], precision);
    }
    let line = "fit data --out run --precision int8 --curve-repetitions 0 --json";
    let metrics = place.run(line).is(DONE).json();
    assert_eq!(metrics["precision"]["used"], "int8");
    let report = fs::read_to_string(place.at("run/report.html")).unwrap();
    assert!(report.contains("int8 (calibrated on"));
    assert!(place.run("evaluate run data").is(DONE).out.contains("accuracy"));
    let repeated = place.run("fit --config run/regraft.toml --out again --json").is(DONE).json();
    assert_eq!(repeated["test"], metrics["test"]);
}
