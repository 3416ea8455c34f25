//! What the core's decisions cost as configurations grow: `cargo bench --package lb-core`.
//!
//! Routes and CIDRs may cost a logarithm; of the algorithms only rendezvous hashing may grow with the number of
//! backends, and the other hashes somewhat where many backends are at their caps.

use std::{collections::VecDeque, fmt::Write, hint::black_box, net::IpAddr};

use divan::Bencher;
use lb_core::{
    config::{
        Algorithm, Backend, BackendAddress, Config, Firewall, Listener, P2c, Pool as PoolConfig, RingHash,
        Valid,
    },
    plan::{Decision, Plan},
    pool::{Ask, Outcome, Pool, ProbeAnswer},
    prng::Prng,
    request::RequestView,
    time::{Duration, Instant},
};

fn main() {
    divan::main();
}

const ROUTES: [usize; 3] = [10, 1000, 10_000];
const BACKENDS: [usize; 3] = [3, 100, 1000];

/// A file of `count` routes: one host for each ten of them, with paths and prefixes of three segments.
fn file(count: usize) -> String {
    let mut text = String::from(
        "[[listener]]\nbind = \"127.0.0.1:8000\"\n\n[pool.p]\nbackends = [\"127.0.0.1:8081\", \"127.0.0.1:8082\"]\n",
    );
    for index in 0..count {
        let key = if index % 2 == 0 { "path_prefix" } else { "path" };
        let host = index / 10;
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[[route]]\nname = \"r{index}\"\npool = \"p\"\n\
             match = {{ host = \"h{host}.example.com\", {key} = \"/api/v1/r{index}\" }}\n\
             [route.request]\nset_headers = {{ X-Route = \"r{index}\" }}\n"
        );
    }
    text
}

fn valid(count: usize) -> Valid {
    Config::load(&file(count)).unwrap_or_else(|problems| panic!("{}", problems.in_file("bench")))
}

/// What a browser sends.
const HEADERS: [(&str, &str); 5] = [
    ("host", "h0.example.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
];

/// Requests for all routes in turn, so that no branch predictor learns one of them.
fn decide_each(bencher: Bencher<'_, '_>, plan: &Plan, requests: &[(String, String)], client: IpAddr) {
    let headers = &HEADERS[..];
    let mut next = 0;
    bencher.bench_local(|| {
        let (host, path) = &requests[next];
        next = (next + 1) % requests.len();
        let view = RequestView {
            method: "GET",
            authority: Some(host),
            path,
            query: None,
            headers: &headers,
            client,
        };
        let decision = plan.decide(black_box(&view));
        debug_assert!(matches!(decision, Decision::Forward { .. }), "{host} {path}: {decision:?}");
        matches!(decision, Decision::Forward { .. })
    });
}

/// As many requests for each of `routes` routes, in a random order.
fn requests(routes: usize) -> Vec<(String, String)> {
    let mut prng = Prng::new(1);
    let request = |_| {
        let route = prng.below(routes as u64);
        let below = if route.is_multiple_of(2) { "/item/7" } else { "" };
        (format!("h{}.example.com", route / 10), format!("/api/v1/r{route}{below}"))
    };
    (0..4096).map(request).collect()
}

#[divan::bench(args = ROUTES, sample_size = 4096)]
fn decide(bencher: Bencher<'_, '_>, routes: usize) {
    let plan = Plan::compile(&valid(routes));
    decide_each(bencher, &plan, &requests(routes), IpAddr::from([192, 0, 2, 1]));
}

/// A global list of so many denied networks, none of which is the client's.
#[divan::bench(args = [1, 100, 10_000], sample_size = 4096)]
fn firewall(bencher: Bencher<'_, '_>, cidrs: usize) {
    let net = |index: usize| {
        let [_, a, b, c] = u32::try_from(index * 2).unwrap_or(0).to_be_bytes();
        format!("10.{b}.{c}.{a}/32").parse().ok()
    };
    let mut config = valid(10).into_inner();
    config.firewall = Firewall { deny_ips: (0..cidrs).filter_map(net).collect(), ..Firewall::default() };
    assert_eq!(config.firewall.deny_ips.len(), cidrs);
    let valid = config.validate().unwrap_or_else(|problems| panic!("{}", problems.in_file("bench")));
    decide_each(bencher, &Plan::compile(&valid), &requests(10), IpAddr::from([10, 20, 30, 40]));
}

/// From the text of a file to what the server runs.
#[divan::bench(args = ROUTES, sample_count = 10)]
fn load_and_compile(bencher: Bencher<'_, '_>, routes: usize) {
    let text = file(routes);
    bencher.bench(|| Config::load(black_box(&text)).map(|valid| Plan::compile(&valid)).is_ok());
}

#[divan::bench(args = ROUTES, sample_count = 10)]
fn validate_and_compile(bencher: Bencher<'_, '_>, routes: usize) {
    let config = valid(routes).into_inner();
    bencher
        .with_inputs(|| config.clone())
        .bench_values(|config| config.validate().map(|valid| Plan::compile(&valid)).is_ok());
}

/// One request with others in flight: one for each backend, ten at least. With Prequal the answers to its
/// probes are counted in.
fn pick_and_finish(bencher: Bencher<'_, '_>, algorithm: Algorithm, backends: usize, weight: fn(u32) -> u32) {
    let config = PoolConfig { algorithm, ..PoolConfig::default() };
    pick_and_finish_with(bencher, config, backends, weight);
}

/// `pool` with so many backends, validated.
fn of_backends(pool: PoolConfig, backends: usize, weight: fn(u32) -> u32) -> PoolConfig {
    let backend = |index: u32| {
        let [_, _, a, b] = index.to_be_bytes();
        let address = BackendAddress::Ip((IpAddr::from([10, 0, a, b]), 80).into());
        Backend { weight: weight(index), ..Backend::at(address, format!("b{index}")) }
    };
    let backends = (0..u32::try_from(backends).unwrap_or(0)).map(backend).collect();
    let config = Config {
        listeners: vec![Listener::at((IpAddr::from([127, 0, 0, 1]), 8000).into())],
        pools: [("p".to_owned(), PoolConfig { backends, ..pool })].into(),
        routes: vec![lb_core::config::Route::to("p")],
        ..Config::default()
    };
    let valid = config.validate().unwrap_or_else(|problems| panic!("{}", problems.in_file("bench")));
    valid.pools["p"].clone()
}

fn pick_and_finish_with(bencher: Bencher<'_, '_>, pool: PoolConfig, backends: usize, weight: fn(u32) -> u32) {
    let config = of_backends(pool, backends, weight);
    let others = config.backends.len().max(10);
    let mut now = Instant::from_nanos(1);
    let mut pool = Pool::new("p".into(), &config, Prng::new(1), now);
    let mut keys = Prng::new(2);
    let mut ask = || Ask { key: Some(keys.next_u64()), tried: &[] };
    let mut open: VecDeque<_> = (0..others).filter_map(|_| pool.pick(ask(), now)).collect();
    assert_eq!(open.len(), others);
    // A period of weighted round robin is learned, and latencies are known.
    for round in 0..10_000 {
        now = now + Duration::from_micros(10);
        if let Some(ticket) = open.pop_front() {
            pool.finish(ticket, Outcome::Success, now + Duration::from_micros(round % 7));
        }
        open.extend(pool.pick(ask(), now));
    }
    bencher.bench_local(|| {
        now = now + Duration::from_micros(10);
        if let Some(ticket) = open.pop_front() {
            pool.finish(ticket, Outcome::Success, now);
        }
        open.extend(pool.pick(black_box(ask()), black_box(now)));
        while let Some(probe) = pool.poll_probe() {
            let answer = ProbeAnswer { in_flight: 1, latency: Duration::from_millis(1) };
            pool.on_probe(probe.endpoint, Some(answer), now);
        }
    });
    while let Some(ticket) = open.pop_front() {
        pool.finish(ticket, Outcome::Success, now);
    }
}

/// At the caps: each backend may have one request, and all but two have it. One ends and another begins, so that for
/// each request one backend frees and one fills.
mod pick_at_caps {
    use super::*;

    macro_rules! of {
        ($($name:ident: $algorithm:ident, $weight:ident;)*) => {$(
            #[divan::bench(args = BACKENDS)]
            fn $name(bencher: Bencher<'_, '_>, backends: usize) {
                let mut pool = PoolConfig { algorithm: Algorithm::$algorithm, ..PoolConfig::default() };
                pool.max_in_flight = 1;
                saturated(bencher, pool, backends, $weight);
            }
        )*};
    }

    of! {
        random: Random, equal;
        random_by_weight: Random, unequal;
        round_robin: RoundRobin, equal;
        round_robin_by_weight: RoundRobin, unequal;
        tijdeman_by_weight: Tijdeman, unequal;
        least_request: LeastRequest, equal;
        p2c: P2c, equal;
        peak_ewma: PeakEwma, equal;
        join_idle_queue: JoinIdleQueue, equal;
        ring_hash: RingHash, equal;
        maglev: Maglev, equal;
        rendezvous: Rendezvous, equal;
        jump_hash: JumpHash, equal;
        prequal: Prequal, equal;
    }

    fn saturated(bencher: Bencher<'_, '_>, pool: PoolConfig, backends: usize, weight: fn(u32) -> u32) {
        let config = of_backends(pool, backends, weight);
        let now = Instant::from_nanos(1);
        let mut pool = Pool::new("p".into(), &config, Prng::new(1), now);
        let mut prng = Prng::new(2);
        let mut open = Vec::new();
        while let Some(ticket) = pool.pick(Ask { key: Some(prng.next_u64()), tried: &[] }, now) {
            open.push(ticket);
        }
        assert_eq!(open.len(), backends);
        // Two free slots, so that there is something to choose.
        for ticket in open.drain(..open.len().min(2)) {
            pool.finish(ticket, Outcome::Success, now);
        }
        bencher.bench_local(|| {
            let ask = Ask { key: Some(prng.next_u64()), tried: &[] };
            open.extend(pool.pick(black_box(ask), black_box(now)));
            let ended = open.swap_remove(prng.below(open.len() as u64) as usize);
            pool.finish(ended, Outcome::Success, now);
            while let Some(probe) = pool.poll_probe() {
                let answer = ProbeAnswer { in_flight: 1, latency: Duration::from_millis(1) };
                pool.on_probe(probe.endpoint, Some(answer), now);
            }
        });
        for ticket in open {
            pool.finish(ticket, Outcome::Success, now);
        }
    }
}

fn equal(_: u32) -> u32 {
    1
}

fn unequal(index: u32) -> u32 {
    1 + index % 5
}

/// Every algorithm with equal weights.
mod pick {
    use super::*;

    macro_rules! of {
        ($($name:ident: $algorithm:ident, $weight:ident;)*) => {$(
            #[divan::bench(args = BACKENDS)]
            fn $name(bencher: Bencher<'_, '_>, backends: usize) {
                pick_and_finish(bencher, Algorithm::$algorithm, backends, $weight);
            }
        )*};
    }

    of! {
        random: Random, equal;
        random_by_weight: Random, unequal;
        round_robin: RoundRobin, equal;
        round_robin_by_weight: RoundRobin, unequal;
        tijdeman_by_weight: Tijdeman, unequal;
        least_request: LeastRequest, equal;
        least_request_by_weight: LeastRequest, unequal;
        p2c: P2c, equal;
        peak_ewma: PeakEwma, equal;
        join_idle_queue: JoinIdleQueue, equal;
        ring_hash: RingHash, equal;
        maglev: Maglev, equal;
        rendezvous: Rendezvous, equal;
        jump_hash: JumpHash, equal;
        prequal: Prequal, equal;
    }

    /// A prime sum of weights that is too large for its period to be kept.
    #[divan::bench(args = BACKENDS)]
    fn round_robin_without_a_period(bencher: Bencher<'_, '_>, backends: usize) {
        pick_and_finish(bencher, Algorithm::RoundRobin, backends, |index| 100_003 + index % 5);
    }

    #[divan::bench(args = BACKENDS)]
    fn p2c_of_five(bencher: Bencher<'_, '_>, backends: usize) {
        let config =
            PoolConfig { algorithm: Algorithm::P2c, p2c: P2c { choices: 5 }, ..PoolConfig::default() };
        pick_and_finish_with(bencher, config, backends, equal);
    }

    #[divan::bench(args = BACKENDS)]
    fn ring_hash_bounded(bencher: Bencher<'_, '_>, backends: usize) {
        let config = PoolConfig {
            algorithm: Algorithm::RingHash,
            ring_hash: RingHash { balance_factor: Some(125), ..RingHash::default() },
            ..PoolConfig::default()
        };
        pick_and_finish_with(bencher, config, backends, equal);
    }
}

/// What a change of the members costs: tables are made anew.
#[divan::bench(args = ["round_robin", "ring_hash", "maglev"], sample_count = 20)]
fn one_of_hundred_backends_changes(bencher: Bencher<'_, '_>, algorithm: &str) {
    let algorithm = Algorithm::NAMED.iter().find(|(name, _)| *name == algorithm).map(|&(_, found)| found);
    let backend = |port: u16| {
        let address = BackendAddress::Ip((IpAddr::from([10, 0, 0, 1]), port).into());
        Backend::at(address, format!("b{port}"))
    };
    let config = |last: u16| PoolConfig {
        algorithm: algorithm.unwrap_or(Algorithm::RoundRobin),
        backends: (1..100).chain([last]).map(backend).collect(),
        ..PoolConfig::default()
    };
    let configs = [config(100), config(101)];
    let mut pool = Pool::new("p".into(), &configs[0], Prng::new(1), Instant::ZERO);
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        pool.reconfigure(black_box(&configs[turn % 2]), Instant::ZERO);
    });
}
