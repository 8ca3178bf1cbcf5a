//! Tensors as they are stored: a type, a shape, and bytes that may be a view into a mapped file.

use std::collections::BTreeMap;

use bytes::Bytes;
use half::{bf16, f16};

use crate::{GraphError, Node, ParameterKind};

/// Type of a tensor's elements; stored little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an `F32`.
    BF16,
    /// IEEE 754 double precision.
    F64,
    /// Signed 64-bit integer (PyTorch's counters and indices).
    I64,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// The name that safetensors uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F64 => "F64",
            Self::I64 => "I64",
        }
    }
}

/// A dense row-major array of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
}

impl Tensor {
    /// A tensor over little-endian bytes.
    ///
    /// # Errors
    /// [`GraphError::TensorSize`] if the number of bytes is not what shape and type imply.
    pub fn new(dtype: DType, shape: Vec<usize>, data: Bytes) -> Result<Self, GraphError> {
        let expected = shape.iter().try_fold(dtype.size(), |size, dim| size.checked_mul(*dim));
        if expected != Some(data.len()) {
            let expected = expected.unwrap_or(usize::MAX);
            return Err(GraphError::TensorSize { shape, dtype: dtype.name(), expected, found: data.len() });
        }
        Ok(Self { dtype, shape, data })
    }

    /// A single-precision tensor of these values.
    ///
    /// # Errors
    /// [`GraphError::TensorSize`] if the number of values is not the product of the shape.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<Self, GraphError> {
        let mut data = vec![0; 4 * values.len()];
        let (places, _) = data.as_chunks_mut();
        places.iter_mut().zip(values).for_each(|(place, value)| *place = value.to_le_bytes());
        Self::new(DType::F32, shape, data.into())
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes of the axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements' bytes, little-endian.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements in single precision, rounded where the type is wider.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.dtype {
            DType::F32 => self.elements(f32::from_le_bytes),
            DType::F16 => self.elements(|bytes| f16::from_le_bytes(bytes).to_f32()),
            DType::BF16 => self.elements(|bytes| bf16::from_le_bytes(bytes).to_f32()),
            DType::F64 => self.elements(|bytes| f64::from_le_bytes(bytes) as f32),
            DType::I64 => self.elements(|bytes| i64::from_le_bytes(bytes) as f32),
        }
    }

    /// The same numbers in half precision, rounded to nearest even.
    pub fn to_half(&self) -> Self {
        let data = self.to_f32().into_iter().flat_map(|value| f16::from_f32(value).to_le_bytes());
        Self { dtype: DType::F16, shape: self.shape.clone(), data: data.collect::<Vec<u8>>().into() }
    }

    /// Position of the first value that is infinite or not a number in single precision.
    fn first_non_finite(&self) -> Option<usize> {
        match self.dtype {
            DType::F32 => self.position(|bytes| !f32::from_le_bytes(bytes).is_finite()),
            DType::F16 => self.position(|bytes| !f16::from_le_bytes(bytes).is_finite()),
            DType::BF16 => self.position(|bytes| !bf16::from_le_bytes(bytes).is_finite()),
            DType::F64 => self.position(|bytes| !(f64::from_le_bytes(bytes) as f32).is_finite()),
            DType::I64 => None,
        }
    }

    /// Position of the first element that is wanted, in place. Within a block there is no way out, so that the compiler
    /// can take many elements at a time: 100 MB take some 10 ms.
    fn position<const SIZE: usize>(&self, wanted: impl Fn([u8; SIZE]) -> bool) -> Option<usize> {
        const BLOCK: usize = 4096;
        let (elements, _) = self.data.as_chunks::<SIZE>();
        let mut blocks = elements.chunks(BLOCK).enumerate();
        blocks.find_map(|(index, block)| {
            let any = block.iter().fold(false, |any, element| any | wanted(*element));
            let first = any.then(|| block.iter().position(|element| wanted(*element)))?;
            first.map(|first| index * BLOCK + first)
        })
    }

    fn elements<T, const SIZE: usize>(&self, decode: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
        let (elements, _) = self.data.as_chunks::<SIZE>();
        elements.iter().map(|bytes| decode(*bytes)).collect()
    }
}

/// The tensors of a model by name, in bytewise order of the names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weights(BTreeMap<String, Tensor>);

impl Weights {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// A parameter of a node.
    ///
    /// # Errors
    /// [`GraphError::MissingParameter`]: the node has no parameter of that kind, or its tensor is not here.
    pub fn parameter(&self, node: &Node, kind: ParameterKind) -> Result<&Tensor, GraphError> {
        let parameter = node.parameters().into_iter().find(|parameter| parameter.kind == kind);
        let tensor = parameter.and_then(|parameter| self.get(&parameter.name));
        let missing = || (node.name.clone(), node.parameter_name(kind));
        tensor
            .ok_or_else(missing)
            .map_err(|(node, parameter)| GraphError::MissingParameter { node, parameter })
    }

    /// Adds a tensor, or replaces it, returning the old one.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Option<Tensor> {
        self.0.insert(name.into(), tensor)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.0.remove(name)
    }

    /// Names and tensors in bytewise order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps the tensors whose names pass.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|name, _| keep(name));
    }

    /// The first value that is infinite or not a number, with its tensor's name and its index.
    ///
    /// Such a value is never what a user wants: it turns every output into "not a number" without another word.
    pub fn first_non_finite(&self) -> Option<(&str, usize)> {
        self.iter().find_map(|(name, tensor)| tensor.first_non_finite().map(|index| (name, index)))
    }
}

impl FromIterator<(String, Tensor)> for Weights {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(tensors: I) -> Self {
        Self(tensors.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back() {
        let values = [0.0f32, 1.5, -2.0, 65504.0];
        let tensor = Tensor::from_f32(vec![2, 2], &values).unwrap();
        assert_eq!(tensor.to_f32(), values);
        assert_eq!(tensor.to_half().to_f32(), values);
        let integers = [3i64, -4].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(Tensor::new(DType::I64, vec![2], integers.into()).unwrap().to_f32(), [3.0, -4.0]);
    }

    #[test]
    fn refuses_bytes_that_do_not_match_the_shape() {
        for shape in [vec![3], vec![usize::MAX, 2], vec![1, 1, 3]] {
            assert!(Tensor::new(DType::F32, shape, Bytes::from_static(&[0; 8])).is_err());
        }
    }

    #[test]
    fn finds_what_is_not_a_number() {
        let mut weights = Weights::new();
        weights.insert("a", Tensor::from_f32(vec![2], &[0.0, 1.0]).unwrap());
        assert_eq!(weights.first_non_finite(), None);
        let mut values = vec![f32::MAX; 10_000];
        for place in [9_999, 4_097, 4_096, 0] {
            values[place] = if place % 2 == 0 { f32::NAN } else { f32::NEG_INFINITY };
            let single = Tensor::from_f32(vec![values.len()], &values).unwrap();
            for tensor in [single.to_half(), single] {
                let first = if tensor.dtype() == DType::F16 { 0 } else { place };
                weights.insert("b", tensor);
                assert_eq!(weights.first_non_finite(), Some(("b", first)));
            }
        }
        let wide = f64::from(f32::MAX) * 2.0;
        weights.insert("b", Tensor::new(DType::F64, vec![1], wide.to_le_bytes().to_vec().into()).unwrap());
        assert_eq!(weights.first_non_finite(), Some(("b", 0)));
    }
}
