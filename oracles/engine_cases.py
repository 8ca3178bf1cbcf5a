"""Writes <family>.json and <family>.npy into OUT: small graphs and what PyTorch computes for them.

A case is a graph as `graph.json` stores it, the image size, the batch, the wires to compare, and for every tensor the
numbers of a generator that both sides share, so that only results are stored. PyTorch computes in double precision from
the same single-precision numbers; the results are rounded to single precision at the end. The .npy file holds all
results of a family one after the other.

<family>.gradients.npy holds gradients of the families below: of the sum of all results, each times numbers of the same
generator ("gradient of WIRE"), with respect to the input and every tensor but running statistics by their names; of more
than 256 numbers every n-th is kept. <family>.batch.npy holds the same where batch normalisation goes by the statistics of the
batch, and before that the results of these, subsampled too. networks.rounded.npy holds the gradients where layers
multiply numbers in bfloat16. networks.training.npy and trained.training.npy hold the cross-entropies of 20 steps of gradient
descent with momentum on the wire "fc" of each network, with stored statistics, if it has any with those of the batch, and if
it drops numbers with dropout of seed 7: image i of step s is of numbers("input R"), R being s modulo 4, and has the class
3i + s modulo the number of classes.

usage: engine_cases.py OUT
versions: torch 2.15, numpy
"""

import json
import math
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import engine_operators

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)


def numbers(name, shape, scale, shift):
    """shift + scale · u with u in [−1, 1) from a multiplicative hash of the index; exact in single precision."""
    index = np.arange(math.prod(shape), dtype=np.uint64)
    x = (index * 2654435761 + zlib.crc32(name.encode())) & 0xFFFFFFFF
    x ^= x >> 15
    x = (x * 2246822519) & 0xFFFFFFFF
    x ^= x >> 13
    u = (x >> 8).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return (np.float32(shift) + np.float32(scale) * u).astype(np.float32).reshape(shape)


class Net:
    """A graph under construction, together with its tensors."""

    def __init__(self, family, channels, height, width, batch=2, input_scale=1.0, shape=None, levels=None):
        self.family, self.size, self.batch, self.channels = family, (height, width), batch, channels
        # Sizes of an input that is no image, and of one of whole numbers how many there are.
        self.shape, self.levels = shape, levels
        self.nodes, self.tensors, self.last = [], {}, "input"
        self.input_scale = input_scale

    def add(self, name, op, inputs=None, weights=()):
        self.nodes.append({"name": name, "op": op, "inputs": list([self.last] if inputs is None else inputs)})
        for suffix, shape, scale, shift in weights:
            self.tensors[f"{name}.{suffix}"] = {"shape": list(shape), "scale": scale, "shift": shift}
        self.last = name
        return self

    def conv(self, name, cin, cout, kernel, stride=1, padding=0, dilation=1, groups=1, bias=True, inputs=None):
        pair = lambda v: list(v) if isinstance(v, (tuple, list)) else [v, v]
        kernel, stride, dilation = pair(kernel), pair(stride), pair(dilation)
        if padding != "same_upper":
            padding = {"explicit": list(padding) if isinstance(padding, (tuple, list)) else [padding] * 4}
        fan = cin // groups * kernel[0] * kernel[1]
        weights = [("weight", [cout, cin // groups, *kernel], 2.0 ** -math.floor(math.log2(fan) / 2), 0.0)]
        if bias:
            weights.append(("bias", [cout], 0.5, 0.0))
        attributes = dict(in_channels=cin, out_channels=cout, kernel=kernel, stride=stride, dilation=dilation)
        return self.add(name, {"conv": {**attributes, "padding": padding, "groups": groups, "bias": bias}}, inputs, weights)

    def norm(self, name, channels, epsilon=1e-5, inputs=None):
        shape = [channels]
        weights = [("weight", shape, 0.5, 1.0), ("bias", shape, 0.5, 0.0),
                   ("running_mean", shape, 0.5, 0.0), ("running_var", shape, 0.5, 1.0)]
        return self.add(name, {"batch_normalization": dict(channels=channels, epsilon=epsilon)}, inputs, weights)

    def pool(self, name, kind, kernel, stride, padding=0, inputs=None, **modes):
        if padding != "same_upper":
            padding = {"explicit": list(padding) if isinstance(padding, (tuple, list)) else [padding] * 4}
        pair = lambda v: list(v) if isinstance(v, (tuple, list)) else [v, v]
        return self.add(name, {kind: dict(kernel=pair(kernel), stride=pair(stride), padding=padding, **modes)}, inputs)

    def concat(self, name, inputs):
        return self.add(name, {"concat": {"axis": 1}}, inputs)

    def gemm(self, name, inputs, outputs, bias=True):
        weights = [("weight", [outputs, inputs], 2.0 ** -math.floor(math.log2(inputs) / 2), 0.0)]
        weights += [("bias", [outputs], 0.5, 0.0)] if bias else []
        return self.add(name, {"gemm": dict(in_features=inputs, out_features=outputs, bias=bias)}, None, weights)

    def clip(self, name, low, high):
        return self.add(name, {"clip": dict(min=low, max=high)})

    def relu(self, name="relu"):
        return self.add(name, "relu")


def same(size, kernel, stride, dilation):
    extent = (kernel - 1) * dilation + 1
    total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def pads(padding, x, kernel, stride, dilation):
    if padding == "same_upper":
        top, bottom = same(x.shape[2], kernel[0], stride[0], dilation[0])
        left, right = same(x.shape[3], kernel[1], stride[1], dilation[1])
        return left, right, top, bottom
    top, left, bottom, right = padding["explicit"]
    return left, right, top, bottom


def votes(x, weight, labels, a):
    similarity = F.normalize(x, dim=1) @ weight.T
    result = torch.full((x.shape[0], a["classes"]), a["smoothing"], dtype=x.dtype)
    nearest, index = similarity.topk(a["neighbors"], dim=1)
    gains = ((nearest - nearest[:, :1]) / a["similarity_temperature"]).exp()
    result.scatter_add_(1, labels[index].long(), gains)
    return result.log() * a["sharpness"]


def compute(node, inputs, tensors):
    op = node["op"]
    kind, a = next(iter(op.items())) if isinstance(op, dict) else (op, {})
    prefix = node.get("parameter_prefix", node["name"]) + "."
    p = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    p |= {suffix: tensors[name] for suffix, name in node.get("parameter_names", {}).items()}
    x = inputs[0] if inputs else None
    match kind:
        case "batch_normalization" | "layer_normalization" | "gemm" | "position_embedding" if x.ndim != 4 or kind != "batch_normalization":
            return engine_operators.compute(kind, a, p, inputs)
        case "max_pool" if a.get("ceil_mode"):
            return engine_operators.compute(kind, a, p, inputs)
        case "add" | "mul":
            return engine_operators.compute(kind, a, p, inputs)
        case "conv":
            x = F.pad(x, pads(a["padding"], x, a["kernel"], a["stride"], a["dilation"]))
            return F.conv2d(x, p["weight"], p.get("bias"), a["stride"], 0, a["dilation"], a["groups"])
        case "batch_normalization":
            return F.batch_norm(x, p["running_mean"], p["running_var"], p["weight"], p["bias"], eps=a["epsilon"])
        case "relu":
            return x.relu()
        case "clip":
            return x.clamp(a["min"], a["max"])
        case "max_pool":
            x = F.pad(x, pads(a["padding"], x, a["kernel"], a["stride"], [1, 1]), value=-math.inf)
            return F.max_pool2d(x, a["kernel"], a["stride"], ceil_mode=a.get("ceil_mode", False))
        case "average_pool" if a.get("count_include_pad") or a.get("ceil_mode"):
            [top, left, *_] = a["padding"]["explicit"]
            modes = [a.get("ceil_mode", False), a.get("count_include_pad", False)]
            return F.avg_pool2d(x, a["kernel"], a["stride"], (top, left), *modes)
        case "adaptive_average_pool":
            return F.adaptive_avg_pool2d(x, a["size"])
        case "average_pool":
            border = pads(a["padding"], x, a["kernel"], a["stride"], [1, 1])
            area = F.avg_pool2d(F.pad(torch.ones_like(x), border), a["kernel"], a["stride"])
            return F.avg_pool2d(F.pad(x, border), a["kernel"], a["stride"]) / area
        case "concat":
            batch = max(x.shape[0] for x in inputs)
            return torch.cat([x.expand(batch, *x.shape[1:]) for x in inputs], a["axis"])
        case "global_average_pool":
            return x.mean((2, 3), keepdim=True)
        case "flatten":
            return x.flatten(1)
        case "nearest_neighbors":
            return votes(x, p["weight"], p["labels"], a)
        case "dropout":
            return x
        case "softmax":
            return x.softmax(-1)
        case "sigmoid":
            return x.sigmoid()
        case "silu":
            return F.silu(x)
        case "hard_sigmoid":
            return F.hardsigmoid(x)
        case "hard_swish":
            return F.hardswish(x)
        case "gelu":
            return F.gelu(x, approximate=a["approximate"])
        case "tokens":
            return x.flatten(2).transpose(1, 2)
        case "class_token":
            return torch.cat([p["class_token"].expand(x.shape[0], 1, -1), x], 1)
        case "select_token":
            return x[:, a["index"]]
        case "attention":
            split = lambda part: part.unflatten(2, (a["heads"], -1)).transpose(1, 2)
            q, k, v = map(split, x.chunk(3, 2))
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    result = engine_operators.compute(kind, a, p, inputs)
    if result is None:
        raise ValueError(kind)
    return result


families = {}
# Families with gradients, and operators that have none.
DIFFERENTIABLE = """conv conv_sizes conv_first conv_windows conv_groups depthwise pool pool_modes concat elementwise rows transformers
    networks normalisations functions moves pairs sequences trained""".split()
REFUSED = {"nearest_neighbors"}
BATCH = "elementwise networks concat trained".split()
# Families that are trained for some steps.
TRAINED = "networks trained".split()


def kind_of(node):
    op = node["op"]
    return next(iter(op)) if isinstance(op, dict) else op


def some(tensor):
    flat = tensor.detach().float().numpy().ravel()
    return flat[:: -(-flat.size // 256)]


class Rounded(torch.autograd.Function):
    """To bfloat16 on the way forward."""

    @staticmethod
    def forward(context, x):
        return x.float().bfloat16().double()

    @staticmethod
    def backward(context, gradient):
        return gradient


class RoundedBack(torch.autograd.Function):
    """To bfloat16 on the way back."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient.float().bfloat16().double()


def compute_in_bfloat16(node, inputs, tensors):
    """As compute, with layers of more than a vector that multiply numbers in bfloat16, forward and back, and add a bias of theirs
    as it is; convolutions in groups do not."""
    (x, *_), attributes = inputs, node["op"]
    is_layer = kind_of(node) in ("conv", "gemm") and attributes[kind_of(node)].get("groups", 1) == 1
    if not is_layer or x.ndim == 2 or math.prod(x.shape[2:] if x.ndim == 4 else x.shape[1:2]) == 1:
        return compute(node, inputs, tensors)
    weight, bias = (f"{node['name']}.{suffix}" for suffix in ("weight", "bias"))
    known = tensors | {weight: Rounded.apply(tensors[weight])}
    if bias not in tensors:
        return RoundedBack.apply(compute(node, [Rounded.apply(x)], known))
    known[bias] = torch.zeros_like(tensors[bias])
    products = RoundedBack.apply(compute(node, [Rounded.apply(x)], known))
    return products + (tensors[bias][:, None, None] if x.ndim == 4 else tensors[bias])


def differentiate(net, wires, known_input, tensors, training, compute=compute):
    """The results and their gradients, subsampled."""
    trained = {key: tensors[key] for key in sorted(tensors) if "running_" not in key}
    # Whole numbers that name rows have no gradient.
    variables = [*([] if net.levels else [known_input]), *trained.values()]
    for variable in variables:
        variable.requires_grad_(True)
    known = {"input": known_input}
    for node in net.nodes:
        inputs, op = [known[wire] for wire in node["inputs"]], node["op"]
        if training and isinstance(op, dict) and "batch_normalization" in op:
            weight, bias = (tensors[f"{node['name']}.{suffix}"] for suffix in ("weight", "bias"))
            known[node["name"]] = batch_norm(inputs[0], None, None, weight, bias, op["batch_normalization"]["epsilon"])
        else:
            known[node["name"]] = compute(node, inputs, tensors)
    factors = {wire: numbers(f"gradient of {wire}", known[wire].shape, 1.0, 0.0) for wire in wires}
    loss = sum((known[wire] * torch.from_numpy(factor).double()).sum() for wire, factor in factors.items())
    gradients = torch.autograd.grad(loss, variables, allow_unused=True)
    for variable in variables:
        variable.requires_grad_(False)
    gradients = [torch.zeros_like(v) if g is None else g for v, g in zip(variables, gradients)]
    return [some(known[wire]) for wire in wires], [some(gradient) for gradient in gradients]


STEPS, RATE, MOMENTUM = 20, 0.02, 0.9


def batch_norm(x, mean, variance, weight, bias, epsilon):
    """By the statistics of the batch; the channels of sequences are their last axis."""
    turn = lambda x: x.transpose(1, 2) if x.ndim == 3 else x
    return turn(F.batch_norm(turn(x), mean, variance, weight, bias, training=True, momentum=0.1, eps=epsilon))


def mixed(x):
    """SplitMix64's output function."""
    with np.errstate(over="ignore"):
        x = np.asarray(x, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def drop(x, ratio, seed, batch, node):
    """Dropout as the engine's, whose numbers lie with the channels before the pixels, or tokens."""
    with np.errstate(over="ignore"):
        key = mixed(mixed(mixed(seed) + np.uint64(batch)) + np.uint64(node))
    turned = x.movedim(-1, 1) if x.ndim == 3 else x
    index = np.arange(x.numel(), dtype=np.uint64).reshape(turned.shape)
    kept = torch.from_numpy((mixed(key ^ index) >> np.uint64(40)).astype(np.float64) / (1 << 24) >= ratio)
    return x * (kept.movedim(1, -1) if x.ndim == 3 else kept) / (1 - ratio)


def batches(net, step, shape):
    numbers_ = numbers(f"input {step % 4}", shape, net.input_scale, 0.0)
    if net.levels:
        numbers_ = np.floor((numbers_ + np.float32(1)) / 2 * net.levels)
    return torch.from_numpy(numbers_).double()


def train(net, tensors, shape, training, seed=None):
    """Losses of some steps of gradient descent."""
    tensors = {key: t.clone().requires_grad_("running_" not in key) for key, t in tensors.items()}
    optimizer = torch.optim.SGD([t for t in tensors.values() if t.requires_grad], lr=RATE, momentum=MOMENTUM)
    losses = []
    for step in range(STEPS):
        known = {"input": batches(net, step, shape)}
        for node in net.nodes:
            inputs, op = [known[wire] for wire in node["inputs"]], node["op"]
            if training and isinstance(op, dict) and "batch_normalization" in op:
                named = (tensors[f"{node['name']}.{suffix}"] for suffix in ("running_mean", "running_var", "weight", "bias"))
                known[node["name"]] = batch_norm(inputs[0], *named, op["batch_normalization"]["epsilon"])
            elif seed is not None and kind_of(node) == "dropout":
                place = [other["name"] for other in net.nodes].index(node["name"])
                known[node["name"]] = drop(inputs[0], op["dropout"]["ratio"], seed, step, place)
            else:
                known[node["name"]] = compute(node, inputs, tensors)
        logits = known["fc"]
        classes = torch.tensor([(3 * row + step) % logits.shape[1] for row in range(len(logits))])
        loss = F.cross_entropy(logits, classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return [np.array(losses, dtype=np.float32)]


def case(net, name, wires=None):
    tensors = {}
    for key, t in net.tensors.items():
        if t["scale"] == "unit_rows":
            values = numbers(key, t["shape"], 1.0, 0.0)
            values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
            t["values"], t["scale"] = values.ravel().tolist(), 0.0
        elif t["scale"] == "labels":
            values = np.arange(t["shape"][0]).astype(np.float32) % t["shift"]
            t["values"], t["scale"] = values.tolist(), 0.0
        else:
            values = numbers(key, t["shape"], t["scale"], t["shift"])
        tensors[key] = torch.from_numpy(values.copy()).double()
    shape = (net.batch, *(net.shape or (net.channels, *net.size)))
    known = {"input": torch.from_numpy(numbers("input", shape, net.input_scale, 0.0)).double()}
    if net.levels:
        known["input"] = ((known["input"] + 1) / 2 * net.levels).floor()
    for node in net.nodes:
        known[node["name"]] = compute(node, [known[wire] for wire in node["inputs"]], tensors)
    wires = wires or [net.last]
    entry = families.setdefault(net.family, {"cases": [], "results": [], "gradients": [], "batch": []})
    if net.family in DIFFERENTIABLE and not REFUSED & {kind_of(node) for node in net.nodes}:
        entry["gradients"] += differentiate(net, wires, known["input"], tensors, False)[1]
    has_norm = any("batch_normalization" in node["op"] for node in net.nodes)
    if net.family in TRAINED:
        has_dropout = any(kind_of(node) == "dropout" for node in net.nodes)
        runs = [(False, None)] + [(True, None)] * has_norm + [(False, 7)] * has_dropout
        entry["training"] = entry.get("training", []) + sum((train(net, tensors, shape, *run) for run in runs), [])
    if net.family == "networks":
        rounded = differentiate(net, wires, known["input"], tensors, False, compute_in_bfloat16)[1]
        entry["rounded"] = entry.get("rounded", []) + rounded
    if net.family in BATCH and has_norm:
        entry["batch"] += sum(differentiate(net, wires, known["input"], tensors, True), [])
    symbol = lambda s: {"symbolic": dict(symbol=s, offset=0, divisor=1)}
    # Flattening needs sizes that are known when the graph is built.
    fixed = net.family in "rows transformers normalisations functions windows moves pairs sequences trained".split()
    size = [{"fixed": s} for s in net.size] if fixed else [symbol("height"), symbol("width")]
    sizes = [{"fixed": s} for s in net.shape] if net.shape else [{"fixed": net.channels}, *size]
    graph = {
        "input": "input",
        "input_fact": {"shape": [symbol("batch"), *sizes]},
        "nodes": net.nodes,
        "outputs": [net.last],
    }
    outputs = [{"wire": wire, "shape": list(known[wire].shape)} for wire in wires]
    entry["cases"].append({"name": name, "graph": graph, "tensors": net.tensors, "input": list(shape),
                           "input_scale": net.input_scale, "outputs": outputs}
                          | ({"input_levels": net.levels} if net.levels else {}))
    entry["results"] += [known[wire].float().numpy().ravel() for wire in wires]


# Convolutions: channels around the block size, small and odd images, strides, borders on each side.
for cin, cout in [(1, 1), (3, 5), (5, 17), (17, 33), (33, 3), (16, 16), (100, 33), (32, 64), (48, 20)]:
    for kernel, stride, padding in [(1, 1, 0), (3, 1, 1), (3, 2, "same_upper")]:
        case(Net("conv", cin, 5, 7).conv("c", cin, cout, kernel, stride, padding), f"{cin}to{cout} k{kernel} s{stride}")
for size in [(1, 1), (2, 3), (15, 15), (16, 9)]:
    for kernel, stride, padding in [(3, 1, 1), (3, 2, "same_upper"), (5, 2, "same_upper"), (1, 2, 0), (7, 2, 3)]:
        case(Net("conv_sizes", 20, *size, batch=1).conv("c", 20, 18, kernel, stride, padding), f"{size} k{kernel} s{stride} {padding}")
for cin in [3, 4, 15, 16]:
    for kernel, stride, padding, dilation in [(3, 2, "same_upper", 1), (7, 2, 3, 1), (3, 1, 2, 2), ((2, 3), (1, 2), (0, 1, 1, 2), 1)]:
        case(Net("conv_first", cin, 11, 13).conv("c", cin, 19, kernel, stride, padding, dilation), f"{cin} k{kernel} s{stride} d{dilation}")
for kernel, stride, padding, dilation in [(3, 1, 2, 2), (3, 2, "same_upper", 2), ((3, 1), (2, 1), (1, 0, 2, 0), 1),
                                          ((1, 5), 1, (0, 2, 0, 2), 1), ((2, 4), (3, 2), (1, 2, 0, 1), (2, 1)), (3, 1, 3, 1)]:
    case(Net("conv_windows", 24, 9, 11).conv("c", 24, 20, kernel, stride, padding, dilation), f"k{kernel} s{stride} p{padding} d{dilation}")
for cin, cout, groups in [(4, 6, 2), (32, 64, 2), (64, 32, 4), (24, 24, 3), (32, 32, 8), (6, 12, 6), (20, 40, 20), (34, 34, 2), (96, 192, 3)]:
    for kernel, stride, padding in [(1, 1, 0), (3, 2, "same_upper")]:
        case(Net("conv_groups", cin, 5, 6).conv("c", cin, cout, kernel, stride, padding, groups=groups), f"{cin}to{cout} g{groups} k{kernel}")
for channels in [1, 3, 17, 32, 100]:
    for kernel, stride, padding, dilation in [(3, 1, 1, 1), (3, 2, "same_upper", 1), (5, 2, "same_upper", 1), (3, 1, 2, 2)]:
        net = Net("depthwise", channels, 5, 7).conv("c", channels, channels, kernel, stride, padding, dilation, groups=channels)
        case(net, f"{channels} k{kernel} s{stride} d{dilation}")
for size in [(1, 1), (15, 15), (3, 20)]:
    case(Net("depthwise", 20, *size, batch=1).conv("c", 20, 20, 5, 2, "same_upper", groups=20, bias=False), f"{size}")

# Pools.
for kind in ["max_pool", "average_pool"]:
    for channels, size in [(3, (5, 7)), (17, (15, 15)), (33, (2, 2))]:
        for kernel, stride, padding in [(2, 2, 0), (3, 2, 1), (3, 2, "same_upper"), (2, 1, (0, 1, 1, 0))]:
            case(Net("pool", channels, *size).pool("p", kind, kernel, stride, padding), f"{kind} {channels} {size} k{kernel} s{stride} {padding}")
for channels, size in [(3, (5, 7)), (100, (7, 7)), (17, (1, 1))]:
    case(Net("pool", channels, *size, batch=5).add("g", "global_average_pool"), f"global {channels} {size}")
for channels, size in [(3, (5, 7)), (17, (16, 15)), (33, (8, 9))]:
    for kind in ["max_pool", "average_pool"]:
        case(Net("pool_modes", channels, *size).pool("p", kind, 3, 2, ceil_mode=True), f"{kind} {channels} {size} ceil_mode")
        net = Net("pool_modes", channels, *size).pool("p", kind, (4, 3), (2, 2), 1, ceil_mode=True)
        case(net, f"{kind} {channels} {size} ceil_mode padded")
    for kernel, stride, padding in [(3, 1, 1), (3, 2, 1), ((1, 5), (1, 3), (0, 2, 0, 2))]:
        net = Net("pool_modes", channels, *size).pool("p", "average_pool", kernel, stride, padding, count_include_pad=True)
        case(net, f"{channels} {size} k{kernel} s{stride} {padding} count_include_pad")
    for output in [[7, 7], [1, 1], [2, 3], list(size)]:
        net = Net("pool_modes", channels, *size).add("p", {"adaptive_average_pool": {"size": output}})
        case(net.relu(), f"{channels} {size} adaptive to {output}")

# Concatenations: in place and copied, of values that are read elsewhere too, within one another.
def branches(*channels, cin=20, size=(5, 7)):
    net = Net("concat", cin, *size)
    for index, cout in enumerate(channels):
        net.conv(f"b{index}", cin, cout, 3, 1, 1, inputs=["input"])
    return net.concat("cat", [f"b{index}" for index in range(len(channels))])


for channels in [(16, 32), (16, 16, 48), (3, 17, 16), (16, 5), (5, 16, 11, 16), (16, 33, 15, 16), (1, 1, 1), (17,)]:
    case(branches(*channels), f"{channels}")
    case(branches(*channels).conv("c", sum(channels), 20, 3, 1, 1).relu(), f"{channels} behind a border")
case(branches(16, 16).relu("r").concat("again", ["cat", "r", "b0"]), "nested", ["again", "cat", "b1"])
case(branches(16, 16).concat("swapped", ["b1", "b0"]).add("sum", "add", ["swapped", "cat"]), "two orders", ["sum", "b0"])
case(branches(16, 32).concat("both", ["cat", "cat"]), "twice the same")
case(Net("concat", 32, 3, 4).relu("r").concat("cat", ["input", "r", "input"]), "the input itself")
case(Net("concat", 3, 3, 4).relu("r").concat("cat", ["input", "r"]), "a narrow input")
case(branches(16, 16).norm("n", 32).relu("r").conv("c", 32, 16, 3, 1, 1).concat("more", ["b0", "b1", "c"]).norm("m", 48).relu("s"),
     "a part of a larger one", ["s", "more", "cat", "r"])
case(branches(32, 16).pool("p", "max_pool", 3, 2, 1).conv("c", 48, 16, 1).concat("small", ["p", "c"]), "of a pool")
case(branches(16, 16).add("g", "global_average_pool").add("f", "flatten"), "mean")
net = branches(16, 16, 16).conv("wide", 48, 16, 5, 1, 2).concat("dense", ["b0", "b1", "b2", "wide"]).conv("wider", 64, 16, 7, 1, 3)
case(net.concat("denser", ["dense", "wider"]).conv("end", 80, 5, 1), "borders of several widths", ["end", "b1", "denser"])

# Everything else, alone and fused.
for channels in [1, 17, 48]:
    net = lambda: Net("elementwise", channels, 3, 5)
    case(net().relu(), f"relu {channels}")
    case(net().clip("c", -0.25, 0.5), f"clip {channels}")
    case(net().norm("n", channels), f"norm {channels}")
    case(net().norm("n", channels, 1e-3).relu(), f"norm relu {channels}")
    case(net().add("a", "add", ["input", "input"]), f"add to itself {channels}")
    case(net().relu().add("a", "add", ["input", "relu"]).clip("c", 0.0, 1.0), f"add clip {channels}")
    case(net().conv("c", channels, channels, 3, 1, 1).add("a", "add", ["c", "input"]).relu(), f"conv add relu {channels}")
    case(net().conv("c", channels, channels, 3, 1, 1).add("a", "add", ["input", "c"]), f"add conv {channels}")
    case(net().conv("c", channels, channels, 3, 1, 1, groups=channels).add("a", "add", ["input", "c"]).clip("k", 0.0, 6.0), f"depthwise add clip {channels}")
    case(net().conv("c", channels, 20, 1).add("d", {"dropout": {"ratio": 0.5}}).relu("r").add("a", "add", ["d", "r"]), f"dropout read twice {channels}")
    case(net().conv("c", channels, 20, 1).norm("n", 20).relu("r").add("a", "add", ["c", "r"]), f"conv read twice {channels}")
    net_ = net().conv("c", channels, 20, 1).conv("d", 20, 20, 3, 1, 1).add("s", "add", ["c", "d"])
    case(net_.add("r", "relu", ["c"]).add("t", "add", ["s", "r"]), f"residual with an activation of its own {channels}")
    net_ = net().conv("c", channels, 20, 3, 1, 1).add("r", "relu", ["c"]).add("k", {"clip": {"min": -0.5, "max": 0.5}}, ["c"])
    case(net_.add("a", "add", ["r", "k"]), f"convolution of two activations {channels}", ["a", "r"])
for batch, inputs, outputs in [(2, 25088, 16), (1, 5, 3), (2, 17, 33), (5, 100, 10), (5, 1024, 100), (16, 64, 40), (31, 33, 16)]:
    case(Net("rows", inputs, 1, 1, batch).add("f", "flatten").gemm("g", inputs, outputs), f"gemm {inputs}to{outputs}")
    case(Net("rows", inputs, 1, 1, batch).add("f", "flatten").gemm("g", inputs, outputs, False).relu(), f"gemm relu {inputs}to{outputs}")
case(Net("rows", 5, 3, 2, 3).add("f", "flatten").gemm("g", 30, 7), "flatten of an image")
case(Net("rows", 20, 5, 5, 2).conv("c", 20, 18, 3).add("f", "flatten").gemm("g", 162, 9).add("s", "softmax"), "flatten behind a convolution")
case(Net("rows", 33, 1, 1, 3, 64.0).add("f", "flatten").add("s", "softmax"), "softmax of large logits")
case(Net("rows", 3, 2, 5, 2).add("s", "softmax"), "softmax over the width")
for features, examples, classes, neighbors in [(5, 9, 3, 4), (64, 40, 7, 11), (20, 6, 2, 6)]:
    attributes = dict(features=features, examples=examples, classes=classes, neighbors=neighbors,
                      similarity_temperature=0.07, smoothing=0.01, sharpness=1.25)
    net = Net("rows", features, 1, 1, 3).add("f", "flatten")
    net.add("v", {"nearest_neighbors": attributes}, None, [("weight", [examples, features], "unit_rows", 0.0), ("labels", [examples], "labels", classes)])
    case(net, f"votes {features} {examples}")

# Whole networks.
def basic_block(net, name, cin, cout, stride, source):
    net.conv(f"{name}.conv1", cin, cout, 3, stride, 1, bias=False, inputs=[source]).norm(f"{name}.bn1", cout).relu(f"{name}.relu1")
    net.conv(f"{name}.conv2", cout, cout, 3, 1, 1, bias=False).norm(f"{name}.bn2", cout)
    main, shortcut = f"{name}.bn2", source
    if stride != 1 or cin != cout:
        net.conv(f"{name}.down", cin, cout, 1, stride, bias=False, inputs=[source]).norm(f"{name}.down_bn", cout)
        shortcut = f"{name}.down_bn"
    net.add(f"{name}.add", "add", [main, shortcut]).relu(f"{name}.out")


net = Net("networks", 3, 33, 29)
net.conv("stem", 3, 20, 7, 2, 3, bias=False).norm("stem_bn", 20).relu("stem_relu").pool("pool", "max_pool", 3, 2, 1)
basic_block(net, "a", 20, 20, 1, "pool")
basic_block(net, "b", 20, 40, 2, "a.out")
net.add("mean", "global_average_pool").add("flat", "flatten").gemm("fc", 40, 10).add("p", "softmax")
case(net, "residual", ["p", "fc", "flat", "b.out", "a.conv1", "a.bn1", "a.add", "stem_bn", "b.down"])

net = Net("networks", 3, 31, 26)
net.conv("stem", 3, 24, 3, 2, "same_upper", bias=False).norm("stem_bn", 24, 1e-3).clip("stem_relu", 0.0, 6.0)
for index, (cin, mid, cout, kernel, stride) in enumerate([(24, 40, 20, 3, 2), (20, 60, 20, 5, 1), (20, 60, 33, 5, 2)]):
    source = net.last
    net.conv(f"{index}.expand", cin, mid, 1, bias=False).norm(f"{index}.bn1", mid, 1e-3).clip(f"{index}.relu1", 0.0, 6.0)
    net.conv(f"{index}.depthwise", mid, mid, kernel, stride, "same_upper", groups=mid, bias=False).norm(f"{index}.bn2", mid, 1e-3).clip(f"{index}.relu2", 0.0, 6.0)
    net.conv(f"{index}.project", mid, cout, 1, bias=False).norm(f"{index}.bn3", cout, 1e-3)
    if cin == cout and stride == 1:
        net.add(f"{index}.add", "add", [f"{index}.bn3", source])
net.conv("head", 33, 50, 1, bias=False).norm("head_bn", 50, 1e-3).clip("head_relu", 0.0, 6.0)
net.add("mean", "global_average_pool").add("flat", "flatten").add("drop", {"dropout": {"ratio": 0.2}}).gemm("fc", 50, 7)
case(net, "inverted residual", ["fc", "drop", "flat", "head", "1.add", "1.bn3", "0.relu2", "stem"])

net = Net("networks", 3, 40, 37)
net.conv("stem", 3, 32, 5, 2, 2, bias=False).norm("stem_bn", 32).relu("stem_relu").pool("pool", "max_pool", 3, 2, 1)
wires, channels = ["pool"], 32
for index in range(4):
    net.concat(f"{index}.cat", wires) if index else None
    net.norm(f"{index}.norm1", channels).relu(f"{index}.relu1").conv(f"{index}.conv1", channels, 48, 1, bias=False)
    net.norm(f"{index}.norm2", 48).relu(f"{index}.relu2").conv(f"{index}.conv2", 48, 16, 3, 1, 1, bias=False)
    wires, channels = [*wires, f"{index}.conv2"], channels + 16
net.concat("cat", wires).norm("norm", 96).relu("relu").conv("transition", 96, 40, 1, bias=False).pool("half", "average_pool", 2, 2)
for name, cout, kernel, padding in [("1x1", 16, 1, 0), ("1x7", 24, (1, 7), (0, 3, 0, 3)), ("5x5", 32, 5, 2)]:
    net.conv(name, 40, cout, kernel, 1, padding, bias=False, inputs=["half"]).norm(f"{name}.bn", cout, 1e-3).relu(f"{name}.relu")
net.pool("mean3", "average_pool", 3, 1, 1, inputs=["half"], count_include_pad=True).conv("pooled", 40, 16, 1).relu("pooled.relu")
net.concat("mixed", ["1x1.relu", "1x7.relu", "5x5.relu", "pooled.relu"])
net.add("mean", "global_average_pool").add("flat", "flatten").gemm("fc", 88, 10)
case(net, "concatenating", ["fc", "flat", "mixed", "half", "relu", "2.cat", "1.conv2", "1x7.bn", "pool"])

# Transformers: tokens are the pixels of an image; numbers of tokens and lengths of heads around the tiles' sizes.
activations = ["sigmoid", "silu", "hard_sigmoid", "hard_swish", {"gelu": {"approximate": "none"}}, {"gelu": {"approximate": "tanh"}}]
for index, activation in enumerate(activations):
    net = lambda: Net("transformers", 17, 3, 5, input_scale=6.0)
    case(net().add("a", activation), f"activation {index}")
    case(net().conv("c", 17, 33, 3, 1, 1).add("a", activation), f"conv activation {index}")
    case(net().conv("c", 17, 17, 3, 1, 1, groups=17).add("a", activation).add("m", "mul", ["a", "c"]), f"depthwise activation {index}")
    case(net().conv("c", 17, 17, 1).add("s", "add", ["c", "input"]).add("a", activation), f"residual activation {index}")
    case(net().add("t", "tokens").gemm("g", 17, 20).add("a", activation), f"gemm activation {index}")
case(Net("transformers", 20, 4, 5).add("g", "global_average_pool").conv("c", 20, 20, 1).add("s", "sigmoid").add("m", "mul", ["input", "s"]), "squeeze")
for features, size in [(1, (1, 3)), (16, (1, 1)), (17, (1, 17)), (100, (3, 7)), (384, (1, 5))]:
    net = Net("transformers", features, *size, input_scale=3.0).add("t", "tokens")
    weights = [("weight", [features], 0.5, 1.0), ("bias", [features], 0.5, 0.0)]
    net.add("n", {"layer_normalization": dict(features=features, epsilon=1e-5)}, None, weights)
    case(net.add("s", {"select_token": {"index": size[1] - 1}}, ["n"]), f"layer norm {features} {size}", ["n", "s"])
    case(Net("transformers", features, *size).add("t", "tokens").add("p", "softmax"), f"softmax of tokens {features} {size}")
for tokens in [1, 3, 17, 31, 53, 300]:
    for heads, length in [(2, 16), (1, 64), (3, 5), (1, 48)] if tokens < 300 else [(1, 16), (2, 5)]:
        net = Net("transformers", 3 * heads * length, 1, tokens, input_scale=2.0).add("t", "tokens")
        case(net.add("a", {"attention": {"heads": heads}}), f"attention {tokens} {heads}x{length}")
case(Net("transformers", 3 * 144, 1, 5, input_scale=2.0).add("t", "tokens").add("a", {"attention": {"heads": 1}}), "attention with a long head")
net = Net("transformers", 3, 9, 12).conv("patches", 3, 20, 3, 3).add("t", "tokens")
net.add("c", {"class_token": {"features": 20}}, None, [("class_token", [1, 1, 20], 1.0, 0.0)])
net.add("e", {"position_embedding": dict(tokens=13, features=20)}, None, [("pos_embedding", [1, 13, 20], 1.0, 0.0)])
net.gemm("qkv", 20, 60).add("att", {"attention": {"heads": 4}}).gemm("out", 20, 20).add("sum", "add", ["e", "out"])
net.add("norm", {"layer_normalization": dict(features=20, epsilon=1e-6)}, None, [("weight", [20], 0.5, 1.0), ("bias", [20], 0.5, 0.0)])
net.gemm("mlp1", 20, 48).add("gelu", {"gelu": {"approximate": "none"}}).gemm("mlp2", 48, 20).add("sum2", "add", ["mlp2", "sum"])
case(net.add("s", {"select_token": {"index": 0}}).gemm("head", 20, 7), "vision transformer", ["head", "s", "sum2", "att", "e", "c"])

engine_operators.cases(Net, case)
engine_operators.trained(Net, case)

for family, entry in families.items():
    results = np.concatenate(entry["results"])
    (out / f"{family}.json").write_text(json.dumps(entry["cases"], separators=(",", ":")))
    np.save(out / f"{family}.npy", results)
    for kind in ("gradients", "rounded", "batch", "training"):
        if entry.get(kind):
            np.save(out / f"{family}.{kind}.npy", np.concatenate(entry[kind]))
    print(family, len(entry["cases"]), "cases", results.nbytes, "bytes", (out / f"{family}.json").stat().st_size)
