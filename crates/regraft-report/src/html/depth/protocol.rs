//! How transferable the layers are: the chart of Yosinski et al., 2014, its numbers, and how to read them.

use super::super::block::{self, Column};
use super::super::origin::classes;
use crate::markup::name;
use crate::number::{count, counted, percent, percent_bare, percent_interval};
use crate::record::{DepthRecord, ProtocolArm, ProtocolPoint, TransferProtocol};
use crate::svg;

/// Nothing where the protocol was not asked for.
pub(super) fn section(record: &DepthRecord) -> String {
    let Some(protocol) = &record.protocol else { return String::new() };
    let figure = svg::protocol(record).map(|chart| block::figure("chart-box", &chart, &caption(protocol)));
    let body = block::pair(&figure.unwrap_or_default(), &names(protocol)) + &table(protocol);
    let body = if protocol.arms.is_empty() { String::new() } else { body };
    block::section("protocol", "Which layers are general?", READING_AID, &body)
}

/// What was trained, how often and on what.
fn caption(protocol: &TransferProtocol) -> String {
    format!(
        "Accuracy on {} of B over the number of copied blocks. Every network was trained {} from other seeds, {} on {} \
         of B (those of A on {}); bands are intervals over the repetitions. The level line is base B, {} (interval {}).",
        counted(protocol.n_test_b, "test image", "test images"),
        counted(protocol.repetitions, "time", "times"),
        counted(protocol.epochs, "epoch", "epochs"),
        counted(protocol.n_train_b, "training image", "training images"),
        count(protocol.n_train_a as u64),
        percent(protocol.base_b.mean),
        percent_interval(&protocol.base_b.estimate())
    )
}

const READING_AID: &str = "Where BnB falls below the base, the layers on both sides of the cut had been fitted to each \
                           other, and training the upper ones alone does not find that again; where AnB falls further, \
                           the copied layers are specific to the classes A. Where AnB+ lies above the base and above \
                           BnB+, having learned A first helps even after everything was trained on B.";

/// What the names of the chart stand for.
fn names(protocol: &TransferProtocol) -> String {
    let rows = [
        ("AnB", "n blocks from A, frozen; the rest trained on B".to_owned()),
        ("AnB+", "n blocks from A; everything trained on B".to_owned()),
        ("BnB", "n blocks from B, frozen; the rest trained anew on B".to_owned()),
        ("BnB+", "n blocks from B; everything trained further on B".to_owned()),
        ("base B", "nothing copied, trained on B".to_owned()),
        ("A", classes(&protocol.classes_a)),
        ("B", classes(&protocol.classes_b)),
    ];
    let known = rows.into_iter().filter(|(_, what)| !what.is_empty());
    let rows: Vec<_> = known.map(|(name, what)| vec![name.to_owned(), what]).collect();
    block::table(
        &[(Column::Text, "Name"), (Column::Text, "What was copied, what was trained; classes")],
        &rows,
    )
}

/// A row for each number of blocks, two columns an arm.
fn table(protocol: &TransferProtocol) -> String {
    let titles: Vec<_> = protocol.arms.iter().map(|arm| format!("{}, %", arm.name)).collect();
    let of_arms =
        titles.iter().flat_map(|title| [(Column::Number, title.as_str()), (Column::Side, "interval")]);
    let columns: Vec<_> =
        [(Column::Text, "Copied up to"), (Column::Number, "Blocks")].into_iter().chain(of_arms).collect();
    let mut points: Vec<_> = protocol.arms.iter().flat_map(|arm| &arm.points).collect();
    points.sort_by_key(|point| point.layers);
    points.dedup_by_key(|point| point.layers);
    let rows: Vec<_> = points.iter().map(|point| row(protocol, point)).collect();
    if rows.is_empty() { String::new() } else { block::table(&columns, &rows) }
}

fn row(protocol: &TransferProtocol, point: &ProtocolPoint) -> Vec<String> {
    let cells = |arm: &ProtocolArm| {
        let point = arm.points.iter().find(|other| other.layers == point.layers);
        point.map_or([String::new(), String::new()], |point| {
            [percent_bare(point.mean), percent_interval(&point.estimate())]
        })
    };
    let arms = protocol.arms.iter().flat_map(cells);
    [name(&point.wire), point.layers.to_string()].into_iter().chain(arms).collect()
}
