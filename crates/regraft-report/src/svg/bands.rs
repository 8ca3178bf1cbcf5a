//! Lines of shares with interval bands, labelled at their right end.

use super::axis::{Scale, ShareAxis, spoken, spread};
use super::drawing::{Drawing, Marker, Point};
use crate::markup::fit_width;
use crate::record::Estimate;

/// A line of a chart. Where a point has no interval, the line has no mark.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) class: &'static str,
    pub(super) marker: Marker,
    /// Values of x with shares, in ascending order of x.
    pub(super) points: Vec<(f64, Estimate)>,
}

impl Line {
    /// Every share and every end of an interval, for the axis.
    pub(super) fn shares(&self) -> impl Iterator<Item = f64> {
        self.points.iter().flat_map(|(_, share)| [share.value, share.low, share.high])
    }

    /// `pretrained: from 58.3 per cent to 91.0 per cent`; nothing for a line without points.
    pub(super) fn described(&self) -> Option<String> {
        let ((_, first), (_, last)) = (self.points.first()?, self.points.last()?);
        Some(format!("{}: from {} to {}", self.label, spoken(first.value), spoken(last.value)))
    }
}

/// Where the lines are, and how much room their labels have to the right.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    pub(super) label_width: f64,
}

impl Frame {
    /// Grid lines with shares to the left.
    pub(super) fn grid(&self, drawing: &mut Drawing, axis: &ShareAxis, y: Scale) {
        for (value, label) in axis.labels() {
            drawing.line("grid", (self.left, y.at(value)), (self.right, y.at(value)));
            drawing.text("small soft end", (self.left - 6.0, y.at(value) + 4.0), &label);
        }
    }

    /// What x is, below its ticks.
    pub(super) fn x_title(&self, drawing: &mut Drawing, title: &str) {
        drawing.text("small soft middle", ((self.left + self.right) / 2.0, self.bottom + 36.0), title);
    }

    /// The lines, the first on top, and their labels.
    pub(super) fn lines(&self, drawing: &mut Drawing, lines: &[Line], x: Scale, y: Scale) {
        for line in lines.iter().rev() {
            draw(drawing, line, x, y);
        }
        self.end_labels(drawing, lines, y);
    }

    fn end_labels(&self, drawing: &mut Drawing, lines: &[Line], y: Scale) {
        let ends: Vec<_> = lines
            .iter()
            .filter_map(|line| line.points.last())
            .map(|(_, share)| y.at(share.value.clamp(0.0, 1.0)))
            .collect();
        let places = spread(&ends, 17.0, (self.top, self.bottom));
        for (line, place) in lines.iter().zip(places) {
            drawing.group(&format!("series {}", line.class), |drawing| {
                let text = fit_width(&line.label, 13.0, self.label_width);
                drawing.text("strong", (self.right + 12.0, place + 4.5), &text);
            });
        }
    }
}

fn draw(drawing: &mut Drawing, line: &Line, x: Scale, y: Scale) {
    let at = |value: f64, share: f64| (x.at(value), y.at(share.clamp(0.0, 1.0)));
    let middle: Vec<Point> = line.points.iter().map(|(value, share)| at(*value, share.value)).collect();
    let banded: Vec<_> =
        line.points.iter().filter(|(_, share)| share.low.is_finite() && share.high.is_finite()).collect();
    drawing.group(&format!("series {}", line.class), |drawing| {
        if banded.len() > 1 {
            let above = banded.iter().map(|(value, share)| at(*value, share.high));
            let below = banded.iter().rev().map(|(value, share)| at(*value, share.low));
            drawing.surface("band", &above.chain(below).collect::<Vec<_>>());
        }
        drawing.curve("curve", &middle);
        for (value, share) in banded {
            drawing.marker("dot", line.marker, at(*value, share.value), 4.5);
        }
    });
}
