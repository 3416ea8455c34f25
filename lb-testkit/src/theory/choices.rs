//! Choosing among several queues by looking at some of them: the supermarket model, join the shortest
//! queue, balls into bins, and where looking is not enough.

use super::quantile;

/// Queues that are longer than this are not worth a term: the share falls doubly exponentially.
const LENGTH_MAX: u32 = 60;

/// The share of servers with at least `length` requests when each arrival joins the shortest of `d`
/// queues drawn at random, for infinitely many servers: lambda^((d^i - 1) / (d - 1)) (Mitzenmacher, "The
/// Power of Two Choices in Randomized Load Balancing", 2001; Vvedenskaya, Dobrushin, Karpelevich, 1996).
#[must_use]
pub fn supermarket_share(d: u32, lambda: f64, length: u32) -> f64 {
    // (d^i - 1) / (d - 1) = 1 + d + ... + d^(i - 1)
    let exponent = (0..length).fold(0.0, |sum, _| sum * f64::from(d) + 1.0);
    lambda.powf(exponent)
}

/// Mean sojourn in the supermarket model.
#[must_use]
pub fn supermarket_mean(d: u32, lambda: f64) -> f64 {
    // By Little's law: requests present for each server, over the rate for each server.
    (1..LENGTH_MAX).map(|length| supermarket_share(d, lambda, length)).sum::<f64>() / lambda
}

/// The quantile `p` of the sojourn in the supermarket model, first come first served: an arrival finds
/// `k` before it with probability s_k^d - s_(k+1)^d, and then stays for k + 1 exponential services.
#[must_use]
pub fn supermarket_quantile(d: u32, lambda: f64, p: f64) -> f64 {
    let share = |length| supermarket_share(d, lambda, length).powi(d.try_into().unwrap_or(i32::MAX));
    let finds: Vec<f64> = (0..LENGTH_MAX).map(|k| share(k) - share(k + 1)).collect();
    quantile(p, |t| {
        // P(Erlang(k + 1) > t) = e^-t * (1 + t + ... + t^k / k!)
        let (mut term, mut below, mut tail) = ((-t).exp(), 0.0, 0.0);
        for (k, finds) in finds.iter().enumerate() {
            below += term;
            term *= t / (k + 1) as f64;
            tail += finds * below;
        }
        tail
    })
}

/// Mean sojourn when each arrival joins the shorter of two queues, by solving the chain of (shorter,
/// longer) numerically. It has no closed form (Flatto and McKean, 1977).
#[must_use]
pub fn join_shortest_of_two_mean(rho: f64) -> f64 {
    /// A difference beyond this has no weight.
    const DIFFERENCE: usize = 40;
    /// What is left out is rarer than this.
    const NEGLIGIBLE: f64 = 1e-13;
    // The total has a tail of rho^(2 * shorter).
    let room = (NEGLIGIBLE.ln() / (2.0 * rho.ln())).ceil() as usize;
    let rate = 2.0 * rho;
    let mut shares: Vec<[f64; DIFFERENCE + 2]> =
        (0..room + 2).map(|s| [rho.powi(2 * i32::try_from(s).unwrap_or(i32::MAX)); DIFFERENCE + 2]).collect();
    for row in &mut shares {
        row[DIFFERENCE + 1] = 0.0;
    }
    shares[room + 1] = [0.0; DIFFERENCE + 2];
    loop {
        let moved = balance(&mut shares, rate);
        let total: f64 = shares.iter().flatten().sum();
        shares.iter_mut().flatten().for_each(|share| *share /= total);
        if moved < NEGLIGIBLE {
            break;
        }
    }
    let rows = shares.iter().enumerate();
    let present: f64 = rows
        .flat_map(|(s, row)| row.iter().enumerate().map(move |(d, share)| (2 * s + d) as f64 * share))
        .sum();
    present / rate
}

/// One sweep of Gauss and Seidel over the balance equations of the chain, `shares[shorter][difference]`;
/// gives the greatest change. The last row and the last column stay 0.
fn balance<const N: usize>(shares: &mut [[f64; N]], rate: f64) -> f64 {
    let mut moved = 0.0_f64;
    for s in 0..shares.len() - 1 {
        for d in 0..N - 1 {
            // An arrival joined the shorter one; a request left the longer one.
            let mut flow = shares[s][d + 1];
            if s > 0 {
                flow += rate * shares[s - 1][d + 1];
            }
            match d {
                0 => {}
                // Out of two equal ones: one was joined, or one of the two was left.
                1 => flow += rate * shares[s][0] + 2.0 * shares[s + 1][0],
                // A request left the shorter one.
                _ => flow += shares[s + 1][d - 1],
            }
            let busy = f64::from(u8::from(s > 0) + u8::from(s + d > 0));
            let share = flow / (rate + busy);
            moved = moved.max((share - shares[s][d]).abs());
            shares[s][d] = share;
        }
    }
    moved
}

/// The greatest load, as a share of all capacity, that the power of `d` distinct choices bears when
/// `slow` of `servers` servers have the speed `speed` and the others 1: the arrivals whose choices are
/// all slow must not exceed what the slow ones can do (Foss and Chernova; Bramson).
#[must_use]
pub fn slow_servers_limit(servers: u32, slow: u32, speed: f64, d: u32) -> f64 {
    let all_slow: f64 = (0..d).map(|i| f64::from(slow.saturating_sub(i)) / f64::from(servers - i)).product();
    let capacity = f64::from(slow) * speed + f64::from(servers - slow);
    if all_slow == 0.0 { 1.0 } else { (f64::from(slow) * speed / all_slow / capacity).min(1.0) }
}

/// The distribution of the fullest bin when `bins` balls fall into as many bins at random: the
/// probabilities of a maximum of 0, 1, 2 and so on, up to where they vanish.
#[must_use]
pub fn fullest_bin(bins: u32) -> Vec<f64> {
    let mut probabilities = vec![0.0];
    let mut below = 0.0;
    for k in 1..=bins as usize {
        let at_most = no_bin_above(k, bins as usize);
        probabilities.push(at_most - below);
        below = at_most;
        if 1.0 - at_most < 1e-9 {
            break;
        }
    }
    probabilities
}

/// P(max <= k) = n! / n^n * [x^n] (1 + x + ... + x^k / k!)^n for `n` balls in `n` bins.
///
/// The power by J. C. P. Miller's recurrence: with f = sum of f_i x^i and f_0 = 1, the coefficients of f^n
/// follow m p_m = sum over i of ((n + 1) i - m) f_i p_(m - i).
fn no_bin_above(k: usize, n: usize) -> f64 {
    let mut f = vec![1.0_f64];
    for i in 1..=k {
        f.push(f[i - 1] / i as f64);
    }
    let mut power = vec![1.0_f64];
    let mut log_scale = 0.0;
    for m in 1..=n {
        let term = |i: usize| (((n + 1) * i) as f64 - m as f64) * f[i] * power[m - i];
        let coefficient = (1..=k.min(m)).map(term).sum::<f64>() / m as f64;
        power.push(coefficient);
        // The coefficients outgrow a float; what they are multiples of is kept apart.
        if coefficient > 1e200 {
            power.iter_mut().for_each(|value| *value /= coefficient);
            log_scale += coefficient.ln();
        }
    }
    let log_factorial: f64 = (1..=n).map(|i| (i as f64).ln()).sum();
    (power[n].ln() + log_scale + log_factorial - n as f64 * (n as f64).ln()).exp()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{close, queues},
        *,
    };

    #[test]
    fn supermarket() {
        let table = [
            (2, 0.5, 1.265686, 0.9016, 2.8824, 5.5754, 8.1814),
            (2, 0.9, 2.614057, 2.2019, 5.2870, 8.7910, 11.9316),
            (2, 0.99, 5.431997, 5.1022, 9.2408, 13.4968, 17.1466),
            (5, 0.7, 1.168093, 0.8227, 2.6738, 5.2367, 7.7414),
            (5, 0.95, 1.988772, 1.6263, 4.0877, 7.0799, 9.8582),
        ];
        for (d, lambda, mean, p50, p90, p99, p999) in table {
            close(supermarket_mean(d, lambda), mean, 1e-6);
            for (p, expected) in [(0.5, p50), (0.9, p90), (0.99, p99), (0.999, p999)] {
                close(supermarket_quantile(d, lambda, p), expected, 1e-4);
            }
        }
        close(supermarket_mean(1, 0.8), queues::mm1_mean(0.8), 1e-3); // one choice is none
        for (length, expected) in [(1, 0.9), (2, 0.729), (3, 0.478297), (4, 0.205891), (5, 0.038152)] {
            close(supermarket_share(2, 0.9, length), expected, 1e-6);
        }
    }

    #[test]
    fn the_shorter_of_two() {
        for (rho, expected) in [(0.5, 1.426321), (0.7, 2.108197), (0.8, 2.955737)] {
            close(join_shortest_of_two_mean(rho), expected, 2e-5);
        }
    }

    #[test]
    fn slow_servers() {
        close(slow_servers_limit(10, 2, 0.1, 1), 0.1220, 5e-5);
        close(slow_servers_limit(10, 5, 0.1, 2), 0.4091, 5e-5);
        close(slow_servers_limit(100, 50, 0.2, 2), 0.6735, 5e-5);
        close(slow_servers_limit(10, 1, 0.1, 2), 1.0, 0.0);
    }

    #[test]
    fn balls() {
        for (bins, expected) in [(10, 2.7487), (100, 4.2326), (1000, 5.5142)] {
            let mean: f64 = fullest_bin(bins).iter().enumerate().map(|(k, p)| k as f64 * p).sum();
            close(mean, expected, 1e-4);
        }
        let hundred = fullest_bin(100);
        for (k, expected) in [(3, 0.1261), (4, 0.5755), (5, 0.2460), (6, 0.0453), (7, 0.0063)] {
            close(hundred[k], expected, 5e-5);
        }
        let thousand = fullest_bin(1000);
        for (k, expected) in [(4, 0.0231), (5, 0.5296), (6, 0.3684), (7, 0.0688), (8, 0.0089)] {
            close(thousand[k], expected, 5e-5);
        }
    }
}
