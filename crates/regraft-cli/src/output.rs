//! Standard output and standard error.

use std::io::{self, Write as _};
use std::path::PathBuf;

use regraft::{Error, Result};
use serde::Serialize;

/// Writes to standard output. A reader that has gone away (`| head`) has what it wanted: the process ends.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        #[allow(
            clippy::exit,
            reason = "nobody listens, and whatever goes to the disk is there before it is told of"
        )]
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(|error| Error::write_failed(PathBuf::from("standard output"), error)),
    }
}

/// One line to standard output.
pub(crate) fn line(line: &str) -> Result<()> {
    text(&format!("{line}\n"))
}

/// A value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    serde_json::to_string_pretty(value)
        .map_err(|error| Error::Usage(error.to_string()))
        .and_then(|json| line(&json))
}

/// A value as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Result<()> {
    serde_json::to_string(value).map_err(|error| Error::Usage(error.to_string())).and_then(|json| line(&json))
}

/// An error message, on standard error.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "error: {message}");
}
