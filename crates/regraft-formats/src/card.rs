//! The card of a model whose file says little about how images are fed to it and what its outputs mean.

use std::collections::BTreeMap;
use std::path::Path;

use regraft_graph::{
    Card, ChannelOrder, Dim, Graph, Model, Node, Op, ParameterKind, Preprocessing, Resize, ResizeFilter,
    Roles, Weights,
};

use crate::draft::Draft;
use crate::{FormatError, Imported, labels};

/// The image size of a network that takes any, and says nothing.
const USUAL_SIZE: usize = 224;

impl Scaling {
    /// Whether a network that does this itself must have been fed numbers of 0 … 1.
    fn is_of_unit_range(&self) -> bool {
        self.mean.iter().all(|mean| (0.0..=1.0).contains(mean)) && self.std.iter().all(|std| *std <= 1.0)
    }

    fn behind_division_by_255(self) -> Self {
        let by_255 = |numbers: Vec<f32>| numbers.iter().map(|number| number * 255.0).collect();
        Self { order: self.order, mean: by_255(self.mean), std: by_255(self.std) }
    }
}

/// What is known about a model beside its graph and weights.
pub(crate) struct About<'a> {
    pub(crate) path: &'a Path,
    pub(crate) sha256: String,
    /// Names that the file gives the model and its parts.
    pub(crate) names: Vec<String>,
    pub(crate) notes: Vec<String>,
    /// Wires of layers that have none of their name.
    pub(crate) aliases: BTreeMap<String, String>,
    /// Height and width of the images that the file says.
    pub(crate) size: [Option<usize>; 2],
}

/// How images become numbers.
struct Scaling {
    order: ChannelOrder,
    /// Subtracted from a sample of 0 … 255: a number for each channel.
    mean: Vec<f32>,
    /// Divides afterwards.
    std: Vec<f32>,
}

/// Finishes a model: what rescales the input goes from the graph into the card, and the labels are looked for beside the
/// file.
///
/// # Errors
/// A weight is missing or has another shape than its node needs.
pub(crate) fn finish(draft: Draft, outputs: &[String], about: About<'_>) -> Result<Imported, FormatError> {
    let wrong = |source| FormatError::Model { path: about.path.to_path_buf(), source };
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let model = draft.finish(&outputs, blank(&about)).map_err(wrong)?;
    let Rescaled { graph, weights, scaling, removed } = without_rescaling(&model).map_err(wrong)?;
    let mut notes = about.notes;
    let scaling = match scaling {
        Some(scaling) if scaling.is_of_unit_range() => {
            let note = "the network's own rescaling is for inputs of 0 … 1: x / 255 is put before it";
            notes.push(note.to_owned());
            scaling.behind_division_by_255()
        }
        Some(scaling) => scaling,
        None => {
            let (scaling, note) = assumed(&about.names, channels(&graph));
            notes.push(note);
            scaling
        }
    };
    let mut aliases = about.aliases;
    for wire in aliases.values_mut().filter(|wire| removed.contains(wire)) {
        graph.input().clone_into(wire);
    }
    aliases.extend(removed.into_iter().map(|name| (name, graph.input().to_owned())));
    let roles = Roles::infer(&graph);
    let folder = about.path.parent().into_iter().collect::<Vec<_>>();
    let labels = labels::beside(&folder, labels::classes(&graph, &roles), &mut notes);
    let crop = about.size.map(|size| size.unwrap_or(USUAL_SIZE));
    let card = Card { preprocessing: in_size(crop, scaling), labels, roles, aliases, ..model.card().clone() };
    let model = Model::new(graph, weights, card).map_err(wrong)?;
    Ok(Imported { model, notes })
}

fn blank(about: &About<'_>) -> Card {
    // Every model of TensorFlow.js is called `model.json`.
    let stem = about.path.file_stem().filter(|stem| *stem != "model");
    let name = stem.or_else(|| about.path.parent()?.file_name()).unwrap_or_default();
    Card {
        name: name.to_string_lossy().into_owned(),
        origin: about.path.display().to_string(),
        sha256: Some(about.sha256.clone()),
        licence: None,
        preprocessing: in_size([USUAL_SIZE; 2], plain(3, 1.0)),
        labels: Vec::new(),
        source_task: None,
        source_accuracy: None,
        aliases: Default::default(),
        roles: Roles { features: String::new(), logits: None, cuts: Vec::new() },
    }
}

/// Samples divided by one number.
fn plain(channels: usize, std: f32) -> Scaling {
    Scaling { order: ChannelOrder::Rgb, mean: vec![0.0; channels], std: vec![std; channels] }
}

fn in_size(crop: [usize; 2], scaling: Scaling) -> Preprocessing {
    let Scaling { order: channel_order, mean, std } = scaling;
    let (mean, std) = (mean.into(), std.into());
    // As `image_dataset_from_directory` does, which most models were trained with.
    let (resize, filter) = (Resize::Exact(crop), ResizeFilter::Bilinear);
    Preprocessing { channel_order, resize, filter, crop, mean, std }
}

/// The channels of an image, or 3 where the network reads something else.
fn channels(graph: &Graph) -> usize {
    match graph.input_fact().shape.as_slice() {
        [_, Dim::Fixed(channels), _, _] => *channels,
        _ => 3,
    }
}

/// What is assumed where the file has no layer that says it.
fn assumed(names: &[String], channels: usize) -> (Scaling, String) {
    let advice = "if that is wrong, put a Rescaling layer in front of the model, or give it a name (regraft zoo add) and \
                  write 'preprocessing' into its zoo.toml, see docs/zoo.md";
    let known = names
        .iter()
        .filter(|_| channels == 3)
        .find_map(|name| convention(name).map(|scaling| (name, scaling)));
    match known {
        Some((name, (scaling, text))) => {
            let note = format!(
                "how images are scaled is assumed from the name '{name}': {text}, as keras.applications does; {advice}"
            );
            (scaling, note)
        }
        None => {
            let note =
                format!("the file does not say how images are scaled; 0 … 1 (x / 255) is assumed; {advice}");
            (plain(channels, 255.0), note)
        }
    }
}

/// How `keras.applications` feeds the architecture of that name.
fn convention(name: &str) -> Option<(Scaling, &'static str)> {
    let name = name.to_lowercase().replace(['-', '_', '.'], "");
    let is = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if is(&["vgg16", "vgg19"]) || (is(&["resnet50", "resnet101", "resnet152"]) && !is(&["v2"])) {
        let scaling =
            Scaling { order: ChannelOrder::Bgr, mean: vec![103.939, 116.779, 123.68], std: vec![1.0; 3] };
        return Some((scaling, "blue, green, red, minus the mean of ImageNet"));
    }
    if is(&["densenet"]) {
        let [mean, std] = [[0.485f32, 0.456, 0.406], [0.229, 0.224, 0.225]]
            .map(|row| row.map(|part| part * 255.0).to_vec());
        return Some((
            Scaling { order: ChannelOrder::Rgb, mean, std },
            "mean 0 and deviation 1 over ImageNet",
        ));
    }
    if is(&["mobilenetv3", "efficientnet", "convnext", "regnet"]) {
        return Some((plain(3, 1.0), "0 … 255 as they are"));
    }
    if is(&["mobilenet", "inception", "xception", "nasnet", "resnet50v2", "resnet101v2", "resnet152v2"]) {
        let scaling = Scaling { order: ChannelOrder::Rgb, mean: vec![127.5; 3], std: vec![127.5; 3] };
        return Some((scaling, "−1 … 1 (x / 127.5 − 1)"));
    }
    None
}

/// A network whose preprocessing went into its card.
struct Rescaled {
    graph: Graph,
    weights: Weights,
    /// What the nodes did that were taken out, if there were any.
    scaling: Option<Scaling>,
    removed: Vec<String>,
}

/// The graph without the nodes at its input that only scale and shift it, and what these did.
fn without_rescaling(model: &Model) -> Result<Rescaled, regraft_graph::GraphError> {
    let (mut graph, mut weights, mut removed) = (model.graph().clone(), model.weights().clone(), Vec::new());
    // Channel by channel: what a sample is multiplied by, and what is added then.
    let mut lines = vec![[1.0f32, 0.0]; channels(&graph)];
    while let Some((node, [scale, shift])) = first_rescaling(&graph, &weights) {
        let at = |numbers: &[f32], channel: usize| {
            numbers.get(channel).or(numbers.first()).copied().unwrap_or(0.0)
        };
        for (channel, [factor, sum]) in lines.iter_mut().enumerate() {
            *factor *= at(&scale, channel);
            *sum = *sum * at(&scale, channel) + at(&shift, channel);
        }
        for parameter in node.parameters() {
            weights.remove(&parameter.name);
        }
        graph = without(&graph, &node.name)?;
        removed.push(node.name);
    }
    // x · a + b = (x − (−b / a)) / (1 / a)
    let mean = lines.iter().map(|[factor, sum]| if *sum == 0.0 { 0.0 } else { -sum / factor }).collect();
    let std = lines.iter().map(|[factor, _]| 1.0 / factor).collect();
    let scaling = (!removed.is_empty()).then_some(Scaling { order: ChannelOrder::Rgb, mean, std });
    Ok(Rescaled { graph, weights, scaling, removed })
}

/// The only node that reads an image, if it scales and shifts it: the node, factors and shifts, one a channel or one.
fn first_rescaling(graph: &Graph, weights: &Weights) -> Option<(Node, [Vec<f32>; 2])> {
    let image = graph.input_fact().shape.len() == 4;
    let mut readers = graph.consumers(graph.input());
    let node = readers
        .next()
        .filter(|node| image && readers.next().is_none() && !graph.outputs().contains(&node.name))?;
    let numbers = |kind| weights.parameter(node, kind).map(regraft_graph::Tensor::to_f32).ok();
    let [scale, shift] = match &node.op {
        Op::Power(power) if power.power == 1.0 => [vec![power.scale], vec![power.shift]],
        Op::Scale(scale) if scale.bias => [numbers(ParameterKind::Weight)?, numbers(ParameterKind::Bias)?],
        _ => return None,
    };
    let usable = scale.iter().all(|scale| *scale > 0.0 && scale.is_finite());
    usable.then(|| (node.clone(), [scale, shift]))
}

/// The graph without a node that reads the input: the input takes its place.
fn without(graph: &Graph, name: &str) -> Result<Graph, regraft_graph::GraphError> {
    let mut left = Graph::new(graph.input(), graph.input_fact().clone());
    for node in graph.nodes().iter().filter(|node| node.name != name) {
        let mut node = node.clone();
        for input in node.inputs.iter_mut().filter(|input| *input == name) {
            *input = graph.input().to_owned();
        }
        left.push(node)?;
    }
    left.set_outputs(graph.outputs().iter().map(String::as_str))?;
    Ok(left)
}
