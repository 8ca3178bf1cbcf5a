//! The confusion matrix as a heat map: right answers blue on the diagonal, mistakes vermilion beside it.

use super::drawing::{Area, Drawing};
use crate::insight::row_total;
use crate::markup::{fit_width, text_width};
use crate::number::{count, percent};
use crate::record::RunRecord;

/// The most classes whose matrix can be read; above it the page lists the most confused pairs only.
pub const MOST_CLASSES: usize = 30;

const LONGEST_LABEL: f64 = 120.0;
const LABEL_SIZE: f64 = 13.0;

/// Where the cells lie.
struct Layout {
    /// Side of a cell.
    cell: f64,
    /// Left end of the first column.
    left: f64,
    /// Upper end of the first row.
    top: f64,
}

/// Heat map of the counts, rows true and columns predicted. The colour is the share of the true class on a square
/// root scale, so that a single mistake among many images stays visible. `None` without a matrix, and for more
/// than [`MOST_CLASSES`] classes.
pub fn confusion(record: &RunRecord) -> Option<String> {
    let classes = record.classes.len();
    if !(1..=MOST_CLASSES).contains(&classes) || record.confusion.is_empty() {
        return None;
    }
    let labels: Vec<_> =
        record.classes.iter().map(|class| fit_width(class, LABEL_SIZE, LONGEST_LABEL)).collect();
    let longest = labels.iter().map(|label| text_width(label, LABEL_SIZE)).fold(0.0, f64::max);
    let rising = longest * std::f64::consts::FRAC_1_SQRT_2;
    let layout = Layout {
        cell: (400.0 / classes as f64).clamp(23.0, 64.0),
        left: longest.max(96.0) + 12.0,
        top: rising + 16.0,
    };
    let side = layout.cell * classes as f64;
    let size = (layout.left + side + rising, layout.top + side + 4.0);
    let mut drawing = Drawing::new("confusion", size, "Confusion matrix", &description(record));
    drawing.rectangle("void", Area { x: layout.left, y: layout.top, width: side, height: side });
    drawing.text("small soft end", (layout.left - 8.0, layout.top - 6.0), "true ↓  predicted →");
    names(&mut drawing, &layout, &labels);
    for (row, counts) in record.confusion.iter().enumerate().take(classes) {
        cells(&mut drawing, &layout, record, row, counts);
    }
    Some(drawing.finish())
}

fn names(drawing: &mut Drawing, layout: &Layout, labels: &[String]) {
    for (index, label) in labels.iter().enumerate() {
        let middle = layout.cell * (index as f64 + 0.5);
        drawing.text("end", (layout.left - 8.0, layout.top + middle + 4.5), label);
        drawing.rising_text("rising", (layout.left + middle + 3.0, layout.top - 7.0), label);
    }
}

fn cells(drawing: &mut Drawing, layout: &Layout, record: &RunRecord, row: usize, counts: &[u64]) {
    let total = row_total(counts);
    for (column, found) in counts.iter().enumerate().take(record.classes.len()) {
        if *found > 0 {
            let share = *found as f64 / total;
            let tooltip = tooltip(record, row, column, *found, share);
            cell(drawing, layout, (row, column), *found, share, &tooltip);
        }
    }
}

fn cell(
    drawing: &mut Drawing,
    layout: &Layout,
    (row, column): (usize, usize),
    found: u64,
    share: f64,
    tooltip: &str,
) {
    let (x, y) = (layout.left + layout.cell * column as f64, layout.top + layout.cell * row as f64);
    let area = Area { x: x + 0.5, y: y + 0.5, width: layout.cell - 1.0, height: layout.cell - 1.0 };
    let opacity = 0.1 + 0.9 * share.sqrt();
    let hit = row == column;
    drawing.heat(if hit { "hit" } else { "miss" }, area, opacity, tooltip);
    let (size, small) = if layout.cell < 30.0 { (11.0, " small") } else { (13.0, "") };
    let text = count(found);
    if text_width(&text, size) < layout.cell {
        let at = (x + layout.cell / 2.0, y + layout.cell / 2.0 + size * 0.35);
        drawing.text(&format!("middle{small}{}", ink_on(hit, opacity)), at, &text);
    }
}

/// The class of text that keeps a contrast of about 4 or more on a cell, in light and in dark: only the deepest blue
/// wants white letters in light.
fn ink_on(hit: bool, opacity: f64) -> &'static str {
    if hit && opacity > 0.78 {
        " on-deep"
    } else if opacity > 0.58 {
        " on-heat"
    } else {
        ""
    }
}

fn tooltip(record: &RunRecord, row: usize, column: usize, found: u64, share: f64) -> String {
    let class = |index: usize| record.classes.get(index).map_or("", String::as_str);
    format!("{} → {}: {} ({})", class(row), class(column), count(found), percent(share))
}

fn description(record: &RunRecord) -> String {
    let right: u64 = record.confusion.iter().enumerate().filter_map(|(row, counts)| counts.get(row)).sum();
    let all: u64 = record.confusion.iter().flatten().sum();
    format!(
        "{} classes, rows true, columns predicted; {right} of {all} answers are on the diagonal.",
        record.classes.len()
    )
}
