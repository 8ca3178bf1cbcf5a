"""Models of timm whose tensors are those of an architecture here, and which compute something else.

Usage: zoo_relatives.py OUTPUT_FOLDER TABLE
TABLE is `crates/regraft-zoo/src/table.rs`, from which the names of the architectures are read.
Writes:
  relatives.json   list of {"architectures": names of ours, which all have the same tensors; "relatives": names of timm's}

Tensors are the same if their names and shapes are, counters of training steps aside, with 1,000 classes and images of
224 x 224 pixels where a model lets choose. Two models compute the same if the logits of one image are, in double precision
and with the same random weights.
Versions: torch 2.15.0, timm 1.0.31.
"""

import json
import pathlib
import re
import sys
import warnings

import timm
import torch

warnings.filterwarnings("ignore")


def build(name, device="cpu"):
    """With images of 224 x 224 pixels, where the model lets choose."""
    with torch.device(device):
        try:
            return timm.create_model(name, pretrained=False, num_classes=1000, img_size=224)
        except (TypeError, AssertionError):
            return timm.create_model(name, pretrained=False, num_classes=1000)


def tensors(name):
    try:
        state = build(name, "meta").state_dict()
    except (NotImplementedError, RuntimeError):
        state = build(name).state_dict()
    return tuple(sorted((key, tuple(value.shape)) for key, value in state.items() if "num_batches_tracked" not in key))


def logits(name):
    model = build(name).double().eval()
    generator = torch.Generator().manual_seed(1)
    state = model.state_dict()
    for key in sorted(state):
        value = state[key]
        if key.endswith("running_var"):
            value.uniform_(0.01, 0.1, generator=generator)
        elif value.is_floating_point():
            spread = value[0].numel() ** -0.5 if value.ndim > 1 and "token" not in key else 0.3
            value.normal_(0, spread, generator=generator)
            if value.ndim == 1 and key.endswith("weight"):
                value.add_(0.3)
    with torch.no_grad():
        return model(torch.randn(1, 3, 224, 224, generator=generator, dtype=torch.float64))


def is_same(left, right):
    return bool((left - right).abs().max() <= 1e-9 * left.abs().max())


def main(output, table):
    ours = re.findall(r'^    (?:row|alias)\(&\w+, "([^"]+)"', table.read_text(), re.MULTILINE)
    known = set(timm.list_models())
    shared = {}
    for name in sorted(known):
        shared.setdefault(tensors(name), []).append(name)
    groups = []
    for names in shared.values():
        of_table = [name for name in ours if name in names]
        others = [name for name in names if name not in of_table]
        if not of_table or not others:
            continue
        expected = [logits(name) for name in of_table]
        relatives = []
        for name in others:
            found = logits(name)
            if not any(is_same(same, found) for same in expected):
                relatives.append(name)
            else:
                print(f"{name} is the same as one of {of_table}", file=sys.stderr)
        if relatives:
            groups.append({"architectures": of_table, "relatives": relatives})
    groups.sort(key=lambda group: ours.index(group["architectures"][0]))
    (output / "relatives.json").write_text(json.dumps(groups, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
