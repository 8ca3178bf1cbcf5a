"""Writes metrics.json: predictions and what scikit-learn makes of them.

Usage: python oracles/eval_metrics.py crates/regraft-eval/tests/golden
Made with scikit-learn 1.9.1, numpy 2.4.6. The ECE is computed here, by the definition of Guo et al. (2017), equation 3.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn import metrics

warnings.filterwarnings("ignore")


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def noisy(rng, labels, classes, margin):
    z = rng.normal(size=(len(labels), classes))
    z[np.arange(len(labels)), labels] += margin
    return softmax(z)


def ece(labels, p, bins):
    confidence = p.max(axis=1)
    correct = p.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


def top_k(labels, p, k):
    """scikit-learn puts the highest index first among ties; reversed columns put the lowest first."""
    c = p.shape[1]
    padded = np.column_stack([np.full(len(p), -1.0), p[:, ::-1]])
    return metrics.top_k_accuracy_score(c - labels, padded, k=k, labels=np.arange(c + 1))


def case(name, labels, p):
    classes = np.arange(p.shape[1])
    predicted = p.argmax(axis=1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0
    )
    return {
        "name": name,
        "labels": labels.tolist(),
        "probabilities": p.tolist(),
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "macro_f1": metrics.f1_score(labels, predicted, average="macro", labels=classes, zero_division=0),
        "log_loss": metrics.log_loss(labels, p, labels=classes),
        "brier": metrics.brier_score_loss(labels, p, labels=classes, scale_by_half=False),
        "top_k": {str(k): top_k(labels, p, k) for k in (1, 2, 3, 5)},
        "ece": {str(bins): ece(labels, p, bins) for bins in (5, 15)},
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "support": support.tolist(),
        "confusion": metrics.confusion_matrix(labels, predicted, labels=classes).tolist(),
    }


def cases():
    rng = np.random.default_rng(20261123)
    balanced = np.repeat(np.arange(4), 25)
    yield case("balanced, 4 classes", balanced, noisy(rng, balanced, 4, 1.5))
    skewed = rng.choice(5, size=150, p=[0.7, 0.15, 0.1, 0.03, 0.02])
    yield case("imbalanced, 5 classes", skewed, noisy(rng, skewed, 5, 1.0))
    missing = rng.choice([0, 2, 3], size=60)
    yield case("class 1 without items but predicted", missing, noisy(rng, missing, 4, 0.5))
    unseen = np.array([0, 1, 0, 1, 0, 0])
    p = np.column_stack([noisy(rng, unseen, 2, 0.7), np.zeros(6)])
    yield case("class 2 neither true nor predicted", unseen, p)
    binary = rng.integers(0, 2, size=80)
    yield case("2 classes", binary, noisy(rng, binary, 2, 1.0))
    ten = rng.integers(0, 10, size=200)
    yield case("10 classes", ten, noisy(rng, ten, 10, 2.0))
    ties = rng.integers(0, 4, size=40)
    coarse = rng.integers(1, 4, size=(40, 4)).astype(float)
    yield case("ties", ties, coarse / coarse.sum(axis=1, keepdims=True))
    hard = np.array([0, 1, 2, 1])
    yield case("certain, one of them wrong", hard, np.eye(3)[[0, 1, 1, 1]])
    one = np.array([1])
    yield case("one item", one, np.array([[0.3, 0.6, 0.1]]))


if __name__ == "__main__":
    (Path(sys.argv[1]) / "metrics.json").write_text(json.dumps(list(cases())))
