//! How the steps of a network are divided into stages, each of which takes so many images at a time.
//!
//! The activations of the first layers of a network are large and their weights few: one image at a time keeps what a
//! layer hands to the next in the second-level cache. In the last layers it is the other way round: several images share
//! one reading of the weights from memory. The division is the one that moves the fewest bytes between the cache and
//! what lies behind it, found by dynamic programming over the steps.

#![allow(clippy::indexing_slicing, reason = "indices into arrays of one constant size")]

use std::ops::Range;

use crate::{
    phase::Values,
    step::{Passes, Step},
    views::Views,
};

/// Bytes that stay in a core's cache from one step to the next; the second level has one to two megabytes.
const CACHE: usize = 1_000_000;

/// Weights of all steps up to this many bytes stay in the last level of the cache, from where they come without delay.
const NEAR_WEIGHTS: usize = 16 * CACHE;

/// Images that a stage may take at a time, each a multiple of the ones before.
const IMAGES: [usize; 4] = [1, 2, 4, 8];

/// Inputs and outputs of a step on more than one image stay under this many bytes.
const LARGEST: usize = 16 * CACHE;

/// Steps that take so many images at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Division {
    pub(crate) steps: Range<usize>,
    pub(crate) images: usize,
}

/// What a step costs with each number of images, and whether a stage may begin with it.
struct Candidate {
    /// Bytes an image.
    costs: [usize; IMAGES.len()],
    /// Bytes an image that are copied if a stage begins here; `None` if that cannot be.
    copied: Option<usize>,
}

/// Divides the steps. Without any there is one stage with nothing to do.
pub(crate) fn divide(steps: &[Step], values: Values<'_>) -> Vec<Division> {
    let weights: usize = steps.iter().map(|step| step.operation.weight_bytes()).sum();
    let crossing = crossing(steps, values);
    let candidates = steps.iter().zip(crossing).map(|(step, copied)| Candidate {
        costs: IMAGES.map(|images| cost(step, values, images, weights > NEAR_WEIGHTS)),
        copied,
    });
    cheapest(&candidates.collect::<Vec<_>>())
}

/// Bytes an image that a step moves to and from memory.
fn cost(step: &Step, values: Values<'_>, images: usize, far_weights: bool) -> usize {
    let bytes = |value: &usize| images * values.geometries.get(*value).map_or(0, |geometry| geometry.bytes());
    let input = step.reads.first().map_or(0, bytes);
    let moved = step.reads.iter().chain([&step.writes]).map(bytes).sum();
    if images > 1 && moved > LARGEST {
        return usize::MAX;
    }
    let Passes { over_weights, over_inputs, cost_of_weights } = step.operation.passes(images);
    let weights =
        if far_weights { cost_of_weights * over_weights * step.operation.weight_bytes() } else { 0 };
    let again = if input > CACHE { (over_inputs - 1) * input } else { 0 };
    let moved = if moved > CACHE { moved } else { 0 };
    (weights + again + moved) / images
}

/// For each step the bytes of the values that it and later ones take from earlier steps; `None` where one of them has parts
/// that are values, or is the network's input.
fn crossing(steps: &[Step], values: Values<'_>) -> Vec<Option<usize>> {
    let whole = |value: &usize| values.views.of(*value).whole;
    let touches =
        |step: &Step, value| step.reads.iter().chain([&step.writes]).any(|other| whole(other) == value);
    let can_cross = |value: &usize| *value != 0 && values.views.is_apart(*value);
    let bytes = |value: &usize| values.geometries.get(*value).map_or(0, |geometry| geometry.bytes());
    let mut alive = vec![0];
    let crossing = steps.iter().enumerate().map(|(index, step)| {
        alive.retain(|value| steps.iter().skip(index).any(|step| touches(step, *value)));
        let copied = alive.iter().all(can_cross).then(|| alive.iter().map(bytes).sum());
        alive.push(whole(&step.writes));
        copied
    });
    crossing.collect()
}

/// A division of the steps so far.
#[derive(Clone)]
struct Way {
    cost: usize,
    divisions: Vec<Division>,
}

/// The cheapest way through the candidates with numbers of images that only grow; of equals the one with fewer images.
fn cheapest(candidates: &[Candidate]) -> Vec<Division> {
    let mut ways = IMAGES.map(|images| Way { cost: 0, divisions: vec![Division { steps: 0..0, images }] });
    for (index, candidate) in candidates.iter().enumerate() {
        let before = ways.clone();
        for (size, way) in ways.iter_mut().enumerate() {
            let fewer = before.iter().take(size).min_by_key(|way| way.cost);
            if let (Some(copied), Some(fewer)) = (candidate.copied.filter(|_| index > 0), fewer) {
                let cost = fewer.cost.saturating_add(2 * copied);
                if cost < way.cost {
                    let begun = Division { steps: index..index, images: IMAGES[size] };
                    let divisions = fewer.divisions.iter().cloned().chain([begun]).collect();
                    *way = Way { cost, divisions };
                }
            }
            way.cost = way.cost.saturating_add(candidate.costs[size]);
            way.divisions.iter_mut().last().into_iter().for_each(|last| last.steps.end = index + 1);
        }
    }
    ways.into_iter().min_by_key(|way| way.cost).map(|way| way.divisions).unwrap_or_default()
}

/// The steps of each stage.
pub(crate) struct Parts<'a> {
    pub(crate) steps: Vec<Vec<Step>>,
    views: &'a Views,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(
        mut steps: impl Iterator<Item = Step>,
        divisions: &[Division],
        views: &'a Views,
    ) -> Self {
        let of = |division: &Division| steps.by_ref().take(division.steps.len()).collect();
        Self { steps: divisions.iter().map(of).collect(), views }
    }

    /// The stage that computes a value, or the first of its parts; the network's input is the first one's.
    pub(crate) fn written_in(&self, value: usize) -> usize {
        let whole = |value| self.views.of(value).whole;
        let writes = |steps: &Vec<Step>| steps.iter().any(|step| whole(step.writes) == whole(value));
        self.steps.iter().position(writes).unwrap_or(0)
    }

    /// What a stage and those behind it read of those before it.
    pub(crate) fn inputs(&self, stage: usize) -> Vec<usize> {
        if stage == 0 {
            return vec![0];
        }
        let behind = self.steps.iter().skip(stage).flatten();
        let mut inputs: Vec<usize> = behind.flat_map(|step| step.reads.iter().copied()).collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs.retain(|value| self.written_in(*value) < stage);
        inputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(costs: &[([usize; 4], Option<usize>)]) -> Vec<(Range<usize>, usize)> {
        let candidates = costs.iter().map(|(costs, copied)| Candidate { costs: *costs, copied: *copied });
        let divisions = cheapest(&candidates.collect::<Vec<_>>());
        divisions.into_iter().map(|Division { steps, images }| (steps, images)).collect()
    }

    #[test]
    fn the_number_of_images_grows_where_that_pays_for_the_copy() {
        let (large, heavy) = ([10, 30, 40, 40], [80, 40, 20, 30]);
        let there = Some(5);
        assert_eq!(
            divided(&[(large, there), (large, there), (heavy, there), (heavy, there)]),
            [(0..2, 1), (2..4, 4)]
        );
        assert_eq!(divided(&[(large, there), (heavy, None), (heavy, there)]), [(0..3, 4)]);
        assert_eq!(divided(&[(large, Some(5)), (heavy, Some(100))]), [(0..2, 4)]);
    }

    #[test]
    fn without_a_difference_there_is_one_stage_of_single_images() {
        assert_eq!(divided(&[([7; 4], Some(0)), ([0; 4], Some(0))]), [(0..2, 1)]);
        assert_eq!(divided(&[]), [(0..0, 1)]);
    }
}
