"""Writes heads_<case>.json into OUT: small data sets and what scikit-learn makes of them.

Each file holds raw features (f32 values), labels, and for features standardised by StandardScaler:
logistic (LogisticRegression at three C, newton-cholesky to 1e-12, checked against lbfgs), ridge (Ridge coefficients,
leave-one-out residuals by brute-force refits, RidgeCV's stored squared residuals, RidgeClassifierCV's choice),
lda (LinearDiscriminantAnalysis lsqr, shrinkage auto), nearest class mean (NearestCentroid), knn (leave-one-out votes,
cosine on raw features, weights exp(similarity / 0.07)).

usage: adapt_heads.py OUT
versions: scikit-learn 1.9.1, numpy, scipy
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifierCV, RidgeCV
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore")
out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)

CASES = {
    "two_wide": (36, 50, 2, False),
    "three_tall": (120, 8, 3, False),
    "nine_tall": (180, 20, 9, True),
    "nine_wide": (72, 90, 9, True),
}


def make(seed, n, dimension, classes, imbalanced):
    """Gaussian classes of unequal column scales; every third column is cut at zero as after a ReLU, column 3 is constant."""
    rng = np.random.default_rng(seed)
    weights = 1 / (1 + np.arange(classes)) if imbalanced else np.ones(classes)
    extra = rng.choice(classes, size=n - 3 * classes, p=weights / weights.sum())
    labels = rng.permutation(np.concatenate([np.repeat(np.arange(classes), 3), extra]))
    centres = rng.normal(size=(classes, dimension)) * 0.7
    features = centres[labels] + rng.normal(size=(n, dimension))
    features *= 10 ** rng.uniform(-1, 1, dimension)
    features[:, ::3] = np.maximum(features[:, ::3], 0)
    features[:, 3] = 0.5
    return np.round(features, 3).astype(np.float32), labels


def logistic(x, y, c):
    newton = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=10000).fit(x, y)
    lbfgs = LogisticRegression(C=c, solver="lbfgs", tol=1e-10, max_iter=100000).fit(x, y)

    def loss(model):
        p = np.clip(model.predict_proba(x), 1e-300, None)
        return float(-c * np.log(p[np.arange(len(y)), y]).sum() + 0.5 * (model.coef_**2).sum())

    assert abs(loss(newton) - loss(lbfgs)) < 1e-7 * (1 + loss(newton)), (loss(newton), loss(lbfgs))
    return {
        "c": c,
        "loss": min(loss(newton), loss(lbfgs)),
        "coefficients": newton.coef_.tolist(),
        "intercept": newton.intercept_.tolist(),
    }


def ridge(x, y, classes, alphas):
    targets = np.eye(classes)[y]
    brute = []
    for alpha in alphas:
        residuals = np.empty_like(targets)
        for i in range(len(y)):
            rest = np.arange(len(y)) != i
            model = Ridge(alpha=alpha, solver="svd").fit(x[rest], targets[rest])
            residuals[i] = targets[i] - model.predict(x[i : i + 1])[0]
        brute.append(residuals)
    cv = RidgeCV(alphas=alphas, store_cv_results=True).fit(x, targets)
    stored = np.moveaxis(cv.cv_results_, -1, 0)
    assert np.abs(stored - np.array(brute) ** 2).max() < 1e-9
    classifier = RidgeClassifierCV(alphas=alphas, scoring="accuracy").fit(x, y)
    full = Ridge(alpha=alphas[1], solver="svd").fit(x, targets)
    return {
        "alphas": alphas,
        "residuals": np.array(brute).tolist(),
        "ridge_cv_alpha": float(cv.alpha_),
        "classifier_cv_alpha": float(classifier.alpha_),
        "classifier_cv_accuracy": float(classifier.best_score_),
        "coefficients": full.coef_.tolist(),
        "intercept": full.intercept_.tolist(),
    }


def knn(features, y, k):
    votes = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        model = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07))
        model.fit(features[rest].astype(np.float64), y[rest])
        votes.append(model.predict_proba(features[i : i + 1].astype(np.float64))[0].tolist())
    return {"k": k, "shares": votes}


for index, (name, (n, dimension, classes, imbalanced)) in enumerate(CASES.items()):
    features, y = make(index, n, dimension, classes, imbalanced)
    scaler = StandardScaler()
    x = scaler.fit_transform(features.astype(np.float64))
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x, y)
    centroid = NearestCentroid().fit(x, y)
    alphas = [0.01 * dimension, 1.0 * dimension, 100.0 * dimension]
    record = {
        "rows": n,
        "dimension": dimension,
        "classes": classes,
        "features": [round(float(v), 3) for v in features.ravel()],
        "labels": y.tolist(),
        "mean": scaler.mean_.tolist(),
        "scale": scaler.scale_.tolist(),
        "logistic": [logistic(x, y, c) for c in (0.001, 0.1, 10.0)],
        "ridge": ridge(x, y, classes, alphas) ,
        "lda": lda.decision_function(x).tolist(),
        "nearest_class_mean": centroid.predict(x).tolist(),
        "knn": [knn(features, y, k) for k in (1, 5, 20)],
    }

    def short(value):
        return float(f"{value:.13g}") if isinstance(value, float) else value

    def walk(node):
        if isinstance(node, dict):
            return {key: walk(child) for key, child in node.items()}
        return [walk(child) for child in node] if isinstance(node, list) else short(node)

    (out / f"heads_{name}.json").write_text(json.dumps(walk(record), separators=(",", ":")))
    print(name, np.bincount(y), (out / f"heads_{name}.json").stat().st_size)
