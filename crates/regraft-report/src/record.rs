//! The data of one run, as plain values that go to JSON and back.
//!
//! Every field has a default, and unknown fields are ignored: a record written by an older or a newer version
//! still renders. JSON has no NaN, so a number that was not measured is written as `null` and read back as NaN.
//! Shares, accuracies and probabilities are in 0..=1 everywhere; only the rendering turns them into per cent.

use serde::{Deserialize, Deserializer, Serialize};

use crate::ReportError;

mod curve;
mod depth;
mod test_time;
mod tuning;

pub use curve::{CurvePoint, CurveSeries, LearningCurve};
pub use depth::{CutRecord, CutTest, CutTuning, DepthRecord, ProtocolArm, ProtocolPoint, TransferProtocol};
pub use test_time::TestTimeRecord;
pub use tuning::{EpochRecord, IngredientRecord, RangeTestRecord, RatePoint, RungRecord, TuningRecord};

/// Everything a report shows about one run of `regraft fit` or `regraft evaluate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    /// Kind of task, for example `image-classification`.
    pub task: String,
    /// Name of the run, shown as the title.
    pub name: String,
    /// The run folder as the user would type it, for the commands in the report.
    pub run_path: String,
    /// The data folder as the user typed it.
    pub data_path: String,
    /// The table of labels as the user typed it; `None` where folders are the classes.
    pub label_file: Option<String>,
    /// Class names in the order of the model's outputs.
    pub classes: Vec<String>,
    /// Number of training examples.
    pub n_train: usize,
    /// Number of validation examples; 0 when selection was by cross-validation inside the training set.
    pub n_validation: usize,
    /// Number of held-out test examples.
    pub n_test: usize,
    /// Name of the source model (its card's name).
    pub source: String,
    /// Where the source model's weights come from (package or address).
    pub source_origin: String,
    /// Licence of the source model's weights.
    pub source_licence: String,
    /// SHA-256 of the source model's weights in hexadecimal; empty when unknown.
    pub source_sha256: String,
    /// Name of the wire at which the source model was cut.
    pub cut: String,
    /// How the model was adapted, for example `linear probe: logistic-regression, C = 0.1`.
    pub method: String,
    /// Numbers that the frozen part was computed in.
    pub precision: PrecisionRecord,
    /// What the network sees of the images, and how it came to; empty in records of former versions.
    pub input: String,
    /// Every head that was tried, in the order of trial.
    pub head_candidates: Vec<HeadCandidate>,
    /// How the source model was tuned; `None` for a head on frozen features.
    pub tuning: Option<TuningRecord>,
    /// Headline numbers on the test set.
    pub test: TestMetrics,
    /// The same with test-time augmentation; `None` where there was none. All other numbers are without it.
    pub test_time: Option<TestTimeRecord>,
    /// What simpler methods reach on the same test set.
    pub baselines: Baselines,
    /// Test metrics of each class, in the order of `classes`.
    pub per_class: Vec<ClassMetrics>,
    /// Counts of test examples: rows are true classes, columns predicted classes, in the order of `classes`. May be
    /// empty, and should be for thousands of classes: it grows with their square, in memory and in `metrics.json`.
    pub confusion: Vec<Vec<u64>>,
    /// Accuracy over the number of training examples.
    pub learning_curve: LearningCurve,
    /// Wrong answers on the test set, the most confident first.
    pub mistakes: Vec<Mistake>,
    /// What the data doctor found.
    pub findings: Vec<Finding>,
    /// Wall-clock seconds of the stages.
    pub timing: Timing,
    /// Images through decoding and the source model per second; NaN when every feature came from the cache.
    #[serde(deserialize_with = "nan_if_null")]
    pub images_per_second: f64,
    /// Peak resident memory of the process in mebibytes.
    #[serde(deserialize_with = "nan_if_null")]
    pub peak_rss_mb: f64,
    /// The seed of every random choice in the run.
    pub seed: u64,
    /// Number of worker threads; changes timings only, never results.
    pub threads: usize,
    /// Vector instructions that the engine used: other ones may round otherwise. Empty in records of former versions.
    pub instruction_set: String,
    /// Divisor of the logits found by temperature scaling; absent when none was fitted.
    pub temperature: Option<f64>,
    /// Version of Regraft that made the run.
    pub regraft_version: String,
    /// Number of parameters of the whole model, head included.
    pub model_parameters: u64,
    /// Multiply-accumulate operations for one example.
    pub model_macs: u64,
    /// Side of the square input image in pixels; 0 when the input is no image.
    pub image_size: usize,
    /// Confidence level of every interval in the record, for example 0.95.
    pub interval_level: f64,
    /// When the run ended (RFC 3339); kept out of `metrics.json`, which must not change between equal runs.
    pub created: Option<String>,
}

impl Default for RunRecord {
    fn default() -> Self {
        Self {
            task: "image-classification".to_owned(),
            name: String::new(),
            run_path: String::new(),
            data_path: String::new(),
            label_file: None,
            classes: Vec::new(),
            n_train: 0,
            n_validation: 0,
            n_test: 0,
            source: String::new(),
            source_origin: String::new(),
            source_licence: String::new(),
            source_sha256: String::new(),
            cut: String::new(),
            method: String::new(),
            precision: PrecisionRecord::default(),
            input: String::new(),
            head_candidates: Vec::new(),
            tuning: None,
            test: TestMetrics::default(),
            test_time: None,
            baselines: Baselines::default(),
            per_class: Vec::new(),
            confusion: Vec::new(),
            learning_curve: LearningCurve::default(),
            mistakes: Vec::new(),
            findings: Vec::new(),
            timing: Timing::default(),
            images_per_second: f64::NAN,
            peak_rss_mb: f64::NAN,
            seed: 0,
            threads: 0,
            instruction_set: String::new(),
            temperature: None,
            regraft_version: String::new(),
            model_parameters: 0,
            model_macs: 0,
            image_size: 0,
            interval_level: 0.95,
            created: None,
        }
    }
}

impl RunRecord {
    /// Reads a record that [`RunRecord::to_json`] wrote.
    ///
    /// # Errors
    /// [`ReportError::Json`] with line and column when the text is not JSON or a field has the wrong type.
    pub fn from_json(text: &str) -> Result<Self, ReportError> {
        Ok(serde_json::from_str(text)?)
    }

    /// The whole record, thumbnails included, as indented JSON with a final newline.
    ///
    /// # Errors
    /// None in practice: the record holds only values that JSON can carry; the signature is serde's.
    pub fn to_json(&self) -> Result<String, ReportError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// A number with its confidence interval at the record's level. NaN means "not measured".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Estimate {
    /// The measured value.
    #[serde(deserialize_with = "nan_if_null")]
    pub value: f64,
    /// Lower end of the interval.
    #[serde(deserialize_with = "nan_if_null")]
    pub low: f64,
    /// Upper end of the interval.
    #[serde(deserialize_with = "nan_if_null")]
    pub high: f64,
}

impl Estimate {
    /// A number that was not measured.
    pub const UNKNOWN: Self = Self { value: f64::NAN, low: f64::NAN, high: f64::NAN };

    /// A value with the two ends of its interval.
    pub const fn new(value: f64, low: f64, high: f64) -> Self {
        Self { value, low, high }
    }

    /// Whether the value was measured.
    pub fn is_known(&self) -> bool {
        self.value.is_finite()
    }
}

impl Default for Estimate {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

/// Numbers that the frozen part was computed in, and how that was decided.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PrecisionRecord {
    /// `f32`, `bf16`, `int8` or `auto`; empty in a record of a version that knew only `f32`.
    pub asked: String,
    /// `f32`, `bf16` or `int8`.
    pub used: String,
    /// Why `auto` chose it, or why it is another one than asked for; empty where it is as asked.
    pub reason: String,
    /// What `auto` compared, fastest first.
    pub candidates: Vec<PrecisionCandidate>,
    /// Number of training images that `auto` compared on.
    pub sample: usize,
    /// Number of training images that the ranges of 8-bit integers were found on.
    pub calibration_images: usize,
}

/// A precision that `auto` compared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PrecisionCandidate {
    /// `f32`, `bf16` or `int8`.
    pub precision: String,
    /// Cross-validated accuracy of one kind of head on its features, 0..=1.
    #[serde(deserialize_with = "nan_if_null")]
    pub accuracy: f64,
    /// Standard error of `accuracy`.
    #[serde(deserialize_with = "nan_if_null")]
    pub standard_error: f64,
    /// Whether it was taken.
    pub chosen: bool,
}

/// One head that was tried: what it is, and how well it did on data it was not fitted on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct HeadCandidate {
    /// Kind of head, for example `logistic-regression`.
    pub kind: String,
    /// Its hyper-parameter in words, for example `C = 0.1`; empty when it has none.
    pub hyper_parameter: String,
    /// Mean accuracy over the folds (or on the validation set), 0..=1.
    #[serde(deserialize_with = "nan_if_null")]
    pub accuracy: f64,
    /// Standard error of `accuracy`.
    #[serde(deserialize_with = "nan_if_null")]
    pub standard_error: f64,
    /// Mean log-loss in nats; NaN where the head gives no probabilities.
    #[serde(deserialize_with = "nan_if_null")]
    pub log_loss: f64,
    /// Whether this head was kept.
    pub chosen: bool,
    /// A remark, for example why the head could not be fitted; may be empty.
    pub note: String,
}

impl Default for HeadCandidate {
    fn default() -> Self {
        Self {
            kind: String::new(),
            hyper_parameter: String::new(),
            accuracy: f64::NAN,
            standard_error: f64::NAN,
            log_loss: f64::NAN,
            chosen: false,
            note: String::new(),
        }
    }
}

/// Headline numbers on the held-out test set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TestMetrics {
    /// Share of correct answers.
    pub accuracy: Estimate,
    /// Mean of the classes' recalls.
    pub balanced_accuracy: Estimate,
    /// Unweighted mean of the classes' F1 scores.
    pub macro_f1: Estimate,
    /// Mean negative log-probability of the true class, in nats.
    pub log_loss: Estimate,
    /// Expected calibration error: mean gap between confidence and accuracy (Guo et al., 2017, eq. 3).
    pub ece: Estimate,
    /// What `ece` would be if the model were perfectly calibrated: it is not 0, because a bin of few
    /// examples misses its expectation by chance.
    pub ece_if_calibrated: Option<MeanSd>,
    /// Share of examples whose true class is among the k most probable, for the k that were asked.
    pub top_k: Vec<TopK>,
}

/// Mean and standard deviation of a simulated quantity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MeanSd {
    /// Mean.
    #[serde(deserialize_with = "nan_if_null")]
    pub mean: f64,
    /// Standard deviation.
    #[serde(deserialize_with = "nan_if_null")]
    pub sd: f64,
}

/// Top-k accuracy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopK {
    /// How many of the most probable classes count.
    pub k: usize,
    /// Share of examples whose true class is among them.
    pub accuracy: Estimate,
}

/// What simpler methods reach on the same test set; a baseline that was not run is absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Baselines {
    /// Always the most frequent class of the training set.
    pub majority: Option<Baseline>,
    /// Nearest neighbours on small raw pixels.
    pub pixel_knn: Option<Baseline>,
    /// The same head on the same network with random weights.
    pub random_features: Option<Baseline>,
}

impl Baselines {
    /// The baselines that were run, the closest relative of the source first.
    pub fn measured(&self) -> impl Iterator<Item = (BaselineKind, &Baseline)> {
        [
            (BaselineKind::RandomFeatures, self.random_features.as_ref()),
            (BaselineKind::PixelKnn, self.pixel_knn.as_ref()),
            (BaselineKind::Majority, self.majority.as_ref()),
        ]
        .into_iter()
        .filter_map(|(kind, baseline)| Some((kind, baseline?)))
    }

    /// The baseline with the highest test accuracy; of equal ones the first of [`Baselines::measured`].
    pub fn best(&self) -> Option<(BaselineKind, &Baseline)> {
        self.measured()
            .filter(|(_, baseline)| baseline.accuracy.is_known())
            .reduce(|best, next| if next.1.accuracy.value > best.1.accuracy.value { next } else { best })
    }
}

/// Which baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaselineKind {
    /// The same head on the same network with random weights.
    RandomFeatures,
    /// Nearest neighbours on small raw pixels.
    PixelKnn,
    /// Always the most frequent class of the training set.
    Majority,
}

impl BaselineKind {
    /// The name in JSON and in the series of a learning curve.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::RandomFeatures => "random_features",
            Self::PixelKnn => "pixel_knn",
            Self::Majority => "majority",
        }
    }

    /// A label of two words for charts and tables.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RandomFeatures => "random weights",
            Self::PixelKnn => "pixel kNN",
            Self::Majority => "majority class",
        }
    }

    /// What it is, to be read inside a sentence.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::RandomFeatures => "the same network with random weights",
            Self::PixelKnn => "nearest neighbours on raw pixels",
            Self::Majority => "always answering the most frequent class",
        }
    }
}

/// A simpler method on the same test set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Baseline {
    /// Share of correct answers.
    pub accuracy: Estimate,
    /// Mean of the classes' recalls, where measured.
    pub balanced_accuracy: Option<Estimate>,
    /// Unweighted mean of the classes' F1 scores, where measured.
    pub macro_f1: Option<Estimate>,
    /// How much better the run's model is on the same test examples.
    pub gain: Option<PairedGain>,
}

/// Difference in accuracy between the run's model and a baseline, paired over the test examples:
/// positive when the run's model is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PairedGain {
    /// The difference, −1..=1, with its interval.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// Share of bootstrap resamples in which the run's model is better, 0..=1.
    #[serde(deserialize_with = "nan_if_null")]
    pub probability: f64,
}

impl Default for PairedGain {
    fn default() -> Self {
        Self { estimate: Estimate::UNKNOWN, probability: f64::NAN }
    }
}

/// Test metrics of one class. NaN where undefined (no example, or never predicted).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassMetrics {
    /// Name of the class.
    pub class: String,
    /// Share of its predictions that are right.
    #[serde(deserialize_with = "nan_if_null")]
    pub precision: f64,
    /// Share of its examples that are found.
    #[serde(deserialize_with = "nan_if_null")]
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    #[serde(deserialize_with = "nan_if_null")]
    pub f1: f64,
    /// Number of test examples of the class.
    pub support: u64,
}

impl Default for ClassMetrics {
    fn default() -> Self {
        Self { class: String::new(), precision: f64::NAN, recall: f64::NAN, f1: f64::NAN, support: 0 }
    }
}

/// A wrong answer on the test set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Mistake {
    /// Path of the file, relative to the data folder.
    pub path: String,
    /// Name of the true class.
    pub true_class: String,
    /// Name of the predicted class.
    pub predicted: String,
    /// Probability that the model gave to the predicted class.
    #[serde(deserialize_with = "nan_if_null")]
    pub probability: f64,
    /// A small picture: a `data:image/…;base64,` address or bare base64 of a PNG; anything else is not shown.
    pub thumbnail: Option<String>,
}

/// Something the data doctor noticed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Stable code, for example `duplicate-across-splits`.
    pub code: String,
    /// What was found and what to do, in one sentence.
    pub message: String,
    /// The files it is about; may be cut short by the doctor.
    pub files: Vec<String>,
}

/// How much a finding matters; ordered from mild to severe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", from = "String")]
pub enum Severity {
    /// Good to know; also every severity that this version does not know.
    #[default]
    Note,
    /// May distort the result.
    Warning,
    /// The files could not be used.
    Error,
}

impl Severity {
    /// The word shown to the user, also its name in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl From<String> for Severity {
    fn from(word: String) -> Self {
        [Self::Error, Self::Warning].into_iter().find(|severity| severity.word() == word).unwrap_or_default()
    }
}

/// Wall-clock seconds of the stages of a run; NaN for a stage that did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timing {
    /// Reading and decoding the images.
    #[serde(deserialize_with = "nan_if_null")]
    pub decode_s: f64,
    /// Running the source model.
    #[serde(deserialize_with = "nan_if_null")]
    pub features_s: f64,
    /// Choosing and fitting the head.
    #[serde(deserialize_with = "nan_if_null")]
    pub head_s: f64,
    /// The whole run.
    #[serde(deserialize_with = "nan_if_null")]
    pub total_s: f64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { decode_s: f64::NAN, features_s: f64::NAN, head_s: f64::NAN, total_s: f64::NAN }
    }
}

fn nan_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_a_record_with_nothing_measured() {
        let record = RunRecord::from_json("{}").unwrap();
        assert!(!record.test.accuracy.is_known());
        assert_eq!(record.interval_level, 0.95);
        assert_eq!(record.task, "image-classification");
    }

    #[test]
    fn unknown_fields_and_severities_are_read_past() {
        let text = r#"{"novelty": [1], "findings": [{"severity": "catastrophe", "code": "x"}]}"#;
        assert_eq!(RunRecord::from_json(text).unwrap().findings[0].severity, Severity::Note);
    }

    #[test]
    fn a_number_that_was_not_measured_survives_json() {
        let gain = PairedGain { estimate: Estimate::new(0.1, f64::NAN, f64::INFINITY), probability: 0.5 };
        let text = serde_json::to_string(&gain).unwrap();
        assert_eq!(text, r#"{"value":0.1,"low":null,"high":null,"probability":0.5}"#);
        let back: PairedGain = serde_json::from_str(&text).unwrap();
        assert!(back.estimate.low.is_nan() && back.probability == 0.5);
    }

    #[test]
    fn broken_json_names_line_and_column_and_what_to_do() {
        let message = RunRecord::from_json("{\n  \"seed\": \"one\"}").unwrap_err().to_string();
        assert!(message.contains("line 2 column") && message.contains("fit again"), "{message}");
    }

    #[test]
    fn the_best_baseline_of_equals_is_the_closest_relative() {
        let with = |value| Some(Baseline { accuracy: Estimate::new(value, 0.0, 1.0), ..Baseline::default() });
        let mut baselines = Baselines { majority: with(0.4), pixel_knn: with(0.4), random_features: None };
        assert_eq!(baselines.best().unwrap().0, BaselineKind::PixelKnn);
        baselines.majority = with(0.5);
        assert_eq!(baselines.best().unwrap().0, BaselineKind::Majority);
        assert!(Baselines::default().best().is_none());
    }
}
