//! The source's own head beside the new one, for methods that go on asking it while the network is trained.

use std::collections::{HashMap, HashSet};

use regraft_graph::{Graph, Model, Node, Weights};

use super::config::Method;
use crate::{Error, Result};

/// Stands in front of the names of what the source has behind the new head's features. Numbered where that is taken.
const PREFIX: &str = "source";

/// Whether a method asks the source's own head.
fn asks(method: Method) -> bool {
    matches!(method, Method::Lwf | Method::CoTuning)
}

/// The source with its new head, and with its own one beside it, whose logits are the second output; for methods that do not
/// ask it, without.
///
/// # Errors
/// The source has no head.
pub(super) fn with_source_head(start: &Model, source: &Model, method: Method) -> Result<Model> {
    if !asks(method) {
        return Ok(start.clone());
    }
    let logits = source.card().roles.logits.as_deref().ok_or_else(|| {
        Error::Usage(format!(
            "--method {}: {} has no head of its own, whose answers this method needs; choose a source with one, or --method delta \
             or bss",
            method.name(),
            source.card().name
        ))
    })?;
    let names = names(start, source.graph(), logits);
    let renamed = |wire: &String| names.get(wire.as_str()).unwrap_or(wire).clone();
    let (mut graph, mut weights) = (start.graph().clone(), start.weights().clone());
    for node in source.graph().nodes().iter().filter(|node| names.contains_key(node.name.as_str())) {
        let moved = Node::new(renamed(&node.name), node.op.clone(), node.inputs.iter().map(renamed));
        take_weights(source, node, &moved, &mut weights)?;
        graph.push(moved).map_err(Error::model)?;
    }
    let own = renamed(&logits.to_owned());
    let outputs: Vec<String> = start.graph().outputs().iter().cloned().chain([own]).collect();
    graph.set_outputs(outputs.iter().map(String::as_str)).map_err(Error::model)?;
    Model::new(graph, weights, start.card().clone()).map_err(Error::model)
}

/// New names of the source's nodes that its logits need and the network with the new head lacks.
fn names<'a>(start: &Model, source: &'a Graph, logits: &str) -> HashMap<&'a str, String> {
    let mut wanted = HashSet::from([logits]);
    let mut nodes: Vec<&Node> = Vec::new();
    for node in source.nodes().iter().rev().filter(|node| is_new(start, node)) {
        if wanted.contains(node.name.as_str()) {
            wanted.extend(node.inputs.iter().map(String::as_str));
            nodes.push(node);
        }
    }
    let is_free = |prefix: &String| {
        nodes.iter().all(|node| !start.graph().has_wire(&format!("{prefix}.{}", node.name)))
    };
    let numbered = (2..).map(|number| format!("{PREFIX}{number}"));
    let prefix = std::iter::once(PREFIX.to_owned()).chain(numbered).find(is_free).unwrap_or_default();
    nodes.iter().map(|node| (node.name.as_str(), format!("{prefix}.{}", node.name))).collect()
}

/// Whether a node of the source is not in the network with the new head. That may have another one of its name, and its head
/// is another one, even if it looks the same.
fn is_new(start: &Model, node: &Node) -> bool {
    start.graph().node(&node.name) != Some(node) || start.card().roles.logits.as_ref() == Some(&node.name)
}

fn take_weights(source: &Model, node: &Node, moved: &Node, weights: &mut Weights) -> Result<()> {
    for (old, new) in node.parameters().into_iter().zip(moved.parameters()) {
        let tensor = source.weights().get(&old.name);
        let tensor =
            tensor.ok_or_else(|| Error::Model(format!("the source has no tensor '{}'", old.name)))?;
        weights.insert(new.name, tensor.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use regraft_graph::{Card, Patch};

    use super::super::regulariser::tests::{network, with_new_head};
    use super::*;

    #[test]
    fn both_heads_read_the_same_features() {
        let source = network();
        let start = with_new_head(&source);
        let joint = with_source_head(&start, &source, Method::Lwf).unwrap();
        assert_eq!(joint.graph().outputs(), ["head2", "source.head"]);
        // The source's head had the new one's first name, and its numbers.
        let numbers = |model: &Model, name: &str| model.weights().get(name).unwrap().to_f32();
        assert_eq!(numbers(&joint, "source.head.weight"), numbers(&source, "head.weight"));
        assert_eq!(joint.weights().iter().count(), start.weights().iter().count() + 2);
        // What is not asked for is not there, and goes where the network goes back into the whole.
        assert!(with_source_head(&start, &source, Method::Bss).unwrap() == start);
        assert!(start.clone().with_weights_of(&joint).unwrap() == start);
    }

    #[test]
    fn a_source_without_a_head_is_refused() {
        let source = network();
        let features = source.card().roles.features.clone();
        let headless = Patch::cut(&features).apply(source.clone()).unwrap();
        let card = Card { name: "headless".to_owned(), ..headless.card().clone() };
        let headless = headless.with_card(card).unwrap();
        for method in [Method::Lwf, Method::CoTuning] {
            let error = with_source_head(&with_new_head(&source), &headless, method).unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{error}");
            let text = error.to_string();
            assert!(text.contains(method.name()) && text.contains("headless has no head"), "{text}");
        }
    }
}
