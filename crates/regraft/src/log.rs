//! `log.jsonl`: what happened when, one JSON object a line.

use std::sync::{Mutex, PoisonError};

use regraft_system::clock::Stopwatch;
use serde_json::{Value, json};

/// Collects the events of one run.
pub(crate) struct Log {
    since: Stopwatch,
    lines: Mutex<String>,
}

impl Log {
    /// A log whose clock starts now.
    pub(crate) fn start() -> Self {
        Self { since: Stopwatch::start(), lines: Mutex::default() }
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.since.seconds()
    }

    /// Adds an event with whatever belongs to it.
    pub(crate) fn event(&self, event: &str, details: Value) {
        let line =
            json!({ "seconds": (self.seconds() * 1e3).round() / 1e3, "event": event, "details": details });
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_str(&line.to_string());
        lines.push('\n');
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
