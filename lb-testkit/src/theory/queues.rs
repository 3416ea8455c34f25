//! Single queues: M/M/1, M/M/c, M/M/c/K, M/G/1, processor sharing, and what an exact alternation makes of
//! a Poisson stream.

use super::{quantile, root};

/// Mean sojourn in M/M/1, which is what each server sees when a Poisson stream is split at random.
#[must_use]
pub fn mm1_mean(rho: f64) -> f64 {
    1.0 / (1.0 - rho)
}

/// The quantile `p` of the sojourn in M/M/1: it is exponential.
#[must_use]
pub fn mm1_quantile(rho: f64, p: f64) -> f64 {
    -(1.0 - p).ln() / (1.0 - rho)
}

/// Relative standard deviation of the mean of `n` successive sojourns in M/M/1, asymptotically: from
/// the Poisson equation, sigma² = 4 rho / (1 - rho)^4 + 1 / (1 - rho)². It is what a tolerance is made of.
#[must_use]
pub fn mm1_relative_deviation(rho: f64, n: f64) -> f64 {
    (1.0 + 4.0 * rho / (1.0 - rho).powi(2)).sqrt() / n.sqrt()
}

/// Erlang's B formula: the share of requests that `servers` servers without a queue refuse at an offered
/// load of `load` (arrival rate over the service rate of one server). It holds for every service law.
#[must_use]
pub fn erlang_b(servers: u32, load: f64) -> f64 {
    (1..=servers).fold(1.0, |b, k| load * b / (f64::from(k) + load * b))
}

/// Erlang's C formula: the share of requests that wait in M/M/c.
#[must_use]
pub fn erlang_c(servers: u32, rho: f64) -> f64 {
    let b = erlang_b(servers, rho * f64::from(servers));
    b / (1.0 - rho + rho * b)
}

/// Mean sojourn in M/M/c: one queue before all servers.
#[must_use]
pub fn mmc_mean(servers: u32, rho: f64) -> f64 {
    1.0 + erlang_c(servers, rho) / (f64::from(servers) * (1.0 - rho))
}

/// The quantile `p` of the sojourn in M/M/c, first come first served.
#[must_use]
pub fn mmc_quantile(servers: u32, rho: f64, p: f64) -> f64 {
    let wait = erlang_c(servers, rho);
    let theta = f64::from(servers) * (1.0 - rho);
    quantile(p, |t| {
        let served = (-t).exp();
        if (theta - 1.0).abs() < 1e-9 {
            return served * (1.0 + wait * t);
        }
        served + wait * (served - (-theta * t).exp()) / (theta - 1.0)
    })
}

/// M/M/c/K: `servers` at once and no more than `room` in all. Gives the share that is refused and the mean
/// sojourn of the others. `rho` is the offered load of each server, and may be above 1.
#[must_use]
pub fn mmck(servers: u32, room: u32, rho: f64) -> (f64, f64) {
    let load = rho * f64::from(servers);
    let mut states = vec![1.0_f64];
    for j in 1..=room {
        let last = states.last().copied().unwrap_or(1.0);
        states.push(last * load / f64::from(j.min(servers)));
    }
    let total: f64 = states.iter().sum();
    let refused = states.last().copied().unwrap_or(1.0) / total;
    let present: f64 = states.iter().enumerate().map(|(j, state)| j as f64 * state / total).sum();
    (refused, present / (load * (1.0 - refused)))
}

/// Mean sojourn in M/G/1, first come first served (Pollaczek and Khinchine), for a service law with this
/// squared coefficient of variation.
#[must_use]
pub fn mg1_mean(rho: f64, cv2: f64) -> f64 {
    1.0 + rho * (1.0 + cv2) / (2.0 * (1.0 - rho))
}

/// Mean sojourn in M/G/1 with processor sharing: the same for every service law.
#[must_use]
pub fn ps_mean(rho: f64) -> f64 {
    1.0 / (1.0 - rho)
}

/// The rate of the exponential sojourn at one of `servers` servers that a Poisson stream is dealt to in
/// turn: E_n/M/1, whose probability of finding the server busy is the root of
/// sigma = (n rho / (n rho + 1 - sigma))^n. One server gives M/M/1.
fn round_robin_rate(servers: u32, rho: f64) -> f64 {
    let n = f64::from(servers);
    let sigma = root(0.0, 1.0 - 1e-12, |sigma| sigma - (n * rho / (n * rho + 1.0 - sigma)).powf(n));
    1.0 - sigma
}

/// Mean sojourn when a Poisson stream is dealt to `servers` exponential servers in turn.
#[must_use]
pub fn round_robin_mean(servers: u32, rho: f64) -> f64 {
    1.0 / round_robin_rate(servers, rho)
}

/// The quantile `p` of that sojourn.
#[must_use]
pub fn round_robin_quantile(servers: u32, rho: f64, p: f64) -> f64 {
    -(1.0 - p).ln() / round_robin_rate(servers, rho)
}

/// Mean sojourn when a Poisson stream of rate `rate` is split at random in proportion to `shares` over
/// exponential servers of these speeds; none if one of them is overloaded.
#[must_use]
pub fn split_mean(rate: f64, shares: &[f64], speeds: &[f64]) -> Option<f64> {
    let total: f64 = shares.iter().sum();
    let present = shares.iter().zip(speeds).map(|(share, speed)| {
        let arriving = rate * share / total;
        (arriving < *speed).then(|| arriving / (speed - arriving))
    });
    present.sum::<Option<f64>>().map(|present| present / rate)
}

#[cfg(test)]
mod tests {
    use super::{super::close, *};

    #[test]
    fn mm1() {
        close(mm1_mean(0.9), 10.0, 1e-9);
        for (p, expected) in [(0.5, 3.4657), (0.9, 11.5129), (0.99, 23.0259), (0.999, 34.5388)] {
            close(mm1_quantile(0.8, p), expected, 5e-5);
        }
        for (rho, expected) in [(0.5, 3.0), (0.7, 5.667), (0.8, 9.0), (0.9, 19.0), (0.95, 39.0)] {
            close(mm1_relative_deviation(rho, 1.0), expected, 5e-4);
        }
    }

    #[test]
    fn mmc() {
        let table = [
            (2, 0.5, 0.333333, 1.333333, 0.9744, 5.6660, 8.2275),
            (2, 0.8, 0.711111, 2.777778, 2.0400, 11.9374, 17.6941),
            (10, 0.7, 0.221731, 1.073910, 0.7770, 4.7103, 7.0129),
            (10, 0.9, 0.668732, 1.668732, 1.3291, 6.2499, 8.8411),
            (50, 0.9, 0.363864, 1.072773, 0.7765, 4.6922, 6.9948),
            (100, 0.99, 0.882768, 1.882768, 1.5585, 6.5149, 9.1096),
        ];
        for (servers, rho, waits, mean, p50, p99, p999) in table {
            close(erlang_c(servers, rho), waits, 1e-6);
            close(mmc_mean(servers, rho), mean, 1e-6);
            close(mmc_quantile(servers, rho, 0.5), p50, 1e-4);
            close(mmc_quantile(servers, rho, 0.99), p99, 1e-4);
            close(mmc_quantile(servers, rho, 0.999), p999, 1e-4);
        }
        close(mmc_quantile(1, 0.8, 0.99), mm1_quantile(0.8, 0.99), 1e-9);
        close(mmc_quantile(2, 0.5, 0.9), mmc_quantile(2, 0.5 + 1e-7, 0.9), 1e-4);
    }

    #[test]
    fn refusals() {
        let table = [
            (1, 5, 0.8, 0.088819, 2.5631),
            (1, 10, 1.2, 0.192586, 6.9261),
            (4, 8, 0.9, 0.096636, 1.3320),
            (10, 20, 1.5, 0.334422, 1.8074),
            (10, 10, 1.2, 0.301925, 1.0),
            (100, 100, 0.9, 0.026957, 1.0),
        ];
        for (servers, room, rho, refused, mean) in table {
            let (got_refused, got_mean) = mmck(servers, room, rho);
            close(got_refused, refused, 1e-6);
            close(got_mean, mean, 1e-4);
        }
        close(mmck(10, 10, 0.8).0, erlang_b(10, 8.0), 1e-12);
    }

    #[test]
    fn general_service() {
        close(mg1_mean(0.8, 0.0), 3.0, 1e-9);
        close(mg1_mean(0.7, 0.25), 2.4583, 5e-5);
        close(mg1_mean(0.9, 10.0), 50.5, 1e-9);
        close(ps_mean(0.8), 5.0, 1e-9);
    }

    #[test]
    fn round_robin() {
        let table = [
            (2, 0.5, 1.6180),
            (2, 0.9, 7.5883),
            (10, 0.7, 2.0198),
            (10, 0.95, 11.1549),
            (100, 0.8, 2.7157),
            (100, 0.99, 50.666),
        ];
        for (servers, rho, mean) in table {
            close(round_robin_mean(servers, rho), mean, 6e-5 * mean);
        }
        close(round_robin_mean(2, 0.5), f64::midpoint(1.0, 5.0_f64.sqrt()), 1e-9); // the golden ratio
        close(round_robin_mean(1, 0.7), mm1_mean(0.7), 1e-9);
        close(round_robin_quantile(10, 0.7, 0.99), 9.3015, 5e-4);
        close(round_robin_quantile(100, 0.95, 0.99), 47.2982, 5e-4);
    }

    #[test]
    fn unequal_servers() {
        let speeds = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.25, 0.25];
        let rate = |rho: f64| rho * 8.5;
        assert_eq!(split_mean(rate(0.5), &[1.0; 10], &speeds), None, "the slow ones drown");
        let best: Vec<f64> = speeds.iter().map(|&speed| if speed < 1.0 { 1.0 } else { 38.0 }).collect();
        close(split_mean(rate(0.5), &best, &speeds).unwrap(), 2.1315, 5e-5);
        close(split_mean(rate(0.5), &speeds, &speeds).unwrap(), 2.3529, 5e-5);
        close(split_mean(rate(0.9), &speeds, &speeds).unwrap(), 11.7647, 5e-5);
    }
}
