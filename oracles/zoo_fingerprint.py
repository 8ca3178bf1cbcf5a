"""What the original networks say of the image that `regraft zoo verify` shows every model.

Usage: zoo_fingerprint.py OUTPUT_FOLDER assets/efficientnet-lite0.f16.safetensors
Writes:
  fingerprints.json   "pixels": SHA-256 of the image's bytes; entry of the catalogue -> "classes": the five most probable,
                      "probabilities" of them

The image is the formula of `crates/regraft-zoo/src/fingerprint.rs`, written down a second time here; Pillow resizes it and
PyTorch runs the network, in double precision.
Versions: torch 2.15.0, Pillow 13.0.0, numpy 2.4.6, safetensors 0.8.0.
"""

import hashlib
import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
from PIL import Image

from pipeline_networks import LITE0, embedded_lite0, preprocess

torch.set_num_threads(1)


def image():
    y, x = np.mgrid[:256, :320]
    squared = (x - 130) ** 2 + (y - 110) ** 2
    inner = np.stack(np.broadcast_arrays(40, 25, 20, x)[:3], -1)
    ring = np.stack(np.broadcast_arrays(235, 150 + squared // 80, 35 + y // 4), -1)
    stripes = np.stack(np.broadcast_arrays(60 + 90 * (x // 6 % 2), 110 + (x * 7 + y * 3) % 40, 30), -1)
    sky = np.stack([70 + x // 8, 130 + y // 3, 230 - y // 4], -1)
    pixels = np.where((y > 190)[..., None], stripes, sky)
    pixels = np.where((squared < 6400)[..., None], ring, pixels)
    pixels = np.where((squared < 900)[..., None], inner, pixels)
    return np.minimum(pixels, 255).astype(np.uint8)


def fingerprint(model, path, preprocessing):
    with torch.inference_mode():
        probabilities = torch.softmax(model(preprocess(path, **preprocessing)[None]), 1)[0]
    values, classes = torch.topk(probabilities, 5)
    return {"classes": classes.tolist(), "probabilities": [round(value, 6) for value in values.tolist()]}


def main():
    out, weights = map(pathlib.Path, sys.argv[1:3])
    pixels = image()
    found = {"pixels": hashlib.sha256(pixels.tobytes()).hexdigest()}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "image.png"
        Image.fromarray(pixels).save(path)
        found["efficientnet-lite0.in1k"] = fingerprint(embedded_lite0(weights), path, LITE0)
    (out / "fingerprints.json").write_text(json.dumps(found, indent=1) + "\n")


main()
