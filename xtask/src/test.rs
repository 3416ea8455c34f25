//! `cargo xtask test`: all tiers, one after the other, and at the end what ran and what did not.
//!
//! There are two builds of tests: one of nearly all, and one of those that need the simulated network, which is
//! no part of the program that the others test.

use std::{env, fmt, fs, num::NonZero, process::Command, thread, time::Instant};

use clap::Args;

use crate::{
    containers, course, images,
    programs::{Build, Programs},
    validate,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Fail when no tier with containers can run
    #[arg(long)]
    require_containers: bool,
    /// Stop after the first tier that fails
    #[arg(long)]
    fail_fast: bool,
    /// Run this tier only (may be given several times)
    #[arg(long, value_name = "NAME")]
    tier: Vec<String>,
}

/// A part of the suite.
struct Tier {
    name: &'static str,
    /// What it shows, in a few words.
    about: &'static str,
    work: Work,
}

enum Work {
    Tests(Tests),
    /// The doc examples of these packages.
    Examples(Kind, &'static [&'static str]),
    /// Something else; gives whether it passed.
    Other(fn() -> bool),
}

/// Programs of tests.
struct Tests {
    kind: Kind,
    package: &'static str,
    /// What of the package is built for them, as cargo is told; all of it without.
    targets: &'static [&'static str],
    /// The one of its programs that is run; all of them without.
    program: Option<&'static str>,
    arguments: &'static [&'static str],
    /// How many run at once for each CPU: more than one where they wait most of the time.
    per_cpu: usize,
    /// What is set in their environment.
    variables: &'static [(&'static str, &'static str)],
}

impl Tests {
    const fn of(package: &'static str) -> Self {
        Self {
            kind: Kind::Plain,
            package,
            targets: &[],
            program: None,
            arguments: &[],
            per_cpu: 1,
            variables: &[],
        }
    }

    /// Tells the program what to run, and how.
    fn prepare<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if self.per_cpu > 1 && env::var_os(THREADS).is_none() {
            let cpus = thread::available_parallelism().map_or(1, NonZero::get);
            command.env(THREADS, (cpus * self.per_cpu).to_string());
        }
        command.args(self.arguments).envs(self.variables.iter().copied())
    }
}

/// How many tests a program runs at once; as many as there are CPUs without it.
const THREADS: &str = "RUST_TEST_THREADS";

/// Which build a tier needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// With the simulated network.
    Simulated,
}

const TIERS: [Tier; 10] = [
    Tier {
        name: "core",
        about: "decisions: unit and property tests of lb-core",
        work: Work::Tests(Tests::of("lb-core")),
    },
    Tier {
        name: "server",
        about: "framing, the client towards backends, timers, logs and replies of lb-server",
        work: Work::Tests(Tests::of("lb-server")),
    },
    Tier {
        name: "suite",
        about: "chapters 1 to 8, the guide and its pages, the server's promises end to end, the command line",
        work: Work::Tests(Tests { program: Some("suite"), per_cpu: 2, ..Tests::of("lb-tests") }),
    },
    Tier {
        name: "library",
        about: "the server's promises end to end, kept by the HTTP library where plain requests do without it",
        work: Work::Tests(Tests {
            program: Some("suite"),
            arguments: &["e2e_", "lifecycle"],
            per_cpu: 2,
            variables: &[("LB_TEST_LIBRARY_ONLY", "1")],
            ..Tests::of("lb-tests")
        }),
    },
    Tier {
        name: "xtask",
        about: "the parts of the benchmark: its backend, its load, its sums; what --watch sees",
        work: Work::Tests(Tests::of("xtask")),
    },
    Tier {
        name: "examples",
        about: "doc examples of lb-core, lb-server and what the suites share",
        work: Work::Examples(Kind::Plain, &["lb-core", "lb-server", "lb-tests"]),
    },
    Tier {
        name: "theory",
        about: "the simulator against closed forms and published tables: the fast part of cargo xtask validate",
        work: Work::Other(validate::fast),
    },
    Tier {
        name: "testkit",
        about: "the mock backends, the raw client, the simulated network",
        work: Work::Tests(Tests {
            kind: Kind::Simulated,
            targets: &["--lib", "--bins", "--test", "lb_backend"],
            ..Tests::of("lb-testkit")
        }),
    },
    Tier {
        name: "testkit-doc",
        about: "doc examples of lb-testkit",
        work: Work::Examples(Kind::Simulated, &["lb-testkit"]),
    },
    Tier {
        name: "sim-net",
        about: "the whole server on a simulated network: a fixed handful of seeds, resets at every byte",
        work: Work::Tests(Tests {
            kind: Kind::Simulated,
            targets: &["--test", "sim_net"],
            program: Some("sim_net"),
            ..Tests::of("lb-tests")
        }),
    },
];

/// The builds' lines in the list at the end, in the order of [`Kind`].
const BUILDS: [(&str, &str); 2] = [
    ("build", "the tests of all packages, at once"),
    ("build-sim", "those that need the simulated network, which the program itself is built without"),
];

/// What the tiers that are wanted need of a build.
fn build(kind: Kind, wanted: impl Fn(&str) -> bool, containers: bool) -> Build {
    let mut build = Build::default();
    let mut all_targets = false;
    for tier in TIERS.iter().filter(|tier| wanted(tier.name)) {
        match tier.work {
            Work::Tests(ref tests) if tests.kind == kind => {
                build.packages.push(tests.package);
                build.targets.extend(tests.targets);
                all_targets |= tests.targets.is_empty();
            }
            Work::Examples(of, packages) if of == kind => build.packages.extend(packages),
            _ => {}
        }
    }
    if containers {
        build.packages.push(containers::PACKAGE);
        build.targets.extend(containers::TARGETS);
        build.features.push(containers::FEATURE.to_owned());
    }
    build.packages.sort_unstable();
    build.packages.dedup();
    if kind == Kind::Simulated {
        build.features.extend(build.packages.iter().map(|package| format!("{package}/sim")));
    }
    if all_targets {
        build.targets.clear();
    }
    build
}

/// Why a tier is left out with `--fail-fast`.
const EARLIER: &str = "an earlier tier failed";
const NOT_BUILT: &str = "its build failed";

/// What came of a tier.
pub(crate) enum Outcome {
    Passed,
    Failed,
    NotRun(String),
}

/// A tier's line in the list at the end.
pub(crate) struct Ran {
    name: &'static str,
    about: &'static str,
    pub(crate) outcome: Outcome,
    took: Took,
}

/// How long something took.
#[derive(Default)]
struct Took {
    seconds: f64,
    /// On the processors, by all programs that were run for it and have ended.
    cpu_seconds: f64,
}

impl Took {
    /// Does it, and gives what came of it too.
    fn by<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let result = work();
        (result, Self { seconds: start.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - cpu })
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:6.1} s, cpu {:5.0} s", self.seconds, self.cpu_seconds)
    }
}

/// The processor time of programs that this one has run, and of theirs; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may have blanks; then the state, and twelve fields before these two.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: f64 = fields.skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

impl Ran {
    /// Runs it, by a function that gives whether it passed.
    pub(crate) fn after(name: &'static str, about: &'static str, run: impl FnOnce() -> bool) -> Self {
        println!("\n=== {name}: {about} ===");
        let (passed, took) = Took::by(run);
        let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
        Self { name, about, outcome, took }
    }

    /// It is left out, for this reason.
    pub(crate) fn not(name: &'static str, about: &'static str, why: &str) -> Self {
        Self { name, about, outcome: Outcome::NotRun(why.to_owned()), took: Took::default() }
    }
}

/// Runs all tiers; gives whether all that had to pass did.
pub(crate) fn run(options: &Options) -> bool {
    let names: Vec<_> = TIERS.iter().map(|tier| tier.name).chain(containers::TIERS).collect();
    if let Some(other) = options.tier.iter().find(|name| !names.contains(&name.as_str())) {
        eprintln!("there is no tier {other:?}; there are {}", names.join(", "));
        return false;
    }
    let wanted = |name: &str| options.tier.is_empty() || options.tier.iter().any(|other| other == name);
    let failed = |results: &[Ran]| results.iter().any(|ran| matches!(ran.outcome, Outcome::Failed));
    let with_containers = containers::TIERS.into_iter().any(wanted) && images::engine().is_ok();
    let builds = [build(Kind::Plain, wanted, with_containers), build(Kind::Simulated, wanted, false)];
    let mut programs = [None, None];
    let mut results: Vec<Ran> = Vec::new();
    for &Tier { name, about, ref work } in TIERS.iter().filter(|tier| wanted(tier.name)) {
        if options.fail_fast && failed(&results) {
            results.push(Ran::not(name, about, EARLIER));
            continue;
        }
        let ran = match work {
            Work::Tests(tests) => match made(tests.kind, &builds, &mut programs, &mut results) {
                Some(programs) => Ran::after(name, about, || {
                    programs.run(tests.package, tests.program, |command| tests.prepare(command))
                }),
                None => Ran::not(name, about, NOT_BUILT),
            },
            Work::Examples(kind, _) => Ran::after(name, about, || builds[*kind as usize].examples()),
            Work::Other(run) => Ran::after(name, about, run),
        };
        results.push(ran);
    }
    if wanted("suite") {
        let about = "the course's suites against it";
        results.extend(course::not_run().iter().map(|(name, why)| Ran::not(name, about, why)));
    }
    let containers = if options.fail_fast && failed(&results) {
        containers::not_run(wanted, EARLIER)
    } else if !with_containers {
        containers::without_engine(wanted)
    } else if let Some(programs) = made(Kind::Plain, &builds, &mut programs, &mut results) {
        containers::run(wanted, programs)
    } else {
        containers::not_run(wanted, NOT_BUILT)
    };
    let none_ran = containers.iter().all(|ran| matches!(ran.outcome, Outcome::NotRun(_)));
    let lacking = options.require_containers && none_ran && !containers.is_empty();
    results.extend(containers);

    println!("\n=== what ran ===");
    for Ran { name, about, outcome, took } in &results {
        match outcome {
            Outcome::Passed => println!("passed   {name:<11} {took}  {about}"),
            Outcome::Failed => println!("FAILED   {name:<11} {took}  {about}"),
            Outcome::NotRun(why) => println!("not run  {name:<11} {:19}  {about}: {why}", ""),
        }
    }
    if lacking {
        println!("containers are required (--require-containers), and no tier with containers ran");
    }
    !failed(&results) && !lacking
}

/// The programs of a build, which is made when the first tier needs it.
fn made<'a>(
    kind: Kind,
    builds: &[Build; 2],
    programs: &'a mut [Option<Option<Programs>>; 2],
    results: &mut Vec<Ran>,
) -> Option<&'a Programs> {
    let index = kind as usize;
    let made = programs[index].get_or_insert_with(|| {
        let (name, about) = BUILDS[index];
        let mut made = None;
        results.push(Ran::after(name, about, || {
            made = builds[index].make();
            made.is_some()
        }));
        made
    });
    made.as_ref()
}

/// Formatting, lints and documentation.
pub(crate) fn lint() -> bool {
    let clippy = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    let steps: [(&str, &[&str]); 3] =
        [("fmt", &["fmt", "--all", "--check"]), ("clippy", &clippy), ("doc", &doc)];
    let mut lines = Vec::new();
    let passed = steps.into_iter().all(|(name, arguments)| {
        let run = || cargo_with(arguments, |command| command.env("RUSTDOCFLAGS", "-D warnings"));
        let (passed, took) = Took::by(run);
        lines.push(format!("{}   {name:<11} {took}", if passed { "passed" } else { "FAILED" }));
        passed
    });
    println!("{}", lines.join("\n"));
    passed
}

/// Runs cargo; gives whether it succeeded.
pub(crate) fn cargo(args: &[&str]) -> bool {
    cargo_with(args, |command| command)
}

/// ... as `prepare` leaves it.
pub(crate) fn cargo_with(args: &[&str], prepare: impl FnOnce(&mut Command) -> &mut Command) -> bool {
    run_program(prepare(cargo_command().args(args)))
}

/// Runs a program; gives whether it succeeded.
pub(crate) fn run_program(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("cannot run {}: {error}", command.get_program().display());
            false
        }
    }
}

/// The cargo that runs this.
pub(crate) fn cargo_command() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench;

    #[test]
    fn time_on_the_processors_is_seen() {
        let (passed, took) = Took::by(|| cargo(&["--version"]));
        assert!(passed && took.seconds > 0.0 && took.cpu_seconds >= 0.0);
        assert_eq!(Took { seconds: 1.25, cpu_seconds: 2.0 }.to_string(), "   1.2 s, cpu     2 s");
    }

    #[test]
    fn a_build_is_of_what_is_wanted() {
        let all = build(Kind::Plain, |_| true, true);
        assert_eq!(all.packages, ["lb-core", "lb-server", "lb-tests", "xtask"]);
        assert_eq!((all.targets.len(), &all.features[..]), (0, &["lb-tests/containers".to_owned()][..]));
        let all = build(Kind::Simulated, |_| true, false);
        assert_eq!(all.packages, ["lb-testkit", "lb-tests"]);
        assert_eq!(all.features, ["lb-testkit/sim", "lb-tests/sim"]);
        assert_eq!(all.targets, ["--lib", "--bins", "--test", "lb_backend", "--test", "sim_net"]);
        let one = build(Kind::Plain, |name| name == "core", false);
        assert_eq!(one, Build { packages: vec!["lb-core"], ..Build::default() });
        let containers = build(Kind::Plain, |name| name == "containers", true);
        assert_eq!(containers.targets, ["--test", "containers"]);
        let one = build(Kind::Simulated, |name| name == "sim-net", false);
        assert_eq!((&one.packages[..], &one.targets[..]), (&["lb-tests"][..], &["--test", "sim_net"][..]));
        assert_eq!(build(Kind::Simulated, |name| name == "core", false), Build::default());
    }

    /// A new file of tests must not go unnoticed, and each tier's program has to be there.
    #[test]
    fn every_program_has_a_tier() {
        let told: Vec<&str> = TIERS
            .iter()
            .filter_map(|tier| match &tier.work {
                Work::Tests(tests) => Some(tests.targets.iter().copied().chain(tests.program)),
                _ => None,
            })
            .flatten()
            .chain(containers::TARGETS.iter().copied())
            .collect();
        let manifest = fs::read_to_string(bench::root().join("tests/Cargo.toml")).unwrap();
        let named = manifest.split("[[test]]").skip(1).filter_map(|part| part.split('"').nth(1));
        let files = fs::read_dir(bench::root().join("lb-testkit/tests")).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        let files = files.iter().map(|file| file.file_stem().unwrap().to_str().unwrap());
        let all: Vec<&str> = named.chain(files).collect();
        assert!(all.contains(&"suite") && all.contains(&"lb_backend"), "{all:?}");
        for name in all {
            assert!(told.contains(&name), "{name} is in no tier");
        }
    }
}
