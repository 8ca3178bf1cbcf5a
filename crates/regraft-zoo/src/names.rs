//! Tensors of one library under the names of another.
//!
//! A file's names are those of the library that wrote it, and networks here have the names of one. A [`Rule`] says what a
//! module is called in the one and in the other; what follows the module's name (`.weight`, `.running_mean`) stays.
//! Numbers in names are captured, because libraries count from zero or from one; several tensors may become parts of
//! one, because some keep query, key and value apart.

use std::collections::BTreeMap;

use regraft_graph::{GraphError, Tensor, Weights};

/// What a module is called there and here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// Its name in the file, where `#` is any number.
    theirs: &'static str,
    /// Its name here, where `{0}` is the first of these numbers and `{0+1}` one more.
    ours: &'static str,
    /// Of how many tensors one after the other it becomes a part, and which.
    part: Option<[usize; 2]>,
}

impl Rule {
    /// Another name and nothing else.
    pub(crate) const fn new(theirs: &'static str, ours: &'static str) -> Self {
        Self { theirs, ours, part: None }
    }

    /// Part `index` of `count` along the first axis.
    pub(crate) const fn part(theirs: &'static str, ours: &'static str, [index, count]: [usize; 2]) -> Self {
        Self { theirs, ours, part: Some([index, count]) }
    }

    /// The name here, if the rule is about this name.
    fn apply(&self, name: &str) -> Option<String> {
        let mut rest = name.split('.');
        let mut numbers = Vec::new();
        for part in self.theirs.split('.') {
            let found = rest.next()?;
            match part.split_once('#') {
                None => (part == found).then_some(())?,
                Some((before, after)) => {
                    let digits = found.strip_prefix(before)?.strip_suffix(after)?;
                    numbers.push(digits.parse::<usize>().ok()?);
                }
            }
        }
        let module = filled(self.ours, &numbers)?;
        Some(std::iter::once(module.as_str()).chain(rest).collect::<Vec<_>>().join("."))
    }
}

/// A name with numbers in place of the braces.
fn filled(pattern: &str, numbers: &[usize]) -> Option<String> {
    let mut pieces = pattern.split('{');
    let mut name = pieces.next()?.to_owned();
    for piece in pieces {
        let (place, after) = piece.split_once('}')?;
        let (index, more) = place.split_once('+').unwrap_or((place, "0"));
        let number = numbers.get(index.parse::<usize>().ok()?)?.checked_add(more.parse().ok()?)?;
        name += &format!("{number}{after}");
    }
    Some(name)
}

/// The tensors under the names that the first fitting rule gives them; what no rule fits keeps its name.
///
/// # Errors
/// The parts of a tensor do not fit together, or one is missing.
pub(crate) fn renamed(weights: &Weights, rules: &[Rule]) -> Result<Weights, GraphError> {
    let (mut named, mut parts) = (Weights::new(), BTreeMap::<String, Vec<Option<&Tensor>>>::new());
    for (name, tensor) in weights.iter() {
        let found = rules.iter().find_map(|rule| rule.apply(name).map(|ours| (ours, rule.part)));
        match found {
            Some((ours, Some([index, count]))) => {
                let places = parts.entry(ours).or_insert_with(|| vec![None; count]);
                places.get_mut(index).into_iter().for_each(|place| *place = Some(tensor));
            }
            Some((ours, None)) => drop(named.insert(ours, tensor.clone())),
            None => drop(named.insert(name, tensor.clone())),
        }
    }
    for (name, places) in parts {
        // A part that is missing shows as a missing whole.
        if let Some(tensors) = places.into_iter().collect::<Option<Vec<_>>>() {
            named.insert(name, joined(&tensors)?);
        }
    }
    Ok(named)
}

/// Tensors of one type one after the other along the first axis.
fn joined(tensors: &[&Tensor]) -> Result<Tensor, GraphError> {
    let first = tensors.first().map_or(&[][..], |tensor| tensor.shape());
    let rows = tensors.iter().map(|tensor| tensor.shape().first().copied().unwrap_or(0)).sum();
    let shape: Vec<usize> = std::iter::once(rows).chain(first.iter().skip(1).copied()).collect();
    let same =
        tensors.iter().all(|tensor| tensors.first().is_some_and(|first| first.dtype() == tensor.dtype()));
    if !same {
        let values: Vec<f32> = tensors.iter().flat_map(|tensor| tensor.to_f32()).collect();
        return Tensor::from_f32(shape, &values);
    }
    let bytes: Vec<u8> = tensors.iter().flat_map(|tensor| tensor.data().iter().copied()).collect();
    let dtype = tensors.first().map_or(regraft_graph::DType::F32, |tensor| tensor.dtype());
    Tensor::new(dtype, shape, bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_captured_and_counted_on() {
        let rule = Rule::new("net.stages.#.layers.#.layer.#.convolution", "layer{0+1}.{1}.conv{2+1}");
        assert_eq!(
            rule.apply("net.stages.0.layers.12.layer.2.convolution.weight").as_deref(),
            Some("layer1.12.conv3.weight")
        );
        for other in ["net.stages.x.layers.0.layer.0.convolution.weight", "net.stages.0", ""] {
            assert_eq!(rule.apply(other), None, "{other}");
        }
        let rule = Rule::new("block_#", "blocks.{0}");
        assert_eq!(rule.apply("block_3").as_deref(), Some("blocks.3"));
    }

    #[test]
    fn parts_are_joined_in_their_order() {
        let tensor = |value: f32| Tensor::from_f32(vec![1, 2], &[value; 2]).unwrap();
        let weights: Weights = [("v", 3.0), ("q", 1.0), ("k", 2.0)]
            .map(|(name, value)| (format!("{name}.weight"), tensor(value)))
            .into_iter()
            .collect();
        let rules =
            [Rule::part("q", "qkv", [0, 3]), Rule::part("k", "qkv", [1, 3]), Rule::part("v", "qkv", [2, 3])];
        let joined = renamed(&weights, &rules).unwrap();
        assert_eq!(joined.get("qkv.weight").unwrap().to_f32(), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        assert_eq!(joined.get("qkv.weight").unwrap().shape(), [3, 2]);
        assert_eq!(joined.len(), 1);
    }
}
