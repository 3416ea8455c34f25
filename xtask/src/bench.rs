//! `cargo xtask bench`: lb side by side with nginx, HAProxy and Caddy on the same work.
//!
//! One CPU carries the contender whose turn it is, another one the load generator and the backend, both
//! cheaper than any proxy. Rounds are interleaved, and ratios are taken within a round, so that a noisy
//! machine disturbs all alike.

mod backend;
mod chart;
mod contender;
mod generator;
mod idle;
mod instructions;
mod load;
mod measure;
mod network;
mod report;
mod scenario;
mod sys;
mod workers;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use backend::Backend;
use clap::Args;
use contender::Contender;
use generator::Generator;
use instructions::Budget;
use measure::Bench;
use network::Network;
use report::Report;
use scenario::Scenario;

#[derive(Args)]
pub(crate) struct Options {
    /// What to measure [default: all]
    #[arg(long, value_name = "NAME", value_enum, num_args = 1..)]
    scenario: Vec<Scenario>,
    /// Who takes part: lb, nginx, haproxy, caddy [default: all that are installed; lb with --instructions]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    contender: Vec<String>,
    /// One more build of lb, to be compared under this name
    #[arg(long, value_name = "NAME=PATH", num_args = 1..)]
    also: Vec<String>,
    /// How often each contender has its turn
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// How long each turn is
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Count user instructions for each request under callgrind instead, and write them down as the budget
    #[arg(long)]
    instructions: bool,
    /// With --instructions: compare with the budget, and fail where one is over it by more than 5 %
    #[arg(long, requires = "instructions")]
    check: bool,
    /// Short and rough: 3 rounds of 1 second, 500 idle connections
    #[arg(long)]
    quick: bool,
    /// Measure on the host's network [default: in a network namespace of its own, which has no packet filter]
    #[arg(long, conflicts_with = "instructions")]
    host_network: bool,
    /// Use the own load generator even where wrk is installed
    #[arg(long)]
    own_generator: bool,
    /// Where results go [default: docs/benchmarks for a whole run, target/bench otherwise]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Options {
    /// Whether how fast the load is does not matter.
    pub(crate) const fn only_counts(&self) -> bool {
        self.instructions
    }
}

const RESULTS: &str = "results.md";
const CHART: &str = "cpu.svg";
const BUDGET: &str = "instructions.txt";
const IDLE_CONNECTIONS: usize = 5000;

/// Runs the benchmark; gives whether it could, and whether the budget was kept.
pub(crate) fn run(options: &Options) -> bool {
    let result = if options.instructions { count(options) } else { compare(options) };
    if let Err(error) = &result {
        eprintln!("{error}");
    }
    result.is_ok()
}

fn compare(options: &Options) -> Result<(), String> {
    let (program, network) = place(options)?;
    let (contenders, missing) = contenders(options, &program)?;
    let scenarios = if options.scenario.is_empty() { Scenario::all() } else { &options.scenario };
    let generator = if options.own_generator { Generator::Own } else { Generator::find() };
    if matches!(generator, Generator::Own) && !options.own_generator {
        println!("wrk is missing (apt-get install wrk): the own generator stands in");
    }
    let idle_connections = if options.quick { IDLE_CONNECTIONS / 10 } else { IDLE_CONNECTIONS };
    with_bench(options, &contenders, &generator, idle_connections, |bench| {
        let mut results = Vec::new();
        let mut idle = Vec::new();
        let mut workers = Vec::new();
        for &scenario in scenarios {
            if scenario == Scenario::Idle5000 {
                idle = bench.idle()?;
                println!("{}", report::idle(&idle));
            } else if scenario == Scenario::Workers2 {
                workers = bench.workers()?;
                println!("{}", report::workers(&workers));
            } else {
                let found = bench.run(scenario)?;
                println!("{}", report::scenario(&found));
                results.push(found);
            }
        }
        let facts = facts(bench, network, &missing);
        let report = Report { facts: &facts, results: &results, idle: &idle, workers: &workers };
        let charted = !results.is_empty() && contenders.iter().any(|it| it.name == "nginx");
        let whole = options.scenario.is_empty() && options.contender.is_empty() && !options.quick;
        let out = out(options, whole && options.also.is_empty());
        write(&out.join(RESULTS), &report.markdown(charted.then_some(CHART)))?;
        if charted {
            let [(_, versions), (_, machine), (_, date), ..] = &facts[..] else { return Ok(()) };
            let machine = format!("{machine}; {date}");
            write(&out.join(CHART), &chart::cpu(&results, &[versions, &machine]))?;
        }
        Ok(())
    })
}

fn count(options: &Options) -> Result<(), String> {
    if contender::find("valgrind").is_none() {
        return Err("valgrind is missing (apt-get install valgrind)".into());
    }
    let (contenders, _) = contenders(options, &build()?)?;
    let scenarios = if options.scenario.is_empty() { &instructions::COUNTED[..] } else { &options.scenario };
    let scenarios =
        scenarios.iter().filter(|&&scenario| !matches!(scenario, Scenario::Idle5000 | Scenario::Workers2));
    let mut own = Budget::new();
    with_bench(options, &contenders, &Generator::Own, 0, |bench| {
        for &scenario in scenarios.clone() {
            for contender in bench.contenders {
                let counted = bench.instructions(contender, scenario)?;
                println!(
                    "{:<12} {:<10} {counted:>10.0} instructions/request",
                    scenario.name(),
                    contender.name
                );
                if contender.name == "lb" {
                    own.insert(scenario.name(), counted.round().max(0.0) as u64);
                }
            }
        }
        println!("profiles: callgrind_annotate {}/*/*.out", bench.dir.with_file_name("callgrind").display());
        Ok(())
    })?;
    if own.is_empty() {
        return Ok(());
    }
    let file = out(options, true).join(BUDGET);
    let recorded = match fs::read_to_string(&file) {
        Ok(text) => {
            instructions::read_budget(&text).map_err(|error| format!("{}: {error}", file.display()))?
        }
        Err(_) if options.check => return Err(format!("{}: no budget is recorded", file.display())),
        Err(_) => Budget::new(),
    };
    if !options.check {
        let all = recorded.into_iter().chain(own).collect();
        return write(&file, &instructions::write_budget(&all));
    }
    let over = instructions::over_budget(&own, &recorded);
    if over.is_empty() {
        println!("within the budget of {}", file.display());
        return Ok(());
    }
    Err(over.join("\n"))
}

/// Builds lb, then moves to the network that is measured on: to a namespace only then, as cargo may need the
/// host's.
fn place(options: &Options) -> Result<(PathBuf, Network), String> {
    if network::entered() {
        return Ok((built("lb")?, Network::Own));
    }
    let program = build()?;
    if !options.host_network {
        let reason = network::enter();
        println!("on the host's network, as there can be no namespace of its own: {reason}");
    }
    Ok((program, Network::Host))
}

/// Collects who takes part, this build of lb first; and names the peers that do not, as they are not installed.
fn contenders(options: &Options, program: &Path) -> Result<(Vec<Contender>, Vec<String>), String> {
    let mut all = vec![Contender::lb("lb", program)?];
    for also in &options.also {
        let (name, path) = also.split_once('=').ok_or_else(|| format!("--also {also}: not NAME=PATH"))?;
        if name.is_empty() || name.contains(['/', '.']) {
            return Err(format!("--also {also}: not a name"));
        }
        all.push(Contender::lb(name, Path::new(path))?);
    }
    let (peers, missing) = Contender::peers();
    all.extend(peers);
    if options.contender.is_empty() {
        if options.instructions {
            all.retain(|it| it.kind == contender::Kind::Lb);
        } else if !missing.is_empty() {
            println!("left out, as not installed: {}", missing.join(", "));
        }
        return Ok((all, missing));
    }
    if let Some(unknown) = options.contender.iter().find(|name| all.iter().all(|it| it.name != **name)) {
        return Err(format!("--contender {unknown}: not known or not installed; {}", missing.join(", ")));
    }
    all.retain(|it| {
        options.contender.contains(&it.name)
            || options.also.iter().any(|also| also.starts_with(&format!("{}=", it.name)))
    });
    Ok((all, Vec::new()))
}

/// Chooses the CPUs, starts the backend, and lets `work` use them.
fn with_bench<T>(
    options: &Options,
    contenders: &[Contender],
    generator: &Generator,
    idle_connections: usize,
    work: impl FnOnce(&Bench<'_>) -> Result<T, String>,
) -> Result<T, String> {
    idle::files_for(idle_connections)?;
    let cpus = sys::cpus().map_err(|error| format!("cannot ask for the CPUs: {error}"))?;
    let (Some(&load_cpu), Some(&proxy_cpu)) = (cpus.first(), cpus.last()) else {
        return Err("no CPU".into());
    };
    if load_cpu == proxy_cpu {
        println!("Only one CPU: the load disturbs the contenders, and nothing but ratios means anything.");
    }
    let backend = Backend::start(load_cpu).map_err(|error| format!("cannot start the backend: {error}"))?;
    let dir = root().join("target/bench/run");
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let (rounds, seconds) = if options.quick { (3, 1) } else { (options.rounds, options.seconds) };
    let bench = Bench {
        contenders,
        generator,
        backend: &backend,
        proxy_cpu,
        load_cpu,
        rounds: rounds.max(1),
        time: Duration::from_secs(seconds.max(1)),
        idle_connections,
        dir: &dir,
    };
    let result = work(&bench);
    // Access logs of hundreds of MiB.
    let _ = fs::remove_dir_all(&dir);
    result
}

/// What the figures depend on.
fn facts(bench: &Bench<'_>, network: Network, missing: &[String]) -> Vec<(String, String)> {
    let first = |program: &str, arguments: &[&str]| {
        contender::output(Path::new(program), arguments).unwrap_or_else(|| "unknown".into())
    };
    let versions: Vec<String> =
        bench.contenders.iter().map(|it| format!("{} {}", it.name, it.version)).collect();
    let command = env::args().skip(1).collect::<Vec<_>>().join(" ");
    let commit = first("git", &["-C", &root().display().to_string(), "describe", "--always", "--dirty"]);
    let pairs = [
        ("versions", format!("{} (commit {commit})", versions.join(", "))),
        ("machine", machine()),
        ("date", date()),
        ("command", format!("`cargo xtask {command}`")),
        ("load", bench.generator.version()),
        ("rounds", format!("{} of {} s", bench.rounds, bench.time.as_secs())),
        ("CPUs", format!("contenders on {}, load and backend on {}", bench.proxy_cpu, bench.load_cpu)),
        ("network", network.to_string()),
        (
            "left out",
            if missing.is_empty() {
                "nobody".into()
            } else {
                format!("not installed: {}", missing.join(", "))
            },
        ),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// Today.
pub(crate) fn date() -> String {
    contender::output(Path::new("date"), &["-u", "+%Y-%m-%d"]).unwrap_or_else(|| "unknown".into())
}

/// Processor, CPUs, kernel.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let count = sys::cpus().map_or(0, |cpus| cpus.len());
    format!("{}, {count} CPUs, Linux {}", model.map_or("unknown", |(_, name)| name), kernel.trim())
}

/// Builds lb as it is released.
pub(crate) fn build() -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--release", "--package", "lb-server", "--bin", "lb"];
    let status = Command::new(cargo).args(arguments).current_dir(root()).status();
    if !status.map_err(|error| format!("cannot run cargo: {error}"))?.success() {
        return Err("lb could not be built".into());
    }
    built("lb")
}

/// Where cargo puts a program of the release profile.
pub(crate) fn built(name: &str) -> Result<PathBuf, String> {
    // This program lies in the debug directory beside it.
    let own = env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let target = own.parent().and_then(Path::parent).ok_or("where is the target directory?")?;
    Ok(target.join("release").join(name))
}

fn out(options: &Options, whole: bool) -> PathBuf {
    let default = if whole { "docs/benchmarks" } else { "target/bench" };
    options.out.clone().unwrap_or_else(|| root().join(default))
}

pub(crate) fn write(file: &Path, text: &str) -> Result<(), String> {
    let dir = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(file, text))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    println!("written: {}", file.display());
    Ok(())
}

/// The workspace.
pub(crate) fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
