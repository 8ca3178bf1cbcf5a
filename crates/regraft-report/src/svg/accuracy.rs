//! Accuracy of the run and of every baseline as dots with intervals.

use super::axis::{Scale, ShareAxis, appearance, spoken, vertical_grid};
use super::drawing::Drawing;
use crate::insight::SOURCE_SERIES;
use crate::number::percent_interval;
use crate::record::{Estimate, RunRecord};

const WIDTH: f64 = 500.0;
const LABELS: f64 = 126.0;
const ROW: f64 = 46.0;
const TOP: f64 = 8.0;

/// Dots with intervals: the run above its baselines, on one axis in per cent. `None` without an accuracy.
pub fn accuracy(record: &RunRecord) -> Option<String> {
    let rows = rows(record);
    let first = rows.first()?;
    let axis = ShareAxis::around(rows.iter().flat_map(|(_, e)| [e.value, e.low, e.high]));
    let scale = axis.scale(LABELS + 8.0, WIDTH - 24.0);
    let bottom = TOP + ROW * rows.len() as f64;
    let mut drawing =
        Drawing::new("accuracy", (WIDTH, bottom + 26.0), "Test accuracy with intervals", &description(&rows));
    vertical_grid(&mut drawing, &axis, scale, (TOP, bottom));
    drawing.line("threshold", (scale.at(first.1.value), TOP), (scale.at(first.1.value), bottom));
    for (index, (name, estimate)) in rows.iter().enumerate() {
        row(&mut drawing, scale, TOP + ROW * (index as f64 + 0.5), name, estimate);
    }
    Some(drawing.finish())
}

fn rows(record: &RunRecord) -> Vec<(&'static str, Estimate)> {
    let source = (SOURCE_SERIES, record.test.accuracy);
    let baselines = record.baselines.measured().map(|(kind, baseline)| (kind.wire_name(), baseline.accuracy));
    std::iter::once(source).chain(baselines).filter(|(_, estimate)| estimate.is_known()).collect()
}

fn row(drawing: &mut Drawing, scale: Scale, y: f64, name: &str, estimate: &Estimate) {
    let (label, class, marker) = appearance(name);
    drawing.group(&format!("series {class}"), |drawing| {
        drawing.text("end strong", (LABELS - 8.0, y + 4.5), &label);
        if estimate.low.is_finite() && estimate.high.is_finite() {
            drawing.line("whisker", (scale.at(estimate.low), y), (scale.at(estimate.high), y));
        }
        drawing.marker("dot", marker, (scale.at(estimate.value), y), 6.5);
    });
}

fn description(rows: &[(&str, Estimate)]) -> String {
    let say = |(name, e): &(&str, Estimate)| {
        format!("{}: {} (interval {})", appearance(name).0, spoken(e.value), percent_interval(e))
    };
    rows.iter().map(say).collect::<Vec<_>>().join("; ") + "."
}
