//! `regraft zoo info`: all that is known about one source model.

use std::fmt;
use std::path::{Path, PathBuf};

use regraft_graph::{
    Bindings, Card, ChannelOrder, Cost, Graph, Model, ParameterKind, Preprocessing, Resize, ResizeFilter,
    dump,
};
use regraft_zoo::{Entry, From, MatchReport, architecture, random_weights};
use serde::Serialize;

use crate::source::{Source, find_source, is_name};
use crate::zoo::Zoo;
use crate::{Error, Result};

/// All that is known about one source model.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// What the catalogue says, for a name of the catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
    /// Where its files lie, if they are here and not part of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Origin, licence, preprocessing, labels, roles; `None` for a network that only files describe which are not here.
    pub card: Option<Card>,
    /// Numbers that are stored.
    pub parameters: Option<u64>,
    /// Multiply–accumulate operations for one image of the card's size.
    pub macs: Option<u64>,
    /// Whether the weights are at hand; an architecture without weights can be looked at but not used.
    pub has_weights: bool,
    /// Which tensors of a file the model took; `None` where that is no question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<MatchReport>,
    /// What had to be assumed of a network that was read from a file, or was left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The network's nodes, as `graph.json` has them, where [`Info::with_graph`] was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph: Option<Graph>,
    #[serde(skip)]
    model: Option<Model>,
}

impl Zoo {
    /// Looks up a zoo name, a run, a model folder, or a weight file.
    ///
    /// # Errors
    /// There is nothing of that name, or it cannot be read.
    pub fn info(&self, name: impl AsRef<Path>, architecture: Option<&str>) -> Result<Info> {
        let name = name.as_ref();
        let named = name.to_str().filter(|text| architecture.is_none() && is_name(text, name));
        let Some(named) = named else {
            return Info::of(Some(find_source(name, architecture)?), true);
        };
        let entry = self.entry(named)?;
        let path = self.locate(&entry)?.map(|located| located.path);
        let has_weights = path.is_some() || entry.from == From::Embedded;
        let loaded = has_weights.then(|| self.load(&entry));
        // What the catalogue knows is known of damaged files too.
        let damage = loaded.as_ref().and_then(|loaded| loaded.as_ref().err()).map(ToString::to_string);
        let source = match loaded {
            Some(Ok(source)) => Some(source),
            _ => without_weights(&entry)?.map(Source::from),
        };
        let mut info = Info { path, ..Info::of(source, has_weights && damage.is_none())? };
        info.notes.extend(damage.map(|error| format!("cannot be used: {error}")));
        info.entry = Some(entry);
        Ok(info)
    }
}

/// The network of an entry whose weights are elsewhere, if its architecture is known.
fn without_weights(entry: &Entry) -> Result<Option<Model>> {
    let Some(architecture) = entry.architecture.as_deref().and_then(architecture) else { return Ok(None) };
    let classes = if entry.is_imagenet() { 1000 } else { entry.labels.len() };
    let network = architecture.network(classes).map_err(Error::model)?;
    let weights = random_weights(&network.graph, 0).map_err(Error::model)?;
    let mut card = Card { roles: network.roles, ..architecture.card(entry.origin()) };
    // There are as many classes as labels.
    let _ = entry.describe(&mut card, Some(classes));
    Model::new(network.graph, weights, card).map(Some).map_err(Error::model)
}

/// What a network costs for one image of its card's size.
pub(crate) fn cost(model: &Model) -> Result<Cost> {
    let [height, width] = model.card().preprocessing.crop;
    model.graph().cost(&Bindings { batch: 1, height, width }).map_err(Error::model)
}

/// How many numbers are trained: running statistics are not.
pub(crate) fn trained_parameters(model: &Model) -> u64 {
    let running = [ParameterKind::RunningMean, ParameterKind::RunningVariance];
    let parameters = model.graph().parameters();
    let trained = parameters.iter().filter(|parameter| !running.contains(&parameter.kind));
    trained.map(|parameter| parameter.shape.iter().map(|size| *size as u64).product::<u64>()).sum()
}

impl Info {
    fn of(source: Option<Source>, has_weights: bool) -> Result<Self> {
        let cost = source.as_ref().map(|source| cost(&source.model)).transpose()?;
        let card = source.as_ref().map(|source| source.model.card().clone());
        let (matched, notes, model) = source
            .map_or((None, Vec::new(), None), |source| (source.matched, source.notes, Some(source.model)));
        let (parameters, macs) = (cost.map(|cost| cost.parameters), cost.map(|cost| cost.macs));
        let (entry, path, graph) = (None, None, None);
        Ok(Self { entry, path, card, parameters, macs, has_weights, matched, notes, graph, model })
    }

    /// The same with the network's graph, if it is known.
    #[must_use]
    pub fn with_graph(self) -> Self {
        Self { graph: self.model.as_ref().map(|model| model.graph().clone()), ..self }
    }

    /// One line a node, with shapes, parameters, multiply–accumulates and cut points.
    ///
    /// # Errors
    /// The card's image size is too small for the network; the network is not known yet.
    pub fn graph_text(&self) -> Result<String> {
        let model = self.model.as_ref().ok_or_else(|| {
            let name = self.entry.as_ref().map_or("it", |entry| entry.name.as_str());
            Error::Model(format!(
                "the network is described by files that are not here: regraft zoo pull {name}"
            ))
        })?;
        dump(model).map_err(Error::model)
    }

    fn name(&self) -> &str {
        let of_card = || self.card.as_ref().map_or("", |card| card.name.as_str());
        self.entry.as_ref().map_or_else(of_card, |entry| entry.name.as_str())
    }

    fn weights(&self) -> String {
        match (&self.path, &self.entry) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(entry)) if !self.has_weights => {
                let size =
                    entry.download_bytes().map(|bytes| format!(", about {:.0} MB", bytes as f64 / 1e6));
                format!("not here: regraft zoo pull {}{}", entry.name, size.unwrap_or_default())
            }
            _ => "at hand".to_owned(),
        }
    }
}

type Row = (&'static str, String);

impl Info {
    /// What the catalogue knows, else the card.
    fn either<T>(&self, entry: fn(&Entry) -> Option<T>, card: fn(&Card) -> Option<T>) -> Option<T> {
        let of_entry = self.entry.as_ref().and_then(entry);
        of_entry.or_else(|| self.card.as_ref().and_then(card))
    }

    fn source_rows(&self) -> Vec<Row> {
        let text = |entry, card| self.either(entry, card).unwrap_or_else(|| "unknown".to_owned());
        let accuracy = self.either(|entry| entry.source_accuracy, |card| card.source_accuracy);
        let accuracy = accuracy.map(|share| format!("{:.1} % (published)", 100.0 * share));
        let aliases = self.entry.as_ref().map(|entry| entry.aliases.join(", "));
        let parameters = self.parameters.map(counted);
        let macs = self.macs.map(|count| format!("{} an image", counted(count)));
        let rows = [
            ("name", Some(self.name().to_owned())),
            ("also called", aliases.filter(|aliases| !aliases.is_empty())),
            ("origin", Some(text(|entry| Some(entry.origin()), |card| Some(card.origin.clone())))),
            ("SHA-256", Some(text(|entry| entry.sha256.clone(), |card| card.sha256.clone()))),
            ("licence", Some(text(|entry| entry.licence.clone(), |card| card.licence.clone()))),
            ("weights", Some(self.weights())),
            ("source task", Some(text(|entry| entry.source_task.clone(), |card| card.source_task.clone()))),
            ("accuracy", Some(accuracy.unwrap_or_else(|| "unknown".to_owned()))),
            ("parameters", parameters),
            ("MACs", macs),
        ];
        rows.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    fn network_rows(&self) -> Vec<Row> {
        let Some(Card { preprocessing, labels, roles, .. }) = &self.card else {
            return vec![("network", "described by files that are not here".to_owned())];
        };
        vec![
            ("image", prepared(preprocessing)),
            ("labels", if labels.is_empty() { "none".to_owned() } else { labels.len().to_string() }),
            ("features", roles.features.clone()),
            ("logits", roles.logits.clone().unwrap_or_else(|| "none".to_owned())),
            ("cut points", roles.cuts.join(", ")),
        ]
    }
}

/// `25.56 million`, `3.413 billion`, `910`.
fn counted(count: u64) -> String {
    let number = count as f64;
    match count {
        0..100_000 => count.to_string(),
        100_000..1_000_000_000 => format!("{:.2} million", number / 1e6),
        _ => format!("{:.3} billion", number / 1e9),
    }
}

/// `224×224 RGB: shorter side to 256 pixels (bilinear), centre crop, minus 123.68 116.28 103.53, over 58.395 57.12 57.375`.
fn prepared(preprocessing: &Preprocessing) -> String {
    let Preprocessing { channel_order, resize, filter, crop: [height, width], mean, std, .. } = preprocessing;
    let order = match (preprocessing.channels(), channel_order) {
        (1, _) => "grey".to_owned(),
        (3, ChannelOrder::Rgb) => "RGB".to_owned(),
        (3, ChannelOrder::Bgr) => "BGR".to_owned(),
        (channels, _) => format!("{channels} channels"),
    };
    let filter = if *filter == ResizeFilter::Bicubic { "bicubic" } else { "bilinear" };
    let resize = match resize {
        Resize::ShortSide(side) => format!("shorter side to {side} pixels ({filter}), centre crop"),
        Resize::Exact(size) if size == &[*height, *width] => format!("resized to exactly that ({filter})"),
        Resize::Exact([down, across]) => {
            format!("resized to exactly {down}×{across} ({filter}), centre crop")
        }
    };
    let numbers = |values: &[f32]| {
        let rounded = values.iter().map(|value| ((f64::from(*value) * 1e3).round() / 1e3).to_string());
        rounded.collect::<Vec<_>>().join(" ")
    };
    format!("{height}×{width} {order}: {resize}, minus {}, over {}", numbers(mean), numbers(std))
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.matched.as_ref().map(|report| ("match", report.to_string().trim_end().to_owned()));
        let notes = self.notes.iter().map(|note| ("note", note.clone()));
        let rows = self.source_rows().into_iter().chain(self.network_rows()).chain(report).chain(notes);
        rows.into_iter().try_for_each(|(key, value)| writeln!(f, "{key:<16} {value}"))
    }
}
