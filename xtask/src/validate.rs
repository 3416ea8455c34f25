//! `cargo xtask validate`: the simulator against theory, in an optimised build.

use clap::Args;

use crate::test::cargo;

#[derive(Args)]
pub(crate) struct Options {
    /// Fewer requests and wider tolerances, some seconds instead of minutes; writes no page
    #[arg(long)]
    fast: bool,
    /// Only the tables with these words in their names, such as jump or sequences; writes no page
    #[arg(long, value_name = "WORDS")]
    only: Option<String>,
}

/// What runs the fast part; without the last argument it is the whole.
pub(crate) const FAST: &[&str] = &[
    "run",
    "--quiet",
    "--profile",
    "quick",
    "--package",
    "lb-testkit",
    "--bin",
    "lb-validate",
    "--",
    "--fast",
];

/// Where the page of a whole run goes.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/validation.md");

/// Runs it; gives whether all cells passed.
pub(crate) fn run(options: &Options) -> bool {
    let (_, without_fast) = FAST.split_last().unwrap_or((&"", &[]));
    let run = if options.fast { FAST } else { without_fast };
    match &options.only {
        Some(words) => cargo(&[run, &["--only", words]].concat()),
        None if options.fast => cargo(run),
        None => cargo(&[run, &["--page", PAGE]].concat()),
    }
}
