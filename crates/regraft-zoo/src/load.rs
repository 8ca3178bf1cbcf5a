//! From tensors by name to a model.

use std::path::Path;

use regraft_formats::{FormatError, Skipped, read_weights};
use regraft_graph::{Card, Model, Weights};

use crate::architecture::{Architecture, architecture, architectures};
use crate::embedded::imagenet_labels;
use crate::error::nearest;
use crate::{Network, ZooError};

/// Which tensors of a file a network took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchReport {
    /// The architecture's name.
    pub architecture: &'static str,
    /// Number of classes, from the classifier's shape.
    pub classes: usize,
    /// Number of tensors that the network took.
    pub matched: usize,
    /// Names of tensors that it has no use for, counters of training steps aside.
    pub left: Vec<String>,
}

/// Puts weights into an architecture. The number of classes is that of the classifier's weight; the card's roles
/// become the architecture's.
///
/// # Errors
/// A tensor is missing (the error names an architecture that would fit, if there is one) or has another shape than
/// the network needs; the card has labels, but not one for each class.
pub fn load_weights(
    architecture: &'static Architecture,
    weights: Weights,
    card: Card,
) -> Result<(Model, MatchReport), ZooError> {
    load(architecture, weights, card, &[])
}

fn load(
    architecture: &'static Architecture,
    weights: Weights,
    card: Card,
    skipped: &[Skipped],
) -> Result<(Model, MatchReport), ZooError> {
    let origin = card.origin.clone();
    let failed = |source| ZooError::Graph { origin: origin.clone(), source };
    let classes = classes(architecture, &weights).unwrap_or(IMAGENET_CLASSES);
    let Network { graph, roles } = architecture.network(classes).map_err(failed)?;
    let names: Vec<String> = graph.parameters().into_iter().map(|parameter| parameter.name).collect();
    check_missing(architecture, &names, &weights, &origin, skipped)?;
    if !card.labels.is_empty() && card.labels.len() != classes {
        return Err(ZooError::Labels { origin, classes, labels: card.labels.len() });
    }
    let left = left(&weights, &names);
    let model = Model::new(graph, weights, Card { roles, ..card }).map_err(failed)?;
    Ok((model, MatchReport { architecture: architecture.name, classes, matched: names.len(), left }))
}

const IMAGENET_CLASSES: usize = 1000;

fn classes(architecture: &Architecture, weights: &Weights) -> Option<usize> {
    let weight = weights.get(&format!("{}.weight", architecture.classifier))?;
    weight.shape().first().copied()
}

fn left(weights: &Weights, names: &[String]) -> Vec<String> {
    let names: std::collections::HashSet<&str> = names.iter().map(String::as_str).collect();
    let unused = weights.iter().map(|(name, _)| name).filter(|name| !names.contains(name));
    unused.filter(|name| !name.ends_with(".num_batches_tracked")).map(str::to_owned).collect()
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

/// The architecture whose every tensor is there in the right shape; of several, the one that uses most.
pub fn guess_architecture(weights: &Weights) -> Option<&'static Architecture> {
    let fitting = architectures().iter().filter_map(|architecture| {
        let network = architecture.network(classes(architecture, weights)?).ok()?;
        let parameters = network.graph.parameters();
        let fits = parameters.iter().all(|parameter| {
            weights.get(&parameter.name).is_some_and(|tensor| tensor.shape() == parameter.shape)
        });
        fits.then_some((parameters.len(), architecture))
    });
    fitting.max_by_key(|(used, _)| *used).map(|(_, architecture)| architecture)
}

/// Reads a weight file into an architecture, or into the one that it fits if `name` is `None`.
///
/// A classifier of 1,000 rows is taken for ImageNet-1k's and gets its label names; any other has none.
///
/// # Errors
/// The file cannot be read, the architecture is unknown or does not fit, a weight is infinite or not a number.
pub fn load_file(path: &Path, name: Option<&str>) -> Result<(Model, MatchReport), ZooError> {
    let mut file = read_weights(path)?;
    file.weights = with_present_names(file.weights);
    let architecture = match name {
        Some(name) => architecture(name).ok_or_else(|| unknown_architecture(name))?,
        None => guess_architecture(&file.weights).ok_or_else(|| unknown_weights(path, &file.weights))?,
    };
    let mut card = architecture.card(path.display().to_string());
    card.sha256 = Some(file.sha256);
    if classes(architecture, &file.weights) == Some(IMAGENET_CLASSES) {
        card.labels = imagenet_labels().map(str::to_owned).collect();
        card.source_task = Some("ImageNet-1k (taken from its 1,000 classes)".to_owned());
    }
    let (model, report) = load(architecture, file.weights, card, &file.skipped)?;
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

fn with_present_names(weights: Weights) -> Weights {
    let renamed = weights.iter().map(|(name, tensor)| (present_name(name), tensor.clone()));
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
