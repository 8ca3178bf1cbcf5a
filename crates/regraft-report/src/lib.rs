//! A run record to JSON, Markdown, SVG and one self-contained HTML file.
//!
//! Everything here is a pure function from [`RunRecord`] or [`DepthRecord`] to a string or a JSON value: no file is read or
//! written, no clock is asked and no random number is drawn, so the same record gives the same bytes.
//! The caller keeps the record as JSON in the run folder and can rebuild every report from it later.
//!
//! Every string of the record (class names, file names, messages) comes from a user's disk and is treated
//! as hostile: [`html`] and [`svg`] escape it, and the page carries a content security policy that forbids
//! scripts and the network even if an escape were forgotten.
//!
//! Rendering never fails: a value that was not measured is NaN or absent, and is shown as a dash; a part
//! that has no data is left out.
//!
//! ```
//! use regraft_report::{Outcome, RunRecord, record::Estimate, render, verdict};
//!
//! let mut record = RunRecord { name: "cats".to_owned(), n_test: 180, ..RunRecord::default() };
//! record.test.accuracy = Estimate::new(0.942, 0.901, 0.970);
//! assert_eq!(verdict(&record).outcome, Outcome::NotMeasured); // no baseline was run
//! assert!(render(&record).contains("94.2"));
//! ```

mod csv;
mod error;
pub mod html;
mod insight;
pub mod markdown;
mod markup;
mod metrics;
mod number;
pub mod record;
pub mod svg;
pub mod tensorboard;
pub mod thumbnail;
pub mod verdict;

pub use csv::depth_csv;
pub use error::ReportError;
pub use html::{render, render_depth};
pub use markdown::{depth_text, render_markdown, summary_text};
pub use metrics::metrics_json;
pub use record::{DepthRecord, RunRecord};
pub use verdict::{Outcome, Verdict, depth_verdict, verdict};
