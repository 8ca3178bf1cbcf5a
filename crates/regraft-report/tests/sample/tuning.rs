//! A made-up run that has trained the source.

use regraft_report::RunRecord;
use regraft_report::record::{EpochRecord, IngredientRecord, RangeTestRecord, RatePoint, TuningRecord};

/// A soup of two trainings, at a rate that was found.
pub(crate) fn tuned() -> RunRecord {
    RunRecord { tuning: Some(tuning()), ..super::nine_classes() }
}

fn tuning() -> TuningRecord {
    TuningRecord {
        method: "lp-ft".to_owned(),
        method_in_words: "the whole network, with the linear probe for a start".to_owned(),
        boundary: "input".to_owned(),
        trained_parameters: 3_382_537,
        epochs: 3,
        batch_size: 8,
        accumulate: 4,
        optimizer: "adam-w".to_owned(),
        learning_rate: 1.2e-3,
        range_test: Some(range_test()),
        source_rate_factor: 0.1,
        schedule: "one-cycle".to_owned(),
        weight_decay: 0.01,
        norm_statistics: "stored".to_owned(),
        precision: "bf16".to_owned(),
        swa: Some(0.5),
        augmentation: "crop".to_owned(),
        soup: vec![
            ingredient("validation", 1.2e-3, 0.412, true),
            ingredient("validation-soup-2", 6e-4, 0.398, true),
            ingredient("validation-soup-3", 2.4e-3, 0.655, false),
        ],
        history: [("validation", [0.9, 0.6, 0.412]), ("final", [f64::NAN; 3])]
            .into_iter()
            .flat_map(epochs)
            .collect(),
        seconds: 61.0,
        ..TuningRecord::default()
    }
}

fn range_test() -> RangeTestRecord {
    let point = |step: i32| {
        let learning_rate = 10f64.powf(f64::from(step) / 10.0 - 7.0);
        let falls = 1.2 / (1.0 + (1e-3 / learning_rate).powf(1.5));
        RatePoint { learning_rate, loss: 1.5 - falls + (3.0 * learning_rate).powi(2) }
    };
    RangeTestRecord { learning_rate: 1.2e-3, is_suggested: true, points: (0..70).map(point).collect() }
}

fn ingredient(training: &str, learning_rate: f64, loss: f64, is_kept: bool) -> IngredientRecord {
    IngredientRecord {
        training: training.to_owned(),
        learning_rate,
        validation_loss: loss,
        validation_accuracy: 0.88,
        soup_loss: loss - 0.01,
        needed_epochs: None,
        is_kept,
    }
}

fn epochs((training, losses): (&'static str, [f64; 3])) -> impl Iterator<Item = EpochRecord> {
    (1..).zip(losses).map(move |(epoch, validation_loss)| EpochRecord {
        training: training.to_owned(),
        epoch,
        training_loss: 1.2 / epoch as f64,
        validation_loss,
        learning_rate: 6e-4,
        ..EpochRecord::default()
    })
}
