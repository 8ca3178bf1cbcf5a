//! Which of a folder's or a repository's files are the model, where nothing in it says so.

use std::path::{Path, PathBuf};

use regraft_system::files;

/// What describes a model beside its weights.
const DESCRIPTIONS: [&str; 13] = [
    "config.json",
    "preprocessor_config.json",
    "graph.json",
    "labels.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "model.json",
];

/// Kinds of weights, the best first: how the names begin and end.
const WEIGHTS: [(&str, &str); 8] = [
    ("model", ".safetensors"),
    ("", ".safetensors"),
    ("pytorch_model", ".bin"),
    ("", ".pth"),
    ("", ".onnx"),
    ("", ".keras"),
    ("", ".h5"),
    ("", ".npz"),
];

/// Weights among files, by their names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WeightFiles {
    None,
    /// Those of one model. The first is the one that is read: the only one, or the index of all.
    OneModel(Vec<String>),
    /// Of the best kind that is there, several, and nothing tells which.
    Several(Vec<String>),
}

impl WeightFiles {
    pub(crate) fn among(names: &[String]) -> Self {
        let kinds = WEIGHTS.iter().map(|(beginning, ending)| of_kind(names, beginning, ending));
        kinds.into_iter().find(|found| *found != Self::None).unwrap_or(Self::None)
    }
}

fn of_kind(names: &[String], beginning: &str, ending: &str) -> WeightFiles {
    let is_of_kind =
        |name: &&String| !name.contains('/') && name.starts_with(beginning) && name.ends_with(ending);
    let weights: Vec<String> = names.iter().filter(is_of_kind).cloned().collect();
    let [whole, index] = ["", ".index.json"].map(|last| format!("{beginning}{ending}{last}"));
    match weights.as_slice() {
        [] => WeightFiles::None,
        _ if weights.contains(&whole) => WeightFiles::OneModel(vec![whole]),
        _ if names.contains(&index) => WeightFiles::OneModel([vec![index], weights].concat()),
        [_] => WeightFiles::OneModel(weights),
        _ => WeightFiles::Several(weights),
    }
}

/// Of a repository's files, those that describe a model.
pub(crate) fn descriptions(names: &[String]) -> Vec<String> {
    DESCRIPTIONS.iter().map(|name| (*name).to_owned()).filter(|name| names.contains(name)).collect()
}

/// The weights in a folder.
pub(crate) fn weights_in(folder: &Path) -> WeightFiles {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| entry.path().is_file());
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    WeightFiles::among(&names)
}

/// The one file of weights in a folder, or the index of several of which all are there.
pub(crate) fn weight_file(folder: &Path) -> Option<PathBuf> {
    let WeightFiles::OneModel(names) = weights_in(folder) else { return None };
    let path = folder.join(names.first()?);
    (names.len() == 1 || has_all_parts(folder, &path)).then_some(path)
}

fn has_all_parts(folder: &Path, index: &Path) -> bool {
    let index = files::read(index).ok();
    let index = index.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    let parts = index.as_ref().and_then(|index| index.get("weight_map")?.as_object());
    let is_here = |part: &serde_json::Value| part.as_str().is_some_and(|part| folder.join(part).is_file());
    parts.is_some_and(|parts| parts.values().all(is_here))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(names: &[&str]) -> WeightFiles {
        WeightFiles::among(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    fn one(names: &[&str]) -> WeightFiles {
        WeightFiles::OneModel(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn weights_in_parts_are_here_when_every_part_is() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            files::write_atomically(&place.path().join(name), text.as_bytes()).unwrap()
        };
        let found = || weight_file(place.path());
        assert_eq!(found(), None);
        write(
            "model.safetensors.index.json",
            r#"{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#,
        );
        write("model-1.safetensors", "1");
        assert_eq!(found(), None);
        write("model-2.safetensors", "2");
        assert_eq!(found(), Some(place.path().join("model.safetensors.index.json")));
        files::remove_if_there(&place.path().join("model.safetensors.index.json")).unwrap();
        assert_eq!(found(), None, "parts without an index");
        write("model.safetensors", "whole");
        write("model.safetensors.index.json", "{");
        assert_eq!(found(), Some(place.path().join("model.safetensors")), "a whole file needs no index");
    }

    #[test]
    fn the_best_kind_counts_and_several_of_it_are_none() {
        let timm = ["README.md", "config.json", "model.safetensors", "pytorch_model.bin"];
        assert_eq!(among(&timm), one(&["model.safetensors"]));
        let parts = ["model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"];
        assert_eq!(among(&parts), one(&[parts[2], parts[0], parts[1]]));
        assert_eq!(among(&["pytorch_model.bin", "tf_model.h5"]), one(&["pytorch_model.bin"]));
        assert_eq!(among(&["net.onnx", "onnx/b.onnx"]), one(&["net.onnx"]));
        assert_eq!(among(&["a.pth", "b.pth"]), WeightFiles::Several(vec!["a.pth".into(), "b.pth".into()]));
        assert_eq!(among(&["README.md", "data.parquet"]), WeightFiles::None);
    }
}
