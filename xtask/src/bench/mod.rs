//! `cargo xtask bench`: Regraft and other engines in turn, on the same weights and the same input.
//!
//! Every engine is a process that stays: it loads, tries its settings, and then measures whenever it is told to. The turns go
//! round, so that whatever else the machine does falls on all of them.

mod chart;
mod embed;
mod embed_page;
mod engine;
mod growth;
mod growth_page;
mod line;
mod machine;
mod process;
mod results;
mod training;
mod works;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use engine::Engine;
pub(crate) use growth::growth;
use machine::Limit;
use regraft_system::files;
use results::{Measured, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;
pub(crate) use training::training;
use works::{WORKS, Work};

use crate::{
    example,
    python::{run, virtual_environment},
};

const PACKAGES: [&str; 14] = [
    "torch==2.15.0",
    "torchvision==0.29.2",
    "timm==1.0.31",
    "onnx==1.23.2",
    "onnxscript==0.7.2",
    "onnxruntime==1.32.0",
    "openvino==2026.4.1",
    "nncf==3.4.0",
    "MNN==3.6.1",
    "ncnn==1.0.20261020",
    "pnnx==20261020",
    "safetensors==0.8.0",
    "numpy==2.4.6",
    "pillow",
];

/// What to measure, and how.
#[derive(Debug)]
pub(crate) struct Options {
    /// Threads of every engine.
    pub(crate) threads: usize,
    /// Turns of each engine; the table has the medians. Without any, the page is made of what was measured before.
    pub(crate) alternations: usize,
    /// Names of works or curves; all if empty.
    pub(crate) only: Vec<String>,
    /// A Python that has the packages already.
    pub(crate) python: Option<PathBuf>,
    /// Whether the page is written again, from everything that was measured so far.
    pub(crate) write: bool,
    /// Whether a hundred thousand images go through `embed` too.
    pub(crate) long: bool,
}

impl Options {
    /// From the words of the command line.
    ///
    /// # Errors
    /// An unknown word, or one whose value is missing.
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options =
            Self { threads: 2, alternations: 5, only: Vec::new(), python: None, write: false, long: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match *word {
                "--threads" => options.threads = value()?.parse()?,
                "--alternations" => options.alternations = value()?.parse()?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--python" => options.python = Some(PathBuf::from(value()?)),
                "--write" => options.write = true,
                "--long" => options.long = true,
                _ => bail!("bench does not know '{word}'"),
            }
        }
        Ok(options)
    }

    /// Whether something of that name is to be measured.
    fn includes(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// Measures the works that the options name, and prints the table.
///
/// # Errors
/// An unknown work, a program that cannot be run, or logits that differ from PyTorch's.
pub(crate) fn bench(options: &Options) -> Result<()> {
    ensure!(!options.long, "--long is for bench growth");
    let place = place()?;
    if options.alternations > 0 {
        measure_all(&place, options)?;
    }
    let text = page(&place)?;
    println!("\n{text}");
    if options.write {
        files::write_atomically(Path::new("docs/performance.md"), text.as_bytes())?;
    }
    Ok(())
}

fn measure_all(place: &Path, options: &Options) -> Result<()> {
    let works = chosen(&options.only)?;
    let python = match &options.python {
        Some(python) => python.clone(),
        None => virtual_environment(&place.join("venv"), &PACKAGES)?,
    };
    build()?;
    for work in works {
        let mut table: Table = read(&place.join(WORKS_FILE))?.unwrap_or_default();
        table.put(measure(work, &python, place, options)?);
        write(&place.join(WORKS_FILE), &table)?;
    }
    if options.includes(embed::NAME) {
        write(&place.join(EMBED_FILE), &embed::measure(&python, place, options)?)?;
    }
    Ok(())
}

/// The folder of everything that is made or measured.
fn place() -> Result<PathBuf> {
    let place = PathBuf::from("target/bench");
    std::fs::create_dir_all(&place)?;
    Ok(place)
}

/// From everything that was measured so far.
fn page(place: &Path) -> Result<String> {
    let table: Table = read(&place.join(WORKS_FILE))?.unwrap_or_default();
    let embedding: Option<embed::Embedding> = read(&place.join(EMBED_FILE))?;
    let embedding = embedding.as_ref().map(embed_page::markdown);
    let scaling = growth_page::summary(&growth::measured(place)?);
    Ok(table.markdown() + &scaling + &embedding.unwrap_or_default() + &table.details())
}

const WORKS_FILE: &str = "performance.json";
const EMBED_FILE: &str = "embed.json";

/// What was measured before, if anything was.
fn read<Measured: DeserializeOwned>(path: &Path) -> Result<Option<Measured>> {
    if !path.exists() {
        return Ok(None);
    }
    serde_json::from_slice(&files::read(path)?).with_context(|| path.display().to_string())
}

fn write(path: &Path, measured: &impl Serialize) -> Result<()> {
    Ok(files::write_atomically(path, &serde_json::to_vec_pretty(measured)?)?)
}

/// The works of these names, `embed` left out; all for none.
fn chosen(names: &[String]) -> Result<Vec<&'static Work>> {
    if names.is_empty() {
        return Ok(WORKS.iter().collect());
    }
    let known = |name: &String| WORKS.iter().find(|work| work.name() == *name);
    let all = || WORKS.iter().map(Work::name).collect::<Vec<_>>().join(", ");
    let unknown = |name: &String| format!("no work '{name}'; there are {}, {}", all(), embed::NAME);
    let names = names.iter().filter(|name| *name != embed::NAME);
    names.map(|name| known(name).with_context(|| unknown(name))).collect()
}

/// The middle of the values in their order.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn build() -> Result<()> {
    let packages = ["regraft-cli", "regraft-zoo", "regraft-engine"].map(|package| ["--package", package]);
    let targets = ["--bin", "regraft", "--example", "zoo_throughput", "--example", "machine_limit"];
    run(Command::new("cargo").args(["build", "--release"]).args(packages.as_flattened()).args(targets))
}

/// A program that `build` has built.
fn program(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    target.join("release").join(name)
}

/// The folder with a network's weights, an input and PyTorch's logits, written if it is not there.
fn exported(network: &str, batch: usize, python: &Path, place: &Path) -> Result<PathBuf> {
    let folder = place.join(format!("{network}-{batch}"));
    if !folder.join("logits.npy").exists() {
        println!("{network}-{batch}: exporting");
        let words = ["oracles/bench_peers.py", "export", network, &batch.to_string()];
        run(Command::new(python).args(words).arg(&folder))?;
    }
    Ok(folder)
}

fn measure(work: &Work, python: &Path, place: &Path, options: &Options) -> Result<Measured> {
    let folder = exported(work.network, work.batch, python, place)?;
    let mut engines = vec![ours(work, &folder, options.threads)?];
    for peer in work.peers {
        engines.push(theirs(peer, work, python, &folder, options.threads)?);
    }
    let mut limit = Limit::measure(&example("machine_limit"), options.threads)?;
    for round in 1..=options.alternations {
        for engine in &mut engines {
            engine.turn()?;
        }
        let speeds =
            engines.iter().map(|engine| format!("{} {:.1}", engine.name, work.batch as f64 / engine.last()));
        println!("{} round {round}: {} a second", work.name(), speeds.collect::<Vec<_>>().join(", "));
        limit = limit.best(Limit::measure(&example("machine_limit"), options.threads)?);
    }
    let measured = Measured::new(work, options.threads, limit, &engines)?;
    println!("{}", measured.summary());
    Ok(measured)
}

fn ours(work: &Work, folder: &Path, threads: usize) -> Result<Engine> {
    let mut command = Command::new(example("zoo_throughput"));
    let numbers = [work.batch, threads, 1].map(|number| number.to_string());
    command.arg(work.network).args(numbers).args(["", work.precision]);
    Engine::start("Regraft", command.arg(format!("--serve={}", folder.display())))
}

fn theirs(peer: &str, work: &Work, python: &Path, folder: &Path, threads: usize) -> Result<Engine> {
    let mut command = Command::new(python);
    command.args(["oracles/bench_peers.py", "run", peer, work.network, &work.batch.to_string()]);
    Engine::start(works::title(peer), command.args([&threads.to_string(), work.precision]).arg(folder))
}
