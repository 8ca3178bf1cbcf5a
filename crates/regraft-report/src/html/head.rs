//! How the head was chosen.

use super::block::{self, Column};
use crate::markup::name;
use crate::number::{counted, fixed, percent_bare};
use crate::record::{HeadCandidate, RunRecord};
use crate::svg;

/// The heads that were tried, with the rule that chose.
pub(super) fn section(record: &RunRecord) -> String {
    let caption = "Accuracy on data that the head was not fitted on; whiskers are one standard error of each head by \
                   itself. The choice goes by the log-loss in the table.";
    let chart =
        svg::heads(record).map(|chart| block::figure("chart-box", &chart, caption)).unwrap_or_default();
    let body = if record.head_candidates.is_empty() { String::new() } else { chart + &table(record) };
    block::section("head", "How was the head chosen?", &lead(record), &body)
}

fn lead(record: &RunRecord) -> String {
    let how = match record.n_validation {
        0 => "by cross-validation inside the training set".to_owned(),
        n => format!("on the validation set ({} examples)", crate::number::count(n as u64)),
    };
    let temperature = record.temperature.map_or_else(String::new, |temperature| {
        format!(
            " Its probabilities were calibrated afterwards by temperature scaling (T = {}).",
            fixed(temperature, 3)
        )
    });
    format!(
        "One of {} was chosen {how}, by log-loss: of each kind the setting with the least, and of the kinds the first \
         in the order of preference whose log-loss is within one standard error of the best, head against head on \
         the same examples. The test set had no part in it.{temperature}",
        counted(record.head_candidates.len(), "head", "heads")
    )
}

fn table(record: &RunRecord) -> String {
    let columns = [
        (Column::Text, "Head"),
        (Column::Text, "Setting"),
        (Column::Number, "Accuracy, %"),
        (Column::Side, "standard error"),
        (Column::Number, "Log-loss"),
        (Column::Text, ""),
    ];
    let rows: Vec<_> = record.head_candidates.iter().map(row).collect();
    block::details(&format!("All {}", counted(rows.len(), "head", "heads")), &block::table(&columns, &rows))
}

fn row(head: &HeadCandidate) -> Vec<String> {
    let kind = name(&head.kind);
    let chosen = if head.chosen { "<strong>chosen</strong> " } else { "" };
    vec![
        if head.chosen { format!("<strong>{kind}</strong>") } else { kind },
        name(&head.hyper_parameter),
        percent_bare(head.accuracy),
        percent_bare(head.standard_error),
        fixed(head.log_loss, 3),
        format!("{chosen}{}", name(&head.note)),
    ]
}
