//! How an image becomes a Caffe network's input: what the files say, and what is assumed where they do not.
//!
//! Caffe reads images with OpenCV, so that blue comes first, and keeps 0 … 255. A transformation subtracts a mean, of
//! which files of weights know nothing, and then multiplies. Descriptions for deployment leave it out, too, and its users
//! know it: resize to 256×256, crop the centre, subtract the mean of ImageNet.

use std::path::{Path, PathBuf};

use regraft_graph::{ChannelOrder, Preprocessing, Resize, ResizeFilter};
use regraft_system::files;

use super::blob::Blob;
use super::network::{Layer, Network};
use super::schema::BLOB;
use super::selection::is_data;
use super::tree::{FieldError, Message};
use super::wire;

/// What a description tells about images.
#[derive(Debug, Default)]
pub(super) struct Transform {
    /// Height and width of the crop; 0 where there is none.
    pub(super) crop: usize,
    /// Whether images are grey.
    pub(super) grey: bool,
    scale: Option<f64>,
    mean_values: Vec<f64>,
    mean_file: Option<String>,
    size: Option<[usize; 2]>,
}

impl Transform {
    /// From the first data layer that tells anything, those of the test first.
    ///
    /// # Errors
    /// A number is none.
    pub(super) fn of(networks: &[&Network]) -> Result<Self, FieldError> {
        let layers = || networks.iter().flat_map(|network| &network.layers).filter(|layer| is_data(layer));
        let tested = layers().filter(|layer| layer.is_tested().unwrap_or(false));
        for layer in tested.chain(layers()) {
            let transform = Self::of_layer(layer)?;
            if transform.tells() {
                return Ok(transform);
            }
        }
        Ok(Self::default())
    }

    fn of_layer(layer: &Layer) -> Result<Self, FieldError> {
        let data =
            ["data_param", "image_data_param", "window_data_param"].map(|place| layer.attributes(place));
        // The attributes of older files' data layers have moved.
        let places = [layer.attributes("transform_param"), data[0], data[1], data[2]];
        let number = |name: &str| {
            places.iter().find(|place| place.has(name)).map_or(Ok(None), |place| place.number(name))
        };
        let count = |name: &str| {
            places.iter().find(|place| place.has(name)).map_or(Ok(None), |place| place.count(name))
        };
        let size = [count("new_height")?, count("new_width")?].map(|side| side.filter(|side| *side > 0));
        let colour = data[1].flag("is_color", true)?;
        Ok(Self {
            crop: count("crop_size")?.unwrap_or(0),
            grey: !colour || places[0].flag("force_gray", false)?,
            scale: number("scale")?,
            mean_values: places[0].numbers("mean_value")?,
            mean_file: places.iter().find_map(|place| place.text("mean_file")).map(str::to_owned),
            size: if let [Some(height), Some(width)] = size { Some([height, width]) } else { None },
        })
    }

    fn tells(&self) -> bool {
        self.crop > 0
            || self.scale.is_some()
            || !self.mean_values.is_empty()
            || self.mean_file.is_some()
            || self.size.is_some()
    }
}

/// The mean of ImageNet's blue, green and red, as most published networks subtract it.
const IMAGENET: [f32; 3] = [104.0, 117.0, 123.0];

/// The preprocessing of a network that sees images of `channels` and `crop`, with notes on what the files do not say.
pub(super) fn preprocessing(
    transform: &Transform,
    folders: &[&Path],
    channels: usize,
    crop: [usize; 2],
    notes: &mut Vec<String>,
) -> Preprocessing {
    let (mean, mean_size) = mean(transform, folders, channels, notes);
    let scale = transform.scale.unwrap_or(1.0);
    let scale = if scale.is_finite() && scale != 0.0 { scale } else { 1.0 };
    if channels == 3 {
        notes.push("blue first is assumed, the order in which Caffe reads images".to_owned());
    }
    Preprocessing {
        channel_order: if channels == 3 { ChannelOrder::Bgr } else { ChannelOrder::Rgb },
        resize: resize(transform, mean_size, crop, notes),
        filter: ResizeFilter::Bilinear,
        crop,
        mean: mean.iter().copied().cycle().take(channels).collect(),
        std: vec![(1.0 / scale) as f32; channels].into(),
    }
}

/// Resized to what the description says, or to the size of the mean image, or as Caffe's users do it.
fn resize(
    transform: &Transform,
    mean: Option<[usize; 2]>,
    crop: [usize; 2],
    notes: &mut Vec<String>,
) -> Resize {
    let covers = |size: &[usize; 2]| size.iter().zip(crop).all(|(size, crop)| *size >= crop);
    if let Some(size) = transform.size.or(mean).filter(covers) {
        return Resize::Exact(size);
    }
    // 224 and 227 out of 256, and crops of that kind.
    let usual = crop.iter().all(|side| (216..=240).contains(side));
    let size = if usual { [256, 256] } else { crop };
    let [height, width] = size;
    notes.push(format!("the files do not say how images are resized; exactly {height}×{width} is assumed"));
    Resize::Exact(size)
}

/// The mean of each channel, and the size of the mean image if there is one.
fn mean(
    transform: &Transform,
    folders: &[&Path],
    channels: usize,
    notes: &mut Vec<String>,
) -> (Vec<f32>, Option<[usize; 2]>) {
    let values: Vec<f32> = transform.mean_values.iter().map(|value| *value as f32).collect();
    if values.len() == 1 || (values.len() == channels && channels > 0) {
        return (values, None);
    }
    if !values.is_empty() {
        notes.push(format!("{} mean values for {channels} channels are left out", values.len()));
    }
    if let Some(path) = mean_file(transform, folders) {
        match mean_image(&path, channels) {
            Ok(mean) => {
                let name = path.display();
                notes.push(format!(
                    "the mean of each channel is that of the mean image {name}, over all its pixels"
                ));
                return mean;
            }
            Err(message) => {
                notes.push(format!("{} is no mean image of the network: {message}", path.display()))
            }
        }
    } else if let Some(name) = &transform.mean_file {
        notes.push(format!("the mean image {name} that the description names is not beside it"));
    }
    if channels != 3 {
        notes.push("the files do not say which mean is subtracted; none is assumed".to_owned());
        return (vec![0.0], None);
    }
    notes.push(
        "the files do not say which mean is subtracted; 104, 117, 123 (blue, green, red) is assumed, that of ImageNet"
            .to_owned(),
    );
    (IMAGENET.to_vec(), None)
}

/// The mean image that the description names, or the only one that lies beside the files. Only its name counts: a
/// description says where the image lay on somebody else's machine.
fn mean_file(transform: &Transform, folders: &[&Path]) -> Option<PathBuf> {
    let named = transform.mean_file.as_deref().and_then(|name| name.rsplit(['/', '\\']).next());
    let named = named.filter(|name| !name.is_empty() && *name != "..");
    let places = named.into_iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    if let Some(path) = places.into_iter().find(|path| path.is_file()) {
        return Some(path);
    }
    if transform.scale.is_some() && transform.mean_file.is_none() {
        return None;
    }
    let beside = |folder: &&Path| {
        let entries =
            std::fs::read_dir(folder).ok().into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "binaryproto")).collect::<Vec<_>>()
    };
    let mut found: Vec<PathBuf> = folders.iter().flat_map(beside).collect();
    found.sort();
    found.dedup();
    if found.len() == 1 { found.pop() } else { None }
}

/// The mean of each channel of a mean image, and its height and width.
fn mean_image(path: &Path, channels: usize) -> Result<(Vec<f32>, Option<[usize; 2]>), String> {
    let content = files::map(path).map_err(|error| error.to_string())?;
    let message: Message = wire::parse(content, &BLOB)?;
    let blob = Blob::new(&message)?;
    let sizes: Vec<usize> = blob.shape().iter().copied().skip(blob.shape().len().saturating_sub(3)).collect();
    let &[found, height, width] = sizes.as_slice() else { return Err("it is no image".to_owned()) };
    let pixels = height.checked_mul(width).filter(|pixels| *pixels > 0).ok_or("it is empty")?;
    if found != channels || blob.len() / pixels != channels {
        return Err(format!("{found} channels, expected {channels}"));
    }
    let mean = |plane: &[f32]| plane.iter().map(|value| f64::from(*value)).sum::<f64>() / plane.len() as f64;
    let means: Vec<f32> = blob.values().chunks(pixels).map(|plane| mean(plane) as f32).collect();
    if !means.iter().all(|mean| mean.is_finite()) {
        return Err("a value is not a number".to_owned());
    }
    Ok((means, Some([height, width])))
}
