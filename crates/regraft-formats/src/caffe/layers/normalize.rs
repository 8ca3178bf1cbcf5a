//! Layers that bring numbers to a common scale.

use regraft_graph::{
    BatchNormalization, Constant, Dim, Lrn, LrnRegion, Op, ParameterKind, Scale, Tensor, Transpose,
};

use super::combine::with_axes;
use super::{Problem, Site, canonical, contradiction, size, unsupported};
use crate::caffe::blob::Blob;
use crate::caffe::network::Layer;

pub(super) fn lrn(site: &mut Site<'_>) -> Result<String, Problem> {
    let attributes = site.attributes("lrn_param");
    let number = |name, default: f64| Ok::<_, Problem>(attributes.number(name)?.unwrap_or(default) as f32);
    let region = match attributes.text("norm_region") {
        None | Some("ACROSS_CHANNELS") => LrnRegion::AcrossChannels,
        Some("WITHIN_CHANNEL") => LrnRegion::WithinChannel,
        Some(other) => return unsupported(format!("the region {other}")),
    };
    // Within a channel Caffe adds one, whatever its attribute says.
    let bias = if region == LrnRegion::AcrossChannels { number("k", 1.0)? } else { 1.0 };
    let size = attributes.count("local_size")?.unwrap_or(5);
    if size.is_multiple_of(2) {
        return contradiction("'local_size' must be odd");
    }
    let (alpha, beta) = (number("alpha", 1.0)?, number("beta", 0.75)?);
    site.unary(Op::Lrn(Lrn { size, alpha, beta, bias, region }))
}

/// Statistics are stored as sums, with the number of terms as a third array, and a layer of its own has the factors.
pub(super) fn batch_norm(site: &mut Site<'_>) -> Result<String, Problem> {
    let epsilon = site.attributes("batch_norm_param").number("eps")?.unwrap_or(1e-5);
    let (shape, channels) = site.channels()?;
    if !matches!(shape.len(), 2 | 4) {
        return unsupported("statistics for each channel of what is neither vector nor image");
    }
    if site.blobs.len() > 3 {
        return unsupported(format!("{} arrays of weights, three are known", site.blobs.len()));
    }
    let terms = site.blob(2)?.values();
    let &[terms] = terms.as_slice() else {
        return Err(Problem::Weights("the third array must be one number".to_owned()));
    };
    let mean = divided(site.tensor(0, vec![channels])?, terms)?;
    let variance = divided(site.tensor(1, vec![channels])?, terms)?;
    let (weight, bias) = match site.factor {
        Some(factor) => factors(factor, channels)?,
        None => (constant(channels, 1.0)?, constant(channels, 0.0)?),
    };
    let tensors = vec![
        (ParameterKind::Weight, weight),
        (ParameterKind::Bias, bias),
        (ParameterKind::RunningMean, mean),
        (ParameterKind::RunningVariance, variance),
    ];
    let input = site.input(0)?.to_owned();
    site.add(Op::BatchNormalization(BatchNormalization { channels, epsilon }), &[&input], tensors)
}

/// No terms make no sum, and Caffe takes zeros then.
fn divided(tensor: Tensor, terms: f32) -> Result<Tensor, Problem> {
    if terms == 1.0 {
        return Ok(tensor);
    }
    let factor = if terms == 0.0 { 0.0 } else { 1.0 / terms };
    let values: Vec<f32> = tensor.to_f32().into_iter().map(|value| value * factor).collect();
    Ok(Tensor::from_f32(tensor.shape().to_vec(), &values)?)
}

fn constant(channels: usize, value: f32) -> Result<Tensor, Problem> {
    Ok(Tensor::from_f32(vec![channels], &vec![value; channels])?)
}

fn factors(blobs: &[Blob], channels: usize) -> Result<(Tensor, Tensor), Problem> {
    let mut tensors = blobs.iter().map(|blob| blob.tensor(vec![channels]).map_err(Problem::Weights));
    let weight = tensors.next().transpose()?.map_or_else(|| constant(channels, 1.0), Ok)?;
    let bias = tensors.next().transpose()?.map_or_else(|| constant(channels, 0.0), Ok)?;
    Ok((weight, bias))
}

/// Whether a `Scale` has one factor for each channel of the one blob that it reads, so that it may join a
/// `BatchNorm`.
pub(in crate::caffe) fn is_factor_behind(layer: &Layer, blobs: &[Blob]) -> bool {
    let attributes = layer.attributes("scale_param");
    let plain = |name| matches!(attributes.integer(name), Ok(None | Some(1)));
    let arrays = if attributes.flag("bias_term", false) == Ok(true) { 2 } else { 1 };
    layer.kind == "Scale"
        && layer.bottoms.len() == 1
        && layer.tops.len() == 1
        && plain("axis")
        && plain("num_axes")
        && blobs.len() == arrays
}

pub(super) fn scale(site: &mut Site<'_>) -> Result<String, Problem> {
    let bias = site.attributes("scale_param").flag("bias_term", false)?;
    if site.inputs.len() > 1 {
        if bias {
            return unsupported("a bias behind a factor that is computed");
        }
        return with_second(site, "scale_param", Op::Mul);
    }
    let places = Places::of(site, "scale_param")?;
    if places.are_channels() {
        let tensors = site.weight_and_bias(vec![places.count], places.count, bias)?;
        let input = site.input(0)?.to_owned();
        return site.add(Op::Scale(Scale { channels: places.count, bias }), &[&input], tensors);
    }
    let input = site.input(0)?.to_owned();
    let factor = places.constant(site, 0, "factor")?;
    if !bias {
        return site.add(Op::Mul, &[&input, &factor], vec![]);
    }
    let product = site.prepare("product", Op::Mul, &[&input, &factor], vec![])?;
    let bias = places.constant(site, 1, "bias")?;
    site.add(Op::Add, &[&product, &bias], vec![])
}

pub(super) fn bias(site: &mut Site<'_>) -> Result<String, Problem> {
    if site.inputs.len() > 1 {
        return with_second(site, "bias_param", Op::Add);
    }
    let places = Places::of(site, "bias_param")?;
    let input = site.input(0)?.to_owned();
    if places.are_channels() {
        let bias = site.tensor(0, vec![places.count])?;
        let tensors =
            vec![(ParameterKind::Weight, constant(places.count, 1.0)?), (ParameterKind::Bias, bias)];
        return site.add(Op::Scale(Scale { channels: places.count, bias: true }), &[&input], tensors);
    }
    let bias = places.constant(site, 0, "bias")?;
    site.add(Op::Add, &[&input, &bias], vec![])
}

/// A second input whose axes are the first ones of the first input.
fn with_second(site: &mut Site<'_>, attributes: &'static str, op: Op) -> Result<String, Problem> {
    let rank = site.shape(0)?.len();
    let axis = canonical(site.attributes(attributes).integer("axis")?.unwrap_or(1), rank)?;
    if axis != 0 {
        return unsupported("a second input that is the same for all examples");
    }
    let second = with_axes(site, 1, rank)?;
    let first = site.input(0)?.to_owned();
    site.add(op, &[&first, &second], vec![])
}

/// The places that have a factor or a bias of their own.
struct Places {
    /// Sizes behind the batch: 1 where all places of an axis share one.
    shape: Vec<usize>,
    /// Their product.
    count: usize,
    /// The first axis and how many follow.
    axes: (usize, usize),
}

impl Places {
    fn of(site: &Site<'_>, attributes: &'static str) -> Result<Self, Problem> {
        let attributes = site.attributes(attributes);
        let shape = site.shape(0)?;
        let axis = canonical(attributes.integer("axis")?.unwrap_or(1), shape.len())?;
        let rest = shape.len() - axis;
        let axes = match attributes.integer("num_axes")?.unwrap_or(1) {
            -1 => rest,
            number => usize::try_from(number).ok().filter(|axes| *axes <= rest).unwrap_or(usize::MAX),
        };
        if axes == usize::MAX || (axis == 0 && axes > 0) {
            return contradiction(format!("{axes} axes from axis {axis} on of {}", shape.len()));
        }
        let own = |place: usize| place >= axis && place < axis + axes;
        let sizes = (1..shape.len()).map(|place| if own(place) { size(&shape, place) } else { Ok(1) });
        let shape: Vec<usize> = sizes.collect::<Result<_, _>>()?;
        let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        let Some(count) = count else { return contradiction("more numbers than memory has") };
        Ok(Self { shape, count, axes: (axis, axes) })
    }

    /// Whether they are what the graph calls channels: of vectors and images axis 1, of sequences axis 2.
    fn are_channels(&self) -> bool {
        matches!((self.shape.len() + 1, self.axes), (2 | 4, (1, 1)) | (3, (2, 1)))
    }

    fn constant(&self, site: &mut Site<'_>, index: usize, part: &str) -> Result<String, Problem> {
        let stored = site.tensor(index, self.stored_shape())?;
        let tensor = Tensor::new(stored.dtype(), self.shape.clone(), stored.data().clone())?;
        let op = Op::Constant(Constant { shape: self.shape.clone() });
        site.prepare(part, op, &[], vec![(ParameterKind::Value, tensor)])
    }

    /// The sizes of the axes that count, as Caffe stores them.
    fn stored_shape(&self) -> Vec<usize> {
        let (axis, axes) = self.axes;
        self.shape.iter().skip(axis.saturating_sub(1)).take(axes).copied().collect()
    }
}

/// Over the channels, which are the last axis of vectors only: other axes change places for it.
pub(super) fn softmax(site: &mut Site<'_>) -> Result<String, Problem> {
    let shape = site.shape(0)?;
    let axis = canonical(site.attributes("softmax_param").integer("axis")?.unwrap_or(1), shape.len())?;
    let input = site.input(0)?.to_owned();
    if axis + 1 == shape.len() {
        return site.add(Op::Softmax, &[&input], vec![]);
    }
    let behind = shape.get(axis + 1..).unwrap_or_default();
    if site.last && axis == 1 && behind.iter().all(|dim| *dim == Dim::Fixed(1)) {
        let flat = site.prepare("flatten", Op::Flatten, &[&input], vec![])?;
        return site.add(Op::Softmax, &[&flat], vec![]);
    }
    if axis == 0 {
        return unsupported("a sum over the batch; an operator sees one example");
    }
    let mut axes: Vec<usize> = (0..shape.len()).collect();
    axes.swap(axis, shape.len() - 1);
    let exchange = Op::Transpose(Transpose { axes });
    let turned = site.prepare("turned", exchange.clone(), &[&input], vec![])?;
    let computed = site.prepare("computed", Op::Softmax, &[&turned], vec![])?;
    site.add(exchange, &[&computed], vec![])
}
