//! `cargo xtask test`: all tiers, one after the other, and at the end what ran and what did not.

use std::{
    env,
    process::{Command, Stdio},
    time::Instant,
};

use clap::Args;

#[derive(Args)]
pub(crate) struct Options {
    /// Fail when the container tier cannot run
    #[arg(long)]
    require_containers: bool,
    /// Stop after the first tier that fails
    #[arg(long)]
    fail_fast: bool,
}

/// A part of the suite.
struct Tier {
    name: &'static str,
    /// What it shows, in a few words.
    about: &'static str,
    args: &'static [&'static str],
}

const TIERS: [Tier; 6] = [
    Tier {
        name: "core",
        about: "decisions: unit and property tests of lb-core, with its doc examples",
        args: &["test", "--package", "lb-core"],
    },
    Tier {
        name: "testkit",
        about: "the mock backends, the raw client, the simulated network",
        args: &["test", "--package", "lb-testkit", "--features", "sim"],
    },
    Tier {
        name: "server",
        about: "framing, the client towards backends, timers, logs and replies of lb-server",
        args: &["test", "--package", "lb-server"],
    },
    Tier {
        name: "suite",
        about: "chapters 1 to 7, the guide, the server's promises end to end, the command line",
        args: &["test", "--package", "lb-tests"],
    },
    Tier {
        name: "sim-net",
        about: "the whole server on a simulated network: a fixed handful of seeds, resets at every byte",
        args: &["test", "--package", "lb-tests", "--features", "sim", "--test", "sim_net"],
    },
    Tier {
        name: "xtask",
        about: "the parts of the benchmark: its backend, its load, its sums",
        args: &["test", "--package", "xtask"],
    },
];

enum Outcome {
    Passed,
    Failed,
    NotRun(String),
}

/// Runs all tiers; gives whether all that had to pass did.
pub(crate) fn run(options: &Options) -> bool {
    let mut results: Vec<(&str, &str, Outcome, f64)> = Vec::new();
    let mut failed = false;
    for tier in &TIERS {
        if failed && options.fail_fast {
            let why = "an earlier tier failed".to_owned();
            results.push((tier.name, tier.about, Outcome::NotRun(why), 0.0));
            continue;
        }
        println!("\n=== {}: {} ===", tier.name, tier.about);
        let start = Instant::now();
        let passed = cargo(tier.args);
        failed |= !passed;
        let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
        results.push((tier.name, tier.about, outcome, start.elapsed().as_secs_f64()));
    }
    let containers = containers();
    if options.require_containers {
        failed |= !matches!(containers, Outcome::Passed);
    }
    results.push(("containers", "the chapters against backends in containers", containers, 0.0));

    println!("\n=== what ran ===");
    for (name, about, outcome, seconds) in &results {
        match outcome {
            Outcome::Passed => println!("passed   {name:<11} {seconds:6.1} s  {about}"),
            Outcome::Failed => println!("FAILED   {name:<11} {seconds:6.1} s  {about}"),
            Outcome::NotRun(why) => println!("not run  {name:<11}           {about}: {why}"),
        }
    }
    !failed
}

/// The container tier is not part of the workspace so far.
fn containers() -> Outcome {
    let engine = Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Outcome::NotRun(match engine {
        Some(version) => format!("no such tests yet (an engine answers: {version})"),
        None => "no such tests yet, and no container engine answers".to_owned(),
    })
}

/// Formatting, lints and documentation.
pub(crate) fn lint() -> bool {
    let deny = [("RUSTDOCFLAGS", "-D warnings")];
    cargo(&["fmt", "--all", "--check"])
        && cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        && cargo(&[
            "clippy",
            "--package",
            "lb-tests",
            "--features",
            "sim",
            "--test",
            "sim_net",
            "--",
            "-D",
            "warnings",
        ])
        && cargo_with(&["doc", "--workspace", "--no-deps", "--document-private-items"], &deny)
}

pub(crate) fn cargo(args: &[&str]) -> bool {
    cargo_with(args, &[])
}

pub(crate) fn cargo_with(args: &[&str], variables: &[(&str, &str)]) -> bool {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    match Command::new(program).args(args).envs(variables.iter().copied()).status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("cannot run cargo: {error}");
            false
        }
    }
}
