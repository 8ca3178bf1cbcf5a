//! A folder of images with a table that says what they show, as competitions and research data sets have it.
//!
//! What is wrong with the table is found before any image is opened, and named with its line. Only images that are listed below
//! the folder can be named, so that no table leads anywhere else.

mod columns;
mod error;
mod images;
mod table;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use regraft_system::files::{self, FileError};
use regraft_system::hash::blake3_hex;

use self::columns::Columns;
pub use self::error::LabelError;
use self::images::{Found, Images};
use self::table::{Malformed, Row, Table};
use super::{ImageFolder, Labelled, Layout, Part, display, display_name, numbered};

/// A table of labels, as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFile {
    /// The table: UTF-8, with a header, and commas, tabs or semicolons between the fields.
    pub path: PathBuf,
    /// Name of the column of files; the one that names the most images if absent.
    pub file_column: Option<String>,
    /// Name of the column of labels; a usual name, or the only column left, if absent.
    pub label_column: Option<String>,
}

/// What a table said about the images of an [`ImageFolder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSource {
    /// The table.
    pub path: PathBuf,
    /// BLAKE3 of its content, as 64 hexadecimal digits.
    pub content: String,
    /// For each item the line, from 1, that gives its label.
    pub lines: Vec<u64>,
    /// Number of images without a row, which were left out.
    pub without_row: usize,
}

/// Bytes of a table: some five times what lists of a million images take.
const LARGEST: u64 = 256 << 20;

/// Rows that a message names.
const NAMED: usize = 3;

/// Characters of a field that a message shows.
const SHOWN: usize = 80;

impl ImageFolder {
    /// Lists the images below `root` that a table has labels for; images that it does not name are counted and left out.
    /// Classes are in bytewise order of their names. Nothing is decoded.
    ///
    /// # Errors
    /// The folder or the table cannot be used; the message names the line.
    pub fn labelled(root: &Path, labels: &LabelFile) -> Result<Self, LabelError> {
        let text = labels.read(root)?;
        let table = labels.table(&text)?;
        let images = Images::below(root)?;
        let columns = Columns::find(&table, labels, &images)?;
        let given = Reader { path: &labels.path, images: &images, columns }.read(&table)?;
        let source = LabelSource {
            path: labels.path.clone(),
            content: blake3_hex(text.as_bytes()),
            lines: given.values().map(|given| given.line).collect(),
            without_row: images.files.len() - given.len(),
        };
        let (classes, items) = numbered(labelled(given, &images));
        Ok(Self {
            root: root.to_path_buf(),
            classes,
            items,
            layout: Layout::LabelFile,
            ignored: 0,
            problems: images.problems,
            labels: Some(source),
        })
    }

    /// Refuses a table with a class that has fewer than `fewest` images, 1 or 2, to learn from. Folders are not looked at:
    /// [`scan`](Self::scan) and the split see to them.
    ///
    /// # Errors
    /// The first such class in order of names, or there is nothing to learn from at all.
    pub fn check_training(&self, fewest: usize) -> Result<(), LabelError> {
        let Some(labels) = &self.labels else { return Ok(()) };
        let mut counts = vec![0_usize; self.classes.len()];
        for item in self.items.iter().filter(|item| matches!(item.part, Part::Train | Part::Unsplit)) {
            counts.get_mut(item.class).into_iter().for_each(|count| *count += 1);
        }
        if counts.iter().all(|count| *count == 0) {
            return Err(LabelError::NoTraining { path: labels.path.clone() });
        }
        let mut small = counts.iter().enumerate().filter(|(_, count)| **count < fewest);
        let Some((class, count)) = small.next() else { return Ok(()) };
        let more = small.count();
        let mut of_class = self.items.iter().zip(&labels.lines).filter(|(item, _)| item.class == class);
        Err(LabelError::TooFewImages {
            path: labels.path.clone(),
            line: of_class.next().map_or(1, |(_, line)| *line),
            class: self.classes.get(class).cloned().unwrap_or_default(),
            images: if *count == 0 { "no image" } else { "a single image" },
            fewest,
            more: if more == 0 { String::new() } else { format!(" (and {more} more classes like it)") },
        })
    }

    /// The line of a table that is the first to give a class, where the labels come from a table.
    pub fn line_of_class(&self, class: usize) -> Option<u64> {
        let lines = self.items.iter().zip(&self.labels.as_ref()?.lines);
        lines.filter(|(item, _)| item.class == class).map(|(_, line)| *line).min()
    }
}

/// The images that a table names, in their order.
fn labelled(given: BTreeMap<usize, Given<'_>>, images: &Images) -> Vec<Labelled> {
    let labelled = |(position, given): (usize, Given<'_>)| {
        let file = images.files.get(position)?.clone();
        Some(Labelled { file, class: OsString::from(given.label), part: given.part })
    };
    given.into_iter().filter_map(labelled).collect()
}

impl LabelFile {
    fn table(&self, text: &str) -> Result<Table, LabelError> {
        let path = self.path.clone();
        match Table::parse(text) {
            Err(Malformed { line, reason }) => Err(LabelError::Malformed { path, line, reason }),
            Ok(table) if table.rows.is_empty() => Err(LabelError::NoRows { path }),
            Ok(table) => Ok(table),
        }
    }

    fn read(&self, root: &Path) -> Result<String, LabelError> {
        let path = self.path.clone();
        let metadata = std::fs::metadata(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                LabelError::Missing { hint: self.elsewhere(root), path: path.clone() }
            }
            _ => LabelError::Unreadable(FileError::on(&path, "open")(error)),
        })?;
        if metadata.len() > LARGEST {
            return Err(LabelError::TooLarge { path, bytes: metadata.len() });
        }
        let bytes = files::read(&path).map_err(LabelError::Unreadable)?;
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            LabelError::NotText { path, line: 1 + valid.iter().filter(|byte| **byte == b'\n').count() }
        })
    }

    /// The same name below the folder of the images.
    fn elsewhere(&self, root: &Path) -> String {
        let below = root.join(&self.path);
        if below.is_file() { format!(" ({} exists)", display(&below)) } else { String::new() }
    }
}

/// What a row says of an image.
struct Given<'a> {
    label: &'a str,
    part: Part,
    line: u64,
}

struct Reader<'a> {
    path: &'a Path,
    images: &'a Images,
    columns: Columns,
}

impl<'a> Reader<'a> {
    /// What the table says of each image, by the image's position.
    fn read(&self, table: &'a Table) -> Result<BTreeMap<usize, Given<'a>>, LabelError> {
        let (mut given, mut missing) = (BTreeMap::new(), Vec::new());
        for row in &table.rows {
            match self.image(row)? {
                Some(image) => self.add(image, self.given(row)?, &mut given)?,
                None => missing.push(row),
            }
        }
        if !missing.is_empty() {
            return Err(self.missing(&missing, table.rows.len()));
        }
        self.check_classes(&table.rows)?;
        Ok(given)
    }

    /// The image that a row names; `None` where there is none.
    fn image(&self, row: &Row) -> Result<Option<usize>, LabelError> {
        let (path, line, file) = (self.path.to_path_buf(), row.line, self.file(row));
        match self.images.find(row.field(self.columns.file)) {
            Found::Image(image) => Ok(Some(image)),
            Found::Nothing => Ok(None),
            Found::Outside => Err(LabelError::Outside { path, line, file, root: self.images.root.clone() }),
            Found::Several([first, second]) => {
                let [first, second] = [first, second].map(|image| self.images.name(image));
                Err(LabelError::SeveralImages { path, line, file, first, second })
            }
        }
    }

    fn file(&self, row: &Row) -> String {
        shown(row.field(self.columns.file))
    }

    fn given(&self, row: &'a Row) -> Result<Given<'a>, LabelError> {
        let (path, line, label) = (self.path.to_path_buf(), row.line, row.field(self.columns.label));
        if label.is_empty() {
            return Err(LabelError::NoLabel { path, line, file: self.file(row) });
        }
        if label.contains('\n') {
            let reason = "a label goes on in the next line; a quote is not closed".to_owned();
            return Err(LabelError::Malformed { path, line, reason });
        }
        let Some(split) = self.columns.split.map(|split| row.field(split)) else {
            return Ok(Given { label, part: Part::Unsplit, line });
        };
        let part = Part::called(split);
        let part = part.ok_or_else(|| LabelError::UnknownSplit { path, line, split: shown(split) })?;
        Ok(Given { label, part, line })
    }

    /// Takes what a row says; that another one says the same does no harm.
    fn add(
        &self,
        image: usize,
        new: Given<'a>,
        given: &mut BTreeMap<usize, Given<'a>>,
    ) -> Result<(), LabelError> {
        let Some(old) = given.get(&image) else {
            given.insert(image, new);
            return Ok(());
        };
        if (old.label, old.part) == (new.label, new.part) {
            return Ok(());
        }
        let said = |given: &Given<'_>| match old.label == new.label {
            true => format!("in {}", given.part.name()),
            false => format!("{:?}", shown(given.label)),
        };
        let (file, here, there) = (self.images.name(image), said(&new), said(old));
        let (line, earlier) = (new.line, old.line);
        Err(LabelError::Contradiction { path: self.path.to_path_buf(), line, file, here, there, earlier })
    }

    fn missing(&self, missing: &[&Row], rows: usize) -> LabelError {
        let named = missing.iter().take(NAMED).map(|row| format!("{:?} (line {})", self.file(row), row.line));
        let first = missing.first().map_or("", |row| row.field(self.columns.file));
        LabelError::NoSuchImages {
            path: self.path.to_path_buf(),
            root: self.images.root.clone(),
            count: missing.len(),
            rows,
            first: named.collect::<Vec<_>>().join(", "),
            hint: self.images.hint(first),
        }
    }

    fn check_classes(&self, rows: &[Row]) -> Result<(), LabelError> {
        let label = |row| Row::field(row, self.columns.label);
        let Some(first) = rows.first() else { return Ok(()) };
        if rows.iter().any(|row| label(row) != label(first)) {
            return Ok(());
        }
        let (path, class) = (self.path.to_path_buf(), shown(label(first)));
        Err(LabelError::OneClass { path, line: first.line, class })
    }
}

/// A field as messages show it.
fn shown(field: &str) -> String {
    let mut shown: String = field.chars().take(SHOWN).collect();
    if shown.len() < field.len() {
        shown.push('…');
    }
    display_name(shown.as_ref())
}
