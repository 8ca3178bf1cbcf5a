"""Other engines on the networks that Regraft builds, for `cargo xtask bench`, which runs them and Regraft in turn.

usage: bench_peers.py export WORK BATCH FOLDER
       bench_peers.py run ENGINE WORK BATCH THREADS PRECISION FOLDER

`export` writes, with PyTorch's initial weights after manual_seed(0): FOLDER/weights.safetensors, FOLDER/input.npy
(normally distributed pixels), FOLDER/logits.npy (of PyTorch in f32) and FOLDER/model.onnx with a fixed batch.

`run` loads that into ENGINE (torch, onnxruntime, openvino, mnn, ncnn), tries the engine's settings that may be the fastest,
keeps the fastest, and prints one line of JSON: version, setting, the difference of its logits from PyTorch's (relative
L2), peak memory. Then, for every line on its standard input, it runs the input again and again for about a second and
prints {"seconds": median seconds of a batch}.

WORK is a network of torchvision, efficientnet_lite0 (timm), or `encoder`: 6 layers of torch.nn.TransformerEncoderLayer, 384
wide, on sequences of 128. int8 is measured with OpenVINO, quantised after training by NNCF on the input.

Versions: torch 2.15.0, torchvision 0.29.2, timm 1.0.31, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0, openvino 2026.4.1, nncf 3.4.0,
MNN 3.6.1, ncnn 1.0.20261020, pnnx 20261020, safetensors 0.8.0, numpy 2.4.6.
"""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

SECONDS = 1.0
TRIALS = 3


def network(work):
    import torch
    import torchvision

    torch.manual_seed(0)
    if work == "encoder":
        layer = torch.nn.TransformerEncoderLayer(384, 12, 1536, activation="gelu", batch_first=True)
        return torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).eval()
    if work == "efficientnet_lite0":
        import timm

        return timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    arguments = {"aux_logits": False, "init_weights": True} if work == "inception_v3" else {}
    model = getattr(torchvision.models, work)(weights=None, **arguments).eval()
    if work.startswith("vit"):
        # It starts as zero, and logits of zero tell nothing about an engine.
        torch.nn.init.normal_(model.heads.head.weight, std=0.02)
    return model


def input_shape(work, batch):
    if work == "encoder":
        return [batch, 128, 384]
    return [batch, 3, *[299 if work == "inception_v3" else 224] * 2]


def export(work, batch, folder):
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    model = network(work)
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(input_shape(work, batch), generator=generator)
    with torch.no_grad():
        logits = model(image)
        # The fused path of the encoder layer is an operator that ONNX does not have.
        torch.backends.mha.set_fastpath_enabled(False)
        names = {"input_names": ["input"], "output_names": ["logits"]}
        torch.onnx.export(model, image, str(folder / "model.onnx"), dynamo=False, opset_version=17, **names)
    np.save(folder / "input.npy", image.numpy())
    np.save(folder / "logits.npy", logits.numpy())
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    if work == "efficientnet_lite0":
        weights = lite0_names(weights)
    save_file(weights, str(folder / "weights.safetensors"))


def lite0_names(weights):
    """The names of the weights' origin, which Regraft keeps, for timm's."""
    outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    others = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
    blocks = []
    renamed = {}
    for name, tensor in weights.items():
        parts = name.split(".")
        if parts[0] != "blocks":
            renamed[".".join([outer[parts[0]], *parts[1:]])] = tensor
            continue
        block = parts[1:3]
        if block not in blocks:
            blocks.append(block)
        part = (first if block == ["0", "0"] else others)[parts[3]]
        renamed[".".join(["_blocks", str(blocks.index(block)), part, *parts[4:]])] = tensor
    return renamed


def torch_settings(work, batch, threads, precision, folder):
    import torch

    torch.set_num_threads(threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
    image = torch.from_numpy(np.load(folder / "input.npy")).to(dtype)

    def runner(model, image):
        def run():
            with torch.inference_mode():
                return model(image).float().numpy()

        return run

    def plain():
        return runner(network(work).to(dtype), image)

    def channels_last():
        return runner(network(work).to(dtype).to(memory_format=torch.channels_last), image.to(memory_format=torch.channels_last))

    def frozen():
        model = network(work).to(dtype).to(memory_format=torch.channels_last)
        inputs = image.to(memory_format=torch.channels_last)
        with torch.no_grad():
            traced = torch.jit.freeze(torch.jit.trace(model, inputs))
            if precision == "f32":
                traced = torch.jit.optimize_for_inference(traced)
        return runner(traced, inputs)

    settings = {"eager": plain}
    if work != "encoder":
        settings |= {"channels_last": channels_last, "channels_last, frozen": frozen}
    return torch.__version__, settings


def onnxruntime_settings(work, batch, threads, precision, folder):
    import onnxruntime

    assert precision == "f32"
    image = np.load(folder / "input.npy")

    def session():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        model = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        return lambda: model.run(None, {"input": image})[0]

    return onnxruntime.__version__, {"default": session}


def openvino_settings(work, batch, threads, precision, folder):
    import openvino

    image = np.load(folder / "input.npy")
    core = openvino.Core()
    model = core.read_model(str(folder / "model.onnx"))
    if precision == "int8":
        import nncf

        nncf.set_log_level(40)
        data = nncf.Dataset([image[index:index + 1] for index in range(len(image))])
        model.reshape([1, *image.shape[1:]])
        model = nncf.quantize(model, data, subset_size=len(image), preset=nncf.QuantizationPreset.MIXED)
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}

    def latency():
        model.reshape(list(image.shape))
        compiled = core.compile_model(model, "CPU", options | {"PERFORMANCE_HINT": "LATENCY"})
        request = compiled.create_infer_request()
        tensor = openvino.Tensor(image, shared_memory=True)
        return lambda: request.infer({0: tensor}, share_inputs=True, share_outputs=True)[0].copy()

    def streams():
        """One stream a thread, each with its part of the batch."""
        part = len(image) // threads
        model.reshape([part, *image.shape[1:]])
        compiled = core.compile_model(model, "CPU", options | {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": threads})
        requests = [compiled.create_infer_request() for _ in range(threads)]
        tensors = [openvino.Tensor(image[k * part:(k + 1) * part], shared_memory=True) for k in range(threads)]

        def run():
            for request, tensor in zip(requests, tensors):
                request.start_async({0: tensor}, share_inputs=True)
            for request in requests:
                request.wait()
            return np.concatenate([request.get_output_tensor(0).data for request in requests])

        return run

    settings = {"latency": latency}
    if batch % threads == 0 and threads > 1:
        settings["one stream a thread"] = streams
    return openvino.__version__.split("-")[0], settings


def mnn_settings(work, batch, threads, precision, folder):
    import MNN
    import MNN.expr
    import MNN.nn

    image = np.load(folder / "input.npy")
    path = folder / "model.mnn"
    if not path.exists():
        tool(["mnnconvert", "-f", "ONNX", "--modelFile", folder / "model.onnx", "--MNNModel", path, "--bizCode", "bench"])
    four = image.ndim == 4

    def precise(level):
        def module():
            setting = {"backend": "CPU", "precision": level, "numThread": threads}
            runtime = MNN.nn.create_runtime_manager((setting,))
            model = MNN.nn.load_module_from_file(str(path), ["input"], ["logits"], runtime_manager=runtime)
            variable = MNN.expr.const(image, list(image.shape), MNN.expr.NCHW)
            if four:
                variable = MNN.expr.convert(variable, MNN.expr.NC4HW4)

            def run():
                return np.array(MNN.expr.convert(model.forward([variable])[0], MNN.expr.NCHW).read())

            return run

        return module

    levels = {"f32": ["high", "normal"], "bf16": ["low_bf16"]}[precision]
    return MNN.version(), {f"precision {level}": precise(level) for level in levels}


def ncnn_settings(work, batch, threads, precision, folder):
    from concurrent.futures import ThreadPoolExecutor

    import ncnn

    assert precision == "f32"
    image = np.load(folder / "input.npy")
    param, weights = folder / "model.ncnn.param", folder / "model.ncnn.bin"
    if not param.exists():
        shape = ",".join(map(str, [1, *image.shape[1:]]))
        single = folder / "single.onnx"
        batch_of_one(work, single)
        tool(["pnnx", single.name, f"inputshape=[{shape}]", "fp16=0"], cwd=folder)
        os.replace(folder / "single.ncnn.param", param)
        os.replace(folder / "single.ncnn.bin", weights)

    def load(threads):
        net = ncnn.Net()
        option = net.opt
        option.num_threads = threads
        option.use_vulkan_compute = False
        option.use_fp16_packed = option.use_fp16_storage = option.use_fp16_arithmetic = option.use_bf16_storage = False
        net.load_param(str(param))
        net.load_model(str(weights))
        return net

    def one(net, index):
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image[index]))
        return np.array(extractor.extract("out0")[1])

    def together():
        net = load(threads)
        return lambda: np.stack([one(net, index) for index in range(len(image))])

    def side_by_side():
        net, pool = load(1), ThreadPoolExecutor(threads)
        return lambda: np.stack(list(pool.map(lambda index: one(net, index), range(len(image)))))

    settings = {"threads within an image": together}
    if batch > 1 and threads > 1:
        settings["one image a thread"] = side_by_side
    return ncnn.__version__, settings


def batch_of_one(work, path):
    import torch

    with torch.no_grad():
        torch.backends.mha.set_fastpath_enabled(False)
        torch.onnx.export(network(work), torch.zeros(input_shape(work, 1)), str(path), dynamo=False, opset_version=17)


def tool(command, cwd=None):
    """A program that was installed with a package."""
    folder = pathlib.Path(sys.executable).parent
    subprocess.run([folder / command[0], *map(str, command[1:])], cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def seconds_of(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(run):
    seconds, end = [], time.perf_counter() + SECONDS
    while len(seconds) < 3 or time.perf_counter() < end:
        seconds.append(seconds_of(run))
    return statistics.median(seconds)


def serve(engine, work, batch, threads, precision, folder):
    version, settings = globals()[f"{engine}_settings"](work, batch, threads, precision, folder)
    candidates = {}
    for name, prepare in settings.items():
        try:
            run = prepare()
            run()
        except Exception as error:
            print(f"{engine}, {name}: {error}", file=sys.stderr)
            continue
        candidates[name] = (min(seconds_of(run) for _ in range(TRIALS)), run)
    assert candidates, f"{engine}: no setting works"
    name, (_, run) = min(candidates.items(), key=lambda item: item[1][0])
    expected = np.load(folder / "logits.npy").ravel()
    difference = float(np.linalg.norm(run().ravel() - expected) / np.linalg.norm(expected))
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # Libraries print on their own account, so that the answers have a mark.
    answer({"version": version, "setting": name, "difference": difference, "peak_rss_mb": megabytes})
    for _ in sys.stdin:
        answer({"seconds": measure(run)})


def answer(values):
    print("answer " + json.dumps(values), flush=True)


def main():
    command, *rest = sys.argv[1:]
    if command == "export":
        work, batch, folder = rest
        export(work, int(batch), pathlib.Path(folder))
    else:
        engine, work, batch, threads, precision, folder = rest
        serve(engine, work, int(batch), int(threads), precision, pathlib.Path(folder))


main()
