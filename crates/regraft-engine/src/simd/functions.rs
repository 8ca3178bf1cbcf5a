//! Elementary functions on vectors. The coefficients are minimax fits by weighted least squares (Lawson's iteration);
//! the errors that are stated were measured against double precision, and the tests hold them.
#![allow(
    clippy::excessive_precision,
    reason = "coefficients are the exact decimal expansions of the stored numbers"
)]

use super::Simd;

/// `(exp(r) − 1 − r) / r²` on ±ln(2)/2, lowest power first.
const EXP: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_745, 0.001_381_454];

/// `ln(2)` in two parts; the first has so few bits that its product with a whole exponent is exact.
const LN_2: [f32; 2] = [0.693_359_375, -2.121_944_4e-4];

/// Beyond these, results would leave the normal numbers.
const EXP_RANGE: [f32; 2] = [-87.0, 88.0];

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

/// `exp(x)` with a relative error below 1.5·10⁻⁷ (3·10⁻⁷ where no fused multiply–add is); `x` is limited to −87 … 88.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let x = simd.clamp(x, simd.splat(EXP_RANGE[0]), simd.splat(EXP_RANGE[1]));
    let n = simd.round(simd.multiply(x, simd.splat(std::f32::consts::LOG2_E)));
    let r = simd.multiply_add(n, simd.splat(-LN_2[0]), x);
    let r = simd.multiply_add(n, simd.splat(-LN_2[1]), r);
    let tail = simd.multiply_add(simd.multiply(r, r), polynomial(simd, &EXP, r), r);
    simd.scale(simd.add(tail, simd.splat(1.0)), n)
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
        simd::{Kernel, LANES, launch},
    };
    use std::sync::Mutex;

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Sigmoid,
        Normal,
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
