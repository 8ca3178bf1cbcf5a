//! What a wire's numbers stand for in the file: the graph computes with floating numbers alone.
//!
//! Whole numbers may be moved and looked up, but not computed with, because their division cuts off and their sums wrap.
//! Quantised values are kept as the numbers that they stand for, within the range that they can have, without their
//! rounding; so they must come back by the same scale, or be moved to another.

use super::call::Call;
use super::quantized::Grid;
use super::schema::element;
use super::value::Value;

/// The numbers of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Element {
    #[default]
    Float,
    /// Whole numbers, exactly.
    Whole,
    /// What becomes whole numbers where it is looked up.
    Cut,
    /// Whole numbers that stand for the wire's.
    Quantized(Grid),
}

/// Whether elements of that type are floating numbers.
pub(super) fn is_float(code: i32) -> bool {
    matches!(code, element::FLOAT | element::DOUBLE | element::FLOAT16 | element::BFLOAT16)
}

/// The numbers that a node gives.
///
/// # Errors
/// It computes with whole or quantised numbers, or makes whole numbers of others.
pub(super) fn of(call: &Call<'_>) -> Result<Element, String> {
    let operator = call.node.op_type.as_str();
    if is_quantized(operator) {
        return Err("it computes with quantised numbers; quantise the network in the QDQ format, or read the one before \
                    quantisation"
            .to_owned());
    }
    let mut elements = call.wires().map(|(_, wire)| wire.kind.element);
    let first = elements.next().unwrap_or_default();
    if elements.any(|other| other != first) {
        return Err("its inputs are of different kinds of numbers, or differently quantised".to_owned());
    }
    match (operator, first) {
        _ if !call.is_standard() && first != Element::Float => Err(computes()),
        ("Cast", _) => cast(call, first),
        ("QuantizeLinear", Element::Float) => super::quantized::grid(call).map(Element::Quantized),
        ("DequantizeLinear", Element::Whole | Element::Quantized(_)) => Ok(Element::Float),
        ("QuantizeLinear" | "DequantizeLinear", _) => Err("its input is of the wrong kind".to_owned()),
        (_, Element::Float) => Ok(Element::Float),
        ("Gather", _) if matches!(call.input(0), Some(Value::Constant(_))) => looked_up(call, first),
        (operator, element) if moves(operator) && !holds_constants(call) => Ok(element),
        ("MaxPool", Element::Quantized(_)) => Ok(first),
        _ => Err(computes()),
    }
}

/// Whether an operator is one of those that compute with quantised numbers themselves.
fn is_quantized(operator: &str) -> bool {
    operator.starts_with("QLinear")
        || matches!(operator, "QGemm" | "ConvInteger" | "MatMulInteger" | "DynamicQuantizeLinear")
}

fn computes() -> String {
    "it computes with whole or quantised numbers; only floating ones are computed with".to_owned()
}

fn cast(call: &Call<'_>, from: Element) -> Result<Element, String> {
    let to = i32::try_from(call.int("to", 0)).unwrap_or(0);
    match (from, to) {
        (Element::Float | Element::Whole, to) if is_float(to) => Ok(Element::Float),
        (Element::Whole | Element::Cut, element::INT32 | element::INT64) => Ok(from),
        (Element::Float, element::INT32 | element::INT64) => Ok(Element::Cut),
        _ => Err("it makes whole numbers or truth values of computed ones".to_owned()),
    }
}

/// Words become vectors.
fn looked_up(call: &Call<'_>, words: Element) -> Result<Element, String> {
    match (call.input(0), words) {
        (Some(Value::Constant(table)), Element::Whole | Element::Cut) if !table.is_integer() => {
            Ok(Element::Float)
        }
        _ => Err(computes()),
    }
}

/// Whether an operator puts numbers elsewhere and does nothing else.
fn moves(operator: &str) -> bool {
    matches!(
        operator,
        "Identity"
            | "Reshape"
            | "Flatten"
            | "Squeeze"
            | "Unsqueeze"
            | "Transpose"
            | "Slice"
            | "Split"
            | "Gather"
            | "Concat"
    )
}

/// Whether constants are joined to the wires: they would have to be of the same kind.
fn holds_constants(call: &Call<'_>) -> bool {
    call.node.op_type == "Concat" && call.wires().count() < call.inputs.len()
}
