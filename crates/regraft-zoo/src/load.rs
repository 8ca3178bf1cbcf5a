//! From tensors by name to a model.

use std::path::Path;

use regraft_formats::{FormatError, Skipped, read_weights};
use regraft_graph::{Card, Graph, Model, Parameter, ParameterKind, Preprocessing, Resize, Tensor, Weights};

use crate::architecture::{Architecture, architectures, called};
use crate::embedded::imagenet_labels;
use crate::error::nearest;
use crate::{Network, ZooError};

/// Which tensors of a file a network took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchReport {
    /// The architecture's name.
    pub architecture: &'static str,
    /// Number of classes, from the classifier's shape; 0 for a file without a classifier.
    pub classes: usize,
    /// Number of tensors that the network took.
    pub matched: usize,
    /// Names of tensors that it has no use for, what serves training only aside.
    pub left: Vec<String>,
    /// Other architectures that the file fits as well, if it was not named: their tensors are the same, but their
    /// preprocessing, padding or epsilon are not.
    pub others: Vec<&'static str>,
}

/// Puts weights into an architecture, or into the one of the same name whose library named the weights. The number of
/// classes is that of the classifier's weight, and without one the network ends at its features. The image has the size of
/// the card's crop, or the size for which the weights have a vector for each place, which then becomes the card's crop.
/// The card's roles become the architecture's.
///
/// # Errors
/// A tensor is missing (the error names an architecture that would fit, if there is one) or has another shape than
/// the network needs; the card has labels, but not one for each class.
pub fn load_weights(
    architecture: &'static Architecture,
    weights: Weights,
    card: Card,
) -> Result<(Model, MatchReport), ZooError> {
    let weights = with_present_names(weights);
    load(spelled(architecture, &weights), weights, card, &[])
}

/// Of the architectures that the name stands for, the one whose names the weights have.
fn spelled(architecture: &'static Architecture, weights: &Weights) -> &'static Architecture {
    let named = |architecture: &&Architecture| weights.get(architecture.mark).is_some();
    called(architecture.name).find(named).unwrap_or(architecture)
}

fn load(
    architecture: &'static Architecture,
    mut weights: Weights,
    card: Card,
    skipped: &[Skipped],
) -> Result<(Model, MatchReport), ZooError> {
    let origin = card.origin.clone();
    let failed = |source| ZooError::Graph { origin: origin.clone(), source };
    let classes = architecture.classes(&weights);
    let card = sized(architecture, &weights, card);
    let network = architecture.network_for(classes, card.preprocessing.crop);
    let Network { graph, roles } = network.map_err(failed)?;
    let names: Vec<String> = graph.parameters().into_iter().map(|parameter| parameter.name).collect();
    check_missing(architecture, &names, &weights, &origin, skipped)?;
    if !card.labels.is_empty() && card.labels.len() != classes {
        return Err(ZooError::Labels { origin, classes, labels: card.labels.len() });
    }
    let left = left(&weights, &names);
    fit_shapes(&graph, &mut weights);
    let model = Model::new(graph, weights, Card { roles, ..card }).map_err(failed)?;
    let (architecture, matched, others) = (architecture.name, names.len(), Vec::new());
    Ok((model, MatchReport { architecture, classes, matched, left, others }))
}

/// The card for images of the size that the weights are for: a file with another number of places than usual has a square
/// grid of them, behind the class token.
fn sized(architecture: &Architecture, weights: &Weights, mut card: Card) -> Card {
    let Preprocessing { crop, resize, .. } = &mut card.preprocessing;
    let Some(positions) = positions(architecture, *crop) else { return card };
    let tokens = |shape: &[usize]| shape.get(1).copied().unwrap_or(0);
    let side = |tokens: usize| tokens.saturating_sub(1).isqrt();
    let usual = tokens(&positions.shape);
    let found = weights.get(&positions.name).map_or(usual, |tensor| tokens(tensor.shape()));
    let square = side(found).pow(2).checked_add(1) == Some(found);
    if found == usual || !square || side(usual) == 0 {
        return card;
    }
    let scaled = |pixels: usize| pixels.saturating_mul(side(found)) / side(usual);
    *crop = crop.map(scaled);
    *resize = match *resize {
        Resize::ShortSide(pixels) => Resize::ShortSide(scaled(pixels)),
        Resize::Exact(pixels) => Resize::Exact(pixels.map(scaled)),
    };
    card
}

/// The vectors for the places of images of that size, of an architecture that has them.
fn positions(architecture: &Architecture, image: [usize; 2]) -> Option<Parameter> {
    let parameters = architecture.network_for(0, image).ok()?.graph.parameters();
    parameters.into_iter().find(|parameter| parameter.kind == ParameterKind::Position)
}

/// Tensors with the graph's numbers in another shape get its shape.
fn fit_shapes(graph: &Graph, weights: &mut Weights) {
    for parameter in graph.parameters() {
        let tensor = weights.get(&parameter.name);
        let other = tensor.filter(|tensor| same_numbers(tensor.shape(), &parameter.shape));
        let fitted =
            other.and_then(|tensor| Tensor::new(tensor.dtype(), parameter.shape, tensor.data().clone()).ok());
        if let Some(fitted) = fitted {
            weights.insert(parameter.name, fitted);
        }
    }
}

/// Whether two shapes differ in nothing but how the axes behind the first are told apart: a dense layer that was stored
/// as the convolution over its whole input, a factor for each channel with a height and width of 1.
fn same_numbers(found: &[usize], expected: &[usize]) -> bool {
    let product = |shape: &[usize]| shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    found.first() == expected.first() && found.len() != expected.len() && product(found) == product(expected)
}

const IMAGENET_CLASSES: usize = 1000;

fn left(weights: &Weights, names: &[String]) -> Vec<String> {
    let names: std::collections::HashSet<&str> = names.iter().map(String::as_str).collect();
    let unused = weights.iter().map(|(name, _)| name).filter(|name| !names.contains(name));
    unused.filter(|name| !serves_training(name)).map(str::to_owned).collect()
}

/// Counters of steps, the token for hidden patches of DINOv2, and the auxiliary classifiers of Inception v1 and v3.
fn serves_training(name: &str) -> bool {
    name.ends_with(".num_batches_tracked")
        || name == "mask_token"
        || ["AuxLogits.", "aux1.", "aux2."].iter().any(|module| name.starts_with(module))
}

fn check_missing(
    wanted: &'static Architecture,
    names: &[String],
    weights: &Weights,
    origin: &str,
    skipped: &[Skipped],
) -> Result<(), ZooError> {
    let missing: Vec<String> = names.iter().filter(|name| weights.get(name).is_none()).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let hint = hint(&missing, weights, skipped);
    Err(ZooError::MissingWeights { origin: origin.to_owned(), architecture: wanted.name, missing, hint })
}

fn hint(missing: &[String], weights: &Weights, skipped: &[Skipped]) -> String {
    if let Some(Skipped { tensor, dtype }) = skipped.iter().find(|skipped| missing.contains(&skipped.tensor))
    {
        return format!("'{tensor}' is there but has elements of type {dtype}, convert it to 32-bit floats");
    }
    match guess_architecture(weights) {
        Some(other) => format!("the file fits the architecture '{}'", other.name),
        None => {
            "the file fits none of the known architectures; are its names those of the original?".to_owned()
        }
    }
}

/// The architecture whose every tensor is there in the right shape; of several, the one that uses most, and then the first
/// of the table.
pub fn guess_architecture(weights: &Weights) -> Option<&'static Architecture> {
    fitting(&with_present_names(weights.clone())).first().copied()
}

/// All architectures that use as many of the tensors as possible.
fn fitting(weights: &Weights) -> Vec<&'static Architecture> {
    let marked = architectures().iter().filter(|architecture| weights.get(architecture.mark).is_some());
    let used = marked.filter_map(|architecture| Some((used(architecture, weights)?, architecture)));
    let used: Vec<_> = used.collect();
    let most = used.iter().map(|(used, _)| *used).max();
    used.into_iter().filter(|(used, _)| Some(*used) == most).map(|(_, architecture)| architecture).collect()
}

/// How many of the tensors an architecture uses, if it needs no others.
fn used(architecture: &Architecture, weights: &Weights) -> Option<usize> {
    let network = architecture.network(architecture.classes(weights)).ok()?;
    let parameters = network.graph.parameters();
    let fits = |Parameter { name, kind, shape }: &Parameter| {
        weights.get(name).map(Tensor::shape).is_some_and(|found| {
            let other_grid = *kind == ParameterKind::Position && found.last() == shape.last();
            found == shape || other_grid || same_numbers(found, shape)
        })
    };
    parameters.iter().all(fits).then_some(parameters.len())
}

/// Of several architectures with the same tensors, the one whose name is in the file's or its folder's, as in published
/// files; else the first.
fn named_in(path: &Path, fitting: &[&'static Architecture]) -> Option<&'static Architecture> {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let names =
        [folder, path.file_name().unwrap_or_default()].map(|name| name.to_string_lossy().into_owned());
    let longest = |architecture: &&Architecture| {
        let known = architecture.aliases.iter().chain([&architecture.name]);
        let found = known.filter(|known| names.iter().any(|name| name.contains(**known)));
        found.map(|known| known.len()).max()
    };
    // Of several that are equally long, the first.
    fitting.iter().rev().copied().max_by_key(longest)
}

/// Reads a weight file into an architecture, or into the one that it fits if `name` is `None`. Where several fit, the name
/// of the file or of its folder decides, if it has the name of one of them; the report names the others.
///
/// A classifier of 1,000 rows is taken for ImageNet-1k's and gets its label names; any other has none.
///
/// # Errors
/// The file cannot be read, the architecture is unknown or does not fit, a weight is infinite or not a number.
pub fn load_file(path: &Path, name: Option<&str>) -> Result<(Model, MatchReport), ZooError> {
    let mut file = read_weights(path)?;
    file.weights = with_present_names(file.weights);
    let fitting = if name.is_some() { Vec::new() } else { fitting(&file.weights) };
    let architecture = match name {
        Some(name) => called(name).next().ok_or_else(|| unknown_architecture(name))?,
        None => named_in(path, &fitting).ok_or_else(|| unknown_weights(path, &file.weights))?,
    };
    let architecture = spelled(architecture, &file.weights);
    let mut card = architecture.card(path.display().to_string());
    card.sha256 = Some(file.sha256);
    if architecture.classes(&file.weights) == IMAGENET_CLASSES {
        card.labels = imagenet_labels().map(str::to_owned).collect();
        card.source_task = Some("ImageNet-1k (taken from its 1,000 classes)".to_owned());
    }
    let (model, mut report) = load(architecture, file.weights, card, &file.skipped)?;
    let others = fitting.iter().map(|other| other.name).filter(|name| *name != architecture.name);
    report.others = others.collect();
    check_finite(path, &model)?;
    Ok((model, report))
}

/// Parts of names that torchvision's published files still have, and what its networks call them now: DenseNet's layers and
/// the dense layers of its vision transformers.
const FORMER_NAMES: [(&str, &str, &str); 6] = [
    (".denselayer", ".norm.1.", ".norm1."),
    (".denselayer", ".norm.2.", ".norm2."),
    (".denselayer", ".conv.1.", ".conv1."),
    (".denselayer", ".conv.2.", ".conv2."),
    (".encoder_layer_", ".mlp.linear_1.", ".mlp.0."),
    (".encoder_layer_", ".mlp.linear_2.", ".mlp.3."),
];

/// timm's names of the layers behind VGG's convolutions, which it stores as convolutions too.
const VGG_OF_TIMM: [(&str, &str); 3] = [
    ("pre_logits.fc1.", "classifier.0."),
    ("pre_logits.fc2.", "classifier.3."),
    ("head.fc.", "classifier.6."),
];

fn with_present_names(weights: Weights) -> Weights {
    let vgg = if weights.get("pre_logits.fc1.weight").is_some() { VGG_OF_TIMM.as_slice() } else { &[] };
    let renamed = weights.iter().map(|(name, tensor)| {
        let layer = vgg.iter().find_map(|(timm, ours)| Some((ours, name.strip_prefix(timm)?)));
        let name = layer.map_or_else(|| present_name(name), |(ours, kind)| format!("{ours}{kind}"));
        (name, tensor.clone())
    });
    renamed.collect()
}

fn present_name(name: &str) -> String {
    let former = FORMER_NAMES.iter().find(|(module, part, _)| name.contains(module) && name.contains(part));
    former.map_or_else(|| name.to_owned(), |(_, part, present)| name.replacen(part, present, 1))
}

fn check_finite(path: &Path, model: &Model) -> Result<(), FormatError> {
    let Some((tensor, index)) = model.weights().first_non_finite() else { return Ok(()) };
    Err(FormatError::NonFinite { path: path.to_path_buf(), tensor: tensor.to_owned(), index })
}

fn unknown_architecture(name: &str) -> ZooError {
    let known: Vec<_> = architectures().iter().map(|architecture| architecture.name).collect();
    ZooError::UnknownArchitecture { name: name.to_owned(), nearest: nearest(name, &known), known }
}

fn unknown_weights(path: &Path, weights: &Weights) -> ZooError {
    ZooError::UnknownWeights {
        origin: path.display().to_string(),
        tensors: weights.len(),
        examples: weights.iter().map(|(name, _)| name.to_owned()).collect(),
        known: architectures().iter().map(|architecture| architecture.name).collect(),
    }
}
