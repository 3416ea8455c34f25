//! Which success rates are out of line with the others.
//!
//! Two rules, both in exact integer arithmetic:
//!
//! - [`below_mean`], Envoy's: below `mean - factor * standard deviation` (of the population). With k bad ones
//!   among n, all bad alike and all others alike, it finds them if and only if `(n - k) / k > factor^2`,
//!   whatever they do: with the usual 1.9 fewer than 0.217 n, and one in four never. What differs by next to
//!   nothing is found as well, as the deviation is small then.
//! - [`below_median`], robust: below the median by more than `factor * 1.4826 * MAD` (the median absolute
//!   deviation, scaled to a standard deviation of the normal law) and by more than a floor. It finds what is
//!   bad as long as it is a minority, however the others of the minority behave, and never what is within
//!   the floor (Hampel, "The Influence Curve and Its Role in Robust Estimation", 1974).

use alloc::vec::Vec;

use crate::config::{Robust, SuccessRate};

/// A success rate of 1.
pub const RATE_ONE: u64 = 1_000_000;

/// The share of `successes` among `requests` in parts of [`RATE_ONE`]; 1 for no requests.
#[must_use]
pub fn rate(successes: u64, requests: u64) -> u64 {
    let parts = u128::from(successes.min(requests)) * u128::from(RATE_ONE);
    parts.checked_div(requests.into()).map_or(RATE_ONE, |parts| parts as u64)
}

/// For each of `rates` whether it is below the mean by more than the factor allows.
#[must_use]
pub fn below_mean(config: &SuccessRate, rates: &[u64]) -> Vec<bool> {
    let count = rates.len() as i128;
    let sum: i128 = rates.iter().map(|&rate| i128::from(rate)).sum();
    let squares: i128 = rates.iter().map(|&rate| i128::from(rate) * i128::from(rate)).sum();
    // All times the square of the count: neither a division nor a root is left.
    let variance = count * squares - sum * sum;
    let factor = i128::from(config.factor_percent);
    let is_out = |&rate: &u64| {
        let below = sum - count * i128::from(rate);
        below > 0 && below * below * 10_000 > factor * factor * variance
    };
    rates.iter().map(is_out).collect()
}

/// For each of `rates` whether it is below the median by more than the factor and the floor allow.
#[must_use]
pub fn below_median(config: &Robust, rates: &[u64]) -> Vec<bool> {
    // Medians come doubled, so that those of an even count are integers.
    let median2 = double_median(rates.to_vec());
    let deviations = rates.iter().map(|&rate| (2 * rate).abs_diff(median2)).collect();
    let deviation4 = double_median(deviations);
    let spread = u128::from(config.factor_percent) * 14_826 * u128::from(deviation4);
    let floor2 = 2 * u128::from(config.floor_percent) * u128::from(RATE_ONE / 100);
    let is_out = |&rate: &u64| {
        let below2 = u128::from(median2.saturating_sub(2 * rate));
        below2 > floor2 && below2 * 2 * 100 * 10_000 > spread
    };
    rates.iter().map(is_out).collect()
}

/// Twice the median: the sum of the two in the middle; 0 of nothing.
fn double_median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    let count = values.len();
    match count {
        0 => 0,
        _ => values[(count - 1) / 2] + values[count / 2],
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const PERCENT: u64 = RATE_ONE / 100;

    fn percents(rates: &[u64]) -> Vec<u64> {
        rates.iter().map(|rate| rate * PERCENT).collect()
    }

    fn places(flags: &[bool]) -> Vec<usize> {
        (0..flags.len()).filter(|&index| flags[index]).collect()
    }

    /// Mean 90, variance 400, deviation 20: the threshold is 52 with a factor of 1.9, 50 with one of 2.
    #[rstest]
    #[case(&[50, 100, 100, 100, 100], 190, &[0])]
    #[case(&[50, 100, 100, 100, 100], 200, &[])]
    #[case(&[100, 100, 100, 0], 190, &[])]
    #[case(&[99, 100, 100, 100, 100], 190, &[0])]
    #[case(&[100; 5], 190, &[])]
    #[case(&[], 190, &[])]
    fn against_the_mean(#[case] rates: &[u64], #[case] factor_percent: u32, #[case] expected: &[usize]) {
        assert_eq!(places(&below_mean(&SuccessRate { factor_percent }, &percents(rates))), expected);
    }

    #[rstest]
    #[case(&[50, 100, 100, 100, 100], &[0])]
    #[case(&[99, 100, 100, 100, 100], &[])]
    #[case(&[95, 100, 100, 100, 100], &[])]
    #[case(&[94, 100, 100, 100, 100], &[0])]
    #[case(&[0, 0, 100, 100, 100], &[0, 1])]
    #[case(&[0, 0, 100, 100], &[])]
    #[case(&[80, 90, 70, 85, 75, 0], &[5])]
    #[case(&[10, 90, 100], &[0])]
    #[case(&[], &[])]
    fn against_the_median(#[case] rates: &[u64], #[case] expected: &[usize]) {
        assert_eq!(places(&below_median(&Robust::default(), &percents(rates))), expected);
    }

    #[rstest]
    #[case(0, 0, RATE_ONE)]
    #[case(1, 3, 333_333)]
    #[case(7, 3, RATE_ONE)]
    #[case(u64::MAX, u64::MAX, RATE_ONE)]
    fn rates(#[case] successes: u64, #[case] requests: u64, #[case] expected: u64) {
        assert_eq!(rate(successes, requests), expected);
    }

    /// How many bad ones of n are found at most: the table that belongs to the theorem.
    #[test]
    fn the_most_that_the_mean_rule_finds() {
        let most = |count: usize| {
            let found = |bad: usize| {
                let rates: Vec<u64> =
                    (0..count).map(|index| if index < bad { 0 } else { RATE_ONE }).collect();
                below_mean(&SuccessRate::default(), &rates)[0]
            };
            (1..count).rev().find(|&bad| found(bad)).unwrap_or(0)
        };
        assert_eq!([4, 5, 10, 20, 100].map(most), [0, 1, 2, 4, 21]);
    }

    proptest! {
        /// k bad ones among n are found if and only if `(n - k) / k > factor^2`, however bad they are.
        #[test]
        fn the_theorem_on_the_mean_rule(
            count in 2u64..300, bad in 1u64..300, low in 0..RATE_ONE, above in 1..=RATE_ONE, factor in 1u32..400,
        ) {
            let (bad, high) = (bad.min(count - 1), (low + above).min(RATE_ONE));
            let mut rates = vec![high; count as usize];
            rates[..bad as usize].fill(low);
            let found = below_mean(&SuccessRate { factor_percent: factor }, &rates);
            let expected = (count - bad) * 10_000 > bad * u64::from(factor).pow(2);
            prop_assert!(found[..bad as usize].iter().all(|&found| found == expected));
            prop_assert!(!found[bad as usize..].iter().any(|&found| found));
        }

        /// Oracle: the same in floating point, where it is not a matter of rounding.
        #[test]
        fn agrees_with_the_formula(rates in prop::collection::vec(0..=RATE_ONE, 1..40), factor in 50u32..400) {
            let count = rates.len() as f64;
            let mean = rates.iter().sum::<u64>() as f64 / count;
            let variance = rates.iter().map(|&rate| (rate as f64 - mean).powi(2)).sum::<f64>() / count;
            let threshold = mean - f64::from(factor) / 100.0 * variance.sqrt();
            let found = below_mean(&SuccessRate { factor_percent: factor }, &rates);
            for (&rate, found) in rates.iter().zip(found) {
                let distance = threshold - rate as f64;
                if distance.abs() > 1e-3 && (mean - rate as f64).abs() > 1e-3 {
                    prop_assert_eq!(found, distance > 0.0);
                }
            }
        }

        /// The good ones are a majority and lie within `spread` of each other. A bad one that is below all
        /// of them by more than the floor and the scaled spread is found, whatever the other bad ones do;
        /// and no good one is, while their spread is within the floor.
        #[test]
        fn a_minority_masks_nobody_and_blames_nobody(
            good in prop::collection::vec(0..=10 * PERCENT, 1..60),
            bad in prop::collection::vec(0..=RATE_ONE, 0..59),
            base in 0..=90 * PERCENT, factor in 100u32..500, floor in 1u32..=50,
        ) {
            let bad = &bad[..bad.len().min(good.len() - 1)];
            let good: Vec<u64> = good.iter().map(|rate| base + rate).collect();
            let (least, most) = (*good.iter().min().unwrap(), *good.iter().max().unwrap());
            let config = Robust { factor_percent: factor, floor_percent: floor };
            let all: Vec<u64> = good.iter().chain(bad).copied().collect();
            let found = below_median(&config, &all);
            let spread = (u64::from(factor) * 14_826 * (most - least)).div_ceil(1_000_000);
            let reach = spread.max(u64::from(floor) * PERCENT);
            for (&rate, &found) in bad.iter().zip(&found[good.len()..]) {
                if rate + reach < least { prop_assert!(found, "{} of {:?}", rate, all); }
            }
            if most - least <= u64::from(floor) * PERCENT {
                prop_assert!(!found[..good.len()].iter().any(|&found| found));
            }
        }
    }
}
