//! `cargo xtask leaderboard`: all algorithms in all scenarios, written down with intervals.

use std::path::PathBuf;

use clap::Args;

use crate::{bench, test};

#[derive(Args)]
pub(crate) struct Options {
    /// How many seeds each case runs with
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: u32,
    /// The cargo profile of the simulator: release, or quick (short to build)
    #[arg(long, default_value = "release")]
    profile: String,
    /// The page to write [default: docs/leaderboard.md]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs it; gives whether it could. The simulator is a program of its own, for it has to be an optimised one.
pub(crate) fn run(options: &Options) -> bool {
    let arguments = arguments(options);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    test::cargo(&words)
}

fn arguments(options: &Options) -> Vec<String> {
    let root = bench::root();
    let path = |name: &str| root.join(name).display().to_string();
    let cargo = ["run", "--quiet", "--package", "lb-testkit", "--bin", "lb-leaderboard", "--profile"];
    let mut arguments: Vec<String> = cargo.map(String::from).into();
    arguments.extend([options.profile.clone(), "--".into(), path("scenarios")]);
    arguments.push(path("docs/leaderboard-readings.md"));
    arguments.push(
        options.out.as_ref().map_or_else(|| path("docs/leaderboard.md"), |out| out.display().to_string()),
    );
    arguments.extend([options.seeds.to_string(), bench::date(), bench::machine()]);
    arguments
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
    fn arguments_reach_the_program() {
        let words = ["leaderboard", "--seeds", "3", "--profile", "quick", "--out", "x.md"];
        let arguments = arguments(&Cli::try_parse_from(words).unwrap().options);
        let own = arguments.iter().position(|word| word == "--").unwrap();
        assert_eq!(arguments[own - 1], "quick");
        assert_eq!((arguments[own + 3].as_str(), arguments[own + 4].as_str()), ("x.md", "3"));
        assert!(arguments[own + 1].ends_with("/scenarios") && arguments.len() == own + 7);
        assert!(Cli::try_parse_from(["leaderboard", "--seeds", "0"]).is_err());
    }
}
