"""Small weight and array files as other programs write them, with what they hold.

Writes into the folder given as the only argument:
  *.pth         PyTorch checkpoints: zip and legacy containers, nested entries, prefixes, views, every element type
  *.safetensors the Python library's own writer
  *.npy         C and Fortran order, single and double precision, ranks 0 to 4
  expected.json for each weight file, tensor name -> {dtype, shape, values}; for each array {shape, values}
Versions: torch 2.15.0, safetensors 0.8.0, numpy 2.4.6.
"""

import json
import os
import pathlib
import pickle
import sys

import numpy as np
import safetensors.torch
import torch

from legacy_pth import save_legacy

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)


def ramp(*shape, dtype=torch.float32):
    count = int(np.prod(shape))
    return (torch.arange(count, dtype=torch.float32).reshape(shape) * 0.25 - 1).to(dtype)


plain = {
    "conv.weight": ramp(4, 2, 3, 3),
    "conv.bias": ramp(4),
    "half": ramp(3, 5, dtype=torch.float16),
    "brain": ramp(6, dtype=torch.bfloat16),
    "double": ramp(2, 2, dtype=torch.float64),
    "counter": torch.tensor(7, dtype=torch.int64),
    "indices": torch.tensor([-3, 0, 9], dtype=torch.int64),
    "empty": torch.zeros(0, 4),
}
whole = ramp(6, 8)
views = {
    "transposed": whole.t(),
    "columns": whole[:, 1:7:2],
    "tail": whole[4:],
    "permuted": ramp(2, 3, 4, 5).permute(3, 1, 0, 2),
    "tied_a": whole,
    "tied_b": whole,
}
integers = {
    "i32": torch.tensor([-70000, 70000], dtype=torch.int32),
    "i16": torch.tensor([-300, 300], dtype=torch.int16),
    "i8": torch.tensor([-100, 100], dtype=torch.int8),
    "u8": torch.tensor([0, 200], dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
}
checkpoint = {
    "epoch": 12,
    "arch": "resnet18",
    "state_dict": {f"module.{name}": tensor for name, tensor in plain.items()},
    "optimizer": {"state": {0: {"momentum_buffer": ramp(4)}}, "param_groups": [{"lr": 0.1}]},
}
# A model whose own parts are called "model": nothing may be stripped or dropped.
submodule = {"model.weight": ramp(2, 2), "head.weight": ramp(2)}

# A whole module in place of its state_dict().
module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
with torch.no_grad():
    for tensor in module.state_dict().values():
        tensor.copy_(ramp(*tensor.shape, dtype=tensor.dtype))
named_model = {"model": "a name", "weight": ramp(3)}

files = {
    "zip.pth": (plain, plain, True),
    "legacy.pth": (plain, plain, False),
    "views.pth": (views, views, True),
    "views_legacy.pth": (views, views, False),
    "integers.pth": (integers, integers, True),
    "checkpoint.pth": (checkpoint, plain, True),
    "checkpoint_legacy.pth": (checkpoint, plain, False),
    "model_entry.pth": ({"model": plain, "epoch": 1}, plain, True),
    "whole_module.pth": (module, module.state_dict(), True),
    "named_model.pth": (named_model, {"weight": ramp(3)}, True),
    "submodule.pth": (submodule, submodule, True),
}
NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64",
    torch.int64: "I64", torch.int32: "I64", torch.int16: "I64", torch.int8: "I64", torch.uint8: "I64", torch.bool: "I64",
}


def described(tensors):
    return {
        name: {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "values": tensor.double().contiguous().flatten().tolist(),
        }
        for name, tensor in tensors.items()
    }


expected = {}
for name, (saved, tensors, as_zip) in files.items():
    torch.save(saved, out / name) if as_zip else save_legacy(saved, out / name)
    expected[name] = described(tensors)

safetensors.torch.save_file(plain, out / "plain.safetensors", metadata={"format": "pt"})
expected["plain.safetensors"] = described(plain)


class Hostile:
    """Runs a program when Python unpickles it."""

    def __reduce__(self):
        return os.system, ("touch regraft-was-here",)


with open(out / "hostile.pth", "wb") as file:
    pickle.dump({"conv.weight": Hostile()}, file, protocol=2)
torch.save({"conv.weight": Hostile()}, out / "hostile_zip.pth")
# One number that claims to be a tensor of 4 GiB: a stride of zero.
torch.save({"wide": torch.zeros(1).expand(1 << 30)}, out / "expanded.pth")
torch.save({"epoch": 3, "note": "no tensors here"}, out / "no_tensors.pth")

arrays = {
    "f32": np.arange(24, dtype=np.float32).reshape(2, 3, 4) * 0.5,
    "f64": np.arange(6, dtype=np.float64).reshape(2, 3) / 7,
    "fortran": np.asfortranarray(np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)),
    "scalar": np.array(2.5, dtype=np.float32),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "big_endian": np.arange(5, dtype=">f4"),
}
for name, array in arrays.items():
    np.save(out / f"{name}.npy", array)
    expected[f"{name}.npy"] = {"shape": list(array.shape), "values": array.astype(np.float64).flatten().tolist()}
np.save(out / "integers.npy", np.arange(4, dtype=np.int32))
np.save(out / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
np.save(out / "structured.npy", np.zeros(3, dtype=[("a", "f4"), ("b", "i2")]))

(out / "expected.json").write_text(json.dumps(expected))
