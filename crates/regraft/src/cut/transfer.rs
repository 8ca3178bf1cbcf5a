//! How transferable the features of each depth are: the experiment of Yosinski, Clune, Bengio and Lipson 2014 ("How
//! transferable are features in deep neural networks?", section 2) with the source's architecture on the user's own images.
//!
//! The classes are divided at random into A and B, and a network is trained on each from random weights. Then the first n
//! blocks of one of them are copied, the rest is drawn anew, and the whole is trained on B: with the copied blocks frozen (AnB,
//! BnB), or trained on (AnB+, BnB+). All trainings have the same images, epochs, and rates; the test images of B judge each
//! once, at its end. What BnB loses against the network of B is co-adaptation between layers that was cut; what AnB loses
//! beyond that, features that are specific to A.

use regraft_eval::intervals::mean_with_t_interval;
use regraft_graph::{Model, Weights};
use regraft_report::record::{ProtocolArm, ProtocolPoint, TransferProtocol};
use regraft_system::random::{shuffle, stream};

use crate::cache::Cache;
use crate::fit::dataset::{Dataset, at};
use crate::fit::graft::with_empty_head;
use crate::fit::tune::{Alone, accuracy};
use crate::fit::unfinished::Unfinished;
use crate::{Context, Error, FitConfig, Result};

/// What the experiment needs.
pub(super) struct Experiment<'a> {
    pub(super) config: &'a FitConfig,
    pub(super) source: &'a Model,
    pub(super) dataset: &'a Dataset,
    /// Wires up to which blocks are copied, in order.
    pub(super) cuts: Vec<String>,
    pub(super) repetitions: usize,
    pub(super) work: &'a Unfinished,
}

/// Which copied blocks, and whether they are trained on.
const ARMS: [(&str, bool, bool); 4] =
    [("AnB", true, true), ("AnB+", true, false), ("BnB", false, true), ("BnB+", false, false)];

/// Most cuts that are tried where none are named: each costs four trainings.
const MOST_CUTS: usize = 5;

/// Confidence of the bands.
const CONFIDENCE: f64 = 0.95;

/// Some of the cuts, evenly spread over the depth.
pub(super) fn spread(cuts: &[String]) -> Vec<String> {
    let count = cuts.len().min(MOST_CUTS);
    (0..count).filter_map(|index| cuts.get((index + 1) * cuts.len() / count - 1).cloned()).collect()
}

/// Refuses classes that cannot be divided into two tasks.
pub(super) fn check(classes: &[String]) -> Result<()> {
    if classes.len() >= 4 {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--protocol yosinski divides the classes into two tasks of at least two each; there are {}",
        classes.len()
    )))
}

/// One of the two halves of the classes.
struct Task {
    name: &'static str,
    classes: Vec<String>,
    /// The class of each image of the dataset; of no meaning for those of the other task.
    labels: Vec<usize>,
    train: Vec<usize>,
    test: Vec<usize>,
}

impl Experiment<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// Those of a training.
    pub(super) fn run(&self, context: &Context<'_>) -> Result<TransferProtocol> {
        // What random networks compute is of no use to another run.
        let context = &Context { cache: Cache::disabled(), ..*context };
        let [a, b] = self.tasks();
        let mut base = Vec::new();
        let mut arms: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); self.cuts.len()]; ARMS.len()];
        for repetition in 0..self.repetitions {
            let (of_a, _) =
                self.train(&a, "base", repetition, &self.fresh(&a, repetition)?, None, context)?;
            let (of_b, accuracy) =
                self.train(&b, "base", repetition, &self.fresh(&b, repetition)?, None, context)?;
            base.push(accuracy);
            for ((name, from_a, frozen), values) in ARMS.iter().zip(&mut arms) {
                let from = if *from_a { &of_a } else { &of_b };
                for ((index, cut), values) in self.cuts.iter().enumerate().zip(values) {
                    let start = copied(self.fresh(&b, repetition + self.repetitions)?, from, cut)?;
                    let name = format!("{name}-{}", index + 1);
                    let cut = frozen.then_some(cut.as_str());
                    values.push(self.train(&b, &name, repetition, &start, cut, context)?.1);
                }
            }
        }
        let points = |values: Vec<Vec<f64>>| {
            let point = |(index, values)| self.point(Some(index), values);
            values.into_iter().enumerate().map(point).collect::<Result<Vec<_>>>()
        };
        let arms = ARMS.iter().zip(arms).map(|((name, ..), values)| {
            Ok(ProtocolArm { name: (*name).to_owned(), points: points(values)? })
        });
        let arms = arms.collect::<Result<Vec<ProtocolArm>>>()?;
        Ok(TransferProtocol {
            n_train_a: a.train.len(),
            n_train_b: b.train.len(),
            n_test_b: b.test.len(),
            classes_a: a.classes,
            classes_b: b.classes,
            epochs: self.config.tuning.epochs,
            repetitions: self.repetitions,
            base_b: self.point(None, base)?,
            arms,
        })
    }

    /// A random half of the classes each.
    fn tasks(&self) -> [Task; 2] {
        let mut order: Vec<usize> = (0..self.dataset.classes.len()).collect();
        shuffle(&mut order, &mut stream(self.config.seed, "classes of two tasks", 0));
        let (a, b) = order.split_at(order.len() / 2);
        [self.task("A", a), self.task("B", b)]
    }

    fn task(&self, name: &'static str, classes: &[usize]) -> Task {
        let mut classes = classes.to_vec();
        classes.sort_unstable();
        let Dataset { labels, split, .. } = self.dataset;
        let place = |label: &usize| classes.iter().position(|class| class == label);
        let of_task = |positions: &[usize]| {
            let is_mine = |position: &&usize| labels.get(**position).and_then(place).is_some();
            positions.iter().filter(is_mine).copied().collect()
        };
        Task {
            name,
            labels: labels.iter().map(|label| place(label).unwrap_or(0)).collect(),
            train: of_task(&[split.train.as_slice(), &split.validation].concat()),
            test: of_task(&split.test),
            classes: at(&self.dataset.classes, &classes),
        }
    }

    /// The architecture with random weights and a head for a task.
    fn fresh(&self, task: &Task, repetition: usize) -> Result<Model> {
        let features = &self.source.card().roles.features;
        let model = with_empty_head(self.source, features, &task.classes)?;
        let seed = self.config.seed.wrapping_add(repetition as u64);
        let weights = regraft_zoo::random_weights(model.graph(), seed).map_err(Error::model)?;
        Model::new(model.graph().clone(), weights, model.card().clone()).map_err(Error::model)
    }

    /// Trains on a task; the network and its accuracy on the task's test images.
    fn train(
        &self,
        task: &Task,
        name: &str,
        repetition: usize,
        start: &Model,
        frozen: Option<&str>,
        context: &Context<'_>,
    ) -> Result<(Model, f64)> {
        let training = Alone {
            config: self.config,
            dataset: self.dataset,
            labels: &task.labels,
            classes: task.classes.len(),
            train: &task.train,
            validation: &task.test,
            seed: self.config.seed.wrapping_add(repetition as u64),
            work: self.work,
        };
        let name = format!("{}-{name}-{}", task.name, repetition + 1);
        let (model, logits) = training.train(&name, start, frozen, context)?;
        Ok((model, accuracy(&logits, &at(&task.labels, &task.test))))
    }

    /// `index` counts the cuts; `None` where nothing is copied.
    fn point(&self, index: Option<usize>, values: Vec<f64>) -> Result<ProtocolPoint> {
        let wire = index.and_then(|index| self.cuts.get(index)).cloned().unwrap_or_default();
        let layers = index.map_or(0, |index| index + 1);
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        if values.len() < 2 {
            return Ok(ProtocolPoint { wire, layers, values, mean, ..ProtocolPoint::default() });
        }
        let band = mean_with_t_interval(&values, CONFIDENCE).map_err(Error::data)?.within((0.0, 1.0));
        Ok(ProtocolPoint { wire, layers, values, mean, low: band.low, high: band.high })
    }
}

/// A network with the weights of another one up to a wire.
fn copied(start: Model, from: &Model, wire: &str) -> Result<Model> {
    let mut weights: Weights = start.weights().clone();
    for parameter in start.graph().up_to(wire).into_iter().flat_map(|node| node.parameters()) {
        if let Some(tensor) = from.weights().get(&parameter.name) {
            weights.insert(parameter.name, tensor.clone());
        }
    }
    Model::new(start.graph().clone(), weights, start.card().clone()).map_err(Error::model)
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn few_cuts_are_spread_over_the_depth() {
        let cuts = |count: usize| (1..=count).map(|cut| cut.to_string()).collect::<Vec<_>>();
        assert_eq!(spread(&cuts(3)), ["1", "2", "3"]);
        assert_eq!(spread(&cuts(16)), ["3", "6", "9", "12", "16"]);
    }
}
