//! Scales, ticks in per cent, and the spreading of labels that would overlap.

use super::drawing::{Drawing, Marker, Point};
use crate::number::percent_bare;
use crate::record::BaselineKind;

/// A linear map from values to coordinates.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    pub(super) values: (f64, f64),
    pub(super) coordinates: (f64, f64),
}

impl Scale {
    /// The coordinate of a value; the middle when the range of values is empty.
    pub(super) fn at(&self, value: f64) -> f64 {
        let span = self.values.1 - self.values.0;
        let part = if span > 0.0 { (value - self.values.0) / span } else { 0.5 };
        self.coordinates.0 + part * (self.coordinates.1 - self.coordinates.0)
    }
}

/// An axis of shares: round ends inside 0..=1 and ticks between them.
#[derive(Debug, PartialEq)]
pub(super) struct ShareAxis {
    /// In hundredths, so that ticks are exact.
    ticks: Vec<u32>,
}

impl ShareAxis {
    /// The tightest round axis that holds every finite value, with at most seven ticks.
    pub(super) fn around(values: impl Iterator<Item = f64>) -> Self {
        let bounded = values.filter(|value| value.is_finite()).map(|value| value.clamp(0.0, 1.0) * 100.0);
        let (low, high) =
            bounded.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 100.0) };
        let axis = |step| Self { ticks: ticks(low, high, step) };
        [1, 2, 5, 10].map(axis).into_iter().find(|axis| axis.ticks.len() <= 7).unwrap_or_else(|| axis(20))
    }

    /// Maps the axis onto coordinates.
    pub(super) fn scale(&self, from: f64, to: f64) -> Scale {
        Scale { values: (self.end(self.ticks.first()), self.end(self.ticks.last())), coordinates: (from, to) }
    }

    /// The ticks as shares with their labels in per cent; only the last carries the sign, to keep the axis calm.
    pub(super) fn labels(&self) -> impl Iterator<Item = (f64, String)> {
        let last = self.ticks.last().copied();
        self.ticks.iter().map(move |tick| {
            let unit = if Some(*tick) == last { " %" } else { "" };
            (share(*tick), format!("{tick}{unit}"))
        })
    }

    fn end(&self, tick: Option<&u32>) -> f64 {
        tick.map_or(0.0, |tick| share(*tick))
    }
}

fn share(hundredths: u32) -> f64 {
    f64::from(hundredths) / 100.0
}

/// Multiples of `step` from the one at or below `low` to the one at or above `high`, at least two, inside 0..=100.
fn ticks(low: f64, high: f64, step: u32) -> Vec<u32> {
    let first = (low as u32) / step * step;
    let last = (high.ceil() as u32).div_ceil(step) * step;
    let (first, last) = match (first == last, last >= 100) {
        (true, true) => (100 - step, 100),
        (true, false) => (first, last + step),
        _ => (first, last),
    };
    (first..=last).step_by(step as usize).collect()
}

/// Vertical grid lines with labels below, for charts whose shares run to the right.
pub(super) fn vertical_grid(drawing: &mut Drawing, axis: &ShareAxis, scale: Scale, (top, bottom): Point) {
    for (value, label) in axis.labels() {
        drawing.line("grid", (scale.at(value), top), (scale.at(value), bottom));
        drawing.text("small soft middle", (scale.at(value), bottom + 16.0), &label);
    }
}

/// Moves label positions apart until neighbours are `gap` away, staying inside `range` where there is room;
/// the order is kept.
pub(super) fn spread(positions: &[f64], gap: f64, range: (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..positions.len()).collect();
    let position = |index: usize| positions.get(index).copied().unwrap_or(0.0);
    order.sort_by(|a, b| position(*a).total_cmp(&position(*b)));
    let mut placed = Vec::with_capacity(order.len());
    for index in &order {
        let above = placed.last().map_or(range.0, |last: &f64| last + gap);
        placed.push(position(*index).max(above));
    }
    let mut below = range.1;
    for place in placed.iter_mut().rev() {
        *place = place.min(below);
        below = *place - gap;
    }
    let mut spread = vec![0.0; positions.len()];
    for (index, place) in order.into_iter().zip(placed) {
        if let Some(slot) = spread.get_mut(index) {
            *slot = place;
        }
    }
    spread
}

/// How a method appears in every chart: its label, its class and its symbol.
pub(crate) fn appearance(name: &str) -> (String, &'static str, Marker) {
    let of = |kind: BaselineKind, marker| (kind.label().to_owned(), kind.wire_name(), marker);
    match name {
        crate::insight::SOURCE_SERIES => ("pretrained".to_owned(), "source", Marker::Circle),
        "random_features" => of(BaselineKind::RandomFeatures, Marker::Square),
        "pixel_knn" => of(BaselineKind::PixelKnn, Marker::Triangle),
        "majority" => of(BaselineKind::Majority, Marker::Diamond),
        other => (other.to_owned(), "other", Marker::Circle),
    }
}

/// A share for the description of a chart.
pub(super) fn spoken(share: f64) -> String {
    format!("{} per cent", percent_bare(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(values: &[f64]) -> (f64, f64, usize) {
        let axis = ShareAxis::around(values.iter().copied());
        let scale = axis.scale(0.0, 1.0);
        (scale.values.0, scale.values.1, axis.ticks.len())
    }

    #[test]
    fn an_axis_is_round_tight_and_inside_the_unit_interval() {
        assert_eq!(ends(&[0.11, 0.97]), (0.0, 1.0, 6));
        assert_eq!(ends(&[0.93, 0.955]), (0.93, 0.96, 4));
        assert_eq!(ends(&[0.52, 0.78]), (0.5, 0.8, 7));
        assert_eq!(ends(&[1.0]), (0.99, 1.0, 2));
        assert_eq!(ends(&[0.0, f64::NAN]), (0.0, 0.01, 2));
        assert_eq!(ends(&[]), (0.0, 1.0, 6));
        assert_eq!(ends(&[-3.0, 7.0]), (0.0, 1.0, 6));
    }

    #[test]
    fn an_empty_range_maps_to_the_middle() {
        assert_eq!(Scale { values: (3.0, 3.0), coordinates: (0.0, 10.0) }.at(3.0), 5.0);
    }

    #[test]
    fn labels_keep_their_order_and_distance() {
        assert_eq!(spread(&[50.0, 10.0, 52.0], 14.0, (0.0, 100.0)), [50.0, 10.0, 64.0]);
        assert_eq!(spread(&[98.0, 99.0], 14.0, (0.0, 100.0)), [86.0, 100.0]);
        assert!(spread(&[], 14.0, (0.0, 100.0)).is_empty());
    }
}
