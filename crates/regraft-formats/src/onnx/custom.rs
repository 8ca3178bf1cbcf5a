//! Attributes of operators that are only carried along, as text and back, with the version of the operator's rules and the
//! type of its output. What the text cannot hold makes the operator one that is not carried.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::schema::{Attribute, element};

/// Keys that no attribute of ONNX can have.
const VERSION: &str = ":version";
const ELEMENT: &str = ":element";

/// Numbers and texts as a JSON object.
///
/// # Errors
/// An attribute is a tensor or a graph, or its numbers or texts have no JSON.
pub(super) fn to_text(attributes: &[Attribute], version: i64, kind: i32) -> Result<String, String> {
    let mut object = Map::from_iter([(VERSION.to_owned(), json!(version))]);
    if kind != element::FLOAT {
        object.insert(ELEMENT.to_owned(), json!(kind));
    }
    for attribute in attributes {
        let value = value(attribute).filter(|_| !attribute.name.starts_with(':'));
        let lost =
            || format!("there is no such operator, and its attribute '{}' would be lost", attribute.name);
        object.insert(attribute.name.clone(), value.ok_or_else(lost)?);
    }
    Ok(Value::Object(object).to_string())
}

fn value(attribute: &Attribute) -> Option<Value> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).ok();
    let finite = |values: &[f32]| !values.is_empty() && values.iter().all(|value| value.is_finite());
    match attribute.kind {
        1 => attribute.f.filter(|value| value.is_finite()).map(|value| json!(value)),
        2 => Some(json!(attribute.i?)),
        3 => Some(json!(text(attribute.s.as_ref()?)?)),
        6 => finite(&attribute.floats).then(|| json!(attribute.floats)),
        7 => Some(json!(attribute.ints)),
        8 if !attribute.strings.is_empty() => {
            Some(json!(attribute.strings.iter().map(text).collect::<Option<Vec<_>>>()?))
        }
        _ => None,
    }
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

/// The version of the operator's rules, where the text says it.
pub(super) fn version_of(text: &str) -> Option<i64> {
    object(text).get(VERSION)?.as_i64()
}

/// The type of the operator's output.
pub(super) fn element_of(text: &str) -> i32 {
    let kind = object(text).get(ELEMENT).and_then(Value::as_i64);
    kind.and_then(|kind| i32::try_from(kind).ok()).unwrap_or(element::FLOAT)
}

/// The attributes that such a text names. What is no JSON object has none.
pub(super) fn from_text(text: &str) -> Vec<Attribute> {
    let attributes = object(text).into_iter().filter(|(name, _)| !name.starts_with(':'));
    attributes.filter_map(|(name, value)| attribute(name, &value)).collect()
}

fn attribute(name: String, value: &Value) -> Option<Attribute> {
    let mut attribute = Attribute { name, ..Attribute::default() };
    match value {
        Value::Number(number) if number.is_i64() => {
            (attribute.kind, attribute.i) = (2, number.as_i64());
        }
        Value::Number(number) => {
            (attribute.kind, attribute.f) = (1, number.as_f64().map(|number| number as f32));
        }
        Value::String(text) => {
            (attribute.kind, attribute.s) = (3, Some(Bytes::copy_from_slice(text.as_bytes())));
        }
        Value::Array(values) if values.iter().all(Value::is_i64) => {
            (attribute.kind, attribute.ints) = (7, values.iter().filter_map(Value::as_i64).collect());
        }
        Value::Array(values) if values.iter().all(Value::is_number) => {
            let floats = values.iter().filter_map(Value::as_f64).map(|number| number as f32);
            (attribute.kind, attribute.floats) = (6, floats.collect());
        }
        Value::Array(values) => {
            let texts = values.iter().filter_map(Value::as_str);
            let strings = texts.map(|text| Bytes::copy_from_slice(text.as_bytes()));
            (attribute.kind, attribute.strings) = (8, strings.collect());
        }
        _ => return None,
    }
    Some(attribute)
}
