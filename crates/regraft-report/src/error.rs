//! The one thing that can go wrong: a stored record that is not a run record.

use thiserror::Error;

/// Why a stored run record could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The text is not JSON, or a field has another type than a run record expects.
    #[error(
        "not a run record: {source} (expected the JSON that `regraft fit` wrote into the run folder; \
         fit again to write a new one)"
    )]
    Json {
        /// What was found, with line and column.
        #[from]
        source: serde_json::Error,
    },
}
