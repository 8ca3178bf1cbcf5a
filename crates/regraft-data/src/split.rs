//! Dividing examples into training and evaluation sides: stratified by class, whole groups on one side, seeded.
//!
//! Groups hold images that must not be told apart by a side, such as near duplicates: a test image whose copy was
//! trained on measures memory. All functions are greedy: groups are shuffled, ordered from the least to the most
//! balanced, and each goes where it leaves the class proportions best. Folds follow the rule of scikit-learn's
//! `StratifiedGroupKFold`; without groups that is a stratified k-fold.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use regraft_system::random;

use crate::source::Part;

/// What is divided: a label and a group for every example.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    /// Class of each example, a position in `classes`.
    pub labels: &'a [usize],
    /// Group of each example, any numbers; as long as `labels`.
    pub groups: &'a [usize],
    /// Class names, for messages.
    pub classes: &'a [String],
}

/// Why examples cannot be divided as asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SplitError {
    /// `labels` and `groups` differ in length, or a label is no position in `classes`.
    #[error(
        "{labels} labels, {groups} groups, {classes} classes: labels and groups must be equally many, and every label \
         a class"
    )]
    Inconsistent {
        /// Number of labels.
        labels: usize,
        /// Number of groups.
        groups: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A share outside ]0, 0.5].
    #[error("a share of {fraction} cannot be held out; give a number above 0, at most 0.5")]
    Fraction {
        /// The share asked for.
        fraction: f64,
    },
    /// Fewer than two folds, or more folds than groups.
    #[error(
        "{folds} folds cannot be made of {groups} groups of images; use 2 to {groups} folds, or add images"
    )]
    Folds {
        /// Folds asked for.
        folds: usize,
        /// Groups there are.
        groups: usize,
    },
    /// A class that one fold swallows, so that training without that fold would not know it.
    #[error(
        "the class {class:?} has too few images to be divided: those for training ({images}, near duplicates counted \
         once: {groups}) fall into one fold; add different images of it, merge it with another class, or remove it"
    )]
    ClassInOneFold {
        /// The class.
        class: String,
        /// Its images.
        images: usize,
        /// Its groups.
        groups: usize,
    },
    /// Nothing would be held out.
    #[error(
        "no image can be held out of {images} in {groups} groups of near duplicates without losing a class from \
         training; add images, or divide them yourself into the folders train and test"
    )]
    NothingHeldOut {
        /// All images.
        images: usize,
        /// All groups.
        groups: usize,
    },
    /// A subset smaller than the number of classes, or larger than the whole.
    #[error(
        "a subset of {size} examples cannot be drawn from {examples} in {classes} classes; use {classes} to {examples}"
    )]
    SubsetSize {
        /// The size asked for.
        size: usize,
        /// Examples there are.
        examples: usize,
        /// Classes that occur.
        classes: usize,
    },
}

/// Which examples serve what: positions, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Division {
    /// To fit on.
    pub train: Vec<usize>,
    /// To select on. Empty where selection is to cross-validate inside `train`.
    pub validation: Vec<usize>,
    /// To report on; nothing is selected by it.
    pub test: Vec<usize>,
}

/// Divides examples: as the parts of their folders say, and where those name no evaluation part, by holding out a
/// `fraction`. With one evaluation part, `val` or `test`, that is the test set; with both, `val` serves selection.
///
/// `parts` has one entry for each example.
///
/// # Errors
/// As [`hold_out`], where something has to be held out.
pub fn divide(parts: &[Part], examples: &Examples, fraction: f64, seed: u64) -> Result<Division, SplitError> {
    let of = |wanted: Part| {
        let of_part = parts.iter().enumerate().filter(|(_, part)| **part == wanted);
        of_part.map(|(position, _)| position).collect::<Vec<_>>()
    };
    let [train, validation, test] = [Part::Train, Part::Validation, Part::Test].map(of);
    match (validation.is_empty(), test.is_empty()) {
        (true, true) => {
            let (train, test) = hold_out(examples, fraction, seed)?;
            Ok(Division { train, validation, test })
        }
        (false, true) => Ok(Division { train, validation: Vec::new(), test: validation }),
        (_, false) => Ok(Division { train, validation, test }),
    }
}

/// Positions of the training and of the held-out examples, both ascending. Without groups every class gives its share
/// to within one example; every class stays in training.
///
/// # Errors
/// The share is not in ]0, 0.5], or the groups leave nothing to hold out.
pub fn hold_out(
    examples: &Examples,
    fraction: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), SplitError> {
    if !(fraction > 0.0 && fraction <= 0.5) {
        return Err(SplitError::Fraction { fraction });
    }
    let groups = Group::ordered(examples, seed)?;
    let totals = class_totals(examples);
    let mut wanted = HeldOut::new(&totals, fraction, seed);
    let held: Vec<bool> = groups.iter().map(|group| wanted.place(group)).collect();
    let held = return_missing_classes(&groups, held, totals.len());
    if !held.contains(&true) {
        return Err(SplitError::NothingHeldOut { images: examples.labels.len(), groups: groups.len() });
    }
    let members = |side: bool| {
        let chosen = groups.iter().zip(&held).filter(|(_, held)| **held == side);
        let mut members: Vec<usize> = chosen.flat_map(|(group, _)| group.members.clone()).collect();
        members.sort_unstable();
        members
    };
    Ok((members(false), members(true)))
}

/// The fold, 0 to `folds − 1`, of each example.
///
/// # Errors
/// There are fewer than two folds or fewer groups than folds, or a class lies in one fold only.
pub fn stratified_folds(examples: &Examples, folds: usize, seed: u64) -> Result<Vec<usize>, SplitError> {
    let groups = Group::ordered(examples, seed)?;
    if folds < 2 || folds > groups.len() {
        return Err(SplitError::Folds { folds, groups: groups.len() });
    }
    let mut balance = FoldBalance::new(class_totals(examples), folds);
    let mut fold_of = vec![0; examples.labels.len()];
    for group in &groups {
        let fold = balance.best_fold(group);
        balance.add(group, fold);
        for member in &group.members {
            if let Some(slot) = fold_of.get_mut(*member) {
                *slot = fold;
            }
        }
    }
    check_every_training_side(examples, &groups, &balance)?;
    Ok(fold_of)
}

/// Random subsets of the given sizes, in the order given, each stratified and containing the smaller ones: ascending
/// positions in `labels`. Every subset has every class that occurs.
///
/// # Errors
/// A size is below the number of classes that occur or above the number of examples.
pub fn nested_subsets(labels: &[usize], sizes: &[usize], seed: u64) -> Result<Vec<Vec<usize>>, SplitError> {
    let order = stratified_order(labels, seed);
    let classes = labels.iter().collect::<std::collections::BTreeSet<_>>().len();
    let subset = |&size: &usize| match order.get(..size) {
        Some(chosen) if size >= classes => {
            let mut chosen = chosen.to_vec();
            chosen.sort_unstable();
            Ok(chosen)
        }
        _ => Err(SplitError::SubsetSize { size, examples: labels.len(), classes }),
    };
    sizes.iter().map(subset).collect()
}

/// An order of which every beginning is stratified: one example of each class, then each class at even distances.
fn stratified_order(labels: &[usize], seed: u64) -> Vec<usize> {
    let mut by_class: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (position, label) in labels.iter().enumerate() {
        by_class.entry(*label).or_default().push(position);
    }
    let mut ranked = Vec::with_capacity(labels.len());
    for (class, mut members) in by_class {
        random::shuffle(&mut members, &mut random::stream(seed, "nested subsets", class as u64));
        let size = members.len() as f64;
        let rank = |index: usize| if index == 0 { 0.0 } else { (index as f64 + 0.5) / size };
        ranked.extend(members.into_iter().enumerate().map(|(index, position)| (rank(index), position)));
    }
    // Shuffled first, so that classes of equal size do not always come in the same order.
    random::shuffle(&mut ranked, &mut random::stream(seed, "nested subsets, classes", 0));
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    ranked.into_iter().map(|(_, position)| position).collect()
}

/// Examples that stay together.
struct Group {
    members: Vec<usize>,
    /// Number of members of each class that occurs, by class.
    counts: Vec<(usize, usize)>,
}

impl Group {
    /// All groups in the order of placement: shuffled, then those that are hardest to balance first, which are those
    /// whose class counts vary most. Single examples come last, one class after the other, which evens out the sizes
    /// of the folds.
    fn ordered(examples: &Examples, seed: u64) -> Result<Vec<Self>, SplitError> {
        check(examples)?;
        let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (position, group) in examples.groups.iter().enumerate() {
            members.entry(*group).or_default().push(position);
        }
        let mut groups: Vec<Self> =
            members.into_values().map(|members| Self::new(members, examples.labels)).collect();
        random::shuffle(&mut groups, &mut random::stream(seed, "split", 0));
        let single = |group: &Self| match group.counts.as_slice() {
            [(class, 1)] => Some(*class),
            _ => None,
        };
        groups.sort_by_key(|group| (Reverse(group.spread(examples.classes.len())), single(group)));
        Ok(groups)
    }

    fn new(members: Vec<usize>, labels: &[usize]) -> Self {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for label in members.iter().filter_map(|member| labels.get(*member)) {
            *counts.entry(*label).or_default() += 1;
        }
        Self { members, counts: counts.into_iter().collect() }
    }

    /// Variance of the class counts, times the square of the number of classes.
    fn spread(&self, classes: usize) -> u128 {
        let squares: u128 = self.counts.iter().map(|(_, count)| (*count as u128).pow(2)).sum();
        squares * classes as u128 - (self.members.len() as u128).pow(2)
    }

    fn has(&self, class: usize) -> bool {
        self.counts.iter().any(|(own, _)| *own == class)
    }
}

fn check(examples: &Examples) -> Result<(), SplitError> {
    let Examples { labels, groups, classes } = examples;
    if labels.len() == groups.len() && labels.iter().all(|label| *label < classes.len()) {
        return Ok(());
    }
    Err(SplitError::Inconsistent { labels: labels.len(), groups: groups.len(), classes: classes.len() })
}

fn class_totals(examples: &Examples) -> Vec<usize> {
    let mut totals = vec![0; examples.classes.len()];
    for label in examples.labels {
        if let Some(total) = totals.get_mut(*label) {
            *total += 1;
        }
    }
    totals
}

/// How many examples of each class each side still wants.
struct HeldOut {
    train: Vec<i64>,
    test: Vec<i64>,
}

impl HeldOut {
    /// Whole numbers by the largest remainder, so that many small classes still give their share together; one
    /// example of each class is never wanted for the test.
    fn new(totals: &[usize], fraction: f64, seed: u64) -> Self {
        let share = |total: &usize| *total as f64 * fraction;
        let mut test: Vec<i64> = totals.iter().map(|total| share(total).floor() as i64).collect();
        let all = share(&totals.iter().sum()).round() as i64;
        let missing = usize::try_from(all - test.iter().sum::<i64>()).unwrap_or(0);
        let mut by_remainder: Vec<(f64, usize)> = totals
            .iter()
            .enumerate()
            .filter(|(_, total)| **total > 1)
            .map(|(class, total)| (share(total).fract(), class))
            .collect();
        random::shuffle(&mut by_remainder, &mut random::stream(seed, "hold out, remainders", 0));
        by_remainder.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, class) in by_remainder.into_iter().take(missing) {
            if let Some(wanted) = test.get_mut(class) {
                *wanted += 1;
            }
        }
        let train = totals.iter().zip(&test).map(|(total, test)| *total as i64 - test).collect();
        Self { train, test }
    }

    /// Gives a group to the side whose wants it meets better; true for the test.
    fn place(&mut self, group: &Group) -> bool {
        let want = |wants: &[i64]| -> i64 {
            group
                .counts
                .iter()
                .map(|(class, count)| wants.get(*class).copied().unwrap_or(0) * *count as i64)
                .sum()
        };
        let held = want(&self.test) > want(&self.train);
        let side = if held { &mut self.test } else { &mut self.train };
        for (class, count) in &group.counts {
            if let Some(wanted) = side.get_mut(*class) {
                *wanted -= *count as i64;
            }
        }
        held
    }
}

/// Takes groups back from the test until training has every class; the smallest group that helps goes first.
fn return_missing_classes(groups: &[Group], mut held: Vec<bool>, classes: usize) -> Vec<bool> {
    let mut trained = vec![false; classes];
    for (group, held) in groups.iter().zip(&held) {
        if !held {
            mark(group, &mut trained);
        }
    }
    for class in 0..classes {
        if trained.get(class) == Some(&true) {
            continue;
        }
        let candidates = groups.iter().zip(&mut held).filter(|(group, _)| group.has(class));
        if let Some((group, held)) = candidates.min_by_key(|(group, _)| group.members.len()) {
            *held = false;
            mark(group, &mut trained);
        }
    }
    held
}

fn mark(group: &Group, classes: &mut [bool]) {
    for (class, _) in &group.counts {
        if let Some(mark) = classes.get_mut(*class) {
            *mark = true;
        }
    }
}

/// How the classes are spread over the folds so far.
struct FoldBalance {
    totals: Vec<usize>,
    folds: usize,
    /// Examples of each class in each fold, `folds` numbers a class.
    counts: Vec<usize>,
    /// Examples in each fold.
    sizes: Vec<usize>,
}

#[allow(
    clippy::indexing_slicing,
    reason = "labels were checked to be classes; folds count to the number of folds"
)]
impl FoldBalance {
    fn new(totals: Vec<usize>, folds: usize) -> Self {
        Self { counts: vec![0; totals.len() * folds], sizes: vec![0; folds], totals, folds }
    }

    fn class(&self, class: usize) -> &[usize] {
        &self.counts[class * self.folds..(class + 1) * self.folds]
    }

    /// The fold where the group leaves the smallest sum, over its classes, of the standard deviation of the class's
    /// share across folds; among equals the smallest fold.
    fn best_fold(&self, group: &Group) -> usize {
        let moments: Vec<(f64, f64)> =
            group.counts.iter().map(|(class, _)| moments(self.class(*class))).collect();
        let mut best = (f64::INFINITY, usize::MAX, 0);
        for fold in 0..self.folds {
            let deviation: f64 = group
                .counts
                .iter()
                .zip(&moments)
                .map(|(part, moments)| self.deviation(*part, *moments, fold))
                .sum();
            let close = (deviation - best.0).abs() <= 1e-12 * deviation.max(1e-12);
            if (close && self.sizes[fold] < best.1) || (!close && deviation < best.0) {
                best = (deviation, self.sizes[fold], fold);
            }
        }
        best.2
    }

    /// Standard deviation across folds of a class's share, once `count` of it are added to `fold`; `sum` and
    /// `squares` are those of the counts before.
    fn deviation(&self, (class, count): (usize, usize), (sum, squares): (f64, f64), fold: usize) -> f64 {
        let (before, count, folds) = (self.class(class)[fold] as f64, count as f64, self.folds as f64);
        let squares = squares + count * (2.0 * before + count);
        let mean = (sum + count) / folds;
        (squares / folds - mean * mean).max(0.0).sqrt() / self.totals[class] as f64
    }

    fn add(&mut self, group: &Group, fold: usize) {
        self.sizes[fold] += group.members.len();
        for (class, count) in &group.counts {
            self.counts[class * self.folds + fold] += count;
        }
    }
}

/// Sum and sum of squares.
fn moments(counts: &[usize]) -> (f64, f64) {
    counts.iter().map(|&count| count as f64).fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x))
}

fn check_every_training_side(
    examples: &Examples,
    groups: &[Group],
    balance: &FoldBalance,
) -> Result<(), SplitError> {
    for (class, name) in examples.classes.iter().enumerate() {
        let folds = balance.class(class).iter().filter(|count| **count > 0).count();
        if folds == 1 {
            let images = balance.class(class).iter().sum();
            let groups = groups.iter().filter(|group| group.has(class)).count();
            return Err(SplitError::ClassInOneFold { class: name.clone(), images, groups });
        }
    }
    Ok(())
}
