//! `regraft embed` from JPEG files to features, against the script that one would write with another engine.
//!
//! Every measurement is a whole process, from its first file to its last row; the engines take turns. In the same turns
//! runs the network alone, which tells what reading, decoding and resizing cost.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use regraft_formats::npy;
use serde::{Deserialize, Serialize};

use super::machine::{date, processor};
use super::process::{Answer, whole};
use super::{Options, example, exported, median, program};
use crate::python::run;

/// As a work that `--only` can name.
pub(crate) const NAME: &str = "embed-resnet50-f32";
/// Of Regraft's memory over PyTorch's.
pub(crate) const MEMORY_AIM: f64 = 0.5;
/// Of the speed of `embed` over that of the network alone.
pub(crate) const SHARE_AIM: f64 = 0.9;

const NETWORK: &str = "resnet50";
const FILES: usize = 256;
const BATCH: usize = 32;
/// All decode and resize to the same pixels, and what is left is the order of sums: 4e-7. A pixel off shows above this.
const TOLERANCE: f64 = 1e-4;

/// A script with another engine.
struct Peer {
    name: &'static str,
    setting: &'static str,
    /// Of `oracles/bench_embed.py`.
    arguments: &'static [&'static str],
    /// The ratio to its speed that Regraft sets out to reach.
    aim: f64,
}

const PEERS: [Peer; 4] = [
    Peer { name: "PyTorch", setting: "channels_last, frozen", arguments: &["torch"], aim: 1.5 },
    Peer { name: "ONNX Runtime", setting: "default", arguments: &["onnxruntime"], aim: 1.1 },
    Peer { name: "OpenVINO", setting: "latency", arguments: &["openvino", "--hint", "latency"], aim: 1.1 },
    Peer {
        name: "OpenVINO",
        setting: "throughput",
        arguments: &["openvino", "--hint", "throughput"],
        aim: 1.1,
    },
];

/// Everything that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Embedding {
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) threads: usize,
    pub(crate) alternations: usize,
    pub(crate) files: usize,
    pub(crate) ours: Row,
    pub(crate) peers: Vec<PeerRow>,
    pub(crate) shares: Vec<Share>,
}

/// One engine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) engine: String,
    pub(crate) setting: String,
    /// Median over the turns.
    pub(crate) images_per_second: f64,
    pub(crate) peak_rss_mb: Option<f64>,
    pub(crate) peak_rss_mb_with_workers: Option<f64>,
    /// Relative L2 distance of the features from PyTorch's.
    pub(crate) difference: f64,
}

/// Another engine, compared.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PeerRow {
    #[serde(flatten)]
    pub(crate) row: Row,
    /// Median over the turns of Regraft's speed over this one's in that turn.
    pub(crate) ratio: f64,
    pub(crate) aim: f64,
}

/// What of the network's speed is left with files in front of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) threads: usize,
    /// Images a second of the network alone, median over the turns.
    pub(crate) network: f64,
    /// Images a second from files, median over the turns.
    pub(crate) embed: f64,
    /// Median over the turns of their quotient.
    pub(crate) share: f64,
}

/// Where things are.
struct Place<'a> {
    photographs: PathBuf,
    weights: PathBuf,
    features: PathBuf,
    python: &'a Path,
}

/// One turn of everything.
struct Turn {
    /// From files and the network alone, by number of threads.
    ours: Vec<(Answer, Answer)>,
    peers: Vec<Answer>,
}

/// Runs it all.
///
/// # Errors
/// A program fails, a file was left out, or the features differ from PyTorch's.
pub(crate) fn measure(python: &Path, folder: &Path, options: &Options) -> Result<Embedding> {
    let place = prepare(python, folder)?;
    let mut threads = vec![options.threads, 1];
    threads.dedup();
    let mut turns = Vec::new();
    for round in 1..=options.alternations {
        let turn = turn(&place, &threads)?;
        println!("{NAME} round {round}: {}", turn.summary(&threads));
        turns.push(turn);
    }
    collect(&place, &threads, &turns)
}

/// Photographs and weights are the same every time, and made once.
fn prepare<'a>(python: &'a Path, folder: &Path) -> Result<Place<'a>> {
    let photographs = folder.join("photographs");
    if !photographs.join(format!("{:05}.jpg", FILES - 1)).exists() {
        println!("{NAME}: making {FILES} photographs");
        let script = ["oracles/bench_photographs.py", "crates/regraft-data/tests/golden/photographs"];
        run(Command::new(python).args(script).arg(&photographs).arg(FILES.to_string()))?;
    }
    let weights = exported(NETWORK, 8, python, folder)?.join("weights.safetensors");
    let features = folder.join("features");
    std::fs::create_dir_all(&features)?;
    Ok(Place { photographs, weights, features, python })
}

fn turn(place: &Place<'_>, threads: &[usize]) -> Result<Turn> {
    let both = |threads: &usize| Ok((place.embed(*threads)?, network_alone(*threads)?));
    let ours = threads.iter().map(both).collect::<Result<Vec<_>>>()?;
    let with = threads.first().copied().unwrap_or(1);
    let peers = PEERS.iter().map(|peer| place.peer(peer, with)).collect::<Result<Vec<_>>>()?;
    Ok(Turn { ours, peers })
}

impl Place<'_> {
    fn embed(&self, threads: usize) -> Result<Answer> {
        let mut command = Command::new(program("regraft"));
        command.args(["--quiet", "--json", "--no-cache", "--threads", &threads.to_string(), "embed"]);
        command.arg(&self.photographs).arg("--source").arg(&self.weights).args(["--arch", NETWORK, "--out"]);
        complete(whole(command.arg(self.features_of("Regraft", "default")))?)
    }

    fn peer(&self, peer: &Peer, threads: usize) -> Result<Answer> {
        let mut command = Command::new(self.python);
        let [engine, hint @ ..] = peer.arguments else { return Err(anyhow::anyhow!("no engine")) };
        // That an exporter is deprecated is news about Python, not about speed.
        command.args(["-W", "ignore", "oracles/bench_embed.py", engine]).arg(&self.photographs).args(hint);
        command.args(["--threads", &threads.to_string(), "--batch", &BATCH.to_string(), "--weights"]);
        command.arg(&self.weights).arg("--out").arg(self.features_of(peer.name, peer.setting));
        complete(whole(&mut command)?)
    }

    fn features_of(&self, name: &str, setting: &str) -> PathBuf {
        let name = format!("{name} {setting}").to_lowercase().replace([' ', ','], "-");
        self.features.join(format!("{name}.npy"))
    }

    /// Relative L2 distance of the features of the last turn from PyTorch's.
    fn difference(&self, name: &str, setting: &str) -> Result<f64> {
        let torch = npy::read_f32(&self.features_of("PyTorch", "channels_last, frozen"))?;
        let other = npy::read_f32(&self.features_of(name, setting))?;
        ensure!(torch.shape() == other.shape(), "{name}: features of shape {:?}", other.shape());
        let norm = |values: &mut dyn Iterator<Item = f32>| {
            values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
        };
        let distance = norm(&mut torch.iter().zip(&other).map(|(theirs, ours)| ours - theirs));
        Ok(distance / norm(&mut torch.iter().copied()))
    }
}

/// Regraft's network, with random numbers instead of files.
fn network_alone(threads: usize) -> Result<Answer> {
    let numbers = [BATCH, threads, 3].map(|number| number.to_string());
    whole(Command::new(example("zoo_throughput")).arg(NETWORK).args(numbers).arg("--json"))
}

fn complete(answer: Answer) -> Result<Answer> {
    let images = answer.images.context("no number of images")?;
    ensure!(images == FILES, "{images} of {FILES} files went through");
    Ok(answer)
}

impl Turn {
    /// Of the number of threads that the others have.
    fn speed(&self) -> f64 {
        self.ours.first().map_or(f64::NAN, |(embed, _)| embed.images_per_second)
    }

    fn summary(&self, threads: &[usize]) -> String {
        let ours = threads.iter().zip(&self.ours).map(|(threads, (embed, network))| {
            let [embed, network] = [embed, network].map(|answer| answer.images_per_second);
            format!("Regraft on {threads} {embed:.1} of {network:.1}")
        });
        let peers = PEERS.iter().zip(&self.peers);
        let peers = peers.map(|(peer, answer)| {
            format!("{} ({}) {:.1}", peer.name, peer.setting, answer.images_per_second)
        });
        ours.chain(peers).collect::<Vec<_>>().join(", ") + " a second"
    }
}

fn collect(place: &Place<'_>, threads: &[usize], turns: &[Turn]) -> Result<Embedding> {
    let answers: Vec<&Answer> =
        turns.iter().filter_map(|turn| turn.ours.first()).map(|(embed, _)| embed).collect();
    let name = concat!("Regraft ", env!("CARGO_PKG_VERSION"));
    let ours = row(name, "default", &answers, place.difference("Regraft", "default")?);
    ensure!(ours.difference < TOLERANCE, "the features differ from PyTorch's by {:.1e}", ours.difference);
    let peers = PEERS.iter().enumerate().map(|(index, peer)| peer_row(place, index, peer, turns));
    let shares = threads.iter().enumerate().map(|(index, threads)| share(index, *threads, turns));
    Ok(Embedding {
        date: date()?,
        processor: processor(),
        threads: threads.first().copied().unwrap_or(1),
        alternations: turns.len(),
        files: FILES,
        ours,
        peers: peers.collect::<Result<_>>()?,
        shares: shares.collect(),
    })
}

fn row(engine: &str, setting: &str, answers: &[&Answer], difference: f64) -> Row {
    let largest = |peak: fn(&Answer) -> Option<f64>| {
        answers.iter().filter_map(|answer| peak(answer)).max_by(f64::total_cmp)
    };
    Row {
        engine: engine.to_owned(),
        setting: setting.to_owned(),
        images_per_second: median(answers.iter().map(|answer| answer.images_per_second).collect()),
        peak_rss_mb: largest(|answer| answer.peak_rss_mb),
        peak_rss_mb_with_workers: largest(|answer| answer.peak_rss_mb_with_workers),
        difference,
    }
}

fn peer_row(place: &Place<'_>, index: usize, peer: &Peer, turns: &[Turn]) -> Result<PeerRow> {
    let answers: Vec<&Answer> = turns.iter().filter_map(|turn| turn.peers.get(index)).collect();
    let ratios = turns.iter().zip(&answers).map(|(turn, answer)| turn.speed() / answer.images_per_second);
    let version = answers.first().map_or("", |answer| &answer.version);
    let difference = place.difference(peer.name, peer.setting)?;
    let row = row(&format!("{} {version}", peer.name), peer.setting, &answers, difference);
    Ok(PeerRow { row, ratio: median(ratios.collect()), aim: peer.aim })
}

fn share(index: usize, threads: usize, turns: &[Turn]) -> Share {
    let speeds: Vec<[f64; 2]> = turns
        .iter()
        .filter_map(|turn| turn.ours.get(index))
        .map(|(embed, network)| [embed, network].map(|answer| answer.images_per_second))
        .collect();
    let of = |value: fn(&[f64; 2]) -> f64| median(speeds.iter().map(value).collect());
    Share {
        threads,
        network: of(|[_, network]| *network),
        embed: of(|[embed, _]| *embed),
        share: of(|[embed, network]| embed / network),
    }
}
