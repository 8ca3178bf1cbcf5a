"""Writes paired.json: exact McNemar, corrected resampled t, Wilson and t intervals, from scipy's distributions.

Usage: python oracles/eval_paired.py crates/regraft-eval/tests/golden
Made with scipy 1.17.1, numpy 2.4.6.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy import stats


def mcnemar(only_a, only_b):
    discordant = only_a + only_b
    p = 1.0 if discordant == 0 else stats.binomtest(only_a, discordant, 0.5).pvalue
    return {"only_a": only_a, "only_b": only_b, "p_value": p}


def resampled_t(differences, ratio, confidence):
    runs = len(differences)
    mean = np.mean(differences)
    error = np.sqrt((1 / runs + ratio) * np.var(differences, ddof=1))
    half = stats.t.ppf(0.5 + confidence / 2, runs - 1) * error
    t = mean / error
    return {
        "differences": differences.tolist(),
        "ratio": ratio,
        "confidence": confidence,
        "t": t,
        "p_value": 2 * stats.t.sf(abs(t), runs - 1),
        "standard_error": error,
        "low": mean - half,
        "high": mean + half,
    }


def wilson(successes, items, confidence):
    low, high = stats.binomtest(successes, items).proportion_ci(confidence, method="wilson")
    return {"successes": successes, "items": items, "confidence": confidence, "low": low, "high": high}


def mean_interval(values, confidence):
    low, high = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    return {"values": values.tolist(), "confidence": confidence, "low": low, "high": high}


def main(folder):
    rng = np.random.default_rng(11)
    pairs = [(0, 0), (1, 0), (5, 0), (3, 9), (9, 3), (10, 10), (40, 71), (500, 431), (10000, 10321), (0, 60)]
    shapes = [(2, 1.0, 0.95), (5, 0.25, 0.95), (10, 1 / 9, 0.9), (100, 1 / 9, 0.99)]
    proportions = [(0, 1), (1, 1), (0, 10), (10, 10), (7, 9), (45, 50), (99_000, 100_000)]
    golden = {
        "mcnemar": [mcnemar(*pair) for pair in pairs],
        "resampled_t": [resampled_t(rng.normal(0.01, 0.02, r), ratio, c) for r, ratio, c in shapes],
        "wilson": [wilson(k, n, c) for k, n in proportions for c in (0.9, 0.95, 0.999)],
        "mean": [mean_interval(rng.normal(0.8, 0.1, n), c) for n, c in [(2, 0.95), (3, 0.9), (12, 0.95)]],
    }
    (Path(folder) / "paired.json").write_text(json.dumps(golden))


if __name__ == "__main__":
    main(sys.argv[1])
