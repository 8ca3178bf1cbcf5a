//! What a network is shown of a set of images: which channels, and at which size.
//!
//! The images say what they have; the source says what it was trained on; the model is changed to fit, and a sentence says
//! how. A saved model holds the changed graph and its preprocessing, so whoever uses it needs nothing of this.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use regraft_data::decode::{Limits, channels, decode_as, dimensions};
use regraft_data::raster::{Channels, Samples};
use regraft_graph::{ChannelRule, GraphError, Model, Patch};
use regraft_system::files;
use serde::{Deserialize, Serialize};

use crate::config::outside;
use crate::precision::spread;
use crate::{Context, Error, Result};

/// What `--channels` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelChoice {
    /// Grey where every image is, bands where the images have them, RGB otherwise.
    #[default]
    Auto,
    /// Red, green and blue; grey becomes three equal ones, alpha is dropped.
    Rgb,
    /// Grey; colours become their luma.
    Grey,
    /// As the images have them, alpha included.
    Native,
}

impl ChannelChoice {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Rgb, Self::Grey, Self::Native];

    /// `auto`, `rgb`, `grey` or `native`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Rgb => "rgb",
            Self::Grey => "grey",
            Self::Native => "native",
        }
    }
}

/// What `--extra-channels` says: the kernels of channels that the source was not trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtraChannels {
    /// Those of the source's channels again, in order, weighted so that sums keep their size.
    Repeat,
    /// Zeros: the network computes what it computed without them.
    Zero,
    /// The mean of those of the source's channels.
    Mean,
}

impl ExtraChannels {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Repeat, Self::Zero, Self::Mean];

    /// `repeat`, `zero` or `mean`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Repeat => "repeat",
            Self::Zero => "zero",
            Self::Mean => "mean",
        }
    }

    fn rule(self) -> ChannelRule {
        match self {
            Self::Repeat => ChannelRule::Repeat,
            Self::Zero => ChannelRule::Zero,
            Self::Mean => ChannelRule::Mean,
        }
    }
}

/// What `--stem` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// As the source has it.
    #[default]
    Source,
    /// The first layers without their steps over pixels, and the network shown images that much smaller.
    Small,
}

impl Stem {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Source, Self::Small];

    /// `source` or `small`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Small => "small",
        }
    }
}

/// What a user asks for of the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputChoice {
    /// Channels of the images that the network sees.
    pub channels: ChannelChoice,
    /// Kernels of channels that the source was not trained on; by default zeros for alpha, and otherwise repeated.
    pub extra_channels: Option<ExtraChannels>,
    /// Height and width in pixels that the network sees; by default those that it was trained on.
    pub image_size: Option<usize>,
    /// First layers.
    pub stem: Stem,
}

/// A model that takes the images, and how it comes to.
#[derive(Debug, Clone)]
pub(crate) struct Adapted {
    pub(crate) model: Model,
    /// A sentence about the channels and one about the size.
    pub(crate) sentences: [String; 2],
    /// Whether a user who asked for nothing should know.
    pub(crate) remarkable: bool,
}

impl Adapted {
    /// Tells the user, where there is something to tell.
    pub(crate) fn tell(&self, context: &Context<'_>) {
        if self.remarkable {
            context.progress.message(&self.sentences.join(" "));
        }
    }
}

/// What is known of a set of images before a network sees them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// What the network is shown of them, before it is known which network.
    pub(crate) channels: Channels,
    /// Median of the shorter sides of some of them, in pixels; 0 where no image can be read.
    short_side: usize,
}

/// Images whose sizes are looked at.
const SIZES: usize = 64;

/// Images whose samples give mean and deviation of each channel.
pub(crate) const STATISTICS_IMAGES: usize = 256;

/// Standard deviation of the samples of photographs, on the scale 0 … 255: that of ImageNet, whose channels have 58.4, 57.1
/// and 57.4.
const PHOTOGRAPHS: f64 = 57.6;

impl Seen {
    /// Looks at the headers of files; files that cannot be read are passed over.
    pub(crate) fn of(paths: &[PathBuf], choice: ChannelChoice) -> Self {
        let mut sides: Vec<usize> = spread(paths, SIZES)
            .par_iter()
            .filter_map(|path| dimensions(&files::read(path).ok()?).ok())
            .map(|(width, height)| width.min(height))
            .collect();
        sides.sort_unstable();
        let short_side = sides.get(sides.len() / 2).copied().unwrap_or(0);
        Self { channels: channels_of(paths, choice), short_side }
    }

    /// The same where one call must give what another gives, whatever else is in it: 8-bit grey is RGB unless asked for.
    pub(crate) fn alike(self, choice: ChannelChoice) -> Self {
        let grey = self.channels.is_grey() && !self.channels.deep;
        let channels = if grey && choice == ChannelChoice::Auto { Channels::RGB } else { self.channels };
        Self { channels, ..self }
    }

    /// Whether mean and deviation of each channel must come from the images: for bands nobody else knows them, and samples
    /// of more than 8 bits hardly ever use their whole range.
    pub(crate) fn needs_statistics(&self) -> bool {
        self.channels.deep || !self.channels.visible
    }
}

/// What the choice makes of the images. Where all are grey, or the first has bands, that is known from the headers alone,
/// and the first image in colour settles it.
fn channels_of(paths: &[PathBuf], choice: ChannelChoice) -> Channels {
    let kind = |path: &PathBuf| channels(&files::read(path).ok()?).ok();
    let first = paths.iter().find_map(kind).unwrap_or(Channels::RGB);
    match choice {
        ChannelChoice::Rgb => Channels::RGB,
        ChannelChoice::Native => first,
        ChannelChoice::Grey => Channels { count: 1, deep: first.deep && first.is_grey(), visible: true },
        ChannelChoice::Auto if !first.visible => first,
        ChannelChoice::Auto if first.is_colour() => Channels::RGB,
        ChannelChoice::Auto => {
            let grey = paths.par_iter().filter_map(kind).map(|kind| kind.is_grey().then_some(kind.deep));
            let grey = grey.try_reduce(|| false, |one, other| Some(one || other));
            grey.map_or(Channels::RGB, |deep| Channels { count: 1, deep, visible: true })
        }
    }
}

/// Mean and deviation of each channel.
pub(crate) type Statistics = (Vec<f64>, Vec<f64>);

/// Mean and deviation of each channel over the samples of some of the images, evenly spread, on the scale 0 … 255.
pub(crate) fn statistics(paths: &[PathBuf], count: usize, limits: &Limits) -> Statistics {
    let sample = spread(paths, STATISTICS_IMAGES);
    let read = |path: &PathBuf| moments(&decode_as(&files::read(path).ok()?, count, limits).ok()?);
    let moments: Vec<Option<Vec<[f64; 3]>>> = sample.par_iter().map(read).collect();
    let mut sums = vec![[0.0; 3]; count];
    for image in moments.into_iter().flatten() {
        for (sum, moments) in sums.iter_mut().zip(image) {
            sum.iter_mut().zip(moments).for_each(|(sum, moment)| *sum += moment);
        }
    }
    let of = |[number, sum, squares]: [f64; 3]| {
        let mean = sum / number.max(1.0);
        (mean, (squares / number.max(1.0) - mean * mean).max(0.0).sqrt())
    };
    sums.into_iter().map(of).unzip()
}

/// Number, sum and sum of squares of each channel's samples that are numbers.
fn moments(image: &regraft_data::raster::Image) -> Option<Vec<[f64; 3]>> {
    let channels = image.channels();
    let mut moments = vec![[0.0; 3]; channels];
    let mut add = |index: usize, sample: f64| {
        let [number, sum, squares] = moments.get_mut(index % channels)?;
        if sample.is_finite() {
            (*number, *sum, *squares) = (*number + 1.0, *sum + sample, *squares + sample * sample);
        }
        Some(())
    };
    match image.samples() {
        Samples::Bytes(bytes) => {
            bytes.iter().enumerate().try_for_each(|(index, byte)| add(index, f64::from(*byte)))?;
        }
        Samples::Numbers(numbers) => {
            numbers.iter().enumerate().try_for_each(|(index, number)| add(index, f64::from(*number)))?;
        }
    }
    Some(moments)
}

/// Changes a model to take what was seen. `statistics` are of images that may be learned from, where they are needed.
///
/// # Errors
/// The size is too small for the network, its first layers do not step, or it does not take images.
pub(crate) fn adapt(
    model: Model,
    choice: &InputChoice,
    seen: &Seen,
    statistics: Option<Statistics>,
) -> Result<Adapted> {
    check_takes_images(&model)?;
    let (model, finer) = match choice.stem {
        Stem::Source => (model, 1),
        Stem::Small => {
            let (patch, finer) = Patch::small_stem(&model).map_err(|error| stem_error(&model, &error))?;
            let name = model.card().name.clone();
            let smaller = patch.apply(model).map_err(|error| {
                Error::Usage(format!("--stem small: {name} takes images of one size only ({error})"))
            })?;
            (smaller, finer)
        }
    };
    let trained = model.card().preprocessing.crop;
    let size = choice.image_size.map_or_else(|| trained.map(|side| (side / finer).max(1)), |side| [side; 2]);
    let model = if size == trained { model } else { resized(model, size)? };
    let own = model.card().preprocessing.channels();
    let (model, sentence) = with_channels(model, choice, seen, statistics)?;
    let small = seen.short_side > 0 && 2 * seen.short_side <= size.into_iter().min().unwrap_or(0);
    let remarkable =
        small || *choice != InputChoice::default() || model.card().preprocessing.channels() != own;
    Ok(Adapted { sentences: [sentence, size_sentence(seen, trained, size, finer)], model, remarkable })
}

/// Whether images can be shown to a network at all.
pub(crate) fn check_takes_images(model: &Model) -> Result<()> {
    let fact = model.graph().input_fact();
    if fact.shape.len() == 4 {
        return Ok(());
    }
    Err(Error::Model(format!(
        "{} takes {fact} (numbers of tokens, or vectors), and no images",
        model.card().name
    )))
}

fn stem_error(model: &Model, error: &GraphError) -> Error {
    Error::Usage(format!("--stem small: {}: {error}", model.card().name))
}

fn resized(model: Model, size: [usize; 2]) -> Result<Model> {
    let patch = Patch::resize_input(&model, size).map_err(|error| too_small(&model, size, &error))?;
    patch.apply(model).map_err(Error::model)
}

/// Sizes that are tried to tell a user which one the network takes.
const SIDES: usize = 1024;

fn too_small(model: &Model, [height, _]: [usize; 2], error: &GraphError) -> Error {
    let least = (height + 1..=SIDES).find(|side| Patch::resize_input(model, [*side; 2]).is_ok());
    let advice = least.map_or_else(String::new, |side| format!("; the least it takes is {side}"));
    Error::Usage(format!("--image-size {height}: too small for {}{advice} ({error})", model.card().name))
}

impl InputChoice {
    /// The value outside its range, if there is one.
    pub(crate) fn mistake(&self) -> Option<String> {
        let size = self.image_size.filter(|size| !IMAGE_SIZES.contains(size))?;
        Some(outside("image-size", size, &IMAGE_SIZES))
    }
}

/// How the channels that were seen become those of a network.
fn rule(own: usize, seen: Channels, extra: Option<ExtraChannels>) -> ChannelRule {
    match (own, seen) {
        (3, seen) if seen.is_grey() && !seen.deep => ChannelRule::Grey,
        (1, Channels { visible: true, count: 3, .. }) => ChannelRule::Luma,
        (3, Channels { visible: true, count: 4, .. }) => extra.map_or(ChannelRule::Zero, ExtraChannels::rule),
        _ => extra.map_or(ChannelRule::Repeat, ExtraChannels::rule),
    }
}

fn with_channels(
    model: Model,
    choice: &InputChoice,
    seen: &Seen,
    statistics: Option<Statistics>,
) -> Result<(Model, String)> {
    let (own, name) = (model.card().preprocessing.channels(), seen.channels.name());
    // Whatever is a picture can be shown to a network that was made for another kind of picture.
    let as_it_is = choice.channels == ChannelChoice::Auto && seen.channels.is_colour() && own <= 4;
    // What was made for bands before has their numbers already.
    let made_for_it = model.history().iter().any(|reason| reason.starts_with(ChannelRule::REASON));
    if own == seen.channels.count && (!seen.needs_statistics() || made_for_it) || as_it_is {
        return Ok((model, format!("The network sees {}, as its source was trained.", kind(own))));
    }
    let rule = rule(own, seen.channels, choice.extra_channels);
    let data = normalisation(&model, rule, seen.channels.count, statistics.as_ref());
    let patch = Patch::adapt_input_channels(&model, rule, data).map_err(Error::model)?;
    let model = patch.apply(model).map_err(Error::model)?;
    let scale = if statistics.is_some() {
        ", each scaled by its mean and deviation in the training images"
    } else {
        ""
    };
    Ok((model, format!("The network sees {name}{scale}: {}.", explained(rule, seen.channels))))
}

fn kind(channels: usize) -> String {
    match channels {
        1 => "grey".to_owned(),
        3 => "RGB".to_owned(),
        4 => "RGB with alpha".to_owned(),
        channels => format!("{channels} channels"),
    }
}

fn explained(rule: ChannelRule, seen: Channels) -> &'static str {
    match rule {
        ChannelRule::Grey => "it computes what its source would of the same images in RGB",
        ChannelRule::Repeat if seen.count == 1 => "the first kernels are summed over the source's channels",
        ChannelRule::Repeat => "the first kernels are repeated over the channels",
        ChannelRule::Zero => "kernels of channels that its source did not have are zero",
        ChannelRule::Mean => "kernels of channels that its source did not have are the mean of the others",
        ChannelRule::Luma => "its source sees their luma",
    }
}

/// What the network's card says of the data's channels. Where the images were asked, each channel gets the spread that
/// photographs have behind the source's own normalisation; channels that are the source's own keep its numbers.
fn normalisation(
    model: &Model,
    rule: ChannelRule,
    channels: usize,
    statistics: Option<&Statistics>,
) -> regraft_graph::Preprocessing {
    let source = &model.card().preprocessing;
    let (mut mean, mut std) = rule.normalisation(source, channels);
    let kept = if matches!(rule, ChannelRule::Zero | ChannelRule::Mean) { source.channels() } else { 0 };
    if let Some((means, deviations)) = statistics {
        let own = source.std.iter().map(|std| f64::from(*std)).sum::<f64>() / source.channels().max(1) as f64;
        let found = means.iter().zip(deviations).zip(mean.iter_mut().zip(&mut std)).skip(kept);
        for ((found_mean, deviation), (mean, std)) in found {
            *mean = *found_mean as f32;
            // A channel that is the same everywhere says nothing, whatever it is divided by.
            *std = if *deviation > 1e-6 { (deviation * own / PHOTOGRAPHS) as f32 } else { 1.0 };
        }
    }
    regraft_graph::Preprocessing { mean: mean.into(), std: std.into(), ..source.clone() }
}

fn size_sentence(seen: &Seen, trained: [usize; 2], size: [usize; 2], finer: usize) -> String {
    let [height, width] = size;
    let why = match (size == trained, finer) {
        (true, _) => "the size that its source was trained on".to_owned(),
        (false, 1) => format!("where its source was trained on {}×{}", trained[0], trained[1]),
        (false, _) => format!(
            "where its source was trained on {}×{}, and its first layers step over {finer} times fewer",
            trained[0], trained[1]
        ),
    };
    let enlarged = seen.short_side > 0 && seen.short_side < height.min(width);
    let images = match (seen.short_side, enlarged) {
        (0, _) => String::new(),
        (side, true) => {
            format!(" The images have some {side} pixels on their shorter side and are enlarged.")
        }
        (side, false) => format!(" The images have some {side} pixels on their shorter side."),
    };
    let advice = if enlarged && size == trained && 2 * seen.short_side <= height.min(width) {
        " A smaller --image-size, or --stem small, is faster; compare what it does to the accuracy."
    } else {
        ""
    };
    format!("It sees {height}×{width} pixels, {why}.{images}{advice}")
}

/// Sizes that `--image-size` may ask for.
pub(crate) const IMAGE_SIZES: std::ops::RangeInclusive<usize> = 1..=4096;

/// The model for an array of already normalised images: another size as it is, and other channels by the rule for bands where
/// they are asked for. An array whose axes are in another order has other channels, too.
pub(crate) fn adapt_to_array(
    model: Model,
    choice: &InputChoice,
    channels: usize,
    size: [usize; 2],
    array: &Path,
) -> Result<Model> {
    check_takes_images(&model)?;
    let without_effect = choice.image_size.is_some()
        || choice.stem != Stem::Source
        || matches!(choice.channels, ChannelChoice::Rgb | ChannelChoice::Grey);
    if without_effect {
        return Err(Error::Usage(format!(
            "{} is an array of images as the network is to see them: leave out --image-size, --stem and --channels rgb or grey, \
             or give the images themselves",
            array.display()
        )));
    }
    let own = model.card().preprocessing.channels();
    let failed = |error: GraphError| Error::Data(format!("{}: {error}", array.display()));
    let asked = choice.channels == ChannelChoice::Native || choice.extra_channels.is_some();
    let model = if own == channels {
        model
    } else if !asked {
        return Err(Error::Data(format!(
            "{}: {channels} channels in N×C×H×W, the network takes {own}; move the axes if they are in another order, or adapt \
             the network with --channels native",
            array.display()
        )));
    } else {
        let rule = choice.extra_channels.map_or(ChannelRule::Repeat, ExtraChannels::rule);
        let data = normalisation(&model, rule, channels, None);
        Patch::adapt_input_channels(&model, rule, data)
            .and_then(|patch| patch.apply(model))
            .map_err(failed)?
    };
    if model.card().preprocessing.crop == size {
        return Ok(model);
    }
    Patch::resize_input(&model, size).and_then(|patch| patch.apply(model)).map_err(failed)
}
