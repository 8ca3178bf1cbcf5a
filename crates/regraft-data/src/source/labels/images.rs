//! The images below a folder, by the names that a table may give them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use regraft_system::spelling;

use super::super::walk::{self, File};
use super::super::{DataError, EXTENSIONS, Problem, display, list_root};

/// All images below a folder, in bytewise order of their relative paths.
pub(super) struct Images {
    /// The folder as it was given.
    pub(super) root: PathBuf,
    /// The folder as an absolute path.
    absolute: PathBuf,
    pub(super) files: Vec<File>,
    pub(super) problems: Vec<Problem>,
    /// Positions in `files` by relative path, with `/` between the folders. Names that are not UTF-8 stand in no table.
    by_name: BTreeMap<String, usize>,
    /// The same without the ending; more than one where only the ending tells files apart.
    by_stem: BTreeMap<String, Vec<usize>>,
}

/// What a table's name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The image at that position.
    Image(usize),
    /// Two images or more, which only their endings tell apart: the first two.
    Several([usize; 2]),
    /// Nothing below the folder.
    Nothing,
    /// A path that leads out of the folder.
    Outside,
}

impl Found {
    pub(super) fn image(self) -> Option<usize> {
        if let Self::Image(position) = self { Some(position) } else { None }
    }
}

impl Images {
    /// Lists a folder; nothing is decoded.
    pub(super) fn below(root: &Path) -> Result<Self, DataError> {
        list_root(root)?;
        let content = walk::walk(&File { path: root.to_path_buf(), relative: PathBuf::new() });
        if content.images.is_empty() {
            return Err(DataError::Empty { path: root.to_path_buf(), ignored: content.ignored });
        }
        let absolute = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
        let (mut by_name, mut by_stem) = (BTreeMap::new(), BTreeMap::<String, Vec<usize>>::new());
        for (position, file) in content.images.iter().enumerate() {
            let Some(name) = plain(&file.relative) else { continue };
            by_stem.entry(without_ending(&name).to_owned()).or_default().push(position);
            by_name.insert(name, position);
        }
        Ok(Self {
            root: root.to_path_buf(),
            absolute,
            files: content.images,
            problems: content.problems,
            by_name,
            by_stem,
        })
    }

    /// The image of a name: its path below the folder, or an absolute one, with or without the ending.
    pub(super) fn find(&self, name: &str) -> Found {
        let Some(below) = self.below_root(name) else { return Found::Outside };
        match self.at(&below) {
            // As Windows writes it; elsewhere a file may have that character in its name.
            Found::Nothing if below.contains('\\') => {
                self.below_root(&below.replace('\\', "/")).map_or(Found::Outside, |below| self.at(&below))
            }
            found => found,
        }
    }

    fn at(&self, below: &str) -> Found {
        let of_stem = || self.by_stem.get(below).map_or(&[][..], Vec::as_slice);
        match self.by_name.get(below) {
            Some(position) => Found::Image(*position),
            None => match of_stem() {
                [] => Found::Nothing,
                [position] => Found::Image(*position),
                [first, second, ..] => Found::Several([*first, *second]),
            },
        }
    }

    fn below_root(&self, name: &str) -> Option<String> {
        let path = Path::new(name);
        if !path.is_absolute() {
            return plain(path);
        }
        let roots = [&self.root, &self.absolute];
        plain(roots.into_iter().find_map(|root| path.strip_prefix(root).ok())?)
    }

    /// An image's path below the folder, as messages show it.
    pub(super) fn name(&self, position: usize) -> String {
        self.files.get(position).map_or_else(String::new, |file| display(&file.relative))
    }

    /// What may help whoever reads that nothing has this name; begins with "; " where there is something.
    pub(super) fn hint(&self, name: &str) -> String {
        let Some(below) = self.below_root(name) else { return String::new() };
        if self.root.join(&below).is_file() {
            return format!(
                "; it is there, but hidden, or with another ending than {}",
                EXTENSIONS.join(", ")
            );
        }
        let folder = |known: &String| known.strip_suffix(&below)?.strip_suffix('/').map(str::to_owned);
        let deeper = self.by_name.keys().chain(self.by_stem.keys()).find_map(folder);
        let above = || self.absolute.parent().filter(|parent| parent.join(&below).is_file());
        match deeper.map(|folder| self.root.join(folder)).or_else(|| above().map(Path::to_path_buf)) {
            Some(folder) => format!("; it is in {}, give that as the folder of the images", display(&folder)),
            None => self.nearest(&below),
        }
    }

    fn nearest(&self, below: &str) -> String {
        let known: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        let nearest = spelling::nearest(below, &known);
        nearest.map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
    }
}

/// A relative path with `/` between its parts and without `.` and `..`; `None` where it leads out, or is not UTF-8.
fn plain(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

fn without_ending(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}
