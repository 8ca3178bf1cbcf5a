//! A model as text: one line a node.

use crate::{Bindings, GraphError, Model, Node};

/// One line a node: name, operator, inputs, shape, parameters, multiply–accumulates at the card's image size, and a
/// mark at the cut points, the features and the logits.
///
/// # Errors
/// The card's image size is too small for the network.
pub fn dump(model: &Model) -> Result<String, GraphError> {
    let [height, width] = model.card().preprocessing.crop;
    let bindings = Bindings { batch: 1, height, width };
    let mut rows = vec![["node", "operator", "reads", "shape", "parameters", "MACs", ""].map(str::to_owned)];
    let input = model.graph().input();
    let fact = model.graph().input_fact().to_string();
    rows.push([input, "Input", "", &fact, "", "", ""].map(str::to_owned));
    for node in model.graph().nodes() {
        rows.push(row(model, node, &bindings)?);
    }
    let total = model.graph().cost(&bindings)?;
    let mut text = aligned(&rows);
    text.push_str(&format!(
        "{} nodes, {} parameters, {} MACs for one image of {height}×{width}\n",
        model.graph().nodes().len(),
        grouped(total.parameters),
        grouped(total.macs),
    ));
    Ok(text)
}

fn row(model: &Model, node: &Node, bindings: &Bindings) -> Result<[String; 7], GraphError> {
    let cost = model.graph().node_cost(node, bindings)?;
    let number = |value: u64| if value == 0 { String::new() } else { grouped(value) };
    Ok([
        node.name.clone(),
        node.op.name().to_owned(),
        node.inputs.join(", "),
        model.graph().fact(&node.name)?.to_string(),
        number(cost.parameters),
        number(cost.macs),
        mark(model, &node.name),
    ])
}

fn mark(model: &Model, wire: &str) -> String {
    let roles = &model.card().roles;
    let cut = roles.cuts.iter().position(|cut| cut == wire).map(|index| format!("← cut {}", index + 1));
    let features = (roles.features == wire).then(|| "← features".to_owned());
    let logits = (roles.logits.as_deref() == Some(wire)).then(|| "← logits".to_owned());
    [cut, features, logits].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Digits in groups of three: 4,652,008.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

fn aligned(rows: &[[String; 7]]) -> String {
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: [usize; 7] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if column == 4 || column == 5 { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
