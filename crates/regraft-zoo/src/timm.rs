//! What a model is called in timm, so that timm and transformers can open what Regraft saves.
//!
//! Most networks of the table have timm's names, or a twin that has them: the same builder with other names, so that the
//! parameters of the two correspond one by one. A model is recognised by its nodes, never by what its card claims: up to
//! its features it must be the architecture's very graph, and behind them there may be a dense layer.

use std::collections::BTreeMap;
use std::path::Path;

use regraft_formats::FormatError;
use regraft_formats::model_folder::{self, TimmNames};
use regraft_graph::{Conv, Dim, Graph, Model, Node, Op, ParameterKind};

use crate::architecture::{Architecture, architectures, called};
use crate::builder::Network;
use crate::table::{INVERTED_MARK, TIMM_MARKS, VGG_MARK};

/// Writes a model into a folder that Regraft opens, and where timm has the same network, timm and transformers too.
///
/// # Errors
/// A file cannot be written, or the model holds a number that JSON cannot (infinite, not a number).
pub fn save_folder(model: &Model, folder: &Path) -> Result<(), FormatError> {
    match timm_names(model) {
        Some(names) => model_folder::save_for_timm(model, &names, folder),
        None => model_folder::save(model, folder),
    }
}

/// The model as timm calls it; `None` where timm has no such network.
pub fn timm_names(model: &Model) -> Option<TimmNames> {
    let named = called(model.card().name.split('.').next().unwrap_or_default());
    let marked =
        architectures().iter().filter(|architecture| model.weights().get(architecture.mark).is_some());
    named.chain(marked).find_map(|architecture| names_of(model, architecture))
}

fn names_of(model: &Model, architecture: &'static Architecture) -> Option<TimmNames> {
    let crop = model.card().preprocessing.crop;
    let body = body(architecture, crop)?;
    let (start, head) = model.graph().nodes().split_at_checked(body.len())?;
    let channels = input_channels(model.graph())?;
    let same = start.iter().zip(&body).all(|(node, usual)| is_same(node, usual, channels));
    let head = same.then(|| head_of(model, head)).flatten()?;
    let twin = twin(architecture)?;
    let body: Vec<Node> = body.iter().map(|node| adapted(node, channels)).collect();
    let theirs: Vec<Node> = self::body(twin, crop)?.iter().map(|node| adapted(node, channels)).collect();
    let mut names = TimmNames {
        architecture: twin.name.to_owned(),
        arguments: arguments(twin, crop, channels, &theirs, &body)?,
        tensors: corresponding(&body, &theirs)?,
        first_conv: theirs.iter().find(|node| matches!(node.op, Op::Conv(_)))?.name.clone(),
        classifier: None,
    };
    if architecture.mark == VGG_MARK {
        names.tensors.extend(vgg_layers(&body));
    }
    if let Some(head) = head {
        let classifier = if architecture.mark == VGG_MARK { "head.fc" } else { twin.classifier };
        names.tensors.extend(head_tensors(head, classifier));
        names.classifier = Some(classifier.to_owned());
    }
    Some(names)
}

/// The nodes up to the features.
fn body(architecture: &Architecture, crop: [usize; 2]) -> Option<Vec<Node>> {
    let Network { graph, roles } = architecture.network_for(0, crop).ok()?;
    let last = graph.nodes().iter().position(|node| node.name == roles.features)?;
    graph.nodes().get(..=last).map(<[Node]>::to_vec)
}

/// Whether a node is the architecture's, but for the number of channels that the first convolution reads.
fn is_same(node: &Node, usual: &Node, channels: usize) -> bool {
    node == usual || *node == adapted(usual, channels)
}

/// A node of a network for images of three channels in one for another number.
fn adapted(usual: &Node, channels: usize) -> Node {
    match &usual.op {
        Op::Conv(conv) if conv.in_channels == 3 && conv.groups == 1 => {
            Node { op: Op::Conv(Conv { in_channels: channels, ..conv.clone() }), ..usual.clone() }
        }
        _ => usual.clone(),
    }
}

fn input_channels(graph: &Graph) -> Option<usize> {
    match graph.input_fact().shape.get(1)? {
        Dim::Fixed(channels) => Some(*channels),
        Dim::Symbolic { .. } => None,
    }
}

/// What is behind the features: nothing, or a dense layer that gives the logits. The inner `None` is no head.
fn head_of<'a>(model: &Model, nodes: &'a [Node]) -> Option<Option<&'a Node>> {
    let (last, before) = match nodes.split_last() {
        None => return model.card().roles.logits.is_none().then_some(None),
        Some(split) => split,
    };
    let passing = before.iter().all(|node| matches!(node.op, Op::Flatten | Op::Dropout { .. }));
    let dense = matches!(&last.op, Op::Gemm(gemm) if gemm.bias);
    (passing && dense && model.card().roles.logits.as_ref() == Some(&last.name)).then_some(Some(last))
}

/// The architecture itself or its other form that has timm's names.
fn twin(architecture: &'static Architecture) -> Option<&'static Architecture> {
    let forms =
        std::iter::once(architecture).chain(architecture.aliases.iter().flat_map(|alias| called(alias)));
    let is_timm = |form: &&Architecture| TIMM_MARKS.contains(&form.mark) && !form.name.contains('/');
    forms.into_iter().find(is_timm)
}

/// Arguments of timm's builder. `None` where the two networks compute something else.
fn arguments(
    twin: &Architecture,
    crop: [usize; 2],
    channels: usize,
    theirs: &[Node],
    ours: &[Node],
) -> Option<BTreeMap<String, serde_json::Value>> {
    let mut arguments = BTreeMap::new();
    if channels != 3 {
        arguments.insert("in_chans".to_owned(), channels.into());
    }
    if crop != twin.preprocessing.crop
        && theirs.iter().any(|node| matches!(node.op, Op::PositionEmbedding(_)))
    {
        arguments.insert("img_size".to_owned(), crop.to_vec().into());
    }
    (theirs.len() == ours.len()).then_some(())?;
    for (theirs, ours) in theirs.iter().zip(ours).filter(|(theirs, ours)| theirs.op != ours.op) {
        let epsilon = other_epsilon(&theirs.op, &ours.op).filter(|_| twin.mark == INVERTED_MARK)?;
        let before = arguments.insert("bn_eps".to_owned(), epsilon.into());
        before.is_none_or(|before| before == epsilon).then_some(())?;
    }
    Some(arguments)
}

/// What our batch normalisation adds to the variance, if it differs from timm's in nothing else.
fn other_epsilon(theirs: &Op, ours: &Op) -> Option<f64> {
    match (theirs, ours) {
        (Op::BatchNormalization(theirs), Op::BatchNormalization(ours))
            if theirs.channels == ours.channels =>
        {
            Some(ours.epsilon)
        }
        _ => None,
    }
}

/// The parameters of two networks that differ in names only.
fn corresponding(ours: &[Node], theirs: &[Node]) -> Option<BTreeMap<String, (String, Vec<usize>)>> {
    let [ours, theirs] =
        [ours, theirs].map(|nodes| nodes.iter().flat_map(Node::parameters).collect::<Vec<_>>());
    let same = ours.len() == theirs.len();
    let pairs = ours.into_iter().zip(theirs).filter(|(ours, theirs)| ours.name != theirs.name);
    same.then(|| pairs.map(|(ours, theirs)| (ours.name, (theirs.name, theirs.shape))).collect())
}

fn head_tensors(head: &Node, classifier: &str) -> impl Iterator<Item = (String, (String, Vec<usize>))> {
    head.parameters().into_iter().map(move |parameter| {
        let theirs = format!("{classifier}.{}", parameter.kind.suffix());
        (parameter.name, (theirs, parameter.shape))
    })
}

/// timm computes VGG's two dense layers as convolutions.
fn vgg_layers(body: &[Node]) -> Vec<(String, (String, Vec<usize>))> {
    let layers = [("classifier.0", "pre_logits.fc1", 7), ("classifier.3", "pre_logits.fc2", 1)];
    let tensors = layers.into_iter().filter_map(|(ours, theirs, side)| {
        let parameters = body.iter().find(|node| node.name == ours)?.parameters().into_iter();
        Some(parameters.map(move |parameter| {
            let shape = match (parameter.kind, parameter.shape.as_slice()) {
                (ParameterKind::Weight, [rows, columns]) => vec![*rows, columns / (side * side), side, side],
                _ => parameter.shape.clone(),
            };
            (parameter.name, (format!("{theirs}.{}", parameter.kind.suffix()), shape))
        }))
    });
    tensors.flatten().collect()
}
