"""Logits of the embedded default, computed by PyTorch, and files that torch writes.

Usage: zoo_logits.py OUTPUT_FOLDER PUBLISHED_LITE0.pth EMBEDDED_LITE0.safetensors
Writes:
  input_{64x64,71x64}.npy                 one normalised image each, N x C x H x W, float32
  lite0_{f32,f16}_{64x64,71x64}.npy       1,000 logits of EfficientNet-Lite0: published weights; embedded weights
  resnet18{,_module,_legacy}.pth          all names and shapes of torchvision's ResNet-18 (10 classes), as torch writes
                                          them. Every tensor is one number repeated (stride 0), so the files are small.

The other networks' weights (`zoo_networks.py`) are a formula, so that no weight file need be kept. Element `index` (row-major) of the parameter
called `name` is ((splitmix64(fnv1a64(name) + index) >> 40) / 2^24 - 0.5) * scale + offset in double precision, rounded to
single, where by the end of the name
  running_var: scale 1, offset 1;  running_mean, bias: scale 0.5, offset 0;
  class_token, pos_embedding (timm: cls_token, pos_embed): scale 1, offset 0;
  weight of one axis, layer_scale: scale 0.5, offset 1;  other weights: scale sqrt(12 / fan_in), offset 0.

EfficientNet-Lite0 is a module of its own here, checked against timm's tf_efficientnet_lite0 with mapped names.
Versions: torch 2.15.0, torchvision 0.29.2, timm 1.0.31, numpy 2.4.6, safetensors 0.8.0. One thread, double precision
inside (the models run as float64, so that the goldens are the exact result to single precision).
"""

import pathlib
import sys

import numpy as np
import safetensors.torch
import timm
import torch
import torchvision

from legacy_pth import save_legacy
from pipeline_networks import Lite0, port_names

torch.set_num_threads(1)
out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
SIZES = {"64x64": (64, 64), "71x64": (71, 64)}


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
    names = port_names([name for name in other.state_dict() if not name.endswith("num_batches_tracked")])
    assert set(names.values()) == {name for name in published if not name.endswith("num_batches_tracked")}
    other.load_state_dict(dict(zip(other.state_dict(), published.values())))
    for image in images.values():
        torch.testing.assert_close(other(image), Lite0(published)(image), rtol=1e-9, atol=1e-9)


def resnet18_files():
    model = torchvision.models.resnet18(num_classes=10)
    thin = {
        name: torch.full((), 0.5 + index / 256, dtype=tensor.dtype).expand(tensor.shape)
        for index, (name, tensor) in enumerate(model.state_dict().items())
    }
    torch.save(thin, out / "resnet18.pth")
    save_legacy(thin, out / "resnet18_legacy.pth")
    checkpoint = {"epoch": 90, "state_dict": {f"module.{name}": tensor for name, tensor in thin.items()}}
    torch.save(checkpoint, out / "resnet18_module.pth")


with torch.no_grad():
    random = np.random.default_rng(20)
    images = {}
    for size, shape in SIZES.items():
        image = random.standard_normal((1, 3, *shape)).astype(np.float32)
        np.save(out / f"input_{size}.npy", image)
        images[size] = torch.from_numpy(image).double()
    lite0(images)
    resnet18_files()
