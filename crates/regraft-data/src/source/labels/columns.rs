//! Which column of a table is which.

use std::collections::BTreeSet;

use super::images::{Found, Images};
use super::table::{Row, Table};
use super::{LabelError, LabelFile, shown};

/// How columns of files are usually called. It matters only where no column names a file that is there.
const FILE_NAMES: [&str; 12] = [
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_name",
    "image_id",
    "image_path",
    "img",
    "path",
    "id",
];

/// How columns of labels are usually called.
const LABEL_NAMES: [&str; 8] =
    ["label", "labels", "class", "classes", "class_name", "category", "target", "label_name"];

const SPLIT_NAME: &str = "split";

/// Positions of the columns that are read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) file: usize,
    pub(super) label: usize,
    pub(super) split: Option<usize>,
}

impl Columns {
    /// Those that were asked for; else for the files the column that names the most images, and for the labels one of a
    /// usual name, or the only one left.
    pub(super) fn find(table: &Table, labels: &LabelFile, images: &Images) -> Result<Self, LabelError> {
        let finder = Finder { table, labels, images };
        let asked = |name: &Option<String>| name.as_ref().map(|name| finder.called(name)).transpose();
        let (file, label) = (asked(&labels.file_column)?, asked(&labels.label_column)?);
        let taken: Vec<usize> = file.into_iter().chain(label).collect();
        let split = finder.position(SPLIT_NAME).filter(|split| !taken.contains(split));
        let files = match file {
            Some(file) => vec![file],
            None => finder.files(&finder.without(&[label, split]))?,
        };
        let label = match label {
            Some(label) => label,
            None => {
                let rest = finder.without(&[split]).into_iter().filter(|column| !files.contains(column));
                finder.label(&rest.collect::<Vec<_>>())?
            }
        };
        let file = files.first().copied().unwrap_or_default();
        Ok(Self { file, label, split })
    }
}

struct Finder<'a> {
    table: &'a Table,
    labels: &'a LabelFile,
    images: &'a Images,
}

impl Finder<'_> {
    /// The column that is called so, or else so but for capitals.
    fn position(&self, name: &str) -> Option<usize> {
        let header = || self.table.header.iter();
        let exact = header().position(|column| column == name);
        exact.or_else(|| header().position(|column| column.eq_ignore_ascii_case(name)))
    }

    fn called(&self, name: &str) -> Result<usize, LabelError> {
        self.position(name).ok_or_else(|| LabelError::NoSuchColumn {
            path: self.labels.path.clone(),
            name: name.to_owned(),
            columns: self.columns(),
        })
    }

    /// Columns with a name, but for these.
    fn without(&self, taken: &[Option<usize>]) -> Vec<usize> {
        let header = self.table.header.iter().enumerate();
        let free = header.filter(|(column, name)| !name.is_empty() && !taken.contains(&Some(*column)));
        free.map(|(column, _)| column).collect()
    }

    /// The columns that name the most different images; several only where they name the same ones in every row.
    fn files(&self, candidates: &[usize]) -> Result<Vec<usize>, LabelError> {
        let named = |column: usize| {
            let found: Vec<Found> = self.table.rows.iter().map(|row| self.found(row, column)).collect();
            let images: BTreeSet<usize> = found.iter().filter_map(|found| found.image()).collect();
            (images.len(), found, column)
        };
        let mut best: Vec<(usize, Vec<Found>, usize)> = Vec::new();
        for candidate in candidates.iter().map(|column| named(*column)) {
            let most = best.first().map_or(1, |best| best.0);
            if candidate.0 > most {
                best.clear();
            }
            if candidate.0 >= most {
                best.push(candidate);
            }
        }
        let is_clear = best.iter().all(|column| Some(&column.1) == best.first().map(|first| &first.1));
        match best.as_slice() {
            [] => {
                self.usual(candidates, &FILE_NAMES).map(|column| vec![column]).ok_or_else(|| self.no_files())
            }
            best if is_clear => Ok(best.iter().map(|(_, _, column)| *column).collect()),
            _ => Err(LabelError::WhichColumn {
                path: self.labels.path.clone(),
                what: "names of the files",
                columns: self.columns(),
                flag: "--file-column",
            }),
        }
    }

    fn found(&self, row: &Row, column: usize) -> Found {
        self.images.find(row.field(column))
    }

    fn label(&self, candidates: &[usize]) -> Result<usize, LabelError> {
        let known = self.usual(candidates, &LABEL_NAMES);
        let only = || candidates.first().copied().filter(|_| candidates.len() == 1);
        known.or_else(only).ok_or_else(|| LabelError::WhichColumn {
            path: self.labels.path.clone(),
            what: "labels",
            columns: self.columns(),
            flag: "--label-column",
        })
    }

    /// The one candidate with one of these names.
    fn usual(&self, candidates: &[usize], names: &[&str]) -> Option<usize> {
        let name = |column: &usize| self.table.header.get(*column).map(|name| name.to_ascii_lowercase());
        let is_usual = |column: &&usize| name(column).is_some_and(|name| names.contains(&name.as_str()));
        let mut usual = candidates.iter().filter(is_usual);
        usual.next().copied().filter(|_| usual.next().is_none())
    }

    fn no_files(&self) -> LabelError {
        let row = self.table.rows.first();
        let fields = row.map(|row| (0..self.table.header.len()).map(move |column| shown(row.field(column))));
        LabelError::NoFileColumn {
            path: self.labels.path.clone(),
            root: self.images.root.clone(),
            row: fields.map_or_else(String::new, |fields| fields.collect::<Vec<_>>().join(", ")),
            columns: self.columns(),
        }
    }

    fn columns(&self) -> String {
        let mut names: Vec<String> =
            self.table.header.iter().take(SHOWN).map(|name| format!("{:?}", shown(name))).collect();
        let more = self.table.header.len().saturating_sub(SHOWN);
        names.extend((more > 0).then(|| format!("{more} more")));
        names.join(", ")
    }
}

/// Columns that a message names.
const SHOWN: usize = 20;
