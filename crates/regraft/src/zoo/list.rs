//! `regraft zoo list`.

use std::fmt::Write as _;

use regraft_zoo::{Entry, From};
use serde::Serialize;

use crate::Result;
use crate::zoo::Zoo;

/// Which entries to show. Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Words in the source task, in any case.
    pub task: Option<String>,
    /// The largest download in bytes; entries of unknown size are left out.
    pub largest: Option<u64>,
    /// Words in the licence, in any case.
    pub licence: Option<String>,
    /// Words in the name, in any case.
    pub name: Option<String>,
    /// Only what is on this machine.
    pub here: bool,
}

/// An entry, and whether it can be used now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// What the catalogue knows.
    #[serde(flatten)]
    pub entry: Entry,
    /// Size in bytes of the download, estimated from the number of parameters where none is published.
    pub download_bytes: Option<u64>,
    /// Whether its files are on this machine.
    pub here: bool,
}

impl Filter {
    fn keeps(&self, listed: &Listed) -> bool {
        let Listed { entry, download_bytes, here } = listed;
        let has = |text: Option<&str>, words: &Option<String>| {
            let words = words.as_ref().map(|words| words.to_lowercase());
            words.is_none_or(|words| text.is_some_and(|text| text.to_lowercase().contains(&words)))
        };
        let names = format!("{} {}", entry.name, entry.aliases.join(" "));
        has(entry.source_task.as_deref(), &self.task)
            && has(entry.licence.as_deref(), &self.licence)
            && has(Some(&names), &self.name)
            && self.largest.is_none_or(|largest| download_bytes.is_some_and(|bytes| bytes <= largest))
            && (*here || !self.here)
    }
}

impl Zoo {
    /// The entries that a filter keeps, the built-in ones first.
    ///
    /// # Errors
    /// None in a program that passed its tests.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Listed>> {
        let listed = self.catalogue.entries().iter().map(|entry| Listed {
            download_bytes: entry.download_bytes(),
            here: entry.from == From::Embedded || self.locate(entry).is_ok_and(|located| located.is_some()),
            entry: entry.clone(),
        });
        Ok(listed.filter(|listed| filter.keeps(listed)).collect())
    }
}

/// Entries as a table for a terminal.
pub fn table(entries: &[Listed]) -> String {
    let width = entries.iter().map(|listed| listed.entry.name.len()).max().unwrap_or(0).max(4);
    let licences = entries.iter().filter_map(|listed| listed.entry.licence.as_ref()).map(String::len);
    let licences = licences.max().unwrap_or(0).max(7);
    let mut text = format!(
        "{:<width$} {:>8} {:>7} {:>6} {:>6}  {:<licences$}  {}\n",
        "name", "params M", "MACs G", "top-1", "MB", "licence", "weights"
    );
    for Listed { entry, download_bytes, here } in entries {
        let weights = match (&entry.from, here) {
            (From::Embedded, _) => "built in",
            (_, true) => "here",
            (From::File(_), false) => "missing",
            (_, false) => "pull",
        };
        let _ = writeln!(
            text,
            "{:<width$} {:>8} {:>7} {:>6} {:>6}  {:<licences$}  {weights}",
            entry.name,
            number(entry.parameters.map(|count| count as f64 / 1e6), 1),
            number(entry.macs.map(|count| count as f64 / 1e9), 2),
            number(entry.source_accuracy.map(|share| 100.0 * share), 1),
            number(download_bytes.map(|bytes| bytes as f64 / 1e6), 0),
            entry.licence.as_deref().unwrap_or("–"),
        );
    }
    text
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}
