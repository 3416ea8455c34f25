//! Laws of durations: how long a service, a thought or a client's patience takes.

use std::sync::Arc;

use lb_core::prng::Prng;

/// The distribution of a duration, in nanoseconds. Its draws come from a seeded generator and `libm`, so
/// that they are the same on every platform.
///
/// ```
/// use lb_testkit::sim::Law;
/// let law = Law::balanced_hyper_exponential(20e6, 4.0);
/// assert_eq!((law.mean().round(), law.squared_cv().round()), (20e6, 4.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Law(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Fixed { nanos: u64 },
    Exponential { mean: f64 },
    Erlang { mean: f64, phases: u32 },
    HyperExponential { mean: f64, p: f64 },
    LogNormal { mean: f64, mu: f64, sigma: f64 },
    Pareto { mean: f64, least: f64, shape: f64 },
    Empirical(Arc<Cells>),
}

/// Cells of an empirical histogram.
#[derive(Debug, PartialEq)]
struct Cells {
    /// Where each cell ends, in nanoseconds; it begins where the one before ends, the first one at 0.
    ends: Vec<u64>,
    /// Running sums of the counts.
    sums: Vec<u64>,
}

impl Law {
    /// Always the same.
    #[must_use]
    pub fn fixed(nanos: u64) -> Self {
        Self(Kind::Fixed { nanos })
    }

    /// Without memory; the squared coefficient of variation is 1.
    #[must_use]
    pub fn exponential(mean_nanos: f64) -> Self {
        Self(Kind::Exponential { mean: mean_nanos })
    }

    /// The sum of `phases` (at least 1) exponential ones; the squared coefficient of variation is 1 / phases.
    #[must_use]
    pub fn erlang(mean_nanos: f64, phases: u32) -> Self {
        Self(Kind::Erlang { mean: mean_nanos, phases: phases.max(1) })
    }

    /// One of two exponential ones that bring as much work each (balanced means), with this squared
    /// coefficient of variation, at least 1.
    #[must_use]
    pub fn balanced_hyper_exponential(mean_nanos: f64, squared_cv: f64) -> Self {
        let squared_cv = squared_cv.max(1.0);
        let p = (1.0 + libm::sqrt((squared_cv - 1.0) / (squared_cv + 1.0))) / 2.0;
        Self(Kind::HyperExponential { mean: mean_nanos, p })
    }

    /// Log-normal with this coefficient of variation.
    #[must_use]
    pub fn log_normal(mean_nanos: f64, cv: f64) -> Self {
        let variance = libm::log(1.0 + cv * cv);
        let mu = libm::log(mean_nanos.max(f64::MIN_POSITIVE)) - variance / 2.0;
        Self(Kind::LogNormal { mean: mean_nanos, mu, sigma: libm::sqrt(variance) })
    }

    /// Pareto with this shape (above 1, for there to be a mean): `P(X > x) = (least / x)^shape`.
    #[must_use]
    pub fn pareto(mean_nanos: f64, shape: f64) -> Self {
        let shape = shape.max(1.000_001);
        Self(Kind::Pareto { mean: mean_nanos, least: mean_nanos * (shape - 1.0) / shape, shape })
    }

    /// A measured histogram: cells by where they end (nanoseconds, rising) and how often values fell into
    /// them; uniform within a cell. None without a count, or when the ends do not rise.
    #[must_use]
    pub fn empirical(cells: &[(u64, u64)]) -> Option<Self> {
        let rises = cells.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let mut sums = Vec::with_capacity(cells.len());
        let mut sum = 0u64;
        for &(_, count) in cells {
            sum = sum.checked_add(count)?;
            sums.push(sum);
        }
        let ends = cells.iter().map(|&(end, _)| end).collect();
        (rises && sum > 0).then(|| Self(Kind::Empirical(Arc::new(Cells { ends, sums }))))
    }

    /// The mean, in nanoseconds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match &self.0 {
            Kind::Fixed { nanos } => *nanos as f64,
            Kind::Exponential { mean }
            | Kind::Erlang { mean, .. }
            | Kind::HyperExponential { mean, .. }
            | Kind::LogNormal { mean, .. }
            | Kind::Pareto { mean, .. } => *mean,
            Kind::Empirical(cells) => cells.moments().0,
        }
    }

    /// The variance divided by the square of the mean; infinite for a Pareto law of shape 2 or less.
    #[must_use]
    pub fn squared_cv(&self) -> f64 {
        match &self.0 {
            Kind::Fixed { .. } => 0.0,
            Kind::Exponential { .. } => 1.0,
            Kind::Erlang { phases, .. } => 1.0 / f64::from(*phases),
            Kind::HyperExponential { p, .. } => 1.0 / (2.0 * p * (1.0 - p)) - 1.0,
            Kind::LogNormal { sigma, .. } => libm::exp(sigma * sigma) - 1.0,
            Kind::Pareto { shape, .. } if *shape <= 2.0 => f64::INFINITY,
            Kind::Pareto { shape, .. } => 1.0 / (shape * (shape - 2.0)),
            Kind::Empirical(cells) => {
                let (mean, second) = cells.moments();
                second / (mean * mean) - 1.0
            }
        }
    }

    /// The same law, stretched so that its mean is this many nanoseconds.
    #[must_use]
    pub fn with_mean(&self, mean_nanos: f64) -> Self {
        match &self.0 {
            Kind::Fixed { .. } => Self::fixed(nanos(mean_nanos)),
            Kind::Exponential { .. } => Self::exponential(mean_nanos),
            Kind::Erlang { phases, .. } => Self::erlang(mean_nanos, *phases),
            Kind::HyperExponential { p, .. } => Self(Kind::HyperExponential { mean: mean_nanos, p: *p }),
            Kind::LogNormal { .. } => Self::log_normal(mean_nanos, libm::sqrt(self.squared_cv())),
            Kind::Pareto { shape, .. } => Self::pareto(mean_nanos, *shape),
            Kind::Empirical(cells) => {
                let stretch = mean_nanos / cells.moments().0;
                let ends = cells.ends.iter().map(|&end| nanos(end as f64 * stretch)).collect();
                Self(Kind::Empirical(Arc::new(Cells { ends, sums: cells.sums.clone() })))
            }
        }
    }

    /// A draw, in nanoseconds. Each law takes its own number of draws from `prng`, and always the same
    /// number (an empirical one may take a few more, once in 2^32 times).
    #[inline]
    pub fn sample(&self, prng: &mut Prng) -> u64 {
        match &self.0 {
            Kind::Fixed { nanos } => *nanos,
            Kind::Exponential { mean } => nanos(exponential(prng) * mean),
            Kind::Erlang { mean, phases } => {
                // The logarithm of the product is the sum; in parts, so that the product does not vanish.
                let (mut sum, mut product) = (0.0, 1.0);
                for phase in 0..*phases {
                    product *= uniform(prng);
                    if phase % 16 == 15 {
                        sum -= libm::log(product);
                        product = 1.0;
                    }
                }
                nanos((sum - libm::log(product)) * mean / f64::from(*phases))
            }
            Kind::HyperExponential { mean, p } => {
                let branch = if uniform(prng) < *p { *p } else { 1.0 - p };
                nanos(exponential(prng) * mean / (2.0 * branch))
            }
            Kind::LogNormal { mu, sigma, .. } => nanos(libm::exp(mu + sigma * normal(prng))),
            Kind::Pareto { least, shape, .. } => nanos(least * libm::pow(uniform(prng), -1.0 / shape)),
            Kind::Empirical(cells) => cells.sample(prng),
        }
    }
}

impl Cells {
    fn cell(&self, index: usize) -> (u64, u64) {
        (if index == 0 { 0 } else { self.ends[index - 1] }, self.ends[index])
    }

    fn sample(&self, prng: &mut Prng) -> u64 {
        let draw = prng.below(self.sums.last().copied().unwrap_or(0));
        let (start, end) = self.cell(self.sums.partition_point(|&sum| sum <= draw));
        start + prng.below(end - start)
    }

    /// Mean and second moment of the continuous law.
    fn moments(&self) -> (f64, f64) {
        let total = self.sums.last().copied().unwrap_or(0) as f64;
        let (mut mean, mut second, mut before) = (0.0, 0.0, 0);
        for (index, &sum) in self.sums.iter().enumerate() {
            let (start, end) = self.cell(index);
            let (start, end, share) = (start as f64, end as f64, (sum - before) as f64 / total);
            mean += share * (start + end) / 2.0;
            second += share * (start * start + start * end + end * end) / 3.0;
            before = sum;
        }
        (mean, second)
    }
}

/// Uniform in the open interval from 0 to 1.
#[inline]
pub(super) fn uniform(prng: &mut Prng) -> f64 {
    ((prng.next_u64() >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
}

/// Exponential with mean 1.
#[inline]
pub(super) fn exponential(prng: &mut Prng) -> f64 {
    -libm::log(uniform(prng))
}

/// Standard normal (Box and Muller 1958).
fn normal(prng: &mut Prng) -> f64 {
    let radius = libm::sqrt(2.0 * exponential(prng));
    radius * libm::cos(2.0 * core::f64::consts::PI * uniform(prng))
}

/// To whole nanoseconds, at most some 292 years.
#[inline]
pub(super) fn nanos(value: f64) -> u64 {
    // Saturates by itself at the ends, and takes "not a number" for 0.
    (value + 0.5).min(i64::MAX as f64) as u64
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const MEAN: f64 = 20e6;

    /// Mean and squared coefficient of variation of 400,000 draws; the tolerance is 3.29 standard errors
    /// of the mean, and a share of the cv^2 that its heavier tail asks for.
    #[rstest]
    #[case::fixed(Law::fixed(20_000_000), 0.0, 0.001)]
    #[case::exponential(Law::exponential(MEAN), 1.0, 0.02)]
    #[case::erlang(Law::erlang(MEAN, 4), 0.25, 0.02)]
    #[case::erlang_of_many(Law::erlang(MEAN, 400), 0.0025, 0.02)]
    #[case::hyper_exponential(Law::balanced_hyper_exponential(MEAN, 4.0), 4.0, 0.05)]
    #[case::log_normal(Law::log_normal(MEAN, 1.0), 1.0, 0.06)]
    #[case::pareto(Law::pareto(MEAN, 5.0), 1.0 / 15.0, 0.2)]
    #[case::empirical(Law::empirical(&[(10_000_000, 1), (30_000_000, 2), (40_000_000, 1)]).unwrap().with_mean(MEAN), 0.2, 0.02)]
    fn moments(#[case] law: Law, #[case] squared_cv: f64, #[case] tolerance: f64) {
        const DRAWS: usize = 400_000;
        let mut prng = Prng::new(1);
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..DRAWS {
            let draw = law.sample(&mut prng) as f64;
            sum += draw;
            squares += draw * draw;
        }
        let mean = sum / DRAWS as f64;
        let cv2 = squares / DRAWS as f64 / (mean * mean) - 1.0;
        let error = 3.29 * (law.squared_cv() / DRAWS as f64).sqrt() + 1e-6;
        assert!((law.mean() / MEAN - 1.0).abs() < 1e-6, "{}", law.mean());
        assert!((mean / MEAN - 1.0).abs() < error, "{mean}");
        assert!((cv2 - law.squared_cv()).abs() <= tolerance * law.squared_cv().max(1e-6), "{cv2}");
        if squared_cv != 0.2 {
            assert!((law.squared_cv() - squared_cv).abs() < 1e-9, "{}", law.squared_cv());
        }
    }

    #[test]
    fn an_empirical_law_needs_rising_ends_and_a_count() {
        assert_eq!(Law::empirical(&[]), None);
        assert_eq!(Law::empirical(&[(5, 0)]), None);
        assert_eq!(Law::empirical(&[(5, 1), (5, 1)]), None);
        assert_eq!(Law::empirical(&[(5, u64::MAX), (6, 1)]), None);
        let law = Law::empirical(&[(5, 0), (9, 3)]).unwrap();
        let mut prng = Prng::new(1);
        assert!((0..1000).all(|_| (5..9).contains(&law.sample(&mut prng))));
    }

    #[test]
    fn heavy_tails_stay_within_the_range() {
        assert_eq!(nanos(f64::INFINITY), i64::MAX as u64);
        assert_eq!(nanos(f64::NAN), 0);
        assert_eq!(nanos(-3.0), 0);
        assert_eq!(Law::pareto(MEAN, 1.5).squared_cv(), f64::INFINITY);
    }
}
