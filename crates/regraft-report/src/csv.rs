//! Tables for other tools as comma-separated values (RFC 4180, with line feeds), numbers with all their digits.

use crate::record::{CutRecord, DepthRecord, Estimate};

const CUTS: &str = "wire,dimensions,parameters,milliseconds,accuracy,accuracy_low,accuracy_high,log_loss,excess,\
                    excess_standard_error,random,random_low,random_high,is_best,is_chosen,is_default\n";

/// A head row and a row a cut, from generic to specific. What was not measured is empty; shares are in 0..=1.
pub fn depth_csv(record: &DepthRecord) -> String {
    std::iter::once(CUTS.to_owned()).chain(record.cuts.iter().map(cut)).collect()
}

fn cut(cut: &CutRecord) -> String {
    let mut fields = vec![
        field(&cut.wire),
        cut.dimensions.to_string(),
        cut.parameters.to_string(),
        number(cut.milliseconds),
    ];
    fields.extend(estimate(&cut.accuracy));
    fields.extend([cut.log_loss, cut.excess, cut.excess_standard_error].map(number));
    fields.extend(estimate(&cut.random));
    fields.extend([cut.is_best, cut.is_chosen, cut.is_default].map(|is| is.to_string()));
    fields.join(",") + "\n"
}

fn estimate(estimate: &Estimate) -> [String; 3] {
    [estimate.value, estimate.low, estimate.high].map(number)
}

fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

/// In quotes, inner ones doubled, where the text would otherwise be read as more than one field.
fn field(text: &str) -> String {
    let is_plain = !text.contains([',', '"', '\n', '\r']);
    if is_plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_stays_one_field() {
        assert_eq!(field("layer3"), "layer3");
        assert_eq!(field("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
    }

    #[test]
    fn what_was_not_measured_is_empty() {
        let row = cut(&CutRecord { wire: "w".to_owned(), ..CutRecord::default() });
        assert_eq!(row, "w,0,0,,,,,,,,,,,false,false,false\n");
        assert_eq!(row.matches(',').count(), CUTS.matches(',').count());
    }
}
