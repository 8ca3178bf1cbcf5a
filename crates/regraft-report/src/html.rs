//! The report as one HTML file that works without network, scripts or other files.
//!
//! The page answers in the order a reader asks: did it help, how good is it, how much data does it need, where is
//! it wrong, can the data be trusted, how was it chosen, how do I use it, where does it come from. Text comes out
//! of the record escaped; the content security policy forbids scripts and every address but embedded pictures.

mod block;
mod comparison;
mod data;
mod errors;
mod head;
mod origin;
mod tuning;

use crate::insight::{examples, weakest_class};
use crate::markup::{escape, name};
use crate::number::{count, counted, percent, percent_interval, points, points_interval, seconds};
use crate::record::RunRecord;
use crate::svg;
use crate::verdict::{Outcome, Verdict, verdict};

const PAGE_RULES: &str = include_str!("html/page.css");

/// No scripts, no network, no forms: only the page's own style and embedded pictures.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

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
    let title = title(record);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"generator\" content=\"regraft {version}\"/>\n<link rel=\"icon\" href=\"data:,\"/>\n\
         <title>{title} · Regraft</title>\n<style>\n{palette}{charts}{PAGE_RULES}</style>\n</head>\n<body>\n\
         {header}<main>\n{sections}</main>\n{footer}</body>\n</html>\n",
        version = escape(&record.regraft_version),
        palette = svg::PALETTE,
        charts = svg::RULES,
        header = header(record),
        sections = sections.concat(),
        footer = footer(record),
    )
}

fn title(record: &RunRecord) -> String {
    escape(if record.name.is_empty() { "A run without a name" } else { &record.name })
}

fn header(record: &RunRecord) -> String {
    format!(
        "<header>\n<p class=\"eyebrow\">Regraft · {task}</p>\n<h1>{title}</h1>\n<p class=\"soft\">{setting}</p>\n\
         {verdict}{tiles}</header>\n",
        task = escape(&record.task.replace('-', " ")),
        title = title(record),
        setting = setting(record),
        verdict = verdict_block(&verdict(record)),
        tiles = tiles(record),
    )
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

fn verdict_block(verdict: &Verdict) -> String {
    let (class, sign) = match verdict.outcome {
        Outcome::Better => ("better", "✓"),
        Outcome::NotDistinguishable => ("undecided", "≈"),
        Outcome::Worse => ("worse", "✗"),
        Outcome::NotMeasured => ("undecided", "?"),
    };
    let (headline, rest) = verdict.sentence.split_once(": ").unwrap_or(("", &verdict.sentence));
    let caution =
        verdict.caution.as_deref().map(|caution| format!("<p class=\"caution\">{}</p>", escape(caution)));
    format!(
        "<div class=\"verdict {class}\"><span class=\"sign\" aria-hidden=\"true\">{sign}</span>\
         <div><p class=\"sentence\"><strong>{}:</strong> {}</p>{}</div></div>\n",
        escape(headline),
        escape(rest).replace(" %", "\u{a0}%"),
        caution.unwrap_or_default()
    )
}

/// The four numbers that a reader looks for first.
fn tiles(record: &RunRecord) -> String {
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
    if tiles.is_empty() { String::new() } else { format!("<dl class=\"tiles\">{}</dl>\n", tiles.concat()) }
}

/// `note` is markup; the other two are plain text.
fn tile(label: &str, value: &str, note: &str) -> String {
    format!("<div><dt>{}</dt><dd>{}</dd><dd class=\"note\">{note}</dd></div>", escape(label), escape(value))
}

fn memory(record: &RunRecord) -> String {
    crate::number::fixed(record.peak_rss_mb, 0)
}

fn version(record: &RunRecord) -> String {
    if record.regraft_version.is_empty() {
        String::new()
    } else {
        format!(" {}", name(&record.regraft_version))
    }
}

fn footer(record: &RunRecord) -> String {
    format!(
        "<footer><p>Made by Regraft{}. This page holds its pictures and its style, runs no scripts and asks for \
         nothing over the network.</p></footer>\n",
        version(record)
    )
}
