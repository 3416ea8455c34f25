//! `cargo xtask validate`: the simulator against theory, in an optimised build.

use clap::Args;

use crate::test::cargo;

#[derive(Args)]
pub(crate) struct Options {
    /// Fewer requests and wider tolerances, some seconds instead of minutes; writes no page
    #[arg(long)]
    fast: bool,
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
    if options.fast { cargo(FAST) } else { cargo(&[without_fast, &["--page", PAGE]].concat()) }
}
