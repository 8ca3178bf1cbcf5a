//! The chart of Yosinski et al., 2014: accuracy on B over the number of copied blocks.

use super::axis::{Scale, ShareAxis};
use super::bands::{Frame, Line};
use super::drawing::{Drawing, Marker};
use crate::record::{DepthRecord, Estimate, ProtocolArm, ProtocolPoint};

const WIDTH: f64 = 480.0;
const BOTTOM: f64 = 262.0;
const FRAME: Frame = Frame { left: 44.0, right: 400.0, top: 12.0, bottom: BOTTOM, label_width: 66.0 };

/// A line with its band for each arm, and a level line for the network that nothing was copied to. `None` when no arm
/// has a known point.
pub fn protocol(record: &DepthRecord) -> Option<String> {
    let protocol = record.protocol.as_ref()?;
    let mut lines: Vec<_> = protocol.arms.iter().map(arm).collect();
    lines.retain(|line| !line.points.is_empty());
    let ends = || lines.iter().flat_map(|line| &line.points).map(|(layers, _)| *layers);
    let (first, last) = (ends().reduce(f64::min)?, ends().reduce(f64::max)?);
    // On top, because the arms lie around it.
    lines.splice(0..0, base(&protocol.base_b, [first, last]));
    let axis = ShareAxis::around(lines.iter().flat_map(Line::shares));
    let x = Scale { values: (first, last), coordinates: (FRAME.left + 10.0, FRAME.right - 4.0) };
    let y = axis.scale(BOTTOM, FRAME.top);
    let description = lines.iter().filter_map(Line::described).collect::<Vec<_>>().join("; ") + ".";
    let size = (WIDTH, BOTTOM + 42.0);
    let mut drawing = Drawing::new("protocol", size, "Transferability of the layers", &description);
    FRAME.grid(&mut drawing, &axis, y);
    ticks(&mut drawing, &lines, x);
    FRAME.x_title(&mut drawing, "copied blocks (n)");
    FRAME.lines(&mut drawing, &lines, x, y);
    Some(drawing.finish())
}

fn arm(arm: &ProtocolArm) -> Line {
    let (class, marker) = match arm.name.as_str() {
        "AnB" => ("source", Marker::Circle),
        "AnB+" => ("pixel_knn", Marker::Triangle),
        "BnB" => ("random_features", Marker::Square),
        _ => ("other", Marker::Diamond),
    };
    let known = arm.points.iter().filter(|point| point.mean.is_finite());
    let mut points: Vec<_> = known.map(|point| (point.layers as f64, point.estimate())).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Line { label: arm.name.clone(), class, marker, points }
}

/// A level line: it does not depend on n. Its interval is in the table.
fn base(base: &ProtocolPoint, ends: [f64; 2]) -> Option<Line> {
    let share = Estimate { value: base.mean, ..Estimate::UNKNOWN };
    let points = ends.map(|end| (end, share)).to_vec();
    let line = Line { label: "base B".to_owned(), class: "base", marker: Marker::Circle, points };
    base.mean.is_finite().then_some(line)
}

/// At most about fifteen numbers of blocks are named.
fn ticks(drawing: &mut Drawing, lines: &[Line], x: Scale) {
    let mut layers: Vec<usize> =
        lines.iter().flat_map(|line| &line.points).map(|(layers, _)| *layers as usize).collect();
    layers.sort_unstable();
    layers.dedup();
    let step = layers.len().div_ceil(15).max(1);
    for layers in layers.iter().step_by(step) {
        drawing.text("small soft middle", (x.at(*layers as f64), BOTTOM + 18.0), &layers.to_string());
    }
}
