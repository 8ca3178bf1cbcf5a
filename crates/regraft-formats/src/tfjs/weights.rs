//! The weights manifest: names, shapes and types in the order in which the shards hold them.

use std::path::{Component, Path};

use bytes::Bytes;
use regraft_graph::{DType, Tensor};
use regraft_system::files;
use serde_json::Value as Json;

use super::FORMAT;
use crate::FormatError;

/// Names and tensors, in the manifest's order.
///
/// # Errors
/// The manifest is no such thing, a shard lies outside of the folder, cannot be read, or is shorter than it should be.
pub(super) fn read(model_json: &Path, manifest: &Json) -> Result<Vec<(String, Tensor)>, FormatError> {
    let malformed = |message: String| FormatError::malformed(model_json, FORMAT, message);
    let groups = manifest.as_array().ok_or_else(|| malformed("'weightsManifest' is no list".to_owned()))?;
    let mut tensors = Vec::new();
    for group in groups {
        let content = shards(model_json, group.get("paths").unwrap_or(&Json::Null))?;
        let mut left = content;
        for entry in group.get("weights").and_then(Json::as_array).into_iter().flatten() {
            let entry = Entry::of(entry).map_err(malformed)?;
            let size = entry.size().map_err(malformed)?.filter(|size| *size <= left.len());
            let size =
                size.ok_or_else(|| malformed(format!("its shards end before '{}' does", entry.name)))?;
            let data = left.split_to(size);
            if let Some(tensor) = entry.tensor(data).map_err(malformed)? {
                tensors.push((entry.name.to_owned(), tensor));
            }
        }
    }
    Ok(tensors)
}

/// The files of a group, one after the other.
fn shards(model_json: &Path, paths: &Json) -> Result<Bytes, FormatError> {
    let malformed = |message: String| FormatError::malformed(model_json, FORMAT, message);
    let folder = model_json.parent().unwrap_or(Path::new(""));
    let mut parts = Vec::new();
    for path in paths.as_array().into_iter().flatten() {
        let path = path.as_str().ok_or_else(|| malformed("a shard's path is no text".to_owned()))?;
        let inside = !path.contains('\\')
            && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside || path.is_empty() {
            return Err(malformed(format!("the shard '{path}' is not a path inside of the model's folder")));
        }
        parts.push(files::map(&folder.join(path))?);
    }
    match parts.as_slice() {
        [part] => Ok(part.clone()),
        parts => Ok(parts.concat().into()),
    }
}

/// A line of the manifest.
struct Entry<'a> {
    name: &'a str,
    shape: Vec<usize>,
    dtype: &'a str,
    quantization: Option<Quantization<'a>>,
}

struct Quantization<'a> {
    dtype: &'a str,
    min: f64,
    scale: f64,
}

impl<'a> Entry<'a> {
    fn of(json: &'a Json) -> Result<Self, String> {
        let name = json.get("name").and_then(Json::as_str).ok_or("a weight without a name")?;
        let axis = |axis: &Json| axis.as_u64().and_then(|axis| usize::try_from(axis).ok());
        let shape = json.get("shape").and_then(Json::as_array);
        let shape = shape.and_then(|shape| shape.iter().map(axis).collect::<Option<Vec<usize>>>());
        let shape = shape.ok_or_else(|| format!("the weight '{name}' has no shape"))?;
        let dtype = json.get("dtype").and_then(Json::as_str).unwrap_or("float32");
        let quantization = json.get("quantization").map(|json| Quantization {
            dtype: json.get("dtype").and_then(Json::as_str).unwrap_or_default(),
            min: json.get("min").and_then(Json::as_f64).unwrap_or(0.0),
            scale: json.get("scale").and_then(Json::as_f64).unwrap_or(1.0),
        });
        Ok(Self { name, shape, dtype, quantization })
    }

    /// Bytes in the shards; `None` where there are too many to count.
    fn size(&self) -> Result<Option<usize>, String> {
        let stored = self.quantization.as_ref().map_or(self.dtype, |quantization| quantization.dtype);
        let element = match stored {
            "float32" | "int32" => 4,
            "uint16" | "float16" => 2,
            "uint8" | "bool" => 1,
            other => {
                return Err(format!(
                    "the weight '{}' is of the type '{other}', which is not read",
                    self.name
                ));
            }
        };
        Ok(self.shape.iter().try_fold(element, |size: usize, axis| size.checked_mul(*axis)))
    }

    /// `None` for truth values, which no operator takes.
    fn tensor(&self, data: Bytes) -> Result<Option<Tensor>, String> {
        let (dtype, data) = match (&self.quantization, self.dtype) {
            (None, "float32") => (DType::F32, data),
            (None, "int32") => (DType::I64, widened(&data)),
            (Some(Quantization { dtype: "float16", .. }), _) => (DType::F16, data),
            (Some(line), dtype) => {
                let values = line.values(&data);
                match dtype {
                    "int32" => {
                        let integers = values.flat_map(|value| (value.round() as i64).to_le_bytes());
                        (DType::I64, integers.collect::<Vec<u8>>().into())
                    }
                    _ => (
                        DType::F32,
                        values.flat_map(|value| (value as f32).to_le_bytes()).collect::<Vec<u8>>().into(),
                    ),
                }
            }
            (None, _) => return Ok(None),
        };
        let tensor = Tensor::new(dtype, self.shape.clone(), data);
        tensor.map(Some).map_err(|error| format!("the weight '{}': {error}", self.name))
    }
}

impl Quantization<'_> {
    fn values(&self, data: &[u8]) -> impl Iterator<Item = f64> {
        let width = if self.dtype == "uint16" { 2 } else { 1 };
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0.0, |sum, byte| sum * 256.0 + f64::from(*byte));
        let (scale, min) = (self.scale, self.min);
        data.chunks_exact(width).map(move |bytes| number(bytes) * scale + min)
    }
}

fn widened(data: &[u8]) -> Bytes {
    let (elements, _) = data.as_chunks::<4>();
    let wide = elements.iter().flat_map(|element| i64::from(i32::from_le_bytes(*element)).to_le_bytes());
    wide.collect::<Vec<u8>>().into()
}
