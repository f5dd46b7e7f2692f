//! Medians, spreads and percentiles of small sets of figures.

/// The median, or `None` of nothing. The mean of the two in the middle when the count is even.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Distance from the smallest to the largest value, in per cent of the median; `None` of fewer than two.
pub(super) fn spread_percent(values: &[f64]) -> Option<f64> {
    let median = median(values)?;
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    (median > 0.0 && values.len() > 1).then(|| (largest - smallest) / median * 100.0)
}

/// The value that `per_mille` of 1,000 values do not exceed (nearest rank). `sorted` ascends.
pub(super) fn percentile(sorted: &[u64], per_mille: usize) -> Option<u64> {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(value: Option<f64>, expected: f64) {
        let value = value.unwrap();
        assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
    }

    #[test]
    fn the_median_is_the_middle_of_an_odd_count_whatever_the_order() {
        assert_near(median(&[9.0, 1.0, 5.0]), 5.0);
    }

    #[test]
    fn the_median_of_an_even_count_lies_between_the_two_in_the_middle() {
        assert_near(median(&[4.0, 1.0, 3.0, 100.0]), 3.5);
    }

    #[test]
    fn nothing_has_no_median_or_percentile_and_one_value_no_spread() {
        assert!(median(&[]).is_none());
        assert!(spread_percent(&[]).is_none());
        assert!(percentile(&[], 500).is_none());
        assert!(spread_percent(&[5.0]).is_none());
    }

    #[test]
    fn the_spread_is_relative_to_the_median() {
        assert_near(spread_percent(&[90.0, 100.0, 120.0]), 30.0);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<u64> = (1..=1000).collect();
        assert_eq!(percentile(&values, 500), Some(500));
        assert_eq!(percentile(&values, 990), Some(990));
        assert_eq!(percentile(&values, 999), Some(999));
        assert_eq!(percentile(&values, 1000), Some(1000));
        assert_eq!(percentile(&[7], 1), Some(7));
        assert_eq!(percentile(&[1, 2, 3], 500), Some(2));
    }
}
