//! `cargo xtask instructions`: how many instructions a run of a small network takes, against stored counts.
//!
//! Time on a shared machine is too uneven for a test; the number of instructions is the same to a few parts in a thousand
//! whatever else is running. It says nothing about caches and ports, but a kernel that is no longer inlined, no longer
//! vectorised or chosen for the wrong layers shows at once. Callgrind does not know AVX-512, so the AVX2 kernels are
//! counted; they are compiled from the same source.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use regraft_system::files;

use crate::check::cargo;

/// Networks of `crates/regraft-engine/examples/small_graph.rs` and their precisions.
const WORKS: [[&str; 2]; 3] = [["convolutional", "f32"], ["convolutional", "int8"], ["transformer", "f32"]];

/// Stored counts by work, relative to the workspace's root.
const STORED: &str = "xtask/instructions.json";

/// Ratios to the stored count between which nothing needs to be done. Another version of the compiler changes a few per
/// cent.
const USUAL: [f64; 2] = [0.85, 1.15];

/// Runs whose counts are subtracted, so that compiling the network does not count.
const RUNS: [u64; 2] = [1, 3];

type Counts = BTreeMap<String, u64>;

/// Counts and compares; with `write`, stores the counts instead.
///
/// # Errors
/// Valgrind is not there, or a work takes many more instructions than are stored for it.
pub(crate) fn instructions(write: bool) -> Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        bail!(
            "valgrind, which counts instructions, is not installed; `apt-get install valgrind` installs it"
        );
    }
    // Of the whole workspace, so that the dependencies have the features that the tests built them with.
    cargo("build --release --workspace --example small_graph", &[])?;
    let counted = |work: &[&str; 2]| Ok((work.join(" "), instructions_of(*work)?));
    let counts: Counts = WORKS.iter().map(counted).collect::<Result<_>>()?;
    let path = crate::root().join(STORED);
    if write {
        let text = serde_json::to_string_pretty(&counts)? + "\n";
        return Ok(files::write_atomically(&path, text.as_bytes())?);
    }
    compare(&counts, &serde_json::from_slice(&files::read(&path)?)?)
}

fn compare(counts: &Counts, stored: &Counts) -> Result<()> {
    let advice = "`cargo xtask instructions --write` stores the new count";
    let mut worse = Vec::new();
    for (work, count) in counts {
        let stored = *stored.get(work).with_context(|| format!("{STORED} lacks '{work}'; {advice}"))?;
        let ratio = *count as f64 / stored as f64;
        println!("{work}: {count} instructions a run, {ratio:.3} of the stored count");
        let [low, high] = USUAL;
        if ratio > high {
            worse.push(work.as_str());
        } else if ratio < low {
            println!("{work}: that is a gain worth keeping: {advice}");
        }
    }
    if !worse.is_empty() {
        bail!("more instructions than before: {}; if there is a good reason, {advice}", worse.join(", "));
    }
    Ok(())
}

/// Instructions of one run of a group of two images.
fn instructions_of(work: [&str; 2]) -> Result<u64> {
    let [few, many] = RUNS;
    Ok(callgrind(work, many)?.saturating_sub(callgrind(work, few)?) / (many - few))
}

/// Instructions of the whole process.
fn callgrind(work: [&str; 2], runs: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(crate::example("small_graph"));
    command.args(work).arg(runs.to_string()).env("REGRAFT_INSTRUCTION_SET", "avx2");
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("valgrind on '{}': {text}", work.join(" "));
    }
    collected(&text).with_context(|| format!("valgrind counted nothing: {text}"))
}

/// The number of `==1234== Collected : 5678`.
fn collected(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_what_callgrind_prints() {
        let text = "==7== Events    : Ir\n==7== Collected : 123456\n==7== \n";
        assert_eq!(collected(text), Some(123_456));
        assert_eq!(collected("valgrind: cannot execute"), None);
    }

    #[test]
    fn only_many_more_instructions_fail() {
        let counts = |count| Counts::from([("a".to_owned(), count)]);
        for (count, passes) in [(10, true), (100, true), (114, true), (116, false)] {
            assert_eq!(compare(&counts(count), &counts(100)).is_ok(), passes, "{count}");
        }
        assert!(compare(&counts(1), &Counts::new()).is_err());
    }
}
