"""What transformers computes, and how it prepares images, where a folder sets something differently from the architecture.

Usage: zoo_settings.py OUTPUT_FOLDER TRANSFORMERS_JSON
Reads `transformers.json` of `zoo_folders.py`. Writes:
  settings.json    "bases": more networks as there; "cases": for a network ("base") with "changes" to its config.json (null
                   takes a field out), what it gives for the same image or tokens, with the same weights
  processors.json  for settings of an image processor: what becomes of "black" and "white" pixels in each channel,
                   "resized": height and width to which it brings an image of 300 x 200 (null: it does not),
                   "bicubic": the filter, "shape": of what it gives, "one_size": whether that is so for every image

The networks run in double precision. Versions: torch 2.15.0, torchvision 0.29.2, transformers 5.24.0, safetensors 0.8.0.
One thread.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import safetensors.torch
import torch
import transformers
from PIL import Image

from pipeline_networks import hashed, unit_numbers

torch.set_num_threads(1)
known = json.loads(pathlib.Path(sys.argv[2]).read_text())
out = pathlib.Path(sys.argv[1])

LABELS = {index: f"label {index}" for index in range(16)}
BASES = {
    "resnet50": (transformers.ResNetForImageClassification(transformers.ResNetConfig(id2label=LABELS)), [71, 64]),
    "dinov2_classifier": (
        transformers.Dinov2ForImageClassification(
            transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=98, id2label=LABELS)
        ),
        [98, 98],
    ),
}
ACTIVATIONS = ["gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh",
               "relu", "relu6", "leaky_relu", "silu", "swish", "hardswish", "sigmoid", "tanh"]
CASES = [
    # The second says nothing to blocks of two convolutions.
    ("resnet", {"hidden_act": "gelu", "downsample_in_bottleneck": True}),
    ("resnet50", {"hidden_act": "silu", "downsample_in_bottleneck": True}),
    ("resnet50", {"downsample_in_first_stage": True}),
    ("vit", {"num_attention_heads": None}),
    ("vit", {"hidden_act": "relu", "num_attention_heads": 6, "layer_norm_eps": 0.5}),
    ("dinov2", {"hidden_act": "silu", "num_attention_heads": 4, "layer_norm_eps": 0.25}),
    ("dinov2_classifier", {}),
    ("convnext", {"hidden_act": "relu", "layer_norm_eps": 0.5}),
    ("regnet", {"hidden_act": "leaky_relu", "downsample_in_first_stage": False}),
    ("mobilenet_v2", {"hidden_act": "hardswish"}),
    ("mobilenet_v2", {"layer_norm_eps": 0.5}),
    ("mobilenet_v2", {"tf_padding": False}),
    ("mobilenet_v2", {"output_stride": 16}),
    ("mobilenet_v2", {"output_stride": 8}),
    ("mobilenet_v2", {"output_stride": 4, "tf_padding": False}),
    *(("bert", {"hidden_act": name}) for name in ACTIVATIONS),
    ("bert", {"layer_norm_eps": 0.5}),
]


def described(model, image):
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with safetensors.safe_open(f"{folder}/model.safetensors", "pt") as file:
            tensors = [f"{name} {list(file.get_slice(name).get_shape())}" for name in file.keys()]
        config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    return {"config": config, "tensors": tensors, "image": image}


def weights(base):
    named = (line.split(" ", 1) for line in base["tensors"])
    return {
        name: torch.tensor(0) if name.endswith("num_batches_tracked")
        else hashed(name, json.loads(shape)).float().contiguous()
        for name, shape in named
    }


def output(base, changes):
    config = base["config"] | changes
    config = {key: value for key, value in config.items() if value is not None}
    kind = getattr(transformers, config["architectures"][0])
    options = {"add_pooling_layer": False} if config["model_type"] == "bert" else {}
    with tempfile.TemporaryDirectory() as folder:
        safetensors.torch.save_file(weights(base), f"{folder}/model.safetensors", metadata={"format": "pt"})
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(config))
        model, report = kind.from_pretrained(folder, output_loading_info=True, **options)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    model = getattr(model, "dinov2", model).double().eval()
    if "tokens" in base:
        return model(torch.tensor([base["tokens"]])).last_hidden_state.mean(1)[0]
    height, width = base["image"]
    image = (unit_numbers(f"image {height}x{width}", (1, 3, height, width)) * 4).astype(np.float32)
    result = model(torch.from_numpy(image).double())
    return (result.logits if hasattr(result, "logits") else result.last_hidden_state[:, 0])[0]


def cases(bases):
    usual = {name: output(bases[name], {}) for name, _ in CASES}
    for name, changes in CASES:
        values = output(bases[name], changes)
        difference = ((values - usual[name]).abs().max() / values.abs().max()).item()
        print(f"{name} {changes}: {difference:.2g} from the usual")
        yield {"base": name, "changes": changes, "output": [float(f"{value:.8g}") for value in values.tolist()]}


PROCESSORS = [
    *({"image_processor_type": f"{name}ImageProcessor"} for name in
      ["ViT", "DeiT", "Bit", "CLIP", "ConvNext", "MobileNetV1", "MobileNetV2"]),
    {"image_processor_type": "ViTImageProcessor", "do_normalize": False},
    {"image_processor_type": "ViTImageProcessor", "do_rescale": False, "image_mean": [100, 110, 120], "image_std": [60, 50, 40]},
    {"image_processor_type": "ViTImageProcessor", "do_rescale": False, "do_normalize": False},
    {"image_processor_type": "ViTImageProcessor", "rescale_factor": 1 / 127.5},
    {"image_processor_type": "ViTImageProcessor", "rescale_factor": 1 / 127.5, "do_normalize": False},
    {"image_processor_type": "ViTImageProcessor", "size": 96},
    {"image_processor_type": "ViTImageProcessor", "size": {"height": 64, "width": 96}, "do_center_crop": True,
     "crop_size": {"height": 48, "width": 32}},
    {"image_processor_type": "BitImageProcessor", "do_rescale": None, "do_normalize": None, "do_center_crop": None, "size": 96},
    {"image_processor_type": "ViTImageProcessorFast", "resample": 3, "do_center_crop": None, "crop_size": None},
    {"image_processor_type": "ViTImageProcessor", "size": {"shortest_edge": 96}},
    {"image_processor_type": "ViTImageProcessor", "do_resize": False},
    {"image_processor_type": "BitImageProcessor", "size": 96, "crop_size": 64},
    {"image_processor_type": "BitImageProcessor", "do_center_crop": False},
    {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}},
    {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 100}, "crop_pct": 0.9},
    {"image_processor_type": "MobileNetV2ImageProcessor", "size": {"shortest_edge": 64}, "crop_size": {"height": 96, "width": 80}},
]


def prepared(settings):
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "preprocessor_config.json").write_text(json.dumps(settings))
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
    sizes, filters = [], []
    functional = transformers.image_processing_backends.tvF
    resize = functional.resize

    def recorded(image, size, **options):
        sizes.append(list(size))
        filters.append(options["interpolation"].value)
        return resize(image, size, **options)

    functional.resize = recorded

    def run(size, level):
        image = Image.fromarray(np.full((*size, 3), level, np.uint8))
        return processor(image, return_tensors="pt")["pixel_values"][0].double()

    black, white, tall = run((300, 200), 0), run((300, 200), 255), run((300, 100), 0)
    functional.resize = resize
    middle = [side // 2 for side in white.shape[1:]]
    values = [[float(f"{value:.7g}") for value in image[:, middle[0], middle[1]].tolist()] for image in (black, white)]
    return {"settings": settings, "one_size": black.shape == tall.shape, "shape": list(white.shape[1:]),
            "resized": sizes[0] if sizes else None, "bicubic": filters[:1] == ["bicubic"],
            "black": values[0], "white": values[1]}


with torch.no_grad():
    bases = {name: described(*base) for name, base in BASES.items()}
    written = {"bases": bases, "cases": list(cases(known | bases))}
(out / "settings.json").write_text(json.dumps(written) + "\n")
(out / "processors.json").write_text(json.dumps([prepared(settings) for settings in PROCESSORS]) + "\n")
