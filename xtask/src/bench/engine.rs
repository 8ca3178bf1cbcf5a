//! A process that runs a network whenever it is told to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// What an engine says of itself once it is ready.
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) version: String,
    /// The fastest of the settings that it tried.
    pub(crate) setting: String,
    /// Relative L2 distance of its logits from those of PyTorch in f32.
    pub(crate) difference: f64,
    pub(crate) peak_rss_mb: Option<f64>,
    /// Multiply–accumulate operations of one example.
    pub(crate) macs: Option<u64>,
}

#[derive(Deserialize)]
struct Turn {
    seconds: f64,
}

/// An engine, ready to run. It ends when it is dropped.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    pub(crate) ready: Ready,
    /// Seconds of a batch, one a turn.
    pub(crate) seconds: Vec<f64>,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Engine {
    /// Starts the process and waits until it has loaded its network.
    ///
    /// # Errors
    /// It cannot be started, or ends instead of answering.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        let orders = child.stdin.take().context("no standard input")?;
        let mut answers = BufReader::new(child.stdout.take().context("no standard output")?);
        let ready = serde_json::from_str(&answer(&mut answers).with_context(|| format!("{command:?}"))?)?;
        Ok(Self { name, ready, seconds: Vec::new(), child, orders, answers })
    }

    /// One measurement.
    ///
    /// # Errors
    /// The process has ended.
    pub(crate) fn turn(&mut self) -> Result<()> {
        writeln!(self.orders)?;
        let turn: Turn = serde_json::from_str(&answer(&mut self.answers).context(self.name)?)?;
        self.seconds.push(turn.seconds);
        Ok(())
    }

    /// Seconds of the last turn.
    pub(crate) fn last(&self) -> f64 {
        self.seconds.last().copied().unwrap_or(f64::NAN)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line that is an answer; libraries print on their own account.
fn answer(answers: &mut BufReader<ChildStdout>) -> Result<String> {
    let mut line = String::new();
    loop {
        line.clear();
        if answers.read_line(&mut line)? == 0 {
            bail!("the engine has ended; what it said is above");
        }
        if let Some(answer) = line.strip_prefix("answer ") {
            return Ok(answer.to_owned());
        }
    }
}
