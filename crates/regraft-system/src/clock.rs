//! Time: durations for reports, one wall-clock stamp for a run's name.
#![allow(clippy::disallowed_methods, reason = "this module is the door to time")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

/// Seconds since 1970-01-01 UTC; 0 if the machine's clock stands before that.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
