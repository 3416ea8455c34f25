//! The engine against closed forms, and against itself.
//!
//! Tolerances come from the variance of the estimate: 3.29 standard errors (p = 0.001). Seeds are fixed, so
//! each test passes always or never.

use std::time::Duration;

use lb_core::{
    config::{self, Algorithm},
    prng::Prng,
    reason::Reason,
};
use rstest::rstest;

use super::*;

/// The unit of time: a mean service, in nanoseconds.
const UNIT: f64 = 1e6;

fn pool(algorithm: Algorithm) -> config::Pool {
    config::Pool { algorithm, ..config::Pool::default() }
}

/// `backends` with exponential service of mean 1, loaded by `rho`, long enough for some `requests`.
fn queue(algorithm: Algorithm, backends: Vec<Backend>, rho: f64, requests: f64) -> Model {
    let model = Model { pool: pool(algorithm), service: Law::exponential(UNIT), ..Model::new(backends) };
    let rate = rho * model.capacity();
    let duration = Duration::from_secs_f64(requests / rate);
    Model { arrivals: Arrivals::poisson(rate), warmup: duration / 20, duration, ..model }
}

fn run(model: &Model) -> Outcome {
    model.run(1).unwrap_or_else(|error| panic!("{error}"))
}

fn mean(outcome: &Outcome) -> f64 {
    outcome.latency.mean() / UNIT
}

fn assert_near(what: &str, found: f64, expected: f64, relative: f64) {
    assert!((found / expected - 1.0).abs() < relative, "{what}: {found} is not {expected} +- {relative}");
}

/// The standard error of the mean sojourn of M/M/1 is `sqrt(1 + 4 rho / (1 - rho)^2) / sqrt(N)` of it; that
/// of the 99th percentile about twice as much.
#[rstest]
#[case(0.5)]
#[case(0.7)]
fn one_server(#[case] rho: f64) {
    let outcome = run(&queue(Algorithm::Random, Backend::several(1, 1), rho, 200_000.0));
    let error = (1.0 + 4.0 * rho / (1.0 - rho) / (1.0 - rho)).sqrt() / (outcome.requests as f64).sqrt();
    assert_near("mean", mean(&outcome), 1.0 / (1.0 - rho), 3.29 * error);
    for (q, factor) in [(0.5, 1.0), (0.9, 1.5), (0.99, 2.0)] {
        let expected = -f64::ln(1.0 - q) / (1.0 - rho);
        assert_near("quantile", outcome.latency.quantile(q) / UNIT, expected, 3.29 * factor * error);
    }
    assert_near("utilisation", outcome.utilisation(0), rho, 0.01);
    // PASTA and Little's law: the time average is the arrival rate times the sojourn.
    assert_near("number", outcome.mean_present(), rho * mean(&outcome), 0.01);
    let share = |present: usize| outcome.occupancy[present] as f64 / outcome.window as f64;
    assert_near("empty", share(0), 1.0 - rho, 0.03);
    assert_near("one", share(1), rho * (1.0 - rho), 0.05);
}

/// A backend with slots is M/M/c.
#[rstest]
#[case(2, 0.8, 2.777_778, 0.03)]
#[case(10, 0.8, 1.204_590, 0.012)]
fn several_slots(#[case] slots: u32, #[case] rho: f64, #[case] expected: f64, #[case] tolerance: f64) {
    let outcome = run(&queue(Algorithm::Random, Backend::several(1, slots), rho, 200_000.0));
    assert_near("mean", mean(&outcome), expected, tolerance);
}

/// Pollaczek and Khinchine: `1 + rho (1 + cv^2) / (2 (1 - rho))`.
#[rstest]
#[case::fixed(Law::fixed(1_000_000), 0.02)]
#[case::erlang(Law::erlang(UNIT, 4), 0.02)]
#[case::hyper_exponential(Law::balanced_hyper_exponential(UNIT, 4.0), 0.08)]
#[case::log_normal(Law::log_normal(UNIT, 1.0), 0.05)]
fn service_laws(#[case] service: Law, #[case] tolerance: f64) {
    let model = Model { service, ..queue(Algorithm::Random, Backend::several(1, 1), 0.5, 200_000.0) };
    let expected = 1.0 + 0.5 * (1.0 + model.service.squared_cv());
    assert_near("mean", mean(&run(&model)), expected, tolerance);
}

/// Processor sharing: the mean is `1 / (1 - rho)` for every law.
#[rstest]
#[case::fixed(Law::fixed(1_000_000))]
#[case::exponential(Law::exponential(UNIT))]
#[case::hyper_exponential(Law::balanced_hyper_exponential(UNIT, 4.0))]
fn sharing_is_insensitive(#[case] service: Law) {
    let backends = vec![Backend { discipline: Discipline::Sharing, ..Backend::new("a") }];
    let model = Model { service, ..queue(Algorithm::Random, backends, 0.5, 150_000.0) };
    let outcome = run(&model);
    assert_near("mean", mean(&outcome), 2.0, 0.035);
    assert_near("utilisation", outcome.utilisation(0), 0.5, 0.02);
}

/// With as many slots as are ever needed, sharing is no sharing.
#[test]
fn sharing_many_slots_is_no_wait() {
    let backends = vec![Backend { discipline: Discipline::Sharing, slots: 64, ..Backend::new("a") }];
    let outcome =
        run(&Model { service: Law::fixed(777), ..queue(Algorithm::Random, backends, 0.1, 20_000.0) });
    assert_eq!((outcome.latency.max(), outcome.latency.sum()), (777, 777 * u128::from(outcome.requests)));
}

/// Splitting: E_n/M/1 for round robin (n = 2, rho = 0.5 is the golden ratio), the exact solution for join
/// the shortest queue of two, and a simulated one of another hand for two choices of ten.
#[rstest]
#[case::round_robin(Algorithm::RoundRobin, 2, 0.5, 1.618_034, 0.02)]
#[case::round_robin(Algorithm::RoundRobin, 10, 0.7, 2.019_8, 0.03)]
#[case::least_request(Algorithm::LeastRequest, 2, 0.8, 2.955_737, 0.04)]
#[case::two_choices(Algorithm::P2c, 2, 0.8, 2.955_737, 0.04)]
#[case::two_choices(Algorithm::P2c, 10, 0.7, 1.675_4, 0.02)]
#[case::random(Algorithm::Random, 10, 0.5, 2.0, 0.025)]
fn splitting(
    #[case] algorithm: Algorithm,
    #[case] backends: u32,
    #[case] rho: f64,
    #[case] expected: f64,
    #[case] tolerance: f64,
) {
    let outcome = run(&queue(algorithm, Backend::several(backends, 1), rho, 200_000.0));
    assert_near("mean", mean(&outcome), expected, tolerance);
    assert!((outcome.max_to_mean() - 1.0).abs() < 0.05, "{}", outcome.max_to_mean());
}

/// Erlang's loss formula for four connections and a load of 0.8 each; any law gives the same.
#[rstest]
#[case::fixed(Law::fixed(1_000_000))]
#[case::exponential(Law::exponential(UNIT))]
#[case::log_normal(Law::log_normal(UNIT, 1.0))]
fn losses(#[case] service: Law) {
    let backends = vec![Backend { slots: 4, connections: Some(4), ..Backend::new("a") }];
    let model = queue(Algorithm::Random, backends, 0.8, 100_000.0);
    let retry = config::Retry { tries: 1, ..config::Retry::default() };
    let outcome = run(&Model { service, pool: config::Pool { retry, ..model.pool }, ..model });
    assert_near("loss", outcome.error_share(), 0.228_145, 0.04);
    assert_eq!(outcome.errors.keys().collect::<Vec<_>>(), [&Failure::Balancer(Reason::ConnectFailed)]);
}

/// A closed loop: by Little's law, users = throughput x (response + thought).
#[test]
fn closed_loop() {
    let outcome = run(&Model {
        arrivals: Arrivals::Closed { users: 40, think: Law::exponential(10.0 * UNIT) },
        service: Law::exponential(UNIT),
        duration: Duration::from_secs(60),
        warmup: Duration::from_secs(2),
        ..Model::new(Backend::several(2, 1))
    });
    let throughput = outcome.requests as f64 / (outcome.window as f64 / UNIT);
    assert_near("users", throughput * (mean(&outcome) + 10.0), 40.0, 0.01);
    assert!(outcome.utilisation(0) > 0.97, "40 users with 2 + 10 of time each overload two servers");
}

/// Users that do not think, and are refused at once, do not stop the time.
#[test]
fn refused_users_come_back_later() {
    let mut model = Model {
        arrivals: Arrivals::Closed { users: 3, think: Law::fixed(0) },
        duration: Duration::from_secs(1),
        ..Model::new(vec![Backend { weight: 0, ..Backend::new("a") }])
    };
    model.pool.retry.tries = 1;
    let outcome = run(&model);
    assert_eq!((outcome.requests, outcome.error_share()), (3000, 1.0));
}

/// A backend at half speed serves half as fast; the network's delay is paid twice.
#[test]
fn speed_and_latency() {
    let backend = Backend { speed: 0.5, latency: Duration::from_micros(300), ..Backend::new("a") };
    let outcome = run(&Model {
        service: Law::fixed(1_000_000),
        arrivals: Arrivals::Trace([5, 20_000_000].into()),
        ..Model::new(vec![backend])
    });
    assert_eq!((outcome.requests, outcome.latency.max(), outcome.latency.sum()), (2, 2_600_000, 5_200_000));
}

/// A speed that changes while requests are served stretches what is left of them. Both disciplines.
#[rstest]
#[case(Discipline::Fifo)]
#[case(Discipline::Sharing)]
fn work_survives_changes_of_speed(#[case] discipline: Discipline) {
    let millis = Duration::from_millis;
    let fault = |from, length, trouble| Fault {
        backends: vec![0],
        from: millis(from),
        length: Some(millis(length)),
        stagger: Duration::ZERO,
        trouble,
    };
    let outcome = run(&Model {
        service: Law::fixed(10_000_000),
        arrivals: Arrivals::Trace([0].into()),
        // 2 ms of work, 4 ms at a quarter (1 ms of work), 5 ms of pause, 7 ms of work.
        faults: vec![fault(2, 4, Trouble::Slow { factor: 4.0 }), fault(6, 5, Trouble::Pause)],
        ..Model::new(vec![Backend { discipline, ..Backend::new("a") }])
    });
    assert_eq!(outcome.latency.max(), 18_000_000);
}

fn struck(trouble: Trouble) -> Model {
    let fault = Fault {
        backends: vec![0],
        from: Duration::from_secs(2),
        length: Some(Duration::from_secs(2)),
        stagger: Duration::ZERO,
        trouble,
    };
    let model = queue(Algorithm::P2c, Backend::several(4, 2), 0.4, 8000.0);
    let rate = 400.0;
    Model {
        service: Law::exponential(5.0 * UNIT),
        arrivals: Arrivals::poisson(rate),
        duration: Duration::from_secs(8),
        warmup: Duration::from_secs(1),
        faults: vec![fault],
        ..model
    }
}

/// A backend that refuses is tried again elsewhere and ejected: nobody notices.
#[test]
fn a_refusing_backend_costs_nothing() {
    let outcome = run(&struck(Trouble::Down));
    assert_eq!(outcome.requests, outcome.answered(), "{:?}", outcome.errors);
    assert!(outcome.tries > outcome.requests);
    let detected = outcome.faults[0].detected.expect("it is ejected");
    assert!(detected < 1_000_000_000, "{detected}");
    assert!(outcome.marks.iter().any(|mark| mark.backend == 0));
    assert_eq!(outcome.faults[0].recovered, Some(0));
}

/// One that answers at once with an error draws traffic until it is ejected.
#[test]
fn a_failing_backend_is_ejected() {
    let fail = Trouble::Fail {
        share: 1.0,
        status: 500,
        after: Some(Duration::from_micros(100)),
        seen_by_checks: false,
    };
    let outcome = run(&struck(fail));
    assert_eq!(outcome.errors.keys().collect::<Vec<_>>(), [&Failure::Status(500)]);
    assert!(outcome.error_share() < 0.02, "{}", outcome.error_share());
    assert!(outcome.ledger.failed_at_once >= 5);
}

#[test]
fn a_share_of_failures_is_that_share() {
    let trouble = Trouble::Fail { share: 0.2, status: 503, after: None, seen_by_checks: false };
    let mut model = struck(trouble);
    model.faults[0].from = Duration::ZERO;
    model.faults[0].length = None;
    model.faults[0].backends = vec![0, 1, 2, 3];
    model.pool.outlier.consecutive_failures = 0;
    let outcome = run(&model);
    let error = (0.2 * 0.8 / outcome.requests as f64).sqrt();
    assert!((outcome.error_share() - 0.2).abs() < 3.29 * error, "{}", outcome.error_share());
}

/// Draining: nothing is sent there, and nothing fails.
#[test]
fn a_drained_backend_gets_nothing() {
    let outcome = run(&struck(Trouble::Drain));
    assert_eq!(outcome.requests, outcome.answered());
    let (from, until) = (2 * 1_000_000_000 / outcome.series.width, 4 * 1_000_000_000 / outcome.series.width);
    for (place, bucket) in (0..).zip(&outcome.series.buckets) {
        if place == from || place == until {
            continue; // partly drained
        }
        assert_eq!(bucket.tries[0] == 0, (from..until).contains(&place), "{place}: {:?}", bucket.tries);
    }
}

/// Active checks take out what they see, and bring it back.
#[rstest]
#[case(Trouble::Down)]
#[case(Trouble::Hang)]
#[case(Trouble::Pause)]
#[case(Trouble::Unreachable)]
#[case(Trouble::Fail { share: 1.0, status: 500, after: None, seen_by_checks: true })]
fn checks_see_faults(#[case] trouble: Trouble) {
    let mut model = struck(trouble);
    model.pool.outlier.consecutive_failures = 0;
    model.pool.timeouts.connect = Duration::from_millis(200);
    model.pool.health_check = Some(config::HealthCheck {
        interval: Duration::from_millis(200),
        timeout: Duration::from_millis(100),
        ..config::HealthCheck::default()
    });
    let outcome = run(&model);
    let detected = outcome.faults[0].detected.expect("the checks see it");
    assert!(detected <= 360_000_000, "{detected}");
    let changes: Vec<_> = outcome.marks.iter().map(|mark| mark.change.to_string()).collect();
    assert_eq!((changes.len(), changes[1].as_str()), (2, "up"), "{changes:?}");
}

/// Clients that time out and try again keep an overloaded server overloaded: with rate 0.3, three retries
/// and an outage, attempts go to 1.2 and stay there; with rate 0.2 it recovers.
#[rstest]
#[case(0.2, false)]
#[case(0.3, true)]
fn retry_storms(#[case] rate: f64, #[case] collapses: bool) {
    let units = |count: f64| Duration::from_nanos((count * UNIT) as u64);
    let mut model = queue(Algorithm::Random, Backend::several(1, 1), rate, rate * 6000.0);
    model.warmup = units(4000.0);
    model.client = Client { timeout: Some(units(10.0)), retries: 3, ..Client::default() };
    model.faults = vec![Fault {
        backends: vec![0],
        from: units(500.0),
        length: Some(units(200.0)),
        stagger: Duration::ZERO,
        trouble: Trouble::Pause,
    }];
    let outcome = run(&model);
    let attempts = outcome.attempts as f64 / outcome.requests as f64;
    if collapses {
        assert!(attempts > 3.9 && outcome.error_share() > 0.9, "{attempts} {}", outcome.error_share());
        assert_eq!(outcome.faults[0].recovered, None);
        assert!(outcome.ledger.wasted > outcome.ledger.answered);
    } else {
        assert!(attempts < 1.05 && outcome.error_share() < 0.01, "{attempts} {}", outcome.error_share());
        assert!(outcome.faults[0].recovered.is_some());
    }
}

/// Clients without patience leave; what they leave behind is not worked on if the backend notices.
#[test]
fn impatient_clients() {
    let mut model = queue(Algorithm::P2c, Backend::several(2, 1), 1.5, 20_000.0);
    model.client.patience = Some(Law::exponential(5.0 * UNIT));
    let kept = run(&model);
    model.client.abandoned_work = false;
    let dropped = run(&model);
    for outcome in [&kept, &dropped] {
        assert_eq!(outcome.errors.keys().collect::<Vec<_>>(), [&Failure::Abandoned]);
        assert_eq!(outcome.ledger.left, 0);
    }
    assert!(kept.ledger.wasted > 0 && dropped.ledger.wasted == 0);
    assert!(dropped.error_share() < kept.error_share());
}

#[test]
fn equal_seeds_give_equal_outcomes() {
    let model =
        struck(Trouble::Pauses { every: Duration::from_millis(100), length: Duration::from_millis(20) });
    let model = Model { balancers: 3, ..model };
    assert_eq!(model.run(5).unwrap(), model.run(5).unwrap());
    assert_ne!(model.run(5).unwrap().latency, model.run(6).unwrap().latency);
}

/// Common random numbers: requests and their work do not depend on who balances them.
#[test]
fn algorithms_meet_the_same_requests() {
    let outcomes = [Algorithm::Random, Algorithm::RoundRobin, Algorithm::LeastRequest, Algorithm::P2c]
        .map(|algorithm| run(&queue(algorithm, Backend::several(4, 1), 0.3, 5000.0)));
    for outcome in &outcomes {
        let work: u128 = outcome.backends.iter().map(|backend| backend.account.given).sum();
        let first: u128 = outcomes[0].backends.iter().map(|backend| backend.account.given).sum();
        assert_eq!((outcome.ledger.arrivals, work), (outcomes[0].ledger.arrivals, first));
    }
}

/// What is sent elsewhere is what a run meets.
#[test]
fn requests_are_those_of_the_run() {
    let model = queue(Algorithm::P2c, Backend::several(4, 1), 0.3, 2000.0);
    let requests = model.requests(7);
    let outcome = model.run(7).unwrap();
    let given: u128 = outcome.backends.iter().map(|backend| backend.account.given).sum();
    let work: u128 = requests.iter().map(|&(_, work)| u128::from(work)).sum();
    assert_eq!((requests.len() as u64, work), (outcome.ledger.arrivals, given));
    assert!(requests.is_sorted_by_key(|&(at, _)| at));
}

/// Probes tell several balancers what none of them sees alone: Prequal sends a slow backend next to nothing,
/// and says the same for the same seed. A backend that is down answers no probe and gets nothing for long.
#[test]
fn prequal_goes_by_probes() {
    let slow = Fault {
        backends: vec![0],
        from: Duration::ZERO,
        length: None,
        stagger: Duration::ZERO,
        trouble: Trouble::Slow { factor: 10.0 },
    };
    let mut model = queue(Algorithm::Prequal, Backend::several(10, 4), 0.5, 40_000.0);
    model.balancers = 4;
    model.backends.iter_mut().for_each(|backend| backend.latency = Duration::from_micros(100));
    let even = run(&model);
    assert!(even.max_to_mean() < 1.2, "{}", even.max_to_mean());
    model.faults = vec![slow];
    let outcome = run(&model);
    // A fair share is 0.1. With ten backends few answers are kept: a request that finds less than two of them, or only
    // busy ones, does not go by latency.
    assert!(outcome.share(0) < 0.02, "{}", outcome.share(0));
    assert_eq!(outcome, run(&model));
    model.faults[0].trouble = Trouble::Unreachable;
    model.pool.timeouts.connect = Duration::from_millis(20);
    let outcome = run(&model);
    assert!(outcome.share(0) < 0.01, "{}", outcome.share(0));
}

/// Whatever is simulated, the ledger adds up (or the run is an error), and the same seed says the same.
#[test]
fn ledgers_of_random_models_add_up() {
    for seed in 0..150 {
        let model = random_model(&mut Prng::new(seed));
        let outcome = model.run(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{model:#?}"));
        assert_eq!(outcome.ledger.left, 0, "seed {seed}");
        let endings = outcome.answered() + outcome.errors.values().sum::<u64>();
        assert_eq!(endings, outcome.requests, "seed {seed}");
    }
}

fn random_model(prng: &mut Prng) -> Model {
    let millis = |prng: &mut Prng, most: u64| Duration::from_millis(prng.below(most + 1));
    let flip = |prng: &mut Prng| prng.below(2) == 0;
    let mut pool = pool(Algorithm::NAMED[prng.below(Algorithm::NAMED.len() as u64) as usize].1);
    pool.limits.pending = 5 + prng.below(1000) as u32;
    pool.timeouts.connect = Duration::from_millis(50);
    pool.timeouts.response_head = Duration::from_millis(20 + prng.below(2000));
    pool.retry.on_status = if flip(prng) { vec![500] } else { Vec::new() };
    pool.slow_start.window = millis(prng, 300);
    if flip(prng) {
        pool.max_in_flight = 1 + prng.below(4) as u32;
        pool.queue = config::Queue { length: prng.below(50) as u32, timeout: millis(prng, 500) };
    }
    pool.health_check = flip(prng).then(|| config::HealthCheck {
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(20),
        ..config::HealthCheck::default()
    });
    pool.outlier.base_ejection = Duration::from_millis(100);
    let count = 1 + prng.below(5) as u32;
    let backends = (0..count).map(|index| Backend {
        slots: 1 + prng.below(4) as u32,
        discipline: if flip(prng) { Discipline::Fifo } else { Discipline::Sharing },
        speed: [0.3, 1.0, 2.0][prng.below(3) as usize],
        latency: Duration::from_micros(prng.below(2) * 700),
        queue: flip(prng).then(|| prng.below(20) as u32),
        connections: flip(prng).then(|| 1 + prng.below(30) as u32),
        service: flip(prng).then(|| Law::erlang(4e6, 3)),
        ..Backend::new(format!("b{index}"))
    });
    let backends: Vec<Backend> = backends.collect();
    let short = Duration::from_millis(60);
    let fault = |prng: &mut Prng| Fault {
        backends: (0..1 + prng.below(count.into()) as u32).collect(),
        from: millis(prng, 1000),
        length: flip(prng).then(|| millis(prng, 900)),
        stagger: millis(prng, 100),
        trouble: match prng.below(11) {
            0 => Trouble::Slow { factor: 7.0 },
            1 => Trouble::ColdStart { factor: 5.0 },
            2 => Trouble::Fail { share: 0.4, status: 500, after: None, seen_by_checks: flip(prng) },
            3 => {
                Trouble::Fail { share: 1.0, status: 503, after: Some(short / 60), seen_by_checks: flip(prng) }
            }
            4 => Trouble::Hang,
            5 => Trouble::Pause,
            6 => Trouble::Pauses { every: short, length: short / 4 },
            7 => Trouble::Down,
            8 => Trouble::Unreachable,
            9 => Trouble::Flap { down: short, up: short * 2 },
            _ => Trouble::Antagonist { factors: vec![1.0, 0.5, 0.2], dwell: short },
        },
    };
    let faults = (0..prng.below(4)).map(|_| fault(prng)).collect();
    let arrivals = match prng.below(4) {
        0 => Arrivals::Closed { users: 1 + prng.below(40) as u32, think: Law::exponential(5e6) },
        1 => Arrivals::Bursts { every: Duration::from_millis(50), size: 1 + prng.below(40) as u32 },
        2 => Arrivals::Open { gaps: Gaps::Even, rate: 300.0, profile: Vec::new() },
        _ => Arrivals::poisson(100.0 + prng.below(900) as f64),
    };
    let client = Client {
        timeout: flip(prng).then(|| Duration::from_millis(5 + prng.below(300))),
        retries: prng.below(4) as u32,
        backoff: millis(prng, 10),
        patience: flip(prng).then(|| Law::exponential(100e6)),
        abandoned_work: flip(prng),
    };
    Model {
        pool,
        deadline: Duration::from_millis(100 + prng.below(3000)),
        idempotent: flip(prng),
        balancers: 1 + prng.below(3) as u32,
        arrivals,
        service: [Law::exponential(5e6), Law::pareto(5e6, 2.5), Law::fixed(5_000_000)]
            [prng.below(3) as usize]
            .clone(),
        client,
        faults,
        duration: Duration::from_secs(2),
        warmup: millis(prng, 500),
        ..Model::new(backends)
    }
}

/// What makes no sense is refused.
#[test]
fn models_without_sense() {
    let good = queue(Algorithm::P2c, Backend::several(2, 1), 0.5, 100.0);
    let twice = vec![Backend::new("a"), Backend::new("a")];
    let fault = Fault {
        backends: vec![2],
        from: Duration::ZERO,
        length: None,
        stagger: Duration::ZERO,
        trouble: Trouble::Pause,
    };
    let bad = [
        Model { backends: Vec::new(), ..good.clone() },
        Model { balancers: 0, ..good.clone() },
        Model { backends: twice, ..good.clone() },
        Model { backends: vec![Backend { speed: 0.0, ..Backend::new("a") }], ..good.clone() },
        Model { backends: vec![Backend { speed: f64::NAN, ..Backend::new("a") }], ..good.clone() },
        Model { faults: vec![fault], ..good.clone() },
        Model { warmup: good.duration, ..good.clone() },
        Model { arrivals: Arrivals::poisson(f64::NAN), ..good.clone() },
        Model { arrivals: Arrivals::Trace([5, 3].into()), ..good },
    ];
    for model in bad {
        assert!(matches!(model.run(1), Err(Error::Model(_))), "{model:?}");
    }
}

/// A ledger notices each single count that is lost.
#[test]
fn a_ledger_notices() {
    let ledger = run(&queue(Algorithm::P2c, Backend::several(2, 1), 0.5, 100.0)).ledger;
    assert_eq!(ledger.check(), Ok(()));
    let broken = [
        Ledger { arrivals: ledger.arrivals + 1, ..ledger.clone() },
        Ledger { sojourns: ledger.sojourns + 1, ..ledger.clone() },
        Ledger { tries: ledger.tries - 1, ..ledger.clone() },
        Ledger { backend_sojourns: ledger.backend_sojourns - 1, ..ledger.clone() },
        Ledger { given: ledger.given + 1, ..ledger.clone() },
        Ledger { held: 1, ..ledger },
    ];
    assert!(broken.iter().all(|ledger| ledger.check().is_err()));
}
