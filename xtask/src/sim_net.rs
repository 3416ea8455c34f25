//! `cargo xtask sim-net`: the server on a simulated network, one run a seed.

use clap::Args;

use crate::test::cargo_with;

#[derive(Args)]
pub(crate) struct Options {
    /// How many seeds
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs at once; one for each processor without it
    #[arg(long)]
    jobs: Option<u64>,
}

/// Sweeps the seeds; false when one does not hold, which is shown with the command that replays it.
pub(crate) fn run(options: &Options) -> bool {
    let build = [
        "test",
        "--quiet",
        "--profile",
        "sim",
        "--package",
        "lb-tests",
        "--features",
        "sim",
        "--test",
        "sim_net",
    ];
    let sweep = ["--", "--ignored", "--exact", "sweep::sweep", "--nocapture"];
    cargo_with(&[&build[..], &sweep[..]].concat(), |command| {
        command.env("LB_SIM_SEEDS", options.seeds.to_string()).env("LB_SIM_FROM", options.from.to_string());
        match options.jobs {
            Some(jobs) => command.env("LB_SIM_JOBS", jobs.to_string()),
            None => command,
        }
    })
}
