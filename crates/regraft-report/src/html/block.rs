//! The few blocks that every section is made of. Arguments called `…_html` are markup; the rest is escaped here.

use crate::markup::escape;

/// A section with a heading and an optional leading sentence; empty when it has nothing to show.
pub(super) fn section(id: &str, heading: &str, lead_html: &str, body_html: &str) -> String {
    if body_html.is_empty() {
        return String::new();
    }
    let lead =
        if lead_html.is_empty() { String::new() } else { format!("<p class=\"lead\">{lead_html}</p>\n") };
    format!(
        "<section id=\"{id}\" aria-labelledby=\"{id}-heading\">\n<h2 id=\"{id}-heading\">{}</h2>\n\
         {lead}{body_html}</section>\n",
        escape(heading)
    )
}

/// A chart with its caption.
pub(super) fn figure(class: &str, chart: &str, caption_html: &str) -> String {
    format!(
        "<figure class=\"{class}\"><div class=\"scroll\">{chart}</div><figcaption>{caption_html}</figcaption></figure>\n"
    )
}

/// How the cells of a column are set.
#[derive(Clone, Copy)]
pub(super) enum Column {
    /// A name or a sentence: left.
    Text,
    /// A number: right, digits under digits.
    Number,
    /// An interval or a remark beside a number: right and soft.
    Side,
}

impl Column {
    const fn class(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Side => "number soft",
        }
    }
}

/// A table whose first column names the row. Cells are markup.
pub(super) fn table(columns: &[(Column, &str)], rows_html: &[Vec<String>]) -> String {
    let head: String = columns
        .iter()
        .map(|(column, title)| {
            format!("<th scope=\"col\" class=\"{}\">{}</th>", column.class(), escape(title))
        })
        .collect();
    let body: String = rows_html.iter().map(|row| table_row(columns, row)).collect();
    format!(
        "<div class=\"scroll\"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )
}

fn table_row(columns: &[(Column, &str)], cells_html: &[String]) -> String {
    let cells = columns.iter().zip(cells_html).enumerate().map(|(index, ((column, _), cell))| match index {
        0 => format!("<th scope=\"row\" class=\"{}\">{cell}</th>", column.class()),
        _ => format!("<td class=\"{}\">{cell}</td>", column.class()),
    });
    format!("<tr>{}</tr>\n", cells.collect::<String>())
}

/// A part that opens on a click and is always open in print.
pub(super) fn details(summary: &str, body_html: &str) -> String {
    format!("<details><summary>{}</summary>\n{body_html}</details>\n", escape(summary))
}

/// Blocks side by side where there is room; nothing when all are empty.
pub(super) fn pair(first_html: &str, second_html: &str) -> String {
    match (first_html.is_empty(), second_html.is_empty()) {
        (true, true) => String::new(),
        (false, false) => format!("<div class=\"pair\">{first_html}{second_html}</div>\n"),
        _ => format!("{first_html}{second_html}"),
    }
}
