//! What each kind of layer is in a graph.

mod arrange;
mod combine;
mod functions;
mod normalize;
mod window;

use regraft_graph::{Custom, Dim, Fact, GraphError, Op, ParameterKind, Tensor};

use super::blob::Blob;
use super::network::Layer;
use super::tree::{FieldError, Message};
use crate::draft::Draft;

pub(super) use normalize::is_factor_behind;

/// Why a layer does not become part of the graph.
#[derive(Debug)]
pub(super) enum Problem {
    /// The description contradicts itself or a layer's rules.
    Description(String),
    /// The weights are not those of the description.
    Weights(String),
    /// The layer is right, but no operator does what it does.
    Unsupported(String),
    /// Its shapes do not fit.
    Graph(Box<GraphError>),
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::Description(error.to_string())
    }
}

impl From<GraphError> for Problem {
    fn from(error: GraphError) -> Self {
        Self::Graph(Box::new(error))
    }
}

fn unsupported<T>(message: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Unsupported(message.into()))
}

fn contradiction<T>(message: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Description(message.into()))
}

/// A layer in its place: what it reads, and where its nodes go.
pub(super) struct Site<'a> {
    pub(super) draft: &'a mut Draft,
    pub(super) layer: &'a Layer,
    pub(super) blobs: &'a [Blob],
    /// Weights of a `Scale` that belongs to this `BatchNorm`.
    pub(super) factor: Option<&'a [Blob]>,
    /// The wires that it reads.
    pub(super) inputs: Vec<String>,
    /// Whether nothing reads what it writes.
    pub(super) last: bool,
}

/// Tensors of a node.
type Tensors = Vec<(ParameterKind, Tensor)>;

impl<'a> Site<'a> {
    /// Adds the layer's nodes and returns its wires, one for each blob that it writes.
    pub(super) fn convert(mut self) -> Result<Vec<String>, Problem> {
        match self.layer.kind.as_str() {
            "Split" => Ok(vec![self.input(0)?.to_owned(); self.layer.tops.len()]),
            "Slice" => arrange::slices(&mut self),
            _ => self.convert_one().map(|wire| vec![wire]),
        }
    }

    fn convert_one(&mut self) -> Result<String, Problem> {
        match self.layer.kind.as_str() {
            "Convolution" | "DepthwiseConvolution" | "ConvolutionDepthwise" => window::convolution(self),
            "Deconvolution" => window::deconvolution(self),
            "Pooling" => window::pooling(self),
            "InnerProduct" => combine::inner_product(self),
            "Eltwise" => combine::eltwise(self),
            "Axpy" => combine::axpy(self),
            "Concat" => combine::concat(self),
            "Tile" => combine::tile(self),
            "Reduction" => combine::reduction(self),
            "LRN" => normalize::lrn(self),
            "BatchNorm" => normalize::batch_norm(self),
            "Scale" => normalize::scale(self),
            "Bias" => normalize::bias(self),
            "Softmax" => normalize::softmax(self),
            "Crop" => arrange::crop(self),
            "Flatten" => arrange::flatten(self),
            "Reshape" => arrange::reshape(self),
            "Permute" => arrange::permute(self),
            "Threshold" | "MVN" | "Normalize" => self.custom(),
            _ => functions::function(self),
        }
    }

    /// A layer without an operator, whose output has its input's shape.
    fn custom(&mut self) -> Result<String, Problem> {
        if !self.blobs.is_empty() {
            return unsupported("a layer of this kind can be kept only without weights");
        }
        let fact = Fact::new(self.shape(0)?);
        let (operator, attributes) = (self.layer.kind.clone(), self.layer.fields.to_string());
        self.unary(Op::Custom(Custom { domain: "caffe".to_owned(), operator, attributes, output: fact }))
    }

    /// A wire that the layer reads.
    fn input(&self, index: usize) -> Result<&str, Problem> {
        let wire = self.inputs.get(index).map(String::as_str);
        wire.ok_or_else(|| Problem::Description(format!("it reads {} blobs only", self.inputs.len())))
    }

    /// Shape of a wire that the layer reads.
    fn shape(&self, index: usize) -> Result<Vec<Dim>, Problem> {
        Ok(self.draft.fact(self.input(index)?)?.shape.clone())
    }

    /// Shape of an input of at least two axes, the second of them of a known size, with that size.
    fn channels(&self) -> Result<(Vec<Dim>, usize), Problem> {
        let shape = self.shape(0)?;
        match shape.get(1) {
            Some(Dim::Fixed(channels)) => Ok((shape.clone(), *channels)),
            _ => unsupported("its input has no channels"),
        }
    }

    /// Adds the node that has the layer's name.
    fn add(&mut self, op: Op, inputs: &[&str], tensors: Tensors) -> Result<String, Problem> {
        Ok(self.draft.add(&self.layer.name, op, inputs, tensors)?)
    }

    /// Adds the layer's only node.
    fn unary(&mut self, op: Op) -> Result<String, Problem> {
        let input = self.input(0)?.to_owned();
        self.add(op, &[&input], Vec::new())
    }

    /// Adds a node that prepares something for the one with the layer's name.
    fn prepare(&mut self, part: &str, op: Op, inputs: &[&str], tensors: Tensors) -> Result<String, Problem> {
        Ok(self.draft.add(&format!("{}.{part}", self.layer.name), op, inputs, tensors)?)
    }

    /// The layer's attributes.
    fn attributes(&self, name: &'static str) -> &'a Message {
        self.layer.attributes(name)
    }

    fn blob(&self, index: usize) -> Result<&Blob, Problem> {
        let found = self.blobs.len();
        self.blobs.get(index).ok_or_else(|| {
            Problem::Weights(format!(
                "the file holds {found} arrays of weights for it, at least {} are needed",
                index + 1
            ))
        })
    }

    fn tensor(&self, index: usize, shape: Vec<usize>) -> Result<Tensor, Problem> {
        self.blob(index)?.tensor(shape).map_err(Problem::Weights)
    }

    /// A weight, and a bias where there is one.
    fn weight_and_bias(&self, shape: Vec<usize>, outputs: usize, bias: bool) -> Result<Tensors, Problem> {
        let mut tensors = vec![(ParameterKind::Weight, self.tensor(0, shape)?)];
        if bias {
            tensors.push((ParameterKind::Bias, self.tensor(1, vec![outputs])?));
        }
        Ok(tensors)
    }
}

/// The axis that a number means: negative ones count from behind.
fn canonical(axis: i64, rank: usize) -> Result<usize, Problem> {
    let rank = i64::try_from(rank).unwrap_or(i64::MAX);
    let found = if axis < 0 { axis + rank } else { axis };
    let inside = usize::try_from(found).ok().filter(|_| found < rank);
    inside.ok_or_else(|| Problem::Description(format!("there is no axis {axis} of {rank}")))
}

fn fixed(dim: Dim) -> Option<usize> {
    if let Dim::Fixed(size) = dim { Some(size) } else { None }
}

/// The size of an axis.
fn size(shape: &[Dim], axis: usize) -> Result<usize, Problem> {
    let size = shape.get(axis).copied().and_then(fixed);
    size.map_or_else(|| unsupported(format!("axis {axis} of its input has no known size")), Ok)
}
