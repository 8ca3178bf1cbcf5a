//! What can be wrong with the input of a metric.

/// The result of every function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An input that no metric is defined for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// There is no item, or there is no class.
    #[error("{what} is empty; give at least one")]
    Empty {
        /// The argument.
        what: &'static str,
    },
    /// Two arguments describe different numbers of things.
    #[error("{what}: expected {expected} by the other arguments, found {found}")]
    Shape {
        /// The axis that disagrees.
        what: &'static str,
        /// Its length in the first argument.
        expected: usize,
        /// Its length in this argument.
        found: usize,
    },
    /// A label names a class that has no column.
    #[error("item {item} has the label {label}, but there are only {classes} classes, counted from 0")]
    LabelOutOfRange {
        /// The item, counted from 0.
        item: usize,
        /// Its label.
        label: usize,
        /// The number of classes.
        classes: usize,
    },
    /// A value is NaN or infinite.
    #[error("{what} of item {item}, column {column} is not a finite number")]
    NotFinite {
        /// The argument.
        what: &'static str,
        /// The row, counted from 0.
        item: usize,
        /// The column, counted from 0.
        column: usize,
    },
    /// A probability lies outside 0 to 1: logits or scores were passed instead.
    #[error(
        "the probability of item {item}, class {class} is {value}, outside 0 to 1; apply a softmax first"
    )]
    NotAProbability {
        /// The item, counted from 0.
        item: usize,
        /// The class, counted from 0.
        class: usize,
        /// The value found.
        value: f64,
    },
    /// The probabilities of an item do not add up to 1.
    #[error("the probabilities of item {item} add up to {sum}, not to 1; normalise them first")]
    NotNormalised {
        /// The item, counted from 0.
        item: usize,
        /// Their sum.
        sum: f64,
    },
    /// A setting has a value that makes no sense.
    #[error("{name} is {found}; it has to be {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// The value found.
        found: f64,
        /// The values allowed.
        expected: &'static str,
    },
    /// Too few values to estimate a spread.
    #[error("{what}: found {found}, at least {needed} are needed")]
    TooFew {
        /// What there is too little of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there have to be.
        needed: usize,
    },
    /// The positions of a curve do not ascend.
    #[error("position {position} of the curve is not finite, or not greater than the one before it")]
    NotAscending {
        /// The first offending position, counted from 0.
        position: usize,
    },
}

/// Fails unless `found` equals `expected`.
pub(crate) fn same_length(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::Shape { what, expected, found }) }
}

/// Fails unless every one of `values` is finite; `what` names the argument.
pub(crate) fn all_finite(what: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(item) => Err(Error::NotFinite { what, item, column: 0 }),
        None => Ok(()),
    }
}

/// Fails unless `labels` has one class below `classes` for each of `items` items, and neither number is zero.
pub(crate) fn check_labels(labels: &[usize], items: usize, classes: usize) -> Result<()> {
    if labels.is_empty() {
        return Err(Error::Empty { what: "the list of labels" });
    }
    if classes == 0 {
        return Err(Error::Empty { what: "the list of classes" });
    }
    same_length("number of items", labels.len(), items)?;
    match labels.iter().position(|&label| label >= classes) {
        Some(item) => Err(Error::LabelOutOfRange { item, label: labels[item], classes }),
        None => Ok(()),
    }
}
