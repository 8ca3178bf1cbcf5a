"""Opens with timm, transformers and ONNX Runtime what Regraft saves and exports, strictly, and compares what they compute.
Writes nothing.

Usage: cargo build --release --workspace --bins --examples
       zoo_open_saved.py target/release [ARCHITECTURE ...]
For every architecture there is a model with weights that are a formula, whole and with a new head, with an image.npy and the logits.npy
that Regraft gives for it; a folder is removed when it was looked at, for all of them take 18 GB. A missing or unexpected
tensor, another label, a complaint of onnx.checker, or a number that is 1e-4 of the largest off fails. What timm does not
have is opened in ONNX Runtime only.
Versions: torch 2.15.0, timm 1.0.31, transformers 5.24.0, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import timm
import torch
import transformers

transformers.logging.set_verbosity_error()
failures = []
built = pathlib.Path(sys.argv[1])
save = built / "examples/save_by_formula"
names = sys.argv[2:] or subprocess.run([save], check=True, capture_output=True, text=True).stdout.split()


def difference(output, expected):
    return ((output[0] - expected).abs().max() / expected.abs().max()).item()


def check_export(folder):
    path, image = folder / "model.onnx", np.load(folder / "image.npy")
    subprocess.run([built / "regraft", "export", folder, "--out", path, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    output = session.run(None, {session.get_inputs()[0].name: image})[0]
    found = difference(torch.from_numpy(output).flatten(1), torch.from_numpy(np.load(folder / "logits.npy")))
    assert found < 1e-4, found
    return found


def check(folder):
    config = json.loads((folder / "config.json").read_text())
    found = [check_export(folder)]
    if config.get("model_type") == "regraft":
        return found
    image, expected = (torch.from_numpy(np.load(folder / name)) for name in ["image.npy", "logits.npy"])
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    found.append(difference(model(image), expected))
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
    subprocess.run([save, place, name], check=True)
    for folder in sorted(pathlib.Path(place).iterdir()):
        print(name, folder.name, *(f"{value:.1e}" for value in check(folder)), flush=True)


with torch.no_grad():
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            try:
                check_both(name, place)
            except Exception as error:
                failures.append(name)
                print(name, type(error).__name__, str(error)[:500], flush=True)
print(f"{len(names) - len(failures)} of {len(names)} give the same in ONNX Runtime, and strictly opened in timm and transformers")
sys.exit(bool(failures) or not names)
