//! Passive health: an endpoint that keeps failing real traffic is ejected for a while (outlier
//! detection by consecutive failures, as Envoy and linkerd know it).

use crate::{
    config::Outlier,
    time::{Duration, Instant, nanos},
};

/// An endpoint's standing with real traffic.
///
/// The n-th ejection lasts n times the base, at most the maximum. One ejection is forgiven for each
/// whole `max_ejection` that passes without another one, so an endpoint that flaps stays out longer
/// and longer, and one that recovered is a first offender again in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    consecutive: u32,
    ejections: u32,
    ejected_until: Option<Instant>,
    returned: Instant,
}

impl Standing {
    /// When the ejection that is on ends; none when there is none.
    #[must_use]
    pub fn ejected_until(&self) -> Option<Instant> {
        self.ejected_until
    }

    /// A request went well.
    pub fn on_success(&mut self) {
        self.consecutive = 0;
    }

    /// A request failed; gives whether an ejection is due. While ejected, what was in flight before
    /// adds nothing. An ejection that is due but not carried out stays due with each further failure.
    #[must_use]
    pub fn on_failure(&mut self, config: &Outlier) -> bool {
        if self.ejected_until.is_some() {
            return false;
        }
        self.consecutive = self.consecutive.saturating_add(1);
        config.consecutive_failures > 0 && self.consecutive >= config.consecutive_failures
    }

    /// Ejects from `now` on; gives for how long.
    pub fn eject(&mut self, config: &Outlier, now: Instant) -> Duration {
        let (base, max) = (nanos(config.base_ejection).max(1), nanos(config.max_ejection).max(1));
        let forgiven = nanos(now.since(self.returned)) / max;
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        // Past the count that reaches the maximum there is nothing to add, and too much to forgive.
        let count_max = u32::try_from(max.div_ceil(base)).unwrap_or(u32::MAX);
        self.ejections = (self.ejections.saturating_sub(forgiven) + 1).min(count_max);
        self.consecutive = 0;
        let length = Duration::from_nanos(base.saturating_mul(self.ejections.into()).min(max));
        self.ejected_until = Some(now + length);
        length
    }

    /// Ends the ejection; gives whether there was one.
    pub fn release(&mut self, now: Instant) -> bool {
        self.consecutive = 0;
        self.returned = self.returned.max(now);
        self.ejected_until.take().is_some()
    }
}

/// How many of `population` endpoints may be ejected at once: `max_ejected_percent` of them, rounded
/// down.
#[must_use]
pub fn ejected_max(config: &Outlier, population: usize) -> usize {
    let percent = config.max_ejected_percent.min(100) as usize;
    // In two parts, so that nothing overflows.
    population / 100 * percent + population % 100 * percent / 100
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const CONFIG: Outlier = Outlier {
        consecutive_failures: 3,
        base_ejection: Duration::from_secs(10),
        max_ejection: Duration::from_secs(35),
        max_ejected_percent: 50,
    };

    fn at(second: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(second)
    }

    #[test]
    fn only_consecutive_failures_count() {
        let mut standing = Standing::default();
        assert_eq!([(); 2].map(|()| standing.on_failure(&CONFIG)), [false, false]);
        standing.on_success();
        assert_eq!([(); 4].map(|()| standing.on_failure(&CONFIG)), [false, false, true, true]);
    }

    #[test]
    fn zero_switches_it_off() {
        let off = Outlier { consecutive_failures: 0, ..CONFIG };
        let mut standing = Standing::default();
        assert!((0..100).all(|_| !standing.on_failure(&off)));
    }

    #[test]
    fn ejections_grow_up_to_the_maximum_and_are_forgiven() {
        let mut standing = Standing::default();
        let mut now = 0;
        for length in [10, 20, 30, 35, 35, 35] {
            assert_eq!(standing.eject(&CONFIG, at(now)), Duration::from_secs(length));
            assert_eq!(standing.ejected_until(), Some(at(now + length)));
            assert!(!standing.on_failure(&CONFIG));
            now += length;
            assert!(standing.release(at(now)));
            assert!(!standing.release(at(now)));
            now += 5;
        }
        // Four are remembered; three times the maximum without an ejection forgives three.
        now += 3 * 35;
        assert_eq!(standing.eject(&CONFIG, at(now)), Duration::from_secs(20));
    }

    #[rstest]
    #[case(50, 1, 0)]
    #[case(50, 2, 1)]
    #[case(50, 3, 1)]
    #[case(10, 9, 0)]
    #[case(10, 10, 1)]
    #[case(100, 1, 1)]
    #[case(0, 1000, 0)]
    #[case(33, 100_001, 33_000)]
    fn the_cap_is_rounded_down(#[case] percent: u32, #[case] population: usize, #[case] max: usize) {
        let config = Outlier { max_ejected_percent: percent, ..CONFIG };
        assert_eq!(ejected_max(&config, population), max);
    }
}
