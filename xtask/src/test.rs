//! `cargo xtask test`: all tiers, one after the other, and at the end what ran and what did not.

use std::{env, process::Command, time::Instant};

use clap::Args;

use crate::{containers, course, validate};

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
    args: &'static [&'static str],
    /// What is set in its environment.
    variables: &'static [(&'static str, &'static str)],
}

const TIERS: [Tier; 8] = [
    Tier {
        name: "core",
        about: "decisions: unit and property tests of lb-core, with its doc examples",
        args: &["test", "--package", "lb-core"],
        variables: &[],
    },
    Tier {
        name: "testkit",
        about: "the mock backends, the raw client, the simulated network",
        args: &["test", "--package", "lb-testkit", "--features", "sim"],
        variables: &[],
    },
    Tier {
        name: "server",
        about: "framing, the client towards backends, timers, logs and replies of lb-server",
        args: &["test", "--package", "lb-server"],
        variables: &[],
    },
    Tier {
        name: "suite",
        about: "chapters 1 to 8, the guide and its pages, the server's promises end to end, the command line",
        args: &["test", "--package", "lb-tests"],
        variables: &[],
    },
    Tier {
        name: "library",
        about: "the server's promises end to end, kept by the HTTP library where plain requests do without it",
        args: &["test", "--package", "lb-tests", "--test", "suite", "--", "e2e_", "lifecycle"],
        variables: &[("LB_TEST_LIBRARY_ONLY", "1")],
    },
    Tier {
        name: "theory",
        about: "the simulator against closed forms and published tables: the fast part of cargo xtask validate",
        args: validate::FAST,
        variables: &[],
    },
    Tier {
        name: "sim-net",
        about: "the whole server on a simulated network: a fixed handful of seeds, resets at every byte",
        args: &["test", "--package", "lb-tests", "--features", "sim", "--test", "sim_net"],
        variables: &[],
    },
    Tier {
        name: "xtask",
        about: "the parts of the benchmark: its backend, its load, its sums; what --watch sees",
        args: &["test", "--package", "xtask"],
        variables: &[],
    },
];

/// Why a tier is left out with `--fail-fast`.
const EARLIER: &str = "an earlier tier failed";

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
    seconds: f64,
}

impl Ran {
    /// Runs it, by a function that gives whether it passed.
    pub(crate) fn after(name: &'static str, about: &'static str, run: impl FnOnce() -> bool) -> Self {
        println!("\n=== {name}: {about} ===");
        let start = Instant::now();
        let outcome = if run() { Outcome::Passed } else { Outcome::Failed };
        Self { name, about, outcome, seconds: start.elapsed().as_secs_f64() }
    }

    /// It is left out, for this reason.
    pub(crate) fn not(name: &'static str, about: &'static str, why: &str) -> Self {
        Self { name, about, outcome: Outcome::NotRun(why.to_owned()), seconds: 0.0 }
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
    let mut results: Vec<Ran> = Vec::new();
    for &Tier { name, about, args, variables } in TIERS.iter().filter(|tier| wanted(tier.name)) {
        results.push(if options.fail_fast && failed(&results) {
            Ran::not(name, about, EARLIER)
        } else {
            Ran::after(name, about, || cargo_with(args, |command| command.envs(variables.iter().copied())))
        });
    }
    if wanted("suite") {
        let about = "the course's suites against it";
        results.extend(course::not_run().iter().map(|(name, why)| Ran::not(name, about, why)));
    }
    let containers = if options.fail_fast && failed(&results) {
        containers::not_run(wanted, EARLIER)
    } else {
        containers::run(wanted)
    };
    let none_ran = containers.iter().all(|ran| matches!(ran.outcome, Outcome::NotRun(_)));
    let lacking = options.require_containers && none_ran && !containers.is_empty();
    results.extend(containers);

    println!("\n=== what ran ===");
    for Ran { name, about, outcome, seconds } in &results {
        match outcome {
            Outcome::Passed => println!("passed   {name:<11} {seconds:6.1} s  {about}"),
            Outcome::Failed => println!("FAILED   {name:<11} {seconds:6.1} s  {about}"),
            Outcome::NotRun(why) => println!("not run  {name:<11}           {about}: {why}"),
        }
    }
    if lacking {
        println!("containers are required (--require-containers), and no tier with containers ran");
    }
    !failed(&results) && !lacking
}

/// Formatting, lints and documentation.
pub(crate) fn lint() -> bool {
    cargo(&["fmt", "--all", "--check"])
        && cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])
        && cargo_with(&["doc", "--workspace", "--no-deps", "--document-private-items"], |command| {
            command.env("RUSTDOCFLAGS", "-D warnings")
        })
}

/// Runs cargo; gives whether it succeeded.
pub(crate) fn cargo(args: &[&str]) -> bool {
    cargo_with(args, |command| command)
}

/// ... as `prepare` leaves it.
pub(crate) fn cargo_with(args: &[&str], prepare: impl FnOnce(&mut Command) -> &mut Command) -> bool {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    match prepare(command.args(args)).status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("cannot run cargo: {error}");
            false
        }
    }
}
