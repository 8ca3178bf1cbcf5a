"""Milliseconds of a training step of a network of torchvision or timm, or of `encoder` or `lstm` (see there), in PyTorch, as
crates/regraft-zoo/examples/train_step.rs measures Regraft's: random weights, softmax cross-entropy, plain gradient descent with a
rate of zero, batch normalisation by the statistics of the batch.

usage: bench_training.py ARCHITECTURE [BATCH] [THREADS] [channels_last | contiguous_format]

`ARCHITECTURE@STAGE`, such as `resnet50@layer3`, trains what stands behind the stage; everything up to it has no gradient, and
batch normalisation there goes by its running statistics.

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
WORDS = 30522


class Classifier(torch.nn.Module):
    """Words, layers over them, and a linear classifier behind the mean over the words."""

    def __init__(self, layers, tokens, features, has_places):
        super().__init__()
        self.words, self.layers = torch.nn.Embedding(WORDS, features), layers
        self.places = torch.nn.Parameter(torch.randn(tokens, features)) if has_places else None
        self.norm = torch.nn.LayerNorm(features, eps=1e-12) if has_places else torch.nn.Identity()
        self.head = torch.nn.Linear(features, 1000)

    def forward(self, tokens):
        values = self.words(tokens)
        values = self.norm(values if self.places is None else values + self.places)
        values = self.layers(values)
        return self.head((values[0] if isinstance(values, tuple) else values).mean(1))


def encoder():
    layer = torch.nn.TransformerEncoderLayer(384, 12, 1536, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True)
    return Classifier(torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False), 128, 384, True)


def lstm():
    return Classifier(torch.nn.LSTM(256, 256, batch_first=True), 64, 256, False)


def freeze(model, stage):
    """Everything up to a child."""
    for name, module in model.named_children():
        module.eval().requires_grad_(False)
        if name == stage:
            return
    raise ValueError(f"no child {stage}")


def network(architecture, memory_format):
    torch.manual_seed(0)
    architecture, _, stage = architecture.partition("@")
    if architecture in SEQUENCES:
        return SEQUENCES[architecture][0]().train()
    builder = getattr(torchvision.models, architecture, None)
    model = (builder(weights=None) if builder else timm.create_model(architecture)).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    if stage:
        freeze(model, stage)
    return model.to(memory_format=memory_format)


"""Networks of words, and their lengths."""
SEQUENCES = {"encoder": (encoder, 128), "lstm": (lstm, 64)}


def inputs(architecture, batch, memory_format):
    if architecture in SEQUENCES:
        return torch.randint(WORDS, (batch, SEQUENCES[architecture][1]))
    size = 299 if architecture == "inception_v3" else 224
    return torch.randn(batch, 3, size, size).to(memory_format=memory_format)


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
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.0)
    images = inputs(architecture, batch, memory_format)
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
