//! Images of another size than a network was trained on.
//!
//! A fully convolutional network takes any size, and a mean over the whole map ends it. Two kinds of networks do not:
//! those whose dense layers stand behind a map of one size, for which the map is averaged to that size again, and those
//! with a learned vector for each place, whose vectors are resampled.

use super::channels::free_name;
use super::{Edit, Patch};
use crate::{
    Conv, Dim, Fact, Graph, GraphError, Model, Node, Op, ParameterKind, Pool, PositionEmbedding,
    Preprocessing, Resampling, Resize, ResizeFilter, Tensor, Weights,
};

impl Patch {
    /// Makes the network take images of another height and width in pixels, and its card prepare them, resized in the
    /// proportion of the crops.
    ///
    /// In front of a dense layer that needs a map of one size, the map is averaged to that size
    /// ([`Op::AdaptiveAveragePool`]). Learned vectors of places are resampled (bicubic, antialiased) as `timm` does;
    /// those of tokens that are not places stay. Where the size is what it was, so is every bit.
    ///
    /// # Errors
    /// The image is too small for the network; the message names the node.
    pub fn resize_input(model: &Model, size: [usize; 2]) -> Result<Self, GraphError> {
        let [height, width] = size;
        let old = model.graph();
        let fact = resized(old.input_fact(), size);
        let preprocessing = scaled(&model.card().preprocessing, size);
        let mut graph = Graph::new(old.input(), fact.clone());
        let mut edits = vec![Edit::Input { fact, preprocessing }];
        for node in old.nodes() {
            let node = match adapted(model, &graph, node)? {
                None => node.clone(),
                Some(Edit::Insert { node: grid, weights, readers }) => {
                    let inputs = vec![grid.name.clone()];
                    graph.push(grid.clone())?;
                    edits.push(Edit::Insert { node: grid, weights, readers });
                    Node { inputs, ..node.clone() }
                }
                Some(Edit::Replace { node, weights }) => {
                    edits.push(Edit::Replace { node: node.clone(), weights });
                    node
                }
                Some(_) => node.clone(),
            };
            graph.push(node)?;
        }
        graph.cost(&crate::Bindings { batch: 1, height, width })?;
        Ok(Self::new(format!("take images of {height}×{width} pixels"), edits))
    }

    /// Takes the steps out of the layers in front of a network's first block, for small images: the first convolution
    /// moves by single pixels, and a maximum before anything branches goes. Returns how many times finer the maps are,
    /// beside the patch.
    ///
    /// # Errors
    /// There is no such layer that steps, or the first layer cuts the image into patches.
    pub fn small_stem(model: &Model) -> Result<(Self, usize), GraphError> {
        let stem = stem(model.graph());
        let (mut edits, mut finer) = (Vec::new(), 1);
        if let Some((node, conv)) = stem.iter().find_map(convolution).filter(|(_, conv)| overlaps(conv)) {
            finer *= conv.stride.into_iter().max().unwrap_or(1);
            let node = Node { op: Op::Conv(Conv { stride: [1; 2], ..conv.clone() }), ..node.clone() };
            edits.push(Edit::Replace { node, weights: Weights::new() });
        }
        if let Some((node, pool)) = stem.iter().find_map(maximum) {
            finer *= pool.stride.into_iter().max().unwrap_or(1);
            edits.push(Edit::Bypass { node: node.name.clone() });
        }
        if finer == 1 {
            let message = "no convolution or maximum in front of the first branch steps over pixels; use another source";
            let (node, op) = (model.graph().input().to_owned(), "Input");
            return Err(GraphError::Attribute { node, op, message: message.to_owned() });
        }
        Ok((Self::new("take the steps out of the first layers, for small images", edits), finer))
    }
}

fn convolution<'g>(node: &&'g Node) -> Option<(&'g Node, &'g Conv)> {
    if let Op::Conv(conv) = &node.op { Some((node, conv)) } else { None }
}

fn maximum<'g>(node: &&'g Node) -> Option<(&'g Node, &'g Pool)> {
    if let Op::MaxPool(pool) = &node.op { Some((node, pool)) } else { None }
}

/// The nodes from the input up to the first wire that several read.
fn stem(graph: &Graph) -> Vec<&Node> {
    let mut nodes = Vec::new();
    let mut wire = graph.input();
    loop {
        let mut readers = graph.consumers(wire);
        match (readers.next(), readers.next()) {
            (Some(node), None) if node.inputs.len() == 1 => nodes.push(node),
            _ => return nodes,
        }
        wire = nodes.last().map_or(wire, |node| node.name.as_str());
    }
}

/// Whether a convolution steps, and its windows share pixels: otherwise they are patches, which are what the network
/// reads.
fn overlaps(conv: &Conv) -> bool {
    conv.stride.iter().any(|stride| *stride > 1)
        && conv.kernel.iter().zip(conv.stride).all(|(kernel, stride)| *kernel > stride)
}

fn resized(fact: &Fact, [height, width]: [usize; 2]) -> Fact {
    let fixed = |dim: &Dim, size: usize| if matches!(dim, Dim::Fixed(_)) { Dim::Fixed(size) } else { *dim };
    match fact.shape.as_slice() {
        [batch, channels, rows, columns] => {
            Fact::new([*batch, *channels, fixed(rows, height), fixed(columns, width)])
        }
        _ => fact.clone(),
    }
}

/// The crop becomes `size`; what is resized before the crop grows or shrinks with it.
fn scaled(preprocessing: &Preprocessing, size: [usize; 2]) -> Preprocessing {
    let [height, width] = preprocessing.crop;
    let [new_height, new_width] = size;
    // Rounded half up, in whole numbers.
    let scale = |side: usize, from: usize, to: usize| (2 * side * to + from) / (2 * from.max(1));
    let resize = match preprocessing.resize {
        Resize::ShortSide(side) => {
            Resize::ShortSide(scale(side, height.min(width), new_height.min(new_width)))
        }
        Resize::Exact([rows, columns]) => {
            Resize::Exact([scale(rows, height, new_height), scale(columns, width, new_width)])
        }
    };
    Preprocessing { crop: size, resize, ..preprocessing.clone() }
}

/// What must change at a node, whose inputs have other sizes in `graph` than in the model.
fn adapted(model: &Model, graph: &Graph, node: &Node) -> Result<Option<Edit>, GraphError> {
    let Some(wire) = node.inputs.first() else { return Ok(None) };
    match &node.op {
        op if flattens(op) || is_laid_out(model.graph(), node) => {
            Ok(grid(model.graph().fact(wire)?, graph.fact(wire)?, graph, node, wire))
        }
        Op::PositionEmbedding(embedding) => places(model, graph, node, embedding),
        _ => Ok(None),
    }
}

fn flattens(op: &Op) -> bool {
    matches!(op, Op::Flatten) || matches!(op, Op::Reshape(reshape) if reshape.shape.len() == 1)
}

/// Whether a node orders the axes of a map for nothing but a flattening, as it is with channels last.
fn is_laid_out(graph: &Graph, node: &Node) -> bool {
    let mut readers = graph.consumers(&node.name).peekable();
    matches!(node.op, Op::Transpose(_))
        && readers.peek().is_some()
        && readers.all(|reader| flattens(&reader.op))
}

/// A mean that brings the map before a flattening back to its size.
fn grid(old: &Fact, new: &Fact, graph: &Graph, node: &Node, wire: &str) -> Option<Edit> {
    let [_, _, Dim::Fixed(height), Dim::Fixed(width)] = old.shape.as_slice() else { return None };
    if old == new {
        return None;
    }
    let op = Op::AdaptiveAveragePool { size: [*height, *width] };
    let grid = Node::new(free_name(graph, &format!("{}.grid", node.name)), op, [wire]);
    Some(Edit::Insert { node: grid, weights: Weights::new(), readers: vec![node.name.clone()] })
}

/// Vectors for the places of another grid.
fn places(
    model: &Model,
    graph: &Graph,
    node: &Node,
    embedding: &PositionEmbedding,
) -> Result<Option<Edit>, GraphError> {
    let grids = (grid_before(model.graph(), node), grid_before(graph, node));
    let (Some(old), Some(new)) = grids else { return Ok(None) };
    let [old_places, new_places] = [old, new].map(|grid| grid.iter().product::<usize>());
    let Some(prefix) = embedding.tokens.checked_sub(old_places).filter(|_| old != new) else {
        return Ok(None);
    };
    let vectors = model.parameter(node, ParameterKind::Position)?.to_f32();
    let (kept, places) = vectors.split_at(vectors.len().min(prefix * embedding.features));
    let resampled = resampled(places, embedding.features, old, new);
    let embedding = PositionEmbedding { tokens: prefix + new_places, ..embedding.clone() };
    let node = Node { op: Op::PositionEmbedding(embedding), ..node.clone() };
    let mut weights = Weights::new();
    for parameter in node.parameters() {
        let values = [kept, &resampled].concat();
        weights.insert(parameter.name, Tensor::from_f32(parameter.shape, &values)?);
    }
    Ok(Some(Edit::Replace { node, weights }))
}

/// Rows and columns of the map whose pixels are the tokens that a node reads.
fn grid_before(graph: &Graph, node: &Node) -> Option<[usize; 2]> {
    let mut wire = node.inputs.first()?;
    loop {
        let node = graph.node(wire)?;
        wire = node.inputs.first()?;
        if node.op == Op::Tokens {
            break;
        }
    }
    match graph.fact(wire).ok()?.shape.as_slice() {
        [_, _, Dim::Fixed(height), Dim::Fixed(width)] => Some([*height, *width]),
        _ => None,
    }
}

/// Vectors on a grid, row by row, on another grid.
fn resampled(vectors: &[f32], features: usize, old: [usize; 2], new: [usize; 2]) -> Vec<f32> {
    let [[old_rows, old_columns], [rows, columns]] = [old, new];
    let vectors: Vec<f64> = vectors.iter().map(|value| f64::from(*value)).collect();
    let lines = vectors.chunks(old_columns * features);
    let across: Vec<f64> =
        lines.flat_map(|line| resampled_axis(line, features, old_columns, columns)).collect();
    let down = resampled_axis(&across, columns * features, old_rows, rows);
    down.into_iter().map(|value| value as f32).collect()
}

/// Vectors of `length` at `from` positions, at `to` positions.
fn resampled_axis(vectors: &[f64], length: usize, from: usize, to: usize) -> Vec<f64> {
    let axis = Resampling::new(from, to, ResizeFilter::Bicubic);
    let mut output = vec![0.0; to * length];
    for (position, sums) in output.chunks_mut(length).enumerate() {
        let inputs = vectors.chunks(length).skip(axis.span(position).start);
        for (input, weight) in inputs.zip(axis.weights(position)) {
            sums.iter_mut().zip(input).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    output
}
