"""Opens with timm and transformers what Regraft saves, strictly, and compares what they compute. Writes nothing.

Usage: cargo build --release -p regraft-zoo --example save_for_timm
       zoo_open_saved.py target/release/examples/save_for_timm [ARCHITECTURE …]
Every folder has a model of random weights, an image.npy and the logits.npy that Regraft gives for it; a folder is
removed when it was looked at, for all of them take 18 GB. A missing or
unexpected tensor, another label, or a logit that is 1e-4 of the largest off fails.
Versions: torch 2.15.0, timm 1.0.31, transformers 5.24.0, numpy 2.4.6.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import timm
import torch
import transformers

transformers.logging.set_verbosity_error()
failures = []
program, *names = sys.argv[1:]
names = names or subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()


def difference(output, expected):
    return ((output[0] - expected).abs().max() / expected.abs().max()).item()


def check(folder):
    config = json.loads((folder / "config.json").read_text())
    image, expected = (torch.from_numpy(np.load(folder / name)) for name in ["image.npy", "logits.npy"])
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    found = [difference(model(image), expected)]
    data = timm.data.resolve_data_config({}, model=model)
    side = json.loads((folder / "preprocessor_config.json").read_text())["size"]["shortest_edge"]
    assert int(min(data["input_size"][1:]) / data["crop_pct"]) == side, (data, side)
    model, report = transformers.AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    assert list(model.config.id2label.values()) == config["label_names"]
    found.append(difference(model.eval()(image).logits, expected))
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    assert processor.data_config["crop_pct"] == data["crop_pct"]
    assert max(found) < 1e-4, found
    return found


def check_both(name, place):
    subprocess.run([program, place, name], check=True)
    for kind in ["whole", "adapted"]:
        print(name, kind, *(f"{value:.1e}" for value in check(pathlib.Path(place) / kind)), flush=True)


with torch.no_grad():
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            try:
                check_both(name, place)
            except Exception as error:
                failures.append(name)
                print(name, type(error).__name__, str(error)[:500], flush=True)
print(f"{len(names) - len(failures)} of {len(names)} open strictly in timm and transformers and give the same")
sys.exit(bool(failures) or not names)
