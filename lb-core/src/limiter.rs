//! Rate limits: the generic cell rate algorithm over a bounded table of keys.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::{
    config::{RateLimit, RateLimitKey},
    hash::mix,
    time::{Duration, Instant, nanos},
};

/// Entries that one key may stand in.
const WAYS: usize = 8;
/// Sets of a new table; it doubles as it fills.
const SETS_MIN: usize = 8;

/// Remembers who has used up how much of which limit.
///
/// The algorithm is GCRA (ITU-T I.371): each key has a theoretical arrival time (TAT); a request
/// conforms if it comes no earlier than TAT − (burst − 1)·T with T = per/requests, and then moves TAT
/// to max(now, TAT) + T. This equals a token bucket of depth `burst` that is refilled continuously,
/// and needs one number for each key. Arithmetic is exact: T need not be a whole number of nanoseconds.
///
/// Memory is bounded: at most the given number of keys (rounded to the table's shape) at 32 bytes. When
/// it is full, a new key takes the place of the one in its set whose TAT is oldest, which is the one
/// with least to be forgiven. Deterministic for a seed.
#[derive(Clone, Debug)]
pub struct Limiter {
    entries: Vec<Entry>,
    sets_max: usize,
    seed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    key: Key,
    tat: Tat,
}

/// A limit and one of its users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Key {
    limiter: u64,
    /// A v4 address, or the upper half of a v6 address.
    client: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// An unused entry.
    #[default]
    None,
    V4,
    V6,
    Shared,
}

/// A point in time of `nanos` + `parts`/requests ns. The parts are kept apart so that an entry still
/// makes sense after its limit was changed by a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Tat {
    nanos: u64,
    parts: u32,
}

impl Limiter {
    /// A limiter for at most `capacity_keys` keys (see [`crate::limits::RATE_LIMIT_KEYS_MAX`]). Takes
    /// memory as keys come.
    #[must_use]
    pub fn new(capacity_keys: usize) -> Self {
        Self::with_seed(capacity_keys, 0)
    }

    /// A limiter whose table is laid out by a seed, so that clients cannot choose addresses that crowd
    /// into one set.
    #[must_use]
    pub fn with_seed(capacity_keys: usize, seed: u64) -> Self {
        let sets = (capacity_keys / WAYS).max(1);
        // The largest power of two that is not above.
        let sets_max = 1 << sets.ilog2();
        Self { entries: Vec::new(), sets_max, seed }
    }

    /// Judges one request, and counts it if it conforms. `limiter_key` names the limit
    /// (`RoutePlan::limiter_key`); clients of IPv6 are told apart by their /64.
    ///
    /// # Errors
    /// How long the caller has to wait until a request would conform; never zero.
    pub fn check(
        &mut self,
        limiter_key: u64,
        limit: &RateLimit,
        client: IpAddr,
        now: Instant,
    ) -> Result<(), Duration> {
        let key = Key::new(limiter_key, limit.by, client);
        let place = self.place(key, now);
        let entry = &mut self.entries[place];
        if entry.key != key {
            *entry = Entry { key, tat: Tat::default() };
        }
        gcra(&mut entry.tat, limit, now)
    }

    /// Keys that are remembered: an upper bound of those with anything to remember.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.key.kind != Kind::None).count()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry of the key, or the one that it may take.
    fn place(&mut self, key: Key, now: Instant) -> usize {
        if self.entries.is_empty() {
            self.entries.resize(SETS_MIN.min(self.sets_max) * WAYS, Entry::default());
        }
        loop {
            let first = set_of(key, self.seed, self.entries.len() / WAYS) * WAYS;
            let set = &self.entries[first..first + WAYS];
            if let Some(way) = set.iter().position(|entry| entry.key == key) {
                return first + way;
            }
            // Unused entries have the oldest TAT of all.
            let (way, oldest) =
                set.iter().enumerate().min_by_key(|(_, entry)| entry.tat).unwrap_or((0, &set[0]));
            if oldest.tat.nanos <= now.as_nanos() || self.entries.len() >= self.sets_max * WAYS {
                return first + way;
            }
            self.double(now);
        }
    }

    /// Twice the sets: each one is split in two, so that what fitted still fits.
    fn double(&mut self, now: Instant) {
        let sets = self.entries.len() / WAYS * 2;
        let mut entries = Vec::new();
        entries.resize(sets * WAYS, Entry::default());
        for entry in self.entries.drain(..) {
            let first = set_of(entry.key, self.seed, sets) * WAYS;
            if entry.tat.nanos > now.as_nanos()
                && let Some(free) =
                    entries[first..first + WAYS].iter_mut().find(|free| free.key.kind == Kind::None)
            {
                *free = entry;
            }
        }
        self.entries = entries;
    }
}

impl Key {
    fn new(limiter: u64, by: RateLimitKey, client: IpAddr) -> Self {
        let (kind, client) = match (by, client.to_canonical()) {
            (RateLimitKey::Route, _) => (Kind::Shared, 0),
            (RateLimitKey::Client, IpAddr::V4(address)) => (Kind::V4, u64::from(address.to_bits())),
            (RateLimitKey::Client, IpAddr::V6(address)) => (Kind::V6, (address.to_bits() >> 64) as u64),
        };
        Self { limiter, client, kind }
    }
}

/// `sets` is a power of two.
fn set_of(key: Key, seed: u64, sets: usize) -> usize {
    let hash = mix(key.limiter ^ mix(key.client ^ mix(seed ^ key.kind as u64)));
    // Truncation keeps the low bits, of which the mask takes those that it needs.
    hash as usize & (sets - 1)
}

/// Moves the TAT of a request that conforms, or says how long to wait. Works in units of 1/requests ns,
/// in which T is `per` in ns: all numbers are whole, and stay below 2^98.
fn gcra(stored: &mut Tat, limit: &RateLimit, now: Instant) -> Result<(), Duration> {
    let requests = u128::from(limit.requests.max(1));
    let step = u128::from(nanos(limit.per));
    let tolerance = u128::from(limit.burst.max(1) - 1) * step;
    let now = u128::from(now.as_nanos()) * requests;
    let tat = u128::from(stored.nanos) * requests + u128::from(stored.parts).min(requests - 1);
    // A limit that was loosened by a reload has left a later TAT than it would now give.
    let tat = tat.min(now + tolerance + step);
    let conforms = tat <= now + tolerance;
    let after = if conforms { tat.max(now) + step } else { tat };
    *stored = Tat {
        nanos: u64::try_from(after / requests).unwrap_or(u64::MAX),
        parts: u32::try_from(after % requests).unwrap_or(u32::MAX),
    };
    if conforms {
        return Ok(());
    }
    let wait = (tat - tolerance - now).div_ceil(requests);
    Err(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn limit(requests: u32, per: Duration, burst: u32) -> RateLimit {
        RateLimit { requests, per, burst, by: RateLimitKey::Client }
    }

    fn client(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut limiter = Limiter::new(64);
        let limit = limit(2, Duration::from_secs(1), 3);
        let start = at(5_000_000_000);
        for _ in 0..3 {
            assert_eq!(limiter.check(1, &limit, client(1), start), Ok(()));
        }
        let wait = limiter.check(1, &limit, client(1), start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        let before = wait - Duration::from_nanos(1);
        assert!(limiter.check(1, &limit, client(1), start + before).is_err());
        assert_eq!(limiter.check(1, &limit, client(1), start + wait), Ok(()));
        assert_eq!(limiter.check(1, &limit, client(2), start), Ok(()), "another client");
        assert_eq!(limiter.check(2, &limit, client(1), start), Ok(()), "another limit");
    }

    #[test]
    fn thirds_of_a_second_do_not_drift() {
        let mut limiter = Limiter::new(64);
        let limit = limit(3, Duration::from_secs(1), 1);
        let passed = (0..30_000_000u64)
            .step_by(1000)
            .filter(|micros| limiter.check(1, &limit, client(1), at(micros * 1000)).is_ok());
        assert_eq!(passed.count(), 90, "30 s in steps of 1 ms, each third rounded up to a step: 334 ms");
    }

    #[test]
    fn who_shares_a_limit() {
        let mut limiter = Limiter::new(64);
        let mut limit = limit(1, Duration::from_secs(1), 1);
        let ok = |limiter: &mut Limiter, limit: &RateLimit, address: &str| {
            limiter.check(1, limit, address.parse().unwrap(), at(1)).is_ok()
        };
        assert!(ok(&mut limiter, &limit, "2001:db8:0:1::1"));
        assert!(!ok(&mut limiter, &limit, "2001:db8:0:1:ffff::2"), "the same /64");
        assert!(ok(&mut limiter, &limit, "2001:db8:0:2::1"), "another /64");
        assert!(ok(&mut limiter, &limit, "10.0.0.1"));
        assert!(!ok(&mut limiter, &limit, "::ffff:10.0.0.1"), "v4-mapped");
        limit.by = RateLimitKey::Route;
        assert!(ok(&mut limiter, &limit, "10.0.0.1"));
        assert!(!ok(&mut limiter, &limit, "10.0.0.2"), "all clients of the route");
    }

    #[test]
    fn a_reload_that_tightens_or_loosens_a_limit_takes_effect() {
        let mut limiter = Limiter::new(64);
        let slow = limit(1, Duration::from_secs(3600), 10);
        for _ in 0..10 {
            assert_eq!(limiter.check(1, &slow, client(1), at(1)), Ok(()));
        }
        let fast = limit(10, Duration::from_secs(1), 1);
        let wait = limiter.check(1, &fast, client(1), at(1)).unwrap_err();
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        assert_eq!(limiter.check(1, &fast, client(1), at(1) + wait), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_the_least_indebted_goes() {
        let mut limiter = Limiter::new(1000);
        assert_eq!(limiter.entries.capacity(), 0, "nothing is taken before it is needed");
        let limit = limit(1, Duration::from_secs(1000), 2);
        // The hog has used up its burst; a flood of others, with one request each, must not wash it out.
        assert_eq!(limiter.check(1, &limit, client(0), at(0)), Ok(()));
        assert_eq!(limiter.check(1, &limit, client(0), at(0)), Ok(()));
        for n in 1..20_000 {
            assert_eq!(limiter.check(1, &limit, client(n), at(0)), Ok(()));
        }
        assert_eq!((limiter.len(), limiter.entries.len()), (512, 512));
        assert!(limiter.check(1, &limit, client(0), at(0)).is_err());
    }

    #[test]
    fn entries_that_ran_out_are_used_again_before_the_table_grows() {
        let mut limiter = Limiter::new(1 << 17);
        let limit = limit(1, Duration::from_nanos(10), 1);
        for n in 0..10_000u32 {
            assert_eq!(limiter.check(1, &limit, client(n), at(u64::from(n) * 10)), Ok(()));
        }
        assert_eq!(limiter.entries.len(), SETS_MIN * WAYS);
    }

    #[test]
    fn the_ends_of_time_and_of_numbers_do_no_harm() {
        let mut limiter = Limiter::new(0);
        let widest = limit(u32::MAX, Duration::MAX, u32::MAX);
        let nothing = limit(0, Duration::ZERO, 0);
        for now in [Instant::ZERO, at(1), Instant::FAR_FUTURE] {
            for limit in [&widest, &nothing] {
                let _ = limiter.check(1, limit, client(1), now);
            }
        }
    }

    /// A bucket of tokens, in whole `1/requests` of a nanosecond's refill.
    #[derive(Clone)]
    struct Bucket {
        level: u128,
        last: u64,
    }

    fn bucket_takes(bucket: &mut Bucket, limit: &RateLimit, now: u64) -> bool {
        let token = limit.per.as_nanos();
        let depth = u128::from(limit.burst) * token;
        bucket.level = (bucket.level + u128::from(now - bucket.last) * u128::from(limit.requests)).min(depth);
        bucket.last = now;
        let takes = bucket.level >= token;
        if takes {
            bucket.level -= token;
        }
        takes
    }

    proptest! {
        #[test]
        fn equals_a_naive_token_bucket(
            requests in 1u32..8, per in 1u64..50, burst in 1u32..6,
            events in proptest::collection::vec((0u64..30, 0u32..40), 1..200),
        ) {
            let limit = limit(requests, Duration::from_nanos(per), burst);
            let mut limiter = Limiter::new(1 << 10);
            let mut buckets = BTreeMap::new();
            let mut now = 0;
            for (pause, who) in events {
                now += pause;
                let full = Bucket { level: u128::from(burst) * limit.per.as_nanos(), last: now };
                let bucket = buckets.entry(who).or_insert(full);
                let expected = bucket_takes(bucket, &limit, now);
                let got = limiter.check(7, &limit, client(who), at(now));
                prop_assert_eq!(got.is_ok(), expected);
                if let Err(wait) = got {
                    prop_assert!(wait > Duration::ZERO);
                    let wait = u64::try_from(wait.as_nanos()).unwrap();
                    prop_assert!(!bucket_takes(&mut bucket.clone(), &limit, now + wait - 1));
                    prop_assert!(bucket_takes(&mut bucket.clone(), &limit, now + wait));
                }
            }
        }
    }
}
