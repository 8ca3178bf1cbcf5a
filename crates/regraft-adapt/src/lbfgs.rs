//! Limited-memory BFGS with a diagonal preconditioner and a strong Wolfe line search
//! (Nocedal & Wright, Numerical Optimization, 2006, algorithms 7.4, 3.5 and 3.6).
//!
//! The initial inverse Hessian of each step is a multiple of a diagonal that the caller knows to be close to the
//! truth. The iteration stops when ½·gᵀD⁻¹g, the decrease that a Newton step with that diagonal would still promise,
//! falls below the tolerance: a bound in units of the objective, where a bound on |g| would mean nothing without the
//! curvature.

use std::collections::VecDeque;

/// Pairs of steps and gradient changes that are remembered.
const MEMORY: usize = 12;
/// Sufficient decrease, c₁.
const DECREASE: f64 = 1e-4;
/// Curvature, c₂.
const CURVATURE: f64 = 0.9;
/// Function values that differ by less than this fraction are equal but for rounding.
const ROUNDING: f64 = 1e-14;

/// Where to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopping {
    /// Promised decrease of the objective below which it counts as minimal.
    pub(crate) tolerance: f64,
    /// Greatest number of steps.
    pub(crate) steps: usize,
}

/// A point with its value and gradient.
#[derive(Debug, Clone)]
struct Point {
    position: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// A remembered step s, gradient change y and 1/(sᵀy).
#[derive(Debug)]
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    inverse: f64,
}

/// Minimises a convex `objective`, which writes its gradient into its second argument and returns its value, from
/// `start`. `inverse_diagonal` approximates the inverse of the Hessian's diagonal.
pub(crate) fn minimise(
    start: Vec<f64>,
    inverse_diagonal: &[f64],
    stopping: Stopping,
    mut objective: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Vec<f64> {
    let mut pairs = VecDeque::with_capacity(MEMORY);
    let mut current = evaluate(start, &mut objective);
    for _ in 0..stopping.steps {
        if promised_decrease(&current.gradient, inverse_diagonal) <= stopping.tolerance {
            break;
        }
        let direction = direction(&current.gradient, &pairs, inverse_diagonal);
        let Some(next) = line_search(&current, &direction, &mut objective) else { break };
        remember(&mut pairs, &current, &next);
        current = next;
    }
    current.position
}

fn promised_decrease(gradient: &[f64], inverse_diagonal: &[f64]) -> f64 {
    0.5 * gradient.iter().zip(inverse_diagonal).map(|(g, d)| g * g * d).sum::<f64>()
}

/// −H·g by the two-loop recursion.
fn direction(gradient: &[f64], pairs: &VecDeque<Pair>, inverse_diagonal: &[f64]) -> Vec<f64> {
    let mut result: Vec<f64> = gradient.iter().map(|value| -value).collect();
    let mut coefficients = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let coefficient = pair.inverse * dot(&pair.step, &result);
        add_scaled(&mut result, -coefficient, &pair.change);
        coefficients.push(coefficient);
    }
    let scale = pairs.back().map_or(1.0, |pair| diagonal_scale(pair, inverse_diagonal));
    result.iter_mut().zip(inverse_diagonal).for_each(|(value, diagonal)| *value *= scale * diagonal);
    for (pair, coefficient) in pairs.iter().zip(coefficients.iter().rev()) {
        let correction = pair.inverse * dot(&pair.change, &result);
        add_scaled(&mut result, coefficient - correction, &pair.step);
    }
    result
}

/// sᵀy / yᵀD⁻¹y: the multiple of the diagonal that fits the last step.
fn diagonal_scale(pair: &Pair, inverse_diagonal: &[f64]) -> f64 {
    let weighted: f64 = pair.change.iter().zip(inverse_diagonal).map(|(y, d)| y * y * d).sum();
    1.0 / (pair.inverse * weighted)
}

fn remember(pairs: &mut VecDeque<Pair>, current: &Point, next: &Point) {
    let step = difference(&next.position, &current.position);
    let change = difference(&next.gradient, &current.gradient);
    let product = dot(&step, &change);
    if product <= f64::EPSILON * dot(&change, &change).sqrt() * dot(&step, &step).sqrt() {
        return;
    }
    if pairs.len() == MEMORY {
        pairs.pop_front();
    }
    pairs.push_back(Pair { step, change, inverse: 1.0 / product });
}

/// One trial of the line search: its length, point and slope along the direction.
struct Trial {
    length: f64,
    point: Point,
    slope: f64,
}

/// A point along `direction` that satisfies the strong Wolfe conditions, or the best one found; `None` if none is
/// better than where the search starts.
fn line_search(
    start: &Point,
    direction: &[f64],
    objective: &mut impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Option<Point> {
    let slope = dot(&start.gradient, direction);
    if slope >= 0.0 {
        return None;
    }
    let mut try_length = |length: f64| {
        let mut position = start.position.clone();
        add_scaled(&mut position, length, direction);
        let point = evaluate(position, objective);
        Trial { length, slope: dot(&point.gradient, direction), point }
    };
    let rounding = ROUNDING * start.value.abs();
    let decreases =
        |trial: &Trial| trial.point.value <= start.value + DECREASE * trial.length * slope + rounding;
    let mut low = Trial { length: 0.0, point: start.clone(), slope };
    let mut high: Option<Trial> = None;
    let mut length = 1.0;
    for _ in 0..30 {
        let trial = try_length(length);
        if !decreases(&trial) || trial.point.value > low.point.value + rounding {
            high = Some(trial);
        } else if trial.slope.abs() <= -CURVATURE * slope {
            return Some(trial.point);
        } else {
            if trial.slope * (high.as_ref().map_or(f64::INFINITY, |end| end.length) - low.length) >= 0.0 {
                high = Some(low);
            }
            low = trial;
        }
        length = match &high {
            Some(end) => interpolate(&low, end),
            None => 2.0 * low.length,
        };
    }
    (low.length > 0.0).then_some(low.point)
}

/// The minimum of the cubic through two trials (Nocedal & Wright, equation 3.59), kept off the ends of the interval.
fn interpolate(low: &Trial, high: &Trial) -> f64 {
    let width = high.length - low.length;
    let first = low.slope + high.slope - 3.0 * (high.point.value - low.point.value) / width;
    let second = width.signum() * (first * first - low.slope * high.slope).max(0.0).sqrt();
    let fraction = 1.0 - (high.slope + second - first) / (high.slope - low.slope + 2.0 * second);
    let safe = if fraction.is_finite() { fraction.clamp(0.1, 0.9) } else { 0.5 };
    low.length + safe * width
}

fn evaluate(position: Vec<f64>, objective: &mut impl FnMut(&[f64], &mut [f64]) -> f64) -> Point {
    let mut gradient = vec![0.0; position.len()];
    let value = objective(&position, &mut gradient);
    Point { position, value, gradient }
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

fn add_scaled(target: &mut [f64], factor: f64, values: &[f64]) {
    target.iter_mut().zip(values).for_each(|(target, value)| *target += factor * value);
}

fn difference(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter().zip(right).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: Stopping = Stopping { tolerance: 1e-24, steps: 500 };

    #[test]
    fn an_ill_conditioned_quadratic() {
        let curvature: Vec<f64> = (0..50).map(|i| 10f64.powf(f64::from(i) / 20.0)).collect();
        let solution = minimise(vec![1.0; 50], &[1.0; 50], EXACT, |x, gradient| {
            gradient.iter_mut().zip(x).zip(&curvature).for_each(|((g, x), c)| *g = c * (x - 2.0));
            x.iter().zip(&curvature).map(|(x, c)| 0.5 * c * (x - 2.0).powi(2)).sum()
        });
        assert!(solution.iter().all(|x| (x - 2.0).abs() < 1e-8), "{solution:?}");
    }

    #[test]
    fn a_valley_that_needs_the_line_search() {
        let rosenbrock = |x: &[f64], gradient: &mut [f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            gradient.copy_from_slice(&[-2.0 * a - 400.0 * x[0] * b, 200.0 * b]);
            a * a + 100.0 * b * b
        };
        let solution = minimise(vec![-1.2, 1.0], &[1.0, 1.0], EXACT, rosenbrock);
        assert!(solution.iter().all(|x| (x - 1.0).abs() < 1e-8), "{solution:?}");
    }
}
