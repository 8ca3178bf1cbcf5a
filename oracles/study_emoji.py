"""How good `regraft fit` is beside PyTorch's features and scikit-learn's LogisticRegressionCV: all Noto emoji, nine
categories, the same weights, the same split. Writes WORK/study_emoji.json and prints a table.

    cargo build --release -p regraft-cli
    cargo xtask assets
    python oracles/study_emoji.py WORK target/release/regraft assets/efficientnet-lite0.f16.safetensors \
        target/assets/emoji-datasource-google-16.0.0/package [SEEDS]

WORK takes the images as CATEGORY/CODE.png (linked), a feature cache and one run folder a seed (5 by default, from 0).
For each seed: `regraft fit` (all defaults) splits, chooses and judges; the peer reads that split from `split.csv`, takes
the features that PyTorch computes from the same half-precision weights on images that Pillow decodes and resizes,
standardises them on the training rows, fits LogisticRegressionCV(Cs=10, cv=5) to the training rows and judges it on the
same test rows. A third column is the peer's head on the features that `regraft embed` writes: it tells a difference of
features from a difference of heads. Category "Component" (5 images: hair and skin parts) is left out.

Versions: torch 2.15.0, Pillow 13.0.0, scikit-learn 1.9.1, scipy 1.17.1, numpy 2.4.6, safetensors 0.8.0.
"""

import csv
import json
import pathlib
import subprocess
import sys
import time
import warnings

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from pipeline_networks import LITE0, embedded_lite0, preprocess

warnings.filterwarnings("ignore")
torch.set_num_threads(2)
work, regraft, weights, package = map(pathlib.Path, sys.argv[1:5])
seeds = range(int(sys.argv[5]) if len(sys.argv) > 5 else 5)
data = work / "data"


def lay_out():
    for emoji in json.loads((package / "emoji.json").read_text()):
        if emoji["has_img_google"] and emoji["category"] != "Component":
            folder = data / emoji["category"].lower().replace(" & ", "_and_").replace(" ", "_")
            folder.mkdir(parents=True, exist_ok=True)
            link = folder / emoji["image"]
            if not link.exists():
                link.symlink_to((package / "img/google/64" / emoji["image"]).resolve())


def run(*arguments):
    started = time.time()
    subprocess.run([regraft, *map(str, arguments), "--cache", work / "cache", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return time.time() - started


def torch_features(paths):
    started, model, rows = time.time(), embedded_lite0(weights, torch.float32), []
    with torch.inference_mode():
        for start in range(0, len(paths), 50):
            batch = torch.stack([preprocess(data / path, **LITE0) for path in paths[start : start + 50]])
            rows.append(model.features(batch.float()).numpy())
    return np.concatenate(rows), time.time() - started


def peer(features, labels, train, test):
    started = time.time()
    scaler = StandardScaler().fit(features[train])
    x = scaler.transform(features)
    model = LogisticRegressionCV(Cs=10, cv=5, max_iter=1000, n_jobs=2).fit(x[train], labels[train])
    p = model.predict_proba(x[test])
    c = float(np.ravel(model.C_)[0])
    return {"right": p.argmax(1) == labels[test], "log_loss": log_loss(labels[test], p), "c": c, "seconds": time.time() - started}


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def judge(seed, features, ours, labels, position):
    """One seed: what `regraft fit` gives, the peer on PyTorch's features, the peer on ours."""
    folder = work / f"run-{seed}"
    metrics = json.loads((folder / "metrics.json").read_text())
    predictions = rows_of(folder / "predictions.csv")
    split = rows_of(folder / "split.csv")
    train = np.array([position[row["path"]] for row in split if row["part"] == "train"])
    test = np.array([position[row["path"]] for row in predictions])
    assert {row["path"] for row in split if row["part"] == "test"} == {row["path"] for row in predictions}
    right = np.array([row["true"] == row["predicted"] for row in predictions])
    assert abs(right.mean() - metrics["test"]["accuracy"]["value"]) < 1e-12
    sklearn, sklearn_on_ours = peer(features, labels, train, test), peer(ours, labels, train, test)
    difference = right.astype(float) - sklearn["right"]
    only = int((difference > 0).sum()), int((difference < 0).sum())
    return {
        "seed": seed, "n_train": len(train), "n_test": len(test), "method": metrics["method"],
        "accuracy": float(right.mean()), "sklearn": float(sklearn["right"].mean()),
        "sklearn_on_our_features": float(sklearn_on_ours["right"].mean()),
        "difference": float(difference.mean()), "standard_error": float(difference.std() / np.sqrt(len(test))),
        "only_ours_right": only[0], "only_sklearn_right": only[1],
        "mcnemar_p": float(binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0,
        "log_loss": metrics["test"]["log_loss"]["value"], "sklearn_log_loss": sklearn["log_loss"],
        "head_seconds": metrics["timing"]["head_s"], "sklearn_seconds": sklearn["seconds"], "sklearn_c": sklearn["c"],
    }


def main():
    lay_out()
    times = {}
    for seed in seeds:
        if not (work / f"run-{seed}").exists():
            times[seed] = run("fit", data, "--seed", seed, "--out", work / f"run-{seed}")
    embedding = work / "features.npy"
    run("embed", data, "--out", embedding)
    paths = embedding.with_suffix(".paths.txt").read_text().split("\n")[:-1]
    ours, (features, feature_seconds) = np.load(embedding), torch_features(paths)
    apart = np.abs(ours - features).max() / np.abs(features).max()
    categories = sorted({path.split("/")[0] for path in paths})
    labels = np.array([categories.index(path.split("/")[0]) for path in paths])
    print(f"{len(paths)} images, {len(categories)} categories {np.bincount(labels).tolist()}")
    print(f"features: largest difference {apart:.1e} of the largest feature; PyTorch took {feature_seconds:.1f} s")
    position = {path: index for index, path in enumerate(paths)}
    results = []
    for seed in seeds:
        results.append(judge(seed, features, ours, labels, position) | {"fit_seconds": times.get(seed)})
        print(json.dumps(results[-1]), flush=True)
    (work / "study_emoji.json").write_text(json.dumps(results, indent=1) + "\n")
    table(results)


def table(results):
    print("\n| seed | Regraft | scikit-learn | difference | s.e. | McNemar p | log-loss | sklearn's | head s | sklearn's s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for r in results:
        print(f"| {r['seed']} | {r['accuracy']:.4f} | {r['sklearn']:.4f} | {r['difference']:+.4f} | {r['standard_error']:.4f} "
              f"| {r['mcnemar_p']:.2f} | {r['log_loss']:.3f} | {r['sklearn_log_loss']:.3f} "
              f"| {r['head_seconds']:.1f} | {r['sklearn_seconds']:.1f} |")
    mean = {key: np.mean([r[key] for r in results]) for key in ("accuracy", "sklearn", "difference", "log_loss", "sklearn_log_loss")}
    spread = np.std([r["difference"] for r in results], ddof=1) / np.sqrt(len(results)) if len(results) > 1 else np.nan
    print(f"| mean | {mean['accuracy']:.4f} | {mean['sklearn']:.4f} | {mean['difference']:+.4f} | {spread:.4f} | "
          f"| {mean['log_loss']:.3f} | {mean['sklearn_log_loss']:.3f} | | |")


main()
