//! Which tensors of a file are an architecture's.
//!
//! Training scripts wrap networks: in `DataParallel` (`module.`), in a Lightning module (`model.`, `net.`, `backbone.`),
//! by compilation (`_orig_mod.`), in a checkpoint's entry (`state_dict.`), one in another. So nothing is looked up in a
//! list of wrappers: the prefix is whatever stands before most of the architecture's names. A checkpoint may hold the
//! network twice, as it was trained last and averaged over the training; then the average is taken, which is what its
//! authors evaluated.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use regraft_graph::{Parameter, ParameterKind, Tensor, Weights};

/// What a file's tensors are to the network that was loaded from it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct MatchReport {
    /// The architecture's name.
    pub architecture: &'static str,
    /// Other architectures that the file fits as well, if it was not named: their tensors are the same, but their
    /// preprocessing, padding or epsilon are not.
    pub others: Vec<&'static str>,
    /// Networks of timm's that the file fits as well, if the architecture was not named: they compute something else with
    /// the same tensors, and are no architectures here.
    pub relatives: &'static [&'static str],
    /// Number of classes, from the classifier's shape; 0 for a network without a head.
    pub classes: usize,
    /// Number of label names on the model's card.
    pub labels: usize,
    /// Number of tensors that the network took.
    pub matched: usize,
    /// Names of tensors that the architecture has and the file lacks: none, or those of the head.
    pub missing: Vec<String>,
    /// Names of tensors that it has no use for, counters of training steps aside.
    pub left: Vec<String>,
    /// What stood before the names of all that it took.
    pub prefix: String,
    /// Other prefixes under which the file holds the whole network once more.
    pub alternatives: Vec<String>,
    /// How many of the tensors had other names, from an older version or from another library.
    pub renamed: usize,
}

impl MatchReport {
    /// Whether there is nothing that a user may want to know: nothing was left, missing, renamed or chosen.
    pub fn is_plain(&self) -> bool {
        let lists = [&self.missing, &self.left, &self.alternatives];
        lists.iter().all(|list| list.is_empty())
            && self.prefix.is_empty()
            && self.renamed == 0
            && self.others.is_empty()
            && self.relatives.is_empty()
    }
}

impl fmt::Display for MatchReport {
    /// One line a finding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { architecture, classes, labels, matched, .. } = self;
        write!(f, "{architecture}: {matched} tensors matched, ")?;
        match (classes, labels) {
            (0, _) => writeln!(f, "no head")?,
            (_, 0) => writeln!(f, "{classes} classes without names")?,
            _ => writeln!(f, "{classes} classes with names")?,
        }
        if !self.others.is_empty() {
            let others = self.others.join(", ");
            writeln!(f, "  fits {others} as well; --arch chooses")?;
        }
        if !self.relatives.is_empty() {
            let relatives = self.relatives.join(", ");
            writeln!(
                f,
                "  the tensors may also be those of {relatives}, which compute something else and are not known here"
            )?;
        }
        if !self.prefix.is_empty() {
            writeln!(f, "  names without '{}'", self.prefix)?;
        }
        if let Some(other) = self.alternatives.first() {
            let all = self.alternatives.join("', '");
            writeln!(f, "  also there: '{all}'; FILE#{other} takes it", other = other.trim_end_matches('.'))?;
        }
        if self.renamed > 0 {
            writeln!(f, "  {} names translated", self.renamed)?;
        }
        for (what, names) in [("missing, so there are no logits", &self.missing), ("left over", &self.left)] {
            if !names.is_empty() {
                writeln!(f, "  {} {what}: {}", names.len(), first_few(names))?;
            }
        }
        Ok(())
    }
}

pub(crate) fn first_few(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(4).map(|name| format!("'{name}'")).collect();
    let more = if names.len() > shown.len() { " …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Where in a file a network's tensors are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// What stands before their names.
    pub(crate) prefix: String,
    /// How many there are.
    pub(crate) matched: usize,
    /// How many of them are not the classifier's.
    pub(crate) of_body: usize,
    /// Prefixes with as many.
    pub(crate) alternatives: Vec<String>,
}

/// Whether a tensor can become a parameter.
pub(crate) type Fits = fn(&Parameter, &Tensor) -> bool;

/// Looks for the prefix under which most of the parameters are there in a shape that fits. The classifier may have any
/// shape. `entry` is the beginning that the prefix must have, if the user chose one.
pub(crate) fn find(
    parameters: &[Parameter],
    classifier: &str,
    weights: &Weights,
    entry: Option<&str>,
    fits: Fits,
) -> Found {
    let wanted: HashMap<&str, &Parameter> =
        parameters.iter().map(|parameter| (parameter.name.as_str(), parameter)).collect();
    let mut counts = BTreeMap::<&str, [usize; 2]>::new();
    for (name, tensor) in weights.iter() {
        for (prefix, rest) in beginnings(name) {
            let known = wanted.get(rest);
            let is_head = is_part_of(rest, classifier);
            if known.is_some_and(|parameter| is_head || fits(parameter, tensor)) {
                let [matched, of_body] = counts.entry(prefix).or_default();
                *matched += 1;
                *of_body += usize::from(!is_head);
            }
        }
    }
    counts.retain(|prefix, _| entry.is_none_or(|entry| begins(prefix, entry)));
    let [matched, of_body] = counts.values().copied().max_by_key(|[matched, _]| *matched).unwrap_or_default();
    let mut equal: Vec<&str> =
        counts.iter().filter(|(_, [count, _])| *count == matched).map(|(prefix, _)| *prefix).collect();
    equal.sort_by_key(|prefix| (preference(prefix), prefix.len()));
    let mut equal = equal.into_iter().map(str::to_owned);
    Found { prefix: equal.next().unwrap_or_default(), matched, of_body, alternatives: equal.collect() }
}

/// Whether two shapes differ in nothing but how the axes behind the first are told apart: a dense layer that was stored
/// as the convolution over its whole input, a factor for each channel with a height and width of 1.
pub(crate) fn same_numbers(found: &[usize], expected: &[usize]) -> bool {
    let product = |shape: &[usize]| shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    found.first() == expected.first() && found.len() != expected.len() && product(found) == product(expected)
}

/// By shapes; vectors for places may be of another number.
pub(crate) fn fits(parameter: &Parameter, tensor: &Tensor) -> bool {
    let (found, expected) = (tensor.shape(), parameter.shape.as_slice());
    let other_grid = parameter.kind == ParameterKind::Position && found.last() == expected.last();
    found == expected || other_grid || same_numbers(found, expected)
}

/// A name as a prefix and the rest, at the beginning and behind each dot.
pub(crate) fn beginnings(name: &str) -> impl Iterator<Item = (&str, &str)> {
    let dots = name.match_indices('.').map(|(position, _)| position + 1);
    std::iter::once(0).chain(dots).filter_map(|position| name.split_at_checked(position))
}

/// Whether a name is that of a parameter of the module.
pub(crate) fn is_part_of(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
}

/// Whether a prefix is in the entry: the entry itself or something below it.
pub(crate) fn begins(prefix: &str, entry: &str) -> bool {
    let entry = entry.trim_end_matches('.');
    entry.is_empty()
        || prefix.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Of two copies of a network, averages over the training go first; copies that only serve the training go last.
fn preference(prefix: &str) -> usize {
    let mut words = prefix.split(['.', '_']);
    const AVERAGED: [&str; 4] = ["ema", "averaged", "swa", "teacher"];
    const AUXILIARY: [&str; 6] = ["student", "momentum", "target", "k", "optimizer", "discriminator"];
    if words.clone().any(|word| AVERAGED.contains(&word)) {
        0
    } else if words.any(|word| AUXILIARY.contains(&word)) {
        2
    } else {
        1
    }
}

/// The tensors whose names begin with the prefix, under the rest of their names.
pub(crate) fn under(weights: &Weights, prefix: &str) -> Weights {
    let stripped = |(name, tensor): (&str, &Tensor)| {
        name.strip_prefix(prefix).map(|name| (name.to_owned(), tensor.clone()))
    };
    weights.iter().filter_map(stripped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(names: &[&str]) -> Vec<Parameter> {
        let parameter = |name: &&str| Parameter {
            name: (*name).to_owned(),
            kind: ParameterKind::Weight,
            shape: vec![if name.starts_with("fc") { 10 } else { 2 }],
        };
        names.iter().map(parameter).collect()
    }

    fn found(names: &[&str], entry: Option<&str>) -> Found {
        let tensor = || Tensor::from_f32(vec![2], &[0.0; 2]).unwrap();
        let weights: Weights = names.iter().map(|name| ((*name).to_owned(), tensor())).collect();
        find(&parameters(&["conv.weight", "layer.conv.weight", "fc.weight"]), "fc", &weights, entry, fits)
    }

    #[test]
    fn the_prefix_is_what_stands_before_most_names() {
        for prefix in ["", "module.", "net.encoder.", "state_dict._orig_mod.module.", "conv.", "a.layer."] {
            let names =
                ["conv.weight", "layer.conv.weight", "fc.weight"].map(|name| format!("{prefix}{name}"));
            let names: Vec<&str> = names.iter().map(String::as_str).chain(["other.weight"]).collect();
            assert_eq!(
                found(&names, None),
                Found { prefix: prefix.to_owned(), matched: 3, of_body: 2, alternatives: vec![] }
            );
        }
    }

    #[test]
    fn averages_go_first_and_an_entry_decides() {
        let copies = ["state_dict", "model_ema.module", "student", "momentum_encoder"];
        let names: Vec<String> = copies
            .iter()
            .flat_map(|copy| ["conv.weight", "layer.conv.weight"].map(|name| format!("{copy}.{name}")))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let all = found(&names, None);
        assert_eq!(all.prefix, "model_ema.module.");
        assert_eq!(all.alternatives, ["state_dict.", "student.", "momentum_encoder."]);
        for (entry, prefix) in [
            ("student", "student."),
            ("student.", "student."),
            ("model_ema", "model_ema.module."),
            ("stud", ""),
        ] {
            assert_eq!(found(&names, Some(entry)).prefix, prefix, "{entry}");
        }
    }
}
