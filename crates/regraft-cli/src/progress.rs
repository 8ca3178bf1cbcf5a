//! Progress on standard error: a bar on a terminal, plain lines elsewhere, nothing when quiet.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use regraft::{Progress, Stopwatch};

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
    total: u64,
    done: u64,
    bar: ProgressBar,
    since: Stopwatch,
    /// Seconds after the start at which the last plain line was printed.
    reported: f64,
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
            let _ = writeln!(stderr(), "{text}");
        }
    }

    fn bar(&self, step: &str, total: u64) -> ProgressBar {
        if self.quiet || !self.terminal {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let template = "{prefix:<28} {bar:32} {pos}/{len}  {per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(step.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

impl Progress for Display {
    fn start(&self, name: &str, total: u64) {
        self.finish();
        let bar = self.bar(name, total);
        let step =
            Step { name: name.to_owned(), total, done: 0, bar, since: Stopwatch::start(), reported: 0.0 };
        *self.step() = Some(step);
    }

    fn advance(&self, units: u64) {
        let mut current = self.step();
        let Some(step) = current.as_mut() else { return };
        step.done += units;
        step.bar.inc(units);
        let seconds = step.since.seconds();
        if !self.terminal && seconds - step.reported >= LINE_INTERVAL {
            step.reported = seconds;
            let left = seconds / step.done.max(1) as f64 * step.total.saturating_sub(step.done) as f64;
            let line = format!("{}: {}/{}, about {left:.0} s left", step.name, step.done, step.total);
            drop(current);
            self.line(&line);
        }
    }

    fn finish(&self) {
        let Some(step) = self.step().take() else { return };
        step.bar.finish_and_clear();
        self.line(&format!("{}: {} in {:.1} s", step.name, step.done, step.since.seconds()));
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
