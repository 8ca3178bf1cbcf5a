//! What can go wrong, sorted by what the user can do about it.

use std::path::PathBuf;

use regraft_system::files::FileError;

/// A failed command, by who can mend it. The command line turns each kind into one exit code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A flag, a configuration value or a name cannot be used as given.
    #[error("{0}")]
    Usage(String),
    /// The input data cannot be used.
    #[error("{0}")]
    Data(String),
    /// A model, a weight file or a run folder cannot be used.
    #[error("{0}")]
    Model(String),
    /// Something could not be written.
    #[error("{}: {what} failed: {}; {}", path.display(), reason(.source), advice(.source))]
    Output {
        /// The file or folder, under its final name.
        path: PathBuf,
        /// What was being written.
        what: &'static str,
        /// The system's answer.
        source: FileError,
    },
    /// The user asked to stop. Everything finished so far is kept.
    #[error("interrupted; the same command goes on from what has been kept")]
    Interrupted,
}

impl Error {
    /// An adapter for `map_err` on a failed write.
    pub(crate) fn output(path: impl Into<PathBuf>, what: &'static str) -> impl FnOnce(FileError) -> Self {
        let path = path.into();
        move |source| Self::Output { path, what, source }
    }

    /// A failed write, from the system's answer.
    pub fn write_failed(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let path = path.into();
        let source = FileError { path: path.clone(), action: "write", source };
        Self::Output { path, what: "writing", source }
    }

    /// An adapter for `map_err` on a format that could not be written.
    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(regraft_formats::FormatError) -> Self {
        let path = path.into();
        move |error| match error {
            regraft_formats::FormatError::File(source) => Self::Output { path, what: "writing", source },
            regraft_formats::FormatError::Options { .. } => Self::Usage(error.to_string()),
            other => Self::Model(other.to_string()),
        }
    }

    /// An adapter for `map_err` on input that cannot be used.
    pub(crate) fn data(error: impl std::fmt::Display) -> Self {
        Self::Data(error.to_string())
    }

    /// An adapter for `map_err` on a model that cannot be used.
    pub(crate) fn model(error: impl std::fmt::Display) -> Self {
        Self::Model(error.to_string())
    }
}

/// The system's answer alone: the path of a temporary file would only confuse.
fn reason(source: &FileError) -> String {
    let whole = source.source.to_string();
    whole.split_once(" at path ").map_or(whole.clone(), |(reason, _)| reason.to_owned())
}

fn advice(source: &FileError) -> &'static str {
    use std::io::ErrorKind;
    match source.source.kind() {
        _ if source.is_disk_full() => "free some space or choose another place",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "choose a place that you may write to",
        ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::DirectoryNotEmpty => "choose another name",
        _ => "choose another place",
    }
}

/// The result of every call.
pub type Result<T> = std::result::Result<T, Error>;
