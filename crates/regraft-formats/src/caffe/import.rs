//! The model that two parsed files are.

use std::collections::HashSet;
use std::path::Path;

use regraft_graph::{Card, Dim, Fact, Model, Roles, Symbol};

use super::FORMAT;
use super::blob::Blob;
use super::build::{Built, Weights, build};
use super::layers::Problem;
use super::network::{Layer, Network};
use super::preprocessing::{Transform, preprocessing};
use super::selection::{LayerProblem, Selection};
use crate::{FormatError, Imported, labels};

/// Where the files are: the description may be in the weights.
#[derive(Clone, Copy)]
pub(super) struct Paths<'a> {
    pub(super) weights: &'a Path,
    pub(super) network: &'a Path,
}

/// A description that cannot be read or understood.
pub(super) fn described_wrongly(path: &Path, message: impl ToString) -> FormatError {
    let advice = "give the .prototxt that the network was published with, or correct it";
    FormatError::Malformed { path: path.to_path_buf(), format: FORMAT, message: message.to_string(), advice }
}

impl<'a> Paths<'a> {
    fn explain(&self, error: LayerProblem) -> FormatError {
        let LayerProblem { layer, kind, problem } = error;
        let place = if layer.is_empty() { String::new() } else { format!("layer '{layer}' ({kind}): ") };
        match problem {
            Problem::Description(message) => described_wrongly(self.network, format!("{place}{message}")),
            Problem::Unsupported(message) => FormatError::Unsupported {
                path: self.network.to_path_buf(),
                format: FORMAT,
                node: layer,
                operator: kind,
                message,
            },
            Problem::Graph(source) => {
                FormatError::Model { path: self.network.to_path_buf(), source: *source }
            }
            Problem::Weights(message) => FormatError::Malformed {
                path: self.weights.to_path_buf(),
                format: FORMAT,
                message: format!("{place}{message}"),
                advice: "give the weights and the .prototxt that belong together",
            },
        }
    }

    /// The folders of the files, each once.
    fn folders(&self) -> Vec<&'a Path> {
        let here = Path::new(".");
        let folder = |path: &'a Path| path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(here);
        let mut folders = vec![folder(self.network), folder(self.weights)];
        folders.dedup();
        folders
    }
}

/// Both files, parsed.
pub(super) struct Reading<'a> {
    pub(super) paths: Paths<'a>,
    pub(super) stored: Network,
    /// The description, where it is in a file of its own.
    pub(super) described: Option<Network>,
    pub(super) sha256: String,
}

/// Pixels of an image's side where no file says a number: the one of most published networks.
const USUAL_SIZE: usize = 224;

/// Channels, height and width of the input; 0 for a size that no file says.
type Sizes = [usize; 3];

impl Reading<'_> {
    fn network(&self) -> &Network {
        self.described.as_ref().unwrap_or(&self.stored)
    }

    pub(super) fn import(&self) -> Result<Imported, FormatError> {
        let mut selection = Selection::new(self.network()).map_err(|error| self.paths.explain(error))?;
        let mut notes = std::mem::take(&mut selection.notes);
        let weights = self.weights(&selection)?;
        let transform = Transform::of(&[self.network(), &self.stored])
            .map_err(|error| described_wrongly(self.paths.network, error))?;
        let shape = input_shape(&selection, &weights, &transform, &mut notes);
        check_sizes(&shape).map_err(|message| described_wrongly(self.paths.network, message))?;
        let Built { draft, outputs, aliases } = self.built(&selection, &weights, &shape)?;
        if let [main, others @ ..] = outputs.as_slice()
            && !others.is_empty()
        {
            let others = others.join(", ");
            notes.push(format!(
                "of several outputs '{main}' is taken for the network's; the others: {others}"
            ));
        }
        let card = Card { aliases, ..self.card(&transform, &shape, &mut notes) };
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let model = draft.finish(&outputs, card).and_then(|model| self.with_labels(model, &mut notes));
        let model =
            model.map_err(|source| FormatError::Model { path: self.paths.network.to_path_buf(), source })?;
        Ok(Imported { model, notes })
    }

    /// The arrays of the layers that are kept.
    fn weights(&self, selection: &Selection) -> Result<Weights, FormatError> {
        let kept: HashSet<&str> = selection.layers.iter().map(|layer| layer.name.as_str()).collect();
        let mut weights = Weights::new();
        for layer in self.stored.layers.iter().filter(|layer| kept.contains(layer.name.as_str())) {
            if !layer.blobs.is_empty() && !weights.contains_key(&layer.name) {
                weights.insert(layer.name.clone(), self.arrays(layer)?);
            }
        }
        Ok(weights)
    }

    fn arrays(&self, layer: &Layer) -> Result<Vec<Blob>, FormatError> {
        let arrays: Result<_, String> = layer.blobs.iter().map(Blob::new).collect();
        arrays.map_err(|message| {
            let message = format!("layer '{}' ({}): {message}", layer.name, layer.kind);
            FormatError::malformed(self.paths.weights, FORMAT, message)
        })
    }

    /// A graph for images of any size where the layers allow it, otherwise for those of the size that the files say.
    fn built(&self, selection: &Selection, weights: &Weights, shape: &[usize]) -> Result<Built, FormatError> {
        let batch = Dim::symbol(Symbol::Batch);
        let fixed = |sizes: &[usize]| {
            Fact::new([batch].into_iter().chain(sizes.iter().copied().map(Dim::Fixed)).collect::<Vec<_>>())
        };
        let explain = |error| self.paths.explain(error);
        let &[channels, height, width] = shape else {
            return build(selection, weights, fixed(shape)).map_err(explain);
        };
        match build(selection, weights, Fact::image(channels)) {
            Err(error) if height == 0 || width == 0 => Err(self.size_needed(error)),
            Err(_) => build(selection, weights, fixed(shape)).map_err(explain),
            built => built.map_err(explain),
        }
    }

    /// The error of a network that is not read for images of any size, where no file says which it needs.
    fn size_needed(&self, error: LayerProblem) -> FormatError {
        let of_size = matches!(error.problem, Problem::Graph(_) | Problem::Unsupported(_));
        let error = self.paths.explain(error);
        if !of_size {
            return error;
        }
        let advice =
            "give a .prototxt with the input's size: input_dim, input_shape or a layer of the kind Input";
        FormatError::Malformed {
            path: self.paths.network.to_path_buf(),
            format: FORMAT,
            message: format!("the size of the images is not there, and without it: {error}"),
            advice,
        }
    }

    fn card(&self, transform: &Transform, shape: &[usize], notes: &mut Vec<String>) -> Card {
        let crop = match shape {
            &[_, height, width] => [height, width].map(|side| if side == 0 { USUAL_SIZE } else { side }),
            _ => [1, 1],
        };
        let channels = shape.first().copied().unwrap_or(0);
        let name = self.network().name().or(self.stored.name()).map(str::to_owned);
        let stem = || self.paths.weights.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Card {
            name: name.or_else(stem).unwrap_or_default(),
            origin: self.paths.weights.display().to_string(),
            sha256: Some(self.sha256.clone()),
            licence: None,
            preprocessing: preprocessing(transform, &self.paths.folders(), channels, crop, notes),
            labels: Vec::new(),
            source_task: None,
            source_accuracy: None,
            aliases: Default::default(),
            // Those that follow from the structure take their place.
            roles: Roles { features: String::new(), logits: None, cuts: Vec::new() },
        }
    }

    /// The model with the labels that lie beside it.
    fn with_labels(&self, model: Model, notes: &mut Vec<String>) -> Result<Model, regraft_graph::GraphError> {
        let classes = labels::classes(model.graph(), &model.card().roles);
        let labels = labels::beside(&self.paths.folders(), classes, notes);
        let card = Card { labels, ..model.card().clone() };
        model.with_card(card)
    }
}

/// Sizes of the input behind the batch: those of the description, or what data layers and weights let guess.
fn input_shape(
    selection: &Selection,
    weights: &Weights,
    transform: &Transform,
    notes: &mut Vec<String>,
) -> Vec<usize> {
    if let [_, sizes @ ..] = selection.input.shape.as_slice()
        && !sizes.is_empty()
    {
        return sizes.to_vec();
    }
    let channels = channels(selection, weights).unwrap_or_else(|| {
        let channels = if transform.grey { 1 } else { 3 };
        notes.push(format!("the files do not say how many channels an image has; {channels} are assumed"));
        channels
    });
    let sizes: Sizes = [channels, transform.crop, transform.crop];
    sizes.to_vec()
}

/// Caffe's own limit, and far beyond any image.
fn check_sizes(shape: &[usize]) -> Result<(), String> {
    let numbers = shape.iter().try_fold(1usize, |count, size| count.checked_mul((*size).max(1)));
    let whole = shape.len() == 3 || shape.iter().all(|size| *size > 0);
    let possible = numbers.is_some_and(|numbers| numbers <= i32::MAX as usize) && shape.len() < MOST_AXES;
    let channels = shape.first().is_some_and(|channels| (1..=MOST_CHANNELS).contains(channels));
    if whole && possible && channels {
        Ok(())
    } else {
        Err(format!("an input of the shape {shape:?} behind the batch"))
    }
}

/// Axes of Caffe's arrays.
const MOST_AXES: usize = 32;

/// Channels of an input. Each has a mean of its own in the card.
const MOST_CHANNELS: usize = 1 << 20;

/// Channels of the input, by the weights of a convolution that reads it.
fn channels(selection: &Selection, weights: &Weights) -> Option<usize> {
    let reads = |layer: &&Layer| layer.kind == "Convolution" && layer.bottoms.contains(&selection.input.blob);
    let layer = selection.layers.iter().find(reads)?;
    let groups = layer.attributes("convolution_param").count("group").ok()?.unwrap_or(1);
    let shape = weights.get(&layer.name)?.first()?.shape();
    let each = shape.get(1).filter(|_| shape.len() == 4)?;
    each.checked_mul(groups).filter(|channels| *channels > 0)
}
