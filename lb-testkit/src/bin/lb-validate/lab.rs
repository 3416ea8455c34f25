//! Runs models over seeds.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use lb_core::config::{self, Algorithm};
use lb_testkit::sim::{Arrivals, Backend, Law, Model, Outcome};

use crate::statistics::Estimate;

/// The mean service time, the unit of all tables, in nanoseconds.
pub(crate) const UNIT: f64 = 1e6;

/// How much is run.
pub(crate) struct Lab {
    pub(crate) is_fast: bool,
    /// Requests of a cell, over all seeds.
    pub(crate) requests: u64,
    pub(crate) seeds: usize,
    /// No two models share a seed, so that their errors are independent.
    next_seed: AtomicU64,
}

impl Lab {
    pub(crate) fn full() -> Self {
        Self { is_fast: false, requests: 6_000_000, seeds: 20, next_seed: AtomicU64::new(1) }
    }

    pub(crate) fn fast() -> Self {
        Self { is_fast: true, requests: 150_000, seeds: 10, next_seed: AtomicU64::new(1) }
    }

    /// The seeds of the next model.
    pub(crate) fn take_seeds(&self, count: usize) -> std::ops::Range<u64> {
        let first = self.next_seed.fetch_add(count as u64, Ordering::Relaxed);
        first..first + count as u64
    }

    /// Whether a model of so many servers is run: the fast part leaves out what takes long to settle.
    pub(crate) fn runs(&self, servers: u32, rho: f64) -> bool {
        !self.is_fast || (rho <= 0.7 && servers <= 100)
    }

    /// `servers` backends of one slot before a Poisson stream that loads each by `rho`, with exponential
    /// services of mean [`UNIT`]: long enough for [`Lab::requests`], with a warm-up of twenty relaxation
    /// times.
    pub(crate) fn model(&self, algorithm: Algorithm, servers: u32, rho: f64) -> Model {
        let per_unit = f64::from(servers) * rho;
        let measured = self.requests as f64 / self.seeds as f64 / per_unit;
        // The relaxation time of M/M/1; where requests go to short queues, it is shorter by far.
        let is_blind = matches!(algorithm, Algorithm::Random | Algorithm::RoundRobin);
        let relaxation = if is_blind { (1.0 - rho.sqrt()).powi(-2) } else { 1.0 / (1.0 - rho) };
        let warmup = 20.0 * relaxation;
        let pool = config::Pool {
            algorithm,
            outlier: config::Outlier { consecutive_failures: 0, ..config::Outlier::default() },
            limits: config::PoolLimits { pending: u32::MAX, ..config::PoolLimits::default() },
            ..config::Pool::default()
        };
        Model {
            pool,
            deadline: units(1e9),
            service: Law::exponential(UNIT),
            arrivals: Arrivals::poisson(per_unit * 1e9 / UNIT),
            warmup: units(warmup),
            duration: units(warmup + measured),
            ..Model::new(Backend::several(servers, 1))
        }
    }

    /// Runs the model with seeds of its own and gives the estimates of what `look` sees in each outcome.
    pub(crate) fn run<const N: usize>(
        &self,
        model: &Model,
        look: impl Fn(&Outcome) -> [f64; N] + Sync,
    ) -> [Estimate; N] {
        let samples = self.sample(model, self.seeds, look);
        std::array::from_fn(|i| Estimate::of(samples.iter().map(move |sample| sample[i])))
    }

    /// The same, as what was seen of each of `count` seeds.
    pub(crate) fn sample<T: Send>(
        &self,
        model: &Model,
        count: usize,
        look: impl Fn(&Outcome) -> T + Sync,
    ) -> Vec<T> {
        let seeds = self.take_seeds(count);
        over_threads(count, |index| match model.run(seeds.start + index as u64) {
            Ok(outcome) => look(&outcome),
            Err(error) => panic!("{error}, with {model:?}"),
        })
    }
}

/// Does `work` for 0 to `count - 1`, on all CPUs.
pub(crate) fn over_threads<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return done;
            }
            done.push((index, work(index)));
        }
    };
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get).min(count.max(1));
    let mut all: Vec<(usize, T)> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        handles
            .into_iter()
            .flat_map(|handle| handle.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)))
            .collect()
    });
    all.sort_by_key(|&(index, _)| index);
    all.into_iter().map(|(_, result)| result).collect()
}

/// So many mean service times.
pub(crate) fn units(count: f64) -> Duration {
    Duration::from_nanos((count * UNIT) as u64)
}

/// The mean sojourn.
pub(crate) fn mean(outcome: &Outcome) -> [f64; 1] {
    [outcome.latency.mean() / UNIT]
}

/// The quantiles of the sojourn that tables give.
pub(crate) const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];

/// The mean sojourn and its [`QUANTILES`].
pub(crate) fn sojourn(outcome: &Outcome) -> [f64; 5] {
    let quantile = |i: usize| outcome.latency.quantile(QUANTILES[i].0) / UNIT;
    [outcome.latency.mean() / UNIT, quantile(0), quantile(1), quantile(2), quantile(3)]
}
