"""HDF5 files in every layout that Keras and h5py write, with what h5py reads from them.

Writes into the folder given as the only argument:
  old.h5, new.h5         the same groups, attributes and arrays in the oldest and the latest form of the format
  hostile_*.h5           a group that holds itself, an array whose chunks unfold to 4 GB, an array of 2^40 elements
  expected.safetensors   name of each array -> its values, integers 64 bits wide
Versions: h5py 3.14.0, numpy 2.4.6, safetensors 0.8.0.
"""

import pathlib
import sys

import h5py
import numpy as np
from safetensors.numpy import save_file

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(3)
values = random.normal(0, 1, (7, 5)).astype("float32")
arrays = {
    "contiguous": (values, {}),
    "half": (values.astype("float16"), {}),
    "double": (values.astype("float64"), {}),
    "big_endian": (values.astype(">f4"), {}),
    "scalar": (np.float32(2.5), {}),
    "empty": (np.zeros((0, 4), "float32"), {}),
    "integers": (np.array([[-3, 70000]], "int32"), {}),
    "gzip": (values, {"chunks": (4, 2), "compression": "gzip", "shuffle": True, "fletcher32": True}),
    "lzf": (values, {"chunks": (3, 5), "compression": "lzf"}),
    "chunked": (values, {"chunks": (2, 2)}),
    "growing": (values, {"chunks": (2, 5), "maxshape": (None, 5)}),
    "one_chunk": (values, {"chunks": (7, 5), "compression": "gzip"}),
}


def write(path, libver):
    with h5py.File(path, "w", libver=libver) as file:
        group = file.create_group("layers/dense/vars")
        for name, (data, options) in arrays.items():
            group.create_dataset(name, data=data, **options)
        # Storage in the header itself.
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(values.shape)
        identifier = h5py.h5d.create(group.id, b"compact", h5py.h5t.IEEE_F32LE, space, properties)
        identifier.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
        group.create_dataset("never_written", shape=(3, 2), dtype="float32")
        file.attrs["text"] = "ein Text"
        file.attrs["bytes"] = b"bytes"
        file.attrs["fixed"] = np.bytes_("fixed")
        file.attrs["texts"] = ["one", "zwei"]
        file.attrs["fixed_texts"] = np.array([b"one", b"three"])
        file.attrs["none"] = []
        file.attrs["number"] = 3
        file.attrs["long"] = "x" * 70_000
        for place in range(20):
            file["layers"].attrs[f"attribute {place}"] = f"value {place}"


write(out / "old.h5", "earliest")
write(out / "new.h5", "latest")
expected = {name: np.asarray(data) for name, (data, _) in arrays.items()}
expected["big_endian"] = values
expected["integers"] = expected["integers"].astype("int64")
expected["compact"] = values
expected["never_written"] = np.zeros((3, 2), "float32")
expected["scalar"] = np.array(2.5, "float32")
save_file({name: np.ascontiguousarray(data).reshape(data.shape) for name, data in expected.items()}, out / "expected.safetensors")

with h5py.File(out / "hostile_circle.h5", "w") as file:
    file.create_group("a/vars").attrs["name"] = "a"
    file["a/again"] = file["a"]
    file["a/once_more"] = file["a"]
with h5py.File(out / "hostile_chunks.h5", "w") as file:
    file.create_dataset("bomb", shape=(1 << 30,), chunks=(1 << 22,), dtype="float32", compression="gzip")[0:1] = 1
with h5py.File(out / "hostile_size.h5", "w") as file:
    file.create_dataset("huge", shape=(1 << 20, 1 << 20), dtype="float32")
