//! `lb simulate`: what a configuration or a scenario would do, by the decisions that serve traffic.

mod html;
mod json;
mod table;

use std::{
    fs,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use lb_core::config::{Algorithm, Config};
use lb_testkit::sim::{
    Arrivals, Law, Model,
    batch::{self, CaseOutcome, Progress},
    scenario::{Metric, Scenario, Verdict, Wanted, duration},
};

use crate::{EXIT_FAILED, EXIT_USAGE, find_config, load, say};

/// The load that is assumed where none is named.
const LOAD: f64 = 0.7;
/// Seeds of a comparison, where none are named: enough for an interval.
const SEEDS_OF_COMPARISON: u32 = 10;
/// How long a run may take before there is a progress bar.
const QUIET: Duration = Duration::from_secs(2);

pub(crate) const AFTER_HELP: &str = "Examples:\n  \
    lb simulate -c lb.toml --rate 2000 --service 20ms\n  \
    lb simulate -c lb.toml --load 0.9 --algorithm round_robin,least_request,p2c --html report.html\n  \
    lb simulate scenario.toml --seeds 10\n  \
    lb simulate --compare today.toml tomorrow.toml --load 0.8\n\
    Exit codes: 0 good, 1 a bad file or a failed expectation, 2 wrong usage.";

#[derive(Args)]
pub(crate) struct Arguments {
    /// A scenario in TOML; without one, the configuration that --config names is simulated
    #[arg(value_name = "SCENARIO", conflicts_with_all = ["compare", "route", "pool"])]
    scenario: Option<PathBuf>,
    /// Compare scenarios or configurations, seed by seed
    #[arg(long, num_args = 2.., value_name = "FILE", conflicts_with_all = ["route", "pool"])]
    compare: Vec<PathBuf>,
    /// Requests a second
    #[arg(long, value_parser = positive, conflicts_with = "load")]
    rate: Option<f64>,
    /// Requests as a share of what the backends can serve [default: 0.7]
    #[arg(long, value_delimiter = ',', value_parser = positive)]
    load: Vec<f64>,
    /// The mean time that a backend works on a request, exponential unless --service-cv says otherwise
    /// [default: 20ms]
    #[arg(long, value_name = "TIME", value_parser = time)]
    service: Option<Duration>,
    /// Its coefficient of variation: 0 is fixed, others are log-normal
    #[arg(long, value_name = "CV", value_parser = not_negative, requires = "service")]
    service_cv: Option<f64>,
    /// Requests that each backend works on at once [default: enough for the rate at a load of 0.7, else 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    slots: Option<u32>,
    /// How long requests come
    #[arg(long, value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
    /// How long the beginning is not measured
    #[arg(long, value_name = "TIME", value_parser = time)]
    warmup: Option<Duration>,
    /// Within what time an answer is a good one [default: 100ms]
    #[arg(long, value_name = "TIME", value_parser = time)]
    slo: Option<Duration>,
    /// How long clients wait [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
    /// Balancers in front of the backends
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    balancers: Option<u32>,
    /// Algorithms to compare [default: the configured one]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = algorithm)]
    algorithm: Vec<(String, Algorithm)>,
    /// Simulate the pool of this route, with its timeout
    #[arg(long, value_name = "NAME", conflicts_with = "pool")]
    route: Option<String>,
    /// Simulate this pool [default: that of the first route]
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// How many seeds to run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    seeds: Option<u32>,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Runs at once [default: one for each CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// What to rank by [default: what the scenario says, else p99]
    #[arg(long, value_name = "FIGURE", value_parser = rank)]
    rank: Option<Metric>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with charts, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Say on standard error how fast the simulation was
    #[arg(long)]
    timing: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value| (1e-9..=1e9).contains(value)).ok_or("not a number above 0".into())
}

fn not_negative(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value| (0.0..=1e3).contains(value)).ok_or("not a number from 0 on".into())
}

fn time(text: &str) -> Result<Duration, String> {
    let time = duration(text).filter(|time| !time.is_zero());
    time.ok_or(r#"not a time above 0 such as "20ms", "0.5ms" or "90s""#.into())
}

fn rank(text: &str) -> Result<Metric, String> {
    let found = Metric::RANKS.iter().find(|(name, _)| *name == text);
    let names = || Metric::RANKS.map(|(name, _)| name).join(", ");
    found.map(|&(_, metric)| metric).ok_or_else(|| format!("not one of {}", names()))
}

/// A mistake in how the command was used, or in what it was given.
enum Mistake {
    Usage(String),
    File(String),
}

/// Everything that a report is made of.
struct Report {
    scenario: Scenario,
    seeds: Vec<u64>,
    outcomes: Vec<CaseOutcome>,
    verdicts: Vec<Verdict>,
    rank: Metric,
}

pub(crate) fn simulate(arguments: &Arguments, config: Option<&Path>) -> ExitCode {
    let result = prepare(arguments, config).and_then(|scenario| run(arguments, scenario));
    let (message, code) = match result {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => return ExitCode::from(EXIT_FAILED),
        Err(Mistake::Usage(message)) => (message, EXIT_USAGE),
        Err(Mistake::File(message)) => (message, EXIT_FAILED),
    };
    // Nothing better can be done where standard error is closed.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::from(code)
}

fn prepare(arguments: &Arguments, config: Option<&Path>) -> Result<Scenario, Mistake> {
    let mut scenario = match (&arguments.scenario, arguments.compare.as_slice()) {
        (Some(_), _) if config.is_some() => {
            return Err(Mistake::Usage(
                "a scenario and --config exclude each other: a scenario names its own".into(),
            ));
        }
        (None, [_, ..]) if config.is_some() => {
            return Err(Mistake::Usage("--compare and --config exclude each other".into()));
        }
        (Some(path), _) => read_scenario(path)?,
        (None, []) => {
            let path = find_config(config).map_err(Mistake::File)?;
            let wanted = match (&arguments.route, &arguments.pool) {
                (Some(route), _) => Wanted::Route(route),
                (None, Some(pool)) => Wanted::Pool(pool),
                (None, None) => Wanted::First,
            };
            let config = load(&path).map_err(Mistake::File)?;
            let mut scenario = Scenario::of_config(&config, wanted)
                .map_err(|error| Mistake::File(format!("{}: {error}", path.display())))?;
            scenario.name = path.display().to_string();
            scenario
        }
        (None, files) => comparison(files, arguments)?,
    };
    if arguments.scenario.is_none() && arguments.compare.is_empty() {
        scenario.model.service = Law::exponential(20e6);
        apply(arguments, &mut scenario, true)?;
    } else if arguments.compare.is_empty() {
        apply(arguments, &mut scenario, false)?;
    }
    Ok(scenario)
}

fn read_scenario(path: &Path) -> Result<Scenario, Mistake> {
    let name = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Mistake::File(format!("{name}: cannot read it: {error}")))?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let open = |file: &str| fs::read_to_string(directory.join(file)).map_err(|error| error.to_string());
    Scenario::read(&text, &open)
        .map_err(|problems| Mistake::File(problems.in_file(&name.to_string()).to_string()))
}

/// One scenario out of several files: the first one's model, each file's settings as a variant. Files that
/// differ in more than their settings would not meet the same requests.
fn comparison(files: &[PathBuf], arguments: &Arguments) -> Result<Scenario, Mistake> {
    let mut all: Option<Scenario> = None;
    for path in files {
        let mut scenario = read_either(path, arguments)?;
        let name = path.display().to_string();
        for variant in &mut scenario.variants {
            variant.name = match variant.name.as_str() {
                "as configured" => name.clone(),
                variant => format!("{name}: {variant}"),
            };
        }
        match &mut all {
            None => all = Some(Scenario { name: "comparison".into(), expectations: Vec::new(), ..scenario }),
            Some(first) => {
                let same = Model { pool: first.model.pool.clone(), ..scenario.model.clone() };
                if same != first.model || scenario.loads != first.loads {
                    let message = format!(
                        "{name}: differs from {} in more than how it balances (backends, arrivals, faults, times), \
                         so that they cannot be compared request by request",
                        files[0].display()
                    );
                    return Err(Mistake::File(message));
                }
                first.variants.extend(scenario.variants);
            }
        }
    }
    let mut all = all.ok_or_else(|| Mistake::Usage("--compare needs files".into()))?;
    all.seeds = arguments.seeds.unwrap_or(all.seeds.max(SEEDS_OF_COMPARISON));
    Ok(all)
}

/// A configuration if it is one, else a scenario.
fn read_either(path: &Path, arguments: &Arguments) -> Result<Scenario, Mistake> {
    let name = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Mistake::File(format!("{name}: cannot read it: {error}")))?;
    let Ok(config) = Config::load(&text) else {
        let mut scenario = read_scenario(path)?;
        apply(arguments, &mut scenario, false)?;
        return Ok(scenario);
    };
    let mut scenario = Scenario::of_config(&config, Wanted::First)
        .map_err(|error| Mistake::File(format!("{name}: {error}")))?;
    scenario.model.service = Law::exponential(20e6);
    apply(arguments, &mut scenario, true)?;
    Ok(scenario)
}

/// What the command line says goes over what the file says.
fn apply(arguments: &Arguments, scenario: &mut Scenario, is_config: bool) -> Result<(), Mistake> {
    let model = &mut scenario.model;
    if let Some(mean) = arguments.service {
        let mean = mean.as_nanos() as f64;
        model.service = match arguments.service_cv {
            None => Law::exponential(mean),
            Some(0.0) => Law::fixed(mean as u64),
            Some(cv) => Law::log_normal(mean, cv),
        };
    }
    if is_config && arguments.slots.is_none() {
        let busy = arguments.rate.unwrap_or(0.0) * model.service.mean() / 1e9;
        let slots = (busy / LOAD / model.backends.len().max(1) as f64).ceil().clamp(1.0, 1e6);
        model.backends.iter_mut().for_each(|backend| backend.slots = slots as u32);
    }
    if let Some(slots) = arguments.slots {
        model.backends.iter_mut().for_each(|backend| backend.slots = slots);
    }
    if let Some(duration) = arguments.duration {
        model.duration = duration;
        model.warmup = model.warmup.min(duration / 10);
    } else if is_config {
        model.warmup = model.duration / 10;
    }
    model.warmup = arguments.warmup.unwrap_or(model.warmup);
    if model.warmup >= model.duration {
        return Err(Mistake::Usage(
            "the warm-up is as long as the duration: nothing would be measured".into(),
        ));
    }
    model.slo = arguments.slo.unwrap_or(model.slo);
    model.client.timeout = arguments.timeout.or(model.client.timeout);
    model.balancers = arguments.balancers.unwrap_or(model.balancers);
    if let Some(rate) = arguments.rate {
        model.arrivals = Arrivals::poisson(rate);
        scenario.loads = Vec::new();
    } else if !arguments.load.is_empty() || is_config {
        if !matches!(model.arrivals, Arrivals::Open { .. }) {
            model.arrivals = Arrivals::poisson(0.0);
        }
        scenario.loads = if arguments.load.is_empty() { vec![LOAD] } else { arguments.load.clone() };
    }
    if !arguments.algorithm.is_empty() {
        scenario.set_algorithms(&arguments.algorithm);
        scenario.expectations.clear();
    }
    scenario.seeds = arguments.seeds.unwrap_or(scenario.seeds);
    Ok(())
}

/// An algorithm by the name that configurations give it.
fn algorithm(name: &str) -> Result<(String, Algorithm), String> {
    let found = Algorithm::NAMED.iter().find(|(known, _)| *known == name);
    let names = || Algorithm::NAMED.map(|(name, _)| name).join(", ");
    found
        .map(|(name, algorithm)| (name.to_string(), *algorithm))
        .ok_or_else(|| format!("not one of {}", names()))
}

/// Runs it all and reports; gives whether all expectations hold.
fn run(arguments: &Arguments, scenario: Scenario) -> Result<bool, Mistake> {
    let seeds: Vec<u64> =
        (0..u64::from(scenario.seeds)).map(|place| arguments.seed.wrapping_add(place)).collect();
    let cases = scenario.cases();
    let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = arguments.threads.map_or(cpus, |threads| threads as usize);
    let progress = Progress::new(&cases, seeds.len());
    let started = Instant::now();
    let outcomes = with_bar(&progress, || batch::run(&cases, &seeds, threads, &progress))
        .map_err(|error| Mistake::File(format!("{}: {error}", scenario.name)))?;
    if arguments.timing {
        tell_speed(&outcomes, started.elapsed(), threads.min(cases.len() * seeds.len()));
    }
    let verdicts = scenario.judge(&outcomes);
    let rank = arguments.rank.unwrap_or(scenario.rank);
    let report = Report { scenario, seeds, outcomes, verdicts, rank };
    if let Some(path) = &arguments.html {
        fs::write(path, html::page(&report))
            .map_err(|error| Mistake::File(format!("{}: cannot write it: {error}", path.display())))?;
    }
    say(if arguments.json { json::text(&report) } else { table::text(&report) });
    Ok(report.verdicts.iter().all(|verdict| verdict.holds))
}

fn tell_speed(outcomes: &[CaseOutcome], elapsed: Duration, threads: usize) {
    let runs = || outcomes.iter().flat_map(|outcome| &outcome.runs);
    let requests: u64 = runs().map(|run| run.ledger.arrivals).sum();
    let seconds = elapsed.as_secs_f64();
    let each = requests as f64 / seconds / threads.max(1) as f64;
    eprintln!("{requests} requests in {seconds:.2} s: {:.2} million a second and thread", each / 1e6);
}

/// Draws a bar on a terminal while `work` takes long.
fn with_bar<T: Send>(progress: &Progress, work: impl FnOnce() -> T + Send) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    thread::scope(|scope| {
        let worker = scope.spawn(work);
        let started = Instant::now();
        let mut drawn = false;
        while !worker.is_finished() {
            thread::park_timeout(Duration::from_millis(100));
            let elapsed = started.elapsed();
            if elapsed >= QUIET {
                drawn = true;
                draw(progress.share(), elapsed);
            }
        }
        if drawn {
            eprint!("\r\x1b[K");
        }
        match worker.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn draw(share: f64, elapsed: Duration) {
    const WIDTH: usize = 30;
    let full = (share * WIDTH as f64) as usize;
    let left = match share {
        share if share > 0.0 => format!("{:.0} s left", elapsed.as_secs_f64() * (1.0 - share) / share),
        _ => "...".into(),
    };
    let bar = format!("{}{}", "#".repeat(full), "-".repeat(WIDTH - full.min(WIDTH)));
    // Nothing better can be done where standard error is closed.
    let _ = write!(std::io::stderr(), "\r\x1b[K[{bar}] {:.0}%, {left}", share * 100.0);
}
