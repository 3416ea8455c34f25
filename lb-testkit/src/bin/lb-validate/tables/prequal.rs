//! Prequal: the published rule on recorded probes, and what it is good for.

use lb_core::{
    config::{self, Algorithm},
    pool::{Ask, EndpointId, Outcome, Pool, ProbeAnswer},
    prng::Prng,
    time::{Duration, Instant},
};
use lb_testkit::theory::{
    prequal::{Client, Settings},
    queues,
};

use super::balls::backend;
use crate::{
    cell::{Cell, Table},
    lab::{Lab, mean, units},
    statistics::Estimate,
};

fn pool(settings: Settings, seed: u64) -> Pool {
    let percent = |share: f64| (share * 100.0).round() as u32;
    let config = config::Pool {
        algorithm: Algorithm::Prequal,
        prequal: config::Prequal {
            probe_percent: percent(settings.probes),
            remove_percent: percent(settings.removals),
            answers: settings.pool as u32,
            age: Duration::from_nanos(settings.age),
            hot_percent: percent(settings.hot_quantile),
            ..config::Prequal::default()
        },
        outlier: config::Outlier { consecutive_failures: 0, ..config::Outlier::default() },
        backends: (0..settings.servers).map(|index| backend(index, 1)).collect(),
        ..config::Pool::default()
    };
    Pool::new("probed".into(), &config, Prng::new(seed), Instant::ZERO)
}

fn ids(pool: &Pool) -> Vec<EndpointId> {
    pool.endpoints().map(|endpoint| endpoint.endpoint).collect()
}

/// A course of requests and answers to probes: picks that the paper's rule decides, and how many of them were
/// others. Where the paper has fewer than two answers to choose by it is random, and nothing is
/// compared.
fn course(settings: Settings, uses: u32, requests: u32, seed: u64) -> (u32, u32) {
    let mut pool = pool(settings, seed);
    let ids = ids(&pool);
    let mut client = Client::new(settings, uses);
    let mut world = Prng::new(seed);
    let (mut now, mut judged, mut differ) = (0, 0, 0);
    let mut on_way: Vec<(u64, EndpointId)> = Vec::new();
    for _ in 0..requests {
        // Sometimes nothing comes for so long that answers grow old.
        now += if world.below(50) == 0 { world.below(2 * settings.age) } else { world.below(2_000_000) };
        on_way.sort_unstable_by_key(|&(at, _)| at);
        for (_, id) in on_way.extract_if(.., |(at, _)| *at <= now) {
            let (in_flight, latency) = (world.below(24) as u32, 1 + world.below(1 << 40));
            let answer = ProbeAnswer { in_flight, latency: Duration::from_nanos(latency) };
            pool.on_probe(id, Some(answer), Instant::from_nanos(now));
            client.on_probe(place(&ids, id), in_flight, latency, now);
        }
        let Some(ticket) = pool.pick(Ask::default(), Instant::from_nanos(now)) else { break };
        let server = place(&ids, ticket.endpoint());
        if let Some(expected) = client.on_request(now) {
            judged += 1;
            differ += u32::from(expected != server);
        }
        while let Some(probe) = pool.poll_probe() {
            on_way.push((now + world.below(3_000_000), probe.endpoint));
        }
        pool.finish(ticket, Outcome::Success, Instant::from_nanos(now));
    }
    (judged, differ)
}

fn place(ids: &[EndpointId], id: EndpointId) -> usize {
    ids.iter().position(|&known| known == id).unwrap_or(usize::MAX)
}

/// How often the best of three answers is used, over and over.
fn uses(settings: Settings, times: usize, seed: u64) -> Estimate {
    let mut pool = pool(settings, seed);
    let ids = ids(&pool);
    let now = Instant::from_nanos(1);
    let counts: Vec<f64> = (0..times)
        .map(|_| {
            // A busy one sees to it that the others never count as hot, and a slow one that two are left.
            for (place, in_flight, latency) in
                [(3, 1000, 30), (3, 1000, 30), (2, 0, 20), (1, 0, 10), (0, 0, 5)]
            {
                let answer = ProbeAnswer { in_flight, latency: Duration::from_nanos(latency) };
                pool.on_probe(ids[place], Some(answer), now);
            }
            let mut count = 0.0;
            while let Some(ticket) = pool.pick(Ask::default(), now) {
                let is_first = ticket.endpoint() == ids[0];
                pool.finish(ticket, Outcome::Success, now);
                if !is_first {
                    break;
                }
                count += 1.0;
            }
            count
        })
        .collect();
    Estimate::of(counts.iter().copied())
}

/// The rule on probes as they came, and how often an answer is used.
pub(crate) fn rule(lab: &Lab) -> Table {
    let base = Settings {
        servers: 100,
        pool: 16,
        probes: 3.0,
        removals: 1.0,
        hot_quantile: 0.84,
        age: 1_000_000_000,
    };
    let mut cells = Vec::new();
    let requests = if lab.is_fast { 2_000 } else { 20_000 };
    // Settings whose formula gives a whole number, so that both use each answer alike.
    for (settings, uses) in [
        (Settings { probes: 5.0, ..base }, 1),
        (Settings { servers: 64, probes: 2.0, removals: 0.5, ..base }, 2),
        (Settings { servers: 64, probes: 1.0, removals: 0.25, hot_quantile: 0.6, ..base }, 4),
        (Settings { servers: 64, probes: 1.0, removals: 0.5, ..base }, 8),
    ] {
        let (judged, differ) = course(settings, uses, requests, lab.take_seeds(1).start);
        let Settings { servers, probes, removals, hot_quantile, .. } = settings;
        let label = format!("n {servers}, {probes} probes, {removals} removals, hot above {hot_quantile}");
        let formula = settings.reuse().unwrap_or(f64::NAN);
        cells.push(Cell::within(format!("{label}: uses"), formula - 1e-9, formula + 1e-9, uses.into()));
        cells.push(Cell::same(format!("{label}: picks otherwise than by the rule"), 0, differ));
        let all = f64::from(requests);
        cells.push(Cell::within(format!("{label}: picks that it decides"), 0.9 * all, all, judged.into()));
    }
    let times = if lab.is_fast { 500 } else { 20_000 };
    // Removals would take answers that are counted, so there are none, and the formula's values are others.
    for (servers, pool, probes) in [(100, 16, 1.0), (64, 16, 1.0), (50, 12, 0.5)] {
        let settings = Settings { servers, pool, probes, removals: 0.0, ..base };
        let target = settings.reuse().unwrap_or(f64::NAN);
        let found = uses(settings, times, lab.take_seeds(1).start);
        cells.push(Cell::estimate(format!("n {servers}, {probes} probes, no removals: uses"), target, found));
    }
    Table {
        title: "Prequal: the published rule",
        about: "`prequal` on random probes against a naive client that follows the paper (Wydrowski et al. 2024): whom \
                it picks of the answers at hand, hot or cold, which of them it removes, drops for their age and uses \
                up. Where fewer than two are left the paper picks at random, and nothing is compared. An answer is \
                used max(1, 2 / ((1 - m/n) probes - removals)) times in the mean, m answers being kept.",
        cells,
    }
}

/// Many balancers, of which each sees little: probes tell it the rest.
pub(crate) fn many_balancers(lab: &Lab) -> Table {
    let (balancers, servers) = (50, 20);
    let mut cells = Vec::new();
    for rho in [0.8, 0.9].into_iter().filter(|&rho| !lab.is_fast || rho < 0.9) {
        let found = [Algorithm::Prequal, Algorithm::P2c].map(|algorithm| {
            // What one of many sees is next to nothing: it takes as long to settle as random splitting.
            let mut model = lab.model(Algorithm::Random, servers, rho);
            model.pool.algorithm = algorithm;
            model.balancers = balancers;
            // Fifty balancers take long to simulate: a quarter of what others get tells the two apart by far, and in
            // the fast part less of a start, of which five relaxation times leave below a hundredth.
            let measured = model.duration - model.warmup;
            model.warmup /= if lab.is_fast { 4 } else { 1 };
            model.duration = model.warmup + measured / if lab.is_fast { 1 } else { 4 };
            // Services are 1 ms here and some tens in life: an answer is good for 50 of them.
            model.pool.prequal.age = units(50.0);
            let [mean] = lab.run(&model, mean);
            mean
        });
        let [probes, two] = found;
        // The error of a quotient, to the first order; the greater margin covers both.
        let ratio = probes.mean / two.mean;
        let error = ratio * (probes.error / probes.mean).hypot(two.error / two.mean);
        let margin = Estimate { mean: ratio, error, ..probes }.margin();
        let label = format!("rho {rho}: mean of prequal over that of p2c");
        cells.push(Cell::within(format!("{label}, lower end"), 0.0, 1.0, ratio - margin));
        cells.push(Cell::within(format!("{label}, upper end"), 0.0, 1.0, ratio + margin));
        let least = queues::mmc_mean(servers, rho);
        cells.push(Cell::within(
            format!("rho {rho}: mean of prequal, between M/M/n and M/M/1"),
            least,
            queues::mm1_mean(rho),
            probes.mean,
        ));
    }
    Table {
        title: "Prequal: many balancers",
        about: "50 balancers before 20 backends: each sees a fiftieth of what is in flight, so that `p2c` is little \
                better than random, and probes of all requests that are there must help. There is no formula; the \
                interval of the quotient (one in a thousand outside) has to leave out 1.",
        cells,
    }
}
