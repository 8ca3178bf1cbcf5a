//! The catalogue agrees with the graphs, and its names resolve.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use regraft_graph::{Bindings, ParameterKind};
use regraft_zoo::{ZooError, architecture, info, list, resolve};

#[test]
fn published_sizes_are_those_of_the_graphs() {
    for entry in list().unwrap() {
        let architecture = architecture(&entry.architecture).unwrap();
        let graph = architecture.network(1000).unwrap().graph;
        let trained =
            [ParameterKind::Weight, ParameterKind::Bias, ParameterKind::Token, ParameterKind::Position];
        let parameters = graph.parameters();
        let parameters = parameters.iter().filter(|parameter| trained.contains(&parameter.kind));
        let parameters: usize = parameters.map(|parameter| parameter.shape.iter().product::<usize>()).sum();
        let [height, width] = architecture.preprocessing.crop;
        let cost = graph.cost(&Bindings { batch: 1, height, width }).unwrap();
        assert_eq!((parameters as u64, cost.macs), (entry.parameters, entry.macs), "{}", entry.name);
    }
}

#[test]
fn the_default_comes_with_the_program() {
    for name in ["efficientnet-lite0", "efficientnet-lite0.in1k"] {
        let model = resolve(name).unwrap();
        assert_eq!(model.card().name, "efficientnet-lite0.in1k");
        assert_eq!(model.card().labels.len(), 1000);
        assert_eq!(model.card().labels[285], "Egyptian cat");
        assert_eq!(model.weights().first_non_finite(), None);
        assert_eq!(model.card().roles.cuts.len(), 16);
        let stored: usize = model.weights().iter().map(|(_, tensor)| tensor.len()).sum();
        assert_eq!(stored, 4_694_024);
    }
}

#[test]
fn a_known_architecture_without_weights_says_what_to_give() {
    let message = resolve("resnet50").unwrap_err().to_string();
    assert!(message.contains("weight file") && message.contains("'resnet50'"), "{message}");
}

#[test]
fn an_unknown_name_gets_a_suggestion() {
    let ZooError::UnknownModel { nearest, known, .. } = info("resnet5").unwrap_err() else { panic!() };
    assert!(nearest.is_some_and(|name| name.starts_with("resnet")));
    assert_eq!(known.len(), 11);
    assert!(info("xception").unwrap_err().to_string().contains("nothing looks like it"));
}
