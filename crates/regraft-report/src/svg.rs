//! The charts of a report as SVG, each a function from the record to one `<svg>` element.
//!
//! A plotting crate would bring its own fonts, raster back ends and fixed colours; what is needed here is
//! rectangles, lines and text that take their colours from the page, so that one chart serves light, dark and
//! print. Meaning never rests on colour alone: methods also differ by marker and dash, cells carry their counts.
//! The hues are blue, vermilion and bluish green after Okabe and Ito. Under simulated protanopia and deuteranopia
//! (Machado et al., 2009) any two methods keep a CIEDE2000 distance of 10 or more, right and wrong cells one of 45;
//! blue and green come close under the rare tritanopia, where marker and dash tell them apart. Coloured text has a
//! contrast of 4.5 or more on its ground, in light and in dark.
//!
//! A chart without data is `None`, never an empty frame.

mod accuracy;
mod axis;
mod bands;
mod confusion;
mod depth;
mod drawing;
mod heads;
mod learning;
mod protocol;
mod range_test;
mod recall;
mod training;

pub use accuracy::accuracy;
pub(crate) use axis::appearance;
pub use confusion::{MOST_CLASSES, confusion};
pub use depth::depth;
pub(crate) use depth::is_wide;
pub use heads::heads;
pub use learning::learning_curve;
pub use protocol::protocol;
pub use range_test::range_test;
pub use recall::{MOST_ROWS, recall};
pub use training::training;

/// The colours as custom properties, for light, dark and print.
pub(crate) const PALETTE: &str = include_str!("svg/palette.css");
/// The rules of the charts, which use the colours of [`PALETTE`].
pub(crate) const RULES: &str = include_str!("svg/chart.css");

/// A chart as a file of its own: the same element with its style inside.
pub fn standalone(chart: &str) -> String {
    let style = format!("><style>{PALETTE}{RULES}</style>");
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", chart.replacen('>', &style, 1))
}
