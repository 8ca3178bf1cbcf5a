"""Throughput of ONNX Runtime on the ResNet-50 whose weights lie in a safetensors file with torchvision's names.

    python bench_onnxruntime.py WEIGHTS.safetensors INPUT.npy THREADS [LOGITS.npy]

Builds the ONNX graph from the names (so that PyTorch is not needed), runs the whole input once to warm up and once on
the clock, in batches of 8, and prints one JSON object: {"images_per_second": …, "seconds": …}. With a fourth argument
it writes the logits, for a comparison of the two engines on the same input.

Run by `cargo xtask bench`, in a virtual environment with numpy 2.4.6, onnx 1.23.2, onnxruntime 1.32.0,
safetensors 0.8.0.
"""
import json
import sys
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

BATCH = 8
DEPTHS = (3, 4, 6, 3)


def build(weights):
    nodes, constants = [], []

    def constant(name):
        constants.append(numpy_helper.from_array(weights[name].astype(np.float32), name))
        return name

    def add(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def conv_norm(wire, conv, norm, kernel, stride):
        out = add("Conv", [wire, constant(f"{conv}.weight")], f"{conv}.out", kernel_shape=[kernel] * 2,
                  strides=[stride] * 2, pads=[kernel // 2] * 4)
        statistics = [constant(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        return add("BatchNormalization", [out, *statistics], f"{norm}.out", epsilon=1e-5)

    def relu(wire):
        return add("Relu", [wire], f"{wire}.relu")

    wire = relu(conv_norm("input", "conv1", "bn1", 7, 2))
    wire = add("MaxPool", [wire], "maxpool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for stage, depth in enumerate(DEPTHS, start=1):
        for block in range(depth):
            name = f"layer{stage}.{block}"
            stride = 2 if block == 0 and stage > 1 else 1
            short = conv_norm(wire, f"{name}.downsample.0", f"{name}.downsample.1", 1, stride) if block == 0 else wire
            wire = relu(conv_norm(wire, f"{name}.conv1", f"{name}.bn1", 1, 1))
            wire = relu(conv_norm(wire, f"{name}.conv2", f"{name}.bn2", 3, stride))
            wire = conv_norm(wire, f"{name}.conv3", f"{name}.bn3", 1, 1)
            wire = relu(add("Add", [wire, short], f"{name}.add"))
    wire = add("Flatten", [add("GlobalAveragePool", [wire], "pool")], "flatten")
    add("Gemm", [wire, constant("fc.weight"), constant("fc.bias")], "logits", transB=1)
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, "H", "W"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])
    graph = helper.make_graph(nodes, "resnet50", [image], [logits], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main():
    weights, tensor, threads = load_file(sys.argv[1]), np.load(sys.argv[2]), int(sys.argv[3])
    model = build(weights)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run():
        starts = range(0, len(tensor), BATCH)
        return np.concatenate([session.run(None, {"input": tensor[start:start + BATCH]})[0] for start in starts])

    logits = run()
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    if len(sys.argv) > 4:
        np.save(sys.argv[4], logits)
    print(json.dumps({"images_per_second": len(tensor) / seconds, "seconds": seconds}))


main()
