//! Python, in a virtual environment under `target/`, for what Regraft is compared with.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The interpreter of the environment at `place`, which is made if need be and brought to these `pip install` arguments.
pub(crate) fn virtual_environment(place: &Path, packages: &[impl AsRef<OsStr>]) -> Result<PathBuf> {
    let python = place.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(place))?;
    }
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
    Ok(python)
}

/// Runs a program to its successful end.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}
