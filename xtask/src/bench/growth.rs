//! `cargo xtask bench growth`: what time and memory do as batch, image size, number of images and threads grow.
//!
//! Every measurement is a process of its own, so that its peak memory is its own; all of them run once in every turn.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::growth_page;
use super::machine::{date, processor};
use super::process::{Answer, whole};
use super::{Options, example, median, program, read, write};

const FILE: &str = "growth.json";
/// The network of the curves over batch and image size, in f32.
pub(crate) const NETWORK: &str = "resnet50";
/// The side of the images where the batch grows.
pub(crate) const SIZE: usize = 224;
/// The batch where the images grow.
pub(crate) const BATCH: usize = 8;
const BATCHES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const SIZES: [usize; 11] = [64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512];
const COUNTS: [usize; 3] = [100, 1_000, 10_000];
const LONG_COUNT: usize = 100_000;
/// More files than this go through in the first turn only.
const REPEATED: usize = 10_000;
/// Images of this size that are computed for one measurement, at least; three runs, if they are more.
const IMAGES: usize = 64;
const PHOTOGRAPHS: &str = "crates/regraft-data/tests/golden/photographs";

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Axis {
    /// Images that the network gets at a time.
    Batch,
    /// Side of the images.
    Size,
    /// Files that go through `embed`.
    Images,
}

impl Axis {
    pub(crate) const ALL: [Self; 3] = [Self::Batch, Self::Size, Self::Images];

    /// As `--only` knows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Size => "size",
            Self::Images => "images",
        }
    }

    fn values(self, long: bool) -> Vec<usize> {
        match self {
            Self::Batch => BATCHES.to_vec(),
            Self::Size => SIZES.to_vec(),
            Self::Images => COUNTS.into_iter().chain(long.then_some(LONG_COUNT)).collect(),
        }
    }

    /// Only where the batch grows is one thread measured too: that tells what the others gain.
    fn threads(self, all: usize) -> Vec<usize> {
        let mut threads = if self == Self::Batch { vec![1, all] } else { vec![all] };
        threads.dedup();
        threads
    }
}

/// Measurements along one axis.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) axis: Axis,
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) command: String,
    pub(crate) points: Vec<Point>,
}

/// One place of a curve.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Batch, side, or number of files.
    pub(crate) value: usize,
    pub(crate) threads: usize,
    /// Seconds an image, one a turn.
    pub(crate) seconds: Vec<f64>,
    /// The largest of the turns.
    pub(crate) peak_rss_mb: Option<f64>,
    /// Multiply–accumulate operations of one image.
    pub(crate) macs: Option<u64>,
}

impl Point {
    /// Seconds an image.
    pub(crate) fn median(&self) -> f64 {
        median(self.seconds.clone())
    }
}

/// Measures the curves that the options name, and prints the page.
///
/// # Errors
/// An unknown curve, or a program that cannot be run.
pub(crate) fn growth(options: &Options) -> Result<()> {
    ensure!(options.python.is_none(), "growth needs no Python");
    for name in &options.only {
        let names = Axis::ALL.map(Axis::name);
        ensure!(names.contains(&name.as_str()), "no curve '{name}'; there are {}", names.join(", "));
    }
    let place = super::place()?;
    if options.alternations > 0 {
        measure_all(&place, options)?;
    }
    let curves = measured(&place)?;
    println!("\n{}", growth_page::markdown(&curves));
    if options.write {
        growth_page::write(&curves)?;
    }
    Ok(())
}

fn measure_all(place: &Path, options: &Options) -> Result<()> {
    super::build()?;
    let mut curves = measured(place)?;
    for axis in Axis::ALL.into_iter().filter(|axis| options.includes(axis.name())) {
        let curve = measure(axis, place, options)?;
        curves.retain(|curve| curve.axis != axis);
        curves.push(curve);
        write(&place.join(FILE), &curves)?;
    }
    Ok(())
}

/// What was measured before.
///
/// # Errors
/// The file is damaged.
pub(crate) fn measured(place: &Path) -> Result<Vec<Curve>> {
    Ok(read(&place.join(FILE))?.unwrap_or_default())
}

fn measure(axis: Axis, place: &Path, options: &Options) -> Result<Curve> {
    let threads = axis.threads(options.threads);
    let point = |value, threads| Point { value, threads, seconds: Vec::new(), peak_rss_mb: None, macs: None };
    let values = axis.values(options.long).into_iter();
    let mut points: Vec<Point> =
        values.flat_map(|value| threads.iter().map(move |threads| point(value, *threads))).collect();
    for round in 1..=options.alternations {
        let now =
            points.iter_mut().filter(|point| round == 1 || axis != Axis::Images || point.value <= REPEATED);
        now.map(|point| point.turn(axis, place, round)).collect::<Result<Vec<_>>>()?;
    }
    let (date, processor) = (date()?, processor());
    Ok(Curve { axis, date, processor, command: command(axis, options), points })
}

fn command(axis: Axis, options: &Options) -> String {
    let long = if options.long && axis == Axis::Images { " --long" } else { "" };
    let Options { threads, alternations, .. } = options;
    let name = axis.name();
    format!("cargo xtask bench growth --only {name} --threads {threads} --alternations {alternations}{long}")
}

impl Point {
    fn turn(&mut self, axis: Axis, place: &Path, round: usize) -> Result<()> {
        let Self { value, threads, .. } = *self;
        let answer = match axis {
            Axis::Batch => network(value, threads, SIZE),
            Axis::Size => network(BATCH, threads, value),
            Axis::Images => embed(value, threads, place),
        }?;
        let name = axis.name();
        let speed = answer.images_per_second;
        println!("{name} {value} on {threads}, round {round}: {speed:.1} a second");
        self.seconds.push(1.0 / speed);
        self.peak_rss_mb =
            [self.peak_rss_mb, answer.peak_rss_mb].into_iter().flatten().max_by(f64::total_cmp);
        self.macs = answer.macs;
        Ok(())
    }
}

fn network(batch: usize, threads: usize, size: usize) -> Result<Answer> {
    let runs = (IMAGES / batch).max(3);
    let [batch, threads, runs, size] = [batch, threads, runs, size].map(|number| number.to_string());
    let words = [NETWORK, &batch, &threads, &runs, "", "f32", &size, "--json"];
    whole(Command::new(example("zoo_throughput")).args(words))
}

/// Without a cache, which would know a file from its link.
fn embed(count: usize, threads: usize, place: &Path) -> Result<Answer> {
    let folder = linked(count, place)?;
    let mut command = Command::new(program("regraft"));
    command.args(["--quiet", "--json", "--no-cache", "--threads", &threads.to_string(), "embed"]);
    let answer = whole(command.arg(folder).arg("--out").arg(place.join("growth.npy")))?;
    let images = answer.images.context("no number of images")?;
    ensure!(images == count, "{images} of {count} files went through");
    Ok(answer)
}

/// A folder with so many links to the golden photographs, made once.
fn linked(count: usize, place: &Path) -> Result<PathBuf> {
    let folder = place.join(format!("photographs-{count}"));
    std::fs::create_dir_all(&folder)?;
    let mut sources: Vec<PathBuf> =
        std::fs::read_dir(PHOTOGRAPHS)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    sources.sort();
    for (index, source) in sources.iter().cycle().take(count).enumerate() {
        let link = folder.join(format!("{index:06}.jpg"));
        if !link.exists() {
            // Not every pair of folders can share a file.
            std::fs::hard_link(source, &link).or_else(|_| std::fs::copy(source, &link).map(drop))?;
        }
    }
    Ok(folder)
}
