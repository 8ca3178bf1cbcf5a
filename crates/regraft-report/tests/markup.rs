//! Every page and chart is well-formed XML, holds no script and no foreign address, whatever the names are.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

mod sample;

use std::collections::BTreeSet;

use regraft_report::record::ClassMetrics;
use regraft_report::{
    DepthRecord, RunRecord, depth_csv, depth_text, render, render_depth, render_markdown, summary_text, svg,
};

fn records() -> Vec<(String, RunRecord)> {
    let mut records = vec![
        ("nine".to_owned(), sample::nine_classes()),
        ("two".to_owned(), sample::two_classes()),
        ("hundred".to_owned(), sample::hundred_classes()),
        ("hostile".to_owned(), sample::hostile()),
        ("tuned".to_owned(), sample::tuned()),
        ("empty".to_owned(), RunRecord::default()),
    ];
    records.extend(
        [1, 2, 12, 13, 30, 31].map(|classes| (format!("{classes} classes"), sample::square(classes))),
    );
    records
}

fn charts(record: &RunRecord) -> Vec<String> {
    let charts = [
        svg::accuracy(record),
        svg::confusion(record),
        svg::recall(record),
        svg::learning_curve(record),
        svg::heads(record),
        svg::training(record),
        svg::range_test(record),
    ];
    charts.into_iter().flatten().map(|chart| svg::standalone(&chart)).collect()
}

fn comparisons() -> Vec<(&'static str, DepthRecord)> {
    vec![
        ("twelve", sample::twelve_cuts()),
        ("two", sample::two_cuts()),
        ("forty", sample::forty_cuts()),
        ("protocol", sample::with_protocol()),
        ("hostile", sample::hostile_cuts()),
        ("unmeasured", sample::unmeasured_cuts()),
        ("empty", DepthRecord::default()),
    ]
}

/// Pages with the name of their record.
fn pages() -> Vec<(String, String)> {
    let runs = records().into_iter().map(|(name, record)| (name, render(&record)));
    let comparisons =
        comparisons().into_iter().map(|(name, record)| (name.to_owned(), render_depth(&record)));
    runs.chain(comparisons).collect()
}

/// Walks the tags of a document: every one is closed in order, attributes are quoted and unescaped markup is absent.
/// Returns the values of `id`.
fn check(document: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut ids = Vec::new();
    for part in document.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("unclosed tag: <{part}"));
        let name = tag.split([' ', '/', '\n']).find(|word| !word.is_empty()).unwrap_or_default();
        check_entities(text);
        check_entities(tag);
        if tag.starts_with('!') || tag.starts_with('?') {
            continue;
        } else if tag.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "wrong closing tag near {part}");
        } else {
            check_attributes(tag, &mut ids);
            if !tag.ends_with('/') {
                open.push(name.to_owned());
            }
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    ids
}

fn check_entities(text: &str) {
    for entity in text.split('&').skip(1) {
        let name = entity.split_once(';').map(|(name, _)| name);
        assert!(matches!(name, Some("amp" | "lt" | "gt" | "quot" | "#39")), "bare ampersand: &{entity}");
    }
}

fn check_attributes(tag: &str, ids: &mut Vec<String>) {
    let pieces: Vec<_> = tag.split('"').collect();
    assert!(pieces.len() % 2 == 1, "unbalanced quotes: {tag}");
    let mut names = BTreeSet::new();
    for pair in pieces.chunks_exact(2) {
        let name = pair[0].split_whitespace().next_back().unwrap();
        assert!(name.ends_with('=') && !name.starts_with("on"), "odd attribute {name} in {tag}");
        assert!(names.insert(name), "attribute {name} twice in {tag}");
        if name == "id=" {
            ids.push(pair[1].to_owned());
        }
    }
}

#[test]
fn pages_are_well_formed_and_their_identifiers_unique() {
    for (name, page) in pages() {
        let ids = check(&page);
        let distinct: BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{name}: {ids:?}");
    }
}

#[test]
fn charts_are_well_formed_files() {
    let runs = records().into_iter().flat_map(|(_, record)| charts(&record));
    let depths =
        comparisons().into_iter().flat_map(|(_, record)| [svg::depth(&record), svg::protocol(&record)]);
    for chart in runs.chain(depths.flatten().map(|chart| svg::standalone(&chart))) {
        check(&chart);
        assert!(chart.contains("<title id=") && chart.contains("role=\"img\""));
        assert!(!chart.contains("NaN") && !chart.contains("inf"));
    }
}

#[test]
fn nothing_runs_and_nothing_is_fetched() {
    for (name, page) in pages() {
        assert!(!page.contains("<script") && !page.contains("<img src=x"), "{name}");
        assert!(page.contains("default-src 'none'"));
        for address in page.split("src=\"").skip(1) {
            assert!(address.starts_with("data:image/"), "{name}: {}", &address[..40.min(address.len())]);
        }
        assert!(
            !page.contains("url(") && !page.contains("@import") && !page.contains("href=\"http"),
            "{name}"
        );
    }
}

#[test]
fn control_characters_reach_neither_page_nor_terminal() {
    let record = sample::hostile();
    let cuts = sample::hostile_cuts();
    let texts = [render(&record), render_markdown(&record), summary_text(&record)];
    for text in texts.into_iter().chain([render_depth(&cuts), depth_text(&cuts)]) {
        assert!(!text.chars().any(|character| character.is_control() && character != '\n'));
    }
    assert!(!depth_text(&cuts).contains('\u{202e}'));
    // Inside a fence of code nothing is markup.
    let markdown = render_markdown(&record);
    assert!(!markdown.split("```").step_by(2).any(|prose| prose.contains("<script")));
}

#[test]
fn a_table_of_cuts_keeps_its_fields_whatever_the_names_are() {
    let table = depth_csv(&sample::hostile_cuts());
    // Quotes inside a field are doubled, so that outside of fields every second piece between quotes is left.
    let bare: String = table.split('"').step_by(2).collect();
    assert_eq!(bare.lines().count(), 13);
    assert!(bare.lines().all(|row| row.matches(',').count() == 15), "{bare}");
}

#[test]
fn a_comparison_without_measurements_shows_no_chart() {
    assert!(!render_depth(&DepthRecord::default()).contains("<svg"));
    let page = render_depth(&sample::unmeasured_cuts());
    assert!(!page.contains("<svg") && !page.contains("NaN") && !page.contains("inf "));
    assert!(!render_depth(&sample::two_cuts()).contains("andom weights"));
}

#[test]
fn a_comparison_fits_a_terminal() {
    for (name, record) in comparisons().into_iter().filter(|(name, _)| *name != "hostile") {
        let text = depth_text(&record);
        // A command is one line, however long; rows with several marks may be longer than the others.
        let mut lines = text.lines().filter(|line| !line.starts_with("next "));
        assert!(lines.all(|line| line.chars().count() <= 100), "{name}:\n{text}");
    }
}

#[test]
fn parts_without_data_are_left_out() {
    let page = render(&RunRecord::default());
    assert!(!page.contains("<svg") && !page.contains("<table"));
    let page = render(&sample::two_classes());
    assert!(!page.contains("id=\"curve\"") && page.contains("every test answer is right"));
    assert!(svg::heads(&sample::two_classes()).is_none());
}

#[test]
fn above_thirty_classes_the_most_confused_pairs_replace_the_matrix() {
    assert!(svg::confusion(&sample::square(30)).is_some());
    assert!(svg::confusion(&sample::square(31)).is_none());
    assert!(render(&sample::square(31)).contains("Most often confused"));
}

#[test]
fn a_record_whose_parts_disagree_still_renders() {
    let mut record = sample::nine_classes();
    record.classes.truncate(3);
    record.confusion.push(vec![1; 40]);
    record.per_class.clear();
    record.learning_curve.series.push(regraft_report::record::CurveSeries::default());
    record.learning_curve.series[0].points[0].n = 0;
    record.learning_curve.series[0].points[1].mean = f64::NAN;
    record.test.accuracy.high = f64::INFINITY;
    record.head_candidates.iter_mut().for_each(|head| head.accuracy = 17.0);
    check(&render(&record));
    charts(&record).iter().for_each(|chart| drop(check(chart)));
}

#[test]
fn ten_thousand_classes_give_a_page_that_a_browser_can_open() {
    let classes: Vec<_> = (0..10_000).map(|index| format!("class {index}")).collect();
    let metrics =
        |class: &String| ClassMetrics { class: class.clone(), recall: 0.5, ..ClassMetrics::default() };
    let per_class = classes.iter().map(metrics).collect();
    let record = RunRecord { classes, per_class, confusion: Vec::new(), ..sample::nine_classes() };
    let page = render(&record);
    check(&page);
    assert!(page.len() < 4_000_000, "{} bytes", page.len());
}

#[test]
fn the_closing_lines_fit_a_terminal() {
    for (name, record) in records().into_iter().filter(|(name, _)| name != "hostile") {
        let summary = summary_text(&record);
        let lines = summary.lines().count();
        assert!(lines <= 18, "{name}: {lines} lines");
        assert!(summary.lines().all(|line| line.chars().count() <= 79), "{name}:\n{summary}");
    }
}
