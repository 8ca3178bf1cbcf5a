"""Features of a folder of images by the script that one would write with a peer, as a measure for `regraft embed`.

    python bench_embed.py torch|onnxruntime|openvino FOLDER [--weights FILE.safetensors] [--threads 2] [--workers 2]
                          [--batch 32] [--hint latency|throughput] [--out FEATURES.npy]

A DataLoader with worker processes opens, resizes and normalises as torchvision's ResNet-50 wants it; the engine computes
the 2048 features. Weights are torchvision's by name from the file, else random. The clock runs from the first file to the
last row; building, exporting and compiling the network do not count, and one batch of zeros goes before.

Prints one JSON object:
    version, images, seconds, images_per_second
    peak_rss_mb               largest resident set of this process, of which the engine's script is the whole
    peak_rss_mb_with_workers  largest sum of the proportional sets of this process and its workers, sampled 4 times a second

versions: torch 2.15.0, torchvision 0.29.2, onnxruntime 1.32.0, openvino 2026.4.1, Pillow 13.0.0
"""

import argparse
import json
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision import transforms

SIZE = 224


class Files(torch.utils.data.Dataset):
    def __init__(self, folder):
        self.paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        self.prepare = transforms.Compose([
            transforms.Resize(256),
            transforms.CenterCrop(SIZE),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ])

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.prepare(Image.open(self.paths[index]).convert("RGB"))


def network(weights):
    torch.manual_seed(0)
    net = torchvision.models.resnet50(weights=None)
    if weights:
        from safetensors.torch import load_file

        net.load_state_dict(load_file(weights), strict=False)
    net.fc = torch.nn.Identity()
    return net.eval()


def with_torch(net, options):
    net = net.to(memory_format=torch.channels_last)
    net = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, torch.zeros(1, 3, SIZE, SIZE))))

    def run(batch):
        with torch.inference_mode():
            return net(batch.to(memory_format=torch.channels_last)).numpy()

    return run


def with_onnxruntime(net, options):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/net.onnx"
        torch.onnx.export(net, torch.zeros(1, 3, SIZE, SIZE), path, dynamo=False, input_names=["input"],
                          dynamic_axes={"input": {0: "n"}})
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"input": batch.numpy()})[0]


def with_openvino(net, options):
    import openvino

    model = openvino.convert_model(net, example_input=torch.zeros(1, 3, SIZE, SIZE), input=[-1, 3, SIZE, SIZE])
    settings = {"INFERENCE_NUM_THREADS": options.threads, "INFERENCE_PRECISION_HINT": "f32"}

    def whole():
        compiled = openvino.Core().compile_model(model, "CPU", settings | {"PERFORMANCE_HINT": "LATENCY"})
        return lambda batch: compiled(batch.numpy())[0].copy()

    def in_parts():
        streams = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": options.threads}
        compiled = openvino.Core().compile_model(model, "CPU", settings | streams)
        requests = [compiled.create_infer_request() for _ in range(options.threads)]

        def run(batch):
            parts = np.array_split(batch.numpy(), options.threads)
            for request, part in zip(requests, parts):
                request.start_async({0: part})
            for request in requests:
                request.wait()
            return np.concatenate([request.get_output_tensor(0).data[:len(part)].copy()
                                   for request, part in zip(requests, parts)])

        return run

    return {"latency": whole, "throughput": in_parts}[options.hint]()


def proportional_set(process):
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def workers():
    tasks = Path("/proc/self/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


def watch(stop, peak):
    while not stop.wait(0.25):
        peak[0] = max(peak[0], sum(map(proportional_set, ["self", *workers()])))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=["torch", "onnxruntime", "openvino"])
    parser.add_argument("folder")
    parser.add_argument("--weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--hint", choices=["latency", "throughput"], default="latency", help="OpenVINO's: one stream, or one a thread")
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = globals()[f"with_{options.engine}"](network(options.weights), options)
    files = Files(options.folder)
    loader = torch.utils.data.DataLoader(files, options.batch, num_workers=options.workers)
    run(torch.zeros(min(options.batch, len(files)), 3, SIZE, SIZE))

    stop, peak = threading.Event(), [0]
    watcher = threading.Thread(target=watch, args=(stop, peak))
    watcher.start()
    start = time.perf_counter()
    features = np.concatenate([run(batch) for batch in loader])
    seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    if options.out:
        np.save(options.out, features)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({
        "version": __import__(options.engine).__version__.split("-")[0],
        "images": len(features),
        "seconds": seconds,
        "images_per_second": len(features) / seconds,
        "peak_rss_mb": own / 1024,
        "peak_rss_mb_with_workers": max(peak[0], own) / 1024,
    }))


main()
