//! Checkpoints as training scripts leave them: wrapped, averaged, without a head.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use std::path::{Path, PathBuf};

use regraft_formats::safetensors;
use regraft_graph::{Model, Tensor, Weights};
use regraft_zoo::{MatchReport, architecture, load_file, random_weights};

fn random(name: &str, classes: usize) -> Weights {
    random_weights(&architecture(name).unwrap().network(classes).unwrap().graph, 1).unwrap()
}

/// The same tensors with something before their names, and every number times a factor.
fn copied(weights: &Weights, prefix: &str, factor: f32) -> Vec<(String, Tensor)> {
    let scaled = |tensor: &Tensor| {
        let values: Vec<f32> = tensor.to_f32().iter().map(|value| value * factor).collect();
        Tensor::from_f32(tensor.shape().to_vec(), &values).unwrap()
    };
    weights.iter().map(|(name, tensor)| (format!("{prefix}{name}"), scaled(tensor))).collect()
}

fn loaded(
    tensors: Vec<(String, Tensor)>,
    entry: &str,
    name: Option<&str>,
) -> Result<(Model, MatchReport), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors::write(&path, &tensors.into_iter().collect()).unwrap();
    let path = PathBuf::from(format!("{}{entry}", path.display()));
    load_file(&path, name).map_err(|error| error.to_string())
}

#[test]
fn whatever_stands_before_the_names_goes() {
    let weights = random("resnet18", 4);
    for prefix in
        ["", "module.", "model.", "backbone.", "_orig_mod.", "encoder.", "state_dict.net._orig_mod.module."]
    {
        for name in [None, Some("resnet18")] {
            let (model, report) = loaded(copied(&weights, prefix, 1.0), "", name).unwrap();
            assert_eq!((report.prefix.as_str(), report.matched, report.left.len()), (prefix, 102, 0));
            assert_eq!(report.is_plain(), prefix.is_empty());
            assert_eq!(model.weights(), &weights, "{prefix}");
        }
    }
}

#[test]
fn the_average_is_taken_unless_another_entry_is_asked_for() {
    let weights = random("resnet18", 4);
    let all = || {
        let copies = [("state_dict.module.", 1.0), ("state_dict_ema.", 2.0), ("momentum_encoder.", 3.0)];
        let other = ("optimizer.exp_avg".to_owned(), Tensor::from_f32(vec![1], &[0.0]).unwrap());
        copies
            .iter()
            .flat_map(|(prefix, factor)| copied(&weights, prefix, *factor))
            .chain([other])
            .collect::<Vec<_>>()
    };
    let bias = |model: &Model| model.weights().get("bn1.weight").unwrap().to_f32()[0];
    let (model, report) = loaded(all(), "", None).unwrap();
    assert_eq!((report.prefix.as_str(), bias(&model)), ("state_dict_ema.", 2.0));
    assert_eq!(report.alternatives, ["state_dict.module.", "momentum_encoder."]);
    assert_eq!(report.left, ["optimizer.exp_avg"]);
    let text = report.to_string();
    assert!(text.contains("FILE#state_dict.module takes it") && text.contains("1 left over"), "{text}");
    for (entry, expected) in [("#state_dict", 1.0), ("#state_dict.module", 1.0), ("#momentum_encoder", 3.0)] {
        let (model, report) = loaded(all(), entry, Some("resnet18")).unwrap();
        assert_eq!(bias(&model), expected, "{entry}");
        assert_eq!(report.alternatives, Vec::<String>::new());
    }
    assert!(loaded(all(), "#absent", Some("resnet18")).unwrap_err().contains("no entry 'absent'"));
    assert!(loaded(all(), "#absent", None).is_err());
}

#[test]
fn a_file_without_a_head_gives_features() {
    let mut weights = random("resnet18", 4);
    weights.retain(|name| !name.starts_with("fc."));
    let mut tensors = copied(&weights, "encoder_q.", 1.0);
    tensors.push(("projector.0.weight".to_owned(), Tensor::from_f32(vec![1], &[0.0]).unwrap()));
    for name in [None, Some("resnet18")] {
        let (model, report) = loaded(tensors.clone(), "", name).unwrap();
        assert_eq!(
            (report.classes, &report.missing),
            (0, &vec!["fc.weight".to_owned(), "fc.bias".to_owned()])
        );
        assert_eq!(report.left, ["projector.0.weight"]);
        assert_eq!(model.card().roles.logits, None);
        assert_eq!(model.graph().outputs(), [model.card().roles.features.clone()]);
        assert!(report.to_string().contains("no logits"), "{report}");
    }
}

#[test]
fn another_number_of_classes_loads_without_names() {
    let (model, report) = loaded(copied(&random("resnet18", 7), "", 1.0), "", Some("resnet18")).unwrap();
    assert_eq!((report.classes, report.labels, model.card().labels.len()), (7, 0, 0));
    let (model, report) = loaded(copied(&random("resnet18", 1000), "", 1.0), "", Some("resnet18")).unwrap();
    assert_eq!((report.classes, report.labels, model.card().labels.len()), (1000, 1000, 1000));
}

#[test]
fn networks_that_differ_in_preprocessing_alone_are_named() {
    let (_, report) = loaded(copied(&random("deit_tiny_patch16_224", 3), "model.", 1.0), "", None).unwrap();
    assert_eq!(report.architecture, "vit_tiny_patch16_224");
    assert_eq!(report.others, ["deit_tiny_patch16_224"]);
    assert!(report.to_string().contains("--arch"), "{report}");
}

#[test]
fn a_file_may_have_a_number_sign_in_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights#2.safetensors");
    safetensors::write(&path, &random("resnet18", 2)).unwrap();
    assert!(load_file(&path, None).is_ok());
    assert!(
        load_file(Path::new("/nowhere/weights.pth#entry"), None).unwrap_err().to_string().contains("#entry")
    );
}
