//! A model's configuration as Keras 1, 2 and 3 write it: layers, and which layer reads what.
//!
//! Sequential models become functional ones here, and the three forms of `inbound_nodes` one.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value as Json};

use super::settings::Settings;

/// A model: layers and how they are connected.
pub(super) struct Network<'a> {
    pub(super) layers: Vec<Layer<'a>>,
    /// The layers that stand for the inputs. Empty in a sequential model that does not say what it reads.
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<Reference>,
    /// Of a sequential model without a layer for the input: what `build` was called with.
    pub(super) built_for: Option<&'a Json>,
}

/// A layer or a model in the place of one.
pub(super) struct Layer<'a> {
    pub(super) class: &'a str,
    pub(super) name: String,
    /// What references call it: its name, or in a sequential model, where names may occur twice, its place.
    pub(super) key: String,
    /// Whether it is a function of `keras.ops`: these have no weights and no place among the layers.
    pub(super) function: bool,
    pub(super) settings: Settings<'a>,
    /// One for each time that the layer is used.
    pub(super) calls: Vec<Vec<Argument>>,
}

/// What a layer is called with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Argument {
    Tensor(Reference),
    Number(f64),
}

/// An output of a call of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Reference {
    pub(super) layer: String,
    pub(super) call: usize,
    pub(super) output: usize,
}

/// Whether a layer's configuration is that of a model.
pub(super) fn is_model(class: &str, settings: &Settings<'_>) -> bool {
    matches!(class, "Sequential" | "Functional" | "Model") || settings.get("output_layers").is_some()
}

/// The model whose class and configuration these are.
///
/// # Errors
/// What is wrong with it.
pub(super) fn network<'a>(class: &str, config: &'a Json) -> Result<Network<'a>, String> {
    let fields = config.as_object();
    let layers = fields.and_then(|fields| fields.get("layers")).unwrap_or(config);
    let layers = layers.as_array().ok_or_else(|| format!("a model of class '{class}' without 'layers'"))?;
    let layers: Vec<Layer<'_>> = layers.iter().map(layer).collect::<Result<_, _>>()?;
    match fields {
        Some(fields) if class != "Sequential" => functional(layers, fields),
        fields => Ok(sequential(layers, fields.and_then(|fields| fields.get("build_input_shape")))),
    }
}

fn layer(json: &Json) -> Result<Layer<'_>, String> {
    let class = json.get("class_name").and_then(Json::as_str).ok_or("a layer without 'class_name'")?;
    let config = json.get("config").ok_or_else(|| format!("a layer of class '{class}' without 'config'"))?;
    let settings = Settings::of(config);
    let name = json.get("name").and_then(Json::as_str).or_else(|| settings.text("name"));
    let calls = json.get("inbound_nodes").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let calls = calls.iter().map(call).collect::<Result<_, _>>();
    let name = name.unwrap_or(class).to_owned();
    let calls = calls.map_err(|message| format!("layer '{name}': {message}"))?;
    let module = json.get("module").and_then(Json::as_str).unwrap_or_default();
    let function = module.starts_with("keras.ops") || module.starts_with("keras.src.ops");
    Ok(Layer { class, key: name.clone(), name, function, settings, calls })
}

fn functional<'a>(layers: Vec<Layer<'a>>, fields: &'a Map<String, Json>) -> Result<Network<'a>, String> {
    let ends = |key: &str| {
        let mut found = Vec::new();
        references(fields.get(key).unwrap_or(&Json::Null), &mut found);
        found
    };
    let inputs = ends("input_layers").into_iter().map(|end| end.layer).collect();
    let mut network = Network { layers, inputs, outputs: ends("output_layers"), built_for: None };
    if network.outputs.is_empty() {
        return Err("a model without 'output_layers'".to_owned());
    }
    renumber(&mut network);
    Ok(network)
}

fn sequential<'a>(mut layers: Vec<Layer<'a>>, built_for: Option<&'a Json>) -> Network<'a> {
    let starts_with_input = layers.first().is_some_and(|layer| layer.class == "InputLayer");
    let mut before: Option<Reference> = None;
    for (place, layer) in layers.iter_mut().enumerate() {
        layer.calls = match before.take() {
            Some(reference) => vec![vec![Argument::Tensor(reference)]],
            None => vec![Vec::new()],
        };
        layer.key = place.to_string();
        before = Some(Reference { layer: layer.key.clone(), call: 0, output: 0 });
    }
    let inputs = if starts_with_input { vec!["0".to_owned()] } else { Vec::new() };
    Network { layers, inputs, outputs: before.into_iter().collect(), built_for }
}

/// Calls of models within models were counted from 1 (the model's own construction was call 0) by most versions.
fn renumber(network: &mut Network<'_>) {
    let models = network.layers.iter().filter(|layer| is_model(layer.class, &layer.settings));
    let calls: HashMap<String, usize> = models.map(|layer| (layer.name.clone(), layer.calls.len())).collect();
    let from_one = |reference: &&mut Reference| {
        calls.get(&reference.layer).is_some_and(|calls| reference.call >= *calls)
    };
    let late: HashSet<String> =
        references_of(network).filter(from_one).map(|reference| reference.layer.clone()).collect();
    references_of(network)
        .filter(|reference| late.contains(&reference.layer))
        .for_each(|reference| reference.call = reference.call.saturating_sub(1));
}

fn references_of<'b>(network: &'b mut Network<'_>) -> impl Iterator<Item = &'b mut Reference> {
    let arguments = network.layers.iter_mut().flat_map(|layer| layer.calls.iter_mut().flatten());
    let tensors = arguments.filter_map(|argument| match argument {
        Argument::Tensor(reference) => Some(reference),
        Argument::Number(_) => None,
    });
    network.outputs.iter_mut().chain(tensors)
}

/// One entry of `inbound_nodes`: a list of `[layer, call, output, keywords]`, or since Keras 3 an object with `args`.
fn call(json: &Json) -> Result<Vec<Argument>, String> {
    let mut arguments = Vec::new();
    match json {
        Json::Object(fields) => {
            positional(fields.get("args").unwrap_or(&Json::Null), &mut arguments);
            keywords(fields.get("kwargs").unwrap_or(&Json::Null), &mut arguments)?;
        }
        // Since Keras 2.4 a call with one tensor may stand without the list around it.
        Json::Array(items) if items.first().is_some_and(Json::is_string) => {
            old_argument(json, &mut arguments)?;
        }
        Json::Array(items) => {
            for item in items {
                old_argument(item, &mut arguments)?;
            }
        }
        _ => return Err("an entry of 'inbound_nodes' that is no list".to_owned()),
    }
    Ok(arguments)
}

fn old_argument(json: &Json, arguments: &mut Vec<Argument>) -> Result<(), String> {
    let fields = json.as_array().map_or(&[][..], Vec::as_slice);
    if let [Json::String(name), _, value, ..] = fields
        && name == "_CONSTANT_VALUE"
    {
        positional(value, arguments);
        return fields.get(3).map_or(Ok(()), |json| keywords(json, arguments));
    }
    arguments.push(Argument::Tensor(reference(fields).ok_or("an input that is no [layer, call, output]")?));
    fields.get(3).map_or(Ok(()), |json| keywords(json, arguments))
}

fn positional(json: &Json, arguments: &mut Vec<Argument>) {
    match json {
        Json::Number(number) => arguments.extend(number.as_f64().map(Argument::Number)),
        Json::Array(items) => items.iter().for_each(|item| positional(item, arguments)),
        Json::Object(_) => arguments.extend(keras_tensor(json).map(Argument::Tensor)),
        _ => {}
    }
}

/// Operands by name are arguments; a mask, and whether it is training, change nothing here.
fn keywords(json: &Json, arguments: &mut Vec<Argument>) -> Result<(), String> {
    for (name, value) in json.as_object().into_iter().flatten() {
        let old = value.as_array().and_then(|fields| reference(fields));
        match name.as_str() {
            "mask" | "training" => {}
            "x" | "y" | "x1" | "x2" => match old {
                Some(reference) => arguments.push(Argument::Tensor(reference)),
                None => positional(value, arguments),
            },
            _ => {
                let mut tensors = Vec::new();
                positional(value, &mut tensors);
                tensors.retain(|argument| matches!(argument, Argument::Tensor(_)));
                if old.is_some() || !tensors.is_empty() {
                    return Err(format!("it is called with a tensor as '{name}', which cannot be read"));
                }
            }
        }
    }
    Ok(())
}

/// All `[layer, call, output]` in lists of lists or dictionaries of such.
fn references(json: &Json, found: &mut Vec<Reference>) {
    match json {
        Json::Array(fields) => match reference(fields) {
            Some(reference) => found.push(reference),
            None => fields.iter().for_each(|field| references(field, found)),
        },
        Json::Object(fields) => fields.values().for_each(|field| references(field, found)),
        _ => {}
    }
}

fn reference(fields: &[Json]) -> Option<Reference> {
    let [Json::String(layer), call, output, ..] = fields else { return None };
    let number = |json: &Json| usize::try_from(json.as_u64()?).ok();
    Some(Reference { layer: layer.clone(), call: number(call)?, output: number(output)? })
}

fn keras_tensor(json: &Json) -> Option<Reference> {
    if json.get("class_name")?.as_str()? != "__keras_tensor__" {
        return None;
    }
    reference(json.get("config")?.get("keras_history")?.as_array()?)
}
