//! Ejections, tiers, slow start, adaptive limits and rate limits: arithmetic that is published.

use lb_core::{
    concurrency::AdaptiveLimit,
    config::{self, Algorithm, RateLimit, RateLimitKey},
    limiter::Limiter,
    outlier::{Record, outliers},
    pool::{Ask, Outcome as Ended, Pool},
    priority::{TierHealth, loads},
    prng::Prng,
    time::{Duration, Instant},
};
use lb_testkit::{
    sim::{Fault, Trouble},
    theory::policies,
};

use super::balls::backend;
use crate::{
    cell::{Cell, Table},
    lab::{Lab, over_threads},
    statistics::Estimate,
};

/// A backend's record: so many successes of a hundred.
fn record(successes: u32) -> Record {
    let mut record = Record::default();
    (0..100).for_each(|request| record.count(request < successes));
    record
}

/// How many of `hosts` are found when `bad` of them answer nothing and the others everything.
fn found(outlier: &config::Outlier, hosts: usize, bad: usize) -> usize {
    let records: Vec<Record> = (0..hosts).map(|host| record(if host < bad { 0 } else { 100 })).collect();
    outliers(outlier, &records).len()
}

/// The most that hide behind each other, for both detectors.
pub(crate) fn outlier_masking(_: &Lab) -> Table {
    let base = config::Outlier::default();
    let by_mean = config::Outlier { success_rate: Some(config::SuccessRate::default()), ..base };
    let robust = config::Outlier { robust: Some(config::Robust::default()), ..base };
    let mut cells = Vec::new();
    let largest = |outlier: &config::Outlier, hosts: usize| {
        (1..hosts).take_while(|&bad| found(outlier, hosts, bad) == bad).last().unwrap_or(0)
    };
    for hosts in [5_u32, 10, 20, 100] {
        let bound = policies::outlier_masking_bound(hosts, 1.9).ceil() as usize - 1;
        let got = largest(&by_mean, hosts as usize);
        cells.push(Cell::same(format!("success_rate, {hosts} backends: most that are found"), bound, got));
        let half = (hosts as usize - 1) / 2;
        let got = largest(&robust, hosts as usize);
        cells.push(Cell::same(format!("robust, {hosts} backends: most that are found"), half, got));
    }
    let example = |worst: u32| {
        let records: Vec<Record> = [worst, 100, 100, 100, 100].map(record).into();
        outliers(&by_mean, &records).len()
    };
    cells.push(Cell::same("Envoy's example, rates 50, 100, 100, 100, 100: found", 1, example(50)));
    Table {
        title: "Outliers by success rate",
        about: "Backends that fail alike hide each other: mean - 1.9 standard deviations finds fewer than \
                n / (1 + 1.9²) of n, however bad they are (a consequence of Envoy's formula); the median and its \
                deviation find any minority. Envoy's documented example is found as documented.",
        cells,
    }
}

/// How long it takes until failures come in a row.
pub(crate) fn consecutive_failures(lab: &Lab) -> Table {
    let mut cells = Vec::new();
    for (p, times) in [(0.5, 4000), (0.3, 2000), (0.2, 2000)] {
        // Until it is found, the rarest takes thousands of requests.
        let times = if lab.is_fast { times / 20 } else { times };
        let seeds = lab.take_seeds(times);
        let found = over_threads(times, |index| requests_until_ejected(p, seeds.start + index as u64));
        let target = policies::requests_until_run(p, 5);
        cells.push(Cell::estimate(format!("{p} fail"), target, Estimate::of(found.into_iter())));
    }
    Table {
        title: "Five failures in a row",
        about: "A backend that fails a share p of its requests is ejected after five failures in a row: after \
                (p^-5 - 1) / (1 - p) requests in the mean, 3,905 of them at p = 0.2.",
        cells,
    }
}

/// Requests to a backend that fails a share of them, until it is ejected.
fn requests_until_ejected(p: f64, seed: u64) -> f64 {
    let config = config::Pool {
        outlier: config::Outlier { consecutive_failures: 5, ..config::Outlier::default() },
        backends: (0..2).map(|index| backend(index, 1)).collect(),
        ..config::Pool::default()
    };
    let mut pool = Pool::new("failing".into(), &config, Prng::new(seed), Instant::ZERO);
    let mut world = Prng::new(seed);
    let mut requests = 0.0;
    while let Some(ticket) = pool.pick(Ask::default(), Instant::ZERO) {
        let is_bad = ticket.name().as_ref() == "b0";
        requests += f64::from(u8::from(is_bad));
        let fails = is_bad && (world.below(1_000_000) as f64) < p * 1e6;
        let outcome = if fails { Ended::ServerError } else { Ended::Success };
        pool.finish(ticket, outcome, Instant::ZERO);
        if pool.has_transitions() {
            break;
        }
    }
    requests
}

/// Envoy's table of priority levels.
pub(crate) fn tiers(_: &Lab) -> Table {
    let rows: [(&[usize], &str); 7] = [
        (&[100, 100], "100/0"),
        (&[72, 100], "100/0"),
        (&[71, 100], "99/1"),
        (&[50, 100], "70/30"),
        (&[25, 100], "35/65"),
        (&[25, 25], "50/50"),
        (&[25, 25, 20], "36/36/28"),
    ];
    let cells = rows
        .into_iter()
        .map(|(healthy, target)| {
            let tiers: Vec<TierHealth> =
                healthy.iter().map(|&healthy| TierHealth { healthy, total: 100 }).collect();
            let got: Vec<String> =
                loads(&tiers, 140, 0).iter().map(|load| load.percent.to_string()).collect();
            Cell::same(format!("percent healthy by tier {healthy:?}"), target, got.join("/"))
        })
        .collect();
    Table {
        title: "Tiers of priority",
        about: "Which share each tier gets at an overprovisioning of 1.4, as Envoy documents it.",
        cells,
    }
}

/// Where the gradient rule comes to rest.
pub(crate) fn gradient(_: &Lab) -> Table {
    let mut cells = Vec::new();
    for capacity in [10.0, 100.0] {
        let config = config::Concurrency::default();
        let mut now = Instant::ZERO;
        let mut limit = AdaptiveLimit::new(&config, Prng::new(1), now);
        // A server that serves `capacity` at once within 10 ms, and queues beyond; one minute of answers.
        for _ in 0..50_000 {
            now = now + Duration::from_millis(1);
            let in_flight = f64::from(limit.limit());
            let latency = 10e6 * (in_flight / capacity).max(1.0);
            limit.on_success(Instant::from_nanos(now.as_nanos().saturating_sub(latency as u64)), now);
        }
        let target = policies::gradient_fixed_point(capacity, 0.25);
        // Limits are whole requests.
        let name = format!("room for {capacity}: the limit at rest");
        cells.push(Cell::within(name, target - 1.0, target + 1.0, limit.limit().into()));
    }
    Table {
        title: "Adaptive concurrency at rest",
        about: "L' = g L + √L before a server whose latency grows in proportion to what is in flight beyond its \
                room C, with a buffer of 25 %: it rests at ((1 + √(1 + 4 · 1.25 C)) / 2)².",
        cells,
    }
}

/// The rate limit against a token bucket.
pub(crate) fn rate_limit(_: &Lab) -> Table {
    let limit = RateLimit { requests: 7, per: Duration::from_secs(1), burst: 5, by: RateLimitKey::Client };
    let client = "192.0.2.1".parse().unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    let mut limiter = Limiter::with_seed(64, 1);
    let mut prng = Prng::new(1);
    // A bucket of 5 tokens of 10^9 parts each, that gains 7 parts a nanosecond.
    let (whole, mut tokens, mut last, mut now) = (1_000_000_000_u128, 5_000_000_000_u128, 0_u64, 0_u64);
    let (mut differ, mut conforming) = (0, 0);
    for _ in 0..100_000 {
        now += prng.below(200_000_000);
        tokens = (tokens + 7 * u128::from(now - last)).min(5 * whole);
        last = now;
        let fits = tokens >= whole;
        tokens -= if fits { whole } else { 0 };
        let judged = limiter.check(1, &limit, client, Instant::from_nanos(now)).is_ok();
        differ += u32::from(judged != fits);
        conforming += u32::from(judged);
    }
    let mut fresh = Limiter::with_seed(64, 1);
    let at_once = (0..20).filter(|_| fresh.check(1, &limit, client, Instant::ZERO).is_ok()).count();
    Table {
        title: "Rate limits: GCRA is a token bucket",
        about: "100,000 requests at random times, judged by the limiter of 7 requests a second with a burst of 5 and \
                by a token bucket in exact integers.",
        cells: vec![
            Cell::same("judged otherwise than by the bucket", 0, differ),
            Cell::same("conforming at one instant", 5, at_once),
            Cell::within("share that conforms", 0.6, 0.8, f64::from(conforming) / 100_000.0),
        ],
    }
}

/// A backend that fails fast draws traffic: how much, by algorithm.
pub(crate) fn black_hole(lab: &Lab) -> Table {
    let known = [(0.3, 0.1426, 0.1292), (0.5, 0.1927, 0.1476), (0.7, 0.2594, 0.1651), (0.9, 0.3314, 0.1821)];
    let mut cells = Vec::new();
    for (rho, least, two) in known.into_iter().filter(|row| lab.runs(10, row.0)) {
        for (name, algorithm, target) in [
            ("least_request", Algorithm::LeastRequest, least),
            ("p2c", Algorithm::P2c, two),
            ("round_robin", Algorithm::RoundRobin, 0.1),
        ] {
            let mut model = lab.model(algorithm, 10, rho);
            model.pool.retry.tries = 1;
            model.faults = vec![Fault {
                backends: vec![0],
                from: Duration::ZERO,
                length: None,
                stagger: Duration::ZERO,
                trouble: Trouble::Fail {
                    share: 1.0,
                    status: 500,
                    after: Some(Duration::ZERO),
                    seen_by_checks: false,
                },
            }];
            let [share] = lab.run(&model, |outcome| [outcome.share(0)]);
            let label = format!("{name}, rho {rho}");
            // Round robin is exact up to one request of a run.
            let known_within = if algorithm == Algorithm::RoundRobin { 1e-5 } else { 0.001 * target };
            cells.push(Cell::known_within(label, target, known_within, share));
        }
    }
    Table {
        title: "A black hole",
        about: "One of ten backends answers 500 at once, with no detector on. Its share of the traffic, against an \
                independent simulation: the fewest requests in flight attract, so `least_request` has no bound, `p2c` \
                cannot give it more than 2/n, and `round_robin` gives it 1/n.",
        cells,
    }
}
