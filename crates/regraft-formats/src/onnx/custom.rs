//! Attributes of operators that are only carried along, as text and back.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::schema::Attribute;

/// Numbers and texts as a JSON object. Tensors and subgraphs are not carried.
pub(super) fn to_text(attributes: &[Attribute]) -> String {
    let entries = attributes.iter().filter_map(|attribute| Some((attribute.name.clone(), value(attribute)?)));
    Value::Object(entries.collect::<Map<_, _>>()).to_string()
}

fn value(attribute: &Attribute) -> Option<Value> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    match attribute.kind {
        1 => Some(json!(attribute.f?)),
        2 => Some(json!(attribute.i?)),
        3 => Some(json!(text(attribute.s.as_ref()?))),
        6 => Some(json!(attribute.floats)),
        7 => Some(json!(attribute.ints)),
        8 => Some(json!(attribute.strings.iter().map(text).collect::<Vec<_>>())),
        _ => None,
    }
}

/// The attributes that such a text names. What is no JSON object has none.
pub(super) fn from_text(text: &str) -> Vec<Attribute> {
    let object: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    object.into_iter().filter_map(|(name, value)| attribute(name, &value)).collect()
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
