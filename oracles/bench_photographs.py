"""Files as a camera would write them, for `regraft embed` and the scripts that it is compared with.

usage: bench_photographs.py PHOTOGRAPHS FOLDER COUNT

Random parts of the golden photographs, enlarged to about 500×375, with noise, because enlarged pictures are smoother than
what a camera sees and would be decoded faster. JPEG of quality 95 with halved colours; about 110 kB a file, as in
ImageNet. The same files at every call, none like another.

versions: Pillow 13.0.0, numpy 2.4.6
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = [(500, 375), (500, 333), (375, 500), (500, 400)]
NOISE = 10.0


def photograph(sources, index):
    random = np.random.default_rng(index)
    source = sources[index % len(sources)]
    width, height = SIZES[random.integers(len(SIZES))]
    # The largest part of that shape, and down to 70 % of it.
    scale = min(source.width / width, source.height / height) * random.uniform(0.7, 1.0)
    part = (width * scale, height * scale)
    left, top = (random.uniform(0, whole - length) for whole, length in zip(source.size, part))
    image = source.resize((width, height), Image.Resampling.BICUBIC, (left, top, left + part[0], top + part[1]))
    pixels = np.asarray(image, np.float32) + random.normal(0, NOISE, (height, width, 3))
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def main():
    photographs, folder, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    sources = [Image.open(path).convert("RGB") for path in sorted(photographs.glob("*_444_75.jpg"))]
    for index in range(count):
        photograph(sources, index).save(folder / f"{index:05}.jpg", quality=95, subsampling="4:2:0")


main()
