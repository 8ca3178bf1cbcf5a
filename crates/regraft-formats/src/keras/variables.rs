//! Where a layer's weights are, in each of the layouts that Keras and TensorFlow.js have had.
//!
//! Until Keras 2 a group a layer of the outermost model, with lists of names; since Keras 3 a tree of groups whose names
//! are the classes', numbered where a class occurs again, so that names of layers do not matter; in TensorFlow.js one
//! list of names. A layer asks for what its class has, in the order in which Keras creates it.

use std::collections::BTreeMap;

use regraft_graph::Tensor;

use crate::FormatError;
use crate::hdf5::Hdf5;

/// A layer or model on the way from the outermost model to a layer.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) name: String,
    /// What Keras 3 calls it in its file: its class, numbered.
    pub(super) slot: String,
    /// How many layers with weights stand before it in the model, where these are found by their order.
    pub(super) position: Option<usize>,
}

/// Weights that a layer has: the part of it that holds them (Keras 3), and their name.
pub(crate) type Expected<'a> = (&'a str, &'a str);

/// The weights of a network.
pub(crate) enum Variables {
    Groups(Groups),
    Tree(Tree),
    List(Vec<(String, Tensor)>),
}

/// Keras 1 and 2, and whole `.h5` models of Keras 3.
pub(crate) struct Groups {
    file: Hdf5,
    root: String,
    /// Name and names of weights of each layer.
    layers: Vec<(String, Vec<String>)>,
}

/// `.weights.h5`, and what is inside of `.keras`.
pub(crate) struct Tree {
    file: Hdf5,
    /// What the container of layers is called; `None` where the model was a class of its own and has none.
    container: Option<&'static str>,
    /// Paths of the groups that hold weights, by the name that their layer had.
    names: BTreeMap<String, Vec<String>>,
}

const CONTAINERS: [&str; 2] = ["layers", "_layer_checkpoint_dependencies"];

impl Variables {
    /// Recognises the layout.
    ///
    /// # Errors
    /// The file breaks its format's rules, or holds no Keras weights.
    pub(super) fn open(file: Hdf5) -> Result<Self, FormatError> {
        for root in ["model_weights", ""] {
            if file.has_group(root)? {
                let layers = listed(&file, root, "layer_names")?;
                if let Some(layers) = layers {
                    return Groups::open(file, root, layers).map(Self::Groups);
                }
            }
        }
        Tree::open(file).map(Self::Tree)
    }

    /// Whether the layers of the outermost model that have weights are to be found by their order, since the file
    /// calls them otherwise. Names of layers count on from model to model in a program.
    pub(super) fn by_position(&self, names: &[&str]) -> bool {
        let Self::Groups(groups) = self else { return false };
        let known = |name: &&str| groups.layers.iter().any(|(other, _)| other == name);
        !names.iter().all(known)
    }

    /// The layer's weights in the order of `expected`. `within` is the part of the layer that has them, where that is
    /// a layer of its own. The inner error says what is missing.
    pub(super) fn of(
        &self,
        places: &[Place],
        within: &str,
        expected: &[Expected<'_>],
    ) -> Result<Result<Vec<Tensor>, String>, FormatError> {
        match self {
            Self::Groups(groups) => groups.of(places, expected),
            Self::Tree(tree) => tree.of(places, within, expected),
            Self::List(list) => {
                let names: Vec<&str> = list.iter().map(|(name, _)| name.as_str()).collect();
                let found = choose(&by_path(&names, places, expected.len()), expected);
                let tensor = |name: &str| list.iter().find(|(other, _)| other == name);
                Ok(found.map(|names| {
                    names.iter().filter_map(|name| tensor(name)).map(|(_, tensor)| tensor.clone()).collect()
                }))
            }
        }
    }
}

impl Groups {
    fn open(file: Hdf5, root: &str, names: Vec<String>) -> Result<Self, FormatError> {
        let mut layers = Vec::new();
        for name in names {
            let group = join(root, &name);
            let weights = if file.has_group(&group)? { listed(&file, &group, "weight_names")? } else { None };
            layers.push((name, weights.unwrap_or_default()));
        }
        Ok(Self { file, root: root.to_owned(), layers })
    }

    fn of(
        &self,
        places: &[Place],
        expected: &[Expected<'_>],
    ) -> Result<Result<Vec<Tensor>, String>, FormatError> {
        let Some((layer, weights)) = places.first().and_then(|place| self.layer(place)) else {
            return Ok(Err("the file has no weights for it".to_owned()));
        };
        let names: Vec<&str> = weights.iter().map(String::as_str).collect();
        let names = if places.len() == 1 { names } else { by_path(&names, places, expected.len()) };
        let names = match choose(&names, expected) {
            Ok(names) => names,
            Err(message) => return Ok(Err(message)),
        };
        let group = join(&self.root, layer);
        names.iter().map(|name| self.file.array(&join(&group, name))).collect::<Result<_, _>>().map(Ok)
    }

    fn layer(&self, place: &Place) -> Option<&(String, Vec<String>)> {
        let mut weighted = self.layers.iter().filter(|(_, weights)| !weights.is_empty());
        match place.position {
            Some(position) => weighted.nth(position),
            None => self.layers.iter().find(|(name, _)| *name == place.name),
        }
    }
}

impl Tree {
    fn open(file: Hdf5) -> Result<Self, FormatError> {
        let mut container = None;
        for name in CONTAINERS {
            if container.is_none() && file.has_group(name)? {
                container = Some(name);
            }
        }
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut holds_weights = false;
        for group in file.all_groups()? {
            let Some(owner) = group.strip_suffix("/vars").filter(|owner| !owner.starts_with("optimizer/"))
            else {
                continue;
            };
            holds_weights = true;
            if let Some(name) = file.text(&group, "name")? {
                names.entry(name).or_default().push(owner.to_owned());
            }
        }
        if !holds_weights {
            return Err(file.malformed("it holds no weights of a Keras model"));
        }
        Ok(Self { file, container, names })
    }

    fn of(
        &self,
        places: &[Place],
        within: &str,
        expected: &[Expected<'_>],
    ) -> Result<Result<Vec<Tensor>, String>, FormatError> {
        let mut tensors = Vec::new();
        let Some(owner) = self.owner(places, within, expected)? else {
            return Ok(
                Err("the file has no weights for it, neither by its place nor by its name".to_owned()),
            );
        };
        let mut left = expected;
        while let [(part, _), ..] = left {
            let count = left.iter().take_while(|(other, _)| other == part).count();
            let (here, others) = left.split_at(count);
            let group = join(&join(&join(&owner, within), part), "vars");
            let found = self.file.arrays(&group)?;
            let complete = (0..count).all(|index| found.contains(&index.to_string()));
            if !complete || found.len() != count {
                return Ok(Err(format!("{}, found {} in '{group}'", wanted(here), found.len())));
            }
            for index in 0..count {
                tensors.push(self.file.array(&format!("{group}/{index}"))?);
            }
            left = others;
        }
        Ok(Ok(tensors))
    }

    /// The group of a layer: where its model puts it, or where its name is.
    fn owner(
        &self,
        places: &[Place],
        within: &str,
        expected: &[Expected<'_>],
    ) -> Result<Option<String>, FormatError> {
        let part = join(within, expected.first().map_or("", |(part, _)| part));
        if let Some(container) = self.container {
            let steps: Vec<String> =
                places.iter().map(|place| format!("{container}/{}", place.slot)).collect();
            let owner = steps.join("/");
            if !self.file.arrays(&join(&join(&owner, &part), "vars"))?.is_empty() {
                return Ok(Some(owner));
            }
        }
        let name = places.last().map_or("", |place| place.name.as_str());
        let owners = self.names.get(name).map_or(&[][..], Vec::as_slice);
        Ok(if let [owner] = owners { Some(owner.clone()) } else { None })
    }
}

/// A list of texts, which Keras cuts into numbered pieces where it is longer than an attribute may be.
fn listed(file: &Hdf5, group: &str, name: &str) -> Result<Option<Vec<String>>, FormatError> {
    if let Some(texts) = file.texts(group, name)? {
        return Ok(Some(texts));
    }
    let mut all: Option<Vec<String>> = None;
    let mut piece = 0;
    while let Some(texts) = file.texts(group, &format!("{name}{piece}"))? {
        all.get_or_insert_default().extend(texts);
        piece += 1;
    }
    Ok(all)
}

fn join(group: &str, name: &str) -> String {
    match (group, name) {
        ("", name) => name.to_owned(),
        (group, "") => group.to_owned(),
        (group, name) => format!("{group}/{name}"),
    }
}

/// The weights whose path goes through the layer; through its models, too, where that leaves more than `count`.
fn by_path<'a>(names: &[&'a str], places: &[Place], count: usize) -> Vec<&'a str> {
    let mut found: Vec<&str> = names.to_vec();
    for place in places.iter().rev() {
        let old = format!("{}_", place.name);
        let through = |name: &&str| match name.rsplit_once('/') {
            Some((path, _)) => path.split('/').any(|step| step == place.name),
            None => name.starts_with(&old),
        };
        found.retain(through);
        if found.len() <= count {
            break;
        }
    }
    found
}

/// The candidates in the order of `expected`: by their own names where these are clear, else as the file has them.
fn choose<'a>(candidates: &[&'a str], expected: &[Expected<'_>]) -> Result<Vec<&'a str>, String> {
    if candidates.len() != expected.len() {
        let found = if candidates.is_empty() { "none".to_owned() } else { candidates.join(", ") };
        return Err(format!("{}, found {found}", wanted(expected)));
    }
    let named = |name: &str| {
        let mut matching = candidates.iter().filter(|candidate| base(candidate) == name);
        matching.next().copied().filter(|_| matching.next().is_none())
    };
    let by_name: Option<Vec<&str>> = expected.iter().map(|(_, name)| named(name)).collect();
    Ok(by_name.unwrap_or_else(|| candidates.to_vec()))
}

fn wanted(expected: &[Expected<'_>]) -> String {
    let names: Vec<&str> = expected.iter().map(|(_, name)| *name).collect();
    format!("expected the weights {}", names.join(", "))
}

/// `kernel` of `model/dense/kernel:0`.
fn base(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next().unwrap_or(last)
}

/// A class's name as Keras 3 writes it in a file: `Conv2DTranspose` is `conv2d_transpose`, `PReLU` is `p_re_lu`.
pub(super) fn snake_case(class: &str) -> String {
    let letters: Vec<char> =
        class.chars().filter(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    let before_word = |place: usize, letters: &[char]| {
        let [_, first, second, ..] = letters.get(place..).unwrap_or_default() else { return None };
        let word = letters.iter().skip(place + 2).take_while(|letter| letter.is_ascii_lowercase()).count();
        (first.is_ascii_uppercase() && second.is_ascii_lowercase()).then_some(2 + word)
    };
    let before_capital = |place: usize, letters: &[char]| {
        let [first, second, ..] = letters.get(place..).unwrap_or_default() else { return None };
        (first.is_ascii_lowercase() && second.is_ascii_uppercase()).then_some(2)
    };
    let letters = separated(&letters, before_word);
    separated(&letters, before_capital).iter().flat_map(|letter| letter.to_lowercase()).collect()
}

/// Puts `_` behind the first letter of every match; `length` gives the length of a match at a place.
fn separated(letters: &[char], length: impl Fn(usize, &[char]) -> Option<usize>) -> Vec<char> {
    let (mut out, mut place) = (Vec::new(), 0);
    while let Some(letter) = letters.get(place) {
        out.push(*letter);
        place += 1;
        if let Some(length) = length(place - 1, letters) {
            out.push('_');
            out.extend(letters.iter().skip(place).take(length - 1));
            place += length - 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_called_as_keras_calls_them() {
        // keras.src.utils.naming.to_snake_case of Keras 3.15.1.
        for (class, name) in [
            ("Conv2D", "conv2d"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("BatchNormalization", "batch_normalization"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("SeparableConv2D", "separable_conv2d"),
            ("PReLU", "p_re_lu"),
            ("ReLU", "re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("LSTM", "lstm"),
            ("GRU", "gru"),
            ("TimeDistributed", "time_distributed"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("EinsumDense", "einsum_dense"),
            ("InputLayer", "input_layer"),
            ("UpSampling2D", "up_sampling2d"),
            ("ELU", "elu"),
        ] {
            assert_eq!(snake_case(class), name);
        }
    }

    #[test]
    fn a_layer_in_two_models_is_told_apart_by_its_model() {
        let place = |name: &str| Place { name: name.to_owned(), slot: String::new(), position: None };
        let names = ["a/dense/kernel:0", "b/dense/kernel:0", "b/dense_1/kernel:0"];
        assert_eq!(by_path(&names, &[place("b"), place("dense")], 1), ["b/dense/kernel:0"]);
        assert_eq!(by_path(&["dense_1_W"], &[place("m"), place("dense_1")], 1), ["dense_1_W"]);
    }
}
