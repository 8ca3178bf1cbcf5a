//! Files over lines that break, from servers that lie.
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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Listener, Reply, Server, content, session, settings};
use regraft_hub::{Expected, HubError, Session, Settings, Silent, fetch};
use regraft_system::hash::sha256_hex;

const TAG: &str = "\"one\"";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("weights.bin")
    }

    fn session(&self) -> Session {
        session("http://127.0.0.1:1", self.0.path())
    }

    fn fetch(&self, address: &str, expected: Expected<'_>) -> Result<(), HubError> {
        fetch(&self.session(), address, &self.file(), expected, &Silent)
    }

    /// What an earlier run has left.
    fn partial(&self, content: &[u8], tag: Option<&str>) {
        fs::write(self.0.path().join("weights.bin.regraft-incomplete"), content).unwrap();
        if let Some(tag) = tag {
            fs::write(self.0.path().join("weights.bin.regraft-incomplete.tag"), tag).unwrap();
        }
    }

    /// The file is as it should be, and nothing else lies about.
    fn holds(&self, content: &[u8]) {
        assert!(fs::read(self.file()).unwrap() == content);
        assert_eq!(names(self.0.path()), ["weights.bin", "weights.bin.lock"]);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn hash(content: &[u8]) -> String {
    sha256_hex(content)
}

#[test]
fn a_file_arrives_and_is_not_fetched_twice() {
    let (place, bytes) = (Place::new(), content(300_000));
    let body = bytes.clone();
    let server = Server::start(move |asked| Reply::file(asked, &body, TAG));
    let hash = hash(&bytes);
    for sha256 in [None, Some(hash.as_str()), Some(&hash[..8])] {
        place.fetch(&server.at("/a"), Expected { size: Some(300_000), sha256, sha1: None }).unwrap();
        place.holds(&bytes);
    }
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_cut_file_goes_on_where_it_stopped_in_the_same_run() {
    let (place, bytes) = (Place::new(), content(500_000));
    let body = bytes.clone();
    let server = Server::start(move |asked| Reply::file(asked, &body, TAG).cut_after(120_000));
    let listener = Listener::default();
    fetch(&place.session(), &server.at("/a"), &place.file(), Expected::default(), &listener).unwrap();
    place.holds(&bytes);
    let asked = server.asked();
    assert_eq!(
        asked.iter().map(common::Asked::start).collect::<Vec<_>>(),
        [0, 120_000, 240_000, 360_000, 480_000]
    );
    assert!(asked[1..].iter().all(|asked| asked.header("if-range") == Some(TAG)));
    assert_eq!(*listener.received.lock().unwrap(), 500_000);
    assert!(listener.heard.lock().unwrap()[1].contains("trying again"));
}

#[test]
fn a_later_run_goes_on_too() {
    let (place, bytes) = (Place::new(), content(50_000));
    let (body, once) = (bytes.clone(), AtomicUsize::new(0));
    let server = Server::start(move |asked| match once.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::file(asked, &body, TAG).cut_after(20_000),
        1..=3 => Reply::new(503, "later"),
        _ => Reply::file(asked, &body, TAG),
    });
    let error = place.fetch(&server.at("/a"), Expected::default()).unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    place.fetch(&server.at("/a"), Expected::default()).unwrap();
    place.holds(&bytes);
    assert_eq!(server.asked().last().unwrap().start(), 20_000);
}

#[test]
fn a_file_that_has_changed_meanwhile_begins_anew() {
    let (place, bytes) = (Place::new(), content(50_000));
    place.partial(&[9; 20_000], Some("\"old\""));
    let body = bytes.clone();
    let server = Server::start(move |asked| Reply::file(asked, &body, TAG));
    place.fetch(&server.at("/a"), Expected::default()).unwrap();
    place.holds(&bytes);
    assert_eq!((server.asked().len(), server.asked()[0].header("if-range")), (1, Some("\"old\"")));
}

#[test]
fn what_nobody_can_vouch_for_is_not_continued() {
    let (place, bytes) = (Place::new(), content(50_000));
    place.partial(&[9; 20_000], None);
    let body = bytes.clone();
    let server = Server::start(move |_| Reply::new(200, &body));
    place.fetch(&server.at("/a"), Expected::default()).unwrap();
    place.holds(&bytes);
    assert_eq!(server.asked()[0].header("range"), None);
}

#[test]
fn a_damaged_beginning_is_noticed_by_the_hash_and_fetched_anew() {
    let (place, bytes) = (Place::new(), content(50_000));
    place.partial(&[9; 20_000], None);
    let (body, hash) = (bytes.clone(), hash(&bytes));
    let server = Server::start(move |asked| Reply::file(asked, &body, TAG));
    place.fetch(&server.at("/a"), Expected { size: None, sha256: Some(&hash), sha1: None }).unwrap();
    place.holds(&bytes);
    assert_eq!(server.asked().iter().map(common::Asked::start).collect::<Vec<_>>(), [20_000, 0]);
}

#[test]
fn a_whole_file_that_only_lacks_its_name_gets_it() {
    let (place, bytes) = (Place::new(), content(50_000));
    place.partial(&bytes, Some(TAG));
    let body = bytes.clone();
    let server = Server::start(move |asked| Reply::file(asked, &body, TAG));
    place.fetch(&server.at("/a"), Expected::default()).unwrap();
    place.holds(&bytes);
    let place = Place::new();
    place.partial(&content(60_000), Some(TAG));
    place.fetch(&server.at("/a"), Expected::default()).unwrap();
    place.holds(&bytes);
}

#[test]
fn a_wrong_content_is_thrown_away() {
    let (place, wrong) = (Place::new(), content(1000));
    let server = Server::start(move |asked| Reply::file(asked, &wrong, TAG));
    for sha256 in ["00000000", &"0".repeat(64)] {
        let error = place
            .fetch(&server.at("/a?sig=x"), Expected { size: None, sha256: Some(sha256), sha1: None })
            .unwrap_err();
        assert!(matches!(error, HubError::Checksum { .. }), "{error}");
        assert!(error.to_string().contains(sha256) && !error.to_string().contains("sig"), "{error}");
        assert!(!place.file().exists());
        let left = fs::metadata(place.0.path().join("weights.bin.regraft-incomplete")).unwrap().len();
        assert_eq!(left, 0);
    }
}

#[test]
fn a_damaged_file_under_the_final_name_is_fetched_anew() {
    let (place, bytes) = (Place::new(), content(1000));
    let body = bytes.clone();
    let server = Server::start(move |asked| Reply::file(asked, &body, TAG));
    fs::write(place.file(), content(999)).unwrap();
    let hash = hash(&bytes);
    place.fetch(&server.at("/a"), Expected { sha256: Some(&hash), ..Expected::default() }).unwrap();
    place.holds(&bytes);
}

#[test]
fn a_server_may_send_less_than_the_rest() {
    let (place, bytes) = (Place::new(), content(50_000));
    place.partial(&bytes[..10_000], Some(TAG));
    let body = bytes.clone();
    let server = Server::start(move |asked| {
        let start = asked.start();
        let end = (start + 15_000).min(body.len());
        let range = format!("bytes {start}-{}/{}", end - 1, body.len());
        Reply::new(206, &body[start..end]).with("ETag", TAG).with("Content-Range", range)
    });
    place.fetch(&server.at("/a"), Expected::default()).unwrap();
    place.holds(&bytes);
    assert_eq!(server.asked().iter().map(common::Asked::start).collect::<Vec<_>>(), [10_000, 25_000, 40_000]);
}

#[test]
fn a_server_that_is_gone_after_it_has_answered_is_waited_for() {
    let (place, bytes) = (Place::new(), content(1000));
    // The address leads once to the server, and once to a port where nobody is.
    let (body, times) = (bytes.clone(), AtomicUsize::new(0));
    let server =
        Server::start(move |asked| match (asked.path.as_str(), times.fetch_add(1, Ordering::SeqCst)) {
            ("/a", 0) => Reply::new(302, "").with("Location", "http://127.0.0.1:1/gone"),
            _ => Reply::file(asked, &body, TAG),
        });
    place.fetch(&server.at("/a"), Expected::default()).unwrap();
    place.holds(&bytes);
}

#[test]
fn lengths_that_lie() {
    let cases: [(Reply, Expected<'_>, &str); 6] = [
        (
            Reply { announce: false, ..Reply::new(200, "x").with("Content-Length", 1u64 << 40) },
            Expected { size: Some(1 << 40), ..Expected::default() },
            "expected at most",
        ),
        (
            Reply { announce: false, ..Reply::new(200, "x").with("Content-Length", u64::MAX / 2) },
            Expected::default(),
            "expected at most",
        ),
        (
            Reply::new(200, [0; 100]),
            Expected { size: Some(99), sha256: None, sha1: None },
            "has 100 bytes, expected 99",
        ),
        (
            Reply::new(200, [0; 98]),
            Expected { size: Some(99), sha256: None, sha1: None },
            "has 98 bytes, expected 99",
        ),
        (
            Reply { announce: false, ..Reply::new(200, [0; 100]) },
            Expected { size: Some(99), sha256: None, sha1: None },
            "has 100 bytes, expected 99",
        ),
        (
            Reply { announce: false, ..Reply::new(200, [0; 98]) },
            Expected { size: Some(99), sha256: None, sha1: None },
            "cut after 98 bytes of 99",
        ),
    ];
    for (reply, expected, words) in cases {
        let place = Place::new();
        let server = Server::start(move |_| reply.clone());
        let error = place.fetch(&server.at("/a"), expected).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!place.file().exists());
    }
}

#[test]
fn answers_that_make_no_sense() {
    for (reply, words) in [
        (Reply::new(206, "rest").with("Content-Range", "bytes 4-8/9"), "another part"),
        (Reply::new(206, "rest"), "another part"),
        (Reply::new(200, "zip").with("Content-Encoding", "gzip"), "compressed"),
        (Reply::new(204, ""), "login page"),
    ] {
        let place = Place::new();
        place.partial(b"begin", Some(TAG));
        let server = Server::start(move |_| reply.clone());
        let error = place.fetch(&server.at("/a"), Expected::default()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn each_refusal_comes_with_advice() {
    for (status, words, requests) in [
        (401, "HF_TOKEN", 1),
        (403, "accept the model's terms", 1),
        (404, "check name and revision", 1),
        (407, "proxy", 1),
        (429, "wait some minutes", 3),
        (500, "try again later", 3),
        (503, "try again later", 3),
        (418, "login page", 1),
    ] {
        let place = Place::new();
        let server = Server::start(move |_| Reply::new(status, "no").with("X-Error-Message", "because"));
        let error = place.fetch(&server.at("/a"), Expected::default()).unwrap_err().to_string();
        assert!(
            error.contains(&status.to_string()) && error.contains(words) && error.contains("because"),
            "{error}"
        );
        assert_eq!(server.asked().len(), requests, "{status}");
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let place = Place::new();
    let mut slow = settings("http://127.0.0.1:1", place.0.path());
    slow.timeout = Duration::from_millis(300);
    slow.retries = 1;
    let server = Server::start(|_| Reply { stall: Duration::from_secs(30), ..Reply::new(200, [1; 1000]) });
    let session = Session::new(slow).unwrap();
    let begun = regraft_system::clock::Stopwatch::start();
    let error = fetch(&session, &server.at("/a"), &place.file(), Expected::default(), &Silent).unwrap_err();
    assert!(begun.seconds() < 5.0);
    assert!(error.to_string().contains("999 bytes of 1000"), "{error}");
}

#[test]
fn a_machine_without_a_network_is_told_so() {
    let place = Place::new();
    for address in ["http://127.0.0.1:1/a", "https://no-such-host.invalid/a"] {
        let error = place.fetch(address, Expected::default()).unwrap_err().to_string();
        assert!(error.contains("seems to be offline"), "{error}");
    }
    let mut offline = settings("http://127.0.0.1:1", place.0.path());
    offline.offline = Some("HF_HUB_OFFLINE");
    let session = Session::new(offline).unwrap();
    let error =
        fetch(&session, "http://127.0.0.1:1/a", &place.file(), Expected::default(), &Silent).unwrap_err();
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
}

#[test]
fn addresses_that_are_none() {
    let place = Place::new();
    for address in
        ["file:///etc/passwd", "weights.bin", "http://", "http://user:password@127.0.0.1/a", "https://"]
    {
        let error = place.fetch(address, Expected::default()).unwrap_err();
        assert!(matches!(error, HubError::Name { .. }), "{error}");
    }
}

#[test]
fn redirects_are_followed_to_an_end() {
    let place = Place::new();
    let server = Server::start(|asked| match asked.path.as_str() {
        "/a" => Reply::new(302, "").with("Location", "b/c"),
        "/b/c" => Reply::new(307, "").with("Location", "/d"),
        "/d" => Reply::file(asked, b"content", TAG),
        "/file" => Reply::new(302, "").with("Location", "file:///etc/passwd"),
        path => Reply::new(302, "").with("Location", format!("{path}x")),
    });
    place.fetch(&server.at("/a"), Expected::default()).unwrap();
    place.holds(b"content");
    let place = Place::new();
    let error = place.fetch(&server.at("/loop"), Expected::default()).unwrap_err().to_string();
    assert!(error.contains("after ten other redirects"), "{error}");
    let error = place.fetch(&server.at("/file"), Expected::default()).unwrap_err().to_string();
    assert!(error.contains("is not an address"), "{error}");
}

#[test]
fn an_interruption_keeps_what_has_arrived() {
    let (place, bytes) = (Place::new(), content(400_000));
    let body = bytes.clone();
    let server = Server::start(move |asked| Reply::file(asked, &body, TAG));
    let listener = Listener { stop_after: Some(100_000), ..Listener::default() };
    let address = server.at("/a");
    let error = fetch(&place.session(), &address, &place.file(), Expected::default(), &listener).unwrap_err();
    assert!(matches!(error, HubError::Interrupted));
    place.fetch(&address, Expected::default()).unwrap();
    place.holds(&bytes);
    assert!(server.asked()[1].start() >= 100_000);
}

#[test]
fn two_runs_fetch_a_file_once() {
    let (place, bytes) = (Place::new(), content(100_000));
    let body = bytes.clone();
    let server = Server::start(move |asked| Reply {
        stall: Duration::from_millis(400),
        ..Reply::file(asked, &body, TAG)
    });
    let (address, place) = (server.at("/a"), &place);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| place.fetch(&address, Expected::default()).unwrap());
        }
    });
    place.holds(&bytes);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_proxy_is_asked_unless_it_is_excepted() {
    let (place, server) = (Place::new(), Server::start(|asked| Reply::file(asked, b"direct", TAG)));
    let proxy = Server::start(|asked| Reply::new(407, format!("{} {}", asked.method, asked.path)));
    let mut behind = settings("http://127.0.0.1:1", place.0.path());
    behind.proxies = [None, Some(proxy.at(""))];
    let get = |settings| {
        let session = Session::new(settings).unwrap();
        fetch(&session, &server.at("/a"), &place.file(), Expected::default(), &Silent)
    };
    get(behind.clone()).unwrap_err();
    assert_eq!((proxy.asked().len(), server.asked().len()), (1, 0));
    behind.no_proxy = "example.com, 127.0.0.1".to_owned();
    get(behind).unwrap();
    place.holds(b"direct");
    assert_eq!(proxy.asked().len(), 1);
}

#[test]
fn proxies_of_other_kinds_are_an_error() {
    let place = Place::new();
    let get = |address: &str, proxy: &str, no_proxy: &str| {
        let proxies = [Some(proxy.to_owned()), Some(proxy.to_owned())];
        let no_proxy = no_proxy.to_owned();
        let session =
            Session::new(Settings { proxies, no_proxy, ..settings("http://127.0.0.1:1", place.0.path()) })?;
        fetch(&session, address, &place.file(), Expected::default(), &Silent)
    };
    for address in ["https://example.invalid/a", "http://127.0.0.1:1/a"] {
        for kind in ["socks5", "socks5h", "socks4", "SOCKS4A"] {
            let error = get(address, &format!("{kind}://127.0.0.1:1"), "127.0.0.1").unwrap_err();
            assert!(error.to_string().contains("a SOCKS proxy cannot be used"), "{error}");
        }
        let error = get(address, "https://127.0.0.1:1", "").unwrap_err();
        assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    }
    let error = get("http://below.invalid/a", "http://127.0.0.1:1", "invalid").unwrap_err().to_string();
    assert!(error.contains("below.invalid"), "reached without the proxy: {error}");
}
