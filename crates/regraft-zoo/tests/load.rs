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

use common::{blank_weights, golden, hashed_weights, json};
use regraft_formats::{FormatError, safetensors};
use regraft_graph::{Preprocessing, Resize, Tensor, Weights};
use regraft_zoo::{
    Architecture, ZooError, architecture, architectures, guess_architecture, load_file, load_weights,
};

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
    let weights = hashed_weights("resnet18", 1000, None);
    let (_folder, path) = written(&weights);
    let (model, report) = load_file(&path, Some("resnet18")).unwrap();
    assert_eq!((report.classes, report.matched, report.left), (1000, 102, vec![]));
    assert_eq!(model.card().labels.len(), 1000);
    assert!(model.weights().iter().all(|(name, tensor)| weights.get(name) == Some(tensor)));
}

#[test]
fn files_with_the_names_that_torchvision_published_load_whole() {
    for (name, former) in [
        (
            "densenet121",
            [
                (".norm1.", ".norm.1."),
                (".norm2.", ".norm.2."),
                (".conv1.", ".conv.1."),
                (".conv2.", ".conv.2."),
            ]
            .as_slice(),
        ),
        ("vit_b_16", &[(".mlp.0.", ".mlp.linear_1."), (".mlp.3.", ".mlp.linear_2.")]),
    ] {
        let weights = hashed_weights(name, 3, None);
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

/// timm stores VGG's dense layers as convolutions, under other names.
#[test]
fn timms_vgg_loads_whole() {
    let weights = hashed_weights("vgg11_bn", 3, None);
    let timm = |name: &str, tensor: &Tensor| {
        let layers = [("classifier.0", "pre_logits.fc1"), ("classifier.3", "pre_logits.fc2")];
        let layer = layers.iter().find(|(ours, _)| name.starts_with(ours));
        let name = layer.map_or_else(|| name.to_owned(), |(ours, theirs)| name.replace(ours, theirs));
        let shape = match name.as_str() {
            "pre_logits.fc1.weight" => vec![4096, 512, 7, 7],
            "pre_logits.fc2.weight" => vec![4096, 4096, 1, 1],
            _ => tensor.shape().to_vec(),
        };
        let tensor = Tensor::new(tensor.dtype(), shape, tensor.data().clone()).unwrap();
        (name.replace("classifier.6", "head.fc"), tensor)
    };
    let published: Weights = weights.iter().map(|(name, tensor)| timm(name, tensor)).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vgg.safetensors");
    safetensors::write(&path, &published).unwrap();
    let (model, report) = load_file(&path, None).unwrap();
    assert_eq!((report.architecture, report.left), ("vgg11_bn", vec![]));
    assert!(model.weights().iter().all(|(name, tensor)| weights.get(name) == Some(tensor)));
}

#[test]
fn every_architecture_is_recognised_by_its_weights() {
    let published = json("networks.json");
    let digest =
        |architecture: &Architecture| published[architecture.name]["digest"].as_str().unwrap().to_owned();
    for architecture in architectures() {
        let weights = blank_weights(architecture, 3);
        // Some differ in nothing that a file says.
        let first = architectures().iter().find(|other| digest(other) == digest(architecture)).unwrap();
        assert_eq!(guess_architecture(&weights).map(|guess| guess.name), Some(first.name));
    }
}

#[test]
fn a_name_stands_for_the_network_of_the_library_that_the_file_is_from() {
    for (name, other) in [
        ("mobilenet_v2", "mobilenetv2_100"),
        ("mobilenetv3_small_100", "mobilenet_v3_small"),
        ("efficientnet_b0", "torchvision/efficientnet_b0"),
        ("regnet_y_400mf", "regnety_004"),
        ("tf_efficientnet_lite0", "efficientnet-lite0"),
    ] {
        for present in [name, other] {
            let weights = blank_weights(architecture(present).unwrap(), 3);
            let named = architecture(name).unwrap();
            let (_, report) = load_weights(named, weights.clone(), named.card("a file")).unwrap();
            assert_eq!((report.architecture, report.left), (present, vec![]), "{name}");
            let (_folder, path) = written(&weights);
            let (model, report) = load_file(&path, Some(name)).unwrap();
            let preprocessing = &architecture(present).unwrap().preprocessing;
            assert_eq!(
                (report.architecture, &model.card().preprocessing),
                (present, preprocessing),
                "{name}"
            );
        }
    }
}

#[test]
fn where_several_fit_the_files_name_decides() {
    let weights = blank_weights(architecture("efficientnet_b0").unwrap(), 3);
    let (folder, path) = written(&weights);
    let (_, report) = load_file(&path, None).unwrap();
    assert_eq!(
        (report.architecture, report.others.as_slice()),
        ("efficientnet_b0", ["tf_efficientnet_b0"].as_slice())
    );
    let named = folder.path().join("tf_efficientnet_b0_ns-c0e6a31c.safetensors");
    safetensors::write(&named, &weights).unwrap();
    let (_, report) = load_file(&named, None).unwrap();
    assert_eq!(
        (report.architecture, report.others.as_slice()),
        ("tf_efficientnet_b0", ["efficientnet_b0"].as_slice())
    );
    let folder = tempfile::Builder::new().prefix("deit_tiny_patch16_224.fb_in1k").tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    safetensors::write(&path, &blank_weights(architecture("vit_tiny_patch16_224").unwrap(), 3)).unwrap();
    assert_eq!(load_file(&path, None).unwrap().1.architecture, "deit_tiny_patch16_224");
}

/// timm's resnetblur18 has the same tensors as resnet18 and computes something else.
#[test]
fn a_file_with_the_name_of_a_relative_is_refused() {
    let weights = blank_weights(architecture("resnet18").unwrap(), 3);
    let (folder, path) = written(&weights);
    let (_, report) = load_file(&path, None).unwrap();
    assert!(
        report.relatives.contains(&"resnetblur18") && report.to_string().contains("resnetblur18"),
        "{report}"
    );
    assert!(load_file(&path, Some("resnet18")).unwrap().1.relatives.is_empty());
    let named = folder.path().join("resnetblur18_a1h-4cf422b3.safetensors");
    safetensors::write(&named, &weights).unwrap();
    let message = load_file(&named, None).unwrap_err().to_string();
    for part in ["says 'resnetblur18'", "'resnet18'", "ONNX", "--arch resnet18", "4cf422b3"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(load_file(&named, Some("resnet18")).is_ok());
}

#[test]
fn weights_without_a_classifier_end_at_the_features() {
    let mut weights = hashed_weights("resnet18", 5, None);
    weights.retain(|name| !name.starts_with("fc."));
    let resnet18 = architecture("resnet18").unwrap();
    let (model, report) = load_weights(resnet18, weights, resnet18.card("a file")).unwrap();
    assert_eq!((report.classes, &model.card().roles.logits), (0, &None));
    assert_eq!(model.graph().outputs(), ["flatten"]);
}

/// The names of DINOv2's own files are timm's, and the token for hidden patches.
#[test]
fn a_file_with_more_places_is_for_larger_images() {
    let dino = architecture("vit_small_patch14_dinov2").unwrap();
    let mut weights = hashed_weights("vit_small_patch14_dinov2", 0, Some([224, 224]));
    weights.insert("mask_token", Tensor::from_f32(vec![1, 384], &[0.0; 384]).unwrap());
    let (model, report) = load_weights(dino, weights, dino.card("a file")).unwrap();
    assert_eq!((report.classes, report.left), (0, vec![]));
    assert_eq!(model.card().preprocessing.crop, [224, 224]);
    let vit = architecture("vit_tiny_patch16_224").unwrap();
    let weights = hashed_weights("vit_tiny_patch16_224", 2, Some([384, 384]));
    let (model, _) = load_weights(vit, weights, vit.card("a file")).unwrap();
    let Preprocessing { crop, resize, .. } = model.card().preprocessing;
    assert_eq!((crop, resize), ([384, 384], Resize::ShortSide(426)));
}

#[test]
fn the_wrong_architecture_is_refused_with_the_right_one() {
    let weights = hashed_weights("resnet34", 5, None);
    let resnet50 = architecture("resnet50").unwrap();
    let error = load_weights(resnet50, weights.clone(), resnet50.card("a file")).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("fits the architecture 'resnet34'") && message.contains("a file"), "{message}");
    let ZooError::MissingWeights { missing, .. } = error else { panic!("{message}") };
    assert!(missing.contains(&"layer1.0.conv3.weight".to_owned()));
    // A shallower network would take a part of a deeper one's weights.
    let resnet18 = architecture("resnet18").unwrap();
    let message = load_weights(resnet18, weights, resnet18.card("a file")).unwrap_err().to_string();
    assert!(
        message.contains("'layer1.2.bn1.bias'") && message.contains("fits the architecture 'resnet34'"),
        "{message}"
    );
}

#[test]
fn what_is_missing_is_named() {
    let mut weights = hashed_weights("resnet18", 5, None);
    weights.remove("layer3.1.bn2.running_var");
    let resnet18 = architecture("resnet18").unwrap();
    let message = load_weights(resnet18, weights, resnet18.card("a file")).unwrap_err().to_string();
    assert!(message.contains("'layer3.1.bn2.running_var'"), "{message}");
}

#[test]
fn another_shape_is_named() {
    let mut weights = hashed_weights("resnet18", 5, None);
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
    let message = load_weights(resnet18, hashed_weights("resnet18", 5, None), card).unwrap_err().to_string();
    assert!(message.contains("5 classes, found 1"), "{message}");
}

#[test]
fn a_weight_that_is_not_a_number_is_named() {
    let mut weights = hashed_weights("resnet18", 2, None);
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
    assert!(message.contains("'a.weight'") && message.contains("README.md"), "{message}");
    let message = load_file(&path, Some("resnet51")).unwrap_err().to_string();
    assert!(message.contains("did you mean 'resnet"), "{message}");
    assert!(load_file(Path::new("/nowhere/x.pth"), None).unwrap_err().to_string().contains("/nowhere/x.pth"));
}
