//! The training curves: loss over the epochs, of the images that were learned from and of those that judged.

use super::axis::{Scale, spread};
use super::drawing::{Drawing, Marker, Point};
use crate::number::fixed;
use crate::record::{EpochRecord, RunRecord};

pub(super) const WIDTH: f64 = 500.0;
pub(super) const LEFT: f64 = 44.0;
pub(super) const RIGHT: f64 = 132.0;
pub(super) const TOP: f64 = 12.0;
pub(super) const BOTTOM: f64 = 222.0;

/// A line of the chart.
struct Curve {
    label: String,
    class: &'static str,
    marker: Marker,
    /// Epochs and losses.
    points: Vec<Point>,
}

/// Lines over the epochs, labelled at their right end. `None` where no loss was measured.
pub fn training(record: &RunRecord) -> Option<String> {
    let tuning = record.tuning.as_ref()?;
    // Of what `auto` tried, the chosen method is shown, and of its folds the first.
    let of_fold = format!("{}-fold-1", tuning.method);
    let is_shown =
        |epoch: &&EpochRecord| ["final", "validation", of_fold.as_str()].contains(&epoch.training.as_str());
    let history: Vec<EpochRecord> = tuning.history.iter().filter(is_shown).cloned().collect();
    let curves = curves(&history);
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let last = points().map(|point| point.0).reduce(f64::max)?;
    let highest = points().map(|point| point.1).reduce(f64::max)?;
    let ticks = ticks(highest);
    let top = ticks.last().copied().unwrap_or(1.0);
    let x = Scale { values: (1.0, last), coordinates: (LEFT + 8.0, WIDTH - RIGHT) };
    let y = Scale { values: (0.0, top), coordinates: (BOTTOM, TOP) };
    let size = (WIDTH, BOTTOM + 42.0);
    let mut drawing = Drawing::new("training", size, "Training curves", &description(&curves));
    grid(&mut drawing, &ticks, y);
    epochs(&mut drawing, last, x);
    for curve in &curves {
        draw(&mut drawing, curve, x, y);
    }
    end_labels(&mut drawing, &curves, y);
    Some(drawing.finish())
}

/// A line for each training's own loss and one for each that was judged.
fn curves(history: &[EpochRecord]) -> Vec<Curve> {
    let mut names: Vec<&str> = Vec::new();
    for epoch in history {
        if !names.contains(&epoch.training.as_str()) {
            names.push(&epoch.training);
        }
    }
    let line = |name: &str, label: String, class, marker, loss: fn(&EpochRecord) -> f64| {
        let epochs = history.iter().filter(|epoch| epoch.training == name);
        let points = epochs.map(|epoch| (epoch.epoch as f64, loss(epoch)));
        Curve { label, class, marker, points: points.filter(|point| point.1.is_finite()).collect() }
    };
    let lines = names.iter().flat_map(|name| {
        let is_final = *name == "final";
        let (class, marker) =
            if is_final { ("source", Marker::Circle) } else { ("pixel_knn", Marker::Triangle) };
        let learned = if is_final { "all images".to_owned() } else { "learned from".to_owned() };
        [
            line(name, learned, class, marker, |epoch| epoch.training_loss),
            line(name, "held out".to_owned(), "random_features", Marker::Square, |epoch| {
                epoch.validation_loss
            }),
        ]
    });
    lines.filter(|curve| !curve.points.is_empty()).collect()
}

/// From 0 in three to six round steps.
pub(super) fn ticks(highest: f64) -> Vec<f64> {
    let rough = (highest / 4.0).max(1e-6);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(power);
    (0..=(highest / step).ceil().max(1.0) as usize).map(|tick| tick as f64 * step).collect()
}

pub(super) fn grid(drawing: &mut Drawing, ticks: &[f64], y: Scale) {
    let step = ticks.get(1).copied().unwrap_or(1.0);
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    for tick in ticks {
        drawing.line("grid", (LEFT, y.at(*tick)), (WIDTH - RIGHT, y.at(*tick)));
        drawing.text("small soft end", (LEFT - 6.0, y.at(*tick) + 4.0), &fixed(*tick, decimals));
    }
}

/// At most eleven epochs are named.
fn epochs(drawing: &mut Drawing, last: f64, x: Scale) {
    let step = (last as usize).div_ceil(11).max(1);
    for epoch in (step..=last as usize).step_by(step).chain((step > 1).then_some(1)) {
        drawing.text("small soft middle", (x.at(epoch as f64), BOTTOM + 18.0), &epoch.to_string());
    }
    drawing.text("small soft middle", ((LEFT + WIDTH - RIGHT) / 2.0, BOTTOM + 36.0), "epoch");
}

fn draw(drawing: &mut Drawing, curve: &Curve, x: Scale, y: Scale) {
    let points: Vec<Point> = curve.points.iter().map(|(epoch, loss)| (x.at(*epoch), y.at(*loss))).collect();
    drawing.group(&format!("series {}", curve.class), |drawing| {
        drawing.curve("curve", &points);
        if points.len() <= 20 {
            points.iter().for_each(|point| drawing.marker("dot", curve.marker, *point, 4.0));
        }
    });
}

fn end_labels(drawing: &mut Drawing, curves: &[Curve], y: Scale) {
    let ends: Vec<f64> =
        curves.iter().filter_map(|curve| curve.points.last()).map(|point| y.at(point.1)).collect();
    let places = spread(&ends, 17.0, (TOP, BOTTOM));
    for (curve, place) in curves.iter().zip(places) {
        drawing.group(&format!("series {}", curve.class), |drawing| {
            drawing.text("strong", (WIDTH - RIGHT + 12.0, place + 4.5), &curve.label);
        });
    }
}

fn description(curves: &[Curve]) -> String {
    let say = |curve: &Curve| {
        let (first, last) = (curve.points.first()?, curve.points.last()?);
        Some(format!("{}: from {} to {}", curve.label, fixed(first.1, 3), fixed(last.1, 3)))
    };
    curves.iter().filter_map(say).collect::<Vec<_>>().join("; ") + "."
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn ticks_are_round_and_hold_the_highest() {
        assert_eq!(ticks(2.3), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(ticks(0.8), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8]);
        assert_eq!(ticks(0.0).len(), 2);
    }
}
