//! What averaging over variants of each test image gives.

use serde::{Deserialize, Serialize};

use super::{PairedGain, TestMetrics};

/// What test-time augmentation gives on the test set: the mean of the probabilities over each image and variants of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TestTimeRecord {
    /// Number of variants beside the plain image.
    pub variants: usize,
    /// The variants in words, for example `4 random variants (standard)`.
    pub views: String,
    /// Headline numbers with it.
    pub test: TestMetrics,
    /// How much better the accuracy is with it than without, on the same images.
    pub gain: PairedGain,
}
