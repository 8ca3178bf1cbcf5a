//! A server on the loopback interface, in the test's own process, that answers as it is told.
#![allow(dead_code, reason = "every test file uses its part of this module")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regraft_hub::{Session, Settings, Token, Watch};

/// What a server was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first byte that is asked for.
    pub(crate) fn start(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes="));
        range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap())
    }
}

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Announce the body's length. A header of that name in `headers` announces another.
    pub(crate) announce: bool,
    /// Wait so long before the last byte.
    pub(crate) stall: Duration,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl AsRef<[u8]>) -> Self {
        let (headers, body) = (Vec::new(), body.as_ref().to_vec());
        Self { status, headers, body, announce: true, stall: Duration::ZERO }
    }

    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// The whole content, or the rest that is asked for on the condition that the tag is this one.
    pub(crate) fn file(asked: &Asked, content: &[u8], tag: &str) -> Self {
        let fits = asked.header("if-range").is_none_or(|wanted| wanted == tag);
        let start = if fits { asked.start() } else { 0 };
        let total = content.len();
        match start {
            0 => Self::new(200, content).with("ETag", tag),
            start if start >= total => Self::new(416, "").with("Content-Range", format!("bytes */{total}")),
            start => Self::new(206, &content[start..])
                .with("ETag", tag)
                .with("Content-Range", format!("bytes {start}-{}/{total}", total - 1)),
        }
    }

    /// Announces everything and hangs up after `bytes`.
    pub(crate) fn cut_after(self, bytes: usize) -> Self {
        let announced = self.body.len();
        let mut cut = self.with("Content-Length", announced);
        cut.announce = false;
        cut.body.truncate(bytes);
        cut
    }

    fn send(&self, mut stream: TcpStream, head: bool) -> std::io::Result<()> {
        let mut text = format!("HTTP/1.1 {} Answer\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if self.announce {
            text += &format!("Content-Length: {}\r\n", self.body.len());
        }
        stream.write_all(format!("{text}\r\n").as_bytes())?;
        if head {
            return Ok(());
        }
        let (most, last) = self.body.split_at(self.body.len().saturating_sub(1));
        stream.write_all(most)?;
        std::thread::sleep(self.stall);
        stream.write_all(last)
    }
}

/// A server; it goes on until the process ends.
#[derive(Clone)]
pub(crate) struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), asked: Arc::default() };
        let (log, answer) = (Arc::clone(&server.asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let Some(asked) = read(&stream) else { return };
                    log.lock().unwrap().push(asked.clone());
                    // A client that hangs up is part of some tests.
                    let _ = answer(&asked).send(stream, asked.method == "HEAD");
                });
            }
        });
        server
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The same server under another name, which makes it another server to a client.
    pub(crate) fn alias(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
    let headers = headers.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Asked { method, path, headers: headers.collect() })
}

/// Settings that never wait and know nothing of the machine that the test runs on.
pub(crate) fn settings(endpoint: &str, cache: &Path) -> Settings {
    let (endpoint, cache) = (endpoint.to_owned(), cache.to_path_buf());
    let timeout = Duration::from_secs(2);
    Settings {
        endpoint,
        cache,
        token: None,
        offline: None,
        proxies: [None, None],
        no_proxy: String::new(),
        timeout,
        retries: 2,
        pause: Duration::ZERO,
    }
}

pub(crate) fn session(endpoint: &str, cache: &Path) -> Session {
    Session::new(settings(endpoint, cache)).unwrap()
}

pub(crate) fn secret() -> Option<Token> {
    Token::new("hf_secret")
}

/// Remembers what it hears.
#[derive(Default)]
pub(crate) struct Listener {
    pub(crate) heard: Mutex<Vec<String>>,
    pub(crate) received: Mutex<u64>,
    /// Asks to stop as soon as so many bytes have arrived.
    pub(crate) stop_after: Option<u64>,
}

impl Watch for Listener {
    fn begin(&self, name: &str, here: u64, total: Option<u64>) {
        self.heard.lock().unwrap().push(format!("{name} {here} {total:?}"));
    }

    fn received(&self, bytes: u64) {
        *self.received.lock().unwrap() += bytes;
    }

    fn message(&self, text: &str) {
        self.heard.lock().unwrap().push(text.to_owned());
    }

    fn interrupted(&self) -> bool {
        self.stop_after.is_some_and(|limit| *self.received.lock().unwrap() >= limit)
    }
}

/// Bytes that differ from place to place.
pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}
