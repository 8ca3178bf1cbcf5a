//! What a user can watch while a training goes on: a line an epoch, `training.csv`, and TensorBoard's event files.

use std::path::{Path, PathBuf};

use regraft_report::record::EpochRecord;
use regraft_report::tensorboard::{first_event, scalars_event};
use regraft_system::clock::now;
use regraft_system::files;

use crate::{Context, Error, Result};

/// Name of the table in a run folder.
pub(crate) const TABLE: &str = "training.csv";
/// Name of the folder of event files in a run folder.
pub(crate) const EVENTS: &str = "tensorboard";

/// Where epochs are written down.
pub(crate) struct History {
    folder: PathBuf,
}

impl History {
    /// Begins the table in a folder, unless a run that goes on has begun it.
    pub(crate) fn in_folder(folder: PathBuf) -> Result<Self> {
        let table = folder.join(TABLE);
        if !table.is_file() {
            append(&table, HEADER.as_bytes())?;
        }
        Ok(Self { folder })
    }

    /// Adds an epoch.
    pub(crate) fn add(&self, record: &EpochRecord, context: &Context<'_>) -> Result<()> {
        append(&self.folder.join(TABLE), line(record).as_bytes())?;
        self.add_event(record)?;
        context.progress.message(&in_words(record));
        Ok(())
    }

    fn add_event(&self, record: &EpochRecord) -> Result<()> {
        let folder = self.folder.join(EVENTS).join(&record.training);
        files::create_folder(&folder).map_err(Error::output(&folder, "writing the training's log"))?;
        let file = folder.join("events.out.tfevents.regraft");
        if !file.is_file() {
            append(&file, &first_event(seconds()))?;
        }
        append(&file, &scalars_event(seconds(), record.epoch as i64, record.scalars()))
    }
}

fn append(path: &Path, content: &[u8]) -> Result<()> {
    files::append(path, content).map_err(Error::output(path, "writing the training's log"))
}

/// Since 1970.
fn seconds() -> f64 {
    now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Removes what a training that left no checkpoint has written.
pub(crate) fn forget(folder: &Path) -> Result<()> {
    let failed = || Error::output(folder, "removing an old training's log");
    files::remove_if_there(&folder.join(TABLE)).map_err(failed())?;
    files::remove_folder_if_there(&folder.join(EVENTS)).map_err(failed())
}

/// The whole table.
pub(crate) fn table(epochs: &[EpochRecord]) -> String {
    std::iter::once(HEADER.to_owned()).chain(epochs.iter().map(line)).collect()
}

/// Copies the event files from one folder to another.
pub(crate) fn copy_events(from: &Path, to: &Path) -> Result<()> {
    let failed = |path: &Path| Error::output(path.to_path_buf(), "writing the training's log");
    let events = from.join(EVENTS);
    // Without a training there are none.
    if !events.is_dir() {
        return Ok(());
    }
    let files = files::files_below(&events).map_err(failed(from))?;
    for file in files {
        let place = to.join(file.strip_prefix(from).unwrap_or(&file));
        let folder = place.parent().unwrap_or(to);
        files::create_folder(folder).map_err(failed(folder))?;
        files::copy(&file, &place).map_err(failed(&place))?;
    }
    Ok(())
}

const HEADER: &str = "training,epoch,training_loss,validation_loss,validation_accuracy,learning_rate,seconds,images_per_second,regularization\n";

/// A line of the table; what was not measured is empty.
fn line(record: &EpochRecord) -> String {
    let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
    let EpochRecord { training, epoch, .. } = record;
    let numbers = [
        record.training_loss,
        record.validation_loss,
        record.validation_accuracy,
        record.learning_rate,
        record.seconds,
        record.images_per_second,
        record.regularization,
    ];
    format!("{training},{epoch},{}\n", numbers.map(number).join(","))
}

/// `epoch 3: loss 0.412, validation loss 0.530, accuracy 84.2 %, 38 images/s`.
fn in_words(record: &EpochRecord) -> String {
    let mut line = format!("{}, epoch {}: loss {:.3}", record.training, record.epoch, record.training_loss);
    if record.regularization.is_finite() {
        line += &format!(", regularization {:.4}", record.regularization);
    }
    if record.validation_loss.is_finite() {
        line += &format!(
            ", validation loss {:.3}, accuracy {:.1} %",
            record.validation_loss,
            100.0 * record.validation_accuracy
        );
    }
    line + &format!(", {:.0} images/s", record.images_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_leave_out_what_was_not_measured() {
        let record = EpochRecord {
            training: "final".to_owned(),
            epoch: 2,
            training_loss: 0.5,
            learning_rate: 0.001,
            seconds: 4.0,
            images_per_second: 25.0,
            ..EpochRecord::default()
        };
        assert_eq!(line(&record), "final,2,0.5,,,0.001,4,25,\n");
        assert_eq!(line(&record).matches(',').count(), HEADER.matches(',').count());
        assert_eq!(in_words(&record), "final, epoch 2: loss 0.500, 25 images/s");
        let held = EpochRecord { regularization: 0.0125, ..record.clone() };
        assert_eq!(line(&held), "final,2,0.5,,,0.001,4,25,0.0125\n");
        assert_eq!(in_words(&held), "final, epoch 2: loss 0.500, regularization 0.0125, 25 images/s");
        let judged = EpochRecord { validation_loss: 0.6, validation_accuracy: 0.75, ..record };
        assert_eq!(
            in_words(&judged),
            "final, epoch 2: loss 0.500, validation loss 0.600, accuracy 75.0 %, 25 images/s"
        );
    }
}
