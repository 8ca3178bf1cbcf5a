//! What was measured, as JSON and as a table.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::machine::{Limit, date, processor};
use super::median;
use super::works::{WORKS, Work};

/// Logits in f32 that differ by more are wrong; MNN's Winograd differs by 2e-5 with ResNet-18.
const TOLERANCE: f64 = 1e-3;

/// One engine on one work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    engine: String,
    version: String,
    setting: String,
    /// Median over the turns.
    examples_per_second: f64,
    /// Of the machine's limit, counting the operations of direct convolution: Winograd's algorithm needs fewer.
    fraction_of_limit: f64,
    difference: f64,
    peak_rss_mb: Option<f64>,
}

/// All engines on one work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    work: String,
    network: String,
    batch: usize,
    precision: String,
    threads: usize,
    alternations: usize,
    date: String,
    processor: String,
    limit: Limit,
    aim: f64,
    /// Median over the turns of Regraft's speed over the best peer's in that turn.
    ratio: f64,
    /// Regraft first.
    rows: Vec<Row>,
}

impl Measured {
    /// # Errors
    /// Logits that differ from PyTorch's.
    pub(crate) fn new(work: &Work, threads: usize, limit: Limit, engines: &[Engine]) -> Result<Self> {
        let [ours, peers @ ..] = engines else { bail!("no engine") };
        check(work, ours)?;
        let operations = 2.0 * ours.ready.macs.unwrap_or(0) as f64;
        let row = |engine: &Engine| {
            let speed = work.batch as f64 / median(engine.seconds.clone());
            Row {
                engine: engine.name.to_owned(),
                version: engine.ready.version.clone(),
                setting: engine.ready.setting.clone(),
                examples_per_second: speed,
                fraction_of_limit: speed * operations / 1e9 / limit.of(work.precision),
                difference: engine.ready.difference,
                peak_rss_mb: engine.ready.peak_rss_mb,
            }
        };
        let best = |peer: &&Engine| median(peer.seconds.clone());
        let best = peers.iter().min_by(|a, b| best(a).total_cmp(&best(b))).context("no peer")?;
        let rows = engines.iter().map(row).collect();
        let ratios = best.seconds.iter().zip(&ours.seconds).map(|(theirs, ours)| theirs / ours);
        Ok(Self {
            work: work.name(),
            network: work.network.to_owned(),
            batch: work.batch,
            precision: work.precision.to_owned(),
            threads,
            alternations: ours.seconds.len(),
            date: date()?,
            processor: processor(),
            limit,
            aim: work.aim,
            ratio: median(ratios.collect()),
            rows,
        })
    }

    pub(crate) fn summary(&self) -> String {
        let speeds = self.rows.iter().map(|row| format!("{} {:.1}", row.engine, row.examples_per_second));
        format!(
            "{}: {} a second; ratio {:.2} (aim {:.2})",
            self.work,
            speeds.collect::<Vec<_>>().join(", "),
            self.ratio,
            self.aim
        )
    }
}

/// A fast wrong answer is worth nothing.
fn check(work: &Work, ours: &Engine) -> Result<()> {
    let close = ours.ready.difference < TOLERANCE;
    if work.precision == "f32" && !close {
        bail!("{}: the logits differ from PyTorch's by {:.1e}", work.name(), ours.ready.difference);
    }
    Ok(())
}

/// Everything that was measured so far, one entry a work.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Table(Vec<Measured>);

impl Table {
    /// In the place of an earlier measurement of the same work, and in the order of [`WORKS`].
    pub(crate) fn put(&mut self, measured: Measured) {
        self.0.retain(|other| other.work != measured.work);
        self.0.push(measured);
        self.0.sort_by_key(|measured| WORKS.iter().position(|work| work.name() == measured.work));
    }

    /// The head of the page, with one line a work.
    pub(crate) fn markdown(&self) -> String {
        let mut text = HEAD.to_owned();
        for measured in &self.0 {
            write_row(&mut text, measured);
        }
        text
    }

    /// A section a work.
    pub(crate) fn details(&self) -> String {
        let mut text = String::new();
        for measured in &self.0 {
            write_details(&mut text, measured);
        }
        text
    }
}

const HEAD: &str = "\
# Speed on a CPU

Written by `cargo xtask bench --write`. Every engine runs the same weights on the same input, in a process that stays; the
engines take turns, a second or more each. Speeds are medians over the turns, in images (of the encoder: sequences) a second;
the ratio is the median over the turns of Regraft's speed over that of the fastest other engine. Every engine has the
fastest of the settings that `oracles/bench_peers.py` tries. The fraction of the limit counts the operations of direct convolution against what the
machine's multiply–add instruction reaches (`machine_limit` in the engine's examples); Winograd's algorithm can exceed it.

| network | batch | precision | Regraft | of the limit | fastest other | ratio | aim |
|---|---|---|---|---|---|---|---|
";

fn write_row(text: &mut String, measured: &Measured) {
    let [ours, peers @ ..] = &measured.rows[..] else { return };
    let speed = |row: &Row| row.examples_per_second;
    let Some(best) = peers.iter().max_by(|a, b| speed(a).total_cmp(&speed(b))) else { return };
    let Measured { network, batch, precision, ratio, aim, .. } = measured;
    let (speed, percent) = (ours.examples_per_second, ours.fraction_of_limit * 100.0);
    let (other, fastest) = (&best.engine, best.examples_per_second);
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "| {network} | {batch} | {precision} | {speed:.1} | {percent:.0} % | {other} {fastest:.1} | **{ratio:.2}** | {aim:.2} |"
    );
}

fn write_details(text: &mut String, measured: &Measured) {
    let Measured { work, threads, alternations, date, processor, limit, .. } = measured;
    let _ = write!(
        text,
        "\n## {work}\n\n{date}, {processor}, {threads} threads, {alternations} turns. The machine's limit: {limit}.\n\n| engine | setting | a second | of the limit | difference of the logits | peak memory, MB |\n|---|---|---|---|---|---|\n"
    );
    for row in &measured.rows {
        let Row { engine, version, setting, examples_per_second, difference, .. } = row;
        let memory = row.peak_rss_mb.map_or_else(|| "?".to_owned(), |megabytes| format!("{megabytes:.0}"));
        let percent = row.fraction_of_limit * 100.0;
        let _ = writeln!(
            text,
            "| {engine} {version} | {setting} | {examples_per_second:.1} | {percent:.0} % | {difference:.1e} | {memory} |"
        );
    }
}
