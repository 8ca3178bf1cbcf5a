"""What training in bfloat16 costs in accuracy: the same folders, seeds and settings in f32 and bf16. Prints a table.

    python oracles/study_training_precision.py WORK target/release/regraft SOURCE DATA METHOD FOLDER... [-- OPTIONS OF FIT]

Each FOLDER of DATA is fitted with its place among them as seed (`skill_data.py` lays such folders out). WORK takes a run folder for
each folder and precision; those that are there are not fitted again. Differences are of the same folder.

Versions: numpy 2.4.6.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np

words = sys.argv[1:]
end = words.index("--") if "--" in words else len(words)
work, regraft, source, data = map(pathlib.Path, words[:4])
method, folders, options = words[4], words[5:end], words[end + 1 :]


def judged(precision, seed, folder):
    out = work / f"{method}-{folder}-{precision}"
    if not out.exists():
        given = ["--method", method, "--precision", precision, "--seed", seed, "--out", out, "--cache", work / "cache", "-q"]
        command = [regraft, "fit", data / folder, "--source", source, *given, *options]
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["tuning"]["precision"] == precision, metrics["tuning"]
    return 100 * metrics["test"]["accuracy"]["value"], metrics["test"]["log_loss"]["value"]


def with_error(values, digits):
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.{digits}f}"


of = {precision: np.array([judged(precision, *place) for place in enumerate(folders)]) for precision in ["f32", "bf16"]}
print(f"{method}, {len(folders)} folders: accuracy in %, and log-loss")
for precision, found in of.items():
    print(precision, with_error(found[:, 0], 2), with_error(found[:, 1], 4))
difference = of["bf16"] - of["f32"]
print("difference", with_error(difference[:, 0], 2), with_error(difference[:, 1], 4))
