"""The image that `regraft zoo verify` shows every model, by the formula of `crates/regraft-zoo/src/fingerprint.rs`, which is written
down a second time here. Writes nothing.

Versions: numpy 2.4.6.
"""

import numpy as np


def image():
    y, x = np.mgrid[:256, :320]
    squared = (x - 130) ** 2 + (y - 110) ** 2
    inner = np.stack(np.broadcast_arrays(40, 25, 20, x)[:3], -1)
    ring = np.stack(np.broadcast_arrays(235, 150 + squared // 80, 35 + y // 4), -1)
    stripes = np.stack(np.broadcast_arrays(60 + 90 * (x // 6 % 2), 110 + (x * 7 + y * 3) % 40, 30), -1)
    sky = np.stack([70 + x // 8, 130 + y // 3, 230 - y // 4], -1)
    pixels = np.where((y > 190)[..., None], stripes, sky)
    pixels = np.where((squared < 6400)[..., None], ring, pixels)
    pixels = np.where((squared < 900)[..., None], inner, pixels)
    return np.minimum(pixels, 255).astype(np.uint8)
