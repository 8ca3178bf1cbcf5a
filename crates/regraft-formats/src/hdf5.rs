//! HDF5: groups in groups, text attributes, arrays of numbers. Keras keeps its weights so.
//!
//! A small view of the format's crate, which is young and changes often: nothing else names it. Arrays that lie in one
//! piece stay in the mapped file; those in chunks are unfolded, within bounds that a file cannot raise by declaring more.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hdf5_pure::{
    AttrValue, Datatype, DatatypeByteOrder, Error, File, FloatingPointLayout, FormatError as Hdf5Error,
    Group, Layout, Source,
};
use regraft_graph::{DType, Tensor};

use crate::FormatError;

const FORMAT: &str = "HDF5";

/// What every HDF5 file begins with, unless something else stands before it.
const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

/// Compressed weights shrink by a tenth, rarely by half. Chunks that unfold to more than this many times the file, and to
/// more than [`HARMLESS`] bytes, are made to do harm.
const LARGEST_EXPANSION: u64 = 64;

/// Any machine has this much memory to spare.
const HARMLESS: u64 = 64 << 20;

/// Layers of groups in groups that are walked through.
const DEEPEST: usize = 32;

/// Groups that are visited in one walk: links may lead in circles.
const MOST_GROUPS: usize = 20_000;

/// Whether a file begins as HDF5 does.
pub(crate) fn is_hdf5(content: &[u8]) -> bool {
    content.starts_with(SIGNATURE)
}

/// An open file.
pub(crate) struct Hdf5 {
    path: PathBuf,
    content: Bytes,
    file: File,
    /// Bytes that chunks may still unfold to.
    budget: Cell<u64>,
}

struct Mapped(Bytes);

impl Source for Mapped {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Hdf5Error> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        let missing = Hdf5Error::UnexpectedEof { expected: end, available: self.0.len() };
        buffer.copy_from_slice(self.0.get(start..end).ok_or(missing)?);
        Ok(())
    }
}

impl Hdf5 {
    /// Opens a file's content; `path` is for messages.
    ///
    /// # Errors
    /// It is not HDF5, or not whole.
    pub(crate) fn open(path: &Path, content: Bytes) -> Result<Self, FormatError> {
        let file = File::from_source(Mapped(content.clone()))
            .map_err(|error| FormatError::malformed(path, FORMAT, error))?;
        let budget = (content.len() as u64).saturating_mul(LARGEST_EXPANSION).max(HARMLESS);
        Ok(Self { path: path.to_path_buf(), content, file, budget: Cell::new(budget) })
    }

    /// Names of the arrays in a group, `""` being the root; none where the group does not exist.
    ///
    /// # Errors
    /// The file breaks the format's rules.
    pub(crate) fn arrays(&self, group: &str) -> Result<Vec<String>, FormatError> {
        let Some(group) = self.group(group)? else { return Ok(Vec::new()) };
        group.datasets().map_err(|error| self.malformed(error))
    }

    /// All groups below the root, as paths.
    ///
    /// # Errors
    /// The file breaks the format's rules, or its groups go around in circles.
    pub(crate) fn all_groups(&self) -> Result<Vec<String>, FormatError> {
        let (mut all, mut depth) = (Vec::new(), 0);
        let mut level = vec![(String::new(), self.file.root())];
        while !level.is_empty() {
            depth += 1;
            let mut inner = Vec::new();
            for (path, group) in &level {
                let groups = group.iter_groups().map_err(|error| self.malformed(error))?;
                for (name, group) in groups {
                    let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                    all.push(path.clone());
                    inner.push((path, group));
                }
                if depth > DEEPEST || all.len() > MOST_GROUPS {
                    return Err(self.malformed("its groups hold each other in a circle, or are too many"));
                }
            }
            level = inner;
        }
        Ok(all)
    }

    /// Whether there is a group of that path.
    ///
    /// # Errors
    /// The file breaks the format's rules.
    pub(crate) fn has_group(&self, group: &str) -> Result<bool, FormatError> {
        Ok(self.group(group)?.is_some())
    }

    /// A text attribute of a group, `None` where there is none.
    ///
    /// # Errors
    /// The group does not exist, the attribute holds something else, or the file breaks the format's rules.
    pub(crate) fn text(&self, group: &str, name: &str) -> Result<Option<String>, FormatError> {
        let value = self.attribute(group, name)?;
        let text = |value: AttrValue| value.as_str().map(ToOwned::to_owned);
        let wrong = || self.malformed(format!("the attribute '{name}' of '/{group}' is no text"));
        value.map(|value| text(value).ok_or_else(wrong)).transpose()
    }

    /// An attribute that is a list of texts, `None` where there is none. An empty list has no type that matters.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    pub(crate) fn texts(&self, group: &str, name: &str) -> Result<Option<Vec<String>>, FormatError> {
        let Some(value) = self.attribute(group, name)? else { return Ok(None) };
        if let Some(texts) = value.as_strings() {
            return Ok(Some(texts.to_vec()));
        }
        // NumPy makes an empty list one of double-precision numbers.
        match value {
            AttrValue::F64Array(numbers) if numbers.is_empty() => Ok(Some(Vec::new())),
            _ => Err(self.malformed(format!("the attribute '{name}' of '/{group}' is no list of texts"))),
        }
    }

    /// An array of numbers; integers become 64 bits wide.
    ///
    /// # Errors
    /// There is none of that path, it has other elements, or the file breaks the format's rules.
    pub(crate) fn array(&self, path: &str) -> Result<Tensor, FormatError> {
        let malformed = |message: String| self.malformed(format!("array '/{path}': {message}"));
        let dataset = self.file.dataset(path).map_err(|error| malformed(error.to_string()))?;
        let broken = |error: Error| malformed(error.to_string());
        let kind = dataset.datatype().map_err(broken)?;
        if let Datatype::FixedPoint { .. } = kind {
            return self.integers(path);
        }
        let (dtype, big_endian) =
            float(&kind).ok_or_else(|| malformed("expected numbers of 16 to 64 bits".to_owned()))?;
        let shape: Option<Vec<usize>> =
            dataset.shape().map_err(broken)?.into_iter().map(|size| usize::try_from(size).ok()).collect();
        let shape = shape.ok_or_else(|| malformed("an axis is too long".to_owned()))?;
        let size = shape.iter().try_fold(dtype.size(), |size, axis| size.checked_mul(*axis));
        let size = size.ok_or_else(|| malformed("its shape overflows".to_owned()))?;
        let data = match dataset.layout().map_err(broken)? {
            Layout::Contiguous { address: Some(address), .. } => self
                .slice(address, size)
                .ok_or_else(|| malformed("it ends behind the file's end".to_owned()))?,
            Layout::Chunked { chunk_shape, .. } => {
                self.spend(size, &chunk_shape, dtype).map_err(malformed)?;
                dataset.read_raw().map_err(broken)?.into()
            }
            Layout::Contiguous { address: None, .. } => {
                self.spend(size, &[], dtype).map_err(malformed)?;
                dataset.read_raw().map_err(broken)?.into()
            }
            _ => {
                if size > self.content.len() {
                    return Err(malformed("it is larger than the file".to_owned()));
                }
                dataset.read_raw().map_err(broken)?.into()
            }
        };
        let data = if big_endian { reversed(&data, dtype.size()) } else { data };
        Tensor::new(dtype, shape, data).map_err(|error| malformed(error.to_string()))
    }

    fn integers(&self, path: &str) -> Result<Tensor, FormatError> {
        let malformed = |error: Error| self.malformed(format!("array '/{path}': {error}"));
        let dataset = self.file.dataset(path).map_err(malformed)?;
        let shape = dataset.shape().map_err(malformed)?;
        // Counters and the like; weights are no integers.
        let count = shape.iter().fold(1u64, |count, axis| count.saturating_mul(*axis));
        if count > 1 << 20 {
            return Err(self.malformed(format!("array '/{path}': expected floating-point numbers")));
        }
        let shape = shape.into_iter().map(|axis| axis as usize).collect();
        let bytes = dataset.read_i64().map_err(malformed)?.into_iter().flat_map(i64::to_le_bytes);
        let tensor = Tensor::new(DType::I64, shape, bytes.collect::<Vec<u8>>().into());
        tensor.map_err(|error| self.malformed(error))
    }

    fn slice(&self, address: u64, size: usize) -> Option<Bytes> {
        let start = usize::try_from(address).ok()?;
        let end = start.checked_add(size)?;
        self.content.get(start..end)?;
        Some(self.content.slice(start..end))
    }

    /// Takes what an array in chunks unfolds to, and one chunk of it, from the budget.
    fn spend(&self, size: usize, chunk: &[u64], dtype: DType) -> Result<(), String> {
        let chunk = chunk.iter().fold(dtype.size() as u64, |size, axis| size.saturating_mul(*axis));
        let wanted = (size as u64).saturating_add(chunk);
        let left = self.budget.get().checked_sub(wanted);
        let message = || format!("its chunks unfold to {wanted} bytes, too many for a file of this size");
        self.budget.set(left.ok_or_else(message)?);
        Ok(())
    }

    fn group(&self, path: &str) -> Result<Option<Group>, FormatError> {
        if path.is_empty() {
            return Ok(Some(self.file.root()));
        }
        match self.file.group(path) {
            Ok(group) => Ok(Some(group)),
            Err(Error::NotAGroup { .. } | Error::Format(Hdf5Error::PathNotFound(_))) => Ok(None),
            Err(error) => Err(self.malformed(error)),
        }
    }

    fn attribute(&self, group: &str, name: &str) -> Result<Option<AttrValue>, FormatError> {
        let missing = || self.malformed(format!("there is no group '/{group}'"));
        let attributes = self.group(group)?.ok_or_else(missing)?.attrs();
        Ok(attributes.map_err(|error| self.malformed(error))?.remove(name))
    }

    pub(crate) fn malformed(&self, message: impl ToString) -> FormatError {
        FormatError::malformed(&self.path, FORMAT, message)
    }
}

/// Element type, and whether the first byte is the highest. `None` for what is no IEEE 754 number.
fn float(kind: &Datatype) -> Option<(DType, bool)> {
    let Datatype::FloatingPoint { byte_order, layout, .. } = kind else { return None };
    let dtype = match *layout {
        FloatingPointLayout::IEEE754_BINARY32 => DType::F32,
        FloatingPointLayout::IEEE754_BINARY64 => DType::F64,
        FloatingPointLayout { bit_precision: 16, exponent_size: 5, mantissa_size: 10, .. } => DType::F16,
        _ => return None,
    };
    match byte_order {
        DatatypeByteOrder::LittleEndian => Some((dtype, false)),
        DatatypeByteOrder::BigEndian => Some((dtype, true)),
        DatatypeByteOrder::Vax => None,
    }
}

fn reversed(data: &[u8], size: usize) -> Bytes {
    data.chunks_exact(size).flat_map(|element| element.iter().rev().copied()).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(name: &str) -> Hdf5 {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hdf5").join(name);
        Hdf5::open(&path, regraft_system::files::map(&path).unwrap()).unwrap()
    }

    #[test]
    fn arrays_of_every_layout_are_those_that_h5py_reads() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hdf5/expected.safetensors");
        let expected = crate::read_weights(&path).unwrap().weights;
        for name in ["old.h5", "new.h5"] {
            let file = open(name);
            let mut arrays = file.arrays("layers/dense/vars").unwrap();
            arrays.sort();
            assert_eq!(arrays, expected.iter().map(|(name, _)| name).collect::<Vec<_>>());
            for (array, expected) in expected.iter() {
                let found = file.array(&format!("layers/dense/vars/{array}")).unwrap();
                assert_eq!(&found, expected, "{name} {array}");
            }
        }
    }

    #[test]
    fn attributes_are_texts_of_every_kind() {
        for name in ["old.h5", "new.h5"] {
            let file = open(name);
            for (attribute, value) in [("text", "ein Text"), ("bytes", "bytes"), ("fixed", "fixed")] {
                assert_eq!(file.text("", attribute).unwrap().as_deref(), Some(value));
            }
            assert_eq!(file.text("", "long").unwrap().unwrap().len(), 70_000);
            assert_eq!(file.texts("", "texts").unwrap().unwrap(), ["one", "zwei"]);
            assert_eq!(file.texts("", "fixed_texts").unwrap().unwrap(), ["one", "three"]);
            assert_eq!(file.texts("", "none").unwrap().unwrap(), Vec::<String>::new());
            assert_eq!(file.texts("", "missing").unwrap(), None);
            assert!(file.text("", "number").is_err());
            assert_eq!(file.text("layers", "attribute 17").unwrap().as_deref(), Some("value 17"));
        }
    }

    #[test]
    fn says_what_is_not_there() {
        let file = open("old.h5");
        assert!(file.has_group("layers/dense").unwrap() && !file.has_group("layers/none/vars").unwrap());
        assert!(file.arrays("layers/none").unwrap().is_empty());
        let message = file.array("layers/dense/vars/none").unwrap_err().to_string();
        assert!(message.contains("old.h5") && message.contains("vars/none"), "{message}");
    }

    #[test]
    fn circles_and_sizes_beyond_the_file_are_errors() {
        assert!(open("hostile_circle.h5").all_groups().unwrap_err().to_string().contains("circle"));
        assert!(
            open("hostile_chunks.h5").array("bomb").unwrap_err().to_string().contains("4311744512 bytes")
        );
        assert!(open("hostile_size.h5").array("huge").is_err());
    }
}
