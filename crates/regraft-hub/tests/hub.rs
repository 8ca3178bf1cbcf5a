//! The Hub's cache against a server on loopback: layout, resumption, tokens, hostile answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Asked, Reply, Server, content, secret, session, settings};
use regraft_hub::{Expected, HubCache, HubError, HubFile, Session, Silent};
use regraft_system::hash::sha256_hex;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILE: HubFile<'static> =
    HubFile { repository: "timm/resnet18.a1_in1k", revision: "main", file: "model.safetensors" };

/// Answers as the Hub does for a large file: the first request with a redirect to `store`.
fn hub(asked: &Asked, bytes: &[u8], store: &str) -> Reply {
    Reply::new(302, "")
        .with("X-Repo-Commit", COMMIT)
        .with("X-Linked-Etag", format!("\"{}\"", sha256_hex(bytes)))
        .with("X-Linked-Size", bytes.len())
        .with("Location", format!("{store}{}", asked.path))
}

fn small(asked: &Asked, bytes: &[u8]) -> Reply {
    Reply::file(asked, bytes, "\"5f3c\"").with("X-Repo-Commit", COMMIT)
}

/// A Hub with one large file, which lies on another server.
fn two_servers(bytes: &[u8]) -> (Server, Server) {
    let body = bytes.to_vec();
    let store = Server::start(move |asked| Reply::file(asked, &body, "\"store\""));
    let (body, address) = (bytes.to_vec(), store.alias(""));
    (Server::start(move |asked| hub(asked, &body, &address)), store)
}

fn repository(place: &Path) -> PathBuf {
    place.join("models--timm--resnet18.a1_in1k")
}

#[test]
fn a_large_file_lies_where_python_looks_for_it() {
    let (place, bytes) = (tempfile::tempdir().unwrap(), content(200_000));
    let (server, store) = two_servers(&bytes);
    let (session, cache) = (session(&server.at(""), place.path()), HubCache::at(place.path()));
    assert_eq!(cache.find(&FILE).unwrap(), None);
    let path = cache.pull(&session, &FILE, Expected::default(), &Silent).unwrap();
    let repository = repository(place.path());
    assert_eq!(path, repository.join("snapshots").join(COMMIT).join("model.safetensors"));
    assert!(fs::read(&path).unwrap() == bytes);
    let blob = format!("../../blobs/{}", sha256_hex(&bytes));
    assert_eq!(fs::read_link(&path).unwrap(), PathBuf::from(&blob));
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(fs::read_dir(repository.join("blobs")).unwrap().count(), 1);
    assert_eq!(server.asked()[0].path, "/timm/resnet18.a1_in1k/resolve/main/model.safetensors");
    let requests = server.asked().len() + store.asked().len();
    assert_eq!(requests, 3);
    for revision in ["main", COMMIT] {
        let file = HubFile { revision, ..FILE };
        assert_eq!(cache.pull(&session, &file, Expected::default(), &Silent).unwrap(), path);
    }
    assert_eq!(server.asked().len() + store.asked().len(), requests);
}

#[test]
fn a_token_goes_to_the_hub_and_not_to_its_store() {
    let (place, bytes) = (tempfile::tempdir().unwrap(), content(1000));
    let (server, store) = two_servers(&bytes);
    let settings = regraft_hub::Settings { token: secret(), ..settings(&server.at(""), place.path()) };
    let session = Session::new(settings).unwrap();
    HubCache::at(place.path()).pull(&session, &FILE, Expected::default(), &Silent).unwrap();
    assert!(server.asked().iter().all(|asked| asked.header("authorization") == Some("Bearer hf_secret")));
    assert_eq!((server.asked().len(), store.asked().len()), (2, 1));
    assert_eq!(store.asked()[0].header("authorization"), None);
}

#[test]
fn a_token_is_not_sent_where_others_read_it_or_where_another_server_leads() {
    let place = tempfile::tempdir().unwrap();
    let pull = |endpoint: &str| {
        let settings = regraft_hub::Settings { token: secret(), ..settings(endpoint, place.path()) };
        let session = Session::new(settings).unwrap();
        HubCache::at(place.path()).pull(&session, &FILE, Expected::default(), &Silent)
    };
    let refused = pull("http://hub.invalid").unwrap_err().to_string();
    assert!(refused.contains("anybody can read") && refused.contains("hub.invalid"), "{refused}");
    let (bytes, back) = (content(1000), std::sync::Arc::new(std::sync::OnceLock::<String>::new()));
    let (body, home) = (bytes.clone(), back.clone());
    let store = Server::start(move |_| Reply::new(302, "").with("Location", home.get().unwrap()));
    let away = store.alias("/away");
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/back" => Reply::file(asked, &body, "\"store\""),
        _ => hub(asked, &body, &away),
    });
    back.set(server.at("/back")).unwrap();
    pull(&server.at("")).unwrap();
    let last = server.asked().pop().unwrap();
    assert_eq!((last.path.as_str(), last.header("authorization")), ("/back", None));
}

#[test]
fn small_files_in_folders_and_revisions_with_slashes() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(|asked| small(asked, b"{}"));
    let (session, cache) = (session(&server.at(""), place.path()), HubCache::at(place.path()));
    let file = HubFile { revision: "refs/pr/1", file: "1_Pooling/config.json", ..FILE };
    let path = cache.pull(&session, &file, Expected::default(), &Silent).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"{}");
    assert_eq!(fs::read_link(&path).unwrap(), PathBuf::from("../../../blobs/5f3c"));
    assert_eq!(fs::read_to_string(repository(place.path()).join("refs/refs/pr/1")).unwrap(), COMMIT);
    let expected = "/timm/resnet18.a1_in1k/resolve/refs%2Fpr%2F1/1_Pooling/config.json";
    assert_eq!(server.asked()[0].path, expected);
    assert_eq!(cache.find(&file).unwrap(), Some(path));
}

#[test]
fn a_renamed_repository_is_found_on_the_same_server() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(|asked| {
        let new = asked.path.replace("resnet18.a1_in1k", "new");
        if asked.path == new { small(asked, b"{}") } else { Reply::new(307, "").with("Location", new) }
    });
    let session = session(&server.at(""), place.path());
    HubCache::at(place.path()).pull(&session, &FILE, Expected::default(), &Silent).unwrap();
}

#[test]
fn the_content_must_be_what_catalogue_and_hub_say() {
    let bytes = content(1000);
    let hash = sha256_hex(&bytes);
    let (server, _store) = two_servers(&bytes);
    let pull = |expected| {
        let place = tempfile::tempdir().unwrap();
        let session = session(&server.at(""), place.path());
        HubCache::at(place.path()).pull(&session, &FILE, expected, &Silent).map(|_| ())
    };
    pull(Expected { size: Some(1000), sha256: Some(&hash[..8]), sha1: None }).unwrap();
    let wrong = pull(Expected { size: None, sha256: Some("deadbeef"), sha1: None }).unwrap_err();
    assert!(matches!(wrong, HubError::Checksum { .. }), "{wrong}");
    let wrong = pull(Expected { size: Some(7), sha256: None, sha1: None }).unwrap_err();
    assert!(matches!(wrong, HubError::Size { .. }), "{wrong}");
    let (body, other) = (bytes.clone(), content(999));
    let store =
        Server::start(move |asked| Reply::file(asked, &[other.as_slice(), &[0]].concat(), "\"store\""));
    let server = Server::start(move |asked| hub(asked, &body, &store.alias("")));
    let place = tempfile::tempdir().unwrap();
    let session = session(&server.at(""), place.path());
    let wrong = HubCache::at(place.path()).pull(&session, &FILE, Expected::default(), &Silent).unwrap_err();
    assert!(matches!(wrong, HubError::Checksum { .. }), "{wrong}");
    assert!(HubCache::at(place.path()).find(&FILE).unwrap().is_none());
}

#[test]
fn names_that_lead_out_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(|asked| small(asked, b"{}"));
    let (session, cache) = (session(&server.at(""), place.path()), HubCache::at(place.path().join("cache")));
    for file in [
        HubFile { file: "../../../evil", ..FILE },
        HubFile { file: "/etc/passwd", ..FILE },
        HubFile { file: "a\\..\\b", ..FILE },
        HubFile { revision: "../../evil", ..FILE },
        HubFile { repository: "../evil", ..FILE },
        HubFile { repository: "a/b/c", ..FILE },
        HubFile { repository: "a--b/c", ..FILE },
        HubFile { repository: "", ..FILE },
        HubFile { repository: "a?b/c", ..FILE },
    ] {
        assert!(matches!(cache.find(&file), Err(HubError::Name { .. })), "{file:?}");
        let error = cache.pull(&session, &file, Expected::default(), &Silent).unwrap_err();
        assert!(matches!(error, HubError::Name { .. }), "{file:?} {error}");
    }
    assert!(server.asked().is_empty());
}

#[test]
fn a_server_cannot_name_paths() {
    for (commit, tag) in [
        ("../../../evil", "\"5f3c\""),
        (COMMIT, "\"../../../evil\""),
        (COMMIT, "\"..\""),
        (COMMIT, ""),
        ("", "\"5f3c\""),
    ] {
        let place = tempfile::tempdir().unwrap();
        let server =
            Server::start(move |_| Reply::new(200, "{}").with("X-Repo-Commit", commit).with("ETag", tag));
        let session = session(&server.at(""), &place.path().join("cache"));
        let cache = HubCache::at(place.path().join("cache"));
        let error = cache.pull(&session, &FILE, Expected::default(), &Silent).unwrap_err();
        assert!(matches!(error, HubError::Protocol { .. }), "{error}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_listing_gives_names_that_are_safe() {
    let place = tempfile::tempdir().unwrap();
    let listing = |names: &[&str]| {
        let siblings: Vec<_> = names.iter().map(|name| serde_json::json!({ "rfilename": name })).collect();
        serde_json::json!({ "sha": COMMIT, "siblings": siblings, "private": false }).to_string()
    };
    let (good, evil) = (listing(&["config.json", "a/b.bin"]), listing(&["config.json", "../../.bashrc"]));
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/api/models/timm/good/revision/main" => Reply::new(200, &good),
        "/api/models/timm/evil/revision/main" => Reply::new(200, &evil),
        "/api/models/timm/page/revision/main" => Reply::new(200, "<html>"),
        "/api/models/timm/huge/revision/main" => Reply::new(200, vec![b' '; 20 << 20]),
        _ => Reply::new(404, ""),
    });
    let (session, cache) = (session(&server.at(""), place.path()), HubCache::at(place.path()));
    let list = |name: &str| cache.list(&session, &format!("timm/{name}"), "main", &Silent);
    let found = list("good").unwrap();
    assert_eq!(
        (found.commit.as_str(), found.files),
        (COMMIT, vec!["config.json".to_owned(), "a/b.bin".to_owned()])
    );
    assert_eq!(list("evil").unwrap().files, ["config.json"]);
    assert!(matches!(list("page").unwrap_err(), HubError::Protocol { .. }));
    assert!(matches!(list("huge").unwrap_err(), HubError::Size { .. }));
    assert!(list("none").unwrap_err().to_string().contains("404"));
}

#[test]
fn offline_finds_what_is_here_and_says_what_is_not() {
    let (place, bytes) = (tempfile::tempdir().unwrap(), content(1000));
    let (server, _store) = two_servers(&bytes);
    let cache = HubCache::at(place.path());
    cache.pull(&session(&server.at(""), place.path()), &FILE, Expected::default(), &Silent).unwrap();
    let offline =
        regraft_hub::Settings { offline: Some("HF_HUB_OFFLINE"), ..settings(&server.at(""), place.path()) };
    let offline = Session::new(offline).unwrap();
    let requests = server.asked().len();
    cache.pull(&offline, &FILE, Expected::default(), &Silent).unwrap();
    let other = HubFile { file: "config.json", ..FILE };
    let error = cache.pull(&offline, &other, Expected::default(), &Silent).unwrap_err().to_string();
    assert!(
        error.contains("HF_HUB_OFFLINE") && error.contains("config.json of timm/resnet18.a1_in1k"),
        "{error}"
    );
    assert!(cache.list(&offline, FILE.repository, "main", &Silent).is_err());
    assert_eq!(server.asked().len(), requests);
}

#[test]
fn removing_keeps_what_another_revision_has() {
    let (place, bytes) = (tempfile::tempdir().unwrap(), content(1000));
    let (server, _store) = two_servers(&bytes);
    let (session, cache) = (session(&server.at(""), place.path()), HubCache::at(place.path()));
    cache.pull(&session, &FILE, Expected::default(), &Silent).unwrap();
    let repository = repository(place.path());
    let other = "f".repeat(40);
    let blob = repository.join("blobs").join(sha256_hex(&bytes));
    fs::create_dir_all(repository.join("snapshots").join(&other)).unwrap();
    fs::copy(&blob, repository.join("blobs/copy")).unwrap();
    fs::create_dir_all(repository.join("refs/pr")).unwrap();
    fs::write(repository.join("refs/pr/1"), COMMIT).unwrap();
    fs::write(repository.join("refs/other"), &other).unwrap();
    std::os::unix::fs::symlink(&blob, repository.join("snapshots").join(&other).join("same")).unwrap();
    let names = [FILE.file.to_owned()];
    assert_eq!(cache.remove(FILE.repository, "main", &names).unwrap(), 0);
    assert!(blob.is_file() && cache.find(&FILE).unwrap().is_none());
    assert!(!repository.join("refs/main").exists() && !repository.join("refs/pr/1").exists());
    assert!(repository.join("refs/other").exists());
    fs::remove_file(repository.join("blobs/copy")).unwrap();
    assert_eq!(cache.remove(FILE.repository, &other, &["same".to_owned()]).unwrap(), 1000);
    assert!(!repository.exists());
    assert_eq!(cache.remove(FILE.repository, "main", &names).unwrap(), 0);
}

#[test]
fn what_is_damaged_in_the_cache_is_repaired() {
    let (place, bytes) = (tempfile::tempdir().unwrap(), content(1000));
    let (server, _store) = two_servers(&bytes);
    let (session, cache) = (session(&server.at(""), place.path()), HubCache::at(place.path()));
    let pull = || cache.pull(&session, &FILE, Expected::default(), &Silent).unwrap();
    let path = pull();
    let blob = repository(place.path()).join("blobs").join(sha256_hex(&bytes));
    assert!(cache.check(&FILE).unwrap());
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("../../blobs/gone", &path).unwrap();
    assert!(fs::read(pull()).unwrap() == bytes, "a link to nothing");
    fs::remove_file(&blob).unwrap();
    assert!(fs::read(pull()).unwrap() == bytes, "a link whose content is gone");
    fs::write(&blob, content(999)).unwrap();
    assert!(matches!(cache.check(&FILE).unwrap_err(), HubError::Checksum { .. }));
    fs::remove_file(&path).unwrap();
    assert!(fs::read(pull()).unwrap() == bytes, "a damaged content without a link");
    fs::remove_file(&blob).unwrap();
    assert_eq!(cache.remove(FILE.repository, "main", &[FILE.file.to_owned()]).unwrap(), 0);
    assert!(!repository(place.path()).exists(), "a link to nothing goes too");
}

#[test]
fn a_content_that_is_kept_for_all_repositories_is_known_by_its_tag_and_stays() {
    let (place, bytes) = (tempfile::tempdir().unwrap(), content(1000));
    let (server, _store) = two_servers(&bytes);
    let (session, cache) = (session(&server.at(""), place.path()), HubCache::at(place.path()));
    cache.pull(&session, &FILE, Expected::default(), &Silent).unwrap();
    let blob = repository(place.path()).join("blobs").join(sha256_hex(&bytes));
    let shared = place.path().join("blobs/ab/abcd");
    fs::create_dir_all(shared.parent().unwrap()).unwrap();
    fs::rename(&blob, &shared).unwrap();
    std::os::unix::fs::symlink(&shared, &blob).unwrap();
    assert!(cache.check(&FILE).unwrap());
    assert_eq!(cache.remove(FILE.repository, "main", &[FILE.file.to_owned()]).unwrap(), 0);
    assert!(shared.is_file() && !repository(place.path()).exists());
}

#[test]
fn small_files_are_compared_with_the_hash_that_git_has_for_them() {
    let place = tempfile::tempdir().unwrap();
    // printf '{}' | git hash-object --stdin
    let server = Server::start(|asked| {
        let body: &[u8] = if asked.path.contains("/main/") { b"{}" } else { b"[]" };
        Reply::file(asked, body, "\"9e26dfeeb6e641a33dae4961196235bdb965b21b\"").with("X-Repo-Commit", COMMIT)
    });
    let (session, cache) = (session(&server.at(""), place.path()), HubCache::at(place.path()));
    let wrong = HubFile { revision: "v1", ..FILE };
    let error = cache.pull(&session, &wrong, Expected::default(), &Silent).unwrap_err();
    assert!(error.to_string().contains("SHA-1"), "{error}");
    assert_eq!(cache.find(&wrong).unwrap(), None);
    cache.pull(&session, &FILE, Expected::default(), &Silent).unwrap();
    assert!(cache.check(&FILE).unwrap());
}

#[test]
fn questions_are_asked_again_and_answers_are_for_the_commit_that_was_asked_for() {
    let place = tempfile::tempdir().unwrap();
    let times = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        if times.fetch_add(1, std::sync::atomic::Ordering::SeqCst).is_multiple_of(2) {
            return Reply::new(503, "later");
        }
        match asked.path.starts_with("/api/") {
            true => Reply::new(200, serde_json::json!({ "sha": COMMIT }).to_string()),
            false => small(asked, b"{}"),
        }
    });
    let (session, cache) = (session(&server.at(""), place.path()), HubCache::at(place.path()));
    assert_eq!(cache.list(&session, FILE.repository, "main", &Silent).unwrap().commit, COMMIT);
    cache.pull(&session, &HubFile { revision: COMMIT, ..FILE }, Expected::default(), &Silent).unwrap();
    assert_eq!(cache.commit(FILE.repository, "main").unwrap(), None);
    cache.remember(FILE.repository, "main", COMMIT).unwrap();
    assert!(cache.find(&FILE).unwrap().is_some());
    let other = "f".repeat(40);
    let error = cache.pull(&session, &HubFile { revision: &other, ..FILE }, Expected::default(), &Silent);
    assert!(error.unwrap_err().to_string().contains("another commit"));
}

/// Links, and lengths and hashes of files, by their path below the cache; locks aside.
fn tree(folder: &Path, below: &Path, found: &mut serde_json::Map<String, serde_json::Value>) {
    for entry in fs::read_dir(folder.join(below)).unwrap().flatten() {
        let below = below.join(entry.file_name());
        let (path, name) = (entry.path(), below.to_str().unwrap().to_owned());
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            let link = fs::read_link(&path).unwrap();
            found.insert(name, serde_json::json!({ "link": link }));
        } else if kind.is_file() {
            let content = fs::read(&path).unwrap();
            found.insert(name, serde_json::json!({ "size": content.len(), "sha256": sha256_hex(&content) }));
        } else if name != ".locks" {
            tree(folder, &below, found);
        }
    }
}

#[test]
fn the_cache_is_the_one_that_python_leaves() {
    let place = tempfile::tempdir().unwrap();
    let (_, store) = two_servers(&content(1000));
    let store_address = store.alias("");
    let server = Server::start(move |asked| match asked.path.rsplit_once("/resolve/main/").unwrap().1 {
        "config.json" => Reply::file(asked, b"{}", "\"5f3c\"").with("X-Repo-Commit", COMMIT),
        "1_Pooling/config.json" => Reply::file(asked, b"[]", "\"77aa\"").with("X-Repo-Commit", COMMIT),
        _ => hub(asked, &content(1000), &store_address),
    });
    let (session, cache) = (session(&server.at(""), place.path()), HubCache::at(place.path()));
    for file in ["model.safetensors", "config.json", "1_Pooling/config.json"] {
        let file = HubFile { repository: "timm/tiny", file, ..FILE };
        cache.pull(&session, &file, Expected::default(), &Silent).unwrap();
    }
    assert!(store.asked().iter().all(|asked| asked.header("authorization").is_none()));
    let mut found = serde_json::Map::new();
    tree(place.path(), Path::new(""), &mut found);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hub_cache.json");
    let golden: serde_json::Value = serde_json::from_slice(&fs::read(golden).unwrap()).unwrap();
    assert_eq!(serde_json::Value::from(found), golden);
    let files = cache.files("timm/tiny", "main").unwrap();
    assert_eq!(files, ["1_Pooling/config.json", "config.json", "model.safetensors"]);
}

#[test]
fn a_plain_address_needs_a_hash_where_anybody_may_write_to_the_line() {
    let place = tempfile::tempdir().unwrap();
    let session = session("http://127.0.0.1:1", place.path());
    let get = |address: &str, sha1| {
        let expected = Expected { sha1, ..Expected::default() };
        regraft_hub::fetch(&session, address, &place.path().join("file"), expected, &Silent).unwrap_err()
    };
    let refused = get("http://example.invalid/a", None);
    assert!(refused.to_string().contains("not a secure address"), "{refused}");
    let part = Expected { sha256: Some("da39a3ee"), ..Expected::default() };
    let destination = place.path().join("file");
    let refused = regraft_hub::fetch(&session, "http://example.invalid/a", &destination, part, &Silent);
    assert!(refused.unwrap_err().to_string().contains("no whole hash"));
    let tried = get("http://example.invalid/a", Some("da39a3ee5e6b4b0d3255bfef95601890afd80709"));
    assert!(matches!(tried, HubError::Unreachable { .. }), "{tried}");
}
