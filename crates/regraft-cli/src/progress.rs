//! Progress on standard error: a bar on a terminal, plain lines elsewhere, nothing when quiet.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use regraft::{Progress, Stopwatch};

use crate::output::printable;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on, the first Ctrl-C (or SIGTERM) asks long steps to end in good order and the second ends the process.
pub(crate) fn watch_for_interrupts() {
    // Without a handler Ctrl-C still works: it ends the process at once, which the cache survives.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            #[allow(clippy::exit, reason = "the user has asked twice")]
            std::process::exit(130);
        }
        let _ = writeln!(stderr(), "stopping at the end of this step; Ctrl-C again stops at once");
    });
}

/// How progress is shown.
pub(crate) struct Display {
    quiet: bool,
    terminal: bool,
    step: Mutex<Option<Step>>,
}

struct Step {
    name: String,
    unit: Unit,
    /// 0 where nobody knows.
    total: u64,
    /// What an earlier run has done says nothing about the speed of this one.
    before: u64,
    done: u64,
    bar: ProgressBar,
    since: Stopwatch,
    /// Seconds after the start at which the last plain line was printed.
    reported: f64,
}

/// What a step counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Items,
    Bytes,
}

impl Unit {
    /// How a bar looks, with a total and without.
    fn template(self, total: u64) -> &'static str {
        match (self, total) {
            (Self::Items, _) => "{prefix:<28} {bar:32} {pos}/{len}  {per_sec}  {eta} left",
            (Self::Bytes, 0) => "{prefix:<28} {decimal_bytes}  {decimal_bytes_per_sec}",
            (Self::Bytes, _) => {
                "{prefix:<28} {bar:32} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left"
            }
        }
    }

    fn amount(self, count: u64) -> String {
        match self {
            Self::Items => count.to_string(),
            Self::Bytes => format!("{:.1} MB", count as f64 / 1e6),
        }
    }
}

impl Step {
    /// `12.0 MB of 98.0 MB, about 40 s left`.
    fn line(&self, seconds: f64) -> String {
        let (name, done) = (&self.name, self.unit.amount(self.done));
        if self.total == 0 {
            return format!("{name}: {done}");
        }
        let speed = self.done.saturating_sub(self.before).max(1) as f64 / seconds.max(1e-9);
        let left = self.total.saturating_sub(self.done) as f64 / speed;
        let of = if self.unit == Unit::Bytes { " of " } else { "/" };
        format!("{name}: {done}{of}{}, about {left:.0} s left", self.unit.amount(self.total))
    }
}

/// Seconds between two plain lines of one step.
const LINE_INTERVAL: f64 = 5.0;

impl Display {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, terminal: stderr().is_terminal(), step: Mutex::new(None) }
    }

    fn step(&self) -> MutexGuard<'_, Option<Step>> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(stderr(), "{}", printable(text));
        }
    }

    fn bar(&self, step: &str, unit: Unit, before: u64, total: u64) -> ProgressBar {
        if self.quiet || !self.terminal {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(unit.template(total)) {
            bar.set_style(style);
        }
        bar.set_position(before);
        bar.reset_eta();
        bar.set_prefix(step.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    fn begin(&self, name: &str, unit: Unit, before: u64, total: u64) {
        self.finish();
        let (bar, since) = (self.bar(name, unit, before, total), Stopwatch::start());
        let name = name.to_owned();
        *self.step() = Some(Step { name, unit, total, before, done: before, bar, since, reported: 0.0 });
    }
}

impl Progress for Display {
    fn start(&self, name: &str, total: u64) {
        self.begin(name, Unit::Items, 0, total);
    }

    fn start_bytes(&self, name: &str, here: u64, total: u64) {
        self.begin(name, Unit::Bytes, here, total);
    }

    fn advance(&self, units: u64) {
        let mut current = self.step();
        let Some(step) = current.as_mut() else { return };
        step.done += units;
        step.bar.inc(units);
        let seconds = step.since.seconds();
        if !self.terminal && seconds - step.reported >= LINE_INTERVAL {
            step.reported = seconds;
            let line = step.line(seconds);
            drop(current);
            self.line(&line);
        }
    }

    fn finish(&self) {
        let Some(step) = self.step().take() else { return };
        step.bar.finish_and_clear();
        let done = step.unit.amount(step.done);
        self.line(&format!("{}: {done} in {:.1} s", step.name, step.since.seconds()));
    }

    fn abandon(&self) {
        if let Some(step) = self.step().take() {
            step.bar.finish_and_clear();
        }
    }

    fn message(&self, text: &str) {
        if let Some(step) = self.step().as_ref().filter(|_| !self.quiet && self.terminal) {
            step.bar.suspend(|| self.line(text));
            return;
        }
        self.line(text);
    }

    fn interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed)
    }
}
