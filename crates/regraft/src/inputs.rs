//! Files, folders and standard input, as `predict` and `embed` take them, and images with labels, as the other verbs do.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use regraft_data::source::{ImageFolder, LabelFile, Unlabelled, scan_unlabelled};
use tempfile::NamedTempFile;

use crate::{Error, Result};

/// The images of a folder with their labels, which folders give, or a table. Nothing is decoded.
pub(crate) fn labelled(data: &Path, labels: Option<&LabelFile>) -> Result<ImageFolder> {
    match labels {
        None => ImageFolder::scan(data).map_err(Error::data),
        Some(labels) => ImageFolder::labelled(data, labels).map_err(Error::data),
    }
}

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
    let paths = paths(&content).ok_or_else(|| {
        Error::Data("standard input: neither an image nor a list of paths, one a line".to_owned())
    })?;
    if paths.is_empty() {
        return Err(Error::Data(
            "standard input is empty; give an image, or a list of paths, one a line".to_owned(),
        ));
    }
    Ok(files(&paths)?.collect())
}

/// The lines of a list, without the byte order mark and the carriage returns that some systems add; `None` if it is
/// none.
fn paths(content: &[u8]) -> Option<Vec<PathBuf>> {
    let content = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
    let lines = content.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).map(path).collect()
}

/// A path of any bytes but zero, which no path has and every other kind of file does.
#[cfg(unix)]
fn path(line: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    (!line.contains(&0)).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(line)))
}

#[cfg(not(unix))]
fn path(line: &[u8]) -> Option<PathBuf> {
    str::from_utf8(line).ok().filter(|line| !line.contains('\0')).map(PathBuf::from)
}

fn keep(content: &[u8]) -> Result<NamedTempFile> {
    let failed = |error: std::io::Error| Error::Data(format!("standard input: {error}"));
    let mut file = NamedTempFile::new().map_err(failed)?;
    std::io::Write::write_all(&mut file, content).map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::paths;

    #[test]
    fn a_list_is_read_as_any_system_writes_it() {
        let expected = Some(vec![PathBuf::from("a b.png"), PathBuf::from(" ä.png")]);
        for list in ["a b.png\n ä.png\n", "a b.png\n\n ä.png", "\u{feff}a b.png\r\n ä.png\r\n"] {
            assert_eq!(paths(list.as_bytes()), expected, "{list:?}");
        }
        assert_eq!(paths(b""), Some(Vec::new()));
        assert_eq!(paths(b"\x89HDF\0\0"), None);
    }
}
