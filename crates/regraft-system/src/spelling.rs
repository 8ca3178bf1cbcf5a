//! What somebody may have meant by a name that is not known.

/// The name that is fewest edits away, if that is at most a third of the word.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let length = |name: &str| name.chars().count();
    let limit = (length(name) / 3).max(2);
    // Lengths alone are a lower bound, which spares most of a long list.
    let like = known.iter().filter(|candidate| length(candidate).abs_diff(length(name)) <= limit);
    like.map(|candidate| (edits(name, candidate), *candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein distance: insertions, deletions and substitutions.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut previous = index + 1;
        let mut next = vec![previous];
        for ((other, diagonal), above) in right.iter().zip(&row).zip(row.iter().skip(1)) {
            let substituted = diagonal + usize::from(letter != *other);
            previous = substituted.min(above + 1).min(previous + 1);
            next.push(previous);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (left, right, expected) in
            [("", "abc", 3), ("kitten", "sitting", 3), ("resnet50", "resnet50", 0), ("flaw", "lawn", 2)]
        {
            assert_eq!(edits(left, right), expected, "{left} {right}");
            assert_eq!(edits(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn suggests_only_what_is_alike() {
        let known = ["resnet18", "resnet50", "efficientnet-lite0"];
        assert_eq!(nearest("resnet5O", &known), Some("resnet50"));
        assert_eq!(nearest("efficientnet_lite0", &known), Some("efficientnet-lite0"));
        assert_eq!(nearest("vgg", &known), None);
    }
}
