//! Holds the simulator, and with it the production code that it drives, against theory.
//!
//! `cargo xtask validate` runs it. Each cell is a figure that is known from a closed form, an exact
//! sequence or a published table, next to what a run gave, with a tolerance that comes from the variance
//! of the estimate. Seeds are fixed: a run gives the same page each time.

mod cell;
mod lab;
mod page;
mod statistics;
mod tables;

use std::process::ExitCode;

use cell::Table;
use lab::Lab;

const USAGE: &str = "usage: lb-validate [--fast] [--page FILE] [--only WORDS]

  --fast        fewer requests, wider tolerances: some seconds
  --page FILE   write the page there as well
  --only WORDS  run just the tables with these words in their titles; no page, and other seeds than in a whole run";

fn main() -> ExitCode {
    let mut lab = Lab::full();
    let mut page = None;
    let mut only = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.len()) {
            ("--fast", _) => lab = Lab::fast(),
            ("--page", 1..) => page = args.next(),
            ("--only", 1..) => only = args.next(),
            _ => {
                eprintln!("{arg}: not understood\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    if only.is_some() && page.is_some() {
        eprintln!("a page is of all tables: --page and --only do not go together\n{USAGE}");
        return ExitCode::from(2);
    }
    let mut tables: Vec<Table> = Vec::new();
    let wanted = |name: &str| only.as_ref().is_none_or(|words| name.contains(words.as_str()));
    for (_, make) in tables::ALL.iter().filter(|(name, _)| wanted(name)) {
        let table = make(&lab);
        if table.cells.is_empty() {
            continue; // none of it belongs to the fast part
        }
        print!("{}", page::lines(&table));
        tables.push(table);
    }
    // A few scores are no sample.
    if only.is_none() {
        let scores = cell::scores(&tables);
        print!("{}", page::lines(&scores));
        tables.push(scores);
    }
    if let Some(path) = page
        && let Err(error) = std::fs::write(&path, page::markdown(&tables, &lab))
    {
        eprintln!("{path}: {error}");
        return ExitCode::FAILURE;
    }
    let (passed, failed) = cell::count(&tables);
    if tables.is_empty() {
        eprintln!("no table has such a name, or it has no fast part");
        return ExitCode::FAILURE;
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
