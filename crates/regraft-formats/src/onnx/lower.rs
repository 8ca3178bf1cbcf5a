//! The operators of a file by name.

use regraft_graph::{Custom, Dim, Fact, Op, Symbol};

use super::call::Call;
use super::element::is_float;
use super::reader::{DOMAIN, Reader, label};
use super::schema::{Shape, element};
use super::value::{Value, Wire, natural_drop};

impl Reader<'_> {
    /// The values that a node computes from wires.
    pub(super) fn lower(&mut self, call: &Call<'_>) -> Result<Vec<Value>, String> {
        let node = call.node;
        let one = match (node.domain.as_str(), node.op_type.as_str()) {
            (DOMAIN, "NearestNeighbors") => self.nearest_neighbors(call)?,
            ("" | "ai.onnx", "Split") => return self.split(call),
            ("" | "ai.onnx", "LSTM" | "GRU") => return self.recurrent(call),
            ("" | "ai.onnx", operator) => match self.standard(call, operator)? {
                Some(value) => value,
                None => self.custom(call)?,
            },
            _ => self.custom(call)?,
        };
        Ok(vec![one])
    }

    fn standard(&mut self, call: &Call<'_>, operator: &str) -> Result<Option<Value>, String> {
        Ok(Some(match operator {
            "Identity" | "Cast" => Value::Wire(call.wire(0)?),
            "Conv" => self.conv(call)?,
            "ConvTranspose" => self.conv_transpose(call)?,
            "Gemm" => self.gemm(call)?,
            "MatMul" => self.matmul(call)?,
            "BatchNormalization" => self.batch_normalization(call)?,
            "LayerNormalization" => self.layer_normalization(call)?,
            "LRN" => self.lrn(call)?,
            "PRelu" => self.prelu(call)?,
            "MaxPool" | "AveragePool" => self.pool(call)?,
            "GlobalAveragePool" | "GlobalMaxPool" => self.global_pool(call)?,
            "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Sum" | "Mean" | "Pow" => {
                self.arithmetic(call)?
            }
            "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL2" | "ReduceSumSquare" => {
                self.reduce(call)?
            }
            "Softmax" | "LogSoftmax" => self.softmax(call)?,
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => self.reshape(call)?,
            "Transpose" => self.transpose(call)?,
            "Slice" => self.slice(call)?,
            "Concat" => self.concat(call)?,
            "Gather" => self.gather(call)?,
            "Pad" => self.pad(call)?,
            "Expand" => self.expand(call)?,
            "Tile" => self.tile(call)?,
            "Resize" | "Upsample" => self.resize(call)?,
            "QuantizeLinear" => self.quantize(call)?,
            "DequantizeLinear" => self.dequantize(call)?,
            _ => return self.activation(call),
        }))
    }

    /// An operator that the graph does not know but may keep, where the shape of its output is known.
    fn custom(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let node = call.node;
        let unknown = || {
            "there is no such operator, and the file does not say what shape it gives; simplify the file, or cut the \
             network before it"
                .to_owned()
        };
        if self.defines(node) {
            return Err("the file defines it itself, which is not read; inline its functions \
                        (onnx.inliner.inline_local_functions)"
                .to_owned());
        }
        // Their subgraphs would be lost.
        if matches!(node.op_type.as_str(), "If" | "Loop" | "Scan") {
            return Err("networks with branches and loops are not read; simplify the file with fixed shapes"
                .to_owned());
        }
        if node.output.iter().filter(|name| !name.is_empty()).count() > 1 {
            return Err(
                "there is no such operator, and one with several outputs is not carried along".to_owned()
            );
        }
        let wires = (0..call.inputs.len()).map(|place| call.wire(place)).collect::<Result<Vec<Wire>, _>>()?;
        let declared = node.output.first().and_then(|name| self.declared(name));
        let (shape, dropped) = match (wires.as_slice(), declared.and_then(|kind| kind.shape.as_ref())) {
            ([wire], _) if call.is_standard() && keeps_shape(&node.op_type) => {
                (wire.shape.clone(), wire.dropped)
            }
            ([wire, ..], Some(shape)) => {
                let shape = declared_of_one(shape, wire).ok_or_else(unknown)?;
                let dropped = natural_drop(&shape);
                (shape, dropped)
            }
            _ => return Err(unknown()),
        };
        let element = declared.map_or(element::FLOAT, |kind| kind.element);
        let element = if gives_whole_numbers(&node.op_type) { element::INT64 } else { element };
        if !is_float(element) && self.is_read(node) {
            return Err("it gives whole numbers or truth values, and others compute with them".to_owned());
        }
        let axes = std::iter::once(Dim::symbol(Symbol::Batch)).chain(Wire::without(&shape, dropped));
        let custom = Custom {
            domain: if node.domain.is_empty() { "ai.onnx".to_owned() } else { node.domain.clone() },
            operator: node.op_type.clone(),
            attributes: super::custom::to_text(&node.attribute, call.opset, element)?,
            output: Fact::new(axes.collect::<Vec<_>>()),
        };
        let inputs: Vec<&str> = wires.iter().map(|wire| wire.name.as_str()).collect();
        let name = self.net.add(&label(node), Op::Custom(custom), &inputs, Vec::new())?;
        Ok(Value::Wire(Wire::new(name, shape, dropped)))
    }
}

/// The shape that the file declares, for one example: every size is known, and the first axis is the batch.
fn declared_of_one(shape: &Shape, wire: &Wire) -> Option<Vec<Dim>> {
    let batch = wire.kind.batch.map(|batch| batch.examples.and_then(|examples| i64::try_from(examples).ok()));
    let dims = shape.dim.iter().enumerate().map(|(axis, dim)| match (axis, batch) {
        (0, Some(examples)) => (dim.value == examples).then_some(1),
        _ => usize::try_from(dim.value?).ok().filter(|size| *size > 0),
    });
    dims.map(|size| size.map(Dim::Fixed)).collect()
}

/// Operators whose output has another type than their input, where the file does not state it.
fn gives_whole_numbers(operator: &str) -> bool {
    matches!(operator, "ArgMax" | "ArgMin")
}

/// Functions of single numbers that the graph does not compute.
pub(super) fn keeps_shape(operator: &str) -> bool {
    matches!(
        operator,
        "Erf"
            | "Sin"
            | "Cos"
            | "Tan"
            | "Floor"
            | "Ceil"
            | "Round"
            | "Sign"
            | "Asin"
            | "Acos"
            | "Atan"
            | "Sinh"
            | "Cosh"
            | "Shrink"
            | "ThresholdedRelu"
    )
}
