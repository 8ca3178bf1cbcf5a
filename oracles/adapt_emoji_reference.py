"""Writes emoji_reference.json into FOLDER: test accuracy and run time of LogisticRegressionCV(Cs=10, cv=5) on standardised
features over the five splits of adapt_emoji_features.py.

usage: adapt_emoji_reference.py FOLDER   (holding the files of adapt_emoji_features.py)
versions: scikit-learn 1.9.1, numpy
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore")
folder = Path(sys.argv[1])
features = np.load(folder / "emoji_features.npy").astype(np.float64)
labels = np.load(folder / "emoji_labels.npy")
results = []
for seed in range(5):
    folds = np.load(folder / f"emoji_split_{seed}.npy")
    train, test = np.flatnonzero(folds >= 0), np.flatnonzero(folds < 0)
    started = time.time()
    scaler = StandardScaler().fit(features[train])
    model = LogisticRegressionCV(Cs=10, cv=5, max_iter=1000, n_jobs=2).fit(scaler.transform(features[train]), labels[train])
    x = scaler.transform(features[test])
    results.append(
        {
            "seed": seed,
            "accuracy": float(model.score(x, labels[test])),
            "log_loss": float(log_loss(labels[test], model.predict_proba(x))),
            "c": np.ravel(model.C_).tolist(),
            "seconds": time.time() - started,
            "predictions": model.predict(x).tolist(),
        }
    )
    print({key: value for key, value in results[-1].items() if key != "predictions"}, flush=True)
    (folder / "emoji_reference.json").write_text(json.dumps(results))
