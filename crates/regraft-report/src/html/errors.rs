//! Where the model is wrong: the confusion matrix, the classes, and its most confident mistakes.

use super::block::{self, Column};
use crate::insight::{ConfusedPair, confused_pairs, examples};
use crate::markup::{escape, name};
use crate::number::{count, counted, percent, percent_bare, probability};
use crate::record::{ClassMetrics, Mistake, RunRecord};
use crate::svg;
use crate::thumbnail::embedded;

/// The most pictures on the page; a reader looks at a screenful, and the test set's table has the rest.
const MOST_MISTAKES: usize = 24;
/// The most confused pairs in the list when the matrix is shown, and when it is not.
const MOST_PAIRS: (usize, usize) = (6, 20);

/// The confusion matrix (or, of many classes, the most confused pairs) and recall by class.
pub(super) fn classes_section(record: &RunRecord) -> String {
    let matrix = svg::confusion(record);
    let pairs = pairs_table(record, matrix.is_some());
    let body = match matrix {
        Some(chart) => matrix_figure(record, &chart) + &block::pair(&recall_figure(record), &pairs),
        None => block::pair(&recall_figure(record), &pairs),
    };
    block::section("classes", "Where is it right, where wrong?", "", &(body + &class_details(record)))
}

fn matrix_figure(record: &RunRecord, chart: &str) -> String {
    let class = if record.classes.len() > 12 { "matrix large" } else { "matrix" };
    let caption = format!(
        "Rows are true classes, columns predicted ones; numbers count test {}. Blue is right, vermilion wrong; the \
         stronger, the larger the share of the true class.",
        examples(record)
    );
    block::figure(class, chart, &caption)
}

fn recall_figure(record: &RunRecord) -> String {
    let classes = record.per_class.len();
    let which = match classes > svg::MOST_ROWS {
        true => format!("The {} weakest of {} classes", svg::MOST_ROWS, count(classes as u64)),
        false => "The classes, the weakest first".to_owned(),
    };
    let caption = format!(
        "{which}. Bar: recall, the share of a class’s {} that is found. Diamond: precision, the share of its \
         predictions that is right.",
        examples(record)
    );
    svg::recall(record).map(|chart| block::figure("chart-box", &chart, &caption)).unwrap_or_default()
}

fn pairs_table(record: &RunRecord, with_matrix: bool) -> String {
    let limit = if with_matrix { MOST_PAIRS.0 } else { MOST_PAIRS.1 };
    let pairs = confused_pairs(record);
    if pairs.is_empty() {
        return String::new();
    }
    let columns = [
        (Column::Text, "Most often confused"),
        (Column::Text, "taken for"),
        (Column::Number, "Times"),
        (Column::Side, "of the class"),
    ];
    block::table(&columns, &pairs.iter().take(limit).map(pair_row).collect::<Vec<_>>())
}

fn pair_row(pair: &ConfusedPair<'_>) -> Vec<String> {
    vec![name(pair.true_class), name(pair.predicted), count(pair.count), percent(pair.share)]
}

fn class_details(record: &RunRecord) -> String {
    if record.per_class.is_empty() {
        return String::new();
    }
    let columns = [
        (Column::Text, "Class"),
        (Column::Number, "Precision, %"),
        (Column::Number, "Recall, %"),
        (Column::Number, "F1, %"),
        (Column::Number, "Test examples"),
    ];
    let rows: Vec<_> = record.per_class.iter().map(class_row).collect();
    let summary = format!("Precision, recall and F1 of {}", counted(rows.len(), "class", "classes"));
    block::details(&summary, &block::table(&columns, &rows))
}

fn class_row(class: &ClassMetrics) -> Vec<String> {
    vec![
        name(&class.class),
        percent_bare(class.precision),
        percent_bare(class.recall),
        percent_bare(class.f1),
        count(class.support),
    ]
}

/// The most confident mistakes as pictures.
pub(super) fn mistakes_section(record: &RunRecord) -> String {
    let cards: String = record.mistakes.iter().take(MOST_MISTAKES).map(mistake_card).collect();
    let (lead, body) = match (record.mistakes.is_empty(), record.test.accuracy.value >= 1.0) {
        (false, _) => (
            "Wrong answers that the model was surest of, the surest first. A wrong label in the data shows up here \
             just like a weakness of the model.",
            format!("<ul class=\"mistakes\">{cards}</ul>\n"),
        ),
        (true, true) => ("", "<p>There is none: every test answer is right.</p>\n".to_owned()),
        (true, false) => ("", String::new()),
    };
    block::section("mistakes", "The most confident mistakes", lead, &body)
}

fn mistake_card(mistake: &Mistake) -> String {
    let path = escape(&mistake.path);
    let picture = mistake.thumbnail.as_deref().and_then(embedded).map_or_else(
        || "<span class=\"picture missing\">no preview</span>".to_owned(),
        |address| format!("<img class=\"picture\" src=\"{address}\" alt=\"{path}\" loading=\"lazy\"/>"),
    );
    format!(
        "<li title=\"{path}\">{picture}<span class=\"answer\">{predicted} <b>{probability}</b></span>\
         <span class=\"truth\">is really {truth}</span><span class=\"path\">{file}</span></li>\n",
        predicted = name(&mistake.predicted),
        probability = escape(&probability(mistake.probability)),
        truth = name(&mistake.true_class),
        file = name(file_name(&mistake.path)),
    )
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}
