//! The graph under construction. Each node that is added is looked at together with those before it: where they are
//! together one operator of the graph, that one is added instead, and what nobody reads any more goes in the end.

use std::collections::{HashMap, HashSet};

use regraft_graph::{
    Dim, Fact, Gemm, Graph, Node, Op, ParameterKind, Reshape, Scale, Tensor, Transpose, Weights,
};

use super::fold::Budget;
use super::parameters::{Parameter, Parameters};
use super::patterns;
use super::view::View;

/// Nodes that a graph may have. Real ones have a few thousand.
const MOST_NODES: usize = 20_000;

/// Graph and tensors so far. Names are settled in the end, when it is known which nodes are left.
pub(super) struct Net {
    graph: Graph,
    pub(super) budget: Budget,
    /// Matrices that have been turned, by the place and shape of what they were.
    pub(super) turned: HashMap<(usize, usize, usize), Parameter>,
    /// What these places hold.
    pub(super) kept: Vec<Tensor>,
    parameters: HashMap<String, Parameters>,
    views: HashMap<String, View>,
    /// The names that nodes would have if no other node had them.
    wanted: HashMap<String, String>,
    /// The number that the next node of a name gets.
    numbers: HashMap<String, usize>,
}

impl Net {
    pub(super) fn new(input: &str, fact: Fact, budget: Budget) -> Self {
        Self {
            budget,
            turned: HashMap::new(),
            kept: Vec::new(),
            graph: Graph::new(input, fact),
            parameters: HashMap::new(),
            views: HashMap::new(),
            wanted: HashMap::new(),
            numbers: HashMap::new(),
        }
    }

    pub(super) fn node(&self, wire: &str) -> Option<&Node> {
        self.graph.node(wire)
    }

    /// What a wire's node computes.
    pub(super) fn op(&self, wire: &str) -> Option<&Op> {
        self.node(wire).map(|node| &node.op)
    }

    /// Axes of a wire behind the batch.
    pub(super) fn dims(&self, wire: &str) -> Vec<Dim> {
        let shape = self.graph.fact(wire).map(|fact| fact.shape.as_slice()).unwrap_or_default();
        shape.get(1..).unwrap_or_default().to_vec()
    }

    /// Sizes of a wire behind the batch, if all are fixed.
    pub(super) fn sizes(&self, wire: &str) -> Option<Vec<usize>> {
        super::fold::fixed(&self.dims(wire)).ok()
    }

    /// The one input of a node.
    pub(super) fn source(&self, wire: &str) -> Option<&str> {
        self.node(wire)?.inputs.first().map(String::as_str)
    }

    /// The wire's numbers as an order of an earlier wire's.
    pub(super) fn view(&self, wire: &str) -> Option<View> {
        self.views.get(wire).cloned().or_else(|| Some(View::whole(wire, &self.sizes(wire)?)))
    }

    /// The tensors of a node, for one that takes its place.
    pub(super) fn parameters(&self, wire: &str) -> Parameters {
        self.parameters.get(wire).cloned().unwrap_or_default()
    }

    /// The name that a node would have if no other had it.
    pub(super) fn wanted_name(&self, wire: &str) -> String {
        self.wanted.get(wire).cloned().unwrap_or_else(|| wire.to_owned())
    }

    /// Adds a node, or what it is together with those before it, and returns its wire.
    pub(super) fn add(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[&str],
        parameters: Parameters,
    ) -> Result<String, String> {
        if let Some(simpler) = patterns::simplify(self, name, &op, inputs, &parameters)? {
            return Ok(simpler);
        }
        self.push(name, op, inputs, parameters)
    }

    /// Adds a node as it is.
    pub(super) fn push(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[&str],
        parameters: Parameters,
    ) -> Result<String, String> {
        if self.graph.nodes().len() >= MOST_NODES {
            return Err(format!("the network has more than {MOST_NODES} nodes"));
        }
        let unique = free_name(name, &mut self.numbers, |name| self.graph.has_wire(name));
        let view = inputs.first().and_then(|input| self.view_with(&op, input));
        let node = Node::new(unique.clone(), op, inputs.iter().copied());
        self.graph.push(node).map_err(|error| error.to_string())?;
        check_size(&self.dims(&unique))?;
        self.views.extend(view.map(|view| (unique.clone(), view)));
        self.parameters.insert(unique.clone(), parameters);
        self.wanted.insert(unique.clone(), name.to_owned());
        Ok(unique)
    }

    /// The order that an operator without arithmetic puts an earlier wire's numbers into.
    pub(super) fn view_with(&self, op: &Op, input: &str) -> Option<View> {
        let view = self.view(input)?;
        match op {
            Op::Transpose(transpose) => {
                let order = transpose.axes.iter().skip(1).map(|axis| axis.checked_sub(1));
                view.transposed(&order.collect::<Option<Vec<_>>>()?)
            }
            Op::Reshape(reshape) => {
                let sizes =
                    reshape.shape.iter().map(|size| usize::try_from(*size).ok().filter(|size| *size > 0));
                view.reshaped(&sizes.collect::<Option<Vec<_>>>()?)
            }
            Op::Flatten => view.reshaped(&[view.axes.iter().map(|(size, _)| size).product()]),
            Op::Slice(slice) => {
                let count = (slice.end.checked_sub(slice.start)?).div_ceil(slice.step);
                view.sliced(slice.axis.checked_sub(1)?, slice.start, count, slice.step)
            }
            Op::Power(power) if (power.shift, power.power) == (0.0, 1.0) => {
                Some(View { factor: view.factor * f64::from(power.scale), ..view })
            }
            _ => None,
        }
    }

    /// The wire in another shape, which has as many numbers.
    pub(super) fn reshape(&mut self, name: &str, wire: &str, shape: &[Dim]) -> Result<String, String> {
        let from = self.dims(wire);
        if from == shape {
            return Ok(wire.to_owned());
        }
        if let ([Dim::Fixed(_)], true) = (shape, from.len() > 1) {
            return self.add(name, Op::Flatten, &[wire], Vec::new());
        }
        let size = |(place, dim): (usize, &Dim)| match dim {
            Dim::Fixed(size) => i64::try_from(*size).ok(),
            other => (from.get(place) == Some(other)).then_some(0),
        };
        let numbers = shape.iter().enumerate().map(size).collect::<Option<Vec<i64>>>();
        let numbers = numbers.ok_or_else(super::constant::unknown_size)?;
        self.add(name, Op::Reshape(Reshape { shape: numbers }), &[wire], Vec::new())
    }

    /// The wire's axes in another order, the batch being axis 0.
    pub(super) fn transpose(&mut self, name: &str, wire: &str, axes: &[usize]) -> Result<String, String> {
        if axes.iter().copied().eq(0..axes.len()) {
            return Ok(wire.to_owned());
        }
        self.add(name, Op::Transpose(Transpose { axes: axes.to_vec() }), &[wire], Vec::new())
    }

    /// Adds a number for each channel: as the bias of the layer before, where that has none.
    pub(super) fn add_bias(&mut self, name: &str, wire: &str, bias: Parameter) -> Result<String, String> {
        let channels = bias.tensor.len();
        let layer = self.op(wire).cloned().and_then(with_bias);
        if let (Some(op), Some(source)) = (layer, self.source(wire).map(str::to_owned)) {
            let mut parameters = self.parameters(wire);
            let fits = op
                .parameters()
                .iter()
                .all(|(kind, shape)| *kind != ParameterKind::Bias || shape.as_slice() == bias.tensor.shape());
            if fits {
                parameters.push((ParameterKind::Bias, bias));
                let name = self.wanted_name(wire);
                return self.add(&name, op, &[&source], parameters);
            }
        }
        let scale = Op::Scale(Scale { channels, bias: true });
        self.budget.spend(&[channels])?;
        let ones = Parameter::new(vec![channels], &vec![1.0; channels])?;
        let parameters = vec![(ParameterKind::Weight, ones), (ParameterKind::Bias, bias)];
        self.add(name, scale, &[wire], parameters)
    }

    /// The graph and the weights that these wires need.
    pub(super) fn finish(self, outputs: &[String]) -> Result<(Graph, Weights), String> {
        let mut needed: HashSet<&str> = outputs.iter().map(String::as_str).collect();
        for node in self.graph.nodes().iter().rev() {
            if needed.contains(node.name.as_str()) {
                needed.extend(node.inputs.iter().map(String::as_str));
            }
        }
        let input = self.graph.input();
        let (mut graph, mut weights) = (Graph::new(input, self.graph.input_fact().clone()), Weights::new());
        let mut renamed = HashMap::from([(input, input.to_owned())]);
        let mut numbers = HashMap::new();
        for node in self.graph.nodes().iter().filter(|node| needed.contains(node.name.as_str())) {
            let parameters = self.parameters(&node.name);
            let wanted = layer_name(&parameters).unwrap_or_else(|| self.wanted_name(&node.name));
            let name = free_name(&wanted, &mut numbers, |name| graph.has_wire(name));
            let inputs = node.inputs.iter().filter_map(|wire| renamed.get(wire.as_str()).cloned());
            let mut whole = Node::new(name.clone(), node.op.clone(), inputs);
            for (kind, parameter) in parameters {
                name_parameter(&mut whole, kind, parameter, &mut weights);
            }
            graph.push(whole).map_err(|error| error.to_string())?;
            renamed.insert(&node.name, name);
        }
        let outputs: Vec<&str> =
            outputs.iter().filter_map(|wire| renamed.get(wire.as_str()).map(String::as_str)).collect();
        graph.set_outputs(outputs).map_err(|error| error.to_string())?;
        Ok((graph, weights))
    }
}

/// What a layer is called whose weight or bias the file names: what that is the weight of.
fn layer_name(parameters: &Parameters) -> Option<String> {
    let prefix = |kind, suffix| {
        let (_, parameter) = parameters.iter().find(|(other, _)| *other == kind)?;
        parameter.name.as_deref()?.strip_suffix(suffix).filter(|prefix| !prefix.is_empty())
    };
    let name = prefix(ParameterKind::Weight, ".weight")
        .or_else(|| prefix(ParameterKind::Bias, ".bias"))
        .or_else(|| prefix(ParameterKind::Value, ".value"));
    name.map(str::to_owned)
}

pub(super) fn free_name(
    name: &str,
    numbers: &mut HashMap<String, usize>,
    taken: impl Fn(&str) -> bool,
) -> String {
    let mut free = name.to_owned();
    while taken(&free) {
        let number = numbers.entry(name.to_owned()).or_insert(1);
        *number += 1;
        free = format!("{name}_{number}");
    }
    free
}

/// Stores a tensor, under its initialiser's name where it has one and no other tensor does.
fn name_parameter(node: &mut Node, kind: ParameterKind, parameter: Parameter, weights: &mut Weights) {
    let wanted = node.parameters().into_iter().find(|wanted| wanted.kind == kind);
    let default = wanted.map_or_else(|| node.name.clone(), |wanted| wanted.name);
    let Parameter { tensor, name } = parameter;
    let mut name = name.unwrap_or_else(|| default.clone());
    let mut number = 1;
    while weights.get(&name).is_some_and(|other| !same(other, &tensor)) {
        number += 1;
        name = format!("{default}_{number}");
    }
    weights.insert(name.clone(), tensor);
    if name != default {
        node.parameter_names.insert(kind, name);
    }
}

/// Values of one example on a wire: 1 GiB in single precision.
const MOST_VALUES: usize = 1 << 28;

/// Checks that a wire has some values and no more than one of a real network, so that no product of its sizes is too large.
pub(super) fn check_size(dims: &[Dim]) -> Result<(), String> {
    let mut fixed = dims.iter().map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 });
    match fixed.try_fold(1usize, usize::checked_mul) {
        Some(0) => Err("its output would have no values".to_owned()),
        Some(1..=MOST_VALUES) => Ok(()),
        _ => Err("its output would be absurdly large".to_owned()),
    }
}

/// Whether two tensors are the same, without comparing the numbers of one with themselves.
fn same(left: &Tensor, right: &Tensor) -> bool {
    let place = |tensor: &Tensor| (tensor.data().as_ptr(), tensor.data().len());
    left.shape() == right.shape() && (place(left) == place(right) || left == right)
}

/// The same layer with a bias; `None` for what has one or can have none.
fn with_bias(op: Op) -> Option<Op> {
    match op {
        Op::Gemm(gemm) if !gemm.bias => Some(Op::Gemm(Gemm { bias: true, ..gemm })),
        Op::Conv(mut conv) if !conv.bias => {
            conv.bias = true;
            Some(Op::Conv(conv))
        }
        Op::ConvTranspose(mut conv) if !conv.bias => {
            conv.bias = true;
            Some(Op::ConvTranspose(conv))
        }
        Op::Scale(scale) if !scale.bias => Some(Op::Scale(Scale { bias: true, ..scale })),
        _ => None,
    }
}
