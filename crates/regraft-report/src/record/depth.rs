//! How good every depth of a source network is for a user's data, and where to cut it.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Estimate, PairedGain, nan_if_null};
use crate::ReportError;

/// Everything a report shows about one run of `regraft cut`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DepthRecord {
    /// Version of Regraft that made the comparison.
    pub regraft_version: String,
    /// Name of the comparison, shown as the title.
    pub name: String,
    /// The source model as the user typed it, for the commands in the report.
    pub source: String,
    /// The data folder as the user typed it, for the commands in the report.
    pub data: String,
    /// The table of labels as the user typed it; `None` where folders are the classes.
    pub label_file: Option<String>,
    /// Options of what the network sees that are no defaults, as a shell takes them, for the commands in the report.
    pub input_options: String,
    /// Options of how the images are divided and judged that are no defaults, in the same way.
    pub split_options: String,
    /// When the comparison ended (RFC 3339).
    pub created: Option<String>,
    /// Class names in the order of the heads' outputs.
    pub classes: Vec<String>,
    /// Number of training images.
    pub n_train: usize,
    /// Number of validation images; 0 when the cuts were judged by cross-validation inside the training set.
    pub n_validation: usize,
    /// Number of held-out test images; they have no part in the choice.
    pub n_test: usize,
    /// Kind of head that judged each cut, for example `logistic-regression`.
    pub head: String,
    /// What the network sees of the images, in a sentence.
    pub input: String,
    /// Confidence level of every interval in the record, for example 0.95.
    pub interval_level: f64,
    /// Share of the majority class among the images that judged, 0..=1.
    #[serde(deserialize_with = "nan_if_null")]
    pub chance: f64,
    /// The cuts from generic to specific.
    pub cuts: Vec<CutRecord>,
    /// By which rule the chosen cut was chosen, in one sentence; empty where there was one alone.
    pub reason: String,
    /// The chosen cut on the test images, and the default one if it is another.
    pub test: Vec<CutTest>,
    /// A short fine-tuning behind the best cuts; empty where there was none.
    pub tuned: Vec<CutTuning>,
    /// How transferable the layers are by the protocol of Yosinski et al., 2014; `None` where it was not asked for.
    pub protocol: Option<TransferProtocol>,
    /// Number of worker threads.
    pub threads: usize,
    /// Vector instructions that the engine used: other ones may round otherwise. Empty in records of former versions.
    pub instruction_set: String,
    /// Wall-clock seconds of the whole comparison.
    #[serde(deserialize_with = "nan_if_null")]
    pub seconds: f64,
    /// Peak resident memory of the process in mebibytes.
    #[serde(deserialize_with = "nan_if_null")]
    pub peak_rss_mb: f64,
}

impl Default for DepthRecord {
    fn default() -> Self {
        Self {
            regraft_version: String::new(),
            name: String::new(),
            source: String::new(),
            data: String::new(),
            label_file: None,
            input_options: String::new(),
            split_options: String::new(),
            created: None,
            classes: Vec::new(),
            n_train: 0,
            n_validation: 0,
            n_test: 0,
            head: String::new(),
            input: String::new(),
            interval_level: 0.95,
            chance: f64::NAN,
            cuts: Vec::new(),
            reason: String::new(),
            test: Vec::new(),
            tuned: Vec::new(),
            protocol: None,
            threads: 0,
            instruction_set: String::new(),
            seconds: f64::NAN,
            peak_rss_mb: f64::NAN,
        }
    }
}

impl DepthRecord {
    /// Reads a record that [`DepthRecord::to_json`] wrote.
    ///
    /// # Errors
    /// [`ReportError::Json`] with line and column when the text is not JSON or a field has the wrong type.
    pub fn from_json(text: &str) -> Result<Self, ReportError> {
        Ok(serde_json::from_str(text)?)
    }

    /// The whole record as indented JSON with a final newline.
    ///
    /// # Errors
    /// None in practice: the record holds only values that JSON can carry; the signature is serde's.
    pub fn to_json(&self) -> Result<String, ReportError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The cut that was chosen.
    pub fn chosen(&self) -> Option<&CutRecord> {
        self.cuts.iter().find(|cut| cut.is_chosen)
    }

    /// The cut that `regraft fit` would take by itself.
    pub fn default_cut(&self) -> Option<&CutRecord> {
        self.cuts.iter().find(|cut| cut.is_default)
    }

    /// What the test images say of a wire.
    pub fn test_of(&self, wire: &str) -> Option<&CutTest> {
        self.test.iter().find(|test| test.wire == wire)
    }
}

/// A wire at which the source network can be cut, and how good a head on it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CutRecord {
    /// Name of the wire.
    pub wire: String,
    /// Number of features that the head sees.
    pub dimensions: usize,
    /// Parameters of the network up to and with the wire.
    pub parameters: u64,
    /// Milliseconds of one image through the network up to the wire, with all threads.
    #[serde(deserialize_with = "nan_if_null")]
    pub milliseconds: f64,
    /// Share of right answers in cross-validation, 0..=1.
    pub accuracy: Estimate,
    /// Mean log-loss of the same answers in nats, after temperature scaling.
    #[serde(deserialize_with = "nan_if_null")]
    pub log_loss: f64,
    /// How much that is above the log-loss of the best cut, on the same images; 0 for the best one.
    #[serde(deserialize_with = "nan_if_null")]
    pub excess: f64,
    /// Standard error of the excess.
    #[serde(deserialize_with = "nan_if_null")]
    pub excess_standard_error: f64,
    /// Accuracy at the same cut of the same network with random weights; unknown where it was not measured.
    pub random: Estimate,
    /// Whether its log-loss is the lowest.
    pub is_best: bool,
    /// Whether it was chosen.
    pub is_chosen: bool,
    /// Whether `regraft fit` would take it by itself.
    pub is_default: bool,
}

impl Default for CutRecord {
    fn default() -> Self {
        Self {
            wire: String::new(),
            dimensions: 0,
            parameters: 0,
            milliseconds: f64::NAN,
            accuracy: Estimate::UNKNOWN,
            log_loss: f64::NAN,
            excess: f64::NAN,
            excess_standard_error: f64::NAN,
            random: Estimate::UNKNOWN,
            is_best: false,
            is_chosen: false,
            is_default: false,
        }
    }
}

impl CutRecord {
    /// Whether its log-loss is within one standard error of that of the best cut.
    pub fn is_as_good_as_best(&self) -> bool {
        self.is_best || self.excess <= self.excess_standard_error
    }
}

/// What the test images say of a cut.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CutTest {
    /// Name of the wire.
    pub wire: String,
    /// Share of right answers.
    pub accuracy: Estimate,
    /// How much better it is than the default cut on the same images; only for the chosen cut, if it is another.
    pub gain: Option<PairedGain>,
}

/// A short fine-tuning of everything behind a cut, judged by one fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CutTuning {
    /// Name of the wire.
    pub wire: String,
    /// Passes over the training images of the fold.
    pub epochs: usize,
    /// Number of images that judged.
    pub images: usize,
    /// Share of right answers of the head alone, 0..=1.
    #[serde(deserialize_with = "nan_if_null")]
    pub accuracy_before: f64,
    /// Share of right answers after the training, 0..=1.
    #[serde(deserialize_with = "nan_if_null")]
    pub accuracy_after: f64,
    /// Mean log-loss of the head alone in nats.
    #[serde(deserialize_with = "nan_if_null")]
    pub log_loss_before: f64,
    /// Mean log-loss after the training in nats.
    #[serde(deserialize_with = "nan_if_null")]
    pub log_loss_after: f64,
    /// Wall-clock seconds of the training's epochs, also by processes that were stopped.
    #[serde(deserialize_with = "nan_if_null")]
    pub seconds: f64,
}

impl Default for CutTuning {
    fn default() -> Self {
        let [accuracy_before, accuracy_after, log_loss_before, log_loss_after, seconds] = [f64::NAN; 5];
        let (wire, epochs, images) = (String::new(), 0, 0);
        Self {
            wire,
            epochs,
            images,
            accuracy_before,
            accuracy_after,
            log_loss_before,
            log_loss_after,
            seconds,
        }
    }
}

/// How transferable the features of each layer are (Yosinski et al., 2014, "How transferable are features in deep
/// neural networks?"): the classes are split into A and B, and networks for B start from the first blocks of
/// networks for A or for B.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransferProtocol {
    /// The classes of task A.
    pub classes_a: Vec<String>,
    /// The classes of task B.
    pub classes_b: Vec<String>,
    /// Number of training images of A.
    pub n_train_a: usize,
    /// Number of training images of B.
    pub n_train_b: usize,
    /// Number of test images of B; they judge every network.
    pub n_test_b: usize,
    /// Passes over the training images of each training.
    pub epochs: usize,
    /// How often each network was trained, each time from another seed.
    pub repetitions: usize,
    /// Nothing copied: a network trained on B from random weights.
    pub base_b: ProtocolPoint,
    /// What was copied, and whether it was trained further.
    pub arms: Vec<ProtocolArm>,
}

/// One way to start a network for B.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProtocolArm {
    /// `AnB`: the first n blocks from A, frozen; `BnB`: from B, frozen; `AnB+` and `BnB+`: trained further on B.
    pub name: String,
    /// Points in ascending order of `layers`.
    pub points: Vec<ProtocolPoint>,
}

/// The networks of an arm with the same number of copied blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProtocolPoint {
    /// The wire up to which blocks were copied; empty for none.
    pub wire: String,
    /// Number of copied blocks, the n of `AnB`.
    pub layers: usize,
    /// Accuracy on the test images of B, 0..=1, one a repetition.
    #[serde(deserialize_with = "nan_if_null_each")]
    pub values: Vec<f64>,
    /// Mean of the values.
    #[serde(deserialize_with = "nan_if_null")]
    pub mean: f64,
    /// Lower end of the band around the mean.
    #[serde(deserialize_with = "nan_if_null")]
    pub low: f64,
    /// Upper end of the band around the mean.
    #[serde(deserialize_with = "nan_if_null")]
    pub high: f64,
}

impl Default for ProtocolPoint {
    fn default() -> Self {
        let [mean, low, high] = [f64::NAN; 3];
        Self { wire: String::new(), layers: 0, values: Vec::new(), mean, low, high }
    }
}

impl ProtocolPoint {
    /// The mean with its band.
    pub const fn estimate(&self) -> Estimate {
        Estimate::new(self.mean, self.low, self.high)
    }
}

fn nan_if_null_each<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<Option<f64>>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_a_record_with_nothing_measured() {
        let record = DepthRecord::from_json("{\"protocol\": {}, \"cuts\": [{}], \"tuned\": [{}]}").unwrap();
        assert_eq!(record.interval_level, 0.95);
        assert!(record.chance.is_nan() && record.cuts[0].excess.is_nan() && record.chosen().is_none());
        assert!(record.protocol.unwrap().base_b.mean.is_nan() && record.tuned[0].seconds.is_nan());
    }

    #[test]
    fn values_that_were_not_measured_survive_json() {
        let point = ProtocolPoint { values: vec![0.5, f64::NAN], ..ProtocolPoint::default() };
        let back: ProtocolPoint = serde_json::from_str(&serde_json::to_string(&point).unwrap()).unwrap();
        assert!(back.values[0] == 0.5 && back.values[1].is_nan());
    }

    #[test]
    fn as_good_is_within_one_standard_error_and_never_what_was_not_measured() {
        let cut = |excess, excess_standard_error| CutRecord {
            excess,
            excess_standard_error,
            ..CutRecord::default()
        };
        assert!(cut(0.01, 0.01).is_as_good_as_best() && !cut(0.02, 0.01).is_as_good_as_best());
        assert!(!CutRecord::default().is_as_good_as_best());
        assert!(CutRecord { is_best: true, ..CutRecord::default() }.is_as_good_as_best());
    }
}
