"""Small TensorFlow.js models as its converter writes them, with what TensorFlow computes with their weights.

Writes into the folder given as the only argument:
  layers_KIND/, graph_KIND/   model.json and shards of 1,000 bytes; KIND says how weights are stored: float32, float16,
                              uint16, uint8
  expected.safetensors        layers_KIND.output, graph_KIND.output, and the input of each
The converter itself (tensorflowjs 4.22) does not install beside this TensorFlow; the layout is that of its documentation.
Versions: tf-keras 2.21.0 on tensorflow-cpu 2.21.0, numpy 2.4.6, safetensors 0.8.0.
"""

import json
import os
import pathlib
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras
from google.protobuf import json_format
from safetensors.numpy import save_file
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tf_keras import layers

out = pathlib.Path(sys.argv[1])
random = np.random.default_rng(5)
expected = {}


def write(folder, header, weights, kind):
    """Writes a model and returns its weights as they come back from the shards."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest, content, back = [], b"", {}
    for name, values in weights.items():
        entry = {"name": name, "shape": list(values.shape), "dtype": str(values.dtype)}
        stored = values
        if kind == "float16" and values.dtype == np.float32:
            stored = values.astype("float16")
            entry["quantization"] = {"dtype": kind, "original_dtype": "float32"}
            back[name] = stored.astype("float32")
        elif kind in ("uint8", "uint16") and values.dtype == np.float32:
            low, high = float(values.min()), float(values.max())
            scale = (high - low) / np.iinfo(kind).max or 1.0
            stored = np.round((values - low) / scale).astype(kind)
            entry["quantization"] = {"min": low, "scale": scale, "dtype": kind, "original_dtype": "float32"}
            back[name] = (stored.astype("float64") * scale + low).astype("float32")
        else:
            back[name] = values
        manifest.append(entry)
        content += stored.tobytes()
    pieces = [content[start : start + 1000] for start in range(0, len(content), 1000)]
    paths = [f"group1-shard{place}of{len(pieces)}.bin" for place in range(1, len(pieces) + 1)]
    for path, piece in zip(paths, pieces):
        (folder / path).write_bytes(piece)
    manifest = [{"paths": paths, "weights": manifest}]
    (folder / "model.json").write_text(json.dumps({**header, "weightsManifest": manifest}))
    return back


def layers_model(kind):
    inner = tf_keras.Sequential(
        [layers.DepthwiseConv2D(3, padding="same", name="dw", input_shape=(6, 5, 4)), layers.ReLU(6.0, name="six")],
        name="inner",
    )
    x = tf_keras.Input((6, 5, 3), name="image")
    y = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    y = layers.BatchNormalization(name="norm")(y)
    y = inner(y)
    y = layers.Flatten(name="flatten")(y)
    y = layers.Dense(3, activation="softmax", name="classes")(y)
    model = tf_keras.Model(x, y, name="small")
    inputs = random.normal(0, 1, (2, 6, 5, 3)).astype("float32")
    # Sorted, as the converter leaves them: the order says nothing.
    weights = {}
    for weight in sorted(model.weights, key=lambda weight: weight.name):
        scale = random.uniform(0.5, 2, weight.shape) if "variance" in weight.name else random.normal(0, 0.4, weight.shape)
        weights[weight.name.split(":")[0]] = scale.astype("float32")
    topology = {
        "keras_version": "2.15.0", "backend": "tensorflow",
        "model_config": {"class_name": "Functional", "config": model.get_config()},
    }
    topology = json.loads(json.dumps(topology, default=lambda value: value.as_list()))
    header = {"format": "layers-model", "generatedBy": "keras v2.15.0", "modelTopology": topology}
    back = write(out / f"layers_{kind}", header, weights, kind)
    for weight in model.weights:
        weight.assign(back[weight.name.split(":")[0]])
    expected[f"layers_{kind}.input"] = inputs
    expected[f"layers_{kind}.output"] = np.asarray(model(inputs, training=False))


def graph_model(kind):
    def constant(*shape, scale=0.4):
        return tf.Variable(random.normal(0, scale, shape).astype("float32"))

    kernels = [constant(3, 3, 3, 4), constant(2, 3, 4, 2), constant(1, 1, 8, 5)]
    vectors = [constant(4), constant(8), constant(5), constant(3)]
    statistics = [constant(4), constant(4), constant(4), tf.Variable(random.uniform(0.5, 2, 4).astype("float32"))]
    dense = constant(5 * 4 * 10, 3)

    @tf.function(input_signature=[tf.TensorSpec((None, 9, 8, 3), tf.float32, name="input")])
    def network(x):
        y = tf.subtract(tf.multiply(x, 2.0 / 255), 1.0)
        y = tf.nn.relu6(tf.nn.bias_add(tf.nn.conv2d(y, kernels[0], 2, "SAME"), vectors[0]))
        y, _, _ = tf.compat.v1.nn.fused_batch_norm(y, *statistics, epsilon=1e-3, is_training=False)
        y = tf.nn.depthwise_conv2d(y, kernels[1], [1, 1, 1, 1], "SAME") * vectors[1]
        y = tf.nn.leaky_relu(y, 0.1)
        y = tf.nn.conv2d(tf.pad(y, [[0, 0], [1, 0], [1, 1], [0, 0]]), kernels[2], 1, "VALID") + vectors[2]
        y = tf.nn.elu(y)
        big = tf.image.resize(y, [12, 12], "nearest")
        big = tf.nn.max_pool2d(big, 2, 2, "SAME")
        y = tf.image.resize(y, [6, 6], "bilinear")
        y = tf.concat([y, tf.nn.avg_pool2d(big, 3, 1, "SAME"), tf.maximum(y, 0.1)], axis=3)
        y = tf.transpose(tf.transpose(y, [0, 3, 1, 2]), [0, 2, 3, 1])
        mean = tf.reduce_mean(y, [1, 2], keepdims=True)
        y = y * tf.sigmoid(mean) - tf.tanh(y)
        y = y[:, 1:, :-1, :]
        y = tf.nn.avg_pool2d(y, [1, 2], [1, 1], "VALID")
        y = tf.nn.conv2d(y, tf.reshape(tf.tile([[1.0, 0.5]], [15, 5]), [1, 1, 15, 10]), 1, "VALID")
        flat = tf.reshape(y, [-1, 5 * 4 * 10])
        squeezed = tf.squeeze(tf.reduce_max(y, [1, 2], keepdims=True), [1, 2])
        logits = tf.matmul(flat, dense) + vectors[3]
        return tf.nn.softmax(logits * tf.sigmoid(tf.reduce_sum(squeezed, 1, keepdims=True) / 10.0))

    frozen = convert_variables_to_constants_v2(network.get_concrete_function())
    graph = frozen.graph.as_graph_def()
    # The converter folds what only needs constants and drops slices of everything.
    options = tf.compat.v1.ConfigProto()
    meta = tf.compat.v1.train.export_meta_graph(graph_def=graph, graph=frozen.graph)
    fetches = tf.compat.v1.MetaGraphDef.FromString(meta.SerializeToString())
    collection = fetches.collection_def["train_op"]
    collection.node_list.value.append("Identity")
    from tensorflow.python.grappler import tf_optimizer

    rewriter = options.graph_options.rewrite_options
    rewriter.optimizers[:] = ["constfold", "arithmetic", "dependency", "pruning"]
    rewriter.meta_optimizer_iterations = 1
    graph = tf_optimizer.OptimizeGraph(options, fetches)
    weights = {}
    for node in graph.node:
        if node.op == "Const":
            weights[node.name] = tf.make_ndarray(node.attr["value"].tensor)
            node.attr["value"].tensor.ClearField("tensor_content")
            for field in ["float_val", "int_val", "int64_val"]:
                node.attr["value"].tensor.ClearField(field)
    topology = json_format.MessageToDict(graph)
    header = {
        "format": "graph-model", "generatedBy": "2.21.0",
        "signature": {
            "inputs": {"input": {"name": "input:0", "dtype": "DT_FLOAT", "tensorShape": {
                "dim": [{"size": size} for size in ["-1", "9", "8", "3"]]}}},
            "outputs": {"output": {"name": "Identity:0", "dtype": "DT_FLOAT"}}},
        "modelTopology": {"node": topology["node"], "versions": {"producer": 1}},
    }
    back = write(out / f"graph_{kind}", header, weights, kind)
    for node in graph.node:
        if node.op == "Const":
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(back[node.name]))
    function = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
    inputs = random.uniform(0, 255, (2, 9, 8, 3)).astype("float32")
    expected[f"graph_{kind}.input"] = inputs
    expected[f"graph_{kind}.output"] = np.asarray(function.prune("input:0", "Identity:0")(tf.constant(inputs)))


for kind in ["float32", "float16", "uint16", "uint8"]:
    layers_model(kind)
for kind in ["float32", "uint8"]:
    graph_model(kind)
save_file({name: np.ascontiguousarray(values) for name, values in sorted(expected.items())}, out / "expected.safetensors")
for name, values in expected.items():
    print(name, values.shape, values.ravel()[:4])
