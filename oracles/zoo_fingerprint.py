"""What the original networks say of the image that `regraft zoo verify` shows every model.

Usage: zoo_fingerprint.py OUTPUT_FOLDER assets/efficientnet-lite0.f16.safetensors
Writes:
  fingerprints.json   "pixels": SHA-256 of the image's bytes; entry of the catalogue -> "classes": the five most probable,
                      "probabilities" of them

Pillow resizes the image of `known_image.py` and PyTorch runs the network, in double precision.
Versions: torch 2.15.0, Pillow 13.0.0, numpy 2.4.6, safetensors 0.8.0.
"""

import hashlib
import json
import pathlib
import sys
import tempfile

import torch
from PIL import Image

from known_image import image
from pipeline_networks import LITE0, embedded_lite0, preprocess

torch.set_num_threads(1)


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
