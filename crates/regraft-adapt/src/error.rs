//! What can be wrong with features, labels or settings.

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, AdaptError>;

/// A reason why no head can be fitted or applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AdaptError {
    /// There is no row or no column.
    #[error("the {what} are empty; give at least one")]
    Empty {
        /// The argument.
        what: &'static str,
    },
    /// Every training row has the same class.
    #[error("all {rows} training rows have the class {class}; a classifier needs at least two classes")]
    SingleClass {
        /// The only class, counted from 0.
        class: usize,
        /// The number of training rows.
        rows: usize,
    },
    /// A feature is NaN or infinite.
    #[error(
        "the feature in row {row}, column {column} is not a finite number; check the file behind that row"
    )]
    NonFinite {
        /// The row, counted from 0.
        row: usize,
        /// The column, counted from 0.
        column: usize,
    },
    /// Fewer rows than the method can work with.
    #[error("{what}: found {found}, at least {needed} are needed")]
    TooFewRows {
        /// What there is too little of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there have to be.
        needed: usize,
    },
    /// Two arguments describe different numbers of things.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The axis that disagrees.
        what: &'static str,
        /// Its length by the other arguments.
        expected: usize,
        /// Its length in this one.
        found: usize,
    },
    /// A label names a class that does not exist.
    #[error("row {row} has the label {label}, but there are only {classes} classes, counted from 0")]
    LabelOutOfRange {
        /// The row, counted from 0.
        row: usize,
        /// Its label.
        label: usize,
        /// The number of classes.
        classes: usize,
    },
    /// A hyper-parameter outside its range.
    #[error("{name} is {found}; it has to be {expected}")]
    HyperParameter {
        /// The hyper-parameter.
        name: &'static str,
        /// The value found.
        found: f64,
        /// The values allowed.
        expected: &'static str,
    },
    /// A rank that a matrix cannot have.
    #[error("a rank of {rank} is not from 1 to the smaller side of '{name}', which is {rows}×{columns}")]
    Rank {
        /// The rank.
        rank: usize,
        /// Name of the matrix.
        name: String,
        /// Its outputs.
        rows: usize,
        /// Its inputs.
        columns: usize,
    },
    /// A number of singular values that a matrix does not have.
    #[error("{found} singular values are asked for, but a {rows}×{columns} matrix has 1 to {}", rows.min(columns))]
    SingularValues {
        /// How many are asked for.
        found: usize,
        /// The matrix's rows.
        rows: usize,
        /// The matrix's columns.
        columns: usize,
    },
    /// A class without an example.
    #[error(
        "the class {class} has no example; at least one is needed to know what the source network sees in it"
    )]
    EmptyClass {
        /// The class, counted from 0.
        class: usize,
    },
    /// A matrix decomposition did not converge, which only extreme scales can cause.
    #[error("the {what} did not converge; look for features of extreme magnitude")]
    Decomposition {
        /// The decomposition.
        what: &'static str,
    },
    /// The evaluation of a candidate failed.
    #[error(transparent)]
    Eval(#[from] regraft_eval::Error),
}

/// Fails unless `found` equals `expected`.
pub(crate) fn same_length(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(AdaptError::Shape { what, expected, found }) }
}

/// Fails unless every label is below `classes`.
pub(crate) fn known_classes(labels: &[usize], classes: usize) -> Result<()> {
    let wrong = labels.iter().enumerate().find(|(_, label)| **label >= classes);
    wrong.map_or(Ok(()), |(row, label)| Err(AdaptError::LabelOutOfRange { row, label: *label, classes }))
}

/// Fails unless `value` is finite and greater than zero.
pub(crate) fn positive(name: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(AdaptError::HyperParameter { name, found: value, expected: "finite and greater than 0" })
}
