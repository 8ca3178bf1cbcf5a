//! Quantised weights as floating numbers.

use super::array::count;
use super::call::Call;
use super::constant::Constant;
use super::fold::Budget;

/// `(x − zero point) · scale`, with one scale or one for each place of an axis.
pub(super) fn dequantize(call: &Call<'_>, budget: &mut Budget) -> Result<Constant, String> {
    let (input, scale) = (call.weights(0)?, call.weights(1)?.float_array()?.values);
    if call.int("block_size", 0) != 0 {
        return Err("weights quantised in blocks are not read".to_owned());
    }
    budget.spend(&input.shape)?;
    let zero = match call.input(2) {
        Some(_) => call.weights(2)?.float_array()?.values,
        None => vec![0.0; scale.len()],
    };
    let mut numbers = input.float_array()?;
    let axis = super::call::axis(call.int("axis", 1), numbers.shape.len().max(1)).unwrap_or(0);
    // Numbers with the same scale lie together, row after row of the axis.
    let inner = numbers.shape.get(axis + 1..).and_then(count).unwrap_or(1).max(1);
    if zero.len() != scale.len() || (scale.len() != 1 && numbers.shape.get(axis) != Some(&scale.len())) {
        return Err("its scales do not fit its axis".to_owned());
    }
    let per_row = std::iter::zip(&scale, &zero).cycle();
    if let ([scale], [zero]) = (scale.as_slice(), zero.as_slice()) {
        numbers.values.iter_mut().for_each(|value| *value = (*value - zero) * scale);
    } else {
        for (row, (scale, zero)) in numbers.values.chunks_mut(inner).zip(per_row) {
            row.iter_mut().for_each(|value| *value = (*value - zero) * scale);
        }
    }
    Constant::floats(numbers.shape, &numbers.values)
}
