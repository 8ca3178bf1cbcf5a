//! What an optimiser moves: the trained values of a tape, or low-rank changes of them.

use regraft_adapt::training::{LowRank, Matrix, ParameterGroup, pull_towards};
use regraft_engine::{Precision, Tape, Trained};
use regraft_graph::ParameterKind;
use regraft_system::random::stream;

use super::checkpoint::State;
use super::config::{Method, TuningConfig};
use super::plan::Plan;
use crate::{Error, Result};

/// The values that are trained, in groups.
pub(super) struct Parameters {
    groups: Vec<Group>,
    low_rank: Option<LowRank>,
    /// The source's values, towards which they are pulled.
    source: Vec<f32>,
}

struct Group {
    rule: ParameterGroup,
    /// Ends of blocks in front of the head; `None` for the head.
    depth: Option<usize>,
}

/// A method with its settings, and what is trained of which start.
pub(super) struct Choice<'a> {
    pub(super) method: Method,
    pub(super) config: &'a TuningConfig,
    pub(super) plan: &'a Plan,
    pub(super) seed: u64,
    /// Numbers that layers multiply.
    pub(super) precision: Precision,
}

impl Parameters {
    /// For a tape that holds the values of the start.
    ///
    /// # Errors
    /// The rank is more than a side of a weight.
    pub(super) fn new(choice: &Choice<'_>, start: &Tape) -> Result<Self> {
        let trained = start.parameters();
        let low_rank =
            (choice.method == Method::Lora).then(|| low_rank(choice, trained, start.values())).transpose()?;
        let places = |index: usize, trained: &Trained| match &low_rank {
            Some(low_rank) => {
                let part = low_rank.parts().find(|(_, range)| *range == trained.range);
                part.map_or(index..index, |(place, _)| place)
            }
            None => trained.range.clone(),
        };
        let groups =
            trained.iter().enumerate().map(|(index, trained)| group(choice, trained, places(index, trained)));
        let source = if choice.method == Method::L2Sp { start.values().to_vec() } else { Vec::new() };
        Ok(Self { groups: groups.collect(), low_rank, source })
    }

    /// Makes the state of a training that begins.
    pub(super) fn begin(&self, choice: &Choice<'_>, training: &str, state: &mut State) {
        if let Some(low_rank) = &self.low_rank
            && state.factors.is_empty()
        {
            let mut random = stream(choice.seed, &format!("low-rank factors, {training}"), 0);
            state.factors = low_rank.start(&mut random);
        }
    }

    /// Takes a step with the tape's gradients.
    ///
    /// # Errors
    /// None for parameters of this tape.
    pub(super) fn step(
        &self,
        choice: &Choice<'_>,
        tape: &mut Tape,
        state: &mut State,
        (rate, epoch): (f64, usize),
    ) -> Result<()> {
        let rule = choice.config.optimizer.rule();
        let groups = self.rules(choice, epoch, &state.shares);
        if let Some(low_rank) = &self.low_rank {
            let gradients = low_rank.project(&state.factors, tape.gradients());
            let values = (state.factors.as_mut_slice(), gradients.as_slice());
            state.optimizer.step(&rule, &groups, rate, values).map_err(Error::model)?;
            low_rank.compose(&state.factors, tape.values_mut());
            return Ok(());
        }
        state.optimizer.step(&rule, &groups, rate, tape.values_and_gradients()).map_err(Error::model)?;
        if choice.method == Method::L2Sp {
            self.pull(choice, tape.values_mut(), rate);
        }
        Ok(())
    }

    /// The rules of the groups that move in an epoch; with surgical fine-tuning each tensor has a share of the rate.
    fn rules(&self, choice: &Choice<'_>, epoch: usize, shares: &[f32]) -> Vec<ParameterGroup> {
        let mut groups: Vec<ParameterGroup> =
            self.active(choice, epoch).map(|group| group.rule.clone()).collect();
        groups
            .iter_mut()
            .zip(shares)
            .for_each(|(rule, share)| rule.learning_rate_factor *= f64::from(*share));
        groups
    }

    /// Whether the tensors, in the order of the tape, are those of the head.
    pub(super) fn of_head(&self) -> Vec<bool> {
        self.groups.iter().map(|group| group.depth.is_none()).collect()
    }

    /// The groups that move in an epoch: with gradual unfreezing one block more in each, and all in the second half.
    fn active<'a>(&'a self, choice: &'a Choice<'_>, epoch: usize) -> impl Iterator<Item = &'a Group> {
        let blocks = choice.plan.deepest() + 1;
        let half = choice.config.epochs.div_ceil(2).max(1);
        let thawed = (epoch * blocks).div_ceil(half);
        let is_active = move |group: &&Group| {
            choice.method != Method::Gradual || group.depth.is_none_or(|depth| depth < thawed)
        };
        self.groups.iter().filter(is_active)
    }

    fn pull(&self, choice: &Choice<'_>, values: &mut [f32], rate: f64) {
        for Group { rule, .. } in self.groups.iter().filter(|group| group.depth.is_some()) {
            let share = rate * rule.learning_rate_factor * choice.config.source_pull;
            let range = rule.range.clone();
            if let (Some(values), Some(source)) = (values.get_mut(range.clone()), self.source.get(range)) {
                pull_towards(values, source, share);
            }
        }
    }
}

/// Weight decay is for weights, and not for those that are pulled elsewhere; the head learns faster than what is already
/// trained.
fn group(choice: &Choice<'_>, trained: &Trained, range: std::ops::Range<usize>) -> Group {
    let Choice { method, config, plan, .. } = *choice;
    let depth = (!plan.head.contains(&trained.name)).then(|| plan.depth(&trained.name));
    let is_weight = trained.kind != ParameterKind::Bias && trained.shape.len() > 1;
    let is_held = method == Method::L2Sp || (method == Method::Delta && config.weight_of(method) > 0.0);
    let is_pulled = is_held && depth.is_some();
    let factor = |depth: usize| config.source_rate_factor * config.layer_decay.powi(depth.min(1000) as i32);
    // Factors begin with nothing, as a new head does.
    let is_new = depth.is_none() || method == Method::Lora;
    let rule = ParameterGroup {
        range,
        learning_rate_factor: if is_new { 1.0 } else { depth.map_or(1.0, factor) },
        weight_decay: if is_weight && !is_pulled { config.weight_decay } else { 0.0 },
    };
    Group { rule, depth }
}

fn low_rank(choice: &Choice<'_>, trained: &[Trained], values: &[f32]) -> Result<LowRank> {
    let (head, source): (Vec<&Trained>, Vec<&Trained>) =
        trained.iter().partition(|trained| choice.plan.head.contains(&trained.name));
    let matrix = |trained: &&Trained| Matrix {
        name: trained.name.clone(),
        range: trained.range.clone(),
        rows: trained.shape.first().copied().unwrap_or(0),
    };
    let plain = head.iter().map(|trained| trained.range.clone()).collect();
    let size = (choice.config.rank, choice.config.alpha);
    LowRank::new(values.to_vec(), source.iter().map(matrix).collect(), plain, size)
        .map_err(|error| Error::Usage(format!("--rank: {error}")))
}
