//! `regraft evaluate`: the same metrics on other data.

use std::fmt;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use regraft_data::source::{ImageFolder, Item, LabelFile, Part};
use regraft_engine::InstructionSet;
use regraft_graph::Model;
use regraft_report::record::{ClassMetrics, Estimate, TestMetrics, TestTimeRecord};
use regraft_system::spelling::nearest;
use serde::Serialize;

use crate::cache::{Cache, hex};
use crate::ingest::{FileRecord, Ingest, Ingested};
use crate::inputs::labelled;
use crate::judge::{Judgement, judge, probabilities};
use crate::precision::FrozenPrecision;
use crate::predict::{Unusable, labels};
use crate::run::learned_contents;
use crate::test_time::TestTime;
use crate::{Context, Error, Result, load_source_telling};

/// What a run does on other data.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// The run folder.
    pub run: String,
    /// The data folder.
    pub data: String,
    /// The table of labels; `None` where folders are the classes.
    pub label_file: Option<String>,
    /// Number of images that have no row in the table and were left out.
    pub without_row: usize,
    /// Number of images judged.
    pub n: usize,
    /// How many of them the run has learned from, by content: their labels are no surprise to it. `None` where there
    /// is no record of what it has learned from.
    pub n_seen_in_training: Option<usize>,
    /// Classes of the model without an image here. They count as 0 in the macro-F1, as scikit-learn does with all
    /// labels given, and not at all in the balanced accuracy.
    pub classes_without_images: usize,
    /// Class names, in the order of the model's outputs.
    pub classes: Vec<String>,
    /// The headline numbers with their intervals.
    pub metrics: TestMetrics,
    /// The same with test-time augmentation; `None` where there was none. All other numbers are without it.
    pub test_time: Option<TestTimeRecord>,
    /// Numbers of each class.
    pub per_class: Vec<ClassMetrics>,
    /// `f32`, `bf16` or `int8`.
    pub precision: &'static str,
    /// Instruction set that the engine used.
    pub instruction_set: &'static str,
    /// Counts: rows are true classes, columns predicted ones.
    pub confusion: Vec<Vec<u64>>,
    /// Files that could not be used.
    pub unusable: Vec<Unusable>,
}

/// Judges a run on a folder of images, with labels from a table or from the folders in it. Where these have a split, its test
/// part is used, else its validation part. With `variants`, 0 to 100, they are judged by test-time augmentation, too.
///
/// # Errors
/// The run, the folder or the table cannot be used, or they have a class that the model does not know.
pub fn evaluate(
    run: &Path,
    data: &Path,
    label_file: Option<&LabelFile>,
    variants: usize,
    seed: u64,
    context: &Context<'_>,
) -> Result<Evaluation> {
    let test_time = TestTime::of_run(run, variants)?;
    let model = load_source_telling(run, None, context.progress)?;
    let classes = labels(&model)?;
    let folder = labelled(data, label_file)?;
    refuse_strangers(run, &folder, &classes)?;
    let known = |class: &String| classes.iter().position(|known| known == class);
    let mapping: Vec<Option<usize>> = folder.classes.iter().map(known).collect();
    let items = judged_part(folder.items);
    let precision = FrozenPrecision::of_source(run)?;
    let answers = Answers::of((&model, &precision), &items, test_time.as_ref(), context)?;
    let Answers { files, plain, averaged } = answers;
    let learned = learned_contents(run);
    let (mut truths, mut unusable, mut seen) = (Vec::new(), Vec::new(), 0);
    for (item, file) in items.iter().zip(files) {
        match (file, mapping.get(item.class).copied().flatten()) {
            (Ok(file), Some(label)) => {
                let known = learned.as_ref().is_some_and(|learned| learned.contains(&hex(&file.content)));
                seen += usize::from(known);
                truths.push(label);
            }
            (Err(reason), _) => {
                unusable.push(Unusable { path: item.path.to_string_lossy().into_owned(), reason })
            }
            _ => {}
        }
    }
    let Judgement { metrics, per_class, confusion } = judge(&truths, plain.view(), &classes, seed)?;
    let test_time = match (&test_time, &averaged) {
        (Some(test_time), Some(averaged)) => {
            Some(test_time.record(&truths, [averaged.view(), plain.view()], &classes, seed)?)
        }
        _ => None,
    };
    let (run, data) = (run.to_string_lossy().into_owned(), data.to_string_lossy().into_owned());
    Ok(Evaluation {
        run,
        data,
        label_file: label_file.map(|labels| labels.path.to_string_lossy().into_owned()),
        without_row: folder.labels.map_or(0, |labels| labels.without_row),
        n: truths.len(),
        n_seen_in_training: learned.map(|_| seen),
        classes_without_images: per_class.iter().filter(|class| class.support == 0).count(),
        classes,
        metrics,
        test_time,
        per_class,
        precision: precision.name(),
        instruction_set: InstructionSet::detect().name(),
        confusion,
        unusable,
    })
}

/// Refuses classes that the model does not have, with what may be meant by them.
fn refuse_strangers(run: &Path, folder: &ImageFolder, classes: &[String]) -> Result<()> {
    let known: Vec<&str> = classes.iter().map(String::as_str).collect();
    let strangers = folder.classes.iter().enumerate().filter(|(_, class)| !classes.contains(class));
    let described = strangers.map(|(position, class)| {
        let line = folder.line_of_class(position).map(|line| format!("line {line}"));
        let meant = nearest(class, &known).map(|known| format!("did you mean {known}?"));
        let details: Vec<String> = line.into_iter().chain(meant).collect();
        if details.is_empty() { class.clone() } else { format!("{class} ({})", details.join("; ")) }
    });
    let described: Vec<String> = described.collect();
    if described.is_empty() {
        return Ok(());
    }
    let place = folder.labels.as_ref().map_or(&folder.root, |labels| &labels.path);
    Err(Error::Data(format!(
        "{}: the model of {} does not know the classes {}; it knows {}",
        place.display(),
        run.display(),
        shortened(&described),
        shortened(classes)
    )))
}

/// The test part where there is one, else the validation part, else everything.
fn judged_part(items: Vec<Item>) -> Vec<Item> {
    let part =
        [Part::Test, Part::Validation].into_iter().find(|part| items.iter().any(|item| item.part == *part));
    items.into_iter().filter(|item| part.is_none_or(|part| item.part == part)).collect()
}

fn shortened(names: &[impl AsRef<str>]) -> String {
    let shown: Vec<&str> = names.iter().take(10).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

type Usable = std::result::Result<FileRecord, String>;

/// What a run answers to images.
struct Answers {
    files: Vec<Usable>,
    /// A row for each usable file.
    plain: Array2<f64>,
    /// The mean over the image and its variants, where those were asked for.
    averaged: Option<Array2<f64>>,
}

impl Answers {
    fn of(
        (model, precision): (&Model, &FrozenPrecision),
        items: &[Item],
        test_time: Option<&TestTime>,
        context: &Context<'_>,
    ) -> Result<Self> {
        let cache = if test_time.is_some() { Cache::disabled() } else { context.cache.clone() };
        let mut ingest = Ingest::answering(model, precision, &cache, context)?;
        let paths: Vec<PathBuf> = items.iter().map(|item| item.path.clone()).collect();
        let views = 1 + test_time.map_or(0, TestTime::len);
        context.progress.start("reading images, computing labels", (paths.len() * views) as u64);
        let Ingested { features, files, .. } = ingest.run(&paths)?;
        let softmax = |logits: &Array2<f32>| probabilities(logits, 1.0);
        let plain = softmax(&features.into_iter().next().unwrap_or_default())?;
        let averaged =
            |test_time: &TestTime| test_time.averaged(&plain.view(), &mut ingest, &paths, &softmax);
        let averaged = test_time.map(averaged).transpose()?;
        context.progress.finish();
        Ok(Self { files, plain, averaged })
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.label_file.as_ref().map_or_else(String::new, |path| format!(" with {path}"));
        let (n, classes) = (self.n, self.classes.len());
        writeln!(f, "{} on {}{labels}: {n} images, {classes} classes", self.run, self.data)?;
        if self.without_row > 0 {
            writeln!(f, "note: left out: {} images without a row in the table of labels", self.without_row)?;
        }
        match self.n_seen_in_training {
            None => writeln!(
                f,
                "note: there is no record of what this model has learned from, perhaps these images"
            )?,
            Some(0) => {}
            Some(seen) => writeln!(
                f,
                "warning: the run has learned from {seen} of these images; the numbers flatter it"
            )?,
        }
        if self.classes_without_images > 0 {
            let absent = self.classes_without_images;
            writeln!(
                f,
                "note: {absent} classes have no image here; macro-F1 counts them as 0, balanced accuracy not at all"
            )?;
        }
        let metrics = &self.metrics;
        for (name, estimate) in [
            ("accuracy", metrics.accuracy),
            ("balanced accuracy", metrics.balanced_accuracy),
            ("macro-F1", metrics.macro_f1),
            ("log-loss", metrics.log_loss),
            ("ECE", metrics.ece),
        ] {
            writeln!(f, "  {name:<18} {}", with_interval(estimate))?;
        }
        if let Some(TestTimeRecord { views, test, gain, .. }) = &self.test_time {
            writeln!(f, "with the mean of the probabilities over the image and {views}:")?;
            writeln!(f, "  {:<18} {}", "accuracy", with_interval(test.accuracy))?;
            writeln!(f, "  {:<18} {}", "difference", with_interval(gain.estimate))?;
            writeln!(f, "  {:<18} {}", "log-loss", with_interval(test.log_loss))?;
        }
        for file in &self.unusable {
            writeln!(f, "  skipped {}: {}", file.path, file.reason)?;
        }
        Ok(())
    }
}

fn with_interval(estimate: Estimate) -> String {
    format!("{:.3}  (95 % interval {:.3} to {:.3})", estimate.value, estimate.low, estimate.high)
}
