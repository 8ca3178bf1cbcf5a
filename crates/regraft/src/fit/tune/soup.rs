//! Model soups (Wortsman et al. 2022): the mean of several trainings of one method from one start. They differ in the order of the
//! images, in what happens to those at random, and in the learning rate.

use ndarray::Array2;
use regraft_adapt::training::{greedy_soup, mean};
use regraft_graph::{Model, Tensor};
use regraft_report::record::IngredientRecord;

use super::cell::Finished;
use super::rung::{Part, Rung};
use crate::{Context, Error, Result};

/// Trains so many ingredients, of which the first is the plain training, and keeps greedily those with which the validation loss of
/// the mean does not rise.
///
/// # Errors
/// As those of the trainings.
pub(super) fn cook(
    rung: &Rung<'_>,
    part: &Part,
    count: usize,
    context: &Context<'_>,
) -> Result<(Finished, Vec<IngredientRecord>)> {
    let ingredients = (0..count).map(|ingredient| rung.train(part, (ingredient, None), context));
    let ingredients: Vec<Finished> = ingredients.collect::<Result<_>>()?;
    let rows = ingredients.iter().enumerate().map(|(place, finished)| record(rung, part, place, finished));
    let mut rows: Vec<IngredientRecord> = rows.collect::<Result<_>>()?;
    let losses: Vec<f64> = rows.iter().map(|row| row.validation_loss).collect();
    let kept = greedy_soup(&losses, &mut |places| {
        let loss = rung.loss(part, &rung.judge(part, &mixed(&ingredients, places)?)?)?;
        let row = places.last().and_then(|place| rows.get_mut(*place));
        row.into_iter().for_each(|row| row.soup_loss = loss);
        Ok::<f64, Error>(loss)
    })?;
    rows.iter_mut().enumerate().for_each(|(place, row)| row.is_kept = kept.contains(&place));
    let model = mixed(&ingredients, &kept)?;
    let validation_logits = rung.judge(part, &model)?;
    tell(rung.loss(part, &validation_logits)?, &rows, context);
    Ok((finished(model, ingredients, validation_logits, part), rows))
}

/// Trains those that were kept again, on all training images, and mixes them.
///
/// # Errors
/// As those of the trainings.
pub(super) fn cook_on_all(
    rung: &Rung<'_>,
    rows: &[IngredientRecord],
    context: &Context<'_>,
) -> Result<Finished> {
    let part = rung.all();
    let kept = rows.iter().enumerate().filter(|(_, row)| row.is_kept);
    let ingredients = kept.map(|(place, row)| rung.train(&part, (place, row.needed_epochs), context));
    let ingredients: Vec<Finished> = ingredients.collect::<Result<_>>()?;
    let places: Vec<usize> = (0..ingredients.len()).collect();
    let model = mixed(&ingredients, &places)?;
    Ok(finished(model, ingredients, Array2::default([0, 0]), &part))
}

fn finished(
    model: Model,
    ingredients: Vec<Finished>,
    validation_logits: Array2<f32>,
    part: &Part,
) -> Finished {
    let epochs = ingredients.into_iter().flat_map(|ingredient| ingredient.epochs).collect();
    let validation = part.validation.clone();
    Finished { model, epochs, validation, validation_logits, share: 1.0, needed: None, is_late: false }
}

/// The network with the mean of the weights of the trainings at these places.
fn mixed(ingredients: &[Finished], places: &[usize]) -> Result<Model> {
    let models: Vec<&Model> =
        places.iter().filter_map(|place| ingredients.get(*place)).map(|finished| &finished.model).collect();
    let first = *models.first().ok_or_else(|| Error::Model("a soup needs an ingredient".to_owned()))?;
    let mut weights = first.weights().clone();
    for (name, tensor) in first.weights().iter() {
        let numbers = models.iter().filter_map(|model| model.weights().get(name)).map(Tensor::to_f32);
        let numbers: Vec<Vec<f32>> = numbers.collect();
        let mean = mean(&numbers.iter().map(Vec::as_slice).collect::<Vec<_>>());
        weights.insert(name, Tensor::from_f32(tensor.shape().to_vec(), &mean).map_err(Error::model)?);
    }
    Model::new(first.graph().clone(), weights, first.card().clone()).map_err(Error::model)
}

fn record(rung: &Rung<'_>, part: &Part, place: usize, finished: &Finished) -> Result<IngredientRecord> {
    let loss = rung.loss(part, &finished.validation_logits)?;
    Ok(IngredientRecord {
        training: part.name_of(place),
        learning_rate: rung.settings(place).head_rate(),
        validation_loss: loss,
        validation_accuracy: rung.accuracy(part, &finished.validation_logits),
        soup_loss: loss,
        needed_epochs: finished.needed,
        is_kept: false,
    })
}

fn tell(loss: f64, rows: &[IngredientRecord], context: &Context<'_>) {
    let best = rows.iter().map(|row| row.validation_loss).fold(f64::INFINITY, f64::min);
    let names: Vec<&str> = rows.iter().filter(|row| row.is_kept).map(|row| row.training.as_str()).collect();
    context.progress.message(&format!(
        "soup of {} of {} trainings ({}): validation loss {loss:.3}, {best:.3} for the best of them alone",
        names.len(),
        rows.len(),
        names.join(", ")
    ));
}
