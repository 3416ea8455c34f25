//! Retries: what may be tried again, and how often a pool allows it.

use crate::{
    config::{FundedBy, Retry},
    limits::RETRY_BUDGET_WINDOW_SECONDS,
    time::{Instant, nanos},
};

/// Whether sending a request twice means no more than sending it once (RFC 9110, section 9.2.2).
/// Methods are case-sensitive.
#[must_use]
pub fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE")
}

/// How much of a request had gone out to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Not a byte: the backend cannot have acted on it.
    Nothing,
    /// Bytes went out, but none of the client's body was consumed: all of it can be sent again.
    Head,
    /// Part of the client's body was consumed and is gone.
    Body,
}

/// Whether a request that got this far may be sent again.
#[must_use]
pub fn may_resend(sent: Sent, idempotent: bool) -> bool {
    match sent {
        Sent::Nothing => true,
        Sent::Head => idempotent,
        Sent::Body => false,
    }
}

/// Whether sending it again costs something of the [`RetryBudget`], which keeps retries from multiplying the work
/// of backends. What never left made no work; it goes elsewhere for nothing, as gRPC's transparent retries do
/// (proposal A6).
#[must_use]
pub fn pays(sent: Sent) -> bool {
    sent != Sent::Nothing
}

const WINDOW: usize = RETRY_BUDGET_WINDOW_SECONDS as usize;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// What a retry costs, in the unit of the deposits: a request pays in `budget_percent`.
const RETRY_COST: u64 = 100;

/// How many retries that [pay](pays) a pool may make: a share of its requests and a small floor.
///
/// Two integer token buckets. Each request (or, with `funded_by = "successes"`, each success) pays in
/// `budget_percent` hundredths of a retry, which can be used within ten seconds (the leaky bucket of Finagle's
/// `RetryBudget`, counted by whole seconds); the floor pays in `budget_floor` retries a second and saves up
/// those of ten seconds. Over any time, retries that pay are therefore at most `percent` of the requests in it
/// and the ten seconds before, and `floor` for each second in it and ten more. In a total outage, the work that
/// backends are given grows by the percentage and no more.
/// Where successes pay, nobody pays in a total outage: retries die out but for the floor, and with a share of
/// failures p, load grows by `f * (1 - p) / (1 - f * (1 - p))` at most, with f the percentage (Brooker, "Fixing
/// retries with token buckets and circuit breakers", 2022).
#[derive(Clone, Debug)]
pub struct RetryBudget {
    /// Hundredths of a retry by the second in which they were paid in.
    paid_in: [u64; WINDOW],
    /// The second of the newest cell.
    second: u64,
    /// Billionths of a retry that the floor has saved up.
    floor: u64,
    /// Until when the floor has been counted.
    counted: Instant,
}

impl RetryBudget {
    /// A budget with no requests yet and a full floor.
    #[must_use]
    pub fn new(config: &Retry, now: Instant) -> Self {
        let second = now.as_nanos() / NANOS_PER_SECOND;
        Self { paid_in: [0; WINDOW], second, floor: floor_max(config), counted: now }
    }

    /// A request was taken in.
    pub fn on_request(&mut self, config: &Retry, now: Instant) {
        if config.funded_by == FundedBy::Requests {
            self.deposit(config, now);
        }
    }

    /// A backend answered well.
    pub fn on_success(&mut self, config: &Retry, now: Instant) {
        if config.funded_by == FundedBy::Successes {
            self.deposit(config, now);
        }
    }

    fn deposit(&mut self, config: &Retry, now: Instant) {
        self.advance(now);
        let cell = &mut self.paid_in[(self.second % WINDOW as u64) as usize];
        *cell = cell.saturating_add(config.budget_percent.into());
    }

    /// Whether [`RetryBudget::withdraw`] would succeed.
    #[must_use]
    pub fn allows(&mut self, config: &Retry, now: Instant) -> bool {
        self.advance(now);
        self.count_floor(config, now);
        self.floor >= NANOS_PER_SECOND || self.paid_in_total() >= RETRY_COST
    }

    /// Pays for a retry; gives whether there was enough. What expires first is used first, the floor
    /// last.
    #[must_use]
    pub fn withdraw(&mut self, config: &Retry, now: Instant) -> bool {
        self.advance(now);
        self.count_floor(config, now);
        if self.paid_in_total() >= RETRY_COST {
            self.take_oldest();
            return true;
        }
        let enough = self.floor >= NANOS_PER_SECOND;
        if enough {
            self.floor -= NANOS_PER_SECOND;
        }
        enough
    }

    fn paid_in_total(&self) -> u64 {
        self.paid_in.iter().fold(0, |sum, &cell| sum.saturating_add(cell))
    }

    fn take_oldest(&mut self) {
        let mut due = RETRY_COST;
        for age in (0..WINDOW as u64).rev() {
            // The second may be younger than the window; then those cells are empty.
            let cell = &mut self.paid_in[((self.second + WINDOW as u64 - age) % WINDOW as u64) as usize];
            let taken = due.min(*cell);
            *cell -= taken;
            due -= taken;
        }
    }

    /// Empties the cells of the seconds that have begun since. Time that goes backwards stands still.
    fn advance(&mut self, now: Instant) {
        let second = now.as_nanos() / NANOS_PER_SECOND;
        if second <= self.second {
            return;
        }
        for begun in (self.second + 1..=second).take(WINDOW) {
            self.paid_in[(begun % WINDOW as u64) as usize] = 0;
        }
        self.second = second;
    }

    fn count_floor(&mut self, config: &Retry, now: Instant) {
        let gained = nanos(now.since(self.counted)).saturating_mul(config.budget_floor.into());
        self.counted = self.counted.max(now);
        self.floor = self.floor.saturating_add(gained).min(floor_max(config));
    }
}

fn floor_max(config: &Retry) -> u64 {
    u64::from(config.budget_floor).saturating_mul(RETRY_BUDGET_WINDOW_SECONDS * NANOS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use alloc::{collections::VecDeque, vec::Vec};

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::time::Duration;

    fn config(budget_percent: u32, budget_floor: u32) -> Retry {
        Retry { budget_percent, budget_floor, ..Retry::default() }
    }

    #[rstest]
    #[case("GET", true)]
    #[case("PUT", true)]
    #[case("POST", false)]
    #[case("PATCH", false)]
    #[case("CONNECT", false)]
    #[case("get", false)]
    #[case("", false)]
    fn idempotent_methods(#[case] method: &str, #[case] idempotent: bool) {
        assert_eq!(is_idempotent(method), idempotent);
    }

    #[rstest]
    #[case(Sent::Nothing, false, true)]
    #[case(Sent::Head, false, false)]
    #[case(Sent::Head, true, true)]
    #[case(Sent::Body, true, false)]
    fn what_may_be_sent_again(#[case] sent: Sent, #[case] idempotent: bool, #[case] may: bool) {
        assert_eq!(may_resend(sent, idempotent), may);
    }

    #[test]
    fn a_total_outage_grows_the_load_by_the_percentage() {
        let config = config(20, 0);
        let mut budget = RetryBudget::new(&config, Instant::ZERO);
        let mut retries = 0;
        for request in 0..10_000u64 {
            let now = Instant::ZERO + Duration::from_millis(request * 10);
            budget.on_request(&config, now);
            retries += u32::from(budget.withdraw(&config, now));
        }
        assert_eq!(retries, 2000);
    }

    /// Attempts for each request when a share `failing` of 1000 tries fails, spread evenly, with up to three
    /// tries and no floor.
    fn amplification(config: &Retry, requests: u64, failing: u64, seed: u64) -> f64 {
        let (mut budget, mut prng) = (RetryBudget::new(config, Instant::ZERO), crate::prng::Prng::new(seed));
        let mut attempts = 0u64;
        for request in 0..requests {
            let now = Instant::ZERO + Duration::from_millis(request);
            budget.on_request(config, now);
            for attempt in 1..=3 {
                attempts += 1;
                if prng.below(1000) >= failing {
                    budget.on_success(config, now);
                    break;
                }
                if attempt == 3 || !budget.withdraw(config, now) {
                    break;
                }
            }
        }
        attempts as f64 / requests as f64
    }

    /// `1 + min(p + p^2, f (1 - p) / (1 - f (1 - p)))` with f = 0.1.
    #[rstest]
    #[case(0, 1.0)]
    #[case(50, 1.0525)]
    #[case(100, 1.0989)]
    #[case(200, 1.0870)]
    #[case(500, 1.0526)]
    #[case(1000, 1.0)]
    fn successes_fund_what_the_formula_says(#[case] failing: u64, #[case] expected: f64) {
        let config = Retry { funded_by: FundedBy::Successes, ..config(10, 0) };
        let found = amplification(&config, 20_000, failing, 7);
        assert!((found - expected).abs() < 0.01, "{found}, expected {expected}");
    }

    #[test]
    fn a_total_outage_is_the_end_of_retries_that_successes_fund() {
        let config = Retry { funded_by: FundedBy::Successes, ..config(20, 0) };
        let mut budget = RetryBudget::new(&config, Instant::ZERO);
        let at = |second| Instant::ZERO + Duration::from_secs(second);
        for _ in 0..1000 {
            budget.on_success(&config, at(0));
        }
        let mut retries = |second| {
            (0..1000)
                .filter(|_| {
                    budget.on_request(&config, at(second));
                    budget.withdraw(&config, at(second))
                })
                .count()
        };
        assert_eq!([retries(1), retries(2), retries(20)], [200, 0, 0]);
    }

    #[test]
    fn the_floor_holds_without_traffic() {
        let config = config(20, 3);
        let mut budget = RetryBudget::new(&config, Instant::ZERO);
        let mut take = |second: u64| {
            let now = Instant::ZERO + Duration::from_secs(second);
            (0..1000).filter(|_| budget.allows(&config, now) && budget.withdraw(&config, now)).count()
        };
        assert_eq!([0, 0, 1, 2, 7, 100].map(&mut take), [30, 0, 3, 3, 15, 30]);
    }

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Wait(u64),
        Request,
        Retry,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            1 => (0u64..3_000_000_000).prop_map(Op::Wait),
            1 => (9_000_000_000u64..12_000_000_000).prop_map(Op::Wait),
            9 => Just(Op::Request),
            9 => Just(Op::Retry)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 8))]

        /// However many tries fail, load grows by the percentage of what pays, and no more.
        #[test]
        fn amplification_is_bounded(percent in 0u32..=100, failing in 0u64..=1000, seed: u64) {
            let f = f64::from(percent) / 100.0;
            let by_requests = amplification(&config(percent, 0), 4000, failing, seed);
            prop_assert!(by_requests <= 1.0 + f + 1e-9, "{}", by_requests);
            let by_successes = Retry { funded_by: FundedBy::Successes, ..config(percent, 0) };
            let p = failing as f64 / 1000.0;
            let bound = 1.0 + f * (1.0 - p) / (1.0 - f * (1.0 - p)).max(1e-9);
            let found = amplification(&by_successes, 4000, failing, seed);
            // The tries that fail are drawn: some standard deviations.
            prop_assert!(found <= bound.min(1.0 + f) + 0.06, "{} above {}", found, bound);
        }
    }

    proptest! {
        /// Oracle: every hundredth of a retry as an entry of a queue, and the floor as a fraction.
        #[test]
        fn equals_a_queue_of_tokens(
            ops in prop::collection::vec(op(), 0..150), percent in 0u32..=100, floor in 0u32..4,
        ) {
            let config = config(percent, floor);
            let mut budget = RetryBudget::new(&config, Instant::ZERO);
            let mut tokens: VecDeque<u64> = VecDeque::new();
            let floor_max = u128::from(floor) * 10_000_000_000;
            let (mut now, mut saved) = (0u64, floor_max);
            for op in ops {
                let at = Instant::from_nanos(now);
                match op {
                    Op::Wait(nanos) => {
                        now += nanos;
                        saved = (saved + u128::from(nanos) * u128::from(floor)).min(floor_max);
                    }
                    Op::Request => {
                        budget.on_request(&config, at);
                        tokens.extend((0..percent).map(|_| now / NANOS_PER_SECOND));
                    }
                    Op::Retry => {
                        tokens.retain(|paid_in| now / NANOS_PER_SECOND - paid_in < 10);
                        let expected = if tokens.len() >= 100 {
                            let _: Vec<u64> = tokens.drain(..100).collect();
                            true
                        } else if saved >= 1_000_000_000 {
                            saved -= 1_000_000_000;
                            true
                        } else {
                            false
                        };
                        prop_assert_eq!(budget.allows(&config, at), expected);
                        prop_assert_eq!(budget.withdraw(&config, at), expected);
                    }
                }
            }
        }
    }
}
