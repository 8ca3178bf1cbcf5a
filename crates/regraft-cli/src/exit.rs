//! The one table of exit codes.

use std::process::ExitCode;

use regraft::Error;

/// Shown under `regraft --help`.
pub(crate) const TABLE: &str = "\
Exit codes:
  0    done
  1    a fault of Regraft itself; please report it
  2    a flag or a configuration value cannot be used
  3    the input data cannot be used (missing, empty, unreadable, one class only …);
       predict, evaluate, embed: some of it, and the rest was done
  4    a model, a weight file or a run folder cannot be used
  5    a result could not be written (disk full, no permission …)
  130  interrupted";

pub(crate) const USAGE: u8 = 2;
pub(crate) const DATA: u8 = 3;
pub(crate) const MODEL: u8 = 4;

/// The code of a failure.
pub(crate) fn code(error: &Error) -> ExitCode {
    ExitCode::from(match error {
        Error::Usage(_) => USAGE,
        Error::Data(_) => DATA,
        Error::Model(_) => MODEL,
        Error::Output { .. } => 5,
        Error::Interrupted => 130,
        _ => 1,
    })
}
