"""What several oracles share: EfficientNet-Lite0 as a PyTorch module, networks with weights that are a formula, and the way
from an image file to a network's input with Pillow. Writes nothing.

Versions: torch 2.15.0, torchvision 0.29.2, Pillow 13.0.0, numpy 2.4.6, safetensors 0.8.0.
"""

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image, ImageOps


def same_pad(x, kernel, stride):
    """TensorFlow's SAME: the odd row or column goes to the bottom and right."""
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class Lite0(torch.nn.Module):
    """EfficientNet-Lite0 straight from a state_dict, by its published names."""

    STAGES = [(1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1)]

    def __init__(self, weights, dtype=torch.float64):
        super().__init__()
        self.w = {name: tensor.to(dtype) for name, tensor in weights.items()}

    def conv_norm(self, x, conv, norm, stride=1):
        weight = self.w[f"{conv}.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(same_pad(x, weight.shape[2], stride), weight, stride=stride, groups=groups)
        mean, var, gamma, beta = (
            self.w[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, gamma, beta, eps=1e-3)

    def features(self, x):
        """The pooled output before the classifier, N x 1280."""
        x = F.relu6(self.conv_norm(x, "_conv_stem", "_bn0", 2))
        strides = [stride if i == 0 else 1 for blocks, _, stride in self.STAGES for i in range(blocks)]
        for index, stride in enumerate(strides):
            block, y = f"_blocks.{index}", x
            if f"{block}._expand_conv.weight" in self.w:
                y = F.relu6(self.conv_norm(y, f"{block}._expand_conv", f"{block}._bn0"))
            y = F.relu6(self.conv_norm(y, f"{block}._depthwise_conv", f"{block}._bn1", stride))
            y = self.conv_norm(y, f"{block}._project_conv", f"{block}._bn2")
            x = x + y if stride == 1 and x.shape == y.shape else y
        return F.relu6(self.conv_norm(x, "_conv_head", "_bn1")).mean((2, 3))

    def forward(self, x):
        return F.linear(self.features(x), self.w["_fc.weight"], self.w["_fc.bias"])


def embedded_lite0(path, dtype=torch.float64):
    """The network with the weights that are compiled into the program, rounded to half precision."""
    return Lite0(safetensors.torch.load_file(path), dtype)


def fnv1a64(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def splitmix64(state):
    with np.errstate(over="ignore"):
        z = state + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def unit_numbers(name, shape):
    """Numbers in -1/2 ... 1/2 that are a formula of a name; see `zoo_logits.py`."""
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        state = np.uint64(fnv1a64(name)) + np.arange(count, dtype=np.uint64)
    unit = (splitmix64(state) >> np.uint64(40)).astype(np.float64) / 2.0**24 - 0.5
    return unit.reshape(shape)


def hashed(name, shape, variance=1):
    """Weights that are a formula of their name and shape; see `zoo_logits.py`. `variance` is that of the weights of several
    axes, times their fan-in."""
    unit = unit_numbers(name, tuple(shape))
    if name.endswith("running_var"):
        scale, offset = 1.0, 1.0
    elif name.endswith(("running_mean", "bias")):
        scale, offset = 0.5, 0.0
    elif name.endswith(("class_token", "cls_token", "pos_embedding", "pos_embed")):
        scale, offset = 1.0, 0.0
    elif len(shape) == 1 or name.endswith("layer_scale"):
        scale, offset = 0.5, 1.0
    else:
        scale, offset = np.sqrt(12.0 * variance / np.prod(shape[1:])), 0.0
    return torch.from_numpy((unit * scale + offset).astype(np.float32))


def with_formula(model, variance=1, rename=str):
    """A model with the weights of `hashed`, in double precision. `rename` gives the names that the formula is of."""
    weights = {
        name: tensor if name.endswith("num_batches_tracked") else hashed(rename(name), tensor.shape, variance)
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(weights)
    return model.double().eval()


def hashed_resnet(depth):
    """torchvision's ResNet with 16 classes and the weights of `hashed`, in double precision."""
    return with_formula(getattr(torchvision.models, f"resnet{depth}")(num_classes=16))


def port_names(names):
    """The names that the first PyTorch port of EfficientNet gives to the tensors that timm calls `names`, by timm's."""
    blocks = sorted({tuple(map(int, name.split(".")[1:3])) for name in names if name.startswith("blocks.")})
    widened = {name.rsplit(".", 2)[0] for name in names if ".conv_pwl." in name}
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    layers = {"conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv"}

    def port_name(name):
        module, kind = name.rsplit(".", 1)
        if module in outside:
            return f"{outside[module]}.{kind}"
        block, layer = module.rsplit(".", 1)
        if layer.startswith("bn"):
            part = f"_bn{int(layer[2:]) - (1 if block in widened else 0)}"
        else:
            part = layers.get(layer, "_expand_conv" if block in widened else "_project_conv")
        return f"_blocks.{blocks.index(tuple(map(int, block.split('.')[1:])))}.{part}.{kind}"

    return {name: port_name(name) for name in names}


BICUBIC, BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR
LITE0 = {"filter": BICUBIC, "mean": [127 / 255] * 3, "std": [128 / 255] * 3}
IMAGENET = {"filter": BILINEAR, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def preprocess(path, filter, mean, std):
    """Decode, turn by EXIF, convert to RGB, short side 256, centre crop 224, normalise: 3 x 224 x 224."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    short = min(image.size)
    image = image.resize([int(256 * side / short) for side in image.size], filter)
    left, top = (int(round((side - 224) / 2)) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float64) / 255
    return torch.from_numpy((pixels - mean) / std).permute(2, 0, 1)
