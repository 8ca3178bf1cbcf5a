//! Flags, standard input, standard output.
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
use support::{DATA, DONE, OUTPUT, Place, USAGE, npy, patchwork};

#[test]
fn values_that_flags_cannot_have() {
    let place = Place::new();
    place.two_classes("data", 2);
    for (flag, values) in [
        ("threads", &["0", "-1", "1025", "1.5", "many"][..]),
        ("seed", &["-1", "1e3", "18446744073709551616", "x"]),
        ("test-fraction", &["0", "1", "0.6", "-0.5", "nan", "inf", "x"]),
        ("folds", &["0", "1", "1001", "-3", "1000000000000"]),
        ("curve-repetitions", &["-1", "1001", "1000000000000"]),
        ("max-unreadable", &["-0.1", "1.5", "nan", "x"]),
        ("max-megapixels", &["0", "-1", "100001", "99999999999999999999"]),
        ("heads", &["tree", ",", "lda,tree"]),
    ] {
        for value in values {
            place.run(&format!("fit data --out run --{flag} {value}")).fails(USAGE, &[flag]);
        }
    }
    for line in [
        "predict efficientnet-lite0 data -k 0",
        "predict efficientnet-lite0 data --top 65536",
        "predict efficientnet-lite0",
        "check data --folds 1",
        "evaluate run data --seed x",
        "cache trim",
        "cache trim --keep 5XB",
        "cache trim --keep -5",
        "fit data --cache there --no-cache",
        "fit",
        "embed data",
        "nonsense",
    ] {
        place.run(line).fails(USAGE, &[]);
    }
    assert!(!place.at("run").exists());
}

#[test]
fn configurations_that_cannot_be_used() {
    let place = Place::new();
    for (text, words) in [
        ("sead = 1", &["own.toml", "sead", "line 1"][..]),
        ("folds = -1", &["own.toml", "-1", "line 1"]),
        ("heads = [\"tree\"]", &["own.toml", "tree"]),
        ("heads = []", &["heads", "data"]),
        (
            "data = \"d\"\nfolds = 0\ntest-fraction = 9.0\nmax-megapixels = 0",
            &["folds", "test-fraction", "max-megapixels"],
        ),
        ("data = ", &["own.toml", "line 1"]),
        ("[tuning]\nprecision = \"bf16\"", &["own.toml", "line 2", "above [tuning]"]),
    ] {
        place.write("own.toml", text.as_bytes());
        place.run("fit --config own.toml").fails(USAGE, words);
    }
    place.run("fit --config missing.toml").fails(USAGE, &["missing.toml"]);
    place.write("own.toml", b"\xff\xfe");
    place.run("fit --config own.toml").fails(USAGE, &["own.toml", "UTF-8"]);
}

#[test]
fn json_is_all_that_standard_output_holds() {
    let place = Place::new();
    place.two_classes("data", 6);
    place.write("data/food/broken.png", b"");
    let object = |line: &str, code: i32, keys: &[&str]| {
        let value = place.run(line).is(code).json();
        for key in keys {
            assert!(value.get(key).is_some(), "{line}: no {key} in {value}");
        }
    };
    let metrics = [
        "task",
        "classes",
        "n_train",
        "n_test",
        "source",
        "cut",
        "method",
        "test",
        "baselines",
        "timing",
        "seed",
    ];
    object("fit data --out run --curve-repetitions 0 --json", DONE, &metrics);
    object("evaluate run data --json", DATA, &["n", "metrics", "confusion", "unusable"]);
    object("check data --json", DONE, &["images", "classes", "findings"]);
    object("embed data --out f.npy --json", DATA, &["images", "dim", "seconds", "images_per_second"]);
    object("zoo info efficientnet-lite0 --json", DONE, &["card", "parameters", "macs"]);
    object("report run --json", DONE, &["report"]);
    for line in ["zoo list --json", "cache list --json", "cache trim --keep 1TB --json"] {
        assert!(place.run(line).is(DONE).json().is_array(), "{line}");
    }
    let predicted = place.run("predict run data --json");
    let lines: Vec<Value> =
        predicted.is(DATA).out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 12);
    for line in lines {
        let top = line["top"].as_array().unwrap();
        let total: f64 = top.iter().map(|entry| entry["probability"].as_f64().unwrap()).sum();
        assert!((total - 1.0).abs() < 1e-6 && line["label"] == top[0]["label"], "{line}");
    }
    let quiet = place.run("fit data --out quiet --curve-repetitions 0 --quiet");
    assert_eq!(quiet.is(DONE).err, "");
}

#[test]
fn predict_reads_standard_input() {
    let place = Place::new();
    place.two_classes("data", 2);
    let image = patchwork(1);
    let line = "predict efficientnet-lite0 -";
    let one = place.run_on(line, &image);
    assert!(one.is(DONE).out.starts_with("-\t"), "{one:?}");
    place.write("my image.png", &image);
    for list in ["my image.png\ndata\n", "\u{feff}my image.png\r\n\r\ndata\r\n", "my image.png\ndata"] {
        assert_eq!(place.run_on(line, list.as_bytes()).is(DONE).out.lines().count(), 5, "{list:?}");
    }
    place.run_on(line, b"").fails(DATA, &["standard input is empty"]);
    place.run_on(line, b"\0\x01\x02\x03").fails(DATA, &["standard input", "neither an image nor a list"]);
    place.run_on(line, b"nowhere.png\n").fails(DATA, &["nowhere.png", "does not exist"]);
    place.run_on(line, &image[..image.len() / 2]).fails(DATA, &["truncated"]);
    place.run_on("embed - --out f.npy", &image).is(DONE);
    assert_eq!(fs::read(place.at("f.paths.txt")).unwrap(), b"-\n");
}

#[test]
fn embed_takes_arrays() {
    let place = Place::new();
    let zeros = vec![0; 2 * 3 * 32 * 32 * 4];
    place.write("good.npy", &npy("<f4", "2, 3, 32, 32", &zeros));
    let embedded = place.run("embed good.npy --out f.npy --json").is(DONE).json();
    assert_eq!((&embedded["images"], &embedded["dim"]), (&Value::from(2), &Value::from(1280)));
    assert_eq!(fs::read(place.at("f.paths.txt")).unwrap(), b"0\n1\n");
    for (kind, shape, bytes, words) in [
        ("<f4", "2, 3", 24, &["N×C×H×W", "[2, 3]"][..]),
        ("<f4", "0, 3, 8, 8", 0, &["N×C×H×W"]),
        ("<f4", "2, 3, 8, 8", 100, &["incomplete"]),
        ("<f4", "4294967296, 3, 4294967296, 9", 100, &["incomplete"]),
        ("<f4", "1, 8, 8, 3", 768, &["8 channels", "takes 3", "--channels native"]),
        ("|O", "2, 3, 8, 8", 1536, &["float32"]),
        ("<i8", "2, 3, 8, 8", 3072, &["float32"]),
    ] {
        place.write("bad.npy", &npy(kind, shape, &vec![0; bytes]));
        let words = [&["bad.npy"], words].concat();
        place.run("embed bad.npy --out g.npy").fails(DATA, &words);
        assert!(!place.at("g.npy").exists());
    }
    for flag in ["--image-size 96", "--stem small", "--channels grey", "--channels rgb"] {
        place.run(&format!("embed good.npy --out g.npy {flag}")).fails(USAGE, &["good.npy", "--image-size"]);
    }
    place.run("embed missing.npy --out g.npy").fails(DATA, &["missing.npy"]);
    place.run("embed good.npy good.npy --out g.npy").fails(USAGE, &["good.npy", "alone"]);
    place.run("embed good.npy --out good.npy").fails(USAGE, &["good.npy", "one of the inputs"]);
    place.run("predict efficientnet-lite0 good.npy").fails(DATA, &["good.npy"]);
}

#[test]
fn rows_are_in_bytewise_order_of_the_relative_path() {
    let place = Place::new();
    let names = ["B/2.png", "a-x.png", "a/Z.PNG", "a/z.png", "b/1.png", "é.png"];
    for (seed, name) in names.iter().enumerate() {
        place.write(format!("data/{name}"), &patchwork(seed as u32));
    }
    place.run("embed data --out all.npy").is(DONE);
    let list = fs::read_to_string(place.at("all.paths.txt")).unwrap();
    assert_eq!(list.lines().collect::<Vec<_>>(), names);
    place.run("embed data/b data/a --out two.npy").is(DONE);
    let list = fs::read_to_string(place.at("two.paths.txt")).unwrap();
    assert_eq!(list.lines().collect::<Vec<_>>(), ["data/b/1.png", "data/a/Z.PNG", "data/a/z.png"]);
    let all = fs::read(place.at("all.npy")).unwrap();
    let row = 1280 * 4;
    for (index, name) in names.iter().enumerate() {
        place.run_with(["embed", &format!("data/{name}"), "--out", "one.npy"]).is(DONE);
        let one = fs::read(place.at("one.npy")).unwrap();
        assert_eq!(one[one.len() - row..], all[all.len() - (names.len() - index) * row..][..row], "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing() {
    use std::process::{Command, Stdio};
    let place = Place::new();
    place.two_classes("data", 6);
    for line in
        ["zoo list", "predict efficientnet-lite0 data", "fit data --out run --curve-repetitions 0 --json"]
    {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place.command(line.split(' ')).stdout(full).stderr(Stdio::piped()).output().unwrap();
        support::Answer::of(&output).fails(OUTPUT, &["standard output", "free some space"]);
    }
    assert!(place.at("run/metrics.json").is_file(), "the run is kept all the same");

    // A reader that goes away has what it wanted.
    let mut child = place.command("predict run data".split(' '));
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    support::Answer::of(&child.wait_with_output().unwrap()).is(DONE);
    let script = "\"$0\" zoo info efficientnet-lite0 --graph | head -n 1";
    let output = Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_regraft")]).output().unwrap();
    assert_eq!(support::Answer::of(&output).out.lines().count(), 1);
}

#[test]
fn help_fits_the_screen_and_names_defaults() {
    let place = Place::new();
    let verbs = [
        "fit",
        "predict",
        "evaluate",
        "check",
        "embed",
        "zoo",
        "zoo list",
        "zoo info",
        "zoo pull",
        "zoo add",
        "zoo verify",
        "zoo remove",
        "report",
        "cache",
        "cache list",
        "cache trim",
    ];
    for verb in verbs {
        let help = place.run(&format!("{verb} --help"));
        help.is(DONE);
        assert!(help.out.lines().all(|line| line.chars().count() <= 100), "{}", help.out);
        assert!(help.out.contains("Usage: regraft"), "{}", help.out);
    }
    let help = place.run("--help").is(DONE).out.clone();
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "130 "] {
        assert!(help.contains(&format!("\n  {code}")), "no exit code {code} in {help}");
    }
    assert!(place.run("--version").is(DONE).out.starts_with("regraft "));
}

#[test]
fn the_environment_chooses_the_instruction_set() {
    let place = Place::new();
    place.write("image.png", &patchwork(1));
    let embed = |set: &str| {
        let mut command = place.command(["embed", "image.png", "--out", "f.npy", "--json"]);
        support::Answer::of(&command.env("REGRAFT_INSTRUCTION_SET", set).output().unwrap())
    };
    for set in ["portable", "avx2", "avx2+fma", "avx512"] {
        let answer = embed(set);
        if answer.code == Some(DONE) {
            let found = answer.json()["instruction_set"].as_str().unwrap().to_owned();
            assert_eq!(found.trim_end_matches("+fma"), set.trim_end_matches("+fma"));
        } else {
            assert_ne!(set, "portable");
            answer.fails(USAGE, &["REGRAFT_INSTRUCTION_SET", "this processor has no", set]);
        }
    }
    embed("").is(DONE);
    for set in ["sse9", "AVX512"] {
        embed(set).fails(USAGE, &["REGRAFT_INSTRUCTION_SET", set, "avx512, avx2 and portable"]);
    }
}
