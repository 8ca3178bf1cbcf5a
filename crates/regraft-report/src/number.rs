//! Numbers as text, the same in every report: per cent with one decimal, a true minus sign, a dash for "not measured".

use crate::record::Estimate;

/// What stands for a number that was not measured.
pub(crate) const UNKNOWN: &str = "–";

/// `0.942` as `94.2 %`.
pub(crate) fn percent(share: f64) -> String {
    known(share, |share| format!("{} %", decimal(share * 100.0, 1)))
}

/// `0.942` as `94.2`, for columns whose head says per cent.
pub(crate) fn percent_bare(share: f64) -> String {
    known(share, |share| decimal(share * 100.0, 1))
}

/// The ends of an interval in per cent: `90.1 to 97.0`.
pub(crate) fn percent_interval(estimate: &Estimate) -> String {
    interval(estimate, percent_bare)
}

/// A difference of shares in points, with its sign: `+31.4`.
pub(crate) fn points(difference: f64) -> String {
    known(difference, |difference| signed(difference * 100.0))
}

/// The ends of an interval of differences: `+24.0 to +38.6`.
pub(crate) fn points_interval(estimate: &Estimate) -> String {
    interval(estimate, points)
}

/// The ends of an interval of plain numbers with three decimals.
pub(crate) fn plain_interval(estimate: &Estimate) -> String {
    interval(estimate, |value| fixed(value, 3))
}

/// A number with a fixed number of decimals.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    known(value, |value| decimal(value, decimals))
}

/// A share as a probability that never claims certainty: `> 99.9 %` and `< 0.1 %` at the ends.
pub(crate) fn probability(share: f64) -> String {
    if share > 0.999 {
        "> 99.9 %".to_owned()
    } else if share < 0.001 {
        "< 0.1 %".to_owned()
    } else {
        percent(share)
    }
}

/// The level of an interval: `0.95` as `95 %`, `0.975` as `97.5 %`.
pub(crate) fn level(level: f64) -> String {
    known(level, |level| format!("{} %", (level * 1000.0).round() / 10.0))
}

/// A count with a comma between thousands.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A large number with three digits and a unit prefix: `4.65 M`.
pub(crate) fn with_prefix(value: u64) -> String {
    const PREFIXES: [(f64, &str); 4] = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    let number = value as f64;
    match PREFIXES.iter().find(|(scale, _)| number >= *scale) {
        Some((scale, prefix)) => format!("{}{prefix}", three_digits(number / scale)),
        None => value.to_string(),
    }
}

/// Seconds with three digits: `0.04 s`, `7.31 s`, `126 s`.
pub(crate) fn seconds(value: f64) -> String {
    known(value, |value| format!("{} s", three_digits(value)))
}

/// `one` or `many` after a count: `1 warning`, `2 warnings`.
pub(crate) fn counted(value: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(value as u64), if value == 1 { one } else { many })
}

fn three_digits(value: f64) -> String {
    decimal(value, if value < 10.0 { 2 } else { usize::from(value < 100.0) })
}

fn interval(estimate: &Estimate, show: impl Fn(f64) -> String) -> String {
    if estimate.low.is_finite() && estimate.high.is_finite() {
        format!("{} to {}", show(estimate.low), show(estimate.high))
    } else {
        UNKNOWN.to_owned()
    }
}

fn known(value: f64, show: impl Fn(f64) -> String) -> String {
    if value.is_finite() { show(value) } else { UNKNOWN.to_owned() }
}

fn signed(value: f64) -> String {
    let text = decimal(value, 1);
    if text.starts_with('−') || text == "0.0" { text } else { format!("+{text}") }
}

/// Rounds, writes U+2212 for minus, and never writes a negative zero.
fn decimal(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.bytes().all(|byte| matches!(byte, b'0' | b'.')) => digits.to_owned(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_documented() {
        assert_eq!(percent(0.9417), "94.2 %");
        assert_eq!(percent(f64::NAN), "–");
        assert_eq!(points(-0.125), "−12.5");
        assert_eq!(points(0.314), "+31.4");
        assert_eq!(points(-0.0001), "0.0");
        assert_eq!(points_interval(&Estimate::new(0.0, -0.083, 0.167)), "−8.3 to +16.7");
        assert_eq!(percent_interval(&Estimate::new(0.9, f64::NAN, 1.0)), "–");
        assert_eq!(plain_interval(&Estimate::new(0.2, 0.1512, 0.25)), "0.151 to 0.250");
        assert_eq!(probability(1.0), "> 99.9 %");
        assert_eq!(probability(0.0), "< 0.1 %");
        assert_eq!(probability(f64::NAN), "–");
        assert_eq!((level(0.95).as_str(), level(0.975).as_str()), ("95 %", "97.5 %"));
    }

    #[test]
    fn counts_and_prefixes() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!((count(0).as_str(), count(999).as_str(), count(1000).as_str()), ("0", "999", "1,000"));
        assert_eq!(with_prefix(4_652_008), "4.65 M");
        assert_eq!(with_prefix(384_000_000), "384 M");
        assert_eq!(with_prefix(12), "12");
        assert_eq!(
            (seconds(0.04).as_str(), seconds(12.34).as_str(), seconds(126.4).as_str()),
            ("0.04 s", "12.3 s", "126 s")
        );
        assert_eq!(
            (counted(1, "warning", "warnings").as_str(), counted(2, "class", "classes").as_str()),
            ("1 warning", "2 classes")
        );
    }
}
