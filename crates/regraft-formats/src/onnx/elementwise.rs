//! Functions of known values, number by number.

use super::array::{Array, Places, common_shape};
use super::call::Call;
use super::constant::Constant;
use super::fold::Budget;
use super::value::Value;
use super::whole::Whole;

/// What an operator makes of known inputs; `None` for an operator that is no such function.
pub(super) fn computed(call: &Call<'_>, budget: &mut Budget) -> Result<Option<Constant>, String> {
    let operator = call.node.op_type.as_str();
    match (unary(operator), binary(operator)) {
        (Some(function), _) => map(call, budget, function).map(Some),
        (_, Some(function)) => combine(call, budget, &function).map(Some),
        _ => Ok(None),
    }
}

/// An array's values, repeated until they have that shape.
pub(super) fn repeated_to<T: Clone>(array: Array<T>, shape: &[usize]) -> Result<Vec<T>, String> {
    let places = Places::all(&array.shape).broadcast(shape);
    let repeated = places.and_then(|places| array.gather(&places));
    Ok(repeated.ok_or_else(|| format!("the shapes {:?} and {shape:?} do not fit", array.shape))?.values)
}

/// A function of one integer, and the same function of one floating number.
struct Unary(fn(i64) -> Option<i64>, fn(f32) -> f32);

fn unary(operator: &str) -> Option<Unary> {
    Some(match operator {
        "Neg" => Unary(i64::checked_neg, |value| -value),
        "Abs" => Unary(i64::checked_abs, f32::abs),
        "Not" => Unary(|value| Some(i64::from(value == 0)), |value| value),
        "Sign" => {
            Unary(|value| Some(value.signum()), |value| if value == 0.0 { value } else { value.signum() })
        }
        "Floor" => Unary(Some, f32::floor),
        "Ceil" => Unary(Some, f32::ceil),
        "Round" => Unary(Some, f32::round_ties_even),
        "Sqrt" => Unary(|_| None, f32::sqrt),
        "Exp" => Unary(|_| None, f32::exp),
        "Log" => Unary(|_| None, f32::ln),
        "Sin" => Unary(|_| None, f32::sin),
        "Cos" => Unary(|_| None, f32::cos),
        "Reciprocal" => Unary(|_| None, f32::recip),
        "Sigmoid" => Unary(|_| None, |value| 1.0 / (1.0 + (-value).exp())),
        "Tanh" => Unary(|_| None, f32::tanh),
        "Relu" => Unary(|value| Some(value.max(0)), |value| value.max(0.0)),
        _ => return None,
    })
}

fn map(call: &Call<'_>, budget: &mut Budget, Unary(whole, real): Unary) -> Result<Constant, String> {
    let input = call.weights(0)?;
    budget.spend(&input.shape)?;
    if input.is_integer() {
        let array = input.integer_array()?;
        let values = array.values.into_iter().map(|value| value.map(whole)).collect();
        return Ok(Constant::integers(array.shape, values));
    }
    let array = input.float_array()?;
    Constant::floats(array.shape, &array.values.into_iter().map(real).collect::<Vec<_>>())
}

/// What an operator makes of two integers, and of two floating numbers; a comparison gives integers of both.
enum Binary {
    Arithmetic(fn(Whole, Whole) -> Whole, fn(f32, f32) -> f32),
    Comparison(fn(i64, i64) -> bool, fn(f32, f32) -> bool),
}

fn binary(operator: &str) -> Option<Binary> {
    use Binary::{Arithmetic, Comparison};
    Some(match operator {
        "Add" | "Sum" => Arithmetic(|left, right| left.plus(right), |left, right| left + right),
        "Sub" => Arithmetic(|left, right| left.with(right, i64::checked_sub), |left, right| left - right),
        "Mul" => Arithmetic(Whole::times, |left, right| left * right),
        "Div" => Arithmetic(Whole::over, |left, right| left / right),
        "Mod" => Arithmetic(|left, right| left.with(right, floored_remainder), |left, right| left % right),
        "Pow" => Arithmetic(|left, right| left.with(right, whole_power), f32::powf),
        "Max" => Arithmetic(|left, right| left.with(right, |left, right| Some(left.max(right))), f32::max),
        "Min" => Arithmetic(|left, right| left.with(right, |left, right| Some(left.min(right))), f32::min),
        "Equal" => Comparison(|left, right| left == right, |left, right| left == right),
        "Less" => Comparison(|left, right| left < right, |left, right| left < right),
        "LessOrEqual" => Comparison(|left, right| left <= right, |left, right| left <= right),
        "Greater" => Comparison(|left, right| left > right, |left, right| left > right),
        "GreaterOrEqual" => Comparison(|left, right| left >= right, |left, right| left >= right),
        "And" => Comparison(|left, right| left != 0 && right != 0, |_, _| false),
        "Or" => Comparison(|left, right| left != 0 || right != 0, |_, _| false),
        _ => return None,
    })
}

/// The remainder that has the divisor's sign.
fn floored_remainder(value: i64, divisor: i64) -> Option<i64> {
    let rest = value.checked_rem(divisor)?;
    Some(if rest != 0 && (rest < 0) != (divisor < 0) { rest + divisor } else { rest })
}

fn whole_power(base: i64, power: i64) -> Option<i64> {
    base.checked_pow(u32::try_from(power).ok()?)
}

fn combine(call: &Call<'_>, budget: &mut Budget, function: &Binary) -> Result<Constant, String> {
    let mut result = call.weights(0)?.clone();
    let kinds = call.inputs.iter().flatten().filter_map(|value| match value {
        Value::Constant(constant) => Some(constant.is_integer()),
        Value::Wire(_) => None,
    });
    let kinds: Vec<bool> = kinds.collect();
    // The type of a power is that of its base.
    let power = call.node.op_type == "Pow" && !result.is_integer();
    let mixed = !power && kinds.iter().any(|whole| *whole != result.is_integer());
    if mixed || (call.node.op_type == "Mod" && call.flag("fmod") && result.is_integer()) {
        return Err("whole and floating numbers are mixed".to_owned());
    }
    for place in 1..call.inputs.len() {
        result = pair(&result, call.weights(place)?, budget, function)?;
    }
    Ok(result)
}

fn pair(
    left: &Constant,
    right: &Constant,
    budget: &mut Budget,
    function: &Binary,
) -> Result<Constant, String> {
    let unlike = || format!("the shapes {:?} and {:?} do not fit", left.shape, right.shape);
    let shape = common_shape(&left.shape, &right.shape).ok_or_else(unlike)?;
    for spent in [&shape, &left.shape, &right.shape] {
        budget.spend(spent)?;
    }
    if left.is_integer() && right.is_integer() {
        let left = repeated_to(left.integer_array()?, &shape)?;
        let right = repeated_to(right.integer_array()?, &shape)?;
        let apply = |(left, right): (Whole, Whole)| match function {
            Binary::Arithmetic(whole, _) => whole(left, right),
            Binary::Comparison(whole, _) => left.compared(right, whole),
        };
        return Ok(Constant::integers(shape, left.into_iter().zip(right).map(apply).collect()));
    }
    let left = repeated_to(left.float_array()?, &shape)?;
    let pairs = left.into_iter().zip(repeated_to(right.float_array()?, &shape)?);
    match function {
        Binary::Arithmetic(_, real) => {
            let values: Vec<f32> = pairs.map(|(left, right)| real(left, right)).collect();
            Constant::floats(shape, &values)
        }
        Binary::Comparison(_, real) => {
            let truths = pairs.map(|(left, right)| Whole::Known(i64::from(real(left, right))));
            Ok(Constant::integers(shape, truths.collect()))
        }
    }
}
