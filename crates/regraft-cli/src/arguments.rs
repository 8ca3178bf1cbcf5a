//! The flags, as data.

mod tuning;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use regraft::{
    ChannelChoice, ExportFormat, ExtraChannels, HeadKind, InputChoice, LabelFile, Method, PrecisionChoice,
    Stem,
};

use crate::zoo;
pub(crate) use tuning::Tuning;

/// Transfer learning on your own images: one command, one binary, offline.
///
/// Takes a network that somebody else trained, cuts it where its features stop being general, puts a new head for your
/// classes behind it, and shows with intervals and baselines whether that helped.
#[derive(Debug, Parser)]
#[command(name = "regraft", version, after_help = crate::exit::TABLE)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Print JSON on standard output, for predict one object a line, and nothing else there
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub(crate) json: bool,

    /// Say nothing on standard error but errors
    #[arg(long, short, global = true, help_heading = "Options of every command")]
    pub(crate) quiet: bool,

    /// Number of threads; results do not depend on it [default: one a core]
    #[arg(long, short = 'j', global = true, help_heading = "Options of every command", value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Folder of the feature cache [default: REGRAFT_CACHE, else regraft in the user's cache folder]
    #[arg(long, global = true, help_heading = "Options of every command", value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,

    /// Neither read nor write the feature cache
    #[arg(long, global = true, help_heading = "Options of every command", conflicts_with = "cache")]
    pub(crate) no_cache: bool,

    /// Refuse images with more than so many million pixels [default: 178]
    #[arg(long, global = true, help_heading = "Options of every command", value_name = "MILLIONS", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) max_megapixels: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Adapt a pretrained network to a folder of images, judge it, and save model, metrics and report
    Fit(Box<Fit>),
    /// Compare the depths of a network on a folder of images: how good each one is, and where to cut
    Cut(Box<Cut>),
    /// Label new images
    Predict(Predict),
    /// Judge a run on other labelled images
    Evaluate(Evaluate),
    /// Look for what is wrong with a folder of images
    Check(Check),
    /// Write features of images to a .npy file
    Embed(Embed),
    /// Write a run or a source model for other programs
    Export(Export),
    /// The catalogue of source models
    #[command(subcommand)]
    Zoo(zoo::Zoo),
    /// Rebuild the report of a run
    Report(Report),
    /// The feature cache
    #[command(subcommand)]
    Cache(Cache),
}

#[derive(Debug, Args)]
pub(crate) struct Fit {
    /// Folder with images: class/file, or train/class/file beside val or test; with --labels, arranged anyhow
    #[arg(required_unless_present_any = ["config", "resume"])]
    pub(crate) data: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) labels: Labels,

    /// Take every setting from a regraft.toml; flags given here come before it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Go on with a run that was stopped while it trained: the run folder that it was to become. The same command again does
    /// so, too
    #[arg(long, value_name = "RUN", conflicts_with = "config")]
    pub(crate) resume: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) source: Source,

    /// Where to cut the source: features, logits, or a wire that `regraft zoo info NAME --graph` shows [default: features]
    #[arg(long, value_name = "WIRE")]
    pub(crate) cut: Option<String>,

    /// Numbers that the network is computed in: f32, bf16 (faster with AMX or AVX-512 BF16), int8 (fastest with AMX or AVX-512 VNNI,
    /// calibrated on up to 256 training images), or auto: the fastest whose features keep the
    /// cross-validated accuracy within one standard error of f32. A --method that trains does so with bf16 or f32: with auto in bf16
    /// where the processor has instructions for it and the first steps keep their loss; int8 is for frozen networks [default: f32]
    #[arg(long, value_name = "PRECISION", value_parser = precision)]
    pub(crate) precision: Option<PrecisionChoice>,

    #[command(flatten)]
    pub(crate) input: Input,

    /// Run folder; it must not exist yet [default: runs/NAME after the data folder, numbered where that is taken]
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) split: Split,

    /// Heads to choose from, separated by commas: nearest-class-mean, lda, ridge, logistic-regression, knn [default: all]
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = head_kind)]
    pub(crate) heads: Option<Vec<HeadKind>>,

    /// How often nested subsets are drawn for the learning curve, at most 1000; 0 leaves the curve out [default: 5]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) curve_repetitions: Option<usize>,

    /// Judge the test images by test-time augmentation, too: by the mean of the probabilities over each image and so many random
    /// variants of it, as the --augmentation makes them (for 1, over the mirrored image where it mirrors); 0 to 100 [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) tta: Option<usize>,

    /// What to train of the source: probe (nothing: a head on frozen features), bn-affine (scales and shifts of the
    /// normalisations), bias (biases), last-block, partial (everything behind --cut), lp-ft (everything, from the linear probe
    /// on), surgical (as lp-ft, each tensor by how large its gradient is), gradual (as lp-ft, block by block from the last one),
    /// l2-sp (as lp-ft, pulled towards the source), bss (as lp-ft, with the least varied features suppressed), delta (as lp-ft,
    /// with feature maps held near the source's), lwf (as lp-ft, with the answers of the source's own head held), co-tuning (as
    /// lp-ft, with the source's own head trained, too), lora (low-rank changes of the weights), full (everything, from a random head
    /// on), or auto (what pays off in cross-validation) [default: probe]
    #[arg(long, short, value_name = "METHOD", value_parser = method)]
    pub(crate) method: Option<Method>,

    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

/// How the source is trained, for every method but probe.
#[derive(Debug, Args)]
pub(crate) struct Cut {
    /// Folder with images: class/file, or train/class/file beside val or test; with --labels, arranged anyhow
    pub(crate) data: PathBuf,

    #[command(flatten)]
    pub(crate) labels: Labels,

    #[command(flatten)]
    pub(crate) source: Source,

    /// Wires to compare, separated by commas; `regraft zoo info NAME --graph` shows them [default: the cut points of the source
    /// and its features]
    #[arg(long, value_name = "WIRES", value_delimiter = ',', value_parser = wire)]
    pub(crate) cuts: Vec<String>,

    /// Heads to choose from at each cut, separated by commas: nearest-class-mean, lda, ridge, logistic-regression, knn
    /// [default: logistic-regression]
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = head_kind)]
    pub(crate) heads: Option<Vec<HeadKind>>,

    #[command(flatten)]
    pub(crate) input: Input,

    /// Folder of the report; it must not exist yet [default: runs/NAME-cut after the data folder, numbered where that is taken]
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) split: Split,

    /// Leave out the short fine-tuning behind the two best cuts (2 epochs unless --epochs says otherwise)
    #[arg(long)]
    pub(crate) no_tuning: bool,

    /// yosinski: instead of the short fine-tuning the experiment of Yosinski et al. 2014 on two halves of the classes, at --cuts
    /// or five of them: networks of the source's architecture, trained from random weights on one half, are copied up to a cut
    /// and trained on the other; 4 trainings a cut and 2 more, for each repetition, of 10 epochs each unless --epochs says otherwise
    #[arg(long, value_name = "NAME", conflicts_with = "no_tuning", value_parser = ["yosinski"])]
    pub(crate) protocol: Option<String>,

    /// How often the experiment is repeated with other random weights, 1 to 100 [default: 3]
    #[arg(long, value_name = "N", requires = "protocol", allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) repetitions: Option<u8>,

    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

/// Where the labels are.
#[derive(Debug, Args)]
pub(crate) struct Labels {
    /// Table that says what the images show, for data without class folders: CSV in UTF-8, also with tabs or semicolons, with a
    /// header; a column of files below the folder, with or without ending, one of labels, and one called split (train, val, test)
    /// if there is one. Images without a row are left out [default: folders are classes]
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,

    /// Its column of labels [default: label, class, category, target or the like, else the only one left]
    #[arg(long, value_name = "NAME")]
    pub(crate) label_column: Option<String>,

    /// Its column of files [default: the one that names the most images]
    #[arg(long, value_name = "NAME")]
    pub(crate) file_column: Option<String>,
}

impl Labels {
    /// The table, if one was given.
    ///
    /// # Errors
    /// A column without a table.
    pub(crate) fn file(&self) -> regraft::Result<Option<LabelFile>> {
        let (path, columns) = (self.labels.clone(), [&self.label_column, &self.file_column]);
        let [label_column, file_column] = columns.map(Option::clone);
        if path.is_none() && (label_column.is_some() || file_column.is_some()) {
            let message = "--label-column and --file-column name columns of a table; give one with --labels";
            return Err(regraft::Error::Usage(message.to_owned()));
        }
        Ok(path.map(|path| LabelFile { path, file_column, label_column }))
    }
}

/// How the images are divided.
#[derive(Debug, Args)]
pub(crate) struct Split {
    /// Seed of every random choice: split, folds, bootstrap, baselines [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,

    /// Share of the images held out for the test, where the data has no split of its own; above 0, at most 0.5 [default: 0.2]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub(crate) test_fraction: Option<f64>,

    /// Number of cross-validation folds, 2 to 1000; fewer are used where a class has fewer images [default: 5]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) folds: Option<usize>,

    /// Share of files that may be unreadable before the run fails, 0 to 1 [default: 0.1]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub(crate) max_unreadable: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Source model: a name from `regraft zoo list`, hf:ORGANISATION/NAME[/FILE], a run, a model folder, or a weight file
    /// (.pth, .safetensors)
    /// [default: efficientnet-lite0, which is built in]
    #[arg(long, short, value_name = "SOURCE")]
    pub(crate) source: Option<String>,

    /// Architecture of a weight file, such as resnet50 [default: guessed from the names of the weights]
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Input {
    /// What the network sees of the images: rgb, grey, native (as they have it, alpha included), or auto: bands where they
    /// have bands, else rgb; in fit also grey where all are grey [default: auto]
    #[arg(long, value_name = "CHANNELS", value_parser = channels)]
    pub(crate) channels: Option<ChannelChoice>,

    /// First kernels of channels that the source was not trained on: repeat (those of its own channels), zero, or mean
    /// [default: zero for alpha, else repeat]
    #[arg(long, value_name = "RULE", value_parser = extra_channels)]
    pub(crate) extra_channels: Option<ExtraChannels>,

    /// Height and width in pixels that the network sees, 1 to 4096 [default: what the source was trained on]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) image_size: Option<usize>,

    /// First layers: source, or small, which takes their steps over pixels out and shows the network images that much
    /// smaller [default: source]
    #[arg(long, value_name = "STEM", value_parser = stem)]
    pub(crate) stem: Option<Stem>,
}

impl Input {
    /// What was asked for, over what is in force without it.
    pub(crate) fn over(&self, base: InputChoice) -> InputChoice {
        InputChoice {
            channels: self.channels.unwrap_or(base.channels),
            extra_channels: self.extra_channels.or(base.extra_channels),
            image_size: self.image_size.or(base.image_size),
            stem: self.stem.unwrap_or(base.stem),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Predict {
    /// A run folder, or a source with a head such as efficientnet-lite0
    pub(crate) model: PathBuf,

    /// Images, folders, or - for an image or a list of paths on standard input
    #[arg(required = true)]
    pub(crate) inputs: Vec<PathBuf>,

    /// Architecture, where the model is a weight file
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Option<String>,

    /// How many of the most probable labels to give
    #[arg(long, short = 'k', value_name = "N", allow_negative_numbers = true, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) top: u16,

    /// Answer with the mean of the probabilities over each image and so many random variants of it, as the run's augmentation makes
    /// them (for 1, over the mirrored image where it mirrors); 0 to 100
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 0)]
    pub(crate) tta: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Evaluate {
    /// A run folder
    pub(crate) run: PathBuf,

    /// Folder with labelled images; where it has a split, the test part is used, else the validation part
    pub(crate) data: PathBuf,

    #[command(flatten)]
    pub(crate) labels: Labels,

    /// Judge by test-time augmentation, too: by the mean of the probabilities over each image and so many random variants of it, as
    /// the run's augmentation makes them (for 1, over the mirrored image where it mirrors); 0 to 100
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 0)]
    pub(crate) tta: usize,

    /// Seed of the bootstrap
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Folder with images: class/file, or train/class/file beside val or test; with --labels, arranged anyhow
    pub(crate) data: PathBuf,

    #[command(flatten)]
    pub(crate) labels: Labels,

    /// Number of cross-validation folds that each class should be able to fill, 2 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 5)]
    pub(crate) folds: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Embed {
    /// Images, folders, or one .npy file of shape N×C×H×W (f32, already normalised)
    #[arg(required = true)]
    pub(crate) inputs: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) source: Source,

    /// Where to cut the source: features, logits, or a wire; maps are averaged over height and width
    #[arg(long, value_name = "WIRE", default_value = "features")]
    pub(crate) cut: String,

    /// Numbers that the network is computed in: f32, bf16 (faster with AMX or AVX-512 BF16), int8 (fastest with AMX or AVX-512 VNNI,
    /// calibrated on up to 256 of the images, or as a run was) [default: that of a run, else f32]
    #[arg(long, value_name = "PRECISION", value_parser = precision)]
    pub(crate) precision: Option<PrecisionChoice>,

    #[command(flatten)]
    pub(crate) input: Input,

    /// The .npy file to write: N×D, f32, rows in bytewise order of relative path; the paths go to F.paths.txt
    /// beside it; both are replaced where they exist
    #[arg(long, short, value_name = "F.npy")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A run folder, or any source model
    pub(crate) source: PathBuf,

    /// What to write: onnx
    #[arg(long, value_name = "FORMAT", default_value = "onnx", value_parser = export_format)]
    pub(crate) format: ExportFormat,

    /// The file to write; replaced where it exists [default: NAME.onnx after the run or source, in the current folder]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Version of the ONNX operators
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 18, value_parser = clap::value_parser!(u8).range(17..=21))]
    pub(crate) opset: u8,

    /// Let the file take the bytes of RGB images, N×H×W×3, and normalise them itself; resizing and cropping stay outside
    #[arg(long)]
    pub(crate) with_preprocessing: bool,

    /// How many images the file takes at a time: dynamic for any number, or a number
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value = "dynamic", value_parser = batch)]
    pub(crate) batch: Batch,

    /// Architecture, where the source is a weight file
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Option<String>,
}

/// How many images at a time; `None` for any number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch(pub(crate) Option<usize>);

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// A run folder
    pub(crate) run: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// What is kept, most recently used first
    List,
    /// Remove the least recently used until at most so much is left
    Trim {
        /// How much to keep, such as 2GB or 500MB; 0 removes everything
        #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
        keep: String,
    },
}

/// The format that a name stands for.
fn export_format(name: &str) -> Result<ExportFormat, String> {
    named(&ExportFormat::ALL, ExportFormat::name, name)
}

fn batch(text: &str) -> Result<Batch, String> {
    if text == "dynamic" {
        return Ok(Batch(None));
    }
    let size = text.parse().ok().filter(|size| (1..=65536).contains(size));
    size.map(|size| Batch(Some(size)))
        .ok_or_else(|| "expected dynamic or a number from 1 to 65536".to_owned())
}

/// The precision that a name stands for.
fn precision(name: &str) -> Result<PrecisionChoice, String> {
    named(&PrecisionChoice::ALL, PrecisionChoice::name, name)
}

/// The method that a name stands for.
fn method(name: &str) -> Result<Method, String> {
    named(&Method::ALL, Method::name, name)
}

/// The channels that a name stands for.
fn channels(name: &str) -> Result<ChannelChoice, String> {
    named(&ChannelChoice::ALL, ChannelChoice::name, name)
}

/// The rule for further channels that a name stands for.
fn extra_channels(name: &str) -> Result<ExtraChannels, String> {
    named(&ExtraChannels::ALL, ExtraChannels::name, name)
}

/// The kind of first layers that a name stands for.
fn stem(name: &str) -> Result<Stem, String> {
    named(&Stem::ALL, Stem::name, name)
}

fn named<T: Copy>(all: &[T], name_of: fn(T) -> &'static str, name: &str) -> Result<T, String> {
    let known = || all.iter().map(|choice| name_of(*choice)).collect::<Vec<_>>().join(", ");
    let choice = all.iter().find(|choice| name_of(**choice).eq_ignore_ascii_case(name));
    choice.copied().ok_or_else(|| format!("known are: {}", known()))
}

/// A wire's name without the blanks that follow a comma.
fn wire(name: &str) -> Result<String, std::convert::Infallible> {
    Ok(name.trim().to_owned())
}

/// The kind of head that a name stands for.
fn head_kind(name: &str) -> Result<HeadKind, String> {
    named(&HeadKind::ALL, HeadKind::name, name)
}

/// `2GB`, `500 MB`, `10KB`, `0`: decimal units, as disks are sold.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let mistake = || "expected a size such as 2GB, 500MB or 0".to_owned();
    let text = text.trim();
    let digits =
        text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        "K" | "KB" => 1e3,
        "M" | "MB" => 1e6,
        "G" | "GB" => 1e9,
        "T" | "TB" => 1e12,
        _ => return Err(mistake()),
    };
    number.parse::<f64>().map(|number| (number * factor) as u64).map_err(|_| mistake())
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read_in_decimal_units() {
        for (text, size) in
            [("2GB", 2_000_000_000), ("0", 0), ("1.5 mb", 1_500_000), ("10K", 10_000), ("7", 7)]
        {
            assert_eq!(bytes(text).unwrap(), size, "{text}");
        }
        for text in ["", "GB", "2 XB", "1.2.3GB", "-1"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
