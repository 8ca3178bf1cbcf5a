//! How the learning rate changes from step to step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::{AdaptError, Result};

/// The learning rate of each step as a share of the largest one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Always the same.
    Constant,
    /// Down a tenth each time another of so many equal parts of the steps is over.
    Step {
        /// Number of parts.
        parts: usize,
    },
    /// Along half a cosine to zero, behind a linear warm-up.
    Cosine {
        /// Share of the steps in which the rate grows from zero, 0 to less than 1.
        warm_up: f64,
    },
    /// Up along a cosine and down along another (Smith 2018, `torch.optim.lr_scheduler.OneCycleLR`).
    OneCycle {
        /// Share of the steps in which the rate grows, above 0 and less than 1: 0.25 in fastai, 0.3 in PyTorch.
        rise: f64,
        /// What the largest rate is divided by at the beginning: 25.
        start: f64,
        /// What the first rate is divided by at the end: 1e5 in fastai, 1e4 in PyTorch.
        end: f64,
    },
    /// Linear up in the first tenth and down in the rest (Howard and Ruder 2018).
    SlantedTriangular {
        /// How much smaller the smallest rate is: 32.
        ratio: f64,
    },
}

impl Schedule {
    /// # Errors
    /// A number is outside its range.
    pub fn check(&self) -> Result<()> {
        let range = |name, found: f64, is_fine: bool, expected| {
            if is_fine && found.is_finite() {
                return Ok(());
            }
            Err(AdaptError::HyperParameter { name, found, expected })
        };
        match *self {
            Self::Constant => Ok(()),
            Self::Step { parts } => range("parts", parts as f64, parts > 0, "at least 1"),
            Self::Cosine { warm_up } => {
                range("warm-up", warm_up, (0.0..1.0).contains(&warm_up), "from 0 to less than 1")
            }
            Self::OneCycle { rise, start, end } => {
                range("rise", rise, rise > 0.0 && rise < 1.0, "between 0 and 1")?;
                range("start", start, start >= 1.0, "at least 1")?;
                range("end", end, end >= 1.0, "at least 1")
            }
            Self::SlantedTriangular { ratio } => range("ratio", ratio, ratio >= 1.0, "at least 1"),
        }
    }

    /// Share of the largest learning rate in step `step` of `steps`, counted from 0.
    pub fn share(&self, step: usize, steps: usize) -> f64 {
        let (step, steps) = (step as f64, steps.max(1) as f64);
        match *self {
            Self::Constant => 1.0,
            Self::Step { parts } => 0.1f64.powf((step * parts as f64 / steps).floor()),
            Self::Cosine { warm_up } => {
                let rising = warm_up * steps;
                if step < rising {
                    return (step + 1.0) / rising.max(1.0);
                }
                cosine(1.0, 0.0, (step - rising) / (steps - rising))
            }
            Self::OneCycle { rise, start, end } => {
                let peak = rise * steps - 1.0;
                let lowest = 1.0 / (start * end);
                if step < peak {
                    return cosine(1.0 / start, 1.0, step / peak);
                }
                cosine(1.0, lowest, (step - peak) / (steps - 1.0 - peak))
            }
            Self::SlantedTriangular { ratio } => {
                let cut = (steps * 0.1).floor().max(1.0);
                let share = if step < cut { step / cut } else { 1.0 - (step - cut) / (steps - cut).max(1.0) };
                (1.0 + share * (ratio - 1.0)) / ratio
            }
        }
    }
}

/// From one number to another along half a cosine.
fn cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * 0.5 * (1.0 + (PI * share).cos())
}
