"""What a person gets who tunes EfficientNet-Lite0 with PyTorch as fastai's `vision_learner(...).fine_tune(EPOCHS)` does: the peer
of `skill.py`. fastai itself is not used; what it does is written out here.

usage: skill_pytorch.py FOLDER --weights efficientnet-lite0-57934424.pth [--epochs E] [--seed S] [--threads T] [...]

FOLDER holds train/CLASS/FILE and test/CLASS/FILE. Prints one line of JSON:

  accuracy, log_loss                        on the test images, with batch normalisation by the stored statistics
  train_seconds, total_seconds              the epochs with their augmentation; with imports, decoding and the test, too
  peak_mb                                   largest resident memory of the process
  n_train, n_test, images_sha256            how many images, and a digest of the paths of all of them, for a comparison
  steps, batch_size, epochs, seed, threads, groups, augmentation

The recipe, of fastai 2.8 where it says nothing else:

  - network   timm's `tf_efficientnet_lite0` (the published weights are those of the TensorFlow port: SAME padding, eps 1e-3; timm's
              `efficientnet_lite0` pads otherwise), up to its last activation, 7 x 7 x 1280; channels_last
  - head      largest and mean value of each channel, BatchNorm(2560), Dropout(0.25), Linear(512), ReLU, BatchNorm(512), Dropout(0.5),
              Linear(classes); no biases; Kaiming's normal initialisation; the normalisations' shifts begin at 0.001
  - frozen    one epoch: head and normalisations are trained, with the statistics of the batch; head 2e-3, body a tenth of it; up from
              a 25th over 99 % of the steps
  - tuned     E epochs: everything is trained, the head with 1e-3, the body with a hundredth of it; up from a fifth over 30 % of the
              steps, down to 1e-5 of it, both along cosines; the first moment's factor goes 0.95, 0.85, 0.95 against it
  - AdamW     0.99 for the second moment, eps 1e-5, decay 0.01 but not for normalisations and biases; anew after the frozen epoch
  - batches   64 images, or all where there are fewer; what is left over at the end of an epoch is not trained on
  - images    crop: torchvision's RandomResizedCrop of at least 0.35 of the area, bicubic; standard: mirrored half of the time, too.
              The test sees the middle 224 pixels of a short side of 256, as in Regraft; (x - 127) / 128, too

fastai puts no images of timm's networks into more than two groups of layers, body and head. `--groups 3` halves the body, as fastai
does it for torchvision's ResNets: a hundredth, a tenth, and the head.

Versions: torch 2.15.0, torchvision 0.29.2, timm 1.0.31, Pillow 13.0.0, numpy 2.4.6.
"""

import time

STARTED = time.perf_counter()

import argparse
import hashlib
import json
import math
import pathlib
import resource
from collections.abc import Iterator

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import nn
from torchvision import transforms

from pipeline_networks import BICUBIC, port_names

"""Pixels that the source was trained on, and the short side that they are cut from."""
SIZE, SHORT_SIDE = 224, 256
TEST_BATCH = 50
BASE_RATE, RATE_SHARE = 2e-3, 100
Images = list[Image.Image]


class Head(nn.Sequential):
    """fastai's `create_head` with concatenated pooling, behind N x C x H x W."""

    def __init__(self, channels: int, classes: int):
        super().__init__(
            nn.BatchNorm1d(2 * channels), nn.Dropout(0.25), nn.Linear(2 * channels, 512, bias=False), nn.ReLU(inplace=True),
            nn.BatchNorm1d(512), nn.Dropout(0.5), nn.Linear(512, classes, bias=False),
        )
        for module in self:
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm1d):
                nn.init.constant_(module.bias, 1e-3)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.cat([maps.amax((2, 3)), maps.mean((2, 3))], 1))


class Network(nn.Module):
    def __init__(self, source: nn.Module, classes: int):
        super().__init__()
        self.source, self.head = source, Head(source.num_features, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.source.forward_features(images))

    def groups(self, count: int) -> list[list[nn.Module]]:
        """Modules that learn at one rate, from the images on."""
        source = self.source
        first = [source.conv_stem, source.bn1, *source.blocks[:4]]
        second = [*source.blocks[4:], source.conv_head, source.bn2]
        return [first + second, [self.head]] if count == 2 else [first, second, [self.head]]


def source_network(weights: pathlib.Path) -> nn.Module:
    """timm's network with the published weights, its 1,000 classes included."""
    source = timm.create_model("tf_efficientnet_lite0")
    published = torch.load(weights, map_location="cpu", weights_only=True)
    own = source.state_dict()
    names = port_names([name for name in own if not name.endswith("num_batches_tracked")])
    source.load_state_dict(own | {name: published[port] for name, port in names.items()})
    return source.eval()


class Part:
    """Images as Pillow decodes them, the numbers of their classes, and their paths: PART/CLASS/FILE."""

    def __init__(self, folder: pathlib.Path, part: str, classes: list[str]):
        files = [(label, path) for label, name in enumerate(classes) for path in sorted((folder / part / name).iterdir())]
        self.images: Images = [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for _, path in files]
        self.labels = torch.tensor([label for label, _ in files])
        self.paths = [path.relative_to(folder).as_posix() for _, path in files]


def middle(image: Image.Image, size: int) -> Image.Image:
    """What the network sees in use; see `pipeline_networks.preprocess`."""
    short, short_side = min(image.size), round(SHORT_SIDE * size / SIZE)
    image = image.resize([int(short_side * side / short) for side in image.size], BICUBIC)
    left, top = (int(round((side - size) / 2)) for side in image.size)
    return image.crop((left, top, left + size, top + size))


def augment(name: str, size: int) -> transforms.Compose:
    """What happens to a training image, in Regraft's words."""
    if name == "none":
        return transforms.Compose([lambda image: middle(image, size)])
    crop = transforms.RandomResizedCrop(size, scale=(0.35, 1), interpolation=transforms.InterpolationMode.BICUBIC)
    return transforms.Compose([crop] + ([transforms.RandomHorizontalFlip()] if name == "standard" else []))


def batch_of(images: Images) -> torch.Tensor:
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return ((pixels.permute(0, 3, 1, 2).float() - 127) / 128).contiguous(memory_format=torch.channels_last)


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))


def optimizer_of(groups: list[list[nn.Module]]) -> torch.optim.AdamW:
    """Two groups of parameters for each group of layers, both with its number: those that decay and those that do not."""
    parameters = []
    for index, modules in enumerate(groups):
        decaying, others = [], []
        for module in [part for module in modules for part in module.modules()]:
            for name, parameter in module.named_parameters(recurse=False):
                (others if is_norm(module) or name == "bias" else decaying).append(parameter)
        parameters += [{"params": decaying, "layers": index}, {"params": others, "layers": index, "weight_decay": 0.0}]
    return torch.optim.AdamW(parameters, lr=BASE_RATE, betas=(0.95, 0.99), eps=1e-5, weight_decay=0.01)


def along_cosines(position: float, rise: float, start: float, middle: float, end: float) -> float:
    """fastai's `combined_cos`."""
    if position < rise:
        share, (low, high) = position / rise, (start, middle)
    else:
        share, (low, high) = (position - rise) / (1 - rise), (middle, end)
    return low + (1 - math.cos(math.pi * share)) * (high - low) / 2


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[list[int]]:
    order = torch.randperm(count, generator=generator).tolist()
    yield from (order[start : start + size] for start in range(0, count - size + 1, size))


class Training:
    """The training images and the network; `cycle` is fastai's `fit_one_cycle`."""

    def __init__(self, network: Network, part: Part, arguments: argparse.Namespace):
        self.network, self.images, self.labels = network, part.images, part.labels
        self.size = min(arguments.batch_size, len(part.images))
        self.augment = augment(arguments.augmentation, arguments.image_size)
        self.groups = network.groups(arguments.groups)
        self.generator = torch.Generator().manual_seed(arguments.seed)
        self.steps = 0

    def cycle(self, epochs: int, rates: list[float], rise: float, divisor: float) -> None:
        optimizer, steps = optimizer_of(self.groups), epochs * (len(self.images) // self.size)
        self.network.train()
        for epoch in range(epochs):
            for index, chosen in enumerate(batches(len(self.images), self.size, self.generator)):
                position = (epoch * (steps // epochs) + index) / steps
                for group in optimizer.param_groups:
                    rate = rates[group["layers"]]
                    group["lr"] = along_cosines(position, rise, rate / divisor, rate, rate / 1e5)
                    group["betas"] = along_cosines(position, rise, 0.95, 0.85, 0.95), 0.99
                self.step(optimizer, chosen)

    def step(self, optimizer: torch.optim.Optimizer, chosen: list[int]) -> None:
        images = batch_of([self.augment(self.images[index]) for index in chosen])
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(self.network(images), self.labels[chosen]).backward()
        optimizer.step()
        self.steps += 1

    def freeze_source(self, frozen: bool) -> None:
        """Batch normalisation is trained all the same."""
        for module in self.network.source.modules():
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(not frozen or is_norm(module))

    def fine_tune(self, epochs: int) -> None:
        last = len(self.groups) - 1
        self.freeze_source(True)
        self.cycle(1, [BASE_RATE / 10] * last + [BASE_RATE], rise=0.99, divisor=25)
        self.freeze_source(False)
        rates = [BASE_RATE / 2 * RATE_SHARE ** (index / last - 1) for index in range(last + 1)]
        self.cycle(epochs, rates, rise=0.3, divisor=5)


@torch.inference_mode()
def judge(network: nn.Module, part: Part, size: int) -> dict[str, float]:
    network.eval()
    starts = range(0, len(part.images), TEST_BATCH)
    seen = ([middle(image, size) for image in part.images[start : start + TEST_BATCH]] for start in starts)
    logits = torch.cat([network(batch_of(images)) for images in seen]).double()
    right = (logits.argmax(1) == part.labels).double()
    return {"accuracy": right.mean().item(), "log_loss": F.cross_entropy(logits, part.labels).item()}


def arguments_of_call() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=pathlib.Path, metavar="FOLDER", help="train/CLASS/FILE and test/CLASS/FILE")
    parser.add_argument("--weights", type=pathlib.Path, required=True, metavar="PTH", help="the published EfficientNet-Lite0")
    parser.add_argument("--epochs", type=int, default=10, metavar="E", help="epochs of the whole network, behind the frozen one [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of head, order, dropout and augmentation [%(default)s]")
    parser.add_argument("--threads", type=int, default=2, metavar="T", help="threads of a step [%(default)s]")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="images of a step [%(default)s]")
    parser.add_argument("--groups", type=int, choices=[2, 3], default=2, help="groups of layers with a rate of their own [%(default)s]")
    parser.add_argument("--image-size", type=int, default=SIZE, metavar="N", help="pixels that the network sees [%(default)s]")
    parser.add_argument("--augmentation", choices=["none", "crop", "standard"], default="crop", help="as in Regraft [%(default)s]")
    return parser.parse_args()


def main() -> None:
    arguments = arguments_of_call()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    classes = sorted(path.name for path in (arguments.folder / "train").iterdir())
    train, test = (Part(arguments.folder, part, classes) for part in ("train", "test"))
    network = Network(source_network(arguments.weights), len(classes)).to(memory_format=torch.channels_last)
    training = Training(network, train, arguments)
    started = time.perf_counter()
    training.fine_tune(arguments.epochs)
    train_seconds = time.perf_counter() - started
    result = judge(network, test, arguments.image_size)
    result |= {"train_seconds": train_seconds, "total_seconds": time.perf_counter() - STARTED}
    result |= {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    paths = "\n".join(sorted(train.paths + test.paths))
    result |= {"n_train": len(train.paths), "n_test": len(test.paths), "images_sha256": hashlib.sha256(paths.encode()).hexdigest()}
    result |= {"steps": training.steps, "batch_size": training.size}
    result |= {key: getattr(arguments, key) for key in ("epochs", "seed", "threads", "groups", "augmentation", "image_size")}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
