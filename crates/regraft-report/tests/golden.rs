//! Whole reports against committed files. `REGRAFT_UPDATE_GOLDEN=1 cargo test --release -p regraft-report` writes
//! them anew; read the difference before committing it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod sample;

use regraft_report::{
    DepthRecord, RunRecord, depth_csv, depth_text, metrics_json, render, render_depth, render_markdown,
    summary_text, svg,
};

fn assert_golden(file: &str, actual: &str) {
    let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("REGRAFT_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    let differs = expected.lines().zip(actual.lines()).position(|(expected, actual)| expected != actual);
    if let Some(line) = differs {
        let of = |text: &str| text.lines().nth(line).unwrap().to_owned();
        panic!("{file}, line {}:\n expected {}\n found    {}", line + 1, of(&expected), of(actual));
    }
    assert_eq!(expected.len(), actual.len(), "{file}: one text is longer than the other");
}

#[test]
fn the_page_of_nine_classes() {
    assert_golden("nine.html", &render(&sample::nine_classes()));
}

#[test]
fn the_page_of_two_classes_without_curve_mistakes_and_most_baselines() {
    assert_golden("two.html", &render(&sample::two_classes()));
}

#[test]
fn the_charts_of_a_training() {
    let record = sample::tuned();
    assert_golden("training.svg", &svg::training(&record).unwrap());
    assert_golden("range-test.svg", &svg::range_test(&record).unwrap());
    let page = render(&record);
    for text in ["Ingredient of the soup", "validation-soup-2", "Share of the epochs", "Batches of a step"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn markdown() {
    assert_golden("nine.md", &render_markdown(&sample::nine_classes()));
    assert_golden("two.md", &render_markdown(&sample::two_classes()));
}

#[test]
fn closing_lines() {
    assert_golden("nine.txt", &summary_text(&sample::nine_classes()));
    assert_golden("two.txt", &summary_text(&sample::two_classes()));
    assert_golden("hundred.txt", &summary_text(&sample::hundred_classes()));
    assert_golden("empty.txt", &summary_text(&RunRecord::default()));
}

#[test]
fn metrics() {
    let metrics = metrics_json(&sample::nine_classes());
    assert_golden("nine.metrics.json", &(serde_json::to_string_pretty(&metrics).unwrap() + "\n"));
}

#[test]
fn comparisons_of_cuts() {
    for (name, record) in [
        ("depth-twelve", sample::twelve_cuts()),
        ("depth-two", sample::two_cuts()),
        ("depth-protocol", sample::with_protocol()),
    ] {
        assert_golden(&format!("{name}.html"), &render_depth(&record));
        assert_golden(&format!("{name}.txt"), &depth_text(&record));
        assert_golden(&format!("{name}.csv"), &depth_csv(&record));
    }
    assert_golden("depth-empty.txt", &depth_text(&DepthRecord::default()));
}

#[test]
fn a_comparison_gives_the_same_page_after_a_trip_through_json() {
    let measured = [sample::twelve_cuts(), sample::two_cuts(), sample::with_protocol()];
    for record in measured.into_iter().chain([sample::unmeasured_cuts(), DepthRecord::default()]) {
        let back = DepthRecord::from_json(&record.to_json().unwrap()).unwrap();
        assert_eq!(render_depth(&back), render_depth(&record));
        assert_eq!(depth_text(&back), depth_text(&record));
        assert_eq!(depth_csv(&back), depth_csv(&record));
        assert_eq!(back.to_json().unwrap(), record.to_json().unwrap());
    }
}

#[test]
fn a_record_gives_the_same_page_after_a_trip_through_json() {
    for record in
        [sample::nine_classes(), sample::two_classes(), sample::hundred_classes(), RunRecord::default()]
    {
        let back = RunRecord::from_json(&record.to_json().unwrap()).unwrap();
        assert_eq!(render(&back), render(&record));
        assert_eq!(metrics_json(&back), metrics_json(&record));
    }
}
