//! The learning curve: accuracy over the number of training examples, on a log-2 axis, against the baselines.

use super::axis::{Scale, ShareAxis, appearance, spoken};
use super::bands::{Frame, Line};
use super::drawing::Drawing;
use crate::insight::{SOURCE_SERIES, examples};
use crate::markup::text_width;
use crate::number::count;
use crate::record::{CurvePoint, CurveSeries, Estimate, RunRecord};

const WIDTH: f64 = 500.0;
const BOTTOM: f64 = 262.0;
const FRAME: Frame = Frame { left: 44.0, right: 362.0, top: 12.0, bottom: BOTTOM, label_width: 110.0 };

/// Lines with interval bands, labelled at their right end. A baseline that was measured only on the whole training
/// set is a level line. `None` when no series has a point.
pub fn learning_curve(record: &RunRecord) -> Option<String> {
    let curves = curves(record);
    let sizes = sizes(&curves);
    let (first, last) = (*sizes.first()?, *sizes.last()?);
    let lines: Vec<_> = curves.iter().map(line).collect();
    let axis = ShareAxis::around(lines.iter().flat_map(Line::shares));
    let x = Scale { values: (log(first), log(last)), coordinates: (FRAME.left + 8.0, FRAME.right) };
    let y = axis.scale(BOTTOM, FRAME.top);
    let mut drawing = Drawing::new("curve", (WIDTH, BOTTOM + 42.0), "Learning curve", &description(&curves));
    FRAME.grid(&mut drawing, &axis, y);
    size_ticks(&mut drawing, &sizes, x);
    FRAME.x_title(&mut drawing, &format!("training {} (log scale)", examples(record)));
    FRAME.lines(&mut drawing, &lines, x, y);
    Some(drawing.finish())
}

fn log(size: usize) -> f64 {
    (size as f64).log2()
}

fn line(curve: &CurveSeries) -> Line {
    let (label, class, marker) = appearance(&curve.name);
    let share = |point: &CurvePoint| (log(point.n), Estimate::new(point.mean, point.low, point.high));
    Line { label, class, marker, points: curve.points.iter().map(share).collect() }
}

/// The measured series, the source first, then a level line for every other baseline.
fn curves(record: &RunRecord) -> Vec<CurveSeries> {
    let mut curves: Vec<_> = record.learning_curve.series.iter().map(measured).collect();
    curves.retain(|curve| !curve.points.is_empty());
    curves.sort_by_key(|curve| curve.name != SOURCE_SERIES);
    let sizes = sizes(&curves);
    let missing = record.baselines.measured().filter(|(kind, baseline)| {
        baseline.accuracy.is_known() && !curves.iter().any(|curve| curve.name == kind.wire_name())
    });
    let level = missing.map(|(kind, baseline)| level(kind.wire_name(), baseline.accuracy.value, &sizes));
    let level: Vec<_> = level.collect();
    curves.extend(level);
    curves
}

fn measured(series: &CurveSeries) -> CurveSeries {
    let known = series.points.iter().filter(|point| point.n > 0 && point.mean.is_finite());
    CurveSeries { name: series.name.clone(), points: known.copied().collect() }
}

fn level(name: &str, value: f64, sizes: &[usize]) -> CurveSeries {
    let ends = [sizes.first(), sizes.last()].into_iter().flatten();
    let point = |n: &usize| CurvePoint { n: *n, mean: value, low: f64::NAN, high: f64::NAN };
    CurveSeries { name: name.to_owned(), points: ends.map(point).collect() }
}

fn sizes(curves: &[CurveSeries]) -> Vec<usize> {
    let mut sizes: Vec<_> = curves.iter().flat_map(|curve| &curve.points).map(|point| point.n).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Labels from the largest size downwards, leaving out those that would touch their neighbour.
fn size_ticks(drawing: &mut Drawing, sizes: &[usize], x: Scale) {
    let mut free = f64::INFINITY;
    for size in sizes.iter().rev() {
        let (at, label) = (x.at(log(*size)), count(*size as u64));
        let half = text_width(&label, 11.0) / 2.0 + 4.0;
        drawing.line("grid", (at, BOTTOM), (at, BOTTOM + 4.0));
        if at + half <= free {
            drawing.text("small soft middle", (at, BOTTOM + 18.0), &label);
            free = at - half;
        }
    }
}

fn description(curves: &[CurveSeries]) -> String {
    let say = |curve: &CurveSeries| {
        let (first, last) = (curve.points.first()?, curve.points.last()?);
        let label = appearance(&curve.name).0;
        Some(format!(
            "{label}: {} with {} and {} with {}",
            spoken(first.mean),
            count(first.n as u64),
            spoken(last.mean),
            count(last.n as u64)
        ))
    };
    curves.iter().filter_map(say).collect::<Vec<_>>().join("; ") + "."
}
