"""Writes selection_{train,test}.npy (f32), selection_labels.npy (u8: training, then test) and selection.json into OUT:
real features for a test of head selection, and what LogisticRegressionCV makes of them.

380 training and 382 test rows of the emoji features (adapt_emoji_features.py), projected onto the first 96 principal
axes of the training rows; LogisticRegressionCV(Cs=10, cv=5) on standardised columns.

usage: adapt_selection.py OUT FOLDER   (FOLDER holds the files of adapt_emoji_features.py)
versions: scikit-learn 1.9.1, numpy
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

out, folder = map(Path, sys.argv[1:3])
features = np.load(folder / "emoji_features.npy")
labels = np.load(folder / "emoji_labels.npy")
folds = np.load(folder / "emoji_split_0.npy")
train, test = np.flatnonzero(folds >= 0)[::4], np.flatnonzero(folds < 0)
axes = PCA(96, svd_solver="full").fit(features[train])
x_train, x_test = (axes.transform(features[rows]).astype(np.float32) for rows in (train, test))
scaler = StandardScaler().fit(x_train)
model = LogisticRegressionCV(Cs=10, cv=5, max_iter=5000).fit(scaler.transform(x_train), labels[train])
p = model.predict_proba(scaler.transform(x_test))
np.save(out / "selection_train.npy", x_train)
np.save(out / "selection_test.npy", x_test)
np.save(out / "selection_labels.npy", np.concatenate([labels[train], labels[test]]).astype(np.uint8))
record = {
    "accuracy": float((p.argmax(axis=1) == labels[test]).mean()),
    "log_loss": float(log_loss(labels[test], p)),
}
(out / "selection.json").write_text(json.dumps(record))
print(len(train), len(test), record)
