//! Slow start: an endpoint that came up reaches its full weight little by little.
//!
//! The weight is `weight * max(min, (elapsed / window)^(1 / aggression))`, Envoy's formula
//! (`slow_start_config`). An aggression of 1 is a straight line; above it a newcomer grows faster at first,
//! below it slower. Over a linear window with a minimum of 10 % a newcomer has 50.5 % of its weight in the
//! mean.

use crate::{
    config::SlowStart,
    limits::WEIGHT_MAX,
    time::{Duration, Instant, nanos},
};

/// Effective weights are configured ones in parts of this, so that a share of a weight of 1 is an
/// integer.
pub(crate) const PARTS: u32 = 1000;
/// How often weights are computed anew while one of them grows.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// The effective weight of an endpoint that is up to speed.
pub(crate) fn full_weight(weight: u32) -> u32 {
    weight.min(WEIGHT_MAX) * PARTS
}

/// The effective weight of an endpoint, and whether it still grows. `since` is when it came up.
pub(crate) fn effective_weight(
    weight: u32,
    since: Option<Instant>,
    start: &SlowStart,
    now: Instant,
) -> (u32, bool) {
    let Some(since) = since else { return (full_weight(weight), false) };
    let (elapsed, window) = (nanos(now.since(since)), nanos(start.window));
    if elapsed >= window {
        return (full_weight(weight), false);
    }
    let min = (PARTS / 100 * start.min_weight_percent).clamp(1, PARTS);
    (weight.min(WEIGHT_MAX) * parts(elapsed, window, start.aggression_percent).clamp(min, PARTS), true)
}

/// `(elapsed / window)^(1 / aggression)` in [`PARTS`], rounded down; `elapsed` is less than `window`.
fn parts(elapsed: u64, window: u64, aggression_percent: u32) -> u32 {
    if aggression_percent == 100 {
        let parts = u128::from(elapsed) * u128::from(PARTS) / u128::from(window);
        return u32::try_from(parts).unwrap_or(PARTS);
    }
    // In software, and so the same on every machine.
    let share = libm::pow(elapsed as f64 / window as f64, 100.0 / f64::from(aggression_percent.max(1)));
    (share * f64::from(PARTS)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// Envoy's documented examples with a window of 60 s, and the powers of a calculator.
    #[rstest]
    #[case(100, 0, 100, true)]
    #[case(100, 5, 100, true)]
    #[case(100, 15, 250, true)]
    #[case(100, 30, 500, true)]
    #[case(100, 45, 750, true)]
    #[case(100, 60, 1000, false)]
    #[case(100, 600, 1000, false)]
    #[case(200, 6, 316, true)]
    #[case(200, 15, 500, true)]
    #[case(200, 30, 707, true)]
    #[case(50, 12, 100, true)]
    #[case(50, 30, 250, true)]
    #[case(50, 45, 562, true)]
    fn by_the_formula(
        #[case] aggression_percent: u32,
        #[case] second: u64,
        #[case] parts: u32,
        #[case] grows: bool,
    ) {
        let start = Instant::from_nanos(7);
        let now = start + Duration::from_secs(second);
        let slow = SlowStart { window: Duration::from_secs(60), aggression_percent, ..SlowStart::default() };
        assert_eq!(effective_weight(3, Some(start), &slow, now), (3 * parts, grows));
    }

    #[test]
    fn the_mean_weight_over_the_window() {
        let slow = SlowStart { window: Duration::from_secs(1), ..SlowStart::default() };
        let at = |milli: u64| Instant::ZERO + Duration::from_millis(milli);
        let sum: u64 =
            (0..1000).map(|milli| u64::from(effective_weight(1, Some(at(0)), &slow, at(milli)).0)).sum();
        assert_eq!(sum / 1000, 504, "0.505, rounded down at each step");
    }

    #[test]
    fn without_a_window_or_a_start_the_weight_is_full() {
        let now = Instant::from_nanos(5);
        let off = SlowStart::default();
        assert_eq!(effective_weight(2, Some(now), &off, now), (2000, false));
        let slow = SlowStart { window: Duration::from_secs(9), ..off };
        assert_eq!(effective_weight(2, None, &slow, now), (2000, false));
        assert_eq!(effective_weight(u32::MAX, None, &off, now).0, WEIGHT_MAX * PARTS);
    }

    proptest! {
        #[test]
        fn never_falls_and_stays_in_its_bounds(
            window in 1u64..1 << 40, first: u64, second: u64, aggression in 1u32..=10_000, min in 1u32..=100,
        ) {
            let slow = SlowStart {
                window: Duration::from_nanos(window), aggression_percent: aggression, min_weight_percent: min,
            };
            let (first, second) = (first % window, second % window);
            let weight = |at| effective_weight(7, Some(Instant::ZERO), &slow, Instant::from_nanos(at)).0;
            prop_assert!(weight(first.min(second)) <= weight(first.max(second)));
            prop_assert!((7 * 10 * min..=7000).contains(&weight(first)));
        }
    }
}
