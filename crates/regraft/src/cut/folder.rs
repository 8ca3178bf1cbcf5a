//! What a comparison leaves behind.

use std::path::Path;

use regraft_report::record::DepthRecord;
use regraft_system::files::{UnfinishedFolder, write_atomically};

use crate::run::REPORT;
use crate::{Error, FitConfig, Result};

/// The whole record, from which the report can be made again.
const RECORD: &str = "cut.json";
/// A line for each cut.
const TABLE: &str = "cut.csv";

/// Writes the folder; it appears under its name when it is whole.
pub(super) fn write(
    folder: UnfinishedFolder,
    destination: &Path,
    config: &FitConfig,
    record: &DepthRecord,
    log: &str,
) -> Result<()> {
    let place = folder.path().to_path_buf();
    let put = |name: &str, bytes: &[u8]| {
        write_atomically(&place.join(name), bytes)
            .map_err(Error::output(destination.join(name), "writing the folder of the report"))
    };
    put("regraft.toml", config.to_toml()?.as_bytes())?;
    put(RECORD, record.to_json().map_err(Error::data)?.as_bytes())?;
    put(TABLE, regraft_report::depth_csv(record).as_bytes())?;
    put(REPORT, regraft_report::render_depth(record).as_bytes())?;
    put("log.jsonl", log.as_bytes())?;
    folder.finish(destination).map_err(Error::output(destination, "finishing the folder of the report"))
}
