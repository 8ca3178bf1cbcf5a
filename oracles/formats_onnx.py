"""Small ONNX files and what ONNX Runtime computes with them.

Usage: formats_onnx.py OUTPUT_FOLDER
Writes:
  NAME.onnx      one for each family of operators and each change of the operators' rules between opset 7 and 21, made with
                 onnx.helper; and four small networks as both exporters of PyTorch write them (script_*, dynamo_*)
  external.onnx, external.data   a network whose weights lie in another file
  quantized.onnx a small network that onnxruntime.quantization has quantised (QDQ, unsigned, calibrated on its input)
  refused_*.onnx files that cannot be read without wrong numbers
  expected.json  "inputs": name -> {shape, values}, of two examples; "files": file -> "input": such a name, "output": {shape, values},
                 of the weights that keep their names "weights": name -> {shape, sum}, and where values are rounded in the
                 file "within": how far that moves its outputs, as a part of the largest; "refused": file -> what the message
                 says. Values are the hexadecimal digits of little-endian single-precision numbers
Versions: torch 2.15.0, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6. One thread.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
numbers = np.random.default_rng(0)
inputs, expected, refused = {}, {}, {}


def weight(*shape, scale=0.5):
    return (numbers.standard_normal(shape) * scale).astype(np.float32)


def node(operator, inputs, output="y", **attributes):
    return helper.make_node(operator, inputs.split(","), output.split(","), name=f"{output.split(',')[0]}_node", **attributes)


def run(name, image):
    session = onnxruntime.InferenceSession(str(out / name), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def record(name, image):
    output = run(name, image)
    key = "x".join(map(str, image.shape)) + ("" if image.min() < 0 else " positive")
    while inputs.setdefault(key, described(image)) != described(image):
        key += " other"
    expected[name] = {"input": key, "output": described(output)}


def described(array):
    return {"shape": list(array.shape), "values": np.ascontiguousarray(array, dtype="<f4").tobytes().hex()}


def image_of(shape):
    """The same numbers for the same shape, so that they are stored once."""
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def save(name, nodes, weights=None, shape=(2, 4, 6, 5), opset=17, element=TensorProto.FLOAT, infos=(), batch="batch", output=None, outputs=True, functions=()):
    """A file with input x and output y."""
    constants = [numpy_helper.from_array(np.asarray(value), key) for key, value in (weights or {}).items()]
    dims = [batch, *shape[1:]]
    graph = helper.make_graph(
        nodes if isinstance(nodes, list) else [nodes], name,
        [helper.make_tensor_value_info("x", element, dims)],
        [helper.make_tensor_value_info("y", output or TensorProto.FLOAT, None)][: int(outputs)],
        constants, value_info=list(infos),
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("other", 3)]
    opsets = opsets if any(node.domain for node in graph.node) else opsets[:1]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 20 else 10, functions=functions)
    onnx.save(model, out / f"{name}.onnx")


def case(name, nodes, weights=None, shape=(2, 4, 6, 5), positive=False, element=TensorProto.FLOAT, scale=1.0, **rest):
    """A file that is read, whose batch is open unless `batch` says how large it is."""
    save(name, nodes, weights, shape, element=element, **rest)
    image = image_of(shape) * np.float32(scale)
    if positive:
        image = np.abs(image) + 0.5
    if element == TensorProto.INT64:
        image = numbers.integers(0, 6, shape).astype(np.int64)
    if element == TensorProto.UINT8:
        image = numbers.integers(0, 256, shape).astype(np.uint8)
    record(f"{name}.onnx", image)


def refuse(name, message, nodes, weights=None, shape=(2, 4, 6, 5), **rest):
    """A file that is refused, with a message that has these words."""
    save(f"refused_{name}", nodes, weights, shape, **rest)
    refused[f"refused_{name}.onnx"] = message


i64 = lambda *values: np.array(values, dtype=np.int64)
f32 = lambda *values: np.array(values, dtype=np.float32)

# Convolutions and pools.
conv = {"c.weight": weight(6, 2, 3, 3), "c.bias": weight(6)}
case("conv", node("Conv", "x,c.weight,c.bias", group=2, pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2]), conv)
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    case(f"conv_{auto.lower()}", node("Conv", "x,w", auto_pad=auto, strides=[2, 2]), {"w": weight(3, 4, 2, 3)})
case("conv_signal", node("Conv", "x,w", pads=[1, 1], strides=[2]), {"w": weight(3, 4, 3)}, shape=(2, 4, 9))
case("conv_transpose", node("ConvTranspose", "x,w,b", strides=[2, 2], pads=[1, 0, 0, 1], output_padding=[1, 0], group=2),
     {"w": weight(4, 3, 3, 3), "b": weight(6)})
case("conv_transpose_shape", node("ConvTranspose", "x,w", strides=[2, 2], output_shape=[12, 10]), {"w": weight(4, 3, 3, 3)})
case("max_pool", node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]))
case("max_pool_ceil", node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1))
case("max_pool_ceil_gap", node("MaxPool", "x", kernel_shape=[1, 1], strides=[2, 2], ceil_mode=1))
case("average_pool", node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1))
case("average_pool_same", node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"), opset=7)
case("global_pools", [node("GlobalAveragePool", "x", "a"), node("GlobalMaxPool", "x", "m"), node("Add", "a,m")])
case("lrn", node("LRN", "x", size=3, alpha=0.3, beta=0.6, bias=1.5))

# Dense layers, normalisations.
case("gemm", node("Gemm", "x,w,b", alpha=0.5, beta=2.0), {"w": weight(7, 3), "b": weight(1)}, shape=(2, 7))
case("gemm_turned", node("Gemm", "x,fc.weight,fc.bias", transB=1), {"fc.weight": weight(3, 7), "fc.bias": weight(3)}, shape=(2, 7))
case("matmul", [node("MatMul", "x,w", "h"), node("Add", "b,h")], {"w": weight(7, 3), "b": weight(3)}, shape=(2, 5, 7))
case("matmul_image", node("MatMul", "x,w"), {"w": weight(5, 3)})
case("matmul_left", node("MatMul", "w,x"), {"w": weight(3, 6)})
case("matmul_wires", [node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("MatMul", "x,t")])
statistics = {"n.weight": weight(4), "n.bias": weight(4), "n.mean": weight(4), "n.var": np.abs(weight(4)) + 0.3}
case("batch_norm", node("BatchNormalization", "x,n.weight,n.bias,n.mean,n.var", epsilon=1e-3), statistics, opset=9)
case("batch_norm_vector", node("BatchNormalization", "x,n.weight,n.bias,n.mean,n.var"), statistics, shape=(2, 4), opset=15)
norm = {"l.weight": weight(7), "l.bias": weight(7)}
case("layer_norm", node("LayerNormalization", "x,l.weight,l.bias", axis=-1, epsilon=1e-4), norm, shape=(2, 5, 7))
case("layer_norm_written_out", [
    node("ReduceMean", "x", "mean", axes=[-1]), node("Sub", "x,mean", "d"), node("Pow", "d,two", "s"),
    node("ReduceMean", "s", "v", axes=[-1]), node("Add", "v,eps", "ve"), node("Sqrt", "ve", "root"),
    node("Div", "d,root", "n"), node("Mul", "n,l.weight", "g"), node("Add", "g,l.bias"),
], {**norm, "two": f32(2)[0], "eps": f32(1e-4)[0]}, shape=(2, 5, 7), opset=13)
case("layer_norm_image", [
    node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("LayerNormalization", "t,l.weight,l.bias", "n", axis=-1),
    node("MatMul", "n,w", "m"), node("Gelu", "m", "g"), node("Mul", "g,s", "p"), node("Transpose", "p", perm=[0, 3, 1, 2]),
], {"l.weight": weight(4), "l.bias": weight(4), "w": weight(4, 6), "s": weight(6)}, opset=20)

# Functions of single values.
for name, operator, attributes, opset in [
    ("relu", "Relu", {}, 7), ("sigmoid", "Sigmoid", {}, 13), ("tanh", "Tanh", {}, 13), ("elu", "Elu", {"alpha": 0.7}, 7),
    ("leaky_relu", "LeakyRelu", {"alpha": 0.2}, 16), ("softplus", "Softplus", {}, 7), ("exp", "Exp", {}, 13),
    ("hard_sigmoid", "HardSigmoid", {}, 7), ("hard_swish", "HardSwish", {}, 14), ("gelu", "Gelu", {}, 20),
    ("gelu_tanh", "Gelu", {"approximate": "tanh"}, 20), ("mish", "Mish", {}, 18), ("selu", "Selu", {}, 7), ("celu", "Celu", {"alpha": 2.0}, 12),
    ("abs", "Abs", {}, 13), ("neg", "Neg", {}, 13),
]:
    case(name, node(operator, "x", **attributes), opset=opset)
case("log_sqrt", [node("Log", "x", "l"), node("Sqrt", "x", "s"), node("Reciprocal", "x", "r"), node("Sum", "l,s,r")], positive=True)
case("clip_old", node("Clip", "x", min=-0.5, max=0.8), opset=7)
case("clip", node("Clip", "x,low,high"), {"low": f32(-0.5)[0], "high": f32(0.8)[0]}, opset=13)
case("clip_low", node("Clip", "x,low"), {"low": f32(0)[0]}, opset=13)
case("prelu", node("PRelu", "x,slope"), {"slope": weight(4, 1, 1)}, opset=9)
half, one, root = f32(0.5)[0], f32(1)[0], f32(2**-0.5)[0]
case("gelu_erf", [node("Mul", "x,root", "a"), node("Erf", "a", "e"), node("Add", "e,one", "p"), node("Mul", "x,p", "q"), node("Mul", "q,half")],
     {"root": root, "one": one, "half": half}, opset=13)
case("gelu_cubic", [
    node("Pow", "x,three", "c"), node("Mul", "c,small", "s"), node("Add", "x,s", "i"), node("Mul", "i,root", "z"), node("Tanh", "z", "t"),
    node("Add", "t,one", "p"), node("Mul", "x,half", "h"), node("Mul", "h,p"),
], {"three": f32(3)[0], "small": f32(0.044715)[0], "root": f32((2 / np.pi) ** 0.5)[0], "one": one, "half": half}, opset=13)
case("silu", [node("Sigmoid", "x", "s"), node("Mul", "s,x")])
case("hard_swish_written_out", [
    node("Add", "x,three", "a"), node("Clip", "a,zero,six", "c"), node("Mul", "x,c", "m"), node("Div", "m,six"),
], {"three": f32(3)[0], "zero": f32(0)[0], "six": f32(6)[0]}, opset=13)
case("softmax_old", node("Softmax", "x", axis=2), opset=11)
case("softmax", node("Softmax", "x", axis=1), opset=13)
case("log_softmax", node("LogSoftmax", "x"), shape=(2, 9), opset=13)

# Arithmetic that repeats along axes.
case("numbers", [node("Mul", "two,x", "m"), node("Sub", "one,m", "s"), node("Div", "s,two", "d"), node("Pow", "d,two", "p"), node("Max", "p,half")],
     {"two": f32(2), "one": one, "half": half}, opset=13)
case("channels", [node("Mul", "x,a", "m"), node("Add", "b,m", "s"), node("Sub", "a,s", "d"), node("Div", "d,c")],
     {"a": weight(4, 1, 1), "b": weight(1, 4, 1, 1), "c": np.abs(weight(4, 1, 1)) + 0.5})
case("maps", [node("Add", "x,a", "m"), node("Mul", "m,b", "s"), node("Min", "s,c")],
     {"a": weight(1, 4, 6, 5), "b": weight(6, 5), "c": weight(5)})
case("gates", [node("GlobalAveragePool", "x", "g"), node("Sigmoid", "g", "s"), node("Mul", "x,s", "m"), node("Add", "m,x")])
for operator in ("Sum", "Mean", "Max", "Min"):
    case(f"several_{operator.lower()}", [node("Relu", "x", "r"), node("Neg", "x", "n"), node(operator, "x,r,n")])

# Reductions.
case("reduce_old", [node("ReduceMean", "x", "m", axes=[2, 3], keepdims=0), node("ReduceSum", "m", axes=[1])], opset=11)
case("reduce", [node("ReduceMax", "x,axes", "m", keepdims=0), node("ReduceL2", "m,last", keepdims=1)], {"axes": i64(-2), "last": i64(2)}, opset=18)
case("reduce_squares", node("ReduceSumSquare", "x", axes=[1]), opset=13)
case("reduce_min", node("ReduceMin", "x,axes"), {"axes": i64(1, 3)}, opset=18)

# What moves values.
case("reshape", node("Reshape", "x,s"), {"s": i64(0, 2, -1, 5)}, opset=13)
case("flatten", node("Flatten", "x"))
case("squeeze", [node("Unsqueeze", "x", "u", axes=[1]), node("Squeeze", "u", axes=[1])], opset=11)
case("squeeze_13", [node("Unsqueeze", "x,a", "u"), node("Relu", "u", "r"), node("Squeeze", "r,a")], {"a": i64(2)}, opset=13)
case("transpose", node("Transpose", "x", perm=[0, 3, 1, 2]))
case("shuffle", [node("Reshape", "x,a", "r"), node("Transpose", "r", "t", perm=[0, 2, 1, 3, 4]), node("Reshape", "t,b")],
     {"a": i64(-1, 2, 2, 6, 5), "b": i64(-1, 4, 6, 5)}, opset=13)
case("slice_old", node("Slice", "x", starts=[1, 0], ends=[3, -1], axes=[1, 3]), opset=9)
case("slice", node("Slice", "x,s,e,a,t"), {"s": i64(0, 1), "e": i64(2**62, 6), "a": i64(1, 2), "t": i64(2, 3)}, opset=13)
case("split_old", [node("Split", "x", "a,b", axis=1, split=[1, 3]), node("Mul", "a,b")], opset=11)
case("split", [node("Split", "x,p", "a,b", axis=1), node("Add", "a,b")], {"p": i64(2, 2)}, opset=13)
case("split_18", [node("Split", "x", "a,b", axis=1, num_outputs=2), node("Add", "a,b")], opset=18)
case("concat", [node("Relu", "x", "r"), node("Concat", "x,r,x", axis=-3)])
case("pad_old", node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.25), opset=7)
case("pad", node("Pad", "x,p", mode="reflect"), {"p": i64(0, 0, 1, 2, 0, 0, 0, 1)}, opset=13)
case("pad_edge", node("Pad", "x,p", mode="edge"), {"p": i64(0, 0, 1, 2, 0, 0, 0, 1)}, opset=13)
case("pad_conv", [node("Pad", "x,p", "q"), node("Conv", "q,w", strides=[2, 2])], {"p": i64(0, 0, 0, 0, 0, 0, 1, 1), "w": weight(3, 4, 3, 3)}, opset=13)
case("gather_one", node("Gather", "x,i", axis=1), {"i": np.array(2, dtype=np.int64)}, shape=(2, 5, 7), opset=13)
case("gather_several", node("Gather", "x,i", axis=1), {"i": i64(3, 0, -1)}, opset=13)
case("embedding", node("Gather", "t,x", axis=0), {"t": weight(6, 4)}, shape=(2, 5), element=TensorProto.INT64)
case("expand", [node("ReduceMean", "x", "m", axes=[2]), node("Expand", "m,s", "e"), node("Sub", "x,e")], {"s": i64(1, 4, 6, 5)}, opset=13)
case("tile", node("Tile", "x,t"), {"t": i64(1, 1, 2, 3)}, opset=13)
case("upsample", node("Upsample", "x", scales=[1.0, 1.0, 2.0, 3.0], mode="nearest"), opset=7)
case("upsample_9", node("Upsample", "x,s", mode="linear"), {"s": f32(1, 1, 2, 2)}, opset=9)
case("resize_10", node("Resize", "x,s", mode="nearest"), {"s": f32(1, 1, 2, 2)}, opset=10)
case("resize_nearest", node("Resize", "x,,s"), {"s": f32(1, 1, 3, 2)}, opset=13)
case("resize_linear", node("Resize", "x,,,s", mode="linear", coordinate_transformation_mode="align_corners"), {"s": i64(2, 4, 9, 7)}, opset=13, batch=2)
case("resize_cubic", node("Resize", "x,,,s", mode="cubic", coordinate_transformation_mode="half_pixel"), {"s": i64(2, 4, 9, 10)}, opset=18, batch=2)
case("channels_last", [node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t,w", "c"), node("Relu", "c", "r"),
     node("Transpose", "r", perm=[0, 2, 3, 1])], {"w": weight(5, 3, 3, 3)}, shape=(2, 6, 7, 3))
case("shape_arithmetic", [
    node("Shape", "x", "s"), node("Gather", "s,zero", "n"), node("Unsqueeze", "n", "nu", axes=[0]), node("Concat", "nu,rest", "t", axis=0),
    node("Reshape", "x,t"),
], {"zero": np.array(0, dtype=np.int64), "rest": i64(-1)}, opset=11)

# Recurrent layers.
for name, directions, operator, gates in [("lstm", 1, "LSTM", 4), ("lstm_both", 2, "LSTM", 4), ("gru", 1, "GRU", 3), ("gru_back", 1, "GRU", 3)]:
    direction = {"lstm_both": "bidirectional", "gru_back": "reverse"}.get(name, "forward")
    attributes = {"linear_before_reset": 1} if name == "gru" else {}
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2]), node(operator, "t,w,r,b", "s", hidden_size=3, direction=direction, **attributes)]
    nodes += [node("Transpose", "s", "u", perm=[2, 0, 1, 3]), node("Reshape", "u,shape")]
    case(name, nodes, {"w": weight(directions, gates * 3, 4), "r": weight(directions, gates * 3, 3),
                       "b": weight(directions, gates * 6), "shape": i64(0, 0, -1)}, shape=(2, 5, 4), opset=14)
case("lstm_last", [node("Transpose", "x", "t", perm=[1, 0, 2]), node("LSTM", "t,w,r", "s,h", hidden_size=3), node("Squeeze", "h,zero")],
     {"w": weight(1, 12, 4), "r": weight(1, 12, 3), "zero": i64(0)}, shape=(2, 5, 4), opset=14)

# Quantised weights.
q = lambda *shape: numbers.integers(-100, 100, shape).astype(np.int8)
case("dequantized", [node("DequantizeLinear", "w,s,z", "d", axis=0), node("Conv", "x,d")],
     {"w": q(3, 4, 2, 2), "s": f32(0.01, 0.02, 0.03), "z": np.array([1, -2, 3], dtype=np.int8)}, opset=13)
case("typed", [node("Cast", "w", "d", to=TensorProto.FLOAT), node("Conv", "x,d")], {"w": weight(3, 4, 2, 2).astype(np.float16)}, opset=13)


def external():
    w = weight(8, 4, 3, 3)
    tensor = numpy_helper.from_array(w, "c.weight")
    graph = helper.make_graph(
        [node("Conv", "x,c.weight")], "external", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 6, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (out / "external.data").unlink(missing_ok=True)
    onnx.save(model, out / "external.onnx", save_as_external_data=True, location="external.data", size_threshold=0)
    record("external.onnx", image_of((2, 4, 6, 5)))


external()

# Where the examples are.
case("batch_fixed", [node("Reshape", "x,s", "r"), node("Softmax", "r")], {"s": i64(2, -1)}, opset=13, batch=2)
case("batch_fixed_heads", [
    node("Transpose", "x", "s", perm=[1, 0, 2]), node("Reshape", "s,apart", "h"), node("Transpose", "h", "t", perm=[1, 0, 2]), node("Transpose", "h", "u", perm=[1, 2, 0]),
    node("MatMul", "t,u", "m"), node("Softmax", "m", "p"), node("MatMul", "p,t", "o"), node("Transpose", "o", "b", perm=[1, 0, 2]),
    node("Reshape", "b,joined", "j"), node("Transpose", "j", perm=[1, 0, 2]),
], {"apart": i64(5, 4, 3), "joined": i64(5, 2, 6)}, shape=(2, 5, 6), opset=13, batch=2)
heads = [
    node("Shape", "x", "s"), node("Gather", "s,zero", "n", axis=0), node("Mul", "n,two", "nh"), node("Unsqueeze", "nh,zero", "nhu"),
    node("Concat", "nhu,rest", "shape", axis=0), node("Reshape", "x,shape", "r"), node("Softmax", "r", "p", axis=1),
    node("Unsqueeze", "n,zero", "nu"), node("Concat", "nu,whole", "back", axis=0), node("Reshape", "p,back"),
]
case("batch_joined", heads, {"zero": np.array(0), "two": np.array(2), "rest": i64(2, -1), "whole": i64(4, 6, 5)}, opset=13)
case("batch_examples_compared", [
    node("Shape", "x", "s"), node("Equal", "s,minus", "e"), node("Where", "e,ones,s", "w"), node("Relu", "x", "r"), node("Expand", "r,w"),
], {"minus": np.array(-1), "ones": i64(1, 1, 1, 1)}, opset=13)
token = [node("Shape", "x", "s"), node("Slice", "s,zero,one", "n"), node("Concat", "n,rest", "shape", axis=0), node("Expand", "token,shape", "t")]
case("concat_constant", [*token, node("Concat", "x,t", axis=1)], {"zero": i64(0), "one": i64(1), "rest": i64(1, 6, 5), "token": weight(1, 1, 6, 5)}, opset=13)
case("concat_token_behind", [*token, node("Concat", "x,t", axis=1)], {"zero": i64(0), "one": i64(1), "rest": i64(1, 7), "token": weight(1, 1, 7)}, opset=13, shape=(2, 3, 7))
# What dynamo makes of `as_strided`: places in all examples one after the other.
case("batch_places", [
    node("Shape", "x", "s"), node("Gather", "s,zero", "n", axis=0), node("Range", "zero,n,one", "e"), node("Mul", "e,size", "starts"),
    node("Unsqueeze", "starts,behind", "columns"), node("Add", "columns,places", "all"), node("Reshape", "x,flat", "f"), node("Gather", "f,all", axis=0),
], {"zero": np.array(0), "one": np.array(1), "size": i64(7), "behind": i64(1, 2), "places": i64(4, 0, 6).reshape(1, 3, 1), "flat": i64(-1)}, shape=(2, 7), opset=18)
mixes = "mixes the examples"
refuse("mean_of_batch", mixes, [node("ReduceMean", "x", "m", axes=[0]), node("Sub", "x,m")])
refuse("mean_of_all", mixes, [node("ReduceMean", "x", "m"), node("Sub", "x,m")])
refuse("batch_as_number", "number of examples", [node("Shape", "x", "s"), node("Gather", "s,zero", "n", axis=0), node("Cast", "n", "f", to=1), node("Mul", "x,f")], {"zero": np.array(0)})
refuse("slice_of_batch", mixes, node("Slice", "x,zero,one,zero"), {"zero": i64(0), "one": i64(1)}, opset=13)
refuse("softmax_of_batch", mixes, [node("Reshape", "x,s", "r"), node("Softmax", "r", axis=0)], {"s": i64(-1, 5)}, opset=13)
refuse("batch_products", mixes, [node("Reshape", "x,s", "r"), node("Transpose", "r", "t", perm=[1, 0]), node("MatMul", "r,t")], {"s": i64(-1, 120)}, opset=13)
refuse("batch_apart", "tears the examples apart", node("Reshape", "x,s"), {"s": i64(3, -1)}, opset=13)
refuse("batch_of_one", "joins the examples", node("Reshape", "x,s"), {"s": i64(1, -1)}, opset=13)
refuse("constant_for_batch", "each example", node("Add", "x,c"), {"c": weight(2, 4, 6, 5)}, batch=2)
refuse("constant_factors_for_batch", "each example", node("Mul", "x,c"), {"c": weight(2, 1, 1, 1)}, batch=2)
refuse("declared_otherwise", "declares batch×4×6×6", [node("Relu", "x", "r"), node("Abs", "r")], infos=[helper.make_tensor_value_info("r", TensorProto.FLOAT, ["batch", 4, 6, 6])])
refuse("unknown_condition", "image's size", [
    node("Shape", "x", "s"), node("Gather", "s,zero", "n", axis=0), node("Equal", "n,seven", "e"), node("Where", "e,many,one", "w"), node("Mul", "x,w"),
], {"zero": np.array(0), "seven": np.array(7), "many": f32(100)[0], "one": f32(1)[0]}, opset=13)

# Whole numbers and quantised ones.
case("bytes", [node("Cast", "x", "f", to=1), node("Relu", "f")], element=TensorProto.UINT8)
case("dequantized_input", node("DequantizeLinear", "x,s,z"), {"s": f32(0.01)[0], "z": np.uint8(128)}, element=TensorProto.UINT8, opset=13)
case("typed_unsigned", [node("Cast", "c", "f", to=1), node("Add", "x,f")], {"c": np.array([1, 2, 3, 4, 2**31], dtype=np.uint32)})
case("sign_of_zero", [node("Sign", "c", "s"), node("Add", "x,s")], {"c": f32(0, -2, 3, 0, -0.5)}, opset=13)
case("reduce_nothing", [node("ReduceSum", "c", "s", noop_with_empty_axes=1), node("Add", "x,s")], {"c": weight(5)}, opset=13)
case("quantized_weights", [node("QuantizeLinear", "w,s,z", "q", axis=0), node("DequantizeLinear", "q,s,z", "d", axis=0), node("Conv", "x,d")],
     {"w": weight(3, 4, 2, 2), "s": f32(0.01, 0.02, 0.03), "z": np.array([1, -2, 3], dtype=np.int8)}, opset=13)
whole = "whole"
refuse("cut_off", whole, [node("Cast", "x", "i", to=TensorProto.INT32), node("Cast", "i", to=1)])
refuse("truth", whole, [node("Cast", "x", "i", to=TensorProto.BOOL), node("Cast", "i", to=1)])
refuse("whole_quotient", whole, [node("Div", "x,two", "q"), node("Cast", "q", to=1)], {"two": np.array(2)}, element=TensorProto.INT64)
refuse("cut_to_bytes", "eight bits", [node("Cast", "c", "i", to=TensorProto.UINT8), node("Cast", "i", "f", to=1), node("Add", "x,f")], {"c": np.array(300)})
refuse("scales_of_channels", "scale of its own", [node("QuantizeLinear", "x,s,z", "q"), node("DequantizeLinear", "q,s,z")], {"s": f32(1, 2, 3, 4), "z": np.zeros(4, np.uint8)}, opset=13)
refuse("quantized_output", "quantised", node("QuantizeLinear", "x,s,z"), {"s": f32(0.1)[0], "z": np.uint8(3)}, opset=13, output=TensorProto.UINT8)
refuse("quantized_operator", "QDQ", [
    node("QuantizeLinear", "x,s,z", "q"), node("QLinearConv", "q,s,z,w,s,z,s,z", "r"), node("DequantizeLinear", "r,s,z"),
], {"s": f32(0.1)[0], "z": np.uint8(3), "w": numbers.integers(0, 255, (3, 4, 2, 2)).astype(np.uint8)}, opset=13)

# Rules that are easily missed.
case("log_softmax_far", node("LogSoftmax", "x"), shape=(2, 9), opset=13, scale=100)
case("log_softmax_channels", node("LogSoftmax", "x", axis=1), opset=13)
case("log_softmax_old", node("LogSoftmax", "x", axis=2), opset=11)
case("matmul_more_axes", [node("MatMul", "x,w", "m"), node("Softmax", "m", "s", axis=2), node("Squeeze", "s,zero")], {"w": weight(1, 7, 3), "zero": i64(0)}, shape=(2, 7), opset=13)
case("matmul_left_more_axes", [node("MatMul", "w,x", "m"), node("Squeeze", "m,zero")], {"w": weight(1, 1, 2, 3), "zero": i64(0)}, shape=(2, 3, 7), opset=13)
case("image_narrow", node("Conv", "x,w"), {"w": weight(3, 8, 2, 2)}, shape=(2, 8, 6, 4))
case("image_one_channel", node("Conv", "x,w"), {"w": weight(3, 1, 2, 2)}, shape=(4, 1, 8, 8), batch=4)
case("prelu_features", node("PRelu", "x,slope"), {"slope": weight(7)}, shape=(2, 5, 7), opset=9)
refuse("matmul_softmax_of_batch", mixes, [node("MatMul", "x,w", "m"), node("Softmax", "m", axis=1)], {"w": weight(1, 7, 3)}, shape=(2, 7), opset=13)
sizes = {"s": i64(2, 4, 12, 15)}
refuse("resize_ratio", "ratio", node("Resize", "x,,,s", mode="linear", keep_aspect_ratio_policy="not_larger"), sizes, opset=18, batch=2)
refuse("resize_crop", "cuts a part", node("Resize", "x,r,,s", mode="linear", coordinate_transformation_mode="tf_crop_and_resize"), {"s": i64(2, 4, 6, 5), "r": f32(0, 0, 0, 0, 1, 1, 0.5, 0.5)}, opset=13, batch=2)
refuse("resize_half_pixel", "nearest pixel", node("Resize", "x,r,,s", mode="linear", coordinate_transformation_mode="tf_half_pixel_for_nn"), {**sizes, "r": f32()}, opset=11, batch=2)
refuse("resize_to_one", "first pixel", node("Resize", "x,,,s", mode="linear", coordinate_transformation_mode="pytorch_half_pixel"), {"s": i64(2, 4, 1, 5)}, opset=13, batch=2)
refuse("batch_norm_training", "statistics", node("BatchNormalization", "x,n.weight,n.bias,n.mean,n.var", "y,m,v,sm,sv"), statistics, opset=9)
refuse("transposed_bias", "computed", [node("ReduceMean", "x", "m", axes=[2, 3], keepdims=0), node("Reshape", "m,four", "b"), node("ConvTranspose", "x,w,b")], {"w": weight(4, 4, 3, 3), "four": i64(4)}, batch=1)
refuse("fmod", "mixed", [node("Mod", "c,three", "m", fmod=1), node("Cast", "m", "f", to=1), node("Add", "x,f")], {"c": i64(-7, 7, 8, 9, 1), "three": np.array(3)}, opset=13)
refuse("bias_of_rows", "none of one number an output", [node("Reshape", "x,s", "r"), node("Gemm", "r,w,c")], {"s": i64(4, 30), "w": weight(30, 4), "c": weight(4, 1)}, batch=1)
refuse("expand_to_less", "does not repeat", node("Expand", "x,s"), {"s": i64(1, 4, 6, 2)}, opset=13)
refuse("gates", "functions", [node("Transpose", "x", "t", perm=[1, 0, 2]), node("LSTM", "t,w,r", "y", hidden_size=3, activations=["HardSigmoid", "Tanh", "Tanh"], activation_alpha=[0.2], activation_beta=[0.9])],
       {"w": weight(1, 12, 4), "r": weight(1, 12, 3)}, shape=(2, 5, 4), opset=14)
refuse("two_open_sizes", "open sizes", node("Relu", "x"), shape=(2, "s", "d"))
other = helper.make_node("Mul", ["c", "c"], ["s"], domain="other", name="other")
refuse("other_domain", "input 0 is a constant", [other, node("Add", "x,s")], {"c": weight(5)})


carried = node("Foo", "x", "h", t=numpy_helper.from_array(weight(3), "t"))
carried.domain = "other"
refuse("tensor_attribute", "'t' would be lost", [carried, node("Relu", "h")], infos=[helper.make_tensor_value_info("h", TensorProto.FLOAT, ["batch", 4, 6, 5])])
refuse("function", "defines it itself", [helper.make_node("Foo", ["x"], ["h"], domain="other", name="h_node"), node("Relu", "h")],
       infos=[helper.make_tensor_value_info("h", TensorProto.FLOAT, ["batch", 4, 6, 5])],
       functions=[helper.make_function("other", "Foo", ["a"], ["b"], [helper.make_node("Exp", ["a"], ["b"])], [helper.make_opsetid("", 17)])])
refuse("no_outputs", "no outputs", node("Relu", "x"), outputs=False)

class Calibration(CalibrationDataReader):
    def __init__(self, image):
        self.images = [{"x": image}]

    def get_next(self):
        return self.images.pop() if self.images else None


def quantized():
    image = image_of((2, 3, 8, 8))
    save("float", [
        node("Conv", "x,c.weight,c.bias", "c"), node("Relu", "c", "r"), node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p,d.weight,d.bias", "d"), node("Relu", "d", "e"), node("GlobalAveragePool", "e", "g"), node("Flatten", "g", "f"),
        node("Gemm", "f,fc.weight,fc.bias", transB=1),
    ], {"c.weight": weight(6, 3, 3, 3), "c.bias": weight(6), "d.weight": weight(8, 6, 2, 2), "d.bias": weight(8), "fc.weight": weight(5, 8), "fc.bias": weight(5)},
        shape=image.shape, opset=13)
    exact = run("float.onnx", image)
    quantize_static(out / "float.onnx", out / "quantized.onnx", Calibration(image), quant_format=QuantFormat.QDQ)
    (out / "float.onnx").unlink()
    record("quantized.onnx", image)
    expected["quantized.onnx"]["within"] = float(np.abs(run("quantized.onnx", image) - exact).max() / np.abs(exact).max())


quantized()


class Residual(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(8)
        self.layer1 = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        self.pool = torch.nn.AdaptiveAvgPool2d(1)
        self.fc = torch.nn.Linear(8, 5)

    def forward(self, x):
        x = torch.nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(torch.flatten(self.pool(torch.relu(x + self.layer1(x))), 1))


class Mobile(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, 2, 1)
        self.depthwise = torch.nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.squeeze, self.excite = torch.nn.Conv2d(8, 4, 1), torch.nn.Conv2d(4, 8, 1)
        self.project = torch.nn.Conv2d(8, 6, 1)
        self.classifier = torch.nn.Linear(6, 5)

    def forward(self, x):
        x = torch.nn.functional.hardswish(self.stem(x))
        x = torch.nn.functional.silu(self.depthwise(x))
        gate = torch.nn.functional.hardsigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.classifier(torch.nn.functional.relu6(self.project(x * gate)).mean((2, 3)))


class Vision(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 12, 4, 4)
        self.cls_token = torch.nn.Parameter(torch.randn(1, 1, 12))
        self.pos_embed = torch.nn.Parameter(torch.randn(1, 10, 12))
        self.norm1, self.norm2, self.norm = (torch.nn.LayerNorm(12) for _ in range(3))
        self.qkv, self.proj = torch.nn.Linear(12, 36), torch.nn.Linear(12, 12)
        self.fc1, self.fc2 = torch.nn.Linear(12, 24), torch.nn.Linear(24, 12)
        self.head = torch.nn.Linear(12, 5)

    def attention(self, x):
        q, k, v = self.qkv(x).reshape(x.shape[0], 10, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
        x = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(x.shape[0], 10, 12))

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        x = x + self.attention(self.norm1(x))
        x = x + self.fc2(torch.nn.functional.gelu(self.fc1(self.norm2(x))))
        return self.head(self.norm(x)[:, 0])


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, (12, 3), padding=(0, 1))
        self.lstm = torch.nn.LSTM(4, 6, bidirectional=True, batch_first=True)
        self.head = torch.nn.Linear(12, 5)

    def forward(self, x):
        x, _ = self.lstm(self.conv(x).squeeze(2).transpose(1, 2))
        return self.head(x[:, -1])


torch.manual_seed(0)
for name, model in [("residual", Residual()), ("mobile", Mobile()), ("vision", Vision()), ("words", Words())]:
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape).abs() + 0.5 if key.endswith("running_var") else torch.randn(tensor.shape) * 0.3)
    model = model.eval()
    image = torch.from_numpy(image_of((2, 3, 12, 12)))
    torch.onnx.export(model, (image,), str(out / f"script_{name}.onnx"), dynamo=False, input_names=["input"], output_names=["output"],
                      dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}})
    torch.onnx.export(model, (image,), str(out / f"dynamo_{name}.onnx"), dynamo=True, external_data=False, verbose=False,
                      dynamic_shapes=({0: torch.export.Dim("batch")},))
    for kind in ("script", "dynamo"):
        path = out / f"{kind}_{name}.onnx"
        stripped = onnx.load(path)
        for part in stripped.graph.node:
            del part.metadata_props[:]
            part.doc_string = ""
        for info in [*stripped.graph.value_info, *stripped.graph.input, *stripped.graph.output, *stripped.graph.initializer]:
            del info.metadata_props[:]
        del stripped.graph.metadata_props[:]
        del stripped.metadata_props[:]
        onnx.save(stripped, path)
        record(path.name, image.numpy())
    kept = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("lstm") and tensor.is_floating_point()}
    weights = {key: {"shape": list(tensor.shape), "sum": float(tensor.double().sum())} for key, tensor in kept.items()}
    for kind in ("script", "dynamo"):
        if name != "residual":
            expected[f"{kind}_{name}.onnx"]["weights"] = weights

(out / "expected.json").write_text(json.dumps({"inputs": inputs, "files": expected, "refused": refused}))
print(len(expected), "files")
