//! The reports as HTML files that work without network, scripts or other files.
//!
//! The page of a run answers in the order a reader asks: did it help, how good is it, how much data does it need,
//! where is it wrong, can the data be trusted, how was it chosen, how do I use it, where does it come from. Text
//! comes out of the record escaped; the content security policy forbids scripts and every address but embedded
//! pictures.

mod block;
mod comparison;
mod data;
mod depth;
mod errors;
mod head;
mod origin;
mod shell;
mod tuning;

use crate::insight::{examples, weakest_class};
use crate::markup::name;
use crate::number::{count, counted, percent, percent_interval, points, points_interval, seconds};
use crate::record::RunRecord;
use crate::verdict::verdict;
use shell::{Page, tile};

pub use depth::render_depth;

/// The whole report as one HTML document.
pub fn render(record: &RunRecord) -> String {
    let sections = [
        comparison::section(record),
        tuning::section(record),
        comparison::curve_section(record),
        errors::classes_section(record),
        errors::mistakes_section(record),
        data::section(record),
        head::section(record),
        origin::usage_section(record),
        origin::section(record),
    ];
    let page = Page {
        version: &record.regraft_version,
        kind: &record.task.replace('-', " "),
        title: if record.name.is_empty() { "A run without a name" } else { &record.name },
        setting_html: &setting(record),
        verdict: &verdict(record),
        tiles_html: &tiles(record),
        sections_html: &sections.concat(),
    };
    page.document()
}

/// One line on what was adapted to what.
fn setting(record: &RunRecord) -> String {
    let cut = if record.cut.is_empty() { String::new() } else { format!(" cut at {}", name(&record.cut)) };
    let sizes = [(record.n_train, "training"), (record.n_validation, "validation"), (record.n_test, "test")];
    let sizes: Vec<_> = sizes
        .into_iter()
        .filter(|(size, _)| *size > 0)
        .map(|(size, split)| format!("{} {split}", count(size as u64)))
        .collect();
    let mut parts = vec![name(&record.source) + &cut, name(&record.method)];
    if !record.classes.is_empty() {
        parts.push(counted(record.classes.len(), "class", "classes"));
    }
    if !sizes.is_empty() {
        parts.push(format!("{} {}", sizes.join(", "), examples(record)));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

/// The four numbers that a reader looks for first.
fn tiles(record: &RunRecord) -> Vec<String> {
    let accuracy = &record.test.accuracy;
    let mut tiles = Vec::new();
    if accuracy.is_known() {
        tiles.push(tile("Test accuracy", &percent(accuracy.value), &percent_interval(accuracy)));
    }
    if let Some(gain) = record.baselines.random_features.as_ref().and_then(|baseline| baseline.gain) {
        let value = format!("{} points", points(gain.estimate.value));
        tiles.push(tile("Gain over random weights", &value, &points_interval(&gain.estimate)));
    }
    if let Some(class) = weakest_class(record) {
        let note = format!("{} · {} {}", name(&class.class), count(class.support), examples(record));
        tiles.push(tile("Lowest recall of a class", &percent(class.recall), &note));
    }
    if record.timing.total_s.is_finite() {
        let note = format!("{}, peak {} MB", counted(record.threads, "thread", "threads"), memory(record));
        tiles.push(tile("Whole run", &seconds(record.timing.total_s), &note));
    }
    tiles
}

fn memory(record: &RunRecord) -> String {
    crate::number::fixed(record.peak_rss_mb, 0)
}
