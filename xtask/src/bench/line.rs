//! A straight line through measurements.

use std::fmt;

/// `fixed + slope · x`, and how well it fits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) fixed: f64,
    pub(crate) slope: f64,
    /// Largest difference of a measurement from the line, as a share of the measurement.
    pub(crate) worst: f64,
}

impl Line {
    /// The line with the smallest squares of relative differences, so that small measurements count as much as large
    /// ones. `None` for fewer than two places.
    pub(crate) fn through(points: &[[f64; 2]]) -> Option<Self> {
        let sum = |term: fn(f64, f64) -> f64| points.iter().map(|[x, y]| term(*x, *y) / (y * y)).sum::<f64>();
        let (ones, xs, ys) = (sum(|_, _| 1.0), sum(|x, _| x), sum(|_, y| y));
        let (squares, products) = (sum(|x, _| x * x), sum(|x, y| x * y));
        let determinant = ones * squares - xs * xs;
        if determinant <= f64::EPSILON * ones * squares {
            return None;
        }
        let slope = (ones * products - xs * ys) / determinant;
        let fixed = (ys - slope * xs) / ones;
        let off = points.iter().map(|[x, y]| ((fixed + slope * x) / y - 1.0).abs());
        Some(Self { fixed, slope, worst: off.fold(0.0, f64::max) })
    }
}

/// A sentence about measurements `y` in `unit` by number of `each`.
pub(crate) fn sentence(y: &str, unit: &str, each: &str, points: &[[f64; 2]]) -> String {
    Line::through(points).map_or_else(String::new, |Line { fixed, slope, worst }| {
        let (fixed, slope, percent) = (Figure(fixed), Figure(slope), worst * 100.0);
        format!(
            "{y}: {fixed} {unit} and {slope} {unit} {each}; no measurement is further than {percent:.0} % from that \
             straight line.\n"
        )
    })
}

/// A number with three digits that mean something, and no more than three behind the point.
struct Figure(f64);

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounding can add a digit: 0.9996 is 1.00.
        let rounded = format!("{:.2e}", self.0);
        let magnitude = rounded.split_once('e').and_then(|(_, magnitude)| magnitude.parse().ok());
        let decimals = usize::try_from(2 - magnitude.unwrap_or(0)).unwrap_or(0).min(3);
        write!(formatter, "{:.decimals$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Figure, Line, sentence};

    #[test]
    fn a_straight_line_is_found_and_a_bent_one_is_told() {
        let straight: Vec<[f64; 2]> = [1.0, 2.0, 4.0, 8.0].map(|x| [x, 3.0 + 0.5 * x]).to_vec();
        let line = Line::through(&straight).unwrap();
        assert!((line.fixed - 3.0).abs() < 1e-9 && (line.slope - 0.5).abs() < 1e-9 && line.worst < 1e-9);
        let bent: Vec<[f64; 2]> = [1.0, 2.0, 4.0, 8.0].map(|x: f64| [x, x * x]).to_vec();
        assert!(Line::through(&bent).unwrap().worst > 0.3);
        assert!(Line::through(&[[1.0, 1.0]]).is_none());
        let text = sentence("Memory", "MB", "an image", &straight);
        assert!(text.starts_with("Memory: 3.00 MB and 0.500 MB an image; no measurement"), "{text}");
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(
            [0.01234, 0.9996, 1234.0, -0.5].map(|x| Figure(x).to_string()),
            ["0.012", "1.00", "1234", "-0.500"]
        );
    }
}
