//! `regraft predict`: labels and probabilities for new images.

use std::path::PathBuf;

use ndarray::{Array2, ArrayView1};
use regraft_engine::InstructionSet;
use regraft_graph::{Dim, Model, Op};
use serde::Serialize;

use crate::cache::Cache;
use crate::ingest::Ingest;
use crate::input::check_takes_images;
use crate::inputs::{Input, expand};
use crate::precision::FrozenPrecision;
use crate::test_time::TestTime;
use crate::{Context, Error, Result};

/// What a model says about one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The file, as it was named or found.
    pub path: String,
    /// The most probable label.
    pub label: String,
    /// Its probability.
    pub probability: f64,
    /// The most probable labels, best first.
    pub top: Vec<ScoredLabel>,
    /// What the network was computed in: `f32`, `bf16` or `int8`.
    pub precision: &'static str,
    /// Instruction set that the engine used.
    pub instruction_set: &'static str,
}

/// A label and its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoredLabel {
    /// Name of the class.
    pub label: String,
    /// Between 0 and 1.
    pub probability: f64,
}

/// A file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unusable {
    /// The file, as it was named or found.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// Files between two answers: the first label appears long before the last file is read.
const FILES_PER_ANSWER: usize = 256;

/// Labels files, folders and standard input (`-`), handing each answer to `receive` as soon as it is there, in order.
///
/// A run is computed in the precision that its head was fitted to: [`FrozenPrecision::of_source`]. With `test_time`
/// probabilities are means over the image and variants of it: [`TestTime::of_run`]. Returns the number of files that could not be
/// used.
///
/// # Errors
/// The model has no head, an input does not exist, or `receive` fails. A file that cannot be read is handed to
/// `receive` as such.
pub fn predict(
    model: &Model,
    precision: &FrozenPrecision,
    inputs: &[PathBuf],
    top: usize,
    test_time: Option<&TestTime>,
    context: &Context<'_>,
    receive: &mut dyn FnMut(std::result::Result<Prediction, Unusable>) -> Result<()>,
) -> Result<usize> {
    check_takes_images(model)?;
    let inputs = expand(inputs)?;
    let labels = labels(model)?;
    let scores = Scores::of(model)?;
    let mut ingest = Ingest::answering(model, precision, &Cache::disabled(), context)?;
    let mut unusable = 0;
    for chunk in inputs.chunks(FILES_PER_ANSWER) {
        let paths: Vec<PathBuf> = chunk.iter().map(|input| input.file().to_path_buf()).collect();
        let ingested = ingest.run(&paths)?;
        let logits = ingested.features.into_iter().next().unwrap_or_default();
        let plain = scores.of_all(&logits)?;
        let answers = match test_time {
            Some(test_time) => {
                test_time.averaged(&plain.view(), &mut ingest, &paths, &|logits| scores.of_all(logits))?
            }
            None => plain,
        };
        let mut rows = answers.rows().into_iter();
        for (input, file) in chunk.iter().zip(ingested.files) {
            let answer = match file {
                Ok(_) => rows.next().map(|row| {
                    let scored = ranked(&row.to_vec(), &labels, top);
                    Ok(prediction(input, scored, precision))
                }),
                Err(reason) => Some(Err(Unusable { path: input.name(), reason })),
            };
            unusable += usize::from(matches!(answer, Some(Err(_))));
            answer.into_iter().try_for_each(&mut *receive)?;
        }
    }
    Ok(unusable)
}

/// The names of the logits; numbers where the card has none.
pub(crate) fn labels(model: &Model) -> Result<Vec<String>> {
    let card = model.card();
    let wire = card.roles.logits.as_deref().ok_or_else(|| {
        Error::Model(format!(
            "{} has no head, so there is nothing to predict; use `regraft embed`, or fit a head",
            card.name
        ))
    })?;
    let fact = model.graph().fact(wire).map_err(Error::model)?;
    let classes = match fact.shape.get(1) {
        Some(Dim::Fixed(classes)) => *classes,
        _ => 0,
    };
    let numbered = |index| if classes == 1 { "positive".to_owned() } else { format!("class {index}") };
    let name = |index: usize| card.labels.get(index).cloned().unwrap_or_else(|| numbered(index));
    Ok((0..classes).map(name).collect())
}

/// What the logits of a network are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scores {
    /// One of the classes is right: a softmax over all.
    OneOfAll,
    /// Each class is right or not: a sigmoid of each.
    EachAlone,
}

impl Scores {
    /// By what the network itself does with its logits.
    ///
    /// # Errors
    /// [`Error::Model`]: a single number that nothing turns into a probability.
    pub(crate) fn of(model: &Model) -> Result<Self> {
        let card = model.card();
        let wire = card.roles.logits.as_deref().unwrap_or_default();
        let is_single = model.graph().fact(wire).is_ok_and(|fact| fact.shape.get(1) == Some(&Dim::Fixed(1)));
        if model.graph().consumers(wire).any(|node| node.op == Op::Sigmoid) {
            return Ok(Self::EachAlone);
        }
        if is_single {
            return Err(Error::Model(format!(
                "{} gives one number an image, which is no probability; write it with `regraft embed --cut logits`",
                card.name
            )));
        }
        Ok(Self::OneOfAll)
    }

    /// A row for each row of logits.
    fn of_all(self, logits: &Array2<f32>) -> Result<Array2<f64>> {
        let probabilities = logits.rows().into_iter().flat_map(|row| self.probabilities(row));
        Array2::from_shape_vec(logits.dim(), probabilities.collect()).map_err(Error::model)
    }

    /// One a class.
    pub(crate) fn probabilities(self, logits: ArrayView1<f32>) -> Vec<f64> {
        match self {
            Self::OneOfAll => softmax(logits),
            Self::EachAlone => logits.iter().map(|logit| 1.0 / (1.0 + f64::from(-logit).exp())).collect(),
        }
    }
}

/// The most probable labels, best first.
fn ranked(probabilities: &[f64], labels: &[String], top: usize) -> Vec<ScoredLabel> {
    let mut ranked: Vec<usize> = (0..probabilities.len()).collect();
    let probability = |index: &usize| probabilities.get(*index).copied().unwrap_or_default();
    ranked.sort_by(|a, b| probability(b).total_cmp(&probability(a)).then(a.cmp(b)));
    let scored = |index: usize| ScoredLabel {
        label: labels.get(index).cloned().unwrap_or_default(),
        probability: probability(&index),
    };
    ranked.into_iter().take(top.max(1)).map(scored).collect()
}

fn prediction(input: &Input, top: Vec<ScoredLabel>, precision: &FrozenPrecision) -> Prediction {
    let (label, probability) =
        top.first().map(|best| (best.label.clone(), best.probability)).unwrap_or_default();
    let (precision, instruction_set) = (precision.name(), InstructionSet::detect().name());
    Prediction { path: input.name(), label, probability, top, precision, instruction_set }
}

/// `exp(x) / Σ exp(x)` in double precision, by way of the largest value so that nothing overflows.
fn softmax(logits: ArrayView1<f32>) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use ndarray::aview1;
    use regraft_graph::{Fact, Gemm, Graph, Node, Roles, Tensor, Weights};

    use super::*;

    /// A dense layer with so many outputs, and what stands behind it.
    pub(crate) fn network(classes: usize, end: Option<Op>) -> Model {
        let mut graph = Graph::new("input", Fact::vector(2));
        let gemm = Gemm { in_features: 2, out_features: classes, bias: false };
        graph.push(Node::new("fc", Op::Gemm(gemm), ["input"])).unwrap();
        let output = end.map_or("fc", |op| {
            graph.push(Node::new("end", op, ["fc"])).unwrap();
            "end"
        });
        graph.set_output(output).unwrap();
        let mut weights = Weights::new();
        weights.insert("fc.weight", Tensor::from_f32(vec![classes, 2], &vec![0.5; 2 * classes]).unwrap());
        let card = regraft_zoo::resolve(crate::DEFAULT_SOURCE).unwrap().card().clone();
        let card = regraft_graph::Card { roles: Roles::infer(&graph), labels: Vec::new(), ..card };
        Model::new(graph, weights, card).unwrap()
    }

    #[test]
    fn probabilities_are_what_the_network_makes_of_its_logits() {
        let scores = |classes, end| Scores::of(&network(classes, end));
        assert_eq!(scores(3, None).unwrap(), Scores::OneOfAll);
        assert_eq!(scores(3, Some(Op::Softmax)).unwrap(), Scores::OneOfAll);
        assert_eq!(scores(3, Some(Op::Sigmoid)).unwrap(), Scores::EachAlone);
        assert_eq!(scores(1, Some(Op::Sigmoid)).unwrap(), Scores::EachAlone);
        assert!(scores(1, None).unwrap_err().to_string().contains("no probability"));
        let found = Scores::EachAlone.probabilities(aview1(&[0.0, 2.0]));
        assert!((found[0] - 0.5).abs() < 1e-12 && (found[1] - 0.880_797).abs() < 1e-6);
        assert_eq!(labels(&network(1, Some(Op::Sigmoid))).unwrap(), ["positive"]);
    }
}
