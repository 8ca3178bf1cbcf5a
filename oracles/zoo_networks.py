"""Logits, features, names and costs of the networks that torchvision and PyTorch have and the zoo builds.

Usage: zoo_networks.py OUTPUT_FOLDER
Writes:
  networks.json                  network -> "tensors": "name shape" of every tensor of the state_dict(); "parameters": how many
                                 numbers are trained; "giga_macs": torchvision's figure for one image of the usual size
  NETWORK_SIZE_{logits,features}.npy   with 16 classes and the weights of `pipeline_networks.hashed`, for one image that is a
                                 formula too: `unit_numbers("image HEIGHTxWIDTH")` times 4. VGG-16's and Inception v3's weights
                                 have twice the variance (He et al.); else their biases drown the image, since a ReLU
                                 halves its energy and neither network has another way past them
  encoder_{first,mean}.npy       torch.nn.TransformerEncoder on embeddings `unit_numbers("embeddings")` times 4: the first token,
                                 and the mean over all tokens

The networks run in double precision. A network whose logits hardly depend on the image would test nothing, so that is
asserted. Versions: torch 2.15.0, torchvision 0.29.2, numpy 2.4.6. One thread.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torchvision

from pipeline_networks import hashed, unit_numbers

torch.set_num_threads(1)
out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)

# Arguments, the layer whose output (or, for "input of", whose input) are the features, the weights' variance times fan-in, sizes.
SMALL = [(64, 64), (71, 96)]
NETWORKS = {
    "vgg16": ({}, "classifier.4", 2, SMALL),
    "mobilenet_v2": ({}, "input of classifier", 1, SMALL),
    "densenet121": ({}, "input of classifier", 1, SMALL),
    "inception_v3": ({"aux_logits": False, "init_weights": False}, "input of fc", 2, [(75, 75), (96, 83)]),
    "vit_b_16": ({}, "input of heads", 1, [(224, 224)]),
}
WEIGHTS = {
    "vgg16": torchvision.models.VGG16_Weights.IMAGENET1K_V1,
    "mobilenet_v2": torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1,
    "densenet121": torchvision.models.DenseNet121_Weights.IMAGENET1K_V1,
    "inception_v3": torchvision.models.Inception_V3_Weights.IMAGENET1K_V1,
    "vit_b_16": torchvision.models.ViT_B_16_Weights.IMAGENET1K_V1,
}
ENCODER = {"layers": 3, "width": 48, "heads": 4, "feed_forward": 80, "tokens": 11}


def save(name, tensor):
    np.save(out / f"{name}.npy", tensor.detach().numpy().astype(np.float32))


def numbers(name, *shape):
    return torch.from_numpy((unit_numbers(name, shape) * 4).astype(np.float32)).double()


def with_formula(model, variance=1):
    weights = {
        name: tensor if name.endswith("num_batches_tracked") else hashed(name, tensor.shape, variance)
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(weights)
    return model.double().eval()


def features_and_logits(model, layer, image):
    kept = []
    before = layer.startswith("input of ")
    module = model.get_submodule(layer.removeprefix("input of "))
    hook = module.register_forward_hook(lambda _, inputs, output: kept.append(inputs[0] if before else output))
    logits = model(image)
    hook.remove()
    return kept[0], logits


def network(name, arguments, layer, variance, sizes):
    build = getattr(torchvision.models, name)
    model = with_formula(build(num_classes=16, **arguments), variance)
    for height, width in sizes:
        size = f"{height}x{width}"
        features, logits = features_and_logits(model, layer, numbers(f"image {size}", 1, 3, height, width))
        save(f"{name}_{size}_features", features)
        save(f"{name}_{size}_logits", logits)
        other = model(numbers("another image", 1, 3, height, width))
        change = ((other - logits).abs().max() / logits.abs().max()).item()
        print(f"{name} {size}: another image changes the logits by {change:.3f} of the largest")
        assert change > 0.005, "50 times what the tests tolerate"
    full = build(**arguments)
    return {
        "tensors": [f"{name} {list(tensor.shape)}" for name, tensor in full.state_dict().items()],
        "parameters": sum(parameter.numel() for parameter in full.parameters()),
        "giga_macs": WEIGHTS[name].meta["_ops"],
    }


def encoder():
    sizes = ENCODER
    layer = torch.nn.TransformerEncoderLayer(
        sizes["width"], sizes["heads"], sizes["feed_forward"], activation="gelu", batch_first=True
    )
    model = torch.nn.TransformerEncoder(layer, sizes["layers"], enable_nested_tensor=False)
    model = with_formula(model)
    outputs = model(numbers("embeddings", 1, sizes["tokens"], sizes["width"]))
    save("encoder_first", outputs[:, 0])
    save("encoder_mean", outputs.mean(1))
    tensors = [f"{name} {list(tensor.shape)}" for name, tensor in model.state_dict().items()]
    return {"tensors": tensors, "parameters": sum(p.numel() for p in model.parameters()), **sizes}


with torch.no_grad():
    report = {name: network(name, *rest) for name, rest in NETWORKS.items()}
    report["encoder"] = encoder()
    (out / "networks.json").write_text(json.dumps(report, indent=0) + "\n")
