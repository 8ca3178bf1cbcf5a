"""Writes calibration.json: temperatures that scipy finds by minimising the log-loss, and softmaxes at them.

Usage: python oracles/eval_calibration.py crates/regraft-eval/tests/golden
Made with scipy 1.17.1, numpy 2.4.6. The last case is a logistic regression's own training data (scikit-learn 1.9.1,
no penalty), where the temperature is 1.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression


def loss(s, z, y):
    return -log_softmax(s * z, axis=1)[np.arange(len(y)), y].mean()


def slope(s, z, y):
    return ((softmax(s * z, axis=1) * z).sum(axis=1) - z[np.arange(len(y)), y]).mean()


def case(name, z, y):
    s = brentq(slope, 0.01, 100, args=(z, y), xtol=1e-15, rtol=1e-14)
    bounded = minimize_scalar(loss, bounds=(0.01, 100), args=(z, y), method="bounded", options={"xatol": 1e-12})
    assert abs(bounded.x - s) < 1e-5 * s, (bounded.x, s)
    return {
        "name": name,
        "logits": z.tolist(),
        "labels": y.tolist(),
        "temperature": 1 / s,
        "log_loss": loss(s, z, y),
        "first_softmax": softmax(s * z[0]).tolist(),
    }


def drawn(rng, items, classes, scale, temperature):
    """Labels drawn from softmax(z / temperature)."""
    z = np.round(scale * rng.normal(size=(items, classes)), 6)
    p = softmax(z / temperature, axis=1)
    return z, np.array([rng.choice(classes, p=row) for row in p])


def logistic(rng):
    x = rng.normal(size=(200, 3))
    y = (x @ [1.0, -2.0, 0.5] + rng.logistic(size=200) > 0).astype(int)
    z = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(x, y).decision_function(x)
    return np.column_stack([np.zeros(200), z]), y


def main(folder):
    rng = np.random.default_rng(3)
    cases = [
        case("over-confident", *drawn(rng, 200, 5, 4.0, 3.0)),
        case("under-confident", *drawn(rng, 200, 3, 0.5, 0.2)),
        case("two classes", *drawn(rng, 300, 2, 2.0, 1.0)),
        case("shifted by a thousand", *(lambda z, y: (z + 1000, y))(*drawn(rng, 100, 4, 2.0, 1.5))),
        case("hot", *drawn(rng, 100, 3, 60.0, 45.0)),
        case("logistic regression on its own data", *logistic(rng)),
    ]
    (Path(folder) / "calibration.json").write_text(json.dumps(cases))


if __name__ == "__main__":
    main(sys.argv[1])
