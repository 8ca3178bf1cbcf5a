//! Activations that are more than a clamp. They are applied to what a kernel has just stored and the first-level cache
//! still holds, so that kernels without one pay nothing.

use regraft_graph::{Approximation, Op};

use crate::{
    element::Number,
    simd::{LANES, Simd, functions},
};

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Sigmoid,
    Silu,
    HardSigmoid,
    HardSwish,
    /// `x · Φ(x)`.
    Gelu,
    /// `x · sigmoid(2 √(2/π) (x + 0.044715 x³))`, which is the form with the hyperbolic tangent.
    TanhGelu,
}

/// `2 √(2/π)` and that times 0.044715.
pub(crate) const TANH_GELU: [f32; 2] = [1.595_769_2, 0.071_354_81];

impl Function {
    /// The function that an operator is.
    pub(crate) fn of(op: &Op) -> Option<Self> {
        Some(match op {
            Op::Sigmoid => Self::Sigmoid,
            Op::Silu => Self::Silu,
            Op::HardSigmoid => Self::HardSigmoid,
            Op::HardSwish => Self::HardSwish,
            Op::Gelu(gelu) if gelu.approximate == Approximation::None => Self::Gelu,
            Op::Gelu(_) => Self::TanhGelu,
            _ => return None,
        })
    }

    /// The value at `x`.
    #[inline(always)]
    pub(crate) fn evaluate<S: Simd>(self, simd: S, x: S::Vector) -> S::Vector {
        match self {
            Self::Sigmoid => functions::sigmoid(simd, x),
            Self::Silu => simd.multiply(x, functions::sigmoid(simd, x)),
            Self::HardSigmoid => hard_sigmoid(simd, x),
            Self::HardSwish => simd.multiply(x, hard_sigmoid(simd, x)),
            Self::Gelu => simd.multiply(x, functions::normal(simd, x)),
            Self::TanhGelu => {
                let [linear, cubic] = TANH_GELU.map(|factor| simd.splat(factor));
                let slope = simd.multiply_add(simd.multiply(x, x), cubic, linear);
                simd.multiply(x, functions::sigmoid(simd, simd.multiply(x, slope)))
            }
        }
    }

    /// Replaces vectors by their values.
    ///
    /// # Safety
    /// `at` must be valid for reading and writing `vectors` vectors.
    #[inline(always)]
    pub(crate) unsafe fn apply<S: Simd, N: Number>(self, simd: S, at: *mut N, vectors: usize) {
        for vector in 0..vectors {
            // SAFETY: the caller's promise.
            unsafe {
                let place = at.add(vector * LANES);
                N::store(simd, place, self.evaluate(simd, N::load(simd, place)));
            }
        }
    }
}

/// `min(max(x / 6 + 1/2, 0), 1)`.
#[inline(always)]
fn hard_sigmoid<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let line = simd.multiply_add(x, simd.splat(1.0 / 6.0), simd.splat(0.5));
    simd.clamp(line, simd.splat(0.0), simd.splat(1.0))
}
