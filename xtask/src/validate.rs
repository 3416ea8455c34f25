//! `cargo xtask validate`: the simulator against theory, in an optimised build.

use std::process::Command;

use clap::Args;

use crate::{
    bench::built,
    test::{cargo, run_program},
};

#[derive(Args)]
pub(crate) struct Options {
    /// Fewer requests and wider tolerances, some seconds instead of minutes; writes no page
    #[arg(long)]
    fast: bool,
    /// Only the tables with these words in their names, such as jump or sequences; writes no page
    #[arg(long, value_name = "WORDS")]
    only: Option<String>,
}

/// It is built beside what the program is built of, without what that has no use for: otherwise some dependencies
/// would have other features, and the benchmark's build of `lb` would do most of the work again.
const BUILD: [&str; 9] = [
    "build",
    "--release",
    "--no-default-features",
    "--package",
    "lb-server",
    "--package",
    "lb-testkit",
    "--bin",
    PROGRAM,
];
const PROGRAM: &str = "lb-validate";

/// Where the page of a whole run goes.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/validation.md");

/// Runs it; gives whether all cells passed.
pub(crate) fn run(options: &Options) -> bool {
    let mut arguments = Vec::new();
    if options.fast {
        arguments.push("--fast");
    }
    match &options.only {
        Some(words) => arguments.extend(["--only", words]),
        None if options.fast => {}
        None => arguments.extend(["--page", PAGE]),
    }
    validate(&arguments)
}

/// The fast part.
pub(crate) fn fast() -> bool {
    validate(&["--fast"])
}

fn validate(arguments: &[&str]) -> bool {
    let program = cargo(&BUILD).then(|| built(PROGRAM).inspect_err(|error| eprintln!("{error}")));
    program.and_then(Result::ok).is_some_and(|program| run_program(Command::new(program).args(arguments)))
}
