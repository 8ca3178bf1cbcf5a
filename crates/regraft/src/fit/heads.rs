//! The head: chosen inside the training set, judged once on the test set, beside its baselines.

use ndarray::Array2;
use regraft_adapt::{Examples, Head, HeadKind, Partition, Selection, select};

use super::dataset::{Dataset, rows};
use crate::judge::probabilities;
use crate::{Error, Result};

/// A fitted head and what it says about the test set.
pub(crate) struct Judged {
    pub(crate) selection: Selection,
    /// Test rows × classes.
    pub(crate) test_probabilities: Array2<f64>,
}

/// Chooses among `kinds` by cross-validation on the training rows of `features`, or on the validation rows where there
/// are some, and applies the winner to the test rows.
pub(crate) fn choose(dataset: &Dataset, features: &Array2<f32>, kinds: &[HeadKind]) -> Result<Judged> {
    let split = &dataset.split;
    let positions = [split.train.as_slice(), &split.validation].concat();
    let matrix = rows(features, &positions);
    let examples = examples(&matrix, &dataset.labels_at(&positions), dataset)?;
    let partition = if split.validation.is_empty() {
        Partition::folds(&split.folds)
    } else {
        let held_out: Vec<bool> = (0..positions.len()).map(|row| row >= split.train.len()).collect();
        Partition::held_out(&held_out)
    };
    let selection = select(&examples, &partition.map_err(Error::data)?, kinds).map_err(Error::data)?;
    let test_probabilities = predict(&selection.head, selection.temperature, &rows(features, &split.test))?;
    Ok(Judged { selection, test_probabilities })
}

/// Rows with the labels of the dataset's classes.
pub(crate) fn examples<'a>(
    matrix: &'a Array2<f32>,
    labels: &[usize],
    dataset: &Dataset,
) -> Result<Examples<'a>> {
    Examples::new(matrix.view(), labels, dataset.classes.len()).map_err(Error::data)
}

/// Class probabilities of a head at a temperature.
pub(crate) fn predict(head: &Head, temperature: f64, features: &Array2<f32>) -> Result<Array2<f64>> {
    probabilities(&head.logits(features.view()).map_err(Error::data)?, temperature)
}

/// `C = 0.1`, `k = 5`; empty for a kind without one.
pub(crate) fn hyper_parameter_text(kind: HeadKind, value: Option<f64>) -> String {
    match (kind.hyper_parameter_name(), value) {
        (Some(name), Some(value)) => format!("{name} = {}", significant(value)),
        _ => String::new(),
    }
}

/// Three significant digits, without an exponent where that reads well.
fn significant(value: f64) -> String {
    if value == 0.0 || !(1e-3..1e4).contains(&value.abs()) {
        return format!("{value:.2e}");
    }
    let decimals = (2 - value.abs().log10().floor() as i32).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyper_parameters_read_well() {
        let cases = [
            (0.1, "0.1"),
            (1.0, "1"),
            (31.6227, "31.6"),
            (0.00123, "0.00123"),
            (1e-5, "1.00e-5"),
            (12345.0, "1.23e4"),
        ];
        for (value, text) in cases {
            assert_eq!(significant(value), text);
        }
        assert_eq!(hyper_parameter_text(HeadKind::Knn, Some(5.0)), "k = 5");
        assert_eq!(hyper_parameter_text(HeadKind::Lda, None), "");
    }
}
