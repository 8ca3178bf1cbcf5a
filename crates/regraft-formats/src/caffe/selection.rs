//! Which layers of a description become the graph, and what feeds them.
//!
//! A description may be that of a training: with data sets, losses and layers of one phase. What is kept is the network
//! that is tested, from the first input to what nothing reads any more.

use std::collections::{HashMap, HashSet};

use super::layers::Problem;
use super::network::{Layer, Network};
use super::tree::{FieldError, Message};

/// The layers of a graph, in order.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) layers: Vec<Layer>,
    pub(super) input: Source,
    pub(super) notes: Vec<String>,
}

/// What feeds a network.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    /// The blob that it writes.
    pub(super) blob: String,
    /// Sizes with the batch in front; none where the description does not tell.
    pub(super) shape: Vec<usize>,
}

/// A layer that cannot be part of a graph, with its name and kind.
#[derive(Debug)]
pub(super) struct LayerProblem {
    pub(super) layer: String,
    pub(super) kind: String,
    pub(super) problem: Problem,
}

impl LayerProblem {
    pub(super) fn of(layer: &Layer) -> impl FnOnce(Problem) -> Self {
        let (layer, kind) = (layer.name.clone(), layer.kind.clone());
        move |problem| Self { layer, kind, problem }
    }
}

/// More nodes than any network has: ResNet-1001 has 4,000. The search for a graph's cut points looks at pairs of them.
const MOST_NODES: usize = 6_000;

impl Selection {
    /// # Errors
    /// There is no input or no layer, a layer reads what none before it writes, or a second input is needed.
    pub(super) fn new(network: &Network) -> Result<Self, LayerProblem> {
        let nodes: usize =
            network.layers.iter().map(|layer| layer.bottoms.len().max(layer.tops.len()).max(1)).sum();
        if nodes > MOST_NODES {
            return Err(whole(Problem::Description(format!(
                "more than {MOST_NODES} layers and inputs of layers"
            ))));
        }
        let (mut tested, mut untested) = (Vec::new(), Vec::new());
        for layer in &network.layers {
            let included = layer.is_tested().map_err(|error| LayerProblem::of(layer)(error.into()))?;
            if included { tested.push(layer) } else { untested.push(layer) }
        }
        let mut sources = sources(network, &tested).map_err(|error| whole(error.into()))?;
        if sources.is_empty() {
            sources = self::sources(&Network::default(), &untested).map_err(|error| whole(error.into()))?;
        }
        tested.retain(|layer| !is_data(layer));
        let mut notes = Vec::new();
        let kept = without_ends(tested, &mut notes);
        let (layers, input) = fed(&kept, &sources, &mut notes)?;
        check_names(&layers)?;
        Ok(Self { layers: named(layers), input, notes })
    }
}

/// A problem of the description as a whole.
fn whole(problem: Problem) -> LayerProblem {
    LayerProblem { layer: String::new(), kind: String::new(), problem }
}

/// Inputs of a network, and of one of its data layers, that are looked at.
const MOST_INPUTS: usize = 64;

/// Whether a layer is a source of data.
pub(super) fn is_data(layer: &Layer) -> bool {
    layer.bottoms.is_empty() && (layer.kind == "Input" || layer.kind.ends_with("Data"))
}

/// Whether a layer only compares, prints or stores what it reads.
fn ends(layer: &Layer) -> bool {
    let kinds = ["Accuracy", "Silence", "HDF5Output"];
    layer.kind.ends_with("Loss") || kinds.contains(&layer.kind.as_str())
}

fn sources(network: &Network, layers: &[&Layer]) -> Result<Vec<Source>, FieldError> {
    let fields = &network.fields;
    let dims = fields.counts("input_dim")?;
    let shapes: Vec<&Message> = fields.parts("input_shape").collect();
    let mut sources = Vec::new();
    for (index, blob) in fields.texts("input").enumerate().take(MOST_INPUTS) {
        let shape = match shapes.get(index) {
            Some(shape) => shape.counts("dim")?,
            None => dims.chunks(4).nth(index).map(<[usize]>::to_vec).unwrap_or_default(),
        };
        sources.push(Source { blob: blob.to_owned(), shape });
    }
    for layer in layers.iter().filter(|layer| is_data(layer)) {
        for (index, blob) in layer.tops.iter().enumerate().take(MOST_INPUTS) {
            sources.push(Source { blob: blob.clone(), shape: data_shape(layer, index)? });
        }
    }
    Ok(sources)
}

/// Sizes of a blob of a data layer, as far as it tells.
fn data_shape(layer: &Layer, index: usize) -> Result<Vec<usize>, FieldError> {
    let dummy = layer.attributes("dummy_data_param");
    for place in [layer.attributes("input_param"), dummy] {
        let shapes: Vec<&Message> = place.parts("shape").collect();
        if let Some(shape) = shapes.get(index).or_else(|| shapes.first()) {
            return shape.counts("dim");
        }
    }
    for place in [layer.attributes("memory_data_param"), dummy] {
        if let (Some(channels), Some(height), Some(width)) =
            (place.count("channels")?, place.count("height")?, place.count("width")?)
        {
            return Ok(vec![1, channels, height, width]);
        }
    }
    Ok(Vec::new())
}

/// The layers without losses and the like, and without the largest index that a network may end in.
fn without_ends<'a>(layers: Vec<&'a Layer>, notes: &mut Vec<String>) -> Vec<&'a Layer> {
    let (mut kept, mut left_out): (Vec<&Layer>, Vec<&Layer>) =
        layers.into_iter().partition(|layer| !ends(layer));
    while let Some(last) = kept.pop_if(|layer| layer.kind == "ArgMax") {
        left_out.push(last);
    }
    notes.extend(left_out.iter().map(|layer| {
        format!(
            "the layer '{}' ({}) is left out: it computes nothing that a prediction needs",
            layer.name, layer.kind
        )
    }));
    kept
}

/// The layers that depend on the input alone. Those that depend on another one alone, such as a label, are left out.
fn fed(
    layers: &[&Layer],
    sources: &[Source],
    notes: &mut Vec<String>,
) -> Result<(Vec<Layer>, Source), LayerProblem> {
    let read: HashSet<&str> = layers.iter().flat_map(|layer| &layer.bottoms).map(String::as_str).collect();
    let Some(input) = sources.iter().find(|source| read.contains(source.blob.as_str())) else {
        let found = "no layer reads an input; is this the description of a network?";
        return Err(whole(Problem::Description(found.to_owned())));
    };
    // Whether a blob depends on the input.
    let mut blobs: HashMap<&str, bool> = sources.iter().map(|source| (source.blob.as_str(), false)).collect();
    blobs.insert(&input.blob, true);
    let mut kept = Vec::new();
    for layer in layers {
        let depends = depends(layer, &blobs).map_err(LayerProblem::of(layer))?;
        for top in &layer.tops {
            if blobs.insert(top, depends).is_some() && !layer.bottoms.contains(top) {
                let message = format!("the blob '{top}' is written by another layer, too");
                return Err(LayerProblem::of(layer)(Problem::Description(message)));
            }
        }
        if depends {
            kept.push((*layer).clone());
        } else {
            notes.push(format!(
                "the layer '{}' ({}) is left out: it does not depend on the input",
                layer.name, layer.kind
            ));
        }
    }
    Ok((kept, input.clone()))
}

fn depends(layer: &Layer, blobs: &HashMap<&str, bool>) -> Result<bool, Problem> {
    let unknown = |blob: &String| {
        Problem::Description(format!("it reads the blob '{blob}', which no layer before it writes"))
    };
    let known =
        layer.bottoms.iter().map(|blob| blobs.get(blob.as_str()).copied().ok_or_else(|| unknown(blob)));
    let known: Vec<bool> = known.collect::<Result<_, _>>()?;
    match (known.contains(&true), known.contains(&false)) {
        (true, true) => Err(Problem::Unsupported("it reads a second input; a graph has one".to_owned())),
        (depends, false) if !depends => {
            Err(Problem::Unsupported("it reads nothing; a graph has one input".to_owned()))
        }
        (depends, _) => Ok(depends),
    }
}

/// Weights are found by their layer's name.
fn check_names(layers: &[Layer]) -> Result<(), LayerProblem> {
    let mut seen = HashSet::new();
    for layer in layers {
        if !seen.insert(layer.name.as_str()) && !layer.name.is_empty() {
            let message = "another layer has the same name; every layer needs one of its own";
            return Err(LayerProblem::of(layer)(Problem::Description(message.to_owned())));
        }
    }
    Ok(())
}

/// Layers without a name get that of what they write.
fn named(mut layers: Vec<Layer>) -> Vec<Layer> {
    for layer in &mut layers {
        if layer.name.is_empty() {
            layer.name = layer.tops.first().unwrap_or(&layer.kind).clone();
        }
    }
    layers
}
