//! What every call needs beside its own settings.

use regraft_data::decode::Limits;
use regraft_engine::InstructionSet;

use crate::cache::Cache;
use crate::progress::{Progress, Silent};
use crate::{Error, Result};

/// Cache, limits and listener of a call. Calls run in rayon's current thread pool; see [`with_threads`].
pub struct Context<'a> {
    /// Where features are kept.
    pub cache: Cache,
    /// Which images are refused.
    pub limits: Limits,
    /// Who hears how far a long step is.
    pub progress: &'a dyn Progress,
}

impl Default for Context<'_> {
    /// No cache, ordinary limits, nobody listens.
    fn default() -> Self {
        Self { cache: Cache::disabled(), limits: Limits::default(), progress: &Silent }
    }
}

/// Runs `work` on a thread pool of its own. The number of threads changes how long it takes and nothing else.
///
/// # Errors
/// The threads cannot be started, or whatever `work` returns.
pub fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| Error::Usage(format!("{threads} threads cannot be started: {error}")))?;
    pool.install(work)
}

/// Checks what the environment asks of every call: `REGRAFT_INSTRUCTION_SET`, which makes the networks run with other
/// vector instructions than the fastest (`avx512`, `avx2` or `portable`). Calls pass over a value that cannot be used, so
/// a program that offers the variable to its user checks it once, when it starts.
///
/// # Errors
/// The name is unknown, or this processor lacks the instructions.
pub fn check_environment() -> Result<()> {
    let refused = |error| Error::Usage(format!("{}: {error}", InstructionSet::VARIABLE));
    InstructionSet::from_environment().map(|_| ()).map_err(refused)
}
