"""What several oracles share: PyTorch's container from before 1.6. Writes nothing by itself. Version: torch 2.15.0."""

import io

import torch


def save_legacy(value, path):
    """As torch writes it. The container names storages by their memory addresses, so that the same value gives other bytes
    each time: a file that holds the value already stays as it is."""
    if not path.exists() or content(torch.load(path, weights_only=False)) != content(value):
        torch.save(value, path, _use_new_zipfile_serialization=False)


def content(value):
    """The bytes of the newer container, which depend on nothing but the value; the detour evens out shared strings."""
    for _ in range(2):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        value = torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    return buffer.getvalue()
