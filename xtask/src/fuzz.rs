//! `cargo xtask fuzz`: every reader on damaged files.

use std::path::Path;

use anyhow::{Context as _, bail};
use regraft_system::files;

use crate::check::cargo;

/// The fuzz targets, and where valid files for each lie below the tests of regraft-formats.
const TARGETS: &[(&str, &str, &[&str])] = &[
    ("archive", "", &[]),
    ("caffe_network", "caffe", &["prototxt"]),
    ("caffe_weights", "caffe", &["caffemodel", "binaryproto"]),
    ("catalogue", "", &[]),
    ("configuration", "", &[]),
    ("javascript", "", &[]),
    ("keras", "keras", &["h5", "keras"]),
    ("keras_description", "keras", &["json"]),
    ("labels", "", &[]),
    ("model_folder", "", &[]),
    ("npy", "", &["npy"]),
    ("npz", "", &["npz"]),
    ("onnx", "onnx", &["onnx"]),
    ("pytorch", "", &["pth"]),
    ("safetensors", "", &["safetensors"]),
    ("tfjs", "tfjs", &["json"]),
];

/// Limits of libFuzzer: seconds for one input, MB for all and for one allocation, bytes of an input.
const LIMITS: &str = "-timeout=10 -rss_limit_mb=1500 -malloc_limit_mb=700 -max_len=200000";

/// Runs the targets of these names, all where there are none, for so many seconds each. What is found is written to
/// `fuzz/artifacts`; the corpus grows in `target/fuzz-corpus`.
///
/// cargo-fuzz needs flags of the compiler that are called unstable, hence `RUSTC_BOOTSTRAP`.
///
/// # Errors
/// A name is unknown, cargo-fuzz is not there, or an input was found that a reader does not come back from.
pub(crate) fn run(seconds: u32, names: &[&str]) -> anyhow::Result<()> {
    if let Some(unknown) = names.iter().find(|name| !TARGETS.iter().any(|(target, ..)| target == *name)) {
        bail!("no fuzz target is called {unknown}");
    }
    let chosen = |name: &str| names.is_empty() || names.contains(&name);
    for (name, seeds, endings) in TARGETS.iter().filter(|(name, ..)| chosen(name)) {
        let corpus = crate::target().join("fuzz-corpus").join(name);
        sow(&corpus, seeds, endings)?;
        let (corpus, regressions) = (corpus.display(), format!("fuzz/regressions/{name}"));
        let command = format!(
            "fuzz run --target-dir {} {name} {corpus} {regressions} -- -max_total_time={seconds} {LIMITS}",
            crate::target().join("fuzz").display()
        );
        cargo(&command, &[("RUSTC_BOOTSTRAP", "1")])
            .context("cargo-fuzz: `cargo install cargo-fuzz --locked` where it is not there")?;
    }
    Ok(())
}

/// Puts the valid files of the tests into a corpus.
fn sow(corpus: &Path, folder: &str, endings: &[&str]) -> anyhow::Result<()> {
    std::fs::create_dir_all(corpus)?;
    let golden = crate::root().join("crates/regraft-formats/tests/golden").join(folder);
    for (number, path) in files::files_below(&golden)?.into_iter().enumerate() {
        if path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)) {
            std::fs::copy(&path, corpus.join(format!("seed-{number}")))?;
        }
    }
    Ok(())
}
