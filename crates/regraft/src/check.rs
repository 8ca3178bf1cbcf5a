//! `regraft check`: the data doctor alone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use regraft_data::doctor::{Finding, Severity, examine};
use regraft_data::source::{ImageFolder, Item, LabelFile, display};
use serde::Serialize;

use crate::config::{FOLDS, outside};
use crate::ingest::{FileRecord, Ingest, Ingested};
use crate::input::{ChannelChoice, Seen};
use crate::inputs::labelled;
use crate::predict::Unusable;
use crate::{Context, Error, Result};

/// What the doctor says.
#[derive(Debug, Clone, Serialize)]
pub struct Checkup {
    /// Number of image files.
    pub images: usize,
    /// Images of each class.
    pub classes: BTreeMap<String, usize>,
    /// Files that cannot be used, each with its reason.
    pub unreadable: Vec<Unusable>,
    /// What was found, most serious first.
    pub findings: Vec<Finding>,
}

impl Checkup {
    /// Whether something makes the data unusable.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// Examines a folder of images, with labels from a table or from the folders in it; `folds` is the number of cross-validation
/// folds that each class should fill.
///
/// # Errors
/// The folder is missing, empty, or without a table not laid out as images in class folders, the table cannot be used, or the
/// number of folds is not from 2 to 1000.
pub fn check(
    data: &Path,
    labels: Option<&LabelFile>,
    folds: usize,
    context: &Context<'_>,
) -> Result<Checkup> {
    if !FOLDS.contains(&folds) {
        return Err(Error::Usage(outside("folds", folds, &FOLDS)));
    }
    let folder = labelled(data, labels)?;
    // A class with one image is a finding, as in folders.
    folder.check_training(1).map_err(Error::data)?;
    let paths: Vec<PathBuf> = folder.items.iter().map(|item| item.path.clone()).collect();
    let ingest = Ingest::inspecting(Seen::of(&paths, ChannelChoice::Auto).channels.count, context);
    context.progress.start("checking images", paths.len() as u64);
    let ingested = ingest.run(&paths)?;
    context.progress.finish();
    let findings = findings(&folder, &ingested, folds);
    let mut classes = BTreeMap::new();
    for item in &folder.items {
        let name = folder.classes.get(item.class).cloned().unwrap_or_default();
        *classes.entry(name).or_insert(0) += 1;
    }
    let failed = |(item, file): (&Item, std::result::Result<FileRecord, String>)| {
        file.err().map(|reason| Unusable { path: display(&item.relative), reason })
    };
    let unreadable = folder.items.iter().zip(ingested.files).filter_map(failed).collect();
    Ok(Checkup { images: folder.items.len(), classes, unreadable, findings })
}

/// The doctor's findings on what came in, most serious first.
pub(crate) fn findings(folder: &ImageFolder, ingested: &Ingested, folds: usize) -> Vec<Finding> {
    let inspected = |file: &std::result::Result<FileRecord, String>| match file {
        Ok(record) => record.inspection.clone().ok_or_else(|| "not looked at".to_owned()),
        Err(reason) => Err(reason.clone()),
    };
    let inspections: Vec<_> = ingested.files.iter().map(inspected).collect();
    examine(folder, &inspections, folds)
}

impl fmt::Display for Checkup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} images in {} classes", self.images, self.classes.len())?;
        const SHOWN: usize = 30;
        for (class, images) in self.classes.iter().take(SHOWN) {
            writeln!(f, "  {images:>7}  {class}")?;
        }
        if self.classes.len() > SHOWN {
            writeln!(f, "  … and {} more classes", self.classes.len() - SHOWN)?;
        }
        // Unreadable files are listed below, each with its reason.
        let mut others = self.findings.iter().filter(|finding| finding.code != "unreadable-file");
        others.try_for_each(|finding| write!(f, "{}", finding_text(finding)))?;
        const UNREADABLE: usize = 50;
        for file in self.unreadable.iter().take(UNREADABLE) {
            writeln!(f, "warning: cannot be read and will be left out: {}: {}", file.path, file.reason)?;
        }
        if self.unreadable.len() > UNREADABLE {
            writeln!(f, "… and {} more; --json lists them all", self.unreadable.len() - UNREADABLE)?;
        }
        if self.findings.is_empty() { writeln!(f, "nothing to complain about") } else { Ok(()) }
    }
}

/// A finding as a person reads it on a terminal.
pub(crate) fn finding_text(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    const SHOWN: usize = 5;
    let files: String = finding.files.iter().take(SHOWN).map(|file| format!("    {file}\n")).collect();
    let left = finding.files.len().saturating_sub(SHOWN) + finding.omitted;
    let more = if left == 0 { String::new() } else { format!("    … and {left} more\n") };
    format!("{severity}: {} [{}]\n{files}{more}", finding.message, finding.code)
}
