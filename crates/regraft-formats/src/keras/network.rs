//! From a model's configuration to nodes: layers in the order in which they can be computed, models within models.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use regraft_graph::{Dim, Fact, Symbol, Tensor};
use serde_json::Value as Json;

use super::FORMAT;
use super::config::{self, Argument, Layer, Network, Reference};
use super::settings::Settings;
use super::variables::{Expected, Place, Variables, snake_case};
use crate::FormatError;
use crate::channels_last::{Canvas, Order, Value, check_input};
use crate::draft::Draft;

/// What a model file says beside the configuration, as far as layers depend on it.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// The major version of Keras: 1, 2 or 3.
    pub(super) generation: u8,
    /// Whether it was trained with Theano, whose convolutions turn kernels around.
    pub(super) theano: bool,
}

/// A network under construction.
pub(super) struct Builder<'a> {
    pub(super) canvas: Canvas<'a>,
    pub(super) variables: &'a Variables,
    pub(super) origin: Origin,
    pub(super) notes: Vec<String>,
    /// Wires of layers that have none of their name.
    aliases: BTreeMap<String, String>,
    /// The embedding whose zeros mean that there is no token, if there was one.
    pub(super) masked: Option<String>,
}

/// A network, all of it.
pub(super) struct Built {
    pub(super) draft: Draft,
    pub(super) outputs: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) aliases: BTreeMap<String, String>,
    /// Height and width of the images that the file says.
    pub(super) size: [Option<usize>; 2],
}

/// A layer in use: what it is and what it is called with.
pub(super) struct Use<'a, 'b> {
    pub(super) class: &'a str,
    pub(super) name: &'b str,
    pub(super) settings: Settings<'a>,
    pub(super) operands: Vec<Operand>,
    pub(super) places: &'b [Place],
    /// The part of the layer that this one is: of a wrapper, the layer inside.
    pub(super) within: &'static str,
}

/// What a layer is called with.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Value(Value),
    Number(f64),
}

/// Builds the network of a model's class and configuration.
///
/// # Errors
/// The configuration contradicts itself, or a layer cannot be read.
pub(super) fn build<'a>(
    path: &'a Path,
    class: &str,
    config: &'a Json,
    variables: &'a Variables,
    origin: Origin,
) -> Result<Built, FormatError> {
    let network =
        config::network(class, config).map_err(|error| FormatError::malformed(path, FORMAT, error))?;
    let (name, shape) = input(&network).map_err(|message| FormatError::Unsupported {
        path: path.to_path_buf(),
        format: FORMAT,
        node: network.inputs.first().cloned().unwrap_or_default(),
        operator: "InputLayer".to_owned(),
        message,
    })?;
    let last = shape.len() == 3 && !channels_first(config);
    let order = if last { Order::ChannelsFirst } else { Order::Declared };
    let parts = Parts { network: &network, name, variables, origin, path };
    // For images of any size where the layers allow it, otherwise for those of the file's size.
    let (open, size) = match (order, shape.as_slice()) {
        (Order::ChannelsFirst, [height, width, channels]) => {
            (Some([None, None, *channels]), [*height, *width])
        }
        (_, [channels, height, width]) => (Some([*channels, None, None]), [*height, *width]),
        _ => (None, [None; 2]),
    };
    if let Some(built) = open.and_then(|open| parts.build(&open, order).ok()) {
        return Ok(Built { size, ..built });
    }
    parts.build(&shape, order).map(|built| Built { size, ..built })
}

/// What a network is built of.
struct Parts<'a, 'b> {
    network: &'b Network<'a>,
    name: String,
    variables: &'a Variables,
    origin: Origin,
    path: &'a Path,
}

impl Parts<'_, '_> {
    fn build(&self, shape: &[Option<usize>], order: Order) -> Result<Built, FormatError> {
        let input = Value { wire: self.name.clone(), order };
        let canvas = Canvas::new(Draft::new(&self.name, fact(shape, order)), self.path, FORMAT);
        let mut builder = Builder {
            canvas,
            variables: self.variables,
            origin: self.origin,
            notes: Vec::new(),
            aliases: BTreeMap::new(),
            masked: None,
        };
        let values = builder.network(self.network, vec![input], &[])?;
        let mut outputs = Vec::new();
        for value in &values {
            // An image may stay as it is: N×C×H×W is what everything behind expects.
            let flattened = matches!(value.order, Order::Flattened(_));
            outputs.push(if flattened { builder.canvas.in_order(value)? } else { value.wire.clone() });
        }
        let Builder { canvas, notes, aliases, .. } = builder;
        Ok(Built { draft: canvas.draft, outputs, notes, aliases, size: [None; 2] })
    }
}

/// Name and shape of a network's only input, without the batch.
fn input(network: &Network<'_>) -> Result<(String, Vec<Option<usize>>), String> {
    let layer = match network.inputs.as_slice() {
        [] => network.layers.first(),
        [name] => network.layers.iter().find(|layer| layer.key == *name),
        several => {
            let names = several.join(", ");
            return Err(format!("the network has {} inputs ({names}); one can be read", several.len()));
        }
    };
    let layer = layer.ok_or("the network has no layers")?;
    let name = if network.inputs.is_empty() { "input".to_owned() } else { layer.name.clone() };
    let shape = input_shape(layer).or_else(|| sizes(network.built_for?));
    let advice = "the file does not say what shape the input has; build the model before it is saved";
    let shape = shape.ok_or(advice)?;
    check_input(&shape)?;
    Ok((name, shape))
}

fn input_shape(layer: &Layer<'_>) -> Option<Vec<Option<usize>>> {
    if let Some(shape) = layer.settings.any(&["batch_shape", "batch_input_shape"]) {
        return sizes(shape);
    }
    // The first layer of a model of models says it inside.
    if config::is_model(layer.class, &layer.settings) {
        let inner = layer.settings.json();
        let network = config::network(layer.class, inner).ok()?;
        return input(&network).ok().map(|(_, shape)| shape);
    }
    let features = layer.settings.count(&["input_dim"])?;
    Some(match layer.settings.get("input_length") {
        Some(length) => vec![length.as_u64().and_then(|length| usize::try_from(length).ok()), Some(features)],
        None => vec![Some(features)],
    })
}

/// The sizes behind the batch.
fn sizes(json: &Json) -> Option<Vec<Option<usize>>> {
    let sizes = json.as_array()?.get(1..)?;
    let size = |json: &Json| match json {
        Json::Null => Some(None),
        size => size.as_u64().and_then(|size| usize::try_from(size).ok()).map(Some),
    };
    sizes.iter().map(size).collect()
}

/// The input's fact; a size that is left open is the image's height or width, or a sequence's length.
fn fact(shape: &[Option<usize>], order: Order) -> Fact {
    let open = |axis: usize| if axis == 0 && shape.len() > 2 { Symbol::Height } else { Symbol::Width };
    let size = |(axis, size): (usize, &Option<usize>)| size.map_or(Dim::symbol(open(axis)), Dim::Fixed);
    let mut sizes: Vec<Dim> = shape.iter().enumerate().map(size).collect();
    if order == Order::ChannelsFirst {
        sizes.rotate_right(1);
    }
    Fact::new([&[Dim::symbol(Symbol::Batch)], sizes.as_slice()].concat())
}

/// Whether the first layer that has an opinion takes channels first.
fn channels_first(config: &Json) -> bool {
    fn first(json: &Json) -> Option<&str> {
        match json {
            Json::Object(fields) => {
                let own = fields.get("data_format").or_else(|| fields.get("dim_ordering"));
                own.and_then(Json::as_str).or_else(|| fields.values().find_map(first))
            }
            Json::Array(items) => items.iter().find_map(first),
            _ => None,
        }
    }
    matches!(first(config), Some("channels_first" | "th"))
}

impl<'a> Builder<'a> {
    /// Adds a model's layers and returns what its outputs are.
    fn network(
        &mut self,
        network: &Network<'a>,
        inputs: Vec<Value>,
        places: &[Place],
    ) -> Result<Vec<Value>, FormatError> {
        let mut values: HashMap<Reference, Value> = HashMap::new();
        if !network.inputs.is_empty() && network.inputs.len() != inputs.len() {
            return Err(self.canvas.malformed("a model is called with another number of inputs than it has"));
        }
        for (layer, value) in network.inputs.iter().zip(&inputs) {
            values.insert(Reference { layer: layer.clone(), call: 0, output: 0 }, value.clone());
        }
        let mut slots = slots(&network.layers);
        let weighted = weighted(&network.layers);
        if places.is_empty() && self.variables.by_position(&weighted) {
            number(&mut slots, &network.layers);
        }
        let order = order(network).map_err(|error| self.canvas.malformed(error))?;
        for (place, call) in order {
            let (Some(layer), Some(slot)) = (network.layers.get(place), slots.get(place)) else { continue };
            let arguments = layer.calls.get(call).map_or(&[][..], Vec::as_slice);
            let operands = match arguments {
                [] => inputs.iter().cloned().map(Operand::Value).collect(),
                arguments => operands(arguments, &values).map_err(|error| self.canvas.malformed(error))?,
            };
            let places = [places, std::slice::from_ref(slot)].concat();
            let outputs = self.layer(layer, operands, &places)?;
            if let (0, Some(value)) = (call, outputs.first().filter(|value| value.wire != layer.name)) {
                self.aliases.insert(layer.name.clone(), value.wire.clone());
            }
            for (output, value) in outputs.into_iter().enumerate() {
                values.insert(Reference { layer: layer.key.clone(), call, output }, value);
            }
        }
        let output = |reference: &Reference| values.get(reference).cloned().ok_or_else(|| missing(reference));
        network
            .outputs
            .iter()
            .map(output)
            .collect::<Result<_, _>>()
            .map_err(|error| self.canvas.malformed(error))
    }

    fn layer(
        &mut self,
        layer: &Layer<'a>,
        operands: Vec<Operand>,
        places: &[Place],
    ) -> Result<Vec<Value>, FormatError> {
        let steps: Vec<&str> = places.iter().map(|place| place.slot.as_str()).collect();
        self.canvas.begin(&layer.name, layer.class, steps.join("/"))?;
        if config::is_model(layer.class, &layer.settings) {
            let inner = config::network(layer.class, layer.settings.json())
                .map_err(|error| self.canvas.malformed(error))?;
            return self.network(&inner, self.tensors(&operands)?, places);
        }
        let used = Use {
            class: layer.class,
            name: &layer.name,
            settings: layer.settings,
            operands,
            places,
            within: "",
        };
        self.apply(&used).map(|value| vec![value])
    }

    fn tensors(&self, operands: &[Operand]) -> Result<Vec<Value>, FormatError> {
        let value = |operand: &Operand| match operand {
            Operand::Value(value) => Ok(value.clone()),
            Operand::Number(_) => Err(self.canvas.unsupported("it is called with a number")),
        };
        operands.iter().map(value).collect()
    }

    /// The only input of a layer.
    pub(super) fn one(&self, used: &Use<'_, '_>) -> Result<Value, FormatError> {
        match used.operands.as_slice() {
            [Operand::Value(value)] => Ok(value.clone()),
            operands => Err(self
                .canvas
                .unsupported(format!("it is called with {} inputs, expected one", operands.len()))),
        }
    }

    /// The inputs of a layer that takes several.
    pub(super) fn several(&self, used: &Use<'_, '_>) -> Result<Vec<Value>, FormatError> {
        self.tensors(&used.operands)
    }

    /// The layer's weights.
    pub(super) fn weights<const COUNT: usize>(
        &self,
        used: &Use<'_, '_>,
        expected: [Expected<'_>; COUNT],
    ) -> Result<[Tensor; COUNT], FormatError> {
        let found = self.some_weights(used, &expected)?;
        <[Tensor; COUNT]>::try_from(found).map_err(|_| self.canvas.malformed("some weights are missing"))
    }

    /// The layer's weights, where their number depends on its settings.
    pub(super) fn some_weights(
        &self,
        used: &Use<'_, '_>,
        expected: &[Expected<'_>],
    ) -> Result<Vec<Tensor>, FormatError> {
        let found = self.variables.of(used.places, used.within, expected)?;
        found.map_err(|message| self.canvas.malformed(message))
    }
}

fn missing(reference: &Reference) -> String {
    let Reference { layer, call, output } = reference;
    format!("something reads output {output} of call {call} of a layer '{layer}', which there is not")
}

fn operands(arguments: &[Argument], values: &HashMap<Reference, Value>) -> Result<Vec<Operand>, String> {
    let operand = |argument: &Argument| match argument {
        Argument::Number(number) => Ok(Operand::Number(*number)),
        Argument::Tensor(reference) => {
            values.get(reference).cloned().map(Operand::Value).ok_or_else(|| missing(reference))
        }
    };
    arguments.iter().map(operand).collect()
}

/// Calls of layers, each behind those that it reads; layers that stand for inputs are left out.
fn order(network: &Network<'_>) -> Result<Vec<(usize, usize)>, String> {
    let index: HashMap<&str, usize> =
        network.layers.iter().enumerate().map(|(place, layer)| (layer.key.as_str(), place)).collect();
    let mut readers: HashMap<(usize, usize), Vec<(usize, usize)>> = HashMap::new();
    let mut waiting: HashMap<(usize, usize), usize> = HashMap::new();
    let mut ready = Vec::new();
    for (place, layer) in network.layers.iter().enumerate() {
        if network.inputs.contains(&layer.key) {
            continue;
        }
        for (call, arguments) in layer.calls.iter().enumerate() {
            let mut count = 0;
            for argument in arguments {
                let Argument::Tensor(reference) = argument else { continue };
                if network.inputs.contains(&reference.layer) {
                    continue;
                }
                let source = index.get(reference.layer.as_str()).ok_or_else(|| missing(reference))?;
                readers.entry((*source, reference.call)).or_default().push((place, call));
                count += 1;
            }
            if count == 0 { ready.push((place, call)) } else { _ = waiting.insert((place, call), count) }
        }
    }
    ready.reverse();
    let mut order = Vec::new();
    while let Some(next) = ready.pop() {
        order.push(next);
        for reader in readers.remove(&next).unwrap_or_default().into_iter().rev() {
            if let Some(count) = waiting.get_mut(&reader) {
                *count -= 1;
                if *count == 0 {
                    waiting.remove(&reader);
                    ready.push(reader);
                }
            }
        }
    }
    if waiting.is_empty() { Ok(order) } else { Err("its layers read each other in a circle".to_owned()) }
}

/// Where each layer of a model is in the files of each generation.
fn slots(layers: &[Layer<'_>]) -> Vec<Place> {
    let mut used: HashMap<String, usize> = HashMap::new();
    let mut place = |layer: &Layer<'_>| {
        let class = snake_case(layer.class);
        let mut slot = class.clone();
        if !layer.function {
            let count = used.entry(class.clone()).or_default();
            if *count > 0 {
                slot = format!("{class}_{count}");
            }
            *count += 1;
        }
        Place { name: layer.name.clone(), slot, position: None }
    };
    layers.iter().map(&mut place).collect()
}

/// Numbers the layers that have weights.
fn number(places: &mut [Place], layers: &[Layer<'_>]) {
    let weighted = |layer: &Layer<'_>| has_weights(layer.class, &layer.settings);
    let places = places.iter_mut().zip(layers).filter(|(_, layer)| weighted(layer));
    places.enumerate().for_each(|(position, (place, _))| place.position = Some(position));
}

fn weighted<'b>(layers: &'b [Layer<'_>]) -> Vec<&'b str> {
    let layers = layers.iter().filter(|layer| has_weights(layer.class, &layer.settings));
    layers.map(|layer| layer.name.as_str()).collect()
}

/// Whether a layer of that class has weights.
fn has_weights(class: &str, settings: &Settings<'_>) -> bool {
    if let Some(inner) = settings.get("layers").unwrap_or(settings.json()).as_array() {
        let weighted = |layer: &Json| {
            let class = layer.get("class_name").and_then(Json::as_str).unwrap_or_default();
            layer.get("config").is_some_and(|config| has_weights(class, &Settings::of(config)))
        };
        return inner.iter().any(weighted);
    }
    let wrapped = settings.get("layer").and_then(|layer| layer.get("class_name")).and_then(Json::as_str);
    let class = wrapped.unwrap_or(class);
    let named = ["Dense", "Embedding", "LSTM", "GRU", "PReLU"].contains(&class);
    named || class.contains("Conv") || (class.ends_with("Normalization") && class != "UnitNormalization")
}
