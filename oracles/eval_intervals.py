"""Writes intervals.json: scipy's bootstrap intervals of scikit-learn's metrics, and of one metric's paired difference.

Usage: python oracles/eval_intervals.py crates/regraft-eval/tests/golden
Made with scipy 1.17.1, scikit-learn 1.9.1, numpy 2.4.6. 100,000 resamples, percentile intervals; "basic" for the ECE.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap
from sklearn import metrics

from eval_metrics import ece, noisy

warnings.filterwarnings("ignore")
RESAMPLES = 100_000


def balanced_accuracy(labels, predicted, classes):
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    support = counts.sum(axis=1)
    return (np.diag(counts)[support > 0] / support[support > 0]).mean()


def macro_f1(labels, predicted, classes):
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    return (2 * np.diag(counts) / (counts.sum(axis=0) + counts.sum(axis=1))).mean()


def statistics(labels, p):
    classes = p.shape[1]
    predicted = p.argmax(axis=1)
    assert np.isclose(balanced_accuracy(labels, predicted, classes), metrics.balanced_accuracy_score(labels, predicted))
    assert np.isclose(macro_f1(labels, predicted, classes), metrics.f1_score(labels, predicted, average="macro"))
    loss = -np.log(np.clip(p[np.arange(len(labels)), labels], np.finfo(float).eps, None))
    return {
        "accuracy": lambda i: (predicted[i] == labels[i]).mean(),
        "balanced_accuracy": lambda i: balanced_accuracy(labels[i], predicted[i], classes),
        "macro_f1": lambda i: macro_f1(labels[i], predicted[i], classes),
        "log_loss": lambda i: loss[i].mean(),
        "brier": lambda i: ((p[i] - np.eye(classes)[labels[i]]) ** 2).sum(axis=1).mean(),
        "ece": lambda i: ece(labels[i], p[i], 15),
    }


def interval(statistic, items, method, seed):
    result = bootstrap(
        (np.arange(items),),
        lambda i: statistic(i),
        n_resamples=RESAMPLES,
        vectorized=False,
        method=method,
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return {
        "value": statistic(np.arange(items)),
        "low": low,
        "high": high,
        "standard_error": result.standard_error,
        "share_positive": float((result.bootstrap_distribution > 0).mean()),
    }


def main(folder):
    rng = np.random.default_rng(7)
    labels = rng.choice(4, size=500, p=[0.4, 0.3, 0.2, 0.1])
    a = np.round(noisy(rng, labels, 4, 2.0), 9)
    b = np.round(0.5 * a + 0.5 * noisy(rng, labels, 4, 1.0), 9)
    of_a, of_b = statistics(labels, a), statistics(labels, b)
    method = {"ece": "basic"}
    golden = {"labels": labels.tolist(), "a": a.tolist(), "b": b.tolist(), "a_intervals": {}, "differences": {}}
    for name in of_a:
        kind = method.get(name, "percentile")
        golden["a_intervals"][name] = interval(of_a[name], 500, kind, 1)
        golden["differences"][name] = interval(lambda i: of_a[name](i) - of_b[name](i), 500, kind, 2)
    (Path(folder) / "intervals.json").write_text(json.dumps(golden))


if __name__ == "__main__":
    main(sys.argv[1])
