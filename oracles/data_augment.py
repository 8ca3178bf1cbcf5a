"""Writes what Pillow and torchvision make of small images with the operators of augmentation.

Usage: python data_augment.py crates/regraft-data/tests/golden
Versions: Pillow 13.0.0, torchvision 0.29.2, torch 2.15, numpy. Reads `resize.png` of data_resize.py.

`augment.json` holds
- `operators`: crops of the photograph (left, top, right, bottom), in RGB or grey, an operator, and for lists of its arguments the
  first 16 digits of the SHA-256 of the resulting bytes (so is every SHA-256 here);
- `policies`: an operator of a policy on a crop of 87 × 61, and for magnitudes and signs the SHA-256 of the result;
- `magnitudes`: for each policy and operator the amounts of the magnitudes 0 to 30, for an image of 87 × 61;
- `middles`: the rectangles that RandomResizedCrop falls back to;
- `views`: the SHA-256 of the five crops of FiveCrop and the ten of TenCrop behind a Resize;
- `mixup`, `cutmix`: a small batch mixed with the one before each image, and the labels.

torch must use AVX2 or better, as on any computer of today: its linspace rounds differently without fused multiplications.
"""

import hashlib
import json
import pathlib
import sys

import torch
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import CenterCrop, FiveCrop, InterpolationMode, RandAugment, RandomResizedCrop, Resize
from torchvision.transforms import TenCrop, TrivialAugmentWide, v2
from torchvision.transforms.autoaugment import _apply_op

OUTPUT = pathlib.Path(sys.argv[1])
PHOTO = Image.open(OUTPUT / "resize.png").convert("RGB")
BILINEAR = InterpolationMode.BILINEAR
BOXES = [(0, 0, 131, 87), (20, 10, 65, 55), (7, 3, 40, 24), (50, 40, 51, 41), (9, 9, 11, 14), (9, 9, 14, 11),
         (30, 20, 33, 23), (60, 0, 61, 87), (0, 50, 131, 51)]
POLICIES = {"trivial-augment": TrivialAugmentWide()._augmentation_space(31),
            "rand-augment": RandAugment()._augmentation_space(31, (61, 87))}
KEBAB = {"ShearX": "shear-x", "ShearY": "shear-y", "TranslateX": "translate-x", "TranslateY": "translate-y",
         "AutoContrast": "auto-contrast"}


def digest(image):
    return hashlib.sha256(image.tobytes()).hexdigest()[:16]


def erase(image, left, top, width, height, colour):
    tensor = F.pil_to_tensor(image)
    value = torch.tensor(colour[: tensor.shape[0]], dtype=torch.uint8)[:, None, None]
    return F.to_pil_image(F.erase(tensor, top, left, height, width, value))


OPERATORS = {
    "horizontal-flip": (F.hflip, [[]]),
    "vertical-flip": (F.vflip, [[]]),
    "brightness": (F.adjust_brightness, [[0.0], [0.37], [1.0], [1.61], [3.5]]),
    "contrast": (F.adjust_contrast, [[0.0], [0.37], [1.0], [1.61], [3.5]]),
    "saturation": (F.adjust_saturation, [[0.0], [0.37], [1.0], [1.61], [3.5]]),
    "sharpness": (F.adjust_sharpness, [[0.0], [0.37], [1.0], [1.61], [3.5]]),
    "hue": (F.adjust_hue, [[-0.5], [-0.231], [-0.002], [0.0], [0.1], [0.499], [0.5]]),
    "posterize": (F.posterize, [[1], [2], [5], [8]]),
    "solarize": (F.solarize, [[0.0], [93.5], [128.0], [255.0], [256.0]]),
    "autocontrast": (F.autocontrast, [[]]),
    "equalize": (F.equalize, [[]]),
    "rotate": (lambda image, angle: F.rotate(image, angle, BILINEAR),
               [[0.0], [13.7], [-45.0], [90.0], [-90.0], [180.0], [301.5]]),
    "erase": (erase, [[1, 2, 3, 2, [9, 200, 77]], [0, 0, 1, 1, [1, 2, 3]]]),
    "resized-crop": (lambda image, top, left, height, width, size: F.resized_crop(
        image, top, left, height, width, size, BILINEAR), [[0, 0, 1, 1, [5, 4]], [1, 1, 1, 2, [3, 3]]]),
}


def operators():
    for box in BOXES:
        for mode in ["RGB", "L"]:
            image = PHOTO.crop(box).convert(mode)
            for name, (function, arguments) in OPERATORS.items():
                if name in ["erase", "resized-crop"] and min(image.size) < 5:
                    continue
                results = [[values, digest(function(image, *values))] for values in arguments]
                yield {"box": box, "mode": mode, "operator": name, "results": results}


def policy_steps():
    image = PHOTO.crop((20, 10, 107, 71))
    for policy, space in POLICIES.items():
        for name, (magnitudes, signed) in space.items():
            results = []
            for magnitude in [0, 1, 7, 15, 20, 29, 30]:
                for sign in [1, -1] if signed else [1]:
                    amount = sign * float(magnitudes[magnitude]) if magnitudes.ndim else 0.0
                    results.append([magnitude, sign, digest(_apply_op(image, name, amount, BILINEAR, None))])
            yield {"policy": policy, "operator": KEBAB.get(name, name.lower()), "results": results}


def magnitudes():
    for policy, space in POLICIES.items():
        for name, (values, _) in space.items():
            amounts = [float(value) for value in values.expand(31)]
            yield {"policy": policy, "operator": KEBAB.get(name, name.lower()), "amounts": amounts}


def middles():
    for width, height in [(1, 1), (1, 5000), (5000, 1), (100, 70), (70, 100), (131, 87), (87, 131), (2, 7), (9, 4)]:
        top, left, high, wide = RandomResizedCrop.get_params(Image.new("L", (width, height)), [9.0, 9.0], [0.75, 4 / 3])
        yield {"size": [width, height], "region": [left, top, wide, high]}


def views():
    image = Resize(60, BILINEAR)(PHOTO)
    crop = [40, 50]
    return {"crop": crop, "short_side": 60, "centre": digest(CenterCrop(crop)(image)),
            "five": [digest(view) for view in FiveCrop(crop)(image)],
            "ten": [digest(view) for view in TenCrop(crop)(image)]}


def mixtures():
    batch = torch.rand(3, 2, 5, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([2, 0, 2])
    for name, transform, values in [
        ("mixup", v2.MixUp(num_classes=4), {"lam": 0.3125123}),
        ("cutmix", v2.CutMix(num_classes=4), {"box": (1, 0, 3, 4), "lam_adjusted": 1 - 8 / 20}),
    ]:
        params = {"labels": labels, "batch_size": 3, **values}
        mixed, targets = transform.transform(batch, params), transform.transform(labels, params)
        yield name, {**values, "batch": batch.flatten().tolist(), "labels": labels.tolist(),
                     "mixed": mixed.flatten().tolist(), "targets": targets.flatten().tolist()}


def lines(rows):
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]"


parts = {"operators": lines(operators()), "policies": lines(policy_steps()), "middles": lines(middles()),
         "magnitudes": lines(magnitudes()), "views": json.dumps(views()),
         **{name: json.dumps(mixture) for name, mixture in mixtures()}}
text = ",\n".join(f'"{name}": {part}' for name, part in parts.items())
(OUTPUT / "augment.json").write_text("{" + text + "}\n")
