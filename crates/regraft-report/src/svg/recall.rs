//! Recall of every class as a bar, with precision and the number of examples.

use super::drawing::{Area, Drawing, Marker};
use crate::insight::{examples, weakest_first};
use crate::markup::fit_width;
use crate::number::{count, percent, percent_bare};
use crate::record::{ClassMetrics, RunRecord};

/// The most classes that get a bar; of more, the weakest are shown.
pub const MOST_ROWS: usize = 30;

const WIDTH: f64 = 500.0;
const LABELS: f64 = 130.0;
const BARS: f64 = 240.0;
const ROW: f64 = 24.0;
const TOP: f64 = 22.0;

/// Horizontal bars of recall, the weakest class first, with a diamond for precision and the support on the right.
/// `None` when no class was tested.
pub fn recall(record: &RunRecord) -> Option<String> {
    let mut classes = weakest_first(record);
    let weakest = classes.first()?;
    let description = format!(
        "{} classes; weakest: {} with a recall of {} per cent.",
        classes.len(),
        weakest.class,
        percent_bare(weakest.recall)
    );
    classes.truncate(MOST_ROWS);
    let height = TOP + ROW * classes.len() as f64 + 4.0;
    let mut drawing = Drawing::new("recall", (WIDTH, height), "Recall of each class", &description);
    drawing.text("small soft end", (LABELS + BARS + 64.0, 12.0), "recall");
    drawing.text("small soft end", (WIDTH - 4.0, 12.0), examples(record));
    for (index, class) in classes.iter().enumerate() {
        row(&mut drawing, TOP + ROW * index as f64, class);
    }
    Some(drawing.finish())
}

fn row(drawing: &mut Drawing, y: f64, class: &ClassMetrics) {
    let bar =
        |share: f64| Area { x: LABELS, y: y + 4.0, width: BARS * share.clamp(0.0, 1.0), height: ROW - 9.0 };
    let text = y + ROW / 2.0 + 4.0;
    drawing.text("end", (LABELS - 10.0, text), &fit_width(&class.class, 13.0, LABELS - 14.0));
    drawing.rectangle("track", bar(1.0));
    drawing.rectangle("bar", bar(class.recall));
    if class.precision.is_finite() {
        let x = LABELS + BARS * class.precision.clamp(0.0, 1.0);
        drawing.marker("precision", Marker::Diamond, (x, y + ROW / 2.0 - 0.5), 4.5);
    }
    drawing.text("end", (LABELS + BARS + 64.0, text), &percent(class.recall));
    drawing.text("soft end", (WIDTH - 4.0, text), &count(class.support));
}
