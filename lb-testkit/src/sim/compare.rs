//! Whether two ways differ, or the seeds do: paired differences with a bootstrap interval.

use lb_core::prng::Prng;

use super::{batch::CaseOutcome, scenario::Metric};

/// Resamples of a bootstrap.
const RESAMPLES: usize = 4000;
/// Fewer pairs than this say nothing: of four signs all are equal by chance once in eight times.
pub const PAIRS_MIN: usize = 5;

/// How a figure of one case differs from that of another, seed by seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The mean of the differences, in the metric's unit; below 0: the first is smaller.
    pub mean: f64,
    /// Where 95 % of the bootstrapped means lie.
    pub interval: (f64, f64),
    /// Over how many seeds.
    pub pairs: usize,
}

impl Difference {
    /// Between two cases that ran with the same seeds. None when a figure never came in one of them.
    ///
    /// The pairs are drawn anew with replacement (Efron 1979), the interval is that of the percentiles. Equal
    /// arguments give equal intervals.
    #[must_use]
    pub fn between(a: &CaseOutcome, b: &CaseOutcome, metric: Metric) -> Option<Self> {
        let pairs = a.runs.iter().zip(&b.runs);
        let differences = pairs.map(|(a, b)| Some(metric.of(a)? - metric.of(b)?));
        Self::of(&differences.collect::<Option<Vec<f64>>>()?)
    }

    /// Of these paired differences; none without any.
    #[must_use]
    pub fn of(differences: &[f64]) -> Option<Self> {
        let pairs = differences.len();
        if pairs == 0 {
            return None;
        }
        let mean = differences.iter().sum::<f64>() / pairs as f64;
        let mut prng = Prng::new(pairs as u64);
        let mut resample = || {
            let draws = (0..pairs).map(|_| differences[prng.below(pairs as u64) as usize]);
            draws.sum::<f64>() / pairs as f64
        };
        let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
        means.sort_by(f64::total_cmp);
        let interval = (means[RESAMPLES / 40], means[RESAMPLES - 1 - RESAMPLES / 40]);
        Some(Self { mean, interval, pairs })
    }

    /// Whether it is more than noise: there are enough seeds, and the interval leaves 0 out.
    #[must_use]
    pub fn is_real(&self) -> bool {
        self.pairs >= PAIRS_MIN && (self.interval.0 > 0.0 || self.interval.1 < 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 200 times ten normal differences: without an effect the interval leaves 0 out in some 5 to 10 % of
    /// them (a bootstrap of ten is a little narrow), with one of two standard deviations always.
    #[test]
    fn noise_is_called_noise() {
        let mut prng = Prng::new(1);
        let mut normal =
            || (0..12).map(|_| (prng.below(1 << 40) as f64) / (1u64 << 40) as f64).sum::<f64>() - 6.0;
        let mut real = |effect: f64| {
            let differences: Vec<f64> = (0..10).map(|_| normal() + effect).collect();
            Difference::of(&differences).unwrap().is_real()
        };
        let false_alarms = (0..200).filter(|_| real(0.0)).count();
        assert!(false_alarms < 30, "{false_alarms}");
        assert!((0..200).all(|_| real(2.0)));
    }

    #[test]
    fn few_pairs_say_nothing() {
        assert_eq!(Difference::of(&[]), None);
        let equal = Difference::of(&[3.0; 4]).unwrap();
        assert_eq!((equal.mean, equal.interval, equal.is_real()), (3.0, (3.0, 3.0), false));
        assert!(Difference::of(&[3.0; 5]).unwrap().is_real());
    }
}
