//! Whole numbers of a file's shape arithmetic, which depend on what is not known while the file is read.

/// A whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Known(i64),
    /// That many times the number of examples.
    Batch(i64),
    /// Another for each example: `offset + stride · number of the example`.
    Example {
        stride: i64,
        offset: i64,
    },
    /// It depends on the image's size, or on the number of examples in another way.
    Unknown,
}

impl From<Option<i64>> for Whole {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Unknown, Self::Known)
    }
}

impl Whole {
    pub(super) fn known(self) -> Option<i64> {
        if let Self::Known(number) = self { Some(number) } else { None }
    }

    pub(super) fn map(self, function: impl Fn(i64) -> Option<i64>) -> Self {
        self.known().and_then(function).into()
    }

    pub(super) fn with(self, other: Self, function: impl Fn(i64, i64) -> Option<i64>) -> Self {
        match (self, other) {
            (Self::Known(left), Self::Known(right)) => function(left, right).into(),
            _ => Self::Unknown,
        }
    }

    pub(super) fn times(self, other: Self) -> Self {
        match (self, other) {
            (Self::Batch(many), Self::Known(factor)) | (Self::Known(factor), Self::Batch(many)) => {
                many.checked_mul(factor).map_or(Self::Unknown, Self::Batch)
            }
            (Self::Example { stride, offset }, Self::Known(factor))
            | (Self::Known(factor), Self::Example { stride, offset }) => {
                match (stride.checked_mul(factor), offset.checked_mul(factor)) {
                    (Some(stride), Some(offset)) => Self::Example { stride, offset },
                    _ => Self::Unknown,
                }
            }
            _ => self.with(other, i64::checked_mul),
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Example { stride, offset }, Self::Known(more))
            | (Self::Known(more), Self::Example { stride, offset }) => {
                let offset = offset.checked_add(more);
                offset.map_or(Self::Unknown, |offset| Self::Example { stride, offset })
            }
            _ => self.with(other, i64::checked_add),
        }
    }

    pub(super) fn over(self, other: Self) -> Self {
        let exact = |left: i64, right: i64| (left.checked_rem(right)? == 0).then_some(left / right);
        match (self, other) {
            (Self::Batch(many), Self::Known(divisor)) => {
                exact(many, divisor).map_or(Self::Unknown, Self::Batch)
            }
            (Self::Batch(many), Self::Batch(other)) => exact(many, other).into(),
            _ => self.with(other, i64::checked_div),
        }
    }

    /// Whether two numbers compare so. A number of examples is at least one, whatever else it is.
    pub(super) fn compared(self, other: Self, function: impl Fn(i64, i64) -> bool) -> Self {
        match (self, other) {
            (Self::Known(left), Self::Known(right))
            | (Self::Batch(left @ 1..), Self::Known(right @ ..=0))
            | (Self::Known(left @ ..=0), Self::Batch(right @ 1..)) => {
                Self::Known(i64::from(function(left, right)))
            }
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Whole::{Batch, Known, Unknown};

    #[test]
    fn numbers_of_examples_stay_apart() {
        assert_eq!(Batch(2).times(Known(3)), Batch(6));
        assert_eq!(Batch(6).over(Known(3)), Batch(2));
        assert_eq!(Batch(6).over(Batch(2)), Known(3));
        assert_eq!((Batch(6).over(Known(4)), Batch(1).times(Batch(1))), (Unknown, Unknown));
        assert_eq!(Batch(1).with(Known(1), i64::checked_add), Unknown);
        assert_eq!(Batch(1).compared(Known(-1), |left, right| left == right), Known(0));
        assert_eq!(Batch(1).compared(Known(1), |left, right| left == right), Unknown);
    }
}
