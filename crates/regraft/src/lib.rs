//! Transfer learning in Rust: select a source model, reuse it up to a cut, fit a head for your data, and prove with
//! numbers whether that helped.
//!
//! Every verb of the `regraft` command is a function here.
//!
//! ```no_run
//! use regraft::{Context, FitConfig, fit};
//!
//! let config = FitConfig { data: "examples/emoji".into(), ..FitConfig::default() };
//! let fitted = fit(&config, &Context::default())?;
//! println!("{:.3} on {} test images", fitted.record.test.accuracy.value, fitted.record.n_test);
//! # Ok::<(), regraft::Error>(())
//! ```

mod cache;
mod check;
mod config;
mod context;
mod cut;
mod embed;
mod error;
mod evaluate;
mod export;
mod fit;
mod folder;
mod ingest;
mod input;
mod inputs;
mod inspections;
mod judge;
mod log;
mod precision;
mod predict;
mod progress;
mod run;
mod source;
mod test_time;
pub mod zoo;

pub use cache::{Cache, ContentHash, StoreInfo, StoreSummary};
pub use check::{Checkup, check};
pub use config::FitConfig;
pub use context::{Context, check_environment, with_threads};
pub use cut::{CutConfig, CutOutcome, cut};
pub use embed::{Embedded, embed};
pub use error::{Error, Result};
pub use evaluate::{Evaluation, evaluate};
pub use export::{ExportConfig, ExportFormat, Exported, export};
pub use fit::{
    Fitted, LearningRate, Method, NormStatistics, OptimizerChoice, ScheduleChoice, TuningConfig, fit,
    unfinished,
};
pub use input::{ChannelChoice, ExtraChannels, InputChoice, Stem};
pub use precision::{EmbedPrecision, FrozenPrecision, PrecisionChoice};
pub use predict::{Prediction, ScoredLabel, Unusable, predict};
pub use progress::{Progress, Silent};
pub use regraft_adapt::HeadKind;
pub use regraft_data::augment::Augmentation;
pub use regraft_data::decode::Limits;
pub use regraft_data::mix::Mixing;
pub use regraft_data::source::LabelFile;
pub use regraft_graph::Model;
pub use regraft_report::{DepthRecord, RunRecord, depth_text, metrics_json, summary_text};
pub use regraft_system::clock::Stopwatch;
pub use run::{read_record, rebuild_report};
pub use source::{load_source, load_source_telling, resolve_cut};
pub use test_time::TestTime;

/// The source model that is part of the program.
pub const DEFAULT_SOURCE: &str = "efficientnet-lite0";
