//! Symbolic sizes.
//!
//! A convolution or pooling window turns a size `x` into `floor((x + a) / s) + 1`, and nested floors collapse:
//! `floor((floor((x + a) / d) + b) / s) = floor((x + a + d·b) / (d·s))` for whole numbers. So every size that a fully
//! convolutional network can produce has the one form `floor((symbol + offset) / divisor)`, and two wires have the
//! same symbolic size exactly when the two numbers agree. That makes the check of a residual addition an equality.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A size that is known only when data arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Symbol {
    /// Number of examples.
    Batch,
    /// Height of the input in pixels.
    Height,
    /// Width of the input in pixels.
    Width,
}

impl Symbol {
    fn letter(self) -> char {
        match self {
            Self::Batch => 'N',
            Self::Height => 'H',
            Self::Width => 'W',
        }
    }
}

/// One axis of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dim {
    /// A known size.
    Fixed(usize),
    /// `floor((symbol + offset) / divisor)`.
    Symbolic {
        /// What the size depends on.
        symbol: Symbol,
        /// Added before the division.
        offset: i64,
        /// At least 1.
        divisor: i64,
    },
}

/// Values for the symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bindings {
    /// Number of examples.
    pub batch: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

impl Dim {
    /// The symbol itself.
    pub fn symbol(symbol: Symbol) -> Self {
        Self::Symbolic { symbol, offset: 0, divisor: 1 }
    }

    /// The number of positions of a window: `floor((self + shift) / stride) + 1`, where `shift` is the padding minus
    /// the dilated kernel size. `None` where a fixed size is too small for one position.
    pub fn window(self, shift: i64, stride: usize) -> Option<Self> {
        let stride = i64::try_from(stride).ok().filter(|stride| *stride > 0)?;
        match self {
            Self::Fixed(size) => {
                let room = i64::try_from(size).ok()?.checked_add(shift).filter(|room| *room >= 0)?;
                usize::try_from(room / stride + 1).ok().map(Self::Fixed)
            }
            Self::Symbolic { symbol, offset, divisor } => {
                let next = divisor.checked_mul(stride)?;
                let offset = offset.checked_add(divisor.checked_mul(shift)?)?.checked_add(next)?;
                Some(Self::Symbolic { symbol, offset, divisor: next })
            }
        }
    }

    /// `ceil(self / stride)`: what TensorFlow's `SAME` padding keeps.
    pub fn ceil_div(self, stride: usize) -> Option<Self> {
        self.window(-1, stride)
    }

    /// The size when the symbols have these values. `None` where the result would be negative.
    pub fn bind(self, bindings: &Bindings) -> Option<usize> {
        let Self::Symbolic { symbol, offset, divisor } = self else {
            return if let Self::Fixed(size) = self { Some(size) } else { None };
        };
        let value = match symbol {
            Symbol::Batch => bindings.batch,
            Symbol::Height => bindings.height,
            Symbol::Width => bindings.width,
        };
        usize::try_from(i64::try_from(value).ok()?.checked_add(offset)?.div_euclid(divisor)).ok()
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Self::Fixed(size)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Symbolic { symbol, offset, divisor } = self else {
            return if let Self::Fixed(size) = self { write!(f, "{size}") } else { Ok(()) };
        };
        let letter = symbol.letter();
        match (offset, divisor) {
            (0, 1) => write!(f, "{letter}"),
            (_, 1) => write!(f, "{letter}{offset:+}"),
            (0, _) => write!(f, "⌊{letter}/{divisor}⌋"),
            // ⌊(x + d − 1) / d⌋ is ⌈x / d⌉, which is how people write it.
            (offset, divisor) if offset + 1 == *divisor => write!(f, "⌈{letter}/{divisor}⌉"),
            _ => write!(f, "⌊({letter}{offset:+})/{divisor}⌋"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_windows_collapse_to_the_same_numbers_as_step_by_step() {
        let windows = [(7, 2, 3), (3, 2, 1), (3, 1, 1), (1, 2, 0), (5, 3, 0), (2, 2, 0)];
        // From 80 on, every window of the chain has a position.
        for height in 80..300 {
            let bindings = Bindings { batch: 1, height, width: 1 };
            let (mut symbolic, mut size) = (Dim::symbol(Symbol::Height), height as i64);
            for (kernel, stride, padding) in windows {
                symbolic = symbolic.window(2 * padding - kernel, stride).unwrap();
                size = (size + 2 * padding - kernel) / stride as i64 + 1;
                assert_eq!(symbolic.bind(&bindings), usize::try_from(size).ok(), "height {height}");
            }
        }
    }

    #[test]
    fn both_ways_through_a_residual_block_agree() {
        let height = Dim::symbol(Symbol::Height);
        let three_by_three = height.window(2 - 3, 2).unwrap();
        let one_by_one = height.window(-1, 2).unwrap();
        assert_eq!(three_by_three, one_by_one);
        assert_eq!(three_by_three.to_string(), "⌈H/2⌉");
        assert_eq!(height.ceil_div(2), Some(one_by_one));
    }

    #[test]
    fn a_window_larger_than_a_fixed_size_has_no_position() {
        assert_eq!(Dim::Fixed(2).window(-3, 1), None);
        assert_eq!(Dim::Fixed(3).window(-3, 1), Some(Dim::Fixed(1)));
    }
}
