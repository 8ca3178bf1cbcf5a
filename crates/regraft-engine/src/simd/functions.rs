//! Elementary functions on vectors. The coefficients are minimax fits by weighted least squares (Lawson's iteration);
//! the errors that are stated were measured against double precision, and the tests hold them.
#![allow(
    clippy::excessive_precision,
    reason = "coefficients are the exact decimal expansions of the stored numbers"
)]

use super::{LANES, Simd};

/// `(exp(r) − 1 − r) / r²` on ±ln(2)/2, lowest power first.
const EXP: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_745, 0.001_381_454];

/// `ln(2)` in two parts; the first has so few bits that its product with a whole exponent is exact.
const LN_2: [f32; 2] = [0.693_359_375, -2.121_944_4e-4];

/// Beyond these, results would leave the normal numbers.
const EXP_RANGE: [f32; 2] = [-87.0, 88.0];

/// Beyond this, the hyperbolic tangent is 1 to within 5·10⁻⁹.
const TANH_RANGE: f32 = 10.0;

/// `2 artanh(s) / s` by powers of `s²`, lowest first; for `|s|` up to 1/3 what is left out is below 10⁻⁹.
const AREA_TANGENT: [f32; 9] =
    [2.0, 2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0, 2.0 / 11.0, 2.0 / 13.0, 2.0 / 15.0, 2.0 / 17.0];

/// Beyond this, the normal distribution function is 0 or 1 to within 2·10⁻⁸.
const NORMAL_RANGE: f32 = 5.5;

/// `(Φ(x) − 1/2) / x` by powers of `2 (x / 5.5)² − 1`, lowest first.
const NORMAL: [f32; 15] = [
    0.128_551_93,
    -0.064_172_477,
    0.047_736_99,
    -0.038_787_268,
    0.032_081_742,
    -0.026_112_469,
    0.020_287_983,
    -0.014_671_363,
    0.010_468_618,
    -0.007_674_675,
    0.004_236_385_7,
    -0.001_229_397,
    0.001_023_838_2,
    -0.001_368_830_7,
    5.380_799_9e-4,
];

/// Horner's rule.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, coefficients: &[f32; N], x: S::Vector) -> S::Vector {
    let mut sum = simd.splat(0.0);
    for coefficient in coefficients.iter().rev() {
        sum = simd.multiply_add(sum, x, simd.splat(*coefficient));
    }
    sum
}

/// `exp(r) − 1` and `n` for `x = r + n · ln(2)`; `x` is limited to −87 … 88.
#[inline(always)]
fn exp_parts<S: Simd>(simd: S, x: S::Vector) -> [S::Vector; 2] {
    let x = simd.clamp(x, simd.splat(EXP_RANGE[0]), simd.splat(EXP_RANGE[1]));
    let n = simd.round(simd.multiply(x, simd.splat(std::f32::consts::LOG2_E)));
    let r = simd.multiply_add(n, simd.splat(-LN_2[0]), x);
    let r = simd.multiply_add(n, simd.splat(-LN_2[1]), r);
    [simd.multiply_add(simd.multiply(r, r), polynomial(simd, &EXP, r), r), n]
}

/// `exp(x)` with a relative error below 1.5·10⁻⁷ (3·10⁻⁷ where no fused multiply–add is); `x` is limited to −87 … 88.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let [tail, n] = exp_parts(simd, x);
    simd.scale(simd.add(tail, simd.splat(1.0)), n)
}

/// As [`exp`], without the limits: beyond them the result goes to 0 and ∞ as it must.
#[inline(always)]
pub(crate) fn exp_of_any<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let near = simd.clamp(x, simd.splat(EXP_RANGE[0]), simd.splat(EXP_RANGE[1]));
    let beyond = simd.clamp(x, simd.splat(f32::MIN), simd.splat(f32::MAX));
    let beyond = simd.multiply_add(near, simd.splat(-1.0), beyond);
    simd.multiply(exp(simd, near), exp(simd, beyond))
}

/// `exp(x) − 1` with an error below 3·10⁻⁷ of itself near 0 and of 1 elsewhere below; `x` is limited as in [`exp`].
#[inline(always)]
pub(crate) fn exp_minus_one<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let [tail, n] = exp_parts(simd, x);
    let power = simd.scale(simd.splat(1.0), n);
    simd.multiply_add(tail, power, simd.add(power, simd.splat(-1.0)))
}

/// The hyperbolic tangent with a relative error below 4·10⁻⁷.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let near = simd.clamp(x, simd.splat(-TANH_RANGE), simd.splat(TANH_RANGE));
    let power = exp_minus_one(simd, simd.add(near, near));
    simd.divide(power, simd.add(power, simd.splat(2.0)))
}

/// `ln(x)` with an error below 3·10⁻⁷ of itself, or of 1 where that is larger: −∞ for 0, not-a-number below.
#[inline(always)]
pub(crate) fn log<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let given = simd.lanes(x);
    let (mut mantissas, mut exponents) = ([0.0; LANES], [0.0; LANES]);
    for (x, (mantissa, exponent)) in given.iter().zip(mantissas.iter_mut().zip(&mut exponents)) {
        // A subnormal number is made a normal one first.
        let tiny = *x < f32::MIN_POSITIVE;
        let bits = (if tiny { x * 8_388_608.0 } else { *x }).to_bits();
        let n = (bits.wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits()) as i32) >> 23;
        *mantissa = f32::from_bits(bits.wrapping_sub((n << 23) as u32));
        *exponent = (n - if tiny { 23 } else { 0 }) as f32;
    }
    // SAFETY: the arrays have 16 numbers.
    let (mantissa, exponent) = unsafe { (simd.load(mantissas.as_ptr()), simd.load(exponents.as_ptr())) };
    let near = log_near_one(simd, simd.add(mantissa, simd.splat(-1.0)));
    let sum = simd.multiply_add(exponent, simd.splat(LN_2[1]), near);
    let mut results = simd.lanes(simd.multiply_add(exponent, simd.splat(LN_2[0]), sum));
    for (result, x) in results.iter_mut().zip(given) {
        let special = if x == 0.0 { f32::NEG_INFINITY } else { f32::NAN };
        let special = if x == f32::INFINITY { x } else { special };
        *result = if x > 0.0 && x < f32::INFINITY { *result } else { special };
    }
    // SAFETY: the array has 16 numbers.
    unsafe { simd.load(results.as_ptr()) }
}

/// `ln(1 + f)` for `f` from −0.3 to 1: twice the area tangent of `f / (2 + f)`, by its series.
#[inline(always)]
fn log_near_one<S: Simd>(simd: S, f: S::Vector) -> S::Vector {
    let s = simd.divide(f, simd.add(f, simd.splat(2.0)));
    simd.multiply(s, polynomial(simd, &AREA_TANGENT, simd.multiply(s, s)))
}

/// `ln(1 + exp(x))` with an absolute error below 2·10⁻⁷, or as much of itself where it is large.
#[inline(always)]
pub(crate) fn softplus<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let distance = simd.maximum(x, simd.multiply(x, simd.splat(-1.0)));
    let power = exp(simd, simd.multiply(distance, simd.splat(-1.0)));
    let positive = simd.clamp(x, simd.splat(0.0), simd.splat(f32::INFINITY));
    simd.add(positive, log_near_one(simd, power))
}

/// `1 / (1 + exp(−x))` with an absolute error below 10⁻⁷.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let power = exp(simd, simd.multiply(x, simd.splat(-1.0)));
    simd.divide(simd.splat(1.0), simd.add(power, simd.splat(1.0)))
}

/// The normal distribution function with an absolute error below 2·10⁻⁷.
#[inline(always)]
pub(crate) fn normal<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let near = simd.clamp(x, simd.splat(-NORMAL_RANGE), simd.splat(NORMAL_RANGE));
    let factor = simd.splat(2.0 / (NORMAL_RANGE * NORMAL_RANGE));
    let scaled = simd.multiply_add(simd.multiply(near, near), factor, simd.splat(-1.0));
    simd.multiply_add(polynomial(simd, &NORMAL, scaled), near, simd.splat(0.5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        InstructionSet,
        simd::{Kernel, launch},
    };
    use std::sync::Mutex;

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Sigmoid,
        Normal,
        ExpOfAny,
        ExpMinusOne,
        Tanh,
        Log,
        Softplus,
    }

    struct Task<'a> {
        function: Function,
        numbers: &'a [f32],
        results: Mutex<Vec<f32>>,
    }

    impl Kernel for Task<'_> {
        #[inline(always)]
        fn run<S: Simd>(&self, simd: S) {
            let mut results = self.results.lock().unwrap();
            for lanes in self.numbers.chunks_exact(LANES) {
                // SAFETY: the chunk has 16 numbers.
                let x = unsafe { simd.load(lanes.as_ptr()) };
                let y = match self.function {
                    Function::Exp => exp(simd, x),
                    Function::Sigmoid => sigmoid(simd, x),
                    Function::Normal => normal(simd, x),
                    Function::ExpOfAny => exp_of_any(simd, x),
                    Function::ExpMinusOne => exp_minus_one(simd, x),
                    Function::Tanh => tanh(simd, x),
                    Function::Log => log(simd, x),
                    Function::Softplus => softplus(simd, x),
                };
                results.extend(simd.lanes(y));
            }
        }
    }

    fn compute(set: InstructionSet, function: Function, numbers: &[f32]) -> Vec<f32> {
        let task = Task { function, numbers, results: Mutex::default() };
        launch(set, &task);
        task.results.into_inner().unwrap()
    }

    fn available() -> impl Iterator<Item = InstructionSet> {
        InstructionSet::ALL.into_iter().filter(|set| set.is_available())
    }

    fn grid(low: f32, high: f32) -> Vec<f32> {
        (0..160_000).map(|index| low + (high - low) * index as f32 / 159_999.0).collect()
    }

    /// Largest value of `error(x, found)`.
    fn largest(numbers: &[f32], found: &[f32], error: impl Fn(f64, f64) -> f64) -> f64 {
        let errors = numbers.iter().zip(found).map(|(x, y)| error(f64::from(*x), f64::from(*y)));
        errors.fold(0.0, f64::max)
    }

    /// `1 − Φ(x)` for x ≥ 0: its power series where that is accurate, a continued fraction (Laplace) beyond.
    fn upper_tail(x: f64) -> f64 {
        let density = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
        if x < 3.0 {
            let (mut term, mut sum) = (x, x);
            for odd in (3..200).step_by(2) {
                term *= x * x / f64::from(odd);
                sum += term;
            }
            return 0.5 - density * sum;
        }
        density / (1..200).rev().fold(x, |below, k| x + f64::from(k) / below)
    }

    #[test]
    fn exp_is_accurate_relative_to_its_size() {
        for set in available() {
            let bound = if set == InstructionSet::Portable { 3e-7 } else { 1.5e-7 };
            for (low, high) in [(-87.0, 88.0), (-1.0, 1.0)] {
                let numbers = grid(low, high);
                let found = compute(set, Function::Exp, &numbers);
                let error = largest(&numbers, &found, |x, y| (y / x.exp() - 1.0).abs());
                assert!(error <= bound, "{}: {error:.2e}", set.name());
            }
        }
    }

    #[test]
    fn sigmoid_and_normal_are_accurate() {
        for set in available() {
            let numbers = grid(-100.0, 100.0).into_iter().chain(grid(-8.0, 8.0)).collect::<Vec<_>>();
            let found = compute(set, Function::Sigmoid, &numbers);
            let error = largest(&numbers, &found, |x, y| (y - 1.0 / (1.0 + (-x).exp())).abs());
            assert!(error <= 1e-7, "sigmoid, {}: {error:.2e}", set.name());
            let found = compute(set, Function::Normal, &numbers);
            let tail = |x: f64| if x < 0.0 { upper_tail(-x) } else { 1.0 - upper_tail(x) };
            let error = largest(&numbers, &found, |x, y| (y - tail(x)).abs());
            assert!(error <= 2e-7, "normal, {}: {error:.2e}", set.name());
        }
    }

    /// Largest error relative to the result.
    fn largest_relative(
        set: InstructionSet,
        function: Function,
        range: [f32; 2],
        exact: fn(f64) -> f64,
    ) -> f64 {
        let numbers = grid(range[0], range[1]);
        let found = compute(set, function, &numbers);
        largest(&numbers, &found, |x, y| (y - exact(x)).abs() / exact(x).abs().max(f64::MIN_POSITIVE))
    }

    #[test]
    fn functions_are_accurate_relative_to_their_size() {
        for set in available() {
            for range in [[-0.4, 0.4], [-0.001, 0.001], [-12.0, 12.0], [-30.0, 80.0]] {
                let tanh = largest_relative(set, Function::Tanh, range, f64::tanh);
                assert!(tanh <= 4e-7, "tanh, {}: {tanh:.2e} in {range:?}", set.name());
                let power = largest_relative(set, Function::ExpMinusOne, range, f64::exp_m1);
                assert!(power <= 4e-7, "exp − 1, {}: {power:.2e} in {range:?}", set.name());
            }
            for range in [[0.5, 2.0], [0.999, 1.001], [1e-6, 1e-3], [2.0, 1e6], [1e-44, 1e-38], [1e30, 3e38]]
            {
                let log = largest_relative(set, Function::Log, range, f64::ln);
                assert!(log <= 3e-7, "ln, {}: {log:.2e} in {range:?}", set.name());
            }
            for range in [[-80.0, 10.0], [-1.0, 1.0], [10.0, 1000.0]] {
                let softplus = largest_relative(set, Function::Softplus, range, |x| {
                    x.max(0.0) + (-x.abs()).exp().ln_1p()
                });
                assert!(softplus <= 5e-7, "softplus, {}: {softplus:.2e} in {range:?}", set.name());
            }
        }
    }

    #[test]
    fn limits_are_those_of_the_functions() {
        let [nan, infinity] = [f32::NAN, f32::INFINITY];
        let x = [
            nan,
            infinity,
            -infinity,
            0.0,
            -0.0,
            -1.0,
            1.0,
            89.0,
            -104.0,
            f32::MAX,
            f32::MIN,
            100.0,
            -100.0,
            88.5,
            0.0,
            0.0,
        ];
        for set in available() {
            let exp = compute(set, Function::ExpOfAny, &x);
            assert!(exp[0].is_nan(), "{}", set.name());
            assert_eq!(
                [1, 2, 3, 4, 7, 8, 9, 10].map(|at| exp[at]),
                [infinity, 0.0, 1.0, 1.0, infinity, 0.0, infinity, 0.0]
            );
            assert!((exp[13] / 88.5f32.exp() - 1.0).abs() < 1e-6);
            let log = compute(set, Function::Log, &x);
            assert!(log[0].is_nan() && log[2].is_nan() && log[5].is_nan(), "{}", set.name());
            assert_eq!([1, 3, 4, 6].map(|at| log[at]), [infinity, -infinity, -infinity, 0.0]);
            let tanh = compute(set, Function::Tanh, &x);
            assert!(tanh[0].is_nan(), "{}", set.name());
            assert_eq!([1, 2, 3, 9, 10].map(|at| tanh[at]), [1.0, -1.0, 0.0, 1.0, -1.0]);
            let softplus = compute(set, Function::Softplus, &x);
            assert!(softplus[0].is_nan() && softplus[2] >= 0.0, "{}", set.name());
            assert_eq!([1, 9, 11].map(|at| softplus[at]), [infinity, f32::MAX, 100.0]);
        }
    }

    #[test]
    fn extremes_stay_finite_and_not_a_number_stays() {
        let mut numbers = [0.0f32; LANES];
        numbers[..6].copy_from_slice(&[
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN,
            f32::from_bits(0x7FC0_0001),
        ]);
        for set in available() {
            for function in [Function::Exp, Function::Sigmoid, Function::Normal] {
                let found = compute(set, function, &numbers);
                assert!(found[0].is_nan() && found[5].is_nan(), "{}", set.name());
                assert!(found[1..5].iter().all(|value| value.is_finite()), "{}: {found:?}", set.name());
            }
        }
    }
}
