//! From tensors by name to a model.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::Path;

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use regraft_formats::{FormatError, Skipped, WeightFile, read_weights};
use regraft_graph::{Card, Graph, GraphError, Model, Op, Parameter, Preprocessing, Resize, Tensor, Weights};
use regraft_system::spelling::nearest;

use crate::architecture::{Architecture, architectures, called};
use crate::embedded::imagenet_labels;
use crate::error::{TO_ONNX, Tried};
use crate::leftover::{foreign, left};
use crate::matching::{Fits, Found, begins, find, fits, is_part_of, same_numbers, under};
use crate::relatives::relatives;
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
    /// Whether it was not named but found by the tensors.
    guessed: bool,
    /// The network with 1,000 classes, for images of the usual size.
    usual: Network,
    found: Found,
}

impl Candidate {
    /// The architecture's names.
    fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.architecture.aliases.iter().copied().chain([self.architecture.name])
    }

    /// The parameters of the classifier, or the others.
    fn parameters(&self, of_head: bool) -> Vec<String> {
        let names = self.usual.graph.parameters().into_iter().map(|parameter| parameter.name);
        names.filter(|name| is_part_of(name, self.architecture.classifier) == of_head).collect()
    }

    /// Whether the file has everything but perhaps a head.
    fn is_complete(&self) -> bool {
        self.found.of_body >= self.parameters(false).len()
    }

    /// Names of what the file lacks, but for the head.
    fn lacking(&self, weights: &Weights) -> Vec<String> {
        let is_there = |name: &String| weights.get(&format!("{}{name}", self.found.prefix)).is_some();
        self.parameters(false).into_iter().filter(|name| !is_there(name)).collect()
    }

    /// Whether the file has tensors with which the network would compute something else.
    fn has_foreign(&self, weights: &Weights) -> bool {
        let names: Vec<_> =
            self.usual.graph.parameters().into_iter().map(|parameter| parameter.name).collect();
        let Found { prefix, alternatives, .. } = &self.found;
        let left = left(weights, &names, prefix, alternatives);
        !foreign(&left, &names, prefix, self.architecture.classifier).is_empty()
    }
}

impl Tensors {
    /// # Errors
    /// None for an architecture that passed its tests.
    pub(crate) fn compare(&self, architecture: &'static Architecture) -> Result<Candidate, GraphError> {
        let usual = architecture.network(IMAGENET_CLASSES)?;
        let found = self.find(architecture, &usual, fits);
        Ok(Candidate { architecture, guessed: false, usual, found })
    }

    fn find(&self, architecture: &Architecture, usual: &Network, fits: Fits) -> Found {
        let parameters = usual.graph.parameters();
        find(&parameters, architecture.classifier, &self.weights, self.entry.as_deref(), fits)
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
        let Candidate { architecture, guessed, usual, found: Found { prefix, alternatives, .. } } = candidate;
        let tried = Tried { architecture: architecture.name, guessed };
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
        self.check_missing(tried, &names, &weights, &origin)?;
        let left = left(&self.weights, &names, &prefix, &alternatives);
        let foreign = foreign(&left, &names, &prefix, architecture.classifier);
        self.check_foreign(tried, foreign, &origin)?;
        fit_shapes(&graph, &mut weights).map_err(failed)?;
        self.check_shapes(tried, &graph, &weights, &origin)?;
        if !card.labels.is_empty() && card.labels.len() != classes {
            return Err(ZooError::Labels { origin, classes, labels: card.labels.len() });
        }
        let report = MatchReport {
            architecture: architecture.name,
            others: Vec::new(),
            relatives: if guessed { relatives(architecture.name) } else { &[] },
            classes,
            labels: card.labels.len(),
            matched: names.len(),
            missing: if classes == 0 { head } else { Vec::new() },
            left,
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
        tried: Tried,
        names: &[String],
        weights: &Weights,
        origin: &str,
    ) -> Result<(), ZooError> {
        let missing: Vec<String> = names.iter().filter(|name| weights.get(name).is_none()).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let hint = self.conversion(&missing).unwrap_or_else(|| self.way_out(tried.architecture));
        Err(ZooError::MissingWeights { origin: origin.to_owned(), tried, missing, hint })
    }

    fn check_foreign(&self, tried: Tried, foreign: Vec<String>, origin: &str) -> Result<(), ZooError> {
        if foreign.is_empty() {
            return Ok(());
        }
        let hint = self.way_out(tried.architecture);
        Err(ZooError::ForeignWeights { origin: origin.to_owned(), tried, foreign, hint })
    }

    fn check_shapes(
        &self,
        tried: Tried,
        graph: &Graph,
        weights: &Weights,
        origin: &str,
    ) -> Result<(), ZooError> {
        let mut others = graph.parameters().into_iter().filter_map(|parameter| {
            let found = weights.get(&parameter.name)?.shape().to_vec();
            (found != parameter.shape).then_some((parameter, found))
        });
        let Some((Parameter { name: tensor, shape: expected, .. }, found)) = others.next() else {
            return Ok(());
        };
        let hint = other_channels(graph, &tensor, &expected, &found)
            .map_or_else(|| self.way_out(tried.architecture), |channels| format!("{channels}; {TO_ONNX}"));
        let more = match others.count() {
            0 => String::new(),
            more => format!(", and {more} more differ"),
        };
        let differences = format!("'{tensor}': expected {expected:?}, found {found:?}{more}");
        Err(ZooError::Shapes { origin: origin.to_owned(), tried, differences, hint })
    }

    /// How to get a missing tensor that is there with elements that are not read.
    fn conversion(&self, missing: &[String]) -> Option<String> {
        let mut skipped = self.skipped.iter();
        let Skipped { tensor, dtype } =
            skipped.find(|skipped| missing.iter().any(|name| skipped.tensor.ends_with(name)))?;
        Some(format!("'{tensor}' is there but has elements of type {dtype}, convert it to 32-bit floats"))
    }

    /// What to do with a file that is not the architecture's.
    fn way_out(&self, tried: &str) -> String {
        let fitting: Vec<_> = fitting(self).iter().map(|candidate| candidate.architecture.name).collect();
        match fitting.first() {
            Some(other) if !fitting.contains(&tried) => format!("the file fits the architecture '{other}'"),
            _ => format!("the file's network is none that is known here; {TO_ONNX}"),
        }
    }
}

/// The first convolution reads other images than those of three channels.
fn other_channels(graph: &Graph, tensor: &str, expected: &[usize], found: &[usize]) -> Option<String> {
    let first = graph.nodes().iter().find(|node| matches!(node.op, Op::Conv(_)))?;
    let is_first = first.parameters().iter().any(|parameter| parameter.name == tensor);
    let same = |axis: usize| expected.get(axis) == found.get(axis);
    let (usual, channels) = (expected.get(1)?, found.get(1)?);
    let differ = expected.len() == found.len() && usual != channels && [0, 2, 3].into_iter().all(same);
    (is_first && differ)
        .then(|| format!("the file's network takes images of {channels} instead of {usual} channels"))
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

/// The architecture whose every tensor but the head is there in the right shape, with no other tensors inside of its
/// modules; of several, the one that uses most.
pub fn guess_architecture(weights: &Weights) -> Option<&'static Architecture> {
    let tensors = Tensors { weights: weights.clone(), ..Tensors::default() };
    fitting(&tensors).into_iter().next().map(|candidate| candidate.architecture)
}

/// All such architectures that use as many tensors as the best, in the order of the table.
fn fitting(tensors: &Tensors) -> Vec<Candidate> {
    let names: Vec<&str> = tensors.weights.iter().map(|(name, _)| name).collect();
    let marked = |architecture: &&Architecture| names.iter().any(|name| name.ends_with(architecture.mark));
    let complete = architectures().par_iter().filter(marked).filter_map(|architecture| {
        let candidate = Candidate { guessed: true, ..tensors.compare(architecture).ok()? };
        (candidate.is_complete() && !candidate.has_foreign(&tensors.weights)).then_some(candidate)
    });
    let mut complete: Vec<_> = complete.collect();
    let most = complete.iter().map(|candidate| candidate.found.matched).max().unwrap_or(0);
    complete.retain(|candidate| candidate.found.matched == most);
    complete
}

/// The architectures that have some of the file's names, whatever their shapes. First come those of which most names are
/// there and fewest are not; of equal ones, those whose shapes fit most.
fn alike(tensors: &Tensors) -> Vec<Candidate> {
    let compared = architectures().par_iter().filter_map(|architecture| {
        let usual = architecture.network(IMAGENET_CLASSES).ok()?;
        let in_shape = tensors.find(architecture, &usual, fits).matched;
        let found = tensors.find(architecture, &usual, |_, _| true);
        let absent = usual.graph.parameters().len().saturating_sub(found.matched);
        let likeness = (found.matched.saturating_sub(absent), in_shape);
        let candidate = Candidate { architecture, guessed: true, usual, found };
        (likeness.0 > 0).then_some((Reverse(likeness), candidate))
    });
    let mut compared: Vec<_> = compared.collect();
    compared.sort_by_key(|(likeness, _)| *likeness);
    compared.into_iter().map(|(_, candidate)| candidate).collect()
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
    let Some(best) = named_in(path, &fitting) else { return Ok((nearest_to(tensors, path)?, Vec::new())) };
    let best = fitting.remove(best);
    check_relatives(path, &best)?;
    Ok((best, fitting.into_iter().map(|candidate| candidate.architecture.name).collect()))
}

/// The architecture that has the file's names, for an error that says what else differs.
fn nearest_to(tensors: &Tensors, path: &Path) -> Result<Candidate, ZooError> {
    let mut alike = alike(tensors);
    match alike.first() {
        Some(first) if first.is_complete() => Ok(alike.swap_remove(0)),
        _ => Err(unknown_weights(path, &tensors.weights, &alike)),
    }
}

/// Of several architectures with the same tensors, the one whose name is in the file's or its folder's, as in published
/// files; else the first.
fn named_in(path: &Path, fitting: &[Candidate]) -> Option<usize> {
    let longest = |(_, candidate): &(usize, &Candidate)| longest_in(path, candidate.names()).map(str::len);
    // Of several that are equally long, the first.
    fitting.iter().enumerate().rev().max_by_key(longest).map(|(position, _)| position)
}

/// The longest of these names that the file's or its folder's has in it.
fn longest_in(path: &Path, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let own = [folder, path.file_name().unwrap_or_default()].map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| own.iter().any(|own| own.contains(*name))).max_by_key(|name| name.len())
}

/// A file whose name is that of a network which has the architecture's tensors and computes something else is refused.
fn check_relatives(path: &Path, best: &Candidate) -> Result<(), ZooError> {
    let architecture = best.architecture.name;
    let Some(relative) = longest_in(path, relatives(architecture).iter().copied()) else { return Ok(()) };
    match longest_in(path, best.names()) {
        Some(name) if name.len() > relative.len() => Ok(()),
        _ => Err(ZooError::Relative { origin: path.display().to_string(), relative, architecture }),
    }
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

fn unknown_weights(path: &Path, weights: &Weights, alike: &[Candidate]) -> ZooError {
    ZooError::UnknownWeights {
        origin: path.display().to_string(),
        tensors: weights.len(),
        examples: weights.iter().map(|(name, _)| name.to_owned()).collect(),
        nearest: alike.iter().take(4).map(|candidate| candidate.architecture.name).collect(),
        lacking: alike.first().map(|first| first.lacking(weights)).unwrap_or_default(),
    }
}
