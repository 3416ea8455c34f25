//! When the next request comes.

use std::time::Duration;

use lb_core::{prng::Prng, time::nanos};

use super::{
    law::{exponential, uniform},
    model::{Arrivals, Gaps},
};

/// Least time from one burst to the next, in nanoseconds, so that time goes on.
const BURST_NANOS_MIN: u64 = 1000;

/// An arrival process at work. A closed loop is not one: there the end of a request begins the next.
pub(super) struct Process<'a> {
    arrivals: &'a Arrivals,
    prng: Prng,
    /// The time of the last arrival, with its fraction of a nanosecond.
    at: f64,
    /// Arrivals so far.
    count: u64,
    /// The first point of the profile that lies ahead.
    ahead: usize,
    /// The profile's highest factor.
    highest: f64,
}

impl<'a> Process<'a> {
    pub(super) fn new(arrivals: &'a Arrivals, prng: Prng) -> Self {
        let highest = match arrivals {
            Arrivals::Open { profile, .. } if !profile.is_empty() => {
                profile.iter().map(|&(_, factor)| factor).fold(0.0, f64::max)
            }
            _ => 1.0,
        };
        Self { arrivals, prng, at: 0.0, count: 0, ahead: 0, highest }
    }

    /// The time of the next arrival, in nanoseconds; none when there is no further one. `end` is when
    /// arrivals stop, past which nothing needs to be looked for.
    pub(super) fn next(&mut self, end: u64) -> Option<u64> {
        let at = match self.arrivals {
            Arrivals::Open { rate, .. } if *rate <= 0.0 => return None,
            Arrivals::Open { gaps: Gaps::Poisson, rate, profile } => self.poisson(*rate, profile, end)?,
            Arrivals::Open { gaps: Gaps::Even, rate, profile } => self.even(*rate, profile, end)?,
            Arrivals::Bursts { every, size } => {
                let burst = self.count / u64::from(*size).max(1);
                nanos(*every).max(BURST_NANOS_MIN).saturating_mul(burst)
            }
            Arrivals::Trace(times) => *times.get(self.count as usize)?,
            Arrivals::Closed { .. } => return None,
        };
        self.count += 1;
        (at < end).then_some(at)
    }

    /// With a changing rate, arrivals at the highest one are thinned (Lewis and Shedler 1979).
    #[inline]
    fn poisson(&mut self, rate: f64, profile: &[(Duration, f64)], end: u64) -> Option<u64> {
        let highest = self.highest;
        if highest <= 0.0 {
            return None;
        }
        loop {
            self.at += exponential(&mut self.prng) * 1e9 / (rate * highest);
            if self.at >= end as f64 {
                return None;
            }
            if profile.is_empty() || uniform(&mut self.prng) * highest < self.factor(profile) {
                return Some(self.at as u64);
            }
        }
    }

    fn even(&mut self, rate: f64, profile: &[(Duration, f64)], end: u64) -> Option<u64> {
        if profile.is_empty() {
            // From the count, so that no error adds up.
            return Some((self.count as f64 * 1e9 / rate) as u64);
        }
        let arrival = self.at as u64;
        // The area under the rate from one arrival to the next is 1, in steps that follow its changes.
        let (mut missing, step) = (1.0, 1e6);
        while missing > 0.0 && self.at < end as f64 {
            let rate = rate * self.factor(profile) / 1e9;
            let go = if rate > 0.0 { (missing / rate).min(step) } else { step };
            missing -= go * rate;
            missing = if missing < 1e-9 { 0.0 } else { missing };
            self.at += go;
        }
        Some(arrival)
    }

    /// The profile's factor at `self.at`, which only grows.
    fn factor(&mut self, profile: &[(Duration, f64)]) -> f64 {
        let at = |index: usize| profile[index].0.as_nanos() as f64;
        while self.ahead < profile.len() && at(self.ahead) <= self.at {
            self.ahead += 1;
        }
        let before = self.ahead.checked_sub(1).map(|index| profile[index].1);
        match (before, profile.get(self.ahead)) {
            (Some(before), Some(&(_, after))) => {
                let (start, end) = (at(self.ahead - 1), at(self.ahead));
                before + (after - before) * (self.at - start) / (end - start)
            }
            (Some(factor), None) | (None, Some(&(_, factor))) => factor,
            (None, None) => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn all(arrivals: &Arrivals, seconds: u64) -> Vec<u64> {
        let mut process = Process::new(arrivals, Prng::new(1));
        std::iter::from_fn(|| process.next(seconds * SECOND)).collect()
    }

    fn open(gaps: Gaps, rate: f64, profile: &[(u64, f64)]) -> Arrivals {
        let profile = profile.iter().map(|&(at, factor)| (Duration::from_secs(at), factor)).collect();
        Arrivals::Open { gaps, rate, profile }
    }

    fn count(times: &[u64], seconds: std::ops::Range<u64>) -> f64 {
        times.iter().filter(|&&at| seconds.contains(&(at / SECOND))).count() as f64
    }

    /// The count of a Poisson process is within 3.29 standard deviations, and its gaps have a cv^2 of 1.
    #[test]
    fn poisson() {
        let times = all(&Arrivals::poisson(1000.0), 100);
        assert!((times.len() as f64 - 100_000.0).abs() < 3.29 * 100_000f64.sqrt(), "{}", times.len());
        assert!(times.is_sorted());
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let cv2 = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64 / mean.powi(2);
        assert!((cv2 - 1.0).abs() < 0.03, "{cv2}");
    }

    #[test]
    fn even() {
        let times = all(&open(Gaps::Even, 3.0, &[]), 2);
        assert_eq!(times, [0, 333_333_333, 666_666_666, 1_000_000_000, 1_333_333_333, 1_666_666_666]);
    }

    /// Ramp from 0 to 1 over 100 s, flat for 100 s, then a step down to a half for 100 s.
    #[test]
    fn profiles() {
        let points = [(0, 0.0), (100, 1.0), (200, 1.0), (200, 0.5), (300, 0.5)];
        for (gaps, tolerance) in [(Gaps::Poisson, 3.29), (Gaps::Even, 0.05)] {
            let times = all(&open(gaps, 1000.0, &points), 300);
            for (seconds, expected) in [(0..100, 50_000.0), (100..200, 100_000.0), (200..300, 50_000.0)] {
                let error = count(&times, seconds.clone()) - expected;
                assert!(error.abs() < tolerance * f64::sqrt(expected), "{gaps:?} {seconds:?}: {error}");
            }
        }
        assert_eq!(all(&open(Gaps::Poisson, 5.0, &[(0, 0.0)]), 10), [0u64; 0]);
        assert_eq!(all(&Arrivals::poisson(0.0), 10), [0u64; 0]);
    }

    #[test]
    fn bursts_and_traces() {
        let bursts = Arrivals::Bursts { every: Duration::from_secs(1), size: 2 };
        assert_eq!(all(&bursts, 2), [0, 0, SECOND, SECOND]);
        assert_eq!(all(&Arrivals::Trace([1, 5, 5, 2 * SECOND].into()), 2), [1, 5, 5]);
    }
}
