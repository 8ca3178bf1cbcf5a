"""Writes images of one to seven channels, of 8, 16 and 32 bits, and their samples.

Usage: python data_channels.py crates/regraft-data/tests/golden
Versions: Pillow 13.0.0, tifffile 2025.10.16, imagecodecs 2026.3.6, numpy 2.4.6.

`channels/NAME` is a file of 9 × 7 pixels, `channels/NAME.samples.npy` what Pillow, tifffile or numpy read from it: height ×
width × channels, f32, on the scale where 255 is the largest 8-bit number, the largest 16-bit number or the
floating-point number 1. `channels/NAME.L.npy` is Pillow's `convert("L")` of files of 8 bits that Pillow reads.
"""

import pathlib
import sys

import numpy as np
import tifffile
from PIL import Image

OUTPUT = pathlib.Path(sys.argv[1]) / "channels"
OUTPUT.mkdir(parents=True, exist_ok=True)
RANDOM = np.random.default_rng(5)
HEIGHT, WIDTH = 7, 9


def samples(channels, kind):
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    if kind == "f4":
        return RANDOM.random(shape, dtype=np.float32)
    return RANDOM.integers(0, 2 ** (8 * np.dtype(kind).itemsize), shape).astype(kind)


def expect(name, array):
    scale = {"u1": 1.0, "u2": 1 / 257.0, "f4": 255.0}[array.dtype.str[1:]]
    array = array.reshape(HEIGHT, WIDTH, -1).astype(np.float64) * scale
    np.save(OUTPUT / f"{name}.samples.npy", array.astype(np.float32))


def pillow(name, array, **options):
    Image.fromarray(array).save(OUTPUT / name, **options)
    read = Image.open(OUTPUT / name)
    expect(name, np.asarray(read).astype(array.dtype))
    if array.dtype == np.uint8:
        np.save(OUTPUT / f"{name}.L.npy", np.asarray(read.convert("L")))


def tiff(name, array, **options):
    tifffile.imwrite(OUTPUT / name, array, metadata=None, **options)
    read = tifffile.imread(OUTPUT / name)
    planar = options.get("planarconfig") == "separate"
    expect(name, np.moveaxis(read, 0, -1) if planar else read)


def array(name, values):
    np.save(OUTPUT / name, values)
    expect(name, np.ascontiguousarray(values))


pillow("grey.png", samples(1, "u1"))
pillow("grey.jpg", samples(1, "u1"), quality=95)
pillow("grey-alpha.png", samples(2, "u1"))
pillow("rgb.png", samples(3, "u1"))
pillow("rgba.png", samples(4, "u1"))
pillow("rgba.webp", samples(4, "u1"), lossless=True, exact=True)
pillow("grey16.png", samples(1, "u2"))
for channels, kind, compression in [(1, "u2", None), (1, "f4", "zlib"), (2, "u1", None), (5, "u1", "lzw"), (5, "u2", None),
                                    (7, "f4", "zlib")]:
    tiff(f"{channels}-{kind}.tif", samples(channels, kind), photometric="minisblack", compression=compression,
         planarconfig=None if channels == 1 else "contig")
planes = np.moveaxis(samples(5, "u2"), -1, 0)
tiff("planes.tif", planes, photometric="minisblack", planarconfig="separate")
tiff("rgba16.tif", samples(4, "u2"), photometric="rgb", extrasamples=["unassalpha"])
for channels, kind in [(1, "u1"), (3, "u1"), (5, "u1"), (5, "u2"), (4, "f4")]:
    array(f"{channels}-{kind}.npy", samples(channels, kind))
array("fortran.npy", np.asfortranarray(samples(5, "u2")))
