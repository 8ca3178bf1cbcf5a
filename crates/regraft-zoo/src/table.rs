//! The table of architectures, and the preprocessing of each as its library publishes it: torchvision's first weights, and
//! the weights that timm loads by default.
//!
//! Where two libraries have a network under different names, or with different constants, each has a row with its own
//! names; the other's name is an alias. So a file keeps the names of its library, and can be written for it again.

use std::borrow::Cow;

use regraft_graph::{ChannelOrder, GraphError, Preprocessing, Resize, ResizeFilter};

use crate::architecture::Architecture;
use crate::builder::Network;
use crate::caffenet::caffenet;
use crate::convnext::{self, convnext};
use crate::craft::craft;
use crate::crnn::crnn;
use crate::densenet::{Sizes, densenet};
use crate::efficientnet::{self, efficientnet, efficientnet_lite};
use crate::googlenet::googlenet;
use crate::inception::inception_v3;
use crate::inception_v4::inception_v4;
use crate::inverted::Names;
use crate::mobilenet::{LARGE, SMALL, mobilenet_v2, mobilenet_v3};
use crate::regnet::{self, regnet_y};
use crate::resnet::{Block, PLAIN, resnet};
use crate::squeezenet::{V1_0, V1_1, squeezenet};
use crate::vgg::{VGG11, VGG13, VGG16, VGG19, alexnet, vgg};
use crate::vision::{self, vision_transformer};

use ResizeFilter::{Bicubic, Bilinear};

/// A tensor by which a library's files of a family are known, and their classifier.
struct Family {
    mark: &'static str,
    classifier: &'static str,
}

const fn family(mark: &'static str, classifier: &'static str) -> Family {
    Family { mark, classifier }
}

type Build = fn(usize, [usize; 2]) -> Result<Network, GraphError>;

/// A network that no other row has under other names.
const fn row(
    family: &Family,
    name: &'static str,
    preprocessing: Preprocessing,
    build: Build,
) -> Architecture {
    alias(family, name, &[], preprocessing, build)
}

const fn alias(
    family: &Family,
    name: &'static str,
    aliases: &'static [&'static str],
    preprocessing: Preprocessing,
    build: Build,
) -> Architecture {
    let Family { mark, classifier } = *family;
    Architecture { name, aliases, mark, classifier, preprocessing, build }
}

const ALEXNET: Family = family("features.10.weight", "classifier.6");
const CAFFENET: Family = family("fc6.weight", "fc8");
const VGG: Family = family("classifier.0.weight", "classifier.6");
const GOOGLENET: Family = family("inception3a.branch1.conv.weight", "fc");
const INCEPTION3: Family = family("Mixed_5b.branch1x1.conv.weight", "fc");
const INCEPTION4: Family = family("features.6.branch0.conv.weight", "last_linear");
const RESNET: Family = family("layer1.0.conv1.weight", "fc");
const SQUEEZENET: Family = family("features.3.squeeze.weight", "classifier.1");
const DENSENET: Family = family("features.denseblock1.denselayer1.conv1.weight", "classifier");
const MOBILE2: Family = family("features.1.conv.0.0.weight", "classifier.1");
const MOBILE3: Family = family("features.1.block.0.0.weight", "classifier.3");
const EFFICIENT: Family = family("features.1.0.block.0.0.weight", "classifier.1");
const PORT: Family = family("_conv_stem.weight", "_fc");
const INVERTED: Family = family("conv_stem.weight", "classifier");
const CONVNEXT: Family = family("stages.0.blocks.0.gamma", "head.fc");
const CONVNEXT_TORCHVISION: Family = family("features.1.0.layer_scale", "classifier.2");
const REGNET: Family = family("s1.b1.conv1.conv.weight", "head.fc");
const REGNET_TORCHVISION: Family = family("trunk_output.block1.block1-0.f.a.0.weight", "fc");
const VIT: Family = family("blocks.0.attn.qkv.weight", "head");
const VIT_TORCHVISION: Family = family("conv_proj.weight", "heads.head");
const CRAFT: Family = family("basenet.slice5.1.weight", "conv_cls.8");
const CRNN: Family = family("FeatureExtraction.ConvNet.0.weight", "Prediction");

/// Marks of the families whose names are timm's.
pub(crate) const TIMM_MARKS: [&str; 9] = [
    RESNET.mark,
    DENSENET.mark,
    INCEPTION3.mark,
    INCEPTION4.mark,
    INVERTED.mark,
    CONVNEXT.mark,
    REGNET.mark,
    VIT.mark,
    VGG_MARK,
];

/// timm builds these with any number added to the variances.
pub(crate) const INVERTED_MARK: &str = INVERTED.mark;

/// timm has VGG with other names for its dense layers.
pub(crate) const VGG_MARK: &str = VGG.mark;

/// torchvision's, of networks without a recipe of their own.
const TORCHVISION: Preprocessing = imagenet(Bilinear, 256, 224);

/// timm's, of most networks of this size.
const TIMM: Preprocessing = imagenet(Bicubic, 256, 224);

/// Caffe's: blue first, the mean of the training images' pixels, no deviation.
const CAFFE: Preprocessing = Preprocessing {
    channel_order: ChannelOrder::Bgr,
    resize: Resize::Exact([256, 256]),
    filter: Bilinear,
    crop: [227, 227],
    mean: Cow::Borrowed(&[104.0, 117.0, 123.0]),
    std: Cow::Borrowed(&[1.0; 3]),
};

/// EasyOCR's for lines of text: grey, −1 … 1. It keeps a line's proportions and makes all as wide as the widest; as in the
/// paper, they have one size here.
const LINES: Preprocessing = Preprocessing {
    channel_order: ChannelOrder::Rgb,
    resize: Resize::Exact([64, 256]),
    filter: Bicubic,
    crop: [64, 256],
    mean: Cow::Borrowed(&[127.5]),
    std: Cow::Borrowed(&[127.5]),
};

/// Of ResNeXt and wide ResNet.
const fn bottleneck(groups: usize, group_width: usize) -> Block {
    Block::Bottleneck { groups, group_width }
}

#[rustfmt::skip]
pub(crate) static ARCHITECTURES: [Architecture; 86] = [
    alias(&PORT, "efficientnet-lite0", &["tf_efficientnet_lite0"], lite(256, 224), |classes, _| efficientnet_lite(0, efficientnet::PORT, classes)),
    alias(&PORT, "efficientnet-lite1", &["tf_efficientnet_lite1"], lite(272, 240), |classes, _| efficientnet_lite(1, efficientnet::PORT, classes)),
    alias(&PORT, "efficientnet-lite2", &["tf_efficientnet_lite2"], lite(292, 260), |classes, _| efficientnet_lite(2, efficientnet::PORT, classes)),
    alias(&PORT, "efficientnet-lite3", &["tf_efficientnet_lite3"], lite(312, 280), |classes, _| efficientnet_lite(3, efficientnet::PORT, classes)),
    alias(&PORT, "efficientnet-lite4", &["tf_efficientnet_lite4"], lite(332, 300), |classes, _| efficientnet_lite(4, efficientnet::PORT, classes)),

    row(&RESNET, "resnet18", TORCHVISION, |classes, _| resnet(Block::Basic, [2, 2, 2, 2], classes)),
    row(&RESNET, "resnet34", TORCHVISION, |classes, _| resnet(Block::Basic, [3, 4, 6, 3], classes)),
    row(&RESNET, "resnet50", TORCHVISION, |classes, _| resnet(PLAIN, [3, 4, 6, 3], classes)),
    row(&RESNET, "resnet101", TORCHVISION, |classes, _| resnet(PLAIN, [3, 4, 23, 3], classes)),
    row(&RESNET, "resnet152", TORCHVISION, |classes, _| resnet(PLAIN, [3, 8, 36, 3], classes)),
    row(&RESNET, "resnext50_32x4d", TORCHVISION, |classes, _| resnet(bottleneck(32, 4), [3, 4, 6, 3], classes)),
    row(&RESNET, "resnext101_32x8d", TORCHVISION, |classes, _| resnet(bottleneck(32, 8), [3, 4, 23, 3], classes)),
    row(&RESNET, "resnext101_64x4d", imagenet(Bilinear, 232, 224), |classes, _| resnet(bottleneck(64, 4), [3, 4, 23, 3], classes)),
    row(&RESNET, "wide_resnet50_2", TORCHVISION, |classes, _| resnet(bottleneck(1, 128), [3, 4, 6, 3], classes)),
    row(&RESNET, "wide_resnet101_2", TORCHVISION, |classes, _| resnet(bottleneck(1, 128), [3, 4, 23, 3], classes)),

    row(&ALEXNET, "alexnet", TORCHVISION, |classes, _| alexnet(classes)),
    row(&CAFFENET, "caffenet", CAFFE, caffenet),
    row(&VGG, "vgg11", TORCHVISION, |classes, _| vgg(VGG11, false, classes)),
    row(&VGG, "vgg13", TORCHVISION, |classes, _| vgg(VGG13, false, classes)),
    row(&VGG, "vgg16", TORCHVISION, |classes, _| vgg(VGG16, false, classes)),
    row(&VGG, "vgg19", TORCHVISION, |classes, _| vgg(VGG19, false, classes)),
    row(&VGG, "vgg11_bn", TORCHVISION, |classes, _| vgg(VGG11, true, classes)),
    row(&VGG, "vgg13_bn", TORCHVISION, |classes, _| vgg(VGG13, true, classes)),
    row(&VGG, "vgg16_bn", TORCHVISION, |classes, _| vgg(VGG16, true, classes)),
    row(&VGG, "vgg19_bn", TORCHVISION, |classes, _| vgg(VGG19, true, classes)),
    row(&SQUEEZENET, "squeezenet1_0", TORCHVISION, |classes, _| squeezenet(V1_0, classes)),
    row(&SQUEEZENET, "squeezenet1_1", TORCHVISION, |classes, _| squeezenet(V1_1, classes)),
    // torchvision reaches −1 … 1 by its own mean and standard deviation and `transform_input`.
    row(&GOOGLENET, "googlenet", symmetric(Bilinear, 256, 224), |classes, _| googlenet(classes)),
    row(&INCEPTION3, "inception_v3", symmetric(Bilinear, 342, 299), |classes, _| inception_v3(classes)),
    row(&INCEPTION4, "inception_v4", symmetric(Bicubic, 341, 299), |classes, _| inception_v4(classes)),
    row(&DENSENET, "densenet121", TORCHVISION, |classes, _| densenet(Sizes { stem: 64, growth: 32, depths: [6, 12, 24, 16] }, classes)),
    row(&DENSENET, "densenet161", TORCHVISION, |classes, _| densenet(Sizes { stem: 96, growth: 48, depths: [6, 12, 36, 24] }, classes)),
    row(&DENSENET, "densenet169", TORCHVISION, |classes, _| densenet(Sizes { stem: 64, growth: 32, depths: [6, 12, 32, 32] }, classes)),
    row(&DENSENET, "densenet201", TORCHVISION, |classes, _| densenet(Sizes { stem: 64, growth: 32, depths: [6, 12, 48, 32] }, classes)),

    alias(&MOBILE2, "mobilenet_v2", &["mobilenetv2_100"], TORCHVISION, |classes, _| mobilenet_v2(Names::TorchvisionMobileV2, classes)),
    alias(&INVERTED, "mobilenetv2_100", &["mobilenet_v2"], TIMM, |classes, _| mobilenet_v2(Names::Timm, classes)),
    alias(&MOBILE3, "mobilenet_v3_small", &["mobilenetv3_small_100"], TORCHVISION, |classes, _| mobilenet_v3(Names::TorchvisionMobileV3, &SMALL, classes)),
    alias(&MOBILE3, "mobilenet_v3_large", &["mobilenetv3_large_100"], TORCHVISION, |classes, _| mobilenet_v3(Names::TorchvisionMobileV3, &LARGE, classes)),
    alias(&INVERTED, "mobilenetv3_small_100", &["mobilenet_v3_small"], TIMM, |classes, _| mobilenet_v3(Names::Timm, &SMALL, classes)),
    alias(&INVERTED, "mobilenetv3_large_100", &["mobilenet_v3_large"], TIMM, |classes, _| mobilenet_v3(Names::Timm, &LARGE, classes)),

    row(&INVERTED, "efficientnet_b0", TIMM, |classes, _| efficientnet(0, efficientnet::TIMM, classes)),
    row(&INVERTED, "efficientnet_b1", symmetric(Bicubic, 266, 240), |classes, _| efficientnet(1, efficientnet::TIMM, classes)),
    row(&INVERTED, "efficientnet_b2", imagenet(Bicubic, 292, 256), |classes, _| efficientnet(2, efficientnet::TIMM, classes)),
    row(&INVERTED, "efficientnet_b3", imagenet(Bicubic, 329, 288), |classes, _| efficientnet(3, efficientnet::TIMM, classes)),
    row(&INVERTED, "efficientnet_b4", imagenet(Bicubic, 365, 320), |classes, _| efficientnet(4, efficientnet::TIMM, classes)),
    row(&INVERTED, "tf_efficientnet_b0", TIMM, |classes, _| efficientnet(0, efficientnet::TIMM_TF, classes)),
    row(&INVERTED, "tf_efficientnet_b1", imagenet(Bicubic, 272, 240), |classes, _| efficientnet(1, efficientnet::TIMM_TF, classes)),
    row(&INVERTED, "tf_efficientnet_b2", imagenet(Bicubic, 292, 260), |classes, _| efficientnet(2, efficientnet::TIMM_TF, classes)),
    row(&INVERTED, "tf_efficientnet_b3", imagenet(Bicubic, 331, 300), |classes, _| efficientnet(3, efficientnet::TIMM_TF, classes)),
    row(&INVERTED, "tf_efficientnet_b4", imagenet(Bicubic, 412, 380), |classes, _| efficientnet(4, efficientnet::TIMM_TF, classes)),
    alias(&EFFICIENT, "torchvision/efficientnet_b0", &["efficientnet_b0"], TIMM, |classes, _| efficientnet(0, efficientnet::TORCHVISION, classes)),
    alias(&EFFICIENT, "torchvision/efficientnet_b1", &["efficientnet_b1"], imagenet(Bicubic, 256, 240), |classes, _| efficientnet(1, efficientnet::TORCHVISION, classes)),
    alias(&EFFICIENT, "torchvision/efficientnet_b2", &["efficientnet_b2"], imagenet(Bicubic, 288, 288), |classes, _| efficientnet(2, efficientnet::TORCHVISION, classes)),
    alias(&EFFICIENT, "torchvision/efficientnet_b3", &["efficientnet_b3"], imagenet(Bicubic, 320, 300), |classes, _| efficientnet(3, efficientnet::TORCHVISION, classes)),
    alias(&EFFICIENT, "torchvision/efficientnet_b4", &["efficientnet_b4"], imagenet(Bicubic, 384, 380), |classes, _| efficientnet(4, efficientnet::TORCHVISION, classes)),
    row(&INVERTED, "efficientnet_lite0", TIMM, |classes, _| efficientnet_lite(0, efficientnet::TIMM, classes)),
    alias(&INVERTED, "tf_efficientnet_lite0", &["efficientnet-lite0"], symmetric(Bicubic, 256, 224), |classes, _| efficientnet_lite(0, efficientnet::TIMM_TF, classes)),
    alias(&INVERTED, "tf_efficientnet_lite1", &["efficientnet-lite1"], symmetric(Bicubic, 272, 240), |classes, _| efficientnet_lite(1, efficientnet::TIMM_TF, classes)),
    alias(&INVERTED, "tf_efficientnet_lite2", &["efficientnet-lite2"], symmetric(Bicubic, 292, 260), |classes, _| efficientnet_lite(2, efficientnet::TIMM_TF, classes)),
    alias(&INVERTED, "tf_efficientnet_lite3", &["efficientnet-lite3"], symmetric(Bilinear, 331, 300), |classes, _| efficientnet_lite(3, efficientnet::TIMM_TF, classes)),
    alias(&INVERTED, "tf_efficientnet_lite4", &["efficientnet-lite4"], symmetric(Bilinear, 413, 380), |classes, _| efficientnet_lite(4, efficientnet::TIMM_TF, classes)),

    alias(&REGNET, "regnety_004", &["regnet_y_400mf"], imagenet(Bicubic, 232, 224), |classes, _| regnet_y(regnet::Names::Timm, &regnet::Y400, classes)),
    row(&REGNET, "regnety_008", TIMM, |classes, _| regnet_y(regnet::Names::Timm, &regnet::Y800_TIMM, classes)),
    alias(&REGNET, "regnety_008_tv", &["regnet_y_800mf"], imagenet(Bicubic, 232, 224), |classes, _| regnet_y(regnet::Names::Timm, &regnet::Y800_TORCHVISION, classes)),
    alias(&REGNET, "regnety_016", &["regnet_y_1_6gf"], imagenet(Bicubic, 232, 224), |classes, _| regnet_y(regnet::Names::Timm, &regnet::Y1600, classes)),
    alias(&REGNET, "regnety_032", &["regnet_y_3_2gf"], imagenet(Bicubic, 235, 224), |classes, _| regnet_y(regnet::Names::Timm, &regnet::Y3200, classes)),
    alias(&REGNET_TORCHVISION, "regnet_y_400mf", &["regnety_004"], TORCHVISION, |classes, _| regnet_y(regnet::Names::Torchvision, &regnet::Y400, classes)),
    alias(&REGNET_TORCHVISION, "regnet_y_800mf", &["regnety_008_tv"], TORCHVISION, |classes, _| regnet_y(regnet::Names::Torchvision, &regnet::Y800_TORCHVISION, classes)),
    alias(&REGNET_TORCHVISION, "regnet_y_1_6gf", &["regnety_016"], TORCHVISION, |classes, _| regnet_y(regnet::Names::Torchvision, &regnet::Y1600, classes)),
    alias(&REGNET_TORCHVISION, "regnet_y_3_2gf", &["regnety_032"], TORCHVISION, |classes, _| regnet_y(regnet::Names::Torchvision, &regnet::Y3200, classes)),

    row(&CONVNEXT, "convnext_tiny", imagenet(Bicubic, 235, 224), |classes, _| convnext(convnext::Names::Timm, convnext::TINY, classes)),
    row(&CONVNEXT, "convnext_small", imagenet(Bicubic, 235, 224), |classes, _| convnext(convnext::Names::Timm, convnext::SMALL, classes)),
    row(&CONVNEXT, "convnext_base", TIMM, |classes, _| convnext(convnext::Names::Timm, convnext::BASE, classes)),
    alias(&CONVNEXT_TORCHVISION, "torchvision/convnext_tiny", &["convnext_tiny"], imagenet(Bilinear, 236, 224), |classes, _| convnext(convnext::Names::Torchvision, convnext::TINY, classes)),
    alias(&CONVNEXT_TORCHVISION, "torchvision/convnext_small", &["convnext_small"], imagenet(Bilinear, 230, 224), |classes, _| convnext(convnext::Names::Torchvision, convnext::SMALL, classes)),
    alias(&CONVNEXT_TORCHVISION, "torchvision/convnext_base", &["convnext_base"], imagenet(Bilinear, 232, 224), |classes, _| convnext(convnext::Names::Torchvision, convnext::BASE, classes)),

    alias(&VIT_TORCHVISION, "vit_b_16", &["vit_base_patch16_224"], TORCHVISION, |classes, image| vision_transformer(&vision::TORCHVISION, vision::BASE, classes, image)),
    row(&VIT, "vit_tiny_patch16_224", symmetric(Bicubic, 248, 224), |classes, image| vision_transformer(&vision::TIMM, vision::TINY, classes, image)),
    row(&VIT, "vit_small_patch16_224", symmetric(Bicubic, 248, 224), |classes, image| vision_transformer(&vision::TIMM, vision::SMALL, classes, image)),
    alias(&VIT, "vit_base_patch16_224", &["vit_b_16"], symmetric(Bicubic, 248, 224), |classes, image| vision_transformer(&vision::TIMM, vision::BASE, classes, image)),
    row(&VIT, "deit_tiny_patch16_224", imagenet(Bicubic, 248, 224), |classes, image| vision_transformer(&vision::TIMM, vision::TINY, classes, image)),
    row(&VIT, "deit_small_patch16_224", imagenet(Bicubic, 248, 224), |classes, image| vision_transformer(&vision::TIMM, vision::SMALL, classes, image)),
    row(&VIT, "deit_base_patch16_224", imagenet(Bicubic, 248, 224), |classes, image| vision_transformer(&vision::TIMM, vision::BASE, classes, image)),
    alias(&VIT, "vit_small_patch14_dinov2", &["dinov2_vits14"], imagenet(Bicubic, 518, 518), |classes, image| vision_transformer(&vision::TIMM, vision::DINO_SMALL, classes, image)),

    // It takes images of any size; these are VGG's.
    row(&CRAFT, "craft", TORCHVISION, |scores, _| craft(scores)),
    row(&CRNN, "crnn", LINES, |characters, _| crnn(characters)),
];

/// Resized and cropped as given, RGB.
const fn preprocessing(
    filter: ResizeFilter,
    short_side: usize,
    crop: usize,
    mean: &'static [f32; 3],
    std: &'static [f32; 3],
) -> Preprocessing {
    Preprocessing {
        channel_order: ChannelOrder::Rgb,
        resize: Resize::ShortSide(short_side),
        filter,
        crop: [crop; 2],
        mean: Cow::Borrowed(mean),
        std: Cow::Borrowed(std),
    }
}

/// Mean and standard deviation of ImageNet's training pixels in 0 … 255.
const fn imagenet(filter: ResizeFilter, short_side: usize, crop: usize) -> Preprocessing {
    let mean = &[0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0];
    preprocessing(filter, short_side, crop, mean, &[0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0])
}

/// Pixels in −1 … 1.
const fn symmetric(filter: ResizeFilter, short_side: usize, crop: usize) -> Preprocessing {
    preprocessing(filter, short_side, crop, &[127.5; 3], &[127.5; 3])
}

/// The reference preprocessing of the TensorFlow models.
const fn lite(short_side: usize, crop: usize) -> Preprocessing {
    preprocessing(Bicubic, short_side, crop, &[127.0; 3], &[128.0; 3])
}
