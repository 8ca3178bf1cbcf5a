"""Writes grouped examples and how evenly scikit-learn's StratifiedGroupKFold divides them.

Usage: python data_split.py crates/regraft-data/tests/golden
Versions: scikit-learn 1.9.1, numpy.

`split.json`: for each case the labels, the groups, the number of folds, and scikit-learn's imbalance: the mean over
classes of the standard deviation over folds of the share of the class, the smallest and the largest of ten seeds.
"""

import json
import pathlib
import sys

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold


def imbalance(labels, fold_of, folds):
    shares = [[np.mean(fold_of[labels == c] == f) for f in range(folds)] for c in np.unique(labels)]
    return float(np.mean(np.std(shares, axis=1)))


def folds_of(labels, groups, folds, seed):
    fold_of = np.empty(len(labels), int)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, test) in enumerate(splitter.split(labels, labels, groups)):
        fold_of[test] = fold
    return fold_of


cases = []
random = np.random.default_rng(5)
for classes, count, mean_size, folds in [(3, 120, 1, 5), (8, 300, 2, 5), (5, 200, 6, 4), (2, 60, 4, 3), (20, 400, 3, 5)]:
    labels = np.concatenate([np.repeat(np.arange(classes), 2), random.choice(classes, count, p=random.dirichlet(np.full(classes, 2.0)))])
    groups = random.integers(0, len(labels) // mean_size, len(labels)) if mean_size > 1 else np.arange(len(labels))
    scores = [imbalance(labels, folds_of(labels, groups, folds, seed), folds) for seed in range(10)]
    cases.append({"labels": labels.tolist(), "groups": groups.tolist(), "classes": classes, "folds": folds,
                  "lowest": min(scores), "highest": max(scores)})
pathlib.Path(sys.argv[1], "split.json").write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")
for case in cases:
    print(case["classes"], case["folds"], case["lowest"], case["highest"])
