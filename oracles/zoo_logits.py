"""Logits and features of the architectures, computed by PyTorch, and files that torch writes.

Usage: zoo_logits.py OUTPUT_FOLDER PUBLISHED_LITE0.pth EMBEDDED_LITE0.safetensors
Writes:
  input_{64x64,71x64}.npy                 one normalised image each, N x C x H x W, float32
  lite0_{f32,f16}_{64x64,71x64}.npy       1,000 logits of EfficientNet-Lite0: published weights; embedded weights
  resnet{18,34,50,101,152}_{size}_{logits,features}.npy   with 16 classes and the weights of `hashed`
  names.json                              architecture -> "name shape" of every tensor of the state_dict()
  resnet18{,_module,_legacy}.pth          all names and shapes of torchvision's ResNet-18 (10 classes), as torch writes
                                          them. Every tensor is one number repeated (stride 0), so the files are small.

The ResNets' weights are a formula, so that no weight file need be kept. Element `index` (row-major) of the parameter
called `name` is ((splitmix64(fnv1a64(name) + index) >> 40) / 2^24 - 0.5) * scale + offset in double precision, rounded to
single, where by the end of the name
  running_var: scale 1, offset 1;  running_mean, bias: scale 0.5, offset 0;
  weight of one axis: scale 0.5, offset 1;  other weights: scale sqrt(12 / fan_in), offset 0.

EfficientNet-Lite0 is a module of its own here, checked against timm's tf_efficientnet_lite0 with mapped names.
Versions: torch 2.15.0, torchvision 0.29.2, timm 1.0.31, numpy 2.4.6, safetensors 0.8.0. One thread, double precision
inside (the models run as float64, so that the goldens are the exact result to single precision).
"""

import json
import pathlib
import sys

import numpy as np
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
import torchvision

torch.set_num_threads(1)
out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
SIZES = {"64x64": (64, 64), "71x64": (71, 64)}


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

    def __init__(self, weights):
        super().__init__()
        self.w = {name: tensor.double() for name, tensor in weights.items()}

    def conv_norm(self, x, conv, norm, stride=1):
        weight = self.w[f"{conv}.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(same_pad(x, weight.shape[2], stride), weight, stride=stride, groups=groups)
        mean, var, gamma, beta = (
            self.w[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, gamma, beta, eps=1e-3)

    def forward(self, x):
        x = F.relu6(self.conv_norm(x, "_conv_stem", "_bn0", 2))
        strides = [stride if i == 0 else 1 for blocks, _, stride in self.STAGES for i in range(blocks)]
        for index, stride in enumerate(strides):
            block, y = f"_blocks.{index}", x
            if f"{block}._expand_conv.weight" in self.w:
                y = F.relu6(self.conv_norm(y, f"{block}._expand_conv", f"{block}._bn0"))
            y = F.relu6(self.conv_norm(y, f"{block}._depthwise_conv", f"{block}._bn1", stride))
            y = self.conv_norm(y, f"{block}._project_conv", f"{block}._bn2")
            x = x + y if stride == 1 and x.shape == y.shape else y
        x = F.relu6(self.conv_norm(x, "_conv_head", "_bn1")).mean((2, 3))
        return F.linear(x, self.w["_fc.weight"], self.w["_fc.bias"])


def save(name, tensor):
    np.save(out / f"{name}.npy", tensor.detach().numpy().astype(np.float32))


def lite0(images):
    published = torch.load(sys.argv[2], map_location="cpu")
    embedded = safetensors.torch.load_file(sys.argv[3])
    for tag, weights in (("f32", published), ("f16", embedded)):
        for size, image in images.items():
            save(f"lite0_{tag}_{size}", Lite0(weights)(image))
    # timm lists the same tensors in the same order under other names.
    other = timm.create_model("tf_efficientnet_lite0").double().eval()
    other.load_state_dict(dict(zip(other.state_dict(), published.values())))
    for image in images.values():
        torch.testing.assert_close(other(image), Lite0(published)(image), rtol=1e-9, atol=1e-9)
    return published


MASK = np.uint64(0xFFFFFFFFFFFFFFFF)


def fnv1a64(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 & int(MASK)
    return value


def splitmix64(state):
    with np.errstate(over="ignore"):
        z = state + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def hashed(name, shape):
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        state = np.uint64(fnv1a64(name)) + np.arange(count, dtype=np.uint64)
    unit = (splitmix64(state) >> np.uint64(40)).astype(np.float64) / 2.0**24 - 0.5
    if name.endswith("running_var"):
        scale, offset = 1.0, 1.0
    elif name.endswith(("running_mean", "bias")):
        scale, offset = 0.5, 0.0
    elif len(shape) == 1:
        scale, offset = 0.5, 1.0
    else:
        scale, offset = np.sqrt(12.0 / np.prod(shape[1:])), 0.0
    return torch.from_numpy((unit * scale + offset).astype(np.float32).reshape(shape))


def resnet(depth, images):
    model = getattr(torchvision.models, f"resnet{depth}")(num_classes=16).eval()
    weights = {
        name: tensor if name.endswith("num_batches_tracked") else hashed(name, tensor.shape)
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(weights)
    model.double()
    for size, image in images.items():
        features = []
        hook = model.avgpool.register_forward_hook(lambda *call: features.append(call[2].flatten(1)))
        save(f"resnet{depth}_{size}_logits", model(image))
        save(f"resnet{depth}_{size}_features", features[0])
        hook.remove()
    timm_names = {name for name in timm.create_model(f"resnet{depth}").state_dict()}
    assert timm_names == set(weights), "timm shares torchvision's names"
    full = getattr(torchvision.models, f"resnet{depth}")()
    return [f"{name} {list(tensor.shape)}" for name, tensor in full.state_dict().items()]


def resnet18_files():
    model = torchvision.models.resnet18(num_classes=10)
    thin = {
        name: torch.full((), 0.5 + index / 256, dtype=tensor.dtype).expand(tensor.shape)
        for index, (name, tensor) in enumerate(model.state_dict().items())
    }
    torch.save(thin, out / "resnet18.pth")
    torch.save(thin, out / "resnet18_legacy.pth", _use_new_zipfile_serialization=False)
    checkpoint = {"epoch": 90, "state_dict": {f"module.{name}": tensor for name, tensor in thin.items()}}
    torch.save(checkpoint, out / "resnet18_module.pth")


with torch.no_grad():
    random = np.random.default_rng(20)
    images = {}
    for size, shape in SIZES.items():
        image = random.standard_normal((1, 3, *shape)).astype(np.float32)
        np.save(out / f"input_{size}.npy", image)
        images[size] = torch.from_numpy(image).double()
    published = lite0(images)
    names = {"efficientnet-lite0": [f"{name} {list(tensor.shape)}" for name, tensor in published.items()]}
    for depth in (18, 34, 50, 101, 152):
        names[f"resnet{depth}"] = resnet(depth, images)
    (out / "names.json").write_text(json.dumps(names, indent=0))
    resnet18_files()
