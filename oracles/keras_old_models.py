"""Models in the files of Keras 1 and 2, with what these compute.

Writes into the folder given as the only argument:
  two_*.h5, two_*.keras   whole models and weights of Keras 2 (tf-keras), two_weights.json the description of the latter
  one_*.h5     whole models of Keras 1, whose files h5py writes here as Keras 1.2 did: no such Keras runs today
  expected_old.safetensors   NAME.input and NAME.output of each
Versions: tf-keras 2.21.0 on tensorflow-cpu 2.21.0, h5py 3.14.0, numpy 2.4.6, safetensors 0.8.0.
"""

import json
import os
import pathlib
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import h5py
import numpy as np
import tensorflow as tf
import tf_keras as keras
from safetensors.numpy import save_file
from tf_keras import layers

from keras_archive import rewrite

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(11)
expected = {}


def fill(model):
    for weight in model.weights:
        values = random.normal(0, 0.4, weight.shape)
        if "variance" in weight.name:
            values = random.uniform(0.5, 2, weight.shape)
        weight.assign(values.astype("float32"))


def remember(name, model, inputs):
    expected[f"{name}.input"] = np.ascontiguousarray(inputs, dtype="float32")
    expected[f"{name}.output"] = np.asarray(model(inputs, training=False), dtype="float32")


def image(*shape):
    return random.normal(0, 1, (2, *shape)).astype("float32")


def nested():
    inner = keras.Sequential(
        [
            layers.Conv2D(4, 3, padding="same", input_shape=(6, 6, 3), name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.LeakyReLU(alpha=0.2, name="leaky"),
        ],
        name="inner",
    )
    inner.get_layer("conv").trainable = False
    x = keras.Input((6, 6, 3), name="image")
    y = tf.math.subtract(tf.math.truediv(x, 127.5), 1.0)
    y = inner(y)
    y = layers.Conv2D(3, 1, activation="hard_sigmoid", name="squeeze")(y)
    y = inner(y)
    y = tf.nn.relu(y)
    y = layers.Flatten(name="flatten")(y)
    y = layers.Dense(4, activation=tf.nn.relu6, name="hidden")(y)
    return keras.Model(x, layers.Dense(2, activation="softmax", name="classes")(y), name="nested")


def recurrent():
    return keras.Sequential(
        [
            layers.Embedding(9, 4, input_length=5),
            layers.Bidirectional(
                layers.LSTM(3, return_sequences=True, recurrent_activation="hard_sigmoid"), merge_mode="concat"
            ),
            layers.GRU(4, reset_after=False, recurrent_activation="hard_sigmoid"),
            layers.Dense(2, activation="swish"),
        ],
        name="recurrent",
    )


def plain():
    return keras.Sequential(
        [
            layers.ZeroPadding2D(1, input_shape=(7, 6, 3)),
            layers.Conv2D(4, 3, strides=2, activation="relu"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(scale=False),
            layers.Activation("relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(3),
        ],
        name="plain",
    )


def keras_1(name, channels_first, theano):
    """A sequential model of Keras 1.2: `Convolution2D`, `BatchNormalization`, `Flatten`, `Dense` and their files."""
    order = "th" if channels_first else "tf"
    shape = [None, 3, 6, 5] if channels_first else [None, 6, 5, 3]
    config = [
        {"class_name": "Convolution2D", "config": {
            "name": "convolution2d_1", "trainable": True, "batch_input_shape": shape, "input_dtype": "float32",
            "nb_filter": 4, "nb_row": 3, "nb_col": 2, "border_mode": "same", "subsample": [1, 1], "bias": True,
            "dim_ordering": order, "activation": "relu", "init": "glorot_uniform"}},
        {"class_name": "BatchNormalization", "config": {
            "name": "batchnormalization_1", "trainable": True, "mode": 0, "axis": 1 if channels_first else -1,
            "epsilon": 1e-3, "momentum": 0.99}},
        {"class_name": "MaxPooling2D", "config": {
            "name": "maxpooling2d_1", "pool_size": [2, 2], "strides": [2, 2], "border_mode": "valid", "dim_ordering": order}},
        {"class_name": "Flatten", "config": {"name": "flatten_1", "trainable": True}},
        {"class_name": "Dropout", "config": {"name": "dropout_1", "p": 0.5}},
        {"class_name": "Dense", "config": {
            "name": "dense_1", "output_dim": 3, "activation": "softmax", "bias": True, "input_dim": None}},
    ]
    model = keras.Sequential(
        [
            layers.Conv2D(4, (3, 2), padding="same", activation="relu", input_shape=(6, 5, 3)),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            # Keras 1 flattens what it has, in the order that it has.
            *([layers.Permute((3, 1, 2))] if channels_first else []),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    fill(model)
    weights = [np.asarray(weight) for weight in model.weights]
    order = [weight.name.split("/")[-1].split(":")[0] for weight in model.weights]
    weights = dict(zip(zip(np.repeat(["conv", "norm", "dense"], [2, 4, 2]), order), weights))
    kernel = weights["conv", "kernel"]
    if channels_first:
        kernel = kernel.transpose(3, 2, 0, 1)
    if theano:
        kernel = kernel[:, :, ::-1, ::-1] if channels_first else kernel[::-1, ::-1]
    groups = {
        "convolution2d_1": [("W", kernel), ("b", weights["conv", "bias"])],
        "batchnormalization_1": [
            ("gamma", weights["norm", "gamma"]), ("beta", weights["norm", "beta"]),
            ("running_mean", weights["norm", "moving_mean"]), ("running_std", weights["norm", "moving_variance"])],
        "maxpooling2d_1": [], "flatten_1": [], "dropout_1": [],
        "dense_1": [("W", weights["dense", "kernel"]), ("b", weights["dense", "bias"])],
    }
    with h5py.File(out / f"{name}.h5", "w") as file:
        file.attrs["keras_version"] = b"1.2.2"
        if theano:
            file.attrs["backend"] = b"theano"
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": config}).encode()
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [layer.encode() for layer in groups]
        for layer, tensors in groups.items():
            group = root.create_group(layer)
            names = [f"{layer}_{suffix}".encode() for suffix, _ in tensors]
            group.attrs["weight_names"] = names
            for weight, (_, values) in zip(names, tensors):
                group.create_dataset(weight.decode(), data=np.ascontiguousarray(values))
    inputs = image(6, 5, 3)
    remember(name, model, inputs)
    if channels_first:
        expected[f"{name}.input"] = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))


model = nested()
fill(model)
model.save(out / "two_nested.h5")
model.save(out / "two_nested.keras")
rewrite(out / "two_nested.keras")
remember("two_nested", model, random.uniform(0, 255, (2, 6, 6, 3)).astype("float32"))
model = recurrent()
fill(model)
model.save(out / "two_recurrent.h5")
model.save(out / "two_recurrent.keras")
rewrite(out / "two_recurrent.keras")
remember("two_recurrent", model, random.integers(0, 9, (2, 5)).astype("float32"))
model = plain()
fill(model)
model.save_weights(out / "two_weights.h5")
# Names differ from those of the file, as they do when a program builds a model a second time.
(out / "two_weights.json").write_text(plain().to_json())
remember("two_weights", model, image(7, 6, 3))
keras_1("one_tensorflow", channels_first=False, theano=False)
keras_1("one_channels_first", channels_first=True, theano=False)
keras_1("one_theano", channels_first=True, theano=True)
save_file(dict(sorted(expected.items())), out / "expected_old.safetensors")
