"""Networks of torchvision and timm, exported by PyTorch, through Regraft's ONNX reader and writer. Run by hand; writes no golden.

Usage: check_onnx.py REWRITER WORK_FOLDER [NAME ...]
       check_onnx.py REWRITER WORK_FOLDER --goldens FOLDER
  REWRITER     target/release/examples/rewrite_onnx of regraft-formats
  WORK_FOLDER  for the files, which are removed again
  NAME         of `NETWORKS` below; all where there is none

  FOLDER       of `formats_onnx.py`: each of its files is read and written as a network is, and its output compared

For every network, with random weights, and for both exporters of PyTorch (TorchScript and dynamo): exports it, lets Regraft
read the file and write what it understood (opset 17, 18 and 21), has `onnx.checker` look at the result, and compares the outputs
of both files in ONNX Runtime for two images. Prints one line a file: largest difference relative to the largest output, how
many of the network's tensors kept their names, seconds of reading, numbers of nodes before and after. Fails where a difference
is above 1e-4.
Versions: torch 2.15.0, torchvision 0.29.2, timm 1.0.31, onnx 1.23.2, onnxruntime 1.32.0.
"""

import json
import pathlib
import subprocess
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import timm
import torch
import torchvision

import zoo_networks

warnings.filterwarnings("ignore")
torch.set_num_threads(2)
CLASSES = 16
# All that the zoo builds, and some that it does not.
OTHERS = {
    "torchvision": "regnet_y_8gf shufflenet_v2_x1_0 mnasnet1_0",
    "timm": "vit_small_patch14_reg4_dinov2 deit_tiny_distilled_patch16_224 resnet50 resnetv2_50 hgnet_small cait_xxs24_224 mixer_s32_224",
}
NETWORKS = [
    f"{library}.{name}"
    for library, built in (("torchvision", zoo_networks.TORCHVISION), ("timm", zoo_networks.TIMM))
    for names in [*(names for names, _ in built), OTHERS[library]]
    for name in names.split()
]


def build(network):
    library, name = network.split(".", 1)
    torch.manual_seed(0)
    if library == "timm":
        model = timm.create_model(name, num_classes=CLASSES)
        size = model.pretrained_cfg["input_size"][1]
        if "dinov2" in name:
            model, size = timm.create_model(name, num_classes=CLASSES, img_size=98), 98
    else:
        extra = {"init_weights": True, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        model, size = getattr(torchvision.models, name)(num_classes=CLASSES, **extra), 224
        size = 299 if name == "inception_v3" else size
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.25, 1.0)
            torch.nn.init.normal_(module.bias, std=0.1)
        # Equal tensors would be stored once by the exporters, under one name.
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() < 2 and not isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                torch.nn.init.normal_(parameter, mean=1.0 if name == "weight" or "gamma" in name else 0.0, std=0.1)
    return model.eval(), size


def export(model, size, dynamo, path):
    image = torch.randn(2, 3, size, size)
    if dynamo:
        try:
            shapes = ({0: torch.export.Dim("batch")},)
            torch.onnx.export(model, (image,), path, dynamo=True, external_data=False, dynamic_shapes=shapes, verbose=False)
        except Exception:
            torch.onnx.export(model, (image[:1],), path, dynamo=True, external_data=False, verbose=False)
    else:
        torch.onnx.export(
            model, (image,), path, dynamo=False, input_names=["input"], output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
        )


def run(path, image):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0], session.get_inputs()[0].shape


def written(rewriter, path, rewritten, opset):
    """What the rewriter prints, once the checker has looked at what it has written."""
    done = subprocess.run([rewriter, path, rewritten, str(opset)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip()[:300])
    onnx.checker.check_model(str(rewritten), full_check=True)
    return done.stdout


def check_golden(path, case, images, rewriter, rewritten):
    """The largest difference over the opsets, relative to the largest output."""
    numbers = lambda value: np.frombuffer(bytes.fromhex(value["values"]), "<f4").reshape(value["shape"])
    image, expected = numbers(images[case["input"]]), numbers(case["output"])
    worst = 0.0
    for opset in (17, 18, 21):
        written(rewriter, path, rewritten, opset)
        session = onnxruntime.InferenceSession(str(rewritten), providers=["CPUExecutionProvider"])
        [entry] = session.get_inputs()
        channels = entry.shape[1] if len(entry.shape) == 4 else None
        turned = isinstance(channels, int) and image.shape[1] != channels == image.shape[3]
        given = image.transpose(0, 3, 1, 2) if turned else image
        found = session.run(None, {entry.name: given.astype(np.int64 if "int64" in entry.type else np.float32)})[0]
        assert found.shape == expected.shape, f"{found.shape} for {expected.shape}"
        worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    return worst


def check_goldens(folder, rewriter, work):
    expected, failed = json.loads((folder / "expected.json").read_text()), []
    for name, case in expected["files"].items():
        try:
            worst = check_golden(folder / name, case, expected["inputs"], rewriter, work / "rewritten.onnx")
        except Exception as error:
            worst = f"FAILED {type(error).__name__}: {str(error)[:300]}"
        print(f"{name}: {worst}", flush=True)
        if isinstance(worst, str) or worst > case.get("within", 1e-4):
            failed.append(name)
    return failed


def check(network, model, size, dynamo, rewriter, work):
    path, rewritten = work / "exported.onnx", work / "rewritten.onnx"
    export(model, size, dynamo, str(path))
    image = np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32)
    fixed = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value
    expected, _ = run(path, image[:fixed] if fixed else image)
    worst, text = 0.0, ""
    for opset in (17, 18, 21):
        text = written(rewriter, path, rewritten, opset)
        found, _ = run(rewritten, image)
        found = found[: len(expected)]
        worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    lines = text.splitlines()
    seconds = float(next(line for line in lines if line.startswith("read in")).split()[2])
    nodes = [line for line in lines if " = " in line]
    names = {name for line in nodes for name in line.split()[-3:] for name in [name.strip(",")]}
    kept = sum(name in text for name in model.state_dict() if not name.endswith("num_batches_tracked"))
    tensors = sum(not name.endswith("num_batches_tracked") for name in model.state_dict())
    before = len(onnx.load(path, load_external_data=False).graph.node)
    symbolic = "×H×W" in "".join(lines)
    operators = sorted({line.split(" = ")[1].split("(")[0] for line in nodes})
    return (
        f"{worst:.1e} names {kept}/{tensors} read {seconds:.3f} s, {path.stat().st_size / 1e6:.0f} MB, nodes {before} -> {len(nodes)}"
        f"{' any size' if symbolic else ''} {' '.join(operators)}",
        worst < 1e-4,
    )


def main():
    rewriter, work = sys.argv[1], pathlib.Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    failed, names = [], sys.argv[3:] or NETWORKS
    if names[0] == "--goldens":
        failed, names = check_goldens(pathlib.Path(names[1]), rewriter, work), []
    for network in names:
        model, size = build(network)
        for dynamo in (False, True):
            kind = "dynamo" if dynamo else "script"
            try:
                line, fine = check(network, model, size, dynamo, rewriter, work)
            except Exception as error:
                line, fine = f"FAILED {type(error).__name__}: {str(error)[:300]}", False
            print(f"{network} {kind}: {line}", flush=True)
            if not fine:
                failed.append(f"{network} {kind}")
    for path in work.glob("*.onnx"):
        path.unlink()
    print(f"{len(failed)} failed: {', '.join(failed)}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
