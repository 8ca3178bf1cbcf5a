//! Batch spectral shrinkage (Chen et al. 2019): what varies least among the features of a batch is suppressed.

use faer::Mat;
use ndarray::{Array2, ArrayView2};

use crate::error::{AdaptError, Result};
use crate::examples::check_features;
use crate::linalg::{add_product, singular_values};

/// `Σ σ²` over the `k` smallest singular values of `features` (N × D, a row for each example of a batch), and its gradient
/// with respect to the features, N × D: `2 Σ σᵢ uᵢ vᵢᵀ` (Chen et al. 2019; `BatchSpectralShrinkage` of the
/// Transfer-Learning-Library). The features are not centred. They have min(N, D) singular values, so that in a batch of
/// fewer examples than features one singular value goes for each example. Where the k-th smallest equals the next, the
/// gradient is that of one choice among them, and the value is not differentiable.
///
/// Paper and library have k = 1 and weigh the value with η = 0.001, on the features that the new head sees. The value is
/// neither a mean over the batch nor over features.
///
/// # Errors
/// [`AdaptError::SingularValues`] if `k` is not from 1 to min(N, D), [`AdaptError::Empty`] if there is no feature,
/// [`AdaptError::NonFinite`] for one that is no number, [`AdaptError::Decomposition`] if the decomposition does not converge.
///
/// ```
/// use ndarray::array;
/// use regraft_adapt::training::batch_spectral_shrinkage;
///
/// let (value, gradient) = batch_spectral_shrinkage(array![[5.0, 0.0], [0.0, 0.5]].view(), 1)?;
/// assert!((value - 0.25).abs() < 1e-12);
/// assert!((gradient - array![[0.0, 0.0], [0.0, 1.0]]).iter().all(|difference| difference.abs() < 1e-6));
/// # Ok::<(), regraft_adapt::AdaptError>(())
/// ```
pub fn batch_spectral_shrinkage(features: ArrayView2<'_, f32>, k: usize) -> Result<(f64, Array2<f32>)> {
    check_features(features)?;
    let (rows, columns) = features.dim();
    if k == 0 || k > rows.min(columns) {
        return Err(AdaptError::SingularValues { found: k, rows, columns });
    }
    let matrix = Mat::from_fn(rows, columns, |row, column| f64::from(features[(row, column)]));
    let (values, left, right) = singular_values(matrix.as_ref())?;
    let first = values.len() - k;
    let smallest = &values[first..];
    let left = Mat::from_fn(rows, k, |row, index| left[(row, first + index)] * smallest[index]);
    let mut gradient = Mat::zeros(rows, columns);
    add_product(gradient.as_mut(), left.as_ref(), right.as_ref().subcols(first, k).transpose(), 2.0);
    let value = smallest.iter().map(|value| value * value).sum();
    Ok((value, Array2::from_shape_fn((rows, columns), |place| gradient[place] as f32)))
}
