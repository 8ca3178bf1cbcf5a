//! Checkpoints as training scripts leave them: wrapped, averaged, without a head.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::path::{Path, PathBuf};

use common::blank_weights;
use regraft_formats::safetensors;
use regraft_graph::{Model, Tensor, Weights};
use regraft_zoo::{MatchReport, architecture, load_file, random_weights};

fn random(name: &str, classes: usize) -> Weights {
    random_weights(&architecture(name).unwrap().network(classes).unwrap().graph, 1).unwrap()
}

fn blank(name: &str, classes: usize) -> Weights {
    blank_weights(architecture(name).unwrap(), classes)
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
            assert_eq!(report.is_plain(), prefix.is_empty() && name.is_some());
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

/// Tensors of zeros, and those of a network with other shapes.
fn with_blank(weights: &Weights, added: &[(&str, &[usize])]) -> Vec<(String, Tensor)> {
    let blank = |(name, shape): &(&str, &[usize])| {
        let zeros = vec![0.0; shape.iter().product()];
        ((*name).to_owned(), Tensor::from_f32(shape.to_vec(), &zeros).unwrap())
    };
    let mut weights = weights.clone();
    for (name, tensor) in added.iter().map(blank) {
        weights.insert(name, tensor);
    }
    without(&weights, &[])
}

fn without(weights: &Weights, names: &[&str]) -> Vec<(String, Tensor)> {
    let kept = weights.iter().filter(|(name, _)| !names.contains(name));
    kept.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
}

#[test]
fn tensors_inside_of_a_networks_modules_are_another_networks() {
    let resnet: &[(&str, &[usize])] = &[("layer1.0.se.fc1.weight", &[8, 64, 1, 1])];
    let attention: &[(&str, &[usize])] = &[("blocks.0.attn.q_norm.weight", &[64])];
    let scale: &[(&str, &[usize])] = &[("blocks.11.ls1.gamma", &[192])];
    let registers: &[(&str, &[usize])] = &[("register_tokens", &[1, 4, 192])];
    for (name, added) in [
        ("resnet18", resnet),
        ("vit_tiny_patch16_224", attention),
        ("vit_tiny_patch16_224", scale),
        ("vit_tiny_patch16_224", registers),
    ] {
        let tensors = with_blank(&blank(name, 4), added);
        for (asked, how) in [(None, "guessed"), (Some(name), "as asked for")] {
            let message = loaded(tensors.clone(), "", asked).unwrap_err();
            for part in
                [added[0].0, name, how, "no place for 1 of its tensors", "ONNX", "weights.safetensors"]
            {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
    }
}

#[test]
fn other_heads_buffers_and_copies_may_be_left() {
    let added: &[(&str, &[usize])] = &[
        ("projector.0.weight", &[2]),
        ("layer1.0.total_ops", &[1]),
        ("ema.layer1.0.other", &[2]),
        ("optimizer.layer1.0.conv1.weight.exp_avg", &[2]),
    ];
    let (_, report) = loaded(with_blank(&blank("resnet18", 4), added), "", None).unwrap();
    assert_eq!(
        report.left,
        ["ema.layer1.0.other", "optimizer.layer1.0.conv1.weight.exp_avg", "projector.0.weight"]
    );
    let weights = blank("vit_tiny_patch16_224", 4);
    let mut tensors = without(&weights, &["head.weight", "head.bias"]);
    tensors.push(("head.mlp.0.weight".to_owned(), Tensor::from_f32(vec![1], &[0.0]).unwrap()));
    assert_eq!(loaded(tensors, "", None).unwrap().1.left, ["head.mlp.0.weight"]);
}

#[test]
fn a_file_that_lacks_a_tensor_does_not_fit() {
    let weights = blank("vit_tiny_patch16_224", 4);
    let tensors = without(&weights, &["patch_embed.proj.bias"]);
    for asked in [None, Some("vit_tiny_patch16_224")] {
        let message = loaded(tensors.clone(), "", asked).unwrap_err();
        assert!(message.contains("'patch_embed.proj.bias'") && message.contains("ONNX"), "{message}");
        assert!(!message.contains("fits the architecture"), "{message}");
    }
    let message = loaded(without(&weights, &["head.bias"]), "", None).unwrap_err();
    assert!(message.contains("missing: 'head.bias'") && message.contains("ONNX"), "{message}");
    assert!(!message.contains("fits the architecture"), "{message}");
}

#[test]
fn images_of_another_number_of_channels_are_named() {
    let tensors = with_blank(&blank("resnet18", 4), &[("conv1.weight", &[64, 1, 7, 7])]);
    for (asked, how) in [(None, "guessed"), (Some("resnet18"), "as asked for")] {
        let message = loaded(tensors.clone(), "", asked).unwrap_err();
        for part in [
            "'resnet18'",
            how,
            "[64, 3, 7, 7], found [64, 1, 7, 7]",
            "images of 1 instead of 3 channels",
            "ONNX",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
}

#[test]
fn the_nearest_network_by_names_is_that_whose_shapes_fit_most() {
    for (name, tensor, shape) in [
        ("resnet18", "conv1.weight", [64, 3, 3, 3]),
        ("vit_tiny_patch16_224", "patch_embed.proj.weight", [192, 3, 14, 14]),
    ] {
        let message = loaded(with_blank(&blank(name, 4), &[(tensor, &shape)]), "", None).unwrap_err();
        for part in [format!("'{name}' (guessed"), format!("found {shape:?}"), "ONNX".to_owned()] {
            assert!(message.contains(&part), "{part}: {message}");
        }
    }
}

#[test]
fn of_unknown_weights_the_most_alike_networks_are_named() {
    let mut weights = blank("resnet18", 4);
    weights.retain(|name| !name.starts_with("layer4.1.") && name != "bn1.weight");
    let message = loaded(without(&weights, &[]), "", None).unwrap_err();
    for part in ["like those of 'resnet18', ", "'bn1.weight'", "README.md", "ONNX"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("vgg"), "{message}");
}

#[test]
fn a_file_may_have_a_number_sign_in_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights#2.safetensors");
    safetensors::write(&path, &blank("resnet18", 2)).unwrap();
    assert!(load_file(&path, None).is_ok());
    assert!(
        load_file(Path::new("/nowhere/weights.pth#entry"), None).unwrap_err().to_string().contains("#entry")
    );
}
