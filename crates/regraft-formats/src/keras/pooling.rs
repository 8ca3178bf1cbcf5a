//! Pooling over windows and over everything, in one dimension and two.

use regraft_graph::{Op, Padding, Pool, Reduce, ReduceKind};

use super::merge::fixed;
use super::network::{Builder, Use};
use crate::FormatError;
use crate::channels_last::{Order, Value};

impl<'a> Builder<'a> {
    pub(super) fn pool2d(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let kernel = used.settings.pair(&["pool_size"]).unwrap_or([2, 2]);
        let stride = used.settings.pair(&["strides"]).unwrap_or(kernel);
        let pool = Pool::new(kernel, stride, self.padding(used)?);
        let input = self.one(used)?;
        let (wire, order) = self.images(used, &input)?;
        let wire = self.canvas.add(used.name, pooling(used.class, pool), &[&wire], [])?;
        Ok(Value { wire, order })
    }

    pub(super) fn pool1d(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let size = used.settings.single(&["pool_size", "pool_length"]).unwrap_or(2);
        let stride = used.settings.single(&["strides", "stride"]).unwrap_or(size);
        let pool = Pool::new([1, size], [1, stride], self.padding(used)?);
        let input = self.one(used)?;
        let row = self.row(used, &input)?;
        let row = self.canvas.add(&format!("{}/pool", used.name), pooling(used.class, pool), &[&row], [])?;
        self.sequence(used.name, &row)
    }

    /// `valid` or `same`.
    pub(super) fn padding(&self, used: &Use<'a, '_>) -> Result<Padding, FormatError> {
        let padding = used.settings.text("padding").or_else(|| used.settings.text("border_mode"));
        match padding.unwrap_or("valid") {
            "valid" => Ok(Padding::all(0)),
            "same" => Ok(Padding::SameUpper),
            other => Err(self.canvas.unsupported(format!("the padding '{other}' is not computed"))),
        }
    }

    /// A wire N×C×H×W of a layer for images, and the order of what comes out.
    pub(super) fn images(
        &mut self,
        used: &Use<'a, '_>,
        input: &Value,
    ) -> Result<(String, Order), FormatError> {
        if used.settings.channels_first() {
            return Ok((self.canvas.in_order(input)?, Order::Declared));
        }
        Ok((self.canvas.image(input)?, Order::ChannelsFirst))
    }

    /// A sequence N×S×D as an image of one row, N×D×1×S.
    pub(super) fn row(&mut self, used: &Use<'a, '_>, input: &Value) -> Result<String, FormatError> {
        if used.settings.channels_first() {
            return Err(self.canvas.unsupported("a sequence with its channels first is not read"));
        }
        let wire = self.canvas.in_order(input)?;
        let sizes: Vec<Option<usize>> = self.canvas.sizes(&wire)?.into_iter().map(fixed).collect();
        let [_, Some(tokens), Some(features)] = *sizes else {
            return Err(self
                .canvas
                .unsupported("it expects sequences of a known length, batch × steps × features"));
        };
        let moved = self.canvas.transpose("to_channels_first", &wire, &[0, 2, 1])?;
        self.canvas.reshape("row", &moved, &[features, 1, tokens])
    }

    /// The way back from [`row`](Self::row).
    pub(super) fn sequence(&mut self, name: &str, row: &str) -> Result<Value, FormatError> {
        let sizes: Vec<Option<usize>> = self.canvas.sizes(row)?.into_iter().map(fixed).collect();
        let [_, Some(features), _, Some(tokens)] = *sizes else {
            return Err(self.canvas.malformed("it makes no sequence"));
        };
        let flat = self.canvas.reshape("sequence", row, &[features, tokens])?;
        let op = Op::Transpose(regraft_graph::Transpose { axes: vec![0, 2, 1] });
        Ok(Value::declared(self.canvas.add(name, op, &[&flat], [])?))
    }

    pub(super) fn global_pool(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let keep = used.settings.flag(&["keepdims"], false);
        let kind = if used.class.contains("Max") { ReduceKind::Max } else { ReduceKind::Mean };
        let input = self.one(used)?;
        if used.class.contains("1D") {
            let wire = self.canvas.in_order(&input)?;
            let axes = vec![if used.settings.channels_first() { 2 } else { 1 }];
            self.refuse_mask()?;
            let op = Op::Reduce(Reduce { kind, axes, keep_axes: keep });
            return Ok(Value::declared(self.canvas.add(used.name, op, &[&wire], [])?));
        }
        let (wire, order) = self.images(used, &input)?;
        let name = if keep { used.name.to_owned() } else { format!("{}/pool", used.name) };
        let op = match kind {
            ReduceKind::Mean => Op::GlobalAveragePool,
            kind => Op::Reduce(Reduce { kind, axes: vec![2, 3], keep_axes: true }),
        };
        let wire = self.canvas.add(&name, op, &[&wire], [])?;
        if keep {
            return Ok(Value { wire, order });
        }
        Ok(Value::declared(self.canvas.add(used.name, Op::Flatten, &[&wire], [])?))
    }

    /// Where zeros of an embedding stand for no token, layers over all tokens would have to leave them out.
    pub(super) fn refuse_mask(&self) -> Result<(), FormatError> {
        match &self.masked {
            None => Ok(()),
            Some(embedding) => Err(self.canvas.unsupported(format!(
                "'{embedding}' masks the token 0 (mask_zero), and sequences with masked tokens are not computed"
            ))),
        }
    }
}

fn pooling(class: &str, pool: Pool) -> Op {
    if class.starts_with("Max") { Op::MaxPool(pool) } else { Op::AveragePool(pool) }
}
