//! What `regraft fit` was asked to do, as it is kept in `regraft.toml`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use regraft_adapt::HeadKind;
use regraft_data::source::LabelFile;
use regraft_system::files;
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};

use crate::fit::{Method, TuningConfig};
use crate::input::InputChoice;
use crate::test_time;
use crate::{ChannelChoice, Error, ExtraChannels, PrecisionChoice, Result, Stem};

/// Everything that determines a run. Written into the run folder with every default filled in, so that
/// `regraft fit --config RUN/regraft.toml` repeats the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FitConfig {
    /// Folder with images: `class/file`, or `train/class/file` beside `val` or `test`.
    #[serde(serialize_with = "as_text")]
    pub data: PathBuf,
    /// Table with the labels of the images: UTF-8, a header, and commas, tabs or semicolons between the fields. Folders are classes
    /// if absent.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_text")]
    pub labels: Option<PathBuf>,
    /// Its column of labels; one of a usual name, such as `label` or `class`, or the only one left if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// Its column of files; the one that names the most images if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_column: Option<String>,
    /// Source model: a name of the zoo, a run, a model folder, or a weight file.
    pub source: String,
    /// Architecture of a weight file; guessed from the names of its weights if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Wire at which the source is cut: `features`, `logits`, or a name that `regraft zoo info NAME --graph` shows.
    pub cut: String,
    /// Numbers that the frozen part is computed in.
    pub precision: PrecisionChoice,
    /// Channels of the images that the network sees.
    pub channels: ChannelChoice,
    /// Kernels of channels that the source was not trained on; zeros for alpha and repeated ones otherwise if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_channels: Option<ExtraChannels>,
    /// Height and width in pixels that the network sees, 1 to 4096; those that the source was trained on if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// First layers of the network.
    pub stem: Stem,
    /// Run folder; `runs/<name of the data folder>` if absent, with a number where that is taken.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_text")]
    pub out: Option<PathBuf>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Share of the images held out for the test where the data has no split of its own, above 0, at most 0.5.
    pub test_fraction: f64,
    /// Number of cross-validation folds, 2 to 1000; fewer are used where a class has fewer images.
    pub folds: usize,
    /// Kinds of heads to choose from.
    pub heads: Vec<HeadKind>,
    /// Nested subsets are drawn so many times for the learning curve, at most 1000; 0 leaves the curve out.
    pub curve_repetitions: usize,
    /// What is trained of the source.
    pub method: Method,
    /// Variants of each test image, 0 to 100, that a second look at the test set averages over beside the plain image; 0 leaves
    /// it out. They are those of the tuning's augmentation.
    pub tta: usize,
    /// Share of files that may be unreadable before the run fails, 0 to 1.
    pub max_unreadable: f64,
    /// Images with more pixels than this, in millions, are refused.
    pub max_megapixels: u64,
    /// How it is trained, where the method trains something.
    pub tuning: TuningConfig,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            labels: None,
            label_column: None,
            file_column: None,
            source: crate::DEFAULT_SOURCE.to_owned(),
            arch: None,
            cut: FEATURES.to_owned(),
            precision: PrecisionChoice::default(),
            channels: ChannelChoice::default(),
            extra_channels: None,
            image_size: None,
            stem: Stem::default(),
            out: None,
            seed: 0,
            test_fraction: 0.2,
            folds: 5,
            heads: HeadKind::ALL.to_vec(),
            curve_repetitions: 5,
            method: Method::default(),
            tta: 0,
            max_unreadable: 0.1,
            max_megapixels: 178,
            tuning: TuningConfig::default(),
        }
    }
}

impl FitConfig {
    /// Reads a `regraft.toml`.
    ///
    /// # Errors
    /// The file cannot be read, or a key or value is unknown; the message names the line.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path).map_err(|error| Error::Usage(error.to_string()))?;
        let text =
            String::from_utf8(bytes).map_err(|_| Error::Usage(format!("{}: not UTF-8", path.display())))?;
        toml::from_str(&text).map_err(|error| {
            let advice = misplaced(&text).unwrap_or_default();
            Error::Usage(format!("{}: {error}{advice}", path.display()))
        })
    }

    /// The text of a `regraft.toml` that repeats the run.
    ///
    /// # Errors
    /// A value that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|error| Error::Usage(error.to_string()))
    }

    /// Reports every value outside its range at once.
    ///
    /// # Errors
    /// [`Error::Usage`], one line a mistake.
    pub fn check(&self) -> Result<()> {
        let mistakes = [
            (self.data.as_os_str().is_empty()).then(|| "data: name a folder with images".to_owned()),
            self.column_mistake(),
            test_time::mistake(self.tta, &self.tuning),
            (!(self.test_fraction > 0.0 && self.test_fraction <= 0.5)).then(|| {
                format!("test-fraction: {} is not a share above 0, at most 0.5", self.test_fraction)
            }),
            (!FOLDS.contains(&self.folds)).then(|| outside("folds", self.folds, &FOLDS)),
            (!CURVE_REPETITIONS.contains(&self.curve_repetitions))
                .then(|| outside("curve-repetitions", self.curve_repetitions, &CURVE_REPETITIONS)),
            self.input().mistake(),
            (self.heads.is_empty()).then(|| "heads: name at least one kind of head".to_owned()),
            (!(0.0..=1.0).contains(&self.max_unreadable))
                .then(|| format!("max-unreadable: {} is not a share from 0 to 1", self.max_unreadable)),
            (!MAX_MEGAPIXELS.contains(&self.max_megapixels))
                .then(|| outside("max-megapixels", self.max_megapixels, &MAX_MEGAPIXELS)),
        ];
        let of_tuning = self.tuning.mistakes().chain(self.soup_mistake());
        let mistakes: Vec<String> =
            mistakes.into_iter().flatten().chain(of_tuning).chain(self.method_mistake()).collect();
        if mistakes.is_empty() { Ok(()) } else { Err(Error::Usage(mistakes.join("\n"))) }
    }
}

impl FitConfig {
    /// What does not go with the method.
    fn method_mistake(&self) -> Option<String> {
        let (Self { method, precision, .. }, unused) = (self, self.unused());
        match method {
            Method::Probe => None,
            _ if *precision == PrecisionChoice::Int8 => Some(format!(
                "precision: int8 is for frozen networks; --method {} trains in f32 or bf16",
                method.name()
            )),
            Method::Gradual if self.tuning.epochs < 2 => {
                Some("epochs: gradual trains the head alone in the first epoch; it needs at least 2".to_owned())
            }
            Method::Partial if self.cut == FEATURES => Some(
                "method: partial trains what stands behind a wire in front of features; name it with --cut, in regraft.toml with cut (`regraft zoo info NAME --graph` shows the wires)"
                    .to_owned(),
            ),
            Method::Bss if self.tuning.batch() == 1 => {
                Some("batch-size: bss looks at how the images of a batch differ; it needs at least 2".to_owned())
            }
            _ if unused.is_some() => unused,
            Method::Auto => None,
            _ if self.tuning.time_limit.is_some() => {
                Some(format!("time-limit: it is for auto alone; {} takes as long as it takes", method.name()))
            }
            _ if self.tuning.regularization.is_some() && method.regularization() == 0.0 => Some(format!(
                "regularization: {} adds nothing to the loss; bss, delta, lwf and co-tuning do",
                method.name()
            )),
            _ => None,
        }
    }

    /// A setting of another method.
    fn unused(&self) -> Option<String> {
        let (tuning, default) = (&self.tuning, TuningConfig::default());
        let settings = [
            ("rank", tuning.rank != default.rank, Method::Lora),
            ("alpha", tuning.alpha != default.alpha, Method::Lora),
            ("source-pull", tuning.source_pull != default.source_pull, Method::L2Sp),
        ];
        let (name, _, of) = settings.into_iter().find(|(_, is_set, of)| *is_set && *of != self.method)?;
        Some(format!("{name}: it is for {} alone; {} has no use for it", of.name(), self.method.name()))
    }

    /// A soup is made of trainings of one method.
    fn soup_mistake(&self) -> Option<String> {
        let has_soup = self.tuning.soup.is_some() && matches!(self.method, Method::Probe | Method::Auto);
        has_soup.then(|| format!("soup: {} has none; choose another --method", self.method.name()))
    }

    /// A column of a table that was not given.
    fn column_mistake(&self) -> Option<String> {
        let columns = [("label-column", &self.label_column), ("file-column", &self.file_column)];
        let (name, _) = columns.into_iter().find(|(_, column)| column.is_some() && self.labels.is_none())?;
        Some(format!(
            "{name}: names a column of a table of labels; give one with --labels, in regraft.toml with labels"
        ))
    }

    /// The table of labels, if there is one.
    pub fn label_file(&self) -> Option<LabelFile> {
        let (file_column, label_column) = (self.file_column.clone(), self.label_column.clone());
        Some(LabelFile { path: self.labels.clone()?, file_column, label_column })
    }

    /// Options that say where the labels are, as a shell takes them, where folders are not the classes.
    pub(crate) fn label_options(&self) -> Vec<String> {
        let path = self.labels.as_ref().map(|path| path.to_string_lossy());
        let options = [
            path.map(|path| format!("--labels {}", quoted(&path))),
            self.label_column.as_ref().map(|name| format!("--label-column {}", quoted(name))),
            self.file_column.as_ref().map(|name| format!("--file-column {}", quoted(name))),
        ];
        options.into_iter().flatten().collect()
    }

    /// The wire behind which the head goes: with [`Method::Partial`] the cut says where training begins.
    pub(crate) fn head_cut(&self) -> &str {
        if self.method == Method::Partial { FEATURES } else { &self.cut }
    }

    /// What is asked for of the network's input.
    pub fn input(&self) -> InputChoice {
        let Self { channels, extra_channels, image_size, stem, .. } = *self;
        InputChoice { channels, extra_channels, image_size, stem }
    }
}

/// The cut in front of the source's own head.
const FEATURES: &str = "features";

/// More folds than this only cost time: with fewer images a fold, the estimate hardly changes.
pub(crate) const FOLDS: RangeInclusive<usize> = 2..=1000;
const CURVE_REPETITIONS: RangeInclusive<usize> = 0..=1000;
const MAX_MEGAPIXELS: RangeInclusive<u64> = 1..=100_000;

pub(crate) fn outside<T: Display>(name: &str, value: T, range: &RangeInclusive<T>) -> String {
    format!("{name}: {value} is not from {} to {}", range.start(), range.end())
}

/// Names a setting of the run that stands in the table of the training, or one of the training that stands outside.
fn misplaced(text: &str) -> Option<String> {
    let found: toml::Table = text.parse().ok()?;
    let inside = found.get("tuning").and_then(toml::Value::as_table);
    if let Some((name, _)) = inside.into_iter().flatten().find(|setting| is_of::<FitConfig>(*setting)) {
        return Some(format!("`{name}` is a setting of the whole run: write it above [tuning]"));
    }
    let is_misplaced = |setting: &_| is_of::<TuningConfig>(*setting) && !is_of::<FitConfig>(*setting);
    let (name, _) = found.iter().find(is_misplaced)?;
    Some(format!("`{name}` is a setting of the training: write it below [tuning]"))
}

/// Whether a setting belongs to a table.
fn is_of<T: DeserializeOwned>((name, value): (&String, &toml::Value)) -> bool {
    let alone: toml::Table = [(name.clone(), value.clone())].into_iter().collect();
    alone.try_into::<T>().is_ok()
}

/// As a shell takes it.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A path that is not UTF-8 cannot be kept exactly in TOML; the closest text serves the reader.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

fn as_optional_text<S: Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    path.as_deref().map(Path::to_string_lossy).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives_toml() {
        let config = FitConfig { data: "examples/emoji".into(), seed: 7, ..FitConfig::default() };
        assert_eq!(toml::from_str::<FitConfig>(&config.to_toml().unwrap()).unwrap(), config);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let config =
            FitConfig { folds: 1, test_fraction: 1.5, max_unreadable: f64::NAN, ..FitConfig::default() };
        let config = FitConfig { file_column: Some("path".to_owned()), ..config };
        let message = config.check().unwrap_err().to_string();
        for key in ["data", "folds", "test-fraction", "max-unreadable", "file-column"] {
            assert!(message.contains(key), "{message}");
        }
    }

    #[test]
    fn a_setting_of_another_method_is_a_mistake() {
        let tuning = TuningConfig { rank: 4, ..TuningConfig::default() };
        let config = |method| FitConfig { method, tuning: tuning.clone(), ..FitConfig::default() };
        assert!(config(Method::LpFt).method_mistake().is_some_and(|message| message.contains("for lora")));
        assert!(config(Method::Auto).method_mistake().is_some());
        assert_eq!(config(Method::Lora).method_mistake(), None);
    }

    #[test]
    fn a_setting_in_the_wrong_table_is_named() {
        let advice = misplaced("seed = 1\n[tuning]\nprecision = \"bf16\"\n").unwrap();
        assert!(advice.contains("`precision`") && advice.contains("above [tuning]"), "{advice}");
        let advice = misplaced("epochs = 3\n").unwrap();
        assert!(advice.contains("`epochs`") && advice.contains("below [tuning]"), "{advice}");
        assert_eq!(misplaced("[tuning]\nepoch = 3\n"), None);
        assert_eq!(misplaced("seed ="), None);
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        assert!(toml::from_str::<FitConfig>("sead = 1").is_err());
    }
}
