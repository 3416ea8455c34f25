//! `cargo xtask reality`: the real lb with real backends, next to what the simulator says of the same
//! configuration.
//!
//! Both meet the same requests: they come at the same times and bring the same work, for clients send at the
//! simulator's times, and tell backends in a field how long to take. What differs is the machine, and the
//! draws of algorithms that draw.

mod backend;
mod clients;
mod proxy;
mod report;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use lb_core::config::{Algorithm, Config, Valid};
use lb_testkit::sim::{
    Arrivals, Law, Model, Outcome,
    scenario::{Scenario, Wanted},
};

use self::{
    backend::Backends,
    clients::Seen,
    proxy::Proxy,
    report::{Cell, Facts, Figures},
};
use crate::bench;

#[derive(Args)]
pub(crate) struct Options {
    /// Loads, as shares of what the backends can serve
    #[arg(long, value_delimiter = ',', default_values_t = [0.3, 0.6, 0.8], value_parser = load)]
    load: Vec<f64>,
    /// Algorithms
    #[arg(long, value_delimiter = ',', value_parser = algorithm,
          default_value = "round_robin,least_request,p2c,random")]
    algorithm: Vec<&'static str>,
    /// How long requests come in each run
    #[arg(long, default_value_t = 17, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// The seed of the requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A build of lb [default: a release build is made]
    #[arg(long, value_name = "PATH")]
    lb: Option<PathBuf>,
    /// The page to write [default: docs/reality.md]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

const BACKENDS: usize = 8;
const SLOTS: u32 = 4;
/// The mean of the exponential service, in nanoseconds: long against what a machine adds.
const SERVICE_NANOS: f64 = 20e6;
/// The part of a run that is not measured.
const WARMUP: f64 = 0.1;
/// Other seeds that say how far figures of runs of this length lie apart.
const OTHER_SEEDS: u64 = 20;

fn load(text: &str) -> Result<f64, String> {
    let load = text.parse().ok().filter(|load| (0.01..=0.95).contains(load));
    load.ok_or_else(|| "not a number from 0.01 to 0.95: from 1 on there is no steady state".into())
}

fn algorithm(text: &str) -> Result<&'static str, String> {
    let found = Algorithm::NAMED.iter().find(|(name, _)| *name == text).map(|&(name, _)| name);
    found.ok_or_else(|| format!("not one of {}", Algorithm::NAMED.map(|(name, _)| name).join(", ")))
}

/// Runs it and writes the page; gives whether it could. That figures differ is no failure: the page says it.
pub(crate) fn run(options: &Options) -> bool {
    let result = compare(options).and_then(|page| {
        let out = options.out.clone().unwrap_or_else(|| bench::root().join("docs/reality.md"));
        bench::write(&out, &page)
    });
    if let Err(error) = &result {
        eprintln!("{error}");
    }
    result.is_ok()
}

fn compare(options: &Options) -> Result<String, String> {
    let lb = options.lb.clone().map_or_else(bench::build, Ok)?;
    let backends = Backends::start(BACKENDS, SLOTS).map_err(|error| format!("the backends: {error}"))?;
    let dir = bench::root().join("target/reality");
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let overhead = measure_overhead(&lb, &backends, &dir)?;
    let mut cells = Vec::new();
    for &load in &options.load {
        for &algorithm in &options.algorithm {
            let cell = cell(options, &lb, &backends, &dir, (load, algorithm), overhead)?;
            println!("{}", cell.line());
            cells.push(cell);
        }
    }
    let facts = Facts {
        date: bench::date(),
        machine: bench::machine(),
        command: format!("cargo xtask reality --seconds {} --seed {}", options.seconds, options.seed),
        backends: BACKENDS,
        slots: SLOTS,
        service_ms: SERVICE_NANOS / 1e6,
        other_seeds: OTHER_SEEDS,
        overhead,
    };
    Ok(report::page(&facts, &cells))
}

/// A run of both.
fn cell(
    options: &Options,
    lb: &Path,
    backends: &Backends,
    dir: &Path,
    (load, algorithm): (f64, &'static str),
    overhead: Duration,
) -> Result<Cell, String> {
    let text = configuration(proxy::free_address()?, &backends.addresses(), algorithm);
    let config = Config::load(&text).map_err(|problems| problems.to_string())?;
    let model = model(&config, load, Duration::from_secs(options.seconds), overhead)?;
    let requests = model.requests(options.seed);
    let simulate = |seed| model.run(seed).map_err(|error| error.to_string());
    let predicted = simulate(options.seed)?;
    let others: Vec<Figures> = (1..=OTHER_SEEDS)
        .map(|place| simulate(options.seed.wrapping_add(place)).map(|outcome| figures_of(&outcome)))
        .collect::<Result<_, _>>()?;
    backends.reset();
    let seen = {
        let proxy = Proxy::start(lb, &text, config.listeners[0].bind, dir)?;
        clients::send(proxy.address(), &requests, model.warmup)?
    };
    Ok(Cell { load, algorithm, predicted: figures_of(&predicted), real: figures(&seen), others, seen })
}

/// What lb and the network add to a request: the median over requests of known work that come evenly, at the rate
/// of a load of 0.3, so that with round robin none ever waits for a slot. One at a time they would find a machine
/// that sleeps, and tell more than a request under load has to bear.
fn measure_overhead(lb: &Path, backends: &Backends, dir: &Path) -> Result<Duration, String> {
    const REQUESTS: u64 = 1000;
    const WORK_NANOS: u64 = SERVICE_NANOS as u64;
    const EVERY_NANOS: u64 = WORK_NANOS * 10 / (3 * SLOTS as u64 * BACKENDS as u64);
    let text = configuration(proxy::free_address()?, &backends.addresses(), "round_robin");
    let config = Config::load(&text).map_err(|problems| problems.to_string())?;
    let proxy = Proxy::start(lb, &text, config.listeners[0].bind, dir)?;
    let requests: Vec<_> = (1..=REQUESTS).map(|place| (place * EVERY_NANOS, WORK_NANOS)).collect();
    let seen = clients::send(proxy.address(), &requests, Duration::from_nanos(20 * EVERY_NANOS))?;
    if seen.errors > 0 {
        return Err(format!("{} of {REQUESTS} requests failed without any load", seen.errors));
    }
    Ok(Duration::from_nanos(seen.quantile(0.5).saturating_sub(WORK_NANOS)))
}

/// The configuration that both get.
fn configuration(bind: SocketAddr, backends: &[SocketAddr], algorithm: &str) -> String {
    let backends: Vec<String> = backends.iter().map(|address| format!("{:?}", address.to_string())).collect();
    format!(
        "[[listener]]\nbind = \"{bind}\"\n\n[access_log]\nformat = \"off\"\n\n\
         [pool.real]\nalgorithm = \"{algorithm}\"\nbackends = [{}]\n\n[[route]]\npool = \"real\"\n",
        backends.join(", ")
    )
}

/// What the simulator makes of it.
fn model(config: &Valid, load: f64, duration: Duration, overhead: Duration) -> Result<Model, String> {
    let mut model = Scenario::of_config(config, Wanted::First)?.model;
    for backend in &mut model.backends {
        backend.slots = SLOTS;
        backend.latency = overhead / 2;
    }
    model.service = Law::exponential(SERVICE_NANOS);
    model.arrivals = Arrivals::poisson(load * model.capacity());
    model.duration = duration;
    model.warmup = duration.mul_f64(WARMUP);
    Ok(model)
}

fn figures_of(outcome: &Outcome) -> Figures {
    Figures { p50: outcome.latency.quantile(0.5), p99: outcome.latency.quantile(0.99) }
}

fn figures(seen: &Seen) -> Figures {
    Figures { p50: seen.quantile(0.5) as f64, p99: seen.quantile(0.99) as f64 }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn arguments_are_checked() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["reality"], words].concat());
        let options = parse(&[]).unwrap().options;
        assert_eq!(options.load, [0.3, 0.6, 0.8]);
        assert_eq!(options.algorithm, ["round_robin", "least_request", "p2c", "random"]);
        assert_eq!(parse(&["--algorithm", "p2c,maglev"]).unwrap().options.algorithm, ["p2c", "maglev"]);
        for wrong in [["--load", "1"], ["--load", "x"], ["--algorithm", "p3c"], ["--seconds", "0"]] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    /// A short run from end to end, with the lb that cargo has at hand: nothing fails, and the page has its row.
    /// How near the figures are depends on the machine; that no answer is faster than its work does not.
    #[test]
    fn a_short_run() {
        assert!(crate::test::cargo(&["build", "--quiet", "--package", "lb-server", "--bin", "lb"]));
        let own = std::env::current_exe().unwrap();
        let lb = own.ancestors().nth(2).unwrap().join("lb");
        let words = ["reality", "--load", "0.3", "--algorithm", "p2c", "--seconds", "2", "--lb"];
        let options =
            Cli::try_parse_from(words.iter().copied().chain([lb.to_str().unwrap()])).unwrap().options;
        let backends = Backends::start(BACKENDS, SLOTS).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let overhead = measure_overhead(&lb, &backends, dir.path()).unwrap();
        assert!(overhead > Duration::ZERO);
        let cell = cell(&options, &lb, &backends, dir.path(), (0.3, "p2c"), overhead).unwrap();
        assert_eq!((cell.seen.errors, cell.others.len() as u64), (0, OTHER_SEEDS));
        // Some 480 requests a second, less the warm-up; the median of the work alone is ln 2 of its mean.
        assert!((700..1100).contains(&cell.seen.latencies.len()), "{}", cell.seen.latencies.len());
        assert!(cell.real.p50 > 0.8 * SERVICE_NANOS * std::f64::consts::LN_2, "{}", cell.real.p50);
        assert!(cell.line().contains("p2c"));
    }

    /// The simulator gets the configuration that lb gets, and the rate that the load says.
    #[test]
    fn the_model_is_that_of_the_configuration() {
        let backends = ["127.0.0.1:81".parse().unwrap(), "127.0.0.1:82".parse().unwrap()];
        let text = configuration("127.0.0.1:80".parse().unwrap(), &backends, "p2c");
        let config = Config::load(&text).unwrap();
        let model = model(&config, 0.5, Duration::from_secs(10), Duration::from_millis(1)).unwrap();
        assert_eq!((model.backends.len(), model.pool.algorithm), (2, Algorithm::P2c));
        assert_eq!(model.arrivals, Arrivals::poisson(200.0));
        assert_eq!(model.backends[0].latency, Duration::from_micros(500));
    }
}
