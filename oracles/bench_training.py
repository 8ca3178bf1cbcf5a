"""Milliseconds of a training step of a network of torchvision or timm in PyTorch, as crates/regraft-zoo/examples/train_step.rs
measures Regraft's: random weights, softmax cross-entropy, plain gradient descent with a rate of zero, batch normalisation by the
statistics of the batch.

usage: bench_training.py ARCHITECTURE [BATCH] [THREADS] [channels_last | contiguous_format]

Prints a line of JSON with the median over the steps behind the first ones, eager, and the peak memory so far, for the memory format
or for both. Dropout is left out on both sides.

Versions: torch 2.15.0, torchvision 0.29.2, timm 1.0.31.
"""

import json

import resource
import statistics
import sys
import time

import timm
import torch
import torchvision

WARM_UP = 2
STEPS = 7


def network(architecture, memory_format):
    torch.manual_seed(0)
    builder = getattr(torchvision.models, architecture, None)
    model = (builder(weights=None) if builder else timm.create_model(architecture)).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    return model.to(memory_format=memory_format)


def step(model, optimizer, images, classes):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), classes).backward()
    optimizer.step()


def milliseconds(run):
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def measure(architecture, batch, memory_format):
    model = network(architecture, memory_format)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    size = 299 if architecture == "inception_v3" else 224
    images = torch.randn(batch, 3, size, size).to(memory_format=memory_format)
    classes = torch.arange(batch) % 1000
    times = [milliseconds(lambda: step(model, optimizer, images, classes)) for _ in range(WARM_UP + STEPS)]
    return statistics.median(times[WARM_UP:])


def main():
    architecture, batch, threads = (sys.argv[1:4] + ["16", "2"][max(len(sys.argv) - 2, 0) :])[:3]
    torch.set_num_threads(int(threads))
    for memory_format in sys.argv[4:] or ("channels_last", "contiguous_format"):
        median = measure(architecture, int(batch), getattr(torch, memory_format))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"format": memory_format, "milliseconds": round(median, 3), "peak_mb": round(peak, 1)}), flush=True)


if __name__ == "__main__":
    main()
