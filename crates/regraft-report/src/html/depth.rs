//! The page of a comparison of cuts: where to cut, what each depth is worth, what judged the choice, how to use it.

mod protocol;
mod table;

use super::block::{self, Column};
use super::origin::{Fact, classes, commands_section, facts_section};
use super::shell::{Page, tile};
use crate::insight::{argument, behind_space, cut_marks, fit_command, has_random_cuts};
use crate::markup::{escape, name};
use crate::number::{
    count, counted, fixed, level, percent, percent_bare, percent_interval, points, points_interval,
    probability, seconds, with_prefix,
};
use crate::record::{CutRecord, CutTest, CutTuning, DepthRecord};
use crate::svg;
use crate::verdict::{change, depth_verdict, milliseconds, tuning_sentence};

/// The report of a comparison of cuts as one HTML document.
pub fn render_depth(record: &DepthRecord) -> String {
    let sections = [
        depth_section(record),
        table::section(record),
        test_section(record),
        tuning_section(record),
        protocol::section(record),
        usage_section(record),
        origin_section(record),
    ];
    let page = Page {
        version: &record.regraft_version,
        kind: "cut points",
        title: if record.name.is_empty() { "A comparison without a name" } else { &record.name },
        setting_html: &setting(record),
        verdict: &depth_verdict(record),
        tiles_html: &tiles(record),
        sections_html: &sections.concat(),
    };
    page.document()
}

/// One line on what was compared for what.
fn setting(record: &DepthRecord) -> String {
    let counted =
        |n: usize, one: &str, many: &str| if n == 0 { String::new() } else { counted(n, one, many) };
    let mut parts = vec![
        name(&record.source),
        counted(record.cuts.len(), "cut", "cuts"),
        counted(record.classes.len(), "class", "classes"),
        counted(record.n_train, "training image", "training images"),
        counted(record.n_validation, "validation image", "validation images"),
        counted(record.n_test, "test image", "test images"),
    ];
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

/// The numbers that a reader looks for first.
fn tiles(record: &DepthRecord) -> Vec<String> {
    let chosen = record.chosen();
    let tiles = [
        chosen.and_then(|cut| accuracy_tile(record, cut)),
        chosen.and_then(|cut| parameters_tile(record, cut)),
        chosen.and_then(|cut| time_tile(record, cut)),
        run_tile(record),
    ];
    tiles.into_iter().flatten().collect()
}

/// On the test images, or in cross-validation where there are none.
fn accuracy_tile(record: &DepthRecord, cut: &CutRecord) -> Option<String> {
    let test = record.test_of(&cut.wire).map(|test| ("Test accuracy", test.accuracy));
    let (label, accuracy) = test.unwrap_or(("Cross-validated accuracy", cut.accuracy));
    accuracy.is_known().then(|| tile(label, &percent(accuracy.value), &percent_interval(&accuracy)))
}

fn parameters_tile(record: &DepthRecord, cut: &CutRecord) -> Option<String> {
    let default = other_default(record).filter(|default| default.parameters > 0);
    let note = default.map(|default| {
        let change = change(cut.parameters as f64, default.parameters as f64, ["fewer", "more"]);
        beside_default(&change)
    });
    let value = with_prefix(cut.parameters);
    let note = note.unwrap_or_else(|| counted(cut.dimensions, "feature", "features"));
    (cut.parameters > 0).then(|| tile("Parameters up to the cut", &value, &note))
}

fn time_tile(record: &DepthRecord, cut: &CutRecord) -> Option<String> {
    let default = other_default(record).filter(|default| default.milliseconds > 0.0);
    let note = default
        .map(|default| beside_default(&change(cut.milliseconds, default.milliseconds, ["less", "more"])));
    let value = milliseconds(cut.milliseconds);
    let note = note.unwrap_or_else(|| threads(record));
    cut.milliseconds.is_finite().then(|| tile("One image up to the cut", &value, &note))
}

/// `74 % fewer than the default`, `the same as the default`.
fn beside_default(change: &str) -> String {
    let than = if change == "the same" { "as" } else { "than" };
    format!("{change} {than} the default")
}

fn run_tile(record: &DepthRecord) -> Option<String> {
    let memory = record.peak_rss_mb.is_finite().then(|| format!("peak {} MB", fixed(record.peak_rss_mb, 0)));
    let notes = std::iter::once(threads(record)).chain(memory).filter(|note| !note.is_empty());
    let note = notes.collect::<Vec<_>>().join(", ");
    record.seconds.is_finite().then(|| tile("Whole comparison", &seconds(record.seconds), &note))
}

/// Nothing where the number is unknown.
fn threads(record: &DepthRecord) -> String {
    if record.threads == 0 { String::new() } else { counted(record.threads, "thread", "threads") }
}

/// The default cut, where another one was chosen.
fn other_default(record: &DepthRecord) -> Option<&CutRecord> {
    record.default_cut().filter(|default| !default.is_chosen)
}

fn depth_section(record: &DepthRecord) -> String {
    let Some(chart) = svg::depth(record) else { return String::new() };
    let random = if has_random_cuts(record) {
        " Where the line of random weights comes close, the training of the source is worth little at that depth."
    } else {
        ""
    };
    let caption = format!(
        "Accuracy {} of a head behind each cut, from generic to specific; bands are {} intervals.{random} The \
         majority class is what always answering the most frequent class reaches.",
        judged(record),
        level(record.interval_level)
    );
    let class = if svg::is_wide(record) { "chart-wide" } else { "chart-box" };
    let lead = escape(&record.reason).replace(" %", "\u{a0}%");
    block::section("depth", "How good is each depth?", &lead, &block::figure(class, &chart, &caption))
}

/// Which images judged the cuts.
fn judged(record: &DepthRecord) -> String {
    match record.n_validation {
        0 => "in cross-validation on the training images".to_owned(),
        images => format!("on {}", counted(images, "validation image", "validation images")),
    }
}

/// The test images, which had no part in the choice.
fn test_section(record: &DepthRecord) -> String {
    let interval = format!("{} interval", level(record.interval_level));
    let columns = [
        (Column::Text, "Cut"),
        (Column::Number, "Accuracy, %"),
        (Column::Side, interval.as_str()),
        (Column::Number, "Gain, points"),
        (Column::Side, interval.as_str()),
        (Column::Number, "P(better)"),
    ];
    let known = record.test.iter().filter(|test| test.accuracy.is_known());
    let rows: Vec<_> = known.map(|test| test_row(record, test)).collect();
    // Without a comparison there is no gain to show.
    let has_gain = record.test.iter().any(|test| test.gain.is_some());
    let columns = columns.get(..3).filter(|_| !has_gain).unwrap_or(&columns);
    let table = if rows.is_empty() { String::new() } else { block::table(columns, &rows) };
    block::section("test", "Does the choice hold on the test images?", &test_lead(record), &table)
}

fn test_lead(record: &DepthRecord) -> String {
    let images = counted(record.n_test, "test image", "test images");
    let gain = record.test.iter().find_map(|test| test.gain).map(|gain| gain.estimate);
    let answer = match gain {
        Some(gain) if gain.low > 0.0 => {
            " The chosen cut is better than the default one: the interval of the gain lies above 0."
        }
        Some(gain) if gain.high < 0.0 => {
            " The chosen cut is worse than the default one: the interval of the gain lies below 0."
        }
        Some(gain) if gain.is_known() => {
            " They cannot tell which of the two is better: the interval of the gain contains 0."
        }
        _ => "",
    };
    format!("The {images} had no part in the choice and were looked at once.{answer}")
}

fn test_row(record: &DepthRecord, test: &CutTest) -> Vec<String> {
    let cut = record.cuts.iter().find(|cut| cut.wire == test.wire);
    let wire = match cut {
        Some(cut) if cut.is_chosen => format!("<strong>{}</strong>", name(&test.wire)),
        _ => name(&test.wire),
    };
    let what = cut.map(|cut| cut_marks(record, cut)).unwrap_or_default();
    let gain = test.gain.as_ref().filter(|gain| gain.estimate.is_known());
    vec![
        format!("{wire}<span class=\"what\">{}</span>", escape(&what)),
        percent_bare(test.accuracy.value),
        percent_interval(&test.accuracy),
        gain.map_or(String::new(), |gain| points(gain.estimate.value)),
        gain.map_or(String::new(), |gain| points_interval(&gain.estimate)),
        gain.map_or(String::new(), |gain| escape(&probability(gain.probability))),
    ]
}

fn tuning_section(record: &DepthRecord) -> String {
    let columns = [
        (Column::Text, "Cut"),
        (Column::Number, "Epochs"),
        (Column::Number, "Images that judged"),
        (Column::Number, "Accuracy before, %"),
        (Column::Number, "after, %"),
        (Column::Number, "Log-loss before"),
        (Column::Number, "after"),
        (Column::Number, "Seconds"),
    ];
    let rows: Vec<_> = record.tuned.iter().map(tuning_row).collect();
    let table = if rows.is_empty() { String::new() } else { block::table(&columns, &rows) };
    let order = tuning_sentence(record).map(|sentence| escape(&sentence) + " ").unwrap_or_default();
    let lead = format!(
        "{order}One fold judged a short training of everything behind the cut; one fold is a hint, not a measurement \
         with an interval."
    );
    block::section("tuning", "Does fine-tuning change the order?", &lead, &table)
}

fn tuning_row(tuning: &CutTuning) -> Vec<String> {
    vec![
        name(&tuning.wire),
        tuning.epochs.to_string(),
        count(tuning.images as u64),
        percent_bare(tuning.accuracy_before),
        percent_bare(tuning.accuracy_after),
        fixed(tuning.log_loss_before, 3),
        fixed(tuning.log_loss_after, 3),
        fixed(tuning.seconds, 1),
    ]
}

fn usage_section(record: &DepthRecord) -> String {
    let Some(chosen) = record.chosen() else { return String::new() };
    let source = argument(&record.source, "SOURCE");
    let (data, wire) = (argument(&record.data, "DATA"), argument(&chosen.wire, "WIRE"));
    let [head, features] = match record.cuts.len() {
        1 => ["fit a head at this cut", "the features at this cut, for another tool"],
        _ => ["fit a head at the chosen cut", "the features at the chosen cut, for another tool"],
    };
    let mut commands = vec![(head, fit_command(record, Some(&chosen.wire)))];
    if other_default(record).is_some() {
        commands.push(("the same at the default cut, to compare", fit_command(record, None)));
    }
    let embed = format!(
        "regraft embed {data} --source {source} --cut {wire}{} --out features.npy",
        behind_space(&record.input_options)
    );
    commands.push((features, embed));
    let commands: Vec<_> = commands.into_iter().map(|(what, command)| (what, name(&command))).collect();
    commands_section(&commands)
}

fn origin_section(record: &DepthRecord) -> String {
    let number = |value: usize| if value == 0 { String::new() } else { count(value as u64) };
    let source: [Fact; 2] = [("Name", name(&record.source)), ("Input", escape(&record.input))];
    let data: [Fact; 6] = [
        ("Folder", name(&record.data)),
        ("Labels", name(record.label_file.as_deref().unwrap_or_default())),
        ("Training", number(record.n_train)),
        ("Validation", number(record.n_validation)),
        ("Test", number(record.n_test)),
        ("Classes", classes(&record.classes)),
    ];
    facts_section(&[("Source model", source.as_slice()), ("Data", &data), ("Comparison", &run(record))])
}

fn run(record: &DepthRecord) -> [Fact; 7] {
    let known =
        |value: f64, show: fn(f64) -> String| if value.is_finite() { show(value) } else { String::new() };
    [
        ("Ended", name(record.created.as_deref().unwrap_or_default())),
        ("Version", name(&record.regraft_version)),
        ("Head", name(&record.head)),
        ("Instructions", name(&record.instruction_set)),
        ("Threads", if record.threads == 0 { String::new() } else { record.threads.to_string() }),
        ("Total", known(record.seconds, seconds)),
        ("Peak memory", known(record.peak_rss_mb, |memory| format!("{} MB", fixed(memory, 0)))),
    ]
}
