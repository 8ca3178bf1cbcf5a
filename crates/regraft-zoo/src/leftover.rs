//! What a file holds beside the tensors that a network took, and what that says about the file's own network.

use std::collections::HashSet;

use regraft_graph::Weights;

use crate::matching::{beginnings, is_part_of};

/// Buffers that nothing is computed with but training, statistics of a profiler, or what follows from the sizes of the
/// network.
const BUFFERS: [&str; 7] = [
    "num_batches_tracked",
    "mask_token",
    "position_ids",
    "relative_position_index",
    "attn_mask",
    "total_ops",
    "total_params",
];

/// Auxiliary classifiers of Inception v1 and v3.
const AUXILIARY: [&str; 3] = ["AuxLogits.", "aux1.", "aux2."];

/// Parts beside the blocks of vision transformers that change what they compute: tokens of registers and of distillation,
/// a normalisation in front of the blocks, and a layer between the features and the head.
const ADDITIONS: [&str; 5] = ["reg_token", "register_tokens", "dist_token", "norm_pre.", "pre_logits."];

/// Names of tensors that the network has no use for, other than what serves training alone.
pub(crate) fn left(
    weights: &Weights,
    names: &[String],
    prefix: &str,
    alternatives: &[String],
) -> Vec<String> {
    let names: HashSet<&str> = names.iter().map(String::as_str).collect();
    let used = |name: &str| name.strip_prefix(prefix).is_some_and(|name| names.contains(name));
    let copy = |name: &str| {
        beginnings(name)
            .any(|(start, rest)| names.contains(rest) && alternatives.iter().any(|other| other == start))
    };
    let unused = weights.iter().map(|(name, _)| name).filter(|name| !used(name) && !copy(name));
    unused
        .filter(|name| !serves_training(name.strip_prefix(prefix).unwrap_or(name)))
        .map(str::to_owned)
        .collect()
}

fn serves_training(name: &str) -> bool {
    BUFFERS.iter().any(|buffer| name.ends_with(buffer))
        || AUXILIARY.iter().any(|module| name.starts_with(module))
}

/// Of what is left, the tensors in modules that the network has as well: the file's network computes something else there.
/// What replaces the classifier is no such thing, and neither are modules beside the network's, such as other heads.
pub(crate) fn foreign(left: &[String], names: &[String], prefix: &str, classifier: &str) -> Vec<String> {
    let modules: HashSet<&str> =
        names.iter().filter_map(|name| name.split_once('.')).map(|(module, _)| module).collect();
    let inside = |name: &str| name.split_once('.').is_some_and(|(module, _)| modules.contains(module));
    let adds = |name: &str| ADDITIONS.iter().any(|addition| name.starts_with(addition));
    let is_foreign = |name: &str| (inside(name) && !is_part_of(name, classifier)) || adds(name);
    left.iter().filter(|name| name.strip_prefix(prefix).is_some_and(is_foreign)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_inside_of_modules_is_foreign() {
        let network = names(&["conv1.weight", "layer1.0.conv1.weight", "head.norm.weight", "head.fc.weight"]);
        let foreign = |left: &[&str]| foreign(&names(left), &network, "module.", "head.fc");
        let inside = ["module.layer1.0.se.fc1.weight", "module.layer1.1.conv1.weight", "module.conv1.bias"];
        assert_eq!(foreign(&inside), inside);
        let beside = ["module.aux_head.0.weight", "module.head.fc.2.weight", "layer1.0.x", "other"];
        assert_eq!(foreign(&beside), Vec::<String>::new());
        assert_eq!(foreign(&["module.register_tokens", "module.queue"]), ["module.register_tokens"]);
    }

    #[test]
    fn buffers_are_not_left() {
        let tensor = || regraft_graph::Tensor::from_f32(vec![1], &[0.0]).unwrap();
        let buffers = ["bn1.num_batches_tracked", "blocks.0.attn.relative_position_index", "fc.total_ops"];
        let file = buffers.iter().chain(["AuxLogits.fc.weight", "queue"].iter());
        let weights: Weights = file.map(|name| (format!("module.{name}"), tensor())).collect();
        assert_eq!(left(&weights, &[], "module.", &[]), ["module.queue"]);
    }
}
