//! The run folder: what `regraft fit` leaves behind and what other verbs read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regraft_report::{RunRecord, render};
use regraft_system::files::{self, write_atomically};

use crate::{Error, Result};

/// The whole record of the run, from which the report can be made again.
pub(crate) const RECORD: &str = "record.json";
/// The report.
pub(crate) const REPORT: &str = "report.html";
/// Every image that was used: path, class, part, BLAKE3 of its content.
pub(crate) const SPLIT: &str = "split.csv";
/// How the split file calls the images that the head was fitted to and chosen on.
pub(crate) const LEARNED_FROM: [&str; 2] = ["train", "validation"];

/// The contents that a run has learned from; the run may be given by its model folder. `None` where there is no
/// record of them.
pub(crate) fn learned_contents(run: &Path) -> Option<BTreeSet<String>> {
    let places = [Some(run), run.parent()].into_iter().flatten().map(|folder| folder.join(SPLIT));
    let mut table = places.filter_map(|path| csv::Reader::from_path(path).ok()).next()?;
    let learned = |row: csv::StringRecord| {
        let part = row.get(2)?;
        LEARNED_FROM.contains(&part).then(|| row.get(3).map(str::to_owned))?
    };
    Some(table.records().flatten().filter_map(learned).collect())
}

/// Rebuilds `report.html` of a run; returns its path.
///
/// # Errors
/// The folder is not a run, or the report cannot be written.
pub fn rebuild_report(run: &Path) -> Result<PathBuf> {
    let record = read_record(run)?;
    let report = run.join(REPORT);
    write_atomically(&report, render(&record).as_bytes())
        .map_err(Error::output(&report, "writing the report"))?;
    Ok(report)
}

/// Reads the record of a run.
///
/// # Errors
/// The folder is not a run, or its record is damaged.
pub fn read_record(run: &Path) -> Result<RunRecord> {
    let path = run.join(RECORD);
    if !path.is_file() {
        return Err(Error::Model(format!(
            "{}: not a run folder (there is no '{RECORD}' in it)",
            run.display()
        )));
    }
    let text = files::read(&path).map_err(Error::model)?;
    RunRecord::from_json(&String::from_utf8_lossy(&text))
        .map_err(|error| Error::Model(format!("{}: {error}", path.display())))
}
