//! Values that do not depend on the input: initialisers, and what is computed from them while the file is read.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use regraft_graph::{DType, Tensor};
use regraft_system::files;

use super::array::{Array, count};
use super::schema::{self, element};
use super::whole::Whole;

/// A known value.
#[derive(Debug, Clone)]
pub(super) struct Constant {
    pub(super) shape: Vec<usize>,
    pub(super) data: Data,
    /// Name of the initialiser whose numbers these are, in their order.
    pub(super) name: Option<String>,
    /// Whether it is repeated for each example, so that its shape is not what the file says of it.
    pub(super) repeated: bool,
    /// How many axes are behind that of the examples, where that is known of a repeated constant.
    pub(super) behind: Option<usize>,
}

/// The numbers.
#[derive(Debug, Clone)]
pub(super) enum Data {
    /// Of any floating type, as the file has them. The constant's shape counts, not the tensor's.
    Floats(Tensor),
    /// A matrix whose transpose the file has: the operator behind it may want that again.
    Transposed(Tensor),
    /// Whole numbers and truth values.
    Integers(Rc<Vec<Whole>>),
    /// Quantised weights.
    Bytes { bytes: Bytes, signed: bool },
    /// What cannot be read, and why; harmless unless something needs it.
    Unreadable(String),
}

/// Integers that one constant may have: they take more memory than in the file, and no shape computation needs many.
const MOST_INTEGERS: usize = 1 << 22;

impl Constant {
    pub(super) fn new(shape: Vec<usize>, data: Data, name: Option<String>) -> Self {
        Self { shape, data, name, repeated: false, behind: None }
    }

    pub(super) fn integers(shape: Vec<usize>, values: Vec<Whole>) -> Self {
        Self::new(shape, Data::Integers(Rc::new(values)), None)
    }

    pub(super) fn floats(shape: Vec<usize>, values: &[f32]) -> Result<Self, String> {
        let tensor = Tensor::from_f32(shape.clone(), values).map_err(|error| error.to_string())?;
        Ok(Self::new(shape, Data::Floats(tensor), None))
    }

    /// Number of elements; of what cannot be read, zero.
    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Floats(tensor) | Data::Transposed(tensor) => tensor.len(),
            Data::Integers(values) => values.len(),
            Data::Bytes { bytes, .. } => bytes.len(),
            Data::Unreadable(_) => 0,
        }
    }

    pub(super) fn is_integer(&self) -> bool {
        matches!(self.data, Data::Integers(_) | Data::Bytes { .. })
    }

    /// The elements as integers; floating numbers are cut off.
    pub(super) fn integer_array(&self) -> Result<Array<Whole>, String> {
        let values = match &self.data {
            Data::Integers(values) => values.as_ref().clone(),
            Data::Bytes { .. } if self.len() > MOST_INTEGERS => return Err(too_large()),
            Data::Bytes { bytes, signed } => {
                bytes.iter().map(|byte| Whole::Known(whole(*byte, *signed))).collect()
            }
            Data::Unreadable(reason) => return Err(reason.clone()),
            Data::Floats(_) | Data::Transposed(_) => {
                self.float_array()?.values.into_iter().map(|value| Whole::Known(value as i64)).collect()
            }
        };
        Ok(Array { shape: self.shape.clone(), values })
    }

    /// The elements as integers, all of them known.
    pub(super) fn known_integers(&self) -> Result<Vec<i64>, String> {
        let values = self.integer_array()?.values.into_iter().map(Whole::known).collect::<Option<Vec<i64>>>();
        values.ok_or_else(unknown_size)
    }

    /// The elements in single precision.
    pub(super) fn float_array(&self) -> Result<Array<f32>, String> {
        let shape = self.shape.clone();
        let values = match &self.data {
            Data::Floats(tensor) => tensor.to_f32(),
            Data::Transposed(tensor) => transposed(tensor),
            Data::Integers(values) => {
                let known = values.iter().map(|value| value.known().map(|value| value as f32));
                known.collect::<Option<Vec<f32>>>().ok_or_else(unknown_size)?
            }
            Data::Bytes { bytes, signed } => bytes.iter().map(|byte| whole(*byte, *signed) as f32).collect(),
            Data::Unreadable(reason) => return Err(reason.clone()),
        };
        Ok(Array { shape, values })
    }

    /// The places within each example, of indices into examples of that size one after the other.
    pub(super) fn places_of_examples(&self, size: i64) -> Option<Vec<usize>> {
        let Data::Integers(values) = &self.data else { return None };
        let place = |value: &Whole| match value {
            Whole::Example { stride, offset } if *stride == size && (0..size).contains(offset) => {
                usize::try_from(*offset).ok()
            }
            _ => None,
        };
        values.iter().map(place).collect()
    }

    /// The one number of a constant that has one.
    pub(super) fn number(&self) -> Option<f32> {
        if self.len() != 1 {
            return None;
        }
        self.float_array().ok()?.values.first().copied()
    }

    /// The same numbers in another shape, which has as many.
    pub(super) fn reshaped(&self, shape: Vec<usize>) -> Result<Self, String> {
        if count(&shape) != Some(self.len()) {
            return Err(format!("{} numbers do not fill the shape {shape:?}", self.len()));
        }
        let data = match &self.data {
            Data::Transposed(tensor) => Self::floats(self.shape.clone(), &transposed(tensor))?.data,
            other => other.clone(),
        };
        Ok(Self { shape, data, ..self.clone() })
    }

    /// The numbers as a tensor of the constant's shape, in the type that the file has.
    pub(super) fn tensor(&self) -> Result<Tensor, String> {
        let tensor = match &self.data {
            Data::Floats(tensor) => Tensor::new(tensor.dtype(), self.shape.clone(), tensor.data().clone()),
            _ => Tensor::from_f32(self.shape.clone(), &self.float_array()?.values),
        };
        tensor.map_err(|error| error.to_string())
    }
}

fn too_large() -> String {
    format!("a constant has more than {MOST_INTEGERS} integers")
}

pub(super) fn unknown_size() -> String {
    "it needs the image's size or the number of examples, which are not fixed".to_owned()
}

fn whole(byte: u8, signed: bool) -> i64 {
    if signed { i64::from(byte.cast_signed()) } else { i64::from(byte) }
}

/// Rows of a matrix that are turned together: so many numbers of the result lie one behind the other.
const TOGETHER: usize = 32;

/// The transpose's numbers, row by row.
pub(super) fn transposed(matrix: &Tensor) -> Vec<f32> {
    let [rows, columns] = *matrix.shape() else { return matrix.to_f32() };
    let numbers = matrix.to_f32();
    let mut result = vec![0.0; numbers.len()];
    if numbers.is_empty() {
        return result;
    }
    let lines: Vec<&[f32]> = numbers.chunks(columns).collect();
    for (block, lines) in lines.chunks(TOGETHER).enumerate() {
        for (column, turned) in result.chunks_mut(rows).enumerate() {
            let places = turned.iter_mut().skip(block * TOGETHER);
            for (place, value) in places.zip(lines.iter().filter_map(|line| line.get(column))) {
                *place = *value;
            }
        }
    }
    result
}

/// Where numbers outside the file lie: in files beside it, each mapped once.
pub(super) struct External {
    folder: PathBuf,
    files: HashMap<String, Bytes>,
    /// Whole numbers that may still be taken from them: many tensors may lie in the same place.
    integers: usize,
}

impl External {
    pub(super) fn beside(path: &Path) -> Self {
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Self { folder, files: HashMap::new(), integers: MOST_INTEGERS }
    }

    /// Bytes of the files that have been opened.
    pub(super) fn bytes(&self) -> usize {
        self.files.values().map(|file| file.len()).sum()
    }

    fn spend_integers(&mut self, elements: usize) -> Result<(), String> {
        self.integers = self.integers.checked_sub(elements).ok_or_else(too_large)?;
        Ok(())
    }

    fn data(&mut self, tensor: &schema::Tensor, size: usize) -> Result<Bytes, String> {
        let entry = |key| tensor.external_data.iter().find(|entry| entry.key == key);
        let number = |key| match entry(key) {
            None => Ok(None),
            Some(entry) => {
                entry.value.trim().parse().map(Some).map_err(|_| format!("its {key} is no number"))
            }
        };
        let location = &entry("location").ok_or("it names no file for its numbers")?.value;
        let (start, length): (Option<usize>, Option<usize>) = (number("offset")?, number("length")?);
        let (start, length) = (start.unwrap_or(0), length.unwrap_or(size));
        let file = self.file(location)?;
        let end = start.checked_add(length).filter(|end| *end <= file.len());
        end.map(|end| file.slice(start..end)).ok_or_else(|| {
            format!("bytes {start} to {start} + {length} lie outside '{location}', which has {}", file.len())
        })
    }

    fn file(&mut self, location: &str) -> Result<Bytes, String> {
        if let Some(file) = self.files.get(location) {
            return Ok(file.clone());
        }
        let within = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        let inside = Path::new(location).components().all(within);
        if !inside || location.is_empty() {
            return Err(format!("its numbers lie in '{location}', outside the model's folder"));
        }
        let file = files::map(&self.folder.join(location)).map_err(|error| error.to_string())?;
        self.files.insert(location.to_owned(), file.clone());
        Ok(file)
    }
}

/// Whether a shape is one that a tensor may have: also of one without elements, whose other axes may lie.
pub(super) fn is_possible(shape: &[usize]) -> bool {
    let axes: Vec<usize> = shape.iter().map(|size| (*size).max(1)).collect();
    count(&axes).is_some_and(|count| count <= 1 << 40)
}

/// The constant that a message stands for.
pub(super) fn decode(tensor: &schema::Tensor, external: &mut External) -> Constant {
    let sizes = tensor.dims.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<Vec<usize>>>();
    let shape = sizes.clone().unwrap_or_default();
    let data = match sizes.as_deref().filter(|shape| is_possible(shape)).and_then(count) {
        Some(elements) => numbers(tensor, &shape, elements, external),
        None => Err(format!("its shape {:?} is absurd", tensor.dims)),
    };
    let name = Some(tensor.name.clone()).filter(|name| !name.is_empty());
    let data =
        data.unwrap_or_else(|reason| Data::Unreadable(format!("the tensor '{}': {reason}", tensor.name)));
    Constant::new(shape, data, name)
}

fn numbers(
    tensor: &schema::Tensor,
    shape: &[usize],
    elements: usize,
    external: &mut External,
) -> Result<Data, String> {
    let size = element_size(tensor.data_type)
        .ok_or_else(|| format!("its elements are of type {}, which is no number", tensor.data_type))?;
    let bytes = elements.checked_mul(size).ok_or("its shape is absurd")?;
    let raw = match &tensor.raw_data {
        _ if tensor.data_location == 1 => {
            if is_whole(tensor.data_type) {
                external.spend_integers(elements)?;
            }
            Some(external.data(tensor, bytes)?)
        }
        Some(raw) => Some(raw.clone()),
        None => None,
    };
    let raw = match raw {
        Some(raw) => raw,
        None => typed(tensor),
    };
    if raw.len() != bytes {
        return Err(format!("its shape and type need {bytes} bytes, it has {}", raw.len()));
    }
    interpret(tensor.data_type, shape, raw)
}

/// Whether the elements are kept as [`Data::Integers`].
fn is_whole(code: i32) -> bool {
    !matches!(
        code,
        element::FLOAT
            | element::DOUBLE
            | element::FLOAT16
            | element::BFLOAT16
            | element::UINT8
            | element::INT8
    )
}

fn element_size(code: i32) -> Option<usize> {
    match code {
        element::UINT8 | element::INT8 | element::BOOL => Some(1),
        element::UINT16 | element::INT16 | element::FLOAT16 | element::BFLOAT16 => Some(2),
        element::FLOAT | element::INT32 | element::UINT32 => Some(4),
        element::DOUBLE | element::INT64 | element::UINT64 => Some(8),
        _ => None,
    }
}

/// The bytes of a tensor whose numbers are in one of the typed fields.
fn typed(tensor: &schema::Tensor) -> Bytes {
    let narrow = |value: &i32| value.to_le_bytes();
    match tensor.data_type {
        element::FLOAT => tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        element::DOUBLE => tensor.double_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        element::INT64 => tensor.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        element::UINT64 => tensor.uint64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        element::UINT32 => {
            tensor.uint64_data.iter().flat_map(|value| value.to_le_bytes().into_iter().take(4)).collect()
        }
        element::INT32 => tensor.int32_data.iter().flat_map(narrow).collect(),
        element::UINT8 | element::INT8 | element::BOOL => {
            tensor.int32_data.iter().map(|value| narrow(value)[0]).collect()
        }
        _ => tensor.int32_data.iter().flat_map(|value| narrow(value).into_iter().take(2)).collect(),
    }
}

fn interpret(code: i32, shape: &[usize], raw: Bytes) -> Result<Data, String> {
    let floats = |dtype| {
        let tensor = Tensor::new(dtype, shape.to_vec(), raw.clone());
        tensor.map(Data::Floats).map_err(|error| error.to_string())
    };
    match code {
        element::FLOAT => floats(DType::F32),
        element::FLOAT16 => floats(DType::F16),
        element::BFLOAT16 => floats(DType::BF16),
        element::DOUBLE => floats(DType::F64),
        element::UINT8 | element::INT8 => Ok(Data::Bytes { bytes: raw, signed: code == element::INT8 }),
        element::INT64 => integers(&raw, i64::from_le_bytes),
        element::UINT64 => {
            integers(&raw, |bytes| i64::try_from(u64::from_le_bytes(bytes)).unwrap_or(i64::MAX))
        }
        element::INT32 => integers(&raw, |bytes| i32::from_le_bytes(bytes).into()),
        element::UINT32 => integers(&raw, |bytes| u32::from_le_bytes(bytes).into()),
        element::INT16 => integers(&raw, |bytes| i16::from_le_bytes(bytes).into()),
        element::UINT16 => integers(&raw, |bytes| u16::from_le_bytes(bytes).into()),
        _ => integers(&raw, |[byte]| i64::from(byte != 0)),
    }
}

fn integers<const SIZE: usize>(raw: &[u8], decode: impl Fn([u8; SIZE]) -> i64) -> Result<Data, String> {
    let (elements, _) = raw.as_chunks::<SIZE>();
    if elements.len() > MOST_INTEGERS {
        return Err(too_large());
    }
    Ok(Data::Integers(Rc::new(elements.iter().map(|bytes| Whole::Known(decode(*bytes))).collect())))
}
