//! How to use the model, and where everything comes from.

use super::block;
use crate::insight::{precision_line, run_argument};
use crate::markup::{escape, name, shorten};
use crate::number::{count, fixed, seconds, with_prefix};
use crate::record::RunRecord;

/// The most class names that are listed by name.
const CLASSES_BY_NAME: usize = 12;

/// The commands that use the run.
pub(super) fn usage_section(record: &RunRecord) -> String {
    let run = name(&run_argument(record));
    let commands = [
        ("label new images: files, folders, or - for standard input", format!("regraft predict {run} FILE…")),
        (
            "the same as JSON lines, with the most probable classes",
            format!("regraft predict {run} FILE… --json"),
        ),
        ("these metrics on other labelled data", format!("regraft evaluate {run} DATA")),
        (
            "repeat this run, bit for bit on the same machine",
            format!("regraft fit --config {run}/regraft.toml"),
        ),
    ];
    commands_section(&commands)
}

/// What each command is for, and the command as markup.
pub(super) fn commands_section(commands_html: &[(&str, String)]) -> String {
    let item = |(what, command): &(&str, String)| format!("<dt>{what}</dt><dd><code>{command}</code></dd>");
    let items: String = commands_html.iter().map(item).collect();
    block::section("usage", "How do I use it?", "", &format!("<dl class=\"commands\">{items}</dl>\n"))
}

/// Source, data, costs: everything needed to judge or repeat the run.
pub(super) fn section(record: &RunRecord) -> String {
    facts_section(&[
        ("Source model", source(record).as_slice()),
        ("Data", &data(record)),
        ("Run", &run(record)),
    ])
}

/// A label, and markup that is empty when nothing is known.
pub(super) type Fact = (&'static str, String);

/// Lists of facts under their headings.
pub(super) fn facts_section(lists_html: &[(&str, &[Fact])]) -> String {
    let lists: String = lists_html.iter().map(|(heading, list)| facts(heading, list)).collect();
    let body = format!("<div class=\"facts\">{lists}</div>\n");
    block::section("origin", "Where does it come from?", "", &body)
}

fn facts(heading: &str, facts: &[Fact]) -> String {
    let known = facts.iter().filter(|(_, value)| !value.is_empty());
    let items: String = known.map(|(label, value)| format!("<dt>{label}</dt><dd>{value}</dd>")).collect();
    if items.is_empty() { items } else { format!("<div><h3>{heading}</h3><dl>{items}</dl></div>") }
}

fn source(record: &RunRecord) -> [Fact; 9] {
    let number = |value: u64| if value == 0 { String::new() } else { with_prefix(value) };
    let size = match (record.input.as_str(), record.image_size) {
        ("", 0) => String::new(),
        ("", side) => format!("{side} × {side} pixels"),
        (input, _) => escape(input),
    };
    [
        ("Name", name(&record.source)),
        ("Origin", name(&record.source_origin)),
        ("Licence", name(&record.source_licence)),
        ("SHA-256", hash(&record.source_sha256)),
        ("Cut at", name(&record.cut)),
        ("Precision", escape(&precision_line(record))),
        ("Input", size),
        ("Parameters", number(record.model_parameters)),
        ("MACs", number(record.model_macs)),
    ]
}

/// A hash is for comparing, so all of it is there, but it may break anywhere.
fn hash(hash: &str) -> String {
    if hash.is_empty() { String::new() } else { format!("<code class=\"hash\">{}</code>", escape(hash)) }
}

fn data(record: &RunRecord) -> [Fact; 6] {
    let size = |n: usize| if n == 0 { String::new() } else { count(n as u64) };
    [
        ("Folder", name(&record.data_path)),
        ("Labels", name(record.label_file.as_deref().unwrap_or_default())),
        ("Training", size(record.n_train)),
        ("Validation", size(record.n_validation)),
        ("Test", size(record.n_test)),
        ("Classes", classes(&record.classes)),
    ]
}

/// How many classes there are, and the names of the first.
pub(super) fn classes(classes: &[String]) -> String {
    let named = classes.iter().take(CLASSES_BY_NAME).map(|class| name(&shorten(class, 40)));
    let names = named.collect::<Vec<_>>().join(", ");
    let rest = classes.len().saturating_sub(CLASSES_BY_NAME);
    let more = if rest == 0 { String::new() } else { format!(" and {} more", count(rest as u64)) };
    if names.is_empty() {
        return String::new();
    }
    format!("{}: {names}{more}", count(classes.len() as u64))
}

fn run(record: &RunRecord) -> [Fact; 11] {
    let time = |value: f64| if value.is_finite() { seconds(value) } else { String::new() };
    let rate = record.images_per_second;
    let memory = record.peak_rss_mb;
    [
        ("Ended", name(record.created.as_deref().unwrap_or_default())),
        ("Version", name(&record.regraft_version)),
        ("Seed", record.seed.to_string()),
        ("Instructions", name(&record.instruction_set)),
        ("Threads", if record.threads == 0 { String::new() } else { record.threads.to_string() }),
        ("Decoding", time(record.timing.decode_s)),
        ("Features", time(record.timing.features_s)),
        ("Head", time(record.timing.head_s)),
        ("Total", time(record.timing.total_s)),
        ("Throughput", if rate.is_finite() { format!("{} images/s", fixed(rate, 1)) } else { String::new() }),
        ("Peak memory", if memory.is_finite() { format!("{} MB", fixed(memory, 0)) } else { String::new() }),
    ]
}
