//! The machine that everything is measured on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// What the machine can do at most, over all threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Limit {
    threads: usize,
    gigabytes: f64,
    /// Billions of operations a second by kind of instruction: a precision, or a precision and a word more, such as
    /// `bf16 tiles`. Whatever `machine_limit` prints is here and in the page.
    #[serde(flatten)]
    operations: BTreeMap<String, f64>,
}

impl Limit {
    /// Runs the example that measures it.
    ///
    /// # Errors
    /// The example fails.
    pub(crate) fn measure(program: &Path, threads: usize) -> Result<Self> {
        let output = Command::new(program).arg(threads.to_string()).output().context("machine_limit")?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Nothing but an interruption makes it lower.
    pub(crate) fn best(mut self, other: Self) -> Self {
        self.gigabytes = self.gigabytes.max(other.gigabytes);
        for (kind, speed) in other.operations {
            let best = self.operations.entry(kind).or_default();
            *best = best.max(speed);
        }
        self
    }

    /// Of the fastest instruction in this precision.
    pub(crate) fn of(&self, precision: &str) -> f64 {
        let in_precision = |kind: &str| kind.split(' ').next() == Some(precision);
        let speeds = self.operations.iter().filter(|(kind, _)| in_precision(kind)).map(|(_, speed)| *speed);
        speeds.fold(0.0, f64::max)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.operations.iter().map(|(kind, speed)| format!("{kind} {speed:.0}"));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        write!(formatter, "{kinds} billion operations a second; {:.0} GB/s", self.gigabytes)
    }
}

/// Today, as `2026-11-24`.
///
/// # Errors
/// There is no program `date`.
pub(crate) fn date() -> Result<String> {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The processor's name, family and model.
pub(crate) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split(": ").nth(1))
    };
    let [name, family, model] =
        ["model name", "cpu family", "model\t"].map(|name| field(name).unwrap_or("unknown"));
    format!("{name} (family {family}, model {model})")
}

#[cfg(test)]
mod tests {
    use super::Limit;

    fn limit(text: &str) -> Limit {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_kind_that_is_new_counts_for_its_precision() {
        let first = limit(r#"{"threads": 2, "f32": 400, "bf16": 800.0, "gigabytes": 50}"#);
        let second = limit(r#"{"threads": 2, "f32": 390, "bf16": 810, "bf16 tiles": 9000, "gigabytes": 60}"#);
        let best = first.best(second);
        assert_eq!([best.of("f32"), best.of("bf16"), best.of("int8")], [400.0, 9000.0, 0.0]);
        let text = "bf16 810, bf16 tiles 9000, f32 400 billion operations a second; 60 GB/s";
        assert_eq!(best.to_string(), text);
        assert_eq!(limit(&serde_json::to_string(&best).unwrap()), best);
    }
}
