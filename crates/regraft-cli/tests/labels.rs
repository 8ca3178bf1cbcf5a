//! A table of labels in place of class folders, from the command line.
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

use serde_json::Value;
use support::{DATA, DONE, Place, USAGE};

/// Small images and few folds, so that a run takes seconds.
const QUICK: &str = "--image-size 64 --curve-repetitions 0 --folds 2 --heads logistic-regression";

/// `data` with class folders; the same images in `flat`, in the same order; and their table.
fn place() -> (Place, String) {
    let place = Place::new();
    place.two_classes("data", 8);
    fs::create_dir(place.at("flat")).unwrap();
    let mut table = "id,class\n".to_owned();
    for class in ["animals", "food"] {
        for entry in fs::read_dir(place.at("data").join(class)).unwrap() {
            let from = entry.unwrap().path();
            let name = format!("{class}-{}", from.file_name().unwrap().to_str().unwrap());
            fs::copy(&from, place.at("flat").join(&name)).unwrap();
            table += &format!("{},{class}\n", name.trim_end_matches(".png"));
        }
    }
    place.write("labels.csv", table.as_bytes());
    (place, table)
}

/// The metrics without the time, the place, and the findings, which name files.
fn measured(mut metrics: Value) -> Value {
    for key in ["timing", "images_per_second", "peak_rss_mb", "data", "label_file", "findings"] {
        metrics.as_object_mut().unwrap().remove(key);
    }
    metrics
}

#[test]
fn a_table_gives_what_folders_give() {
    let (place, table) = place();
    let folders = place.run(&format!("fit data --out folders {QUICK} --json")).is(DONE).json();
    let labelled =
        place.run(&format!("fit flat --labels labels.csv --out run {QUICK} --json")).is(DONE).json();
    assert_eq!(labelled["label_file"], "labels.csv");
    assert_eq!(measured(labelled), measured(folders));
    let predictions = fs::read_to_string(place.at("run/predictions.csv")).unwrap();
    assert!(predictions.lines().nth(1).unwrap().starts_with("animals-"), "{predictions}");
    assert!(fs::read_to_string(place.at("run/report.html")).unwrap().contains("labels.csv"));

    let repeated = place.run("fit --config run/regraft.toml --out again --json").is(DONE).json();
    assert_eq!(repeated["label_file"], "labels.csv");

    // What the table does not name is left out, and counted.
    let fewer: String = table.lines().take(13).map(|line| format!("{line}\n")).collect();
    place.write("fewer.csv", fewer.as_bytes());
    let evaluation = place.run("evaluate run flat --labels fewer.csv --json").is(DONE).json();
    assert_eq!((evaluation["n"].as_u64(), evaluation["without_row"].as_u64()), (Some(12), Some(4)));
    assert!(
        place.run("evaluate run flat --labels fewer.csv").is(DONE).out.contains("4 images without a row")
    );
    assert!(place.run("check flat --labels fewer.csv").is(DONE).out.contains("[image-without-row]"));

    place.write("other.csv", table.replace("food\n", "foot\n").as_bytes());
    place.run("evaluate run flat --labels other.csv").fails(
        DATA,
        &[
            "other.csv",
            "does not know the classes foot (line 10; did you mean food?)",
            "it knows animals, food",
        ],
    );
}

#[test]
fn a_split_of_the_table_counts() {
    let (place, table) = place();
    let part = |line: usize| if line == 0 { "split" } else { ["train", "train", "valid", "test"][line % 4] };
    let split = table.lines().enumerate().map(|(line, text)| format!("{text},{}\r\n", part(line)));
    place.write("split.csv", format!("\u{feff}{}", split.collect::<String>()).as_bytes());
    let metrics = place.run(&format!("fit flat --labels split.csv --out run {QUICK} --json")).is(DONE).json();
    let sizes = ["n_train", "n_validation", "n_test"].map(|key| metrics[key].as_u64().unwrap());
    assert_eq!(sizes, [8, 4, 4]);
    let evaluation = place.run("evaluate run flat --labels split.csv --json").is(DONE).json();
    assert_eq!(evaluation["n"], 4, "the test part");
    let cut = "cut flat --labels split.csv --label-column class --cuts features --image-size 64 --no-tuning";
    assert!(place.run(cut).is(DONE).out.contains("--labels split.csv --label-column class"));
    let again = "fit --config run/regraft.toml --label-column class --out again --json";
    assert_eq!(place.run(again).is(DONE).json()["test"], metrics["test"], "the table is that of the file");
}

#[test]
fn what_is_wrong_is_said_before_any_image_is_read() {
    let (place, table) = place();
    // Damaged beyond reading: whoever opened it would say so.
    place.write("flat/zz.png", b"");
    let refused = |name: &str, text: &str, words: &[&str]| {
        place.write(name, text.as_bytes());
        for verb in ["fit flat --out run", "cut flat --out run", "check flat"] {
            let answer = place.run(&format!("{verb} --labels {name}"));
            answer.fails(DATA, words);
            assert!(!answer.err.contains("0 bytes"), "{answer:?}");
        }
        place.is_tidy();
    };
    refused("missing.csv", &format!("{table}absent.png,food\n"), &["missing.csv", "absent.png", "(line 18)"]);
    refused("one.csv", "file,label\nzz,food\n", &["one.csv", "line 2", "two classes"]);
    refused("which.csv", "file,a,b\nzz,food,1\n", &["which.csv", "--label-column NAME", "\"a\", \"b\""]);
    let single = format!("{table}zz,other\n");
    place.write("single.csv", single.as_bytes());
    let words = ["single.csv, line 18", "\"other\" has a single image"];
    place.run("fit flat --labels single.csv --out run").fails(DATA, &words);
    assert!(place.run("check flat --labels single.csv").is(DATA).out.contains("other"));
    for verb in ["fit flat --out run", "cut flat --out run", "check flat", "evaluate run flat"] {
        place.run(&format!("{verb} --label-column class")).fails(USAGE, &["label-column", "--labels"]);
    }
    place.run("fit flat --out run").fails(DATA, &["no class folders", "--labels FILE"]);
}
