//! The adapted model: the source up to the cut, with the fitted head behind it.

use regraft_adapt::knn::{NearestNeighbours, PRIOR_WEIGHT, TEMPERATURE};
use regraft_adapt::{Head, Selection};
use regraft_graph::{Card, Dim, Model, NearestNeighbors, Patch};

use super::dataset::Dataset;
use crate::{Error, Result};

/// Puts the chosen head behind the cut. The temperature is multiplied into it, so that a softmax of the model's logits
/// gives calibrated probabilities.
pub(crate) fn graft(source: &Model, cut: &str, selection: &Selection, dataset: &Dataset) -> Result<Model> {
    let labels = dataset.classes.clone();
    let source = pooled(source, cut)?;
    let features = source.card().roles.features.clone();
    let sharpness = 1.0 / selection.temperature;
    let patch = match &selection.head {
        Head::Linear(head) => {
            let scaled = |values: &mut dyn Iterator<Item = f32>| -> Vec<f32> {
                values.map(|value| (f64::from(value) * sharpness) as f32).collect()
            };
            let weight = scaled(&mut head.weight.iter().copied());
            let bias = scaled(&mut head.bias.iter().copied());
            Patch::replace_head(&source, &features, &weight, &bias, labels)
        }
        Head::Neighbours(head) => neighbors(&source, &features, head, sharpness, labels),
    };
    let model = patch.and_then(|patch| patch.apply(source)).map_err(Error::model)?;
    let card = Card { source_accuracy: None, source_task: None, ..model.card().clone() };
    model.with_card(card).map_err(Error::model)
}

/// The source with a head of zeros behind the cut: what a method would train of it is known before any image is read.
pub(crate) fn with_empty_head(source: &Model, cut: &str, classes: &[String]) -> Result<Model> {
    let source = pooled(source, cut)?;
    let features = source.card().roles.features.clone();
    let fact = source.graph().fact(&features).map_err(Error::model)?;
    let width = match fact.shape.get(1) {
        Some(Dim::Fixed(width)) => *width,
        _ => {
            return Err(Error::Model(format!(
                "wire '{features}' of shape {fact} cannot be used as features"
            )));
        }
    };
    let (weight, bias) = (vec![0.0; width * classes.len()], vec![0.0; classes.len()]);
    let patch = Patch::replace_head(&source, &features, &weight, &bias, classes.to_vec());
    patch.and_then(|patch| patch.apply(source)).map_err(Error::model)
}

/// The source cut at a wire; a map of height and width gets its average, as the features had.
fn pooled(source: &Model, cut: &str) -> Result<Model> {
    let cut_model = Patch::cut(cut).apply(source.clone()).map_err(Error::model)?;
    let maps = cut_model.graph().fact(cut).map_err(Error::model)?.shape.len() == 4;
    if !maps {
        return Ok(cut_model);
    }
    Patch::average(cut).apply(cut_model).map_err(Error::model)
}

fn neighbors(
    source: &Model,
    features: &str,
    head: &NearestNeighbours,
    sharpness: f64,
    labels: Vec<String>,
) -> std::result::Result<Patch, regraft_graph::GraphError> {
    let vote = NearestNeighbors {
        features: head.dimension(),
        examples: head.labels().len(),
        classes: head.classes(),
        neighbors: head.neighbours(),
        similarity_temperature: TEMPERATURE as f32,
        smoothing: (PRIOR_WEIGHT / head.classes() as f64) as f32,
        sharpness: sharpness as f32,
    };
    let classes: Vec<f32> = head.labels().iter().map(|label| *label as f32).collect();
    Patch::replace_head_by_neighbors(source, features, vote, head.rows(), &classes, labels)
}
