//! Resampling.

use regraft_graph::{Coordinates, Dim, Interpolation, InterpolationMode, InterpolationSize, Op};

use super::call::Call;
use super::reader::{Reader, label};
use super::value::{Value, Wire};
use super::whole::Whole;

/// What a file says about the size.
enum Target {
    Sizes(Vec<Whole>),
    Factors(Vec<f32>),
}

impl Reader<'_> {
    /// `Resize` since version 10 and `Upsample` before.
    pub(super) fn resize(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        let target = target(call)?;
        let image = self.image(call, &wire)?;
        let dims = self.net.dims(&image);
        let [_, Dim::Fixed(height), Dim::Fixed(width)] = *dims.as_slice() else {
            return Err(super::constant::unknown_size());
        };
        let (size, output) = size(&target, &wire, [height, width])?;
        check_places(call, [height, width], output)?;
        if output == [height, width] {
            return Ok(self.value_of(image, Some(0)));
        }
        let whole = output[0] % height == 0 && output[1] % width == 0;
        let (mode, coordinates) = interpolation(call, whole)?;
        let op = Op::Resize(Interpolation { size, mode, coordinates });
        let name = self.net.add(&label(call.node), op, &[&image], Vec::new())?;
        self.image_value(call, wire.rank(), name)
    }
}

fn target(call: &Call<'_>) -> Result<Target, String> {
    let old = call.node.op_type == "Upsample" || call.opset < 11;
    if call.ints("axes").is_some() {
        return Err("only some of its axes are resampled".to_owned());
    }
    if old {
        let factors = match call.input(1) {
            Some(_) => call.weights(1)?.float_array()?.values,
            None => call.floats("scales").unwrap_or_default(),
        };
        return Ok(Target::Factors(factors));
    }
    if let Some(constant) = call.constant(3).filter(|constant| constant.len() > 0) {
        return Ok(Target::Sizes(constant.integer_array()?.values));
    }
    Ok(Target::Factors(call.weights(2)?.float_array()?.values))
}

fn size(
    target: &Target,
    wire: &Wire,
    [height, width]: [usize; 2],
) -> Result<(InterpolationSize, [usize; 2]), String> {
    let image = || "it resamples other axes than height and width".to_owned();
    if wire.rank() != 4 {
        return Err(image());
    }
    match target {
        Target::Sizes(sizes) => {
            let [batch, channels, down, across] = sizes[..] else { return Err(image()) };
            let known = |size: Whole| usize::try_from(size.known()?).ok();
            let (Some(down), Some(across)) = (known(down), known(across)) else {
                return Err("a size is negative, or not fixed".to_owned());
            };
            let one = wire.kind.batch.map_or(batch == Whole::Known(1), |place| place.fits(batch, 1));
            if known(channels) != wire.size(1).ok() || !one {
                return Err(image());
            }
            Ok((InterpolationSize::Fixed([down, across]), [down, across]))
        }
        Target::Factors(factors) => {
            let [1.0, 1.0, down, across] = factors[..] else { return Err(image()) };
            let whole = |factor: f32| {
                (factor.fract() == 0.0 && (1.0..1e4).contains(&factor)).then_some(factor as usize)
            };
            if let (Some(down), Some(across)) = (whole(down), whole(across)) {
                let output = [height.saturating_mul(down), width.saturating_mul(across)];
                return Ok((InterpolationSize::Times([down, across]), output));
            }
            // Places are computed from the factor here and from the sizes in the graph: they must agree.
            let scaled = |size: usize, factor: f32| {
                let output = size as f32 * factor;
                (output.fract() == 0.0 && (1.0..1e6).contains(&output)).then_some(output as usize)
            };
            match (scaled(height, down), scaled(width, across)) {
                (Some(down), Some(across)) => Ok((InterpolationSize::Fixed([down, across]), [down, across])),
                _ => Err(format!("factors {down} and {across}, which do not give whole sizes")),
            }
        }
    }
}

/// Refuses places that the graph would compute otherwise.
fn check_places(call: &Call<'_>, input: [usize; 2], output: [usize; 2]) -> Result<(), String> {
    let coordinates = call.text("coordinate_transformation_mode", "");
    let one_pixel = input.iter().zip(output).any(|(input, output)| output == 1 && *input != 1);
    match coordinates.as_str() {
        "tf_crop_and_resize" => Err("it cuts a part out of the image".to_owned()),
        "tf_half_pixel_for_nn" if call.text("mode", "nearest") != "nearest" => {
            Err("its places are those of the nearest pixel, but it takes several".to_owned())
        }
        "pytorch_half_pixel" if one_pixel => {
            Err("it takes the first pixel of a row, not the middle".to_owned())
        }
        _ if call.text("keep_aspect_ratio_policy", "stretch") != "stretch" => {
            Err("it keeps the ratio of height and width, whatever size it states".to_owned())
        }
        _ => Ok(()),
    }
}

fn interpolation(call: &Call<'_>, whole: bool) -> Result<(InterpolationMode, Coordinates), String> {
    let old = call.node.op_type == "Upsample" || call.opset < 11;
    let default = if old { "asymmetric" } else { "half_pixel" };
    let coordinates = call.text("coordinate_transformation_mode", default);
    let places = match coordinates.as_str() {
        "half_pixel" | "pytorch_half_pixel" => Coordinates::HalfPixel,
        "asymmetric" => Coordinates::Asymmetric,
        "align_corners" => Coordinates::AlignCorners,
        "tf_half_pixel_for_nn" => Coordinates::HalfPixel,
        other => return Err(format!("coordinates of kind '{other}'")),
    };
    if call.flag("antialias") || call.flag("exclude_outside") {
        return Err("it smooths, or leaves out what lies outside".to_owned());
    }
    let rounding = call.text("nearest_mode", if old { "floor" } else { "round_prefer_floor" });
    match call.text("mode", "nearest").as_str() {
        // At whole factors all these ways take the same pixel.
        "nearest"
            if whole
                && coordinates != "align_corners"
                && rounding != "ceil"
                && nearest_agrees(&coordinates, &rounding) =>
        {
            Ok((InterpolationMode::Nearest, Coordinates::Asymmetric))
        }
        "nearest" if coordinates == "asymmetric" && rounding == "floor" => {
            Ok((InterpolationMode::Nearest, Coordinates::Asymmetric))
        }
        "nearest" => Err(format!("the nearest pixel by {coordinates} and {rounding}")),
        "linear" | "bilinear" => Ok((InterpolationMode::Linear, places)),
        "cubic" if (call.float("cubic_coeff_a", -0.75) + 0.75).abs() < 1e-6 => {
            Ok((InterpolationMode::Cubic, places))
        }
        other => Err(format!("interpolation '{other}'")),
    }
}

/// Whether output pixel `x` of a factor `f` is input pixel `floor(x / f)`.
fn nearest_agrees(coordinates: &str, rounding: &str) -> bool {
    matches!(
        (coordinates, rounding),
        ("asymmetric" | "tf_half_pixel_for_nn", "floor")
            | ("half_pixel" | "pytorch_half_pixel", "round_prefer_floor" | "round_prefer_ceil")
    )
}
