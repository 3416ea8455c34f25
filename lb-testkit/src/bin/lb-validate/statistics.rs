//! What says whether a difference is chance.

use std::f64::consts::SQRT_2;

/// The two-sided level at which a cell fails by chance: one in a thousand.
pub(crate) const LEVEL_DEVIATIONS: f64 = 3.29;

/// A mean over independent runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    pub(crate) mean: f64,
    /// The standard error of the mean.
    pub(crate) error: f64,
    /// Runs less one.
    pub(crate) freedom: f64,
}

impl Estimate {
    /// Over samples of independent runs; at least two for an error to be known.
    pub(crate) fn of(samples: impl Iterator<Item = f64> + Clone) -> Self {
        let count = samples.clone().count().max(1) as f64;
        let mean = samples.clone().sum::<f64>() / count;
        let freedom = (count - 1.0).max(1.0);
        let variance = samples.map(|sample| (sample - mean).powi(2)).sum::<f64>() / freedom;
        Self { mean, error: (variance / count).sqrt(), freedom }
    }

    /// How far the mean may be from the truth, but for one time in a thousand: Student's t in place of
    /// the normal quantile, by the expansion of Cornish and Fisher.
    pub(crate) fn margin(self) -> f64 {
        let (z, v) = (LEVEL_DEVIATIONS, self.freedom);
        let first = (z.powi(3) + z) / (4.0 * v);
        let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * v.powi(2));
        let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / (384.0 * v.powi(3));
        (z + first + second + third) * self.error
    }

    /// The difference from `target` in standard errors, turned from Student's to the normal scale
    /// (Wallace, 1959), so that scores of tables with few and with many runs are alike.
    pub(crate) fn score(self, target: f64) -> f64 {
        let t = (self.mean - target) / self.error;
        let v = self.freedom;
        t.signum() * (8.0 * v + 1.0) / (8.0 * v + 3.0) * (v * (t * t / v).ln_1p()).sqrt()
    }
}

/// P(Z <= z) for a standard normal Z.
pub(crate) fn normal(z: f64) -> f64 {
    0.5 * libm::erfc(-z / SQRT_2)
}

/// The probability of a distance this large between the empirical distribution of `scores` and the
/// standard normal (Kolmogorov and Smirnov, with Stephens' correction for few scores).
pub(crate) fn kolmogorov_smirnov(scores: &[f64]) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let distance = sorted.iter().enumerate().fold(0.0_f64, |most, (i, &score)| {
        let expected = normal(score);
        most.max((i + 1) as f64 / n - expected).max(expected - i as f64 / n)
    });
    let x = distance * (n.sqrt() + 0.12 + 0.11 / n.sqrt());
    if x < 0.3 {
        return 1.0; // the series converges slowly there, to as good as 1
    }
    let term = |k: i32| f64::from(1 - 2 * ((k + 1) % 2)) * (-2.0 * f64::from(k * k) * x * x).exp();
    (2.0 * (1..100).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

/// The probability of a chi-square this large or larger with so many degrees of freedom (the cube-root
/// approximation of Wilson and Hilferty).
pub(crate) fn chi_square_tail(value: f64, freedom: f64) -> f64 {
    let scale = 2.0 / (9.0 * freedom);
    normal(-((value / freedom).cbrt() - (1.0 - scale)) / scale.sqrt())
}

/// The quantile of the chi-square distribution by the same approximation, for a normal deviate `z`.
pub(crate) fn chi_square_quantile(z: f64, freedom: f64) -> f64 {
    let scale = 2.0 / (9.0 * freedom);
    freedom * (1.0 - scale + z * scale.sqrt()).powi(3)
}

/// A draw from the standard normal distribution, for tests of the tests (Box and Muller).
#[cfg(test)]
fn draw(prng: &mut lb_core::prng::Prng) -> f64 {
    let mut uniform = || (prng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 + f64::MIN_POSITIVE;
    (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, expected: f64, tolerance: f64) {
        assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected}");
    }

    #[test]
    fn known_quantiles() {
        close(normal(1.959964), 0.975, 1e-6);
        close(chi_square_tail(18.307, 10.0), 0.05, 5e-4);
        close(chi_square_quantile(1.6449, 10.0), 18.307, 0.05);
        // Student's t for one in a thousand, two-sided: 3.883 with 19 degrees, 4.781 with 9.
        let margin = |freedom| Estimate { mean: 0.0, error: 1.0, freedom }.margin();
        close(margin(19.0), 3.883, 0.01);
        close(margin(9.0), 4.781, 0.03);
    }

    /// Scores of estimates whose target is true are standard normal; those of wrong targets are not.
    #[test]
    fn scores_tell_chance_from_error() {
        let mut prng = lb_core::prng::Prng::new(1);
        let mut scores = |offset: f64| -> Vec<f64> {
            let mut one = || {
                let samples: Vec<f64> = (0..20).map(|_| 5.0 + 0.3 * draw(&mut prng)).collect();
                Estimate::of(samples.iter().copied()).score(5.0 + offset)
            };
            (0..400).map(|_| one()).collect()
        };
        let honest = scores(0.0);
        assert!(kolmogorov_smirnov(&honest) > 0.01, "{}", kolmogorov_smirnov(&honest));
        let sd = (honest.iter().map(|z| z * z).sum::<f64>() / 400.0).sqrt();
        close(sd, 1.0, 0.1);
        let biased = scores(0.03); // half a standard error
        assert!(kolmogorov_smirnov(&biased) < 1e-6);
    }
}
