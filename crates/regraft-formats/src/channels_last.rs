//! Networks whose images are N×H×W×C, as TensorFlow and Keras have them, turned into ours, N×C×H×W.
//!
//! Every value knows in which order its axes lie on the wire, and is brought into another one only where an operator
//! needs that: a convolutional network gets no transposition at all, and a dense layer behind `Flatten` reads its inputs
//! in the other order instead (its weights' columns are exchanged). Where the order matters and cannot be undone in
//! weights, a `Transpose` is inserted.

use std::collections::HashMap;
use std::path::Path;

use regraft_graph::{Dim, Op, ParameterKind, Reshape, Tensor, Transpose};

use crate::FormatError;
use crate::draft::Draft;

/// Nodes of a network; calls of models by models can multiply beyond what a file holds.
const MOST_NODES: usize = 20_000;

/// No axis of an image or a text is longer.
const LONGEST_AXIS: usize = 1 << 20;

/// What a node reads.
pub(crate) type Tensors = Vec<(ParameterKind, Tensor)>;

/// A wire, and in which order its axes lie.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    pub(crate) wire: String,
    pub(crate) order: Order,
}

/// How a wire's axes lie, compared with what the file says about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As the file says.
    Declared,
    /// The file says N×H×W×C, the wire is N×C×H×W.
    ChannelsFirst,
    /// The file says N×(H·W·C), the wire is N×(C·H·W) of these sizes.
    Flattened([usize; 3]),
}

/// A network under construction, and the layer of the file that is at work.
pub(crate) struct Canvas<'a> {
    pub(crate) draft: Draft,
    path: &'a Path,
    format: &'static str,
    layer: String,
    operator: String,
    /// Where the layer stands in the file; a layer that is used several times stands in one place.
    place: String,
    /// The first nodes with the weights of a place, by place and name, and these weights: a layer that reads inputs of
    /// another order the next time has other ones.
    owners: HashMap<(String, String), (String, Tensors)>,
    /// How many nodes wanted a name.
    names: HashMap<String, usize>,
    nodes: usize,
}

impl Value {
    pub(crate) fn declared(wire: impl Into<String>) -> Self {
        Self { wire: wire.into(), order: Order::Declared }
    }

    pub(crate) fn image(wire: impl Into<String>) -> Self {
        Self { wire: wire.into(), order: Order::ChannelsFirst }
    }

    /// The same order on another wire: for what is computed value by value.
    pub(crate) fn with(&self, wire: String) -> Self {
        Self { wire, order: self.order }
    }
}

impl<'a> Canvas<'a> {
    pub(crate) fn new(draft: Draft, path: &'a Path, format: &'static str) -> Self {
        let (layer, operator) = (String::new(), String::new());
        let (place, owners, names) = (String::new(), HashMap::new(), HashMap::new());
        Self { draft, path, format, layer, operator, place, owners, names, nodes: 0 }
    }

    /// Which layer of the file is at work from now on, its kind, and where it stands.
    ///
    /// # Errors
    /// There were too many layers.
    pub(crate) fn begin(&mut self, layer: &str, operator: &str, place: String) -> Result<(), FormatError> {
        (self.layer, self.operator, self.place) = (layer.to_owned(), operator.to_owned(), place);
        self.count()
    }

    fn count(&mut self) -> Result<(), FormatError> {
        self.nodes += 1;
        if self.nodes > 2 * MOST_NODES {
            return Err(self.malformed(format!("the network has more than {MOST_NODES} nodes")));
        }
        Ok(())
    }

    /// That the layer at work cannot be read, and what to do.
    pub(crate) fn unsupported(&self, message: impl Into<String>) -> FormatError {
        FormatError::Unsupported {
            path: self.path.to_path_buf(),
            format: self.format,
            node: self.layer.clone(),
            operator: self.operator.clone(),
            message: message.into(),
        }
    }

    /// That the file contradicts itself about the layer at work.
    pub(crate) fn malformed(&self, message: impl std::fmt::Display) -> FormatError {
        let message = format!("layer '{}' ({}): {message}", self.layer, self.operator);
        FormatError::malformed(self.path, self.format, message)
    }

    /// Adds a node and returns its wire.
    pub(crate) fn add(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[&str],
        tensors: impl IntoIterator<Item = (ParameterKind, Tensor)>,
    ) -> Result<String, FormatError> {
        self.count()?;
        // A layer that is used often would otherwise be given the first free name each time.
        let uses = self.names.entry(name.to_owned()).or_default();
        *uses += 1;
        let free = if *uses > 1 { format!("{name}_{uses}") } else { name.to_owned() };
        let here = (self.place.clone(), name.to_owned());
        let tensors: Tensors = tensors.into_iter().collect();
        let owner = self.owners.get(&here).filter(|(_, owned)| *owned == tensors && !tensors.is_empty());
        let owner = owner.map(|(name, _)| name.clone());
        let added = self.draft.add_tied(&free, op, inputs, tensors.iter().cloned(), owner);
        let added = added.map_err(|error| self.malformed(error))?;
        self.owners.entry(here).or_insert_with(|| (added.clone(), tensors));
        Ok(added)
    }

    /// Adds a node that computes each number from one number.
    pub(crate) fn pointwise(&mut self, name: &str, op: Op, input: &Value) -> Result<Value, FormatError> {
        Ok(input.with(self.add(name, op, &[&input.wire], [])?))
    }

    /// The sizes on a wire, in the wire's order.
    pub(crate) fn sizes(&self, wire: &str) -> Result<Vec<Dim>, FormatError> {
        Ok(self.draft.fact(wire).map_err(|error| self.malformed(error))?.shape.clone())
    }

    /// The sizes of a value as the file has them.
    pub(crate) fn shape(&self, value: &Value) -> Result<Vec<Dim>, FormatError> {
        let sizes = self.sizes(&value.wire)?;
        Ok(match (value.order, sizes.as_slice()) {
            (Order::ChannelsFirst, [batch, channels, height, width]) => {
                vec![*batch, *height, *width, *channels]
            }
            _ => sizes,
        })
    }

    /// The wire's axis that is `axis` in the file.
    pub(crate) fn axis(&self, value: &Value, axis: usize) -> usize {
        match (value.order, axis) {
            (Order::ChannelsFirst, 1) => 2,
            (Order::ChannelsFirst, 2) => 3,
            (Order::ChannelsFirst, 3) => 1,
            _ => axis,
        }
    }

    /// An N×C×H×W wire of what is N×H×W×C in the file.
    pub(crate) fn image(&mut self, value: &Value) -> Result<String, FormatError> {
        if value.order == Order::ChannelsFirst {
            return Ok(value.wire.clone());
        }
        match *self.shape(value)? {
            [_, Dim::Fixed(1), Dim::Fixed(1), Dim::Fixed(channels)] => {
                self.reshape("to_channels_first", &value.wire, &[channels, 1, 1])
            }
            [_, _, _, _] => self.transpose("to_channels_first", &value.wire, &[0, 3, 1, 2]),
            _ => Err(self.unsupported("it expects images, batch × height × width × channels")),
        }
    }

    /// A wire whose axes are those of the file.
    pub(crate) fn in_order(&mut self, value: &Value) -> Result<String, FormatError> {
        match value.order {
            Order::Declared => Ok(value.wire.clone()),
            Order::ChannelsFirst => match *self.shape(value)? {
                [_, Dim::Fixed(1), Dim::Fixed(1), Dim::Fixed(channels)] => {
                    self.reshape("to_channels_last", &value.wire, &[1, 1, channels])
                }
                _ => self.transpose("to_channels_last", &value.wire, &[0, 2, 3, 1]),
            },
            Order::Flattened([channels, height, width]) => {
                let image = self.reshape("to_image", &value.wire, &[channels, height, width])?;
                let moved = self.transpose("to_channels_last", &image, &[0, 2, 3, 1])?;
                let name = format!("{}/flatten", self.layer);
                self.add(&name, Op::Flatten, &[&moved], [])
            }
        }
    }

    /// Wires of several values in one order, and that order: the values' own where they agree.
    pub(crate) fn alike(&mut self, values: &[Value]) -> Result<(Vec<String>, Order), FormatError> {
        let first = values.first().map_or(Order::Declared, |value| value.order);
        let any_image = values.iter().any(|value| value.order == Order::ChannelsFirst);
        let order = match () {
            () if values.iter().all(|value| value.order == first) => first,
            () if any_image => Order::ChannelsFirst,
            () => Order::Declared,
        };
        let mut wires = Vec::new();
        for value in values {
            wires.push(match order {
                Order::ChannelsFirst => self.image(value)?,
                Order::Declared => self.in_order(value)?,
                Order::Flattened(_) => value.wire.clone(),
            });
        }
        Ok((wires, order))
    }

    /// All axes behind the first in one.
    pub(crate) fn flatten(&mut self, name: &str, value: &Value) -> Result<Value, FormatError> {
        let wire = self.add(name, Op::Flatten, &[&value.wire], [])?;
        Ok(match (value.order, self.shape(value)?.as_slice()) {
            (Order::ChannelsFirst, [_, Dim::Fixed(height), Dim::Fixed(width), Dim::Fixed(channels)])
                if *channels > 1 && height.saturating_mul(*width) > 1 =>
            {
                Value { wire, order: Order::Flattened([*channels, *height, *width]) }
            }
            (order @ Order::Flattened(_), _) => Value { wire, order },
            _ => Value::declared(wire),
        })
    }

    pub(crate) fn reshape(&mut self, name: &str, wire: &str, sizes: &[usize]) -> Result<String, FormatError> {
        let sizes: Option<Vec<i64>> = sizes.iter().map(|size| i64::try_from(*size).ok()).collect();
        let shape = sizes.ok_or_else(|| self.malformed("a size is too large"))?;
        let name = format!("{}/{name}", self.layer);
        self.add(&name, Op::Reshape(Reshape { shape }), &[wire], [])
    }

    pub(crate) fn transpose(
        &mut self,
        name: &str,
        wire: &str,
        axes: &[usize],
    ) -> Result<String, FormatError> {
        let name = format!("{}/{name}", self.layer);
        self.add(&name, Op::Transpose(Transpose { axes: axes.to_vec() }), &[wire], [])
    }

    /// A tensor whose axis `axis` goes over the features of `value`, in the order that they have on the wire.
    pub(crate) fn features(
        &self,
        value: &Value,
        tensor: &Tensor,
        axis: usize,
    ) -> Result<Tensor, FormatError> {
        let Order::Flattened([channels, height, width]) = value.order else { return Ok(tensor.clone()) };
        let shape = tensor.shape().to_vec();
        let inner = [&[height, width, channels], shape.get(axis + 1..).unwrap_or_default()].concat();
        let split = [shape.get(..axis).unwrap_or_default(), &inner].concat();
        let mut axes: Vec<usize> = (0..split.len()).collect();
        axes.get_mut(axis..axis + 3).into_iter().for_each(|axes| axes.rotate_right(1));
        let moved = reshaped(tensor, split).and_then(|tensor| permuted(&tensor, &axes));
        let wrong =
            || self.malformed(format!("a weight of shape {shape:?} does not fit the flattened image"));
        moved.and_then(|tensor| reshaped(&tensor, shape.clone())).ok_or_else(wrong)
    }
}

/// Whether a network's input has sizes that an image or a text may have; without the batch.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_input(shape: &[Option<usize>]) -> Result<(), String> {
    let usual = shape.iter().flatten().all(|size| (1..=LONGEST_AXIS).contains(size));
    if usual { Ok(()) } else { Err(format!("an input of the shape {shape:?} is neither image nor text")) }
}

/// The same numbers in another shape; `None` where it holds another number of them.
pub(crate) fn reshaped(tensor: &Tensor, shape: Vec<usize>) -> Option<Tensor> {
    Tensor::new(tensor.dtype(), shape, tensor.data().clone()).ok()
}

/// The tensor with its axes in another order: axis `i` of the result is axis `axes[i]`. `None` where these are not
/// the tensor's axes.
pub(crate) fn permuted(tensor: &Tensor, axes: &[usize]) -> Option<Tensor> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..tensor.shape().len()) {
        return None;
    }
    let shape: Vec<usize> = axes.iter().filter_map(|axis| tensor.shape().get(*axis).copied()).collect();
    if tensor.is_empty() {
        return reshaped(tensor, shape);
    }
    let stride = |axis: &usize| tensor.shape().iter().skip(axis + 1).product::<usize>();
    let strides: Vec<usize> = axes.iter().map(stride).collect();
    let data = match tensor.dtype().size() {
        2 => gathered::<2>(tensor.data(), &shape, &strides),
        4 => gathered::<4>(tensor.data(), &shape, &strides),
        _ => gathered::<8>(tensor.data(), &shape, &strides),
    };
    Tensor::new(tensor.dtype(), shape, data.into()).ok()
}

/// A kernel and perhaps a bias as a node's tensors.
pub(crate) fn weighted(kernel: Tensor, bias: Option<Tensor>) -> Tensors {
    let bias = bias.map(|bias| (ParameterKind::Bias, bias));
    std::iter::once((ParameterKind::Weight, kernel)).chain(bias).collect()
}

/// The elements of `SIZE` bytes that these sizes and strides reach, last axis fastest.
fn gathered<const SIZE: usize>(data: &[u8], shape: &[usize], strides: &[usize]) -> Vec<u8> {
    let (elements, _) = data.as_chunks::<SIZE>();
    let mut out = Vec::with_capacity(elements.len());
    gather(elements, shape, strides, 0, &mut out);
    out.into_flattened()
}

fn gather<E: Copy>(elements: &[E], shape: &[usize], strides: &[usize], start: usize, out: &mut Vec<E>) {
    match (shape, strides) {
        ([length], [stride]) => {
            out.extend((0..*length).filter_map(|index| elements.get(start + index * stride)));
        }
        ([length, shape @ ..], [stride, strides @ ..]) => {
            (0..*length).for_each(|index| gather(elements, shape, strides, start + index * stride, out));
        }
        _ => out.extend_from_slice(elements),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutes_as_numpy_does() {
        let values: Vec<f32> = (0..24u8).map(f32::from).collect();
        let tensor = Tensor::from_f32(vec![2, 3, 4], &values).unwrap();
        let moved = permuted(&tensor, &[2, 0, 1]).unwrap();
        assert_eq!(moved.shape(), [4, 2, 3]);
        // numpy.arange(24).reshape(2, 3, 4).transpose(2, 0, 1).ravel()[:8]
        assert_eq!(moved.to_f32().get(..8).unwrap(), [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 1.0, 5.0]);
        assert_eq!(permuted(&tensor, &[0, 1]), None);
        assert_eq!(permuted(&tensor, &[0, 1, 1]), None);
    }
}
