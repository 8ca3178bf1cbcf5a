//! A tape under construction: what is trained, which gradients are needed, and the whole of it.

use std::collections::{HashMap, HashSet};

use regraft_graph::{Model, Node, Op, Parameter, ParameterKind, Weights};

use super::{
    Output, Tape, TapeOptions, Trained,
    memory::{Memory, lifetimes},
    reverse::phases::phases,
    steps::{Normalization, Step},
};
use crate::{
    EngineError, Settings,
    buffer::Buffer,
    compile::Compiled,
    geometry::{Border, Geometry},
    kernels::gradient::{batch_norm::BatchNorm, table::SumGradient},
    network::{Instruction, Network},
    program::smallest_table,
};

/// A tape under construction.
pub(super) struct Builder<'a> {
    pub(super) model: &'a Model,
    pub(super) network: &'a Network<'a>,
    pub(super) settings: Settings,
    pub(super) options: &'a TapeOptions<'a>,
    pub(super) compiled: Compiled,
    pub(super) parameters: Vec<Trained>,
    pub(super) values: Vec<f32>,
    pub(super) norms: Vec<Normalization>,
    /// Shared numbers that are given away; behind them lie the incomplete sums of one step after the other.
    pub(super) state: usize,
    pub(super) sums: usize,
    /// Whether the gradient of a value is needed, and the border that it must have.
    pub(super) needed: Vec<bool>,
    pub(super) borders: Vec<Border>,
    /// The value of each value's gradient so far.
    pub(super) gradients: Vec<Option<usize>>,
    /// Names of the parameters whose place among the gradients a node writes, and the sums of what other nodes add.
    has_gradient: HashSet<String>,
    pub(super) more: Vec<SumGradient>,
    pub(super) forward: Vec<Step>,
    pub(super) backward: Vec<Step>,
    /// Batch normalisations that wait for the sum that reads them, by its value: theirs, what they read, and the step.
    pub(super) joined: HashMap<usize, (usize, usize, BatchNorm)>,
    /// Numbers of the steps forward that may be taken again on the way back.
    pub(super) cheap: Vec<usize>,
    /// Copies in bfloat16 of values.
    pub(super) rounded: HashMap<usize, usize>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        model: &'a Model,
        network: &'a Network<'a>,
        compiled: Compiled,
        settings: Settings,
        options: &'a TapeOptions<'a>,
    ) -> Result<Self, EngineError> {
        let count = network.values.len();
        let mut builder = Self {
            model,
            network,
            settings,
            options,
            compiled,
            parameters: Vec::new(),
            values: Vec::new(),
            norms: Vec::new(),
            state: 0,
            sums: 0,
            needed: vec![false; count],
            borders: vec![[0; 4]; count],
            gradients: vec![None; count],
            has_gradient: HashSet::new(),
            more: Vec::new(),
            forward: Vec::new(),
            backward: Vec::new(),
            joined: HashMap::new(),
            cheap: Vec::new(),
            rounded: HashMap::new(),
        };
        builder.take_parameters()?;
        builder.find_needed();
        Ok(builder)
    }

    pub(super) fn weights(&self) -> &'a Weights {
        self.model.weights()
    }

    /// Finds what is trained, and takes its numbers.
    fn take_parameters(&mut self) -> Result<(), EngineError> {
        for instruction in &self.network.instructions {
            for parameter in trainable(instruction.node) {
                // Another node may have the same one.
                if self.place(&parameter.name).is_none() && (self.options.trains)(&parameter) {
                    self.take_parameter(instruction.node, parameter)?;
                }
            }
        }
        Ok(())
    }

    fn take_parameter(&mut self, node: &Node, parameter: Parameter) -> Result<(), EngineError> {
        let Parameter { name, kind, shape } = parameter;
        let numbers = self.weights().parameter(node, kind)?.to_f32();
        let range = self.values.len()..self.values.len() + numbers.len();
        self.values.extend(numbers);
        self.parameters.push(Trained { name, kind, shape, range });
        Ok(())
    }

    /// Where a node's gradient of a parameter goes: to the parameter's own place, or, where that of another node went before,
    /// to one behind all parameters, from which it is added at the end.
    pub(super) fn gradient_place(&mut self, node: &Node, kind: ParameterKind) -> Option<usize> {
        let Trained { name, range, .. } = self.trained(node, kind)?.clone();
        if self.has_gradient.insert(name) {
            return Some(range.start);
        }
        let from = self.numbers_of_gradients();
        self.more.push(SumGradient { from, to: range.start, count: range.len() });
        Some(from)
    }

    pub(super) fn trained(&self, node: &Node, kind: ParameterKind) -> Option<&Trained> {
        let parameter = node.parameters().into_iter().find(|parameter| parameter.kind == kind)?;
        self.parameters.iter().find(|trained| trained.name == parameter.name)
    }

    pub(super) fn has_trained(&self, node: &Node) -> bool {
        trainable(node).iter().any(|parameter| self.place(&parameter.name).is_some())
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.parameters.iter().find(|trained| trained.name == name).map(|trained| trained.range.start)
    }

    /// Goes forward: a value's gradient is needed where a trained parameter or one of those before it can be reached.
    fn find_needed(&mut self) {
        self.set_needed(0, self.options.input_gradient);
        for instruction in &self.network.instructions {
            let has_trained = self.has_trained(instruction.node);
            let before = instruction.inputs.iter().any(|input| self.is_needed(*input));
            self.set_needed(instruction.output, has_trained || before);
            let border = self.border_of_gradient(instruction);
            if let Some(place) = self.borders.get_mut(instruction.output) {
                *place = border;
            }
        }
    }

    fn set_needed(&mut self, value: usize, needed: bool) {
        self.needed.iter_mut().skip(value).take(1).for_each(|place| *place = needed);
    }

    pub(super) fn is_needed(&self, value: usize) -> bool {
        self.needed.get(value).copied().unwrap_or(false)
    }

    pub(super) fn geometry(&self, value: usize) -> Geometry {
        self.compiled.geometries.get(value).copied().unwrap_or(Geometry::blocked([1, 1, 1]))
    }

    /// The border that the gradient of an instruction's output needs: that of the convolution that makes the gradient of the
    /// input of it. A sum hands its gradient on as it is.
    fn border_of_gradient(&self, instruction: &Instruction<'_>) -> Border {
        match &instruction.node.op {
            Op::Conv(conv) if self.is_needed(input_of(instruction)) => {
                let input = self.geometry(input_of(instruction));
                let phases = phases(conv, &input, &self.geometry(instruction.output));
                phases.map_or([0; 4], |(_, border)| border)
            }
            Op::Add => {
                let borders = instruction.inputs.iter().filter_map(|input| self.borders.get(*input));
                borders.fold([0; 4], widest)
            }
            _ => [0; 4],
        }
    }

    pub(super) fn refused(&self, instruction: &Instruction<'_>, message: String) -> EngineError {
        let node = instruction.node;
        let input = self.geometry(input_of(instruction));
        EngineError::Unsupported {
            node: node.name.clone(),
            op: node.op.name(),
            shape: format!("N×{}×{}×{}", input.channels, input.height, input.width),
            message,
        }
    }

    /// The whole tape.
    pub(super) fn build(mut self) -> Result<Tape, EngineError> {
        self.go_forward()?;
        let outputs = self.begin_backward();
        self.go_back()?;
        let input_gradient = self.gradient(0).filter(|_| self.options.input_gradient);
        if self.options.recompute {
            self.recompute(&outputs.iter().map(|output| output.value).collect::<Vec<_>>());
        }
        let memory = self.memory(&outputs, input_gradient)?;
        let input = self.shape(self.model.graph().input())?;
        let lent = self.forward.iter().chain(&self.backward).map(|step| step.work.lent()).max();
        Ok(Tape {
            settings: self.settings,
            model: self.model.clone(),
            gradients: crate::groups::zeros(1, self.numbers_of_gradients())?,
            state: self.state()?,
            packed: Buffer::zeroed(lent.unwrap_or(0))?,
            parameters: self.parameters,
            values: self.values,
            norms: self.norms,
            momentum: self.options.momentum,
            forward: self.forward,
            backward: self.backward,
            geometries: self.compiled.geometries,
            memory,
            outputs,
            input_gradient,
            input,
            table: smallest_table(self.network),
            images: 0,
            batch: 0,
            is_stale: false,
        })
    }

    /// The parameters', and those that are added to them.
    fn numbers_of_gradients(&self) -> usize {
        self.values.len() + self.more.iter().map(|sum| sum.count).sum::<usize>()
    }

    fn memory(&self, outputs: &[Output], input_gradient: Option<usize>) -> Result<Memory, EngineError> {
        let behind = self.forward.len();
        let of_outputs = outputs.iter().filter_map(|output| Some((output.gradient?, behind)));
        let given: Vec<(usize, usize)> = of_outputs.chain([(0, 0)]).collect();
        let kept: Vec<usize> = outputs.iter().map(|output| output.value).chain(input_gradient).collect();
        let geometries = &self.compiled.geometries;
        let lifetimes = lifetimes(geometries, &[&self.forward, &self.backward], &given, &kept);
        Memory::new(geometries, &lifetimes)
    }

    /// The shared numbers, with the statistics that the model has.
    fn state(&self) -> Result<Buffer, EngineError> {
        let mut state = Buffer::zeroed(self.state + self.sums)?;
        for (norm, node) in self.norms.iter().zip(norm_nodes(self.network)) {
            norm.fill(node, self.weights(), &mut state)?;
        }
        Ok(state)
    }
}

/// Parameters of a node that can be trained.
fn trainable(node: &Node) -> Vec<Parameter> {
    let fixed = [ParameterKind::RunningMean, ParameterKind::RunningVariance, ParameterKind::Labels];
    node.parameters().into_iter().filter(|parameter| !fixed.contains(&parameter.kind)).collect()
}

/// The value that an instruction reads first.
pub(super) fn input_of(instruction: &Instruction<'_>) -> usize {
    instruction.inputs.first().copied().unwrap_or(0)
}

fn widest(border: Border, other: &Border) -> Border {
    let mut sides = border;
    sides.iter_mut().zip(other).for_each(|(side, other)| *side = (*side).max(*other));
    sides
}

/// The nodes of batch normalisation, in order.
pub(super) fn norm_nodes<'a>(network: &'a Network<'_>) -> impl Iterator<Item = &'a Node> {
    let nodes = network.instructions.iter().map(|instruction| instruction.node);
    nodes.filter(|node| matches!(node.op, Op::BatchNormalization(_)))
}
