//! Keys of requests.

use lb_core::{hash::mix, prng::Prng};

use super::model::Keys;

/// Draws keys: a table of running shares, in 2^-63, and a search in it.
pub(super) struct Draw {
    prng: Prng,
    sums: Vec<u64>,
}

impl Draw {
    pub(super) fn new(keys: Keys, prng: Prng) -> Self {
        let share = |rank: u32| libm::pow(f64::from(rank), -keys.skew);
        let ranks = 1..=keys.count.max(1);
        let total: f64 = ranks.clone().map(share).sum();
        let sums = ranks.scan(0.0, |sum, rank| {
            *sum += share(rank) / total;
            Some((*sum * (1u64 << 63) as f64) as u64)
        });
        Self { prng, sums: sums.collect() }
    }

    /// The hash of a key.
    pub(super) fn draw(&mut self) -> u64 {
        let draw = self.prng.next_u64() >> 1;
        let rank = self.sums.partition_point(|&sum| sum <= draw).min(self.sums.len() - 1);
        mix(rank as u64 + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// With a skew of 1.1 over 10,000 keys the first has 15.144 % of all requests.
    #[test]
    fn shares_follow_zipf() {
        let mut keys = Draw::new(Keys { count: 10_000, skew: 1.1 }, Prng::new(1));
        let mut counts = BTreeMap::<u64, u32>::new();
        const DRAWS: u32 = 100_000;
        (0..DRAWS).for_each(|_| *counts.entry(keys.draw()).or_default() += 1);
        for rank in 1..=3u32 {
            let expected = 0.151_44 * f64::from(rank).powf(-1.1);
            let found = f64::from(counts[&mix(rank.into())]) / f64::from(DRAWS);
            let error = (expected / f64::from(DRAWS)).sqrt();
            assert!((found - expected).abs() < 3.29 * error, "{rank}: {found} is not {expected}");
        }
    }

    #[test]
    fn without_skew_all_are_alike() {
        let mut keys = Draw::new(Keys { count: 4, skew: 0.0 }, Prng::new(1));
        let mut counts = BTreeMap::<u64, u32>::new();
        (0..4000).for_each(|_| *counts.entry(keys.draw()).or_default() += 1);
        assert_eq!(counts.len(), 4);
        assert!(counts.values().all(|count| (880..1120).contains(count)), "{counts:?}");
    }
}
