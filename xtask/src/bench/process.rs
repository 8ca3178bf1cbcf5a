//! Processes that do one thing and end.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use regraft_system::memory::peak_resident_bytes_of;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Often enough to see a process of a tenth of a second.
const LOOK: Duration = Duration::from_millis(10);

/// What a program printed at its end: `regraft embed --json`, `zoo_throughput --json` or `oracles/bench_embed.py`.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    /// Of an engine that is not Regraft.
    #[serde(default)]
    pub(crate) version: String,
    /// How many there were, of those that went through.
    pub(crate) images: Option<usize>,
    pub(crate) images_per_second: f64,
    /// Of the process itself; measured from outside where the program does not tell.
    pub(crate) peak_rss_mb: Option<f64>,
    /// The process and those that it started.
    pub(crate) peak_rss_mb_with_workers: Option<f64>,
    /// Multiply–accumulate operations of one image.
    pub(crate) macs: Option<u64>,
}

/// Runs a program from its start to its end.
///
/// # Errors
/// It cannot be started, fails, or prints something else.
pub(crate) fn whole(command: &mut Command) -> Result<Answer> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let child = child.with_context(|| format!("cannot run {command:?}"))?;
    let process = child.id();
    let watcher = std::thread::spawn(move || watch(process));
    let output = child.wait_with_output()?;
    let seen = watcher.join().map_err(|_| io::Error::other("the watching thread failed"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({})", output.status);
    }
    let mut answer: Answer = parsed(&output.stdout, command)?;
    answer.peak_rss_mb = answer.peak_rss_mb.or(seen);
    Ok(answer)
}

/// What a program prints, as data.
///
/// # Errors
/// As those of [`whole`].
pub(crate) fn answer<A: DeserializeOwned>(command: &mut Command) -> Result<A> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({})", output.status);
    }
    parsed(&output.stdout, command)
}

fn parsed<A: DeserializeOwned>(output: &[u8], command: &Command) -> Result<A> {
    serde_json::from_slice(last_object(output)).with_context(|| format!("{command:?}"))
}

/// The peak memory that a process had when it was last seen, in MB.
fn watch(process: u32) -> Option<f64> {
    let mut peak = None;
    while let Some(bytes) = peak_resident_bytes_of(process) {
        peak = Some(bytes as f64 / f64::from(1 << 20));
        std::thread::sleep(LOOK);
    }
    peak
}

/// Libraries print on their own account, before the answer.
fn last_object(output: &[u8]) -> &[u8] {
    let starts_line = |place: &usize| *place == 0 || output.get(place - 1) == Some(&b'\n');
    let mut braces = output.iter().enumerate().filter(|(_, byte)| **byte == b'{').map(|(place, _)| place);
    let start = braces.rfind(starts_line).unwrap_or(0);
    output.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::whole;

    #[test]
    fn the_answer_is_the_last_object() {
        let script =
            r#"echo 'a {library} talks'; echo '{'; echo '  "images_per_second": 2, "other": {}'; echo '}'"#;
        let answer = whole(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(answer.images_per_second, 2.0);
        assert!(whole(Command::new("sh").args(["-c", "echo no answer"])).is_err());
        assert!(whole(Command::new("sh").args(["-c", "exit 3"])).is_err());
    }
}
