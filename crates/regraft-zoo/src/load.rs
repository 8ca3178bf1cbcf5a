//! From tensors by name to a model.

use std::collections::BTreeSet;
use std::path::Path;

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use regraft_formats::{FormatError, Skipped, WeightFile, read_weights};
use regraft_graph::{Card, Graph, GraphError, Model, Op, Preprocessing, Resize, Tensor, Weights};

use crate::architecture::{Architecture, architectures, called};
use crate::embedded::imagenet_labels;
use crate::error::nearest;
use crate::matching::{Found, beginnings, begins, find, is_part_of, same_numbers, under};
use crate::{MatchReport, Network, ZooError, jax};

/// Puts weights into an architecture, or into the one of the same name whose library named the weights. Names may have a
/// prefix. The number of classes is that of the classifier's weight, and without one the network ends at its features. The
/// image has the size for which the weights have a vector for each place, which then becomes the card's crop. The card's
/// roles become the architecture's.
///
/// # Errors
/// A tensor is missing (the error names an architecture that would fit, if there is one) or has another shape than
/// the network needs; the card has labels, but not one for each class.
pub fn load_weights(
    architecture: &'static Architecture,
    weights: Weights,
    card: Card,
) -> Result<(Model, MatchReport), ZooError> {
    let failed = |source| ZooError::Graph { origin: card.origin.clone(), source };
    let (weights, renamed) = translated(weights).map_err(failed)?;
    let tensors = Tensors { weights, renamed, ..Tensors::default() };
    let spelled = tensors.named(architecture.name).map_err(failed)?;
    let candidate = spelled.map_or_else(|| tensors.compare(architecture), Ok).map_err(failed)?;
    tensors.into_model(candidate, card)
}

/// What a file holds, under names that an architecture may know.
#[derive(Default)]
pub(crate) struct Tensors {
    pub(crate) weights: Weights,
    pub(crate) skipped: Vec<Skipped>,
    /// The beginning of the prefix that the user chose.
    pub(crate) entry: Option<String>,
    /// How many tensors have other names than in the file.
    pub(crate) renamed: usize,
}

/// An architecture, and where in a file its tensors are.
pub(crate) struct Candidate {
    pub(crate) architecture: &'static Architecture,
    /// The network with 1,000 classes, for images of the usual size.
    usual: Network,
    found: Found,
}

impl Candidate {
    /// The parameters of the classifier, or the others.
    fn parameters(&self, of_head: bool) -> Vec<String> {
        let names = self.usual.graph.parameters().into_iter().map(|parameter| parameter.name);
        names.filter(|name| is_part_of(name, self.architecture.classifier) == of_head).collect()
    }

    /// Whether the file has everything but perhaps a head.
    fn is_complete(&self) -> bool {
        self.found.matched >= self.parameters(false).len()
    }
}

impl Tensors {
    /// # Errors
    /// None for an architecture that passed its tests.
    pub(crate) fn compare(&self, architecture: &'static Architecture) -> Result<Candidate, GraphError> {
        let usual = architecture.network(IMAGENET_CLASSES)?;
        let found =
            find(&usual.graph.parameters(), architecture.classifier, &self.weights, self.entry.as_deref());
        Ok(Candidate { architecture, usual, found })
    }

    /// The architecture of that name or alias whose tensors the file has most of; of equal ones the first, which has
    /// exactly this name.
    ///
    /// # Errors
    /// None for architectures that passed their tests.
    pub(crate) fn named(&self, name: &str) -> Result<Option<Candidate>, GraphError> {
        let candidates: Result<Vec<_>, _> =
            called(name).map(|architecture| self.compare(architecture)).collect();
        Ok(candidates?.into_iter().rev().max_by_key(|candidate| candidate.found.matched))
    }

    /// Number of classes that the file has as this architecture.
    pub(crate) fn classes(&self, candidate: &Candidate) -> usize {
        let name = format!("{}{}.weight", candidate.found.prefix, candidate.architecture.classifier);
        self.weights.get(&name).and_then(|weight| weight.shape().first().copied()).unwrap_or(0)
    }

    /// # Errors
    /// As [`load_weights`].
    pub(crate) fn into_model(
        self,
        candidate: Candidate,
        mut card: Card,
    ) -> Result<(Model, MatchReport), ZooError> {
        let origin = card.origin.clone();
        let failed = |source| ZooError::Graph { origin: origin.clone(), source };
        let classes = self.classes(&candidate);
        let head = candidate.parameters(true);
        let Candidate { architecture, usual, found: Found { prefix, alternatives, .. } } = candidate;
        let mut weights = under(&self.weights, &prefix);
        let size = image_size(&usual.graph, &weights);
        if let Some(size) = size {
            card.preprocessing = for_size(&card.preprocessing, size);
        }
        let Network { graph, roles } = match (classes, size) {
            (IMAGENET_CLASSES, None) => usual,
            _ => architecture.network_for(classes, card.preprocessing.crop).map_err(failed)?,
        };
        let names: Vec<String> = graph.parameters().into_iter().map(|parameter| parameter.name).collect();
        self.check_missing(architecture, &names, &weights, &origin)?;
        fit_shapes(&graph, &mut weights).map_err(failed)?;
        if !card.labels.is_empty() && card.labels.len() != classes {
            return Err(ZooError::Labels { origin, classes, labels: card.labels.len() });
        }
        let report = MatchReport {
            architecture: architecture.name,
            others: Vec::new(),
            classes,
            labels: card.labels.len(),
            matched: names.len(),
            missing: if classes == 0 { head } else { Vec::new() },
            left: left(&self.weights, &names, &prefix, &alternatives),
            prefix,
            alternatives,
            renamed: self.renamed,
        };
        let model = Model::new(graph, weights, Card { roles, ..card }).map_err(failed)?;
        Ok((model, report))
    }

    /// Whether the entry that the user chose has anything in it.
    fn check_entry(&self, path: &Path) -> Result<(), ZooError> {
        let names = || self.weights.iter().map(|(name, _)| name);
        let Some(entry) = self.entry.clone().filter(|entry| !names().any(|name| begins(name, entry))) else {
            return Ok(());
        };
        let known: BTreeSet<&str> = names().filter_map(|name| name.split('.').next()).collect();
        let known = known.into_iter().map(str::to_owned).collect();
        Err(ZooError::UnknownEntry { path: path.to_path_buf(), entry, known })
    }

    fn check_missing(
        &self,
        wanted: &'static Architecture,
        names: &[String],
        weights: &Weights,
        origin: &str,
    ) -> Result<(), ZooError> {
        let missing: Vec<String> = names.iter().filter(|name| weights.get(name).is_none()).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let hint = self.hint(&missing);
        Err(ZooError::MissingWeights { origin: origin.to_owned(), architecture: wanted.name, missing, hint })
    }

    fn hint(&self, missing: &[String]) -> String {
        let skipped =
            self.skipped.iter().find(|skipped| missing.iter().any(|name| skipped.tensor.ends_with(name)));
        if let Some(Skipped { tensor, dtype }) = skipped {
            return format!(
                "'{tensor}' is there but has elements of type {dtype}, convert it to 32-bit floats"
            );
        }
        match guess_architecture(&self.weights) {
            Some(other) => format!("the file fits the architecture '{}'", other.name),
            None => "the file fits none of the known architectures; are its names those of the original?"
                .to_owned(),
        }
    }
}

/// Classes of ImageNet-1k.
pub(crate) const IMAGENET_CLASSES: usize = 1000;

/// Tensors with the graph's numbers in another shape get its shape.
fn fit_shapes(graph: &Graph, weights: &mut Weights) -> Result<(), GraphError> {
    for parameter in graph.parameters() {
        let tensor = weights.get(&parameter.name);
        if let Some(tensor) = tensor.filter(|tensor| same_numbers(tensor.shape(), &parameter.shape)) {
            let fitted = Tensor::new(tensor.dtype(), parameter.shape, tensor.data().clone())?;
            weights.insert(parameter.name, fitted);
        }
    }
    Ok(())
}

fn left(weights: &Weights, names: &[String], prefix: &str, alternatives: &[String]) -> Vec<String> {
    let names: std::collections::HashSet<&str> = names.iter().map(String::as_str).collect();
    let used = |name: &str| name.strip_prefix(prefix).is_some_and(|name| names.contains(name));
    let copy = |name: &str| {
        beginnings(name)
            .any(|(start, rest)| names.contains(rest) && alternatives.iter().any(|other| other == start))
    };
    let unused = weights.iter().map(|(name, _)| name).filter(|name| !used(name) && !copy(name));
    unused
        .filter(|name| !serves_training(name.strip_prefix(prefix).unwrap_or(name)))
        .map(str::to_owned)
        .collect()
}

/// Counters of steps, the token for hidden patches of DINOv2, and the auxiliary classifiers of Inception v1 and v3.
fn serves_training(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
        || name.ends_with("mask_token")
        || ["AuxLogits.", "aux1.", "aux2."].iter().any(|module| name.starts_with(module))
}

/// Height and width of the images that the weights are for, where a learned vector for each place tells another size
/// than the usual one: a square of patches, and one token more.
fn image_size(usual: &Graph, weights: &Weights) -> Option<[usize; 2]> {
    let patch = usual
        .nodes()
        .iter()
        .find_map(|node| if let Op::Conv(conv) = &node.op { conv.kernel.first().copied() } else { None })?;
    let positions = usual.nodes().iter().find(|node| matches!(node.op, Op::PositionEmbedding(_)))?;
    let name = &positions.parameters().into_iter().next()?.name;
    let tokens = *weights.get(name)?.shape().get(1)?;
    let side = tokens.checked_sub(1)?.isqrt();
    let square = side.checked_mul(side)?.checked_add(1)? == tokens && side > 0;
    square.then(|| side.checked_mul(patch)).flatten().map(|side| [side; 2])
}

/// The same preprocessing for images of another size: the crop is the same part of the resized image.
fn for_size(usual: &Preprocessing, size: [usize; 2]) -> Preprocessing {
    let scaled = |side: usize, axis: usize| {
        let [old, new] = [usual.crop, size].map(|size| size.get(axis).copied().unwrap_or(1).max(1));
        (side * new).div_ceil(old)
    };
    let resize = match usual.resize {
        Resize::ShortSide(side) => Resize::ShortSide(scaled(side, 0)),
        Resize::Exact([height, width]) => Resize::Exact([scaled(height, 0), scaled(width, 1)]),
    };
    Preprocessing { resize, crop: size, ..usual.clone() }
}

/// The architecture whose every tensor but the head is there in the right shape; of several, the one that uses most.
pub fn guess_architecture(weights: &Weights) -> Option<&'static Architecture> {
    let tensors = Tensors { weights: weights.clone(), ..Tensors::default() };
    fitting(&tensors).into_iter().next().map(|candidate| candidate.architecture)
}

/// All such architectures that use as many tensors as the best, in the order of the table.
fn fitting(tensors: &Tensors) -> Vec<Candidate> {
    let names: Vec<&str> = tensors.weights.iter().map(|(name, _)| name).collect();
    let marked = |architecture: &&Architecture| names.iter().any(|name| name.ends_with(architecture.mark));
    let complete = architectures().par_iter().filter(marked).filter_map(|architecture| {
        let candidate = tensors.compare(architecture).ok()?;
        candidate.is_complete().then_some(candidate)
    });
    let mut complete: Vec<_> = complete.collect();
    let most = complete.iter().map(|candidate| candidate.found.matched).max().unwrap_or(0);
    complete.retain(|candidate| candidate.found.matched == most);
    complete
}

/// Reads a weight file into an architecture, or into the one that it fits if `name` is `None`.
///
/// Where several fit, the name of the file or of its folder decides, if it has the name of one of them; the report names
/// the others.
///
/// `FILE#ENTRY` chooses among several networks in one checkpoint: `checkpoint.pth#state_dict` where the average
/// `state_dict_ema` would be taken. A classifier of 1,000 rows is taken for ImageNet-1k's and gets its label names; any
/// other has none.
///
/// # Errors
/// The file cannot be read, the architecture is unknown or does not fit, a weight is infinite or not a number.
pub fn load_file(path: &Path, name: Option<&str>) -> Result<(Model, MatchReport), ZooError> {
    let (file, entry) = split_entry(path);
    let WeightFile { weights, skipped, sha256 } = read_weights(&file)?;
    let failed = |source| ZooError::Graph { origin: path.display().to_string(), source };
    let (weights, renamed) = translated(weights).map_err(failed)?;
    let tensors = Tensors { weights, skipped, entry, renamed };
    tensors.check_entry(&file)?;
    let (candidate, others) = choose(&tensors, name, &file)?;
    let mut card = candidate.architecture.card(path.display().to_string());
    card.sha256 = Some(sha256);
    if tensors.classes(&candidate) == IMAGENET_CLASSES {
        card.labels = imagenet_labels().map(str::to_owned).collect();
        card.source_task = Some("ImageNet-1k (taken from its 1,000 classes)".to_owned());
    }
    let (model, report) = tensors.into_model(candidate, card)?;
    check_finite(&file, &model)?;
    Ok((model, MatchReport { others, ..report }))
}

/// The file and the entry of `FILE#ENTRY`, if there is such a file; a file that has such a name itself goes first.
pub fn split_entry(path: &Path) -> (std::path::PathBuf, Option<String>) {
    let text = path.to_string_lossy();
    match text.rsplit_once('#') {
        Some((file, entry)) if !path.exists() && Path::new(file).is_file() => {
            (file.into(), Some(entry.to_owned()))
        }
        _ => (path.to_path_buf(), None),
    }
}

/// The architecture of that name whose tensors the file has most of, or the one that it fits, and others that it fits as
/// well.
fn choose(
    tensors: &Tensors,
    name: Option<&str>,
    path: &Path,
) -> Result<(Candidate, Vec<&'static str>), ZooError> {
    if let Some(name) = name {
        let candidate = tensors
            .named(name)
            .map_err(|source| ZooError::Graph { origin: path.display().to_string(), source })?;
        return candidate.map(|candidate| (candidate, Vec::new())).ok_or_else(|| unknown_architecture(name));
    }
    let mut fitting = fitting(tensors);
    let best = named_in(path, &fitting).ok_or_else(|| unknown_weights(path, &tensors.weights))?;
    let best = fitting.remove(best);
    Ok((best, fitting.into_iter().map(|candidate| candidate.architecture.name).collect()))
}

/// Of several architectures with the same tensors, the one whose name is in the file's or its folder's, as in published
/// files; else the first.
fn named_in(path: &Path, fitting: &[Candidate]) -> Option<usize> {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let names =
        [folder, path.file_name().unwrap_or_default()].map(|name| name.to_string_lossy().into_owned());
    let longest = |(_, Candidate { architecture, .. }): &(usize, &Candidate)| {
        let known = architecture.aliases.iter().chain([&architecture.name]);
        let found = known.filter(|known| names.iter().any(|name| name.contains(**known)));
        found.map(|known| known.len()).max()
    };
    // Of several that are equally long, the first.
    fitting.iter().enumerate().rev().max_by_key(longest).map(|(position, _)| position)
}

/// Parts of names that published files still have, and what the networks here call them: DenseNet's layers and the dense
/// layers of torchvision's vision transformers, and timm's of VGG.
const FORMER_NAMES: [(&str, &str, &str); 8] = [
    (".denselayer", ".norm.1.", ".norm1."),
    (".denselayer", ".norm.2.", ".norm2."),
    (".denselayer", ".conv.1.", ".conv1."),
    (".denselayer", ".conv.2.", ".conv2."),
    (".encoder_layer_", ".mlp.linear_1.", ".mlp.0."),
    (".encoder_layer_", ".mlp.linear_2.", ".mlp.3."),
    ("pre_logits.", "pre_logits.fc1.", "classifier.0."),
    ("pre_logits.", "pre_logits.fc2.", "classifier.3."),
];

/// The weights under the names that networks have here, and how many had others.
fn translated(weights: Weights) -> Result<(Weights, usize), GraphError> {
    let (weights, published) = jax::translated(weights)?;
    let (weights, former) = with_present_names(weights);
    Ok((weights, published.max(former)))
}

/// The weights under present names, and how many had a former one.
pub(crate) fn with_present_names(weights: Weights) -> (Weights, usize) {
    let is_vgg = weights.iter().any(|(name, _)| name.contains("pre_logits.fc1."));
    let present = |name: &str| {
        let present = present_name(name);
        if is_vgg { present.replacen("head.fc.", "classifier.6.", 1) } else { present }
    };
    let former = weights.iter().filter(|(name, _)| present(name) != *name).count();
    if former == 0 {
        return (weights, 0);
    }
    (weights.iter().map(|(name, tensor)| (present(name), tensor.clone())).collect(), former)
}

fn present_name(name: &str) -> String {
    let former = FORMER_NAMES.iter().find(|(module, part, _)| name.contains(module) && name.contains(part));
    former.map_or_else(|| name.to_owned(), |(_, part, present)| name.replacen(part, present, 1))
}

pub(crate) fn check_finite(path: &Path, model: &Model) -> Result<(), FormatError> {
    let Some((tensor, index)) = model.weights().first_non_finite() else { return Ok(()) };
    Err(FormatError::NonFinite { path: path.to_path_buf(), tensor: tensor.to_owned(), index })
}

pub(crate) fn unknown_architecture(name: &str) -> ZooError {
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
