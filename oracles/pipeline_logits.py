"""Photographs as small JPEG and PNG files, and the logits that PyTorch and Pillow give for them and for a few emoji.

Usage: pipeline_logits.py crates/regraft/tests assets/efficientnet-lite0.f16.safetensors examples/emoji
Writes:
  photos/*.jpg, *.png      scikit-image's photographs, made smaller (origins and licences in photos/NOTICE, which is not
                           written here): JPEG of quality 85 with 4:2:0, with an EXIF orientation, progressive, grey;
                           PNG in RGB, RGB with alpha, palette and grey
  golden/lite0.npy         one row of 1,000 logits of EfficientNet-Lite0 a file: the embedded weights, bicubic
  golden/resnet18.npy      one row of 16 logits of a ResNet-18 with the weights of `pipeline_networks.hashed`, bilinear
  golden/pipeline.json     the files, in the order of the rows: photos, then emoji
  golden/names.json        "name shape" of every tensor of torchvision's ResNet-18

Decode, exif_transpose, convert("RGB"), short side 256, centre crop 224, normalise; the networks run in double precision.
Versions: torch 2.15.0, torchvision 0.29.2, Pillow 13.0.0, scikit-image 0.26.0, numpy 2.4.6, safetensors 0.8.0.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torchvision
from PIL import Image
from skimage import data

from pipeline_networks import IMAGENET, LITE0, embedded_lite0, hashed_resnet, preprocess

torch.set_num_threads(1)
out, weights, emoji = map(pathlib.Path, sys.argv[1:4])
photos, golden = out / "photos", out / "golden"
EMOJI = ["animals/cat.png", "faces/grinning.png", "food/pizza.png", "vehicles/steam_locomotive.png"]


def photograph(name, width):
    image = Image.fromarray(getattr(data, name)())
    return image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)


def with_vignette(image):
    """A quarter of the pixels fade out, so that dropping the alpha channel differs from blending it."""
    alpha = np.clip(np.linspace(0, 4, image.width), 0, 1)
    image.putalpha(Image.fromarray(np.broadcast_to(alpha * 255, image.size[::-1]).astype(np.uint8)))
    return image


def write_photographs():
    photos.mkdir(parents=True, exist_ok=True)
    jpeg = {"quality": 85, "subsampling": "4:2:0", "optimize": True}
    photograph("chelsea", 320).save(photos / "chelsea.jpg", **jpeg)
    turned = Image.Exif()
    turned[0x0112] = 6  # the viewer is to turn it clockwise by 90 degrees
    photograph("coffee", 320).transpose(Image.Transpose.ROTATE_90).save(photos / "coffee.jpg", exif=turned, **jpeg)
    photograph("rocket", 320).save(photos / "rocket.jpg", progressive=True, **jpeg)
    photograph("astronaut", 320).save(photos / "astronaut.jpg", quality=85, subsampling="4:4:4")
    photograph("clock", 320).save(photos / "clock.jpg", quality=85)
    photograph("camera", 320).save(photos / "camera.jpg", quality=85)
    photograph("chelsea", 320).quantize(256, Image.Quantize.MEDIANCUT).save(photos / "chelsea.png", optimize=True)
    with_vignette(photograph("coffee", 192)).save(photos / "coffee.png", optimize=True)
    photograph("rocket", 240).save(photos / "rocket.png", optimize=True)
    photograph("clock", 320).save(photos / "clock.png", optimize=True)


def logits(model, files, preprocessing):
    images = torch.stack([preprocess(file, **preprocessing) for file in files])
    with torch.inference_mode():
        return model(images).numpy().astype(np.float32)


def main():
    write_photographs()
    golden.mkdir(exist_ok=True)
    names = sorted(path.name for path in photos.iterdir() if path.suffix in (".jpg", ".png"))
    files = [photos / name for name in names] + [emoji / name for name in EMOJI]
    np.save(golden / "lite0.npy", logits(embedded_lite0(weights), files, LITE0))
    np.save(golden / "resnet18.npy", logits(hashed_resnet(18), files, IMAGENET))
    (golden / "pipeline.json").write_text(json.dumps({"photos": names, "emoji": EMOJI}, indent=1) + "\n")
    original = torchvision.models.resnet18().state_dict()
    shapes = {"resnet18": [f"{name} {list(tensor.shape)}" for name, tensor in original.items()]}
    (golden / "names.json").write_text(json.dumps(shapes, indent=0) + "\n")


main()
