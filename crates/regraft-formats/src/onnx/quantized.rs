//! Quantised weights as floating numbers, and the ranges of quantised values between layers.

use regraft_graph::{Op, Power};

use super::arithmetic::clip;
use super::array::count;
use super::call::Call;
use super::constant::{Constant, Data};
use super::element::Element;
use super::fold::Budget;
use super::reader::Reader;
use super::value::Value;

/// What a whole number `q` stands for: `scale · (q − zero)`, where `q` is from `low` to `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    scale: f32,
    zero: f32,
    low: f32,
    high: f32,
}

/// The grid of a `QuantizeLinear` or `DequantizeLinear` of a wire.
pub(super) fn grid(call: &Call<'_>) -> Result<Grid, String> {
    let scale = call.weights(1)?;
    let (Some(scale), true) = (scale.number(), scale.len() == 1) else {
        return Err("it has a scale of its own for each channel".to_owned());
    };
    let zero = match call.input(2) {
        Some(_) => call.weights(2)?.number().ok_or("its zero point is no number")?,
        None => 0.0,
    };
    if !(scale.is_finite() && scale > 0.0) {
        return Err(format!("its scale is {scale}"));
    }
    let (low, high) = range(call)?;
    Ok(Grid { scale, zero, low, high })
}

/// The smallest and largest number of the quantised type, which is that of the zero point.
fn range(call: &Call<'_>) -> Result<(f32, f32), String> {
    const BYTES: (f32, f32) = (0.0, 255.0);
    const SIGNED: (f32, f32) = (-128.0, 127.0);
    match (call.constant(2).map(|zero| &zero.data), call.int("output_dtype", 0)) {
        (Some(Data::Bytes { signed: true, .. }), _) | (None, 3) => Ok(SIGNED),
        (Some(Data::Bytes { signed: false, .. }), _) | (None, 0 | 2) => Ok(BYTES),
        _ => Err("only values quantised to eight bits are read".to_owned()),
    }
}

impl Reader<'_> {
    /// The range that the quantised type leaves to the numbers. Rounding is left out.
    pub(super) fn quantize(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let Grid { scale, zero, low, high } = grid(call)?;
        self.note(
            "values quantised between layers keep their range, but are not rounded: outputs differ from those of the \
             quantised network by its rounding",
        );
        self.map(call, clip(scale * (low - zero), scale * (high - zero)), &call.wire(0)?)
    }

    /// The numbers that whole numbers stand for.
    pub(super) fn dequantize(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        let to = grid(call)?;
        let (scale, shift) = match wire.kind.element {
            // The wire has the numbers that the file's whole ones stood for before.
            Element::Quantized(from) if (from.scale, from.zero) == (to.scale, to.zero) => {
                return Ok(Value::Wire(wire));
            }
            Element::Quantized(from) => (to.scale / from.scale, to.scale * (from.zero - to.zero)),
            _ => (to.scale, -to.scale * to.zero),
        };
        self.map(call, Op::Power(Power { scale, shift, power: 1.0 }), &wire)
    }
}

/// Scales and zero points of constants, one or one for each place of an axis.
struct Scales {
    scales: Vec<f32>,
    zeros: Vec<f32>,
    /// Numbers with the same scale that lie together.
    inner: usize,
}

fn scales(call: &Call<'_>, shape: &[usize]) -> Result<Scales, String> {
    let scales = call.weights(1)?.float_array()?.values;
    if call.int("block_size", 0) != 0 {
        return Err("weights quantised in blocks are not read".to_owned());
    }
    let zeros = match call.input(2) {
        Some(_) => call.weights(2)?.float_array()?.values,
        None => vec![0.0; scales.len()],
    };
    let several = scales.len() != 1;
    let axis = if several { super::call::axis(call.int("axis", 1), shape.len())? } else { 0 };
    if zeros.len() != scales.len() || (several && shape.get(axis) != Some(&scales.len())) {
        return Err("its scales do not fit its axis".to_owned());
    }
    let behind = shape.get(axis + 1..).unwrap_or_default();
    let inner = if several { count(behind).unwrap_or(1) } else { count(shape).unwrap_or(1) };
    Ok(Scales { scales, zeros, inner: inner.max(1) })
}

impl Scales {
    /// The function of each number, its scale and its zero point.
    fn apply(&self, values: &mut [f32], function: impl Fn(f32, f32, f32) -> f32) {
        let per_row = std::iter::zip(&self.scales, &self.zeros).cycle();
        for (row, (scale, zero)) in values.chunks_mut(self.inner).zip(per_row) {
            row.iter_mut().for_each(|value| *value = function(*value, *scale, *zero));
        }
    }
}

/// `(x − zero point) · scale` of a constant.
pub(super) fn dequantize(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let input = call.weights(0)?;
    budget.spend(&input.shape)?;
    let scales = scales(call, &input.shape)?;
    let mut numbers = input.float_array()?;
    scales.apply(&mut numbers.values, |value, scale, zero| (value - zero) * scale);
    Constant::floats(numbers.shape, &numbers.values)
}

/// The nearest whole number to `x / scale + zero point` that the type has, of a constant.
pub(super) fn quantize(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let input = call.weights(0)?;
    budget.spend(&input.shape)?;
    let (low, high) = range(call)?;
    let scales = scales(call, &input.shape)?;
    let mut numbers = input.float_array()?;
    scales.apply(&mut numbers.values, |value, scale, zero| {
        ((value / scale).round_ties_even() + zero).clamp(low, high)
    });
    let signed = low < 0.0;
    let byte = |value: f32| if signed { (value as i8).cast_unsigned() } else { value as u8 };
    let bytes: Vec<u8> = numbers.values.into_iter().map(byte).collect();
    Ok(Constant::new(numbers.shape, Data::Bytes { bytes: bytes.into(), signed }, None))
}
