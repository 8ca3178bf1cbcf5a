//! NumPy's `.npy`, one array a file, and `.npz`, many of them in a zip archive.

use std::path::Path;

use bytes::Bytes;
use ndarray::{ArrayD, ArrayViewD, IxDyn, ShapeBuilder as _};
use npyz::{Deserialize, NpyFile, Order, WriterBuilder as _};
use regraft_graph::{DType, Tensor, Weights};
use regraft_system::files::{self, UnfinishedFile};

use crate::archive::{self, Archive};
use crate::{FormatError, Skipped};

const FORMAT: &str = "npy";

/// Reads an array of `f32` or `f64` values of any rank, in C or Fortran order, as `f32`.
///
/// # Errors
/// The file cannot be read, breaks the format's rules, holds other elements, or less than its shape implies.
pub fn read_f32(path: &Path) -> Result<ArrayD<f32>, FormatError> {
    Ok(match read(path)? {
        Values::F32(array) => array,
        Values::F64(array) => array.mapv(|value| value as f32),
    })
}

/// Reads an array of `f32` or `f64` values of any rank, in C or Fortran order, as `f64`.
///
/// # Errors
/// As [`read_f32`].
pub fn read_f64(path: &Path) -> Result<ArrayD<f64>, FormatError> {
    Ok(match read(path)? {
        Values::F32(array) => array.mapv(f64::from),
        Values::F64(array) => array,
    })
}

/// An image as an array: height × width, or height × width × channels.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageArray {
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// All values, row by row, those of a pixel side by side.
    pub values: ImageValues,
}

/// The values of an [`ImageArray`].
#[derive(Debug, Clone, PartialEq)]
pub enum ImageValues {
    /// `uint8`.
    U8(Vec<u8>),
    /// `uint16`.
    U16(Vec<u16>),
    /// `float32`, or `float64` rounded to it.
    F32(Vec<f32>),
}

/// What the header of an [`ImageArray`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// Whether a value has more than 8 bits.
    pub deep: bool,
}

impl ImageArray {
    /// Shape and type of the array in a file's content, without its values.
    ///
    /// # Errors
    /// What is wrong with the content, in words.
    pub fn header(content: &[u8]) -> Result<ImageHeader, String> {
        check_header(content)?;
        let file = NpyFile::new(content).map_err(|error| error.to_string())?;
        let [height, width, channels] = image_shape(file.shape())?;
        let deep = !file.dtype().descr().contains("u1");
        Ok(ImageHeader { height, width, channels, deep })
    }

    /// Reads the array in a file's content.
    ///
    /// # Errors
    /// What is wrong with the content, in words.
    pub fn read(content: &[u8]) -> Result<Self, String> {
        let ImageHeader { height, width, channels, .. } = Self::header(content)?;
        let file = NpyFile::new(content).map_err(|error| error.to_string())?;
        let fortran = file.order() == Order::Fortran;
        let values = image_values(file, fortran)?;
        Ok(Self { height, width, channels, values })
    }
}

/// With more, the axes are in another order.
const MOST_CHANNELS: usize = 1024;

fn image_shape(shape: &[u64]) -> Result<[usize; 3], String> {
    let axis = |size: u64| usize::try_from(size).ok().filter(|size| *size > 0);
    let sizes: Option<Vec<usize>> = shape.iter().map(|size| axis(*size)).collect();
    match sizes.as_deref() {
        Some(&[height, width]) => Ok([height, width, 1]),
        Some(&[height, width, channels]) if channels <= MOST_CHANNELS => Ok([height, width, channels]),
        _ => Err(format!("expected height × width × channels, found the shape {shape:?}")),
    }
}

fn image_values(file: NpyFile<&[u8]>, fortran: bool) -> Result<ImageValues, String> {
    fn rows<T: Deserialize + Clone>(
        values: npyz::NpyReader<T, &[u8]>,
        fortran: bool,
    ) -> Result<Vec<T>, String> {
        Ok(array(values, fortran)?.into_raw_vec_and_offset().0)
    }
    let file = match file.try_data::<u8>() {
        Ok(values) => return rows(values, fortran).map(ImageValues::U8),
        Err(file) => file,
    };
    let file = match file.try_data::<u16>() {
        Ok(values) => return rows(values, fortran).map(ImageValues::U16),
        Err(file) => file,
    };
    let file = match file.try_data::<f32>() {
        Ok(values) => return rows(values, fortran).map(ImageValues::F32),
        Err(file) => file,
    };
    match file.try_data::<f64>() {
        Ok(values) => {
            let values = rows(values, fortran)?;
            Ok(ImageValues::F32(values.into_iter().map(|value| value as f32).collect()))
        }
        Err(file) => {
            let found = file.dtype().descr();
            Err(format!(
                "expected elements of type u1, u2, f4 or f8, found {found}; convert the array with .astype"
            ))
        }
    }
}

/// Writes an array in C order, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_f32(path: &Path, array: ArrayViewD<'_, f32>) -> Result<(), FormatError> {
    write(path, array)
}

/// Writes an array in C order, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_f64(path: &Path, array: ArrayViewD<'_, f64>) -> Result<(), FormatError> {
    write(path, array)
}

/// A matrix that is written row by row; how many rows there are is known only at the end.
#[derive(Debug)]
pub struct RowWriter {
    file: UnfinishedFile,
    columns: usize,
    rows: usize,
}

/// Bytes in front of the numbers: room for a header with any number of rows, in whole cache lines as the format advises.
const HEADER: usize = 128;

impl RowWriter {
    /// Starts a file of single-precision rows.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn start(path: &Path, columns: usize) -> Result<Self, FormatError> {
        let mut file = UnfinishedFile::start(path)?;
        file.append(&[b' '; HEADER])?;
        Ok(Self { file, columns, rows: 0 })
    }

    /// Adds whole rows.
    ///
    /// # Errors
    /// The file cannot be written, or the values are not whole rows.
    pub fn append(&mut self, values: &[f32]) -> Result<(), FormatError> {
        if !values.len().is_multiple_of(self.columns.max(1)) {
            let message = format!("{} values do not make rows of {}", values.len(), self.columns);
            return Err(FormatError::malformed(self.file.destination(), FORMAT, message));
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.rows += values.len() / self.columns.max(1);
        Ok(self.file.append(&bytes)?)
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Gives the file its shape and its name; dropped before that, nothing of it is left.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<(), FormatError> {
        let header = matrix_header(self.rows, self.columns);
        self.file.replace_beginning(&header)?;
        Ok(self.file.finish()?)
    }
}

/// Version 1.0: magic number, length of the text, and the text, filled up with blanks before its line break.
fn matrix_header(rows: usize, columns: usize) -> Vec<u8> {
    let magic = b"\x93NUMPY\x01\x00";
    let length = HEADER - magic.len() - 2;
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let text = format!("{text:<width$}\n", width = length - 1);
    [magic.as_slice(), &(length as u16).to_le_bytes(), text.as_bytes()].concat()
}

enum Values {
    F32(ArrayD<f32>),
    F64(ArrayD<f64>),
}

fn read(path: &Path) -> Result<Values, FormatError> {
    parse(path, &files::map(path)?)
}

fn open<'a>(path: &Path, content: &'a [u8]) -> Result<NpyFile<&'a [u8]>, FormatError> {
    let malformed = |message: String| FormatError::malformed(path, FORMAT, message);
    check_header(content).map_err(malformed)?;
    NpyFile::new(content).map_err(|error| malformed(error.to_string()))
}

fn parse(path: &Path, content: &[u8]) -> Result<Values, FormatError> {
    let malformed = |message: String| FormatError::malformed(path, FORMAT, message);
    let file = open(path, content)?;
    let fortran = file.order() == Order::Fortran;
    let other = match file.try_data::<f32>() {
        Ok(values) => return array(values, fortran).map(Values::F32).map_err(malformed),
        Err(file) => file,
    };
    match other.try_data::<f64>() {
        Ok(values) => array(values, fortran).map(Values::F64).map_err(malformed),
        Err(file) => Err(other_elements(path, &file.dtype().descr())),
    }
}

/// Reads an archive of arrays as tensors, by their names without `.npy`. Arrays that are stored uncompressed in C order
/// (NumPy's `savez`) stay in the mapped file; arrays of other elements than numbers are listed, not read.
///
/// # Errors
/// The file cannot be read, breaks a format's rules, or unpacks to far more than its size.
pub fn read_archive(path: &Path) -> Result<(Weights, Vec<Skipped>), FormatError> {
    parse_archive(path, &files::map(path)?)
}

/// As [`read_archive`], of a file that is mapped already.
pub(crate) fn parse_archive(path: &Path, content: &Bytes) -> Result<(Weights, Vec<Skipped>), FormatError> {
    let malformed = |message: String| FormatError::malformed(path, ARCHIVE, message);
    let mut archive = Archive::open(content.clone()).map_err(malformed)?;
    let mut room = archive::room(content.len() as u64);
    let (mut weights, mut skipped) = (Weights::new(), Vec::new());
    for member in archive.names() {
        let Some(name) = member.strip_suffix(".npy") else { continue };
        let array = archive.read(&member, room).map_err(malformed)?;
        room = room.saturating_sub(array.len() as u64);
        match tensor(path, &array)? {
            Ok(tensor) => drop(weights.insert(name, tensor)),
            Err(dtype) => skipped.push(Skipped { tensor: name.to_owned(), dtype }),
        }
    }
    Ok((weights, skipped))
}

const ARCHIVE: &str = "npz";

/// An array as a tensor, or the name of an element type that no operator takes.
fn tensor(path: &Path, content: &Bytes) -> Result<Result<Tensor, String>, FormatError> {
    let file = open(path, content)?;
    let (descr, row_major) = (file.dtype().descr(), file.order() == Order::C || file.shape().len() < 2);
    let dtype = match descr.trim_matches('\'') {
        "<f4" => DType::F32,
        "<f2" => DType::F16,
        "<f8" => DType::F64,
        "<i8" => DType::I64,
        ">f4" | ">f8" => return rearranged(path, content).map(Ok),
        _ => return Ok(Err(descr)),
    };
    if !row_major {
        return rearranged(path, content).map(Ok);
    }
    let shape: Option<Vec<usize>> = file.shape().iter().map(|axis| usize::try_from(*axis).ok()).collect();
    let start = header_range(content).map_or(content.len(), |header| header.end.min(content.len()));
    let data = content.slice(start..);
    let tensor = Tensor::new(dtype, shape.unwrap_or_default(), data);
    tensor.map(Ok).map_err(|error| FormatError::malformed(path, ARCHIVE, error))
}

/// An array in Fortran order or with its bytes the other way round, as a tensor.
fn rearranged(path: &Path, content: &[u8]) -> Result<Tensor, FormatError> {
    let array = match parse(path, content)? {
        Values::F32(array) => array,
        Values::F64(array) => array.mapv(|value| value as f32),
    };
    let values: Vec<f32> = array.iter().copied().collect();
    let tensor = Tensor::from_f32(array.shape().to_vec(), &values);
    tensor.map_err(|error| FormatError::malformed(path, ARCHIVE, error))
}

fn other_elements(path: &Path, found: &str) -> FormatError {
    let message = format!("expected elements of type f4 or f8, found {found}");
    let advice = "convert the array with .astype('float32')";
    FormatError::Malformed { path: path.to_path_buf(), format: FORMAT, message, advice }
}

/// What the format's crate takes on trust: the header's length, how deeply it nests, and the product of the axes.
///
/// A plain array's header is one dictionary with one tuple in it; more brackets are a structured element type.
fn check_header(content: &[u8]) -> Result<(), String> {
    let text = header_text(content).ok_or("it does not begin with a whole npy header")?;
    if text.matches(['(', '[', '{']).count() > 2 {
        return Err("expected elements of type f4 or f8, found a structured type".to_owned());
    }
    let shape = text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(shape, _)| shape);
    let axes = shape.unwrap_or_default().split(',').map(str::trim).filter(|axis| !axis.is_empty());
    let axes: Vec<u64> = axes.filter_map(|axis| axis.parse().ok()).collect();
    // Zeros count as ones here: the product must not overflow on the way to zero.
    let elements = axes.iter().try_fold(1u64, |product, axis| product.checked_mul((*axis).max(1)));
    let fits = elements.is_some_and(|elements| elements <= content.len() as u64 || axes.contains(&0));
    let message = || format!("the shape {axes:?} needs more elements than {} bytes can hold", content.len());
    if fits { Ok(()) } else { Err(message()) }
}

/// The Python dictionary in the header.
fn header_text(content: &[u8]) -> Option<&str> {
    str::from_utf8(content.get(header_range(content)?)?).ok()
}

/// Where it lies: after the magic number, the version and its own length (two bytes, four from version 2).
fn header_range(content: &[u8]) -> Option<std::ops::Range<usize>> {
    let (length, start) = match content.strip_prefix(b"\x93NUMPY")? {
        [1, _, low, high, ..] => (u32::from(u16::from_le_bytes([*low, *high])), 10),
        [_, _, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]), 12),
        _ => return None,
    };
    Some(start..usize::try_from(length).ok()?.checked_add(start)?)
}

fn array<T: Deserialize + Clone>(
    values: npyz::NpyReader<T, &[u8]>,
    fortran: bool,
) -> Result<ArrayD<T>, String> {
    let shape: Option<Vec<usize>> = values.shape().iter().map(|axis| usize::try_from(*axis).ok()).collect();
    let shape = IxDyn(&shape.ok_or("an axis is too long")?);
    let values: Vec<T> = values.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let array = ArrayD::from_shape_vec(shape.set_f(fortran), values).map_err(|error| error.to_string())?;
    Ok(array.as_standard_layout().into_owned())
}

fn write<T>(path: &Path, array: ArrayViewD<'_, T>) -> Result<(), FormatError>
where
    T: Copy + npyz::AutoSerialize,
{
    let shape: Vec<u64> = array.shape().iter().map(|axis| *axis as u64).collect();
    files::write_atomically_with(path, |file| {
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
        writer.extend(array.iter().copied())?;
        writer.finish()
    })?;
    Ok(())
}
