//! Names of classes that lie in a file of their own beside a network.

use std::path::Path;

use regraft_graph::{Dim, Graph, Roles};
use regraft_system::files;
use serde_json::Value as Json;

/// Files in which people keep them.
const FILES: [&str; 8] = [
    "labels.txt",
    "class_names.txt",
    "classes.txt",
    "synset_words.txt",
    "synsets.txt",
    "labels.json",
    "class_names.json",
    "class_indices.json",
];

/// A list of names is not longer than this.
const LONGEST_LIST: usize = 16 << 20;

/// The names of as many classes as the network has, from the first file in one of the folders that has so many.
pub(crate) fn beside(folders: &[&Path], classes: Option<usize>, notes: &mut Vec<String>) -> Vec<String> {
    let Some(classes) = classes else { return Vec::new() };
    let paths = FILES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    for path in paths.filter(|path| path.is_file()) {
        let content = files::map(&path).ok().filter(|content| content.len() <= LONGEST_LIST);
        let Some(labels) = content.and_then(|content| list(&path, &content)) else { continue };
        let (found, path) = (labels.len(), path.display());
        if found == classes {
            notes.push(format!("the labels are those of {path}"));
            return labels;
        }
        notes.push(format!("{path} has {found} labels, the network {classes}: left out"));
    }
    Vec::new()
}

/// How many classes a network tells apart.
pub(crate) fn classes(graph: &Graph, roles: &Roles) -> Option<usize> {
    match graph.fact(roles.logits.as_ref()?).ok()?.shape.get(1)? {
        Dim::Fixed(classes) => Some(*classes),
        Dim::Symbolic { .. } => None,
    }
}

/// One name a line; or in JSON a list, `{"0": "cat"}`, or as `class_indices` `{"cat": 0}`.
fn list(path: &Path, content: &[u8]) -> Option<Vec<String>> {
    if path.extension().is_some_and(|ending| ending == "txt") {
        let text = String::from_utf8_lossy(content);
        let lines =
            text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty());
        return Some(lines.map(|line| without_synset(line).to_owned()).collect());
    }
    match serde_json::from_slice(content).ok()? {
        Json::Array(names) => names.iter().map(|name| name.as_str().map(ToOwned::to_owned)).collect(),
        Json::Object(fields) => {
            let pair = |(key, value): (&String, &Json)| match value {
                Json::String(name) => Some((key.parse().ok()?, name.clone())),
                index => Some((index.as_u64()?, key.clone())),
            };
            let mut pairs: Vec<(u64, String)> = fields.iter().map(pair).collect::<Option<_>>()?;
            pairs.sort_unstable();
            let in_order = pairs.iter().map(|(index, _)| *index).eq(0..pairs.len() as u64);
            in_order.then(|| pairs.into_iter().map(|(_, name)| name).collect())
        }
        _ => None,
    }
}

/// A line without WordNet's number of the class in front.
fn without_synset(line: &str) -> &str {
    let words = line.split_once(' ').filter(|(first, _)| {
        first.len() == 9
            && first.starts_with('n')
            && first.chars().skip(1).all(|digit| digit.is_ascii_digit())
    });
    words.map_or(line, |(_, words)| words.trim())
}
