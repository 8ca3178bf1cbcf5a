//! `cargo xtask check`: what CI runs.

use std::process::Command;

use anyhow::{Result, bail};

/// Which checks are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// The ordinary tests.
    tests: bool,
    /// The engine's tests under AddressSanitizer.
    full: bool,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self { tests: true, full: false };
        for word in words {
            match *word {
                "--without-tests" => options.tests = false,
                "--full" => options.full = true,
                _ => bail!(crate::USAGE),
            }
        }
        Ok(options)
    }
}

/// Runs the checks, in the order in which a fault is cheapest to find.
///
/// # Errors
/// The first check that fails, by the command that repeats it.
pub(crate) fn check(options: &Options) -> Result<()> {
    cargo("fmt --all --check", &[])?;
    if options.tests {
        cargo("test --release --workspace", &[])?;
    }
    cargo("clippy --release --workspace --all-targets -- -D warnings", &[])?;
    cargo("doc --release --workspace --no-deps", &[("RUSTDOCFLAGS", "-D warnings")])?;
    cargo("deny --log-level error check licenses bans sources", &[])?;
    cargo("xtask instructions", &[])?;
    cargo("xtask assets", &[])?;
    cargo("test --release --workspace -- --ignored", &[])?;
    if options.full { addresses() } else { Ok(()) }
}

/// The engine's tests under AddressSanitizer, which stops at a read or write outside of what was allocated.
///
/// Kernels compute addresses, and a wrong one often goes unnoticed: what lies behind a buffer is rarely unmapped and
/// often zero. Miri would find more, but it has no AVX-512 instructions and does not come with the stable toolchain. The
/// sanitizer's library does, though the flag is still called unstable: hence `RUSTC_BOOTSTRAP`, for this one build, in a
/// folder of its own. `regraft_sanitized` makes the engine forbid more than was not allocated, see its module `guard`.
/// Every kernel is reached from the test files; the library's own tests would only have it compiled twice.
fn addresses() -> Result<()> {
    let folder = crate::target().join("asan");
    let command = format!(
        "test --release --package regraft-engine --test=* --target x86_64-unknown-linux-gnu --target-dir {}",
        folder.display()
    );
    let flags = "-Zsanitizer=address --cfg regraft_sanitized";
    cargo(&command, &[("RUSTC_BOOTSTRAP", "1"), ("RUSTFLAGS", flags)])
}

/// Runs cargo with the words of `arguments`.
///
/// # Errors
/// It cannot be started, or fails.
pub(crate) fn cargo(arguments: &str, environment: &[(&str, &str)]) -> Result<()> {
    println!("== cargo {arguments}");
    let mut command = Command::new("cargo");
    command.args(arguments.split(' ')).envs(environment.iter().copied());
    if !command.status()?.success() {
        bail!("`cargo {arguments}` failed");
    }
    Ok(())
}
