//! What can go wrong between here and a published file, each with what to do about it.

use std::path::PathBuf;

use regraft_system::files::FileError;

/// A file that cannot be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The user has said that there is no network.
    #[error(
        "{what} is not on this machine, and it is set to work offline ({variable}); unset that and try again"
    )]
    Offline {
        /// What was asked for.
        what: String,
        /// The variable that says so.
        variable: &'static str,
    },
    /// The server cannot be reached at all.
    #[error(
        "cannot reach {host}: {reason}. This machine seems to be offline: what is here already goes on working; \
         behind a proxy, set HTTPS_PROXY"
    )]
    Unreachable {
        /// The server's name.
        host: String,
        /// The system's answer.
        reason: String,
    },
    /// The server does not answer in time.
    #[error("{host} has sent nothing for {seconds} s; try again, or raise HF_HUB_DOWNLOAD_TIMEOUT (seconds)")]
    TimedOut {
        /// The server's name.
        host: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The server's certificate is not trusted.
    #[error(
        "{host}: the connection is not secure: {reason}; certificates are those of the system, and SSL_CERT_FILE names \
         others, such as those of a company's proxy"
    )]
    Insecure {
        /// The server's name.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The server refuses.
    #[error("{address}: the server answers {status}: {advice}")]
    Status {
        /// What was asked for.
        address: String,
        /// HTTP status.
        status: u16,
        /// What it means and what to do.
        advice: String,
    },
    /// The server points elsewhere, and there is no following it.
    #[error("{address}: the server redirects to {target}, {reason}")]
    Redirect {
        /// Where the redirect was met.
        address: String,
        /// Where it points.
        target: String,
        /// Why that is not followed.
        reason: &'static str,
    },
    /// The connection broke and did not come back.
    #[error(
        "{address}: the connection was cut after {received} bytes{}: {reason}; they are kept, and the same command \
         goes on from there", of_total(.total)
    )]
    Cut {
        /// What was being fetched.
        address: String,
        /// Bytes that are here.
        received: u64,
        /// Bytes that there are, if the server has said.
        total: Option<u64>,
        /// What happened.
        reason: String,
    },
    /// The content is not what was published.
    #[error(
        "{address}: its {} is {found}, expected {expected}: it is damaged, or not the one that was published",
        name_of_hash(.found)
    )]
    Checksum {
        /// Where the file comes from.
        address: String,
        /// The published hash, or the beginning of it.
        expected: String,
        /// What the content has.
        found: String,
    },
    /// The size is not what was published, or beyond reason.
    #[error("{address}: the file has {found} bytes, expected {expected}")]
    Size {
        /// Where the file comes from.
        address: String,
        /// What was published, or the limit.
        expected: String,
        /// What the server says or sends.
        found: u64,
    },
    /// The server's answer makes no sense.
    #[error("{address}: {message}; is that a Hugging Face server, or a login page in between?")]
    Protocol {
        /// What was asked for.
        address: String,
        /// What is wrong with the answer.
        message: String,
    },
    /// An address, or a name that a server or an archive gives, cannot be used.
    #[error("'{name}' {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The registry's own program does not do what it is asked to.
    #[error(
        "{package}: {message}; to do without, fetch the file by other means and run: regraft zoo add FILE --name NAME"
    )]
    Registry {
        /// The package.
        package: String,
        /// What happened.
        message: String,
    },
    /// An archive is damaged, or does not hold what it should.
    #[error("{}: {message}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A setting in the environment cannot be used.
    #[error("{variable}: {message}")]
    Setting {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The user asked to stop. What has arrived is kept.
    #[error("interrupted; the same command goes on from what has arrived")]
    Interrupted,
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

fn name_of_hash(digits: &str) -> &'static str {
    if digits.len() == 40 { "SHA-1" } else { "SHA-256" }
}

fn of_total(total: &Option<u64>) -> String {
    total.map_or_else(String::new, |total| format!(" of {total}"))
}

impl HubError {
    /// Whether the same request may succeed a little later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::Cut { .. } => true,
            Self::Status { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}
