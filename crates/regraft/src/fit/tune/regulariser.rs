//! What a method adds to the loss beside the right answers: the wires whose values it reads, and what it makes of them.
//!
//! The wires are outputs of the tape behind the logits; the gradients of what is added go back through them. What the source
//! would say to the same batch is computed by a program of the network as the training begins.

use ndarray::{Array2, Array4, ArrayD, ArrayView4, ArrayViewD, Axis, Ix4};
use regraft_adapt::training::{
    Targets, attentive_behavioural_regularisation, batch_spectral_shrinkage, category_relationship,
    knowledge_distillation, softmax_cross_entropy,
};
use regraft_engine::Program;
use regraft_graph::{Bindings, Model};

use super::cell::{Cell, Setting};
use super::config::Method;
use super::network::{answers, matrix, program, sides};
use super::parameters::Choice;
use crate::{Context, Error, Result};

/// What a training adds to its loss.
pub(super) struct Regulariser {
    weight: f64,
    term: Term,
}

enum Term {
    /// The smallest singular value of the features (Chen et al. 2019).
    Shrinkage,
    /// The distance of the source head's answers from those of the source (Li and Hoiem 2016).
    Distillation(Program),
    /// The cross-entropy of the source head's answers with what the classes look like to the source: target classes × source
    /// classes (You et al. 2020).
    CoTuning(Array2<f32>),
    /// The distance of feature maps from those of the source (Li et al. 2019), in which every channel counts alike.
    Behaviour(Program),
}

/// Singular values that are suppressed.
const SUPPRESSED: usize = 1;

/// What answers are softened by before they are compared.
const TEMPERATURE: f64 = 3.0;

/// The batch that [`Method::Delta`]'s weight is for; what it weighs is a sum over the batch.
const BEHAVIOUR_BATCH: f64 = 48.0;

/// The wires whose values a method needs, beside the logits; none where what it adds has no weight.
///
/// # Errors
/// The network has no map that could be held.
pub(super) fn wires(choice: &Choice<'_>, model: &Model, size: [usize; 2]) -> Result<Vec<String>> {
    let outputs = model.graph().outputs();
    let head = outputs.first().and_then(|wire| model.graph().node(wire));
    let wires: Vec<String> = match choice.method {
        _ if choice.config.weight_of(choice.method) == 0.0 => return Ok(Vec::new()),
        Method::Bss => head.into_iter().flat_map(|head| head.inputs.first()).cloned().collect(),
        Method::Lwf | Method::CoTuning => outputs.get(1).cloned().into_iter().collect(),
        Method::Delta => maps(model, size),
        _ => return Ok(Vec::new()),
    };
    if wires.is_empty() {
        return Err(Error::Usage(format!(
            "--method {}: {} has no cut points in front of its features, whose maps it would hold; use --method l2-sp",
            choice.method.name(),
            model.card().name
        )));
    }
    Ok(wires)
}

/// The last cut point of each spatial size, from the first to the last.
fn maps(model: &Model, [height, width]: [usize; 2]) -> Vec<String> {
    let graph = model.graph();
    let mut maps: Vec<(Vec<usize>, String)> = Vec::new();
    for wire in model.card().roles.cuts.iter().filter(|wire| *wire != graph.input()) {
        let sizes = graph.fact(wire).ok().and_then(|fact| fact.bind(&Bindings { batch: 1, height, width }));
        let places = match sizes.as_deref() {
            Some([_, _, height, width]) => vec![*height, *width],
            Some([_, tokens, _]) => vec![*tokens],
            _ => continue,
        };
        match maps.last_mut() {
            Some((same, last)) if *same == places => last.clone_from(wire),
            _ => maps.push((places, wire.clone())),
        }
    }
    maps.into_iter().map(|(_, wire)| wire).collect()
}

impl Regulariser {
    /// What the method adds in a training; computes whatever it needs to know of the network as it begins.
    ///
    /// # Errors
    /// A file can no longer be read, a class has no image, or the user has asked to stop.
    pub(super) fn new(cell: &Cell<'_>, setting: &Setting<'_>, context: &Context<'_>) -> Result<Option<Self>> {
        let choice = setting.choice();
        let shape = setting.boundary.shape();
        let wires = wires(&choice, cell.start, sides(shape))?;
        let Some(first) = wires.first() else { return Ok(None) };
        let source = || program(cell.start, shape, &wires.iter().map(String::as_str).collect::<Vec<_>>());
        let term = match choice.method {
            Method::Lwf => Term::Distillation(source()?),
            Method::CoTuning => Term::CoTuning(relationship(cell, setting, first, context)?),
            Method::Delta => Term::Behaviour(source()?),
            _ => Term::Shrinkage,
        };
        Ok(Some(Self { weight: choice.config.weight_of(choice.method), term }))
    }

    /// What is added to the loss of a batch, and its gradients with respect to the values of the wires. `inputs` are the values
    /// at the boundary, `targets` has a row of probabilities for each.
    ///
    /// # Errors
    /// None for values that are numbers.
    pub(super) fn add(
        &self,
        inputs: &ArrayD<f32>,
        targets: &Array2<f32>,
        values: &[ArrayD<f32>],
    ) -> Result<(f64, Vec<ArrayD<f32>>)> {
        let mut weight = self.weight;
        let (value, mut gradients) = match &self.term {
            Term::Shrinkage => of_rows(values, &|features| {
                let suppressed = SUPPRESSED.min(features.nrows()).min(features.ncols());
                batch_spectral_shrinkage(features.view(), suppressed)
            })?,
            Term::Distillation(source) => {
                let source = source.run(inputs.view()).map_err(Error::model)?.pop().unwrap_or_default();
                let source = matrix(source)?;
                of_rows(values, &|logits| knowledge_distillation(logits.view(), source.view(), TEMPERATURE))?
            }
            Term::CoTuning(relationship) => {
                let targets = targets.dot(relationship);
                let targets = Targets::Probabilities(targets.view());
                of_rows(values, &|logits| softmax_cross_entropy(logits.view(), targets, 0.0))?
            }
            Term::Behaviour(source) => {
                weight *= BEHAVIOUR_BATCH / targets.nrows().max(1) as f64;
                distance(values, &source.run(inputs.view()).map_err(Error::model)?)?
            }
        };
        gradients.iter_mut().for_each(|gradient| *gradient *= weight as f32);
        Ok((weight * value, gradients))
    }
}

type Valued = regraft_adapt::Result<(f64, Array2<f32>)>;

/// A function of the first value as a matrix, and its gradient in the value's shape.
fn of_rows(
    values: &[ArrayD<f32>],
    function: &dyn Fn(Array2<f32>) -> Valued,
) -> Result<(f64, Vec<ArrayD<f32>>)> {
    let first = values.first().cloned().unwrap_or_default();
    let shape = first.raw_dim();
    let (value, gradient) = function(matrix(first)?).map_err(Error::model)?;
    Ok((value, vec![gradient.into_shape_with_order(shape).map_err(Error::model)?]))
}

/// The distance of all maps from those of the source. The paper lets a channel count the more, the more the loss rises without
/// it; that takes a pass through the network behind the map for each channel of it, and its first-order estimate, gradient times
/// value, ranks the channels of early maps no better than chance.
fn distance(values: &[ArrayD<f32>], source: &[ArrayD<f32>]) -> Result<(f64, Vec<ArrayD<f32>>)> {
    let (mut total, mut gradients) = (0.0, Vec::new());
    for (value, source) in values.iter().zip(source) {
        let (tuned, source) = (map(value.view())?, map(source.view())?);
        let channels = tuned.len_of(Axis(1));
        let alike = vec![1.0 / channels.max(1) as f32; channels];
        let (distance, gradient) =
            attentive_behavioural_regularisation(tuned, source, &alike).map_err(Error::model)?;
        total += distance;
        gradients.push(of_map(gradient, value.ndim()));
    }
    Ok((total, gradients))
}

/// A value as a map of channels; a token's features are its channels.
fn map(value: ArrayViewD<'_, f32>) -> Result<ArrayView4<'_, f32>> {
    let value = if value.ndim() == 3 {
        let tokens = value.permuted_axes([0, 2, 1].as_slice());
        tokens.insert_axis(Axis(3))
    } else {
        value
    };
    value.into_dimensionality::<Ix4>().map_err(Error::model)
}

/// A map in the shape of the value that it was made of.
fn of_map(map: Array4<f32>, axes: usize) -> ArrayD<f32> {
    if axes != 3 {
        return map.into_dyn();
    }
    let tokens = map.index_axis_move(Axis(3), 0).permuted_axes([0, 2, 1]);
    tokens.as_standard_layout().into_owned().into_dyn()
}

/// What each class looks like to the source: the mean of its probabilities over the training images as they are in use.
fn relationship(
    cell: &Cell<'_>,
    setting: &Setting<'_>,
    wire: &str,
    context: &Context<'_>,
) -> Result<Array2<f32>> {
    context.progress.start("comparing with the source's classes", cell.train.len() as u64);
    let logits = answers(cell.start, wire, (setting.boundary, cell.train), &mut |images| {
        context.progress.advance(images as u64);
        if context.progress.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    })?;
    context.progress.finish();
    let probabilities = crate::judge::probabilities(&logits, 1.0)?.mapv(|probability| probability as f32);
    let labels = setting.labels_of(cell.train);
    category_relationship(probabilities.view(), &labels, setting.classes).map_err(Error::data)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;

    use ndarray::{Array, array};
    use regraft_adapt::training::behavioural_regularisation;
    use regraft_engine::{Precision, Tape};
    use regraft_graph::{
        Card, Conv, Fact, Gemm, Graph, Node, Op, Padding, Patch, Pool, Roles, Tensor, Weights,
    };

    use super::super::config::TuningConfig;
    use super::super::network::tape;
    use super::super::plan::Plan;
    use super::super::source_head::with_source_head;
    use super::*;

    const SIZE: usize = 8;
    const SOURCE_CLASSES: usize = 5;

    /// Two blocks and a head for [`SOURCE_CLASSES`], with numbers that are all different.
    pub(in super::super) fn network() -> Model {
        let conv = |from, to| {
            let (kernel, padding) = ([3; 2], Padding::all(1));
            let (stride, dilation, groups, bias) = ([1; 2], [1; 2], 1, true);
            Op::Conv(Conv {
                in_channels: from,
                out_channels: to,
                kernel,
                stride,
                dilation,
                padding,
                groups,
                bias,
            })
        };
        let head = Op::Gemm(Gemm { in_features: 6, out_features: SOURCE_CLASSES, bias: true });
        let nodes = [
            ("stem", conv(3, 4)),
            ("stem.relu", Op::Relu),
            ("same", conv(4, 4)),
            ("same.relu", Op::Relu),
            ("pool", Op::MaxPool(Pool::new([2; 2], [2; 2], Padding::all(0)))),
            ("body", conv(4, 6)),
            ("body.relu", Op::Relu),
            ("mean", Op::GlobalAveragePool),
            ("flatten", Op::Flatten),
            ("head", head),
        ];
        let mut graph = Graph::new("input", Fact::image(3));
        let mut last = "input";
        for (name, op) in nodes {
            graph.push(Node::new(name, op, [last])).unwrap();
            last = name;
        }
        graph.set_output(last).unwrap();
        let mut weights = Weights::new();
        for (place, parameter) in graph.parameters().into_iter().enumerate() {
            let count = parameter.shape.iter().product::<usize>();
            let numbers: Vec<f32> =
                (0..count).map(|index| 0.4 * ((1 + place) as f32 * 1.7 + index as f32 * 2.3).sin()).collect();
            weights.insert(parameter.name, Tensor::from_f32(parameter.shape, &numbers).unwrap());
        }
        let card = regraft_zoo::resolve(crate::DEFAULT_SOURCE).unwrap().card().clone();
        let preprocessing = regraft_graph::Preprocessing { crop: [SIZE; 2], ..card.preprocessing.clone() };
        let cuts = ["stem.relu", "same.relu", "pool", "body.relu"].map(str::to_owned).to_vec();
        let roles = Roles { features: "flatten".to_owned(), logits: Some("head".to_owned()), cuts };
        let card = Card { roles, labels: Vec::new(), aliases: Default::default(), preprocessing, ..card };
        Model::new(graph, weights, card).unwrap()
    }

    /// The same features with a head of another name for three classes.
    pub(in super::super) fn with_new_head(source: &Model) -> Model {
        let headless = Patch::cut("flatten").apply(source.clone()).unwrap();
        let labels = ["a", "b", "c"].map(str::to_owned).to_vec();
        let weight: Vec<f32> = (0..18).map(|index| 0.3 * (index as f32 * 1.3).cos()).collect();
        let patch = Patch::replace_head(&headless, "flatten", &weight, &[0.1, 0.0, -0.1], labels).unwrap();
        let model = patch.apply(headless).unwrap();
        // As where the source's own head stays in front of the new one.
        let (mut graph, card) = (Graph::new("input", Fact::image(3)), model.card().clone());
        let mut weights = model.weights().clone();
        for node in model.graph().nodes() {
            let node = Node {
                name: if node.name == "head" { "head2".to_owned() } else { node.name.clone() },
                ..node.clone()
            };
            graph.push(node).unwrap();
        }
        for kind in ["weight", "bias"] {
            let tensor = weights.get(&format!("head.{kind}")).unwrap().clone();
            weights.insert(format!("head2.{kind}"), tensor);
        }
        graph.set_output("head2").unwrap();
        let roles = Roles { logits: Some("head2".to_owned()), ..card.roles.clone() };
        Model::new(graph, weights, Card { roles, ..card }).unwrap()
    }

    fn numbers(rows: usize, channels: usize, seed: f32) -> ArrayD<f32> {
        let mut count = 0.0;
        let shape = [rows, channels, SIZE, SIZE];
        Array::from_shape_simple_fn(shape, || {
            count += 1.0;
            (seed + count * 0.77).sin()
        })
        .into_dyn()
    }

    /// A method on the tiny network, moved away from where it began.
    struct Case {
        tape: Tape,
        start: Model,
        wires: Vec<String>,
        inputs: ArrayD<f32>,
        targets: Array2<f32>,
    }

    fn case(method: Method, config: &TuningConfig) -> Case {
        let source = network();
        let start = with_source_head(&with_new_head(&source), &source, method).unwrap();
        let plan = Plan::new(&start, method, "", 1).unwrap();
        let choice = Choice { method, config, plan: &plan, seed: 0, precision: Precision::Float32 };
        let shape = [3, SIZE, SIZE];
        let wires = wires(&choice, &start, sides(&shape)).unwrap();
        let mut tape = tape(&start, &choice, &shape).unwrap();
        tape.values_mut()
            .iter_mut()
            .enumerate()
            .for_each(|(index, value)| *value += 0.15 * (index as f32).cos());
        let targets = array![[1.0, 0.0, 0.0], [0.0, 0.25, 0.75], [0.0, 1.0, 0.0]];
        Case { tape, start, wires, inputs: numbers(3, 3, 0.5), targets }
    }

    impl Case {
        fn regulariser(&self, method: Method, weight: f64) -> Regulariser {
            let source = || {
                let wires: Vec<&str> = self.wires.iter().map(String::as_str).collect();
                program(&self.start, &[3, SIZE, SIZE], &wires).unwrap()
            };
            let term = match method {
                Method::Bss => Term::Shrinkage,
                Method::Lwf => Term::Distillation(source()),
                Method::CoTuning => Term::CoTuning(relationship()),
                _ => Term::Behaviour(source()),
            };
            Regulariser { weight, term }
        }

        /// The loss with what is added, and the gradients of the trained values.
        fn step(&mut self, regulariser: &Regulariser) -> (f64, Vec<f32>) {
            let mut outputs = self.tape.forward(self.inputs.view()).unwrap();
            let wires = outputs.split_off(1);
            let logits = matrix(outputs.pop().unwrap()).unwrap();
            let targets = Targets::Probabilities(self.targets.view());
            let (loss, gradient) = softmax_cross_entropy(logits.view(), targets, 0.0).unwrap();
            let (added, gradients) = regulariser.add(&self.inputs, &self.targets, &wires).unwrap();
            let all: Vec<ArrayD<f32>> = std::iter::once(gradient.into_dyn()).chain(gradients).collect();
            let views: Vec<_> = all.iter().map(|gradient| gradient.view()).collect();
            self.tape.backward(&views).unwrap();
            (loss + added, self.tape.gradients().to_vec())
        }
    }

    fn relationship() -> Array2<f32> {
        array![[0.2, 0.2, 0.2, 0.2, 0.2], [0.6, 0.1, 0.1, 0.1, 0.1], [0.0, 0.5, 0.25, 0.25, 0.0]]
    }

    const METHODS: [Method; 4] = [Method::Bss, Method::Delta, Method::Lwf, Method::CoTuning];

    #[test]
    fn every_method_reads_its_wires_and_none_without_a_weight() {
        let config = TuningConfig::default();
        let wires = |method| case(method, &config).wires;
        assert_eq!(wires(Method::Bss), ["flatten"]);
        assert_eq!(wires(Method::Delta), ["same.relu", "body.relu"]);
        assert_eq!(wires(Method::Lwf), ["source.head"]);
        assert_eq!(wires(Method::CoTuning), ["source.head"]);
        assert!(wires(Method::LpFt).is_empty());
        let nothing = TuningConfig { regularization: Some(0.0), ..config };
        assert!(METHODS.iter().all(|method| case(*method, &nothing).wires.is_empty()));
    }

    #[test]
    fn the_source_head_is_trained_by_co_tuning_alone() {
        let source = network();
        let of = |method| {
            let start = with_source_head(&with_new_head(&source), &source, method).unwrap();
            Plan::new(&start, method, "", 1).unwrap().trained
        };
        let common = of(Method::LpFt);
        assert_eq!(of(Method::Lwf), common);
        let more: HashSet<String> = of(Method::CoTuning).difference(&common).cloned().collect();
        assert_eq!(more, HashSet::from(["source.head.weight".to_owned(), "source.head.bias".to_owned()]));
    }

    /// What each method adds, by hand from the losses of `regraft-adapt`.
    fn by_hand(case: &mut Case, method: Method) -> f64 {
        let outputs = case.tape.forward(case.inputs.view()).unwrap();
        let wires: Vec<&str> = case.wires.iter().map(String::as_str).collect();
        let before = program(&case.start, &[3, SIZE, SIZE], &wires).unwrap().run(case.inputs.view()).unwrap();
        let rows = |value: &ArrayD<f32>| value.clone().into_dimensionality::<ndarray::Ix2>().unwrap();
        let maps = |value: &ArrayD<f32>| value.clone().into_dimensionality::<Ix4>().unwrap();
        match method {
            Method::Bss => batch_spectral_shrinkage(rows(&outputs[1]).view(), 1).unwrap().0,
            Method::Lwf => {
                knowledge_distillation(rows(&outputs[1]).view(), rows(&before[0]).view(), 3.0).unwrap().0
            }
            Method::CoTuning => {
                // The second image is a quarter of the second class.
                let mixed = Array2::from_shape_fn((3, SOURCE_CLASSES), |(row, class)| {
                    let relationship = relationship();
                    let of = |class_of_target: usize| relationship[(class_of_target, class)];
                    [of(0), 0.25 * of(1) + 0.75 * of(2), of(1)][row]
                });
                let targets = Targets::Probabilities(mixed.view());
                softmax_cross_entropy(rows(&outputs[1]).view(), targets, 0.0).unwrap().0
            }
            _ => {
                let mut sum = 0.0;
                for (tuned, source) in outputs[1..].iter().zip(&before) {
                    let (tuned, source) = (maps(tuned), maps(source));
                    let places = (tuned.dim().2 * tuned.dim().3) as f64;
                    sum += behavioural_regularisation(tuned.view(), source.view()).unwrap().0 / places;
                }
                // A sum over 3 images in place of 48.
                sum * 16.0
            }
        }
    }

    #[test]
    fn what_is_added_is_the_sum_of_the_losses_and_goes_back_through_the_network() {
        let config = TuningConfig::default();
        for method in METHODS {
            let mut case = case(method, &config);
            let nothing = case.regulariser(method, 0.0);
            let plain = case.step(&nothing).0;
            let expected = by_hand(&mut case, method);
            // As much as the loss of the answers, so that what goes back is as much, too.
            let regulariser = case.regulariser(method, plain / expected);
            let (total, gradients) = case.step(&regulariser);
            assert!((total - 2.0 * plain).abs() < 1e-5 * plain, "{method:?}: {total} {plain} {expected}");
            // Along the gradient itself, where the change is largest beside the rounding.
            let norm = gradients.iter().map(|slope| f64::from(*slope).powi(2)).sum::<f64>().sqrt();
            let mut at = |step: f64| {
                let values: Vec<f32> = case.tape.values().to_vec();
                let moved = case.tape.values_mut().iter_mut().zip(&gradients);
                moved.for_each(|(value, slope)| *value += (step * f64::from(*slope) / norm) as f32);
                let loss = case.step(&regulariser).0;
                case.tape.values_mut().copy_from_slice(&values);
                loss
            };
            let slope = (at(1e-3) - at(-1e-3)) / 2e-3;
            assert!((slope / norm - 1.0).abs() < 0.01, "{method:?}: {slope} {norm}");
        }
    }

    #[test]
    fn tokens_are_maps_of_one_column() {
        let tokens = Array::from_shape_fn((2, 3, 4), |(image, token, feature)| {
            (100 * image + 10 * token + feature) as f32
        });
        let seen = map(tokens.view().into_dyn()).unwrap().to_owned();
        assert_eq!(seen.dim(), (2, 4, 3, 1));
        assert_eq!(seen[(1, 2, 0, 0)], 102.0);
        assert_eq!(of_map(seen, 3), tokens.into_dyn());
    }
}
