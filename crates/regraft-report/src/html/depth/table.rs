//! Every cut with all its numbers.

use super::super::block::{self, Column};
use super::judged;
use crate::insight::{cut_marks, has_random_cuts};
use crate::markup::name;
use crate::number::{UNKNOWN, count, fixed, level, percent_bare, percent_interval, with_prefix};
use crate::record::{CutRecord, DepthRecord};

pub(super) fn section(record: &DepthRecord) -> String {
    if record.cuts.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = record.cuts.iter().map(|cut| row(record, cut)).collect();
    let interval = format!("{} interval", level(record.interval_level));
    let titles = titles(&interval);
    let table = block::table(titles.get(..columns(record)).unwrap_or(&titles), &rows);
    block::section("cuts", "All cuts, from generic to specific", &lead(record), &table)
}

fn lead(record: &DepthRecord) -> String {
    let head = if record.head.is_empty() { String::new() } else { format!(", {},", name(&record.head)) };
    format!(
        "The same kind of head{head} judged every cut {}. “Above the best” is the mean difference of log-loss to the \
         best cut on the same images; within one standard error (s.e.) a cut is as good as the best.",
        judged(record)
    )
}

/// Random weights come last, to be left out where they were not measured.
const fn titles(interval: &str) -> [(Column, &str); 11] {
    [
        (Column::Text, "Cut"),
        (Column::Number, "Features"),
        (Column::Number, "Parameters"),
        (Column::Number, "ms an image"),
        (Column::Number, "Accuracy, %"),
        (Column::Side, interval),
        (Column::Number, "Log-loss"),
        (Column::Number, "Above the best"),
        (Column::Side, "s.e."),
        (Column::Number, "Random weights, %"),
        (Column::Side, interval),
    ]
}

fn columns(record: &DepthRecord) -> usize {
    if has_random_cuts(record) { 11 } else { 9 }
}

/// The chosen cut in bold.
fn row(record: &DepthRecord, cut: &CutRecord) -> Vec<String> {
    let error = if cut.is_best { UNKNOWN.to_owned() } else { fixed(cut.excess_standard_error, 3) };
    let cells = [
        wire(record, cut),
        count(cut.dimensions as u64),
        with_prefix(cut.parameters),
        fixed(cut.milliseconds, 2),
        percent_bare(cut.accuracy.value),
        percent_interval(&cut.accuracy),
        fixed(cut.log_loss, 3),
        fixed(cut.excess, 3),
        error,
        percent_bare(cut.random.value),
        percent_interval(&cut.random),
    ];
    let set = |cell: String| if cut.is_chosen { format!("<strong>{cell}</strong>") } else { cell };
    cells.into_iter().take(columns(record)).map(set).collect()
}

/// The name with what is to be said of the cut below it.
fn wire(record: &DepthRecord, cut: &CutRecord) -> String {
    let marks = cut_marks(record, cut);
    let marks = if marks.is_empty() { marks } else { format!("<span class=\"what\">{marks}</span>") };
    name(&cut.wire) + &marks
}
