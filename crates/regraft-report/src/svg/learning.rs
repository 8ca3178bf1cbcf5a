//! The learning curve: accuracy over the number of training examples, on a log-2 axis, against the baselines.

use super::axis::{Scale, ShareAxis, appearance, spoken, spread};
use super::drawing::{Drawing, Point};
use crate::insight::{SOURCE_SERIES, examples};
use crate::markup::{fit_width, text_width};
use crate::number::count;
use crate::record::{CurvePoint, CurveSeries, RunRecord};

const WIDTH: f64 = 500.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 124.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 262.0;

/// Lines with interval bands, labelled at their right end. A baseline that was measured only on the whole training
/// set is a level line. `None` when no series has a point.
pub fn learning_curve(record: &RunRecord) -> Option<String> {
    let curves = curves(record);
    let sizes = sizes(&curves);
    let (first, last) = (*sizes.first()?, *sizes.last()?);
    let values = curves.iter().flat_map(|curve| &curve.points).flat_map(|p| [p.mean, p.low, p.high]);
    let axis = ShareAxis::around(values);
    let log = |n: usize| (n as f64).log2();
    let x = Scale { values: (log(first), log(last)), coordinates: (LEFT + 8.0, WIDTH - RIGHT) };
    let y = axis.scale(BOTTOM, TOP);
    let mut drawing = Drawing::new("curve", (WIDTH, BOTTOM + 42.0), "Learning curve", &description(&curves));
    horizontal_grid(&mut drawing, &axis, y);
    size_ticks(&mut drawing, &sizes, x);
    drawing.text(
        "small soft middle",
        ((LEFT + WIDTH - RIGHT) / 2.0, BOTTOM + 36.0),
        &format!("training {} (log scale)", examples(record)),
    );
    // The source comes last so that it lies on top.
    for curve in curves.iter().rev() {
        draw(&mut drawing, curve, x, y);
    }
    end_labels(&mut drawing, &curves, y);
    Some(drawing.finish())
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

fn horizontal_grid(drawing: &mut Drawing, axis: &ShareAxis, y: Scale) {
    for (value, label) in axis.labels() {
        drawing.line("grid", (LEFT, y.at(value)), (WIDTH - RIGHT, y.at(value)));
        drawing.text("small soft end", (LEFT - 6.0, y.at(value) + 4.0), &label);
    }
}

/// Labels from the largest size downwards, leaving out those that would touch their neighbour.
fn size_ticks(drawing: &mut Drawing, sizes: &[usize], x: Scale) {
    let mut free = f64::INFINITY;
    for size in sizes.iter().rev() {
        let (at, label) = (x.at((*size as f64).log2()), count(*size as u64));
        let half = text_width(&label, 11.0) / 2.0 + 4.0;
        drawing.line("grid", (at, BOTTOM), (at, BOTTOM + 4.0));
        if at + half <= free {
            drawing.text("small soft middle", (at, BOTTOM + 18.0), &label);
            free = at - half;
        }
    }
}

fn draw(drawing: &mut Drawing, curve: &CurveSeries, x: Scale, y: Scale) {
    let (_, class, marker) = appearance(&curve.name);
    let at = |point: &CurvePoint, value: f64| (x.at((point.n as f64).log2()), y.at(value.clamp(0.0, 1.0)));
    let middle: Vec<Point> = curve.points.iter().map(|point| at(point, point.mean)).collect();
    let banded: Vec<_> =
        curve.points.iter().filter(|point| point.low.is_finite() && point.high.is_finite()).collect();
    drawing.group(&format!("series {class}"), |drawing| {
        if banded.len() > 1 {
            let above = banded.iter().map(|point| at(point, point.high));
            let below = banded.iter().rev().map(|point| at(point, point.low));
            drawing.surface("band", &above.chain(below).collect::<Vec<_>>());
        }
        drawing.curve("curve", &middle);
        for point in banded {
            drawing.marker("dot", marker, at(point, point.mean), 4.5);
        }
    });
}

fn end_labels(drawing: &mut Drawing, curves: &[CurveSeries], y: Scale) {
    let ends: Vec<_> =
        curves.iter().filter_map(|curve| curve.points.last()).map(|point| y.at(point.mean)).collect();
    let places = spread(&ends, 17.0, (TOP, BOTTOM));
    for (curve, place) in curves.iter().zip(places) {
        let (label, class, _) = appearance(&curve.name);
        drawing.group(&format!("series {class}"), |drawing| {
            let text = fit_width(&label, 13.0, RIGHT - 14.0);
            drawing.text("strong", (WIDTH - RIGHT + 12.0, place + 4.5), &text);
        });
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
