//! How much the channels of the source's feature maps matter to the new classes, for [`Method::Delta`](super::Method::Delta).

use ndarray::{ArrayD, Axis};
use regraft_adapt::training::{Targets, channel_attention, softmax_cross_entropy};
use regraft_engine::{Program, Tape, TapeOptions};
use regraft_graph::Model;

use super::cell::{Cell, Setting};
use super::images::Look;
use super::network::{matrix, output, sides};
use super::regulariser::map;
use crate::{Error, Result};

/// Training images by which channels are judged.
const SAMPLE: usize = 32;

/// A weight for each channel of each wire, which add up to 1 for a wire: a softmax of how much the loss of the network as it
/// begins would rise without the channel.
///
/// # Errors
/// A file can no longer be read, or memory runs out.
pub(super) fn attention(
    cell: &Cell<'_>,
    setting: &Setting<'_>,
    source: &Program,
    wires: &[String],
) -> Result<Vec<Vec<f32>>> {
    let sample = sample(cell.train);
    let inputs = setting.boundary.batch(&sample, Look::Plain)?;
    let maps = source.run(inputs.view()).map_err(Error::model)?;
    let labels = setting.labels_of(&sample);
    let size = sides(setting.boundary.shape());
    let of_wire = |(wire, map): (&String, ArrayD<f32>)| {
        let behind = cell.start.behind(wire, size).map_err(Error::model)?;
        channel_attention(&rises(&behind, &map, &labels)?).map_err(Error::model)
    };
    wires.iter().zip(maps).map(of_wire).collect()
}

/// Images evenly spread over the training images, which may be in the order of their classes.
fn sample(train: &[usize]) -> Vec<usize> {
    let count = train.len().min(SAMPLE);
    (0..count).filter_map(|index| train.get(index * train.len() / count).copied()).collect()
}

/// By how much the loss rises without each channel, to first order: −Σ of gradient times value (Molchanov et al. 2017). It takes
/// one pass there and back in place of one for each channel.
///
/// # Errors
/// Memory runs out.
pub(super) fn rises(behind: &Model, values: &ArrayD<f32>, labels: &[usize]) -> Result<Vec<f64>> {
    let options = TapeOptions {
        trains: &|_| false,
        batch_statistics: &|_| false,
        input_gradient: true,
        ..TapeOptions::default()
    };
    let size = sides(values.shape().get(1..).unwrap_or_default());
    let mut tape = Tape::compile(behind, size, &[output(behind)?], &options).map_err(Error::model)?;
    let logits = tape.forward(values.view()).map_err(Error::model)?.pop().unwrap_or_default();
    let targets = Targets::Classes(labels);
    let (_, gradient) = softmax_cross_entropy(matrix(logits)?.view(), targets, 0.0).map_err(Error::model)?;
    tape.backward(&[gradient.view().into_dyn()]).map_err(Error::model)?;
    let gradient = tape.input_gradient().map_err(Error::model)?.unwrap_or_default();
    let (values, gradient) = (map(values.view())?, map(gradient.view())?);
    let channels = values.axis_iter(Axis(1)).zip(gradient.axis_iter(Axis(1)));
    Ok(channels
        .map(|(values, gradient)| {
            let products =
                values.iter().zip(gradient).map(|(value, slope)| f64::from(*value) * f64::from(*slope));
            -products.sum::<f64>()
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::network::program;
    use super::super::regulariser::tests::{network, with_new_head};
    use super::*;

    /// The loss without each channel less that with all.
    pub(super) fn exact(behind: &Model, values: &ArrayD<f32>, labels: &[usize]) -> Vec<f64> {
        let program = program(behind, &values.shape()[1..], &[output(behind).unwrap()]).unwrap();
        let loss = |values: &ArrayD<f32>| {
            let logits = matrix(program.run(values.view()).unwrap().pop().unwrap()).unwrap();
            softmax_cross_entropy(logits.view(), Targets::Classes(labels), 0.0).unwrap().0
        };
        let whole = loss(values);
        (0..values.shape()[1])
            .map(|channel| {
                let mut without = values.clone();
                without.index_axis_mut(Axis(1), channel).fill(0.0);
                loss(&without) - whole
            })
            .collect()
    }

    fn ranks(numbers: &[f64]) -> Vec<f64> {
        numbers.iter().map(|number| numbers.iter().filter(|other| *other < number).count() as f64).collect()
    }

    /// Of the ranks.
    pub(super) fn correlation(a: &[f64], b: &[f64]) -> f64 {
        let (a, b) = (ranks(a), ranks(b));
        let mean = (a.len() as f64 - 1.0) / 2.0;
        let covariance =
            |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
        covariance(&a, &b) / (covariance(&a, &a) * covariance(&b, &b)).sqrt()
    }

    #[test]
    fn the_first_order_ranks_channels_as_leaving_them_out_does() {
        let start = with_new_head(&network());
        let behind = start.behind("body.relu", [8, 8]).unwrap();
        let values = ndarray::Array::from_shape_fn((4, 6, 4, 4), |(image, channel, row, column)| {
            ((image * 7 + channel * 3 + row * 5 + column) as f32 * 0.9).sin().max(0.0)
                * (1.0 + channel as f32)
        })
        .into_dyn();
        let labels = [0, 1, 2, 1];
        let (first, all) = (rises(&behind, &values, &labels).unwrap(), exact(&behind, &values, &labels));
        assert!(correlation(&first, &all) > 0.8, "{first:?} {all:?}");
        let nothing = rises(&behind, &ArrayD::zeros(values.raw_dim()), &labels).unwrap();
        assert!(nothing.iter().all(|rise| *rise == 0.0));
    }

    #[test]
    fn the_sample_is_spread_over_the_images() {
        let train: Vec<usize> = (100..200).collect();
        let chosen = sample(&train);
        assert_eq!((chosen.len(), chosen[0], chosen[31]), (32, 100, 196));
        assert_eq!(sample(&train[..5]), &train[..5]);
    }
}
