//! Averages of what is trained, by which a training is judged and which are its result: exponential moving ones over the steps
//! (Polyak and Juditsky 1992; `ModelEmaV3` of timm with its warm-up), or plain ones over the last epochs (stochastic weight
//! averaging, Izmailov et al. 2018; `torch.optim.swa_utils`).

use ndarray::ArrayD;
use regraft_adapt::training::approach;
use regraft_engine::Tape;
use regraft_graph::{Model, ParameterKind, Tensor};

use super::parameters::Choice;
use crate::{Error, Result};

/// Averages as they are now; empty before there are any.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Averages {
    /// Of the trained values, in the order of the tape.
    pub(crate) values: Vec<f32>,
    /// Of the running statistics that move, one behind the other.
    pub(crate) statistics: Vec<f32>,
}

/// How averages follow.
pub(super) struct Averaging {
    rule: Rule,
    /// Names of the running statistics that move.
    statistics: Vec<String>,
}

enum Rule {
    /// Over the steps, with this decay.
    Steps(f64),
    /// Over the ends of epochs from this one on, counted from 0.
    Epochs(usize),
}

impl Averaging {
    /// `None` where none are asked for.
    pub(super) fn new(choice: &Choice<'_>, model: &Model) -> Option<Self> {
        let epochs = choice.config.first_averaged().map(Rule::Epochs);
        let rule = choice.config.ema.map(Rule::Steps).or(epochs)?;
        let by_batch = choice.config.goes_by_batch();
        let nodes = model.graph().nodes().iter();
        let moving = nodes.filter(|node| by_batch && choice.plan.trains_node(model.graph(), &node.name));
        let parameters = moving.flat_map(|node| node.parameters());
        let statistics = parameters.filter(|parameter| {
            matches!(parameter.kind, ParameterKind::RunningMean | ParameterKind::RunningVariance)
        });
        Some(Self { rule, statistics: statistics.map(|parameter| parameter.name).collect() })
    }

    /// Takes in a tape's values behind the `step`-th step, counted from 1, where steps are averaged. The first gives the averages, and the share of later
    /// ones falls to what the decay leaves: `1 − min(decay, 1 − step^(−2/3))`, so that the random steps at the beginning are
    /// soon forgotten.
    ///
    /// # Errors
    /// None for a tape of this network.
    pub(super) fn follow(&self, averages: &mut Averages, tape: &Tape, step: usize) -> Result<()> {
        let Rule::Steps(decay) = self.rule else { return Ok(()) };
        let share = share(decay, step);
        approach(&mut averages.values, tape.values(), share);
        if !self.statistics.is_empty() {
            let now = self.statistics(&tape.model().map_err(Error::model)?);
            approach(&mut averages.statistics, &now, share);
        }
        Ok(())
    }

    /// Takes in a tape's values at the end of an epoch, counted from 0, where epochs are averaged. Returns whether the averages then
    /// lack the running statistics that belong to them.
    pub(super) fn follow_epoch(&self, averages: &mut Averages, tape: &Tape, epoch: usize) -> bool {
        let Rule::Epochs(first) = self.rule else { return false };
        if epoch < first {
            return false;
        }
        approach(&mut averages.values, tape.values(), 1.0 / (epoch - first + 1) as f64);
        !self.statistics.is_empty()
    }

    /// Gives averages the running statistics that belong to them: the means of those of some batches, each batch counting alike
    /// (`torch.optim.swa_utils.update_bn`). The tape is of the network with the averages, and its running statistics are those of
    /// its last batch.
    ///
    /// # Errors
    /// A batch cannot be had, or memory runs out.
    pub(super) fn recompute(
        &self,
        averages: &mut Averages,
        mut tape: Tape,
        batches: impl Iterator<Item = Result<ArrayD<f32>>>,
    ) -> Result<()> {
        let (mut sums, mut count) = (Vec::new(), 0);
        for batch in batches {
            tape.forward(batch?.view()).map_err(Error::model)?;
            let of_batch = self.statistics(&tape.model().map_err(Error::model)?);
            sums.resize(of_batch.len(), 0.0);
            sums.iter_mut().zip(of_batch).for_each(|(sum, number)| *sum += f64::from(number));
            count += 1;
        }
        averages.statistics = sums.into_iter().map(|sum| (sum / f64::from(count)) as f32).collect();
        Ok(())
    }

    fn statistics(&self, model: &Model) -> Vec<f32> {
        let tensors = self.statistics.iter().filter_map(|name| model.weights().get(name));
        tensors.flat_map(Tensor::to_f32).collect()
    }

    /// The tape's network with the averages in place of its values, where there are any.
    ///
    /// # Errors
    /// None for averages of this tape.
    pub(super) fn model(&self, averages: &Averages, tape: &Tape) -> Result<Model> {
        let model = tape.model().map_err(Error::model)?;
        let mut weights = model.weights().clone();
        for trained in tape.parameters() {
            if let Some(numbers) = averages.values.get(trained.range.clone()) {
                let tensor = Tensor::from_f32(trained.shape.clone(), numbers).map_err(Error::model)?;
                weights.insert(trained.name.as_str(), tensor);
            }
        }
        let mut rest = averages.statistics.as_slice();
        for name in &self.statistics {
            let Some(shape) = model.weights().get(name).map(|tensor| tensor.shape().to_vec()) else {
                continue;
            };
            let Some((numbers, behind)) = rest.split_at_checked(shape.iter().product()) else { break };
            weights.insert(name.as_str(), Tensor::from_f32(shape, numbers).map_err(Error::model)?);
            rest = behind;
        }
        Model::new(model.graph().clone(), weights, model.card().clone()).map_err(Error::model)
    }
}

/// The share of the values behind the `step`-th step in the averages.
fn share(decay: f64, step: usize) -> f64 {
    1.0 - decay.min(1.0 - (step.max(1) as f64).powf(-2.0 / 3.0))
}

#[cfg(test)]
mod tests {
    use regraft_engine::TapeOptions;
    use regraft_graph::{BatchNormalization, Card, Fact, Graph, Node, Op, Roles, Weights};

    use super::*;

    #[test]
    fn the_share_falls_to_what_the_decay_leaves() {
        // timm 1.0, `ModelEmaV3(use_warmup=True).get_decay(step)` of 1, 2, 9 and 100,000 with a decay of 0.999.
        let expected = [0.0, 0.370_039_475, 0.768_879_575, 0.999];
        for (step, decay) in [1, 2, 9, 100_000].into_iter().zip(expected) {
            assert!((1.0 - share(0.999, step) - decay).abs() < 1e-8, "{step}");
        }
        assert!((share(0.5, 9) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn recomputed_statistics_are_the_means_over_batches() {
        let numbers = |rows: usize, seed: usize| {
            ArrayD::from_shape_fn(vec![rows, 2, 1, 1], |at| ((seed + 3 * at[0] + 5 * at[1]) % 7) as f32)
        };
        let batches = [numbers(4, 0), numbers(4, 1), numbers(3, 5)];
        let mut expected = vec![0.0; 4];
        for batch in &batches {
            let rows = batch.shape()[0] as f32;
            for channel in 0..2 {
                let column: Vec<f32> = (0..batch.shape()[0]).map(|row| batch[[row, channel, 0, 0]]).collect();
                let mean = column.iter().sum::<f32>() / rows;
                let squares = column.iter().map(|value| (value - mean).powi(2)).sum::<f32>();
                expected[channel] += mean / 3.0;
                expected[2 + channel] += squares / (rows - 1.0) / 3.0;
            }
        }
        let mut graph = Graph::new("input", Fact::image(2));
        let norm = BatchNormalization { channels: 2, epsilon: 1e-5 };
        graph.push(Node::new("norm", Op::BatchNormalization(norm), ["input"])).unwrap();
        graph.set_output("norm").unwrap();
        let mut weights = Weights::new();
        for parameter in graph.parameters() {
            weights.insert(parameter.name, Tensor::from_f32(parameter.shape, &[1.0, 1.0]).unwrap());
        }
        let roles = Roles { features: "norm".to_owned(), logits: None, cuts: Vec::new() };
        let card = Card { roles, ..regraft_zoo::resolve(crate::DEFAULT_SOURCE).unwrap().card().clone() };
        let model = Model::new(graph, weights, card).unwrap();
        let options = TapeOptions { momentum: 1.0, ..TapeOptions::default() };
        let tape = Tape::compile(&model, [1, 1], &["norm"], &options).unwrap();
        let statistics = ["norm.running_mean", "norm.running_var"].map(str::to_owned).to_vec();
        let averaging = Averaging { rule: Rule::Epochs(0), statistics };
        let mut averages = Averages::default();
        averaging.recompute(&mut averages, tape, batches.into_iter().map(Ok)).unwrap();
        for (found, expected) in averages.statistics.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{averages:?} {expected}");
        }
        assert_eq!(averages.statistics.len(), 4);
    }
}
