"""Small Keras 3 models that hold every layer which is read, in every kind of file, with what Keras computes.

Writes into the folder given as the only argument:
  NAME.keras, NAME.h5, NAME.weights.h5 with NAME.json   the models, each in one or two kinds of file
  expected.safetensors   for each model NAME.input, NAME.output (a number behind it where there are several); images are
                         batch x height x width x channels, as in Keras
Versions: keras 3.15.1 on tensorflow-cpu 2.21.0, numpy 2.4.6, safetensors 0.8.0.
"""

import os
import pathlib
import sys
import zipfile

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from keras import layers
from safetensors.numpy import save_file

from keras_archive import rewrite

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(7)
expected = {}


def fill(model):
    """Weights that no two layers share, statistics included."""
    for weight in model.weights:
        if "count" in weight.path or "seed" in weight.path:
            continue
        values = random.normal(0, 0.4, weight.shape)
        if "variance" in weight.path:
            values = random.uniform(0.5, 2, weight.shape)
        weight.assign(values.astype("float32"))


def keep(name, model, inputs, kinds, outputs=None):
    fill(model) if outputs is None else None
    if "keras" in kinds:
        model.save(out / f"{name}.keras")
        rewrite(out / f"{name}.keras", zipfile.ZIP_STORED if name == "groups" else zipfile.ZIP_DEFLATED)
    if "h5" in kinds:
        model.save(out / f"{name}.h5")
    if "weights" in kinds:
        model.save_weights(out / f"{name}.weights.h5")
        (out / f"{name}.json").write_text(model.to_json())
    results = outputs if outputs is not None else model(inputs, training=False)
    results = results if isinstance(results, (list, tuple)) else [results]
    expected[f"{name}.input"] = np.ascontiguousarray(inputs, dtype="float32")
    for place, result in enumerate(results):
        key = f"{name}.output" + (str(place) if place else "")
        expected[key] = np.ascontiguousarray(np.asarray(result), dtype="float32")


def image(*shape):
    return random.normal(0, 1, (2, *shape)).astype("float32")


def convolutions():
    x = keras.Input((11, 8, 3))
    y = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.BatchNormalization()(y)
    y = layers.ReLU(6.0)(y)
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="silu")(y)
    y = layers.BatchNormalization(scale=False, epsilon=1e-2)(y)
    y = layers.SeparableConv2D(6, (3, 2), padding="same", use_bias=False)(y)
    y = layers.BatchNormalization(center=False, scale=False)(y)
    y = layers.Conv2D(5, 2, dilation_rate=2, activation="tanh")(y)
    y = layers.Conv2DTranspose(3, 3, strides=2, padding="same")(y)
    y = layers.Conv2DTranspose(2, 2, strides=3, padding="valid")(y)
    y = layers.Conv2DTranspose(4, (5, 3), strides=(2, 1), padding="valid", use_bias=False)(y)
    return keras.Model(x, y, name="convolutions")


def groups():
    """TensorFlow computes no groups on a CPU: two convolutions of half the channels say what comes out."""
    x = keras.Input((6, 5, 4))
    model = keras.Model(x, layers.Conv2D(6, 3, groups=2, padding="same", name="grouped")(x), name="groups")
    fill(model)
    kernel, bias = model.get_layer("grouped").get_weights()
    inputs, halves = image(6, 5, 4), []
    for half in range(2):
        layer = layers.Conv2D(3, 3, padding="same")
        part = inputs[..., 2 * half : 2 * half + 2]
        layer.build(part.shape)
        layer.set_weights([kernel[..., 3 * half : 3 * half + 3], bias[3 * half : 3 * half + 3]])
        halves.append(np.asarray(layer(part)))
    keep("groups", model, inputs, ["keras"], outputs=np.concatenate(halves, axis=-1))


def windows():
    x = keras.Input((9, 10, 3))
    y = layers.ZeroPadding2D(((1, 0), (2, 1)))(x)
    y = layers.MaxPooling2D(3, strides=2, padding="same")(y)
    y = layers.UpSampling2D((2, 3))(y)
    y = layers.AveragePooling2D(3, strides=2, padding="same")(y)
    y = layers.UpSampling2D(2, interpolation="bilinear")(y)
    y = layers.Cropping2D(((1, 2), (0, 3)))(y)
    y = layers.Resizing(5, 14)(y)
    y = layers.AveragePooling2D(2)(y)
    y = layers.CenterCrop(2, 4)(y)
    mean = layers.GlobalAveragePooling2D(keepdims=True)(y)
    most = layers.GlobalMaxPooling2D()(y)
    y = layers.Multiply()([y, mean])
    y = layers.Reshape((-1,))(layers.Flatten()(y))
    return keras.Model(x, layers.Concatenate()([y, most]), name="windows")


def flattened():
    x = keras.Input((6, 5, 3))
    y = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.Flatten()(y)
    y = layers.BatchNormalization()(y)
    y = layers.Dropout(0.5)(y)
    y = layers.Dense(7, activation="relu", name="hidden")(y)
    return keras.Model(x, layers.Dense(3, activation="softmax", name="classes")(y), name="flattened")


def activations():
    x = keras.Input((3, 2, 4))
    functions = [
        "relu", "relu6", "elu", "selu", "gelu", "sigmoid", "hard_sigmoid", "tanh", "silu", "softplus", "softsign",
        "mish", "hard_silu", "exponential", "leaky_relu", "linear", "softmax", "log_softmax",
    ]
    ends = [layers.Activation(function, name=f"as_{function}")(x) for function in functions]
    ends += [
        layers.LeakyReLU(negative_slope=0.1)(x),
        layers.PReLU(shared_axes=[1, 2])(x),
        layers.ELU(alpha=0.7)(x),
        layers.ReLU(max_value=1.0, negative_slope=0.2)(x),
        layers.Softmax()(x),
        layers.Conv2D(4, 1, activation=layers.LeakyReLU(negative_slope=0.3))(x),
        layers.Dense(4, activation="mish")(x),
        layers.LayerNormalization()(x),
        layers.LayerNormalization(center=False, scale=False)(x),
        keras.ops.relu6(x * 2.0 + 0.5),
        1.0 - x,
        keras.ops.maximum(x / 3.0, 0.1),
    ]
    return keras.Model(x, layers.Concatenate()(ends), name="activations")


def merges():
    x = keras.Input((4, 3, 2))
    a = layers.Conv2D(3, 1, name="a")(x)
    b = layers.Conv2D(3, 3, padding="same", name="b")(x)
    squeeze = layers.Dense(3, activation="sigmoid")(layers.GlobalAveragePooling2D()(b))
    ends = [
        layers.Add()([a, b, a]),
        layers.Subtract()([a, b]),
        layers.Multiply()([a, squeeze]),
        layers.Average()([a, b, a]),
        layers.Maximum()([a, b]),
        layers.Minimum()([a, b]),
        layers.Permute((2, 1, 3))(layers.Permute((2, 1, 3))(a)),
    ]
    y = layers.Concatenate(axis=1)([layers.Concatenate()(ends[:4]), layers.Concatenate()(ends[3:])])
    flat = layers.Concatenate()([layers.Flatten()(a), layers.Flatten()(b)])
    dot = layers.Dot(axes=1)([squeeze, layers.Dense(3)(flat)])
    return keras.Model(x, [y, dot], name="merges")


def nested():
    """Models in models: one called twice, one frozen in part, a sequential one, layers of one name in several."""
    inner = keras.Input((6, 6, 3), name="inner_input")
    y = layers.Conv2D(4, 3, padding="same", name="conv")(inner)
    y = layers.BatchNormalization(name="norm")(y)
    branch = keras.Model(inner, layers.ReLU(name="relu")(y), name="branch")
    branch.get_layer("conv").trainable = False
    tail = keras.Sequential(
        [layers.Input((6, 6, 4)), layers.Conv2D(3, 3, padding="same", name="conv"), layers.BatchNormalization(name="norm")],
        name="tail",
    )
    x = keras.Input((6, 6, 3), name="image")
    y = branch(x)
    y = tail(y)
    y = branch(y)
    shared = layers.Dense(5, activation="relu", name="shared")
    pooled = layers.GlobalAveragePooling2D(name="pool")(y)
    y = layers.Add(name="sum")([shared(pooled), shared(layers.Dropout(0.2)(pooled))])
    return keras.Model(x, layers.Dense(2, name="classes")(y), name="nested")


def sequences():
    x = keras.Input((7,), dtype="int32", name="tokens")
    y = layers.Embedding(11, 5)(x)
    y = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(y)
    y = layers.LayerNormalization()(y)
    y = layers.GRU(5, return_sequences=True)(y)
    y = layers.GRU(6, return_sequences=True, reset_after=False)(y)
    y = layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="sum")(y)
    y = layers.TimeDistributed(layers.Dense(4, activation="relu"))(y)
    y = layers.Conv1D(6, 3, padding="same", activation="relu")(y)
    y = layers.Conv1D(5, 2, padding="causal", dilation_rate=2)(y)
    y = layers.MaxPooling1D(2)(y)
    mean = layers.GlobalAveragePooling1D()(y)
    last = layers.LSTM(3, go_backwards=True, use_bias=False)(y)
    both = layers.Bidirectional(layers.LSTM(2), merge_mode="ave")(y)
    repeated = layers.Flatten()(layers.RepeatVector(2)(last))
    return keras.Model(x, layers.Concatenate()([mean, last, both, repeated]), name="sequences")


def rescaled():
    x = keras.Input((8, 8, 3))
    y = layers.RandomFlip("horizontal")(x)
    y = layers.Rescaling(1 / 127.5, offset=-1)(y)
    y = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.25, 0.36, 0.49])(y)
    y = layers.Conv2D(4, 3, strides=2)(y)
    y = layers.Rescaling(0.5)(y)
    y = layers.Flatten()(y)
    return keras.Model(x, layers.Dense(2, activation="sigmoid")(y), name="rescaled")


def reshaped():
    x = keras.Input((4, 3, 6))
    y = layers.Reshape((3, 4, 6))(x)
    y = layers.Conv2D(4, 2)(y)
    y = layers.Permute((3, 1, 2))(y)
    y = layers.Reshape((8, 3))(y)
    y = layers.Dense(5)(y)
    y = layers.Flatten()(y)
    y = layers.Reshape((1, 1, 40))(y)
    y = layers.Conv2D(6, 1, activation="relu")(y)
    return keras.Model(x, layers.Reshape((6,))(y), name="reshaped")


def channels_first():
    """Computed with its channels last, since TensorFlow has no other convolution on a CPU."""
    last = keras.Input((6, 5, 3))

    def body(x, order, axis):
        y = layers.Conv2D(4, 3, padding="same", data_format=order, activation="relu")(x)
        y = layers.BatchNormalization(axis=axis)(y)
        y = layers.MaxPooling2D(2, data_format=order)(y)
        return layers.Dense(3)(layers.Flatten(data_format=order)(y))

    model = keras.Model(last, body(last, "channels_last", -1))
    fill(model)
    text = keras.Model(last, body(last, "channels_last", -1), name="channels_first").to_json()
    text = text.replace("channels_last", "channels_first").replace('"axis": -1', '"axis": 1')
    inputs = image(6, 5, 3)
    model.save_weights(out / "channels_first.weights.h5")
    text = text.replace("[null, 6, 5, 3]", "[null, 3, 6, 5]")
    (out / "channels_first.json").write_text(text)
    expected["channels_first.input"] = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
    expected["channels_first.output"] = np.asarray(model(inputs))


keep("convolutions", convolutions(), image(11, 8, 3), ["keras"])
groups()
keep("windows", windows(), image(9, 10, 3), ["keras"])
keep("flattened", flattened(), image(6, 5, 3), ["h5", "weights"])
keep("activations", activations(), image(3, 2, 4), ["keras"])
keep("merges", merges(), image(4, 3, 2), ["keras"])
keep("nested", nested(), image(6, 6, 3), ["keras", "h5", "weights"])
keep("sequences", sequences(), random.integers(0, 11, (2, 7)), ["keras"])
keep("rescaled", rescaled(), random.uniform(0, 255, (2, 8, 8, 3)).astype("float32"), ["keras"])
keep("reshaped", reshaped(), image(4, 3, 6), ["keras"])
channels_first()
save_file(dict(sorted(expected.items())), out / "expected.safetensors")
