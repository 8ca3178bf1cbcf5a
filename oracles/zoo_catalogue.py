"""What torchvision and timm publish about the weights that `crates/regraft-zoo/zoo.toml` lists.

Usage: zoo_catalogue.py OUTPUT_FOLDER
Writes:
  catalogue.json   entry of the catalogue -> "library"; "address" of the weight file or "repository" on the Hugging Face Hub;
                   "accuracy": top-1 on ImageNet-1k's validation images, "parameters": numbers that are trained, heads for training
                   aside; "macs": multiply-accumulates of convolutions, dense layers and attention for one image; "licence", where
                   the library states one for these weights; "preprocessing" as Regraft's card has it

Parameters and operations are counted here, on the networks that the libraries build (PyTorch's `FlopCounterMode`, halved).
timm keeps its results beside its code and not in the package: `RESULTS` are the lines of `results/results-imagenet.csv` of
its repository at commit aa4b5850c1543fa488abf260f18390eda46cf85d, at the image size that the weights' configuration names.
Versions: torch 2.15.0, torchvision 0.29.2, timm 1.0.31.
"""

import json
import math
import pathlib
import sys

import timm
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

# Attention in single steps, each of which the counter knows.
torch.backends.mha.set_fastpath_enabled(False)
timm.layers.set_fused_attn(False)

REGNET_SIZES = ("400mf", "800mf", "1_6gf", "3_2gf")

# Entry of the catalogue: member of torchvision's enumeration of weights.
TORCHVISION = {
    "alexnet.tv_in1k": "AlexNet_Weights.IMAGENET1K_V1",
    **{f"vgg{depth}.tv_in1k": f"VGG{depth}_Weights.IMAGENET1K_V1" for depth in (11, 13, 16, 19)},
    **{f"vgg{depth}_bn.tv_in1k": f"VGG{depth}_BN_Weights.IMAGENET1K_V1" for depth in (11, 13, 16, 19)},
    "googlenet.tv_in1k": "GoogLeNet_Weights.IMAGENET1K_V1",
    "inception_v3.tv_in1k": "Inception_V3_Weights.IMAGENET1K_V1",
    **{f"resnet{depth}.tv_in1k": f"ResNet{depth}_Weights.IMAGENET1K_V1" for depth in (18, 34, 50, 101, 152)},
    **{f"resnet{depth}.tv2_in1k": f"ResNet{depth}_Weights.IMAGENET1K_V2" for depth in (50, 101, 152)},
    "resnext50_32x4d.tv_in1k": "ResNeXt50_32X4D_Weights.IMAGENET1K_V1",
    "resnext50_32x4d.tv2_in1k": "ResNeXt50_32X4D_Weights.IMAGENET1K_V2",
    "resnext101_32x8d.tv_in1k": "ResNeXt101_32X8D_Weights.IMAGENET1K_V1",
    "resnext101_32x8d.tv2_in1k": "ResNeXt101_32X8D_Weights.IMAGENET1K_V2",
    "resnext101_64x4d.tv_in1k": "ResNeXt101_64X4D_Weights.IMAGENET1K_V1",
    "wide_resnet50_2.tv_in1k": "Wide_ResNet50_2_Weights.IMAGENET1K_V1",
    "wide_resnet50_2.tv2_in1k": "Wide_ResNet50_2_Weights.IMAGENET1K_V2",
    "wide_resnet101_2.tv_in1k": "Wide_ResNet101_2_Weights.IMAGENET1K_V1",
    "wide_resnet101_2.tv2_in1k": "Wide_ResNet101_2_Weights.IMAGENET1K_V2",
    "squeezenet1_0.tv_in1k": "SqueezeNet1_0_Weights.IMAGENET1K_V1",
    "squeezenet1_1.tv_in1k": "SqueezeNet1_1_Weights.IMAGENET1K_V1",
    **{f"densenet{depth}.tv_in1k": f"DenseNet{depth}_Weights.IMAGENET1K_V1" for depth in (121, 161, 169, 201)},
    "mobilenet_v2.tv_in1k": "MobileNet_V2_Weights.IMAGENET1K_V1",
    "mobilenet_v2.tv2_in1k": "MobileNet_V2_Weights.IMAGENET1K_V2",
    "mobilenet_v3_large.tv_in1k": "MobileNet_V3_Large_Weights.IMAGENET1K_V1",
    "mobilenet_v3_large.tv2_in1k": "MobileNet_V3_Large_Weights.IMAGENET1K_V2",
    "mobilenet_v3_small.tv_in1k": "MobileNet_V3_Small_Weights.IMAGENET1K_V1",
    **{f"efficientnet_b{number}.tv_in1k": f"EfficientNet_B{number}_Weights.IMAGENET1K_V1" for number in range(5)},
    "efficientnet_b1.tv2_in1k": "EfficientNet_B1_Weights.IMAGENET1K_V2",
    "convnext_tiny.tv_in1k": "ConvNeXt_Tiny_Weights.IMAGENET1K_V1",
    "convnext_small.tv_in1k": "ConvNeXt_Small_Weights.IMAGENET1K_V1",
    "convnext_base.tv_in1k": "ConvNeXt_Base_Weights.IMAGENET1K_V1",
    "vit_b_16.tv_in1k": "ViT_B_16_Weights.IMAGENET1K_V1",
    **{f"regnet_y_{size}.tv2_in1k": f"RegNet_Y_{size.upper()}_Weights.IMAGENET1K_V2" for size in REGNET_SIZES},
}

# Entries of the catalogue that have timm's names for architecture and tag.
TIMM = [
    "inception_v3.tf_in1k",
    "inception_v4.tf_in1k",
    "resnet18.a1_in1k",
    "resnet34.a1_in1k",
    "resnet50.a1_in1k",
    "resnet50.fb_swsl_ig1b_ft_in1k",
    "resnet101.a1_in1k",
    "resnet152.a1_in1k",
    "resnext50_32x4d.a1_in1k",
    "wide_resnet50_2.racm_in1k",
    "densenet121.ra_in1k",
    "mobilenetv2_100.ra_in1k",
    "mobilenetv3_large_100.ra_in1k",
    "mobilenetv3_small_100.lamb_in1k",
    "efficientnet_b0.ra_in1k",
    "efficientnet_b1.ft_in1k",
    "efficientnet_b2.ra_in1k",
    "efficientnet_b3.ra2_in1k",
    "efficientnet_b4.ra2_in1k",
    *[f"tf_efficientnet_b{number}.ns_jft_in1k" for number in range(5)],
    "efficientnet_lite0.ra_in1k",
    *[f"tf_efficientnet_lite{number}.in1k" for number in range(5)],
    "convnext_tiny.fb_in1k",
    "convnext_tiny.in12k_ft_in1k",
    "convnext_small.fb_in1k",
    "convnext_small.in12k_ft_in1k",
    "convnext_base.fb_in1k",
    "convnext_base.fb_in22k_ft_in1k",
    *[f"vit_{size}_patch16_224.augreg_in21k_ft_in1k" for size in ("tiny", "small", "base")],
    *[f"deit_{size}_patch16_224.fb_in1k" for size in ("tiny", "small", "base")],
    "vit_small_patch14_dinov2.lvd142m",
    *[f"regnety_{size}.pycls_in1k" for size in ("004", "008", "016")],
    "regnety_008_tv.tv2_in1k",
    "regnety_032.ra_in1k",
]

# Model, image size, top-1 in percent.
RESULTS = """
convnext_base.fb_in22k_ft_in1k,288,86.302
convnext_base.fb_in22k_ft_in1k,224,85.814
convnext_small.in12k_ft_in1k,288,85.324
convnext_small.in12k_ft_in1k,224,85.164
tf_efficientnet_b4.ns_jft_in1k,380,85.156
vit_base_patch16_224.augreg_in21k_ft_in1k,224,84.534
convnext_base.fb_in1k,288,84.466
convnext_tiny.in12k_ft_in1k,288,84.448
convnext_tiny.in12k_ft_in1k,224,84.192
tf_efficientnet_b3.ns_jft_in1k,300,84.054
convnext_base.fb_in1k,224,83.838
convnext_small.fb_in1k,288,83.704
efficientnet_b4.ra2_in1k,384,83.468
convnext_small.fb_in1k,224,83.144
resnet152.a1_in1k,288,82.742
regnety_032.ra_in1k,288,82.724
convnext_tiny.fb_in1k,288,82.694
efficientnet_b4.ra2_in1k,320,82.658
tf_efficientnet_b2.ns_jft_in1k,260,82.412
resnet101.a1_in1k,288,82.326
efficientnet_b3.ra2_in1k,320,82.296
wide_resnet50_2.racm_in1k,288,82.260
convnext_tiny.fb_in1k,224,82.066
resnet152.a1_in1k,224,81.998
deit_base_patch16_224.fb_in1k,224,81.980
regnety_032.ra_in1k,224,81.948
tf_efficientnet_lite4.in1k,380,81.540
resnet101.a1_in1k,224,81.494
resnext50_32x4d.a1_in1k,288,81.480
efficientnet_b3.ra2_in1k,288,81.472
wide_resnet50_2.racm_in1k,224,81.466
vit_small_patch16_224.augreg_in21k_ft_in1k,224,81.402
tf_efficientnet_b1.ns_jft_in1k,240,81.388
resnet50.a1_in1k,288,81.240
resnet50.fb_swsl_ig1b_ft_in1k,224,81.146
efficientnet_b2.ra_in1k,288,80.612
resnext50_32x4d.a1_in1k,224,80.526
resnet50.a1_in1k,224,80.382
inception_v4.tf_in1k,299,80.144
deit_small_patch16_224.fb_in1k,224,79.856
tf_efficientnet_lite3.in1k,300,79.808
efficientnet_b2.ra_in1k,256,79.324
efficientnet_b1.ft_in1k,256,78.806
tf_efficientnet_b0.ns_jft_in1k,224,78.680
regnety_008_tv.tv2_in1k,224,78.672
resnet34.a1_in1k,288,77.930
regnety_016.pycls_in1k,224,77.880
inception_v3.tf_in1k,299,77.866
efficientnet_b0.ra_in1k,224,77.698
efficientnet_b1.ft_in1k,224,77.592
tf_efficientnet_lite2.in1k,260,77.470
tf_efficientnet_lite1.in1k,240,76.674
densenet121.ra_in1k,288,76.486
resnet34.a1_in1k,224,76.420
regnety_008.pycls_in1k,224,76.334
mobilenetv3_large_100.ra_in1k,224,75.784
densenet121.ra_in1k,224,75.574
efficientnet_lite0.ra_in1k,224,75.488
vit_tiny_patch16_224.augreg_in21k_ft_in1k,224,75.452
tf_efficientnet_lite0.in1k,224,74.846
regnety_004.pycls_in1k,224,74.004
resnet18.a1_in1k,288,73.164
mobilenetv2_100.ra_in1k,224,72.910
deit_tiny_patch16_224.fb_in1k,224,72.190
resnet18.a1_in1k,224,71.504
mobilenetv3_small_100.lamb_in1k,224,67.636
"""


def macs(model, size):
    """Multiply-accumulates for one image of `size`, without computing anything: the model is on PyTorch's meta device."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.empty(1, 3, *size, device="meta"))
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def counted(model, size):
    return {"parameters": sum(p.numel() for p in model.parameters()), "macs": macs(model, size)}


def preprocessing(short_side, crop, filter, mean, std):
    def in_bytes(values):
        return [round(255 * value, 6) for value in values]

    return {
        "short_side": short_side,
        "crop": list(crop),
        "filter": filter,
        "mean": in_bytes(mean),
        "std": in_bytes(std),
    }


def of_torchvision(member):
    weights = torchvision.models.get_weight(member)
    transforms = weights.transforms()
    builder = next(
        name for name in torchvision.models.list_models() if weights in torchvision.models.get_model_weights(name)
    )
    # RegNet computes its widths with tensors.
    with torch.device("cpu" if builder.startswith("regnet") else "meta"):
        options = {"aux_logits": False} if builder in ("googlenet", "inception_v3") else {}
        options |= {"init_weights": False} if builder in ("googlenet", "inception_v3") else {}
        model = torchvision.models.get_model(builder, **options).eval().to("meta")
    (crop,) = transforms.crop_size
    (short_side,) = transforms.resize_size
    mean, std = transforms.mean, transforms.std
    if builder in ("googlenet", "inception_v3"):
        # `transform_input` undoes the normalisation and applies the original networks' own.
        assert list(mean) == [0.485, 0.456, 0.406]
        mean, std = [0.5] * 3, [0.5] * 3
    return {
        "library": "torchvision",
        "model": builder,
        "address": weights.url,
        "accuracy": round(weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 6),
        **counted(model, (crop, crop)),
        "preprocessing": preprocessing(short_side, (crop, crop), transforms.interpolation.value, mean, std),
    }


def of_timm(name, results):
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False).eval()
    cfg = model.pretrained_cfg
    _, height, width = cfg["input_size"]
    assert height == width and cfg.get("crop_mode", "center") == "center", name
    assert model.default_cfg["tag"] == name.split(".", 1)[1]
    entry = {
        "library": "timm",
        "model": name.split(".")[0],
        "repository": f"timm/{name}",
        "licence": cfg.get("license"),
        **counted(model, (height, width)),
        "preprocessing": preprocessing(
            math.floor(height / cfg["crop_pct"]), (height, width), cfg["interpolation"], cfg["mean"], cfg["std"]
        ),
    }
    if (name, height) in results:
        entry["accuracy"] = round(results[name, height] / 100, 6)
    return entry


def main():
    out = pathlib.Path(sys.argv[1])
    results = {}
    for line in RESULTS.split("\n"):
        if line:
            name, size, accuracy = line.split(",")
            results[name, int(size)] = float(accuracy)
    entries = {name: of_torchvision(member) for name, member in TORCHVISION.items()}
    entries |= {name: of_timm(name, results) for name in TIMM}
    (out / "catalogue.json").write_text(json.dumps(entries, indent=1) + "\n")


main()
