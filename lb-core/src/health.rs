//! Active health: what checks say about an endpoint, by counting (rise and fall).

use core::fmt;

use crate::{
    config::{HealthCheck, InitialHealth},
    prng::Prng,
    time::{Duration, nanos},
};

/// What active checks hold an endpoint to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// May take traffic.
    Up,
    /// Takes none.
    Down,
}

/// How a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckFailure {
    /// No connection.
    Connect,
    /// No whole head in time.
    Timeout,
    /// An answer with a status that is not expected.
    Status(u16),
    /// The connection was closed or reset before a whole head.
    Closed,
    /// The answer was not HTTP.
    Invalid,
}

/// A phrase for logs: `status 503`.
impl fmt::Display for CheckFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connection failed"),
            Self::Timeout => f.write_str("timed out"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Closed => f.write_str("connection closed"),
            Self::Invalid => f.write_str("invalid answer"),
        }
    }
}

/// What an answer with this status means for a check.
///
/// # Errors
/// [`CheckFailure::Status`] when `status` is none of those that `check` expects.
pub fn judge(check: &HealthCheck, status: u16) -> Result<(), CheckFailure> {
    if check.expect_status.iter().any(|range| (range.first..=range.last).contains(&status)) {
        Ok(())
    } else {
        Err(CheckFailure::Status(status))
    }
}

/// An endpoint's health as a state machine driven by check results.
///
/// The first result decides alone, both ways: what an endpoint counts as before it is an assumption,
/// not an observation that `rise` or `fall` results would have to outweigh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveHealth {
    health: Health,
    observed: bool,
    /// Consecutive results that speak against `health`.
    against: u32,
}

impl ActiveHealth {
    /// Before the first check.
    #[must_use]
    pub fn new(initial: InitialHealth) -> Self {
        let health = match initial {
            InitialHealth::Up => Health::Up,
            InitialHealth::Down => Health::Down,
        };
        Self { health, observed: false, against: 0 }
    }

    /// What the endpoint counts as.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// Forgets what was observed but not what it came to: the next result decides alone.
    pub fn doubt(&mut self) {
        self.observed = false;
        self.against = 0;
    }

    /// Takes a check's result; gives whether [`ActiveHealth::health`] changed. `rise` passes in a row
    /// bring an endpoint up, `fall` failures in a row take it down (0 counts as 1).
    pub fn on_result(&mut self, passed: bool, rise: u32, fall: u32) -> bool {
        let (result, needed) = if passed { (Health::Up, rise) } else { (Health::Down, fall) };
        let first = !core::mem::replace(&mut self.observed, true);
        if result == self.health {
            self.against = 0;
            return false;
        }
        self.against = self.against.saturating_add(1);
        if !first && self.against < needed {
            return false;
        }
        self.health = result;
        self.against = 0;
        true
    }
}

/// How long the first check of an endpoint waits: uniform within the jitter, so that the checks of a
/// pool, and those of many balancers that started together, do not strike at once.
#[must_use]
pub fn first_delay(check: &HealthCheck, prng: &mut Prng) -> Duration {
    Duration::from_nanos(prng.below(jitter_nanos(check).saturating_add(1)))
}

/// From the start of one check to the start of the next: the interval, moved by up to the jitter to
/// either side.
#[must_use]
pub fn next_delay(check: &HealthCheck, prng: &mut Prng) -> Duration {
    let (interval, jitter) = (nanos(check.interval), jitter_nanos(check));
    let moved = prng.below(jitter.saturating_mul(2).saturating_add(1));
    Duration::from_nanos((interval - jitter).saturating_add(moved))
}

/// At most the interval itself.
fn jitter_nanos(check: &HealthCheck) -> u64 {
    let percent = u64::from(check.jitter_percent.min(100));
    let interval = nanos(check.interval);
    interval / 100 * percent + interval % 100 * percent / 100
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::config::StatusRange;

    #[rstest]
    #[case::first_failure_decides(InitialHealth::Up, 3, 3, "-", "D")]
    #[case::first_pass_decides(InitialHealth::Down, 3, 3, "+", "U")]
    #[case::fall_in_a_row(InitialHealth::Up, 1, 3, "+--+---", "UUUUUUD")]
    #[case::rise_in_a_row(InitialHealth::Up, 2, 1, "-+-++", "DDDDU")]
    #[case::defaults(InitialHealth::Up, 1, 1, "-+-+", "DUDU")]
    #[case::zero_counts_as_one(InitialHealth::Up, 0, 0, "+-+", "UDU")]
    fn rise_and_fall(
        #[case] initial: InitialHealth,
        #[case] rise: u32,
        #[case] fall: u32,
        #[case] results: &str,
        #[case] expected: &str,
    ) {
        let mut active = ActiveHealth::new(initial);
        let seen: Vec<char> = results
            .chars()
            .map(|result| {
                active.on_result(result == '+', rise, fall);
                if active.health() == Health::Up { 'U' } else { 'D' }
            })
            .collect();
        assert_eq!(seen, expected.chars().collect::<Vec<_>>());
    }

    #[rstest]
    #[case(200, true)]
    #[case(299, true)]
    #[case(300, false)]
    #[case(302, true)]
    #[case(503, false)]
    fn statuses(#[case] status: u16, #[case] passes: bool) {
        let expect_status =
            [StatusRange { first: 200, last: 299 }, StatusRange { first: 302, last: 302 }].into();
        let check = HealthCheck { expect_status, ..HealthCheck::default() };
        assert_eq!(judge(&check, status).is_ok(), passes);
    }

    proptest! {
        /// Oracle: the last `needed` results looked at as a whole.
        #[test]
        fn health_is_a_function_of_the_last_results(
            results in prop::collection::vec(any::<bool>(), 1..60), rise in 1u32..5, fall in 1u32..5,
        ) {
            let mut active = ActiveHealth::new(InitialHealth::Up);
            let mut oracle = true;
            for end in 1..=results.len() {
                let changed = active.on_result(results[end - 1], rise, fall);
                let needed = if oracle { fall } else { rise } as usize;
                let flips = if end == 1 {
                    results[0] != oracle
                } else {
                    end >= needed && results[end - needed..end].iter().all(|&passed| passed != oracle)
                };
                oracle ^= flips;
                prop_assert_eq!(changed, flips);
                prop_assert_eq!(active.health() == Health::Up, oracle);
            }
        }

        #[test]
        fn delays_stay_within_the_jitter(seed: u64, interval_ms in 1u64..100_000, percent in 0u32..=120) {
            let interval = Duration::from_millis(interval_ms);
            let check = HealthCheck { interval, jitter_percent: percent, ..HealthCheck::default() };
            let jitter = interval * percent.min(100) / 100;
            let mut prng = Prng::new(seed);
            for _ in 0..20 {
                prop_assert!(first_delay(&check, &mut prng) <= jitter);
                let next = next_delay(&check, &mut prng);
                prop_assert!(next >= interval - jitter && next <= interval + jitter);
            }
        }
    }
}
