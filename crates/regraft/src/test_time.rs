//! Test-time augmentation: the mean of what a network answers to an image and to variants of it.
//!
//! The mean is that of the probabilities, as in Krizhevsky et al. 2012 (ten crops) and in fastai's `Learner.tta`. The logarithm is
//! concave, so that its log-loss is at most the mean of the variants' log-losses; one view of which the network is wildly sure,
//! which rules a mean of logits, counts as much as any other; and it is the same for a softmax and for classes that are each right
//! or not.

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView2};
use regraft_data::augment::Augmentation;
use regraft_data::augment::geometry::flip_horizontally;
use regraft_data::preprocess::{PreprocessError, crop};
use regraft_data::raster::Image;
use regraft_graph::Preprocessing;
use regraft_report::record::TestTimeRecord;
use regraft_system::random::stream;

use crate::cache::{ContentHash, hex};
use crate::ingest::Ingest;
use crate::judge::{baseline, judge};
use crate::{Error, FitConfig, Result, TuningConfig};

/// How the networks are shown an image.
#[derive(Debug, Clone)]
pub(crate) enum View {
    /// As in use.
    Plain,
    /// Mirrored, else as in use.
    Mirrored,
    /// A random variant of this number.
    Variant { augmentation: Augmentation, seed: u64, number: usize },
}

impl View {
    /// What the networks see. The random numbers depend on the seed, the image's content and the variant only.
    pub(crate) fn of(
        &self,
        image: &Image,
        content: &ContentHash,
        preprocessing: &Preprocessing,
    ) -> std::result::Result<Image, PreprocessError> {
        match self {
            Self::Plain => crop(image, preprocessing),
            Self::Mirrored => crop(image, preprocessing).map(flip_horizontally),
            Self::Variant { augmentation, seed, number } => {
                let purpose = format!("test-time variants of {}", hex(content));
                augmentation.apply(image, preprocessing, &mut stream(*seed, &purpose, *number as u64))
            }
        }
    }
}

/// What is averaged over beside the plain image.
#[derive(Debug, Clone)]
pub struct TestTime {
    views: Vec<View>,
    /// The views in words.
    words: String,
}

/// The most variants: with more the mean hardly changes.
pub(crate) const MOST_VARIANTS: usize = 100;

impl TestTime {
    /// So many random variants, or for one the mirrored image where the augmentation mirrors; `None` for none.
    ///
    /// # Errors
    /// [`Error::Usage`]: the augmentation does nothing, or there are more than 100.
    pub(crate) fn new(variants: usize, tuning: &TuningConfig, seed: u64) -> Result<Option<Self>> {
        if let Some(mistake) = mistake(variants, tuning) {
            return Err(Error::Usage(mistake));
        }
        let augmentation = &tuning.augmentation;
        Ok(match variants {
            0 => None,
            1 if augmentation.horizontal_flip > 0.0 => {
                Some(Self { views: vec![View::Mirrored], words: "the mirrored image".to_owned() })
            }
            _ => {
                let variant = |number| View::Variant { augmentation: augmentation.clone(), seed, number };
                let plural = if variants == 1 { "" } else { "s" };
                let name = tuning.augmentation_name().unwrap_or_default();
                let words = format!("{variants} random variant{plural} ({name})");
                Some(Self { views: (0..variants).map(variant).collect(), words })
            }
        })
    }

    /// With the augmentation and the seed of a run; those that [`fit`](crate::fit()) has by default for other models.
    ///
    /// # Errors
    /// [`Error::Usage`]: the augmentation does nothing, there are more than 100 variants, or the run's settings cannot be read.
    pub fn of_run(run: &Path, variants: usize) -> Result<Option<Self>> {
        let folders = [Some(run), run.parent()].into_iter().flatten().filter(|_| run.is_dir());
        let settings = folders.map(|folder| folder.join("regraft.toml")).find(|path| path.is_file());
        let config = settings.map_or_else(|| Ok(FitConfig::default()), |path| FitConfig::read(&path))?;
        Self::new(variants, &config.tuning, config.seed)
    }

    /// Number of views beside the plain image.
    pub(crate) fn len(&self) -> usize {
        self.views.len()
    }

    /// The mean of the answers (images × classes) to the plain images and to all views of them; `ingest` gives the logits.
    ///
    /// # Errors
    /// A file that could be read can no longer be, the network cannot run, or the user has asked to stop.
    pub(crate) fn averaged(
        &self,
        plain: &ArrayView2<'_, f64>,
        ingest: &mut Ingest<'_>,
        paths: &[PathBuf],
        probabilities: &dyn Fn(&Array2<f32>) -> Result<Array2<f64>>,
    ) -> Result<Array2<f64>> {
        let mut sum = plain.to_owned();
        for view in &self.views {
            ingest.view = view.clone();
            let logits = ingest.run(paths)?.features.into_iter().next().unwrap_or_default();
            if logits.dim() != plain.dim() {
                return Err(Error::Data("an image can no longer be read; start again".to_owned()));
            }
            sum += &probabilities(&logits)?;
        }
        ingest.view = View::Plain;
        Ok(sum / (self.views.len() + 1) as f64)
    }

    /// What a report is told: the metrics with the variants, and how much better they are than those without.
    pub(crate) fn record(
        &self,
        truths: &[usize],
        [with, without]: [ArrayView2<'_, f64>; 2],
        classes: &[String],
        seed: u64,
    ) -> Result<TestTimeRecord> {
        Ok(TestTimeRecord {
            variants: self.len(),
            views: self.words.clone(),
            test: judge(truths, with, classes, seed)?.metrics,
            gain: baseline(truths, with, without, seed)?.gain.unwrap_or_default(),
        })
    }
}

/// What is wrong with so many variants.
pub(crate) fn mistake(variants: usize, tuning: &TuningConfig) -> Option<String> {
    if variants > MOST_VARIANTS {
        return Some(crate::config::outside("tta", variants, &(0..=MOST_VARIANTS)));
    }
    (variants > 0 && tuning.augmentation.is_none()).then(|| {
        "tta: the augmentation is none, so that all variants are the same; give the run another one"
            .to_owned()
    })
}
