//! Accuracy over the depth of a source network: a head behind each cut, the same with random weights, and chance.

use super::axis::{Scale, ShareAxis, appearance, spread};
use super::bands::{Frame, Line};
use super::drawing::Drawing;
use crate::insight::SOURCE_SERIES;
use crate::markup::{fit_width, keep_end, text_width};
use crate::record::{BaselineKind, CutRecord, DepthRecord, Estimate};

/// The chart of more cuts than this takes the width of the page.
const MOST_NARROW: usize = 6;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 310.0;
const LABEL_SIZE: f64 = 11.0;
const LONGEST_LABEL: f64 = 124.0;
/// Labels that rise by 45° touch when they are closer than their height times the square root of two.
const LABEL_GAP: f64 = 18.0;

/// Whether the chart is made for the width of the page.
pub(crate) fn is_wide(record: &DepthRecord) -> bool {
    record.cuts.len() > MOST_NARROW
}

/// Lines over the cuts in their order, with interval bands; the chosen cut and the default one stand out. `None` when
/// the accuracy of no cut is known.
pub fn depth(record: &DepthRecord) -> Option<String> {
    let lines = lines(record);
    lines.iter().find(|line| line.class == "source")?;
    let width = if is_wide(record) { 960.0 } else { 560.0 };
    let axis = ShareAxis::around(lines.iter().flat_map(Line::shares));
    let frame = Frame { left: 60.0, right: width - 138.0, top: TOP, bottom: BOTTOM, label_width: 124.0 };
    let last = record.cuts.len().saturating_sub(1) as f64;
    let x = Scale { values: (0.0, last), coordinates: (frame.left + 12.0, frame.right - 4.0) };
    let y = axis.scale(BOTTOM, TOP);
    let labels = labels(record, x);
    let height = BOTTOM + 26.0 + longest(&labels) * std::f64::consts::FRAC_1_SQRT_2;
    let mut drawing =
        Drawing::new("depth", (width, height), "Accuracy over depth", &description(record, &lines));
    frame.grid(&mut drawing, &axis, y);
    marked_cuts(&mut drawing, record, x);
    labels.iter().for_each(|label| label.draw(&mut drawing));
    frame.lines(&mut drawing, &lines, x, y);
    Some(drawing.finish())
}

/// What was measured at the cuts, and a level line for chance.
fn lines(record: &DepthRecord) -> Vec<Line> {
    let random = BaselineKind::RandomFeatures.wire_name();
    let ends = [0.0, record.cuts.len().saturating_sub(1) as f64];
    let chance = Estimate { value: record.chance, ..Estimate::UNKNOWN };
    let lines = [
        line(SOURCE_SERIES, measured(record, |cut| cut.accuracy)),
        line(random, measured(record, |cut| cut.random)),
        line(BaselineKind::Majority.wire_name(), ends.map(|end| (end, chance)).to_vec()),
    ];
    let is_known = |line: &Line| line.points.iter().any(|(_, share)| share.is_known());
    lines.into_iter().filter(is_known).collect()
}

fn line(name: &str, points: Vec<(f64, Estimate)>) -> Line {
    let (label, class, marker) = appearance(name);
    Line { label, class, marker, points }
}

fn measured(record: &DepthRecord, share: fn(&CutRecord) -> Estimate) -> Vec<(f64, Estimate)> {
    let shares = record.cuts.iter().enumerate().map(|(index, cut)| (index as f64, share(cut)));
    shares.filter(|(_, share)| share.is_known()).collect()
}

/// Vertical lines at the chosen and the default cut, named above the chart on their outer sides, where the names
/// cannot meet.
fn marked_cuts(drawing: &mut Drawing, record: &DepthRecord, x: Scale) {
    let place = |is: fn(&CutRecord) -> bool| Some(x.at(record.cuts.iter().position(is)? as f64));
    let (chosen, default) = (place(|cut| cut.is_chosen), place(|cut| cut.is_default));
    let middle = f64::midpoint(x.coordinates.0, x.coordinates.1);
    match (chosen, default) {
        (Some(chosen), Some(default)) if chosen == default => {
            mark(drawing, "chosen", "chosen, the default", chosen, chosen > middle);
        }
        _ => {
            let side = |at: f64, other: Option<f64>| other.map_or(at > middle, |other| at < other);
            if let Some(at) = default {
                mark(drawing, "threshold", "default", at, side(at, chosen));
            }
            if let Some(at) = chosen {
                mark(drawing, "chosen", "chosen", at, side(at, default));
            }
        }
    }
}

fn mark(drawing: &mut Drawing, class: &str, label: &str, at: f64, is_left: bool) {
    drawing.line(class, (at, 8.0), (at, BOTTOM));
    let weight = if class == "chosen" { "strong" } else { "soft" };
    let (anchor, gap) = if is_left { (" end", -6.0) } else { ("", 6.0) };
    drawing.text(&format!("{weight}{anchor}"), (at + gap, 17.0), label);
}

/// The name of a wire below its tick.
struct Label {
    tick: f64,
    /// Where the name ends; beside the tick where neighbours are too close.
    place: f64,
    text: String,
    is_chosen: bool,
}

impl Label {
    fn draw(&self, drawing: &mut Drawing) {
        drawing.line("grid", (self.tick, BOTTOM), (self.place, BOTTOM + 7.0));
        let class = if self.is_chosen { "small strong end" } else { "small soft end" };
        drawing.rising_text(class, (self.place + 4.0, BOTTOM + 16.0), &self.text);
    }
}

fn longest(labels: &[Label]) -> f64 {
    labels.iter().map(|label| text_width(&label.text, LABEL_SIZE)).fold(0.0, f64::max)
}

fn labels(record: &DepthRecord, x: Scale) -> Vec<Label> {
    let shown = shown(&record.cuts, x);
    let ticks: Vec<f64> = shown.iter().map(|index| x.at(*index as f64)).collect();
    let places = spread(&ticks, LABEL_GAP, (x.coordinates.0, x.coordinates.1));
    let cuts = shown.iter().filter_map(|index| record.cuts.get(*index));
    cuts.zip(ticks.into_iter().zip(places)).map(|(cut, (tick, place))| label(cut, tick, place)).collect()
}

/// A name is no longer than the room between its tick and the left edge.
fn label(cut: &CutRecord, tick: f64, place: f64) -> Label {
    let room = (place * std::f64::consts::SQRT_2).min(LONGEST_LABEL);
    // Bold letters are about a tenth wider.
    let size = if cut.is_chosen { LABEL_SIZE * 1.1 } else { LABEL_SIZE };
    let text = keep_end(&cut.wire, |wire| fit_width(wire, size, room));
    Label { tick, place, text, is_chosen: cut.is_chosen }
}

/// Positions of the cuts that are named, ascending: the chosen, the default, the first and the last, then every other
/// one that has room.
fn shown(cuts: &[CutRecord], x: Scale) -> Vec<usize> {
    let last = cuts.len().saturating_sub(1);
    let is_kept = |(index, cut): (usize, &CutRecord)| {
        (cut.is_chosen || cut.is_default || index == 0 || index == last).then_some(index)
    };
    let mut shown: Vec<usize> = cuts.iter().enumerate().filter_map(is_kept).collect();
    for index in 0..cuts.len() {
        let is_free = |other: &usize| (x.at(index as f64) - x.at(*other as f64)).abs() >= LABEL_GAP;
        if shown.iter().all(is_free) {
            shown.push(index);
        }
    }
    shown.sort_unstable();
    shown
}

fn description(record: &DepthRecord, lines: &[Line]) -> String {
    let of = |what: &str, cut: Option<&CutRecord>| cut.map(|cut| format!("{what}: {}", cut.wire));
    let marked = [of("chosen", record.chosen()), of("default", record.default_cut())];
    let parts: Vec<String> =
        lines.iter().filter_map(Line::described).chain(marked.into_iter().flatten()).collect();
    parts.join("; ") + "."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(count: usize, chosen: usize, default: usize) -> Vec<CutRecord> {
        let cut = |index| CutRecord {
            wire: format!("block.{index}"),
            is_chosen: index == chosen,
            is_default: index == default,
            accuracy: Estimate::new(0.5, 0.4, 0.6),
            ..CutRecord::default()
        };
        (0..count).map(cut).collect()
    }

    #[test]
    fn the_marked_cuts_are_named_however_many_there_are() {
        for count in [1_usize, 2, 7, 40, 41, 200] {
            let (chosen, default) = (count / 2, count.saturating_sub(2));
            let record = DepthRecord { cuts: cuts(count, chosen, default), ..DepthRecord::default() };
            let x = Scale { values: (0.0, (count - 1) as f64), coordinates: (72.0, 818.0) };
            let shown = shown(&record.cuts, x);
            assert!([0, chosen, default, count - 1].iter().all(|index| shown.contains(index)), "{count}");
            let labels = labels(&record, x);
            let apart = |pair: &[Label]| pair[1].place - pair[0].place >= LABEL_GAP - 1e-9;
            assert!(labels.windows(2).all(apart), "{count}");
        }
    }

    #[test]
    fn forty_cuts_are_all_named() {
        let x = Scale { values: (0.0, 39.0), coordinates: (72.0, 818.0) };
        assert_eq!(shown(&cuts(40, 20, 39), x).len(), 40);
    }

    #[test]
    fn without_an_accuracy_there_is_no_chart() {
        assert!(depth(&DepthRecord::default()).is_none());
        let record = DepthRecord { chance: 0.2, cuts: vec![CutRecord::default()], ..DepthRecord::default() };
        assert!(depth(&record).is_none());
    }
}
