"""Writes what timm makes of weights for other input channels and sizes.

Usage: python graph_input.py crates/regraft-graph/tests/golden
Versions: timm 1.0.31, torch 2.15.

`input.json` holds under `channels` the weight of a convolution from 3 channels (2 × 3 × 2 × 3) and, for each number of
channels, what `adapt_input_conv` makes of it; under `positions` a position embedding (tokens × 3) with its number of
prefix tokens and its grid, and for each other grid what `resample_abs_pos_embed` makes of it.
"""

import json
import pathlib
import sys

import torch
from timm.layers import resample_abs_pos_embed
from timm.models._manipulate import adapt_input_conv

OUTPUT = pathlib.Path(sys.argv[1])
OUTPUT.mkdir(parents=True, exist_ok=True)
GRIDS = [(4, 4), (6, 6), (2, 2), (1, 1), (3, 5), (7, 2), (13, 11)]


def values(tensor):
    return [float(f"{value:.9g}") for value in tensor.flatten().tolist()]


def channels(random):
    weight = torch.randn(2, 3, 2, 3, generator=random)
    adapted = {count: values(adapt_input_conv(count, weight.clone())) for count in (1, 2, 4, 5, 6, 7)}
    return {"weight": values(weight), "adapted": adapted}


def positions(random, prefix):
    embedding = torch.randn(1, prefix + 16, 3, generator=random)
    resampled = [
        {"grid": grid, "values": values(resample_abs_pos_embed(embedding, list(grid), (4, 4), prefix))}
        for grid in GRIDS
    ]
    return {"prefix": prefix, "grid": [4, 4], "values": values(embedding), "resampled": resampled}


random = torch.Generator().manual_seed(4)
result = {"channels": channels(random), "positions": [positions(random, prefix) for prefix in (0, 1, 2)]}
(OUTPUT / "input.json").write_text(json.dumps(result) + "\n")
