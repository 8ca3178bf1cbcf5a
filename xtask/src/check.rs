//! `cargo xtask check`: what CI runs.

use std::process::Command;

use anyhow::{Result, bail};

/// Runs every check, in the order in which a fault is cheapest to find; `tests` includes the ordinary tests.
///
/// # Errors
/// The first check that fails, by the command that repeats it.
pub(crate) fn check(tests: bool) -> Result<()> {
    cargo("fmt --all --check", &[])?;
    if tests {
        cargo("test --release --workspace", &[])?;
    }
    cargo("clippy --release --workspace --all-targets -- -D warnings", &[])?;
    cargo("doc --release --workspace --no-deps", &[("RUSTDOCFLAGS", "-D warnings")])?;
    cargo("deny --log-level error check licenses bans sources", &[])?;
    cargo("xtask instructions", &[])?;
    cargo("xtask assets", &[])?;
    cargo("test --release --workspace -- --ignored", &[])
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
