//! Arrays of numbers: a layer's weights, or a mean image.

use bytes::Bytes;
use regraft_graph::{DType, Tensor};

use super::tree::Message;

/// An array as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    /// Sizes that the file states, if it does.
    shape: Vec<usize>,
    dtype: DType,
    data: Bytes,
}

impl Blob {
    /// # Errors
    /// A size is negative, the numbers are of a kind that is not read, or as many as the sizes do not say.
    pub(super) fn new(message: &Message) -> Result<Self, String> {
        let shape = shape(message)?;
        let (dtype, data) = numbers(message)?;
        let blob = Self { shape, dtype, data };
        let stated = blob.shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        if !blob.shape.is_empty() && stated != Some(blob.len()) {
            return Err(format!("a shape of {:?} for {} numbers", blob.shape, blob.len()));
        }
        Ok(blob)
    }

    /// Sizes that the file states; none where it does not.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// As a tensor of the shape that its layer needs, without a copy. The oldest files put ones before a shape up to four
    /// axes, so that ones in front do not count.
    ///
    /// # Errors
    /// The file states another shape, or holds as many numbers as another has.
    pub(super) fn tensor(&self, shape: Vec<usize>) -> Result<Tensor, String> {
        let another = !self.shape.is_empty() && without_ones(&self.shape) != without_ones(&shape);
        let tensor = Tensor::new(self.dtype, shape.clone(), self.data.clone());
        tensor.ok().filter(|_| !another).ok_or_else(|| {
            let found = if self.shape.is_empty() { vec![self.len()] } else { self.shape.clone() };
            format!("weights of shape {found:?}, expected {shape:?}")
        })
    }

    /// All numbers in single precision.
    pub(super) fn values(&self) -> Vec<f32> {
        let tensor = Tensor::new(self.dtype, vec![self.len()], self.data.clone());
        tensor.map(|tensor| tensor.to_f32()).unwrap_or_default()
    }
}

fn without_ones(shape: &[usize]) -> &[usize] {
    let ones = shape.iter().take_while(|size| **size == 1).count();
    shape.get(ones..).unwrap_or_default()
}

/// The shape of a message: sizes in a list, or the four of the oldest files.
fn shape(message: &Message) -> Result<Vec<usize>, String> {
    if message.has("shape") {
        return message.part("shape").counts("dim").map_err(|error| error.to_string());
    }
    let names = ["num", "channels", "height", "width"];
    if !names.iter().any(|name| message.has(name)) {
        return Ok(Vec::new());
    }
    // A size that is not there is zero to a protocol buffer, and one to a reader of good will.
    let size = |name| message.count(name).map(|size| size.unwrap_or(1)).map_err(|error| error.to_string());
    names.into_iter().map(size).collect()
}

fn numbers(message: &Message) -> Result<(DType, Bytes), String> {
    let (dtype, data) = if let Some(data) = message.bytes("data") {
        (DType::F32, data)
    } else if let Some(data) = message.bytes("double_data") {
        (DType::F64, data)
    } else if let Some(data) = message.bytes("raw_data") {
        let kind = message.text("raw_data_type").unwrap_or("DOUBLE");
        let dtype = match kind {
            "DOUBLE" => DType::F64,
            "FLOAT" => DType::F32,
            "FLOAT16" => DType::F16,
            kind => return Err(format!("numbers of the kind {kind}, which no layer computes with")),
        };
        (dtype, data)
    } else {
        return Ok((DType::F32, Bytes::new()));
    };
    let whole = data.len().is_multiple_of(dtype.size());
    if whole { Ok((dtype, data.clone())) } else { Err("numbers that are cut off".to_owned()) }
}
