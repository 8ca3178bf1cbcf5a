"""Images a second of ONNX Runtime and of the example `throughput` on the same architecture, alternately.

Exports the architecture with random weights from torchvision (ResNet-50) or timm (EfficientNet-Lite0) to ONNX in OUT,
then takes turns: ONNX Runtime with 2 intra-op threads, the example with 2 threads, ROUNDS times; prints both medians
and their ratio. Build the example first: cargo build --release -p regraft-engine --example throughput

usage: engine_throughput.py OUT EXAMPLE [resnet50|efficientnet-lite0] [BATCH] [ROUNDS]
versions: torch 2.15, torchvision, timm, onnxruntime 1.32
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

THREADS, RUNS = 2, 3
out, example = Path(sys.argv[1]), sys.argv[2]
name = sys.argv[3] if len(sys.argv) > 3 else "resnet50"
batch = int(sys.argv[4]) if len(sys.argv) > 4 else 8
rounds = int(sys.argv[5]) if len(sys.argv) > 5 else 5


def export():
    path = out / f"{name}.{batch}.onnx"
    if path.exists():
        return path
    torch.manual_seed(0)
    if name == "resnet50":
        import torchvision

        net = torchvision.models.resnet50(weights=None)
    else:
        import timm

        net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    out.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(net.eval(), torch.randn(batch, 3, 224, 224), str(path), dynamo=False)
    return path


options = ort.SessionOptions()
options.intra_op_num_threads = THREADS
session = ort.InferenceSession(str(export()), options, providers=["CPUExecutionProvider"])
feed = {session.get_inputs()[0].name: np.random.default_rng(0).uniform(-1, 1, (batch, 3, 224, 224)).astype(np.float32)}
session.run(None, feed)


def reference():
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        session.run(None, feed)
        seconds.append(time.perf_counter() - start)
    return batch / statistics.median(seconds)


def ours():
    command = [example, name, str(batch), str(THREADS), str(RUNS)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0])


pairs = [(reference(), ours()) for _ in range(rounds)]
theirs, mine = (statistics.median(column) for column in zip(*pairs))
ratio = statistics.median(m / t for t, m in pairs)
print(f"{name} batch {batch}: ONNX Runtime {theirs:.1f} images/s, engine {mine:.1f} images/s, ratio {ratio:.2f}")
