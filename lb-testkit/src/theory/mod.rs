//! Closed forms of queueing and balancing theory: what a simulation has to agree with.
//!
//! The unit of time is the mean service time; `rho` is the utilisation of each server, from 0 to below 1;
//! a sojourn is waiting and service together. Every function names where its formula comes from, and its
//! tests hold it against published or independently computed figures.

pub mod chains;
pub mod choices;
pub mod hashing;
pub mod policies;
pub mod prequal;
pub mod queues;
pub mod turns;

/// The argument in `low..high` at which an increasing function crosses 0, to the last bits.
fn root(mut low: f64, mut high: f64, increasing: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if increasing(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The time that a share `p` of sojourns does not exceed, for a decreasing tail P(T > t).
fn quantile(p: f64, tail: impl Fn(f64) -> f64) -> f64 {
    let mut high = 1.0;
    while tail(high) > 1.0 - p {
        high *= 2.0;
    }
    root(0.0, high, |t| 1.0 - p - tail(t))
}

/// Simpson's rule over `steps` (an even number) equal steps.
fn integral(from: f64, to: f64, steps: u32, f: impl Fn(f64) -> f64) -> f64 {
    let width = (to - from) / f64::from(steps);
    let inner: f64 = (1..steps)
        .map(|step| f(from + f64::from(step) * width) * if step % 2 == 1 { 4.0 } else { 2.0 })
        .sum();
    (f(from) + inner + f(to)) * width / 3.0
}

#[cfg(test)]
fn close(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected} within {tolerance}");
}
