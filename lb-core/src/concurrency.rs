//! Adaptive concurrency: a limit on requests in flight that is found, not configured.
//!
//! The gradient rule of Envoy's adaptive concurrency filter. The latency without load is measured now and
//! then, by holding the limit at its minimum for some requests. From then on the median latency of each
//! window is compared with it:
//!
//! ```text
//! gradient = clamp(min_latency * (1 + buffer) / latency, 0.5, 2)
//! limit'   = clamp(gradient * limit + sqrt(limit), min, max)
//! ```
//!
//! The root is the room to grow while the gradient is 1. On a server that works on C requests at once and
//! slows down in proportion beyond it, the limit settles at `((1 + sqrt(1 + 4 (1 + buffer) C)) / 2)^2`: 16.57
//! for C = 10 and a buffer of 25 %, 136.7 for C = 100. After five windows at the bottom (the minimum, or the 4 where
//! a gradient of 0.5 settles) the measurement of
//! the latency without load is taken to be out of date.

use alloc::vec::Vec;

use crate::{
    config::Concurrency,
    limits::LATENCY_SAMPLES_MAX,
    prng::Prng,
    time::{Duration, Instant, nanos},
};

/// Limits are kept in parts of this, so that small steps add up.
const PARTS: u64 = 1000;
/// Gradients are in parts of this.
const GRADIENT_ONE: u64 = 1 << 20;
/// Windows at the minimum after which the latency without load is measured again.
const WINDOWS_AT_MIN_MAX: u32 = 5;

/// Where the limit settles while the gradient is the smallest, which may be above the minimum.
const SMALLEST_SETTLES_AT: u32 = 4;

/// A limit on requests in flight that follows their latency. See the [module](self).
#[derive(Clone, Debug)]
pub struct AdaptiveLimit {
    config: Concurrency,
    prng: Prng,
    /// In [`PARTS`]; what holds while nothing is measured.
    limit: u64,
    phase: Phase,
    /// When the phase, or its present window, began; requests from before tell nothing about it.
    began: Instant,
    /// Latencies in nanoseconds.
    samples: Vec<u64>,
    /// All that there were to choose `samples` from.
    seen: u64,
    windows_at_min: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The latency without load is measured.
    Measure,
    /// It is known, in nanoseconds, and believed for a while.
    Follow { min_latency: u64, until: Instant },
}

impl AdaptiveLimit {
    /// A limit that begins with a measurement.
    #[must_use]
    pub fn new(config: &Concurrency, prng: Prng, now: Instant) -> Self {
        Self {
            config: *config,
            prng,
            limit: u64::from(config.min) * PARTS,
            phase: Phase::Measure,
            began: now,
            samples: Vec::new(),
            seen: 0,
            windows_at_min: 0,
        }
    }

    /// Follows another configuration, from the limit that was found.
    pub fn reconfigure(&mut self, config: &Concurrency) {
        self.config = *config;
        self.limit = self.clamped(self.limit);
    }

    /// Requests that may be in flight now.
    #[must_use]
    pub fn limit(&self) -> u32 {
        match self.phase {
            Phase::Measure => self.config.min,
            Phase::Follow { .. } => (self.limit / PARTS) as u32,
        }
    }

    /// A request that was sent at `started` got its good answer `now`.
    pub fn on_success(&mut self, started: Instant, now: Instant) {
        if started < self.began && self.phase == Phase::Measure {
            return; // it ran beside more others than the measurement allows
        }
        self.keep(nanos(now.since(started)));
        match self.phase {
            Phase::Measure if self.seen >= self.config.min_latency_requests.into() => {
                let min_latency = self.take_median().max(1);
                let interval = nanos(self.config.min_latency_interval);
                let jitter = interval / 100 * u64::from(self.config.jitter_percent);
                let wait = interval.saturating_add(self.prng.below(jitter.saturating_add(1)));
                self.phase = Phase::Follow { min_latency, until: now + Duration::from_nanos(wait) };
                self.began = now;
            }
            Phase::Follow { min_latency, until } if now >= self.began + self.config.window => {
                let latency = self.take_median();
                self.limit = self.clamped(next_limit(self.limit, min_latency, latency, &self.config));
                self.began = now;
                let bottom = self.config.min.max(SMALLEST_SETTLES_AT);
                self.windows_at_min = if self.limit() <= bottom { self.windows_at_min + 1 } else { 0 };
                if now >= until || self.windows_at_min >= WINDOWS_AT_MIN_MAX {
                    self.phase = Phase::Measure;
                    self.windows_at_min = 0;
                }
            }
            _ => {}
        }
    }

    /// Keeps a sample; of more than there is room for, each with the same probability.
    fn keep(&mut self, latency: u64) {
        self.seen += 1;
        if self.samples.len() < LATENCY_SAMPLES_MAX {
            self.samples.push(latency);
        } else if let Some(place) = self.samples.get_mut(self.prng.below(self.seen) as usize) {
            *place = latency;
        }
    }

    fn take_median(&mut self) -> u64 {
        self.seen = 0;
        let middle = self.samples.len() / 2;
        let median =
            self.samples.get_mut(middle).is_some().then(|| *self.samples.select_nth_unstable(middle).1);
        self.samples.clear();
        median.unwrap_or(0)
    }

    fn clamped(&self, limit: u64) -> u64 {
        limit.clamp(
            u64::from(self.config.min) * PARTS,
            u64::from(self.config.max.max(self.config.min)) * PARTS,
        )
    }
}

/// One step of the rule, before it is clamped. Limits are in [`PARTS`], latencies in the same unit.
fn next_limit(limit: u64, min_latency: u64, latency: u64, config: &Concurrency) -> u64 {
    let tolerated = u128::from(min_latency) * u128::from(100 + config.buffer_percent);
    let gradient = tolerated * u128::from(GRADIENT_ONE) / (u128::from(latency.max(1)) * 100);
    let gradient = gradient.clamp(u128::from(GRADIENT_ONE / 2), u128::from(GRADIENT_ONE * 2)) as u64;
    // A limit is at most 10^9, so that neither product overflows.
    let scaled = u128::from(limit) * u128::from(gradient) / u128::from(GRADIENT_ONE);
    scaled as u64 + (limit * PARTS).isqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const CONFIG: Concurrency = Concurrency {
        min: 3,
        max: 1000,
        buffer_percent: 25,
        window: Duration::from_millis(100),
        min_latency_interval: Duration::from_secs(60),
        min_latency_requests: 50,
        jitter_percent: 15,
    };
    const MILLI: u64 = 1_000_000;

    /// Where the rule settles on a server of so many slots that slows down in proportion beyond them.
    #[rstest]
    #[case(10, 16_570)]
    #[case(100, 136_700)]
    #[case(2, 4_658)]
    fn settles_where_the_closed_form_says(#[case] slots: u64, #[case] settled: u64) {
        let mut limit = 3 * PARTS;
        for _ in 0..500 {
            let latency = 1_000_000.max(1_000_000 * limit / (slots * PARTS));
            limit = next_limit(limit, 1_000_000, latency, &CONFIG);
        }
        let closed = ((1.0 + libm::sqrt(1.0 + 4.0 * 1.25 * slots as f64)) / 2.0).powi(2) * PARTS as f64;
        assert!((limit as f64 - closed).abs() < 50.0, "{limit}, expected {closed}");
        assert!(limit.abs_diff(settled) < 60, "{limit}");
    }

    /// With a gradient that is always g < 1 it settles at 1 / (1 - g)^2.
    #[test]
    fn a_constant_gradient() {
        let limit = (0..500).fold(900 * PARTS, |limit, _| next_limit(limit, 80, 125, &CONFIG));
        assert!(limit.abs_diff(25 * PARTS) < 30, "{limit}");
    }

    /// A closed loop: as many requests at once as the limit lets, on a server of ten slots.
    struct Server {
        limit: AdaptiveLimit,
        now: Instant,
    }

    impl Server {
        fn new(config: &Concurrency) -> Self {
            Self { limit: AdaptiveLimit::new(config, Prng::new(3), Instant::ZERO), now: Instant::ZERO }
        }

        /// One round of requests, each of which takes `base` milliseconds without load.
        fn round(&mut self, base: u64) {
            let at_once = self.limit.limit();
            let latency = Duration::from_nanos((base * MILLI).max(base * MILLI * u64::from(at_once) / 10));
            let started = self.now;
            self.now = self.now + latency;
            for _ in 0..at_once {
                self.limit.on_success(started, self.now);
            }
        }

        /// Whether the latency without load is being measured.
        fn measures(&self) -> bool {
            self.limit.phase == Phase::Measure
        }
    }

    #[test]
    fn measures_then_grows_to_where_it_settles_then_measures_again() {
        let mut server = Server::new(&CONFIG);
        assert!(server.measures() && server.limit.limit() == 3);
        for _ in 0..17 {
            server.round(10);
        }
        assert!(!server.measures(), "51 requests");
        while server.now < Instant::ZERO + Duration::from_secs(59) {
            server.round(10);
            assert!(!server.measures());
        }
        assert!((15..=17).contains(&server.limit.limit()), "{}", server.limit.limit());
        while !server.measures() {
            server.round(10);
        }
        let since = server.now.since(Instant::ZERO + Duration::from_secs(60));
        assert!(since <= Duration::from_millis(9_800), "jitter of up to 15 %: {since:?}");
        assert_eq!(server.limit.limit(), 3);
        while server.measures() {
            server.round(10);
        }
        assert!((15..=17).contains(&server.limit.limit()), "goes on from where it was");
    }

    #[test]
    fn what_began_before_a_measurement_does_not_count() {
        let mut limit = AdaptiveLimit::new(&CONFIG, Prng::new(1), Instant::from_nanos(MILLI));
        for _ in 0..100 {
            limit.on_success(Instant::ZERO, Instant::from_nanos(500 * MILLI));
        }
        assert_eq!(limit.phase, Phase::Measure);
    }

    /// The backend became ten times slower for good: five windows at the minimum, and a new measurement.
    #[test]
    fn a_latency_without_load_that_is_out_of_date_is_measured_again() {
        let mut server = Server::new(&CONFIG);
        let mut rounds = 0;
        while server.measures() || rounds < 30 {
            server.round(10);
            rounds += 1;
        }
        while !server.measures() {
            server.round(100);
        }
        assert!(server.now < Instant::ZERO + Duration::from_secs(10), "{:?}", server.now);
        while server.measures() {
            server.round(100);
        }
        while server.limit.limit() < 10 {
            server.round(100);
            assert!(!server.measures());
        }
    }

    #[test]
    fn a_reload_keeps_the_limit_within_its_new_bounds() {
        let mut server = Server::new(&CONFIG);
        for _ in 0..200 {
            server.round(10);
        }
        server.limit.reconfigure(&Concurrency { max: 8, ..CONFIG });
        assert_eq!(server.limit.limit(), 8);
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds_and_its_memory(
            latencies in prop::collection::vec((0u64..1 << 40, 0u64..1 << 30), 0..400),
            min in 1u32..50, more in 0u32..50, requests in 1u32..20,
        ) {
            let config = Concurrency { min, max: min + more, min_latency_requests: requests, ..CONFIG };
            let mut limit = AdaptiveLimit::new(&config, Prng::new(5), Instant::ZERO);
            let mut now = 0;
            for (latency, gap) in latencies {
                now += gap;
                let started = Instant::from_nanos(now);
                limit.on_success(started, started + Duration::from_nanos(latency));
                prop_assert!((config.min..=config.max).contains(&limit.limit()));
                prop_assert!(limit.samples.len() <= LATENCY_SAMPLES_MAX);
            }
        }
    }
}
