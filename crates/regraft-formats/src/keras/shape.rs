//! Layers that move, cut, border or resample.

use regraft_graph::{
    Concat, Coordinates, Dim, Interpolation, InterpolationMode, InterpolationSize, Op, Pad, PadMode, Reshape,
    Slice, Transpose,
};

use super::merge::fixed;
use super::network::{Builder, Use};
use crate::FormatError;
use crate::channels_last::{Order, Value};

/// Copies that `RepeatVector` may make.
const MOST_COPIES: usize = 4096;

impl<'a> Builder<'a> {
    /// Keras flattens images as height × width × channels, also where they come with their channels first and the
    /// layer says so.
    pub(super) fn flatten(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let input = self.one(used)?;
        let first = used.settings.channels_first() && self.canvas.shape(&input)?.len() == 4;
        let input = if first { Value::image(self.canvas.in_order(&input)?) } else { input };
        self.canvas.flatten(used.name, &input)
    }

    pub(super) fn reshape(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let input = self.one(used)?;
        let target = used.settings.integers(&["target_shape"]).unwrap_or_default();
        if target.is_empty() || target.contains(&0) {
            return Err(self.canvas.malformed(format!("'target_shape' is {target:?}")));
        }
        let same_number = match (&input.order, target.as_slice()) {
            // Back to the image that was flattened.
            (Order::Flattened([c, h, w]), [a, b, d]) => [*h, *w, *c].map(|size| size as i64) == [*a, *b, *d],
            _ => false,
        };
        if let (true, Order::Flattened(sizes)) = (same_number, input.order) {
            let shape = sizes.map(|size| size as i64).to_vec();
            let wire = self.canvas.add(used.name, Op::Reshape(Reshape { shape }), &[&input.wire], [])?;
            return Ok(Value::image(wire));
        }
        let wire = self.canvas.in_order(&input)?;
        if let [1, 1, channels] = *target {
            let op = Op::Reshape(Reshape { shape: vec![channels, 1, 1] });
            return Ok(Value::image(self.canvas.add(used.name, op, &[&wire], [])?));
        }
        let wire = self.canvas.add(used.name, Op::Reshape(Reshape { shape: target }), &[&wire], [])?;
        Ok(Value::declared(wire))
    }

    pub(super) fn permute(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let input = self.one(used)?;
        let dims = used.settings.integers(&["dims"]).unwrap_or_default();
        let rank = self.canvas.shape(&input)?.len();
        let axes: Option<Vec<usize>> = dims.iter().map(|dim| usize::try_from(*dim).ok()).collect();
        let axes =
            axes.filter(|axes| axes.len() + 1 == rank && axes.iter().all(|axis| *axis > 0 && *axis < rank));
        let axes =
            axes.ok_or_else(|| self.canvas.malformed(format!("'dims' is {dims:?} for {rank} axes")))?;
        let input = match input.order {
            Order::Flattened(_) => Value::declared(self.canvas.in_order(&input)?),
            _ => input,
        };
        // What the file moves may lie there already.
        let axes: Vec<usize> =
            std::iter::once(0).chain(axes.into_iter().map(|axis| self.canvas.axis(&input, axis))).collect();
        if axes.iter().copied().eq(0..rank) {
            return Ok(Value::declared(input.wire));
        }
        let wire = self.canvas.add(used.name, Op::Transpose(Transpose { axes }), &[&input.wire], [])?;
        Ok(Value::declared(wire))
    }

    pub(super) fn repeat_vector(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let input = self.one(used)?;
        let count = used.settings.count(&["n"]).filter(|count| (1..=MOST_COPIES).contains(count));
        let count = count.ok_or_else(|| self.canvas.malformed("'n' is not 1 to 4096"))?;
        let wire = self.canvas.in_order(&input)?;
        let features = match *self.canvas.sizes(&wire)? {
            [_, Dim::Fixed(features)] => features,
            _ => return Err(self.canvas.unsupported("it expects vectors")),
        };
        let row = self.canvas.reshape("row", &wire, &[1, features])?;
        let inputs = vec![row.as_str(); count];
        let wire = self.canvas.add(used.name, Op::Concat(Concat { axis: 1 }), &inputs, [])?;
        Ok(Value::declared(wire))
    }

    pub(super) fn zero_padding(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let input = self.one(used)?;
        let (wire, order) = self.images(used, &input)?;
        let [down, right] = used.settings.borders(&["padding"]).unwrap_or([[1; 2]; 2]);
        let borders = vec![[0; 2], [0; 2], down, right];
        let op = Op::Pad(Pad { borders, mode: PadMode::Constant(0.0) });
        Ok(Value { wire: self.canvas.add(used.name, op, &[&wire], [])?, order })
    }

    pub(super) fn cropping(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let input = self.one(used)?;
        let (wire, order) = self.images(used, &input)?;
        let cuts = used.settings.borders(&["cropping"]).unwrap_or([[0; 2]; 2]);
        let [height, width] = self.fixed_image(&wire)?;
        let [[top, bottom], [left, right]] = cuts;
        let rows = [top, height.saturating_sub(bottom)];
        let columns = [left, width.saturating_sub(right)];
        Ok(Value { wire: self.crop(used.name, &wire, rows, columns)?, order })
    }

    pub(super) fn center_crop(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let input = self.one(used)?;
        let (wire, order) = self.images(used, &input)?;
        let [height, width] = self.fixed_image(&wire)?;
        let target = used.settings.count(&["height"]).zip(used.settings.count(&["width"]));
        let (rows, columns) =
            target.ok_or_else(|| self.canvas.malformed("it has no 'height' and 'width'"))?;
        if rows > height || columns > width {
            return Err(self.canvas.unsupported("it enlarges the image before it cuts; use Resizing"));
        }
        let (top, left) = ((height - rows) / 2, (width - columns) / 2);
        let wire = self.crop(used.name, &wire, [top, top + rows], [left, left + columns])?;
        Ok(Value { wire, order })
    }

    fn crop(
        &mut self,
        name: &str,
        wire: &str,
        rows: [usize; 2],
        columns: [usize; 2],
    ) -> Result<String, FormatError> {
        let slice = |axis, [start, end]: [usize; 2]| Op::Slice(Slice { axis, start, end, step: 1 });
        let cut = self.canvas.add(&format!("{name}/rows"), slice(2, rows), &[wire], [])?;
        self.canvas.add(name, slice(3, columns), &[&cut], [])
    }

    fn fixed_image(&self, wire: &str) -> Result<[usize; 2], FormatError> {
        let sizes: Vec<Option<usize>> = self.canvas.sizes(wire)?.into_iter().map(fixed).collect();
        match *sizes {
            [_, _, Some(height), Some(width)] => Ok([height, width]),
            _ => Err(self.canvas.unsupported("it needs an input of a fixed height and width")),
        }
    }

    pub(super) fn up_sampling(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let factors = used.settings.pair(&["size"]).unwrap_or([2, 2]);
        let input = self.one(used)?;
        let (wire, order) = self.images(used, &input)?;
        let [height, width] = self.fixed_image(&wire)?;
        let op = self.resample(used, InterpolationSize::Times(factors), [height, width])?;
        Ok(Value { wire: self.canvas.add(used.name, op, &[&wire], [])?, order })
    }

    pub(super) fn resizing(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let target = used.settings.count(&["height"]).zip(used.settings.count(&["width"]));
        let (rows, columns) =
            target.ok_or_else(|| self.canvas.malformed("it has no 'height' and 'width'"))?;
        let special = ["crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"];
        if special.iter().any(|name| used.settings.flag(&[name], false)) {
            return Err(self.canvas.unsupported(
                "resizing with antialiasing or a kept aspect ratio is not computed; state it as preprocessing",
            ));
        }
        let input = self.one(used)?;
        let (wire, order) = self.images(used, &input)?;
        let size = self.fixed_image(&wire)?;
        let op = self.resample(used, InterpolationSize::Fixed([rows, columns]), size)?;
        Ok(Value { wire: self.canvas.add(used.name, op, &[&wire], [])?, order })
    }

    /// TensorFlow's `nearest` looks at the middle of a pixel, which is the pixel rounded down where the size is a
    /// multiple.
    fn resample(
        &self,
        used: &Use<'a, '_>,
        size: InterpolationSize,
        from: [usize; 2],
    ) -> Result<Op, FormatError> {
        let whole = match size {
            InterpolationSize::Fixed([rows, columns]) => {
                rows.is_multiple_of(from[0]) && columns.is_multiple_of(from[1])
            }
            _ => true,
        };
        let default = if used.class == "Resizing" { "bilinear" } else { "nearest" };
        let (mode, coordinates) = match used.settings.text("interpolation").unwrap_or(default) {
            "nearest" if whole => (InterpolationMode::Nearest, Coordinates::Asymmetric),
            "bilinear" => (InterpolationMode::Linear, Coordinates::HalfPixel),
            other => {
                return Err(self.canvas.unsupported(format!(
                    "the interpolation '{other}' to {size:?} is not computed; use bilinear, or a multiple of the size"
                )));
            }
        };
        Ok(Op::Resize(Interpolation { size, mode, coordinates }))
    }
}
