//! A comparison of cuts as plain lines for the end of a command.

use super::{labelled, single_line, wrapped};
use crate::insight::{cut_marks, fit_command, has_random_cuts};
use crate::markup::{keep_end, shorten, without_reordering};
use crate::number::{
    count, counted, fixed, level, percent, percent_bare, percent_interval, points, points_interval, seconds,
    with_prefix,
};
use crate::record::{CutRecord, CutTest, CutTuning, DepthRecord, ProtocolArm, TransferProtocol};
use crate::verdict::{depth_verdict, tuning_sentence};

/// The longest name of a wire in the table; of a longer one the end is shown.
const LABEL: usize = 18;

/// The verdict, the table of cuts from generic to specific, why the chosen one was chosen, and what judged it.
pub fn depth_text(record: &DepthRecord) -> String {
    let verdict = depth_verdict(record);
    let mut lines = wrapped(&verdict.sentence);
    lines.extend(verdict.caution.iter().flat_map(|caution| wrapped(caution)));
    lines.push(String::new());
    if !record.cuts.is_empty() {
        lines.extend(table(record));
        lines.push(String::new());
    }
    lines.extend(facts(record));
    without_reordering(&lines.join("\n")) + "\n"
}

/// Cells of a row: the first to the left, the others to the right, and the marks behind.
struct Row {
    wire: String,
    cells: Vec<String>,
    marks: String,
}

fn table(record: &DepthRecord) -> Vec<String> {
    let rows: Vec<_> =
        std::iter::once(titles(record)).chain(record.cuts.iter().map(|cut| row(record, cut))).collect();
    let wire = rows.iter().map(|row| row.wire.chars().count()).max().unwrap_or(0);
    let columns = rows.first().map_or(0, |row| row.cells.len());
    let widths: Vec<usize> = (0..columns).map(|column| width(&rows, column)).collect();
    rows.iter().map(|row| line(row, wire, &widths)).collect()
}

fn width(rows: &[Row], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.cells.get(column));
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
}

fn titles(record: &DepthRecord) -> Row {
    let interval = format!("{} interval", level(record.interval_level));
    let titles = ["features", "params", "ms", "acc. %", &interval, "random %"].map(str::to_owned);
    Row { wire: "cut".to_owned(), cells: shown(record, titles), marks: String::new() }
}

fn row(record: &DepthRecord, cut: &CutRecord) -> Row {
    let cells = [
        count(cut.dimensions as u64),
        with_prefix(cut.parameters),
        fixed(cut.milliseconds, 2),
        percent_bare(cut.accuracy.value),
        percent_interval(&cut.accuracy),
        percent_bare(cut.random.value),
    ];
    let wire = keep_end(&single_line(&cut.wire), |wire| shorten(wire, LABEL));
    Row { wire, cells: shown(record, cells), marks: cut_marks(record, cut) }
}

/// Without the last column, random weights, where they were not measured.
fn shown<const CELLS: usize>(record: &DepthRecord, cells: [String; CELLS]) -> Vec<String> {
    let columns = if has_random_cuts(record) { CELLS } else { CELLS - 1 };
    cells.into_iter().take(columns).collect()
}

fn line(row: &Row, wire: usize, widths: &[usize]) -> String {
    let cells: String =
        row.cells.iter().zip(widths).map(|(cell, width)| format!("  {cell:>width$}")).collect();
    format!("{:<wire$}{cells}  {}", row.wire, row.marks).trim_end().to_owned()
}

fn facts(record: &DepthRecord) -> Vec<String> {
    let mut facts = Vec::new();
    if !record.reason.is_empty() {
        facts.push(("rule", record.reason.clone()));
    }
    facts.extend(record.test.iter().map(|test| ("test", test_line(record, test))));
    facts.extend(record.tuned.iter().map(|tuning| ("tuned", tuning_line(tuning))));
    facts.extend(tuning_sentence(record).map(|sentence| ("", sentence)));
    facts.extend(record.protocol.iter().flat_map(protocol_lines).map(|line| ("transfer", line)));
    facts.extend(time_line(record).map(|line| ("time", line)));
    let mut lines: Vec<_> = facts.into_iter().flat_map(|(label, text)| labelled(label, &text)).collect();
    // A command that is broken over lines cannot be copied.
    let command = record.chosen().map(|cut| fit_command(record, Some(&cut.wire)));
    lines.extend(command.map(|command| format!("next     {}", single_line(&command))));
    lines
}

/// The experiment on transferability: a line for the network of B alone, and one for each way to begin it.
fn protocol_lines(protocol: &TransferProtocol) -> Vec<String> {
    let alone = format!(
        "B alone {} of {}, {} of {}",
        percent(protocol.base_b.mean),
        counted(protocol.n_test_b, "test image", "test images"),
        counted(protocol.repetitions, "repetition", "repetitions"),
        counted(protocol.epochs, "epoch", "epochs")
    );
    let arm = |arm: &ProtocolArm| {
        let means = arm.points.iter().map(|point| format!("n = {} {}", point.layers, percent(point.mean)));
        format!("{} {}", arm.name, means.collect::<Vec<_>>().join(", "))
    };
    std::iter::once(alone).chain(protocol.arms.iter().map(arm)).collect()
}

fn test_line(record: &DepthRecord, test: &CutTest) -> String {
    let gain = test.gain.filter(|gain| gain.estimate.is_known()).map(|gain| {
        let interval = points_interval(&gain.estimate);
        format!("; against the default {} points ({interval})", points(gain.estimate.value))
    });
    format!(
        "{} {} of {} ({} interval {}){}",
        test.wire,
        percent(test.accuracy.value),
        counted(record.n_test, "image", "images"),
        level(record.interval_level),
        percent_interval(&test.accuracy),
        gain.unwrap_or_default()
    )
}

fn tuning_line(tuning: &CutTuning) -> String {
    format!(
        "{} {} on one fold: accuracy {} to {} %, log-loss {} to {} on {}, {}",
        tuning.wire,
        counted(tuning.epochs, "epoch", "epochs"),
        percent_bare(tuning.accuracy_before),
        percent_bare(tuning.accuracy_after),
        fixed(tuning.log_loss_before, 3),
        fixed(tuning.log_loss_after, 3),
        counted(tuning.images, "image", "images"),
        seconds(tuning.seconds)
    )
}

fn time_line(record: &DepthRecord) -> Option<String> {
    let time = record.seconds.is_finite().then(|| seconds(record.seconds));
    let memory = record.peak_rss_mb.is_finite().then(|| format!("{} MB", fixed(record.peak_rss_mb, 0)));
    let known: Vec<_> = time.into_iter().chain(memory).collect();
    (!known.is_empty()).then(|| known.join(", "))
}
