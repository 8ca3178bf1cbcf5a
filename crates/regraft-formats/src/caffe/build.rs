//! A graph from layers.
//!
//! A layer's node has the layer's name, in place of the blob's that it writes: many layers write the blob that they read,
//! so that a blob has several values one after the other, and each must be a wire of its own.

use std::collections::{BTreeMap, HashMap, HashSet};

use regraft_graph::Fact;

use super::blob::Blob;
use super::layers::{Problem, Site, is_factor_behind};
use super::network::Layer;
use super::selection::{LayerProblem, Selection};
use crate::draft::Draft;

/// A graph under construction whose layers are all there.
pub(super) struct Built {
    pub(super) draft: Draft,
    /// Wires that no layer reads, the last one first: a network that is trained at several places ends in the last.
    pub(super) outputs: Vec<String>,
    /// Names of blobs, and of layers that became part of another's node, with their wires.
    pub(super) aliases: BTreeMap<String, String>,
}

/// The arrays of weights of each layer, by its name.
pub(super) type Weights = HashMap<String, Vec<Blob>>;

/// # Errors
/// A layer is not known, its shapes do not fit, or its weights are missing.
pub(super) fn build(selection: &Selection, weights: &Weights, fact: Fact) -> Result<Built, LayerProblem> {
    let Selection { layers, input, .. } = selection;
    let readers = Readers::of(layers);
    let draft = Draft::new(&input.blob, fact);
    let blobs = HashMap::from([(input.blob.clone(), input.blob.clone())]);
    let mut builder = Builder { draft, blobs, aliases: BTreeMap::new(), joined: HashSet::new() };
    let mut outputs = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let wires = builder.add(index, layers, weights, &readers).map_err(LayerProblem::of(layer))?;
        for (place, wire) in wires.into_iter().enumerate() {
            if readers.of_blob(index, place).is_empty() {
                outputs.push(wire);
            }
        }
    }
    outputs.reverse();
    let mut seen = HashSet::new();
    outputs.retain(|wire| seen.insert(wire.clone()));
    let Builder { draft, blobs, mut aliases, .. } = builder;
    aliases.extend(blobs);
    aliases.retain(|name, wire| name != wire);
    Ok(Built { draft, outputs, aliases })
}

struct Builder {
    draft: Draft,
    /// The wire that a blob's name means at the moment.
    blobs: HashMap<String, String>,
    aliases: BTreeMap<String, String>,
    /// Positions of the layers that are part of another's node.
    joined: HashSet<usize>,
}

impl Builder {
    /// Adds a layer and returns the wires of the blobs that it writes.
    fn add(
        &mut self,
        index: usize,
        layers: &[Layer],
        weights: &Weights,
        readers: &Readers,
    ) -> Result<Vec<String>, Problem> {
        let Some(layer) = layers.get(index) else { return Ok(Vec::new()) };
        let wire = |blob: &String| {
            let known = self.blobs.get(blob).cloned();
            known.ok_or_else(|| Problem::Unsupported(format!("it reads '{blob}', which is not computed")))
        };
        let inputs: Vec<String> = layer.bottoms.iter().map(wire).collect::<Result<_, _>>()?;
        let wires = if self.joined.contains(&index) {
            inputs
        } else {
            let factor = self.factor_behind(index, layers, weights, readers);
            let blobs = arrays(weights, layer);
            let last = (0..layer.tops.len()).all(|top| readers.of_blob(index, top).is_empty());
            Site { draft: &mut self.draft, layer, blobs, factor, inputs, last }.convert()?
        };
        self.blobs.extend(layer.tops.iter().cloned().zip(wires.iter().cloned()));
        if let Some(wire) = wires.first() {
            self.aliases.insert(layer.name.clone(), wire.clone());
        }
        Ok(wires)
    }

    /// The arrays of the `Scale` that alone reads what a `BatchNorm` writes: both are one node.
    fn factor_behind<'a>(
        &mut self,
        index: usize,
        layers: &[Layer],
        weights: &'a Weights,
        readers: &Readers,
    ) -> Option<&'a [Blob]> {
        layers.get(index).filter(|layer| layer.kind == "BatchNorm")?;
        let &[reader] = readers.of_blob(index, 0) else { return None };
        let scale = layers.get(reader)?;
        let blobs = arrays(weights, scale);
        let joins = is_factor_behind(scale, blobs);
        if joins {
            self.joined.insert(reader);
        }
        joins.then_some(blobs)
    }
}

fn arrays<'a>(weights: &'a Weights, layer: &Layer) -> &'a [Blob] {
    weights.get(&layer.name).map(Vec::as_slice).unwrap_or_default()
}

/// Which layers read what each layer writes.
struct Readers(HashMap<(usize, usize), Vec<usize>>);

impl Readers {
    fn of(layers: &[Layer]) -> Self {
        let mut writers: HashMap<&str, (usize, usize)> = HashMap::new();
        let mut readers: HashMap<(usize, usize), Vec<usize>> = HashMap::new();
        for (index, layer) in layers.iter().enumerate() {
            for writer in layer.bottoms.iter().filter_map(|blob| writers.get(blob.as_str())) {
                readers.entry(*writer).or_default().push(index);
            }
            writers.extend(layer.tops.iter().enumerate().map(|(place, top)| (top.as_str(), (index, place))));
        }
        Self(readers)
    }

    /// The layers that read a blob of a layer.
    fn of_blob(&self, layer: usize, place: usize) -> &[usize] {
        self.0.get(&(layer, place)).map(Vec::as_slice).unwrap_or_default()
    }
}
