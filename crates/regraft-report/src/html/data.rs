//! Can the data be trusted: what the doctor found.

use super::block;
use crate::insight::{findings_by_severity, findings_of};
use crate::markup::name;
use crate::number::counted;
use crate::record::{Finding, RunRecord, Severity};

/// The most files that are shown without a click.
const FILES_AT_ONCE: usize = 3;

/// The doctor's findings, the most severe first.
pub(super) fn section(record: &RunRecord) -> String {
    let findings: String = findings_by_severity(record).into_iter().map(finding).collect();
    let body = match findings.is_empty() {
        true => "<p>The data doctor found nothing to report.</p>\n".to_owned(),
        false => format!("<ul class=\"findings\">{findings}</ul>\n"),
    };
    block::section("data", "Can the data be trusted?", &tally(record), &body)
}

fn tally(record: &RunRecord) -> String {
    let of = |severity, one, many| (findings_of(record, severity), one, many);
    let counts = [
        of(Severity::Error, "error", "errors"),
        of(Severity::Warning, "warning", "warnings"),
        of(Severity::Note, "note", "notes"),
    ];
    let parts: Vec<_> =
        counts.into_iter().filter(|part| part.0 > 0).map(|(n, one, many)| counted(n, one, many)).collect();
    if parts.is_empty() { String::new() } else { format!("The data doctor reports {}.", parts.join(", ")) }
}

fn finding(finding: &Finding) -> String {
    format!(
        "<li><span class=\"badge {severity}\">{severity}</span><div><p>{} <code>{}</code></p>{}</div></li>\n",
        name(&finding.message),
        name(&finding.code),
        files(&finding.files),
        severity = finding.severity.word(),
    )
}

fn files(files: &[String]) -> String {
    match files.split_at_checked(FILES_AT_ONCE) {
        Some((first, rest)) if !rest.is_empty() => {
            let summary = counted(rest.len(), "more file", "more files");
            list(first) + &block::details(&summary, &list(rest))
        }
        _ if files.is_empty() => String::new(),
        _ => list(files),
    }
}

fn list(files: &[String]) -> String {
    let items: String = files.iter().map(|file| format!("<li>{}</li>", name(file))).collect();
    format!("<ul class=\"files\">{items}</ul>\n")
}
