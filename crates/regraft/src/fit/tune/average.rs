//! Exponential moving averages of what is trained, by which a training is judged and which are its result (Polyak and Juditsky
//! 1992; `ModelEmaV3` of timm with its warm-up).

use rayon::prelude::*;
use regraft_engine::Tape;
use regraft_graph::{Model, ParameterKind, Tensor};

use super::parameters::Choice;
use crate::{Error, Result};

/// Averages as they are now; empty before the first step.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Averages {
    /// Of the trained values, in the order of the tape.
    pub(crate) values: Vec<f32>,
    /// Of the running statistics that move, one behind the other.
    pub(crate) statistics: Vec<f32>,
}

/// How averages follow.
pub(super) struct Averaging {
    decay: f64,
    /// Names of the running statistics that move.
    statistics: Vec<String>,
}

/// Numbers that one thread updates at a time.
const CHUNK: usize = 1 << 14;

impl Averaging {
    /// `None` where none are asked for.
    pub(super) fn new(choice: &Choice<'_>, model: &Model) -> Option<Self> {
        let decay = choice.config.ema?;
        let by_batch = choice.config.goes_by_batch();
        let nodes = model.graph().nodes().iter();
        let moving = nodes.filter(|node| by_batch && choice.plan.trains_node(model.graph(), &node.name));
        let parameters = moving.flat_map(|node| node.parameters());
        let statistics = parameters.filter(|parameter| {
            matches!(parameter.kind, ParameterKind::RunningMean | ParameterKind::RunningVariance)
        });
        Some(Self { decay, statistics: statistics.map(|parameter| parameter.name).collect() })
    }

    /// Takes in a tape's values behind the `step`-th step, counted from 1. The first gives the averages, and the share of later
    /// ones falls to what the decay leaves: `1 − min(decay, 1 − step^(−2/3))`, so that the random steps at the beginning are
    /// soon forgotten.
    ///
    /// # Errors
    /// None for a tape of this network.
    pub(super) fn follow(&self, averages: &mut Averages, tape: &Tape, step: usize) -> Result<()> {
        let share = share(self.decay, step);
        approach(&mut averages.values, tape.values(), share);
        if !self.statistics.is_empty() {
            let now = self.statistics(&tape.model().map_err(Error::model)?);
            approach(&mut averages.statistics, &now, share);
        }
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

/// Moves averages towards values by a share of the distance; those that are not there yet begin as the values.
fn approach(averages: &mut Vec<f32>, values: &[f32], share: f64) {
    if averages.len() != values.len() {
        *averages = values.to_vec();
        return;
    }
    let share = share as f32;
    averages.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(averages, values)| {
        averages.iter_mut().zip(values).for_each(|(average, value)| *average += share * (value - *average));
    });
}

#[cfg(test)]
mod tests {
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
    fn averages_begin_as_the_values_and_follow() {
        let mut averages = Vec::new();
        approach(&mut averages, &[1.0, -2.0], 1.0);
        assert_eq!(averages, [1.0, -2.0]);
        approach(&mut averages, &[2.0, 0.0], 0.25);
        assert_eq!(averages, [1.25, -1.5]);
    }
}
