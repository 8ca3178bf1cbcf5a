"""The learning-rate range test as fastai has it: `LRFinder`, `AvgSmoothLoss` of its `Recorder`, and the suggestion `valley`.

Usage: adapt_range_test.py OUTPUT_FOLDER
Writes range_test.json: cases with the losses of 100 steps, the rates and smoothed losses of the steps that are done before the test
ends, and the suggested rate; null where the loss never falls or too few steps are done, for which fastai has no answer of its own.
Versions: numpy 2.4.6; the rules are those of fastai 2.8 (callback/schedule.py, learner.py), written out.
"""

import json
import pathlib
import sys

import numpy

STEPS, FIRST, LAST, BETA = 100, 1e-7, 10.0, 0.98


def smoothed(losses):
    rates, found, average, best = [], [], 0.0, float("inf")
    for step, loss in enumerate(losses):
        average = BETA * average + (1 - BETA) * loss
        rates.append(FIRST * (LAST / FIRST) ** (step / STEPS))
        found.append(average / (1 - BETA ** (step + 1)))
        best = min(best, found[-1])
        if found[-1] > 4 * best:
            break
    return rates, found


def valley(rates, losses):
    count, start, end, lengths = len(losses), 0, 0, [1] * len(losses)
    for i in range(1, count):
        for j in range(i):
            if losses[i] < losses[j] and lengths[i] < lengths[j] + 1:
                lengths[i] = lengths[j] + 1
            if lengths[end] < lengths[i]:
                end = i
                start = end - lengths[end]
    sections = (end - start) / 3
    return None if end == 0 else rates[max(start + int(sections) + int(sections / 2), 0)]


def suggestion(rates, losses):
    inner = slice(STEPS // 10, -5)
    return valley(rates[inner], losses[inner]) if len(losses[inner]) else None


random = numpy.random.default_rng(0)
steps = numpy.arange(STEPS)
rates = FIRST * (LAST / FIRST) ** (steps / STEPS)


def falling(middle, explodes):
    """From 1.4 down around a rate, and up again from another on."""
    return 1.4 - 1.1 / (1 + (middle / rates) ** 1.5) + (rates / explodes) ** 2


curves = {
    "falls and explodes": falling(1e-3, 0.5),
    "noisy": falling(3e-3, 1.0) * random.lognormal(0, 0.2, STEPS),
    "hardly falls": 0.05 * random.lognormal(0, 0.5, STEPS) + (rates / 0.05) ** 2,
    "falls to the end": numpy.linspace(2, 1, STEPS),
    "rises": numpy.linspace(1, 2, STEPS),
    "explodes at once": 2.0 ** (steps + 1),
}
cases = []
for name, losses in curves.items():
    found_rates, found = smoothed(losses.tolist())
    case = {"name": name, "losses": losses.tolist(), "rates": found_rates, "smoothed": found}
    cases.append({**case, "suggestion": suggestion(found_rates, found)})
(pathlib.Path(sys.argv[1]) / "range_test.json").write_text(json.dumps(cases))
