"""Small Caffe networks of all three generations of the format, and what OpenCV computes for them.

Writes into OUT, for each case:
  NAME.prototxt    the description
  NAME.caffemodel  weights alone, as a layer's name, kind and arrays
  NAME.whole.caffemodel  weights and the whole description
  NAME.json        the input's shape, the compared blobs with their shapes, and who computed each
  NAME.npy         the input, then each blob, one after the other
  train.prototxt   the description of a training of `current`
  mean.binaryproto, mean.json  a mean image and its channels' means
and, if NSFW is given, nsfw.npy: features and probabilities that the published network there gives for an image.

OpenCV computes everything but what it lacks or reads otherwise than Caffe; the formulas for that are in `formula`,
written after Caffe's documentation.

usage: formats_caffe.py OUT [NSFW]
versions: opencv-python-headless 4.10.0.84 (5.x has no reader of Caffe networks), numpy 2.4.6
"""

import json
import struct
import sys
from pathlib import Path

import cv2
import numpy as np

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)

# Field numbers and kinds of caffe.proto, as far as the cases need them: i integer, f float, s string, b bool, e one of
# some words, m message.
POOL = {"MAX": 0, "AVE": 1}
FILLER = {"type": (1, "s")}
SHAPE = {"dim": (1, "i")}
RULE = {"phase": (1, "e", {"TRAIN": 0, "TEST": 1})}
BLOB = {"num": (1, "i"), "channels": (2, "i"), "height": (3, "i"), "width": (4, "i"), "shape": (7, "m", SHAPE)}
CONVOLUTION = {
    "num_output": (1, "i"), "bias_term": (2, "b"), "pad": (3, "i"), "kernel_size": (4, "i"), "group": (5, "i"),
    "stride": (6, "i"), "weight_filler": (7, "m", FILLER), "pad_h": (9, "i"), "pad_w": (10, "i"), "kernel_h": (11, "i"),
    "kernel_w": (12, "i"), "stride_h": (13, "i"), "stride_w": (14, "i"), "dilation": (18, "i"),
}
POOLING = {
    "pool": (1, "e", POOL), "kernel_size": (2, "i"), "stride": (3, "i"), "pad": (4, "i"), "kernel_h": (5, "i"),
    "kernel_w": (6, "i"), "stride_h": (7, "i"), "stride_w": (8, "i"), "pad_h": (9, "i"), "pad_w": (10, "i"),
    "global_pooling": (12, "b"), "round_mode": (13, "e", {"CEIL": 0, "FLOOR": 1}),
}
INNER_PRODUCT = {"num_output": (1, "i"), "bias_term": (2, "b"), "axis": (5, "i"), "transpose": (6, "b")}
LRN = {
    "local_size": (1, "i"), "alpha": (2, "f"), "beta": (3, "f"),
    "norm_region": (4, "e", {"ACROSS_CHANNELS": 0, "WITHIN_CHANNEL": 1}), "k": (5, "f"),
}
CONCAT = {"concat_dim": (1, "i"), "axis": (2, "i")}
DROPOUT = {"dropout_ratio": (1, "f")}
ELTWISE = {"operation": (1, "e", {"PROD": 0, "SUM": 1, "MAX": 2}), "coeff": (2, "f")}
EXP = {"base": (1, "f"), "scale": (2, "f"), "shift": (3, "f")}
POWER = {"power": (1, "f"), "scale": (2, "f"), "shift": (3, "f")}
RELU = {"negative_slope": (1, "f")}
SLICE = {"slice_dim": (1, "i"), "slice_point": (2, "i"), "axis": (3, "i")}
SOFTMAX = {"axis": (2, "i")}
TRANSFORM = {"scale": (1, "f"), "crop_size": (3, "i"), "mean_file": (4, "s"), "mean_value": (5, "f")}
DATA = {"source": (1, "s"), "scale": (2, "f"), "mean_file": (3, "s"), "batch_size": (4, "i"), "crop_size": (5, "i")}
LAYER = {
    "name": (1, "s"), "type": (2, "s"), "bottom": (3, "s"), "top": (4, "s"), "blobs": (7, "m", BLOB),
    "include": (8, "m", RULE), "exclude": (9, "m", RULE), "transform_param": (100, "m", TRANSFORM),
    "batch_norm_param": (139, "m", {"use_global_stats": (1, "b"), "eps": (3, "f")}),
    "bias_param": (141, "m", {"axis": (1, "i"), "num_axes": (2, "i")}),
    "clip_param": (148, "m", {"min": (1, "f"), "max": (2, "f")}), "concat_param": (104, "m", CONCAT),
    "convolution_param": (106, "m", CONVOLUTION), "crop_param": (144, "m", {"axis": (1, "i"), "offset": (2, "i")}),
    "data_param": (107, "m", DATA), "dropout_param": (108, "m", DROPOUT), "eltwise_param": (110, "m", ELTWISE),
    "elu_param": (140, "m", {"alpha": (1, "f")}), "exp_param": (111, "m", EXP),
    "flatten_param": (135, "m", {"axis": (1, "i"), "end_axis": (2, "i")}),
    "inner_product_param": (117, "m", INNER_PRODUCT), "input_param": (143, "m", {"shape": (1, "m", SHAPE)}),
    "log_param": (134, "m", EXP), "lrn_param": (118, "m", LRN), "permute_param": (202, "m", {"order": (1, "i")}),
    "pooling_param": (121, "m", POOLING), "power_param": (122, "m", POWER),
    "prelu_param": (131, "m", {"channel_shared": (2, "b")}),
    "reduction_param": (136, "m", {
        "operation": (1, "e", {"SUM": 1, "ASUM": 2, "SUMSQ": 3, "MEAN": 4}), "axis": (2, "i"), "coeff": (3, "f")}),
    "relu_param": (123, "m", RELU),
    "reshape_param": (133, "m", {"shape": (1, "m", SHAPE), "axis": (2, "i"), "num_axes": (3, "i")}),
    "scale_param": (142, "m", {"axis": (1, "i"), "num_axes": (2, "i"), "bias_term": (4, "b")}),
    "slice_param": (126, "m", SLICE), "softmax_param": (125, "m", SOFTMAX), "swish_param": (147, "m", {"beta": (1, "f")}),
    "tile_param": (138, "m", {"axis": (1, "i"), "tiles": (2, "i")}),
}
V1_KINDS = {
    "DATA": 5, "CONVOLUTION": 4, "POOLING": 17, "RELU": 18, "LRN": 15, "INNER_PRODUCT": 14, "DROPOUT": 6, "SOFTMAX": 20,
    "CONCAT": 3, "ELTWISE": 25, "SOFTMAX_LOSS": 21, "SLICE": 33, "FLATTEN": 8, "SPLIT": 22, "TANH": 23, "POWER": 26,
    "ACCURACY": 1, "SIGMOID": 19,
}
V0_LAYER = {
    "name": (1, "s"), "type": (2, "s"), "num_output": (3, "i"), "biasterm": (4, "b"), "pad": (7, "i"),
    "kernelsize": (8, "i"), "group": (9, "i"), "stride": (10, "i"), "pool": (11, "e", POOL), "dropout_ratio": (12, "f"),
    "local_size": (13, "i"), "alpha": (14, "f"), "beta": (15, "f"), "k": (22, "f"), "scale": (17, "f"),
    "meanfile": (18, "s"), "cropsize": (20, "i"), "blobs": (50, "m", BLOB), "concat_dim": (65, "i"),
}
V1_LAYER = {
    "layer": (1, "m", V0_LAYER), "bottom": (2, "s"), "top": (3, "s"), "name": (4, "s"), "type": (5, "e", V1_KINDS),
    "blobs": (6, "m", BLOB), "include": (32, "m", RULE), "concat_param": (9, "m", CONCAT),
    "convolution_param": (10, "m", CONVOLUTION), "data_param": (11, "m", DATA), "dropout_param": (12, "m", DROPOUT),
    "eltwise_param": (24, "m", ELTWISE), "inner_product_param": (17, "m", INNER_PRODUCT), "lrn_param": (18, "m", LRN),
    "pooling_param": (19, "m", POOLING), "power_param": (21, "m", POWER), "relu_param": (30, "m", RELU),
    "slice_param": (31, "m", SLICE), "softmax_param": (39, "m", SOFTMAX), "transform_param": (36, "m", TRANSFORM),
}
NET = {
    "name": (1, "s"), "layers": (2, "m", V1_LAYER), "input": (3, "s"), "input_dim": (4, "i"),
    "input_shape": (8, "m", SHAPE), "layer": (100, "m", LAYER),
}


def varint(number):
    number &= (1 << 64) - 1
    encoded = b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def binary(message, table):
    """A message as a list of (name, value); arrays of weights are bytes already."""
    encoded = b""
    for name, value in message:
        number, kind, *more = table[name]
        if isinstance(value, bytes):
            encoded += field(number, value)
        elif kind == "m":
            encoded += field(number, binary(value, more[0]))
        elif kind == "s":
            encoded += field(number, value.encode())
        elif kind == "f":
            encoded += varint(number << 3 | 5) + struct.pack("<f", value)
        else:
            encoded += varint(number << 3) + varint(more[0][value] if kind == "e" else int(value))
    return encoded


def text(message, table, indent=""):
    lines = []
    for name, value in message:
        _, kind, *more = table[name]
        if isinstance(value, bytes):
            continue
        if kind == "m":
            lines += [f"{indent}{name} {{", text(value, more[0], indent + "  "), f"{indent}}}"]
        else:
            shown = {"s": f'"{value}"', "b": str(value).lower(), "e": value}.get(kind, value)
            lines.append(f"{indent}{name}: {shown}")
    return "\n".join(lines)


generator = np.random.default_rng(20)


def numbers(*shape, scale=1.0, shift=0.0):
    return (generator.uniform(-1, 1, shape) * scale + shift).astype(np.float32)


# What OpenCV is given for an array that it does not read as it is written.
plain = {}


def array(values, form="shape"):
    """An array of weights in each way in which it was ever written."""
    rounded = values.astype(np.float16) if form == "half" else values
    written = written_as(values, form)
    plain[written] = written_as(rounded, "shape")
    return written


def written_as(values, form):
    data = values.astype("<f4").tobytes()
    if form == "double":
        return shaped(values) + field(8, values.astype("<f8").tobytes())
    if form == "half":
        return shaped(values) + varint(10 << 3) + varint(2) + field(12, values.astype("<f2").tobytes())
    if form == "unpacked":
        return shaped(values) + b"".join(varint(5 << 3 | 5) + data[i:i + 4] for i in range(0, len(data), 4))
    if form == "pieces":
        return shaped(values) + field(5, data[:8]) + field(5, data[8:])
    if form == "legacy":
        sizes = (1,) * (4 - values.ndim) + values.shape
        return b"".join(varint(number << 3) + varint(size) for number, size in enumerate(sizes, 1)) + field(5, data)
    return shaped(values) + field(5, data)


def shaped(values):
    return field(7, field(1, b"".join(varint(size) for size in values.shape)))


def layer(name, kind, bottoms, tops, arrays=(), **attributes):
    bottoms, tops = [[names] if isinstance(names, str) else names for names in (bottoms, tops)]
    message = [("name", name), ("type", kind)]
    message += [("bottom", bottom) for bottom in bottoms] + [("top", top) for top in tops]
    message += [("blobs", values) for values in arrays]
    return message + [(f"{place}_param", spelled(value)) for place, value in attributes.items()]


def spelled(attributes):
    """A dictionary as a list of fields; lists repeat a field."""
    if isinstance(attributes, list):
        return attributes
    fields = []
    for name, value in attributes.items():
        for one in value if isinstance(value, list) and name != "shape" else [value]:
            fields.append((name, spelled(one) if isinstance(one, dict) else one))
    return fields


def conv(name, bottom, top, shape, bias=True, form="shape", outputs=None, **attributes):
    weights = [array(numbers(*shape, scale=1 / np.sqrt(np.prod(shape[1:]))), form)]
    outputs = outputs or shape[0]
    if bias:
        weights.append(array(numbers(outputs, scale=0.5), form))
    else:
        attributes["bias_term"] = False
    return layer(name, attributes.pop("kind", "Convolution"), bottom, top, weights,
                 convolution=dict(num_output=outputs, **attributes))


def input_layer(*shape):
    return layer("data", "Input", [], "data", input=dict(shape=dict(dim=list(shape))))


def weights_only(message, table):
    """Names, kinds and arrays, as some converters leave them."""
    kept = []
    for name, layer in message:
        if name in ("layer", "layers") and isinstance(layer, list):
            inner = [(key, [part for part in value if part[0] in ("name", "type", "blobs")] if key == "layer" else value)
                     for key, value in layer if key in ("name", "type", "blobs", "layer")]
            kept.append((name, inner))
    return binary(kept, table)


def case(name, net, layers, shape, formulas=None, scale=1.0, shift=0.0, weights=None):
    """Writes a case: what these layers give for an image. A formula gets what was computed before by name. `weights` is
    for OpenCV, where it does not find those of the network."""
    (out / f"{name}.prototxt").write_text(text(net, NET) + "\n")
    (out / f"{name}.caffemodel").write_bytes(weights_only(net, NET))
    (out / f"{name}.whole.caffemodel").write_bytes(binary(net, NET))
    formulas = formulas or {}
    # OpenCV refuses a network for one layer that it does not know.
    known = [(key, value) for key, value in net if key != "layer" or dict(value)["name"] not in formulas]
    values = {"data": numbers(*shape, scale=scale, shift=shift)}
    compared = []
    for layer in layers:
        by_formula = layer in formulas
        value = formulas[layer](values) if by_formula else opencv(known, weights or known, layer, values["data"])
        values[layer] = value.astype(np.float32)
        compared.append({"layer": layer, "shape": list(value.shape), "by": "formula" if by_formula else "OpenCV"})
    (out / f"{name}.json").write_text(json.dumps({"input": list(shape), "layers": compared}) + "\n")
    np.save(out / f"{name}.npy", np.concatenate([value.ravel() for value in values.values()]))


def opencv(net, weights, layer, image):
    def with_plain_arrays(message):
        return [(key, with_plain_arrays(value) if isinstance(value, list) else plain.get(value, value))
                for key, value in message]

    found = cv2.dnn.readNetFromCaffe(text(net, NET).encode(), binary(with_plain_arrays(weights), NET))
    # Fused layers would not be there to be compared.
    found.enableFusion(False)
    found.enableWinograd(False)
    found.setInput(image, "data")
    return found.forward(layer).copy()


def window(sizes, **attributes):
    """Attributes of a window whose height and width may differ."""
    for name, size in zip(("kernel", "stride", "pad"), sizes):
        if isinstance(size, tuple):
            attributes |= {f"{name}_h": size[0], f"{name}_w": size[1]}
        else:
            attributes["kernel_size" if name == "kernel" else name] = size
    return attributes


def pool(name, kind, *sizes, bottom="data", **attributes):
    return layer(name, "Pooling", bottom, name, pooling=window(sizes, pool=kind, **attributes))


windows = [
    input_layer(1, 4, 13, 11),
    conv("grouped", "data", "grouped", (6, 2, 3, 3), group=2, pad=1, stride=2),
    conv("dilated", "data", "dilated", (3, 4, 3, 3), bias=False, dilation=2, pad=2),
    conv("uneven", "data", "uneven", (3, 4, 3, 2), kernel_h=3, kernel_w=2, pad_h=2, pad_w=1, stride_h=2, stride_w=1),
    conv("depthwise", "data", "depthwise", (4, 1, 3, 3), group=4, kernel_size=3),
    conv("up", "data", "up", (4, 3, 4, 4), outputs=6, kind="Deconvolution", kernel_size=4, stride=2, pad=1, group=2),
    pool("max_ceil", "MAX", 3, 2),
    pool("max_border", "MAX", 3, 2, 1),
    pool("max_dropped", "MAX", 2, 2, 1),
    pool("max_uneven", "MAX", (2, 3), (3, 2), (1, 0)),
    pool("max_one", "MAX", 3, 1, 1),
    pool("mean_ceil", "AVE", 3, 2),
    pool("mean_even", "AVE", 5, 4),
    pool("mean_border", "AVE", 3, 2, 1),
    pool("mean_one", "AVE", 3, 1, 1),
    pool("mean_reach", "AVE", 5, 3, 2),
    pool("mean_far", "AVE", 3, 3, 2),
    pool("global_max", "MAX", global_pooling=True),
    pool("global_mean", "AVE", global_pooling=True),
]
for name, message in enumerate(windows):
    fields = dict(message)
    attributes = fields.get("convolution_param")
    if attributes and not any(key.startswith("kernel") for key, _ in attributes):
        attributes.append(("kernel_size", 3))
case("windows", [("name", "windows")] + [("layer", message) for message in windows],
     [dict(message)["name"] for message in windows[1:]], (1, 4, 13, 11))

functions = [
    input_layer(2, 3, 5, 4),
    layer("relu", "ReLU", "data", "relu"),
    layer("leaky", "ReLU", "data", "leaky", relu=dict(negative_slope=0.1)),
    layer("slopes", "PReLU", "data", "slopes", [array(numbers(3))]),
    layer("slope", "PReLU", "data", "slope", [array(numbers(1))], prelu=dict(channel_shared=True)),
    layer("elu", "ELU", "data", "elu", elu=dict(alpha=0.7)),
    layer("sigmoid", "Sigmoid", "data", "sigmoid"),
    layer("tanh", "TanH", "data", "tanh"),
    layer("abs", "AbsVal", "data", "abs"),
    layer("softplus", "BNLL", "data", "softplus"),
    layer("power", "Power", "abs", "power", power=dict(power=1.5, scale=0.5, shift=1.0)),
    layer("linear", "Power", "data", "linear", power=dict(scale=-2.0, shift=0.25)),
    layer("exp", "Exp", "data", "exp"),
    layer("exp_two", "Exp", "data", "exp_two", exp=dict(base=2.0, scale=0.5, shift=1.5)),
    layer("dropout", "Dropout", "data", "dropout", dropout=dict(dropout_ratio=0.3)),
]
case("functions", [("name", "functions")] + [("layer", message) for message in functions],
     [dict(message)["name"] for message in functions[1:]], (2, 3, 5, 4), scale=3.0)

more = [
    input_layer(2, 3, 5, 4),
    layer("log", "Log", "data", "log"),
    layer("log_ten", "Log", "data", "log_ten", log=dict(base=10.0, scale=2.0, shift=1.0)),
    layer("clip", "Clip", "data", "clip", clip=dict(min=1.5, max=2.25)),
    layer("swish", "Swish", "data", "swish"),
    layer("swish_two", "Swish", "data", "swish_two", swish=dict(beta=2.0)),
    layer("tile", "Tile", "data", "tile", tile=dict(axis=2, tiles=3)),
    layer("sum", "Reduction", "data", "sum", reduction=dict(axis=2, coeff=0.5)),
    layer("mean", "Reduction", "data", "mean", reduction=dict(operation="MEAN", axis=-1)),
    layer("squares", "Reduction", "data", "squares", reduction=dict(operation="SUMSQ", axis=1)),
    layer("absolutes", "Reduction", "linear", "absolutes", reduction=dict(operation="ASUM", axis=1)),
    layer("gate", "Pooling", "data", "gate", pooling=dict(pool="AVE", global_pooling=True)),
    layer("vector", "Flatten", "gate", "vector"),
    layer("gated", "Scale", ["data", "vector"], "gated", scale=dict(axis=0)),
    layer("shifted", "Bias", ["data", "vector"], "shifted", bias=dict(axis=0)),
    layer("axpy", "Axpy", ["gate", "data", "linear"], "axpy"),
    layer("floor", "Pooling", "data", "floor", pooling=dict(pool="MAX", kernel_size=2, stride=2, round_mode="FLOOR")),
]
more.insert(1, layer("linear", "Power", "data", "linear", power=dict(scale=-2.0, shift=5.5)))
case("more", [("name", "more")] + [("layer", message) for message in more],
     [dict(message)["name"] for message in more[1:]], (2, 3, 5, 4), {
         "log_ten": lambda v: np.log10(2 * v["data"] + 1),
         "clip": lambda v: v["data"].clip(1.5, 2.25),
         "swish_two": lambda v: v["data"] / (1 + np.exp(-2 * v["data"])),
         "tile": lambda v: np.concatenate([v["data"]] * 3, 2),
         "sum": lambda v: v["data"].sum((2, 3)) * 0.5,
         "mean": lambda v: v["data"].mean(3),
         "squares": lambda v: (v["data"] ** 2).sum((1, 2, 3)),
         "absolutes": lambda v: np.abs(v["linear"]).sum((1, 2, 3)),
         "shifted": lambda v: v["data"] + v["gate"],
         "axpy": lambda v: v["gate"] * v["data"] + v["linear"],
         "floor": lambda v: v["data"][:, :, :4, :4].reshape(2, 3, 2, 2, 2, 2).max((3, 5)),
     }, scale=1.0, shift=2.0)

statistics = [array(numbers(4) * 3), array(numbers(4, scale=1.0, shift=4.0)), array(np.array([2.5], np.float32))]
no_terms = [array(numbers(4)), array(numbers(4, shift=2.0)), array(np.array([0.0], np.float32))]
vector_statistics = [array(numbers(80)), array(numbers(80, scale=0.5, shift=2.0)), array(np.ones(1, np.float32))]
channel_bias, row_factors = numbers(4), numbers(5, 4)
normalize = [
    input_layer(2, 4, 5, 4),
    layer("across", "LRN", "data", "across", lrn=dict(local_size=3, alpha=0.5, beta=0.6)),
    layer("across_k", "LRN", "data", "across_k", lrn=dict(local_size=3, alpha=0.5, beta=0.6, k=1.5)),
    layer("within", "LRN", "data", "within", lrn=dict(local_size=3, alpha=0.5, beta=0.6, norm_region="WITHIN_CHANNEL")),
    layer("alone", "BatchNorm", "data", "alone", statistics, batch_norm=dict(eps=0.01)),
    layer("alone_relu", "ReLU", "alone", "alone_relu"),
    layer("norm", "BatchNorm", "data", "norm", statistics),
    layer("norm_scale", "Scale", "norm", "norm", [array(numbers(4)), array(numbers(4))], scale=dict(bias_term=True)),
    layer("twice", "BatchNorm", "data", "twice", statistics),
    layer("twice_scale", "Scale", "twice", "twice_scale", [array(numbers(4))]),
    layer("twice_relu", "ReLU", "twice", "twice_relu"),
    layer("zero", "BatchNorm", "data", "zero", no_terms),
    layer("factor", "Scale", "data", "factor", [array(numbers(4)), array(numbers(4))], scale=dict(bias_term=True)),
    layer("factor_only", "Scale", "data", "factor_only", [array(numbers(4))]),
    layer("flat", "Flatten", "data", "flat"),
    layer("norm_flat", "BatchNorm", "flat", "norm_flat", vector_statistics),
    layer("softmax", "Softmax", "data", "softmax"),
    layer("softmax_relu", "ReLU", "softmax", "softmax_relu"),
    layer("softmax_rows", "Softmax", "data", "softmax_rows", softmax=dict(axis=3)),
    layer("softmax_flat", "Softmax", "flat", "softmax_flat"),
    layer("bias", "Bias", "data", "bias", [array(channel_bias)]),
    layer("bias_rows", "Bias", "data", "bias_rows", [array(row_factors)], bias=dict(axis=2, num_axes=2)),
    layer("scale_rows", "Scale", "data", "scale_rows", [array(row_factors), array(row_factors * 2)],
          scale=dict(axis=2, num_axes=-1, bias_term=True)),
    layer("scale_all", "Scale", "data", "scale_all", [shaped(np.array(2.5)) + field(5, np.array(2.5, "<f4").tobytes())],
          scale=dict(num_axes=0)),
]


def across(squares):
    """Sums over three neighbouring channels."""
    squares = np.pad(squares.astype(np.float64), [(0, 0), (1, 1), (0, 0), (0, 0)])
    return squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]


case("normalize", [("name", "normalize")] + [("layer", message) for message in normalize],
     [dict(message)["name"] for message in normalize[1:] if dict(message)["name"] != "norm"], (2, 4, 5, 4), {
         # OpenCV leaves `k` out.
         "across_k": lambda v: v["data"] * (1.5 + 0.5 / 3 * across(v["data"] ** 2)) ** -0.6,
         "bias": lambda v: v["data"] + channel_bias.reshape(4, 1, 1),
         "bias_rows": lambda v: v["data"] + row_factors,
         "scale_all": lambda v: v["data"] * 2.5,
     })

combine = [
    input_layer(2, 6, 5, 4),
    conv("left", "data", "left", (6, 6, 1, 1), kernel_size=1, form="double"),
    conv("right", "data", "right", (6, 6, 1, 1), kernel_size=1, form="half"),
    conv("third", "data", "third", (6, 6, 1, 1), kernel_size=1, form="unpacked"),
    layer("sum", "Eltwise", ["left", "right"], "sum"),
    layer("sum_three", "Eltwise", ["left", "right", "third"], "sum_three", eltwise=dict(operation="SUM")),
    layer("weighted", "Eltwise", ["left", "right"], "weighted", eltwise=dict(operation="SUM", coeff=[1.0, -0.5])),
    layer("product", "Eltwise", ["left", "right", "third"], "product", eltwise=dict(operation="PROD")),
    layer("largest", "Eltwise", ["left", "right", "third"], "largest", eltwise=dict(operation="MAX")),
    layer("concat", "Concat", ["left", "data", "right"], "concat"),
    layer("concat_old", "Concat", ["left", "right"], "concat_old", concat=dict(concat_dim=1)),
    layer("concat_rows", "Concat", ["left", "right"], "concat_rows", concat=dict(axis=2)),
    layer("parts", "Slice", "data", ["part_a", "part_b", "part_c"], slice=dict(axis=1, slice_point=[1, 4])),
    layer("part_a_relu", "ReLU", "part_a", "part_a_relu"),
    layer("part_b_relu", "ReLU", "part_b", "part_b_relu"),
    layer("part_c_relu", "ReLU", "part_c", "part_c_relu"),
    layer("halves", "Slice", "data", ["half_a", "half_b"]),
    layer("half_sum", "Eltwise", ["half_a", "half_b"], "half_sum"),
    layer("copies", "Split", "left", ["copy_a", "copy_b"]),
    layer("copy_a_relu", "ReLU", "copy_a", "copy_a_relu"),
    layer("copy_b_tanh", "TanH", "copy_b", "copy_b_tanh"),
    conv("up", "data", "up", (6, 6, 4, 4), kind="Deconvolution", kernel_size=4, stride=2, form="pieces"),
    layer("cut", "Crop", ["up", "data"], "cut", crop=dict(axis=2, offset=[3, 1])),
    layer("cut_one", "Crop", ["up", "data"], "cut_one", crop=dict(offset=[2])),
]
case("combine", [("name", "combine")] + [("layer", message) for message in combine],
     [dict(message)["name"] for message in combine[1:] if dict(message)["name"] not in ("parts", "halves", "copies")],
     (2, 6, 5, 4))

turned, turned_bias = numbers(7, 3), numbers(3)
arrange = [
    input_layer(2, 6, 5, 4),
    layer("flatten", "Flatten", "data", "flatten"),
    layer("flatten_rows", "Flatten", "data", "flatten_rows", flatten=dict(axis=2)),
    layer("flatten_front", "Flatten", "data", "flatten_front", flatten=dict(axis=1, end_axis=2)),
    layer("permute", "Permute", "data", "permute", permute=dict(order=[0, 2, 3, 1])),
    layer("permute_flat", "Flatten", "permute", "permute_flat"),
    layer("reshape", "Reshape", "data", "reshape", reshape=dict(shape=dict(dim=[0, 3, -1, 4]))),
    layer("reshape_behind", "Reshape", "data", "reshape_behind", reshape=dict(shape=dict(dim=[2, 3]), axis=1, num_axes=1)),
    layer("reshape_batch", "Reshape", "data", "reshape_batch", reshape=dict(shape=dict(dim=[-1, 24, 5]))),
    layer("reshape_fixed", "Reshape", "data", "reshape_fixed", reshape=dict(shape=dict(dim=[2, 30, -1]))),
    layer("dense", "InnerProduct", "data", "dense", [array(numbers(7, 120, scale=0.1)), array(numbers(7))],
          inner_product=dict(num_output=7)),
    layer("dense_old", "InnerProduct", "dense", "dense_old", [array(numbers(5, 7), "legacy"), array(numbers(5), "legacy")],
          inner_product=dict(num_output=5)),
    layer("dense_bare", "InnerProduct", "dense", "dense_bare", [array(numbers(5, 7))],
          inner_product=dict(num_output=5, bias_term=False)),
    layer("dense_turned", "InnerProduct", "dense", "dense_turned", [array(turned), array(turned_bias)],
          inner_product=dict(num_output=3, transpose=True)),
    layer("dense_rows", "InnerProduct", "flatten_rows", "dense_rows", [array(numbers(3, 20)), array(numbers(3))],
          inner_product=dict(num_output=3, axis=2)),
    layer("softmax", "Softmax", "dense", "softmax"),
]


case("arrange", [("name", "arrange")] + [("layer", message) for message in arrange],
     [dict(message)["name"] for message in arrange[1:]], (2, 6, 5, 4), {
         "dense_turned": lambda v: v["dense"] @ turned + turned_bias,
     })


# One network in the three generations of the format: in place where it can be, with a training's layers around it.
def typical(form):
    return {
        "conv1": [array(numbers(8, 3, 3, 3, scale=0.4), form), array(numbers(8), form)],
        "conv2": [array(numbers(6, 4, 3, 3, scale=0.4), form), array(numbers(6), form)],
        "fc3": [array(numbers(10, 96, scale=0.2), form), array(numbers(10), form)],
        "fc4": [array(numbers(4, 10), form), array(numbers(4), form)],
    }


SHAPE_OF_ALL = (1, 3, 17, 17)
NAMES = ["relu1", "norm1", "pool1", "conv2", "relu2", "pool2", "fc3", "relu3", "drop3", "fc4", "prob"]
ENDS = ["pool1", "pool2", "drop3", "prob"]

weights = typical("shape")
current = [
    [("name", "data"), ("type", "Data"), ("top", "data"), ("top", "label"), ("include", [("phase", "TRAIN")]),
     ("transform_param", [("crop_size", 15), ("mean_file", "elsewhere/train.binaryproto")]),
     ("data_param", [("source", "train_lmdb"), ("batch_size", 64)])],
    [("name", "data"), ("type", "Data"), ("top", "data"), ("top", "label"), ("include", [("phase", "TEST")]),
     ("transform_param", [("scale", 0.5), ("crop_size", 17), ("mean_file", "somewhere/mean.binaryproto")]),
     ("data_param", [("source", "test_lmdb"), ("batch_size", 64)])],
    layer("conv1", "Convolution", "data", "conv1", weights["conv1"],
          convolution=dict(num_output=8, kernel_size=3, stride=1, pad=1)),
    layer("relu1", "ReLU", "conv1", "conv1"),
    layer("norm1", "LRN", "conv1", "norm1", lrn=dict(local_size=5, alpha=0.1, beta=0.75)),
    layer("pool1", "Pooling", "norm1", "pool1", pooling=dict(pool="MAX", kernel_size=3, stride=2)),
    layer("conv2", "Convolution", "pool1", "conv2", weights["conv2"],
          convolution=dict(num_output=6, kernel_size=3, pad=1, group=2)),
    layer("relu2", "ReLU", "conv2", "conv2"),
    layer("pool2", "Pooling", "conv2", "pool2", pooling=dict(pool="AVE", kernel_size=3, stride=2)),
    layer("fc3", "InnerProduct", "pool2", "fc3", weights["fc3"], inner_product=dict(num_output=10)),
    layer("relu3", "ReLU", "fc3", "fc3"),
    layer("drop3", "Dropout", "fc3", "fc3", dropout=dict(dropout_ratio=0.6)),
    layer("fc4", "InnerProduct", "fc3", "fc4", weights["fc4"], inner_product=dict(num_output=4)),
]
ends = [
    layer("accuracy", "Accuracy", ["fc4", "label"], "accuracy"),
    layer("loss", "SoftmaxWithLoss", ["fc4", "label"], "loss"),
]
(out / "train.prototxt").write_text(
    text([("name", "train")] + [("layer", message) for message in current + ends], NET) + "\n")
deployed = [("name", "current"), ("input", "data")] + [("input_dim", size) for size in SHAPE_OF_ALL]
probabilities = layer("prob", "Softmax", "fc4", "prob")
case("current", deployed + [("layer", message) for message in current[2:] + [probabilities]], NAMES, SHAPE_OF_ALL)

weights = typical("legacy")
KINDS = {"Convolution": "CONVOLUTION", "ReLU": "RELU", "LRN": "LRN", "Pooling": "POOLING", "InnerProduct": "INNER_PRODUCT",
         "Dropout": "DROPOUT", "Softmax": "SOFTMAX"}


def v1(message):
    fields = [(key, KINDS[value] if key == "type" else value) for key, value in message if key != "blobs"]
    return fields + [("blobs", values) for values in weights.get(dict(message)["name"], [])]


older = [("name", "older"), ("input", "data"), ("input_shape", [("dim", size) for size in SHAPE_OF_ALL])]
case("older", older + [("layers", v1(message)) for message in current[2:] + [probabilities]], ENDS, SHAPE_OF_ALL)


weights = typical("legacy")


def v0(name, kind, bottom, top, **attributes):
    inner = [("name", name), ("type", kind)] + list(attributes.items())
    inner += [("blobs", values) for values in weights.get(name, [])]
    return ("layers", [("layer", inner), ("bottom", bottom), ("top", top)])


oldest = [("name", "oldest"), ("input", "data")] + [("input_dim", size) for size in SHAPE_OF_ALL] + [
    v0("pad1", "padding", "data", "pad1", pad=1),
    v0("conv1", "conv", "pad1", "conv1", num_output=8, kernelsize=3, stride=1),
    v0("relu1", "relu", "conv1", "conv1"),
    v0("norm1", "lrn", "conv1", "norm1", local_size=5, alpha=0.1, beta=0.75),
    v0("pool1", "pool", "norm1", "pool1", pool="MAX", kernelsize=3, stride=2),
    v0("conv2", "conv", "pool1", "conv2", num_output=6, kernelsize=3, pad=1, group=2),
    v0("relu2", "relu", "conv2", "conv2"),
    v0("pool2", "pool", "conv2", "pool2", pool="AVE", kernelsize=3, stride=2),
    v0("fc3", "innerproduct", "pool2", "fc3", num_output=10),
    v0("relu3", "relu", "fc3", "fc3"),
    v0("drop3", "dropout", "fc3", "fc3", dropout_ratio=0.6),
    v0("fc4", "innerproduct", "fc3", "fc4", num_output=4),
    v0("prob", "softmax", "fc4", "prob"),
]
found = [("layers", v1(message)) for message in current[2:]]
case("oldest", oldest, ENDS, SHAPE_OF_ALL, weights=found)

# A mean image of three channels, whose means are no round numbers.
mean = numbers(3, 20, 20, scale=40.0, shift=110.0)
(out / "mean.binaryproto").write_bytes(array(mean, "legacy"))
(out / "mean.json").write_text(json.dumps(mean.mean((1, 2), dtype=np.float64).tolist()) + "\n")

if len(sys.argv) > 2:
    folder = Path(sys.argv[2])
    [description] = folder.rglob("deploy.prototxt")
    [published] = folder.rglob("*.caffemodel")
    found = cv2.dnn.readNetFromCaffe(str(description), str(published))
    found.enableFusion(False)
    found.enableWinograd(False)
    # Slopes, as photographs have them, in whole numbers.
    channel, row, column = np.mgrid[:3, :224, :224]
    image = abs((3 * column + 2 * row + 71 * channel) % 400 - 200) - abs((5 * row + column * (channel + 1)) % 260 - 130)
    image = image[None].astype(np.float32)
    found.setInput(image, "data")
    features, result = found.forward(["pool", "prob"])
    np.save(out / "nsfw.npy", np.concatenate([features.ravel(), result.ravel()]))
