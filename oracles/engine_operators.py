"""Operators of the published formats for `engine_cases.py`: what PyTorch computes for them, and cases of each.

Where PyTorch has no function (resampling by asymmetric coordinates, gates with the hard sigmoid), the definition is
written out here and compared with PyTorch for the attributes that it has.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F


def by_channel(x, numbers):
    """A number for each channel: axis 1 of images, the last axis of vectors and sequences."""
    return numbers[:, None, None] if x.ndim == 4 else numbers


def over_channels(function, x):
    """A function of the last axis, over the channels."""
    return function(x.movedim(1, -1)).movedim(-1, 1) if x.ndim == 4 else function(x)


def lrn(x, a):
    if a["region"] == "across_channels":
        return F.local_response_norm(x, a["size"], a["alpha"], a["beta"], a["bias"])
    mean = F.avg_pool2d(x * x, a["size"], 1, a["size"] // 2)
    return x / (a["bias"] + a["alpha"] * mean) ** a["beta"]


def taps(mode, coordinates, size, out):
    """out × size matrix of the weights along one axis."""
    matrix = torch.zeros(out, size, dtype=torch.float64)
    for row in range(out):
        y = {"half_pixel": (row + 0.5) * size / out - 0.5, "asymmetric": row * size / out,
             "align_corners": row * (size - 1) / (out - 1) if out > 1 else 0.0}[coordinates]
        below, t = math.floor(y + 1e-9 if mode == "nearest" else y), y - math.floor(y)
        near = lambda d: (-0.75 + 2) * d**3 - (-0.75 + 3) * d**2 + 1
        far = lambda d: -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
        weights = {"nearest": {0: 1.0}, "linear": {0: 1 - t, 1: t},
                   "cubic": {-1: far(1 + t), 0: near(t), 1: near(1 - t), 2: far(2 - t)}}[mode]
        for step, weight in weights.items():
            matrix[row, min(max(below + step, 0), size - 1)] += weight
    return matrix


def resize(x, a, second):
    size = a["size"]
    if size == "like_second":
        out = list(second.shape[2:])
    else:
        kind, numbers = next(iter(size.items()))
        out = list(numbers) if kind == "fixed" else [s * n for s, n in zip(x.shape[2:], numbers)]
    rows, columns = (taps(a["mode"], a["coordinates"], s, o) for s, o in zip(x.shape[2:], out))
    result = torch.einsum("yh,nchw,xw->ncyx", rows, x, columns)
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(a["mode"])
    if mode and a["coordinates"] != "asymmetric":
        torch_result = F.interpolate(x, out, mode=mode, align_corners=a["coordinates"] == "align_corners")
        assert torch.allclose(result, torch_result, atol=1e-9), a
    if a["mode"] == "nearest" and a["coordinates"] == "asymmetric":
        assert torch.equal(result, F.interpolate(x, out, mode="nearest")), a
    return result


def conv_transpose(x, p, a):
    top, left, bottom, right = a["padding"]
    full = F.conv_transpose2d(x, p["weight"], p.get("bias"), a["stride"], 0, a["output_padding"], a["groups"], a["dilation"])
    return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]


def recurrent(kind, x, p, a):
    gate = torch.sigmoid if a["gates"] == "sigmoid" else lambda v: (v / 5 + 0.5).clamp(0, 1)
    x = x.flip(1) if a["reverse"] else x
    h = c = x.new_zeros(x.shape[0], a["hidden"])
    outputs = []
    for token in x.unbind(1):
        given = F.linear(token, p["weight_ih"], p["bias_ih"])
        kept = F.linear(h, p["weight_hh"], p["bias_hh"])
        if kind == "lstm":
            i, f, g, o = (given + kept).chunk(4, 1)
            c = gate(f) * c + gate(i) * g.tanh()
            h = gate(o) * c.tanh()
        else:
            (gr, gz, gn), (kr, kz, kn) = given.chunk(3, 1), kept.chunk(3, 1)
            r, z = gate(gr + kr), gate(gz + kz)
            if not a["reset_after"]:
                rows = slice(2 * a["hidden"], None)
                kn = F.linear(r * h, p["weight_hh"][rows], p["bias_hh"][rows])
            n = (gn + (r * kn if a["reset_after"] else kn)).tanh()
            h = (1 - z) * n + z * h
        outputs.append(h)
    result = torch.stack(outputs, 1)
    if a["gates"] == "sigmoid" and (kind == "lstm" or a["reset_after"]):
        layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](a["features"], a["hidden"], batch_first=True).double()
        layer.load_state_dict({f"{name}_l0": value for name, value in p.items()})
        assert torch.allclose(result, layer(x)[0], atol=1e-12)
    return result.flip(1) if a["reverse"] else result


def reshape(x, shape):
    sizes = [x.shape[1 + place] if size == 0 else size for place, size in enumerate(shape)]
    return x.reshape(x.shape[0], *sizes)


def reduce(x, a):
    kind, axes, keep = a["kind"], a["axes"], a["keep_axes"]
    function = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin, "l2": torch.linalg.vector_norm}[kind]
    return function(x, dim=axes, keepdim=keep)


def pad(x, a):
    """NumPy's borders, of which PyTorch has not all modes for all axes."""
    if isinstance(a["mode"], dict):
        sides = [side for border in reversed(a["borders"]) for side in border]
        return F.pad(x, sides, value=a["mode"]["constant"])
    for axis, border in enumerate(a["borders"]):
        x = x.index_select(axis, torch.from_numpy(np.pad(np.arange(x.shape[axis]), border, mode=a["mode"])))
    return x


def compute(kind, a, p, inputs):
    x = inputs[0] if inputs else None
    second = inputs[1] if len(inputs) > 1 else None
    match kind:
        case "constant":
            return p["value"][None]
        case "scale":
            return x * by_channel(x, p["weight"]) + (by_channel(x, p["bias"]) if a["bias"] else 0)
        case "batch_normalization":
            scale = p["weight"] / (p["running_var"] + a["epsilon"]).sqrt()
            return (x - by_channel(x, p["running_mean"])) * by_channel(x, scale) + by_channel(x, p["bias"])
        case "layer_normalization":
            return over_channels(lambda x: F.layer_norm(x, (a["features"],), p["weight"], p["bias"], a["epsilon"]), x)
        case "gemm":
            return over_channels(lambda x: F.linear(x, p["weight"], p.get("bias")), x)
        case "lrn":
            return lrn(x, a)
        case "tanh" | "exp" | "log" | "abs":
            return getattr(torch, kind)(x)
        case "elu":
            return F.elu(x, a["alpha"])
        case "leaky_relu":
            return F.leaky_relu(x, a["alpha"])
        case "p_relu":
            return torch.where(x > 0, x, x * by_channel(x, p["weight"]))
        case "softplus":
            return F.softplus(x, threshold=1e9)
        case "power":
            return (a["scale"] * x + a["shift"]) ** a["power"]
        case "add" | "sub" | "mul" | "div":
            return getattr(torch, kind)(x, second)
        case "max" | "min":
            return getattr(torch, f"{kind}imum")(x, second)
        case "mat_mul":
            return x @ second
        case "reduce":
            return reduce(x, a)
        case "reshape":
            return reshape(x, a["shape"])
        case "transpose":
            return x.permute(a["axes"])
        case "slice":
            return x[(slice(None),) * a["axis"] + (slice(a["start"], a["end"], a["step"]),)]
        case "pad":
            return pad(x, a)
        case "resize":
            return resize(x, a, second)
        case "conv_transpose":
            return conv_transpose(x, p, a)
        case "embedding":
            return F.embedding(x.long(), p["weight"])
        case "lstm" | "gru":
            return recurrent(kind, x, p, a)
        case "position_embedding":
            table = p["pos_embedding"]
            return x + (table[: x.shape[1]] if a.get("shorter") else table)
        case "max_pool":
            [top, left, *_] = a["padding"]["explicit"]
            return F.max_pool2d(x, a["kernel"], a["stride"], (top, left), ceil_mode=True)
    return None


def scale(net, name, channels, bias=True, inputs=None):
    weights = [("weight", [channels], 0.5, 1.0)] + ([("bias", [channels], 0.5, 0.0)] if bias else [])
    return net.add(name, {"scale": dict(channels=channels, bias=bias)}, inputs, weights)


def layer_norm(net, name, features):
    weights = [("weight", [features], 0.5, 1.0), ("bias", [features], 0.5, 0.0)]
    return net.add(name, {"layer_normalization": dict(features=features, epsilon=1e-5)}, None, weights)


def constant(net, name, *shape, shift=0.0):
    return net.add(name, {"constant": {"shape": list(shape)}}, [], [("value", list(shape), 1.0, shift)])


def normalisations(Net, case):
    for channels in [3, 17, 48]:
        net = lambda: Net("normalisations", channels, 3, 5)
        case(scale(net(), "s", channels), f"scale {channels}")
        case(scale(net(), "s", channels, False).relu(), f"scale relu {channels}")
        case(scale(net().conv("c", channels, 20, 3, 1, 1), "s", 20), f"scale behind a convolution {channels}")
        case(scale(net().conv("c", channels, 20, 1, bias=False).norm("n", 20), "s", 20).relu(), f"conv norm scale relu {channels}", ["relu"])
        case(layer_norm(net(), "n", channels), f"layer norm of pixels {channels}")
        case(layer_norm(net().conv("c", channels, channels, 3, 1, 1, groups=channels), "n", channels).gemm("g", channels, 33).add("a", {"gelu": {"approximate": "none"}}), f"depthwise, norm and dense of pixels {channels}")
        case(scale(net().gemm("g", channels, channels), "s", channels).add("a", "add", ["input", "s"]), f"layer scale {channels}")
        tokens = lambda: net().add("t", "tokens")
        case(scale(tokens(), "s", channels).norm("n", channels), f"scale and norm of tokens {channels}")
        case(tokens().gemm("g", channels, 9).norm("n", 9), f"dense and norm of tokens {channels}")
        case(net().add("f", "flatten").gemm("g", channels * 15, 20).norm("n", 20).relu(), f"dense norm relu of vectors {channels}")
        case(scale(net().add("f", "flatten").norm("n", channels * 15), "s", channels * 15), f"norm and scale of vectors {channels}")
    for cin, cout, groups in [(32, 32, 8), (64, 64, 16), (24, 24, 12), (48, 48, 6), (16, 32, 8), (40, 40, 5), (30, 30, 10)]:
        for kernel, stride, padding in [(3, 1, 1), (3, 2, 1), (1, 1, 0)]:
            case(Net("normalisations", cin, 5, 4).conv("c", cin, cout, kernel, stride, padding, groups=groups).relu(), f"{cin}to{cout} g{groups} k{kernel} s{stride}")
    case(Net("normalisations", 32, 3, 9).conv("c", 32, 32, 3, 1, 1, groups=8).add("a", "add", ["input", "c"]).relu(), "groups and a residual")
    case(Net("normalisations", 32, 9, 5).conv("c", 32, 32, (3, 5), (1, 2), (1, 4, 1, 4), (1, 2), groups=8), "groups, a wide window")


def functions(Net, case):
    ops = ["tanh", "softplus", "exp", "abs", {"elu": {"alpha": 1.0}}, {"elu": {"alpha": 0.3}}, {"leaky_relu": {"alpha": 0.1}}]
    for index, op in enumerate(ops):
        case(Net("functions", 17, 3, 5, input_scale=4.0).add("a", op), f"function {index}")
        case(Net("functions", 5, 3, 5).conv("c", 5, 19, 3, 1, 1).add("a", op).conv("d", 19, 7, 1), f"function {index} between convolutions")
    powers = [(1.0, 0.5, 1.0), (2.0, -0.5, 2.0), (0.4, 0.5, 0.5), (0.5, 1.5, -1.0), (1.0, 0.0, 3.0), (0.4, 0.6, 1 / 3), (0.5, 1.25, -0.75), (0.25, 1.5, -2.0)]
    for scale_, shift, power in powers:
        attributes = dict(scale=scale_, shift=shift, power=power)
        case(Net("functions", 17, 2, 3).add("p", {"power": attributes}), f"power {attributes}")
    case(Net("functions", 17, 2, 3).add("p", {"power": dict(scale=1.0, shift=1.5, power=1.0)}).add("l", "log"), "logarithm")
    for slopes in [1, 33]:
        weights = [("weight", [slopes], 0.5, 0.25)]
        case(Net("functions", 33, 2, 3).add("p", {"p_relu": {"slopes": slopes}}, None, weights), f"{slopes} slopes")
        case(Net("functions", 33, 2, 3).add("t", "tokens").add("p", {"p_relu": {"slopes": slopes}}, None, weights), f"{slopes} slopes of tokens")
        case(Net("functions", 33, 1, 1).add("f", "flatten").add("p", {"p_relu": {"slopes": slopes}}, None, weights), f"{slopes} slopes of vectors")
    for size, alpha, beta, bias in [(5, 1e-1, 0.75, 1.0), (3, 0.5, 0.5, 2.0), (1, 1.0, 1.0, 1.0), (7, 2.0, 0.75, 1.5)]:
        for region in ["across_channels", "within_channel"]:
            attributes = dict(size=size, alpha=alpha, beta=beta, bias=bias, region=region)
            for channels in [3, 33]:
                case(Net("functions", channels, 5, 4, input_scale=3.0).add("n", {"lrn": attributes}), f"{attributes} {channels}")


def windows(Net, case):
    for kernel, stride, padding in [(1, 3, 0), (2, 3, 0), (2, 3, 1), (3, 2, 1), (2, 2, 1), ((2, 3), (3, 2), (1, 1, 1, 1)), (3, 4, 1)]:
        for size in [(5, 7), (6, 8)]:
            for kind in ["max_pool", "average_pool"]:
                net = Net("windows", 17, *size).pool("p", kind, kernel, stride, padding, ceil_mode=True)
                case(net, f"{kind} {size} k{kernel} s{stride} p{padding} ceil_mode")
            net = Net("windows", 17, *size).pool("p", "average_pool", kernel, stride, padding, ceil_mode=True, count_include_pad=True)
            case(net, f"{size} k{kernel} s{stride} p{padding} ceil_mode count_include_pad")
    for cin, cout, kernel, stride, padding, more in [
        (3, 5, 3, 1, 1, {}), (17, 20, 4, 2, 1, {}), (5, 5, 16, 8, 4, dict(groups=5)), (32, 16, 2, 2, 0, {}), (1, 1, 4, 2, 0, {}), (20, 6, (3, 5), (2, 3), (1, 2, 0, 1), dict(output_padding=[1, 2])),
        (16, 32, 3, 2, 1, dict(groups=4, output_padding=[1, 1], bias=False)), (6, 4, 3, 2, 2, dict(dilation=2, groups=2)), (33, 17, 1, 2, 0, {}), (40, 40, 3, 2, 1, dict(groups=40)),
    ]:
        pair = lambda v: list(v) if isinstance(v, (tuple, list)) else [v, v]
        kernel, stride, dilation = pair(kernel), pair(stride), pair(more.get("dilation", 1))
        padding = list(padding) if isinstance(padding, tuple) else [padding] * 4
        groups, bias = more.get("groups", 1), more.get("bias", True)
        attributes = dict(in_channels=cin, out_channels=cout, kernel=kernel, stride=stride, dilation=dilation, padding=padding,
                          output_padding=more.get("output_padding", [0, 0]), groups=groups, bias=bias)
        fan = cin // groups * kernel[0] * kernel[1]
        weights = [("weight", [cin, cout // groups, *kernel], 2.0 ** -math.floor(math.log2(fan) / 2), 0.0)]
        weights += [("bias", [cout], 0.5, 0.0)] if bias else []
        net = Net("windows", cin, 3, 5).add("t", {"conv_transpose": attributes}, None, weights)
        case(net, f"transposed {cin}to{cout} k{kernel} s{stride} g{groups}")
    attributes = dict(in_channels=8, out_channels=3, kernel=[2, 2], stride=[2, 2], dilation=[1, 1], padding=[0] * 4, output_padding=[0, 0], groups=1, bias=False)
    net = Net("windows", 8, 4, 3).conv("c", 8, 8, 3, 1, 1).relu().add("t", {"conv_transpose": attributes}, None, [("weight", [8, 3, 2, 2], 0.25, 0.0)])
    case(net.relu("end"), "transposed behind a convolution and before a rectifier")
    for coordinates in ["half_pixel", "asymmetric", "align_corners"]:
        for mode in ["nearest", "linear", "cubic"]:
            for size, out in [((3, 5), {"times": [2, 2]}), ((4, 6), {"fixed": [7, 4]}), ((5, 3), {"fixed": [1, 9]})]:
                attributes = dict(size=out, mode=mode, coordinates=coordinates)
                case(Net("windows", 17, *size).add("r", {"resize": attributes}), f"resize {size} {attributes}")
    net = Net("windows", 5, 4, 5).conv("c", 5, 20, 3, 2, 1).add("r", {"resize": dict(size="like_second", mode="nearest", coordinates="asymmetric")}, ["c", "input"])
    case(net.concat("cat", ["r", "input"]).conv("d", 25, 9, 3, 1, 1), "upsampled and concatenated", ["d", "r"])


def moves(Net, case):
    image = lambda: Net("moves", 18, 4, 6)
    tokens = lambda: image().add("t", "tokens")
    move = lambda net, name, **attributes: net.add(name + str(len(net.nodes)), {name: attributes})
    for shape in [[0, 24], [18, 24], [-1], [2, 9, 4, 6], [4, -1, 6], [9, 8, 6], [2, 3, 3, 2, 12], [0, 0, 0], [1, -1, 1], [0, -1, 2, 3]]:
        case(move(image(), "reshape", shape=shape), f"image as {shape}")
    for shape in [[18, 4, 6], [-1], [24, 3, 6], [0, 2, 9], [12, 36], [4, 6, 18]]:
        case(move(tokens(), "reshape", shape=shape), f"tokens as {shape}")
    case(move(image(), "reshape", shape=[2, 9, 4, 6]).add("f", "flatten"), "flatten of five axes")
    case(tokens().add("f", "flatten").gemm("g", 24 * 18, 5), "flatten of tokens")
    case(move(tokens().add("f", "flatten"), "reshape", shape=[24, 18]), "tokens again")
    for axes in [[0, 1, 3, 2], [0, 3, 1, 2], [0, 2, 3, 1], [0, 3, 2, 1]]:
        case(move(image(), "transpose", axes=axes), f"image {axes}")
    case(move(tokens(), "transpose", axes=[0, 2, 1]), "tokens transposed")
    shuffled = move(move(move(image(), "reshape", shape=[3, 6, 4, 6]), "transpose", axes=[0, 2, 1, 3, 4]), "reshape", shape=[18, 4, 6])
    case(shuffled.conv("c", 18, 8, 3, 1, 1), "channel shuffle", ["c", "reshape2"])
    heads = move(move(tokens(), "reshape", shape=[0, 3, 6]), "transpose", axes=[0, 2, 1, 3])
    case(move(move(heads, "transpose", axes=[0, 2, 1, 3]), "reshape", shape=[0, -1]), "heads and back", ["transpose2", "reshape4"])
    for axis, start, end, step in [(1, 0, 9, 1), (1, 1, 18, 2), (1, 16, 18, 1), (2, 1, 4, 2), (3, 0, 6, 5), (3, 2, 3, 1)]:
        case(move(image(), "slice", axis=axis, start=start, end=end, step=step), f"slice {axis} {start}:{end}:{step}")
    case(move(tokens(), "slice", axis=1, start=3, end=20, step=4), "slice of tokens")
    case(move(tokens(), "slice", axis=2, start=1, end=18, step=1), "slice of features")
    case(move(move(image(), "reshape", shape=[2, 9, 4, 6]), "slice", axis=3, start=1, end=3, step=1), "slice of five axes")
    for mode in [{"constant": 0.0}, {"constant": -1.5}, "reflect", "edge"]:
        case(move(image(), "pad", borders=[[0, 0], [0, 0], [2, 1], [3, 0]], mode=mode), f"pad {mode}")
        case(move(image(), "pad", borders=[[0, 0], [3, 5], [0, 0], [0, 1]], mode=mode), f"pad channels {mode}")
        case(move(tokens(), "pad", borders=[[0, 0], [1, 2], [0, 3]], mode=mode), f"pad tokens {mode}")
    case(move(image(), "pad", borders=[[0, 0], [0, 0], [1, 1], [1, 1]], mode="reflect").conv("c", 18, 5, 3, 1, 1), "reflected and convolved")
    for axis in [2, 3]:
        net = move(image(), "slice", axis=axis, start=1, end=3, step=1)
        case(net.add("c", {"concat": {"axis": axis}}, ["input", net.last, "input"]).conv("d", 18, 4, 3, 1, 1), f"concatenation along {axis}", ["c", "d"])
    net = move(tokens(), "slice", axis=1, start=0, end=5, step=1)
    case(net.add("c", {"concat": {"axis": 1}}, [net.last, "t"]), "concatenation of tokens")
    case(tokens().gemm("g", 18, 7).add("c", {"concat": {"axis": 2}}, ["g", "t", "g"]), "concatenation of features")
    net = move(image(), "reshape", shape=[2, 9, 4, 6])
    case(net.add("c", {"concat": {"axis": 2}}, [net.last, net.last]), "concatenation of five axes")
    case(constant(image(), "k", 18, 1, 6).add("a", "add", ["input", "k"]), "a constant row")
    case(constant(tokens(), "k", 24, 18).add("a", "add", ["t", "k"]), "constant positions")
    case(constant(tokens(), "k", 1, 18).add("a", {"concat": {"axis": 1}}, ["k", "t"]), "a constant token")
    case(constant(image(), "k", 2, 9, 1, 6).add("b", {"reshape": {"shape": [2, 9, 4, 6]}}, ["input"]).add("a", "mul", ["b", "k"]), "a constant of five axes")


def pairs(Net, case):
    shapes = [(18, 1, 1), (1, 4, 6), (18, 1, 6), (18, 4, 1), (1, 1, 6), (1, 1, 1), (18, 4, 6)]
    for op in ["add", "sub", "mul", "div", "max", "min"]:
        for shape in shapes:
            net = constant(Net("pairs", 18, 4, 6), "k", *shape, shift=2.5 if op == "div" else 0.0)
            case(net.add("a", op, ["input", "k"]), f"{op} {shape}")
        net = constant(Net("pairs", 18, 4, 6), "k", 1, 18, shift=2.5 if op == "div" else 0.0).add("t", "tokens", ["input"])
        case(net.add("a", op, ["t", "k"]), f"{op} of tokens")
        net = constant(Net("pairs", 18, 1, 1), "k", 1, shift=2.5 if op == "div" else 0.0).add("f", "flatten", ["input"])
        case(net.add("a", op, ["f", "k"]), f"{op} of vectors")
    case(constant(Net("pairs", 18, 4, 6), "k", 18, 1, 1).add("a", "sub", ["k", "input"]), "the first one repeated")
    case(constant(Net("pairs", 18, 4, 6), "k", 18, 4, 1).add("c", {"constant": {"shape": [1, 1, 6]}}, [], [("value", [1, 1, 6], 1.0, 0.0)]).add("a", "mul", ["k", "c"]).add("b", "add", ["a", "input"]), "both repeated", ["a", "b"])
    net = Net("pairs", 18, 4, 6).add("g", "global_average_pool").conv("c", 18, 18, 1).add("s", "sigmoid").add("m", "mul", ["s", "input"])
    case(net.conv("d", 18, 5, 3, 1, 1).add("a", "add", ["d", "d"]).relu(), "squeeze the other way round", ["relu", "m"])
    net = Net("pairs", 18, 4, 6).conv("c", 18, 18, 1).add("g", "global_average_pool", ["input"]).conv("d", 18, 18, 1).add("a", "add", ["c", "d"]).relu()
    case(net, "a residual that is repeated", ["relu", "a"])
    net = Net("pairs", 18, 4, 6).add("t", "tokens").add("r", {"reduce": dict(kind="mean", axes=[1], keep_axes=True)}).gemm("q", 18, 18).gemm("p", 18, 18)
    net.add("g", {"gemm": dict(in_features=18, out_features=18, bias=False)}, ["t"], [("weight", [18, 18], 0.25, 0.0)])
    case(net.add("a", "add", ["g", "p"]).add("s", {"select_token": {"index": 3}}), "one token for all, one selected")
    for kind in ["sum", "mean", "max", "min", "l2"]:
        for axes in [[1], [2], [3], [2, 3], [1, 2, 3], [1, 3]]:
            for keep in [True, False]:
                case(Net("pairs", 18, 4, 6).add("r", {"reduce": dict(kind=kind, axes=axes, keep_axes=keep)}), f"{kind} over {axes} {keep}")
        case(Net("pairs", 18, 4, 6).add("t", "tokens").add("r", {"reduce": dict(kind=kind, axes=[2], keep_axes=True)}).add("d", "div", ["t", "r"]) if kind == "l2" else
             Net("pairs", 18, 4, 6).add("t", "tokens").add("r", {"reduce": dict(kind=kind, axes=[1], keep_axes=False)}), f"{kind} of tokens")
        case(Net("pairs", 18, 4, 6).add("b", {"reshape": {"shape": [2, 9, 4, 6]}}).add("r", {"reduce": dict(kind=kind, axes=[1, 3], keep_axes=False)}), f"{kind} of five axes")


def sequences(Net, case):
    for heads, rows, inner, columns in [(1, 1, 1, 1), (3, 5, 7, 9), (12, 17, 16, 17), (17, 4, 3, 6), (20, 9, 2, 3)]:
        net = constant(Net("sequences", heads, rows, inner), "k", heads, inner, columns)
        case(net.add("m", "mat_mul", ["input", "k"]).add("s", "softmax"), f"product {heads}x{rows}x{inner}x{columns}", ["m", "s"])
    for rows, inner, columns in [(1, 3, 5), (6, 17, 33), (9, 20, 16)]:
        net = constant(Net("sequences", inner, 1, rows).add("t", "tokens", ["input"]), "k", inner, columns)
        case(net.add("m", "mat_mul", ["t", "k"]).add("s", "softmax"), f"product of tokens {rows}x{inner}x{columns}", ["m", "s"])
    net = constant(Net("sequences", 6, 5, 4).add("r", {"reshape": {"shape": [2, 3, 5, 4]}}, ["input"]), "k", 2, 3, 4, 7)
    case(net.add("m", "mat_mul", ["r", "k"]).add("s", "softmax"), "product of five axes", ["m", "s"])
    # Attention as it is in ONNX files.
    net = Net("sequences", 24, 1, 10).add("t", "tokens")
    for name in "qkv":
        # A bias of the keys has no effect, and so a gradient of nothing but rounding errors.
        bias = [("bias", [24], 0.5, 0.0)] if name != "k" else []
        net.add(name, {"gemm": dict(in_features=24, out_features=24, bias=bool(bias))}, ["t"], [("weight", [24, 24], 0.25, 0.0), *bias])
        net.add(f"{name}.heads", {"reshape": {"shape": [0, 3, 8]}}).add(f"{name}.first", {"transpose": {"axes": [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]}})
    net.add("scores", "mat_mul", ["q.first", "k.first"]).add("scaled", {"power": dict(scale=8.0**-0.5, shift=0.0, power=1.0)}).add("weights", "softmax")
    net.add("sums", "mat_mul", ["weights", "v.first"]).add("back", {"transpose": {"axes": [0, 2, 1, 3]}}).add("joined", {"reshape": {"shape": [0, -1]}}).gemm("out", 24, 24)
    case(net, "attention in small steps", ["out", "weights", "joined"])
    case(Net("sequences", 5, 1, 7, shape=[7, 5]).gemm("g", 5, 3).add("s", "softmax"), "a sequence as input")
    case(Net("sequences", 21, 1, 1, shape=[21]).gemm("g", 21, 3).add("s", "softmax"), "a vector as input")
    embedding = lambda net, entries, features: net.add("e", {"embedding": dict(entries=entries, features=features)}, None, [("weight", [entries, features], 1.0, 0.0)])
    for tokens, entries, features in [(1, 1, 1), (7, 50, 20), (19, 300, 33)]:
        case(embedding(Net("sequences", tokens, 1, 1, shape=[tokens], levels=entries), entries, features), f"embedding {tokens} {entries} {features}")
    net = embedding(Net("sequences", 7, 1, 1, shape=[7], levels=30), 30, 12)
    net.add("p", {"position_embedding": dict(tokens=16, features=12, shorter=True)}, None, [("pos_embedding", [16, 12], 1.0, 0.0)])
    case(layer_norm(net, "n", 12).gemm("qkv", 12, 36).add("a", {"attention": {"heads": 2}}).gemm("o", 12, 12), "embedded tokens and positions", ["o", "p"])
    def layer(net, kind, features, hidden, **more):
        rows = hidden * (4 if kind == "lstm" else 3)
        attributes = dict(features=features, hidden=hidden, reverse=False, gates="sigmoid") | more
        weights = [("weight_ih", [rows, features], 0.5, 0.0), ("weight_hh", [rows, hidden], 0.5, 0.0), ("bias_ih", [rows], 0.5, 0.0), ("bias_hh", [rows], 0.5, 0.0)]
        return net.add(kind + str(len(net.nodes)), {kind: attributes}, None, weights)
    for features, hidden, tokens in [(3, 5, 1), (5, 3, 6), (17, 20, 9), (16, 33, 4), (4, 9, 16)]:
        for kind in ["lstm", "gru"]:
            for reverse in [False, True]:
                for gates in ["sigmoid", "hard_sigmoid"]:
                    for after in [True, False] if kind == "gru" else [False]:
                        net = Net("sequences", features, 1, tokens, shape=[tokens, features])
                        more = dict(reverse=reverse, gates=gates, reset_after=after)
                        case(layer(net, kind, features, hidden, **more), f"{kind} {features} {hidden} {tokens} {more}")
    net = embedding(Net("sequences", 6, 1, 1, shape=[6], levels=40), 40, 10)
    layer(net, "lstm", 10, 9).add("back", {"lstm": dict(features=10, hidden=9, reverse=True, gates="sigmoid")}, ["e"],
        [("weight_ih", [36, 10], 0.5, 0.0), ("weight_hh", [36, 9], 0.5, 0.0), ("bias_ih", [36], 0.5, 0.0), ("bias_hh", [36], 0.5, 0.0)])
    net.add("both", {"concat": {"axis": 2}}, ["lstm1", "back"]).add("r", {"reduce": dict(kind="max", axes=[1], keep_axes=False)}).gemm("g", 18, 4)
    case(net, "words in both directions", ["g", "both"])


def cases(Net, case):
    # One image is enough for most; that a batch is what its images are is another test's business.
    def single(*arguments, **more):
        return Net(*arguments, batch=1, **more)

    for family in [windows, moves, pairs]:
        family(single, case)
    for family in [normalisations, functions, sequences]:
        family(Net, case)


def dense(net, name, inputs, outputs, source=None):
    weights = [("weight", [outputs, inputs], 2.0 ** -math.floor(math.log2(inputs) / 2), 0.0), ("bias", [outputs], 0.5, 0.0)]
    attributes = dict(in_features=inputs, out_features=outputs, bias=True)
    return net.add(name, {"gemm": attributes}, source and [source], weights)


def encoder(net, name, features, heads, gelu, first):
    """Attention and feed-forward, normalised before (`first`) or behind."""
    source = net.last
    norm = lambda part: layer_norm(net, f"{name}.{part}", features)
    norm("norm1") if first else None
    dense(net, f"{name}.qkv", features, 3 * features).add(f"{name}.attention", {"attention": {"heads": heads}})
    dense(net, f"{name}.out", features, features).add(f"{name}.sum1", "add", [source, f"{name}.out"])
    norm("norm1") if not first else None
    middle = net.last
    norm("norm2") if first else None
    dense(net, f"{name}.wide", features, 2 * features).add(f"{name}.gelu", {"gelu": {"approximate": gelu}})
    dense(net, f"{name}.narrow", 2 * features, features).add(f"{name}.sum2", "add", [f"{name}.narrow", middle])
    norm("norm2") if not first else None


def recurrent_layer(net, kind, name, features, hidden, reverse, source):
    rows = hidden * (4 if kind == "lstm" else 3)
    attributes = dict(features=features, hidden=hidden, reverse=reverse, gates="sigmoid", reset_after=kind == "gru")
    weights = [("weight_ih", [rows, features], 0.5, 0.0), ("weight_hh", [rows, hidden], 0.5, 0.0), ("bias_ih", [rows], 0.5, 0.0), ("bias_hh", [rows], 0.5, 0.0)]
    return net.add(name, {kind: attributes}, [source], weights)


def squeezed(net, name, cin, middle, cout, kernel, stride, activation, gates):
    """An inverted residual with a factor for each channel, of EfficientNet or MobileNetV3."""
    source = net.last
    net.conv(f"{name}.expand", cin, middle, 1, bias=False).norm(f"{name}.bn1", middle).add(f"{name}.act1", activation)
    net.conv(f"{name}.depthwise", middle, middle, kernel, stride, kernel // 2, groups=middle, bias=False).norm(f"{name}.bn2", middle).add(f"{name}.act2", activation)
    wide = net.last
    net.add(f"{name}.mean", "global_average_pool").conv(f"{name}.reduce", middle, 8, 1).add(f"{name}.act3", gates[0])
    net.conv(f"{name}.widen", 8, middle, 1).add(f"{name}.gate", gates[1]).add(f"{name}.scaled", "mul", [wide, f"{name}.gate"])
    net.conv(f"{name}.project", middle, cout, 1, bias=False).norm(f"{name}.bn3", cout)
    if cin == cout and stride == 1:
        net.add(f"{name}.drop", {"dropout": {"ratio": 0.2}}).add(f"{name}.add", "add", [f"{name}.drop", source])


def vgg(net):
    """Two layers of 3 x 3 and a pool, three times, and three dense layers with dropout between them."""
    channels = 3
    for index, cout in enumerate([16, 20, 32]):
        net.conv(f"{index}.a", channels, cout, 3, 1, 1).relu(f"{index}.a.relu").conv(f"{index}.b", cout, cout, 3, 1, 1).relu(f"{index}.b.relu")
        net.pool(f"{index}.pool", "max_pool", 2, 2)
        channels = cout
    net.add("flat", "flatten")
    for index, width in enumerate([32 * 2 * 3, 48]):
        dense(net, f"dense{index}", width, 48).relu(f"dense{index}.relu").add(f"drop{index}", {"dropout": {"ratio": 0.5}})
    return net.gemm("fc", 48, 7)


def branch(net, name, source, cin, *layers):
    """Convolutions without bias behind each other, each with its normalisation: channels, kernel, stride and border."""
    wire = source
    for index, (cout, kernel, stride, padding) in enumerate(layers):
        layer = f"{name}.{index}"
        net.conv(layer, cin, cout, kernel, stride, padding, bias=False, inputs=[wire]).norm(f"{layer}.bn", cout, 1e-3).relu(f"{layer}.relu")
        wire, cin = f"{layer}.relu", cout
    return wire


def inception(net):
    """A module of each kind of Inception v3: with two layers of 3 x 3, with a smaller image, with 1 x 7 and 7 x 1."""
    stem = branch(net, "stem", "input", 3, (20, 3, 2, 0))
    net.pool("a.mean", "average_pool", 3, 1, 1, inputs=[stem], count_include_pad=True)
    wires = [branch(net, "a.one", stem, 20, (16, 1, 1, 0)), branch(net, "a.double", stem, 20, (12, 1, 1, 0), (16, 3, 1, 1), (20, 3, 1, 1)),
             branch(net, "a.pooled", "a.mean", 20, (12, 1, 1, 0))]
    net.concat("a", wires).pool("b.max", "max_pool", 3, 2)
    net.concat("b", [branch(net, "b.three", "a", 48, (24, 3, 2, 0)), "b.max"])
    row, column = (0, 3, 0, 3), (3, 0, 3, 0)
    wires = [branch(net, "c.one", "b", 72, (16, 1, 1, 0)), branch(net, "c.seven", "b", 72, (12, 1, 1, 0), (12, (1, 7), 1, row), (20, (7, 1), 1, column))]
    return net.concat("c", wires).add("mean", "global_average_pool").add("flat", "flatten").add("drop", {"dropout": {"ratio": 0.5}}).gemm("fc", 36, 7)


def trained(Net, case):
    """Small networks of every kind that is trained, and tensors that two nodes have."""
    case(vgg(Net("trained", 3, 16, 24)), "VGG")
    case(inception(Net("trained", 3, 21, 18)), "Inception")
    for name, activation, gates in [("efficient", "silu", ["silu", "sigmoid"]), ("mobile", "hard_swish", ["relu", "hard_sigmoid"])]:
        net = Net("trained", 3, 17, 14).conv("stem", 3, 20, 3, 2, 1, bias=False).norm("stem_bn", 20).add("stem_act", activation)
        squeezed(net, "a", 20, 40, 20, 3, 1, activation, gates)
        squeezed(net, "b", 20, 36, 24, 5, 2, activation, gates)
        net.add("mean", "global_average_pool").add("flat", "flatten").add("drop", {"dropout": {"ratio": 0.3}}).gemm("fc", 24, 7)
        case(net, name)
    net = Net("trained", 3, 9, 12).conv("patches", 3, 24, 3, 3).add("t", "tokens")
    net.add("c", {"class_token": {"features": 24}}, None, [("class_token", [1, 1, 24], 0.5, 0.0)])
    net.add("e", {"position_embedding": dict(tokens=13, features=24)}, None, [("pos_embedding", [1, 13, 24], 0.5, 0.0)])
    net.add("drop", {"dropout": {"ratio": 0.1}})
    encoder(net, "0", 24, 3, "none", True)
    encoder(net, "1", 24, 3, "none", True)
    layer_norm(net, "norm", 24).add("s", {"select_token": {"index": 0}}).gemm("fc", 24, 7)
    case(net, "vision transformer")
    net = Net("trained", 3, 16, 12).conv("stem", 3, 20, 2, 2)
    layer_norm(net, "stem_norm", 20)
    for index in range(2):
        source = net.last
        net.conv(f"{index}.depthwise", 20, 20, 3, 1, 1, groups=20)
        layer_norm(net, f"{index}.norm", 20)
        dense(net, f"{index}.wide", 20, 40).add(f"{index}.gelu", {"gelu": {"approximate": "none"}})
        dense(net, f"{index}.narrow", 40, 20)
        scale(net, f"{index}.scale", 20, False).add(f"{index}.add", "add", [f"{index}.scale", source])
    layer_norm(net, "down_norm", 20).conv("down", 20, 24, 2, 2).add("mean", "global_average_pool").add("flat", "flatten")
    layer_norm(net, "norm", 24).gemm("fc", 24, 7)
    case(net, "convolutions like a transformer's")
    for kind in ["lstm", "gru"]:
        net = Net("trained", 9, 1, 1, 3, shape=[9], levels=30)
        net.add("e", {"embedding": dict(entries=30, features=12)}, None, [("weight", [30, 12], 1.0, 0.0)])
        recurrent_layer(net, kind, "there", 12, 10, False, "e")
        recurrent_layer(net, kind, "back", 12, 10, True, "e").add("both", {"concat": {"axis": 2}}, ["there", "back"])
        recurrent_layer(net, kind, "second", 20, 16, False, "both")
        net.add("last", {"select_token": {"index": 8}}).add("mean", {"reduce": dict(kind="mean", axes=[1], keep_axes=False)}, ["both"])
        net.add("cat", {"concat": {"axis": 1}}, ["last", "mean"]).add("drop", {"dropout": {"ratio": 0.5}}).gemm("fc", 36, 5)
        case(net, f"{kind} of words")
    net = Net("trained", 7, 1, 1, 3, shape=[7], levels=30)
    net.add("e", {"embedding": dict(entries=30, features=24)}, None, [("weight", [30, 24], 1.0, 0.0)])
    net.add("p", {"position_embedding": dict(tokens=16, features=24, shorter=True)}, None, [("pos_embedding", [16, 24], 0.5, 0.0)])
    layer_norm(net, "norm", 24)
    encoder(net, "0", 24, 2, "tanh", False)
    encoder(net, "1", 24, 2, "tanh", False)
    net.add("mean", {"reduce": dict(kind="mean", axes=[1], keep_axes=False)}).gemm("fc", 24, 5)
    case(net, "encoder of words")
    net = Net("trained", 3, 11, 10).conv("stem", 3, 24, 3, 2, 1).add("r", {"p_relu": {"slopes": 24}}, None, [("weight", [24], 0.25, 0.25)])
    lrn_attributes = dict(size=5, alpha=0.5, beta=0.75, bias=1.0, region="across_channels")
    net.add("lrn", {"lrn": lrn_attributes}).conv("c", 24, 20, 3, 1, 1, bias=False).norm("n", 20)
    scale(net, "s", 20).add("leaky", {"leaky_relu": {"alpha": 0.1}}).pool("p", "max_pool", 3, 2, 1)
    case(net.add("f", "flatten").add("drop", {"dropout": {"ratio": 0.5}}).gemm("fc", 180, 7), "Caffe's")
    net = Net("trained", 7, 1, 1, 3, shape=[7], levels=30)
    net.add("e", {"embedding": dict(entries=30, features=12)}, None, [("weight", [30, 12], 1.0, 0.0)])
    dense(net, "a", 12, 12).add("tanh1", "tanh").add("b", net.nodes[1]["op"]).add("tanh2", "tanh")
    net.nodes[3]["parameter_prefix"] = "a"
    net.add("mean", {"reduce": dict(kind="mean", axes=[1], keep_axes=False)})
    net.add("fc", {"gemm": dict(in_features=12, out_features=30, bias=False)})
    net.nodes[-1]["parameter_names"] = {"weight": "e.weight"}
    case(net, "tensors of two nodes")
