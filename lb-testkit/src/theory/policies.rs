//! What retries, ejections and adaptive limits come to.

use super::root;

/// Attempts for each request when tries fail independently with probability `p` and up to `retries` more
/// are made, without a budget.
#[must_use]
pub fn attempts(p: f64, retries: u32) -> f64 {
    (0..=retries).map(|i| p.powi(i.try_into().unwrap_or(i32::MAX))).sum()
}

/// Attempts for each request when each success pays `share` of a retry (Brooker): retries can be no more
/// than what successes pay for, so that an outage extinguishes them.
#[must_use]
pub fn attempts_success_funded(p: f64, retries: u32, share: f64) -> f64 {
    let unbounded = attempts(p, retries) - 1.0;
    // Successes, first tries and retries alike, are (1 + r)(1 - p) when r retries are made.
    let funded = share * (1.0 - p) / (1.0 - share * (1.0 - p));
    1.0 + unbounded.min(funded)
}

/// Loads between which a server before impatient clients has two steady states in the mean field: it
/// stays collapsed once it is, from the first load on, and no healthy state is left from the second on.
/// Clients give up after `timeout` services, try up to `retries` times more at once, and the server goes on
/// with what was given up (M/M/1).
#[must_use]
pub fn metastable_loads(timeout: f64, retries: u32) -> (f64, f64) {
    let collapsed = 1.0 / f64::from(retries + 1);
    // x = lambda * A(p(x)) with p = e^-((1 - x) timeout): the greatest lambda = x / A(p(x)).
    let lambda = |x: f64| x / attempts((-(1.0 - x) * timeout).exp(), retries);
    // It has one maximum, where its slope crosses 0.
    let slope = |x: f64| -(lambda(x + 1e-7) - lambda(x - 1e-7));
    let peak = root(0.05, 1.0 - 1e-6, slope);
    (collapsed, lambda(peak))
}

/// How many of `hosts` may fail alike and still be told from the others by "mean minus `factor` standard
/// deviations" (Envoy's success-rate ejection): fewer than n / (1 + f²), however bad they are.
#[must_use]
pub fn outlier_masking_bound(hosts: u32, factor: f64) -> f64 {
    f64::from(hosts) / (1.0 + factor * factor)
}

/// Where the gradient rule L' = g L + sqrt(L) comes to rest before a server that serves `capacity` at once,
/// with the response time growing in proportion beyond that; `buffer` is the tolerated growth.
#[must_use]
pub fn gradient_fixed_point(capacity: f64, buffer: f64) -> f64 {
    f64::midpoint(1.0, (1.0 + 4.0 * (1.0 + buffer) * capacity).sqrt()).powi(2)
}

/// Requests, on average, until `run` failures stand in a row when each fails with probability `p`.
#[must_use]
pub fn requests_until_run(p: f64, run: u32) -> f64 {
    let run = run.try_into().unwrap_or(i32::MAX);
    (p.powi(-run) - 1.0) / (1.0 - p)
}

/// The share of its weight that a newcomer has when `elapsed` of the window has gone by, 0 to 1: Envoy's
/// `slow_start_config`.
#[must_use]
pub fn slow_start_share(elapsed: f64, aggression: f64, min: f64) -> f64 {
    elapsed.powf(1.0 / aggression).clamp(min, 1.0)
}

/// The mean of [`slow_start_share`] over the window.
#[must_use]
pub fn slow_start_mean(aggression: f64, min: f64) -> f64 {
    // Up to where it leaves the minimum, and the integral of a power from there on.
    let leaves = min.powf(aggression);
    let power = 1.0 / aggression + 1.0;
    min * leaves + (1.0 - leaves.powf(power)) / power
}

#[cfg(test)]
mod tests {
    use super::{super::close, *};

    #[test]
    fn retries() {
        close(attempts(0.5, 3), 1.875, 1e-9);
        close(attempts(0.9, 5), 4.6856, 5e-5);
        for (p, expected) in [(0.05, 1.0526), (0.1, 1.0989), (0.2, 1.0870), (0.5, 1.0526), (1.0, 1.0)] {
            close(attempts_success_funded(p, 3, 0.1), expected, 2.5e-4);
        }
    }

    #[test]
    fn metastability() {
        let table = [
            (5.0, 1, 0.5, 0.5853),
            (5.0, 3, 0.25, 0.5452),
            (10.0, 2, 0.3333, 0.6947),
            (20.0, 3, 0.25, 0.8080),
        ];
        for (timeout, retries, low, high) in table {
            let (got_low, got_high) = metastable_loads(timeout, retries);
            close(got_low, low, 5e-5);
            close(got_high, high, 5e-5);
        }
    }

    #[test]
    fn ejections_and_limits() {
        close(outlier_masking_bound(1, 1.9), 0.2169, 5e-5);
        close(gradient_fixed_point(10.0, 0.25), 16.57, 5e-3);
        close(gradient_fixed_point(100.0, 0.25), 136.7, 5e-2);
        close(requests_until_run(0.2, 5), 3905.0, 1.0);
    }

    /// Envoy's examples with a window of 60 s.
    #[test]
    fn slow_start() {
        for (second, aggression, expected) in [
            (15.0, 1.0, 0.25),
            (45.0, 1.0, 0.75),
            (3.0, 1.0, 0.1),
            (6.0, 2.0, 0.3162),
            (30.0, 2.0, 0.5_f64.sqrt()),
            (45.0, 0.5, 0.5625),
        ] {
            close(slow_start_share(second / 60.0, aggression, 0.1), expected, 5e-5);
        }
        close(slow_start_mean(1.0, 0.1), 0.505, 1e-12);
        for aggression in [0.5, 2.0] {
            let numerical =
                super::super::integral(0.0, 1.0, 100_000, |x| slow_start_share(x, aggression, 0.1));
            close(slow_start_mean(aggression, 0.1), numerical, 1e-6);
        }
    }
}
