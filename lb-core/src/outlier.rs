//! Passive health: an endpoint that fails real traffic is ejected for a while. What ejects is a run of
//! consecutive failures (as Envoy and linkerd know it), or a success rate that is out of line with those of
//! the others (see [`rates`]).

pub mod rates;

use alloc::vec::Vec;

use crate::{
    config::Outlier,
    time::{Duration, Instant, nanos},
};

/// Which comparison of success rates found an outlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// [`rates::below_mean`]
    SuccessRate,
    /// [`rates::below_median`]
    Robust,
}

/// The requests of one endpoint in the interval that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    successes: u64,
    requests: u64,
}

impl Record {
    /// Counts a request.
    pub fn count(&mut self, is_success: bool) {
        self.successes += u64::from(is_success);
        self.requests += 1;
    }
}

/// Who of `records` is out of line, by place, the worst rate first. Those with too few requests neither
/// count nor are judged, and where too few have enough nobody is.
#[must_use]
pub fn outliers(config: &Outlier, records: &[Record]) -> Vec<(usize, Rule)> {
    let has_enough = |record: &&(usize, &Record)| record.1.requests >= config.min_requests.into();
    let judged: Vec<(usize, &Record)> = records.iter().enumerate().filter(|one| has_enough(&one)).collect();
    if judged.len() < config.min_backends as usize {
        return Vec::new();
    }
    let all: Vec<u64> =
        judged.iter().map(|(_, record)| rates::rate(record.successes, record.requests)).collect();
    let robust = config.robust.map(|robust| rates::below_median(&robust, &all));
    let by_mean = config.success_rate.map(|rate| rates::below_mean(&rate, &all));
    let is_in = |flags: &Option<Vec<bool>>, at: usize| flags.as_ref().is_some_and(|flags| flags[at]);
    let mut found: Vec<(u64, usize, Rule)> = (0..judged.len())
        .filter_map(|at| {
            let rule = match (is_in(&robust, at), is_in(&by_mean, at)) {
                (true, _) => Rule::Robust,
                (false, true) => Rule::SuccessRate,
                (false, false) => return None,
            };
            Some((all[at], judged[at].0, rule))
        })
        .collect();
    found.sort_unstable_by_key(|&(rate, place, _)| (rate, place));
    found.into_iter().map(|(_, place, rule)| (place, rule)).collect()
}

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
    record: Record,
}

impl Standing {
    /// When the ejection that is on ends; none when there is none.
    #[must_use]
    pub fn ejected_until(&self) -> Option<Instant> {
        self.ejected_until
    }

    /// Counts a request for the comparison of success rates.
    pub fn count(&mut self, is_success: bool) {
        self.record.count(is_success);
    }

    /// Ends an interval: what was counted in it.
    pub fn take_record(&mut self) -> Record {
        core::mem::take(&mut self.record)
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
    use crate::config::{Robust, SuccessRate};

    const CONFIG: Outlier = Outlier {
        consecutive_failures: 3,
        base_ejection: Duration::from_secs(10),
        max_ejection: Duration::from_secs(35),
        max_ejected_percent: 50,
        interval: Duration::from_secs(10),
        min_requests: 100,
        min_backends: 3,
        success_rate: None,
        robust: None,
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

    fn record(successes: u64, requests: u64) -> Record {
        Record { successes, requests }
    }

    #[test]
    fn only_those_with_enough_requests_are_judged() {
        let config = Outlier { robust: Some(Robust::default()), ..CONFIG };
        let mut records = [
            record(0, 99),
            record(100, 100),
            record(50, 100),
            record(100, 100),
            record(0, 200),
            record(300, 300),
        ];
        assert_eq!(outliers(&config, &records), [(4, Rule::Robust), (2, Rule::Robust)], "the worst first");
        records[5] = record(0, 0);
        records[3] = record(0, 0);
        assert_eq!(outliers(&config, &records[..4]), [], "two are too few");
    }

    #[test]
    fn each_rule_says_that_it_was_it() {
        let records =
            [record(96, 100), record(100, 100), record(100, 100), record(100, 100), record(100, 100)];
        let by_mean = Outlier { success_rate: Some(SuccessRate::default()), ..CONFIG };
        assert_eq!(outliers(&by_mean, &records), [(0, Rule::SuccessRate)]);
        assert_eq!(outliers(&Outlier { robust: Some(Robust::default()), ..CONFIG }, &records), []);
        assert_eq!(outliers(&CONFIG, &records), []);
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
