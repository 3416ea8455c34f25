//! The workspace's own commands: `cargo xtask test` and friends.

mod bench;
mod containers;
mod course;
mod images;
mod leaderboard;
mod optimised;
mod programs;
mod reality;
mod sim_net;
mod test;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The commands of the lb workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test: the core's, the testkit's, the server's, the chapters and the end-to-end suites
    Test(test::Options),
    /// Judge a balancer, ours or yours, by a chapter of the course
    Course(course::Options),
    /// Measure lb side by side with nginx, HAProxy and Caddy
    Bench(bench::Options),
    /// Rank all algorithms in all scenarios of the simulator
    Leaderboard(leaderboard::Options),
    /// Hold the simulator's predictions against the real lb
    Reality(reality::Options),
    /// Hold the simulator, and with it the decisions of lb, against theory
    Validate(validate::Options),
    /// Build the container images of lb and of the mock backend
    Images(images::Options),
    /// Wait for the end of standard input and remove what a run of the tests has left in the container engine
    #[command(hide = true)]
    Guard { run: String },
    /// Run the server on a simulated network, one run a seed, with faults drawn from it
    SimNet(sim_net::Options),
    /// Check formatting, clippy and documentation, all warnings denied
    Lint,
}

fn main() -> ExitCode {
    let report = match Cli::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Course(options) => return course::run(options),
        Command::Bench(options) => optimised::unless(options.only_counts(), || bench::run(&options)),
        Command::Leaderboard(options) => leaderboard::run(&options),
        Command::Reality(options) => optimised::unless(false, || reality::run(&options)),
        Command::Validate(options) => validate::run(&options),
        Command::Images(options) => images::run(&options),
        Command::Guard { run } => containers::guard(&run),
        Command::SimNet(options) => sim_net::run(&options),
        Command::Lint => test::lint(),
    };
    if report { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
