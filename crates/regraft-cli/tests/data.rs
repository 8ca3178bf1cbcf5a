//! Data that cannot be used, or not all of it.
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

use support::{DATA, DONE, Place, golden, png, png_promising};

/// `fit` on the folder `data` fails for the reason in `words` and leaves no run.
fn refuses(place: &Place, words: &[&str]) {
    place.run("fit data --out run").fails(DATA, words);
    assert!(!place.at("run").exists());
    place.is_tidy();
}

#[test]
fn a_folder_that_is_not_there() {
    let place = Place::new();
    refuses(&place, &["data", "does not exist", "check the spelling"]);
    for verb in ["check data", "predict efficientnet-lite0 data", "embed data --out f.npy"] {
        place.run(verb).fails(DATA, &["data", "does not exist"]);
    }
}

#[test]
fn folders_without_images() {
    let place = Place::new();
    fs::create_dir_all(place.at("data/animals")).unwrap();
    fs::create_dir_all(place.at("data/food")).unwrap();
    refuses(&place, &["data", "contains no image"]);
    place.write("data/animals/notes.txt", b"nothing to see");
    refuses(&place, &["data", "contains no image"]);
    place.run("predict efficientnet-lite0 data").fails(DATA, &["data", "contains no image"]);
}

#[test]
fn a_single_class() {
    let place = Place::new();
    place.emoji("animals", 0..6, "data/animals");
    refuses(&place, &["single class", "\"animals\"", "two class folders"]);
}

#[test]
fn a_class_with_a_single_image() {
    let place = Place::new();
    place.two_classes("data", 6);
    place.emoji("faces", 0..1, "data/faces");
    refuses(&place, &["faces", "add"]);
    let check = place.run("check data");
    check.is(DATA);
    assert!(check.out.contains("faces"), "{check:?}");
}

/// One file of each kind of damage among good ones.
fn damaged(place: &Place) {
    place.two_classes("data", 6);
    place.write("data/animals/zero.jpg", b"");
    let photograph = fs::read(golden("regraft-data/tests/golden/photographs/chelsea_420_75.jpg")).unwrap();
    place.write("data/animals/truncated.jpg", &photograph[..photograph.len() / 2]);
    place.write("data/food/text.jpg", b"I am not an image\n");
    place.write("data/food/one.png", &png(1, 1, [9, 9, 9]));
    place.write("data/food/vast.png", &png_promising(20_000, 20_000));
}

const DAMAGED: [(&str, &str); 4] = [
    ("zero.jpg", "0 bytes"),
    ("truncated.jpg", "truncated"),
    ("text.jpg", "plain text"),
    ("vast.png", "20000×20000"),
];

#[test]
fn damaged_files_are_named_and_skipped_up_to_a_share() {
    let place = Place::new();
    damaged(&place);
    refuses(&place, &["4 of 17 files cannot be read", "--max-unreadable", "data/animals/truncated.jpg"]);
    let fitted = place.run("fit data --out run --max-unreadable 0.5 --curve-repetitions 0 --json");
    fitted.is(DONE);
    let metrics = fitted.json();
    assert_eq!(metrics["n_train"].as_u64().unwrap() + metrics["n_test"].as_u64().unwrap(), 13);

    let predicted = place.run("predict run data");
    predicted.is(DATA);
    assert_eq!(predicted.out.lines().count(), 13);
    let embedded = place.run("embed data --out f.npy");
    embedded.is(DATA);
    let check = place.run("check data");
    check.is(DONE);
    for (file, reason) in DAMAGED {
        for text in [&predicted.err, &embedded.err] {
            assert!(text.contains(file) && text.contains(reason), "no {file}, {reason} in {text}");
        }
        assert!(fitted.err.contains(file) && check.out.contains(file), "no {file} in {fitted:?} {check:?}");
    }
}

#[test]
fn a_file_that_cannot_be_used_alone() {
    let place = Place::new();
    damaged(&place);
    for (file, reason) in DAMAGED {
        let class = if file == "zero.jpg" || file == "truncated.jpg" { "animals" } else { "food" };
        let path = format!("data/{class}/{file}");
        place.run(&format!("predict efficientnet-lite0 {path}")).fails(DATA, &[&path, reason]);
        place.run(&format!("embed {path} --out f.npy")).fails(DATA, &[&path, reason]);
        assert!(!place.at("f.npy").exists());
    }
    place.run("predict efficientnet-lite0 data/food/one.png").is(DONE);
}

/// The pixels would take 1.2 GB.
#[cfg(target_os = "linux")]
#[test]
fn a_vast_image_is_refused_without_memory_for_it() {
    let place = Place::new();
    let vast = place.write("vast.png", &png_promising(20_000, 20_000));
    let script = "ulimit -v 900000; exec \"$0\" predict -j 2 efficientnet-lite0 \"$1\"";
    let output = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_regraft"), vast.to_str().unwrap()])
        .output()
        .unwrap();
    support::Answer::of(&output).fails(DATA, &["vast.png", "20000×20000", "--max-megapixels"]);
}

#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_or_round() {
    use std::os::unix::fs::symlink;
    let place = Place::new();
    place.two_classes("data", 6);
    symlink("../../data", place.at("data/animals/again")).unwrap();
    symlink("nowhere.jpg", place.at("data/animals/dangling.jpg")).unwrap();
    symlink("itself.jpg", place.at("data/food/itself.jpg")).unwrap();
    fs::create_dir(place.at("data/food/folder.jpg")).unwrap();
    let check = place.run("check data");
    for file in ["animals/again", "animals/dangling.jpg", "food/itself.jpg"] {
        assert!(check.out.contains(file), "no {file} in {check:?}");
    }
    assert!(check.out.starts_with("12 images in 2 classes"), "{check:?}");
    place.run("predict efficientnet-lite0 data/animals/dangling.jpg").fails(DATA, &["dangling.jpg"]);
}

/// Permissions bind everybody but the superuser, for whom the dangling links above stand in.
#[cfg(unix)]
#[test]
fn a_file_without_permission() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    place.two_classes("data", 6);
    let locked = place.at("data/animals").join(support::emoji("animals")[0].file_name().unwrap());
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    let answer = place.run_with(["predict".as_ref(), "efficientnet-lite0".as_ref(), locked.as_os_str()]);
    if fs::read(&locked).is_ok() {
        answer.is(DONE);
    } else {
        answer.fails(DATA, &[locked.to_str().unwrap()]);
    }
}

/// Linux takes any bytes as a name; other systems refuse to create such a file.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    place.two_classes("data", 6);
    let class = place.at("data").join(OsStr::from_bytes(b"caf\xe9"));
    fs::rename(place.at("data/food"), &class).unwrap();
    let first = fs::read_dir(&class).unwrap().next().unwrap().unwrap().path();
    fs::rename(&first, class.join(OsStr::from_bytes(b"\xff.png"))).unwrap();

    let run = OsStr::from_bytes(b"run-\xe9");
    let fit = ["fit", "data", "--curve-repetitions", "0", "--json", "--out"].map(OsStr::new);
    place.run_with(fit.into_iter().chain([run])).is(DONE).json();
    assert!(place.at(run).join("metrics.json").is_file());
    let predict = ["predict", "--json"].map(OsStr::new);
    let predicted = place.run_with(predict.into_iter().chain([run, OsStr::new("data")]));
    assert_eq!(predicted.is(DONE).out.lines().count(), 12);
    place.run_with([OsStr::new("evaluate"), run, OsStr::new("data")]).is(DONE);
    place.run_with([OsStr::new("report"), run]).is(DONE);
    place.run_with([OsStr::new("zoo"), OsStr::new("info"), run]).is(DONE);

    place.run("embed data --out f.npy").is(DONE);
    let list = fs::read(place.at("f.paths.txt")).unwrap();
    assert!(list.windows(11).any(|bytes| bytes == b"caf\xe9/\xff.png\n"), "{list:?}");
    let in_data: Vec<u8> =
        list.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [b"data/", line].concat()).collect();
    assert_eq!(place.run_on("predict efficientnet-lite0 -", &in_data).is(DONE).out.lines().count(), 12);
}

#[test]
fn ten_thousand_classes() {
    let place = Place::new();
    for class in 0..10_000 {
        place.write(format!("data/c{class:05}/a.png"), &support::patchwork(class % 50));
    }
    let check = place.run("check data");
    check.is(DATA);
    assert!(check.out.starts_with("10000 images in 10000 classes"), "{check:?}");
    assert!(check.out.lines().count() < 400, "{} lines", check.out.lines().count());
    assert!(check.out.len() < 40_000, "{} bytes", check.out.len());
}

#[test]
fn images_that_are_all_the_same() {
    let place = Place::new();
    let image = png(16, 16, [200, 30, 30]);
    for number in 0..8 {
        place.write(format!("data/a/{number}.png"), &image);
        place.write(format!("data/b/{number}.png"), &image);
    }
    refuses(&place, &["\"a\"", "duplicates"]);
    let check = place.run("check data");
    check.is(DATA);
    assert!(check.out.contains("conflicting-labels"), "{check:?}");
}

#[test]
fn one_image_under_two_labels() {
    let place = Place::new();
    place.two_classes("data", 8);
    let image = support::emoji("animals")[0].clone();
    fs::copy(&image, place.at("data/food/other.png")).unwrap();
    let check = place.run("check data --json").is(DONE).json();
    let found =
        check["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == "conflicting-labels");
    let files = found.unwrap()["files"].to_string();
    assert!(files.contains("food/other.png"), "{files}");
}

#[test]
fn classes_that_a_run_does_not_know() {
    let place = Place::new();
    place.fitted();
    place.emoji("faces", 0..2, "other/faces");
    place.emoji("food", 0..2, "other/food");
    place.run("evaluate run other").fails(DATA, &["other", "faces", "animals"]);
}
