//! Rounds, interleaved over the contenders, and what came of them.

use std::{net::SocketAddr, path::Path, time::Duration};

use super::{
    backend::Backend,
    contender::{Contender, Running, Stage},
    generator::Generator,
    scenario::Scenario,
};

/// Where things run, and for how long.
pub(super) struct Bench<'a> {
    pub(super) contenders: &'a [Contender],
    pub(super) generator: &'a Generator,
    pub(super) backend: &'a Backend,
    pub(super) proxy_cpu: usize,
    pub(super) load_cpu: usize,
    pub(super) rounds: usize,
    pub(super) time: Duration,
    pub(super) idle_connections: usize,
    /// A directory for the files of a run.
    pub(super) dir: &'a Path,
}

/// One round of one contender.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) completed: u64,
    pub(super) requests_per_second: f64,
    /// User and system time for each completed request, in microseconds.
    pub(super) user_us: f64,
    pub(super) system_us: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) errors: u64,
    /// The share of the requests that went to the first backend; all contenders are to deal evenly.
    pub(super) first_backend: f64,
    /// The share of the requests that found a connection to the backend open.
    pub(super) reused: f64,
}

impl Sample {
    pub(super) fn cpu_us(&self) -> f64 {
        self.user_us + self.system_us
    }
}

/// All rounds of one contender.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) samples: Vec<Sample>,
    pub(super) peak_kib: u64,
}

/// All rounds of one scenario.
#[derive(Clone, Debug)]
pub(super) struct Results {
    pub(super) scenario: Scenario,
    pub(super) series: Vec<Series>,
    /// The backend without a proxy; only where latency is the question.
    pub(super) direct: Option<Series>,
}

impl Results {
    pub(super) fn of(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }
}

/// A figure of several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }
}

impl Series {
    pub(super) fn spread(&self, figure: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.samples.iter().map(figure))
    }

    /// This one's figure over that of `other`, round by round: what shook a whole round cancels out.
    pub(super) fn ratio(&self, other: &Self, figure: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.samples.iter().zip(&other.samples).map(|(own, theirs)| figure(own) / figure(theirs)))
    }

    pub(super) fn errors(&self) -> u64 {
        self.samples.iter().map(|sample| sample.errors).sum()
    }
}

impl Bench<'_> {
    pub(super) fn stage(&self, contender: &Contender, scenario: Scenario) -> Stage<'static> {
        Stage {
            cpus: vec![self.proxy_cpu],
            workers: 1,
            backends: self.backend.addresses,
            dir: self.dir.join(&contender.name),
            setup: scenario.setup(),
            under: &[],
        }
    }

    /// Runs a scenario: all contenders stand side by side, and each round takes all of them in turn.
    pub(super) fn run(&self, scenario: Scenario) -> Result<Results, String> {
        let mut running = Vec::new();
        for contender in self.contenders {
            running.push(Running::start(contender, &self.stage(contender, scenario))?);
        }
        let empty = |name: &str| Series { name: name.to_owned(), samples: Vec::new(), peak_kib: 0 };
        let mut series: Vec<Series> = self.contenders.iter().map(|it| empty(&it.name)).collect();
        let mut direct = (scenario == Scenario::Single).then(|| empty("no proxy"));
        for proxy in &running {
            self.load(scenario, proxy.address, Duration::from_secs(1))?;
        }
        for round in 0..self.rounds {
            for turn in 0..running.len() {
                // Another one begins each round, so that none always comes after the same one.
                let at = (round + turn) % running.len();
                series[at].samples.push(self.round(scenario, &running[at])?);
            }
            if let Some(direct) = &mut direct {
                direct.samples.push(self.load(scenario, self.backend.addresses[0], self.time)?);
            }
        }
        for (series, proxy) in series.iter_mut().zip(&running) {
            series.peak_kib = proxy.usage().peak_kib;
        }
        Ok(Results { scenario, series, direct })
    }

    pub(super) fn round(&self, scenario: Scenario, proxy: &Running) -> Result<Sample, String> {
        let before = proxy.usage();
        let (served, accepted) = (self.backend.served(), self.backend.accepted());
        let mut sample = self.load(scenario, proxy.address, self.time)?;
        let after = proxy.usage();
        let connections = self.backend.accepted() - accepted;
        sample.reused = 1.0 - connections as f64 / sample.completed as f64;
        sample.first_backend = share(served, self.backend.served());
        let each = |used: Duration| used.as_secs_f64() * 1e6 / sample.completed as f64;
        sample.user_us = each(after.user.saturating_sub(before.user));
        sample.system_us = each(after.system.saturating_sub(before.system));
        Ok(sample)
    }

    pub(super) fn load(&self, scenario: Scenario, to: SocketAddr, time: Duration) -> Result<Sample, String> {
        let seen = self.generator.run(&scenario.load(), to, time, self.load_cpu, self.dir)?;
        Ok(Sample {
            completed: seen.completed,
            requests_per_second: seen.completed as f64 / seen.seconds,
            p50_us: seen.p50_us,
            p99_us: seen.p99_us,
            errors: seen.errors,
            ..Sample::default()
        })
    }
}

fn share(before: [u64; 2], after: [u64; 2]) -> f64 {
    let [first, second] = [after[0] - before[0], after[1] - before[1]];
    first as f64 / (first + second) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let series = |name: &str, rates: &[f64]| Series {
            name: name.into(),
            samples: rates
                .iter()
                .map(|&requests_per_second| Sample { requests_per_second, ..Sample::default() })
                .collect(),
            peak_kib: 0,
        };
        let (a, b) = (series("a", &[10.0, 40.0, 20.0]), series("b", &[10.0, 20.0, 10.0]));
        let rate = |sample: &Sample| sample.requests_per_second;
        assert_eq!(a.spread(rate), Some(Spread { median: 20.0, min: 10.0, max: 40.0 }));
        assert_eq!(a.ratio(&b, rate), Some(Spread { median: 2.0, min: 1.0, max: 2.0 }));
        assert_eq!(Spread::of([1.0, 2.0].into_iter()).map(|it| it.median), Some(1.5));
        assert_eq!(Spread::of(std::iter::empty()), None);
    }
}
