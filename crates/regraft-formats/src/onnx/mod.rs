//! ONNX, read and written.
//!
//! **Shapes are those of one example.** The graph has the batch as the first axis of every wire, and no operator of it
//! mixes examples; a file may have the batch anywhere, join it with other axes (attention over N·heads) and compute shapes
//! from it. So the file is evaluated for one example. Every value then has a shape of plain numbers, in which the batch is
//! an axis of size 1 or a factor of 1, and every such value holds the same numbers as a wire of the graph whose shape is N
//! and then that shape, with one axis of size 1 left out or none: `value::Wire` says which. Which one it is matters to
//! nobody, because leaving out an axis of size 1 does not move a number; where an operator needs its input in a certain
//! form, a `Reshape` is put in between.
//!
//! **Sizes of the image** stay symbolic if the file allows it: it is first read with symbolic height and width, and only if
//! something needs the numbers (a `Reshape` of a map, a position embedding), again with those that the file declares.
//!
//! **What is known is computed** while reading: shape arithmetic, and what exporters compute from initialisers (`fold`).
//!
//! **Patterns** that are one operator of the graph become it: GELU and layer normalisation written out, attention, tokens,
//! a dense layer's bias (`patterns`, `attention`, `view`).
//!
//! Nodes have the file's names; a layer whose weight is an initialiser `conv1.weight` is called `conv1`, as its origin
//! calls it, and keeps the initialiser's bytes where they lie.

mod activation;
mod arithmetic;
mod arrange;
mod array;
mod attention;
mod batch;
mod call;
mod constant;
mod custom;
mod element;
mod elementwise;
mod fold;
mod layers;
mod lower;
mod metadata;
mod net;
mod parameters;
mod patterns;
mod quantized;
mod reader;
mod recurrent;
mod resize;
mod schema;
mod shape;
mod value;
mod view;
mod whole;
mod window;
mod wire_format;
mod write;

use std::path::Path;

use prost::Message as _;
use regraft_graph::{Card, Dim, Fact, Model, Roles, Symbol};
use regraft_system::{files, hash};

use crate::{FormatError, Imported};
use batch::Batch;
use element::Element;
use metadata::Metadata;
pub(crate) use reader::FORMAT;
use reader::{Input, Reader};
use value::Kind;

pub use write::{ExportOptions, WRITTEN_OPSETS, pixels_name, write};

pub use wire_format::is_onnx;

/// Oldest and newest versions of the standard operators whose rules are known.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=21;

/// Height and width of images where the file states none.
const USUAL_IMAGE: usize = 224;

/// Channels that an image may have.
const MOST_CHANNELS: usize = 1024;

/// Largest size of an axis of the input.
const LARGEST_SIZE: usize = 1 << 16;

/// Reads a network. Weights stay in the file, which is mapped, or in the files beside it that it names.
///
/// # Errors
/// The file cannot be mapped or breaks the format's rules, or one of its operators cannot be read; the message names it.
pub fn read(path: &Path) -> Result<Imported, FormatError> {
    let content = files::map(path)?;
    let malformed = |message: String| FormatError::malformed(path, FORMAT, message);
    wire_format::check(&content).map_err(malformed)?;
    let size = content.len();
    let sha256 = hash::sha256_hex(&content);
    let file = schema::Model::decode(content).map_err(|error| malformed(error.to_string()))?;
    let graph = file.graph.as_ref().ok_or_else(|| malformed("it has no graph".to_owned()))?;
    let opset = opset(path, &file)?;
    let declared = declared_input(path, graph)?;
    let image = declared.image();
    let image = image.unwrap_or([USUAL_IMAGE; 2]);
    let Metadata { card, notes } = metadata::read(path, &file.metadata_props, declared.channels(), image);
    let card = Card { sha256: card.sha256.clone().or(Some(sha256)), ..card };
    let mut failure = None;
    for input in declared.attempts(card.preprocessing.crop) {
        let mut reader = Reader::new(path, size, opset, &input);
        let read =
            reader.read(path, &file, graph, &input).and_then(|outputs| finish(path, reader, &outputs, &card));
        match read {
            Ok((model, found)) => {
                return Ok(Imported { model, notes: notes.into_iter().chain(found).collect() });
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| malformed("its input has no shape".to_owned())))
}

fn finish(
    path: &Path,
    reader: Reader<'_>,
    outputs: &[String],
    card: &Card,
) -> Result<(Model, Vec<String>), FormatError> {
    let malformed = |message: String| FormatError::malformed(path, FORMAT, message);
    let (graph, weights) = reader.net.finish(outputs).map_err(malformed)?;
    let known = card.roles.wires().all(|wire| graph.has_wire(wire));
    let roles = if known { card.roles.clone() } else { Roles::infer(&graph) };
    let labels = card.labels.clone();
    let model = Model::new(graph, weights, Card { roles, labels, ..card.clone() })
        .map_err(|source| FormatError::Model { path: path.to_path_buf(), source })?;
    if let Some((tensor, index)) = model.weights().first_non_finite() {
        return Err(FormatError::NonFinite { path: path.to_path_buf(), tensor: tensor.to_owned(), index });
    }
    Ok((model, reader.notes))
}

fn opset(path: &Path, file: &schema::Model) -> Result<i64, FormatError> {
    let standard = file.opset_import.iter().find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"));
    let version = standard.map_or(1, |set| set.version);
    if OPSETS.contains(&version) {
        return Ok(version);
    }
    let message = format!("its operators are of version {version}");
    let advice = if version < *OPSETS.start() {
        "export it anew with opset 17, or raise it with onnx.version_converter"
    } else {
        "export it with a lower opset_version"
    };
    Err(FormatError::Malformed { path: path.to_path_buf(), format: FORMAT, message, advice })
}

/// The input as the file declares it.
struct Declared {
    name: String,
    /// `None` for a size that the file leaves open.
    sizes: Vec<Option<usize>>,
    batch: usize,
    /// Whether an operator reads it that has the channels first.
    channels_first: bool,
    kind: Kind,
}

impl Declared {
    fn channels_last(&self) -> bool {
        let at = |axis: usize| self.sizes.get(axis).copied().flatten();
        let few = |size: Option<usize>| size.is_some_and(|size| size <= 4);
        self.sizes.len() == 4 && few(at(3)) && !few(at(1)) && !self.channels_first
    }

    /// Channels of an image.
    fn channels(&self) -> Option<usize> {
        let axis = if self.channels_last() { 3 } else { 1 };
        let stated = self.sizes.get(axis).copied().flatten().filter(|channels| *channels <= MOST_CHANNELS);
        stated.filter(|_| self.sizes.len() == 4)
    }

    /// Height and width, where they are stated.
    fn image(&self) -> Option<[usize; 2]> {
        let axes = if self.channels_last() { [1, 2] } else { [2, 3] };
        let [height, width] = axes.map(|axis| self.sizes.get(axis).copied().flatten());
        (self.sizes.len() == 4).then_some([height?, width?])
    }

    /// The inputs to try one after the other: an image of any size, then one of this size.
    fn attempts(&self, image: [usize; 2]) -> Vec<Input> {
        let input = |dims: Vec<Dim>| Input {
            name: self.name.clone(),
            fact: Fact::new([vec![Dim::symbol(Symbol::Batch)], dims].concat()),
            batch: self.batch,
            channels_last: self.channels_last(),
            image: self.image(),
            kind: self.kind,
        };
        if self.sizes.len() == 4 {
            let axis = if self.channels_last() { 3 } else { 1 };
            let Some(channels) = self.sizes.get(axis).copied().flatten() else { return Vec::new() };
            let [height, width] = self.image().unwrap_or(image);
            let symbolic = [Symbol::Height, Symbol::Width].map(Dim::symbol);
            return [symbolic, [Dim::Fixed(height), Dim::Fixed(width)]]
                .map(|[height, width]| input(vec![Dim::Fixed(channels), height, width]))
                .into();
        }
        let sizes = self.sizes.iter().enumerate().filter(|(axis, _)| *axis != self.batch);
        // A sequence is an image of one row; only its length may be open.
        let dims = sizes.map(|(_, size)| size.map_or_else(|| Dim::symbol(Symbol::Width), Dim::Fixed));
        vec![input(dims.collect())]
    }
}

fn declared_input(path: &Path, graph: &schema::Graph) -> Result<Declared, FormatError> {
    let malformed = |message: String| FormatError::malformed(path, FORMAT, message);
    let stored: std::collections::HashSet<&str> =
        graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<&schema::ValueInfo> =
        graph.input.iter().filter(|input| !stored.contains(input.name.as_str())).collect();
    let [input] = inputs.as_slice() else {
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        return Err(FormatError::Unsupported {
            path: path.to_path_buf(),
            format: FORMAT,
            node: graph.name.clone(),
            operator: "graph".to_owned(),
            message: format!("a network has one input, this has {} ({})", names.len(), names.join(", ")),
        });
    };
    let tensor = input.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
    let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
    let shape = shape.ok_or_else(|| malformed(format!("the input '{}' has no shape", input.name)))?;
    let batch = batch_axis(&shape.dim);
    let sizes = shape.dim.iter().enumerate().map(|(axis, dim)| match dim.value {
        Some(size) if axis != batch && size > 0 => {
            let size = usize::try_from(size).ok().filter(|size| *size <= LARGEST_SIZE);
            size.map(Some).ok_or_else(|| malformed(format!("the input '{}' has an absurd shape", input.name)))
        }
        _ => Ok(None),
    });
    let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
    if !(2..=5).contains(&sizes.len()) {
        return Err(malformed(format!("the input '{}' has {} axes", input.name, sizes.len())));
    }
    let float = tensor.is_none_or(|tensor| element::is_float(tensor.element));
    let kind = Kind {
        batch: examples(&shape.dim, batch),
        element: if float { Element::Float } else { Element::Whole },
    };
    let open = sizes.iter().enumerate().filter(|(axis, size)| *axis != batch && size.is_none()).count();
    if sizes.len() != 4 && open > 1 {
        let message =
            format!("the input '{}' has {open} open sizes beside the batch; fix all but one", input.name);
        return Err(malformed(message));
    }
    let mut readers = graph.node.iter().filter(|node| node.input.contains(&input.name));
    let channels_first = readers.any(|node| has_channels_first(&node.op_type));
    Ok(Declared { name: input.name.clone(), sizes, batch, channels_first, kind })
}

fn has_channels_first(operator: &str) -> bool {
    matches!(operator, "Conv" | "MaxPool" | "AveragePool" | "BatchNormalization" | "Resize")
}

/// The examples on that axis, unless there is exactly one.
fn examples(dims: &[schema::Dimension], axis: usize) -> Option<Batch> {
    let size = dims.get(axis).and_then(|dim| dim.value).and_then(|size| usize::try_from(size).ok());
    let examples = size.filter(|size| (2..=LARGEST_SIZE).contains(size));
    (size != Some(1)).then_some(Batch { axis, outer: 1, examples })
}

/// The axis that is called the batch; the first of an image; else the first that is open or 1, or the first.
fn batch_axis(dims: &[schema::Dimension]) -> usize {
    let called = |dim: &schema::Dimension| {
        dim.name.as_deref().is_some_and(|name| name.to_lowercase().contains("batch"))
    };
    let open = |dim: &schema::Dimension| dim.value.is_none_or(|size| size <= 1);
    let first = || if dims.len() == 4 { Some(0) } else { dims.iter().position(open) };
    let place = dims.iter().position(called).or_else(first);
    place.filter(|axis| *axis + 1 < dims.len()).unwrap_or(0)
}
