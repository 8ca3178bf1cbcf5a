//! Stochastic gradient descent with momentum, Adam with decoupled decay, and LAMB.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::{AdaptError, Result, positive, same_length};

/// Parameters that are trained alike.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterGroup {
    /// Their places among all values.
    pub range: Range<usize>,
    /// Multiplies the learning rate: less than 1 for layers that should move less.
    pub learning_rate_factor: f64,
    /// Weight decay per step and learning rate; 0 for biases and normalisation.
    pub weight_decay: f64,
}

/// How values follow from gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// `g ← g + decay · w; m ← momentum · m + g; w ← w − rate · m`, with Nesterov's momentum `w ← w − rate · (g + momentum · m)`
    /// (`torch.optim.SGD`).
    Sgd {
        /// Share of the last step that is kept, 0 to less than 1.
        momentum: f64,
        /// Whether the gradient is taken ahead.
        nesterov: bool,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019, `torch.optim.AdamW`).
    AdamW {
        /// Share of the last mean of gradients that is kept.
        beta1: f64,
        /// Share of the last mean of squares that is kept.
        beta2: f64,
        /// Is added to the square root of the mean of squares.
        epsilon: f64,
    },
    /// Adam's steps, each group's scaled to the norm of its values (You et al. 2020, `Lamb` of timm): `u ← m̂ / (√v̂ + epsilon) + decay ·
    /// w; w ← w − rate · ‖w‖ / ‖u‖ · u`. A group without weight decay takes Adam's steps as they are, and so does one of zeros.
    Lamb {
        /// Share of the last mean of gradients that is kept.
        beta1: f64,
        /// Share of the last mean of squares that is kept.
        beta2: f64,
        /// Is added to the square root of the mean of squares.
        epsilon: f64,
    },
}

impl Optimizer {
    /// AdamW with PyTorch's defaults.
    pub const ADAMW: Self = Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    /// LAMB with timm's defaults.
    pub const LAMB: Self = Self::Lamb { beta1: 0.9, beta2: 0.999, epsilon: 1e-6 };
    /// Nesterov's momentum of 0.9.
    pub const SGD: Self = Self::Sgd { momentum: 0.9, nesterov: true };

    /// # Errors
    /// A number is outside its range.
    pub fn check(&self) -> Result<()> {
        let share = |name, found| {
            if (0.0..1.0).contains(&found) {
                return Ok(());
            }
            Err(AdaptError::HyperParameter { name, found, expected: "from 0 to less than 1" })
        };
        match *self {
            Self::Sgd { momentum, .. } => share("momentum", momentum),
            Self::AdamW { beta1, beta2, epsilon } | Self::Lamb { beta1, beta2, epsilon } => {
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                positive("epsilon", epsilon)
            }
        }
    }
}

/// What an optimiser remembers from step to step.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct OptimizerState {
    /// Steps so far.
    pub steps: u64,
    /// Momentum, or means of gradients; one number a value.
    pub first: Vec<f32>,
    /// Means of squared gradients; of Adam and LAMB only.
    pub second: Vec<f32>,
}

/// Numbers that one thread updates at a time.
pub(super) const CHUNK: usize = 1 << 14;

impl OptimizerState {
    /// Takes a step. Values outside of all groups stay as they are.
    ///
    /// # Errors
    /// There are not as many gradients as values, a group reaches beyond them, or the learning rate is not a number of at
    /// least 0.
    pub fn step(
        &mut self,
        optimizer: &Optimizer,
        groups: &[ParameterGroup],
        learning_rate: f64,
        (values, gradients): (&mut [f32], &[f32]),
    ) -> Result<()> {
        same_length("gradients", values.len(), gradients.len())?;
        if !learning_rate.is_finite() || learning_rate < 0.0 {
            let (name, expected) = ("learning rate", "finite and at least 0");
            return Err(AdaptError::HyperParameter { name, found: learning_rate, expected });
        }
        self.first.resize(values.len(), 0.0);
        if matches!(optimizer, Optimizer::AdamW { .. } | Optimizer::Lamb { .. }) {
            self.second.resize(values.len(), 0.0);
        }
        self.steps += 1;
        for group in groups {
            let outside = || AdaptError::Shape {
                what: "values of a parameter group",
                expected: gradients.len(),
                found: group.range.end,
            };
            let range = group.range.clone();
            let values = values.get_mut(range.clone()).ok_or_else(outside)?;
            let gradients = gradients.get(range.clone()).ok_or_else(outside)?;
            let first = self.first.get_mut(range.clone()).ok_or_else(outside)?;
            let rate = learning_rate * group.learning_rate_factor;
            match *optimizer {
                Optimizer::Sgd { momentum, nesterov } => {
                    let rule = Sgd { momentum, nesterov, rate, decay: group.weight_decay };
                    rule.update(values, gradients, first);
                }
                Optimizer::AdamW { beta1, beta2, epsilon } => {
                    let second = self.second.get_mut(range).ok_or_else(outside)?;
                    let (corrections, decay) =
                        (corrections(beta1, beta2, self.steps), rate * group.weight_decay);
                    Adam { beta1, beta2, epsilon, rate, decay, corrections }
                        .adam_w(values, gradients, first, second);
                }
                Optimizer::Lamb { beta1, beta2, epsilon } => {
                    let second = self.second.get_mut(range).ok_or_else(outside)?;
                    let (corrections, decay) = (corrections(beta1, beta2, self.steps), group.weight_decay);
                    Adam { beta1, beta2, epsilon, rate, decay, corrections }
                        .lamb(values, gradients, first, second);
                }
            }
        }
        Ok(())
    }
}

/// What means of gradients and of their squares lack because they began at zero.
fn corrections(beta1: f64, beta2: f64, steps: u64) -> [f64; 2] {
    let steps = steps.min(i32::MAX as u64) as i32;
    [beta1, beta2].map(|beta| 1.0 - beta.powi(steps))
}

struct Sgd {
    momentum: f64,
    nesterov: bool,
    rate: f64,
    decay: f64,
}

impl Sgd {
    fn update(&self, values: &mut [f32], gradients: &[f32], momenta: &mut [f32]) {
        let [momentum, rate, decay] = [self.momentum, self.rate, self.decay].map(|number| number as f32);
        let chunks = values.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK));
        chunks.zip(momenta.par_chunks_mut(CHUNK)).for_each(|((values, gradients), momenta)| {
            for ((value, gradient), kept) in values.iter_mut().zip(gradients).zip(momenta) {
                let gradient = gradient + decay * *value;
                *kept = momentum * *kept + gradient;
                *value -= rate * if self.nesterov { gradient + momentum * *kept } else { *kept };
            }
        });
    }
}

/// Means of gradients and of their squares, and what is made of them.
struct Adam {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    rate: f64,
    decay: f64,
    /// What the means lack because they began at zero.
    corrections: [f64; 2],
}

impl Adam {
    fn adam_w(&self, values: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32]) {
        let [beta1, beta2, epsilon] = [self.beta1, self.beta2, self.epsilon].map(|number| number as f32);
        // 1 − 0.999 in single precision would be off in the fifth digit.
        let [new1, new2] = [self.beta1, self.beta2].map(|beta| (1.0 - beta) as f32);
        let (rate, kept) = ((self.rate / self.corrections[0]) as f32, (1.0 - self.decay) as f32);
        let scale = (1.0 / self.corrections[1].sqrt()) as f32;
        let chunks = values.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK));
        let chunks = chunks.zip(first.par_chunks_mut(CHUNK)).zip(second.par_chunks_mut(CHUNK));
        chunks.for_each(|(((values, gradients), first), second)| {
            let numbers = values.iter_mut().zip(gradients).zip(first).zip(second);
            for (((value, gradient), first), second) in numbers {
                *first = beta1 * *first + new1 * gradient;
                *second = beta2 * *second + new2 * gradient * gradient;
                *value = *value * kept - rate * *first / (second.sqrt() * scale + epsilon);
            }
        });
    }

    fn lamb(&self, values: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32]) {
        self.follow(gradients, first, second);
        let rate = (self.rate * self.trust(values, first, second)) as f32;
        let direction = self.direction();
        let chunks = values.par_chunks_mut(CHUNK).zip(first.par_chunks(CHUNK)).zip(second.par_chunks(CHUNK));
        chunks.for_each(|((values, first), second)| {
            for ((value, first), second) in values.iter_mut().zip(first).zip(second) {
                *value -= rate * direction(*value, *first, *second);
            }
        });
    }

    /// Takes gradients into the means.
    fn follow(&self, gradients: &[f32], first: &mut [f32], second: &mut [f32]) {
        let [beta1, beta2] = [self.beta1, self.beta2].map(|beta| beta as f32);
        let [new1, new2] = [self.beta1, self.beta2].map(|beta| (1.0 - beta) as f32);
        let chunks = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
        chunks.zip(gradients.par_chunks(CHUNK)).for_each(|((first, second), gradients)| {
            for ((first, second), gradient) in first.iter_mut().zip(second).zip(gradients) {
                *first = beta1 * *first + new1 * gradient;
                *second = beta2 * *second + new2 * gradient * gradient;
            }
        });
    }

    /// The direction of a value's step, from the value and its two means.
    fn direction(&self) -> impl Fn(f32, f32, f32) -> f32 + Sync {
        let [of_first, of_second] = self.corrections;
        let (first_scale, second_scale) = ((1.0 / of_first) as f32, (1.0 / of_second.sqrt()) as f32);
        let (epsilon, decay) = (self.epsilon as f32, self.decay as f32);
        move |value, first, second| {
            first * first_scale / (second.sqrt() * second_scale + epsilon) + decay * value
        }
    }

    /// The norm of the values over that of their directions, each added up in double precision in one order.
    fn trust(&self, values: &[f32], first: &[f32], second: &[f32]) -> f64 {
        if self.decay == 0.0 {
            return 1.0;
        }
        let direction = self.direction();
        let chunks = values.par_chunks(CHUNK).zip(first.par_chunks(CHUNK)).zip(second.par_chunks(CHUNK));
        let squares = chunks.map(|((values, first), second)| {
            values.iter().zip(first).zip(second).fold([0.0; 2], |sums, ((value, first), second)| {
                plus(
                    sums,
                    [*value, direction(*value, *first, *second)].map(|number| f64::from(number).powi(2)),
                )
            })
        });
        let squares: Vec<[f64; 2]> = squares.collect();
        let [values, directions] = squares.into_iter().fold([0.0; 2], plus).map(f64::sqrt);
        if values > 0.0 && directions > 0.0 { values / directions } else { 1.0 }
    }
}

fn plus(one: [f64; 2], other: [f64; 2]) -> [f64; 2] {
    [one[0] + other[0], one[1] + other[1]]
}

/// Scales gradients so that their norm over all parameters is at most `largest` (Pascanu et al. 2013), and returns the norm
/// before. The squares are added in double precision in one order.
pub fn clip_by_global_norm(gradients: &mut [f32], largest: f64) -> f64 {
    let squares = |chunk: &[f32]| chunk.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>();
    let sums: Vec<f64> = gradients.par_chunks(CHUNK).map(squares).collect();
    let norm = sums.iter().sum::<f64>().sqrt();
    if norm > largest {
        let factor = (largest / norm) as f32;
        gradients
            .par_chunks_mut(CHUNK)
            .for_each(|chunk| chunk.iter_mut().for_each(|number| *number *= factor));
    }
    norm
}
