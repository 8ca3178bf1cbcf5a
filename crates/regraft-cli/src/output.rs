//! Standard output and standard error.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::path::PathBuf;

use regraft::{Error, Result};
use serde::Serialize;

/// Writes to standard output. A reader that has gone away (`| head`) has what it wanted: the process ends.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(printable(text).as_bytes()).and_then(|()| stdout.flush()) {
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
    let _ = writeln!(io::stderr(), "error: {}", printable(message));
}

/// A text without what would steer a terminal: names come from files of strangers.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    // Marks that turn the direction of what follows.
    let turns = |letter: char| matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let steers = |letter: char| (letter.is_control() && !matches!(letter, '\n' | '\t')) || turns(letter);
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let shown =
        |letter: char| if steers(letter) { letter.escape_unicode().to_string() } else { letter.to_string() };
    Cow::Owned(text.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        assert_eq!(printable("größer\t1\n"), "größer\t1\n");
        assert_eq!(printable("a\u{1b}[31mb\r\u{202e}"), "a\\u{1b}[31mb\\u{d}\\u{202e}");
    }
}
