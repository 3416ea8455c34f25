//! How evenly consistent hashing spreads keys.

use super::integral;

/// The coefficient of variation of the backends' shares of a ring with `points` points for each of
/// `backends` equal backends: the shares are Dirichlet(V, ..., V).
#[must_use]
pub fn ring_deviation(backends: u32, points: u32) -> f64 {
    let (n, v) = (f64::from(backends), f64::from(points));
    ((n - 1.0) / (n * v + 1.0)).sqrt()
}

/// The expected share of the fullest and of the emptiest backend of a ring, each over the mean share.
/// Exactly `E[max] / V` and `E[min] / V` of `backends` independent Gamma(`points`) variables.
#[must_use]
pub fn ring_extremes(backends: u32, points: u32) -> (f64, f64) {
    let v = f64::from(points);
    // Beyond this nothing is left of the tail, with room for the extreme of many.
    let top = v + 12.0 * v.sqrt() + 40.0;
    let n = f64::from(backends);
    let steps = 4000;
    let highest = integral(0.0, top, steps, |x| 1.0 - (1.0 - gamma_tail(points, x)).powf(n));
    let lowest = integral(0.0, top, steps, |x| gamma_tail(points, x).powf(n));
    (highest / v, lowest / v)
}

/// P(Gamma(shape) > x) for a whole shape: fewer than `shape` events of a Poisson process by x.
fn gamma_tail(shape: u32, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let log = x.ln();
    let mut log_term = -x;
    let mut sum = log_term.exp();
    for k in 1..shape {
        log_term += log - f64::from(k).ln();
        sum += log_term.exp();
    }
    sum.min(1.0)
}

/// The bucket of a key, as the paper computes it (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash
/// Algorithm", 2014): in floating point.
#[must_use]
pub fn jump_bucket(mut key: u64, buckets: u32) -> u32 {
    let (mut bucket, mut next) = (0.0, 0.0);
    while next < f64::from(buckets) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1.0) * (f64::from(1_u32 << 31) / ((key >> 33) as f64 + 1.0))).floor();
    }
    bucket as u32
}

/// The share of keys that move when bucket `gone` (from 0 on) of `buckets` is taken out and the numbers of all
/// after it move up: keys of the buckets before it stay, and of those after it only keys of the last one that
/// happen to fall to the one before.
#[must_use]
pub fn jump_moved_by_removal(buckets: u32, gone: u32) -> f64 {
    let n = f64::from(buckets);
    let stays_by_luck = if gone + 1 < buckets { 1.0 / (n * (n - 1.0)) } else { 0.0 };
    1.0 - f64::from(gone) / n - stays_by_luck
}

#[cfg(test)]
mod tests {
    use super::{super::close, *};

    #[test]
    fn rings() {
        let table = [
            (10, 1, 0.9045, 2.929, 0.0998),
            (10, 100, 0.0948, 1.1594, 0.8520),
            (100, 10, 0.3145, 1.9733, 0.3872),
            (100, 160, 0.0787, 1.2096, 0.8132),
        ];
        for (backends, points, deviation, highest, lowest) in table {
            close(ring_deviation(backends, points), deviation, 5e-5);
            let (got_highest, got_lowest) = ring_extremes(backends, points);
            close(got_highest, highest, 5e-4);
            close(got_lowest, lowest, 5e-4);
        }
        let harmonic: f64 = (1..=100).map(|k| 1.0 / f64::from(k)).sum();
        close(ring_extremes(100, 1).0, harmonic, 1e-4); // one point each: the maximum of exponentials
    }

    #[test]
    fn jumps() {
        let among_hundred = [0, 55, 62, 8, 45, 59, 86, 97, 82, 59, 73, 37, 17, 56, 86, 21, 90, 37, 38, 83];
        assert!((0..).zip(among_hundred).all(|(key, expected)| jump_bucket(key, 100) == expected));
        assert_eq!([2, 2201, 2202].map(|key| jump_bucket(key, 100_001)), [80_343, 22_152, 15_018]);
        for (buckets, gone) in [(10, 9), (10, 4), (10, 0)] {
            let place = |bucket: u32| bucket + u32::from(bucket >= gone);
            let key = lb_core::hash::mix;
            let stays = |n: &u64| jump_bucket(key(*n), buckets) == place(jump_bucket(key(*n), buckets - 1));
            let moved = (0..100_000).filter(|n| !stays(n)).count() as f64 / 1e5;
            close(moved, jump_moved_by_removal(buckets, gone), 0.006);
        }
    }
}
