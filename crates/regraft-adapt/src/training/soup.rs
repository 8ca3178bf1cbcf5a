//! Model soups: means of the weights of several trainings from one start (Wortsman et al. 2022).

/// The mean of lists of values of one length; empty for none.
pub fn mean(lists: &[&[f32]]) -> Vec<f32> {
    let count = lists.iter().map(|list| list.len()).min().unwrap_or(0);
    let at =
        |place: usize| lists.iter().filter_map(move |list| list.get(place)).map(|value| f64::from(*value));
    (0..count).map(|place| (at(place).sum::<f64>() / lists.len() as f64) as f32).collect()
}

/// Chooses the ingredients of a soup greedily (Wortsman et al. 2022, recipe 1). From the lowest validation loss on, each stays if the
/// loss of the soup with it is not higher than without. `losses` has that of each ingredient alone; `loss_of` gives that of the mean of
/// those at some places. Returns the places that are kept, the best ingredient first: never none, and never more than the loss of that
/// one.
///
/// # Errors
/// Those of `loss_of`.
pub fn greedy_soup<E>(
    losses: &[f64],
    loss_of: &mut dyn FnMut(&[usize]) -> Result<f64, E>,
) -> Result<Vec<usize>, E> {
    let mut order: Vec<(usize, f64)> = losses.iter().copied().enumerate().collect();
    order.sort_by(|one, other| one.1.total_cmp(&other.1));
    let Some((best, mut least)) = order.first().copied() else { return Ok(Vec::new()) };
    let mut kept = vec![best];
    for (place, _) in order.into_iter().skip(1) {
        kept.push(place);
        let loss = loss_of(&kept)?;
        if loss <= least {
            least = loss;
        } else {
            kept.pop();
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_one_is_itself() {
        let (one, other) = ([0.5, -3.0, 1e30], [0.25, 1.0, -1e30]);
        assert_eq!(mean(&[&one]), one);
        assert_eq!(mean(&[&one, &other, &other]), [1.0 / 3.0, -1.0 / 3.0, -1e30 / 3.0]);
        assert!(mean(&[]).is_empty());
    }

    #[test]
    fn an_ingredient_stays_where_the_loss_does_not_rise() {
        // The loss of a soup is the distance of its mean from 1.
        let ingredients: [f64; 5] = [3.0, 0.5, 1.6, 0.5, f64::NAN];
        let losses = ingredients.map(|ingredient| (ingredient - 1.0).abs());
        let mut tried = Vec::new();
        let kept = greedy_soup::<()>(&losses, &mut |places| {
            tried.push(places.to_vec());
            let sum: f64 = places.iter().map(|place| ingredients[*place]).sum();
            Ok((sum / places.len() as f64 - 1.0).abs())
        });
        // Those of one loss in their order; what makes no difference stays, what is no number does not.
        assert_eq!(kept, Ok(vec![1, 3, 2]));
        assert_eq!(tried, [vec![1, 3], vec![1, 3, 2], vec![1, 3, 2, 0], vec![1, 3, 2, 4]]);
        assert_eq!(greedy_soup::<()>(&[], &mut |_| Ok(0.0)), Ok(Vec::new()));
        assert_eq!(greedy_soup(&[0.1, 0.2], &mut |_| Err("broken")), Err("broken"));
    }
}
