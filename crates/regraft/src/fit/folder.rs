//! Where the run goes, and writing it there.

use std::path::{Path, PathBuf};

use ndarray::Array2;
use regraft_graph::Model;
use regraft_report::{RunRecord, metrics_json, render};
use regraft_system::files::{UnfinishedFolder, write_atomically};

use super::dataset::{Dataset, at};
use super::tune::history;
use super::unfinished;
use crate::cache::hex;
use crate::run::{LEARNED_FROM, RECORD, REPORT, SPLIT};
use crate::{Error, FitConfig, Result};

/// The folder of the run: `--out`, which must be free, or the next free `runs/<name of the data folder><ending>`.
pub(crate) fn destination(config: &FitConfig, ending: &str) -> Result<PathBuf> {
    if let Some(out) = &config.out {
        if out.exists() {
            return Err(Error::Usage(format!(
                "--out {}: exists already; choose another name or remove it",
                out.display()
            )));
        }
        return Ok(out.clone());
    }
    let data = config.data.canonicalize().unwrap_or_else(|_| config.data.clone());
    let name = data.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned());
    let name = name + ending;
    let numbered = |number: usize| match number {
        1 => Path::new("runs").join(&name),
        _ => Path::new("runs").join(format!("{name}-{number}")),
    };
    let is_free = |path: &PathBuf| !path.exists() && !unfinished::is_taken(path, config);
    let free = (1..).map(numbered).find(is_free);
    free.ok_or_else(|| Error::Usage("no free name for the run".to_owned()))
}

/// Everything that goes into a run folder.
pub(crate) struct Contents<'a> {
    pub(crate) config: &'a FitConfig,
    pub(crate) model: &'a Model,
    pub(crate) record: &'a RunRecord,
    pub(crate) dataset: &'a Dataset,
    pub(crate) test_probabilities: &'a Array2<f64>,
    pub(crate) log: String,
    /// Where the training's log is, if there was a training.
    pub(crate) training: Option<&'a Path>,
}

/// Writes the run; it appears under its name when it is whole.
pub(crate) fn write(folder: UnfinishedFolder, destination: &Path, contents: &Contents<'_>) -> Result<()> {
    let place = folder.path().to_path_buf();
    let put = |name: &str, bytes: &[u8]| {
        write_atomically(&place.join(name), bytes)
            .map_err(Error::output(destination.join(name), "writing the run folder"))
    };
    regraft_zoo::save_folder(contents.model, &place.join("model"))
        .map_err(Error::write(destination.join("model")))?;
    contents.dataset.precision.precision.save(&place.join("model"))?;
    put("regraft.toml", contents.config.to_toml()?.as_bytes())?;
    let metrics = serde_json::to_string_pretty(&metrics_json(contents.record)).map_err(Error::data)?;
    put("metrics.json", (metrics + "\n").as_bytes())?;
    put(RECORD, contents.record.to_json().map_err(Error::data)?.as_bytes())?;
    put("predictions.csv", &predictions(contents)?)?;
    put(SPLIT, &split(contents.dataset)?)?;
    put(REPORT, render(contents.record).as_bytes())?;
    put("log.jsonl", contents.log.as_bytes())?;
    if let (Some(from), Some(tuning)) = (contents.training, &contents.record.tuning) {
        put(history::TABLE, history::table(&tuning.history).as_bytes())?;
        history::copy_events(from, &place)?;
    }
    folder.finish(destination).map_err(Error::output(destination, "finishing the run folder"))
}

/// The test set: path, true, predicted, one probability a class.
fn predictions(contents: &Contents<'_>) -> Result<Vec<u8>> {
    let dataset = contents.dataset;
    let class = |index: usize| dataset.classes.get(index).map_or("", String::as_str);
    let mut table = csv::Writer::from_writer(Vec::new());
    let header = ["path", "true", "predicted"].into_iter().chain(dataset.classes.iter().map(String::as_str));
    table.write_record(header).map_err(Error::data)?;
    let test = &dataset.split.test;
    for ((item, label), row) in
        at(&dataset.items, test).iter().zip(dataset.labels_at(test)).zip(contents.test_probabilities.rows())
    {
        let path = item.relative.to_string_lossy().into_owned();
        let start = [path, class(label).to_owned(), class(largest(row.iter().copied())).to_owned()];
        let probabilities = row.iter().map(|probability| format!("{probability:.6}"));
        table.write_record(start.into_iter().chain(probabilities)).map_err(Error::data)?;
    }
    table.into_inner().map_err(Error::data)
}

/// Every image that was used: path, class, the part that it was in, and the hash of its content.
fn split(dataset: &Dataset) -> Result<Vec<u8>> {
    let [train, validation] = LEARNED_FROM;
    let mut parts = vec![train; dataset.items.len()];
    for (name, positions) in [(validation, &dataset.split.validation), ("test", &dataset.split.test)] {
        for position in positions {
            if let Some(part) = parts.get_mut(*position) {
                *part = name;
            }
        }
    }
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["path", "class", "part", "content"]).map_err(Error::data)?;
    for ((item, content), part) in dataset.items.iter().zip(&dataset.contents).zip(parts) {
        let class = dataset.classes.get(item.class).map_or("", String::as_str);
        let (path, content) = (item.relative.to_string_lossy(), hex(content));
        table.write_record([path.as_ref(), class, part, &content]).map_err(Error::data)?;
    }
    table.into_inner().map_err(Error::data)
}

/// Position of the largest value; of equal ones the first.
pub(crate) fn largest(values: impl Iterator<Item = f64>) -> usize {
    let best = values.enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(position, _)| position)
}
