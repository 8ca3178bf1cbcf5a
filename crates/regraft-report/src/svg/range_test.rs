//! The learning-rate range test: the smoothed loss over the rate, on a logarithmic axis, and the rate that was taken.

use super::axis::Scale;
use super::drawing::{Drawing, Point};
use super::training::{BOTTOM, LEFT, RIGHT, TOP, WIDTH, grid, ticks};
use crate::number::fixed;
use crate::record::{RangeTestRecord, RunRecord};

/// A line with the taken rate marked. `None` where no rates were tested.
pub fn range_test(record: &RunRecord) -> Option<String> {
    let test = record.tuning.as_ref()?.range_test.as_ref()?;
    let points: Vec<Point> =
        test.points.iter().map(|point| (point.learning_rate.log10(), point.loss)).collect();
    let is_known = |point: &&Point| point.0.is_finite() && point.1.is_finite();
    let points: Vec<Point> = points.iter().filter(is_known).copied().collect();
    let (first, last) = (points.first()?.0, points.last()?.0);
    let highest = points.iter().map(|point| point.1).reduce(f64::max)?;
    let ticks = ticks(highest);
    let top = ticks.last().copied().unwrap_or(1.0);
    let x = Scale { values: (first, last), coordinates: (LEFT + 8.0, WIDTH - RIGHT) };
    let y = Scale { values: (0.0, top), coordinates: (BOTTOM, TOP) };
    let size = (WIDTH, BOTTOM + 42.0);
    let mut drawing = Drawing::new("range-test", size, "Learning-rate range test", &description(test));
    grid(&mut drawing, &ticks, y);
    powers(&mut drawing, (first, last), x);
    let points: Vec<Point> = points.iter().map(|(rate, loss)| (x.at(*rate), y.at(*loss))).collect();
    drawing.group("series source", |drawing| drawing.curve("curve", &points));
    taken(&mut drawing, test, x);
    Some(drawing.finish())
}

/// Powers of ten below the axis.
fn powers(drawing: &mut Drawing, (first, last): Point, x: Scale) {
    for power in (first.ceil() as i32)..=(last.floor() as i32) {
        let at = x.at(f64::from(power));
        drawing.line("grid", (at, BOTTOM), (at, BOTTOM + 4.0));
        drawing.text("small soft middle", (at, BOTTOM + 18.0), &format!("{:e}", 10f64.powi(power)));
    }
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    drawing.text("small soft middle", (middle, BOTTOM + 36.0), "learning rate of the head (log scale)");
}

fn taken(drawing: &mut Drawing, test: &RangeTestRecord, x: Scale) {
    let rate = test.learning_rate;
    if rate.log10() < x.values.0 || rate.log10() > x.values.1 {
        return;
    }
    let at = x.at(rate.log10());
    drawing.line("chosen", (at, TOP), (at, BOTTOM));
    drawing.text("strong", (at + 6.0, TOP + 12.0), &format!("{rate:.1e}"));
}

fn description(test: &RangeTestRecord) -> String {
    let steps = test.points.len();
    let losses = test.points.iter().map(|point| point.loss);
    let lowest = losses.fold(f64::INFINITY, f64::min);
    format!("{steps} steps, lowest loss {}, taken: {:.1e}.", fixed(lowest, 3), test.learning_rate)
}
