//! Pools.

use regraft_graph::Op;

use crate::{
    EngineError, compile,
    kernels::{
        gradient::pool::PoolGradient,
        pool::{Kind, Pool},
    },
    network::Instruction,
    tape::{
        build::{Builder, input_of},
        steps::Work,
    },
};

impl Builder<'_> {
    pub(super) fn pool_back(
        &mut self,
        instruction: &Instruction<'_>,
        gradient: usize,
    ) -> Result<(), EngineError> {
        let (node, value) = (instruction.node, input_of(instruction));
        if !self.is_needed(value) {
            return Ok(());
        }
        let pool = self.pool(instruction)?;
        let reads = match pool.kind {
            Kind::Largest => vec![gradient, value, instruction.output],
            Kind::Mean | Kind::PaddedMean => vec![gradient],
        };
        let result = self.new_gradient(value);
        let step = PoolGradient { pool, from: self.geometry(gradient), to: self.geometry(result) };
        self.push_back(&node.name, reads, Some(result), Work::gradient(step));
        self.contribute(&node.name, value, result);
        Ok(())
    }

    fn pool(&self, instruction: &Instruction<'_>) -> Result<Pool, EngineError> {
        let node = instruction.node;
        let ends = [self.geometry(input_of(instruction)), self.geometry(instruction.output)];
        match &node.op {
            Op::MaxPool(attributes) => compile::pool(node, attributes, ends, Kind::Largest),
            Op::AveragePool(attributes) => compile::pool(node, attributes, ends, compile::mean(attributes)),
            _ => Ok(compile::adaptive_pool(ends)),
        }
    }
}
