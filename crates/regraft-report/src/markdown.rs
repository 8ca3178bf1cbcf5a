//! The short forms: Markdown for a README, plain lines for the end of a command.

mod depth;

use crate::insight::{
    best_head, confused_pairs, examples, findings_of, head_label, precision_line, run_argument,
    test_time_line, weakest_class,
};
use crate::number::{
    UNKNOWN, count, counted, fixed, level, percent, percent_bare, percent_interval, points, points_interval,
    seconds,
};
use crate::record::{Estimate, PairedGain, RunRecord, Severity, TuningRecord};
use crate::verdict::verdict;

pub use depth::depth_text;

/// Width of the plain lines; they also fit a narrow terminal.
const LINE: usize = 78;

/// The longest label of the plain table that keeps its rows within [`LINE`].
const LABEL: usize = 29;

/// A summary in Markdown: the verdict, the table with intervals and baselines, and how to use the model.
pub fn render_markdown(record: &RunRecord) -> String {
    let verdict = verdict(record);
    let caution = verdict.caution.map(|caution| format!("> {}\n\n", escaped(&caution))).unwrap_or_default();
    format!(
        "# {title}\n\n**{sentence}**\n\n{caution}{table}\n{facts}\n```sh\nregraft predict {run} FILE…\n\
         regraft evaluate {run} DATA\n```\n",
        title = escaped(if record.name.is_empty() { "Run" } else { &record.name }),
        sentence = escaped(&verdict.sentence),
        table = markdown_table(record),
        facts = markdown_facts(record),
        run = single_line(&run_argument(record)),
    )
}

fn markdown_table(record: &RunRecord) -> String {
    let level = level(record.interval_level);
    let mut table = format!(
        "| method | accuracy | {level} interval | gain, points | {level} interval |\n|:--|--:|--:|--:|--:|\n"
    );
    for row in rows(record) {
        let cells = [escaped(&row.label), row.accuracy, row.interval, row.gain, row.gain_interval];
        table += &format!("| {} |\n", cells.join(" | "));
    }
    table
}

fn markdown_facts(record: &RunRecord) -> String {
    let mut facts = vec![
        format!("Source: {} cut at {}; {}", record.source, record.cut, record.method),
        format!("Data: {}", data_line(record)),
        format!("Test: {}", metrics_line(record)),
    ];
    facts.extend(test_time_line(record).map(|line| format!("Test-time augmentation: {line}")));
    facts.extend(weakness_line(record).map(|line| format!("Weakest class: {line}")));
    facts.extend(doctor_line(record));
    facts.push(format!("Regraft {}, seed {}", record.regraft_version, record.seed));
    facts.iter().map(|fact| format!("- {}\n", escaped(fact))).collect()
}

/// Ten to fifteen plain lines for the end of a command: the verdict, the table, what is weak, what it cost.
pub fn summary_text(record: &RunRecord) -> String {
    let verdict = verdict(record);
    let mut lines = wrapped(&verdict.sentence);
    lines.extend(verdict.caution.iter().flat_map(|caution| wrapped(caution)));
    lines.push(String::new());
    lines.extend(plain_table(record));
    lines.push(String::new());
    lines.extend(plain_facts(record));
    lines.join("\n") + "\n"
}

fn plain_facts(record: &RunRecord) -> Vec<String> {
    let mut facts = vec![("test", metrics_line(record))];
    if let Some(head) = head_line(record) {
        facts.push(("head", head));
    }
    if record.tuning.is_none() && !["", "f32"].contains(&record.precision.asked.as_str()) {
        facts.push(("numbers", precision_summary(record)));
    }
    if let Some(tuning) = &record.tuning {
        facts.push(("tuned", tuning_line(tuning)));
    }
    facts.extend(test_time_line(record).map(|line| ("tta", line)));
    facts.extend(weakness_line(record).map(|line| ("weakest", line)));
    facts.extend(doctor_line(record).map(|line| ("data", line)));
    facts.push(("time", time_line(record)));
    facts.into_iter().flat_map(|(label, text)| labelled(label, &text)).collect()
}

/// What was trained, and in what where that is not f32 or was not asked for.
fn tuning_line(tuning: &TuningRecord) -> String {
    let TuningRecord { method_in_words, precision, precision_reason, .. } = tuning;
    match (precision.as_str(), precision_reason.as_str()) {
        ("" | "f32", "") => method_in_words.clone(),
        (_, "") => format!("{method_in_words}, in {precision}"),
        (_, reason) => format!("{method_in_words}, in {precision}: {reason}"),
    }
}

/// One line; the report says more.
fn precision_summary(record: &RunRecord) -> String {
    if record.precision.reason.is_empty() {
        return precision_line(record);
    }
    format!("{}, chosen by {}; the report says why", record.precision.used, record.precision.asked)
}

/// One method of the table as text.
struct Row {
    label: String,
    accuracy: String,
    interval: String,
    gain: String,
    gain_interval: String,
}

fn rows(record: &RunRecord) -> Vec<Row> {
    let label = record.source.clone();
    let source = row(&label, &record.test.accuracy, None);
    let baselines = record
        .baselines
        .measured()
        .map(|(kind, baseline)| row(kind.label(), &baseline.accuracy, baseline.gain));
    let probe = record.tuning.as_ref().and_then(|tuning| tuning.probe.as_ref());
    let probe = probe.map(|probe| row("linear probe", &probe.accuracy, probe.gain));
    std::iter::once(source).chain(probe).chain(baselines).collect()
}

fn row(label: &str, accuracy: &Estimate, gain: Option<PairedGain>) -> Row {
    Row {
        label: single_line(label),
        accuracy: percent(accuracy.value),
        interval: percent_interval(accuracy),
        gain: gain.map_or(String::new(), |gain| points(gain.estimate.value)),
        gain_interval: gain.map_or(String::new(), |gain| points_interval(&gain.estimate)),
    }
}

fn plain_table(record: &RunRecord) -> Vec<String> {
    let level = level(record.interval_level);
    let titles = Row {
        label: String::new(),
        accuracy: "accuracy".to_owned(),
        interval: format!("{level} interval"),
        gain: "gain".to_owned(),
        gain_interval: format!("{level} interval"),
    };
    let rows: Vec<_> = std::iter::once(titles).chain(rows(record)).collect();
    let width = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0).min(LABEL);
    rows.iter().map(|row| plain_row(row, width)).collect()
}

fn plain_row(row: &Row, width: usize) -> String {
    let label = crate::markup::shorten(&row.label, width.max(1));
    let line = format!(
        "{label:<width$}  {:>8}  {:>13}  {:>6}  {:>14}",
        row.accuracy, row.interval, row.gain, row.gain_interval
    );
    line.trim_end().to_owned()
}

fn data_line(record: &RunRecord) -> String {
    format!(
        "{} training and {} test {} in {}",
        count(record.n_train as u64),
        count(record.n_test as u64),
        examples(record),
        counted(record.classes.len(), "class", "classes")
    )
}

fn metrics_line(record: &RunRecord) -> String {
    let test = &record.test;
    let mut parts = vec![
        format!("balanced accuracy {}", percent(test.balanced_accuracy.value)),
        format!("macro F1 {}", percent(test.macro_f1.value)),
        format!("log-loss {}", fixed(test.log_loss.value, 3)),
        format!("ECE {}", percent(test.ece.value)),
    ];
    parts.retain(|part| !part.ends_with(UNKNOWN));
    if parts.is_empty() { UNKNOWN.to_owned() } else { parts.join(", ") }
}

fn head_line(record: &RunRecord) -> Option<String> {
    let chosen = record.head_candidates.iter().find(|head| head.chosen).or(best_head(record))?;
    let (accuracy, error) = (percent_bare(chosen.accuracy), percent_bare(chosen.standard_error));
    let judge = if record.n_validation == 0 { "cross-validation" } else { "validation" };
    let heads = counted(record.head_candidates.len(), "head", "heads");
    Some(format!("{} of {heads} ({judge} {accuracy} ± {error} %)", head_label(chosen)))
}

fn weakness_line(record: &RunRecord) -> Option<String> {
    let class = weakest_class(record).filter(|class| class.recall < 1.0)?;
    let recall = percent(class.recall);
    let found = format!("{} {recall} of {}", class.class, count(class.support));
    let pairs = confused_pairs(record);
    let confused = pairs.first().map(|pair| {
        let times = counted(usize::try_from(pair.count).unwrap_or(usize::MAX), "time", "times");
        format!("; {} taken for {} {times}", pair.true_class, pair.predicted)
    });
    Some(found + &confused.unwrap_or_default())
}

fn doctor_line(record: &RunRecord) -> Option<String> {
    let (errors, warnings) = (findings_of(record, Severity::Error), findings_of(record, Severity::Warning));
    let parts =
        [(errors, counted(errors, "error", "errors")), (warnings, counted(warnings, "warning", "warnings"))];
    let parts: Vec<_> = parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text).collect();
    (!parts.is_empty()).then(|| format!("{} from the data doctor", parts.join(" and ")))
}

fn time_line(record: &RunRecord) -> String {
    let timing = &record.timing;
    let stages = [
        ("decode", timing.decode_s),
        ("features", timing.features_s),
        ("head", timing.head_s),
        ("total", timing.total_s),
    ];
    let known = stages.into_iter().filter(|(_, value)| value.is_finite());
    let mut parts: Vec<_> = known.map(|(label, value)| format!("{label} {}", seconds(value))).collect();
    if record.peak_rss_mb.is_finite() {
        parts.push(format!("{} MB", fixed(record.peak_rss_mb, 0)));
    }
    if parts.is_empty() { UNKNOWN.to_owned() } else { parts.join(", ") }
}

/// A label and its text, wrapped under each other.
fn labelled(label: &str, text: &str) -> Vec<String> {
    const INDENT: usize = 9;
    let lines = wrap(text, LINE - INDENT);
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    lines.iter().zip(labels).map(|(line, label)| format!("{label:<INDENT$}{line}")).collect()
}

fn wrapped(text: &str) -> Vec<String> {
    wrap(text, LINE)
}

/// Breaks at spaces so that no line is longer than `width`, except a word that is longer itself. A number stays with
/// its per cent sign.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let glued = single_line(text).replace(" %", "\u{a0}%");
    let mut lines: Vec<String> = Vec::new();
    for word in glued.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.into_iter().map(|line| line.replace('\u{a0}', " ")).collect()
}

/// A name can hold line breaks and terminal control sequences; neither may reach a terminal.
fn single_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// Text whose punctuation Markdown and HTML would otherwise read as markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in single_line(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' => escaped.extend(['\\', character]),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_long_words_stand_alone() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a longestword b", 5), ["a", "longestword", "b"]);
        assert_eq!(wrap("about 95 % of", 8), ["about", "95 % of"]);
        assert!(wrap("", 5).is_empty());
    }

    #[test]
    fn markup_and_control_characters_in_names_are_neutral() {
        assert_eq!(escaped("a|b *c* <d>\u{1b}[2J\n"), "a\\|b \\*c\\* &lt;d&gt;\u{fffd}\\[2J\u{fffd}");
    }
}
