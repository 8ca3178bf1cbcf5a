//! Weight files: what fits loads with nothing missing and nothing left, what does not fit says what would.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::path::Path;

use common::{golden, hashed_weights, original_tensors};
use regraft_formats::{FormatError, safetensors};
use regraft_graph::{Tensor, Weights};
use regraft_zoo::{ZooError, architecture, architectures, guess_architecture, load_file, load_weights};

#[test]
fn names_and_shapes_are_those_of_the_originals() {
    for architecture in architectures() {
        let graph = architecture.network(1000).unwrap().graph;
        let mut found: Vec<_> =
            graph.parameters().into_iter().map(|parameter| (parameter.name, parameter.shape)).collect();
        let mut expected = original_tensors(architecture.name);
        expected.retain(|(name, _)| !name.ends_with("num_batches_tracked"));
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{}", architecture.name);
    }
}

#[test]
fn files_that_torch_writes_load_whole() {
    for name in ["resnet18.pth", "resnet18_legacy.pth", "resnet18_module.pth"] {
        let (model, report) = load_file(&golden(name), None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((report.architecture, report.classes), ("resnet18", 10), "{name}");
        assert_eq!((report.matched, report.left), (102, vec![]), "{name}");
        assert_eq!(model.weights().len(), 102);
        assert_eq!(model.weights().get("conv1.weight").unwrap().to_f32()[9407], 0.5);
        assert!(model.card().labels.is_empty());
    }
}

/// A safetensors file of these weights in a fresh folder.
fn written(weights: &Weights) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors::write(&path, weights).unwrap();
    (folder, path)
}

#[test]
fn safetensors_files_load_whole() {
    let weights = hashed_weights("resnet18", "fc", 1000);
    let (_folder, path) = written(&weights);
    let (model, report) = load_file(&path, Some("resnet18")).unwrap();
    assert_eq!((report.classes, report.matched, report.left), (1000, 102, vec![]));
    assert_eq!(model.card().labels.len(), 1000);
    assert!(model.weights().iter().all(|(name, tensor)| weights.get(name) == Some(tensor)));
}

#[test]
fn files_with_the_names_that_torchvision_published_load_whole() {
    for (name, classifier, former) in [
        (
            "densenet121",
            "classifier",
            [
                (".norm1.", ".norm.1."),
                (".norm2.", ".norm.2."),
                (".conv1.", ".conv.1."),
                (".conv2.", ".conv.2."),
            ]
            .as_slice(),
        ),
        ("vit_b_16", "heads.head", &[(".mlp.0.", ".mlp.linear_1."), (".mlp.3.", ".mlp.linear_2.")]),
    ] {
        let weights = hashed_weights(name, classifier, 3);
        let renamed = |tensor: &str| {
            former.iter().fold(tensor.to_owned(), |name, (present, former)| name.replace(present, former))
        };
        let published: Weights =
            weights.iter().map(|(name, tensor)| (renamed(name), tensor.clone())).collect();
        assert_ne!(published, weights);
        let (_folder, path) = written(&published);
        let (model, report) = load_file(&path, Some(name)).unwrap();
        assert_eq!(report.left, Vec::<String>::new(), "{name}");
        assert!(model.weights().iter().all(|(name, tensor)| weights.get(name) == Some(tensor)), "{name}");
    }
}

#[test]
fn every_architecture_is_recognised_by_its_weights() {
    for architecture in architectures() {
        let weights = hashed_weights(architecture.name, architecture.classifier, 3);
        assert_eq!(guess_architecture(&weights).map(|guess| guess.name), Some(architecture.name));
    }
}

#[test]
fn the_wrong_architecture_is_refused_with_the_right_one() {
    let weights = hashed_weights("resnet34", "fc", 5);
    let resnet50 = architecture("resnet50").unwrap();
    let error = load_weights(resnet50, weights.clone(), resnet50.card("a file")).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("fits the architecture 'resnet34'") && message.contains("a file"), "{message}");
    let ZooError::MissingWeights { missing, .. } = error else { panic!("{message}") };
    assert!(missing.contains(&"layer1.0.conv3.weight".to_owned()));
    // A shallower network takes a part of a deeper one's weights; the report says what is left.
    let resnet18 = architecture("resnet18").unwrap();
    let (_, report) = load_weights(resnet18, weights, resnet18.card("a file")).unwrap();
    assert!(report.left.contains(&"layer1.2.conv1.weight".to_owned()));
}

#[test]
fn what_is_missing_is_named() {
    let mut weights = hashed_weights("resnet18", "fc", 5);
    weights.remove("layer3.1.bn2.running_var");
    let resnet18 = architecture("resnet18").unwrap();
    let message = load_weights(resnet18, weights, resnet18.card("a file")).unwrap_err().to_string();
    assert!(message.contains("'layer3.1.bn2.running_var'"), "{message}");
}

#[test]
fn another_shape_is_named() {
    let mut weights = hashed_weights("resnet18", "fc", 5);
    weights
        .insert("layer1.0.conv1.weight", Tensor::from_f32(vec![64, 32, 3, 3], &vec![0.0; 64 * 288]).unwrap());
    let (_folder, path) = written(&weights);
    let message = load_file(&path, Some("resnet18")).unwrap_err().to_string();
    assert!(
        message.contains("[64, 64, 3, 3], found [64, 32, 3, 3]") && message.contains("weights.safetensors"),
        "{message}"
    );
}

#[test]
fn labels_must_be_as_many_as_classes() {
    let resnet18 = architecture("resnet18").unwrap();
    let mut card = resnet18.card("a file");
    card.labels = vec!["one".to_owned()];
    let message = load_weights(resnet18, hashed_weights("resnet18", "fc", 5), card).unwrap_err().to_string();
    assert!(message.contains("5 classes, found 1"), "{message}");
}

#[test]
fn a_weight_that_is_not_a_number_is_named() {
    let mut weights = hashed_weights("resnet18", "fc", 2);
    weights.insert("fc.bias", Tensor::from_f32(vec![2], &[0.0, f32::INFINITY]).unwrap());
    let (_folder, path) = written(&weights);
    let error = load_file(&path, None).unwrap_err();
    let ZooError::Format(FormatError::NonFinite { tensor, index, .. }) = &error else { panic!("{error}") };
    assert_eq!((tensor.as_str(), *index), ("fc.bias", 1));
}

#[test]
fn unknown_weights_and_names_are_refused() {
    let weights: Weights =
        [("a.weight".to_owned(), Tensor::from_f32(vec![1], &[1.0]).unwrap())].into_iter().collect();
    let (_folder, path) = written(&weights);
    let message = load_file(&path, None).unwrap_err().to_string();
    assert!(message.contains("'a.weight'") && message.contains("resnet152"), "{message}");
    let message = load_file(&path, Some("resnet51")).unwrap_err().to_string();
    assert!(message.contains("did you mean 'resnet"), "{message}");
    assert!(load_file(Path::new("/nowhere/x.pth"), None).unwrap_err().to_string().contains("/nowhere/x.pth"));
}
