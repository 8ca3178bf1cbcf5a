"""Names, costs, preprocessing, features and logits of the networks that torchvision, timm and PyTorch have and the zoo builds;
CaffeNet is a module of its own here, CRAFT and CRNN, whose "logits" are scores of places, are those of `zoo_text.py`.

Usage: zoo_networks.py OUTPUT_FOLDER                writes the goldens
       zoo_networks.py --names ARCHITECTURE         prints "name shape" of every tensor, to compare with what a test found
Writes:
  networks.json          architecture -> "library"; "tensors": how many the state_dict() has, counters aside; "digest": FNV-1a
                         (64 bits, hexadecimal) of their lines "name [shape]\\n" in the order of their bytes; "parameters": how many
                         numbers are trained; "macs": multiply-accumulates for one image of the published size, as PyTorch
                         counts them; "preprocessing": of torchvision's first weights, or of those that timm loads by default;
                         "variance", "size": of the run below.  "encoder": names and sizes of the encoder
  networks.safetensors   ARCHITECTURE.{features,logits} with 16 classes and the weights of `pipeline_networks.hashed`, for one image
                         of `size` that is a formula too: `unit_numbers("image HEIGHTxWIDTH")` times 4. Of more than 128 numbers
                         every n-th is kept. A network whose logits hardly depend on the image would test nothing, and one that
                         blows rounding up would test the order of sums (EfficientNet-B4 with variance 2: PyTorch's own single
                         precision is off by 5 %). So the weights' variance times their fan-in is the first of VARIANCES for
                         which another image changes the logits by more than 50 times what the tests tolerate, and single
                         precision by less than a quarter of it
  encoder_{first,mean}.npy   torch.nn.TransformerEncoder on embeddings `unit_numbers("embeddings")` times 4: the first token, and
                         the mean over all tokens

The networks run in double precision. `layer_scale` of torchvision's ConvNeXt counts as a vector.
Versions: torch 2.15.0, torchvision 0.29.2, timm 1.0.31, numpy 2.4.6, safetensors 0.8.0. One thread.
"""

import json
import math
import pathlib
import sys
import warnings

import numpy as np
import safetensors.numpy
import timm
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

import zoo_text
from pipeline_networks import fnv1a64, port_names, unit_numbers, with_formula

warnings.filterwarnings("ignore", category=FutureWarning)
torch.set_num_threads(1)

# Per family: architectures, and the layer whose output (or, for "input of", whose input) are the features.
TORCHVISION = [
    ("resnet18 resnet34 resnet50 resnet101 resnet152", "input of fc"),
    ("resnext50_32x4d resnext101_32x8d resnext101_64x4d wide_resnet50_2 wide_resnet101_2", "input of fc"),
    ("alexnet", "classifier.5"),
    ("vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn", "classifier.4"),
    ("squeezenet1_0 squeezenet1_1", "features.12"),
    ("googlenet inception_v3", "input of fc"),
    ("densenet121 densenet161 densenet169 densenet201", "input of classifier"),
    ("mobilenet_v2", "input of classifier"),
    ("mobilenet_v3_small mobilenet_v3_large", "input of classifier.3"),
    ("efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4", "input of classifier"),
    ("regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf", "input of fc"),
    ("convnext_tiny convnext_small convnext_base", "input of classifier.2"),
    ("vit_b_16", "input of heads"),
]
TIMM = [
    ("inception_v4", "input of last_linear"),
    ("mobilenetv2_100 mobilenetv3_small_100 mobilenetv3_large_100", "input of classifier"),
    ("efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4", "input of classifier"),
    ("tf_efficientnet_b0 tf_efficientnet_b1 tf_efficientnet_b2 tf_efficientnet_b3 tf_efficientnet_b4", "input of classifier"),
    ("efficientnet_lite0 tf_efficientnet_lite0 tf_efficientnet_lite1 tf_efficientnet_lite2", "input of classifier"),
    ("tf_efficientnet_lite3 tf_efficientnet_lite4", "input of classifier"),
    ("regnety_004 regnety_008 regnety_008_tv regnety_016 regnety_032", "input of head.fc"),
    ("convnext_tiny convnext_small convnext_base", "input of head.fc"),
    ("vit_tiny_patch16_224 vit_small_patch16_224 vit_base_patch16_224", "input of head"),
    ("deit_tiny_patch16_224 deit_small_patch16_224 deit_base_patch16_224", "input of head"),
    ("vit_small_patch14_dinov2", "input of head"),
]
# EfficientNet-Lite as it was published, with the names of the first port and TensorFlow's preprocessing: pixels and pixels that
# are resized, (x - 127) / 128. The networks are those that timm has under other names.
PORT = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260, "efficientnet-lite3": 280, "efficientnet-lite4": 300}
# Architectures of this name are timm's in the zoo.
BOTH = {name for names, _ in TIMM for name in names.split()}

SIZE = (71, 85)
SIZES = {"inception_v3": (83, 91), "inception_v4": (83, 91), "vit_b_16": (64, 64), "vit_small_patch14_dinov2": (42, 70), "caffenet": (227, 227)}
PATCHES = (48, 80)
VARIANCES = (1, 2, 1.5, 3)
ENCODER = {"layers": 3, "width": 48, "heads": 4, "feed_forward": 80, "tokens": 11}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
SYMMETRIC = {"mean": [0.5] * 3, "std": [0.5] * 3}
LITE = {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}
# What the published weights of these need; torchvision's models reach it by `transform_input`.
TRANSFORMED = {"googlenet", "inception_v3"}


def architectures():
    """Name in the zoo, name in the library, library, features."""
    for names, layer in TORCHVISION:
        for name in names.split():
            yield (f"torchvision/{name}" if name in BOTH else name), name, "torchvision", layer
    for names, layer in TIMM:
        for name in names.split():
            yield name, name, "timm", layer
    for name in PORT:
        yield name, f"tf_{name.replace('-', '_')}", "port", "input of classifier"
    yield "caffenet", "caffenet", "caffe", "relu7"
    for name, (_, _, layer) in zoo_text.NETWORKS.items():
        yield name, name, "text", layer


class CaffeNet(torch.nn.Sequential):
    """Of `bvlc_reference_caffenet/deploy.prototxt`."""

    def __init__(self, num_classes=1000):
        super().__init__()
        channels = 3
        for index, (width, kernel, stride, padding, groups) in enumerate(self.LAYERS, 1):
            self.add_module(f"conv{index}", torch.nn.Conv2d(channels, width, kernel, stride, padding, groups=groups))
            self.add_module(f"relu{index}", torch.nn.ReLU())
            if index in (1, 2, 5):
                self.add_module(f"pool{index}", torch.nn.MaxPool2d(3, 2, ceil_mode=True))
            if index in (1, 2):
                self.add_module(f"norm{index}", torch.nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1))
            channels = width
        self.add_module("flatten", torch.nn.Flatten())
        for index, width in ((6, 256 * 6 * 6), (7, 4096)):
            self.add_module(f"fc{index}", torch.nn.Linear(width, 4096))
            self.add_module(f"relu{index}", torch.nn.ReLU())
        self.fc8 = torch.nn.Linear(4096, num_classes)

    LAYERS = [(96, 11, 4, 0, 1), (256, 5, 1, 2, 2), (384, 3, 1, 1, 1), (384, 3, 1, 1, 2), (256, 3, 1, 1, 2)]


def build(name, library, size=None, **arguments):
    if library == "torchvision":
        if name in TRANSFORMED:
            arguments |= {"aux_logits": False, "init_weights": False}
        if name == "vit_b_16" and size:
            arguments["image_size"] = size[0]
        return getattr(torchvision.models, name)(**arguments)
    if library == "caffe":
        return CaffeNet(**arguments)
    if library == "text":
        return zoo_text.NETWORKS[name][0](**arguments)
    if "patch" in name and size:
        arguments["img_size"] = size
    return timm.create_model(name, **arguments)


def numbers(name, *shape):
    return torch.from_numpy((unit_numbers(name, shape) * 4).astype(np.float32)).double()


def features_and_logits(model, layer, image):
    kept = []
    before = layer.startswith("input of ")
    module = model.get_submodule(layer.removeprefix("input of "))
    hook = module.register_forward_hook(lambda _, inputs, output: kept.append(inputs[0] if before else output))
    logits = model(image)
    hook.remove()
    return kept[0].flatten(), logits.flatten()


def difference(found, expected):
    """Of the largest that is expected."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


def run(zoo_name, name, library, layer):
    usual = PATCHES if "patch16" in name else SIZE
    height, width = size = SIZES.get(name, usual)
    channels = len(preprocessing(zoo_name, name, library)["mean"])
    image, other = numbers(f"image {height}x{width}", 1, channels, *size), numbers("another image", 1, channels, *size)
    for variance in VARIANCES:
        model = build(name, library, size, num_classes=16)
        names = {tensor: tensor for tensor in model.state_dict()}
        if library == "port":
            names = port_names([tensor for tensor in names if not tensor.endswith("num_batches_tracked")])
        model = with_formula(model, variance, names.get)
        features, logits = features_and_logits(model, layer, image)
        change = difference(model(other).flatten(), logits)
        rounding = difference(model.float()(image.float()).flatten(), logits)
        if change > 0.005 and rounding < 0.25e-4:
            break
    print(f"{zoo_name}: variance {variance}, another image {change:.3f}, single precision {rounding:.1e}", flush=True)
    assert change > 0.005 and rounding < 0.25e-4, zoo_name
    parts = {f"{zoo_name}.features": features, f"{zoo_name}.logits": logits}
    return {part: values[:: math.ceil(len(values) / 128)] for part, values in parts.items()}, variance, size


def tensor_lines(model, library):
    tensors = {name: list(tensor.shape) for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    names = port_names(tensors) if library == "port" else {name: name for name in tensors}
    flat = {name: shape[:1] if name.endswith("layer_scale") else shape for name, shape in tensors.items()}
    return sorted(f"{names[name]} {shape}\n" for name, shape in flat.items())


def preprocessing(zoo_name, name, library):
    """As `regraft_graph::Preprocessing` is written, with channels in 0 ... 255."""
    prepared = {"channel_order": "rgb"}
    if library == "caffe":
        exact = {"channel_order": "bgr", "resize": {"exact": [256, 256]}, "filter": "bilinear", "crop": [227, 227]}
        return exact | {"mean": [104.0, 117.0, 123.0], "std": [1.0] * 3}
    if library == "text":
        return zoo_text.PREPROCESSING[name]
    if library == "port":
        side, resized, kernel, pixels = PORT[zoo_name], PORT[zoo_name] + 32, "bicubic", LITE
    elif library == "torchvision":
        first = next(iter(torchvision.models.get_model_weights(name))).transforms()
        assert [first.mean, first.std] == [IMAGENET["mean"], IMAGENET["std"]]
        side, resized, kernel = first.crop_size[0], first.resize_size[0], first.interpolation.value
        pixels = SYMMETRIC if name in TRANSFORMED else IMAGENET
    else:
        config = timm.models.get_pretrained_cfg(name)
        side, kernel = config.input_size[1], config.interpolation
        resized = math.floor(side / config.crop_pct)
        pixels = {"mean": config.mean, "std": config.std}
    pixels = {key: [255 * number for number in numbers] for key, numbers in pixels.items()}
    return prepared | {"resize": {"short_side": resized}, "filter": kernel, "crop": [side, side]} | pixels


def describe(zoo_name, name, library):
    model = build(name, library).eval()
    lines = tensor_lines(model, library)
    prepared = preprocessing(zoo_name, name, library)
    counter = FlopCounterMode(display=False)
    with counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model.to("meta")(torch.zeros(1, len(prepared["mean"]), *prepared["crop"], device="meta"))
    return {
        "library": library,
        "tensors": len(lines),
        "digest": f"{fnv1a64(''.join(lines)):016x}",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "macs": counter.get_total_flops() // 2,
        "preprocessing": prepared,
    }


def encoder(out):
    sizes = ENCODER
    layer = torch.nn.TransformerEncoderLayer(
        sizes["width"], sizes["heads"], sizes["feed_forward"], activation="gelu", batch_first=True
    )
    model = torch.nn.TransformerEncoder(layer, sizes["layers"], enable_nested_tensor=False)
    model = with_formula(model)
    outputs = model(numbers("embeddings", 1, sizes["tokens"], sizes["width"]))
    for name, tensor in (("encoder_first", outputs[:, 0]), ("encoder_mean", outputs.mean(1))):
        np.save(out / f"{name}.npy", tensor.numpy().astype(np.float32))
    tensors = [f"{name} {list(tensor.shape)}" for name, tensor in model.state_dict().items()]
    return {"tensors": tensors, "parameters": sum(p.numel() for p in model.parameters()), **sizes}


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    report, tensors = {}, {}
    for zoo_name, name, library, layer in architectures():
        found, variance, size = run(zoo_name, name, library, layer)
        tensors |= {key: tensor.numpy().astype(np.float32) for key, tensor in found.items()}
        report[zoo_name] = describe(zoo_name, name, library) | {"variance": variance, "size": list(size)}
    report["encoder"] = encoder(out)
    safetensors.numpy.save_file(tensors, out / "networks.safetensors")
    (out / "networks.json").write_text(json.dumps(report, indent=0) + "\n")


if __name__ == "__main__":
    with torch.no_grad():
        if sys.argv[1] == "--names":
            _, name, library, _ = next(row for row in architectures() if row[0] == sys.argv[2])
            print("".join(tensor_lines(build(name, library), library)), end="")
        else:
            main(pathlib.Path(sys.argv[1]))
