//! Files, folders and standard input, as `predict` and `embed` take them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use regraft_data::source::{Unlabelled, scan_unlabelled};
use tempfile::NamedTempFile;

use crate::{Error, Result};

/// One image to look at.
pub(crate) enum Input {
    /// A file that was named, or found in a named folder.
    File(Unlabelled),
    /// An image that came on standard input.
    StandardInput(NamedTempFile),
}

impl Input {
    /// Where its bytes are.
    pub(crate) fn file(&self) -> &Path {
        match self {
            Self::File(file) => &file.path,
            Self::StandardInput(file) => file.path(),
        }
    }

    /// What to call it in an answer.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(file) => file.path.to_string_lossy().into_owned(),
            Self::StandardInput(_) => "-".to_owned(),
        }
    }
}

/// More than this on standard input is refused.
const STANDARD_INPUT_LIMIT: u64 = 1 << 30;

/// The images behind the arguments, in their order; folders in bytewise order of the relative path.
pub(crate) fn expand(arguments: &[PathBuf]) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            inputs.extend(standard_input()?);
        } else {
            inputs.extend(files(std::slice::from_ref(argument))?);
        }
    }
    Ok(inputs)
}

fn files(paths: &[PathBuf]) -> Result<impl Iterator<Item = Input>> {
    Ok(scan_unlabelled(paths).map_err(Error::data)?.items.into_iter().map(Input::File))
}

/// Standard input holds one image, or the paths of some, one a line.
fn standard_input() -> Result<Vec<Input>> {
    let mut content = Vec::new();
    let read = std::io::stdin().lock().take(STANDARD_INPUT_LIMIT).read_to_end(&mut content);
    read.map_err(|error| Error::Data(format!("standard input: {error}")))?;
    if regraft_data::decode::dimensions(&content).is_ok() {
        return keep(&content).map(|file| vec![Input::StandardInput(file)]);
    }
    let text = String::from_utf8(content).ok().filter(|text| !text.trim().is_empty());
    let text =
        text.ok_or_else(|| Error::Data("standard input: neither an image nor a list of paths".to_owned()))?;
    let paths: Vec<PathBuf> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(PathBuf::from).collect();
    Ok(files(&paths)?.collect())
}

fn keep(content: &[u8]) -> Result<NamedTempFile> {
    let failed = |error: std::io::Error| Error::Data(format!("standard input: {error}"));
    let mut file = NamedTempFile::new().map_err(failed)?;
    std::io::Write::write_all(&mut file, content).map_err(failed)?;
    Ok(file)
}
