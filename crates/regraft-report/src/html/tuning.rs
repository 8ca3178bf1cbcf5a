//! What was trained, how that went, and what it is worth beside the linear probe.

use super::block::{self, Column};
use crate::insight::examples;
use crate::markup::{escape, name};
use crate::number::{count, fixed, level, percent, percent_bare, points, points_interval};
use crate::record::{EpochRecord, IngredientRecord, RunRecord, RungRecord, TuningRecord};
use crate::svg;

/// Nothing for a head on frozen features.
pub(super) fn section(record: &RunRecord) -> String {
    let Some(tuning) = &record.tuning else { return String::new() };
    let caption = "Mean loss of each epoch. What was held out judged the training on the rest, for the temperature; \
                   the model was then trained anew on all of it.";
    let caption = if record.n_validation > 0 { "Mean loss of each epoch." } else { caption };
    let figure = svg::training(record).map(|chart| block::figure("chart-box", &chart, caption));
    let settings = if tuning.epochs > 0 { settings(tuning) } else { String::new() };
    let charts = block::pair(&figure.unwrap_or_default(), &settings);
    let body = ladder(tuning) + &charts + &range_test(record) + &soup(tuning) + &epochs(tuning);
    block::section("tuning", "What was tuned, and did it pay?", &lead(record, tuning), &body)
}

/// What `auto` tried, and why it stopped.
fn ladder(tuning: &TuningRecord) -> String {
    let columns = [
        (Column::Text, "Method"),
        (Column::Number, "Accuracy, %"),
        (Column::Number, "Log-loss"),
        (Column::Number, "Lower by"),
        (Column::Side, "standard error"),
        (Column::Number, "Seconds"),
        (Column::Text, ""),
    ];
    let rows: Vec<_> = tuning.ladder.iter().map(rung).collect();
    if rows.is_empty() { String::new() } else { block::table(&columns, &rows) }
}

fn rung(rung: &RungRecord) -> Vec<String> {
    let method = name(&rung.method);
    vec![
        if rung.is_kept { format!("<strong>{method}</strong>") } else { method },
        measured(rung.accuracy, &percent_bare),
        measured(rung.log_loss, &|loss| fixed(loss, 3)),
        measured(rung.gain, &|gain| fixed(gain, 3)),
        measured(rung.standard_error, &|error| fixed(error, 3)),
        measured(rung.seconds, &|seconds| fixed(seconds, 1)),
        name(&rung.reason),
    ]
}

/// How the learning rate was found.
fn range_test(record: &RunRecord) -> String {
    let caption = "How the learning rate was found: the smoothed loss of training images at a rate that grows from step to step, on a \
                   copy of the network. The line marks the rate that was taken.";
    svg::range_test(record).map(|chart| block::figure("chart-box", &chart, caption)).unwrap_or_default()
}

/// What a soup was made of.
fn soup(tuning: &TuningRecord) -> String {
    let columns = [
        (Column::Text, "Ingredient of the soup"),
        (Column::Number, "Learning rate"),
        (Column::Number, "Held-out loss"),
        (Column::Number, "Held-out accuracy, %"),
        (Column::Number, "Loss of the soup with it"),
        (Column::Text, ""),
    ];
    let rows: Vec<_> = tuning.soup.iter().map(ingredient).collect();
    if rows.is_empty() { String::new() } else { block::table(&columns, &rows) }
}

fn ingredient(ingredient: &IngredientRecord) -> Vec<String> {
    let training = name(&ingredient.training);
    vec![
        if ingredient.is_kept { format!("<strong>{training}</strong>") } else { training },
        format!("{:.1e}", ingredient.learning_rate),
        measured(ingredient.validation_loss, &|loss| fixed(loss, 3)),
        measured(ingredient.validation_accuracy, &percent_bare),
        measured(ingredient.soup_loss, &|loss| fixed(loss, 3)),
        if ingredient.is_kept { "kept" } else { "not kept" }.to_owned(),
    ]
}

/// Nothing for what was not measured.
fn measured(value: f64, show: &dyn Fn(f64) -> String) -> String {
    if value.is_finite() { show(value) } else { String::new() }
}

fn lead(record: &RunRecord, tuning: &TuningRecord) -> String {
    if tuning.trained_parameters == 0 {
        return "Nothing: no method was better than the linear probe by more than one standard error, on images \
                that it was not trained on. The test set had no part in the choice."
            .to_owned();
    }
    let boundary = if tuning.prefix_cached {
        format!(
            " Everything up to {} stayed as it was and was computed once for each image.",
            name(&tuning.boundary)
        )
    } else {
        String::new()
    };
    format!(
        "Trained: {} ({} parameters).{boundary}{}",
        escape(&tuning.method_in_words),
        count(tuning.trained_parameters),
        against_probe(record, tuning)
    )
}

fn against_probe(record: &RunRecord, tuning: &TuningRecord) -> String {
    let Some(probe) = &tuning.probe else { return String::new() };
    let gain = probe.gain.map_or(String::new(), |gain| {
        let verdict = match gain.estimate {
            estimate if estimate.low > 0.0 => "Tuning paid",
            estimate if estimate.high < 0.0 => "Tuning did harm",
            _ => "This test set cannot tell whether tuning paid",
        };
        format!(
            " {verdict}: {} points against it ({} interval {}).",
            points(gain.estimate.value),
            level(record.interval_level),
            points_interval(&gain.estimate)
        )
    });
    format!(
        " A head on frozen features answers {} of the same test {} correctly.{gain}",
        percent(probe.accuracy.value),
        examples(record)
    )
}

fn settings(tuning: &TuningRecord) -> String {
    let rate = |factor: f64| format!("{:.1e}", tuning.learning_rate * factor);
    let mut rows = vec![
        ("Epochs", tuning.epochs.to_string()),
        ("Batch size", tuning.batch_size.to_string()),
        ("Optimiser", name(&tuning.optimizer)),
        ("Learning rate of the head", rate(1.0)),
        ("Learning rate of the source", rate(tuning.source_rate_factor)),
        ("Schedule", name(&tuning.schedule)),
        ("Weight decay", format!("{}", tuning.weight_decay)),
        ("Batch normalisation", format!("{} statistics", name(&tuning.norm_statistics))),
        ("Precision of the training", precision(tuning)),
    ];
    if tuning.accumulate > 1 {
        rows.insert(2, ("Batches of a step", tuning.accumulate.to_string()));
    }
    if let (Some(patience), Some(needed)) = (tuning.patience, tuning.needed_epochs) {
        let text = format!("after {patience} without a lower held-out loss; the weights have had {needed}");
        rows.insert(1, ("Epochs until the training ends early", text));
    }
    if let Some(decay) = tuning.ema {
        rows.push(("Decay of the average of the weights", format!("{decay}")));
    }
    if let Some(share) = tuning.swa {
        rows.push(("Share of the epochs whose weights were averaged (SWA)", format!("{share}")));
    }
    if let Some(weight) = tuning.regularization {
        rows.push(("Weight of what the method adds to the loss", format!("{weight}")));
    }
    if let Some(share) = tuning.wise_ft_share {
        rows.push(("Share of the trained weights (WiSE-FT)", fixed(share, 2)));
    }
    if !tuning.augmentation.is_empty() {
        rows.push(("Augmentation", name(&tuning.augmentation)));
    }
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(label, value)| vec![label.to_owned(), value]).collect();
    block::table(&[(Column::Text, "Setting"), (Column::Text, "Value")], &rows)
}

/// `bf16 (the first 8 steps in it …)`.
fn precision(tuning: &TuningRecord) -> String {
    match tuning.precision_reason.as_str() {
        "" => name(&tuning.precision),
        reason => format!("{} ({})", name(&tuning.precision), escape(reason)),
    }
}

fn epochs(tuning: &TuningRecord) -> String {
    let columns = [
        (Column::Text, "Training"),
        (Column::Number, "Epoch"),
        (Column::Number, "Loss"),
        (Column::Number, "Held-out loss"),
        (Column::Number, "Held-out accuracy, %"),
        (Column::Number, "Images/s"),
    ];
    let rows: Vec<_> = tuning.history.iter().map(epoch).collect();
    if rows.is_empty() {
        return String::new();
    }
    block::details("All epochs", &block::table(&columns, &rows))
}

fn epoch(epoch: &EpochRecord) -> Vec<String> {
    vec![
        name(&epoch.training),
        epoch.epoch.to_string(),
        fixed(epoch.training_loss, 3),
        measured(epoch.validation_loss, &|loss| fixed(loss, 3)),
        measured(epoch.validation_accuracy, &percent_bare),
        measured(epoch.images_per_second, &|speed| fixed(speed, 1)),
    ]
}
