"""Writes resized images and network inputs as Pillow and torchvision compute them.

Usage: python data_resize.py crates/regraft-data/tests/golden
Versions: Pillow 13.0.0, torchvision 0.29.2, torch 2.15, scikit-image 0.26.0, numpy.

`resize.png` is a photograph of 131 × 87 pixels. `resize.json` lists crops of it (left, top, right, bottom) with the size
and filter they are resized to and the SHA-256 of the resulting RGB bytes. `preprocess.json` lists preprocessings;
for each, `preprocess_NAME.npy` holds the network's input for `resize.png`, 3 × height × width, f32.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
from PIL import Image
from skimage import data
from torchvision import transforms
from torchvision.transforms import InterpolationMode

OUTPUT = pathlib.Path(sys.argv[1])
OUTPUT.mkdir(parents=True, exist_ok=True)
PHOTO = Image.fromarray(data.coffee()).crop((180, 120, 311, 207))
WHOLE = (0, 0, PHOTO.width, PHOTO.height)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def cases():
    for filter in FILTERS:
        for size in [(131, 87), (64, 43), (224, 149), (300, 7), (7, 300), (1, 1), (2, 2), (131, 40), (50, 87),
                     (130, 86), (132, 88), (33, 200), (262, 174), (65, 65), (22, 1)]:
            yield WHOLE, size, filter
        yield (5, 5, 6, 6), (9, 4), filter
        yield (0, 0, 131, 1), (50, 50), filter
        yield (10, 0, 11, 87), (3, 29), filter
        yield (0, 0, 2, 87), (200, 3), filter
        yield (3, 2, 128, 83), (31, 37), filter
    random = np.random.default_rng(3)
    for _ in range(40):
        left, top = int(random.integers(0, 100)), int(random.integers(0, 60))
        right, bottom = int(random.integers(left + 1, 132)), int(random.integers(top + 1, 88))
        size = tuple(int(side) for side in random.integers(1, 120, 2))
        yield (left, top, right, bottom), size, ["bilinear", "bicubic"][int(random.integers(2))]


def write_resizes():
    PHOTO.save(OUTPUT / "resize.png")
    results = []
    for box, size, filter in cases():
        resized = PHOTO.crop(box).resize(size, FILTERS[filter])
        digest = hashlib.sha256(resized.tobytes()).hexdigest()
        results.append({"box": box, "size": size, "filter": filter, "sha256": digest})
    lines = ",\n".join(json.dumps(result) for result in results)
    (OUTPUT / "resize.json").write_text(f"[\n{lines}\n]\n")


def network_input(side, crop, filter, mean, std):
    interpolation = InterpolationMode(filter)
    steps = [transforms.Resize(side, interpolation), transforms.CenterCrop(crop)]
    image = transforms.Compose(steps)(PHOTO)
    if mean is None:
        return (np.asarray(image).astype(np.float32).transpose(2, 0, 1) - 127) / 128
    steps = [transforms.ToTensor(), transforms.Normalize(mean, std)]
    return transforms.Compose(steps)(image).numpy()


def write_inputs():
    lite = {"mean": [127.0] * 3, "std": [128.0] * 3}
    resnet = {key: [255 * value for value in values] for key, values in IMAGENET.items()}
    # The published sides and crops, divided by four to keep the files small, then sides that pad and round.
    recipes = {
        "lite0": (64, 56, "bicubic", lite),
        "resnet": (64, 56, "bilinear", resnet),
        "padded": (21, (30, 45), "bicubic", lite),
        "odd": ([40, 51], (33, 40), "bilinear", resnet),
    }
    listed = {}
    for name, (side, crop, filter, scale) in recipes.items():
        raw = (None, None) if scale is lite else (IMAGENET["mean"], IMAGENET["std"])
        result = network_input(side, crop, filter, *raw)
        np.save(OUTPUT / f"preprocess_{name}.npy", result.astype(np.float32))
        resize = {"short_side": side} if isinstance(side, int) else {"exact": side}
        listed[name] = {"channel_order": "rgb", "resize": resize, "filter": filter,
                        "crop": list(result.shape[1:]), **scale}
    full = [network_input(256, 224, "bicubic", None, None),
            network_input(256, 224, "bilinear", IMAGENET["mean"], IMAGENET["std"])]
    for name, result, base in [("lite0_full", full[0], "lite0"), ("resnet_full", full[1], "resnet")]:
        # One value in 97, which visits every row, column and channel.
        np.save(OUTPUT / f"preprocess_{name}.npy", result.astype(np.float32).ravel()[::97])
        listed[name] = {**listed[base], "resize": {"short_side": 256}, "crop": [224, 224]}
    (OUTPUT / "preprocess.json").write_text(json.dumps(listed, indent=1) + "\n")


write_resizes()
write_inputs()
