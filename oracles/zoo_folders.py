"""What timm and transformers call the tensors of the networks that the zoo knows, and what transformers computes.

Usage: zoo_folders.py OUTPUT_FOLDER MINILM_FOLDER
Writes:
  timm_names.json    architecture -> SHA-256 of the lines "name [shape]" of its state_dict() with 5 classes, sorted
  transformers.json  model type (or "google" for a ViT in Google's .npz; "bert", and
                     "minilm" for all-MiniLM-L6-v2 with its own weights, have numbers of tokens for an image) -> its config.json, "tensors": "name [shape]" in save_pretrained()'s file, "image": height and
                     width, and what it gives ("logits", or "features" of a bare model) with the weights of
                     `pipeline_networks.hashed` for the image `unit_numbers("image HEIGHTxWIDTH")` times 4

The networks run in double precision. Versions: torch 2.15.0, timm 1.0.31, transformers 5.24.0, safetensors 0.8.0. One thread.
"""

import hashlib
import json
import pathlib
import sys
import tempfile

import numpy as np
import safetensors.torch
import timm
import torch
import transformers

from pipeline_networks import hashed, unit_numbers

torch.set_num_threads(1)
out = pathlib.Path(sys.argv[1])
CLASSES = 5

TIMM = [
    *(f"resnet{depth}" for depth in [18, 34, 50, 101, 152]),
    "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
    *(f"vgg{depth}{norm}" for depth in [11, 13, 16, 19] for norm in ["", "_bn"]),
    "inception_v3", "inception_v4",
    *(f"densenet{depth}" for depth in [121, 161, 169, 201]),
    "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100",
    *(f"efficientnet_b{number}" for number in range(5)), *(f"tf_efficientnet_b{number}" for number in range(5)),
    "efficientnet_lite0", *(f"tf_efficientnet_lite{number}" for number in range(5)),
    "regnety_004", "regnety_008", "regnety_008_tv", "regnety_016", "regnety_032",
    "convnext_tiny", "convnext_small", "convnext_base",
    *(f"vit_{size}_patch16_224" for size in ["tiny", "small", "base"]),
    *(f"deit_{size}_patch16_224" for size in ["tiny", "small", "base"]),
    "vit_small_patch14_dinov2",
]


def digest(architecture):
    state = timm.create_model(architecture, num_classes=CLASSES).state_dict()
    lines = sorted(f"{name} {list(tensor.shape)}\n" for name, tensor in state.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


LABELS = {index: f"label {index}" for index in range(16)}
VIT = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768, "image_size": 96}
DINO = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "image_size": 98}
MODELS = {
    "resnet": (transformers.ResNetForImageClassification, transformers.ResNetConfig(
        depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", id2label=LABELS), (71, 64)),
    "vit": (transformers.ViTForImageClassification, transformers.ViTConfig(**VIT, id2label=LABELS), (96, 96)),
    "dinov2": (transformers.Dinov2Model, transformers.Dinov2Config(**DINO), (98, 98)),
    "convnext": (transformers.ConvNextForImageClassification, transformers.ConvNextConfig(id2label=LABELS), (96, 64)),
    "regnet": (transformers.RegNetForImageClassification, transformers.RegNetConfig(
        embedding_size=32, depths=[1, 3, 6, 6], hidden_sizes=[48, 104, 208, 440], groups_width=8, layer_type="y",
        id2label=LABELS), (71, 64)),
    "mobilenet_v2": (transformers.MobileNetV2ForImageClassification, transformers.MobileNetV2Config(id2label=LABELS), (71, 96)),
}


def reference(kind, config, size):
    model = kind(config)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model.save_pretrained(folder)
        with safetensors.safe_open(folder / "model.safetensors", "pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
        weights = {
            name: torch.tensor(0) if name.endswith("num_batches_tracked") else hashed(name, shape).float().contiguous()
            for name, shape in shapes.items()
        }
        safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        model, report = kind.from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"], report
        config = json.loads((folder / "config.json").read_text())
    model = model.double().eval()
    height, width = size

    def run(name):
        numbers = unit_numbers(name, (1, 3, height, width)) * 4
        output = model(torch.from_numpy(numbers.astype(np.float32)).double())
        return output.logits if hasattr(output, "logits") else output.last_hidden_state[:, 0]

    output, other = run(f"image {height}x{width}"), run("another image")
    change = ((other - output).abs().max() / output.abs().max()).item()
    print(f"{kind.__name__}: another image changes the output by {change:.3f} of the largest")
    assert change > 0.005, "50 times what the tests tolerate"
    kind = "logits" if "classifier.weight" in shapes or "classifier.1.weight" in shapes else "features"
    return {
        "config": config,
        "tensors": [f"{name} {list(shape)}" for name, shape in shapes.items()],
        "image": list(size),
        kind: [float(f"{value:.8g}") for value in output[0].tolist()],
    }


BERT = {"vocab_size": 100, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
        "max_position_embeddings": 40}


def bert():
    """A small BERT, its mean over the tokens 3, 10, 17 ...; its table of segments has one row that is used."""
    model = transformers.BertModel(transformers.BertConfig(**BERT), add_pooling_layer=False)
    state = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    model.load_state_dict({name: hashed(name, tensor.shape) for name, tensor in state.items()}, strict=False)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        config = json.loads((pathlib.Path(folder) / "config.json").read_text())
        with safetensors.safe_open(f"{folder}/model.safetensors", "pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
    tokens = torch.arange(11) * 7 + 3
    output = model.double().eval()(tokens[None]).last_hidden_state.mean(1)
    return {
        "config": config,
        "tensors": [f"{name} {list(shape)}" for name, shape in shapes.items()],
        "tokens": tokens.tolist(),
        "features": [float(f"{value:.8g}") for value in output[0].tolist()],
    }


def minilm(folder):
    """all-MiniLM-L6-v2: the mean over the tokens of "this is an input", with its marks of beginning and end."""
    tokens = [101, 2023, 2003, 2019, 7953, 102]
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).double().eval()
    output = model(torch.tensor([tokens])).last_hidden_state.mean(1)
    return {"tokens": tokens, "features": [float(f"{value:.8g}") for value in output[0].tolist()]}


def google(width=192, layers=12, heads=3, side=6, classes=16):
    """ViT-Ti/16 for images of 96 x 96 in the names and layouts of Google's .npz files, as timm reads them."""
    shapes = {
        "cls": (1, 1, width),
        "embedding/kernel": (16, 16, 3, width), "embedding/bias": (width,),
        "Transformer/posembed_input/pos_embedding": (1, side * side + 1, width),
        "Transformer/encoder_norm/scale": (width,), "Transformer/encoder_norm/bias": (width,),
        "head/kernel": (width, classes), "head/bias": (classes,),
    }
    for index in range(layers):
        block = f"Transformer/encoderblock_{index}"
        for norm in ["LayerNorm_0", "LayerNorm_2"]:
            shapes |= {f"{block}/{norm}/scale": (width,), f"{block}/{norm}/bias": (width,)}
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ["query", "key", "value"]:
            shapes |= {f"{attention}/{part}/kernel": (width, heads, width // heads), f"{attention}/{part}/bias": (heads, width // heads)}
        shapes |= {f"{attention}/out/kernel": (heads, width // heads, width), f"{attention}/out/bias": (width,)}
        for number, sizes in enumerate([(width, 4 * width), (4 * width, width)]):
            dense = f"{block}/MlpBlock_3/Dense_{number}"
            shapes |= {f"{dense}/kernel": sizes, f"{dense}/bias": sizes[1:]}
    model = timm.create_model("vit_tiny_patch16_224", img_size=16 * side, num_classes=classes)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/vit.npz"
        np.savez(path, **{name: hashed(name, shape).numpy() for name, shape in shapes.items()})
        model.load_pretrained(path)
    numbers = unit_numbers(f"image {16 * side}x{16 * side}", (1, 3, 16 * side, 16 * side)) * 4
    output = model.double().eval()(torch.from_numpy(numbers.astype(np.float32)).double())
    return {
        "tensors": [f"{name} {list(shape)}" for name, shape in shapes.items()],
        "image": [16 * side] * 2,
        "logits": [float(f"{value:.8g}") for value in output[0].tolist()],
    }


with torch.no_grad():
    (out / "timm_names.json").write_text(json.dumps({name: digest(name) for name in TIMM}, indent=0) + "\n")
    references = {name: reference(*arguments) for name, arguments in MODELS.items()}
    references |= {"google": google(), "bert": bert(), "minilm": minilm(sys.argv[2])}
    (out / "transformers.json").write_text(json.dumps(references) + "\n")
