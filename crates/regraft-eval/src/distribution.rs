//! The few quantiles and tail probabilities that intervals and tests need.
//!
//! The distributions are `statrs`'s. Its constructors fail only for parameters that no caller here can pass; the
//! fall-back is the value that claims the least: NaN becomes an infinitely wide interval and a p-value of 1.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::gamma::ln_gamma;

/// z with P(|Z| ≤ z) = `confidence` for a standard normal Z.
pub(crate) fn normal_quantile(confidence: f64) -> f64 {
    Normal::standard().inverse_cdf(0.5 + confidence / 2.0)
}

/// t with P(|T| ≤ t) = `confidence` for Student's T with `freedom` ≥ 1 degrees of freedom.
pub(crate) fn t_quantile(confidence: f64, freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(0.5 + confidence / 2.0))
}

/// P(|T| ≥ |t|) for Student's T with `freedom` degrees of freedom.
pub(crate) fn t_two_sided(t: f64, freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(1.0, |distribution| 2.0 * distribution.cdf(-t.abs()))
}

/// min(1, 2·P(K ≤ k)) for K binomial with n trials of probability ½, k ≤ n/2.
///
/// The terms shrink from k downwards, so the sum starts at the greatest and stops where a term no longer counts.
pub(crate) fn binomial_half_two_sided(k: usize, n: usize) -> f64 {
    let log_choose = ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0);
    let (mut sum, mut term) = (1.0, 1.0);
    for i in (1..=k).rev() {
        term *= i as f64 / (n - i + 1) as f64;
        sum += term;
        if term < sum * f64::EPSILON * 0.01 {
            break;
        }
    }
    (2.0 * sum * (log_choose - n as f64 * std::f64::consts::LN_2).exp()).min(1.0)
}
