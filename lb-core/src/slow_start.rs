//! Slow start: an endpoint that came up reaches its full weight little by little.

use crate::{
    limits::WEIGHT_MAX,
    time::{Duration, Instant, nanos},
};

/// Effective weights are configured ones in parts of this, so that a share of a weight of 1 is an
/// integer.
pub(crate) const PARTS: u32 = 1000;
/// The least share, so that a newcomer is neither starved nor flooded by one rounding.
const PARTS_MIN: u32 = PARTS / 10;
/// How often weights are computed anew while one of them grows.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// The effective weight of an endpoint that is up to speed.
pub(crate) fn full_weight(weight: u32) -> u32 {
    weight.min(WEIGHT_MAX) * PARTS
}

/// The effective weight of an endpoint, and whether it still grows. `since` is when it came up, `window`
/// how long it takes to the full weight (zero: none). Linear, from a tenth: Envoy's slow start with an
/// aggression of 1.
pub(crate) fn effective_weight(
    weight: u32,
    since: Option<Instant>,
    window: Duration,
    now: Instant,
) -> (u32, bool) {
    let Some(since) = since else { return (full_weight(weight), false) };
    let (elapsed, window) = (nanos(now.since(since)), nanos(window));
    if elapsed >= window {
        return (full_weight(weight), false);
    }
    let parts = u128::from(elapsed) * u128::from(PARTS) / u128::from(window);
    let parts = u32::try_from(parts).unwrap_or(PARTS).clamp(PARTS_MIN, PARTS);
    (weight.min(WEIGHT_MAX) * parts, true)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Envoy's documented examples with a window of 60 s.
    #[rstest]
    #[case(0, 100, true)]
    #[case(5, 100, true)]
    #[case(15, 250, true)]
    #[case(30, 500, true)]
    #[case(45, 750, true)]
    #[case(60, 1000, false)]
    #[case(600, 1000, false)]
    fn grows_linearly(#[case] second: u64, #[case] parts: u32, #[case] grows: bool) {
        let start = Instant::from_nanos(7);
        let now = start + Duration::from_secs(second);
        assert_eq!(effective_weight(3, Some(start), Duration::from_secs(60), now), (3 * parts, grows));
    }

    #[test]
    fn without_a_window_or_a_start_the_weight_is_full() {
        let now = Instant::from_nanos(5);
        assert_eq!(effective_weight(2, Some(now), Duration::ZERO, now), (2000, false));
        assert_eq!(effective_weight(2, None, Duration::from_secs(9), now), (2000, false));
        assert_eq!(effective_weight(u32::MAX, None, Duration::ZERO, now).0, WEIGHT_MAX * PARTS);
    }
}
