//! The folder of a run that trains, until the run has ended: `RUN.unfinished`, beside the run's place, so that it outlives a
//! process that is killed. It holds the configuration, the checkpoints and the training's log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use regraft_engine::InstructionSet;
use regraft_system::clock::Stopwatch;
use regraft_system::files::{self, create_folder, remove_folder_if_there, write_atomically};
use regraft_system::partial::Lock;

use super::Method;
use super::tune::history;
use crate::log::Log;
use crate::{Context, Error, FitConfig, Result};

const SUFFIX: &str = ".unfinished";
const CONFIG: &str = "regraft.toml";
const IDENTITY: &str = "identity";
const SPENT: &str = "seconds";
/// The command that goes on with the run, where that is not `fit`.
const COMMAND: &str = "command";
/// Where the checkpoints are in the folder.
pub(crate) const CHECKPOINTS: &str = "checkpoints";

/// The time that a run has been trained for, by this process and by those that were stopped.
#[derive(Clone)]
pub(crate) struct Spent {
    path: PathBuf,
    earlier: f64,
    since: Stopwatch,
}

impl Spent {
    /// From now on; for a run that goes on, what was spent before is in the file.
    fn open(path: PathBuf, goes_on: bool) -> Self {
        let text = files::read(&path).ok().filter(|_| goes_on).and_then(|text| String::from_utf8(text).ok());
        let earlier = text.and_then(|text| text.parse().ok()).unwrap_or(0.0);
        Self { path, earlier, since: Stopwatch::start() }
    }

    /// Writes it down, for a process that goes on.
    pub(crate) fn keep(&self) -> Result<()> {
        let seconds = self.earlier + self.since.seconds();
        write_atomically(&self.path, seconds.to_string().as_bytes())
            .map_err(Error::output(&self.path, "writing the folder of the checkpoints"))
    }
}

/// A run that trains.
pub(crate) struct Unfinished {
    folder: PathBuf,
    /// Whether there were checkpoints.
    goes_on: bool,
    /// Where the run's events go, if it has a log.
    log: Option<Arc<Log>>,
    spent: Spent,
    _lock: Lock,
}

impl Unfinished {
    /// Begins the folder of the run at `place`, or goes on with it where it has the same configuration. `None` for a method
    /// that trains nothing.
    ///
    /// # Errors
    /// It has another configuration, another process is at work in it, or it cannot be written.
    pub(crate) fn open(config: &FitConfig, place: &Path, context: &Context<'_>) -> Result<Option<Self>> {
        if config.method == Method::Probe {
            return Ok(None);
        }
        Self::refuse_other(config, place)?;
        let folder = folder_of(place);
        let goes_on = has_checkpoints(place);
        let failed = || Error::output(&folder, "creating the folder of the checkpoints");
        create_folder(&folder).map_err(failed())?;
        let lock = Lock::try_take(&folder.join("lock")).map_err(failed())?;
        let lock = lock.ok_or_else(|| {
            Error::Usage(format!("{}: another process is at work on this run", folder.display()))
        })?;
        let path = folder.join(CONFIG);
        write_atomically(&path, config.to_toml()?.as_bytes())
            .map_err(Error::output(&path, "writing the configuration"))?;
        if goes_on {
            context.progress.message(&format!("going on with {}", folder.display()));
        } else {
            history::forget(&folder)?;
            // Whatever command left a folder without a checkpoint, the run is this one's now.
            files::remove_if_there(&folder.join(COMMAND)).map_err(failed())?;
        }
        let spent = Spent::open(folder.join(SPENT), goes_on);
        Ok(Some(Self { folder, goes_on, log: None, spent, _lock: lock }))
    }

    /// Refuses another configuration than that of the run at `place`, if that has not ended: before any work is done.
    ///
    /// # Errors
    /// It is another one; the message names what differs.
    pub(crate) fn refuse_other(config: &FitConfig, place: &Path) -> Result<()> {
        match stored(place)? {
            // Without a checkpoint there is nothing to lose.
            Some(stored) if has_checkpoints(place) => same(&stored, config, &folder_of(place)),
            _ => Ok(()),
        }
    }

    /// Notes that another command than `fit` goes on with the run.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn belongs_to(&self, command: &str) -> Result<()> {
        let path = self.folder.join(COMMAND);
        write_atomically(&path, command.as_bytes())
            .map_err(Error::output(&path, "writing the folder of the checkpoints"))
    }

    /// With a log for what happens while it trains.
    pub(crate) fn logging(self, log: Arc<Log>) -> Self {
        Self { log: Some(log), ..self }
    }

    /// Seconds since the run began, by its log.
    pub(crate) fn seconds(&self) -> f64 {
        self.log.as_ref().map_or(0.0, |log| log.seconds())
    }

    /// The time that the trainings take.
    pub(crate) fn spent(&self) -> &Spent {
        &self.spent
    }

    /// Seconds until the last checkpoint, of processes that were stopped.
    pub(crate) fn earlier_seconds(&self) -> f64 {
        self.spent.earlier
    }

    /// Adds an event to the log.
    pub(crate) fn event(&self, event: &str, details: serde_json::Value) {
        if let Some(log) = &self.log {
            log.event(event, details);
        }
    }

    /// Where things go.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Notes what the checkpoints are made from and by which instructions, or compares it with what they were made from.
    ///
    /// # Errors
    /// It is something else, or it cannot be written.
    pub(crate) fn check_identity(&self, identity: &str) -> Result<()> {
        let path = self.folder.join(IDENTITY);
        let present = (identity, InstructionSet::detect().name());
        if let Some(found) = files::read(&path).ok().filter(|_| self.goes_on) {
            let found = String::from_utf8_lossy(&found);
            return same_origin(found.split_once('\n').unwrap_or((&found, "")), present, &self.folder);
        }
        let text = format!("{identity}\n{}", present.1);
        write_atomically(&path, text.as_bytes())
            .map_err(Error::output(&path, "writing the folder of the checkpoints"))
    }

    /// Removes the folder of a run that has ended.
    pub(crate) fn forget(place: &Path) -> Result<()> {
        let folder = folder_of(place);
        remove_folder_if_there(&folder).map_err(Error::output(&folder, "removing the checkpoints"))
    }
}

fn has_checkpoints(place: &Path) -> bool {
    files::files_below(&folder_of(place).join(CHECKPOINTS)).is_ok_and(|files| !files.is_empty())
}

fn folder_of(place: &Path) -> PathBuf {
    // Without a slash at its end.
    let mut name = place.components().collect::<PathBuf>().into_os_string();
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// The configuration of a run that trains and was stopped, for [`fit`](super::fit) to go on with. `run` is the folder that it
/// was to become; `RUN.unfinished` is understood, too.
///
/// # Errors
/// There is no such run, it is one of another command, or its configuration cannot be read.
pub fn unfinished(run: &Path) -> Result<FitConfig> {
    let text = run.to_string_lossy();
    let run =
        text.trim_end_matches('/').strip_suffix(SUFFIX).map_or_else(|| run.to_path_buf(), PathBuf::from);
    let config = stored(&run)?.ok_or_else(|| {
        let folder = folder_of(&run);
        let why = if run.exists() { "the run has ended" } else { "no run was stopped there" };
        Error::Usage(format!("{}: does not exist: {why}", folder.display()))
    })?;
    if let Ok(command) = files::read(&folder_of(&run).join(COMMAND)) {
        let (run, command) = (run.display(), String::from_utf8_lossy(&command));
        let message = format!(
            "{run}: is of `regraft {command}`, which goes on with it when it is given again as it was"
        );
        return Err(Error::Usage(message));
    }
    Ok(FitConfig { out: Some(run), ..config })
}

/// The configuration of the run at `place` if that has not ended.
fn stored(place: &Path) -> Result<Option<FitConfig>> {
    let path = folder_of(place).join(CONFIG);
    if path.is_file() { FitConfig::read(&path).map(Some) } else { Ok(None) }
}

/// Whether the run at `place` has not ended and has another configuration.
pub(crate) fn is_taken(place: &Path, config: &FitConfig) -> bool {
    let folder = folder_of(place);
    folder.exists()
        && !stored(place)
            .is_ok_and(|stored| stored.is_none_or(|stored| same(&stored, config, &folder).is_ok()))
}

/// Refuses a configuration that is not the one that the checkpoints were made with.
fn same(stored: &FitConfig, config: &FitConfig, folder: &Path) -> Result<()> {
    let changes = changes(&table(stored)?, &table(config)?, "");
    if changes.is_empty() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{}: these checkpoints were made with other settings ({}); give the same ones, choose another --out, or remove the folder",
        folder.display(),
        changes.join("; ")
    )))
}

/// Refuses other images or another source than those that the checkpoints were made from, and other instructions, which round
/// otherwise.
fn same_origin(recorded: (&str, &str), present: (&str, &str), folder: &Path) -> Result<()> {
    let folder = folder.display();
    let message = match (recorded, present) {
        _ if recorded == present => return Ok(()),
        ((old, was), (new, is)) if old == new => format!(
            "{folder}: these checkpoints were written with the instruction set {was}, and here it is {is}, which rounds otherwise; \
             REGRAFT_INSTRUCTION_SET={was} goes on where the processor has it, or remove the folder to begin again"
        ),
        _ => format!(
            "{folder}: the images, their labels, the source, its cuts or this program have changed since these checkpoints were written; \
             remove the folder to begin again"
        ),
    };
    Err(Error::Data(message))
}

/// Everything that determines the weights: neither the place, nor how often a checkpoint is written, nor a second look at the
/// test set.
fn table(config: &FitConfig) -> Result<toml::Table> {
    let mut config = FitConfig { out: None, tta: 0, ..config.clone() };
    config.tuning.checkpoint_minutes = 1.0;
    toml::Table::try_from(config).map_err(|error| Error::Usage(error.to_string()))
}

/// `learning-rate: 0.1, was 0.01` for each value that differs.
fn changes(old: &toml::Table, new: &toml::Table, prefix: &str) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        match (old.get(name), new.get(name)) {
            (Some(toml::Value::Table(old)), Some(toml::Value::Table(new))) => {
                changes.extend(self::changes(old, new, &format!("{name}.")));
            }
            (old, new) if old != new => {
                let text =
                    |value: Option<&toml::Value>| value.map_or("not given".to_owned(), ToString::to_string);
                changes.push(format!("{prefix}{name}: {}, was {}", text(new), text(old)));
            }
            _ => {}
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::TuningConfig;

    #[test]
    fn the_time_of_a_stopped_run_is_kept() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(SPENT);
        assert_eq!(Spent::open(path.clone(), true).earlier, 0.0);
        write_atomically(&path, b"12.5").unwrap();
        let spent = Spent::open(path.clone(), true);
        assert_eq!(spent.earlier, 12.5);
        spent.keep().unwrap();
        assert!(Spent::open(path.clone(), true).earlier >= 12.5);
        assert_eq!(Spent::open(path, false).earlier, 0.0);
    }

    #[test]
    fn other_instructions_are_named() {
        let check = |recorded| same_origin(recorded, ("hash", "avx512"), Path::new("x"));
        assert!(check(("hash", "avx512")).is_ok());
        let message = check(("hash", "avx2+fma")).unwrap_err().to_string();
        assert!(message.contains("avx2+fma, and here it is avx512"), "{message}");
        assert!(message.contains("REGRAFT_INSTRUCTION_SET=avx2+fma goes on"), "{message}");
        assert!(check(("other", "avx2+fma")).unwrap_err().to_string().contains("have changed"));
    }

    #[test]
    fn other_settings_are_named() {
        let config = FitConfig { method: Method::Full, ..FitConfig::default() };
        let other = TuningConfig { learning_rate: Some(0.1.into()), ..TuningConfig::default() };
        let other = FitConfig { seed: 3, tuning: other, ..config.clone() };
        assert!(same(&config, &config, Path::new("x")).is_ok());
        let message = same(&config, &other, Path::new("x")).unwrap_err().to_string();
        assert!(
            message.contains("seed: 3, was 0")
                && message.contains("tuning.learning-rate: 0.1, was not given"),
            "{message}"
        );
    }
}
