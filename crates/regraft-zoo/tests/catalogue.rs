//! The catalogue agrees with the graphs and with what the libraries publish, and its names resolve.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod common;

use std::collections::HashSet;
use std::fs;

use common::json;
use regraft_graph::{Bindings, ParameterKind, Preprocessing, Resize, ResizeFilter};
use regraft_zoo::{
    Architecture, Catalogue, Entry, Fingerprint, From, ZooError, architecture, architectures, info, is_name,
    list, read, resolve, to_toml,
};
use serde_json::Value;

/// Entries of a named architecture, which must be one that is built here. Those whose files describe their networks have none.
fn built() -> impl Iterator<Item = (&'static Entry, &'static Architecture)> {
    let named = list().unwrap().iter().filter_map(|entry| Some((entry, entry.architecture.as_deref()?)));
    named.map(|(entry, name)| {
        (entry, architecture(name).unwrap_or_else(|| panic!("{}: no architecture {name}", entry.name)))
    })
}

fn prepared(entry: &Entry, architecture: &Architecture) -> Preprocessing {
    entry.preprocessing.apply(&architecture.preprocessing)
}

#[test]
fn published_sizes_are_those_of_the_graphs() {
    for (entry, architecture) in built() {
        let classes = if entry.is_imagenet() { 1000 } else { entry.labels.len() };
        let graph = architecture.network(classes).unwrap().graph;
        let running = [ParameterKind::RunningMean, ParameterKind::RunningVariance];
        let parameters = graph.parameters();
        let parameters = parameters.iter().filter(|parameter| !running.contains(&parameter.kind));
        let parameters: usize = parameters.map(|parameter| parameter.shape.iter().product::<usize>()).sum();
        let [height, width] = prepared(entry, architecture).crop;
        let cost = graph.cost(&Bindings { batch: 1, height, width }).unwrap();
        let found = (Some(parameters as u64), Some(cost.macs));
        assert_eq!(found, (entry.parameters, entry.macs), "{}", entry.name);
    }
}

#[test]
fn facts_are_those_that_the_libraries_publish() {
    let (published, counted) = (json("catalogue.json"), json("networks.json"));
    let published = published.as_object().unwrap();
    for (entry, architecture) in built() {
        let Some(facts) = published.get(&entry.name) else {
            // Nobody publishes facts about these; what PyTorch counts is all there is.
            assert!(matches!(entry.from, From::Embedded | From::Python { .. }), "{}", entry.name);
            let facts = &counted[architecture.name];
            assert_eq!(entry.parameters, facts["parameters"].as_u64(), "{}", entry.name);
            assert_eq!(entry.macs, facts["macs"].as_u64(), "{}", entry.name);
            continue;
        };
        let name = &entry.name;
        assert_eq!(entry.source_accuracy, facts["accuracy"].as_f64(), "{name}");
        assert_eq!(entry.parameters, facts["parameters"].as_u64(), "{name}");
        assert_eq!(entry.macs, facts["macs"].as_u64(), "{name}");
        if let Some(licence) = facts["licence"].as_str() {
            assert_eq!(entry.licence.as_ref().unwrap().to_lowercase(), licence, "{name}");
        }
        match &entry.from {
            From::Urls(urls) => {
                assert_eq!(urls[0], facts["address"].as_str().unwrap(), "{name}");
                let hash = urls[0].trim_end_matches(".pth").rsplit('-').next();
                assert_eq!(entry.sha256.as_deref(), hash, "{name}");
            }
            From::HuggingFace { repository, .. } => {
                assert_eq!(repository, facts["repository"].as_str().unwrap())
            }
            from => panic!("{name} comes from {from}"),
        }
        assert_prepared(name, &prepared(entry, architecture), &facts["preprocessing"]);
    }
    assert!(published.keys().all(|name| info(name).is_ok()));
}

fn assert_prepared(name: &str, found: &Preprocessing, expected: &Value) {
    let side = |value: &Value| value.as_u64().unwrap() as usize;
    assert_eq!(found.resize, Resize::ShortSide(side(&expected["short_side"])), "{name}");
    assert_eq!(found.crop, [side(&expected["crop"][0]), side(&expected["crop"][1])], "{name}");
    let filter = if expected["filter"] == "bicubic" { ResizeFilter::Bicubic } else { ResizeFilter::Bilinear };
    assert_eq!(found.filter, filter, "{name}");
    for (key, found) in [("mean", &found.mean), ("std", &found.std)] {
        for (channel, value) in found.iter().enumerate() {
            let expected = expected[key][channel].as_f64().unwrap();
            assert!((f64::from(*value) - expected).abs() < 1e-3, "{name} {key} {value} {expected}");
        }
    }
}

#[test]
fn the_catalogue_is_large_and_has_no_name_twice() {
    let entries = list().unwrap();
    assert!(entries.len() >= 60, "{}", entries.len());
    let names: Vec<&String> =
        entries.iter().flat_map(|entry| std::iter::once(&entry.name).chain(&entry.aliases)).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    for entry in entries {
        // Writing an entry checks it as reading a user's does.
        let text = to_toml(entry).unwrap_or_else(|error| panic!("{error}"));
        assert!(text.contains(&entry.name));
        assert!(entry.source_task.is_some() && entry.licence.is_some(), "{}", entry.name);
        assert!(entry.sha256.is_some() || !matches!(entry.from, From::Python { .. }), "{}", entry.name);
    }
}

#[test]
fn the_default_comes_with_the_program() {
    for name in ["efficientnet-lite0", "efficientnet-lite0.in1k"] {
        let model = resolve(name).unwrap();
        assert_eq!(model.card().name, "efficientnet-lite0.in1k");
        assert_eq!(model.card().labels.len(), 1000);
        assert_eq!(model.card().labels[285], "Egyptian cat");
        assert_eq!(model.weights().first_non_finite(), None);
        assert_eq!(model.card().roles.cuts.len(), 16);
        let stored: usize = model.weights().iter().map(|(_, tensor)| tensor.len()).sum();
        assert_eq!(stored, 4_694_024);
    }
}

#[test]
fn a_model_that_is_not_here_says_how_it_comes_here() {
    let message = resolve("resnet50").unwrap_err().to_string();
    for words in ["regraft zoo pull resnet50.tv_in1k", "103 MB", "--arch resnet50"] {
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn an_unknown_name_gets_a_suggestion() {
    let ZooError::UnknownModel { nearest, known, .. } = info("resnet5").unwrap_err() else { panic!() };
    assert!(nearest.is_some_and(|name| name.starts_with("resnet")));
    assert!(known > 100);
    assert!(info("xception").unwrap_err().to_string().contains("nothing looks like it"));
}

#[test]
fn the_recorded_answers_are_those_of_the_original_frameworks() {
    let published = ["fingerprints.json", "fingerprints_published.json"].map(json);
    let recorded = list().unwrap().iter().filter_map(|entry| Some((entry, entry.fingerprint.as_ref()?)));
    for (entry, recorded) in recorded {
        let published = published.iter().find_map(|file| file.get(&entry.name)).unwrap();
        let classes: Vec<usize> = serde_json::from_value(published["classes"].clone()).unwrap();
        let probabilities: Vec<f64> = serde_json::from_value(published["probabilities"].clone()).unwrap();
        assert_eq!(recorded.classes, classes, "{}", entry.name);
        for (recorded, published) in recorded.probabilities.iter().zip(probabilities) {
            assert!((recorded - published).abs() < 1e-5, "{}", entry.name);
        }
    }
}

#[test]
fn a_definition_that_nobody_publishes_comes_with_the_program() {
    let hed = info("vgg16.hed").unwrap();
    let (name, text) = hed.own_definition().unwrap();
    let description: Value = serde_json::from_str(text).unwrap();
    let layers = description["config"]["layers"].as_array().unwrap();
    assert!(layers.iter().any(|layer| layer["name"] == hed.features.as_deref().unwrap()), "{name}");
    let theirs = Entry { catalogue: Some("zoo.toml".into()), ..hed.clone() };
    assert_eq!(theirs.own_definition(), None);
    assert_eq!(info("alexnet.bvlc").unwrap().own_definition(), None);
}

/// Nobody publishes weights under these names; a file of one's own is read into them.
const WITHOUT_WEIGHTS: [&str; 5] =
    ["caffenet", "efficientnet-lite1", "efficientnet-lite2", "efficientnet-lite3", "efficientnet-lite4"];

#[test]
fn every_architecture_has_an_entry() {
    let known: HashSet<&str> = built().map(|(_, architecture)| architecture.name).collect();
    let names = architectures().iter().map(|architecture| architecture.name);
    let missing: Vec<_> =
        names.filter(|name| !known.contains(name) && !WITHOUT_WEIGHTS.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

const OWN: &str = r#"
[[model]]
name = "resnet50.mine"
aliases = ["mine"]
architecture = "resnet50"
source_task = "photographs of mushrooms"
labels = ["edible", "poisonous"]
preprocessing = { resize = { short_side = 232 }, channel_order = "bgr", mean = [1, 2, 3] }
fingerprint = { classes = [1, 0], probabilities = [0.7, 0.3] }
from = { file = "weights.pth" }
"#;

#[test]
fn a_users_catalogue_stands_beside_the_built_in_one() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("other")).unwrap();
    fs::write(place.path().join("zoo.toml"), OWN).unwrap();
    let other = OWN.replace("resnet50.mine", "other").replace(r#"aliases = ["mine"]"#, "");
    fs::write(place.path().join("other/zoo.toml"), other).unwrap();
    let catalogue = Catalogue::with_folder(place.path()).unwrap();
    assert_eq!(catalogue.problems(), [""; 0]);
    assert_eq!(catalogue.entries().len(), list().unwrap().len() + 2);
    let entry = catalogue.find("mine").unwrap();
    assert_eq!(entry.catalogue, Some(place.path().join("zoo.toml")));
    assert_eq!(entry.fingerprint, Some(Fingerprint { classes: vec![1, 0], probabilities: vec![0.7, 0.3] }));
    let again = Entry { catalogue: None, ..entry.clone() };
    fs::write(place.path().join("again.toml"), to_toml(&again).unwrap()).unwrap();
    let read = read(&place.path().join("again.toml")).unwrap().remove(0).unwrap();
    assert_eq!(Entry { catalogue: None, ..read }, again);
    let base = &architecture("resnet50").unwrap().preprocessing;
    let changed = entry.preprocessing.apply(base);
    assert_eq!(
        (changed.mean[..].to_vec(), changed.std.clone(), changed.crop),
        (vec![1.0, 2.0, 3.0], base.std.clone(), [224, 224])
    );
    assert_eq!(
        Catalogue::with_folder(&place.path().join("none")).unwrap().entries().len(),
        list().unwrap().len()
    );
}

#[test]
fn an_entry_with_a_mistake_takes_no_other_away() {
    let place = tempfile::tempdir().unwrap();
    let text = format!("{OWN}\n{}", OWN.replace("resnet50.mine", "other").replace("aliases", "alias"));
    fs::write(place.path().join("zoo.toml"), text).unwrap();
    let catalogue = Catalogue::with_folder(place.path()).unwrap();
    assert!(catalogue.find("mine").is_ok() && catalogue.find("other").is_err());
    let problems = catalogue.problems().concat();
    assert!(problems.contains("'other'") && problems.contains("`alias`"), "{problems}");
}

#[test]
fn a_name_that_is_built_in_stays_built_in() {
    let place = tempfile::tempdir().unwrap();
    for name in ["resnet50", "resnet50.tv_in1k", "efficientnet-lite0"] {
        fs::write(place.path().join("zoo.toml"), OWN.replace("resnet50.mine", name)).unwrap();
        let catalogue = Catalogue::with_folder(place.path()).unwrap();
        assert_eq!(catalogue.entries().len(), list().unwrap().len());
        assert!(catalogue.problems()[0].contains("is taken (built in)"), "{:?}", catalogue.problems());
        assert!(catalogue.problems()[0].contains("zoo.toml"));
    }
}

#[test]
fn what_is_wrong_with_a_users_catalogue_is_told_and_takes_nothing_away() {
    let replaced = |from: &str, to: &str| OWN.replace(from, to);
    for (text, words) in [
        ("[[model]".to_owned(), "zoo.toml"),
        (replaced("resnet50.mine", "../evil"), "is not a name"),
        (replaced("resnet50.mine", "weights.pth"), "is not a name"),
        (replaced(r#""mine""#, r#""-mine""#), "is not a name"),
        (replaced("labels", "lables"), "lables"),
        (replaced(r#"{ file = "weights.pth" }"#, r#"{ file = "" }"#), "names no file"),
        (replaced(r#"{ file = "weights.pth" }"#, r#"{ urls = [] }"#), "names no file"),
        (
            replaced(r#"{ file = "weights.pth" }"#, r#"{ urls = ["https://example.org/.."] }"#),
            "a path that leads out",
        ),
        (
            replaced(
                r#"{ file = "weights.pth" }"#,
                r#"{ npm = { package = "a", version = "1", members = ["../x"] } }"#,
            ),
            "a path that leads out",
        ),
        (replaced(r#"{ file = "weights.pth" }"#, r#""embedded""#), "embedded weights"),
        (replaced(r#"{ file = "weights.pth" }"#, r#"{ ftp = "x" }"#), "ftp"),
        (replaced("aliases", "source_accuracy = 75.1\naliases"), "not from 0 to 1"),
        (replaced("aliases", "sha256 = \"12345\"\naliases"), "hexadecimal"),
        (replaced("[0.7, 0.3]", "[]"), "one probability for each class"),
        (
            replaced(
                r#"{ file = "weights.pth" }"#,
                r#"{ urls = ["https://a.example/x.pth", "https://b.example/X.pth"] }"#,
            ),
            "two files of one name",
        ),
        (
            replaced(r#"{ file = "weights.pth" }"#, r#"{ urls = ["https://a.example/zoo.toml"] }"#),
            "called zoo.toml",
        ),
        (
            replaced("aliases", "size = 5\naliases")
                .replace(r#"{ file = "weights.pth" }"#, r#"{ hugging_face = { repository = "a/b" } }"#),
            "no file that they could belong to",
        ),
        (
            replaced(
                r#"{ file = "weights.pth" }"#,
                r#"{ python = { package = "a", version = "1", source_archive = "12", members = ["x"] } }"#,
            ),
            "source_archive is not 64",
        ),
    ] {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("zoo.toml"), text).unwrap();
        let catalogue = Catalogue::with_folder(place.path()).unwrap();
        assert_eq!(catalogue.entries().len(), list().unwrap().len());
        assert!(catalogue.problems().concat().contains(words), "{words}: {:?}", catalogue.problems());
    }
}

#[test]
fn names_are_names_of_folders_and_not_of_files() {
    for name in ["resnet50.a1_in1k", "all-MiniLM-L6-v2", "x"] {
        assert!(is_name(name), "{name}");
    }
    for name in [
        "",
        ".",
        "..",
        ".x",
        "-x",
        "a/b",
        "a\\b",
        "a b",
        "weights.pth",
        "model.SAFETENSORS",
        "x.",
        "ä",
        "hf:a",
        &"x".repeat(101),
    ] {
        assert!(!is_name(name), "{name}");
    }
}
