//! The heads that were tried, as dots with one standard error.

use super::axis::{Scale, ShareAxis, spoken, vertical_grid};
use super::drawing::{Drawing, Marker};
use crate::insight::{best_head, head_label};
use crate::markup::fit_width;
use crate::record::{HeadCandidate, RunRecord};

const WIDTH: f64 = 530.0;
const LABELS: f64 = 246.0;
const ROW: f64 = 22.0;
const TOP: f64 = 8.0;
/// More rows than this are a wall; the page's table lists every head.
const MOST_ROWS: usize = 20;

/// Dots with one standard error for the heads, in the order of trial, the chosen one filled. Of more than 20 heads the most accurate are shown, always with
/// the chosen one. `None` with fewer than two heads, where there was nothing to choose.
pub fn heads(record: &RunRecord) -> Option<String> {
    let best = best_head(record)?;
    let shown = shown(record);
    if shown.len() < 2 {
        return None;
    }
    let ends = |head: &&HeadCandidate| {
        let error = if head.standard_error.is_finite() { head.standard_error } else { 0.0 };
        [head.accuracy - error, head.accuracy + error]
    };
    let axis = ShareAxis::around(shown.iter().flat_map(ends));
    let scale = axis.scale(LABELS + 8.0, WIDTH - 24.0);
    let bottom = TOP + ROW * shown.len() as f64;
    let mut drawing =
        Drawing::new("heads", (WIDTH, bottom + 26.0), "Heads that were tried", &description(&shown, best));
    vertical_grid(&mut drawing, &axis, scale, (TOP, bottom));
    for (index, head) in shown.iter().enumerate() {
        row(&mut drawing, scale, TOP + ROW * (index as f64 + 0.5), head);
    }
    Some(drawing.finish())
}

fn shown(record: &RunRecord) -> Vec<&HeadCandidate> {
    let mut ranked: Vec<_> =
        record.head_candidates.iter().enumerate().filter(|(_, head)| head.accuracy.is_finite()).collect();
    ranked.sort_by(|(_, a), (_, b)| b.chosen.cmp(&a.chosen).then(b.accuracy.total_cmp(&a.accuracy)));
    ranked.truncate(MOST_ROWS);
    ranked.sort_by_key(|(index, _)| *index);
    ranked.into_iter().map(|(_, head)| head).collect()
}

fn row(drawing: &mut Drawing, scale: Scale, y: f64, head: &HeadCandidate) {
    let (group, text, dot) = match head.chosen {
        true => ("series source", "end strong", "dot"),
        false => ("series majority", "end", "hollow"),
    };
    drawing.group(group, |drawing| {
        drawing.text(text, (LABELS - 8.0, y + 4.5), &fit_width(&head_label(head), 13.0, LABELS - 16.0));
        if head.standard_error.is_finite() {
            let end = |error: f64| (scale.at((head.accuracy + error).clamp(0.0, 1.0)), y);
            drawing.line("whisker", end(-head.standard_error), end(head.standard_error));
        }
        drawing.marker(dot, Marker::Circle, (scale.at(head.accuracy), y), 5.0);
    });
}

fn description(shown: &[&HeadCandidate], best: &HeadCandidate) -> String {
    let chosen = shown.iter().find(|head| head.chosen);
    let chosen = chosen
        .map_or("none".to_owned(), |head| format!("{} with {}", head_label(head), spoken(head.accuracy)));
    format!(
        "{} heads; most accurate: {} with {}; chosen: {chosen}.",
        shown.len(),
        head_label(best),
        spoken(best.accuracy)
    )
}
