//! Image folders as they are found in the wild.
//!
//! `root/class/file` and `root/{train,val,test}/class/file`, where folders below a class belong to the class. Names are
//! bytes, not text: everything is ordered bytewise and nothing needs to be UTF-8. Symbolic links are followed; a link
//! to a folder that contains it is reported and not entered. What is wrong with a part of the data becomes a
//! [`Problem`], what makes the data unusable a [`DataError`]. Where a table says what the images show, the folders do not
//! matter: [`ImageFolder::labelled`].

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

mod labels;
mod walk;

pub use labels::{LabelError, LabelFile, LabelSource};

/// Extensions that are taken for images, in lower case.
pub const EXTENSIONS: [&str; 9] = ["bmp", "gif", "jpeg", "jpg", "npy", "png", "tif", "tiff", "webp"];

/// The part of a divided data set that an image belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The data are not divided.
    Unsplit,
    /// `train`.
    Train,
    /// `val`, `valid` or `validation`.
    Validation,
    /// `test`.
    Test,
}

impl Part {
    /// The part that the name of a folder, or a field of a table, stands for, whatever its case.
    fn called(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "train" => Some(Self::Train),
            "val" | "valid" | "validation" => Some(Self::Validation),
            "test" => Some(Self::Test),
            _ => None,
        }
    }

    /// How messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unsplit => "data",
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// How the folders are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `root/class/file`.
    Classes,
    /// `root/part/class/file`.
    PartsAndClasses,
    /// Anyhow: a table has the labels.
    LabelFile,
}

/// One image file with its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it is.
    pub path: PathBuf,
    /// Its path below the root.
    pub relative: PathBuf,
    /// Position of its class in [`ImageFolder::classes`].
    pub class: usize,
    /// The part that it belongs to.
    pub part: Part,
}

/// Something that kept a part of the data from being read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A file or folder that could not be opened or listed.
    #[error("{} cannot be read ({reason}); correct its permissions or remove it", display(path))]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        reason: String,
    },
    /// A symbolic link to a folder that contains the link.
    #[error(
        "{} is a link to {}, a folder that contains it; it was not followed, remove it",
        display(path),
        display(target)
    )]
    Loop {
        /// The link.
        path: PathBuf,
        /// The folder that it leads to.
        target: PathBuf,
    },
    /// A file beside the class folders, which has no label.
    #[error("{} lies beside the class folders and has no class; move it into one", display(path))]
    WithoutClass {
        /// The file.
        path: PathBuf,
    },
    /// A folder beside `train`, `val` and `test`.
    #[error(
        "{} lies beside the folders train, val and test and was left out; move or remove it",
        display(path)
    )]
    BesideParts {
        /// The folder.
        path: PathBuf,
    },
    /// A class folder without images.
    #[error("{} contains no image and is no class; put images in it or remove it", display(path))]
    EmptyClass {
        /// The folder.
        path: PathBuf,
    },
}

impl Problem {
    /// The file or folder concerned.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. }
            | Self::Loop { path, .. }
            | Self::WithoutClass { path }
            | Self::BesideParts { path }
            | Self::EmptyClass { path } => path,
        }
    }
}

/// Why a path cannot be used as data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Nothing is there.
    #[error("{} does not exist; check the spelling{}", display(path), nearest(path))]
    Missing {
        /// The path given.
        path: PathBuf,
    },
    /// A file where a folder of class folders was expected.
    #[error("{} is a file; give the folder that contains one folder for each class", display(path))]
    NotAFolder {
        /// The path given.
        path: PathBuf,
    },
    /// The folder cannot be listed.
    #[error("{} cannot be read ({reason}); correct its permissions", display(path))]
    Unreadable {
        /// The path given.
        path: PathBuf,
        /// The system's answer.
        reason: String,
    },
    /// No image file anywhere below.
    #[error(
        "{} contains no image (looked for {} in all folders below; {ignored} other files)",
        display(path), EXTENSIONS.join(", ")
    )]
    Empty {
        /// The path given.
        path: PathBuf,
        /// Files with other extensions.
        ignored: usize,
    },
    /// Images without class folders.
    #[error(
        "{} holds {images} images directly and no class folders; put each image into a folder named after its class, \
         such as {}/cat/{example}, or give a table of labels with --labels FILE",
        display(path),
        display(path)
    )]
    NoClassFolders {
        /// The path given.
        path: PathBuf,
        /// How many images lie in it.
        images: usize,
        /// The name of one of them.
        example: String,
    },
    /// Nothing to tell apart.
    #[error(
        "{} has a single class, {class:?}; a classifier needs at least two class folders with images",
        display(path)
    )]
    OneClass {
        /// The path given.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// A divided data set without a training part.
    #[error(
        "{} has no folder train with images beside {found}; rename the one to train on to \"train\"",
        display(path)
    )]
    NoTraining {
        /// The path given.
        path: PathBuf,
        /// The part folders that are there.
        found: String,
    },
    /// A class that could never be predicted.
    #[error(
        "the class {class:?} has images in {part} but none in train; add some to {}, or remove the class",
        display(&path.join("train").join(class))
    )]
    ClassNotInTraining {
        /// The path given.
        path: PathBuf,
        /// The class.
        class: String,
        /// A part that has it.
        part: &'static str,
    },
}

/// A path as messages show it: bytes that are not UTF-8 appear as `\xNN`, control characters are escaped.
pub fn display(path: &Path) -> String {
    display_name(path.as_os_str())
}

/// A file or class name as messages show it; see [`display`].
pub fn display_name(name: &std::ffi::OsStr) -> String {
    let mut shown = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    shown
}

/// The nearest folder above a missing path that exists, as a hint.
fn nearest(path: &Path) -> String {
    let existing = path.ancestors().skip(1).find(|ancestor| ancestor.is_dir());
    existing.map_or_else(String::new, |folder| format!(" ({} exists)", display(folder)))
}

/// A folder of labelled images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    /// The folder given.
    pub root: PathBuf,
    /// Class names as shown to people, in bytewise order of the folder names; an item's class is a position in it.
    pub classes: Vec<String>,
    /// The images in bytewise order of their relative paths.
    pub items: Vec<Item>,
    /// How the folders are arranged.
    pub layout: Layout,
    /// Number of files in class folders that were passed over for their extension.
    pub ignored: usize,
    /// What kept a part of the data from being read.
    pub problems: Vec<Problem>,
    /// The table that the labels come from; `None` where folders are classes.
    pub labels: Option<LabelSource>,
}

/// An image before its class has a number.
struct Labelled {
    file: walk::File,
    class: OsString,
    part: Part,
}

/// What a scan collects on its way.
#[derive(Default)]
struct Scan {
    images: Vec<Labelled>,
    ignored: usize,
    problems: Vec<Problem>,
}

impl ImageFolder {
    /// Lists the images below `root`. Nothing is decoded.
    ///
    /// # Errors
    /// The folder is missing, unreadable or empty, has no class folders or a single class, has no training part, or
    /// has a class that the training part lacks.
    pub fn scan(root: &Path) -> Result<Self, DataError> {
        let listing = list_root(root)?;
        let parts: Vec<(Part, walk::File)> = listing
            .folders
            .iter()
            .filter_map(|folder| Some((Part::called(folder.path.file_name()?.to_str()?)?, folder.clone())))
            .collect();
        let layout = layout(&parts);
        // A licence or a table beside the class folders is no image gone astray, and is not counted.
        let mut scan = Scan { problems: listing.problems.clone(), ..Scan::default() };
        match layout {
            Layout::Classes => scan.classes(&listing, Part::Unsplit),
            _ => scan.parts(&listing, &parts),
        }
        scan.finish(root, layout, &listing)
    }

    /// Positions of the items in a part, ascending.
    pub fn part(&self, part: Part) -> Vec<usize> {
        self.items.iter().enumerate().filter(|(_, item)| item.part == part).map(|(index, _)| index).collect()
    }
}

fn list_root(root: &Path) -> Result<walk::Listing, DataError> {
    let path = root.to_path_buf();
    let metadata = std::fs::metadata(root).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => DataError::Missing { path: path.clone() },
        _ => DataError::Unreadable { path: path.clone(), reason: error.to_string() },
    })?;
    if !metadata.is_dir() {
        return Err(DataError::NotAFolder { path });
    }
    walk::list(root, Path::new("")).map_err(|error| DataError::Unreadable { path, reason: error.to_string() })
}

/// Part folders make a divided data set when there is a `train` among them, or two of them; a lone `test` or `val` is
/// as likely the name of a class.
fn layout(parts: &[(Part, walk::File)]) -> Layout {
    let has_training = parts.iter().any(|(part, _)| *part == Part::Train);
    if has_training || parts.len() > 1 { Layout::PartsAndClasses } else { Layout::Classes }
}

impl Scan {
    /// Takes every folder of a listing for a class.
    fn classes(&mut self, listing: &walk::Listing, part: Part) {
        for folder in &listing.folders {
            let Some(class) = folder.path.file_name() else { continue };
            let content = walk::walk(folder);
            self.ignored += content.ignored;
            if content.images.is_empty() && content.problems.is_empty() {
                self.problems.push(Problem::EmptyClass { path: folder.path.clone() });
            }
            self.problems.extend(content.problems);
            let labelled = |file| Labelled { file, class: class.to_owned(), part };
            self.images.extend(content.images.into_iter().map(labelled));
        }
        self.problems
            .extend(listing.images.iter().map(|file| Problem::WithoutClass { path: file.path.clone() }));
    }

    fn parts(&mut self, listing: &walk::Listing, parts: &[(Part, walk::File)]) {
        for (part, folder) in parts {
            match walk::list(&folder.path, &folder.relative) {
                Ok(inside) => {
                    self.ignored += inside.ignored;
                    self.problems.extend(inside.problems.iter().cloned());
                    self.classes(&inside, *part);
                }
                Err(error) => {
                    let problem =
                        Problem::Unreadable { path: folder.path.clone(), reason: error.to_string() };
                    self.problems.push(problem);
                }
            }
        }
        let is_part = |folder: &walk::File| parts.iter().any(|(_, part)| part.path == folder.path);
        let beside = listing.folders.iter().filter(|folder| !is_part(folder));
        self.problems.extend(beside.map(|folder| Problem::BesideParts { path: folder.path.clone() }));
        self.problems
            .extend(listing.images.iter().map(|file| Problem::WithoutClass { path: file.path.clone() }));
    }

    fn finish(
        mut self,
        root: &Path,
        layout: Layout,
        listing: &walk::Listing,
    ) -> Result<ImageFolder, DataError> {
        self.images.sort_by(|a, b| a.file.bytes().cmp(b.file.bytes()));
        self.check(root, layout, listing)?;
        let (classes, items) = numbered(self.images);
        let (ignored, problems) = (self.ignored, self.problems);
        Ok(ImageFolder { root: root.to_path_buf(), classes, items, layout, ignored, problems, labels: None })
    }

    fn check(&self, root: &Path, layout: Layout, listing: &walk::Listing) -> Result<(), DataError> {
        let path = root.to_path_buf();
        let Some(first) = self.images.first() else {
            return Err(match listing.images.first() {
                Some(image) => DataError::NoClassFolders {
                    path,
                    images: listing.images.len(),
                    example: image.path.file_name().map_or_else(String::new, display_name),
                },
                None => DataError::Empty { path, ignored: self.ignored + listing.ignored },
            });
        };
        if layout == Layout::PartsAndClasses {
            self.check_training(root)?;
        }
        if self.images.iter().all(|image| image.class == first.class) {
            return Err(DataError::OneClass { path, class: display_name(&first.class) });
        }
        Ok(())
    }

    fn check_training(&self, root: &Path) -> Result<(), DataError> {
        let path = root.to_path_buf();
        let (training, others): (Vec<&Labelled>, _) =
            self.images.iter().partition(|image| image.part == Part::Train);
        if training.is_empty() {
            let found: BTreeSet<&str> = self.images.iter().map(|image| image.part.name()).collect();
            return Err(DataError::NoTraining {
                path,
                found: found.into_iter().collect::<Vec<_>>().join(" and "),
            });
        }
        let trained: BTreeSet<&OsString> = training.iter().map(|image| &image.class).collect();
        match others.iter().find(|image| !trained.contains(&image.class)) {
            Some(image) => {
                let class = display_name(&image.class);
                Err(DataError::ClassNotInTraining { path, class, part: image.part.name() })
            }
            None => Ok(()),
        }
    }
}

/// The classes in bytewise order, and the images with the numbers of theirs.
fn numbered(images: Vec<Labelled>) -> (Vec<String>, Vec<Item>) {
    let names: BTreeSet<&OsString> = images.iter().map(|image| &image.class).collect();
    let names: Vec<OsString> = names.into_iter().cloned().collect();
    let item = |image: Labelled| Item {
        class: names.binary_search(&image.class).unwrap_or(0),
        path: image.file.path,
        relative: image.file.relative,
        part: image.part,
    };
    let items = images.into_iter().map(item).collect();
    (names.iter().map(|name| display_name(name)).collect(), items)
}

/// An image file without a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlabelled {
    /// Where it is.
    pub path: PathBuf,
    /// Its path below the folder given, or its name if it was given itself.
    pub relative: PathBuf,
}

/// Images to predict or embed, and what kept others from being read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnlabelledImages {
    /// The images: the paths given in their order, the images of each folder in bytewise order of relative path.
    pub items: Vec<Unlabelled>,
    /// Number of files in folders that were passed over for their extension.
    pub ignored: usize,
    /// What kept a part of the folders from being read.
    pub problems: Vec<Problem>,
}

/// Lists files and the images in folders, however deep. A file that is given itself counts whatever its extension.
///
/// # Errors
/// A path is missing or unreadable, or there is no image at all.
pub fn scan_unlabelled(paths: &[PathBuf]) -> Result<UnlabelledImages, DataError> {
    let mut found = UnlabelledImages::default();
    for path in paths {
        if path.is_dir() {
            list_root(path)?;
            let content = walk::walk(&walk::File { path: path.clone(), relative: PathBuf::new() });
            found.ignored += content.ignored;
            found.problems.extend(content.problems);
            found.items.extend(content.images.into_iter().map(Unlabelled::from));
        } else if std::fs::symlink_metadata(path).is_ok() {
            let relative = path.file_name().map(PathBuf::from).unwrap_or_default();
            found.items.push(Unlabelled { path: path.clone(), relative });
        } else {
            return Err(DataError::Missing { path: path.clone() });
        }
    }
    match paths.first() {
        Some(path) if found.items.is_empty() => {
            Err(DataError::Empty { path: path.clone(), ignored: found.ignored })
        }
        _ => Ok(found),
    }
}

impl From<walk::File> for Unlabelled {
    fn from(file: walk::File) -> Self {
        Self { path: file.path, relative: file.relative }
    }
}
