//! A fresh folder with a cache of its own, small data, and the real command in it.
#![allow(dead_code, reason = "every test file uses its part of this module")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Exit codes, as `regraft --help` lists them.
pub(crate) const DONE: i32 = 0;
pub(crate) const USAGE: i32 = 2;
pub(crate) const DATA: i32 = 3;
pub(crate) const MODEL: i32 = 4;
pub(crate) const OUTPUT: i32 = 5;
pub(crate) const INTERRUPTED: i32 = 130;

/// What the machine's own environment may say about networks.
const OUTSIDE: [&str; 11] = [
    "HF_HUB_CACHE",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Where everything of one test happens.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// The command with this place as working folder and a cache in it.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_regraft"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("REGRAFT_CACHE", "cache").env("REGRAFT_ZOO", "zoo").env("HF_HOME", "hf");
        for variable in OUTSIDE {
            command.env_remove(variable);
        }
        command
    }

    /// Runs the words of `line`.
    pub(crate) fn run(&self, line: &str) -> Answer {
        self.run_with(line.split_whitespace())
    }

    pub(crate) fn run_with<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Answer {
        Answer::of(&self.command(arguments).output().unwrap())
    }

    /// Runs the words of `line` with `input` on standard input.
    pub(crate) fn run_on(&self, line: &str, input: &[u8]) -> Answer {
        let mut command = self.command(line.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Answer::of(&child.wait_with_output().unwrap())
    }

    pub(crate) fn write(&self, name: impl AsRef<Path>, content: &[u8]) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// `images` emoji in each of the folders `data/animals` and `data/food`.
    pub(crate) fn two_classes(&self, data: &str, images: usize) {
        for class in ["animals", "food"] {
            self.emoji(class, 0..images, &format!("{data}/{class}"));
        }
    }

    /// Emoji of a category, by their position in the order of names.
    pub(crate) fn emoji(&self, category: &str, which: std::ops::Range<usize>, folder: &str) {
        fs::create_dir_all(self.at(folder)).unwrap();
        for source in emoji(category).get(which).unwrap() {
            fs::copy(source, self.at(folder).join(source.file_name().unwrap())).unwrap();
        }
    }

    /// A run called `run` on the folder `data` with two classes of six images.
    pub(crate) fn fitted(&self) -> Answer {
        self.two_classes("data", 6);
        let answer = self.run("fit data --out run --curve-repetitions 0");
        answer.is(DONE);
        answer
    }

    /// Nothing unfinished lies about.
    pub(crate) fn is_tidy(&self) {
        let unfinished: Vec<PathBuf> = files_below(self.0.path())
            .into_iter()
            .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".regraft-unfinished-"))
            .collect();
        assert!(unfinished.is_empty(), "left behind: {unfinished:?}");
    }
}

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let answer =
            Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) };
        assert!(!answer.err.contains("panicked"), "{answer:?}");
        answer
    }

    /// Ended with `code`.
    pub(crate) fn is(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Standard error contains every one of `words`.
    pub(crate) fn tells(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(self.err.contains(word), "no '{word}' in {}", self.err);
        }
        self
    }

    /// Failed with `code` and a message with all of `words`, and with nothing on standard output.
    pub(crate) fn fails(&self, code: i32, words: &[&str]) -> &Self {
        self.is(code).tells(words);
        assert!(self.err.contains("error: "), "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        self
    }

    /// Standard output as one JSON value.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn emoji(category: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/emoji").join(category);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A committed file of a test of another crate.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&path));
        }
        found.push(path);
    }
    found
}

/// A PNG of one colour.
pub(crate) fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let pixels = colour.repeat((width * height) as usize);
    encode_png(width, height, &pixels)
}

/// A PNG of 8 × 8 squares whose colours `seed` determines.
pub(crate) fn patchwork(seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let pixels: Vec<u8> = (0..8 * 8 * 3).map(|_| next()).collect();
    encode_png(8, 8, &pixels)
}

fn encode_png(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut encoder = png::Encoder::new(&mut content, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    content
}

/// A PNG whose valid header promises `width` × `height` pixels that are not there.
pub(crate) fn png_promising(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let checksum = crc32(&header).to_be_bytes();
    [b"\x89PNG\r\n\x1a\n\0\0\0\x0d".as_slice(), &header, &checksum, b"\0\0\0\x08IDAT\x78\x9c\0\0\0\0\0\0"]
        .concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    let update = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    };
    !bytes.iter().fold(!0, update)
}

/// A `.npy` file with elements of the type `kind`, whatever stands in `data`.
pub(crate) fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\0".as_slice(), &length, header.as_bytes(), data].concat()
}

/// A safetensors file with that header, whatever stands in `data`.
pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}
