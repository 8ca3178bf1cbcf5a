//! Numbers and kinds of the fields of Caffe's messages that are read.
//!
//! Current layers (`LayerParameter`), the ones before them (`V1LayerParameter`, whose kind is a number) and the first
//! ones (`V0LayerParameter`, which hold all attributes themselves). From BVLC's `caffe.proto`; raw data from NVIDIA's,
//! the permutation from SSD's.

use super::wire::Entry;
use super::wire::Kind::{Doubles, Enumeration, Flag, Float, Integer, Message, Raw, Singles, Text};

const PHASES: &[(u64, &str)] = &[(0, "TRAIN"), (1, "TEST")];
const POOLS: &[(u64, &str)] = &[(0, "MAX"), (1, "AVE"), (2, "STOCHASTIC")];
const ROUNDINGS: &[(u64, &str)] = &[(0, "CEIL"), (1, "FLOOR")];
const REGIONS: &[(u64, &str)] = &[(0, "ACROSS_CHANNELS"), (1, "WITHIN_CHANNEL")];
const ELTWISE: &[(u64, &str)] = &[(0, "PROD"), (1, "SUM"), (2, "MAX")];
const REDUCTIONS: &[(u64, &str)] = &[(1, "SUM"), (2, "ASUM"), (3, "SUMSQ"), (4, "MEAN")];
/// Element types of raw data.
const RAW_TYPES: &[(u64, &str)] = &[(0, "DOUBLE"), (1, "FLOAT"), (2, "FLOAT16"), (3, "INT"), (4, "UINT")];

/// The number of each kind of layer in a `V1LayerParameter`, its word there, and its name today.
#[rustfmt::skip]
pub(super) const V1_KINDS: &[(u64, &str, &str)] = &[
    (35, "ABSVAL", "AbsVal"), (1, "ACCURACY", "Accuracy"), (30, "ARGMAX", "ArgMax"), (2, "BNLL", "BNLL"),
    (3, "CONCAT", "Concat"), (37, "CONTRASTIVE_LOSS", "ContrastiveLoss"), (4, "CONVOLUTION", "Convolution"),
    (5, "DATA", "Data"), (39, "DECONVOLUTION", "Deconvolution"), (6, "DROPOUT", "Dropout"),
    (32, "DUMMY_DATA", "DummyData"), (7, "EUCLIDEAN_LOSS", "EuclideanLoss"), (25, "ELTWISE", "Eltwise"),
    (38, "EXP", "Exp"), (8, "FLATTEN", "Flatten"), (9, "HDF5_DATA", "HDF5Data"), (10, "HDF5_OUTPUT", "HDF5Output"),
    (28, "HINGE_LOSS", "HingeLoss"), (11, "IM2COL", "Im2col"), (12, "IMAGE_DATA", "ImageData"),
    (13, "INFOGAIN_LOSS", "InfogainLoss"), (14, "INNER_PRODUCT", "InnerProduct"), (15, "LRN", "LRN"),
    (29, "MEMORY_DATA", "MemoryData"), (16, "MULTINOMIAL_LOGISTIC_LOSS", "MultinomialLogisticLoss"),
    (34, "MVN", "MVN"), (17, "POOLING", "Pooling"), (26, "POWER", "Power"), (18, "RELU", "ReLU"),
    (19, "SIGMOID", "Sigmoid"), (27, "SIGMOID_CROSS_ENTROPY_LOSS", "SigmoidCrossEntropyLoss"),
    (36, "SILENCE", "Silence"), (20, "SOFTMAX", "Softmax"), (21, "SOFTMAX_LOSS", "SoftmaxWithLoss"),
    (22, "SPLIT", "Split"), (33, "SLICE", "Slice"), (23, "TANH", "TanH"), (24, "WINDOW_DATA", "WindowData"),
    (31, "THRESHOLD", "Threshold"),
];

#[allow(clippy::indexing_slicing, reason = "computed while compiling, where there are no iterators")]
const V1_WORDS: [(u64, &str); V1_KINDS.len()] = {
    let mut words = [(0, ""); V1_KINDS.len()];
    let mut index = 0;
    while index < words.len() {
        words[index] = (V1_KINDS[index].0, V1_KINDS[index].1);
        index += 1;
    }
    words
};

/// A whole network, with or without weights.
#[rustfmt::skip]
pub(super) static NET: [Entry; 6] = [
    Entry(1, "name", Text), Entry(2, "layers", Message(&V1_LAYER)), Entry(3, "input", Text),
    Entry(4, "input_dim", Integer), Entry(8, "input_shape", Message(&SHAPE)), Entry(100, "layer", Message(&LAYER)),
];

/// An array of numbers: weights, or a mean image.
#[rustfmt::skip]
pub(super) static BLOB: [Entry; 9] = [
    Entry(1, "num", Integer), Entry(2, "channels", Integer), Entry(3, "height", Integer), Entry(4, "width", Integer),
    Entry(5, "data", Singles), Entry(7, "shape", Message(&SHAPE)), Entry(8, "double_data", Doubles),
    Entry(10, "raw_data_type", Enumeration(RAW_TYPES)), Entry(12, "raw_data", Raw),
];

static SHAPE: [Entry; 1] = [Entry(1, "dim", Integer)];
#[rustfmt::skip]
static RULE: [Entry; 5] = [
    Entry(1, "phase", Enumeration(PHASES)), Entry(2, "min_level", Integer), Entry(3, "max_level", Integer),
    Entry(4, "stage", Text), Entry(5, "not_stage", Text),
];

#[rustfmt::skip]
static LAYER: [Entry; 40] = [
    Entry(1, "name", Text), Entry(2, "type", Text), Entry(3, "bottom", Text), Entry(4, "top", Text),
    Entry(7, "blobs", Message(&BLOB)), Entry(8, "include", Message(&RULE)), Entry(9, "exclude", Message(&RULE)),
    Entry(100, "transform_param", Message(&TRANSFORM)), Entry(139, "batch_norm_param", Message(&BATCH_NORM)),
    Entry(141, "bias_param", Message(&BIAS)), Entry(148, "clip_param", Message(&CLIP)),
    Entry(104, "concat_param", Message(&CONCAT)), Entry(106, "convolution_param", Message(&CONVOLUTION)),
    Entry(144, "crop_param", Message(&CROP)), Entry(107, "data_param", Message(&DATA)),
    Entry(108, "dropout_param", Message(&DROPOUT)), Entry(109, "dummy_data_param", Message(&DUMMY_DATA)),
    Entry(110, "eltwise_param", Message(&ELTWISE_LAYER)), Entry(140, "elu_param", Message(&ELU)),
    Entry(111, "exp_param", Message(&EXP)), Entry(135, "flatten_param", Message(&FLATTEN)),
    Entry(115, "image_data_param", Message(&IMAGE_DATA)), Entry(117, "inner_product_param", Message(&INNER_PRODUCT)),
    Entry(143, "input_param", Message(&INPUT)), Entry(134, "log_param", Message(&EXP)),
    Entry(118, "lrn_param", Message(&LRN)), Entry(119, "memory_data_param", Message(&MEMORY_DATA)),
    Entry(202, "permute_param", Message(&PERMUTE)), Entry(121, "pooling_param", Message(&POOLING)),
    Entry(122, "power_param", Message(&POWER)), Entry(131, "prelu_param", Message(&PRELU)),
    Entry(136, "reduction_param", Message(&REDUCTION)), Entry(123, "relu_param", Message(&RELU)),
    Entry(133, "reshape_param", Message(&RESHAPE)), Entry(142, "scale_param", Message(&SCALE)),
    Entry(126, "slice_param", Message(&SLICE)), Entry(125, "softmax_param", Message(&SOFTMAX)),
    Entry(147, "swish_param", Message(&SWISH)), Entry(138, "tile_param", Message(&TILE)),
    Entry(129, "window_data_param", Message(&DATA)),
];

#[rustfmt::skip]
static V1_LAYER: [Entry; 26] = [
    Entry(1, "layer", Message(&V0_LAYER)), Entry(2, "bottom", Text), Entry(3, "top", Text), Entry(4, "name", Text),
    Entry(5, "type", Enumeration(&V1_WORDS)), Entry(6, "blobs", Message(&BLOB)),
    Entry(32, "include", Message(&RULE)), Entry(33, "exclude", Message(&RULE)),
    Entry(36, "transform_param", Message(&TRANSFORM)), Entry(9, "concat_param", Message(&CONCAT)),
    Entry(10, "convolution_param", Message(&CONVOLUTION)), Entry(11, "data_param", Message(&DATA)),
    Entry(12, "dropout_param", Message(&DROPOUT)), Entry(26, "dummy_data_param", Message(&DUMMY_DATA)),
    Entry(24, "eltwise_param", Message(&ELTWISE_LAYER)), Entry(41, "exp_param", Message(&EXP)),
    Entry(15, "image_data_param", Message(&IMAGE_DATA)), Entry(17, "inner_product_param", Message(&INNER_PRODUCT)),
    Entry(18, "lrn_param", Message(&LRN)), Entry(22, "memory_data_param", Message(&MEMORY_DATA)),
    Entry(19, "pooling_param", Message(&POOLING)), Entry(21, "power_param", Message(&POWER)),
    Entry(30, "relu_param", Message(&RELU)), Entry(31, "slice_param", Message(&SLICE)),
    Entry(39, "softmax_param", Message(&SOFTMAX)), Entry(20, "window_data_param", Message(&DATA)),
];

#[rustfmt::skip]
static V0_LAYER: [Entry; 22] = [
    Entry(1, "name", Text), Entry(2, "type", Text), Entry(3, "num_output", Integer), Entry(4, "biasterm", Flag),
    Entry(7, "pad", Integer), Entry(8, "kernelsize", Integer), Entry(9, "group", Integer),
    Entry(10, "stride", Integer), Entry(11, "pool", Enumeration(POOLS)), Entry(12, "dropout_ratio", Float),
    Entry(13, "local_size", Integer), Entry(14, "alpha", Float), Entry(15, "beta", Float), Entry(22, "k", Float),
    Entry(17, "scale", Float), Entry(18, "meanfile", Text), Entry(20, "cropsize", Integer),
    Entry(50, "blobs", Message(&BLOB)), Entry(62, "new_height", Integer), Entry(63, "new_width", Integer),
    Entry(65, "concat_dim", Integer), Entry(19, "batchsize", Integer),
];

#[rustfmt::skip]
static TRANSFORM: [Entry; 6] = [
    Entry(1, "scale", Float), Entry(3, "crop_size", Integer), Entry(4, "mean_file", Text),
    Entry(5, "mean_value", Float), Entry(6, "force_color", Flag), Entry(7, "force_gray", Flag),
];
/// `DataParameter` and `WindowDataParameter`.
static DATA: [Entry; 3] =
    [Entry(2, "scale", Float), Entry(3, "mean_file", Text), Entry(5, "crop_size", Integer)];
#[rustfmt::skip]
static IMAGE_DATA: [Entry; 6] = [
    Entry(2, "scale", Float), Entry(3, "mean_file", Text), Entry(5, "crop_size", Integer),
    Entry(9, "new_height", Integer), Entry(10, "new_width", Integer), Entry(11, "is_color", Flag),
];
#[rustfmt::skip]
static MEMORY_DATA: [Entry; 3] =
    [Entry(2, "channels", Integer), Entry(3, "height", Integer), Entry(4, "width", Integer)];
#[rustfmt::skip]
static DUMMY_DATA: [Entry; 5] = [
    Entry(2, "num", Integer), Entry(3, "channels", Integer), Entry(4, "height", Integer), Entry(5, "width", Integer),
    Entry(6, "shape", Message(&SHAPE)),
];
static INPUT: [Entry; 1] = [Entry(1, "shape", Message(&SHAPE))];

#[rustfmt::skip]
static CONVOLUTION: [Entry; 14] = [
    Entry(1, "num_output", Integer), Entry(2, "bias_term", Flag), Entry(3, "pad", Integer),
    Entry(4, "kernel_size", Integer), Entry(5, "group", Integer), Entry(6, "stride", Integer),
    Entry(9, "pad_h", Integer), Entry(10, "pad_w", Integer), Entry(11, "kernel_h", Integer),
    Entry(12, "kernel_w", Integer), Entry(13, "stride_h", Integer), Entry(14, "stride_w", Integer),
    Entry(16, "axis", Integer), Entry(18, "dilation", Integer),
];
#[rustfmt::skip]
static POOLING: [Entry; 12] = [
    Entry(1, "pool", Enumeration(POOLS)), Entry(2, "kernel_size", Integer), Entry(3, "stride", Integer),
    Entry(4, "pad", Integer), Entry(5, "kernel_h", Integer), Entry(6, "kernel_w", Integer),
    Entry(7, "stride_h", Integer), Entry(8, "stride_w", Integer), Entry(9, "pad_h", Integer),
    Entry(10, "pad_w", Integer), Entry(12, "global_pooling", Flag), Entry(13, "round_mode", Enumeration(ROUNDINGS)),
];
#[rustfmt::skip]
static INNER_PRODUCT: [Entry; 4] = [
    Entry(1, "num_output", Integer), Entry(2, "bias_term", Flag), Entry(5, "axis", Integer),
    Entry(6, "transpose", Flag),
];
#[rustfmt::skip]
static LRN: [Entry; 5] = [
    Entry(1, "local_size", Integer), Entry(2, "alpha", Float), Entry(3, "beta", Float),
    Entry(4, "norm_region", Enumeration(REGIONS)), Entry(5, "k", Float),
];
static BATCH_NORM: [Entry; 1] = [Entry(3, "eps", Float)];
static BIAS: [Entry; 2] = [Entry(1, "axis", Integer), Entry(2, "num_axes", Integer)];
static SCALE: [Entry; 3] =
    [Entry(1, "axis", Integer), Entry(2, "num_axes", Integer), Entry(4, "bias_term", Flag)];
static CLIP: [Entry; 2] = [Entry(1, "min", Float), Entry(2, "max", Float)];
static CONCAT: [Entry; 2] = [Entry(1, "concat_dim", Integer), Entry(2, "axis", Integer)];
static CROP: [Entry; 2] = [Entry(1, "axis", Integer), Entry(2, "offset", Integer)];
static DROPOUT: [Entry; 1] = [Entry(1, "dropout_ratio", Float)];
static ELTWISE_LAYER: [Entry; 2] = [Entry(1, "operation", Enumeration(ELTWISE)), Entry(2, "coeff", Float)];
static ELU: [Entry; 1] = [Entry(1, "alpha", Float)];
/// `ExpParameter` and `LogParameter`.
static EXP: [Entry; 3] = [Entry(1, "base", Float), Entry(2, "scale", Float), Entry(3, "shift", Float)];
static FLATTEN: [Entry; 2] = [Entry(1, "axis", Integer), Entry(2, "end_axis", Integer)];
static PERMUTE: [Entry; 1] = [Entry(1, "order", Integer)];
static POWER: [Entry; 3] = [Entry(1, "power", Float), Entry(2, "scale", Float), Entry(3, "shift", Float)];
static PRELU: [Entry; 1] = [Entry(2, "channel_shared", Flag)];
static REDUCTION: [Entry; 3] =
    [Entry(1, "operation", Enumeration(REDUCTIONS)), Entry(2, "axis", Integer), Entry(3, "coeff", Float)];
static RELU: [Entry; 1] = [Entry(1, "negative_slope", Float)];
static RESHAPE: [Entry; 3] =
    [Entry(1, "shape", Message(&SHAPE)), Entry(2, "axis", Integer), Entry(3, "num_axes", Integer)];
static SLICE: [Entry; 3] =
    [Entry(1, "slice_dim", Integer), Entry(2, "slice_point", Integer), Entry(3, "axis", Integer)];
static SOFTMAX: [Entry; 1] = [Entry(2, "axis", Integer)];
static SWISH: [Entry; 1] = [Entry(1, "beta", Float)];
static TILE: [Entry; 2] = [Entry(1, "axis", Integer), Entry(2, "tiles", Integer)];
