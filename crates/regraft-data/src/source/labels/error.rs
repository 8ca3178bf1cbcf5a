//! What can be wrong with a table of labels.

use std::path::PathBuf;

use regraft_system::files::FileError;

use super::super::{DataError, display};
use super::LARGEST;

/// Why a table gives no labels.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The folder of the images cannot be used.
    #[error(transparent)]
    Images(#[from] DataError),
    /// The table is not there.
    #[error("{} does not exist; check the spelling{hint}", display(path))]
    Missing {
        /// The table.
        path: PathBuf,
        /// Where there is one of that name.
        hint: String,
    },
    /// The table cannot be read.
    #[error("the labels cannot be read: {0}")]
    Unreadable(FileError),
    /// The table is too large.
    #[error("{} has {bytes} bytes; a table of labels has at most {}", display(path), LARGEST)]
    TooLarge {
        /// The table.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The table is text in another encoding, or no text.
    #[error("{}, line {line}: not UTF-8; save the table as CSV in UTF-8", display(path))]
    NotText {
        /// The table.
        path: PathBuf,
        /// The first line that is not.
        line: usize,
    },
    /// A line does not have the form of the others.
    #[error("{}, line {line}: {reason}", display(path))]
    Malformed {
        /// The table.
        path: PathBuf,
        /// The line.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing but a header, or not even that.
    #[error(
        "{} has no rows; it needs a header with the names of the columns, and a row for each image",
        display(path)
    )]
    NoRows {
        /// The table.
        path: PathBuf,
    },
    /// A column that was asked for is not there.
    #[error("{}, line 1: there is no column {name:?}; the columns are {columns}", display(path))]
    NoSuchColumn {
        /// The table.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// The columns.
        columns: String,
    },
    /// Several columns may hold something, and nothing tells which one does.
    #[error(
        "{}, line 1: which column has the {what}? Say so with {flag} NAME; the columns are {columns}",
        display(path)
    )]
    WhichColumn {
        /// The table.
        path: PathBuf,
        /// What is looked for.
        what: &'static str,
        /// The columns.
        columns: String,
        /// The option that settles it.
        flag: &'static str,
    },
    /// No column names an image.
    #[error(
        "{}: no column names images below {}; the first row is {row}. Give the folder that the names begin in, or say with \
         --file-column NAME where they are; the columns are {columns}",
        display(path),
        display(root)
    )]
    NoFileColumn {
        /// The table.
        path: PathBuf,
        /// The folder of the images.
        root: PathBuf,
        /// The first row.
        row: String,
        /// The columns.
        columns: String,
    },
    /// Files that are not there.
    #[error("{}: {count} of {rows} rows name no image below {}: {first}{hint}", display(path), display(root))]
    NoSuchImages {
        /// The table.
        path: PathBuf,
        /// The folder of the images.
        root: PathBuf,
        /// How many.
        count: usize,
        /// Rows in all.
        rows: usize,
        /// The first ones, with their lines.
        first: String,
        /// What may have been meant by the first one.
        hint: String,
    },
    /// A file outside the folder.
    #[error(
        "{}, line {line}: {file:?} leads out of {}; give the folder that holds all images",
        display(path),
        display(root)
    )]
    Outside {
        /// The table.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The file as named.
        file: String,
        /// The folder of the images.
        root: PathBuf,
    },
    /// A name without an ending that two images have.
    #[error("{}, line {line}: {file:?} may be {first} or {second}; write the ending, too", display(path))]
    SeveralImages {
        /// The table.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The file as named.
        file: String,
        /// One image.
        first: String,
        /// Another one.
        second: String,
    },
    /// A row without a label.
    #[error("{}, line {line}: {file:?} has no label; write one, or remove the row", display(path))]
    NoLabel {
        /// The table.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The file as named.
        file: String,
    },
    /// A part of the data that nobody knows.
    #[error(
        "{}, line {line}: the split {split:?} is none of train, val, valid, validation and test",
        display(path)
    )]
    UnknownSplit {
        /// The table.
        path: PathBuf,
        /// The line.
        line: u64,
        /// What stands there.
        split: String,
    },
    /// Two rows that contradict each other.
    #[error(
        "{}, line {line}: {file} is {here}, but {there} in line {earlier}; remove one of the rows",
        display(path)
    )]
    Contradiction {
        /// The table.
        path: PathBuf,
        /// The second line.
        line: u64,
        /// The image.
        file: String,
        /// What the second line says.
        here: String,
        /// What the first line says.
        there: String,
        /// The first line.
        earlier: u64,
    },
    /// Nothing to tell apart.
    #[error(
        "{}: every row, from line {line} on, has the label {class:?}; a classifier needs at least two classes",
        display(path)
    )]
    OneClass {
        /// The table.
        path: PathBuf,
        /// The first row's line.
        line: u64,
        /// The class.
        class: String,
    },
    /// A split without anything to learn from.
    #[error("{}: no row has the split train, which is what is learned from", display(path))]
    NoTraining {
        /// The table.
        path: PathBuf,
    },
    /// A class that could not be learned, or not judged.
    #[error(
        "{}, line {line}: the class {class:?} has {images} to learn from{more}; it needs at least {fewest}: add images, or remove \
         its rows",
        display(path)
    )]
    TooFewImages {
        /// The table.
        path: PathBuf,
        /// The line of the class's first row.
        line: u64,
        /// The class.
        class: String,
        /// How many it has, in words.
        images: &'static str,
        /// How many it needs.
        fewest: usize,
        /// How many more classes there are like it, in words.
        more: String,
    },
}
