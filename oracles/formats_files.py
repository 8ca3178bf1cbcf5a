"""Small weight and array files as other programs write them, with what they hold.

Writes into the folder given as the only argument:
  *.pth         PyTorch checkpoints: zip, legacy and tar containers, nested entries, prefixes, views, every element type
  *.safetensors the Python library's own writer
  sharded/      weights in two files with an index, as transformers writes them
  *.npz         NumPy's archives, stored and compressed
  *.npy         C and Fortran order, single and double precision, ranks 0 to 4
  expected.json for each weight file, tensor name (its path in the file) -> {dtype, shape, values}; for each array
                {shape, values}
Versions: torch 2.15.0, safetensors 0.8.0, numpy 2.4.6.
"""

import io
import json
import os
import pathlib
import pickle
import struct
import sys
import tarfile

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

ema = {
    "epoch": 3,
    "state_dict": {f"module.{name}": tensor for name, tensor in plain.items()},
    "state_dict_ema": {name: tensor * 2 for name, tensor in plain.items()},
    "optimizer": {"state": [{"exp_avg": ramp(4)}, {"exp_avg": ramp(2, 2)}]},
}
lightning = {
    "pytorch-lightning_version": "2.5.0",
    "state_dict": {f"net.encoder.{name}": tensor for name, tensor in plain.items()},
    "callbacks": {"EMACallback": {"ema_state_dict": {f"net.encoder.{name}": tensor + 1 for name, tensor in plain.items()}}},
}
files = {
    "zip.pth": plain,
    # 21 letters before the ending: the first entry of the table of contents is as long as what stands behind the table.
    "best_model_checkpoint.pth": plain,
    "legacy.pth": plain,
    "views.pth": views,
    "views_legacy.pth": views,
    "integers.pth": integers,
    "checkpoint.pth": checkpoint,
    "checkpoint_legacy.pth": checkpoint,
    "ema.pth": ema,
    "lightning.pth": lightning,
    "model_entry.pth": {"model": plain, "epoch": 1},
    "whole_module.pth": module,
    "whole_module_legacy.pth": {"epoch": 2, "model": module},
    "named_model.pth": named_model,
    "submodule.pth": submodule,
}
NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64",
    torch.int64: "I64", torch.int32: "I64", torch.int16: "I64", torch.int8: "I64", torch.uint8: "I64", torch.bool: "I64",
}


def flattened(value, path=()):
    """The tensors of a checkpoint by their path through its dictionaries and lists."""
    if isinstance(value, torch.Tensor):
        return {".".join(path): value}
    if isinstance(value, torch.nn.Module):
        value = value.state_dict()
    if isinstance(value, (list, tuple)):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict):
        return {}
    return {name: tensor for key, item in value.items() for name, tensor in flattened(item, (*path, str(key))).items()}


def described(tensors):
    return {
        name: {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "values": tensor.double().contiguous().flatten().tolist(),
        }
        for name, tensor in tensors.items()
    }


def save_tar(tensors, path):
    """The container from before PyTorch 0.1.10, of which today's torch has the reader only: an archive of the system, the
    storages, the tensors in them, and the object, whose tensors are persistent ids."""
    keys = {id(tensor): index for index, tensor in enumerate(tensors.values())}
    storages, views = io.BytesIO(), io.BytesIO()
    pickle.dump(len(keys), storages, protocol=2)
    pickle.dump(len(keys), views, protocol=2)
    for tensor in tensors.values():
        key, kind = keys[id(tensor)], {torch.float32: "Float", torch.float64: "Double", torch.int64: "Long"}[tensor.dtype]
        pickle.dump((key, "cpu", getattr(torch, f"{kind}Storage")), storages, protocol=2)
        storages.write(struct.pack("<q", tensor.numel()) + tensor.numpy().tobytes())
        pickle.dump((key, key, getattr(torch, f"{kind}Tensor")), views, protocol=2)
        numbers = [*tensor.shape, *tensor.stride(), 0]
        views.write(struct.pack("<ii", tensor.dim(), 0) + struct.pack(f"<{len(numbers)}q", *numbers))
    pickle.dump([], storages, protocol=2)
    value = io.BytesIO()
    pickler = pickle.Pickler(value, protocol=2)
    pickler.persistent_id = lambda item: keys[id(item)] if isinstance(item, torch.Tensor) else None
    pickler.dump(tensors)
    system = {"protocol_version": 1000, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = {"sys_info": pickle.dumps(system, protocol=2), "storages": storages.getvalue(), "tensors": views.getvalue(),
             "pickle": value.getvalue()}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


expected = {}
for name, saved in files.items():
    save_legacy(saved, out / name) if "legacy" in name else torch.save(saved, out / name)
    expected[name] = described(flattened(saved))
torch.save(plain, out / "protocol4.pth", pickle_protocol=4)
expected["protocol4.pth"] = described(plain)

old = {name: plain[name] for name in ["conv.weight", "conv.bias", "double", "indices"]}
save_tar(old, out / "archive.pth")
read = torch.load(out / "archive.pth", weights_only=False)
assert all(torch.equal(read[name], tensor) for name, tensor in old.items())
expected["archive.pth"] = described(old)

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
weights = {"a/kernel": arrays["f32"], "double": np.arange(6.0).reshape(2, 3) / 8, "fortran": arrays["fortran"], "scalar": arrays["scalar"],
           "half": arrays["f32"].astype(np.float16), "big_endian": arrays["big_endian"], "counter": np.array([7, -1])}
kinds = {"double": "F64", "half": "F16", "counter": "I64"}
np.savez(out / "plain.npz", **weights)
np.savez_compressed(out / "compressed.npz", **weights, text=np.array(["not a number"]))
for name in ["plain.npz", "compressed.npz"]:
    expected[name] = {
        key: {"dtype": kinds.get(key, "F32"), "shape": list(array.shape), "values": array.astype(np.float64).flatten().tolist()}
        for key, array in weights.items()
    }

halves = [{"conv.weight": plain["conv.weight"], "half": plain["half"]}, {"conv.bias": plain["conv.bias"]}]
for kind, beginning in [("safetensors", "model"), ("bin", "pytorch_model")]:
    parts = {f"{beginning}-0000{number}-of-00002.{kind}": tensors for number, tensors in enumerate(halves, 1)}
    (out / "sharded").mkdir(exist_ok=True)
    for name, tensors in parts.items():
        path = out / "sharded" / name
        safetensors.torch.save_file(tensors, path) if kind == "safetensors" else torch.save(tensors, path)
    names = {tensor: name for name, tensors in parts.items() for tensor in tensors}
    index = {"metadata": {"total_size": 400}, "weight_map": names}
    (out / "sharded" / f"{beginning}.{kind}.index.json").write_text(json.dumps(index, indent=2) + "\n")
    expected[f"{beginning}.{kind}.index.json"] = described({name: plain[name] for name in names})

np.save(out / "integers.npy", np.arange(4, dtype=np.int32))
np.save(out / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
np.save(out / "structured.npy", np.zeros(3, dtype=[("a", "f4"), ("b", "i2")]))

(out / "expected.json").write_text(json.dumps(expected))
