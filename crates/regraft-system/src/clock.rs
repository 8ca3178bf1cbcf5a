//! Time: durations for reports, time stamps for files.
#![allow(clippy::disallowed_methods, reason = "this module is the door to time")]

use std::time::{Instant, SystemTime};

/// Measures elapsed wall-clock seconds.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// The time now, for a file's time stamp.
pub fn now() -> SystemTime {
    SystemTime::now()
}
