//! What a comparison leaves behind.

use std::path::Path;

use regraft_report::record::DepthRecord;
use regraft_system::files::{UnfinishedFolder, write_atomically};

use crate::run::REPORT;
use crate::{CutConfig, Error, Result};

/// The whole record, from which the report can be made again.
const RECORD: &str = "cut.json";
/// A line for each cut.
const TABLE: &str = "cut.csv";

/// Writes the folder; it appears under its name when it is whole.
pub(super) fn write(
    folder: UnfinishedFolder,
    destination: &Path,
    config: &CutConfig,
    record: &DepthRecord,
    log: &str,
) -> Result<()> {
    let place = folder.path().to_path_buf();
    let put = |name: &str, bytes: &[u8]| {
        write_atomically(&place.join(name), bytes)
            .map_err(Error::output(destination.join(name), "writing the folder of the report"))
    };
    put("regraft.toml", settings(config, record)?.as_bytes())?;
    put(RECORD, record.to_json().map_err(Error::data)?.as_bytes())?;
    put(TABLE, regraft_report::depth_csv(record).as_bytes())?;
    put(REPORT, regraft_report::render_depth(record).as_bytes())?;
    put("log.jsonl", log.as_bytes())?;
    folder.finish(destination).map_err(Error::output(destination, "finishing the folder of the report"))
}

/// What was asked for, with every default filled in.
fn settings(config: &CutConfig, record: &DepthRecord) -> Result<String> {
    let mut table = toml::Table::try_from(&config.fit).map_err(Error::data)?;
    // What has no meaning for a comparison.
    ["cut", "curve-repetitions", "method", "tta", "precision"].into_iter().for_each(|name| {
        table.remove(name);
    });
    let wires: Vec<&str> = record.cuts.iter().map(|cut| cut.wire.as_str()).collect();
    table.insert("cuts".to_owned(), wires.into());
    table.insert("tunes".to_owned(), config.tunes.into());
    if let Some(protocol) = &record.protocol {
        table.insert("protocol".to_owned(), "yosinski".into());
        table.insert(
            "repetitions".to_owned(),
            i64::try_from(protocol.repetitions).map_err(Error::data)?.into(),
        );
    }
    let text = toml::to_string_pretty(&table).map_err(Error::data)?;
    Ok(format!("# What `regraft cut` was asked for.\n{text}"))
}
