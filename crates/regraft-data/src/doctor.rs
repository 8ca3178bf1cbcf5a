//! The data doctor: what is wrong or remarkable about a folder of images, before any time is spent on it.
//!
//! A finding is one sentence that names files and says what to do. Lists are capped, so that ten thousand classes or a
//! million bad files stay readable.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::duplicates::{exact_groups, group_ids, near_groups};
use crate::inspect::Inspection;
use crate::source::{ImageFolder, Part, Problem, display};

/// Files that one finding lists; the rest is counted.
pub const LISTED_FILES: usize = 20;
/// Findings that one check gives before it sums up the rest.
const LISTED_GROUPS: usize = 20;
/// Names that a sentence holds.
const NAMED: usize = 3;
/// Times that the shorter side of the largest image may exceed that of the smallest.
const SIZE_RATIO: usize = 8;
/// Times that the largest class may exceed the smallest.
const CLASS_RATIO: usize = 10;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Fitting cannot go on.
    Error,
    /// Results will be worse or misleading.
    Warning,
    /// Worth knowing.
    Note,
}

/// One thing that the doctor found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What kind it is: a stable name for machines, such as `conflicting-labels`.
    pub code: &'static str,
    /// One sentence for people: what, where, and what to do.
    pub message: String,
    /// The files or folders concerned, below the root; at most [`LISTED_FILES`].
    pub files: Vec<String>,
    /// How many more there are.
    pub omitted: usize,
}

impl Finding {
    fn new(
        severity: Severity,
        code: &'static str,
        message: String,
        files: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut files: Vec<String> = files.into_iter().collect();
        let omitted = files.len().saturating_sub(LISTED_FILES);
        files.truncate(LISTED_FILES);
        Self { severity, code, message, files, omitted }
    }
}

/// What the checks look at.
struct Examination<'a> {
    folder: &'a ImageFolder,
    inspections: &'a [Result<Inspection, String>],
    folds: usize,
    exact: Vec<Vec<usize>>,
    near: Vec<Vec<usize>>,
    /// For each class the positions of its readable images that can be trained on.
    training: Vec<Vec<usize>>,
}

/// Examines a folder. `inspections` has one entry for each item: its inspection, or why the file gave none. `folds` is
/// the number of cross-validation folds that is planned. Findings come by severity, errors first.
pub fn examine(
    folder: &ImageFolder,
    inspections: &[Result<Inspection, String>],
    folds: usize,
) -> Vec<Finding> {
    let readable: Vec<Option<&Inspection>> =
        inspections.iter().map(|inspection| inspection.as_ref().ok()).collect();
    let examination = Examination {
        folder,
        inspections,
        folds,
        exact: exact_groups(&readable),
        near: near_groups(&readable),
        training: training_images(folder, &readable),
    };
    let checks = [
        unreadable_files,
        problems,
        small_classes,
        classes_of_duplicates,
        conflicting_labels,
        duplicates_across_parts,
        classes_missing_in_parts,
        class_imbalance,
        different_sizes,
        transparent_images,
        different_channels,
        duplicates,
        class_order,
        ignored_files,
        images_without_row,
    ];
    let mut findings: Vec<Finding> = checks.iter().flat_map(|check| check(&examination)).collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn training_images(folder: &ImageFolder, readable: &[Option<&Inspection>]) -> Vec<Vec<usize>> {
    let mut training = vec![Vec::new(); folder.classes.len()];
    for (position, (item, inspection)) in folder.items.iter().zip(readable).enumerate() {
        let usable = inspection.is_some() && matches!(item.part, Part::Train | Part::Unsplit);
        if let Some(class) = training.get_mut(item.class).filter(|_| usable) {
            class.push(position);
        }
    }
    training
}

impl Examination<'_> {
    fn file(&self, position: usize) -> String {
        self.folder.items.get(position).map_or_else(String::new, |item| display(&item.relative))
    }

    fn files(&self, positions: &[usize]) -> Vec<String> {
        positions.iter().map(|position| self.file(*position)).collect()
    }

    fn class_name(&self, class: usize) -> &str {
        self.folder.classes.get(class).map_or("", String::as_str)
    }

    fn classes_of(&self, positions: &[usize]) -> BTreeSet<usize> {
        positions.iter().filter_map(|position| Some(self.folder.items.get(*position)?.class)).collect()
    }

    fn part_of(&self, position: usize) -> Part {
        self.folder.items.get(position).map_or(Part::Unsplit, |item| item.part)
    }

    /// The groups whose members lie in several parts, or those whose members lie in one.
    fn groups<'g>(&self, groups: &'g [Vec<usize>], across_parts: bool) -> Vec<&'g Vec<usize>> {
        let parts =
            |group: &Vec<usize>| group.iter().map(|member| self.part_of(*member)).collect::<BTreeSet<_>>();
        groups.iter().filter(|group| (parts(group).len() > 1) == across_parts).collect()
    }

    /// The classes whose number of training images a test picks.
    fn classes_where(&self, picks: impl Fn(usize) -> bool) -> Vec<usize> {
        let sizes = self.training.iter().map(Vec::len).enumerate();
        sizes.filter(|(_, size)| picks(*size)).map(|(class, _)| class).collect()
    }

    fn name_classes(&self, classes: &[usize]) -> String {
        named(classes.iter().map(|class| format!("{:?}", self.class_name(*class))))
    }
}

/// "a, b, c and 7 more".
fn named(names: impl ExactSizeIterator<Item = String>) -> String {
    let count = names.len();
    let listed = names.take(NAMED).collect::<Vec<_>>().join(", ");
    if count > NAMED { format!("{listed} and {} more", count - NAMED) } else { listed }
}

/// "1 file", "2 files".
fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix("s")) {
        (1, _) => format!("1 {noun}"),
        (_, Some(_)) => format!("{count} {noun}es"),
        (_, None) => format!("{count} {noun}s"),
    }
}

fn unreadable_files(examination: &Examination) -> Vec<Finding> {
    let failed = |(position, inspection): (usize, &Result<Inspection, String>)| {
        Some((examination.file(position), inspection.as_ref().err()?.clone()))
    };
    let failed: Vec<(String, String)> =
        examination.inspections.iter().enumerate().filter_map(failed).collect();
    if failed.is_empty() {
        return Vec::new();
    }
    let reasons = named(failed.iter().map(|(file, reason)| format!("{file}: {reason}")));
    let message = format!("{} cannot be read and will be left out: {reasons}", counted(failed.len(), "file"));
    vec![Finding::new(
        Severity::Warning,
        "unreadable-file",
        message,
        failed.into_iter().map(|(file, _)| file),
    )]
}

fn problems(examination: &Examination) -> Vec<Finding> {
    let mut by_code: BTreeMap<&'static str, Vec<&Problem>> = BTreeMap::new();
    for problem in &examination.folder.problems {
        by_code.entry(problem_code(problem)).or_default().push(problem);
    }
    let finding = |(code, problems): (&'static str, Vec<&Problem>)| {
        let more = match problems.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more like this"),
        };
        let message = problems.first().map_or_else(String::new, |problem| format!("{problem}{more}"));
        Finding::new(Severity::Warning, code, message, problems.iter().map(|problem| display(problem.path())))
    };
    by_code.into_iter().map(finding).collect()
}

fn problem_code(problem: &Problem) -> &'static str {
    match problem {
        Problem::Unreadable { .. } => "unreadable-path",
        Problem::Loop { .. } => "link-loop",
        Problem::WithoutClass { .. } => "image-without-class",
        Problem::BesideParts { .. } => "folder-beside-parts",
        Problem::EmptyClass { .. } => "empty-class",
    }
}

fn small_classes(examination: &Examination) -> Vec<Finding> {
    let folds = examination.folds;
    let report = |severity, code, classes: Vec<usize>, complaint: &str| {
        let names = examination.name_classes(&classes);
        let message = format!("{} {complaint}: {names}", counted(classes.len(), "class"));
        let files = classes.iter().map(|class| examination.class_name(*class).to_owned());
        (!classes.is_empty()).then(|| Finding::new(severity, code, message, files))
    };
    let none = "without a readable training image; add images or remove the folder";
    let one = "with a single training image, which cannot be in training and in evaluation; add images";
    let few =
        format!("with fewer training images than the {folds} folds, so some folds lack them; add images");
    let checks = [
        report(Severity::Error, "class-without-images", examination.classes_where(|size| size == 0), none),
        report(Severity::Error, "class-with-one-image", examination.classes_where(|size| size == 1), one),
        report(
            Severity::Warning,
            "class-smaller-than-folds",
            examination.classes_where(|size| size > 1 && size < folds),
            &few,
        ),
    ];
    checks.into_iter().flatten().collect()
}

/// Classes whose training images are all near duplicates of each other: no split can keep the class on both sides.
fn classes_of_duplicates(examination: &Examination) -> Vec<Finding> {
    let groups = group_ids(examination.folder.items.len(), &examination.near);
    let single = |members: &&Vec<usize>| {
        let groups: BTreeSet<_> = members.iter().filter_map(|position| groups.get(*position)).collect();
        members.len() > 1 && groups.len() == 1
    };
    let found = examination.training.iter().filter(single).take(LISTED_GROUPS).map(|members| {
        let class = examination.classes_of(members).first().copied().unwrap_or(0);
        let message = format!(
            "all {} training images of the class {:?} are near duplicates of each other; add different ones",
            members.len(),
            examination.class_name(class)
        );
        Finding::new(Severity::Error, "class-of-duplicates", message, examination.files(members))
    });
    found.collect()
}

fn conflicting_labels(examination: &Examination) -> Vec<Finding> {
    let conflicting: Vec<&Vec<usize>> =
        examination.exact.iter().filter(|group| examination.classes_of(group).len() > 1).collect();
    each_group(&conflicting, Severity::Warning, "conflicting-labels", |group| {
        let classes: Vec<usize> = examination.classes_of(group).into_iter().collect();
        let message = format!(
            "{} have the same pixels but different classes ({}); keep the right one",
            named(examination.files(group).into_iter()),
            examination.name_classes(&classes)
        );
        (message, examination.files(group))
    })
}

fn duplicates_across_parts(examination: &Examination) -> Vec<Finding> {
    let across = |groups| examination.groups(groups, true);
    let exact = across(&examination.exact);
    let near: Vec<&Vec<usize>> =
        across(&examination.near).into_iter().filter(|group| !exact.contains(group)).collect();
    let mut findings = each_group(&exact, Severity::Warning, "exact-duplicates-across-parts", |group| {
        describe_across(examination, group, "the same")
    });
    findings.extend(each_group(&near, Severity::Warning, "near-duplicates-across-parts", |group| {
        describe_across(examination, group, "nearly the same")
    }));
    findings
}

fn describe_across(examination: &Examination, group: &[usize], likeness: &str) -> (String, Vec<String>) {
    let (first, second) = across(examination, group);
    let message = format!(
        "{} in {} and {} in {} show {likeness} image, which makes the evaluation too good; remove one of them",
        examination.file(first),
        examination.part_of(first).name(),
        examination.file(second),
        examination.part_of(second).name()
    );
    (message, examination.files(group))
}

/// The first member of a group and the first in another part.
fn across(examination: &Examination, group: &[usize]) -> (usize, usize) {
    let first = group.first().copied().unwrap_or(0);
    let other = group.iter().find(|position| examination.part_of(**position) != examination.part_of(first));
    (first, other.copied().unwrap_or(first))
}

/// One finding a group, up to a limit, and one for the rest.
fn each_group(
    groups: &[&Vec<usize>],
    severity: Severity,
    code: &'static str,
    describe: impl Fn(&Vec<usize>) -> (String, Vec<String>),
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = groups
        .iter()
        .take(LISTED_GROUPS)
        .map(|group| {
            let (message, files) = describe(group);
            Finding::new(severity, code, message, files)
        })
        .collect();
    let rest = groups.get(LISTED_GROUPS..).unwrap_or_default();
    if !rest.is_empty() {
        let message = format!("{} more groups of images like the {LISTED_GROUPS} above", rest.len());
        findings.push(Finding::new(severity, code, message, rest.iter().flat_map(|group| describe(group).1)));
    }
    findings
}

fn duplicates(examination: &Examination) -> Vec<Finding> {
    let exact = examination.groups(&examination.exact, false);
    let known: BTreeSet<&Vec<usize>> = exact.iter().copied().collect();
    let near =
        examination.groups(&examination.near, false).into_iter().filter(|group| !known.contains(group));
    let near = describe_duplicates(examination, "near-duplicates", "near", &near.collect::<Vec<_>>());
    describe_duplicates(examination, "exact-duplicates", "exact", &exact).into_iter().chain(near).collect()
}

fn describe_duplicates(
    examination: &Examination,
    code: &'static str,
    likeness: &str,
    groups: &[&Vec<usize>],
) -> Option<Finding> {
    let example = examination.files(groups.first()?).into_iter().take(2).collect::<Vec<_>>().join(" and ");
    let images: usize = groups.iter().map(|group| group.len()).sum();
    let message = format!(
        "{images} images are {likeness} duplicates of each other in {}, such as {example}; every split keeps a group \
         on one side, remove the copies to train faster",
        counted(groups.len(), "group")
    );
    let files = groups.iter().flat_map(|group| examination.files(group));
    Some(Finding::new(Severity::Note, code, message, files))
}

fn classes_missing_in_parts(examination: &Examination) -> Vec<Finding> {
    let folder = examination.folder;
    let parts: BTreeSet<Part> = folder.items.iter().map(|item| item.part).collect();
    let missing = |part: &Part| {
        let there: BTreeSet<usize> =
            folder.items.iter().filter(|item| item.part == *part).map(|item| item.class).collect();
        let absent: Vec<usize> = (0..folder.classes.len()).filter(|class| !there.contains(class)).collect();
        let message = format!(
            "{} without images in {}, so nothing is known of how well they are told apart: {}; add images",
            counted(absent.len(), "class"),
            part.name(),
            examination.name_classes(&absent)
        );
        let files = absent.iter().map(|class| examination.class_name(*class).to_owned());
        (!absent.is_empty()).then(|| Finding::new(Severity::Warning, "class-missing-in-part", message, files))
    };
    parts.iter().filter_map(missing).collect()
}

fn class_imbalance(examination: &Examination) -> Vec<Finding> {
    let sizes = || examination.training.iter().map(Vec::len).enumerate().filter(|(_, size)| *size > 0);
    let (Some((largest, most)), Some((smallest, fewest))) = (
        sizes().max_by_key(|(class, size)| (*size, usize::MAX - class)),
        sizes().min_by_key(|(_, size)| *size),
    ) else {
        return Vec::new();
    };
    if most < CLASS_RATIO * fewest {
        return Vec::new();
    }
    let (largest, smallest) = (examination.class_name(largest), examination.class_name(smallest));
    let message = format!(
        "the class {largest:?} has {most} training images and {smallest:?} only {fewest}; read balanced accuracy \
         instead of accuracy, or add images of the small classes"
    );
    vec![Finding::new(
        Severity::Warning,
        "class-imbalance",
        message,
        [largest.to_owned(), smallest.to_owned()],
    )]
}

fn different_sizes(examination: &Examination) -> Vec<Finding> {
    let readable = || {
        let inspections = examination.inspections.iter().enumerate();
        inspections.filter_map(|(position, inspection)| Some((position, inspection.as_ref().ok()?)))
    };
    let side = |inspection: &Inspection| inspection.width.min(inspection.height);
    let smallest = readable().min_by_key(|(_, inspection)| side(inspection));
    let largest = readable().min_by_key(|(_, inspection)| Reverse(side(inspection)));
    let (Some(smallest), Some(largest)) = (smallest, largest) else {
        return Vec::new();
    };
    if side(largest.1) < SIZE_RATIO * side(smallest.1) {
        return Vec::new();
    }
    let size = |(position, inspection): (usize, &Inspection)| {
        format!("{}×{} pixels ({})", inspection.width, inspection.height, examination.file(position))
    };
    let message = format!(
        "the images differ wildly in size, from {} to {}; make sure that size does not give the class away",
        size(smallest),
        size(largest)
    );
    vec![Finding::new(
        Severity::Note,
        "different-sizes",
        message,
        examination.files(&[smallest.0, largest.0]),
    )]
}

fn transparent_images(examination: &Examination) -> Vec<Finding> {
    let transparent = |(position, inspection): (usize, &Result<Inspection, String>)| {
        inspection.as_ref().is_ok_and(|inspection| inspection.transparent).then_some(position)
    };
    let positions: Vec<usize> = examination.inspections.iter().enumerate().filter_map(transparent).collect();
    if positions.is_empty() {
        return Vec::new();
    }
    let message = format!(
        "{} with transparent pixels, whose hidden colour is what the network sees (as with Pillow's \
         convert(\"RGB\")); flatten them on one background, unless the hidden colours make sense",
        counted(positions.len(), "image")
    );
    vec![Finding::new(Severity::Warning, "transparent-images", message, examination.files(&positions))]
}

/// Images of which some have colours and some do not, or not as many bands.
fn different_channels(examination: &Examination) -> Vec<Finding> {
    let mut by_kind: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (position, inspection) in examination.inspections.iter().enumerate() {
        if let Ok(Inspection { channels, .. }) = inspection {
            let kind = if channels.is_colour() { "colour".to_owned() } else { channels.name() };
            by_kind.entry(kind).or_default().push(position);
        }
    }
    if by_kind.len() < 2 {
        return Vec::new();
    }
    let kinds = by_kind.iter().map(|(kind, positions)| {
        let example = positions.first().map_or_else(String::new, |position| examination.file(*position));
        format!("{} of {kind} (such as {example})", positions.len())
    });
    let message = format!(
        "the images have different channels: {}; make sure that this does not give the class away",
        kinds.collect::<Vec<_>>().join(", ")
    );
    let fewest = by_kind.values().min_by_key(|positions| positions.len());
    let files = fewest.map_or_else(Vec::new, |positions| examination.files(positions));
    vec![Finding::new(Severity::Note, "different-channels", message, files)]
}

/// Class numbers follow the bytes of the names; where a person would expect another order, that is said.
fn class_order(examination: &Examination) -> Vec<Finding> {
    let classes = &examination.folder.classes;
    let note = |code, (first, second): (&String, &String), reason: &str| {
        let message = format!(
            "the class {first:?} is numbered before {second:?} because names are ordered {reason}; use the names, \
             which are stored with the model, not the numbers"
        );
        Finding::new(Severity::Note, code, message, [first.clone(), second.clone()])
    };
    let pair = |expected: &dyn Fn(&String, &String) -> bool| {
        classes.iter().zip(classes.iter().skip(1)).find(|(first, second)| !expected(first, second))
    };
    let numbers: Option<Vec<u64>> = classes.iter().map(|class| class.parse().ok()).collect();
    if numbers.is_some() {
        let value = |class: &String| class.parse::<u64>().unwrap_or(0);
        let pair = pair(&|first, second| value(first) <= value(second));
        return pair
            .map(|pair| note("numeric-class-order", pair, "as text, not as numbers"))
            .into_iter()
            .collect();
    }
    let pair = pair(&|first, second| first.to_lowercase() <= second.to_lowercase());
    pair.map(|pair| note("class-order", pair, "by their bytes, capitals first")).into_iter().collect()
}

fn ignored_files(examination: &Examination) -> Vec<Finding> {
    let ignored = examination.folder.ignored;
    let message = format!(
        "{} passed over because of the extension ({} are read); rename or convert them if they are images",
        if ignored == 1 { "1 file was".to_owned() } else { format!("{ignored} files were") },
        crate::source::EXTENSIONS.join(", ")
    );
    (ignored > 0).then(|| Finding::new(Severity::Note, "ignored-files", message, [])).into_iter().collect()
}

fn images_without_row(examination: &Examination) -> Vec<Finding> {
    let labels = examination.folder.labels.as_ref().filter(|labels| labels.without_row > 0);
    let finding = labels.map(|labels| {
        let images = counted(labels.without_row, "image");
        let message =
            format!("left out: {images} without a row in {}; add rows to use them", display(&labels.path));
        Finding::new(Severity::Note, "image-without-row", message, [])
    });
    finding.into_iter().collect()
}
