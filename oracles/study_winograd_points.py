"""Largest error of F(4x4, 3x3) in single precision, relative to the largest output, for several interpolation points.

Inputs are rectified normal numbers, 40 % of them zero, as behind a ReLU; weights are normal with variance 1 / (9 C).
Prints a table; the engine uses the points with the smallest error that come in pairs of opposite sign, which halve the
transformations.
"""

import numpy as np

SINGLE = np.float32
SETS = {
    "0, ±1, ±2": [0, 1, -1, 2, -2],
    "0, ±1, ±1/2": [0, 1, -1, 0.5, -0.5],
    "0, ±1, 2, -1/2": [0, 1, -1, 2, -0.5],
    "0, ±3/4, ±5/4": [0, 0.75, -0.75, 1.25, -1.25],
    "0, ±√½, ±√2": [0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)],
}


def matrices(points):
    """Aᵀ, G and Bᵀ of the algorithm with these points and infinity."""
    points = np.array(points, dtype=np.float64)

    def powers(columns):
        rows = np.zeros((6, columns))
        rows[:5] = points[:, None] ** np.arange(columns)
        rows[5, columns - 1] = 1
        return rows

    return powers(4).T, powers(3), np.linalg.inv(powers(6)).T


def worst_error(points, channels, trials, random):
    output, weights, inputs = matrices(points)
    scale = 2.0 ** np.round(np.log2(np.abs(inputs).max(axis=1)))
    inputs, weights = inputs / scale[:, None], weights * scale[:, None]
    worst = 0.0
    for _ in range(trials):
        data = np.maximum(random.standard_normal((channels, 6, 6)), 0) + 0.0
        kernel = random.standard_normal((16, channels, 3, 3)) / np.sqrt(9 * channels)
        data, kernel = data.astype(SINGLE), kernel.astype(SINGLE)
        expected = sum(
            np.einsum("kc,cyx->kyx", kernel[:, :, i, j].astype(float), data[:, i : i + 4, j : j + 4].astype(float))
            for i in range(3)
            for j in range(3)
        )
        u = np.einsum("ai,kcij,bj->abkc", weights, kernel.astype(float), weights).astype(SINGLE)
        half = np.einsum("ai,cij->caj", inputs.astype(SINGLE), data)
        v = np.einsum("bj,caj->abc", inputs.astype(SINGLE), half)
        products = np.zeros((6, 6, 16), SINGLE)
        for channel in range(channels):
            products += u[:, :, :, channel] * v[:, :, channel][:, :, None]
        half = np.einsum("ya,abk->ybk", output.astype(SINGLE), products)
        found = np.einsum("xb,ybk->kyx", output.astype(SINGLE), half)
        worst = max(worst, np.abs(found - expected).max() / np.abs(expected).max())
    return worst


for name, points in SETS.items():
    errors = [worst_error(points, channels, 10, np.random.default_rng(0)) for channels in (128, 512)]
    print(f"{name:16} 128 channels {errors[0]:.1e}, 512 channels {errors[1]:.1e}")
